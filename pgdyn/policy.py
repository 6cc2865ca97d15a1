r"""The softmax policy and what is read off it, in log space.

    log pi_p(y) = z_p(y) - logsumexp(z_p),   z_p = Phi_p theta / T
    V_p = <pi_p, r_p>,   A_p(y) = r_p(y) - V_p,   V = sum_p w_p V_p
    dV/dz_p = w_p pi_p * A_p,   dV/dtheta = sum_p Phi_p^T (dV/dz_p) / T

Arrays are [P, K, *lanes]: decision points first, outputs second, then any number of axes for runs that are computed
side by side (none for one problem). Reductions go over the first two axes and never count from the end. With lanes, the
arrays of the problem have them last too; features [P, K, D] and a single temperature serve all lanes. A temperature or
weights of None count as 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import reduction
from pgdyn.problem import Problem
from pgdyn.reduction import along

NEAR_MODE = 1e-3  # outputs within so many nats of the likeliest one count as likeliest too


def logits(problem: Problem, params: Float[Array, "..."]) -> Float[Array, "P K *lanes"]:
    """z = features @ params / temperature; `params / temperature` when tabular.

    Example:
        >>> problem = Problem.tabular([0.2, 0.8], [1, 0])
        >>> logits(problem, problem.initial_params).shape
        (1, 2)
    """
    z = params if problem.features is None else project(problem.features, params)
    return z if problem.temperature is None else z / along(problem.temperature, z)


def project(features: Float[Array, "P K D *own"], params: Float[Array, " D *lanes"]) -> Float[Array, "P K *lanes"]:
    """Phi theta. Features [P, K, D] serve all lanes of the parameters."""
    if features.ndim == 3 and (params.ndim == 1 or not reduction.is_small((*features.shape, 1))):
        return jnp.tensordot(features, params, axes=1)
    own = features.reshape(*features.shape, *(1,) * (params.ndim + 2 - features.ndim))
    return reduction.add(2, own, params[None, None])[:, :, 0]


def project_back(features: Float[Array, "P K D *own"], gradient: Float[Array, "P K *lanes"]) -> Float[Array, "..."]:
    """Phi^T g, summed over decision points and outputs."""
    if features.ndim == 3 and (gradient.ndim == 2 or not reduction.is_small((*features.shape, 1))):
        return jnp.tensordot(features, gradient, axes=((0, 1), (0, 1)))
    own = features.reshape(*features.shape, *(1,) * (gradient.ndim + 1 - features.ndim))
    rows = own.reshape(-1, 1, *own.shape[2:])
    return reduction.add(0, rows, gradient.reshape(rows.shape[0], 1, 1, *gradient.shape[2:]))[0, 0]


def normalize(logits: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
    """log pi of logits z, by a shifted log-sum-exp: finite for any finite logits.

    Example:
        >>> normalize(jnp.zeros((1, 4))).round(4).tolist()
        [[-1.3863, -1.3863, -1.3863, -1.3863]]
    """
    return jax.nn.log_softmax(logits, axis=1)


def log_policy(problem: Problem, params: Float[Array, "..."]) -> Float[Array, "P K *lanes"]:
    """log pi at `params`.

    Example:
        >>> problem = Problem.tabular([0.2, 0.8], [1, 0])
        >>> jnp.exp(log_policy(problem, problem.initial_params)).round(3).tolist()
        [[0.2, 0.8]]
    """
    return normalize(logits(problem, params))


class Weights(NamedTuple):
    """Probabilities that are not multiplied out yet: a pass over all outputs less.

    Attributes:
        unnormalized: [P, K, *lanes], u.
        inverse: [P, 1, *lanes], with pi = u * inverse.
    """

    unnormalized: Float[Array, "P K *lanes"]
    inverse: Float[Array, "P 1 *lanes"]

    def mean(self, *factors: Float[Array, "P K *lanes"]) -> Float[Array, "P 1 *lanes"]:
        """The mean under pi of the product of `factors`."""
        return reduction.add(1, self.unnormalized, *factors) * self.inverse

    def probabilities(self) -> Float[Array, "P K *lanes"]:
        """pi."""
        return self.unnormalized * self.inverse


def weights(logits: Float[Array, "P K *lanes"], peak: Float[Array, "P 1 *lanes"]) -> Weights:
    """pi of logits measured from `peak`, any number near their maximum."""
    unnormalized = jnp.exp(logits - peak)
    return Weights(unnormalized, 1 / reduction.add(1, unnormalized))


def pull_back(problem: Problem, logit_gradient: Float[Array, "P K *lanes"]) -> Float[Array, "..."]:
    """The gradient in the parameters, Phi^T g / T, of a gradient g in the logits.

    Example:
        >>> problem = Problem.tabular([0.2, 0.8], [1, 0], temperature=2.0)
        >>> pull_back(problem, jnp.ones((1, 2))).tolist()
        [[0.5, 0.5]]
    """
    moved = logit_gradient if problem.features is None else project_back(problem.features, logit_gradient)
    return moved if problem.temperature is None else moved / along(problem.temperature, moved)


def kernel(problem: Problem) -> Float[Array, "P K P K"]:
    """G = Phi Phi^T / T^2: the logits of one problem move by z' = G g under the flow theta' = Phi^T g / T.

    Example:
        >>> kernel(Problem.tabular([0.2, 0.8], [1, 0])).reshape(2, 2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    if problem.features is None:
        size = problem.num_prompts * problem.num_outputs
        shape = (problem.num_prompts, problem.num_outputs) * 2
        return jnp.eye(size, dtype=problem.true_reward.dtype).reshape(shape) / problem.temperature**2
    return jnp.einsum("pkd,qld->pkql", problem.features, problem.features) / problem.temperature**2


def visits(problem: Problem, log_policy: Float[Array, "P K *lanes"]) -> Float[Array, " P *lanes"] | None:
    """d, how often each decision point is visited: the prompt weights, as every output ends the episode."""
    return problem.prompt_weights


def action_values(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> Float[Array, "P K *lanes"]:
    """Q, what an output is worth with all that follows it: its reward, as every output ends the episode."""
    return reward


def near_mode(logits: Float[Array, "P K *lanes"], peak: Float[Array, "P 1 *lanes"] | None = None) -> Array:
    """Whether each output is the likeliest, or near it: compiled code may round equal logits differently."""
    peak = reduction.largest(1, logits) if peak is None else peak
    return logits >= peak - NEAR_MODE


def modal_reward(near: Array, reward: Float[Array, "P K *lanes"]) -> Float[Array, "P 1 *lanes"]:
    """The largest reward among the outputs near the mode, without a derivative: where rewards are measured from."""
    return jax.lax.stop_gradient(reduction.largest(1, jnp.where(near, reward, -jnp.inf)))


def advantage(log_policy: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
    """A(y) = r(y) - <pi, r>.

    Rewards are measured from that of the likeliest output, which changes nothing in exact arithmetic. On a plateau,
    where one output holds all but 1e-12 of the mass, A of that output is 1e-12 too: the difference r - V would lose all
    but four of its digits, and this keeps them all.

    Example:
        >>> advantage(jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([[1.0, 0.0]])).tolist()
        [[0.75, -0.25]]
    """
    shifted = reward - modal_reward(near_mode(log_policy), reward)
    return shifted - reduction.add(1, jnp.exp(log_policy), shifted)


def prompt_values(
    log_policy: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> Float[Array, " P *lanes"]:
    """V_p = <pi_p, r_p>, summed as deviations from the likeliest output's reward.

    Example:
        >>> prompt_values(jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([[1.0, 0.0]])).tolist()
        [0.25]
    """
    base = modal_reward(near_mode(log_policy), reward)
    return (base + reduction.add(1, jnp.exp(log_policy), reward - base))[:, 0]


def mean(problem: Problem, values: Float[Array, " P *lanes"]) -> Float[Array, "*lanes"]:
    """sum_p w_p v_p."""
    weights = problem.prompt_weights
    return jnp.sum(values if weights is None else weights * values, axis=0)


def value(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> Float[Array, "*lanes"]:
    """V = sum_p w_p <pi_p, r_p>.

    Example:
        >>> problem = Problem.tabular([0.25, 0.75], [1, 0])
        >>> float(value(problem, log_policy(problem, problem.initial_params), problem.true_reward))
        0.25
    """
    return mean(problem, prompt_values(log_policy, reward))


def prompt_variances(
    log_policy: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> Float[Array, " P *lanes"]:
    """Var_p = <pi_p, (r_p - V_p)^2>.

    Example:
        >>> prompt_variances(jnp.log(jnp.array([[0.25, 0.75]])), jnp.array([[1.0, 0.0]])).tolist()
        [0.1875]
    """
    return reduction.add(1, jnp.exp(log_policy), advantage(log_policy, reward) ** 2)[:, 0]


def reward_variance(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> Float[Array, "*lanes"]:
    """The reward variance sum_p w_p Var_p of arXiv 2503.15477."""
    return mean(problem, prompt_variances(log_policy, reward))


def entropies(log_policy: Float[Array, "P K *lanes"]) -> Float[Array, " P *lanes"]:
    """H_p = -<pi_p, log pi_p>, in nats.

    Example:
        >>> entropies(jnp.log(jnp.array([[0.5, 0.5]]))).round(4).tolist()
        [0.6931]
    """
    return -reduction.add(1, jnp.exp(log_policy), log_policy)[:, 0]


def kl_divergences(
    log_policy: Float[Array, "P K *lanes"], other: Float[Array, "P K *lanes"]
) -> Float[Array, " P *lanes"]:
    """KL(pi_p || other_p), in nats, both given as log-probabilities.

    Example:
        >>> kl_divergences(jnp.log(jnp.array([[1.0, 1e-300]])), jnp.log(jnp.array([[0.5, 0.5]]))).round(4).tolist()
        [0.6931]
    """
    return reduction.add(1, jnp.exp(log_policy), log_policy - other)[:, 0]


def natural_direction(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], signal: Float[Array, "P K *lanes"]
) -> Float[Array, "..."]:
    r"""The natural gradient F^+ g of an objective with dJ/dz_p = w_p pi_p * signal_p.

    F = sum_p w_p Phi_p^T (diag pi_p - pi_p pi_p^T) Phi_p / T^2 is the Fisher information. F^+ g is the least-norm
    minimiser of sum_p w_p E_{pi_p}[(score_p(y) . u - signal_p(y))^2] (compatible function approximation, Kakade 2001),
    which is how it is computed: tabular in closed form, T (signal - mean_y signal), else by least squares on rows
    scaled by sqrt(w pi), where singular values below 1e-15 max(PK, D) of the largest count as zero. Probabilities
    below about 1e-28 therefore stop steering the direction when the features cannot fit every output.
    """
    temperature = problem.temperature
    if problem.features is None:
        direction = signal - reduction.add(1, signal) / signal.shape[1]
        return direction if temperature is None else along(temperature, direction) * direction
    weights = jnp.ones_like(signal[:, 0]) if problem.prompt_weights is None else problem.prompt_weights
    temperature = jnp.ones((), signal.dtype) if temperature is None else temperature
    own = [-1 if lanes else None for lanes in (problem.features.ndim > 3, temperature.ndim > 0)]
    solve = _least_squares
    for _ in signal.shape[2:]:
        solve = jax.vmap(solve, in_axes=(own[0], -1, own[1], -1, -1), out_axes=-1)
    return solve(problem.features, weights, temperature, log_policy, signal)


def _least_squares(
    features: Float[Array, "P K D"],
    weights: Float[Array, " P"],
    temperature: Float[Array, ""],
    log_policy: Float[Array, "P K"],
    signal: Float[Array, "P K"],
) -> Float[Array, " D"]:
    policy = jnp.exp(log_policy)
    centre = jnp.einsum("pk,pkd->pd", policy, features)[:, None, :]
    weight = jnp.sqrt(weights[:, None] * policy)
    rows = (weight[..., None] * (features - centre)).reshape(-1, features.shape[-1])
    direction, *_ = jnp.linalg.lstsq(rows / temperature, (weight * signal).reshape(-1))
    return direction
