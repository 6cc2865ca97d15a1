"""What made a result: versions, precision, device and git revision.

No clock is read, so that the same run gives the same result to the last bit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import subprocess
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pgdyn import validate
from pgdyn.version import __version__


def attributes(settings: Mapping[str, Any] | None = None, *, like: jax.Array | None = None) -> dict[str, Any]:
    """The attributes that every stored result carries, as plain JSON values.

    Args:
        settings: what else made the result (tolerances, seed, ...), stored under "settings". Entries that are None are
            left out.
        like: an array of the result, whose dtype and device are recorded; None for JAX's default ones.

    Returns:
        "pgdyn_version", "jax_version", "dtype", "device" (its kind, "cpu" or a GPU's model), "git_revision" (only in a
        checkout of pgdyn; ends in "-dirty" where tracked files differ from it) and, where given, "settings".

    Example:
        >>> made_by = attributes({"t1": 5.0, "target": None})
        >>> made_by["dtype"], made_by["settings"]
        ('float64', {'t1': 5.0})
    """
    made_by: dict[str, Any] = {
        "pgdyn_version": __version__,
        "jax_version": jax.__version__,
        "dtype": str(np.dtype(validate.float_dtype() if like is None else like.dtype)),
        "device": _device_kind(like),
    }
    if (revision := git_revision()) is not None:
        made_by["git_revision"] = revision
    if settings is not None:
        made_by["settings"] = plain(settings)
    return made_by


def plain(value: Any) -> Any:
    """`value` as JSON can hold it.

    Arrays and keys become lists, dataclasses (settings among them) mappings, numbers that are not finite their names,
    and what JSON does not know its text. Entries of mappings that are None vanish.

    Example:
        >>> plain({"t1": np.float64(2.0), "target": None, "end": math.inf})
        {'t1': 2.0, 'end': 'inf'}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, str | bool | None):
        return value
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        return plain(np.asarray(value).tolist())
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return str(value)


@functools.cache
def git_revision() -> str | None:
    """The commit of the checkout that pgdyn is imported from, with "-dirty" where tracked files differ from it.

    None when pgdyn is installed rather than imported from a checkout, or git cannot tell. Read once a process: the code
    in memory is that of the import.
    """
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    # An installed copy may lie somewhere inside another project's repository, whose revision would be a lie.
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    if not commit or changes is None:
        return None
    return commit + ("-dirty" if changes else "")


def _git(root: pathlib.Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _device_kind(like: jax.Array | None) -> str:
    devices = jax.devices() if not isinstance(like, jax.Array) else sorted(like.devices(), key=lambda device: device.id)
    return devices[0].device_kind
