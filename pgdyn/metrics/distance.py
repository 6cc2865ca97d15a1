r"""Distances between two rewards, and the regret that they are meant to bound.

A reward is canonicalised, so that what no policy can tell apart is equal, normalised, and compared. With coverage D
over states and actions, A ~ D_A, S and S' ~ D_S (EPIC) or from the transition model (DARD),

    EPIC   C(R)(s,a,s') = R(s,a,s') + E[ g R(s',A,S') - R(s,A,S') - g R(S,A,S') ],        d = sqrt((1 - rho) / 2)
    DARD   the same with S' ~ T(s,A), S'' ~ T(s',A) for the states that follow s and s'
    STARC  C(R)(s,a) = E_{S'}[ R - V^u(s) + g V^u(S') ] ("value", V^u the value under the uniform policy, or another),
           or the least element of { R + shaping } ("minimal");    d = | C(R1)/|C(R1)| - C(R2)/|C(R2)| |

rho is Pearson's correlation over D. In one step (no transitions) a reward is [P, K], both EPIC and DARD subtract each
prompt's mean under D_A, and both canonical forms of STARC subtract a mean. EPIC and DARD can be positive for rewards
that order all policies alike; STARC is sound and complete: L d <= worst-case regret <= U d, in one prompt with
L = 1 / sqrt(2 K) and U = sqrt(K / 2) for the minimal form in the Euclidean norm.

The worst-case regret of the truth a under the proxy b is what one can lose by a step that b approves of,

    max { J_a(pi) - J_a(pi') : J_b(pi') >= J_b(pi) } / (max J_a - min J_a)
        = min_{lambda >= 0} range(J_{a - lambda b}) / range(J_a)

by the duality of linear programmes (occupancies form a polytope): exact in one step at the breakpoints of lambda.

Source: Gleave et al. (2021), Wulfe et al. (2022), Skalse et al. (2024).
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from pgdyn import validate
from pgdyn.problem import Problem, require_single
from pgdyn.validate import Numbers

_ZERO = 1e-12  # relative to the reward: a canonical reward below it is rounding


class Dynamics(NamedTuple):
    """What follows an action.

    Attributes:
        transitions: [S, A, S], T(s' | s, a); zero rows where nothing follows, at the end of an episode.
        discount: g in [0, 1]; 1 where every episode ends.
        initial: [S], the distribution of the first state.
    """

    transitions: np.ndarray
    discount: float
    initial: np.ndarray | None = None


def epic(
    true_reward: Problem | Numbers,
    proxy_reward: Numbers | None = None,
    *,
    policy: Numbers | None = None,
    dynamics: Dynamics | None = None,
) -> float:
    """EPIC: 0 for rewards that differ by shaping and a positive factor, 1 for opposite ones.

    Args:
        true_reward: [K], [P, K], with `dynamics` [S, A, S] or [S, A]; or a problem, whose two rewards are compared. Of
            a sequence the states are its decision points and the end, without discount.
        proxy_reward: like `true_reward`; not with a problem.
        policy: D_A, like a one-step reward; with `dynamics` [A]. None for the uniform one. Coverage is uniform over
            prompts (or states), or by the problem's prompt weights.
        dynamics: transitions and discount; None for one step.

    Raises:
        ValueError: on shapes that do not fit or entries that are not finite.

    Example:
        >>> round(epic([1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1]), 4)
        0.4095
        >>> round(epic([1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1], policy=[0.05, 0.5, 0.15, 0.15, 0.15]), 4)
        0.611
    """
    true_reward, proxy_reward, dynamics = _sequence(true_reward, proxy_reward, dynamics)
    if dynamics is None:
        (one, other), cover = _one_step(true_reward, proxy_reward, policy)
        return _pearson(_centred(one, cover), _centred(other, cover), cover)
    (one, other), action = _sequential(true_reward, proxy_reward, policy, dynamics)
    states = len(one)
    cover = np.broadcast_to(action[:, None], one.shape) / states**2

    def canonical(reward: np.ndarray) -> np.ndarray:
        ahead = np.einsum("sat,a->s", reward, action) / states
        return reward + dynamics.discount * ahead - ahead[:, None, None] - dynamics.discount * ahead.mean()

    return _pearson(canonical(one), canonical(other), cover)


def dard(
    true_reward: Problem | Numbers,
    proxy_reward: Numbers | None = None,
    *,
    policy: Numbers | None = None,
    dynamics: Dynamics | None = None,
) -> float:
    """DARD: EPIC on transitions that happen. In one step it is EPIC.

    Args:
        true_reward: as for `epic`.
        proxy_reward: as for `epic`.
        policy: as for `epic`.
        dynamics: as for `epic`.

    Raises:
        ValueError: as `epic`.

    Example:
        >>> dard([1.0, 0.0], [0.0, 1.0])
        1.0
    """
    true_reward, proxy_reward, dynamics = _sequence(true_reward, proxy_reward, dynamics)
    if dynamics is None:
        return epic(true_reward, proxy_reward, policy=policy)
    (one, other), action = _sequential(true_reward, proxy_reward, policy, dynamics)
    follow = np.asarray(dynamics.transitions)
    cover = action[:, None] * follow / len(one)

    def canonical(reward: np.ndarray) -> np.ndarray:
        # S' ~ T(s, A) and S'' ~ T(s', A) share the action A, and are independent given it.
        ahead = np.einsum("a,sat,sat->s", action, follow, reward)
        cross = np.einsum("a,sau,taw,uaw->st", action, follow, follow, reward)
        return reward + dynamics.discount * ahead - ahead[:, None, None] - dynamics.discount * cross[:, None, :]

    return _pearson(canonical(one), canonical(other), cover)


def starc(
    true_reward: Problem | Numbers,
    proxy_reward: Numbers | None = None,
    *,
    canonical: Literal["value", "minimal"] = "minimal",
    norm: Literal["l2", "weighted", "l1", "max"] = "l2",
    policy: Numbers | None = None,
    dynamics: Dynamics | None = None,
) -> float:
    """STARC: 0 exactly for rewards that order all policies alike, 2 for opposite ones.

    Args:
        true_reward: as for `epic`.
        proxy_reward: as for `epic`.
        canonical: "value" (under `policy`) or "minimal" (of least Euclidean norm).
        norm: by which rewards are normalised and compared; "weighted" is the Euclidean one weighted by coverage, with
            which "value" is twice EPIC on one prompt.
        policy: of the value and of coverage, as for `epic`.
        dynamics: as for `epic`.

    Raises:
        ValueError: on shapes that do not fit, entries that are not finite, or another canonical form or norm.

    Example:
        >>> round(starc([1.0, 0.0], [0.0, 1.0]), 12)
        2.0
        >>> round(starc([1, 0.8, -1, -1, -1], [1, -1, -1, -1, -1], canonical="value", norm="weighted") / 2, 4)
        0.4095
    """
    validate.choice("canonical", canonical, ("value", "minimal"))
    validate.choice("norm", norm, ("l2", "weighted", "l1", "max"))
    true_reward, proxy_reward, dynamics = _sequence(true_reward, proxy_reward, dynamics)
    if dynamics is None:
        rewards, cover = _one_step(true_reward, proxy_reward, policy)
        even = np.full(cover.shape, 1.0)
        forms = [_centred(reward, cover if canonical == "value" else even) for reward in rewards]
    else:
        rewards, action = _sequential(true_reward, proxy_reward, policy, dynamics)
        follow = np.asarray(dynamics.transitions)
        cover = np.broadcast_to(action / len(rewards[0]), follow.shape[:2])
        expected = [np.einsum("sat,sat->sa", follow, reward) for reward in rewards]
        forms = [
            _less_value(one, action, dynamics) if canonical == "value" else _least(one, dynamics) for one in expected
        ]
    sizes = [_size(form, norm, cover) for form in forms]
    # A reward that tells no outputs apart is the zero of its class.
    unit = [
        form / size if size > _ZERO * max(1e-300, np.abs(reward).max()) else np.zeros_like(form)
        for form, size, reward in zip(forms, sizes, rewards, strict=True)
    ]
    return float(_size(unit[0] - unit[1], norm, cover))


def worst_case_regret(
    true_reward: Problem | Numbers, proxy_reward: Numbers | None = None, *, dynamics: Dynamics | None = None
) -> float:
    """The most that a step which the proxy approves of can lose, in units of the range of true values.

    Args:
        true_reward: as for `epic`.
        proxy_reward: as for `epic`.
        dynamics: as for `epic`, with the distribution of the first state (None: uniform).

    Returns:
        0 where both order all policies alike, 1 where the proxy is no constraint; nan where the true reward is
        constant.

    Raises:
        ValueError: on shapes that do not fit or entries that are not finite.

    Example:
        >>> worst_case_regret([1.0, 0.0, 0.5], [1.0, 0.0, 0.5]), worst_case_regret([1.0, 0.0], [0.0, 1.0])
        (0.0, 1.0)
    """
    true_reward, proxy_reward, dynamics = _sequence(true_reward, proxy_reward, dynamics)
    if dynamics is None:
        rewards, cover = _one_step(true_reward, proxy_reward, None)
        weights = cover.sum(axis=1)
        truth, proxy = (_centred(reward, np.ones_like(reward)) for reward in rewards)

        def spread(factor: np.ndarray) -> np.ndarray:
            return np.ptp(truth - factor[:, None, None] * proxy, axis=2) @ weights

        gaps = [reward[:, :, None] - reward[:, None, :] for reward in (truth, proxy)]
        there = gaps[1] > 0
        slopes = gaps[0][there] / gaps[1][there]
        factors = np.r_[0.0, slopes[slopes > 0]]
        least = min(
            float(spread(part).min()) for part in np.array_split(factors, 1 + factors.size * truth.size // 2**22)
        )
    else:
        rewards, _ = _sequential(true_reward, proxy_reward, None, dynamics)
        follow = np.asarray(dynamics.transitions)
        truth, proxy = (np.einsum("sat,sat->sa", follow, reward) for reward in rewards)

        def spread(factor: np.ndarray) -> np.ndarray:
            return _value_ranges(truth - factor[:, None, None] * proxy, dynamics)

        least = _minimum(spread)
    whole = float(spread(np.zeros(1))[0])
    return max(least, 0.0) / whole if whole > 0 else float("nan")


def _value_ranges(rewards: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """max J - min J of [N, S, A] rewards, by policy iteration side by side."""
    count, states = rewards.shape[:2]
    follow, discount = np.asarray(dynamics.transitions), float(dynamics.discount)
    start = np.full(states, 1 / states) if dynamics.initial is None else np.asarray(dynamics.initial)
    ends = []
    for signed in (rewards, -rewards):
        chosen = np.argmax(signed, axis=2)
        rows = np.arange(count)[:, None], np.arange(states)[None, :]
        for _ in range(1000):
            flow = follow[rows[1], chosen]
            values = np.linalg.solve(np.eye(states) - discount * flow, signed[(*rows, chosen)][..., None])[..., 0]
            ahead = signed + discount * np.einsum("sat,nt->nsa", follow, values)
            better = ahead.max(axis=2) > ahead[(*rows, chosen)] + 1e-12 * np.abs(ahead).max()
            if not better.any():
                break
            chosen = np.where(better, np.argmax(ahead, axis=2), chosen)
        ends.append(values @ start)
    return ends[0] + ends[1]


def _minimum(spread: Any) -> float:
    """The least value of a convex function of lambda >= 0: a grid in log lambda, then finer ones around the best."""
    low, high = np.log(1e-6), np.log(1e6)
    best = float(spread(np.zeros(1))[0])
    for _ in range(8):
        grid = np.linspace(low, high, 25)
        values = spread(np.exp(grid))
        at = int(np.argmin(values))
        best = min(best, float(values[at]))
        low, high = grid[max(at - 1, 0)], grid[min(at + 1, 24)]
    return best


def _less_value(reward: np.ndarray, action: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """R - V(s) + g E V(s'), V the value of choosing by `action` in every state."""
    follow = np.asarray(dynamics.transitions)
    flow = np.einsum("a,sat->st", action, follow)
    value = np.linalg.solve(np.eye(len(flow)) - dynamics.discount * flow, reward @ action)
    return reward - value[:, None] + dynamics.discount * (follow @ value)


def _least(reward: np.ndarray, dynamics: Dynamics) -> np.ndarray:
    """The reward of least Euclidean norm among R + g E phi(s') - phi(s)."""
    follow = np.asarray(dynamics.transitions)
    states, actions = reward.shape
    shaping = (dynamics.discount * follow - np.eye(states)[:, None, :]).reshape(states * actions, states)
    fitted, *_ = np.linalg.lstsq(shaping, reward.ravel(), rcond=None)
    return reward - (shaping @ fitted).reshape(reward.shape)


def _centred(reward: np.ndarray, weights: np.ndarray) -> np.ndarray:
    mean = np.sum(weights * reward, axis=1, keepdims=True) / np.sum(weights, axis=1, keepdims=True)
    return reward - mean


def _pearson(one: np.ndarray, other: np.ndarray, cover: np.ndarray) -> float:
    """sqrt((1 - rho) / 2) over the weights `cover`, from unit vectors, so that equal ones are at exactly 0."""
    cover = cover / cover.sum()
    vectors = []
    for values in (one, other):
        centred = values - np.sum(cover * values)
        size = np.sqrt(np.sum(cover * centred**2))
        flat = size <= _ZERO * max(1e-300, float(np.abs(values).max()))
        vectors.append(np.zeros_like(centred) if flat else centred / size)
    return float(np.sqrt(np.sum(cover * (vectors[0] - vectors[1]) ** 2)) / 2)


def _size(values: np.ndarray, norm: str, cover: np.ndarray) -> float:
    if norm == "weighted":
        return float(np.sqrt(np.sum(cover / cover.sum() * values**2)))
    flat = np.abs(values).ravel()
    return float({"l2": np.linalg.norm, "l1": np.sum, "max": np.max}[norm](flat))


def _sequence(true_reward: Any, proxy_reward: Any, dynamics: Dynamics | None) -> tuple[Any, Any, Dynamics | None]:
    """A sequence as rewards [S, A] and dynamics: its decision points and the end, where nothing more happens."""
    if not isinstance(true_reward, Problem) or true_reward.transitions is None:
        return true_reward, proxy_reward, dynamics
    require_single(true_reward, "a distance")
    if proxy_reward is not None or dynamics is not None:
        raise ValueError("a sequence has its proxy and its dynamics; nothing else is given beside it")
    moves = true_reward.transitions
    if moves.mask is not None:
        raise ValueError("this sequence lacks some actions at some decision points; distances need the same everywhere")
    points, actions = true_reward.true_reward.shape
    follow = np.zeros((points + 1, actions, points + 1))
    if moves.probabilities is not None:
        follow[:-1, :, :-1] = np.asarray(moves.probabilities)
        follow[:-1, :, -1] = 1 - follow[:-1, :, :-1].sum(axis=2)
    else:
        rows = np.arange(points)[:, None], np.arange(actions)[None, :]
        follow[(*rows, np.asarray(moves.successors))] = 1  # the end, -1, is the last state
    one, other = (np.pad(np.asarray(r), ((0, 1), (0, 0))) for r in (true_reward.true_reward, true_reward.proxy_reward))
    start = np.append(np.asarray(true_reward.prompt_weights), 0.0)
    return one, other, Dynamics(follow, 1.0, start)


def _one_step(true_reward: Any, proxy_reward: Any, policy: Any) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Two rewards [P, K] and the coverage of their entries, summing to 1."""
    weights = None
    if isinstance(true_reward, Problem):
        require_single(true_reward, "a distance")
        if proxy_reward is not None:
            raise ValueError("proxy_reward is given beside a problem, which has one; use problem.with_proxy")
        weights = np.asarray(true_reward.prompt_weights)
        true_reward, proxy_reward = np.asarray(true_reward.true_reward), np.asarray(true_reward.proxy_reward)
    if proxy_reward is None:
        raise ValueError("proxy_reward is missing")
    from pgdyn.metrics.teacher import probabilities, table

    one, other = table("true_reward", true_reward), table("proxy_reward", proxy_reward)
    if one.shape != other.shape:
        raise ValueError(f"proxy_reward has shape {other.shape} but true_reward {one.shape}")
    action = np.full(one.shape, 1 / one.shape[1])
    if policy is not None:
        given = table("policy", policy)
        action = probabilities("policy", np.broadcast_to(given, one.shape) if len(given) == 1 else given, one.shape)
    weights = np.full(len(one), 1 / len(one)) if weights is None else weights
    return (one, other), weights[:, None] * action


def _sequential(
    true_reward: Any, proxy_reward: Any, policy: Any, dynamics: Dynamics
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    follow = np.asarray(validate.as_floats("transitions", dynamics.transitions))
    total = follow.sum(axis=-1)
    if follow.ndim != 3 or follow.shape[0] != follow.shape[2] or not np.all(np.minimum(abs(total - 1), total) < 1e-6):
        raise ValueError(
            f"transitions has shape {follow.shape}; it must be [S, A, S], each row summing to 1, or to 0 at the end"
        )
    if not 0 <= dynamics.discount <= 1:
        raise ValueError(validate.refusal("discount", (), float(dynamics.discount), "it must lie between 0 and 1"))
    if dynamics.discount == 1 and np.linalg.matrix_rank(np.eye(len(follow)) - follow.mean(axis=1)) < len(follow):
        raise ValueError("the discount is 1 and episodes need not end; values would have no limit")
    rewards = []
    for name, value in (("true_reward", true_reward), ("proxy_reward", proxy_reward)):
        array = np.asarray(validate.as_floats(name, value))
        array = np.broadcast_to(array[:, :, None], follow.shape) if array.shape == follow.shape[:2] else array
        if array.shape != follow.shape:
            raise ValueError(f"{name} has shape {array.shape}; it must be {follow.shape} or {follow.shape[:2]}")
        validate.require_finite(name, array)
        rewards.append(array)
    actions = follow.shape[1]
    action = np.full(actions, 1 / actions) if policy is None else np.asarray(validate.as_floats("policy", policy))
    if action.shape != (actions,) or np.any(action < 0) or abs(action.sum() - 1) > 1e-6:
        raise ValueError(f"policy must be {actions} probabilities that sum to 1")
    return (rewards[0], rewards[1]), action
