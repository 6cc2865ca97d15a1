"""What a family of reward errors is, and what it gives."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.problem import Problem, require_single
from pgdyn.validate import Numbers

Rewards = Float[Array | np.ndarray, "P K"]
Proxies = Float[Array | np.ndarray, "M P K"]


class Errors(eqx.Module):
    """M erroneous proxies of one problem.

    Attributes:
        proxy_rewards: [M, P, K].
        parameters: name -> [M], what tells the proxies apart; whole numbers are indices of prompts, outputs or draws.

    Example:
        >>> errors = Errors(np.zeros((2, 1, 3)), {"output": np.array([0, 1]), "value": np.array([-1.0, 0.5])})
        >>> len(errors), errors.label(1)
        (2, 'output 1, value 0.5')
    """

    proxy_rewards: Proxies
    parameters: dict[str, np.ndarray | Array]

    def __len__(self) -> int:
        return self.proxy_rewards.shape[0]

    def label(self, index: int) -> str:
        """Error `index` in words."""
        return ", ".join(f"{name} {values[index]:.6g}" for name, values in self.parameters.items())


class Family(eqx.Module):
    """A way of getting rewards wrong. Call it with a problem, and a key where it draws at random.

    Example:
        >>> from pgdyn.errors.perturb import Swap
        >>> Swap()(Problem.tabular(None, [3.0, 2.0, 1.0])).proxy_rewards[:, 0].tolist()
        [[2.0, 3.0, 1.0], [1.0, 2.0, 3.0], [3.0, 1.0, 2.0]]
    """

    def __call__(self, problem: Problem, key: Array | None = None) -> Errors:
        """The family's proxies of `problem`.

        Args:
            problem: one problem; its true reward is what errors are made from.
            key: a `jax.random.key`; only families that draw at random use it, and they need it.

        Raises:
            ValueError: on a batch of problems, or one that the family cannot be made for.
        """
        require_single(problem, type(self).__name__)
        return self._make(problem, key)

    @abc.abstractmethod
    def _make(self, problem: Problem, key: Array | None) -> Errors: ...


def arrays_of(problem: Problem) -> tuple[ModuleType, Any]:
    """NumPy and the problem with NumPy arrays; jax.numpy and the problem itself where an array is traced.

    JAX compiles a program for every new shape, NumPy none: so another number of errors costs nothing.
    """
    if any(map(validate.is_traced, jax.tree.leaves(problem))):
        return jnp, problem
    return np, jax.tree.map(np.asarray, problem)


def listed(
    name: str,
    values: Numbers | Sequence[float],
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    positive: bool = False,
) -> tuple[float, ...]:
    """The settings of a family as a tuple of finite numbers in a range.

    Raises:
        ValueError: naming the first entry that breaks a rule.

    Example:
        >>> listed("scales", [0, 0.5], minimum=0.0)
        (0.0, 0.5)
    """
    array = validate.as_floats(name, values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a list of numbers, got an array of shape {array.shape}")
    validate.require_finite(name, array)
    if positive:
        validate.require(name, array, array > 0, "it must be positive")
    if minimum is not None:
        validate.require(name, array, array >= minimum, f"it must be at least {minimum:g}")
    if maximum is not None:
        validate.require(name, array, array <= maximum, f"it must be at most {maximum:g}")
    return tuple(array.tolist())
