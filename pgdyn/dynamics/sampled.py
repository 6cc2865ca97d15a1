r"""Sampled ascent: as `ascend`, with the gradient of the value estimated from sampled outputs.

    theta_{i+1} = theta_i + update(Phi^T ghat_i / T),

ghat_i an estimator's (see `pgdyn.estimators`). Every prompt is visited at every update with its weight, or some of them
that are drawn. Only the reward is sampled: the KL and entropy terms of the objective enter by their exact gradients. A
surrogate loss may go through one batch of samples several times; it then keeps the log-probabilities that they were
drawn with.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray, PyTree

from pgdyn import policy, validate
from pgdyn.dynamics.ascend import MOST_STEPS, finish, first_hit, no_hit, require_room, save_counts
from pgdyn.dynamics.optimizer import GradientTransformation, Optimizer, check_optimizer, trace
from pgdyn.estimators import Estimator, Reinforce, composed, draw
from pgdyn.estimators.episodes import numbers_of_an_episode, roll_out
from pgdyn.estimators.step import Draws, update
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem
from pgdyn.solution import Solution

_BLOCK = 256  # random numbers drawn at once, per run: a call of the generator for each update would cost more than it


class AscendSampled(eqx.Module):
    """Settings of ascent along a sampled policy gradient.

    Attributes:
        steps: number of updates; of batches of samples, where a surrogate takes several updates of each.
        key: a `jax.random` key or a seed; the path depends on it and the group size, never on what is saved. For a
            batch [R] keys, each used for every problem, whose runs then share random numbers, or [N, R].
        estimator: how sampled rewards become a gradient; None for `pgdyn.estimators.Reinforce()`, which is REINFORCE
            with one output an update and no baseline (arXiv 2604.25872, appendix C).
        optimizer: "sgd" or "adam" at the learning rate, or an optax transformation, which is fed the negative gradient;
            None for "sgd".
        objective: what is climbed; None for the proxy's value alone.
        target: true value whose first hitting time (in updates) is wanted, or None. The exact value is checked at every
            update, saved or not. For a batch also [N].
        save_every: the start, every `save_every`-th update and the end are kept; None for all of one run and the ends
            alone of a batch.
        learning_rate: of an optimiser given by its name. For a batch also [N].
        prompts: number of prompts that are drawn for each update, by their weights and with repetition, and then count
            equally; None for every prompt with its weight. Of a sequence, the decision points where it may begin.
        reward_to_go: of a sequence: whether the rewards before a decision are taken off its advantage. That changes
            nothing in the mean of an update; in that of REINFORCE and RLOO it mostly lowers the variance.

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
    prompts: int | None = eqx.field(
        default=None, static=True, converter=validate.counts("prompts", minimum=1, maximum=10**6, optional=True)
    )

    reward_to_go: bool = eqx.field(default=False, static=True, converter=validate.truth("reward_to_go"))

    name: ClassVar[str] = "ascend_sampled"

    def __check_init__(self):
        if not choose_objective(self.objective, "ascend_sampled").can_be_sampled:
            kind = type(self.objective).__name__
            raise ValueError(f"the reward of {kind} is no table that a sample is paid from; use pgdyn.flow or ascend")
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
        return Reinforce() if self.estimator is None else self.estimator

    def run(self, problem: Problem) -> Solution:
        """Runs one problem; `pgdyn.solve` checks it first."""
        if self.keys.ndim != 0:
            raise ValueError(f"key has shape {self.keys.shape}; one run takes one key, use jax.vmap over keys for more")
        if problem.transitions is not None and self.prompts is None:
            inner = np.setdiff1d(np.arange(problem.num_prompts), problem.transitions.roots)
            if not validate.is_traced(problem.prompt_weights) and np.asarray(problem.prompt_weights)[inner].any():
                raise ValueError(
                    "episodes may begin at decision points that others lead to; give `prompts`, so that they are drawn"
                )
        path = self.path(problem, 1 if self.save_every is None else self.save_every)
        return Solution(**path, problem=problem, settings=self)

    def path(self, problem: Problem, save_every: int | None) -> dict[str, Any]:
        """The arrays of the `Solution` of one problem; of its end alone for a `save_every` of None."""
        require_room(self.steps, save_every)
        goal = None if self.target is None else validate.scalar("target", self.target)
        rate = validate.scalar("learning_rate", self.learning_rate)
        optimizer = trace(self.optimizer, rate, problem.initial_params)
        chosen = (self.chosen_objective, self.chosen_estimator)
        return _run(
            problem, *chosen, optimizer, goal, self.keys, self.steps, save_every, self.prompts, self.reward_to_go
        )


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
    prompts: int | None,
    reward_to_go: bool,
) -> dict[str, Any]:
    reference = objective.reference_log_policy(problem)
    start = problem.initial_params
    parts = composed(estimator)
    ways = problem.transitions
    starts = np.arange(problem.num_prompts) if ways is None else ways.roots
    shape = (len(starts) if prompts is None else prompts, estimator.group_size)
    if ways is not None:
        shape = (*shape, *numbers_of_an_episode(ways))
    block = max(1, _BLOCK // math.prod(shape))

    fixed = (parts, problem, objective, optimizer, reference)

    def numbers(index: Array) -> tuple[Array, Array | None, Array | None]:
        """Uniform numbers of a block of updates: of outputs, of rewards and of prompts, where these are drawn."""
        own = jax.random.fold_in(key, index)

        def uniform(stream: Array, *axes: int) -> Array:
            return jax.random.uniform(stream, (block, *axes), start.dtype)

        rewards = None if parts.draw is None else uniform(jax.random.fold_in(own, 1), *shape[:2])
        drawn = None if prompts is None else uniform(jax.random.fold_in(own, 2), prompts)
        return uniform(own, *shape), rewards, drawn

    def chances(logits: Array, uniforms: Any) -> Draws:
        log_policy = policy.normalize(logits)
        outputs, rewards, visits = uniforms
        chosen = None
        if visits is not None:
            chosen = draw(jnp.log(problem.prompt_weights)[None], visits[None])[0]
        if ways is not None:
            begun = jnp.asarray(starts) if chosen is None else chosen
            return Draws(roll_out(problem, log_policy, begun, outputs), chosen, rewards)
        return Draws(draw(log_policy if chosen is None else log_policy[chosen], outputs), chosen, rewards)

    def run_block(index: Array, state: PyTree) -> PyTree:
        uniforms = numbers(index)
        first = index * block

        def step(i: Array, state: PyTree) -> PyTree:
            params, memory, hit, path = state
            logits = policy.logits(problem, params)
            hit = first_hit(problem, goal, hit, first + i, logits)
            draws = chances(logits, jax.tree.map(lambda array: array[i], uniforms))
            params, memory, *_ = update(*fixed, params, memory, draws, reward_to_go)
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
