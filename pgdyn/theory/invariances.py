r"""What training leaves unchanged: sums of logits, and the path under a change of units.

Tabular, every score sums to zero over the outputs of a prompt, and with it every update of their logits. The flow of
c r + b is that of r at c times the speed:  theta(t; c r + b) = theta(c t; r).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn.batch import Batch
from pgdyn.problem import Problem
from pgdyn.solve import ascend_many, ascend_sampled_many
from pgdyn.theory import draws, flows
from pgdyn.theory.attraction import reward_size, rounding
from pgdyn.theory.check import EPS, Check
from pgdyn.theory.draws import Drawn, Stream, streamed
from pgdyn.theory.starts import initial_velocity, trained_on
from pgdyn.theory.theorem import Theorem, for_each

_UPDATES = 30
_STEP = 0.5


def _conserved_sum(batch: Batch, t1: np.ndarray, seed: np.ndarray) -> Check:
    keys = jax.random.wrap_key_data(jnp.asarray(seed))[:, None]
    start = batch.initial_params
    found = (
        flows.path(batch, flows.log_times(t1, 5), observed="params", rtol=1e-6, atol=1e-9),
        ascend_many(batch, _UPDATES, learning_rate=_STEP, save_every=1).params,
        ascend_sampled_many(batch, _UPDATES, keys, learning_rate=_STEP, save_every=1).params[:, 0],
    )

    def error(path: np.ndarray) -> np.ndarray:
        drift = np.abs(np.sum(path - start[:, None], axis=-1))
        return np.max(drift, axis=(1, 2)) / np.max(np.abs(path), axis=(1, 2, 3))

    # A step adds K rounding errors of the largest logit's size; no run here takes more than 1,000.
    return Check.each_of(*(Check.identity(error(path), 1000 * batch.num_outputs * EPS) for path in found))


def _draw_conserved(key: Array, size: Any) -> Drawn:
    stream = Stream(key)
    parameters = {"t1": stream.log_uniform(0.1, 100.0), "seed": jax.random.key_data(key)}
    return draws.problem(stream, size), parameters


conserved_sum = Theorem(
    name="conserved_sum",
    statement=(
        "Tabular policy: the sum over outputs of each prompt's parameters never changes, under gradient flow, exact "
        "ascent and sampled ascent alike, since every score sums to zero."
    ),
    source="derived here; arXiv 2005.06392, section 3, for exact gradients",
    kind="exact",
    unit="drift relative to the largest parameter; holds up to 1000 K eps (K eps a step, fewer than 1,000 steps)",
    draw=_draw_conserved,
    batch_claim=_conserved_sum,
    premise=lambda problem, **_: problem.is_tabular,
    sizes=((2, 5, None),),
    defaults={"t1": 10.0, "seed": np.zeros(2, np.uint32)},
)


def _start_error(problem: Problem, scale: Array, shift: Array) -> Array:
    """What velocities at the start differ by, as a share of what is allowed."""
    changed = trained_on(problem, scale * problem.proxy_reward + shift[:, None])
    size = scale * reward_size(problem.proxy_reward) + jnp.max(jnp.abs(shift))
    features = jnp.max(jnp.abs(problem.features)) if problem.features is not None else 1.0
    error = (initial_velocity(changed) - scale * initial_velocity(problem)) * problem.temperature / (features * size)
    return jnp.max(jnp.abs(error)) / rounding(problem)


def _perturbation_linearity(batch: Batch, scale: np.ndarray, shift: np.ndarray, t1: np.ndarray) -> Check:
    changed = batch.replace(proxy_reward=scale[:, None, None] * batch.proxy_reward + shift[:, :, None])
    tight: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}
    plain, moved = flows.run(batch, t1, **tight), flows.run(changed, t1 / scale, **tight)
    ends = np.max(np.abs(np.exp(plain.log_policy) - np.exp(moved.log_policy)), axis=(1, 2))
    at_start = for_each(batch, _start_error, scale, shift)
    return Check.each_of(Check.identity(at_start, 1.0), Check.identity(ends / 1e-7, 1.0))


@streamed
def _draw_units(stream: Stream, size: Any) -> Drawn:
    parameters = {
        "scale": stream.log_uniform(0.01, 100.0),
        "shift": stream.uniform(-3.0, 3.0, (size[0],)),
        "t1": stream.log_uniform(0.1, 30.0),
    }
    return draws.problem(stream, size), parameters


perturbation_linearity = Theorem(
    name="perturbation_linearity",
    statement=(
        "Rewards times c > 0 run the flow c times faster along the same path; a constant added to all rewards of a "
        "prompt changes nothing. So only shape matters, and times of proxies of different range compare after scaling."
    ),
    source="derived here",
    kind="exact",
    unit=(
        "share of what is allowed: 4 n eps of its terms for the velocity at the start, 1e-7 in probability for the "
        "ends of two flows integrated at rtol 1e-10"
    ),
    draw=_draw_units,
    batch_claim=_perturbation_linearity,
    premise=lambda problem, scale, **_: scale > 0,
    sizes=((2, 3, 4), (1, 30, None)),
)


# A4 and A9 of docs/theory.md.
THEOREMS = [conserved_sum, perturbation_linearity]
