"""MARBLE: acted scenarios of one, two or four people (Arrotta, Bettini, Civitarese 2021).

Reads ``<scenario>/instance<N>/environmental.csv`` and each subject's ``labels.csv``, ``smartphone.csv`` and, on
request, ``locations.csv``. Does not read the watches' inertial files: sensor text does not hold them.

- Labels are intervals per subject. An event takes its own subject's interval that contains it, else that subject's
  nearest interval within one second (the files leave gaps of 2-180 ms), else none.
- TRANSITION is kept as a label (number 14) but is neither offered nor scored: ``Session.unscored``.
- Times are UNIX milliseconds, shown as the clock in Milan showed them, whatever this machine's zone is; where summer
  time ends, an hour stands twice on that clock, which the report says. A file with times in seconds is refused.
- The scenarios are scripted, so the date says nothing of the day: ``Session.day`` stays empty.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from llmhar.data.events import SensorEvent, Session
from llmhar.data.intervals import Intervals
from llmhar.data.load_report import DataError, Loaded, LoadReport, Split
from llmhar.data.reader import Reader, find_root, finish, folders, natural, plain, quoted

_NAMES = (
    *("ANSWERING_PHONE", "CLEARING_TABLE", "COOKING", "EATING", "ENTERING_HOME", "LEAVING_HOME"),
    *("MAKING_PHONE_CALL", "PREPARING_COLD_MEAL", "SETTING_UP_TABLE", "TAKING_MEDICINES", "USING_PC"),
    *("WASHING_DISHES", "WATCHING_TV", "TRANSITION"),
)
ACTIVITIES = dict(enumerate(_NAMES, start=1))
"""MARBLE's README numbers the first 13 so; TRANSITION is what its label files write between two of them."""
TRANSITION = 14
MAGNETIC = {"ON": "OPENED", "OFF": "CLOSED"}
SWITCHED = {"ON": "turned ON", "OFF": "turned OFF"}
SENSORS = {
    "R1": ("kitchen", "pantry", MAGNETIC),
    "R2": ("kitchen", "cutlery drawer", MAGNETIC),
    "R5": ("kitchen", "pots drawer", MAGNETIC),
    "R6": ("medicine area", "medicines cabinet", MAGNETIC),
    "R7": ("kitchen", "fridge", MAGNETIC),
    "E1": ("kitchen", "stove", SWITCHED),
    "E2": ("living room", "television", SWITCHED),
    "P2": ("office", "office chair", SWITCHED),
    **{f"P{i}": ("dining room", "dining-room chair", SWITCHED) for i in (1, 4, 5, 6)},
    **{f"P{i}": ("living room", "living-room couch", SWITCHED) for i in (3, 7, 8, 9)},
}
"""Sensor id -> room, name (the README's), words for its states. Its four chairs and four couch seats share a name."""
PHONE = {"S1": ("", "phone make a call", SWITCHED), "S2": ("", "phone answer a call", SWITCHED)}
AMBIENT_COLUMNS = ("sensor_id", "sensor_status", "ts", "subject_id")
PHONE_COLUMNS = ("event_id", "event_status", "ts")
PLACES = {
    **{name.upper().replace(" ", "_"): name for name in ("hall", "kitchen", "dining room", "medicine area")},
    **{"LIVING_ROOM": "living room", "OFFICE": "office", "OUT": "outside"},
}
NEAREST_MS = 1000
_MS = re.compile(r"([0-9]{1,14})(?:\.0+)?")  # to the year 5138; pandas writes 1576490400000.0 beside blanks
_SECONDS = re.compile(r"([0-9]{9,11})(?:\.[0-9]+)?")
"""Seconds of the years from 1973 to 5138. Read as milliseconds they would be days of 1970 to 1973."""
_SCENARIO = re.compile("[A-Z]([124])[a-z]+")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Row(NamedTuple):
    ms: int
    words: tuple[str, str, str]
    """Room, sensor, state."""
    subject: str
    line: int


def load(path: Path, *, locations: bool = False) -> Loaded:
    """Read a MARBLE folder: the one that holds the scenarios (A1a, ...), or a folder around it.

    Args:
        path: folder of the data set.
        locations: whether the subjects' location intervals become events ("kitchen presence ENTERED"); they come from
            the watches, say who is where, and are no ambient sensor.

    Raises:
        DataError: no instance found, or a file is missing or is no table or text.
    """
    report = LoadReport("marble", path)
    reader = Reader(report)
    root = find_root(path, lambda p: any(_instances(scenario) for scenario in folders(p)))
    if root is None:
        raise reader.missing("<scenario>/instance<N>/environmental.csv", path)
    sessions = []
    for instance in (instance for scenario in folders(root) for instance in _instances(scenario)):
        session = _session(reader, instance, locations)
        if session.events:
            sessions.append(session)
        else:
            reader.refused(instance / "environmental.csv", 0, "no usable sensor event: instance left out")
    return Loaded(finish(report, sessions), report)


def split(sessions: Sequence[Session]) -> Split:
    """S1 §4.3.1, per scenario: of 2 instances 1 trains, of 3 or more the first 2; a lone instance is test only."""
    scenarios: dict[str, list[str]] = defaultdict(list)
    for session in sorted(sessions, key=lambda s: natural(s.session_id)):
        scenarios[session.session_id.rpartition("-")[0]].append(session.session_id)
    cuts = {name: min(2, len(ids) - 1) for name, ids in scenarios.items()}
    return Split(
        [i for name, ids in scenarios.items() for i in ids[: cuts[name]]],
        [i for name, ids in scenarios.items() for i in ids[cuts[name] :]],
    )


def _instances(scenario: Path) -> list[Path]:
    return [p for p in folders(scenario) if re.fullmatch("instance[0-9]+", p.name)]


def _session(reader: Reader, instance: Path, locations: bool) -> Session:
    subjects = {p.name.removeprefix("subject-"): p for p in folders(instance) if p.name.startswith("subject-")}
    labels = {subject: _labels(reader, folder / "labels.csv") for subject, folder in subjects.items()}
    rows = []
    for row in _switches(reader, instance / "environmental.csv", AMBIENT_COLUMNS, SENSORS):
        if row.subject not in subjects:
            reason = f"subject {quoted(row.subject)} has no folder: event kept without activity"
            reader.mended(instance / "environmental.csv", row.line, reason)
        rows.append(row)
    for subject, folder in subjects.items():
        if (folder / "smartphone.csv").exists():  # absent where a subject did not use the phone
            rows += _switches(reader, folder / "smartphone.csv", PHONE_COLUMNS, PHONE, subject)
        if locations and (folder / "locations.csv").exists():
            rows += _presence(reader, folder / "locations.csv", subject)
    rows.sort(key=lambda row: row.ms)  # stable: ties keep the files' order
    again = sum(_local(row.ms).fold for row in rows)
    if again:
        reason = f"summer time ends: {again} events lie in the second pass of an hour that the clock shows twice; their"
        reader.mended(instance / "environmental.csv", 0, f"{reason} order is kept")
    scenario = _SCENARIO.fullmatch(instance.parent.name)
    return Session(
        dataset="marble",
        session_id=f"{instance.parent.name}-{instance.name}",
        home="marble",
        activities=ACTIVITIES,
        events=tuple(_event(i, row, labels.get(row.subject)) for i, row in enumerate(rows)),
        n_residents=int(scenario[1]) if scenario else None,
        unscored=frozenset({TRANSITION}),
    )


def _event(event_id: int, row: _Row, labels: Intervals | None) -> SensorEvent:
    label = labels.near(row.ms, NEAREST_MS) if labels else None
    local = _local(row.ms).replace(tzinfo=None, fold=0)
    return SensorEvent(event_id, local, *row.words, (row.subject,) if row.subject else (), label)


def _local(ms: int) -> datetime:
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(ZoneInfo("Europe/Rome"))


def _switches(
    reader: Reader,
    path: Path,
    columns: tuple[str, ...],
    known: Mapping[str, tuple[str, str, dict[str, str]]],
    own: str = "",
) -> Iterator[_Row]:
    """Rows of ambient sensors, or of the phone of the subject ``own``; ``columns``: id, status, time (, subject)."""
    last: dict[str, int] = {}
    for line, (sensor, status, ts, *who) in _in_ms(reader, path, columns):
        subject = who[0].strip().removeprefix("subject-") if who else own
        room, name, states = known.get(sensor.strip(), ("", "", SWITCHED))
        state, ms = states.get(status.strip()), _time(ts)
        if not name:
            reader.refused(path, line, f"unknown sensor {quoted(sensor)}")
        elif state is None:
            reader.refused(path, line, f"status {quoted(status)} is neither ON nor OFF")
        elif ms is None:
            reader.refused(path, line, f"time {quoted(ts)} {_what(ts)}")
        else:
            if ms < last.get(subject, 0):  # each subject's rows are in order; the file as a whole need not be
                reader.mended(path, line, "out of order: follows a later row of its subject; sorted")
            last[subject] = max(ms, last.get(subject, 0))
            reader.used(path, line)
            yield _Row(ms, (room, name, state), subject, line)


def _time(text: str) -> int | None:
    """UNIX milliseconds; None where they are not, or where they are seconds."""
    found = _MS.fullmatch(text.strip())
    return int(found[1]) if found and not _SECONDS.fullmatch(text.strip()) else None


def _what(text: str) -> str:
    """Why a time is refused."""
    return "is UNIX seconds, not milliseconds" if _SECONDS.fullmatch(text.strip()) else "is not UNIX milliseconds"


def _in_ms(reader: Reader, path: Path, columns: Sequence[str]) -> list[tuple[int, tuple[str, ...]]]:
    """Rows of a table.

    Raises:
        DataError: as :meth:`Reader.table`, or most of its times are seconds.
    """
    rows = list(reader.table(path, columns))
    times = [cell.strip() for _, row in rows for column, cell in zip(columns, row) if column.startswith("ts")]
    seconds = [text for text in times if _SECONDS.fullmatch(text)]
    if len(seconds) * 2 > len(times):
        raise DataError(
            f"{path}: times such as {quoted(seconds[0])} are UNIX seconds where MARBLE has milliseconds: multiply "
            f"{' and '.join(column for column in columns if column.startswith('ts'))} by 1000"
        )
    return rows


def _spans(reader: Reader, path: Path, column: str) -> Iterator[tuple[int, int, int, str]]:
    """Line, start, end and word of each well-formed interval."""
    for line, (first, last, word) in _in_ms(reader, path, ("ts_start", "ts_end", column)):
        start, end = _time(first), _time(last)
        if start is None or end is None:
            wrong = first if start is None else last
            reader.refused(path, line, f"time {quoted(wrong)} {_what(wrong)}")
        elif end < start:
            reader.refused(path, line, f"ends before it starts ({start} -> {end})")
        else:
            yield line, start, end, plain(word)


def _labels(reader: Reader, path: Path) -> Intervals | None:
    if not path.exists():
        reader.mended(path, 0, "file is missing: this subject's events are kept without activity")
        return None
    numbers = {name: number for number, name in ACTIVITIES.items()}
    rows = []
    for line, start, end, name in _spans(reader, path, "act"):
        if name in numbers:
            rows.append((start, end, numbers[name]))
            reader.used(path, line)
        else:
            reader.refused(path, line, f"unknown activity {quoted(name)}")
    return Intervals(rows)


def _presence(reader: Reader, path: Path, subject: str) -> Iterator[_Row]:
    for line, start, end, name in _spans(reader, path, "location"):
        if name in PLACES:
            yield _Row(start, (PLACES[name], "presence", "ENTERED"), subject, line)
            yield _Row(end, (PLACES[name], "presence", "LEFT"), subject, line)
            reader.used(path, line)
        else:
            reader.refused(path, line, f"unknown location {quoted(name)}")
