"""A batch of problems as chunks of lanes, on the host: what the engine reads while it runs."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pgdyn.dynamics.ensemble.lanes import Lane, Layout, Shared
from pgdyn.objective import Objective
from pgdyn.problem import Problem


class Table:
    """The lanes of a batch in the order in which they are run, in chunks: NumPy arrays [C, ..., L].

    A chunk, and a run of chunks, is then a view. Lanes beyond the last problem are copies of it. Behind the last chunk
    the arrays have room enough for a view of a whole block to begin at it.

    Attributes:
        lane: the data of every lane.
        shared: what all lanes use.
        order: [N], the problem of each lane.
        chunks: C.
        width: L.
        unused: [C, L], lanes beyond the last problem.
    """

    def __init__(
        self,
        layout: Layout,
        problems: Problem,
        objective: Objective,
        t1: np.ndarray,
        goal: np.ndarray | None,
        width: int,
        block: int,
    ):
        """Lays out a batch.

        Args:
            layout: form of the state.
            problems: the batch.
            objective: what is climbed.
            t1: [N], end times.
            goal: [N], targets, or None.
            width: L.
            block: chunks in one view.
        """
        self._layout = layout
        self._problems = problems
        host = problems if problems.features is None else eqx.tree_at(lambda p: p.features, problems, None)
        host = jax.tree.map(np.asarray, host)
        features = None if problems.features is None else np.asarray(problems.features)
        own = features is not None and features.ndim == 4
        self.shared = Shared()
        gram = None
        reference = _reference(problems, objective) if needs_reference(objective) else None
        if features is not None and layout.form == "kernel":
            if own:
                gram = np.einsum("npkd,nqjd->npkqj", features, features)
            else:
                self.shared = Shared(gram=jnp.asarray(np.einsum("pkd,qjd->pkqj", features, features)))
        elif features is not None and not own:
            self.shared = Shared(features=jnp.asarray(features))
        self.order = np.argsort(-difficulty(host, objective, problems), kind="stable")
        kl, entropy = (np.asarray(w) if np.ndim(w) == 1 else None for w in (objective.kl, objective.entropy))
        lane = Lane(
            problem=host,
            features=features if own and layout.form == "params" else None,
            gram=gram,
            start_logits=_start(problems) if layout.form == "kernel" else None,
            reference=reference,
            kl=kl,
            entropy=entropy,
            t1=t1,
            goal=goal,
        )
        total = len(self.order)
        self.width = width
        self.chunks = -(-total // width)
        self.unused = (np.arange(self.chunks + block - 1)[:, None] * width + np.arange(width)) >= total
        rows = np.append(self.order, np.full(self.chunks * width - total, self.order[-1]))

        def lay_out(leaf: np.ndarray) -> np.ndarray:
            array = np.empty((self.chunks + block - 1, *leaf.shape[1:], width), leaf.dtype)
            chunked = leaf[rows].reshape(self.chunks, width, *leaf.shape[1:])
            array[: self.chunks] = np.moveaxis(chunked, 1, -1)
            return array

        self.lane: Lane = jax.tree.map(lay_out, lane)

    def view(self, start: int, count: int) -> tuple[Lane, np.ndarray]:
        """The data of `count` chunks, arrays [count, ..., L], and which of their lanes are unused."""
        part = slice(start, start + count)
        return jax.tree.map(lambda leaf: leaf[part], self.lane), self.unused[part]

    def take(self, rows: np.ndarray) -> Lane:
        """The data of some lanes, arrays [..., len(rows)]."""
        return take(self.lane, *np.divmod(rows, self.width))

    def restore(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays [C, ..., L] turned to problems first in the batch's order; "state" becomes params."""
        back = {}
        for name, values in found.items():
            rows = np.moveaxis(values, -1, 1)
            array = np.empty((len(self.order), *rows.shape[2:]), values.dtype)
            array[self.order] = rows.reshape(-1, *rows.shape[2:])[: len(self.order)]
            back["params" if name == "state" else name] = array
        back["params"] = self._params(back["params"])
        return back

    def _params(self, states: np.ndarray) -> np.ndarray:
        temperature = np.asarray(self._problems.temperature)
        if self._layout.form == "tabular":
            return states * temperature[:, None, None]
        if self._layout.form == "params":
            return states
        features = np.asarray(self._problems.features)
        subscripts = "npkd,npk->nd" if features.ndim == 4 else "pkd,npk->nd"
        moved = np.einsum(subscripts, features, states, optimize=True)
        return np.asarray(self._problems.initial_params) + moved / temperature[:, None]


def take(tree: Any, chunk: np.ndarray, lane: np.ndarray) -> Any:
    """Some lanes of arrays [C, ..., L], as arrays [..., len(lane)]."""
    return jax.tree.map(lambda leaf: np.moveaxis(leaf[chunk, ..., lane], 0, -1), tree)


def needs_reference(objective: Objective) -> bool:
    """Whether the objective has a KL term."""
    return not isinstance(objective.kl, float)


def difficulty(host: Problem, objective: Objective, problems: Problem) -> np.ndarray:
    """-log pi_0 of the best output, the slowest prompt's: what the number of steps goes by, near enough to sort by."""
    log_policy = _log_softmax(_start(problems))
    reward = host.proxy_reward if objective.reward == "proxy" else host.true_reward
    best = np.argmax(reward, axis=-1)[..., None]
    return -np.take_along_axis(log_policy, best, axis=-1)[..., 0].min(axis=-1)


def _start(problems: Problem) -> np.ndarray:
    params = np.asarray(problems.initial_params)
    temperature = np.asarray(problems.temperature)[:, None, None]
    if problems.features is None:
        return params / temperature
    features = np.asarray(problems.features)
    subscripts = "npkd,nd->npk" if features.ndim == 4 else "pkd,nd->npk"
    return np.einsum(subscripts, features, params, optimize=True) / temperature


def _reference(problems: Problem, objective: Objective) -> np.ndarray:
    if objective.reference == "uniform":
        return np.full(problems.true_reward.shape, -np.log(problems.num_outputs))
    return _log_softmax(_start(problems))


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
