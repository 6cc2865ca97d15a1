"""`solve`: the same runs as `flow` and its kin, one problem or a batch; what it refuses; where it computes."""

import jax
import numpy as np
import pytest
from batches import tabular

import pgdyn
from pgdyn import Ascend, AscendSampled, Batch, Flow, Objective
from pgdyn.problem import Problem, require_single
from pgdyn.solve import DYNAMICS

PROBLEM = Problem.tabular([0.2, 0.3, 0.5], [1.0, 0.5, -1.0], [0.7, 1.0, -1.0])
BATCH = PROBLEM.with_proxy(np.random.default_rng(0).uniform(-1, 1, (5, 1, 3)))
KEY = jax.random.key(3)

CASES = {
    "flow": (Flow(3.0, target=0.5, saves=7), pgdyn.flow, (3.0,), {"target": 0.5, "saves": 7}),
    "ascend": (Ascend(9, "adam", save_every=4), pgdyn.ascend, (9,), {"optimizer": "adam", "save_every": 4}),
    "ascend_sampled": (AscendSampled(9, KEY, target=0.2), pgdyn.ascend_sampled, (9, KEY), {"target": 0.2}),
}


@pytest.mark.parametrize(("settings", "function", "arguments", "options"), CASES.values(), ids=CASES)
def test_functions_are_sugar_for_solve(settings, function, arguments, options):
    found = pgdyn.solve(PROBLEM, settings)
    assert found == function(PROBLEM, *arguments, **options)
    assert found.problem is PROBLEM and found.settings == settings and found.dynamics == settings.name
    many = getattr(pgdyn, f"{function.__name__}_many")
    runs = pgdyn.solve(BATCH, settings)
    assert runs == many(BATCH, *arguments, **options)
    assert runs.problem is BATCH and runs.settings == settings


@pytest.mark.parametrize("name", ["flow", "ascend", "ascend_sampled"])
def test_a_batch_is_its_problems(name):
    """Oracle: the runs of the problems, one by one."""
    settings = CASES[name][0]
    runs = pgdyn.solve(BATCH, settings).end
    for i, problem in enumerate(BATCH):
        alone = pgdyn.solve(problem, settings).end
        np.testing.assert_allclose(runs.params[i], alone.params, rtol=0, atol=1e-5 if name == "flow" else 1e-12)
        np.testing.assert_allclose(runs.hitting_time[i], alone.hitting_time, rtol=1e-5)
        np.testing.assert_allclose(runs.true_value[i], alone.true_value, rtol=1e-5, atol=1e-9)


def test_dynamics_are_known_by_name():
    assert {"flow": Flow, "ascend": Ascend, "ascend_sampled": AscendSampled} == DYNAMICS


@pytest.mark.parametrize(
    ("problem", "dynamics", "options", "sentence"),
    [
        (PROBLEM, 1.0, {}, "dynamics is 1.0; it must be one of pgdyn.Flow, pgdyn.Ascend, pgdyn.AscendSampled"),
        (PROBLEM, "flow", {}, "dynamics is 'flow'; it must be one of pgdyn.Flow, pgdyn.Ascend, pgdyn.AscendSampled"),
        (None, Flow(1.0), {}, "problem is None; flow takes a pgdyn.Problem"),
        ([PROBLEM], Ascend(1), {}, None),
        (BATCH, Flow(1.0), {"backend": "scipy"}, "backend is 'scipy'; it must be one of 'engine', 'diffrax'"),
        (BATCH, Ascend(1), {"backend": "diffrax"}, 'backend="diffrax" is for flows'),
        (BATCH, Flow(1.0), {"devices": []}, "devices is empty; give at least one, or None for the one where JAX com"),
        (BATCH, Flow(1.0), {"devices": "cpu"}, "devices is 'cpu'; it must be a list of jax.Device, or None"),
        (BATCH, Flow(1.0), {"devices": [0]}, "devices[0] is 0; it must be a jax.Device"),
        (BATCH, Flow(1.0), {"progress": True}, "progress is True; it must be a function of (runs ended, runs)"),
        (BATCH[:0], Flow(1.0), {}, "flow_many needs at least one problem, and this batch is empty"),
        (BATCH[:0], Ascend(1), {}, "ascend_many needs at least one problem, and this batch is empty"),
        (PROBLEM, Flow([1.0, 2.0]), {}, "t1 must be a single number, got an array of shape (2,)"),
        (PROBLEM, Flow(1.0, target=[1.0]), {}, "target must be a single number, got an array of shape (1,)"),
        (PROBLEM, Flow(1.0, rtol=[1e-3]), {}, "rtol must be a single number, got an array of shape (1,)"),
        (PROBLEM, Ascend(1, learning_rate=[0.1]), {}, "learning_rate must be a single number, got an array of shape"),
        (PROBLEM, Flow(1.0, Objective(kl=[0.1, 0.2])), {}, "kl must be a single number, got an array of shape (2,)"),
        (PROBLEM, Ascend(1, objective=Objective(entropy=[0.1])), {}, "entropy must be a single number, got an array"),
        (PROBLEM, Ascend(10**12), {}, "save_every is 1; of 1000000000000 updates that keeps more than 1e+07 points"),
        (
            PROBLEM,
            AscendSampled(5, jax.random.split(KEY, 3)),
            {},
            "key has shape (3,); one run takes one key, use jax.vmap over keys for more",
        ),
    ],
    ids=lambda value: None if isinstance(value, str | dict) else f"{value!r:.30}",
)
def test_bad_input_is_refused_in_one_sentence(problem, dynamics, options, sentence):
    with pytest.raises(ValueError) as refusal:
        pgdyn.solve(problem, dynamics, **options)
    said = str(refusal.value)
    assert said.startswith(sentence or "problem is [Problem(")


@pytest.mark.parametrize("name", DYNAMICS)
def test_one_run_refuses_a_batch_and_names_the_way(name):
    with pytest.raises(ValueError) as refusal:
        getattr(pgdyn, name)(BATCH, 5, *([KEY] if name == "ascend_sampled" else []))
    assert str(refusal.value) == f"{name} takes one problem and this is a batch of 5; use pgdyn.{name}_many"


@pytest.mark.parametrize("name", DYNAMICS)
def test_many_runs_refuse_what_is_no_problem(name):
    with pytest.raises(ValueError, match=r"problem is \[1, 2\]; it must be a pgdyn.Problem or a pgdyn.Batch"):
        getattr(pgdyn, f"{name}_many")([1, 2], 5, *([KEY] if name == "ascend_sampled" else []))


def test_require_single():
    require_single(PROBLEM, "this test")
    with pytest.raises(ValueError, match="this test takes one problem and this is a batch of 5; use batch.map or a lo"):
        require_single(BATCH, "this test")
    with pytest.raises(ValueError, match="problem is None; this test takes a pgdyn.Problem"):
        require_single(None, "this test")


# ---------------------------------------------------------------- devices


def where_it_computes(call):
    """The devices of the arrays that are made while `call(progress)` runs."""
    before, devices = jax.live_arrays(), set()
    known = {id(array) for array in before}

    def progress(done, total):
        devices.update(d for array in jax.live_arrays() if id(array) not in known for d in array.devices())

    call(progress)
    return devices


@pytest.mark.parametrize("name", ["flow_many", "ascend_many"])
def test_runs_are_where_jax_computes(name):
    """The second device, by `jax.default_device` or by `devices`; a name of a platform means its first device."""
    first, second = jax.local_devices()[:2]
    many, batch = getattr(pgdyn, name), tabular(900)

    def run(progress, **options):
        many(batch, 20, progress=progress, **options)

    assert where_it_computes(run) == {first}
    with jax.default_device(second):
        assert where_it_computes(run) == {second}
    with jax.default_device("cpu"):
        assert where_it_computes(run) == {first}
    assert where_it_computes(lambda progress: run(progress, devices=[second])) == {second}
    with jax.default_device(second):
        assert where_it_computes(lambda progress: run(progress, devices=[first])) == {first}


def test_a_batch_of_one_is_one_problem():
    assert pgdyn.flow_many(PROBLEM, 3.0) == pgdyn.flow_many(Batch.of(PROBLEM), 3.0)
