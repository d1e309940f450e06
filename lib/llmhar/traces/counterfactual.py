"""Windows that were changed to see whether a label follows, and the order to ask a model about one. Asks nobody.

Events may be dropped, edited, added, or replaced by those of another sensor. A changed window is numbered by what it
holds, so the same change has the same number in every run and at every screen, and no note in the store means two
things; what an answer about it is for (probe, re-ask) stands beside it in the store.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import SequenceMatcher

from llmhar.data.events import SensorEvent, Window
from llmhar.records import Request, sha256_of
from llmhar.text.serialize import MAX_NAME_CHARS, clean_text
from llmhar.traces.bundle import clean

MAX_EVENTS = 30
"""Events of a window that was changed by hand."""
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d)", re.ASCII)

Row = tuple[str, str, str, str]
"""Clock "HH:MM:SS", room, sensor, state: an event as the screen shows it."""


class ReaskError(ValueError):
    """A question that cannot be asked, or that got no answer; one sentence with the cure."""


@dataclass(frozen=True)
class Order:
    """One window to ask one model about again, changed by hand."""

    session: str
    """Id of the session."""
    index: int
    """Position of the window in its session."""
    events: tuple[Row, ...]
    """Those that are left, in time order; edited ones differ from the window's."""
    wording: str | None = None
    """Key into ``PROMPTS``; None = as it was asked before."""
    serializer: str | None = None
    """Key into ``SERIALIZERS``; None = as it was asked before."""
    temperature: float | None = None
    """0 … 2; None = as in ``like``."""
    like: Request | None = None
    """A request to this model whose sampling, thinking switch and schema are kept; None = greedy, free text."""
    labels: tuple[str, ...] | None = None
    """Names of activities that the answer's labels are indices into; None = the session's, in the prompt's order."""
    window: int = 0
    """At the screen: index into the bundle's windows."""
    dataset: str = ""
    """At the screen: shown name of the window's data set."""
    model: int = 0
    """At the screen: index into the bundle's models."""
    model_name: str = ""
    """At the screen: shown name of that model."""


def change_window(window: Window, events: Sequence[SensorEvent]) -> Window:
    """The window with other events, numbered by what it holds; events are counted from 0.

    Args:
        window: as it was.
        events: those that it shall have, in time order.
    """
    content = [[event.time.isoformat(), event.room, event.sensor, event.state] for event in events]
    number = int(sha256_of([window.session_id, window.index, content])[:12], 16)  # 48 bits: exact in JavaScript
    return Window(window.session_id, number, tuple(replace(event, event_id=i) for i, event in enumerate(events)))


def drop_events(window: Window, ids: Collection[int]) -> Window:
    """The window without the events at these positions."""
    return change_window(window, [event for i, event in enumerate(window.events) if i not in ids])


def swap_events(window: Window, ids: Sequence[int], donor: Sequence[SensorEvent]) -> Window:
    """The window with the events at these positions replaced, at their own times.

    Args:
        window: as it was.
        ids: positions in the window.
        donor: what takes their places, one after the other and over again. Nobody caused what never happened, so it
            comes without residents and activity.
    """
    events = list(window.events)
    for k, i in enumerate(ids):
        events[i] = replace(donor[k % len(donor)], time=events[i].time, residents=(), activity_id=None, pairs=())
    return change_window(window, events)


def edit_window(window: Window, rows: Sequence[Row]) -> Window:
    """The window with the events of these rows: kept ones as they were with their truth, edited ones without.

    Args:
        window: as it was; where nothing was changed it comes back itself.
        rows: the events that it shall have.

    Raises:
        ReaskError: none or too many events, a clock that is none, texts that are empty or too long, a wrong order.
    """
    if not 1 <= len(rows) <= MAX_EVENTS:
        raise ReaskError(f"a window needs 1 to {MAX_EVENTS} events, not {len(rows)}")
    for i, row in enumerate(rows):
        _check(i, row)
    kept = kept_events(window, rows)
    if len(rows) == len(window.events) == len(kept):
        return window
    events: list[SensorEvent] = []
    for i, row in enumerate(rows):
        old = window.events[kept[i]] if i in kept else None
        time = old.time if old else _at(row[0], events[-1].time if events else window.events[0].time)
        if events and time < events[-1].time:
            raise ReaskError(
                f"event {i} at {row[0]} comes before event {i - 1} at {rows[i - 1][0]}: put them in time order"
            )
        events.append(old or SensorEvent(i, time, *row[1:]))
    return change_window(window, events)


def rows_of(window: Window) -> list[Row]:
    """A window's events as the screen shows them."""
    return [(f"{e.time:%H:%M:%S}", clean(e.room), clean(e.sensor), clean(e.state)) for e in window.events]


def kept_events(window: Window, rows: Sequence[Row]) -> dict[int, int]:
    """Position among ``rows`` -> position in the window, of events that were left as they are."""
    blocks = SequenceMatcher(None, rows_of(window), list(rows), autojunk=False).get_matching_blocks()
    return {block.b + k: block.a + k for block in blocks for k in range(block.size)}


def _check(i: int, row: Row) -> None:
    clock, room, sensor, state = row
    if not _CLOCK.fullmatch(clock):
        raise ReaskError(f"event {i}: the time {clock[:40]!r} is no HH:MM:SS")
    for name, text in (("room", room), ("sensor", sensor), ("state", state)):
        if len(text) > MAX_NAME_CHARS:
            raise ReaskError(f"event {i}: the {name} has {len(text)} characters; at most {MAX_NAME_CHARS}")
        if name != "room" and not clean_text(text):
            raise ReaskError(f"event {i}: the {name} is empty")


def _at(clock: str, before: datetime) -> datetime:
    """The time that a clock shows next to ``before``; half a day back means that midnight has passed."""
    time = datetime.combine(before.date(), datetime.strptime(clock, "%H:%M:%S").time())
    if before - time > timedelta(hours=12):
        return time + timedelta(days=1)
    same = time.replace(microsecond=before.microsecond)  # clocks show no fractions: the same second is not "before"
    return same if same.replace(microsecond=0) == before.replace(microsecond=0) else time
