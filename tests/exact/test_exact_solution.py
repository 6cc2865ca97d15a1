"""The exact solution against SciPy's integrator, golden values, and itself told otherwise."""

from functools import cache

import exact_cases as cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import Compilations

import pgdyn
from pgdyn import Batch, Problem, exact

COUNT, CHECKED = 32, 24  # problems of a batch, of a size that all tests share; and those that SciPy solves too
GOLDEN = (  # computed with SciPy's DOP853 at 1e-13 and by quadrature in a program of its own
    (0.05, 33564.72913299, 16.70018043835),
    (0.10, 1076.90505700, 11.99820605721),
    (0.15, 139.66901884519, 10.05709073627),
)


@pytest.mark.parametrize(("rare", "on_truth", "on_proxy"), GOLDEN)
def test_the_paper_s_problems(rare, on_truth, on_proxy):
    problem = Problem.tabular([rare, 0.5, *[(0.5 - rare) / 3] * 3], [1, 0.8, -1, -1, -1])
    assert float(exact.hitting_time(problem, 0.9)) == pytest.approx(on_truth, rel=2e-12)
    assert float(exact.hitting_time(problem.with_proxy([1.0, -1, -1, -1, -1]), 0.9)) == pytest.approx(
        on_proxy, rel=2e-12
    )


@pytest.fixture(scope="module", params=list(cases.CLASSES))
def batch(request):
    name = request.param
    return cases.CLASSES[name](np.random.default_rng([*name.encode()]), 256)[:COUNT]


def test_states_are_those_of_scipy(batch):
    assert exact.covers(batch).all()
    times = np.geomspace(0.1, 300.0, len(batch))
    found = np.exp(exact.log_policy(batch, times))
    for i in range(CHECKED):
        np.testing.assert_allclose(found[i], cases.scipy_flow(batch[i], times[i])[0], rtol=0, atol=2e-12)


def test_hitting_times_are_those_of_scipy(batch):
    """Targets along the way up, and one above all that is reached."""
    ends = np.asarray(exact.true_value(batch, 100.0))
    begins = np.asarray(exact.true_value(batch, 0.0))
    targets = begins + 0.6 * np.abs(ends - begins)
    targets[CHECKED:] = begins[CHECKED:] - 1e-9
    expected = begins * 0
    for i in range(CHECKED):
        truth = np.asarray(batch.true_reward[i]) * np.asarray(batch.prompt_weights[i])[:, None]
        event = lambda pi, truth=truth, goal=targets[i]: (pi * truth).sum() - goal  # noqa: E731
        _, times = cases.scipy_flow(batch[i], 120.0, event)
        expected[i] = min(times[0][times[0] > 0], default=np.inf)
    late = np.isinf(expected)
    alone = late & (batch.true_reward.shape[-1] == 3)  # a march whose end is not in sight takes as long as all others
    found = exact.hitting_time(batch, np.where(alone, begins - 1e-9, targets))
    for i in np.flatnonzero(alone):
        found[i] = exact.hitting_time(batch[i], targets[i])
    np.testing.assert_allclose(found[~late], expected[~late], rtol=1e-11, atol=1e-12)
    assert not (found[late] <= 119.9).any()  # nan where no end of the march is in sight
    assert np.isinf(exact.hitting_time(batch, 1.5)).all()


def test_the_engine_agrees_on_thousands():
    """More than one chunk of the size for many, the last of them not full."""
    batch = cases.CLASSES["tabular"](np.random.default_rng(0), 5_000)
    ends = pgdyn.flow_many(batch, 1e4, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(exact.log_policy(batch, 1e4), ends.log_policy, rtol=0, atol=2e-8)
    targets = 0.5 * np.asarray(ends.true_value) + 0.5 * np.asarray(exact.true_value(batch, 0.0)) + 1e-3
    reached = pgdyn.flow_many(batch, 1e4, target=targets, rtol=1e-10, atol=1e-13).hitting_time
    found = exact.hitting_time(batch, targets)
    late = (found > 1e4) & np.isinf(reached)
    np.testing.assert_allclose(np.where(late, 1.0, found), np.where(late, 1.0, reached), rtol=3e-9)


# ---------------------------------------------------------------- extremes


@pytest.mark.parametrize("size", [1e-80, 1e-12, 1.0, 1e14])
def test_time_runs_with_the_rewards(size):
    problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], size * np.array([1, 0.8, -1, -1, -1]))
    assert float(exact.hitting_time(problem, 0.9 * size)) * size == pytest.approx(33564.72913298877, rel=2e-12)


@pytest.mark.parametrize("rare", [1e-10, 1e-20, 1e-70])
def test_escapes_of_any_length(rare):
    """Where y* is rare, T = int Z with Z = (1.8 tau)^3 (1/p - .2 tau) p / (2 6^3), so T p^4 -> 27/64 (theory F1)."""
    problem = Problem.tabular([rare, 0.5, *[(0.5 - rare) / 3] * 3], [1, 0.8, -1, -1, -1])
    assert float(exact.hitting_time(problem, 0.9)) * rare**4 == pytest.approx(27 / 64, rel=1e-8)
    benign = float(exact.hitting_time(problem.with_proxy([1.0, -1, -1, -1, -1]), 0.9))
    assert benign * rare == pytest.approx(benign_constant(), rel=1e-8)


@cache
def benign_constant():
    """T p without a stall: until the crossing nothing moves but x_*, with Z = 1 and gap 2 (theory F1)."""
    x = np.array([2.0, 6, 6, 6])  # of the others: nu > 0 moves them all alike; only their sum of logs keeps nu small

    def rate(share):  # Z of the others once x_* has fallen to `share` of its start: their logs make up for its fall
        low, high = 0.0, 1e9
        for _ in range(200):
            nu = (low + high) / 2
            low, high = (nu, high) if np.log1p(nu / x).sum() + np.log(share) < 0 else (low, nu)
        return (1 / (x + nu)).sum()

    points, weights = np.polynomial.legendre.leggauss(400)
    shares = ((1 + points) / 2) ** 6  # dense where little is left
    return 0.5 * (weights / 2 * 6 * ((1 + points) / 2) ** 5 * [rate(share) for share in shares]).sum()


def test_a_start_of_1e_300():
    problem = Problem.tabular([1e-300, 0.5, *[0.5 / 3] * 3], [1, -1, -1, -1, -1])
    assert float(exact.hitting_time(problem, 0.9)) * 1e-300 == pytest.approx(benign_constant(), rel=1e-8)


def test_a_lead_that_changes_after_1e42_clocks():
    """At the crossing x of the new leader falls by 18 powers of ten; the engine follows it too."""
    batch = cases.CLASSES["orthogonal features"](np.random.default_rng([*b"orthogonal features"]), COUNT)[5:6]
    found = exact.hitting_time(batch, 0.3)
    assert found == pytest.approx(
        pgdyn.flow_many(batch, 1e60, target=0.3, rtol=1e-10, atol=1e-13).hitting_time, rel=1e-8
    )
    assert 6e42 < found < 7e42 and np.isinf(exact.hitting_time(batch, 0.35))
    assert exact.true_value(batch, 1e100) == pytest.approx(batch.true_reward[0, 0, 0])


def test_ties_and_equal_rewards():
    tied = Problem.tabular([0.1, 0.2, 0.3, 0.2, 0.2], [1, 1, 0, 0, 0])
    found = exact.log_policy(tied, 1e9)
    np.testing.assert_allclose(found, pgdyn.flow(tied, 1e9, rtol=1e-12, atol=1e-13).log_policy[-1], rtol=1e-7)
    same = Problem.tabular([0.1, 0.2, 0.3, 0.2, 0.2], [2.0] * 5)
    np.testing.assert_allclose(np.exp(exact.log_policy(same, 1e9)), [[0.1, 0.2, 0.3, 0.2, 0.2]], rtol=1e-14)
    assert np.isinf(exact.hitting_time(same, 2.1)) and exact.hitting_time(same, 2.0) == 0


def test_the_better_of_two_best_outputs_wins_however_late():
    """Oracle: what never changes. With x = e^{-z}, x_0 - x_1 of equal rewards is constant, and so is the sum of z."""
    start = np.array([0.2, 0.3, 0.1, 0.25, 0.15])
    problem = Problem.tabular(start, [1, 1, -1, -1, 0])
    logs = np.asarray(exact.log_policy(problem, np.array([1e10, 1e30, 1e60, 1e150, 1e290])))[:, 0]
    shared = np.mean(np.log(start) - logs, axis=1)  # ln Z: the logits sum to what they did
    difference = np.exp(-logs[:, 0] - shared) - np.exp(-logs[:, 1] - shared)
    np.testing.assert_allclose(difference, 1 / 0.2 - 1 / 0.3, rtol=1e-9)
    assert (logs[:, 1] > -1e-3).all()


def test_a_time_beyond_the_horizon_is_not_found():
    found = exact.log_policy(Problem.tabular([0.2, 0.2, 0.2, 0.2, 0.2], [1e90, 0, 0, 0, 0]), 1e290)
    assert np.isnan(found).all()


def test_outputs_that_do_not_move():
    """Features 0: gains of 0, and the sum's other form."""
    problem = Problem.linear([[1.0, 0], [0, 0], [0, 1], [0, 0]], [1, 0.5, 0, 0.2])
    assert exact.covers(problem)
    expected = cases.scipy_flow(problem, 50.0)[0]
    np.testing.assert_allclose(np.exp(exact.log_policy(problem, 50.0)), expected, atol=1e-12)
    still = Problem.linear([[1.0, 2]] * 3, [1, 0, 0])
    np.testing.assert_allclose(np.exp(exact.log_policy(still, 1e6)), np.full((1, 3), 1 / 3), rtol=1e-14)


def test_a_middle_output_that_is_best_is_never_chosen():
    """Features on a line: the flow comes to rest between outputs, where t may be anything."""
    problem = Problem.linear([[-1.0], [0.1], [1.0]], [0.0, 1.0, 0.1], initial_params=[0.7])
    late, later = (exact.log_policy(problem, t) for t in (1e4, 1e200))
    np.testing.assert_allclose(np.exp(late), cases.scipy_flow(problem, 1e4)[0], atol=1e-11)
    np.testing.assert_allclose(late, later, rtol=1e-11)
    assert np.isinf(exact.hitting_time(problem, 0.99))


# ---------------------------------------------------------------- the way, not only its ends


def test_a_transient_peak_is_found():
    start, truth, proxy = [0.2, 0.3, 0.5 - 2e-9, 1e-9, 1e-9], [-0.3, 0.8, -0.8, 0, 0], [-0.1, -0.4, -0.7, -1, -1]
    problem = Problem.tabular(start, truth, proxy)
    up, down = exact.crossings(problem, -0.066)
    assert up == pytest.approx(float(exact.hitting_time(problem, -0.066)), rel=1e-12)
    for time, rise in ((up, 1), (down, -1)):
        before, after = (float(exact.true_value(problem, time * (1 + s))) + 0.066 for s in (-1e-6, 1e-6))
        assert before * rise < 0 < after * rise
    times = np.linspace(5, 12, 512)
    peak = float(np.max(exact.true_value(problem, times)))
    assert np.isfinite(exact.hitting_time(problem, peak - 1e-5))
    near = times[np.argmax(exact.true_value(problem, times))] + np.linspace(-1, 1, 512) * (times[1] - times[0])
    top = float(np.max(exact.true_value(problem, near)))
    assert np.isfinite(exact.hitting_time(problem, top - 1e-9))
    assert np.isinf(exact.hitting_time(problem, peak + 1e-4)) and exact.crossings(problem, peak + 1e-4).size == 0


def test_crossings_are_the_changes_of_sign_along_the_way():
    random = np.random.default_rng(7)
    times = np.concatenate([[0.0], np.geomspace(1e-4, 1e7, 4095)])
    for problem in cases.tabular(random, 8, 5):
        values = np.asarray(exact.true_value(problem, times))
        target = float(np.quantile(values, random.uniform(0.2, 0.8)))
        found = exact.crossings(problem, target)
        found = found[(found > times[1]) & (found < times[-1])]
        seen = np.flatnonzero((values[1:-1] < target) != (values[2:] < target)) + 1
        assert len(found) == len(seen)
        assert ((times[seen] <= found) & (found <= times[seen + 1])).all()


def test_the_staircase_is_walked():
    random = np.random.default_rng(3)
    for problem in cases.tabular(random, 12, 5):
        stairs = exact.staircase(problem)
        times = np.concatenate([[0.0], np.geomspace(1e-3, 1e12, 3071)])
        leaders = np.argmax(exact.log_policy(problem, times)[:, 0], axis=-1)
        walked = leaders[np.concatenate([[True], leaders[1:] != leaders[:-1]])]
        assert walked.tolist() == stairs.outputs[: len(walked)].tolist()
        assert stairs.outputs[-1] == np.argmax(problem.proxy_reward[0])


@pytest.mark.parametrize("name", ["tabular", "several prompts"])
def test_a_batch_is_its_problems(name):
    batch = cases.CLASSES[name](np.random.default_rng(2), COUNT)
    targets = np.asarray(exact.true_value(batch, 20.0))
    together = exact.hitting_time(batch, targets), exact.log_policy(batch, 20.0)
    for i in range(1):
        alone = exact.hitting_time(batch[i], targets[i]), exact.log_policy(batch[i], [20.0, 0.0])
        np.testing.assert_allclose(together[0][i], alone[0], rtol=1e-13)
        np.testing.assert_allclose(together[1][i], alone[1][0], rtol=1e-12)
        start = pgdyn.policy.log_policy(batch[i], batch[i].initial_params)
        np.testing.assert_allclose(alone[1][1], start, rtol=1e-13, atol=1e-14)


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize("name", ["tabular", "several prompts"])
def test_derivatives_of_hitting_times_are_the_differences(name):
    """Central differences of the exact times themselves, in one direction of every argument at once."""
    random = np.random.default_rng(11)
    batch = cases.CLASSES[name](random, 2)
    for i in range(2):
        problem = batch[i]
        goal = jnp.asarray(float(exact.true_value(problem, 5.0)))
        if not np.isfinite(exact.hitting_time(problem, goal)) or float(exact.hitting_time(problem, goal)) == 0:
            continue
        names = ("proxy_reward", "true_reward", "initial_params")
        arguments = (*(getattr(problem, name) for name in names), goal)

        def time(proxy, truth, start, goal, problem=problem):
            moved = Problem(
                problem.features, truth, proxy, start, problem.temperature, problem.prompt_weights, problem.transitions
            )
            return exact.hitting_time(moved, goal)

        ways = tuple(jnp.asarray(random.standard_normal(np.shape(a))) for a in arguments)
        gradient = jax.grad(time, argnums=(0, 1, 2, 3))(*arguments)
        slope = sum(float(jnp.sum(g * way)) for g, way in zip(gradient, ways, strict=True))
        ends = [float(time(*(a + s * way for a, way in zip(arguments, ways, strict=True)))) for s in (1e-6, -1e-6)]
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=2e-5, abs=1e-6)


def test_derivatives_of_states_are_the_differences():
    problem = cases.several_prompts(np.random.default_rng(5), 2)[1]

    def likelihood(proxy, time):
        return exact.log_policy(problem.with_proxy(proxy), time)[1, 2]

    proxy, time = problem.proxy_reward, jnp.asarray(7.0)
    by_reward, by_time = jax.grad(likelihood, argnums=(0, 1))(proxy, time)
    moved = [likelihood(proxy.at[1, 0].add(s), time) for s in (1e-6, -1e-6)]
    assert float(by_reward[1, 0]) == pytest.approx(float(moved[0] - moved[1]) / 2e-6, rel=1e-7)
    moved = [likelihood(proxy, time + s) for s in (1e-5, -1e-5)]
    assert float(by_time) == pytest.approx(float(moved[0] - moved[1]) / 2e-5, rel=1e-7)


# ---------------------------------------------------------------- refusals

RANDOM = Problem.linear(np.random.default_rng(0).standard_normal((5, 3)), [1, 0, 0, 0, 0])
PLAIN = Problem.tabular([0.2, 0.8], [1, 0])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: exact.hitting_time(RANDOM, 0.9), "kernel is no diag"),
        (lambda: exact.log_policy(Batch.of(RANDOM), 1.0), "problem 0 is not covered: its features' kernel"),
        (lambda: exact.hitting_time(PLAIN, float("nan")), "target is nan"),
        (lambda: exact.log_policy(PLAIN, -1.0), "t is -1.0; a time must be 0 or more"),
        (lambda: exact.log_policy(PLAIN, [[1.0]]), "one time or a list"),
        (lambda: exact.hitting_time(3, 0.9), "takes a pgdyn.Problem"),
        (lambda: exact.hitting_time(PLAIN, 0.9, objective=pgdyn.Objective(entropy=0.1)), "entropy bonus"),
        (
            lambda: exact.hitting_time(PLAIN, 0.9, objective=pgdyn.Objective(normalize_by_std=True)),
            "standard deviation",
        ),
        (lambda: exact.hitting_time(Batch.of(PLAIN), [0.5, 0.6]), "takes one number"),
        (lambda: exact.crossings(Batch.of(PLAIN), 0.5), "takes one problem"),
        (lambda: exact.staircase(RANDOM), "takes a tabular problem"),
        (lambda: exact.staircase(PLAIN, 1), "prompt is 1"),
    ],
)
def test_what_is_not_covered_is_one_sentence(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_prompts_that_move_one_another_are_not_covered():
    shared = Problem.linear(np.eye(3)[None].repeat(2, 0), [[1.0, 0, 0], [0, 1, 0]])
    assert not exact.covers(shared)
    apart = np.zeros((2, 3, 6))
    apart[0, :, :3] = apart[1, :, 3:] = np.eye(3)
    problem = Problem.linear(apart, [[1.0, 0, 0], [0, 1, 0.5]])
    assert exact.covers(problem)
    np.testing.assert_allclose(np.exp(exact.log_policy(problem, 9.0)), cases.scipy_flow(problem, 9.0)[0], atol=1e-12)


def test_a_second_call_compiles_nothing():
    batch = cases.CLASSES["orthogonal features"](np.random.default_rng(8), COUNT)
    exact.hitting_time(batch, 0.3), exact.true_value(batch, 2.0), exact.covers(batch[0])
    with Compilations() as made:
        exact.hitting_time(batch[:20], 0.3), exact.true_value(batch, 3.0), exact.covers(batch[1])
    assert made.count == 0


# ---------------------------------------------------------------- as a solver of the flow


@pytest.mark.parametrize("name", ["several prompts", "features with a common part"])
def test_the_flow_by_the_exact_solution_is_the_flow(name):
    problem = cases.CLASSES[name](np.random.default_rng(4), 2)[1]
    target = float(exact.true_value(problem, 12.0))
    settings = {"saves": 32, "target": target}
    found = pgdyn.flow(problem, 40.0, solver="exact", **settings)
    expected = pgdyn.flow(problem, 40.0, rtol=1e-12, atol=1e-13, **settings)
    for field in ("t", "params", "log_policy", "true_value", "proxy_value", "reward_variance", "kl", "hitting_time"):
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-8, atol=1e-9)
    assert found.settings.solver == "exact" and found.result == pgdyn.Result.completed


def test_the_exact_solver_stops_at_its_target_and_refuses_the_rest():
    problem = Problem.tabular([0.2] * 5, [1, 0, 0, 0, 0])
    found = pgdyn.flow(problem, 1e6, solver="exact", saves=5, target=0.9, stop_at_target=True)
    assert found.result == pgdyn.Result.reached_target and float(found.t[-1]) == float(found.hitting_time)
    assert float(found.true_value[-1]) == pytest.approx(0.9, rel=1e-13)
    with pytest.raises(ValueError, match="solver is 'magic'"):
        pgdyn.flow(PLAIN, 1.0, solver="magic")
    with pytest.raises(ValueError, match="closed form of its own"):
        pgdyn.flow(PLAIN, 1.0, solver="exact", geometry="natural")
    with pytest.raises(ValueError, match="kernel is no diag"):
        pgdyn.flow(RANDOM, 1.0, solver="exact")
    assert found.to_dataset().attrs["settings"]["solver"] == "exact"
