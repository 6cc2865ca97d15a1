"""The backend "diffrax": `pgdyn.flow` under `jax.vmap`. Slow, differentiable, and a check of the engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pgdyn.batch import Batch
from pgdyn.dynamics.flow import MANY, Flow
from pgdyn.problem import Problem
from pgdyn.solution import Solution

_BLOCK = 4096


def solve(batch: Batch, flow: Flow, tick: Callable[[int], None], traced: bool) -> Solution:
    """The ends of every flow; a flow that cannot run to t1 has nan for its end."""
    tolerances = {name: MANY[name] if getattr(flow, name) is None else getattr(flow, name) for name in MANY}
    objective = flow.chosen_objective
    numbers = {"t1": flow.t1, "target": flow.target, "kl": objective.kl, "entropy": objective.entropy}
    size = len(batch)
    columns = {name: None if v is None else jnp.broadcast_to(jnp.asarray(v), (size,)) for name, v in numbers.items()}
    settings = dataclasses.replace(
        flow, t1=1.0, target=None, objective=None, saves=2, stop_at_target=False, **tolerances
    )
    options = objective.with_weights(None, None)
    if traced:
        found = _ends(batch, columns, settings, options, flow.stop_at_target)
    else:
        parts = []
        for first in range(0, size, _BLOCK):
            part = slice(first, min(first + _BLOCK, size))
            own = {name: None if column is None else column[part] for name, column in columns.items()}
            ends = _ends(batch[part], own, settings, options, flow.stop_at_target)
            parts.append(jax.tree.map(np.asarray, ends))
            tick(part.stop - part.start)
        found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return Solution(t=None, **found, problem=batch, settings=flow)


@eqx.filter_jit
def _ends(batch: Batch, columns: dict[str, Any], settings: Flow, options: Any, stop: bool) -> dict[str, Any]:
    def one(problem: Problem, own: dict[str, Any]) -> dict[str, Any]:
        objective = options.with_weights(own["kl"], own["entropy"])
        flow = dataclasses.replace(
            settings, t1=own["t1"], target=own["target"], objective=objective, stop_at_target=stop
        )
        end = flow.run(problem).end
        kept = ("params", "log_policy", "true_value", "proxy_value", "reward_variance", "kl", "hitting_time")
        return {name: getattr(end, name) for name in (*kept, "steps", "result")}

    return batch.map(one, columns)
