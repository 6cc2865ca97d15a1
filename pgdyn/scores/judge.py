"""From the rows of a file to what is said of each model."""

from __future__ import annotations

import numpy as np

from pgdyn.metrics.items import Items
from pgdyn.scores.judge_responses import judge_responses
from pgdyn.scores.judgement import Judgement, Settings
from pgdyn.scores.missing import missing, wanted
from pgdyn.scores.rewardbench import judge_lists, judge_results, rewardbench_1
from pgdyn.scores.rows import RESPONSES, V1, V2, Rows
from pgdyn.scores.tally import Tally, compact, lean, ratios


def judge(rows: Rows, settings: Settings) -> dict[str, Judgement]:
    """Each model of the rows.

    Example:
        >>> rows = Rows("pairs", np.array([0, 1]), ["a", "b"], np.array([2, 3]),
        ...             {"rm": {"chosen": np.array([1.0, 0.0]), "rejected": np.array([0.0, 1.0])}})
        >>> judge(rows, Settings())["rm"].metrics["accuracy"].value
        0.5
    """
    way = {RESPONSES: judge_responses, V2: judge_lists}.get(rows.kind, _judge_pairs)
    return {name: (judge_results if "right" in own else way)(rows, name, settings) for name, own in rows.scores.items()}


def _judge_pairs(rows: Rows, name: str, settings: Settings) -> Judgement:
    own = rows.scores[name]
    chosen, rejected, mean = own["chosen"], own["rejected"], own.get("mean_reward")
    codes, prompt, first = compact(rows.prompt)
    logp = rows.logp
    tally = Tally(len(codes), float(np.std(np.r_[chosen, rejected])))
    weight = None if logp is None else logp.sum(axis=1)
    peak = 0.0 if weight is None else float(weight.max(initial=-np.inf))
    ratio = None if logp is None else logp[:, 1] - logp[:, 0]
    tally.add(Items(prompt, chosen, rejected, weight, mean, len(codes)), peak, None, ratio)
    sums = {key: (over, tally.under[key]) for key, over in tally.over.items()}
    found = ratios(sums, settings)
    notes = lean(sums)
    if rows.kind == V1:
        assert rows.subset is not None
        more, words = rewardbench_1(rows.subset, chosen > rejected, settings)
        found, notes = found | more, notes + words
    return Judgement(
        rows.kind,
        found,
        missing(found, wanted(logp is not None, mean is not None, many=False), rows.kind),
        tally.errors,
        tally.worst(settings.worst, rows.prompts, codes, rows.lines[first]),
        notes,
    )
