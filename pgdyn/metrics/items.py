r"""Comparisons of ragged groups: the metrics as sums over prompts, so that a table of any shape has them.

An item is a chosen score, the best of the scores that it has to beat, its prompt, the prompt's mean score V_P and a log
weight l. One-vs-many and pairs are one thing here, since all rejected outputs score below a bar if the best of them
does. With m the largest l of all items,

    Acc = sum_x a_x / sum_x b_x,    a_x = sum over items i of prompt x of u_i 1[ rejected_i < bar_i ],    b_x = sum u_i

where u_i = 1 or exp(l_i - m), and the bar is the chosen score, or max(chosen, V_P) in the harm-aware forms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

PREFIXES = ("", "weighted_", "harm_aware_", "weighted_harm_aware_")


@dataclasses.dataclass(frozen=True)
class Items:
    """Comparisons of N items on P prompts.

    Attributes:
        prompt: [N], the index of each item's prompt.
        chosen: [N] scores.
        rejected: [N], the best score among the rejected outputs of the item.
        log_weight: [N], or None where log-probabilities are not known.
        mean_reward: [N], V_P of the item's prompt, nan where it is not known; None where it never is.
        prompts: P.
        rank: [N], 1 + the number of rejected outputs that score at least as high as the chosen one; one-vs-many alone.
    """

    prompt: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    log_weight: np.ndarray | None = None
    mean_reward: np.ndarray | None = None
    prompts: int = 0
    rank: np.ndarray | None = None

    def right(self, *, harm_aware: bool = False) -> np.ndarray:
        """[N], whether each item is right.

        Example:
            >>> items = Items(np.zeros(2, int), np.array([0.0, 2.0]), np.array([1.0, 1.0]), None, np.full(2, 1.5), 1)
            >>> items.right().tolist(), items.right(harm_aware=True).tolist()
            ([False, True], [True, True])
        """
        if not harm_aware:
            return self.rejected < self.chosen
        if self.mean_reward is None:
            raise ValueError("harm-aware metrics need the mean reward of every prompt")
        return self.rejected < np.fmax(self.chosen, self.mean_reward)

    def sums(self) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """The metrics that the data allow: name, numerators [P] and denominators [P].

        Example:
            >>> items = Items(np.zeros(2, int), np.array([0.0, 2.0]), np.array([1.0, 1.0]), None, None, 1)
            >>> [(name, over.tolist(), under.tolist()) for name, over, under in items.sums()]
            [('accuracy', [1.0], [2.0])]
        """
        known = np.ones(len(self.prompt), bool)
        if self.mean_reward is not None:
            known = ~np.isnan(self.mean_reward)
        for prefix in PREFIXES:
            harm, weighted = "harm" in prefix, "weighted" in prefix
            if (harm and (self.mean_reward is None or not known.any())) or (weighted and self.log_weight is None):
                continue
            use = known.astype(float) if harm else np.ones(len(self.prompt))
            if weighted:
                assert self.log_weight is not None
                use = use * relative(self.log_weight, use > 0)
            over = np.bincount(self.prompt, use * self.right(harm_aware=harm), self.prompts)
            yield f"{prefix}accuracy", over, np.bincount(self.prompt, use, self.prompts)


def relative(log_weight: np.ndarray, among: np.ndarray) -> np.ndarray:
    """exp(l - max l) over the items in `among`: the softmax, up to a factor.

    Raises:
        ValueError: if no item has any weight.

    Example:
        >>> relative(np.array([-1e4, -1e4 - 1, 5.0]), np.array([True, True, False])).round(4).tolist()
        [1.0, 0.3679, 0.0]
    """
    kept = np.where(among, log_weight, -np.inf)
    top = kept.max(initial=-np.inf)
    if top == -np.inf:
        raise ValueError("no item has any weight: each has an output of log-probability -inf")
    return np.exp(kept - top)


def ordered_pairs(prompt: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of rows of one prompt that the truth orders strictly: the indices of the better and of the worse row.

    Args:
        prompt: [N], sorted prompt indices of the rows.
        truth: [N].

    Example:
        >>> ordered_pairs(np.array([0, 0, 0, 1]), np.array([1.0, 0.0, 1.0, 5.0]))
        (array([0, 2]), array([1, 1]))
    """
    starts = np.flatnonzero(np.r_[True, prompt[1:] != prompt[:-1]]) if len(prompt) else np.zeros(0, int)
    sizes = np.diff(np.r_[starts, len(prompt)])
    better, worse = [], []
    for size in np.unique(sizes):
        if size < 2:
            continue
        first = starts[sizes == size]
        left, right = np.triu_indices(size, 1)
        for begin in range(0, len(first), step := max(1, 2**22 // len(left))):
            rows = first[begin : begin + step, None]
            one, other = (rows + left).ravel(), (rows + right).ravel()
            up, down = truth[one] > truth[other], truth[one] < truth[other]
            better += [one[up], other[down]]
            worse += [other[up], one[down]]
    if not better:
        return np.zeros(0, int), np.zeros(0, int)
    return np.concatenate(better), np.concatenate(worse)
