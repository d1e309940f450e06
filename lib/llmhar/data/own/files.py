"""Reads a user's files: CSV with any delimiter, Parquet, Home Assistant's recorder; told apart by their content.

Finds header and columns, reads times, and keeps every line: as a row, or as a note why it is none. What states and
names mean is not looked at.
"""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.data.load_report import DataError, LoadReport, WrongCall
from llmhar.data.own import hass
from llmhar.data.own.rows import MAX_BYTES, MAX_ROWS, Row
from llmhar.data.own.times import BadTime, day_comes_first, read_time
from llmhar.data.own.words import COLUMN_NAMES, HASS_DOMAINS, clean, column_key
from llmhar.data.reader import MAX_FIELD, Reader, miscounted, quoted, records, split_cells

ROLES = ("time", "end", "sensor", "state", "room", "resident", "activity")
NEEDED = {
    "events": ("time", "sensor", "state"),
    "activations": ("start", "end", "sensor"),
    "labels": ("start", "end", "activity"),
}
"""What a file is -> columns that it must have."""
MAX_NAME = 120
"""Longest name of a sensor, room, resident or activity in a file, in characters."""
_MARK = re.compile(r"(?i)(?:begin|start|end|stop)\b|.*\b(?:begin|start|end|stop)\W*$")
_DELIMITERS = (",", ";", "\t", "|")
_HEAD = 50
"""Lines at a file's beginning from which its delimiter and header are found."""


@dataclass(frozen=True)
class Wanted:
    """What a user says of the files."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role -> column, where names of columns do not tell."""
    day_first: bool | None = None
    """How 03/04/2026 is read; None = from the file's own dates, where these tell."""
    hass: bool = False
    """Whether all files are Home Assistant's; else those are that have its names of columns."""

    def __post_init__(self) -> None:
        known = (*ROLES, "start", "date")
        if strange := [role for role in self.columns if role not in known]:
            raise WrongCall(f"--columns: unknown {strange[0]!r}; there are: {', '.join(known)}")


class Layout(NamedTuple):
    """Where a file's columns are."""

    kind: str
    """Key into :data:`NEEDED`."""
    places: dict[str, tuple[int, ...]]
    """Role -> columns, from 0; a date and its clock are two."""
    names: list[str]
    is_hass: bool


class FileRows(NamedTuple):
    """What a file holds."""

    rows: list[Row]
    """Every line, as a row or a note."""
    names: list[str]
    """Its columns; numbers from 1 where it has no header."""


def read_file(path: Path, shown: str, wanted: Wanted, *, labels: bool = False) -> FileRows:
    """Read a file whole.

    Args:
        path: the file.
        shown: how reports name it.
        wanted: what the user says of it.
        labels: whether it holds labelled intervals instead of events.

    Raises:
        DataError: it cannot be read at all, or has not the columns; names file, columns and cure.
    """
    reader = Reader(LoadReport("own", path.parent))
    start = _first_bytes(path)
    if start.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise DataError(f"{path} is an archive or a workbook: unpack it, or save the table as CSV")
    notes: list[Row] = []
    if start.startswith(hass.MARK):
        lines: Iterator[tuple[int, list[str] | None]] = iter(hass.read_states(path))
        layout = find_layout(list(hass.COLUMNS), wanted, labels=labels) or _no_columns(path, hass.COLUMNS, labels)
    elif start.startswith(b"PAR1"):
        table = reader.parquet(path, MAX_ROWS, MAX_BYTES)
        names = [str(name) for name in table.columns]
        layout = find_layout(names, wanted, labels=labels) or _no_columns(path, names, labels)
        lines = _parquet_lines(table)
    else:
        layout, lines, notes = _csv(reader, path, shown, wanted, labels=labels)
    rows = list(_rows(lines, layout, shown))
    if layout.is_hass or wanted.hass:
        rows = _people_only(rows)
    return FileRows(notes + _with_times(rows, shown, wanted), layout.names or list(map(str, range(1, 10))))


def _first_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except FileNotFoundError as error:
        raise DataError(f"{path} is not there: check the path") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _no_columns(path: Path, names: Iterable[str], labels: bool) -> Layout:
    needed = ["labels"] if labels else ["events", "activations"]
    columns = ", ".join(quoted(name) for name in islice(names, 30))
    raise DataError(
        f"{path}: cannot tell which column is which; it has {columns or 'none'}; needed: "
        f"{' or '.join(', '.join(NEEDED[kind]) for kind in needed)}. Say so, e.g. --columns "
        f"{'start=COLUMN,end=COLUMN,activity=COLUMN' if labels else 'time=COLUMN,sensor=COLUMN,state=COLUMN'}"
    )


def find_layout(names: Sequence[str], wanted: Wanted, *, labels: bool) -> Layout | None:
    """Which column is which, by their names; None where these do not tell.

    Args:
        names: as the header writes them.
        wanted: gives the columns that the user names.
        labels: whether labelled intervals are looked for.
    """
    keys = [column_key(name) for name in names]
    places: dict[str, tuple[int, ...]] = {}
    for role, said in wanted.columns.items():
        if found := _named(said, names, keys):
            places[role] = found
    taken = {place for found in places.values() for place in found}
    for role, known in COLUMN_NAMES.items():
        place = next((keys.index(name) for name in known if name in keys and keys.index(name) not in taken), None)
        if role not in places and place is not None:
            places[role] = (place,)
            if role not in ("time", "date", "start"):  # a column is one of these, whichever fits
                taken.add(place)
    if "date" in places and "date" not in wanted.columns and places["date"] == places.get("time"):
        del places["date"]
    if "date" in places and len(places.get("time", ())) == 1 and "time" not in wanted.columns:
        clock = next((keys.index(name) for name in ("time", "clock") if name in keys), None)
        places["time"] = places["time"] if clock is None else (*places["date"], clock)
    kinds = ["labels"] if labels else ["events", "activations"]
    if "end" in places and "start" in places and not labels and "time" not in wanted.columns:
        is_interval = places.get("time") in (None, places["start"]) or "state" not in places
        kinds = ["activations"] if is_interval and "sensor" in places else kinds
    kind = next((kind for kind in kinds if all(role in places for role in NEEDED[kind])), None)
    if kind is None:
        return None
    if kind != "events":
        places["time"] = places["start"]
    else:
        places.pop("end", None)
    picked = {role: places[role] for role in ROLES if role in places}
    return Layout(kind, picked, list(names), "entity_id" in keys and keys[picked.get("sensor", (0,))[0]] == "entity_id")


def has_column(said: str, names: Sequence[str]) -> bool:
    """Whether a file has a column that a user names."""
    return bool(_named(said, names, [column_key(name) for name in names]))


def _named(said: str, names: Sequence[str], keys: Sequence[str]) -> tuple[int, ...]:
    """Places of a column that the user names; of two, with "+" between them; or by its number, from 1."""
    stripped = [name.strip() for name in names]
    if said.strip() in stripped:
        return (stripped.index(said.strip()),)
    if column_key(said) in keys:
        return (keys.index(column_key(said)),)
    if said.strip().isdecimal() and 1 <= int(said) <= len(names):
        return (int(said) - 1,)
    parts = [_named(part, names, keys) for part in said.split("+")] if "+" in said else []
    return tuple(place for part in parts for place in part) if all(parts) else ()


def _csv(
    reader: Reader, path: Path, shown: str, wanted: Wanted, *, labels: bool
) -> tuple[Layout, Iterator[tuple[int, list[str] | None]], list[Row]]:
    content, encoding, notes = _text(reader.bytes(path, any_bytes=True), shown)
    head = list(islice(io.TextIOWrapper(io.BytesIO(content), encoding, "replace", ""), _HEAD))
    skipped, layout, delimiter = 0, None, ","
    for at, line in enumerate(head[:20]):
        for mark in _DELIMITERS:
            cells = split_cells([line], mark)[0]
            found = find_layout(cells, wanted, labels=labels) if layout is None and cells else None
            if found and cells and not _is_time(" ".join(cells[place] for place in found.places["time"])):
                skipped, layout, delimiter = at, found, mark
    lines = io.TextIOWrapper(io.BytesIO(content), encoding, "replace", "")
    for at, line in enumerate(islice(lines, skipped)):
        if line.strip():
            notes.append(Row("dropped", shown, at + 1, state="above the header"))
    if layout is None:
        layout, delimiter = _headless(head, wanted, labels=labels) or (None, delimiter)
        if layout is None:
            _no_columns(path, _best_split(head), labels)
            raise AssertionError
        said = ", ".join(f"{role} {'+'.join(str(p + 1) for p in places)}" for role, places in layout.places.items())
        notes.append(Row("mended", shown, 0, state=f"no header: columns are taken as {said}", n=0))
    return layout, ((skipped + line, cells) for line, cells in records(lines, delimiter)), notes


def _text(content: bytes, shown: str) -> tuple[bytes, str, list[Row]]:
    """A file's bytes and encoding: UTF-8, UTF-16 with its mark, or else Latin-1, which is said."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content, "utf-16", []
    try:
        content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        note = Row("mended", shown, line, state="not UTF-8: the file is read as Latin-1", n=0)
        return content.removeprefix(codecs.BOM_UTF8), "latin-1", [note]
    return content, "utf-8-sig", []


def _headless(head: list[str], wanted: Wanted, *, labels: bool) -> tuple[Layout, str] | None:
    """Columns of a file whose first line is a row: times first, then sensor and state, then an activity."""
    line = next((line for line in head if line.strip()), "")
    for mark in _DELIMITERS:
        cells = split_cells([line], mark)[0] or []
        times = [place for place, cell in enumerate(cells) if _is_time(cell)]
        pairs = [p for p in range(len(cells) - 1) if _is_time(f"{cells[p].strip()} {cells[p + 1].strip()}")]
        if not times and not pairs:
            continue
        time = tuple(times[:1]) or (pairs[0], pairs[0] + 1)
        if labels or len(times) > 1:
            if len(times) < 2:
                continue
            rest = [place for place in range(len(cells)) if place not in times]
            places: dict[str, tuple[int, ...]] = {"time": (times[0],), "end": (times[1],)}
            places |= {role: (p,) for role, p in zip(["activity", "resident"] if labels else ["sensor", "state"], rest)}
            kind = "labels" if labels else "activations"
        else:
            rest = [place for place in range(len(cells)) if place not in time]
            places = {"time": time} | {role: (p,) for role, p in zip(("sensor", "state", "activity"), rest)}
            kind = "events"
        numbers = [str(place + 1) for place in range(len(cells))]
        for role, said in wanted.columns.items():
            if found := _named(said, numbers, numbers):
                places["time" if role == "start" else role] = found
        if all({"start": "time"}.get(role, role) in places for role in NEEDED[kind]):
            return Layout(kind, {role: places[role] for role in ROLES if role in places}, [], False), mark
    return None


def _is_time(cell: str) -> bool:
    try:
        return bool(read_time(cell, day_first=True))
    except BadTime:
        try:
            return bool(read_time(cell, day_first=False))
        except BadTime:
            return False


def _best_split(head: list[str]) -> list[str]:
    line = next((line for line in head if line.strip()), "")
    return max(((split_cells([line], mark)[0] or []) for mark in _DELIMITERS), key=len)


def _parquet_lines(table: Any) -> Iterator[tuple[int, list[str] | None]]:
    columns = [list(map(_cell, table.iloc[:, place].astype(object).tolist())) for place in range(table.shape[1])]
    return ((line, list(cells)) for line, cells in enumerate(zip(*columns), start=1))


def _cell(value: Any) -> str:
    """A Parquet file's value as a CSV file would write it."""
    if isinstance(value, str):
        return value
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)[:MAX_FIELD]


def _rows(lines: Iterable[tuple[int, list[str] | None]], layout: Layout, shown: str) -> Iterator[Row]:
    """Rows with their times as written, and notes."""
    width, least = len(layout.names), 1 + max(place for places in layout.places.values() for place in places)
    needed = {"time", "end", "sensor", "state", "activity"} & {
        {"start": "time"}.get(role, role) for role in NEEDED[layout.kind]
    }
    least_needed = 1 + max(place for role in needed for place in layout.places[role])
    places = [layout.places.get(role, ()) for role in ROLES]
    singles = [found[0] if len(found) == 1 else None for found in places]
    is_header = True
    for line, cells in lines:
        if layout.names and is_header and cells == layout.names:
            is_header = False
            continue  # not counted as a row
        problem = ""
        if cells is None:
            problem = "a quote is opened and not closed, or stands inside a field"
        elif layout.names and cells == layout.names:
            yield Row("dropped", shown, line, state="the header again")
            continue
        elif len(cells) > width > 0 and any(cell.strip() for cell in cells[width:]):
            problem = miscounted(len(cells), width)
        elif len(cells) < least_needed:
            problem = miscounted(len(cells), max(width, least))
        elif max(map(len, cells)) > MAX_FIELD:
            problem = f"field of over {MAX_FIELD:,} characters"
        if problem or cells is None:
            yield Row("refused", shown, line, state=problem)
            continue
        if len(cells) < least:
            cells += [""] * (least - len(cells))
            if width:
                yield Row("mended", shown, line, state="columns at the end are missing: taken as empty", n=0)
        time, end, *texts = (
            cells[single].strip() if single is not None else " ".join(cells[place].strip() for place in several)
            for single, several in zip(singles, places)
        )
        if layout.kind == "activations" and time and not end:
            yield Row("mended", shown, line, state="no end: its beginning alone is an event", n=0)
        yield _row(layout.kind, shown, line, (time, end), [clean(text) for text in texts])


def _row(kind: str, shown: str, line: int, times: tuple[str, str], texts: Sequence[str]) -> Row:
    sensor, state, room, resident, activity = texts
    if kind == "labels":
        if not activity:
            return Row("refused", shown, line, state="no activity")
        row = Row("interval", shown, line, *times, activity=activity, resident=resident)
    else:
        if not activity and sensor.casefold() in ("label", "labels", "activity", "annotation") and _MARK.match(state):
            row = Row("mark", shown, line, times[0], activity=state, resident=resident)
        else:
            state = state or ("on" if kind == "activations" else "")
            row = Row("event", shown, line, *times, sensor, state, room, resident, activity)
        if not sensor:
            return Row("refused", shown, line, state="no sensor")
    long = next((text for text in (*texts, "") if len(text) > MAX_NAME), "")
    return Row("refused", shown, line, state=f"{quoted(long)} has over {MAX_NAME} characters") if long else row


def _people_only(rows: list[Row]) -> list[Row]:
    """Without entities of Home Assistant that tell nothing of people: counted by their domain."""
    has_people = any(row.sensor.startswith("person.") for row in rows)
    kept, others = list[Row](), Counter[tuple[str, str]]()
    for row in rows:
        domain = row.sensor.partition(".")[0]
        if row.kind != "event" or (domain in HASS_DOMAINS and not (has_people and domain == "device_tracker")):
            kept.append(row)
        else:
            others[row.file, domain] += 1
    return kept + [
        Row("dropped", file, 0, state=f"entities of Home Assistant's domain {quoted(domain)} are not read", n=n)
        for (file, domain), n in others.items()
    ]


def _with_times(rows: list[Row], shown: str, wanted: Wanted) -> list[Row]:
    """Rows with ISO times; those whose time cannot be read become notes."""
    timed = ("event", "interval", "mark")
    texts = (text for row in rows if row.kind in timed for text in (row.time, row.end))
    day_first = day_comes_first(texts, shown, wanted.day_first)
    for at, row in enumerate(rows):
        if row.kind in timed:
            try:
                end = read_time(row.end, day_first) if row.end else ""
                rows[at] = row._replace(time=read_time(row.time, day_first), end=end)
            except BadTime as error:
                rows[at] = Row("refused", row.file, row.line, state=str(error))
    return rows
