"""REINFORCE's escape. Oracles: SciPy's inverse gamma law, one update's expectation, runs pooled over problems."""

import jax
import numpy as np
import pytest
from claims import drawn, examined, mutated, violations
from scipy import stats

import pgdyn
from pgdyn.theory import THEOREMS, reinforce_escape
from pgdyn.theory.theorem import for_each

ETA = reinforce_escape.LEARNING_RATE
SEED = 2  # one for all, as 8,192 runs of 8,000 updates are made once for each draw


@pytest.fixture(scope="module", autouse=True)
def runs_made_once():
    """Keeps what `escape_updates` has counted, for tests that look at the same draw."""
    known, count = {}, reinforce_escape.escape_updates

    def escape_updates(batch, baseline):
        arrays = (batch.initial_params, batch.true_reward, baseline)
        drawn = tuple((np.shape(array), np.asarray(array).tobytes()) for array in arrays)
        if drawn not in known:
            known[drawn] = count(batch, baseline)
        return known[drawn]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reinforce_escape, "escape_updates", escape_updates)
        yield


@pytest.mark.optimized
@pytest.mark.parametrize("outputs", [2, 5])
def test_holds_wherever_its_draw_leads(outputs):
    assert examined(THEOREMS["reinforce_escape"], SEED, outputs).holds.all()


def test_the_law_is_inverse_gamma():
    problem, baseline = pgdyn.Problem.tabular([0.001, 0.999], [0.9, 0.2]), 0.1
    k = 0.7 / (ETA * 0.8**2)
    law = stats.invgamma(k, scale=1 / (2 * ETA**2 * 0.8**2 * 0.001))
    for updates in (2000.0, 5000.0, 20_000.0):
        found = reinforce_escape.escape_law(problem, np.asarray(baseline), np.asarray(updates))
        np.testing.assert_allclose(found, law.cdf(updates), rtol=1e-9)
    # Its mean is that of the small steps.
    np.testing.assert_allclose(law.mean(), 1 / (0.001 * (2 * ETA * 0.7 - 2 * ETA**2 * 0.8**2)), rtol=1e-9)


def test_one_update_moves_the_inverse_probability_by_what_the_mean_says():
    p, best, middle = 1e-6, 0.9, -0.3
    inverse = {}
    for drawn_output, reward in ((0, best), (1, middle)):
        z = np.log([p, 1 - p]) + ETA * reward * (np.eye(2)[drawn_output] - [p, 1 - p])
        inverse[drawn_output] = 1 + np.exp(z[1] - z[0])
    moved = p * (inverse[0] - 1 / p) + (1 - p) * (inverse[1] - 1 / p)
    np.testing.assert_allclose(moved, -(1 - np.exp(-2 * ETA * best) - 2 * ETA * middle), rtol=1e-4)


@pytest.mark.optimized
def test_pooled_runs_lie_on_the_law_of_their_own_baseline():
    batch, parameters = drawn(THEOREMS["reinforce_escape"], SEED, 2)
    found = reinforce_escape.escape_updates(batch, parameters["baseline"])

    def farthest(baseline):
        levels, seen = (
            for_each(batch, reinforce_escape.escape_law, baseline, updates)
            for updates in (found, np.full(len(found), 8000.0))
        )
        pooled = np.where(levels <= seen.min(), levels, np.inf).reshape(1, -1)
        return reinforce_escape.distance(np.where(np.isfinite(pooled), 1.0, np.inf), pooled)[0]

    # 8,192 runs: .02 is their noise, the rest terms of higher order in p_0 and eta. Draws of three seeds lie at .022 to
    # .030, and at .047 to .055 from the laws of other baselines; this one's at .053 and more.
    assert farthest(parameters["baseline"]) < 0.04
    assert min(farthest(parameters["baseline"] + shift) for shift in (-0.5, 0.5)) > 0.05


def test_a_baseline_is_what_is_taken_off_every_reward():
    problem, keys = pgdyn.Problem.tabular([0.05, 0.95], [0.9, 0.2]), jax.random.split(jax.random.key(3), 4)
    settings = {"save_every": 200}
    with_baseline = pgdyn.ascend_sampled_many(
        problem, 200, keys, estimator=pgdyn.estimators.Reinforce(baseline=0.3), **settings
    )
    shifted = pgdyn.ascend_sampled_many(problem.with_proxy([0.6, -0.1]), 200, keys, **settings)
    np.testing.assert_allclose(with_baseline.params, shifted.params, atol=1e-12)


@pytest.mark.optimized
@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_the_check_notices_another_clock(factor, monkeypatch):
    def faster(original):
        return lambda problem, baseline, updates: original(problem, baseline, factor * updates)

    mutated(monkeypatch, reinforce_escape, "escape_law", faster)
    assert violations("reinforce_escape", SEED, size=2) > 8
