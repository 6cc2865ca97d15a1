"""What logs of users tell of models and of answers: a large confounded log, a small randomised one, and both.

Users of two kinds choose among models by taste, and like some models whatever they answer (`pgdyn.labels.logs`). The
large log (OBS) is of users who chose, the small one (EXP) of users who were assigned; the policies of the models are
known (SIM). Measured is the error of six estimates of the models' values against the size of EXP and the strength of
taste, how often the best estimate belongs to each, and what a policy is worth that is trained by gradient flow on the
mean scores of either log.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray

from experiments.controlled_problems import labels as words
from experiments.made_by import recorded
from pgdyn.labels import logs
from pgdyn.metrics import forecast

SIZES = (20, 60, 200, 600, 2000)
TASTES = (0.0, 0.1, 0.3, 1.0)
TWO_MODELS = logs.Users(
    np.array([0.5, 0.5]),
    np.array([[0.2, 0.8], [0.8, 0.2]]),
    np.array([[0.5, 0.6], [0.8, 0.9]]),
    np.ones(1),
    np.ones((2, 1, 1)),
    np.zeros((1, 1)),
)


@recorded
def run(
    repeats: int = 40,
    *,
    sizes: Sequence[int] = SIZES,
    tastes: Sequence[float] = TASTES,
    observed: int = 5000,
    prompts: int = 6,
    outputs: int = 4,
    models: int = 3,
    noise: float = 0.3,
    kl: float = 0.5,
    seed: int = 0,
) -> xarray.Dataset:
    """Draws logs, estimates, and trains.

    Args:
        repeats: populations, each with logs of its own.
        sizes: rows of EXP.
        tastes: how much liking of a model enters the score; 0 leaves nothing to confound.
        observed: rows of OBS.
        prompts: X.
        outputs: K.
        models: M.
        noise: standard deviation of a score.
        kl: at which training on mean scores stops, in nats.
        seed: of everything.

    Returns:
        Over "estimator", "taste" and "size": `error`, the root of the mean square error of a value; over "taste" and
        "size": `best`, the estimator of least error; over "log", "taste" and "size": `gain`, the rise of the true
        quality by training on each log's mean scores, from the policy of the first model. `values`, `naive_values` and
        `bias` [model] are exact, of two models with the tastes of the methods' table.
    """
    rng = np.random.default_rng(seed)
    square = np.zeros((len(logs.ESTIMATORS), len(tastes), len(sizes)))
    gain = np.zeros((2, len(tastes), len(sizes)))

    def trained(users: logs.Users, log: logs.Log) -> float:
        rows = np.repeat(np.arange(prompts), outputs)
        scores, start = logs.mean_scores(users, log).ravel(), users.policies[0].ravel()
        return float(users.prompts @ forecast(rows, scores, users.quality.ravel(), initial=start, kl=kl).true_gain)

    for _ in range(repeats):
        base = {
            "kinds": np.array([0.5, 0.5]),
            "choice": rng.dirichlet(np.ones(models), 2),
            "prompts": rng.dirichlet(np.full(prompts, 3.0)),
            "policies": rng.dirichlet(np.ones(outputs), (models, prompts)),
            "quality": rng.random((prompts, outputs)),
        }
        liking = rng.normal(size=(2, models))
        for t, taste in enumerate(tastes):
            users = logs.Users(**base, taste=taste * liking, noise=noise)
            want = users.values()
            log = users.log(observed, rng)
            gain[0, t] += trained(users, log)
            for n, size in enumerate(sizes):
                trial = users.log(size, rng, randomised=True)
                found = logs.estimates(users, log, trial)
                for e, name in enumerate(logs.ESTIMATORS):
                    # A model that no row is of is estimated by the mean of all rows.
                    value = np.where(np.isnan(found[name]), trial.score.mean(), found[name])
                    square[e, t, n] += np.mean((value - want) ** 2)
                gain[1, t, n] += trained(users, trial)
    error = np.sqrt(square / repeats)
    return xarray.Dataset(
        {
            "error": (("estimator", "taste", "size"), error, {"long_name": "root mean square error of a value"}),
            "best": (("taste", "size"), np.argmin(error, axis=0)),
            "gain": (("log", "taste", "size"), gain / repeats, {"long_name": "rise of the true quality"}),
            "values": ("model", TWO_MODELS.values()),
            "naive_values": ("model", TWO_MODELS.naive_values()),
            "bias": ("model", TWO_MODELS.bias()),
        },
        {
            "estimator": words(logs.ESTIMATORS),
            "taste": list(tastes),
            "size": list(sizes),
            "log": words(["users who chose", "users who were assigned"]),
        },
    )
