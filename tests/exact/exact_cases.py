"""Problems of every class that has an exact solution, and SciPy's flow on them."""

import numpy as np
from scipy.integrate import solve_ivp

from pgdyn import Batch


def rewards(random, count, prompts, outputs):
    """Rewards of batches: [count, prompts, outputs]."""
    return random.uniform(-1, 1, (count, prompts, outputs))


def starts(random, count, prompts, outputs):
    """Initial policies, rare outputs among them."""
    policy = random.dirichlet(np.full(outputs, 0.5), (count, prompts))
    policy = np.maximum(policy, 1e-6)
    return policy / policy.sum(-1, keepdims=True)


def tabular(random, count, outputs):
    """One prompt, one logit an output."""
    return Batch.tabular(
        starts(random, count, 1, outputs), rewards(random, count, 1, outputs), rewards(random, count, 1, outputs)
    )


def several_prompts(random, count):
    """Three prompts of different weights, and a temperature."""
    return Batch.tabular(
        starts(random, count, 3, 4),
        rewards(random, count, 3, 4),
        rewards(random, count, 3, 4),
        temperature=random.uniform(0.5, 2, count),
        prompt_weights=random.dirichlet(np.full(3, 3.0), count),
    )


def linear(random, count, features):
    """Features [count, 1, K, D], and a start in their span."""
    outputs, width = features.shape[2:]
    return Batch.linear(
        features,
        rewards(random, count, 1, outputs),
        rewards(random, count, 1, outputs),
        initial_params=random.standard_normal((count, width)),
        temperature=random.uniform(0.5, 2, count),
    )


def orthogonal(random, count):
    """Orthogonal features of different norms."""
    frames = np.linalg.qr(random.standard_normal((count, 7, 7)))[0][:, None, :5]
    return linear(random, count, frames * random.uniform(0.3, 3, (count, 1, 5, 1)))


def with_common_part(random, count):
    """Kernels diag(a) + b 1' + 1 b', b not 0: orthogonal features that share a direction."""
    frames = np.linalg.qr(random.standard_normal((count, 7, 7)))[0][:, None]
    own = frames[..., :5, :] * random.uniform(0.5, 3, (count, 1, 5, 1))
    return linear(random, count, own + random.uniform(-2, 2, (count, 1, 1, 1)) * frames[..., 5:6, :])


def three_outputs(random, count, width=4):
    """Any features of three outputs: obtuse triangles, and the middle one of a line, have a negative gain."""
    features = random.standard_normal((count, 1, 3, width))
    features[: count // 2, ..., 1:] = 0  # on a line
    return linear(random, count, features)


CLASSES = {
    "tabular": lambda random, count: tabular(random, count, 5),
    "many outputs": lambda random, count: tabular(random, min(count, 32), 20),
    "several prompts": several_prompts,
    "orthogonal features": orthogonal,
    "features with a common part": with_common_part,
    # Few, because all wait for the one that comes to rest last.
    "three outputs": lambda random, count: three_outputs(random, min(count, 32)),
}


def scipy_flow(problem, t1, event=None):
    """DOP853 at 1e-13: the logits' path, with an event function of the probabilities [P, K]."""
    features = None if problem.features is None else np.asarray(problem.features)
    reward = np.asarray(problem.proxy_reward)
    weights, temperature = np.asarray(problem.prompt_weights), float(problem.temperature)

    def policy(params):
        logits = params.reshape(reward.shape) if features is None else features @ params
        grown = np.exp((logits - logits.max(1, keepdims=True)) / temperature)
        return grown / grown.sum(1, keepdims=True)

    def field(t, params):
        pi = policy(params)
        signal = weights[:, None] * pi * (reward - (pi * reward).sum(1, keepdims=True)) / temperature
        return signal.ravel() if features is None else np.einsum("pkd,pk->d", features, signal)

    events = None if event is None else lambda t, params: event(policy(params))
    start = np.asarray(problem.initial_params).ravel()
    found = solve_ivp(field, (0, t1), start, method="DOP853", rtol=1e-13, atol=1e-13, events=events)
    return policy(found.y[:, -1]), found.t_events
