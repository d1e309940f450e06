"""transformers in the child process: the fall-back where vLLM is missing, and the reference of the contract tests.

Own decoding loop, because each row of a batch has its own seed, limits, schema and thinking budget, and leaves when it
is done. Left padding, batches by length. No prefix cache.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import transformers
import xgrammar
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from llmhar.ask.engines.logprobs import LEAST, TOP
from llmhar.ask.engines.worker import Emit, Inbox, Task, logprobs_of, render, seed_of, sentence, separators, too_long


@dataclass
class Row:
    """A request inside a batch."""

    task: Task
    random: torch.Generator
    limit: int
    """Most tokens this row may generate."""
    phase: Literal["before", "thinking", "answer"]
    """Where it stands: a thinking block may come, is open, or is past (or the model has none)."""
    grammar: xgrammar.GrammarMatcher | None = None
    tokens: list[int] = field(default_factory=list)
    thought: int = 0
    reason: str = ""
    likely: list[dict[int, float]] = field(default_factory=list)
    """For each token the likeliest ones at its place, where the request wants to know."""


class TransformersBackend:
    """A model behind transformers, in the form of :class:`llmhar.ask.engines.worker.Backend`."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._cuda = torch.cuda.is_available()
        dtype_name = config.get("dtype") or "auto"
        dtype = getattr(torch, dtype_name) if dtype_name != "auto" else torch.bfloat16 if self._cuda else torch.float32
        options = {"revision": config.get("revision")} if config.get("revision") else {}
        self._tokenizer = AutoTokenizer.from_pretrained(config["model"], **options)
        model = AutoModelForCausalLM.from_pretrained(config["model"], dtype=dtype, use_safetensors=True, **options)
        self._adapters = {path: f"adapter{n}" for n, path in enumerate(config.get("adapters") or {})}
        for path, name in self._adapters.items():
            model.load_adapter(path, adapter_name=name)
        if self._adapters:
            model.disable_adapters()
        self._model = model.to("cuda" if self._cuda else "cpu").eval()
        self._dtype = str(dtype).removeprefix("torch.")
        longest = self._model.config.max_position_embeddings
        self._limit: int = config.get("max_model_len") or (longest if self._cuda else min(longest, 4096))
        self._batch = config.get("max_num_seqs") or (32 if self._cuda else 8)
        ends = self._model.generation_config.eos_token_id
        self._ends = {*(ends if isinstance(ends, list) else [ends]), self._tokenizer.eos_token_id} - {None}
        number = self._tokenizer.convert_tokens_to_ids
        self._open: int = number("<think>") if config.get("thinking") else -1
        self._close: int = number("</think>") if config.get("thinking") else -1
        info = xgrammar.TokenizerInfo.from_huggingface(
            self._tokenizer, vocab_size=self._model.config.vocab_size, stop_token_ids=sorted(self._ends)
        )
        self._grammars = xgrammar.GrammarCompiler(info)

    def info(self) -> dict[str, Any]:
        """Version of the package, number format, device, context length, requests wanted at once."""
        device = f"cuda:{torch.cuda.get_device_name()}" if self._cuda else "cpu"
        return {"version": transformers.__version__, "dtype": self._dtype, "device": device,
                "max_model_len": self._limit, "in_flight": max(256, 4 * self._batch)}  # fmt: skip

    def run(self, inbox: Inbox, emit: Emit) -> None:
        """Answer until the inbox is closed."""
        rows: list[Row] = []
        while True:
            idle = not rows
            tasks = inbox.poll(wait=idle)
            if idle and not inbox.closed:
                time.sleep(0.02)  # the parent is still writing: what follows belongs into the same batch
                tasks += inbox.poll(wait=False)
            if inbox.closed:
                return
            if inbox.cancelled:
                rows.clear()
            rows += [row for task in tasks if (row := self._prepare(task, emit))]
            rows.sort(key=lambda row: (row.task.request.adapter_path or "", len(row.task.prompt)))
            same = [r for r in rows[: self._batch] if _adapter(r) == _adapter(rows[0])]
            rows = rows[len(same) :]
            self._answer(same, inbox, emit)

    def _prepare(self, task: Task, emit: Emit) -> Row | None:
        request = task.request
        try:
            render(self._tokenizer, task)
            if request.sampling.thinking_budget is not None and self._close < 0:
                raise ValueError("thinking_budget is not offered: this model has no thinking mode")
            if _adapter_path(request.adapter_sha256, request.adapter_path) not in {None, *self._adapters}:
                raise ValueError(f"the engine was not started with adapter {request.adapter_path}")
            grammar = self._grammar(request.schema)
        except Exception as error:
            emit(task, finish_reason="error", error=sentence(error), prompt_tokens=len(task.prompt))
            return None
        if problem := too_long(task.prompt, self._limit):
            emit(task, finish_reason="error", error=problem, prompt_tokens=len(task.prompt))
            return None
        limit = min(request.sampling.max_tokens, self._limit - len(task.prompt))
        random = torch.Generator().manual_seed(seed_of(request))
        phase = self._phase(task.prompt)
        # As vLLM counts: what the prompt holds after its own opening mark (a line break) is spent budget.
        spent = task.prompt[::-1].index(self._open) if phase == "thinking" else 0
        return Row(task, random, limit, phase, grammar, thought=spent)

    def _grammar(self, schema: Any) -> xgrammar.GrammarMatcher | None:
        if not schema:
            return None
        compiled = self._grammars.compile_json_schema(
            json.dumps(schema), any_whitespace=False, separators=separators(schema)
        )
        return xgrammar.GrammarMatcher(compiled)

    def _phase(self, prompt: list[int]) -> Literal["before", "thinking", "answer"]:
        """What the prompt's last turn says of thinking: Qwen3's template closes an empty block to switch it off."""
        if self._close < 0:
            return "answer"
        specials = set(self._tokenizer.all_special_ids)
        turn = next((n for n in range(len(prompt) - 1, -1, -1) if prompt[n] in specials), 0)
        marks = [t for t in prompt[turn:] if t in (self._open, self._close)]
        return "before" if not marks else "thinking" if marks[-1] == self._open else "answer"

    def _answer(self, rows: list[Row], inbox: Inbox, emit: Emit) -> None:
        started = time.perf_counter()
        left = list(rows)
        try:
            self._use(_adapter(rows[0]) if rows else None)
            with torch.inference_mode():
                for row in self._decode(left, inbox):
                    emit(row.task, seconds=round(time.perf_counter() - started, 4), **self._result(row))
                    left.remove(row)
        except Exception as error:  # out of memory, a broken grammar: this batch only
            for row in left:
                emit(row.task, finish_reason="error", error=sentence(error), prompt_tokens=len(row.task.prompt))

    def _use(self, adapter: str | None) -> None:
        if adapter is not None:
            self._model.enable_adapters()
            self._model.set_adapter(self._adapters[adapter])
        elif self._adapters:
            self._model.disable_adapters()

    def _decode(self, rows: list[Row], inbox: Inbox) -> Iterator[Row]:
        """Yield each row when it is done."""
        rows, device = list(rows), self._model.device
        width = max((len(r.task.prompt) for r in rows), default=0)
        pad = min(self._ends)
        ids = torch.tensor([[pad] * (width - len(r.task.prompt)) + r.task.prompt for r in rows], device=device)
        places = torch.arange(width, device=device)
        mask = torch.stack([places >= width - len(r.task.prompt) for r in rows]).long()
        position = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        while rows and not inbox.interrupted:
            logits = self._model(input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=cache,
                                 use_cache=True, logits_to_keep=1).logits[:, -1].float().cpu()  # fmt: skip
            self._constrain(rows, logits)
            chosen = [self._next(row, scores) for row, scores in zip(rows, logits, strict=True)]
            for row, token, scores in zip(rows, chosen, logits, strict=True):
                self._advance(row, token)
                if row.task.request.logprobs:
                    row.likely.append(_likely(scores, token))
            yield from (row for row in rows if row.reason)
            keep = [n for n, row in enumerate(rows) if not row.reason]
            ids = torch.tensor([[chosen[n]] for n in keep], device=device)
            position = position[keep, -1:] + 1
            mask = torch.cat([mask[keep], mask.new_ones((len(keep), 1))], dim=1)
            if len(keep) < len(rows):
                rows = [rows[n] for n in keep]
                if rows:
                    cache.batch_select_indices(torch.tensor(keep, device=device))

    def _constrain(self, rows: list[Row], logits: torch.Tensor) -> None:
        """Forbid what the schemas forbid, in rows whose thinking is over."""
        bound = [n for n, row in enumerate(rows) if row.grammar and row.phase == "answer"]
        if not bound:
            return
        bits = xgrammar.allocate_token_bitmask(len(rows), logits.shape[-1])
        for n in bound:
            grammar = rows[n].grammar
            assert grammar is not None
            grammar.fill_next_token_bitmask(bits, n)
        xgrammar.apply_token_bitmask_inplace(logits, bits, indices=bound)

    def _next(self, row: Row, scores: torch.Tensor) -> int:
        """The row's next token; its draw depends on its own seed only, not on the batch."""
        sampling = row.task.request.sampling
        budget = sampling.thinking_budget
        if budget is not None and row.phase == "thinking" and row.thought >= budget:
            return self._close
        if sampling.temperature <= 0:
            return int(scores.argmax())
        scores = scores / sampling.temperature
        if 0 < sampling.top_k < scores.numel():
            scores = scores.masked_fill(scores < scores.topk(sampling.top_k).values[-1], -torch.inf)
        if sampling.top_p < 1:
            ordered, places = scores.sort(descending=True)
            shares = ordered.softmax(-1)
            scores = scores.index_fill(0, places[shares.cumsum(-1) - shares >= sampling.top_p], -torch.inf)
        # Gumbel noise and arg-max is the same as drawing from the softmax.
        noise = -torch.empty_like(scores).exponential_(generator=row.random).log()
        return int((scores + noise).argmax())

    def _advance(self, row: Row, token: int) -> None:
        if row.grammar and row.phase == "answer" and not row.grammar.accept_token(token):
            raise ValueError(f"the grammar refused token {token}")
        row.tokens.append(token)
        row.thought += row.phase == "thinking"
        if token == self._open and row.phase == "before":
            row.phase = "thinking"
        elif token == self._close:
            row.phase = "answer"
        if token in self._ends:
            row.reason = "stop"
        elif len(row.tokens) >= row.limit:
            row.reason = "length"

    def _result(self, row: Row) -> dict[str, Any]:
        text = self._tokenizer.decode(row.tokens, skip_special_tokens=True)
        likely = logprobs_of(self._tokenizer, row.task, row.tokens, row.likely, text)
        return {"text": text, "finish_reason": row.reason, "prompt_tokens": len(row.task.prompt),
                "output_tokens": len(row.tokens), **likely}  # fmt: skip


def _likely(scores: torch.Tensor, token: int) -> dict[int, float]:
    """The likeliest tokens and ``token``, with their logarithms at temperature 1; what a schema forbids is none."""
    logprobs = scores.log_softmax(-1)
    best = logprobs.topk(min(TOP, logprobs.numel()))
    return {number: value for number, value in zip(best.indices.tolist(), best.values.tolist()) if value > LEAST} | {
        token: max(float(logprobs[token]), LEAST)
    }


def _adapter_path(sha256: str | None, path: str | None) -> str | None:
    return path if sha256 is not None else None


def _adapter(row: Row) -> str | None:
    return _adapter_path(row.task.request.adapter_sha256, row.task.request.adapter_path)
