"""Replies from a JSONL file instead of a model: tests and the smoke profile. Loads nothing, starts nothing.

One JSON object a line, the first rule that fits a request gives its reply:

1. ``{"key": "<request key>", ...}``: exactly this request (what :func:`record` writes from a real run);
2. ``{"match": "<text>", ...}``: requests whose last message contains the text, first such line in the file;
3. ``{"default": true, ...}``: any other request.

Beside the rule a line holds ``text`` and may hold ``finish_reason`` ("stop"), ``error``, ``prompt_tokens``,
``cached_tokens``, ``output_tokens`` (white-space words where not given), ``logprobs`` (how likely the text was),
``delay_s`` (slept before the reply) and ``times`` (how often a match or default line answers before the next fitting
one does).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from llmhar import __version__, paths
from llmhar.ask.engines.base import EngineError
from llmhar.records import Fingerprint, Generation, Request, canonical_json

_RULES = {"key", "match", "default"}
_REPLY = {"text", "finish_reason", "error", "prompt_tokens", "cached_tokens", "output_tokens", "seconds", "logprobs"}
_OTHER = {"delay_s", "times", "comment"}


class RecordedEngine:
    """Answers from a file of replies."""

    def __init__(self, replies: Path | str) -> None:
        """Read the file.

        Raises:
            EngineError: No such file, or a line that is no reply: names file and line.
        """
        self._path = Path(replies)
        self._by_key: dict[str, dict[str, Any]] = {}
        self._rules: list[dict[str, Any]] = []
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise EngineError(f"cannot read the replies in {self._path}: {error.strerror}") from error
        for number, line in enumerate(lines, start=1):
            if line.strip():
                self._add(number, line)
        self._rules.sort(key=lambda reply: "default" in reply)  # stable: matches keep their order, defaults last

    def _add(self, number: int, line: str) -> None:
        try:
            reply = json.loads(line)
            unknown = set(reply) - _RULES - _REPLY - _OTHER
            problem = f"unknown field {min(unknown)}" if unknown else ""
            if len(_RULES & set(reply)) != 1:
                problem = "needs exactly one of key, match, default"
        except (ValueError, TypeError) as error:
            problem = f"no JSON object ({error})"
        if problem:
            raise EngineError(f"{self._path}:{number}: {problem}")
        if "key" in reply:
            self._by_key[reply["key"]] = reply
        else:
            self._rules.append(reply)

    def fingerprint(self) -> Fingerprint:
        """Where generations of this engine are made."""
        return Fingerprint("recorded", __version__, "", "")

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Answer all requests in order; one without a reply comes back as an error."""
        for request in requests:
            started = time.perf_counter()
            reply = self._find(request)
            if reply is None:
                error = f"{self._path.name} holds no reply for this request"
                yield Generation(request.key, finish_reason="error", error=error)
                continue
            time.sleep(reply.get("delay_s", 0))
            yield _generation(request, reply, time.perf_counter() - started)

    def _find(self, request: Request) -> dict[str, Any] | None:
        if request.key in self._by_key:
            return self._by_key[request.key]
        last = request.messages[-1]["content"] if request.messages else ""
        for reply in self._rules:
            if reply.get("times", 1) > 0 and ("default" in reply or reply["match"] in last):
                if "times" in reply:
                    reply["times"] -= 1
                return reply
        return None

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _generation(request: Request, reply: dict[str, Any], seconds: float) -> Generation:
    fields = {name: reply[name] for name in _REPLY if name in reply}
    error = fields.get("error", "")
    prompt = " ".join(message["content"] for message in request.messages)
    counted = {"prompt_tokens": len(prompt.split()), "output_tokens": len(fields.get("text", "").split()),
               "seconds": round(seconds, 6), "finish_reason": "error" if error else "stop"}  # fmt: skip
    if fields.get("finish_reason") == "length":  # cut by the limit that was asked for: so many tokens it had
        counted["output_tokens"] = request.sampling.max_tokens
    return Generation(request_key=request.key, **{**counted, **fields})


def record(path: Path | str, pairs: Iterable[tuple[Request, Generation]]) -> int:
    """Write a file that replays a real run by request key, sorted by key; returns the number of lines."""
    lines = {}
    for request, generation in pairs:
        fields = {k: v for k, v in asdict(generation).items() if k in _REPLY and (v or k != "logprobs")}
        lines[request.key] = canonical_json({"key": request.key, **fields})
    paths.write_text(Path(path), "".join(lines[key] + "\n" for key in sorted(lines)))
    return len(lines)
