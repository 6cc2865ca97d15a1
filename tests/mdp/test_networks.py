"""Networks as policies: against features where the two are one, and what a network's problem refuses."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgdyn
from pgdyn import mdp

FEATURES = np.random.default_rng(0).normal(size=(3, 4, 2))
REWARD = np.eye(3, 4)


def as_network():
    start = {"slope": np.zeros(2), "unused": np.zeros(1)}
    return pgdyn.Problem.differentiable(
        lambda p: jnp.asarray(FEATURES) @ p["slope"] + 0.0 * p["unused"].sum(), start, REWARD, temperature=2.0
    )


def test_a_linear_network_is_a_linear_policy():
    linear = pgdyn.Problem.linear(FEATURES, REWARD, temperature=2.0)
    network = as_network()
    np.testing.assert_allclose(pgdyn.kernel(network), pgdyn.kernel(linear), atol=1e-15)
    for geometry in ("euclidean", "natural"):
        one, other = (pgdyn.flow(p, 5.0, geometry=geometry, saves=3) for p in (linear, network))
        np.testing.assert_allclose(one.log_policy, other.log_policy, rtol=1e-6, atol=1e-8)
        assert other.params.shape == (3, 3)
    one, other = (pgdyn.ascend(p, 30, save_every=30) for p in (linear, network))
    np.testing.assert_allclose(one.log_policy, other.log_policy, rtol=1e-12)
    tree = network.network.params(other.params[-1])
    np.testing.assert_allclose(tree["slope"], one.params[-1], rtol=1e-12)


def test_a_module_of_equinox_is_trained_on_a_tree():
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(7, 3)))
    module = eqx.nn.MLP(3, 2, 4, 1, activation=jnp.tanh, key=jax.random.key(0))
    sequence = mdp.tree(2, 3, np.r_[1.0, np.zeros(7)])
    problem = pgdyn.Problem.differentiable(
        lambda m: jax.vmap(m)(inputs),
        module,
        sequence.true_reward,
        transitions=sequence.transitions,
    )
    objective = pgdyn.Objective(kl=0.1)

    @jax.jit
    def measure(params):
        jacobian = jax.jacobian(problem.network)(params)
        value, gradient = objective.value(problem, params), objective.gradient(problem, params)
        return value, gradient, pgdyn.kernel(problem, params), jacobian

    start = np.asarray(problem.initial_params)
    step = np.random.default_rng(2).normal(size=start.shape)
    _, gradient, kernel, jacobian = map(np.asarray, measure(start))
    ahead, behind = (measure(start + h * step)[0] for h in (1e-5, -1e-5))
    np.testing.assert_allclose(gradient @ step, float(ahead - behind) / 2e-5, rtol=1e-6)
    np.testing.assert_allclose(kernel, np.einsum("pkd,qld->pkql", jacobian, jacobian), rtol=1e-10, atol=1e-14)
    trained = pgdyn.ascend(problem, 200, save_every=200)
    assert trained.true_value[-1] > trained.true_value[0]
    assert isinstance(problem.network.params(trained.params[-1]), eqx.nn.MLP)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: pgdyn.Problem.differentiable(3, {"w": np.zeros(2)}, REWARD), "logits is 3; it must be a function"),
        (lambda: pgdyn.Problem.differentiable(lambda p: p, {"n": 3}, REWARD), "has no array of floats"),
        (
            lambda: pgdyn.Problem.differentiable(lambda p: p, np.zeros(4), REWARD),
            r"logits\(initial_params\) has shape \(4,\) but the rewards have \(3, 4\)",
        ),
        (lambda: pgdyn.Problem.differentiable(lambda p: p, np.full((3, 4), np.nan), REWARD), "must be finite"),
        (lambda: pgdyn.Problem.differentiable(lambda p: p / 0.0, np.ones((3, 4)), REWARD), "must be finite"),
        (lambda: pgdyn.flow_many(as_network(), 1.0), "the engine of flow_many has no networks"),
        (lambda: pgdyn.save_problem(as_network(), "network.toml"), "a network, a function"),
    ],
)
def test_refusals(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_networks_are_alike_where_function_and_shapes_are():
    def logits(p):
        return p

    one, other = (pgdyn.Problem.differentiable(logits, np.zeros((3, 4)), REWARD) for _ in range(2))
    assert one.network == other.network
    assert len(pgdyn.stack([one, other])) == 2
