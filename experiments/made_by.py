"""What made an experiment's dataset: the experiment, the arguments of the call, and pgdyn's versions."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec

import xarray

from pgdyn.io import provenance

_Arguments = ParamSpec("_Arguments")


def recorded(run: Callable[_Arguments, xarray.Dataset]) -> Callable[_Arguments, xarray.Dataset]:
    """Makes an experiment record what made its dataset, in the attributes; a decorator.

    These are "experiment" (module and function), every argument of the call under its own name, defaults included, and
    `pgdyn.provenance.attributes`. Functions among the arguments, such as `progress`, are left out. Attributes that the
    experiment itself sets stay, except under the name of an argument.

    Example:
        >>> @recorded
        ... def run(target: float = 0.9, *, progress=None):
        ...     return xarray.Dataset(attrs={"dynamics": "flow"})
        >>> {name: run(0.5).attrs[name] for name in ("dynamics", "target")}
        {'dynamics': 'flow', 'target': 0.5}
    """
    signature = inspect.signature(run)
    name = f"{run.__module__.rpartition('.')[2]}.{run.__name__}"

    @functools.wraps(run)
    def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> xarray.Dataset:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = {key: value for key, value in bound.arguments.items() if not callable(value)}
        dataset = run(*args, **kwargs)
        attrs = {"experiment": name, **provenance.attributes(), **dataset.attrs, **provenance.plain(arguments)}
        return dataset.assign_attrs(attrs)

    return call
