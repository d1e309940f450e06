"""Reading rows from files that may be broken: size, encoding, line numbers, clear errors. Knows no data set.

What cannot be read at all raises :class:`DataError`; what can be read but not used goes into the report, row by row.
Files are read whole: :data:`MAX_BYTES` bounds the memory, and text is decoded as it is needed.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmhar.data.events import Session
from llmhar.data.load_report import DataError, LoadReport, MissingFile, RowNote

if TYPE_CHECKING:
    import pandas as pd

MAX_BYTES = 256 * 2**20
"""Largest file that is read: 256 MiB, some 500 times MuRAL."""
MAX_LINES = 50
"""Most lines that one quoted field may run over."""
MAX_FIELD = 2**16
"""Longest field of a CSV row, in characters; more is an unclosed quote."""
MAX_OUTER, MAX_SEEN = 6, 5_000
"""Most folders around a data set that are looked through, one inside the other; most folders looked at for it."""
MAX_UNPACKED = 64 * 2**20
"""Most bytes that a Parquet file may hold once unpacked: 64 MiB, hours of motion. A few of them can hold gigabytes."""


def quoted(text: object) -> str:
    """``text`` as a reason shows it: in quotes, control characters escaped, at most 60 characters."""
    shown = repr(text)
    return shown if len(shown) <= 60 else shown[:56] + "...'"


def natural(name: str) -> list[int | str]:
    """Sort key that puts "instance10" behind "instance9"."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name))]


def plain(text: str) -> str:
    """``text`` on one line: runs of white space become one space."""
    return " ".join(text.split())


def folders(path: Path) -> list[Path]:
    """Visible sub-folders in natural order; none where ``path`` cannot be listed."""
    try:
        found = [p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "__MACOSX"))]
    except OSError:
        return []
    return sorted(found, key=lambda p: natural(p.name))


def find_root(path: Path, is_root: Callable[[Path], bool]) -> Path | None:
    """``path``, or the first folder below it that ``is_root``: archives and their users add outer folders.

    Looks :data:`MAX_OUTER` levels down, and at :data:`MAX_SEEN` folders at most: a mistyped path may be a whole disk.
    """
    level, n_seen = [path], 0
    for _ in range(MAX_OUTER + 1):
        for folder in level:
            if is_root(folder):
                return folder
        n_seen += len(level)
        if n_seen > MAX_SEEN:
            break
        level = [child for folder in level for child in folders(folder)]
    return None


@dataclass(frozen=True)
class Reader:
    """Reads files below ``report.path`` and keeps the books in ``report``."""

    report: LoadReport

    def name(self, path: Path) -> str:
        """``path`` as the report shows it: relative to the data set's folder."""
        return path.relative_to(self.report.path).as_posix()

    def used(self, path: Path, line: int) -> None:
        """Enter a row that is used, as it is or mended: the report counts it, tests of the books ask for its line."""
        self.report.rows_used += 1

    def mended(self, path: Path, line: int, reason: str) -> None:
        """Enter a row that was kept after a repair."""
        self.report.mended.append(RowNote(self.name(path), line, reason))

    def refused(self, path: Path, line: int, reason: str) -> None:
        """Enter a row that cannot be used."""
        self.report.refused.append(RowNote(self.name(path), line, reason))

    def set_aside(self, path: Path, line: int, reason: str) -> None:
        """Enter a row that is well-formed and no event, or (line 0) a whole file."""
        self.report.set_aside.append(RowNote(self.name(path), line, reason))

    def missing(self, what: str, folder: Path) -> DataError:
        """The error for a file that must be there."""
        return MissingFile(f"{what} is missing in {folder}", self.report.dataset)

    def bytes(self, path: Path, *, any_bytes: bool = False) -> bytes:
        """Content of a regular file of at most :data:`MAX_BYTES`, without NUL bytes.

        Args:
            path: the file.
            any_bytes: NUL bytes are the caller's affair.

        Raises:
            DataError: missing, too large, unreadable, no regular file, or a NUL byte in it.
        """
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise DataError(f"{path} is not a regular file: replace it by the data set's own")
            if status.st_size > MAX_BYTES:
                raise DataError(f"{path} has {status.st_size:,} bytes, more than the {MAX_BYTES:,} that are read")
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise self.missing(path.name, path.parent) from error
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        nul = -1 if any_bytes else content.find(b"\0")
        if nul >= 0:
            line = content.count(b"\n", 0, nul) + 1
            raise DataError(f"{path}, line {line}: NUL byte; save the file as plain UTF-8 text (not UTF-16)")
        return content

    def stream(self, path: Path) -> Iterator[tuple[int, str | None, str]]:
        """Lines of a file of any size, read one after another: number, text, and why the text is None.

        A line of over :data:`MAX_FIELD` bytes, with a NUL byte, or that is no UTF-8 has no text.
        """
        with open(path, "rb") as file:
            for line, raw in enumerate(iter(partial(file.readline, MAX_FIELD), b""), start=1):
                if line == 1:
                    raw = raw.removeprefix(codecs.BOM_UTF8)
                if len(raw) >= MAX_FIELD and raw[-1:] != b"\n":
                    while (rest := file.readline(MAX_FIELD)) and rest[-1:] != b"\n":
                        pass
                    yield line, None, f"line of over {MAX_FIELD:,} bytes"
                elif b"\0" in raw:
                    yield line, None, "NUL byte; save the file as plain UTF-8 text (not UTF-16)"
                else:
                    try:
                        text, reason = raw.decode(), ""
                    except UnicodeDecodeError:
                        text, reason = None, "not UTF-8 text; save the file as UTF-8"
                    yield line, text, reason

    def files(self) -> Iterator[Path]:
        """Visible files below the data set's folder, in natural order of their paths.

        Raises:
            DataError: there are more than :data:`MAX_SEEN`, as where a path is mistyped.
        """
        places = [Path(folder, name) for folder, _, names in os.walk(self.report.path) for name in names]
        if len(places) > MAX_SEEN:
            raise DataError(f"{self.report.path} holds more than {MAX_SEEN:,} files: give the data set's own folder")
        for path in sorted(places, key=lambda place: natural(self.name(place))):
            if path.is_file() and not any(part.startswith((".", "__MACOSX")) for part in Path(self.name(path)).parts):
                yield path

    def lines(
        self, path: Path, encoding: str = "utf-8", newline: str | None = None, *, any_bytes: bool = False
    ) -> io.TextIOWrapper:
        """Text of a file, line by line; a byte order mark is dropped, and means UTF-8.

        Args:
            path: the file.
            encoding: of a file without a byte order mark.
            newline: as ``open`` takes it.
            any_bytes: bytes that are not in ``encoding`` become lone surrogates, by which the caller knows them.

        Raises:
            DataError: as :meth:`bytes`, or bytes that are not in ``encoding``.
        """
        content = self.bytes(path)
        if content.startswith(codecs.BOM_UTF8):
            content, encoding = content.removeprefix(codecs.BOM_UTF8), "utf-8"
        if any_bytes:
            return io.TextIOWrapper(io.BytesIO(content), encoding, "surrogateescape", newline)
        try:
            content.decode(encoding)
        except UnicodeDecodeError as error:
            raise _not_text(path, content.count(b"\n", 0, error.start) + 1) from error
        return io.TextIOWrapper(io.BytesIO(content), encoding=encoding, newline=newline)

    def header(self, path: Path) -> list[str]:
        """Column names of a CSV file, as its first line writes them.

        Raises:
            DataError: as :meth:`bytes`, or the line is parted by something else than commas.
        """
        first = next(iter(self.lines(path, any_bytes=True)), "").rstrip("\r\n")
        _check_commas(path, 1, first)
        return [name.strip() for name in first.replace('"', "").split(",")]

    def json(self, path: Path) -> Any:
        """Content of a JSON file.

        Raises:
            DataError: as :meth:`lines`, or no JSON.
        """
        try:
            return json.loads(self.lines(path).read())
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from error
        except DataError:
            raise
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits, brackets 100,000 deep
            raise DataError(f"{path}: not JSON that can be read ({error})") from error

    def parquet(self, path: Path, max_rows: int, max_bytes: int = MAX_UNPACKED) -> pd.DataFrame:
        """Content of a Parquet file, its index a column.

        Args:
            path: the file.
            max_rows: most rows that it may have.
            max_bytes: most bytes that it may hold once unpacked.

        Raises:
            DataError: larger than that, or no Parquet.
        """
        import pyarrow.parquet  # slow to import, and most files are text

        parts: list[Any] = []
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                facts = file.metadata
                size = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
                if facts.num_rows > max_rows or size > max_bytes:
                    raise _too_large(path, max_rows, max_bytes)
                words = [c.path for c in file.schema if c.physical_type == "BYTE_ARRAY" and (c.precision or -1) < 0]
            # A word that many rows share takes a few bytes in the file; kept as a dictionary, it does so in memory.
            with pyarrow.parquet.ParquetFile(path, read_dictionary=words) as file:
                for part in file.iter_batches(batch_size=2**14):
                    parts.append(part)
                    if sum(part.nbytes for part in parts) > max_bytes:
                        raise _too_large(path, max_rows, max_bytes)
                table = pyarrow.Table.from_batches(parts, parts[0].schema if parts else file.schema_arrow)
            return table.to_pandas(ignore_metadata=True)
        except DataError:
            raise
        except Exception as error:  # Arrow's errors have no common parent but Exception
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise DataError(f"{path} cannot be read as Parquet ({reason}): write it again") from error

    def table(self, path: Path, columns: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Rows of a CSV file with a header: line of the row's start, cells in the order of ``columns`` (2 or more).

        Column names are matched without case; others are ignored, whatever bytes they hold. Blank lines are skipped.
        Rows with too few or too many cells are refused. Every row counts as read.

        Raises:
            DataError: as :meth:`bytes`, no header with these columns, a field longer than :data:`MAX_FIELD`, or a cell
                of these columns that is no UTF-8.
        """
        header: list[str] = []
        for line, cells in records(self._comma_lines(path)):
            if not header:
                header = [cell.strip().lower() for cell in cells or []]
                absent = [column for column in columns if column.lower() not in header]
                if absent:
                    named, wanted = ", ".join(absent)[:200], ",".join(columns)[:300]
                    raise DataError(f"{path}, line {line}: no column {named}; the header must name {wanted}")
                pick = itemgetter(*(header.index(column.lower()) for column in columns))
                continue
            self.report.rows_read += 1
            is_whole = cells is not None and len(cells) == len(header)
            if cells is not None and not _is_text(pick(cells) if is_whole else cells):
                raise _not_text(path, line)
            if cells is None:
                self.refused(path, line, "a quote is opened and not closed, or stands inside a field")
            elif len(cells) != len(header):
                self.refused(path, line, miscounted(len(cells), len(header)))
            elif max(map(len, cells)) > MAX_FIELD:
                raise DataError(f"{path}, line {line}: field of over {MAX_FIELD:,} characters; split it")
            else:
                yield line, pick(cells)
        if not header:
            raise DataError(f"{path}: empty; the header must name {','.join(columns)}")

    def _comma_lines(self, path: Path) -> Iterator[str]:
        """Lines of a file whose first one is parted by commas."""
        checked = False
        for line, text in enumerate(self.lines(path, newline="", any_bytes=True), start=1):
            if not checked and text.strip():
                _check_commas(path, line, text)
                checked = True
            yield text


def records(lines: Iterable[str], delimiter: str = ",") -> Iterator[tuple[int, list[str] | None]]:
    """Line and cells of each record of a CSV file; None where quotes do not fit. Blank lines are skipped.

    A quoted field may run over several lines. But where the next line is a whole row by itself, the quote before it was
    a stray one and costs its own row alone. Of several lines whose quotes do not fit, each is named.

    Args:
        lines: the file's lines with their ends.
        delimiter: the character between cells.
    """
    start, held, width = 0, list[str](), 0
    for line, text in enumerate(lines, start=1):
        if not text.strip() and not held:
            continue
        cells, is_open = split_cells([text], delimiter)
        if held and (cells is None or len(cells) != width) and len(held) < MAX_LINES:
            held.append(text)
            cells, is_open = split_cells(held, delimiter)
            if is_open:
                continue
            yield from [(start, cells)] if cells else ((start + i, None) for i in range(len(held)))
            held = []
            continue
        yield from ((start + i, None) for i in range(len(held)))  # the stray quote's row, and what it took along
        held = []
        if is_open:
            start, held = line, [text]
            continue
        width = width or len(cells or [])
        yield line, cells
    yield from ((start + i, None) for i in range(len(held)))


def _too_large(path: Path, max_rows: int, max_bytes: int) -> DataError:
    return DataError(
        f"{path} holds more than {max_rows:,} rows or {max_bytes:,} bytes once unpacked: cut it into parts"
    )


def _is_text(cells: Sequence[str]) -> bool:
    """Whether no cell holds a byte that is no UTF-8."""
    try:
        return all(cell.isascii() or cell.encode() for cell in cells)
    except UnicodeEncodeError:
        return False


def _not_text(path: Path, line: int) -> DataError:
    return DataError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8")


def _check_commas(path: Path, line: int, header: str) -> None:
    mark = next((mark for mark in (";", "\t", "|") if mark in header and "," not in header), None)
    if mark:
        raise DataError(f"{path}, line {line}: parted by {quoted(mark)}, not by commas; save it as CSV with commas")


def split_cells(lines: list[str], delimiter: str = ",") -> tuple[list[str] | None, bool]:
    """Cells of one record, None where its quotes do not fit; and whether a quote is still open at its end.

    Args:
        lines: the record's lines; more than one where a quoted field runs over them.
        delimiter: the character between cells.
    """
    if len(lines) == 1 and '"' not in lines[0]:
        return lines[0].rstrip("\r\n").split(delimiter), False
    try:
        return next(csv.reader(lines, strict=True, delimiter=delimiter)), False
    except csv.Error as error:
        return None, "unexpected end of data" in str(error)


def miscounted(cells: int, columns: int) -> str:
    """Reason of a row that has another number of cells than its header."""
    if cells < columns:
        return f"too few columns: {cells} of {columns}"
    return f"too many columns: {cells} for {columns}; quote a field that holds a comma"


def finish(report: LoadReport, sessions: list[Session]) -> list[Session]:
    """Close the books.

    Raises:
        DataError: no session holds an event.
    """
    report.sessions = sessions
    if not sessions:
        first = "; first: {}, line {}: {}".format(*report.refused[0]) if report.refused else ""
        raise DataError(
            f"no usable sensor event in {report.path}: {report.rows_read} rows read, "
            f"{len(report.refused)} refused{first}; check that this is the data set {report.dataset}"
        )
    return sessions
