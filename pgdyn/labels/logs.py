r"""What logs say of models that users chose themselves.

A user of kind u (which nobody sees) picks model m with probability e_m(u), asks x, gets y ~ pi_m(. | x), and reports a
score of mean q(x, y) + h_m(u). The value of a model is V(m) = E_x sum_y pi_m(y | x) q(x, y) + E_u h_m(u). The mean
score of those who picked m is wrong by

    E[score | m] - V(m) = Cov_u( e_m(u), h_m(u) ) / P(m),

and can reverse the order of two models. Six estimates from a large log (OBS), a small randomised one (EXP) and the
policies themselves (SIM, exact here):

    naive            mean score of OBS rows of m
    mean             mean score of EXP rows of m
    ipw              EXP: sum of pi_m(y|x) / mean_k pi_k(y|x) times score, normalised: the rows of all models count
    plug_in          sum_y pi_m(y|x) q(x, y), q the mean EXP score of (x, y) over all models
    doubly_robust    plug_in + mean over EXP rows of m of what q misses
    control_variate  the same with q from OBS: the confounded log only lowers the variance

`ipw` and `plug_in` share rows between models and so suppose that h does not depend on the model. Source: Partial
Testimony of Logs, whose assumptions (randomisation, consistency, positivity, no confounding of what the user does with
the answer) this generator meets.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from pgdyn.metrics.exact import draw

ESTIMATORS = ("naive", "mean", "ipw", "plug_in", "doubly_robust", "control_variate")


@dataclasses.dataclass(frozen=True)
class Users:
    """A population of users and models.

    Attributes:
        kinds: [U], probabilities of the kinds of users.
        choice: [U, M], e_m(u), rows summing to 1.
        taste: [U, M], h_m(u).
        prompts: [X], probabilities of prompts.
        policies: [M, X, K], pi_m.
        quality: [X, K], q.
        noise: standard deviation of a score.

    Example:
        >>> even = np.array([0.5, 0.5])
        >>> one = np.ones((2, 1, 1))
        >>> users = Users(even, np.array([[0.2, 0.8], [0.8, 0.2]]), np.array([[0.5, 0.6], [0.8, 0.9]]), np.ones(1), one,
        ...               np.zeros((1, 1)))
        >>> users.values().round(2).tolist(), users.naive_values().round(2).tolist()
        ([0.65, 0.75], [0.74, 0.66])
    """

    kinds: np.ndarray
    choice: np.ndarray
    taste: np.ndarray
    prompts: np.ndarray
    policies: np.ndarray
    quality: np.ndarray
    noise: float = 0.0

    def values(self) -> np.ndarray:
        """[M], V."""
        return np.einsum("x,mxk,xk->m", self.prompts, self.policies, self.quality) + self.kinds @ self.taste

    def naive_values(self) -> np.ndarray:
        """[M], what the mean scores of a log without end would be."""
        return self.values() + self.bias()

    def bias(self) -> np.ndarray:
        """[M], Cov_u(e_m, h_m) / P(m)."""
        picked = self.kinds @ self.choice
        return (self.kinds @ (self.choice * self.taste) - picked * (self.kinds @ self.taste)) / picked

    def log(self, count: int, rng: np.random.Generator, *, randomised: bool = False) -> Log:
        """Rows of a log: chosen by the users, or by lot."""
        kind = draw(self.kinds[None], count, rng)[0]
        choice = np.full(self.choice.shape, 1 / self.choice.shape[1]) if randomised else self.choice
        model = draw(choice[kind], 1, rng)[:, 0]
        prompt = draw(self.prompts[None], count, rng)[0]
        output = draw(self.policies[model, prompt], 1, rng)[:, 0]
        score = self.quality[prompt, output] + self.taste[kind, model] + self.noise * rng.standard_normal(count)
        return Log(model, prompt, output, score)


@dataclasses.dataclass(frozen=True)
class Log:
    """Rows: who answered, what was asked, what was answered, the score; each [N]."""

    model: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    score: np.ndarray


def estimates(users: Users, observed: Log, randomised: Log) -> dict[str, np.ndarray]:
    """Every estimate of the values [M]; of `users` only the prompts and the policies are looked at.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> even, flat = np.full(2, 0.5), np.full((2, 2), 0.5)
        >>> users = Users(even, flat, np.zeros((2, 2)), even, np.full((2, 2, 2), 0.5), np.eye(2))
        >>> found = estimates(users, users.log(400, rng), users.log(400, rng, randomised=True))
        >>> sorted(found) == sorted(ESTIMATORS), bool(np.all(abs(found["plug_in"] - 0.5) < 1e-12))
        (True, True)
    """
    models = len(users.policies)
    mixed = users.policies.mean(axis=0)
    ratio = users.policies[:, randomised.prompt, randomised.output] / mixed[randomised.prompt, randomised.output]
    own, other = (mean_scores(users, log) for log in (randomised, observed))
    plug_in = np.einsum("x,mxk,xk->m", users.prompts, users.policies, own)
    return {
        "naive": _means(observed, observed.score, models),
        "mean": _means(randomised, randomised.score, models),
        "ipw": ratio @ randomised.score / ratio.sum(axis=1),
        "plug_in": plug_in,
        "doubly_robust": plug_in + _misses(randomised, own, models),
        "control_variate": np.einsum("x,mxk,xk->m", users.prompts, users.policies, other)
        + _misses(randomised, other, models),
    }


def mean_scores(users: Users, log: Log) -> np.ndarray:
    """[X, K], the mean score of every prompt and output; where there are no rows, the mean of all.

    Example:
        >>> even, flat = np.full(1, 1.0), np.full((1, 1, 2), 0.5)
        >>> users = Users(even, np.ones((1, 1)), np.zeros((1, 1)), even, flat, np.zeros((1, 2)))
        >>> log = Log(*np.zeros((3, 2), int), np.array([1.0, 2.0]))
        >>> mean_scores(users, log).tolist()
        [[1.5, 1.5]]
    """
    shape = users.quality.shape
    place = np.ravel_multi_index((log.prompt, log.output), shape)
    count = np.bincount(place, minlength=users.quality.size)
    total = np.bincount(place, log.score, users.quality.size)
    return np.where(count > 0, total / np.maximum(count, 1), log.score.mean()).reshape(shape)


def _means(log: Log, values: np.ndarray, models: int) -> np.ndarray:
    count = np.bincount(log.model, minlength=models)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.bincount(log.model, values, models) / count


def _misses(log: Log, cells: np.ndarray, models: int) -> np.ndarray:
    """[M], the mean of score minus q over the rows of each model; 0 where there are none."""
    return np.nan_to_num(_means(log, log.score - cells[log.prompt, log.output], models))
