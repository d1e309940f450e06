"""The same windows through vllm and transformers: how far they agree, how fast each is: ``make bench ONLY=agreement``.

Greedy answers of one model can differ between engines (dtype, kernels, batching): the table says how often, it does
not promise that they never do. Engines run one after the other, on an idle machine.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.registry import open_engine
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import narrow, prepare
from llmhar.data.events import Windowing
from llmhar.records import Sampling
from llmhar.score import tables
from llmhar.text.prompt import PromptForm

N_WINDOWS, MAX_TOKENS = 20, 200


def main(model_name: str = "smollm2-135m") -> int:
    """Print the agreement table and tokens per second of both engines, in Markdown."""
    model = MODELS[model_name]
    task = prepare("simulated", windowing=Windowing(n=4), form=PromptForm(answer="name"))
    asks = inference.make_asks(task, model, asking=Asking(sampling=Sampling(max_tokens=MAX_TOKENS)))[:N_WINDOWS]
    task = narrow(task, {(ask.session_id, ask.window_index) for ask in asks}, f"{len(asks)} windows")
    results, speeds = [], []
    for name in ("vllm", "transformers"):
        with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch, "store.sqlite")) as store:
            start = time.perf_counter()
            with open_engine(name, model) as engine:
                loaded = time.perf_counter() - start
                run = inference.run_asks(asks, model, store, asking=Asking(open_with=lambda engine=engine: engine))
            results.append(tables.score_answers(task, model, inference.collect(asks, store)))
        made = results[-1].generations
        tokens = sum(generation.output_tokens for generation in made)
        speeds.append((results[-1].made_by, len(made), tokens, loaded, run.engine_seconds))
    print(f"\n{model.name}, revision {model.revision[:12]}; {task.data}, {len(task.windows)} windows, greedy.\n")
    table = tables.agreement_table(*results)
    print("| what | agree | of | % |\n|---|---:|---:|---:|")
    for what, row in table.iterrows():
        print(f"| {what} | {row['agree']:.0f} | {row['of']:.0f} | {row['%']:.1f} |")
    print("\n| engine | windows | output tokens | start, s | answering, s | tokens/s |\n|---|---:|---:|---:|---:|---:|")
    for made_by, n, tokens, loaded, seconds in speeds:
        print(f"| {made_by} | {n} | {tokens} | {loaded:.1f} | {seconds:.1f} | {tokens / seconds:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
