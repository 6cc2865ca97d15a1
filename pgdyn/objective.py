r"""What the policy climbs: the value of a reward, less a KL penalty, plus an entropy bonus.

    J = V / s - kl * KL + entropy * H,     each the mean over prompts with the problem's weights,

where s = 1 without reward normalisation, KL is KL(pi || ref) ("reverse") or KL(ref || pi) ("forward"), and the
reference is the initial policy or the uniform one. For every choice the gradient in the logits is

    dJ/dz_p = d_p pi_p * (Q_p - <pi_p, Q_p>)   [+ e_p kl (ref_p - pi_p) for the forward KL],

    f = r / s - kl (log pi - log ref) - entropy log pi,

with visits d = w and Q = f where every output ends the episode. Where outputs lead on, V, KL and H are those of whole
episodes: d are the visits, Q is f with all f that follows, KL(pi || ref) = sum_p d_p KL(pi_p || ref_p), H likewise, and
KL(ref || pi) is summed over the visits e of the reference (`pgdyn.transitions`).

Without transitions nothing changes when f of every output of a prompt grows by the same number, so f is measured from
that of the likeliest output (see `pgdyn.policy.advantage`), and log pi may be replaced by any logits.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from pgdyn import policy, reduction, validate
from pgdyn.policy import Weights
from pgdyn.problem import Problem
from pgdyn.reduction import along

_STD_FLOOR = 1e-8


class Anchor(NamedTuple):
    """Where logits and rewards are measured from. It may stay the same for a while: what it is matters to digits only.

    Attributes:
        peak: [P, 1, *lanes], the largest logit.
        near: [P, K, *lanes], whether an output is near the mode.
        signal: [P, K, *lanes], the part of f that does not move with the policy, less that of the likeliest output;
            None where all of it moves: with a normalised reward, and with transitions.
        base: [P, 1, *lanes], the likeliest output's true reward; None where no value is asked for.
        true: [P, K, *lanes], the true reward less `base`; None where no value is asked for. With transitions `base` is
            0 and `true` the reward itself.
    """

    peak: Float[Array, "P 1 *lanes"]
    near: Bool[Array, "P K *lanes"]
    signal: Float[Array, "P K *lanes"] | None
    base: Float[Array, "P 1 *lanes"] | None = None
    true: Float[Array, "P K *lanes"] | None = None

    def true_value(self, problem: Problem, weights: Weights) -> Float[Array, "*lanes"] | None:
        """V of the true reward, or None where no value was asked for."""
        if self.base is None or self.true is None:
            return None
        if problem.transitions is not None:
            worth = problem.transitions.action_values(weights.probabilities(), self.true)
            return policy.mean(problem, weights.mean(worth)[:, 0])
        return policy.mean(problem, (self.base + weights.mean(self.true))[:, 0])

    def true_rate(
        self, problem: Problem, weights: Weights, motion: Float[Array, "P K *lanes"]
    ) -> Float[Array, "*lanes"]:
        """dV/dt of the true reward while the logits move with `motion`; only where a value was asked for."""
        assert self.true is not None
        worth, visits = self.true, problem.prompt_weights
        if problem.transitions is not None:
            probabilities = weights.probabilities()
            worth = problem.transitions.action_values(probabilities, worth)
            worth = worth - policy.modal_reward(self.near, worth)
            visits = policy.visits(problem, probabilities)
        moved = (weights.mean(worth, motion) - weights.mean(worth) * weights.mean(motion))[:, 0]
        return jnp.sum(moved if visits is None else visits * moved, axis=0)


class Objective(eqx.Module):
    """The training objective J = V / s - kl * KL + entropy * H.

    Attributes:
        reward: "proxy" or "true", the reward whose value V is.
        kl: weight of the KL penalty, positive; None without one. For a batch also [N].
        reference: "initial" (the problem's initial policy) or "uniform", the policy that the KL is measured against.
        kl_direction: "reverse" for KL(pi || ref), "forward" for KL(ref || pi).
        entropy: weight of the entropy bonus (negative: a penalty); None without one. For a batch also [N].
        normalize_by_std: False; True to divide rewards by s = (std + 1e-8) and differentiate through the std, as the
            program of arXiv 2604.25872 does; "detached" to hold it constant, as training libraries do. The variance of
            each prompt is taken around the value V averaged over prompts, and the std, not the variance, is averaged
            over prompts.

    Raises:
        ValueError: on an unknown option, a negative `kl`, or a weight that is not finite.

    Example:
        >>> problem = Problem.tabular([0.2, 0.8], [1, 0])
        >>> Objective(kl=0.1).gradient(problem, problem.initial_params).round(3).tolist()
        [[0.16, -0.16]]
    """

    reward: str = eqx.field(static=True)
    kl: Float[Array, "..."] | None
    reference: str = eqx.field(static=True)
    kl_direction: str = eqx.field(static=True)
    entropy: Float[Array, "..."] | None
    normalize_by_std: bool | str = eqx.field(static=True)

    can_be_sampled: ClassVar[bool] = True  # whether a sampled output is paid the whole of its reward

    def __init__(
        self,
        reward: Literal["proxy", "true"] = "proxy",
        kl: ArrayLike = 0.0,
        reference: Literal["initial", "uniform"] = "initial",
        kl_direction: Literal["reverse", "forward"] = "reverse",
        entropy: ArrayLike = 0.0,
        normalize_by_std: bool | Literal["detached"] = False,
    ):
        validate.choice("reward", reward, ("proxy", "true"))
        validate.choice("reference", reference, ("initial", "uniform"))
        validate.choice("kl_direction", kl_direction, ("reverse", "forward"))
        validate.choice("normalize_by_std", normalize_by_std, (False, True, "detached"))
        self.reward = reward
        self.kl = _weight("kl", kl, minimum=0.0)
        self.reference = reference
        self.kl_direction = kl_direction
        self.entropy = _weight("entropy", entropy, minimum=None)
        self.normalize_by_std = normalize_by_std

    def with_weights(self, kl: Any, entropy: Any, **options: Any) -> Objective:
        """The same options, or others, with other weights, which are not checked; None for no such term."""
        made = object.__new__(type(self))
        for field in dataclasses.fields(self):
            object.__setattr__(made, field.name, getattr(self, field.name))
        for name, value in {"kl": kl, "entropy": entropy, **options}.items():
            object.__setattr__(made, name, value)
        return made

    @property
    def signal_moves(self) -> bool:
        """Whether the reward's part of f depends on the policy."""
        return self.normalize_by_std is not False

    @property
    def needs_reference(self) -> bool:
        """Whether the gradient depends on the reference."""
        return self.kl is not None

    def training_reward(self, problem: Problem) -> Float[Array, "P K *lanes"]:
        """The reward that is climbed, as given (before normalisation)."""
        return problem.proxy_reward if self.reward == "proxy" else problem.true_reward

    def reference_log_policy(self, problem: Problem) -> Float[Array, "P K *lanes"]:
        """log ref, the policy that the KL is measured against."""
        if self.reference == "uniform":
            equal = jnp.zeros_like(problem.true_reward)
            return policy.normalize(equal if problem.transitions is None else problem.transitions.available(equal))
        return policy.log_policy(problem, problem.initial_params)

    def divergence(
        self, problem: Problem, log_policy: Float[Array, "P K *lanes"], reference: Float[Array, "P K *lanes"]
    ) -> Float[Array, "*lanes"]:
        """The KL between policy and reference in the objective's direction, averaged over prompts, in nats.

        With transitions it is that of whole episodes: summed over the visits of the policy that it is the mean under.
        """
        pair = (log_policy, reference) if self.kl_direction == "reverse" else (reference, log_policy)
        return policy.visited_mean(problem, pair[0], policy.kl_divergences(*pair))

    def value(self, problem: Problem, params: Float[Array, "..."]) -> Float[Array, "*lanes"]:
        """J at `params`. `jax.grad` of it is `gradient`: with "detached" both hold the std constant."""
        return self.value_at(problem, policy.log_policy(problem, params))

    def value_at(self, problem: Problem, log_policy: Float[Array, "P K *lanes"]) -> Float[Array, "*lanes"]:
        """J of a policy."""
        reward = self.training_reward(problem)
        total = policy.value(problem, log_policy, reward)
        if self.normalize_by_std is not False:
            total /= self._scale(problem, jnp.exp(log_policy), reward)
        if self.kl is not None:
            total -= self.kl * self.divergence(problem, log_policy, self.reference_log_policy(problem))
        if self.entropy is not None:
            total += self.entropy * policy.visited_mean(problem, log_policy, policy.entropies(log_policy))
        return total

    def gradient(self, problem: Problem, params: Float[Array, "..."]) -> Float[Array, "..."]:
        """dJ/dtheta = Phi^T (dJ/dz) / T at `params`, in closed form."""
        z = policy.logits(problem, params)
        gradient = self.logit_gradient(problem, z, self.reference_log_policy(problem))
        return policy.pull_back(problem, gradient, params)

    def anchor(
        self,
        problem: Problem,
        logits: Float[Array, "P K *lanes"],
        reference: Float[Array, "P K *lanes"] | None,
        with_value: bool = False,
    ) -> Anchor:
        """Where to measure from at `logits` and near them; `with_value` if `Anchor.true_value` is wanted."""
        peak = reduction.largest(1, logits)
        near = policy.near_mode(logits, peak)
        signal, base, true = None, None, None
        if not self.signal_moves and problem.transitions is None:
            signal = self._with_reference(self.training_reward(problem), reference)
            signal = signal - policy.modal_reward(near, signal)
        if with_value:
            base = policy.modal_reward(near, problem.true_reward)
            base = base if problem.transitions is None else jnp.zeros_like(base)
            true = problem.true_reward - base
        return Anchor(peak, near, signal, base, true)

    def logit_gradient(
        self,
        problem: Problem,
        logits: Float[Array, "P K *lanes"],
        reference: Float[Array, "P K *lanes"] | None,
        anchor: Anchor | None = None,
    ) -> Float[Array, "P K *lanes"]:
        """dJ/dz, prompt weights included.

        Args:
            problem: the problem.
            logits: z, or log pi, which is one choice of logits.
            reference: `reference_log_policy`, computed once outside of loops.
            anchor: `anchor` of these or slightly different logits; None to take it here.
        """
        anchor = self.anchor(problem, logits, reference) if anchor is None else anchor
        return self.gradient_at(problem, logits, policy.weights(logits, anchor.peak), reference, anchor)

    def gradient_at(
        self,
        problem: Problem,
        logits: Float[Array, "P K *lanes"],
        weights: Weights,
        reference: Float[Array, "P K *lanes"] | None,
        anchor: Anchor,
    ) -> Float[Array, "P K *lanes"]:
        """`logit_gradient` where the probabilities are known."""
        if self.normalize_by_std is True and problem.transitions is not None:
            # The std of returns moves with every decision: what its derivative is, is left to JAX.
            return jax.grad(lambda z: jnp.sum(self.value_at(problem, policy.normalize(z))))(logits)
        signal = self._signal(problem, logits, weights, reference, anchor)
        visits = problem.prompt_weights
        if problem.transitions is not None:
            visits = policy.visits(problem, weights.probabilities())
        scale = weights.inverse if visits is None else weights.inverse * visits[:, None]
        gradient = weights.unnormalized * scale * (signal - weights.mean(signal))
        if self.kl is None or self.kl_direction == "reverse":
            return gradient
        assert reference is not None
        pull = along(self.kl, logits) * (jnp.exp(reference) - weights.probabilities())
        visits = policy.visits(problem, jnp.exp(reference))
        return gradient + (pull if visits is None else visits[:, None] * pull)

    def regularizer_gradient(
        self,
        problem: Problem,
        logits: Float[Array, "P K *lanes"],
        reference: Float[Array, "P K *lanes"] | None,
    ) -> Float[Array, "P K *lanes"]:
        """The part of `logit_gradient` that comes from the KL and the entropy."""
        unpaid = eqx.tree_at(
            lambda p: (p.true_reward, p.proxy_reward), problem, (jnp.zeros_like(logits), jnp.zeros_like(logits))
        )
        plain = self.with_weights(self.kl, self.entropy, normalize_by_std=False)
        return plain.logit_gradient(unpaid, logits, reference)

    def natural_signal(
        self,
        problem: Problem,
        logits: Float[Array, "P K *lanes"],
        reference: Float[Array, "P K *lanes"] | None,
    ) -> Float[Array, "P K *lanes"]:
        """dJ/dz_p divided by d_p pi_p, which is what natural gradients regress on."""
        anchor = self.anchor(problem, logits, reference)
        weights = policy.weights(logits, anchor.peak)
        if problem.transitions is not None and self.normalize_by_std is True:
            mass = _visits(problem, weights.probabilities())[:, None] * weights.probabilities()
            gradient = self.gradient_at(problem, logits, weights, reference, anchor)
            return jnp.where(mass > 0, gradient / jnp.where(mass > 0, mass, 1), 0)
        signal = self._signal(problem, logits, weights, reference, anchor)
        signal = signal - weights.mean(signal)
        if self.kl is not None and self.kl_direction == "forward":
            assert reference is not None
            pull = along(self.kl, logits) * jnp.expm1(reference - policy.normalize(logits))
            if problem.transitions is not None:
                ahead = _visits(problem, jnp.exp(reference)) / _visits(problem, weights.probabilities())
                pull = ahead[:, None] * pull
            signal += pull
        return signal

    def reward_signal(self, problem: Problem, probabilities: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
        r"""f with d(V / s)/dz_p = w_p pi_p * (f_p - <pi_p, f_p>); with transitions r / s, s held constant.

        Without normalisation f = r; "detached", f = r / s; differentiated through the std,
        f = r / s - V / s^2 [(r - V)^2 / (2 std_p) - c r] with c = sum_q w_q (V_q - V) / std_q.
        """
        reward = self.training_reward(problem)
        if self.normalize_by_std is False:
            return reward
        scale = along(self._scale(problem, probabilities, reward), reward)
        if self.normalize_by_std == "detached" or problem.transitions is not None:
            return reward / scale
        values, mean, stds = _moments(problem, probabilities, reward)
        inverse = jnp.where(stds > 0, 1 / jnp.where(stds > 0, stds, 1), 0)
        shared = along(policy.mean(problem, (values - along(mean, values)) * inverse), reward)
        mean = along(mean, reward)
        through_std = (reward - mean) ** 2 * inverse[:, None] / 2 - shared * reward
        return reward / scale - mean / scale**2 * through_std

    def _signal(
        self,
        problem: Problem,
        logits: Float[Array, "P K *lanes"],
        weights: Weights,
        reference: Float[Array, "P K *lanes"] | None,
        anchor: Anchor,
    ) -> Float[Array, "P K *lanes"]:
        """f, or with transitions Q, less that of the likeliest output."""
        if problem.transitions is not None:
            probabilities = weights.probabilities()
            signal = self._with_reference(self.reward_signal(problem, probabilities), reference)
            penalties = self._penalties(logits)
            if penalties:
                signal = signal - sum(penalties[1:], penalties[0]) * policy.normalize(logits)
            worth = problem.transitions.action_values(probabilities, signal)
            return worth - policy.modal_reward(anchor.near, worth)
        signal = anchor.signal
        if signal is None:
            signal = self._with_reference(self.reward_signal(problem, weights.probabilities()), reference)
            signal = signal - policy.modal_reward(anchor.near, signal)
        penalties = self._penalties(logits)
        if not penalties:
            return signal
        above = logits - anchor.peak
        # What the likeliest output has moved by since the anchor was taken would cost it the digits that it keeps.
        moved = reduction.largest(1, jnp.where(anchor.near, above, -jnp.inf))
        return signal - sum(penalties[1:], penalties[0]) * (above - moved)

    def _penalties(self, like: Array) -> list[Array]:
        """The weights of -log pi in f."""
        weights = [self.entropy] if self.kl_direction == "forward" else [self.kl, self.entropy]
        return [along(weight, like) for weight in weights if weight is not None]

    def _with_reference(
        self, signal: Float[Array, "P K *lanes"], reference: Float[Array, "P K *lanes"] | None
    ) -> Float[Array, "P K *lanes"]:
        if self.kl is None or self.kl_direction == "forward":
            return signal
        assert reference is not None
        return signal + along(self.kl, signal) * reference

    def _scale(
        self, problem: Problem, probabilities: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
    ) -> Float[Array, "*lanes"]:
        *_, stds = _moments(problem, probabilities, reward)
        scale = policy.mean(problem, stds) + _STD_FLOOR
        return jax.lax.stop_gradient(scale) if self.normalize_by_std == "detached" else scale


def _moments(
    problem: Problem, probabilities: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> tuple[Float[Array, " P *lanes"], Float[Array, "*lanes"], Float[Array, " P *lanes"]]:
    if problem.transitions is not None:
        worth = problem.transitions.action_values(probabilities, reward)
        values = reduction.add(1, probabilities, worth)[:, 0]
        mean = policy.mean(problem, values)
        variances = problem.transitions.return_variances(probabilities, reward)
        return values, mean, _root(variances + (values - along(mean, values)) ** 2)
    base = jax.lax.stop_gradient(reduction.largest(1, jnp.where(probabilities >= 0.5, reward, -jnp.inf)))
    base = jnp.where(jnp.isfinite(base), base, 0.0)  # any number serves; near 1e-12 from certainty it keeps digits
    values = (base + reduction.add(1, probabilities, reward - base))[:, 0]
    mean = policy.mean(problem, values)
    squares = reduction.add(1, probabilities, (reward - along(mean, reward)) ** 2)[:, 0]
    return values, mean, _root(squares)


def _visits(problem: Problem, probabilities: Float[Array, "P K *lanes"]) -> Float[Array, " P *lanes"]:
    visits = policy.visits(problem, probabilities)
    assert visits is not None  # with transitions they are always told
    return visits


def _root(squares: Array) -> Array:
    # The square root's derivative is infinite at zero, where the std has a kink; its subgradient 0 is used.
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def choose_objective(objective: Any, caller: str) -> Objective:
    """`objective`, or the proxy's value alone for None.

    Raises:
        ValueError: if it is anything else than an `Objective`.

    Example:
        >>> choose_objective(None, "flow").reward
        'proxy'
    """
    if objective is None:
        return _proxy_alone()
    if not isinstance(objective, Objective):
        raise ValueError(f"objective is {validate.shown(objective)}; {caller} takes a pgdyn.Objective")
    return objective


@lru_cache
def _proxy_alone() -> Objective:
    return Objective()


def _weight(name: str, value: ArrayLike | None, minimum: float | None) -> Array | None:
    if value is None:
        return None
    weight = validate.as_floats(name, value)
    if weight.ndim > 1:
        raise ValueError(f"{name} has shape {weight.shape}; it must be a single number, or [N] for a batch")
    validate.require_finite(name, weight)
    if not validate.is_traced(weight):
        if minimum is not None:
            validate.require(name, weight, weight >= minimum, f"it must be at least {minimum:g}")
        if (weight == 0).all():
            return None  # compiled code leaves the term out altogether
    return jnp.asarray(weight, validate.float_dtype())
