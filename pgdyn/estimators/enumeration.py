r"""Exact expectations of an estimator, by every group of outputs that can be drawn.

    E[ghat] = sum over y_1..y_G  pi(y_1) .. pi(y_G)  ghat(y_1..y_G)

`expected_update` gives the expected gradient estimate; `outcomes` every possible update with its probability, several
epochs included, of which any expectation can be taken. For small K and G: there are (K B)^(G P) groups of P prompts, B
the number of rewards that an output may draw.
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
from pgdyn.estimators.compose import composed
from pgdyn.estimators.estimator import Estimator, dependence
from pgdyn.estimators.mean_field import signal
from pgdyn.estimators.step import Draws, update
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single

MOST = 2**20  # groups


class Outcomes(eqx.Module):
    """Every update that one batch of samples can lead to.

    Attributes:
        probability: [N], summing to 1.
        outputs: [N, P, G].
        rewards: [N, P, G], as they were drawn.
        advantages: [N, P, G].
        params: [N, *params], after the updates that the batch serves.
        log_policy: [N, P, K], after them.
        clipped: [N, 2], shares of samples whose ratio was clipped below and above.
        before: [P, K], log-probabilities before the updates.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> found = outcomes(RLOO(2), Problem.tabular([0.2, 0.8], [1.0, 0.0]))
        >>> found.probability.round(3).tolist()
        [0.04, 0.16, 0.16, 0.64]
    """

    probability: Float[Array, " N"]
    outputs: Int[Array, "N P G"]
    rewards: Float[Array, "N P G"]
    advantages: Float[Array, "N P G"]
    params: Float[Array, "N ..."]
    log_policy: Float[Array, "N P K"]
    clipped: Float[Array, "N 2"]
    before: Float[Array, "P K"]

    @property
    def change(self) -> Float[Array, "N P K"]:
        """Change of the log-probabilities."""
        return self.log_policy - self.before[None]

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
) -> Outcomes:
    """Every update that one batch of samples can lead to, with its probability.

    Args:
        estimator: any, or a `Composed`.
        problem: one problem, every prompt of which is visited.
        params: where the batch is drawn; None for the initial parameters.
        objective: as in `ascend_sampled`; None for the proxy's value alone.
        learning_rate: of an optimiser given by its name.
        optimizer: "sgd", "adam" or an optax transformation, in its initial state; None for "sgd".

    Raises:
        ValueError: where there are more than 2^20 groups.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> outcomes(RLOO(2), Problem.tabular([0.2, 0.8], [1.0, 0.0])).params.shape
        (4, 1, 2)
    """
    _require_one_step(problem, "outcomes")
    params = problem.initial_params if params is None else jnp.asarray(params)
    objective = choose_objective(objective, "outcomes")
    rate = validate.scalar("learning_rate", learning_rate)
    parts = composed(estimator)
    atoms = 1 if parts.draw is None else parts.draw.atoms(jnp.zeros(1))[0].shape[-1]
    shape = (problem.num_prompts, estimator.group_size)
    kinds = problem.num_outputs * atoms
    if kinds ** math.prod(shape) > MOST:
        raise ValueError(
            f"{kinds} outcomes of a sample and {math.prod(shape)} samples make more than {MOST} groups to enumerate; "
            "take fewer outputs or a smaller group"
        )
    numbers = np.array(list(itertools.product(range(kinds), repeat=math.prod(shape)))).reshape(-1, *shape)
    optimizer = trace(optimizer, rate, problem.initial_params)
    return _outcomes(
        parts, problem, objective, optimizer, params, jnp.asarray(numbers // atoms), jnp.asarray(numbers % atoms)
    )


@eqx.filter_jit
def _outcomes(
    estimator: Any,
    problem: Problem,
    objective: Objective,
    optimizer: Optimizer,
    params: Array,
    outputs: Int[Array, "N P G"],
    atoms: Int[Array, "N P G"],
) -> Outcomes:
    reference = objective.reference_log_policy(problem)
    before = policy.log_policy(problem, params)
    reward = objective.reward_signal(problem, jnp.exp(before))
    rows = jnp.arange(problem.num_prompts)[:, None]

    def one(drawn: Any) -> tuple[Any, ...]:
        outputs, atoms = drawn
        logs = jnp.sum(before[rows, outputs])
        chance = jnp.exp(logs)
        noise = None
        if estimator.draw is not None:
            _, chances = estimator.draw.atoms(reward[rows, outputs])
            chance *= jnp.prod(jnp.take_along_axis(chances, atoms[..., None], axis=-1))
            noise = atoms
        memory = optimizer.init(params)
        found = update(estimator, problem, objective, optimizer, reference, params, memory, Draws(outputs, None, noise))
        after = policy.log_policy(problem, found.params)
        return chance, outputs, found.sample.rewards, found.advantages, found.params, after, found.clipped

    found = jax.lax.map(one, (outputs, atoms), batch_size=min(len(outputs), 1024))
    return Outcomes(*found, before=before)


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
    _require_one_step(problem, "expected_update")
    params = problem.initial_params if params is None else jnp.asarray(params)
    objective = choose_objective(objective, "expected_update")
    parts = composed(estimator)
    if parts.surrogate is not None and parts.surrogate.updates > 1:
        raise ValueError(
            f"the surrogate takes {parts.surrogate.updates} updates a batch, whose expected change depends on the "
            "learning rate; use estimators.outcomes"
        )
    if dependence(parts) == "batch" and problem.num_prompts > 1:
        found = outcomes(parts, problem, params, objective=objective)
        return found.mean(found.params) - params
    return _expected(signal(parts, problem, objective), problem, objective, params)


@eqx.filter_jit
def _expected(field: Any, problem: Problem, objective: Objective, params: Array) -> Array:
    log_policy = policy.log_policy(problem, params)
    probabilities = jnp.exp(log_policy)
    found = field(problem, probabilities)
    centred = found - jnp.sum(probabilities * found, axis=1, keepdims=True)
    gradient = problem.prompt_weights[:, None] * probabilities * centred
    gradient += objective.regularizer_gradient(problem, log_policy, objective.reference_log_policy(problem))
    return policy.pull_back(problem, gradient, params)


def _require_one_step(problem: Problem, caller: str) -> None:
    require_single(problem, caller)
    if problem.transitions is not None:
        raise ValueError(f"{caller} takes problems of one step; pgdyn.mdp.leaves gives the whole outputs of a sequence")
