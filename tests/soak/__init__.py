"""A hostile user: faults, broken input, odd calls and numbers, many of each; `make soak` runs it for minutes.

A part is a function in a file beside this one. It takes an `Effort` and a `Tally`, and notes for each thing that it
tried whether pgdyn survived: a result that is right, or one clear sentence. Tests run the parts for seconds.
"""

from __future__ import annotations

import importlib
from typing import Any

PARTS = {  # name on the command line -> module and function
    "problems": ("inputs", "problems"),
    "specs": ("inputs", "specs"),
    "scores": ("inputs", "scores"),
    "commands": ("command_line", "spoiled_files"),
    "arguments": ("command_line", "odd_arguments"),
    "flags": ("command_line", "flags"),
    "huge": ("command_line", "huge_flags"),
    "files": ("odd_files", "odd"),
    "vast": ("odd_files", "vast"),
    "numbers": ("numbers", "flows"),
    "features": ("numbers", "linear"),
    "wrong": ("library", "wrong_arguments"),
    "copies": ("library", "copies"),
    "transformed": ("library", "transformed"),
    "threads": ("library", "threads"),
    "calls": ("library", "many_calls"),
    "processes": ("processes", "others"),
    "signals": ("sweeps", "signals"),
    "damage": ("sweeps", "damage"),
    "disks": ("sweeps", "disks"),
    "others": ("sweeps", "others"),
    "clusters": ("clusters", "clusters"),
}


def load(name: str) -> Any:
    """The function of a part."""
    module, function = PARTS[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), function)
