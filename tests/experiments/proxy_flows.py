"""Flows of one prompt on a proxy by SciPy's DOP853, and the claims that a dataset contradicts."""

import numpy as np
import oracles


def scipy_flow(start, truth, proxy, times, target=None, features=None):
    """(policies [S, K], first hitting time) of a flow from the parameters `start`: [K], or [D] with features [K, D]."""
    setting = oracles.Setting(
        features=None if features is None else np.asarray(features)[None],
        true_reward=np.asarray(truth, float)[None],
        proxy_reward=np.asarray(proxy, float)[None],
        start=np.asarray(start)[None] if features is None else np.asarray(start),
    )
    path, hit = oracles.flow(
        setting, times, lambda params: oracles.value_gradient(setting, params, setting.proxy_reward), target, 1e-12
    )
    return np.exp([oracles.log_policy(setting, params)[0] for params in path]), hit


def failures(reproduction, dataset):
    """Names of the claims that fail."""
    return [claim.name for claim in reproduction.claims if claim.judge(dataset).verdict.value == "failed"]
