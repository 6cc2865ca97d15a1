r"""Problems from C constraints that are met with given probabilities.

The outcomes x in {0, 1}^C are numbered with the first constraint as the lowest bit: 00, 10, 01, 11. With s_c the
probability that constraint c is met and rho_cd the correlation of two of them,

    pi_0(x) = prod_c s_c^{x_c} (1 - s_c)^{1 - x_c} [1 + sum_{c < d} rho_cd u_c u_d]

(Bahadur 1961), u_c = (x_c - s_c)/sqrt(s_c (1 - s_c)), which has exactly these margins and correlations wherever no
probability is negative. The policy over outcomes is tabular, or compositional: z(x) = sum_c theta_c x_c, one logit a
constraint, whose constraints stay independent; or one of tokens, each of which meets a constraint or does not.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from pgdyn import validate
from pgdyn.mdp.trees import tree
from pgdyn.problem import Problem
from pgdyn.validate import Numbers
from pgdyn.verifiable.credit import Binary, Credit, Partial, verified

MOST = 16  # constraints


def outcomes(count: int) -> np.ndarray:
    """[2^C, C]: which constraints each outcome meets.

    Example:
        >>> outcomes(2).tolist()
        [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    count = validate.count("count", count, minimum=1, maximum=MOST)
    return ((np.arange(2**count)[:, None] >> np.arange(count)) & 1).astype(float)


def joint(success: Numbers, correlation: Numbers = 0.0) -> np.ndarray:
    """The probability of every outcome.

    Args:
        success: [C] or [P, C], probabilities strictly between 0 and 1.
        correlation: of every two constraints: one number, or a matrix [C, C] whose diagonal is not read.

    Returns:
        [2^C] or [P, 2^C].

    Raises:
        ValueError: on a success that is no probability, or correlations that no distribution of this form has.

    Example:
        >>> joint([0.5, 0.2], 0.5).round(3).tolist()
        [0.5, 0.3, 0.0, 0.2]
    """
    s = np.asarray(validate.as_floats("success", success))
    validate.require("success", s, (s > 0) & (s < 1), "it must lie strictly between 0 and 1")
    count = s.shape[-1]
    rho = np.asarray(validate.as_floats("correlation", correlation))
    if rho.shape not in ((), (count, count)):
        raise ValueError(f"correlation has shape {rho.shape}; it must be one number or [{count}, {count}]")
    rho = np.triu(np.broadcast_to(rho, (count, count)), 1)
    met = outcomes(count)
    alone = np.prod(np.where(met > 0, s[..., None, :], 1 - s[..., None, :]), axis=-1)
    u = (met - s[..., None, :]) / np.sqrt(s * (1 - s))[..., None, :]
    found = alone * (1 + np.einsum("...kc,cd,...kd->...k", u, rho, u))
    if (found < -1e-12).any():
        index = tuple(int(i) for i in np.argwhere(found < -1e-12)[0])
        raise ValueError(
            f"correlation leaves outcome {index[-1]} a negative probability ({found[index]:.3g}); take a smaller one"
        )
    return np.maximum(found, 0)


def constraints(
    success: Numbers,
    credit: Credit | None = None,
    *,
    correlation: Numbers = 0.0,
    representation: Literal["tabular", "compositional", "tokens"] = "tabular",
    true_positive: Numbers = 1.0,
    false_positive: Numbers = 0.0,
) -> Problem:
    """The problem of all 2^C outcomes: true reward 1 where all constraints are met, the credit as the proxy.

    Args:
        success: [C] or [P, C], probability that the initial policy meets each constraint.
        credit: what an outcome is worth while training; None for `Partial()`.
        correlation: of every two constraints; see `joint`.
        representation: "tabular", a logit for every outcome; "compositional", one for every constraint; or "tokens", a
            sequence of C decisions (`pgdyn.mdp.tree`), token c telling whether constraint c is met.
        true_positive: of a verifier that reads each constraint; one number or [C].
        false_positive: as `true_positive`.

    Raises:
        ValueError: on probabilities out of range, correlations that do not exist or leave an outcome impossible,
            correlated constraints with one logit each, or tokens of several prompts.

    Example:
        >>> constraints([0.5, 0.2]).proxy_reward.tolist()
        [[0.0, 0.5, 0.5, 1.0]]
    """
    validate.choice("representation", representation, ("tabular", "compositional", "tokens"))
    policy = joint(success, correlation)
    s = np.asarray(success, float)
    met = outcomes(s.shape[-1])
    credit = Partial() if credit is None else credit
    if not isinstance(credit, Credit):
        raise ValueError(f"credit is {validate.shown(credit)}; it must be a Credit of pgdyn.verifiable")
    rows = policy.shape[:-1]
    true = np.broadcast_to(Binary()(met), (*rows, len(met)))
    proxy = np.broadcast_to(verified(credit, met, true_positive, false_positive), true.shape)
    if representation != "compositional":
        validate.require("policy", policy, policy > 0, "every outcome must be possible; take a smaller correlation")
        policy = policy / policy.sum(axis=-1, keepdims=True)
        if representation == "tabular":
            return Problem.tabular(policy, true, proxy)
        if rows:
            raise ValueError(f"success has shape {s.shape}; tokens are those of one prompt, [C]")
        # The first token is the most significant in a tree, and the first constraint the lowest bit here.
        order = met[:, ::-1] @ 2 ** np.arange(s.shape[-1])
        places = np.argsort(order)
        return tree(2, s.shape[-1], true[places], proxy[places], initial_policy=policy[places])
    if np.any(np.triu(np.broadcast_to(np.asarray(correlation), (len(met[0]),) * 2), 1)):
        raise ValueError("correlation is not zero, and a policy with one logit a constraint keeps them independent")
    logits = np.log(s) - np.log1p(-s)
    if not rows:
        return Problem.linear(met, true, proxy, initial_params=logits)
    blocks = np.einsum("pq,kc->pkqc", np.eye(rows[0]), met).reshape(rows[0], len(met), -1)
    return Problem.linear(blocks, true, proxy, initial_params=logits.ravel())


def success(problem: Problem, log_policy: Any) -> np.ndarray:
    """[..., P], the probability that all constraints are met, where the true reward is 1 there and 0 elsewhere.

    Args:
        problem: one of `constraints`.
        log_policy: [..., P, K].

    Example:
        >>> problem = constraints([0.5, 0.2])
        >>> success(problem, np.log(np.full((1, 4), 0.25))).tolist()
        [0.25]
    """
    return np.sum(np.exp(np.asarray(log_policy)) * np.asarray(problem.true_reward), axis=-1)
