"""Problem files, specs and tables of scores, spoiled in their structure and in their bytes, read in this process."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

import pgdyn
from pgdyn.io import problem_file
from pgdyn.sweep import load_spec

from . import files, mutation
from .tally import Effort, Tally, complaint, no_longer_than

SECONDS = 10.0  # that reading a small file may take
_CHUNK = 64


class Accepted:
    """Problems that were accepted although they had been spoiled: run in batches, by shape."""

    def __init__(self, tally: Tally) -> None:
        self._tally, self._waiting = tally, {}

    def add(self, problem: pgdyn.Problem, what: str) -> None:
        if problem.transitions is not None or problem.true_reward.shape not in ((1, 3), (2, 3)):
            return
        features = None if problem.features is None else problem.features.shape
        if features is not None and features[-1] > 2:
            return
        waiting = self._waiting.setdefault((problem.true_reward.shape, features), [])
        waiting.append((problem, what))
        if len(waiting) == _CHUNK:
            self._run(waiting)

    def _run(self, waiting: list[tuple[pgdyn.Problem, str]]) -> None:
        ends = pgdyn.flow_many(pgdyn.stack([problem for problem, _ in waiting]), 1.0, target=0.5, max_steps=2000)
        finite = np.isfinite(ends.log_policy).all(axis=(1, 2)) & np.isfinite(ends.true_value)
        for i, (_, what) in enumerate(waiting):
            wrong = "" if finite[i] or ends.result[i] >= pgdyn.Result.step_budget_spent else "not finite, and not said"
            self._tally.note("spoiled problems that were accepted and run", wrong, what)
        waiting.clear()


def problem_is_whole(path: pathlib.Path, again: pathlib.Path) -> pgdyn.Problem:
    """Loads a problem that may be wrong; what is accepted must be finite, and the same when written and read again."""
    problem = pgdyn.load_problem(path)
    problem_file.start_note(path, problem)
    for name in ("true_reward", "proxy_reward", "initial_params", "temperature", "prompt_weights", "features"):
        array = getattr(problem, name)
        assert array is None or np.isfinite(array).all(), f"accepted, but {name} is not finite"
    assert abs(float(problem.prompt_weights.sum()) - 1) < 1e-9, "accepted, but prompt_weights do not sum to 1"
    pgdyn.save_problem(problem, again)
    for name, array in problem_file.problem_arrays(pgdyn.load_problem(again)).items():
        written = problem_file.problem_arrays(problem)[name]
        assert written.tobytes() == array.tobytes(), f"accepted, but {name} is not read back as it was written"
    return problem


def spec_is_whole(path: pathlib.Path) -> None:
    """Loads a spec that may be wrong; what is accepted must describe itself."""
    from pgdyn.sweep import Spec

    spec = load_spec(path)
    if spec.num_points <= 10_000:
        table = spec.to_table()
        assert Spec.from_table(table).fingerprint == spec.fingerprint, "accepted, but not read back from its own table"


def read(tally: Tally, kind: str, path: pathlib.Path, data: bytes, action: Callable[[], Any]) -> Any:
    """Writes a file and reads it: a value or None, with a note of whether that went well."""
    path.write_bytes(data)
    result, wrong = None, ""
    try:
        with no_longer_than(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("error")
            result = action()
    except AssertionError as error:
        wrong = str(error)
    except BaseException as error:
        wrong = complaint(error, str(path)) if isinstance(error, Exception) else f"took longer than {SECONDS:g} s"
    tally.note(kind, wrong, data)
    return result


@contextlib.contextmanager
def folder() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="soak-") as place:
        yield pathlib.Path(place)


def problems(effort: Effort, tally: Tally) -> None:
    """Problem files."""
    accepted = Accepted(tally)
    with folder() as place:

        def load(suffix: str, kind: str, data: bytes) -> None:
            path = place / f"p.{suffix}"
            made = read(tally, kind, path, data, lambda: problem_is_whole(path, place / "again.json"))
            if made is not None:
                accepted.add(made, str(data))

        spoil(effort, "problem", files.PROBLEMS, (15_000, 30_000), load)


def spoil(
    effort: Effort,
    name: str,
    tables: Sequence[Any],
    counts: tuple[int, int],
    load: Callable[[str, str, bytes], None],
) -> None:
    """Tables whose structure is spoiled, and others whose bytes are, given to `load` with suffix and kind."""
    kind = {"problem": "problem files", "spec": "specs"}[name]

    def structured(table: Any) -> None:
        load("json", f"{kind}, spoiled structure", files.as_json(table))
        if (text := files.as_toml(table)) is not None:
            load("toml", f"{kind}, spoiled structure", text)

    mutation.each(
        mutation.spoiled(tables), effort.count(counts[0]), effort.seed, lambda t: effort.spent or structured(t)
    )
    rng = effort.random(f"{name} bytes")
    for _ in range(effort.count(counts[1])):
        if effort.spent:
            break
        table, suffix = rng.choice(tables), rng.choice(("json", "toml"))
        data = files.as_json(table) if suffix == "json" else files.as_toml(table)
        load(suffix, f"{kind}, spoiled bytes", mutation.spoil_bytes(data or b"", rng))


def specs(effort: Effort, tally: Tally) -> None:
    """Specs of sweeps."""
    with folder() as place:
        (place / "p.toml").write_bytes(files.as_toml(files.PROBLEMS[0]) or b"")

        def load(suffix: str, kind: str, data: bytes) -> None:
            path = place / f"s.{suffix}"
            read(tally, kind, path, data, lambda: spec_is_whole(path))

        spoil(effort, "spec", files.SPECS, (10_000, 15_000), load)


def scores(effort: Effort, tally: Tally) -> None:
    """Tables of scores."""
    bases = [table for _, table in files.SCORES]
    with folder() as place:

        def load(suffix: str, kind: str, data: bytes, skip_bad: bool) -> None:
            path = place / f"t.{suffix}"
            options = {"resamples": 2, "worst": 2, "skip_bad": skip_bad}
            read(tally, kind, path, data, lambda: pgdyn.evaluate(path, **options).to_dict())

        def structured(table: Any) -> None:
            load("json", "tables of scores, spoiled structure", files.as_json(table), False)
            load("json", "tables of scores, spoiled structure", files.as_json(table), True)

        mutation.each(mutation.spoiled(bases), effort.count(7500), effort.seed, lambda t: effort.spent or structured(t))
        rng = effort.random("score bytes")
        for _ in range(effort.count(15_000)):
            if effort.spent:
                break
            table, form = rng.choice(bases), rng.choice(("json", "jsonl", "csv"))
            if form == "jsonl":
                rows = zip(*table.values(), strict=True)
                data = b"\n".join(files.as_json(dict(zip(table, row, strict=True))) for row in rows)
            else:
                data = files.as_csv(table) if form == "csv" else files.as_json(table)
            load(form, "tables of scores, spoiled bytes", mutation.spoil_bytes(data, rng), rng.random() < 0.5)
