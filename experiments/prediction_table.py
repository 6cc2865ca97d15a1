"""How often the effect of reward errors is told before any training, over families of random problems.

Four ways to tell whether an error harms, helps or is benign, without an integrator: by the exact solution; by the type
of the error (`pgdyn.errors.mechanism`); by the slope of the true value at the start, on the proxy against on the ground
truth; and the commonest category as the only answer. Where features have no exact solution, the one of the nearest
problem that has stands in: each output moves by itself, with the gain that the kernel is fitted by.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments import error_confusion
from experiments.made_by import recorded
from pgdyn import Batch, Flow, exact, flow_many, validate
from pgdyn.errors.categories import UNDECIDED, classify
from pgdyn.errors.categorize import compare
from pgdyn.errors.mechanism import PREDICTED, causes
from pgdyn.errors.prediction import predict
from pgdyn.exact.reach import gains_and_misfit
from pgdyn.solve import Progress

WAYS = ("exact", "mechanism", "initial slope", "commonest")
_LEAST_GAIN = 1e-3  # of the largest: a smaller one, or a negative one, is fitted by this


class Family(NamedTuple):
    """Random problems with errors.

    Attributes:
        policy: [N, K], at the start.
        truth: [N, K].
        proxy: [N, K].
        target: [N].
        features: [N, K, D], or None.
    """

    policy: np.ndarray
    truth: np.ndarray
    proxy: np.ndarray
    target: np.ndarray
    features: np.ndarray | None = None


def noise(count: int, random: np.random.Generator, outputs: int = 5) -> Family:
    """Normal noise of standard deviation 0.5 on rewards uniform in [-1, 1]."""
    policy, truth = _softmax(random.standard_normal((count, outputs))), random.uniform(-1, 1, (count, outputs))
    return _with_target(policy, truth, truth + random.normal(0, 0.5, truth.shape))


def replaced(count: int, random: np.random.Generator) -> Family:
    """One to three of five rewards drawn anew, as in `error_confusion`."""
    drawn = error_confusion.draw_problems(count, 5, 3, 1.5, random)
    return Family(*drawn[:4])


def trap(count: int, random: np.random.Generator) -> Family:
    """A mediocre output that leads, a rare best one, three bad ones; one or two of the rewards drawn anew."""
    best, middle = 10 ** random.uniform(-2.5, -1, count), random.uniform(0.4, 0.8, count)
    rest = random.dirichlet(np.full(3, 3.0), count) * (1 - best - middle)[:, None]
    policy = np.column_stack([best, middle, rest])
    truth = np.column_stack([np.ones(count), random.uniform(0.3, 0.9, count), random.uniform(-1, -0.2, (count, 3))])
    ranks = random.uniform(size=truth.shape).argsort(axis=1)
    wrong = ranks < random.integers(1, 3, count)[:, None]
    return _with_target(policy, truth, np.where(wrong, random.uniform(-1, 1.2, truth.shape), truth))


def swaps(count: int, random: np.random.Generator) -> Family:
    """Rewards 0 and 1; two outputs' are taken for each other, and a little noise is on all."""
    policy, truth = _softmax(random.standard_normal((count, 5))), (random.uniform(size=(count, 5)) < 0.4) * 1.0
    rows = np.arange(count)
    order = random.uniform(size=truth.shape).argsort(axis=1)
    truth[rows, order[:, 0]], truth[rows, order[:, 1]] = 1.0, 0.0
    proxy = truth + random.normal(0, 0.05, truth.shape)
    one, other = random.integers(0, 5, (2, count))
    proxy[rows, one], proxy[rows, other] = proxy[rows, other], proxy[rows, one]
    start = (policy * truth).sum(axis=1)
    return Family(policy, truth, proxy, np.where(start < 0.9, 0.9, (1 + start) / 2))


def orthogonal(count: int, random: np.random.Generator) -> Family:
    """Orthogonal features of different norms."""
    norms = random.uniform(0.5, 2, (count, 5, 1))
    return noise(count, random)._replace(features=norms * np.linalg.qr(random.standard_normal((count, 8, 8)))[0][:, :5])


def near(size: float) -> Callable[[int, np.random.Generator], Family]:
    """Orthogonal features with normal entries added that are `size` of their length."""

    def draw(count: int, random: np.random.Generator) -> Family:
        family = orthogonal(count, random)
        assert family.features is not None
        return family._replace(features=family.features + size / np.sqrt(8) * random.standard_normal((count, 5, 8)))

    return draw


def unrelated(count: int, random: np.random.Generator) -> Family:
    """Normal features."""
    return noise(count, random)._replace(features=random.standard_normal((count, 5, 8)) / np.sqrt(8))


FAMILIES: dict[str, Callable[[int, np.random.Generator], Family]] = {
    "rewards drawn anew": replaced,
    "noise, 5 outputs": noise,
    "mediocre trap": trap,
    "binary, swapped": swaps,
    "orthogonal features": orthogonal,
    "features 1 % off": near(0.01),
    "features 5 % off": near(0.05),
    "features 20 % off": near(0.2),
    "random features": unrelated,
    "noise, 10 outputs": lambda count, random: noise(count, random, 10),
}
STANDARD = tuple(FAMILIES)[:-1]  # ten outputs compile everything anew, and tell nothing more


@recorded
def run(
    count: int = 1_000,
    *,
    families: Sequence[str] = STANDARD,
    t1: float = 1e6,
    tolerance: float = 0.01,
    seed: int = 0,
    progress: Progress | None = None,
) -> xarray.Dataset:
    """Simulates every family, and tells its categories in four ways.

    Args:
        count: problems of a family.
        families: names from `FAMILIES`; by default all but the one of ten outputs.
        t1: end time.
        tolerance: relative difference below which an error is benign.
        seed: of the random numbers.
        progress: called with (families done, all families).

    Returns:
        Over ("family", "way"): `share`, of the simulated categories that the way tells. Over "family": `covered`,
        whether its problems have an exact solution; `commonest`, their commonest category; `decided`, how many have a
        category; `misfit`, the median of what kernels differ by from the form that has an exact solution.

    Raises:
        ValueError: on a count below 1, or a family that there is not.
    """
    count = validate.count("count", count, minimum=1)
    for name in families:
        validate.choice("families", name, tuple(FAMILIES))
    shares, about = [], []
    for number, name in enumerate(families):
        family = FAMILIES[name](count, np.random.default_rng([seed, list(FAMILIES).index(name)]))
        share, more = _judge(family, t1, tolerance)
        shares.append(share)
        about.append(more)
        if progress is not None:
            progress(number + 1, len(families))
    covered, commonest, decided, misfit = zip(*about, strict=True)
    return xarray.Dataset(
        {
            "share": (("family", "way"), shares, {"units": "1", "long_name": "share of errors told"}),
            "covered": ("family", list(covered), {"long_name": "whether there is an exact solution"}),
            "commonest": ("family", np.array(commonest, object), {"long_name": "commonest category"}),
            "decided": ("family", list(decided), {"units": "1", "long_name": "errors with a category"}),
            "misfit": ("family", list(misfit), {"units": "1", "long_name": "what kernels miss the form by"}),
        },
        coords={"family": np.array(families, object), "way": np.array(WAYS, object)},
        attrs={"dynamics": "flow"},
    )


def _judge(family: Family, t1: float, tolerance: float) -> tuple[list[float], tuple[bool, str, int, float]]:
    truths = problems(family)
    proxies = truths.replace(proxy_reward=family.proxy[:, None])
    flow = Flow(t1=t1, target=family.target)
    base, trained = (flow_many(batch, t1, target=family.target) for batch in (truths, proxies))
    category = compare(base, trained, tolerance).category
    decided = category != UNDECIDED
    covered = bool(np.all(exact.covers(truths)))
    misfit = 0.0
    stand_ins = (truths, proxies)
    if not covered:
        gains, misfits = jax.vmap(gains_and_misfit)(jnp.asarray(truths.features))
        misfit = float(np.median(misfits))
        stand_in = fitted(family, np.asarray(gains)[:, 0])
        stand_ins = stand_in, stand_in.replace(proxy_reward=family.proxy[:, None])
    told = predict(*stand_ins, flow, tolerance).category
    implied = np.array([PREDICTED[name] for name in causes(proxies, family.target).mechanism])
    names, counts = np.unique(category[decided], return_counts=True)
    commonest = names[counts.argmax()]
    ways = (told, implied, by_slope(family, tolerance), np.full(len(category), commonest))
    share = [float(np.mean((way == category)[decided])) for way in ways]
    return share, (covered, str(commonest), int(decided.sum()), misfit)


def problems(family: Family) -> Batch:
    """The family's problems on their ground truth, as they are trained."""
    start, truth = family.policy[:, None], family.truth[:, None]
    if family.features is None:
        return Batch.tabular(start, truth)
    # Five outputs' features are independent, so that the start is met.
    logits = np.log(family.policy)
    params = np.einsum("nkd,nk->nd", np.linalg.pinv(family.features).swapaxes(1, 2), logits)
    return Batch.linear(family.features[:, None], truth, initial_params=params)


def fitted(family: Family, gains: np.ndarray) -> Batch:
    """The problems with orthogonal features of these squared norms [N, K], where they are positive."""
    length = np.sqrt(np.maximum(gains, _LEAST_GAIN * gains.max(axis=1, keepdims=True)))
    params = np.log(family.policy) / length
    return Batch.linear(
        (length[:, :, None] * np.eye(length.shape[1]))[:, None], family.truth[:, None], initial_params=params
    )


def by_slope(family: Family, tolerance: float) -> np.ndarray:
    """Categories by the slope of the true value at the start, on the proxy over on the ground truth."""

    def attraction(reward: np.ndarray) -> np.ndarray:
        return family.policy * (reward - (family.policy * reward).sum(axis=1, keepdims=True))

    uphill = attraction(family.truth)
    moved = [attraction(reward) for reward in (family.truth, family.proxy)]
    if family.features is not None:
        moved = [np.einsum("nkd,nld,nl->nk", family.features, family.features, own, optimize=True) for own in moved]
    slopes = [(uphill * own).sum(axis=1) for own in moved]
    with np.errstate(divide="ignore"):
        times = [np.where(slope > 0, 1 / slope, np.inf) for slope in slopes]
    return classify(times[0], times[1], 0.0, 0.0, tolerance, 1.0)


def _with_target(policy: np.ndarray, truth: np.ndarray, proxy: np.ndarray) -> Family:
    """Targets half way between the two best rewards, or between the start and the best where it is above that."""
    ordered = np.sort(truth, axis=1)
    goal, start = ordered[:, -2:].mean(axis=1), (policy * truth).sum(axis=1)
    return Family(policy, truth, proxy, np.where(start < goal, goal, (start + ordered[:, -1]) / 2))


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
