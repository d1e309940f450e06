"""Which activity an event of an own home is part of: names on rows, begin and end marks, intervals of a second file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple

from llmhar.data.intervals import Intervals
from llmhar.data.own.books import Books
from llmhar.data.own.home import OwnHome
from llmhar.data.own.rows import Row
from llmhar.data.own.words import NOT_ANNOTATED, Word, fold
from llmhar.data.reader import quoted

_MARK_BEHIND = re.compile(r"(?i)(?P<name>.*\S)\s*(?:=\s*[\"']?|[\s:_|-])\s*(?P<mark>begin|start|end|stop)[\"']?")
_MARK_BEFORE = re.compile(r"(?i)(?P<mark>begin|start|end|stop)\s*[:=|]\s*(?P<name>\S.*)")
_RESIDENTS = re.compile(r"\s*[,;&+/]\s*|\s+and\s+")


class TimedRow(NamedTuple):
    """A row whose times were read."""

    ms: int
    """Milliseconds since 1970 in UTC."""
    clock: datetime
    row: Row
    end_ms: int | None = None
    """Of an interval."""
    word: Word = "ignore"
    """What the sensor did; "ignore" for rows that tell of activities alone."""


@lru_cache(maxsize=65536)
def read_mark(text: str) -> tuple[str, bool] | None:
    """Activity, and whether it begins, of a mark like "Sleep begin", ``Sleep="end"`` or "START:Sleep"."""
    found = _MARK_BEHIND.fullmatch(text) or _MARK_BEFORE.fullmatch(text)
    return (found["name"].strip(" \"'=:|"), found["mark"].lower() in ("begin", "start")) if found else None


def has_marks(texts: Iterable[str]) -> bool:
    """Whether an activity both begins and ends among ``texts``: then these are marks, and else names."""
    marks = {(fold(mark[0]), mark[1]) for text in set(texts) if (mark := read_mark(text))}
    return any(begins and (name, False) in marks for name, begins in marks)


@lru_cache(maxsize=4096)
def residents_of(text: str) -> tuple[str, ...]:
    """Residents of a row: "A, B" are two."""
    return tuple(name for name in dict.fromkeys(_RESIDENTS.split(text)) if fold(name) not in NOT_ANNOTATED)


@lru_cache(maxsize=65536)
def names_of(text: str) -> tuple[str, ...]:
    """Activities of a row; of a joint event several, parted by ";" or "|"."""
    return tuple(part.strip() for part in re.split(r"[;|]", text) if part.strip())


def activity_names(rows: Iterable[Row]) -> list[str]:
    """Activities that rows name, sorted; of spellings that differ in case alone, the usual one."""
    texts = Counter((row.activity, row.kind == "interval") for row in rows if row.activity)
    marked = has_marks(text for text, is_interval in texts if not is_interval)
    spellings: dict[str, Counter[str]] = {}
    for (text, is_interval), n in texts.items():
        mark = read_mark(text) if marked and not is_interval else None
        for name in [mark[0]] if mark else [text] if is_interval else names_of(text):
            spellings.setdefault(fold(name), Counter())[name] += n
    return sorted(spelt.most_common(1)[0][0] for name, spelt in spellings.items() if name not in NOT_ANNOTATED)


class Labels:
    """Activities of a home's events."""

    def __init__(self, labels: Sequence[TimedRow], home: OwnHome, books: Books):
        """Read intervals and marks.

        Args:
            labels: rows that tell of activities, in the order of time.
            home: which activities there are.
            books: for marks without their other half, and unknown activities.
        """
        self.names, self._numbers, self._books = home.labels, home.label_of, books
        self._marked = has_marks(each.row.activity for each in labels if each.row.kind != "interval")
        self._spans: dict[str, list[tuple[int, int, int]]] = {}
        begun: dict[tuple[str, str], TimedRow] = {}
        for each in labels:
            mark = read_mark(each.row.activity) if self._marked and each.end_ms is None else None
            if each.end_ms is not None:
                self._enter(each.row, each.row.activity, each.ms, each.end_ms)
            elif mark:
                key = (each.row.resident, fold(mark[0]))
                start = begun.pop(key, None)
                if mark[1]:
                    begun[key] = each
                    self._never_ends(start)
                elif start is None:
                    books.mended(each.row, f"{quoted(mark[0])} ends without a beginning: it labels its own event alone")
                    self._enter(each.row, mark[0], each.ms, each.ms)
                else:
                    self._enter(start.row, mark[0], start.ms, each.ms)
        for start in begun.values():
            self._never_ends(start)
        self._intervals = {resident: Intervals(spans) for resident, spans in self._spans.items()}
        """Of each resident; "" = of nobody in particular."""

    def _never_ends(self, start: TimedRow | None) -> None:
        mark = read_mark(start.row.activity) if start else None
        if start and mark:
            self._books.mended(start.row, f"{quoted(mark[0])} begins and does not end: it labels its own event alone")
            self._enter(start.row, mark[0], start.ms, start.ms)

    def _enter(self, row: Row, name: str, start: int, end: int) -> None:
        number = self._number(name, row)
        if number is not None:
            for resident in residents_of(row.resident) or ("",):
                self._spans.setdefault(resident, []).append((start, end, number))

    def _number(self, name: str, row: Row) -> int | None:
        """An activity's number; None where it means that nothing was annotated, or is not in home.yaml."""
        folded = fold(name)
        if folded not in self._numbers and folded not in NOT_ANNOTATED:
            self._books.mended(row, f"activity {quoted(name)} is not in home.yaml: kept without a label")
        return self._numbers.get(folded)

    def of_event(self, each: TimedRow) -> tuple[tuple[str, ...], list[tuple[str, int]]]:
        """Residents of an event and its (resident, activity) pairs; the resident of a pair is empty where unknown."""
        people = residents_of(each.row.resident)
        if each.row.activity and not (self._marked and read_mark(each.row.activity)):
            numbers = [self._number(name, each.row) for name in names_of(each.row.activity)]
            numbers *= max(len(people), 1) if len(numbers) == 1 else 1
            whose = people if len(people) == len(numbers) else ("",) * len(numbers)
            return people, [(who, number) for who, number in zip(whose, numbers) if number is not None]
        intervals = {who: self._intervals[who] for who in (*people, "") if who in self._intervals} if people else (
            self._intervals)  # fmt: skip
        pairs = [(who, number) for who, spans in intervals.items() if (number := spans.at(each.ms)) is not None]
        return people, pairs[:1] if people and len(people) == 1 else pairs
