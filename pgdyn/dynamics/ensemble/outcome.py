"""What a batch of flows leaves behind: the ends, the hitting times, and how each flow ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import equinox as eqx
import jax
import numpy as np

from pgdyn.dynamics.result import Result


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False, repr=False)
class Outcome:
    """The ends of N flows. Arrays are NumPy's from the engine, JAX's from a traced reference run.

    Attributes:
        params: [N, *params], theta at the end (at the hitting time for a flow stopped there).
        log_policy: [N, P, K], log-probabilities at the end, in nats.
        true_value: [N], V of the true reward at the end, averaged over prompts.
        proxy_value: [N], V of the proxy at the end.
        hitting_time: [N], first t with true value >= target; inf where never, nan where no target was given.
        steps: [N], steps tried, rejected ones included.
        result: [N], a `pgdyn.Result` as an integer each.
        settings: the arguments of the call, as (name, value) pairs.
    """

    # No shapes are checked: under jax.vmap, or in a tree of anything else, they are others.
    params: Any
    log_policy: Any
    true_value: Any
    proxy_value: Any
    hitting_time: Any
    steps: Any
    result: Any
    settings: tuple[tuple[str, Any], ...] = field(metadata={"static": True})

    def __eq__(self, other: object) -> bool:
        return bool(eqx.tree_equal(self, other))

    def __repr__(self) -> str:
        return eqx.tree_pformat(self)

    @property
    def message(self) -> str:
        """How many flows ended in each way, in words."""
        codes, counts = np.unique(np.asarray(self.result), return_counts=True)
        return "; ".join(f"{n} {Result(int(code)).message}" for code, n in zip(codes, counts, strict=True))
