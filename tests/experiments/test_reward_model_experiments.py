"""Studies of reward models at a small size. Oracles: `pgdyn.metrics` one by one, exact ascent, and claims that must
fail."""

import numpy as np
import pytest
import xarray
from proxy_flows import failures

import pgdyn
from experiments import (
    averaged_judges,
    factor_scales,
    label_noise,
    metric_study,
    reward_distances,
    reward_models,
    teachers,
    user_logs,
)
from figures import averaged_judges as judge_figure
from figures import factor_scales as factor_figure
from figures import label_noise as label_figure
from figures import metric_study as study_figure
from figures import reward_distances as distance_figure
from figures import teachers as teacher_figure
from figures import user_logs as log_figure
from paper_repro.reproductions import averaged_judges as judge_claims
from paper_repro.reproductions import factor_scales as factor_claims
from paper_repro.reproductions import label_noise as label_claims
from paper_repro.reproductions import metric_study as study_claims
from paper_repro.reproductions import reward_distances as distance_claims
from paper_repro.reproductions import teachers as teacher_claims
from paper_repro.reproductions import user_logs as log_claims
from pgdyn import metrics
from pgdyn.io import datasets
from pgdyn.metrics import distance


@pytest.fixture(scope="module")
def study():
    return metric_study.run(
        12, prompts=6, policies=["heavy-tailed"], truths=["plateau"], families=["noise", "fitted, features"],
        sampled=3, steps=300, resamples=30,
    )  # fmt: skip


def test_study_holds_what_its_figure_and_claims_need(study):
    assert study["outcome"].shape == (1, 1, 2, 12) and study["metric_value"].shape[-1] == len(metric_study.METRICS)
    assert np.all(np.isfinite(study["outcome"])) and float(study["outcome"].max()) <= 1 + 1e-9
    assert np.all(study["low"] <= study["mean_spearman"] + 0.2) and np.all(study["low"] <= study["high"])
    figure = study_figure.draw(study)
    assert len(figure.axes) == 3


def test_metrics_of_the_study_are_those_of_the_library():
    """Oracle: `metrics.exact` and `distance.epic` for single models."""
    rng = np.random.default_rng(0)
    truth = reward_models.truth_of("plateau, graded", 5, 8, rng)
    scores = reward_models.population("noise on bad", truth, 3, rng)
    policy = reward_models.start_of("sequences", 5, 8, rng).policy
    found = metric_study.full_metrics(truth, scores, policy)
    for row, one in zip(found, scores, strict=True):
        exact = metrics.exact(pgdyn.Problem.tabular(policy, truth, one))
        names = ("accuracy", "harm_aware_accuracy", "weighted_accuracy", "weighted_harm_aware_accuracy")
        assert row[:4] == pytest.approx([exact[name] for name in names], rel=1e-9)
        assert -row[4] == pytest.approx(distance.epic(truth, one), rel=1e-9)
        assert -row[5] == pytest.approx(distance.epic(truth, one, policy=policy), rel=1e-9)


@pytest.mark.parametrize("name", reward_models.POLICIES)
def test_starts(name):
    """Oracle: the library's policy and returns of whole outputs for the same problem."""
    rng = np.random.default_rng(0)
    start = reward_models.start_of(name, 2, 4, rng)
    truth = rng.normal(size=(2, 4))
    problem = start.problem(truth, truth)
    found = pgdyn.mdp.leaves(problem)
    np.testing.assert_allclose(np.exp(found.log_policy).reshape(2, 4), start.policy, atol=1e-12)
    np.testing.assert_allclose(np.asarray(found.true_return).reshape(2, 4), truth, atol=1e-12)


def test_rloo_climbs_as_far_as_exact_gradients_do():
    """Oracle: exact ascent in NumPy; many small steps, whitened rewards of unit variance."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(6, 8))
    policy = rng.dirichlet(np.ones(8), 6)
    start = reward_models.Start(np.log(policy), policy)
    scores = metric_study.standardised(truth[None], policy)
    # Of the size of the study above, whose program this is.
    found = metric_study.by_rloo(start, truth, np.repeat(scores, 16, axis=0), 300, 60.0, seed=0)
    assert np.unique(found).size == 16
    logits = np.log(policy).copy()
    for _ in range(300):
        pi = np.exp(logits - logits.max(1, keepdims=True))
        pi /= pi.sum(1, keepdims=True)
        reward = scores[0] - 0.01 * (np.log(pi) - np.log(policy))
        logits += 60.0 / 300 / 6 * pi * (reward - np.sum(pi * reward, axis=1, keepdims=True))
    first, best = np.mean(np.sum(policy * truth, axis=1)), np.mean(truth.max(axis=1))
    want = (np.mean(np.sum(pi * truth, axis=1)) - first) / (best - first)
    # Whitening keeps rewards at unit size as the policy sharpens, so that RLOO is somewhat ahead of plain ascent.
    assert want - 0.03 < found.mean() < want + 0.25


def test_distances():
    dataset = reward_distances.run(40, proxies=100, bandits=200, t1=1e6)
    assert failures(distance_claims.REPRODUCTION, dataset) == []
    turned = dataset.assign(
        hitting_time=dataset["hitting_time"][[1, 0, *range(2, 103)]], bandit_regret=dataset["bandit_regret"] / 2
    )
    assert {"time-under-the-truth", "near-and-harmful-far-and-helpful", "starc-bounds-regret"} <= set(
        failures(distance_claims.REPRODUCTION, turned)
    )
    assert len(distance_figure.draw(dataset).axes) == 3


def test_label_noise():
    dataset = label_noise.run(2, widths=5)
    assert failures(label_claims.REPRODUCTION, dataset) == []
    swapped = dataset.assign(
        rank_correlation=dataset["rank_correlation"][::-1].assign_coords(benchmark=["noisy", "clean"]),
        fused_value=dataset["fused_value"].sortby(dataset["fused_value"].mean("seed")),
    )
    swapped["fifth_accuracy"] = dataset["fifth_accuracy"].isel(fifth=slice(None, None, -1)).assign_coords(
        fifth=dataset["fifth"]
    )  # fmt: skip
    refuted = {"clean-benchmarks-rank-better", "fits-to-fifths-by-strength"}
    assert refuted <= set(failures(label_claims.REPRODUCTION, swapped))
    assert len(label_figure.draw(dataset).axes) == 4


def test_averaged_judges():
    """Oracle: the law of the judges, which the claims hold; without noise it is all one how many are averaged."""
    dataset = averaged_judges.run(20)
    assert failures(judge_claims.REPRODUCTION, dataset) == []
    gain = dataset["true_gain"]
    turned = dataset.assign(true_gain=gain.copy(data=gain.values[:, ::-1]), accuracy=dataset["accuracy"] - 0.05)
    refuted = {"drawn-judges-follow-the-law", "noise-is-no-teacher"}
    assert refuted <= set(failures(judge_claims.REPRODUCTION, turned))
    same = averaged_judges.run(1, samples=[1, 4], noise=0.0, floor=0.0)
    assert np.all(same["accuracy"] == 1) and np.ptp(same["true_gain"].values, axis=2).max() < 1e-12
    assert len(judge_figure.draw(dataset).axes) == 3


def test_factors_of_other_units():
    dataset = factor_scales.run(8, scales=5)
    assert failures(factor_claims.REPRODUCTION, dataset) == []
    swapped = dataset.assign_coords(way=["weighted sum", "hierarchy"])
    assert {"weighted-sums-see-units", "who-wins-where"} <= set(failures(factor_claims.REPRODUCTION, swapped))
    assert len(factor_figure.draw(dataset).axes) == 1


def test_logs_of_users():
    dataset = user_logs.run(15, sizes=[20, 200, 2000])
    assert failures(log_claims.REPRODUCTION, dataset) == []
    error = dataset["error"].copy(data=dataset["error"].values[:, ::-1])
    blind = dataset.assign(error=error, values=dataset["naive_values"], best=0 * dataset["best"])
    refuted = {"choice-reverses-a-ranking", "no-estimator-dominates", "confounded-logs-do-not-improve"}
    assert refuted <= set(failures(log_claims.REPRODUCTION, blind))
    assert len(log_figure.draw(dataset).axes) == 4


def test_claims_of_the_study_can_fail():
    """A data set in which nothing foretells anything contradicts what is claimed."""
    metric, predictor = list(metric_study.METRICS), [*metric_study.METRICS, *metric_study.FORECASTS]
    policy, truth, family = ["flat"], list(reward_models.TRUTHS), list(reward_models.FAMILIES)
    zeros = {
        "pooled": (("policy", "truth", "metric"), np.zeros((1, 5, len(metric)))),
        "spearman_rloo": (("policy", "truth", "predictor"), np.zeros((1, 5, len(predictor)))),
        "advantage_by_truth": (("truth", "end"), np.full((5, 3), 0.05)),
        "mean_spearman": (("family", "metric"), np.ones((8, len(metric)))),
        "subsample": (("policy", "truth", "draw", "metric"), np.ones((1, 5, 2, len(metric)))),
    }
    zeros["advantage_by_truth"] = (("truth", "end"), np.array([[0.05] * 3] * 3 + [[0.0] * 3] * 2))
    coords = {"policy": policy, "truth": truth, "family": family, "metric": metric, "predictor": predictor}
    dataset = xarray.Dataset(zeros, {**coords, "end": ["low", "mean", "high"]})
    measured = {"where-hacc-beats-acc", "regret-of-selection"}
    assert (
        set(failures(study_claims.REPRODUCTION, dataset))
        >= {claim.name for claim in study_claims.REPRODUCTION.claims} - measured
    )


def test_datasets_are_saved_without_a_warning(study, tmp_path):
    datasets.save(study, tmp_path / "study.zarr")
    again = datasets.load(tmp_path / "study.zarr")
    assert again["family"].values.tolist() == study["family"].values.tolist()


def test_teachers():
    """Oracle: the variance of the library; the gains of the ground truth's flow by exact ascent in small steps."""
    dataset = teachers.run(3, prompts=24, pairs=300)
    assert set(failures(teacher_claims.REPRODUCTION, dataset)) <= {
        "variance-foretells-the-rise-of-the-proxy",
        "variance-foretells-the-rise-under-rloo",
    }
    # Oracle of the sampled runs: the flow of as long a time, but for the KL and the noise of 24 prompts.
    gap = dataset["rloo_true_gain"] - dataset["true_gain"].isel(time=1)
    assert abs(float(gap.mean())) < 0.05 and float(gap.std()) < 0.1
    assert np.all(dataset["on_policy_accuracy"].sel(teacher="ground truth") == 1)
    gain = dataset["true_gain"].sel(teacher="ground truth").values
    assert np.all(np.diff(gain, axis=1) > 0) and np.all(gain < 1)
    swapped = dataset.assign(
        on_policy_accuracy=dataset["off_policy_accuracy"], off_policy_accuracy=dataset["on_policy_accuracy"]
    )
    assert "accuracy-is-where-the-pairs-are" in failures(teacher_claims.REPRODUCTION, swapped)
    assert len(teacher_figure.draw(dataset).axes) == 3
