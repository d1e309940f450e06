"""Which activities hold at each row of a CASAS file that marks where they begin and end. Knows no sensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple

from llmhar.data.casas_lines import Mark, Pair
from llmhar.data.intervals import Intervals
from llmhar.data.reader import quoted

LONGEST = timedelta(hours=24)
"""An end further behind its begin is another's end: the marks between them are lost."""


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """The marks of one line."""

    line: int
    marks: tuple[Mark, ...]


class _Placed(NamedTuple):
    """A mark and where its row stands among all rows of the file, in time order."""

    at: int
    time: datetime
    line: int
    mark: Mark
    day_end: int
    """Place of the last row of its day."""


class _Interval(NamedTuple):
    start: int
    """Place of its first row."""
    number: int
    """Of the mark that begins it: of two on one row, the later began last."""
    end: int
    """Place of its last row."""
    pair: Pair


def label_rows(days: Mapping[str, list[tuple[datetime, Any, str, Any]]], note: Callable[[int, str], None]) -> int:
    """Put in place of each row's marks the (resident, activity) pairs that hold there; returns the number of intervals.

    An activity holds from its begin to its end, both rows included. Of a resident's activities that hold at once, the
    one that began last counts; of several residents, each one's, the latest first: who caused the row, nobody says.

    - A begin without an end (none within :data:`LONGEST`, or another begin of the same activity before it) holds until
      the resident's next mark or the end of its day, whichever comes first: nothing says that it went on.
    - An end without a begin labels its own row alone.

    Args:
        days: date -> rows of (time, sensor, state, pairs or :class:`Marks` or None), in any order; sorted in place.
        note: takes the line and the reason of each mark that fits no other.
    """
    ordered = [days[day] for day in sorted(days)]
    for rows in ordered:
        rows.sort(key=itemgetter(0))  # stable: ties keep the file's order
    placed = list(_placed(ordered))
    if not placed:
        return 0
    intervals = sorted(_matched(placed, note))
    holding = _Holding(intervals)
    at = 0
    for rows in ordered:
        for i, row in enumerate(rows):
            if row[3] is None or isinstance(row[3], Marks):
                rows[i] = (*row[:3], holding.at(at))
            at += 1
    return len(intervals)


def _placed(ordered: Sequence[Sequence[tuple[datetime, Any, str, Any]]]) -> Iterator[_Placed]:
    start = 0
    for rows in ordered:
        end = start + len(rows) - 1
        for at, (time, _, _, tag) in enumerate(rows, start):
            if isinstance(tag, Marks):
                yield from (_Placed(at, time, tag.line, mark, end) for mark in tag.marks)
        start = end + 1


def _matched(placed: Sequence[_Placed], note: Callable[[int, str], None]) -> Iterator[_Interval]:
    """Intervals in the order in which they end."""
    next_mark = _next_marks(placed)
    running: dict[Pair, int] = {}  # number of the begin that waits for its end

    def cut_short(number: int) -> _Interval:
        begun = placed[number]
        end = max(begun.at, min(next_mark[number] - 1, begun.day_end))
        why = "its resident's next mark" if next_mark[number] <= begun.day_end else "the end of its day"
        note(begun.line, f"{quoted(begun.mark.activity)} begins and never ends: taken to hold until {why}")
        return _Interval(begun.at, number, end, begun.mark[1:])

    for number, (at, time, line, mark, _) in enumerate(placed):
        key: Pair = mark[1:]
        before = running.pop(key, None) if mark.kind else None
        if before is not None and (mark.kind == "begin" or time - placed[before].time > LONGEST):
            yield cut_short(before)
            before = None
        if mark.kind == "begin":
            running[key] = number
        elif before is not None:
            yield _Interval(placed[before].at, before, at, key)
        else:
            if mark.kind:
                note(line, f"{quoted(mark.activity)} ends without a begin: taken to hold for this row alone")
            yield _Interval(at, number, at, key)
    yield from (cut_short(number) for number in running.values())


def _next_marks(placed: Sequence[_Placed]) -> list[int]:
    """For each mark the place of its resident's next one on a later row; past the last row where there is none."""
    past = placed[-1].day_end + 1
    found, latest = [past] * len(placed), dict[str, tuple[int, int]]()
    for number in range(len(placed) - 1, -1, -1):
        resident, at = placed[number].mark.resident, placed[number].at
        here, later = latest.get(resident, (past, past))
        later = later if here == at else here
        found[number] = later
        latest[resident] = (at, later)
    return found


class _Holding:
    """Asks which intervals hold at a row; the same tuple again where the same do."""

    def __init__(self, intervals: Sequence[_Interval]):
        self._pairs = [interval.pair for interval in intervals]
        rows: dict[str, list[tuple[int, int, int]]] = {}
        for number, interval in enumerate(intervals):
            rows.setdefault(interval.pair[0], []).append((interval.start, interval.end, number))
        self._residents = [Intervals(own) for own in rows.values()]
        self._seen: dict[tuple[int, ...], tuple[Pair, ...]] = {}
        self._same: dict[tuple[Pair, ...], tuple[Pair, ...]] = {}

    def at(self, place: int) -> tuple[Pair, ...]:
        """(resident, activity) pairs, the one that began last first."""
        numbers = tuple(n for each in self._residents if (n := each.at(place)) is not None)
        pairs = self._seen.get(numbers)
        if pairs is None:
            pairs = tuple(self._pairs[number] for number in sorted(numbers, reverse=True))
            pairs = self._seen[numbers] = self._same.setdefault(pairs, pairs)
        return pairs
