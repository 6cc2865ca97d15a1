"""The fields of a settings class, read off its declaration: for signatures, the command line, specs and provenance.

A setting is declared once, as a field of `Flow`, `Ascend`, `AscendSampled`, `Objective` or an estimator: its annotation
is the type, its default the default, and its entry under "Attributes:" the help. Declarations are read from the source,
so that the command line can show them before JAX is imported.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import importlib.resources
import inspect
import re
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

MISSING = dataclasses.MISSING
NONE = "none"  # None as text, where a field has another default
_KINDS = {"bool": bool, "int": int, "float": float, "ArrayLike": float, "str": str}


class Field(NamedTuple):
    """One setting.

    Attributes:
        name: of the field.
        type: float, int, bool or str; None where the value cannot be written as text.
        choices: the values that have a name: those that are allowed where the type is str, and those that are allowed
            beside a number or a bool. None where there are none.
        default: `MISSING` where a value has to be given.
        help: one or more sentences.
        can_be_none: whether the text "none" is to give None, which is not the default.
    """

    name: str
    type: type | None
    choices: tuple[Any, ...] | None
    default: Any
    help: str
    can_be_none: bool


def describe(cls: type) -> Mapping[str, Field]:
    """The fields of a settings class of pgdyn by name, in the order of their declaration.

    Example:
        >>> from pgdyn.dynamics.flow import Flow
        >>> describe(Flow)["t1"].type, describe(Flow)["geometry"].choices
        (<class 'float'>, ('euclidean', 'natural'))
    """
    return declared(cls.__module__)[cls.__name__]


@functools.cache
def declared(module: str, parent: str | None = None) -> Mapping[str, Mapping[str, Field]]:
    """The fields of the classes of a module, read from its source: the module, and so JAX, is not imported.

    Args:
        module: a module of pgdyn, or a package: then the classes of all its files, by the name of the file.
        parent: only classes that derive from the class of this name; None for all.

    Returns:
        Class name -> field name -> field, in the order of the declarations.

    Example:
        >>> list(declared("pgdyn.estimators", "Transform"))
        ['Whiten', 'Unlikeliness', 'RobustBonus']
    """
    package, *folders, name = module.split(".")
    place = importlib.resources.files(package).joinpath(*folders)
    folder = place.joinpath(name)
    files = [place.joinpath(f"{name}.py")]
    if folder.is_dir():
        files = sorted((file for file in folder.iterdir() if file.name.endswith(".py")), key=lambda file: file.name)
    trees = [ast.parse(file.read_text("utf-8")) for file in files]
    nodes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    kept = [node for node in nodes if parent is None or parent in map(ast.unparse, node.bases)]
    return {node.name: types.MappingProxyType({field.name: field for field in _settings(node)}) for node in kept}


def to_table(settings: Any) -> dict[str, Any]:
    """The settings' values by field name, without those that are None; modules among them become tables of their own.

    Example:
        >>> from pgdyn.dynamics.flow import Flow
        >>> to_table(Flow(t1=5.0))
        {'kind': 'flow', 't1': 5.0, 'saves': 256, 'geometry': 'euclidean', 'stop_at_target': False, 'max_steps': 65536}
    """
    import equinox as eqx

    from pgdyn import validate

    name = getattr(settings, "name", None)
    table: dict[str, Any] = {} if name is None else {"kind": name}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is None:
            continue
        if field.name in ("solver", "adjoint"):
            value = value if isinstance(value, str) else type(value).__name__
        elif field.name == "estimator":
            value = estimator_table(value)
        elif eqx.is_array_like(value) or isinstance(value, str | bool):
            value = "traced" if validate.is_traced(value) else value
        elif dataclasses.is_dataclass(value):
            value = to_table(value)
        elif isinstance(value, tuple):
            value = "an optax transformation"
        table[field.name] = value
    return table


def estimator_table(estimator: Any) -> dict[str, Any]:
    """The name and fields of an estimator; the parts of a composed one are tables in it.

    Example:
        >>> from pgdyn.estimators import GRPO, Surrogate, compose
        >>> estimator_table(compose(GRPO(4), Surrogate(epochs=2)))["surrogate"]["kind"]
        'ppo'
    """
    if not hasattr(estimator, "advantage"):
        return _part_table(estimator)
    table = _part_table(estimator.advantage)
    if estimator.transforms:
        table["transforms"] = [_part_table(part) for part in estimator.transforms]
    parts = {name: getattr(estimator, name) for name in ("draw", "penalty", "surrogate")}
    return table | {name: _part_table(part) for name, part in parts.items() if part is not None}


def _part_table(part: Any) -> dict[str, Any]:
    """A part's name and fields; "none" where None is not the default."""
    absent = {
        field.name: NONE
        for field in dataclasses.fields(part)
        if getattr(part, field.name) is None and field.default not in (None, dataclasses.MISSING)
    }
    return {"name": type(part).__name__.lower(), **to_table(part), **absent}


def sugar(cls: type, *, positional: int, first: str, defaults: Mapping[str, Any], extra: str = "") -> Any:
    """A decorator: gives a function the signature and docstring that the fields of `cls` imply.

    Args:
        cls: the settings class.
        positional: how many of its fields may be given by position.
        first: name of the first parameter, the problem or batch.
        defaults: of this function, where they are not those of the fields.
        extra: text of "Args:" for keyword arguments that the function has besides.
    """

    def decorate(function: Any) -> Any:
        kinds = inspect.Parameter
        own = [p for p in inspect.signature(function).parameters.values() if p.kind is kinds.KEYWORD_ONLY]
        parameters = [kinds(first, kinds.POSITIONAL_OR_KEYWORD)]
        lines = []
        for i, field in enumerate(describe(cls).values()):
            default = defaults.get(field.name, field.default)
            kind = kinds.POSITIONAL_OR_KEYWORD if i < positional else kinds.KEYWORD_ONLY
            empty = i < positional or default is MISSING
            parameters.append(kinds(field.name, kind, default=kinds.empty if empty else default))
            lines.append(f"    {field.name}: {field.help}")
        signature = inspect.Signature([*parameters, *own])
        arguments = "\n".join(lines) + ("\n" + extra if extra else "")

        @functools.wraps(function)
        def call(*given: Any, **named: Any) -> Any:
            try:
                signature.bind(*given, **named)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(*given, **named)

        call.__signature__ = signature  # pyright: ignore[reportAttributeAccessIssue]
        call.__doc__ = inspect.cleandoc(function.__doc__).replace("{fields}", arguments.lstrip())
        return call

    return decorate


def _settings(node: ast.ClassDef) -> Iterator[Field]:
    """Of the constructor's arguments where the class writes one of its own, else of its annotated fields."""
    helps = _helps(ast.get_docstring(node) or "")
    own = [part.args for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
    if own:
        names = own[0].args[1:]
        values = [None] * (len(names) - len(own[0].defaults)) + own[0].defaults
        found = [(part.arg, part.annotation, value) for part, value in zip(names, values, strict=True)]
    else:
        parts = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        found = [(ast.unparse(part.target), part.annotation, part.value) for part in parts]
    for name, annotation, value in found:
        if annotation is not None and not ast.unparse(annotation).startswith("ClassVar"):
            default = _default(value)
            can_be_none = default not in (None, MISSING) and ast.unparse(annotation).endswith("| None")
            yield Field(name, *_as_text(annotation), default, helps.get(name, ""), can_be_none)


def _default(value: ast.expr | None) -> Any:
    """Of a plain value, or of the argument `default` of `eqx.field`."""
    if isinstance(value, ast.Call):
        value = next((keyword.value for keyword in value.keywords if keyword.arg == "default"), None)
    return MISSING if value is None else ast.literal_eval(value)


def _as_text(annotation: ast.expr) -> tuple[type | None, tuple[Any, ...] | None]:
    """The plain type among the alternatives of an annotation, and the values that it names."""
    parts = [annotation]
    while isinstance(parts[0], ast.BinOp):
        parts[:1] = [parts[0].left, parts[0].right]
    literals = [
        part.slice for part in parts if isinstance(part, ast.Subscript) and ast.unparse(part.value) == "Literal"
    ]
    kinds = [_KINDS[name] for name in map(ast.unparse, parts) if name in _KINDS]
    values = [ast.literal_eval(literal) for literal in literals]
    choices = tuple(choice for value in values for choice in (value if isinstance(value, tuple) else (value,)))
    return (kinds[0] if kinds else str if choices else None), choices or None


def _helps(docstring: str) -> dict[str, str]:
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    entries = re.finditer(r"^    (\w+): (.*\n?(?:^        .*\n?)*)", section[1] if section else "", re.MULTILINE)
    texts = {entry[1]: " ".join(entry[2].split()) for entry in entries}
    return {name: text[:1].upper() + text[1:] for name, text in texts.items()}
