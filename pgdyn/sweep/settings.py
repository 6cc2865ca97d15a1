"""How the points of a sweep are run: the settings of the flow, of exact and of sampled ascent.

Their fields are the keys of a spec file's [dynamics] entry, next to `kind`, which is "flow", "ascend" or
"ascend_sampled".
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from pgdyn import estimators, validate
from pgdyn.dynamics.flow import GEOMETRIES
from pgdyn.estimators import Estimator
from pgdyn.sweep.axis import refuse_unknown, suggestion

_MOST_STEPS = 10**12
_OPTIMIZERS = ("sgd", "adam")


@dataclasses.dataclass(frozen=True)
class Flow:
    """Gradient flow from t = 0 to t1, by `pgdyn.flow_many`; see there.

    Raises:
        ValueError: naming the field that is wrong.
    """

    t1: float
    target: float | None = None
    rtol: float = 1e-6
    atol: float = 1e-9
    geometry: str = "euclidean"
    stop_at_target: bool = False
    max_steps: int = 65536
    kind: ClassVar[str] = "flow"

    def __post_init__(self):
        _numbers(self, positive=("t1", "rtol", "atol"), finite=("target",))
        validate.choice("geometry", self.geometry, GEOMETRIES)
        _truth(self, "stop_at_target")
        object.__setattr__(self, "max_steps", validate.count("max_steps", self.max_steps, minimum=1))


@dataclasses.dataclass(frozen=True)
class Ascend:
    """`steps` exact-gradient updates by `pgdyn.ascend`, with "sgd" or "adam" at a learning rate.

    Raises:
        ValueError: naming the field that is wrong.
    """

    steps: int
    learning_rate: float = 0.1
    optimizer: str = "sgd"
    target: float | None = None
    kind: ClassVar[str] = "ascend"

    def __post_init__(self):
        _updates(self)


@dataclasses.dataclass(frozen=True)
class AscendSampled:
    """`steps` updates along a sampled gradient by `pgdyn.ascend_sampled`, from the key `jax.random.key(seed)`.

    Attributes:
        estimator: the name of an estimator of `pgdyn.estimators` in lower case, for instance "reinforce".
        options: its arguments, for instance {"group_size": 4, "baseline": "value"}.
        seed: of the random numbers, where no axis sets it.

    Raises:
        ValueError: naming the field that is wrong.
    """

    steps: int
    learning_rate: float = 0.1
    optimizer: str = "sgd"
    target: float | None = None
    estimator: str = "reinforce"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seed: int = 0
    kind: ClassVar[str] = "ascend_sampled"

    def __post_init__(self):
        _updates(self)
        object.__setattr__(self, "seed", validate.count("seed", self.seed, minimum=0))
        if self.seed >= 2**63:
            raise ValueError(f"seed is {self.seed}; seeds end at 2^63 - 1")
        if not isinstance(self.options, Mapping):
            raise ValueError(f"options is {self.options!r:.80}; it must be a table of the estimator's arguments")
        object.__setattr__(self, "options", dict(self.options))
        self.make_estimator()

    def make_estimator(self) -> Estimator:
        """The estimator named.

        Raises:
            ValueError: if there is none of that name, or it refuses its options.
        """
        known = _estimators()
        if not isinstance(self.estimator, str) or self.estimator not in known:
            raise ValueError(
                f"estimator is {self.estimator!r:.80}; " + suggestion(str(self.estimator), list(known), "it is one of")
            )
        make = known[self.estimator]
        refuse_unknown(self.options, list(inspect.signature(make).parameters))
        try:
            return make(**self.options)
        except TypeError as error:
            raise ValueError(f"options do not suit the estimator {self.estimator!r}: {error}") from None


Dynamics = Flow | Ascend | AscendSampled
KINDS: dict[str, type[Flow] | type[Ascend] | type[AscendSampled]] = {
    made.kind: made for made in (Flow, Ascend, AscendSampled)
}
_NEEDS = {
    "flow": ("t1", "the end time"),
    "ascend": ("steps", "the updates"),
    "ascend_sampled": ("steps", "the updates"),
}


def from_table(table: Mapping[str, Any]) -> Dynamics:
    """The settings of a spec file's [dynamics] entry.

    Raises:
        ValueError: naming the key that is missing, unknown or wrong.
    """
    if "kind" not in table:
        raise ValueError(f"the key kind is missing; it is one of {', '.join(KINDS)}")
    kind = table["kind"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"kind is {kind!r:.80}; " + suggestion(str(kind), list(KINDS), "it is one of"))
    known = [field.name for field in dataclasses.fields(KINDS[kind])]
    rest = {key: value for key, value in table.items() if key != "kind"}
    for key in rest:
        owners = [other for other, made in KINDS.items() if key in [field.name for field in dataclasses.fields(made)]]
        if key not in known and owners:
            raise ValueError(f"the key {key} goes with kind {' or '.join(map(repr, owners))}, not with {kind!r}")
    refuse_unknown(rest, known)
    needed, meaning = _NEEDS[kind]
    if needed not in rest:
        raise ValueError(f"the key {needed} ({meaning}) is missing; kind {kind!r} needs it")
    return KINDS[kind](**rest)


def to_table(dynamics: Dynamics) -> dict[str, Any]:
    """A table that `from_table` reads back."""
    return {"kind": dynamics.kind} | {
        key: value for key, value in dataclasses.asdict(dynamics).items() if value is not None
    }


def _estimators() -> dict[str, type[Estimator]]:
    found = [value for value in vars(estimators).values() if inspect.isclass(value) and issubclass(value, Estimator)]
    return {made.__name__.lower(): made for made in found if not inspect.isabstract(made)}


def _updates(settings: Ascend | AscendSampled) -> None:
    object.__setattr__(settings, "steps", validate.count("steps", settings.steps, minimum=1))
    if settings.steps > _MOST_STEPS:
        raise ValueError(f"steps is {settings.steps:.3g}; more than {_MOST_STEPS:.0e} updates are out of reach")
    _numbers(settings, positive=("learning_rate",), finite=("target",))
    validate.choice("optimizer", settings.optimizer, _OPTIMIZERS)


def _numbers(settings: Dynamics, *, positive: tuple[str, ...], finite: tuple[str, ...]) -> None:
    for name in (*positive, *finite):
        value = getattr(settings, name)
        if value is not None:
            object.__setattr__(settings, name, float(validate.scalar(name, value, positive=name in positive)))


def _truth(settings: Dynamics, name: str) -> None:
    if not isinstance(getattr(settings, name), bool):
        raise ValueError(f"{name} is {getattr(settings, name)!r:.80}; it must be true or false")
