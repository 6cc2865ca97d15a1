r"""The exact solution: flows of any number of outputs move on one plane (`pgdyn.exact`, which computes them).

Tabular flow on a reward r, of one prompt with weight w at temperature T: with x_y = e^{-z_y}, normalised so that Z =
sum_y 1/x_y starts at 1, and tau = (w/T^2) int dt/Z, nu = (w/T^2) int V dt/Z,

    x_y = 1/pi_0(y) + nu - r_y tau,  sum_y ln(1 + pi_0(y) (nu - r_y tau)) = 0,  pi = 1/(x Z),  t = (T^2/w) int Z dtau.

The likeliest output is that of the least x, argmin_y (1/pi_0(y) - r_y tau): it walks over the lower hull of the points
(r_y, 1/pi_0(y)). With features of Gram matrix diag(a) + b 1' + 1 b', x_y = 1/pi_0(y) + a_y (nu - r_y tau) likewise.
Each is compared with the integration of the same flow by `pgdyn.theory.flows`.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pgdyn import exact, policy
from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.theory import draws, flows
from pgdyn.theory.check import Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.theorem import Theorem

_SAVES, _LOOKS = 5, 24
_TIGHT: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
_ROWS = 256  # states computed at once, whatever the batch: one size compiles once
_NATS = 1e-7  # a few times what 1,400 steps of the integrator add up to on the stiffest draws seen
_UNIT = "error of ln pi in nats, worst output and time; holds up to 1e-7 (integrated at rtol 1e-10)"
_LEAD = 1e-6


def states(batch: Batch, times: Float[np.ndarray, "N S"]) -> Float[np.ndarray, "N S P K"]:
    """Computes log pi at S times of each flow by the exact solution.

    Example:
        >>> states(Batch.tabular([0.5, 0.5], [[[1, 0]]]), np.array([[0.0]])).round(3).tolist()
        [[[[-0.693, -0.693]]]]
    """
    count, points = times.shape
    rows = np.resize(np.arange(count * points), -(-count * points // _ROWS) * _ROWS)
    found = exact.log_policy(batch[rows // points], times.reshape(-1)[rows])
    return found[: count * points].reshape(count, points, *found.shape[1:])


def _error(batch: Batch, t1: np.ndarray) -> Check:
    times = flows.log_times(t1, _SAVES)
    error = flows.path(batch, times, **_TIGHT) - states(batch, times)
    return Check.identity(np.max(np.abs(error), axis=(1, 2, 3)), _NATS)


@streamed
def _draw_tabular(stream: Stream, size: tuple[int, int]) -> Drawn:
    return draws.tabular(stream, *size), {"t1": stream.log_uniform(1.0, 1e6)}


exact_solution = Theorem(
    name="exact_solution",
    statement=(
        "Tabular flow on any reward, each prompt by itself: with x_y = e^(-z_y), Z = sum 1/x_y of 1 at the start, tau "
        "= (w/T^2) int dt/Z and nu = (w/T^2) int V dt/Z, x_y = 1/pi_0(y) + nu - r_y tau, sum_y ln(1 + pi_0(y) (nu - "
        "r_y tau)) = 0, pi(y) = 1/(x_y Z) and t = (T^2/w) int Z dtau: all outputs move on one plane, and the flow of "
        "any K is one scalar root and one quadrature."
    ),
    source="derived here",
    kind="exact",
    unit=_UNIT,
    draw=_draw_tabular,
    batch_claim=_error,
    premise=lambda problem, **_: problem.is_tabular,
    sizes=((3, 5),),
    defaults={"t1": 100.0},
)


def is_separable(problem: Problem, **_: Any) -> Any:
    """Tells whether there is one prompt, whose Gram matrix G is diag(a) + b 1' + 1 b'.

    That is, G_yu - G_yw - G_vu + G_vw = 0 for any four different outputs, of which three outputs have none.

    Example:
        >>> bool(is_separable(Problem.linear([[1, 0], [0, 1], [1, 1], [2, 1]], [1, 0, 0, 0])))
        False
    """
    if problem.num_prompts > 1 or problem.features is None:
        return False
    outputs = problem.num_outputs
    if outputs <= 3:
        return True
    gram = policy.kernel(problem)[0, :, 0]
    four = np.array([row for row in np.ndindex(*(outputs,) * 4) if len(set(row)) == 4])
    y, u, v, w = four.T
    tetrads = gram[y, u] - gram[y, w] - gram[v, u] + gram[v, w]
    return jnp.max(jnp.abs(tetrads)) <= 1e-12 * jnp.max(jnp.diag(gram))


@streamed
def _draw_separable(stream: Stream, outputs: int) -> Drawn:
    shape = (outputs, outputs)
    if outputs > 3:
        rotation, _ = jnp.linalg.qr(stream.normal(shape))
        features = rotation * jnp.sqrt(stream.log_uniform(0.1, 3.0, (outputs, 1))) + stream.normal((1, outputs))
    else:
        features = stream.normal(shape)
    problem = Problem.linear(
        features,
        draws.rewards(stream, (outputs,)),
        draws.rewards(stream, (outputs,)),
        initial_params=stream.log_uniform(0.1, 2.0) * stream.normal((outputs,)),
        temperature=draws.temperature(stream),
    )
    return problem, {"t1": stream.log_uniform(1.0, 1e4)}


exact_features = Theorem(
    name="exact_features",
    statement=(
        "Features of Gram matrix diag(a) + b 1' + 1 b', such as orthogonal ones of any norms, or any of three outputs "
        "(a_y = <phi_y - phi_u, phi_y - phi_v>): x_y = 1/pi_0(y) + a_y (nu - r_y tau), sum_y ln(x_y pi_0(y))/a_y = 0, "
        "and the flow is that of exact_solution otherwise."
    ),
    source="derived here",
    kind="exact",
    unit=_UNIT,
    draw=_draw_separable,
    batch_claim=_error,
    premise=is_separable,
    sizes=(3, 5),
    defaults={"t1": 100.0},
)


def plane_time(batch: Batch, params: Float[np.ndarray, "N S 1 K"]) -> Float[np.ndarray, "N S"]:
    """Computes tau of states: any two outputs' x move apart by tau (r_y - r_u), and likely ones have the most digits.

    Example:
        >>> batch = Batch.tabular([0.5, 0.5], [[[1, 0]]])
        >>> plane_time(batch, batch.initial_params[:, None]).tolist()
        [[0.0]]
    """
    start = np.exp(-flows.start_log_policy(batch))  # x at the start, [N, 1, K]
    moved = params - batch.initial_params[:, None]
    fallen = -start[:, None] * np.expm1(-moved / batch.temperature[:, None, None, None])
    reward, size = batch.proxy_reward[:, 0], start[:, 0]
    gaps = reward[:, :, None] - reward[:, None]
    blur = np.where(gaps > 0, np.maximum(size[:, :, None], size[:, None]) / np.where(gaps > 0, gaps, 1), np.inf)
    high, low = np.unravel_index(np.argmin(blur.reshape(len(batch), -1), axis=1), gaps.shape[1:])
    rows = np.arange(len(batch))
    return (fallen[rows, :, 0, high] - fallen[rows, :, 0, low]) / gaps[rows, high, low][:, None]


def _staircase(batch: Batch, t1: np.ndarray) -> Check:
    times = flows.log_times(t1, _LOOKS)
    tau = plane_time(batch, flows.path(batch, times, observed="params", **_TIGHT))
    logs = flows.path(batch, times, **_TIGHT)[:, :, 0]
    behind = np.zeros(tau.shape)
    for i in range(len(batch)):
        stairs = exact.staircase(batch[i])
        leader = stairs.outputs[np.searchsorted(stairs.taus, tau[i], side="right").clip(1) - 1]
        behind[i] = logs[i].max(axis=1) - np.take_along_axis(logs[i], leader[:, None], axis=1)[:, 0]
    return Check.identity(np.max(behind, axis=1), _LEAD)


@streamed
def _draw_stairs(stream: Stream, outputs: int) -> Drawn:
    problem = Problem.tabular(
        draws.policy(stream, (outputs,), (0.1, 3.0)),
        stream.uniform(-1.0, 1.0, (outputs,)),
        temperature=draws.temperature(stream),
    )
    return problem, {"t1": stream.log_uniform(1.0, 1e6)}


staircase = Theorem(
    name="staircase",
    statement=(
        "Same flow of one prompt: the likeliest output is argmin_y (1/pi_0(y) - r_y tau). From the start's on it walks "
        "through the vertices of the lower hull of {(r_y, 1/pi_0(y))} in order of reward, and no other output ever "
        "leads; y takes over from u at tau = (1/pi_0(y) - 1/pi_0(u)) / (r_y - r_u)."
    ),
    source="derived here",
    kind="exact",
    unit="ln pi by which the output said to lead falls short of the likeliest, worst time; holds up to 1e-6",
    draw=_draw_stairs,
    batch_claim=_staircase,
    premise=lambda problem, **_: (
        problem.is_tabular & (problem.num_prompts == 1) & (jnp.ptp(problem.proxy_reward[0]) > 0)
    ),
    sizes=(5, 10),
    defaults={"t1": 100.0},
)


# F1 to F3 of docs/theory.md.
THEOREMS = [exact_solution, exact_features, staircase]
