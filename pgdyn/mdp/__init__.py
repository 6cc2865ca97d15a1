"""Sequences of decisions as problems: constructors, whole outputs, rewards, and a reward learned by two levels.

A sequence is a `pgdyn.Problem` whose rows are decision points (a prefix of tokens, a state at a time) and whose
`transitions` say where each output leads. Everything that takes a problem takes it.
"""

from pgdyn.mdp.chains import chain, two_stage
from pgdyn.mdp.grids import gridworld
from pgdyn.mdp.episodes import Leaves, leaves
from pgdyn.mdp.draws import random_mdp
from pgdyn.mdp.trees import prefixes, tree

__all__ = ["Leaves", "chain", "gridworld", "leaves", "prefixes", "random_mdp", "tree", "two_stage"]
