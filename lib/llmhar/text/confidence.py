"""How sure a model was of each label that it gave: the product of the probabilities of the label's own characters.

Reads what an engine kept beside an answer (:attr:`llmhar.records.Generation.logprobs`); knows no truth and no engine.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from llmhar.text.items import as_id
from llmhar.text.parsing import Reading, label_set

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PART = re.compile(rf"{_STRING}|[{{}}]", re.DOTALL)
_VALUE = re.compile(rf"\s*:\s*(?P<value>{_STRING}|[^\s,}}\]\"]+)", re.DOTALL)


class Place(NamedTuple):
    """Where an answer names an activity."""

    event: int
    """Id of its item."""
    start: int
    """First character of the value, its quote included."""
    end: int
    """Behind the value: behind its closing quote, of a number behind what ends it: both say that no longer name or
    number was meant ("cook", not "cook dinner"; 1, not 12)."""
    value: object


def label_confidences(
    text: str, logprobs: str, reading: Reading, labels: Mapping[int, str]
) -> tuple[float | None, ...]:
    """Probability of the label of each event, at temperature 1 and among what its schema allowed, 0 … 1.

    Args:
        text: the generation.
        logprobs: of the generation; empty where they are not known.
        reading: what was read of it.
        labels: number -> name of each activity that may be answered.

    Returns:
        One an event: 0 where the answer gives it no label, None where that cannot be told.
    """
    if not logprobs:
        return (None,) * len(reading.predictions)
    names, tokens = label_set(tuple(labels.items())), json.loads(logprobs)
    found: dict[tuple[int, int | None], float] = {}
    begins = text.rfind(reading.answer)  # not there where it was put together from pieces around thinking
    for place in find_labels(reading.answer if begins >= 0 else ""):
        start, end = begins + place.start, begins + place.end
        likely = math.fsum(logprob for first, last, logprob in tokens if first < end and last > start)
        found[place.event, names.find(place.value)] = math.exp(min(likely, 0.0))  # of drafts the last one counts
    return tuple(
        0.0 if prediction.label is None else found.get((prediction.event, prediction.label))
        for prediction in reading.predictions
    )


def find_labels(answer: str) -> Iterator[Place]:
    """The places of activities in an answer's items, in the text's order; an item that is cut has none.

    Args:
        answer: a text after its thinking block.
    """
    objects: list[dict[str, tuple[int, int, object]]] = []
    for part in _PART.finditer(answer):
        if part.group() == "{":
            objects.append({})
        elif part.group() == "}":
            closed = objects.pop() if objects else {}
            event = as_id(closed["id"][2]) if "id" in closed else None
            if event is not None and "activity" in closed:
                yield Place(event, *closed["activity"])
        elif objects and (key := part.group()[1:-1].strip().casefold()) in ("id", "activity"):
            value = _VALUE.match(answer, part.end())
            if value and key not in objects[-1]:
                start, end = value.span("value")
                is_text = answer[start] == '"'
                objects[-1][key] = start, end + (not is_text), _decoded(value["value"])


def _decoded(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value
