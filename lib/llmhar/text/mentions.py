"""Which events a text points at: by number, time, sensor or room. The one reader of such words; it yields spans.

It reads as a person would who has the window beside the text. What it takes for a mention, and what it cites:

- a number ("event 3", "events 3, 4 and 5", "ids 2-4", "the first event", and "3:" at a line's start): those events.
  Lists that count from 1 are noticed: they have as many entries as the window has events, and no 0;
- a time ("19:53:04", "at 7:28", "9:15 PM"): the events of that second, or of that minute where no second is given;
- a sensor ("the induction stove", "stove", "chair_1", "chairs"): all events of that sensor, also where a line is about
  one of them: a reader who asks "which stove?" wants to see when it went on and off. A room beside it narrows it
  ("kitchen door", "the door of bedroom_1");
- a room ("in the kitchen"): all its events.

Names of activities are conclusions, not evidence: in "so watching TV" and "the activity is using bathroom" nothing is
cited. Numbers and times that no event has cite nothing.

What counts differs by question, so each asker filters the spans: the explorer links all of them
(:func:`find_mentions`), :mod:`llmhar.traces.citations` asks on which evidence a line rests, or an event's own reason
(:func:`find_evidence`), :mod:`llmhar.traces.excerpts` which part of a text is about an event,
:mod:`llmhar.score.ledger` whether an event was thought of at all.

Texts and names are untrusted: only whole names enter a pattern, escaped; all repeats are bounded, time grows with
length alone.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

from llmhar.data.events import SensorEvent
from llmhar.text.words import find_names

Sensor = tuple[str, str]
"""Room and name: two of one name in different rooms are two sensors."""
Kind = Literal["event", "line", "time", "sensor", "room", "name"]
"""A number with a word ("event 3"), a bare number at a line's start ("3:"), a time, a sensor, a room, and a sensor's
whole name, room included, letter by letter."""
READ: tuple[Kind, ...] = ("event", "line", "time", "sensor", "room")
"""What people take for a mention."""
MAX_CHARS = 1_000_000
"""Of a longer text the rest is not searched."""
MAX_MENTIONS = 2000
"""Of a text with more, those nearest to its beginning are kept."""


class Span(NamedTuple):
    """Some words of a text and the events that they point at."""

    start: int
    """First character, in code points."""
    end: int
    """One past the last."""
    events: tuple[int, ...]
    """Positions in the window, rising. Of an "event" or a "line" it is empty where no event has that number."""
    kind: Kind


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
    rf"[\"'*`]{{0,3}}(?:{_BLANK}{{0,2}}[-_:=#(\[]?{_BLANK}{{0,2}}|\n)[\"'*#]{{0,3}}"
    rf"(\d{{1,4}}(?!\d){_UNIT}(?:{_JOIN}\d{{1,4}}(?![:：]?\d){_UNIT}){{0,50}})(?![:：.]?\d)\]?"
)
_PART = re.compile(r"(?i)\d+|[-–—~]|\b(?:to|through|until|bis)\b")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_COUNTS = ("one", "two", "three", "four", "five")
_ORDINAL = rf"(?:{'|'.join(_ORDINALS)}|last|\d{{1,2}}(?:st|nd|rd|th))"
_ORDINAL_WORD = re.compile(rf"(?i){_ORDINAL}")
_NTH = re.compile(rf"(?i)\b({_ORDINAL}(?:(?:, | and |, and | or ){_ORDINAL}){{0,9}}) events?\b")
_FIRST_FEW = re.compile(rf"(?i)\b(first|last) ({'|'.join(_COUNTS)}|\d) events\b")
_HEAD = re.compile(
    rf"(?m)^[^\w\n]{{0,6}}(\d{{1,4}})(?!\d)\*{{0,2}}{_BLANK}{{0,2}}([:.)|]|[-–—](?={_BLANK}))(?!\d)(?=([^\n]{{0,20}}))"
)
_NAMED = re.compile(r"[*_ \t]{0,5}(?i:events?|ids?)\b")
_EVENT_HEAD = re.compile(r"(?im)^[^\w\n]{0,6}event[ \t#]{0,3}(\d{1,4})(?!\d)")
_TIME = re.compile(
    r"(?<![\d:：.])(\d{1,2})[:：](\d{2})(?:[:：](\d{2})(?:[.,]\d{1,3}(?!\d))?)?(?![:：]?\d)"
    r"(?:[ \u202f]?([AaPp])\.?[Mm]\b)?"
)

POINTING = (
    r"(?i)\b(?:near(?:by|est)?(?:\s+to)?|next\s+to|close\s+to|beside|after|before|following|followed\s+by|preceded\s+by|"
    r"because\s+of|due\s+to|given|with|by|since|as|and|says\s+little,)\s+"
)
"""What stands before a name that is given as a reason, as the beginning of a pattern."""
POINTING_CHARS = 40
"""Characters before a name in which it is looked for."""
_PLACE = re.compile(r"(?i)\b(?:in|inside|from|of)\s+(?:the|an?)\s+$")
_POINTS = re.compile(rf"{POINTING}(?:(?:the|an?)\s+)?[\"'*`]{{0,3}}$")

_OPENING = re.compile(r"(?i)[^\w\n]{0,6}(?:\d{1,4}[.)][^\w\n]{0,6})?(?:(?:for|so|then|now) )?")
"""What may stand between a line's start and the number of the event that the line is about."""
_PLURAL = re.compile(r"(?i)(?:events|ids|items)\b")


def find_spans(text: str, events: Sequence[SensorEvent], kinds: Collection[Kind] = READ) -> list[Span]:
    """The words of a text that point at a window's events, in order, none overlapping.

    Where readings compete, a number wins over a time, that over a sensor, that over a room, and the longer name over
    the shorter.

    Args:
        text: any; untrusted. What lies beyond :data:`MAX_CHARS` is not read.
        events: the window's, whose positions are the ids that the prompt showed.
        kinds: which of them count; others are not looked for, so they take no words from those that do.
    """
    text = text[:MAX_CHARS]
    if not events:
        return []
    spans: list[Span] = []
    if "event" in kinds or "line" in kinds:
        numbers = (span for span in _numbers(text, len(events)) if span.kind in kinds)
        spans = _apart(sorted(numbers, key=lambda span: (span.start, -span.end)), spans)
    if "time" in kinds:
        spans = _apart(islice(_times(text, events), MAX_MENTIONS), spans)
    if "name" in kinds:
        spans = _apart(islice(_whole_names(text, events), MAX_MENTIONS), spans)
    if "sensor" in kinds or "room" in kinds:
        places = tuple((event.room, event.sensor) for event in events)
        named = (Span(*name) for name in find_names(text, places) if name.kind in kinds)
        spans = _apart(islice(named, MAX_MENTIONS), spans)
    return spans


def find_mentions(text: str, events: Sequence[SensorEvent]) -> list[Span]:
    """What the explorer links: all spans that cite something, bare numbers at lines' starts as "event".

    Such numbers are linked where a colon follows or where the list begins with the first event; others number the
    steps of a thought.

    Args:
        text: any; untrusted.
        events: the window's.
    """
    spans = [span for span in find_spans(text, events) if span.events]
    counts_events = any(span.kind == "line" and span.events == (0,) for span in spans)
    return [
        span._replace(kind="event") if span.kind == "line" else span
        for span in spans
        if span.kind != "line" or counts_events or text[span.end : span.end + 5].lstrip("* \t").startswith(":")
    ][:MAX_MENTIONS]


def find_evidence(why: str, about: int, events: Sequence[SensorEvent]) -> list[Span]:
    """The words of an event's own reason that cite other events, and of each those that it cites.

    A number cites its events. A sensor cites, of its events, the nearest in time; the event's own sensor cites nothing,
    unless something points at it ("near the other chair"), as only then it may be another of the same name. A room is
    mostly where the event is itself, and so is a sensor that is called as a room ("busy in the kitchen", of a kitchen
    door): it counts where something points at it ("after the bathroom").

    Args:
        why: any; untrusted.
        about: position of the event whose reason it is.
        events: the window's.
    """
    own, cited = sensor_of(events[about]), []
    for span in find_spans(why, events, ("event", "sensor", "room")):
        ids = tuple(i for i in span.events if i != about)
        if span.kind != "event":
            before = max(0, span.start - POINTING_CHARS), span.start
            place = span.kind == "room" or about in span.events or _PLACE.search(why, *before)
            if place and not _POINTS.search(why, *before):
                continue
            ids = nearest((i for i in ids if sensor_of(events[i]) != own), about, events)
        if ids:
            cited.append(span._replace(events=ids))
    return cited


def sensor_of(event: SensorEvent) -> Sensor:
    """Which sensor an event is of."""
    return event.room, event.sensor


def nearest(ids: Iterable[int], about: int, events: Sequence[SensorEvent]) -> tuple[int, ...]:
    """Of some events the one nearest in time to the event ``about``; none of none."""
    at = events[about].time
    return tuple(sorted(ids, key=lambda i: (abs(events[i].time - at), abs(i - about), i))[:1])


def opened_line(text: str, span: Span) -> int | None:
    """Where the line begins that a number opens, so that the line is about this event.

    None where words stand before the number, and for "events 3 and 4".

    Args:
        text: where the span was found.
        span: an "event" or a "line".
    """
    begin = text.rfind("\n", 0, span.start) + 1
    opens = _OPENING.fullmatch(text, begin, span.start) and not _PLURAL.match(text, span.start)
    return begin if opens else None


def _apart(new: Iterable[Span], old: list[Span]) -> list[Span]:
    """Both in order; of ``new`` those that overlap neither ``old`` nor one another."""
    starts, free, last = [span[0] for span in old], [], 0
    for span in new:
        after = bisect_left(starts, span[1])
        if span[0] >= last and (not after or old[after - 1][1] <= span[0]):
            free.append(span)
            last = span[1]
    return sorted([*old, *free])


# --- numbers


def _numbers(text: str, n: int) -> Iterator[Span]:
    heads = [match for match in islice(_HEAD.finditer(text), MAX_MENTIONS) if not _NAMED.match(match[3])]
    numbers = [int(match[1]) for match in heads]
    named = {int(match[1]) for match in islice(_EVENT_HEAD.finditer(text), MAX_MENTIONS)}
    every = named | set(numbers)
    from_one = n > 1 and {1, n} <= every and 0 not in every and max(every) == n
    for match in islice(_EVENT.finditer(text), MAX_MENTIONS):
        ids = _listed(match[3], n, from_one=from_one and (match[1] or "").lower().startswith("event"))
        yield Span(*match.span(), ids, "event")
    # A list that goes beyond the window counts something else, the activities most likely, unless it begins with "0:".
    if max(numbers, default=0) < n + from_one or (0, ":") in ((int(match[1]), match[2]) for match in heads):
        for match, number in zip(heads, numbers):
            yield Span(*match.span(1), _within(number - from_one, n), "line")
    for match in islice(_NTH.finditer(text), MAX_MENTIONS):
        nths = {_nth(word, n) for word in _ORDINAL_WORD.findall(match[1])}
        yield Span(*match.span(), tuple(sorted(nths & set(range(n)))), "event")
    for match in islice(_FIRST_FEW.finditer(text), MAX_MENTIONS):
        count = int(match[2]) if match[2].isdecimal() else _COUNTS.index(match[2].lower()) + 1
        if count:
            few = range(n)[:count] if match[1].lower() == "first" else range(n)[-count:]
            yield Span(*match.span(), tuple(few), "event")


def _listed(listed: str, n: int, *, from_one: bool) -> tuple[int, ...]:
    """Ids of "3, 4 and 5", "2-4": numbers and ranges, as far as the window has them."""
    ids: set[int] = set()
    last, through = 0, False
    if listed.isdecimal():  # most are
        return _within(int(listed) - from_one, n)
    for part in _PART.findall(listed):
        if not part.isdecimal():
            through = True
            continue
        number = int(part) - from_one
        ids.update(range(max(0, last + 1 if through else number), min(number, n - 1) + 1))
        last, through = number, False
    return tuple(sorted(ids))


def _within(number: int, n: int) -> tuple[int, ...]:
    return (number,) if number in range(n) else ()


def _nth(word: str, n: int) -> int:
    word = word.lower()
    if word == "last":
        return n - 1
    return _ORDINALS.index(word) if word in _ORDINALS else int(word[:-2]) - 1


# --- times


def _times(text: str, events: Sequence[SensorEvent]) -> Iterator[Span]:
    seconds: dict[tuple[int, int, int], list[int]] = {}
    minutes: dict[tuple[int, int], list[int]] = {}
    for i, event in enumerate(events):
        seconds.setdefault((event.time.hour, event.time.minute, event.time.second), []).append(i)
        minutes.setdefault((event.time.hour, event.time.minute), []).append(i)
    for match in _TIME.finditer(text):
        hour, minute = int(match[1]), int(match[2])
        if match[4]:
            hour = hour % 12 + 12 * (match[4] in "Pp")
        ids = seconds.get((hour, minute, int(match[3]))) if match[3] else minutes.get((hour, minute))
        if ids:
            yield Span(*match.span(), tuple(ids), "time")


# --- whole names


def _whole_names(text: str, events: Sequence[SensorEvent]) -> Iterator[Span]:
    """Sensors with their rooms, written as the prompt shows them but for the case."""
    named: dict[str, list[int]] = {}
    for i, event in enumerate(events):
        named.setdefault(f"{event.room} {event.sensor}".strip(), []).append(i)
    names = sorted(filter(None, named), key=len, reverse=True)
    if names:
        pattern = rf"(?i)(?<!\w)(?:{'|'.join(f'({re.escape(name)})' for name in names)})(?!\w)"
        for match in re.finditer(pattern, text):
            yield Span(*match.span(), tuple(named[names[(match.lastindex or 1) - 1]]), "name")
