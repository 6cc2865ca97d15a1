"""Settings read off their declarations: what is described, tables of plain values, and signatures."""

import inspect
import json

import pytest

import pgdyn
from pgdyn import Ascend, AscendSampled, Flow, Objective
from pgdyn.dynamics.fields import MISSING, describe, estimator_table, to_table
from pgdyn.estimators import GRPO, Reinforce, Surrogate, Whiten, compose
from pgdyn.io import settings as reader
from pgdyn.solve import DYNAMICS

CLASSES = [*DYNAMICS.values(), Objective, Reinforce]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_field_is_described(cls):
    """Oracle: the class's own signature, and its docstring."""
    found = describe(cls)
    parameters = inspect.signature(cls).parameters
    assert list(found) == list(parameters)
    for name, field in found.items():
        assert field.name == name
        default = parameters[name].default
        assert field.default is MISSING if default is inspect.Parameter.empty else field.default == default
        assert field.help[0].isupper() or not field.help[0].isalpha(), field
        assert field.help.endswith(".") and "\n" not in field.help
        first = field.help.split(".")[0].lower()
        assert first in " ".join(inspect.getdoc(cls).split()).lower()


def test_types_and_choices_are_those_of_the_annotations():
    flow, sampled, objective = describe(Flow), describe(AscendSampled), describe(Objective)
    kinds = {name: field.type for name, field in flow.items()}
    assert kinds == {
        "t1": float,
        "objective": None,
        "target": float,
        "saves": int,
        "rtol": float,
        "atol": float,
        "geometry": str,
        "stop_at_target": bool,
        "max_steps": int,
        "solver": None,
        "adjoint": None,
    }
    assert flow["geometry"].choices == ("euclidean", "natural") and flow["saves"].choices is None
    assert sampled["key"].type is int and sampled["estimator"].type is None
    assert sampled["optimizer"].choices == describe(Ascend)["optimizer"].choices == ("sgd", "adam")
    assert objective["reward"].choices == ("proxy", "true")


def test_a_field_can_be_none_where_its_annotation_says_so_and_none_is_not_its_default():
    surrogate = describe(Surrogate)
    assert [name for name, field in surrogate.items() if field.can_be_none] == ["clip_low", "clip_high"]
    assert surrogate["dual_clip"].default is None and not describe(Flow)["t1"].can_be_none


# ---------------------------------------------------------------- tables

PLAIN = [
    Flow(5.0),
    Flow(1e6, target=0.9, saves=12, rtol=1e-7, atol=1e-9, geometry="natural", stop_at_target=True, max_steps=99),
    Ascend(7),
    Ascend(7, "adam", target=-0.5, save_every=3, learning_rate=0.25),
]


@pytest.mark.parametrize("settings", PLAIN, ids=repr)
def test_plain_settings_survive_a_table(settings):
    """Also one that has been written to a file and read again."""
    table = to_table(settings)
    assert table["kind"] == settings.name
    assert reader.dynamics(table) == settings
    assert reader.dynamics(json.loads(json.dumps(table))) == settings


def test_nested_settings_survive_a_table():
    objective = Objective("true", kl=0.25, kl_direction="forward", normalize_by_std="detached")
    again = reader.dynamics(json.loads(json.dumps(to_table(Flow(5.0, objective=objective)), default=float)))
    assert again.objective == objective
    estimator = compose(GRPO(4, scale="none"), Whiten(), Surrogate(clip_low=None, epochs=2))
    assert reader.estimator(estimator_table(estimator)) == estimator and reader.estimator(estimator) is estimator


def test_fields_that_are_none_are_left_out():
    assert set(to_table(Flow(5.0))) == {"kind", "t1", "saves", "geometry", "stop_at_target", "max_steps"}
    assert set(to_table(Ascend(5))) == {"kind", "steps", "learning_rate"}


def test_modules_become_tables_of_their_own():
    import optax

    objective = Objective("true", kl=0.25, kl_direction="forward")
    table = to_table(AscendSampled(5, estimator=Reinforce("value", 2), objective=objective, optimizer=optax.adam(1.0)))
    assert table["estimator"] == {"name": "reinforce", "baseline": "value", "group_size": 2}
    assert table["objective"] == {
        "reward": "true",
        "kl": 0.25,
        "reference": "initial",
        "kl_direction": "forward",
        "normalize_by_std": False,
    }
    assert table["optimizer"] == "an optax transformation"


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({}, "the key kind is missing; it is one of flow, ascend, ascend_sampled"),
        ({"kind": "flaw"}, "kind is 'flaw'; did you mean 'flow'?"),
        ({"kind": 3}, "kind is 3; it is one of flow, ascend, ascend_sampled"),
        ({"kind": "flow"}, "the key t1 is missing; kind 'flow' needs it (end time, positive; up to 1e15 and beyond on"),
        ({"kind": "ascend"}, "the key steps is missing; kind 'ascend' needs it (number of updates)"),
        ({"kind": "flow", "t1": 1.0, "steps": 3}, "the key steps goes with kind 'ascend' or 'ascend_sampled', not wi"),
        ({"kind": "flow", "t1": 1.0, "targt": 3}, "unknown key 'targt'; did you mean 'target'?"),
        ({"kind": "flow", "t1": -1.0}, "t1 is -1; it must be positive"),
        ({"kind": "ascend", "steps": "many"}, "steps must be a whole number, got 'many'"),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(table, sentence):
    with pytest.raises(ValueError) as refusal:
        reader.dynamics(table)
    assert str(refusal.value).startswith(sentence) and "\n" not in str(refusal.value)


# ---------------------------------------------------------------- signatures

FUNCTIONS = [(cls, getattr(pgdyn, f"{name}{many}")) for name, cls in DYNAMICS.items() for many in ("", "_many")]


@pytest.mark.parametrize(("cls", "function"), FUNCTIONS, ids=[function.__name__ for _, function in FUNCTIONS])
def test_functions_take_the_fields_of_their_settings(cls, function):
    """Each has the fields of its class, in their order, and says of each what the class says."""
    first, *rest = inspect.signature(function).parameters.values()
    many = function.__name__.endswith("_many")
    assert first.name == ("batch" if many else "problem")
    fields = describe(cls)
    assert [p.name for p in rest[: len(fields)]] == list(fields)
    extra = ["progress", "devices", *(["backend"] if cls is Flow else [])] if many else []
    assert [p.name for p in rest[len(fields) :]] == extra
    said = " ".join(inspect.getdoc(function).split())
    for field in fields.values():
        assert f"{field.name}: {field.help}" in said
    for name in extra:
        assert f"{name}: " in said
    tolerances = {"rtol", "atol", "save_every"}
    for parameter, field in zip(rest, fields.values(), strict=False):
        if parameter.name not in tolerances and parameter.default is not inspect.Parameter.empty:
            assert parameter.default == field.default


def test_a_function_says_the_defaults_that_are_in_force():
    """The tolerances and savings of one run and of many differ; `None` in the settings stands for both."""
    defaults = {f: {p.name: p.default for p in inspect.signature(f).parameters.values()} for _, f in FUNCTIONS}
    assert (defaults[pgdyn.flow]["rtol"], defaults[pgdyn.flow]["atol"]) == (1e-8, 1e-10)
    assert (defaults[pgdyn.flow_many]["rtol"], defaults[pgdyn.flow_many]["atol"]) == (1e-6, 1e-9)
    assert defaults[pgdyn.ascend]["save_every"] == 1 and defaults[pgdyn.ascend_many]["save_every"] is None


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda p: pgdyn.flow(p), "flow() missing a required argument: 't1'"),
        (lambda p: pgdyn.flow(t1=1.0), "flow() missing a required argument: 'problem'"),
        (lambda p: pgdyn.flow(p, 1.0, None, 0.9), "flow() too many positional arguments"),
        (lambda p: pgdyn.flow(p, 1.0, targt=0.9), "flow() got an unexpected keyword argument 'targt'"),
        (lambda p: pgdyn.flow(p, 1.0, t1=1.0), "flow() multiple values for argument 't1'"),
        (lambda p: pgdyn.flow(p, 1.0, backend="diffrax"), "flow() got an unexpected keyword argument 'backend'"),
        (lambda p: pgdyn.ascend_sampled(p, 5), "ascend_sampled() missing a required argument: 'key'"),
        (lambda p: pgdyn.ascend_many(p, 5, backend="x"), "ascend_many() got an unexpected keyword argument 'backend'"),
    ],
)
def test_arguments_are_those_of_the_signature(paper_problem, call, sentence):
    with pytest.raises(TypeError) as refusal:
        call(paper_problem)
    assert str(refusal.value) == sentence


def test_arguments_may_be_named(paper_problem):
    by_position = pgdyn.ascend_sampled(paper_problem, 5, 3)
    assert pgdyn.ascend_sampled(problem=paper_problem, steps=5, key=3) == by_position
