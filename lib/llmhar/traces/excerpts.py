"""What several models say about one and the same event (S1 §4.8, Table 3). Asks nobody; model text stays untrusted.

An event's own reason, in its item of the answer, is what is said about it. Where it has none, the part of the free text
that is about it is found by its number, its time or its sensor, which is said: a text that numbers its events otherwise
than the prompt may still be taken for another event's.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from IPython.display import HTML

from llmhar.data.events import SensorEvent, true_activity
from llmhar.score.tables import KINDS, Result
from llmhar.text.mentions import Kind, Span, find_spans, opened_line
from llmhar.text.parsing import Reading
from llmhar.traces.view import templates

SILENT = "no reasoning about this event"
CUT = " […]"
MAX_CHARS = 400
"""Longest excerpt; the rest is cut and said."""
MAX_TEXT = 200_000
"""Characters of a reasoning that are searched."""
OWN = "its own item"
BY_EVENT = (OWN, "event number")
"""``found_by`` of what is surely about the event."""
# An answer's items and a prompt's events: flat JSON objects are no reasoning, whatever stands in their strings.
_ITEM = re.compile(r'\{(?:[^{}"]++|"(?:[^"\\\n]++|\\.)*+")*+\}|\{[^{}]*\}')
_BREAK = re.compile(r"(?<=[.!?])\s+|\n+")
_COLON = re.compile(r"\*{0,3}[ \t]{0,3}:")


class Excerpt(NamedTuple):
    """The part of a reasoning that is about one event."""

    text: str
    """:data:`SILENT` where there is none."""
    found_by: str
    """:data:`OWN`, "event number", "time", "sensor name" (and of how many events, if several) or "none"."""


def find_excerpts(reading: Reading, events: Sequence[SensorEvent]) -> list[Excerpt]:
    """For each event of a window, its own reason, or the sentences of one model's reasoning that are about it.

    Where its item has no reason, in this order: the block that opens with its number ("Event 3: …", "id 3 …"),
    sentences that name the number ("events 3 and 4"), the block that opens with the bare number ("3: …"), sentences
    with its time of day (where no other event of the window has it), sentences that name its sensor.

    Args:
        reading: of the window; where nothing stands in thinking marks, the answer's prose is searched.
        events: the window's.
    """
    text = _ITEM.sub(" ", (reading.reasoning or reading.answer)[:MAX_TEXT])
    spans = find_spans(text, events, ("event", "line", "time", "sensor"))
    breaks = [(0, 0), *(match.span() for match in _BREAK.finditer(text)), (len(text), len(text))]
    return [
        Excerpt(_shorten([why]), OWN) if (why := reading.whys.get(event)) else _excerpt(text, breaks, spans, event)
        for event in range(len(events))
    ]


def _excerpt(text: str, breaks: Sequence[tuple[int, int]], spans: Sequence[Span], event: int) -> Excerpt:
    """The part about one event; ``breaks`` are where sentences are parted."""
    own: dict[Kind, list[Span]] = {"event": [], "time": [], "sensor": []}
    for span in spans:
        if event in span.events and span.kind in own and (span.kind != "time" or len(span.events) == 1):
            own[span.kind].append(span)
    n_alike = len(own["sensor"][0].events) if own["sensor"] else 1
    by_name = "sensor name" if n_alike == 1 else f"sensor name, which {n_alike} events have"
    ways = (
        ("event number", _blocks(text, spans, event, "event")),
        ("event number", _sentences(text, breaks, own["event"])),
        ("event number", _blocks(text, spans, event, "line")),
        ("time", _sentences(text, breaks, own["time"])),
        (by_name, _sentences(text, breaks, own["sensor"])),
    )
    return next((Excerpt(_shorten(parts), found_by) for found_by, parts in ways if parts), Excerpt(SILENT, "none"))


def _blocks(text: str, spans: Sequence[Span], event: int, kind: Kind) -> list[str]:
    """Text from each number of the event that opens a line or has a colon, to the next such number or blank line."""
    marks = [(begin, span.events) for span in spans if span.kind == kind and (begin := _opens(text, span)) is not None]
    ends = [begin for begin, _ in marks[1:]] + [len(text)]
    blocks = [text[begin:end] for (begin, events), end in zip(marks, ends) if event in events]
    return [block.strip().partition("\n\n")[0].strip() for block in blocks]


def _opens(text: str, span: Span) -> int | None:
    """Where the block begins that a number opens; None where it opens none."""
    begin = opened_line(text, span)
    return span.start if begin is None and len(span.events) < 2 and _COLON.match(text, span.end) else begin


def _sentences(text: str, breaks: Sequence[tuple[int, int]], spans: Sequence[Span]) -> list[str]:
    """The sentences that these spans stand in, each once."""
    places = dict.fromkeys(bisect_right(breaks, (span.start, len(text))) for span in spans)
    return [text[breaks[place - 1][1] : breaks[place][0]].strip() for place in places]


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
    session = task.sessions[window.session_id]
    shown = {
        "session": window.session_id,
        "window": str(window.index),
        "id": str(event),
        "time": about.time.strftime("%H:%M:%S"),
        "text": about.text,
        "truth": session.truth_of(about) or "not annotated",
    }
    return ExcerptRows(shown, [_said(result, position, event) for result in results], why)


def _said(result: Result, position: int, event: int) -> Said:
    window, reading = result.task.windows[position], result.readings[position]
    prediction = reading.predictions[event]
    excerpt = find_excerpts(reading, window.events)[event]
    if prediction.label is None:
        label, css, mark = prediction.verdict.replace("_", " "), "none", "–"
    else:
        label = result.task.sessions[window.session_id].activities[prediction.label]
        css, mark = ("right", "✓") if is_right(result, position, event) else ("wrong", "✗")
    made = (KINDS[result.model.kind], result.made_by, result.revision)
    return Said(result.model.name, *made, label, css, mark, *excerpt)


def is_right(result: Result, position: int, event: int) -> bool:
    """Whether a model's label is the truth, of a joint event one of its activities; no answer is wrong (S1 §3.1.5)."""
    label = result.readings[position].predictions[event].label
    return label in result.task.windows[position].events[event].activity_ids


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

    Within a case: first those that most models reason about, in their items or by number; then the earliest. A window
    comes twice only where no other is left.

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
                chosen = next((case for case in left if case[0] not in used), left[0])
                left.remove(chosen)
                picks.append(Pick(*chosen, why))
    return picks


def _candidates(results: Sequence[Result]) -> dict[str, list[tuple[int, int]]]:
    """(position, event) of every scored event by case, best first."""
    by_case: dict[str, list[tuple[int, int, int]]] = {why: [] for why in CASES}
    task = results[0].task
    for position, window in enumerate(task.windows):
        labels = task.sessions[window.session_id].labels
        excerpts = [find_excerpts(result.readings[position], window.events) for result in results]
        for event, about in enumerate(window.events):
            if true_activity(about.activity_ids, labels) is not None:
                right = [is_right(result, position, event) for result in results]
                silent = sum(own[event].found_by not in BY_EVENT for own in excerpts)
                for why in [why for why, applies in CASES.items() if applies(*right)][:1]:
                    by_case[why].append((silent, position, event))
    return {why: [(position, event) for _, position, event in sorted(own)] for why, own in by_case.items()}


def excerpts_html(results: Sequence[Result], picks: Sequence[Pick]) -> HTML:
    """S1 Table 3 for several events: one table each, models side by side; everything escaped."""
    rows = [excerpt_rows(results, pick.position, pick.event, pick.why) for pick in picks]
    page = templates.get_template("excerpts.html.j2")
    return HTML(page.render(data=results[0].task.data if results else "", picks=rows))
