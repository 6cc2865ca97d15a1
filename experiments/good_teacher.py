"""What makes a reward model a good teacher (arXiv 2503.15477): accuracy, reward variance, and the policy it teaches.

One problem, several initial policies, many proxies of many accuracies and strengths. A proxy teaches well that raises
the true value soon. Times are those of the gradient flow, `variance_time` has the bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import Batch, flow_many, validate

TRUE = np.array([1.0, 0.6, -0.2, -0.6, -1.0])
# By which outputs an initial policy likes: the good one is rare in each.
POLICIES = {
    "mediocre": (0.04, 0.80, 0.06, 0.05, 0.05),
    "even": (0.08, 0.23, 0.23, 0.23, 0.23),
    "poor": (0.02, 0.02, 0.06, 0.30, 0.60),
}
LATEST = 1e9


@recorded
def run(proxies: int = 300, *, gamma: float = 0.2, seed: int = 0, rtol: float = 1e-6) -> xarray.Dataset:
    """Measures how soon each proxy raises the true value, from every initial policy.

    Args:
        proxies: of many accuracies, strengths and shapes; the ground truth comes first, the same for every policy.
        gamma: rise of the true value that is waited for.
        seed: of the proxies.
        rtol: of the flow.

    Returns:
        Along "policy" and "proxy": `time`, `variance` (of the proxy under the initial policy), `on_policy_accuracy`
        (share of pairs of distinct outputs that are ordered right, by how often the policy draws them). Along "proxy":
        `accuracy` (the same for all policies, each pair counted once).

    Raises:
        ValueError: on fewer than 2 proxies, or a rise that a policy cannot make.
    """
    validate.count("proxies", proxies, minimum=2)
    rng = np.random.default_rng(seed)
    count = len(TRUE)
    # A shape of its own for every proxy, between the true order and a random one, at a strength of its own.
    noise = rng.uniform(0, 1.5, (proxies, 1))
    shape = np.sort(rng.uniform(-1, 1, (proxies, count)))[:, ::-1] + noise * rng.normal(size=(proxies, count))
    strength = 10 ** rng.uniform(-1.5, 0, (proxies, 1))
    proxy = strength * shape / np.abs(shape).max(axis=1, keepdims=True)
    proxy[0] = TRUE
    policies = np.array(list(POLICIES.values()))
    target = policies @ TRUE + gamma
    validate.require("gamma", np.array(gamma), bool((target < TRUE.max()).all()), "no policy can rise so far")
    starts = np.repeat(policies, proxies, axis=0)[:, None]
    batch = Batch.tabular(starts, TRUE, np.tile(proxy, (len(policies), 1))[:, None])
    settings: dict[str, Any] = {
        "target": np.repeat(target, proxies),
        "stop_at_target": True,
        "rtol": rtol,
        "atol": 1e-9,
    }
    time = flow_many(batch, LATEST, **settings).hitting_time.reshape(len(policies), proxies)
    mean = policies @ proxy.T
    variance = policies @ (proxy**2).T - mean**2
    right = np.sign(proxy[:, :, None] - proxy[:, None, :]) == np.sign(TRUE[:, None] - TRUE[None])
    upper = np.triu_indices(count, 1)
    pairs = (policies[:, :, None] * policies[:, None, :])[:, upper[0], upper[1]]
    ordered = right[:, upper[0], upper[1]].astype(float)
    return xarray.Dataset(
        {
            "time": (("policy", "proxy"), time, {"units": "time", "long_name": "time until the true value has risen"}),
            "variance": (("policy", "proxy"), variance, {"units": "1", "long_name": "reward variance"}),
            "on_policy_accuracy": (
                ("policy", "proxy"),
                pairs @ ordered.T / pairs.sum(axis=1, keepdims=True),
                {"units": "1", "long_name": "accuracy on the policy's pairs"},
            ),
            "accuracy": ("proxy", ordered.mean(axis=1), {"units": "1", "long_name": "accuracy"}),
        },
        coords={"policy": ("policy", paper.labels(list(POLICIES)))},
        attrs={"dynamics": "flow", "gamma": gamma},
    )


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's, of the values where x and y are finite.

    Example:
        >>> rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([1.0, 8.0, 27.0]))
        1.0
    """
    known = np.isfinite(x) & np.isfinite(y)
    ranks = []
    for values in (x[known], y[known]):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    return float(np.corrcoef(*ranks)[0, 1])
