r"""The problem: a softmax policy's features and start, and two rewards.

For prompt p with outputs y = 1..K, parameters theta and temperature T,

    pi_p(y) = softmax_y(z_p),    z_p(y) = <phi_p(y), theta> / T,

with theta shared by all prompts. A tabular policy has one free parameter per prompt and output (phi = identity). The
*true* reward is what one cares about, the *proxy* what the policy is trained on (arXiv 2604.25872, section 2).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pgdyn import validate
from pgdyn.validate import Numbers

_LOG_FLOOR = 1e-8  # probabilities below it are lifted to it when features are fitted to a policy (the paper's program)
_SUM_TOLERANCE = 1e-6


class Problem(eqx.Module):
    """A softmax policy and the two rewards of its outputs. Make one with `tabular`, `linear` or `load_problem`.

    Shapes below are those of one problem. In a batch (from `stack`, `with_proxy` or rewards of three axes) every array
    has a leading axis N, except that features given once for the whole batch are kept once.

    Attributes:
        features: [P, K, D], or None for a tabular policy.
        true_reward: [P, K], the ground truth.
        proxy_reward: [P, K], the reward trained on.
        initial_params: theta at the start; [P, K] when tabular, [D] with features.
        temperature: scalar; logits are `features @ params / temperature`.
        prompt_weights: [P], nonnegative, summing to 1; values are weighted means over prompts.
    """

    features: Float[Array, "*features_batch P K D"] | None
    true_reward: Float[Array, "*batch P K"]
    proxy_reward: Float[Array, "*batch P K"]
    initial_params: Float[Array, "*batch_and_params"]
    temperature: Float[Array, "*batch"]
    prompt_weights: Float[Array, "*batch P"]

    @classmethod
    def tabular(
        cls,
        initial_policy: Numbers | None,
        true_reward: Numbers,
        proxy_reward: Numbers | None = None,
        *,
        temperature: Numbers = 1.0,
        prompt_weights: Numbers | None = None,
    ) -> Problem:
        """A policy with one free logit per prompt and output, started at `temperature * log(initial_policy)`.

        Args:
            initial_policy: [K] or [P, K] (a batch: [N, P, K]), positive, each row summing to 1 within 1e-6; None for
                the uniform policy.
            true_reward: [K] or [P, K] (a batch: [N, P, K]).
            proxy_reward: like `true_reward`; None means the ground truth itself.
            temperature: positive number (a batch may give [N]).
            prompt_weights: [P], nonnegative, scaled to sum to 1; None for equal weights.

        Raises:
            ValueError: naming field, index and value of the first entry that breaks a rule.
        """
        fields = _rewards(true_reward, proxy_reward)
        if initial_policy is not None:
            fields = _broadcast({**fields, "initial_policy": _policy(initial_policy)})
        shape = fields["true_reward"].shape
        scale = _temperature(temperature, shape)
        if initial_policy is None:
            params = np.zeros(shape)
        else:
            params = _log(fields["initial_policy"]) * _expand(scale, 2)
        return _assemble(None, fields, params, scale, prompt_weights)

    @classmethod
    def linear(
        cls,
        features: Numbers,
        true_reward: Numbers,
        proxy_reward: Numbers | None = None,
        *,
        initial_params: Numbers | None = None,
        initial_policy: Numbers | None = None,
        temperature: Numbers = 1.0,
        prompt_weights: Numbers | None = None,
    ) -> Problem:
        """A policy with logits `features @ params / temperature`, the parameters shared by all prompts.

        Args:
            features: [K, D] (the same for every prompt) or [P, K, D] (a batch: [N, P, K, D]).
            true_reward: [K] or [P, K] (a batch: [N, P, K]).
            proxy_reward: like `true_reward`; None means the ground truth itself.
            initial_params: [D] (a batch: [N, D]). With neither start given, the parameters start at zero.
            initial_policy: [K] or [P, K]; the parameters are the least-squares solution (of least norm) of
                `features @ params = temperature * log(max(initial_policy, 1e-8))`, as in the paper's program. The
                policy is met exactly only where the features can express it.
            temperature: positive number (a batch may give [N]).
            prompt_weights: [P], nonnegative, scaled to sum to 1; None for equal weights.

        Raises:
            ValueError: naming field, index and value of the first entry that breaks a rule; if both starts are given.
        """
        if initial_params is not None and initial_policy is not None:
            raise ValueError("give initial_params or initial_policy, not both: each of them sets the start")
        fields = _rewards(true_reward, proxy_reward)
        phi = _features(features)
        if initial_policy is not None:
            fields["initial_policy"] = _policy(initial_policy)
        *batch, own_prompts, outputs, width = phi.shape
        for name, array in fields.items():
            if array.shape[-1] != outputs:
                raise ValueError(f"features has {outputs} outputs but {name} has {array.shape[-1]}")
        prompts = max(own_prompts, *(array.shape[-2] for array in fields.values()))
        if own_prompts not in (1, prompts):
            raise ValueError(f"features has {own_prompts} prompts but the rewards have {prompts}")
        fields = _broadcast({**fields, "features": np.zeros((*batch, prompts, 1))})
        phi = _tile(phi, (*batch, prompts, outputs, width))
        shape = fields["true_reward"].shape
        scale = _temperature(temperature, shape)
        if initial_policy is not None:
            params = _fit(phi, fields["initial_policy"], scale)
        elif initial_params is not None:
            params = _initial_params(initial_params, (*shape[:-2], width))
        else:
            params = np.zeros((*shape[:-2], width))
        return _assemble(phi, fields, params, scale, prompt_weights)

    def with_proxy(self, proxy_reward: Numbers) -> Problem:
        """The same problem trained on another proxy.

        Args:
            proxy_reward: [K] or [P, K]; [N, P, K] makes a batch of N problems that differ in their proxy alone.

        Raises:
            ValueError: on entries that are not finite or shapes that do not fit.
        """
        proxy = validate.as_floats("proxy_reward", proxy_reward)
        proxy = _at_least_prompts("proxy_reward", proxy)
        validate.require_finite("proxy_reward", proxy)
        shape = self.true_reward.shape
        batch = max(shape[:-2], proxy.shape[:-2], key=len)
        if proxy.shape[-1] != shape[-1] or proxy.shape[-2] not in (1, shape[-2]):
            raise ValueError(f"proxy_reward has shape {proxy.shape} but the problem's rewards have {shape}")
        if self.batch_size is not None and proxy.ndim == 3 and proxy.shape[0] != self.batch_size:
            raise ValueError(f"proxy_reward has {proxy.shape[0]} problems but the batch has {self.batch_size}")
        size = (*batch, *shape[-2:])
        return Problem(
            self.features,
            jnp.broadcast_to(self.true_reward, size),
            _device(_tile(proxy, size)),
            jnp.broadcast_to(self.initial_params, (*batch, *self.params_shape)),
            jnp.broadcast_to(self.temperature, batch),
            jnp.broadcast_to(self.prompt_weights, (*batch, shape[-2])),
        )

    @property
    def is_tabular(self) -> bool:
        """Whether every prompt and output has a free logit of its own."""
        return self.features is None

    @property
    def batch_size(self) -> int | None:
        """N for a batch of problems, None for one problem."""
        return self.true_reward.shape[0] if self.true_reward.ndim == 3 else None

    @property
    def num_prompts(self) -> int:
        """P."""
        return self.true_reward.shape[-2]

    @property
    def num_outputs(self) -> int:
        """K."""
        return self.true_reward.shape[-1]

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Shape of one problem's parameters: (P, K) when tabular, (D,) with features."""
        if self.features is None:
            return (self.num_prompts, self.num_outputs)
        return (self.features.shape[-1],)

    @property
    def batch_axes(self) -> Problem:
        """`in_axes` for `jax.vmap` over this batch: 0 for every array with the leading axis, None for shared ones."""
        axes = jax.tree.map(lambda _: 0, self)
        if self.features is not None and self.features.ndim == 3:
            axes = eqx.tree_at(lambda p: p.features, axes, None)
        return axes

    def __getitem__(self, index: Any) -> Problem:
        """Problem `index` of a batch, or the batch of a slice or an index array."""
        if self.batch_size is None:
            raise TypeError("this is one problem, not a batch; only a batch can be indexed")
        if isinstance(index, int | np.integer) and not -self.batch_size <= index < self.batch_size:
            raise IndexError(f"problem {index} of a batch of {self.batch_size}")  # JAX would clamp it in silence
        features = self.features
        if features is None:
            return jax.tree.map(lambda leaf: leaf[index], self)
        picked = jax.tree.map(lambda leaf: leaf[index], eqx.tree_at(lambda p: p.features, self, None))
        if features.ndim == 4:
            features = features[index]
        return eqx.tree_at(lambda p: p.features, picked, features, is_leaf=_none)

    def __len__(self) -> int:
        if self.batch_size is None:
            raise TypeError("this is one problem, not a batch; it has no length")
        return self.batch_size

    def __iter__(self):
        return (self[i] for i in range(len(self)))


def stack(problems: list[Problem] | tuple[Problem, ...]) -> Problem:
    """A batch of problems: every array gains a leading axis N.

    Args:
        problems: one or more problems of the same kind (all tabular or all linear) and the same P, K and D.

    Raises:
        ValueError: if there are none, or one differs in kind or shape from the first.
    """
    problems = list(problems)
    if not problems:
        raise ValueError("stack needs at least one problem")

    def describe(problem: Problem) -> str:
        kind = "tabular" if problem.is_tabular else f"linear with D = {problem.params_shape[0]}"
        return f"{kind}, P = {problem.num_prompts}, K = {problem.num_outputs}"

    for i, problem in enumerate(problems):
        if not isinstance(problem, Problem):
            raise ValueError(f"problems[{i}] is {problem!r:.80}, not a Problem")
        if problem.batch_size is not None:
            raise ValueError(f"problems[{i}] is already a batch; stack takes single problems")
        if describe(problem) != describe(problems[0]):
            raise ValueError(f"problems[{i}] is {describe(problem)} but problems[0] is {describe(problems[0])}")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *problems)


def require_single(problem: Any, caller: str) -> None:
    """Raises ValueError unless `problem` is one problem, naming the way to run a batch."""
    if not isinstance(problem, Problem):
        raise ValueError(f"problem is {problem!r:.80}; {caller} takes a pgdyn.Problem")
    if problem.batch_size is not None:
        ways = "pgdyn.flow_many or " if caller == "flow" else ""
        raise ValueError(
            f"{caller} takes one problem and this is a batch of {problem.batch_size}; "
            f"use {ways}jax.vmap(..., in_axes=(problem.batch_axes,))"
        )


def _none(leaf: Any) -> bool:
    return leaf is None


def _expand(array: Any, axes: int) -> Any:
    return array.reshape(array.shape + (1,) * axes)


def _tile(array: Any, shape: tuple[int, ...]) -> Any:
    return jnp.broadcast_to(array, shape) if validate.is_traced(array) else np.broadcast_to(np.asarray(array), shape)


def _device(array: Any) -> Array:
    return jnp.asarray(array, validate.float_dtype())


def _log(array: Any) -> Any:
    return jnp.log(array) if validate.is_traced(array) else np.log(array)


def _at_least_prompts(name: str, array: Any) -> Any:
    if array.ndim not in (1, 2, 3):
        raise ValueError(f"{name} has shape {array.shape}; it must be [K] or [P, K], or [N, P, K] for a batch")
    return array[None] if array.ndim == 1 else array


def _rewards(true_reward: Any, proxy_reward: Any) -> dict[str, Any]:
    fields = {"true_reward": true_reward}
    if proxy_reward is not None:
        fields["proxy_reward"] = proxy_reward
    for name, value in fields.items():
        fields[name] = _at_least_prompts(name, validate.as_floats(name, value))
        validate.require_finite(name, fields[name])
    fields.setdefault("proxy_reward", fields["true_reward"])
    return _broadcast(fields)


def _policy(value: Any) -> Any:
    name = "initial_policy"
    policy = _at_least_prompts(name, validate.as_floats(name, value))
    validate.require_finite(name, policy)
    if not validate.is_traced(policy):
        validate.require(name, policy, policy > 0, "every probability must be positive")
        total = policy.sum(-1)
        if (wrong := np.abs(total - 1) > _SUM_TOLERANCE).any():
            row = tuple(np.argwhere(wrong)[0])
            raise ValueError(
                f"{validate.place(name, row)} sums to {total[row]:.9g}; each prompt's probabilities must sum to 1"
            )
    return policy


def _features(value: Any) -> Any:
    features = validate.as_floats("features", value)
    if features.ndim not in (2, 3, 4):
        raise ValueError(
            f"features has shape {features.shape}; it must be [K, D] or [P, K, D], or [N, P, K, D] for a batch"
        )
    features = features[None] if features.ndim == 2 else features
    validate.require_finite("features", features)
    return features


def _broadcast(fields: dict[str, Any]) -> dict[str, Any]:
    """Every field at the common shape [P, K] or [N, P, K]; a single row serves all prompts, one problem the batch."""
    try:
        shape = np.broadcast_shapes(*(array.shape for array in fields.values()))
    except ValueError:
        listed = " and ".join(f"{name} {array.shape}" for name, array in fields.items())
        raise ValueError(f"shapes do not fit together: {listed}") from None
    widths = {name: array.shape[-1] for name, array in fields.items() if name != "features"}
    if len(set(widths.values())) > 1:
        listed = ", ".join(f"{name} has {width}" for name, width in widths.items())
        raise ValueError(f"the number of outputs differs: {listed}")
    return {name: _tile(array, shape) for name, array in fields.items()}


def _temperature(value: Any, shape: tuple[int, ...]) -> Any:
    temperature = validate.as_floats("temperature", value)
    batch = shape[:-2]
    if temperature.shape not in ((), batch):
        raise ValueError(f"temperature has shape {temperature.shape}; it must be one number or one a problem {batch}")
    validate.require_finite("temperature", temperature)
    if not validate.is_traced(temperature):
        validate.require("temperature", temperature, temperature > 0, "the temperature must be positive")
    return _tile(temperature, batch)


def _prompt_weights(value: Any, shape: tuple[int, ...]) -> Any:
    prompts = shape[-2]
    if value is None:
        return np.full((*shape[:-2], prompts), 1 / prompts)
    weights = validate.as_floats("prompt_weights", value)
    if weights.shape not in ((prompts,), (*shape[:-2], prompts)):
        raise ValueError(f"prompt_weights has shape {weights.shape} but there are {prompts} prompts")
    validate.require_finite("prompt_weights", weights)
    total = weights.sum(-1, keepdims=True)
    if not validate.is_traced(weights):
        validate.require("prompt_weights", weights, weights >= 0, "no weight may be negative")
        if (total <= 0).any():
            raise ValueError("prompt_weights are all zero; at least one must be positive")
    return _tile(weights / total, (*shape[:-2], prompts))


def _initial_params(value: Any, shape: tuple[int, ...]) -> Any:
    params = validate.as_floats("initial_params", value)
    if params.shape not in (shape, shape[-1:]):
        wanted = " or ".join(str(s) for s in dict.fromkeys((shape[-1:], shape)))
        raise ValueError(f"initial_params has shape {params.shape}; the features ask for {wanted}")
    validate.require_finite("initial_params", params)
    return _tile(params, shape)


def _fit(features: Any, policy: Any, temperature: Any) -> Any:
    """Least squares over all prompts at once, of least norm where the features leave freedom."""
    shape = policy.shape
    xp = jnp if any(map(validate.is_traced, (features, policy, temperature))) else np
    goal = _expand(temperature, 2) * xp.log(xp.maximum(policy, _LOG_FLOOR))
    rows = shape[-2] * shape[-1]
    goal = goal.reshape(*shape[:-2], rows)
    matrix = features.reshape(*features.shape[:-3], rows, features.shape[-1])
    # One factorisation serves a batch that shares its features; the cut-off is that of numpy.linalg.lstsq.
    inverse = xp.linalg.pinv(matrix, rtol=float(np.finfo(np.float64).eps) * max(matrix.shape[-2:]))
    return xp.matmul(inverse, goal[..., None])[..., 0]


def _require_finite_logits(features: Any, params: Any, temperature: Any) -> None:
    # A start at nan would cost a solver its whole step budget before it gave up.
    if any(map(validate.is_traced, (features, params, temperature))):
        return
    with np.errstate(over="ignore", invalid="ignore"):
        logits = params if features is None else np.einsum("...pkd,...d->...pk", features, params)
        logits = logits / _expand(temperature, 2)
    rule = "features @ initial_params / temperature must be finite"
    validate.require("initial logits", logits, np.isfinite(logits), rule)


def _assemble(features: Any, fields: dict[str, Any], params: Any, temperature: Any, weights: Any) -> Problem:
    shape = fields["true_reward"].shape
    _require_finite_logits(features, params, temperature)
    return Problem(
        None if features is None else _device(features),
        _device(fields["true_reward"]),
        _device(fields["proxy_reward"]),
        _device(params),
        _device(temperature),
        _device(_prompt_weights(weights, shape)),
    )
