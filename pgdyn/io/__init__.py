"""What pgdyn reads and writes: problem files, datasets with what made them, and tables in TOML and JSON.

| module | what it does |
|---|---|
| `pgdyn.io.problem_file` | `load_problem`, `save_problem` |
| `pgdyn.io.datasets` | runs as `xarray.Dataset`s, `save` and `load` of zarr stores |
| `pgdyn.io.provenance` | what made a result: versions, precision, device, git revision |
| `pgdyn.io.tables` | the one reader and writer of TOML and JSON files |
| `pgdyn.io.atomic` | files and folders that appear whole or not at all |

No file is ever executed or unpickled. Importing this package imports none of its modules.
"""
