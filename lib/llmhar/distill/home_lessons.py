"""Lessons from made-up homes: a window, its true activities, and a short reason for each. Trains nothing, asks nobody.

Each lesson comes from another home. The reason is written from what its maker knows, in the manner of a person who
points at the screen: which sensor, when, near what, hence what. No teacher's mistakes are in it.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from llmhar.data.events import SensorEvent, Session, Window
from llmhar.data.grammar import Words, bare_name, grammar, recorded_names
from llmhar.data.simulated_homes import Day, MadeEvent, make_day
from llmhar.distill.examples import Example, LeakError, items_text
from llmhar.text.common_sense import PARTS_OF_DAY
from llmhar.text.items import scan_items
from llmhar.text.parsing import split_reasoning
from llmhar.text.prompt import FORMS, build_prompt
from llmhar.text.schema import WHY_CHARS
from llmhar.text.serialize import clean_text

LISTED = FORMS["listed"]
"""The prompt of a student that goes from home to home."""
SIZES = (10, 10, 6, 5, 4, 4, 3, 3)
"""Events in a window: S1's ten and fewer, for more homes and names in the same time; a last window is nothing new."""
GAPS = 0.4
"""Share of windows with gaps."""
TRIES = 6
"""Windows looked at; the one that shows and tells most is taken, as a day is mostly the same."""
MAX_ITEMS = 1000
"""Items of a completion that are mended, if need be, to look for leaks."""
WORTH = 3.0
"""How many further activities in a window outweigh that none of its events can be told."""


def lessons(
    n: int, seed: str, *, words: Words = "train", with_why: bool = True, recorded: bool = False
) -> Iterator[Example]:
    """Lessons from ``n`` homes, one each.

    Args:
        n: how many.
        seed: the same seed gives the same lessons; other seeds give other homes.
        words: which wordings the homes are drawn from.
        with_why: whether each item has its reason; without, the answer alone is learnt, from the same windows.
        recorded: whether activities may be called as recorded homes call them.
    """
    for day, window in days_and_windows(n, seed, words=words, recorded=recorded):
        yield lesson(day, window, with_why=with_why)


def days_and_windows(
    n: int, seed: str, *, words: Words = "train", recorded: bool = False
) -> Iterator[tuple[Day, Window]]:
    """``n`` made-up homes with a window of a day in each; arguments as :func:`lessons` takes them.

    A third of the windows have gaps: of a few activities of the day an event or two, as in homes of few sensors. Their
    days hold no other events.
    """
    found = number = 0
    while found < n:
        day = make_day(f"{seed}-{number}", words, recorded=recorded)
        number += 1
        rng = random.Random(f"window:{day.session.session_id}")
        chosen = _with_gaps(rng, day) if rng.random() < GAPS else _window(rng, day)
        if chosen:
            found += 1
            yield _only(day, chosen)


def _only(day: Day, chosen: Sequence[int]) -> tuple[Day, Window]:
    """These events of a day as its only window."""
    events = tuple(day.session.events[i] for i in chosen)
    short = replace(day, made=tuple(day.made[i] for i in chosen), session=replace(day.session, events=events))
    return replace(short, mostly=_mostly(day)), Window(day.session.session_id, 0, events)


def _window(rng: random.Random, day: Day) -> list[int]:
    """Events of a window in a row, in which every event has an activity; none where none was found."""
    events, size, told = day.session.events, rng.choice(SIZES), _told(day)
    of_activity: dict[int | None, list[int]] = defaultdict(list)
    for i, event in enumerate(events):
        of_activity[event.activity_id].append(i)
    best: tuple[float, int] | None = None
    for _ in range(TRIES if rng.random() < 0.6 else 1):
        if rng.random() < 0.4:
            start = rng.randrange(max(len(events) - size, 1))
        else:  # each activity as likely as the next: what is done seldom is learnt as well
            start = max(rng.choice(of_activity[rng.choice(list(of_activity))]) - size // 2, 0)
        inside = events[start : start + size]
        if inside and all(event.activity_id is not None for event in inside):
            shown = len({event.activity_id for event in inside})
            telling = sum(told[start : start + size]) / len(inside)
            best = max(best or (0, start), (shown + WORTH * telling, start))
    return list(range(best[1], min(best[1] + size, len(events)))) if best else []


def _with_gaps(rng: random.Random, day: Day) -> list[int]:
    """An event or two of each of some activities, that can be told, in the order of the day."""
    telling: dict[int, list[int]] = defaultdict(list)
    for i, (event, told) in enumerate(zip(day.session.events, _told(day))):
        if told and event.activity_id is not None:
            telling[event.activity_id].append(i)
    some = rng.sample(list(telling), min(len(telling), rng.randint(2, 6)))
    firsts = [rng.choice(telling[activity]) for activity in some]
    can_be_told = {i for own in telling.values() for i in own}
    return sorted({i for first in firsts for i in (first, first + 1)[: rng.randint(1, 2)] if i in can_be_told})


def _mostly(day: Day) -> dict[tuple[str, str, int | None], str]:
    """Room, part of day and label -> what is mostly done so: the reason where no more than the room tells."""
    counts: dict[tuple[str, str, int | None], Counter[str]] = defaultdict(Counter)
    for me, event in zip(day.made, day.session.events):
        counts[me.sensor.place, hour_words(event), event.activity_id][me.concept] += 1
    return {where: seen.most_common(1)[0][0] for where, seen in counts.items()}


def _told(day: Day) -> list[bool]:
    """Of each event, whether anybody could tell: its thing tells, or it is what is mostly done there at that hour."""
    at = [(me.sensor.place, hour_words(event)) for me, event in zip(day.made, day.session.events)]
    seen: dict[tuple[str, str], Counter[int | None]] = defaultdict(Counter)
    for place, event in zip(at, day.session.events):
        seen[place][event.activity_id] += 1
    mostly = {place: counts.most_common(1)[0][0] for place, counts in seen.items()}
    return [
        _tells(me) or mostly[place] == event.activity_id for me, place, event in zip(day.made, at, day.session.events)
    ]


def lesson(day: Day, window: Window, *, with_why: bool = True) -> Example:
    """The truth of a window, with a reason for each event or without."""
    rng = random.Random(f"lesson:{day.session.session_id}")
    session = shuffled(rng, day.session)
    reasons = [why(day, i, event) for i, event in enumerate(window.events)] if with_why else None
    return example_of(session, window, [event.activity_id for event in window.events], reasons)


def example_of(
    session: Session, window: Window, labels: Sequence[int | None], reasons: Sequence[str] | None
) -> Example:
    """A window below the prompt ``listed``, and its items; an event without a label has no item."""
    names = {number: clean_text(name) for number, name in session.activities.items()}
    return Example(
        dataset=session.dataset,
        session_id=session.session_id,
        window_index=window.index,
        messages=build_prompt(session, LISTED).messages(window),
        completion=items_text(labels, names, reasons),
        request_key="",
    )


def shuffled(rng: random.Random, session: Session) -> Session:
    """The session with its activities in another order: their places mean nothing."""
    return replace(session, activities=dict(rng.sample(list(session.activities.items()), len(session.activities))))


def why(day: Day, i: int, event: SensorEvent) -> str:
    """The reason for one event of a day's only window: its sensor, when, near what, and what that means."""
    me = day.made[i]
    activities = grammar()["activities"]
    if me.concept not in activities:
        return f"{me.sensor.plain}, nothing known"[:WHY_CHARS]
    near = "" if _tells(me) else _helper(day.made, i)
    concept = me.concept if near or _tells(me) else day.mostly[me.sensor.place, hour_words(event), event.activity_id]
    says = activities[concept]["says"] if concept in activities else "nothing known"
    full = f"{me.sensor.plain} near {near}" if near else f"{me.sensor.plain} {hour_words(event)}"
    return f"{full}, {says}" if len(full) + len(says) + 2 <= WHY_CHARS else f"{me.sensor.plain}, {says}"[:WHY_CHARS]


def hour_words(event: SensorEvent) -> str:
    """When an event was, as reasons say it: "in the morning"."""
    return next(words for end, words in PARTS_OF_DAY if event.time.hour < end)


def _tells(event: MadeEvent) -> bool:
    """Whether a thing tells the activity by itself."""
    return f"*{event.sensor.thing}" in grammar()["activities"].get(event.concept, {"uses": ()})["uses"]


def _helper(made: Sequence[MadeEvent], i: int) -> str:
    """The nearest sensor in the window that tells what the same resident is doing; empty if there is none."""
    me = made[i]
    others = [
        (abs(other.second - me.second), other.sensor.plain)
        for other in made
        if other.concept == me.concept and other.resident == me.resident and other.sensor != me.sensor and _tells(other)
    ]
    return min(others)[1] if others else ""


def refuse_leaks(examples: Sequence[Example], kept: Sequence[str] = (), *, recorded: bool = False) -> None:
    """Check that no lesson teaches what a test is to find out.

    Args:
        examples: what a student is to learn.
        kept: ids of sessions (validation, odd and real homes) that must not be among them.
        recorded: whether activities may be called as recorded homes call them.

    Raises:
        LeakError: an activity called as a recorded home calls it, a session of ``kept``, or one of no made-up home.
    """
    for example in examples:
        if example.session_id in kept or not example.session_id.startswith("train-"):
            raise LeakError(f"session {example.session_id} is kept for tests and is among the lessons")
        names = {str(item.value) for item in scan_items(split_reasoning(example.completion).answer, MAX_ITEMS).found}
        names |= set(example.messages[0]["content"].partition("Activities:\n")[2].split("\n"))
        if not recorded and (taught := sorted(name for name in names if bare_name(name) in recorded_names())):
            raise LeakError(f"lesson {example.session_id} teaches names of recorded homes: {', '.join(taught)}")
