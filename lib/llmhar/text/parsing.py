"""From a model's raw text to one verdict per event. Knows no truth, no engine and no file.

Two readings are kept apart. **Strict**: after the thinking block nothing but the JSON list that the prompt asked
for. **Flexible**: the same items found anywhere in the answer (prose, code fences, trailing commas, single quotes).
Neither guesses a label, completes a cut value, or reads an answer inside unfinished thinking.

S1 §3.1.5: an event without a readable prediction counts as wrong; §4.9 lists the causes that the verdicts name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from llmhar.records import Prediction, Verdict
from llmhar.text.serialize import clean_text, fold_name

Thinking = Literal["absent", "closed", "unclosed"]

# Flat objects only: an answer item holds no object, and `[^{}]*` keeps the scan linear on hostile text.
_ITEM = re.compile(r"\{[^{}]*\}")
_ITEM_ID = re.compile(r"""["']?\bid["']?\s*:\s*["']?(\d{1,9})["']?\s*(?:[,}]|$)""", re.IGNORECASE)
# Runs of one mark count once: a megabyte of them is read in a few steps. One beginning for both: twice as fast.
_THINK_MARK = re.compile(r"(<(?:/think>(?:</think>)*|think>(?:<think>)*))")
# Possessive repeats and an end that may be missing: a string that is never closed is read once, not once a quote in it.
_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)')
_KEY_ID = re.compile(r"\bid\b", re.IGNORECASE)
_NO_ITEMS = re.compile(r"\W*\[\s*\]\W*|```(?:json)?\s*\[\s*\]\s*```")
_DELIMITERS = re.compile(r"""[\s"'`“”‘’{}\[\](),:;=]+""")
_NUMBERED = re.compile(r"(\d{1,9})\s*[.:)]\s*(.+)", re.DOTALL)
# Items read per expected event before the rest of a rambling answer is left unread (bounds time at 1 MB).
_ITEMS_PER_EVENT = 20
# Characters of an item without an end in which the end of its list is looked for (likewise).
_OPEN_CHARS = 20_000


class SplitText(NamedTuple):
    """Reasoning and answer of one raw text."""

    reasoning: str
    answer: str
    thinking: Thinking


def split_reasoning(text: str) -> SplitText:
    """Split raw text at its thinking marks.

    A closing mark without an opening one counts (some templates open the block in the prompt). Whatever follows an
    unclosed mark is reasoning: an answer inside it is no answer.
    """
    if "think>" not in text:
        return SplitText("", text.strip(), "absent")
    before, closed, after = text.partition("</think>")
    if closed and "think>" not in after and "<think>" not in (inside := before.strip().removeprefix("<think>")):
        return SplitText(inside.strip(), after.strip(), "closed")  # the usual case, much faster
    depth_open = False
    reasoning: list[str] = []
    answer: list[str] = []
    state: Thinking = "absent"
    *parts, rest = _THINK_MARK.split(text)  # text, mark, text, mark, ..., text
    for piece, mark in zip(parts[::2], parts[1::2]):
        if mark[1] == "t":
            (reasoning if depth_open else answer).append(piece)
            depth_open = True
        else:
            if not depth_open:  # everything so far was thinking that the prompt had opened
                reasoning += answer
                answer.clear()
            reasoning.append(piece)
            depth_open, state = False, "closed"
    (reasoning if depth_open else answer).append(rest)
    # A line break between answers around a thinking block: "2<think>…</think>5" must not read as 25.
    return SplitText("".join(reasoning).strip(), "\n".join(answer).strip(), "unclosed" if depth_open else state)


class LabelSet:
    """Looks an answered activity up by number, numeric string, "N. name" or name; case and blanks do not matter."""

    def __init__(self, labels: Mapping[int, str]) -> None:
        self.labels = dict(labels)
        self._by_text: dict[str, int | None] = {}
        for number, name in self.labels.items():
            for folded in {fold_name(name), fold_name(clean_text(name))}:  # whole, and cut as the prompt shows it
                # Two names that differ by case alone are no name at all: numbers still tell them apart.
                self._by_text[folded] = None if folded in self._by_text else number
        for number in self.labels:
            self._by_text[str(number)] = number

    def find(self, value: Any) -> int | None:
        """Number of the activity, or None: an unknown label is never mapped to the nearest name."""
        if isinstance(value, str):
            if len(value) > 500:
                return None
            number = self._by_text.get(value)
            return number if number is not None else self._find_text(fold_name(value))
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e9:
            return None
        return int(value) if value == int(value) and int(value) in self.labels else None

    def _find_text(self, folded: str) -> int | None:
        by_text = self._by_text.get(folded)
        if by_text is not None:
            return by_text
        numbered = _NUMBERED.fullmatch(folded)
        if numbered is None:
            return None
        number = int(numbered.group(1))
        # "2. cooking" where 2 is something else contradicts itself: no answer.
        return number if number in self.labels and fold_name(self.labels[number]) == numbered.group(2) else None


@lru_cache(maxsize=64)
def _label_set(items: tuple[tuple[int, str], ...]) -> LabelSet:
    return LabelSet(dict(items))


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


@dataclass(slots=True)
class _Items:
    """Answer items as found, before verdicts."""

    found: list[tuple[int, Any]] = field(default_factory=list)
    """(id, activity value) in the answer's order."""
    broken: set[int] = field(default_factory=set)
    """Ids of items that cannot be read."""
    open_id: int | None = None
    """Id of the item that the text ends in."""
    closed: bool = False
    """The list was ended with its bracket."""
    truncated: bool = False
    n_tried: int = 0
    """Items handed to repair, mended or not."""
    n_repaired: int = 0
    empty: bool = False
    """A well-formed list without items."""


def parse_answer(
    text: str, n: int, labels: Mapping[int, str], *, strict: bool = False, finish_reason: str = ""
) -> Reading:
    """Read ``text`` as the answer to a window of ``n`` events.

    Args:
        text: raw generation, thinking marks included.
        n: number of events; their ids are 0 … n-1.
        labels: number -> name of each activity that may be answered.
        strict: accept only the bare JSON list after the thinking block.
        finish_reason: the engine's, "length" where the token limit cut the text; empty = judge by the text alone.

    Returns:
        A reading with one verdict per event: ``ok``; ``duplicate`` (several answers; the flexible reading takes the
        first valid one, the strict one none); ``unknown_label``; ``malformed``; ``cut``; ``missing``.
    """
    parts = split_reasoning(text)
    label_set = _label_set(tuple(labels.items()))
    if parts.thinking == "unclosed" and not parts.answer:
        return Reading(tuple(Prediction(i, "cut", None) for i in range(n)), *parts)
    items = _read_list(parts.answer) or (_Items() if strict else _scan_items(parts.answer, n))
    # A closed list is whole, even where the token limit cut what came after it.
    out_of_tokens = finish_reason == "length" and not items.closed
    items.truncated = items.truncated or out_of_tokens or parts.thinking == "unclosed"
    if strict and not (items.found or items.empty):
        scanned = _scan_items(parts.answer, n)
        verdict: Verdict = "cut" if scanned.truncated or items.truncated else "malformed"
        verdict = verdict if parts.answer else ("cut" if items.truncated else "missing")
        return Reading(tuple(Prediction(i, verdict, None) for i in range(n)), *parts)
    predictions, n_extra = _judge(items, n, label_set, parts.answer, strict)
    return Reading(predictions, *parts, n_repaired=items.n_repaired, n_extra=n_extra)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):  # which of the two was meant cannot be known
        raise ValueError("duplicate key")
    return made


_strict_decoder = json.JSONDecoder(object_pairs_hook=_unique_keys)


def _read_list(answer: str) -> _Items | None:
    """Read the whole answer as the list that was asked for; None where it is not exactly that."""
    if not answer.startswith("["):
        return None
    try:
        value = _strict_decoder.decode(answer)
    except (ValueError, RecursionError):
        return None
    items = _Items(empty=value == [], closed=True)
    for item in value:
        if not isinstance(item, dict) or item.keys() != {"id", "activity"} or type(item["id"]) is not int:
            return None
        items.found.append((item["id"], item["activity"]))
    return items


def _scan_items(answer: str, n: int) -> _Items:
    """Find answer items anywhere in the text, one flat object at a time."""
    items, last, limit = _Items(), 0, _ITEMS_PER_EVENT * max(n, 1) + 100
    for count, match in enumerate(_ITEM.finditer(answer)):
        if count >= limit:
            break
        _note_broken(answer[last : match.start()], items)
        last = match.end()
        _read_item(match.group(), items, n)
    else:
        tail = answer[last:]
        brace = tail.rfind("{")
        if brace >= 0 and _is_open(tail[brace:]):
            items.truncated = True
            open_id = _ITEM_ID.search(tail, brace, brace + 200)
            items.open_id = int(open_id.group(1)) if open_id and open_id.end() < len(tail) else None
            tail = tail[:brace]
        _note_broken(tail, items)
        items.truncated |= "]" not in tail and "[" in answer
        items.closed = "]" in tail and bool(items.found)
    # Short answers only: on a megabyte of "[]" the pattern would try every place.
    items.empty = not items.found and len(answer) < 200 and _NO_ITEMS.fullmatch(answer) is not None
    return items


def _is_open(item: str) -> bool:
    """Whether the text ends inside an item: in one of its strings, or before the list is closed."""
    item, last, closed = item[:_OPEN_CHARS], 0, False
    for string in _STRING.finditer(item):
        if not string.group(1):
            return True
        closed = closed or "]" in item[last : string.start()]
        last = string.end()
    return not closed and "]" not in item[last:]


def _note_broken(gap: str, items: _Items) -> None:
    """Ids of objects in a gap between readable ones: they were begun and never closed."""
    if "{" in gap:
        items.broken.update(int(m.group(1)) for m in _ITEM_ID.finditer(gap[:2000]))


def _read_item(span: str, items: _Items, n: int) -> None:
    value = _decode_item(span, items, n)
    if value is None:
        items.broken.update(int(m.group(1)) for m in _ITEM_ID.finditer(span[:2000]))
        return
    folded = {key.strip().casefold(): content for key, content in value.items()}
    if len(folded) != len(value):  # "activity" and "Activity": which was meant cannot be known
        items.broken.update(int(m.group(1)) for m in _ITEM_ID.finditer(span[:2000]))
        return
    value = folded
    number = _as_id(value.get("id"))
    if number is None or ("activity" not in value and "event" in value):
        return  # the window's own items, copied back by a model that repeats its question
    if "activity" in value:
        items.found.append((number, value["activity"]))
    else:
        items.broken.add(number)


def _decode_item(span: str, items: _Items, n: int) -> dict[str, Any] | None:
    try:
        value = _strict_decoder.decode(span)
        return value if isinstance(value, dict) else None
    except (ValueError, RecursionError) as error:
        # Repair is for delimiters of complete, short items, and not without end.
        if str(error) == "duplicate key" or len(span) > 500 or items.n_tried >= 2 * n or not _KEY_ID.search(span):
            return None
    import json_repair  # only broken answers pay for it

    items.n_tried += 1
    try:
        value = json_repair.loads(span)
    except Exception:  # a third party on hostile text: whatever it trips over, the item is unreadable
        return None
    if not isinstance(value, dict) or "" in value.values() or _substance(span) != _substance(_flat(value)):
        return None
    items.n_repaired += 1
    return value


def _substance(text: str) -> str:
    """Text without what repair may touch: json_repair also drops words (2 of "2 or 3") and the first of two keys."""
    return _DELIMITERS.sub("", text).casefold().replace("null", "none")


def _flat(value: Mapping[str, Any]) -> str:
    return " ".join(f"{key} {content}" for key, content in value.items())


def _as_id(value: Any) -> int | None:
    if isinstance(value, str):
        value = value.strip()
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value == value and abs(value) < 1e9 and value == int(value) else None


def _judge(items: _Items, n: int, label_set: LabelSet, answer: str, strict: bool) -> tuple[tuple[Prediction, ...], int]:
    """One verdict per event, and the number of items that belong to no event."""
    answered: dict[int, list[int | None]] = {}
    for number, value in items.found:
        answered.setdefault(number, []).append(label_set.find(value))
    inside = [number for number in answered if 0 <= number < n]
    n_extra = sum(len(values) for values in answered.values()) - sum(len(answered[number]) for number in inside)
    reached = max([*inside, items.open_id if items.open_id is not None else -1], default=-1)
    nothing_read = not items.found and not items.broken and items.open_id is None
    gibberish = nothing_read and bool(answer) and not items.empty
    predictions = []
    for i in range(n):
        values = answered.get(i)
        if values is not None:
            label = next((v for v in values if v is not None), None)
            if len(values) > 1 and (strict or label is not None):
                predictions.append(Prediction(i, "duplicate", None if strict else label))
            else:
                predictions.append(Prediction(i, "unknown_label" if label is None else "ok", label))
        else:
            predictions.append(Prediction(i, _absent(i, items, reached, gibberish), None))
    return tuple(predictions), n_extra


def _absent(i: int, items: _Items, reached: int, gibberish: bool) -> Verdict:
    """Why an event has no answer."""
    if i in items.broken:
        return "malformed"
    if items.truncated and (i == items.open_id or i > reached):
        return "cut"
    return "malformed" if gibberish else "missing"


def as_rows(predictions: Iterable[Prediction], labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """The form of ``llmhar parse --json``: {"id", "verdict", "label"}, label a name or None."""
    return [
        {"id": p.event, "verdict": p.verdict, "label": None if p.label is None else labels[p.label]}
        for p in predictions
    ]
