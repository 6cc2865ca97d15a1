"""Sweeps over thousands to millions of problems that never lose work: `Spec`, `run_sweep`, `open_sweep`.

    spec = sweep.Spec(problem, [sweep.Axis.linear("proxy_reward[1]", -1, 1, 200)], sweep.Flow(t1=5000.0, target=0.9))
    sweep.run_sweep(spec, "map.zarr")           # interrupted, it goes on where it was when called again
    sweep.open_sweep("map.zarr").hitting_time

See `pgdyn.sweep.spec` for specs as files and `pgdyn.sweep.store` for what is on the disk.
"""

from pgdyn.dynamics.ascend import Ascend
from pgdyn.dynamics.flow import Flow
from pgdyn.dynamics.sampled import AscendSampled
from pgdyn.sweep.axis import Axis
from pgdyn.sweep.dataset import open_sweep
from pgdyn.sweep.progress import Progress, Summary, SweepStopped
from pgdyn.sweep.run import run_sweep
from pgdyn.sweep.spec import Spec, load_spec
from pgdyn.sweep.store import Store

__all__ = [
    "Ascend",
    "AscendSampled",
    "Axis",
    "Flow",
    "Progress",
    "Spec",
    "Store",
    "Summary",
    "SweepStopped",
    "load_spec",
    "open_sweep",
    "run_sweep",
]
