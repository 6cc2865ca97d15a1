"""Many runs at once: `solve_many` (see `pgdyn.solve`). Flows go through the engine, ascents through chunks of `vmap`.

One flow as data: `many` checks a batch and its settings; `flows` lays it out in chunks (`lanes`, `packing`), compiles
one program for its kind (`program`, `slots`, `step`, `hitting`) and has `driver` run the chunks on every core
(`executor`). `tuning` switches what only makes it faster, and `xla` holds what JAX does not promise.
"""

from pgdyn.ensemble import tuning
from pgdyn.ensemble.many import solve_many

__all__ = ["solve_many", "tuning"]
