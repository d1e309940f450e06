"""Is every line of a file accounted for, by its number, once? What loaders entered, against lines counted here anew.

A loader reads a row and uses it (as it is or mended), refuses it, sets it aside or drops it. The files are parted into
lines by their bytes alone, so that a loader that reads a line twice and another one never is found as well. Where a
file has rows and no lines (Parquet, SQLite, MATLAB, NumPy), the numbers are those of its rows.
"""

from __future__ import annotations

import codecs
import csv
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pyarrow.parquet

from llmhar.data.casas_rows import _Dropped
from llmhar.data.load_report import DataError, LoadReport, RowNote
from llmhar.data.own.rows import Row
from llmhar.data.reader import Reader
from llmhar.fusion.clips import motion_files
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.clips.motion_runs import FADE

CASAS_FILE = "home.txt"
"""The one file of CASAS that is damaged; what CASAS drops is entered without a file's name."""
DELIMITERS = ",;\t|"
Entered = Counter[tuple[str, int]]
"""(file, line) -> how often it was entered."""


class Form(NamedTuple):
    """How the files of a data set are parted into rows."""

    patterns: tuple[str, ...]
    """Of the files whose lines are rows."""
    split: Callable[[bytes], list[str]]
    """Content -> lines."""
    is_table: bool = False
    """Whether a header stands above the rows, and a quoted field may run over lines."""
    is_spare: Callable[[int, str], bool] = lambda line, text: False
    """(line, text) -> whether it is no row, as a header is none."""


def lines_of_bytes(content: bytes) -> list[str]:
    """Lines of a file that is streamed: they end with a line feed."""
    return content.decode("utf-8", "replace").removeprefix("\ufeff").split("\n")


def lines_of_text(content: bytes, encoding: str = "utf-8") -> list[str]:
    """Lines as Python and editors end them; a byte order mark means UTF-8."""
    encoding = "utf-8" if content.startswith(codecs.BOM_UTF8) else encoding
    return re.split("\r\n|\r|\n", content.decode(encoding, "replace").removeprefix("\ufeff"))


def lines_of_own(content: bytes) -> list[str]:
    """Lines of a user's CSV file: UTF-8, UTF-16 by its mark, or else Latin-1."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return lines_of_text(content, "utf-16")
    try:
        content.decode()
    except UnicodeDecodeError:
        return lines_of_text(content, "latin-1")
    return lines_of_text(content)


def _is_uci_header(line: int, text: str) -> bool:
    return line <= 2 and ("start time" in text.lower() or not set(text) - set("- \t"))


def _is_kasteren_spare(line: int, text: str) -> bool:
    return bool(re.fullmatch(r"(?i)[-\s,;]+|length\s*:.*|(?=.*start)(?=.*end)[^0-9]*", text.strip()))


FORMS = {
    "casas": Form(("**/*",), lines_of_bytes),
    "kasteren": Form(("**/*",), lines_of_bytes, is_spare=_is_kasteren_spare),
    "uci_adl": Form(("*.txt",), lambda content: lines_of_text(content, "latin-1"), is_spare=_is_uci_header),
    "mural": Form(("*/data.csv",), lines_of_text, is_table=True),
    "marble": Form(tuple(f"**/{name}.csv" for name in ("environmental", "labels", "smartphone", "locations")),
                   lines_of_text, is_table=True),
    "manifest": Form(("manifest.csv",), lines_of_text, is_table=True),
}  # fmt: skip


@contextmanager
def entering() -> Iterator[Entered]:
    """What loaders use meanwhile, and what CASAS counts instead of listing it, by number."""
    entered: Entered = Counter()
    add = _Dropped.add

    def used(reader: Reader, path: Path, line: int) -> None:
        entered[reader.name(path), line] += 1
        reader.report.rows_used += 1

    def dropped(kind: _Dropped, line: int) -> None:
        entered[CASAS_FILE, line] += 1
        add(kind, line)

    with patch.object(Reader, "used", used), patch.object(_Dropped, "add", dropped):
        yield entered


def check_books(report: LoadReport) -> None:
    """Refuse books whose sums do not balance.

    Raises:
        RuntimeError: rows that were read stand nowhere.
    """
    if report.n_unaccounted:
        raise RuntimeError(f"{report.n_unaccounted} rows that were read stand nowhere in the books")


def check_lines(
    entered: Entered, notes: Iterable[RowNote], mended: Iterable[RowNote], folder: Path, form: Form
) -> None:
    """Refuse books in which a line stands twice, or not at all, or that name a line that is not there.

    Args:
        entered: rows that were used or dropped.
        notes: rows that were refused or set aside; line 0 = a whole file.
        mended: rows that were used after a repair.
        folder: of the files, damaged or not.
        form: how they are parted into rows.
    """
    notes = list(notes)
    left = {note.file for note in notes if not note.line}
    entered = entered + Counter((note.file, note.line) for note in notes if note.line)
    files = {file for pattern in form.patterns for file in folder.glob(pattern) if file.is_file()}
    for file in sorted(files):
        name, texts = file.relative_to(folder).as_posix(), form.split(file.read_bytes())
        own = Counter({line: n for (other, line), n in entered.items() if other == name})
        check_numbers(name, own, range(1, len(texts) + 1))
        repaired = {note.line: 1 for note in mended if note.file == name and note.line}
        check_numbers(name, repaired, range(1, len(texts) + 1))
        if own or name not in left:
            spare = {line for line, text in enumerate(texts, start=1) if form.is_spare(line, text)}
            refuse(name, lost_lines(texts, {*own, *spare}, form.is_table))


def check_numbers(name: str, entered: Counter[int] | dict[int, int], there: Collection[int]) -> None:
    """Refuse numbers that were entered twice, or that no row has."""
    if strange := sorted(line for line, n in entered.items() if line not in there or n > 1):
        raise RuntimeError(f"{name}, line {strange[0]}: entered {entered[strange[0]]} times, of {len(there)} lines")


def refuse(name: str, lost: Sequence[int]) -> None:
    """Refuse books that lack lines."""
    if lost:
        raise RuntimeError(f"{name}, line {lost[0]}: stands nowhere in the books ({len(lost)} such lines)")


def lost_lines(texts: Sequence[str], entered: Collection[int], is_table: bool, delimiters: str = ",") -> list[int]:
    """Lines that hold something and were not entered.

    Args:
        texts: all lines.
        entered: their numbers, from 1.
        is_table: whether the first line is a header, and lines may go on the record that was entered before them.
        delimiters: of a table's cells, one of these.
    """
    filled = [line for line, text in enumerate(texts, start=1) if text.strip()]
    if not is_table:
        return [line for line in filled if line not in entered]
    lost: list[int] = []
    for start, end in pairwise([*sorted({*filled[:1], *entered}), len(texts) + 1]):
        if end > start + 1:
            own = min(record_length(texts[start - 1 : end - 1], mark) for mark in delimiters)
            lost += [line for line in filled if start + own <= line < end]
    return lost


def record_length(texts: Sequence[str], delimiter: str) -> int:
    """Lines of the first record of a CSV file: more than one where a quoted field runs over them."""
    for n in range(1, len(texts) + 1):
        with suppress(csv.Error):  # a quote is open, or does not fit
            list(csv.reader([f"{text}\n" for text in texts[:n]], strict=True, delimiter=delimiter))
            return n
    return 1


def check_own(rows: Sequence[Row], file: Path) -> None:
    """Refuse the rows of a user's file if a line of it, or a row, stands nowhere or twice.

    Args:
        rows: that ``llmhar data new`` kept: of every line a row or a note.
        file: the user's.
    """
    own = [row for row in rows if row.file == file.name and row.n]
    entered, counted = Counter(row.line for row in own if row.line), sum(row.n for row in own if not row.line)
    content = file.read_bytes()
    if content.startswith((b"SQLite", b"PAR1")):
        numbers = states_in(file) if content.startswith(b"S") else range(1, rows_in(file) + 1)
        check_numbers(file.name, entered, numbers)
        lost = sorted({*numbers} - {*entered})
    else:
        texts = lines_of_own(content)
        check_numbers(file.name, entered, range(1, len(texts) + 1))
        first = min((row.line for row in own if row.line and row.state != "above the header"), default=len(texts) + 1)
        has_header = not any(row.file == file.name and row.state.startswith("no header") for row in rows)
        spare = [line for line in range(1, first) if line not in entered and texts[line - 1].strip()] * has_header
        lost = lost_lines(texts, {*entered, *spare[:1]}, True, DELIMITERS)
    if len(lost) != counted:
        raise RuntimeError(f"{file.name}: {len(lost)} rows were not entered, {counted} are counted; first: {lost[:1]}")


def states_in(database: Path) -> set[int]:
    """Keys of the states of Home Assistant's recorder."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return {number for (number,) in db.execute("SELECT state_id FROM states")}


def rows_in(file: Path) -> int:
    """Rows of a Parquet file."""
    with pyarrow.parquet.ParquetFile(file) as parquet:
        return int(parquet.metadata.num_rows)


def check_manifest(clips: ClipSet, entered: Entered, folder: Path) -> None:
    """Refuse a manifest's books, and those of its motion file, if a row stands nowhere or twice."""
    check_lines(entered, clips.refused, (), folder, FORMS["manifest"])
    if (file := folder / "manifest.parquet").is_file():
        own = Counter(note.line for note in clips.refused) + Counter({line: n for (_, line), n in entered.items()})
        check_numbers(file.name, own, range(1, rows_in(file) + 1))
        refuse(file.name, sorted({*range(1, rows_in(file) + 1)} - {*own}))
    for file in folder.glob("imu.*"):
        check_motion(file)


def check_motion(file: Path) -> None:
    """Refuse what was read of a motion file if one of its rows stands nowhere or twice."""
    status = file.stat()
    try:
        rows, notes = motion_files._prepared(file, status.st_mtime_ns, status.st_size)
    except DataError:
        return
    entered = Counter(rows.line.tolist()) + Counter(n.line for n in notes if n.line and not n.reason.endswith("sorted"))
    if file.suffix == ".parquet":
        check_numbers(file.name, entered, range(1, rows_in(file) + 1))
        return refuse(file.name, sorted({*range(1, rows_in(file) + 1)} - {*entered}))
    texts = lines_of_text(file.read_bytes())
    check_numbers(file.name, entered, range(1, len(texts) + 1))
    refuse(file.name, lost_lines(texts, entered, True))


def check_samples(clips: ClipSet, n_rows: int, n_joins: int = 0) -> None:
    """Refuse clips of which rows are in none and are not counted either.

    Args:
        clips: cut from all rows of a data set.
        n_rows: those.
        n_joins: how often two stretches were joined, which makes one of :data:`FADE` rows of both.
    """
    in_clips = sum(len(clip.read_motion().samples) for clip in clips.clips if clip.read_motion)
    dropped = sum(rows.rows for rows in clips.dropped)
    if in_clips + dropped + FADE * n_joins != n_rows:
        raise RuntimeError(f"{n_rows} rows, but {in_clips} in clips, {dropped} dropped, {n_joins} joins")
