"""UCI ADL: two homes of one person each, whole days of binary sensors (Ordonez, de Toledo, Sanchis 2013).

Reads ``Ordonez{A,B}_{Sensors,ADLs}.txt`` as the UCI archive holds them; does not read the descriptions (B's names
doors that its data does not have).

- A sensor row is an interval: it becomes an ON and an OFF event. A session is one calendar day of one home.
- A sensor is known by name and place: "Door" alone is three sensors in home B.
- An event takes the activity whose interval contains it, both ends included; of several, the one that started last;
  in none it stays without activity.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

from llmhar.data.days import kind_of_day
from llmhar.data.events import SensorEvent, Session
from llmhar.data.intervals import Intervals
from llmhar.data.load_report import Loaded, LoadReport, WrongCall
from llmhar.data.reader import Reader, find_root, finish, quoted

_NAMES = (
    *("Breakfast", "Dinner", "Grooming", "Leaving", "Lunch"),
    *("Showering", "Sleeping", "Snack", "Spare_Time/TV", "Toileting"),
)
ACTIVITIES = dict(enumerate(_NAMES))
"""Both homes' ten names in sorted order, from 0: fixed, though home A's data has no Dinner."""
HOMES = ("A", "B")
ROOMS = {"living": "living room"}
"""Places whose plain word is another; the rest are only lower-cased."""
NAMES = {"maindoor": "main door"}
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_EPOCH = datetime(1970, 1, 1)
_SECOND = timedelta(seconds=1)


def load(path: Path, *, home: str = "both") -> Loaded:
    """Read the folder with the text files, or a folder around it.

    Args:
        path: folder of the data set.
        home: "A", "B" or "both" (A's days first).

    Raises:
        DataError: unknown home, or a file is missing or is no text.
    """
    if home not in (*HOMES, "both"):
        raise WrongCall(f"uci_adl has no home {quoted(home)}: choose A, B or both")
    wanted = HOMES if home == "both" else (home,)
    report = LoadReport("uci_adl", path)
    reader = Reader(report)
    root = find_root(path, lambda p: any((p / f"Ordonez{letter}_Sensors.txt").exists() for letter in wanted))
    if root is None:
        raise reader.missing(f"Ordonez{wanted[0]}_Sensors.txt", path)
    sessions: list[Session] = []
    for letter in wanted:
        if home == "both" and not (root / f"Ordonez{letter}_Sensors.txt").exists():
            reader.refused(root / f"Ordonez{letter}_Sensors.txt", 0, f"missing: home {letter} left out")
            continue
        events = _events(
            reader, root / f"Ordonez{letter}_Sensors.txt", _intervals(reader, root / f"Ordonez{letter}_ADLs.txt")
        )
        sessions += (_day(letter, list(day)) for _, day in groupby(events, key=lambda event: event[0].date()))
    return Loaded(finish(report, sessions), report)


_Event = tuple[datetime, str, str, str, int | None]
"""Time, room, sensor, state, activity."""


def _day(letter: str, events: list[_Event]) -> Session:
    date = events[0][0].date()
    return Session(
        dataset="uci_adl",
        session_id=f"{letter}-{date.isoformat()}",
        home=f"uci_adl_{letter.lower()}",
        activities=ACTIVITIES,
        events=tuple(SensorEvent(i, *event[:4], activity_id=event[4]) for i, event in enumerate(events)),
        day=kind_of_day(date),
        n_residents=1,
    )


def _spans(reader: Reader, path: Path, words: int) -> Iterator[tuple[int, datetime, datetime, list[str]]]:
    """Line, start, end and the ``words`` behind them, of each well-formed row.

    Fields are parted by tabs in changing numbers, sometimes with blanks among them: any white space parts them, and a
    date and its time are two fields. Latin-1, as the README beside these files.
    """
    for line, text in enumerate(reader.lines(path, encoding="latin-1"), start=1):
        fields = text.split()
        if not fields or (line <= 2 and ("start time" in text.lower() or set(text) <= set("-\t \n"))):
            continue  # two header lines: names, dashes
        reader.report.rows_read += 1
        if len(fields) != 4 + words:
            many = "few" if len(fields) < 4 + words else "many"
            mark = next((f"; parted by {quoted(mark)}, not by tabs" for mark in ";," if text.count(mark) > words), "")
            reader.refused(path, line, f"too {many} fields: {len(fields)} for {4 + words}{mark}")
            continue
        start, end = _time(fields[0], fields[1]), _time(fields[2], fields[3])
        if start is None or end is None:
            wrong = " ".join(fields[:2] if start is None else fields[2:4])
            reader.refused(path, line, f"time {quoted(wrong)} is not YYYY-MM-DD HH:MM:SS")
        elif end < start:
            reader.refused(path, line, f"ends before it starts ({start} -> {end})")
        else:
            yield line, start, end, fields[4:]


def _time(date: str, clock: str) -> datetime | None:
    text = f"{date} {clock}"
    try:
        return datetime.fromisoformat(text) if _TIME.fullmatch(text) else None
    except ValueError:  # 2011-02-30
        return None


def _seconds(time: datetime) -> int:
    return (time - _EPOCH) // _SECOND


def _intervals(reader: Reader, path: Path) -> Intervals:
    numbers = {name: number for number, name in ACTIVITIES.items()}
    rows = []
    for line, start, end, (name,) in _spans(reader, path, words=1):
        if name in numbers:
            rows.append((_seconds(start), _seconds(end), numbers[name]))
            reader.used(path, line)
        else:
            reader.refused(path, line, f"unknown activity {quoted(name)}")
    return Intervals(rows)


def _events(reader: Reader, path: Path, activities: Intervals) -> list[_Event]:
    """ON and OFF events of one home in time order."""
    events: list[_Event] = []
    latest = datetime.min
    for line, start, end, (location, kind, place) in _spans(reader, path, words=3):
        if start < latest:
            reader.mended(path, line, f"out of order: {start} follows {latest}; sorted")
        latest = max(latest, start)
        on, off = ("OPENED", "CLOSED") if kind.lower() == "magnetic" else ("turned ON", "turned OFF")
        sensor, room = location.lower(), place.lower()
        sensor, room = NAMES.get(sensor, sensor), ROOMS.get(room, room)
        events.append((start, room, sensor, on, activities.at(_seconds(start))))
        events.append((end, room, sensor, off, activities.at(_seconds(end))))
        reader.used(path, line)
    events.sort(key=lambda event: event[0])  # stable: ties keep the file's order
    return events
