"""The options of `pgdyn simulate`: every field of the settings is an option, and what is given becomes settings again.

    --dynamics ascend_sampled --steps 500 --estimator grpo --group-size 8 --transform unlikeliness --beta 0.25 --kl 0.1

Fields are read off the declarations of `pgdyn.Flow`, `Ascend`, `AscendSampled`, `Objective` and the parts of
estimators, so that a new field is a new option. Classes of one part share the options of fields of one name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import click

from pgdyn.cli import options
from pgdyn.dynamics.fields import MISSING, NONE, Field, declared

_MOST_SAVES = 1001
_CHOICES = {  # part -> help of the option that chooses its class
    "dynamics": "",
    "estimator": "With ascend_sampled: How sampled rewards become a gradient; centred is Dr. GRPO.",
    "transform": "With ascend_sampled: A change of the sampled rewards, may be given again.",
    "reward_draw": "With ascend_sampled: Draws the reward of every sample anew.",
}
_DEFAULTS = {"dynamics": "flow", "estimator": "reinforce", "save_every": f"what saves at most {_MOST_SAVES} points"}
_KEYS = {"reward_draw": "draw"}  # part -> key in the table of an estimator, where they differ
_FLAGS = {"key": ["--seed"], "learning_rate": ["--learning-rate", "--lr"]}
_NAMES = {  # (class, field) -> option, where its name says too little without the class
    ("a KL penalty", "form"): "penalty",
    ("a KL penalty", "where"): "penalty_in",
    ("a KL penalty", "weight"): "penalty_weight",
    ("a surrogate", "kind"): "surrogate",
    ("a surrogate", "level"): "ratios",
    ("robustbonus", "where"): "bonus_over",
}
# What is said of batches has no place in help, and None is what an option that is left out stands for.
_ASIDES = r" For a batch[^.]*\.|,? or None(?=[.,])|[;,] None (?:without|for no|for all)[^.]*| and None"


def _named(parent: str) -> Mapping[str, Mapping[str, Field]]:
    found = declared("pgdyn.estimators", parent)
    return {name.lower(): fields for name, fields in found.items() if name != "Composed"}


# Part -> class, by what chooses it or is said of it -> its fields.
_OF_ESTIMATOR = {
    "estimator": _named("Estimator"),
    "transform": _named("Transform"),
    "reward_draw": _named("RewardDraw"),
    "penalty": {"a KL penalty": _named("eqx.Module")["klpenalty"]},
    "surrogate": {"a surrogate": _named("eqx.Module")["surrogate"]},
}
_PARTS: Mapping[str, Mapping[str, Mapping[str, Field]]] = {
    "dynamics": {
        "flow": declared("pgdyn.dynamics.flow")["Flow"],
        "ascend": declared("pgdyn.dynamics.ascend")["Ascend"],
        "ascend_sampled": declared("pgdyn.dynamics.sampled")["AscendSampled"],
    },
    **_OF_ESTIMATOR,
    "objective": {"objective": declared("pgdyn.objective")["Objective"]},
}


def _owners(part: str) -> dict[str, dict[str, Field]]:
    """Option -> class -> the field that it sets; not of fields that no text can set."""
    found: dict[str, dict[str, Field]] = {}
    for name, fields in _PARTS[part].items():
        for field in fields.values():
            if field.type is not None:
                found.setdefault(_NAMES.get((name, field.name), field.name), {})[name] = field
    return found


_OPTIONS = {part: _owners(part) for part in _PARTS}


def _flags(option: str) -> list[str]:
    return _FLAGS.get(option, [f"--{option.replace('_', '-')}"])


def make() -> Iterator[click.Option]:
    """The options, of every part first the one that chooses its class. One that is not given is None, or empty."""
    for part, classes in _PARTS.items():
        if part in _CHOICES:
            text, value = _CHOICES[part] + _default(part), options.Value(choices=[*classes])
            yield click.Option(_flags(part), type=value, multiple=part == "transform", help=text)
        for option, owners in _OPTIONS[part].items():
            fields = owners.values()
            kinds = {field.type for field in fields}
            choices = [True, False] if bool in kinds else []
            choices += [choice for field in fields for choice in field.choices or ()]
            choices += [NONE for field in fields if field.can_be_none]
            number = next((kind for kind in (float, int) if kind in kinds), None)
            value = options.SEED if option == "key" else options.Value(number, [*dict.fromkeys(choices)])
            flag = part == "dynamics" and bool in kinds
            kind: Any = bool if flag else value
            yield click.Option(
                [*_flags(option), option], type=kind, is_flag=flag, default=None, help=_help(part, option)
            )


def _help(part: str, option: str) -> str:
    """What an option means; where it does not always go, or means different things, what with which class."""
    classes: dict[str, list[str]] = {}
    for name, field in _OPTIONS[part][option].items():
        text = re.sub(_ASIDES, "", field.help).replace("None for", "left out:")
        classes.setdefault(text[:1].upper() + text[1:] + _default(option, field.default), []).append(name)
    if part not in _OF_ESTIMATOR and [*_PARTS[part]] in classes.values():
        return next(iter(classes))
    return " ".join(f"With {' and '.join(names)}: {text}" for text, names in classes.items())


def _default(option: str, default: Any = None) -> str:
    if default is MISSING:
        return "  [required]"
    shown = _DEFAULTS.get(option, {"True": "yes", "False": "no"}.get(str(default), default))
    return "" if shown is None else f"  [default: {shown}]"


def check(given: Mapping[str, Any]) -> None:
    """Refuses options of classes that are not chosen, and a dynamics without what it needs, before JAX is imported.

    Example:
        >>> check({"dynamics": "ascend_sampled", "steps": 3, "estimator": "grpo", "group_size": 4})
    """
    for part, owned in _OPTIONS.items():
        for option in given:
            needs = {}
            if part in _OF_ESTIMATOR and option in (part, *owned):
                needs["dynamics"] = ["ascend_sampled"]
            if part in _CHOICES and option in owned:
                needs[part] = [*owned[option]]
            for choice, names in needs.items():
                chosen = _chosen(choice, given)
                if not {*names} & {*chosen}:
                    other = f", not with {' or '.join(chosen)}" if chosen else ""
                    raise ValueError(f"{_flags(option)[0]} goes with {_flags(choice)[0]} {' or '.join(names)}{other}")
    (dynamics,) = _chosen("dynamics", given)
    for name, field in _PARTS["dynamics"][dynamics].items():
        if field.default is MISSING and name not in given:
            what = re.split("[;.,]", field.help)[0].lower()
            raise ValueError(f"--dynamics {dynamics} needs {_flags(name)[0]}, the {what}")


def _chosen(part: str, given: Mapping[str, Any]) -> list[str]:
    """The classes of a part that are to be made; one that no option chooses, where one of its own is given."""
    if part not in _CHOICES:
        return [*_PARTS[part]] if _OPTIONS[part].keys() & given.keys() else []
    found = given.get(part, _DEFAULTS.get(part, ()))
    return [found] if isinstance(found, str) else [*dict.fromkeys(found)]


def build(given: Mapping[str, Any]) -> Any:
    """The settings of the options that are given, by their names, which `check` has let pass."""
    from pgdyn.io import settings

    (dynamics,) = _chosen("dynamics", given)
    table = {"kind": dynamics, **_values("dynamics", dynamics, given)}
    table["objective"] = _values("objective", "objective", given)
    if "estimator" in _PARTS["dynamics"][dynamics]:
        parts = {part: [_named_values(part, name, given) for name in _chosen(part, given)] for part in _OF_ESTIMATOR}
        (advantage,), transforms = parts.pop("estimator"), parts.pop("transform")
        others = {_KEYS.get(part, part): one for part, found in parts.items() for one in found}
        table["estimator"] = {**advantage, "transforms": transforms, **others}
    if "save_every" in _PARTS["dynamics"][dynamics]:
        table.setdefault("save_every", max(1, -(-table["steps"] // (_MOST_SAVES - 1))))
    return settings.dynamics(table)


def _named_values(part: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    return ({"name": name} if part in _CHOICES else {}) | _values(part, name, given)


def _values(part: str, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Field -> value, of one class."""
    owned = {option: owners[name].name for option, owners in _OPTIONS[part].items() if name in owners}
    return {field: given[option] for option, field in owned.items() if option in given}
