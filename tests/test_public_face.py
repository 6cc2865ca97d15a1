"""The names, signatures and import behaviour that users rely on."""

import inspect
import subprocess
import sys

import jax
import pytest

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


def test_fields_of_problem_and_trajectory(paper_problem):
    for field in ("features true_reward proxy_reward initial_params temperature prompt_weights").split():
        assert hasattr(paper_problem, field)
    run = pgdyn.ascend(paper_problem, 2)
    for field in ("t params log_policy true_value proxy_value reward_variance kl hitting_time dynamics result").split():
        assert hasattr(run, field)
    assert run.t.shape == run.true_value.shape == run.proxy_value.shape == run.reward_variance.shape == run.kl.shape
    assert run.log_policy.shape == (3, 1, 5)


def test_defaults_are_those_of_the_paper(paper_problem):
    """SGD at .1 on the proxy's value, no KL, no normalisation."""
    import numpy as np

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
    heavy = ["xarray", "matplotlib", "zarr", "pandas", "pyarrow", "rich", "tyro", "scipy.integrate", "experiments"]
    printed = python(f"import sys, pgdyn; print([name for name in {heavy!r} if name in sys.modules])")
    assert printed == "[]"


RUN = """
import numpy as np, jax, pgdyn
problem = pgdyn.Problem.tabular([0.3, 0.7], [1.0, 0.0])
print(jax.config.jax_enable_x64, problem.true_reward.dtype, pgdyn.ascend(problem, 5).params.dtype)
print(pgdyn.ascend_sampled(problem, 5, jax.random.key(0)).params.dtype)
try:
    pgdyn.flow(problem, 1.0)
    print("flowed")
except ValueError as refusal:
    print(refusal)
"""


def test_float64_is_on_from_import():
    assert python(RUN).splitlines() == ["True float64 float64", "float64", "flowed"]


def test_opting_out_of_float64_is_honoured_and_flow_says_what_it_needs():
    assert python(RUN, PGDYN_X64="0").splitlines() == [
        "False float32 float32",
        "float32",
        "flow needs float64 and this problem is float32; "
        "leave PGDYN_X64 unset (or set it to 1) before importing pgdyn, or use pgdyn.ascend",
    ]


def test_type_hints_of_shapes_are_checked_here():
    """The import hook of conftest is alive: a wrong shape inside the library fails in tests."""
    problem = pgdyn.Problem.tabular([0.5, 0.5], [1.0, 0.0])
    with pytest.raises(Exception, match="Type-check error"):
        pgdyn.policy.value(problem, jax.numpy.zeros(2), problem.true_reward)
