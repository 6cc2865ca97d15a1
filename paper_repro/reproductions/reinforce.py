"""Appendix C of arXiv 2604.25872: the controlled experiments with REINFORCE instead of the exact gradient."""

from __future__ import annotations

import numpy as np
import xarray

import figures.reinforce
from experiments import reinforce
from paper_repro import golden, proportions
from paper_repro.claims import Claim, Finding, Verdict, count, fact, measurement
from paper_repro.reproduction import Reproduction

_PAPER = "arXiv 2604.25872, appendix C"
FAMILY_LEVEL = 1e-3  # chance that at least one of the nine checks fails though nothing is wrong
LEVEL = FAMILY_LEVEL / (len(golden.REINFORCE) + len(golden.LOOP))
SEEDS = 1000  # the windows of 200 are as wide as 9 to 63


_REFERENCE = f"{_PAPER}; reference of {golden.REINFORCE_SEEDS} seeds, a sample like ours"
_LOOP = f"{_PAPER}; an independent loop in NumPy over {golden.LOOP_SEEDS:,} seeds"


def _successes(dataset: xarray.Dataset, start: float, reward: str) -> tuple[int, int]:
    final = dataset["true_value"].sel(initial_probability=start, training_reward=reward).isel(update=-1)
    return int((final > 0.9).sum()), final.size


def _fraction_claim(start: float, reward: str, reference: int, trials: int, name: str, source: str) -> Claim:
    def check(dataset: xarray.Dataset) -> Finding:
        found, seeds = _successes(dataset, start, reward)
        p_value = proportions.fisher_exact(found, seeds, reference, trials)
        least, most = proportions.acceptable(seeds, reference, trials, LEVEL)
        low, high = proportions.wilson_interval(found, seeds)
        return Finding(
            f"{reference / trials:.3f} ({reference} of {trials:,})",
            f"{found / seeds:.3f} ({found} of {seeds}; 95 % interval {low:.3f} to {high:.3f})",
            f"{least} to {most} of {seeds}: Fisher's exact test, p = {p_value:.2g} ≥ {LEVEL:.2g}"
            if p_value >= LEVEL
            else f"{least} to {most} of {seeds}: Fisher's exact test, p = {p_value:.2g} < {LEVEL:.2g}",
            Verdict.passed if p_value >= LEVEL else Verdict.failed,
        )

    return Claim(
        f"e{100 * start:02.0f}-{reward.replace(' ', '-')}-{name}",
        f"π₀(y*) = {start:.2f}, trained on the {reward}: fraction of seeds that end with a true value above 0.9",
        source,
        check,
        needs_full=True,
    )


def _ordered(dataset: xarray.Dataset) -> tuple[bool, str]:
    counts = [_successes(dataset, start, "ground truth") for start in dataset["initial_probability"].values]
    shares = [found / seeds for found, seeds in counts]
    rises = all(later > earlier for earlier, later in zip(shares, shares[1:], strict=False))
    return rises, "fractions: " + ", ".join(f"{share:.3f}" for share in shares)


def _proxy_sooner(dataset: xarray.Dataset) -> tuple[bool, str]:
    hits = dataset["hitting_time"].sel(training_reward=["ground truth", "proxy"]).values
    medians = np.median(hits, axis=-1)
    pairs = ", ".join(f"{count(proxy)} against {count(truth)}" for truth, proxy in medians)
    return bool((medians[:, 1] < medians[:, 0]).all()), f"median updates, proxy against ground truth: {pairs}"


def _spread(dataset: xarray.Dataset) -> str:
    parts = []
    for start in dataset["initial_probability"].values:
        for reward in dataset["training_reward"].values:
            hits = dataset["hitting_time"].sel(initial_probability=start, training_reward=reward).values
            low, high = np.quantile(hits, (0.1, 0.9), method="inverted_cdf")
            parts.append(f"e = {start:.2f}, {reward}: {count(low)} to {count(high)}")
    return "; ".join(parts)


REPRODUCTION = Reproduction(
    name="reinforce",
    title="The same with REINFORCE",
    summary=(
        "The six problems above with sampled gradients: one output drawn an update, no baseline, learning rate 0.1, "
        f"50,000 updates, {SEEDS:,} seeds each, every run and seed with a random key of its own folded from root seed "
        f"0. The reference fractions come from {golden.REINFORCE_SEEDS} seeds, those of an independent loop in NumPy "
        f"from {golden.LOOP_SEEDS:,}, so each comparison is one of two finite samples: Fisher's exact test, two-sided, "
        f"at level {LEVEL:.2g}, chosen beforehand so that a correct program fails any of them with probability at most "
        f"{FAMILY_LEVEL:g}."
    ),
    experiment=reinforce.run,
    full={"seeds": SEEDS},
    quick={"seeds": 20, "chunk": 20},
    figures={"reinforce": figures.reinforce.draw},
    claims=(
        Claim(
            "proxy-sooner",
            "From every start the median seed reaches 0.9 sooner under the proxy than under the ground truth",
            _PAPER,
            fact("fewer updates under the proxy", _proxy_sooner),
        ),
        Claim(
            "rarer-is-slower",
            "On the ground truth, the rarer y* is at the start, the fewer seeds escape the mediocre output",
            _PAPER,
            fact("fractions rise with π₀(y*)", _ordered),
            needs_full=True,
        ),
        *(
            _fraction_claim(start, reward, reached, golden.REINFORCE_SEEDS, "fraction", _REFERENCE)
            for (start, reward), reached in golden.REINFORCE.items()
        ),
        *(
            _fraction_claim(start, "ground truth", reached, golden.LOOP_SEEDS, "loop", _LOOP)
            for start, reached in golden.LOOP.items()
        ),
        Claim(
            "spread",
            "Updates until the true value is at least 0.9, 10 % to 90 % of seeds",
            "measured here",
            measurement(_spread),
        ),
    ),
    order=20,
)
