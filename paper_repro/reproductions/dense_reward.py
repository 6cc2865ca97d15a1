"""Dense rewards against sparse ones, and a dense reward that misleads."""

from __future__ import annotations

import numpy as np
import xarray
from scipy.integrate import quad

import figures.dense_reward
from experiments import dense_reward
from paper_repro.claims import Claim, fact, hitting_time, measurement, number
from paper_repro.reproduction import Reproduction

_SOURCE = "derived here, for the chain of tokens of pgdyn.mdp.chain"
# (H, s) -> times to .9 on the dense reward, by SciPy's DOP853 at a relative tolerance of 1e-11.
_DENSE = {
    (2, 0.5): 20.8645762,
    (3, 0.1): 86.1686283,
    (3, 0.02): 276.5582538,
    (5, 0.1): 213.4760071,
    (5, 0.02): 745.0250549,
}


def _claim(length: int, s: float, expected: float) -> Claim:
    def measure(dataset: xarray.Dataset) -> float:
        one = dataset["hitting_time"].sel(reward="dense", length=length)
        return float(one.sel(probability=s, method="nearest"))

    words = f"Dense reward, H = {length}, s = {s:g}: time until the right output has probability 0.9"
    return Claim(f"dense-{length}-{s:g}", words, _SOURCE, hitting_time(measure, expected, 1e-5))


def _antiderivative(p: np.ndarray, shift: float) -> np.ndarray:
    """Of (1 + p - shift) / (p (1 - p))^2."""
    odds = np.log(p / (1 - p))
    return (1 - shift) * (1 / (1 - p) - 1 / p + 2 * odds) + odds + 1 / (1 - p)


def sparse_time(length: int, s: float, target: float) -> float:
    """The time on the sparse reward: all tokens are as likely, and u' = 2 p^H (1 - p) of their log-odds u."""
    return quad(lambda p: 1 / (2 * p ** (length + 1) * (1 - p) ** 2), s, target ** (1 / length), epsrel=1e-10)[0]


def token_time(length: int, s: float, target: float) -> float:
    """The time of tokens on their own: u' = 2 p (1 - p) / H."""
    ends = np.array([s, target ** (1 / length)])
    return float(length / 2 * np.diff(1 / (1 - ends) - 1 / ends + 2 * np.log(ends / (1 - ends)))[0])


def misled_time(height: float, s: float, target: float) -> float:
    """The time of two tokens where a wrong first one pays `height`, a quadrature over the second one's probability.

    With the log-odds u of the first token and the probability p of the second one
    (1 + e^u) du = (1 + p - 2h) / (p (1 - p))^2 dp: u + e^u is known, and dt = dp / (p_1 (p (1 - p))^2).
    """
    start = np.log(s / (1 - s))
    # The second token's log-odds, finely; the integrand is smooth in them.
    odds = np.linspace(start, np.log(target / (1 - target)) + 14.0, 40_001)
    p = 1 / (1 + np.exp(-odds))
    known = start + np.exp(start) + _antiderivative(p, 2 * height) - _antiderivative(p[:1], 2 * height)
    # u + e^u = known, by Newton's method from a start that is above the root.
    u = np.where(known > 1, np.log(np.maximum(known, 1)), known)
    for _ in range(60):
        u = u - (u + np.exp(u) - known) / (1 + np.exp(u))
    first = 1 / (1 + np.exp(-u))
    rate = 1 / (first * p * (1 - p))
    t = np.concatenate([[0], np.cumsum(np.diff(odds) * (rate[1:] + rate[:-1]) / 2)])
    return float(np.interp(target, (first * p)[np.argmin(first) :], t[np.argmin(first) :]))


def _error(dataset: xarray.Dataset, reward: str) -> float:
    law = {"sparse": sparse_time, "tokens": token_time}[reward]
    found = dataset["hitting_time"].sel(reward=reward)
    expected = [
        [law(int(size), float(s), dataset.attrs["target"]) for s in found["probability"]] for size in found["length"]
    ]
    return float(np.abs(found.values / expected - 1).max())


def _misled_error(dataset: xarray.Dataset) -> float:
    expected = [
        [misled_time(float(h), float(s), dataset.attrs["target"]) for h in dataset["height"]]
        for s in dataset["misled_probability"]
    ]
    return float(np.abs(dataset["misled_time"].values / expected - 1).max())


def _hurts(dataset: xarray.Dataset) -> tuple[bool, str]:
    likely = dataset["hitting_time"].sel(length=slice(2, None)).isel(probability=-1)
    ratio = (likely.sel(reward="dense") / likely.sel(reward="sparse")).values
    two = float(ratio[0])
    return two > 1.3, f"H = 2: {two:.2f} times as long; every H: " + ", ".join(f"{x:.3g}" for x in ratio)


def _helps(dataset: xarray.Dataset) -> tuple[bool, str]:
    rare = dataset["hitting_time"].isel(probability=0).sel(length=5)
    ratio = float(rare.sel(reward="sparse") / rare.sel(reward="dense"))
    return ratio > 1e4, f"{ratio:,.0f} times as fast"


def _even(dataset: xarray.Dataset) -> str:
    """Where dense and sparse take the same time, by interpolation in logarithms."""
    words, s = [], np.log(dataset["probability"].values)
    for length in dataset["length"].values[dataset["length"].values > 1]:
        one = dataset["hitting_time"].sel(length=length)
        lead = np.log((one.sel(reward="dense") / one.sel(reward="sparse")).values)
        words.append(f"H = {length}: {np.exp(np.interp(0.0, lead, s)):.3f}" if lead[-1] > 0 else f"H = {length}: above")
    return ", ".join(words)


def _stall(dataset: xarray.Dataset) -> tuple[bool, str]:
    time, sparse = dataset["misled_time"], dataset["sparse_time"]
    rises = bool((np.diff(time.values, axis=1) > 0).all())
    fair = time.isel(height=0) < sparse
    words = []
    for s in time["misled_probability"].values:
        one = time.sel(misled_probability=s)
        words.append(f"s = {s:g}: {float(one[-1] / one[0]):.3g}")
    return rises and bool(fair[0]), "longest over shortest: " + ", ".join(words)


REPRODUCTION = Reproduction(
    name="dense_reward",
    title="Dense rewards, sparse rewards, and dense rewards that mislead",
    summary=(
        "A chain of H tokens, each right with probability s at first, trained on a reward for the whole (sparse), on "
        "1/H for every right prefix (dense), and on 1/H for every right token with logits shared over prefixes. The "
        "sparse time grows like s^-H, the dense one hardly; where success is likely the sparse reward is faster. A "
        "dense reward that also pays h for a wrong first token stalls: the logarithm of the time rises with h."
    ),
    experiment=dense_reward.run,
    figures={"dense_reward": figures.dense_reward.draw},
    claims=(
        *(_claim(length, s, expected) for (length, s), expected in _DENSE.items()),
        Claim(
            "sparse",
            "Sparse reward, every H and s: largest relative error against the quadrature of u' = 2 p^H (1 - p)",
            _SOURCE,
            number(lambda dataset: _error(dataset, "sparse"), 0.0, 1e-4),
        ),
        Claim(
            "tokens",
            "Independent tokens, every H and s: largest relative error against the integral of u' = 2 p (1 - p) / H",
            _SOURCE,
            number(lambda dataset: _error(dataset, "tokens"), 0.0, 1e-5),
        ),
        Claim(
            "helps-when-rare",
            "A dense reward is faster by more than 10^4 where success is rare: H = 5, s = 0.02",
            _SOURCE,
            fact("more than 10,000 times as fast", _helps),
        ),
        Claim(
            "hurts-when-likely",
            "A dense reward is slower where success is likely: H = 2, s = 0.5",
            _SOURCE,
            fact("more than 1.3 times as long", _hurts),
        ),
        Claim("even", "The s at which dense and sparse take the same time", "measured here", measurement(_even)),
        Claim(
            "misled",
            "A misleading dense reward, every height: largest relative error of the time against its quadrature",
            _SOURCE,
            number(_misled_error, 0.0, 1e-4),
        ),
        Claim(
            "misled-stall",
            "The higher a wrong first token is paid, the longer the stall; without pay dense beats sparse at s = 0.05",
            _SOURCE,
            fact("times rise with every height", _stall),
        ),
    ),
    order=70,
)
