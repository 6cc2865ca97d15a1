"""`pgdyn categorize` as a user runs it: tables, files, refusals and exit codes. Oracle: `pgdyn.errors` from Python."""

import numpy as np
import pandas
import pytest

import pgdyn
from pgdyn.cli import main
from pgdyn.cli.categorize import default_target
from pgdyn.errors.categorize import categorize
from pgdyn.errors.perturb import FAMILIES
from pgdyn.io import datasets

PROBLEM = """
initial_policy = [0.05, 0.5, 0.15, 0.15, 0.15]
true_reward = [1, 0.8, -1, -1, -1]
"""
PROXY = "proxy_reward = [1, -1, -1, -1, -1]\n"


@pytest.fixture
def problem_file(tmp_path):
    path = tmp_path / "problem.toml"
    path.write_text(PROBLEM + PROXY)
    return path


def run(capsys, *arguments):
    code = main(["categorize", *map(str, arguments)])
    return code, *capsys.readouterr()


def test_tables_and_files(capsys, tmp_path, problem_file, paper_problem):
    out = tmp_path / "out"
    code, text, complaint = run(
        capsys, problem_file, "--errors", "swap", "single-output", "noise", "--t1", "1e4", "--out", out
    )
    assert (code, complaint) == (0, "")
    assert sorted(path.name for path in out.iterdir()) == [
        "errors.csv", "errors.pdf", "errors.png", "errors.zarr", "problem.toml",
    ]  # fmt: skip
    # Read back, the rows are those of a call from Python.
    dataset = datasets.load(out / "errors.zarr")
    rows = pandas.read_csv(out / "errors.csv")
    assert rows["family"].unique().tolist() == ["proxy of the file", "single-output", "swap", "noise"]
    swaps = rows[rows["family"] == "swap"]
    report = categorize(paper_problem, FAMILIES["swap"](paper_problem).proxy_rewards, t1=1e4, target=0.9)
    assert swaps["category"].tolist() == report.category.tolist()
    assert swaps["mechanism"].tolist() == report.mechanism.tolist()
    assert swaps["predicted"].tolist() == report.predicted.tolist()
    assert swaps["mechanism_category"].tolist() == report.mechanism_category.tolist()
    assert rows["category"].tolist() == dataset["category"].values.tolist()
    np.testing.assert_allclose(rows["speedup"], dataset["speedup"], rtol=1e-12)
    assert dataset.attrs["settings"]["target"] == pytest.approx(0.9)
    again = pgdyn.load_problem(out / "problem.toml")
    np.testing.assert_array_equal(again.proxy_reward, [[1, -1, -1, -1, -1]])
    # The tables name every family, and where the truth never arrives they say so.
    for part in ("proxy of the file", "single-output", "swap", "noise", "never reaches 0.9 within time 10000"):
        assert part in text
    assert "only the proxy arrives" in text and "mechanism against simulation" in text
    # Both scores stand beside the commonest category.
    scores = text[text.index("predicted before any simulation") :]
    for words, score in (
        ("by the exact solution", np.mean(rows["predicted"] == rows["category"])),
        ("by the mechanism", np.mean(rows["mechanism_category"] == rows["category"])),
        (f"always {rows['category'].mode()[0]}", rows["category"].value_counts(normalize=True).iloc[0]),
    ):
        line = next(line for line in scores.splitlines() if line.startswith(f" {words}"))
        assert line.split()[-2:] == [str(len(rows)), f"{score:.1%}"]
    assert run(capsys, problem_file, "--out", out)[2].startswith("error: --out")


def test_default_target_is_between_the_two_best(paper_problem):
    assert default_target(paper_problem) == pytest.approx(0.9)
    prompts = pgdyn.Problem.tabular(None, [[1.0, 0.0, -1.0], [3.0, 3.0, 1.0]], prompt_weights=[3, 1])
    assert default_target(prompts) == pytest.approx(0.75 * 0.5 + 0.25 * 2.0)


def test_the_seed_is_what_decides_the_noise(capsys, problem_file):
    texts = [run(capsys, problem_file, "--errors", "noise", "--t1", "100", "--seed", s)[1] for s in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("sentence", "options", "text"),
    [
        ("--errors has 'noises'; the families are single-output, swap", ("--errors", "noises"), PROBLEM),
        ("there is none", ("--errors", "mixture"), PROBLEM),
        ("--seed is -1", ("--seed", "-1"), PROBLEM),
        ("t1 is -1; it must be positive", ("--t1", "-1"), PROBLEM),
        ("target is nan", ("--target", "nan"), PROBLEM),
        ("all true rewards of prompt 0 are equal", (), "true_reward = [1, 1]"),
        ("above the default target 0.5; give --target", (), "true_reward = [1, 0]\ninitial_policy = [0.9, 0.1]"),
        ("at most 12 outputs", ("--errors", "subsets"), f"true_reward = {list(range(13))}"),
    ],
)
def test_refusals(capsys, tmp_path, sentence, options, text):
    path = tmp_path / "problem.toml"
    path.write_text(text)
    code, shown, complaint = run(capsys, path, *options)
    assert code == 2 and shown == ""
    assert complaint.startswith("error: ") and sentence in complaint and complaint.count("\n") == 1


def test_families_may_be_named_with_and_without_the_option(capsys, problem_file):
    ways = (["swap", "clip"], ["--errors", "swap", "clip"], ["--errors=swap", "--errors=clip"])
    texts = [run(capsys, problem_file, *way, "--t1", "100") for way in ways]
    assert texts[0] == texts[1] == texts[2] and texts[0][0] == 0


def test_the_tables_are_shown_even_if_the_files_cannot_be_written(capsys, tmp_path, problem_file, monkeypatch):
    def full(self, path, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    code, shown, complaint = run(capsys, problem_file, "swap", "--t1", "100", "--out", tmp_path / "out")
    assert code == 1 and "mechanism against simulation" in shown and complaint.count("\n") == 1
    assert f"{tmp_path / 'out'} cannot be written: No space left on device" in complaint
    assert [entry.name for entry in tmp_path.iterdir()] == ["problem.toml"]


def test_a_missing_file(capsys, tmp_path):
    code, _, complaint = run(capsys, tmp_path / "none.toml")
    assert code == 2 and "none.toml" in complaint


def test_strangers_are_not_overwritten(capsys, tmp_path, problem_file):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    code, _, complaint = run(capsys, problem_file, "--out", tmp_path / "out", "--overwrite")
    assert code == 2 and "holds thesis.tex" in complaint
