"""How long the controlled experiments take, beside the program of the paper's authors.

    python -m experiments.benchmarks.controlled [--repeats N] [--csv FILE] [--reinforce-seeds N]

Times, cold (tracing, compilation and the first run) and warm (median of several runs): the nine exact runs of
arXiv 2604.25872 (six tabular, vmapped together; three with features, vmapped together; 50,000 updates, values recorded
every 1,000), and REINFORCE for the six problems over 200 seeds. The error of the exact runs is that of the true value
at every record, against a plain float64 NumPy loop over the definitions, which is timed too.
"""

from __future__ import annotations

import argparse
import csv
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import rich.console
import rich.table

import pgdyn
from experiments import controlled_problems as paper
from experiments import feature_similarity
from experiments.benchmarks.target_table import Row, line
from pgdyn import Batch, Solution

# A stated figure, not measured here: the authors' program takes about 65 s a run of 50,000 updates on one core, and
# 610 s for the nine runs in one process.
AUTHORS_SECONDS = 610.0
RECORD_EVERY = 1_000
COLUMNS: tuple[str, ...] = (
    "what",
    "runs",
    "updates",
    "outputs",
    "dtype",
    "cold_s",
    "warm_s",
    "warm_min_s",
    "warm_max_s",
    "repeats",
    "max_error",
    "authors_over_warm",
)


def exact_problems() -> tuple[Batch, Batch]:
    """The six tabular problems as one batch, and the three with features as another.

    Example:
        >>> [len(batch) for batch in exact_problems()]
        [6, 3]
    """
    pairs = [(policy, reward) for policy in paper.INITIAL_POLICIES for reward in paper.TRAINING_REWARDS.values()]
    policies, rewards = (np.array(column)[:, None] for column in zip(*pairs, strict=True))
    tabular = Batch.tabular(policies, paper.TRUE_REWARD, rewards)
    features = np.array(list(feature_similarity.FEATURES.values()))[:, None]
    linear = Batch.linear(features, paper.TRUE_REWARD, initial_policy=feature_similarity.INITIAL_POLICY)
    return tabular, linear


def numpy_reference(
    features: np.ndarray, start: np.ndarray, reward: np.ndarray, true_reward: np.ndarray, steps: int
) -> np.ndarray:
    """True values [runs, records] of gradient ascent by a plain loop: theta += lr Phi^T (pi * (r - <pi, r>)).

    Args:
        features: [runs, K, D].
        start: [runs, D], theta at the start.
        reward: [runs, K], what is climbed.
        true_reward: [runs, K].
        steps: updates.
    """
    theta = start.copy()
    records = []
    for step in range(steps + 1):
        logits = np.einsum("nkd,nd->nk", features, theta)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        policy = weights / weights.sum(axis=1, keepdims=True)
        if step % RECORD_EVERY == 0:
            records.append((policy * true_reward).sum(axis=1))
        value = (policy * reward).sum(axis=1, keepdims=True)
        theta += paper.LEARNING_RATE * np.einsum("nkd,nk->nd", features, policy * (reward - value))
    return np.stack(records, axis=1)


def measure(run: Callable[[], Any], repeats: int) -> tuple[Any, float, list[float]]:
    """(result, cold seconds, warm seconds of each repeat) of `run`, until its arrays are there."""
    times = []
    result = None
    for _ in range(repeats + 1):
        start = time.perf_counter()
        result = jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return result, times[0], times[1:]


def row(
    what: str,
    runs: int,
    cold: float,
    warm: Sequence[float],
    error: float | None,
    *,
    ratio: bool = False,
    steps: int = paper.STEPS,
) -> dict[str, Any]:
    """One line of the table.

    Example:
        >>> row("all", 9, 2.0, [1.0, 3.0, 2.0], None, ratio=True)["authors_over_warm"]
        305.0
    """
    middle = statistics.median(warm)
    return {
        "what": what,
        "runs": runs,
        "updates": steps,
        "outputs": len(paper.TRUE_REWARD),
        "dtype": "float64",
        "cold_s": cold,
        "warm_s": middle,
        "warm_min_s": min(warm),
        "warm_max_s": max(warm),
        "repeats": len(warm),
        "max_error": error,
        "authors_over_warm": AUTHORS_SECONDS / middle if ratio else None,
    }


def run(repeats: int, seeds: int, steps: int = paper.STEPS, sampled_repeats: int = 3) -> list[dict[str, Any]]:
    """All measurements.

    Args:
        repeats: warm runs.
        seeds: REINFORCE runs of each of the six problems.
        sampled_repeats: warm runs of REINFORCE, at most.
        steps: updates of a run.
    """
    batches = exact_problems()
    settings = {"target": paper.TARGET, "save_every": RECORD_EVERY}

    def exact() -> list[Solution]:
        return [pgdyn.ascend_many(batch, steps, **settings) for batch in batches]

    (first, second), cold, warm = measure(exact, repeats)
    tabular, linear = batches
    identity = np.broadcast_to(np.eye(5), (len(tabular), 5, 5))
    features = np.concatenate([identity, linear.features[:, 0]])
    starts = np.concatenate([tabular.initial_params[:, 0], linear.initial_params])
    reward, true_reward = (
        np.concatenate([getattr(batch, name)[:, 0] for batch in batches]) for name in ("proxy_reward", "true_reward")
    )
    reference, _, loop = measure(lambda: numpy_reference(features, starts, reward, true_reward, steps), 1)
    error = np.abs(np.concatenate([first.true_value, second.true_value]) - reference).max()

    keys = jax.random.split(jax.random.key(0), seeds)
    _, sampled_cold, sampled_warm = measure(
        lambda: pgdyn.ascend_sampled_many(tabular, steps, keys, **settings), max(1, min(repeats, sampled_repeats))
    )
    return [
        row("nine exact runs, pgdyn", 9, cold, warm, float(error), ratio=True, steps=steps),
        row("nine exact runs, NumPy loop", 9, loop[0], loop, 0.0, ratio=True, steps=steps),
        row(f"REINFORCE, 6 x {seeds} runs, pgdyn", 6 * seeds, sampled_cold, sampled_warm, None, steps=steps),
    ]


def targets(quick: bool = False) -> list[Row]:
    """A row of the table of targets for each kind of run; a quick one takes fewer updates, and shows nothing.

    Args:
        quick: whether to take few seeds and updates.
    """
    exact, _, sampled = run(1, 2, 2_000) if quick else run(3, 200, sampled_repeats=1)
    times, seconds = exact["authors_over_warm"], sampled["warm_s"]
    note = f"{exact['warm_s']:.2f} s, error in V {exact['max_error']:.1e}"
    return [
        line("controlled", "nine exact runs: times the authors' program (610 s)", ">= 300", times, times >= 300, note),
        line("controlled", "REINFORCE, 200 seeds x 6 runs x 50,000 updates, s", "< 60", seconds, seconds < 60),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks.controlled", description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="warm runs, whose median is reported (default: 7)")
    parser.add_argument(
        "--reinforce-seeds", type=int, default=200, help="seeds of each REINFORCE problem (default: 200)"
    )
    parser.add_argument("--csv", type=pathlib.Path, default=pathlib.Path("out/benchmarks/controlled.csv"))
    options = parser.parse_args(arguments)
    if options.repeats < 1 or options.reinforce_seeds < 1:
        parser.error("--repeats and --reinforce-seeds must be at least 1")
    rows = run(options.repeats, options.reinforce_seeds)
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    with options.csv.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    table = rich.table.Table(
        title=f"Controlled experiments, {paper.STEPS:,} updates a run, on {jax.devices()[0].device_kind}"
    )
    for head in ("", "runs", "cold, s", "warm, s", "range, s", "error in V", "610 s / warm"):
        table.add_column(head, justify="left" if not head else "right")
    for found in rows:
        table.add_row(
            found["what"],
            f"{found['runs']:,}",
            f"{found['cold_s']:.2f}",
            f"{found['warm_s']:.3f}",
            f"{found['warm_min_s']:.3f}-{found['warm_max_s']:.3f}",
            "" if found["max_error"] is None else f"{found['max_error']:.1e}",
            "" if found["authors_over_warm"] is None else f"{found['authors_over_warm']:,.0f}x",
        )
    console = rich.console.Console()
    console.print(table)
    console.print(f"Written to {options.csv}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
