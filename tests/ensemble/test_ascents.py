"""`ascend_many` and `ascend_sampled_many` are the single runs, each with its own problem, numbers and key.

Oracle: `ascend` and `ascend_sampled` (tested elsewhere against NumPy loops and enumeration).
"""

import jax
import numpy as np
import optax
import pytest
from batches import assert_same_bits
from compilations import Compilations

import pgdyn
from pgdyn.ensemble import ascents, executor

COUNT = 37
KEYS = jax.random.split(jax.random.key(1), 3)
OWN_KEYS = jax.random.split(jax.random.key(2), (COUNT, 3))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(3)
    policies = rng.dirichlet(np.ones(4), size=(COUNT, 1))
    return pgdyn.Batch.tabular(policies, *rng.uniform(-1, 1, (2, COUNT, 1, 4)))


@pytest.fixture(scope="module")
def ends(batch):
    return pgdyn.ascend_many(batch, 20, target=0.1)


def assert_is_run(found, row, single):
    """The run `row` of many is the single one, its end or its path."""
    for name in ("params", "log_policy", "true_value", "proxy_value", "reward_variance", "kl"):
        np.testing.assert_allclose(getattr(found, name)[row], getattr(single, name), rtol=1e-9, atol=1e-12)
    for name in ("hitting_time", "result", "steps"):
        np.testing.assert_array_equal(getattr(found, name)[row], getattr(single, name))


def test_ascend_many_is_ascend_for_every_problem(batch, monkeypatch):
    """In chunks of 16 whose last one is not full, with an optimiser that remembers."""
    monkeypatch.setattr(ascents, "WIDTH", 16)
    options = {"optimizer": optax.adam(0.05), "target": 0.2, "objective": pgdyn.Objective(kl=0.1), "save_every": 20}
    many = pgdyn.ascend_many(batch, 50, **options)
    assert many.true_value.shape == many.t.shape == (COUNT, 4)
    np.testing.assert_array_equal(many.t[5], [0, 20, 40, 50])
    for row in (0, 15, 16, 36):
        assert_is_run(many, row, pgdyn.ascend(batch[row], 50, **options))


def test_the_ends_alone_unless_told(batch, ends):
    assert ends.t is None and ends.params.shape == (COUNT, 1, 4) and ends.true_value.shape == (COUNT,)
    assert_is_run(ends, 7, pgdyn.ascend(batch[7], 20, target=0.1).end)


def test_numbers_of_their_own(batch):
    """Learning rates, targets and weights [N]."""
    rng = np.random.default_rng(5)
    rate, target, kl = rng.uniform(0.05, 0.5, COUNT), rng.uniform(-0.3, 0.3, COUNT), rng.uniform(0, 0.3, COUNT)
    many = pgdyn.ascend_many(batch, 20, learning_rate=rate, target=target, objective=pgdyn.Objective(kl=kl))
    for row in (0, 9, 36):
        own = {"learning_rate": rate[row], "target": target[row], "objective": pgdyn.Objective(kl=kl[row])}
        assert_is_run(many, row, pgdyn.ascend(batch[row], 20, **own).end)


def test_sampled_runs_are_those_of_their_problem_and_key(batch):
    """Keys [R] for every problem, and keys [N, R]."""
    options = {"target": 0.2, "save_every": 10}
    many = pgdyn.ascend_sampled_many(batch, 40, KEYS, **options)
    assert many.params.shape == (COUNT, 3, 5, 1, 4) and many.hitting_time.shape == (COUNT, 3)
    for row, repeat in ((0, 0), (17, 2), (36, 1)):
        single = pgdyn.ascend_sampled(batch[row], 40, KEYS[repeat], **options)
        assert_is_run(many, (row, repeat), single)
    own = pgdyn.ascend_sampled_many(batch, 40, OWN_KEYS, **options)
    assert_is_run(own, (5, 1), pgdyn.ascend_sampled(batch[5], 40, OWN_KEYS[5, 1], **options))


def test_one_key_for_all_has_no_axis_of_its_own(batch):
    many = pgdyn.ascend_sampled_many(batch[:20], 40, KEYS[1], target=0.2)
    assert many.true_value.shape == (20,)
    assert_is_run(many, 4, pgdyn.ascend_sampled(batch[4], 40, KEYS[1], target=0.2).end)


def test_features_shared_by_the_batch_stay_shared():
    rng = np.random.default_rng(0)
    shared = pgdyn.Batch.linear(rng.standard_normal((2, 3, 2)), rng.uniform(-1, 1, (5, 2, 3)))
    many = pgdyn.ascend_many(shared, 10)
    assert_is_run(many, 3, pgdyn.ascend(shared[3], 10).end)
    assert many.problem is shared and many.problem.problems.features.shape == (2, 3, 2)


def test_the_number_of_runs_and_new_values_compile_nothing(batch, ends):
    with Compilations() as made:
        for target, rate in ((0.1, 0.1), (0.3, 0.2), (np.linspace(0, 1, 33), np.linspace(0.1, 1, 33))):
            pgdyn.ascend_many(batch[:33], 20, target=target, learning_rate=rate)
    assert made.count == 0


@pytest.mark.parametrize("cores", [1, 3])
def test_cores_devices_and_chunks_change_no_bit(batch, ends, cores, monkeypatch):
    monkeypatch.setattr(executor, "cores", lambda: cores)
    monkeypatch.setattr(ascents, "WIDTH", 16)
    parts = pgdyn.ascend_many(batch, 20, target=0.1)
    np.testing.assert_allclose(parts.params, ends.params, rtol=1e-13, atol=1e-14)  # another width, another program
    assert_same_bits(pgdyn.ascend_many(batch, 20, target=0.1, devices=jax.local_devices()), parts)


def test_progress_counts_every_run_once(batch, monkeypatch):
    monkeypatch.setattr(ascents, "WIDTH", 16)
    seen = []
    pgdyn.ascend_many(batch, 20, target=0.1, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (COUNT, COUNT) and len(seen) == 3
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_an_interrupt_from_the_callback_ends_the_call(batch, ends):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pgdyn.ascend_many(batch, 20, target=0.1, progress=interrupt)
    assert_same_bits(pgdyn.ascend_many(batch, 20, target=0.1), ends)


def test_a_run_that_is_not_finite_leaves_the_others_alone(batch, ends):
    start = np.array(batch.initial_params)
    start[3, 0, 1] = np.nan
    found = pgdyn.ascend_many(batch.replace(initial_params=start), 20, target=0.1)
    others = np.delete(np.arange(COUNT), 3)
    assert found.result[3] == pgdyn.Result.not_finite
    assert_same_bits(found, ends, where=others, among=others)


def test_a_sampled_batch_becomes_a_labelled_dataset(batch):
    dataset = pgdyn.ascend_sampled_many(batch, 40, KEYS, target=0.2, save_every=10).to_dataset(("problem", "seed"))
    assert dataset.true_value.sizes["problem"] == COUNT and dataset.true_value.sizes["seed"] == 3


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (np.zeros((3, 2), np.uint32), "key"),
        (jax.random.split(jax.random.key(0), (2, 2)), r"keys have shape \(2, 2\); they must be \[R\], or \[N, R\]"),
    ],
)
def test_wrong_keys_are_refused(batch, keys, words):
    with pytest.raises(ValueError, match=words):
        pgdyn.ascend_sampled_many(batch, 5, keys)


@pytest.mark.parametrize("field", ["learning_rate", "target"])
def test_numbers_of_another_length_are_refused(batch, field):
    with pytest.raises(ValueError, match=rf"{field} has shape \(4,\); it must be one number or one for each of 37"):
        pgdyn.ascend_many(batch, 5, **{field: np.full(4, 0.1)})


def test_traced_values_are_refused(batch):
    with pytest.raises(ValueError, match="ascend_many cannot be traced; use jax.vmap of pgdyn.ascend"):
        jax.jit(lambda rate: pgdyn.ascend_many(batch, 5, learning_rate=rate).true_value)(0.1)
