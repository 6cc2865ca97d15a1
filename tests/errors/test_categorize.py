"""Categories against theory C7 (docs/theory.md), against flows one by one, and against the rules in a loop."""

import dataclasses

import numpy as np
import oracles
import pytest
import xarray
from compilations import Compilations
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_setting

import pgdyn
from pgdyn.errors.categories import classify, compare_times
from pgdyn.errors.categorize import categorize, compare
from pgdyn.errors.mechanism import PREDICTED
from pgdyn.io import datasets

_RARE = 1e-8
TRUTH = (1, 0.8, -1, -1, -1)

# theory C7: output, new proxy reward, T(.9) as printed there, category; the mechanism is the module's.
SINGLE_ERRORS = [
    (2, 1.5, np.inf, "harmful", "reward hacking"),
    (2, 1.0, np.inf, "harmful", "reward hacking"),
    (4, 1.5, 4821, "benign", "negligible probability"),
    (2, -0.5, 3538, "beneficial", "never attracts"),
    (2, -2.0, 7388, "harmful", "never attracts"),
    (2, 0.8, 272, "beneficial", "stalling"),
    (1, 0.9, 41250, "harmful", "stalling"),
    (1, 0.5, 262, "beneficial", "none"),
    (1, -1.0, 15.5, "beneficial", "escapes mediocrity"),
    (0, 0.85, 2.9e5, "harmful", "none"),
    (0, 2.0, 41, "beneficial", "none"),
]


def with_rare_output():
    policy = [0.05, 0.5, (0.45 - _RARE) / 2, (0.45 - _RARE) / 2, _RARE]
    return pgdyn.Problem.tabular(policy, TRUTH)


@pytest.fixture(scope="module")
def table():
    proxies = np.tile(np.array(TRUTH), (len(SINGLE_ERRORS), 1))
    for row, (output, value, *_) in enumerate(SINGLE_ERRORS):
        proxies[row, output] = value
    return categorize(with_rare_output(), proxies, t1=1e7, target=0.9)


def test_table_of_single_errors(table):
    """Golden: theory C7, to the digits printed there."""
    assert table.baseline_time == pytest.approx(4821, abs=0.5)
    for row, (output, value, time, category, mechanism) in enumerate(SINGLE_ERRORS):
        place = f"output {output} -> {value}"
        if time == 41250:
            # Printed to four digits and rounded down: the flow gives 41251.36.
            assert table.times[row] == pytest.approx(41251.36, abs=0.05), place
        elif np.isfinite(time):
            digits = {272: 0.5, 262: 1.0, 15.5: 0.05, 41: 0.5, 2.9e5: 5e3}.get(time, 0.5)
            assert table.times[row] == pytest.approx(time, abs=digits), place
        else:
            assert table.times[row] == np.inf, place
        assert (table.category[row], table.mechanism[row]) == (category, mechanism), place
        assert table.mechanism_category[row] == PREDICTED[mechanism], place
    # The exact times foretell them all, where the mechanism tells some.
    assert table.predicted.tolist() == table.category.tolist() and set(table.predicted_by) == {"exact"}
    np.testing.assert_allclose(table.predicted_speedup, table.speedup, rtol=2e-5)
    assert table.agreement == 1.0 and table.majority == ("harmful", 5 / 11)


def test_confusion_counts_every_error_once(table):
    counts = table.confusion()
    assert int(counts.to_numpy().sum()) == len(SINGLE_ERRORS)
    assert counts.loc[("reward hacking", "harmful"), "harmful"] == 2
    assert counts.loc[("never attracts", "benign"), "beneficial"] == 1
    right = sum(category == PREDICTED[mechanism] for *_, category, mechanism in SINGLE_ERRORS)
    assert table.mechanism_agreement == right / len(SINGLE_ERRORS)


def test_dataset_reads_back_equal(table, tmp_path):
    dataset = table.to_dataset()
    datasets.save(dataset, tmp_path / "report.zarr")
    xarray.testing.assert_identical(datasets.load(tmp_path / "report.zarr"), dataset)
    assert dataset["category"].values.tolist() == table.category.tolist()
    assert dataset.attrs["settings"]["target"] == 0.9
    # What made it is what the flows were run with.
    assert dataset.attrs["dynamics"] == "flow"
    made = {name: dataset.attrs["settings"][name] for name in ("t1", "rtol", "atol", "tolerance", "max_steps")}
    assert made == {"t1": 1e7, "rtol": 1e-6, "atol": 1e-9, "tolerance": 0.01, "max_steps": 65536}
    assert table.flow == pgdyn.Flow(t1=1e7, target=0.9, rtol=1e-6, atol=1e-9)


def test_a_report_is_frozen(table):
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.category = table.predicted


@pytest.mark.parametrize("shape", [(1, 5, None), (3, 5, 4)])
def test_equal_to_flows_one_by_one(shape):
    """Oracle: `pgdyn.flow` on each proxy at 1e-10, and the rules of the module in a loop."""
    setting = make_setting(11, shape)
    problem = setting.problem()
    truth = setting.true_reward
    proxies = truth + np.random.default_rng(5).normal(size=(6, *truth.shape))
    start = oracles.value(setting, setting.start, truth)
    best = float(setting.prompt_weights @ truth.max(1))
    target, t1 = start + 0.6 * (best - start), 200.0
    report = categorize(problem, proxies, t1=t1, target=target, tolerance=0.05)

    def run(proxy):
        path = pgdyn.flow(problem.with_proxy(proxy), t1, target=target, saves=2, rtol=1e-10, atol=1e-12)
        return float(path.hitting_time), float(path.true_value[-1])

    time, value = run(truth)
    assert report.baseline_time == pytest.approx(time, rel=1e-5) and report.baseline_value == pytest.approx(value)
    for i, proxy in enumerate(proxies):
        own_time, own_value = run(proxy)
        assert report.times[i] == pytest.approx(own_time, rel=1e-5)
        assert report.values[i] == pytest.approx(own_value, abs=1e-5)
        assert report.category[i] == rule(time, own_time, value, own_value, 0.05, np.ptp(truth))
    if problem.features is None:
        assert report.predicted.tolist() == report.category.tolist()
        assert set(report.predicted_by) == {"exact"}
    else:
        # Features of no exact solution: the mechanism tells what it implies, and no speed-up.
        assert report.predicted.tolist() == report.mechanism_category.tolist()
        assert set(report.predicted_by) == {"mechanism"} and np.isnan(report.predicted_speedup).all()


def rule(baseline, time, baseline_value, value, tolerance, width):
    if np.isinf(baseline) and np.isinf(time) or baseline == time == 0:
        ahead, behind = (value - baseline_value) / width, (baseline_value - value) / width
    elif np.isinf(time) or np.isinf(baseline):
        ahead, behind = (np.inf, -np.inf) if np.isinf(baseline) else (-np.inf, np.inf)
    else:
        ahead, behind = (baseline / time - 1, time / baseline - 1)
    return "beneficial" if ahead > tolerance else "harmful" if behind > tolerance else "benign"


@given(seed=st.integers(0, 2**32 - 1))
def test_rules(seed):
    """Every combination of arriving or not, near and far, against the rules one at a time."""
    rng = np.random.default_rng(seed)
    baseline = rng.choice([2.0, np.inf, 0.0])
    times = np.array([0.0]) if baseline == 0 else rng.choice([1.0, 1.99, 2.0, 2.01, 3.0, np.inf], 8)
    value, values = 0.0, rng.choice([-1.0, -0.01, 0.0, 0.01, 1.0], len(times))
    found = classify(np.asarray(baseline), times, np.asarray(value), values, 0.02, 2.0)
    assert found.tolist() == [rule(baseline, t, value, v, 0.02, 2.0) for t, v in zip(times, values, strict=True)]


def test_speedups_at_the_ends():
    inf, nan = np.inf, np.nan
    np.testing.assert_array_equal(compare_times(np.array(2.0), np.array([1.0, inf])), [2.0, 0.0])
    np.testing.assert_array_equal(compare_times(np.array(inf), np.array([1.0, inf])), [inf, nan])
    np.testing.assert_array_equal(compare_times(np.array(0.0), np.array([0.0])), [nan])


@pytest.mark.parametrize("tolerance", [0.01, 0.5])
def test_borders_of_the_categories(paper_problem, tolerance):
    """Oracle: theory A9: on c times the truth the flow is c times faster, so T_0 / T = c."""
    border = 1 + tolerance
    scales = np.array([1.002 * border, 0.998 * border, 1.0, 1.002 / border, 0.998 / border])
    report = categorize(
        paper_problem, scales[:, None] * np.array(TRUTH), t1=1e6, target=0.9, tolerance=tolerance, rtol=1e-8
    )
    np.testing.assert_allclose(report.speedup, scales, rtol=1e-5)
    assert report.category.tolist() == ["beneficial", "benign", "benign", "benign", "harmful"]


@pytest.mark.parametrize("unit", [1.0, 8.0])
def test_values_are_compared_in_units_of_the_range(unit):
    """Where neither arrives the border is delta times the range, 2 units, whatever the unit."""
    problem = pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], unit * np.array(TRUTH))
    proxies = unit * np.array([0.5, 2.0])[:, None] * np.array(TRUTH)
    arguments = {"t1": 1.0 / unit, "target": 0.9 * unit}
    report = categorize(problem, proxies, **arguments)
    assert np.isinf(report.times).all() and np.isinf(report.baseline_time)
    change = (report.values - report.baseline_value) / (2 * unit)
    assert change[0] < 0 < change[1]
    for distance, verdicts in ((1.05, ["benign", "benign"]), (0.95, ["harmful", "beneficial"])):
        for row, verdict in enumerate(verdicts):
            border = distance * abs(change[row])
            again = categorize(problem, proxies, tolerance=border, **arguments)
            assert again.category[row] == again.predicted[row] == verdict
            assert np.isnan(again.predicted_speedup).all()


def test_a_broken_flow_leaves_its_category_open():
    report = categorize(with_rare_output(), [TRUTH, (1, 0.8, -1, -1, -0.5)], t1=1e7, target=0.9, max_steps=25)
    assert report.category.tolist() == ["undecided", "undecided"]
    # What is predicted needs no flow.
    assert report.predicted.tolist() == ["benign", "benign"] and set(report.predicted_by) == {"exact"}
    assert "undecided" in report.confusion().columns and np.isnan(report.agreement)


@pytest.mark.parametrize("max_steps", [30, 60])
def test_a_broken_baseline_leaves_decided_what_is_known(paper_problem, max_steps):
    """The ground truth arrives at 33,565, in more steps than there are; Oracle: the same with enough steps.

    One proxy arrives at 16.7, where the ground truth has not. Another, of small scale, arrives at 41,751 in few steps:
    as the ground truth broke off earlier, nobody can say which of the two came first. With 30 steps the flows on both
    proxies break off as well, after they arrived.
    """
    fast, slow = np.array([1.0, -1, -1, -1, -1]), 4e-4 * np.array([1.0, -1, -1, -1, -1])
    report = categorize(paper_problem, [fast, slow, TRUTH], t1=1e7, target=0.9, max_steps=max_steps)
    assert report.baseline.result[0] == pgdyn.Result.step_budget_spent and np.isinf(report.baseline_time)
    np.testing.assert_allclose(report.times, [16.7001804, 41750.451, np.inf], rtol=1e-5)
    assert report.category.tolist() == ["beneficial", "undecided", "undecided"]
    enough = categorize(paper_problem, [fast, slow, TRUTH], t1=1e7, target=0.9)
    assert enough.category.tolist() == ["beneficial", "harmful", "benign"]


def test_a_broken_flow_that_starts_at_the_target_has_no_category(paper_problem):
    """Values at t1 decide there, and a flow that broke off has none."""
    report = categorize(paper_problem, [(1, -1, -1, -1, -1)], t1=1e7, target=-0.5, max_steps=10)
    assert report.times.tolist() == [0.0] and report.category.tolist() == ["undecided"]
    assert categorize(paper_problem, [(1, -1, -1, -1, -1)], t1=1e7, target=-0.5).category.tolist() == ["benign"]


def test_flows_are_compared_whatever_ran_them(paper_problem):
    """`compare` on ends of a batch, single runs with their path, and ascent. Oracle: theory C7, the paper's runs."""
    problem = with_rare_output()
    proxy = problem.with_proxy((1, -1, -1, -1, -1))
    both = pgdyn.stack([problem, proxy])
    ends = pgdyn.flow_many(both, 1e7, target=0.9)
    paths = [pgdyn.flow(one, 1e7, target=0.9, saves=2) for one in both]
    np.testing.assert_allclose(compare(paths[0], ends).speedup, [1.0, 4821 / 15.5], rtol=5e-3)
    assert compare(*paths).category == "beneficial"
    pair = (paper_problem, paper_problem.with_proxy((1, -1, -1, -1, -1)))
    updates = [pgdyn.ascend(one, 1000, target=0.9) for one in pair]
    assert compare(*updates).category == "beneficial" and compare(*reversed(updates)).category == "harmful"


def test_a_broken_flow_is_not_one_that_never_arrives(paper_problem):
    """Of a batch of pairs; one flow of the second pair breaks off, and one of the third."""
    slow, fast = paper_problem, paper_problem.with_proxy((1, -1, -1, -1, -1))
    base, found = pgdyn.stack([fast, slow, fast]), pgdyn.stack([fast, fast, slow])
    results = [pgdyn.flow_many(batch, 1e7, target=0.9, max_steps=60) for batch in (base, found)]
    assert compare(*results).category.tolist() == ["benign", "undecided", "undecided"]
    # One that arrives first and breaks off later has told all that is asked.
    arrived = pgdyn.flow_many(pgdyn.stack([fast]), 1e7, target=0.9, max_steps=30)
    assert arrived.result[0] == pgdyn.Result.step_budget_spent
    assert compare(arrived, arrived).category.tolist() == ["benign"]


def test_other_settings_of_the_flow(paper_problem):
    """Oracle: theory A7, the natural gradient flow pi_t ~ pi_0 e^{t r} on (1, -1, -1, -1, -1)."""
    report = categorize(paper_problem, [(1, -1, -1, -1, -1)], t1=50.0, target=0.9, geometry="natural", rtol=1e-9)
    policy, reward = np.array([0.05, 0.5, 0.15, 0.15, 0.15]), np.array([1.0, -1, -1, -1, -1])
    weights = policy * np.exp(report.times[0] * reward)
    assert weights @ np.array(TRUTH) / weights.sum() == pytest.approx(0.9, abs=1e-7)
    assert report.to_dataset().attrs["settings"]["geometry"] == "natural"
    assert report.predicted_by.tolist() == ["mechanism"]


def test_another_number_of_proxies_compiles_nothing(paper_problem):
    rng = np.random.default_rng(0)
    proxies = rng.normal(size=(40, 5))
    found = categorize(paper_problem, proxies, t1=10.0, target=0.9)
    with Compilations() as made:
        for count in (1, 2, 17, 39):
            report = categorize(paper_problem, proxies[:count], t1=10.0, target=0.9)
            np.testing.assert_array_equal(report.mechanism, found.mechanism[:count])
            np.testing.assert_allclose(report.values, found.values[:count], rtol=1e-12)
    assert made.count == 0


def test_one_row_serves_every_prompt():
    problem = make_setting(11, (3, 5, 4)).problem()
    rows = np.random.default_rng(0).normal(size=(2, 5))
    short = categorize(problem, rows, t1=10.0, target=0.5)
    full = categorize(problem, np.tile(rows[:, None], (1, 3, 1)), t1=10.0, target=0.5)
    np.testing.assert_array_equal(short.values, full.values)


@pytest.mark.parametrize(
    ("sentence", "options"),
    [
        ("proxy_rewards has shape (2, 4); it must be [M, 5]", {"proxy_rewards": np.zeros((2, 4))}),
        ("proxy_rewards[1, 0, 2] is nan", {"proxy_rewards": [[0] * 5, [0, 0, np.nan, 0, 0]]}),
        ("proxy_rewards has shape (5,)", {"proxy_rewards": np.zeros(5)}),
        ("proxy_rewards is empty", {"proxy_rewards": np.zeros((0, 5))}),
        ("t1 is 0; it must be positive", {"t1": 0.0}),
        ("target is nan", {"target": np.nan}),
        ("tolerance is -1", {"tolerance": -1}),
        ("stop_at_target is True; categorize compares true values at t1", {"stop_at_target": True}),
        ("t1 must be a single number", {"t1": [1.0, 2.0]}),
        ("rtol is 0; it must be positive", {"rtol": 0.0}),
    ],
)
def test_refusals(paper_problem, sentence, options):
    arguments = {"proxy_rewards": [TRUTH], "t1": 10.0, "target": 0.9, **options}
    with pytest.raises(ValueError) as caught:
        categorize(paper_problem, arguments.pop("proxy_rewards"), **arguments)
    assert sentence in str(caught.value) and "\n" not in str(caught.value)


def test_a_batch_is_refused(paper_problem):
    with pytest.raises(ValueError, match="batch"):
        categorize(pgdyn.stack([paper_problem] * 2), [TRUTH], t1=10.0, target=0.9)
