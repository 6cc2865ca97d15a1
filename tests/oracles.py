"""Float64 definitions of everything that pgdyn computes, in NumPy and SciPy alone.

No line is shared with pgdyn: values are plain sums over prompts and outputs, gradients are complex-step derivatives of
the objective, flows are SciPy's DOP853 at 1e-13, ascent is a Python loop. Where a formula could be written in a clever
way, it is written in the plain one.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
from scipy.integrate import solve_ivp


@dataclasses.dataclass(frozen=True)
class Setting:
    """A problem as plain arrays: `features` [P, K, D] or None, rewards [P, K], `start` [P, K] (tabular) or [D]."""

    features: np.ndarray | None
    true_reward: np.ndarray
    proxy_reward: np.ndarray
    start: np.ndarray
    temperature: float = 1.0
    weights: np.ndarray | None = None

    @property
    def prompt_weights(self) -> np.ndarray:
        if self.weights is None:
            return np.full(len(self.true_reward), 1 / len(self.true_reward))
        return self.weights / self.weights.sum()

    def problem(self):
        """The same as a `pgdyn.Problem`."""
        import pgdyn

        options = {"temperature": self.temperature, "prompt_weights": self.weights}
        if self.features is None:
            start = np.exp(log_policy(self, self.start))
            return pgdyn.Problem.tabular(start, self.true_reward, self.proxy_reward, **options)
        return pgdyn.Problem.linear(
            self.features, self.true_reward, self.proxy_reward, initial_params=self.start, **options
        )


@dataclasses.dataclass(frozen=True)
class Goal:
    """The options of `pgdyn.Objective`."""

    reward: str = "proxy"
    kl: float = 0.0
    reference: str = "initial"
    kl_direction: str = "reverse"
    entropy: float = 0.0
    normalize_by_std: bool | str = False

    def objective(self):
        import pgdyn

        return pgdyn.Objective(**dataclasses.asdict(self))


# ---------------------------------------------------------------- the policy


def log_policy(setting: Setting, params: np.ndarray) -> np.ndarray:
    """log softmax of the logits, [P, K]; also for complex parameters."""
    if setting.features is None:
        logits = params / setting.temperature
    else:
        logits = np.stack([phi @ params for phi in setting.features]) / setting.temperature
    shift = logits.real.max(axis=1, keepdims=True)
    return logits - shift - np.log(np.exp(logits - shift).sum(axis=1, keepdims=True))


def value(setting: Setting, params: np.ndarray, reward: np.ndarray):
    """sum_p w_p sum_y pi_p(y) r_p(y)."""
    pi = np.exp(log_policy(setting, params))
    return sum(w * (p * r).sum() for w, p, r in zip(setting.prompt_weights, pi, reward, strict=True))


def variance(setting: Setting, params: np.ndarray, reward: np.ndarray):
    """sum_p w_p sum_y pi_p(y) (r_p(y) - V_p)^2."""
    pi = np.exp(log_policy(setting, params))
    rows = zip(setting.prompt_weights, pi, reward, strict=True)
    return sum(w * (p * (r - (p * r).sum()) ** 2).sum() for w, p, r in rows)


def entropy(setting: Setting, params: np.ndarray):
    """-sum_p w_p sum_y pi log pi, in nats."""
    log_pi = log_policy(setting, params)
    return -sum(w * (np.exp(row) * row).sum() for w, row in zip(setting.prompt_weights, log_pi, strict=True))


def reference_log_policy(setting: Setting, goal: Goal) -> np.ndarray:
    if goal.reference == "uniform":
        return np.full(setting.true_reward.shape, -np.log(setting.true_reward.shape[1]))
    return log_policy(setting, setting.start)


def divergence(setting: Setting, goal: Goal, params: np.ndarray):
    """KL(pi || ref) ("reverse") or KL(ref || pi) ("forward"), averaged over prompts, in nats."""
    log_pi, log_ref = log_policy(setting, params), reference_log_policy(setting, goal)
    left, right = (log_pi, log_ref) if goal.kl_direction == "reverse" else (log_ref, log_pi)
    rows = zip(setting.prompt_weights, left, right, strict=True)
    return sum(w * (np.exp(a) * (a - b)).sum() for w, a, b in rows)


# ---------------------------------------------------------------- the objective


def training_reward(setting: Setting, goal: Goal) -> np.ndarray:
    return setting.proxy_reward if goal.reward == "proxy" else setting.true_reward


def std_scale(setting: Setting, goal: Goal, params: np.ndarray):
    """sum_p w_p sqrt(sum_y pi_p (r_p - V)^2) + 1e-8, around the value V averaged over prompts."""
    reward = training_reward(setting, goal)
    mean = value(setting, params, reward)
    pi = np.exp(log_policy(setting, params))
    rows = zip(setting.prompt_weights, pi, reward, strict=True)
    return sum(w * np.sqrt((p * (r - mean) ** 2).sum()) for w, p, r in rows) + 1e-8


def objective(setting: Setting, goal: Goal, params: np.ndarray, scale=None):
    """J = V / s - kl KL + entropy H; a given `scale` is held constant, which is what "detached" means."""
    total = value(setting, params, training_reward(setting, goal))
    if goal.normalize_by_std is not False:
        total = total / (std_scale(setting, goal, params) if scale is None else scale)
    total = total - goal.kl * divergence(setting, goal, params)
    return total + goal.entropy * entropy(setting, params)


def complex_step(function: Callable, params: np.ndarray, size: float = 1e-40) -> np.ndarray:
    """The gradient Im f(x + ih) / h, exact to rounding for an analytic function."""
    slopes = np.empty(params.size)
    for i in range(params.size):
        shifted = params.astype(complex).ravel()
        shifted[i] += 1j * size
        slopes[i] = function(shifted.reshape(params.shape)).imag / size
    return slopes.reshape(params.shape)


def gradient(setting: Setting, goal: Goal, params: np.ndarray) -> np.ndarray:
    """dJ/dtheta by complex steps; "detached" holds the std at its value here."""
    scale = std_scale(setting, goal, params) if goal.normalize_by_std == "detached" else None
    return complex_step(lambda x: objective(setting, goal, x, scale), params)


def value_gradient(setting: Setting, params: np.ndarray, reward: np.ndarray) -> np.ndarray:
    """sum_p w_p sum_y pi_p(y) (r_p(y) - V_p) phi_p(y) / T, output by output, for long reference runs."""
    pi = np.exp(log_policy(setting, params))
    advantage = reward - (pi * reward).sum(axis=1, keepdims=True)
    slope = setting.prompt_weights[:, None] * pi * advantage / setting.temperature
    if setting.features is None:
        return slope
    return np.sum([phi.T @ row for phi, row in zip(setting.features, slope, strict=True)], axis=0)


def fisher(setting: Setting, params: np.ndarray) -> np.ndarray:
    """sum_p w_p E_pi[score score^T], the scores d log pi_p(y) / d theta by complex steps; parameters flattened."""
    prompts, outputs = setting.true_reward.shape
    total = np.zeros((params.size, params.size))
    pi = np.exp(log_policy(setting, params))
    for p, y in itertools.product(range(prompts), range(outputs)):
        score = complex_step(lambda x, p=p, y=y: log_policy(setting, x)[p, y], params).ravel()
        total += setting.prompt_weights[p] * pi[p, y] * np.outer(score, score)
    return total


def natural_gradient(setting: Setting, goal: Goal, params: np.ndarray) -> np.ndarray:
    """F^+ dJ/dtheta."""
    inverse = np.linalg.pinv(fisher(setting, params), rcond=1e-12, hermitian=True)
    return (inverse @ gradient(setting, goal, params).ravel()).reshape(params.shape)


# ---------------------------------------------------------------- the dynamics


def flow(
    setting: Setting,
    times: np.ndarray,
    velocity: Callable[[np.ndarray], np.ndarray],
    target: float | None = None,
    tolerance: float = 1e-13,
) -> tuple[np.ndarray, float]:
    """theta at `times` and the first time with true value >= target (inf: never; nan: no target), by DOP853."""
    shape = setting.start.shape

    def excess(t, y):
        return value(setting, y.reshape(shape), setting.true_reward) - target

    excess.direction = 1
    solution = solve_ivp(
        lambda t, y: velocity(y.reshape(shape)).ravel(),
        (0.0, float(times[-1])),
        setting.start.ravel(),
        method="DOP853",
        t_eval=times,
        rtol=tolerance,
        atol=tolerance,
        events=None if target is None else excess,
    )
    assert solution.success, solution.message
    path = solution.y.T.reshape(len(times), *shape)
    if target is None:
        return path, np.nan
    if excess(0, setting.start) >= 0:
        return path, 0.0
    hits = solution.t_events[0]
    return path, float(hits[0]) if len(hits) else np.inf


class Sgd:
    """theta += rate(count) * m, m = momentum * m + gradient (with Nesterov's look-ahead if asked)."""

    def __init__(self, rate, momentum: float = 0.0, nesterov: bool = False):
        self.rate = rate if callable(rate) else lambda count: rate
        self.momentum, self.nesterov = momentum, nesterov
        self.memory, self.count = 0.0, 0

    def step(self, gradient: np.ndarray) -> np.ndarray:
        self.memory = self.momentum * self.memory + gradient
        ahead = self.momentum * self.memory + gradient if self.nesterov else self.memory
        change = self.rate(self.count) * ahead
        self.count += 1
        return change


class Adam:
    """Kingma & Ba 2015, algorithm 1."""

    def __init__(self, rate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8):
        self.rate, self.b1, self.b2, self.eps = rate, b1, b2, eps
        self.mean, self.square, self.count = 0.0, 0.0, 0

    def step(self, gradient: np.ndarray) -> np.ndarray:
        self.count += 1
        self.mean = self.b1 * self.mean + (1 - self.b1) * gradient
        self.square = self.b2 * self.square + (1 - self.b2) * gradient**2
        mean = self.mean / (1 - self.b1**self.count)
        square = self.square / (1 - self.b2**self.count)
        return self.rate * mean / (np.sqrt(square) + self.eps)


def ascend(setting: Setting, goal: Goal, steps: int, optimizer, target: float | None = None):
    """theta after 0..steps updates, and the first count with true value >= target (inf: never)."""
    path, params, hit = [setting.start], setting.start, np.inf
    for count in range(steps + 1):
        if target is not None and hit == np.inf and value(setting, params, setting.true_reward) >= target:
            hit = count
        if count < steps:
            params = params + optimizer.step(gradient(setting, goal, params))
            path.append(params)
    return np.stack(path), float(hit)


# ---------------------------------------------------------------- sampling


def reinforce_expectation(setting: Setting, params: np.ndarray, reward: np.ndarray, baseline, group: int) -> np.ndarray:
    """The expected REINFORCE update over every possible group of outputs of every prompt, in the logits, [P, K].

    A group's update is (1/G) sum_i (r_i - b) grad log pi(y_i); prompts are drawn independently, so each is enumerated
    alone.
    """
    pi = np.exp(log_policy(setting, params))
    expected = np.zeros_like(pi)
    for p, row in enumerate(pi):
        offset = (row * reward[p]).sum() if baseline == "value" else (baseline or 0.0)
        for drawn in itertools.product(range(len(row)), repeat=group):
            chance = np.prod([row[y] for y in drawn])
            for y in drawn:
                score = (np.arange(len(row)) == y) - row
                expected[p] += setting.prompt_weights[p] * chance * (reward[p, y] - offset) * score / group
    return expected
