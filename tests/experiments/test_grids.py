"""Grids taken apart, paths of many flows, and what is recorded of a call. Oracles: loops, and the arguments given."""

import inspect

import numpy as np
import pytest
import xarray

import pgdyn
from experiments import controlled, error_confusion, grids
from experiments.made_by import recorded


def test_unstacking_is_a_loop_over_the_axes():
    runs = xarray.Dataset(
        {"end": (("run", "output"), np.arange(12.0).reshape(6, 2)), "shared": ("output", [1.0, 2.0])},
        {"output": np.array(["a", "b"], dtype=object)},
        {"dynamics": "flow"},
    )
    grid = grids.unstack(runs, {"start": 2, "reward": 3})
    assert grid["end"].dims == ("start", "reward", "output") and grid["shared"].dims == ("output",)
    assert grid.attrs == runs.attrs and set(grid.coords) == {"output"}
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal(grid["end"][i, j], runs["end"][3 * i + j])


def test_a_grid_of_another_size_is_refused():
    with pytest.raises(ValueError, match="product"):
        grids.unstack(xarray.Dataset({"end": ("run", np.zeros(6))}), {"start": 2, "reward": 2})


def test_paths_of_flows_are_those_of_single_flows(paper_problem):
    """Oracle: `pgdyn.flow`, one problem after another."""
    batch = paper_problem.with_proxy([[[1, c, -1, -1, -1]] for c in (0.5, -1.0)])
    found = grids.flow_paths(batch, 50.0, target=0.5, saves=9)
    assert found.problem is batch
    for i, problem in enumerate(batch):
        alone = pgdyn.flow(problem, 50.0, target=0.5, saves=9)
        np.testing.assert_allclose(found.log_policy[i], alone.log_policy, atol=1e-8)
        np.testing.assert_allclose(found.hitting_time[i], alone.hitting_time, rtol=1e-6)
    assert found.to_dataset().attrs["settings"]["rtol"] == 1e-8


def test_every_argument_of_a_call_is_an_attribute():
    dataset = controlled.run(steps=20, target=0.7)
    given = {"steps": 20, "target": 0.7, "learning_rate": 0.1, "true_reward": [1.0, 0.8, -1.0, -1.0, -1.0]}
    assert {name: dataset.attrs[name] for name in given} == given
    assert set(inspect.signature(controlled.run).parameters) <= set(dataset.attrs)
    assert dataset.attrs["experiment"] == "controlled.run"
    assert dataset.attrs["pgdyn_version"] == pgdyn.__version__
    assert dataset.attrs["settings"]["ascend"]["optimizer"] == "sgd" and dataset.attrs["settings"]["flow"]["t1"] == 2.0


def test_functions_are_no_settings_and_settings_in_force_stay():
    dataset = error_confusion.run(20, progress=lambda done, total: None)
    assert "progress" not in dataset.attrs and dataset.attrs["spread"] == 1.5
    assert dataset.attrs["dynamics"] == "flow" and dataset.attrs["settings"]["rtol"] == 1e-6


def test_a_recorded_function_keeps_its_face():
    @recorded
    def run(first, *, second=2):
        """Words."""
        return xarray.Dataset(attrs={"own": 1, "second": "overwritten"})

    assert list(inspect.signature(run).parameters) == ["first", "second"] and run.__doc__ == "Words."
    assert {name: run(5).attrs[name] for name in ("first", "second", "own")} == {"first": 5, "second": 2, "own": 1}
    with pytest.raises(TypeError, match="third"):
        run(1, third=3)
