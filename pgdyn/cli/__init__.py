"""The program `pgdyn`: one subcommand a file of this package, named like its function.

What the user got wrong is a ValueError or an OSError: one sentence on standard error, `error: ...`, and exit code 2. A
result that is not what was asked for (a run that broke off, a check that failed, files that could not be written) is a
`click.ClickException` and exit code 1; Ctrl-C is 130. Whatever takes long to import is imported inside the commands, so
that help and refusals come at once.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from importlib.machinery import ExtensionFileLoader
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import click

# The one place where subcommands are registered: each is the `click.Command` of its own name in pgdyn/cli/<name>.py.
COMMANDS = ("simulate", "categorize", "sweep", "verify", "evaluate")

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the program on a command line without the program's name, or on that of the process: its exit code.

    Example:
        >>> main(["--version"])
        pgdyn 0.1.0
        0
    """
    try:
        with _interrupts() as pressed:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except BrokenPipeError:
        # The reader of a pipe has gone, which is its right; Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except BaseException as error:
        # What is interrupted while it is imported may raise another error than the interruption.
        if pressed or isinstance(error, KeyboardInterrupt):
            return fail("interrupted; what was being written has been removed", INTERRUPTED)
        if isinstance(error, OSError):
            place = f"{error.filename}: " if error.filename else ""
            return fail(place + (error.strerror or str(error)))
        if isinstance(error, ValueError | OverflowError):
            return fail(str(error))
        # JAX has an exception of its own for memory; to name it here would be to import JAX for every refusal.
        spent = type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error)
        if spent or isinstance(error, MemoryError):
            return fail("the run does not fit into memory; save fewer points or run a smaller problem")
        raise


def run() -> NoReturn:
    """Runs the program as a process of its own."""
    # Imports and tracing make a great many objects that stay. Python would go through them all again and again, to find
    # those that refer to one another in circles, which takes a sixth of a short run.
    gc.set_threshold(200_000)
    for stream in (sys.stdout, sys.stderr):  # a terminal that does not know a character of a name shows its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = main()
    if code == INTERRUPTED:
        # A compiled computation may still be running on a thread, and would crash when the interpreter is taken down.
        sys.stdout.flush()
        os._exit(code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done and told; an interruption now would say that it is not
    sys.exit(code)


class _Interrupt(KeyboardInterrupt):
    """Ctrl-C. Python ends a process by the signal where a plain KeyboardInterrupt has passed through `exec`."""


@contextlib.contextmanager
def _interrupts() -> Iterator[list[bool]]:
    """Ctrl-C as an exception that is not lost; gives a list that is not empty once it was pressed."""
    pressed: list[bool] = []

    def later() -> None:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    def press(_: int, frame: FrameType | None) -> None:
        pressed.append(True)
        if any(isinstance(outer.f_locals.get("self"), ExtensionFileLoader) for outer, _ in traceback.walk_stack(frame)):
            return later()  # the initialisation of a C extension would print it
        raise _Interrupt

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if not isinstance(lost.exc_value, _Interrupt):
            return hook(lost)
        return later()  # raised within a callback or a destructor, it would only be printed

    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return
    handler, hook = signal.signal(signal.SIGINT, press), sys.unraisablehook
    sys.unraisablehook = unraisable
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, handler)
        sys.unraisablehook = hook


def fail(sentence: str, code: int = 2) -> int:
    r"""Prints `error: ` and the sentence, on one line of standard error, and gives the exit code back.

    Example:
        >>> import contextlib, sys
        >>> with contextlib.redirect_stderr(sys.stdout):
        ...     fail("t1 is -1;\n it must be positive")
        error: t1 is -1; it must be positive
        2
    """
    print("error: " + " ".join(sentence.split()), file=sys.stderr)
    return code


def _run(arguments: list[str]) -> int:
    import click

    from pgdyn.version import __version__

    commands = {name: getattr(importlib.import_module(f"{__name__}.{name}"), name) for name in COMMANDS}
    no_cache = "Keep no compiled programs for later runs and use none; PGDYN_COMPILATION_CACHE=0 does the same."
    program = click.Group(
        "pgdyn",
        commands=commands,
        params=[click.Option(["--no-cache"], is_flag=True, help=no_cache)],
        help="How a softmax policy moves under policy gradient when its reward is not quite the one that matters.",
        no_args_is_help=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True},
    )
    click.version_option(__version__, message="pgdyn %(version)s")(program)
    if not arguments:
        return fail(f"no command given; the commands are {', '.join(COMMANDS)}")
    try:
        with program.make_context("pgdyn", arguments) as context:
            program.invoke(context)
        return 0
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        return fail(_sentence(error), error.exit_code)


def _sentence(error: click.ClickException) -> str:
    """What a command says, or the parser's refusal from the fields of its exception."""
    from click import Parameter, exceptions

    context = getattr(error, "ctx", None)
    hint = f"{context.command_path if context else 'pgdyn'} --help shows what there is"
    match error:
        case exceptions.NoSuchOption():
            kind, name = "option", error.option_name
        case exceptions.NoSuchCommand():
            kind, name, hint = "command", error.command_name, f"the commands are {', '.join(COMMANDS)}"
        case exceptions.MissingParameter(param=Parameter() as param):
            return f"{param.human_readable_name} is missing; {hint}"
        case exceptions.BadParameter(param=Parameter() as param):
            name = max(param.opts, key=len) if param.param_type_name == "option" else param.human_readable_name
            return f"{name} {error.message}"
        case _:
            return error.format_message().rstrip(".")
    near = error.possibilities
    return f"there is no {kind} {name!r:.80}; " + (f"did you mean {near[0]}?" if near else hint)
