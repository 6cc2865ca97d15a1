"""`pgdyn simulate`. Oracles: the library called directly with the same arguments, and the words of each refusal."""

import inspect
import json
import re

import jax
import numpy as np
import pytest
import xarray
from commands import POLICY, PROXY, TRUE, refused, run

import pgdyn
from pgdyn.cli import main, run_table, settings
from pgdyn.cli.simulate import simulate
from pgdyn.dynamics.fields import MISSING, describe
from pgdyn.io import datasets
from pgdyn.io.problem_file import load_problem


@pytest.fixture(scope="module")
def problem():
    return pgdyn.Problem.tabular(POLICY, TRUE, PROXY)


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
    xarray.testing.assert_identical(stored, expected.to_dataset())
    assert sorted(entry.name for entry in out.iterdir()) == [
        "problem.toml",
        "trajectory.pdf",
        "trajectory.png",
        "trajectory.zarr",
    ]
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
        optimizer="adam",
        learning_rate=0.3,
        save_every=4,
        objective=pgdyn.Objective("true", 0.1, "uniform", "forward", 0.2, "detached"),
    )
    stored = datasets.load(tmp_path / "o" / "trajectory.zarr")
    # An optimiser given by its name is stored by its name.
    named = {"steps": 7, "learning_rate": 0.3, "optimizer": "adam", "save_every": 4}
    assert {name: stored.attrs["settings"][name] for name in named} == named
    xarray.testing.assert_identical(stored, expected.to_dataset())
    assert code == 0 and "KL to uniform policy, forward (nats)" in shown and "reaches" not in shown


def test_every_option_of_sampling_reaches_the_library(capsys, file, tmp_path, problem):
    sampling = ("--seed", 5, "--estimator", "reinforce", "--baseline", "0.25", "--group-size", 2)
    code, shown, _ = run(
        capsys, "simulate", file, "--dynamics", "ascend_sampled", "--steps", 7, *sampling, "--target", 0.99,
        "--out", tmp_path / "o",
    )  # fmt: skip
    expected = pgdyn.ascend_sampled(
        problem, 7, jax.random.key(5), estimator=pgdyn.estimators.Reinforce(0.25, 2), target=0.99, save_every=1
    )
    stored = datasets.load(tmp_path / "o" / "trajectory.zarr")
    xarray.testing.assert_identical(stored, expected.to_dataset())
    assert code == 0 and "true value never reaches 0.99 within updates 7" in shown
    run(
        capsys,
        "simulate",
        file,
        "--dynamics",
        "ascend_sampled",
        "--steps",
        7,
        "--baseline",
        "value",
        "--out",
        tmp_path / "v",
    )
    stored = datasets.load(tmp_path / "v" / "trajectory.zarr")
    expected = pgdyn.ascend_sampled(problem, 7, 0, estimator=pgdyn.estimators.Reinforce("value"))
    np.testing.assert_array_equal(stored["params"], expected.params)


@pytest.mark.parametrize("name", ["rloo", "grpo", "maxatk", "bestofn", "tailextrapolated"])
def test_estimators_are_offered_by_name(capsys, file, tmp_path, problem, name):
    code, *_ = run(
        capsys, "simulate", file, "--dynamics", "ascend_sampled", "--steps", 3, "--estimator", name, "--out",
        tmp_path / "o",
    )  # fmt: skip
    expected = pgdyn.ascend_sampled(problem, 3, 0, estimator=pgdyn.estimators.ESTIMATORS[name]())
    assert code == 0
    xarray.testing.assert_identical(datasets.load(tmp_path / "o" / "trajectory.zarr"), expected.to_dataset())


def test_parts_of_an_estimator_reach_the_library(capsys, file, tmp_path, problem):
    parts = ("--estimator", "grpo", "--group-size", 4, "--transform", "whiten", "--transform", "unlikeliness")
    parts += ("--filter", "none", "--penalty", "k3", "--penalty-in", "loss", "--clip-low", "none", "--epochs", 2)
    code, *_ = run(
        capsys, "simulate", file, "--dynamics", "ascend_sampled", "--steps", 3, *parts, "--out", tmp_path / "o"
    )
    e = pgdyn.estimators
    estimator = e.compose(
        e.GRPO(4), e.Whiten(), e.Unlikeliness(filter=None), e.KLPenalty("k3", "loss"), e.Surrogate(None, epochs=2)
    )
    expected = pgdyn.ascend_sampled(problem, 3, 0, estimator=estimator)
    stored = datasets.load(tmp_path / "o" / "trajectory.zarr")
    assert code == 0
    xarray.testing.assert_identical(stored, expected.to_dataset())
    table = stored.attrs["settings"]["estimator"]
    assert table["surrogate"]["clip_low"] == "none" and table["transforms"][1]["filter"] == "none"


def test_none_is_a_word_where_a_field_has_such_a_choice():
    given = {"dynamics": "ascend_sampled", "steps": 3, "estimator": "grpo", "scale": "none"}
    assert settings.build(given).estimator.scale == "none"
    parts = settings.build({**given, "scale": "group", "clip_low": "none", "penalty": "k2"}).estimator
    assert parts.surrogate.clip_low is None and parts.penalty.form == "k2" and parts.advantage.scale == "group"


def test_natural_geometry_and_tolerances_reach_the_library(capsys, file, tmp_path, problem):
    options = ("--geometry", "natural", "--rtol", 1e-6, "--atol", 1e-7, "--max-steps", 500, "--saves", 9)
    assert run(capsys, "simulate", file, "--t1", 3, *options, "--out", tmp_path / "o")[0] == 0
    stored = datasets.load(tmp_path / "o" / "trajectory.zarr")
    expected = pgdyn.flow(problem, 3.0, geometry="natural", rtol=1e-6, atol=1e-7, max_steps=500, saves=9)
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


BOTH, SAMPLED_ONLY = "ascend or ascend_sampled", "ascend_sampled"
MISPLACED = {  # option -> (dynamics it goes with, one it does not go with, a value)
    "--steps": (BOTH, "flow", 3),
    "--learning-rate": (BOTH, "flow", 0.1),
    "--optimizer": (BOTH, "flow", "sgd"),
    "--save-every": (BOTH, "flow", 1),
    "--seed": (SAMPLED_ONLY, "flow", 0),
    "--estimator": (SAMPLED_ONLY, "ascend", "reinforce"),
    "--baseline": (SAMPLED_ONLY, "ascend", "value"),
    "--group-size": (SAMPLED_ONLY, "ascend", 2),
    "--t1": ("flow", "ascend", 3),
    "--geometry": ("flow", "ascend", "natural"),
    "--rtol": ("flow", "ascend", 1e-3),
    "--atol": ("flow", "ascend_sampled", 1e-3),
    "--saves": ("flow", "ascend_sampled", 3),
    "--max-steps": ("flow", "ascend", 3),
    "--stop-at-target": ("flow", "ascend", None),
}


@pytest.mark.parametrize("option", MISPLACED)
def test_options_of_another_dynamics_are_refused(capsys, file, option):
    owner, other, value = MISPLACED[option]
    arguments = ["--dynamics", other, option, *([] if value is None else [value])]
    expected = f"{option} goes with --dynamics {owner}, not with {other}"
    assert refused(capsys, "simulate", file, *arguments) == expected


def test_the_options_are_the_fields_of_the_settings():
    """Oracle: the signatures of the imported classes. An estimator or a field added to them is an option, too."""
    dynamics = (pgdyn.Flow, pgdyn.Ascend, pgdyn.AscendSampled)
    found = {parameter.name: parameter for parameter in simulate.params}
    wanted = {"problem", "dynamics", "out", "overwrite", "estimator", "transform", "reward_draw"}
    e = pgdyn.estimators
    for kind, named in (("estimator", e.ESTIMATORS), ("transform", e.TRANSFORMS), ("reward_draw", e.REWARD_DRAWS)):
        assert list(found[kind].type.words) == list(named) or set(found[kind].type.words) == set(named)
    parts = (*e.ESTIMATORS.values(), *e.TRANSFORMS.values(), *e.REWARD_DRAWS.values(), e.KLPenalty, e.Surrogate)
    other = {
        "form": "penalty",
        "where": "penalty_in",
        "weight": "penalty_weight",
        "kind": "surrogate",
        "level": "ratios",
    }
    for cls in (*dynamics, pgdyn.Objective, *parts):
        signature = inspect.signature(cls).parameters
        fields = describe(cls)
        assert list(fields) == list(signature)
        for name, parameter in signature.items():
            field = fields[name]
            required = parameter.default is inspect.Parameter.empty
            assert field.default is MISSING if required else field.default == parameter.default
            assert field.help and field.help[0] == field.help[0].upper()
            if field.type is not None:
                option = name if cls not in (*parts, e.RobustBonus) else other.get(name, name)
                option = "bonus_over" if cls is e.RobustBonus and name == "where" else option
                wanted.add(option)
                words = field.help.replace("None for none", "Left out: none").split("; None")[0].split("; Left")[0]
                assert words in found[option].help or cls not in e.ESTIMATORS.values()
                assert found[option].help
    assert set(found) == wanted
    unwritable = {name for cls in dynamics for name, field in describe(cls).items() if field.type is None}
    assert unwritable == {"objective", "solver", "adjoint", "estimator"}


ASCEND, SAMPLED = ["--dynamics", "ascend", "--steps"], ["--dynamics", "ascend_sampled", "--steps", 3]
LARGE = "9" * 23
REFUSALS = {
    "flow without end": ([], "--dynamics flow needs --t1, the end time"),
    "ascent without steps": (["--dynamics", "ascend"], "--dynamics ascend needs --steps, the number of updates"),
    "negative time": (["--t1", "-3"], "t1 is -3; it must be positive"),
    "time nan": (["--t1", "nan"], "t1 is nan; every entry of t1 must be finite"),
    "time beyond floats": (["--t1", "1e400"], "t1 is inf; every entry of t1 must be finite"),
    "no steps": ([*ASCEND, 0], "steps is 0; it must be at least 1"),
    "too many steps": ([*ASCEND, "1e13"], "steps is 10000000000000; it must be at most 1000000000000"),
    "steps beyond machines": ([*ASCEND, LARGE], f"--steps is {LARGE}; it must be a whole number up to 2^63 - 1"),
    "half a step": ([*ASCEND, 0.5], "--steps is 0.5; it must be a whole number up to 2^63 - 1"),
    "many saves": (["--t1", 3, "--saves", LARGE], f"--saves is {LARGE}; it must be a whole number up to 2^63 - 1"),
    "tolerance": (["--t1", 3, "--rtol", 0], "rtol is 0; it must be positive"),
    "one save": (["--t1", 3, "--saves", 1], "saves is 1; it must be at least 2"),
    "target": (["--t1", 3, "--target", "inf"], "target is inf; every entry of target must be finite"),
    "no target": (["--t1", 3, "--stop-at-target"], "stop_at_target needs a target"),
    "kl": (["--t1", 3, "--kl", -1], "kl is -1; it must be at least 0"),
    "rate": ([*ASCEND, 3, "--lr", "nan"], "learning_rate is nan; every entry of learning_rate must be finite"),
    "save every": ([*ASCEND, 3, "--save-every", 0], "save_every is 0; it must be at least 1"),
    "baseline": (
        [*SAMPLED, "--baseline", "mean"],
        "--baseline is 'mean'; it must be a number or value or optimal or greedy",
    ),
    "part": ([*SAMPLED, "--beta", 0.5], "--beta goes with --transform unlikeliness"),
    "other part": (
        [*SAMPLED, "--estimator", "rloo", "--baseline", "value"],
        "--baseline goes with --estimator reinforce or maxatk, not with rloo",
    ),
    "group": ([*SAMPLED, "--group-size", 0], "group_size is 0; it must be at least 1"),
    "seed": ([*SAMPLED, "--seed", -1], "--seed is -1; it must be a whole number from 0 to 2^63 - 1"),
    "no number": (["--t1", "ten"], "--t1 is 'ten'; it must be a number"),
    "no value": (["--t1"], "Option '--t1' requires an argument"),
    "a value too many": (["--t1", 3, "--overwrite=yes"], "Option '--overwrite' does not take a value"),
    "dynamics": (["--dynamics", "jump"], "--dynamics is 'jump'; it must be flow or ascend or ascend_sampled"),
    "near miss": (["--t1", 3, "--geometry", "naturl"], "it must be euclidean or natural; did you mean natural?"),
    "unknown": (["--xyz", 3], "there is no option '--xyz'; pgdyn simulate --help shows what there is"),
    "misspelt": (["--t1", 3, "--overwrit"], "there is no option '--overwrit'; did you mean --overwrite?"),
    "two problems": (["--t1", 3, "other.toml"], "Got unexpected extra argument (other.toml)"),
    "none": (["--t1", "None"], "--t1 is 'None'; it must be a number"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(capsys, file, case):
    arguments, message = REFUSALS[case]
    assert message in refused(capsys, "simulate", file, *arguments)


def test_numbers_are_read_as_they_are_written(capsys, file, problem):
    for arguments in (("--target", "-0.066"), ("--target=-0.066",), ("--target", "-6.6e-2")):
        code, shown, _ = run(capsys, "simulate", file, "--t1", "1e1", "--saves=9", *arguments)
        assert code == 0 and "true value reaches -0.066 at time 0" in shown
    code, shown, _ = run(capsys, "simulate", file, "--dynamics", "ascend", "--steps", "1e1")
    assert code == 0 and re.search(r"^ updates +0 +10 $", shown, re.M)


def test_commands_that_are_none(capsys):
    assert refused(capsys) == "no command given; the commands are simulate, categorize, sweep, verify, evaluate"
    assert refused(capsys, "simulat", "x") == "there is no command 'simulat'; did you mean simulate?"
    assert refused(capsys, "jump") == (
        "there is no command 'jump'; the commands are simulate, categorize, sweep, verify, evaluate"
    )
    assert refused(capsys, "simulate") == "PROBLEM is missing; pgdyn simulate --help shows what there is"


def test_problem_files_that_cannot_be_read(capsys, tmp_path):
    path = tmp_path / "absent.toml"
    assert refused(capsys, "simulate", path, "--t1", 3) == f"{path}: there is no such file"
    path.write_text("true_rewards = [1, 2]")
    assert "unknown key 'true_rewards'; did you mean 'true_reward'?" in refused(capsys, "simulate", path, "--t1", 3)
    assert "is a directory, not a problem file" in refused(capsys, "simulate", tmp_path, "--t1", 3)


def test_errors_that_are_ours_are_not_hidden(capsys, file, monkeypatch):
    def broken(*arguments, **options):
        raise jax.errors.JaxRuntimeError("INTERNAL: a bug")

    monkeypatch.setattr(pgdyn, "solve", broken)
    with pytest.raises(jax.errors.JaxRuntimeError):
        main(["simulate", str(file), "--t1", "3"])


def test_help_and_version(capsys):
    for flag in ("-h", "--help"):
        code, out, err = run(capsys, flag)
        assert (code, err) == (0, "") and "simulate" in out and "--version" in out
        code, out, err = run(capsys, "simulate", flag)
        assert (code, err) == (0, "")
    more = ("--target", "--out", "--overwrite", "--reward", "--kl", "--reference", "--kl-direction", "--lr")
    for option in (*MISPLACED, *more):
        assert re.search(rf"^ .*{option}\b", out, re.M), option
    assert "None" not in out and "For a batch" not in out
    assert run(capsys, "--version") == (0, f"pgdyn {pgdyn.__version__}\n", "")


def test_a_start_that_features_cannot_express_is_remarked_on(capsys, tmp_path):
    path = tmp_path / "square.toml"
    path.write_text(
        "true_reward = [1, 0, 0, 0]\nfeatures = [[1, 0], [0, 1], [1, 1], [0, 0]]\ninitial_policy = [0.4, 0.3, 0.2, 0.1]"
    )
    code, _, err = run(capsys, "simulate", path, "--dynamics", "ascend", "--steps", 1)
    assert code == 0
    assert "note: the features cannot express initial_policy: the run begins at" in err
