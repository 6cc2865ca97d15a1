r"""The softmax policy and what is read off it, in log space, for one problem.

    log pi_p(y) = z_p(y) - logsumexp(z_p),   z_p = Phi_p theta / T
    V_p = <pi_p, r_p>,   A_p(y) = r_p(y) - V_p,   V = sum_p w_p V_p
    dV/dz_p = w_p pi_p * A_p,   dV/dtheta = sum_p Phi_p^T (dV/dz_p) / T

Every function takes one problem ([P, K] arrays); batch with `jax.vmap`. All of them are built from elementwise
operations and reductions over the last axis, so that vmapping over a trailing axis keeps that axis last.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn.problem import Problem


def logits(problem: Problem, params: Float[Array, "*params"]) -> Float[Array, "P K"]:
    """z = features @ params / temperature; `params / temperature` when tabular."""
    if problem.features is None:
        return params / problem.temperature
    return problem.features @ params / problem.temperature


def log_policy(problem: Problem, params: Float[Array, "*params"]) -> Float[Array, "P K"]:
    """log pi, by a shifted log-sum-exp: finite for any finite logits."""
    return jax.nn.log_softmax(logits(problem, params), axis=-1)


def pull_back(problem: Problem, logit_gradient: Float[Array, "P K"]) -> Float[Array, "*params"]:
    """The gradient in the parameters, Phi^T g / T, of a gradient g in the logits."""
    if problem.features is None:
        return logit_gradient / problem.temperature
    return jnp.einsum("pkd,pk->d", problem.features, logit_gradient) / problem.temperature


def kernel(problem: Problem) -> Float[Array, "P K P K"]:
    """G = Phi Phi^T / T^2: the logits move by z' = G g under the flow theta' = Phi^T g / T."""
    if problem.features is None:
        size = problem.num_prompts * problem.num_outputs
        shape = (problem.num_prompts, problem.num_outputs) * 2
        return jnp.eye(size, dtype=problem.true_reward.dtype).reshape(shape) / problem.temperature**2
    return jnp.einsum("pkd,qld->pkql", problem.features, problem.features) / problem.temperature**2


def _modal_reward(log_policy: Float[Array, "P K"], reward: Float[Array, "P K"]) -> Float[Array, "P 1"]:
    # Not ==: compiled code may round the two sides differently. An output near the mode serves as well.
    modal = log_policy >= jnp.max(log_policy, axis=-1, keepdims=True) - 1e-3
    best = jnp.max(jnp.where(modal, reward, -jnp.inf), axis=-1, keepdims=True)
    return jax.lax.stop_gradient(best)


def advantage(log_policy: Float[Array, "P K"], reward: Float[Array, "P K"]) -> Float[Array, "P K"]:
    """A(y) = r(y) - <pi, r>.

    Rewards are first measured from that of the likeliest output, which changes nothing in exact arithmetic. On a
    plateau, where one output holds all but 1e-12 of the mass, A of that output is 1e-12 too: the difference r - V would
    lose all but four of its digits, and this keeps them all.
    """
    shifted = reward - _modal_reward(log_policy, reward)
    return shifted - jnp.sum(jnp.exp(log_policy) * shifted, axis=-1, keepdims=True)


def prompt_values(log_policy: Float[Array, "P K"], reward: Float[Array, "P K"]) -> Float[Array, " P"]:
    """V_p = <pi_p, r_p>, summed as deviations from the likeliest output's reward."""
    anchor = _modal_reward(log_policy, reward)
    return anchor[..., 0] + jnp.sum(jnp.exp(log_policy) * (reward - anchor), axis=-1)


def value(problem: Problem, log_policy: Float[Array, "P K"], reward: Float[Array, "P K"]) -> Float[Array, ""]:
    """V = sum_p w_p <pi_p, r_p>."""
    return jnp.sum(problem.prompt_weights * prompt_values(log_policy, reward), axis=-1)


def prompt_variances(log_policy: Float[Array, "P K"], reward: Float[Array, "P K"]) -> Float[Array, " P"]:
    """Var_p = <pi_p, (r_p - V_p)^2>."""
    return jnp.sum(jnp.exp(log_policy) * advantage(log_policy, reward) ** 2, axis=-1)


def reward_variance(problem: Problem, log_policy: Float[Array, "P K"], reward: Float[Array, "P K"]) -> Float[Array, ""]:
    """The reward variance sum_p w_p Var_p of arXiv 2503.15477."""
    return jnp.sum(problem.prompt_weights * prompt_variances(log_policy, reward), axis=-1)


def entropies(log_policy: Float[Array, "P K"]) -> Float[Array, " P"]:
    """H_p = -<pi_p, log pi_p>, in nats."""
    return -jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1)


def kl_divergences(log_policy: Float[Array, "P K"], other: Float[Array, "P K"]) -> Float[Array, " P"]:
    """KL(pi_p || other_p), in nats, both given as log-probabilities."""
    return jnp.sum(jnp.exp(log_policy) * (log_policy - other), axis=-1)


def natural_direction(
    problem: Problem, log_policy: Float[Array, "P K"], signal: Float[Array, "P K"]
) -> Float[Array, "*params"]:
    r"""The natural gradient F^+ g of an objective with dJ/dz_p = w_p pi_p * signal_p.

    F = sum_p w_p Phi_p^T (diag pi_p - pi_p pi_p^T) Phi_p / T^2 is the Fisher information. F^+ g is the least-norm
    minimiser of sum_p w_p E_{pi_p}[(score_p(y) . u - signal_p(y))^2] (compatible function approximation, Kakade 2001),
    which is how it is computed: tabular in closed form, T (signal - mean_y signal), else by least squares on rows
    scaled by sqrt(w pi), where singular values below 1e-15 max(PK, D) of the largest count as zero. Probabilities
    below about 1e-28 therefore stop steering the direction when the features cannot fit every output.
    """
    if problem.features is None:
        return problem.temperature * (signal - jnp.mean(signal, axis=-1, keepdims=True))
    policy = jnp.exp(log_policy)
    centre = jnp.einsum("pk,pkd->pd", policy, problem.features)[:, None, :]
    weight = jnp.sqrt(problem.prompt_weights[:, None] * policy)
    rows = (weight[..., None] * (problem.features - centre)).reshape(-1, problem.features.shape[-1])
    direction, *_ = jnp.linalg.lstsq(rows / problem.temperature, (weight * signal).reshape(-1))
    return direction
