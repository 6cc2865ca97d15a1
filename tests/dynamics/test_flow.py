"""Gradient flow against SciPy's DOP853 at 1e-13 and closed forms; what a solution holds and what is refused."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from flow_cases import SAVES, TABULAR, flow_batch, plain, random_settings, simple_flow, tabular
from hypothesis import given
from oracles import Goal, Setting
from scipy.optimize import brentq
from strategies import make_setting, settings

import pgdyn

# ---------------------------------------------------------------- DOP853


@pytest.mark.parametrize(("shape", "count"), [(TABULAR, 40), ((1, 10, 4), 30), ((3, 5, 4), 30)])
def test_a_hundred_random_problems_against_dop853(shape, count):
    """Within 1e-6 in log-probability at every save, and 1e-6 relative in hitting time."""
    t1 = 50.0
    drawn = list(random_settings(shape, range(count)))
    starts = [oracles.value(s, s.start, s.true_reward) for s in drawn]
    best = [(s.prompt_weights * s.true_reward.max(axis=1)).sum() for s in drawn]
    targets = [start + 0.3 * (top - start) for start, top in zip(starts, best, strict=True)]
    run = flow_batch(drawn, t1, targets)
    hits = 0
    for i, (setting, target) in enumerate(zip(drawn, targets, strict=True)):
        path, hit = oracles.flow(setting, np.asarray(run.t[i]), plain(setting), target)
        expected = np.stack([oracles.log_policy(setting, point) for point in path])
        np.testing.assert_allclose(run.log_policy[i], expected, rtol=0, atol=1e-6)
        if np.isinf(hit):
            assert np.isinf(run.hitting_time[i])
        else:
            assert abs(float(run.hitting_time[i]) / hit - 1) < 1e-6
            hits += 1
    assert (run.result == pgdyn.Result.completed).all()
    assert count // 4 < hits < count  # both outcomes are really tested


@pytest.mark.parametrize(
    ("shape", "goal", "geometry"),
    [
        (TABULAR, Goal(kl=0.1), "euclidean"),
        (TABULAR, Goal(kl=0.1, reference="uniform", kl_direction="forward", entropy=0.05), "euclidean"),
        ((3, 5, 4), Goal("true", kl=0.2, reference="uniform", entropy=-0.02), "euclidean"),
        ((3, 5, 4), Goal(kl=0.2, kl_direction="forward", normalize_by_std=True), "euclidean"),
        (TABULAR, Goal(entropy=0.1), "natural"),
        ((3, 5, 4), Goal(kl=0.3), "natural"),
    ],
    ids=str,
)
def test_objectives_and_geometries_against_dop853(shape, goal, geometry):
    """Oracle: DOP853 on complex-step gradients (natural: times the pseudo-inverse of the enumerated Fisher matrix)."""
    setting = make_setting(21, shape, temperature=1.5)
    slope = oracles.gradient if geometry == "euclidean" else oracles.natural_gradient
    t1, tolerance = (6.0, 1e-13) if geometry == "euclidean" else (1.0, 1e-10)
    run = pgdyn.flow(setting.problem(), t1, objective=goal.objective(), saves=5, geometry=geometry)
    path, _ = oracles.flow(setting, np.asarray(run.t), lambda x: slope(setting, goal, x), tolerance=tolerance)
    expected = np.stack([oracles.log_policy(setting, point) for point in path])
    np.testing.assert_allclose(run.log_policy, expected, rtol=0, atol=1e-6)
    divergences = [oracles.divergence(setting, goal, point) for point in path]
    np.testing.assert_allclose(run.kl, divergences, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("shape", [(1, 200, None), (1, 200, 10), (4, 3, 20)])
def test_many_outputs_against_dop853(shape):
    setting = make_setting(2, shape)
    run = simple_flow(setting, 20.0, target=None)
    path, _ = oracles.flow(setting, np.asarray(run.t), plain(setting))
    expected = np.stack([oracles.log_policy(setting, point) for point in path])
    np.testing.assert_allclose(run.log_policy, expected, rtol=0, atol=1e-6)


# ---------------------------------------------------------------- what a solution holds


@pytest.mark.parametrize("shape", [TABULAR, (3, 5, 4)])
def test_solution_contents(shape):
    setting = make_setting(4, shape, temperature=0.7, weighted=True)
    goal = Goal(kl=0.05, kl_direction="forward", reference="uniform")
    run = pgdyn.flow(setting.problem(), 9.0, objective=goal.objective(), saves=SAVES)
    assert run.dynamics == "flow"
    assert run.result == pgdyn.Result.completed
    assert run.message == "ran to the end"
    assert np.isnan(run.hitting_time)
    assert run.t[0] == 0 and run.t[-1] == 9.0
    np.testing.assert_allclose(np.diff(np.log1p(run.t)), np.log(10) / (SAVES - 1), rtol=1e-12)
    assert run.params.shape == (SAVES, *setting.start.shape)
    assert run.log_policy.shape == run.policy.shape == (SAVES, *shape[:2])
    np.testing.assert_allclose(run.policy.sum(-1), 1.0, rtol=1e-14)
    np.testing.assert_allclose(run.params[0], setting.start, rtol=1e-14, atol=1e-14)
    for i, point in enumerate(np.asarray(run.params)):
        np.testing.assert_allclose(run.log_policy[i], oracles.log_policy(setting, point), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(run.true_value[i], oracles.value(setting, point, setting.true_reward), rtol=1e-12)
        np.testing.assert_allclose(run.proxy_value[i], oracles.value(setting, point, setting.proxy_reward), rtol=1e-12)
        spread = oracles.variance(setting, point, setting.proxy_reward)
        np.testing.assert_allclose(run.reward_variance[i], spread, rtol=1e-11)
        np.testing.assert_allclose(run.kl[i], oracles.divergence(setting, goal, point), rtol=1e-10, atol=1e-14)
    assert run.settings == pgdyn.Flow(9.0, goal.objective(), saves=SAVES)


def test_hitting_time_conventions(paper_problem):
    def hit(target):
        return float(pgdyn.flow(paper_problem, 30.0, target=target, saves=SAVES).hitting_time)

    assert hit(-0.5) == 0.0  # reached at the start
    assert np.isinf(hit(2.0))
    start = np.dot([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
    assert 0 <= hit(float(start) + 1e-9) < 1e-6
    times = [hit(target) for target in (0.2, 0.4, 0.6)]
    assert times == sorted(times) and times[0] > 0


def test_a_target_passed_on_the_way_up_and_down_again():
    """A hacked proxy lifts the true value, then ruins it: the first of the two crossings counts. Oracle: DOP853."""
    setting = tabular([0.05, 0.3, 0.352, 0.2, 0.098], [-1, 1, 0, 0, -0.5], [1, 0.35, -1, -1, -1])
    path, _ = oracles.flow(setting, np.linspace(0, 200, 4001), plain(setting))
    values = np.array([oracles.value(setting, point, setting.true_reward) for point in path])
    target = values.max() - 1e-3 * (values.max() - values[0])
    assert values[-1] < 0 < target
    _, hit = oracles.flow(setting, np.array([0.0, 200.0]), plain(setting), target)
    assert abs(float(simple_flow(setting, 200.0, target=target).hitting_time) / hit - 1) < 1e-6


# ---------------------------------------------------------------- theory as oracle


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (2.25, 0.3)])
def test_a5_two_outputs_closed_form(a, b):
    """sinh u + u = (a + b) D t / 2 + sinh u_0 + u_0 for orthogonal features of squared norms a, b."""
    gap, t1 = 1.7, 200.0
    phi = np.array([[[np.sqrt(a), 0.0], [0.0, np.sqrt(b)]]])
    reward = np.array([[1.0, 1.0 - gap]])
    setting = Setting(phi, reward, reward, np.array([-1.0, 2.0]))
    run = simple_flow(setting, t1, target=None)
    u = np.asarray(run.log_policy[:, 0, 0] - run.log_policy[:, 0, 1])
    for time, measured in zip(np.asarray(run.t), u, strict=True):
        level = (a + b) * gap * time / 2 + np.sinh(u[0]) + u[0]
        expected = brentq(lambda x, level=level: np.sinh(x) + x - level, -50, 50, xtol=1e-14)
        assert abs(measured - expected) < 1e-6


def test_a6_two_level_closed_form():
    """F(u) = (e^u + 2 N u - N^2 e^-u)/N grows as D K/(K - 1) t; p reaches .9 at t = 15.2478337688."""
    others = 4
    setting = tabular([0.05, *[0.95 / 4] * 4], [1.0, -1, -1, -1, -1])
    run = simple_flow(setting, 100.0, target=0.8)
    assert abs(float(run.hitting_time) / 15.2478337688 - 1) < 1e-9
    u = np.asarray(run.log_policy[:, 0, 0] - run.log_policy[:, 0, 1])
    level = (np.exp(u) + 2 * others * u - others**2 * np.exp(-u)) / others
    np.testing.assert_allclose(level - level[0], 2.0 * 5 / 4 * np.asarray(run.t), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a7_natural_flow_is_exponential_tilting(temperature):
    """pi_t ~ pi_0 exp(t r), whatever the temperature."""
    setting = make_setting(8, TABULAR, temperature=temperature)
    run = simple_flow(setting, 60.0, target=None, geometry="natural")
    start = oracles.log_policy(setting, setting.start)
    for time, measured in zip(np.asarray(run.t), np.asarray(run.log_policy), strict=True):
        tilted = start + time * setting.proxy_reward
        expected = tilted - np.log(np.exp(tilted - tilted.max()).sum()) - tilted.max()
        np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("reference", ["initial", "uniform"])
def test_a8_kl_optimum(reference):
    """The regularised flow ends at pi_ref e^{r/beta} / Z on every prompt, with value beta ln E_ref e^{r/beta}."""
    beta = 0.4
    setting = make_setting(5, (3, 5, None), weighted=False)
    goal = Goal(kl=beta, reference=reference)
    run = pgdyn.flow(setting.problem(), 3e5, objective=goal.objective(), saves=SAVES, rtol=1e-10, atol=1e-12)
    log_ref = oracles.reference_log_policy(setting, goal)
    unscaled = np.exp(log_ref + setting.proxy_reward / beta)
    np.testing.assert_allclose(run.policy[-1], unscaled / unscaled.sum(1, keepdims=True), rtol=1e-8)
    expected = beta * np.log(unscaled.sum(1)).mean()
    np.testing.assert_allclose(goal.objective().value(setting.problem(), run.params[-1]), expected, rtol=1e-10)


def test_a9_scaled_rewards_run_faster_and_constants_change_nothing():
    setting = make_setting(6, (3, 5, 4))
    shift = np.array([[3.0], [-1.0], [0.5]])
    base = simple_flow(setting, 40.0)
    for scale in (1e6, 1e-3):
        scaled = dataclasses.replace(setting, proxy_reward=scale * setting.proxy_reward)
        run = simple_flow(scaled, 40.0 / scale)
        np.testing.assert_allclose(run.log_policy[-1], base.log_policy[-1], rtol=0, atol=1e-6)
    shifted = dataclasses.replace(setting, proxy_reward=setting.proxy_reward + shift)
    np.testing.assert_allclose(simple_flow(shifted, 40.0).log_policy, base.log_policy, rtol=0, atol=1e-6)


@given(settings(rewards=("uniform", "ties", "gap")))
def test_a1_and_a3_velocity_of_the_log_policy(setting):
    """d ln pi(y)/dt = sum_z pi(z) A(z) <phi(z), phi(y) - phibar>, prompt by prompt (here with temperature)."""
    problem = setting.problem()
    objective = pgdyn.Objective()
    moved = pgdyn.dynamics.flow.velocity(
        problem, objective, problem.initial_params, objective.reference_log_policy(problem)
    )
    log_rate = jax.jvp(lambda x: pgdyn.policy.log_policy(problem, x), (problem.initial_params,), (moved,))[1]
    prompts, outputs = setting.true_reward.shape
    phi = setting.features
    if phi is None:
        phi = np.eye(prompts * outputs).reshape(prompts, outputs, -1)
    pi = np.exp(oracles.log_policy(setting, setting.start))
    advantage = setting.proxy_reward - (pi * setting.proxy_reward).sum(1, keepdims=True)
    push = np.einsum("p,pk,pkd->d", setting.prompt_weights, pi * advantage, phi)
    centred = phi - np.einsum("pk,pkd->pd", pi, phi)[:, None]
    expected = centred @ push / setting.temperature**2
    np.testing.assert_allclose(log_rate, expected, rtol=1e-9, atol=1e-12 * (1 + np.abs(phi).max() ** 2))
    if setting.features is None and prompts == 1:  # A3
        gain = pi * advantage / setting.temperature**2
        np.testing.assert_allclose(log_rate[:, 0] - log_rate[:, 1], gain[:, 0] - gain[:, 1], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("goal", [Goal(), Goal(kl=0.3, kl_direction="forward", entropy=0.1)], ids=str)
def test_a4_sum_of_tabular_logits_is_conserved(goal):
    setting = make_setting(7, (3, 5, None), temperature=1.7)
    run = pgdyn.flow(setting.problem(), 1e4, objective=goal.objective(), saves=SAVES)
    sums = np.asarray(run.params.sum(-1))
    np.testing.assert_allclose(sums, np.broadcast_to(sums[0], sums.shape), rtol=0, atol=1e-10)


# ---------------------------------------------------------------- what is refused

PROBLEM = tabular([0.5, 0.5], [1.0, 0.0]).problem()
BATCH = PROBLEM.with_proxy(np.zeros((3, 1, 2)))
REFUSED = [
    ((PROBLEM, 0.0), {}, "t1 is 0; it must be positive"),
    ((PROBLEM, -1), {}, "t1 is -1; it must be positive"),
    ((PROBLEM, np.nan), {}, "t1 is nan; every entry of t1 must be finite"),
    ((PROBLEM, np.inf), {}, "t1 is inf; every entry of t1 must be finite"),
    ((PROBLEM, "long"), {}, "t1 is 'long'; every entry of t1 must be a real number"),
    ((PROBLEM, None), {}, "t1 is None; every entry of t1 must be a real number"),
    ((PROBLEM, True), {}, "t1 is True; every entry of t1 must be a real number"),
    ((PROBLEM, [1.0, 2.0]), {}, "t1 must be a single number, got an array of shape (2,)"),
    ((PROBLEM, 1.0), {"target": np.nan}, "target is nan; every entry of target must be finite"),
    ((PROBLEM, 1.0), {"target": np.inf}, "target is inf; every entry of target must be finite"),
    ((PROBLEM, 1.0), {"target": "high"}, "target is 'high'; every entry of target must be a real number"),
    ((PROBLEM, 1.0), {"saves": 1}, "saves is 1; it must be at least 2"),
    ((PROBLEM, 1.0), {"saves": 2.5}, "saves must be a whole number, got 2.5"),
    ((PROBLEM, 1.0), {"saves": True}, "saves must be a whole number, got True"),
    ((PROBLEM, 1.0), {"rtol": 0.0}, "rtol is 0; it must be positive"),
    ((PROBLEM, 1.0), {"atol": -1e-9}, "atol is -1e-09; it must be positive"),
    ((PROBLEM, 1.0), {"rtol": np.nan}, "rtol is nan; every entry of rtol must be finite"),
    ((PROBLEM, 1.0), {"max_steps": 0}, "max_steps is 0; it must be at least 1"),
    ((PROBLEM, 1.0), {"geometry": "flat"}, "geometry is 'flat'; it must be one of 'euclidean', 'natural'"),
    ((PROBLEM, 1.0), {"geometry": None}, "geometry is None; it must be one of 'euclidean', 'natural'"),
    ((PROBLEM, 1.0), {"objective": "proxy"}, "objective is 'proxy'; flow takes a pgdyn.Objective"),
    ((None, 1.0), {}, "problem is None; flow takes a pgdyn.Problem"),
    ((BATCH, 1.0), {}, "flow takes one problem and this is a batch of 3; use pgdyn.flow_many"),
]


@pytest.mark.parametrize(("arguments", "options", "sentence"), REFUSED, ids=[row[2] for row in REFUSED])
def test_bad_input_is_refused_in_one_sentence(arguments, options, sentence):
    with pytest.raises(ValueError) as refusal:
        pgdyn.flow(*arguments, **options)
    assert str(refusal.value) == sentence


def test_float32_is_refused_and_says_what_to_do():
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PROBLEM)
    with pytest.raises(ValueError, match="flow needs float64 and this problem is float32; leave PGDYN_X64 unset"):
        pgdyn.flow(single, 1.0)


def test_no_warning_is_raised(paper_problem):
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        pgdyn.flow(paper_problem, 3.0, target=0.9, saves=SAVES)
    assert not heard


def test_the_root_is_as_good_as_the_path(paper_problem):
    """The hitting time by the exact solution, to eleven digits."""
    found = pgdyn.flow(paper_problem, 1e5, target=0.9, saves=2, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.hitting_time, 33564.729132989, rtol=3e-11)
