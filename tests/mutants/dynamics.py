"""Altered lines of the flow, the engine and the policy."""

from . import Mutant

MUTANTS = (
    Mutant(
        "pgdyn/ensemble/step.py",
        "error = step * safe**2 / jnp.sqrt(",
        "error = step / 33 * safe**2 / jnp.sqrt(",
        ("tests/ensemble/test_agreement.py", "tests/ensemble/test_scaling.py", "tests/ensemble/test_runs.py"),
    ),
    Mutant(
        "pgdyn/dynamics/integrate.py",
        "looks = spread(end / rate, _LOOKS)",
        "looks = spread(end / rate, 8)",
        ("tests/ensemble/test_peaks.py",),
    ),
    Mutant(
        "pgdyn/policy.py",
        "weight = jnp.sqrt(weights[:, None] * policy)",
        "weight = jnp.sqrt(policy)",
        ("tests/test_policy.py", "tests/mdp/test_everywhere.py", "-k", "natural"),
    ),
    Mutant(
        "pgdyn/ensemble/flows.py",
        "count = min(lanes, -(-count // workers) * workers)",
        "count = -(-count // workers) * workers",
        ("tests/ensemble/test_driver.py",),
    ),
)
