"""Sequences of decisions by listing every episode, in NumPy and SciPy alone; no line is shared with pgdyn.

Log-probabilities, returns and penalties are sums along episodes; gradients are complex-step derivatives.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp


def dense(transitions):
    """[P, K, P] of [P, K] numbers of decision points (-1 the end), or of itself."""
    transitions = np.asarray(transitions)
    if transitions.ndim == 3:
        return transitions
    chance = np.zeros((*transitions.shape, len(transitions)))
    for s, y in np.ndindex(transitions.shape):
        if transitions[s, y] >= 0:
            chance[s, y, transitions[s, y]] = 1.0
    return chance


def episodes(transitions, weights):
    """(probability of start and chance, [(point, action), ...]) of every episode."""
    chance = dense(transitions)
    found = []

    def go_on(odds, way, s):
        for y in range(chance.shape[1]):
            here = [*way, (s, y)]
            rest = 1 - chance[s, y].sum()
            if rest > 1e-12:
                found.append((odds * rest, here))
            for t in np.nonzero(chance[s, y])[0]:
                go_on(odds * chance[s, y, t], here, t)

    for s in np.nonzero(weights)[0]:
        go_on(weights[s], [], s)
    return found


def log_policy(z):
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def objective(
    z, reward, ways, start, kl=0.0, entropy=0.0, direction="reverse", normalize=False, weights=None, reference=None
):
    """J at the logits z [P, K], which may be complex; the reference is the policy at the logits `start`."""
    log, ref = log_policy(z), log_policy(start) if reference is None else reference

    def along(table):
        return np.array([sum(table[s, y] for s, y in way) for _, way in ways])

    odds = np.array([odds for odds, _ in ways])
    mass, returns = odds * np.exp(along(log)), along(reward)
    value = (mass * returns).sum()
    total = value
    if normalize:
        first = np.array([way[0][0] for _, way in ways])
        std = 0.0
        for s in np.unique(first):
            own = first == s
            std = std + weights[s] * np.sqrt((mass[own] / weights[s] * (returns[own] - value) ** 2).sum())
        total = total / (std + 1e-8)
    if direction == "reverse":
        total = total - kl * (mass * (along(log) - along(ref))).sum()
    else:
        total = total - kl * (odds * np.exp(along(ref)) * (along(ref) - along(log))).sum()
    return total - entropy * (mass * along(log)).sum()


def gradient(z, *arguments, **options):
    """dJ/dz by complex steps."""
    found = np.zeros(z.shape)
    for index in np.ndindex(z.shape):
        moved = z.astype(complex)
        moved[index] += 1e-30j
        found[index] = objective(moved, *arguments, **options).imag / 1e-30
    return found


def flow(start, t1, *arguments, **options):
    """The logits at t1 of z' = dJ/dz, by DOP853."""
    ran = solve_ivp(
        lambda t, z: gradient(z.reshape(start.shape), *arguments, **options).ravel(),
        (0.0, t1),
        start.ravel(),
        method="DOP853",
        rtol=1e-12,
        atol=1e-13,
    )
    return ran.y[:, -1].reshape(start.shape)
