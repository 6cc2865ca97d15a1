"""The studies of estimators and of partial credit, at small sizes: their parts against oracles, and their figures."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray

import figures.best_of_n_tails
import figures.estimator_comparison
import figures.good_teacher
import figures.partial_credit
import figures.random_rewards
import figures.rank_bias
import figures.tail_extrapolation
import figures.verifier_noise
import pgdyn
from experiments import (
    best_of_n_tails,
    escape_share,
    estimator_comparison,
    good_teacher,
    mean_times,
    partial_credit,
    random_rewards,
    rank_bias,
    tail_extrapolation,
    verifier_noise,
    withdrawn_credit,
)


def test_times_of_many_flows_are_those_of_the_exact_solution():
    """From easy starts to a stall of 5e3; rtol of a step 1e-6."""
    starts = partial_credit._tabular(np.array([[0.1, 0.1], [0.05, 0.3], [0.01, 0.5]]))
    found = mean_times.hitting_times(partial_credit.PARTLY, starts, 0.95)
    batch = pgdyn.Batch.tabular(np.exp(starts), partial_credit.BINARY, partial_credit.HALFWAY)
    np.testing.assert_allclose(found, pgdyn.exact.hitting_time(batch, 0.95), rtol=5e-5)
    at_target = mean_times.hitting_times(partial_credit.PARTLY, np.array([[[9.0, 0, 0, 0]]]), 0.95)
    assert at_target.tolist() == [0.0]


def test_credit_withdrawn_from_the_mode():
    """Oracles: partial credit to the end where half success never is the mode, binary credit where it is from the
    start, and in between the exact solution of each of the two flows."""
    cells = np.array([[0.3, 0.01], [0.1, 0.6], [0.05, 0.3]])
    starts, target = partial_credit._tabular(cells), partial_credit.TARGET
    credits = (partial_credit.PARTLY, partial_credit.WHOLE)
    partial, binary = (mean_times.hitting_times(one, starts, target) for one in credits)
    found = withdrawn_credit.withdrawn_times(*credits, starts, partial, target, [1])
    assert found[0] == partial[0] and found[1] == pytest.approx(binary[1], rel=1e-9)
    half = np.array([0.0, 1.0, 0.0, 0.0])
    waiting = pgdyn.Problem.tabular(np.exp(starts[2]), half, partial_credit.HALFWAY)
    when = float(pgdyn.exact.hitting_time(waiting, withdrawn_credit.MODE))
    at = np.exp(np.asarray(pgdyn.exact.log_policy(waiting, when)))
    assert at[0, 1] == pytest.approx(withdrawn_credit.MODE, abs=1e-6)
    rest = float(pgdyn.exact.hitting_time(pgdyn.Problem.tabular(at, partial_credit.BINARY), target))
    assert found[2] == pytest.approx(when + rest, rel=1e-4)


def test_random_rewards_by_enumeration_and_by_law():
    dataset = random_rewards.run((0.5, 0.9), (2,))
    np.testing.assert_allclose(dataset["change"], dataset["law"], rtol=2e-3)
    clips = dataset["clipped_change"].sel(probability=0.9, epochs=2)
    np.testing.assert_allclose(clips, [0.0148, 0.0036, -0.0023, 0.0208], atol=5.1e-5)
    assert figures.random_rewards.draw(dataset).axes


def test_the_equations_of_a_noisy_verifier_keep_a_neutral_one():
    """No power: nothing moves. Full power: the wrong mass falls as the flow of GRPO's limit, here by SciPy."""
    from scipy.integrate import solve_ivp
    from scipy.special import softmax

    start = np.array(verifier_noise.POLICY)
    assert verifier_noise.mean_field(start, 0.5, 0.5, 100.0) == pytest.approx(0.8, rel=1e-12)
    reward = np.array([0.9, 0.9, 0.2, 0.2])

    def field(t, z):
        pi = softmax(z)
        q = pi @ reward
        return pi * (reward - q) / np.sqrt(q * (1 - q))

    path = solve_ivp(field, (0, 5), np.log(start), rtol=1e-10, atol=1e-12)
    expected = softmax(path.y[:, -1])[2:].sum()
    assert verifier_noise.mean_field(start, 0.9, 0.2, 5.0) == pytest.approx(expected, rel=1e-6)


def test_a_teachers_accuracy_and_variance():
    """The ground truth is among the proxies; oracle: sums over pairs and outputs."""
    dataset = good_teacher.run(4)
    assert dataset["accuracy"][0] == 1 and dataset["on_policy_accuracy"].sel(policy="even")[0] == pytest.approx(1)
    for name, policy in good_teacher.POLICIES.items():
        mean = np.dot(policy, good_teacher.TRUE)
        expected = np.dot(policy, (good_teacher.TRUE - mean) ** 2)
        assert float(dataset["variance"].sel(policy=name)[0]) == pytest.approx(expected, rel=1e-12)
    assert good_teacher.rank_correlation(np.array([1.0, 2, 3, np.inf]), np.array([3.0, 2, 1, 9])) == -1
    assert figures.good_teacher.draw(dataset).axes


def test_the_law_of_escapes_is_read_off_the_shares():
    rng = np.random.default_rng(0)
    rare = np.array([0.02, 0.05, 0.1, 0.2])
    share = 1 / (1 + (rare / 0.1) ** -4.0)
    escaped = (rng.uniform(size=(4, 20_000)) < share[:, None]).astype(float)
    dataset = xarray.Dataset({"escaped": (("rare", "rare_seed"), escaped)}, coords={"rare": rare})
    slope, middle = escape_share.escape_law(dataset)
    assert slope == pytest.approx(4, abs=0.15) and middle == pytest.approx(0.1, rel=0.02)


def test_population_of_prompts():
    problem = rank_bias.make_population(6, 10, 1)
    assert (np.asarray(problem.true_reward).sum(axis=1) == 3).all()
    log_policy = np.asarray(pgdyn.policy.log_policy(problem, problem.initial_params))
    np.testing.assert_allclose(log_policy, problem.features[..., 0], atol=1e-12)


def test_the_gradient_of_the_best_of_n():
    """Oracle: central differences of sum_l r_l (F_l^N - F_(l-1)^N), F the distribution function; with a tie."""
    reward, count = np.array([0.3, 1.0, -0.5, 0.3, 0.9]), 6
    z = np.array([0.1, -0.7, 0.4, 0.0, -0.2])

    def value(z):
        pi = np.exp(z) / np.exp(z).sum()
        levels = np.unique(reward)
        below = np.array([pi[reward <= level].sum() for level in levels]) ** count
        return levels @ np.diff(below, prepend=0.0)

    slopes = [(value(z + step) - value(z - step)) / 2e-5 for step in 1e-5 * np.eye(5)]
    found = tail_extrapolation.best_of_n_gradient(reward, np.exp(z) / np.exp(z).sum(), count)
    np.testing.assert_allclose(found, slopes, rtol=0, atol=1e-10)


def test_the_best_of_n_by_a_proxy_and_the_chosen_of_two():
    """Oracles: every pair of outputs drawn; the library's policy of the best of two."""
    true, proxy = np.array([0.2, -1.0, 0.7]), np.array([0.5, 2.0, -0.3])
    pairs = [(a, b) for a in range(3) for b in range(3)]
    both = [(true[m], proxy[m]) for m in (max(pair, key=lambda y: proxy[y]) for pair in pairs)]
    found = best_of_n_tails._best(true, proxy, (2,))[:, 0]
    np.testing.assert_allclose(found, np.mean(both, axis=0), rtol=1e-14)
    pi, reward = np.array([0.2, 0.5, 0.3]), np.array([1.0, 0.0, 0.0])
    certain = (reward[:, None] > reward) + (reward[:, None] == reward) / 2
    expected = pgdyn.estimators.best_of_n_policy(jnp.asarray(reward[None]), jnp.asarray(pi[None]), 2)[0]
    np.testing.assert_allclose(best_of_n_tails._chosen(pi, certain), expected, rtol=1e-14)


def synthetic(shapes, coords, attrs):
    """A dataset of these variables, with positive numbers."""
    rng = np.random.default_rng(0)
    sizes = {name: len(values) for name, values in coords.items()}
    variables = {
        name: (dims, rng.uniform(0.1, 1.0, [sizes.get(dim, 4) for dim in dims])) for name, dims in shapes.items()
    }
    return xarray.Dataset(variables, coords={k: (k, list(c)) for k, c in coords.items()}, attrs=attrs)


def test_figures_are_drawn_without_running_anything():
    maps, pairs = ("half", "full"), ("first", "second")
    credit = synthetic(
        {
            "flow_ratio": maps,
            "adaptive_ratio": maps,
            "withdrawn_ratio": maps,
            "grpo_ratio": ("group", *maps),
            "time": ("point", "credit", "save"),
            "success": ("point", "credit", "save"),
            "compositional_ratio": pairs,
            "compositional_adaptive": pairs,
            "compositional_withdrawn": pairs,
        },
        {
            "full": [1e-3, 1e-2, 0.1],
            "half": [1e-3, 1e-2, 0.1],
            "group": [4, 16, 96],
            "first": [0.01, 0.1],
            "second": [0.01, 0.1],
            "credit": [0, 1, 2],
        },
        {"marked": partial_credit.MARKED},
    )
    credit["time"] = credit["time"].cumsum("save")
    assert len(figures.partial_credit.draw_maps(credit).axes) >= 5
    assert len(figures.partial_credit.draw_paths(credit).axes) >= 6
    answers = synthetic(
        {
            "change": ("variant", "epochs", "answer"),
            "sampled_change": ("size", "passes", "answer"),
            "uplift": ("variant", "answer"),
            "pass_at_n": ("variant", "N"),
            "base": ("N",),
        },
        {
            "variant": list(rank_bias.PARTS),
            "epochs": [1, 2, 4],
            "size": [5, 32],
            "passes": [1, 8, 32],
            "answer": [0.35, 0.2, 0.1, 0.05],
            "N": list(rank_bias.COUNTS),
        },
        {},
    )
    assert len(figures.rank_bias.draw(answers).axes) == 4
    noise = synthetic({"wrong": ("power", "seed"), "mean_field": ("power",)}, {"power": [-0.5, 0, 0.5]}, {"start": 0.8})
    assert figures.verifier_noise.draw(noise).axes
    tails = synthetic(
        {
            **{name: ("order", "size", "direction") for name in ("slope", "slope_error")},
            **{name: ("trained", "rate") for name in ("best", "best_error")},
            "cosine": ("tail", "estimator"),
        },
        {
            "order": [1, 2],
            "size": [16, 32],
            "direction": ["location", "scale"],
            "tail": ["normal", "t, 2 degrees"],
            "estimator": ["GRPO", "max@32", "TEA", "Prefix-TEA"],
            "trained": ["GRPO", "TEA"],
            "rate": [0.1, 1.0],
        },
        {"best_of": 64},
    )
    assert len(figures.tail_extrapolation.draw(tails).axes) == 3
    best = synthetic(
        {"gold": ("noise", "N"), "gold_error": ("noise", "N"), "distance": ("N",)},
        {"noise": list(best_of_n_tails.NOISES), "N": [1, 4, 16]},
        {},
    )
    assert len(figures.best_of_n_tails.draw(best).axes) == 2
    names = list(estimator_comparison.ESTIMATORS)
    compared = synthetic(
        {"time": ("estimator", "rate", "seed"), "escaped": ("rare", "rare_seed")},
        {"estimator": names, "rate": [0.1, 1.0], "rare": [0.02, 0.05, 0.1, 0.2]},
        {"samples": 4000},
    )
    compared["escaped"] = (("rare", "rare_seed"), np.array([[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1.0]]))
    compared["time"] = 1000 * compared["time"]
    assert len(figures.estimator_comparison.draw(compared).axes) == 2
