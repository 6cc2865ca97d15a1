"""What the best of N by a noisy proxy is worth, by the tail of the noise; and what learning from its like gives.

Many outputs drawn alike, whose true rewards are standard normal; the proxy adds normal noise, noise with a heavy tail,
or mistakes a few bad outputs for very good ones. The best of N by the proxy is taken exactly. On the controlled problem
of arXiv 2604.25872, the policies that imitate the chosen of two answers (as binary FeedME of AlpacaFarm).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import validate

COUNTS = tuple(4**i for i in range(7))
NOISES = ("normal", "heavy tail", "hacked")


@recorded
def run(outputs: int = 20_000, draws: int = 100, *, seed: int = 0) -> xarray.Dataset:
    """Measures the best of N.

    Args:
        outputs: drawn alike.
        draws: of outputs and noise.
        seed: of all draws.

    Returns:
        Along "noise" and "N": `gold`, the true reward of the best by the proxy, its standard error `gold_error`, and
        `proxy`, the proxy's own; along "N": `distance`, the root of log N - (N - 1)/N. Scalars `chosen` and `choice`:
        the true value of imitating the chosen of two answers where labels are certain, and where they follow
        Bradley-Terry at temperature 1; `flipped`, the former with a quarter of the labels flipped.

    Raises:
        ValueError: on counts below 1.
    """
    validate.count("outputs", outputs, minimum=1)
    rng = np.random.default_rng(seed)
    found = np.array([[_best(*_rewards(rng, noise, outputs)) for noise in NOISES] for _ in range(draws)])
    n = np.array(COUNTS, float)
    pi, true = np.array(paper.initial_policy(0.05)), np.array(paper.TRUE_REWARD)
    certain, soft = (true[:, None] > true) + (true[:, None] == true) / 2, 1 / (1 + np.exp(true - true[:, None]))
    imitated = {name: _chosen(pi, odds) @ true for name, odds in (("chosen", certain), ("choice", soft))}
    imitated["flipped"] = _chosen(pi, 0.75 * certain + 0.25 * (1 - certain)) @ true
    dims = ("noise", "N")
    return xarray.Dataset(
        {
            "gold": (dims, found[:, :, 0].mean(axis=0), _described("true reward of the best by the proxy")),
            "gold_error": (dims, found[:, :, 0].std(axis=0) / np.sqrt(draws), _described("its standard error")),
            "proxy": (dims, found[:, :, 1].mean(axis=0), _described("proxy reward of the best")),
            "distance": ("N", np.sqrt(np.maximum(np.log(n) - (n - 1) / n, 0)), _described("root of the KL", "nat^.5")),
            **{name: ((), value, _described("true value after imitation")) for name, value in imitated.items()},
        },
        coords={"noise": ("noise", paper.labels(list(NOISES))), "N": ("N", list(COUNTS), _described("samples N"))},
        attrs={"dynamics": "exact best of N"},
    )


def _described(words: str, units: str = "1") -> dict[str, str]:
    return {"units": units, "long_name": words}


def _rewards(rng: np.random.Generator, noise: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives (true, proxy)."""
    true = rng.normal(size=count)
    if noise == "normal":
        return true, true + rng.normal(size=count)
    if noise == "heavy tail":
        return true, true + 0.7 * rng.standard_t(2, count)
    proxy = true + 0.5 * rng.normal(size=count)
    hacked = rng.uniform(size=count) < 0.005
    return true - 2 * hacked, proxy + 6 * hacked


def _best(true: np.ndarray, proxy: np.ndarray, counts: Sequence[int] = COUNTS) -> np.ndarray:
    """Gives [2, N]: true and proxy reward of the best of N by the proxy, outputs drawn alike."""
    order = np.argsort(proxy)
    reached = (np.arange(len(proxy) + 1) / len(proxy))[:, None] ** np.array(counts)
    chance = np.diff(reached, axis=0)
    return np.stack([true[order] @ chance, proxy[order] @ chance])


def _chosen(pi: np.ndarray, odds: np.ndarray) -> np.ndarray:
    """Gives 2 pi(y) P(y is chosen over another answer of the policy): the policy of the chosen answers."""
    return 2 * pi * (odds @ pi)


def law(dataset: xarray.Dataset, noise: str) -> tuple[float, float]:
    """Fits gold = d (alpha - beta d) in the distance d by least squares; gives alpha and beta.

    Example:
        >>> d = xarray.DataArray([1.0, 2.0, 3.0], dims="N")
        >>> gold = xarray.DataArray([[0.9, 1.6, 2.1]], dims=("noise", "N"), coords={"noise": ["normal"]})
        >>> law(xarray.Dataset({"distance": d, "gold": gold}), "normal")
        (1.0, 0.1)
    """
    d = dataset["distance"].values
    solution, *_ = np.linalg.lstsq(np.stack([d, -(d**2)], axis=1), dataset["gold"].sel(noise=noise).values, rcond=None)
    return round(float(solution[0]), 12), round(float(solution[1]), 12)
