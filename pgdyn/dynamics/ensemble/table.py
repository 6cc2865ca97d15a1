"""A batch of problems on the host, and lanes made of it: what the engine reads while it runs.

Lanes are laid out when their block's turn comes, and forgotten with it: besides the batch itself only the blocks in
hand take memory.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pgdyn.dynamics.ensemble.lanes import Lane, Layout, Shared
from pgdyn.dynamics.ensemble.packing import Packing
from pgdyn.objective import Objective
from pgdyn.problem import Problem

_AT_ONCE = 2**20  # numbers of a problem's arrays looked at together where all problems are gone through


class Table:
    """The lanes of a batch in the order in which they are dealt.

    Attributes:
        shared: what all lanes use.
        order: [N], the problem of each lane.
        packing: of a lane's data.
    """

    def __init__(
        self,
        layout: Layout,
        problems: Problem,
        objective: Objective,
        t1: np.ndarray,
        goal: np.ndarray | None,
    ):
        """Orders a batch by predicted difficulty.

        Args:
            layout: form of the state.
            problems: the batch, NumPy arrays.
            objective: what is climbed; weights of [N] are NumPy's.
            t1: [N], end times.
            goal: [N], targets, or None.
        """
        self._layout = layout
        self._objective = objective
        features: Any = problems.features
        self._own = features is not None and features.ndim == 4
        self._features: Any = features
        host = problems if features is None else eqx.tree_at(lambda p: p.features, problems, None)
        weights = (objective.kl, objective.entropy)
        kl, entropy = (weight if isinstance(weight, np.ndarray) and weight.ndim else None for weight in weights)
        # Problems first; what can be made of these is made for a block at a time.
        self._lane = Lane(host, None, None, None, None, kl, entropy, t1, goal)
        self.shared = Shared()
        if features is not None and not self._own:
            kernel = layout.form == "kernel"
            gram = jnp.asarray(np.einsum("pkd,qjd->pkqj", features, features)) if kernel else None
            self.shared = Shared(features=None if kernel else jnp.asarray(features), gram=gram)
        self.order = np.argsort(self._difficulties())[::-1]
        self._as_given = layout.form != "kernel" and not self._own and not needs_reference(objective)
        self.packing = Packing.of_rows(self._lane if self._as_given else self._of(self.order[:1]))

    def fill(self, rows: np.ndarray, numbers: np.ndarray) -> None:
        """Writes the data of some lanes into rows, packed as `packing` says."""
        chosen = self.order[numbers]
        if self._as_given:
            self.packing.fill(rows, self._lane, chosen)
        else:
            self.packing.fill(rows, self._of(chosen))

    def params(self, states: np.ndarray) -> np.ndarray:
        """Parameters [N, *params] of states [N, ...]."""
        problem: Any = self._lane.problem
        if self._layout.form == "tabular":
            return states * problem.temperature[:, None, None] if self._layout.scaled else states
        if self._layout.form == "params":
            return states
        subscripts = "npkd,npk->nd" if self._own else "pkd,npk->nd"
        moved = np.einsum(subscripts, self._features, states, optimize=True)
        return problem.initial_params + moved / problem.temperature[:, None]

    def _of(self, rows: np.ndarray) -> Lane:
        """The data of some problems, arrays [len(rows), ...]."""
        lane: Lane = jax.tree.map(lambda leaf: leaf.take(rows, axis=0), self._lane)
        features = self._features.take(rows, axis=0) if self._own else self._features
        kernel = self._layout.form == "kernel"
        own, gram, start, reference = None, None, None, None
        if kernel:
            start = _start_logits(lane.problem, features)
        if needs_reference(self._objective):
            reference = _reference(lane.problem, features, self._objective)
        if self._own and kernel:
            gram = np.einsum("npkd,nqjd->npkqj", features, features)
        elif self._own:
            own = features
        return lane._replace(features=own, gram=gram, start_logits=start, reference=reference)

    def _difficulties(self) -> np.ndarray:
        problem = self._lane.problem
        size = len(problem.true_reward)
        each = problem.num_prompts * problem.num_outputs
        if self._own:
            each += int(np.prod(self._features.shape[1:]))
        if size * each <= _AT_ONCE:
            return difficulty(problem, self._features, self._objective)
        step = max(1, _AT_ONCE // each)
        found = []
        for start in range(0, size, step):
            part = slice(start, start + step)
            features = self._features[part] if self._own else self._features
            found.append(
                difficulty(jax.tree.map(lambda leaf, part=part: leaf[part], problem), features, self._objective)
            )
        return np.concatenate(found)


def needs_reference(objective: Objective) -> bool:
    """Whether the objective has a KL term."""
    return not isinstance(objective.kl, float)


def _reference(problem: Problem, features: np.ndarray | None, objective: Objective) -> np.ndarray:
    if objective.reference == "uniform":
        return np.full(problem.true_reward.shape, -np.log(problem.num_outputs))
    return _log_softmax(_start_logits(problem, features))


def difficulty(problem: Problem, features: np.ndarray | None, objective: Objective) -> np.ndarray:
    """How many nats likelier the likeliest output is than the best one at the start, at the slowest prompt.

    What the number of steps goes by, near enough to sort by.
    """
    # Outputs first: NumPy reduces over a short last axis ten times as slowly.
    z = np.ascontiguousarray(_start_logits(problem, features).transpose(2, 0, 1))
    reward = problem.proxy_reward if objective.reward == "proxy" else problem.true_reward
    reward = np.ascontiguousarray(np.asarray(reward).transpose(2, 0, 1))
    ahead = z.max(axis=0) - np.where(reward == reward.max(axis=0), z, -np.inf).max(axis=0)
    return ahead[:, 0] if ahead.shape[1] == 1 else ahead.max(axis=-1)


def _start_logits(problem: Problem, features: np.ndarray | None) -> np.ndarray:
    params, temperature = np.asarray(problem.initial_params), np.asarray(problem.temperature)[:, None, None]
    if features is None:
        return params / temperature
    subscripts = "npkd,nd->npk" if features.ndim == 4 else "pkd,nd->npk"
    return np.einsum(subscripts, features, params) / temperature


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
