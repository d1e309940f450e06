"""Which events a model's reasoning gives as evidence for an event's label. Changes no window, asks nobody.

A line "The fridge near the coffee machine indicates cooking" cites the coffee machine; so does the reason "fridge near
coffee machine, cooking" in the event's own item. Where an event has a reason of its own, that one is read.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from llmhar.ask.inference import Answer
from llmhar.ask.task import Task
from llmhar.data.events import Window
from llmhar.score.tables import read_answer
from llmhar.text.mentions import (
    POINTING,
    POINTING_CHARS,
    Span,
    find_evidence,
    find_spans,
    nearest,
    opened_line,
    sensor_of,
)

_POINTING = re.compile(rf"{POINTING}(?:the|an?)\s+[\"'*`]{{0,3}}$")
"""What stands before a name that a line gives as a reason."""


@dataclass(frozen=True)
class Citation:
    """One event whose reasoning names other events."""

    window: Window
    target: int
    """Id of the event that is explained: its position in the window."""
    cited: tuple[int, ...]
    """Ids of the events that its reasoning names, in rising order, the target not among them."""
    words: str
    """How it names them, folded; several joined by "; "."""

    @property
    def evidence(self) -> tuple[int, ...]:
        """Ids of all events of the cited sensors: taking away only a sensor's ON would leave its OFF to tell of it."""
        sensors = {sensor_of(self.window.events[i]) for i in self.cited}
        return tuple(i for i, e in enumerate(self.window.events) if sensor_of(e) in sensors and i != self.target)


class Cited(NamedTuple):
    """Citations of a model's answers, and what they were found in."""

    citations: list[Citation]
    n_lines: int
    """Events that have a reason in their item, or that some line of reasoning is about."""
    n_without: int
    """Of these, how many cite no other event of the window."""
    n_events: int
    """Events of all answered windows, explained or not."""


def find_citations(task: Task, answers: Sequence[Answer]) -> Cited:
    """Read which other events the reasoning of each event names.

    Args:
        task: the windows that were asked.
        answers: of one model, one sample each; failed ones are passed over.

    Raises:
        KeyError: an answer to a window that the task does not have.
    """
    windows = {(window.session_id, window.index): window for window in task.windows}
    citations: list[Citation] = []
    n_lines = n_events = 0
    for answer in answers:
        window = windows[answer.ask.session_id, answer.ask.window_index]
        if answer.stored is None:
            continue
        n_events += len(window.events)
        reading = read_answer(answer, len(window.events), task.sessions[window.session_id].labels)
        own = read_whys(reading.whys, window)
        explained = own + [one for one in read_citations(reading.reasoning, window) if one.target not in reading.whys]
        n_lines += len(explained)
        citations += [citation for citation in explained if citation.cited]
    return Cited(citations, n_lines, n_lines - len(citations), n_events)


def read_whys(whys: Mapping[int, str], window: Window) -> list[Citation]:
    """One entry for each event that has a reason; ``cited`` is empty where it names no other event.

    Args:
        whys: event -> the reason in its item (:attr:`llmhar.text.parsing.Reading.whys`).
        window: what was asked about.
    """
    return [
        _citation(
            window, target, why, [(i, span) for span in find_evidence(why, target, window.events) for i in span.events]
        )
        for target, why in whys.items()
    ]


def read_citations(reasoning: str, window: Window) -> list[Citation]:
    """One entry for each event that lines of this reasoning are about; ``cited`` is empty where they name no other.

    A line is about the event whose number it begins with. It names others by number ("event 3", "events 2 and 4") or
    by a sensor or room after a preposition ("near the coffee machine"): of its events, those of another sensor, the
    nearest in time.
    """
    breaks = [match.start() for match in re.finditer("\n", reasoning)]
    by_target: dict[int, list[tuple[int, Span]]] = {}
    spans = find_spans(reasoning, window.events, ("event", "line", "sensor", "room"))
    for _, line in groupby(spans, key=lambda span: bisect_left(breaks, span.start)):
        head, *others = line
        if head.kind not in ("event", "line") or len(head.events) != 1 or opened_line(reasoning, head) is None:
            continue
        (target,) = head.events
        by_target.setdefault(target, []).extend(
            (i, span) for span in others for i in _cited(reasoning, span, window, target)
        )
    return [_citation(window, target, reasoning, cited) for target, cited in sorted(by_target.items())]


def _citation(window: Window, target: int, text: str, cited: Sequence[tuple[int, Span]]) -> Citation:
    """A citation of these events by these words of a text; an event that is cited twice keeps the first."""
    words: dict[int, str] = {}
    for i, span in cited:
        words.setdefault(i, _fold(text[span.start : span.end]))
    return Citation(window, target, tuple(sorted(words)), "; ".join(dict.fromkeys(words.values())))


def _cited(reasoning: str, span: Span, window: Window, target: int) -> tuple[int, ...]:
    """Which events a part of a line gives as evidence for the event that the line is about."""
    if span.kind in ("event", "line"):
        return tuple(i for i in span.events if i != target)
    if not _POINTING.search(reasoning, max(0, span.start - POINTING_CHARS), span.start):
        return ()
    own = sensor_of(window.events[target])
    return nearest((i for i in span.events if sensor_of(window.events[i]) != own), target, window.events)


def _fold(text: str) -> str:
    """One case, single blanks, no underscores."""
    return " ".join(text.replace("_", " ").casefold().split())
