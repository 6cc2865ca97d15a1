"""One error of each type of the paper's table. Oracles: SciPy DOP853, theory C7."""

import numpy as np
import pytest
from proxy_flows import failures, scipy_flow

from experiments import error_types
from paper_repro.reproductions import error_types as type_claims


@pytest.fixture(scope="module")
def types():
    return error_types.run(t1=1e4, saves=60)


def test_every_claim_on_the_types_holds_and_can_fail(types):
    assert failures(type_claims.REPRODUCTION, types) == []
    benign = types.assign(
        category=types["category"].copy(data=np.full(5, "benign", dtype=object)),
        other_category=types["other_category"].copy(data=np.full(5, "benign", dtype=object)),
    )
    expected = {"reward-hacking", "stalling", "escapes-mediocrity", "hacking-and-negligible-stay", "never-attracts"}
    assert set(failures(type_claims.REPRODUCTION, benign)) == {
        *expected, "a-competing-mediocre-output-turns-two-types",
    }  # fmt: skip


@pytest.mark.parametrize("name", [one.name for one in error_types.TYPES])
def test_paths_and_times(types, name):
    """Oracle: SciPy DOP853, on both rewards."""
    one = types.sel(type=name)
    start, truth = one["initial_probability"].values, one["true_reward"].values
    times = types["time"].values[:42]  # to about t = 600
    for reward, trained in (("ground truth", truth), ("proxy", one["proxy_reward"].values)):
        run = one.sel(training_reward=reward)
        policies, hit = scipy_flow(np.log(start), truth, trained, times, 0.9)
        np.testing.assert_allclose(np.exp(run["log_policy"].values[:42]), policies, atol=1e-7)
        np.testing.assert_allclose(run["true_value"].values[:42], policies @ truth, atol=1e-7)
        if np.isfinite(hit):
            assert float(run["hitting_time"]) == pytest.approx(hit, rel=1e-6)
        else:
            assert float(run["hitting_time"]) > times[-1]
    both = one["hitting_time"].values
    assert float(one["speedup"]) == pytest.approx(both[0] / both[1] if np.isfinite(both[1]) else 0.0)


def test_the_other_setting_is_theory_s_table(types):
    """Golden: theory C7, baseline 4821, bad -> .8: 272, bad -> -2: 7388, rare bad -> 1.5: 4821."""
    names = ["stalling", "never attracts", "negligible probability", "reward hacking"]
    found = types["other_speedup"].sel(type=names).values
    np.testing.assert_allclose(found, [4821 / 272.24, 4821 / 7388, 1, 0], rtol=1e-3)
    assert float(types["hitting_time"].sel(type="escapes mediocrity", training_reward="ground truth")) == pytest.approx(
        4821, abs=0.5
    )
    assert types["other_category"].sel(type="escapes mediocrity") == ""


def test_errors_are_on_one_output(types):
    wrong = types["true_reward"].values != types["proxy_reward"].values
    np.testing.assert_array_equal(wrong.sum(axis=1), 1)
    np.testing.assert_array_equal(wrong.argmax(axis=1), types["changed_output"])


@pytest.mark.parametrize(
    ("sentence", "call"),
    [("types is empty", lambda: error_types.run(())), ("rare", lambda: error_types.run(rare=0.0))],
)
def test_refusals(sentence, call):
    with pytest.raises(ValueError, match=sentence):
        call()
