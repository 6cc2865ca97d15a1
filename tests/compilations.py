"""Counts XLA compilations, so that a test can say that a second call compiled nothing."""

import jax

_EVENT = "/jax/core/compile/backend_compile_duration"
_seen = [0]


def _listen(event: str, duration: float, **details) -> None:
    _seen[0] += event == _EVENT


jax.monitoring.register_event_duration_secs_listener(_listen)


class Compilations:
    """`with Compilations() as made: ...` leaves in `made.count` how many programs were compiled meanwhile."""

    def __enter__(self):
        self._before = _seen[0]
        self.count = 0
        return self

    def __exit__(self, *exception):
        self.count = _seen[0] - self._before
