"""Numbers and texts of columns, and which rows cannot be used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pgdyn.scores.files import EMPTY, LARGEST, Column, Table, number, too_large

_LOOKED_AT = 1000  # cells that tell whether a column holds numbers


@dataclasses.dataclass
class Sieve:
    """Which rows of a table are good, and what is wrong with the others.

    Attributes:
        table: the rows.
        good: [rows].
        bad: place -> what is wrong; begins with the rows that could not be read.
    """

    table: Table
    good: np.ndarray = dataclasses.field(init=False)
    bad: dict[int, str] = dataclasses.field(init=False)

    def __post_init__(self):
        self.good = np.ones(len(self.table), bool)
        self.bad = dict(self.table.bad)

    def reject(self, rows: Sequence[int] | np.ndarray, why: str | Iterable[str]) -> None:
        """Notes rows as bad; the first reason for a row stays.

        Example:
            >>> from pgdyn.scores.files import of_columns
            >>> sieve = Sieve(of_columns({"x": [1, 2]}, lambda name: False))
            >>> sieve.reject([1], "too large")
            >>> sieve.good.tolist(), sieve.bad
            ([True, False], {2: 'too large'})
        """
        words = [why] * len(rows) if isinstance(why, str) else list(why)
        for row, text in zip(rows, words, strict=True):
            self.bad.setdefault(int(self.table.lines[row]), text)
        self.good[np.asarray(rows, int)] = False

    def numbers(self, name: str, *, truths: bool = False) -> np.ndarray:
        """[rows], the column as floats; a row whose cell is no finite number (with `truths`: or true, false) is bad.

        Example:
            >>> from pgdyn.scores.files import of_columns
            >>> sieve = Sieve(of_columns({"x": [1, "a", float("nan")]}, lambda name: False))
            >>> sieve.numbers("x").tolist(), sieve.bad
            ([1.0, nan, nan], {2: "x: 'a' is no number", 3: 'x: nan is not finite'})
        """
        parts, first = [], 0
        for part in self.table.columns[name].parts:
            if isinstance(part, np.ndarray):
                values = part
                wrong = np.flatnonzero(~(np.abs(part) <= LARGEST))
                self.reject(first + wrong, [f"{name}: {too_large(part[i])}" for i in wrong])
            else:
                read = [number(cell, truths=truths) for cell in part]
                values = np.array([value for value, _ in read])
                wrong = [i for i, (_, why) in enumerate(read) if why]
                self.reject([first + i for i in wrong], [f"{name}: {read[i][1]}" for i in wrong])
            parts.append(values)
            first += len(part)
        return np.concatenate(parts)

    def keys(self, name: str) -> tuple[np.ndarray, list[str]]:
        """[rows] codes of the column's texts, and the texts; a row whose cell is empty is bad.

        Example:
            >>> from pgdyn.scores.files import of_columns
            >>> sieve = Sieve(of_columns({"prompt": ["b", "a", "b"]}, lambda name: True))
            >>> codes, texts = sieve.keys("prompt")
            >>> codes.tolist(), texts
            ([0, 1, 0], ['b', 'a'])
        """
        codes: dict[str, int] = {}
        found = np.empty(len(self.table), np.int64)
        empty = []
        for i, cell in enumerate(self.table.columns[name].cells()):
            text = key(cell)
            if not text.strip():
                empty.append(i)
            found[i] = codes.setdefault(text, len(codes))
        self.reject(empty, f"{name} is empty")
        return found, list(codes)


def key(cell: Any) -> str:
    """A cell as the key of a group.

    Example:
        >>> key(3.0), key(7), key(None)
        ('3', '7', '')
    """
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    return f"{cell:g}" if isinstance(cell, float) and cell == cell // 1 and abs(cell) < 1e15 else str(cell)


def is_numeric(column: Column, *, most: bool = True) -> bool:
    """Whether most of the first cells that are not empty are numbers, or at least one is.

    Example:
        >>> is_numeric(Column([["1", "x", "2"]])), is_numeric(Column([["a", "2020"]]))
        (True, False)
    """
    seen = numbers = 0
    for cell in column.cells():
        value, why = number(cell)
        if why == EMPTY:
            continue
        seen += 1
        numbers += not why or why.endswith(("not finite", "too large"))
        if seen == _LOOKED_AT:
            break
    return 2 * numbers > seen if most and seen else numbers > 0


def log_probabilities(sieve: Sieve, name: str) -> np.ndarray:
    """[rows], the column as log-probabilities; a row whose cell is above 0, but for rounding, is bad.

    Example:
        >>> from pgdyn.scores.files import of_columns
        >>> sieve = Sieve(of_columns({"logp": [-1.0, 0.5]}, lambda name: False))
        >>> log_probabilities(sieve, "logp")[0], sieve.bad
        (np.float64(-1.0), {2: 'logp: 0.5 is above 0, which no log-probability is'})
    """
    values = sieve.numbers(name)
    above = np.flatnonzero(values > 1e-6)
    sieve.reject(above, [f"{name}: {values[i]:g} is above 0, which no log-probability is" for i in above])
    return np.minimum(values, 0.0)


def is_prompt_id(ids: list[str], codes: np.ndarray) -> bool:
    """Whether ids and prompts are one to one and there twice or more on average: then the id is the prompt's.

    Example:
        >>> is_prompt_id(["a", "a", "b", "b"], np.array([0, 0, 1, 1])), is_prompt_id(["a", "b"], np.array([0, 0]))
        (True, False)
    """
    both = {*zip(ids, codes.tolist(), strict=True)}
    return len(both) == len({*ids}) == len({*codes.tolist()}) <= len(ids) / 2


def reject_twice(sieve: Sieve, columns: list[Any], words: str) -> None:
    """Notes as bad the rows whose cells of all columns were there before; a column may be None.

    Example:
        >>> from pgdyn.scores.files import of_columns
        >>> sieve = Sieve(of_columns({"id": ["a", "a"]}, lambda name: True))
        >>> reject_twice(sieve, [["a", "a"], None], "the id {} is there twice")
        >>> sieve.bad
        {2: "the id 'a' is there twice"}
    """
    seen: set[Any] = set()
    twice = []
    for i, row in enumerate(zip(*(column for column in columns if column is not None), strict=True)):
        if row in seen:
            twice.append(i)
        seen.add(row)
    first = columns[0]
    sieve.reject(twice, [words.format(repr(first[i])[:60]) for i in twice])
