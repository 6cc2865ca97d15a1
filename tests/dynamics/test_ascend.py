"""Exact ascent against a plain float64 NumPy loop, and the paper's golden table."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import oracles
import pytest
from compilations import Compilations
from oracles import Adam, Goal, Setting, Sgd
from strategies import make_setting

import pgdyn

TABULAR = (1, 5, None)


def decay(count):
    return 0.5 / (1.0 + count)


OPTIMIZERS = {
    "sgd": (lambda: optax.sgd(0.3), lambda: Sgd(0.3)),
    "momentum": (lambda: optax.sgd(0.1, momentum=0.9), lambda: Sgd(0.1, 0.9)),
    "nesterov": (lambda: optax.sgd(0.1, momentum=0.8, nesterov=True), lambda: Sgd(0.1, 0.8, nesterov=True)),
    "adam": (lambda: optax.adam(0.05), lambda: Adam(0.05)),
    "schedule": (lambda: optax.sgd(decay), lambda: Sgd(decay)),
    "cosine": (
        lambda: optax.sgd(optax.cosine_decay_schedule(0.4, 20)),
        lambda: Sgd(lambda count: 0.4 * 0.5 * (1 + np.cos(np.pi * min(count, 20) / 20))),
    ),
}


@pytest.mark.parametrize("shape", [TABULAR, (3, 5, 4)])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_update_is_that_of_a_plain_loop(name, shape):
    """Oracle: oracles.ascend, complex-step gradients and the optimisers' textbook formulas."""
    ours, theirs = OPTIMIZERS[name]
    goal = Goal(kl=0.1, reference="uniform")
    setting = make_setting(13, shape, temperature=0.8, weighted=True)
    run = pgdyn.ascend(setting.problem(), 30, optimizer=ours(), objective=goal.objective())
    path, _ = oracles.ascend(setting, goal, 30, theirs())
    # Adam divides by the root of tiny squares, which magnifies rounding.
    np.testing.assert_allclose(run.params, path, rtol=1e-10, atol=1e-9 if name == "adam" else 1e-12)
    np.testing.assert_array_equal(run.t, np.arange(31))


@pytest.mark.parametrize(
    "goal",
    [
        Goal("true"),
        Goal(kl=0.3, kl_direction="forward"),
        Goal(kl=0.3, reference="uniform", kl_direction="forward", entropy=0.1),
        Goal(normalize_by_std=True),
        Goal(normalize_by_std="detached", kl=0.2),
    ],
    ids=str,
)
def test_objectives_along_a_plain_loop(goal):
    setting = make_setting(14, (3, 5, 4), temperature=1.6)
    run = pgdyn.ascend(setting.problem(), 12, objective=goal.objective(), optimizer=optax.sgd(0.2))
    path, _ = oracles.ascend(setting, goal, 12, Sgd(0.2))
    np.testing.assert_allclose(run.params, path, rtol=1e-9, atol=1e-11)
    for i, point in enumerate(path):
        np.testing.assert_allclose(run.true_value[i], oracles.value(setting, point, setting.true_reward), rtol=1e-9)
        np.testing.assert_allclose(run.kl[i], oracles.divergence(setting, goal, point), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 1, None), (1, 200, None), (1, 200, 10), (2, 3, 7)])
def test_any_number_of_outputs(shape):
    setting = make_setting(15, shape)
    run = pgdyn.ascend(setting.problem(), 5, optimizer=optax.sgd(0.5))
    path, _ = oracles.ascend(setting, Goal(), 5, Sgd(0.5))
    np.testing.assert_allclose(run.params, path, rtol=1e-11, atol=1e-13)


# ---------------------------------------------------------------- the paper's golden table

RESIDUAL = [1.0, 0.8, -1.0, -1.0, -1.0], [1.0, -1.0, -1.0, -1.0, -1.0]
ROOT = np.sqrt(0.5)
GOLDEN = {  # hit, V_G after 1,000 updates, V_G after 50,000 (arXiv 2604.25872, appendix C; float32 reference)
    "e=.05 ground truth": (np.inf, 0.79234, 0.79987),
    "e=.05 proxy": (168, 0.99319, 0.99988),
    "e=.10 ground truth": (10690, 0.79297, 0.99982),
    "e=.10 proxy": (120, 0.99362, 0.99988),
    "e=.15 ground truth": (1393, 0.80711, 0.99984),
    "e=.15 proxy": (101, 0.99383, 0.99988),
    "features orthogonal": (19165, 0.79249, 0.99989),
    "features negative": (np.inf, 0.79216, 0.79985),
    "features positive": (443, 0.98060, 0.99982),
}


@pytest.fixture(scope="module")
def nine_runs():
    truth, proxy = RESIDUAL

    def start(e):
        return [e, 0.5, *[(0.5 - e) / 3] * 3]

    tabular = pgdyn.stack(
        [pgdyn.Problem.tabular(start(e), truth, reward) for e in (0.05, 0.10, 0.15) for reward in (truth, proxy)]
    )
    linear = []
    for c, s in ((0.0, 1.0), (-ROOT, ROOT), (ROOT, ROOT)):
        features = np.eye(5)
        features[0, 0], features[1, :2] = 1.5, (c, s)
        linear.append(pgdyn.Problem.linear(features, truth, initial_policy=start(0.05)))
    runs = {}
    for batch, names in ((tabular, list(GOLDEN)[:6]), (pgdyn.stack(linear), list(GOLDEN)[6:])):
        run = batch.map(lambda problem: pgdyn.ascend(problem, 50_000, target=0.9, save_every=1_000))
        for i, name in enumerate(names):
            runs[name] = jax.tree.map(lambda leaf, i=i: leaf[i] if np.ndim(leaf) else leaf, run)
    return runs


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_table(nine_runs, name):
    hit, early, late = GOLDEN[name]
    run = nine_runs[name]
    measured = float(run.hitting_time)
    assert measured == hit if np.isinf(hit) else abs(measured / hit - 1) < 0.005
    assert run.t[1] == 1_000 and run.t[-1] == 50_000 and len(run.t) == 51
    assert abs(float(run.true_value[1]) - early) < 2e-4
    assert abs(float(run.true_value[-1]) - late) < 2e-4


def test_partial_credit_is_slower_than_binary():
    """paper.md, application II: outputs (00, 10, 01, 11), first step with pi(11) > .9: partial 588, binary 266."""
    policy, binary = [0.3, 0.6, 0.05, 0.05], [0.0, 0.0, 0.0, 1.0]
    for proxy, expected in (([0, 0.5, 0.5, 1], 588), (binary, 266)):
        problem = pgdyn.Problem.tabular(policy, binary, proxy)
        assert pgdyn.ascend(problem, 1000, target=0.9, save_every=1000).hitting_time == expected


# ---------------------------------------------------------------- what is saved


@pytest.mark.parametrize("save_every", [1, 4, 7, 20, 21, 50])
def test_what_is_saved_does_not_change_the_run(save_every):
    setting = make_setting(16, TABULAR)
    problem = setting.problem()
    full = pgdyn.ascend(problem, 21, target=0.2)
    part = pgdyn.ascend(problem, 21, target=0.2, save_every=save_every)
    expected = sorted({*range(0, 21, save_every), 21})
    np.testing.assert_array_equal(part.t, expected)
    np.testing.assert_allclose(part.params, np.asarray(full.params)[expected], rtol=1e-14, atol=1e-15)
    assert part.hitting_time == full.hitting_time
    assert part.steps == 21


def test_hitting_time_counts_every_update():
    setting = make_setting(17, TABULAR, rewards="gap")
    problem = setting.problem()
    values = np.asarray(pgdyn.ascend(problem, 40).true_value)
    for i in (0, 1, 17, 40):
        assert pgdyn.ascend(problem, 40, target=values[i], save_every=40).hitting_time == i
    assert np.isinf(pgdyn.ascend(problem, 40, target=2.0, save_every=40).hitting_time)
    assert np.isnan(pgdyn.ascend(problem, 40, save_every=40).hitting_time)


def test_solution_says_what_it_is():
    run = pgdyn.ascend(make_setting(0, (3, 5, 4)).problem(), 3)
    assert run.dynamics == "ascend" and run.result == pgdyn.Result.completed
    assert run.params.shape == (4, 4) and run.log_policy.shape == (4, 3, 5)
    assert run.settings == pgdyn.Ascend(3)


def test_a4_sum_of_tabular_logits_is_conserved():
    run = pgdyn.ascend(make_setting(18, (3, 5, None)).problem(), 200, objective=pgdyn.Objective(kl=0.1))
    sums = np.asarray(run.params.sum(-1))
    np.testing.assert_allclose(sums, np.broadcast_to(sums[0], sums.shape), rtol=0, atol=1e-12)


def test_a9_a_scaled_reward_is_a_scaled_rate():
    setting = make_setting(19, TABULAR)
    scaled = dataclasses.replace(setting, proxy_reward=1e6 * setting.proxy_reward)
    small = pgdyn.ascend(scaled.problem(), 20, optimizer=optax.sgd(1e-7)).params
    np.testing.assert_allclose(small, pgdyn.ascend(setting.problem(), 20).params, rtol=1e-10, atol=1e-12)


def test_small_steps_approach_the_flow():
    """Order one: halving the rate halves the distance to the flow."""
    setting = make_setting(20, TABULAR)
    end = pgdyn.flow(setting.problem(), 4.0, saves=12, target=100.0).params[-1]
    errors = [
        float(np.abs(pgdyn.ascend(setting.problem(), n, optimizer=optax.sgd(4.0 / n)).params[-1] - end).max())
        for n in (200, 400)
    ]
    assert 1.9 < errors[0] / errors[1] < 2.1


@pytest.mark.parametrize("rewards", [[1.0, -1.0, 0.3], [1e6, -1e6, 0.0], [0.5, 0.5, 0.5]])
def test_probability_of_1e_300_stays_finite(rewards):
    problem = pgdyn.Problem.tabular([1e-300, 0.5, 0.5], rewards)
    run = pgdyn.ascend(problem, 20)
    assert np.isfinite(run.log_policy).all() and run.result == pgdyn.Result.completed


def test_divergence_is_a_result_and_not_an_exception():
    reward = np.array([[1.0, -1.0]])
    setting = Setting(1e200 * np.eye(2)[None], reward, reward, np.zeros(2))
    run = pgdyn.ascend(setting.problem(), 5, optimizer=optax.sgd(1e200))
    assert run.result == pgdyn.Result.not_finite
    assert "no longer finite" in run.message


# ---------------------------------------------------------------- transformations and compiled programs


def test_vmap_over_learning_rates():
    setting = make_setting(21, TABULAR)
    problem = setting.problem()
    rates = jnp.asarray([0.05, 0.1, 0.7])
    batch = jax.vmap(lambda rate: pgdyn.ascend(problem, 15, optimizer=optax.adam(rate)).params)(rates)
    for rate, path in zip(rates, batch, strict=True):
        expected, _ = oracles.ascend(setting, Goal(), 15, Adam(float(rate)))
        np.testing.assert_allclose(path, expected, rtol=1e-9, atol=1e-9)


def test_vmap_over_problems():
    drawn = [make_setting(seed, (3, 5, 4)) for seed in range(3)]
    batch = pgdyn.stack([setting.problem() for setting in drawn])
    runs = batch.map(lambda p: pgdyn.ascend(p, 8, target=0.1))
    for i, setting in enumerate(drawn):
        path, hit = oracles.ascend(setting, Goal(), 8, Sgd(0.1), target=0.1)
        np.testing.assert_allclose(runs.params[i], path, rtol=1e-11, atol=1e-13)
        assert runs.hitting_time[i] == hit


def test_gradient_through_ascent():
    """Oracle: central differences of the plain loop."""
    setting = make_setting(22, TABULAR)
    problem = setting.problem()
    slope = jax.grad(lambda r: pgdyn.ascend(problem.with_proxy(r), 10).true_value[-1])(problem.proxy_reward)

    def final(reward):
        path, _ = oracles.ascend(dataclasses.replace(setting, proxy_reward=reward), Goal(), 10, Sgd(0.1))
        return oracles.value(setting, path[-1], setting.true_reward)

    for i in range(5):
        nudge = 1e-5 * (np.arange(5) == i)[None]
        difference = (final(setting.proxy_reward + nudge) - final(setting.proxy_reward - nudge)) / 2e-5
        np.testing.assert_allclose(slope[0, i], difference, rtol=1e-6, atol=1e-10)


def test_derivative_by_everything_at_once():
    """Oracle: a central difference of the plain loop, along a line through the problem, the KL and the rate."""
    base, rng = make_setting(12, (1, 5, 2)), np.random.default_rng(0)
    directions = [rng.normal(size=a.shape) for a in (base.features, base.proxy_reward, base.start)]

    def shifted(s):
        arrays = [a + s * d for a, d in zip((base.features, base.proxy_reward, base.start), directions, strict=True)]
        names = ("features", "proxy_reward", "start")
        return dataclasses.replace(base, **dict(zip(names, arrays, strict=True)), temperature=1.3 + s)

    def final(s):
        setting = shifted(s)
        problem = pgdyn.Problem.linear(
            setting.features,
            setting.true_reward,
            setting.proxy_reward,
            initial_params=setting.start,
            temperature=setting.temperature,
        )
        run = pgdyn.ascend(problem, 12, objective=pgdyn.Objective(kl=0.2 + s), learning_rate=0.3 + s).end
        return jnp.stack([run.true_value, run.kl])

    def reference(s):
        setting, goal = shifted(s), Goal(kl=0.2 + s)
        end = oracles.ascend(setting, goal, 12, Sgd(0.3 + s))[0][-1]
        return np.array([oracles.value(setting, end, setting.true_reward), oracles.divergence(setting, goal, end)])

    slope, found = jax.jit(jax.jacrev(lambda s: (final(s),) * 2, has_aux=True))(0.0)
    np.testing.assert_allclose(found, reference(0.0), rtol=1e-10)
    step = 1e-5
    np.testing.assert_allclose(slope, (reference(step) - reference(-step)) / (2 * step), rtol=1e-6)


def test_problems_may_be_built_under_vmap():
    """Oracle: the runs one by one, of problems built outside."""
    rng = np.random.default_rng(0)
    rewards, temperatures = rng.uniform(-1, 1, (3, 5)), np.array([0.5, 1.0, 2.0])
    features = rng.normal(size=(5, 2))

    def run(reward, temperature):
        problem = pgdyn.Problem.linear(
            features, reward, initial_policy=[0.1, 0.4, 0.2, 0.2, 0.1], temperature=temperature
        )
        return pgdyn.ascend(problem, 12, target=0.1, optimizer="adam")

    batch = jax.vmap(run)(jnp.asarray(rewards), jnp.asarray(temperatures))
    for i in range(3):
        alone = run(rewards[i], temperatures[i])
        np.testing.assert_allclose(batch.params[i], alone.params, rtol=1e-9, atol=1e-10)
        assert batch.hitting_time[i] == alone.hitting_time


def test_new_values_and_fresh_optimisers_compile_nothing():
    """Neither do other rates: five of them are one program."""
    first, second = (make_setting(seed, TABULAR).problem() for seed in (1, 2))

    def run(problem, target, kl, rate):
        objective = pgdyn.Objective(kl=kl)
        return pgdyn.ascend(problem, 9, optimizer=optax.sgd(rate), target=target, objective=objective)

    run(first, 0.3, 0.1, 0.1)
    with Compilations() as made:
        run(second, 0.7, 0.2, 0.1)
        paths = [run(second, 1, 0.3, rate).params for rate in (0.1, 0.2, 0.3, 0.4, 0.5)]
    assert made.count == 0
    assert len({float(path[-1, 0, 0]) for path in paths}) == 5


# ---------------------------------------------------------------- what is refused

PROBLEM = make_setting(0, (1, 2, None)).problem()
REFUSED = [
    ((PROBLEM, 0), {}, "steps is 0; it must be at least 1"),
    ((PROBLEM, -1), {}, "steps is -1; it must be at least 1"),
    ((PROBLEM, 1.5), {}, "steps must be a whole number, got 1.5"),
    ((PROBLEM, 10.0), {}, "steps must be a whole number, got 10.0"),
    ((PROBLEM, True), {}, "steps must be a whole number, got True"),
    ((PROBLEM, None), {}, "steps must be a whole number, got None"),
    ((PROBLEM, "5"), {}, "steps must be a whole number, got '5'"),
    ((PROBLEM, 5), {"save_every": 0}, "save_every is 0; it must be at least 1"),
    ((PROBLEM, 5), {"save_every": 2.0}, "save_every must be a whole number, got 2.0"),
    ((PROBLEM, 5), {"target": np.nan}, "target is nan; every entry of target must be finite"),
    ((PROBLEM, 5), {"target": [0.1]}, "target must be a single number, got an array of shape (1,)"),
    (
        (PROBLEM, 5),
        {"optimizer": 0.1},
        "optimizer must be an optax gradient transformation, or one of 'sgd', 'adam', got 0.1",
    ),
    ((PROBLEM, 5), {"objective": 0.1}, "objective is 0.1; ascend takes a pgdyn.Objective"),
    (("problem", 5), {}, "problem is 'problem'; ascend takes a pgdyn.Problem"),
    (
        (PROBLEM.with_proxy(np.zeros((3, 1, 2))), 5),
        {},
        "ascend takes one problem and this is a batch of 3; use pgdyn.ascend_many",
    ),
]


@pytest.mark.parametrize(("arguments", "options", "sentence"), REFUSED, ids=[row[2] for row in REFUSED])
def test_bad_input_is_refused_in_one_sentence(arguments, options, sentence):
    with pytest.raises(ValueError) as refusal:
        pgdyn.ascend(*arguments, **options)
    assert str(refusal.value) == sentence
