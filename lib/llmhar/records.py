"""Records of what was asked and answered: requests, generations, predictions. Plain data, no I/O.

A :class:`Request` is everything that can change an answer's distribution; :attr:`Request.key` hashes exactly that.
Where it ran (engine, version, dtype, device) is a :class:`Fingerprint` and stands beside the key, not in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property, lru_cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple

Verdict = Literal["ok", "missing", "duplicate", "unknown_label", "cut", "malformed"]
VERDICTS: tuple[Verdict, ...] = ("ok", "missing", "duplicate", "unknown_label", "cut", "malformed")

Purpose = Literal["study", "timed", "probe", "reask"]
"""What a window was asked for: the study's scores; its time, alone and not in a batch; whether a label follows cited
evidence; or by a person who changed the window by hand."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same value always gives the same bytes.

    Raises:
        ValueError: NaN or infinity, which JSON has no word for.
    """
    return _encode(value)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; which of two equal keys was meant cannot be known.

    Raises:
        ValueError: a key stands twice.
    """
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("duplicate key")
    return made


def sha256_of(value: Any) -> str:
    """Hash of the canonical JSON of ``value``, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Share of probability kept, 1 = all."""
    top_k: int = 0
    """Number of tokens kept, 0 = all."""
    max_tokens: int = 512
    """Most tokens generated, thinking included."""
    seed: int = 0
    """Seed of this request's own random stream; the batch it runs in does not matter."""
    thinking_budget: int | None = None
    """Most thinking tokens before the engine closes the thinking block; None = no limit."""


class Pieces(NamedTuple):
    """A request as canonical JSON in pieces of which many requests share most."""

    rest: str
    """Everything but schema and texts of messages."""
    schema: str
    texts: tuple[str, ...]
    """Of each message."""


@dataclass(frozen=True)
class Request:
    """One question to one model."""

    model_id: str
    """Hub id, or the package a model comes from."""
    revision: str
    """Pinned commit or sha256 of the weights' source."""
    tokenizer_sha256: str
    """Hash of tokenizer and chat-template files; empty for engines that have none."""
    messages: tuple[Mapping[str, str], ...]
    """Chat turns, each {"role", "content"}; static text first, the window last."""
    template_args: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the chat template, e.g. {"enable_thinking": false} for Qwen3."""
    sampling: Sampling = field(default_factory=Sampling)
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer (after thinking) must follow; None = free text."""
    adapter_sha256: str | None = None
    """Hash of the LoRA adapter's weights; None = the base model."""
    sample_index: int = 0
    """k-th sample of the same question."""
    adapter_path: str | None = None
    """Where the adapter lies on this machine: not part of the key."""
    logprobs: bool = False
    """Whether the answer comes with how likely each of its tokens was; part of key and JSON only where it is on, so
    that those of answers without stay what they were."""

    @cached_property
    def key(self) -> str:
        """sha256 over everything but the adapter's path."""
        static = tuple(tuple(message.items()) for message in self.messages[:-1])
        drawn = _sampling_json(*_drawn_of(self.sampling))
        before, after = _around(static, drawn, _field_json(self.template_args), _field_json(self.schema),
                                self.logprobs, *_plain_of(self))  # fmt: skip
        last = canonical_json(dict(self.messages[-1])) if self.messages else ""
        hashed = before.copy()
        hashed.update(f"{last}{after}".encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary that :meth:`from_json` reads back."""
        parts = {**asdict(self), "messages": [dict(m) for m in self.messages]}
        return parts if self.logprobs else {name: value for name, value in parts.items() if name != "logprobs"}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Request:
        """Inverse of :meth:`to_json`."""
        return cls(**{**value, "messages": tuple(value["messages"]), "sampling": Sampling(**value["sampling"])})

    def pieces(self) -> Pieces:
        """The whole request, for :meth:`from_pieces`."""
        rest = self.to_json()
        schema = canonical_json(rest.pop("schema"))
        texts = tuple(canonical_json(message.pop("content")) for message in rest["messages"])
        return Pieces(canonical_json(rest), schema, texts)

    @classmethod
    def from_pieces(cls, rest: str, schema: str, *texts: str) -> Request:
        """Inverse of :meth:`pieces`."""
        read = json.loads(rest)
        messages = [m | {"content": json.loads(text)} for m, text in zip(read["messages"], texts, strict=True)]
        return cls.from_json(read | {"messages": messages, "schema": json.loads(schema)})


_DRAWN = sorted(field.name for field in fields(Sampling))
_MADE = ("messages", "sampling", "template_args", "schema", "logprobs", "adapter_path")
"""Fields of a request that are encoded in their own way; the path is no part of the key."""
_PLAIN = sorted({field.name for field in fields(Request)} - set(_MADE))
_drawn_of, _plain_of = attrgetter(*_DRAWN), attrgetter(*_PLAIN)


@lru_cache(1000, typed=True)
def _around(static: tuple[tuple[tuple[str, str], ...], ...], sampling: str, template_args: str, schema: str,
            logprobs: bool, *plain: Any) -> tuple[Any, str]:  # fmt: skip
    """Hash of what stands before a request's last message in its canonical JSON, and what stands behind it: the same
    for all windows of a study.
    """
    made = {"sampling": sampling, "template_args": template_args, "schema": schema}
    made |= {name: canonical_json(value) for name, value in zip(_PLAIN, plain)}
    made |= {"messages": f"[{''.join(f'{canonical_json(dict(items))},' for items in static)}\0]"}
    made |= {"logprobs": canonical_json(logprobs)} if logprobs else {}
    before, _, after = ",".join(f'"{name}":{made[name]}' for name in sorted(made)).partition("\0")
    return hashlib.sha256(f"{{{before}".encode("utf-8", "surrogatepass")), f"{after}}}"


def _field_json(value: Mapping[str, Any] | None) -> str:
    return "null" if value is None else canonical_json(value) if value else "{}"


@lru_cache(1000, typed=True)  # 1 and True are equal, and differ in JSON
def _sampling_json(*drawn: Any) -> str:
    values = dict(zip(_DRAWN, drawn))
    for name in ("temperature", "top_p"):  # 1 and 1.0 ask for the same but differ in JSON
        values[name] = float(values[name])
    return canonical_json(values)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Where a generation was made. Two fingerprints may answer one request differently."""

    engine: str
    """Key into ``ENGINES``."""
    version: str
    """Version of the engine's package."""
    dtype: str
    """Number format of the weights in memory; empty where there are none."""
    device: str
    """"cpu", "cuda:<card name>", or empty."""
    options: str = ""
    """Options that it was opened with and that can change a text; empty where all had their defaults."""

    def __str__(self) -> str:
        """The line that tables, figures and records show: what is known of the five, in their order."""
        return " ".join(filter(None, (self.engine, self.version, self.dtype, self.device, self.options)))

    def to_json(self) -> dict[str, str]:
        """A JSON-ready dictionary, without options where there are none: so are older stores' fingerprints."""
        return {name: value for name, value in asdict(self).items() if value or name != "options"}


@dataclass(frozen=True, slots=True)
class Generation:
    """What came back for one request: an answer, or the reason there is none. Raw text only, parsed later."""

    request_key: str
    text: str = ""
    """Everything generated, thinking marks included."""
    finish_reason: str = ""
    """"stop", "length", or "error"."""
    error: str = ""
    """One line; empty on success."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens served from the prefix cache."""
    output_tokens: int = 0
    seconds: float = 0.0
    """Wall time from being given to the engine's loop to being finished; batched requests overlap."""
    finish_word: str = ""
    """The server's own word for ``finish_reason`` where it is another, e.g. "eos_token"."""
    logprobs: str = ""
    """How likely the text was, where that was asked for and the engine can tell: JSON of [first character, behind the
    last one, natural logarithm] for each token that was not certain. Kept as text: ten thousand answers read would take
    hundreds of megabytes. Empty = not known."""

    @property
    def ok(self) -> bool:
        """Whether the engine answered (whatever the answer is worth)."""
        return not self.error


class Prediction(NamedTuple):
    """What an answer says of one event (a named tuple: a study makes hundreds of thousands)."""

    event: int
    """Position in the window, from 0: the id that the prompt showed."""
    verdict: Verdict
    label: int | None
    """Activity number, None where the answer names none that is valid."""
