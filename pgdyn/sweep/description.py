"""The description of a store: the spec, what made the numbers, and a checksum, in the attributes of its zarr group."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from pgdyn.io import atomic
from pgdyn.sweep.spec import digest


class Damaged(ValueError):
    """A description that its checksum does not fit."""


def read(path: pathlib.Path) -> dict[str, Any] | None:
    """The root's description; None if there is none.

    Raises:
        ValueError: if it is damaged, or of another version of pgdyn.
    """
    try:
        attributes = json.loads((path / "zarr.json").read_bytes())["attributes"]
        root = attributes["pgdyn_sweep"]
        whole = digest(root) == attributes["sha256"]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, KeyError, TypeError, RecursionError):
        root, whole = None, False
    if not whole:
        raise Damaged(f"{path}/zarr.json is damaged, or not of a sweep")
    root = root if isinstance(root, dict) else {}
    made_by = root.get("made_by")
    for key, kind in (("spec", dict), ("fingerprint", str), ("made_by", dict)):
        if not isinstance(root.get(key), kind):
            raise other_version(path, made_by, f"its description has no {key}")
    if "numbers" not in root["made_by"]:
        raise other_version(path, made_by, "its description has no made_by.numbers")
    return root


def write(path: pathlib.Path, root: Mapping[str, Any]) -> None:
    """Writes the description of a store."""
    write_group(path, {"pgdyn_sweep": root, "sha256": digest(root)})


def write_group(folder: pathlib.Path, attributes: Mapping[str, Any]) -> None:
    """Makes `folder` a zarr group with these attributes, unless it is one already."""
    group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
    data = json.dumps(group, indent=2).encode()
    with contextlib.suppress(OSError):
        if (folder / "zarr.json").read_bytes() == data:
            return
    atomic.write_file(folder / "zarr.json", data)


def other_version(path: pathlib.Path, made_by: Any, reason: str) -> ValueError:
    """What to raise for a description that this version of pgdyn cannot read."""
    version = made_by.get("pgdyn_version", "unknown") if isinstance(made_by, dict) else "unknown"
    return ValueError(
        f"{path} was written by another version of pgdyn ({version}), which this one cannot read: {reason}"
    )


def first_difference(there: Any, here: Any, place: str = "") -> str | None:
    """The first entry in which two plain values differ, in words; None where there is none but in the titles.

    Example:
        >>> first_difference({"dynamics": {"steps": 50}}, {"dynamics": {"steps": 60}})
        'dynamics.steps is 50 there and 60 here'
    """
    if isinstance(there, list) and isinstance(here, list):
        if len(there) != len(here):
            return f"{place} has {len(there)} entries there and {len(here)} here"
        there, here = ({f"[{i}]": entry for i, entry in enumerate(entries)} for entries in (there, here))
    if not isinstance(there, Mapping) or not isinstance(here, Mapping):
        return None if there == here else f"{place} is {there!r:.60} there and {here!r:.60} here"
    for key in dict.fromkeys([*there, *here]):
        if not place and key in ("name", "description"):
            continue
        inner = f"{place}.{key}".replace(".[", "[").removeprefix(".")
        if key not in there or key not in here:
            return f"{inner} is given {'here but not there' if key in here else 'there but not here'}"
        if (found := first_difference(there[key], here[key], inner)) is not None:
            return found
    return None
