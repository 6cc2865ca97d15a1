r"""Sequences of tokens of one length: a tree of prefixes.

A decision point is a prefix of 0 to H - 1 tokens, an output the next token, and an episode a whole output of H tokens:
P = 1 + V + ... + V^(H-1) decision points, level by level and within a level in lexicographic order.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from pgdyn import validate
from pgdyn.problem import Problem
from pgdyn.transitions import END
from pgdyn.validate import Numbers

_MOST = 2**22  # outputs
Rewards = Numbers | Callable[[tuple[int, ...]], float]


def tree(
    vocabulary: int,
    length: int,
    true_reward: Rewards,
    proxy_reward: Rewards | None = None,
    *,
    step_true_reward: Rewards | None = None,
    step_proxy_reward: Rewards | None = None,
    initial_policy: Numbers | None = None,
    features: Literal["position", "last_token"] | Numbers | None = None,
    initial_params: Numbers | None = None,
    temperature: Numbers = 1.0,
) -> Problem:
    """Outputs of `length` tokens of a vocabulary, chosen token by token.

    Args:
        vocabulary: V, the number of tokens.
        length: H, the tokens of an output.
        true_reward: [V^H] of whole outputs in lexicographic order, or a function of the tuple of tokens; or [P, V] of
            steps.
        proxy_reward: like `true_reward`; None means the ground truth itself, steps included.
        step_true_reward: paid besides, [P, V] for each token after each prefix, or a function of the tuple of tokens
            so far, the new one last.
        step_proxy_reward: like `step_true_reward`; None for that of the truth where the proxy is the truth, else for 0.
        initial_policy: [V] the same everywhere, [H, V] by position, [P, V] by prefix, or [V^H] of whole outputs; None
            for uniform.
        features: None for a tabular policy, which has a logit for each prefix and token; "position" for logits that
            prefixes of one length share (tokens are independent then); "last_token" for logits that prefixes with the
            same last token share; or an array [P, V, D].
        initial_params: [D], in place of `initial_policy`, with features.
        temperature: a positive number.

    Returns:
        A problem of P decision points and V outputs.

    Raises:
        ValueError: on counts below 1, more than 2^22 outputs, or an array of the wrong length.

    Example:
        >>> problem = tree(2, 3, lambda tokens: float(sum(tokens) == 3))
        >>> problem.num_prompts, problem.num_outputs, problem.transitions.num_levels
        (7, 2, 3)
    """
    vocabulary = validate.count("vocabulary", vocabulary, minimum=1)
    length = validate.count("length", length, minimum=1)
    outputs = vocabulary**length
    if outputs > _MOST:
        raise ValueError(f"vocabulary^length is {outputs}; a tree of prefixes has at most {_MOST} outputs")
    points = sum(vocabulary**i for i in range(length))

    truth = _table("true_reward", true_reward, step_true_reward, vocabulary, length)
    proxy = None
    if proxy_reward is not None:
        proxy = _table("proxy_reward", proxy_reward, step_proxy_reward, vocabulary, length)
    elif step_proxy_reward is not None:
        raise ValueError("step_proxy_reward goes with a proxy_reward, and there is none")
    inner = points - vocabulary ** (length - 1)
    successors = np.full((points, vocabulary), END)
    successors[:inner] = 1 + np.arange(inner * vocabulary).reshape(inner, vocabulary)
    policy = None if initial_policy is None else _policy(initial_policy, vocabulary, length, points)
    rest: dict[str, Any] = {"temperature": temperature, "transitions": successors}
    if features is None:
        if initial_params is not None:
            raise ValueError("initial_params go with features; a tabular policy takes initial_policy")
        return Problem.tabular(policy, truth, proxy, **rest)
    phi = _features(features, vocabulary, length) if isinstance(features, str) else features
    return Problem.linear(phi, truth, proxy, initial_policy=policy, initial_params=initial_params, **rest)


def prefixes(vocabulary: int, length: int) -> list[tuple[int, ...]]:
    """The tokens of each decision point of `tree`, in the order of its rows.

    Example:
        >>> prefixes(2, 2)
        [(), (0,), (1,)]
    """
    return [prefix for i in range(length) for prefix in itertools.product(range(vocabulary), repeat=i)]


def _table(name: str, whole: Rewards, steps: Rewards | None, vocabulary: int, length: int) -> Float[np.ndarray, "P V"]:
    points, outputs = sum(vocabulary**i for i in range(length)), vocabulary**length
    if callable(whole):
        values = [whole(tokens) for tokens in itertools.product(range(vocabulary), repeat=length)]
        whole = np.array([validate.number(name, value) for value in values])
    table = validate.as_floats(name, whole)
    if table.shape == (outputs,):
        paid = np.zeros((points, vocabulary))
        paid[points - outputs // vocabulary :] = table.reshape(-1, vocabulary)
        table = paid
    elif table.shape != (points, vocabulary):
        raise ValueError(
            f"{name} has shape {table.shape}; it must be ({outputs},), one entry for each output of {length} tokens, "
            f"or ({points}, {vocabulary}) for each step"
        )
    validate.require_finite(name, table)
    if steps is None:
        return table
    if callable(steps):
        ways = [[steps((*prefix, y)) for y in range(vocabulary)] for prefix in prefixes(vocabulary, length)]
        steps = np.array(ways, float)
    more = validate.as_floats(f"step_{name}", steps)
    if more.shape != table.shape:
        raise ValueError(f"step_{name} has shape {more.shape}; it must be {table.shape}, one entry for each step")
    return table + more


def _policy(given: Numbers, vocabulary: int, length: int, points: int) -> np.ndarray:
    policy = validate.as_floats("initial_policy", given)
    position = np.repeat(np.arange(length), [vocabulary**i for i in range(length)])
    if policy.shape == (vocabulary,):
        return np.broadcast_to(policy, (points, vocabulary))
    if policy.shape == (points, vocabulary):
        return policy
    if policy.shape == (length, vocabulary):
        return policy[position]
    if policy.shape == (vocabulary**length,):
        validate.require("initial_policy", policy, policy > 0, "every probability must be positive")
        if abs(policy.sum() - 1) > 1e-6:
            raise ValueError(f"initial_policy sums to {policy.sum():.9g}; probabilities must sum to 1")
        masses = [policy.reshape(vocabulary ** (i + 1), -1).sum(axis=1).reshape(-1, vocabulary) for i in range(length)]
        return np.concatenate([mass / mass.sum(axis=1, keepdims=True) for mass in masses])
    raise ValueError(
        f"initial_policy has shape {policy.shape}; it must be ({vocabulary},), ({length}, {vocabulary}) by position, "
        f"({points}, {vocabulary}) by prefix or ({vocabulary**length},) of whole outputs"
    )


def _features(kind: str, vocabulary: int, length: int) -> Float[np.ndarray, "P V D"]:
    validate.choice("features", kind, ("position", "last_token"))
    before = prefixes(vocabulary, length)
    group: Int[np.ndarray, " P"] = np.array(
        [len(prefix) if kind == "position" else (prefix[-1] + 1 if prefix else 0) for prefix in before]
    )
    groups = length if kind == "position" else vocabulary + 1
    phi = np.zeros((len(before), vocabulary, groups, vocabulary))
    for y in range(vocabulary):
        phi[np.arange(len(before)), y, group, y] = 1.0
    return phi.reshape(len(before), vocabulary, groups * vocabulary)
