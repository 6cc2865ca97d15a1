"""The benchmark's peers solve the flow. Oracle: SciPy's DOP853 at 1e-13, written out for a tabular policy."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from experiments.benchmarks import batched_tsit5, peers, scipy_loop, tableaux, vmapped_diffrax, workloads
from experiments.benchmarks.peers import LIMIT, PEERS, PLAIN
from experiments.benchmarks.workloads import Workload

SIZE = 3


@pytest.fixture(scope="module")
def workload():
    return Workload("standard", workloads.standard(SIZE))


@pytest.fixture(scope="module")
def oracle(workload):
    ends = []
    for problem in workload.problems:
        reward = np.asarray(problem.proxy_reward[0])

        def field(t, z, reward=reward):
            policy = np.exp(z) / np.exp(z).sum()
            return policy * (reward - policy @ reward)

        start = np.asarray(problem.initial_params[0])
        found = solve_ivp(field, (0, workload.t1), start, method="DOP853", rtol=1e-13, atol=1e-13)
        ends.append(found.y[:, -1] - np.log(np.exp(found.y[:, -1]).sum()))
    return np.array(ends)[:, None]


ADAPTIVE = [name for name, peer in PEERS.items() if peer.adaptive and peer.available() and name != LIMIT]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_peers_solve_the_flow(name, workload, oracle):
    ends = PEERS[name].prepare(workload)(1e-8)
    assert np.abs(ends.log_policy - oracle).max() < 1e-5
    assert ends.steps.shape == (SIZE,) and (ends.steps > 10).all()


def test_the_reference_and_its_judge(workload, oracle):
    assert np.abs(vmapped_diffrax.reference(workload).log_policy - oracle).max() < 1e-9
    judge = scipy_loop.judge(workload, np.array([2, 0]))
    assert np.abs(judge.log_policy - oracle[[2, 0]]).max() < 1e-9


def test_the_field_with_features_is_the_gradient_of_the_value():
    """Oracle: central differences of V."""
    problem = workloads.linear(2, prompts=2, outputs=3, width=2, shared=False)[1]
    start, field, log_policy = scipy_loop.numpy_field(problem)

    def value(params):
        return (np.exp(log_policy(params)) * np.asarray(problem.proxy_reward)).sum(-1).mean()

    steps = 1e-6 * np.eye(2)
    differences = [(value(start + step) - value(start - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(field(0.0, start), differences, rtol=1e-7)
    for late in (False, True):
        np.testing.assert_allclose(vmapped_diffrax.value_gradient(problem, start, late), differences, rtol=1e-7)


def test_the_ascent_scan_is_gradient_ascent(monkeypatch):
    """Oracle: a NumPy loop in float64."""
    monkeypatch.setattr(peers, "ASCENT_STEPS", 200)
    workload = Workload("standard", workloads.standard(SIZE), t1=20.0)
    logits, reward = np.array(workload.problems.initial_params[:, 0]), np.array(workload.problems.proxy_reward[:, 0])
    for _ in range(200):
        policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        logits += 0.1 * policy * (reward - (policy * reward).sum(-1, keepdims=True))
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    ends = peers.ascent(workload)(0.0)
    np.testing.assert_allclose(ends.log_policy[:, 0], expected, atol=1e-4)


def test_the_plain_engine_gives_every_lane_its_own_result(workload, monkeypatch):
    """Lanes are sorted, cut into chunks and padded; each must come back in its place."""
    monkeypatch.setattr(batched_tsit5, "CHUNK", 2)
    wanted = PEERS[PLAIN].prepare(workload)(1e-6).log_policy
    for lane in range(SIZE):
        alone = Workload("one", workload.problems[lane : lane + 1])
        np.testing.assert_allclose(PEERS[PLAIN].prepare(alone)(1e-6).log_policy[0], wanted[lane], atol=1e-12)


@pytest.mark.parametrize(("pair", "order"), [(tableaux.DOPRI5, 5), (tableaux.DOP853, 8)])
def test_tableaux_have_their_order(pair, order):
    """Oracle: y' = -y + sin 5t, solved exactly; one step errs like h^(order + 1)."""
    turning = np.array([[-1.0, 1.0, 0.0], [0.0, 0.0, 5.0], [0.0, -5.0, 0.0]])
    start = np.array([1.0, 0.0, 1.0])
    values, vectors = np.linalg.eig(turning)

    def error(h):
        slopes = [turning @ start]
        for row in pair.stages:
            slopes.append(turning @ (start + h * sum(weight * slopes[i] for i, weight in row.items())))
        end = start + h * sum(weight * slopes[i] for i, weight in pair.solution.items())
        exact = (vectors * np.exp(values * h)) @ np.linalg.solve(vectors, start.astype(complex))
        return np.abs(end - exact.real).max()

    assert np.log2(error(0.4) / error(0.2)) == pytest.approx(order + 1, abs=0.4)


def test_rows_of_weights_are_written_out():
    assert eval(tableaux.weighted({0: 0.25, 3: -2.0}, "k[{}]"), {"k": [8.0, 0, 0, 1.0]}) == 0.0
