"""Every claim of the paper is there, holds on true numbers, and fails on false ones."""

import dataclasses
import math
import re

import numpy as np
import pytest
import xarray

from paper_repro import golden, reproduction
from paper_repro.claims import Claim, Verdict, count, hitting_time, measurement, number
from paper_repro.reproductions import controlled, feature_similarity, reinforce


@pytest.fixture(scope="module")
def exact():
    return controlled.REPRODUCTION.run(quick=False)


def judged(claims, dataset):
    return {claim.name: claim.judge(dataset).verdict for claim in claims}


def test_all_numbers_of_the_reference_table_are_claims():
    numbers = re.compile(r"-(hit|value-1000|value-50000)$")
    claims = [*controlled.REPRODUCTION.claims, *feature_similarity.REPRODUCTION.claims]
    assert sum(bool(numbers.search(claim.name)) for claim in claims) == 27
    assert sum(claim.name.endswith("-fraction") for claim in reinforce.REPRODUCTION.claims) == 6
    assert (golden.HIT_TOLERANCE, golden.VALUE_TOLERANCE, golden.LATE_TOLERANCE) == (0.001, 5e-5, 2e-5)
    # The table once more, by row: hits and values after 1,000 and 50,000 updates.
    table = [*golden.CONTROLLED.values(), *golden.FEATURES.values()]
    assert [run.hit for run in table] == [math.inf, 168, 10690, 120, 1393, 101, 19165, math.inf, 443]
    early = [0.79234, 0.99319, 0.79297, 0.99362, 0.80711, 0.99383, 0.79249, 0.79216, 0.98060]
    late = [0.79987, 0.99988, 0.99982, 0.99988, 0.99984, 0.99988, 0.99989, 0.79985, 0.99982]
    assert [run.early for run in table] == early and [run.late for run in table] == late


def test_claims_hold_on_the_real_experiment(exact):
    verdicts = judged(controlled.REPRODUCTION.claims, exact)
    assert set(verdicts.values()) == {Verdict.passed, Verdict.measured}
    assert sum(verdict is Verdict.passed for verdict in verdicts.values()) == 23


@pytest.mark.parametrize(
    ("name", "change", "breaks"),
    [
        ("true_value", lambda values: values + 6e-5, "e15-proxy-value-1000"),
        ("true_value", lambda values: values - 3e-5, "e10-ground-truth-value-50000"),
        ("hitting_time", lambda values: values * 1.0011, "e10-ground-truth-hit"),
        ("hitting_time", lambda values: values.clip(max=49_999), "ground-truth-stalls"),
        ("hitting_time", lambda values: values[:, ::-1].copy(), "proxy-sooner"),
        ("hitting_time", lambda values: values[::-1].copy(), "rarer-is-slower"),
        ("flow_hitting_time", lambda values: values * math.inf, "flow-agrees"),
        ("log_policy", lambda values: values[..., [1, 0, 2, 3, 4]], "proxy-escapes"),
    ],
)
def test_claims_fail_on_wrong_numbers(exact, name, change, breaks):
    wrong = exact.assign({name: (exact[name].dims, change(exact[name].values))})
    assert judged(controlled.REPRODUCTION.claims, wrong)[breaks] is Verdict.failed


def sampled(fractions, seeds=200):
    """A dataset of final values alone: of each problem the given fraction of seeds ends at .99, the others at .8."""
    final = np.full((3, 2, seeds, 1), 0.8)
    for (i, j), fraction in np.ndenumerate(fractions):
        final[i, j, : round(fraction * seeds)] = 0.99
    return xarray.Dataset(
        {"true_value": (("initial_probability", "training_reward", "seed", "update"), final)},
        {
            "initial_probability": [0.05, 0.1, 0.15],
            "training_reward": np.array(["ground truth", "proxy"], dtype=object),
            "update": [50_000],
        },
    )


def fractions_claims():
    return [claim for claim in reinforce.REPRODUCTION.claims if claim.name.endswith("-fraction")]


def test_fractions_within_sampling_error_hold():
    # What 2,000 seeds of an independent NumPy loop gave.
    verdicts = judged(fractions_claims(), sampled([[0.13, 1.0], [0.67, 1.0], [0.9, 1.0]]))
    assert set(verdicts.values()) == {Verdict.passed}


def test_fractions_out_of_sampling_error_fail():
    verdicts = judged(fractions_claims(), sampled([[0.35, 0.9], [0.5, 0.9], [0.7, 0.9]]))
    assert set(verdicts.values()) == {Verdict.failed}


def test_fractions_of_more_seeds_tell_more():
    # Against an independent loop of 10,000 seeds.
    claims = [claim for claim in reinforce.REPRODUCTION.claims if claim.name.endswith("-loop")]
    assert len(claims) == 3
    expected = np.array([[reached / golden.LOOP_SEEDS, 1.0] for reached in golden.LOOP.values()])
    assert set(judged(claims, sampled(expected, seeds=1000)).values()) == {Verdict.passed}
    for wrong in ((0.08, 0.59, 0.86), (0.21, 0.74, 0.96)):
        verdicts = judged(claims, sampled([[fraction, 1.0] for fraction in wrong], seeds=1000))
        assert set(verdicts.values()) == {Verdict.failed}


def test_the_family_of_fractions_has_its_level():
    assert reinforce.LEVEL * (len(fractions_claims()) + 3) == pytest.approx(1e-3)


def test_quick_leaves_fractions_unchecked_and_says_so():
    for claim in fractions_claims():
        assert claim.judge(sampled(np.zeros((3, 2)), seeds=20), quick=True).verdict is Verdict.not_checked


def test_numbers_at_the_edge_of_the_tolerance():
    empty = xarray.Dataset()
    for found, verdict in ((0.5019, Verdict.passed), (0.5021, Verdict.failed), (math.nan, Verdict.failed)):
        assert Claim("v", "s", "p", number(lambda _, x=found: x, 0.5, 2e-3)).judge(empty).verdict is verdict
    for found, verdict in ((1004, Verdict.passed), (1006, Verdict.failed), (math.inf, Verdict.failed)):
        assert Claim("h", "s", "p", hitting_time(lambda _, x=found: x, 1000, 5e-3)).judge(empty).verdict is verdict
    for found, verdict in ((math.inf, Verdict.passed), (50_000, Verdict.failed), (math.nan, Verdict.failed)):
        assert Claim("h", "s", "p", hitting_time(lambda _, x=found: x, math.inf, 5e-3)).judge(empty).verdict is verdict


def test_a_check_that_raises_has_failed():
    def broken(_):
        raise KeyError("nothing there")

    finding = Claim("broken", "s", "p", broken).judge(xarray.Dataset())
    assert finding.verdict is Verdict.failed and "KeyError" in finding.measured
    assert Claim("m", "s", "p", measurement(lambda _: "1")).judge(xarray.Dataset()).verdict is Verdict.measured


def test_counts_as_printed():
    assert [count(value) for value in (math.inf, 10_690, 167.04)] == ["never", "10,690", "167.0"]


def test_registry_finds_every_file_once():
    known = reproduction.registry()
    assert {"controlled", "reinforce", "feature_similarity"} <= set(known)
    assert [one.order for one in known.values()] == sorted(one.order for one in known.values())
    for name, one in known.items():
        assert one.name == name and one.claims and one.title and one.summary


def test_claims_need_names_of_their_own():
    claim = Claim("twice", "s", "p", measurement(lambda _: ""))
    with pytest.raises(ValueError, match="twice"):
        dataclasses.replace(controlled.REPRODUCTION, claims=(claim, claim))
