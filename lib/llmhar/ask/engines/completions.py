"""Reads what an OpenAI-compatible server sends: text, thinking, end and tokens of one chat completion, how likely these
were, and how long it asks to wait. Asks nobody.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from llmhar.ask.engines.logprobs import of_completion

_STOPS = ("stop", "stop_sequence", "eos", "eos_token", "end", "end_turn", "complete")
"""Servers' words, in any case, for an answer that ended by itself."""
_LENGTHS = ("length", "max_tokens", "model_length")
"""And for one that a limit of tokens cut."""


def read_completion(body: Any, max_tokens: int) -> dict[str, Any]:
    """Fields of a generation from a chat completion; thinking goes back between its marks.

    Args:
        body: the server's JSON.
        max_tokens: as asked: an answer without any word on its end is cut where it has so many tokens.

    Raises:
        ValueError: it is none; an error that the server sent as a success is quoted.
    """
    try:
        choice, usage = body["choices"][0], body.get("usage") or {}
        message, word = choice["message"], choice.get("finish_reason")
        text, in_parts = _content(message.get("content"))
        thought = in_parts or message.get("reasoning_content") or message.get("reasoning")
        prompt = int(usage.get("prompt_tokens") or 0)
        cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        written = int(usage.get("completion_tokens") or 0)
        thoughts = int((usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0)
        # Some servers leave thinking out of completion_tokens and count it in the total alone, or beside it.
        written += thoughts if thoughts > written else 0
        output = max(written, int(usage.get("total_tokens") or 0) - prompt)
        if not isinstance(thought, str | None) or not isinstance(word, str | None):
            raise TypeError
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        problem = body.get("error") if isinstance(body, dict) else None
        raise ValueError(f"the server's answer is no chat completion{f': {problem}' if problem else ''}") from None
    reason, said = _reason(word, output >= max_tokens, bool(text)), text
    if thought:
        unfinished = not text and reason == "length"
        text = f"<think>{thought}" if unfinished else f"<think>{thought}</think>{text}"
    tokens = choice["logprobs"].get("content") if isinstance(choice.get("logprobs"), dict) else None
    return {
        "text": text,
        "finish_reason": reason,
        "finish_word": word[:40] if word and word != reason else "",
        "error": "" if reason != "error" else f"the server ended the answer: {word or 'no reason given'}",
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "output_tokens": output,
        "logprobs": of_completion(tokens, said, len(text) - len(said)),
    }


def _content(content: Any) -> tuple[str, str]:
    """Text and thinking of a message's content, which is text, nothing, or a list of parts.

    Raises:
        TypeError, KeyError: a part is neither text nor thinking.
    """
    if isinstance(content, str | None):
        return content or "", ""
    texts: dict[str, list[str]] = {"text": [], "thinking": []}
    for part in content:
        kind = {"output_text": "text", "reasoning": "thinking"}.get(part["type"], part["type"])
        value = part[kind] if kind in part else part["text"]
        texts[kind].append(value if isinstance(value, str) else "".join(_content(value)))
    return "".join(texts["text"]), "".join(texts["thinking"])


def _reason(word: str | None, at_limit: bool, has_text: bool) -> str:
    """What a server's word means: "stop", "length" or "error". Text without any word ended, unless its tokens did."""
    if word is None and has_text:
        return "length" if at_limit else "stop"
    folded = (word or "").casefold()
    return "stop" if folded in _STOPS else "length" if folded in _LENGTHS else "error"


def wished_wait(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait before the next attempt, given as such, as milliseconds or as a date; 0 where
    it does not say, or says nothing that can be read.
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else 0.0
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
