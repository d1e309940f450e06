"""The two sides of the comparison with lm-evaluation-harness, each in a process of its own: same windows, same vLLM.

``python -m tests.bench.peers_child ours|lm-eval JOB`` prints one JSON line: seconds until the engine stood, seconds of
everything else that answers the windows, tokens, and how many requests an engine was asked. lm-eval is given the
prompts ready in memory and scores nothing; our side reads the raw data, and parses and scores every answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from llmhar.ask.asking import Asking
from llmhar.ask.engines.worker import protect_stdout

ENGINE = {"dtype": "auto", "max_model_len": 4096, "max_num_seqs": 32, "enable_prefix_caching": True, "block_size": 32,
          "enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 4096}  # fmt: skip
"""What :mod:`llmhar.ask.engines.vllm` gives vLLM on a processor; lm-eval hands it through."""


def ours(job: dict[str, Any], *, open_with: Callable[[], Any] | None = None, store_type: Any = None) -> dict[str, Any]:
    """Ask the windows of a job as a notebook does: prepare, look up, ask, store, read, score.

    Args:
        job: see :func:`tests.bench.peers.make_job`.
        open_with: opens the engine; None = vLLM in its child.
        store_type: stands in for the store; for tests.
    """
    from llmhar.ask import inference
    from llmhar.ask.models import MODELS
    from llmhar.ask.store import Store
    from llmhar.records import Sampling
    from llmhar.score import tables
    from tests.bench.peers import the_task

    begun, start = perf_counter(), 0.0

    def opened() -> Any:
        nonlocal start
        before = perf_counter()
        engine = open_with() if open_with else inference.open_model(model, "vllm", {"threads": job["threads"]})
        start = perf_counter() - before
        return engine

    model, task = MODELS[job["model"]], the_task(Path(job["home"]), job["n"])
    with (store_type or Store)(Path(job["store"])) as store:
        asks = inference.make_asks(task, model, asking=Asking(sampling=Sampling(**job["sampling"])))
        run = inference.run_asks(asks, model, store, asking=Asking(progress=False, open_with=opened))
        result = tables.score_answers(task, model, inference.collect(asks, store))
    made = result.generations
    answering = perf_counter() - begun - start
    return {"start": start, "answering": answering, "answered": len(made), "asked": run.n_asked,
            "prompt_tokens": sum(g.prompt_tokens for g in made),
            "output_tokens": sum(g.output_tokens for g in made)}  # fmt: skip


def lm_eval(job: dict[str, Any]) -> dict[str, Any]:
    """The same windows as a task of lm-eval's, with its cache switched on."""
    begun = perf_counter()
    from lm_eval import evaluator
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.vllm_causallms import VLLM

    model = VLLM(pretrained=job["model_path"], batch_size="auto", **ENGINE)
    start = perf_counter() - begun
    outputs: list[Any] = []
    generate = model._model_generate

    def counted(*args: Any, **kwargs: Any) -> Any:
        made = generate(*args, **kwargs)
        outputs.extend(made)
        return made

    model._model_generate = counted
    begun = perf_counter()
    task = ConfigurableTask(config=_task_config(job))
    result = evaluator.simple_evaluate(
        model=model, tasks=[task], apply_chat_template=True, system_instruction=job["prompts"]["system"],
        use_cache=job["cache"], bootstrap_iters=0, log_samples=True,
    )  # fmt: skip
    answering = perf_counter() - begun
    samples = result["samples"]["llmhar_windows"] if result else []
    return {"start": start, "answering": answering, "answered": len(samples), "asked": len(outputs),
            "prompt_tokens": sum(len(o.prompt_token_ids) for o in outputs),
            "output_tokens": sum(len(o.outputs[0].token_ids) for o in outputs)}  # fmt: skip


def _task_config(job: dict[str, Any]) -> dict[str, Any]:
    """The windows as lm-eval's own configuration of a generative task."""
    import datasets

    sampling = job["sampling"]
    drawn = {"do_sample": True, "temperature": sampling["temperature"], "max_gen_toks": sampling["max_tokens"]}
    rows = [{"window": text} for text in job["prompts"]["windows"]]
    return {
        "task": "llmhar_windows",
        "custom_dataset": lambda **_: {"test": datasets.Dataset.from_list(rows)},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{window}}",
        "doc_to_target": "",
        "generation_kwargs": {"until": ["<|im_end|>"], **drawn},
        "metric_list": [{"metric": "bypass"}],
    }


def main(side: str, path: str) -> None:
    """Run one side and print its line; the process ends at once, as taking vLLM down is nobody's merit."""
    protocol = protect_stdout()
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    protocol.write(json.dumps({"ours": ours, "lm-eval": lm_eval}[side](job)) + "\n")
    protocol.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
