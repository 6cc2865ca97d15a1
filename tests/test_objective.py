"""The objective and its closed gradient against plain definitions, complex steps and autodiff."""

import dataclasses
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from oracles import Goal, Setting
from strategies import goals, make_setting, settings

import pgdyn
from pgdyn import objective as objectives
from pgdyn import policy

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


# ---------------------------------------------------------------- where rewards are measured from


NEARLY_CERTAIN = Setting(None, np.zeros((1, 2)), np.ones((1, 2)), np.array([[-5.53633061e-05, -9.80162121]]))


@example(NEARLY_CERTAIN, Goal("true", kl=0.01, kl_direction="forward"), 0)  # a gradient of 1e-7, of terms of 1e-2
@given(settings(starts=("flat", "peaked"), temperatures=(1.0,)), goals(), st.integers(0, 2**32 - 1))
def test_the_anchor_does_not_matter(setting, goal, seed):
    """Oracle: autodiff of the value; every anchor taken nearby gives the same gradient, but for rounding."""
    if goal.normalize_by_std is not False and oracles.std_scale(setting, goal, setting.start) < 1e-3:
        return  # divides by 1e-8
    setting = dataclasses.replace(setting, features=None, start=oracles.log_policy(setting, setting.start))
    problem, rng = setting.problem(), np.random.default_rng(seed)
    objective, shape = goal.objective(), setting.true_reward.shape
    logits = jnp.asarray(setting.start + rng.normal(size=shape))
    reference = objective.reference_log_policy(problem)
    automatic = jax.grad(objective.value, argnums=1)(problem, logits)
    # Rounding is that of rewards and penalties, whose gradients may cancel or nearly vanish.
    sizes = np.abs(oracles.training_reward(setting, goal)).max() + abs(goal.kl) + abs(goal.entropy)
    scale = float(jnp.abs(automatic).max()) + 1e-3 * sizes
    own = objective.logit_gradient(problem, logits, reference)
    np.testing.assert_allclose(own, automatic, rtol=1e-9, atol=1e-11 * scale)
    for distance in (0.0, 1e-3, 1.0):
        nearby = logits + distance * rng.normal(size=shape)
        anchor = objective.anchor(problem, nearby, reference, with_value=True)
        found = objective.logit_gradient(problem, logits, reference, anchor)
        np.testing.assert_allclose(found, own, rtol=1e-11, atol=1e-12 * scale)
        value = anchor.true_value(problem, policy.weights(logits, anchor.peak))
        np.testing.assert_allclose(value, oracles.value(setting, np.asarray(logits), setting.true_reward), rtol=1e-11)
        shifted = objective.logit_gradient(problem, logits + 7.0, reference, anchor)
        np.testing.assert_allclose(shifted, own, rtol=1e-10, atol=1e-11 * scale)


@pytest.mark.parametrize("weights", [{}, {"kl": 0.3}, {"entropy": 0.2}, {"kl": 0.3, "entropy": 0.2}])
def test_gradients_keep_their_digits_on_a_plateau(weights):
    """Oracle: dJ/dz in extended precision, the likeliest output's by the others', away from where the anchor is."""
    start = np.array([0.0, -27.0, -29.0, -31.0, -34.0])
    moved = start + np.array([0.37, -0.4, 0.2, 0.1, 0.05])
    reward, reference = np.array([0.3, 1.0, -0.7, 0.2, -1.0]), np.log([0.1, 0.3, 0.2, 0.25, 0.15])
    problem, objective = pgdyn.Problem.tabular(None, reward), pgdyn.Objective(**weights)
    anchor = objective.anchor(problem, jnp.asarray(start)[None], jnp.asarray(reference)[None])
    found = objective.logit_gradient(problem, jnp.asarray(moved)[None], jnp.asarray(reference)[None], anchor)

    z = moved.astype(np.longdouble)
    log_policy = z - np.log(np.sum(np.exp(z)))
    kl, entropy = weights.get("kl", 0.0), weights.get("entropy", 0.0)
    signal = reward - kl * (log_policy - reference) - entropy * log_policy
    signal -= signal[0]
    others = np.exp(log_policy) * (signal - np.sum(np.exp(log_policy) * signal))
    others[0] = -np.sum(others[1:])
    np.testing.assert_allclose(found[0], others.astype(float), rtol=1e-10)


# ---------------------------------------------------------------- absent terms


def test_an_objective_without_weights_holds_no_arrays():
    """So that one made while a function is traced, and kept, holds nothing of that trace."""
    made = []

    @jax.jit
    def trace(x):
        made.extend([pgdyn.Objective(), objectives.choose_objective(None, "this test"), pgdyn.Objective(kl=0.5)])
        return x

    trace(1.0)
    assert jax.tree.leaves(made[:2]) == []
    assert made[0] == made[1] == pgdyn.Objective(kl=0, entropy=None) and hash(made[0]) == hash(made[1])
    assert len(jax.tree.leaves(made[2])) == 1
    problem = make_setting(9, (1, 5, None)).problem()
    assert np.isfinite(made[2].value(problem, problem.initial_params))


@pytest.mark.parametrize("absent", [0, 0.0, None, np.zeros(3)], ids=str)
def test_a_weight_of_zero_is_none(absent):
    objective = pgdyn.Objective(kl=absent, entropy=absent)
    assert objective.kl is None and objective.entropy is None and not objective.needs_reference


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
        ({"kl": True}, "kl is True; every entry of kl must be a real number"),
        ({"kl": [[0.1, 0.2]]}, r"kl has shape \(1, 2\); it must be a single number, or \[N\] for a batch"),
        ({"kl": [0.1, -0.2]}, r"kl\[1\] is -0.2; it must be at least 0"),
        ({"entropy": [0.1, np.nan]}, r"entropy\[1\] is nan; every entry of entropy must be finite"),
        ({"entropy": -np.inf}, "entropy is -inf; every entry of entropy must be finite"),
        ({"entropy": 1j}, "entropy is 1j; every entry of entropy must be a real number"),
    ],
)
def test_bad_options_are_refused_in_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        pgdyn.Objective(**options)
