"""Errors that put the rewards of a prompt on another scale and keep their order, but for ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array

from pgdyn.errors.perturb.family import Errors, Family, Proxies, arrays_of, listed
from pgdyn.problem import Problem
from pgdyn.validate import Numbers


class Clip(Family):
    """The range of each prompt is cut from below, then from above: M = 2 F.

    Attributes:
        fractions: [F], what is cut off, in [0, 1] of the prompt's range.

    Raises:
        ValueError: on fractions outside of [0, 1].

    Example:
        >>> Clip([0.25])(Problem.tabular(None, [1.0, 0.5, -1.0])).proxy_rewards[:, 0].tolist()
        [[1.0, 0.5, -0.5], [0.5, 0.5, -1.0]]
    """

    fractions: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, fractions: Numbers = (0.1, 0.25, 0.5, 0.75)):
        self.fractions = listed("fractions", fractions, minimum=0.0, maximum=1.0)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        xp, problem = arrays_of(problem)
        truth = problem.true_reward
        low, high = _extremes(xp, truth)
        cut = xp.asarray(self.fractions)[:, None, None] * (high - low)[None]
        below = xp.maximum(truth[None], low[None] + cut)
        above = xp.minimum(truth[None], high[None] - cut)
        fraction = np.tile(self.fractions, 2)
        side = np.repeat([-1, 1], len(self.fractions))
        return Errors(xp.concatenate([below, above]), {"side": side, "fraction": fraction})


class Compress(Family):
    """Order and range kept, what lies between pushed up (power below 1) or down (above 1): M = len(powers).

    Attributes:
        powers: gamma > 0.

    Raises:
        ValueError: on powers that are not positive.

    Example:
        >>> Compress([2.0])(Problem.tabular(None, [1.0, 0.0, -1.0])).proxy_rewards.tolist()
        [[[1.0, -0.5, -1.0]]]
    """

    powers: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, powers: Numbers = (0.25, 0.5, 2.0, 4.0, 8.0)):
        self.powers = listed("powers", powers, positive=True)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        powers = np.asarray(self.powers)
        return Errors(_rescaled(problem, lambda xp, u: u ** powers[:, None, None]), {"power": powers})


class Temperature(Family):
    """Rewards through an exponential, as a tilted or best-of-n reward would be: order and range kept.

    A small positive temperature leaves only the best output's reward high; a negative one raises all but the worst.

    Attributes:
        temperatures: tau, at least 0.001 in size, in units of the prompt's range; M = len(temperatures).

    Raises:
        ValueError: on a temperature nearer to 0.

    Example:
        >>> Temperature([0.1])(Problem.tabular(None, [1.0, 0.8, -1.0])).proxy_rewards.round(3).tolist()
        [[[1.0, -0.264, -1.0]]]
    """

    temperatures: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, temperatures: Numbers = (0.1, 0.3, 1.0, -1.0, -0.3)):
        self.temperatures = listed("temperatures", temperatures)
        for i, tau in enumerate(self.temperatures):
            if abs(tau) < 1e-3:
                raise ValueError(f"temperatures[{i}] is {tau:g}; it must be at least 0.001 in size")

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        tau = np.asarray(self.temperatures)[:, None, None]

        def tilt(xp: Any, u: Any) -> Any:
            # For tau > 0, e^{(u-1)/tau} (1 - e^{-u/tau}) / (1 - e^{-1/tau}): nothing overflows.
            size = abs(tau)
            toward = xp.where(tau > 0, u - 1, 0.0)
            return xp.exp(toward / size) * xp.expm1(-u / size) / xp.expm1(-1 / size)

        return Errors(_rescaled(problem, tilt), {"temperature": np.asarray(self.temperatures)})


def _extremes(xp: Any, reward: Any) -> tuple[Any, Any]:
    """[P, 1], the lowest and the highest reward of each prompt."""
    return xp.min(reward, axis=1, keepdims=True), xp.max(reward, axis=1, keepdims=True)


def _rescaled(problem: Problem, shape: Callable[[Any, Any], Any]) -> Proxies:
    """lo + (hi - lo) shape(u); a prompt of equal rewards stays as it is."""
    xp, problem = arrays_of(problem)
    low, high = _extremes(xp, problem.true_reward)
    width = high - low
    unit = (problem.true_reward - low) / xp.where(width > 0, width, 1.0)
    return low[None] + width[None] * shape(xp, unit[None])
