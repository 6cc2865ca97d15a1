"""Experiments on sequences, small. Oracle: what the claims expect, which the data can fail."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray
from matplotlib.backends.backend_agg import FigureCanvasAgg
from proxy_flows import failures

import pgdyn
from experiments import (
    answer_length,
    auxiliary_rewards,
    critique_phases,
    dense_reward,
    shaping_variance,
    transformer_kernel,
)
from figures import answer_length as answer_length_figure
from figures import auxiliary_rewards as auxiliary_rewards_figure
from figures import critique_phases as critique_phases_figure
from figures import dense_reward as dense_reward_figure
from figures import shaping_variance as shaping_variance_figure
from figures import style
from figures import transformer_kernel as transformer_kernel_figure
from paper_repro.reproductions import answer_length as answer_length_claims
from paper_repro.reproductions import auxiliary_rewards as auxiliary_rewards_claims
from paper_repro.reproductions import critique_phases as critique_phases_claims
from paper_repro.reproductions import dense_reward as dense_reward_claims
from paper_repro.reproductions import shaping_variance as shaping_variance_claims
from paper_repro.reproductions import transformer_kernel as transformer_kernel_claims
from pgdyn import mdp


def fit_to_print(figure, folder):
    """Whether every axis is labelled, no words lie on others, and the file is small."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
        if any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2)):
            return False
    style.save(figure, folder / "a.png")
    for axes in figure.axes:
        row = [other for other in figure.axes if other is axes or other.get_shared_y_axes().joined(axes, other)]
        if not any(other.get_ylabel() for other in row) or (axes.get_subplotspec() and not axes.get_xlabel()):
            return False
    return (folder / "a.png").stat().st_size < 200_000


def broken(reproduction, dataset, changes):
    """Claims that a change of the data does not fail."""
    return [name for name, change in changes.items() if name not in failures(reproduction, dataset.assign(change))]


def test_dense_rewards_and_one_that_misleads(tmp_path):
    data = dense_reward.run(
        (1, 2, 3, 5), (0.02, 0.1, 0.5), heights=(0.0, 0.3, 0.6, 0.9, 0.95), misled_probabilities=(0.05, 0.2)
    )
    assert failures(dense_reward_claims.REPRODUCTION, data) == []
    assert fit_to_print(dense_reward_figure.draw(data), tmp_path)
    changes = {
        "dense-5-0.02": {"hitting_time": data["hitting_time"] * (1 + 1e-4)},
        "sparse": {"hitting_time": data["hitting_time"] * (1 + 1e-3)},
        "tokens": {"hitting_time": data["hitting_time"] * (1 + 1e-3)},
        "helps-when-rare": {"hitting_time": np.sqrt(data["hitting_time"])},
        "hurts-when-likely": {"hitting_time": 1 / data["hitting_time"]},
        "misled": {"misled_time": data["misled_time"] * (1 + 1e-3)},
        "misled-stall": {"misled_time": data["misled_time"][:, ::-1].drop_vars("height")},
    }
    assert broken(dense_reward_claims.REPRODUCTION, data, changes) == []


def test_critiques_have_two_phases(tmp_path):
    data = critique_phases.run((0.05, 0.1, 0.3), (2, 4, 5, 6, 10), boundary_labels=(2, 5, 10, 1024))
    assert failures(critique_phases_claims.REPRODUCTION, data) == []
    assert fit_to_print(critique_phases_figure.draw(data), tmp_path)
    changes = {
        "sound-0.1-5": {"sound": data["sound"] + 1e-3},
        "boundary-5": {"boundary": data["boundary"] * 1.01},
        "boundary-many": {"boundary": data["boundary"] * 1.05},
        "boundary-all": {"boundary": data["boundary"] * 1.2},
        "blind": {"outcome": 0.9 * data["outcome"]},
        "mended": {"processed": data["processed"] - 0.01},
    }
    assert broken(critique_phases_claims.REPRODUCTION, data, changes) == []


@eqx.filter_jit
def velocity_of(problem, objective):
    """Of the logits, at the start."""
    gradient = objective.gradient(problem, problem.initial_params)
    return gradient if problem.features is None else pgdyn.policy.project(problem.features, gradient)


def test_wrong_labels_that_are_alike_count_as_one():
    """The velocity of the log-odds, against the problem that writes all labels out."""
    labels, sound = 5, 0.1
    reward = mdp.rewards.judgement([True, False], labels)
    right = critique_phases.RIGHT_AFTER_SOUND
    answers = [[right] + [(1 - right) / 4] * 4, [1 / labels] * labels]
    whole = mdp.two_stage([sound, 1 - sound], answers, reward)
    outcome = mdp.rewards.judgement([True, False], 2)
    small = critique_phases.judges(np.array([sound]), np.array([labels]), outcome[None], outcome=outcome)[0]
    moved = []
    for problem in (whole, small):
        velocity = np.asarray(velocity_of(problem, pgdyn.Objective()))
        moved.append(velocity[:, 0] - velocity[:, 1])
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-12)


def test_shaping_costs_sampled_gradients_alone(tmp_path):
    data = shaping_variance.run(seeds=100)
    assert failures(shaping_variance_claims.REPRODUCTION, data) == []
    assert fit_to_print(shaping_variance_figure.draw(data), tmp_path)
    changes = {
        "exact-paths": {"exact_value": data["exact_value"] + 1e-9 * (data["potential"] == "random")},
        "unbiased": {"bias": data["bias"] + 1e-9},
        "variance-best": {"variance": data["variance"] + 1e-6},
        "success": {"success": data["success"][::-1].drop_vars("potential")},
        "variance-alike": {"variance": data["variance"] * xarray.where(data["potential"] == "V*", 1, 3)},
    }
    assert broken(shaping_variance_claims.REPRODUCTION, data, changes) == []


def test_the_simulation_of_reinforce_has_the_variance_of_the_listed_episodes():
    """The first update of many runs: its mean and variance against the list."""
    seeds, height, s = 100_000, np.array([0.5, -1.0]), 0.3
    problem = dense_reward.chains(4, [2, 4], [s, s], dense=[False, False])[0]
    shaped = problem.true_reward + mdp.rewards.potential_shaping(problem, np.r_[0, 0, height])
    start = np.asarray(problem.initial_params)[None]
    spread, bias = shaping_variance.gradient_moments(problem, np.asarray(shaped)[None], start)
    odds, uniforms = np.full((seeds, 2), np.log(s / (1 - s))), np.random.default_rng(0).random((seeds, 2))
    drawn = shaping_variance.sampled_gradient(odds, np.tile(height, (seeds, 1)), uniforms)
    np.testing.assert_allclose(2 * drawn.var(axis=0).sum(), spread[0], rtol=0.01)
    assert bias[0] < 1e-15


def test_likelihood_rewards_feel_the_length_of_the_answer(tmp_path):
    data = answer_length.run((1, 4, 16, 64))
    assert failures(answer_length_claims.REPRODUCTION, data) == []
    assert fit_to_print(answer_length_figure.draw(data), tmp_path)
    changes = {
        "frozen": {"frozen_time": data["frozen_time"] * 1.001},
        "trained-probability-16": {"trained_time": data["trained_time"] * 1.01},
        "lengths": {"frozen_time": np.sqrt(data["frozen_time"])},
        "short": {"trained_time": data["trained_time"] / 10},
    }
    assert broken(answer_length_claims.REPRODUCTION, data, changes) == []


def test_tied_answers_move_as_answers_written_out():
    """The velocity of all log-odds, against `AnswerLikelihood` of 3 tokens."""
    per_token, length = (0.6, 0.5), 3
    successors = [[1, 1 + length], *([2 + i if i % length < length - 1 else -1, -1] for i in range(2 * length))]
    chances = np.repeat([[0.5, 0.5], *([p, 1 - p] for p in per_token)], [1, length, length], axis=0)
    whole = pgdyn.Problem.tabular(chances, np.zeros(chances.shape), transitions=successors)
    expected = velocity_of(whole, mdp.AnswerLikelihood.of(whole, (0,) * length))
    weights = jnp.asarray([1.0, 0.0, 0.0])
    problem, objective = answer_length.tied(jnp.asarray(float(length)), weights, per_token)
    moved = velocity_of(problem, objective)
    np.testing.assert_allclose(moved, np.asarray(expected)[[0, 1, 1 + length]], rtol=1e-12)


def test_an_auxiliary_reward_is_trusted_as_far_as_it_helps(tmp_path):
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to a power of integer type
        data = auxiliary_rewards.run(penalties=(0.1, 0.25), scanned=1, steps=250)
    assert failures(auxiliary_rewards_claims.REPRODUCTION, data) == []
    assert fit_to_print(auxiliary_rewards_figure.draw(data), tmp_path)
    turned = data["primary"][:, :, ::-1].drop_vars("penalty")
    changes = {
        "alone": {"primary": turned},
        "shaping": {"primary": data["primary"] + 1e-6 * (data["reward"] == "shaping")},
        "sum": {"primary": data["primary"][::-1].drop_vars("auxiliary")},
        "robust": {"primary": data["primary"] - 0.01 * (data["reward"] == "bilevel")},
        "signs": {"learned": -data["learned"]},
        "noise": {"learned": data["learned"] + 0.5},
    }
    assert broken(auxiliary_rewards_claims.REPRODUCTION, data, changes) == []


def test_a_transformer_tends_to_the_linear_policy_of_its_kernel(tmp_path):
    data = transformer_kernel.run(seeds=1, t1=100.0)
    assert failures(transformer_kernel_claims.REPRODUCTION, data) == []
    assert fit_to_print(transformer_kernel_figure.draw(data), tmp_path)
    changes = {
        "distance": {"distance": np.sqrt(data["distance"])},
        "times": {"hitting_time": data["hitting_time"] * xarray.where(data["scale"] == 16, 1.2, 1)},
        "beneficial": {"hitting_time": 1 / data["hitting_time"]},
    }
    assert broken(transformer_kernel_claims.REPRODUCTION, data, changes) == []
