"""Made-up score files of every kind that `pgdyn evaluate` reads, a few hundred rows each.

    python -m experiments.score_files docs/scores

Two reward models score responses whose true rewards are known: "careful" has small errors everywhere, "flattered" has
larger ones on bad responses alone, most of which still score below the mean, where they do no harm.
"""

from __future__ import annotations

import csv
import io
import json
import pathlib
import sys
from typing import Any

import numpy as np

from pgdyn.metrics.benchmarks import SECTION

MODELS = ("careful", "flattered")
_V2_SUBSETS = ("Factuality", "Focus", "Math", "Precise IF", "Safety")


def scores_of(truth: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The scores of each reward model for true rewards of any shape.

    Example:
        >>> scores_of(np.zeros((2, 3)), np.random.default_rng(0))["careful"].shape
        (2, 3)
    """
    low = truth < truth.mean()
    return {
        "careful": truth + 0.6 * rng.standard_normal(truth.shape),
        "flattered": 2 * truth + np.where(low, 2.0, 0.3) * rng.standard_normal(truth.shape) - 1.2 * low,
    }


def v1(model: str, *, each: int = 12, seed: int = 0) -> dict[str, Any]:
    """RewardBench v1 scores, `each` prompts of every subset."""
    rng = np.random.default_rng(seed)
    subset = np.repeat(list(SECTION), each)
    hard = 0.3 + 1.2 * rng.random(len(subset))
    both = scores_of(np.stack([hard, -hard], axis=1), rng)[model].round(4)
    return {
        "id": list(range(len(subset))),
        "subset": subset.tolist(),
        "text_chosen": [f"prompt {i}, the better response" for i in range(len(subset))],
        "text_rejected": [f"prompt {i}, the worse response" for i in range(len(subset))],
        "scores_chosen": both[:, 0].tolist(),
        "scores_rejected": both[:, 1].tolist(),
        "results": (both[:, 0] > both[:, 1]).astype(int).tolist(),
        "model": model,
        "model_type": "Seq. Classifier",
        "chat_template": "tokenizer",
    }


def v2(model: str, *, each: int = 40, seed: int = 0) -> dict[str, Any]:
    """RewardBench v2 scores: `each` prompts of every subset with one right response of four, and ties."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, int, list[float]]] = []
    for subset in _V2_SUBSETS:
        for i in range(each):
            truth = np.array([1.0, -0.5, -0.5, -0.5])
            rows.append((f"{subset}-{i}", subset, 1, scores_of(truth, rng)[model].round(4).tolist()))
    for i in range(each // 2):
        for kind, right in (("ref", 1), ("tied", 4)):
            truth = np.r_[np.full(right, 1.0), np.full(4, -1.0)]
            rows.append((f"{kind}:{i}", "Ties", right, scores_of(truth, rng)[model].round(4).tolist()))
    ids, subsets, right, scores = (list(column) for column in zip(*rows, strict=True))
    text = [[f"{name}, response {j}" for j in range(len(row))] for name, row in zip(ids, scores, strict=True)]
    results = [1.0 if int(np.argmax(row)) == 0 else 0.0 for row in scores]
    columns = {"id": ids, "subset": subsets, "text": text, "scores": [[[x] for x in row] for row in scores]}
    named = {"model": model, "model_type": "Seq. Classifier", "chat_template": "tokenizer"}
    return {**columns, "num_correct": right, "results": results, **named}


def responses(*, prompts: int = 50, each: int = 8, seed: int = 0) -> str:
    """One row a response, as CSV: log-probability under the initial policy, true reward, a column for each model."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(prompts, each))
    # Good responses are rarer, and all are long: log-probabilities far below 0.
    logp = -40 - 8 * rng.random((prompts, each)) - 1.5 * truth
    scores = scores_of(truth, rng)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["prompt", "response", "logp", "true_reward", *MODELS])
    for i in range(prompts):
        for j in range(each):
            numbers = (logp[i, j], truth[i, j], *(scores[name][i, j] for name in MODELS))
            writer.writerow([f"prompt {i}", f"response {j}", *(f"{number:.4f}" for number in numbers)])
    return file.getvalue()


def write(folder: pathlib.Path) -> list[pathlib.Path]:
    """Writes one file of every kind; gives their places."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"responses.csv": responses()}
    for i, model in enumerate(MODELS):
        texts[f"rewardbench_{model}.json"] = json.dumps(v1(model, seed=i), indent=1) + "\n"
        texts[f"rewardbench2_{model}.json"] = json.dumps(v2(model, seed=i)) + "\n"
    for name, text in texts.items():
        (folder / name).write_text(text)
    return [folder / name for name in texts]


if __name__ == "__main__":
    for place in write(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "docs/scores")):
        print(place)
