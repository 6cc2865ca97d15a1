"""Strictness for every test: float64, no silent rank or dtype promotion, warnings as errors, two CPU devices."""

import gc
import os
from pathlib import Path

import jax
import jaxtyping
import pytest
import typecheck
from hypothesis import HealthCheck, settings

# Tests spend their time in compiling programs that then run for milliseconds, so XLA is to optimize little, to take the
# older of its generators of code, which is the faster one, and not to split a program between threads, of which each
# process here has one to itself. Tests marked `optimized` run for long and have their programs optimized in full. What
# the engine makes of XLA's optimizations is tested with all of them (`test_tuning`).
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # for processes that tests start
jax.config.update("jax_disable_most_optimizations", True)

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Compiled programs are kept between runs of the tests, and shared by the processes of one run and by those that tests
# start. `make clean` removes them.
os.environ.setdefault("PGDYN_COMPILATION_CACHE", str(Path(__file__).parents[1] / ".pytest_cache" / "compiled"))

# Shapes and dtypes in the signatures of pgdyn are checked whenever tests call it; `typecheck` says which hints count.
# Modules without any are left alone: the hook makes each call of each function 20 microseconds longer.
jaxtyping.install_import_hook(typecheck.modules("pgdyn"), "typecheck.shapes")

MOST_MAPPINGS = 20_000

settings.register_profile(
    "pgdyn", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("pgdyn")


def pytest_configure(config):
    """Turns the compilation cache on, before anything is compiled, and lets garbage wait."""
    from pgdyn import compilation_cache

    compilation_cache.enable()
    # Tracing makes so many objects that Python, left alone, spends an eighth of the time looking for garbage.
    gc.set_threshold(200_000, 50, 100)


def pytest_collection_finish(session):
    """Lets Python look for garbage only among what tests make, not among all that is imported."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Says how programs are compiled from here on."""
    jax.config.update("jax_disable_most_optimizations", item.get_closest_marker("optimized") is None)


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Drops compiled programs after a file where they are many: each takes mappings, of which Linux allows 65,530."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MOST_MAPPINGS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def paper_problem():
    """The paper's controlled problem at e = .05, trained on the ground truth (arXiv 2604.25872, appendix C)."""
    import pgdyn

    return pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1.0, 0.8, -1.0, -1.0, -1.0])
