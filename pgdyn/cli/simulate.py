"""`pgdyn simulate`: one run of a problem file, as a table, a dataset and a picture.

Its options are the fields of `pgdyn.Flow`, `Ascend`, `AscendSampled`, `Objective` and the parts of estimators
(`cli/estimator_options`), read from their declarations, so that a new field is a new option.
"""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import click

from pgdyn.cli import enable_cache, estimator_options, fail, options, output, remark
from pgdyn.dynamics.fields import MISSING, Field, declared

_DYNAMICS = {
    "flow": declared("pgdyn.dynamics.flow")["Flow"],
    "ascend": declared("pgdyn.dynamics.ascend")["Ascend"],
    "ascend_sampled": declared("pgdyn.dynamics.sampled")["AscendSampled"],
}
_OBJECTIVE = declared("pgdyn.objective")["Objective"]
_OTHER_NAMES = {"key": ["--seed"], "learning_rate": ["--learning-rate", "--lr"]}
_MOST_SAVES = 1001
_NAME = "trajectory"
_FILES = (f"{_NAME}.zarr", f"{_NAME}.png", f"{_NAME}.pdf", "problem.toml")


def _names(field: str) -> list[str]:
    return _OTHER_NAMES.get(field, [f"--{field.replace('_', '-')}"])


def _owners(field: str) -> list[str]:
    """The dynamics that the option of a field goes with."""
    if field in _OBJECTIVE:
        return list(_DYNAMICS)
    estimated = field in estimator_options.NAMES
    return [name for name, fields in _DYNAMICS.items() if field in fields or (estimated and "estimator" in fields)]


def _options() -> Iterator[click.Option]:
    """One for each field that can be written as text, in the order of the declarations."""
    seen = set()
    for fields in (*_DYNAMICS.values(), _OBJECTIVE):
        for field in fields.values():
            if field.type is not None and field.name not in seen:
                seen.add(field.name)
                yield _option(field)
        if "estimator" in fields:
            yield from estimator_options.make()


def _option(field: Field) -> click.Option:
    """Its value is None where it is not given, so that the default is that of the class which declares the field."""
    kind, choices, default = field.type, field.choices or (), field.default
    flag = kind is bool and not choices
    if field.name == "save_every":
        default = f"what saves at most {_MOST_SAVES} points"
    elif kind is bool:
        choices, default = (False, True, *choices), "no"
    value = options.Value(None if kind in (bool, str) else kind, choices, 0 if field.name == "key" else None)
    having = _owners(field.name)
    text = "" if len(having) == len(_DYNAMICS) else f"With {' and '.join(having)}: "
    # What is said of batches has no place here, and a value is None where its option is left out.
    text += re.sub(r" For a batch[^.]*\.|,? or None(?=[.,])|[;,] None without one", "", field.help)
    text = text.replace("None for", "left out:")
    if default is MISSING:
        text += "  [required]"
    elif default is not None and not flag:
        text += f"  [default: {default}]"
    names = [*_names(field.name), field.name]
    return click.Option(names, type=bool if flag else value, is_flag=flag, default=None, help=text)


_KIND = click.Option(["--dynamics"], type=options.Value(choices=tuple(_DYNAMICS)), default="flow")


@click.command(params=[_KIND, *_options()])
@options.problem
@options.output(", ".join(_FILES))
def simulate(problem: pathlib.Path, dynamics: str, out: pathlib.Path | None, overwrite: bool, **given: Any) -> int:
    """Run one problem and show how it ends.

    The exit code is 1 if the run breaks off or its files cannot be written.
    """
    given = {name: value for name, value in given.items() if value is not None and value != ()}
    _check(dynamics, given)
    output.require_writable(out, overwrite, _FILES)

    import pgdyn
    from pgdyn.cli import run_table
    from pgdyn.io.problem_file import start_note

    enable_cache()
    loaded = pgdyn.load_problem(problem)
    remark(start_note(problem, loaded))
    solution = pgdyn.solve(loaded, _settings(dynamics, given))
    run_table.show(solution, title=problem.name)
    written = output.write(
        out, overwrite, lambda folder: output.save(folder, _NAME, solution.to_dataset(), solution.plot(), loaded)
    )
    if int(solution.result) >= pgdyn.Result.step_budget_spent:
        return fail(f"the run did not complete: it {solution.message}", 1)
    return written


def _check(dynamics: str, given: dict[str, Any]) -> None:
    """Refuses options of another dynamics or part of an estimator, and a dynamics without what it needs."""
    for name in given:
        if dynamics not in _owners(name):
            going = " or ".join(_owners(name))
            raise ValueError(f"{_names(name)[0]} goes with --dynamics {going}, not with {dynamics}")
    estimator_options.check(given)
    for name, field in _DYNAMICS[dynamics].items():
        if field.default is MISSING and name not in given:
            what = field.help.replace(";", ",").replace(".", ",").split(",")[0].lower()
            raise ValueError(f"--dynamics {dynamics} needs {_names(name)[0]}, the {what}")


def _settings(dynamics: str, given: dict[str, Any]) -> Any:
    import pgdyn
    from pgdyn.solve import DYNAMICS

    own = {name: given.pop(name) for name in _OBJECTIVE if name in given}
    given["objective"] = pgdyn.Objective(**own)
    if "estimator" in _DYNAMICS[dynamics]:
        given["estimator"] = estimator_options.build(given)
    if "save_every" in _DYNAMICS[dynamics]:
        given.setdefault("save_every", max(1, -(-given["steps"] // (_MOST_SAVES - 1))))
    return DYNAMICS[dynamics](**given)
