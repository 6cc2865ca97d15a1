"""Altered lines of the exact solution."""

from . import Mutant

_TESTS = ("tests/exact", "-k", "scipy or paper or ties or escapes or transient or middle")
_PLANE, _MARCH = "pgdyn/exact/plane.py", "pgdyn/exact/march.py"

MUTANTS = (
    Mutant(_PLANE, "offset = base - ratio * first - gains * gap", "offset = base - ratio * first - gap", _TESTS),
    Mutant(
        _PLANE,
        "logs = jnp.log(jnp.where(moving, x / base, 1.0)) / divisor",
        "logs = jnp.log(jnp.where(moving, x / base, 1.0))",
        _TESTS,
    ),
    Mutant(_PLANE, "_CLOSE = 1e-8", "_CLOSE = 1e-3", _TESTS),
    Mutant(_MARCH, "_MISS = 1e-14", "_MISS = 1e-7", _TESTS),
    Mutant(_MARCH, "time=where.time + duration,", "time=where.time + duration * (1 + 1e-10),", _TESTS),
    Mutant(_MARCH, "peaks >= goal[None]", "peaks >= 2 * goal[None] + 9", _TESTS),
    Mutant(
        "pgdyn/exact/reach.py", "rate=problem.temperature**2 / weights", "rate=problem.temperature / weights", _TESTS
    ),
    Mutant("pgdyn/exact/reach.py", "b = (off - total) / (outputs - 2)", "b = (off - total) / (outputs - 1)", _TESTS),
)
