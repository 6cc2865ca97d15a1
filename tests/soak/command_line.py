"""The command line under a hostile user: spoiled files, every numeric flag at the ends of the numbers, Ctrl-C."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

import click

from pgdyn import cli
from pgdyn.cli import options

from . import files, mutation
from .inputs import folder
from .tally import FOREIGN, Effort, Hung, Tally, no_longer_than

ENDS = ("nan", "inf", "-inf", "-1", "0", "1e400")
HUGE = "1e12"
PATIENCE = 60.0
INTERRUPTED = 130
# What asks for all memory is not to take it from others.
_LIMITED = (
    "import resource; resource.setrlimit(resource.RLIMIT_DATA, (8 << 30, 8 << 30)); import pgdyn.cli as cli; cli.run()"
)
PROGRAM = (sys.executable, "-c", _LIMITED)


def judged(code: int, out: str, err: str, left: Sequence[pathlib.Path] = ()) -> str:
    """What is wrong with how a command ended; empty where it ended well."""
    lines = err.splitlines()
    if "Traceback" in err or "Traceback" in out:
        return f"a traceback: {err[-300:]}"
    if code not in (0, 1, 2):
        return f"exit code {code}: {err[-300:]}"
    if code == 0:
        return ""
    if not lines or not lines[-1].startswith("error: ") or len(lines[-1]) < 20:
        return f"exit code {code} without a sentence: {err[-300:]!r}"
    if found := FOREIGN.search(lines[-1]):
        return f"speaks of {found[0]!r}: {lines[-1]}"
    if len(lines[-1]) > 1200:
        return f"a sentence of {len(lines[-1])} characters"
    if code == 2 and out.strip():
        return f"exit code 2 after a result: {out[:200]!r}"
    if code == 2 and sum(line.startswith("error: ") for line in lines) != 1:
        return f"more than one sentence: {err[-300:]!r}"
    if left:
        return f"half written: {left[0]}"
    return ""


def here(arguments: Sequence[object]) -> tuple[int, str, str]:
    """Runs the program in this process: exit code, output and errors."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.main([str(argument) for argument in arguments])
    return code, out.getvalue(), err.getvalue()


def try_here(tally: Tally, kind: str, arguments: Sequence[object], place: pathlib.Path | None = None) -> str:
    """Notes how a command ends in this process: what it said on standard error."""
    err, wrong = "", ""
    try:
        with no_longer_than(PATIENCE):
            code, out, err = here(arguments)
        wrong = judged(code, out, err, half_written(place) if place else ())
    except Hung:
        wrong = f"took longer than {PATIENCE:g} s"
    except BaseException as error:
        wrong = f"a traceback: {type(error).__name__}: {error}"
    tally.note(kind, wrong, " ".join(map(str, arguments)))
    return err


def half_written(place: pathlib.Path) -> list[pathlib.Path]:
    """What an interrupted write would leave."""
    return [path for path in place.rglob(".*") if ".partial-" in path.name or ".replaced-" in path.name]


def spoiled_files(effort: Effort, tally: Tally) -> None:
    """Commands on spoiled files: most in this process, some as processes of their own."""
    rng = effort.random("command line")
    with folder() as place:
        for i in range(effort.count(1000, least=4)):
            if effort.spent:
                break
            spec = rng.random() < 0.4
            table, suffix = rng.choice(files.SPECS if spec else files.PROBLEMS[:4]), rng.choice(("json", "toml"))
            data = mutation.spoil_bytes((files.as_json if suffix == "json" else files.as_toml)(table) or b"", rng)
            path, out = place / f"f{i}.{suffix}", place / f"out{i}"
            path.write_bytes(data)
            if spec:
                arguments: list[object] = ["sweep", path, "--out", out]
            elif rng.random() < 0.2:
                arguments = ["categorize", path, "single-output", "--t1", "5", "--out", out]
            else:
                arguments = ["simulate", path, "--t1", "5", "--saves", "4"]
            if i % 25:
                try_here(tally, "commands on spoiled files, in this process", arguments, place)
            else:
                done = subprocess.run(
                    [sys.executable, "-m", "pgdyn.cli", *map(str, arguments)],
                    capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False,
                )  # fmt: skip
                wrong = judged(done.returncode, done.stdout, done.stderr, half_written(place))
                tally.note("commands on spoiled files, as processes", wrong, data)
            path.unlink()


def numeric_flags(command: str) -> Iterator[str]:
    """The options of a command that take numbers."""
    found: click.Command = getattr(importlib.import_module(f"pgdyn.cli.{command}"), command)
    for parameter in found.params:
        if isinstance(parameter.type, options.Value) and parameter.type.kind in (int, float):
            yield max(parameter.opts, key=len)


def base_arguments(command: str, place: pathlib.Path) -> list[str]:
    """A quick run of each command."""
    return {
        "simulate": ["simulate", str(place / "p.toml"), "--t1", "5", "--saves", "4"],
        "categorize": ["categorize", str(place / "p.toml"), "swap", "--t1", "5", "--target", "0.5"],
        "sweep": ["sweep", str(place / "s.json"), "--out", str(place / "store")],
        "verify": ["verify", "kl_stall", "--problems", "4"],
        "evaluate": ["evaluate", str(place / "t.csv"), "--json", "--resamples", "5", "--forecast"],
    }[command]


def prepared(place: pathlib.Path) -> None:
    """The files of `base_arguments`."""
    (place / "p.toml").write_bytes(files.as_toml(files.PROBLEMS[0]) or b"")
    (place / "s.json").write_bytes(files.as_json(files.SPECS[0]))
    (place / "t.csv").write_bytes(files.as_csv(files.SCORES[1][1]))


def with_flag(base: list[str], flag: str, value: str) -> list[str]:
    """A command with an option in place of what it has under that name."""
    if flag in base:
        at = base.index(flag)
        base = base[:at] + base[at + 2 :]
    return [*base, flag, value]


def fitting(base: list[str], flag: str) -> list[str]:
    """The command with what an option goes with, as its refusals say."""
    ascents = {"ascend": ["--steps", "5"], "ascend_sampled": ["--steps", "5", "--seed", "0"]}
    base = list(base)
    for _ in range(4):
        said = here([*with_flag(base, flag, "nan")])[2]
        found = re.search(r"goes with (--[\w-]+) (\w+)", said)
        if not found or found[1] in base:
            break
        base += [found[1], found[2]]
        if found[2] in ascents:
            base = [*base[:2], *base[6:], *ascents[found[2]]]
            if flag in base:
                base = with_flag(base, flag, "5")
    return base


def flags(effort: Effort, tally: Tally) -> None:
    """Every numeric option of every command at the ends of the numbers."""
    rng = effort.random("flags")
    with folder() as place:
        prepared(place)
        every = [(command, flag) for command in cli.COMMANDS for flag in numeric_flags(command)]
        for command, flag in rng.sample(every, effort.count(len(every))):
            base = fitting(base_arguments(command, place), flag)
            for value in ENDS:
                try_here(tally, "numeric options at nan, inf, -1, 0, 1e400", with_flag(base, flag, value))


def huge_flags(effort: Effort, tally: Tally) -> None:
    """Every numeric option at 1e12, as a process: it ends by itself within seconds, or on Ctrl-C within a few more."""
    rng = effort.random("huge")
    with folder() as place:
        prepared(place)
        every = [(command, flag) for command in cli.COMMANDS for flag in numeric_flags(command)]
        for command, flag in rng.sample(every, effort.count(len(every), least=0)):
            if effort.spent:
                break
            line = with_flag(fitting(base_arguments(command, place), flag), flag, HUGE)
            tally.note("numeric options at 1e12", ended(line, wait=8.0), " ".join(line))


def ended(arguments: Sequence[str], wait: float, answer: float = 10.0) -> str:
    """What is wrong with how a process ends, by itself or on Ctrl-C after so many seconds."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([*PROGRAM, *arguments], text=True, errors="replace", **pipes)
    try:
        try:
            out, err = process.communicate(timeout=wait)
            return judged(process.returncode, out, err)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=answer)
        except subprocess.TimeoutExpired:
            return f"does not answer Ctrl-C for {answer:g} s"
        if process.returncode == INTERRUPTED and "Traceback" not in err and err.splitlines()[-1].startswith("error: "):
            return ""
        return f"exit code {process.returncode} on Ctrl-C: {err[-300:]!r}"
    finally:
        process.kill()
        process.communicate()


ODD_ARGUMENTS = (
    [], ["--"], ["-"], [""], ["\x00"], ["simulate"], ["simulate", ""], ["simulate", "a\x00b.toml", "--t1", "1"],
    ["sweep", "", "--out", ""], ["sweep", "--status", ""], ["sweep", "--status", "/dev/null"], ["evaluate", ""],
    ["simulat", "x"], ["verify", "x" * 5000], ["verify", "\ud800"], ["simulate", "x" * 900 + ".toml", "--t1", "1"],
    ["simulate", "x.toml", "--t1"], ["simulate", "x.toml", "--t1", "1", "--t1", "2"], ["simulate", "x.toml", "--t1=1_"],
    ["evaluate", "/dev/null"], ["evaluate", "--column", "=", "x"], ["evaluate", "--column", "prompt=", "x"],
    ["simulate", "/proc/self/mem.toml", "--t1", "1"], ["simulate", "~.toml", "--t1", "1"], ["--version", "x"],
    ["simulate", "x.toml", "--t1", "1", "--out", ""], ["categorize", "x.toml", "--errors", ""],
    ["sweep", "x", "--out", "/"],
    ["sweep", "x.toml", "--out", "/dev/null"], ["sweep", "x.toml", "--out", "/proc/x"], ["simulate", "\udcff.toml"],
)  # fmt: skip


def odd_arguments(effort: Effort, tally: Tally) -> None:
    """Arguments that no shell would complete."""
    for arguments in ODD_ARGUMENTS:
        if any("\x00" in argument for argument in arguments):
            try_here(tally, "odd arguments", arguments)
            continue
        try_here(tally, "odd arguments", arguments)
    with folder() as place:
        prepared(place)
        name = json.dumps({**files.SPECS[0], "name": "\ud800 \x1b[31m [red]", "description": "\ud800"})
        (place / "s.json").write_text(name)
        store = place / "store"
        for line in (["sweep", place / "s.json", "--out", store], ["sweep", "--status", store]):
            try_here(tally, "odd arguments", line)
            done = subprocess.run(
                [sys.executable, "-m", "pgdyn.cli", *map(str, line)], capture_output=True, check=False,
                env=os.environ | {"PYTHONIOENCODING": "utf-8", "LC_ALL": "C.UTF-8"},
            )  # fmt: skip
            wrong = judged(done.returncode, done.stdout.decode(), done.stderr.decode())
            tally.note("odd arguments", wrong or ("" if done.returncode == 0 else done.stderr.decode()), line)
