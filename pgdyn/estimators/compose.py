r"""Parts of an estimator put together: advantages, and what happens to rewards before and to the loss after.

reward table  ->  draw per sample  ->  transforms, in order  ->  KL in the reward  ->  advantages  ->  surrogate loss
                                                                                                       + KL in the loss
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.estimators.draws import RewardDraw
from pgdyn.estimators.estimator import DEPENDENCES, Estimator, dependence
from pgdyn.estimators.penalty import KLPenalty
from pgdyn.estimators.sample import Sample
from pgdyn.estimators.surrogate import Surrogate
from pgdyn.estimators.transforms import Transform


class Composed(Estimator):
    """An estimator made of parts. Make one with `compose`.

    Attributes:
        advantage: makes advantages of rewards.
        transforms: of sampled rewards, in their order.
        draw: draws the reward of each sample; None for the table's.
        penalty: a KL penalty estimated from the samples; None for none.
        surrogate: the loss, and how often a batch is gone through; None for one update along the plain gradient.

    Example:
        >>> from pgdyn.estimators import GRPO
        >>> Composed(GRPO(4), surrogate=Surrogate(epochs=2)).group_size
        4
    """

    advantage: Estimator
    transforms: tuple[Transform, ...] = ()
    draw: RewardDraw | None = None
    penalty: KLPenalty | None = None
    surrogate: Surrogate | None = None

    def __check_init__(self):
        for name, kind, kinds in (
            ("advantage", Estimator, "an Estimator"),
            ("draw", RewardDraw | None, "a RewardDraw"),
            ("penalty", KLPenalty | None, "a KLPenalty"),
            ("surrogate", Surrogate | None, "a Surrogate"),
        ):
            if not isinstance(value := getattr(self, name), kind) or isinstance(value, Composed):
                raise ValueError(f"{name} is {validate.shown(value)}; it must be {kinds} of pgdyn.estimators")
        for i, one in enumerate(self.transforms):
            if not isinstance(one, Transform):
                raise ValueError(f"transforms[{i}] is {validate.shown(one)}; it must be a Transform")
        if self.surrogate is not None and self.group_size % self.surrogate.minibatches:
            raise ValueError(
                f"minibatches is {self.surrogate.minibatches}; it must divide the group size {self.group_size}"
            )

    @property
    def group_size(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """G."""
        return self.advantage.group_size

    @property
    def depends_on(self) -> str:
        """What the advantages are made of: the most of what any part needs."""
        parts = [dependence(self.advantage), *(getattr(one, "depends_on", "group") for one in self.transforms)]
        if self.penalty is not None and self.penalty.where == "reward":
            parts.append("group")
        return max(parts, key=DEPENDENCES.index)

    @property
    def in_loss(self) -> KLPenalty | None:
        """The penalty, where it is one of the loss."""
        return self.penalty if self.penalty is not None and self.penalty.where == "loss" else None

    def advantages(self, sample: Sample) -> Float[Array, "P G"]:
        """The advantages of the transformed rewards."""
        early = [one for one in self.transforms if getattr(one, "before_kl", True)]
        late = [one for one in self.transforms if not getattr(one, "before_kl", True)]
        for one in early:
            sample = sample.with_rewards(one.rewards(sample))
        if self.penalty is not None and self.penalty.where == "reward":
            log_ratio = sample.log_probs - log_reference(sample)
            sample = sample.with_rewards(sample.rewards - self.penalty.value(log_ratio))
        for one in late:
            sample = sample.with_rewards(one.rewards(sample))
        return self.advantage.advantages(sample)


def log_reference(sample: Sample) -> Float[Array, "P G"]:
    """The samples' log-probabilities under the reference.

    Raises:
        ValueError: if the sample has none.

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.ones((1, 1))
        >>> log_reference(Sample(jnp.array([[0]]), one, -one, jnp.ones(1), None, -one)).tolist()
        [[-1.0]]
    """
    if sample.reference is None:
        raise ValueError("a KL penalty needs the samples' log-probabilities under a reference")
    return sample.reference


def compose(*parts: Any) -> Composed:
    """An estimator of several parts, in any order but for transforms, which are applied as they are given.

    Args:
        parts: one `Estimator`; any number of `Transform`s; at most one `RewardDraw`, `KLPenalty` and `Surrogate`.

    Raises:
        ValueError: on a part of another kind, a second one of a kind, or no estimator.

    Example:
        >>> from pgdyn.estimators import RLOO, Whiten
        >>> compose(RLOO(4), Whiten(keep_mean=True), KLPenalty("k1", weight=0.01)).depends_on
        'batch'
    """
    kinds = {"advantage": Estimator, "draw": RewardDraw, "penalty": KLPenalty, "surrogate": Surrogate}
    found: dict[str, Any] = {}
    for i, part in enumerate(parts):
        if isinstance(part, Transform):
            continue
        name = next((name for name, kind in kinds.items() if isinstance(part, kind)), None)
        if name is None:
            raise ValueError(f"parts[{i}] is {validate.shown(part)}; it must be a part of pgdyn.estimators")
        if name in found:
            raise ValueError(f"parts[{i}] is a second {kinds[name].__name__}; give one")
        found[name] = part
    if "advantage" not in found:
        raise ValueError("compose needs an Estimator that makes advantages, for instance RLOO(4)")
    if isinstance(found["advantage"], Composed):
        raise ValueError("the estimator is composed already; compose its parts")
    return Composed(**found, transforms=tuple(part for part in parts if isinstance(part, Transform)))


def composed(estimator: Estimator) -> Composed:
    """The estimator as a `Composed`, itself where it is one.

    Example:
        >>> from pgdyn.estimators import RLOO
        >>> composed(RLOO(4)).surrogate is None
        True
    """
    return estimator if isinstance(estimator, Composed) else Composed(advantage=estimator)  # pyright: ignore[reportCallIssue]
