"""A little of the soak: spoiled files, read here and through the command line."""

import os
import re

import pytest

from . import command_line, files, inputs, odd_files
from .tally import Effort, Tally, complaint


@pytest.mark.parametrize("part", [inputs.problems, inputs.specs, inputs.scores])
def test_spoiled_files_are_read_or_refused_by_a_sentence(part):
    tally = Tally()
    part(Effort(seed=1, share=0.003), tally)
    assert tally.failures == [] and sum(row.tried for row in tally.rows.values()) > 50


def test_commands_on_spoiled_files_end_in_one_sentence():
    tally = Tally()
    command_line.spoiled_files(Effort(seed=1, share=0.012), tally)
    command_line.flags(Effort(seed=1, share=0.08), tally)
    assert tally.failures == []


@pytest.mark.parametrize(
    "kind", ["NUL bytes", "lone carriage returns", "folder", "dangling link", "pipe", "link in a circle"]
)
def test_what_is_no_file_is_one_sentence(kind, tmp_path, capsys):
    base = files.as_json(files.PROBLEMS[0])
    path = tmp_path / "odd.json"
    dict(odd_files.small(base))[kind](path)
    for line in list(odd_files.commands(path))[:2]:
        code, out, err = command_line.here(line)
        assert command_line.judged(code, out, err) == ""
        assert code == 0 if kind == "lone carriage returns" and line[0] == "simulate" else code == 2


REFUSED = {
    "digits.json": (f'{{"true_reward": [1, {"9" * 5000}]}}', "a whole number in it has thousands of digits"),
    "digits.toml": (f"true_reward = [1, {'9' * 5000}]", "a whole number in it has thousands of digits"),
    "dots.toml": (f"true_reward{'.a' * 5000} = 1", "is nested too deeply to be a problem"),
    "header.toml": (f"[true_reward{'.a' * 5000}]", "is nested too deeply to be a problem"),
    "large.toml": ("#" * (2**25 + 1), "has 32 MB; a problem file has at most 32 MB as TOML, 64 MB as JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_files_out_of_proportion_are_refused(name, tmp_path):
    from pgdyn import load_problem

    text, words = REFUSED[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        load_problem(tmp_path / name)
    assert complaint(caught.value, str(tmp_path / name)) == ""


def test_rows_of_numbers_are_not_taken_for_deep_keys(tmp_path):
    from pgdyn import load_problem

    row = ", ".join(["0.5"] * 300)
    (tmp_path / "p.toml").write_text(f"true_reward = [\n  {row},\n  0.25\n]  # 0.5 = 0.5\n")
    assert load_problem(tmp_path / "p.toml").num_outputs == 301


def test_a_name_that_the_terminal_cannot_show_is_shown_by_its_numbers(tmp_path):
    import json
    import subprocess
    import sys

    (tmp_path / "s.json").write_text(json.dumps({**files.SPECS[0], "name": "\ud800 é"}))
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    line = [sys.executable, "-m", "pgdyn.cli", "sweep"]
    for arguments in ([tmp_path / "s.json", "--out", tmp_path / "store"], ["--status", tmp_path / "store"]):
        done = subprocess.run(
            [*line, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("\\ud800 \\xe9\n")
