"""Sequences of decisions as problems: constructors, whole outputs, rewards, and a reward learned by two levels.

A sequence is a `pgdyn.Problem` whose rows are decision points (a prefix of tokens, a state at a time) and whose
`transitions` say where each output leads. Everything that takes a problem takes it.
"""

from pgdyn.mdp import bilevel, rewards
from pgdyn.mdp.chains import chain, two_stage
from pgdyn.mdp.draws import random_mdp
from pgdyn.mdp.episodes import Leaves, leaves
from pgdyn.mdp.grids import gridworld
from pgdyn.mdp.likelihood import AnswerLikelihood
from pgdyn.mdp.trees import prefixes, tree
from pgdyn.paths import Paths, paths

__all__ = [
    "AnswerLikelihood",
    "Leaves",
    "Paths",
    "bilevel",
    "chain",
    "gridworld",
    "leaves",
    "paths",
    "prefixes",
    "random_mdp",
    "rewards",
    "tree",
    "two_stage",
]
