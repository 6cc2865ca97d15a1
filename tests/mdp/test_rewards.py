"""Shaping, optimal values, answer likelihoods and bilevel alignment against enumeration and known numbers."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sequence_oracle as oracle

import pgdyn
from pgdyn import mdp
from pgdyn.mdp import AnswerLikelihood, bilevel, rewards


def thoughts(length, per_token=(0.6, 0.5), policy=(0.5, 0.5)):
    """Two thoughts, then an answer of `length` tokens that each makes right with its own probability."""
    successors, start = [[1, 1 + length]], [list(policy)]
    for a, right in enumerate(per_token):
        for i in range(length):
            following = 2 + a * length + i if i + 1 < length else -1
            successors.append([following, -1])
            start.append([right, 1 - right])
    return pgdyn.Problem.tabular(start, np.zeros((len(start), 2)), transitions=successors)


@eqx.filter_jit
def value_and_gradient(problem, objective, params):
    return objective.value(problem, params), objective.gradient(problem, params)


@eqx.filter_jit
def optimum_and_gradient(problem, reference, weight):
    value, worth = rewards.soft_values(problem, problem.proxy_reward, reference, weight)
    best = reference + (worth - value[:, None]) / weight
    return best, pgdyn.Objective(kl=0.5).gradient(problem, best)


def test_shaping_leaves_exact_gradients_alone():
    problem = mdp.random_mdp(3, states=2, actions=2, horizon=3, ending=0.2)
    potential = np.random.default_rng(0).normal(size=problem.num_prompts)
    shaped = problem.with_proxy(problem.proxy_reward + rewards.potential_shaping(problem, potential))
    one, other = (pgdyn.ascend(p, 100, save_every=100) for p in (problem, shaped))
    np.testing.assert_allclose(one.params, other.params, rtol=1e-11, atol=1e-12)
    # Returns move by -Phi of where the episode begins, whatever happens.
    before, after = mdp.leaves(problem), mdp.leaves(shaped)
    mean = {}
    for s in np.unique(before.start):
        own = before.start == s
        mass = np.exp(np.asarray(before.log_policy))[own]
        mean[s] = mass @ np.asarray(after.proxy_return - before.proxy_return)[own]
        np.testing.assert_allclose(mean[s], -potential[s], rtol=1e-10)


def test_a_discount_multiplies_by_the_clock():
    problem, discount = mdp.tree(2, 3, np.zeros(8)), 0.7
    potential = np.random.default_rng(1).normal(size=7)
    shaped = mdp.leaves(problem.with_proxy(rewards.potential_shaping(problem, potential, discount=discount)))
    np.testing.assert_allclose(shaped.proxy_return, -potential[0], rtol=1e-12)
    both_ways = pgdyn.Problem.tabular(None, np.zeros((3, 2)), transitions=[[1, 2], [2, -1], [-1, -1]])
    with pytest.raises(ValueError, match="decision point 2 is reached by paths of different lengths"):
        rewards.discounted(both_ways, np.zeros((3, 2)), 0.9)


def test_best_values_are_those_of_the_best_policy():
    problem = mdp.random_mdp(5, states=2, actions=2, horizon=2, ending=0.2)
    reward, chance = np.asarray(problem.true_reward), oracle.dense(np.asarray(problem.transitions))
    best = np.full(4, -np.inf)
    for choice in itertools.product(range(2), repeat=4):
        value = np.zeros(4)
        for s in reversed(range(4)):
            value[s] = reward[s, choice[s]] + chance[s, choice[s]] @ value
        best = np.maximum(best, value)
    np.testing.assert_allclose(rewards.values(problem, optimal=True), best, rtol=1e-12)


def test_soft_values_are_the_optimum_of_the_penalised_objective():
    problem = mdp.random_mdp(6, states=2, actions=2, horizon=3, ending=0.2)
    reference = pgdyn.policy.log_policy(problem, problem.initial_params)
    best, gradient = optimum_and_gradient(problem, reference, jnp.asarray(0.5))
    np.testing.assert_allclose(gradient, 0, atol=1e-14)
    np.testing.assert_allclose(np.exp(best).sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("length", "probability", "log_probability"),
    [(1, 0.1, 0.182), (4, 0.0671, 0.729), (16, 2.67e-4, 2.92), (64, 6.3e-15, 11.7)],
)
def test_advantage_between_thoughts(length, probability, log_probability):
    problem = thoughts(length)
    log_policy = pgdyn.policy.log_policy(problem, problem.initial_params)
    expected = {"probability": probability, "log_probability": log_probability, "mean_log": 0.182}
    for transform, gap in expected.items():
        objective = AnswerLikelihood.of(problem, (0,) * length, transform=transform)
        good, bad = objective.rewards(log_policy)
        np.testing.assert_allclose(good - bad, gap, rtol=6e-3)


@pytest.mark.parametrize("transform", ["probability", "log_probability", "mean_probability", "mean_log", "group_log"])
def test_likelihood_objective_by_listing_groups(transform):
    problem, size = thoughts(3, policy=(0.3, 0.7)), 3
    objective = AnswerLikelihood.of(problem, (0, 0, 0), transform=transform, group=size, kl=0.2)
    start = np.asarray(problem.initial_params)
    z = start + np.random.default_rng(0).normal(size=start.shape)

    def value(z):
        log = oracle.log_policy(z)
        steps = np.array([[log[1 + 3 * a + i, 0] for i in range(3)] for a in range(2)])
        chance = np.exp(steps.sum(axis=1))
        paid = {
            "probability": chance,
            "log_probability": steps.sum(axis=1),
            "mean_probability": np.exp(steps).mean(axis=1),
            "mean_log": steps.mean(axis=1),
        }
        thought = np.exp(log[0])
        if transform == "group_log":
            total = sum(
                np.prod([thought[a] for a in group]) * np.log(np.mean([chance[a] for a in group]))
                for group in itertools.product(range(2), repeat=size)
            )
        else:
            total = (thought * paid[transform]).sum()
        ways = oracle.episodes(np.asarray(problem.transitions), np.asarray(problem.prompt_weights))
        return total + oracle.objective(z, np.zeros(z.shape), ways, start, kl=0.2)

    expected = np.zeros(z.shape)
    for index in np.ndindex(z.shape):
        moved = z.astype(complex)
        moved[index] += 1e-30j
        expected[index] = value(moved).imag / 1e-30
    found_value, found = value_and_gradient(problem, objective, jnp.asarray(z))
    np.testing.assert_allclose(found_value, value(z), rtol=1e-12)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_engine_does_not_scale_a_likelihood():
    """Rewards of 1e9, which the likelihood never pays, change nothing."""
    problem = thoughts(2)
    objective = AnswerLikelihood.of(problem, (0, 0), kl=0.1)
    rewards = np.random.default_rng(0).normal(size=(2, *problem.true_reward.shape))
    plain, huge = (problem.with_proxy(size * rewards) for size in (0.0, 1e9))
    plain, huge = (pgdyn.flow_many(batch, 3.0, objective=objective) for batch in (plain, huge))
    np.testing.assert_allclose(huge.log_policy, plain.log_policy, rtol=1e-12)
    assert not np.array_equal(plain.log_policy[0], problem.initial_params)


def test_without_the_direct_term_answers_stand_still():
    problem = thoughts(2)
    objective = AnswerLikelihood.of(problem, (0, 0), transform="mean_probability", direct_term=False)
    gradient = value_and_gradient(problem, objective, problem.initial_params)[1]
    np.testing.assert_array_equal(gradient[1:], 0)
    assert gradient[0, 0] > 0


def test_one_thought_and_the_log_are_supervised_learning():
    """The gradient of log pi(answer) alone, with nothing to choose before it."""
    answer = pgdyn.Problem.tabular([[1.0, 0.0], [0.3, 0.7]], np.zeros((2, 2)), transitions=[[1, -1], [-1, -1]],
                                   mask=[[True, False], [True, True]])  # fmt: skip
    objective = AnswerLikelihood.of(answer, (0,), transform="log_probability")
    gradient = value_and_gradient(answer, objective, answer.initial_params)[1]
    np.testing.assert_allclose(gradient[1], [0.7, -0.7], rtol=1e-12)


def test_bilevel_gradient_is_the_covariance_in_one_step():
    draw = np.random.default_rng(2)
    policy, main, extra = draw.dirichlet(np.ones(4)), draw.normal(size=(1, 4)), draw.normal(size=(1, 4))
    problem, kl = pgdyn.Problem.tabular(policy, main), 0.3

    def primary(phi):
        log = bilevel.inner_optimum(problem, main, extra, phi, kl=kl)
        return pgdyn.policy.value(problem, log, jnp.asarray(main))

    phi = jnp.array([0.8, -0.4])
    found = policy * np.exp((0.8 * main[0] - 0.4 * extra[0]) / kl)
    found /= found.sum()
    covariance = found @ (main[0] * extra[0]) - (found @ main[0]) * (found @ extra[0])
    np.testing.assert_allclose(jax.jit(jax.grad(primary))(phi)[1], covariance / kl, rtol=1e-10)


def test_bilevel_gradient_is_the_implicit_one():
    """Against -(d2J/dphi dtheta)(H - lambda)^-1 dV/dtheta; lambda is for directions that move nothing."""
    problem, kl = mdp.random_mdp(8, states=2, actions=2, horizon=2, ending=0.2), 0.5
    draw = np.random.default_rng(0)
    main, extra = (jnp.asarray(draw.normal(size=(4, 2))) for _ in range(2))
    phi = jnp.array([1.0, 0.5])

    def inner(theta, phi):
        mixed = problem.with_proxy(np.zeros((4, 2)))
        reward = phi[0] * main + phi[1] * extra
        log = pgdyn.policy.log_policy(problem, theta.reshape(4, 2))
        return pgdyn.policy.value(problem, log, reward) + pgdyn.Objective(kl=kl).value_at(mixed, log)

    def primary(theta):
        return pgdyn.policy.value(problem, pgdyn.policy.log_policy(problem, theta.reshape(4, 2)), main)

    def outer(phi):
        log = bilevel.inner_optimum(problem, main, extra, phi, kl=kl)
        return pgdyn.policy.value(problem, log, main), log.ravel()

    @jax.jit
    def derivatives(phi):
        found, best = jax.grad(outer, has_aux=True)(phi)
        slope, mixed = jax.grad(inner), jax.jacobian(jax.grad(inner), argnums=1)
        return found, slope(best, phi), jax.hessian(inner)(best, phi), mixed(best, phi), jax.grad(primary)(best)

    found, slope, hessian, mixed, direct = map(np.asarray, derivatives(phi))
    np.testing.assert_allclose(slope, 0, atol=1e-13)
    implicit = -mixed.T @ np.linalg.solve(hessian - 1e-9 * np.eye(8), direct)
    np.testing.assert_allclose(found, implicit, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda p: rewards.potential_shaping(p, np.zeros(2)), r"potential has shape \(2,\); it must be \(3,\)"),
        (lambda p: rewards.potential_shaping(p, np.zeros(3), discount=2.0), "discount is 2"),
        (lambda p: rewards.discounted(p, np.zeros(3), 0.5), r"reward has shape \(3,\)"),
        (lambda p: rewards.prefix_credit(2, 3, (0, 1)), r"output is \(0, 1\); it must have 3 tokens"),
        (lambda p: AnswerLikelihood.of(p, (0, 0)), r"answer\[1\] does not follow thought 0"),
        (lambda p: AnswerLikelihood.of(p, (0,), transform="perplexity"), "transform is 'perplexity'"),
        (lambda p: AnswerLikelihood.of(p, (0,), normalize_by_std=True), "normalize_by_std is for rewards in a table"),
        (
            lambda p: pgdyn.ascend_sampled(p, 5, 0, objective=AnswerLikelihood.of(p, (0,))),
            "the reward of AnswerLikelihood is no table",
        ),
        (lambda p: AnswerLikelihood.of(pgdyn.Problem.tabular(None, [1.0, 0.0]), (0,)), "answers need a problem"),
        (lambda p: bilevel.align(p, np.zeros(2), np.zeros(2)), r"primary has shape \(2,\)"),
        (lambda p: bilevel.align(p, np.zeros((3, 2)), np.zeros((3, 2)), kl=0.0), "kl is 0; it must be positive"),
    ],
)
def test_refusals(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(mdp.tree(2, 2, np.zeros(4)))
