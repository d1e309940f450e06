"""ONNX Runtime in the child process: int8 and int4 students on a processor, as a home gateway would run them.

Serves what :mod:`llmhar.ask.engines.quantise_child` wrote, one request at a time, with our own sampling over ONNX
Runtime GenAI's key-value cache. What two prompts in a row begin with is read once. Schemas bind as in the other
engines, by llguidance, which needs no torch; where a schema leaves no choice, several tokens are read in one step. No
adapters, no thinking budget, no schema behind thinking: such requests come back as errors.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import llguidance
import numpy as np
import onnxruntime_genai as og

from llmhar.ask.engines.logprobs import LEAST, TOP
from llmhar.ask.engines.worker import (
    Emit,
    Inbox,
    Task,
    answer_in_turn,
    logprobs_of,
    render,
    seed_of,
    sentence,
    separators,
    too_long,
)
from llmhar.records import Request, Sampling

MADE = "quantised.json"
"""What the converter says of a folder: precision, block size, its own version."""
FRESH = 8
"""Tokens of a prompt that are always read again. A piece of 2 to 33 tokens gave bit for bit the logits of the whole
prompt (4 lengths, 1 and 2 threads); a single token takes another kernel and did not."""
ROOM_STEP = 512
"""The key-value cache grows by so many tokens: it is taken whole in advance, and 512 tokens of 30 layers are 24 MB."""


class OnnxBackend:
    """A model behind onnxruntime-genai, in the form of :class:`llmhar.ask.engines.worker.Backend`."""

    def __init__(self, config: dict[str, Any]) -> None:
        folder = Path(config["model"])
        if (config.get("dtype") or "auto") != "auto":
            raise ValueError("dtype is not offered: weights are as they were quantised")
        if not (folder / MADE).exists():
            raise ValueError(f"{folder} holds no quantised model: make one: llmhar models fetch llmhar-home-135m-int8")
        self._dtype: str = json.loads((folder / MADE).read_text(encoding="utf-8"))["precision"]
        settings = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
        self._tokenizer = _load_tokenizer(folder)
        self._model = _load_model(folder)
        ends = settings["eos_token_id"]
        self._ends = {*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id} - {None}
        self._n_words: int = settings["vocab_size"]
        self._words: llguidance.LLTokenizer | None = None
        """The vocabulary as schemas see it, once one is asked for."""
        self._thinking = bool(config.get("thinking"))
        self._limit: int = min(config.get("max_model_len") or 4096, settings["context_length"])
        self._generator: Any = None
        self._room = 0
        self._held: list[int] = []
        """The prompt whose keys and values the generator has."""

    def info(self) -> dict[str, Any]:
        """Version of the package, number format, device, context length, requests wanted at once."""
        return {"version": og.__version__, "dtype": self._dtype, "device": "cpu", "max_model_len": self._limit,
                "in_flight": 8}  # fmt: skip

    def run(self, inbox: Inbox, emit: Emit) -> None:
        """Answer until the inbox is closed."""
        answer_in_turn(inbox, lambda task: self._answer(task, inbox, emit))

    def _answer(self, task: Task, inbox: Inbox, emit: Emit) -> None:
        started = time.perf_counter()
        try:
            render(self._tokenizer, task)
            thinks = self._thinking and task.request.template_args.get("enable_thinking") is not False
            if problem := refusal(task.request, thinks) or too_long(task.prompt, self._limit):
                raise ValueError(problem)
            limit = min(task.request.sampling.max_tokens, self._limit - len(task.prompt))
            grammar = self._grammar(task.request.schema)
            cached = self._read(task.prompt, limit)
            tokens, likely, reason = self._decode(task.request, grammar, limit, inbox)
        except Exception as error:  # this request only
            self._held = []
            emit(task, finish_reason="error", error=sentence(error), prompt_tokens=len(task.prompt))
            return
        if reason:  # else it was cancelled
            text = self._tokenizer.decode(tokens, skip_special_tokens=True)
            emit(task, text=text, finish_reason=reason, prompt_tokens=len(task.prompt), cached_tokens=cached,
                 output_tokens=len(tokens), seconds=round(time.perf_counter() - started, 4),
                 **logprobs_of(self._tokenizer, task, tokens, likely, text))  # fmt: skip

    def _read(self, prompt: list[int], limit: int) -> int:
        """Let the model read a prompt; returns how many of its tokens the last prompt had left in the cache."""
        shared = next((n for n, (a, b) in enumerate(zip(prompt, self._held)) if a != b), len(self._held))
        kept = min(shared, len(prompt) - FRESH)
        if kept > 0 and len(prompt) + limit <= self._room:
            self._generator.rewind_to(kept)
        else:
            kept, self._room = 0, -(-(len(prompt) + limit) // ROOM_STEP) * ROOM_STEP
            self._generator = None  # gives its cache back before the next takes its own
            options = og.GeneratorParams(self._model)
            options.set_search_options(max_length=self._room, do_sample=False)
            self._generator = og.Generator(self._model, options)
        self._generator.append_tokens(np.array(prompt[kept:], dtype=np.int32))
        self._held = list(prompt)
        return kept

    def _grammar(self, schema: Any) -> llguidance.LLMatcher | None:
        """What says which tokens may come next; nothing where the request has no schema."""
        if not schema:
            return None
        if self._words is None:
            from llguidance.hf import from_tokenizer  # after _load_tokenizer: with it comes transformers

            self._words = from_tokenizer(self._tokenizer, self._n_words, sorted(self._ends))
        item, key = separators(schema)
        grammar = llguidance.LLMatcher.grammar_from_json_schema(
            schema, overrides={"whitespace_flexible": False, "item_separator": item, "key_separator": key}
        )
        matcher = llguidance.LLMatcher(self._words, grammar, log_level=0)
        _go_on(matcher)
        return matcher

    def _decode(
        self, request: Request, grammar: llguidance.LLMatcher | None, limit: int, inbox: Inbox
    ) -> tuple[list[int], list[dict[int, float]], str]:
        """The answer's tokens, the likeliest ones at each place, and why it ended; no reason where the parent wants no
        more.
        """
        random = np.random.default_rng(seed_of(request))
        tokens, likely = list[int](), list[dict[int, float]]()
        while not inbox.interrupted:
            logits = self._generator.get_logits()[0, -1]
            if grammar:
                allowed = np.frombuffer(grammar.compute_logit_bias(), np.uint8)
                _go_on(grammar)  # where it cannot, all that it allows is the end
                logits = np.where(allowed[: len(logits)] > 0, logits, -np.inf)
            tokens.append(choose(logits, request.sampling, random))
            if request.logprobs:
                likely.append(likeliest(logits, tokens[-1]))
            if tokens[-1] in self._ends:
                return tokens, likely, "stop"
            if len(tokens) >= limit:
                return tokens, likely, "length"
            forced: list[int] = []
            if grammar:
                grammar.consume_token(tokens[-1])
                forced = grammar.compute_ff_tokens()[: limit - len(tokens) - 1]
                grammar.consume_tokens(forced)
            self._generator.append_tokens(np.array([tokens[-1], *forced], dtype=np.int32))
            tokens += forced
            likely += [{one: 0.0} for one in forced if request.logprobs]
        return tokens, likely, ""


def refusal(request: Request, thinks: bool) -> str:
    """Why this engine cannot answer a request; empty if it can.

    Args:
        request: to answer.
        thinks: whether its answer begins with a thinking block, which a schema would forbid.
    """
    if request.adapter_sha256 is not None:
        return "the onnx engine takes no adapters: merge the adapter into the weights, then quantise them"
    if request.schema and thinks:
        return "the onnx engine binds no answers that begin with thinking: ask without a schema, or without thinking"
    if request.sampling.thinking_budget is not None:
        return "thinking_budget is not offered by the onnx engine"
    return ""


def _go_on(grammar: llguidance.LLMatcher) -> None:
    """Check that a matcher can go on.

    Raises:
        ValueError: it cannot: a schema that it does not know, or has no more room for.
    """
    if grammar.is_error():
        raise ValueError(f"schema: {grammar.get_error()}")


def likeliest(logits: np.ndarray, token: int) -> dict[int, float]:
    """The likeliest tokens and ``token``, with their logarithms at temperature 1; what a schema forbids is none."""
    scores = logits.astype(np.float64) - logits.max()
    logprobs = scores - np.log(np.exp(scores).sum())
    best = np.argpartition(logprobs, -min(TOP, len(logprobs)))[-TOP:]
    found = {int(number): float(logprobs[number]) for number in best if logprobs[number] > LEAST}
    return found | {token: max(float(logprobs[token]), LEAST)}


def choose(logits: np.ndarray, sampling: Sampling, random: np.random.Generator) -> int:
    """The next token: the likeliest, or a draw among those that top_k and top_p leave.

    Args:
        logits: one number a token of the vocabulary.
        sampling: temperature 0 takes the likeliest.
        random: the request's own stream; each draw takes one number from it.
    """
    if sampling.temperature <= 0:
        return int(logits.argmax())
    scores = logits.astype(np.float64) / sampling.temperature
    # Sorting 49,152 scores takes as long as computing them; all that is left out here has less than 1e-8 together.
    order = np.flatnonzero(scores > scores.max() - 30)
    order = order[scores[order].argsort(kind="stable")[::-1]]
    if sampling.top_k > 0:
        order = order[: sampling.top_k]
    shares = np.exp(scores[order] - scores[order[0]])
    ends = np.cumsum(shares / shares.sum())
    if sampling.top_p < 1:
        ends = ends[: int(np.searchsorted(ends, sampling.top_p)) + 1]
    return int(order[min(np.searchsorted(ends, random.random() * ends[-1], side="right"), len(ends) - 1)])


def _load_tokenizer(folder: Path) -> Any:
    # transformers imports torch where it finds it: 550 MB in memory, not 136, for a tokenizer that needs none.
    sys.modules["torch"] = None  # type: ignore[assignment]
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _load_model(folder: Path) -> Any:
    og.disable_telemetry_events()  # the rest is ORT_DISABLE_TELEMETRY's (child.py): it must be set before the import
    runtime = og.Config(str(folder))
    options = {"intra_op_num_threads": int(os.environ.get("OMP_NUM_THREADS", "1")), "enable_cpu_mem_arena": False}
    runtime.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
    return og.Model(runtime)
