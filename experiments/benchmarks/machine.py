"""The machine that a benchmark ran on, in the words of its operating system."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from pgdyn.io import provenance

_PACKAGES = ("jaxlib", "diffrax", "equinox", "numpy", "scipy", "numba")


def cores() -> int:
    """Cores that this process may use.

    Example:
        >>> cores() > 0
        True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Processor, cores, memory, load average now, versions, precision, device and git revision.

    Example:
        >>> describe()["cores"] == cores()
        True
    """
    found: dict[str, Any] = {"cpu": _cpu(), "cores": cores()}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    if hasattr(os, "getloadavg"):
        found["load_average_at_start"] = " ".join(f"{load:.2f}" for load in os.getloadavg())
    found["system"] = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found | provenance.attributes()


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        fields = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        fields = {name.strip(): value.strip() for name, value in fields.items()}
        if "model name" in fields:
            numbers = (fields.get(name, "?") for name in ("cpu family", "model", "stepping"))
            return "{} (family {}, model {}, stepping {})".format(fields["model name"], *numbers)
    return platform.processor() or platform.machine()
