"""A-priori mechanisms against the rules of their docstring, spelled out output by output in NumPy."""

import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from compilations import Compilations
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_setting

import pgdyn
from pgdyn.errors.mechanism import CATEGORIES, MECHANISMS, PREDICTED, causes, mechanisms


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
    weighted=st.booleans(),
)
def test_equal_to_the_rules(seed, shape, height, changed, spread, weighted):
    rng = np.random.default_rng(seed)
    setting = make_setting(seed, shape, weighted=weighted)
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


@pytest.mark.parametrize(
    ("what", "truth", "proxy", "mechanism"),
    [
        ("a proxy equal to the best good output's outranks it", (1, -1, -1), (1, 1, -1), "reward hacking"),
        ("a raised proxy equal to V_P does not stall", (1, -1, -1), (1, 0, -1), "never attracts"),
        ("a lowered proxy equal to V_P does not escape", (1, 0.5, -1), (1, 0, -1), "none"),
        ("a truth equal to V_G is low", (1, 0, -1), (1, -0.5, -1), "never attracts"),
        ("a truth equal to the target is good", (1, 0.75, -1), (1, -0.5, -1), "none"),
        ("no error is none, whatever the proxy", (1, 0, -1), (1, 0, -1), "none"),
    ],
)
def test_borders_between_the_types(what, truth, proxy, mechanism):
    """Rewards at a border of a rule, where V_G and V_P have no rounding error. Oracle: the rules of the docstring."""
    problem = pgdyn.Problem.tabular([0.25, 0.5, 0.25], truth)
    target = 0.75 if truth[1] == 0.75 else 0.9
    assert mechanisms(problem, [[proxy]], target).tolist() == [mechanism], what


@pytest.mark.parametrize(("rarity", "mechanism"), [(0.99e-3, "negligible probability"), (1.01e-3, "reward hacking")])
def test_negligible_is_a_thousandth_of_the_likeliest_good_output(rarity, mechanism):
    """Of the likeliest good one: the second good output is rarer still."""
    good, rare = 0.25, 0.25 * rarity
    problem = pgdyn.Problem.tabular([good, 1e-5, rare, 1 - good - 1e-5 - rare], [1, 1, -1, 0.5])
    assert mechanisms(problem, [[[1, 1, 2, 0.5]]], 0.9).tolist() == [mechanism]


@pytest.mark.parametrize(("weights", "place"), [((0.9, 0.1), (0, 2)), ((0.1, 0.9), (1, 1))])
def test_an_output_weighs_as_much_as_its_prompt(weights, place):
    """Stalling in the first prompt and escaping in the second, equal but for w_p: the heavier prompt decides."""
    truth = np.array([[1.0, -1, -1, -1], [1, 0.5, -1, -1]])
    proxy = np.array([[1.0, -1, 0.5, -1], [1, -1, -1, -1]])
    policy = [[0.25, 0.25, 0.25, 0.25]] * 2
    problem = pgdyn.Problem.tabular(policy, truth, proxy, prompt_weights=weights)
    found = causes(pgdyn.Batch.of(problem), 0.9)
    assert (found.prompt[0], found.output[0]) == place
    assert found.mechanism[0] == ("stalling", "escapes mediocrity")[place[0]]


def test_a_batch_has_targets_and_starts_of_its_own():
    """Oracle: each problem alone; the output that is named is the one that was changed."""
    rng = np.random.default_rng(4)
    truth, policy = rng.uniform(-1, 1, (30, 1, 5)), rng.dirichlet(np.ones(5), (30, 1))
    output = rng.integers(0, 5, 30)
    proxy = truth.copy()
    proxy[np.arange(30), 0, output] = rng.uniform(-1, 1, 30)
    target = np.sort(truth[:, 0], axis=1)[:, -2:].mean(axis=1)
    batch = pgdyn.Batch.tabular(policy, truth, proxy)
    found = causes(batch, target)
    for i, problem in enumerate(batch):
        assert mechanisms(problem, proxy[i : i + 1], target[i])[0] == found.mechanism[i]
    typed = found.mechanism != "none"
    # An error on a good output shows in others, which it lifts above it.
    own = typed & (truth[np.arange(30), 0, output] < target)
    assert own.sum() > 10 and (found.output[own] == output[own]).all()
    assert (found.output[~typed] == -1).all() and (found.prompt[typed] == 0).all()


def test_another_number_of_proxies_compiles_nothing(paper_problem):
    """And the fixed number of rows in a call shows nowhere; Oracle: one proxy after another."""
    proxies = np.random.default_rng(0).choice([-1.0, -0.5, 0.8, 1.5], (2500, 1, 5))
    found = mechanisms(paper_problem, proxies, 0.9)
    with Compilations() as made:
        for count in (1, 3, 1024, 1025):
            assert mechanisms(paper_problem, proxies[:count], 0.9).tolist() == found[:count].tolist()
        assert [mechanisms(paper_problem, proxies[i : i + 1], 0.9)[0] for i in (0, 1023, 1024, 2499)] == [
            found[i] for i in (0, 1023, 1024, 2499)
        ]
    assert made.count == 0


@pytest.mark.parametrize("target", [np.nan, [0.9, 0.9]])
def test_refusals(paper_problem, target):
    with pytest.raises(ValueError, match="target is nan|target has shape"):
        mechanisms(paper_problem, np.zeros((3, 1, 5)), target)


def test_every_mechanism_predicts_a_category():
    assert set(PREDICTED) == set(MECHANISMS) and set(PREDICTED.values()) == set(CATEGORIES)
