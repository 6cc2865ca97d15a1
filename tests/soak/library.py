"""The library called as nobody meant: wrong shapes and types, copies, transformations, threads, many calls."""

from __future__ import annotations

import copy
import decimal
import fractions
import gc
import pickle
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import pgdyn
from pgdyn import Batch, Problem, exact, mdp, metrics

from .tally import Effort, Tally, complaint, no_longer_than

POLICY, TRUE = [0.1, 0.6, 0.3], [1.0, 0.8, -1.0]
SECONDS = 60.0  # the first run of a kind is compiled


def odd_values() -> Iterator[Any]:
    """What no argument is meant to be, or hardly."""
    nan = float("nan")
    yield from (
        None,
        True,
        "x",
        "1.0",
        b"1.0",
        1j,
        0,
        -1,
        2,
        0.5,
        nan,
        float("inf"),
        -0.0,
        1e308,
        1e-320,
        10**400,
        2**63,
    )
    yield from ([], [[]], [[], []], {}, {1, 2}, {"a": 1}, (), [None], ["a"], [True, False, True], [[1.0], [1.0, 2.0]])
    yield from (
        [1, [2, 3]],
        [nan, 1, 2],
        [1.0, float("inf"), 0.0],
        [1e308, -1e308, 0],
        [0.1, 0.6, 0.4],
        [-0.1, 0.8, 0.3],
    )
    yield from (
        [0.5, 0.5],
        [0.25] * 4,
        [[0.1, 0.6, 0.3]] * 2,
        [[[0.1, 0.6, 0.3]]],
        [[[[0.1, 0.6, 0.3]]]],
        range(3),
        slice(3),
    )
    yield from (
        object(),
        object,
        len,
        lambda: 1,
        iter([1, 2]),
        (x for x in (1, 2, 3)),
        NotImplemented,
        ...,
        ValueError("x"),
    )
    yield from (decimal.Decimal("0.5"), fractions.Fraction(1, 3), memoryview(b"abc"), bytearray(3))
    yield np.array(POLICY)[::-1]
    yield np.array(POLICY, ">f8")
    yield np.ma.array(POLICY, mask=[0, 1, 0])
    for kind in ("f2", "f4", "i1", "u8", "?", "c16", "O", "U3", "S3", "M8[s]", "m8[s]", "g", "i4,f4"):
        yield np.zeros(3, kind)
    for shape in ((), (0,), (0, 3), (3, 0), (1, 3), (3, 1), (2, 3), (3, 3), (1, 1, 3), (2, 1, 3), (1, 1, 1, 3)):
        yield np.ones(shape)
    yield jnp.array(POLICY, "float32")
    yield jnp.array(POLICY, "bfloat16")
    yield jax.random.key(0)
    yield jax.ShapeDtypeStruct((3,), "float64")
    yield Problem.tabular(POLICY, TRUE)
    yield Problem.tabular(POLICY, TRUE).with_proxy(np.ones((2, 1, 3)))
    yield pgdyn.Objective(kl=0.1)
    yield pgdyn.Flow(t1=1.0)


def calls() -> dict[str, Callable[[Any], Any]]:
    """Public functions, each with one argument left open. Runs are short."""
    problem = Problem.tabular(POLICY, TRUE)
    batch = problem.with_proxy(np.ones((2, 1, 3)) * [1.0, 0.0, 0.5])
    features = [[1.0, 0.0], [0.5, 2.0], [0.0, -1.0]]
    run = {"saves": 4, "max_steps": 500}
    made: dict[str, Callable[[Any], Any]] = {
        "Problem.tabular(x, ...)": lambda x: Problem.tabular(x, TRUE),
        "Problem.tabular(..., x)": lambda x: Problem.tabular(POLICY, x),
        "Problem.tabular(proxy_reward)": lambda x: Problem.tabular(POLICY, TRUE, x),
        "Problem.tabular(temperature)": lambda x: Problem.tabular(POLICY, TRUE, temperature=x),
        "Problem.tabular(prompt_weights)": lambda x: Problem.tabular(POLICY, [TRUE, TRUE], prompt_weights=x),
        "Problem.tabular(transitions)": lambda x: Problem.tabular(POLICY, TRUE, transitions=x),
        "Problem.tabular(mask)": lambda x: Problem.tabular(POLICY, TRUE, mask=x),
        "Problem.linear(x, ...)": lambda x: Problem.linear(x, TRUE),
        "Problem.linear(initial_params)": lambda x: Problem.linear(features, TRUE, initial_params=x),
        "Problem.linear(initial_policy)": lambda x: Problem.linear(features, TRUE, initial_policy=x),
        "Problem.differentiable(logits)": lambda x: Problem.differentiable(x, jnp.zeros(3), TRUE),
        "Problem.differentiable(params)": lambda x: Problem.differentiable(lambda p: jnp.ones((1, 3)), x, TRUE),
        "with_proxy": problem.with_proxy,
        "stack": pgdyn.stack,
        "Batch.tabular(x, ...)": lambda x: Batch.tabular(x, [[TRUE], [TRUE]]),
        "Batch.tabular(..., x)": lambda x: Batch.tabular(POLICY, x, temperature=np.ones(2)),
        "Batch[x]": lambda x: batch[x],
        "Objective(kl)": lambda x: pgdyn.Objective(kl=x),
        "Objective(entropy)": lambda x: pgdyn.Objective(entropy=x),
        "Objective(reward)": lambda x: pgdyn.Objective(reward=x),
        "Objective(normalize_by_std)": lambda x: pgdyn.Objective(normalize_by_std=x),
        "flow(x, ...)": lambda x: pgdyn.flow(x, 1.0, **run),
        "flow(t1)": lambda x: pgdyn.flow(problem, x, **run),
        "flow(target)": lambda x: pgdyn.flow(problem, 1.0, target=x, **run),
        "flow(rtol)": lambda x: pgdyn.flow(problem, 1.0, rtol=x, **run),
        "flow(saves)": lambda x: pgdyn.flow(problem, 1.0, saves=x),
        "flow(objective)": lambda x: pgdyn.flow(problem, 1.0, objective=x, **run),
        "flow(solver)": lambda x: pgdyn.flow(problem, 1.0, solver=x, **run),
        "flow(geometry)": lambda x: pgdyn.flow(problem, 1.0, geometry=x, **run),
        "flow_many(x, ...)": lambda x: pgdyn.flow_many(x, 1.0),
        "flow_many(t1)": lambda x: pgdyn.flow_many(batch, x, max_steps=500),
        "flow_many(target)": lambda x: pgdyn.flow_many(batch, 1.0, target=x),
        "flow_many(devices)": lambda x: pgdyn.flow_many(batch, 1.0, devices=x),
        "flow_many(progress)": lambda x: pgdyn.flow_many(batch, 1.0, progress=x),
        "flow_many(backend)": lambda x: pgdyn.flow_many(batch, 1.0, backend=x),
        "ascend(steps)": lambda x: pgdyn.ascend(problem, 3 if isinstance(x, int) and x > 10**6 else x),
        "ascend(optimizer)": lambda x: pgdyn.ascend(problem, 3, optimizer=x),
        "ascend(learning_rate)": lambda x: pgdyn.ascend(problem, 3, learning_rate=x),
        "ascend_many(learning_rate)": lambda x: pgdyn.ascend_many(batch, 3, learning_rate=x),
        "ascend_sampled(key)": lambda x: pgdyn.ascend_sampled(problem, 3, x),
        "ascend_sampled(estimator)": lambda x: pgdyn.ascend_sampled(problem, 3, 0, estimator=x),
        "ascend_sampled_many(key)": lambda x: pgdyn.ascend_sampled_many(batch, 3, x),
        "solve(x, ...)": lambda x: pgdyn.solve(x, pgdyn.Flow(t1=1.0)),
        "solve(dynamics)": lambda x: pgdyn.solve(problem, x),
        "categorize(proxy_rewards)": lambda x: pgdyn.categorize(problem, x, t1=1.0, target=0.9),
        "categorize(target)": lambda x: pgdyn.categorize(problem, [TRUE], t1=1.0, target=x),
        "categorize(tolerance)": lambda x: pgdyn.categorize(problem, [TRUE], t1=1.0, target=0.9, tolerance=x),
        "sensitivity(x, ...)": lambda x: pgdyn.sensitivity(x, 1.0),
        "sensitivity(t1)": lambda x: pgdyn.sensitivity(problem, x),
        "exact.hitting_time(target)": lambda x: exact.hitting_time(problem, x),
        "exact.log_policy(t)": lambda x: exact.log_policy(problem, x),
        "exact.covers": exact.covers,
        "metrics.accuracy": lambda x: metrics.accuracy(x, np.ones((2, 3))),
        "metrics.weighted_accuracy": lambda x: metrics.weighted_accuracy(x, x, x, x),
        "metrics.harm_aware_accuracy": lambda x: metrics.harm_aware_accuracy(np.ones((2, 3)), np.zeros((2, 3)), x),
        "mdp.chain": lambda x: mdp.chain(3, x),
        "mdp.tree": lambda x: mdp.tree(2, 2, x),
        "mdp.tree(vocabulary)": lambda x: mdp.tree(x, 2, np.ones(4)),
        "mdp.leaves": mdp.leaves,
        "kernel": pgdyn.kernel,
        "save_problem": lambda x: pgdyn.save_problem(x, "/nonexistent/p.toml"),
        "load_problem": pgdyn.load_problem,
        "evaluate": pgdyn.evaluate,
        "GRPO(group_size)": lambda x: pgdyn.estimators.GRPO(group_size=x),
    }
    return made


OWN_FUNCTIONS = ("flow_many(progress)", "Problem.differentiable(logits)", "mdp.tree")  # what they raise is the user's


def wrong_arguments(effort: Effort, tally: Tally) -> None:
    """Every function with every odd value: an answer, or a ValueError of one clear sentence."""
    made = calls()
    pairs = [(name, place) for name in made for place in range(len(list(odd_values())))]
    for name, place in effort.random("library").sample(pairs, effort.count(len(pairs))):
        if effort.spent:
            return
        value = list(odd_values())[place]
        if name in OWN_FUNCTIONS and callable(value):
            continue
        wrong = ""
        try:
            with no_longer_than(SECONDS), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                jax.block_until_ready(jax.tree.leaves(made[name](value)))
        except IndexError as error:
            wrong = complaint(ValueError(str(error))) if name == "Batch[x]" else complaint(error)
        except Exception as error:
            wrong = complaint(error)
        except BaseException as error:
            wrong = type(error).__name__
        tally.note("wrong arguments of the library", wrong, f"{name} of {value!r:.100}")


def things() -> dict[str, Any]:
    """One of each kind of thing that a user holds."""
    problem = Problem.linear([[1.0, 0.0], [0.5, 2.0], [0.0, -1.0]], TRUE, initial_policy=POLICY)
    sequence = mdp.chain(2, [0.0, 1.0], initial_policy=0.2)
    batch = Problem.tabular(POLICY, TRUE).with_proxy(np.ones((2, 1, 3)) * [1.0, 0.0, 0.5])
    return {
        "Problem": problem,
        "Problem of sequences": sequence,
        "Batch": batch,
        "Objective": pgdyn.Objective(kl=0.1, entropy=0.2),
        "Flow": pgdyn.Flow(t1=2.0, target=0.5),
        "Ascend": pgdyn.Ascend(steps=3, optimizer="adam"),
        "GRPO": pgdyn.estimators.GRPO(group_size=4),
        "Solution": pgdyn.ascend(problem, 3),
        "Solution of a batch": pgdyn.flow_many(batch, 1.0),
        "Result": pgdyn.Result.completed,
    }


def same(one: Any, other: Any) -> bool:
    """Whether two things hold the same numbers in the same structure."""
    if type(one) is not type(other):
        return False
    leaves, others = (jax.tree.leaves(thing) for thing in (one, other))
    return len(leaves) == len(others) and all(
        np.array_equal(np.asarray(a), np.asarray(b), equal_nan=True) for a, b in zip(leaves, others, strict=True)
    )


def copies(effort: Effort, tally: Tally) -> None:
    """Pickles and copies are what they were made of, and run as it does."""
    ways: dict[str, Callable[[Any], Any]] = {
        "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "jax.tree.map": lambda thing: jax.tree.map(lambda leaf: leaf, thing),
    }
    for name, thing in things().items():
        for way, make in ways.items():
            tally.attempt(
                "copies and pickles",
                lambda make=make, thing=thing: "" if same(make(thing), thing) else "it is another",
                f"{way} of a {name}",
            )
    problem = things()["Problem of sequences"]
    again = pickle.loads(pickle.dumps(problem))
    ends = [np.asarray(pgdyn.ascend(one, 3).true_value) for one in (problem, again)]
    tally.note("copies and pickles", "" if (ends[0] == ends[1]).all() else "it runs otherwise", "a sequence's pickle")


def transformed(effort: Effort, tally: Tally) -> None:
    """Runs under jit, vmap and grad: numbers as without, derivatives as differences, or one sentence."""
    problem, rewards = Problem.tabular(POLICY, TRUE), np.array([TRUE, [1.0, 0.0, -1.0], [0.0, 1.0, 0.5]])

    def flow(reward: Any) -> Any:
        return pgdyn.flow(problem.with_proxy(reward), 5.0, target=0.5, saves=4).end.true_value

    def ascend(reward: Any) -> Any:
        return pgdyn.ascend(problem.with_proxy(reward), 20).end.true_value

    def hit(reward: Any) -> Any:
        return exact.hitting_time(problem.with_proxy(reward), 0.85)

    for name, function in {"flow": flow, "ascend": ascend, "exact.hitting_time": hit}.items():

        def agree(found: Any, wanted: Any, off: float = 1e-9) -> str:
            return "" if np.allclose(found, wanted, rtol=off, atol=off) else f"{found}, not {wanted}"

        plain = np.array([float(function(reward)) for reward in rewards])
        eps = 1e-5
        steps = [float(function(rewards[0] + eps * e) - function(rewards[0] - eps * e)) / (2 * eps) for e in np.eye(3)]
        checks: dict[str, Callable[[], str]] = {
            "jit": lambda f=function, p=plain: agree(jax.jit(f)(rewards[0]), p[0]),
            "vmap": lambda f=function, p=plain: agree(jax.vmap(f)(rewards), p),
            "grad": lambda f=function, s=steps: agree(jax.grad(f)(rewards[0]), s, 1e-4),
            "jit of vmap of grad": lambda f=function, s=steps: agree(
                jax.jit(jax.vmap(jax.grad(f)))(rewards)[0], s, 1e-4
            ),
        }
        for way, check in checks.items():
            tally.attempt("under transformations", check, f"{way} of {name}", seconds=120.0)
    refused: dict[str, Callable[[Any], Any]] = {
        "flow_many": lambda x: pgdyn.flow_many(problem.with_proxy(x[:, None]), 1.0).true_value,
        "categorize": lambda x: pgdyn.categorize(problem, x, t1=1.0, target=0.9).speedup,
        "Flow.saves": lambda x: pgdyn.flow(problem, 1.0, saves=x[0, 0]).true_value,
        "Ascend.steps": lambda x: pgdyn.ascend(problem, x[0, 0]).true_value,
        "target": lambda x: pgdyn.flow(problem, 1.0, target=x[0, 0]).hitting_time,
        "t1": lambda x: pgdyn.flow(problem, abs(x[0, 0]) + 1).true_value,
        "save_problem": lambda x: pgdyn.save_problem(problem.with_proxy(x[0]), "/tmp/never.toml"),
        "to_dataset": lambda x: pgdyn.ascend(problem.with_proxy(x[0]), 3).to_dataset(),
        "plot": lambda x: pgdyn.ascend(problem.with_proxy(x[0]), 3).plot(),
        "index": lambda x: problem.with_proxy(np.ones((2, 1, 3)))[x[0, 0]],
        "exact.covers": lambda x: exact.covers(problem.with_proxy(x[0])),
    }
    for name, function in refused.items():

        def tried(function: Any = function) -> str:
            try:
                jax.jit(lambda x: (function(x), 0)[1])(rewards)
            except IndexError as error:  # of a batch, as Python has it
                return complaint(ValueError(str(error)))
            except Exception as error:
                return complaint(error)
            return ""

        tally.attempt("traced where a number is needed", tried, name, seconds=120.0)


def threads(effort: Effort, tally: Tally) -> None:
    """Runs of many threads at once have the bits of one alone."""
    rng = np.random.default_rng(effort.seed)
    batches = [
        Batch.tabular(rng.dirichlet(np.ones(3), (n, 1)), rng.uniform(-1, 1, (n, 1, 3))) for n in (5, 40, 300, 2000)
    ]
    alone = [pgdyn.flow_many(batch, 20.0, target=0.3) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        tasks = [i % len(batches) for i in range(effort.count(200, least=8))]
        for i, found in zip(
            tasks, pool.map(lambda i: pgdyn.flow_many(batches[i], 20.0, target=0.3), tasks), strict=True
        ):
            wrong = (
                ""
                if same(found.log_policy, alone[i].log_policy) and same(found.hitting_time, alone[i].hitting_time)
                else "it differs"
            )
            tally.note("runs in eight threads at once", wrong, len(batches[i]))


def memory() -> int:
    """Bytes that this process has in memory."""
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def many_calls(effort: Effort, tally: Tally) -> None:
    """2,000 calls with ever other numbers of problems: nothing is compiled after the first, and memory stays."""
    compiled = [0]

    def listen(event: str, seconds: float, **_: Any) -> None:
        compiled[0] += event == "/jax/core/compile/backend_compile_duration"

    jax.monitoring.register_event_duration_secs_listener(listen)
    rng = np.random.default_rng(effort.seed)
    rewards, policy = rng.uniform(-1, 1, (3000, 1, 3)), rng.dirichlet(np.ones(3), (3000, 1))
    goal = {"target": 0.3}
    ways: dict[str, Callable[[Batch], Any]] = {
        "flow_many": lambda batch: pgdyn.flow_many(batch, 5.0, **goal),
        "ascend_many": lambda batch: pgdyn.ascend_many(batch, 20, **goal),
        "exact.hitting_time": lambda batch: exact.hitting_time(batch, 0.3),
    }
    for name, run in ways.items():
        for n in (1, 2, 4, 8, *range(16, 257, 16), 300, 1000, 2000, 2500, 3000):  # chunks come in so many sizes
            run(Batch.tabular(policy[:n], rewards[:n]))
        count, before, size = effort.count(2000, least=20), compiled[0], memory()
        half = size
        for i in range(count):
            n = int(rng.integers(1, 3000))
            run(Batch.tabular(policy[:n], rewards[:n]))
            if i == count // 2:
                half = memory()
        made, grown = compiled[0] - before, memory() - half
        words = f"{name}, {count} calls: {made} programs, {(half - size) / 2**20:.0f} and {grown / 2**20:.0f} MB"
        for _ in range(count - 1):
            tally.note("calls with changing N", None)
        tally.note("calls with changing N", words if made or grown > 2**26 else None)
