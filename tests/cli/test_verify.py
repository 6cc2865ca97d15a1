"""`pgdyn verify`. Oracles: the library called directly with the same seed, and the words of each refusal."""

import csv
import dataclasses
import re
import tomllib

import jax
import numpy as np
import pytest

import pgdyn
from pgdyn import theory
from pgdyn.cli import main

FAST = ("log_ratio", "positive_advantage_attracts")


def run(capsys, *arguments):
    code = main(["verify", *(str(argument) for argument in arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def broken(monkeypatch):
    """A theorem of each kind turned into one that it is not."""
    wrong = {
        "log_ratio": dataclasses.replace(
            theory.THEOREMS["positive_advantage_attracts"], name="log_ratio", kind="bound"
        ),
        "positive_advantage_attracts": dataclasses.replace(theory.THEOREMS["log_ratio"], kind="known false"),
    }
    for name, theorem in wrong.items():
        monkeypatch.setitem(theory.THEOREMS, name, theorem)


def test_the_table_and_the_files(capsys, tmp_path):
    out = tmp_path / "new" / "run"
    code, shown, err = run(capsys, *FAST, "--problems", 60, "--seed", 5, "--out", out)
    assert (code, err) == (0, "")
    rows = list(csv.DictReader((out / "verification.csv").read_text().splitlines()))
    for name, row in zip(FAST, rows, strict=True):
        result = theory.verify(theory.THEOREMS[name], 60, seed=5)
        assert (row["name"], row["kind"]) == (name, result.theorem.kind)
        assert (int(row["problems"]), int(row["violations"])) == (60, result.violations)
        np.testing.assert_allclose(float(row["smallest_slack"]), result.smallest_slack, rtol=1e-9)
        numbers = re.escape(f"{result.smallest_slack:.3g}")
        assert re.search(rf"{name} +{result.theorem.kind} +60 +{result.violations} +{numbers} ", shown), shown
        saved = pgdyn.load_problem(out / f"{name}.toml")
        np.testing.assert_array_equal(saved.true_reward, result.tightest.problem.true_reward)
        made_by = tomllib.loads((out / f"{name}.toml").read_text())["provenance"]
        assert made_by["theorem"] == name and made_by["seed"] == 5 and made_by["slack"] == result.smallest_slack
    assert "2 theorems in" in shown and "0 not as claimed" in shown
    code = main(["simulate", str(out / "log_ratio.toml"), "--t1", "1", "--saves", "9"])
    assert code == 0 and "gradient flow, ran to the end" in capsys.readouterr().out


def test_parameters_are_kept_with_the_tightest_problem(capsys, tmp_path, monkeypatch):
    def draw(key, outputs):
        reward = jax.random.uniform(key, (outputs,))
        return pgdyn.Problem.tabular(None, reward), {"scale": 2 + reward[0], "pair": reward[:2], "output": 1}

    def claim(problem, scale, pair, output):
        return theory.Check.at_most(problem.true_reward[0, output] + pair[0], scale)

    words = {"statement": "None.", "source": "a test", "kind": "bound"}
    monkeypatch.setitem(theory.THEOREMS, "own", theory.Theorem(name="own", draw=draw, claim=claim, **words))
    code, _, _ = run(capsys, "own", "--problems", 6, "--out", tmp_path)
    made_by = tomllib.loads((tmp_path / "own.toml").read_text())["provenance"]
    reward = np.asarray(pgdyn.load_problem(tmp_path / "own.toml").true_reward)[0]
    assert code == 0 and made_by["parameters"] == {"scale": 2 + reward[0], "pair": [*reward[:2]], "output": 1}
    assert made_by["measured"] == reward[1] + reward[0]


@pytest.mark.parametrize(("name", "word"), [("log_ratio", "VIOLATED"), (FAST[1], "NO COUNTEREXAMPLE")])
def test_a_claim_that_is_not_of_its_kind_fails_the_run(capsys, broken, name, word):
    code, shown, err = run(capsys, name, "--problems", 60)
    assert code == 1 and word in shown
    assert err.startswith("error: a claim is not of its kind: ")


def test_theorems_are_listed_without_being_run(capsys):
    code, shown, err = run(capsys, "--list")
    assert (code, err) == (0, "")
    assert all(f"{name} ({theorem.kind})" in shown for name, theorem in theory.THEOREMS.items())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["log_ration"], "there is no theorem 'log_ration'; did you mean 'log_ratio'?"),
        (["zzz"], "there is no theorem 'zzz'; pgdyn verify --list shows all"),
        (["--problems", 0], "--problems is 0; it must be a whole number from 1 to 2^63 - 1"),
        (["--seed", -1], "--seed is -1; it must be a whole number from 0 to 2^63 - 1"),
    ],
)
def test_refusals(capsys, arguments, sentence):
    assert run(capsys, *arguments) == (2, "", f"error: {sentence}\n")


def test_folders_that_are_not_ours_are_left_alone(capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = run(capsys, "log_ratio", "--out", tmp_path)
    assert code == 2 and "is not empty; choose another folder or replace its results with --overwrite" in err
    code, _, err = run(capsys, "log_ratio", "--out", tmp_path, "--overwrite")
    assert code == 2 and "holds notes.txt, which no such run has written" in err
    code, _, err = run(capsys, "log_ratio", "--out", tmp_path / "notes.txt")
    assert code == 2 and "is a file; it must be a folder" in err


def interrupting(key, outputs):
    raise KeyboardInterrupt


def test_an_interrupted_run_shows_what_is_done_and_writes_nothing(capsys, tmp_path, monkeypatch):
    words = {"statement": "None.", "source": "a test", "kind": "bound", "claim": interrupting}
    monkeypatch.setitem(theory.THEOREMS, "own", theory.Theorem(name="own", draw=interrupting, **words))
    code, shown, err = run(capsys, "log_ratio", "own", FAST[1], "--problems", 60, "--out", tmp_path / "out")
    assert code == 130 and err == "error: interrupted after 1 of 3 theorems; nothing has been written\n"
    assert re.search(r"^ *log_ratio +exact +60 +0 ", shown, re.M) and "1 theorem in" in shown
    assert not list(tmp_path.iterdir())
    assert run(capsys, "own")[2] == "error: interrupted after 0 of 1 theorems\n"


def test_the_table_is_shown_even_if_the_files_cannot_be_written(capsys, tmp_path, monkeypatch):
    def full(self, *arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pandas.DataFrame.to_csv", full)
    code, shown, err = run(capsys, "log_ratio", "--problems", 60, "--out", tmp_path / "out")
    assert code == 1 and re.search("log_ratio +exact +60", shown) and not list(tmp_path.iterdir())
    out = tmp_path / "out"
    assert err == f"error: {out} cannot be written: No space left on device; what is shown is all there is\n"
