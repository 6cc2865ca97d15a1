"""Problem files. Oracles: the constructors fed the same numbers, and the bits of a problem before it was written."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgdyn
from pgdyn.io.problem_file import load_problem, save_problem

TRUE = [1.0, 0.8, -1.0, -1.0, -1.0]
PROXY = [1.0, -1.0, -1.0, -1.0, -1.0]
POLICY = [0.05, 0.5, 0.15, 0.15, 0.15]


def same(left, right):
    assert left.is_tabular == right.is_tabular
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def write(folder, content, suffix=".json"):
    path = folder / f"problem{suffix}"
    if isinstance(content, dict | list):
        content = json.dumps(content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("suffix", [".toml", ".json", ".TOML"])
def test_own_field_names_in_both_formats(tmp_path, suffix):
    table = {"true_reward": TRUE, "proxy_reward": PROXY, "initial_policy": POLICY, "temperature": 2, "name": "mediocre"}
    if suffix == ".json":
        text = json.dumps(table)
    else:
        text = "# a comment\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items())
    expected = pgdyn.Problem.tabular(POLICY, TRUE, PROXY, temperature=2.0)
    same(load_problem(write(tmp_path, text, suffix)), expected)


def test_the_papers_names_with_fitted_features(tmp_path):
    features = np.eye(5).tolist()
    table = {
        "output_features": features,
        "rewards": PROXY,
        "ground_truth_rewards": TRUE,
        "initial_policy_probabilities": POLICY,
    }
    expected = pgdyn.Problem.linear(features, TRUE, PROXY, initial_policy=POLICY)
    same(load_problem(write(tmp_path, table)), expected)


def test_the_papers_weights_are_parameters(tmp_path):
    features = np.arange(10.0).reshape(5, 2).tolist()
    table = {"output_features": features, "rewards": TRUE, "initial_policy_weights": [0.5, -0.25]}
    same(load_problem(write(tmp_path, table)), pgdyn.Problem.linear(features, TRUE, initial_params=[0.5, -0.25]))


def test_rewards_alone_are_both_rewards(tmp_path):
    problem = load_problem(write(tmp_path, {"rewards": PROXY}))
    same(problem, pgdyn.Problem.tabular(None, PROXY))


def test_true_reward_alone_is_both_rewards_and_null_is_not_given(tmp_path):
    table = {"ground_truth_rewards": TRUE, "rewards": None, "initial_policy_weights": None}
    same(load_problem(write(tmp_path, table)), pgdyn.Problem.tabular(None, TRUE))


@pytest.mark.parametrize("params", [[3.0, -1.0, 0.0], [[3.0, -1.0, 0.0], [0.0, 1.0, 2.0]]])
def test_tabular_start_by_parameters(tmp_path, params):
    problem = load_problem(write(tmp_path, {"true_reward": [1, 0, -1], "initial_params": params, "temperature": 0.5}))
    assert problem.is_tabular
    np.testing.assert_array_equal(problem.initial_params, np.atleast_2d(params))
    np.testing.assert_array_equal(problem.true_reward, np.broadcast_to([1.0, 0, -1], np.atleast_2d(params).shape))
    assert problem.prompt_weights.shape == (np.atleast_2d(params).shape[0],)
    assert float(problem.temperature) == 0.5


def test_metadata_is_skipped_and_a_byte_order_mark_does_not_hurt(tmp_path):
    table = {"true_reward": TRUE, "name": "x", "description": "y", "comment": ["z"], "provenance": {"made": {"by": 1}}}
    same(load_problem(write(tmp_path, b"\xef\xbb\xbf" + json.dumps(table).encode())), pgdyn.Problem.tabular(None, TRUE))


finite = st.floats(-1e6, 1e6, allow_subnormal=True)


@st.composite
def problems(draw):
    outputs, prompts = draw(st.sampled_from([2, 3, 5])), draw(st.sampled_from([1, 3]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    reward = rng.normal(size=(prompts, outputs)) * 10.0 ** rng.integers(-300, 6, (prompts, outputs))
    common = {
        "temperature": draw(st.floats(1e-3, 1e3)),
        "prompt_weights": rng.uniform(0, 1, prompts) if draw(st.booleans()) else None,
    }
    if draw(st.booleans()):
        policy = rng.dirichlet(np.ones(outputs), prompts)
        return pgdyn.Problem.tabular(policy, reward, -reward / 3, **common)
    features = rng.normal(size=(prompts, outputs, 4))
    return pgdyn.Problem.linear(features, reward, -reward / 3, initial_params=rng.normal(size=4), **common)


@given(problem=problems(), suffix=st.sampled_from([".toml", ".json"]))
def test_saved_problems_load_back_bit_for_bit(tmp_path_factory, problem, suffix):
    path = tmp_path_factory.mktemp("saved") / f"p{suffix}"
    save_problem(problem, path)
    same(load_problem(path), problem)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_saving_replaces_the_file_and_a_full_disk_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "p.toml"
    old, new = pgdyn.Problem.tabular(None, TRUE), pgdyn.Problem.tabular(None, PROXY)
    save_problem(old, path)
    save_problem(new, path)
    same(load_problem(path), new)

    def full(self, *arguments, **options):
        with open(self, "w") as file:
            file.write("true_reward = [1")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.write_bytes", full)
        with pytest.raises(OSError, match=r"p\.toml cannot be written: No space left on device"):
            save_problem(old, path)
    same(load_problem(path), new)
    assert [p.name for p in tmp_path.iterdir()] == ["p.toml"]


def test_what_cannot_be_saved(tmp_path, paper_problem):
    with pytest.raises(ValueError, match=r"ends in \.toml or \.json"):
        save_problem(paper_problem, tmp_path / "p.yaml")
    with pytest.raises(ValueError, match="batch of 2"):
        save_problem(pgdyn.stack([paper_problem, paper_problem]), tmp_path / "p.toml")
    with pytest.raises(ValueError, match="takes a pgdyn.Problem, got 3"):
        save_problem(3, tmp_path / "p.toml")  # type: ignore[arg-type]
    with pytest.raises(OSError, match="cannot be written: No such file or directory"):
        save_problem(paper_problem, tmp_path / "absent" / "p.toml")
    assert not list(tmp_path.iterdir())


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.toml: there is no such file"):
        load_problem(tmp_path / "absent.toml")


def test_a_directory(tmp_path):
    with pytest.raises(ValueError, match="is a directory, not a problem file"):
        load_problem(tmp_path)


BAD_FILES = {
    "empty toml": (".toml", "", r"problem\.toml is empty"),
    "blank json": (".json", " \n\n", r"problem\.json is empty"),
    "truncated json": (".json", '{"true_reward": [1,\n 2', r"problem\.json, line 2: not valid JSON"),
    "wrong json": (".json", '{\n"true_reward": [1,, 2]}', r"line 2: not valid JSON"),
    "truncated toml": (".toml", "true_reward = [1,\n2", r"not valid TOML: .*line 2, the last"),
    "wrong toml": (".toml", "true_reward = [1]\nproxy_reward [1]", r"not valid TOML: .*at line 2"),
    "not utf-8": (".toml", b"true_reward = [1]\n# caf\xe9\n", r"line 2: not UTF-8 text \(byte 0xe9\)"),
    "utf-16": (".json", '{"true_reward": [1]}'.encode("utf-16"), r"line 1: not UTF-8 text"),
    "suffix": (".yaml", "true_reward: [1]", r"problem\.yaml: .* ends in \.toml or \.json"),
    "no suffix": ("", "true_reward = [1]", r"ends in \.toml or \.json"),
    "json list": (".json", "[1, 2]", r"holds a list where a JSON object"),
    "json number": (".json", "3", r"holds a number where"),
    "json null": (".json", "null", r"holds null where"),
    "json twice": (".json", '{"true_reward": [1, 0], "true_reward": [0, 1]}', r"'true_reward' is given twice"),
    "toml twice": (".toml", "true_reward = [1]\ntrue_reward = [2]", r"not valid TOML: Cannot overwrite"),
    "deep json": (".json", '{"true_reward": ' + "[" * 100_000, r"nested too deeply|not valid JSON"),
    "huge integer": (
        ".json",
        '{"true_reward": [' + "9" * 5000 + "]}",
        r"problem\.json: a whole number in it has thousands of digits",
    ),
    "no keys": (".toml", "# nothing\n", r"true_reward \(or ground_truth_rewards\) is missing"),
    "nan": (
        ".json",
        '{"true_reward": [1, NaN]}',
        r"problem\.json: true_reward\[1\] is nan; every entry must be finite",
    ),
    "toml inf": (".toml", "rewards = [[1.0, 2.0], [1.0, -inf]]", r"rewards\[1, 1\] is -inf"),
    "overflow": (".json", '{"true_reward": [1, 1e999]}', r"true_reward\[1\] is inf"),
    "date": (".toml", "true_reward = [1979-05-27]", r"true_reward\[0\] is datetime.date.*; it must be a number"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_files_that_cannot_be_read(tmp_path, case):
    suffix, content, message = BAD_FILES[case]
    with pytest.raises(ValueError, match=message) as caught:
        load_problem(write(tmp_path, content, suffix))
    assert "\n" not in str(caught.value)
    assert f"problem{suffix}" in str(caught.value)


REFUSALS = {
    "misspelt": ({"true_rewrad": TRUE}, "unknown key 'true_rewrad'; did you mean 'true_reward'?"),
    "misspelt alias": ({"ground_truth_reward": TRUE}, "did you mean 'ground_truth_rewards'?"),
    "unknown": ({"true_reward": TRUE, "zzz": 1}, "unknown key 'zzz'; the keys are features, true_reward,"),
    "two names": (
        {"true_reward": TRUE, "ground_truth_rewards": TRUE},
        "true_reward and ground_truth_rewards are two names of the same thing",
    ),
    "two starts": (
        {"true_reward": TRUE, "initial_policy_weights": PROXY, "initial_policy_probabilities": POLICY},
        "give initial_policy_weights or initial_policy_probabilities, not both",
    ),
    "proxy alone": ({"proxy_reward": TRUE}, "the key true_reward (or ground_truth_rewards) is missing"),
    "truth value": ({"true_reward": TRUE, "temperature": True}, "temperature is True; it must be a number"),
    "truth values": ({"true_reward": [1, False]}, "true_reward[1] is False; it must be a number"),
    "text": ({"true_reward": "1, 2"}, "true_reward is '1, 2'; it must be a number"),
    "null entry": ({"true_reward": [1, None]}, "true_reward[1] is null; it must be a number"),
    "table": ({"true_reward": {"a": 1}}, "true_reward is a table; it must be a number"),
    "empty list": ({"true_reward": []}, "true_reward is empty"),
    "empty row": ({"true_reward": [[1], []]}, "true_reward[1] is empty"),
    "single": ({"true_reward": 1.0}, "true_reward is a single number; it must be [K] or [P, K]"),
    "ragged": ({"rewards": [[1, 2], [1]]}, "rewards is not rectangular: rewards[0] has shape (2,) but rewards[1] (1,)"),
    "ragged deeper": ({"rewards": [[1, 2], 1]}, "rewards is not rectangular"),
    "batch": ({"true_reward": [[[1, 2]]]}, "true_reward[0, 0] is a list; a file holds one problem"),
    "temperatures": ({"true_reward": TRUE, "temperature": [1]}, "temperature is a list; a file holds one problem"),
    "huge": ({"true_reward": [10**400]}, "true_reward[0] is a whole number too large for a float"),
    "cold": ({"true_reward": TRUE, "temperature": 0}, "temperature is 0; the temperature must be positive"),
    "sum": (
        {"rewards": TRUE, "initial_policy_probabilities": [0.5, 0.1, 0.1, 0.1, 0.1]},
        "initial_policy_probabilities[0] sums to 0.9",
    ),
    "widths": ({"rewards": TRUE, "ground_truth_rewards": [1, 2]}, "ground_truth_rewards"),
    "params too large": (
        {"rewards": [1, 0], "initial_policy_weights": [1e308, 0], "temperature": 0.5},
        "initial logits[0, 0] is inf; features @ initial_policy_weights / temperature must",
    ),
    "params width": ({"rewards": TRUE, "initial_policy_weights": [1, 2]}, "initial_policy_weights has shape (1, 2)"),
    "features width": (
        {"rewards": TRUE, "output_features": [[1], [2]]},
        "output_features has 2 outputs but rewards has 5",
    ),
    "weights": ({"rewards": TRUE, "prompt_weights": [1, 2]}, "prompt_weights has shape (2,) but there are 1 prompts"),
    "negative": ({"rewards": [TRUE, TRUE], "prompt_weights": [1, -2]}, "prompt_weights[1] is -2; no weight may be"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_contents_that_are_no_problem(tmp_path, case):
    table, message = REFUSALS[case]
    with pytest.raises(ValueError) as caught:
        load_problem(write(tmp_path, table))
    assert message in str(caught.value)
    assert "problem.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_prompt_weights_whose_sum_is_beyond_the_largest_float(tmp_path):
    table = {"true_reward": [[1.0, 0.8], [1.0, 0.2]], "prompt_weights": [1e308, 1.5e308]}
    np.testing.assert_allclose(load_problem(write(tmp_path, table)).prompt_weights, [0.4, 0.6], rtol=1e-15)
