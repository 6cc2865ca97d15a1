r"""A small transformer that writes tokens, beside the linear policy of its tangent kernel at the start.

The transformer (embeddings, one block of causal attention and a gelu layer, a head) gives the logits of the next token
after every prefix of a tree. It is centred and scaled (Chizat, Oyallon, Bach 2019),

    z(theta) = log pi_0 + alpha (f(theta_0 + (theta - theta_0) / alpha) - f(theta_0)),

so that the start is the policy pi_0 and the kernel there J J^T, whatever the scale alpha: only how fast the kernel
moves depends on it. Both climb the true reward, and a proxy that scores a mediocre output low.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray
from jaxtyping import Array, Float

import pgdyn
from experiments.controlled_problems import labels as words
from experiments.made_by import recorded
from pgdyn import Problem, mdp, policy

VOCABULARY, LENGTH = 3, 3
BEST, MEDIOCRE = (0, 0, 0), (1, 1, 1)
SECOND = 0.6  # true reward of the mediocre output
SCALES = (1.0, 4.0, 16.0)
REWARDS = ("ground truth", "proxy")


class Transformer(eqx.Module):
    """Logits of the next token after every prefix of a token tree."""

    tokens: Float[Array, "V+1 W"]
    places: Float[Array, "H W"]
    attention: eqx.nn.MultiheadAttention
    norms: tuple[eqx.nn.LayerNorm, eqx.nn.LayerNorm, eqx.nn.LayerNorm]
    wide: eqx.nn.Linear
    narrow: eqx.nn.Linear
    head: eqx.nn.Linear

    def __init__(self, width: int, heads: int, key: Array):
        keys = jax.random.split(key, 6)
        self.tokens = jax.random.normal(keys[0], (VOCABULARY + 1, width))
        self.places = jax.random.normal(keys[1], (LENGTH, width))
        self.attention = eqx.nn.MultiheadAttention(heads, width, key=keys[2])
        self.norms = (eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width), eqx.nn.LayerNorm(width))
        self.wide = eqx.nn.Linear(width, 2 * width, key=keys[3])
        self.narrow = eqx.nn.Linear(2 * width, width, key=keys[4])
        self.head = eqx.nn.Linear(width, VOCABULARY, key=keys[5])

    def __call__(self) -> Float[Array, "P V"]:
        """Logits after all prefixes, in the order of `pgdyn.mdp.prefixes`."""
        return jax.vmap(self._sequence)(jnp.asarray(_SEQUENCES))[_WHERE[:, 0], _WHERE[:, 1]]

    def _sequence(self, tokens: Array) -> Float[Array, "H V"]:
        x = self.tokens[tokens] + self.places
        y = jax.vmap(self.norms[0])(x)
        x = x + self.attention(y, y, y, mask=jnp.tril(jnp.ones((LENGTH, LENGTH), bool)))
        y = jax.vmap(self.wide)(jax.vmap(self.norms[1])(x))
        x = x + jax.vmap(self.narrow)(jax.nn.gelu(y))
        return jax.vmap(self.head)(jax.vmap(self.norms[2])(x))


_PREFIXES = mdp.prefixes(VOCABULARY, LENGTH)
# The longest prefixes behind a token that begins every sequence, and where each prefix ends first.
_LONGEST = [prefix for prefix in _PREFIXES if len(prefix) == LENGTH - 1]
_SEQUENCES = np.array([[VOCABULARY, *prefix] for prefix in _LONGEST])
_WHERE = np.array(
    [
        (next(i for i, whole in enumerate(_LONGEST) if whole[: len(prefix)] == prefix), len(prefix))
        for prefix in _PREFIXES
    ]
)


def sequence(best: float, mediocre: float) -> tuple[Problem, np.ndarray]:
    """The tree with the ground truth and a proxy that scores the mediocre output low, and ln pi_0 of the tokens."""
    start = np.full(VOCABULARY**LENGTH, (1 - best - mediocre) / (VOCABULARY**LENGTH - 2))
    truth = np.zeros(VOCABULARY**LENGTH)
    for output, chance, reward in ((BEST, best, 1.0), (MEDIOCRE, mediocre, SECOND)):
        at = int(np.ravel_multi_index(output, (VOCABULARY,) * LENGTH))
        start[at], truth[at] = chance, reward
    proxy = np.where(truth == SECOND, 0.0, truth)
    tree = mdp.tree(VOCABULARY, LENGTH, truth, proxy, initial_policy=start)
    return tree, np.asarray(policy.log_policy(tree, tree.initial_params))


def centred(tree: Problem, base: np.ndarray, start: Transformer, scale: float) -> Problem:
    """The scaled transformer as a policy. Its parameters are the move, alpha (theta - theta_0), from 0.

    The start, the scale and ln pi_0 - alpha f(theta_0) are among the parameters and take no gradient: networks of all
    starts and scales are one function then, and one compiled program runs them.
    """

    @eqx.filter_jit  # else every operation is compiled by itself where the problem is made
    def logits(params: dict[str, Any]) -> Float[Array, "P V"]:
        arrays, rest = eqx.partition(params["start"], eqx.is_inexact_array)
        fixed, factor, offset = jax.lax.stop_gradient((arrays, params["scale"], params["offset"]))
        moved = eqx.filter(params["moved"], eqx.is_inexact_array)
        now = jax.tree.map(lambda at, move: at + move / factor, fixed, moved)
        return offset + factor * eqx.combine(now, rest)()

    return Problem.differentiable(
        logits, _parameters(base, start, scale), tree.true_reward, tree.proxy_reward, transitions=tree.transitions
    )


def _parameters(base: np.ndarray, start: Transformer, scale: float) -> dict[str, Any]:
    moved = jax.tree.map(lambda leaf: np.zeros(leaf.shape) if eqx.is_inexact_array(leaf) else leaf, start)
    offset = base - scale * np.asarray(eqx.filter_jit(Transformer.__call__)(start))
    return {"moved": moved, "start": start, "scale": np.asarray(scale), "offset": offset}


def _vector(base: np.ndarray, start: Transformer, scale: float) -> np.ndarray:
    """The parameters as the problem's vector, leaf after leaf."""
    leaves = jax.tree.leaves(eqx.filter(_parameters(base, start, scale), eqx.is_inexact_array))
    return np.concatenate([np.ravel(leaf) for leaf in leaves])


def linearized(problem: Problem, base: np.ndarray, starts: Float[Array, "N D"]) -> list[Problem]:
    """The linear policies with the features of the initial tangent kernels of a network at several starts.

    The features are brought to as many columns as there are logits, which leaves their kernel as it is, and ln pi_0 is
    a further one, so small that it hardly moves.
    """
    tangents = np.asarray(jax.jit(jax.vmap(lambda params: policy.tangent_features(problem, params)))(starts))
    held, found = 1e6, []
    for tangent in tangents:
        square = np.asarray(np.linalg.qr(tangent.reshape(base.size, -1).T, mode="r")).T.reshape(*base.shape, -1)
        features = np.concatenate([square, base[:, :, None] / held], axis=2)
        params = np.append(np.zeros(square.shape[-1]), held)
        rest = {"initial_params": params, "transitions": problem.transitions}
        found.append(Problem.linear(features, problem.true_reward, problem.proxy_reward, **rest))
    return found


@recorded
def run(
    scales: Sequence[float] = SCALES,
    *,
    seeds: int = 4,
    width: int = 8,
    heads: int = 2,
    best: float = 0.1,
    mediocre: float = 0.3,
    target: float = 0.9,
    t1: float = 200.0,
    saves: int = 300,
    rtol: float = 1e-6,
    atol: float = 1e-8,
) -> xarray.Dataset:
    """Runs the flows of the transformers and of their linear policies, on the ground truth and on the proxy.

    Args:
        scales: alpha.
        seeds: transformers, each of its own random weights.
        width: of their embeddings.
        heads: of their attention.
        best: initial probability of the best output.
        mediocre: initial probability of the mediocre one.
        target: true value whose first time is wanted.
        t1: end time.
        saves: times that are recorded.
        rtol: relative tolerance of the flows.
        atol: absolute tolerance of the flows.

    Returns:
        Along "seed", "scale" (inf for the linear policy), "training_reward" and "save": `true_value`, and `distance`,
        the largest difference of a log-probability of a token from the linear policy's. Along the first three
        `hitting_time`. Along "save" `time`.
    """
    tree, base = sequence(best, mediocre)
    made = eqx.filter_jit(Transformer)
    weights = [made(width, heads, jax.random.key(seed)) for seed in range(seeds)]
    network = centred(tree, base, weights[0], 1.0)
    assert network.network is not None
    starts = jnp.stack([_vector(base, start, scale) for start in weights for scale in scales])
    linear = linearized(network, base, starts[:: len(scales)])
    features = jnp.stack([policy.tangent_features(one, one.initial_params) for one in linear])
    flow = pgdyn.Flow(t1, saves=saves, rtol=rtol, atol=atol, max_steps=8192, solver=diffrax.Tsit5())
    found = [_paths(network, "initial_params", starts, flow), _paths(linear[0], "features", features, flow)]
    t = found[0][0][0, 0]
    shapes = [(seeds, len(scales), 2), (seeds, 1, 2)]
    values, logs = (
        np.concatenate(
            [part[i].reshape(*shape, *part[i].shape[2:]) for part, shape in zip(found, shapes, strict=True)], axis=1
        )
        for i in (1, 2)
    )
    apart = np.abs(logs - logs[:, -1:]).max(axis=(-2, -1))
    hits = np.apply_along_axis(_crossing, -1, values, np.log1p(t), target)
    axes = ("seed", "scale", "training_reward")
    one = {"units": "1"}
    return xarray.Dataset(
        {
            "true_value": ((*axes, "save"), values, {**one, "long_name": "true value"}),
            "distance": ((*axes, "save"), apart, {"units": "nat", "long_name": "distance from the linear policy"}),
            "hitting_time": (axes, hits, {**one, "long_name": "time to the target"}),
        },
        coords={
            "time": ("save", t, {**one, "long_name": "time"}),
            "scale": ("scale", [*scales, np.inf], {**one, "long_name": "scale of the network"}),
            "training_reward": ("training_reward", words(REWARDS)),
        },
        attrs={"dynamics": "flow", "parameters": (starts.shape[1] - 1 - base.size) // 2},
    )


def _paths(template: Problem, name: str, own: Array, flow: pgdyn.Flow) -> tuple[np.ndarray, ...]:
    """Times, true values and log-policies of all problems on the ground truth and on the proxy, [N, 2, ...].

    The problems are those of `template` with `own` [N, ...] in place of the field `name`.
    """

    def one(array: Array, reward: Array) -> tuple[Array, ...]:
        problem = eqx.tree_at(lambda p: (getattr(p, name), p.proxy_reward), template, (array, reward))
        solution = pgdyn.solve(problem, flow)
        return solution.t, solution.true_value, solution.log_policy

    rewards = jnp.stack([template.true_reward, template.proxy_reward])
    both = jax.vmap(one, in_axes=(None, 0))
    return tuple(map(np.asarray, jax.jit(jax.vmap(both, in_axes=(0, None)))(own, rewards)))


def _crossing(value: np.ndarray, clock: np.ndarray, target: float) -> float:
    """The first time of the target between saved ones, linearly in ln(1 + t); inf for never."""
    after = int((value >= target).argmax())
    if value[after] < target:
        return np.inf
    if not after:
        return 0.0
    share = (target - value[after - 1]) / (value[after] - value[after - 1])
    return float(np.expm1(clock[after - 1] + share * (clock[after] - clock[after - 1])))
