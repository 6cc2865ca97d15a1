r"""From what a user gives to the arrays of a problem or a batch: shapes, checks and the start.

    tabular start   theta_p = T log pi_p
    linear start    theta = argmin_theta sum_p |Phi_p theta - T log max(pi_p, 1e-8)|^2, of least norm

The arrays of a batch have a leading axis N where they were given with one; the others serve all problems.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from pgdyn import validate
from pgdyn.transitions import END, Transitions
from pgdyn.validate import Numbers

_LOG_FLOOR = 1e-8  # probabilities below it are lifted to it when features are fitted to a policy (the paper's program)
_SUM_TOLERANCE = 1e-6
_COLDEST = 1e-150  # temperature: its square is the rate of a clock

_REQUIRED = ("true_reward", "features")
_CORE_AXES = {"true_reward": 2, "proxy_reward": 2, "initial_policy": 2, "features": 3}  # of one problem


def arrays(
    rows: dict[str, Numbers | None],
    *,
    temperature: Numbers,
    prompt_weights: Numbers | None,
    batched: bool,
    initial_params: Numbers | None = None,
    transitions: Transitions | None = None,
) -> dict[str, Any]:
    """The checked arrays of a `Problem`, by field name.

    Args:
        rows: true_reward, proxy_reward (None: the true reward) and initial_policy (None: not given), each [K] or
            [P, K], and in a batch also [N, P, K]; for a linear policy also features, [K, D] or [P, K, D], and in a
            batch [N, P, K, D].
        temperature: a positive number; in a batch also [N].
        prompt_weights: [P], in a batch also [N, P]; None for equal weights.
        batched: whether arrays may have a leading axis N.
        initial_params: [D], in a batch also [N, D]; None if not given.
        transitions: where outputs lead; None where every one ends the episode.

    Returns:
        Arrays of one problem, or with a leading axis N; NumPy where their values are known.

    Raises:
        ValueError: naming field, index and value of the first entry that breaks a rule.
    """
    if initial_params is not None and rows["initial_policy"] is not None:
        raise ValueError("give initial_params or initial_policy, not both: each of them sets the start")
    mask = None if transitions is None else transitions.mask
    given = {
        name: _rows(name, value, batched, mask)
        for name, value in rows.items()
        if value is not None or name in _REQUIRED
    }
    _require_equal_outputs(given)
    prompts = _common_prompts(given) if transitions is None else _decision_points(given, transitions)
    for name, array in given.items():
        axes = _CORE_AXES[name]
        given[name] = _tile(array, (*array.shape[:-axes], prompts, *array.shape[array.ndim - axes + 1 :]))
    if "initial_policy" in given:
        _require_sums(given["initial_policy"])
    scale, phi = _temperature(temperature, batched), given.get("features")
    found = {**given, "temperature": scale, "prompt_weights": _prompt_weights(prompt_weights, prompts, batched)}
    if transitions is not None:
        found["prompt_weights"] = _starts(found["prompt_weights"], transitions, prompt_weights is not None)
    if initial_params is not None:
        assert phi is not None  # only linear policies are given parameters
        found["initial_params"] = _initial_params(initial_params, phi.shape[-1], batched)
    _require_one_size(found)
    policy = found.pop("initial_policy", None)
    if initial_params is None:
        shape = found["true_reward"].shape[-2:] if phi is None else phi.shape[-1:]
        found["initial_params"] = np.zeros(shape) if policy is None else _start(policy, phi, scale, mask)
    require_finite_logits(phi, found["initial_params"], scale)
    return {"proxy_reward": found["true_reward"], **found}


def on_device(cls: Any, found: dict[str, Any], **structure: Any) -> Any:
    """`cls` with the arrays on JAX's device, and what it has besides."""
    placed = {name: to_device(array) for name, array in found.items()}
    return cls(**{"features": None, **placed}, **structure)


def structure(transitions: Any, mask: Any, true_reward: Any) -> Transitions | None:
    """The transitions of a problem, checked; a mask alone makes every output that there is end the episode."""
    if transitions is None and mask is None:
        return None
    if isinstance(transitions, Transitions):
        if mask is not None:
            raise ValueError("transitions is a Transitions, which has a mask of its own; give mask to its constructor")
        return transitions
    if transitions is None:
        shape = np.shape(true_reward)[-2:]
        transitions = np.full((1, *shape) if len(shape) == 1 else shape, END)
    return Transitions(transitions, mask)


def require_logits(network: Any, start: Any, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless a network gives finite logits of this shape at its start."""
    logits = network(to_device(start))
    if getattr(logits, "shape", None) != shape:
        raise ValueError(f"logits(initial_params) has shape {np.shape(logits)} but the rewards have {shape}")
    if not validate.is_traced(logits):
        validate.require_finite("logits(initial_params)", np.asarray(logits))


def to_device(array: Any) -> Array:
    """`array` as JAX's, in pgdyn's precision."""
    return jnp.asarray(array, validate.float_dtype())


def proxies(value: Numbers, shape: tuple[int, ...]) -> Any:
    """Proxy rewards [P, K] or [N, P, K] for a problem whose rewards have `shape` [P, K].

    Raises:
        ValueError: on entries that are not finite or shapes that do not fit.
    """
    array = _rows("proxy_reward", value, batched=True)
    if array.shape[-1] != shape[-1] or array.shape[-2] not in (1, shape[-2]):
        raise ValueError(f"proxy_reward has shape {array.shape} but the problem's rewards have {shape}")
    return _tile(array, (*array.shape[:-2], *shape))


def _rows(name: str, value: Any, batched: bool, mask: np.ndarray | None = None) -> Any:
    """The array with the axis P that it may lack, finite."""
    array = validate.as_floats(name, value)
    axes = _CORE_AXES[name]
    inner = ", K, D]" if name == "features" else ", K]"
    wanted = f"[{inner[2:]} or [P{inner}"
    if array.ndim == axes + 1 and not batched:
        raise ValueError(
            f"{name} has shape {array.shape}; it must be {wanted} for one problem, and pgdyn.Batch takes [N, P{inner}"
        )
    if array.ndim not in (axes - 1, axes, axes + 1):
        more = f", or [N, P{inner} for a batch" if batched else ""
        raise ValueError(f"{name} has shape {array.shape}; it must be {wanted}{more}")
    validate.require_finite(name, array)
    if name == "initial_policy" and not validate.is_traced(array):
        if mask is None:
            validate.require(name, array, array > 0, "every probability must be positive")
        elif array.shape[-1] == mask.shape[-1] and (array.ndim == 1 or array.shape[-2] in (1, mask.shape[-2])):
            rule = "the probability of every output that there is must be positive, and 0 where there is none"
            validate.require(name, array + 0 * mask, np.where(mask, array > 0, array == 0), rule)
    return array[None] if array.ndim == axes - 1 else array


def _require_equal_outputs(given: dict[str, Any]) -> None:
    widths = {name: array.shape[-2 if name == "features" else -1] for name, array in given.items()}
    for name, width in widths.items():
        if "features" in widths and width != widths["features"]:
            raise ValueError(f"features has {widths['features']} outputs but {name} has {width}")
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} has {width}" for name, width in widths.items())
        raise ValueError(f"the number of outputs differs: {listed}")


def _common_prompts(given: dict[str, Any]) -> int:
    prompts = {name: array.shape[array.ndim - _CORE_AXES[name]] for name, array in given.items()}
    most = max(prompts.values())
    for name, count in prompts.items():
        if count not in (1, most):
            listed = " and ".join(f"{other} {array.shape}" for other, array in given.items())
            if name == "features":
                raise ValueError(f"features has {count} prompts but the rewards have {most}")
            raise ValueError(f"shapes do not fit together: {listed}")
    if (
        "features" in prompts
        and prompts["features"] == most
        and max(count for name, count in prompts.items() if name != "features") not in (1, most)
    ):
        raise ValueError(f"features has {most} prompts but the rewards have another number")
    return most


def _decision_points(given: dict[str, Any], transitions: Transitions) -> int:
    shape = (transitions.num_points, transitions.num_actions)
    for name, array in given.items():
        axes = _CORE_AXES[name]
        found = array.shape[array.ndim - axes :][:2]
        if found[1] != shape[1] or found[0] not in (1, shape[0]):
            raise ValueError(f"{name} has shape {array.shape} but transitions is for P = {shape[0]} and K = {shape[1]}")
    return transitions.num_points


def _starts(weights: Any, transitions: Transitions, were_given: bool) -> Any:
    """Weights of starts: those given, or equal ones of the decision points that nothing leads to."""
    if not were_given:
        weights = np.zeros(transitions.num_points)
        weights[transitions.roots] = 1 / len(transitions.roots)
    elif not validate.is_traced(weights) and len(lost := transitions.unreachable(np.asarray(weights))):
        raise ValueError(
            f"decision point {lost[0]} is never reached: no transition from a reached one leads to it, and its "
            "prompt_weights entry is 0"
        )
    return weights


def _require_one_size(found: dict[str, Any]) -> None:
    """Raises unless all leading axes of a batch are equally long."""
    axes = {**_CORE_AXES, "temperature": 0, "prompt_weights": 1, "initial_params": 1}
    sizes = {name: array.shape[0] for name, array in found.items() if array.ndim > axes[name]}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name} has {size}" for name, size in sizes.items())
        raise ValueError(f"the number of problems differs: {listed}")


def _require_sums(policy: Any) -> None:
    if validate.is_traced(policy):
        return
    with np.errstate(over="ignore"):
        total = policy.sum(-1)
    if (wrong := np.abs(total - 1) > _SUM_TOLERANCE).any():
        row = tuple(np.argwhere(wrong)[0])
        where = validate.place("initial_policy", row)
        raise ValueError(f"{where} sums to {total[row]:.9g}; each prompt's probabilities must sum to 1")


def _temperature(value: Any, batched: bool) -> Any:
    temperature = validate.as_floats("temperature", value)
    if temperature.ndim > int(batched):
        many = " or one a problem [N]" if batched else ""
        raise ValueError(f"temperature has shape {temperature.shape}; it must be one number{many}")
    validate.require_finite("temperature", temperature)
    if not validate.is_traced(temperature):
        validate.require("temperature", temperature, temperature > 0, "the temperature must be positive")
        squares = (temperature >= _COLDEST) & (temperature <= 1 / _COLDEST)
        validate.require("temperature", temperature, squares, f"it must be from {_COLDEST:g} to {1 / _COLDEST:g}")
    return temperature


def _prompt_weights(value: Any, prompts: int, batched: bool) -> Any:
    if value is None:
        return np.full(prompts, 1 / prompts)
    weights = validate.as_floats("prompt_weights", value)
    if weights.ndim not in ((1, 2) if batched else (1,)) or weights.shape[-1] != prompts:
        raise ValueError(f"prompt_weights has shape {weights.shape} but there are {prompts} prompts")
    validate.require_finite("prompt_weights", weights)
    if validate.is_traced(weights):
        return weights / weights.sum(-1, keepdims=True)
    validate.require("prompt_weights", weights, weights >= 0, "no weight may be negative")
    largest = weights.max(-1, keepdims=True)
    if (largest <= 0).any():
        raise ValueError("prompt_weights are all zero; at least one must be positive")
    weights = np.ldexp(weights, -np.frexp(largest)[1])  # by a power of two, exact: their sum could overflow
    return weights / weights.sum(-1, keepdims=True)


def _initial_params(value: Any, width: int, batched: bool) -> Any:
    params = validate.as_floats("initial_params", value)
    if params.ndim not in ((1, 2) if batched else (1,)) or params.shape[-1] != width:
        wanted = f"({width},)" + (f" or (N, {width})" if batched else "")
        raise ValueError(f"initial_params has shape {params.shape}; the features ask for {wanted}")
    validate.require_finite("initial_params", params)
    return params


def _start(policy: Any, features: Any, temperature: Any, mask: np.ndarray | None) -> Any:
    traced = any(map(validate.is_traced, (features, policy, temperature)))
    xp = jnp if traced else np
    if mask is not None:
        if features is not None:
            raise ValueError("initial_policy is fitted to features only where every output exists; give initial_params")
        policy = xp.where(mask, policy, 1.0)
    scale = temperature[..., None, None]
    if features is None:
        return scale * xp.log(policy)
    # Least squares over all prompts at once, of least norm where the features leave freedom. One factorisation serves
    # a batch that shares its features; the cut-off is that of numpy.linalg.lstsq.
    goal = scale * xp.log(xp.maximum(policy, _LOG_FLOOR))
    rows = goal.shape[-2] * goal.shape[-1]
    goal = goal.reshape(*goal.shape[:-2], rows)
    matrix = features.reshape(*features.shape[:-3], rows, features.shape[-1])
    inverse = xp.linalg.pinv(matrix, rtol=float(np.finfo(np.float64).eps) * max(matrix.shape[-2:]))
    return xp.matmul(inverse, goal[..., None])[..., 0]


def require_finite_logits(features: Any, params: Any, temperature: Any) -> None:
    """Raises ValueError unless a start [..., P, K] (with features [..., D]) gives finite logits."""
    # A start at nan would cost a solver its whole step budget before it gave up.
    if any(map(validate.is_traced, (features, params, temperature))):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        logits = params if features is None else np.einsum("...pkd,...d->...pk", features, params)
        logits = logits / temperature[..., None, None]
        spread = logits - logits.max(-1, keepdims=True)
    rule = "features @ initial_params / temperature must be finite, and so must its differences within a prompt"
    validate.require("initial logits", logits, np.isfinite(logits) & np.isfinite(spread), rule)


def _tile(array: Any, shape: tuple[int, ...]) -> Any:
    if array.shape == shape:
        return array
    return jnp.broadcast_to(array, shape) if validate.is_traced(array) else np.broadcast_to(np.asarray(array), shape)
