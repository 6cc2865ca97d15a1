"""A reproduction: an experiment, its figures and its claims; and the registry of all of them.

A file in `paper_repro/reproductions` that defines `REPRODUCTION` is found by itself; `Reproduction.order` sorts them.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

import xarray
from matplotlib.figure import Figure

from paper_repro import reproductions
from paper_repro.claims import Claim
from pgdyn.solve import Progress


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """All that is needed to run, draw and judge one experiment.

    Attributes:
        name: its name on the command line and of its data.
        title: its heading in the report.
        summary: a paragraph on what is run, for the report.
        experiment: from keyword settings to a dataset. If it takes `progress`, it is given a function to call with
            (done, total).
        full: the settings of the full run.
        quick: the settings of --quick; None where the full run is short enough for --quick.
        figures: file name (no ending) -> function from the dataset to a figure.
        claims: what is checked on the dataset.
        order: position in the report, smallest first.
    """

    name: str
    title: str
    summary: str
    experiment: Callable[..., xarray.Dataset]
    claims: tuple[Claim, ...]
    figures: Mapping[str, Callable[[xarray.Dataset], Figure]] = dataclasses.field(default_factory=dict)
    full: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    quick: Mapping[str, Any] | None = None
    order: int = 100

    def __post_init__(self):
        names = [claim.name for claim in self.claims]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.name} has two claims named {max(names, key=names.count)!r}")

    def settings(self, *, quick: bool) -> Mapping[str, Any]:
        """Gives the settings to run with."""
        return self.quick if quick and self.quick is not None else self.full

    def is_reduced(self, *, quick: bool) -> bool:
        """Tells whether this run is smaller than the full one."""
        return quick and self.quick is not None

    def run(self, *, quick: bool, progress: Progress | None = None) -> xarray.Dataset:
        """Runs the experiment; gives its dataset."""
        settings = dict(self.settings(quick=quick))
        if progress is not None and "progress" in inspect.signature(self.experiment).parameters:
            settings["progress"] = progress
        return self.experiment(**settings)


def registry() -> dict[str, Reproduction]:
    """Finds every reproduction: by name, in the order of the report."""
    found = []
    for module in pkgutil.iter_modules(reproductions.__path__):
        loaded = importlib.import_module(f"{reproductions.__name__}.{module.name}")
        if hasattr(loaded, "REPRODUCTION"):
            found.append(loaded.REPRODUCTION)
    found.sort(key=lambda one: (one.order, one.name))
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise ValueError(f"two reproductions are named {max(names, key=names.count)!r}")
    return {one.name: one for one in found}
