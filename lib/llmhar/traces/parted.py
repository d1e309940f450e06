"""Right labels whose reasons say something else: "so preparing breakfast", answered as the couch, and marked right.

A score looks at labels alone. Here each right label is laid beside the activity that its own reason names; where the
two part, the label does not follow from what was said. Only names of the home's list are looked for, so that reasons
in other words are counted as naming none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from IPython.display import HTML

from llmhar.data.events import Session
from llmhar.score.tables import Result
from llmhar.text.naming import conclusion
from llmhar.text.serialize import fold_name
from llmhar.traces.excerpts import BY_EVENT, Pick, excerpts_html, find_excerpts, is_right


class Parted(NamedTuple):
    """How often right labels and their reasons part, for one model."""

    right: int
    """Events with a right label."""
    named: int
    """Of these, events whose own reason names one activity of the list."""
    picks: list[Pick]
    """Of these, the events whose reason names another activity than the label."""


def named_activity(why: str, labels: Mapping[int, str]) -> int | None:
    """The one activity that a reason names: in what it concludes, else anywhere in it; None for none or several.

    Args:
        why: about one event.
        labels: number -> name of each activity that may be answered.
    """
    for text in (conclusion(why), why):
        found = _names_in(fold_name(text), labels)
        if found:
            return found.pop() if len(found) == 1 else None
    return None


def _names_in(text: str, labels: Mapping[int, str]) -> set[int]:
    """Activities whose whole name stands in a folded text; a name within a longer one is not counted."""
    spans: list[tuple[int, int, int]] = []
    for number, name in labels.items():
        if folded := fold_name(name):
            spans += [(*m.span(), number) for m in re.finditer(rf"(?<!\w){re.escape(folded)}(?!\w)", text)]
    inside = lambda one, other: other[0] <= one[0] and one[1] <= other[1] and one[:2] != other[:2]  # noqa: E731
    return {span[2] for span in spans if not any(inside(span, other) for other in spans)}


def parted(result: Result) -> Parted:
    """Right labels of a model, those whose reason names an activity, and those that part from it."""
    right, named, picks = 0, 0, []
    for position, event, why, session in _right_events(result):
        right += 1
        label = result.readings[position].predictions[event].label
        meant = named_activity(why, session.labels)
        named += meant is not None
        if meant is not None and meant != label:
            picks.append(Pick(position, event, f"the reason says {session.labels[meant]}, the label is right"))
    return Parted(right, named, picks)


def _right_events(result: Result) -> Iterator[tuple[int, int, str, Session]]:
    """Position, event, own reason ("" for none) and session of each event that is labelled rightly."""
    for position, window in enumerate(result.task.windows):
        excerpts = find_excerpts(result.readings[position], window.events)
        for event in window.counted:
            if is_right(result, position, event):
                own = excerpts[event]
                why = own.text if own.found_by in BY_EVENT else ""
                yield position, event, why, result.task.sessions[window.session_id]


def parted_text(results: Sequence[Result]) -> str:
    """A sentence a model: how many right labels have a reason that names an activity, and how many part from it."""
    return "\n".join(
        f"{result.model.name}: {right} right labels, {named} with a reason that names an activity of the list; "
        f"in {len(picks)} of them it is another one than the label's."
        for result in results
        for right, named, picks in [parted(result)]
    )


def parted_html(results: Sequence[Result], most: int = 1) -> HTML:
    """Up to ``most`` such events, the models side by side; a sentence where there is none; everything escaped.

    Args:
        results: on the same task; the last one's reasons are looked at.
        most: events shown.
    """
    picks = parted(results[-1]).picks[:most]
    return excerpts_html(results, picks) if picks else HTML("<p>Here no right label parts from its reason.</p>")
