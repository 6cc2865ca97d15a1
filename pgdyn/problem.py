r"""The problem: a softmax policy and its start, two rewards, and where outputs lead.

For decision point p with outputs y = 1..K, parameters theta and temperature T,

    pi_p(y) = softmax_y(z_p),    z_p(y) = <phi_p(y), theta> / T,

with theta shared by all decision points. A tabular policy has one free parameter per point and output (phi = identity);
the logits of a network are any differentiable function of theta. The *true* reward is what one cares about, the *proxy*
what the policy is trained on (arXiv 2604.25872, section 2).

Without transitions every output ends the episode, and decision points are prompts. With them an output may lead to
another decision point: a sequence of tokens, or the states of a Markov decision process (`pgdyn.mdp`).

The checks of what a user gives are in `pgdyn.construct`; many problems of one shape are a `pgdyn.batch.Batch`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from pgdyn import construct, validate
from pgdyn.network import Network
from pgdyn.transitions import Transitions
from pgdyn.validate import Numbers

if TYPE_CHECKING:
    from pgdyn.batch import Batch

ARRAYS = ("features", "true_reward", "proxy_reward", "initial_params", "temperature", "prompt_weights")
STRUCTURE = ("transitions", "network")  # what compiled code has as constants
FIELDS = (*ARRAYS, *STRUCTURE)


class Problem(eqx.Module):
    """A softmax policy and the two rewards of its outputs. Make one with `tabular`, `linear` or `pgdyn.load_problem`.

    Attributes:
        features: [P, K, D], or None for a tabular policy or a network.
        true_reward: [P, K], the ground truth.
        proxy_reward: [P, K], the reward trained on.
        initial_params: theta at the start; [P, K] when tabular, [D] with features and for a network.
        temperature: scalar; logits are `features @ params / temperature`.
        prompt_weights: [P], nonnegative, summing to 1; values are weighted means over prompts. With transitions, how
            often episodes begin at each decision point.
        transitions: a `pgdyn.transitions.Transitions`; None where every output ends the episode.
        network: a `pgdyn.network.Network`, whose logits take the place of `features @ params`; None for the others.

    Example:
        >>> problem = Problem.tabular([0.05, 0.5, 0.15, 0.15, 0.15], [1, 0.8, -1, -1, -1])
        >>> problem.num_prompts, problem.num_outputs, problem.is_tabular
        (1, 5, True)
    """

    features: Float[Array, "..."] | None
    true_reward: Float[Array, "..."]
    proxy_reward: Float[Array, "..."]
    initial_params: Float[Array, "..."]
    temperature: Float[Array, "..."]
    prompt_weights: Float[Array, "..."]
    transitions: Transitions | None = eqx.field(static=True, default=None)
    network: Network | None = eqx.field(static=True, default=None)

    @classmethod
    def tabular(
        cls,
        initial_policy: Numbers | None,
        true_reward: Numbers,
        proxy_reward: Numbers | None = None,
        *,
        temperature: Numbers = 1.0,
        prompt_weights: Numbers | None = None,
        transitions: Transitions | Numbers | None = None,
        mask: Numbers | None = None,
    ) -> Problem:
        """A policy with one free logit per prompt and output, started at `temperature * log(initial_policy)`.

        Args:
            initial_policy: [K] or [P, K], positive, each row summing to 1 within 1e-6; None for the uniform policy.
            true_reward: [K] or [P, K].
            proxy_reward: like `true_reward`; None means the ground truth itself.
            temperature: a positive number.
            prompt_weights: [P], nonnegative, scaled to sum to 1; None for equal weights, with transitions of the
                decision points that none leads to.
            transitions: [P, K], the decision point that each output leads to, a later one, or -1 for the end; or
                [P, K, P], the probability of each next one, the rest being that of the end. None: every output ends
                the episode.
            mask: [P, K] or [K] of booleans, whether there is such an output; None for all. Policies are 0 where there
                is none.

        Raises:
            ValueError: naming field, index and value of the first entry that breaks a rule.

        Example:
            >>> Problem.tabular([0.2, 0.8], [1, 0], temperature=2.0).initial_params.round(3).tolist()
            [[-3.219, -0.446]]
        """
        arrays = construct.arrays(
            {"true_reward": true_reward, "proxy_reward": proxy_reward, "initial_policy": initial_policy},
            temperature=temperature,
            prompt_weights=prompt_weights,
            transitions=(made := construct.structure(transitions, mask, true_reward)),
            batched=False,
        )
        return construct.on_device(cls, arrays, transitions=made)

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
        transitions: Transitions | Numbers | None = None,
        mask: Numbers | None = None,
    ) -> Problem:
        """A policy with logits `features @ params / temperature`, the parameters shared by all prompts.

        Args:
            features: [K, D] (the same for every prompt) or [P, K, D].
            true_reward: [K] or [P, K].
            proxy_reward: like `true_reward`; None means the ground truth itself.
            initial_params: [D]. With neither start given, the parameters start at zero.
            initial_policy: [K] or [P, K]; the parameters are the least-squares solution (of least norm) of
                `features @ params = temperature * log(max(initial_policy, 1e-8))`, as in the paper's program. The
                policy is met exactly only where the features can express it.
            temperature: a positive number.
            prompt_weights: [P], nonnegative, scaled to sum to 1; None for equal weights, with transitions of the
                decision points that none leads to.
            transitions: [P, K], the decision point that each output leads to, a later one, or -1 for the end; or
                [P, K, P], the probability of each next one, the rest being that of the end. None: every output ends
                the episode.
            mask: [P, K] or [K] of booleans, whether there is such an output; None for all. Policies are 0 where there
                is none.

        Raises:
            ValueError: naming field, index and value of the first entry that breaks a rule; if both starts are given.

        Example:
            >>> Problem.linear([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [1, 0, 0]).params_shape
            (2,)
        """
        arrays = construct.arrays(
            {
                "true_reward": true_reward,
                "proxy_reward": proxy_reward,
                "initial_policy": initial_policy,
                "features": features,
            },
            initial_params=initial_params,
            temperature=temperature,
            prompt_weights=prompt_weights,
            transitions=(made := construct.structure(transitions, mask, true_reward)),
            batched=False,
        )
        return construct.on_device(cls, arrays, transitions=made)

    @classmethod
    def differentiable(
        cls,
        logits: Callable[[Any], Any],
        initial_params: PyTree,
        true_reward: Numbers,
        proxy_reward: Numbers | None = None,
        *,
        temperature: Numbers = 1.0,
        prompt_weights: Numbers | None = None,
        transitions: Transitions | Numbers | None = None,
        mask: Numbers | None = None,
    ) -> Problem:
        """A policy with logits `logits(params) / temperature`: a neural network, or any other differentiable function.

        A flow needs logits whose derivative is continuous (tanh, gelu): where it jumps, as with relu, the adaptive
        solver may spend its step budget. Ascents take any. An example is `experiments/transformer_kernel.py`.

        Args:
            logits: takes the tree of parameters and gives [P, K].
            initial_params: any tree with arrays of floats, an equinox module for example. The problem's
                `initial_params` are its numbers as one vector [D], and `problem.network.params(vector)` the tree.
            true_reward: [K] or [P, K].
            proxy_reward: like `true_reward`; None means the ground truth itself.
            temperature: a positive number.
            prompt_weights: [P], nonnegative, scaled to sum to 1; None for equal weights, with transitions of the
                decision points that none leads to.
            transitions: [P, K], the decision point that each output leads to, a later one, or -1 for the end; or
                [P, K, P], the probability of each next one, the rest being that of the end. None: every output ends
                the episode.
            mask: [P, K] or [K] of booleans, whether there is such an output; None for all. Policies are 0 where there
                is none.

        Raises:
            ValueError: naming field, index and value of the first entry that breaks a rule; if the logits do not have
                the shape of the rewards, or are not finite at the start.

        Example:
            >>> import jax.numpy as jnp
            >>> Problem.differentiable(lambda p: jnp.tanh(p["w"])[None], {"w": jnp.zeros(3)}, [1, 0, 0]).params_shape
            (3,)
        """
        network, start = Network.of(logits, initial_params)
        made = construct.structure(transitions, mask, true_reward)
        arrays = construct.arrays(
            {"true_reward": true_reward, "proxy_reward": proxy_reward, "initial_policy": None},
            temperature=temperature,
            prompt_weights=prompt_weights,
            transitions=made,
            batched=False,
        )
        arrays["initial_params"] = start
        construct.require_logits(network, start, arrays["true_reward"].shape)
        return construct.on_device(cls, arrays, transitions=made, network=network)

    def with_proxy(self, proxy_reward: Numbers) -> Problem | Batch:
        """The same problem trained on another proxy.

        Args:
            proxy_reward: [K] or [P, K]; [N, P, K] gives a `Batch` of N problems that share everything else.

        Raises:
            ValueError: on entries that are not finite or shapes that do not fit.

        Example:
            >>> problem = Problem.tabular([0.2, 0.8], [1, 0])
            >>> problem.with_proxy([0.0, 1.0]).proxy_reward.tolist()
            [[0.0, 1.0]]
            >>> len(problem.with_proxy([[[0.0, 1.0]], [[0.5, 0.5]]]))
            2
        """
        from pgdyn.batch import Batch

        require_single(self, "with_proxy")
        proxy = construct.proxies(proxy_reward, self.true_reward.shape)
        if proxy.ndim == 3:
            return Batch.sharing(self, proxy_reward=proxy)
        return eqx.tree_at(lambda p: p.proxy_reward, self, construct.to_device(proxy))

    @property
    def is_tabular(self) -> bool:
        """Whether every decision point and output has a free logit of its own."""
        return self.features is None and self.network is None

    @property
    def num_prompts(self) -> int:
        """P, prompts or decision points."""
        return self.true_reward.shape[-2]

    @property
    def num_outputs(self) -> int:
        """K."""
        return self.true_reward.shape[-1]

    @property
    def params_shape(self) -> tuple[int, ...]:
        """Shape of the parameters: (P, K) when tabular, (D,) with features and for a network."""
        if self.network is not None:
            return (self.network.size,)
        if self.features is None:
            return (self.num_prompts, self.num_outputs)
        return (self.features.shape[-1],)


def require_single(problem: Any, caller: str) -> None:
    """Raises ValueError unless `problem` is one problem, naming the way to run many.

    Example:
        >>> require_single(Problem.tabular([0.2, 0.8], [1, 0]), "flow")
    """
    if isinstance(problem, Problem):
        if lead := problem.true_reward.shape[:-2]:
            raise ValueError(
                f"{caller} takes one problem and this one's arrays have leading axes {lead}; wrap it in a Batch"
            )
        shape = problem.true_reward.shape
        wanted = {"proxy_reward": shape, "initial_params": problem.params_shape, "temperature": ()}
        for name, single in {**wanted, "prompt_weights": shape[:1]}.items():
            if (found := getattr(problem, name).shape) != single:
                raise ValueError(f"{caller} takes one problem and its {name} has shape {found}, not {single}")
        return
    if type(problem).__name__ == "Batch":
        many = {"flow": "pgdyn.flow_many", "ascend": "pgdyn.ascend_many", "ascend_sampled": "pgdyn.ascend_sampled_many"}
        way = many.get(caller, "batch.map or a loop over its problems")
        raise ValueError(f"{caller} takes one problem and this is a batch of {len(problem)}; use {way}")
    raise ValueError(f"problem is {validate.shown(problem)}; {caller} takes a pgdyn.Problem")


def problem_of(arrays: Mapping[str, Any]) -> Problem:
    """A `Problem` of any values by field name, None for those left out.

    It goes past the constructor, which takes the arrays of one problem alone.
    """
    made = object.__new__(Problem)
    for name in (*ARRAYS, *STRUCTURE):
        object.__setattr__(made, name, arrays.get(name))
    return made


def present(problems: Problem) -> dict[str, Any]:
    """The fields that are not None."""
    return {name: getattr(problems, name) for name in ARRAYS if getattr(problems, name) is not None}


def structure(problems: Problem) -> dict[str, Any]:
    """What all problems have in common and compiled code as a constant."""
    return {name: getattr(problems, name) for name in STRUCTURE}


def require_alike(one: Problem, other: Problem, names: tuple[str, str]) -> None:
    """Raises ValueError unless two problems are of one kind and shape, with the same transitions or network."""
    first, second = _describe(one), _describe(other)
    if first != second:
        raise ValueError(f"{names[0]} is {first} but {names[1]} is {second}")
    if structure(one) != structure(other):
        raise ValueError(f"{names[0]} and {names[1]} differ in their transitions or their network")


def _describe(problem: Problem) -> str:
    kind = "tabular" if problem.is_tabular else f"linear with D = {problem.params_shape[0]}"
    kind = kind if problem.network is None else repr(problem.network)
    transitions = "" if problem.transitions is None else f", {problem.transitions!r}"
    return f"{kind}, P = {problem.num_prompts}, K = {problem.num_outputs}{transitions}"
