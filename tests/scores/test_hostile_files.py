"""Files that are broken, odd or large in one place: one sentence that names the place, and the rest with skip_bad."""

import gzip
import json
import math
import os
import threading

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

import pgdyn

PAIRS = "prompt,chosen,rejected\n1,2.0,1.0\n2,0.5,1.5\n3,3.0,0.0\n"
LONG = "prompt,response,true_reward,rm\n1,a,1,2\n1,b,0,3\n2,a,1,5\n2,b,0,4\n"


def short(part):
    """Names of tests hold no data: every process must give the same ones."""
    return part if isinstance(part, str) and len(part) < 40 and part.isprintable() else ""


def value(found, metric="accuracy"):
    (model,) = found.models.values()
    return model[metric]["value"]


@pytest.mark.parametrize("data", [PAIRS.encode(), gzip.compress(PAIRS.encode(), mtime=0), b""], ids=["", "gz", "none"])
def test_pipes_are_read_once(tmp_path, data):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[data])
    writer.start()
    if data:
        assert value(pgdyn.evaluate(pipe)) == pytest.approx(2 / 3)
    else:
        with pytest.raises(ValueError, match="pipe is empty"):
            pgdyn.evaluate(pipe)
    writer.join(10)
    assert not writer.is_alive()


@pytest.fixture
def written(tmp_path):
    def write(data, name="scores.csv"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


def v1(**changes):
    table = {
        "id": [0, 1, 2],
        "subset": ["donotanswer", "donotanswer", "math-prm"],
        "scores_chosen": [1.0, [2.0], 0.5],
        "scores_rejected": [0.0, [3.0], 0.5],
        "text_chosen": ["a", "b", "c"],
        "model": "org/rm",
    }
    return {**table, **changes}


def v2(**changes):
    table = {
        "id": ["1", "2", "tied:1", "ref:1"],
        "subset": ["Math", "Math", "Ties", "Ties"],
        "scores": [[[1.0], [0.0]], [1.0, 1.0], [5, 4.6, 4, 1], [6, 3]],
        "num_correct": [1, 1, 2, 1],
        "model": "rm",
    }
    return {**table, **changes}


# What is odd but right: the same numbers as the plain file.
@pytest.mark.parametrize(
    ("data", "name"),
    [
        (PAIRS, "scores.csv"),
        ("\ufeff" + PAIRS, "scores.csv"),
        (PAIRS.replace("\n", "\r\n"), "scores.csv"),
        (PAIRS.replace("\n", "\r"), "scores.csv"),
        ("\n\n" + PAIRS.replace("\n2,", "\n\n2,") + "\n\n", "scores.csv"),
        (PAIRS.replace(",", "\t"), "scores.tsv"),
        (PAIRS.replace(",", ";"), "scores.csv"),
        (PAIRS.rstrip(), "no ending"),
        (gzip.compress(PAIRS.encode(), mtime=0), "scores.csv.gz"),
        (PAIRS.replace("2,0.5", '"2\nsecond line, with ""quotes""",0.5'), "scores.csv"),
        (PAIRS.encode().replace(b"2,0.5", b"caf\xe9,0.5"), "latin.csv"),
        (PAIRS.replace("2,0.5", f"{'x' * 1_000_000},0.5"), "long line.csv"),
        ('{"prompt": 1, "chosen": 2, "rejected": 1}\n\n{"prompt": 2, "chosen": "0.5", "rejected": [1.5]}\n'
         '{"prompt": 3, "chosen": 3, "rejected": 0, "more": null}\n', "scores.jsonl"),
        ('[{"prompt": 1, "chosen": 2, "rejected": 1}, {"prompt": 2, "chosen": 0, "rejected": 1}, '
         '{"prompt": 3, "chosen": 3, "rejected": 0}]', "scores.json"),
        ('{\n "prompt": 1,\n "chosen": 2,\n "rejected": 1}\n{"prompt": 2, "chosen": 0, "rejected": 1}\n'
         '{"prompt": 3, "chosen": 3, "rejected": 0}', "one after another.json"),
        ('{"prompt": [1, 2, 3], "chosen": [2, 0, 3], "rejected": [1, 1, 0]}', "one line.json"),
    ],
    ids=short,
)  # fmt: skip
def test_odd_files_are_read(written, data, name):
    found = pgdyn.evaluate(written(data, name))
    assert value(found) == pytest.approx(2 / 3) and found.bad == {}
    (model,) = found.models.values()
    assert model["accuracy"]["n"] == 3


def parquet(table, path):
    pyarrow.parquet.write_table(pyarrow.table(table), path)
    return path


def test_parquet(tmp_path):
    table = {"prompt": ["a", "a", "b", "b"], "true_reward": [1, 0, 1, 0], "rm": [1.0, 0.0, 0.0, None]}
    path = parquet(table, tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match="1 of 4 rows cannot be used; the first is row 4: rm: nan is not finite"):
        pgdyn.evaluate(path)
    assert value(pgdyn.evaluate(path, skip_bad=True)) == 1.0
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match="is no whole Parquet file"):
        pgdyn.evaluate(path)
    both = parquet({key: both for key, both in v2().items() if key != "model" and key != "scores"}
                   | {"scores": [[1.0, 0.0], [1.0, 1.0], [5, 4.6, 4, 1], [6.0, 3.0]]},
                   tmp_path / "v2.parquet")  # fmt: skip
    assert value(pgdyn.evaluate(both), "rewardbench2_ties") == pytest.approx(1.00462, abs=5e-6)


# What cannot be read at all.
@pytest.mark.parametrize(
    ("sentence", "data", "name"),
    [
        ("is empty", "", "scores.csv"),
        ("is empty", "  \n\n", "scores.json"),
        ("is empty", b"", "scores.parquet"),
        ("not a Parquet file", b"PAR", "scores.parquet"),
        ("is UTF-16", "prompt,a".encode("utf-16"), "scores.csv"),
        ("has no rows", "prompt,chosen,rejected\n", "scores.csv"),
        ("has no rows", '{"scores_chosen": [], "scores_rejected": [], "subset": []}', "scores.json"),
        ("is no table of scores that is known: its columns are 'score'", "score\n1\n2\n", "scores.csv"),
        ("is no table of scores that is known", "prompt,response\n1,a\n", "scores.csv"),
        ("the column 'rm' is there twice", "prompt,rm,rm\n1,2,3\n", "scores.csv"),
        ("is cut off", gzip.compress(PAIRS.encode() * 50, mtime=0)[:-30], "scores.csv.gz"),
        ("is compressed twice", gzip.compress(gzip.compress(PAIRS.encode(), mtime=0), mtime=0), "scores.csv.gz"),
        ("is a compressed Parquet file", gzip.compress(b"PAR1\0\0PAR1", mtime=0), "scores.gz"),
        ("the columns 'chosen' and 'Chosen' are told apart by no letter", "chosen,Chosen,rejected\n1,2,3\n", "s.csv"),
        ("chosen and rejected hold no numbers: '2,0' is no number", 'prompt;chosen;rejected\n1;2,0;1,0\n', "s.csv"),
        ("scores_chosen and scores_rejected hold no numbers: True is no number",
         json.dumps(v1(scores_chosen=[True] * 3, scores_rejected=[False] * 3)), "s.json"),
        ("it has no columns", "{}", "s.json"),
        ("has no rows", ",".join(f"c{i}" for i in range(20_000)) + "\n", "s.csv"),
        ("has no row that can be used: 1 pairs whose true rewards are equal",
         "true_reward_chosen,true_reward_rejected,chosen,rejected\n1,1,2,1\n", "s.csv"),
        ("line 1: not valid JSON", '{"scores_chosen": [1, 2', "scores.json"),
        ("line 3: not valid JSON", '{\n"scores_chosen": [1, 2],\n"scores_rejec', "scores.json"),
        ("scores_rejected has 2 entries but id has 3", json.dumps(v1(scores_rejected=[1, 2])), "scores.json"),
        ("line 1: not valid JSON", "[[1, 2", "scores.json"),
        ("nested too deeply", "[" * 100_000, "scores.json"),
        ("is no text", b"abc\x00\x01,d\n", "scores.csv"),
        ("pairs of log-probabilities alone", "prompt,logp_chosen,logp_rejected\n1,-1,-2\n", "scores.csv"),
        ("has no row that can be used; 1 cannot, the first is line 2: chosen: 'x' is no", "chosen,rejected\nx,1\n",
         "s.csv"),
        ("has no rows that can be used; 2 cannot be read, the first is line 2: it has 1 field", "a,b,c\n1\n2\n",
         "s.csv"),
    ],
    ids=short,
)  # fmt: skip
def test_unreadable_files(written, sentence, data, name):
    path = written(data, name)
    with pytest.raises(ValueError) as caught:
        pgdyn.evaluate(path)
    assert sentence in str(caught.value) and "\n" not in str(caught.value) and str(path) in str(caught.value)


# Some rows are bad: how many, the first by its line, and the accuracy of the rest.
@pytest.mark.parametrize(
    ("first", "count", "data", "name", "rest"),
    [
        ("line 3: chosen: 'abc' is no number", 1, PAIRS.replace("0.5", "abc"), "s.csv", 1.0),
        ("line 3: chosen: it is empty", 1, PAIRS.replace("0.5", ""), "s.csv", 1.0),
        ("line 3: chosen: nan is not finite", 1, PAIRS.replace("0.5", "nan"), "s.csv", 1.0),
        ("line 3: rejected: -inf is not finite", 1, PAIRS.replace("1.5", "-inf"), "s.csv", 1.0),
        ("line 3: chosen: 1e+200 is too large", 1, PAIRS.replace("0.5", "1e200"), "s.csv", 1.0),
        ("line 3: it has 2 fields where the header has 3", 2, PAIRS.replace("2,0.5", "2") + "4,1,1,1\n", "s.csv", 1.0),
        ("line 4: it has 2 fields", 1, PAIRS[:-5], "cut off.csv", 0.5),
        ("line 4: a quoted field does not end", 1, PAIRS.replace("3,3.0", '"3,3.0'), "s.csv", 0.5),
        ("line 3: prompt is empty", 1, PAIRS.replace("2,0.5", ",0.5"), "s.csv", 1.0),
        ("line 6: chosen: 'x' is no number", 1,
         PAIRS.replace("2,0.5", '"2\n\nlines",0.5').replace("3,3.0", "3,x"), "s.csv", 0.5),
        ("line 2: it is no JSON", 1, '{"prompt": 1, "chosen": 2, "rejected": 1}\n{"prompt": 2, "cho', "s.jsonl", 1.0),
        ("line 2: it is no JSON object", 1, '{"prompt": 1, "chosen": 2, "rejected": 1}\n[1]\n', "s.jsonl", 1.0),
        ("line 2: chosen: it is empty", 1,
         '{"prompt": 1, "chosen": 2, "rejected": 1}\n{"prompt": 2, "rejected": 1}\n', "s.jsonl", 1.0),
        ("row 2: scores_chosen: nan is not finite", 1, json.dumps(v1(scores_chosen=[1, math.nan, 2])), "s.json", 1.0),
        ("row 2: scores_chosen: it is empty", 1, json.dumps(v1(scores_chosen=[1, None, 2])), "s.json", 1.0),
        ("row 2: scores_chosen: inf is not finite", 1,
         json.dumps(v1(scores_chosen=[1, 0, 2])).replace("[1, 0", "[1, 1" + "0" * 5000), "s.json", 1.0),
        ("line 2: chosen: inf is not finite", 1,
         '{"prompt": 1, "chosen": 2, "rejected": 1}\n{"prompt": 2, "chosen": 1%s, "rejected": 1}\n' % ("0" * 5000),
         "s.jsonl", 1.0),
        ("row 2: scores_chosen: True is no number", 1, json.dumps(v1(scores_chosen=[1, True, 2])), "s.json", 1.0),
        ("row 2: the id '0' is there twice in its subset", 1, json.dumps(v1(id=[0, 0, 0])), "s.json", 0.5),
        ("line 4: the id '7' is there twice", 1,
         "id,prompt,chosen,rejected\n7,1,1,0\n8,2,0,1\n7,1,1,0\n", "s.csv", 0.5),
        ("line 3: its response has been there with other scores", 1, LONG.replace("1,b,0,3", "1,a,0,3"), "s.csv", 1.0),
        ("line 3: logp: 0.5 is above 0", 1,
         "prompt,response,logp,true_reward,rm\n1,a,-1,1,2\n1,b,0.5,0,3\n2,a,-1,1,5\n2,b,-2,0,4\n", "s.csv", 1.0),
    ],
    ids=short,
)  # fmt: skip
def test_bad_rows_are_counted_and_the_first_is_named(written, first, count, data, name, rest):
    path = written(data, name)
    with pytest.raises(ValueError) as caught:
        pgdyn.evaluate(path)
    assert f"{path}: {count} of " in str(caught.value) and f"the first is {first}" in str(caught.value)
    assert "--skip-bad" in str(caught.value) and "\n" not in str(caught.value)
    found = pgdyn.evaluate(path, skip_bad=True)
    assert value(found) == rest and first in found.bad[str(path)]


@pytest.mark.parametrize(
    ("first", "changes"),
    [
        ("row 1: scores is no list of two numbers", {"scores": [[1.0], [1.0, 1.0], [5, 4.6, 4, 1], [6, 3]]}),
        ("row 2: scores[1]: None is no number", {"scores": [[1.0, 0], [1.0, None], [5, 4.6, 4, 1], [6, 3]]}),
        ("row 1: num_correct is 2, with 2 scores", {"num_correct": [2, 1, 2, 1]}),
        ("row 4: its id is 'right:1'; in the subset ties", {"id": ["1", "2", "tied:1", "right:1"]}),
        ("row 2: the id '1' is there twice", {"id": ["1", "1", "tied:1", "ref:1"]}),
    ],
)
def test_bad_rows_of_rewardbench_2(written, first, changes):
    path = written(json.dumps(v2(**changes)), "s.json")
    with pytest.raises(ValueError) as caught:
        pgdyn.evaluate(path)
    assert first.replace("None is no number", "it is empty") in str(caught.value)
    assert "rewardbench2" in pgdyn.evaluate(path, skip_bad=True).models["rm"]


def test_one_response_a_prompt_is_no_error(written):
    found = pgdyn.evaluate(written("prompt,response,true_reward,rm\n1,a,1,2\n2,b,0,3\n"))
    assert found.models["rm"] == {}
    assert found.left_out["rm"]["accuracy"] == "no prompt has two responses whose true rewards differ"
    assert found.left_out["rm"]["reward_variance"] == "no prompt has several responses sampled from the initial policy"
    mixed = pgdyn.evaluate(written(LONG + "3,a,1,9\n"))
    assert mixed.models["rm"]["accuracy"]["n"] == 2 and any(
        "1 of 3 prompts have one response" in n for n in mixed.notes
    )


def test_models_in_a_column_and_in_files(written, tmp_path):
    rows = "".join(f"{m},{p},{r},{t},{s}\n" for m, p, r, t, s in [
        ("x", 1, "a", 1, 2), ("y", 1, "a", 1, 0), ("x", 1, "b", 0, 1), ("y", 1, "b", 0, 1), ("y", 2, "a", 1, 1),
        ("y", 2, "b", 0, 0),
    ])  # fmt: skip
    found = pgdyn.evaluate(written("model,prompt,response,true_reward,score\n" + rows))
    assert {name: one["accuracy"]["value"] for name, one in found.models.items()} == {"x": 1.0, "y": 0.5}
    paths = [written(json.dumps(v1(model=name)), f"{i}.json") for i, name in enumerate(("m", "m", "n"))]
    assert list(pgdyn.evaluate(paths).models) == ["m", "m (1.json)", "n"]
    lists = written(json.dumps(v1(model=["m", "n", "m"])), "mixed.json")
    assert {name: one["accuracy"]["n"] for name, one in pgdyn.evaluate(lists).models.items()} == {"m": 2, "n": 1}


def test_models_named_by_other_things_than_text(written):
    """Names of models, ids and subsets may be objects and lists; an empty name is a bad row."""
    path = written(json.dumps(v1(model=[None, {"a": 1}, [1]], id=[[1], {"b": 2}, None])), "s.json")
    with pytest.raises(ValueError, match="1 of 3 rows cannot be used; the first is row 1: model is empty"):
        pgdyn.evaluate(path)
    assert {*pgdyn.evaluate(path, skip_bad=True).models} == {"{'a': 1}", "[1]"}


def test_settings_that_do_not_fit_the_files(written):
    pairs = written(PAIRS)
    for settings, words in (
        ({"models": ["chosen"]}, "models names columns of files of one row a response"),
        ({"resamples": 10**9}, "resamples is 1000000000"),
    ):
        with pytest.raises(ValueError, match=words):
            pgdyn.evaluate(pairs, **settings)
    assert pgdyn.evaluate(pairs, forecast=True).left_out["scores"]["forecast_kl"].startswith("a forecast needs prompts")


def test_columns_of_other_names_and_pairs_of_many_models(written):
    path = written("q,text,lp,gold,a,b\n1,u,-1,1,2,0\n1,v,-2,0,1,1\n")
    with pytest.raises(ValueError, match="is no table"):
        pgdyn.evaluate(path)
    found = pgdyn.evaluate(path, columns={"prompt": "q", "logp": "lp"}, models=["b"])
    assert value(found, "weighted_accuracy") == 0.0
    with pytest.raises(ValueError, match="has no column 'c'"):
        pgdyn.evaluate(path, columns={"prompt": "c"})
    with pytest.raises(ValueError, match="names the role 'colour'; the roles are prompt"):
        pgdyn.evaluate(path, columns={"colour": "q"})
    many = "chosen_a,rejected_a,b_chosen,b_rejected,mean_reward_a,logp_chosen,logp_rejected\n"
    many += "1,0,0,1,2,-1,-1\n0,1,1,0,2,-1,-1\n"
    models = pgdyn.evaluate(written(many)).models
    assert {name: one["accuracy"]["value"] for name, one in models.items()} == {"a": 0.5, "b": 0.5}
    assert models["a"]["harm_aware_accuracy"]["value"] == 1.0 and "harm_aware_accuracy" not in models["b"]


def test_truth_in_pair_tables_decides_which_is_better(written):
    text = "prompt,true_reward_chosen,true_reward_rejected,chosen,rejected\n1,1,0,2,1\n2,0,1,2,1\n3,1,1,2,1\n"
    found = pgdyn.evaluate(written(text))
    (model,) = found.models.values()
    assert (model["accuracy"]["value"], model["accuracy"]["n"]) == (0.5, 2) and "1 pairs whose true" in found.notes[0]


def test_booleans_are_truths_but_no_scores(written):
    path = written("prompt,response,correct,rm\n1,a,true,1\n1,b,false,0\n2,a,True,0\n2,b,False,1\n")
    assert value(pgdyn.evaluate(path)) == 0.5


def test_frames_and_records_are_tables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"prompt": ["1", "1"], "true_reward": [1, 0], "rm": np.array([1.0, 2.0])})
    assert value(pgdyn.evaluate(frame)) == value(pgdyn.evaluate(frame.to_dict("records"))) == 0.0
    for bad in ([], 3, [1, 2]):
        with pytest.raises(ValueError, match="scores"):
            pgdyn.evaluate(bad)
    with pytest.raises(FileNotFoundError, match="no such file"):
        pgdyn.evaluate("nowhere.csv")


def test_pairs_take_their_means_from_sampled_responses(written):
    """HAcc of offline pairs with V_P from another file: the second pair is wrong, and harmless as 1 < (0 + 4) / 2."""
    pairs = written("prompt,chosen_rm,rejected_rm\nq,2,1\nr,0,1\ns,0,1\n", "pairs.csv")
    samples = written("prompt,response,rm\nr,a,0\nr,b,4\nq,a,0\nq,b,0\n", "samples.csv")
    found = pgdyn.evaluate([pairs, samples])
    one = found.models["rm"]
    assert one["harm_aware_accuracy"]["value"] == 1.0 and one["harm_aware_accuracy"]["n"] == 2
    assert one["accuracy"]["value"] == pytest.approx(1 / 3) and one["accuracy"]["n"] == 3
    assert one["reward_variance"]["value"] == pytest.approx((8 + 0) / 2)
    assert any("means of rm on 2 of 3 prompts" in words for words in found.notes)


def test_ids_of_prompts_may_repeat(written):
    rows = "7,one,a,1,2\n7,one,b,0,3\n8,two,a,1,5\n8,two,b,0,4\n"
    assert value(pgdyn.evaluate(written("id,prompt,response,true_reward,rm\n" + rows))) == 0.5
    text = "prompt,response,label,rm\n1,a,chosen,1\n1,b,rejected,0\n"
    assert value(pgdyn.evaluate(written(text))) == 1.0
