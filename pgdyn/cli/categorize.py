"""`pgdyn categorize`: families of reward errors on a problem, which help, which harm, and why."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Annotated

import tyro

from pgdyn.cli.output_folder import require_replaceable

if TYPE_CHECKING:
    from pgdyn.errors.perturb import Errors
    from pgdyn.errors.report import Report
    from pgdyn.problem import Problem

_FILES = ("errors.csv", "errors.zarr", "errors.png", "errors.pdf", "problem.toml")
_OWN = "proxy of the file"


def categorize(
    problem: tyro.conf.Positional[Annotated[pathlib.Path, tyro.conf.arg(metavar="PROBLEM")]],
    /,
    errors: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FAMILY ...")] = ("single-output",),
    t1: Annotated[float, tyro.conf.arg(metavar="TIME")] = 1e6,
    target: Annotated[float | None, tyro.conf.arg(metavar="VALUE", help_behavior_hint="(default: see above)")] = None,
    tolerance: float = 0.01,
    seed: int = 0,
    out: Annotated[
        pathlib.Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="(default: only show the tables)")
    ] = None,
    overwrite: bool = False,
) -> int:
    """Try families of reward errors: which help, which harm, and why. Exit code 1 if a flow breaks off.

    Each erroneous proxy is trained on by gradient flow and compared with training on the true reward: the time at which
    the true value first reaches the target, or where neither arrives, the true value at the end. A proxy_reward in the
    problem file that differs from the true reward is tried as well.

    Args:
        problem: Problem file, .toml or .json, as for pgdyn simulate.
        errors: Families: single-output, swap, noise, correlated-noise, clip, compress, temperature, censor, mixture,
            subsets, or all.
        t1: End time of the flows.
        target: True value to be reached; by default half way between the best and the second best true reward.
        tolerance: Relative difference below which an error is benign.
        seed: Seed of the random families.
        out: Folder for errors.csv, errors.zarr, errors.png, errors.pdf and problem.toml.
        overwrite: Replace what an earlier run left in that folder.
    """
    import numpy as np

    from pgdyn.cli import errors_table
    from pgdyn.errors.categorize import categorize as simulate_errors
    from pgdyn.problem_file import load_problem

    if out is not None:
        require_replaceable(out, overwrite, _FILES)
    names = _families(errors)
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed is {seed}; it must be a whole number from 0 to 2^63 - 1")
    loaded = load_problem(problem)
    goal = default_target(loaded) if target is None else target
    groups = _groups(loaded, names, seed)
    proxies = np.concatenate([np.asarray(group.proxy_rewards) for group in groups.values()])
    report = simulate_errors(loaded, proxies, t1=t1, target=goal, tolerance=tolerance)
    if out is not None:
        _write(out, overwrite, loaded, report, groups)
    errors_table.show(report, groups, title=problem.name)
    return errors_table.exit_code(report)


def default_target(problem: Problem) -> float:
    """Half way between the best and the second best true reward, averaged over prompts.

    Raises:
        ValueError: if a prompt has equal rewards, or the start is there already.
    """
    import numpy as np

    from pgdyn import policy

    goals = []
    for prompt, row in enumerate(np.asarray(problem.true_reward)):
        levels = np.unique(row)
        if len(levels) < 2:
            raise ValueError(f"all true rewards of prompt {prompt} are equal: nothing can be learned from them")
        goals.append((levels[-1] + levels[-2]) / 2)
    goal = float(np.asarray(problem.prompt_weights) @ np.array(goals))
    start = float(policy.value(problem, policy.log_policy(problem, problem.initial_params), problem.true_reward))
    if start >= goal:
        raise ValueError(f"the true value starts at {start:g}, above the default target {goal:g}; give --target")
    return goal


def _families(errors: tuple[str, ...]) -> tuple[str, ...]:
    from pgdyn.errors.perturb import FAMILIES

    for name in errors:
        if name not in (*FAMILIES, "all"):
            raise ValueError(f"--errors has {name!r}; the families are {', '.join(FAMILIES)}, or all")
    if not errors:
        raise ValueError(f"--errors is empty; the families are {', '.join(FAMILIES)}, or all")
    return tuple(FAMILIES) if "all" in errors else tuple(dict.fromkeys(errors))


def _groups(problem: Problem, names: tuple[str, ...], seed: int) -> dict[str, Errors]:
    import jax
    import numpy as np

    from pgdyn.errors.perturb import FAMILIES, MAX_SUBSET_OUTPUTS, Errors

    groups: dict[str, Errors] = {}
    own = bool(np.any(np.asarray(problem.proxy_reward) != np.asarray(problem.true_reward)))
    if own:
        groups[_OWN] = Errors(problem.proxy_reward[None], {})
    for index, name in enumerate(FAMILIES):
        # "all" means all that this problem can have.
        if name not in names or (len(names) == len(FAMILIES) and name == "mixture" and not own):
            continue
        if len(names) == len(FAMILIES) and name == "subsets" and problem.num_outputs > MAX_SUBSET_OUTPUTS:
            continue
        if name == "mixture" and not own:
            raise ValueError(
                "--errors mixture mixes the true reward with the proxy_reward of the file, and there is none"
            )
        # The key belongs to the family, so that its draws do not depend on which others are asked for.
        groups[name] = FAMILIES[name](problem, jax.random.fold_in(jax.random.key(seed), index))
    return groups


def _write(out: pathlib.Path, overwrite: bool, problem: Problem, report: Report, groups: dict[str, Errors]) -> None:
    import numpy as np

    from pgdyn import datasets, problem_file
    from pgdyn.errors.picture import plot_report

    family = np.array([name for name, group in groups.items() for _ in range(len(group))], dtype=object)
    label = np.array([group.label(i) for group in groups.values() for i in range(len(group))], dtype=object)
    dataset = report.to_dataset().assign_coords(family=("error", family), label=("error", label))
    figure = plot_report(report, groups)
    with datasets.whole_folder(out, overwrite=overwrite) as folder:
        datasets.save(dataset, folder / "errors.zarr")
        columns = ["family", "label", "category", "speedup", "mechanism", "predicted", "times", "values"]
        dataset[columns].to_dataframe()[columns].to_csv(folder / "errors.csv", index_label="error")
        figure.savefig(folder / "errors.png", dpi=150)
        figure.savefig(folder / "errors.pdf", metadata={"CreationDate": None})
        problem_file.save_problem(problem, folder / "problem.toml")
