"""pgdyn in other processes: what it changes in its own, forked and spawned, with 64-bit numbers off, in threads."""

from __future__ import annotations

import os
import subprocess
import sys

from .tally import Effort, Tally

PATIENCE = 120.0

# Everything of a process that a library might change behind its user's back, before and after.
STATE = """
import decimal, gc, json, locale, logging, os, random, signal, sys, threading, warnings

def state():
    found = {
        "environment": dict(os.environ), "folder": os.getcwd(), "path": list(sys.path), "umask": os.umask(0o22),
        "warnings": [str(entry) for entry in warnings.filters], "hooks": [str(sys.excepthook), str(sys.unraisablehook)],
        "signals": [str(signal.getsignal(number)) for number in signal.valid_signals()],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "garbage": [*gc.get_threshold(), gc.isenabled()], "recursion": sys.getrecursionlimit(),
        "digits": sys.get_int_max_str_digits(), "locale": locale.setlocale(locale.LC_ALL),
        "logging": [logging.root.level, len(logging.root.handlers)], "random": hash(random.getstate()),
        "decimal": str(decimal.getcontext()), "switch": sys.getswitchinterval(), "trace": str(sys.gettrace()),
    }
    if "numpy" in sys.modules:
        import numpy
        found["numpy"] = [numpy.geterr(), hash(numpy.random.get_state()[1].tobytes()), str(numpy.get_printoptions())]
    if "jax" in sys.modules:
        import jax
        found["jax"] = {name: str(value) for name, value in jax.config.values.items()}
    return json.loads(json.dumps(found))

JAX = ("environment.TF_CPP_MIN_LOG_LEVEL", "environment.TPU_SKIP_MDS_QUERY", "warnings")  # what importing it changes

def differences(before, after):
    found = []
    for key, old in before.items():
        new = after[key]
        if isinstance(old, dict):
            found += [f"{key}.{name}" for name in {*old, *new} if old.get(name) != new.get(name)]
        elif old != new:
            found.append(key)
    return sorted(found)

"""
USE = """
import numpy as np
problem = pgdyn.Problem.tabular([0.1, 0.6, 0.3], [1.0, 0.8, -1.0])
run = pgdyn.flow(problem, 2.0, target=0.5, saves=4)
many = pgdyn.flow_many(problem.with_proxy(np.ones((40, 1, 3)) * [1.0, 0.0, 0.5]), 2.0)
ascent = pgdyn.ascend(problem, 5)
run.to_dataset()
"""
SCRIPTS = {  # kind -> (a script that prints its last word, the word, more environment)
    "importing pgdyn after JAX changes 64-bit numbers alone": (
        STATE + "import numpy, jax; before = state(); import pgdyn; print(*differences(before, state()))",
        "jax.jax_enable_x64", {},
    ),
    "importing pgdyn before JAX changes one variable for a while": (
        STATE + "before = state(); import pgdyn; during = differences(before, state()); pgdyn.Problem\n"
        "own = [name for name in differences(before, state()) if name not in JAX]; print(*during, '->', *own)",
        "environment.JAX_ENABLE_X64 ->", {},
    ),
    "importing pgdyn with 64-bit numbers left alone changes nothing": (
        STATE + "import numpy, jax; before = state(); import pgdyn; pgdyn.Problem\n"
        "print('changed:', *differences(before, state()))",
        "changed:", {"PGDYN_X64": "0"},
    ),
    "runs change nothing more": (
        STATE + "import numpy, jax, xarray, diffrax, optax, scipy.special, scipy.sparse, pgdyn\n"
        "pgdyn.Problem; before = state()" + USE + "print('changed:', *differences(before, state()))",
        "changed:", {},
    ),
    "drawing changes nothing more": (
        STATE + "import numpy, jax, xarray, diffrax, optax, matplotlib, pgdyn\n" + USE + "run.plot()\n"
        "before = state(); styles = dict(matplotlib.rcParams); run.plot()\n"
        "print('changed:', *differences(before, state()), *(styles != dict(matplotlib.rcParams)) * ['style'])",
        "changed:", {},
    ),
    "an explicit JAX_ENABLE_X64=0 comes back for processes that are started": (
        "import os, pgdyn; pgdyn.Problem; import jax; print(os.environ['JAX_ENABLE_X64'], jax.config.jax_enable_x64)",
        "0 True", {"JAX_ENABLE_X64": "0"},
    ),
    "a spawned process has the same numbers": (
        "import multiprocessing, pgdyn\n"
        "def work(seed):\n    problem = pgdyn.Problem.tabular([0.2, 0.8], [1.0, 0.0])\n"
        "    return float(pgdyn.ascend(problem, 5 + seed).true_value[-1])\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(2) as pool:\n"
        "        print('same:', pool.map(work, range(3)) == list(map(work, range(3))))\n",
        "same: True", {},
    ),
    "a process forked before anything ran has the same numbers": (
        "import os, pgdyn\nread, write = os.pipe()\n"
        "problem = lambda: pgdyn.Problem.tabular([0.2, 0.8], [1.0, 0.0])\n"
        "work = lambda: float(pgdyn.flow_many(problem(), 2.0).true_value[0])\n"
        "if os.fork() == 0:\n    os.write(write, repr(work()).encode()); os._exit(0)\n"
        "os.wait(); print('same:', float(os.read(read, 100)) == work())",
        "same: True", {},
    ),
    "64-bit numbers off before import: ascents run": (
        "import pgdyn; print(pgdyn.ascend(pgdyn.Problem.tabular([0.2, 0.8], [1.0, 0.0]), 5).true_value.dtype)",
        "float32", {"PGDYN_X64": "0"},
    ),
    "64-bit numbers off after import: flows say so": (
        "import jax, pgdyn; problem = pgdyn.Problem.tabular([0.2, 0.8], [1.0, 0.0])\n"
        "jax.config.update('jax_enable_x64', False)\n"
        "try:\n    pgdyn.flow(problem, 1.0)\nexcept ValueError as error:\n    print('switched off' in str(error))",
        "True", {},
    ),
}  # fmt: skip


def others(effort: Effort, tally: Tally) -> None:
    """Every script in a process of its own."""
    for kind, (script, word, more) in SCRIPTS.items():
        tally.note("processes and their state", wrong(script, word, more), kind)


def wrong(script: str, word: str, more: dict[str, str]) -> str:
    """What is wrong with the last word of a script; scripts that are started anew come from a file."""
    import tempfile

    unset = ("JAX_ENABLE_X64", "PGDYN_X64", "PYTHONWARNINGS")
    environment = {key: value for key, value in os.environ.items() if key not in unset} | more
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(script)
        file.flush()
        try:
            done = subprocess.run(
                [sys.executable, file.name], env=environment, capture_output=True, text=True,
                timeout=PATIENCE, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return f"it hangs for {PATIENCE:g} s"
    last = done.stdout.strip().splitlines()[-1:] or [""]
    return "" if last[0] == word else f"{last[0]!r}, not {word!r}: {done.stderr[-300:]}"
