"""What only makes the engine faster changes no result: every switch, one kernel or many, a kernel XLA refuses.

Oracle: the same flows with everything on.
"""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import run, tabular
from compilations import Compilations

import pgdyn
from pgdyn.ensemble import executor, program, tuning, xla


def linear(shared, width, outputs=3):
    rng = np.random.default_rng(6)
    shape = (1, outputs, width) if shared else (80, 1, outputs, width)
    reward = rng.uniform(-1, 1, (80, 1, outputs))
    start = rng.normal(size=(80, width))
    return pgdyn.Batch.linear(rng.normal(size=shape), reward, initial_params=start, temperature=1.5)


def many_outputs():
    """Too large for one kernel, so that barriers and written-out reductions count."""
    rng = np.random.default_rng(7)
    return pgdyn.Batch.tabular(rng.dirichlet(np.full(17, 5.0), (100, 1)), *rng.uniform(-1, 1, (2, 100, 1, 17)))


BATCHES = {"small": tabular(300), "large": many_outputs()}
WHERE = {"wide_vectors": "large", "keep_barriers": "large", "unroll": "large"}  # else where one kernel is compiled
TIGHT = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture(scope="module", autouse=True)
def two_cores():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "cores", lambda: 2)
        yield


@contextlib.contextmanager
def as_users_have_it():
    """XLA optimizes the engine's programs in full, as it does by default, and not as little as in other tests."""
    options = xla.compiler_options
    full = {
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
        "xla_cpu_use_fusion_emitters": True,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xla, "compiler_options", lambda *given: {**(options(*given) or {}), **full})
        yield


@pytest.fixture(scope="module")
def expected(two_cores):
    program.compiled.cache_clear()  # of what other files had compiled with less
    with as_users_have_it():
        return {name: run(batch, **TIGHT) for name, batch in BATCHES.items()}


def assert_close(found, expected):
    np.testing.assert_allclose(np.exp(found.log_policy), np.exp(expected.log_policy), rtol=0, atol=1e-8)
    np.testing.assert_allclose(found.hitting_time, expected.hitting_time, rtol=1e-6)
    np.testing.assert_array_equal(found.result, expected.result)


@pytest.mark.parametrize("switch", tuning.ALL._fields)
def test_every_switch_gives_the_same(expected, switch):
    with as_users_have_it(), tuning.using(tuning.ALL._replace(**{switch: False})):
        assert getattr(tuning.current(), switch) is False
        name = WHERE.get(switch, "small")
        assert_close(run(BATCHES[name], **TIGHT), expected[name])
    assert tuning.current() == tuning.ALL


def test_switches_that_decide_nothing_about_programs_compile_none(expected):
    with Compilations() as made, tuning.using(tuning.ALL._replace(streams=False, ahead=False)):
        assert_close(run(BATCHES["small"], **TIGHT), expected["small"])
    assert made.count == 0


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        (tabular(80), {"kl": 0.05, "entropy": 0.02}),
        (linear(True, 2), {"kl": 0.05, "kl_direction": "forward"}),
        (linear(False, 2), {"entropy": 0.05}),
        (linear(True, 5), {"kl": 0.05}),
        (linear(False, 5), {}),
    ],
    ids=["penalised", "shared", "own", "shared, wide", "own, wide"],
)
def test_one_kernel_or_many_give_the_same(batch, options):
    options = {"objective": pgdyn.Objective(**options), **TIGHT}
    one = run(batch, **options)
    with tuning.using(tuning.ALL._replace(one_kernel=False)):
        assert_close(run(batch, **options), one)


# Compiled programs are kept by switches, so that none below is met elsewhere.
APART = tuning.ALL._replace(wide_vectors=False, keep_barriers=False)


def test_a_kernel_that_cannot_be_compiled_is_done_without(monkeypatch):
    """Without the options that keep a library's calls out of it, XLA refuses this one."""
    batch = linear(True, 8, 8)
    expected = run(batch)
    monkeypatch.setattr(xla, "compiler_options", lambda *given: None)
    with tuning.using(APART):
        for _ in range(2):
            found = run(batch)
            np.testing.assert_allclose(np.exp(found.log_policy), np.exp(expected.log_policy), rtol=0, atol=1e-5)


def test_other_errors_are_not_hidden(monkeypatch):
    def fail(*given):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(xla, "as_one_kernel", fail)
    with tuning.using(APART), pytest.raises(jax.errors.JaxRuntimeError, match="out of memory"):
        run(tabular(2))


def test_which_errors_say_that_a_kernel_is_not_compilable():
    assert xla.is_not_compilable(jax.errors.JaxRuntimeError("UNIMPLEMENTED: custom call"))
    assert not xla.is_not_compilable(jax.errors.JaxRuntimeError("INTERNAL: broken"))
    assert not xla.is_not_compilable(ValueError("UNIMPLEMENTED"))


def test_options_that_xla_does_not_know_are_left_out(monkeypatch):
    """As a version might, that has another name for one."""

    def refuse(*given, compiler_options=None, **options):
        raise jax.errors.JaxRuntimeError(f"INVALID_ARGUMENT: no such option in {compiler_options}")

    xla.compiler_options.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(jax, "jit", refuse)
        assert xla.compiler_options(True, True, True) is None
    xla.compiler_options.cache_clear()
    assert set(xla.compiler_options(True, True, True)) == {
        "xla_cpu_prefer_vector_width",
        "xla_disable_hlo_passes",
    }
    assert xla.compiler_options(False, False, False) is None


def test_xla_keeps_one_kernel():
    """As a call that is not dissolved: its loop is not among those that the program runs itself."""

    def double(x):
        return jax.lax.while_loop(lambda x: x[0] < 100, lambda x: jnp.sin(x) + 2 * x, x)

    compiled = jax.jit(lambda x: xla.as_one_kernel(double, x) + 1).lower(jnp.ones(64)).compile().as_text()
    entry = compiled[compiled.index("ENTRY") :]
    assert " call(" in entry and " while(" not in entry
