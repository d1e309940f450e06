"""One answer's text beside what a strict and what a flexible reading make of it. Asks nobody, scores nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from IPython.display import HTML

from llmhar.records import Prediction
from llmhar.text.parsing import parse_answer
from llmhar.traces.view import templates


class Worked(NamedTuple):
    """A made-up answer about a few events that shows what the two readings part over."""

    text: str
    labels: Mapping[int, str]
    """Number -> name of each activity that may be answered."""
    remarks: Sequence[str]
    """What is odd about each event's item; as many as events."""


WORKED = Worked(
    text="""<think>The coffee machine runs: breakfast.
Somebody showers.</think>
Here are the labels of the six events:
[{"id": 0, "activity": "preparing breakfast"},
 {'id': 1, 'activity': 'Taking_Shower'},
 {"id": 2, "activity": "cooking"},
 {"id": 3, "activity": "preparing breakfast"},
 {"id": 3, "activity": "taking shower"},
 {"id": 4, "activity": "taking shower",},
 {"id": 5, "activity": "preparing bre""",
    labels={0: "preparing breakfast", 1: "taking shower", 2: "others"},
    remarks=(
        "well-formed, but a sentence stands before the list",
        "single quotes and another spelling: mended, the name is meant",
        "a name that is not in the list: nothing is guessed",
        "two different labels: neither counts",
        "a comma too many: mended",
        "the text breaks off inside the name: nothing is completed",
    ),
)
"""Six events, answered as small models answer."""


class EventReading(NamedTuple):
    """What two readings make of one event."""

    event: int
    strict: Prediction
    flexible: Prediction
    remark: str


def read_both(worked: Worked) -> list[EventReading]:
    """Strict and flexible reading of each event of a worked answer.

    Args:
        worked: its text is read as if the token limit had cut it.
    """
    n = len(worked.remarks)
    strict, flexible = (
        parse_answer(worked.text, n, worked.labels, strict=strict, finish_reason="length").predictions
        for strict in (True, False)
    )
    return [EventReading(i, *row) for i, row in enumerate(zip(strict, flexible, worked.remarks, strict=True))]


def readings_html(worked: Worked = WORKED) -> HTML:
    """The text and, event by event beside it, what each reading takes from it; everything escaped."""
    rows = [
        (row.event, *(_cell(one, worked.labels) for one in (row.strict, row.flexible)), row.remark)
        for row in read_both(worked)
    ]
    return HTML(templates.get_template("readings.html.j2").render(text=worked.text, rows=rows))


def _cell(prediction: Prediction, labels: Mapping[int, str]) -> tuple[str, str]:
    """Text and mark of what was read: a name, or the verdict on why there is none."""
    if prediction.label is None:
        return prediction.verdict.replace("_", " "), "–"
    return labels[prediction.label], "→"
