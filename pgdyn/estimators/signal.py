r"""What an estimator climbs on average: its signal, which plays the part of the reward but depends on the policy.

    E[ghat_p] = w_p pi_p (f_p - <pi_p, f_p>),      f_p(y) = (1/G) sum_i E[a_i | y_i = y]

For an estimator of the rewards alone, with reward levels r_1 < .. < r_L of probabilities q_1 .. q_L, f is the same for
all outputs of a level,

    f(l) = sum over counts n, |n| = G - 1,  (G-1)!/(n_1! .. n_L!) q^n  a_l(n + e_l),

where a_l(m) is the advantage of a sample of level l in a group with counts m: C(G + L - 2, L - 1) terms. Others are
enumerated group by group.

Of sequences y is an episode and r its return. What f makes a decision worth is Q (`pgdyn.estimators.all_episodes`), and
the signal is the reward of decisions of which that is the action value, Q(s, y) less the mean of V(s') ahead.
Rewards-to-go have the same signal: what was paid before a decision is independent of its score, whose mean is 0.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import reduction, validate
from pgdyn.dynamics.fields import estimator_table
from pgdyn.estimators.all_episodes import AllEpisodes, list_episodes, list_starts
from pgdyn.estimators.compose import Composed
from pgdyn.estimators.episode_sample import greedy_values
from pgdyn.estimators.estimator import dependence
from pgdyn.estimators.sample import Sample, score_norms
from pgdyn.objective import Objective
from pgdyn.problem import Problem

MOST_GROUPS = 2**17
MOST_NUMBERS = 2**22  # of a table of levels
_TINY = 1e-300


def signal(parts: Composed, problem: Problem, objective: Objective) -> Signal:
    """The f of an estimator on the training reward of a problem.

    Raises:
        ValueError: as `mean_field`.

    Example:
        >>> from pgdyn import Objective
        >>> from pgdyn.estimators import RLOO, composed
        >>> problem = Problem.tabular([0.2, 0.8], [1.0, 0.0])
        >>> signal(composed(RLOO(2)), problem, Objective())(problem, jnp.array([[0.2, 0.8]])).round(3).tolist()
        [[0.8, -0.2]]
    """
    if parts.surrogate is not None and parts.surrogate.updates > 1:
        raise ValueError("a surrogate of several updates a batch has no mean field that is free of the learning rate")
    needs = dependence(parts)
    if needs == "batch" and len(list_starts(problem)) > 1:
        raise ValueError("the advantages of a prompt depend on the samples of the others; take one prompt")
    if objective.normalize_by_std is not False:
        raise ValueError("a normalised reward has no mean field here; use normalize_by_std=False")
    reward = objective.training_reward(problem)
    if validate.is_traced(reward):
        raise ValueError("the mean field of an estimator needs a reward whose values are known, not a traced one")
    every = None if problem.transitions is None else list_episodes(problem)
    reward = np.asarray(reward if every is None else every.returns(reward))
    values, chances = reward[..., None], np.ones((*reward.shape, 1))
    if parts.draw is not None:
        values, chances = (np.asarray(part) for part in parts.draw.atoms(jnp.asarray(reward)))
    if needs == "rewards":
        return Signal(parts, objective, _by_levels(parts, values, chances), every)
    kinds = values.shape[1] * values.shape[2]
    if kinds**parts.group_size > MOST_GROUPS:
        raise ValueError(
            f"{kinds} outcomes of a sample make more than {MOST_GROUPS} groups of {parts.group_size} to enumerate; "
            "take a smaller group"
        )
    groups = np.array(list(itertools.product(range(kinds), repeat=parts.group_size)))
    return Signal(parts, objective, {"values": values, "chances": chances, "groups": groups}, every)


def _by_levels(parts: Composed, values: np.ndarray, chances: np.ndarray) -> dict[str, np.ndarray]:
    levels = [np.unique(row) for row in values]
    most, others = max(map(len, levels)), parts.group_size - 1
    if math.comb(others + most - 1, most - 1) * most * parts.group_size * len(levels) > MOST_NUMBERS:
        raise ValueError(
            f"a group of {parts.group_size} with {most} levels of the reward has too many counts to enumerate; take a "
            "smaller group or fewer levels"
        )
    counts = _compositions(others, most)
    tables: dict[bytes, np.ndarray] = {}
    member = np.zeros((*values.shape[:2], most))
    for p, own in enumerate(levels):
        own = np.append(own, np.full(most - len(own), own[-1]))
        if own.tobytes() not in tables:
            tables[own.tobytes()] = _advantages(parts, own, counts)
        for level in range(len(levels[p])):
            member[p, :, level] = (chances[p] * (values[p] == own[level])).sum(-1)
    table = np.stack([tables[np.append(own, np.full(most - len(own), own[-1])).tobytes()] for own in levels])
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, others + 1)))])
    ways = logs[others] - logs[counts].sum(axis=1)
    return {"counts": counts.astype(float), "ways": ways, "table": table, "member": member}


def _compositions(total: int, parts: int) -> np.ndarray:
    """[N, parts]: every way to write `total` as an ordered sum of counts."""
    if parts == 1:
        return np.array([[total]])
    bars = np.array(list(itertools.combinations(range(total + parts - 1), parts - 1)), int)
    edges = np.concatenate([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), total + parts - 1)], axis=1)
    return np.diff(edges, axis=1) - 1


def _advantages(parts: Composed, levels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """[N, L]: the advantage of a sample of each level beside others with these counts."""
    rest = np.stack([np.repeat(levels, row) for row in counts])
    first = np.tile(levels, len(counts))[:, None]
    rewards = jnp.asarray(np.concatenate([first, np.repeat(rest, len(levels), axis=0)], axis=1))
    return np.asarray(_of_rewards(parts, rewards)).reshape(len(counts), len(levels))


@eqx.filter_jit
def _of_rewards(parts: Composed, rewards: Float[Array, "M G"]) -> Float[Array, " M"]:
    nothing = jnp.zeros_like(rewards)
    sample = Sample(nothing.astype(int), rewards, nothing, nothing[:, 0])
    return parts.advantages(sample)[:, 0]


def _plain(parts: Composed) -> dict[str, Any]:
    """The parts as a table of plain values."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(entry) for name, entry in value.items()}
        if isinstance(value, list):
            return [plain(entry) for entry in value]
        return float(value) if eqx.is_array(value) else value

    return plain(estimator_table(parts))


class Signal:
    """f, as a function of (problem, probabilities [P, K, *lanes]); equal to another that is made of the same numbers.

    Example:
        >>> from pgdyn import Objective
        >>> from pgdyn.estimators import RLOO, composed
        >>> problem = Problem.tabular([0.2, 0.8], [1.0, 0.0])
        >>> one, other = (signal(composed(RLOO(2)), problem, Objective()) for _ in range(2))
        >>> one == other
        True
    """

    def __init__(
        self, parts: Composed, objective: Objective, arrays: dict[str, np.ndarray], every: AllEpisodes | None = None
    ):
        self._parts, self._objective, self._arrays, self._every = parts, objective, arrays, every
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves((eqx.filter(parts, eqx.is_array), every))]
        numbers = tuple((array.shape, array.tobytes()) for array in (*leaves, *arrays.values()))
        self._identity = (repr(parts), objective.reference, numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signal) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        return f"the mean field of {_plain(self._parts)}"

    def __call__(self, problem: Problem, probabilities: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
        """f at these probabilities; of sequences the reward of decisions that is worth as much."""
        log_policy = jnp.log(jnp.maximum(probabilities, _TINY))
        every, penalty = self._every, self._parts.in_loss
        if every is None:
            found = self._of_outputs(problem, probabilities, log_policy)
            return found if penalty is None else found - penalty.slope(log_policy - self._anchor(problem))
        worth = self._of_outputs(problem, jnp.exp(every.log_chances(log_policy)), log_policy)
        surrogate = self._parts.surrogate
        by_token = surrogate is not None and surrogate.level == "token"
        if penalty is not None and not by_token:
            worth = worth - penalty.slope(every.log_probs(log_policy) - every.log_probs(self._anchor(problem)))
        worth = every.action_values(problem, log_policy, worth)
        if penalty is not None and by_token:
            ratio = jnp.where(probabilities > 0, log_policy - self._anchor(problem), 0)
            worth = worth - penalty.slope(ratio)
        return worth - _ahead(problem, reduction.add(1, probabilities, worth)[:, 0])

    def _anchor(self, problem: Problem) -> Array:
        return self._objective.reference_log_policy(problem)

    def _of_outputs(self, problem: Problem, chances: Array, log_policy: Array) -> Array:
        """f of outputs, or of whole episodes, whose probabilities are `chances` [P, K, *lanes]."""
        if "table" in self._arrays:
            return self._of_levels(chances)
        values, odds = (jnp.asarray(self._arrays[name]) for name in ("values", "chances"))
        of_rows = jax.vmap(self._of_row)
        tables = self._tables(problem, chances, log_policy)
        lanes = chances.ndim - 2
        if not lanes:
            return of_rows(tables, values, odds)
        flat = jax.tree.map(lambda array: array.reshape(*array.shape[: array.ndim - lanes], -1), tables)
        found = jax.vmap(lambda one: of_rows(one, values, odds), in_axes=-1, out_axes=-1)(flat)
        return found.reshape(chances.shape)

    def _of_levels(self, chances: Array) -> Array:
        counts, ways, table, member = (
            jnp.asarray(self._arrays[name]) for name in ("counts", "ways", "table", "member")
        )
        mass = jnp.einsum("pkl,pk...->pl...", member, chances)
        logs = jnp.einsum("nl,pl...->pn...", counts, jnp.log(jnp.maximum(mass, _TINY)))
        chance = jnp.exp(ways.reshape(1, -1, *(1,) * (logs.ndim - 2)) + logs)
        return jnp.einsum("pkl,pl...->pk...", member, jnp.einsum("pnl,pn...->pl...", table, chance))

    def _tables(self, problem: Problem, chances: Array, log_policy: Array) -> _Tables:
        reward, reference = self._objective.training_reward(problem), self._anchor(problem)
        every, greedy, lengths = self._every, None, None
        if every is None:
            logs, norms = (log_policy, log_policy), score_norms(problem, log_policy)
        else:
            greedy = greedy_values(problem, log_policy, jnp.broadcast_to(_beside(reward, chances), log_policy.shape))
            greedy = greedy[every.starts]
            logs = (every.log_chances(log_policy), every.log_probs(log_policy))
            norms = every.score_norms(problem, log_policy)
            reward, reference = every.returns(reward), every.log_probs(reference)
            lengths = jnp.broadcast_to(_beside(jnp.sum(every.ways.present, axis=2), chances), chances.shape)
            lengths = lengths.astype(chances.dtype)
        reward, reference = (jnp.broadcast_to(_beside(array, chances), chances.shape) for array in (reward, reference))
        value, total = jnp.sum(chances * reward, axis=1), jnp.sum(chances * norms, axis=1)
        optimal = jnp.sum(chances * norms * reward, axis=1) / jnp.where(total > 0, total, 1)
        return _Tables(*logs, reward, reference, norms, lengths, value, greedy, None if every is None else optimal)

    def _of_row(self, tables: _Tables, values: Array, odds: Array) -> Array:
        """[K] of one prompt, or [M] of one start."""
        atoms, groups = values.shape[-1], jnp.asarray(self._arrays["groups"])
        outputs, drawn = groups // atoms, groups % atoms
        logs = tables.log_chances[outputs]

        def advantages(outputs: Array, rewards: Array) -> Array:
            one = (outputs, rewards, tables.log_probs[outputs], tables.value, jnp.ones_like(tables.value))
            group = (tables.reference[outputs], None if tables.lengths is None else tables.lengths[outputs])
            whole = (tables.log_chances, tables.reward, tables.norms, tables.greedy, tables.optimal)
            known = jax.tree.map(lambda array: array[None], (*one, *group, *whole))
            return self._parts.advantages(Sample(*known))[0]

        found = jax.vmap(advantages)(outputs, values[outputs, drawn])
        others = jnp.sum(logs, axis=1, keepdims=True) - logs
        weight = jnp.exp(others) * jnp.prod(odds[outputs, drawn], axis=1, keepdims=True)
        total = jnp.zeros_like(tables.reward).at[outputs.reshape(-1)].add((weight * found).reshape(-1))
        return total / groups.shape[1]


class _Tables(NamedTuple):
    """What is known of every output of a prompt, [P, K, *lanes], and of the prompt, [P, *lanes]."""

    log_chances: Array
    log_probs: Array
    reward: Array
    reference: Array
    norms: Array
    lengths: Array | None
    value: Array
    greedy: Array | None
    optimal: Array | None


def _beside(array: Array, like: Array) -> Array:
    """`array` with axes of length 1 behind, as many as `like` has."""
    return array.reshape(*array.shape, *(1,) * (like.ndim - array.ndim))


def _ahead(problem: Problem, values: Float[Array, "P *lanes"]) -> Float[Array, "P K *lanes"]:
    """The mean of the values of what comes next."""
    assert problem.transitions is not None
    if problem.transitions.successors is not None:
        return jnp.concatenate([values, jnp.zeros_like(values[:1])])[problem.transitions.successors]
    return jnp.tensordot(jnp.asarray(problem.transitions.probabilities, values.dtype), values, axes=1)
