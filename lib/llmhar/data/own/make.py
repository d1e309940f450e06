"""Makes an own home of a user's files: ``llmhar data new``. Writes ``home.yaml`` and ``events.parquet``, nothing else.

Run again, it reads the files anew and adds to home.yaml what is new in them; whatever a user wrote or took out there
stays. Each file is replaced in one step, and only after the home has been read with both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import ValidationError

from llmhar import paths
from llmhar.data.days import Span
from llmhar.data.homes import Sensor
from llmhar.data.load_report import DataError, Loaded, WrongCall
from llmhar.data.own import home_text, loader
from llmhar.data.own.files import FileRows, Wanted, has_column, read_file
from llmhar.data.own.home import EVENTS_FILE, HOME_FILE, OwnHome, read_home
from llmhar.data.own.labels import activity_names
from llmhar.data.own.rows import Row, read_rows, write_rows
from llmhar.data.own.states import SensorKey, States, entry_name, mostly_repeats
from llmhar.data.own.times import ZoneClock, is_zone, local_zone
from llmhar.data.own.words import COMMON_ACTIVITIES, HASS_LEAVE_OUT, fold, is_hass_id, says_open
from llmhar.data.reader import quoted

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_NO_NAMES = ("none", "null", "true", "false", "all", "auto")
MAX_ACTIVITIES = 200
"""Most activities that a home may have; more are no activities."""


@dataclass(frozen=True)
class Plan:
    """What a user says of a new home, beside its files."""

    wanted: Wanted = field(default_factory=Wanted)
    """Columns and dates."""
    labels: Sequence[Path] = ()
    """Files of labelled intervals."""
    days: str = ""
    """"START..END", both included, either may be left out; empty = all."""
    zone: str = ""
    """Time zone; empty = this machine's."""
    above: Mapping[str, float] = field(default_factory=dict)
    """Sensor -> the number above which it is on."""
    add: bool = False
    """Whether the events that the home has are kept beside those of the files."""


@dataclass(frozen=True)
class Made:
    """A home that was written."""

    path: Path
    loaded: Loaded
    said: tuple[str, ...]
    """What was guessed, and what a user may want to change; a sentence each."""


def check_name(name: str, taken: Collection[str]) -> None:
    """Refuse a name that cannot be a home's.

    Args:
        name: as the user gives it.
        taken: names of other data sets, which stay theirs.

    Raises:
        WrongCall: taken, or no safe name of a folder.
    """
    if name in taken:
        raise WrongCall(f"{name} is the name of a data set that llmhar knows: give your home another")
    if not _NAME.fullmatch(name) or name.lower() in _NO_NAMES:
        raise WrongCall(
            f"{quoted(name)} cannot be a home's name: use letters, digits, - and _, 40 at most, e.g. my_home"
        )


def make(name: str, files: Sequence[Path], plan: Plan) -> Made:
    """Make a home of files, or read them into one that is there.

    Args:
        name: checked by :func:`check_name`.
        files: of events or activations; what they are is told by their content.
        plan: what the user says of them.

    Raises:
        DataError: a file that cannot be read, a home.yaml that cannot be understood, or no event at all. Then nothing
            has changed.
    """
    if plan.zone and not is_zone(plan.zone):
        raise WrongCall(f"no time zone {quoted(plan.zone)}: write one like Europe/Paris")
    folder = paths.data() / name
    with paths.locked(paths.data() / f".{name}.lock"):
        return _make(name, folder, _shown(files, plan), plan)


def _shown(files: Sequence[Path], plan: Plan) -> dict[str, tuple[Path, bool]]:
    """How reports name each file -> the file, and whether it holds labels."""
    shown: dict[str, tuple[Path, bool]] = {}
    for path, is_labels in [*((path, False) for path in files), *((path, True) for path in plan.labels)]:
        path = paths.given(path)
        name = path.name if path.name not in shown else str(path)
        if name in shown:
            raise WrongCall(f"{path} is given twice")
        shown[name] = (path, is_labels)
    return shown


def _make(name: str, folder: Path, files: Mapping[str, tuple[Path, bool]], plan: Plan) -> Made:
    old = read_home(folder) if (folder / HOME_FILE).is_file() else None
    old_rows = read_rows(folder / EVENTS_FILE) if old and (folder / EVENTS_FILE).is_file() else []
    read = [read_file(path, shown, plan.wanted, labels=is_labels) for shown, (path, is_labels) in files.items()]
    _check_columns(plan, read, files)
    rows = [row for each in read for row in each.rows]
    zone = old.zone if old else plan.zone or local_zone()
    rows = _of_days(rows, plan.days, zone)
    if plan.add:
        rows = _added(old_rows, rows)
    said: list[str] = []
    if old is None:
        text = _first_text(name, rows, plan, zone, said)
    else:
        text = _next_text((folder / HOME_FILE).read_text(encoding="utf-8"), old, rows, old_rows, plan)
    home = _checked(text, folder)
    try:
        loaded = loader.read(rows, home, name, folder)
    except DataError as error:
        hint = ". Numbers become events by a threshold: --above SENSOR=NUMBER" if "`above`" in str(error) else ""
        raise DataError(f"{', '.join(files)}: {error}{hint}") from error
    folder.mkdir(parents=True, exist_ok=True)
    paths.write_text(folder / HOME_FILE, text)  # first: a new entry does no harm to old events
    write_rows(folder / EVENTS_FILE, rows)
    if old_rows and not plan.add:
        n_old, n_new = (sum(row.kind == "event" for row in each) for each in (old_rows, rows))
        said.append(f"its {n_old:,} rows of sensors were replaced by {n_new:,}; --add keeps both")
    said += _advice(rows, home, plan.zone or home.zone)
    said += loaded.report.warnings
    return Made(folder, loaded, tuple(said))


def _check_columns(plan: Plan, read: Sequence[FileRows], files: Iterable[str]) -> None:
    """Refuse files without any row, and columns that no file has."""
    if not any(row.kind != "mended" for each in read for row in each.rows):
        raise DataError(f"{', '.join(files)}: no row below the header")
    for role, said in plan.wanted.columns.items():
        if not any(has_column(said, each.names) for each in read):
            there = ", ".join(dict.fromkeys(quoted(name) for each in read for name in each.names))
            raise DataError(f"{', '.join(files)}: --columns {role}: no column {quoted(said)}; there are: {there[:600]}")


def _of_days(rows: list[Row], days: str, zone: str) -> list[Row]:
    """Rows of a span of days; the others are counted."""
    if not days:
        return rows
    span = Span.of(days)
    clock, kept, n = ZoneClock(zone), list[Row](), dict[str, int]()
    for row in rows:
        day = clock.read(row.time, row.file).clock.date().isoformat() if row.kind == "event" else span.first
        if not span.first <= day <= span.last:
            n[row.file] = n.get(row.file, 0) + 1
        else:
            kept.append(row)
    return kept + [Row("dropped", file, 0, state=f"outside --days {days}", n=count) for file, count in n.items()]


def _added(old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Rows of both; what a file says that was there already is taken once."""
    plain = ("event", "interval", "mark")
    again = {row._replace(file="", line=0) for row in old if row.kind in plain}
    there = {(row.file, row.line, row.state) for row in old if row.kind not in plain}
    n_again: dict[str, int] = {}
    kept = []
    for row in new:
        if row.kind in plain and row._replace(file="", line=0) in again:
            n_again[row.file] = n_again.get(row.file, 0) + 1
        elif row.kind in plain or (row.file, row.line, row.state) not in there:
            kept.append(row)
    notes = [Row("dropped", file, 0, state="a row that the home has already", n=n) for file, n in n_again.items()]
    return [*old, *kept, *notes]


def _first_text(name: str, rows: Sequence[Row], plan: Plan, zone: str, said: list[str]) -> str:
    """A new home.yaml, from guesses."""
    is_hass = any(is_hass_id(row.sensor) for row in rows) or plan.wanted.hass
    leave_out = HASS_LEAVE_OUT if is_hass else ()
    names = activity_names(rows)
    _check_activities(names)
    home = OwnHome(name=name, kind="real", rooms={}, zone=zone, leave_out=leave_out)
    entries, remarks = _sensors(rows, (), home, plan)
    known = home.model_copy(update={"sensors": entries})
    drop = is_hass or mostly_repeats(loader.changes_of(rows, known))
    why = (
        ""
        if not drop
        else (
            ": Home Assistant writes them for changes of attributes"
            if is_hass
            else ": most rows of your files are such"
        )
    )
    if drop and not is_hass:
        said.append("most rows say again what their sensor said last: dropped (`repeats` in home.yaml)")
    if not plan.zone and any(row.time.endswith("+00:00") for row in rows):
        said.append(f"stamps in UTC are shown in {zone}, this machine's zone (`zone` in home.yaml, or --zone)")
    if not names:
        said.append("no activity in the files: a list of common ones is in home.yaml for models to choose from; "
                    "without labels the home can be labelled, not scored")  # fmt: skip
    lines = [home_text.entry_line(key, _entry(value), remarks.get(key, "")) for key, value in entries.items()]
    facts = {
        "name": name, "zone": zone, "zone_from": "as you said" if plan.zone else "guessed from this machine",
        "repeats": "drop" if drop else "keep", "repeats_from": why,
        "common": "" if names else "\n# Your files name none: these are offered to models; write your own list.",
    }  # fmt: skip
    rooms = sorted({value.room for value in entries.values() if value.room})
    blocks = {
        "rooms": [home_text.entry_line(room, []) for room in rooms],
        "activities": [home_text.entry_line(each, each) for each in names or COMMON_ACTIVITIES],
        "sensors": lines,
    }
    spare = home_text.MAX_TEXT - len(home_text.first_text(facts, {**blocks, "sensors": ()}, leave_out).encode())
    return home_text.first_text(facts, {**blocks, "sensors": _fitting(lines, spare)}, leave_out)


def _next_text(text: str, home: OwnHome, rows: Sequence[Row], old: Sequence[Row], plan: Plan) -> str:
    """A home.yaml with what is new in the files added."""
    entries, remarks = _sensors(rows, old, home, plan)
    known = {fold(name) for name in (*home.activities, *home.label_of, *activity_names(old))}
    names = [name for name in activity_names(rows) if fold(name) not in known]
    _check_activities([*home.activities, *names])
    rooms = sorted({entry.room for entry in entries.values()} - {*home.rooms, ""})
    for section, lines in (
        ("rooms", [home_text.entry_line(room, []) for room in rooms]),
        ("activities", [home_text.entry_line(name, name) for name in names]),
        ("sensors", [home_text.entry_line(key, _entry(v), remarks.get(key, "")) for key, v in entries.items()]),
    ):
        text = home_text.extended(text, section, _fitting(lines, home_text.MAX_TEXT - len(text.encode())))
    return text


def _check_activities(names: Collection[str]) -> None:
    if len(names) > MAX_ACTIVITIES:
        shown = ", ".join(quoted(name) for name in list(names)[:5])
        raise DataError(f"{len(names)} different activities ({shown} …): is this the column? Say --columns activity=…")


def _fitting(lines: Sequence[str], n_bytes: int) -> list[str]:
    """As many lines as fit."""
    fitting = []
    for line in lines:
        n_bytes -= len(line.encode()) + 3
        if n_bytes < 0:
            break
        fitting.append(line)
    return fitting


def _entry(sensor: Sensor) -> dict[str, object]:
    """What is not said by default."""
    return {name: value for name, value in sensor.model_dump().items() if value not in (None, "") or name == "room"}


def _sensors(
    rows: Sequence[Row], old: Sequence[Row], home: OwnHome, plan: Plan
) -> tuple[dict[str, Sensor], dict[str, str]]:
    """New entries of home.yaml, by room, and remarks on them.

    Args:
        rows: of the files that are read now.
        old: of the home as it was: a sensor that is there and has no entry was taken out by the user.
        home: its entries.
        plan: gives thresholds.
    """
    before = {(row.sensor, row.room) for row in old if row.kind == "event"}
    words: dict[SensorKey, set[str]] = {}
    rooms: dict[str, set[str]] = {}
    for row in rows:
        if row.kind == "event":
            words.setdefault((row.sensor, row.room), set()).add(row.state.casefold())
            rooms.setdefault(row.sensor, set()).add(row.room)
    states = States.of(home, rows)
    entries: dict[str, Sensor] = {}
    remarks: dict[str, str] = {}
    above = dict(plan.above)
    for key in sorted(words):
        sensor, room = key
        threshold = above.pop(sensor, None)
        if key in before or entry_name(key, home) in home.sensors or states.is_left_out(key):
            continue
        entry = states.entry(key)
        is_plain = bool(words[key] & {"on", "off", "true", "false", "1", "0"}) and key not in states.numbers
        can_open = says_open(entry.name) and (not is_hass_id(sensor) or sensor.startswith("binary_sensor."))
        says = "open/closed" if is_plain and can_open else None
        name = f"{room}/{sensor}" if room and len(rooms[sensor]) > 1 else sensor
        entries[name] = entry.model_copy(update={"above": threshold, "says": says})
        if key in states.numbers and threshold is None:
            low, high = states.numbers[key]
            remarks[name] = f"numbers from {low:g} to {high:g}: no events without `above`"
    _tell_apart(entries, home)
    if above:
        there = ", ".join(quoted(sensor) for sensor, _ in list(states.numbers)[:10]) or "none"
        raise WrongCall(f"--above: no new sensor {quoted(next(iter(above)))} in the files; numbers come from: {there}; "
                        f"thresholds of sensors that the home has stand in {HOME_FILE}")  # fmt: skip
    return dict(sorted(entries.items(), key=lambda each: (each[1].room == "", each[1].room, each[0]))), remarks


def _tell_apart(entries: dict[str, Sensor], home: OwnHome) -> None:
    """Give sensors that would be spoken of alike their kind or id behind the name."""

    def kind(name: str) -> str:
        return name.partition(".")[0].replace("_", " ") if is_hass_id(name) else name

    alike = Counter((entry.room, entry.name) for entry in (*entries.values(), *home.sensors.values()))
    kinds = Counter((entry.room, entry.name, kind(name)) for name, entry in entries.items())
    for name, entry in list(entries.items()):
        if alike[entry.room, entry.name] > 1:
            mark = kind(name) if kinds[entry.room, entry.name, kind(name)] == 1 else name
            entries[name] = entry.model_copy(update={"name": f"{entry.name} {mark}"})


def _advice(rows: Sequence[Row], home: OwnHome, zone: str) -> list[str]:
    """What a user may want to change in home.yaml."""
    states = States.of(home, rows)
    silent = [key[0] for key in states.numbers if states.entry(key).above is None and not states.is_left_out(key)]
    said = []
    if silent:
        shown = ", ".join(silent[:3]) + (" …" if len(silent) > 3 else "")
        said.append(
            f"{len(silent)} sensors report numbers, which are no events: give them `above` in home.yaml ({shown})"
        )
    if home.zone != zone:
        said.append(f"the zone stays {home.zone}, as home.yaml says: change it there")
    return said


def _checked(text: str, folder: Path) -> OwnHome:
    """The home of a text that is to be written."""
    try:
        return OwnHome.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise DataError(f"{folder / HOME_FILE} cannot be added to ({str(error)[:300]}): mend the file") from error


def summary(made: Made) -> dict[str, object]:
    """The form of ``llmhar data new --json``."""
    report = made.loaded.report.to_json()
    keys = ("events", "sessions", "rooms", "sensors", "activities", "mended", "refused")
    return {"home": str(made.path), **{key: report[key] for key in keys}}
