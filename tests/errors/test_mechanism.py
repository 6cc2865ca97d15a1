"""A-priori mechanisms against the rules of their docstring, spelled out output by output in NumPy."""

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_setting

import pgdyn
from pgdyn.errors.mechanism import CATEGORIES, MECHANISMS, PREDICTED, mechanisms


def by_hand(setting, proxy, target):
    """(type, weight) of every output, then the heaviest: the module's rules, one output after another."""
    initial = np.exp(oracles.log_policy(setting, setting.start))
    start = sum(w * p @ r for w, p, r in zip(setting.prompt_weights, initial, setting.true_reward, strict=True))
    best = sum(w * r.max() for w, r in zip(setting.prompt_weights, setting.true_reward, strict=True))
    height = (target - start) / (best - start)
    found = []
    for weight, pi, truth, reward in zip(setting.prompt_weights, initial, setting.true_reward, proxy, strict=True):
        true_mean, proxy_mean = pi @ truth, pi @ reward
        goal = true_mean + height * (truth.max() - true_mean)
        good = [r >= goal - 1e-9 for r in truth]
        differences = [round(d, 9) for d in reward - truth]
        most = max(differences.count(d) for d in differences)
        mean = proxy_mean - true_mean
        zero = min((d for d in differences if differences.count(d) == most), key=lambda d: abs(d - mean))
        for y in range(len(truth)):
            error = differences[y] - zero
            kind, size = None, abs(error)
            if not good[y]:
                bar = max((reward[u] for u in range(len(truth)) if good[u]), default=np.inf)
                above = reward[y] >= bar
                likely = max((pi[u] for u in range(len(truth)) if good[u]), default=0.0)
                if (error or above) and pi[y] <= 1e-3 * likely:
                    kind = "negligible probability"
                elif above:
                    kind = "reward hacking"
                elif truth[y] > true_mean and error < 0 and reward[y] < proxy_mean:
                    kind = "escapes mediocrity"
                elif error > 0 and reward[y] > proxy_mean:
                    kind = "stalling"
                elif truth[y] <= true_mean and error and reward[y] <= proxy_mean:
                    kind = "never attracts"
                if above:
                    size = (reward[y] - bar) - (truth[y] - max(truth[u] for u in range(len(truth)) if good[u]))
            if kind:
                found.append((PREDICTED[kind] != "benign", weight * pi[y] * size, kind))
    return max(found, key=lambda entry: entry[:2])[2] if found else "none"


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(1, 2, None), (1, 5, None), (3, 5, 4)]),
    height=st.sampled_from([0.3, 0.9, 1.2]),
    changed=st.sampled_from([0.3, 1.0]),
    spread=st.sampled_from([1.0, 4.0]),
)
def test_equal_to_the_rules(seed, shape, height, changed, spread):
    rng = np.random.default_rng(seed)
    setting = make_setting(seed, shape)
    setting = oracles.dataclasses.replace(setting, start=spread * setting.start)
    value = oracles.value(setting, setting.start, setting.true_reward)
    best = float((setting.prompt_weights * setting.true_reward.max(1)).sum())
    target = value + height * (best - value)
    size = (16, *setting.true_reward.shape)
    # Coarse errors, so that several outputs share one and differences tie.
    proxies = setting.true_reward + rng.choice([-0.5, 0.5, 1.0], size) * (rng.uniform(size=size) < changed)
    found = mechanisms(setting.problem(), jnp.asarray(proxies), target)
    assert found.tolist() == [by_hand(setting, proxy, target) for proxy in proxies]


@given(seed=st.integers(0, 2**32 - 1), shift=st.sampled_from([-7.0, 0.25]), scale=st.sampled_from([0.125, 4.0]))
def test_neither_zero_nor_unit_of_the_rewards_matters(seed, shift, scale):
    """Affine maps of both rewards and the target, and a shift of the proxy alone, change no mechanism."""
    setting = make_setting(seed, (1, 5, None))
    problem = setting.problem()
    truth = np.round(setting.true_reward * 64) / 64  # so that maps by powers of two are exact
    proxies = truth + np.random.default_rng(seed).integers(-2, 3, (16, 1, 5)) / 4
    one = pgdyn.Problem.tabular(np.exp(np.asarray(problem.initial_params)), truth)
    other = pgdyn.Problem.tabular(np.exp(np.asarray(problem.initial_params)), scale * truth + shift)
    target = float(truth.max()) - 0.1
    expected = mechanisms(one, jnp.asarray(proxies), target).tolist()
    assert mechanisms(other, jnp.asarray(scale * proxies + shift), scale * target + shift).tolist() == expected
    assert mechanisms(one, jnp.asarray(proxies + shift), target).tolist() == expected


@pytest.mark.parametrize(
    ("proxy", "mechanism"),
    [
        ((1, 0.8, -1, -1, -1), "none"),
        ((4, 3.8, 2, 2, 2), "none"),
        ((1, -1, -1, -1, -1), "escapes mediocrity"),
        ((1, 0.8, 1.5, -1, -1), "reward hacking"),
        ((1, 0.8, 0.5, -1, -1), "stalling"),
        ((1, 0.8, -0.5, -1, -1), "never attracts"),
        ((0.5, 0.8, -1, -1, -1), "reward hacking"),
    ],
)
def test_the_types_of_the_paper(paper_problem, proxy, mechanism):
    """arXiv 2604.25872's table on its own problem, type by type."""
    assert mechanisms(paper_problem, jnp.asarray([[proxy]], float), 0.9).tolist() == [mechanism]


def test_every_mechanism_predicts_a_category():
    assert set(PREDICTED) == set(MECHANISMS) and set(PREDICTED.values()) == set(CATEGORIES)
