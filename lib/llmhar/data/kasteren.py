"""Kasteren's houses A, B and C: one person each, contact sensors and few others (van Kasteren et al. 2008, 2010).

Reads, in each folder, a file of activations (start, end, sensor id, value 1), one of activities (start, end, id) and,
where they are there, files that name the ids; which is which is told by their lines, never by their names.

- Fields are parted by tabs or commas; months are English ("25-Feb-2008 00:20:14") whatever this machine's locale is.
- Header lines and the trailer "Length: N" are no rows; a trailer that counts others than there are is entered.
- An activation is two events. A session is one day. An event takes the activity whose interval contains it, both ends
  included; of several, the one that started last; in none it stays without activity.
- The files of house A name no id: its names are those of the paper, in the home file ``kasteren_a``, by which
  files without names are read whose ids and months are house A's. In the original,
  the doors of toilet and bathroom (ids 5 and 6) may be swapped.
- ``(NoInstance)`` behind a label says that it has none: such an activity is not offered.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from llmhar.data.days import kind_of_day
from llmhar.data.events import SensorEvent, Session
from llmhar.data.homes import Home, describe, load_home
from llmhar.data.intervals import Intervals
from llmhar.data.load_report import DataError, Loaded, LoadReport
from llmhar.data.reader import Reader, finish, quoted
from llmhar.data.sensor_names import said

HOUSE_A = "kasteren_a"
"""Home file of house A, the only one whose files name no id."""
ACTIVITIES_A = {
    **{1: "leave house", 4: "use toilet", 5: "take shower", 10: "go to bed", 13: "prepare Breakfast"},
    **{15: "prepare Dinner", 17: "get drink"},
}
MONTHS_A = ("2008-02", "2008-03")
"""When house A was recorded: the same ids mean other things in other houses."""
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december"),
)
OPENING = ("door", "cupboard", "fridge", "freezer", "drawer", "cabinet", "closet", "window", "gate")
"""Words of things that open and close; others turn ON and OFF."""
UNNAMED = "some ids have no name (activity 1, sensor 1): no model can know such an activity; add a file of labels"
_DATE = r"([0-9]{1,2}-[A-Za-z]{3,9}-[0-9]{4}|[0-9]{4}-[0-9]{2}-[0-9]{2})"
_TIME = rf"{_DATE}(?:[ T]([0-9]{{1,2}}:[0-9]{{2}}:[0-9]{{2}})(?:\.[0-9]*)?)?"
_NEXT = r"\s*[\t,; ]\s*"
_SPAN = re.compile(rf"{_TIME}{_NEXT}{_TIME}{_NEXT}([0-9]{{1,9}})(?:{_NEXT}([^\s,;]+))?[\s,;]*")
_WORDS = r"([^\s,;(][^,;(]*(?:[,;][^,;(]+)?)"
_LABEL = re.compile(rf"([0-9]{{1,9}})[\s,;:.]+{_WORDS}(\(\s*no\s*instances?\s*\))?[\s,;]*", re.IGNORECASE)
_TRAILER = re.compile(r"length\s*:\s*([0-9]{1,9})[\s,;]*", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1)
_SECOND = timedelta(seconds=1)
_Span = tuple[datetime, datetime, int]
"""Start, end, id."""


class _Names(NamedTuple):
    """A file that names ids."""

    path: Path
    words: dict[int, list[str]]
    """Id -> its words; of a sensor, the last one is its room."""
    absent: set[int]
    """Ids that have no instance, it says."""


@dataclass
class _House:
    """What the files of one folder hold."""

    activations: list[_Span]
    activities: list[_Span]
    things: dict[int, tuple[str, str]]
    """Sensor id -> room and name."""
    names: dict[int, str]
    """Activity id -> name, of those that are offered."""
    home: Home


def load(path: Path) -> Loaded:
    """Read the folder of a house, or a folder around one or several.

    Args:
        path: folder of the data set.

    Raises:
        DataError: no file of activations, or several of one kind in a folder.
    """
    reader = Reader(LoadReport("kasteren", path))
    folders: dict[Path, dict[str, list[Path]]] = {}
    for file in reader.files():
        kind = _kind(reader, file)
        if kind:
            folders.setdefault(file.parent, {}).setdefault(kind, []).append(file)
        else:
            reader.set_aside(file, 0, "its lines are no activations, activities or labels: file left out")
    houses = {folder: files for folder, files in folders.items() if "activations" in files}
    if not houses:
        raise reader.missing("a file of activations (start, end, sensor id, value)", path)
    reader.report.counts = dict.fromkeys(("activations", "intervals", "header lines", "trailer lines"), 0)
    sessions: list[Session] = []
    for folder, files in folders.items():
        if folder not in houses:
            for file in (file for kind in files.values() for file in kind):
                reader.set_aside(file, 0, "no file of activations beside it: file left out")
            continue
        name = folder.relative_to(path).as_posix() if len(houses) > 1 else ""
        house = _read(reader, folder, files, re.sub(r"[^\w-]+", "-", name).strip("-"))
        sessions += _sessions(house, f"{name.replace('/', '-')}-" if name else "")
    return Loaded(finish(reader.report, sessions), reader.report)


def _lines(reader: Reader, path: Path) -> Iterator[tuple[int, str, str]]:
    """Number and text of each line that is not blank, and why it has no text."""
    for line, text, reason in reader.stream(path):
        if text is None or text.strip():
            yield line, (text or "").strip(), reason


def _is_header(text: str) -> bool:
    words = text.lower()
    return not set(text) - set("- \t,;") or ("start" in words and "end" in words and not re.search("[0-9]", words))


def _kind(reader: Reader, path: Path) -> str:
    """What most rows of a file are: "activations", "activities" or "labels"; empty where most are nothing of these."""
    kinds: Counter[str] = Counter()
    for _, text, reason in _lines(reader, path):
        span = _SPAN.fullmatch(text)
        if span:
            kinds["activities" if span[6] is None else "activations"] += 1
        elif not reason and _LABEL.fullmatch(text):
            kinds["labels"] += 1
        elif reason or not (_is_header(text) or _TRAILER.fullmatch(text)):
            kinds[""] += 1
    return kinds.most_common(1)[0][0] if kinds else ""


def _read(reader: Reader, folder: Path, files: Mapping[str, list[Path]], name: str) -> _House:
    for kind, most in (("activations", 1), ("activities", 1), ("labels", 2)):
        if len(files.get(kind, [])) > most:
            shown = ", ".join(file.name for file in files[kind])
            raise DataError(f"{folder}: {shown} all hold {kind}: put each house into a folder of its own")
    activations = _spans(reader, files["activations"][0], has_value=True)
    activities = _spans(reader, files["activities"][0], has_value=False) if "activities" in files else []
    if "activities" not in files:
        reader.mended(folder, 0, "no file of activities: events are kept without activity")
    sensors, acts = ({number for _, _, number in spans} for spans in (activations, activities))
    by_sensor, by_activity = _assigned([_labels(reader, file) for file in files.get("labels", [])], sensors, acts)
    home_a = load_home(HOUSE_A)
    is_a = not files.get("labels") and {str(n) for n in sensors} <= set(home_a.sensors) and acts <= set(ACTIVITIES_A)
    is_a &= all(start.strftime("%Y-%m") in MONTHS_A for start, _, _ in activations)
    if is_a:
        things = {n: (home_a.sensors[str(n)].room, home_a.sensors[str(n)].name) for n in sensors}
        names = {n: ACTIVITIES_A[n] for n in sorted(acts)}
    else:
        things = _apart({n: _thing(n, by_sensor.words.get(n, [])) for n in sorted(sensors)})
        offered = sorted(acts | set(by_activity.words) - by_activity.absent)
        titles = {n: ("", " ".join(by_activity.words.get(n, ["activity", str(n)]))) for n in offered}
        names = {n: title for n, (_, title) in _apart(titles).items()}
        if sensors - set(by_sensor.words) or acts - set(by_activity.words):
            reader.report.warnings.append(UNNAMED)
    home = home_a if is_a else describe(name or "kasteren", things.values())
    return _House(activations, activities, things, names, home)


def _spans(reader: Reader, path: Path, *, has_value: bool) -> list[_Span]:
    """Well-formed rows of a file in its order."""
    rows, n_rows = list[_Span](), 0
    counts = reader.report.counts
    for line, text, reason in _lines(reader, path):
        trailer = _TRAILER.fullmatch(text)
        if trailer:
            counts["trailer lines"] += 1
            if int(trailer[1]) != n_rows:
                reader.mended(path, line, f"{quoted(text)}, but there are {n_rows} rows: read as they are")
            continue
        if not reason and _is_header(text):
            counts["header lines"] += 1
            continue
        reader.report.rows_read += 1
        n_rows += 1
        found = _SPAN.fullmatch(text)
        if reason or found is None or (found[6] is None) == has_value:
            wanted = "start, end, id, value" if has_value else "start, end, id"
            reader.refused(path, line, reason or f"{quoted(text)} is not {wanted}")
            continue
        start, end = _time(found[1], found[2]), _time(found[3], found[4])
        if start is None or end is None:
            wrong = found.group(1, 2) if start is None else found.group(3, 4)
            reader.refused(path, line, f"time {quoted(' '.join(filter(None, wrong)))} is not dd-Mon-yyyy HH:MM:SS")
        elif end < start:
            reader.refused(path, line, f"ends before it starts ({start} -> {end})")
        elif has_value and not re.fullmatch(r"\+?0*1(\.0*)?", found[6]):
            reader.refused(path, line, f"value {quoted(found[6])} is not 1")
        else:
            if rows and start < rows[-1][0]:
                reader.mended(path, line, f"out of order: {start} follows {rows[-1][0]}; sorted")
            rows.append((start, end, int(found[5])))
            reader.used(path, line)
    counts["activations" if has_value else "intervals"] += len(rows)
    return rows


def _time(date: str, clock: str | None) -> datetime | None:
    """A time with an English month or in ISO form; without a clock, midnight (MATLAB leaves 00:00:00 away)."""
    day, month, year = date.split("-") if not date[:4].isdigit() else reversed(date.split("-"))
    names = [i for i, name in enumerate(MONTHS, start=1) if name.startswith(month.lower())]
    hour, minute, second = (clock or "0:0:0").split(":")
    try:
        number = int(month) if month.isdigit() else names[0]
        return datetime(int(year), number, int(day), int(hour), int(minute), int(second))
    except (ValueError, IndexError):
        return None


def _labels(reader: Reader, path: Path) -> _Names:
    names = _Names(path, {}, set())
    for line, text, reason in _lines(reader, path):
        reader.report.rows_read += 1
        found = _LABEL.fullmatch(text)
        if reason or found is None:
            reader.refused(path, line, reason or f"{quoted(text)} is no id and name")
        elif int(found[1]) in names.words:
            reader.refused(path, line, f"id {found[1]} is named twice: the first name is kept")
        else:
            reader.used(path, line)
            names.words[int(found[1])] = re.split(r"[\s,;]+", found[2].strip())
            if found[3]:
                names.absent.add(int(found[1]))
    return names


def _assigned(labels: Sequence[_Names], sensors: set[int], activities: set[int]) -> tuple[_Names, _Names]:
    """Which file names sensors and which activities: sensors have rooms, and ids that occur.

    Args:
        labels: none, one or two files.
        sensors: ids in the file of activations.
        activities: ids in the file of activities.
    """
    none = _Names(Path(), {}, set())

    def score(names: _Names) -> tuple[bool, float]:
        has_rooms = sum(len(words) > 1 for words in names.words.values()) * 2 > len(names.words)
        return has_rooms, len(sensors & set(names.words)) / max(1, len(sensors)) - len(
            activities & set(names.words)
        ) / max(1, len(activities))

    if len(labels) == 2:
        first, second = sorted(labels, key=score, reverse=True)
        return first, second
    return (labels[0], none) if labels and score(labels[0]) > (False, 0) else (none, labels[0] if labels else none)


def _thing(number: int, words: Sequence[str]) -> tuple[str, str]:
    """Room and name of a sensor: the last of several words is its room."""
    if not words:
        return "", f"sensor {number}"
    *name, room = words if len(words) > 1 else (*words, "")
    return said(room) if room else "", " ".join(said(word) for word in name)


def _apart(words: Mapping[int, tuple[str, str]]) -> dict[int, tuple[str, str]]:
    """The same words, with the id behind those that several ids have."""
    shared = Counter(words.values())
    return {n: (room, f"{name} {n}" if shared[room, name] > 1 else name) for n, (room, name) in words.items()}


def _sessions(house: _House, prefix: str) -> Iterator[Session]:
    holding = Intervals([(_seconds(start), _seconds(end), number) for start, end, number in house.activities])
    changes: list[tuple[datetime, str, str, str]] = []
    for start, end, number in house.activations:
        room, thing = house.things[number]
        on, off = ("OPENED", "CLOSED") if any(word in thing for word in OPENING) else ("turned ON", "turned OFF")
        changes += ((start, room, thing, on), (end, room, thing, off))
    changes.sort(key=itemgetter(0))  # stable: ties keep the file's order
    for date, day in groupby(changes, key=lambda change: change[0].date()):
        yield Session(
            dataset="kasteren",
            session_id=f"{prefix}{date.isoformat()}",
            home=house.home.name,
            activities=house.names,
            events=tuple(
                SensorEvent(i, *change, activity_id=holding.at(_seconds(change[0]))) for i, change in enumerate(day)
            ),
            day=kind_of_day(date),
            n_residents=1,
            described=house.home,
        )


def _seconds(time: datetime) -> int:
    return (time - _EPOCH) // _SECOND
