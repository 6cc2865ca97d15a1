"""Batches: what is shared is kept once, indexing and `map` against single problems, and every refusal of bad input."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import Compilations
from hypothesis import given
from hypothesis import strategies as st
from strategies import SHAPES, make_setting

import pgdyn
from pgdyn import Batch, Problem

RANDOM = np.random.default_rng
SIZE = 4
NAMES = ("features", "true_reward", "proxy_reward", "initial_params", "temperature", "prompt_weights")
POLICY = [0.05, 0.5, 0.15, 0.15, 0.15]
TRUE = [1.0, 0.8, -1.0, -1.0, -1.0]
FEATURES = RANDOM(0).normal(size=(2, 5, 3))
LINEAR = Problem.linear(FEATURES, TRUE, initial_params=[0.1, -0.2, 0.3])
PROXIES = RANDOM(1).normal(size=(SIZE, 2, 5))


def assert_same_problem(left, right):
    for name in NAMES:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def leaves(batch):
    return {name: getattr(batch.problems, name) for name in NAMES if getattr(batch.problems, name) is not None}


# ---------------------------------------------------------------- what is built


@pytest.mark.parametrize("shape", SHAPES)
def test_stack_adds_an_axis_and_indexing_takes_it_away(shape):
    singles = [make_setting(seed, shape, temperature=1.0 + seed).problem() for seed in range(3)]
    batch = pgdyn.stack(singles)
    assert len(batch) == batch.size == 3
    assert batch.shared == frozenset()
    assert all(leaf.shape[0] == 3 for leaf in jax.tree.leaves(batch))
    assert (batch.num_prompts, batch.num_outputs) == shape[:2]
    assert batch.params_shape == singles[0].params_shape and batch.is_tabular == singles[0].is_tabular
    for i, (single, taken) in enumerate(zip(singles, batch, strict=True)):
        assert_same_problem(taken, single)
        assert_same_problem(batch[i - 3], single)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(taken))
    part = batch[1:]
    assert part.size == 2
    np.testing.assert_array_equal(part.initial_params, batch.initial_params[1:])


@pytest.mark.parametrize("shape", [(1, 5, None), (3, 5, 4)])
def test_a_batch_of_proxies_shares_the_rest(shape):
    problem = make_setting(0, shape).problem()
    proxies = RANDOM(0).normal(size=(SIZE, *shape[:2]))
    batch = problem.with_proxy(proxies)
    assert len(batch) == SIZE
    assert batch.shared == {name for name in NAMES if getattr(problem, name) is not None} - {"proxy_reward"}
    for proxy, single in zip(proxies, batch, strict=True):
        assert_same_problem(single, problem.with_proxy(proxy))


@pytest.mark.parametrize("temperature", [1.5, [0.5, 1.0, 1.5, 2.0]])
def test_a_batch_given_at_once_is_its_problems(temperature):
    """Oracle: the constructors of `Problem`, one by one."""
    rng = RANDOM(0)
    policies, rewards = rng.dirichlet(np.ones(5), (SIZE, 2)), rng.normal(size=(SIZE, 2, 5))
    weights = rng.dirichlet(np.ones(2), SIZE)
    temperatures = np.broadcast_to(temperature, SIZE)
    tabular = Batch.tabular(policies, rewards, temperature=temperature, prompt_weights=weights)
    linear = Batch.linear(FEATURES, rewards, initial_policy=policies, temperature=temperature)
    for i in range(SIZE):
        options = {"temperature": temperatures[i]}
        assert_same_problem(tabular[i], Problem.tabular(policies[i], rewards[i], prompt_weights=weights[i], **options))
        alone = Problem.linear(FEATURES, rewards[i], initial_policy=policies[i], **options)
        np.testing.assert_allclose(linear[i].initial_params, alone.initial_params, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(linear[i].features, alone.features)


@pytest.mark.parametrize("own", ["initial_policy", "true_reward", "proxy_reward", "temperature", "prompt_weights"])
def test_any_argument_may_be_the_one_with_an_axis(own):
    """Oracle: `Problem.tabular` with that entry. Every other array is kept once."""
    rng = RANDOM(3)
    single = {
        "initial_policy": rng.dirichlet(np.ones(5), 2),
        "true_reward": rng.normal(size=(2, 5)),
        "proxy_reward": rng.normal(size=(2, 5)),
        "temperature": 2.0,
        "prompt_weights": np.array([0.3, 0.7]),
    }
    rows = np.stack([single[own] ** i for i in range(1, 4)])
    if own in ("initial_policy", "prompt_weights"):
        rows /= rows.sum(axis=-1, keepdims=True)
    batch = Batch.tabular(**{**single, own: rows})
    for i in range(3):
        assert_same_problem(batch[i], Problem.tabular(**{**single, own: rows[i]}))
    moved = {"initial_policy": {"initial_params"}, "temperature": {"temperature", "initial_params"}}.get(own, {own})
    assert batch.shared == set(leaves(batch)) - moved


def test_a_vmapped_constructor_gives_the_arrays_of_a_batch():
    rewards = jnp.asarray(RANDOM(0).normal(size=(SIZE, 5)))
    batch = Batch.from_arrays(jax.vmap(lambda reward: Problem.linear(FEATURES, reward))(rewards))
    assert batch.shared == frozenset() and batch.features.shape == (SIZE, 2, 5, 3)
    for reward, single in zip(rewards, batch, strict=True):
        assert_same_problem(single, Problem.linear(FEATURES, reward))
    kept = Batch.from_arrays(LINEAR.with_proxy(PROXIES).problems, shared=set(leaves(batch)) - {"proxy_reward"})
    assert_same_problem(kept[2], LINEAR.with_proxy(PROXIES[2]))


def test_a_problem_is_a_batch_of_one_and_a_batch_itself():
    batch = LINEAR.with_proxy(PROXIES)
    assert Batch.of(batch) is batch
    assert len(Batch.of(LINEAR)) == 1
    assert_same_problem(Batch.of(LINEAR)[0], LINEAR)


# ---------------------------------------------------------------- what is shared


def test_what_is_shared_is_kept_once():
    """A million problems take no more memory for their features than one, whatever is done to the batch."""
    count = 1_000_000
    tiny = Problem.linear(np.eye(2), [1.0, 0.0])
    batch = tiny.with_proxy(np.zeros((count, 1, 2)))
    assert batch.features.shape == (count, 1, 2, 2) and batch.temperature.shape == (count,)
    others = {
        "slice": batch[5:],
        "numbers": batch[np.arange(0, count, 2)],
        "replace": batch.replace(proxy_reward=np.ones((count, 1, 2))),
        "concatenate": batch.concatenate(tiny.with_proxy(np.zeros((3, 1, 2)))),
    }
    for name, other in {"itself": batch, **others}.items():
        assert other.shared == batch.shared, name
        assert np.shares_memory(other.features, batch.problems.features), name
        assert other.features.strides[0] == other.true_reward.strides[0] == 0, name
    assert len(others["concatenate"]) == count + 3


def test_what_is_not_the_same_array_is_not_shared_by_both():
    one, other = (Problem.linear(FEATURES, TRUE, temperature=t).with_proxy(PROXIES) for t in (1.0, 2.0))
    both = one.concatenate(other)
    assert both.shared == frozenset()
    np.testing.assert_array_equal(both.temperature, [1.0] * SIZE + [2.0] * SIZE)
    np.testing.assert_array_equal(both.features, np.broadcast_to(FEATURES, (2 * SIZE, 2, 5, 3)))


def test_replaced_fields_are_no_longer_shared():
    batch = LINEAR.with_proxy(PROXIES)
    starts = RANDOM(2).normal(size=(SIZE, 3))
    moved = batch.replace(initial_params=starts, temperature=[1, 2, 3, 4])
    assert moved.shared == batch.shared - {"initial_params", "temperature"}
    for i, single in enumerate(moved):
        np.testing.assert_array_equal(single.initial_params, starts[i])
        assert single.temperature == i + 1.0
        np.testing.assert_array_equal(single.proxy_reward, PROXIES[i])
        np.testing.assert_array_equal(single.features, LINEAR.features)


# ---------------------------------------------------------------- indexing


@given(st.lists(st.integers(-SIZE, SIZE - 1), max_size=6), st.lists(st.booleans(), min_size=SIZE, max_size=SIZE))
def test_index_arrays_and_masks_are_numpys(numbers, mask):
    """Oracle: NumPy's indexing of the proxies."""
    batch = LINEAR.with_proxy(PROXIES)
    for index in (numbers, np.array(numbers, int), np.array(mask), mask):
        found = batch[index]
        np.testing.assert_array_equal(found.proxy_reward, PROXIES[np.asarray(index, None if len(index) else int)])
        assert len(found) == len(found.proxy_reward) == len(found.features)
        assert found.shared == batch.shared


@pytest.mark.parametrize("part", [slice(1, 3), slice(None, None, -1), slice(10, 20), slice(-1, None), slice(0, 0)])
def test_slices_are_numpys(part):
    found = LINEAR.with_proxy(PROXIES)[part]
    np.testing.assert_array_equal(found.proxy_reward, PROXIES[part])
    assert len(found) == len(PROXIES[part]) == len(list(found))


@pytest.mark.parametrize("number", [2, -2, np.int32(2), np.array(2), jnp.asarray(2)])
def test_one_number_gives_one_problem(number):
    assert_same_problem(LINEAR.with_proxy(PROXIES)[number], LINEAR.with_proxy(PROXIES[2]))


def test_a_traced_number_gives_one_problem():
    batch = LINEAR.with_proxy(PROXIES)
    found = jax.lax.map(lambda i: batch[i].proxy_reward.sum() + batch[i].features.sum(), jnp.arange(SIZE))
    np.testing.assert_allclose(found, PROXIES.sum(axis=(1, 2)) + FEATURES.sum(), rtol=1e-13)


@pytest.mark.parametrize("index", [SIZE, -SIZE - 1, np.int64(7), [0, SIZE], np.array([-5])])
def test_indexing_beyond_the_batch_is_an_error(index):
    with pytest.raises(IndexError, match=r"problem -?\d of a batch of 4"):
        LINEAR.with_proxy(PROXIES)[index]


@pytest.mark.parametrize("index", [True, None, ..., 1.0, "first", (0, 1), [[0, 1]], [True, False]], ids=str)
def test_what_is_no_index_is_an_error(index):
    with pytest.raises(IndexError, match="a batch has one axis, of 4 problems"):
        LINEAR.with_proxy(PROXIES)[index]


# ---------------------------------------------------------------- map


def observe(problem, weight, shift):
    objective = pgdyn.Objective(kl=weight)
    params = problem.initial_params + (0.0 if shift is None else shift)
    return {"value": objective.value(problem, params), "slope": objective.gradient(problem, params)}


def observe_all(batch, *rows):
    return batch.map(observe, *rows)


ALONE, TOGETHER = jax.jit(observe), jax.jit(observe_all)


def assert_map_is_a_loop(call, seed, shape, share, shifted):
    rng = RANDOM(seed)
    singles = [make_setting(seed + i, shape, temperature=1.0 + i).problem() for i in range(3)]
    batch = singles[0].with_proxy(rng.normal(size=(3, *shape[:2]))) if share else pgdyn.stack(singles)
    weights = rng.uniform(0.1, 1, 3)
    shifts = rng.normal(size=(3, *batch.params_shape)) if shifted else None
    found = call(batch, weights, shifts)
    for i in range(3):
        expected = ALONE(batch[i], weights[i], shifts[i] if shifted else None)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name][i], array, rtol=1e-11, atol=1e-13)


@given(st.integers(0, 2**32 - 1), st.sampled_from([(1, 3, None), (3, 5, 4)]), st.booleans(), st.booleans())
def test_map_is_a_loop(seed, shape, share, shifted):
    """Oracle: the function of each problem in turn. Rows are pytrees, and None is passed on."""
    assert_map_is_a_loop(TOGETHER, seed, shape, share, shifted)


@pytest.mark.parametrize("share", [True, False])
def test_map_is_a_loop_outside_of_jit(share):
    assert_map_is_a_loop(observe_all, 7, (2, 3, 7), share, True)


def test_axes_are_those_of_vmap():
    batch = LINEAR.with_proxy(PROXIES)
    assert batch.axes.proxy_reward == 0 and batch.axes.features is None
    values = jax.vmap(lambda p: pgdyn.Objective().value(p, p.initial_params), in_axes=(batch.axes,))(
        jax.tree.map(jnp.asarray, batch.problems)
    )
    for value, single in zip(values, batch, strict=True):
        np.testing.assert_allclose(value, pgdyn.Objective().value(single, single.initial_params), rtol=1e-13)


def test_derivatives_go_through_a_batch():
    """Oracle: `jax.grad` of each problem's value."""
    objective = pgdyn.Objective()

    def total(proxies, start):
        batch = LINEAR.with_proxy(proxies).replace(initial_params=start)
        return batch.map(lambda p: objective.value(p, p.initial_params)).sum()

    starts = jnp.asarray(RANDOM(5).normal(size=(SIZE, 3)))
    slopes = jax.jit(jax.grad(total, argnums=(0, 1)))(jnp.asarray(PROXIES), starts)
    alone = jax.jit(jax.grad(lambda r, x: objective.value(LINEAR.with_proxy(r), x), argnums=(0, 1)))
    for i in range(SIZE):
        for found, expected in zip(slopes, alone(jnp.asarray(PROXIES[i]), starts[i]), strict=True):
            np.testing.assert_allclose(found[i], expected, rtol=1e-11, atol=1e-14)


# ---------------------------------------------------------------- values


def test_a_batch_is_a_value():
    batch = LINEAR.with_proxy(PROXIES)
    assert batch == LINEAR.with_proxy(PROXIES) == pickle.loads(pickle.dumps(batch)) == copy.deepcopy(batch)
    assert batch != LINEAR.with_proxy(PROXIES + 1) and batch != batch[1:] and batch != PROXIES
    with pytest.raises(AttributeError):
        batch.shared = frozenset()


def test_nobody_can_write_to_a_batch():
    proxies, starts = PROXIES.copy(), np.zeros((SIZE, 3))
    batch = LINEAR.with_proxy(proxies).replace(initial_params=starts)
    proxies[:], starts[:] = 0.0, 1.0
    np.testing.assert_array_equal(batch.proxy_reward, PROXIES)
    np.testing.assert_array_equal(batch.initial_params, 0.0)
    for made in (batch, pgdyn.stack([LINEAR, LINEAR]), Batch.tabular(None, PROXIES), batch[1:], Batch.of(LINEAR)):
        for name in NAMES:
            array = getattr(made, name)
            if array is not None:
                with pytest.raises(ValueError, match="read-only"):
                    array[0] = 0.0


# ---------------------------------------------------------------- compiled programs


def build_and_take_apart(size, seed):
    """Everything that a batch can be made of and into, without a number computed."""
    rng = RANDOM(seed)
    proxies = rng.normal(size=(size, 2, 5))
    batch = LINEAR.with_proxy(proxies)
    Batch.linear(FEATURES, proxies, initial_policy=np.full((size, 2, 5), 0.2))
    Batch.tabular(POLICY, proxies, temperature=np.ones(size))
    stacked = pgdyn.stack([LINEAR] * size)
    for made in (batch, stacked):
        made[1:], made[::2], made[[0]], made[np.ones(size, bool)], made[size - 1], made[np.arange(size)]
        made.replace(proxy_reward=proxies).concatenate(made)
        list(made)
        assert made == made[np.arange(size)]


def test_nothing_is_compiled_for_a_new_number_of_problems():
    build_and_take_apart(3, 0)
    with Compilations() as made:
        for size in (2, 5, 17):
            build_and_take_apart(size, size)
    assert made.count == 0


# ---------------------------------------------------------------- what is refused

T, L = Batch.tabular, Batch.linear
BATCH = LINEAR.with_proxy(PROXIES)
DIFFER = "the number of problems differs: "
REFUSED = [
    (lambda: T(POLICY, TRUE), "no argument has a leading axis N; a batch of one is Batch.of(problem)"),
    (lambda: L(FEATURES, TRUE), "no argument has a leading axis N; a batch of one is Batch.of(problem)"),
    (lambda: T(POLICY, PROXIES, PROXIES[:3]), DIFFER + "true_reward has 4, proxy_reward has 3"),
    (lambda: T(np.full((3, 2, 5), 0.2), PROXIES), DIFFER + "true_reward has 4, initial_policy has 3"),
    (lambda: T(POLICY, PROXIES, temperature=np.ones(3)), DIFFER + "true_reward has 4, temperature has 3"),
    (lambda: T(POLICY, PROXIES, prompt_weights=np.ones((3, 2))), DIFFER + "true_reward has 4, prompt_weights has 3"),
    (lambda: L(FEATURES, PROXIES, initial_params=np.zeros((2, 3))), DIFFER + "true_reward has 4, initial_params has 2"),
    # used to pass, and to fail when it was run
    (lambda: L(FEATURES[None], PROXIES), DIFFER + "true_reward has 4, features has 1"),
    (
        lambda: T(POLICY, np.zeros((2, 3, 1, 5))),
        "true_reward has shape (2, 3, 1, 5); it must be [K] or [P, K], or [N, P, K] for a batch",
    ),
    (
        lambda: L(np.zeros((2, 4, 2, 5, 3)), PROXIES),
        "features has shape (2, 4, 2, 5, 3); it must be [K, D] or [P, K, D], or [N, P, K, D] for a batch",
    ),
    (
        lambda: T(POLICY, PROXIES, temperature=np.ones((4, 1))),
        "temperature has shape (4, 1); it must be one number or one a problem [N]",
    ),
    (
        lambda: L(FEATURES, PROXIES, initial_params=np.zeros((4, 2))),
        "initial_params has shape (4, 2); the features ask for (3,) or (N, 3)",
    ),
    (lambda: L(FEATURES, np.zeros((4, 3, 5))), "features has 2 prompts but the rewards have 3"),
    (lambda: L(None, PROXIES), "features is None; every entry of features must be a real number"),
    (lambda: T(POLICY, None), "true_reward is None; every entry of true_reward must be a real number"),
    (
        lambda: T(POLICY, np.where(np.arange(40).reshape(4, 2, 5) == 27, np.nan, 0.0)),
        "true_reward[2, 1, 2] is nan; every entry of true_reward must be finite",
    ),
    (
        lambda: T(np.where(np.arange(40).reshape(4, 2, 5) == 13, -0.2, 0.2), PROXIES),
        "initial_policy[1, 0, 3] is -0.2; every probability must be positive",
    ),
    (
        lambda: T(np.where(np.arange(4)[:, None, None] == 3, 0.1, 0.2) * np.ones((4, 2, 5)), PROXIES),
        "initial_policy[3, 0] sums to 0.5; each prompt's probabilities must sum to 1",
    ),
    (lambda: T(POLICY, PROXIES, temperature=[1, 1, 0, 1]), "temperature[2] is 0; the temperature must be positive"),
    (
        lambda: T(POLICY, PROXIES, prompt_weights=[[1, 1], [0, 0], [1, 1], [1, 1]]),
        "prompt_weights are all zero; at least one must be positive",
    ),
    # replace, sharing, from_arrays
    (lambda: BATCH.replace(proxy_reward=PROXIES[:2]), "proxy_reward has 2 problems but the batch has 4"),
    (lambda: BATCH.replace(proxy_reward=PROXIES[0]), "proxy_reward has shape (2, 5); it must be [N] of (2, 5)"),
    (
        lambda: BATCH.replace(initial_params=np.zeros((4, 2, 5))),
        "initial_params has shape (4, 2, 5); it must be [N] of (3,)",
    ),
    (lambda: BATCH.replace(rewards=PROXIES), "unknown key 'rewards'; did you mean 'true_reward'?"),
    (lambda: Batch.sharing(LINEAR, temperature=1.0), "temperature has shape (); it must be [N] of ()"),
    (
        lambda: Batch.sharing(LINEAR, temperature=np.ones(4), proxy_reward=PROXIES[:3]),
        DIFFER + "proxy_reward has 3, temperature has 4",
    ),
    (lambda: Batch.from_arrays(LINEAR), "features has shape (2, 5, 3); in this batch it must have 4 axes"),
    (lambda: Batch.from_arrays(BATCH.problems), "features has shape (2, 5, 3); in this batch it must have 4 axes"),
    (
        lambda: Batch.from_arrays(LINEAR, shared=("reward",)),
        "shared is 'reward'; it must be one of 'features', 'true_reward', 'proxy_reward', 'temperature', "
        "'prompt_weights', 'initial_params'",
    ),
    (lambda: Batch.of(None), "problem is None; it must be a pgdyn.Problem or a pgdyn.Batch"),
    # concatenate
    (
        lambda: BATCH.concatenate(T(POLICY, PROXIES)),
        "this batch is linear with D = 3, P = 2, K = 5 but the other is tabular, P = 2, K = 5",
    ),
]


@pytest.mark.parametrize(("build", "sentence"), REFUSED, ids=[sentence[:60] for _, sentence in REFUSED])
def test_bad_input_is_refused_in_one_sentence(build, sentence):
    with pytest.raises(ValueError) as refusal:
        build()
    assert str(refusal.value) == sentence
