"""Problems: starts against NumPy's least squares, and every refusal of bad input."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from strategies import make_setting, settings

import pgdyn

POLICY = [0.05, 0.5, 0.15, 0.15, 0.15]
TRUE = [1.0, 0.8, -1.0, -1.0, -1.0]
PROXY = [1.0, -1.0, -1.0, -1.0, -1.0]
FEATURES = np.random.default_rng(0).normal(size=(5, 3))
NAN, INF = float("nan"), float("inf")


def policy_of(problem):
    return np.exp(np.asarray(pgdyn.policy.log_policy(problem, problem.initial_params)))


# ---------------------------------------------------------------- what is built


@given(settings())
def test_a_problem_holds_what_it_was_given(setting):
    problem = setting.problem()
    np.testing.assert_array_equal(problem.true_reward, setting.true_reward)
    np.testing.assert_array_equal(problem.proxy_reward, setting.proxy_reward)
    np.testing.assert_allclose(problem.prompt_weights, setting.prompt_weights, rtol=1e-15)
    assert problem.temperature == setting.temperature
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(problem))
    assert (problem.num_prompts, problem.num_outputs) == setting.true_reward.shape
    assert problem.params_shape == setting.start.shape == problem.initial_params.shape
    assert problem.is_tabular == (setting.features is None)
    # Logarithms near -690 carry an absolute error of 1e-13.
    np.testing.assert_allclose(problem.initial_params, setting.start, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
def test_tabular_start_is_temperature_times_log_policy(temperature):
    problem = pgdyn.Problem.tabular(POLICY, TRUE, PROXY, temperature=temperature)
    np.testing.assert_allclose(problem.initial_params, [temperature * np.log(POLICY)], rtol=1e-15)
    np.testing.assert_allclose(policy_of(problem), [POLICY], rtol=1e-14)


def test_no_proxy_means_the_ground_truth():
    for problem in (pgdyn.Problem.tabular(POLICY, TRUE), pgdyn.Problem.linear(FEATURES, TRUE)):
        np.testing.assert_array_equal(problem.proxy_reward, [TRUE])


def test_no_start_means_zero_parameters():
    tabular, linear = pgdyn.Problem.tabular(None, TRUE), pgdyn.Problem.linear(FEATURES, TRUE)
    np.testing.assert_array_equal(tabular.initial_params, np.zeros((1, 5)))
    np.testing.assert_array_equal(linear.initial_params, np.zeros(3))
    np.testing.assert_allclose(policy_of(linear), np.full((1, 5), 0.2), rtol=1e-15)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("shape", [(1, 5, 3), (1, 3, 7), (4, 5, 3), (2, 3, 9)])
def test_start_fitted_to_a_policy_is_numpys_least_squares(shape, temperature):
    prompts, outputs, width = shape
    rng = np.random.default_rng(1)
    phi = rng.normal(size=shape)
    wanted = rng.dirichlet(np.ones(outputs), prompts)
    wanted[0, 0], wanted[0, 1] = 1e-12, wanted[0, 1] + wanted[0, 0] - 1e-12  # below the clip of 1e-8
    problem = pgdyn.Problem.linear(phi, np.zeros(outputs), initial_policy=wanted, temperature=temperature)
    goal = temperature * np.log(np.maximum(wanted, 1e-8))
    expected = np.linalg.lstsq(phi.reshape(-1, width), goal.ravel(), rcond=None)[0]
    np.testing.assert_allclose(problem.initial_params, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("corner", ["duplicated", "near-dependent", "zero row"])
def test_fit_with_dependent_features_is_the_least_norm_one(corner):
    phi = make_setting(3, (1, 5, 7), features=corner).features[0]
    problem = pgdyn.Problem.linear(phi, TRUE, initial_policy=POLICY)
    if corner == "near-dependent":  # the fit is met exactly, however large the parameters
        np.testing.assert_allclose(policy_of(problem), [POLICY], rtol=1e-5)
    else:
        expected = np.linalg.lstsq(phi, np.log(POLICY), rcond=None)[0]
        np.testing.assert_allclose(problem.initial_params, expected, rtol=1e-9, atol=1e-11)


def test_orthogonal_features_meet_the_policy_exactly():
    phi = np.diag([1.5, 1.0, 1.0, 1.0, 1.0])
    problem = pgdyn.Problem.linear(phi, TRUE, initial_policy=POLICY)
    np.testing.assert_allclose(policy_of(problem), [POLICY], rtol=1e-13)


def test_rows_serve_all_prompts_and_weights_are_scaled():
    phi = np.random.default_rng(2).normal(size=(3, 5, 2))
    problem = pgdyn.Problem.linear(phi, TRUE, np.tile(PROXY, (3, 1)), prompt_weights=[2, 0, 6])
    assert problem.true_reward.shape == problem.proxy_reward.shape == (3, 5)
    np.testing.assert_allclose(problem.prompt_weights, [0.25, 0, 0.75])
    shared = pgdyn.Problem.linear(FEATURES, np.tile(TRUE, (3, 1)))
    np.testing.assert_array_equal(shared.features, np.tile(FEATURES, (3, 1, 1)))


@pytest.mark.parametrize("outputs", [1, 2, 200])
def test_any_number_of_outputs(outputs):
    problem = pgdyn.Problem.tabular(np.full(outputs, 1 / outputs), np.linspace(-1, 1, outputs))
    np.testing.assert_allclose(policy_of(problem), np.full((1, outputs), 1 / outputs), rtol=1e-13)


def test_integers_tuples_and_jax_arrays_are_numbers():
    first = pgdyn.Problem.tabular((0.5, 0.5), (1, -1), jnp.asarray([1, 0]), temperature=2)
    second = pgdyn.Problem.tabular(np.float32([0.5, 0.5]), np.int8([1, -1]), [1.0, 0.0], temperature=np.float64(2.0))
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype == jnp.float64


def test_a_problem_is_frozen():
    problem = pgdyn.Problem.tabular(POLICY, TRUE)
    with pytest.raises(AttributeError):
        problem.true_reward = problem.proxy_reward


def test_the_arrays_given_are_copied():
    reward = np.array(TRUE)
    problem = pgdyn.Problem.tabular(POLICY, reward)
    reward[:] = 0
    np.testing.assert_array_equal(problem.true_reward, [TRUE])


# ---------------------------------------------------------------- transformations


def test_problems_are_built_under_jit_and_vmap():
    rewards = jnp.asarray(np.random.default_rng(0).normal(size=(3, 5)))

    def start_value(reward, temperature):
        problem = pgdyn.Problem.tabular(POLICY, reward, temperature=temperature)
        return pgdyn.Objective().value(problem, problem.initial_params)

    measured = jax.jit(jax.vmap(start_value))(rewards, jnp.asarray([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(measured, rewards @ jnp.asarray(POLICY), rtol=1e-13)
    fitted = jax.jit(lambda phi: pgdyn.Problem.linear(phi, TRUE, initial_policy=POLICY).initial_params)(FEATURES)
    expected = pgdyn.Problem.linear(FEATURES, TRUE, initial_policy=POLICY).initial_params
    np.testing.assert_allclose(fitted, expected, rtol=1e-10)


def test_with_proxy_under_grad():
    problem = pgdyn.Problem.tabular(POLICY, TRUE)
    slope = jax.grad(lambda r: pgdyn.Objective().value(problem.with_proxy(r), problem.initial_params))
    np.testing.assert_allclose(slope(jnp.asarray([PROXY])), [POLICY], rtol=1e-13)


# ---------------------------------------------------------------- what is refused

REAL = "every entry of {0} must be a real number"
FINITE = "every entry of {0} must be finite"
POSITIVE = "every probability must be positive"
T = pgdyn.Problem.tabular
L = pgdyn.Problem.linear

REFUSED = [
    # nan and infinities, in every field
    (lambda: T(POLICY, [1, 0.8, -1, NAN, -1]), "true_reward[3] is nan; " + FINITE.format("true_reward")),
    (lambda: T(POLICY, [TRUE, [1, 1, INF, 1, 1]]), "true_reward[1, 2] is inf; " + FINITE.format("true_reward")),
    (lambda: T(POLICY, TRUE, [1, -INF, 0, 0, 0]), "proxy_reward[1] is -inf; " + FINITE.format("proxy_reward")),
    (lambda: T([NAN, 0.5, 0.5], [1, 2, 3]), "initial_policy[0] is nan; " + FINITE.format("initial_policy")),
    (lambda: T([0.5, 0.5, INF], [1, 2, 3]), "initial_policy[2] is inf; " + FINITE.format("initial_policy")),
    (lambda: L([[1, 2], [3, NAN]], [1, 2]), "features[1, 1] is nan; " + FINITE.format("features")),
    (
        lambda: L(FEATURES, TRUE, initial_params=[0, INF, 0]),
        "initial_params[1] is inf; " + FINITE.format("initial_params"),
    ),
    (lambda: T(POLICY, TRUE, temperature=NAN), "temperature is nan; " + FINITE.format("temperature")),
    (
        lambda: T(POLICY, [TRUE] * 2, prompt_weights=[1, NAN]),
        "prompt_weights[1] is nan; " + FINITE.format("prompt_weights"),
    ),
    # probabilities
    (lambda: T([-0.1, 0.6, 0.5], [1, 2, 3]), "initial_policy[0] is -0.1; " + POSITIVE),
    (lambda: T([[0.5, 0.5], [1.0, 0.0]], [1, 2]), "initial_policy[1, 1] is 0; " + POSITIVE),
    (
        lambda: T([0.5, 0.5 + 1e-5], [1, 2]),
        "initial_policy[0] sums to 1.00001; each prompt's probabilities must sum to 1",
    ),
    (
        lambda: T([[0.5, 0.5], [0.5, 0.5 - 1e-5]], [1, 2]),
        "initial_policy[1] sums to 0.99999; each prompt's probabilities must sum to 1",
    ),
    (
        lambda: L(FEATURES, TRUE, initial_policy=[0.5, 0.5, 0.5, 0.5, 0.5]),
        "initial_policy[0] sums to 2.5; each prompt's probabilities must sum to 1",
    ),
    # temperature and weights
    (lambda: T(POLICY, TRUE, temperature=0.0), "temperature is 0; the temperature must be positive"),
    (lambda: L(FEATURES, TRUE, temperature=-1), "temperature is -1; the temperature must be positive"),
    (
        lambda: T(POLICY, TRUE, temperature=[1.0, 2.0]),
        "temperature has shape (2,); it must be one number",
    ),
    (lambda: T(POLICY, [TRUE] * 2, prompt_weights=[1, -1]), "prompt_weights[1] is -1; no weight may be negative"),
    (
        lambda: T(POLICY, [TRUE] * 2, prompt_weights=[0, 0]),
        "prompt_weights are all zero; at least one must be positive",
    ),
    (
        lambda: T(POLICY, [TRUE] * 2, prompt_weights=[1, 1, 1]),
        "prompt_weights has shape (3,) but there are 2 prompts",
    ),
    # what is no number
    (lambda: T(POLICY, ["high", 0, 0, 0, 0]), "true_reward[0] is 'high'; " + REAL.format("true_reward")),
    (lambda: T(POLICY, [1, 0, "0", 0, 0]), "true_reward[2] is '0'; " + REAL.format("true_reward")),
    (lambda: T(POLICY, "rewards"), "true_reward is 'rewards'; " + REAL.format("true_reward")),
    (lambda: T(POLICY, None), "true_reward is None; " + REAL.format("true_reward")),
    (lambda: T(POLICY, [1, None, 0, 0, 0]), "true_reward[1] is None; " + REAL.format("true_reward")),
    (lambda: T([True, False], [1, 2]), "initial_policy[0] is True; " + REAL.format("initial_policy")),
    (lambda: T(POLICY, TRUE, np.array([True] * 5)), "proxy_reward[0] is True; " + REAL.format("proxy_reward")),
    (lambda: T(POLICY, TRUE, [1j, 0, 0, 0, 0]), "proxy_reward[0] is 1j; " + REAL.format("proxy_reward")),
    (lambda: T(POLICY, TRUE, temperature="warm"), "temperature is 'warm'; " + REAL.format("temperature")),
    (lambda: T(POLICY, TRUE, temperature=None), "temperature is None; " + REAL.format("temperature")),
    (lambda: T(POLICY, TRUE, temperature=True), "temperature is True; " + REAL.format("temperature")),
    (lambda: L(None, TRUE), "features is None; " + REAL.format("features")),
    # shapes
    (lambda: T([], []), "true_reward is empty"),
    (lambda: T(POLICY, [[], []]), "true_reward is empty"),
    (
        lambda: T(POLICY, [[1, 2, 3, 4, 5], [1, 2]]),
        "true_reward is not rectangular: true_reward[1] has 2 entries but true_reward[0] has 5 entries",
    ),
    (
        lambda: L([[[1, 2], [3]], [[1, 2], [3, 4]]], [1, 2]),
        "features[0] is not rectangular: features[0][1] has 1 entries but features[0][0] has 2 entries",
    ),
    (
        lambda: T(POLICY, [[1, 2, 3, 4, 5], 6]),
        "true_reward is not rectangular: true_reward[1] has a single entry but true_reward[0] has 5 entries",
    ),
    (lambda: T(POLICY, 1.0), "true_reward has shape (); it must be [K] or [P, K]"),
    (
        lambda: T(POLICY, np.zeros((2, 2, 2, 5))),
        "true_reward has shape (2, 2, 2, 5); it must be [K] or [P, K]",
    ),
    (
        lambda: T([0.5, 0.5], TRUE),
        "the number of outputs differs: true_reward has 5, initial_policy has 2",
    ),
    (
        lambda: T([1.0], TRUE),
        "the number of outputs differs: true_reward has 5, initial_policy has 1",
    ),
    (
        lambda: T(POLICY, [TRUE] * 2, [PROXY] * 3),
        "shapes do not fit together: true_reward (2, 5) and proxy_reward (3, 5) and initial_policy (1, 5)",
    ),
    (lambda: L(FEATURES, TRUE[:4]), "features has 5 outputs but true_reward has 4"),
    (
        lambda: L(FEATURES[:, 0], TRUE),
        "features has shape (5,); it must be [K, D] or [P, K, D]",
    ),
    (lambda: L(np.zeros((2, 5, 3)), [TRUE] * 3), "features has 2 prompts but the rewards have 3"),
    (
        lambda: L(FEATURES, TRUE, initial_params=[1.0, 2.0]),
        "initial_params has shape (2,); the features ask for (3,)",
    ),
    (
        lambda: L(FEATURES, TRUE, initial_params=np.zeros((2, 3))),
        "initial_params has shape (2, 3); the features ask for (3,)",
    ),
    # what is many problems
    (
        lambda: T(POLICY, np.zeros((4, 1, 5))),
        "true_reward has shape (4, 1, 5); it must be [K] or [P, K] for one problem, and pgdyn.Batch takes [N, P, K]",
    ),
    (
        lambda: T(np.full((4, 1, 5), 0.2), TRUE),
        "initial_policy has shape (4, 1, 5); it must be [K] or [P, K] for one problem, and pgdyn.Batch takes [N, P, K]",
    ),
    (
        lambda: T(POLICY, TRUE, np.zeros((1, 1, 5))),
        "proxy_reward has shape (1, 1, 5); it must be [K] or [P, K] for one problem, and pgdyn.Batch takes [N, P, K]",
    ),
    (
        lambda: L(np.zeros((4, 1, 5, 3)), TRUE),
        "features has shape (4, 1, 5, 3); "
        "it must be [K, D] or [P, K, D] for one problem, and pgdyn.Batch takes [N, P, K, D]",
    ),
    (
        lambda: T(POLICY, [TRUE] * 2, prompt_weights=np.ones((4, 2))),
        "prompt_weights has shape (4, 2) but there are 2 prompts",
    ),
    (
        lambda: L(FEATURES, TRUE, initial_params=[0, 0, 0], initial_policy=POLICY),
        "give initial_params or initial_policy, not both: each of them sets the start",
    ),
    (
        lambda: L(1e200 * np.eye(2), [1, 0], initial_params=[0, -1e200]),
        "initial logits[0, 1] is -inf; features @ initial_params / temperature must be finite, "
        "and so must its differences within a prompt",
    ),
    # with_proxy and stack
    (
        lambda: T(POLICY, TRUE).with_proxy([1, 2]),
        "proxy_reward has shape (1, 2) but the problem's rewards have (1, 5)",
    ),
    (
        lambda: T(POLICY, TRUE).with_proxy([1, 2, NAN, 4, 5]),
        "proxy_reward[2] is nan; " + FINITE.format("proxy_reward"),
    ),
    (
        lambda: T(POLICY, TRUE).with_proxy(np.zeros((4, 2, 5))),
        "proxy_reward has shape (4, 2, 5) but the problem's rewards have (1, 5)",
    ),
    (
        lambda: T(POLICY, TRUE).with_proxy(np.zeros((2, 2, 1, 5))),
        "proxy_reward has shape (2, 2, 1, 5); it must be [K] or [P, K], or [N, P, K] for a batch",
    ),
    (lambda: pgdyn.stack([]), "stack needs at least one problem"),
    (
        lambda: pgdyn.stack([T(POLICY, TRUE), T([0.5, 0.5], [1, 2])]),
        "problems[1] is tabular, P = 1, K = 2 but problems[0] is tabular, P = 1, K = 5",
    ),
    (
        lambda: pgdyn.stack([T(POLICY, TRUE), L(FEATURES, TRUE)]),
        "problems[1] is linear with D = 3, P = 1, K = 5 but problems[0] is tabular, P = 1, K = 5",
    ),
    (lambda: pgdyn.stack(["problem"]), "problems[0] is 'problem', not a Problem"),
    (
        lambda: pgdyn.stack([T(POLICY, TRUE).with_proxy(np.zeros((4, 1, 5)))]),
        "problems[0] is already a batch; stack takes single problems",
    ),
]


@pytest.mark.parametrize(("build", "sentence"), REFUSED, ids=[sentence[:60] for _, sentence in REFUSED])
def test_bad_input_is_refused_in_one_sentence(build, sentence):
    with pytest.raises(ValueError) as refusal:
        build()
    assert str(refusal.value) == sentence


def test_sums_within_1e_6_are_accepted():
    assert T([0.5, 0.5 + 9e-7], [1, 2]).num_outputs == 2
    with pytest.raises(ValueError, match="sums to"):
        T([0.5, 0.5 + 1.1e-6], [1, 2])


def test_both_starts_are_refused_even_if_equal():
    start = oracles.log_policy(make_setting(0, (1, 5, None)), np.zeros((1, 5)))
    with pytest.raises(ValueError, match="not both"):
        L(np.eye(5), TRUE, initial_params=start[0], initial_policy=np.exp(start[0]))


def test_one_problem_is_no_sequence():
    for access in (len, lambda problem: problem[0], iter):
        with pytest.raises(TypeError):
            access(T(POLICY, TRUE))


# ---------------------------------------------------------------- one problem where one is wanted


@pytest.mark.parametrize("call", [lambda p: pgdyn.flow(p, 1.0), lambda p: pgdyn.ascend(p, 3)], ids=["flow", "ascend"])
@pytest.mark.parametrize("axes", [1, 2])
def test_arrays_with_leading_axes_are_not_one_problem(call, axes):
    """Two leading axes used to pass for a single problem."""
    single = T(POLICY, TRUE)
    stacked = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2,) * axes + leaf.shape), single)
    with pytest.raises(ValueError, match=r"takes one problem and this one's arrays have leading axes \(2,( 2)?\)"):
        call(stacked)


@pytest.mark.parametrize("name", ["proxy_reward", "initial_params", "temperature", "prompt_weights"])
def test_one_array_with_a_leading_axis_is_refused_by_its_name(name):
    single = T(POLICY, TRUE)
    mixed = dataclasses.replace(single, **{name: jnp.stack([getattr(single, name)] * 3)})
    with pytest.raises(ValueError, match=f"flow takes one problem and its {name} has shape"):
        pgdyn.flow(mixed, 1.0)


def test_weights_whose_sum_overflows():
    """Oracle: the same weights in another unit."""
    for unit in (1e308, 5e-324):
        problem = T(POLICY, [TRUE] * 3, prompt_weights=[unit, 0.0, unit])
        np.testing.assert_array_equal(problem.prompt_weights, [0.5, 0.0, 0.5])
