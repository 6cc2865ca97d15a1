r"""What single errors of a reward do, on the controlled problem of arXiv 2604.25872 (appendix C) and near it.

pi_0 = (.05, .5, .15, .15, .15) on (y*, y_med, three bad ones), true reward r_G = (1, .8, -1, -1, -1), times to V_G =
.9 under gradient flow. "Rare" below is the same problem with one of the three bad outputs at probability 1e-8 and the
other two sharing the rest, which leaves two bad outputs that count. What an error does at once is told by

    dV_G/dt = sum pi^2 A_P A_G,      A(y) = (1 - pi(y)) (r(y) - E_pi[r | not y]),

and it is not what it does in the long run.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy
from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.starts import initial_log_policy, trained_on
from pgdyn.theory.theorem import Theorem

TARGET = 0.9
TRUE_REWARD = np.array([1.0, 0.8, -1.0, -1.0, -1.0])
INITIAL_POLICY = np.array([0.05, 0.5, 0.15, 0.15, 0.15])
RARE = 1e-8
RARE_POLICY = np.array([0.05, 0.5, (0.45 - RARE) / 2, (0.45 - RARE) / 2, RARE])
_SOURCE = "measured here, on the problem of arXiv 2604.25872, section 3.3 and appendix C"


def _is_controlled(problem: Problem, start: np.ndarray) -> Any:
    if not problem.is_tabular or problem.true_reward.shape != (1, 5):
        return False
    same = jnp.max(jnp.abs(jnp.exp(initial_log_policy(problem))[0] - start)) < 1e-9
    return same & jnp.all(problem.true_reward[0] == TRUE_REWARD) & (problem.temperature == 1)


def _log_time(batch: Batch) -> Float[np.ndarray, " N"]:
    return np.log(flows.arrival_times(batch, TARGET))


def _unspoilt(batch: Batch) -> Batch:
    return batch.replace(proxy_reward=batch.true_reward)


def _monotone(batch: Batch, higher: np.ndarray) -> Check:
    raised = batch.proxy_reward.copy()
    raised[:, 0, 1] = higher
    return Check.at_most(_log_time(batch), _log_time(batch.replace(proxy_reward=raised)))


@streamed
def _draw_monotone(stream: Stream, _: Any) -> Drawn:
    low = stream.uniform(-1.5, 0.88)
    proxy = jnp.asarray(TRUE_REWARD).at[1].set(low)
    return Problem.tabular(INITIAL_POLICY, TRUE_REWARD, proxy), {"higher": low + 0.01 + (0.89 - low) * stream.uniform()}


monotone_in_mediocre = Theorem(
    name="monotone_in_mediocre",
    statement=(
        "On the controlled problem the time to V_G = .9 strictly increases with the proxy reward of the mediocre "
        "output, between -1.5 (time 15.9) and .9 (time 5.9e5)."
    ),
    source=_SOURCE,
    kind="law",
    unit="ln of the ratio of the two times",
    draw=_draw_monotone,
    batch_claim=_monotone,
    premise=lambda problem, **_: _is_controlled(problem, INITIAL_POLICY),
    defaults={"higher": 0.9},
)


def _advantage_sign(problem: Problem, output: Array) -> Check:
    log_policy = initial_log_policy(problem)
    here = jnp.take(policy.advantage(log_policy, problem.proxy_reward)[0], output)
    others = jnp.arange(problem.num_outputs) != jnp.asarray(output).astype(int)
    masses = jnp.where(others, jnp.exp(log_policy[0]), 0.0)
    mean = jnp.sum(masses * problem.proxy_reward[0]) / jnp.sum(masses)
    gap = jnp.take(problem.proxy_reward[0], output) - mean
    size = 1 + jnp.max(jnp.abs(problem.proxy_reward))
    return Check.identity((here - jnp.sum(masses) * gap) / size, 64 * problem.num_outputs * EPS)


@streamed
def _draw_any(stream: Stream, outputs: int) -> Drawn:
    problem = draws.plain_tabular(stream, (1, outputs), (0.1, 2.0))
    return problem, {"output": jnp.floor(stream.uniform(0.0, outputs)).astype(int)}


advantage_sign = Theorem(
    name="advantage_sign",
    statement=(
        "A(y) = (1 - pi(y)) (r(y) - E_pi[r | not y]): y has negative advantage iff it is rated below the mean of "
        "the others."
    ),
    source="derived here",
    kind="exact",
    unit="error relative to the largest reward; holds up to 64 K eps",
    draw=_draw_any,
    claim=_advantage_sign,
    premise=lambda problem, **_: problem.num_prompts == 1,
    sizes=(2, 5),
    defaults={"output": 1},
)


def true_value_speed(problem: Problem) -> Array:
    """Computes dV_G/dt at the start under the orthonormal flow of the proxy, sum pi^2 A_P A_G.

    Example:
        >>> float(true_value_speed(Problem.tabular([0.5, 0.5], [1, 0])))
        0.125
    """
    log_policy = initial_log_policy(problem)
    proxy, true = (policy.advantage(log_policy, r) for r in (problem.proxy_reward, problem.true_reward))
    return jnp.sum(jnp.exp(2 * log_policy) * proxy * true)


def _instant(batch: Batch) -> Check:
    return Check.at_least(_log_time(batch), _log_time(_unspoilt(batch)))


@streamed
def _draw_low_mediocre(stream: Stream, _: Any) -> Drawn:
    # d V_G' / d r_P(y_med) = d pi(y_med)/dt under r_G > 0 here, so every lower rating hurts at once.
    low = stream.uniform(-1.0, 0.75)
    return Problem.tabular(RARE_POLICY, TRUE_REWARD, jnp.asarray(TRUE_REWARD).at[1].set(low)), {}


def _slower_at_first(problem: Problem, **parameters: Any) -> Any:
    return true_value_speed(problem) < true_value_speed(trained_on(problem, problem.true_reward))


instantaneous_versus_long_run = Theorem(
    name="instantaneous_versus_long_run",
    statement=(
        "Claim: an error that lowers dV_G/dt at the start does not bring V_G = .9 sooner. False: rating the "
        "mediocre output -1 instead of .8 turns dV_G/dt(0) from +.264 to -.005, and the time from 4821 to 15.5."
    ),
    source=_SOURCE,
    kind="known false",
    unit="ln of the time with the error over that without",
    draw=_draw_low_mediocre,
    batch_claim=_instant,
    premise=_slower_at_first,
)


# (output, proxy reward) -> time to V_G = .9 from `RARE_POLICY`, by SciPy's DOP853 at tolerance 1e-12. Output 4 is the
# rare one; the first row is the truth itself.
SINGLE_ERRORS: dict[tuple[int, float], float] = {
    (0, 1.0): 4821.051524,
    (2, 1.5): np.inf,
    (2, 1.0): np.inf,
    (4, 1.5): 4821.045151,
    (2, -0.5): 3537.565592,
    (2, -2.0): 7388.268518,
    (2, 0.8): 272.2397260,
    (1, 0.9): 41251.35412,
    (1, 0.5): 262.5191264,
    (1, -1.0): 15.47520435,
    (0, 0.85): 291606.7527,
    (0, 2.0): 41.18827371,
}


def with_error(output: int, rating: float) -> np.ndarray:
    """Gives the true reward with one output rated otherwise, [5].

    Example:
        >>> with_error(1, 0.5).tolist()
        [1.0, 0.5, -1.0, -1.0, -1.0]
    """
    proxy = TRUE_REWARD.copy()
    proxy[output] = rating
    return proxy


def _table(batch: Batch, expected: np.ndarray) -> Check:
    return Check.near(_log_time(batch), np.log(expected), 1e-5)


@streamed
def _draw_table(stream: Stream, _: Any) -> Drawn:
    rows = jnp.asarray([with_error(*error) for error in SINGLE_ERRORS])
    row = jnp.floor(stream.uniform(0.0, len(SINGLE_ERRORS))).astype(jnp.int32)
    problem = Problem.tabular(RARE_POLICY, TRUE_REWARD, rows[row])
    return problem, {"expected": jnp.asarray(list(SINGLE_ERRORS.values()))[row]}


single_error_table = Theorem(
    name="single_error_table",
    statement=(
        "On the controlled problem with a rare bad output, one error at a time, time to V_G = .9 (without error "
        "4821): bad -> 1.5 or 1: never; rare bad -> 1.5: 4821; bad -> -.5: 3538; bad -> -2: 7388; bad -> .8: 272; "
        "y_med -> .9: 41251, -> .5: 263, -> -1: 15.5; y* -> .85: 291607, -> 2: 41.2."
    ),
    source=_SOURCE,
    kind="law",
    unit="left over of a tolerance of 1e-5 in ln T",
    draw=_draw_table,
    batch_claim=_table,
    premise=lambda problem, **_: _is_controlled(problem, RARE_POLICY),
    defaults={"expected": SINGLE_ERRORS[0, 1.0]},
)


def _no_slower(batch: Batch) -> Check:
    return Check.at_most(_log_time(batch), _log_time(_unspoilt(batch)))


@streamed
def _draw_bad(stream: Stream, span: tuple[float, float]) -> Drawn:
    rating = stream.uniform(*span)
    return Problem.tabular(RARE_POLICY, TRUE_REWARD, jnp.asarray(TRUE_REWARD).at[2].set(rating)), {}


worse_bad_output_helps = Theorem(
    name="worse_bad_output_helps",
    statement=(
        "Claim: rating a bad output even lower never delays V_G = .9. False: it drives the bad output out sooner, "
        "so that the mediocre one is the sooner alone: rated -2 instead of -1, 7388 instead of 4821."
    ),
    source=_SOURCE,
    kind="known false",
    unit="ln of the time without the error over that with it",
    draw=_draw_bad,
    batch_claim=_no_slower,
    premise=lambda problem, **_: _is_controlled(problem, RARE_POLICY),
    sizes=((-3.0, -1.0),),
)

mediocre_rating_stalls = Theorem(
    name="mediocre_rating_stalls",
    statement=(
        "Claim: giving a bad output a mediocre proxy reward (stalling, in the categories of the paper) never brings "
        "V_G = .9 sooner. False where a mediocre output competes: the two hold each other up, and rated .8 the time "
        "falls from 4821 to 272."
    ),
    source=_SOURCE,
    kind="known false",
    unit="ln of the time with the error over that without",
    draw=_draw_bad,
    batch_claim=_instant,
    premise=lambda problem, **_: _is_controlled(problem, RARE_POLICY),
    sizes=((-0.9, 0.9),),
)


# C5 to C7 of docs/theory.md.
THEOREMS = [
    monotone_in_mediocre,
    advantage_sign,
    instantaneous_versus_long_run,
    single_error_table,
    worse_bad_output_helps,
    mediocre_rating_stalls,
]
