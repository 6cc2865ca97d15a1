"""Files of scores: read as they are, told apart, and judged.

| module | what it does |
|---|---|
| `files` | CSV, JSON, JSON lines and Parquet, plain or gzipped, as columns with the place of each row |
| `cells` | numbers and texts of columns, and which rows cannot be used |
| `columns` | the roles that columns have, by their names |
| `kinds` | which kind of table it is |
| `pairs`, `results`, `lists`, `responses` | each kind of table as `rows` |
| `means` | mean scores for pairs from sampled responses |
| `judge`, `rewardbench`, `judge_responses` | each model's metrics, errors and worst prompts, by kind of table |
| `tally`, `missing` | sums over prompts; sentences on metrics that the data do not allow |
| `judgement` | what is said of a model |
"""
