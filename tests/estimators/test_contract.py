"""What every estimator keeps to: one suite over the registry, and over compositions of its members.

Oracles: `group_oracles`, definitions in NumPy, enumerated over every group. A new estimator has to be entered in CASES.
"""

import equinox as eqx
import group_oracles as oracles
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pgdyn
from pgdyn import estimators as e

PI = np.array([0.2, 0.1, 0.7])
REWARD = np.array([1.0, 0.4, 0.0])
EARLIER = np.array([0.3, 0.3, 0.4])  # the reference
SIZE = 4
PROBLEM = pgdyn.Problem.tabular(EARLIER, REWARD)
PARAMS = jnp.log(jnp.asarray(PI))[None]

CASES = {  # name -> (estimator, its advantages by definition)
    "reinforce": (e.Reinforce(0.3, SIZE), oracles.reinforce(0.3)),
    "reinforce value": (e.Reinforce("value", SIZE), oracles.reinforce("value")),
    "reinforce optimal": (e.Reinforce("optimal", SIZE), oracles.reinforce("optimal")),
    "reinforce greedy": (e.Reinforce("greedy", SIZE), oracles.reinforce("greedy")),
    "rloo": (e.RLOO(SIZE), oracles.rloo),
    "centred": (e.Centred(SIZE), oracles.centred),
    "reinforcepp": (e.ReinforcePP(SIZE), oracles.grpo(0, 0.0)),  # with one prompt the batch is the group
    "maxrl": (e.MaxRL(SIZE), oracles.max_rl),
    "grpo": (e.GRPO(SIZE, 0, 1e-8), oracles.grpo(0, 1e-8)),
    "grpo trl": (e.GRPO.preset("trl", SIZE), oracles.grpo(1, 1e-4)),
    "grpo batch": (e.GRPO(SIZE, 0, 0.1, scale="batch"), oracles.grpo(0, 0.1)),
    "grpo none": (e.GRPO(SIZE, scale="none"), oracles.centred),
    "maxatk": (e.MaxAtK(SIZE, 2), oracles.max_at_k(2, "loo")),
    "maxatk subset": (e.MaxAtK(SIZE, 3, "subset"), oracles.max_at_k(3, "subset")),
    "maxatk bare": (e.MaxAtK(SIZE, 4, None), oracles.max_at_k(4, None)),
    "bestofn": (e.BestOfN(3, SIZE), oracles.best_of_n(3)),
    "tailextrapolated": (e.TailExtrapolated(16, SIZE, 0.5), oracles.tail_extrapolated(16, 0.5)),
    "prefix": (
        e.TailExtrapolated(16, SIZE, 0.5, prefix_orders=2),
        oracles.tail_extrapolated(16, 0.5, ((2, -1), (1, 2))),
    ),
    "unlikeliness": (
        e.compose(e.GRPO(SIZE, 0, 0.1), e.Unlikeliness(0.25)),
        oracles.unlikeliness(0.25, "paper", False, oracles.grpo(0, 0.1)),
    ),
    "unlikeliness code": (
        e.compose(e.GRPO(SIZE, 0, 0.1), e.Unlikeliness(0.5, variant="code", filter=None)),
        oracles.unlikeliness(0.5, "code", True, oracles.grpo(0, 0.1)),
    ),
    "whiten": (e.compose(e.RLOO(SIZE), e.Whiten(keep_mean=True)), oracles.whitened(True, oracles.rloo)),
    "whiten group": (
        e.compose(e.Reinforce(None, SIZE), e.Whiten("group")),
        oracles.whitened(False, oracles.reinforce(None)),
    ),
    "robustbonus": (e.compose(e.RLOO(SIZE), e.RobustBonus(2.0)), oracles.robust(2.0, oracles.rloo)),
    **{
        f"{form} in the reward": (
            e.compose(e.RLOO(SIZE), e.KLPenalty(form, weight=0.2)),
            oracles.kl_in_reward(form, 0.2, EARLIER, oracles.rloo),
        )
        for form in ("k1", "k2", "k3")
    },
}


def sampled(groups, rewards=None, dtype=jnp.float64):
    """The sample of these groups [N, G] of the one prompt, each as a prompt of its own."""
    groups = np.asarray(groups)
    rewards = REWARD[groups] if rewards is None else rewards
    rows = np.ones((len(groups), 1))
    arrays = (rewards, np.log(PI)[groups], rows[:, 0] * (PI @ REWARD), None, np.log(EARLIER)[groups], None)
    tables = (rows * np.log(PI), rows * REWARD, rows * ((np.eye(3) - PI) ** 2).sum(1))
    made = [None if array is None else jnp.asarray(array, dtype) for array in (*arrays, *tables)]
    return e.Sample(jnp.asarray(groups), *made)


def advantages(estimator, sample):
    """[N, G]: each group as a batch of its own."""
    alone = jax.tree.map(lambda array: array[:, None], sample)
    return jax.vmap(estimator.advantages)(alone)[:, 0]


GROUPS = np.array([group for group, _ in oracles.enumerate_groups(PI, SIZE)])
in_order = {"prefix"}
not_shifted = {"reinforce", "maxrl", "unlikeliness", "unlikeliness code", "maxatk bare"}
not_still = {"reinforce", "reinforce value", "reinforce optimal", "reinforce greedy", "maxatk bare", "bestofn"}
not_still |= {"unlikeliness code", "k1 in the reward", "k2 in the reward", "k3 in the reward"}
made = {name: eqx.filter_jit(lambda sample, one=one: advantages(one, sample)) for name, (one, _) in CASES.items()}


def test_every_estimator_and_transform_has_a_case():
    parts = [CASES[name][0] for name in CASES]
    parts += [part for one in parts if isinstance(one, e.Composed) for part in (one.advantage, *one.transforms)]
    kinds = {type(part) for part in parts}
    assert {*e.ESTIMATORS.values(), *e.TRANSFORMS.values()} <= kinds


@pytest.mark.parametrize("name", CASES)
def test_advantages_are_those_of_the_definition(name):
    """All 81 groups of four outputs of three, many with duplicates, some with rewards all equal."""
    found = np.asarray(made[name](sampled(GROUPS)))
    for group, row in zip(GROUPS, found, strict=True):
        expected = CASES[name][1](group, REWARD[group], PI, REWARD)
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-9, err_msg=str(group))


ENUMERATED = ["reinforce optimal", "rloo", "centred", "reinforcepp", "maxrl", "grpo", "maxatk", "bestofn", "prefix"]
ENUMERATED += ["tailextrapolated", "unlikeliness", "whiten", "robustbonus", "k3 in the reward"]


@pytest.mark.parametrize("name", ENUMERATED)
def test_expected_update_is_the_enumerated_one(name):
    """The levels of the reward, and every group in order, give what NumPy's sum over the groups gives."""
    estimator, definition = CASES[name]
    expected = oracles.expected_update(PI, REWARD, SIZE, definition)
    np.testing.assert_allclose(e.expected_update(estimator, PROBLEM, PARAMS)[0], expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", CASES)
def test_order_does_not_matter(name):
    order = [2, 0, 3, 1]
    found, moved = made[name](sampled(GROUPS)), made[name](sampled(GROUPS[:, order]))
    same = np.abs(np.asarray(moved) - np.asarray(found)[:, order]).max() < 1e-9
    assert same == (name not in in_order)


@pytest.mark.parametrize("name", CASES)
def test_a_constant_added_to_every_reward(name):
    """Values and tables move with it; what is known not to be invariant is not."""
    sample = sampled(GROUPS)
    known = (sample.rewards, sample.values, sample.reward_table)
    shifted = eqx.tree_at(lambda s: (s.rewards, s.values, s.reward_table), sample, tuple(part + 3 for part in known))
    same = np.abs(np.asarray(made[name](shifted)) - np.asarray(made[name](sample))).max() < 1e-7
    assert same == (name not in not_shifted)


@pytest.mark.parametrize("name", CASES)
def test_a_group_of_equal_rewards_stands_still(name):
    """Rewards whose mean is rounded; estimators with a baseline of their own know what they are missing."""
    mixed = sampled(GROUPS, np.full(GROUPS.shape, 0.1))
    if name == "robustbonus":
        mixed = eqx.tree_at(lambda s: s.log_probs, mixed, jnp.zeros_like(mixed.log_probs))
        mixed = eqx.tree_at(lambda s: s.outputs, mixed, jnp.zeros_like(mixed.outputs))
    found = np.asarray(made[name](mixed))
    assert np.isfinite(found).all()
    assert (np.abs(found).max() < 1e-12) == (name not in not_still)


@pytest.mark.parametrize("name", CASES)
def test_float32_samples_give_float32_advantages(name):
    found = jax.eval_shape(CASES[name][0].advantages, sampled(GROUPS[:2], dtype=jnp.float32))
    assert found.dtype == jnp.float32 and found.shape == (2, SIZE)


# ---------------------------------------------------------------- one class is enough


class Median(e.Estimator):
    """Rewards less the group's median."""

    group_size: int = SIZE

    def advantages(self, sample):
        return sample.rewards - jnp.median(sample.rewards, axis=1, keepdims=True)


def test_an_estimator_is_one_class():
    """It composes, is enumerated, runs, and has a mean field that flows."""
    expected = oracles.expected_update(PI, REWARD, SIZE, lambda group, r, pi, table: r - np.median(r))
    np.testing.assert_allclose(e.expected_update(Median(), PROBLEM, PARAMS)[0], expected, rtol=0, atol=1e-13)
    run = pgdyn.ascend_sampled(PROBLEM, 300, 0, estimator=e.compose(Median(), e.Surrogate(epochs=2)))
    assert run.true_value[-1] > run.true_value[0]
    assert run.to_dataset().attrs["settings"]["estimator"]["name"] == "median"
    field = e.mean_field(Median(), PROBLEM)
    np.testing.assert_allclose(field.gradient(PROBLEM, PARAMS)[0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: e.RLOO(1), "group_size is 1; it must be at least 2"),
        (lambda: e.GRPO(4, ddof=2), "ddof is 2; it must be at most 1"),
        (
            lambda: e.GRPO(1),
            "group_size is 1; it must be at least 2, as a single sample is its own mean (with ddof 1 and scale 'group' "
            "it counts as one of mean 0 and standard deviation 1)",
        ),
        (lambda: e.GRPO(4, eps=-1), "eps is -1; it must be at least 0"),
        (lambda: e.GRPO(scale="all"), "scale is 'all'; it must be one of 'group', 'batch', 'none'"),
        (lambda: e.GRPO.preset("x"), "preset is 'x'; it must be one of 'open_instruct', 'trl', 'verl'"),
        (lambda: e.MaxAtK(4, 4), "group_size is 4; max@4 with this baseline needs at least 5"),
        (lambda: e.MaxAtK(4, 1, "subset"), "k is 1; the baseline 'subset' needs at least 2"),
        (
            lambda: e.TailExtrapolated(16, 6, prefix_orders=3),
            "group_size is 6; prefixes of 3 orders need a multiple of 4, at least 8",
        ),
        (lambda: e.TailExtrapolated(alpha=1.0), "alpha is 1; it must be below 1"),
        (lambda: e.Unlikeliness(1.5), "beta is 1.5; it must be at most 1"),
        (lambda: e.RandomReward(2.0), "p is 2; it must be at most 1"),
        (lambda: e.Surrogate(dual_clip=1.0), "dual_clip is 1; it must be more than 1"),
        (lambda: e.KLPenalty("k4"), "form is 'k4'; it must be one of 'k1', 'k2', 'k3'"),
        (lambda: e.compose(e.Whiten()), "compose needs an Estimator that makes advantages, for instance RLOO(4)"),
        (lambda: e.compose(e.RLOO(4), e.RLOO(4)), "parts[1] is a second Estimator; give one"),
        (lambda: e.compose(e.RLOO(4), 3), "parts[1] is 3; it must be a part of pgdyn.estimators"),
        (
            lambda: e.compose(e.RLOO(4), e.Surrogate(minibatches=3)),
            "minibatches is 3; it must divide the group size 4",
        ),
        (
            lambda: e.expected_update(e.compose(e.RLOO(4), e.Surrogate(epochs=2)), PROBLEM),
            "the surrogate takes 2 updates a batch, whose expected change depends on the learning rate; use "
            "estimators.outcomes",
        ),
        (lambda: e.diagnose(e.RLOO(2), PROBLEM, key="0"), "key is '0'; it must be a jax.random key or a seed"),
        (
            lambda: e.outcomes(e.RLOO(13), PROBLEM),
            "3 outcomes of a sample and 13 samples make more than 1048576 groups to enumerate; take fewer outputs or a "
            "smaller group",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(ValueError) as refusal:
        make()
    assert str(refusal.value) == sentence
