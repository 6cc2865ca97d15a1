r"""Families of reward errors: from a problem, M erroneous proxies [M, P, K] at once.

A family is a frozen module. Called with a problem it returns an `Errors`: proxies made from the problem's *true* reward
r, and what tells them apart. r_p is the row of prompt p, and lo_p, hi_p are its extremes.

    SingleOutput   r_p(y) = v, or r_p(y) + v, for one output of one prompt
    Swap           r_p(y) and r_p(z) exchanged
    Noise          r + sigma eps, eps standard normal, independent or correlated through the features
    Clip           max(r, lo + c (hi - lo)) or min(r, hi - c (hi - lo))
    Compress       lo + (hi - lo) u^gamma, u = (r - lo) / (hi - lo)
    Temperature    lo + (hi - lo) (e^{u/tau} - 1) / (e^{1/tau} - 1)
    Censor         r(y) = lo wherever pi_0(y) < c
    Mixture        (1 - a) r + a r_other
    Subsets        r(y) + delta on a subset of the outputs, for every subset but the empty one

`FAMILIES` names one of each, with settings that suit rewards of order one.
"""

from __future__ import annotations

import abc
import itertools
from collections.abc import Callable, Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy, validate
from pgdyn.problem import Problem, require_single
from pgdyn.validate import Numbers

MAX_SUBSET_OUTPUTS = 12


class Errors(eqx.Module):
    """M erroneous proxies of one problem.

    Attributes:
        proxy_rewards: [M, P, K].
        parameters: name -> [M], what tells the proxies apart; whole numbers are indices of prompts, outputs or draws.
    """

    proxy_rewards: Float[Array, "M P K"]
    parameters: dict[str, np.ndarray | Array]

    def __len__(self) -> int:
        return self.proxy_rewards.shape[0]

    def label(self, index: int) -> str:
        """Error `index` in words, for instance "output 1, value -1"."""
        return ", ".join(f"{name} {values[index]:.6g}" for name, values in self.parameters.items())


class Family(eqx.Module):
    """A way of getting rewards wrong. Call it with a problem, and a key where it draws at random."""

    def __call__(self, problem: Problem, key: Array | None = None) -> Errors:
        """The family's proxies of `problem`.

        Args:
            problem: one problem; its true reward is what errors are made from.
            key: a `jax.random.key`; only families that draw at random use it, and they need it.

        Raises:
            ValueError: on a batch of problems, or one that the family cannot be made for.
        """
        require_single(problem, type(self).__name__)
        return self._make(problem, key)

    @abc.abstractmethod
    def _make(self, problem: Problem, key: Array | None) -> Errors: ...


class SingleOutput(Family):
    """One output of one prompt gets another reward: M = P K V, values fastest.

    Attributes:
        values: [V], the new rewards, or what is added to the true ones; None for `count` of them, evenly spaced over
            the range of the problem's true rewards.
        count: V where `values` is None.
        relative: whether values are added instead of set.
    """

    values: tuple[float, ...] | None = eqx.field(static=True)
    count: int = eqx.field(static=True)
    relative: bool = eqx.field(static=True)

    def __init__(self, values: Numbers | None = None, count: int = 21, relative: bool = False):
        if values is None and relative:
            raise ValueError("relative changes need values; only new rewards have the truth's range as a default")
        self.values = None if values is None else _numbers("values", values)
        self.count = validate.count("count", count, minimum=1) if values is None else len(self.values or ())
        self.relative = relative

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        truth = problem.true_reward
        prompts, outputs = truth.shape
        if self.values is None:
            values = jnp.linspace(jnp.min(truth), jnp.max(truth), self.count)
        else:
            values = jnp.asarray(self.values)
        prompt, output, which = np.indices((prompts, outputs, self.count)).reshape(3, -1)
        here = np.zeros((len(which), prompts, outputs), bool)
        here[np.arange(len(which)), prompt, output] = True
        value = values[which]
        new = value[:, None, None] + (truth[None] if self.relative else 0.0)
        name = "change" if self.relative else "value"
        return Errors(jnp.where(here, new, truth[None]), {**_prompt(prompts, prompt), "output": output, name: value})


class Swap(Family):
    """Two outputs of one prompt exchange their rewards: M = P K (K - 1) / 2."""

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        prompts, outputs = problem.true_reward.shape
        pairs = [(p, y, z) for p in range(prompts) for y, z in itertools.combinations(range(outputs), 2)]
        if not pairs:
            raise ValueError("Swap needs at least two outputs")
        prompt, first, second = np.array(pairs).T
        source = np.tile(np.arange(outputs), (len(pairs), prompts, 1))
        each = np.arange(len(pairs))
        source[each, prompt, first], source[each, prompt, second] = second, first
        proxies = jnp.take_along_axis(
            jnp.broadcast_to(problem.true_reward[None], source.shape), jnp.asarray(source), axis=2
        )
        return Errors(proxies, {**_prompt(prompts, prompt), "output": first, "with_output": second})


class Noise(Family):
    """Gaussian noise, `draws` of it at each scale: M = S draws.

    Correlated through the features, eps_p = Phi_p w / rms with w standard normal and rms^2 the mean squared norm of the
    features, so that a draw's variance, averaged over outputs, is sigma^2. A tabular policy's features are orthonormal,
    for which that is independent noise.

    Attributes:
        scales: [S], standard deviations sigma >= 0.
        draws: proxies at each scale.
        correlation: "independent" or "features".
    """

    scales: tuple[float, ...] = eqx.field(static=True)
    draws: int = eqx.field(static=True)
    correlation: str = eqx.field(static=True)

    def __init__(
        self,
        scales: Numbers = (0.03, 0.1, 0.3, 1.0),
        draws: int = 32,
        correlation: Literal["independent", "features"] = "independent",
    ):
        self.scales = _numbers("scales", scales, minimum=0.0)
        self.draws = validate.count("draws", draws, minimum=1)
        validate.choice("correlation", correlation, ("independent", "features"))
        self.correlation = correlation

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        if key is None:
            raise ValueError("Noise draws at random and needs a key, for instance jax.random.key(0)")
        size = len(self.scales) * self.draws
        if self.correlation == "independent" or problem.features is None:
            noise = jax.random.normal(key, (size, *problem.true_reward.shape))
        else:
            weights = jax.random.normal(key, (size, problem.features.shape[-1]))
            mean_square = jnp.mean(jnp.sum(problem.features**2, axis=-1))
            features = problem.features / jnp.sqrt(jnp.where(mean_square > 0, mean_square, 1.0))
            noise = jnp.einsum("pkd,md->mpk", features, weights)
        scale = np.repeat(self.scales, self.draws)
        draw = np.tile(np.arange(self.draws), len(self.scales))
        return Errors(problem.true_reward[None] + scale[:, None, None] * noise, {"scale": scale, "draw": draw})


class Clip(Family):
    """The range of each prompt is cut from below, then from above: M = 2 F.

    Attributes:
        fractions: [F], what is cut off, in (0, 1] of the prompt's range.
    """

    fractions: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, fractions: Numbers = (0.1, 0.25, 0.5, 0.75)):
        self.fractions = _numbers("fractions", fractions, minimum=0.0, maximum=1.0)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        low, high = _range(problem.true_reward)
        cut = jnp.asarray(self.fractions)[:, None, None] * (high - low)[None]
        below = jnp.maximum(problem.true_reward[None], low[None] + cut)
        above = jnp.minimum(problem.true_reward[None], high[None] - cut)
        fraction = np.tile(self.fractions, 2)
        side = np.repeat([-1, 1], len(self.fractions))
        return Errors(jnp.concatenate([below, above]), {"side": side, "fraction": fraction})


class Compress(Family):
    """Order and range kept, what lies between pushed up (power below 1) or down (above 1): M = len(powers).

    Attributes:
        powers: gamma > 0.
    """

    powers: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, powers: Numbers = (0.25, 0.5, 2.0, 4.0, 8.0)):
        self.powers = _numbers("powers", powers, positive=True)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        powers = np.asarray(self.powers)
        return Errors(_rescaled(problem.true_reward, lambda u: u ** powers[:, None, None]), {"power": powers})


class Temperature(Family):
    """Rewards through an exponential, as a tilted or best-of-n reward would be: order and range kept.

    A small positive temperature leaves only the best output's reward high; a negative one raises all but the worst.

    Attributes:
        temperatures: tau, not 0, in units of the prompt's range; M = len(temperatures).
    """

    temperatures: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, temperatures: Numbers = (0.1, 0.3, 1.0, -1.0, -0.3)):
        self.temperatures = _numbers("temperatures", temperatures)
        for i, tau in enumerate(self.temperatures):
            if abs(tau) < 1e-3:
                raise ValueError(f"temperatures[{i}] is {tau:g}; it must be at least 0.001 in size")

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        tau = np.asarray(self.temperatures)[:, None, None]

        def tilt(u: Array) -> Array:
            # For tau > 0, e^{(u-1)/tau} (1 - e^{-u/tau}) / (1 - e^{-1/tau}): nothing overflows.
            size = abs(tau)
            toward = jnp.where(tau > 0, u - 1, 0.0)
            return jnp.exp(toward / size) * jnp.expm1(-u / size) / jnp.expm1(-1 / size)

        return Errors(_rescaled(problem.true_reward, tilt), {"temperature": np.asarray(self.temperatures)})


class Censor(Family):
    """Outputs that the initial policy hardly ever produces were never scored, and get the prompt's lowest reward.

    Attributes:
        thresholds: initial probabilities below which an output is censored; M = len(thresholds).
    """

    thresholds: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, thresholds: Numbers = (0.01, 0.03, 0.1, 0.2, 0.3)):
        self.thresholds = _numbers("thresholds", thresholds, minimum=0.0, maximum=1.0)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        initial = jnp.exp(policy.log_policy(problem, problem.initial_params))
        thresholds = np.asarray(self.thresholds)
        low, _ = _range(problem.true_reward)
        censored = initial[None] < thresholds[:, None, None]
        return Errors(jnp.where(censored, low[None], problem.true_reward[None]), {"threshold": thresholds})


class Mixture(Family):
    """The truth mixed with another reward.

    Attributes:
        weights: a, the other reward's weights; M = len(weights).
        other: [K] or [P, K]; None for the problem's own proxy.
    """

    weights: tuple[float, ...] = eqx.field(static=True)
    other: Array | None

    def __init__(self, weights: Numbers = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0), other: Numbers | None = None):
        self.weights = _numbers("weights", weights)
        if other is not None:
            other = validate.as_floats("other", other)
            validate.require_finite("other", other)
            other = jnp.asarray(other)
        self.other = other

    def _make(self, problem: Problem, key: Array | None) -> Errors:
        shape = problem.true_reward.shape
        other = problem.proxy_reward if self.other is None else self.other
        if other.shape not in (shape, shape[1:]):
            raise ValueError(f"other has shape {other.shape} but the problem's rewards have {shape}")
        weights = np.asarray(self.weights)
        share = weights[:, None, None]
        mixed = (1 - share) * problem.true_reward[None] + share * jnp.broadcast_to(other, (1, *shape))
        return Errors(jnp.asarray(mixed), {"weight": weights})


class Subsets(Family):
    """Every subset of the outputs shifted, in all prompts alike: M = D (2^K - 1), K at most 12.

    The parameter "subset" has bit y set where output y is shifted.

    Attributes:
        shifts: [D], delta.
    """

    shifts: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, shifts: Numbers = (-0.5, 0.5)):
        self.shifts = _numbers("shifts", shifts)

    def _make(self, problem: Problem, key: Array | None) -> Errors:
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


def _numbers(
    name: str,
    values: Numbers | Sequence[float],
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    positive: bool = False,
) -> tuple[float, ...]:
    array = validate.as_floats(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers, got an array of shape {array.shape}")
    validate.require_finite(name, array)
    if positive:
        validate.require(name, array, array > 0, "it must be positive")
    if minimum is not None:
        validate.require(name, array, array >= minimum, f"it must be at least {minimum:g}")
    if maximum is not None:
        validate.require(name, array, array <= maximum, f"it must be at most {maximum:g}")
    return tuple(array.tolist())


def _prompt(prompts: int, index: np.ndarray) -> dict[str, np.ndarray | Array]:
    return {"prompt": index} if prompts > 1 else {}


def _range(reward: Float[Array, "P K"]) -> tuple[Float[Array, "P 1"], Float[Array, "P 1"]]:
    return jnp.min(reward, axis=-1, keepdims=True), jnp.max(reward, axis=-1, keepdims=True)


def _rescaled(reward: Float[Array, "P K"], shape: Callable[[Array], Array]) -> Float[Array, "M P K"]:
    """lo + (hi - lo) shape(u); a prompt of equal rewards stays as it is."""
    low, high = _range(reward)
    width = high - low
    unit = (reward - low) / jnp.where(width > 0, width, 1.0)
    return low[None] + width[None] * shape(unit[None])


FAMILIES: dict[str, Family] = {
    "single-output": SingleOutput(),
    "swap": Swap(),
    "noise": Noise(),
    "correlated-noise": Noise(correlation="features"),
    "clip": Clip(),
    "compress": Compress(),
    "temperature": Temperature(),
    "censor": Censor(),
    "mixture": Mixture(),
    "subsets": Subsets(),
}
