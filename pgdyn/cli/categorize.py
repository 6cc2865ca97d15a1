"""`pgdyn categorize`: families of reward errors on a problem, which help, which harm, and why."""

from __future__ import annotations

import pathlib
from typing import Any

import click

import pgdyn
from pgdyn.cli import options, output, progress

_FILES = ("errors.csv", *output.names("errors"))
_OWN, _ALL = "proxy of the file", "all"
_TARGET = "True value to be reached.  [default: half way between the two best true rewards]"
_TOLERANCE = "Relative difference below which an error is benign."
_FAMILIES = (
    "single-output, swap, noise, correlated-noise, clip, compress, temperature, censor, mixture, subsets, fitted, or "
    "all; more may follow.  [default: single-output]"
)


@click.command()
@options.problem
@click.argument("families", nargs=-1, metavar="[FAMILY]...", help="Families of errors, as in --errors.")
@click.option("--errors", multiple=True, metavar="FAMILY", help=_FAMILIES)
@click.option("--t1", type=options.NUMBER, default=1e6, help="End time of the flows.")
@click.option("--target", type=options.NUMBER, help=_TARGET)
@click.option("--tolerance", type=options.NUMBER, default=0.01, help=_TOLERANCE)
@click.option("--seed", type=options.SEED, default=0, help="Seed of the random families.")
@output.option(", ".join(_FILES))
def categorize(
    problem: pathlib.Path, out: pathlib.Path | None, overwrite: bool, target: float | None, seed: int, **given: Any
) -> None:
    """Try families of reward errors: which help, which harm, and why.

    Each erroneous proxy is trained on by gradient flow and compared with training on the true reward: the time at which
    the true value first reaches the target, or where neither arrives, the true value at the end. Beside that stand two
    predictions made before any simulation, by the exact solution of the flow and by the type of the error. A
    proxy_reward in the problem file that differs from the true reward is tried as well. The exit code is 1 if a flow
    breaks off or the files cannot be written.
    """
    output.require_writable(out, overwrite, _FILES)

    import numpy as np

    from pgdyn.cli import errors_table, tables

    loaded = options.load(problem)
    asked = (*given.pop("errors"), *given.pop("families")) or ("single-output",)
    groups = _groups(loaded, asked, seed)
    goal = default_target(loaded) if target is None else target
    proxies = np.concatenate([np.asarray(group.proxy_rewards) for group in groups.values()])
    with progress.shown(problem.name, "flows") as show:
        report = pgdyn.categorize(loaded, proxies, target=goal, progress=show, **given)
    tables.show(errors_table.parts(report, groups, problem.name))
    output.write(out, overwrite, lambda folder: errors_table.fill(folder, report, groups))
    if undecided := int(np.sum(report.category == "undecided")):
        raise click.ClickException(f"{undecided} of {len(report)} categories are undecided: a flow broke off")


def default_target(problem: pgdyn.Problem) -> float:
    """The value half way between the best and the second best true reward, averaged over prompts.

    Example:
        >>> default_target(pgdyn.Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1]))
        0.9
    """
    import numpy as np

    if problem.transitions is not None and problem.transitions.successors is None:
        raise ValueError("the default target is for sequences without chance; give --target")
    try:
        outputs = pgdyn.mdp.leaves(problem)
    except ValueError as error:
        raise ValueError(f"{error}; give --target") from None
    rewards, weights, goal = np.asarray(outputs.true_return), np.asarray(problem.prompt_weights), 0.0
    for prompt in np.unique(outputs.start):
        best = np.unique(rewards[outputs.start == prompt])[-2:]
        if len(best) < 2:
            raise ValueError(f"all true rewards of prompt {prompt} are equal: nothing can be learned from them")
        goal += float(weights[prompt] * np.mean(best))
    start = float(np.sum(weights[outputs.start] * np.exp(outputs.log_policy) * rewards))
    if start >= goal:
        raise ValueError(f"the true value starts at {start:g}, above the default target {goal:g}; give --target")
    return goal


def _groups(problem: pgdyn.Problem, asked: tuple[str, ...], seed: int) -> dict[str, pgdyn.errors.perturb.Errors]:
    """The errors of each family that is asked for, after those of the file itself."""
    import jax
    import numpy as np

    from pgdyn.errors.perturb import FAMILIES, MAX_SUBSET_OUTPUTS, Errors

    for name in asked:
        if name not in (*FAMILIES, _ALL):
            raise ValueError(f"--errors has {name!r:.80}; the families are {', '.join(FAMILIES)}, or {_ALL}")
    own = bool(np.any(np.asarray(problem.proxy_reward) != np.asarray(problem.true_reward)))
    if "mixture" in asked and not own:
        raise ValueError("--errors mixture mixes the true reward with the proxy_reward of the file, and there is none")
    # "all" means all that this problem can have.
    impossible = {"mixture": not own, "subsets": problem.num_outputs > MAX_SUBSET_OUTPUTS}
    chosen = {name for name in FAMILIES if not impossible.get(name)} if _ALL in asked else asked
    groups = {_OWN: Errors(problem.proxy_reward[None], {})} if own else {}
    # A key belongs to its family, so that the draws do not depend on which others are asked for.
    keys = {name: jax.random.fold_in(jax.random.key(seed), i) for i, name in enumerate(FAMILIES)}
    return groups | {name: family(problem, keys[name]) for name, family in FAMILIES.items() if name in chosen}
