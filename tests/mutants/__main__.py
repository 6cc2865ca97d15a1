"""Alters one line at a time in a copy of the project, and runs the tests that must notice it: `make mutants`.

    python -m tests.mutants [WORD ...] [--jobs COUNT]

Words choose alterations whose file or text holds one of them. The tests of every alteration are run without it first.
Exit code 1 where an alteration is not noticed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib
import os
import pathlib
import pkgutil
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

from . import Mutant

ROOT = pathlib.Path(__file__).parents[2]
PASSED, FAILED = 0, 1  # exit codes of pytest


def all_mutants() -> list[Mutant]:
    """The alterations of every file beside this one."""
    modules = [name for _, name, _ in pkgutil.iter_modules([str(pathlib.Path(__file__).parent)]) if name != "__main__"]
    return [mutant for name in modules for mutant in importlib.import_module(f"{__package__}.{name}").MUTANTS]


def copy_to(folder: pathlib.Path) -> None:
    """Copies the files that git knows, or would."""
    line = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def passes(folder: pathlib.Path, tests: Sequence[str]) -> bool:
    """Whether tests pass in a copy.

    Raises:
        RuntimeError: if pytest could not run them.
    """
    line = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PGDYN_COMPILATION_CACHE": str(folder.parent / "cache")}
    done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (PASSED, FAILED):
        # An altered line may break an import: nobody can overlook that.
        if "ImportError" in done.stdout or "error" in done.stdout.lower():
            return False
        raise RuntimeError(f"pytest {' '.join(tests)}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.returncode == PASSED


def is_noticed(folder: pathlib.Path, mutant: Mutant) -> bool:
    """Whether the mutant's tests fail with it."""
    place = folder / mutant.path
    text = place.read_text()
    if text.count(mutant.old) != 1:
        raise RuntimeError(f"{mutant.path} holds {mutant.old!r} {text.count(mutant.old)} times, not once")
    place.write_text(text.replace(mutant.old, mutant.new))
    try:
        return not passes(folder, mutant.tests)
    finally:
        place.write_text(text)


def judge(mutants: Sequence[Mutant], jobs: int) -> Iterator[tuple[Mutant, str]]:
    """Each alteration with "noticed", "SURVIVED", or what is wrong with it."""
    with tempfile.TemporaryDirectory() as place:
        copies: queue.SimpleQueue[pathlib.Path] = queue.SimpleQueue()
        for number in range(jobs):
            folder = pathlib.Path(place) / str(number)
            copy_to(folder)
            copies.put(folder)

        def with_copy(tests: tuple[str, ...], mutant: Mutant | None) -> str:
            folder = copies.get()
            try:
                if mutant is None:
                    return "" if passes(folder, tests) else "its tests fail without it"
                return "noticed" if is_noticed(folder, mutant) else "SURVIVED"
            except RuntimeError as error:
                return str(error)
            finally:
                copies.put(folder)

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            plain = {tests: pool.submit(with_copy, tests, None) for tests in dict.fromkeys(m.tests for m in mutants)}
            altered = {pool.submit(with_copy, m.tests, m): m for m in mutants}
            for future in concurrent.futures.as_completed(altered):
                mutant = altered[future]
                yield mutant, plain[mutant.tests].result() or future.result()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="COUNT")
    options = parser.parse_args()
    chosen = [m for m in all_mutants() if not options.words or any(w in m.path + m.old for w in options.words)]
    started, wrong = time.monotonic(), []
    for count, (mutant, verdict) in enumerate(judge(chosen, max(1, options.jobs)), 1):
        if verdict != "noticed":
            wrong.append((mutant, verdict))
        print(f"{count}/{len(chosen)}  {verdict}  {mutant.path}: {mutant.old!r} -> {mutant.new!r}", flush=True)
    print(f"{len(chosen) - len(wrong)} of {len(chosen)} alterations noticed, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
