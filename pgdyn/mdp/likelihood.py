r"""Rewards that are the likelihood of a reference answer after a thought, so that they move with the policy.

A thought z is drawn from pi, and is paid by how likely the policy makes the answer a_1..a_L after it:

    probability        R_z = prod_i pi(a_i | z, a_<i)                (VeriFree)
    log_probability    R_z = sum_i log pi(a_i | z, a_<i)
    mean_probability   R_z = (1/L) sum_i pi(a_i | z, a_<i)           (RLPR)
    mean_log           R_z = (1/L) sum_i log pi(a_i | z, a_<i)
    group_log          log (1/G) sum_{i=1..G} R_{z_i},  R the probability, z_i drawn independently    (JEPO)

J = E[R], and its gradient has two terms: reward times the score of the thought, and the reward's own derivative, which
trains the answer. `direct_term=False` leaves the second one out, as RLPR does. NOVER's reward, a ratio of perplexities,
is not here: its form is not confirmed.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import policy, validate
from pgdyn.objective import Anchor, Objective
from pgdyn.policy import Weights
from pgdyn.problem import Problem
from pgdyn.transitions import END

TRANSFORMS = ("probability", "log_probability", "mean_probability", "mean_log", "group_log")
_MOST_GROUPS = 10**5


class AnswerLikelihood(Objective):
    """The objective whose reward is the likelihood of a reference answer after each thought.

    Attributes:
        answers: for each thought the (decision point, token) of every step of its answer.
        transform: what of the likelihood is paid; see the module.
        group: G of "group_log".
        direct_term: whether the gradient has the reward's own derivative.

    The weights `kl` and `entropy` and their options are those of `pgdyn.Objective`.

    Raises:
        ValueError: on an unknown transform, a group below 1, or one with too many combinations of thoughts.

    Example:
        >>> from pgdyn.mdp import two_stage
        >>> problem = two_stage([0.5, 0.5], [[0.6, 0.4], [0.5, 0.5]], [[0.0, 0.0], [0.0, 0.0]])
        >>> objective = AnswerLikelihood.of(problem, (0,), transform="log_probability")
        >>> round(float(objective.value(problem, problem.initial_params)), 4)
        -0.602
    """

    answers: tuple[tuple[tuple[int, int], ...], ...] = eqx.field(static=True)
    transform: str = eqx.field(static=True)
    group: int = eqx.field(static=True)
    direct_term: bool = eqx.field(static=True)

    can_be_sampled: ClassVar[bool] = False

    def __init__(
        self,
        answers: Any,
        transform: Literal[
            "probability", "log_probability", "mean_probability", "mean_log", "group_log"
        ] = "probability",
        group: int = 4,
        direct_term: bool = True,
        **options: Any,
    ):
        super().__init__(**options)
        if self.normalize_by_std is not False:
            raise ValueError("normalize_by_std is for rewards in a table; a likelihood moves with the policy")
        validate.choice("transform", transform, TRANSFORMS)
        self.answers = tuple(tuple((int(s), int(y)) for s, y in answer) for answer in answers)
        self.transform = transform
        self.group = validate.count("group", group, minimum=1)
        self.direct_term = validate.truth("direct_term")(direct_term)
        if transform == "group_log" and math.comb(len(self.answers) + group - 1, group) > _MOST_GROUPS:
            raise ValueError(
                f"{group} draws of {len(self.answers)} thoughts have more than {_MOST_GROUPS} combinations"
            )

    @property
    def signal_moves(self) -> bool:
        """True: the reward is the policy's own, whatever the table of rewards holds."""
        return True

    @classmethod
    def of(cls, problem: Problem, answer: tuple[int, ...], **options: Any) -> AnswerLikelihood:
        """The objective for one reference answer after every first decision of `problem`.

        Args:
            problem: a problem whose first decision is the thought, followed by the tokens of an answer.
            answer: the tokens a_1..a_L.
            **options: fields of `AnswerLikelihood`.

        Raises:
            ValueError: on a problem with chance or several starts, or where the answer does not fit after a thought.
        """
        transitions = problem.transitions
        if transitions is None or transitions.successors is None or len(transitions.roots) != 1:
            raise ValueError("answers need a problem with one start and transitions that no chance decides")
        root, found = int(transitions.roots[0]), []
        for thought in range(problem.num_outputs):
            if transitions.mask is not None and not transitions.mask[root, thought]:
                continue
            s, way = int(transitions.successors[root, thought]), []
            for i, token in enumerate(answer):
                if s == END or not 0 <= token < problem.num_outputs:
                    raise ValueError(f"answer[{i}] does not follow thought {thought}: there is no such decision")
                if transitions.mask is not None and not transitions.mask[s, token]:
                    raise ValueError(f"answer[{i}] is {token}, which is no output after thought {thought}")
                way.append((s, token))
                s = int(transitions.successors[s, token])
            found.append(tuple(way))
        return cls(tuple(found), **options)

    def value_at(self, problem: Problem, log_policy: Float[Array, "P K *lanes"]) -> Float[Array, "*lanes"]:
        """J of a policy."""
        none = eqx.tree_at(lambda p: (p.true_reward, p.proxy_reward), problem, (jnp.zeros_like(log_policy),) * 2)
        return self._likelihood(problem, log_policy) + Objective.value_at(self, none, log_policy)

    def gradient_at(
        self,
        problem: Problem,
        logits: Float[Array, "P K *lanes"],
        weights: Weights,
        reference: Float[Array, "P K *lanes"] | None,
        anchor: Anchor,
    ) -> Float[Array, "P K *lanes"]:
        """`logit_gradient`, by JAX's differentiation of J."""
        return jax.grad(lambda z: jnp.sum(self.value_at(problem, policy.normalize(z))))(logits)

    def natural_signal(
        self,
        problem: Problem,
        logits: Float[Array, "P K *lanes"],
        reference: Float[Array, "P K *lanes"] | None,
    ) -> Float[Array, "P K *lanes"]:
        """dJ/dz_p divided by d_p pi_p, where that is not 0."""
        log_policy = policy.normalize(logits)
        mass = jnp.exp(log_policy)
        visits = policy.visits(problem, mass)
        mass = mass if visits is None else visits[:, None] * mass
        gradient = jax.grad(lambda z: jnp.sum(self.value_at(problem, policy.normalize(z))))(logits)
        return jnp.where(mass > 0, gradient / jnp.where(mass > 0, mass, 1), 0)

    def rewards(self, log_policy: Float[Array, "P K *lanes"]) -> Float[Array, "A *lanes"]:
        """R of each thought; of "group_log" the probability."""
        points, tokens = np.moveaxis(np.array(self.answers), -1, 0)  # [A, L]
        steps = log_policy[points, tokens]
        if self.transform in ("probability", "group_log"):
            return jnp.exp(jnp.sum(steps, axis=1))
        if self.transform == "mean_probability":
            return jnp.mean(jnp.exp(steps), axis=1)
        total = jnp.sum(steps, axis=1)
        return total if self.transform == "log_probability" else total / points.shape[1]

    def _likelihood(self, problem: Problem, log_policy: Float[Array, "P K *lanes"]) -> Float[Array, "*lanes"]:
        assert problem.transitions is not None
        root = int(problem.transitions.roots[0])
        mask = problem.transitions.mask
        count = problem.transitions.num_actions  # lanes may come last in the problem's arrays
        thoughts = np.arange(count) if mask is None else np.nonzero(mask[root])[0]
        chosen = log_policy[root][thoughts]
        reward = self.rewards(log_policy)
        reward = reward if self.direct_term else jax.lax.stop_gradient(reward)
        if self.transform != "group_log":
            return jnp.sum(jnp.exp(chosen) * reward, axis=0)
        counts, ways = _groups(len(thoughts), self.group)
        shape = (-1, *(1,) * (chosen.ndim - 1))
        log_mass = jnp.tensordot(jnp.asarray(counts, chosen.dtype), chosen, axes=1) + jnp.asarray(
            np.log(ways).reshape(shape), chosen.dtype
        )
        mean = jnp.tensordot(jnp.asarray(counts / self.group, chosen.dtype), reward, axes=1)
        return jnp.sum(jnp.exp(log_mass) * jnp.log(mean), axis=0)


def _groups(thoughts: int, size: int) -> tuple[Float[np.ndarray, "C A"], Float[np.ndarray, " C"]]:
    """How often each thought is drawn, for every combination, and in how many orders."""
    counts = np.array(
        [
            np.bincount(drawn, minlength=thoughts)
            for drawn in itertools.combinations_with_replacement(range(thoughts), size)
        ]
    )
    orders = [math.factorial(size) / math.prod(math.factorial(int(n)) for n in row) for row in counts]
    return counts.astype(float), np.array(orders)
