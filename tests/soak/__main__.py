"""Spoils, breaks and overloads pgdyn for a while and tells what survived: `make soak`.

    python -m tests.soak [--seconds SECONDS] [--seed SEED] [--share SHARE] [--only PART ...]

Exit code 1 where something did not survive.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable

os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of the libraries of the processes that are started

from . import PARTS, load
from .tally import Effort, Tally


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=1200.0, help="for all parts together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the whole counts")
    parser.add_argument("--only", nargs="+", choices=[*PARTS], default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    options = parser.parse_args()
    from pgdyn import compilation_cache

    compilation_cache.enable()
    tally, begun = Tally(), time.monotonic()
    names = list(dict.fromkeys(options.only))
    for i, name in enumerate(names):
        part: Callable[[Effort, Tally], None] = load(name)
        left = options.seconds - (time.monotonic() - begun)
        # What a part leaves of its time serves those after it.
        effort = Effort(options.seed, options.share, max(left, 0.0) / (len(names) - i))
        part(effort, tally)
        print(f"{name}: {time.monotonic() - effort.begun:.0f} s", file=sys.stderr, flush=True)
    print(tally.table())
    print(f"seed {options.seed}, {time.monotonic() - begun:.0f} s, {len(tally.failures)} failures")
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
