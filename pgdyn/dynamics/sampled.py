r"""Sampled ascent: as `ascend`, with the gradient of the value estimated from sampled outputs.

    theta_{i+1} = theta_i + update(Phi^T ghat_i / T),

ghat_i an estimator's (see `pgdyn.estimators`). Every prompt is visited at every update with its weight. Only the reward
is sampled: the KL and entropy terms of the objective enter by their exact gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, PRNGKeyArray, PyTree

from pgdyn import estimators, policy, validate
from pgdyn.dynamics import chunks
from pgdyn.dynamics.ascend import ending, first_hit, save_counts, true_value
from pgdyn.dynamics.optimizer import Optimizer, trace
from pgdyn.estimators import Estimator
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single
from pgdyn.trajectory import Trajectory, observe

_BLOCK = 256  # random numbers drawn at once, per run: a call of the generator for each update would cost more than it


def ascend_sampled(
    problem: Problem,
    steps: int,
    key: Array,
    *,
    estimator: Estimator | None = None,
    optimizer: optax.GradientTransformation | None = None,
    objective: Objective | None = None,
    target: ArrayLike | None = None,
    save_every: int = 1,
) -> Trajectory:
    """`steps` updates along a sampled policy gradient.

    Args:
        problem: one problem.
        steps: number of updates, at least 1.
        key: a `jax.random` key. The path depends on the key and the group size, never on what is saved.
        estimator: how sampled rewards become a gradient; None for `pgdyn.estimators.Reinforce()`, which is REINFORCE
            with one output an update and no baseline (arXiv 2604.25872, appendix C).
        optimizer: an optax optimiser; None for `optax.sgd(0.1)`.
        objective: what is climbed; None for the proxy's value alone.
        target: true value (exact, not sampled) whose first hitting time in updates is wanted, or None.
        save_every: the start, every `save_every`-th update and the end are kept.

    Returns:
        A `Trajectory` with dynamics "ascend_sampled". For many seeds, `jax.vmap` this function over keys.

    Raises:
        ValueError: on a batch, a count below 1, or an estimator or optimiser of the wrong kind.
    """
    require_single(problem, "ascend_sampled")
    steps = validate.count("steps", steps, minimum=1)
    save_every = validate.count("save_every", save_every, minimum=1)
    goal = None if target is None else validate.scalar("target", target)
    objective = choose_objective(objective, "ascend_sampled")
    estimator = _as_estimator(estimator)
    key = _as_key(key)
    traced = trace(optax.sgd(0.1) if optimizer is None else optimizer, problem.initial_params)
    path = _run(problem, objective, estimator, traced, goal, key, steps, save_every)
    settings = _settings(steps, save_every, estimator, traced, goal, key)
    return Trajectory(**path, problem=problem, objective=objective, dynamics="ascend_sampled", settings=settings)


def ascend_sampled_many(
    problems: Problem,
    steps: int,
    keys: Array,
    *,
    estimator: Estimator | None = None,
    optimizer: optax.GradientTransformation | None = None,
    objective: Objective | None = None,
    target: ArrayLike | None = None,
    save_every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """`ascend_sampled` for every pair of a problem and a key, in chunks on every core.

    Args:
        problems: a batch of N problems, or one.
        steps: number of updates, at least 1.
        keys: [R] `jax.random` keys, each used for every problem, whose runs then share random numbers; or [N, R],
            one for every pair.
        estimator: as in `ascend_sampled`.
        optimizer: as in `ascend_sampled`.
        objective: as in `ascend_sampled`.
        target: as in `ascend_sampled`; one number for all.
        save_every: as in `ascend_sampled`, but None keeps the start and the end alone.
        progress: called with (runs done, N R) from time to time, never from two threads at once.

    Returns:
        A `Trajectory` with leading axes [N, R] on every array.

    Raises:
        ValueError: as `ascend_sampled`, and on keys of another shape.
    """
    problems = chunks.as_batch(problems, "ascend_sampled_many")
    steps = validate.count("steps", steps, minimum=1)
    save_every = steps if save_every is None else validate.count("save_every", save_every, minimum=1)
    goal = None if target is None else validate.scalar("target", target)
    objective = choose_objective(objective, "ascend_sampled_many")
    estimator = _as_estimator(estimator)
    if not isinstance(keys, jax.Array) or not jnp.issubdtype(keys.dtype, jax.dtypes.prng_key):
        raise ValueError(
            f"keys must be jax.random keys, for instance jax.random.split(jax.random.key(0), 200), got {keys!r:.80}"
        )
    size = len(problems)
    if keys.ndim not in (1, 2) or (keys.ndim == 2 and keys.shape[0] != size):
        raise ValueError(f"keys have shape {keys.shape}; they must be [R], or [N, R] with N = {size} problems")
    traced = trace(optax.sgd(0.1) if optimizer is None else optimizer, chunks.one_start(problems))
    repeats = keys.shape[-1]
    data = np.asarray(jax.random.key_data(keys))
    data = np.broadcast_to(data, (size, repeats, data.shape[-1])).reshape(size * repeats, -1)

    def compute(rows: np.ndarray) -> dict[str, Any]:
        chosen = chunks.pick(problems, rows // repeats)
        chosen_keys = jax.random.wrap_key_data(jnp.asarray(data[rows]), impl=jax.random.key_impl(keys))
        return _run_chunk(chosen, objective, estimator, traced, goal, chosen_keys, steps, save_every)

    path = chunks.run(compute, size * repeats, progress)
    path = jax.tree.map(lambda leaf: leaf.reshape(size, repeats, *leaf.shape[1:]), path)

    def repeat(leaf: Array) -> Array:
        return jnp.broadcast_to(leaf[:, None], (size, repeats, *leaf.shape[1:]))

    shared = problems.features is not None and problems.features.ndim == 3
    own = eqx.tree_at(lambda p: p.features, problems, None, is_leaf=_absent) if shared else problems
    repeated = jax.tree.map(repeat, own)
    if shared:
        repeated = eqx.tree_at(lambda p: p.features, repeated, problems.features, is_leaf=_absent)
    settings = _settings(steps, save_every, estimator, traced, goal, keys)
    return Trajectory(**path, problem=repeated, objective=objective, dynamics="ascend_sampled", settings=settings)


@eqx.filter_jit
def _run_chunk(
    problems: Problem,
    objective: Objective,
    estimator: Estimator,
    optimizer: Optimizer,
    goal: Array | None,
    keys: Array,
    steps: int,
    save_every: int,
) -> dict[str, Any]:
    def one(problem: Problem, key: Array) -> dict[str, Any]:
        return _run(problem, objective, estimator, optimizer, goal, key, steps, save_every)

    return jax.vmap(one, in_axes=(problems.batch_axes, 0))(problems, keys)


def _settings(
    steps: int, save_every: int, estimator: Estimator, optimizer: Optimizer, goal: Array | None, key: Array
) -> tuple[tuple[str, Any], ...]:
    return (
        ("steps", steps),
        ("save_every", save_every),
        ("estimator", type(estimator).__name__),
        ("group_size", estimator.group_size),
        ("optimizer", optimizer.describe()),
        ("target", None if goal is None else "traced" if validate.is_traced(goal) else float(goal)),
        ("key", "traced" if validate.is_traced(key) else str(np.asarray(jax.random.key_data(key)).tolist())),
    )


def _absent(leaf: Any) -> bool:
    return leaf is None


def _as_estimator(estimator: Estimator | None) -> Estimator:
    if estimator is None:
        return estimators.Reinforce()
    if not isinstance(estimator, Estimator):
        raise ValueError(f"estimator must be a pgdyn.estimators.Estimator, got {estimator!r:.80}")
    return estimator


def _as_key(key: Any) -> PRNGKeyArray:
    if not isinstance(key, jax.Array):
        raise ValueError(f"key must be a jax.random key, for instance jax.random.key(0), got {key!r:.80}")
    if jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        if key.ndim != 0:
            raise ValueError(f"key has shape {key.shape}; one run takes one key, use jax.vmap over keys for more")
        return key
    if key.dtype != jnp.uint32 or key.ndim != 1:
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
    save_every: int,
) -> dict[str, Any]:
    reference = objective.reference_log_policy(problem)
    start = problem.initial_params
    counts = save_counts(steps, save_every)
    draws = (problem.num_prompts, estimator.group_size)
    block = max(1, _BLOCK // (draws[0] * draws[1]))

    def update(params: Array, memory: PyTree, log_policy: Array, uniforms: Array) -> tuple[Array, PyTree]:
        reward = objective.reward_signal(problem, log_policy)
        outputs = estimators.draw(log_policy, uniforms)
        gradient = estimators.logit_gradient(estimator, problem.prompt_weights, log_policy, reward, outputs)
        gradient += objective.regularizer_gradient(problem, log_policy, reference)
        return optimizer.ascend(policy.pull_back(problem, gradient), memory, params)

    def run_block(index: Array, state: PyTree) -> PyTree:
        uniforms = jax.random.uniform(jax.random.fold_in(key, index), (block, *draws), start.dtype)
        first = index * block

        def step(i: Array, state: PyTree) -> PyTree:
            params, memory, hit, path = state
            log_policy = policy.log_policy(problem, params)
            if goal is not None:
                reached = policy.value(problem, log_policy, problem.true_reward) >= goal
                hit = first_hit(hit, first + i, reached)
            params, memory = update(params, memory, log_policy, uniforms[i])
            # Each slot is overwritten until its own update count comes: no branch, and the end needs no special case.
            slot = (first + i) // save_every + 1
            path = jax.lax.dynamic_update_index_in_dim(path, params, slot, axis=0)
            return params, memory, hit, path

        return jax.lax.fori_loop(0, jnp.minimum(block, steps - first), step, state)

    never = jnp.full((), jnp.nan if goal is None else jnp.inf, start.dtype)
    path = jnp.broadcast_to(start, (counts.shape[0], *start.shape))
    blocks = -(-steps // block)
    state = (start, optimizer.init(start), never, path)
    params, _, hit, path = jax.lax.fori_loop(0, blocks, run_block, state)
    if goal is not None:
        hit = first_hit(hit, jnp.asarray(steps), true_value(problem, params) >= goal)
    return {
        "t": counts,
        "params": path,
        **observe(problem, objective, path),
        "hitting_time": hit,
        "result": ending(params),
        "steps": jnp.asarray(steps),
    }
