"""CASAS homes (Washington State University) in all their layouts: labels on each event, or begin and end marks.

Reads every file of the folder whose lines are those of a layout (``llmhar.data.casas_lines`` lists them), whatever its
name; what else lies there is named in the report and left. Lines are read one after another.

- A session is a day, of adlmr a file: two people who act scenarios, so that the date says nothing of the day.
- Files of the release of 2025 are a home each; those of the other layouts are one home a folder.
- Numbers (temperature, light, water) are dropped and counted, or are events where they cross a threshold that is given;
  what their lines say of labels counts all the same.
- ``Other_Activity`` and ``Other`` mean that nobody annotated the event: no activity, counted.
- A state that repeats the sensor's last one stays an event, counted: it is what the home reported.
- A value with a stray letter ("OPENv", "OF") is mended; names that differ only in case become the most frequent one.
- adlmr's tasks are numbers: a file ``tasks.txt`` in the folder names them, line n task n. Without it they are "task 1",
  ..., which no model can know by name; the report says so.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from llmhar.data.casas_lines import NOT_ANNOTATED, TASK, Layout, Pair, layout_of
from llmhar.data.casas_rows import FileRows, HomeSeen, Row, Wanted
from llmhar.data.days import Span, kind_of_day
from llmhar.data.events import SensorEvent, Session
from llmhar.data.homes import Home, PromptError, describe, load_home, read_home
from llmhar.data.load_report import DataError, Loaded, LoadReport, WrongCall
from llmhar.data.reader import Reader, finish, plain, quoted
from llmhar.data.sensor_names import SensorId, speak

MAX_TOGETHER = 2**30
"""Most bytes in all files that are read whole: 1 GiB, some twenty million events. Of more, some must be chosen."""
SAMPLE = 500
"""Lines at a file's start by which its layout is told."""
TASKS = "tasks.txt"
UNNAMED = (
    f"activities are numbers (task 1, ...): fit for segmentation, for telling residents apart and for supervised "
    f"controls, not for zero-shot naming; name them in a file {TASKS} in the folder, one a line"
)


def load(
    path: Path,
    *,
    dataset: str = "casas",
    days: str = "",
    other: bool = False,
    home: str = "",
    analog: str = "",
    files: str = "",
) -> Loaded:
    """Read a folder of CASAS files, whatever they and the folders in it are called.

    Args:
        path: folder of the data set.
        dataset: name in DATASETS that the sessions carry.
        days: START..END, both YYYY-MM-DD and included, or one day: only these are read. Empty = all.
        other: whether ``Other_Activity`` and ``Other`` are kept as labels.
        home: a home file, by name or path, whose ``sensors`` map ids to words and thresholds. Empty = ids are put into
            words as well as they can be ("motion sensor M013", kitchen + "stove").
        analog: thresholds above which a sensor's numbers are "turned ON", e.g. "AD1-A:2.5,T*:30"; they go behind those
            of the home file.
        files: names of the files that are read, without folder or ending, parted by commas. Empty = all.

    Raises:
        DataError: no file of a CASAS layout, no event in them, more than :data:`MAX_TOGETHER` bytes of which none were
            chosen, or an option that cannot be read.
    """
    report = LoadReport(dataset, path)
    reader = Reader(report)
    wanted = Wanted(Span.of(days), _home_file(home) if home else None, _thresholds(analog))
    chosen = _chosen(reader, _found(reader), {name.strip() for name in files.split(",") if name.strip()})
    size = sum(file.path.stat().st_size for file in chosen)
    if size > MAX_TOGETHER and wanted.span == Span():
        names = ", ".join(file.path.stem for file in chosen[:5])
        raise DataError(
            f"{path} holds {len(chosen)} files of {size:,} bytes, too many to read together: choose with the options "
            f"files={names}... or days=START..END"
        )
    homes: dict[str, HomeSeen] = defaultdict(lambda: HomeSeen(reader, wanted))
    parts = []
    n_intervals = 0
    for file in chosen:
        rows = FileRows(homes[file.home], file.path, file.layout)
        n_intervals += rows.read()
        if any(row[1] for day in rows.days.values() for row in day):
            parts.append(_Part(file, rows.days))
        else:
            reader.refused(file.path, 0, "no usable sensor event: file left out")
    if not parts and wanted.span != Span():
        raise DataError(f"no sensor event of {path} lies in {wanted.span.first}..{wanted.span.last}: choose other days")
    labels = _Labels(reader, parts, homes, other)
    sessions = list(_sessions(dataset, parts, homes, labels))
    report.counts = {
        "labels in the files": labels.n_labels,
        "intervals": n_intervals,
        "repeated states, kept": sum(seen.n_repeated for seen in homes.values()),
    }
    return Loaded(finish(report, sessions), report)


def check(path: Path) -> None:
    """Whether a folder holds a file of a CASAS layout; reads the beginnings of its files.

    Raises:
        DataError: there is none.
    """
    _found(Reader(LoadReport("casas", path)))


class _File(NamedTuple):
    path: Path
    layout: Layout
    home: str
    """Name of its home: the same for files of one home."""
    name: str
    """Its own name in session ids."""


class _Part(NamedTuple):
    """One file, read."""

    file: _File
    days: dict[str, list[Row]]


def _found(reader: Reader) -> list[_File]:
    """The files of a CASAS layout; the others are named in the report.

    Raises:
        MissingFile: there is none.
    """
    root, dataset = reader.report.path, reader.report.dataset
    layouts = {}
    for path in reader.files():
        layout = layout_of(text for _, text, _ in islice(reader.stream(path), SAMPLE))
        if layout:
            layouts[path] = layout
        elif path.name.lower() != TASKS:
            reader.set_aside(path, 0, "its lines are no sensor events of CASAS: file left out")
    if not layouts:
        raise reader.missing("a file with sensor events of CASAS", root)
    stems = Counter(path.stem for path in layouts)
    found = []
    for path, layout in layouts.items():
        inner = path.relative_to(root)
        name = _safe(path.stem if stems[path.stem] == 1 else inner.as_posix())
        folder = _safe(inner.parent.as_posix()) if len(inner.parts) > 1 else dataset
        found.append(_File(path, layout, name if layout.name == "csv" else folder, name))
    return found


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).lstrip(".") or "file"


def _chosen(reader: Reader, found: Sequence[_File], names: set[str]) -> list[_File]:
    """The files that are asked for by name.

    Raises:
        WrongCall: a name that no file has.
    """
    strange = names - {file.path.stem for file in found} - {file.name for file in found}
    if strange:
        there = ", ".join(file.name for file in found[:20])
        raise WrongCall(f"no file {quoted(min(strange))} in {reader.report.path}: choose from {there}")
    return [file for file in found if not names or {file.path.stem, file.name} & names]


def _home_file(home: str) -> Home:
    try:
        return read_home(Path(home).expanduser()) if home.endswith((".yaml", ".yml")) else load_home(home)
    except PromptError as error:
        raise WrongCall(str(error)) from error


def _thresholds(analog: str) -> dict[str, float]:
    thresholds = {}
    for part in filter(None, (part.strip() for part in analog.split(","))):
        name, colon, number = part.rpartition(":")
        try:
            thresholds[name.strip().lower()] = float(number)
        except ValueError:
            colon = ""
        if not colon or not name.strip():
            raise WrongCall(f"analog {quoted(part)} is no SENSOR:NUMBER, e.g. T*:30")
    return thresholds


class _Truth(NamedTuple):
    """What the pairs of a row come to."""

    residents: tuple[str, ...]
    activity: int | None
    pairs: tuple[tuple[str, int], ...]
    """Of a joint event; else empty."""


class _Labels:
    """The activities of all homes together, and what an event has of them."""

    def __init__(self, reader: Reader, parts: Sequence[_Part], homes: Mapping[str, HomeSeen], other: bool):
        used = Counter(row[3] or () for part in parts for rows in part.days.values() for row in rows if row[1])
        events: Counter[str] = Counter()
        for pairs, n in used.items():
            events.update(dict.fromkeys((activity for _, activity in pairs), n))
        first_seen = {name: place for seen in homes.values() for name, place in seen.first_seen.items()}
        self.spelt = _one_spelling(reader, events, first_seen)
        names = set(self.spelt.values())
        self.n_labels = len(names)
        self._unknown = {name for name in names if name.lower() in NOT_ANNOTATED and not other}
        self.activities = _numbered(names - self._unknown)
        self._numbers = {name: number for number, name in self.activities.items()}
        if (titles := _titles(reader, self.activities)) is not None:
            self.activities = {number: titles.get(number, name) for number, name in self.activities.items()}
        self._truths = {pairs: self._truth(pairs) for pairs in used}
        for pairs, n in used.items():
            if pairs and self._truths[pairs].activity is None:
                reader.report.not_annotated[self.spelt[pairs[0][1]]] += n

    def of(self, pairs: tuple[Pair, ...] | None) -> _Truth:
        """What the pairs of a row come to."""
        return self._truths[pairs or ()]

    def _truth(self, pairs: tuple[Pair, ...]) -> _Truth:
        spelt = [(resident, self.spelt[activity]) for resident, activity in pairs]
        numbers = tuple(dict.fromkeys((r, self._numbers[name]) for r, name in spelt if name not in self._unknown))
        residents = tuple(dict.fromkeys(resident for resident, _ in pairs if resident))
        return _Truth(residents, numbers[0][1] if numbers else None, numbers if len(numbers) > 1 else ())


_Name = TypeVar("_Name", str, SensorId)


def _one_spelling(
    reader: Reader, rows: Mapping[_Name, int], first_seen: Mapping[Any, tuple[Path, int]]
) -> dict[_Name, _Name]:
    """Each name -> the most frequent of those that differ from it only in case; the others are entered as mended.

    Args:
        reader: keeps the books.
        rows: name -> rows that have it.
        first_seen: name -> file and line where it first stands.
    """
    alike: dict[str, list[_Name]] = defaultdict(list)
    for name in rows:
        alike[str(name).lower()].append(name)
    spelt = {}
    for names in alike.values():
        main = max(names, key=lambda name: rows[name])
        for name in names:
            spelt[name] = main
            if name != main:
                reason = f"{quoted(str(name))} ({rows[name]} rows, the first here) differs in case only: read as {main}"
                reader.mended(*first_seen[name], reason)
    return spelt


def _numbered(names: set[str]) -> dict[int, str]:
    """Number -> activity: a task's own number, else the place of the name in the alphabet, from 1."""
    tasks = {int(name.split()[1]): name for name in names if re.fullmatch(rf"{TASK} \d+", name)}
    if len(tasks) == len(names):
        return dict(sorted(tasks.items()))
    return dict(enumerate(sorted(names, key=lambda name: (name.lower(), name)), start=1))


def _titles(reader: Reader, activities: Mapping[int, str]) -> dict[int, str] | None:
    """Number of a task -> its name, of the file that names tasks; None where activities are no tasks."""
    if not activities or any(name != f"{TASK} {number}" for number, name in activities.items()):
        return None
    path = next((path for path in reader.files() if path.name.lower() == TASKS), None)
    if path is None:
        reader.report.warnings.append(UNNAMED)
        return None
    names = {number: plain(text) for number, text in enumerate(reader.lines(path), start=1)}
    shared = Counter(names.values())
    return {n: name if shared[name] == 1 else f"{name} ({n})" for n, name in names.items() if name}


def _sessions(
    dataset: str, parts: Sequence[_Part], homes: Mapping[str, HomeSeen], labels: _Labels
) -> Iterator[Session]:
    residents: dict[str, set[str]] = defaultdict(set)
    described = {}
    for name, seen in homes.items():
        _put_into_words(seen)
        described[name] = seen.wanted.home or describe(name, [s.words for s in seen.sensors.values() if s.words[1]])
    for file, days in parts:
        for rows in days.values():
            residents[file.home] |= {r for tag in {row[3] for row in rows if row[1]} for r in labels.of(tag).residents}
    for file, days in parts:
        is_scenario = file.layout.labels == "pairs"
        prefix = f"{file.name}-" if len(parts) > 1 else ""
        for day in [""] if is_scenario else sorted(days):
            rows = [row for one in sorted(days) for row in days[one]] if is_scenario else days.pop(day)
            rows.sort(key=itemgetter(0))  # stable: ties keep the file's order
            events = tuple(_events(rows, labels))
            if events:
                yield Session(
                    dataset=dataset,
                    session_id=file.name if is_scenario else f"{prefix}{day}",
                    home=described[file.home].name,
                    activities=labels.activities,
                    events=events,
                    day="" if is_scenario else kind_of_day(date.fromisoformat(day)),
                    n_residents=len(residents[file.home]) or None,
                    described=described[file.home],
                )


def _put_into_words(seen: HomeSeen) -> None:
    """Give each sensor of a home its room and name: the home file's, else what its id says."""
    rows = {spelling: n for sensor in seen.sensors.values() for spelling, n in sensor.spellings.items()}
    spelt = _one_spelling(seen.reader, rows, seen.first_seen)
    sensors = {spelt[next(iter(s.spellings))]: s for s in seen.sensors.values() if s.spellings}
    words = speak({identifier: sensor.opens for identifier, sensor in sensors.items()})
    for identifier, sensor in sensors.items():
        entry = seen.wanted.entry(identifier)
        sensor.words = (entry.room, entry.name) if entry else words[identifier]


def _events(rows: Sequence[Row], labels: _Labels) -> Iterator[SensorEvent]:
    number = 0
    for time, sensor, state, tag in rows:
        if sensor:
            ms = time.replace(microsecond=time.microsecond // 1000 * 1000)
            residents, activity, pairs = labels.of(tag)
            yield SensorEvent(number, ms, *sensor.words, state, residents, activity, pairs)
            number += 1
