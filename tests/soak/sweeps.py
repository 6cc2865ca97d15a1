"""Sweeps under a hostile user: killed, starved of disk, damaged, changed. The oracle is a store that nothing disturbed.

Every sweep is a process of its own, as `pgdyn sweep` runs it; afterwards the same command must end with the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from .inputs import folder
from .tally import Effort, Tally

PATIENCE = 120.0
INTERRUPTED = 130
# 12 shards of some hundredths of a second.
SPEC = """
observables = ["true_value", "hitting_time", "log_policy"]
shard_size = 20
problem = {true_reward = [1.0, 0.8, -1.0], initial_policy = [0.1, 0.6, 0.3]}
axes = [
  {field = "initial_policy[0]", name = "p0", kind = "log", start = 1e-3, stop = 0.3, count = 24},
  {field = "proxy_reward[1]", kind = "linear", start = -1.0, stop = 1.0, count = 10},
]
dynamics = {kind = "ascend", steps = 5000, target = 0.9}
"""
SHARDS = 12


def contents(store: pathlib.Path) -> dict[str, str]:
    """Every file of a store by its path, hidden ones included, as a digest of its bytes; the git revision left out."""
    found = {}
    for entry in sorted(store.rglob("*")):
        if entry.is_dir() and not entry.is_symlink():
            continue
        data = entry.read_bytes()
        if entry == store / "zarr.json":
            root = json.loads(data)["attributes"]["pgdyn_sweep"]
            root["made_by"].pop("git_revision", None)
            data = json.dumps(root).encode()
        found[entry.relative_to(store).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


def shards(store: pathlib.Path) -> list[pathlib.Path]:
    """The shards that carry their final names."""
    return sorted(entry for entry in (store / "shards").glob("[0-9]*") if entry.is_dir())


@dataclasses.dataclass
class Bench:
    """A spec, what its sweep leaves undisturbed, and how long that took."""

    place: pathlib.Path
    spec: pathlib.Path
    whole: dict[str, str]
    seconds: float
    rng: random.Random
    made: int = 0

    def store(self) -> pathlib.Path:
        self.made += 1
        return self.place / f"store{self.made}"

    def copy(self) -> pathlib.Path:
        """A whole store, to be damaged."""
        store = self.store()
        shutil.copytree(self.place / "whole", store)
        return store

    def line(self, store: pathlib.Path, *more: object) -> list[str]:
        return [sys.executable, "-m", "pgdyn.cli", "sweep", str(self.spec), "--out", str(store), *map(str, more)]

    def run(self, store: pathlib.Path, *more: object, **options: Any) -> subprocess.CompletedProcess[str]:
        options = {"capture_output": True, "text": True, "timeout": PATIENCE, "check": False} | options
        return subprocess.run(self.line(store, *more), **options)

    def resumed(self, store: pathlib.Path) -> str:
        """What is wrong with a store after the same command was given again."""
        done = self.run(store)
        if done.returncode != 0 or "Traceback" in done.stderr:
            return f"resumed: exit code {done.returncode}: {done.stderr[-300:]}"
        return self.differs(store)

    def differs(self, store: pathlib.Path) -> str:
        found = contents(store)
        if found == self.whole:
            return ""
        odd = sorted(name for name in {*found, *self.whole} if found.get(name) != self.whole.get(name))
        return f"the store differs in {len(odd)} files, {odd[0]} first"


@contextlib.contextmanager
def bench(effort: Effort) -> Iterator[Bench]:
    """A folder with an undisturbed store; its programs are kept, so that later sweeps compile nothing."""
    with folder() as place:
        spec, store = place / "spec.toml", place / "whole"
        spec.write_text(SPEC)
        made = Bench(place, spec, {}, 0.0, effort.random("sweeps"))
        for _ in range(2):
            shutil.rmtree(store, ignore_errors=True)
            begun = time.monotonic()
            done = made.run(store)
            made.seconds = time.monotonic() - begun
            assert done.returncode == 0, done.stderr
        made.whole = contents(store)
        yield made


def one_sentence(done: Any, code: int | Sequence[int], words: str = "") -> str:
    """What is wrong with a sweep that had to stop."""
    codes = [code] if isinstance(code, int) else code
    last = done.stderr.splitlines()[-1] if done.stderr.strip() else ""
    if done.returncode not in codes:
        return f"exit code {done.returncode}: {done.stderr[-300:]}"
    if "Traceback" in done.stderr or (done.returncode and not last.startswith("error: ")):
        return f"no sentence: {done.stderr[-300:]}"
    if done.returncode and re.search(words, last) is None:
        return f"another sentence: {last}"
    return ""


def signals(effort: Effort, tally: Tally) -> None:
    """SIGKILL, SIGINT and SIGTERM at random moments, from the start of the process to its end."""
    with bench(effort) as made:
        for _ in range(effort.count(50)):
            for name in ("SIGKILL", "SIGINT", "SIGTERM"):
                if effort.spent:
                    return
                wait = made.rng.uniform(0, made.seconds)
                store = made.store()
                tally.note(
                    f"sweeps ended by {name}", one_signal(made, store, getattr(signal, name), wait), f"{wait:.2f} s"
                )
                shutil.rmtree(store, ignore_errors=True)


def one_signal(made: Bench, store: pathlib.Path, number: signal.Signals, wait: float) -> str:
    """What is wrong after a signal at that moment."""
    process = subprocess.Popen(made.line(store), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=wait)
    process.send_signal(number)
    try:
        _, err = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return f"it does not end on {number.name}"
    early = process.returncode == -number and number is signal.SIGINT and wait < 0.5  # before Python itself is up
    if number is signal.SIGINT and process.returncode not in (0, INTERRUPTED) and not early:
        return f"exit code {process.returncode}: {err[-300:]}"
    if number is signal.SIGTERM and process.returncode not in (0, 143, -signal.SIGTERM):
        return f"exit code {process.returncode}: {err[-300:]}"
    if "Traceback" in err and not early:
        return err[-300:]
    before = shards(store) if store.exists() else []
    marks = {path: (path / "zarr.json").stat().st_ino for path in before}
    wrong = made.resumed(store)
    if not wrong and any((path / "zarr.json").stat().st_ino != mark for path, mark in marks.items()):
        return "shards that were whole have been made again"
    return wrong


def damage(effort: Effort, tally: Tally) -> None:
    """Flipped bytes, truncated, missing, swapped and foreign files, one or a few at a time."""
    with bench(effort) as made:
        for _ in range(effort.count(40)):
            for kind in DAMAGES:
                if effort.spent:
                    return
                store = made.copy()
                names = [spoil(store, kind, made.rng) for _ in range(made.rng.randint(1, 3))]
                told = subprocess.run(
                    [sys.executable, "-m", "pgdyn.cli", "sweep", "--status", str(store)],
                    capture_output=True, text=True, timeout=PATIENCE, check=False,
                )  # fmt: skip
                wrong = one_sentence(told, (0, 2), "") if told.returncode != 1 else ""
                if kind in SHOWN and told.returncode == 0:
                    wrong = "--status sees no damage"
                tally.note(f"stores with {kind}", wrong or made.resumed(store), names)
                shutil.rmtree(store)


DAMAGES = ("flipped bytes", "truncated files", "missing files", "missing shards", "swapped shards", "longer files")
SHOWN = ("flipped bytes", "truncated files", "longer files", "swapped shards")


def spoil(store: pathlib.Path, kind: str, rng: random.Random) -> str:
    """Damages one thing in a store: its name."""
    folders = shards(store)
    if kind == "missing shards":
        shutil.rmtree(chosen := rng.choice(folders))
        return chosen.name
    if kind == "swapped shards":
        one, other = rng.sample(folders, 2)
        spare = store / "spare"
        one.rename(spare), other.rename(one), spare.rename(other)
        return f"{one.name} and {other.name}"
    path = rng.choice([path for path in sorted((store / "shards").rglob("*")) if path.is_file()])
    while path.parent == store / "shards" and kind != "missing files":  # the group's own description is written anew
        path = rng.choice([path for path in sorted((store / "shards").rglob("*")) if path.is_file()])
    data = bytearray(path.read_bytes())
    if kind == "missing files":
        path.unlink()
    elif kind == "truncated files":
        path.write_bytes(data[: rng.randrange(len(data))] if data else b"x")
    elif kind == "longer files":
        path.write_bytes(data + rng.randbytes(rng.randint(1, 9)))
    elif data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    return path.relative_to(store).as_posix()


def disks(effort: Effort, tally: Tally) -> None:
    """Full disks (a limit on files' sizes, and a small file system where there is the right), read-only folders."""
    with bench(effort) as made:
        for _ in range(effort.count(20)):
            if effort.spent:
                return
            tally.note("sweeps on a full disk", full_disk(made), "tmpfs")
            tally.note("sweeps that may write no large file", no_large_file(made), "RLIMIT_FSIZE")
            tally.note("sweeps into a read-only folder", read_only(made))


def full_disk(made: Bench) -> str:
    """A file system of a few pages, made larger afterwards."""
    disk = made.store()
    disk.mkdir()
    size = made.rng.randint(8, 120) * 4096

    def mount(*options: str) -> bool:
        return subprocess.run(["mount", *options, str(disk)], capture_output=True, check=False).returncode == 0

    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs"):
        return ""
    try:
        store = disk / "store"
        stopped = made.run(store)
        if wrong := one_sentence(stopped, (0, 1, 2), "disk is full|No space left"):
            return wrong
        if not mount("-o", "remount,size=16m"):
            return "the test could not enlarge its disk"
        return made.resumed(store)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
        shutil.rmtree(disk, ignore_errors=True)


def no_large_file(made: Bench) -> str:
    """Files of a few bytes at most: the system refuses the rest of each write."""
    store, most = made.store(), made.rng.randint(1, 3000)
    code = (
        f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({most}, {most})); import pgdyn.cli as cli; cli.run()"
    )
    line = [sys.executable, "-c", code, *made.line(store)[3:]]
    environment = os.environ | {"PGDYN_COMPILATION_CACHE": "0"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)
    return one_sentence(done, (0, 1, 2), "File too large|disk is full") or made.resumed(store)


def read_only(made: Bench) -> str:
    """A folder that cannot be written, by mount where the user may do all else."""
    place = made.store()
    place.mkdir()
    bound = os.geteuid() == 0
    if bound:
        mounts = (["mount", "-t", "tmpfs", "tmpfs", str(place)], ["mount", "-o", "remount,ro", str(place)])
        if any(subprocess.run(line, capture_output=True, check=False).returncode for line in mounts):
            return ""
    else:
        place.chmod(0o500)
    try:
        return one_sentence(made.run(place / "store"), (1, 2), "cannot be written|Read-only|Permission denied")
    finally:
        if bound:
            subprocess.run(["umount", "-l", str(place)], check=False)


def others(effort: Effort, tally: Tally) -> None:
    """Two sweeps on one store, another spec, and stores of an older version."""
    with bench(effort) as made:
        for _ in range(effort.count(15)):
            if effort.spent:
                return
            tally.note("two sweeps on one store", together(made))
            tally.note("two sweeps on one store, one of them killed", together(made, kill=True))
            store = made.copy()
            text = SPEC.replace(*made.rng.choice(CHANGES))
            other = made.place / "other.toml"
            other.write_text(text)
            done = subprocess.run(
                [sys.executable, "-m", "pgdyn.cli", "sweep", str(other), "--out", str(store)],
                capture_output=True, text=True, timeout=PATIENCE, check=False,
            )  # fmt: skip
            wrong = one_sentence(done, 2, "was made by another spec: .* there and .* here|given .* but not")
            tally.note("a changed spec on a store", wrong or made.differs(store), text[:80])
            change = made.rng.choice(VERSIONS)
            tally.note("a store of an older version", older(made, store, change), change)
            shutil.rmtree(store)


CHANGES = (
    ("5000", "5001"), ("1e-3", "2e-3"), ("count = 24", "count = 12"), ("shard_size = 20", "shard_size = 30"),
    ("[1.0, 0.8, -1.0]", "[1.0, 0.8, -0.9]"), ("target = 0.9", "target = 0.91"),
    ('kind = "ascend"', 'kind = "ascend", optimizer = "adam"'),
)  # fmt: skip
VERSIONS = ("no spec", "no fingerprint", "other numbers", "unknown key", "no checksum", "no json", "a list", "empty")


def older(made: Bench, store: pathlib.Path, change: str) -> str:
    """What is wrong with what is said of a store whose description has another form."""
    from pgdyn.sweep.spec import digest

    path = store / "zarr.json"
    group = json.loads(path.read_bytes())
    root = group["attributes"]["pgdyn_sweep"]
    match change:
        case "no spec":
            del root["spec"]
        case "no fingerprint":
            del root["fingerprint"]
        case "other numbers":
            root["made_by"]["numbers"]["numbers"] = 1
        case "unknown key":
            root["spec"]["of_old"] = 1
    group["attributes"]["sha256"] = digest(root)
    if change == "no checksum":
        del group["attributes"]["sha256"]
    written = {"no json": b"{", "a list": b"[]", "empty": b""}.get(change, json.dumps(group).encode())
    path.write_bytes(written)
    shard_files = {name: mark for name, mark in contents_of_shards(store).items()}
    adopted = change in ("no checksum", "no json", "a list", "empty")  # the description is written anew
    for line in (["--status", str(store)], made.line(store)[4:]):
        done = subprocess.run(
            [sys.executable, "-m", "pgdyn.cli", "sweep", *line], capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
        if wrong := one_sentence(done, (0, 2), "version|damaged|another spec|not the store"):
            return wrong
    if adopted:
        return made.differs(store)
    return "" if contents_of_shards(store) == shard_files else "its shards have changed"


def contents_of_shards(store: pathlib.Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted((store / "shards").rglob("*")) if path.is_file()}


def together(made: Bench, kill: bool = False) -> str:
    """Two processes at once."""
    store = made.store()
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(made.line(store), **pipes) for _ in range(2)]
    if kill:
        time.sleep(made.rng.uniform(0, made.seconds))
        processes[0].kill()
    said = [process.communicate(timeout=PATIENCE) for process in processes]
    wrong = ""
    for process, (_, err) in list(zip(processes, said, strict=True))[kill:]:
        if process.returncode != 0:
            wrong = f"exit code {process.returncode}: {err[-300:]}"
    wrong = wrong or made.differs(store)
    shutil.rmtree(store, ignore_errors=True)
    return wrong
