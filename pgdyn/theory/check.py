"""What a theorem's check gives: whether it holds, and by how much."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from pgdyn import validate

EPS = float(np.finfo(np.float64).eps)


class Check(eqx.Module):
    """A measured quantity beside its bound, for one problem or many: scalars, or arrays over problems.

    Made of NumPy arrays outside of JAX's transformations, where nothing needs to be compiled.

    Attributes:
        holds: whether the statement holds, up to the rounding that its theorem states.
        slack: the distance to failing, in the theorem's `unit`; negative by more than rounding iff it fails, nan where
            the measurement itself failed (which counts as a failure).
        measured: the quantity that was measured.
        bound: what it was compared with.

    Example:
        >>> check = Check.at_most([1.0, 3.0], 2.0)
        >>> check.holds.tolist(), check.slack.tolist(), float(check.worst().measured)
        ([True, False], [1.0, -1.0], 3.0)
    """

    holds: Any
    slack: Any
    measured: Any
    bound: Any

    @classmethod
    def at_most(cls, measured: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> Check:
        """Compares measured <= bound; a slack (bound - measured) down to `-rounding` still holds.

        Example:
            >>> bool(Check.at_most(2.1, 2.0, rounding=0.2).holds)
            True
        """
        xp, (small, large, allowed) = _arrays(measured, bound, rounding)
        small, large = xp.broadcast_arrays(small, large)
        # inf - inf: both never happen at all, which is agreement.
        with np.errstate(invalid="ignore"):
            slack = xp.where(small == large, xp.zeros_like(large), large - small)
        slack = xp.where(xp.isnan(small) | xp.isnan(large), xp.nan, slack)
        return cls(slack >= -allowed.astype(slack.dtype), slack, small, large)

    @classmethod
    def at_least(cls, measured: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> Check:
        """Compares measured >= bound; a slack (measured - bound) down to `-rounding` still holds.

        Example:
            >>> float(Check.at_least(3.0, 2.0).slack)
            1.0
        """
        _, (large, small) = _arrays(measured, bound)
        turned = cls.at_most(-large, -small, rounding=rounding)
        return cls(turned.holds, turned.slack, -turned.measured, -turned.bound)

    @classmethod
    def ratio_at_most(cls, measured: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> Check:
        """Compares positive numbers, measured <= bound, with the slack in decades: log10(bound / measured).

        Example:
            >>> float(Check.ratio_at_most(10.0, 1000.0).slack)
            2.0
        """
        xp, numbers = _arrays(measured, bound)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = cls.at_most(*map(xp.log10, numbers), rounding=rounding)
        return cls(logs.holds, logs.slack, *xp.broadcast_arrays(*numbers))

    @classmethod
    def ratio_at_least(cls, measured: ArrayLike, bound: ArrayLike, *, rounding: ArrayLike = 0.0) -> Check:
        """Compares positive numbers, measured >= bound, with the slack in decades: log10(measured / bound).

        Example:
            >>> bool(Check.ratio_at_least(10.0, 1000.0).holds)
            False
        """
        turned = cls.ratio_at_most(bound, measured, rounding=rounding)
        return cls(turned.holds, turned.slack, turned.bound, turned.measured)

    @classmethod
    def identity(cls, error: ArrayLike, tolerance: ArrayLike) -> Check:
        """Checks an equation, |error| <= tolerance: what floating point (or the integrator) may leave.

        Example:
            >>> bool(Check.identity(-1e-3, 1e-2).holds)
            True
        """
        xp, (left,) = _arrays(error)
        return cls.at_most(xp.abs(left), tolerance)

    @classmethod
    def near(cls, measured: ArrayLike, predicted: ArrayLike, tolerance: ArrayLike) -> Check:
        """Checks a law, |measured - predicted| <= tolerance, with slack the part of the tolerance that is left over.

        Example:
            >>> round(float(Check.near(2.003, 2.0, 0.05).slack), 6)
            0.047
        """
        xp, (found, law, allowed) = _arrays(measured, predicted, tolerance)
        found, law = xp.broadcast_arrays(found, law)
        with np.errstate(invalid="ignore"):  # both may be infinite
            error = xp.where(found == law, 0.0, xp.abs(found - law))
        slack = allowed - error
        return cls(slack >= 0, slack, found, law)

    def worst(self) -> Check:
        """The entry of least slack (a nan is the least): a statement about many points as one check.

        Example:
            >>> float(Check.at_most([1.0, 3.0, 2.0], 4.0).worst().slack)
            1.0
        """
        xp, (slack,) = _arrays(self.slack)
        place = xp.argmin(xp.ravel(slack))
        return jax.tree.map(lambda leaf: xp.ravel(xp.broadcast_to(leaf, slack.shape))[place], self)

    @staticmethod
    def all_of(*checks: Check) -> Check:
        """Joins statements in one unit: the check of least slack of all entries, which holds iff all hold.

        Where the rounding differs between them, a failing one comes before those that hold.

        Example:
            >>> float(Check.all_of(Check.at_most([1.0, 2.0], 3.0), Check.at_least(2.5, 2.0)).slack)
            0.5
        """
        return Check.each_of(*(check.worst() for check in checks))

    @staticmethod
    def each_of(*checks: Check) -> Check:
        """Joins statements about the same problems: `all_of` of each entry [N].

        Example:
            >>> Check.each_of(Check.at_most([1.0, 2.0], 3.0), Check.at_least([9.0, 2.5], 2.0)).slack.tolist()
            [2.0, 0.5]
        """
        xp, _ = _arrays(*(check.slack for check in checks))
        joined = jax.tree.map(lambda *leaves: xp.stack(xp.broadcast_arrays(*leaves)), *checks)
        place = xp.argmin(xp.where(joined.holds, joined.slack, -xp.inf), axis=0)
        return jax.tree.map(lambda leaf: xp.take_along_axis(leaf, place[None], axis=0)[0], joined)


def _arrays(*values: Any) -> tuple[Any, list[Any]]:
    """`jax.numpy` and JAX arrays where any of the values is traced, else `numpy` and NumPy's."""
    xp = jnp if any(validate.is_traced(value) for value in values) else np
    return xp, [xp.asarray(value) for value in values]
