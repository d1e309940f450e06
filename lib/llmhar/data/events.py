"""What happened at home: events, sessions, and how these are cut into windows. Knows no files, prompts or models."""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from llmhar.settings import choose

if TYPE_CHECKING:
    from llmhar.data.homes import Home

STATES = (
    *("turned ON", "turned OFF", "OPENED", "CLOSED", "ENTERED", "LEFT", "PRESENT", "ABSENT"),
    *("INSTRUCTIONS STARTED", "INSTRUCTIONS ENDED", "STARTED", "ENDED"),
)
"""Words for what a sensor did (S1 §3.1.1; ENTERED and LEFT for locations that a loader may offer, PRESENT and ABSENT
for things that have a place, the rest for a telephone). A word that ends in another stands before it."""


def spoken(room: str, sensor: str, state: str) -> str:
    """S1 §3.1.1: ``<room_name> <sensor_name> <event>``; a room that the sensor's name begins with is said once."""
    named = bool(room) and sensor.replace("-", " ").startswith(f"{room} ")
    return " ".join(part for part in ("" if named else room, sensor, state) if part)


T = TypeVar("T")


def true_activity(activities: Sequence[T], scored: Container[T], answer: T | None = None) -> T | None:
    """The activity that an answer is measured against: the one rule by which joint events are scored.

    A joint event is right if the answer is one of its activities: then the answer is the truth. Any other answer is
    measured against the first of its activities that is scored, which is the strict truth too. For an event with one
    activity this is that activity, whatever the answer.

    Args:
        activities: all of the event, in the file's order.
        scored: the label set; others are no truth.
        answer: what was answered; None = nothing, or the strict truth is wanted.

    Returns:
        None where no activity of the event is scored.
    """
    if len(activities) == 1:  # the usual case
        return activities[0] if activities[0] in scored else None
    found = [activity for activity in activities if activity in scored]
    return answer if answer in found else found[0] if found else None


@dataclass(frozen=True, slots=True)
class SensorEvent:
    """One change of one sensor."""

    event_id: int
    """Position in its session, from 0, in time order (ties keep the file's order)."""
    time: datetime
    """Local wall-clock time of the home, naive, to the millisecond."""
    room: str
    """Room of the sensor in plain words, e.g. "dining room"; empty where it has none (a phone)."""
    sensor: str
    """Name of the sensor without its room, e.g. "induction stove wattmeter"."""
    state: str
    """What it did, in S1's words: "turned ON", "turned OFF", "OPENED", "CLOSED"."""
    residents: tuple[str, ...] = ()
    """Ground truth: who caused it. Never shown to a model unless a notebook asks for it."""
    activity_id: int | None = None
    """Ground truth: key into ``Session.activities``; None where no activity was annotated. Of a joint event, the first
    that the file names."""
    pairs: tuple[tuple[str, int], ...] = ()
    """Ground truth of a joint event: all (resident, activity) pairs, the first one's activity is ``activity_id``; empty
    for all other events."""

    @property
    def activity_ids(self) -> tuple[int, ...]:
        """All activities that the event is part of: none, one, or a joint event's, each once."""
        if self.pairs:
            return tuple(dict.fromkeys(activity for _, activity in self.pairs))
        return () if self.activity_id is None else (self.activity_id,)

    @property
    def all_pairs(self) -> tuple[tuple[str, int], ...]:
        """(resident, activity) pairs of any event, joint or not; resident "" where nobody says who it was."""
        if self.pairs or self.activity_id is None:
            return self.pairs
        return tuple((resident, self.activity_id) for resident in self.residents or ("",))

    @property
    def text(self) -> str:
        """S1 §3.1.1: ``<room_name> <sensor_name> <event>``."""
        return spoken(self.room, self.sensor, self.state)


@dataclass(frozen=True, slots=True)
class Session:
    """One recording of one home: the unit of splits and of inference."""

    dataset: str
    """Key into ``DATASETS``."""
    session_id: str
    """Unique in its data set; safe as a file name."""
    home: str
    """Name of the home file, ``params/homes/<home>.yaml``."""
    activities: Mapping[int, str]
    """Number of each activity -> its name, the data set's own."""
    events: tuple[SensorEvent, ...] = field(repr=False)
    """All events in time order."""
    day: str = ""
    """Start context: "weekday" or "weekend", else empty."""
    n_residents: int | None = None
    """Start context: how many people live in it, None where the data does not say."""
    unscored: frozenset[int] = frozenset()
    """Activities that are kept as labels but neither offered in prompts nor scored by default (MARBLE's TRANSITION)."""
    described: Home | None = field(default=None, repr=False)
    """How the loader describes the home where no file of ``params/homes`` does: an own home's file, or what the
    data itself names."""

    @property
    def labels(self) -> dict[int, str]:
        """The label set: activities that a model may answer and that are scored."""
        return {number: name for number, name in self.activities.items() if number not in self.unscored}

    @property
    def n_scored(self) -> int:
        """Events whose activity is in the label set."""
        labels = self.labels
        return sum(true_activity(event.activity_ids, labels) is not None for event in self.events)

    def truth_of(self, event: SensorEvent) -> str:
        """Names of all activities of an event, as people read them; empty where none was annotated."""
        return " / ".join(self.activities[activity] for activity in event.activity_ids)

    def to_rows(self) -> list[dict[str, Any]]:
        """The form of ``llmhar data events --json``, a row an event.

        "activity" is one name or None; "activities" lists all pairs as [resident, activity], resident "" where unknown.
        """
        return [
            {
                "session": self.session_id,
                "id": event.event_id,
                "time": event.time.isoformat(timespec="milliseconds"),
                "room": event.room,
                "sensor": event.sensor,
                "state": event.state,
                "residents": list(event.residents),
                "activity": None if event.activity_id is None else self.activities[event.activity_id],
                "activities": [[resident, self.activities[number]] for resident, number in event.all_pairs],
            }
            for event in self.events
        ]


@dataclass(frozen=True, slots=True)
class Window:
    """A run of consecutive events of one session; the unit of one prompt (S1 §3.1.2)."""

    session_id: str
    index: int
    """Position in its session, from 0."""
    events: tuple[SensorEvent, ...] = field(repr=False)
    """10 by default, without overlap; a session's last window may be short."""
    n_context: int = 0
    """Events at its beginning that are shown, and asked about, but not counted: other windows count them."""

    @property
    def counted(self) -> range:
        """Positions of the events whose labels count; in all windows of a session each event counts once."""
        return range(self.n_context, len(self.events))


WINDOW_SIZE = 10
"""Events in a window (S1 §4.3.1)."""
LEAST_EVENTS = WINDOW_SIZE
"""Scored events from which on a session counts: one window. A mean over sessions gives each the same weight, and one
event alone is right or wrong."""


SessionPart = Literal["test", "validation"]
SESSION_PARTS: tuple[SessionPart, ...] = ("test", "validation")
"""Final numbers come from test sessions; every choice of a recipe is made on validation sessions."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """A way to cut a session into windows; in each of them every event counts once."""

    words: str
    """How figures call the windows; {size} stands for the events in one."""
    seconds: float | None = None
    """A window ends before the first event that is so many seconds after its own first; None = time ends none."""
    only_last: bool = False
    """Whether a window ends with each event, and only this last one counts."""


SCHEMES: dict[str, Scheme] = {
    "events": Scheme("{size} events, no overlap"),
    "last": Scheme("the last {size} events, only the last one counted", only_last=True),
    "60 s": Scheme("60 seconds, at most {size} events", seconds=60),
    "5 min": Scheme("5 minutes, at most {size} events", seconds=300),
}
"""S1's windows, and others in which the same sessions can be asked about."""
S1_SCHEME = "events"


@dataclass(frozen=True, slots=True)
class Windowing:
    """How sessions are cut into windows, and which of them are asked about."""

    size: int = WINDOW_SIZE
    """Events in a window."""
    n: int | None = None
    """Windows drawn from each test session; None = all. Training windows are never a sample."""
    seed: int = 0
    """Of that draw."""
    step: int | None = None
    """Events from one training window's start to the next's; None = ``size``, no overlap, as S1 does."""
    part: SessionPart = "test"
    """Which sessions are asked about: those for testing, or training sessions held out for choices."""
    least_events: int = LEAST_EVENTS
    """Scored events that a session must have to be asked about; S1's own tables leave none out: 0."""
    scheme: str = S1_SCHEME
    """Key into :data:`SCHEMES`: how test sessions are cut. Training windows are always runs of ``size`` events."""


def cut_windows(
    session: Session, size: int = WINDOW_SIZE, step: int | None = None, scheme: str = S1_SCHEME
) -> list[Window]:
    """Cut a session into consecutive windows; the last may be short (S1 §3.1.2).

    Args:
        session: gives the events.
        size: events in a window; the most where time ends windows.
        step: events from one window's start to the next's; None = ``size``, no overlap, as S1 does. Smaller steps
            show each event in several contexts: more to learn from, for training sessions only.
        scheme: key into :data:`SCHEMES`; a step goes with S1's alone.

    Raises:
        ValueError: size or step below 1, or a step with another scheme than S1's.
        SettingsError: no such scheme; lists those there are.
    """
    how = choose(SCHEMES, scheme, f"no way to cut windows {scheme!r}; there are:")
    if step not in (None, size) and scheme != S1_SCHEME:
        raise ValueError(f"windows of {how.words.format(size=size)} know no step, got {step}")
    step = size if step is None else step
    if size < 1 or step < 1:
        raise ValueError(f"window size and step must be at least 1, got {size} and {step}")
    events, name = session.events, session.session_id
    if how.only_last:
        parts = [events[max(0, end - size) : end] for end in range(1, len(events) + 1)]
        return [Window(name, index, part, len(part) - 1) for index, part in enumerate(parts)]
    starts = range(0, len(events), step) if how.seconds is None else _timed_starts(events, size, how.seconds)
    ends = [start + size for start in starts] if how.seconds is None else [*starts[1:], len(events)]
    return [Window(name, index, events[start:end]) for index, (start, end) in enumerate(zip(starts, ends))]


def _timed_starts(events: Sequence[SensorEvent], size: int, seconds: float) -> list[int]:
    """First events of windows that end after so many events or seconds."""
    starts: list[int] = []
    for i, event in enumerate(events):
        first = starts[-1] if starts else i
        if not starts or i - first == size or (event.time - events[first].time).total_seconds() >= seconds:
            starts.append(i)
    return starts


def sample_windows(windows: Sequence[Window], n: int | None, seed: int = 0) -> list[Window]:
    """Draw ``n`` windows of each session, in time order; None keeps all.

    The draw of a session depends on the seed and its id alone: adding a session or changing their order changes
    nothing elsewhere, and a smaller ``n`` is a subset of a larger one.
    """
    if n is None:
        return list(windows)
    by_session: dict[str, list[Window]] = {}
    for window in windows:
        by_session.setdefault(window.session_id, []).append(window)
    drawn: list[Window] = []
    for session_id, own in by_session.items():
        order = own.copy()
        random.Random(f"{seed}:{session_id}").shuffle(order)
        drawn += sorted(order[: max(n, 0)], key=lambda window: window.index)
    return drawn


def subset_name(windowing: Windowing, n_sessions: int, *, short: bool = False, n_thin: int = 0) -> str:
    """How a figure names the windows it was made from.

    Args:
        windowing: how they were cut and drawn.
        n_sessions: sessions that they are from.
        short: whether a session has fewer windows than were to be drawn.
        n_thin: sessions left out because they have too few scored events.
    """
    plural = "s" if n_thin != 1 else ""
    thin = f", {n_thin} session{plural} with fewer than {windowing.least_events} scored events left out"
    words = SCHEMES[windowing.scheme].words.format(size=windowing.size)
    cut = "" if windowing.scheme == S1_SCHEME else f", windows of {words}"
    sessions = f"{n_sessions} {windowing.part} sessions"
    if windowing.n is None:
        named = f"all windows of {sessions}"
    else:
        named = f"{'up to ' if short else ''}{windowing.n} windows from each of {sessions} (seed {windowing.seed})"
    return named + cut + (thin if n_thin else "")


def pick_sessions(sessions: Iterable[Session], ids: Iterable[str]) -> list[Session]:
    """The sessions with these ids, in the order of ``ids``.

    Raises:
        KeyError: an id that no session has.
    """
    by_id = {session.session_id: session for session in sessions}
    return [by_id[session_id] for session_id in ids]
