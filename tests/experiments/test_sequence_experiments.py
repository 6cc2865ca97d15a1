"""Experiments on sequences, small. Oracle: what the claims expect, which the data can fail."""

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from proxy_flows import failures

from experiments import dense_reward
from figures import dense_reward as dense_reward_figure
from figures import style
from paper_repro.reproductions import dense_reward as dense_reward_claims


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
