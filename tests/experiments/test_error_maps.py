"""The maps of reward errors, small. Oracles: SciPy DOP853 at 1e-12, closed forms, theory C7, plain loops."""

import numpy as np
import pytest
from proxy_flows import failures, scipy_flow

import pgdyn
from experiments import error_confusion, error_maps, feature_similarity
from figures import error_maps as figure
from paper_repro.reproductions import error_confusion as confusion_claims
from paper_repro.reproductions import error_maps as map_claims
from paper_repro.reproductions import error_similarity as similarity_claims
from paper_repro.reproductions import error_single as single_claims
from pgdyn.errors.report import confusion_table

TRUTH = np.array([1, 0.8, -1, -1, -1])


def policy(best):
    return np.array([best, 0.5, *[(0.5 - best) / 3] * 3])


def scipy_time(start, proxy, t1, features=None):
    """Time to the true value .9 by DOP853; inf where not before t1."""
    return scipy_flow(start, TRUTH, proxy, np.array([0.0, t1]), 0.9, features)[1]


def with_mediocre(reward):
    return np.array([1, reward, -1, -1, -1])


@pytest.fixture(scope="module")
def small_map():
    return error_maps.probability_map([1e-3, 0.1, 0.15, 0.2], [-1.5, -1.0, -0.5, 0.0, 0.5, 0.75, 0.8, 0.85, 0.95])


@pytest.fixture(scope="module")
def small_similarity():
    return error_maps.similarity_map([-0.5, 0.2, 0.9], [-1.25, 0.0, 0.85], probability=0.1, t1=1e4)


@pytest.mark.parametrize(("best", "reward"), [(0.15, -1.0), (0.2, 0.5), (0.2, 0.95), (0.1, -1.5)])
def test_cells_of_the_probability_map(small_map, best, reward):
    """Oracle: SciPy DOP853."""
    cell = small_map.sel(probability=best, mediocre_reward=reward)
    time = scipy_time(np.log(policy(best)), with_mediocre(reward), 1e4)
    assert np.isfinite(time)
    assert float(cell["time"]) == pytest.approx(time, rel=1e-5)
    if best > 0.1:
        baseline = scipy_time(np.log(policy(best)), TRUTH, 1e4)
        assert float(cell["baseline_time"]) == pytest.approx(baseline, rel=1e-5)
        assert float(cell["speedup"]) == pytest.approx(baseline / time, rel=2e-5)


def test_no_error_is_no_speedup(small_map):
    np.testing.assert_allclose(small_map["speedup"].sel(mediocre_reward=0.8), 1, rtol=1e-12)
    assert np.isfinite(small_map["time"]).all() and small_map["time"].dims == ("probability", "mediocre_reward")


def test_the_borders_are_where_the_start_balances(small_map):
    """Oracle: advantages at the start, in NumPy."""
    for best, row in zip(
        small_map["probability"].values, small_map.transpose("probability", ...)["repelled"], strict=True
    ):
        proxy, start = with_mediocre(float(row)), policy(best)
        assert (proxy - start @ proxy)[1] == pytest.approx(0, abs=1e-14)
    for best, row in zip(small_map["probability"].values, small_map["unstalled"], strict=True):
        proxy, start = with_mediocre(float(row)), policy(best)
        pulls = start * (proxy - start @ proxy)
        assert pulls[0] == pytest.approx(pulls[1], abs=1e-14)


def test_law_is_the_corner_law(small_map):
    """Oracle: its leading order as p_0 -> 0, ((1 - r)/.2)^4 (1.8/(r + 1))^3; and the simulated map where y* is rare."""
    rare = error_maps.probability_map([1e-7], [-0.5, 0.0, 0.9], t1=1e40)
    r = rare["mediocre_reward"].values
    np.testing.assert_allclose(rare["law_speedup"][0], ((1 - r) / 0.2) ** 4 * (1.8 / (r + 1)) ** 3, rtol=1e-4)
    np.testing.assert_allclose(rare["law_speedup"], rare["speedup"], rtol=0.01)
    assert np.isnan(small_map["law_speedup"].sel(mediocre_reward=[-1.5, -1.0])).all()


def test_claims_on_the_probability_map(small_map):
    assert failures(map_claims.REPRODUCTION, small_map) == []
    reversed_ = small_map.assign(speedup=1 / small_map["speedup"])
    assert len(failures(map_claims.REPRODUCTION, reversed_)) == 3


@pytest.mark.parametrize(("cosine", "reward"), [(0.9, 0.0), (0.9, 0.85), (0.2, -1.25)])
def test_cells_of_the_similarity_map(small_similarity, cosine, reward):
    """Oracle: SciPy DOP853 on the linear policy."""
    features = feature_similarity.similar_features((cosine, np.sqrt(1 - cosine**2)))
    start = np.linalg.solve(features, np.log(policy(0.1)))
    cell = small_similarity.sel(mediocre_reward=reward).sel(inner_product=1.5 * cosine, method="nearest")
    time = scipy_time(start, with_mediocre(reward), 1e4, features)
    assert np.isfinite(time) and float(cell["time"]) == pytest.approx(time, rel=1e-5)


def test_no_arrival_is_infinite(small_similarity):
    left = small_similarity.isel(inner_product=0)
    assert np.isinf(left["baseline_time"]) and np.isinf(left["time"].sel(mediocre_reward=0.85))
    assert np.isnan(left["speedup"].sel(mediocre_reward=0.85)) and np.isposinf(
        left["speedup"].sel(mediocre_reward=-1.25)
    )


def test_claims_on_a_similarity_map():
    data = error_maps.similarity_map([-0.9, -0.3, -0.1, 0.2, 0.7, 0.9], [-1.25, 0.0, 0.8])
    assert failures(similarity_claims.REPRODUCTION, data) == []
    upside_down = data.assign(speedup=1 / data["speedup"], baseline_time=data["baseline_time"].clip(max=1e29))
    assert len(failures(similarity_claims.REPRODUCTION, upside_down)) == 4


def test_single_errors_are_those_of_the_table():
    """Golden: theory C7, through the claims."""
    values = np.unique([-1.5, -1.05, -0.95, 0.95, *(value for _, value, _ in error_maps.SINGLE_ERROR_TABLE)])
    data = error_maps.single_errors(values)
    assert failures(single_claims.REPRODUCTION, data) == []
    assert len(failures(single_claims.REPRODUCTION, data.assign(time=1.02 * data["time"]))) == 9
    np.testing.assert_allclose(data["time"].sel(output="bad"), data["time"].sel(output="bad (twin)"), rtol=1e-6)
    assert (data["mechanism"].sel(output="bad, rare", value=[-2, 2]) == "negligible probability").all()
    shown = figure.draw_single(data)
    shown.draw_without_rendering()
    assert {"never", "a bad output"} <= {text.get_text() for text in shown.axes[0].texts}


@pytest.fixture(scope="module")
def confusion():
    return error_confusion.run(600, seed=3)


def test_random_problems_are_what_they_say(confusion):
    start, truth, proxy = (confusion[name].values for name in ("initial_policy", "true_reward", "proxy_reward"))
    ordered = np.sort(truth, axis=1)
    np.testing.assert_allclose(start.sum(axis=1), 1)
    np.testing.assert_allclose(confusion["target"], ordered[:, -2:].mean(axis=1))
    assert ((start * truth).sum(axis=1) < confusion["target"].values).all()
    np.testing.assert_array_equal((truth != proxy).sum(axis=1), confusion["changed"])
    assert set(confusion["changed"].values) == {1, 2, 3}
    assert abs(truth).max() <= 1 and abs(proxy).max() <= 1
    one, again, other = (error_confusion.run(60, seed=seed) for seed in (3, 3, 4))
    assert again.equals(one) and not other.equals(one)


def test_confusion_counts_add_up(confusion):
    counts = confusion_table(confusion["mechanism"].values, confusion["category"].values)
    assert int(counts.to_numpy().sum()) == 600
    for mechanism, implied in counts.index:
        rows = confusion["mechanism"].values == mechanism
        assert counts.loc[(mechanism, implied)].sum() == rows.sum()
        assert set(confusion["mechanism_category"].values[rows]) <= {implied}


def test_hacking_is_told_by_a_loop(confusion):
    """Oracle: for single errors, the rule in words: not good, rated at least like the best, and not negligible."""
    single = np.flatnonzero(confusion["changed"].values == 1)
    found = 0
    for row in single:
        one = confusion.isel(problem=row)
        start, truth, proxy = (one[name].values for name in ("initial_policy", "true_reward", "proxy_reward"))
        y, best = int(np.argmax(truth != proxy)), int(truth.argmax())
        hacks = y != best and proxy[y] >= proxy[best] and start[y] > 1e-3 * start[best]
        if y != best:
            assert (str(one["mechanism"].values) == "reward hacking") == hacks
            found += hacks
    assert found > 20


def test_categories_are_those_of_single_flows(confusion):
    """Oracle: `pgdyn.flow`, another integrator, and the rule of the categories."""
    rows = np.flatnonzero(np.isfinite(confusion["speedup"].values))[:4]
    for row in rows:
        one = confusion.isel(problem=row)
        problem = pgdyn.Problem.tabular(one["initial_policy"].values, one["true_reward"].values)
        goal = float(one["target"])
        times = [
            float(pgdyn.flow(trained, 1e6, target=goal, saves=2).hitting_time)
            for trained in (problem, problem.with_proxy(one["proxy_reward"].values))
        ]
        ratio = times[0] / times[1]
        assert float(one["speedup"]) == pytest.approx(ratio, rel=1e-4)
        expected = "beneficial" if ratio > 1.01 else "harmful" if ratio < 1 / 1.01 else "benign"
        assert str(one["category"].values) == expected


def test_flows_that_break_off_decide_nothing(confusion):
    """Oracle: with a step budget too small for any flow no category is known; with enough for some, theirs is right."""
    none = error_confusion.run(50, seed=3, max_steps=1)
    assert (none["category"] == "undecided").all() and np.isnan(none["speedup"]).all()
    some = error_confusion.run(600, seed=3, max_steps=60)
    known = some["category"].values != "undecided"
    assert 0 < known.sum() < 600
    np.testing.assert_array_equal(some["category"].values[known], confusion["category"].values[known])


def test_claims_on_the_confusion():
    data = error_confusion.run(3000)
    assert failures(confusion_claims.REPRODUCTION, data) == []
    swapped = {"harmful": "beneficial", "beneficial": "harmful", "benign": "benign"}
    mirrored = np.array([swapped[name] for name in data["category"].values], dtype=object)
    assert len(failures(confusion_claims.REPRODUCTION, data.assign(category=("problem", mirrored)))) == 3
    early = data.assign(predicted=("problem", np.where(np.arange(3000) < 6, mirrored, data["predicted"].values)))
    assert failures(confusion_claims.REPRODUCTION, early) == ["exact"]


@pytest.mark.parametrize(
    ("sentence", "call"),
    [
        ("probabilities", lambda: error_maps.probability_map([0.1, 0.6])),
        ("probabilities", lambda: error_maps.probability_map(1)),
        ("rewards", lambda: error_maps.probability_map(3, [0.0, np.nan])),
        ("cosines", lambda: error_maps.similarity_map([1.0])),
        ("values", lambda: error_maps.single_errors(0)),
        ("count", lambda: error_confusion.run(0)),
        ("outputs", lambda: error_confusion.run(10, outputs=2)),
    ],
)
def test_refusals(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()
