"""Altered lines of estimators, on sequences above all."""

from . import Mutant

_EPISODES = ("tests/estimators/test_episodes.py",)
_SIGNAL = "pgdyn/estimators/signal.py"
_SAMPLE = "pgdyn/estimators/episode_sample.py"
_EVERY = "pgdyn/estimators/all_episodes.py"

MUTANTS = [
    Mutant(
        _SIGNAL,
        "return worth - _ahead(problem, reduction.add(1, probabilities, worth)[:, 0])",
        "return worth",
        _EPISODES,
    ),
    Mutant(_SIGNAL, "        if penalty is not None and not by_token:", "        if penalty is not None:", _EPISODES),
    Mutant(
        _SIGNAL,
        "one = (outputs, rewards, tables.log_probs[outputs],",
        "one = (outputs, rewards, tables.log_chances[outputs],",
        _EPISODES,
    ),
    Mutant(_SAMPLE, "paid = paid + 2 * jnp.sum(own * later, axis=-1)", "paid = paid + 0 * jnp.sum(later)", _EPISODES),
    Mutant(_SAMPLE, "reward * (squares - norms)", "reward * squares", _EPISODES),
    Mutant(
        _SAMPLE,
        "jnp.argmax(log_policy, axis=1, keepdims=True)",
        "jnp.argmin(log_policy, axis=1, keepdims=True)",
        _EPISODES,
    ),
    Mutant(
        _EVERY,
        "np.where(repeated, NEVER, found.log_chance[rows])",
        "found.log_chance[rows]",
        _EPISODES,
    ),
    Mutant(
        _EVERY,
        "chance *= _over_lanes(problem.prompt_weights[self.starts], chance.ndim - 1)[:, None]",
        "pass",
        _EPISODES,
    ),
    Mutant(
        "pgdyn/estimators/episodes.py",
        "return jnp.cumsum(paid, axis=2) - paid",
        "return jnp.cumsum(paid, axis=2)",
        _EPISODES,
    ),
    Mutant(
        "pgdyn/estimators/enumeration.py",
        "log_chances, reward = every.log_chances(before), every.returns(reward)",
        "log_chances, reward = every.log_probs(before), every.returns(reward)",
        _EPISODES,
    ),
    Mutant(
        "pgdyn/estimators/diagnostics.py",
        "return policy.visited_mean(problem, logs, policy.entropies(logs))",
        "return policy.mean(problem, policy.entropies(logs))",
        _EPISODES,
    ),
    Mutant(
        "pgdyn/estimators/transforms.py",
        "whole = jnp.where(log_policy > -1e29, reward - delta * jnp.exp(log_policy), -jnp.inf)",
        "whole = reward - delta * jnp.exp(log_policy)",
        _EPISODES,
    ),
]
