"""The program `pgdyn`: one subcommand a file of this package, named like its function.

What the user got wrong is one sentence on standard error, `error: ...`, and exit code 2; a result that is not what was
asked for (a run that broke off, a check that failed) is exit code 1; Ctrl-C is 130.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

from pgdyn.version import __version__

# The one place where subcommands are registered: each is the function of its own name in pgdyn/cli/<name>.py. Its
# arguments become options, its docstring the help, and the int that it returns the exit code.
COMMANDS = (
    "simulate",
    "categorize",
    "sweep",
    "verify",
)

_DESCRIPTION = (
    "How a softmax policy moves under policy gradient when its reward is not quite the one that matters.\n\n"
    "pgdyn COMMAND --help explains a command; pgdyn --version prints the version."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program.

    Args:
        arguments: the command line without the program's name; None for that of the process.

    Returns:
        The exit code.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(f"pgdyn {__version__}")
        return 0
    try:
        command = _parse(arguments)
        return command() if callable(command) else command
    except KeyboardInterrupt:
        return _fail("interrupted; what was being written has been removed", 130)
    except BrokenPipeError:
        # The reader of a pipe has gone, which is its right; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(place + error.strerror if error.strerror else str(error), 2)
    except ValueError as error:
        return _fail(str(error), 2)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return _fail("the run does not fit into memory; save fewer points or run a smaller problem", 2)
        raise


def _fail(sentence: str, code: int) -> int:
    print("error: " + " ".join(sentence.split()), file=sys.stderr)
    return code


def _parse(arguments: list[str]) -> Callable[[], int] | int:
    """The command ready to run; an exit code where help was asked for or the parser has refused."""
    import tyro

    # The parser only binds the arguments: a command run by it would have its own output taken for the parser's.
    commands = {name: _bound(getattr(importlib.import_module(f"{__name__}.{name}"), name)) for name in COMMANDS}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                commands,
                prog="pgdyn",
                description=_DESCRIPTION,
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stop:
        if not stop.code:
            return 0
        return _fail(_sentence(complaint.getvalue()), 2)


def _bound(command: Callable[..., int]) -> Callable[..., Callable[[], int]]:
    @functools.wraps(command)
    def bind(*arguments: Any, **options: Any) -> Callable[[], int]:
        return functools.partial(command, *arguments, **options)

    return bind


def _sentence(complaint: str) -> str:
    """The parser's complaint as one sentence: without the box around it and the excerpts of the help below it."""
    lines = [line.strip("│╭╮╰╯\n") for line in re.sub(r"\x1b\[[0-9;]*m", "", complaint).splitlines()]
    title, rows = (lines[0].strip("─ "), lines[1:]) if lines else ("", [])
    sections: list[list[str]] = [[]]
    for row in rows:
        if row.strip() and not row.strip("─- "):
            sections.append([])
        elif row.strip():
            sections[-1].append(row)
    # Where the terminal has no box-drawing characters the title stands above a rule instead of in the frame.
    first, *others = [section for section in sections if section] or [[]]
    if title == "Required options":
        # Each name is followed by its help, further to the right.
        inset = [len(row) - len(row.lstrip()) for row in first]
        first = [row for row, depth in zip(first, inset, strict=True) if depth <= min(inset[1:], default=0)]
    sentence = " ".join(" ".join(first).split())
    if title == "Missing subcommand":
        sentence = f"no command given: {sentence}"
    if conversion := re.match(r"Error parsing (\S+): .*- <class '\w+'>: (.*)", sentence):
        sentence = f"{conversion[1]}: {conversion[2]}"
    for section in others:
        if section[0].strip().startswith("Perhaps you meant") and len(section) > 1:
            sentence += f"; did you mean {section[1].split()[0]}?"
        elif section[0].strip().startswith("Available subcommands"):
            sentence += "; " + " ".join(" ".join(section).split())
    return sentence or "the command line was not understood"
