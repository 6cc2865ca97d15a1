"""The table of predictions, small: families as they say, ways of telling by hand, claims that can fail."""

import numpy as np
import pytest
from proxy_flows import failures

from experiments import prediction_table as table
from figures import prediction_table as figure
from paper_repro.reproductions import prediction_table as claims


@pytest.fixture(scope="module")
def data():
    return table.run(150, families=["mediocre trap", "binary, swapped"])


def test_the_claims_hold_and_can_fail(data):
    assert failures(claims.REPRODUCTION, data) == []
    worse = data.assign(share=data["share"].where(data["way"] != "exact", 0.99))
    assert failures(claims.REPRODUCTION, worse) == ["covered"]
    worse = data.assign(share=data["share"].where(data["way"] != "exact", 0.3), covered=data["covered"] & False)
    assert failures(claims.REPRODUCTION, worse) == ["beats-the-others"]
    assert (data["decided"] == 150).all()


@pytest.mark.parametrize("name", list(table.FAMILIES))
def test_families_are_problems_below_their_targets(name):
    family = table.FAMILIES[name](200, np.random.default_rng(1))
    np.testing.assert_allclose(family.policy.sum(axis=1), 1)
    value = (family.policy * family.truth).sum(axis=1)
    assert ((value < family.target) & (family.target <= family.truth.max(axis=1))).all()
    assert (family.truth != family.proxy).any(axis=1).mean() > 0.5
    assert np.isfinite(family.proxy).all() and (family.policy > 0).all()


def test_features_miss_their_form_as_little_as_they_say():
    """Oracle: the entries that are added, and the start, which features must leave what it is."""
    family = table.near(0.01)(50, np.random.default_rng(2))
    gram = np.einsum("nkd,nld->nkl", family.features, family.features)
    off = np.abs(gram - np.eye(5) * gram).max(axis=(1, 2)) / gram.max(axis=(1, 2))
    assert 0.001 < np.median(off) < 0.02
    batch = table.problems(family)
    logits = np.einsum("npkd,nd->nk", batch.features, batch.initial_params)
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), family.policy, rtol=1e-9)
    gains = np.einsum("nkd,nkd->nk", *[table.fitted(family, gram.diagonal(axis1=1, axis2=2)).features[:, 0]] * 2)
    np.testing.assert_allclose(gains, gram.diagonal(axis1=1, axis2=2), rtol=1e-12)


def test_slopes_at_the_start_are_differences():
    """Oracle: the true value after a small step of the policy gradient."""
    family = table.near(0.2)(20, np.random.default_rng(3))

    def gain(reward, step=1e-5):
        policy = family.policy
        push = policy * (reward - (policy * reward).sum(1, keepdims=True))
        moved = np.einsum("nkd,nld,nl->nk", family.features, family.features, push)
        logits = np.log(policy) + step * moved
        after = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return ((after - policy) * family.truth).sum(1) / step

    ratio = gain(family.proxy) / gain(family.truth)
    told = np.select([ratio > 1.01, (ratio < 1 / 1.01)], ["beneficial", "harmful"], "benign")
    assert table.by_slope(family, 0.01).tolist() == told.tolist()


def test_the_figure_labels_every_family(data):
    drawn = figure.draw(data)
    drawn.draw_without_rendering()
    assert [text.get_text() for text in drawn.axes[0].get_yticklabels()] == data["family"].values.tolist()
