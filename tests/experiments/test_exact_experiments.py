"""The exact experiments against plain NumPy loops, SciPy's DOP853 and the reference table of the paper's settings."""

import numpy as np
import optax
import pytest
from scipy.integrate import solve_ivp

import pgdyn
from experiments import controlled, controlled_problems, feature_similarity, log_time

STEPS = 1_500


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def numpy_ascent(features, theta, reward, true_reward, rate, steps):
    """True value and policy after 0..steps updates of theta += rate Phi^T (pi (r - <pi, r>))."""
    values, policies = [], []
    for _ in range(steps + 1):
        policy = softmax(features @ theta)
        policies.append(policy)
        values.append(policy @ true_reward)
        theta = theta + rate * features.T @ (policy * (reward - policy @ reward))
    return np.array(values), np.array(policies)


@pytest.fixture(scope="module")
def paper():
    return controlled.run(steps=STEPS)


@pytest.fixture(scope="module")
def similar():
    return feature_similarity.run(steps=1_000)


def test_dimensions_and_attributes(paper):
    assert paper.sizes["initial_probability"] == 3
    assert paper["training_reward"].values.tolist() == ["ground truth", "proxy"]
    assert paper["log_policy"].dims == ("initial_probability", "training_reward", "update", "prompt", "output")
    assert paper["flow_true_value"].dims == ("initial_probability", "training_reward", "time")
    assert paper["update"].values[[0, -1]].tolist() == [0, STEPS]
    np.testing.assert_allclose(paper["equivalent_update"], paper["time"] / 0.1)
    np.testing.assert_allclose(paper["time"][-1], 0.1 * STEPS)
    assert paper.attrs["learning_rate"] == 0.1
    assert "Euler" in paper.attrs["correspondence"]


def test_reference_table_of_the_paper_up_to_1500_updates(paper):
    """Oracle: the golden table (hits; true values after 1,000 updates)."""
    assert paper["hitting_time"].values.tolist() == [[np.inf, 168], [np.inf, 120], [1393, 101]]
    expected = [[0.79234, 0.99319], [0.79297, 0.99362], [0.80711, 0.99383]]
    # 1,000 is not a fiftieth of 1,500, so it is read off the neighbours, which are at most 30 updates away.
    np.testing.assert_allclose(paper["true_value"].interp(update=1_000), expected, atol=3e-4)


def test_ascent_is_a_plain_loop(paper):
    """Oracle: a NumPy loop in float64."""
    for i, start in enumerate(controlled_problems.INITIAL_POLICIES):
        for j, reward in enumerate(controlled_problems.TRAINING_REWARDS.values()):
            values, policies = numpy_ascent(
                np.eye(5), np.log(start), np.array(reward), np.array(controlled_problems.TRUE_REWARD), 0.1, STEPS
            )
            run = paper.isel(initial_probability=i, training_reward=j, prompt=0)
            at = run["update"].values
            np.testing.assert_allclose(run["true_value"], values[at], atol=1e-11)
            np.testing.assert_allclose(np.exp(run["log_policy"]), policies[at], atol=1e-11)


def test_flow_is_that_of_scipy(paper):
    """Oracle: SciPy DOP853 at 1e-13."""
    reward = np.array(controlled_problems.TRUE_REWARD)
    run = paper.isel(initial_probability=2).sel(training_reward="ground truth")

    def velocity(_, theta):
        policy = softmax(theta)
        return policy * (reward - policy @ reward)

    start = np.log(controlled_problems.INITIAL_POLICIES[2])
    times = run["time"].values
    solution = solve_ivp(velocity, (0, times[-1]), start, method="DOP853", rtol=1e-13, atol=1e-13, t_eval=times)
    values = np.array([softmax(theta) @ reward for theta in solution.y.T])
    np.testing.assert_allclose(run["flow_true_value"], values, atol=1e-9)


def test_feature_similarity_facts(similar):
    """Oracle: the golden table, and the inner products of the paper's features."""
    assert similar["hitting_time"].values.ravel().tolist() == [np.inf, np.inf, 443]
    np.testing.assert_allclose(
        similar["true_value"].isel(update=-1).values.ravel(), [0.79249, 0.79216, 0.98060], atol=2e-4
    )
    np.testing.assert_allclose(similar["inner_product"], [0, -1.5 / np.sqrt(2), 1.5 / np.sqrt(2)])
    np.testing.assert_allclose(np.exp(similar["log_policy"].isel(update=0)).squeeze()[0], [0.05, 0.5, 0.15, 0.15, 0.15])


def test_feature_similarity_is_a_plain_loop(similar):
    """Oracle: a NumPy loop in float64."""
    for name, features in feature_similarity.FEATURES.items():
        theta = np.linalg.solve(features, np.log([0.05, 0.5, 0.15, 0.15, 0.15]))
        reward = np.array(controlled_problems.TRUE_REWARD)
        values, _ = numpy_ascent(features, theta, reward, reward, 0.1, 1_000)
        run = similar.sel(feature_set=name, training_reward="ground truth")
        np.testing.assert_allclose(run["true_value"], values[run["update"].values], atol=1e-11)


def test_other_problems_than_the_papers(paper):
    """Oracle: a NumPy loop, on other policies, rewards, learning rate and target; the shapes are those of the paper."""
    policies = np.array([[0.2, 0.3, 0.1, 0.3, 0.1], [0.6, 0.1, 0.1, 0.1, 0.1], [0.01, 0.09, 0.3, 0.3, 0.3]])
    rewards = {"a": [0.3, 1.0, 0.0, -2.0, 0.1], "b": [0.0, 0.2, 1.0, 1.0, -1.0]}
    names = ("u", "v", "w", "x", "y")
    dataset = controlled.run(
        policies, rewards["a"], rewards, steps=STEPS, learning_rate=0.03, target=0.5, output_names=names
    )
    assert dataset["initial_probability"].values.tolist() == [0.3, 0.1, 0.09]
    for i, policy in enumerate(policies):
        for name, reward in rewards.items():
            values, _ = numpy_ascent(np.eye(5), np.log(policy), np.array(reward), np.array(rewards["a"]), 0.03, STEPS)
            run = dataset.isel(initial_probability=i).sel(training_reward=name)
            np.testing.assert_allclose(run["true_value"], values[run["update"].values], atol=1e-11)
            reached = np.flatnonzero(values >= 0.5)
            assert float(run["hitting_time"]) == (reached[0] if len(reached) else np.inf)


def test_joined_path_is_the_path(paper_problem):
    """Oracle: the same run with every update saved."""

    def run(steps, save_every):
        return pgdyn.ascend(paper_problem, steps, optimizer=optax.sgd(0.1), save_every=save_every, target=0.5)

    joined, whole = log_time.join(run, 2_000), run(2_000, 1)
    at = np.asarray(joined.t)
    assert (np.diff(at) > 0).all() and len(at) < 250
    np.testing.assert_allclose(joined.true_value, np.asarray(whole.true_value)[at], atol=1e-12)
    np.testing.assert_allclose(joined.log_policy, np.asarray(whole.log_policy)[at], atol=1e-11)
    assert joined.hitting_time == whole.hitting_time


def test_joined_paths_of_a_batch_are_those_of_its_problems(paper_problem):
    """Oracle: the joined path of each problem alone."""
    batch = paper_problem.with_proxy([[[1, c, -1, -1, -1]] for c in (0.5, -1.0)])
    joined = log_time.join(lambda steps, every: pgdyn.ascend_many(batch, steps, save_every=every), 300)
    for i, problem in enumerate(batch):
        alone = log_time.join(lambda steps, every, one=problem: pgdyn.ascend(one, steps, save_every=every), 300)
        np.testing.assert_array_equal(joined.t[i], alone.t)
        np.testing.assert_allclose(joined.true_value[i], alone.true_value, atol=1e-12)
        np.testing.assert_allclose(joined.params[i], alone.params, atol=1e-12)


@pytest.mark.parametrize("steps", [1, 7, 50, 1_000, 50_000])
def test_kept_updates(steps):
    stretch, sparse = max(1, steps // 50), max(1, steps // 1_000)
    late = np.append(np.arange(0, steps, sparse), steps)
    available = np.concatenate([np.arange(stretch + 1), late[late > stretch]])
    picked = log_time.kept(available, steps, 40)
    assert picked[0] == 0 and picked[-1] == steps
    assert np.isin(picked, available).all() and (np.diff(picked) > 0).all()
    if steps == 50_000:
        assert np.isin(np.arange(0, 50_001, 1_000), picked).all()
        assert np.diff(np.log10(picked[picked >= 40])).max() < 0.05


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"training_rewards": {}}, "training_rewards is empty"),
        ({"output_names": ("a", "b")}, "output_names has 2 names but the problem has 5 outputs"),
        ({"initial_policies": [[0.5, 0.6]]}, "initial_policy"),
        ({"steps": 0}, "steps is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        controlled.run(**{"steps": 10, **arguments})


def test_features_must_be_given():
    with pytest.raises(ValueError, match="features is empty"):
        feature_similarity.run({})


def test_no_probability_left_for_the_bad_outputs():
    with pytest.raises(ValueError, match=r"best \+ mediocre is 1.1"):
        controlled_problems.initial_policy(0.6)
