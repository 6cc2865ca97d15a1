"""docs/theory.md tells of every theorem, under its number, in its own words. Oracle: the theorems themselves."""

import pathlib
import re

from pgdyn.theory import THEOREMS

TEXT = (pathlib.Path(__file__).parents[2] / "docs" / "theory.md").read_text(encoding="utf-8")
ENTRY = re.compile(
    r"^\*\*(?P<number>[A-F]\d+)(?P<letter>[a-z]?) `(?P<name>\w+)`\*\* \((?P<kind>[a-z ]+)\)\n\n"
    r"(?P<statement>.+?)\n\nAssumes: (?P<assumes>.+?)\n\nSource: (?P<source>.+?)\.\n(?=\n[#*]|\Z)",
    re.MULTILINE | re.DOTALL,
)
ENTRIES = list(ENTRY.finditer(TEXT))


def plain(text):
    return " ".join(text.split())


def place(number):
    return number[0], int(number[1:])


def test_every_theorem_stands_there_once_and_nothing_else():
    names = [entry["name"] for entry in ENTRIES]
    assert sorted(names) == sorted(THEOREMS) and len(TEXT.split("\n**")) == len(ENTRIES) + 1


def test_the_words_are_those_of_the_theorem():
    for entry in ENTRIES:
        theorem = THEOREMS[entry["name"]]
        assert entry["kind"] == theorem.kind
        assert plain(entry["statement"]) == plain(theorem.statement)
        assert plain(entry["source"]) == plain(theorem.source)


def test_numbers_count_up_under_the_headings_of_their_subject():
    headings = re.findall(r"^### ([A-F]\d+) ", TEXT, re.MULTILINE)
    assert headings == sorted(set(headings), key=place) == sorted({entry["number"] for entry in ENTRIES}, key=place)
    for heading in headings:
        letters = [entry["letter"] for entry in ENTRIES if entry["number"] == heading]
        assert letters == ([""] if len(letters) == 1 else list("abcdef"[: len(letters)])), heading
    assert ENTRIES == sorted(ENTRIES, key=lambda entry: (*place(entry["number"]), entry["letter"]))


def test_every_theorem_is_registered_under_its_own_name():
    for name, theorem in THEOREMS.items():
        assert theorem.name == name
        assert theorem.statement.endswith((".", ")")) and theorem.source and theorem.unit
