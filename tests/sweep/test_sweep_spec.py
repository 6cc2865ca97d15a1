"""Specs: what is refused, in which words, and what a spec's identity depends on."""

from __future__ import annotations

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest
import sweep_cases as cases

import pgdyn
from pgdyn.cli import main
from pgdyn.io.provenance import plain
from pgdyn.sweep import Ascend, AscendSampled, Axis, Flow, Spec, load_spec
from pgdyn.sweep.dynamics import from_table, to_table

GOOD = """
observables = ["true_value", "steps"]

[problem]
true_reward = [1.0, 0.8, -1.0]
initial_policy = [0.1, 0.6, 0.3]

[[axes]]
field = "proxy_reward[1]"
kind = "linear"
start = -1.0
stop = 1.0
count = 5

[dynamics]
kind = "flow"
t1 = 10.0
"""
SECOND = '\n[[axes]]\nfield = "{}"\nkind = "list"\nvalues = {}\n'
SEEDS = '\n[[axes]]\nkind = "seeds"\ncount = 3\n'
RANDOM = "[problem]\noutputs = 3\ntrue_reward = {uniform = [-1, 1]}\n"
FLOW = 'kind = "flow"\nt1 = 10.0'
SAMPLED = 'kind = "ascend_sampled"\nsteps = 5\nestimator = {}'
TEMPLATE = GOOD[GOOD.index("[problem]") : GOOD.index("[[axes]]")]


def changed(*pairs: str, extra: str = "") -> str:
    text = GOOD
    for old, new in zip(pairs[::2], pairs[1::2], strict=True):
        assert old in text
        text = text.replace(old, new)
    return text + extra


BAD = {  # what is wrong -> (the file, the words that must be in the sentence)
    "not TOML": (changed("count = 5", "count = "), "line 13"),
    "empty": ("", "is empty"),
    "unknown key": (changed("observables", "observable"), "unknown key 'observable'; did you mean 'observables'?"),
    "no dynamics": (GOOD[: GOOD.index("[dynamics]")], "the key dynamics is missing"),
    "no axes": (changed(GOOD[GOOD.index("[[axes]]") : GOOD.index("[dynamics]")], ""), "the key axes is missing"),
    "axes no list": (changed("[[axes]]", "[axes]"), "axes must be a list of tables"),
    "problem no table": (changed(TEMPLATE, "problem = 3\n").replace("problem = 3\n", "") + "\n", "problem is missing"),
    "unknown axis": (changed("proxy_reward[1]", "proxi_reward[1]"), "axes[0] (proxi_reward[1]): no field takes "),
    "unknown axis hint": (changed("proxy_reward[1]", "proxi_reward[1]"), "did you mean 'proxy_reward'?"),
    "index out of range": (changed("reward[1]", "reward[3]"), "axes[0] (proxy_reward[3]): the index 3 is out of range"),
    "index of two parts": (changed("reward[1]", "reward[0, 1]"), "shape (3,), so its index needs 1 parts, not 2"),
    "index of words": (changed("reward[1]", "reward[best]"), "the index 'best' is neither a whole number nor"),
    "index picks nothing": (changed("reward[1]", "reward[3:]"), "the index picks nothing"),
    "index of a number": (changed("proxy_reward[1]", "temperature[0]"), "temperature is a single number"),
    "no index": (changed("proxy_reward[1]", "proxy_reward"), "an array, but values are single numbers"),
    "no features": (changed("proxy_reward[1]", "features[0, 1]"), "(features[0, 1]): the problem has no features"),
    "other start": (changed("proxy_reward[1]", "initial_params[0]"), "starts from initial_policy"),
    "no field": (changed('field = "proxy_reward[1]"\n', ""), "axes[0]: the key field is missing"),
    "field a number": (changed('"proxy_reward[1]"', "1"), "axes[0]: field is 1; it must be a string"),
    "axis of steps": (changed("proxy_reward[1]", "dynamics.steps"), "no field takes 'dynamics.steps'"),
    "axis of another dynamics": (
        changed(extra=SECOND.format("dynamics.learning_rate", "[0.1]")),
        "flow has no learning_rate",
    ),
    "unused seed": (changed(extra=SEEDS), "axes[1] (seed): no field takes a seed"),
    "no kind": (changed('kind = "linear"\n', ""), "axes[0] (proxy_reward[1]): the key kind is missing"),
    "wrong kind": (changed('"linear"', '"linaer"'), "kind is 'linaer'; it must be one of 'linear', 'log'"),
    "foreign key": (changed("count = 5", "count = 5\nvalues = [1.0]"), "the key values does not go with kind 'linear'"),
    "axis key": (
        changed("count = 5", "cuont = 5"),
        "axes[0] (proxy_reward[1]): unknown key 'cuont'; did you mean 'count'?",
    ),
    "no count": (changed("count = 5\n", ""), "the key count is missing"),
    "count 0": (changed("count = 5", "count = 0"), "axes[0] (proxy_reward[1]): count is 0; it must be at least 1"),
    "count 1.5": (changed("count = 5", "count = 1.5"), "count must be a whole number, got 1.5"),
    "count huge": (changed("count = 5", "count = 10000000000"), "count is 10000000000; an axis has at most 1e7"),
    "empty range": (changed("stop = 1.0", "stop = -1.0"), "the range is empty: start and stop are both -1"),
    "one value": (changed("count = 5", "count = 1"), "count is 1 but start -1 and stop 1 differ"),
    "start nan": (changed("start = -1.0", "start = nan"), "axes[0] (proxy_reward[1]): start is nan; it must be finite"),
    "stop text": (changed("stop = 1.0", 'stop = "1"'), "stop is '1'; it must be a number"),
    "log of negative": (changed('"linear"', '"log"'), "start is -1; a logarithmic axis runs between positive"),
    "empty list": (changed(extra=SECOND.format("temperature", "[]")), "axes[1] (temperature): values is empty"),
    "nan in list": (changed(extra=SECOND.format("temperature", "[1.0, nan]")), "values[1] is nan"),
    "text in list": (changed(extra=SECOND.format("temperature", '["a"]')), "values[0] is 'a'"),
    "ragged list": (changed(extra=SECOND.format("initial_policy", "[[1.0], [0.5, 0.5]]")), "not rectangular"),
    "list twice": (changed(extra=SECOND.format("temperature", "[1.0, 1.0]")), "the value 1 is listed twice"),
    "list of wrong arrays": (changed(extra=SECOND.format("true_reward", "[[1.0, 2.0]]")), "values have shape (2,)"),
    "list of bad policies": (changed(extra=SECOND.format("initial_policy", "[[0.5, 0.2, 0.2]]")), "sums to 0.9"),
    "labels of numbers": (changed("count = 5", "count = 5\nlabels = [1]"), "labels does not go with kind 'linear'"),
    "temperature 0": (
        changed(extra=SECOND.format("temperature", "[1.0, 0.0]")),
        "values[1] is 0; temperature must be ",
    ),
    "kl negative": (
        changed(extra=SECOND.format("objective.kl", "[-1.0]")),
        "values[0] is -1; objective.kl must be at ",
    ),
    "t1 0": (changed(extra=SECOND.format("dynamics.t1", "[0.0]")), "values[0] is 0; dynamics.t1 must be positive"),
    "probability 1": (
        changed(extra=SECOND.format("initial_policy[0]", "[0.5, 1.0]")),
        "values[1] is 1; a probability ",
    ),
    "probabilities": (
        changed(extra=SECOND.format("initial_policy[0]", "[0.5]") + SECOND.format("initial_policy[1]", "[0.5]")),
        "entries that sum to 1; the others need some of the 1",
    ),
    "all probabilities": (changed(extra=SECOND.format("initial_policy[:]", "[0.2]")), "axes set every entry"),
    "same field": (changed(extra=SECOND.format("proxy_reward[1]", "[0.5]")), "axes[1] (proxy_reward[1]): another axis"),
    "overlapping field": (
        changed(extra=SECOND.format("proxy_reward[1:]", "[0.5]")),
        "another axis (proxy_reward[1]) sets",
    ),
    "whole field too": (changed(extra=SECOND.format("proxy_reward", "[[1.0, 1.0, 1.0]]")), "sets this already"),
    "same name": (
        changed("count = 5", 'count = 5\nname = "r"', extra=SECOND.format("temperature", "[2.0]") + 'name = "r"'),
        "axes[1] (temperature): axes[0] has the name 'r' too",
    ),
    "name of an observable": (
        changed("count = 5", 'count = 5\nname = "steps"'),
        "the name 'steps' is that of an observa",
    ),
    "name empty": (changed("count = 5", 'count = 5\nname = ""'), "name is ''; it must be a string that is not empty"),
    "dynamics kind": (changed('"flow"', '"flows"'), "dynamics: kind is 'flows'; did you mean 'flow'?"),
    "no t1": (changed("t1 = 10.0", ""), "dynamics: the key t1 is missing; kind 'flow' needs it (end time"),
    "t1 negative": (changed("t1 = 10.0", "t1 = -1"), "dynamics: t1 is -1; it must be positive"),
    "t1 text": (changed("t1 = 10.0", 't1 = "long"'), "dynamics: t1 is 'long'"),
    "key of another dynamics": (changed("t1 = 10.0", "t1 = 1.0\nsteps = 3"), "the key steps goes with kind 'ascend'"),
    "dynamics key": (
        changed("t1 = 10.0", "t1 = 1.0\nrtoll = 1e-3"),
        "dynamics: unknown key 'rtoll'; did you mean 'rtol'?",
    ),
    "estimator": (changed(FLOW, SAMPLED.format('"rienforce"')), "estimator is 'rienforce'; did you mean 'reinforce'?"),
    "estimator argument": (
        changed(FLOW, SAMPLED.format('{name = "reinforce", group = 2}')),
        "estimator reinforce: unknown key 'group'; did you mean 'group_size'?",
    ),
    "estimator value": (
        changed(FLOW, SAMPLED.format('{name = "reinforce", group_size = 0}')),
        "group_size is 0; it must",
    ),
    "seed": (changed(FLOW, 'kind = "ascend_sampled"\nsteps = 5\nkey = -1'), "dynamics: key is -1; a seed is a whole"),
    "objective in the dynamics": (changed("t1 = 10.0", "t1 = 1.0\nobjective = 3"), "it has a table of its own"),
    "path in the dynamics": (changed("t1 = 10.0", "t1 = 1.0\nsaves = 3"), "saves does not belong here: a sweep keeps"),
    "huge steps": (
        changed(FLOW, f'kind = "ascend"\nsteps = 1{"0" * 400}'),
        "dynamics: steps is a whole number of about 401 digits; it must be at most",
    ),
    "huge dimension": (
        changed(TEMPLATE, RANDOM.replace("outputs = 3", f"outputs = 3\ndimension = 1{'0' * 400}"), extra=SEEDS),
        "problem: dimension is a whole number of about 401 digits; it must be at most",
    ),
    "large sizes": (
        changed(TEMPLATE, RANDOM.replace("outputs = 3", "outputs = 100000\nprompts = 100000"), extra=SEEDS),
        "outputs is 100000, prompts is 100000; a problem of a sweep has at most 1e8 numbers",
    ),
    "huge seed": (changed(TEMPLATE, RANDOM, extra=SEEDS + f"first = 1{'0' * 400}\n"), "seeds end at 2^63 - 1"),
    "huge value": (changed(extra=SECOND.format("temperature", f"[1{'0' * 400}]")), "temperature): values"),
    "huge start": (changed("start = -1.0", f"start = -1{'0' * 400}"), "start is a whole number of about 401 digits"),
    "huge shard size": (f"shard_size = 1{'0' * 400}\n" + GOOD, "shard_size is a whole number of about 401 digits"),
    "objective key": (changed(extra="\n[objective]\nkll = 1.0"), "objective: unknown key 'kll'; did you mean 'kl'?"),
    "objective kl": (changed(extra="\n[objective]\nkl = -1.0"), "objective: kl is -1; it must be at least 0"),
    "objective reward": (changed(extra='\n[objective]\nreward = "both"'), "objective: reward is 'both'"),
    "observable": (changed('"steps"', '"step"'), "observables[1] is 'step'; did you mean 'steps'?"),
    "observable twice": (changed('"steps"', '"true_value"'), "observables[1] names true_value again"),
    "no target": (changed('"steps"', '"hitting_time"'), "names hitting_time, but the dynamics has no target"),
    "no observables": (changed('["true_value", "steps"]', "[]"), "observables is []"),
    "shard size": ("shard_size = 0\n" + GOOD, "shard_size is 0; it must be at least 1"),
    "name": ("name = 3\n" + GOOD, "name is 3; it must be a string"),
    "problem key": (
        changed("initial_policy = ", "initial_polcy = "),
        "problem: unknown key 'initial_polcy'; did you mean",
    ),
    "problem nan": (changed("[1.0, 0.8, -1.0]", "[1.0, nan, -1.0]"), "problem: true_reward[1] is nan"),
    "problem start": (
        changed(TEMPLATE, "[problem]\ntrue_reward = [1.0, 0.8, 0.0]\ninitial_params = [1e308, 0.0, -1e308]\n"),
        "axes[0] (proxy_reward[1]): initial logits[0, 0, 2] is -1e+308; features @ initial_params / temperature must",
    ),
    "problem sum": (changed("[0.1, 0.6, 0.3]", "[0.1, 0.6, 0.4]"), "sums to 1.1"),
    "problem outputs": (
        changed(TEMPLATE, "[problem]\nfeatures = [[1.0], [0.0], [1.0], [2.0]]\ntrue_reward = [1.0, 0.8, -1.0]\n"),
        "problem: true_reward has shape (3,), but outputs is 4 in other arrays",
    ),
    "problem params": (
        changed(TEMPLATE, "[problem]\ntrue_reward = [1.0, 0.8, -1.0]\ninitial_params = [1.0, 2.0, 3.0, 4.0]\n"),
        "problem: initial_params has shape (4,), but outputs is 3 in other arrays",
    ),
    "problem file missing": (changed(TEMPLATE, '[problem]\nfile = "none.toml"\n'), "none.toml: there is no such file"),
    "problem file and more": (
        changed("[problem]", '[problem]\nfile = "a.toml"'),
        "problem: the key true_reward stands",
    ),
    "problem file a number": (changed(TEMPLATE, "[problem]\nfile = 3\n"), "problem: file is 3; it must be the path"),
    "random without seeds": (changed(TEMPLATE, RANDOM), "true_reward is random, so an axis of seeds is needed"),
    "random size": (changed(TEMPLATE, RANDOM.replace("outputs = 3\n", ""), extra=SEEDS), "the key outputs is missing"),
    "random range": (changed(TEMPLATE, RANDOM.replace("-1, 1", "1, 1"), extra=SEEDS), "low must be below high"),
    "random numbers": (changed(TEMPLATE, RANDOM.replace("-1, 1", "1"), extra=SEEDS), "it must be [low, high]"),
    "random word": (changed(TEMPLATE, RANDOM.replace("uniform", "unifrom"), extra=SEEDS), "did you mean 'uniform'?"),
    "random temperature": (
        changed(TEMPLATE, TEMPLATE + "temperature = {uniform = [1, 2]}\n", extra=SEEDS),
        "problem: temperature cannot be random",
    ),
    "seeds negative": (changed(TEMPLATE, RANDOM, extra=SEEDS + "first = -1\n"), "first is -1; it must be at least 0"),
    "outputs differ": (changed("[problem]", "[problem]\noutputs = 4"), "outputs is 4, but the arrays have 3"),
}


@pytest.mark.parametrize("text, words", BAD.values(), ids=BAD)
def test_a_bad_spec_gets_one_sentence_that_names_the_key(text, words, tmp_path, capsys):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        load_spec(path)
    sentence = str(caught.value)
    assert str(path) in sentence and words in sentence and "\n" not in sentence
    store = tmp_path / "store"
    assert main(["sweep", str(path), "--out", str(store)]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ") and err.count("\n") == 1 and out == ""
    assert not store.exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "give a SPEC to run"),
        (["spec.toml"], "--out is missing"),
        (["none.toml", "--out", "s"], "none.toml: there is no such file"),
        (["spec.yaml", "--out", "s"], "ends in .toml or .json"),
        ([".", "--out", "s"], "is a directory"),
        (["spec.toml", "--out", "s", "--workers", "2", "--cluster", "tcp://x:1"], "not both"),
        (["spec.toml", "--out", "s", "--workers", "0"], "--workers is 0"),
        (["spec.toml", "--out", "s", "--cluster", "nonsense"], "it must look like tcp://10.0.0.1:8786"),
        (["spec.toml", "--status", "s"], "--status only looks; it does not go with SPEC"),
        (["--status", "none"], "none: there is no such store"),
        (["--status", "."], "is not the store of a sweep"),
        (["spec.toml", "--out", "spec.toml"], "spec.toml is a file"),
        (["spec.toml", "--out", "."], "holds spec.toml, which no sweep has written"),
        (["spec.toml", "--ot", "s"], "there is no option '--ot'; did you mean --out?"),
    ],
)
def test_a_bad_command_line_gets_one_sentence(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spec.toml").write_text(GOOD)
    assert main(["sweep", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert words in err
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["spec.toml"]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: Axis.listed("temperature", 1.0), "it must be a list"),
        (lambda: Axis.listed("proxy_reward", [[1.0, 2.0]], labels=["a", "b"]), "labels has 2 entries but values 1"),
        (lambda: Axis.listed("proxy_reward", [[1.0], [2.0]], labels=["a", "a"]), "none of them twice"),
        (lambda: Axis.listed("proxy_reward", [[1.0], [2.0]], labels="ab"), "labels is 'ab'"),
        (lambda: Axis.listed("seed", [0, 1.5]), "values[1] must be a whole number"),
        (lambda: Axis.seeds(3, first=2**63 - 2), "seeds end at 2^63 - 1"),
        (lambda: Flow(t1=1.0, geometry="hyperbolic"), "geometry is 'hyperbolic'"),
        (lambda: Flow(t1=1.0, stop_at_target="yes"), "stop_at_target is 'yes'"),
        (lambda: Ascend(steps=0), "steps is 0"),
        (lambda: Ascend(steps=5, optimizer="lion"), "one of 'sgd', 'adam', got 'lion'"),
        (lambda: AscendSampled(steps=5, key=-1), "key is -1"),
        (
            lambda: sampled(AscendSampled(steps=5, key=jax.random.split(jax.random.key(0)))),
            "dynamics.key is no key of a",
        ),
        (lambda: sampled(AscendSampled(steps=5, optimizer=optax.lion(0.1))), 'it must be "sgd" or "adam"'),
        (lambda: sampled(Ascend(steps=5, learning_rate=[0.1, 0.2])), "dynamics.learning_rate must be a single number"),
        (lambda: sampled(Ascend(steps=5, save_every=2)), "dynamics.save_every is given, but a sweep keeps the ends"),
        (lambda: Ascend(steps=10**400), "steps is a whole number of about 401 digits; it must be at most"),
        (
            lambda: Spec(
                {"true_reward": [0.0, 1.0]},
                [Axis.linear("temperature", 1, 2, 2)],
                Flow(1.0, objective=pgdyn.Objective(kl=0.1)),
                pgdyn.Objective(kl=0.2),
            ),
            "the objective is given twice",
        ),
        (
            lambda: sampled(Flow(1.0, objective=pgdyn.Objective(kl=[0.1, 0.2]))),
            "objective.kl must be a single number in a sweep",
        ),
        (lambda: Spec("none.toml", [Axis.seeds(2)], Flow(1.0)), "there is no such file"),
        (lambda: Spec(3, [Axis.seeds(2)], Flow(1.0)), "problem is 3"),
        (lambda: Spec({"true_reward": [0.0, 1.0]}, [], Flow(1.0)), "axes is empty"),
        (lambda: Spec({"true_reward": [0.0, 1.0]}, Axis.seeds(2), Flow(1.0)), "it must be a list of axes"),
        (
            lambda: Spec({"true_reward": [0.0, 1.0]}, [Axis.linear("temperature", 1, 2, 2)], "flow"),
            "dynamics is 'flow'",
        ),
        (
            lambda: Spec(
                pgdyn.Batch.tabular(None, np.zeros((2, 1, 3))), [Axis.linear("temperature", 1, 2, 2)], Flow(1)
            ),
            "problem is a batch of 2",
        ),
    ],
)
def test_bad_python_arguments_are_refused(make, words):
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        make()
    assert words in str(caught.value)


def sampled(dynamics) -> Spec:
    return Spec({"true_reward": [0.0, 1.0]}, [Axis.linear("temperature", 1, 2, 2)], dynamics)


def example() -> Spec:
    return Spec(
        {"true_reward": np.asarray(cases.TRUE_REWARD), "initial_policy": cases.INITIAL_POLICY, "temperature": 0.7},
        [
            Axis.linear("proxy_reward[1:]", -1, 1, 7, name="r"),
            Axis.log("initial_policy[0]", 1e-5, 0.3, 5),
            Axis.listed("true_reward", [[1, 0, 0], [0, 1, 0.1]], labels=["first", "second"], name="truth"),
            Axis.listed("objective.kl", [0.0, 1 / 3]),
            Axis.seeds(4, first=10**12),
        ],
        AscendSampled(steps=10, target=0.1, key=2**62 + 1, estimator=pgdyn.estimators.Reinforce("value", 2)),
        objective=pgdyn.Objective(entropy=0.1),
        shard_size=8,
        name="an example",
    )


def test_a_composed_estimator_survives_a_table():
    e = pgdyn.estimators
    parts = (e.Unlikeliness(0.5, filter=None), e.RandomReward(0.25), e.KLPenalty("k3", "loss"), e.Surrogate(None))
    dynamics = AscendSampled(steps=10, estimator=e.compose(e.GRPO(4, ddof=1), *parts), prompts=3, optimizer="sgd")
    table = json.loads(json.dumps(plain(to_table(dynamics))))
    assert table["estimator"]["surrogate"]["clip_low"] == "none"
    assert from_table(table) == dynamics


def test_a_table_in_json_gives_the_spec_back_to_the_last_bit():
    spec = example()
    again = Spec.from_table(json.loads(json.dumps(spec.to_table())))
    assert again.to_table() == spec.to_table()
    assert again.fingerprint == spec.fingerprint
    for axis, other in zip(spec.axes, again.axes, strict=True):
        np.testing.assert_array_equal(axis.values, other.values, strict=True)
        np.testing.assert_array_equal(axis.coordinates, other.coordinates)
        assert (axis.name, axis.unit, axis.field) == (other.name, other.unit, other.field)
    assert again.dynamics == spec.dynamics and again.shard_size == spec.shard_size


def test_the_fingerprint_is_that_of_the_numbers_not_of_the_title():
    spec = example()
    assert dataclasses.replace(spec, name="another", description="more").fingerprint == spec.fingerprint
    others = [
        dataclasses.replace(spec, shard_size=9),
        dataclasses.replace(spec, observables=("true_value",)),
        dataclasses.replace(spec, objective=pgdyn.Objective(entropy=np.nextafter(0.1, 1))),
        dataclasses.replace(spec, dynamics=dataclasses.replace(spec.dynamics, steps=11)),
        dataclasses.replace(spec, axes=spec.axes[::-1]),
        dataclasses.replace(
            spec, axes=(Axis.linear("proxy_reward[1:]", -1, np.nextafter(1, 2), 7, name="r"), *spec.axes[1:])
        ),
        dataclasses.replace(spec, problem={"true_reward": [1.0, 0.8, -1.0], "initial_policy": [0.1, 0.6, 0.3]}),
    ]
    assert len({spec.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_a_problem_file_is_as_good_as_its_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    keys = TEMPLATE.removeprefix("[problem]\n")
    (tmp_path / "sub" / "problem.toml").write_text(keys)
    (tmp_path / "inline.toml").write_text(GOOD)
    (tmp_path / "by_file.toml").write_text(changed(TEMPLATE, '[problem]\nfile = "sub/problem.toml"\n\n'))
    inline, by_file = load_spec(tmp_path / "inline.toml"), load_spec(tmp_path / "by_file.toml")
    assert inline.fingerprint == by_file.fingerprint
    direct = Spec(tmp_path / "sub" / "problem.toml", inline.axes, inline.dynamics, observables=["true_value", "steps"])
    assert direct.fingerprint == inline.fingerprint


def test_shards_cut_all_points_in_order():
    spec = example()
    assert spec.shape == (7, 5, 2, 2, 4) and spec.num_points == 560 and spec.num_shards == 70
    spec = dataclasses.replace(spec, shard_size=13)
    points = [point for shard in range(spec.num_shards) for point in spec.shard_points(shard)]
    assert points == list(range(560))


def test_a_long_axis_is_checked_in_pieces_to_its_end(monkeypatch):
    """Not all of its problems at once: a million of a thousand outputs would take the memory of the machine."""
    monkeypatch.setattr("pgdyn.sweep.addressing._NUMBERS", 6)  # two problems of three outputs
    rows = [[0.2, 0.3, 0.5]] * 4 + [[0.5, 0.2, 0.2]]
    problem = {"true_reward": [1.0, 0.8, -1.0]}
    with pytest.raises(ValueError, match=r"axes\[0\] \(initial_policy\): from value 4 on: .* sums to 0.9"):
        Spec(problem, [Axis.listed("initial_policy", rows)], Flow(t1=1.0))
    assert Spec(problem, [Axis.listed("initial_policy", rows[:4])], Flow(t1=1.0)).num_points == 4
