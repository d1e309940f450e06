"""Rows of one CASAS file, by day, and what its home's sensors and labels are called. Makes no events."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.data.casas_labels import Marks, label_rows
from llmhar.data.casas_lines import (
    CLASSIC,
    GLUED_LINE,
    MAX_LABEL,
    STATES,
    Fields,
    Layout,
    Mark,
    Pair,
    is_dated,
    marks_of,
    number_of,
    pairs_of,
    state_of,
    time_of,
)  # fmt: skip
from llmhar.data.days import Span
from llmhar.data.homes import Home
from llmhar.data.homes import Sensor as SensorEntry
from llmhar.data.load_report import DroppedRows
from llmhar.data.reader import Reader, quoted
from llmhar.data.sensor_names import SensorId

MAX_LABELS_KEPT = 10_000
"""Label fields whose reading is remembered: a home has some dozens."""


@dataclass(frozen=True)
class Wanted:
    """What is asked of the files."""

    span: Span
    home: Home | None
    """The home file whose ``sensors`` name them; None where none is given."""
    analog: dict[str, float]
    """Sensor's name in lower case, "*" for any letters -> its threshold."""

    def entry(self, sensor: SensorId) -> SensorEntry | None:
        """The home file's entry of a sensor, whatever its case."""
        if self.home is None:
            return None
        entries = {name.lower(): entry for name, entry in self.home.sensors.items()}
        return entries.get(str(sensor).lower()) or entries.get(sensor.name.lower())

    def above(self, sensor: SensorId) -> float | None:
        """Threshold of a sensor, where it has one."""
        entry = self.entry(sensor)
        if entry and entry.above is not None:
            return entry.above
        return next((n for name, n in self.analog.items() if fnmatchcase(str(sensor).lower(), name)), None)


@dataclass(slots=True, eq=False)
class SensorSeen:
    """One sensor of a home, however its files spell it."""

    above: float | None
    """Its numbers are events where they cross this threshold; None = they are none."""
    spellings: Counter[SensorId] = field(default_factory=Counter)
    """Spelling -> rows."""
    opens: bool = False
    """Whether it ever opened or closed."""
    last: str = ""
    """Its last state in the file that is being read."""
    words: tuple[str, str] = ("", "")
    """Room and name, once all files have been read."""


Row = tuple[datetime, SensorSeen | None, str, Any]
"""Time, sensor (None: a line that is no event but has a label), state, labels: :class:`Marks` while the file is read,
then (resident, activity) pairs or None."""


@dataclass(slots=True)
class _Dropped:
    line: int = 0
    """Of the first of them."""
    rows: int = 0

    def add(self, line: int) -> None:
        self.line = self.line or line
        self.rows += 1


class _Label(NamedTuple):
    """What a label field says."""

    tags: tuple[Mark, ...] | tuple[Pair, ...] = ()
    has_marks: bool = False
    """Whether it says where an activity begins or ends; else whose activities the row itself is part of."""
    mended: str = ""
    refused: str = ""


@dataclass
class HomeSeen:
    """What is known of one home while its files are read."""

    reader: Reader
    wanted: Wanted
    names: dict[tuple[str, str], tuple[SensorId, SensorSeen]] = field(default_factory=dict)
    """Name and location as a line has them -> the sensor."""
    sensors: dict[tuple[str, str], SensorSeen] = field(default_factory=dict)
    """The same, in lower case."""
    first_seen: dict[SensorId | str, tuple[Path, int]] = field(default_factory=dict)
    """Each spelling of a sensor or an activity -> file and line."""
    n_repeated: int = 0
    """Rows whose state is the sensor's last one again."""

    def sensor(self, name: str, location: str, path: Path, line: int) -> tuple[SensorId, SensorSeen]:
        """The sensor that a line spells so for the first time."""
        identifier = SensorId(name, location if location.lower() != name.lower() else "")
        key = (identifier.name.lower(), identifier.location.lower())
        if key not in self.sensors:
            self.sensors[key] = SensorSeen(self.wanted.above(identifier))
        self.first_seen.setdefault(identifier, (path, line))
        return self.names.setdefault((name, location), (identifier, self.sensors[key]))


class FileRows:
    """Reads one file; the books are kept in the reader's report."""

    def __init__(self, home: HomeSeen, path: Path, layout: Layout):
        self.days: dict[str, list[Row]] = defaultdict(list)
        """Date -> rows in the file's order."""
        self._home, self._path, self._layout = home, path, layout
        self._reader, self._report = home.reader, home.reader.report
        self._labels: dict[str, _Label] = {}
        self._numbers: dict[SensorSeen, _Dropped] = defaultdict(_Dropped)
        self._outside = _Dropped()
        self._unasked: set[int] = set()
        """Lines with marks outside the span that is wanted."""

    def read(self) -> int:
        """Read the file to its end, and find which activities hold at its rows; returns the number of intervals."""
        for sensor in self._home.sensors.values():
            sensor.last = ""
        for line, date, time, fields in self._lines():
            name, location, value, text = fields[2:]
            known = self._home.names.get((name, location))
            if known is None:
                if not name:
                    self._refuse(line, "no sensor")
                    continue
                known = self._home.sensor(name, location, self._path, line)
            identifier, sensor = known
            label = self._labels.get(text) or self._label(text, line)
            if label.refused:
                self._refuse(line, label.refused)
                continue
            tag: Any = Marks(line, label.tags) if label.has_marks else label.tags or None  # type: ignore[arg-type]
            if not self._home.wanted.span.first <= date <= self._home.wanted.span.last:
                self._outside.add(line)
                self._unasked.add(line)
                state = ""
            else:
                if label.mended:
                    self._mend(line, label.mended)
                state = STATES.get(value) or self._odd(sensor, value, line)
            if state:
                self._reader.used(self._path, line)
                self._home.n_repeated += state == sensor.last
                sensor.last = state
                sensor.opens |= state == "OPENED"
                sensor.spellings[identifier] += 1
                self.days[date].append((time, sensor, state, tag))
            elif label.has_marks:
                self.days[date].append((time, None, "", tag))
        self._close()
        return label_rows(self.days, self._note_mark) if self._layout.labels == "marks" else 0

    def _lines(self) -> Iterator[tuple[int, str, datetime, Fields]]:
        """Number, date, time and fields of each line that can be used and is not far outside the span."""
        cut, around = self._layout.cut, self._home.wanted.span.around
        previous, date = datetime.min, ""
        for line, text, reason in self._reader.stream(self._path):
            self._report.rows_read += 1
            if text is None:
                self._refuse(line, reason)
                continue
            if text[:4].isdigit() and text[4:5] == "-" and not around.first <= text[:10] <= around.last:
                self._outside.add(line)
                continue
            fields = cut(text)
            time = time_of(fields[0], fields[1]) if fields else None
            if fields and not time and len(fields[0]) > 6 and date.endswith(fields[0]):
                time = time_of(date, fields[1])
                if time:
                    self._mend(
                        line, f"date {quoted(fields[0])} is a step back in time, its beginning lost: read as {date}"
                    )
            if fields is None or time is None:
                self._cannot_use(line, text, fields)
                continue
            if time < previous:
                self._mend(line, f"steps back in time: {time} follows {previous}; sorted")
            if len(fields[0]) == 10:
                date = fields[0]
            previous = time
            yield line, date, time, fields

    def _cannot_use(self, line: int, text: str, fields: Fields | None) -> None:
        words = text.lower()
        if not words.strip():
            self._set_aside(line, "blank line")
        elif line == 1 and "date" in words and "time" in words:
            self._set_aside(line, "header line")
        elif fields and is_dated(text):
            self._refuse(line, f"time {quoted(' '.join(fields[:2]))} is not YYYY-MM-DD HH:MM:SS")
        elif is_dated(text):
            self._refuse(line, f"too few fields for layout {self._layout.name}: {quoted(text.strip())}")
        else:
            self._refuse(line, f"no date and time: {quoted(text.strip())}")

    def _odd(self, sensor: SensorSeen, value: str, line: int) -> str:
        """What a value says that is no known word: empty where it is no event."""
        number = number_of(value)
        if number is not None:
            state = "" if sensor.above is None else "turned ON" if number > sensor.above else "turned OFF"
            if not state or state == sensor.last or (not sensor.last and state == "turned OFF"):
                self._numbers[sensor].add(line)
                return ""
            return state
        known = state_of(value)
        if known is None:
            self._refuse(line, f"unknown value {quoted(value)}")
            return ""
        if known[1]:
            self._mend(line, f"value {quoted(value)} read as {known[1]}")
        return known[0]

    def _label(self, text: str, line: int) -> _Label:
        """What a label field says, read once for each text."""
        label = self._read_label(text)
        for tag in label.tags:
            self._home.first_seen.setdefault(tag[-1], (self._path, line))
        if len(self._labels) > MAX_LABELS_KEPT:
            self._labels.clear()
        self._labels[text] = label
        return label

    def _read_label(self, text: str) -> _Label:
        if GLUED_LINE.search(text):
            return _Label(refused="two lines in one: a file without a newline at its end was joined to the next")
        if len(text) > MAX_LABEL:
            return _Label(mended=f"label of {len(text):,} characters: event kept without activity")
        if self._layout.labels == "pairs":
            pairs, reason = pairs_of(text)
            return _Label(pairs, mended=reason)
        marks = tuple(marks_of(text))
        if any(mark.kind for mark in marks):
            return _Label(marks, has_marks=True)
        if not marks:
            is_wrong = bool(text) or self._layout.labels == "own"
            return _Label(mended=f"label {quoted(text)} names no activity: event kept without" if is_wrong else "")
        alone = f"label {quoted(text)} has neither begin nor end: taken to hold for this row alone"
        return _Label(tuple(mark[1:] for mark in marks), mended=alone if self._layout is CLASSIC else "")

    def _close(self) -> None:
        """Enter what was counted instead of listed."""
        name, span = self._reader.name(self._path), self._home.wanted.span
        if self._outside.rows:
            reason = f"outside {span.first}..{span.last}"
            self._report.dropped.append(DroppedRows(name, self._outside.line, reason, self._outside.rows))
        called = {sensor: identifier for identifier, sensor in reversed(self._home.names.values())}  # as first spelt
        for sensor, dropped in self._numbers.items():
            if sensor.above is not None:
                reason = f"numbers of {called[sensor]} that do not cross {sensor.above:g}"
            elif sensor.last:
                reason = f"numbers of {called[sensor]}, which otherwise says ON or OFF"
            else:
                reason = f"numbers of {called[sensor]}, which has no threshold"
            self._report.dropped.append(DroppedRows(name, dropped.line, reason, dropped.rows))

    def _note_mark(self, line: int, reason: str) -> None:
        if line not in self._unasked:
            self._mend(line, reason)

    def _mend(self, line: int, reason: str) -> None:
        self._reader.mended(self._path, line, reason)

    def _refuse(self, line: int, reason: str) -> None:
        self._reader.refused(self._path, line, reason)

    def _set_aside(self, line: int, reason: str) -> None:
        self._reader.set_aside(self._path, line, reason)
