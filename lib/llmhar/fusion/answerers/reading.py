"""From a model's text to the activity of a clip: the last JSON object counts, free answers are matched by embedding.

Knows no truth, no engine and no store. Nothing is guessed: a closed answer names an offered activity or none, and an
answer inside unfinished thinking is no answer (as in :mod:`llmhar.text.parsing`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from llmhar.records import Verdict
from llmhar.text.embedding import embed
from llmhar.text.items import mended
from llmhar.text.parsing import label_set, split_reasoning
from llmhar.text.serialize import clean_text, fold_name

READ_CHARS = 20_000
"""Characters at the end of an answer that are read: it was asked to end with one line of JSON."""
MAX_OPEN_CHARS = 120
"""Longest free answer that is matched; the rest is left away."""
THRESHOLD = 0.20
"""Cosine similarity below which a free answer means none of the activities. Chosen on the "calibration" half of
``tests/fixtures/open_answers.csv`` (paraphrases mostly 0.2 to 0.9, other activities below), measured on the other."""

# A brace within a string is no end; few parts, or every brace of a hostile text would be read to its end.
_OBJECT = re.compile(r"""\{(?:[^{}"]++|"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+"){0,60}+\}|\{[^{}]*\}""")
_BRACES = {ord(wide): plain for wide, plain in zip("｛｝", "{}")}
MAX_MENDED = 20
"""Most objects of an answer that are mended."""
_QUOTES = "\"'`“”‘’"
# What is left of an object whose quotes went wrong. Bounded repeats, no nested ones: linear on hostile text.
_LOOSE = re.compile(
    rf"^\{{\s*[{_QUOTES}]?activity[{_QUOTES}]?\s*[:=]\s*[{_QUOTES}]?([^{_QUOTES}{{}}\n]{{1,300}})[{_QUOTES}]?\s*,?\s*\}}$",
    re.IGNORECASE,
)
_TRIM = " \t\r\n.,;:!*_#" + _QUOTES


class Reading(NamedTuple):
    """One answer, read."""

    label: str | None
    """The activity as the data set names it (closed), or the answer's own words (open); None where there is none."""
    verdict: Verdict


class Match(NamedTuple):
    """A free answer and the activity that it means."""

    label: str | None
    """None: no activity is similar enough."""
    similarity: float
    """Cosine similarity to the nearest activity, in [-1, 1]."""
    nearest: str
    """That activity, also where it is not near enough."""


def read_closed(text: str, labels: Sequence[str], finish_reason: str = "") -> Reading:
    """The offered activity that an answer names.

    Args:
        text: raw generation, thinking marks included.
        labels: activities that were offered.
        finish_reason: the engine's, "length" where the token limit cut the text; empty = judge by the text alone.

    Returns:
        The last JSON object with an ``activity`` decides: ``ok``, or ``unknown_label``. Without one, a whole answer
        that is a label and nothing else is ``ok``; else ``cut`` (in thinking, in the object, or by the token limit),
        ``missing`` (nothing after the thinking) or ``malformed``.
    """
    found, verdict = _last_activity(text, finish_reason)
    # The reader of homes' answers looks names up; fusion prompts number nothing: these are numbers that nobody says.
    number = label_set(tuple((-1 - i, label) for i, label in enumerate(labels))).find(found) if found else None
    label = labels[-1 - number] if number is not None and isinstance(found, str) else None
    if verdict == "malformed":
        return Reading(label, "ok" if label is not None else "malformed")
    if verdict != "ok":
        return Reading(None, verdict)
    return Reading(label, "ok" if label is not None else "unknown_label")


def read_open(text: str, finish_reason: str = "") -> Reading:
    """The free answer of a text, in its own words, cleaned and on one line; verdicts as in :func:`read_closed`.

    A whole answer of at most eight words counts without JSON: models that know no JSON still have something to say.
    """
    found, verdict = _last_activity(text, finish_reason)
    if verdict == "malformed" and isinstance(found, str) and len(found.split()) <= 8:
        verdict = "ok"
    said = clean_text(found, MAX_OPEN_CHARS).strip(_TRIM) if isinstance(found, str) else ""
    if verdict == "ok":
        return Reading(said, "ok") if said else Reading(None, "missing" if found == "" else "unknown_label")
    return Reading(None, verdict)


def _last_activity(text: str, finish_reason: str) -> tuple[Any, Verdict]:
    """The last ``activity`` and ``ok``; else why there is none (``malformed``: with the whole answer if short)."""
    parts = split_reasoning(text)
    if not parts.answer:
        return None, "cut" if parts.thinking == "unclosed" or finish_reason == "length" else "missing"
    answer = parts.answer[-READ_CHARS:]
    found, value, rest = _last_object(answer)
    if not found and not answer.isascii() and (plain := answer.translate(_BRACES)) != answer:
        found, value, rest = _last_object(plain)
    if "activity" in rest.partition("{")[2].casefold() or (not found and finish_reason == "length"):
        return None, "cut"
    if found:
        return value, "ok"
    short = fold_name(answer.strip(_TRIM)) if len(parts.answer) <= 300 else None
    return short, "malformed"


def _last_object(answer: str) -> tuple[bool, Any, str]:
    """Whether an object says an activity, which one the last of them says, and the text behind the last object."""
    end, n_mended = 0, 0
    found, value = False, None
    for match in _OBJECT.finditer(answer):
        end, span = match.end(), match.group()
        if "activity" in span.casefold():
            read, this = _read_object(span)
            if not read and (n_mended := n_mended + 1) <= MAX_MENDED and (whole := mended(span)):
                read, this = _read_pairs(whole.items())
            value, found = (this, True) if read else (value, found)
    return found, value, answer[end:]


def _read_object(span: str) -> tuple[bool, Any]:
    """Whether an object says an activity, and which; one with two different ones says none."""
    try:
        return _read_pairs(json.loads(span, object_pairs_hook=list))
    except (ValueError, RecursionError, TypeError):
        loose = _LOOSE.match(span) if len(span) <= 600 else None
        return bool(loose), loose.group(1).strip() if loose else None


def _read_pairs(pairs: Iterable[tuple[Any, Any]]) -> tuple[bool, Any]:
    """The same of an object's names and values."""
    values = [value for name, value in pairs if str(name).strip().casefold() == "activity"]
    return bool(values), values[0] if len(set(map(str, values))) == 1 else None


# Free answers.


def match_open(answers: Sequence[str], labels: Sequence[str], *, threshold: float = THRESHOLD) -> list[Match]:
    """The activity that each free answer means: the most similar one by sentence embedding.

    Args:
        answers: what models said, a few words each.
        labels: the data set's activities, at least one.
        threshold: cosine similarity below which the answer means none of them.

    Returns:
        One match an answer, in order. Equal words match whatever their embedding.
    """
    if not answers:
        return []
    plain = tuple(fold_name(label) for label in labels)
    said = tuple(fold_name(answer) or "nothing" for answer in answers)
    similarities = embed(said) @ embed(plain).T  # (n_answers, n_labels)
    matches = []
    for words, row in zip(said, similarities):
        best = plain.index(words) if words in plain else int(np.argmax(row))
        similarity = 1.0 if words in plain else float(row[best])
        matches.append(Match(labels[best] if similarity >= threshold else None, similarity, labels[best]))
    return matches
