r"""The softmax policy and what is read off it, in log space.

    log pi_p(y) = z_p(y) - logsumexp(z_p),   z_p = Phi_p theta / T
    V_p = <pi_p, Q_p>,   A_p(y) = Q_p(y) - V_p,   V = sum_p w_p V_p
    dV/dz_p = d_p pi_p * A_p,   dV/dtheta = sum_p Phi_p^T (dV/dz_p) / T

with visits d = w and action values Q = r where every output ends the episode, and by the recursions of
`pgdyn.transitions` where outputs lead on.

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
from pgdyn.problem import Problem, require_single
from pgdyn.reduction import along

NEAR_MODE = 1e-3  # outputs within so many nats of the likeliest one count as likeliest too


def logits(problem: Problem, params: Float[Array, "..."]) -> Float[Array, "P K *lanes"]:
    """z = features @ params / temperature; `params / temperature` when tabular, `network(params) / temperature` else.

    Outputs that there are not have the logit -1e30.

    Example:
        >>> problem = Problem.tabular([0.2, 0.8], [1, 0])
        >>> logits(problem, problem.initial_params).shape
        (1, 2)
    """
    if problem.network is not None:
        z = problem.network(params)
    else:
        z = params if problem.features is None else project(problem.features, params)
    z = z if problem.temperature is None else z / along(problem.temperature, z)
    return z if problem.transitions is None else problem.transitions.available(z)


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


def pull_back(
    problem: Problem, logit_gradient: Float[Array, "P K *lanes"], params: Float[Array, "..."] | None = None
) -> Float[Array, "..."]:
    """The gradient in the parameters, Phi^T g / T, of a gradient g in the logits.

    A network needs `params`, the point at which its derivative is taken.

    Example:
        >>> problem = Problem.tabular([0.2, 0.8], [1, 0], temperature=2.0)
        >>> pull_back(problem, jnp.ones((1, 2))).tolist()
        [[0.5, 0.5]]
    """
    if problem.network is not None:
        assert params is not None
        (moved,) = jax.vjp(problem.network, params)[1](logit_gradient)
    else:
        moved = logit_gradient if problem.features is None else project_back(problem.features, logit_gradient)
    return moved if problem.temperature is None else moved / along(problem.temperature, moved)


def kernel(problem: Problem, params: Float[Array, "..."] | None = None) -> Float[Array, "P K P K"]:
    """G = Phi Phi^T / T^2: the logits of one problem move by z' = G g under the flow theta' = Phi^T g / T.

    Args:
        problem: one problem. G is the identity over T^2 when tabular, and the tangent kernel J J^T / T^2 of a network.
        params: where the kernel of a network is taken; None for its start. Other kernels stand still.

    Raises:
        ValueError: on a batch, or what is no problem.

    Example:
        >>> kernel(Problem.tabular([0.2, 0.8], [1, 0])).reshape(2, 2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    require_single(problem, "kernel")
    if problem.is_tabular:
        size = problem.num_prompts * problem.num_outputs
        shape = (problem.num_prompts, problem.num_outputs) * 2
        return jnp.eye(size, dtype=problem.true_reward.dtype).reshape(shape) / problem.temperature**2
    features = tangent_features(problem, problem.initial_params if params is None else params)
    return jnp.einsum("pkd,qld->pkql", features, features) / problem.temperature**2


def tangent_features(problem: Problem, params: Float[Array, "..."]) -> Float[Array, "..."]:
    """Phi [P, K, D]: the features of a linear policy; of a network dz/dtheta at `params`, before the temperature."""
    if problem.network is not None:
        return problem.network.jacobian(params)
    assert problem.features is not None
    return problem.features


def visits(problem: Problem, probabilities: Float[Array, "P K *lanes"]) -> Float[Array, " P *lanes"] | None:
    """d, how often each decision point is visited: the prompt weights where every output ends the episode."""
    weights = problem.prompt_weights
    if problem.transitions is None:
        return weights
    weights = jnp.ones_like(probabilities[:, 0]) if weights is None else weights
    return problem.transitions.visits(weights, probabilities)


def action_values(
    problem: Problem, probabilities: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> Float[Array, "P K *lanes"]:
    """Q, what an output is worth with all that follows it: its reward where every output ends the episode."""
    return reward if problem.transitions is None else problem.transitions.action_values(probabilities, reward)


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
    return _weighted(problem.prompt_weights, values)


def visited_mean(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], values: Float[Array, " P *lanes"]
) -> Float[Array, "*lanes"]:
    """sum_s d_s v_s, summed over the decision points of an episode under the policy: `mean` without transitions."""
    if problem.transitions is None:
        return mean(problem, values)
    return _weighted(visits(problem, jnp.exp(log_policy)), values)


def _weighted(weights: Float[Array, " P *lanes"] | None, values: Float[Array, " P *lanes"]) -> Float[Array, "*lanes"]:
    return jnp.sum(values if weights is None else weights * values, axis=0)


def value(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], reward: Float[Array, "P K *lanes"]
) -> Float[Array, "*lanes"]:
    """V = sum_p w_p <pi_p, Q_p>, the mean return of an episode.

    Example:
        >>> problem = Problem.tabular([0.25, 0.75], [1, 0])
        >>> float(value(problem, log_policy(problem, problem.initial_params), problem.true_reward))
        0.25
    """
    worth = action_values(problem, jnp.exp(log_policy), reward)
    return mean(problem, prompt_values(log_policy, worth))


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
    """The reward variance sum_p w_p Var_p of arXiv 2503.15477; with transitions, that of the return."""
    if problem.transitions is not None:
        return mean(problem, problem.transitions.return_variances(jnp.exp(log_policy), reward))
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
    problem: Problem,
    log_policy: Float[Array, "P K *lanes"],
    signal: Float[Array, "P K *lanes"],
    params: Float[Array, "..."] | None = None,
) -> Float[Array, "..."]:
    r"""The natural gradient F^+ g of an objective with dJ/dz_p = d_p pi_p * signal_p.

    F = sum_p d_p Phi_p^T (diag pi_p - pi_p pi_p^T) Phi_p / T^2 is the Fisher information. F^+ g is the least-norm
    minimiser of sum_p d_p E_{pi_p}[(score_p(y) . u - signal_p(y))^2] (compatible function approximation, Kakade 2001),
    which is how it is computed: tabular in closed form, T (signal - mean_y signal), else by least squares on rows
    scaled by sqrt(d pi), where singular values below 1e-15 max(PK, D) of the largest count as zero. Probabilities
    below about 1e-28 therefore stop steering the direction when the features cannot fit every output. A network's
    features are its derivative at `params`.
    """
    temperature = problem.temperature
    if problem.is_tabular:
        direction = _centred(problem, signal)
        return direction if temperature is None else along(temperature, direction) * direction
    weights = visits(problem, jnp.exp(log_policy))
    weights = jnp.ones_like(signal[:, 0]) if weights is None else weights
    temperature = jnp.ones((), signal.dtype) if temperature is None else temperature
    features = tangent_features(problem, params) if params is not None else problem.features
    assert features is not None
    own = [-1 if lanes else None for lanes in (features.ndim > 3, temperature.ndim > 0)]
    solve = _least_squares
    for _ in signal.shape[2:]:
        solve = jax.vmap(solve, in_axes=(own[0], -1, own[1], -1, -1), out_axes=-1)
    return solve(features, weights, temperature, log_policy, signal)


def _centred(problem: Problem, signal: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
    """The signal less its mean over the outputs that there are, and 0 for others."""
    mask = None if problem.transitions is None else problem.transitions.mask
    if mask is None:
        return signal - reduction.add(1, signal) / signal.shape[1]
    there = jnp.asarray(mask, signal.dtype).reshape(*mask.shape, *(1,) * (signal.ndim - 2))
    signal = jnp.where(there > 0, signal, 0)
    return there * (signal - reduction.add(1, signal) / reduction.add(1, there))


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
