r"""Families of reward errors: from a problem, M erroneous proxies [M, P, K] at once.

A family is a frozen module. Called with a problem it returns an `Errors`: proxies made from the problem's *true* reward
r, and what tells them apart. r_p is the row of prompt p, and lo_p, hi_p are its extremes.

    SingleOutput   r_p(y) = v, or r_p(y) + v, for one output of one prompt
    Swap           r_p(y) and r_p(z) exchanged
    Noise          r + sigma eps, eps standard normal, independent or correlated through the features
    Clip           max(r, lo + c (hi - lo)) or min(r, hi - c (hi - lo))
    Compress       lo + (hi - lo) u^gamma, u = (r - lo) / (hi - lo)
    Temperature    lo + (hi - lo) (e^{u/tau} - 1) / (e^{1/tau} - 1)
    Censor         r(y) = lo wherever pi_0(y) < c
    Mixture        (1 - a) r + a r_other
    Subsets        r(y) + delta on a subset of the outputs, for every subset but the empty one
    Fitted         a Bradley-Terry fit to noisy labels of pairs

`FAMILIES` names one of each, with settings that suit rewards of order one. Another M compiles nothing: proxies are
NumPy arrays, or JAX's where the problem is traced.
"""

from pgdyn.errors.perturb.blends import Mixture, Noise
from pgdyn.errors.perturb.family import Errors, Family
from pgdyn.errors.perturb.fitted import Fitted
from pgdyn.errors.perturb.outputs import MAX_SUBSET_OUTPUTS, Censor, SingleOutput, Subsets, Swap
from pgdyn.errors.perturb.scales import Clip, Compress, Temperature

__all__ = [
    "FAMILIES",
    "MAX_SUBSET_OUTPUTS",
    "Censor",
    "Clip",
    "Compress",
    "Errors",
    "Family",
    "Fitted",
    "Mixture",
    "Noise",
    "SingleOutput",
    "Subsets",
    "Swap",
    "Temperature",
]

FAMILIES: dict[str, Family] = {
    "single-output": SingleOutput(),
    "swap": Swap(),
    "noise": Noise(),
    "correlated-noise": Noise(correlation="features"),
    "clip": Clip(),
    "compress": Compress(),
    "temperature": Temperature(),
    "censor": Censor(),
    "mixture": Mixture(),
    "subsets": Subsets(),
    "fitted": Fitted(),
}
