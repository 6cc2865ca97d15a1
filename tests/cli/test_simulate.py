"""`pgdyn simulate`. Oracles: the library called directly with the same arguments, and the words of each refusal."""

import json
import re
import subprocess
import sys

import jax
import matplotlib.figure
import numpy as np
import optax
import pytest
import xarray

import pgdyn
from pgdyn import cli, datasets
from pgdyn.cli import main, run_table
from pgdyn.cli import simulate as simulate_module
from pgdyn.problem_file import load_problem

TRUE = [1.0, 0.8, -1.0, -1.0, -1.0]
PROXY = [1.0, -1.0, -1.0, -1.0, -1.0]
POLICY = [0.05, 0.5, 0.15, 0.15, 0.15]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "problem.json"
    path.write_text(json.dumps({"true_reward": TRUE, "proxy_reward": PROXY, "initial_policy": POLICY}))
    return path


@pytest.fixture(scope="module")
def problem():
    return pgdyn.Problem.tabular(POLICY, TRUE, PROXY)


def run(capsys, *arguments):
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refused(capsys, *arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


def test_the_flow_is_shown_and_stored(capsys, file, tmp_path, problem):
    out = tmp_path / "new" / "run"
    code, shown, err = run(capsys, "simulate", file, "--t1", 50, "--target", 0.9, "--saves", 9, "--out", out)
    assert (code, err) == (0, "")
    expected = pgdyn.flow(problem, 50.0, target=0.9, saves=9)
    assert f"true value reaches 0.9 at time {float(expected.hitting_time):.8g}" in shown
    assert re.search(rf"^ true value +0 +{float(expected.true_value[-1]):.6g} $", shown, re.M)
    assert re.search(rf"^ proxy value +-0\.9 +{float(expected.proxy_value[-1]):.6g} $", shown, re.M)
    assert re.search(rf"^ proxy reward variance +0\.19 +{float(expected.reward_variance[-1]):.6g} $", shown, re.M)
    assert re.search(rf"^ KL to initial policy, reverse \(nats\) +0 +{float(expected.kl[-1]):.6g} $", shown, re.M)
    for y in range(5):
        end = f"{float(expected.policy[-1, 0, y]):.5g}"
        assert re.search(rf"^ {y} +{TRUE[y]:g} +{PROXY[y]:g} +{POLICY[y]:g} +{end} $", shown, re.M)
    stored = datasets.load(out / "trajectory.zarr")
    assert stored.attrs.pop("options") == {"t1": 50.0, "saves": 9}
    xarray.testing.assert_identical(stored, expected.to_dataset())
    assert sorted(entry.name for entry in out.iterdir()) == sorted(simulate_module._FILES)
    assert (out / "trajectory.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "trajectory.pdf").read_bytes().startswith(b"%PDF")
    again = load_problem(out / "problem.toml")
    for left, right in zip(jax.tree.leaves(again), jax.tree.leaves(problem), strict=True):
        np.testing.assert_array_equal(left, right)
    assert [entry.name for entry in out.parent.iterdir()] == ["run"]


def test_the_same_command_stores_the_same_bytes(capsys, file, tmp_path):
    for name in ("a", "b"):
        assert (
            run(capsys, "simulate", file, "--t1", 50, "--saves", 9, "--target", 0.9, "--out", tmp_path / name)[0] == 0
        )
    first, second = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("a", "b")
    )
    assert first == second


def test_every_option_of_ascent_and_objective_reaches_the_library(capsys, file, tmp_path, problem):
    objective = ("--reward", "true", "--kl", 0.1, "--reference", "uniform", "--kl-direction", "forward")
    code, shown, _ = run(
        capsys, "simulate", file, "--dynamics", "ascend", "--steps", 7, "--lr", 0.3, "--optimizer", "adam",
        "--save-every", 4, "--entropy", 0.2, "--normalize-by-std", "detached", *objective, "--out", tmp_path / "o",
    )  # fmt: skip
    expected = pgdyn.ascend(
        problem,
        7,
        optimizer=optax.adam(0.3),
        save_every=4,
        objective=pgdyn.Objective("true", 0.1, "uniform", "forward", 0.2, "detached"),
    )
    stored = datasets.load(tmp_path / "o" / "trajectory.zarr")
    options = stored.attrs.pop("options")
    assert options == {"steps": 7, "lr": 0.3, "optimizer": "adam", "save_every": 4}
    xarray.testing.assert_identical(stored, expected.to_dataset())
    assert code == 0 and "KL to uniform policy, forward (nats)" in shown and "reaches" not in shown


def test_every_option_of_sampling_reaches_the_library(capsys, file, tmp_path, problem):
    sampling = ("--seed", 5, "--estimator", "reinforce", "--baseline", "0.25", "--group-size", 2)
    code, shown, _ = run(
        capsys, "simulate", file, "--dynamics", "ascend_sampled", "--steps", 7, *sampling, "--target", 0.99,
        "--out", tmp_path / "o",
    )  # fmt: skip
    expected = pgdyn.ascend_sampled(
        problem, 7, jax.random.key(5), estimator=pgdyn.estimators.Reinforce(0.25, 2), target=0.99
    )
    stored = datasets.load(tmp_path / "o" / "trajectory.zarr")
    del stored.attrs["options"]
    xarray.testing.assert_identical(stored, expected.to_dataset())
    assert code == 0 and "true value never reaches 0.99 within updates 7" in shown
    assert simulate_module._baseline("value") == "value"


def test_natural_geometry_and_tolerances_reach_the_library(capsys, file, tmp_path, problem):
    options = ("--geometry", "natural", "--rtol", 1e-6, "--atol", 1e-7, "--max-steps", 500, "--saves", 9)
    assert run(capsys, "simulate", file, "--t1", 3, *options, "--out", tmp_path / "o")[0] == 0
    stored = datasets.load(tmp_path / "o" / "trajectory.zarr")
    expected = pgdyn.flow(problem, 3.0, geometry="natural", rtol=1e-6, atol=1e-7, max_steps=500, saves=9)
    del stored.attrs["options"]
    xarray.testing.assert_identical(stored, expected.to_dataset())


def test_long_runs_save_about_a_thousand_points_unless_told(capsys, file, tmp_path):
    run(capsys, "simulate", file, "--dynamics", "ascend", "--steps", 2500, "--out", tmp_path / "o")
    assert datasets.load(tmp_path / "o" / "trajectory.zarr").sizes["time"] == 835  # 0, 3, ..., 2499, 2500


def test_a_run_that_breaks_off_says_so_and_exits_1(capsys, file, tmp_path):
    code, shown, err = run(
        capsys, "simulate", file, "--t1", 1e6, "--saves", 9, "--max-steps", 8, "--out", tmp_path / "o"
    )
    assert code == 1
    assert err == "error: the run did not complete: it stopped early: the step budget was spent before the end time\n"
    assert "stopped early: the step budget was spent" in shown and "nan" not in shown
    stored = datasets.load(tmp_path / "o" / "trajectory.zarr")
    assert int(stored.result) == pgdyn.Result.step_budget_spent


def test_many_outputs_and_prompts_are_abridged(capsys, tmp_path):
    rng = np.random.default_rng(0)
    reward = rng.normal(size=(9, 200))
    (tmp_path / "p.json").write_text(json.dumps({"true_reward": reward.tolist()}))
    code, shown, _ = run(capsys, "simulate", tmp_path / "p.json", "--dynamics", "ascend", "--steps", 7)
    assert code == 0
    rows = [line.split() for line in shown.splitlines() if re.match(r" \d ", line)]
    assert len(rows) == 8 * 11 and "1 more prompts are not shown" in shown
    run_ = pgdyn.ascend(pgdyn.Problem.tabular(None, reward), 7)
    end = np.asarray(run_.policy[-1])
    for prompt in range(8):
        mine = [row for row in rows if row[0] == str(prompt)]
        assert {int(row[1]) for row in mine[:10]} == set(np.argsort(-end[prompt])[:10])
        assert mine[10][1:3] == ["190", "others"]
        assert float(mine[10][-1]) == pytest.approx(np.sort(end[prompt])[:190].sum(), rel=1e-4)


def test_probabilities_below_the_smallest_float_are_powers_of_ten():
    assert run_table._p(np.log(0.25)) == "0.25"
    assert run_table._p(-2302.585092994046) == "10^-1000.0"
    assert run_table._p(-np.inf) == "-inf"


MISPLACED = {
    "--steps": ("--dynamics ascend or ascend_sampled, not with flow", ["--t1", 1, "--steps", 3]),
    "--lr": ("--dynamics ascend or ascend_sampled, not with flow", ["--t1", 1, "--lr", 0.1]),
    "--optimizer": ("--dynamics ascend or ascend_sampled, not with flow", ["--t1", 1, "--optimizer", "sgd"]),
    "--save-every": ("--dynamics ascend or ascend_sampled, not with flow", ["--t1", 1, "--save-every", 1]),
    "--seed": ("--dynamics ascend_sampled, not with flow", ["--t1", 1, "--seed", 0]),
    "--estimator": ("--dynamics ascend_sampled, not with ascend", ["--dynamics", "ascend", "--estimator", "reinforce"]),
    "--baseline": ("--dynamics ascend_sampled, not with ascend", ["--dynamics", "ascend", "--baseline", "value"]),
    "--group-size": ("--dynamics ascend_sampled, not with ascend", ["--dynamics", "ascend", "--group-size", 2]),
    "--t1": ("--dynamics flow, not with ascend", ["--dynamics", "ascend", "--t1", 3]),
    "--geometry": ("--dynamics flow, not with ascend", ["--dynamics", "ascend", "--geometry", "natural"]),
    "--rtol": ("--dynamics flow, not with ascend", ["--dynamics", "ascend", "--rtol", 1e-3]),
    "--atol": ("--dynamics flow, not with ascend_sampled", ["--dynamics", "ascend_sampled", "--atol", 1e-3]),
    "--saves": ("--dynamics flow, not with ascend_sampled", ["--dynamics", "ascend_sampled", "--saves", 3]),
    "--max-steps": ("--dynamics flow, not with ascend", ["--dynamics", "ascend", "--max-steps", 3]),
}


@pytest.mark.parametrize("option", MISPLACED)
def test_options_of_another_dynamics_are_refused(capsys, file, option):
    owner, arguments = MISPLACED[option]
    assert refused(capsys, "simulate", file, *arguments) == f"{option} goes with {owner}"


ASCEND, SAMPLED = ["--dynamics", "ascend", "--steps"], ["--dynamics", "ascend_sampled", "--steps", 3]
REFUSALS = {
    "flow without end": ([], "--dynamics flow needs --t1, the end time, for instance --t1 100"),
    "ascent without steps": (["--dynamics", "ascend"], "--dynamics ascend needs --steps, the number of updates"),
    "negative time": (["--t1", "-3"], "t1 is -3; it must be positive"),
    "time nan": (["--t1", "nan"], "t1 is nan; every entry of t1 must be finite"),
    "no steps": ([*ASCEND, 0], "steps is 0; it must be at least 1"),
    "too many steps": ([*ASCEND, 10**22], "--steps is 1e+22; more than 1e+12 updates are out of reach"),
    "tolerance": (["--t1", 3, "--rtol", 0], "rtol is 0; it must be positive"),
    "one save": (["--t1", 3, "--saves", 1], "saves is 1; it must be at least 2"),
    "target": (["--t1", 3, "--target", "inf"], "target is inf; every entry of target must be finite"),
    "kl": (["--t1", 3, "--kl", -1], "kl is -1; it must be at least 0"),
    "rate": ([*ASCEND, 3, "--lr", "nan"], "--lr is nan; it must be positive and finite"),
    "save every": ([*ASCEND, 3, "--save-every", 0], "save_every is 0; it must be at least 1"),
    "baseline": ([*SAMPLED, "--baseline", "mean"], "--baseline is 'mean'; it must be a number or value"),
    "group": ([*SAMPLED, "--group-size", 0], "group_size is 0; it must be at least 1"),
    "seed": ([*SAMPLED, "--seed", -1], "--seed is -1; it must be a whole number from 0 to 2^63 - 1"),
    "no number": (["--t1", "ten"], "--t1: could not convert string to float: 'ten'"),
    "no value": (["--t1"], "Missing value for argument '--t1'"),
    "dynamics": (["--dynamics", "jump"], "invalid choice 'jump' for argument '--dynamics'"),
    "unknown": (["--t2", 3], "Unrecognized options: --t2"),
    "misspelt": (["--t1", 3, "--overwrit"], "Unrecognized options: --overwrit; did you mean --overwrite?"),
    "two problems": (["--t1", 3, "other.toml"], "Unrecognized options: other.toml"),
    "none": (["--t1", "None"], "--t1: could not convert string to float: 'None'"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(capsys, file, case):
    arguments, message = REFUSALS[case]
    assert message in refused(capsys, "simulate", file, *arguments)


def test_refusals_of_the_parser_where_boxes_can_be_drawn():
    """Under pytest's capture the parser draws its complaints in ASCII, in a terminal with the frames below."""
    box = (
        "╭─ Value error ──────────────╮\n│ Error parsing --t1: no     │\n│ match.                     │\n"
        "│                            │\n│ - <class 'float'>: bad 'a' │\n│ ────────────────────────── │\n"
        "│ Argument helptext:         │\n│     --t1 TIME              │\n╰────────────────────────────╯\n"
    )
    assert cli._sentence(box) == "--t1: bad 'a'"
    assert cli._sentence("\x1b[31m╭─ A ─╮\x1b[0m\n│ Wrong. │\n╰──────╯\n") == "Wrong."
    assert cli._sentence("") == "the command line was not understood"


def test_commands_that_are_none(capsys):
    assert "no command given: Expected one of {simulate" in refused(capsys)
    assert "Available subcommands: simulate" in refused(capsys, "simulat", "x")
    assert refused(capsys, "simulate") == "Missing from pgdyn simulate: PROBLEM"


def test_problem_files_that_cannot_be_read(capsys, tmp_path):
    path = tmp_path / "absent.toml"
    assert refused(capsys, "simulate", path, "--t1", 3) == f"{path}: there is no such file"
    path.write_text("true_rewards = [1, 2]")
    assert "unknown key 'true_rewards'; did you mean 'true_reward'?" in refused(capsys, "simulate", path, "--t1", 3)
    assert "is a directory, not a problem file" in refused(capsys, "simulate", tmp_path, "--t1", 3)


def test_output_folders_are_replaced_only_when_asked_and_only_if_ours(capsys, file, tmp_path):
    out = tmp_path / "o"
    simulate = ("simulate", file, "--t1", 50, "--saves", 9, "--target", 0.9, "--out", out)
    out.mkdir()
    assert run(capsys, *simulate)[0] == 0
    before = (out / "problem.toml").stat().st_ino
    assert "is not empty; choose another folder or replace its results with --overwrite" in refused(capsys, *simulate)
    assert (out / "problem.toml").stat().st_ino == before
    assert run(capsys, *simulate, "--overwrite")[0] == 0
    assert (out / "problem.toml").stat().st_ino != before
    (out / "notes.txt").write_text("precious")
    assert "holds notes.txt, which no such run has written" in refused(capsys, *simulate, "--overwrite")
    assert "is a file; it must be a folder" in refused(capsys, "simulate", file, "--t1", 3, "--out", file)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["o", "problem.json"]


FAILURES = {
    "disk": (OSError(28, "No space left on device"), 2, "error: No space left on device\n"),
    "disk, named": (OSError(28, "No space left on device", "a.png"), 2, "error: a.png: No space left on device\n"),
    "ctrl-c": (KeyboardInterrupt(), 130, "error: interrupted; what was being written has been removed\n"),
    "memory": (
        MemoryError(),
        2,
        "error: the run does not fit into memory; save fewer points or run a smaller problem\n",
    ),
    "device memory": (
        jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."),
        2,
        "error: the run does not fit into memory; save fewer points or run a smaller problem\n",
    ),
}


@pytest.mark.parametrize(("case", "present"), [(case, False) for case in FAILURES] + [("disk", True), ("ctrl-c", True)])
def test_a_failure_while_writing_leaves_nothing_half_done(capsys, file, tmp_path, monkeypatch, case, present):
    failure, expected, sentence = FAILURES[case]
    out = tmp_path / "o"
    simulate = ("simulate", file, "--t1", 50, "--saves", 9, "--target", 0.9, "--out", out)
    if present:
        out.mkdir()
        (out / "problem.toml").write_text("the old one")

    def fail(self, path, **options):
        path.write_bytes(b"half a picture")
        raise failure

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
    code, _, err = run(capsys, *simulate, *(["--overwrite"] if present else []))
    assert (code, err) == (expected, sentence)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == (["o"] if present else []) + ["problem.json"]
    if present:
        assert (out / "problem.toml").read_text() == "the old one"


def test_errors_that_are_ours_are_not_hidden(capsys, file, monkeypatch):
    def broken(*arguments, **options):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    monkeypatch.setattr(simulate_module, "_run", broken)
    with pytest.raises(jax.errors.JaxRuntimeError):
        main(["simulate", str(file), "--t1", "3"])


def test_help_and_version(capsys):
    code, out, err = run(capsys, "--help")
    assert (code, err) == (0, "") and "simulate" in out and "pgdyn --version" in out
    code, out, err = run(capsys, "simulate", "--help")
    assert (code, err) == (0, "")
    for option in (*MISPLACED, "--target", "--out", "--overwrite", "--reward", "--kl", "--reference", "--kl-direction"):
        assert re.search(rf"^\W*{option} ", out, re.M), option
    assert "None" not in out
    assert run(capsys, "--version") == (0, f"pgdyn {pgdyn.__version__}\n", "")


def test_the_program_from_outside(file):
    python = [sys.executable, "-W", "error", "-c"]
    lean = (
        "import sys, pgdyn; before = set(sys.modules); import pgdyn.cli; "
        "print(sorted(m for m in set(sys.modules) - before if not m.startswith('pgdyn.cli')))"
    )
    loaded = subprocess.run([*python, lean], capture_output=True, text=True, check=True).stdout
    assert not {"matplotlib", "xarray", "tyro", "rich", "zarr"} & set(re.findall(r"\w+", loaded))
    command = [sys.executable, "-m", "pgdyn.cli", "simulate", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: --dynamics flow needs --t1, the end time, for instance --t1 100\n"


def test_a_reader_that_leaves_is_no_error(file):
    command = [sys.executable, "-m", "pgdyn.cli", "simulate", str(file), "--t1", "3"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
    process.stderr.close()
