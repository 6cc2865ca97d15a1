r"""What an estimator of the policy gradient is: from a sample of rewards to advantages.

For each prompt p a group of G outputs y_1..y_G is drawn from pi_p; an estimator turns their rewards into advantages
a_i, and the gradient estimate in the logits is

    ghat_p = w_p (1/G) sum_i a_i (onehot(y_i) - pi_p).

An estimator is an `Estimator`: a frozen module with a `group_size` and a method `advantages(sample)`. Write your own by
subclassing it; `ascend_sampled` and `expected_update` need nothing else.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.estimators.sample import Sample

DEPENDENCES = ("rewards", "group", "batch")


class Estimator(eqx.Module):
    """From sampled rewards to advantages. Subclass it with a `group_size` and a method `advantages`.

    A subclass may also have `depends_on`: "rewards" where the advantages of a group are made of its rewards alone, in
    whatever order, which makes expected updates cheap for large groups; "group" (the default) where they are made of
    the group's outputs and log-probabilities too; "batch" where they are made of other prompts' groups as well.

    Attributes:
        group_size: G, outputs drawn for each prompt and update.

    Example:
        >>> class Halved(Estimator):
        ...     group_size: int = 4
        ...     def advantages(self, sample):
        ...         return (sample.rewards - jnp.mean(sample.rewards, axis=1, keepdims=True)) / 2
        >>> from pgdyn import Problem, ascend_sampled
        >>> ascend_sampled(Problem.tabular([0.2, 0.8], [1, 0]), 20, 0, estimator=Halved()).steps.item()
        20
    """

    group_size: eqx.AbstractVar[int]

    @abc.abstractmethod
    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """The advantage a_i of every sampled output.

        Args:
            sample: one group of outputs for each prompt.
        """


def dependence(estimator: Estimator) -> str:
    """What the advantages of a group are made of: "rewards", "group" or "batch".

    Raises:
        ValueError: if the estimator says something else.

    Example:
        >>> from pgdyn.estimators import RLOO, Reinforce
        >>> dependence(RLOO(4)), dependence(Reinforce("value"))
        ('rewards', 'group')
    """
    found = getattr(estimator, "depends_on", "group")
    validate.choice("depends_on", found, DEPENDENCES)
    return found


def group_mean(values: Float[Array, "P G"]) -> Float[Array, "P 1"]:
    """The mean of each group.

    Example:
        >>> group_mean(jnp.array([[1.0, 3.0]])).tolist()
        [[2.0]]
    """
    return jnp.mean(values, axis=1, keepdims=True)


def is_flat(rewards: Float[Array, "P G"]) -> Any:
    """Whether all rewards of a group are equal, [P, 1]: rounding makes their standard deviation other than zero.

    Example:
        >>> is_flat(jnp.array([[0.1, 0.1, 0.1], [0.0, 1.0, 0.0]])).tolist()
        [[True], [False]]
    """
    return jnp.max(rewards, axis=1, keepdims=True) == jnp.min(rewards, axis=1, keepdims=True)


def size(name: str = "group_size", *, minimum: int = 1) -> Callable[[Any], int]:
    """A converter of a field that sets shapes.

    Example:
        >>> size()(4)
        4
    """
    return validate.counts(name, minimum=minimum)


def amount(
    name: str,
    *,
    positive: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    optional: bool = False,
) -> Callable[[Any], Any]:
    """A converter of a field that holds a number: a JAX scalar, so that another value compiles nothing.

    Example:
        >>> float(amount("beta", minimum=0.0)(0.25))
        0.25
    """

    def convert(value: Any) -> Any:
        if value is None and optional:
            return None
        number = validate.scalar(name, value, positive=positive, minimum=minimum)
        if maximum is not None:
            validate.require(name, number, number <= maximum, f"it must be at most {maximum:g}")
        return number

    return convert


def as_type(number: Any, like: Array) -> Any:
    """`number` in the type of an array, so that float32 samples stay float32.

    Example:
        >>> as_type(jnp.float64(0.5), jnp.ones(2, jnp.float32)).dtype.name
        'float32'
    """
    return jnp.asarray(number, like.dtype)
