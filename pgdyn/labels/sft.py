r"""A supervised step on one output of one prompt, and what it does to others.

A step of size eta on log pi_p(y) moves the parameters by eta / T (phi_p(y) - E_pi phi_p), and the logit of output z of
prompt q by

    eta / T^2 < phi_q(z), phi_p(y) - E_{pi_p} phi_p >,

exactly: logits are linear in the parameters. A tabular policy therefore learns nothing about other prompts; shared
features carry a behaviour over, in proportion to how much they have in common. That is all this says about
generalisation of reward hacks from harmless tasks (School of Reward Hacks): a mechanism, not evidence that language
models work so.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from pgdyn import validate
from pgdyn.problem import Problem, require_single


def sft_step(problem: Problem, prompt: int, output: int, *, rate: float) -> Problem:
    """The same problem, started after one step of size `rate` on log pi(output | prompt).

    Args:
        problem: one problem.
        prompt: p.
        output: y.
        rate: eta.

    Raises:
        ValueError: on a batch, or an index that there is not.

    Example:
        >>> problem = Problem.tabular([0.5, 0.5], [1.0, 0.0])
        >>> np.asarray(sft_step(problem, 0, 1, rate=0.2).initial_params - problem.initial_params).round(6).tolist()
        [[-0.1, 0.1]]
    """
    push = _push(problem, prompt, output)
    scale = float(rate) / float(problem.temperature)
    if problem.features is None:
        move = np.zeros(problem.params_shape)
        move[prompt] = scale * push
    else:
        move = scale * push @ np.asarray(problem.features)[prompt]
    start = problem.initial_params + jnp.asarray(move, problem.initial_params.dtype)
    return eqx.tree_at(lambda one: one.initial_params, problem, start)


def sft_change(problem: Problem, prompt: int, output: int, *, rate: float) -> np.ndarray:
    """[P, K], the change of every logit by that step, by the formula of the module.

    Args:
        problem: one problem.
        prompt: p.
        output: y.
        rate: eta.

    Raises:
        ValueError: as `sft_step`.

    Example:
        >>> problem = Problem.linear([[[1.0], [0.0]], [[2.0], [0.0]]], [[1.0, 0.0], [1.0, 0.0]])
        >>> sft_change(problem, 0, 0, rate=1.0).tolist()
        [[0.5, 0.0], [1.0, 0.0]]
    """
    push = _push(problem, prompt, output)
    scale = float(rate) / float(problem.temperature) ** 2
    change = np.zeros(problem.true_reward.shape)
    if problem.features is None:
        change[prompt] = scale * push
        return change
    features = np.asarray(problem.features)
    return scale * features @ (push @ features[prompt])


def _push(problem: Problem, prompt: int, output: int) -> np.ndarray:
    """[K], 1 at the output minus the policy."""
    require_single(problem, "sft_step")
    validate.count("prompt", prompt, minimum=0, maximum=problem.num_prompts - 1)
    validate.count("output", output, minimum=0, maximum=problem.num_outputs - 1)
    params = np.asarray(problem.initial_params)
    logits = params[prompt] if problem.features is None else np.asarray(problem.features)[prompt] @ params
    logits = logits / float(problem.temperature)
    policy = np.exp(logits - logits.max())
    return np.eye(problem.num_outputs)[output] - policy / policy.sum()
