"""The sides of the comparisons with lm-evaluation-harness and inspect_ai, each in a process of its own: same windows.

``python -m tests.bench.peers_child ours|lm-eval|inspect-ai JOB`` prints one JSON line: seconds until the engine stood,
seconds of everything else that answers the windows, tokens, and how many requests an engine was asked. The peers are
given the prompts ready in memory and score nothing; our side reads the raw data, and parses and scores every answer.
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
        open_with: opens the engine; None = the one that the job names.
        store_type: stands in for the store; for tests.
    """
    from llmhar.ask import inference
    from llmhar.ask.engines.registry import open_engine
    from llmhar.ask.models import MODELS
    from llmhar.ask.store import Store
    from llmhar.records import Sampling
    from llmhar.score import tables
    from tests.bench.peers import the_task

    begun, start = perf_counter(), 0.0

    def opened() -> Any:
        nonlocal start
        before = perf_counter()
        engine = open_with() if open_with else open_engine(job["engine"], model, job["options"])
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


def inspect_ai(job: dict[str, Any]) -> dict[str, Any]:
    """The same windows as a task of inspect_ai's, put to a server by its ``eval_set``.

    That is its own way to go on where a run was ended: the same call with the same folder of logs. Its cache is on.
    """
    os.environ |= {"LOCAL_API_KEY": "none", "LOCAL_BASE_URL": job["url"]}
    begun = perf_counter()
    import inspect_ai as peer
    from inspect_ai.dataset import Sample
    from inspect_ai.log import read_eval_log
    from inspect_ai.solver import generate, system_message

    start = perf_counter() - begun
    samples = [Sample(input=text, id=number) for number, text in enumerate(job["prompts"]["windows"])]
    task = peer.Task(dataset=samples, solver=[system_message(job["prompts"]["system"]), generate()], name="windows")
    _, logs = peer.eval_set(
        task, log_dir=job["logs"], model=f"openai-api/local/{job['model']}", max_connections=job["at_once"],
        cache=job["cached"], display="none", log_level="error", **job["sampling"],
    )  # fmt: skip
    answered = [sample for sample in read_eval_log(logs[0].location).samples or [] if sample.output.completion]
    used = [sample.output.usage for sample in answered if sample.output.usage]
    return {"start": start, "answering": perf_counter() - begun - start, "answered": len(answered), "asked": 0,
            "prompt_tokens": sum(u.input_tokens for u in used),
            "output_tokens": sum(u.output_tokens for u in used)}  # fmt: skip


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
    protocol.write(json.dumps({"ours": ours, "lm-eval": lm_eval, "inspect-ai": inspect_ai}[side](job)) + "\n")
    protocol.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
