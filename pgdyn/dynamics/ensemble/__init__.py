"""The ensemble engine: many flows at once. See `many` for the entry point."""

from pgdyn.dynamics.ensemble.many import flow_many
from pgdyn.dynamics.ensemble.outcome import Outcome

__all__ = ["Outcome", "flow_many"]
