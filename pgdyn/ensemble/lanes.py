r"""Lanes: the problems of a batch as the engine steps them, and what compiled code reads of one.

A lane's state is u = theta / T, whose flow knows no temperature (see `pgdyn.dynamics.flow`), in units of time and
reward in which its training reward is of order one:

    r = c r~,    s = c t / T^2  (natural: s = c t),    du/ds = Phi^T dJ~/dz,

with c a power of two, so that nothing is rounded. Features wider than there are outputs, D > P K, are replaced by the
triangular factor of Phi = L Q^T, which gives the same logits from P K parameters v = Q^T u.

Lanes are laid out when their chunk's turn comes, and forgotten with it: besides the batch itself only the chunks in
flight take memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.dynamics.flow import Flow
from pgdyn.ensemble.packing import Packing
from pgdyn.objective import Objective
from pgdyn.problem import Problem, problem_of
from pgdyn.transitions import Transitions

_ORDINARY = 20  # exponents of two up to which rewards are left as they are
_AT_ONCE = 2**20  # numbers of a problem's arrays looked at together where all problems are gone through
_LATEST = 1e300  # of a lane's clock


class Lane(NamedTuple):
    """The data of L lanes, lanes last in compiled code and first on the host. What is absent is None.

    Attributes:
        features: [P, K, D, L], where lanes do not share them.
        true_reward: [P, K, L].
        proxy_reward: [P, K, L].
        initial_params: [P, K, L] or [D, L], the state at the start.
        prompt_weights: [P, L], where there are several prompts.
        kl: [L], weight of the KL.
        entropy: [L], weight of the entropy.
        t1: [L], end times of the lanes' clocks.
        goal: [L], targets.
    """

    features: Any
    true_reward: Any
    proxy_reward: Any
    initial_params: Any
    prompt_weights: Any
    kl: Any
    entropy: Any
    t1: Any
    goal: Any

    def bind(
        self, shared: Array | None, objective: Objective, transitions: Transitions | None
    ) -> tuple[Problem, Objective]:
        """Problem and objective; `shared` are the features of all lanes, or None."""
        names = ("true_reward", "proxy_reward", "initial_params", "prompt_weights")
        features = self.features if shared is None else shared
        arrays = {"features": features, "transitions": transitions, **{name: getattr(self, name) for name in names}}
        return problem_of(arrays), objective.with_weights(self.kl, self.entropy)


class Lanes:
    """The lanes of a batch.

    Attributes:
        shared: features [P, K, D] that all lanes use, or None.
        transitions: of all lanes, or None.
        packing: of a lane's data.
    """

    def __init__(self, batch: Batch, flow: Flow):
        """Finds the units of every lane.

        Args:
            batch: the problems, NumPy arrays.
            flow: what is run; its numbers may be [N].
        """
        objective = flow.chosen_objective
        self._trained = objective.reward
        self._natural = flow.geometry == "natural"
        self._arrays = batch.stacked()
        self.transitions = batch.problems.transitions
        features = self._arrays["features"]
        self._tabular = features is None
        self._prompts, self._outputs = self._arrays["true_reward"].shape[1:]
        size = len(self._arrays["true_reward"])
        self._kl, self._entropy, self._t1, self._goal = (
            _column(value, size) for value in (objective.kl, objective.entropy, flow.t1, flow.target)
        )
        self._wide = features is not None and features.shape[-1] > self._prompts * self._outputs
        self.shared: Any = None
        if "features" in batch.shared:
            assert features is not None
            self.shared = features[0]
            if self._wide:
                self.shared, self._rotation = _factors(self.shared)
        scales = self._sizes()
        exponent = np.frexp(scales)[1]
        unusual = (np.abs(exponent) > _ORDINARY) & (scales > 0)
        scaled = not objective.signal_moves and unusual.any()
        self._scale = np.ldexp(1.0, np.where(unusual, np.minimum(exponent, 1000), 0)) if scaled else None
        self._unscaled_temperature = bool((self._arrays["temperature"] == 1).all())
        self.packing = Packing.of_rows(self._of(np.arange(1)))

    def fill(self, rows: np.ndarray, lanes: np.ndarray) -> None:
        """Writes the data of some lanes into rows, packed as `packing` says."""
        self.packing.fill(rows, self._of(lanes))

    def collect(self, rows: np.ndarray, found: dict[str, np.ndarray], into: dict[str, np.ndarray]) -> None:
        """Writes what was found of some lanes, in the units of their problems, into arrays [N, ...]."""
        params = self._params(rows, found["params"])
        found = dict(found, hitting_time=found["hitting_time"] * self._rate(rows), params=params)
        if self._scale is not None:
            scale, value = self._scale[rows], f"{self._trained}_value"
            found[value] = found[value] * scale
            if self._trained == "proxy":
                with np.errstate(over="ignore"):  # scale**2 may overflow where the variance does not, or is 0
                    found["reward_variance"] = found["reward_variance"] * scale * scale
        for name, array in found.items():
            into[name][rows] = array

    def _take(self, name: str, rows: np.ndarray) -> np.ndarray:
        return self._arrays[name].take(rows, axis=0)

    def _of(self, rows: np.ndarray) -> Lane:
        """The data of some problems, arrays [len(rows), ...]."""
        start = self._take("initial_params", rows)
        if not self._unscaled_temperature:
            start = start / self._take("temperature", rows).reshape(-1, *(1,) * (start.ndim - 1))
        features = None
        if not self._tabular and self.shared is None:
            features = self._take("features", rows)
            if self._wide:
                features, rotation = _factors(features)
                start = np.einsum("ndv,nd->nv", rotation, start)
        elif self._wide:
            start = start @ self._rotation
        rewards = {name: self._take(f"{name}_reward", rows) for name in ("true", "proxy")}
        columns = (self._kl, self._entropy, self._t1, self._goal)
        kl, entropy, t1, goal = (None if column is None else column[rows] for column in columns)
        assert t1 is not None
        with np.errstate(over="ignore"):
            t1 = np.minimum(t1 / self._rate(rows), _LATEST)
        if self._scale is not None:
            scale = self._scale[rows]
            rewards[self._trained] = rewards[self._trained] / scale[:, None, None]
            kl, entropy = (None if weight is None else weight / scale for weight in (kl, entropy))
            goal = goal / scale if goal is not None and self._trained == "true" else goal
        weights = None if self._prompts == 1 else self._take("prompt_weights", rows)
        return Lane(features, rewards["true"], rewards["proxy"], start, weights, kl, entropy, t1, goal)

    def _rate(self, rows: np.ndarray) -> Any:
        """dt/ds of some problems: what a lane's clock is to be multiplied with."""
        if self._unscaled_temperature and self._scale is None:
            return 1.0
        squared = 1.0 if self._natural else self._take("temperature", rows) ** 2
        with np.errstate(over="ignore"):  # a clock that stands still
            return squared if self._scale is None else squared / self._scale[rows]

    def _params(self, rows: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Parameters of states."""
        if self._unscaled_temperature and not self._wide:
            return states
        temperature = self._take("temperature", rows)
        if not self._wide:
            return states * temperature.reshape(-1, *(1,) * (states.ndim - 1))
        start = self._take("initial_params", rows)
        rotation = self._rotation if self.shared is not None else _factors(self._take("features", rows))[1]
        before = np.einsum("...dv,...d->...v", rotation, start) / temperature[:, None]
        return start + np.einsum("...dv,...v->...d", rotation, states - before) * temperature[:, None]

    def _sizes(self) -> np.ndarray:
        """The size of each problem's training reward, [N]: the largest difference from its first output's, halved."""
        rewards = self._arrays[f"{self._trained}_reward"]
        step = max(1, _AT_ONCE // (self._prompts * self._outputs))
        sizes = []
        for first in range(0, len(rewards), step):
            # Outputs first: NumPy reduces over a short last axis ten times as slowly.
            reward = np.ascontiguousarray(rewards[first : first + step].transpose(2, 0, 1))
            sizes.append(np.abs(reward / 2 - reward[:1] / 2).max(axis=(0, 2)))
        return np.concatenate(sizes)


def _column(value: Any, size: int) -> np.ndarray | None:
    """[N] of a number or [N], None of None."""
    return None if value is None else np.broadcast_to(np.asarray(value, np.float64), (size,))


def _factors(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """L [..., P, K, PK] and Q [..., D, PK] with Phi = L Q^T and orthonormal columns of Q."""
    lead = features.shape[:-3]
    prompts, outputs, width = features.shape[-3:]
    rotation, upper = np.linalg.qr(features.reshape(*lead, prompts * outputs, width).swapaxes(-1, -2))
    return upper.swapaxes(-1, -2).reshape(*lead, prompts, outputs, -1), rotation
