"""Tasks of several constraints. Oracles: sums over all outcomes in plain loops, and the numbers of theory C3 and C4."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import pgdyn
from pgdyn import verifiable as v


def test_outcomes_count_the_first_constraint_as_the_lowest_bit():
    assert v.outcomes(2).tolist() == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert v.outcomes(3).shape == (8, 3) and len({tuple(row) for row in v.outcomes(3)}) == 8


@pytest.mark.parametrize("rho", [0.0, 0.2, -0.1])
def test_margins_and_correlations_are_those_asked_for(rho):
    s = np.array([0.3, 0.5, 0.6])
    pi, met = v.joint(s, rho), v.outcomes(3)
    assert pi.sum() == pytest.approx(1, rel=1e-14) and (pi >= 0).all()
    np.testing.assert_allclose(pi @ met, s, rtol=1e-13)
    centred = met - s
    for a, b in itertools.combinations(range(3), 2):
        correlation = pi @ (centred[:, a] * centred[:, b]) / np.sqrt(s[a] * (1 - s[a]) * s[b] * (1 - s[b]))
        assert correlation == pytest.approx(rho, abs=1e-13)
    matrix = np.zeros((3, 3))
    matrix[0, 2] = 0.3
    pi = v.joint(s, matrix)
    assert pi @ (centred[:, 0] * centred[:, 1]) == pytest.approx(0, abs=1e-14)
    assert pi @ (centred[:, 0] * centred[:, 2]) == pytest.approx(0.3 * np.sqrt(0.21 * 0.24), rel=1e-12)


def test_credits():
    met = v.outcomes(3)
    for row, binary, partial, weighted, ordered, two in zip(
        met,
        v.Binary()(met),
        v.Partial()(met),
        v.Weighted((2, 1, 0))(met),
        v.Lexicographic(3)(met),
        v.Thresholded(2)(met),
        strict=True,
    ):
        assert binary == float(all(row)) and partial == pytest.approx(sum(row) / 3)
        assert weighted == pytest.approx((2 * row[0] + row[1]) / 3)
        assert ordered == pytest.approx((9 * row[0] + 3 * row[1] + row[2]) / 13)
        assert two == float(sum(row) >= 2)
    # An earlier constraint outweighs all later ones.
    assert v.Lexicographic()(np.array([1, 0, 0])) > v.Lexicographic()(np.array([0, 1, 1]))
    assert all(0 <= kind(met).min() and kind(met).max() == 1 for kind in (v.Binary(), v.Partial(), v.Lexicographic()))
    assert set(v.CREDITS) == {"binary", "partial", "weighted", "lexicographic", "thresholded"}


def test_a_verifier_that_errs_pays_the_mean_over_what_it_reads():
    high, low = np.array([0.9, 0.8, 0.7]), np.array([0.1, 0.0, 0.3])
    met = v.outcomes(3)
    for credit in (v.Binary(), v.Weighted((1, 2, 3))):
        found = v.verified(credit, met, high, low)
        for row, mean in zip(met, found, strict=True):
            total = 0.0
            for read in itertools.product((0, 1), repeat=3):
                pairs = zip(read, np.where(row, high, low), strict=True)
                total += np.prod([p if r else 1 - p for r, p in pairs]) * float(credit(np.array(read)))
            assert mean == pytest.approx(total, rel=1e-12)


def test_problems_of_both_representations():
    tabular = v.constraints([0.3, 0.2], correlation=0.1)
    np.testing.assert_allclose(np.exp(tabular.initial_params[0]), v.joint([0.3, 0.2], 0.1), rtol=1e-12)
    assert tabular.true_reward.tolist() == [[0, 0, 0, 1]] and tabular.proxy_reward.tolist() == [[0, 0.5, 0.5, 1]]
    rows = np.array([[0.3, 0.2], [0.5, 0.9]])
    composed = v.constraints(rows, v.Binary(), representation="compositional")
    log_policy = pgdyn.policy.log_policy(composed, composed.initial_params)
    np.testing.assert_allclose(np.exp(log_policy), v.joint(rows), rtol=1e-12)
    np.testing.assert_allclose(v.success(composed, log_policy), [0.06, 0.45], rtol=1e-12)


def test_tokens_that_meet_constraints_one_after_another():
    """Whole outputs have the joint probabilities and the credit of the outcomes."""
    credit = v.Weighted((4, 2, 1))
    problem = v.constraints([0.3, 0.5, 0.6], credit, correlation=0.1, representation="tokens")
    leaves = pgdyn.mdp.leaves(problem)
    for tokens, logs, true, proxy in zip(
        leaves.actions, leaves.log_policy, leaves.true_return, leaves.proxy_return, strict=True
    ):
        outcome = int(tokens @ 2 ** np.arange(3))
        assert v.outcomes(3)[outcome].tolist() == tokens.tolist()
        assert float(logs) == pytest.approx(np.log(v.joint([0.3, 0.5, 0.6], 0.1)[outcome]), rel=1e-12)
        assert float(true) == float(tokens.all())
        assert float(proxy) == pytest.approx(float(credit(tokens)), abs=1e-15)


def test_toy_check_and_both_constraints_rare():
    """588 and 266 updates; 5,261 and 308 (theory C4)."""
    start = [0.3, 0.6, 0.05, 0.05]
    met = v.outcomes(2)
    hits = [
        float(pgdyn.ascend(pgdyn.Problem.tabular(start, v.Binary()(met), credit(met)), 700, target=0.9).hitting_time)
        for credit in (v.Partial(), v.Binary())
    ]
    assert hits == [588, 266]
    rare = pgdyn.stack(
        [v.constraints([0.01] * 2, credit, representation="compositional") for credit in (v.Binary(), v.Partial())]
    )
    times = pgdyn.flow_many(rare, 1e4, target=0.95).hitting_time
    np.testing.assert_allclose(times, [5261, 308], rtol=2e-3)


def test_adaptive_credit_is_partial_and_then_binary():
    """Its field is that of partial credit below the threshold and that of binary credit from there on, per prompt."""
    problem = v.constraints([[0.2, 0.3], [0.8, 0.9]])
    adaptive = v.AdaptiveCredit(0.1)
    found = adaptive.gradient(problem, problem.initial_params)
    partial = pgdyn.Objective().gradient(problem, problem.initial_params)
    binary = pgdyn.Objective("true").gradient(problem, problem.initial_params)
    np.testing.assert_allclose(found[0], partial[0], rtol=1e-13)
    np.testing.assert_allclose(found[1], binary[1], rtol=1e-13)
    assert float(jnp.abs(partial[1] - binary[1]).max()) > 1e-3
    for threshold, one in ((0.0599, binary), (0.0601, partial)):  # full success has probability .06
        found = v.AdaptiveCredit(threshold).gradient(problem, problem.initial_params)
        np.testing.assert_allclose(found[0], one[0], rtol=1e-13)
    run = pgdyn.ascend(problem, 300, objective=adaptive, learning_rate=1.0)
    assert run.true_value[-1] > 0.9
    with pytest.raises(ValueError, match="there is no one value that it climbs"):
        adaptive.value(problem, problem.initial_params)


def test_adaptive_credit_of_a_sequence_counts_whole_episodes():
    """Full success has probability .2 at the start: just below it the ground truth is climbed, just above the proxy."""
    problem = v.constraints([0.5, 0.4], v.Partial(), representation="tokens")
    for threshold, reward in ((0.199, "true"), (0.201, "proxy")):
        found = v.AdaptiveCredit(threshold).gradient(problem, problem.initial_params)
        expected = pgdyn.Objective(reward=reward).gradient(problem, problem.initial_params)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: v.constraints([0.0, 0.5]), "success[0] is 0; it must lie strictly between 0 and 1"),
        (
            lambda: v.joint([0.1, 0.1], -0.5),
            "correlation leaves outcome 3 a negative probability (-0.035); take a smaller one",
        ),
        (
            lambda: v.joint([0.5, 0.5], np.zeros(3)),
            "correlation has shape (3,); it must be one number or [2, 2]",
        ),
        (
            lambda: v.constraints([0.5, 0.5], correlation=0.5, representation="compositional"),
            "correlation is not zero, and a policy with one logit a constraint keeps them independent",
        ),
        (lambda: v.constraints([0.5], "partial"), "credit is 'partial'; it must be a Credit of pgdyn.verifiable"),
        (lambda: v.constraints([0.5], representation="x"), "representation is 'x'; it must be one of 'tabular', "),
        (lambda: v.Weighted([0.0, 0.0]), "weights are all zero; give one that is positive"),
        (lambda: v.Weighted([1.0])(v.outcomes(2)), "there are 1 weights for 2 constraints"),
        (lambda: v.Lexicographic(1.0), "base is 1; it must be at least 2"),
        (lambda: v.verified(v.Binary(), v.outcomes(2), 1.5), "true_positive is 1.5; it must lie between 0 and 1"),
        (lambda: v.AdaptiveCredit(2.0), "threshold is 2; it must be at most 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(ValueError) as refusal:
        make()
    assert str(refusal.value).startswith(sentence)
