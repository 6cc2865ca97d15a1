"""Altered lines of `pgdyn.metrics`."""

from . import Mutant

_METRICS, _TESTS = "pgdyn/metrics.py", ("tests/test_metrics.py",)

MUTANTS = (
    Mutant(_METRICS, "bar = jnp.maximum(chosen,", "bar = jnp.minimum(chosen,", _TESTS),
    Mutant(_METRICS, "below = rejected < (", "below = rejected <= (", _TESTS),
    Mutant(_METRICS, "jnp.all(below, axis=-1)", "jnp.any(below, axis=-1)", _TESTS),
    Mutant(_METRICS, "mean_reward if one else mean_reward[:, None]", "jnp.mean(mean_reward)", _TESTS),
    Mutant(_METRICS, "jax.nn.softmax(item, axis=None)", "jax.nn.softmax(item, axis=-1)", _TESTS),
    Mutant(
        _METRICS,
        "item = high + (jnp.sum(low, axis=-1) if one else low)",
        "item = high + (jnp.mean(low, axis=-1) if one else low)",
        _TESTS,
    ),
    Mutant(
        _METRICS,
        "item = high + (jnp.sum(low, axis=-1) if one else low)",
        "item = jnp.sum(low, axis=-1) if one else low",
        _TESTS,
    ),
    Mutant(
        _METRICS,
        "jnp.sum(weights * _correct(*scores, None, one_vs_many))",
        "jnp.mean(_correct(*scores, None, one_vs_many))",
        _TESTS,
    ),
    Mutant(
        _METRICS,
        "jnp.sum(weights * _correct(*scores, _mean_reward(mean_reward, scores[1]), one_vs_many))",
        "jnp.sum(weights * _correct(*scores, None, one_vs_many))",
        _TESTS,
    ),
    Mutant(_METRICS, "logp <= 0, ", "logp < 0, ", _TESTS),
    Mutant(_METRICS, "not bool(jnp.any(item > -jnp.inf))", "not bool(jnp.all(item > -jnp.inf))", _TESTS),
    Mutant(
        _METRICS,
        "high.ndim != 1 or low.ndim != 2 or high.shape[0] != low.shape[0]",
        "high.ndim != 1 or low.ndim != 2",
        _TESTS,
    ),
    Mutant(_METRICS, "elif high.ndim != 2 or high.shape != low.shape", "elif high.shape != low.shape", _TESTS),
    Mutant(_METRICS, "if mean.shape != rejected.shape[:1]", "if mean.ndim != 1", _TESTS),
)
