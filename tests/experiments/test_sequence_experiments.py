"""Experiments on sequences, small. Oracle: what the claims expect, which the data can fail."""

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from proxy_flows import failures

import pgdyn
from experiments import critique_phases, dense_reward
from figures import critique_phases as critique_phases_figure
from figures import dense_reward as dense_reward_figure
from figures import style
from paper_repro.reproductions import critique_phases as critique_phases_claims
from paper_repro.reproductions import dense_reward as dense_reward_claims
from pgdyn import mdp


def fit_to_print(figure, folder):
    """Whether every axis is labelled, no words lie on others, and the file is small."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    for axes in figure.axes:
        boxes = [text.get_window_extent(renderer) for text in axes.texts if text.get_text()]
        if any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2)):
            return False
    style.save(figure, folder / "a.png")
    labelled = all(axes.get_ylabel() and (axes.get_xlabel() or not axes.get_subplotspec()) for axes in figure.axes)
    return labelled and (folder / "a.png").stat().st_size < 200_000


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
        gradient = pgdyn.Objective().gradient(problem, problem.initial_params)
        velocity = np.asarray(
            pgdyn.policy.project(problem.features, gradient) if problem.features is not None else gradient
        )
        moved.append(velocity[:, 0] - velocity[:, 1])
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-12)
