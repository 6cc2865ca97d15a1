"""Altered lines of `pgdyn.errors`."""

from . import Mutant

_CATEGORIES = ("tests/errors/test_categorize.py", "-k", "not one_by_one")
_MECHANISMS = ("tests/errors/test_mechanism.py",)

MUTANTS = (
    Mutant("pgdyn/errors/categories.py", "speedup < 1 / (1 + tolerance)", "speedup < 1 - tolerance", _CATEGORIES),
    Mutant("pgdyn/errors/categories.py", "np.where(ranges > 0, ranges, 1.0)", "1.0", _CATEGORIES),
    Mutant(
        "pgdyn/errors/categories.py", "change > tolerance, change < -tolerance", "change > 0, change < 0", _CATEGORIES
    ),
    Mutant(
        "pgdyn/errors/prediction.py", "np.where(time <= ends[rows], time,", "np.where(time < np.inf, time,", _CATEGORIES
    ),
    Mutant("pgdyn/errors/prediction.py", 'flow.geometry != "euclidean"', 'flow.geometry == "straight"', _CATEGORIES),
    Mutant(
        "pgdyn/errors/prediction.py",
        "both(exact.true_value, rows[by_value], ends[rows[by_value]])",
        "both(exact.true_value, rows[by_value], goals[rows[by_value]])",
        _CATEGORIES,
    ),
    Mutant(
        "pgdyn/errors/categorize.py",
        "np.where(by == EXACT, told.category",
        "np.where(by == '', told.category",
        _CATEGORIES,
    ),
    Mutant(
        "pgdyn/errors/report.py",
        "return self._share(self.mechanism_category)",
        "return self._share(self.predicted)",
        _CATEGORIES,
    ),
    Mutant(
        "pgdyn/errors/mechanism.py",
        "return types, problem.prompt_weights[:, None] * initial * size",
        "return types, initial * size",
        _MECHANISMS,
    ),
    Mutant(
        "pgdyn/errors/mechanism.py",
        "(error > 0) & (proxy > proxy_value)",
        "(error > 0) & (proxy >= proxy_value)",
        _MECHANISMS,
    ),
    Mutant("pgdyn/errors/mechanism.py", "(initial <= _NEGLIGIBLE", "(initial <= 2 * _NEGLIGIBLE", _MECHANISMS),
    Mutant("pgdyn/errors/mechanism.py", "(proxy >= top_proxy)", "(proxy > top_proxy)", _MECHANISMS),
    Mutant(
        "pgdyn/errors/mechanism.py",
        "mediocre = ~good & (truth > true_value)",
        "mediocre = ~good & (truth >= true_value)",
        _MECHANISMS,
    ),
    Mutant(
        "pgdyn/errors/sensitivity.py",
        "jnp.where(hit == 0, 0.0, jnp.nan)",
        "jnp.nan",
        ("tests/errors/test_sensitivity.py",),
    ),
    Mutant(
        "pgdyn/errors/region.py",
        "shrunk = self.truth + error * (self.budget / ",
        "shrunk = self.truth + error * (2 * self.budget / ",
        ("tests/errors/test_design.py", "-k", "budget or region or project"),
    ),
)
