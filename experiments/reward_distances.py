"""What distances between rewards say of regret, and what they cannot say of benefit.

Three parts. (a) Random Markov decision processes with two random rewards that mix to different degrees: EPIC, DARD and
STARC against the exact worst-case regret. (b) The plateau problem of the paper's controlled experiments, policy
(.05, .5, .15, .15, .15) and truth (1, .8, -1, -1, -1): EPIC of a proxy against the time at which the flow on it brings
the true value to .9. The truth itself, at distance 0, stalls.
(c) Random bandits: the bounds L d <= regret <= U d of STARC.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import Problem, flow_many
from pgdyn.metrics import distance, spearman

MEASURES: dict[str, Callable[..., float]] = {
    "EPIC": distance.epic,
    "DARD": distance.dard,
    "STARC, value": lambda *rewards, dynamics: distance.starc(*rewards, canonical="value", dynamics=dynamics),
    "STARC, minimal": distance.starc,
}
POLICY = (0.05, 0.5, 0.15, 0.15, 0.15)
FAR, HACK = (1.0, -1.0, -1.0, -1.0, -1.0), (0.2, 0.8, -1.0, -1.0, -1.0)


@recorded
def run(
    pairs: int = 500,
    *,
    states: int = 8,
    actions: int = 3,
    discount: float = 0.9,
    concentration: float = 0.3,
    proxies: int = 4000,
    bandits: int = 10_000,
    t1: float = 1e8,
    seed: int = 0,
) -> xarray.Dataset:
    """Measures all parts.

    Args:
        pairs: of rewards, each with a process of its own.
        states: S.
        actions: A.
        discount: g.
        concentration: of the Dirichlet distribution of next states: small is nearly deterministic.
        proxies: random proxies of the plateau problem.
        bandits: random ones, of two to six outputs.
        t1: end time of the flows.
        seed: of everything.

    Returns:
        Over "pair": `regret` and `distance` [measure, pair], `correlation` [measure]; over "proxy": `epic_uniform`,
        `epic_initial`, `hitting_time`; the first three proxies are the truth, the far beneficial one and the near hack.
        Over "bandit": `bandit_distance`, `bandit_regret`, `bandit_outputs`.
    """
    rng = np.random.default_rng(seed)
    regret, found = np.empty(pairs), np.empty((len(MEASURES), pairs))
    for i in range(pairs):
        follow = rng.dirichlet(np.full(states, concentration), (states, actions))
        dynamics = distance.Dynamics(follow, discount, rng.dirichlet(np.ones(states)))
        truth, other = rng.normal(size=(2, states, actions, states))
        # Rewards that depend on the next state alone, potentials and scale: what distances should not see.
        shape = rng.normal(size=states) * rng.exponential(2.0)
        mix = rng.random()
        proxy = np.exp(rng.normal()) * ((1 - mix) * truth + mix * other + discount * shape - shape[:, None, None])
        regret[i] = distance.worst_case_regret(truth, proxy, dynamics=dynamics)
        found[:, i] = [measure(truth, proxy, dynamics=dynamics) for measure in MEASURES.values()]
    armed = _bandits(bandits, rng)
    truth = np.asarray(paper.TRUE_REWARD, float)
    drawn = truth + rng.random((proxies, 1)) * 1.5 * rng.normal(size=(proxies, 5))
    table = np.concatenate([[truth, FAR, HACK], drawn])
    problem = Problem.tabular(POLICY, truth)
    ends = flow_many(problem.with_proxy(table[:, None]), t1, target=0.9)
    epic = [[distance.epic(truth, one, policy=cover) for one in table] for cover in (None, POLICY)]
    return xarray.Dataset(
        {
            "regret": ("pair", regret, {"long_name": "worst-case regret / range of true values"}),
            "distance": (("measure", "pair"), found),
            "correlation": ("measure", spearman(found, regret), {"long_name": "Spearman correlation with the regret"}),
            "epic_uniform": ("proxy", epic[0]),
            "epic_initial": ("proxy", epic[1]),
            "hitting_time": ("proxy", np.asarray(ends.hitting_time)),
            "proxy_reward": (("proxy", "output"), table),
            **{f"bandit_{name}": ("bandit", column) for name, column in armed.items()},
        },
        {"measure": paper.labels(list(MEASURES))},
    )


def _bandits(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """STARC and the worst-case regret of random bandits; in a third of them, proxy and truth are close."""
    outputs = rng.integers(2, 7, count)
    found = np.empty((2, count))
    for i, size in enumerate(outputs):
        truth, proxy = rng.normal(size=(2, size))
        if i % 3 == 0:
            proxy = truth + 0.1 * proxy
        found[:, i] = distance.starc(truth, proxy), distance.worst_case_regret(truth, proxy)
    return {"distance": found[0], "regret": found[1], "outputs": outputs}
