"""Whole days as sessions: which are wanted, what kind of day, and how they are split. Knows no file format."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from llmhar.data.events import Session
from llmhar.data.load_report import Split, WrongCall
from llmhar.data.reader import natural, quoted

_DATE = r"(\d{4}-\d\d-\d\d)"
_SPAN = re.compile(rf"{_DATE}|{_DATE}?\.\.{_DATE}?")


@dataclass(frozen=True)
class Span:
    """Days that are wanted, both ends included, as ISO dates: they compare as text."""

    first: str = "0001-01-01"
    last: str = "9999-12-31"

    @classmethod
    def of(cls, text: str) -> Span:
        """The span that an option names: one day, START..END, START.. or ..END; empty = all days.

        Raises:
            WrongCall: it names none.
        """
        found = _SPAN.fullmatch(text)
        if not text:
            return cls()
        try:
            days = [date.fromisoformat(part).isoformat() if part else "" for part in found.groups("")] if found else []
        except ValueError:  # 2011-02-30
            days = []
        if not any(days) or (days[1] and days[2] and days[1] > days[2]):
            raise WrongCall(f"days {quoted(text)} is no span: write START..END, each YYYY-MM-DD")
        return cls(days[0] or days[1] or cls.first, days[0] or days[2] or cls.last)

    @property
    def around(self) -> Span:
        """The span and a day on each side: what begins in it or runs into it may be marked there."""
        first, last = date.fromisoformat(self.first), date.fromisoformat(self.last)
        return Span(
            (first - timedelta(1)).isoformat() if first > date.min else self.first,
            (last + timedelta(1)).isoformat() if last < date.max else self.last,
        )


def kind_of_day(day: date) -> str:
    """Whether a day is a "weekday" or a "weekend"."""
    return "weekend" if day.weekday() >= 5 else "weekday"


def split_days(sessions: Sequence[Session]) -> Split:
    """Per home, the first two thirds of its sessions by name train, and at least the last third tests."""
    parts = Split([], [])
    for home in sorted({session.home for session in sessions}):
        days = sorted((session.session_id for session in sessions if session.home == home), key=natural)
        cut = len(days) * 2 // 3
        parts.train.extend(days[:cut])
        parts.test.extend(days[cut:])
    return parts
