r"""KL penalties estimated from samples, with l = log(pi/ref) of a sample (Schulman 2020).

    k1 = l,     k2 = l^2/2,     k3 = e^{-l} - 1 + l

E k1 = E k3 = KL(pi || ref), k2 is biased. In the *reward*, -weight k(l_i) is added to r_i: k1 gives the gradient of
-KL(pi || ref), the others do not. In the *loss*, the gradient of k(l_i) is taken through log pi, which is k'(l_i) times
the score: expected 0 for k1, grad KL(pi || ref) for k2, grad KL(ref || pi) for k3.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.estimators.estimator import amount, as_type

FORMS = ("k1", "k2", "k3")


class KLPenalty(eqx.Module):
    """A sampled KL penalty towards the objective's reference.

    Attributes:
        form: "k1", "k2" or "k3".
        where: "reward", taken off the rewards, or "loss", added to the loss.
        weight: of the penalty, at least 0.

    Raises:
        ValueError: on an unknown option, or a negative weight.

    Example:
        >>> penalty = KLPenalty("k3", where="loss", weight=0.1)
        >>> penalty.value(jnp.zeros(1)).tolist(), penalty.slope(jnp.zeros(1)).tolist()
        ([0.0], [0.0])
    """

    form: Literal["k1", "k2", "k3"] = eqx.field(default="k1", static=True, converter=validate.choices("form", FORMS))
    where: Literal["reward", "loss"] = eqx.field(
        default="reward", static=True, converter=validate.choices("where", ("reward", "loss"))
    )
    weight: float = eqx.field(default=0.01, converter=amount("weight", minimum=0.0))

    def value(self, log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
        """weight k(l)."""
        found = log_ratio
        if self.form != "k1":
            found = log_ratio**2 / 2 if self.form == "k2" else jnp.expm1(-log_ratio) + log_ratio
        return as_type(self.weight, found) * found

    def slope(self, log_ratio: Float[Array, "..."]) -> Float[Array, "..."]:
        """weight k'(l), which multiplies the score in the gradient of the loss."""
        found = jnp.ones_like(log_ratio)
        if self.form != "k1":
            found = log_ratio if self.form == "k2" else -jnp.expm1(-log_ratio)
        return as_type(self.weight, found) * found
