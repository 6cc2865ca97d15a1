r"""What the policy climbs: the value of a reward, less a KL penalty, plus an entropy bonus.

    J = V / s - kl * KL + entropy * H,     all three averaged over prompts with the problem's weights,

where s = 1 without reward normalisation, KL is KL(pi || ref) ("reverse") or KL(ref || pi) ("forward"), and the
reference is the initial policy or the uniform one. For every choice the gradient in the logits is

    dJ/dz_p = w_p pi_p * (f_p - <pi_p, f_p>)   [+ w_p kl (ref_p - pi_p) for the forward KL],

    f = r / s - kl (log pi - log ref) - entropy log pi.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pgdyn import policy, validate
from pgdyn.problem import Problem

_STD_FLOOR = 1e-8


class Objective(eqx.Module):
    """The training objective J = V / s - kl * KL + entropy * H.

    Attributes:
        reward: "proxy" or "true", the reward whose value V is.
        kl: weight of the KL penalty, >= 0.
        reference: "initial" (the problem's initial policy) or "uniform".
        kl_direction: "reverse" for KL(pi || ref), "forward" for KL(ref || pi).
        entropy: weight of the entropy bonus (negative: a penalty).
        normalize_by_std: False; True to divide rewards by s = (std + 1e-8) and differentiate through the std, as the
            program of arXiv 2604.25872 does; "detached" to hold it constant, as training libraries do. The variance of
            each prompt is taken around the value V averaged over prompts, and the std, not the variance, is averaged
            over prompts.

    Raises:
        ValueError: on an unknown option, a negative `kl`, or a weight that is not finite.
    """

    reward: str = eqx.field(static=True)
    kl: float | Float[Array, "*#batch"]
    reference: str = eqx.field(static=True)
    kl_direction: str = eqx.field(static=True)
    entropy: float | Float[Array, "*#batch"]
    normalize_by_std: bool | str = eqx.field(static=True)

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

    def training_reward(self, problem: Problem) -> Float[Array, "P K"]:
        """The reward that is climbed, as given (before normalisation)."""
        return problem.proxy_reward if self.reward == "proxy" else problem.true_reward

    def reference_log_policy(self, problem: Problem) -> Float[Array, "P K"]:
        """log ref, the policy that the KL is measured against."""
        if self.reference == "uniform":
            return jnp.full_like(problem.true_reward, -jnp.log(problem.num_outputs))
        return policy.log_policy(problem, problem.initial_params)

    def divergence(
        self, problem: Problem, log_policy: Float[Array, "P K"], reference: Float[Array, "P K"]
    ) -> Float[Array, ""]:
        """The KL between policy and reference in the objective's direction, averaged over prompts, in nats."""
        pair = (log_policy, reference) if self.kl_direction == "reverse" else (reference, log_policy)
        return jnp.sum(problem.prompt_weights * policy.kl_divergences(*pair), axis=-1)

    def value(self, problem: Problem, params: Float[Array, "*params"]) -> Float[Array, ""]:
        """J at `params`. `jax.grad` of it is `gradient`: with "detached" both hold the std constant."""
        log_policy = policy.log_policy(problem, params)
        reward = self.training_reward(problem)
        total = policy.value(problem, log_policy, reward) / self._scale(problem, log_policy, reward)
        if _present(self.kl):
            total -= self.kl * self.divergence(problem, log_policy, self.reference_log_policy(problem))
        if _present(self.entropy):
            total += self.entropy * jnp.sum(problem.prompt_weights * policy.entropies(log_policy), axis=-1)
        return total

    def gradient(self, problem: Problem, params: Float[Array, "*params"]) -> Float[Array, "*params"]:
        """dJ/dtheta = Phi^T (dJ/dz) / T at `params`, in closed form."""
        log_policy = policy.log_policy(problem, params)
        return policy.pull_back(problem, self.logit_gradient(problem, log_policy, self.reference_log_policy(problem)))

    def logit_gradient(
        self, problem: Problem, log_policy: Float[Array, "P K"], reference: Float[Array, "P K"]
    ) -> Float[Array, "P K"]:
        """dJ/dz, prompt weights included; `reference` is `reference_log_policy`, computed once outside of loops."""
        signal = self.reward_signal(problem, log_policy) + self._penalty_signal(log_policy, reference)
        gradient = jnp.exp(log_policy) * policy.advantage(log_policy, signal)
        return problem.prompt_weights[:, None] * (gradient + self._forward_kl_gradient(log_policy, reference))

    def regularizer_gradient(
        self, problem: Problem, log_policy: Float[Array, "P K"], reference: Float[Array, "P K"]
    ) -> Float[Array, "P K"]:
        """The part of `logit_gradient` that comes from the KL and the entropy."""
        signal = jnp.zeros_like(log_policy) + self._penalty_signal(log_policy, reference)
        gradient = jnp.exp(log_policy) * policy.advantage(log_policy, signal)
        return problem.prompt_weights[:, None] * (gradient + self._forward_kl_gradient(log_policy, reference))

    def natural_signal(
        self, problem: Problem, log_policy: Float[Array, "P K"], reference: Float[Array, "P K"]
    ) -> Float[Array, "P K"]:
        """dJ/dz_p divided by w_p pi_p, which is what natural gradients regress on."""
        signal = self.reward_signal(problem, log_policy) + self._penalty_signal(log_policy, reference)
        signal = policy.advantage(log_policy, signal)
        if _present(self.kl) and self.kl_direction == "forward":
            signal += self.kl * jnp.expm1(reference - log_policy)
        return signal

    def reward_signal(self, problem: Problem, log_policy: Float[Array, "P K"]) -> Float[Array, "P K"]:
        r"""f with d(V / s)/dz_p = w_p pi_p * (f_p - <pi_p, f_p>).

        Without normalisation f = r; "detached", f = r / s; differentiated through the std,
        f = r / s - V / s^2 [(r - V)^2 / (2 std_p) - c r] with c = sum_q w_q (V_q - V) / std_q.
        """
        reward = self.training_reward(problem)
        if self.normalize_by_std is False:
            return reward
        scale = self._scale(problem, log_policy, reward)
        if self.normalize_by_std == "detached":
            return reward / scale
        values, mean, stds = self._moments(problem, log_policy, reward)
        inverse = jnp.where(stds > 0, 1 / jnp.where(stds > 0, stds, 1), 0)
        shared = jnp.sum(problem.prompt_weights * (values - mean) * inverse, axis=-1)
        through_std = (reward - mean) ** 2 * inverse[:, None] / 2 - shared * reward
        return reward / scale - mean / scale**2 * through_std

    def _moments(
        self, problem: Problem, log_policy: Float[Array, "P K"], reward: Float[Array, "P K"]
    ) -> tuple[Float[Array, " P"], Float[Array, ""], Float[Array, " P"]]:
        values = policy.prompt_values(log_policy, reward)
        mean = jnp.sum(problem.prompt_weights * values, axis=-1)
        squares = jnp.sum(jnp.exp(log_policy) * (reward - mean) ** 2, axis=-1)
        # The square root's derivative is infinite at zero, where the std has a kink; its subgradient 0 is used.
        stds = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        return values, mean, stds

    def _scale(
        self, problem: Problem, log_policy: Float[Array, "P K"], reward: Float[Array, "P K"]
    ) -> float | Float[Array, ""]:
        if self.normalize_by_std is False:
            return 1.0
        *_, stds = self._moments(problem, log_policy, reward)
        scale = jnp.sum(problem.prompt_weights * stds, axis=-1) + _STD_FLOOR
        return jax.lax.stop_gradient(scale) if self.normalize_by_std == "detached" else scale

    def _penalty_signal(
        self, log_policy: Float[Array, "P K"], reference: Float[Array, "P K"]
    ) -> float | Float[Array, "P K"]:
        signal = 0.0
        if _present(self.kl) and self.kl_direction == "reverse":
            signal -= self.kl * (log_policy - reference)
        if _present(self.entropy):
            signal -= self.entropy * log_policy
        return signal

    def _forward_kl_gradient(
        self, log_policy: Float[Array, "P K"], reference: Float[Array, "P K"]
    ) -> float | Float[Array, "P K"]:
        if _present(self.kl) and self.kl_direction == "forward":
            return self.kl * (jnp.exp(reference) - jnp.exp(log_policy))
        return 0.0


def choose_objective(objective: Any, caller: str) -> Objective:
    """`objective`, or the proxy's value alone for None.

    Raises:
        ValueError: if it is anything else than an `Objective`.
    """
    if objective is None:
        return _proxy_alone()
    if not isinstance(objective, Objective):
        raise ValueError(f"objective is {objective!r:.80}; {caller} takes a pgdyn.Objective")
    return objective


@lru_cache
def _proxy_alone() -> Objective:
    return Objective()


def _weight(name: str, value: ArrayLike, minimum: float | None) -> float | Array:
    # A weight that is plainly zero stays a Python number, so that compiled code leaves its term out altogether.
    number = validate.number(name, value, minimum=minimum)
    return 0.0 if not validate.is_traced(number) and number == 0 else jnp.asarray(number, validate.float_dtype())


def _present(weight: float | Array) -> bool:
    return not isinstance(weight, float)
