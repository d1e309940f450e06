"""What several models say about one and the same event (S1 §4.8, Table 3). Asks nobody; model text stays untrusted.

Finds the part of a free text that is about an event by the event's number, its time or its sensor, and says which: a
text that numbers its events otherwise than the prompt may still be taken for another event's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from IPython.display import HTML

from llmhar.data.events import SensorEvent
from llmhar.score.tables import KINDS, Result
from llmhar.text.parsing import Reading
from llmhar.traces.view import templates

SILENT = "no reasoning about this event"
CUT = " […]"
MAX_CHARS = 400
"""Longest excerpt; the rest is cut and said."""
MAX_TEXT = 200_000
"""Characters of a reasoning that are searched."""
# An answer's items and a prompt's events: flat JSON objects are no reasoning. All repeats are bounded: linear time.
_ITEM = re.compile(r"\{[^{}]*\}")
# "Event 3: …" anywhere, "Event 3 …" or "id 3 …" at line start; \W would also take line breaks.
_NAMED = re.compile(
    r"(?im)^[^\w\n]{0,6}(?:event(?:[ \t]{1,3}id)?|id)[ \t]{0,3}[:=#]?[ \t]{0,3}(\d{1,4})\b(?!:\d)"
    r"|\bevent[ \t]{1,3}#?(\d{1,4})\*{0,3}[ \t]{0,3}:(?!\d)"
)
# "3: …", "3. …", "(3) …" at line start, not "07:30:20 …".
_BARE = re.compile(r"(?m)^[^\w\n]{0,6}(\d{1,4})\*{0,3}[ \t]{0,3}[:.)](?!\d)")
_JOIN = r"[ \t]{0,3}(?:,[ \t]{0,3}(?:and[ \t]{1,3})?|and[ \t]{1,3}|&|to[ \t]{1,3}|-|–)[ \t]{0,3}"
# "event 3", "events 3, 4 and 5", "ids 2-4"; not "activity id 3", not "event 07:30:20".
_MENTION = re.compile(
    r"(?i)(?<!activity )(?<!label )\b(?:events?(?:[ \t]{1,3}ids?)?|ids?)[ \t]{0,3}[:=#]?[ \t]{0,3}"
    rf"(\d{{1,4}}(?:{_JOIN}\d{{1,4}})*)\b(?!:\d)"
)
_SPAN = re.compile(r"(\d{1,4})(?:[ \t]{0,3}(?:to|-|–)[ \t]{0,3}(\d{1,4}))?")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


class Excerpt(NamedTuple):
    """The part of a reasoning that is about one event."""

    text: str
    """:data:`SILENT` where there is none."""
    found_by: str
    """"event number", "time", "sensor name" (and of how many events, if several) or "none"."""


def find_excerpt(reading: Reading, event: int, events: Sequence[SensorEvent]) -> Excerpt:
    """The sentences of one model's reasoning that are about an event.

    In this order: the block that opens with its number ("Event 3: …", "id 3 …", then "3: …"), sentences that name the
    number ("events 3 and 4"), sentences with its time of day (where no other event of the window has it), sentences
    that name its sensor. Texts whose blocks count from 1 are noticed: they have as many as there are events, and none
    with 0.

    Args:
        reading: of the window; where nothing stands in thinking marks, the answer's prose is searched.
        event: position in the window, from 0.
        events: the window's.
    """
    text = _ITEM.sub(" ", (reading.reasoning or reading.answer)[:MAX_TEXT])
    sentences = [part.strip() for part in _SENTENCE.split(text) if part.strip()]
    about = events[event]
    clock = about.time.strftime("%H:%M:%S")
    alone = sum(other.time.strftime("%H:%M:%S") == clock for other in events) == 1
    twins = sum(other.sensor == about.sensor for other in events)
    sensor = "sensor name" if twins == 1 else f"sensor name, which {twins} events have"
    ways = (
        ("event number", lambda: _blocks(text, _NAMED, event, len(events))),
        ("event number", lambda: [s for s in sentences if _mentions(s, event)]),
        ("event number", lambda: _blocks(text, _BARE, event, len(events), others=False)),
        ("time", lambda: [s for s in sentences if alone and clock in s]),
        (sensor, lambda: _naming(sentences, about.sensor)),
    )
    for found_by, search in ways:
        if found := search():
            return Excerpt(_shorten(found), found_by)
    return Excerpt(SILENT, "none")


def _blocks(text: str, mark: re.Pattern[str], event: int, n: int, *, others: bool = True) -> list[str]:
    """Text from each mark with the event's number to the next mark or blank line.

    ``others``: whether numbers beyond the window are borne; a list that has them without the word "event" numbers
    something else, such as the activities.
    """
    marks = [(int(next(filter(None, m.groups()))), m.start()) for m in mark.finditer(text)]
    numbers = {number for number, _ in marks}
    if not others and max(numbers, default=0) > n:
        return []
    wanted = event + 1 if n in numbers and 0 not in numbers else event  # counts from 1
    ends = [start for _, start in marks[1:]] + [len(text)]
    blocks = [text[start:end] for (number, start), end in zip(marks, ends) if number == wanted]
    return [block.strip().partition("\n\n")[0].strip() for block in blocks]


def _mentions(sentence: str, event: int) -> bool:
    """Whether a sentence names the event by number; "events 2 to 5" names four."""
    return any(
        int(first) <= event <= int(last or first)
        for listed in _MENTION.findall(sentence)
        for first, last in _SPAN.findall(listed)
    )


def _naming(sentences: Sequence[str], sensor: str) -> list[str]:
    """Sentences with the sensor's name, else with the name without its last word (its kind: contact, wattmeter …)."""
    words = sensor.casefold().replace("-", " ").split()
    for name in (" ".join(words), " ".join(words[:-1])):
        found = [s for s in sentences if name and name in s.casefold().replace("-", " ")]
        if found:
            return found
    return []


def _shorten(parts: Sequence[str]) -> str:
    """At most two parts, as S1 prints them, and not too long."""
    text = f"{CUT} ".join(" ".join(part.split()) for part in parts[:2]) + (CUT if len(parts) > 2 else "")
    return text if len(text) <= MAX_CHARS else text[: MAX_CHARS - len(CUT)].rstrip() + CUT


class Said(NamedTuple):
    """One model on one event."""

    name: str
    kind: str
    engine: str
    revision: str
    label: str
    """Name of the activity, or the verdict where there is none."""
    css: str
    """"right", "wrong" or "none"."""
    mark: str
    excerpt: str
    found_by: str


class ExcerptRows(NamedTuple):
    """One event and what each model says about it."""

    event: dict[str, str]
    """session, window, id, time, text, truth."""
    models: list[Said]
    why: str = ""


def excerpt_rows(results: Sequence[Result], position: int, event: int, why: str = "") -> ExcerptRows:
    """One event: truth, and each model's excerpt, label and whether it is right.

    Args:
        results: on the same task, in the order of columns (S1: base, teacher, student).
        position: index into ``task.windows``.
        event: position in that window, from 0.
        why: shown beside it.

    Raises:
        IndexError: no such window or event.
    """
    task = results[0].task
    window = task.windows[position]
    about = window.events[event]
    activities = task.sessions[window.session_id].activities
    shown = {
        "session": window.session_id,
        "window": str(window.index),
        "id": str(event),
        "time": about.time.strftime("%H:%M:%S"),
        "text": about.text,
        "truth": "not annotated" if about.activity_id is None else activities[about.activity_id],
    }
    return ExcerptRows(shown, [_said(result, position, event) for result in results], why)


def _said(result: Result, position: int, event: int) -> Said:
    window, reading = result.task.windows[position], result.readings[position]
    found = reading.predictions[event]
    excerpt = find_excerpt(reading, event, window.events)
    if found.label is None:
        label, css, mark = found.verdict.replace("_", " "), "none", "–"
    else:
        label = result.task.sessions[window.session_id].activities[found.label]
        css, mark = ("right", "✓") if is_right(result, position, event) else ("wrong", "✗")
    made = (KINDS[result.model.kind], result.made_by, result.revision)
    return Said(result.model.name, *made, label, css, mark, *excerpt)


def is_right(result: Result, position: int, event: int) -> bool:
    """Whether a model's label is the truth; no answer is wrong (S1 §3.1.5)."""
    label = result.readings[position].predictions[event].label
    return label is not None and label == result.task.windows[position].events[event].activity_id


class Pick(NamedTuple):
    """An event worth looking at."""

    position: int
    """Index into ``task.windows``."""
    event: int
    why: str


CASES = {
    "the student is right, the untrained base is wrong": lambda teacher, base, student: student and not base,
    "the student is wrong, the teacher is right": lambda teacher, base, student: teacher and not student,
    "all are wrong": lambda teacher, base, student: not (teacher or base or student),
    "all are right": lambda teacher, base, student: teacher and base and student,
}
"""Why an event is shown -> whether it is such a case, from who is right."""


def pick_events(results: Sequence[Result], n: int) -> list[Pick]:
    """Instructive scored events, one of each of ``CASES`` in turn until there are ``n``. Always the same ones.

    Within a case: first those that most models reason about, by number; then the earliest. A window comes twice only
    where no other is left.

    Args:
        results: teacher, untrained base and student on the same task, in this order.
        n: how many; fewer come back where there are fewer cases.

    Raises:
        ValueError: not three results, or not of the same windows.
    """
    if len(results) != 3 or len({tuple(a.ask[:3] for a in r.answers) for r in results}) != 1:
        raise ValueError("pick_events needs the teacher, the untrained base and the student on the same windows")
    waiting = _candidates(results)
    picks: list[Pick] = []
    while len(picks) < n and any(waiting.values()):
        for why, left in waiting.items():
            if left and len(picks) < n:
                used = {pick.position for pick in picks}
                chosen = next((one for one in left if one[0] not in used), left[0])
                left.remove(chosen)
                picks.append(Pick(*chosen, why))
    return picks


def _candidates(results: Sequence[Result]) -> dict[str, list[tuple[int, int]]]:
    """(position, event) of every scored event by case, best first."""
    found: dict[str, list[tuple[int, int, int]]] = {why: [] for why in CASES}
    task = results[0].task
    for position, window in enumerate(task.windows):
        labels = task.sessions[window.session_id].labels
        for event, about in enumerate(window.events):
            if about.activity_id in labels:
                right = [is_right(result, position, event) for result in results]
                silent = sum(
                    find_excerpt(result.readings[position], event, window.events).found_by != "event number"
                    for result in results
                )
                for why in [why for why, applies in CASES.items() if applies(*right)][:1]:
                    found[why].append((silent, position, event))
    return {why: [(position, event) for _, position, event in sorted(own)] for why, own in found.items()}


def excerpts_html(results: Sequence[Result], picks: Sequence[Pick]) -> HTML:
    """S1 Table 3 for several events: one table each, models side by side; everything escaped."""
    rows = [excerpt_rows(results, pick.position, pick.event, pick.why) for pick in picks]
    page = templates.get_template("excerpts.html.j2")
    return HTML(page.render(data=results[0].task.data if results else "", picks=rows))
