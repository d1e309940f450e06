"""The error ledger: where every lost F1 point went. Exact: the causes of a session add up to 1 - macro F1.

For an activity c with ``support`` true and ``predicted`` answered events, 1 - F1 = (misses + false alarms) / (support +
predicted). So each wrong event costs its true activity 1 / (support + predicted), and the activity it was mistaken for
likewise, each over the number of activities that macro F1 averages. Both go to the one cause that the event's verdict
and reasoning name. Knows no engine and no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from llmhar.data.events import SensorEvent, Session, true_activity
from llmhar.text.mentions import find_spans
from llmhar.text.parsing import Reading

CAUSES = (
    "missing: never mentioned",
    "missing: reasoned about, not reported",
    "cut",
    "malformed",
    "duplicate",
    "unknown label",
    "confusable: same room",
    "confusable: same hour",
    "other activity",
)
"""In the ledger's order. The first two and ``malformed`` are S1 §4.9's three."""


class Habits(NamedTuple):
    """Where and when activities happen, counted in *training* sessions: what makes two of them confusable."""

    rooms: Mapping[int, frozenset[str]]
    """Activity -> rooms of at least 10 % of its events; a sensor without a room is a place of its own."""
    hours: Mapping[int, frozenset[int]]
    """Activity -> hours of the day (0 … 23) of at least 10 % of its events."""


def learn_habits(sessions: Iterable[Session], share: float = 0.1) -> Habits:
    """Count rooms and hours of each activity."""
    rooms: dict[int, Counter[str]] = {}
    hours: dict[int, Counter[int]] = {}
    for session in sessions:
        for event in session.events:
            for activity in event.activity_ids:
                rooms.setdefault(activity, Counter())[_place(event)] += 1
                hours.setdefault(activity, Counter())[event.time.hour] += 1
    keep_rooms = {a: frozenset(r for r, n in c.items() if n >= share * c.total()) for a, c in rooms.items()}
    keep_hours = {a: frozenset(h for h, n in c.items() if n >= share * c.total()) for a, c in hours.items()}
    return Habits(keep_rooms, keep_hours)


def _place(event: SensorEvent) -> str:
    """Where a sensor is; without a room (a phone, the main door) it is a place of its own."""
    return event.room or event.sensor


def is_mentioned(position: int, events: Sequence[SensorEvent], reasoning: str) -> bool:
    """Whether a reasoning speaks of an event: by its id (alone, in a list or range), its time, or its sensor's name.

    A bare number at a line's start is no id here, and of a sensor only the whole name with its room counts.
    """
    return any(position in span.events for span in find_spans(reasoning, events, ("event", "time", "name")))


def cause_of(position: int, events: Sequence[SensorEvent], reading: Reading, habits: Habits) -> str:
    """Why an event of a window was not answered rightly."""
    event, prediction = events[position], reading.predictions[position]
    if prediction.label is None:
        if prediction.verdict == "missing":
            text = f"{reading.reasoning}\n{reading.answer}" if reading.thinking == "absent" else reading.reasoning
            return CAUSES[1] if is_mentioned(position, events, text) else CAUSES[0]
        return prediction.verdict.replace("_", " ")
    if prediction.verdict == "duplicate":
        return "duplicate"
    if _place(event) in habits.rooms.get(prediction.label, ()):
        return "confusable: same room"
    if event.time.hour in habits.hours.get(prediction.label, ()):
        return "confusable: same hour"
    return "other activity"


def session_ledger(
    events: Sequence[Sequence[SensorEvent]], readings: Sequence[Reading], labels: Iterable[int], habits: Habits
) -> dict[str, float]:
    """Macro F1 points (0 … 1) that each cause cost in one session.

    Args:
        events: events of each asked window of the session.
        readings: reading of each window, in the same order.
        labels: the label set; events of other activities are not scored.
        habits: from training sessions.
    """
    scored = frozenset(labels)
    rows: list[tuple[int, int | None, int, Sequence[SensorEvent], Reading]] = [
        (true, reading.predictions[i].label, i, window, reading)
        for window, reading in zip(events, readings)
        for i, event in enumerate(window)
        if (true := true_activity(event.activity_ids, scored, reading.predictions[i].label)) is not None
    ]
    support = Counter(true for true, *_ in rows)
    predicted = Counter(guess for _, guess, *_ in rows)
    costs = dict.fromkeys(CAUSES, 0.0)
    for true, guess, i, window, reading in rows:
        if true != guess:
            cost = 1 / (support[true] + predicted[true])
            if guess is not None and guess in support:  # a false alarm of an activity that macro F1 averages
                cost += 1 / (support[guess] + predicted[guess])
            costs[cause_of(i, window, reading, habits)] += cost / len(support)
    return costs
