"""Valid files for the hostile user to spoil: problems, specs of sweeps and tables of scores, as plain values."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import tomli_w

POLICY, TRUE, PROXY = [0.1, 0.6, 0.3], [1.0, 0.8, -1.0], [1.0, -1.0, -1.0]

PROBLEMS: list[dict[str, Any]] = [
    {"true_reward": TRUE, "proxy_reward": PROXY, "initial_policy": POLICY, "temperature": 1.0, "name": "plain"},
    {"true_reward": [TRUE, PROXY], "initial_policy": [POLICY, POLICY[::-1]], "prompt_weights": [0.25, 0.75]},
    {"true_reward": TRUE, "features": [[1.0, 0.0], [0.5, 2.0], [0.0, -1.0]], "initial_params": [0.1, -0.2]},
    {"true_reward": TRUE, "features": [[1.0, 0.0], [0.5, 2.0], [0.0, -1.0]], "initial_policy": POLICY},
    {"true_reward": [[0.0, 0.0], [1.0, -1.0]], "transitions": [[1, -1], [-1, -1]], "initial_params": [[0, 1], [2, 3]]},
    {
        "true_reward": [[0.0, 0.5, 0.0], [1.0, -1.0, 0.0]],
        "transitions": [[[0, 1], [0, 0], [0, 0.5]], [[0, 0], [0, 0], [0, 0]]],
        "mask": [[1, 1, 1], [1, 1, 0]],
        "prompt_weights": [1, 0],
    },
    {"ground_truth_rewards": TRUE, "rewards": PROXY, "initial_policy_probabilities": POLICY, "description": "paper's"},
    {"ground_truth_rewards": TRUE, "output_features": [[1], [2], [3]], "initial_policy_weights": [0.5], "comment": ""},
]

_FLOW = {"kind": "flow", "t1": 50.0, "target": 0.9, "rtol": 1e-6, "atol": 1e-9, "geometry": "natural"}
SPECS: list[dict[str, Any]] = [
    {
        "name": "a map",
        "observables": ["true_value", "hitting_time"],
        "problem": {"true_reward": TRUE, "initial_policy": POLICY},
        "axes": [
            {"field": "initial_policy[0]", "name": "p0", "kind": "log", "start": 1e-3, "stop": 0.3, "count": 3},
            {"field": "proxy_reward[1]", "kind": "linear", "start": -1.0, "stop": 1.0, "count": 2, "unit": "reward"},
        ],
        "dynamics": _FLOW,
        "objective": {"kl": 0.1, "entropy": 0.0, "reference": "uniform", "kl_direction": "forward"},
        "shard_size": 2,
    },
    {
        "problem": {"true_reward": {"uniform": [-1.0, 1.0]}, "outputs": 3, "initial_params": {"normal": [0.0, 1.0]}},
        "axes": [
            {"field": "seed", "kind": "seeds", "count": 4, "first": 2},
            {"field": "temperature", "kind": "list", "values": [0.5, 1.0]},
        ],
        "dynamics": {"kind": "ascend", "steps": 10, "optimizer": "adam", "learning_rate": 0.1},
    },
    {
        "problem": {"true_reward": [TRUE, PROXY], "features": [[1.0], [0.5], [0.0]], "prompt_weights": [0.5, 0.5]},
        "axes": [
            {"field": "proxy_reward", "kind": "list", "values": [[TRUE, PROXY], [PROXY, TRUE]], "labels": ["a", "b"]},
            {"field": "seed", "kind": "list", "values": [3, 5, 8]},
            {"field": "objective.kl", "kind": "list", "values": [0.0, 0.5]},
        ],
        "dynamics": {
            "kind": "ascend_sampled",
            "steps": 5,
            "estimator": {
                "name": "grpo",
                "group_size": 4,
                "transforms": ["whiten"],
                "penalty": {"form": "k3"},
                "surrogate": {"epochs": 2},
            },
        },
        "observables": ["params", "log_policy", "steps", "proxy_value"],
    },
]

SCORES: list[tuple[str, dict[str, list[Any]]]] = [
    ("pairs", {"prompt": [1, 2, 3], "chosen": [2.0, 0.5, 3.0], "rejected": [1.0, 1.5, 0.0]}),
    (
        "responses",
        {
            "prompt": ["a", "a", "b", "b"],
            "response": ["x", "y", "x", "y"],
            "logp": [-1.0, -2.0, -0.5, -3.0],
            "true_reward": [1.0, 0.0, 1.0, 0.5],
            "rm": [2.0, 1.0, 0.0, 4.0],
        },
    ),
    (
        "rewardbench",
        {
            "id": [0, 1, 2],
            "subset": ["donotanswer", "donotanswer", "math-prm"],
            "scores_chosen": [1.0, [2.0], 0.5],
            "scores_rejected": [0.0, [3.0], 0.5],
            "text_chosen": ["a", "b", "c"],
        },
    ),
]


@contextlib.contextmanager
def long_numbers() -> Iterator[None]:
    """Whole numbers of any length are written."""
    most = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        yield
    finally:
        sys.set_int_max_str_digits(most)


def as_json(table: Any) -> bytes:
    with long_numbers():
        return json.dumps(table).encode()


def as_toml(table: Any) -> bytes | None:
    """None for what TOML cannot hold."""
    try:
        with long_numbers():
            return tomli_w.dumps(table).encode()
    except (TypeError, ValueError, AttributeError, RecursionError):
        return None


def as_csv(columns: dict[str, list[Any]]) -> bytes:
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    return "\n".join(",".join(json.dumps(c) if isinstance(c, list) else str(c) for c in row) for row in rows).encode()
