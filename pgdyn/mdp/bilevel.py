r"""Bilevel alignment of an auxiliary reward (after BARFI): learn how much of it to trust.

    outer    max over phi of  E[r_primary]  under pi_phi
    inner    pi_phi = argmax_pi  E[phi_2 r_primary + phi_3 r_auxiliary] - kl KL(pi || ref)

BARFI's inner problem is policy gradient run to convergence, with the implicit gradient
-(d2J/dphi dtheta) (H + lambda)^-1 (dJ/dtheta). The one here is regularised by the KL, so that its optimum is unique,
and tabular, so that the optimum is a backward recursion (`pgdyn.mdp.rewards.soft_values`); the derivative of that
recursion is the implicit gradient (a test compares the two). BARFI's constant phi_1 changes nothing and is left out. In
one step pi = ref exp(r_phi / kl) / Z and dE[r_primary]/dphi_3 = Cov_pi(r_primary, r_auxiliary) / kl.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy, validate
from pgdyn.mdp.rewards import soft_values
from pgdyn.problem import Problem, require_single
from pgdyn.validate import Numbers

if TYPE_CHECKING:
    import optax


class Alignment(NamedTuple):
    """What the outer loop found.

    Attributes:
        weights: [steps + 1, 2], of the primary and the auxiliary reward.
        value: [steps + 1], E[r_primary] under the inner optimum.
        log_policy: [P, K], the inner optimum at the end.
    """

    weights: Float[Array, "S 2"]
    value: Float[Array, " S"]
    log_policy: Float[Array, "P K"]


def inner_optimum(
    problem: Problem, primary: Numbers, auxiliary: Numbers, weights: Numbers, *, kl: float
) -> Float[Array, "P K"]:
    """log pi of the policy that is best for the weighted rewards less `kl` times the KL to the initial policy.

    Args:
        problem: one problem with a tabular policy.
        primary: [P, K].
        auxiliary: [P, K].
        weights: [2], of the two.
        kl: positive.

    Raises:
        ValueError: on a policy with features, whose optimum is no recursion, and on shapes that do not fit.

    Example:
        >>> problem = Problem.tabular([0.5, 0.5], [1.0, 0.0])
        >>> round(float(jnp.exp(inner_optimum(problem, [[1, 0]], [[0, 0]], [1, 0], kl=1.0))[0, 0]), 4)
        0.7311
    """
    main, extra = _tables(problem, primary, auxiliary)
    phi = validate.as_floats("weights", weights)
    weight = validate.scalar("kl", kl, positive=True)
    return _optimum(problem, main, extra, jnp.asarray(phi, main.dtype), weight)


def align(
    problem: Problem,
    primary: Numbers,
    auxiliary: Numbers,
    *,
    kl: float = 0.1,
    start: tuple[float, float] = (1.0, 1.0),
    outer: optax.GradientTransformation | None = None,
    steps: int = 200,
) -> Alignment:
    """Learns the weights of two rewards so that the policy trained on their sum is best for the primary one.

    Args:
        problem: one problem with a tabular policy; its initial policy is the reference, its rewards play no part.
        primary: [P, K], the reward that counts.
        auxiliary: [P, K], a reward that may help or mislead.
        kl: weight of the KL in the inner problem, positive.
        start: the weights at first.
        outer: an optax transformation; None for `optax.adam(0.05)`.
        steps: of the outer loop.

    Raises:
        ValueError: on a policy with features, shapes that do not fit, or numbers out of range.

    Example:
        >>> problem = Problem.tabular([0.25] * 4, [1.0, 0.0, 0.0, 0.0])
        >>> found = align(problem, [[1, 0, 0, 0]], [[0, 1, 0, 0]], steps=50)
        >>> bool(found.weights[-1, 1] < found.weights[0, 1])
        True
    """
    main, extra = _tables(problem, primary, auxiliary)
    weight = validate.scalar("kl", kl, positive=True)
    count = validate.count("steps", steps, minimum=1)
    import optax  # a part of the time that pgdyn takes to import, and only this needs it here

    optimizer = optax.adam(0.05) if outer is None else outer
    phi = jnp.asarray(validate.as_floats("start", start), main.dtype)
    if phi.shape != (2,):
        raise ValueError(f"start has shape {phi.shape}; it must be two weights")
    path, values, end = _climb(problem, main, extra, weight, phi, optimizer, count)
    return Alignment(path, values, end)


@eqx.filter_jit
def _climb(
    problem: Problem,
    main: Array,
    extra: Array,
    weight: Array,
    start: Array,
    optimizer: optax.GradientTransformation,
    steps: int,
) -> tuple[Array, Array, Array]:
    def loss(phi: Array) -> Array:
        return -policy.value(problem, _optimum(problem, main, extra, phi, weight), main)

    def step(state: tuple[Array, optax.OptState], _: None) -> tuple[tuple[Array, optax.OptState], tuple[Array, Array]]:
        phi, memory = state
        value, slope = jax.value_and_grad(loss)(phi)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integers
            updates, memory = optimizer.update(slope, memory, phi)
        moved: Any = updates
        return (phi + moved, memory), (phi, -value)

    (phi, _), (path, values) = jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)
    end = _optimum(problem, main, extra, phi, weight)
    return (
        jnp.concatenate([path, phi[None]]),
        jnp.concatenate([values, policy.value(problem, end, main)[None]]),
        end,
    )


def _optimum(problem: Problem, main: Array, extra: Array, phi: Array, weight: Array) -> Float[Array, "P K"]:
    reference = policy.log_policy(problem, problem.initial_params)
    value, worth = soft_values(problem, phi[0] * main + phi[1] * extra, reference, weight)
    return reference + (worth - value[:, None]) / weight


def _tables(problem: Problem, primary: Numbers, auxiliary: Numbers) -> tuple[Array, Array]:
    require_single(problem, "align")
    if not problem.is_tabular:
        raise ValueError("the inner optimum is a recursion for tabular policies alone, and this one shares parameters")
    tables = []
    for name, given in (("primary", primary), ("auxiliary", auxiliary)):
        table = validate.as_floats(name, given)
        if table.shape != problem.true_reward.shape:
            raise ValueError(f"{name} has shape {table.shape}; the problem's rewards have {problem.true_reward.shape}")
        validate.require_finite(name, np.asarray(table))
        tables.append(jnp.asarray(table, problem.true_reward.dtype))
    return tables[0], tables[1]
