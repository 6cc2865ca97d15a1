"""Reference numbers of the controlled experiments, from float32 runs at the settings of arXiv 2604.25872.

Section 3.3 and appendix C: learning rate .1, 50,000 updates, target .9. A hit is the first number of updates after
which the true value is at least .9. The sampled fractions are those of 200 seeds of the reference, so they carry its
sampling error.
"""

from __future__ import annotations

import dataclasses
import math

SOURCE = "arXiv 2604.25872, section 3.3 and appendix C; reference run in float32"
HIT_TOLERANCE = 0.001  # relative
VALUE_TOLERANCE = 5e-5  # absolute
LATE_TOLERANCE = 2e-5  # absolute; runs that have converged differ by 1e-5 to 7e-5


@dataclasses.dataclass(frozen=True)
class ExactRun:
    """A row of the reference table.

    Attributes:
        hit: updates to a true value of .9; infinite where it is not reached in 50,000.
        early: true value after 1,000 updates.
        late: true value after 50,000 updates.
    """

    hit: float
    early: float
    late: float


# (initial probability of y*, training reward) -> run
CONTROLLED = {
    (0.05, "ground truth"): ExactRun(math.inf, 0.79234, 0.79987),
    (0.05, "proxy"): ExactRun(168, 0.99319, 0.99988),
    (0.10, "ground truth"): ExactRun(10690, 0.79297, 0.99982),
    (0.10, "proxy"): ExactRun(120, 0.99362, 0.99988),
    (0.15, "ground truth"): ExactRun(1393, 0.80711, 0.99984),
    (0.15, "proxy"): ExactRun(101, 0.99383, 0.99988),
}

# features -> run, trained on the ground truth
FEATURES = {
    "orthogonal": ExactRun(19165, 0.79249, 0.99989),
    "negative": ExactRun(math.inf, 0.79216, 0.79985),
    "positive": ExactRun(443, 0.98060, 0.99982),
}

# (initial probability of y*, training reward) -> seeds of 200 that end with a true value above .9
REINFORCE_SEEDS = 200
REINFORCE = {
    (0.05, "ground truth"): 31,
    (0.05, "proxy"): 200,
    (0.10, "ground truth"): 150,
    (0.10, "proxy"): 200,
    (0.15, "ground truth"): 178,
    (0.15, "proxy"): 200,
}

# initial probability of y*, trained on the ground truth -> seeds of 10,000 that end so, of a loop in NumPy in float64
# that shares no code with pgdyn: softmax, one output an update, r(y) times the score, learning rate .1
LOOP_SEEDS = 10_000
LOOP = {0.05: 1379, 0.10: 6657, 0.15: 9091}
