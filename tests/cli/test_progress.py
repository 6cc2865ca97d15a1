"""Progress without a terminal. Oracle: a clock that the test moves."""

import contextlib
import io
import re
import sys
import threading
import time

import pytest

from pgdyn.cli import main, progress


def test_lines_come_even_while_nothing_is_done(monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    with progress.shown("map", "points") as show:
        time.sleep(0.1)
        show(10, 2000, "1/20 shards")
        time.sleep(0.1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "map: starting" and lines[-1] == "map: 10/2,000 points, 1/20 shards"
    before = threading.active_count()
    time.sleep(0.1)
    assert capsys.readouterr().err == "" and threading.active_count() == before


def last_line(monkeypatch, capsys, steps, times):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    clock = iter(times)
    now = [0.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    with progress.shown("map", "points") as show:
        for step, now[0] in zip(steps, clock, strict=True):
            show(*step[:2], **(step[2] if len(step) > 2 else {}))
        time.sleep(0.1)
    return capsys.readouterr().err.splitlines()[-1]


def test_the_time_left_does_not_count_what_comes_before_the_first_work(monkeypatch, capsys):
    """A minute of compilation, then 20 points a second; at first no rate is known."""
    steps, times = [(0, 1300), (100, 1300), (300, 1300)], [0.0, 60.0, 70.0]
    assert last_line(monkeypatch, capsys, steps[:2], times[:2]) == "map: 100/1,300 points"
    assert last_line(monkeypatch, capsys, steps, times) == "map: 300/1,300 points, 20/s, 50.0 s left"


def test_what_was_there_already_does_not_count_as_work(monkeypatch, capsys):
    found = {"work": False, "note": "checked"}
    steps = [(5000, 10_000, found), (9000, 10_000, found), (9100, 10_000), (9200, 10_000)]
    times = [0.0, 1.0, 20.0, 30.0]
    assert last_line(monkeypatch, capsys, steps[:2], times[:2]) == "map: 9,000/10,000 points, checked"
    assert last_line(monkeypatch, capsys, steps, times) == "map: 9,200/10,000 points, 10/s, 0:01:20 left"


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(progress, "EVERY", 0.02)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    with contextlib.redirect_stderr(terminal), progress.shown("a [map]", "points") as show:
        show(10, 20)
        time.sleep(0.3)
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "a [map]" in text and "10/20 points" in text and "\n" not in text.strip().replace("\r", "")


@pytest.mark.parametrize("command", ["categorize", "verify", "sweep"])
def test_every_long_command_tells_how_far_it_is(monkeypatch, capsys, tmp_path, command):
    monkeypatch.setattr(progress, "EVERY", 0.05)
    (tmp_path / "p.toml").write_text("initial_policy = [0.05, 0.5, 0.45]\ntrue_reward = [1, 0.8, -1]\n")
    (tmp_path / "s.toml").write_text(
        '[problem]\nfile = "p.toml"\n[[axes]]\nfield = "proxy_reward[1]"\nkind = "linear"\nstart = -1\nstop = 1\n'
        'count = 3\n[dynamics]\nkind = "ascend"\nsteps = 5\n'
    )
    arguments = {
        "categorize": [tmp_path / "p.toml", "swap"],
        "verify": ["log_ratio", "--problems", 40],
        "sweep": [tmp_path / "s.toml", "--out", tmp_path / "store"],
    }
    assert main([command, *map(str, arguments[command])]) == 0
    title = {"categorize": "p.toml", "verify": "verify", "sweep": "s"}[command]
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(line.startswith(f"{title}: ") for line in lines) and sys.stderr is not None
