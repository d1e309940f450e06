"""vLLM in the child process: the same code for its CUDA build and its CPU build.

Drives ``llm.llm_engine`` step by step so that each result leaves as it finishes (``LLM.chat`` returns only when all
are done). Its only queue policy: a prompt waits while another computes a prefix that both share.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "2")  # GiB
# One process fewer, and on CPU the thread count set by the parent stays in force.
os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
os.environ.setdefault("VLLM_HOST_IP", "127.0.0.1")

import vllm
import xgrammar
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

from llmhar.ask.engines.logprobs import LEAST, TOP
from llmhar.ask.engines.registry import multiplies_bfloat16
from llmhar.ask.engines.worker import Emit, Inbox, Task, logprobs_of, render, seed_of, sentence, separators, too_long
from llmhar.text.schema import is_spaced

BLOCK = 32
"""Tokens of a cache block on CPU: prefixes are shared in whole blocks (vLLM's own default there is 128)."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for max_lora_rank."""


def _bound(schema: Mapping[str, Any]) -> StructuredOutputsParams:
    """How vLLM binds an answer. It knows one spacing for all; another goes as the grammar that xgrammar makes of it."""
    if not is_spaced(schema):
        return StructuredOutputsParams(json=dict(schema))
    return StructuredOutputsParams(grammar=_spaced_grammar(json.dumps(dict(schema))))


@lru_cache(maxsize=256)
def _spaced_grammar(schema: str) -> str:
    parted_by = separators(json.loads(schema))
    return str(xgrammar.Grammar.from_json_schema(schema, any_whitespace=False, separators=parted_by))


@dataclass
class Running:
    """A request inside vLLM."""

    task: Task
    blocks: list[int]
    """Hashes of the prompt blocks that this request is the first to compute."""
    pieces: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    likely: list[dict[int, float]] = field(default_factory=list)
    """For each token the likeliest ones at its place, where the request wants to know."""
    warm: bool = False
    """Whether its prefill is done."""


class PrefixGate:
    """Lets a prompt through unless its next uncached block is being computed by another prompt.

    Sent all at once, prompts with one prefix each compute it (cached share 0.4); one first and then the rest gave
    0.76. Blocks are compared by chained hashes, so any shared beginning counts, whatever message it ends in.
    """

    def __init__(self, block: int) -> None:
        self._block = block
        self._warm: set[int] = set()
        self._computing: Counter[int] = Counter()

    def hashes(self, prompt: list[int], adapter: str | None) -> list[int]:
        """Chained hashes of the prompt's whole blocks."""
        chain, hashes = hash(adapter), []
        for start in range(0, len(prompt) - len(prompt) % self._block, self._block):
            chain = hash((chain, *prompt[start : start + self._block]))
            hashes.append(chain)
        return hashes

    def enter(self, hashes: list[int]) -> list[int] | None:
        """The blocks that the prompt must compute, now marked as its own; None = wait."""
        cold = [h for h in hashes if h not in self._warm]
        if cold and self._computing[cold[0]]:
            return None
        self._computing.update(cold)
        return cold

    def leave(self, cold: list[int], *, computed: bool) -> None:
        """The prompt's prefill is done, or it was given up."""
        self._computing.subtract(cold)
        self._computing += Counter()  # drops zeros
        if computed:
            if len(self._warm) > 1_000_000:  # a hint only: vLLM's own cache forgot most of these long ago
                self._warm.clear()
            self._warm.update(cold)


class VllmBackend:
    """A model behind vLLM, in the form of :class:`llmhar.ask.engines.worker.Backend`."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._thinking = bool(config.get("thinking"))
        self._adapters: dict[str, int] = {path: n for n, path in enumerate(config.get("adapters") or {}, start=1)}
        cpu = current_platform.is_cpu()
        self._take_turns = cpu and bool(self._adapters)
        limit = config.get("max_model_len") or (min(config.get("max_context") or 4096, 4096) if cpu else None)
        self._seqs = config.get("max_num_seqs") or (32 if cpu else 256)
        wanted = config.get("dtype") or "auto"
        options: dict[str, Any] = {
            "dtype": "float32" if wanted == "auto" and cpu and not multiplies_bfloat16() else wanted,
            "revision": config.get("revision"),
            "tokenizer_revision": config.get("revision"),
            "max_model_len": limit,
            "max_num_seqs": self._seqs,
            "tensor_parallel_size": 1 if cpu else config.get("tensor_parallel_size") or 1,  # cards, and a CPU has none
            "enable_prefix_caching": True,
            # As the worker's separators: all engines enforce the same language.
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        }
        if self._thinking:
            # Without a reasoning parser a schema is enforced from the first token, which silently forbids thinking.
            options["reasoning_parser"] = "qwen3"
        if self._adapters:
            rank = max(config["adapters"].values())
            options |= {"enable_lora": True, "max_loras": min(len(self._adapters), 4),
                        "max_lora_rank": next(r for r in LORA_RANKS if r >= rank)}  # fmt: skip
        if cpu:
            # Compiling takes minutes and gains 6-11 %.
            options |= {"enforce_eager": True, "block_size": BLOCK}
            # A prompt read in pieces draws tokens that are thrown away and sets the request's random stream back,
            # which CPU generators cannot: seeded sampling above temperature 0 would end the process.
            options |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(limit or 0, 4096)}
        self._llm = LLM(config["model"], **options)
        self._engine = self._llm.llm_engine
        self._tokenizer = self._llm.get_tokenizer()
        model = self._engine.vllm_config.model_config
        self._limit = int(model.max_model_len)
        self._dtype = str(model.dtype).removeprefix("torch.")
        self._gate = PrefixGate(int(self._engine.vllm_config.cache_config.block_size))
        self._running: dict[str, Running] = {}
        self._waiting: list[tuple[Task, list[int]]] = []

    def info(self) -> dict[str, Any]:
        """Version of the package, number format, device, context length, requests wanted at once."""
        device = "cpu" if current_platform.is_cpu() else f"cuda:{current_platform.get_device_name()}"
        return {"version": vllm.__version__, "dtype": self._dtype, "device": device, "max_model_len": self._limit,
                "in_flight": max(256, 4 * self._seqs)}  # fmt: skip

    def run(self, inbox: Inbox, emit: Emit) -> None:
        """Answer until the inbox is closed."""
        while True:
            tasks = inbox.poll(wait=not (self._running or self._waiting))
            if inbox.closed:
                return self._engine.engine_core.shutdown()  # processes of tensor parallelism
            if inbox.cancelled:
                self._abort()
            for task in tasks:
                self._prepare(task, emit)
            changed = bool(tasks) | self._step(emit) or not self._running
            while changed:  # a request that fails on entering may have held others back
                changed = self._admit(emit)

    def _prepare(self, task: Task, emit: Emit) -> None:
        try:
            render(self._tokenizer, task)
        except Exception as error:
            return emit(task, finish_reason="error", error=sentence(error))
        if problem := too_long(task.prompt, self._limit):
            return emit(task, finish_reason="error", error=problem, prompt_tokens=len(task.prompt))
        self._waiting.append((task, self._gate.hashes(task.prompt, task.request.adapter_sha256)))
        return None

    def _admit(self, emit: Emit) -> bool:
        """Give vLLM every waiting request that the gate lets through; True if one failed."""
        held, failed = [], False
        for task, hashes in self._waiting:
            cold = self._gate.enter(hashes) if self._fits(task) else None
            if cold is None:
                held.append((task, hashes))
                continue
            task.started = time.perf_counter()
            try:
                prompt = self._engine.renderer.render_cmpl([{"prompt_token_ids": task.prompt}])[0]
                self._engine.add_request(str(task.id), prompt, self._params(task), lora_request=self._lora(task))
            except Exception as error:  # a schema or a value that vLLM refuses
                self._gate.leave(cold, computed=False)
                emit(task, finish_reason="error", error=sentence(error), prompt_tokens=len(task.prompt))
                failed = True
            else:
                self._running[str(task.id)] = Running(task, cold)
        self._waiting = held
        return failed

    def _fits(self, task: Task) -> bool:
        """Whether a request may share a batch with those that run.

        vLLM's LoRA code for CPU (lora/ops/torch_ops) looks weights up by index, and no adapter is index -1: in a batch
        that has adapters too, requests without one silently get the last one. So the two kinds take turns.
        """
        if not self._take_turns or not self._running:
            return True
        other = next(iter(self._running.values())).task
        return (other.request.adapter_sha256 is None) == (task.request.adapter_sha256 is None)

    def _params(self, task: Task) -> SamplingParams:
        sampling, schema = task.request.sampling, task.request.schema
        if sampling.thinking_budget is not None and not self._thinking:
            raise ValueError("thinking_budget is not offered: this model has no thinking mode")
        return SamplingParams(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_tokens=sampling.max_tokens,
            seed=seed_of(task.request),
            thinking_token_budget=sampling.thinking_budget,
            structured_outputs=_bound(schema) if schema else None,
            logprobs=TOP if task.request.logprobs else None,  # "raw" ones: at temperature 1, behind the schema's mask
            output_kind=RequestOutputKind.DELTA,
        )

    def _lora(self, task: Task) -> LoRARequest | None:
        path = task.request.adapter_path
        if task.request.adapter_sha256 is None:
            return None
        if path not in self._adapters:
            raise ValueError(f"the engine was not started with adapter {path}")
        return LoRARequest(task.request.adapter_sha256, self._adapters[path], path)  # folders may share a name

    def _step(self, emit: Emit) -> bool:
        """One step of vLLM; True if a prefix became warm, so that others may enter."""
        if not self._running:
            return False
        changed = False
        for output in self._engine.step():
            running = self._running.get(output.request_id)
            if running is None:
                continue
            if not running.warm:
                running.warm = changed = True
                self._gate.leave(running.blocks, computed=True)
            part = output.outputs[0]
            running.pieces.append(part.text)
            running.tokens += part.token_ids
            for place in part.logprobs or ():
                running.likely.append({number: max(one.logprob, LEAST) for number, one in place.items()})
            if output.finished:
                del self._running[output.request_id]
                self._finish(running, part.finish_reason, output.num_cached_tokens or 0, emit)
        return changed

    def _finish(self, running: Running, reason: str | None, cached: int, emit: Emit) -> None:
        ended, text = reason in ("stop", "length"), "".join(running.pieces)
        emit(
            running.task,
            text=text,
            finish_reason=reason if ended else "error",
            error="" if ended else f"vLLM gave up on the request ({reason})",
            prompt_tokens=len(running.task.prompt),
            cached_tokens=cached,
            output_tokens=len(running.tokens),
            seconds=round(time.perf_counter() - running.task.started, 4),
            **logprobs_of(self._tokenizer, running.task, running.tokens, running.likely, text),
        )

    def _abort(self) -> None:
        self._engine.abort_request(list(self._running))
        for running in self._running.values():
            if not running.warm:
                self._gate.leave(running.blocks, computed=False)
        self._running.clear()
        self._waiting.clear()
