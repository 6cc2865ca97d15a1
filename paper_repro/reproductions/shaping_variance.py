"""Potential-based shaping: nothing for exact gradients, much for sampled ones."""

from __future__ import annotations

import xarray

import figures.shaping_variance
from experiments import shaping_variance
from paper_repro.claims import Claim, fact, measurement, number
from paper_repro.reproduction import Reproduction

_SHAPING = "Ng, Harada, Russell (1999): shaping by a potential leaves the best policy alone"
_SOURCE = "derived here, for the chain of tokens of pgdyn.mdp.chain"


def start_variance(length: int, s: float, potential: float) -> float:
    """The variance at the start under a constant potential c, decision by decision.

    The t-th decision is come to with s^t; there the return less c times the score, of squared length 2 (1 - s)^2 or
    2 s^2, and the mean is s^H (1 - s) for each of 2 H logits.
    """
    total = 0.0
    for t in range(length):
        rest = s ** (length - t - 1)
        right = 2 * (1 - s) ** 2 * (rest * (1 - potential) ** 2 + (1 - rest) * potential**2)
        total += s**t * (s * right + (1 - s) * 2 * s**2 * potential**2)
    return total - 2 * length * (s**length * (1 - s)) ** 2


def _start_claim(name: str, slug: str, height: float) -> Claim:
    def measure(dataset: xarray.Dataset) -> float:
        settings = dataset.attrs
        expected = start_variance(settings["length"], settings["initial_probability"], height)
        return float(dataset["variance"].sel(potential=name)[0]) / expected

    words = (
        f"Variance of REINFORCE's gradient at the start, potential {name}: listed episodes over the sum by decisions"
    )
    return Claim(f"variance-{slug}", words, _SOURCE, number(measure, 1.0, 1e-9))


def _paths(dataset: xarray.Dataset) -> float:
    value = dataset["exact_value"]
    return float((value.max("potential") - value.min("potential")).max())


def _order(dataset: xarray.Dataset) -> tuple[bool, str]:
    end = dataset["success"].isel(update=-1)
    none, best, worst = (float(end.sel(potential=name)) for name in ("none", "V*", "-V*"))
    words = ", ".join(f"{name}: {float(end.sel(potential=name)):.3f}" for name in end["potential"].values)
    return none > 0.98 and none - best > 0.05 and best - worst > 0.1, words


def _alike(dataset: xarray.Dataset) -> tuple[bool, str]:
    ratio = (dataset["variance"].sel(potential="-V*") / dataset["variance"].sel(potential="V*")).values
    return bool((ratio < 2).all() and (ratio > 0.5).all()), f"ratio from {ratio.min():.3f} to {ratio.max():.3f}"


def _larger(dataset: xarray.Dataset) -> str:
    ratio = dataset["variance"].sel(potential="V*") / dataset["variance"].sel(potential="none")
    return f"{float(ratio[0]):.1f} times at the start, {float(ratio.min()):.1f} at least"


REPRODUCTION = Reproduction(
    name="shaping_variance",
    title="Shaping is free for exact gradients and costs sampled ones",
    summary=(
        "A chain of tokens with a reward for all right, and the same shaped by the value V* of the best policy, by -V* "
        "and by random potentials. Exact gradients are the same under all of them. REINFORCE on the reward-to-go sees "
        "the return less the potential: a baseline. It succeeds most often without shaping, whose gradient varies "
        "least here. The variance under V* and -V* is alike and their success is not: under -V* whatever is drawn is "
        "reinforced, and a run that has settled on a wrong token stays there."
    ),
    experiment=shaping_variance.run,
    figures={"shaping_variance": figures.shaping_variance.draw},
    claims=(
        Claim(
            "exact-paths",
            "Gradient ascent under any of the four potentials: largest difference of the true value",
            _SHAPING,
            number(_paths, 0.0, 1e-10),
        ),
        Claim(
            "unbiased",
            "REINFORCE's mean gradient under any of the four, by listing the episodes, against the unshaped exact one",
            _SHAPING,
            number(lambda dataset: float(dataset["bias"].max()), 0.0, 1e-12),
        ),
        _start_claim("V*", "best", 1.0),
        _start_claim("none", "none", 0.0),
        _start_claim("-V*", "worst", -1.0),
        Claim(
            "success",
            "REINFORCE succeeds most often without shaping, less with V*, least with -V*",
            "measured here",
            fact("without above 0.98, 0.05 more than with V*, and that 0.1 more than with -V*", _order),
        ),
        Claim(
            "variance-alike",
            "The variance under -V* stays near that under V*, all along the exact path",
            "measured here",
            fact("within a factor of 2", _alike),
        ),
        Claim("variance-ratio", "Variance under V* over that without", "measured here", measurement(_larger)),
    ),
    order=72,
)
