"""Errors on some of the outputs: one, two exchanged, a subset, or those that were hardly ever seen."""

from __future__ import annotations

import itertools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn import policy, validate
from pgdyn.errors.perturb.family import Errors, Family, arrays_of, listed
from pgdyn.problem import Problem
from pgdyn.validate import Numbers

MAX_SUBSET_OUTPUTS = 12


class SingleOutput(Family):
    """One output of one prompt gets another reward: M = P K V, values fastest.

    Attributes:
        values: [V], the new rewards, or what is added to the true ones; None for `count` of them, evenly spaced over
            the range of the problem's true rewards.
        count: V where `values` is None.
        relative: whether values are added instead of set.

    Raises:
        ValueError: on values that are not finite, a count below 1, or `relative` without values.

    Example:
        >>> errors = SingleOutput([0.0, 5.0])(Problem.tabular(None, [1.0, -1.0]))
        >>> errors.proxy_rewards[:, 0].tolist()
        [[0.0, -1.0], [5.0, -1.0], [1.0, 0.0], [1.0, 5.0]]
    """

    values: tuple[float, ...] | None = eqx.field(static=True)
    count: int = eqx.field(static=True)
    relative: bool = eqx.field(static=True)

    def __init__(self, values: Numbers | None = None, count: int = 21, relative: bool = False):
        if values is None and relative:
            raise ValueError("relative changes need values; only new rewards have the truth's range as a default")
        self.values = None if values is None else listed("values", values)
        self.count = validate.count("count", count, minimum=1) if values is None else len(self.values or ())
        self.relative = relative

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        xp, problem = arrays_of(problem)
        truth = problem.true_reward
        if self.values is None:
            values = xp.linspace(xp.min(truth), xp.max(truth), self.count)
        else:
            values = xp.asarray(self.values)
        prompt, output, which = np.indices((*truth.shape, self.count)).reshape(3, -1)
        here = np.zeros((len(which), *truth.shape), bool)
        here[np.arange(len(which)), prompt, output] = True
        value = values[which]
        new = value[:, None, None] + (truth[None] if self.relative else 0.0)
        name = "change" if self.relative else "value"
        return Errors(xp.where(here, new, truth[None]), {**_prompt(problem, prompt), "output": output, name: value})


class Swap(Family):
    """Two outputs of one prompt exchange their rewards: M = P K (K - 1) / 2.

    Example:
        >>> errors = Swap()(Problem.tabular(None, [3.0, 2.0, 1.0]))
        >>> errors.proxy_rewards[:, 0].tolist(), errors.label(2)
        ([[2.0, 3.0, 1.0], [1.0, 2.0, 3.0], [3.0, 1.0, 2.0]], 'output 1, with_output 2')
    """

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        xp, problem = arrays_of(problem)
        prompts, outputs = problem.true_reward.shape
        pairs = [(p, y, z) for p in range(prompts) for y, z in itertools.combinations(range(outputs), 2)]
        if not pairs:
            raise ValueError("Swap needs at least two outputs")
        prompt, first, second = np.array(pairs).T
        source = np.tile(np.arange(outputs), (len(pairs), prompts, 1))
        each = np.arange(len(pairs))
        source[each, prompt, first], source[each, prompt, second] = second, first
        proxies = xp.take_along_axis(xp.broadcast_to(problem.true_reward[None], source.shape), source, axis=2)
        return Errors(proxies, {**_prompt(problem, prompt), "output": first, "with_output": second})


class Subsets(Family):
    """Every subset of the outputs shifted, in all prompts alike: M = D (2^K - 1), K at most 12.

    The parameter "subset" has bit y set where output y is shifted.

    Attributes:
        shifts: [D], delta.

    Raises:
        ValueError: on shifts that are not finite.

    Example:
        >>> errors = Subsets([0.5])(Problem.tabular(None, [1.0, 0.0]))
        >>> errors.proxy_rewards[:, 0].tolist(), errors.parameters["subset"].tolist()
        ([[1.5, 0.0], [1.0, 0.5], [1.5, 0.5]], [1, 2, 3])
    """

    shifts: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, shifts: Numbers = (-0.5, 0.5)):
        self.shifts = listed("shifts", shifts)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        _, problem = arrays_of(problem)
        outputs = problem.num_outputs
        if outputs > MAX_SUBSET_OUTPUTS:
            raise ValueError(
                f"Subsets takes at most {MAX_SUBSET_OUTPUTS} outputs and the problem has {outputs}: "
                f"2^{outputs} subsets are too many"
            )
        subsets = np.arange(1, 2**outputs)
        subset = np.tile(subsets, len(self.shifts))
        shift = np.repeat(self.shifts, len(subsets))
        member = (subset[:, None] >> np.arange(outputs)) & 1
        change = shift[:, None] * member
        return Errors(problem.true_reward[None] + change[:, None, :], {"shift": shift, "subset": subset})


class Censor(Family):
    """Outputs that the initial policy hardly ever produces were never scored, and get the prompt's lowest reward.

    Attributes:
        thresholds: initial probabilities below which an output is censored; M = len(thresholds).

    Raises:
        ValueError: on thresholds outside of [0, 1].

    Example:
        >>> Censor([0.1])(Problem.tabular([0.05, 0.5, 0.45], [1.0, 0.8, -1.0])).proxy_rewards.tolist()
        [[[-1.0, 0.8, -1.0]]]
    """

    thresholds: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, thresholds: Numbers = (0.01, 0.03, 0.1, 0.2, 0.3)):
        self.thresholds = listed("thresholds", thresholds, minimum=0.0, maximum=1.0)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        initial = jnp.exp(policy.log_policy(problem, problem.initial_params))
        xp, problem = arrays_of(problem)
        thresholds = np.asarray(self.thresholds)
        low = xp.min(problem.true_reward, axis=1, keepdims=True)
        censored = xp.asarray(initial)[None] < thresholds[:, None, None]
        return Errors(xp.where(censored, low[None], problem.true_reward[None]), {"threshold": thresholds})


def _prompt(problem: Problem, index: np.ndarray) -> dict[str, np.ndarray | Array]:
    return {"prompt": index} if problem.num_prompts > 1 else {}
