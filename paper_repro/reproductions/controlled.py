"""Section 3.3 of arXiv 2604.25872: training on the ground truth stalls where training on a flawed proxy does not."""

from __future__ import annotations

import functools

import numpy as np
import xarray

import figures.controlled
import figures.readme
from experiments import controlled
from paper_repro import golden
from paper_repro.claims import Claim, count, fact
from paper_repro.exact_claims import flow_beside_ascent, golden_claims
from paper_repro.reproduction import Reproduction

_PAPER = "arXiv 2604.25872, section 3.3"


def _select(dataset: xarray.Dataset, start: float, reward: str) -> xarray.Dataset:
    return dataset.sel(initial_probability=start, training_reward=reward)


def _end(dataset: xarray.Dataset, start: float, reward: str, output: str) -> float:
    run = _select(dataset, start, reward)
    return float(np.exp(run["log_policy"].isel(update=-1).sel(output=output).squeeze()))


def _stalls(dataset: xarray.Dataset) -> tuple[bool, str]:
    mass = _end(dataset, 0.05, "ground truth", "y_med")
    hit = float(_select(dataset, 0.05, "ground truth")["hitting_time"])
    return mass > 0.99 and np.isinf(hit), f"π(y_med) = {mass:.5f} at the end; target reached: {count(hit)}"


def _escapes(dataset: xarray.Dataset) -> tuple[bool, str]:
    masses = [_end(dataset, float(start), "proxy", "y*") for start in dataset["initial_probability"]]
    return min(masses) > 0.999, "π(y*) at the end: " + ", ".join(f"{mass:.5f}" for mass in masses)


def _sooner(dataset: xarray.Dataset) -> tuple[bool, str]:
    hits = dataset["hitting_time"].sel(training_reward=["ground truth", "proxy"]).values
    pairs = ", ".join(f"{count(proxy)} against {count(truth)}" for truth, proxy in hits)
    return bool((hits[:, 1] < hits[:, 0]).all()), f"updates, proxy against ground truth: {pairs}"


def _rarer_is_slower(dataset: xarray.Dataset) -> tuple[bool, str]:
    hits = dataset["hitting_time"].sel(training_reward="ground truth").values
    falls = all(later < earlier for earlier, later in zip(hits, hits[1:], strict=False))
    return falls, "updates: " + ", ".join(map(count, hits))


def _flow_agrees(dataset: xarray.Dataset) -> tuple[bool, str]:
    ascent, flow = (np.isfinite(dataset[name].values) for name in ("hitting_time", "flow_hitting_time"))
    return bool((ascent == flow).all()), f"ascent reaches it in {ascent.sum()}, the flow in {flow.sum()} of {flow.size}"


_FACTS = (
    Claim(
        "ground-truth-stalls",
        "From π₀(y*) = 0.05, training on the ground truth stalls on the mediocre output",
        _PAPER,
        fact("π(y_med) > 0.99 after 50,000 updates, target never reached", _stalls),
    ),
    Claim(
        "proxy-escapes",
        "Training on the proxy, which calls the mediocre output bad, finds y* from every start",
        _PAPER,
        fact("π(y*) > 0.999 after 50,000 updates", _escapes),
    ),
    Claim(
        "proxy-sooner",
        "From every start the proxy reaches a true value of 0.9 sooner than the ground truth itself",
        _PAPER,
        fact("fewer updates under the proxy", _sooner),
    ),
    Claim(
        "rarer-is-slower",
        "On the ground truth, the rarer y* is at the start, the longer the stall",
        _PAPER,
        fact("updates fall as π₀(y*) grows", _rarer_is_slower),
    ),
    Claim(
        "flow-agrees",
        "Gradient flow reaches the target in the same runs as gradient ascent",
        "measured here; section 3.3 runs ascent, the theorems speak of the flow",
        fact("the same runs", _flow_agrees),
    ),
)


def _claims() -> tuple[Claim, ...]:
    numbers: list[Claim] = []
    measured: list[Claim] = []
    for (start, reward), run in golden.CONTROLLED.items():
        label = f"e{100 * start:02.0f}-{reward.replace(' ', '-')}"
        words = f"π₀(y*) = {start:.2f}, trained on the {reward}"
        select = functools.partial(_select, start=start, reward=reward)
        numbers.extend(golden_claims(label, words, run, select))
        measured.append(flow_beside_ascent(label, words, select))
    return (*_FACTS, *numbers, *measured)


REPRODUCTION = Reproduction(
    name="controlled",
    title="Training on the ground truth stalls, training on a flawed proxy does not",
    summary=(
        "Five outputs: the best y*, a mediocre y_med and three bad ones. The ground truth rewards them with "
        "(1, 0.8, −1, −1, −1), the proxy with (1, −1, −1, −1, −1). Exact gradient ascent with learning rate 0.1 for "
        "50,000 updates from the initial policy (e, 0.5, q, q, q), q = (0.5 − e)/3, for e = 0.05, 0.10, 0.15; and the "
        "gradient flow of the same problems to time 5,000."
    ),
    experiment=controlled.run,
    figures={"readme": figures.readme.draw, "controlled": figures.controlled.draw},
    claims=_claims(),
    order=10,
)
