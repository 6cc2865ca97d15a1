r"""Theorems as objects: state a claim once, then search for counterexamples and see how tight it is."""

from __future__ import annotations

import importlib

from pgdyn.theory.theorem import Check, Theorem

_FAMILIES = (
    "dynamics_identities",
    "closed_forms",
    "paper_bounds",
    "escape_bounds",
    "corner_laws",
    "feature_geometry",
    "partial_credit",
    "reward_errors",
    "predecessor",
    "softmax_gradient",
)

THEOREMS: dict[str, Theorem] = {}
for _family in _FAMILIES:
    try:
        _module = importlib.import_module(f"{__name__}.{_family}")
    except ModuleNotFoundError:
        continue
    THEOREMS.update((_theorem.name, _theorem) for _theorem in getattr(_module, "THEOREMS", []))

__all__ = ["THEOREMS", "Check", "Theorem"]
