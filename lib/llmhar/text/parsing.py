"""From a model's raw text to one verdict per event. Knows no truth, no engine and no file.

Two readings are kept apart. **Strict**: after the thinking block nothing but the JSON list that the prompt asked
for. **Flexible**: the same items found anywhere in the answer (prose, code fences, trailing commas, comments, single
quotes). Neither guesses a label, completes a cut value, or reads an answer inside unfinished thinking.

Models contradict themselves: they draft, think again, and answer once more. The last complete list counts; what stood
before it are drafts, counted and not scored. An event with two different labels that no later complete list settles
has none.

S1 §3.1.5: an event without a readable prediction counts as wrong; §4.9 lists the causes that the verdicts name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmhar.records import Prediction, Verdict
from llmhar.text.items import Item, Items, scan_items, unique_keys
from llmhar.text.labels import LabelSet, label_set
from llmhar.text.thinking import SplitText, Thinking, split_reasoning

Contradictions = Literal["none", "first", "last"]
"""Which of an event's different labels counts: none (the study's), the first valid one anywhere, or the last one."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of one answer."""

    predictions: tuple[Prediction, ...]
    """Exactly one per event of the window, in order."""
    reasoning: str
    answer: str
    thinking: Thinking
    n_repaired: int = 0
    """Items whose delimiters were mended (flexible reading only)."""
    n_extra: int = 0
    """Items with an id that the window does not have."""
    n_drafts: int = 0
    """Items before the last complete list."""
    from_one: bool = False
    """The ids are exactly 1 … n: the model counted from one, so its labels may be one event off."""


def parse_answer(
    text: str, n: int, labels: Mapping[int, str], *, strict: bool = False, finish_reason: str = "",
    contradictions: Contradictions = "none",
) -> Reading:  # fmt: skip
    """Read ``text`` as the answer to a window of ``n`` events.

    Args:
        text: raw generation, thinking marks included.
        n: number of events; their ids are 0 … n-1.
        labels: number -> name of each activity that may be answered.
        strict: accept only the bare JSON list after the thinking block.
        finish_reason: the engine's, "length" where the token limit cut the text; empty = judge by the text alone.
        contradictions: which of an event's different labels counts (flexible reading).

    Returns:
        A reading with one verdict per event: ``ok``; ``duplicate`` (different labels); ``unknown_label``;
        ``malformed``; ``cut``; ``missing``.
    """
    parts = split_reasoning(text)
    names = label_set(tuple(labels.items()))
    if parts.thinking == "unclosed" and not parts.answer:
        return Reading(tuple(Prediction(i, "cut", None) for i in range(n)), *parts)
    items = _read_list(parts.answer) or (Items() if strict else scan_items(parts.answer, n))
    # A closed list is whole, even where the token limit cut what came after it.
    out_of_tokens = finish_reason == "length" and not items.closed
    items.truncated = items.truncated or out_of_tokens or parts.thinking == "unclosed"
    if strict and not (items.found or items.empty):
        return _no_list(parts, n, items.truncated)
    scored = items.found if contradictions != "none" else _since_last_complete(items.found, n)
    answered: dict[int, list[int | None]] = {}
    for item in scored:
        answered.setdefault(item.event, []).append(names.find(item.value))
    inside = [i for i in answered if 0 <= i < n]
    absent = _Absent(items, inside, parts.answer)
    predictions = tuple(
        _judge(i, answered[i], strict, contradictions) if i in answered else Prediction(i, absent.verdict(i), None)
        for i in range(n)
    )
    return Reading(
        predictions, *parts, n_repaired=items.n_repaired,
        n_extra=sum(len(values) for i, values in answered.items() if not 0 <= i < n),
        n_drafts=len(items.found) - len(scored), from_one=n > 0 and answered.keys() == set(range(1, n + 1)),
    )  # fmt: skip


_decoder = json.JSONDecoder(object_pairs_hook=unique_keys)
_KEYS = ({"id", "activity"}, {"id", "why", "activity"})


def _read_list(answer: str) -> Items | None:
    """Read the whole answer as the list that was asked for; None where it is not exactly that."""
    if not answer.startswith("["):
        return None
    try:
        value = _decoder.decode(answer)
    except (ValueError, RecursionError):
        return None
    items = Items(empty=value == [], closed=True)
    for item in value:
        if not isinstance(item, dict) or item.keys() not in _KEYS or type(item["id"]) is not int:
            return None
        items.found.append(Item(item["id"], item["activity"], 0))
    return items


def _no_list(parts: SplitText, n: int, truncated: bool) -> Reading:
    """The strict reading of anything but a list."""
    verdict: Verdict = "malformed" if parts.answer else "missing"
    if truncated or (parts.answer and scan_items(parts.answer, n).truncated):
        verdict = "cut"
    return Reading(tuple(Prediction(i, verdict, None) for i in range(n)), *parts)


def _since_last_complete(items: list[Item], n: int) -> list[Item]:
    """Items of the last list that has every event, and what stands behind it; all where no list has."""
    wanted = set(range(n))
    events: dict[int, set[int]] = {}
    for item in items:
        events.setdefault(item.group, set()).add(item.event)
    complete = [group for group, own in events.items() if wanted <= own]
    return [item for item in items if item.group >= complete[-1]] if complete else items


def _judge(event: int, values: list[int | None], strict: bool, contradictions: Contradictions) -> Prediction:
    """The verdict of an event that was answered, once or more often."""
    valid = [value for value in values if value is not None]
    if len(values) > 1 and strict:
        return Prediction(event, "duplicate", None)
    if not valid:
        return Prediction(event, "unknown_label", None)
    if len(set(values)) == 1:
        return Prediction(event, "ok", valid[0])
    chosen = {"none": None, "first": valid[0], "last": valid[-1]}[contradictions]
    return Prediction(event, "duplicate", chosen)


class _Absent:
    """Why an event has no answer."""

    def __init__(self, items: Items, inside: list[int], answer: str) -> None:
        self.items = items
        self.reached = max([*inside, -1 if items.open_id is None else items.open_id], default=-1)
        nothing_read = not items.found and not items.broken and items.open_id is None
        self.gibberish = nothing_read and bool(answer) and not items.empty

    def verdict(self, event: int) -> Verdict:
        """``malformed`` where it was begun or nothing can be read, ``cut`` behind the end, else ``missing``."""
        if event in self.items.broken:
            return "malformed"
        if self.items.truncated and (event == self.items.open_id or event > self.reached):
            return "cut"
        return "malformed" if self.gibberish else "missing"


def as_rows(predictions: Iterable[Prediction], labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """The form of ``llmhar parse --json``: {"id", "verdict", "label"}, label a name or None."""
    return [
        {"id": p.event, "verdict": p.verdict, "label": None if p.label is None else labels[p.label]}
        for p in predictions
    ]


__all__ = ["Contradictions", "LabelSet", "Reading", "SplitText", "Thinking", "as_rows", "parse_answer",
           "split_reasoning"]  # fmt: skip
