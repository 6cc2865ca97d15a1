"""Altered formulas and premises of `pgdyn.theory`."""

from . import Mutant

_THEORY = "pgdyn/theory/"
_TESTS = "tests/theory/"

MUTANTS = (
    Mutant(
        _THEORY + "benign_errors.py",
        "return 4 * mass * np.exp(5 * t)",
        "return 0.05 * mass * np.exp(5 * t)",
        (_TESTS + "test_benign_errors.py", "-k", "formulas"),
    ),
    Mutant(
        _THEORY + "benign_errors.py",
        "return 4 * mass * np.exp(5 * t)",
        "return 4 * mass * np.exp(2 * t)",
        (_TESTS + "test_benign_errors.py", "-k", "formulas"),
    ),
    Mutant(
        _THEORY + "benign_errors.py",
        "return mass * (np.exp(5 * t) - np.exp(t)) / np.sqrt(2)",
        "return mass * (np.exp(2 * t) - np.exp(t)) / np.sqrt(2)",
        (_TESTS + "test_benign_errors.py", "-k", "formulas"),
    ),
    Mutant(
        _THEORY + "no_mediocre_output.py",
        "return escape_integral(p, rho) / (gap * hull",
        "return 0.99 * escape_integral(p, rho) / (gap * hull",
        (_TESTS + "test_no_mediocre_output.py", "-k", "two_outputs"),
    ),
    Mutant(
        _THEORY + "mediocre_lower_bounds.py",
        "_PAPER_EXPONENT = 14 / 13",
        "_PAPER_EXPONENT = 1.22",
        (_TESTS + "test_mediocre_lower_bounds.py", "-k", "papers"),
    ),
    Mutant(
        _THEORY + "mediocre_lower_bounds.py",
        "<= 0.75 * (at.best - at.middle)",
        "<= 0.99 * (at.best - at.middle)",
        (_TESTS + "test_near_misses.py", "-k", "escape_exponent"),
    ),
    Mutant(
        _THEORY + "corner_laws.py",
        "return Check.near(slope, batch.num_outputs - 1.0, 0.004)",
        "return Check.near(slope, batch.num_outputs - 0.96, 0.004)",
        (_TESTS + "test_corner_laws.py", "-k", "holds_wherever and corner_law"),
    ),
    Mutant(
        _THEORY + "corner_laws.py",
        "return jnp.sum(coefficients / ((j + 1) * (j + 2))) / u",
        "return 1.01 * jnp.sum(coefficients / ((j + 1) * (j + 2))) / u",
        (_TESTS + "test_corner_laws.py", "-k", "holds_wherever and corner_escape_time"),
    ),
    Mutant(
        _THEORY + "feature_geometry.py",
        "return (mediocre + harmonic(bad)) / (inner + harmonic(bad))",
        "return (mediocre + harmonic(bad)) / (inner + harmonic(bad)) + 0.015",
        (_TESTS + "test_feature_geometry.py", "-k", "holds_wherever and feature_geometry_law"),
    ),
    Mutant(
        _THEORY + "permanent_stall.py",
        "return -(mediocre - inner) / (mediocre + harmonic(bad))",
        "return -(mediocre - inner) / (mediocre + 1.01 * harmonic(bad))",
        (_TESTS + "test_feature_geometry.py", "-k", "holds_wherever and permanent_stall"),
    ),
    Mutant(
        _THEORY + "partial_credit.py",
        "return Check.near(arrival_exponent(batch, make_rarer(batch), TARGET), batch.num_outputs - 1.0, 0.004)",
        "return Check.near(arrival_exponent(batch, make_rarer(batch), TARGET), batch.num_outputs - 0.96, 0.004)",
        (_TESTS + "test_partial_credit.py", "-k", "holds_wherever and partial_credit_exponent"),
    ),
    Mutant(
        _THEORY + "partial_credit.py",
        "return Check.near(arrival_exponent(binary, make_rarer(binary), TARGET), 1.0, 0.004)",
        "return Check.near(arrival_exponent(binary, make_rarer(binary), TARGET), 1.015, 0.004)",
        (_TESTS + "test_partial_credit.py", "-k", "holds_wherever and binary_credit_exponent"),
    ),
    Mutant(
        _THEORY + "compositional_credit.py",
        "return 2 / (w * first + 2 * second + third / w)",
        "return 2.02 / (w * first + 2 * second + third / w)",
        (_TESTS + "test_compositional_credit.py", "-k", "holds_wherever and easy_rare"),
    ),
    Mutant(
        _THEORY + "compositional_credit.py",
        "TARGET) * 2 * s**2",
        "TARGET) * 2.02 * s**2",
        (_TESTS + "test_compositional_credit.py", "-k", "holds_wherever and both_rare"),
    ),
    Mutant(
        _THEORY + "compositional_credit.py",
        "TARGET) * s / 2",
        "TARGET) * s / 2.02",
        (_TESTS + "test_compositional_credit.py", "-k", "holds_wherever and both_rare"),
    ),
    Mutant(
        _THEORY + "reward_errors.py",
        "(2, 0.8): 272.2397260,",
        "(2, 0.8): 272.2997260,",
        (_TESTS + "test_reward_errors.py", "-k", "rows_of_the_table or every_row"),
    ),
    Mutant(
        _THEORY + "reward_errors.py",
        "(0, 0.85): 291606.7527,",
        "(0, 0.85): 291608.7527,",
        (_TESTS + "test_reward_errors.py", "-k", "rows_of_the_table or every_row"),
    ),
    Mutant(
        _THEORY + "reward_errors.py",
        "(4, 1.5): 4821.045151,",
        "(4, 1.5): 4821.051524,",
        (_TESTS + "test_reward_errors.py", "-k", "rows_of_the_table or every_row"),
    ),
    Mutant(
        _THEORY + "reward_errors.py",
        '"4821): bad -> 1.5 or 1: never;',
        '"4821): bad -> 1.5 or .8: never;',
        (_TESTS + "test_reward_errors.py", "-k", "what_the_statement_says"),
    ),
    Mutant(
        _THEORY + "reward_variance.py",
        "-jnp.expm1(-gamma / 9)",
        "-jnp.expm1(-2 * gamma / 9)",
        (_TESTS + "test_reward_variance.py", "-k", "formula"),
    ),
    Mutant(
        _THEORY + "reward_variance.py",
        "return 2 * problem.num_prompts * -jnp.expm1(-gamma / 2)",
        "return 4 * problem.num_prompts * -jnp.expm1(-gamma / 2)",
        (_TESTS + "test_reward_variance.py", "-k", "formula"),
    ),
    Mutant(
        _THEORY + "reward_variance.py",
        "return 2 * problem.num_prompts * -jnp.expm1(-gamma / 2)",
        "return 2 * problem.num_prompts * -jnp.expm1(-2 * gamma / 2)",
        (_TESTS + "test_reward_variance.py", "-k", "formula"),
    ),
    Mutant(
        _THEORY + "teachers.py",
        "return 2 * prompts * -np.expm1(-gamma / 2) * slowness",
        "return 20 * prompts * -np.expm1(-gamma / 2) * slowness",
        (_TESTS + "test_teachers.py", "-k", "formulas"),
    ),
    Mutant(
        _THEORY + "teachers.py",
        "problem.num_prompts / (1 - rho) ** 4",
        "problem.num_prompts / (1 - rho) ** 2",
        (_TESTS + "test_teachers.py", "-k", "formulas"),
    ),
    Mutant(
        _THEORY + "teachers.py",
        "(1 - rho) ** 4 * likely / 2",
        "(1 - rho) ** 4 * likely",
        (_TESTS + "test_near_misses.py", "-k", "policy_dependent_teacher"),
    ),
    Mutant(
        _THEORY + "best_of_n.py",
        "whole = (count >= 1) & (count == jnp.floor(count))",
        "whole = count > 0",
        (_TESTS + "test_near_misses.py", "-k", "best_of_n"),
    ),
    Mutant(
        _THEORY + "convergence_rates.py",
        "np.cumsum(best[:, :-1] ** 2, axis=1) / 5)",
        "np.cumsum(best[:, :-1] ** 2, axis=1) / 4.95)",
        (_TESTS + "test_convergence_rates.py", "-k", "formulas or numpy_loop"),
    ),
    Mutant(
        _THEORY + "convergence_rates.py",
        "return 5 * outputs**2 / np.arange",
        "return 5 * outputs / np.arange",
        (_TESTS + "test_convergence_rates.py", "-k", "formulas or numpy_loop"),
    ),
    Mutant(
        _THEORY + "convergence_rates.py",
        "return 1 / (1 / gap + 9 / 7 * since)",
        "return 1 / (1 / gap + 6 * since)",
        (_TESTS + "test_convergence_rates.py", "-k", "formulas or numpy_loop"),
    ),
    Mutant(
        _THEORY + "convergence_rates.py",
        "return 1 / (1 / gap + 9 / 7 * since)",
        "return 1 / (1 / gap + 1.25 * since)",
        (_TESTS + "test_convergence_rates.py", "-k", "formulas or numpy_loop"),
    ),
    Mutant(
        _THEORY + "convergence_rates.py",
        "LEAST_FACTOR = 20.0",
        "LEAST_FACTOR = 60.0",
        (_TESTS + "test_convergence_rates.py", "-k", "holds_wherever and gravitational"),
    ),
    Mutant(
        _THEORY + "gradient_bounds.py",
        "return 6 * feature_norm(problem)",
        "return 3 * feature_norm(problem)",
        (_TESTS + "test_gradient_bounds.py", "-k", "formulas"),
    ),
    Mutant(
        _THEORY + "gradient_bounds.py",
        "return feature_norm(problem) * jnp.sqrt(initial_variance(problem))",
        "return feature_norm(problem) * initial_variance(problem)",
        (_TESTS + "test_gradient_bounds.py", "-k", "formulas"),
    ),
    Mutant(
        _THEORY + "natural_gradient.py",
        "weights * problem.proxy_reward.reshape(-1)",
        "weights * problem.true_reward.reshape(-1)",
        (_TESTS + "test_natural_gradient.py", "-k", "numpy or holds_wherever"),
    ),
)
