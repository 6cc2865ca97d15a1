"""The objective and its closed gradient against plain definitions, complex steps and autodiff."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import Goal
from strategies import goals, make_setting, settings

import pgdyn
from pgdyn import objective

OPTIONS = [
    Goal(reward, kl, reference, direction, entropy, normalize)
    for reward, (kl, reference, direction), entropy, normalize in itertools.product(
        ("proxy", "true"),
        [(0.0, "initial", "reverse"), *itertools.product((0.3,), ("initial", "uniform"), ("reverse", "forward"))],
        (0.0, 0.2),
        (False, True, "detached"),
    )
]
POINTS = [
    ((1, 5, None), 1.0, False),
    ((3, 5, None), 0.5, True),
    ((3, 5, 4), 2.5, True),
    ((2, 3, 7), 1.0, False),
]


def moved(setting):
    return setting.start + np.cos(np.arange(setting.start.size)).reshape(setting.start.shape)


@pytest.mark.parametrize("goal", OPTIONS, ids=str)
def test_value_and_gradient_match_the_definition(goal):
    for seed, (shape, temperature, weighted) in enumerate(POINTS):
        setting = make_setting(seed, shape, temperature=temperature, weighted=weighted)
        problem, objective, point = setting.problem(), goal.objective(), moved(setting)
        expected = oracles.objective(setting, goal, point)
        np.testing.assert_allclose(objective.value(problem, jnp.asarray(point)), expected, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(
            objective.gradient(problem, jnp.asarray(point)),
            oracles.gradient(setting, goal, point),
            rtol=1e-11,
            atol=1e-13,
        )


@pytest.mark.parametrize("goal", OPTIONS, ids=str)
def test_autodiff_of_the_value_is_the_closed_gradient(goal):
    """Oracle: reverse-mode autodiff. Where the std is detached, `value` holds it constant under autodiff too."""
    setting = make_setting(7, (3, 5, 4), temperature=0.8, weighted=True)
    problem, objective, point = setting.problem(), goal.objective(), jnp.asarray(moved(setting))
    automatic = jax.grad(objective.value, argnums=1)(problem, point)
    np.testing.assert_allclose(automatic, objective.gradient(problem, point), rtol=1e-11, atol=1e-13)


@given(settings(rewards=("uniform", "ties", "gap", "huge")), goals(normalize=(False, "detached")))
def test_gradient_on_hard_corners(setting, goal):
    problem = setting.problem()
    point = moved(setting)
    expected = oracles.gradient(setting, goal, point)
    measured = goal.objective().gradient(problem, jnp.asarray(point))
    phi = 1.0 if setting.features is None else np.abs(setting.features).max()
    reward = np.abs(oracles.training_reward(setting, goal)).max() if goal.normalize_by_std is False else 1.0
    rough = oracles.std_scale(setting, goal, point) if goal.normalize_by_std else 1.0
    if goal.normalize_by_std:
        reward = np.abs(oracles.training_reward(setting, goal)).max() / rough
    scale = phi * (reward + 1e3 * goal.kl + abs(goal.entropy) * 1e3) / setting.temperature
    np.testing.assert_allclose(measured, expected, rtol=1e-9, atol=1e-13 * scale)


@given(settings(rewards=("uniform", "gap"), starts=("flat",)), st.sampled_from((0.0, 0.5)))
def test_gradient_through_the_std_on_several_prompts(setting, kl):
    goal = Goal(normalize_by_std=True, kl=kl, kl_direction="forward")
    point = moved(setting)
    expected = oracles.gradient(setting, goal, point)
    measured = goal.objective().gradient(setting.problem(), jnp.asarray(point))
    np.testing.assert_allclose(measured, expected, rtol=1e-8, atol=1e-11 * (1 + np.abs(expected).max()))


@pytest.mark.parametrize("normalize", [False, True, "detached"])
def test_equal_rewards_give_no_gradient_and_no_nan(normalize):
    problem = make_setting(1, (3, 5, None), rewards="equal").problem()
    problem = problem.with_proxy(jnp.full((3, 5), 0.25))
    objective = pgdyn.Objective(normalize_by_std=normalize)
    np.testing.assert_allclose(objective.gradient(problem, problem.initial_params), 0.0, atol=1e-15)
    if normalize is not False:
        assert objective.value(problem, problem.initial_params) == pytest.approx(0.25 / 1e-8)
    assert np.isfinite(jax.grad(objective.value, argnums=1)(problem, problem.initial_params)).all()


@pytest.mark.parametrize("normalize", ["detached", True])
def test_normalisation_removes_the_scale_of_the_reward(normalize):
    """Exact but for the floor of 1e-8, which a reward of 1e6 makes relatively smaller."""
    setting = make_setting(2, (3, 5, None))
    problem = setting.problem()
    objective = pgdyn.Objective(normalize_by_std=normalize)
    plain = objective.gradient(problem, problem.initial_params)
    scaled = objective.gradient(problem.with_proxy(1e6 * setting.proxy_reward), problem.initial_params)
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
@pytest.mark.parametrize("reference", ["initial", "uniform"])
def test_kl_at_probability_1e_300(direction, reference):
    setting = make_setting(4, (1, 5, None), start="tiny")
    goal = Goal(kl=0.7, kl_direction=direction, reference=reference)
    point = setting.start + np.array([[-3.0, 1.0, 0.0, 2.0, 0.5]])
    problem = setting.problem()
    measured = goal.objective().gradient(problem, jnp.asarray(point))
    np.testing.assert_allclose(measured, oracles.gradient(setting, goal, point), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        goal.objective().value(problem, jnp.asarray(point)), oracles.objective(setting, goal, point), rtol=1e-12
    )


def test_temperature_scales_the_gradient():
    """Oracle: with the same policy, dV/dtheta at temperature T is 1/T of that at 1."""
    cold, warm = (make_setting(6, (1, 5, None), temperature=t) for t in (1.0, 2.5))
    objective = pgdyn.Objective()
    ratio = objective.gradient(cold.problem(), jnp.asarray(cold.start)) / objective.gradient(
        warm.problem(), jnp.asarray(warm.start)
    )
    np.testing.assert_allclose(ratio, 2.5, rtol=1e-10)


def test_regularizer_is_the_objective_less_the_reward():
    setting = make_setting(8, (3, 5, 4))
    problem = setting.problem()
    log_pi = pgdyn.policy.log_policy(problem, jnp.asarray(moved(setting)))
    for direction in ("reverse", "forward"):
        full = pgdyn.Objective(kl=0.3, kl_direction=direction, entropy=0.1)
        reference = full.reference_log_policy(problem)
        bare = pgdyn.Objective().logit_gradient(problem, log_pi, reference)
        total = full.logit_gradient(problem, log_pi, reference)
        part = full.regularizer_gradient(problem, log_pi, reference)
        np.testing.assert_allclose(bare + part, total, rtol=1e-12, atol=1e-15)


def test_weights_may_be_vmapped():
    setting = make_setting(9, (1, 5, None))
    problem, point = setting.problem(), jnp.asarray(moved(setting))
    weights = jnp.asarray([0.0, 0.1, 2.0])
    batched = jax.vmap(lambda kl: pgdyn.Objective(kl=kl).gradient(problem, point))(weights)
    for weight, row in zip(weights, batched, strict=True):
        expected = oracles.gradient(setting, Goal(kl=float(weight)), np.asarray(point))
        np.testing.assert_allclose(row, expected, rtol=1e-11, atol=1e-14)


def test_an_objective_made_under_jit_is_none_the_less_plain():
    """And the one that stands for None, made once for all calls, holds nothing of the trace in which it was made."""
    made = []

    @jax.jit
    def trace(x):
        objective._proxy_alone.cache_clear()
        made.extend([pgdyn.Objective(), objective.choose_objective(None, "this test"), pgdyn.Objective(kl=0.5)])
        return x

    trace(1.0)
    assert all(weight == 0.0 and isinstance(weight, float) for one in made[:2] for weight in (one.kl, one.entropy))
    assert objective.choose_objective(None, "this test") is made[1]
    assert isinstance(made[2].kl, jax.Array)


def test_a_zero_weight_leaves_its_term_out_of_the_program():
    problem = make_setting(9, (1, 5, None)).problem()
    bare = str(eqx.filter_make_jaxpr(pgdyn.Objective().gradient)(problem, problem.initial_params)[0])
    zero = str(eqx.filter_make_jaxpr(pgdyn.Objective(kl=0, entropy=0.0).gradient)(problem, problem.initial_params)[0])
    assert bare == zero


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"reward": "Proxy"}, "reward is 'Proxy'; it must be one of 'proxy', 'true'"),
        ({"reward": None}, "reward is None; it must be one of 'proxy', 'true'"),
        ({"reference": "start"}, "reference is 'start'; it must be one of 'initial', 'uniform'"),
        ({"kl_direction": "backward"}, "kl_direction is 'backward'; it must be one of 'reverse', 'forward'"),
        ({"normalize_by_std": "yes"}, "normalize_by_std is 'yes'; it must be one of False, True, 'detached'"),
        ({"normalize_by_std": 1}, "normalize_by_std is 1; it must be one of False, True, 'detached'"),
        ({"kl": -0.1}, "kl is -0.1; it must be at least 0"),
        ({"kl": np.nan}, "kl is nan; every entry of kl must be finite"),
        ({"kl": np.inf}, "kl is inf; every entry of kl must be finite"),
        ({"kl": "strong"}, "kl is 'strong'; every entry of kl must be a real number"),
        ({"kl": None}, "kl is None; every entry of kl must be a real number"),
        ({"kl": True}, "kl is True; every entry of kl must be a real number"),
        ({"kl": [0.1, 0.2]}, r"kl must be a single number, got an array of shape \(2,\)"),
        ({"entropy": -np.inf}, "entropy is -inf; every entry of entropy must be finite"),
        ({"entropy": 1j}, "entropy is 1j; every entry of entropy must be a real number"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        pgdyn.Objective(**options)
