"""Speed-ups of many reward errors on the controlled problem: foretold without an integrator, and measured by the flow.

Each error adds normal noise to every reward, of a strength that is itself uniform. Its speed-up is the time to the
target on the ground truth over that on the proxy, both computed by quadrature (`pgdyn.exact`) and by integrating every
flow; beside them the first order, from the gradient of ln T at the ground truth.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import xarray

from experiments import controlled_problems as paper
from experiments.made_by import recorded
from pgdyn import Problem, exact, flow_many, validate
from pgdyn.validate import Numbers


@recorded
def run(
    errors: int = 100_000,
    *,
    initial_policy: Numbers = paper.INITIAL_POLICIES[0],
    true_reward: Numbers = paper.TRUE_REWARD,
    target: float = paper.TARGET,
    strength: float = 1.0,
    latest: float = 1e30,
    seed: int = 0,
    rtol: float = 1e-8,
    atol: float = 1e-10,
) -> xarray.Dataset:
    """Draws reward errors and computes the time to the target under each.

    Args:
        errors: how many.
        initial_policy: [K].
        true_reward: [K].
        target: true value to reach.
        strength: largest standard deviation of the noise.
        latest: a later time is never.
        seed: of the errors.
        rtol: relative tolerance of the flow.
        atol: absolute tolerance of the flow.

    Returns:
        Along "error": `measured_time` of the flow and `exact_time`, inf for never, and `first_order`, of the speed-up.
        `baseline_time`, on the ground truth, by the flow.

    Raises:
        ValueError: on a count below 1.
    """
    count = validate.count("errors", errors, minimum=1)
    start, reward = jnp.asarray(initial_policy), jnp.asarray(true_reward, float)
    problem, rng = Problem.tabular(start, reward), np.random.default_rng(seed)
    noise = rng.normal(size=(count, 1, reward.size)) * rng.uniform(0, strength, (count, 1, 1))
    batch = problem.with_proxy(np.concatenate([np.zeros((1, 1, reward.size)), noise]) + np.asarray(reward))
    found = flow_many(batch, latest, target=target, stop_at_target=True, rtol=rtol, atol=atol).hitting_time
    time, slope = jax.value_and_grad(lambda proxy: exact.hitting_time(Problem.tabular(start, reward, proxy), target))(
        reward
    )
    first = np.exp(-noise[:, 0] @ np.asarray(slope) / float(time))
    foretold = np.asarray(exact.hitting_time(batch, target))[1:]
    unit = {"units": "1"}
    return xarray.Dataset(
        {
            "measured_time": ("error", np.asarray(found)[1:], {**unit, "long_name": "time to the target, by the flow"}),
            "exact_time": (
                "error",
                np.where(foretold > latest, np.inf, foretold),
                {**unit, "long_name": "time to the target, by quadrature"},
            ),
            "first_order": ("error", first, {**unit, "long_name": "speed-up to first order"}),
            "baseline_time": ((), float(found[0]), {**unit, "long_name": "time on the ground truth, by the flow"}),
        },
        attrs={"dynamics": "flow"},
    )
