"""Pictures: a run (`run`), the errors of a problem (`errors`), a sweep's dataset (`sweep`), judged reward
models (`evaluation`).

Each gives a matplotlib `Figure`, which no global state knows of: save it with `figure.savefig(path)`. The colours of
all pictures are in `pgdyn.plot.palette`, and `pgdyn.plot.labels` writes the names of curves beside them.
"""

from pgdyn.plot.errors import errors
from pgdyn.plot.evaluation import evaluation
from pgdyn.plot.run import run
from pgdyn.plot.sweep import sweep

__all__ = ["errors", "evaluation", "run", "sweep"]
