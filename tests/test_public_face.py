"""The names, signatures and import behaviour that users rely on."""

import inspect
import subprocess
import sys

import jax
import numpy as np
import oracles
import pytest
from oracles import Goal, Setting, Sgd

import pgdyn

REQUIRED = inspect.Parameter.empty


def described(function):
    """[(name, kind, default)], without `self` and `cls`; kind "/" positional or keyword, "*" keyword only."""
    kinds = {inspect.Parameter.POSITIONAL_OR_KEYWORD: "/", inspect.Parameter.KEYWORD_ONLY: "*"}
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, kinds[p.kind], p.default) for p in parameters if p.name not in ("self", "cls")]


SIGNATURES = {  # what the design fixes; further keyword-only options may follow
    "Problem.tabular": [
        ("initial_policy", "/", REQUIRED),
        ("true_reward", "/", REQUIRED),
        ("proxy_reward", "/", None),
        ("temperature", "*", 1.0),
    ],
    "Problem.linear": [
        ("features", "/", REQUIRED),
        ("true_reward", "/", REQUIRED),
        ("proxy_reward", "/", None),
        ("initial_params", "*", None),
        ("initial_policy", "*", None),
        ("temperature", "*", 1.0),
    ],
    "Problem.with_proxy": [("proxy_reward", "/", REQUIRED)],
    "Batch.tabular": [
        ("initial_policy", "/", REQUIRED),
        ("true_reward", "/", REQUIRED),
        ("proxy_reward", "/", None),
        ("temperature", "*", 1.0),
    ],
    "Batch.linear": [
        ("features", "/", REQUIRED),
        ("true_reward", "/", REQUIRED),
        ("proxy_reward", "/", None),
        ("initial_params", "*", None),
        ("initial_policy", "*", None),
        ("temperature", "*", 1.0),
    ],
    "stack": [("problems", "/", REQUIRED)],
    "Objective": [
        ("reward", "/", "proxy"),
        ("kl", "/", 0.0),
        ("reference", "/", "initial"),
        ("kl_direction", "/", "reverse"),
        ("entropy", "/", 0.0),
        ("normalize_by_std", "/", False),
    ],
    "flow": [
        ("problem", "/", REQUIRED),
        ("t1", "/", REQUIRED),
        ("objective", "*", None),
        ("target", "*", None),
        ("saves", "*", 256),
        ("rtol", "*", 1e-8),
        ("atol", "*", 1e-10),
    ],
    "ascend": [
        ("problem", "/", REQUIRED),
        ("steps", "/", REQUIRED),
        ("optimizer", "*", None),
        ("objective", "*", None),
        ("target", "*", None),
        ("save_every", "*", 1),
    ],
    "flow_many": [
        ("batch", "/", REQUIRED),
        ("t1", "/", REQUIRED),
        ("objective", "*", None),
        ("target", "*", None),
        ("saves", "*", 256),
        ("rtol", "*", 1e-6),
        ("atol", "*", 1e-9),
    ],
    "solve": [("problem", "/", REQUIRED), ("dynamics", "/", REQUIRED)],
    "ascend_sampled": [
        ("problem", "/", REQUIRED),
        ("steps", "/", REQUIRED),
        ("key", "/", REQUIRED),
        ("estimator", "*", None),
        ("optimizer", "*", None),
        ("objective", "*", None),
        ("target", "*", None),
        ("save_every", "*", 1),
    ],
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_the_contract(name):
    found = pgdyn
    for part in name.split("."):
        found = getattr(found, part)
    measured = described(found)
    fixed = SIGNATURES[name]
    assert measured[: len(fixed)] == fixed
    assert all(kind == "*" and default is not REQUIRED for _, kind, default in measured[len(fixed) :])


def test_everything_public_is_named_and_documented():
    for name in pgdyn.__all__:
        thing = getattr(pgdyn, name)
        assert isinstance(thing, str) or inspect.getdoc(thing)


def test_fields_of_problem_and_solution(paper_problem):
    for field in ("features true_reward proxy_reward initial_params temperature prompt_weights transitions").split():
        assert hasattr(paper_problem, field)
    run = pgdyn.ascend(paper_problem, 2)
    for field in ("t params log_policy true_value proxy_value reward_variance kl hitting_time dynamics result").split():
        assert hasattr(run, field)
    assert run.t.shape == run.true_value.shape == run.proxy_value.shape == run.reward_variance.shape == run.kl.shape
    assert run.log_policy.shape == (3, 1, 5)


def test_defaults_are_those_of_the_paper(paper_problem):
    """SGD at .1 on the proxy's value, no KL, no normalisation."""
    pi = np.array([0.05, 0.5, 0.15, 0.15, 0.15])
    reward = np.array([1.0, 0.8, -1.0, -1.0, -1.0])
    run = pgdyn.ascend(paper_problem, 1)
    np.testing.assert_allclose(run.params[1, 0], np.log(pi) + 0.1 * pi * (reward - pi @ reward), rtol=1e-13)


def test_results_compare_with_integers_and_speak():
    assert [int(code) for code in pgdyn.Result] == [0, 1, 2, 3]
    assert all(code.message for code in pgdyn.Result)


def python(code, **environment):
    """Runs `code` in a fresh interpreter and returns what it printed."""
    import os

    options = {key: value for key, value in os.environ.items() if key not in ("PGDYN_X64", "JAX_ENABLE_X64")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**options, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_loads_only_what_it_may():
    """Step by step in one process; JAX, imported last, is in float64 all the same, and other programs are not."""
    heavy = ["xarray", "matplotlib", "zarr", "pandas", "pyarrow", "rich", "click", "scipy.integrate", "experiments"]
    heavy += ["diffrax", "optimistix", "optax"]  # a third of the time that all of pgdyn takes
    code = f"""
import os, sys, pgdyn
print([name for name in {[*heavy, "jax", "numpy"]!r} if name in sys.modules])
print(hasattr(pgdyn, "nothing"), {{*pgdyn.__all__}} <= {{*dir(pgdyn)}})
pgdyn.flow, pgdyn.stack, pgdyn.Objective, pgdyn.categorize, pgdyn.metrics, pgdyn.estimators, pgdyn.Problem
print([name for name in {heavy!r} if name in sys.modules])
import jax.numpy
print(jax.numpy.zeros(1).dtype, "JAX_ENABLE_X64" in os.environ)
"""
    assert python(code).splitlines() == ["[]", "False True", "[]", "float64 False"]


def test_jax_may_come_first_and_the_function_solve_is_not_hidden_by_its_module():
    code = "import jax, pgdyn; print(jax.numpy.zeros(1).dtype)"
    code += "; import pgdyn.solve, pgdyn.errors.design; print(pgdyn.solve.__name__)"
    assert python(code).splitlines() == ["float64", "solve"]


RUN = """
import numpy as np, jax, pgdyn
pgdyn.compilation_cache.enable()
policy, reward = [0.05, 0.5, 0.15, 0.15, 0.15], [1.0, 0.8, -1.0, -1.0, -1.0]
problem = pgdyn.Problem.tabular(policy, reward)
linear = pgdyn.Problem.linear(np.eye(5), reward, initial_policy=policy, temperature=0.5)
batch = problem.with_proxy(np.stack([problem.proxy_reward] * 3))
objective = pgdyn.Objective(kl=0.1, entropy=0.05, normalize_by_std=True)
print(jax.config.jax_enable_x64, problem.true_reward.dtype, batch.proxy_reward.dtype)
run = pgdyn.ascend(problem, 400, target=0.75)
print(int(run.hitting_time), round(float(run.true_value[-1]), 4))
for run in (
    run,
    pgdyn.ascend(linear, 5, objective=objective, optimizer="adam"),
    pgdyn.ascend_sampled(problem, 5, 0),
    pgdyn.ascend_many(batch, 5, target=0.5, learning_rate=[0.1, 0.2, 0.3]),
    pgdyn.ascend_sampled_many(batch, 5, jax.random.split(jax.random.key(0), 2), objective=objective),
):
    print(run.dynamics, *{run.params.dtype, run.true_value.dtype, run.kl.dtype, run.hitting_time.dtype})
for flow in (pgdyn.flow, pgdyn.flow_many):
    try:
        flow(problem, 1.0)
        print("flowed")
    except ValueError as refusal:
        print(refusal)
"""
RUNS = ("ascend", "ascend", "ascend_sampled", "ascend", "ascend_sampled")
NEEDS = (
    "{} needs float64 and this problem is float32; "
    "leave PGDYN_X64 unset (or set it to 1) before importing pgdyn, or use pgdyn.ascend"
)


@pytest.fixture(scope="module")
def first_run():
    """Oracle: the first of these runs as a loop in NumPy."""
    reward = np.array([[1.0, 0.8, -1.0, -1.0, -1.0]])
    setting = Setting(None, reward, reward, np.log([[0.05, 0.5, 0.15, 0.15, 0.15]]))
    path, hit = oracles.ascend(setting, Goal(), 400, Sgd(0.1), 0.75)
    return f"{int(hit)} {oracles.value(setting, path[-1], reward):.4f}"


# Problems made before float64 is switched off and after: neither gives a float32 answer in silence.
SWITCHED_OFF = """
jax.config.update("jax_enable_x64", False)
after = pgdyn.Problem.tabular(policy, reward)
for one in (problem, after):
    for flow in (pgdyn.flow, pgdyn.flow_many):
        try:
            flow(one, 1.0)
        except ValueError as refusal:
            print(refusal)
"""


def test_float64_is_on_from_import_and_needed_ever_after(first_run):
    printed = python(RUN + SWITCHED_OFF).splitlines()
    runs = ["True float64 float64", first_run, *(f"{name} float64" for name in RUNS), *["flowed"] * 2]
    assert printed[:-4] == runs
    # A float64 problem, which would run in float32 without a word; a batch of it is made anew, in float32.
    assert "switched off after pgdyn was imported" in printed[-4]
    for said, name in zip(printed[-3:], ("flow_many", "flow", "flow_many"), strict=True):
        assert said.startswith(f"{name} needs float64 and ") and said.endswith("or use pgdyn.ascend")


def test_opting_out_of_float64_is_honoured_and_flow_says_what_it_needs(first_run):
    """Ascents run in float32, and end where those in float64 do; no warning is raised."""
    printed = python(RUN, PGDYN_X64="0", PYTHONWARNINGS="error").splitlines()
    assert printed[:2] == ["False float32 float32", first_run]
    assert printed[2:] == [*(f"{name} float32" for name in RUNS), NEEDS.format("flow"), NEEDS.format("flow_many")]


def test_type_hints_of_shapes_are_checked_here():
    """The import hook of conftest is alive: a wrong shape inside the library fails in tests."""
    problem = pgdyn.Problem.tabular([0.5, 0.5], [1.0, 0.0])
    with pytest.raises(Exception, match="Type-check error"):
        pgdyn.policy.value(problem, jax.numpy.zeros(2), problem.true_reward)
