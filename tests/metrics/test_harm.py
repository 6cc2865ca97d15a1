"""Agreement metrics against the paper's worked case and against loops over items."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdyn import metrics

NAMES = ("accuracy", "harm_aware_accuracy", "weighted_accuracy", "weighted_harm_aware_accuracy")


def call(name, chosen, rejected, logp_chosen, logp_rejected, mean_reward, **options):
    arguments = [chosen, rejected]
    arguments += [logp_chosen, logp_rejected] if "weighted" in name else []
    arguments += [mean_reward] if "harm" in name else []
    return getattr(metrics, name)(*arguments, **options)


def loop(name, chosen, rejected, logp_chosen, logp_rejected, mean_reward, one_vs_many=False):
    """The definitions, one item after another: every item is (score, rejected scores, mean, log weight)."""
    items = []
    for x in range(len(chosen)):
        if one_vs_many:
            items.append((chosen[x], rejected[x], mean_reward[x], logp_chosen[x] + sum(logp_rejected[x])))
        else:
            for j in range(len(chosen[x])):
                weight = logp_chosen[x][j] + logp_rejected[x][j]
                items.append((chosen[x][j], [rejected[x][j]], mean_reward[x], weight))
    total = scale = 0.0
    heaviest = max(item[3] for item in items)
    for score, others, mean, log_weight in items:
        weight = np.exp(log_weight - heaviest) if "weighted" in name else 1.0
        right = all(other < score or ("harm" in name and other < mean) for other in others)
        total, scale = total + weight * right, scale + weight
    return total / scale


# The worked case of arXiv 2604.25872, section 4: Acc, HAcc, Acc-W, HAcc-W over all strictly ordered pairs.
@pytest.mark.parametrize(
    ("proxy", "golden"),
    [
        ((1, -1, -1, -1, -1), (0.5714, 1, 0.1743, 1)),
        ((1, -0.95, -0.9, -0.8, -1), (0.7143, 0.8571, 0.4495, 0.7248)),
        ((0.2, 0.8, -1, -1, -1), (0.8571, 0.8571, 0.9083, 0.9083)),
    ],
)
def test_worked_case(proxy, golden):
    policy, truth = np.array([0.05, 0.5, 0.15, 0.15, 0.15]), (1, 0.8, -1, -1, -1)
    high, low = zip(*(p for p in itertools.permutations(range(5), 2) if truth[p[0]] > truth[p[1]]), strict=True)
    proxy, logp = np.array(proxy), np.log(policy)
    index = np.array([high]), np.array([low])
    arguments = (*(proxy[i] for i in index), *(logp[i] for i in index), [policy @ proxy])
    for name, expected in zip(NAMES, golden, strict=True):
        assert float(call(name, *arguments)) == pytest.approx(expected, abs=5e-5), name


@given(seed=st.integers(0, 2**32 - 1), one_vs_many=st.booleans(), spread=st.sampled_from((1.0, 30.0)))
def test_equal_to_loops_over_items(seed, one_vs_many, spread):
    rng = np.random.default_rng(seed)
    prompts, pairs = 4, 3
    shape = (prompts,) if one_vs_many else (prompts, pairs)
    # Few levels, so that ties between chosen, rejected and the mean are frequent.
    scores = [rng.integers(-1, 3, size).astype(float) for size in (shape, (prompts, pairs))]
    logps = [-spread * rng.exponential(size=size) for size in (shape, (prompts, pairs))]
    mean = rng.integers(-1, 3, prompts).astype(float)
    for name in NAMES:
        got = call(name, *scores, *logps, mean, one_vs_many=one_vs_many)
        want = loop(name, *scores, *logps, mean, one_vs_many=one_vs_many)
        assert float(got) == pytest.approx(want, rel=1e-12, abs=1e-15), name


def test_ties_are_errors():
    assert float(metrics.accuracy([[1.0]], [[1.0]])) == 0
    assert float(metrics.harm_aware_accuracy([[1.0]], [[1.0]], [1.0])) == 0
    assert float(metrics.accuracy([1.0], [[0.0, 1.0]], one_vs_many=True)) == 0


def test_jit_and_vmap():
    """Compiled and mapped over reward models, the same numbers as one by one."""
    rng = np.random.default_rng(0)
    chosen, rejected = jnp.asarray(rng.normal(size=(2, 6, 4, 3)))
    logp = jnp.asarray(-rng.exponential(size=(4, 3)))
    mean = jnp.asarray(rng.normal(size=(6, 4)))
    mapped = jax.jit(jax.vmap(metrics.weighted_harm_aware_accuracy, in_axes=(0, 0, None, None, 0)))
    single = [
        float(metrics.weighted_harm_aware_accuracy(c, r, logp, logp, m))
        for c, r, m in zip(chosen, rejected, mean, strict=True)
    ]
    np.testing.assert_allclose(mapped(chosen, rejected, logp, logp, mean), single, rtol=1e-14)


def test_zero_probability_takes_no_part():
    """An item of probability zero weighs nothing: with the others, the metric of those alone."""
    inf = -np.inf
    got = metrics.weighted_accuracy([[1.0, 0.0]], [[0.0, 1.0]], [[-1.0, inf]], [[-2.0, -1.0]])
    assert float(got) == 1.0


def test_a_log_probability_may_be_0():
    """An output that is certain, beside one of probability e^-1: both items weigh 1 and 1/e."""
    found = metrics.weighted_accuracy([[1.0, 0.0]], [[0.0, 1.0]], [[0.0, -1.0]], [[0.0, 0.0]])
    assert float(found) == pytest.approx(1 / (1 + np.exp(-1)), rel=1e-12)


@pytest.mark.parametrize(
    ("sentence", "name", "arguments", "options"),
    [
        ("chosen has shape (2,) and rejected (2,); both must be [prompts, pairs]", "accuracy", ([1, 2], [1, 2]), {}),
        ("chosen has shape (1, 2) and rejected (1, 1); both", "accuracy", ([[1, 2]], [[1]]), {}),
        ("with one_vs_many they must be [prompts] and", "accuracy", ([[1]], [[1]]), {"one_vs_many": True}),
        ("rejected (2, 1); with one_vs_many they", "accuracy", ([1], [[1], [0]]), {"one_vs_many": True}),
        ("one_vs_many is 'yes'; it must be one of False, True", "accuracy", ([[1]], [[1]]), {"one_vs_many": "yes"}),
        ("rejected[0, 1] is nan", "accuracy", ([[1, 2]], [[1, np.nan]]), {}),
        ("chosen[0, 0] is True", "accuracy", ([[True]], [[1]]), {}),
        ("chosen is empty", "accuracy", ([[]], [[]]), {}),
        ("mean_reward has shape (2,) but there are 1 prompts", "harm_aware_accuracy", ([[1]], [[0]], [1, 2]), {}),
        ("mean_reward[0] is inf", "harm_aware_accuracy", ([[1]], [[0]], [np.inf]), {}),
        ("logp_chosen has shape (1,) but chosen has (1, 1)", "weighted_accuracy", ([[1]], [[0]], [-1], [[-1]]), {}),
        ("logp_rejected[0, 0] is 0.5; a log-p", "weighted_accuracy", ([[1]], [[0]], [[-1]], [[0.5]]), {}),
        ("logp_rejected[0, 0] is nan; a log-p", "weighted_accuracy", ([[1]], [[0]], [[-1]], [[np.nan]]), {}),
        ("no item has any weight", "weighted_accuracy", ([[1]], [[0]], [[-np.inf]], [[-1]]), {}),
    ],
)
def test_refusals(sentence, name, arguments, options):
    with pytest.raises(ValueError) as caught:
        getattr(metrics, name)(*arguments, **options)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)
