"""An own home: the rows that ``llmhar data new`` kept, read under its ``home.yaml``. A session is a whole day.

- Times keep the clock that they are written in; stamps in UTC are shown in the home's zone. Events stand in the order
  of time, which is not the clock's on the night when an hour stands twice.
- An event takes its row's own activity; else that of the interval which contains it, both ends included, and of several
  the one that started last. Where several residents have intervals, it may be any of them: a joint event.
- Everything is read anew on each load, so that edits of home.yaml count.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from llmhar.data.days import kind_of_day
from llmhar.data.events import SensorEvent, Session
from llmhar.data.load_report import DataError, Loaded, LoadReport, RowNote, Split
from llmhar.data.own.books import Books
from llmhar.data.own.home import EVENTS_FILE, HOME_FILE, OwnHome, read_home
from llmhar.data.own.labels import Labels, TimedRow, read_mark
from llmhar.data.own.rows import Row, read_rows
from llmhar.data.own.states import Change, States, repeats, words_of
from llmhar.data.own.times import Moment, ZoneClock
from llmhar.data.own.words import SPOKEN, Word
from llmhar.data.reader import quoted

_OPPOSITE: dict[Word, Word] = {"on": "off", "open": "closed", "in": "out", "present": "absent"}


def load(path: Path, *, dataset: str = "") -> Loaded:
    """Read a folder that ``llmhar data new`` wrote.

    Args:
        path: the folder.
        dataset: the home's name; empty = the folder's.

    Raises:
        DataError: a file is missing or broken, or there is no event.
    """
    return read(read_rows(path / EVENTS_FILE), read_home(path), dataset or path.name, path)


def split(sessions: Sequence[Session]) -> Split:
    """Days before home.yaml's ``split`` train and the others test; without one, the last third of the days tests.

    Raises:
        DataError: ``split`` leaves no day for testing.
    """
    days = [session.session_id for session in sessions]
    cut = _first_test(sessions)
    if days and cut == len(days):
        raise DataError(f"{HOME_FILE}: split is after the last day, {days[-1]}: name a day from which on to test")
    return Split(days[:cut], days[cut:])


def _first_test(sessions: Sequence[Session]) -> int:
    """Place of the first session for testing."""
    home = sessions[0].described if sessions else None
    if isinstance(home, OwnHome) and home.split is not None:
        return sum(session.session_id < home.split.isoformat() for session in sessions)
    return len(sessions) * 2 // 3


def read(rows: Sequence[Row], home: OwnHome, dataset: str, path: Path) -> Loaded:
    """Sessions of a home's rows.

    Args:
        rows: in their files' order.
        home: says what they mean.
        dataset: the home's name.
        path: its folder, for the report.

    Raises:
        DataError: no event is left; says why, with numbers.
    """
    report = LoadReport(dataset, path, rows_read=sum(row.n for row in rows))
    books, states, clock = Books(report), States.of(home, rows), ZoneClock(home.zone)
    changes, labels = _in_order(rows, states, clock, books)
    changes = _without_repeats(changes, states, books)
    sessions = _sessions(changes, Labels(labels, home, books), states, dataset)
    _say_changes_of_clock(clock, sessions, report)
    books.close()
    report.sessions = sessions
    if not sessions:
        raise DataError(f"no sensor event in {report.rows_read:,} rows: {books.why_nothing()}")
    n_test = len(sessions) - _first_test(sessions)
    if n_test == 1:
        report.warnings.append("one day is left for testing: no score can have an interval")
    elif n_test < len(sessions) / 3:
        report.warnings.append(f"{HOME_FILE}: split leaves {n_test} of {len(sessions)} days for testing")
    return Loaded(sessions, report)


def changes_of(rows: Sequence[Row], home: OwnHome) -> list[Change]:
    """What sensors did under a home file, in the order of time, repeats among it."""
    nobody = Books(LoadReport("", Path()))
    changes, _ = _in_order(rows, States.of(home, rows), ZoneClock(home.zone), nobody)
    return list(map(_change, changes))


def _change(each: TimedRow) -> Change:
    return Change((each.row.sensor, each.row.room), each.word)


def _in_order(
    rows: Sequence[Row], states: States, clock: ZoneClock, books: Books
) -> tuple[list[TimedRow], list[TimedRow]]:
    """What sensors did, and rows that tell of activities, both in the order of time."""
    changes, labels, late = list[TimedRow](), list[TimedRow](), list[Row]()
    latest: dict[str, int] = {}
    enter = {"refused": books.refused, "mended": books.mended, "dropped": books.dropped}
    for row in rows:
        if row.kind in enter:
            enter[row.kind](row, row.state)
            continue
        start = clock.read(row.time, row.file)
        end = clock.read(row.end, row.file) if row.end else None
        if start.ms < latest.get(row.file, start.ms):
            late.append(row)
        latest[row.file] = max(start.ms, latest.get(row.file, start.ms))
        timed = TimedRow(start.ms, start.clock, row, end.ms if end and row.kind == "interval" else None)
        if end is not None and end.ms < start.ms:
            books.refused(row, f"ends before it starts ({row.time} -> {row.end})")
        elif row.kind == "interval" and end is None:
            books.refused(row, "the interval has no end")
        else:
            made = _changes(timed, end, states, books) if row.kind == "event" else []
            books.report.rows_used += bool(made) or row.kind != "event"
            changes += made
            if row.kind != "event" or (row.activity and read_mark(row.activity)):
                labels.append(timed)
    if len(late) > len(rows) / 10:
        books.mended(late[0]._replace(line=0), "rows are not in the order of time: sorted")
        late = []
    for row in late:
        books.mended(row, "out of order: sorted")
    changes.sort(key=lambda each: each.ms)  # stable: ties keep the files' order
    labels.sort(key=lambda each: each.ms)
    return changes, labels


def _changes(timed: TimedRow, end: Moment | None, states: States, books: Books) -> list[TimedRow]:
    """What a sensor's row says that it did; an activation is two changes."""
    row = timed.row
    if states.is_left_out((row.sensor, row.room)):
        books.dropped(row, "home.yaml leaves this sensor out")
        return []
    meant = states.meant((row.sensor, row.room), row.state or ("" if end is None else "on"))
    if meant.word is None:
        books.dropped(row, meant.reason)
        return []
    if end is None:
        return [timed._replace(word=meant.word)]
    if meant.word not in _OPPOSITE:
        books.dropped(row, f"an interval of the state {quoted(row.state)}: no activation")
        return []
    return [timed._replace(word=meant.word), TimedRow(end.ms, end.clock, row, word=_OPPOSITE[meant.word])]


def _without_repeats(changes: list[TimedRow], states: States, books: Books) -> list[TimedRow]:
    kept = []
    words = words_of(map(_change, changes))
    again = repeats(map(_change, changes), words, states)
    for each, is_again in zip(changes, again):
        if is_again and not each.row.end:
            books.dropped(each.row, "the state that its sensor had: no event")
            books.report.rows_used -= 1
        else:
            kept.append(each)
    return kept


def _sessions(changes: Sequence[TimedRow], labels: Labels, states: States, dataset: str) -> list[Session]:
    days: dict[date, list[SensorEvent]] = {}
    people, places = set[str](), dict[str, set[str]]()
    for each in changes:
        residents, pairs = labels.of_event(each)
        people.update(residents, (who for who, _ in pairs if who))
        sensor = states.entry((each.row.sensor, each.row.room))
        places.setdefault(sensor.room, set()).add(sensor.name)
        events = days.setdefault(each.clock.date(), [])
        time = each.clock.replace(microsecond=each.clock.microsecond // 1000 * 1000)
        activity, joint = pairs[0][1] if pairs else None, tuple(pairs) if len(pairs) > 1 else ()
        event = SensorEvent(len(events), time, sensor.room, sensor.name, SPOKEN[each.word], residents, activity, joint)
        events.append(event)
    described = states.home.described(places)
    return [
        Session(
            dataset=dataset,
            session_id=day.isoformat(),
            home=dataset,
            activities=labels.names,
            events=tuple(days[day]),
            day=kind_of_day(day),
            n_residents=len(people) or None,
            described=described,
        )
        for day in sorted(days)
    ]


def _say_changes_of_clock(clock: ZoneClock, sessions: Sequence[Session], report: LoadReport) -> None:
    """Enter the days on which an hour stands twice or is missing."""
    there = {session.session_id: session for session in sessions}
    for day, change in sorted((day, change) for day, change in clock.changes.items() if change):
        if session := there.get(day.isoformat()):
            n = sum(change.start <= event.time < change.end for event in session.events)
            hour = f"from {change.start:%H:%M} to {change.end:%H:%M} on {day} ({clock.zone.key})"
            if change.kind == "twice":
                said = f"the clock {hour} stands twice: {n} events there, in the order of time as far as files tell it"
            else:
                said = f"there is no clock {hour}: {n} events bear it, kept as they are written"
            report.mended.append(RowNote(EVENTS_FILE, 0, said))
