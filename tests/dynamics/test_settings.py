"""Settings as values: every field is checked, with one sentence that names it; equal settings compare equal."""

import copy
import dataclasses
import pickle

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pgdyn
from pgdyn import Ascend, AscendSampled, Flow, Objective
from pgdyn.dynamics.fields import describe
from pgdyn.estimators import Reinforce

NAN, INF = float("nan"), float("inf")
KEYS = jax.random.split(jax.random.key(0), 3)
NEEDED = {Flow: {"t1": 1.0}, Ascend: {"steps": 5}, AscendSampled: {"steps": 5}}
LONG = 10**400


def numbers(name, positive):
    """What every field that holds a number refuses."""
    rows = [
        (NAN, f"{name} is nan; every entry of {name} must be finite"),
        (-INF, f"{name} is -inf; every entry of {name} must be finite"),
        ("high", f"{name} is 'high'; every entry of {name} must be a real number"),
        (True, f"{name} is True; every entry of {name} must be a real number"),
        (1j, f"{name} is 1j; every entry of {name} must be a real number"),
        ([1.0, NAN], f"{name}[1] is nan; every entry of {name} must be finite"),
        ([[1.0], [2.0]], f"{name} has shape (2, 1); it must be a single number, or [N] for a batch"),
        ([], f"{name} is empty"),
    ]
    if positive:
        rows += [(0, f"{name} is 0; it must be positive"), (-2.5, f"{name} is -2.5; it must be positive")]
        rows.append(([1.0, -1.0], f"{name}[1] is -1; it must be positive"))
    return [({name: value}, sentence) for value, sentence in rows]


def counts(name, minimum, maximum):
    """What every field that holds a whole number refuses."""
    rows = [
        (minimum - 1, f"{name} is {minimum - 1}; it must be at least {minimum}"),
        (-7, f"{name} is -7; it must be at least {minimum}"),
        (2.5, f"{name} must be a whole number, got 2.5"),
        (10.0, f"{name} must be a whole number, got 10.0"),
        (True, f"{name} must be a whole number, got True"),
        ("5", f"{name} must be a whole number, got '5'"),
        (10**23, f"{name} is {10**23}; it must be at most {maximum}"),
    ]
    return [({name: value}, sentence) for value, sentence in rows]


NO_NUMBER = "t1 is None; every entry of t1 must be a real number"
OPTIMIZER = "optimizer must be an optax gradient transformation, or one of 'sgd', 'adam', got "
KEY = "key must be a jax.random key, for instance jax.random.key(0), or a seed, got "
REFUSED = {
    Flow: [
        *numbers("t1", positive=True),
        ({"t1": None}, NO_NUMBER),
        *numbers("target", positive=False),
        *numbers("rtol", positive=True),
        *numbers("atol", positive=True),
        *counts("saves", 2, "10000000"),
        *counts("max_steps", 1, "2147483647"),
        ({"saves": None}, "saves must be a whole number, got None"),
        ({"geometry": "flat"}, "geometry is 'flat'; it must be one of 'euclidean', 'natural'"),
        ({"geometry": None}, "geometry is None; it must be one of 'euclidean', 'natural'"),
        ({"stop_at_target": True}, "stop_at_target needs a target"),
        ({"stop_at_target": "no", "target": 1}, "stop_at_target is 'no'; it must be true or false"),
        ({"stop_at_target": 0}, "stop_at_target is 0; it must be true or false"),
        ({"objective": "proxy"}, "objective is 'proxy'; flow takes a pgdyn.Objective"),
        ({"solver": "Dopri8"}, "solver is 'Dopri8'; it must be a diffrax.AbstractAdaptiveSolver or \"exact\""),
        ({"solver": diffrax.Euler()}, 'solver is Euler(); it must be a diffrax.AbstractAdaptiveSolver or "exact"'),
        ({"adjoint": 1}, "adjoint is 1; it must be a diffrax.AbstractAdjoint"),
    ],
    Ascend: [
        *counts("steps", 1, "1000000000000"),
        ({"steps": None}, "steps must be a whole number, got None"),
        *counts("save_every", 1, "1000000000000"),
        *numbers("target", positive=False),
        *numbers("learning_rate", positive=True),
        ({"learning_rate": None}, "learning_rate is None; every entry of learning_rate must be a real number"),
        ({"optimizer": 0.1}, OPTIMIZER + "0.1"),
        ({"optimizer": "rmsprop"}, OPTIMIZER + "'rmsprop'"),
        ({"objective": 0.1}, "objective is 0.1; ascend takes a pgdyn.Objective"),
    ],
    AscendSampled: [
        *counts("steps", 1, "1000000000000"),
        *counts("save_every", 1, "1000000000000"),
        *numbers("target", positive=False),
        *numbers("learning_rate", positive=True),
        *counts("prompts", 1, "1000000"),
        ({"reward_to_go": 1}, "reward_to_go is 1; it must be true or false"),
        ({"optimizer": optax}, None),
        ({"objective": {}}, "objective is {}; ascend_sampled takes a pgdyn.Objective"),
        ({"estimator": "reinforce"}, "estimator must be a pgdyn.estimators.Estimator, got 'reinforce'"),
        ({"estimator": Reinforce}, "estimator must be a pgdyn.estimators.Estimator, got "),
        ({"key": None}, KEY + "None"),
        ({"key": 1.5}, KEY + "1.5"),
        ({"key": True}, KEY + "True"),
        ({"key": np.zeros((3, 2), np.uint32)}, KEY + "an array of shape (3, 2)"),
        ({"key": -1}, "key is -1; a seed is a whole number from 0 to 2^63 - 1"),
        ({"key": 2**63}, "key is 9223372036854775808; a seed is a whole number from 0 to 2^63 - 1"),
        ({"key": jnp.zeros(2)}, "key must be one jax.random key, got float64 of shape (2,)"),
        ({"key": jnp.zeros(3, jnp.uint32)}, "key must be one jax.random key, got uint32 of shape (3,)"),
    ],
}
ROWS = [(cls, *row) for cls, rows in REFUSED.items() for row in rows]


@pytest.mark.parametrize(
    ("cls", "options", "sentence"), ROWS, ids=[f"{cls.__name__} {options!r:.50}" for cls, options, _ in ROWS]
)
def test_bad_values_are_refused_in_one_sentence(cls, options, sentence):
    with pytest.raises(ValueError) as refusal:
        cls(**{**NEEDED[cls], **options})
    said = str(refusal.value)
    assert "\n" not in said and len(said) < 200
    assert said == sentence if sentence and not sentence.endswith("got ") else said.startswith(sentence or OPTIMIZER)


@pytest.mark.parametrize("cls", REFUSED)
def test_every_field_refuses_something(cls):
    assert {name for options, _ in REFUSED[cls] for name in options} == {
        field.name for field in dataclasses.fields(cls)
    }


@pytest.mark.parametrize(
    ("cls", "name"), [(Flow, "saves"), (Flow, "max_steps"), (Ascend, "steps"), (AscendSampled, "save_every")]
)
def test_a_number_of_400_digits_is_refused_in_a_short_sentence(cls, name):
    with pytest.raises(ValueError, match=f"^{name} is .*; it must be at most \\d+") as refusal:
        cls(**{**NEEDED[cls], name: LONG})
    assert len(str(refusal.value)) < 200


# ---------------------------------------------------------------- values

VALUES = {
    "flow": lambda: Flow(5),
    "flow, all": lambda: Flow(
        5.0, Objective(kl=0.1), 0.9, 12, 1e-7, 1e-9, "natural", True, 99, diffrax.Tsit5(), diffrax.ForwardMode()
    ),
    "flow [N]": lambda: Flow([1, 2], target=np.array([0.1, 0.2])),
    "ascend": lambda: Ascend(5, "adam", Objective("true"), 0.5, 2, 0.3),
    "sampled": lambda: AscendSampled(5, 3, Reinforce("value", 2)),
    "sampled [R]": lambda: AscendSampled(5, KEYS),
    "objective": lambda: Objective(kl=0.1, kl_direction="forward"),
    "estimator": lambda: Reinforce(0.5, 4),
}


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_settings_are_values(make):
    value = make()
    for other in (make(), copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert other == value
        assert jax.tree.structure(other) == jax.tree.structure(value)
    for field in dataclasses.fields(value):
        with pytest.raises(AttributeError):
            setattr(value, field.name, getattr(value, field.name))


@pytest.mark.parametrize("make", [lambda: Flow(5.0, target=0.1), lambda: Ascend(5, "adam"), Objective])
def test_settings_of_plain_numbers_are_hashable(make):
    assert hash(make()) == hash(make()) and len({make(), make()}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Flow(5.0), Flow(6.0)),
        (Flow(5.0), Flow(5.0, saves=12)),
        (Flow(5.0), Flow(5.0, target=5.0)),
        (Flow([1.0, 2.0]), Flow([1.0, 3.0])),
        (Flow(5.0), Ascend(5)),
        (Ascend(5), Ascend(5, learning_rate=0.2)),
        (AscendSampled(5, 1), AscendSampled(5, 2)),
        (AscendSampled(5, estimator=Reinforce()), AscendSampled(5, estimator=Reinforce(group_size=2))),
        (Objective(kl=0.1), Objective(kl=0.2)),
        (Objective(), Objective(kl=0.2)),
    ],
    ids=repr,
)
def test_other_settings_are_not_equal(one, other):
    assert one != other


def test_numbers_become_pythons():
    for value in (5, np.float32(5), np.int64(5), np.array(5.0), jnp.asarray(5.0)):
        flow = Flow(value, target=value)
        assert type(flow.t1) is type(flow.target) is float and flow == Flow(5.0, target=5.0)
    assert type(Flow(1.0, saves=np.int64(7)).saves) is int
    assert Flow(1.0, target=1, stop_at_target=np.True_).stop_at_target is True


def test_a_seed_is_its_key():
    assert AscendSampled(5, 7) == AscendSampled(5, jax.random.key(7)) == AscendSampled(5, jax.random.PRNGKey(7))


def test_the_defaults_that_stand_for_none():
    assert Flow(1.0).chosen_objective == Ascend(1).chosen_objective == AscendSampled(1).chosen_objective == Objective()
    assert AscendSampled(1).chosen_estimator == Reinforce()
    given = Objective("true")
    assert Flow(1.0, given).chosen_objective is given


@pytest.mark.parametrize("cls", NEEDED)
def test_replacing_a_field_checks_it(cls):
    moved = dataclasses.replace(cls(**NEEDED[cls]), target=0.5)
    assert moved.target == 0.5
    with pytest.raises(ValueError, match="target is nan"):
        dataclasses.replace(moved, target=NAN)


@pytest.mark.parametrize("cls", NEEDED)
def test_settings_may_be_traced(cls):
    """Numbers are leaves, so that settings pass through `jax.jit` and `jax.vmap` and keep their options."""

    @jax.jit
    def through(settings):
        return dataclasses.replace(settings, target=settings.target * 2)

    given = cls(**NEEDED[cls], target=0.5)
    assert through(given).target == 1.0
    made = jax.vmap(lambda target: cls(**NEEDED[cls], target=target))(jnp.arange(3.0))
    np.testing.assert_array_equal(made.target, [0, 1, 2])
    assert set(describe(cls)) == {field.name for field in dataclasses.fields(cls)}


def test_names_are_those_of_the_functions():
    assert [cls.name for cls in NEEDED] == ["flow", "ascend", "ascend_sampled"]
    assert all(hasattr(pgdyn, f"{cls.name}{many}") for cls in NEEDED for many in ("", "_many"))
