r"""Many problems side by side: the batch axis last, one flow a lane.

A lane's state is whichever of three is smallest, and its slope follows from dJ/dz (`pgdyn.objective`):

    tabular   z                      z' = g / T^2
    params    theta                  theta' = Phi^T g / T,             z = Phi theta / T
    kernel    c with c(0) = 0        c' = g,                           z = z_0 + G c,   G = Phi Phi^T / T^2

with g = dJ/dz; under the natural gradient g is replaced by F^+ g and the state is z or theta. With the lanes last every
operation is elementwise or a reduction over a leading axis, which a CPU does a vector register of lanes at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from pgdyn import policy
from pgdyn.objective import Objective
from pgdyn.problem import Problem

_UNROLLED = 8  # terms of a reduction written out
_FUSED = 16  # logits of a lane, at most; with more of them a kernel for each operation is as fast, then faster
_FUSED_FEATURES = 64  # numbers of its features or their Gram matrix, at most


class Layout(NamedTuple):
    """What is the same for all lanes of a call, and fixes the compiled program.

    Under one layout a lane ends the same to the last bit whatever the lanes beside it; two layouts round differently.

    Attributes:
        form: "tabular", "params" or "kernel".
        natural: whether the geometry is that of the natural gradient.
        plain: whether the objective's reward is not normalised, which has a shorter slope.
        weighted: whether prompt weights differ from 1 (several prompts).
        scaled: whether any temperature differs from 1.
        stop: whether a flow ends at its target.
        fused: whether all loops over lanes are compiled into one function, rather than one for each operation:
            two ways to the same numbers, of which each has its own way to be fast.
    """

    form: str
    natural: bool
    plain: bool
    weighted: bool
    scaled: bool
    stop: bool
    fused: bool


class Shared(NamedTuple):
    """Arrays that every lane uses: features [P, K, D] and their Gram matrix [P, K, P, K], where they are shared."""

    features: Array | None = None
    gram: Array | None = None


class Lane(NamedTuple):
    """The data of L lanes, lanes last: NumPy arrays on the host, JAX's in compiled code.

    Attributes:
        problem: the problems without their features; arrays [P, K, L], [P, L], [L].
        features: [P, K, D, L] where each lane has its own and the state is theta.
        gram: [P, K, P, K, L] where each lane has its own and the state is c.
        start_logits: [P, K, L], z_0 where the state is c.
        reference: [P, K, L], log-probabilities that the KL is measured against; None where nothing needs them.
        kl: [L] where each lane has its own KL weight.
        entropy: [L] where each lane has its own entropy weight.
        t1: [L], end times.
        goal: [L], targets, or None.
    """

    problem: Problem
    features: Any
    gram: Any
    start_logits: Any
    reference: Any
    kl: Any
    entropy: Any
    t1: Any
    goal: Any


def choose_layout(problems: Problem, objective: Objective, geometry: str, stop: bool, platform: str) -> Layout:
    """The smallest state that serves; fused on a CPU while that is faster, and nothing in it is a library's call."""
    plain = objective.normalize_by_std is False
    natural = geometry == "natural"
    if problems.is_tabular:
        form = "tabular"
    elif natural or problems.params_shape[0] <= problems.num_prompts * problems.num_outputs:
        form = "params"
    else:
        form = "kernel"
    weighted = bool((problems.prompt_weights != 1).any())
    scaled = bool((problems.temperature != 1).any())
    outputs = problems.num_prompts * problems.num_outputs
    numbers = {"tabular": 0, "params": outputs * problems.params_shape[-1], "kernel": outputs**2}[form]
    small = outputs <= _FUSED and numbers <= _FUSED_FEATURES
    fused = platform == "cpu" and small and not (natural and problems.features is not None)
    return Layout(form, natural, plain, weighted, scaled, stop, fused)


def spread(array: Shaped[Array, " L"], like: Array) -> Array:
    """One number a lane, for use beside an array of more axes."""
    return array.reshape((1,) * (like.ndim - 1) + array.shape)


def fold(layout: Layout, combine: Callable[[Array, Array], Array], axis: int, *factors: Array) -> Array:
    """The product of arrays, reduced along an axis other than the last, which is kept at length 1.

    As a kernel of its own XLA:CPU turns a long reduction along a leading axis into a loop that is not vectorised. As
    sums of eighths of the array, and of eighths of these, it runs at the speed of the cache: three to four times as
    fast. Within a larger kernel it is the other way round.
    """
    if layout.fused:
        whole = jnp.sum if combine is jnp.add else jnp.max
        return whole(reduce(jnp.multiply, factors), axis=axis, keepdims=True)
    length = factors[0].shape[axis]

    def part(start: int, stop: int) -> Array:
        # Of the factors, not of their product, which would be written to memory first.
        return reduce(jnp.multiply, [jax.lax.slice_in_dim(factor, start, stop, axis=axis) for factor in factors])

    if length <= _UNROLLED:
        return reduce(combine, [part(i, i + 1) for i in range(length)])
    size = length // _UNROLLED
    eighths = reduce(combine, [part(i * size, (i + 1) * size) for i in range(_UNROLLED)])
    if length % _UNROLLED:
        eighths = jnp.concatenate([eighths, part(_UNROLLED * size, length)], axis=axis)
    return fold(layout, combine, axis, jax.lax.optimization_barrier(eighths))


def _spread_out(shared: Array | None, own: Array) -> Array:
    """What lanes share, for use beside arrays of lanes; else what each has of its own."""
    return own if shared is None else shared[..., None]


def logits(layout: Layout, shared: Shared, lane: Lane, state: Array) -> Float[Array, "P K L"]:
    """z of every lane, from its state."""
    if layout.form == "tabular":
        return state
    if layout.form == "params":
        if shared.features is not None and not layout.fused:
            z = jnp.einsum("pkd,dl->pkl", shared.features, state)
        else:
            z = fold(layout, jnp.add, 2, _spread_out(shared.features, lane.features), state[None, None])[:, :, 0]
        return z / spread(lane.problem.temperature, z) if layout.scaled else z
    if shared.gram is not None and not layout.fused:
        moved = jnp.einsum("pkqj,qjl->pkl", shared.gram, state)
    else:
        gram = _spread_out(shared.gram, lane.gram)
        rows = gram.reshape(*state.shape[:2], -1, gram.shape[-1])
        moved = fold(layout, jnp.add, 2, rows, state.reshape(1, 1, rows.shape[2], -1))[:, :, 0]
    return lane.start_logits + (moved / spread(lane.problem.temperature**2, moved) if layout.scaled else moved)


def push(layout: Layout, shared: Shared, lane: Lane, gradient: Float[Array, "P K L"]) -> Array:
    """The state's slope under an euclidean gradient in the logits."""
    if layout.form == "tabular":
        return gradient / spread(lane.problem.temperature**2, gradient) if layout.scaled else gradient
    if layout.form == "kernel":
        return gradient
    if shared.features is not None and not layout.fused:
        moved = jnp.einsum("pkd,pkl->dl", shared.features, gradient)
    else:
        features = _spread_out(shared.features, lane.features)
        rows = features.reshape(-1, *features.shape[2:])
        moved = fold(layout, jnp.add, 0, rows, gradient.reshape(rows.shape[0], 1, -1))[0]
    return moved / spread(lane.problem.temperature, moved) if layout.scaled else moved


class Anchor(NamedTuple):
    """Where logits and rewards are measured from during one step, found once at its start.

    Rewards are measured from the likeliest output's, for the reason given in `policy.advantage`; logits from the
    largest, so that exponentials neither overflow nor vanish. A trial step so long that they do gives nan, and is
    rejected.

    Attributes:
        peak: [P, 1, L], the largest logit.
        reward: [P, K, L], the training reward, plus kl log ref under a reverse KL, less that of the likeliest output.
        base: [P, 1, L], the likeliest output's true reward.
        true: [P, K, L], the true reward less `base`; None where there is no target.
        modal: [P, K, L], whether an output is near the mode; None where no penalty goes by log pi.
    """

    peak: Array
    reward: Array
    base: Array | None
    true: Array | None
    modal: Array | None


def anchor(layout: Layout, objective: Objective, shared: Shared, lane: Lane, state: Array) -> Anchor | None:
    """The anchor for a step from `state`; None where the slope needs none."""
    if not layout.plain or layout.natural:
        return None
    z = logits(layout, shared, lane, state)
    peak = jnp.max(z, axis=1, keepdims=True)
    # Not ==: compiled code may round z and its maximum differently. An output near the mode serves as well.
    modal = z >= peak - 1e-3

    def base(reward: Array) -> Array:
        return jnp.max(jnp.where(modal, reward, -jnp.inf), axis=1, keepdims=True)

    true = lane.problem.true_reward
    reward = lane.problem.proxy_reward if objective.reward == "proxy" else true
    kl, entropy = _penalties(objective, lane, z)
    reverse = kl is not None and objective.kl_direction == "reverse"
    if kl is not None and reverse:
        reward = reward + kl * lane.reference
    near = modal if reverse or entropy is not None else None
    if lane.goal is None:
        return Anchor(peak, reward - base(reward), None, None, near)
    return Anchor(peak, reward - base(reward), base(true), true - base(true), near)


def _penalties(objective: Objective, lane: Lane, like: Array) -> tuple[Array | None, Array | None]:
    """Weights of KL and entropy, for use beside an array of lanes; None where there is no such term."""

    def weight(common: Any, own: Any) -> Array | None:
        if own is not None:
            return spread(own, like)
        return None if isinstance(common, float) else common

    return weight(objective.kl, lane.kl), weight(objective.entropy, lane.entropy)


def slope(
    layout: Layout, objective: Objective, shared: Shared, lane: Lane, anchor: Anchor | None, state: Array
) -> tuple[Array, Array | None]:
    """The state's slope, and the true value where there is a target (it comes almost free with the slope)."""
    z = logits(layout, shared, lane, state)
    if anchor is not None:
        return _plain_slope(layout, objective, shared, lane, anchor, z)
    log_policy = z - jax.nn.logsumexp(z, axis=1, keepdims=True)
    value = None if lane.goal is None else true_value(lane, log_policy)

    def one(problem: Problem, kl: Any, entropy: Any, log_policy: Array, reference: Array | None) -> Array:
        own = _with_weights(objective, kl, entropy)
        reference = log_policy if reference is None else reference
        if layout.natural:
            return own.natural_signal(problem, log_policy, reference)
        return own.logit_gradient(problem, log_policy, reference)

    def each(fn: Any, *arguments: Any) -> Array:
        axes = tuple(None if argument is None else -1 for argument in arguments)
        return jax.vmap(fn, in_axes=axes, out_axes=-1)(*arguments)

    gradient = each(one, lane.problem, lane.kl, lane.entropy, log_policy, lane.reference)
    if not layout.natural:
        return push(layout, shared, lane, gradient), value
    if layout.form == "tabular":
        return gradient - jnp.mean(gradient, axis=1, keepdims=True), value

    def direction(problem: Problem, features: Array | None, log_policy: Array, signal: Array) -> Array:
        own = shared.features if features is None else features
        full = eqx.tree_at(lambda p: p.features, problem, own, is_leaf=lambda leaf: leaf is None)
        return policy.natural_direction(full, log_policy, signal)

    return each(direction, lane.problem, lane.features, log_policy, gradient), value


def _plain_slope(
    layout: Layout, objective: Objective, shared: Shared, lane: Lane, anchor: Anchor, z: Array
) -> tuple[Array, Array | None]:
    r"""The slope of V - kl * KL + entropy * H, as that of `Objective.logit_gradient`, with one exponential an output.

    dJ/dz = w pi (f - <pi, f>) with f = r - kl (log pi - log ref) - entropy log pi. As nothing changes when the same is
    added to f of every output, log pi may be replaced by z less that of the likeliest: no logarithm, nor anything else
    that could be done once a step, and f is 0 there. A forward KL is w kl (ref - pi) instead.
    """
    kl, entropy = _penalties(objective, lane, z)
    forward = kl is not None and objective.kl_direction == "forward"
    weights = [weight for weight in (None if forward else kl, entropy) if weight is not None]
    above = z - anchor.peak
    unnormalised = jnp.exp(above)
    inverse = 1 / fold(layout, jnp.add, 1, unnormalised)
    signal = anchor.reward
    if anchor.modal is not None:
        # What the likeliest output has moved by since the step began would cost it the digits that the anchor keeps.
        moved = fold(layout, jnp.maximum, 1, jnp.where(anchor.modal, above, -jnp.inf))
        signal = signal - sum(weights[1:], weights[0]) * (above - moved)
    mean = fold(layout, jnp.add, 1, unnormalised, signal) * inverse
    scale = inverse * lane.problem.prompt_weights[:, None] if layout.weighted else inverse
    gradient = unnormalised * scale * (signal - mean)
    if kl is not None and forward:
        pull = kl * (jnp.exp(lane.reference) - unnormalised * inverse)
        gradient = gradient + (lane.problem.prompt_weights[:, None] * pull if layout.weighted else pull)
    value = None
    if anchor.true is not None and anchor.base is not None:
        deviation = fold(layout, jnp.add, 1, unnormalised, anchor.true)
        value = jnp.sum((anchor.base + deviation * inverse)[:, 0] * lane.problem.prompt_weights, axis=0)
    return push(layout, shared, lane, gradient), value


def _with_weights(objective: Objective, kl: Any, entropy: Any) -> Objective:
    if kl is not None:
        objective = eqx.tree_at(lambda o: o.kl, objective, kl)
    if entropy is not None:
        objective = eqx.tree_at(lambda o: o.entropy, objective, entropy)
    return objective


def true_value(lane: Lane, log_policy: Float[Array, "P K L"]) -> Float[Array, " L"]:
    """V of the true reward in every lane."""
    return jax.vmap(policy.value, in_axes=-1)(lane.problem, log_policy, lane.problem.true_reward)


def start(layout: Layout, lane: Lane) -> Array:
    """The state at t = 0."""
    if layout.form == "tabular":
        return lane.problem.initial_params / spread(lane.problem.temperature, lane.problem.initial_params)
    if layout.form == "params":
        return lane.problem.initial_params
    return jnp.zeros_like(lane.problem.true_reward)


def final(layout: Layout, shared: Shared, lane: Lane, state: Array) -> dict[str, Array]:
    """Observables at the end, lanes last."""
    z = logits(layout, shared, lane, state)
    log_policy = z - jax.nn.logsumexp(z, axis=1, keepdims=True)
    value = jax.vmap(policy.value, in_axes=-1)
    return {
        "log_policy": log_policy,
        "true_value": value(lane.problem, log_policy, lane.problem.true_reward),
        "proxy_value": value(lane.problem, log_policy, lane.problem.proxy_reward),
    }
