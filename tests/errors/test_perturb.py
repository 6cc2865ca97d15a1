"""Families of errors: the contract that every registered one keeps, and each against its definition in NumPy."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import Compilations
from oracles import Setting
from strategies import make_setting

import pgdyn
from pgdyn import labels
from pgdyn.errors import perturb
from pgdyn.errors.perturb import FAMILIES

KEY = jax.random.key(3)
SHAPES = ((1, 5, None), (2, 3, 7))


def problem_of(shape, rewards="uniform") -> tuple[Setting, pgdyn.Problem]:
    setting = make_setting(1, shape, rewards)
    return setting, setting.problem()


def same_truth(problem, true_reward):
    return eqx.tree_at(lambda p: p.true_reward, problem, true_reward)


# ------------------------------------------------------------ the contract


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_labels_and_repeatability(name, shape):
    _, problem = problem_of(shape)
    errors = FAMILIES[name](problem, KEY)
    count = len(errors)
    assert errors.proxy_rewards.shape == (count, *problem.true_reward.shape)
    assert errors.proxy_rewards.dtype == jnp.float64 and bool(jnp.isfinite(errors.proxy_rewards).all())
    assert all(np.shape(column) == (count,) for column in errors.parameters.values())
    labels = [errors.label(i) for i in range(count)]
    assert len(set(labels)) == count  # the parameters tell all errors apart
    again = FAMILIES[name](problem, KEY)
    np.testing.assert_array_equal(errors.proxy_rewards, again.proxy_rewards)


@pytest.mark.parametrize("name", FAMILIES)
def test_compiled_is_the_same(name):
    """Inside jax.jit, the same proxies; Oracle: the call outside."""
    _, problem = problem_of((2, 3, 7))
    compiled = eqx.filter_jit(lambda p, key: FAMILIES[name](p, key).proxy_rewards)(problem, KEY)
    np.testing.assert_allclose(compiled, FAMILIES[name](problem, KEY).proxy_rewards, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_constant_shift_of_the_truth_shifts_the_proxies(name):
    """No family depends on the zero of rewards (single-output and the mixture set values, which shift with it)."""
    _, problem = problem_of((2, 3, 7))
    if name == "mixture":
        problem = problem.with_proxy(problem.true_reward**2)
        moved = same_truth(problem, problem.true_reward + 3.0).with_proxy(problem.proxy_reward + 3.0)
    else:
        moved = same_truth(problem, problem.true_reward + 3.0)
    expected = FAMILIES[name](problem, KEY).proxy_rewards + 3.0
    np.testing.assert_allclose(FAMILIES[name](moved, KEY).proxy_rewards, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_equal_rewards_give_finite_proxies(name):
    _, problem = problem_of((1, 5, None), "equal")
    assert bool(jnp.isfinite(FAMILIES[name](problem, KEY).proxy_rewards).all())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_is_refused(name):
    _, problem = problem_of((1, 5, None))
    with pytest.raises(ValueError, match="batch of 2 problems|a batch"):
        FAMILIES[name](pgdyn.stack([problem, problem]), KEY)


def test_another_number_of_errors_compiles_nothing():
    _, problem = problem_of((2, 3, 7))
    key = jax.random.key(0)
    for family in FAMILIES.values():
        family(problem, key)
    with Compilations() as made:
        for count in (3, 40, 129):
            values = np.linspace(0.1, 1.0, count)
            families = (perturb.SingleOutput(count=count), perturb.Noise(draws=count), perturb.Clip(values))
            families += (perturb.Compress(values), perturb.Temperature(values), perturb.Censor(values))
            families += (perturb.Mixture(values), perturb.Subsets(values))
            families += (perturb.Noise(draws=count, correlation="features"),)
            for family in families:
                family(problem, key)
    assert made.count == 0


@pytest.mark.parametrize("correlation", ["independent", "features"])
def test_the_first_draws_do_not_depend_on_how_many_there_are(correlation):
    _, problem = problem_of((2, 3, 7))
    few, many = (perturb.Noise([1.0], draws, correlation)(problem, KEY).proxy_rewards for draws in (10, 200))
    np.testing.assert_array_equal(few, many[:10])
    assert len(np.unique(np.round(many[:, 0, 0], 12))) == 200


# ------------------------------------------------------------ each against its definition


def rows(setting):
    """Every (prompt, output) once."""
    return [(p, y) for p in range(setting.true_reward.shape[0]) for y in range(setting.true_reward.shape[1])]


def expected(name, setting):
    """The family's proxies by loops over the truth, in order; None for random ones."""
    truth, found = setting.true_reward, []
    low, high = truth.min(1, keepdims=True), truth.max(1, keepdims=True)
    unit = (truth - low) / (high - low)
    if name == "single-output":
        for p, y in rows(setting):
            for value in np.linspace(truth.min(), truth.max(), 21):
                found.append(truth.copy())
                found[-1][p, y] = value
    elif name == "swap":
        for p, y in rows(setting):
            for z in range(y + 1, truth.shape[1]):
                found.append(truth.copy())
                found[-1][p, y], found[-1][p, z] = truth[p, z], truth[p, y]
    elif name == "clip":
        found = [np.maximum(truth, low + c * (high - low)) for c in (0.1, 0.25, 0.5, 0.75)]
        found += [np.minimum(truth, high - c * (high - low)) for c in (0.1, 0.25, 0.5, 0.75)]
    elif name == "compress":
        found = [low + (high - low) * unit**gamma for gamma in (0.25, 0.5, 2, 4, 8)]
    elif name == "temperature":
        for tau in (0.1, 0.3, 1.0, -1.0, -0.3):
            found.append(low + (high - low) * (np.exp(unit / tau) - 1) / (np.exp(1 / tau) - 1))
    elif name == "censor":
        initial = np.exp(np.asarray(pgdyn.flow(setting.problem(), 1.0, saves=2).log_policy[0]))
        found = [np.where(initial < c, low, truth) for c in (0.01, 0.03, 0.1, 0.2, 0.3)]
    elif name == "mixture":
        found = [(1 - a) * truth + a * setting.proxy_reward for a in (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)]
    elif name == "subsets":
        for shift in (-0.5, 0.5):
            for subset in range(1, 2 ** truth.shape[1]):
                found.append(truth.copy())
                for y in range(truth.shape[1]):
                    found[-1][:, y] += shift * (subset // 2**y % 2)
    return np.array(found)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [name for name in FAMILIES if "noise" not in name and name != "fitted"])
def test_definition(name, shape):
    setting, problem = problem_of(shape)
    np.testing.assert_allclose(FAMILIES[name](problem).proxy_rewards, expected(name, setting), rtol=1e-12, atol=1e-14)


def test_fitted_rewards_approach_the_fit_of_all_labels():
    """Oracle: `pgdyn.labels.fit`, another method on the infinite limit; truths as far from it as few labels allow."""
    truth = [[1.0, 0.2, -0.5, -1.0, 0.0]]
    errors = perturb.Fitted(labels=(50, 40_000), flips=(0.2,), draws=32)(pgdyn.Problem.tabular(None, truth), KEY)
    win = labels.win_probability(truth, flip=0.2)
    limit = labels.fit(labels.all_pairs(win), (1, 5), ridge=0.03).reward + np.mean(truth)
    few, many = np.asarray(errors.proxy_rewards).reshape(2, 32, 1, 5)
    np.testing.assert_allclose(many, np.broadcast_to(limit, many.shape), atol=0.06)
    np.testing.assert_allclose(few.mean(axis=0), limit, atol=0.15)
    assert 0.15 < few.std(axis=0).mean() < 0.6


def test_relative_changes_are_added():
    setting, problem = problem_of((1, 5, None))
    errors = perturb.SingleOutput([-0.5, 2.0], relative=True)(problem)
    change = np.asarray(errors.proxy_rewards) - setting.true_reward
    assert change.shape == (10, 1, 5)
    for i in range(10):
        expected_change = np.zeros(5)
        expected_change[i // 2] = (-0.5, 2.0)[i % 2]
        np.testing.assert_allclose(change[i, 0], expected_change, atol=1e-14)


@pytest.mark.parametrize("correlation", ["independent", "features"])
def test_noise_has_the_stated_covariance(correlation):
    """Oracle: sigma^2 I, or sigma^2 Phi Phi^T over the mean squared norm, against 20,000 draws (5 standard errors)."""
    setting, problem = problem_of((2, 3, 7))
    draws = 20_000
    errors = perturb.Noise([0.5], draws, correlation)(problem, KEY)
    noise = (np.asarray(errors.proxy_rewards) - setting.true_reward).reshape(draws, 6)
    phi = np.eye(6) if correlation == "independent" else setting.features.reshape(6, 7)
    covariance = 0.25 * phi @ phi.T / np.mean(np.sum(phi**2, axis=1))
    diagonal = np.diag(covariance)
    error = np.sqrt((covariance**2 + np.outer(diagonal, diagonal)) / draws)
    np.testing.assert_array_less(np.abs(np.cov(noise.T) - covariance), 5 * error)
    np.testing.assert_array_less(np.abs(noise.mean(0)), 5 * np.sqrt(diagonal / draws))


def test_scale_zero_is_the_truth():
    _, problem = problem_of((1, 5, None))
    errors = perturb.Noise([0.0, 1.0], 4)(problem, KEY)
    np.testing.assert_array_equal(errors.proxy_rewards[:4], np.broadcast_to(problem.true_reward, (4, 1, 5)))
    assert not np.allclose(errors.proxy_rewards[4:], problem.true_reward[None])


@pytest.mark.parametrize(
    ("sentence", "make"),
    [
        ("values[1] is nan", lambda: perturb.SingleOutput([0, np.nan])),
        ("relative changes need values", lambda: perturb.SingleOutput(relative=True)),
        ("count is 0", lambda: perturb.SingleOutput(count=0)),
        ("values must be a list of numbers", lambda: perturb.SingleOutput(1.0)),
        ("scales[0] is -1", lambda: perturb.Noise([-1.0])),
        ("correlation is 'both'", lambda: perturb.Noise(correlation="both")),
        ("needs a key", lambda: perturb.Noise()(problem_of((1, 5, None))[1])),
        ("fractions[0] is 2", lambda: perturb.Clip([2.0])),
        ("powers[0] is 0", lambda: perturb.Compress([0.0])),
        ("temperatures[1] is 0", lambda: perturb.Temperature([1.0, 0.0])),
        ("thresholds[0] is 1.5", lambda: perturb.Censor([1.5])),
        ("other has shape (3,) but", lambda: perturb.Mixture([0.5], [1, 2, 3])(problem_of((1, 5, None))[1])),
        (
            "at most 12 outputs and the problem has 13",
            lambda: perturb.Subsets()(pgdyn.Problem.tabular(None, range(13))),
        ),
        ("at least two outputs", lambda: perturb.Swap()(pgdyn.Problem.tabular(None, [1.0]))),
    ],
)
def test_refusals(sentence, make):
    with pytest.raises(ValueError) as caught:
        make()
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
