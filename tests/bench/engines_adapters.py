"""One vLLM engine for a model and its adapters against one engine each: part of :mod:`tests.bench.engines`.

Students are small and starting an engine is slow, so most of the gain is starts that are not made. The adapters are
random: what they say does not matter, that each says something of its own does.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine
from llmhar.ask.engines.registry import open_engine
from llmhar.ask.models import MODELS, Adapter, Local, ModelSpec
from llmhar.records import Generation, Request, Sampling
from tests.bench.engines_steps import spread
from tests.bench.verdicts import Claim, at_least

if TYPE_CHECKING:
    from tests.bench.engines import Bench

MODEL, RANK, N_ADAPTERS, MAX_TOKENS = "smollm2-135m-l4", 8, 3, 32
CLAIM = f"a model and {N_ADAPTERS} adapters in one vLLM engine against one engine each, starts included"
FIGURE = 1.0
"""The issue names no figure: sharing an engine should at least not cost anything."""
Opener = Callable[[Sequence[Path]], Engine]


def write_adapter(model: ModelSpec, seed: int, folder: Path) -> ModelSpec:
    """The model with a random LoRA adapter in PEFT's files, strong enough to change its answers.

    Args:
        model: the base.
        seed: of the adapter's weights.
        folder: where its folder is made.
    """
    home = Path(model.locate())
    sizes = json.loads((home / "config.json").read_text(encoding="utf-8"))
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    random, tensors = np.random.default_rng(seed), {}
    for layer in range(sizes["num_hidden_layers"]):
        name = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        tensors[f"{name}.lora_A.weight"] = random.normal(0, 0.1, (RANK, inner)).astype("float32")
        tensors[f"{name}.lora_B.weight"] = random.normal(0, 0.1, (width, RANK)).astype("float32")
    place = folder / f"adapter-{seed}"
    place.mkdir(parents=True)
    weights = place / "adapter_model.safetensors"
    save_file(tensors, weights)
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": RANK, "lora_dropout": 0.0,
                "target_modules": ["down_proj"], "bias": "none", "base_model_name_or_path": model.name}  # fmt: skip
    (place / "adapter_config.json").write_text(json.dumps(settings))
    adapter = Adapter(path=place, sha256=hashlib.sha256(weights.read_bytes()).hexdigest())
    return model.model_copy(update={"name": f"{model.name}+{seed}", "adapter": adapter, "source": Local(path=home)})


def serve(open_with: Opener, groups: Mapping[Path | None, Sequence[Request]]) -> tuple[float, list[Generation]]:
    """Start an engine for these adapters (None = the base), answer all requests, close it; seconds and answers.

    Raises:
        RuntimeError: not every request was answered.
    """
    begun = perf_counter()
    with open_with([path for path in groups if path is not None]) as engine:
        found = list(engine.stream([request for requests in groups.values() for request in requests]))
    seconds = perf_counter() - begun
    if len(found) != sum(map(len, groups.values())) or not all(generation.ok for generation in found):
        raise RuntimeError(f"not every request was answered: {[g.error for g in found if not g.ok][:1]}")
    return seconds, found


def one_round(open_with: Opener, groups: Mapping[Path | None, Sequence[Request]]) -> tuple[float, float, int]:
    """Seconds of one engine for all, of one engine each, and how many of the first's answers are different texts."""
    together, answers = serve(open_with, groups)
    apart = sum(serve(open_with, {path: requests})[0] for path, requests in groups.items())
    return together, apart, len({generation.text for generation in answers})


def adapter_claim(rounds: Sequence[tuple[float, float, int]], requests: int) -> Claim:
    """Seconds apart over seconds together, in pairs."""
    ratios = [apart / together for together, apart, _ in rounds]
    seconds = statistics.median(together for together, *_ in rounds)
    why = (
        f"{spread(ratios)}; {requests} requests of {MAX_TOKENS} tokens, {MODEL}, rank {RANK}: {seconds:.0f} s in one; "
        f"{min(different for *_, different in rounds)} different answers"
    )
    return at_least(CLAIM, FIGURE, statistics.median(ratios), "×", why=why)


def measure(bench: Bench, n: int) -> Claim:
    """n windows to the base and to each adapter, first in one engine, then in one each."""
    base, task = MODELS[MODEL], bench.windows(n)
    models = [base, *(write_adapter(base, seed, bench.folder / "adapters") for seed in range(N_ADAPTERS))]
    sampling, own = Sampling(max_tokens=MAX_TOKENS), {"threads": bench.threads}
    groups = {
        model.adapter.path if model.adapter else None: [
            ask.request for ask in inference.make_asks(task, model, asking=Asking(sampling=sampling))
        ]
        for model in models
    }
    rounds = [
        one_round(lambda paths: bench.noted.watch(open_engine("vllm", base, {"adapters": paths, **own})), groups)
        for _ in range(bench.rounds)
    ]
    return adapter_claim(rounds, n * len(models))
