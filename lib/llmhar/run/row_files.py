"""Reads the files that ``llmhar parse`` and ``llmhar score`` are given; errors name file, line and cure.

A file of events is CSV, Parquet, JSONL, or the array of ``llmhar data events --json``: its content says which.
"""

from __future__ import annotations

import ast
import csv
import io
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.data.events import Session
from llmhar.score.cells import as_written
from llmhar.score.f1 import ScoreError

NEEDED, PAIRS = ("session", "id", "activity"), "activities"
"""Columns of a file of events; the last one, where it is there, holds all [resident, activity] pairs of an event."""

Row = dict[str, Any]


class Rows(NamedTuple):
    """Events of a file or of a data set."""

    rows: list[Row | None]
    """One an event; None for a line of the file that holds none."""
    place: str
    """How an error names a place in it; the row's number, from 1, follows."""


def read_text(path: Path) -> str:
    """A file's text.

    Raises:
        ScoreError: it is no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScoreError(f"{path}: no UTF-8 text at byte {error.start}; save it as UTF-8") from error


def read_names(path: Path) -> dict[int, str]:
    """Names by line, from 0; a blank line has a number and no name."""
    lines = enumerate(read_text(path).split("\n"))
    return {number: line.strip() for number, line in lines if line.strip()}


def read_jsonl(path: Path) -> list[dict[str, Any] | None]:
    """One object a line, None for a blank line, so that places in the list are lines of the file.

    Raises:
        ScoreError: a line is not JSON, or no object.
    """
    rows: list[dict[str, Any] | None] = []
    # Not splitlines(): JSON strings may hold U+2028 and other line ends that are none here.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except (ValueError, RecursionError) as error:
            raise ScoreError(f"{path}, line {number}: not JSON ({error}); write one object a line") from error
        if row is not None and not isinstance(row, dict):
            raise ScoreError(f"{path}, line {number}: need an object, got {line:.60}")
        rows.append(row)
    return rows


def rows_of(sessions: Iterable[Session], name: str) -> Rows:
    """Events of a data set; only activities of its label set are true.

    Args:
        sessions: of the data set, all or some.
        name: how an error names it.
    """
    rows: list[Row | None] = []
    for session in sessions:
        labels = session.labels
        for event in session.events:
            names = [labels[activity] for activity in event.activity_ids if activity in labels]
            pairs = [["", each] for each in names]
            row = {"session": session.session_id, "id": event.event_id, "activity": names[0] if names else None}
            rows.append(row | {PAIRS: pairs})
    return Rows(rows, f"{name}, event")


def read_rows(path: Path) -> Rows:
    """Events of a file, whatever its form.

    Raises:
        ScoreError: it is of none of the forms, a line is broken, or a column is missing.
    """
    with open(path, "rb") as file:
        if file.read(4) == b"PAR1":
            return _alike(_read_parquet(path), f"{path}, row")
    text = read_text(path)
    start = text.lstrip()[:1]
    if start == "[":
        return _alike(_read_array(path, text), f"{path}, object")
    if start in ("{", ""):
        return _alike(read_jsonl(path), f"{path}, line")
    return _alike(_read_csv(path, text), f"{path}, line")


def _alike(rows: Iterable[Row | None], place: str) -> Rows:
    """Sessions and activities as text, ids as numbers: an event has one name, whatever form its file has."""
    return Rows(
        [row and row | {key: _value(key, row[key]) for key in (*NEEDED, PAIRS) if key in row} for row in rows], place
    )


def _value(key: str, value: Any) -> Any:
    if key == PAIRS:
        pairs = value if isinstance(value, list) else []
        return [[*pair[:-1], _value("", pair[-1])] if isinstance(pair, list) and pair else pair for pair in pairs]
    if key == "id":
        is_whole = value.is_integer() if isinstance(value, float) else str(value).strip().isdecimal()
        return int(value) if is_whole else value
    return str(value) if isinstance(value, int | float) else value


def _read_array(path: Path, text: str) -> list[Row | None]:
    try:
        rows: list[Row | None] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScoreError(f"{path}: not JSON ({error}); write one array of objects, or one object a line") from error
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise ScoreError(f"{path}, object {number}: need an object, got {json.dumps(row):.60}")
    return rows


def _read_csv(path: Path, text: str) -> list[Row | None]:
    """Rows, each in the place of its first line; the delimiter is that by which the header has most of the columns."""
    first = next((line for line in text.split("\n") if line.strip()), "")
    delimiter = max(",;\t|", key=lambda each: len(set(NEEDED).intersection(_names(first.split(each)))))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    head: list[str] = []
    rows: list[Row | None] = []
    try:
        for cells in reader:
            line = len(rows) + 1
            rows += [None] * (reader.line_num - len(rows))  # a quoted cell may run over lines
            if not any(map(str.strip, cells)):
                continue
            if not head:
                head = _names(cells)
                _need_columns(f"{path}, line {line}", head)
            elif len(cells) != len(head):
                raise ScoreError(
                    f"{path}, line {line}: {len(cells)} cells, the header has {len(head)}; put a cell that holds "
                    f"{delimiter!r} into quotes"
                )
            else:
                rows[line - 1] = _row(f"{path}, line {line}", dict(zip(head, cells)))
    except csv.Error as error:
        raise ScoreError(f"{path}, line {reader.line_num}: not CSV ({error}); check its quotes") from error
    return rows


def _names(cells: Iterable[str]) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in cells]


def _row(place: str, cells: dict[str, str]) -> Row:
    """A row of CSV; a blank activity is none; pairs are JSON, or lists as Python writes them (pandas' ``to_csv``)."""
    row: Row = {name: as_written(cells[name]) or None for name in NEEDED}
    pairs = cells.get(PAIRS, "")
    try:
        return row | {PAIRS: (ast.literal_eval if "'" in pairs else json.loads)(pairs)} if pairs else row
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ScoreError(f"{place}: {PAIRS} must be JSON, [[resident, activity], …] ({error})") from error


def _read_parquet(path: Path) -> list[Row | None]:
    from pyarrow import ArrowException, parquet  # slow to import

    rows: list[Row | None] = []
    try:
        with parquet.ParquetFile(path) as file:
            there = file.schema_arrow.names
            _need_columns(str(path), there)
            for batch in file.iter_batches(columns=[name for name in (*NEEDED, PAIRS) if name in there]):
                rows += batch.to_pylist()
    except (ArrowException, OSError) as error:
        reason = (str(error).splitlines() or ["?"])[0][:300]
        raise ScoreError(f"{path} cannot be read as Parquet ({reason}): write it again") from error
    return rows


def _need_columns(place: str, there: Collection[str]) -> None:
    missing = [name for name in NEEDED if name not in there]
    if missing:
        raise ScoreError(f"{place}: no column {' and no column '.join(missing)}; needed are {', '.join(NEEDED)}, there "
                         f"are {', '.join(there)[:200]}")  # fmt: skip
