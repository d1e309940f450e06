"""Times as users' files write them, and the clock of a home. Knows no file and no event.

A time is kept as ISO text whose clock is the file's own. An offset from UTC stands behind it where the file has one;
epoch seconds and stamps in UTC become "+00:00" and are shown in the home's zone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from llmhar.data.load_report import DataError
from llmhar.data.reader import quoted

_ISO = re.compile(r"(?:19[7-9]|20)\d\d-?\d\d-?\d\d[T ]\d\d")
_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s?(?P<half>[AaPp])?(?:\.?[Mm]\.?)?\s?(?P<offset>Z|UTC|GMT|[+-]\d\d:?\d\d)?"
)
_NUMBERS = re.compile(
    rf"(?P<a>\d{{1,2}}|\d{{4}})(?P<mark>[/.-])(?P<b>\d{{1,2}})(?P=mark)(?P<c>\d{{2}}|\d{{4}}),?[T ]\s*{_CLOCK}"
)
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)})[a-z]*\.?"
_DAY_MONTH = re.compile(rf"(?P<day>\d{{1,2}})[-/. ]{_MONTH}[-/., ]{{1,2}}(?P<year>\d{{4}}),?[T ]\s*{_CLOCK}", re.I)
_MONTH_DAY = re.compile(rf"{_MONTH} (?P<day>\d{{1,2}}),? (?P<year>\d{{4}}),? {_CLOCK}", re.I)
_EPOCH = re.compile(r"([0-4]\d{9})(?:(\d{3})(\d{3})?(\d{3})?)?(\.\d+)?")
_SPACED_OFFSET = re.compile(r" ?(UTC|GMT|[zZ])$| (?=[+-]\d\d:?\d\d$)|\[[A-Za-z_/+-]+\]$")


class BadTime(ValueError):
    """A time that cannot be read; the message is the reason of a refused row."""


def read_time(text: str, day_first: bool | None = None) -> str:
    """ISO text of a time.

    Args:
        text: as the file writes it.
        day_first: how 03/04/2026 is read; None = not at all.

    Raises:
        BadTime: not a date with a time of day.
    """
    text = text.strip()
    try:
        if _ISO.match(text):
            if text[-1] in "TCzZ]" or " " in text[11:]:
                text = _SPACED_OFFSET.sub(lambda found: "+00:00" if found[1] else "", text)
            datetime.fromisoformat(text)
            return text
        if epoch := _EPOCH.fullmatch(text):
            return _from_epoch(epoch)
        if found := _NUMBERS.fullmatch(text):
            return _from_numbers(found, day_first)
        if found := _DAY_MONTH.fullmatch(text) or _MONTH_DAY.fullmatch(text):
            month = _MONTHS.index(found["month"].lower()) + 1
            return _put(date(_year(found["year"]), month, int(found["day"])), found)
    except (ValueError, OverflowError) as error:
        raise BadTime(str(error) if isinstance(error, BadTime) else f"time {quoted(text)} does not exist") from error
    raise BadTime(
        f"time {quoted(text)} is no date with a time of day: write YYYY-MM-DD HH:MM:SS" if text else "no time"
    )


def _from_epoch(found: re.Match[str]) -> str:
    milli, micro, nano, part = found[2], found[3], found[4], found[5]
    digits = (milli or "") + (micro or "") + (nano or "") + (part or "").lstrip(".")
    moment = datetime.fromtimestamp(int(found[1]), UTC) + timedelta(microseconds=int(f"{digits:0<6}"[:6]))
    if not 1990 <= moment.year <= 2099:
        raise BadTime(f"time {quoted(found[0])}: as seconds since 1970 this is the year {moment.year}")
    return moment.isoformat()


def _year(text: str) -> int:
    if len(text) != 4 or not 1970 <= int(text) <= 2099:
        raise BadTime(f"year {quoted(text)}: write years from 1970 to 2099 with four digits")
    return int(text)


def _from_numbers(found: re.Match[str], day_first: bool | None) -> str:
    a, b, c = found["a"], found["b"], found["c"]
    if len(a) == 4:
        return _put(date(_year(a), int(b), int(c)), found)
    day_first = day_first if found["mark"] != "." else True
    if day_first is None:
        raise BadTime(f"time {quoted(found[0])}: day/month or month/day")
    day, month = (a, b) if day_first else (b, a)
    return _put(date(_year(c), int(month), int(day)), found)


def _put(day: date, found: re.Match[str]) -> str:
    hour, second, half = int(found["hour"]), found["second"] or "00", (found["half"] or "").lower()
    if half and not 1 <= hour <= 12:
        raise BadTime(f"time {quoted(found[0])} does not exist")
    hour = hour % 12 + 12 * (half == "p") if half else hour
    fraction = f".{found['fraction'][:6]:0<6}" if found["fraction"] else ""
    offset = found["offset"] or ""
    text = f"{day.isoformat()}T{hour:02}:{found['minute']}:{second}{fraction}"
    text += "+00:00" if offset in ("Z", "UTC", "GMT") else offset
    datetime.fromisoformat(text)
    return text


def day_comes_first(texts: Iterable[str], where: str, said: bool | None) -> bool | None:
    """How a file's dates like 03/04/2026 are to be read, from those of its dates that can be read in one way only.

    Args:
        texts: the file's times.
        where: the file, for the error.
        said: what the user says; None = nothing.

    Returns:
        None where the file has no such dates.

    Raises:
        DataError: all are ambiguous, or some say the one and some the other.
    """
    if said is not None:
        return said
    n_day, n_month, example = 0, 0, ""
    for text in texts:
        found = _NUMBERS.fullmatch(text.strip()) if text[1:2] in "/-" or text[2:3] in "/-" else None
        if found is None or found["mark"] == "." or len(found["a"]) == 4:
            continue
        n_day += int(found["a"]) > 12 >= int(found["b"])
        n_month += int(found["b"]) > 12 >= int(found["a"])
        example = example or text
    if not example:
        return None
    if max(n_day, n_month) <= 20 * min(n_day, n_month) or not n_day + n_month:
        why = "may be day/month or month/day" if not n_day else "are day/month in some rows and month/day in others"
        raise DataError(f"{where}: dates like {quoted(example)} {why}: say --day-first or --month-first")
    return n_day > n_month


def local_zone() -> str:
    """Name of this machine's time zone, "UTC" where it does not say."""
    link = Path("/etc/localtime")
    names = [os.environ.get("TZ", "").lstrip(":")]
    try:
        names += [Path("/etc/timezone").read_text(encoding="utf-8").strip()] if Path("/etc/timezone").is_file() else []
        names += [str(link.resolve()).partition("zoneinfo/")[2]]
    except (OSError, UnicodeDecodeError):
        pass
    return next((name for name in names if is_zone(name)), "UTC")


@lru_cache(maxsize=64)
def is_zone(name: str) -> bool:
    """Whether there is a time zone of this name."""
    return bool(name) and name in available_timezones()


class Moment(NamedTuple):
    """A time of a home."""

    clock: datetime
    """Wall clock as written, naive; of a stamp in UTC the zone's."""
    ms: int
    """Milliseconds since 1970 in UTC: the order of events, whatever the clock did."""


class Change(NamedTuple):
    """A day on which a zone's clock is put forward or back."""

    kind: Literal["twice", "missing"]
    start: datetime
    """Beginning of the hour that stands twice on the clock, or of the one that is missing."""
    end: datetime


_EPOCH_START, _MS = datetime(1970, 1, 1), timedelta(milliseconds=1)


class ZoneClock:
    """Reads ISO times in one zone. Rows are given in the file's order: where the clock steps back within the hour that
    stands twice, the second of the two has begun.
    """

    def __init__(self, zone: str):
        self.zone = ZoneInfo(zone)
        self.changes: dict[date, Change | None] = {}
        self._offsets: dict[date, timedelta] = {}
        self._before: tuple[str, datetime, bool] = ("", datetime.min, False)

    def read(self, text: str, file: str = "") -> Moment:
        """The moment of a time that :func:`read_time` wrote.

        Args:
            text: ISO time.
            file: whose rows are being read, in order.
        """
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            offset = time.utcoffset() or timedelta()
            if offset:
                clock = time.replace(tzinfo=None)
                self.change_on(clock.date())
                return Moment(clock, (clock - offset - _EPOCH_START) // _MS)
            local = time.astimezone(self.zone).replace(tzinfo=None)
            self.change_on(local.date())
            return Moment(local.replace(fold=0), (time.replace(tzinfo=None) - _EPOCH_START) // _MS)
        change = self.change_on(time.date())
        if change is None:
            return Moment(time, (time - self._offsets[time.date()] - _EPOCH_START) // _MS)
        second, is_within = False, change.start <= time < change.end
        if is_within and change.kind == "missing":  # between what came before and after it on the clock
            return Moment(time, (change.start - self._offsets[time.date()] - _EPOCH_START) // _MS)
        if is_within:
            file_before, before, was_second = self._before
            if file_before == file and change.start <= before < change.end:
                second = was_second or before - time >= timedelta(minutes=5)
            self._before = (file, time, second)
        offset = time.replace(fold=second, tzinfo=self.zone).utcoffset() or timedelta()
        return Moment(time, (time - offset - _EPOCH_START) // _MS)

    def change_on(self, day: date) -> Change | None:
        """What the zone's clock does on a day."""
        if day not in self.changes:
            self.changes[day] = self._look(day)
        return self.changes[day]

    def _look(self, day: date) -> Change | None:
        start = datetime(day.year, day.month, day.day)
        before, after = (self._offset(start + timedelta(hours=hours)) for hours in (0, 24))
        self._offsets[day] = before
        if before == after:
            return None
        low, high = start - before, start + timedelta(hours=24) - after  # in UTC
        while high - low > timedelta(seconds=1):
            middle = low + (high - low) / 2
            at = middle.replace(tzinfo=UTC).astimezone(self.zone).utcoffset()
            low, high = (middle, high) if at == before else (low, middle)
        turn = (high + timedelta(milliseconds=500)).replace(microsecond=0)
        ends = sorted((turn + before, turn + after))
        return Change("twice" if after < before else "missing", ends[0], ends[1])

    def _offset(self, clock: datetime) -> timedelta:
        return clock.replace(tzinfo=self.zone).utcoffset() or timedelta()
