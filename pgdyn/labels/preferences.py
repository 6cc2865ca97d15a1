r"""Preferences: pairs of outputs that a truth labels, with noise.

    P(y is labelled better than y') = (1 - e) sigma(beta_p (r(y) - r(y'))) + e (1 - sigma(...))

with flips e, and a sharpness beta_p that may differ between prompts. A label may be the majority of several votes. A
reward model that is right on a fraction a of clean pairs agrees with labels flipped at random with (1 - e) a + e (1 -
a): noise compresses differences of accuracy and keeps their order, as long as e does not depend on the model's errors.

The six kinds of labels are those of CHH-RLHF (the elephant in the room of RLHF data): Same and Opposite pairs can be
used, the latter turned round; Toxic, Vague, Repetitive and Empty ones say nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from pgdyn import validate
from pgdyn.metrics.exact import draw
from pgdyn.metrics.teacher import probabilities, table
from pgdyn.validate import Numbers

KINDS = ("same", "opposite", "toxic", "vague", "repetitive", "empty")


@dataclasses.dataclass(frozen=True)
class Preferences:
    """N labelled pairs of outputs.

    Attributes:
        prompt: [N] indices.
        chosen: [N] outputs that were labelled better.
        rejected: [N] outputs that were labelled worse.
        weight: [N], how often each counts.
        label: [N], the probability that the label is right, as a fit is told it: 1 for a hard label.
        margin: [N], what the difference of rewards should exceed.
        wrong: [N], whether the truth disagrees; known in simulations alone, and no fit looks at it.
    """

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    weight: np.ndarray
    label: np.ndarray
    margin: np.ndarray
    wrong: np.ndarray | None = None

    @classmethod
    def of(
        cls, prompt: Numbers, chosen: Numbers, rejected: Numbers, weight: Numbers | None = None, **more: np.ndarray
    ) -> Preferences:
        """Hard labels without margins.

        Raises:
            ValueError: on lengths that differ or a negative weight.

        Example:
            >>> Preferences.of([0, 0], [1, 2], [0, 0]).weight.tolist()
            [1.0, 1.0]
        """
        arrays = [np.asarray(one, np.int64) for one in (prompt, chosen, rejected)]
        size = len(arrays[0])
        heavy = np.ones(size) if weight is None else np.asarray(validate.as_floats("weight", weight))
        if not all(one.shape == (size,) for one in (*arrays, heavy)):
            raise ValueError("prompt, chosen, rejected and weight must have one length")
        validate.require("weight", heavy, heavy >= 0, "it must be at least 0")
        return cls(*arrays, **{"weight": heavy, "label": np.ones(size), "margin": np.zeros(size), **more})

    def __len__(self) -> int:
        return len(self.prompt)

    def take(self, rows: np.ndarray) -> Preferences:
        """Some of the pairs.

        Example:
            >>> len(Preferences.of([0, 0], [1, 2], [0, 0]).take(np.array([1])))
            1
        """
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Preferences(**{name: None if one is None else one[rows] for name, one in fields.items()})  # pyright: ignore

    def swapped(self, rows: np.ndarray) -> Preferences:
        """With the labels of some pairs ([N] booleans) turned round.

        Example:
            >>> Preferences.of([0], [1], [0]).swapped(np.array([True])).chosen.tolist()
            [0]
        """
        wrong = None if self.wrong is None else self.wrong ^ rows
        chosen = np.where(rows, self.rejected, self.chosen)
        return dataclasses.replace(
            self, chosen=chosen, rejected=np.where(rows, self.chosen, self.rejected), wrong=wrong
        )


def win_probability(true_reward: Numbers, *, sharpness: Numbers = 1.0, flip: Numbers = 0.0) -> np.ndarray:
    """[P, K, K], the probability that y is labelled better than y'.

    Args:
        true_reward: [K] or [P, K].
        sharpness: beta, a number or [P].
        flip: e in [0, 1], a number or [P].

    Raises:
        ValueError: on entries that are not finite or out of range.

    Example:
        >>> win_probability([1.0, 0.0], flip=0.25)[0, 0, 1].round(4)
        np.float64(0.6155)
    """
    truth = table("true_reward", true_reward)
    beta, error = (_each(name, value, len(truth)) for name, value in (("sharpness", sharpness), ("flip", flip)))
    validate.require("flip", error, (error >= 0) & (error <= 1), "it must lie between 0 and 1")
    gap = beta[:, None, None] * (truth[:, :, None] - truth[:, None, :])
    right = sigmoid(gap)
    return (1 - 2 * error[:, None, None]) * right + error[:, None, None]


def preferences(
    true_reward: Numbers,
    count: int,
    seed: int | np.random.Generator = 0,
    *,
    policy: Numbers | None = None,
    sharpness: Numbers = 1.0,
    flip: Numbers = 0.0,
    votes: int = 1,
) -> Preferences:
    """Labelled pairs: a prompt at random, two different outputs from the policy, a noisy label.

    Args:
        true_reward: [K] or [P, K].
        count: N.
        seed: a number, or a NumPy generator.
        policy: [P, K], by which both outputs are drawn; None for all alike.
        sharpness: as for `win_probability`; np.inf labels by the truth itself, ties by lot.
        flip: as for `win_probability`.
        votes: an odd number of labels whose majority counts.

    Raises:
        ValueError: on numbers out of range.

    Example:
        >>> found = preferences([3.0, 0.0], 1000, sharpness=np.inf, flip=0.2)
        >>> abs(float(np.mean(found.wrong)) - 0.2) < 0.05
        True
    """
    truth = table("true_reward", true_reward)
    size, panel = validate.count("count", count, minimum=1), validate.count("votes", votes, minimum=1)
    if panel % 2 == 0:
        raise ValueError(f"votes is {panel}; it must be odd, so that there is a majority")
    rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
    prompts, outputs = truth.shape
    mass = np.full(truth.shape, 1 / outputs) if policy is None else probabilities("policy", policy, truth.shape)
    prompt = rng.integers(prompts, size=size)
    one = draw(mass[prompt], 1, rng)[:, 0]
    rest = mass[prompt]
    rest[np.arange(size), one] = 0
    if not np.all(rest.sum(axis=1) > 0):
        raise ValueError("policy has a prompt with a single output of any weight, so there are no pairs")
    other = draw(rest, 1, rng)[:, 0]
    beta, error = _each("sharpness", sharpness, prompts, finite=False)[prompt], _each("flip", flip, prompts)[prompt]
    gap = truth[prompt, one] - truth[prompt, other]
    with np.errstate(invalid="ignore"):
        chance = np.where(gap == 0, 0.5, sigmoid(beta * gap))
    chance = (1 - 2 * error) * chance + error
    wins = rng.binomial(panel, chance) * 2 > panel
    high, low = np.where(wins, one, other), np.where(wins, other, one)
    return Preferences.of(prompt, high, low, wrong=truth[prompt, high] < truth[prompt, low])


def all_pairs(win: np.ndarray) -> Preferences:
    """The infinite limit of preferences: every ordered pair, weighted by how often it is labelled so.

    Args:
        win: [P, K, K], as of `win_probability`.

    Example:
        >>> found = all_pairs(win_probability([1.0, 0.0]))
        >>> len(found), found.weight.round(4).tolist()
        (2, [0.7311, 0.2689])
    """
    prompts, outputs = win.shape[:2]
    prompt, high, low = (one.ravel() for one in np.indices((prompts, outputs, outputs)))
    kept = high != low
    return Preferences.of(prompt[kept], high[kept], low[kept], win[prompt, high, low][kept])


def taxonomy(
    clean: Preferences, rates: Mapping[str, float], seed: int | np.random.Generator = 0
) -> tuple[Preferences, np.ndarray]:
    """Pairs as a data set has them: some labels turned round, some that say nothing.

    Args:
        clean: pairs with right labels.
        rates: kind -> fraction, of `KINDS` other than "same", which has the rest.
        seed: a number, or a NumPy generator.

    Returns:
        The pairs, and [N] names of kinds. Opposite labels are turned round; the label of a toxic, vague, repetitive or
        empty pair falls by lot.

    Raises:
        ValueError: on an unknown kind, or rates that are negative or sum to more than 1.

    Example:
        >>> pairs, kinds = taxonomy(Preferences.of([0] * 4, [1] * 4, [0] * 4), {"opposite": 1.0})
        >>> pairs.chosen.tolist(), kinds[0]
        ([0, 0, 0, 0], np.str_('opposite'))
    """
    rng = seed if isinstance(seed, np.random.Generator) else np.random.default_rng(seed)
    validate.refuse_unknown(rates, KINDS[1:])
    chance = np.array([rates.get(kind, 0.0) for kind in KINDS[1:]])
    if np.any(chance < 0) or chance.sum() > 1 + 1e-12:
        raise ValueError(f"rates must be at least 0 and sum to at most 1, not {chance.sum():g}")
    kinds = rng.choice(np.array(KINDS), len(clean), p=np.r_[max(1 - chance.sum(), 0), chance] / max(chance.sum(), 1))
    turn = (kinds == "opposite") | (~np.isin(kinds, KINDS[:2]) & (rng.random(len(clean)) < 0.5))
    return clean.swapped(turn), kinds


def relabel(pairs: Preferences, kinds: np.ndarray) -> Preferences:
    """Clean labels: Same pairs, Opposite ones turned back, and no others.

    Args:
        pairs: as of `taxonomy`.
        kinds: [N] names of kinds.

    Example:
        >>> relabel(Preferences.of([0, 0], [0, 1], [1, 0]), np.array(["opposite", "vague"])).chosen.tolist()
        [1]
    """
    return pairs.swapped(kinds == "opposite").take(np.isin(kinds, KINDS[:2]))


def noisy_accuracy(accuracy: Numbers, flip: float) -> np.ndarray:
    """Accuracy on labels flipped at random: (1 - e) a + e (1 - a).

    Example:
        >>> noisy_accuracy([1.0, 0.5], 0.25).tolist()
        [0.75, 0.5]
    """
    given = np.asarray(validate.as_floats("accuracy", accuracy))
    return (1 - flip) * given + flip * (1 - given)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x), without overflow.

    Example:
        >>> sigmoid(np.array([-1e4, 0.0])).tolist()
        [0.0, 0.5]
    """
    return np.exp(-np.logaddexp(0.0, -x))


def _each(name: str, value: Numbers, prompts: int, *, finite: bool = True) -> np.ndarray:
    array = np.asarray(validate.as_floats(name, value))
    if array.shape not in ((), (prompts,)):
        raise ValueError(f"{name} has shape {array.shape}; it must be one number or one for each of {prompts} prompts")
    if finite:
        validate.require_finite(name, array)
    return np.broadcast_to(array, (prompts,))
