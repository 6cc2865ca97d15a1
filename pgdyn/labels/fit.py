r"""Rewards fitted to preferences: Bradley-Terry with margins, soft labels, centring and ridge.

With D_n = r(chosen_n) - r(rejected_n), x_n = D_n - margin_n and q_n the probability that label n is right,

    L = sum_n w_n / sum w [ -q_n log sigma(x_n) - (1 - q_n) log sigma(-x_n) + eta (r(chosen_n) + r(rejected_n))^2 ]
        + ridge / 2 |theta|^2

r = theta (tabular, [P, K]) or Phi theta. L is convex; it is minimised by Newton's method with least-norm steps, so that
a tabular reward without centring or ridge sums to zero over the outputs of each group that comparisons connect.
Infinitely many labels of a Bradley-Terry truth give the truth up to such constants; flips e give logit((1 - 2 e)
sigma(D) + e).

Without ridge there is no minimum where some direction is never contradicted (separable data: one output never loses,
say). Then the fit says so and stops where it is.

Sources: Bradley and Terry (1952); the centring term and its weight .01 are those of the program of arXiv 2503.15477;
separability: Ford (1957), for linear features a linear programme.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pgdyn import validate
from pgdyn.labels.preferences import Preferences, sigmoid
from pgdyn.validate import Numbers

_STEPS, _TOLERANCE = 200, 1e-11


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fitted reward.

    Attributes:
        reward: [P, K].
        params: [P, K] when tabular, [D] with features.
        converged: whether the gradient vanished.
        separable: whether no finite minimum exists.
        loss: L at the end.
        message: what happened, in a sentence.
    """

    reward: np.ndarray
    params: np.ndarray
    converged: bool
    separable: bool
    loss: float
    message: str


def fit(
    pairs: Preferences,
    shape: tuple[int, int] | None = None,
    *,
    features: Numbers | None = None,
    ridge: float = 0.0,
    smoothing: float = 0.0,
    centring: float = 0.0,
    steps: int = _STEPS,
) -> Fit:
    """The Bradley-Terry reward of labelled pairs.

    Args:
        pairs: the labels, with their weights, margins and probabilities.
        shape: (P, K), of a tabular reward.
        features: [K, D] (the same for every prompt) or [P, K, D], of a linear one; then `shape` is not given, unless to
            say how many prompts there are.
        ridge: weight of |theta|^2 / 2, at least 0.
        smoothing: s in [0, 1/2): labels count as right with q (1 - s) + (1 - q) s.
        centring: eta, at least 0.
        steps: at most so many steps of Newton's method; few leave a reward model that is not trained to the end.

    Raises:
        ValueError: on numbers out of range, indices that do not fit, or no weight.

    Example:
        >>> from pgdyn.labels.preferences import all_pairs, win_probability
        >>> found = fit(all_pairs(win_probability([1.0, 0.0], flip=0.25)), (1, 2))
        >>> (found.reward[0, 0] - found.reward[0, 1]).round(4), found.converged
        (np.float64(0.4706), True)
    """
    ridge, smoothing, centring = (
        float(validate.number(name, value, minimum=0.0))
        for name, value in (("ridge", ridge), ("smoothing", smoothing), ("centring", centring))
    )
    if not smoothing < 0.5:
        raise ValueError(f"smoothing is {smoothing:g}; it must be below 1/2")
    table = None if features is None else np.asarray(validate.as_floats("features", features))
    if table is not None:
        validate.require_finite("features", table)
        if table.ndim == 2:
            prompts = shape[0] if shape else int(pairs.prompt.max(initial=0)) + 1
            table = np.broadcast_to(table, (prompts, *table.shape))
        shape = (table.shape[0], table.shape[1])
    if shape is None:
        raise ValueError("either shape or features says what is fitted; both are missing")
    for name, index, size in (
        ("prompt", pairs.prompt, shape[0]),
        ("chosen", pairs.chosen, shape[1]),
        ("rejected", pairs.rejected, shape[1]),
    ):
        validate.require(name, index, (index >= 0) & (index < size), f"it must be from 0 to {size - 1}")
    total = pairs.weight.sum()
    if not total > 0:
        raise ValueError("the preferences have no weight")
    right = pairs.label * (1 - smoothing) + (1 - pairs.label) * smoothing
    problem = _Loss(pairs, pairs.weight / total, right, shape, table, ridge, centring)
    separable = ridge == 0 and _is_separable(problem)
    params, converged, loss = _newton(problem, validate.count("steps", steps, minimum=0))
    reward = params.reshape(shape) if table is None else table @ params
    message = "the gradient vanished" if converged else f"stopped after {steps} steps"
    if separable:
        message = "the labels are separable, so the fit grows without end; give it ridge or smoothing"
        converged = False
    return Fit(reward, params.reshape(shape) if table is None else params, converged, separable, loss, message)


def population_logits(win: np.ndarray) -> np.ndarray:
    """[P, K, K], the differences of rewards that infinitely many labels ask for: logit P(y better than y').

    A Bradley-Terry fit meets them all exactly where they are differences of one reward; flips spoil that from three
    outputs on, and the fit is then the best compromise.

    Example:
        >>> from pgdyn.labels.preferences import win_probability
        >>> population_logits(win_probability([1.0, 0.0], flip=0.25))[0, 0, 1].round(4)
        np.float64(0.4706)
    """
    return np.log(win) - np.log1p(-win)


@dataclasses.dataclass(frozen=True)
class _Loss:
    pairs: Preferences
    weight: np.ndarray
    right: np.ndarray
    shape: tuple[int, int]
    features: np.ndarray | None
    ridge: float
    centring: float

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1] if self.features is None else self.features.shape[-1]

    def rows(self) -> tuple[np.ndarray, np.ndarray]:
        """[N, D] features of the chosen and the rejected outputs."""
        assert self.features is not None
        prompt = self.pairs.prompt
        return self.features[prompt, self.pairs.chosen], self.features[prompt, self.pairs.rejected]

    def parts(self, params: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """The loss, its derivative in D and in the sum, and the second derivative in D, each [N]."""
        high, low = self.scores(params)
        x, both = high - low - self.pairs.margin, high + low
        loss = self.right * np.logaddexp(0, -x) + (1 - self.right) * np.logaddexp(0, x) + self.centring * both**2
        return float(self.weight @ loss + self.ridge / 2 * params @ params), sigmoid(x), both

    def scores(self, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.features is None:
            table = params.reshape(self.shape)
            return table[self.pairs.prompt, self.pairs.chosen], table[self.pairs.prompt, self.pairs.rejected]
        high, low = self.rows()
        return high @ params, low @ params

    def step(self, params: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradient, and the least-norm Newton step."""
        _, chance, both = self.parts(params)
        slope = self.weight * (chance - self.right)
        bend = self.weight * chance * (1 - chance)
        lift, curve = 2 * self.centring * self.weight * both, 2 * self.centring * self.weight
        if self.features is not None:
            high, low = self.rows()
            gradient = slope @ (high - low) + lift @ (high + low) + self.ridge * params
            hessian = (high - low).T @ (bend[:, None] * (high - low)) + (high + low).T @ (curve[:, None] * (high + low))
            hessian += self.ridge * np.eye(self.size)
            return gradient, -np.linalg.pinv(hessian, rcond=1e-13, hermitian=True) @ gradient
        prompts, outputs = self.shape
        at, other = self.pairs.prompt * outputs + self.pairs.chosen, self.pairs.prompt * outputs + self.pairs.rejected
        gradient = np.bincount(at, slope + lift, self.size) + np.bincount(other, lift - slope, self.size)
        gradient = gradient + self.ridge * params
        hessian = np.zeros((prompts, outputs, outputs))
        diagonal = np.bincount(at, bend + curve, self.size) + np.bincount(other, bend + curve, self.size) + self.ridge
        np.add.at(hessian, (self.pairs.prompt, self.pairs.chosen, self.pairs.rejected), curve - bend)
        hessian = hessian + hessian.transpose(0, 2, 1)
        hessian[:, np.arange(outputs), np.arange(outputs)] += diagonal.reshape(prompts, outputs)
        inverse = np.linalg.pinv(hessian, rcond=1e-13, hermitian=True)
        return gradient, -np.einsum("pij,pj->pi", inverse, gradient.reshape(prompts, outputs)).ravel()


def _newton(problem: _Loss, steps: int) -> tuple[np.ndarray, bool, float]:
    params = np.zeros(problem.size)
    loss = problem.parts(params)[0]
    for _ in range(steps):
        gradient, move = problem.step(params)
        if np.max(np.abs(gradient)) < _TOLERANCE:
            return params, True, loss
        size = 1.0
        while size > 1e-10:
            trial = params + size * move
            new = problem.parts(trial)[0]
            if new <= loss + 1e-4 * size * float(gradient @ move) + 1e-15 * abs(loss):
                break
            size /= 2
        else:
            break
        params, loss = trial, new
    gradient, _ = problem.step(params)
    return params, bool(np.max(np.abs(gradient)) < 100 * _TOLERANCE), loss


def _is_separable(problem: _Loss) -> bool:
    """Whether some direction agrees with every label, and strictly with one."""
    seen = problem.weight > 0
    sure, unsure = seen & (problem.right >= 1), seen & (problem.right < 1)
    if problem.features is None:
        prompts, outputs = problem.shape
        beats = np.zeros((prompts, outputs, outputs), bool)
        beats[
            problem.pairs.prompt[sure | unsure],
            problem.pairs.chosen[sure | unsure],
            problem.pairs.rejected[sure | unsure],
        ] = True
        beats[problem.pairs.prompt[unsure], problem.pairs.rejected[unsure], problem.pairs.chosen[unsure]] = True
        # Finite where whoever beats another is beaten by it too, through others if need be.
        reach = beats | np.eye(outputs, dtype=bool)
        for _ in range(int(np.ceil(np.log2(max(outputs, 2))))):
            reach = (reach.astype(float) @ reach.astype(float)) > 0
        return bool(np.any(reach & ~reach.transpose(0, 2, 1)))
    from scipy.optimize import linprog

    high, low = problem.rows()
    gaps = (high - low)[sure | unsure]
    equal = (high - low)[unsure]
    aim = -(high - low)[sure].sum(axis=0)
    if not len(aim) or not np.any(sure):
        return False
    found = linprog(
        aim, A_ub=-gaps, b_ub=np.zeros(len(gaps)), A_eq=equal if len(equal) else None,
        b_eq=np.zeros(len(equal)) if len(equal) else None, bounds=(-1, 1),
    )  # fmt: skip
    return bool(found.status == 0 and found.fun < -1e-9 * max(1.0, float(np.abs(aim).max())))
