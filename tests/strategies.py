"""Hypothesis strategies for problems and objectives that reach the hard corners.

Shapes come from a short list, so that compiled code is reused; numbers come from a drawn seed and a drawn corner for
each ingredient, so that a failing example shrinks to its seed and the corners that matter.
"""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from oracles import Goal, Setting, log_policy

# (P, K, D); D None is tabular. D below and above K, one and several prompts.
SHAPES = (
    (1, 2, None),
    (1, 3, None),
    (1, 5, None),
    (1, 10, None),
    (3, 5, None),
    (1, 5, 2),
    (3, 5, 4),
    (2, 3, 7),
)
REWARDS = ("uniform", "ties", "equal", "huge", "gap")
STARTS = ("flat", "peaked", "tiny")
FEATURES = ("normal", "duplicated", "near-dependent", "zero row")
TEMPERATURES = (1.0, 0.5, 2.5)


def make_setting(
    seed: int,
    shape: tuple[int, int, int | None],
    rewards: str = "uniform",
    start: str = "flat",
    features: str = "normal",
    temperature: float = 1.0,
    weighted: bool = False,
) -> Setting:
    """The setting of these corners; the same arguments always give the same numbers."""
    prompts, outputs, width = shape
    rng = np.random.default_rng(seed)
    true_reward, proxy_reward = (_rewards(rng, rewards, (prompts, outputs)) for _ in range(2))
    spread = {"flat": 1.0, "peaked": 6.0, "tiny": 1.0}[start]
    weights = rng.dirichlet(np.ones(prompts)) if weighted else None
    if weighted and prompts > 2:
        weights[0] = 0.0  # a prompt that is simulated but does not count
    if width is None:
        logits = spread * rng.normal(size=(prompts, outputs))
        if start == "tiny":
            logits[:, 0] = logits.max() - 690.0  # a probability near 1e-300
        logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
        return Setting(None, true_reward, proxy_reward, temperature * logits, temperature, weights)
    phi = rng.normal(size=(prompts, outputs, width))
    if features == "duplicated":
        phi[:, 1] = phi[:, 0]
    elif features == "near-dependent":
        phi[:, 1] = phi[:, 0] + 1e-9 * rng.normal(size=(prompts, width))
    elif features == "zero row":
        phi[:, 0] = 0.0
    return Setting(phi, true_reward, proxy_reward, spread * rng.normal(size=width), temperature, weights)


def _rewards(rng: np.random.Generator, corner: str, size: tuple[int, int]) -> np.ndarray:
    if corner == "ties":
        return rng.integers(-1, 2, size).astype(float)
    if corner == "equal":
        return np.full(size, rng.uniform(-1, 1))
    if corner == "huge":
        return 1e6 * rng.uniform(-1, 1, size)
    if corner == "gap":
        return np.where(np.arange(size[1]) == 0, 1.0, -1.0) * np.ones(size)
    return rng.uniform(-1, 1, size)


@st.composite
def settings(
    draw,
    shapes=SHAPES,
    rewards=REWARDS,
    starts=STARTS,
    features=FEATURES,
    temperatures=TEMPERATURES,
) -> Setting:
    """Problems over all corners named."""
    return make_setting(
        draw(st.integers(0, 2**32 - 1)),
        draw(st.sampled_from(shapes)),
        draw(st.sampled_from(rewards)),
        draw(st.sampled_from(starts)),
        draw(st.sampled_from(features)),
        draw(st.sampled_from(temperatures)),
        draw(st.booleans()),
    )


@st.composite
def goals(draw, normalize=(False, True, "detached")) -> Goal:
    """Objectives over every option."""
    return Goal(
        draw(st.sampled_from(("proxy", "true"))),
        draw(st.sampled_from((0.0, 0.01, 1.0))),
        draw(st.sampled_from(("initial", "uniform"))),
        draw(st.sampled_from(("reverse", "forward"))),
        draw(st.sampled_from((0.0, 0.3, -0.1))),
        draw(st.sampled_from(normalize)),
    )


@st.composite
def points(draw, setting: Setting) -> np.ndarray:
    """Parameters away from the start of `setting`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return setting.start + rng.normal(size=setting.start.shape)


def smallest_probability(setting: Setting) -> float:
    return float(np.exp(log_policy(setting, setting.start)).min())
