"""Settings from tables of plain values: what `dynamics.fields.to_table` writes is read back here.

    {"kind": "ascend_sampled", "steps": 500, "key": 3, "objective": {"kl": 0.1}, "estimator": "grpo"}

Specs of sweeps, the command line and the settings kept in a dataset are such tables. An estimator is a name, or a table
of a name, arguments and further parts:

    {"name": "grpo", "group_size": 8, "transforms": ["whiten"], "penalty": {"form": "k3"}, "surrogate": {"epochs": 2}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from pgdyn import estimators, validate
from pgdyn.dynamics import fields
from pgdyn.dynamics.ascend import Ascend
from pgdyn.dynamics.flow import Flow
from pgdyn.dynamics.sampled import AscendSampled
from pgdyn.estimators import ESTIMATORS, REWARD_DRAWS, TRANSFORMS, Estimator, KLPenalty, Surrogate
from pgdyn.io import tables
from pgdyn.objective import Objective
from pgdyn.solve import DYNAMICS

Dynamics: TypeAlias = Flow | Ascend | AscendSampled
_PARTS = {"draw": REWARD_DRAWS, "penalty": {"klpenalty": KLPenalty}, "surrogate": {"surrogate": Surrogate}}


def dynamics(table: Mapping[str, Any]) -> Dynamics:
    """The settings of a table with the keys `kind` and the fields of its class.

    Raises:
        ValueError: naming the key that is missing, unknown or wrong.

    Example:
        >>> dynamics({"kind": "flow", "t1": 5.0, "objective": {"kl": 0.5}}).objective.kl
        Array(0.5, dtype=float64)
        >>> dynamics({"kind": "ascend", "t1": 5.0})
        Traceback (most recent call last):
            ...
        ValueError: the key t1 goes with kind 'flow', not with 'ascend'
    """
    if "kind" not in table:
        raise ValueError(f"the key kind is missing; it is one of {', '.join(DYNAMICS)}")
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in DYNAMICS:
        hint = validate.suggestion(str(kind), tuple(DYNAMICS), "it is one of")
        raise ValueError(f"kind is {validate.shown(kind)}; {hint}")
    rest = {key: value for key, value in table.items() if key != "kind"}
    known = fields.describe(DYNAMICS[kind])
    for key in rest:
        owners = [other for other, cls in DYNAMICS.items() if key in fields.describe(cls)]
        if key not in known and owners:
            raise ValueError(f"the key {key} goes with kind {' or '.join(map(repr, owners))}, not with {kind!r}")
    validate.refuse_unknown(rest, [*known])
    for name, field in known.items():
        if field.default is fields.MISSING and name not in rest:
            raise ValueError(f"the key {name} is missing; kind {kind!r} needs it ({field.help.split('.')[0].lower()})")
    if "estimator" in rest:
        rest["estimator"] = estimator(rest["estimator"])
    if isinstance(rest.get("objective"), Mapping):
        with tables.within("objective"):
            rest["objective"] = tables.build(Objective, rest["objective"])
    return DYNAMICS[kind](**rest)


def estimator(table: Any) -> Estimator:
    """The estimator of a name or table; one that is an estimator already stays what it is.

    Raises:
        ValueError: naming the part and its key that is missing, unknown or wrong.

    Example:
        >>> int(estimator({"name": "grpo", "surrogate": {"epochs": 2}}).surrogate.epochs)
        2
    """
    if isinstance(table, Estimator):
        return table
    table = dict(table) if isinstance(table, Mapping) else {"name": table}
    transforms = table.pop("transforms", [])
    if not isinstance(transforms, list | tuple):
        raise ValueError(f"estimator: transforms is {validate.shown(transforms)}; it must be a list")
    parts = [_part(f"transforms[{i}]", one, TRANSFORMS) for i, one in enumerate(transforms)]
    parts += [_part(key, table.pop(key), classes) for key, classes in _PARTS.items() if key in table]
    advantage = _part("estimator", table, ESTIMATORS)
    return estimators.compose(advantage, *parts) if parts else advantage


def _part(key: str, table: Any, classes: Mapping[str, type]) -> Any:
    arguments = dict(table) if isinstance(table, Mapping) else {"name": table}
    name = arguments.pop("name", next(iter(classes)) if len(classes) == 1 else None)
    if not isinstance(name, str) or name not in classes:
        hint = validate.suggestion(str(name), classes, "it is one of")
        raise ValueError(validate.refusal(key, (), name, hint))
    known = fields.describe(classes[name])
    for field, value in arguments.items():
        if isinstance(value, str) and value == fields.NONE and field in known and known[field].can_be_none:
            arguments[field] = None
    with tables.within(f"{key} {name}"):
        return tables.build(classes[name], arguments)
