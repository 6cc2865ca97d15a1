"""`ascend_many` and `ascend_sampled_many` are the single runs, each with its own problem and key, however cut up.

Oracle: `ascend` and `ascend_sampled` (tested elsewhere against NumPy loops and enumeration).
"""

import jax
import numpy as np
import optax
import pytest
from compilations import Compilations

import pgdyn
from pgdyn.dynamics import chunks


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(3)
    policies = rng.dirichlet(np.ones(4), size=(37, 1))
    return pgdyn.Problem.tabular(policies, rng.uniform(-1, 1, (37, 1, 4)), rng.uniform(-1, 1, (37, 1, 4)))


def test_ascend_many_is_ascend_for_every_problem(batch, monkeypatch):
    monkeypatch.setattr(chunks, "LANES", 16)
    options = {"optimizer": optax.adam(0.05), "target": 0.2, "objective": pgdyn.Objective(kl=0.1)}
    many = pgdyn.ascend_many(batch, 50, save_every=20, **options)
    assert many.true_value.shape == (37, 4)
    for row in (0, 15, 16, 36):
        single = pgdyn.ascend(batch[row], 50, save_every=20, **options)
        np.testing.assert_allclose(many.params[row], single.params, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(many.hitting_time[row], single.hitting_time)


def test_ascend_many_keeps_start_and_end_alone_unless_told(batch):
    many = pgdyn.ascend_many(batch, 30)
    np.testing.assert_array_equal(many.t[0], [0, 30])
    np.testing.assert_allclose(many.params[:, 0], batch.initial_params, rtol=0)


def test_sampled_runs_are_those_of_their_problem_and_key(batch):
    keys = jax.random.split(jax.random.key(1), 3)
    many = pgdyn.ascend_sampled_many(batch, 40, keys, target=0.2, save_every=10)
    assert many.params.shape == (37, 3, 5, 1, 4)
    for row, repeat in ((0, 0), (17, 2), (36, 1)):
        single = pgdyn.ascend_sampled(batch[row], 40, keys[repeat], target=0.2, save_every=10)
        np.testing.assert_allclose(many.params[row, repeat], single.params, rtol=1e-12, atol=1e-14)
    own = jax.random.split(jax.random.key(2), (37, 3))
    spread = pgdyn.ascend_sampled_many(batch, 40, own, target=0.2, save_every=10)
    single = pgdyn.ascend_sampled(batch[5], 40, own[5, 1], target=0.2, save_every=10)
    np.testing.assert_allclose(spread.params[5, 1], single.params, rtol=1e-12, atol=1e-14)


def test_features_shared_by_the_batch_stay_shared():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((2, 3, 2))
    batch = pgdyn.Problem.linear(features, rng.uniform(-1, 1, (5, 2, 3)))
    many = pgdyn.ascend_many(batch, 10)
    single = pgdyn.ascend(batch[3], 10)
    np.testing.assert_allclose(many.params[3, -1], single.params[-1], rtol=1e-12)
    sampled = pgdyn.ascend_sampled_many(batch, 10, jax.random.split(jax.random.key(0), 2))
    assert sampled.problem.features.shape == (2, 3, 2)
    assert sampled.params.shape == (5, 2, 2, 2)


def test_the_number_of_runs_and_new_values_compile_nothing(batch):
    pgdyn.ascend_many(batch, 20)
    fewer = batch[:33]
    with Compilations() as made:
        pgdyn.ascend_many(fewer, 20)
    assert made.count == 0


def test_progress_counts_every_run_once(batch, monkeypatch):
    monkeypatch.setattr(chunks, "LANES", 16)
    seen = []
    pgdyn.ascend_many(batch, 5, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (37, 37)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_an_interrupt_from_the_callback_ends_the_call(batch):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pgdyn.ascend_many(batch, 5, progress=interrupt)


def test_a_sampled_batch_becomes_a_labelled_dataset(batch):
    keys = jax.random.split(jax.random.key(1), 3)
    dataset = pgdyn.ascend_sampled_many(batch, 40, keys).to_dataset(("problem", "seed"))
    assert dict(dataset.true_value.sizes) == {"problem": 37, "seed": 3, "time": 2}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (0, "keys must be jax.random keys"),
        (np.zeros((3, 2), np.uint32), "keys must be jax.random keys"),
        (jax.random.split(jax.random.key(0), (2, 2)), "keys have shape"),
    ],
)
def test_wrong_keys_are_refused(batch, keys, words):
    with pytest.raises(ValueError, match=words):
        pgdyn.ascend_sampled_many(batch, 5, keys)


def test_something_else_than_problems_is_refused():
    with pytest.raises(ValueError, match="ascend_many takes a pgdyn.Problem"):
        pgdyn.ascend_many([1, 2], 5)
