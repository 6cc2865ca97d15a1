"""Files as columns: CSV, JSON, JSON lines and Parquet, plain or gzipped.

What a file is decides its content, not its name. Rows are read one after another, so that a file of a million rows
takes little more memory than its numbers. A row that cannot be read (too few fields, a broken quote, a broken line of
JSON) is noted with its place and left out; what cannot be read at all is one sentence.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import os
import pathlib
import sys
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

_CHUNK = 50_000  # rows converted at once
EMPTY = "it is empty"
LARGEST = 1e150  # of a number whose square is finite
_MOST_PIPED = 2**30  # bytes that are read of what is no file
_TRUTHS = {"true": 1.0, "false": 0.0, "chosen": 1.0, "rejected": 0.0}
_MISSING = frozenset({"", "na", "n/a", "none", "null"})


@dataclasses.dataclass
class Column:
    """The cells of a column: arrays of floats and lists of whatever could not be read as numbers, in order."""

    parts: list[np.ndarray | list[Any]] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def cells(self) -> Iterator[Any]:
        """Every cell.

        Example:
            >>> list(Column([np.array([1.0]), ["a"]]).cells())
            [1.0, 'a']
        """
        for part in self.parts:
            yield from part.tolist() if isinstance(part, np.ndarray) else part


@dataclasses.dataclass
class Table:
    """A file as columns.

    Attributes:
        path: the file.
        form: "CSV", "JSON", "JSON lines", "Parquet" or "table".
        columns: name -> `Column`, all of one length.
        lines: [rows], the place of each row.
        unit: what a place counts: "line" or "row".
        scalars: what stands once for the whole file.
        bad: place -> what is wrong, of rows that could not be read.
    """

    path: pathlib.Path
    form: str
    columns: dict[str, Column]
    lines: np.ndarray
    unit: str = "line"
    scalars: dict[str, Any] = dataclasses.field(default_factory=dict)
    bad: dict[int, str] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.lines)


def read(path: str | os.PathLike[str], text: Callable[[str], bool]) -> Table:
    r"""Reads a file of any of the forms.

    Args:
        path: the file.
        text: from a column's name to whether its cells stay as they are, even where they look like numbers.

    Raises:
        ValueError: if it is empty, has no rows, is cut off or is none of the forms.
        OSError: if it cannot be read.

    Example:
        >>> import tempfile
        >>> place = pathlib.Path(tempfile.mkdtemp()) / "scores.csv"
        >>> _ = place.write_text("prompt,score\n1,0.5\n2\n")
        >>> table = read(place, lambda name: name == "prompt")
        >>> list(table.columns["score"].cells()), table.bad
        ([0.5], {3: 'it has 1 field where the header has 2'})
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a directory, not a file of scores")
    try:
        with path.open("rb") as file:
            # A pipe can be read but once.
            piped = None if path.is_file() else file.read(_MOST_PIPED + 1)
            head = file.read(4) if piped is None else piped[:4]
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    if piped is not None and len(piped) > _MOST_PIPED:
        raise ValueError(f"{path} is no file and gives more than 1 GiB; save it as a file first")
    if head == b"PAR1":
        return _parquet(path, text, piped)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise ValueError(f"{path} is {'empty' if not head else 'not a Parquet file'}")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{path} is UTF-16 text; save it as UTF-8")
    source: Any = path if piped is None else io.BytesIO(piped)
    if head[:2] == b"\x1f\x8b":
        opened: Any = gzip.open(source, "rb")
    else:
        opened = path.open("rb") if piped is None else source
    with opened as binary:
        # Bytes that are no UTF-8 stay apart, so that two texts are equal only where their bytes are.
        stream = io.TextIOWrapper(io.BufferedReader(binary), "utf-8-sig", "surrogateescape", newline="")  # pyright: ignore
        try:
            return _read(path, stream, text)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ValueError(f"{path} is cut off or damaged: its compressed data cannot be read to the end") from None
        except RecursionError:
            raise ValueError(f"{path} is nested too deeply to hold scores") from None


def of_columns(columns: Mapping[str, Any], text: Callable[[str], bool], name: str = "scores") -> Table:
    """A mapping of columns (a dict of lists, a pandas frame) as a table.

    Raises:
        ValueError: if lengths differ, or there are none.

    Example:
        >>> len(of_columns({"prompt": ["a", "b"], "score": [1, 2]}, lambda name: name == "prompt"))
        2
    """
    return _columnar(pathlib.Path(name), "table", dict(columns), text)


def _read(path: pathlib.Path, stream: io.TextIOWrapper, text: Callable[[str], bool]) -> Table:
    first, before = "", 0
    for line in stream:
        if line.strip():
            first = line
            break
        before += 1
    if not first:
        raise ValueError(f"{path} is empty")
    if first.startswith("PAR1"):
        raise ValueError(f"{path} is a compressed Parquet file; decompress it first")
    if first.startswith("\x1f"):
        raise ValueError(f"{path} is compressed twice; decompress it first")
    if "\x00" in first:
        raise ValueError(f"{path} is no text, and no Parquet file either")
    if first.lstrip()[0] not in "{[":
        return _csv(path, _chain(first, stream), before, text)
    try:
        row = _loads(first)
    except ValueError:
        row = None
    if isinstance(row, dict) and not (rest := _next(stream))[0]:
        return _document(path, row, text)
    if isinstance(row, dict):
        lines = [first, rest[0]]
        return _json_lines(path, lines, stream, before, rest[1], text)
    return _document(path, _whole(path, "\n" * before + first + stream.read()), text)


def _loads(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # whole numbers of more digits than Python reads
        return json.loads(text, parse_int=_whole_number)


def _whole_number(text: str) -> float:
    return int(text) if len(text) < 400 else float(text)


def _next(stream: Iterable[str]) -> tuple[str, int]:
    """The next line that is not blank, and how many were skipped."""
    skipped = 0
    for line in stream:
        if line.strip():
            return line, skipped
        skipped += 1
    return "", skipped


def _chain(first: str, rest: Iterable[str]) -> Iterator[str]:
    yield first
    yield from rest


def _csv(path: pathlib.Path, lines: Iterator[str], before: int, text: Callable[[str], bool]) -> Table:
    first = next(lines)
    counts = {mark: first.count(mark) for mark in ",\t;"}
    delimiter = max(counts, key=lambda mark: counts[mark])
    limit = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.reader(_chain(first, lines), delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader)]
        except csv.Error as error:
            raise ValueError(f"{path}, line {before + 1}: the header cannot be read: {error}") from None
        _refuse_twice(path, [name for name in header if name])
        width = len(header)
        keep = {name: Column() for name in header if name}
        bad: dict[int, str] = {}
        places: list[np.ndarray] = []
        rows: list[list[str]] = []
        starts: list[int] = []

        def flush() -> None:
            for name, cells in zip(header, zip(*rows, strict=True), strict=True):
                if name:
                    keep[name].parts.append(list(cells) if text(name) else _floats(cells))
            places.append(np.array(starts, np.int64))
            rows.clear()
            starts.clear()

        while True:
            start = before + reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                break
            except csv.Error as error:
                bad[start] = "a quoted field does not end" if "end of data" in str(error) else str(error)
                continue
            if len(row) == width:
                rows.append(row)
                starts.append(start)
                if len(rows) == _CHUNK:
                    flush()
            elif row:
                bad[start] = f"it has {len(row)} field{'s' * (len(row) != 1)} where the header has {width}"
        if rows:
            flush()
    finally:
        csv.field_size_limit(limit)
    lines_of = np.concatenate(places) if places else np.zeros(0, np.int64)
    return _checked(Table(path, "CSV", keep, lines_of, bad=bad))


def _refuse_twice(path: pathlib.Path, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{path}: the column {name!r:.80} is there twice")
        seen.add(name)


def _json_lines(
    path: pathlib.Path, lines: list[str], rest: Iterable[str], before: int, skipped: int, text: Callable[[str], bool]
) -> Table:
    columns: dict[str, Column] = {}
    bad: dict[int, str] = {}
    places: list[int] = []
    rows: list[dict[str, Any]] = []
    done = 0

    def flush() -> None:
        nonlocal done
        for name in {key: None for row in rows for key in row}:
            if name not in columns:
                columns[name] = Column([[None] * done] if done else [])
        for name, column in columns.items():
            cells = [row.get(name) for row in rows]
            column.parts.append(cells if text(name) else _floats(cells))
        done += len(rows)
        rows.clear()

    numbered = [(before + 1, lines[0]), (before + 2 + skipped, lines[1])]
    more = ((before + 3 + skipped + i, line) for i, line in enumerate(rest))
    for place, line in (*numbered,):
        _add(line, place, rows, places, bad)
    for place, line in more:
        if not line.isspace():
            _add(line, place, rows, places, bad)
        if len(rows) == _CHUNK:
            flush()
    if rows:
        flush()
    return _checked(Table(path, "JSON lines", columns, np.array(places, np.int64), bad=bad))


def _add(line: str, place: int, rows: list[Any], places: list[int], bad: dict[int, str]) -> None:
    try:
        row = _loads(line)
    except ValueError as error:
        bad[place] = f"it is no JSON: {getattr(error, 'msg', error)}"
        return
    if isinstance(row, dict):
        rows.append(row)
        places.append(place)
    else:
        bad[place] = "it is no JSON object"


def _whole(path: pathlib.Path, data: str) -> Any:
    """One JSON value, or objects one after another as a list."""
    decoder, found, at = json.JSONDecoder(parse_int=_whole_number), [], 0
    while at < len(data):
        if data[at].isspace():
            at += 1
            continue
        try:
            value, at = decoder.raw_decode(data, at)
        except json.JSONDecodeError as error:
            cut = "; it is cut off" if error.pos >= len(data.rstrip()) - 1 or "Unterminated" in error.msg else ""
            raise ValueError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}{cut}") from None
        found.append(value)
    return found[0] if len(found) == 1 else found


def _document(path: pathlib.Path, value: Any, text: Callable[[str], bool]) -> Table:
    if isinstance(value, dict):
        if any(isinstance(cells, list) for cells in value.values()):
            return _columnar(path, "JSON", value, text)
        value = [value]
    if not isinstance(value, list):
        raise ValueError(f"{path} holds neither an object of columns nor a list of rows")
    names = list({key: None for row in value if isinstance(row, dict) for key in row})
    good = [(i, row) for i, row in enumerate(value, 1) if isinstance(row, dict)]
    bad = {i: "it is no JSON object" for i, row in enumerate(value, 1) if not isinstance(row, dict)}
    cells = {name: [row.get(name) for _, row in good] for name in names}
    columns = {name: Column([column if text(name) else _floats(column)]) for name, column in cells.items()}
    return _checked(Table(path, "JSON", columns, np.array([i for i, _ in good], np.int64), "row", bad=bad))


def _columnar(path: pathlib.Path, form: str, value: dict[str, Any], text: Callable[[str], bool]) -> Table:
    columns, scalars, first = {}, {}, ""
    for name, cells in value.items():
        if isinstance(cells, str | dict) or not hasattr(cells, "__len__"):
            scalars[str(name)] = cells
            continue
        cells = cells.tolist() if hasattr(cells, "tolist") else list(cells)
        first = first or str(name)
        if columns and len(cells) != len(columns[first]):
            raise ValueError(f"{path}: {name} has {len(cells)} entries but {first} has {len(columns[first])}")
        columns[str(name)] = Column([cells if text(str(name)) else _floats(cells)])
    rows = len(columns[first]) if columns else 0
    return _checked(Table(path, form, columns, np.arange(1, rows + 1), "row", scalars))


def _parquet(path: pathlib.Path, text: Callable[[str], bool], piped: bytes | None = None) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        # One thread: a table of scores is read in a moment, and threads that outlive an error would print of their own.
        source = path if piped is None else pyarrow.BufferReader(piped)
        found = pyarrow.parquet.ParquetFile(source).read(use_threads=False)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no whole Parquet file: {str(error).splitlines()[0]:.120}") from None
    columns = {}
    _refuse_twice(path, found.column_names)
    for name in found.column_names:
        cells, kind = found.column(name), found.schema.field(name).type
        number = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind)
        if number and not text(name):
            part: Any = np.asarray(cells.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), float)
        else:
            listed = cells.to_pylist()
            part = listed if text(name) else _floats(listed)
        columns[name] = Column([part])
    return _checked(Table(path, "Parquet", columns, np.arange(1, found.num_rows + 1), "row"))


def _checked(table: Table) -> Table:
    if not len(table):
        wrong = ""
        if table.bad:
            place = min(table.bad)
            wrong = f"; {len(table.bad)} cannot be read, the first is {table.unit} {place}: {table.bad[place]}"
        raise ValueError(f"{table.path} has no rows{' that can be used' if wrong else ''}{wrong}")
    return table


def _floats(cells: Collection[Any]) -> np.ndarray | list[Any]:
    """An array, if every cell is a number; else the cells."""
    try:
        if not isinstance(next(iter(cells), ""), str) and any(isinstance(cell, bool) for cell in cells):
            return list(cells)
        return np.fromiter(map(float, cells), float, len(cells))
    except (TypeError, ValueError, OverflowError):
        return list(cells)


def number(cell: Any, *, truths: bool = False) -> tuple[float, str]:
    """A cell as a float, and what is wrong with it ("" if nothing is): lists of one number count as the number.

    With `truths`, true and false, and chosen and rejected, count as 1 and 0.

    Example:
        >>> number("0.5"), number([2]), number("abc")[1], number(float("inf"))[1]
        ((0.5, ''), (2.0, ''), "'abc' is no number", 'inf is not finite')
    """
    if isinstance(cell, list) and len(cell) == 1:
        cell = cell[0]
    if truths and str(cell).lower() in _TRUTHS:
        return _TRUTHS[str(cell).lower()], ""
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in _MISSING):
        return np.nan, EMPTY
    try:
        if isinstance(cell, bool | list | dict):
            raise ValueError
        value = float(cell)
    except (TypeError, ValueError, OverflowError):
        return np.nan, f"{cell!r:.60} is no number"
    return (value, "") if abs(value) <= LARGEST else (np.nan, too_large(value))


def too_large(value: float) -> str:
    """What is wrong with a number that is no number, infinite, or so large that its square is.

    Example:
        >>> too_large(float("nan")), too_large(1e200)
        ('nan is not finite', '1e+200 is too large')
    """
    return f"{value:g} is {'too large' if np.isfinite(value) else 'not finite'}"
