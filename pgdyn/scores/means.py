"""Mean scores of the prompts of pairs, from sampled responses to the same prompts."""

from __future__ import annotations

import numpy as np

from pgdyn.scores.rows import PAIRS, RESPONSES, Rows


def share_means(tables: list[Rows]) -> list[str]:
    """Mean scores of prompts for pairs that lack them, from responses to the same prompts scored by the same models.

    So arXiv 2604.25872 measures HAcc: offline pairs, and V_P from responses of the initial policy.

    Returns:
        Sentences on what was put together.

    Example:
        >>> pair = {"rm": {"chosen": np.ones(1), "rejected": np.zeros(1)}}
        >>> one = Rows(PAIRS, np.array([0]), ["q"], np.array([2]), pair)
        >>> two = Rows(RESPONSES, np.array([0, 0]), ["q"], np.array([2, 3]), {"rm": {"score": np.array([1.0, 3.0])}})
        >>> share_means([one, two]), one.scores["rm"]["mean_reward"].tolist()
        (['means of rm on 1 of 1 prompts with pairs are those of its sampled responses'], [2.0])
    """
    means: dict[str, dict[str, float]] = {}
    for rows in tables:
        if rows.kind != RESPONSES or not rows.prompts:
            continue
        count = np.maximum(np.bincount(rows.prompt, minlength=len(rows.prompts)), 1)
        for model, own in rows.scores.items():
            total = np.bincount(rows.prompt, own["score"], len(rows.prompts)) / count
            there = np.unique(rows.prompt)
            means.setdefault(model, {}).update((rows.prompts[i], float(total[i])) for i in there)
    notes = []
    for rows in tables:
        if rows.kind != PAIRS or not rows.prompts:
            continue
        for model, own in rows.scores.items():
            if "mean_reward" in own or model not in means:
                continue
            known = np.array([means[model].get(text, np.nan) for text in rows.prompts])[rows.prompt]
            if np.isnan(known).all():
                continue
            own["mean_reward"] = known
            with_mean = len(np.unique(rows.prompt[~np.isnan(known)]))
            total = len(np.unique(rows.prompt))
            notes.append(
                f"means of {model} on {with_mean} of {total} prompts with pairs are those of its sampled responses"
            )
    return notes
