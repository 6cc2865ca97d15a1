"""Altered lines of `pgdyn.metrics`, `pgdyn.scores` and `pgdyn.labels`."""

from . import Mutant

_HARM, _TESTS = "pgdyn/metrics/harm.py", ("tests/metrics/test_harm.py",)
_RANKINGS = ("tests/metrics/test_rankings_and_distances.py",)
_EVALUATE = ("tests/test_evaluate.py", "-k", "not command")
_FILES = ("tests/scores/test_hostile_files.py",)
_LABELS = ("tests/labels/test_labels.py",)

MUTANTS = (
    Mutant(_HARM, "bar = xp.maximum(chosen,", "bar = xp.minimum(chosen,", _TESTS),
    Mutant(_HARM, "below = rejected < (", "below = rejected <= (", _TESTS),
    Mutant(_HARM, "xp.all(below, axis=-1)", "xp.any(below, axis=-1)", _TESTS),
    Mutant(_HARM, "mean_reward if one else mean_reward[:, None]", "xp.mean(mean_reward)", _TESTS),
    Mutant(_HARM, "jax.nn.softmax(item, axis=None)", "jax.nn.softmax(item, axis=-1)", _TESTS),
    Mutant(_HARM, "weights / weights.sum()", "weights / weights.sum(axis=-1, keepdims=True)", _TESTS),
    Mutant(_HARM, ".sum(low, axis=-1) if one else low)", ".mean(low, axis=-1) if one else low)", _TESTS),
    Mutant(_HARM, "xp.mean(right) if weights is None else xp.sum(weights * right)", "xp.mean(right)", _TESTS),
    Mutant(_HARM, "logp <= 0, ", "logp < 0, ", _TESTS),
    Mutant(_HARM, "not np.any(item > -np.inf)", "not np.all(item > -np.inf)", _TESTS),
    Mutant(
        _HARM,
        "high.ndim != 1 or low.ndim != 2 or high.shape[0] != low.shape[0]",
        "high.ndim != 1 or low.ndim != 2",
        _TESTS,
    ),
    Mutant(_HARM, "elif high.ndim != 2 or high.shape != low.shape", "elif high.shape != low.shape", _TESTS),
    Mutant(_HARM, "if mean.shape != rejected.shape[:1]", "if mean.ndim != 1", _TESTS),
    Mutant("pgdyn/metrics/benchmarks.py", '"math-prm": 984', '"math-prm": 447', _EVALUATE),
    Mutant("pgdyn/metrics/benchmarks.py", "tied[0] > tied[1], least", "tied[0] >= tied[1], least", _EVALUATE),
    Mutant(
        "pgdyn/metrics/intervals.py",
        "low, high = np.quantile(ratios, [(1 - conf",
        "low, high = np.quantile(ratios, [(2 - conf",
        _EVALUATE,
    ),
    Mutant("pgdyn/metrics/exact.py", "before = (worse - ~top[order])", "before = worse", _EVALUATE),
    Mutant(
        "pgdyn/metrics/items.py",
        "self.rejected < np.fmax(self.chosen",
        "self.rejected <= np.fmax(self.chosen",
        _EVALUATE,
    ),
    Mutant("pgdyn/scores/tally.py", "shift = float(np.exp(", "shift = 1.0 + 0 * float(np.exp(", _EVALUATE),
    Mutant(
        "pgdyn/scores/tally.py",
        "never = wrong & (items.rejected < mean)",
        "never = wrong & (items.rejected > mean)",
        _EVALUATE,
    ),
    Mutant("pgdyn/scores/tally.py", "under.sum() ** 2 / np.sum(under**2)", "under.sum() ** 2 / under.max()", _EVALUATE),
    Mutant("pgdyn/scores/results.py", "(right < 0) | (right > 1)", "right < 0", _EVALUATE),
    Mutant(
        "pgdyn/scores/rewardbench.py", "correct = int(np.sum(right == 1))", "correct = int(np.sum(right))", _EVALUATE
    ),
    Mutant("pgdyn/evaluate.py", "if key in left and key.startswith(ONE)", "if key in left and not key", _EVALUATE),
    Mutant("pgdyn/scores/kinds.py", "if other != name and (has_role", "if not other and (has_role", _FILES),
    Mutant("pgdyn/scores/files.py", "int(text) if len(text) < 400", "int(text) if len(text) < 40_000", _FILES),
    Mutant("pgdyn/metrics/forecast.py", "np.exp(own[:, :-1]) * steep", "np.exp(own[:, :-1])", _RANKINGS),
    Mutant("pgdyn/metrics/forecast.py", "np.log(mean(log_time) / kl)", "np.log(mean(log_time) / kl) + 1e-3", _RANKINGS),
    Mutant("pgdyn/scores/files.py", "start = before + reader.line_num + 1", "start = before + reader.line_num", _FILES),
    Mutant("pgdyn/scores/files.py", "EMPTY\n    try:", 'EMPTY\n    if True:\n        return 0.0, ""\n    try:', _FILES),
    Mutant("pgdyn/metrics/forecast.py", "np.log1p(np.maximum(", "np.log(np.maximum(", _RANKINGS),
    Mutant("pgdyn/metrics/ranking.py", "(first + last) / 2 + 1", "first + 1", _RANKINGS),
    Mutant("pgdyn/metrics/distance.py", "slopes[slopes > 0]", "slopes[slopes > 1]", _RANKINGS),
    Mutant("pgdyn/metrics/distance.py", "taw,uaw->st", "taw,taw->st", _RANKINGS),
    Mutant("pgdyn/labels/fit.py", "x, both = high - low - self.pairs.margin", "x, both = high - low", _LABELS),
    Mutant("pgdyn/labels/hierarchy.py", "values.std(ddof=1)", "values.std()", _LABELS),
    Mutant("pgdyn/labels/judges.py", "self.noise**2 / self.samples + ", "self.noise**2 + ", _LABELS),
    Mutant("pgdyn/labels/sft.py", "float(problem.temperature) ** 2", "float(problem.temperature)", _LABELS),
)
