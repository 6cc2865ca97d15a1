"""The dynamics of a sweep in plain values: `pgdyn.Flow`, `pgdyn.Ascend` or `pgdyn.AscendSampled` with one setting each.

The keys of a spec's [dynamics] table are `kind` ("flow", "ascend" or "ascend_sampled") and the fields of that class:

    kind = "ascend_sampled"
    steps = 1000
    key = 3                                                                   # a seed, where no axis sets it
    estimator = {name = "reinforce", baseline = "value", group_size = 4}      # or a name alone
    estimator = {name = "grpo", transforms = ["whiten"], penalty = {form = "k3"}, surrogate = {epochs = 2}}

`pgdyn.io.settings` reads them. Fields of single runs and of paths are not among them, as a sweep keeps ends; the
objective has a table of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from pgdyn import estimators, validate
from pgdyn.dynamics import fields
from pgdyn.dynamics.ascend import Ascend
from pgdyn.dynamics.flow import MANY, Flow
from pgdyn.dynamics.sampled import AscendSampled
from pgdyn.estimators import ESTIMATORS, REWARD_DRAWS, TRANSFORMS
from pgdyn.io import settings
from pgdyn.io.settings import Dynamics

_ELSEWHERE = {
    "objective": "it has a table of its own, [objective]",
    "saves": "a sweep keeps the ends of runs",
    "save_every": "a sweep keeps the ends of runs",
    "solver": "many flows have a solver of their own",
    "adjoint": "a sweep takes no derivatives",
}


def from_table(table: Mapping[str, Any]) -> Dynamics:
    """The settings of a [dynamics] table; a ValueError names the key that is wrong.

    Example:
        >>> from_table({"kind": "ascend_sampled", "steps": 10, "estimator": "reinforce"}).estimator.group_size
        1
    """
    for key, reason in _ELSEWHERE.items():
        if key in table:
            raise ValueError(f"the key {key} does not belong here: {reason}")
    return plain(settings.dynamics(table))


def to_table(dynamics: Dynamics) -> dict[str, Any]:
    """A table of plain values that `from_table` reads back to equal settings."""
    table = {key: value for key, value in fields.to_table(dynamics).items() if key not in _ELSEWHERE}
    return table | {"key": _seed(dynamics.key)} if isinstance(dynamics, AscendSampled) else table


def plain(dynamics: Any) -> Dynamics:
    """The settings with defaults written out and without the objective; a ValueError names what a sweep cannot hold."""
    if not isinstance(dynamics, Flow | Ascend | AscendSampled):
        raise ValueError(validate.refusal("dynamics", (), dynamics, "it must be a Flow, Ascend or AscendSampled"))
    for name in ("save_every", "solver", "adjoint"):
        if getattr(dynamics, name, None) is not None:
            raise ValueError(f"dynamics.{name} is given, but {_ELSEWHERE[name]}")
    for name in ("t1", "target", "rtol", "atol", "learning_rate"):
        if np.ndim(getattr(dynamics, name, 0.0)):  # pyright: ignore[reportArgumentType]
            raise ValueError(f"dynamics.{name} must be a single number in a sweep, where axes set many")
    kept: dict[str, Any] = {"objective": None}
    if isinstance(dynamics, Flow):
        kept |= {name: value for name, value in MANY.items() if getattr(dynamics, name) is None}
    elif isinstance(dynamics.optimizer, str | None):
        kept["optimizer"] = dynamics.optimizer or "sgd"
    else:
        raise ValueError('dynamics.optimizer is a function, which a spec cannot hold; it must be "sgd" or "adam"')
    if isinstance(dynamics, AscendSampled):
        _seed(dynamics.key)
        kept["estimator"] = dynamics.chosen_estimator
        composed = estimators.composed(dynamics.chosen_estimator)
        for part in filter(None, (composed.advantage, *composed.transforms, composed.draw)):
            if type(part) not in (*ESTIMATORS.values(), *TRANSFORMS.values(), *REWARD_DRAWS.values()):
                raise ValueError(f"dynamics.estimator is a {type(part).__name__}; it must be one of pgdyn.estimators")
    return dataclasses.replace(dynamics, **kept)


def _seed(key: Any) -> int:
    """The seed that `jax.random.key` makes this key of."""
    words = np.asarray(jax.random.key_data(key))
    seed = int.from_bytes(words.astype(">u4").tobytes(), "big")
    if seed < 2**63 and np.array_equal(words, jax.random.key_data(jax.random.key(seed))):
        return seed
    raise ValueError("dynamics.key is no key of a seed; in a sweep give a seed, or an axis of seeds for many")
