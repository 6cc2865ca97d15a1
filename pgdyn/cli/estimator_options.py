"""The options of `pgdyn simulate` that make an estimator: one for each field of its parts, read from declarations.

    --estimator grpo --group-size 8 --transform unlikeliness --beta 0.25 --penalty k3 --penalty-in loss --clip-low 0.2

A part is there where one of its options is given. Fields of the same name share an option, unless `_NAMES` gives them
another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import click

from pgdyn.cli import options
from pgdyn.dynamics.fields import NONE, Field, declared

_PACKAGE = "pgdyn.estimators"
_NAMES = {  # (class, field) -> name of the option
    ("KLPenalty", "form"): "penalty",
    ("KLPenalty", "where"): "penalty_in",
    ("KLPenalty", "weight"): "penalty_weight",
    ("Surrogate", "kind"): "surrogate",
    ("Surrogate", "level"): "ratios",
    ("RobustBonus", "where"): "bonus_over",
}


class Part(NamedTuple):
    """A kind of part of an estimator.

    Attributes:
        option: that chooses its class; None where there is one class.
        classes: the name of a class as users write it -> (name, its fields by the name of their option).
        several: whether the option may be given more than once.
    """

    option: str | None
    classes: Mapping[str, tuple[str, Mapping[str, Field]]]
    several: bool = False


def _part(option: str | None, parent: str, *, only: str | None = None, several: bool = False) -> Part:
    found = {}
    for name, fields in declared(_PACKAGE, parent).items():
        if only in (None, name) and (parent != "Estimator" or "group_size" in fields):
            found[name.lower()] = (name, {_NAMES.get((name, field), field): own for field, own in fields.items()})
    return Part(option, found, several)


PARTS = {
    "estimator": _part("estimator", "Estimator"),
    "transforms": _part("transform", "Transform", several=True),
    "draw": _part("reward_draw", "RewardDraw"),
    "penalty": _part(None, "eqx.Module", only="KLPenalty"),
    "surrogate": _part(None, "eqx.Module", only="Surrogate"),
}
DEFAULT = next(iter(PARTS["estimator"].classes))


def _fields() -> dict[str, list[tuple[Part, str, Field]]]:
    """Option -> the (part, class, field) that it sets."""
    found: dict[str, list[tuple[Part, str, Field]]] = {}
    for part in PARTS.values():
        for name, (_, fields) in part.classes.items():
            for option, field in fields.items():
                if field.type is not None:
                    found.setdefault(option, []).append((part, name, field))
    return found


_FIELDS = _fields()
NAMES = {*_FIELDS, *(part.option for part in PARTS.values() if part.option)}


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def make() -> Iterator[click.Option]:
    """One option for each field, after those that choose classes."""
    for part in PARTS.values():
        if part.option is not None:
            kind = options.Value(choices=tuple(part.classes))
            text = "A change of the sampled rewards, may be given again." if part.several else ""
            if part.option == "estimator":
                text = f"How sampled rewards become a gradient; centred is Dr. GRPO.  [default: {DEFAULT}]"
            text = text or "Draws the reward of every sample anew."
            yield click.Option(
                [_flag(part.option), part.option],
                type=kind,
                multiple=part.several,
                default=None,
                help=f"With ascend_sampled: {text}",
            )
    for option, owners in _FIELDS.items():
        yield _option(option, owners)


def _option(option: str, owners: list[tuple[Part, str, Field]]) -> click.Option:
    kinds = {field.type for *_, field in owners}
    kind = next((kind for kind in (float, int) if kind in kinds), None)
    choices: list[Any] = [choice for *_, field in owners for choice in field.choices or () if choice is not None]
    if bool in kinds:
        choices += [True, False]
    if any(_can_be_unset(field) for *_, field in owners):
        choices.append(NONE)
    return click.Option(
        [_flag(option), option],
        type=options.Value(kind, tuple(dict.fromkeys(choices))),
        default=None,
        help=_help(owners),
    )


def _help(owners: list[tuple[Part, str, Field]]) -> str:
    """What the option means; where it means different things, what with which part."""
    names: dict[str, list[str]] = {}
    for part, name, field in owners:
        text = re.sub(r"; None for no such clip| and None|; None for none", "", field.help)
        names.setdefault(text.replace("None for none", "Left out: none"), []).append(_owner(part, name))
    every = len(owners) == len(PARTS["estimator"].classes)
    text = " ".join(
        words if every and len(names) == 1 else f"With {' and '.join(those)}: {words}" for words, those in names.items()
    )
    defaults: dict[str, list[str]] = {}
    for part, name, field in owners:
        if field.default is not None:
            shown = {True: "yes", False: "no"}[field.default] if isinstance(field.default, bool) else str(field.default)
            defaults.setdefault(shown, []).append(_owner(part, name))
    if len(defaults) > 1 or sum(map(len, defaults.values())) < len(owners):
        shown = [f"{value} with {' and '.join(those)}" for value, those in defaults.items()]
    else:
        shown = list(defaults)
    return f"{text}  [default: {'; '.join(shown)}]" if shown else text


def _can_be_unset(field: Field) -> bool:
    return field.name in ("clip_low", "clip_high", "filter", "baseline") and field.default is not None


def _owner(part: Part, name: str) -> str:
    return name if part.option is not None else {"klpenalty": "a KL penalty"}.get(name, f"a {name}")


def check(given: Mapping[str, Any]) -> None:
    """Refuses options of a part that is not there.

    Raises:
        ValueError: naming the option, and what it goes with.

    Example:
        >>> check({"estimator": "grpo", "group_size": 4})
    """
    for option in given:
        owners = _FIELDS.get(option, [])
        named = [(part, name) for part, name, _ in owners if part.option is not None]
        if not named or len(named) < len(owners):
            continue
        if any(name in _chosen(part, given) for part, name in named):
            continue
        part = named[0][0]
        chosen = " or ".join(_chosen(part, given))
        going = " or ".join(name for _, name in named)
        raise ValueError(
            f"{_flag(option)} goes with {_flag(str(part.option))} {going}" + (f", not with {chosen}" if chosen else "")
        )


def _chosen(part: Part, given: Mapping[str, Any]) -> list[str]:
    found = given.get(str(part.option), DEFAULT if part.option == "estimator" else None)
    return [found] if isinstance(found, str) else list(found or [])


def build(given: dict[str, Any]) -> Any:
    """The estimator of the options, which are taken out of `given`.

    Example:
        >>> build({"estimator": "rloo", "group_size": 4})
        RLOO()
    """
    from pgdyn import estimators

    made: list[Any] = []
    used = {option for option in given if option in NAMES}
    for part in PARTS.values():
        for name, (cls, fields) in part.classes.items():
            own = {field.name: given[option] for option, field in fields.items() if option in given}
            own = {field: None if value == NONE else value for field, value in own.items()}
            if name in _chosen(part, given) if part.option is not None else own:
                made.append(getattr(estimators, cls)(**own))
    order: list[str] = list(given.get("transform") or ())
    made.sort(key=lambda one: order.index(type(one).__name__.lower()) if type(one).__name__.lower() in order else -1)
    for option in used:
        del given[option]
    return made[0] if len(made) == 1 else estimators.compose(*made)
