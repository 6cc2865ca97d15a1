"""`pgdyn.evaluate` and `pgdyn evaluate`. Oracles: loops over items, RewardBench's definition, the paper's worked
case."""

import itertools
import json
import pathlib

import numpy as np
import pytest

import pgdyn
from experiments import score_files
from pgdyn import metrics
from pgdyn.cli import main
from pgdyn.metrics import benchmarks
from pgdyn.scores import judge_responses as judging

NAMES = ("accuracy", "harm_aware_accuracy", "weighted_accuracy", "weighted_harm_aware_accuracy")
POLICY, TRUTH = (0.05, 0.5, 0.15, 0.15, 0.15), (1, 0.8, -1, -1, -1)


def values(found, model):
    return {name: one["value"] for name, one in found.models[model].items()}


# The worked case of arXiv 2604.25872, section 4, as a table of all outputs with their log-probabilities.
@pytest.mark.parametrize(
    ("proxy", "golden"),
    [
        ((1, -1, -1, -1, -1), (0.5714, 1, 0.1743, 1)),
        ((1, -0.95, -0.9, -0.8, -1), (0.7143, 0.8571, 0.4495, 0.7248)),
        ((0.2, 0.8, -1, -1, -1), (0.8571, 0.8571, 0.9083, 0.9083)),
    ],
)
def test_worked_case(proxy, golden):
    table = {"prompt": ["q"] * 5, "logp": np.log(POLICY).tolist(), "true_reward": TRUTH, "rm": proxy}
    found = values(pgdyn.evaluate(table), "rm")
    assert [found[name] for name in NAMES] == pytest.approx(golden, abs=5e-5)
    exact = metrics.exact(pgdyn.Problem.tabular(POLICY, TRUTH, proxy))
    assert {name: exact[name] for name in found} == pytest.approx(found, rel=1e-12)


def loops(rows, prompts):
    """Sums over items, one after another; V_P is the plain mean of a prompt's scores."""
    items, many, ranks = [], [], []
    for prompt in prompts:
        own = [row for row in rows if row[0] == prompt]
        mean = sum(row[3] for row in own) / len(own)
        for a, b in itertools.permutations(own, 2):
            if a[2] > b[2]:
                items.append((a[3], [b[3]], mean, a[1] + b[1]))
        best = max(row[2] for row in own)
        worse = [row for row in own if row[2] < best]
        for a in own:
            if a[2] == best and worse:
                many.append((a[3], [b[3] for b in worse], mean, a[1] + sum(b[1] for b in worse)))
                ranks.append(1 / (1 + sum(b[3] >= a[3] for b in worse)))
    found = {"mean_reciprocal_rank": np.mean(ranks)}
    for prefix, group in (("", items), ("one_vs_many_", many)):
        top = max(item[3] for item in group)
        for name in NAMES:
            weight = [np.exp(item[3] - top) if "weighted" in name else 1.0 for item in group]
            right = [all(b < a or ("harm" in name and b < mean) for b in bad) for a, bad, mean, _ in group]
            found[prefix + name] = np.dot(weight, right) / sum(weight)
    return found


@pytest.mark.parametrize("block", [2**21, 7])
def test_responses_against_loops(block, monkeypatch):
    """Ragged prompts, ties everywhere, and blocks of a few pairs."""
    monkeypatch.setattr(judging, "_BLOCK", block)
    monkeypatch.setattr(judging, "_KEPT", block)
    rng = np.random.default_rng(0)
    rows = [
        (int(p), -30 * rng.exponential(), int(rng.integers(3)), float(rng.integers(4)), float(rng.integers(4)))
        for p in rng.permutation(np.repeat(np.arange(12), [1, 1, 2, 3, 4, 5, 6, 6, 7, 2, 2, 9]))
    ]
    prompt, logp, truth, one, other = map(list, zip(*rows, strict=True))
    found = pgdyn.evaluate({"prompt": prompt, "logp": logp, "truth": truth, "a": one, "b": other})
    for model, column in (("a", 3), ("b", 4)):
        want = loops([(r[0], r[1], r[2], r[column]) for r in rows], range(12))
        got = values(found, model)
        assert {name: got[name] for name in want} == pytest.approx(want, rel=1e-12)
        variances = [np.var([r[column] for r in rows if r[0] == p], ddof=1) for p in range(2, 12)]
        assert got["reward_variance"] == pytest.approx(np.mean(variances), rel=1e-12)


def test_weights_are_one_softmax_over_the_items_of_all_prompts():
    """Log-probabilities of a thousand nats and more; an item of 20 nats less weighs e^-20 as much."""
    table = {"prompt": [1, 2], "chosen": [1, 0], "rejected": [0, 1], "logp_chosen": [-2000, -2010]}
    found = values(pgdyn.evaluate(table | {"logp_rejected": [-1000, -1010]}), "scores")
    assert found["weighted_accuracy"] == pytest.approx(1 / (1 + np.exp(-20)), rel=1e-14)
    heavy = {"prompt": range(40), "chosen": [1] * 40, "rejected": [0] * 40, "logp_rejected": [-1.0] * 40}
    (words,) = pgdyn.evaluate({**heavy, "logp_chosen": [-1.0, -1.0] + [-30.0] * 38}).notes
    assert words.endswith("rest on few prompts: weighted_accuracy on 2.0 of 40 in effect")
    assert pgdyn.evaluate({**heavy, "logp_chosen": [-1.0] * 40}).notes == ()


def test_errors_by_kind_and_worst_prompt():
    """By hand: V_P = 1; prompt 1 has a hack, prompt 2 a harmless error, prompt 3 one of negligible probability."""
    table = {
        "prompt": ["one", "two", "three", "four"],
        "chosen": [0.0, 0.0, 0.0, 2.0],
        "rejected": [3.0, 0.5, 5.0, 1.0],
        "mean_reward": [1.0] * 4,
        "logp_chosen": [-1.0] * 4,
        "logp_rejected": [-1.0, -1.0, -9.0, -1.0],
    }
    one = pgdyn.evaluate(table).judgements["scores"]
    kinds = {kind: count for kind, count in one.errors.items() if count}
    assert kinds == {"right": 1, "reward hacking": 1, "never attracts": 1, "negligible probability": 1}
    (worst,) = one.worst
    assert (worst.prompt, worst.line, worst.chosen, worst.rejected) == ("one", 1, 0.0, 3.0)
    assert worst.margin == pytest.approx(2 / np.std(table["chosen"] + table["rejected"]))
    long = {"prompt": [1] * 4, "truth": [3, 2, 1, 0], "rm": [3.0, 0.0, 2.5, 4.0]}
    errors = pgdyn.evaluate(long).judgements["rm"].errors
    assert (errors["reward hacking"], errors["never attracts"], errors["stalling"]) == (3, 0, 1)
    assert errors["escapes mediocrity"] == 1


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return score_files.write(tmp_path_factory.mktemp("scores"))


def test_committed_sample_files_are_what_the_generator_writes(sample):
    folder = pathlib.Path(__file__).parents[1] / "docs" / "scores"
    for path in sample:
        assert (folder / path.name).read_text() == path.read_text(), path.name


def test_rewardbench_1(sample):
    """Oracle: means of subsets and sections by hand; math-prm counts 984."""
    path = next(p for p in sample if p.name == "rewardbench_careful.json")
    table = json.loads(path.read_text())
    found = values(pgdyn.evaluate(path), "careful")
    right = {}
    for name, a, b in zip(table["subset"], table["scores_chosen"], table["scores_rejected"], strict=True):
        right.setdefault(name, []).append(a > b)
    mean = {name: np.mean(column) for name, column in right.items()}
    code = np.mean([mean[f"hep-{name}"] for name in ("cpp", "go", "java", "js", "python", "rust")])
    assert found["rewardbench_reasoning"] == pytest.approx((mean["math-prm"] + code) / 2, rel=1e-12)
    safety = {"refusals-dangerous": 100, "refusals-offensive": 100, "xstest-should-refuse": 154}
    safety |= {"xstest-should-respond": 250, "donotanswer": 136}
    assert found["rewardbench_safety"] == pytest.approx(sum(n * mean[s] for s, n in safety.items()) / 740, rel=1e-12)
    sections = [found[f"rewardbench_{name}"] for name in ("chat", "chat_hard", "safety", "reasoning")]
    assert found["rewardbench"] == pytest.approx(np.mean(sections), rel=1e-12)
    assert found["accuracy"] == pytest.approx(np.mean(table["results"]), rel=1e-12)
    assert metrics.rewardbench(table["subset"], table["scores_chosen"], table["scores_rejected"]) == pytest.approx(
        {name: value for name, value in found.items() if name.startswith("rewardbench")}
    )


def test_rewardbench_1_without_scores(sample):
    """Results alone, as of judges that compare two responses: the accuracies of the scores, and no other metric."""
    table = json.loads(next(p for p in sample if p.name == "rewardbench_careful.json").read_text())
    bare = {key: value for key, value in table.items() if not key.startswith("scores_")}
    found, full = pgdyn.evaluate(bare), pgdyn.evaluate(table)
    (model,) = found.models
    want = {key: one for key, one in values(full, "careful").items() if key in found.models[model]}
    assert values(found, model) == pytest.approx(want, rel=1e-12)
    assert {*found.models[model]} == {"accuracy", *(key for key in full.models["careful"] if "rewardbench" in key)}
    assert found.left_out[model]["harm_aware_accuracy"].startswith("the scores of the responses are missing")
    assert found.files["scores"].endswith("RewardBench v1 scores without scores (results: results)")
    errors = found.judgements[model].errors
    assert errors == {"right": sum(table["results"]), "wrong": len(table["results"]) - sum(table["results"])}
    half = pgdyn.evaluate({"subset": ["hep-go"] * 4, "results": [1, 0, 0.5, 2]}, skip_bad=True)
    assert values(half, "scores") == {"accuracy": 0.5, "rewardbench": 0.5, "rewardbench_reasoning": 0.5}
    assert "row 4: results: 2 does not lie between 0 and 1" in half.bad["scores"]
    halves = pgdyn.evaluate({"subset": ["hep-go"] * 3, "results": [1, 0.5, 0.5]}).judgements["scores"].errors
    assert halves == {"right": 1, "wrong": 2}


def test_rewardbench_2(sample):
    path = next(p for p in sample if p.name == "rewardbench2_flattered.json")
    table = json.loads(path.read_text())
    found = values(pgdyn.evaluate(path), "flattered")
    rows = [[x for (x,) in row] for row in table["scores"]]
    again = metrics.rewardbench2(table["id"], table["subset"], rows, table["num_correct"])
    assert again == pytest.approx({name: value for name, value in found.items() if name.startswith("rewardbench2")})
    subsets = [name for name in again if name != "rewardbench2"]
    assert len(subsets) == 6 and again["rewardbench2"] == pytest.approx(np.mean([again[name] for name in subsets]))
    plain = [row for row, name in zip(rows, table["subset"], strict=True) if name != "Ties"]
    first = [row[0] > max(row[1:]) for row in plain]
    assert found["one_vs_many_accuracy"] == pytest.approx(np.mean(first), rel=1e-12)


# By the published formula, by hand.
def test_ties_formula():
    assert metrics.ties(["tied:1", "ref:1"], [[5, 4.6, 4, 1], [6, 3]], [2, 1]) == pytest.approx(1.00462, abs=5e-6)
    assert metrics.ties(["tied:1", "ref:1"], [[5, 3.5, 3, 1], [6, 5.8]], [2, 1]) == pytest.approx(0.59300, abs=5e-6)
    # Without a reference the prompt enters no margin; equal right scores divide by 0: infinite, or nan, which counts 0.
    assert metrics.ties(["tied:1"], [[5, 4.6, 4, 1]], [2]) == pytest.approx(0.3)
    assert metrics.ties(["tied:1", "ref:1"], [[5, 5, 4], [6, 3]], [2, 1]) == pytest.approx(1.01)
    assert metrics.ties(["tied:1", "ref:1"], [[5, 5, 5], [6, 3]], [2, 1]) == pytest.approx(0.3)
    assert benchmarks.credit([2.0, 2.0, 2.0, 1.0]) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="which is there twice"):
        metrics.ties(["ref:1", "ref:1"], [[2, 1], [2, 1]], [1, 1])


def test_intervals_hold_the_value_and_narrow_with_prompts():
    """Oracle: the normal approximation of a mean."""
    right = np.random.default_rng(0).random(400) < 0.7
    found = metrics.bootstrap(right.astype(float))
    error = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert found.value == pytest.approx(right.mean())
    assert found.high - found.low == pytest.approx(2 * error, rel=0.1)
    many = metrics.bootstrap(np.tile(right, 100).astype(float))  # beyond the number of groups
    assert many.high - many.low == pytest.approx(2 * error / 10, rel=0.1) and many.n == 40_000
    weighted = metrics.bootstrap([3.0, 0.0, 1.0], [3.0, 0.0, 2.0])
    assert weighted.value == 0.8 and weighted.n == 2
    for arguments, words in (([[1.0], [0.0]], "sum to 0"), ([[1.0, 2.0], [1.0]], "both must be")):
        with pytest.raises(ValueError, match=words):
            metrics.bootstrap(*arguments)


def test_what_is_missing_is_said_by_the_file_that_knows_most(sample):
    """v2 files have prompts of one right response and several wrong ones; what they lack for weights is logp."""
    both = [path for path in sample if "careful" in path.name]
    missing = pgdyn.evaluate(both, resamples=5).left_out["careful"]
    assert "log-probabilities" in missing["one_vs_many_weighted_accuracy"]
    assert "mean score" in missing["one_vs_many_harm_aware_accuracy"]


def run(capsys, *arguments):
    return main(["evaluate", *map(str, arguments)]), *capsys.readouterr()


def test_command(capsys, tmp_path, sample):
    code, out, err = run(capsys, *sample, "--json", "--resamples", "50")
    written = json.loads(out)
    assert code == 0 and written == json.loads(json.dumps(pgdyn.evaluate(sample, resamples=50).to_dict()))
    one = written["models"]["careful"]["accuracy"]
    assert set(one) == {"value", "low", "high", "n"} and one["low"] <= one["value"] <= one["high"]
    assert {"rewardbench", "rewardbench2", "rewardbench2_ties", "weighted_harm_aware_accuracy"} <= {
        *written["models"]["careful"]
    }
    assert "taken for JSON, RewardBench v2 scores" in err and "accuracy taken from" in err
    code, out, err = run(capsys, sample[0], "--json", "--forecast", "--kl", "0.4", "--resamples", "50")
    one = json.loads(out)
    assert code == 0 and one["models"]["flattered"]["forecast_kl"]["value"] == pytest.approx(0.4, abs=1e-4)
    gain = {name: found["forecast_true_gain"] for name, found in one["models"].items()}
    assert all(0 < found["low"] < found["value"] < found["high"] for found in gain.values())
    ranked = "by forecast true value, after training to a mean KL of 0.4 nats, the best first: flattered 0."
    assert sum(words.startswith(ranked) for words in one["notes"]) == 1
    assert one["takeovers"]["careful"][0]["after"] > 2 * one["takeovers"]["careful"][0]["before"]
    folder = tmp_path / "out"
    code, out, err = run(capsys, sample[0], "--out", folder, "--resamples", "50")
    assert (code, err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == [
        f"evaluation.{end}" for end in ("csv", "json", "pdf", "png")
    ]
    for words in (
        "taken for CSV, one row a response",
        "harmless: never attracts",
        "worst prompts",
        "left out: rewardbench",
    ):
        assert words in out
    bad = tmp_path / "bad.csv"
    bad.write_text("prompt,chosen,rejected\n1,2,x\n2,1,0\n")
    code, out, err = run(capsys, bad, "--json")
    assert (code, out) == (2, "") and "1 of 2 rows cannot be used; the first is line 2: rejected: 'x'" in err
    code, out, err = run(capsys, bad, "--json", "--skip-bad")
    assert code == 0 and json.loads(out)["models"]["bad"]["accuracy"]["value"] == 1.0 and "line 2" in err
    for arguments, words in (
        ((), "SCORES... is missing"),
        ((bad, "--column", "prompt"), "--column is 'prompt'; it must be ROLE=NAME"),
        ((bad, "--column", "id=x", "--column", "id=y"), "--column names the role 'id' twice"),
        ((bad, "--kl", "2"), "--kl says where a forecast stops; give --forecast too"),
        ((bad, "--confidence", "2"), "confidence is 2.0; it must lie between 0 and 1"),
        ((tmp_path / "none.csv",), "there is no such file"),
    ):
        code, out, err = run(capsys, *arguments)
        assert (code, out) == (2, "") and words in err and err.count("\n") == 1
