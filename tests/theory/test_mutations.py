"""Every check can fail: with slightly wrong dynamics, or a slightly wrong bound, it finds violations."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from families import THEOREMS, drawn, named

import pgdyn
from pgdyn.dynamics.flow import velocity
from pgdyn.theory import closed_forms, dynamics_identities, escape_bounds, paper_bounds


def violations(theorem, seed=1):
    """Of the batch drawn with this seed, checked by a program compiled anew (the old one holds the right dynamics)."""
    fresh = dataclasses.replace(theorem)
    problems, parameters = drawn(theorem, seed)
    return int(np.sum(~np.asarray(fresh.batch_check(problems, **parameters).holds)))


def with_rewards(change, dynamics):
    """The dynamics run on changed rewards; `change` sees a problem's proxy and true reward."""

    def run(problem, *arguments, **options):
        true, proxy = change(problem.true_reward), change(problem.proxy_reward)
        if options.get("objective") is None:
            changed = eqx.tree_at(lambda p: p.proxy_reward, problem, proxy)
        else:
            changed = eqx.tree_at(lambda p: (p.true_reward, p.proxy_reward), problem, (true, proxy))
        return dynamics(changed, *arguments, **options)

    return run


POINT = named("attraction", "attraction_orthonormal", "instantaneous_error_effect", "log_ratio", "ratio_turning_point")


@pytest.mark.parametrize("theorem", POINT, ids=lambda theorem: theorem.name)
def test_identities_at_a_point_notice_a_velocity_off_by_one_part_in_ten_billion(theorem, monkeypatch):
    def off(*arguments):
        return velocity(*arguments) * (1 + 1e-10)

    monkeypatch.setattr(dynamics_identities, "velocity", off)
    monkeypatch.setattr(escape_bounds, "velocity", off)
    assert violations(theorem) > 0


@pytest.mark.parametrize("training", ["flow", "ascend", "ascend_sampled"])
def test_conserved_sum_notices_a_drift_of_each_dynamics(training, monkeypatch):
    dynamics = getattr(dynamics_identities, training)

    def drifting(*arguments, **options):
        run = dynamics(*arguments, **options)
        return eqx.tree_at(lambda r: r.params, run, run.params * (1 + 1e-9) + 1e-10)

    monkeypatch.setattr(dynamics_identities, training, drifting)
    (theorem,) = named("conserved_sum")
    problem, parameters = theorem.sample(jax.random.key(0))
    assert not dataclasses.replace(theorem).check(problem, **parameters).holds


@pytest.mark.parametrize("theorem", closed_forms.THEOREMS, ids=lambda theorem: theorem.name)
def test_closed_forms_notice_rewards_off_by_one_part_in_ten_thousand(theorem, monkeypatch):
    monkeypatch.setattr(closed_forms, "flow", with_rewards(lambda r: r * 1.0001, closed_forms.flow))
    assert violations(theorem) > 0


def test_perturbation_linearity_notices_a_clock_that_is_not_linear(monkeypatch):
    flow = with_rewards(lambda r: r + 1e-3 * r**2, dynamics_identities.flow)
    monkeypatch.setattr(dynamics_identities, "flow", flow)
    assert violations(named("perturbation_linearity")[0]) > 0


@pytest.mark.parametrize("name", ["benign_never_attracts", "benign_probability_bound"])
def test_benign_bounds_notice_descent(name, monkeypatch):
    monkeypatch.setattr(paper_bounds, "flow", with_rewards(lambda r: -r, paper_bounds.flow))
    assert violations(named(name)[0]) > 0


def test_benign_negligible_notices_proxies_that_differ_elsewhere(monkeypatch):
    calls = []

    def unlike(problems, *arguments, **options):
        calls.append(problems)
        changed = problems.with_proxy(jnp.flip(problems.proxy_reward, -1)) if len(calls) == 2 else problems
        return pgdyn.flow_many(changed, *arguments, **options)

    monkeypatch.setattr(paper_bounds, "flow_many", unlike)
    assert violations(named("benign_negligible")[0]) > 0


# How much faster (or slower) the flow may run before the tightest of 64 random problems notices.
SPEEDS = {
    "no_mediocre_upper": 0.8,
    "no_mediocre_orthonormal": (0.99, 1.01),
    "mediocre_lower_simple": 2.0,
    "mediocre_lower": 6.0,
}


@pytest.mark.parametrize("name", SPEEDS)
def test_bounds_on_times_notice_another_speed(name, monkeypatch):
    speeds = SPEEDS[name] if isinstance(SPEEDS[name], tuple) else (SPEEDS[name],)
    module = escape_bounds if name.startswith("mediocre") else paper_bounds
    for speed in speeds:

        def other(problems, t1, speed=speed, **options):
            run = pgdyn.flow_many(problems, np.asarray(t1) * max(1.0, speed), **options)
            return dataclasses.replace(run, hitting_time=run.hitting_time / speed)

        monkeypatch.setattr(module, "flow_many", other)
        assert violations(named(name)[0]) > 0


def test_unimodal_escape_notices_the_flow_of_another_reward(monkeypatch):
    monkeypatch.setattr(escape_bounds, "flow", with_rewards(lambda r: jnp.roll(r, 1, -1), escape_bounds.flow))
    assert violations(named("unimodal_escape")[0]) > 0


@pytest.mark.parametrize("name", ["escape_exponent", "no_mediocre_exponent"])
def test_exponents_notice_the_other_reward(name, monkeypatch):
    def exchanged(problems, *arguments, **options):
        order = np.argsort(np.argsort(-np.asarray(problems.true_reward), axis=-1, kind="stable"), axis=-1)
        levels = np.array([1.0, -1.0, -1.0] if name == "escape_exponent" else [1.0, 0.8, -1.0, -1.0, -1.0])
        options["objective"] = pgdyn.Objective()
        return pgdyn.flow_many(problems.with_proxy(levels[order]), *arguments, **options)

    monkeypatch.setattr(escape_bounds, "flow_many", exchanged)
    assert violations(named(name)[0]) > 0


def test_no_theorem_is_left_out_here():
    tested = {theorem.name for theorem in POINT} | {theorem.name for theorem in closed_forms.THEOREMS} | set(SPEEDS)
    tested |= {"conserved_sum", "perturbation_linearity", "benign_never_attracts", "benign_probability_bound"}
    tested |= {"benign_negligible", "unimodal_escape", "escape_exponent", "no_mediocre_exponent"}
    assert tested == {theorem.name for theorem in THEOREMS if theorem.kind != "known false"}
