r"""The mean field of an estimator: its expected update as a vector field that `flow` can integrate.

    E[ghat_p] = w_p pi_p (f_p - <pi_p, f_p>),      f_p(y) = (1/G) sum_i E[a_i | y_i = y]

f plays the part of the reward, but depends on the policy. For an estimator of the rewards alone, with reward levels
r_1 < .. < r_L of probabilities q_1 .. q_L, it is the same for all outputs of a level,

    f(l) = sum over counts n, |n| = G - 1,  (G-1)!/(n_1! .. n_L!) q^n  a_l(n + e_l),

where a_l(m) is the advantage of a sample of level l in a group with counts m: C(G + L - 2, L - 1) terms.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.dynamics.fields import estimator_table
from pgdyn.estimators.compose import Composed, composed
from pgdyn.estimators.estimator import Estimator, dependence
from pgdyn.estimators.sample import Sample, score_norms
from pgdyn.objective import Objective, choose_objective
from pgdyn.problem import Problem, require_single

MOST_GROUPS = 2**17
MOST_NUMBERS = 2**22  # of a table of levels
_TINY = 1e-300


class MeanField(Objective):
    """An estimator's expected update in place of a gradient; make one with `mean_field`.

    It is no gradient of anything, so `value` raises. KL and entropy are those of an `Objective`.

    Attributes:
        signal: f, with the estimator that it is made of.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> mean_field(RLOO(4), Problem.tabular([0.2, 0.8], [1.0, 0.0])).signal
        the mean field of {'name': 'rloo', 'group_size': 4}
    """

    signal: Signal = eqx.field(static=True)

    def __init__(self, signal: Signal, objective: Objective):
        for name in ("reward", "kl", "reference", "kl_direction", "entropy", "normalize_by_std"):
            setattr(self, name, getattr(objective, name))
        self.signal = signal

    @property
    def signal_moves(self) -> bool:
        """Whether the signal depends on the policy."""
        return True

    def reward_signal(self, problem: Problem, probabilities: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
        """The module's f."""
        return self.signal(problem, probabilities)

    def value(self, problem: Problem, params: Float[Array, "..."]) -> Float[Array, "*lanes"]:
        """Raises ValueError: an expected update need not be a gradient."""
        raise ValueError("the mean field of an estimator is no gradient, so there is no value that it climbs")


def mean_field(estimator: Estimator, problem: Problem, objective: Objective | None = None) -> MeanField:
    """What `flow` and `flow_many` take as their objective to follow an estimator's expected update.

    Args:
        estimator: any, or a `Composed` whose surrogate takes one update a batch.
        problem: its training reward is the estimator's; a batch of problems with the same reward may be run, too.
        objective: which reward is trained on, and KL and entropy terms; None for the proxy's value alone.

    Raises:
        ValueError: on too many groups to enumerate, a surrogate of several updates a batch, an estimator whose
            advantages depend on other prompts, or a normalised reward.

    Example:
        >>> from pgdyn import flow
        >>> from pgdyn.estimators import GRPO
        >>> problem = Problem.tabular([0.2, 0.8], [1.0, 0.0])
        >>> field = mean_field(GRPO(4, eps=0.0), problem)
        >>> field.gradient(problem, problem.initial_params).round(4).tolist()
        [[0.2652, -0.2652]]
    """
    require_single(problem, "mean_field")
    if problem.transitions is not None:
        raise ValueError("mean_field takes problems of one step; pgdyn.mdp.leaves gives whole outputs of a sequence")
    objective = choose_objective(objective, "mean_field")
    return MeanField(signal(composed(estimator), problem, objective), objective)


def signal(parts: Composed, problem: Problem, objective: Objective) -> Signal:
    """The f of an estimator on the training reward of a problem.

    Example:
        >>> from pgdyn import Objective
        >>> from pgdyn.estimators import RLOO
        >>> problem = Problem.tabular([0.2, 0.8], [1.0, 0.0])
        >>> signal(composed(RLOO(2)), problem, Objective())(problem, jnp.array([[0.2, 0.8]])).round(3).tolist()
        [[0.8, -0.2]]
    """
    if parts.surrogate is not None and parts.surrogate.updates > 1:
        raise ValueError("a surrogate of several updates a batch has no mean field that is free of the learning rate")
    needs = dependence(parts)
    if needs == "batch" and problem.num_prompts > 1:
        raise ValueError("the advantages of a prompt depend on the samples of the others; take one prompt")
    if objective.normalize_by_std is not False:
        raise ValueError("a normalised reward has no mean field here; use normalize_by_std=False")
    reward = objective.training_reward(problem)
    if validate.is_traced(reward):
        raise ValueError("the mean field of an estimator needs a reward whose values are known, not a traced one")
    reward = np.asarray(reward)
    values, chances = reward[..., None], np.ones((*reward.shape, 1))
    if parts.draw is not None:
        values, chances = (np.asarray(part) for part in parts.draw.atoms(jnp.asarray(reward)))
    if needs == "rewards":
        return _by_levels(parts, objective, values, chances)
    kinds = values.shape[1] * values.shape[2]
    if kinds**parts.group_size > MOST_GROUPS:
        raise ValueError(
            f"{kinds} outcomes of a sample make more than {MOST_GROUPS} groups of {parts.group_size} to enumerate; "
            "take a smaller group"
        )
    groups = np.array(list(itertools.product(range(kinds), repeat=parts.group_size)))
    arrays = {"values": values, "chances": chances, "groups": groups}
    return Signal(parts, objective, arrays)


def _by_levels(parts: Composed, objective: Objective, values: np.ndarray, chances: np.ndarray) -> Signal:
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
    return Signal(parts, objective, {"counts": counts.astype(float), "ways": ways, "table": table, "member": member})


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
        >>> from pgdyn.estimators import RLOO
        >>> problem = Problem.tabular([0.2, 0.8], [1.0, 0.0])
        >>> one, other = (signal(composed(RLOO(2)), problem, Objective()) for _ in range(2))
        >>> one == other
        True
    """

    def __init__(self, parts: Composed, objective: Objective, arrays: dict[str, np.ndarray]):
        self._parts, self._objective, self._arrays = parts, objective, arrays
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(parts, eqx.is_array))]
        numbers = tuple((array.shape, array.tobytes()) for array in (*leaves, *arrays.values()))
        self._identity = (repr(parts), objective.reference, numbers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Signal) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        return f"the mean field of {_plain(self._parts)}"

    def __call__(self, problem: Problem, probabilities: Float[Array, "P K *lanes"]) -> Float[Array, "P K *lanes"]:
        """f at these probabilities."""
        found = (self._of_levels if "table" in self._arrays else self._of_groups)(problem, probabilities)
        penalty = self._parts.in_loss
        if penalty is None:
            return found
        log_policy = jnp.log(jnp.maximum(probabilities, _TINY))
        return found - penalty.slope(log_policy - self._objective.reference_log_policy(problem))

    def _of_levels(self, problem: Problem, probabilities: Array) -> Array:
        counts, ways, table, member = (
            jnp.asarray(self._arrays[name]) for name in ("counts", "ways", "table", "member")
        )
        mass = jnp.einsum("pkl,pk...->pl...", member, probabilities)
        logs = jnp.einsum("nl,pl...->pn...", counts, jnp.log(jnp.maximum(mass, _TINY)))
        chance = jnp.exp(ways.reshape(1, -1, *(1,) * (logs.ndim - 2)) + logs)
        return jnp.einsum("pkl,pl...->pk...", member, jnp.einsum("pnl,pn...->pl...", table, chance))

    def _of_groups(self, problem: Problem, probabilities: Array) -> Array:
        log_policy = jnp.log(jnp.maximum(probabilities, _TINY))
        reward = self._objective.training_reward(problem)
        reference = self._objective.reference_log_policy(problem)
        if probabilities.ndim == 2:
            norms = score_norms(problem, log_policy)
            return jax.vmap(self._of_prompt)(log_policy, reward, reference, norms, *self._outcomes())
        of_lane = jax.vmap(self._of_prompt)
        lanes = [array.reshape(*array.shape[:2], -1) for array in (log_policy, reward, reference)]
        found = jax.vmap(
            lambda logs, reward, reference: of_lane(logs, reward, reference, jnp.ones_like(logs), *self._outcomes()),
            in_axes=-1,
            out_axes=-1,
        )(*lanes)
        return found.reshape(probabilities.shape)

    def _outcomes(self) -> tuple[Array, Array]:
        return jnp.asarray(self._arrays["values"]), jnp.asarray(self._arrays["chances"])

    def _of_prompt(
        self, log_policy: Array, reward: Array, reference: Array, norms: Array, values: Array, chances: Array
    ) -> Array:
        """[K] of one prompt."""
        atoms, groups = values.shape[-1], jnp.asarray(self._arrays["groups"])
        outputs, drawn = groups // atoms, groups % atoms
        logs = log_policy[outputs]
        value = jnp.sum(jnp.exp(log_policy) * reward)

        def advantages(outputs: Array, rewards: Array, logs: Array) -> Array:
            one = (outputs[None], rewards[None], logs[None], value[None], jnp.ones_like(value)[None])
            whole = (log_policy[None], reward[None], norms[None])
            return self._parts.advantages(Sample(*one, reference[outputs][None], None, *whole))[0]

        found = jax.vmap(advantages)(outputs, values[outputs, drawn], logs)
        others = jnp.sum(logs, axis=1, keepdims=True) - logs
        weight = jnp.exp(others) * jnp.prod(chances[outputs, drawn], axis=1, keepdims=True)
        total = jnp.zeros_like(log_policy).at[outputs.reshape(-1)].add((weight * found).reshape(-1))
        return total / groups.shape[1]
