"""What takes a problem takes a sequence: files, datasets, pictures, categories, sensitivities, sweeps, the shell."""

import jax
import numpy as np
import pytest

import pgdyn
from pgdyn import cli, mdp
from pgdyn.dynamics.flow import velocity
from pgdyn.errors.mechanism import causes


@pytest.fixture(scope="module")
def tree():
    return mdp.tree(2, 2, [1.0, 0.8, -1.0, -1.0], initial_policy=[0.05, 0.55, 0.2, 0.2])


@pytest.mark.parametrize("suffix", ["toml", "json"])
@pytest.mark.parametrize("kind", ["deterministic", "stochastic", "masked"])
def test_a_file_gives_it_back_bit_for_bit(tmp_path, suffix, kind):
    problem = {
        "deterministic": lambda: mdp.tree(2, 2, np.arange(4.0)),
        "stochastic": lambda: mdp.random_mdp(0, states=2, actions=2, horizon=2),
        "masked": lambda: mdp.two_stage([0.2, 0.8], [[0.5, 0.3, 0.2]] * 2, np.eye(2, 3)),
    }[kind]()
    pgdyn.save_problem(problem, tmp_path / f"problem.{suffix}")
    found = pgdyn.load_problem(tmp_path / f"problem.{suffix}")
    assert found.transitions == problem.transitions
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(problem), strict=True):
        np.testing.assert_array_equal(one, other)


def test_datasets_hold_the_transitions(tree):
    dataset = pgdyn.ascend(tree, 5).to_dataset()
    np.testing.assert_array_equal(dataset.transitions, np.asarray(tree.transitions))
    chancy = mdp.random_mdp(0, states=2, actions=2, horizon=2)
    dataset = pgdyn.ascend(chancy, 5).to_dataset()
    assert dataset.transitions.dims == ("prompt", "output", "next_prompt")
    masked = mdp.two_stage([0.2, 0.8], [[0.5, 0.3, 0.2]] * 2, np.eye(2, 3))
    assert pgdyn.ascend(masked, 5).to_dataset().mask.dtype == bool


def test_pictures_show_whole_outputs(tree):
    figure = pgdyn.ascend(tree, 20).plot()
    texts = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert any("0 1" in text for text in texts)


def test_mechanisms_are_those_of_whole_outputs(tree):
    """The tree's whole outputs as a one-step problem have the same types, with the number of the output."""
    proxies = np.array([[1.0, -1.0, -1.0, -1.0], [1.0, 0.8, 1.5, -1.0]])
    placed = np.zeros((2, 3, 2))
    placed[:, 1:] = proxies.reshape(2, 2, 2)
    whole = mdp.leaves(tree).as_problem()
    one, other = causes(tree.with_proxy(placed), 0.9), causes(whole.with_proxy(proxies[:, None]), 0.9)
    np.testing.assert_array_equal(one.mechanism, other.mechanism)
    np.testing.assert_array_equal(one.output, other.output)
    chancy = mdp.random_mdp(0, states=2, actions=2, horizon=2)
    told = causes(chancy.with_proxy(np.asarray(chancy.true_reward)[None] + 1.0), 0.9)
    assert told.mechanism.tolist() == ["none"]


def test_a_lowered_mediocre_output_helps_in_a_tree_too(tree):
    placed = np.zeros((1, 3, 2))
    placed[0, 1:] = [[1.0, -1.0], [-1.0, -1.0]]
    report = pgdyn.categorize(tree, placed, t1=1e6, target=0.9)
    assert report.category.tolist() == ["beneficial"]
    assert report.mechanism.tolist() == ["escapes mediocrity"]


def test_sensitivity_is_that_of_differences(tree):
    slope = np.asarray(pgdyn.sensitivity(tree, 5.0))
    ahead, behind = (
        pgdyn.flow_many(
            tree.with_proxy(np.asarray(tree.proxy_reward) + step * np.eye(6).reshape(6, 3, 2)),
            5.0,
            rtol=1e-11,
            atol=1e-12,
        )
        for step in (1e-4, -1e-4)
    )
    np.testing.assert_allclose(slope.ravel(), (ahead.true_value - behind.true_value) / 2e-4, rtol=1e-5, atol=1e-9)


def test_natural_gradients_solve_the_fisher_system(tree):
    """F^+ g with F of all episodes, by NumPy."""
    features = np.random.default_rng(0).normal(size=(3, 2, 2))
    problem = mdp.tree(2, 2, [1.0, 0.8, -1.0, -1.0], features=features, initial_params=[0.3, -0.2])
    found = jax.jit(lambda p: velocity(problem, pgdyn.Objective(), p, None, geometry="natural"))(problem.initial_params)
    leaves = mdp.leaves(problem)
    scores = jax.jit(jax.jacobian(lambda p: mdp.leaves(problem, p).log_policy))(problem.initial_params)
    scores = np.asarray(scores)
    mass = np.exp(np.asarray(leaves.log_policy))
    fisher, gradient = (scores.T * mass) @ scores, scores.T @ (mass * np.asarray(leaves.proxy_return))
    np.testing.assert_allclose(found, np.linalg.solve(fisher, gradient), rtol=1e-9)


def test_theorems_and_exact_solutions_speak_of_one_decision(tree):
    assert not pgdyn.theory.THEOREMS["variance_gradient"].assumptions(tree)
    assert not pgdyn.exact.covers(tree)
    with pytest.raises(ValueError, match="flows of sequences have no exact solution"):
        pgdyn.exact.hitting_time(tree, 0.9)


def test_batches_keep_their_transitions(tree):
    batch = pgdyn.stack([tree, tree])
    assert batch.transitions == tree.transitions == batch[0].transitions == batch[:1].transitions
    assert batch.concatenate(batch).transitions == tree.transitions
    assert batch.replace(proxy_reward=np.zeros((2, 3, 2))).transitions == tree.transitions
    plain = pgdyn.Problem.tabular(None, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="problems.1. is "):
        pgdyn.stack([tree, plain])


def test_a_sweep_over_a_tree(tree, tmp_path, capsys):
    pgdyn.save_problem(tree, tmp_path / "tree.toml")
    (tmp_path / "sweep.toml").write_text(
        'observables = ["hitting_time"]\n[problem]\nfile = "tree.toml"\n'
        '[dynamics]\nkind = "flow"\nt1 = 1e6\ntarget = 0.9\n'
        '[[axes]]\nfield = "proxy_reward[1, 1]"\nkind = "list"\nvalues = [0.8, -1.0]\n'
    )
    assert cli.main(["sweep", str(tmp_path / "sweep.toml"), "--out", str(tmp_path / "store")]) == 0
    found = pgdyn.sweep.open_sweep(tmp_path / "store").hitting_time
    proxies = np.array([[[0, 0], [1, 0.8], [-1, -1]], [[0, 0], [1, -1], [-1, -1]]])
    direct = pgdyn.flow_many(tree.with_proxy(proxies), 1e6, target=0.9)
    np.testing.assert_allclose(np.asarray(found), direct.hitting_time, rtol=1e-9)
