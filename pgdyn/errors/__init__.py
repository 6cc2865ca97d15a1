"""Reward errors: families of them, which help and which harm, and the best one that there is.

| module | what it does |
|---|---|
| `pgdyn.errors.perturb` | families of errors, from a problem |
| `pgdyn.errors.categorize` | harmful, benign or beneficial: by simulation, beside what was predicted |
| `pgdyn.errors.categories` | the rules by which an outcome is one of the three |
| `pgdyn.errors.prediction` | the category and the speed-up before any simulation, by the exact solution |
| `pgdyn.errors.mechanism` | why an error should help or harm, before any simulation |
| `pgdyn.errors.report` | what `pgdyn.categorize` found |
| `pgdyn.errors.sensitivity` | slopes of the outcome in every entry of the proxy |
| `pgdyn.errors.design` | the best proxy within bounds |
| `pgdyn.errors.region` | these bounds |
"""

from pgdyn.errors import perturb

__all__ = ["perturb"]
