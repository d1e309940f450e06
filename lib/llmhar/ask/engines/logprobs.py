"""How likely a text was: from its tokens, and the likeliest ones at each place. Loads no model library.

A text is often writable in several tokens ("sleeping", "sleep" + "ing"): at each place counts how likely the *text* was
to go on as it did, which is the sum over all likely tokens that do. So what a schema forces has probability 1, however
a model would have cut it, and only choices between texts lower the product. Tokens that hold a part of a character are
taken for other texts: they may lower the product a little (1 % for an emoji of random weights), and never raise it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

TOP = 10
"""Likeliest tokens of a place that engines are asked for."""
CERTAIN, LEAST = 5e-5, -99.0
"""Logarithms nearer to 0 are left out: certain. The least one that is written: JSON has no infinity."""
_BROKEN = "\ufffd"
_MOST = 16
"""Tokens that may be needed to end in a whole character: four, and more only among bytes that are none."""


class Place(NamedTuple):
    """Where a text could have gone on otherwise."""

    start: int
    """First character that the token wrote."""
    end: int
    """Behind its last one."""
    logprob: float
    """Natural logarithm of its probability."""
    others: Iterable[tuple[str, float]] = ()
    """Other likely tokens here: what they would have written, and their logarithm."""


def to_json(text: str, places: Iterable[Place], offset: int = 0) -> str:
    """What :attr:`llmhar.records.Generation.logprobs` holds.

    Args:
        text: what was generated.
        places: of it, in order.
        offset: characters that stand in front of ``text`` in the generation.

    Returns:
        Empty where a probability is no number.
    """
    found = []
    for start, end, logprob, others in places:
        alike = [logprob, *(other for written, other in others if written and text.startswith(written, start))]
        if any(map(math.isnan, alike)):
            return ""
        total = math.log(math.fsum(math.exp(min(max(one, LEAST), 0.0)) for one in alike))
        if end > start and total < -CERTAIN:
            found.append([offset + start, offset + end, round(total, 4)])
    return json.dumps(found, separators=(",", ":"))


def of_tokens(
    decode: Callable[[Sequence[int]], str],
    tokens: Sequence[int],
    likely: Sequence[Mapping[int, float]],
    text: str,
    offset: int = 0,
) -> str:
    """As :func:`to_json`, from token ids.

    Args:
        decode: of the tokenizer; without special tokens, as ``text`` was made.
        tokens: that were generated.
        likely: for each of them the likeliest ones at its place, itself among them -> natural logarithm.
        text: what they say.
        offset: characters that stand in front of ``text`` in the generation.

    Returns:
        Empty where characters cannot be told apart by token.
    """
    spans = spans_of(decode, tokens)
    whole = decode(tokens)
    told_apart = not spans or spans[-1][1] == len(whole)
    if len(likely) != len(tokens) or not whole.startswith(text) or not told_apart:
        return ""
    # Read behind a plain token: some decoders swallow the blank that a text begins with.
    plain = next((token for token in tokens if decode([token]).isascii() and decode([token]).strip()), None)
    behind = [] if plain is None else [plain]
    written = {other: decode([*behind, other])[len(decode(behind)) :] for options in likely for other in options}
    places, before = [], (0, 0)
    for token, options, span in zip(tokens, likely, spans):
        others = [] if span == before else [(written[o], logprob) for o, logprob in options.items() if o != token]
        places.append(Place(*span, options[token], others))  # inside a character nothing else writes the same
        before = span
    return to_json(text, places, offset)


def spans_of(decode: Callable[[Sequence[int]], str], tokens: Sequence[int]) -> list[tuple[int, int]]:
    """The characters that each token wrote, as (first, behind the last one).

    Tokens that write one character together all have its place; special ones, which write none, have an empty place.
    """
    found: list[tuple[int, int]] = []
    at = begun = 0
    for i in range(1, len(tokens) + 1):
        behind = max(0, begun - 1)
        new = decode(tokens[behind:i])[len(decode(tokens[behind:begun])) :]
        if new.endswith(_BROKEN) and i < len(tokens) and i - begun < _MOST:
            continue
        found += [(at, at + len(new))] * (i - begun)
        at, begun = at + len(new), i
    return found


def of_completion(content: Any, text: str, offset: int = 0) -> str:
    """As :func:`to_json`, from what a server says of the tokens of a chat completion.

    Args:
        content: the list under ``logprobs.content``; anything else, as many servers send, says nothing.
        text: the completion's text; the tokens may say more around it (thinking, marks).
        offset: characters that stand in front of ``text`` in the generation.

    Returns:
        Empty where there is nothing, or it is not about this text.
    """
    try:
        parts = [bytes(token["bytes"]) if token.get("bytes") else token["token"].encode() for token in content]
        encoded = text.encode()
        at = -b"".join(parts).rfind(encoded)
        if at > 0 or not encoded:
            return ""
        of_byte = [i for i, character in enumerate(text) for _ in character.encode()]
        places = []
        for token, part in zip(content, parts):
            first, last = max(at, 0), min(at + len(part), len(encoded)) - 1
            if part and first <= last:
                inside = encoded[first] & 0xC0 == 0x80  # of a character: nothing else writes the same
                others = [] if inside else [(each["token"], float(each["logprob"]))
                          for each in token.get("top_logprobs") or () if each["token"] != token["token"]]  # fmt: skip
                places.append(Place(of_byte[first], of_byte[last] + 1, float(token["logprob"]), others))
            at += len(part)
        return to_json(text, places, offset)
    except (TypeError, KeyError, AttributeError, ValueError):
        return ""
