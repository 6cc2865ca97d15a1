"""The ensemble benchmark at tiny sizes: peers against other solvers, errors, matching, tables. Nothing is timed."""

import csv
import dataclasses
import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from experiments.benchmarks import (
    ensemble,
    ensemble_measure,
    ensemble_targets,
    peers,
    timing,
    work_precision,
    workloads,
)
from experiments.benchmarks.ensemble_cases import DIFFRAX, ENGINE, QUICK, Batch
from experiments.benchmarks.workloads import Workload

SIZE = 3
TINY = dataclasses.replace(QUICK, standard=(SIZE, SIZE), hitting=SIZE, checked=2, rounds=1)


@pytest.fixture(autouse=True)
def other_tests_keep_their_compiled_code(monkeypatch):
    monkeypatch.setattr(ensemble_measure.jax, "clear_caches", lambda: None)


@pytest.fixture(scope="module")
def workload():
    return Workload("standard", workloads.standard(SIZE))


@pytest.fixture(scope="module")
def oracle(workload):
    """log pi at t1 by SciPy's DOP853 at 1e-13, written out for a tabular policy."""
    ends = []
    for start, reward in zip(workload.problems.initial_params, workload.problems.proxy_reward, strict=True):
        reward = np.asarray(reward[0])

        def field(t, z, reward=reward):
            policy = np.exp(z) / np.exp(z).sum()
            return policy * (reward - policy @ reward)

        found = solve_ivp(field, (0, workload.t1), np.asarray(start[0]), method="DOP853", rtol=1e-13, atol=1e-13)
        ends.append(found.y[:, -1] - np.log(np.exp(found.y[:, -1]).sum()))
    return np.array(ends)[:, None]


@pytest.mark.parametrize("name", [name for name, peer in peers.PEERS.items() if peer.adaptive and peer.available])
def test_peers_solve_the_flow(name, workload, oracle):
    ends = peers.PEERS[name].prepare(workload)(1e-8)
    assert np.abs(ends.log_policy - oracle).max() < 1e-5
    assert ends.steps.shape == (SIZE,) and (ends.steps > 10).all()


def test_the_reference_and_its_judge(workload, oracle):
    assert np.abs(peers.reference(workload).log_policy - oracle).max() < 1e-9
    judge = peers.scipy_check(workload, np.array([2, 0]))
    assert np.abs(judge.log_policy - oracle[[2, 0]]).max() < 1e-9


def test_the_field_with_features_is_the_gradient_of_the_value():
    """Oracle: central differences of V."""
    problem = workloads.linear(2, prompts=2, outputs=3, width=2, shared=False)[1]
    start, field, log_policy = peers._numpy_field(problem)

    def value(params):
        return (np.exp(log_policy(params)) * np.asarray(problem.proxy_reward)).sum(-1).mean()

    steps = 1e-6 * np.eye(2)
    differences = [(value(start + step) - value(start - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(field(0.0, start), differences, rtol=1e-7)
    np.testing.assert_allclose(peers._value_gradient(problem, start, False), differences, rtol=1e-7)
    np.testing.assert_allclose(peers._value_gradient(problem, start, True), differences, rtol=1e-7)


def test_the_ascent_scan_is_gradient_ascent(monkeypatch):
    """Oracle: a NumPy loop in float64."""
    monkeypatch.setattr(peers, "ASCENT_STEPS", 200)
    workload = Workload("standard", workloads.standard(SIZE), t1=20.0)
    logits, reward = np.array(workload.problems.initial_params[:, 0]), np.array(workload.problems.proxy_reward[:, 0])
    for _ in range(200):
        policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        logits += 0.1 * policy * (reward - (policy * reward).sum(-1, keepdims=True))
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    ends = peers._ascent(workload)(0.0)
    np.testing.assert_allclose(ends.log_policy[:, 0], expected, atol=1e-4)


def test_errors_are_those_against_the_reference(workload, monkeypatch):
    """A peer that is off by known amounts must be reported with them."""
    truth = peers.reference(workload).log_policy
    shift = np.zeros_like(truth)
    shift[1, 0, 3], shift[2, 0, 0] = 0.25, -0.5

    def prepare(workload):
        return lambda rtol: peers.Ends(truth + shift, np.array([4, 5, 9]))

    monkeypatch.setitem(peers.PEERS, "shifted", peers.Peer("shifted", prepare))
    batch = Batch(workload, {"shifted": [1e-6]})
    row, check = ensemble_measure.measure("case", [batch], TINY, "cpu")
    assert row["error_max"] == pytest.approx(0.5, abs=1e-12)
    assert row["error_p99"] == pytest.approx(np.quantile([0, 0.25, 0.5], 0.99), abs=1e-12)
    assert row["steps_mean"] == 6 and row["steps_max"] == 9 and row["problems"] == SIZE
    assert check["peer"] == ensemble_measure.CHECK and check["error_max"] < 1e-9 and check.get("warm_s") is None


def test_hitting_time_errors():
    times = np.array([1.0, np.inf, 0.0, 2.0])
    error = work_precision.hitting_time_error
    assert error(times, times).largest == 0
    assert error(times, np.array([1.0, np.inf, 0.0, 1.6])).largest == pytest.approx(0.25)
    assert error(times, np.array([1.0, 5.0, 0.0, 2.0])).largest == np.inf
    assert error(times, np.array([np.inf, np.inf, 0.0, 2.0])).largest == np.inf


def test_time_at_equal_error():
    """Oracle: a power law, of which interpolation in logarithms is exact."""
    errors = [1e-3, 1e-5, 1e-6, 1e-9]
    seconds = [error**-0.2 for error in errors]
    for wanted in (1e-4, 3e-8, 1e-6):
        match = work_precision.time_at_error(errors, seconds, wanted)
        assert match.relation == "=" and match.seconds == pytest.approx(wanted**-0.2)
    assert work_precision.time_at_error(errors, seconds, 1e-10) == (seconds[-1], ">")
    assert work_precision.time_at_error(errors, seconds, 1e-2) == (seconds[0], "<")
    # A run that is both slower and less exact than another one does not count.
    assert work_precision.time_at_error([*errors, 1e-4], [*seconds, 1e9], 1e-4).seconds == pytest.approx(1e-4**-0.2)


def test_tasks_take_turns():
    order = []
    tasks = {name: lambda name=name: order.append(name) or name * 2 for name in "ab"}
    timings = timing.in_turns(tasks, rounds=3, at_least=2, budget=0.0, turn=0.0)
    assert order == ["a", "b", "a", "b"]
    assert timings["b"].result == "bb" and len(timings["b"].seconds) == 2


def test_a_turn_of_a_short_task_is_several_calls(monkeypatch):
    seconds = {"short": 0.25, "long": 3.0}
    monkeypatch.setattr(timing, "once", lambda run: (run(), seconds[run()]))
    timings = timing.in_turns({name: lambda name=name: name for name in seconds}, rounds=2, turn=1.0)
    assert timings["short"].seconds == [0.25] * 8
    assert timings["long"].seconds == [3.0] * 2


def test_verdicts_are_taken_at_equal_error():
    def row(peer, rtol, seconds, error):
        about = {"case": "wide", "workload": "K = 64", "problems": 10}
        return about | {"peer": peer, "rtol": rtol, "warm_s": seconds, "error_p99": error}

    rows = [row(ENGINE, 1e-6, 1.0, 1e-7), row(DIFFRAX, 1e-6, 3.0, 1e-5), row(DIFFRAX, 1e-8, 9.0, 1e-7)]
    (diffrax, numba) = ensemble_targets.judge(rows, "cpu")
    assert diffrax["verdict"] == "met" and float(diffrax["measured"]) == 9 and float(diffrax["at_equal_tolerance"]) == 3
    assert numba["measured"] is None and numba["verdict"] == "not measured"
    rows[2] = row(DIFFRAX, 1e-8, 9.0, 1e-6)
    assert ensemble_targets.judge(rows, "cpu")[0]["measured"] == "> 9"
    # All its runs are more exact: that the fastest takes nine times as long does not show what an equal one takes.
    rows[1:] = [row(DIFFRAX, 1e-8, 9.0, 1e-8)]
    assert ensemble_targets.judge(rows, "cpu")[0]["verdict"] == "not shown"


def test_plateaus_stall_as_long_as_they_should():
    """Oracle: T(.9) = 4821 of the paper's e = .05 problem (three bad outputs), and DOP853 for n = 1 at 1e-2."""
    problems = workloads.plateaus(7)  # pi_0(y*) in half decades
    best = np.exp(np.asarray(problems.initial_params))[..., 0, 0]
    np.testing.assert_allclose(best.reshape(3, 7)[:, [0, 2, 6]], np.tile([1e-1, 1e-2, 1e-4], (3, 1)))
    easy = workloads.standard(9)
    both, hard = workloads.mixed(easy, problems)
    assert hard.sum() == 21 and len(both) == 30
    np.testing.assert_array_equal(np.sort(best), np.sort(np.exp(both.initial_params[hard, 0, 0])).clip(min=best.min()))
    target = np.full(21, workloads.PLATEAU_TARGET)
    late = Workload("plateaus", problems, workloads.LATE_TIME, target)
    ends, judge = peers.reference(late), peers.scipy_check(late, np.array([0, 2, 4]))
    np.testing.assert_allclose(ends.hitting_time[[0, 2, 4]], judge.hitting_time, rtol=1e-9)
    assert ends.finished.all()
    slopes = -np.diff(np.log10(ends.hitting_time.reshape(3, 7)), axis=1) / np.diff(np.log10(best[:7]))
    # Theta(pi_0^-(n + 1)): the measured slopes at the smallest starts that escape before t1.
    assert slopes[0, -1] == pytest.approx(2, abs=0.02) and slopes[1, -1] == pytest.approx(3, abs=0.02)


def test_targets_of_random_problems_lie_ahead():
    problems = workloads.standard(50)
    policy = np.exp(np.asarray(problems.initial_params))
    start = (policy * np.asarray(problems.true_reward)).sum(-1)[:, 0]
    target = workloads.climb_targets(problems)
    best = np.asarray(problems.true_reward).max(-1)[:, 0]
    np.testing.assert_allclose((target - start) / (best - start), 0.9)


def test_the_command_writes_its_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(ensemble.ensemble_cases, "QUICK", TINY)
    assert ensemble.main(["--quick", "--only", "hitting", "--out", str(tmp_path)]) == 0
    with (tmp_path / "ensemble_timings.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert tuple(rows[0]) == ensemble_measure.COLUMNS
    timed = [row for row in rows if row["peer"] == ENGINE]
    assert len(timed) == 6 and all(float(row["warm_s"]) > 0 for row in timed)
    assert [row["cold_s"] != "" for row in timed] == [True, True, False, False, False, False]
    checks = [row for row in rows if row["peer"] == ensemble_measure.CHECK]
    assert len(checks) == 2 and all(float(row["error_max"]) < 1e-9 for row in checks)
    with (tmp_path / "ensemble_targets.csv").open() as stream:
        targets = list(csv.DictReader(stream))
    assert tuple(targets[0]) == ensemble_targets.COLUMNS and len(targets) == 2
    assert math.isfinite(float(targets[1]["measured"]))
    with (tmp_path / "ensemble_machine.csv").open() as stream:
        assert {"cpu", "cores", "numba", "dtype"} <= {row["what"] for row in csv.DictReader(stream)}


def test_refusals(capsys):
    for arguments, words in (
        (["--device", "gpu"], "finds no gpu"),
        (["--only", "nothing"], "invalid choice"),
        (["--only", "standard-1e6"], "needs --device gpu"),
    ):
        with pytest.raises(SystemExit) as stopped:
            ensemble.main(arguments)
        assert stopped.value.code == 2 and words in capsys.readouterr().err
