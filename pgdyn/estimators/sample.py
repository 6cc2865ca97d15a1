"""What an estimator sees of one update: for each prompt a group of outputs, their rewards and their log-probabilities.

A group may be one of whole trajectories: `rewards` are then returns, `log_probs` sums over tokens and `lengths` numbers
of tokens, and nothing else changes for an estimator of advantages.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pgdyn import policy, reduction
from pgdyn.problem import Problem
from pgdyn.reduction import along


class Sample(eqx.Module):
    """One group of G outputs for each of P prompts.

    Attributes:
        outputs: [P, G], indices of the outputs drawn.
        rewards: [P, G], their training rewards (after the objective's normalisation).
        log_probs: [P, G], their log-probabilities in nats under the policy that drew them.
        values: [P], the exact expected reward <pi_p, r_p>; known to a simulator, not to a practitioner.
        weights: [P], of the prompts, summing to 1; None for equal weights.
        reference: [P, G], log-probabilities under the reference policy; None where there is none.
        lengths: [P, G], tokens of each output; None for one token each.
        log_policy: [P, K], the policy that drew them; None where it is not known in full.
        reward_table: [P, K], the training reward of every output; None where it is not known in full.
        score_norms: [P, K], |grad log pi(y)|^2 of every output, in the parameters; None where they are not known.
        greedy: [P], the expected return of the likeliest output at every decision; None for one-step problems.
        optimal: [P], E[w R]/E[w] over episodes, w the squared norm of their score; None for one-step problems.

    Of sequences the groups are of episodes, one for each of P starts, and the tables [P, K] are those of every episode
    in lexicographic order, where there are at most 4096; else they are None, and `outputs` tell equal episodes of a
    group alone.

    Example:
        >>> sample = Sample(jnp.array([[0, 1]]), jnp.array([[1.0, 0.0]]), jnp.log(jnp.array([[0.2, 0.8]])), jnp.ones(1))
        >>> sample.group_size
        2
    """

    outputs: Int[Array, "P G"]
    rewards: Float[Array, "P G"]
    log_probs: Float[Array, "P G"]
    values: Float[Array, " P"]
    weights: Float[Array, " P"] | None = None
    reference: Float[Array, "P G"] | None = None
    lengths: Float[Array, "P G"] | None = None
    log_policy: Float[Array, "P K"] | None = None
    reward_table: Float[Array, "P K"] | None = None
    score_norms: Float[Array, "P K"] | None = None
    greedy: Float[Array, " P"] | None = None
    optimal: Float[Array, " P"] | None = None

    @property
    def group_size(self) -> int:
        """G."""
        return self.rewards.shape[1]

    @property
    def tokens(self) -> Float[Array, "P G"]:
        """Tokens of each output, 1 where `lengths` says nothing."""
        return jnp.ones_like(self.rewards) if self.lengths is None else self.lengths

    def with_rewards(self, rewards: Float[Array, "P G"]) -> Sample:
        """The same sample with other rewards."""
        return eqx.tree_at(lambda sample: sample.rewards, self, rewards)

    def exact(self, name: str, caller: str) -> Array:
        """A field that only a simulator knows.

        Raises:
            ValueError: if it is None.
        """
        value = getattr(self, name)
        if value is None:
            raise ValueError(
                f"{caller} needs {name}, the table of every output, which this sample does not have; of sequences it "
                "is there for at most 4096 episodes"
            )
        return value


def draw(log_policy: Float[Array, "P K"], uniforms: Float[Array, "P G"]) -> Int[Array, "P G"]:
    """Outputs by inversion of the cumulative distribution: the first y with pi(1) + ... + pi(y) > u.

    Args:
        log_policy: [P, K], in nats.
        uniforms: [P, G], one number u in [0, 1) for each output.

    Returns:
        [P, G], indices of outputs.

    Example:
        >>> draw(jnp.log(jnp.array([[0.25, 0.25, 0.5]])), jnp.array([[0.1, 0.3, 0.9]])).tolist()
        [[0, 1, 2]]
    """
    cumulative = jnp.cumsum(jnp.exp(log_policy), axis=1)
    below = uniforms[:, :, None] * cumulative[:, None, -1:] >= cumulative[:, None, :-1]
    return jnp.sum(below, axis=2)


def scores(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], params: Float[Array, "..."] | None = None
) -> Float[Array, "P K D *lanes"]:
    """grad log pi_p(y) = (phi_y - phibar)/T of a policy with features; a network's are its derivative at `params`.

    Example:
        >>> problem = Problem.linear([[1.0], [0.0]], [1, 0])
        >>> scores(problem, jnp.log(jnp.array([[0.25, 0.75]]))).tolist()
        [[[0.75], [-0.25]]]
    """
    features = policy.tangent_features(problem, problem.initial_params if params is None else params)
    own = features.reshape(*features.shape, *(1,) * (log_policy.ndim + 1 - features.ndim))
    found = own - jnp.sum(jnp.exp(log_policy)[:, :, None] * own, axis=1, keepdims=True)
    return found if problem.temperature is None else found / along(problem.temperature, found)


def score_norms(
    problem: Problem, log_policy: Float[Array, "P K *lanes"], params: Float[Array, "..."] | None = None
) -> Float[Array, "P K *lanes"]:
    """|grad log pi_p(y)|^2 in the parameters: 1 - 2 pi_y + sum pi^2 over T^2 when tabular, |phi_y - phibar|^2 / T^2.

    Example:
        >>> problem = Problem.tabular([0.25, 0.75], [1, 0])
        >>> score_norms(problem, jnp.log(jnp.array([[0.25, 0.75]]))).round(4).tolist()
        [[1.125, 0.125]]
    """
    if not problem.is_tabular:
        return jnp.sum(scores(problem, log_policy, params) ** 2, axis=2)
    probabilities = jnp.exp(log_policy)
    norms = 1 - 2 * probabilities + reduction.add(1, probabilities, probabilities)
    return norms if problem.temperature is None else norms / along(problem.temperature, norms) ** 2


def take(hits: Float[Array, "P G K"], table: Float[Array, "P K"]) -> Float[Array, "P G"]:
    """The entries of `table` of the outputs that `hits` marks.

    Example:
        >>> take(jnp.eye(3)[None, :2], jnp.array([[5.0, 6.0, 7.0]])).tolist()
        [[5.0, 6.0]]
    """
    return jnp.sum(hits * table[:, None, :], axis=2)


def mark(outputs: Int[Array, "P G"], table: Float[Array, "P K"]) -> Float[Array, "P G K"]:
    """Ones where an output was drawn, of the type of `table`.

    Example:
        >>> mark(jnp.array([[1]]), jnp.zeros((1, 2))).tolist()
        [[[0.0, 1.0]]]
    """
    return (outputs[:, :, None] == jnp.arange(table.shape[1])[None, None, :]).astype(table.dtype)


def look(
    problem: Problem,
    log_policy: Float[Array, "P K"],
    reward: Float[Array, "P K"],
    outputs: Int[Array, "B G"],
    reference: Float[Array, "P K"] | None = None,
    prompts: Int[Array, " B"] | None = None,
    params: Float[Array, "..."] | None = None,
) -> Sample:
    """The sample of the drawn `outputs` of every prompt, or of the drawn `prompts`, which then count equally.

    A network's scores are taken at `params`; other policies do not need them.

    Example:
        >>> problem = Problem.tabular([0.25, 0.75], [2.0, 0.0])
        >>> log_policy = policy.log_policy(problem, problem.initial_params)
        >>> look(problem, log_policy, problem.true_reward, jnp.array([[0]])).rewards.tolist()
        [[2.0]]
    """
    norms = score_norms(problem, log_policy, params)
    weights = problem.prompt_weights
    values = policy.prompt_values(log_policy, reward)
    if prompts is not None:
        log_policy, reward, norms, values = log_policy[prompts], reward[prompts], norms[prompts], values[prompts]
        reference = None if reference is None else reference[prompts]
        weights = jnp.full_like(weights, 1 / prompts.shape[0], shape=prompts.shape)
    hits = mark(outputs, reward)
    return Sample(
        outputs,
        take(hits, reward),
        take(hits, log_policy),
        values,
        weights,
        None if reference is None else take(hits, reference),
        None,
        log_policy,
        reward,
        norms,
    )
