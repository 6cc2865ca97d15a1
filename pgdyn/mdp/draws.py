"""Random Markov decision processes, for property tests and ensembles."""

from __future__ import annotations

import numpy as np

from pgdyn import validate
from pgdyn.problem import Problem


def random_mdp(
    seed: int,
    *,
    states: int = 4,
    actions: int = 3,
    horizon: int = 3,
    stochastic: bool = True,
    ending: float = 0.1,
    concentration: float = 1.0,
) -> Problem:
    """A Markov decision process drawn at random: `states` states at each of `horizon` times.

    Args:
        seed: of NumPy's generator; the same seed gives the same problem.
        states: states at every time; episodes begin in any of them.
        actions: K.
        horizon: decisions of the longest episode.
        stochastic: whether an action leads to each state with a probability drawn from Dirichlet(1), else to one state
            drawn uniformly.
        ending: probability that an action ends the episode: its share where chance decides, else of all actions.
        concentration: of the Dirichlet distribution of the initial policy.

    Returns:
        A tabular problem of horizon * states decision points, whose rewards are standard normal and whose starts have
        weights drawn from Dirichlet(1). Every decision point is reached.

    Raises:
        ValueError: on counts below 1 or numbers out of range.

    Example:
        >>> problem = random_mdp(0, states=2, actions=3, horizon=2)
        >>> problem.num_prompts, problem.transitions
        (4, Transitions(stochastic, P=4, K=3, levels=2))
    """
    sizes = {"states": states, "actions": actions, "horizon": horizon}
    states, actions, horizon = (validate.count(name, size, minimum=1) for name, size in sizes.items())
    ending = float(validate.number("ending", ending, minimum=0.0))
    if ending >= 1:
        raise ValueError(f"ending is {ending:g}; it must be below 1")
    concentration = float(validate.number("concentration", concentration, positive=True))
    draw = np.random.default_rng(validate.count("seed", seed, minimum=0))
    points = states * horizon
    onward = np.zeros((points, actions, points))
    for time in range(horizon - 1):
        here, there = slice(time * states, (time + 1) * states), slice((time + 1) * states, (time + 2) * states)
        if stochastic:
            onward[here, :, there] = (1 - ending) * draw.dirichlet(np.ones(states), size=(states, actions))
            continue
        goes = draw.integers(states, size=(states, actions))
        kept = draw.random((states, actions)) >= ending
        sure = np.arange(states), draw.integers(actions, size=states)  # so that no state is left out
        goes[sure], kept[sure] = draw.permutation(states), True
        onward[here, :, there] = kept[:, :, None] * np.eye(states)[goes]
    weights = np.zeros(points)
    weights[:states] = draw.dirichlet(np.ones(states))
    policy = np.maximum(draw.dirichlet(np.full(actions, concentration), size=points), 1e-6)
    policy /= policy.sum(axis=1, keepdims=True)
    transitions = onward if stochastic else np.where(onward.any(axis=2), onward.argmax(axis=2), -1)
    reward, proxy = draw.normal(size=(2, points, actions))
    return Problem.tabular(policy, reward, proxy, prompt_weights=weights, transitions=transitions)
