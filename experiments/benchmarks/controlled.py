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
from pgdyn import Problem, stack

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


def exact_problems() -> tuple[Problem, Problem]:
    """The six tabular problems as one batch, and the three with features as another."""
    grid = paper.tabular_grid(paper.INITIAL_POLICIES, paper.TRUE_REWARD, paper.TRAINING_REWARDS)
    tabular = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), grid)
    linear = stack(
        [
            Problem.linear(features, paper.TRUE_REWARD, initial_policy=feature_similarity.INITIAL_POLICY)
            for features in feature_similarity.FEATURES.values()
        ]
    )
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


def row(what: str, runs: int, cold: float, warm: Sequence[float], error: float | None, ratio: bool) -> dict[str, Any]:
    """One line of the table."""
    middle = statistics.median(warm)
    return {
        "what": what,
        "runs": runs,
        "updates": paper.STEPS,
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


def run(repeats: int, seeds: int) -> list[dict[str, Any]]:
    """All measurements."""
    tabular, linear = exact_problems()

    def exact(problem: Problem) -> pgdyn.Trajectory:
        return pgdyn.ascend(problem, paper.STEPS, target=paper.TARGET, save_every=RECORD_EVERY)

    batched = jax.jit(jax.vmap(exact))
    (first, second), cold, warm = measure(lambda: (batched(tabular), batched(linear)), repeats)

    identity = np.broadcast_to(np.eye(5), (len(tabular), 5, 5))
    features = np.concatenate([identity, np.asarray(linear.features)[:, 0]])
    starts = np.concatenate([np.asarray(tabular.initial_params)[:, 0], np.asarray(linear.initial_params)])
    reward, true_reward = (
        np.concatenate([np.asarray(getattr(batch, name))[:, 0] for batch in (tabular, linear)])
        for name in ("proxy_reward", "true_reward")
    )
    reference, _, loop = measure(lambda: numpy_reference(features, starts, reward, true_reward, paper.STEPS), 1)
    error = np.abs(np.concatenate([first.true_value, second.true_value]) - reference).max()

    def sampled(problem: Problem, key: jax.Array) -> pgdyn.Trajectory:
        return pgdyn.ascend_sampled(problem, paper.STEPS, key, target=paper.TARGET, save_every=RECORD_EVERY)

    over_seeds = jax.jit(jax.vmap(jax.vmap(sampled, in_axes=(None, 0))))
    keys = jax.random.split(jax.random.key(0), (len(tabular), seeds))
    _, sampled_cold, sampled_warm = measure(lambda: over_seeds(tabular, keys), max(1, min(repeats, 3)))
    return [
        row("nine exact runs, pgdyn", 9, cold, warm, float(error), ratio=True),
        row("nine exact runs, NumPy loop", 9, loop[0], loop, 0.0, ratio=True),
        row(f"REINFORCE, 6 x {seeds} runs, pgdyn", 6 * seeds, sampled_cold, sampled_warm, None, ratio=False),
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
    for line in rows:
        table.add_row(
            line["what"],
            f"{line['runs']:,}",
            f"{line['cold_s']:.2f}",
            f"{line['warm_s']:.3f}",
            f"{line['warm_min_s']:.3f}-{line['warm_max_s']:.3f}",
            "" if line["max_error"] is None else f"{line['max_error']:.1e}",
            "" if line["authors_over_warm"] is None else f"{line['authors_over_warm']:,.0f}x",
        )
    console = rich.console.Console()
    console.print(table)
    console.print(f"Written to {options.csv}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
