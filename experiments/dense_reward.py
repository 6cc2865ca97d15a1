r"""Dense rewards against sparse ones on a chain of tokens, and a dense reward that pays for a plausible wrong prefix.

A policy finds each of H right tokens with probability s. The true reward is 1 for all of them in a row. Trained on

    sparse   the true reward itself
    dense    1/H for every right token that continues a right prefix
    tokens   1/H for every right token, whatever came before, with logits that prefixes of one length share

and on the dense reward with a height h besides for a wrong first token. All chains are the ends of the longest one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray

from experiments import grids
from experiments.controlled_problems import labels as words
from experiments.made_by import recorded
from pgdyn import Batch, flow_many, mdp
from pgdyn.validate import Numbers

PROBABILITIES = (*(float(s) for s in np.geomspace(0.02, 0.5, 14)), 0.1)
HEIGHTS = tuple(float(h) for h in np.linspace(0.0, 0.98, 50))
REWARDS = ("sparse", "dense", "tokens")


@recorded
def run(
    lengths: Sequence[int] = (1, 2, 3, 5, 9),
    probabilities: Sequence[float] = PROBABILITIES,
    heights: Sequence[float] = HEIGHTS,
    misled_probabilities: Sequence[float] = (0.05, 0.1, 0.2, 0.3),
    misled_length: int = 2,
    *,
    target: float = 0.9,
    t1: float = 1e18,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Runs the flows.

    Args:
        lengths: H.
        probabilities: s.
        heights: h, paid for a wrong first token.
        misled_probabilities: s of the chains where that is paid.
        misled_length: their H.
        target: probability of the right output whose first time is wanted.
        t1: latest time.
        rtol: relative tolerance of the flows.
        atol: absolute tolerance of the flows.

    Returns:
        Along "reward", "length" and "probability", the last in order: `hitting_time`. Along "misled_probability" and
        "height": `misled_time`, and along the first alone `sparse_time`, of the same chain without any dense reward.
    """
    order = np.sort(np.unique(np.asarray(probabilities, float)))
    sizes, climbs = np.asarray(lengths), np.asarray(heights, float)
    starts = np.asarray(misled_probabilities, float)
    longest = int(max(*sizes, misled_length))
    settings = {"rtol": rtol, "atol": atol}

    # (length, probability, height or nan, dense or not) of every lane.
    plain = np.array([(h, s, np.nan, dense) for dense in (0, 1) for h in sizes for s in order])
    misled = np.array([(misled_length, s, h, 1) for s in starts for h in climbs])
    sparse = np.array([(misled_length, s, np.nan, 0) for s in starts])
    lanes = np.concatenate([plain, misled, sparse])
    batch = chains(longest, lanes[:, 0].astype(int), lanes[:, 1], dense=lanes[:, 3] > 0, heights=lanes[:, 2])
    hits = np.asarray(flow_many(batch, t1, target=target, **settings).hitting_time)
    parts = np.split(hits, np.cumsum([len(plain), len(misled)]))

    # Tokens that do not depend on one another are problems of their own, all alike.
    one = np.tile(np.stack([order, 1 - order], axis=-1), (len(sizes), 1))[:, None]
    right = np.repeat(sizes, len(order))
    tokens = Batch.tabular(one, np.array([1.0, 0.0]), (np.array([1.0, 0.0]) / right[:, None])[:, None])
    alone = np.asarray(flow_many(tokens, t1, target=target ** (1 / right), **settings).hitting_time)

    axes = {"reward": len(REWARDS), "length": len(sizes), "probability": len(order)}
    both = xarray.Dataset({"hitting_time": ("run", np.concatenate([parts[0], alone]), _TIME)})
    return grids.unstack(both, axes).assign(
        misled_time=(("misled_probability", "height"), parts[1].reshape(len(starts), -1), _TIME),
        sparse_time=("misled_probability", parts[2], _TIME),
    ).assign_coords(
        reward=("reward", words(REWARDS)),
        length=("length", sizes, {"units": "token", "long_name": "length H"}),
        probability=("probability", order, {"units": "1", "long_name": "initial probability of a right token"}),
        misled_probability=("misled_probability", starts, {"units": "1"}),
        height=("height", climbs, {"units": "1", "long_name": "reward of a wrong first token"}),
    ).assign_attrs(dynamics="flow")  # fmt: skip


_TIME = {"units": "1", "long_name": "time until the right output is as probable as the target"}


def chains(
    longest: int, lengths: Numbers, probabilities: Numbers, *, dense: Numbers, heights: Numbers | None = None
) -> Batch:
    """Chains of several lengths as one batch: those of H tokens begin H decision points before the end.

    Args:
        longest: decision points of every problem.
        lengths: [N], H.
        probabilities: [N], s.
        dense: [N], whether the proxy is the dense reward.
        heights: [N], the proxy's reward of a wrong first token; nan, as None, for none.

    Example:
        >>> batch = chains(3, [3, 2], [0.1, 0.2], dense=[False, True], heights=[np.nan, 0.5])
        >>> batch.proxy_reward[1].tolist(), batch.prompt_weights[1].tolist()
        ([[0.0, 0.0], [0.5, 0.5], [0.5, 0.0]], [0.0, 1.0, 0.0])
    """
    sizes, s = np.asarray(lengths), np.asarray(probabilities, float)
    count = len(sizes)
    rows = np.arange(count)
    sparse = np.zeros((longest, 2))
    sparse[-1, 0] = 1.0
    inside = np.arange(longest) >= longest - sizes[:, None]
    credit = np.zeros((count, longest, 2))
    credit[:, :, 0] = inside / sizes[:, None]
    proxy = np.where(np.asarray(dense, bool)[:, None, None], credit, sparse)
    if heights is not None:
        proxy[rows, longest - sizes, 1] = np.nan_to_num(np.asarray(heights, float))
    start = np.zeros((count, longest))
    start[rows, longest - sizes] = 1.0
    policy = np.repeat(np.stack([s, 1 - s], axis=-1)[:, None], longest, axis=1)
    transitions = mdp.chain(longest, sparse).transitions
    return Batch.tabular(policy, sparse, proxy, prompt_weights=start, transitions=transitions)
