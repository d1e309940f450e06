"""Which events a reasoning points at: by number, time, sensor or room. Made for linking words to events on a screen.

It reads as a person would who has the window beside the text. What it takes for a mention, and what it cites:

- a number ("event 3", "events 3, 4 and 5", "ids 2-4", "3:" at a line's start, "the first event"): those events. Lists
  that count from 1 are noticed: they have as many entries as the window has events, and no 0;
- a time ("19:53:04", "at 7:28", "9:15 PM"): the events of that second, or of that minute where no second is given;
- a sensor ("the induction stove", "stove", "chair_1", "chairs"): all events of that sensor, also where a line is about
  one of them: a reader who asks "which stove?" wants to see when it went on and off. A room beside it narrows it
  ("kitchen door", "the door of bedroom_1");
- a room ("in the kitchen"): all its events.

Names of activities are conclusions, not evidence: in "so watching TV" and "the activity is using bathroom" nothing is
cited. Numbers and times that no event has cite nothing. :mod:`llmhar.traces.faithfulness` asks another question (which
evidence does a line rest on) and so reads more narrowly; :mod:`llmhar.traces.excerpts` asks the reverse one.

Texts are untrusted: nothing from them enters a pattern, all repeats are bounded, time grows with length alone.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

from llmhar.data.events import SensorEvent
from llmhar.text.words import find_names

Kind = Literal["event", "time", "sensor", "room"]
MAX_CHARS = 1_000_000
"""Of a longer text the rest is not searched."""
MAX_MENTIONS = 2000
"""Of a text with more, those nearest to its beginning are kept."""


class Mention(NamedTuple):
    """Some words of a reasoning and the events they point at."""

    start: int
    """First character, in UTF-16 code units: what JavaScript counts in."""
    end: int
    """One past the last, in UTF-16 code units."""
    events: tuple[int, ...]
    """Positions in the window, rising, at least one."""
    kind: Kind


_Span = tuple[int, int, tuple[int, ...], Kind]

# --- numbers and times
_BLANK = r"[ \t]"
_UNIT = rf"(?!{_BLANK}?(?:s|secs?|seconds?|min|minutes?|h|hours?|times|residents?|people)\b)"
_JOIN = (
    rf"{_BLANK}{{0,2}}(?:,{_BLANK}{{0,2}}(?:and|or)?|and|or|&|/|to|through|until|und|bis|-|–|—|~){_BLANK}{{0,2}}"
    r"[#*]{0,2}"
)
_EVENT = re.compile(
    r"(?i)(?:(?<!activity )(?<!label )(?<!resident )(?<!sensor )"
    r"\b(events?|ids?|items?|ereignis(?:se)?|eventos?|événements?)|(事件))(?:[ \t_]{1,2}(?:ids?|numbers?|no\.?))?"
    rf"[\"'*`]{{0,3}}{_BLANK}{{0,2}}[-_:=#(\[]?{_BLANK}{{0,2}}[\"'*#]{{0,3}}"
    rf"(\d{{1,4}}(?!\d){_UNIT}(?:{_JOIN}\d{{1,4}}(?![:：]?\d){_UNIT}){{0,50}})(?![:：.]?\d)\]?"
)
_PART = re.compile(r"(?i)\d+|[-–—~]|\b(?:to|through|until|bis)\b")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_COUNTS = ("one", "two", "three", "four", "five")
_ORDINAL = rf"(?:{'|'.join(_ORDINALS)}|last|\d{{1,2}}(?:st|nd|rd|th))"
_ORDINAL_WORD = re.compile(rf"(?i){_ORDINAL}")
_NTH = re.compile(rf"(?i)\b({_ORDINAL}(?:(?:, | and |, and | or ){_ORDINAL}){{0,9}}) events?\b")
_FIRST_FEW = re.compile(rf"(?i)\b(first|last) ({'|'.join(_COUNTS)}|\d) events\b")
_HEAD = re.compile(rf"(?m)^[^\w\n]{{0,6}}(\d{{1,4}})(?!\d)\*{{0,2}}{_BLANK}{{0,2}}([:.)|])(?!\d)(?=([^\n]{{0,20}}))")
_NAMED = re.compile(r"[*_ \t]{0,5}(?i:events?|ids?)\b")
_EVENT_HEAD = re.compile(r"(?im)^[^\w\n]{0,6}event[ \t#]{0,3}(\d{1,4})(?!\d)")
_TIME = re.compile(
    r"(?<![\d:：.])(\d{1,2})[:：](\d{2})(?:[:：](\d{2})(?:[.,]\d{1,3}(?!\d))?)?(?![:：]?\d)"
    r"(?:[ \u202f]?([AaPp])\.?[Mm]\b)?"
)

_ASTRAL = re.compile(r"[\U00010000-\U0010ffff]")


def find_mentions(reasoning: str, events: Sequence[SensorEvent]) -> list[Mention]:
    """The mentions of a window's events in a text, in order, none overlapping.

    Where readings compete, a number wins over a time, that over a sensor, that over a room, and the longer name over
    the shorter.

    Args:
        reasoning: any text; untrusted.
        events: the window's, whose positions are the ids that the prompt showed.
    """
    text = reasoning[:MAX_CHARS]
    if not events:
        return []
    spans = _apart(sorted(_numbers(text, len(events)), key=lambda span: (span[0], -span[1])), [])
    spans = _apart(islice(_times(text, events), MAX_MENTIONS), spans)
    places = tuple((event.room, event.sensor) for event in events)
    spans = _apart(islice(find_names(text, places), MAX_MENTIONS), spans)
    units = _utf16(text)
    return [Mention(units(start), units(end), ids, kind) for start, end, ids, kind in spans[:MAX_MENTIONS]]


def _apart(new: Iterable[_Span], old: list[_Span]) -> list[_Span]:
    """Both in order; of ``new`` those that overlap neither ``old`` nor one another."""
    starts, free, last = [span[0] for span in old], [], 0
    for span in new:
        after = bisect_left(starts, span[1])
        if span[0] >= last and (not after or old[after - 1][1] <= span[0]):
            free.append(span)
            last = span[1]
    return sorted([*old, *free])


def _utf16(text: str) -> Callable[[int], int]:
    """Position in ``text`` -> position in UTF-16 code units."""
    astral = [] if text.isascii() else [found.start() for found in _ASTRAL.finditer(text)]
    return (lambda at: at + bisect_left(astral, at)) if astral else (lambda at: at)


# --- numbers


def _numbers(text: str, n: int) -> Iterator[_Span]:
    heads = [found for found in islice(_HEAD.finditer(text), MAX_MENTIONS) if not _NAMED.match(found[3])]
    numbers = [int(found[1]) for found in heads]
    named = {int(found[1]) for found in islice(_EVENT_HEAD.finditer(text), MAX_MENTIONS)}
    every = named | set(numbers)
    from_one = n > 1 and {1, n} <= every and 0 not in every and max(every) == n
    for found in islice(_EVENT.finditer(text), MAX_MENTIONS):
        ids = _listed(found[3], n, from_one=from_one and (found[1] or "").lower().startswith("event"))
        if ids:
            yield found.start(), found.end(), ids, "event"
    # A list with numbers beyond the window counts something else: the activities, most likely. So do numbered steps.
    if max(numbers, default=0) < n + from_one:
        lists = from_one or 0 in numbers
        for found, number in zip(heads, numbers):
            if (lists or found[2] == ":") and number - from_one in range(n):
                yield found.start(1), found.end(1), (number - from_one,), "event"
    for found in islice(_NTH.finditer(text), MAX_MENTIONS):
        nths = {_nth(word, n) for word in _ORDINAL_WORD.findall(found[1])}
        if chosen := tuple(sorted(nths & set(range(n)))):
            yield found.start(), found.end(), chosen, "event"
    for found in islice(_FIRST_FEW.finditer(text), MAX_MENTIONS):
        count = int(found[2]) if found[2].isdecimal() else _COUNTS.index(found[2].lower()) + 1
        if count:
            few = range(n)[:count] if found[1].lower() == "first" else range(n)[-count:]
            yield found.start(), found.end(), tuple(few), "event"


def _listed(listed: str, n: int, *, from_one: bool) -> tuple[int, ...]:
    """Ids of "3, 4 and 5", "2-4": numbers and ranges, as far as the window has them."""
    ids: set[int] = set()
    last, through = 0, False
    if listed.isdecimal():  # most are
        number = int(listed) - from_one
        return (number,) if number in range(n) else ()
    for part in _PART.findall(listed):
        if not part.isdecimal():
            through = True
            continue
        number = int(part) - from_one
        ids.update(range(max(0, last + 1 if through else number), min(number, n - 1) + 1))
        last, through = number, False
    return tuple(sorted(ids))


def _nth(word: str, n: int) -> int:
    word = word.lower()
    if word == "last":
        return n - 1
    return _ORDINALS.index(word) if word in _ORDINALS else int(word[:-2]) - 1


# --- times


def _times(text: str, events: Sequence[SensorEvent]) -> Iterator[_Span]:
    seconds: dict[tuple[int, int, int], list[int]] = {}
    minutes: dict[tuple[int, int], list[int]] = {}
    for i, event in enumerate(events):
        seconds.setdefault((event.time.hour, event.time.minute, event.time.second), []).append(i)
        minutes.setdefault((event.time.hour, event.time.minute), []).append(i)
    for found in _TIME.finditer(text):
        hour, minute = int(found[1]), int(found[2])
        if found[4]:
            hour = hour % 12 + 12 * (found[4] in "Pp")
        ids = seconds.get((hour, minute, int(found[3]))) if found[3] else minutes.get((hour, minute))
        if ids:
            yield found.start(), found.end(), tuple(ids), "time"
