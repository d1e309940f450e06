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

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Any, Literal, NamedTuple

from llmhar.records import Prediction, Verdict
from llmhar.text.items import Item, Items, decoder, scan_items, why_of
from llmhar.text.serialize import MAX_NAME_CHARS, clean_text, fold_name

Thinking = Literal["absent", "closed", "unclosed"]

_WORD = r"(?:[a-z]{1,12}\s*:\s*)?(?:think|thinking|thoughts?|reasoning|analysis|scratchpad)"
MARKS: tuple[tuple[str, str], ...] = (
    (rf"<\s*{_WORD}(?:\s[^<>\n]{{0,200}})?>", rf"<\s*/\s*{_WORD}\s*>"),  # Qwen3, DeepSeek-R1, Seed-OSS
    (r"\[\s*think(?:ing)?\s*\]", r"\[\s*/\s*think(?:ing)?\s*\]"),  # Magistral
    (r"◁\s*think(?:ing)?\s*▷", r"◁\s*/\s*think(?:ing)?\s*▷"),  # Kimi
    (r"<\|\s*begin_of_(?:thought|thinking)\s*\|>", r"<\|\s*end_of_(?:thought|thinking)\s*\|>"),  # OpenThinker, Sky-T1
    (r"<\|\s*(?:start_)?think(?:ing)?\s*\|>", r"<\|\s*(?:/|end_)\s*think(?:ing)?\s*\|>"),
    (r"<\|channel>\s*thought\b", r"<channel\|>"),  # Gemma
    (  # gpt-oss: each message names its channel, and only the last one is the answer
        r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?:analysis|commentary)[^<]{0,200}<\|message\|>",
        r"(?:<\|end\|>\s*)?(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*final(?:(?!<\|message\|>).){0,200}<\|message\|>|<\|end\|>",
    ),
)
"""Opening and closing mark of each family, as patterns without regard to case."""
_OPENS, _CLOSES = ("|".join(marks) for marks in zip(*MARKS))
# The first character is looked for by itself: an alternation of patterns would be tried at every letter of a text. Nor
# is every bracket of a megabyte tried with every family: a mark ends before another begins, and begins with a word.
_MARK = re.compile(
    r"(?:[\[◁](?=\s*+(?:/\s*+)?think(?:ing)?\s*+[\]▷])"
    r"|<(?=[^<>]{5,}+>)(?=\|\s*+(?:/|begin_of_|end|think|start|return|message|channel(?:>\s*+thought\b|\|>\s*+[acf]))"
    r"|\s*+(?:/\s*+)?(?:[a-z]{1,12}+\s*+:\s*+)?(?:think|thought|reasoning|analysis|scratchpad|channel)))"
    rf"(?:(?<=(?=(?P<open>{_OPENS})).)|(?<=(?=(?P<close>{_CLOSES})).)|(?<=<)\|(?:end|return|start|message)\|>)",
    re.IGNORECASE,
)
_HINTS = ("think", "thought", "reasoning", "analysis", "scratchpad", "channel")
"""Every mark holds one of these words; texts without them need no search."""
MAX_MARKS = 2_000
"""Marks that are looked at; what stands behind them belongs to where they leave the text."""


class SplitText(NamedTuple):
    """Reasoning and answer of one raw text."""

    reasoning: str
    answer: str
    thinking: Thinking


def split_reasoning(text: str) -> SplitText:
    """Split raw text at its thinking marks, whatever model family they are of.

    - A closing mark without an opening one counts: some templates open the block in the prompt. Where the text before
      it ends in a list and nothing follows, the mark came after the answer and deletes nothing.
    - Later closing marks without an opening one delete nothing either.
    - Whatever follows a mark that is never closed is reasoning: an answer inside it is no answer.
    """
    folded = text.casefold()
    if not any(hint in folded for hint in _HINTS):
        return SplitText("", text.strip(), "absent")
    before, closed, after = text.partition("</think>")
    if closed and "<" not in after and "[/" not in after and folded.count("think>") == 2 and before[:7] == "<think>":
        return SplitText(before[7:].strip(), after.strip(), "closed")  # the usual case, much faster
    reasoning: list[str] = []
    answer: list[str] = []
    is_open, was_closed, last = False, False, 0
    for mark in islice(_MARK.finditer(text), MAX_MARKS):
        opening, closing = mark.group("open"), mark.group("close")
        if mark.start() < last:  # inside the mark before it
            continue
        (reasoning if is_open else answer).append(text[last : mark.start()])
        last = mark.start() + len(opening or closing or mark.group())
        if opening:
            is_open = True
        elif closing:
            before_answer = not is_open and not was_closed and not _came_after_answer(answer, text[last:])
            if before_answer:  # everything so far was thinking that the prompt had opened
                reasoning += answer
                answer.clear()
            was_closed = was_closed or is_open or before_answer
            is_open = False
    (reasoning if is_open else answer).append(text[last:])
    state: Thinking = "unclosed" if is_open else "closed" if was_closed else "absent"
    # A line break between answers around a thinking block: "2<think>…</think>5" must not read as 25.
    return SplitText("".join(reasoning).strip(), "\n".join(part for part in answer if part).strip(), state)


def count_marks(text: str) -> tuple[int, int]:
    """Opening and closing thinking marks of a text, of any family."""
    marks = list(islice(_MARK.finditer(text), MAX_MARKS))
    return sum(bool(mark.group("open")) for mark in marks), sum(bool(mark.group("close")) for mark in marks)


def _came_after_answer(answer: list[str], rest: str) -> bool:
    """Whether a closing mark stands behind a list, with nothing but marks after it."""
    said = "".join(answer).rstrip().removesuffix("```").rstrip()
    return said.endswith("]") and not _MARK.sub("", rest).strip()


MAX_CHARS = 500
"""Longer values name nothing."""
_NUMBER = re.compile(r"[\s\"'`“”‘’]*0*(\d{1,9})(?:\.0+)?[\s\"'`“”‘’]*")
"""A number alone: blanks, quotes, leading zeros and ".0" around it, nothing else."""
_BESIDE = (
    re.compile(r"0*(?P<number>\d{1,9})(?:\.0+)?[\W_]+(?P<name>.+)", re.DOTALL),
    re.compile(r"(?P<name>.+?)[\W_]+0*(?P<number>\d{1,9})(?:\.0+)?", re.DOTALL),
)
"""A number before or behind a name, with blanks or punctuation between them."""
_AROUND = re.compile(r"^[\W_]+|[\W_]+$")


def _bare(text: str) -> str:
    """A name whatever its case, blanks and underscores, without punctuation around it."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    return _AROUND.sub("", " ".join(folded.split()))


def offered_names(labels: Mapping[int, str]) -> dict[int, str]:
    """Activities as a list without numbers offers them, each to be told from all others.

    They are cleaned; where two then look alike to a reader, or one is a number or nothing, its number stands behind it
    in brackets.
    """
    return dict(_offered(tuple(labels.items())))


@lru_cache(maxsize=256)
def _offered(labels: tuple[tuple[int, str], ...]) -> tuple[tuple[int, str], ...]:
    names = {number: clean_text(name) for number, name in labels}
    while True:
        seen = Counter(map(fold_name, names.values()))
        unclear = [
            number
            for number, name in names.items()
            if seen[fold_name(name)] > 1 or not fold_name(name) or _NUMBER.fullmatch(name)
        ]
        if not unclear:
            return tuple(names.items())
        for number in unclear:
            mark = f" ({number})"
            names[number] = f"{names[number][: MAX_NAME_CHARS - len(mark)].rstrip()}{mark}".strip()


class LabelSet:
    """Looks an answered activity up: "6", 6.0, "watching TV", "Watching_TV.", "6 - watching TV", "watching TV (6)".

    A number names its activity alone, or beside that activity's own name; with anything else around it ("#6",
    "activity 6", "6 or 7") it names nothing. An unknown name is never mapped to the nearest one.
    """

    def __init__(self, labels: Mapping[int, str]) -> None:
        self.labels, offered = dict(labels), offered_names(labels)
        self._names = _unambiguous((fold_name(shown), n) for n, name in self.labels.items()
                                   for shown in (name, clean_text(name), offered[n]))  # fmt: skip
        self._bare = _unambiguous((_bare(name), n) for n, name in self.labels.items() if _bare(name))
        self._find_text = lru_cache(1000)(self._look_up)

    def find(self, value: Any) -> int | None:
        """Number of the activity that a value of an answer names; None for none."""
        if isinstance(value, str):
            return self._find_text(value) if len(value) <= MAX_CHARS else None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e9:
            return None
        return int(value) if value == int(value) and int(value) in self.labels else None

    def _look_up(self, text: str) -> int | None:
        if (alone := _NUMBER.fullmatch(text)) and int(alone.group(1)) in self.labels:
            return int(alone.group(1))
        if (folded := fold_name(text)) in self._names:  # names that differ by case alone are no name at all
            return self._names[folded]
        if (bare := _bare(text)) in self._bare:
            return self._bare[bare]
        for pattern in _BESIDE:
            beside = pattern.fullmatch(bare)
            if beside and _bare(self.labels.get(int(beside["number"]), "")) == _bare(beside["name"]) != "":
                return int(beside["number"])
        return None


def _unambiguous(pairs: Iterable[tuple[str, int]]) -> dict[str, int | None]:
    """Text -> the one number it stands for; None where two numbers share it."""
    table: dict[str, int | None] = {}
    for text, number in pairs:
        table[text] = number if table.get(text, number) == number else None
    return table


@lru_cache(maxsize=64)
def label_set(items: tuple[tuple[int, str], ...]) -> LabelSet:
    """The look-up of these (number, name) pairs, made once."""
    return LabelSet(dict(items))


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
    whys: Mapping[int, str] = field(default_factory=dict)
    """Event -> the reason in its item, where it has one: that event's reasoning. ``reasoning`` is the text that stands
    apart from the answer."""


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
    if [item.event for item in items.found] == list(range(n)):  # the usual case, much faster: each event once, in order
        found = [names.find(item.value) for item in items.found]
        plain = tuple(
            _prediction(i, "unknown_label" if label is None else "ok", label) for i, label in enumerate(found)
        )
        reasons = {item.event: item.why for item in items.found if item.why}
        return Reading(plain, *parts, n_repaired=items.n_repaired, whys=reasons)
    scored = items.found if contradictions != "none" else _since_last_complete(items.found, n)
    answered: dict[int, list[int | None]] = {}
    given: dict[int, list[str]] = {}
    for item in scored:
        answered.setdefault(item.event, []).append(names.find(item.value))
        given.setdefault(item.event, []).append(item.why)
    inside = [i for i in answered if 0 <= i < n]
    absent = _Absent(items, inside, parts.answer)
    predictions = tuple(
        _judge(i, answered[i], strict, contradictions) if i in answered else Prediction(i, absent.verdict(i), None)
        for i in range(n)
    )
    whys = {i: why for i in sorted(inside) if (why := _why_of(predictions[i].label, answered[i], given[i]))}
    return Reading(
        predictions, *parts, n_repaired=items.n_repaired,
        n_extra=sum(len(values) for i, values in answered.items() if not 0 <= i < n),
        n_drafts=len(items.found) - len(scored), from_one=n > 0 and answered.keys() == set(range(1, n + 1)),
        whys=whys,
    )  # fmt: skip


_prediction = lru_cache(10_000)(Prediction)
"""One object for all equal ones."""
_KEYS = ({"id", "activity"}, {"id", "why", "activity"})


def _read_list(answer: str) -> Items | None:
    """Read the whole answer as the list that was asked for; None where it is not exactly that."""
    if not answer.startswith("["):
        return None
    try:
        value = decoder.decode(answer)
    except (ValueError, RecursionError):
        return None
    items = Items(empty=value == [], closed=True)
    for item in value:
        if not isinstance(item, dict) or item.keys() not in _KEYS or type(item["id"]) is not int:
            return None
        items.found.append(Item(item["id"], item["activity"], 0, why_of(item) if "why" in item else ""))
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


def _why_of(label: int | None, values: Sequence[int | None], reasons: Sequence[str]) -> str:
    """The last reason that an event's items give for the label that counts; for any where none counts."""
    own = [why for value, why in zip(values, reasons) if why and (label is None or value == label)]
    return own[-1] if own else ""


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
