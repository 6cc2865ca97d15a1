r"""Sampled ascent: as `ascend`, with the gradient of the value estimated from sampled outputs.

    theta_{i+1} = theta_i + update(Phi^T ghat_i / T),

ghat_i an estimator's (see `pgdyn.estimators`). Every prompt is visited at every update with its weight. Only the reward
is sampled: the KL and entropy terms of the objective enter by their exact gradients.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from pgdyn import estimators, policy, validate
from pgdyn.dynamics.ascend import MOST_STEPS, finish, first_hit, no_hit, require_room, save_counts
from pgdyn.dynamics.optimizer import GradientTransformation, Optimizer, check_optimizer, trace
from pgdyn.estimators import Estimator
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem
from pgdyn.solution import Solution

_BLOCK = 256  # random numbers drawn at once, per run: a call of the generator for each update would cost more than it


class AscendSampled(eqx.Module):
    """Settings of ascent along a sampled policy gradient.

    Attributes:
        steps: number of updates.
        key: a `jax.random` key or a seed; the path depends on it and the group size, never on what is saved. For a
            batch [R] keys, each used for every problem, whose runs then share random numbers, or [N, R].
        estimator: how sampled rewards become a gradient; None for `pgdyn.estimators.Reinforce()`, which is REINFORCE
            with one output an update and no baseline (arXiv 2604.25872, appendix C).
        optimizer: "sgd" or "adam" at the learning rate, or an optax transformation, which is fed the negative gradient;
            None for "sgd".
        objective: what is climbed; None for the proxy's value alone.
        target: true value (exact, not sampled) whose first hitting time in updates is wanted, or None. For a batch also
            [N].
        save_every: the start, every `save_every`-th update and the end are kept; None for all of one run and the ends
            alone of a batch.
        learning_rate: of an optimiser given by its name. For a batch also [N].

    Raises:
        ValueError: naming the field that is wrong.

    Example:
        >>> AscendSampled(steps=100, key=3).chosen_estimator.group_size
        1
    """

    steps: int = eqx.field(static=True, converter=validate.counts("steps", minimum=1, maximum=MOST_STEPS))
    key: int | Array = eqx.field(default=0, converter=lambda key: as_keys(key))
    estimator: Estimator | None = None
    optimizer: Literal["sgd", "adam"] | GradientTransformation | None = eqx.field(
        default=None, static=True, converter=check_optimizer
    )
    objective: Objective | None = None
    target: float | None = eqx.field(default=None, converter=validate.numbers("target", optional=True))
    save_every: int | None = eqx.field(
        default=None, static=True, converter=validate.counts("save_every", minimum=1, maximum=MOST_STEPS, optional=True)
    )
    learning_rate: float = eqx.field(default=0.1, converter=validate.numbers("learning_rate", positive=True))

    name: ClassVar[str] = "ascend_sampled"

    def __check_init__(self):
        choose_objective(self.objective, "ascend_sampled")
        if self.estimator is not None and not isinstance(self.estimator, Estimator):
            raise ValueError(f"estimator must be a pgdyn.estimators.Estimator, got {validate.shown(self.estimator)}")

    @property
    def chosen_objective(self) -> Objective:
        """The objective, with the default in place of None."""
        return choose_objective(self.objective, "ascend_sampled")

    @property
    def keys(self) -> Array:
        """The key or keys; a seed has become one."""
        return cast(Array, self.key)

    @property
    def chosen_estimator(self) -> Estimator:
        """The estimator, with the default in place of None."""
        return estimators.Reinforce() if self.estimator is None else self.estimator

    def run(self, problem: Problem) -> Solution:
        """Runs one problem; `pgdyn.solve` checks it first."""
        if self.keys.ndim != 0:
            raise ValueError(f"key has shape {self.keys.shape}; one run takes one key, use jax.vmap over keys for more")
        path = self.path(problem, 1 if self.save_every is None else self.save_every)
        return Solution(**path, problem=problem, settings=self)

    def path(self, problem: Problem, save_every: int | None) -> dict[str, Any]:
        """The arrays of the `Solution` of one problem; of its end alone for a `save_every` of None."""
        require_room(self.steps, save_every)
        goal = None if self.target is None else validate.scalar("target", self.target)
        rate = validate.scalar("learning_rate", self.learning_rate)
        optimizer = trace(self.optimizer, rate, problem.initial_params)
        chosen = (self.chosen_objective, self.chosen_estimator)
        return _run(problem, *chosen, optimizer, goal, self.keys, self.steps, save_every)


def as_keys(key: Any) -> Key[Array, "*runs"]:
    """`key` as `jax.random` keys; a whole number is a seed.

    Raises:
        ValueError: if it is neither.

    Example:
        >>> as_keys(3).shape
        ()
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        if not 0 <= key < 2**63:
            raise ValueError(f"key is {validate.shown(key)}; a seed is a whole number from 0 to 2^63 - 1")
        return jax.random.key(int(key))
    if not isinstance(key, jax.Array):
        found = f"an array of shape {key.shape}" if isinstance(key, np.ndarray) else validate.shown(key)
        raise ValueError(f"key must be a jax.random key, for instance jax.random.key(0), or a seed, got {found}")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        return key
    if key.dtype != jnp.uint32 or key.shape != jax.eval_shape(jax.random.PRNGKey, 0).shape:
        raise ValueError(f"key must be one jax.random key, got {key.dtype} of shape {key.shape}")
    return jax.random.wrap_key_data(key)


@eqx.filter_jit
def _run(
    problem: Problem,
    objective: Objective,
    estimator: Estimator,
    optimizer: Optimizer,
    goal: Array | None,
    key: PRNGKeyArray,
    steps: int,
    save_every: int | None,
) -> dict[str, Any]:
    reference = objective.reference_log_policy(problem)
    start = problem.initial_params
    draws = (problem.num_prompts, estimator.group_size)
    block = max(1, _BLOCK // (draws[0] * draws[1]))

    def update(params: Array, memory: PyTree, logits: Array, uniforms: Array) -> tuple[Array, PyTree]:
        log_policy = policy.normalize(logits)
        reward = objective.reward_signal(problem, jnp.exp(log_policy))
        outputs = estimators.draw(log_policy, uniforms)
        gradient = estimators.logit_gradient(estimator, problem.prompt_weights, log_policy, reward, outputs)
        gradient += objective.regularizer_gradient(problem, log_policy, reference)
        return optimizer.ascend(policy.pull_back(problem, gradient, params), memory, params)

    def run_block(index: Array, state: PyTree) -> PyTree:
        uniforms = jax.random.uniform(jax.random.fold_in(key, index), (block, *draws), start.dtype)
        first = index * block

        def step(i: Array, state: PyTree) -> PyTree:
            params, memory, hit, path = state
            logits = policy.logits(problem, params)
            hit = first_hit(problem, goal, hit, first + i, logits)
            params, memory = update(params, memory, logits, uniforms[i])
            if path is not None and save_every is not None:
                # Each slot is overwritten until its own count comes: no branch, and the end needs no special case.
                path = jax.lax.dynamic_update_index_in_dim(path, params, (first + i) // save_every + 1, axis=0)
            return params, memory, hit, path

        return jax.lax.fori_loop(0, jnp.minimum(block, steps - first), step, state)

    count = None if save_every is None else len(save_counts(steps, save_every))
    path = None if count is None else jnp.broadcast_to(start, (count, *start.shape))
    state = (start, optimizer.init(start), no_hit(goal, start.dtype), path)
    params, _, hit, path = jax.lax.fori_loop(0, -(-steps // block), run_block, state)
    return finish(problem, objective, goal, steps, save_every, params, hit, path)
