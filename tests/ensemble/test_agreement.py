"""Contract of `flow_many`: both backends against each other, SciPy's DOP853 and closed forms, in every form of problem.

How calls behave (batches, failures, refusals) is in `test_runs`, who runs what and when in `test_driver`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from hypothesis import Phase, given
from hypothesis import settings as profile
from hypothesis import strategies as st
from oracles import Goal, Setting
from strategies import make_setting

import pgdyn

ONE = jax.local_devices()[:1]  # `test_driver` holds two devices to the same bits
LANES = 12
RTOL, ATOL = 1e-6, 1e-9
NEVER = 1e9  # above every reward drawn here: one program with and without a hit
RANDOM = np.random.default_rng


@dataclasses.dataclass(frozen=True)
class Form:
    """A kind of batch: (P, K, D), features of its own for each problem or shared, what is climbed and how."""

    shape: tuple[int, int, int | None]
    goal: Goal = Goal()
    shared: bool = False
    geometry: str = "euclidean"
    own_weights: bool = False  # KL and entropy weights that differ from problem to problem

    @property
    def plain(self) -> bool:
        return self.goal == Goal() and self.geometry == "euclidean"


FORMS = {
    "tabular": Form((1, 5, None)),
    "tabular, prompts": Form((3, 5, None)),
    "own features": Form((3, 5, 4)),
    "shared features": Form((3, 5, 4), shared=True),
    "own wide features": Form((2, 3, 7)),
    "shared wide features": Form((2, 3, 7), shared=True),
    "own weights": Form((1, 5, None), Goal(kl=0.2, entropy=0.05), own_weights=True),
    "forward KL, std": Form((3, 5, 4), Goal(kl=0.2, kl_direction="forward", normalize_by_std=True), shared=True),
    "uniform KL, wide features": Form((2, 3, 7), Goal("true", kl=0.3, reference="uniform", entropy=-0.02)),
    "uniform forward KL, own weights": Form(
        (3, 5, 4), Goal(kl=0.2, reference="uniform", kl_direction="forward"), own_weights=True
    ),
    "detached std": Form((3, 5, None), Goal(normalize_by_std="detached")),
    "natural": Form((1, 5, None), geometry="natural"),
    "natural, KL, features": Form((3, 5, 4), Goal(kl=0.3), shared=True, geometry="natural"),
}
# The reference backend takes seconds to compile; forms that are not here meet SciPy below, as all do.
COMPARED = (
    "tabular",
    "shared features",
    "own wide features",
    "own weights",
    "forward KL, std",
    "natural, KL, features",
)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Drawn problems, as oracles know them and as pgdyn does."""

    settings: list[Setting]
    goals: list[Goal]
    problems: pgdyn.Batch
    objective: pgdyn.Objective
    t1: np.ndarray
    geometry: str

    def run(self, target=NEVER, **options):
        options = {"rtol": RTOL, "atol": ATOL, "geometry": self.geometry, **options}
        if options.get("backend") != "diffrax":
            options["devices"] = ONE
        return pgdyn.flow_many(self.problems, self.t1, objective=self.objective, target=target, **options)


def make_batch(form: Form, seed: int, reward: str = "uniform", start: str = "flat", longest: float = 50.0) -> Drawn:
    """Problems of one form with temperatures, prompt weights and end times of their own."""
    rng = RANDOM(seed)
    corners = ("normal", "duplicated", "near-dependent", "zero row")
    drawn = []
    for i in range(LANES):
        temperature = (1.0, 0.5, 2.5)[i % 3]
        corner = corners[i % 4] if form.geometry == "euclidean" else "normal"
        weighted = form.shape[0] > 1 and i % 2 == 1
        drawn.append(make_setting(seed + i, form.shape, reward, start, corner, temperature, weighted))
    if form.geometry == "natural":  # a prompt without weight has no Fisher information
        drawn = [dataclasses.replace(s, weights=rng.dirichlet(np.ones(form.shape[0]))) for s in drawn]
    if form.shared:
        drawn = [dataclasses.replace(s, features=drawn[0].features) for s in drawn]
        problems = pgdyn.Batch.linear(
            drawn[0].features,
            np.stack([s.true_reward for s in drawn]),
            np.stack([s.proxy_reward for s in drawn]),
            initial_params=np.stack([s.start for s in drawn]),
            temperature=np.array([s.temperature for s in drawn]),
            prompt_weights=np.stack([s.prompt_weights for s in drawn]),
        )
        assert "features" in problems.shared
    else:
        problems = pgdyn.stack([s.problem() for s in drawn])
    goals = [form.goal] * LANES
    objective = form.goal.objective()
    if form.own_weights:
        kl, entropy = rng.uniform(0, 0.5, LANES), rng.uniform(-0.02, 0.1, LANES)
        goals = [
            dataclasses.replace(form.goal, kl=float(k), entropy=float(h)) for k, h in zip(kl, entropy, strict=True)
        ]
        objective = pgdyn.Objective(**{**dataclasses.asdict(form.goal), "kl": kl, "entropy": entropy})
    return Drawn(drawn, goals, problems, objective, longest * 10.0 ** rng.uniform(-2, 0, LANES), form.geometry)


def size_of(solution) -> np.ndarray:
    """The largest log-probability or parameter of each flow: what relative tolerances are relative to, [N]."""
    count = len(solution.result)
    sizes = [np.abs(np.reshape(a, (count, -1))).max(axis=1) for a in (solution.log_policy, solution.params)]
    return np.maximum(1.0, np.maximum(*sizes))


def assert_close(found, expected, factor: float = 10.0, rtol: float = RTOL, which=slice(None)):
    """Log-probabilities of some lanes within `factor` tolerances."""
    allowed = factor * rtol * size_of(expected)
    wrong = np.abs(found.log_policy - expected.log_policy).max(axis=(1, 2))[which] / allowed[which]
    assert (wrong <= 1).all(), (np.flatnonzero(~(wrong <= 1)), wrong.max())


# ---------------------------------------------------------------- the two backends


@pytest.mark.parametrize("form", [FORMS[name] for name in COMPARED], ids=COMPARED)
@profile(max_examples=5, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(seed=st.integers(0, 2**32 - 100), data=st.data())
def test_backends_agree_within_ten_tolerances(form, seed, data):
    """Oracle: `backend="diffrax"`, which is `pgdyn.flow`, at 1e-10.

    A hitting time is as sharp as the rate at which the value passes the target, so it is held between those of targets
    a few tolerances lower and higher, which is true for every rate.
    """
    corners = ("uniform", "ties", "equal", "huge", "gap") if form.plain else ("uniform", "ties")
    reward = data.draw(st.sampled_from(corners))
    start = data.draw(st.sampled_from(("flat", "peaked", "tiny") if form.plain else ("flat",)))
    batch = make_batch(form, seed, reward, start, 50.0 if form.plain else 5.0)
    found = batch.run()
    assert (found.result == pgdyn.Result.completed).all(), found.message
    assert np.isinf(found.hitting_time).all()
    largest = np.abs(batch.problems.true_reward).max(axis=(1, 2))
    slack = 10 * RTOL * largest * size_of(found)
    start_value = np.array([oracles.value(s, s.start, s.true_reward) for s in batch.settings])
    rise = found.true_value - start_value
    share = RANDOM(seed).uniform(0.1, 0.9, LANES)
    target = np.where(rise > 4 * slack, start_value + share * rise, NEVER)
    expected = batch.run(target, backend="diffrax", rtol=1e-10, atol=1e-13, max_steps=16384)
    # A forward KL at a nearly certain policy is so stiff that the reference may spend any budget at this tolerance.
    ended = expected.result == pgdyn.Result.completed
    assert ended.sum() >= LANES - 2, expected.message
    assert_close(found, expected, which=ended)
    for name, reward in (("true_value", batch.problems.true_reward), ("proxy_value", batch.problems.proxy_reward)):
        allowed = 10 * RTOL * size_of(expected) * np.abs(reward).max(axis=(1, 2))
        assert (np.abs(getattr(found, name) - getattr(expected, name)) <= allowed)[ended].all()
    early, hit, late = (batch.run(target + shift).hitting_time for shift in (-slack, 0.0, slack))
    assert (early <= hit).all() and (hit <= late).all()
    assert (early * (1 - 1e-5) <= expected.hitting_time)[ended].all()
    assert (expected.hitting_time <= late * (1 + 1e-5))[ended].all()
    assert np.isfinite(hit[rise > 4 * slack]).all()


def test_reference_backend_is_flow():
    """Oracle: `pgdyn.flow`, problem by problem."""
    batch = make_batch(FORMS["tabular"], 3)
    target = np.full(LANES, 0.5)
    found = batch.run(target, backend="diffrax", rtol=1e-8, atol=1e-10)
    for i in (0, 5):
        run = pgdyn.flow(batch.problems[i], batch.t1[i], target=target[i], saves=2)
        np.testing.assert_allclose(found.params[i], run.params[-1], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(found.hitting_time[i], run.hitting_time, rtol=1e-12)
        assert found.steps[i] == run.steps and found.result[i] == run.result


# ---------------------------------------------------------------- SciPy


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_engine_against_dop853(form):
    """Oracle: SciPy's DOP853 at 1e-13 (not plain: 1e-10, on complex-step gradients and the enumerated F^+)."""
    batch = make_batch(form, 77, longest=20.0 if form.plain else 3.0)
    first = batch.run(rtol=1e-10, atol=1e-12)
    chosen = range(4) if form.plain else range(2)
    start_value = np.array([oracles.value(s, s.start, s.true_reward) for s in batch.settings])
    target = start_value + 0.4 * (first.true_value - start_value)
    found = batch.run(target, rtol=1e-10, atol=1e-12)
    hits = 0
    for i in chosen:
        setting, goal = batch.settings[i], batch.goals[i]
        if form.plain and form.geometry == "euclidean":
            velocity = lambda x, s=setting: oracles.value_gradient(s, x, s.proxy_reward)  # noqa: E731
        else:
            gradient = oracles.natural_gradient if form.geometry == "natural" else oracles.gradient
            velocity = lambda x, s=setting, g=goal, slope=gradient: slope(s, g, x)  # noqa: E731
        tolerance = 1e-13 if form.plain else 1e-10
        path, hit = oracles.flow(setting, np.array([0.0, batch.t1[i]]), velocity, target[i], tolerance)
        np.testing.assert_allclose(found.log_policy[i], oracles.log_policy(setting, path[-1]), rtol=1e-8, atol=1e-8)
        for name, reward in (("true_value", setting.true_reward), ("proxy_value", setting.proxy_reward)):
            np.testing.assert_allclose(getattr(found, name)[i], oracles.value(setting, path[-1], reward), atol=1e-8)
        if form.geometry == "euclidean":
            # The logits that a flow of logits ends with are those of the start plus a gradient: parameters agree too.
            np.testing.assert_allclose(found.params[i], path[-1], rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(found.hitting_time[i], hit, rtol=1e-6)
        hits += np.isfinite(hit)
    assert hits > 0


# ---------------------------------------------------------------- closed forms and tails


def two_outputs(gap, odds, target_odds):
    """Time from log-odds `odds` to `target_odds` for K = 2: u' = 2 gap p (1 - p) gives t = (u + sinh u) / gap."""
    passed = [u + np.sinh(u) for u in (odds, target_odds)]
    return (passed[1] - passed[0]) / gap


def test_two_outputs_in_closed_form_up_to_1e15():
    """Oracle: t = (u + sinh u - u_0 - sinh u_0) / gap, from 1e-15 up and at gaps from 1e-3 to 1e6."""
    rng = RANDOM(0)
    odds, gap = rng.uniform(-34, 0, 60), 10.0 ** rng.uniform(-3, 6, 60)
    goal = rng.uniform(0, 8, 60)
    policy = np.stack([1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(odds))], axis=-1)
    reward = np.stack([gap, np.zeros(60)], axis=-1)
    problems = pgdyn.Batch.tabular(policy[:, None], reward[:, None])
    target = gap / (1 + np.exp(-goal))
    expected = two_outputs(gap, odds, goal)
    found = pgdyn.flow_many(problems, 1e18, target=target, rtol=1e-11, atol=1e-13, devices=ONE)
    np.testing.assert_allclose(found.hitting_time, expected, rtol=1e-9)
    assert expected.max() > 1e15 and expected.min() < 1e-3
    loose = pgdyn.flow_many(problems, 1e18, target=target, devices=ONE)
    np.testing.assert_allclose(loose.hitting_time, expected, rtol=10 * RTOL)


def plateau(bad: int, rare: float, shift: float = 0.0) -> Setting:
    """Half the mass on a mediocre output, the best one rare, `bad` equal bad outputs (theory C1)."""
    policy = np.array([rare, 0.5, *[(0.5 - rare) / bad] * bad])
    reward = np.array([1.0, 0.8, *[-1.0] * bad])
    # Measured from the mediocre output's reward the oracle keeps its digits where nearly all mass is on that output.
    return Setting(None, reward[None] - shift, reward[None] - shift, np.log(policy)[None])


def test_plateaus_of_the_corner_law():
    """Oracle: DOP853 at 1e-12. Escape times grow as p_0^-(n+1), past 1e15 for three bad outputs."""
    drawn = [(3, 1e-2), (3, 1e-3), (3, 1e-4)]
    problems = pgdyn.stack([plateau(*case).problem() for case in drawn])
    found = pgdyn.flow_many(problems, 1e20, target=0.9, devices=ONE)
    assert (found.result == pgdyn.Result.completed).all()
    np.testing.assert_allclose(found.true_value, 1.0, rtol=1e-9)
    for case, hit in zip(drawn, found.hitting_time, strict=True):
        shifted = plateau(*case, shift=0.8)
        velocity = lambda x, s=shifted: oracles.value_gradient(s, x, s.proxy_reward)  # noqa: E731
        if hit > 1e14:  # the escape takes a time of 100 or so, and t near 4e15 comes in steps of .5: too few for SciPy
            continue
        _, expected = oracles.flow(shifted, np.array([0.0, 1.001 * hit]), velocity, 0.9 - 0.8, 1e-12)
        np.testing.assert_allclose(hit, expected, rtol=1e-5)
    slopes = np.diff(np.log10(found.hitting_time))
    np.testing.assert_allclose(slopes, 4, atol=0.1)  # T ~ p_0^-(n + 1)
    assert found.hitting_time[-1] > 1e15


def test_ties_duplicates_and_equal_rewards():
    """Oracles: tied outputs keep their ratio; equal rewards move nothing; a gap scales time."""
    policy = np.array([0.1, 0.1, 0.3, 0.3, 0.2])
    reward = np.array([1.0, 1.0, -1.0, -1.0, 0.5])
    problems = pgdyn.Batch.tabular(policy, np.stack([reward, np.full(5, 0.3), 2.0**20 * reward])[:, None])
    found = pgdyn.flow_many(problems, np.array([2.0**20, 1e15, 1.0]), target=NEVER, devices=ONE)
    assert (found.result == pgdyn.Result.completed).all()
    ended = found.log_policy[:, 0]
    np.testing.assert_allclose(ended[:, 0], ended[:, 1], rtol=1e-14)
    np.testing.assert_allclose(ended[:, 2], ended[:, 3], rtol=1e-14)
    np.testing.assert_allclose(ended[1], np.log(policy), rtol=1e-14)
    np.testing.assert_allclose(found.true_value[1], 0.3, rtol=1e-14)
    np.testing.assert_allclose(ended[2], ended[0], rtol=1e-9)
    np.testing.assert_allclose(np.exp(ended[0]).sum(), 1, rtol=1e-14)


def test_one_output():
    """Oracle: a policy of one output stays; its value is its reward."""
    problems = pgdyn.Batch.tabular(np.ones((3, 1, 1)), np.array([0.5, -2.0, 1e6]).reshape(3, 1, 1))
    found = pgdyn.flow_many(problems, 1e15, target=0.0, devices=ONE)
    np.testing.assert_array_equal(found.log_policy, np.zeros((3, 1, 1)))
    np.testing.assert_array_equal(found.true_value, [0.5, -2.0, 1e6])
    np.testing.assert_array_equal(found.hitting_time, [0, np.inf, 0])
    assert (found.result == pgdyn.Result.completed).all()


def test_error_falls_with_the_tolerance():
    """Oracle: the engine's own result at 1e-13, which `test_engine_against_dop853` holds to SciPy's."""
    batch = make_batch(FORMS["tabular"], 5, longest=500.0)
    best = batch.run(rtol=1e-13, atol=1e-15)
    tolerances = 10.0 ** np.arange(-3, -12, -2)
    runs = [batch.run(rtol=rtol, atol=1e-3 * rtol) for rtol in tolerances]
    errors = np.array([np.abs(run.log_policy - best.log_policy).max() for run in runs])
    steps = np.array([run.steps.sum() for run in runs])
    assert (errors <= 10 * tolerances * size_of(best).max()).all()
    order = np.polyfit(np.log10(tolerances), np.log10(errors), 1)[0]
    assert 0.7 < order < 1.5, errors
    growth = -np.polyfit(np.log10(tolerances[1:]), np.log10(steps[1:]), 1)[0]
    assert 0.06 < growth < 0.2, steps  # order 8: 1/8


def test_gradients_of_the_reference_backend():
    """Oracle: central differences of the engine at 1e-11."""
    batch = make_batch(FORMS["tabular"], 9)
    few = batch.problems[np.arange(2)]
    rewards = few.proxy_reward

    def total(proxy):
        run = pgdyn.flow_many(few.replace(proxy_reward=proxy), 5.0, backend="diffrax", rtol=1e-9, atol=1e-11)
        return jnp.sum(run.true_value)

    gradient = jax.grad(total)(jnp.asarray(rewards))
    size = 1e-4
    shifts = size * np.eye(rewards.size).reshape(-1, *rewards.shape)
    both = []
    for sign in (1, -1):
        moved = np.concatenate([rewards + sign * shift for shift in shifts])
        many = few[np.tile(np.arange(2), rewards.size)].replace(proxy_reward=moved)
        both.append(pgdyn.flow_many(many, 5.0, target=NEVER, rtol=1e-11, atol=1e-13, devices=ONE).true_value)
    slopes = (both[0] - both[1]).reshape(rewards.size, 2).sum(1) / (2 * size)
    np.testing.assert_allclose(np.ravel(gradient), slopes, rtol=1e-5, atol=1e-7)
