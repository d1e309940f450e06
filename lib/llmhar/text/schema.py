"""The JSON schema of a window's answer: constrained decoding can then neither miss an event nor invent an activity.

Knows no engine: engines compile the schema (vLLM and transformers with xgrammar, ONNX Runtime with llguidance) and
enforce it after the thinking block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from llmhar.data.homes import PromptError
from llmhar.text.prompt import AnswerStyle
from llmhar.text.serialize import clean_text, fold_name


def answer_schema(
    n_events: int,
    labels: Mapping[int, str],
    answer: AnswerStyle = "name",
    *,
    why: bool = False,
    spaced: bool = False,
    namer: str = "",
) -> dict[str, Any]:
    """JSON schema of the only answers to a window of ``n_events`` that miss nothing.

    A list of exactly one {"id", "activity"} an event: ids 0 to n-1 in order, the activity one of the label set. The
    activities stand once, under ``$defs``: a schema is part of every request, and label sets are long.

    Args:
        n_events: events of the window, at least 1.
        labels: number -> name of each activity that may be answered.
        answer: whether activities are named (as the prompt shows them) or numbered, as in the prompt.
        why: whether each item holds a short "why" before its "activity": a model that cannot think apart from its
            answer would otherwise be bound from the first token on, and reason nothing.
        spaced: whether the answer is spaced as lessons are (:data:`SPACED`).
        namer: what names each activity by its "why" instead of the model: :func:`llmhar.text.naming.fingerprint` or
            :data:`llmhar.text.naming.PARTS`; empty = the model itself.

    Returns:
        The same object for the same arguments: treat it as read-only.

    Raises:
        PromptError: Names that an answer's reader could not tell apart, or no events.
    """
    return _schema(n_events, tuple(labels.items()), answer, (why, spaced, namer))


@lru_cache(maxsize=256)
def _schema(
    n_events: int, labels: tuple[tuple[int, str], ...], answer: AnswerStyle, form: tuple[bool, bool, str]
) -> dict[str, Any]:
    why, spaced, namer = form
    if n_events < 1 or not labels:
        raise PromptError("a schema needs at least one event and one activity")
    values: list[int] | list[str] = [number for number, _ in labels]
    if answer == "name":
        values = _names(labels)
    return {
        **({"$comment": SPACED} if spaced else {}),
        "$defs": {"activity": activities(values, namer)},
        "type": "array",
        "prefixItems": [_item(i, why) for i in range(n_events)],
        "items": False,
        "minItems": n_events,
        "maxItems": n_events,
    }


def is_spaced(schema: Mapping[str, Any]) -> bool:
    """Whether answers of a schema are spaced as lessons are."""
    return schema.get("$comment") == SPACED


def named_by(schema: Mapping[str, Any]) -> str:
    """The matcher that names the activities of an answer by their reasons; empty = the model that gave these."""
    comment = str(_activity(schema).get("$comment", ""))
    return comment.removeprefix(NAMED) if comment.startswith(NAMED) else ""


def names_of(schema: Mapping[str, Any]) -> list[str]:
    """The activities that an answer may name, of a window or of a clip."""
    return list(_activity(schema)["enum"])


def activities(values: Sequence[str] | Sequence[int], namer: str = "") -> dict[str, Any]:
    """The part of a schema that lists activities.

    Args:
        values: what may be answered.
        namer: what names them by a "why" instead of the model; empty = the model itself.
    """
    return {**({"$comment": NAMED + namer} if namer else {}), "enum": values}


def _activity(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = {**schema.get("properties", {}), **schema.get("$defs", {})}.get("activity", {})
    return found


def has_whys(schema: Mapping[str, Any]) -> bool:
    """Whether the items of a schema that :func:`answer_schema` made hold a "why"."""
    return any("why" in item.get("properties", ()) for item in schema.get("prefixItems", ()))


NAMED = "named by the reason, matcher "
"""How the ``$comment`` of an activity begins that is named by its "why"; the matcher's fingerprint follows."""
WHY_CHARS = 80
"""Longest "why" of an item."""
SPACED = "a blank after each comma and colon"
"""``$comment`` of a schema whose answers are spaced as ``json.dumps`` does it, which is how lessons are written: a
student that is bound to another spacing is asked for tokens that it never learnt."""


def _item(i: int, why: bool) -> dict[str, Any]:
    reason = {"why": {"type": "string", "maxLength": WHY_CHARS}} if why else {}
    properties = {"id": {"const": i}, **reason, "activity": {"$ref": "#/$defs/activity"}}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _names(labels: tuple[tuple[int, str], ...]) -> list[str]:
    """Names as the prompt shows them, each readable as one activity only."""
    names = [clean_text(name) for _, name in labels]
    told_apart = {fold_name(name) for name in names} - {""}
    if len(told_apart) < len(names) or any(name.isdecimal() for name in names):
        raise PromptError(
            "some activity names are equal in the prompt, or are numbers, so that an answer by name could mean two "
            "activities; set answer: number"
        )
    return names
