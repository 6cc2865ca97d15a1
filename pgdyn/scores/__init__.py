"""Files of scores: read as they are, and told apart.

| module | what it does |
|---|---|
| `files` | CSV, JSON, JSON lines and Parquet, plain or gzipped, as columns with the place of each row |
| `cells` | numbers and texts of columns, and which rows cannot be used |
| `kinds` | which kind of table it is: RewardBench v1 or v2, pairs, or one row a response |
| `means` | mean scores for pairs from sampled responses |
| `judge` | from a table to each model's metrics, intervals, errors and worst prompts |
"""
