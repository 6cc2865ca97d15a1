r"""The exact solution beside the integrators: how fast each is, and how far it is from SciPy.

    python -m experiments.benchmarks.exact_solution speed [OUT.csv [CASE or K ...]]
    python -m experiments.benchmarks.exact_solution agree [PROBLEMS [CLASS ...]]
    python -m experiments.benchmarks.exact_solution engine [PROBLEMS]

`speed` takes the time to a target of many problems and of one, by quadrature and by the integrators at their default
tolerance and at a tight one, in turns. Errors are of hitting times: the integrators' against the exact ones, and those
of the exact ones against the tight integration.
`agree` holds the exact solution to SciPy on PROBLEMS random problems (1,000 unless told) of every class that is
covered, or of those whose name holds a CLASS. `engine` holds it to the engine on 100,000.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from experiments.benchmarks import timing
from pgdyn import Batch, exact, flow, flow_many

COLUMNS = ("case", "outputs", "problems", "method", "rtol", "milliseconds_each", "median_error", "largest_error")
_TIGHT = {"rtol": 1e-11, "atol": 1e-13}
_TOGETHER = 50  # problems that SciPy solves at once
_SEED = 0


def random_problems(random: np.random.Generator, count: int, outputs: int) -> tuple[Batch, np.ndarray]:
    """Problems trained on their truth, and targets half way between the two best rewards.

    Of a thousand rewards the two best are so near that nobody lives to see it; the target is nine tenths of the way up.
    """
    truth = random.uniform(-1, 1, (count, 1, outputs))
    logits = random.standard_normal((count, 1, outputs))
    policy = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    best = np.sort(truth[:, 0], axis=1)[:, -2:]
    start = (policy * truth).sum((-1, -2))
    return Batch.tabular(policy, truth), best.mean(axis=1) if outputs < 1000 else start + 0.9 * (best[:, 1] - start)


def stalled_problems(random: np.random.Generator, count: int) -> tuple[Batch, np.ndarray]:
    """Three bad outputs and a mediocre one that leads: targets are reached at 1e6 to 1e15."""
    best = 10 ** random.uniform(-3.8, -1.8, count)
    rest = random.dirichlet(np.full(3, 5.0), count) * (0.5 - best)[:, None]
    policy = np.concatenate([best[:, None], np.full((count, 1), 0.5), rest], axis=1)
    truth = np.concatenate([np.tile([1.0, 0.8], (count, 1)), random.uniform(-1, -0.5, (count, 3))], axis=1)
    return Batch.tabular(policy[:, None], truth[:, None]), np.full(count, 0.9)


def speed(words: list[str]) -> Iterator[dict[str, Any]]:
    """Rows of the table, of every case or of those of one of the names or numbers of outputs."""
    random = np.random.default_rng(_SEED)
    sizes = ((5, 4096), (64, 256), (1000, 16))
    cases = [("random", *random_problems(random, count, outputs)) for outputs, count in sizes]
    cases.append(("stalled until 1e6 to 1e15", *stalled_problems(random, 1024)))
    for case, batch, target in cases:
        if words and not any(word in (case, str(batch.num_outputs)) for word in words):
            continue
        for name, count in (("many", len(batch)), ("one", 1)):
            yield from _rows(f"{case}, {name}", batch, target, count)


def _rows(case: str, batch: Batch, target: np.ndarray, count: int) -> Iterator[dict[str, Any]]:
    latest = 1e17
    options = {"stop_at_target": True, "target": target if count > 1 else float(target[0])}
    tasks: dict[tuple[str, str], Callable[[], Any]] = {}
    if count > 1:
        tasks["exact", ""] = lambda: exact.hitting_time(batch, target)
        tasks["flow_many", "default"] = lambda: flow_many(batch, latest, **options).hitting_time
        tasks["flow_many", "1e-11"] = lambda: flow_many(batch, latest, **options, **_TIGHT).hitting_time
    else:
        one = batch[0]
        run = lambda **more: np.asarray(flow(one, latest, saves=2, **options, **more).hitting_time)[None]  # noqa: E731
        tasks["exact", ""] = lambda: run(solver="exact")
        tasks["flow", "default"] = run
        tasks["flow", "1e-11"] = lambda: run(**_TIGHT)
    for task in tasks.values():
        task()
    taken = timing.in_turns(tasks, rounds=3, budget=4.0, long=20.0)
    for (method, rtol), timed in taken.items():
        # The exact times and those of the tight integration judge one another.
        judge = next(other for key, other in taken.items() if key[1] == ("1e-11" if method == "exact" else ""))
        found, known = np.asarray(timed.result), np.asarray(judge.result)
        both = (found > 0) & (found < latest) & (known > 0) & (known < latest)
        error = np.abs(found[both] / known[both] - 1)
        yield dict(
            zip(
                COLUMNS,
                (
                    case,
                    batch.num_outputs,
                    count,
                    method,
                    rtol,
                    f"{1e3 * timed.median / count:.4g}",
                    f"{np.median(error):.1e}" if error.size else "",
                    f"{error.max():.1e}" if error.size else "",
                ),
                strict=True,
            )
        )


def starts(random: np.random.Generator, count: int, prompts: int, outputs: int) -> np.ndarray:
    """[count, prompts, outputs] policies, some outputs rare."""
    policy = np.maximum(random.dirichlet(np.full(outputs, 0.5), (count, prompts)), 1e-6)
    return policy / policy.sum(-1, keepdims=True)


def classes(random: np.random.Generator, count: int) -> dict[str, Batch]:
    """Problems of every class that is covered, with proxies drawn apart from the truth."""

    def rewards(prompts: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
        truth, proxy = random.uniform(-1, 1, (2, count, prompts, outputs))
        return truth, proxy

    def linear(features: np.ndarray) -> Batch:
        start = random.standard_normal((count, features.shape[-1]))
        temperature = random.uniform(0.5, 2, count)
        return Batch.linear(features, *rewards(1, features.shape[2]), initial_params=start, temperature=temperature)

    frames = np.linalg.qr(random.standard_normal((count, 7, 7)))[0][:, None]
    own = frames[..., :5, :] * random.uniform(0.3, 3, (count, 1, 5, 1))
    several = {"temperature": random.uniform(0.5, 2, count), "prompt_weights": random.dirichlet(np.full(3, 3.0), count)}
    return {
        "tabular, 5 outputs": Batch.tabular(starts(random, count, 1, 5), *rewards(1, 5)),
        "tabular, 20 outputs": Batch.tabular(starts(random, count, 1, 20), *rewards(1, 20)),
        "3 prompts of 4 outputs": Batch.tabular(starts(random, count, 3, 4), *rewards(3, 4), **several),
        "orthogonal features": linear(own),
        "features with a common part": linear(own + random.uniform(-2, 2, (count, 1, 1, 1)) * frames[..., 5:6, :]),
        "any features of 3 outputs": linear(random.standard_normal((count, 1, 3, 4))),
    }


def paths_by_scipy(batch: Batch, times: np.ndarray) -> np.ndarray:
    """[S, N, P, K] probabilities at increasing times, by DOP853 on `_TOGETHER` problems at once."""
    parts = []
    for first in range(0, len(batch), _TOGETHER):
        part = batch[first : first + _TOGETHER]
        reward, weights = np.asarray(part.proxy_reward), np.asarray(part.prompt_weights)[:, :, None]
        features, heat = part.features, np.asarray(part.temperature)[:, None, None]
        shape = np.asarray(part.initial_params).shape

        def policy(params: np.ndarray, features: Any = features, heat: Any = heat, shape: Any = shape) -> np.ndarray:
            own = params.reshape(shape)
            logits = (own if features is None else np.einsum("npkd,nd->npk", features, own)) / heat
            grown = np.exp(logits - logits.max(-1, keepdims=True))
            return grown / grown.sum(-1, keepdims=True)

        def field(
            t: float, params: np.ndarray, policy: Any = policy, reward: Any = reward, weights: Any = weights,
            features: Any = features, heat: Any = heat,
        ) -> np.ndarray:  # fmt: skip
            pi = policy(params)
            signal = weights * pi * (reward - (pi * reward).sum(-1, keepdims=True)) / heat
            return (signal if features is None else np.einsum("npkd,npk->nd", features, signal)).ravel()

        state, seen = np.asarray(part.initial_params).ravel(), []
        for begin, end in zip(np.concatenate([[0.0], times[:-1]]), times, strict=True):
            state = solve_ivp(field, (begin, end), state, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
            seen.append(policy(state))
        parts.append(np.stack(seen))
    return np.concatenate(parts, axis=1)


def against_scipy(count: int, words: list[str]) -> Iterator[str]:
    """What was found of every class whose name holds one of the words, or of all."""
    random, times = np.random.default_rng(_SEED), np.array([0.3, 2.0, 10.0, 50.0])
    for name, batch in classes(random, count).items():
        if words and not any(word in name for word in words):
            continue
        began = time.monotonic()
        truth = paths_by_scipy(batch, times)
        weights = np.asarray(batch.prompt_weights)[None, :, :, None]
        values = (weights * truth * np.asarray(batch.true_reward)[None]).sum((-1, -2))
        states = [np.exp(np.asarray(exact.log_policy(batch, np.full(count, t)))) for t in times]
        worst = max(float(np.abs(own - found).max()) for own, found in zip(states, truth, strict=True))
        # The value at the last time is the target of those which have been below it so far.
        first = (weights[0] * np.exp(exact.log_policy(batch, np.zeros(count))) * batch.true_reward).sum((-1, -2))
        rising = values[-1] > np.maximum(first, values[:-1].max(0)) + 1e-6
        hits = np.asarray(exact.hitting_time(batch, values[-1]))[rising]
        error = np.abs(hits / times[-1] - 1)
        # Where the value has passed a peak it was there before, which the exact value must confirm.
        early = error > 1e-6
        again = np.asarray(exact.true_value(batch[rising], hits))[early] - values[-1][rising][early]
        yield (
            f"{name}: {count} problems, probabilities at 4 times within {worst:.1e}; {int(rising.sum())} hitting "
            f"times: median error {np.median(error[~early]):.1e}, 99 % {np.quantile(error[~early], 0.99):.1e}, largest "
            f"{error[~early].max():.1e}; {int(early.sum())} reached it before, where their value misses it by "
            f"{np.abs(again).max(initial=0):.1e} at most; {time.monotonic() - began:.0f} s"
        )


def against_the_engine(count: int) -> str:
    """What was found of noisy proxies of five outputs."""
    random, latest = np.random.default_rng(_SEED), 1e30
    batch, target = random_problems(random, count, 5)
    batch = batch.replace(proxy_reward=np.asarray(batch.true_reward) + random.normal(0, 0.5, (count, 1, 5)))
    hits, taken = timing.once(lambda: np.asarray(exact.hitting_time(batch, target)))
    hits = np.where(hits <= latest, hits, np.inf)
    options = {"target": target, "stop_at_target": True, "rtol": 1e-9, "atol": 1e-12}
    found, needed = timing.once(lambda: np.asarray(flow_many(batch, latest, **options).hitting_time))
    both = np.isfinite(hits) & np.isfinite(found) & (hits > 0)
    error = np.abs(found[both] / hits[both] - 1)
    return (
        f"{count:,} against the engine at 1e-9: {int(both.sum()):,} arrive, {int(np.sum(np.isinf(hits))):,} never, "
        f"{int(np.sum(np.isfinite(hits) != np.isfinite(found)))} differ in that; times: median {np.median(error):.1e}, "
        f"99.9 % {np.quantile(error, 0.999):.1e}, largest {error.max():.1e}; {taken:.1f} s and {needed:.1f} s, cold"
    )


def main(arguments: list[str]) -> None:
    """The command line."""
    if arguments[:1] == ["agree"]:
        for line in against_scipy(int(arguments[1]) if len(arguments) > 1 else 1000, arguments[2:]):
            print(line, flush=True)
        return
    if arguments[:1] == ["engine"]:
        print(against_the_engine(int(arguments[1]) if len(arguments) > 1 else 100_000))
        return
    rows = []
    for row in speed(arguments[2:]):
        rows.append(row)
        print(*row.values(), sep="\t", flush=True)
    if len(arguments) > 1:
        with open(arguments[1], "w", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
