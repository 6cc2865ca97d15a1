"""`pgdyn simulate`: one run of a problem file, as a table, a dataset and a picture."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from pgdyn.cli.output_folder import require_replaceable

if TYPE_CHECKING:
    from pgdyn.objective import Objective
    from pgdyn.problem import Problem
    from pgdyn.trajectory import Trajectory

_FILES = ("trajectory.zarr", "trajectory.png", "trajectory.pdf", "problem.toml")


def _option(metavar: str, default: object) -> Any:
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


@dataclasses.dataclass(frozen=True)
class Flow:
    """Options of the flow."""

    t1: Annotated[float | None, tyro.conf.arg(metavar="TIME", help_behavior_hint="(required by flow)")] = None
    """End time; the flow starts at 0."""
    geometry: Annotated[Literal["euclidean", "natural"] | None, _option("{euclidean,natural}", "euclidean")] = None
    """Plain or natural policy gradient."""
    rtol: Annotated[float | None, _option("TOL", "1e-8")] = None
    """Relative tolerance of one step of the solver."""
    atol: Annotated[float | None, _option("TOL", "1e-10")] = None
    """Absolute tolerance of one step, in parameters."""
    saves: Annotated[int | None, _option("COUNT", 256)] = None
    """Number of saved points, evenly spaced in log(1 + t)."""
    max_steps: Annotated[int | None, _option("COUNT", 65536)] = None
    """Solver steps after which the run breaks off."""


@dataclasses.dataclass(frozen=True)
class Ascent:
    """Options of both kinds of updates."""

    steps: Annotated[int | None, tyro.conf.arg(metavar="COUNT", help_behavior_hint="(required by both)")] = None
    """Number of updates."""
    lr: Annotated[float | None, _option("RATE", 0.1)] = None
    """Learning rate."""
    optimizer: Annotated[Literal["sgd", "adam"] | None, _option("{sgd,adam}", "sgd")] = None
    """Update rule."""
    save_every: Annotated[int | None, _option("COUNT", "the smallest that saves at most 1001 points")] = None
    """Updates between saved points; the start and the end are always saved."""


@dataclasses.dataclass(frozen=True)
class Sampling:
    """Options of the sampled gradient."""

    seed: Annotated[int | None, _option("INT", 0)] = None
    """Seed of the random numbers; the same seed gives the same run."""
    estimator: Annotated[Literal["reinforce"] | None, _option("{reinforce}", "reinforce")] = None
    """How sampled rewards become a gradient."""
    baseline: Annotated[str | None, _option("NUMBER|value", "none")] = None
    """Subtracted from rewards: a number, or "value" for the exact expected reward of the prompt."""
    group_size: Annotated[int | None, _option("COUNT", 1)] = None
    """Outputs sampled for each prompt and update."""


@dataclasses.dataclass(frozen=True)
class Climbed:
    """Options of the objective."""

    reward: Literal["proxy", "true"] = "proxy"
    """The reward whose value is climbed."""
    kl: Annotated[float, tyro.conf.arg(metavar="WEIGHT")] = 0.0
    """Weight of the KL penalty."""
    reference: Literal["initial", "uniform"] = "initial"
    """The policy that the KL is measured against."""
    kl_direction: Literal["reverse", "forward"] = "reverse"
    """KL(policy || reference), or the other way round."""
    entropy: Annotated[float, tyro.conf.arg(metavar="WEIGHT")] = 0.0
    """Weight of the entropy bonus."""
    normalize_by_std: Literal["no", "yes", "detached"] = "no"
    """Divide rewards by their standard deviation: differentiated through, or held constant."""


def simulate(
    problem: tyro.conf.Positional[Annotated[pathlib.Path, tyro.conf.arg(metavar="PROBLEM")]],
    /,
    dynamics: Literal["flow", "ascend", "ascend_sampled"] = "flow",
    target: Annotated[float | None, _option("VALUE", "none")] = None,
    out: Annotated[pathlib.Path | None, _option("DIR", "only show the table")] = None,
    overwrite: bool = False,
    flow: Flow = Flow(),  # noqa: B008
    ascent: Ascent = Ascent(),  # noqa: B008
    sampling: Sampling = Sampling(),  # noqa: B008
    objective: Climbed = Climbed(),  # noqa: B008
) -> int:
    """Run one problem and show how it ends. Exit code 1 if the run breaks off.

    Args:
        problem: Problem file, .toml or .json. Its keys are true_reward, proxy_reward, initial_policy or initial_params,
            features, temperature and prompt_weights; only true_reward is required.
        dynamics: Gradient flow, exact-gradient updates, or updates along a sampled gradient.
        target: True value whose first hitting time is wanted.
        out: Folder for trajectory.zarr, trajectory.png, trajectory.pdf and problem.toml.
        overwrite: Replace what an earlier run left in that folder.
        flow: With --dynamics flow.
        ascent: With --dynamics ascend and ascend_sampled.
        sampling: With --dynamics ascend_sampled.
        objective: What is climbed: value - kl * KL + entropy * H.
    """
    from pgdyn.cli import run_table
    from pgdyn.problem_file import load_problem

    _refuse_misplaced(dynamics, flow, ascent, sampling)
    if out is not None:
        require_replaceable(out, overwrite, _FILES)
    loaded = load_problem(problem)
    trajectory = _run(loaded, dynamics, target, flow, ascent, sampling, _objective(objective))
    if out is not None:
        _write(out, overwrite, trajectory, _given(flow) | _given(ascent) | _given(sampling))
    run_table.show(trajectory, title=problem.name, target=target)
    return run_table.exit_code(trajectory)


_MOST_STEPS = 10**12  # at a microsecond each, eleven days
_GROUPS = {"flow": (Flow,), "ascend": (Ascent,), "ascend_sampled": (Ascent, Sampling)}


def _given(group: Any) -> dict[str, Any]:
    return {name: value for name, value in dataclasses.asdict(group).items() if value is not None}


def _refuse_misplaced(dynamics: str, *groups: Flow | Ascent | Sampling) -> None:
    for group in groups:
        if isinstance(group, _GROUPS[dynamics]):
            continue
        for name in _given(group):
            owners = " or ".join(owner for owner, kinds in _GROUPS.items() if isinstance(group, kinds))
            raise ValueError(f"--{name.replace('_', '-')} goes with --dynamics {owners}, not with {dynamics}")


def _objective(climbed: Climbed) -> Objective:
    from pgdyn.objective import Objective

    normalize: Any = {"no": False, "yes": True}.get(climbed.normalize_by_std, climbed.normalize_by_std)
    return Objective(**dataclasses.asdict(climbed) | {"normalize_by_std": normalize})


def _run(
    problem: Problem,
    dynamics: str,
    target: float | None,
    flow: Flow,
    ascent: Ascent,
    sampling: Sampling,
    objective: Objective,
) -> Trajectory:
    import jax
    import optax

    import pgdyn

    common: dict[str, Any] = {"objective": objective, "target": target}
    if dynamics == "flow":
        if flow.t1 is None:
            raise ValueError("--dynamics flow needs --t1, the end time, for instance --t1 100")
        return pgdyn.flow(problem, **_given(flow), **common)
    if ascent.steps is None:
        raise ValueError(f"--dynamics {dynamics} needs --steps, the number of updates, for instance --steps 1000")
    if ascent.steps > _MOST_STEPS:
        raise ValueError(f"--steps is {ascent.steps:.3g}; more than {_MOST_STEPS:.0e} updates are out of reach")
    rate = 0.1 if ascent.lr is None else ascent.lr
    if not 0 < rate < float("inf"):
        raise ValueError(f"--lr is {rate:g}; it must be positive and finite")
    common["optimizer"] = optax.adam(rate) if ascent.optimizer == "adam" else optax.sgd(rate)
    common["save_every"] = max(1, -(-ascent.steps // 1000)) if ascent.save_every is None else ascent.save_every
    if dynamics == "ascend":
        return pgdyn.ascend(problem, ascent.steps, **common)
    seed = 0 if sampling.seed is None else sampling.seed
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed is {seed}; it must be a whole number from 0 to 2^63 - 1")
    estimator = pgdyn.estimators.Reinforce(
        _baseline(sampling.baseline), 1 if sampling.group_size is None else sampling.group_size
    )
    return pgdyn.ascend_sampled(problem, ascent.steps, jax.random.key(seed), estimator=estimator, **common)


def _baseline(text: str | None) -> Any:
    if text is None or text == "value":
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--baseline is {text!r}; it must be a number or value") from None


def _write(out: pathlib.Path, overwrite: bool, trajectory: Trajectory, options: dict[str, Any]) -> None:
    from pgdyn import datasets, problem_file, provenance

    dataset = trajectory.to_dataset()
    # The settings hold an optimiser as the program that it traces to; its name and rate are what one looks for.
    dataset.attrs["options"] = provenance.plain(options)
    figure = trajectory.plot()
    with datasets.whole_folder(out, overwrite=overwrite) as folder:
        datasets.save(dataset, folder / "trajectory.zarr")
        figure.savefig(folder / "trajectory.png", dpi=150)
        figure.savefig(folder / "trajectory.pdf", metadata={"CreationDate": None})
        problem_file.save_problem(trajectory.problem, folder / "problem.toml")
