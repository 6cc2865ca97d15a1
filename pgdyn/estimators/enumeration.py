r"""Exact expectations of an estimator, by every group of outputs that can be drawn.

    E[ghat] = sum over y_1..y_G  pi(y_1) .. pi(y_G)  ghat(y_1..y_G)

`expected_update` gives the expected gradient estimate; `outcomes` every possible update with its probability, several
epochs included, of which any expectation can be taken. For small K and G: there are (K B)^(G P) groups of P prompts, B
the number of rewards that an output may draw. Of sequences y is a whole episode, K the number of episodes from a start
and P that of starts.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from pgdyn import policy, validate
from pgdyn.dynamics.optimizer import Optimizer, trace
from pgdyn.estimators.all_episodes import NEVER, AllEpisodes, list_episodes, list_starts
from pgdyn.estimators.compose import composed
from pgdyn.estimators.episodes import Episodes
from pgdyn.estimators.estimator import Estimator, dependence
from pgdyn.estimators.mean_field import MeanField
from pgdyn.estimators.signal import signal
from pgdyn.estimators.step import Draws, update
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single

MOST = 2**20  # groups


class Outcomes(eqx.Module):
    """Every update that one batch of samples can lead to.

    Attributes:
        probability: [N], summing to 1.
        outputs: [N, B, G], of B prompts; of sequences, from B starts, the numbers of episodes in lexicographic order.
        rewards: [N, B, G], as they were drawn.
        advantages: [N, B, G].
        params: [N, *params], after the updates that the batch serves.
        log_policy: [N, P, K], after them.
        clipped: [N, 2], shares of samples whose ratio was clipped below and above.
        before: [P, K], log-probabilities before the updates.
        episodes: of sequences, every episode from each start, [B, M, H]; None for one-step problems.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> found = outcomes(RLOO(2), Problem.tabular([0.2, 0.8], [1.0, 0.0]))
        >>> found.probability.round(3).tolist()
        [0.04, 0.16, 0.16, 0.64]
    """

    probability: Float[Array, " N"]
    outputs: Int[Array, "N B G"]
    rewards: Float[Array, "N B G"]
    advantages: Float[Array, "N B G"]
    params: Float[Array, "N ..."]
    log_policy: Float[Array, "N P K"]
    clipped: Float[Array, "N 2"]
    before: Float[Array, "P K"]
    episodes: Episodes | None = None

    @property
    def change(self) -> Float[Array, "N P K"]:
        """Change of the log-probabilities."""
        return self.log_policy - self.before[None]

    @property
    def output_change(self) -> Float[Array, "N B M"]:
        """Change of the log-probabilities of whole outputs: `change`, or of sequences that of every episode."""
        if self.episodes is None:
            return self.change
        return jnp.moveaxis(jnp.sum(self.episodes.take(jnp.moveaxis(self.change, 0, -1)), axis=2), -1, 0)

    def mean(self, values: Float[Array, "N ..."]) -> Float[Array, "..."]:
        """The expectation of anything that is known of every outcome.

        Example:
            >>> from pgdyn.estimators import RLOO
            >>> found = outcomes(RLOO(2), Problem.tabular([0.2, 0.8], [1.0, 0.0]))
            >>> found.mean(found.change).shape
            (1, 2)
        """
        return jnp.tensordot(self.probability, values, axes=1)


def outcomes(
    estimator: Estimator,
    problem: Problem,
    params: Any = None,
    *,
    objective: Objective | None = None,
    learning_rate: ArrayLike = 1.0,
    optimizer: Any = None,
    reward_to_go: bool = False,
) -> Outcomes:
    """Every update that one batch of samples can lead to, with its probability.

    Args:
        estimator: any, or a `Composed`.
        problem: one problem, every prompt of which is visited.
        params: where the batch is drawn; None for the initial parameters.
        objective: as in `ascend_sampled`; None for the proxy's value alone.
        learning_rate: of an optimiser given by its name.
        optimizer: "sgd", "adam" or an optax transformation, in its initial state; None for "sgd".
        reward_to_go: as in `ascend_sampled`.

    Raises:
        ValueError: where there are more than 2^20 groups, or episodes begin where others lead to.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> outcomes(RLOO(2), Problem.tabular([0.2, 0.8], [1.0, 0.0])).params.shape
        (4, 1, 2)
    """
    require_single(problem, "outcomes")
    params = problem.initial_params if params is None else jnp.asarray(params)
    objective = choose_objective(objective, "outcomes")
    rate = validate.scalar("learning_rate", learning_rate)
    parts = composed(estimator)
    atoms = 1 if parts.draw is None else parts.draw.atoms(jnp.zeros(1))[0].shape[-1]
    every = _episodes_from_roots(problem)
    kinds = [problem.num_outputs] * problem.num_prompts if every is None else np.sum(every.log_chance > NEVER, axis=1)
    kinds = [int(count) * atoms for count in kinds]
    count = math.prod(kinds) ** estimator.group_size
    if count > MOST:
        samples = len(kinds) * estimator.group_size
        raise ValueError(
            f"{max(kinds)} outcomes of a sample and {samples} samples make more than {MOST} groups to enumerate; "
            "take fewer outputs or a smaller group"
        )
    samples = itertools.product(*(range(kind) for kind in kinds for _ in range(estimator.group_size)))
    numbers = np.array(list(samples)).reshape(-1, len(kinds), estimator.group_size)
    optimizer = trace(optimizer, rate, problem.initial_params)
    drawn = (jnp.asarray(numbers // atoms), jnp.asarray(numbers % atoms))
    return _outcomes(parts, problem, objective, optimizer, params, every, reward_to_go, *drawn)


def _episodes_from_roots(problem: Problem) -> AllEpisodes | None:
    """Every episode, from the starts that `ascend_sampled` visits at every update; None for one-step problems."""
    if problem.transitions is None:
        return None
    starts, roots = list_starts(problem), problem.transitions.roots
    if not np.array_equal(starts, roots):
        raise ValueError(
            "episodes may begin at decision points that others lead to; their groups are not visited at every update, "
            "and are not enumerated"
        )
    return list_episodes(problem, roots)


@eqx.filter_jit
def _outcomes(
    estimator: Any,
    problem: Problem,
    objective: Objective,
    optimizer: Optimizer,
    params: Array,
    every: AllEpisodes | None,
    reward_to_go: bool,
    outputs: Int[Array, "N B G"],
    atoms: Int[Array, "N B G"],
) -> Outcomes:
    reference = objective.reference_log_policy(problem)
    before = policy.log_policy(problem, params)
    reward = objective.reward_signal(problem, jnp.exp(before))
    log_chances = before
    if every is not None:
        every = AllEpisodes(*jax.tree.map(jnp.asarray, tuple(every)))
        log_chances, reward = every.log_chances(before), every.returns(reward)
    rows = jnp.arange(len(log_chances))[:, None]

    def one(drawn: Any) -> tuple[Any, ...]:
        outputs, atoms = drawn
        chance = jnp.exp(jnp.sum(log_chances[rows, outputs]))
        noise = None
        if estimator.draw is not None:
            _, chances = estimator.draw.atoms(reward[rows, outputs])
            chance *= jnp.prod(jnp.take_along_axis(chances, atoms[..., None], axis=-1))
            noise = atoms
        seen = outputs if every is None else jax.tree.map(lambda part: part[rows, outputs], every.ways)
        draws, memory = Draws(seen, None, noise), optimizer.init(params)
        found = update(estimator, problem, objective, optimizer, reference, params, memory, draws, reward_to_go)
        after = policy.log_policy(problem, found.params)
        return chance, outputs, found.sample.rewards, found.advantages, found.params, after, found.clipped

    found = jax.lax.map(one, (outputs, atoms), batch_size=min(len(outputs), 1024))
    return Outcomes(*found, before=before, episodes=None if every is None else every.ways)


def expected_update(
    estimator: Estimator, problem: Problem, params: Any = None, *, objective: Objective | None = None
) -> Float[Array, "..."]:
    """E[ghat] in the parameters, exactly: the expectation over every group that can be drawn of one gradient estimate.

    Estimators that look at rewards alone (`depends_on` "rewards") are enumerated by how often each level of the reward
    is drawn, which serves groups of hundreds; others by every group in order. KL and entropy of the objective, which
    `ascend_sampled` takes exactly, are included.

    Args:
        estimator: any, or a `Composed` whose surrogate takes one update a batch.
        problem: one problem.
        params: theta; None for the initial parameters.
        objective: what is climbed; None for the proxy's value alone.

    Returns:
        Of the shape of the parameters. RLOO's is `objective.gradient(problem, params)`.

    Raises:
        ValueError: on too many groups, or a surrogate of several updates (use `outcomes`).

    Example:
        >>> from pgdyn.estimators import GRPO
        >>> problem = Problem.tabular([0.2, 0.1, 0.7], [1.0, 1.0, 0.0])
        >>> expected_update(GRPO(4, eps=0.0), problem).round(3).tolist()
        [[0.229, 0.114, -0.343]]
    """
    require_single(problem, "expected_update")
    params = problem.initial_params if params is None else jnp.asarray(params)
    objective = choose_objective(objective, "expected_update")
    parts = composed(estimator)
    if parts.surrogate is not None and parts.surrogate.updates > 1:
        raise ValueError(
            f"the surrogate takes {parts.surrogate.updates} updates a batch, whose expected change depends on the "
            "learning rate; use estimators.outcomes"
        )
    if dependence(parts) == "batch" and len(list_starts(problem)) > 1:
        found = outcomes(parts, problem, params, objective=objective)
        return found.mean(found.params) - params
    return _gradient(MeanField(signal(parts, problem, objective), objective), problem, params)


@eqx.filter_jit
def _gradient(field: MeanField, problem: Problem, params: Array) -> Array:
    return field.gradient(problem, params)
