"""MuRAL: 21 sessions of two to four people, one folder each (Chen et al. 2025, arXiv 2504.20505).

Reads ``NN/data.csv``, ``NN/context.json``, ``activities.json`` and ``sensors.json``; writes nothing and downloads
nothing. The simulated home is written in this format, so this module reads it too.

- MuRAL's clock has no date. A session starts on a nominal one, Monday 2000-01-03, or Saturday 2000-01-01 where its
  context says "weekend"; a day is added at each midnight. Only the time of day means anything.
- ``room`` + ``sensor`` + ``state`` always reads as the file's own words (S1 §3.1.1). So the front door keeps its
  name: sensor "main door", room empty.
- Activity numbers come from ``activities.json`` only. An event of several residents ("A, B") is a joint event: each of
  them does its activity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.data.events import SensorEvent, Session
from llmhar.data.load_report import DataError, Loaded, LoadReport, RowNote, Split
from llmhar.data.reader import Reader, find_root, finish, folders, natural, plain, quoted

MARK = "SIMULATED.md"
"""File that tells simulated folders from real ones."""
ROOMS = ("bedroom_1", "bedroom_2", "bathroom", "kitchen", "dining room", "living room")
"""Rooms that sensor names begin with, known beside those of ``sensors.json``."""
STATES = {state.lower(): state for state in ("turned ON", "turned OFF", "OPENED", "CLOSED")}
NOMINAL_DATES = {"weekday": datetime(2000, 1, 3), "weekend": datetime(2000, 1, 1)}
"""A Monday and a Saturday."""
COLUMNS = ("time", "sensor", "action", "Subject", "activity")
HALF_DAY = 12 * 3600
MAX_MIDNIGHTS = 366
_CLOCK = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])")
_NUMBER = re.compile(r"([0-9]{1,9})(?:\.0)?")  # pandas writes 6.0 where a column has blanks


def load(path: Path, *, dataset: str = "mural", home: str = "mural", seed: int | None = None) -> Loaded:
    """Read a MuRAL folder; an inner ``MuRAL`` folder, as its archive has, is found.

    Args:
        path: folder that holds 01, 02, ... and activities.json.
        dataset: name in DATASETS that the sessions carry.
        home: name of the home file that the sessions carry.
        seed: of a simulated home, which the folder's mark must name; None = real data, which have no such mark.

    Raises:
        DataError: a file is missing or is no table, JSON or text, or the folder is simulated where real data are asked
            for, or the other way round.
    """
    report = LoadReport(dataset, path)
    reader = Reader(report)
    root = find_root(
        path, lambda p: (p / "activities.json").exists() or any((q / "data.csv").exists() for q in folders(p))
    )
    if root is None:
        raise reader.missing("activities.json", path)
    _check_mark(reader, root, dataset, seed)
    activities = _activities(reader, root / "activities.json")
    rooms = _rooms(reader, root / "sensors.json")
    sessions = []
    for folder in folders(root):
        if not (folder.name.isdecimal() or (folder / "context.json").exists() or (folder / "data.csv").exists()):
            continue
        day, n_residents = _context(reader, folder / "context.json")
        events = _events(
            reader, folder / "data.csv", NOMINAL_DATES.get(day, NOMINAL_DATES["weekday"]), activities, rooms
        )
        if events:
            sessions.append(Session(dataset, folder.name, home, activities, events, day, n_residents))
        else:
            reader.refused(folder / "data.csv", 0, "no usable sensor event: session left out")
    return Loaded(finish(report, sessions), report)


def split(sessions: Sequence[Session], further_tests: int = 0) -> Split:
    """S1 §4.3.1: by name, the first 15 sessions train, the next six test; of fewer than 21, the last third tests.

    Any further session trains, but for the last ``further_tests``: MuRAL has none, the simulated home can have.
    """
    names = sorted((session.session_id for session in sessions), key=natural)
    start, end = (15, 21) if len(names) >= 21 else (len(names) * 2 // 3, len(names))
    further = max(end, len(names) - further_tests)
    return Split(names[:start] + names[end:further], names[start:end] + names[further:])


def _check_mark(reader: Reader, root: Path, dataset: str, seed: int | None) -> None:
    """A simulated home is known by its mark, so that nobody takes it for real data, nor real data for it."""
    mark = root / MARK
    if seed is None and mark.exists():
        raise DataError(f"{root} holds llmhar's simulated home, no real data: load it as data set `simulated`")
    if seed is None or (mark.exists() and f"(seed {seed})" in reader.lines(mark).read()):
        return
    what = "another simulated home" if mark.exists() else f"no simulated home, it has no {MARK}"
    own = paths.data() / dataset
    cure = "move it away" if root == own else f"load it as what it is, or give no path and {dataset} is read from {own}"
    raise DataError(f"{root} holds {what} (wanted: data set {dataset}, seed {seed}): {cure}")


def _activities(reader: Reader, path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for number, name in _objects(reader, path, "id", "name"):
        key = _whole(number)
        if key is None or not isinstance(name, str) or not plain(name):
            raise DataError(f'{path}: activity {quoted(number)} must be {{"id": whole number, "name": text}}')
        if names.setdefault(key, plain(name)) != plain(name):
            raise DataError(f"{path}: activity {key} has two names; keep one")
    if not names:
        raise DataError(f"{path}: no activity in it; restore the data set's own file")
    return names


def _rooms(reader: Reader, path: Path) -> list[str]:
    """Room names, longest first, so that "dining room" wins over a room called "dining"."""
    rooms = set(ROOMS)
    if path.exists():  # without it the known rooms have to do
        for (location,) in _objects(reader, path, "sensor location"):
            if isinstance(location, str) and plain(location) not in ("", "main door"):
                rooms.add(plain(location).removesuffix(" door"))
    return sorted(rooms, key=lambda room: (-len(room), room))


def _objects(reader: Reader, path: Path, *keys: str) -> Iterator[tuple[Any, ...]]:
    """Values of ``keys`` of each object in a JSON list."""
    listed = reader.json(path)
    if not isinstance(listed, list) or not all(
        isinstance(item, dict) and all(k in item for k in keys) for item in listed
    ):
        raise DataError(f"{path}: must be a list of objects with {' and '.join(quoted(key) for key in keys)}")
    return (tuple(item[key] for key in keys) for item in listed)


def _whole(value: object) -> int | None:
    """``value`` as a number from 0 where it is one, as a number or as digits."""
    found = _NUMBER.fullmatch(str(value).strip()) if isinstance(value, int | str) else None
    return int(found[1]) if found else None


def _context(reader: Reader, path: Path) -> tuple[str, int | None]:
    """Day ("weekday", "weekend" or empty) and number of residents."""
    if not path.exists():
        return "", None
    context = reader.json(path)
    if not isinstance(context, dict):
        raise DataError(f"{path}: must be a JSON object")
    day = plain(str(context.get("day", ""))).lower()
    if day not in ("", *NOMINAL_DATES):
        reader.mended(path, 0, f"day {quoted(context['day'])} is neither weekday nor weekend: left empty")
        day = ""
    residents = _whole(context.get("resident number"))
    if residents is None and "resident number" in context:
        reader.mended(path, 0, f"resident number {quoted(context['resident number'])} is no number: left empty")
    return day, residents


def _events(
    reader: Reader, path: Path, date: datetime, activities: Mapping[int, str], rooms: list[str]
) -> tuple[SensorEvent, ...]:
    """Sensor events of one session in time order."""
    rows: list[tuple[int, str, str, str, tuple[str, ...], int | None, tuple[tuple[str, int], ...]]] = []
    places: dict[str, tuple[str, str]] = {}
    people: dict[str, tuple[str, ...]] = {}
    latest: int | None = None
    for line, (clock, name, action, subject, activity) in reader.table(path, COLUMNS):
        if not name.strip():
            reader.report.set_aside.append(RowNote(reader.name(path), line, "annotation only: no sensor"))
            continue
        found, state = _CLOCK.fullmatch(clock.strip()), STATES.get(plain(action).lower())
        if found is None or state is None:
            what = f"time {quoted(clock)} is not HH:MM:SS" if found is None else f"unknown action {quoted(action)}"
            reader.refused(path, line, what)
            continue
        second = _unwrapped(int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3]), latest)
        if latest is not None and second < latest:
            reader.mended(path, line, f"out of order: {clock.strip()} follows a later row; sorted")
        latest = second if latest is None else max(latest, second)
        if latest > MAX_MIDNIGHTS * 86400:
            raise DataError(
                f"{path}, line {line}: over {MAX_MIDNIGHTS} midnights in one session; sort its rows by time"
            )
        number = _activity(reader, path, line, activity.strip(), activities)
        if name not in places:
            places[name] = _place(plain(name), rooms)
        if subject not in people:
            people[subject] = tuple(part.strip() for part in subject.split(",") if part.strip())
        several = people[subject] if len(people[subject]) > 1 else ()
        pairs = tuple((resident, number) for resident in several) if number is not None else ()
        rows.append((second, *places[name], state, people[subject], number, pairs))
        reader.used(path, line)
    rows.sort(key=lambda row: row[0])  # stable: ties keep the file's order
    return tuple(SensorEvent(i, date + timedelta(seconds=row[0]), *row[1:]) for i, row in enumerate(rows))


def _unwrapped(clock: int, latest: int | None) -> int:
    """Seconds since the nominal date's midnight, for seconds since some midnight and the latest time so far.

    Over 12 hours back means that midnight has passed. Over 12 hours ahead, after a midnight, means a late row from
    before it. Anything else is the same day: a small step back is a row out of order.
    """
    if latest is None:
        return clock
    second = latest - latest % 86400 + clock
    if second < latest - HALF_DAY:
        return second + 86400
    if second > latest + HALF_DAY and second >= 86400:
        return second - 86400
    return second


def _activity(reader: Reader, path: Path, line: int, text: str, activities: Mapping[int, str]) -> int | None:
    if not text:
        return None
    number = _whole(text)
    if number not in activities:
        reader.mended(path, line, f"activity {quoted(text)} is not in activities.json: event kept without activity")
        return None
    return number


def _place(name: str, rooms: list[str]) -> tuple[str, str]:
    """A sensor column's (room, sensor): "kitchen counter mov" -> ("kitchen", "counter mov")."""
    for room in rooms:
        if name.startswith(room + " "):
            return room, name[len(room) + 1 :]
    return "", name
