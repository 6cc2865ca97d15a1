"""Advantages and expected updates of the estimators by their definitions, one group at a time, in NumPy.

Nothing is shared with pgdyn: subsets are listed by `itertools.combinations`, best-of-N values are sums over all draws
of distribution functions, expectations are sums over every group of outputs.
"""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import numpy as np


def enumerate_groups(pi, size):
    """(outputs, probability) of every group of `size` outputs."""
    for group in itertools.product(range(len(pi)), repeat=size):
        yield np.array(group), math.prod(pi[y] for y in group)


def expected_update(pi, reward, size, advantages):
    """sum over groups of the probability times (1/G) sum_i a_i (onehot(y_i) - pi), [K]."""
    total = np.zeros(len(pi))
    for group, chance in enumerate_groups(pi, size):
        for y, a in zip(group, advantages(group, reward[group], pi, reward), strict=True):
            total += chance / size * a * ((np.arange(len(pi)) == y) - pi)
    return total


def rloo(group, r, pi, table):
    return [r[i] - np.mean(np.delete(r, i)) for i in range(len(r))]


def centred(group, r, pi, table):
    return r - sum(r) / len(r)


def grpo(ddof, eps):
    def advantages(group, r, pi, table):
        if len(set(r)) == 1:
            return np.zeros(len(r))
        return (r - np.mean(r)) / (np.std(r, ddof=ddof) + eps)

    return advantages


def max_rl(group, r, pi, table):
    return np.zeros(len(r)) if len(set(r)) == 1 or np.mean(r) == 0 else (r - np.mean(r)) / np.mean(r)


def max_at_k(k, baseline):
    def advantages(group, r, pi, table):
        found = []
        for i in range(len(r)):
            others = [j for j in range(len(r)) if j != i]
            with_i = [max(r[list((i, *rest))]) for rest in itertools.combinations(others, k - 1)]
            taken = {"loo": k, "subset": k - 1, None: 0}[baseline]
            without = [max(r[list(rest)]) for rest in itertools.combinations(others, taken)] if taken else [0.0]
            found.append(k * (np.mean(with_i) - np.mean(without)))
        return found

    return advantages


def expected_best(pi, table, count, least=-math.inf):
    """E max(least, best of `count` draws), by listing every sequence of draws."""
    return sum(
        math.prod(pi[y] for y in drawn) * max([least, *(table[y] for y in drawn)])
        for drawn in itertools.product(range(len(pi)), repeat=count)
    )


def best_of_n(n):
    def advantages(group, r, pi, table):
        return [n * (expected_best(pi, table, n - 1, value) - expected_best(pi, table, n)) for value in r]

    return advantages


def normal_maximum(n):
    """E max of n standard normals: the integral of n x phi(x) Phi(x)^(n-1)."""
    x = np.linspace(-10, 10, 200_001)
    below = np.array([NormalDist().cdf(value) for value in x[:: len(x) // 20_000]])
    x = x[:: len(x) // 20_000]
    return np.trapezoid(n * x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi) * below ** (n - 1), x)


def tail_extrapolated(n, alpha, prefixes=((1, 1.0),)):
    z = NormalDist().inv_cdf(1 - alpha)
    slope = NormalDist().pdf(z) / alpha
    c = (normal_maximum(n) - slope) / math.sqrt(1 + z * slope - slope**2)

    def one(r):
        q = np.quantile(r, 1 - alpha)
        tail = r[r >= q]
        mu, sigma = tail.mean(), tail.std()
        second = c / (2 * sigma) if len(set(tail)) > 1 else 0.0
        return np.where(r >= q, (r - q) + second * ((r - mu) ** 2 - (q - mu) ** 2), 0) / alpha

    def advantages(group, r, pi, table):
        total = np.zeros(len(r))
        for part, weight in prefixes:
            length = len(r) // part
            total[:length] += weight * part * one(r[:length])
        return total

    return advantages


def reinforce(kind):
    def advantages(group, r, pi, table):
        scores = np.eye(len(pi)) - pi
        weight = (scores**2).sum(1)
        baseline = {
            "value": pi @ table,
            "optimal": (pi * weight) @ table / (pi @ weight),
            "greedy": table[np.argmax(pi)],
            None: 0.0,
        }
        return r - (baseline[kind] if isinstance(kind, str | None) else kind)

    return advantages


def unlikeliness(beta, variant, keep_flat, then):
    def advantages(group, r, pi, table):
        size = len(r)
        likelier = np.array([sum(pi[group] > pi[y]) + (sum(pi[group] == pi[y]) - 1) / 2 for y in group])
        steps = size - likelier if variant == "paper" else size - 1 - likelier
        changed = r * (1 - beta * steps / size)
        return then(group, r if len(set(r)) == 1 and not keep_flat else changed, pi, table)

    return advantages


def whitened(keep_mean, then):
    def advantages(group, r, pi, table):
        white = (r - r.mean()) / math.sqrt(r.var(ddof=1) + 1e-8)
        return then(group, white + keep_mean * r.mean(), pi, table)

    return advantages


def robust(delta, then):
    def advantages(group, r, pi, table):
        score = r - delta * pi[group]
        best = {int(y) for y, value in zip(group, score, strict=True) if value == max(score)}
        return then(group, r + np.array([delta / len(best) if y in best else 0.0 for y in group]), pi, table)

    return advantages


def kl_in_reward(form, weight, reference, then):
    def advantages(group, r, pi, table):
        logs = np.log(pi[group] / reference[group])
        k = {"k1": logs, "k2": logs**2 / 2, "k3": np.exp(-logs) - 1 + logs}[form]
        return then(group, r - weight * k, pi, table)

    return advantages
