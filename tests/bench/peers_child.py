"""The sides of the comparisons with lm-evaluation-harness, inspect_ai and llama.cpp, each a process: same windows.

``python -m tests.bench.peers_child ours|lm-eval|inspect-ai|llama.cpp JOB`` prints one JSON line: seconds until the
engine stood, seconds of everything else that answers the windows, tokens, number format, and how many requests an
engine was asked. The peers are given the prompts ready in memory and score nothing; our side reads the raw data, and
parses and scores every answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

from llmhar.ask.asking import Asking
from llmhar.ask.engines.registry import multiplies_bfloat16
from llmhar.ask.engines.worker import protect_stdout

ENGINE = {"dtype": "auto", "max_model_len": 4096, "max_num_seqs": 32, "enable_prefix_caching": True, "block_size": 32,
          "enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 4096}  # fmt: skip
"""What :mod:`llmhar.ask.engines.vllm` gives vLLM on a processor, its number format aside; lm-eval hands it through."""


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

    begun, start, dtype = perf_counter(), 0.0, ""

    def opened() -> Any:
        nonlocal start, dtype
        before = perf_counter()
        engine = open_with() if open_with else open_engine(job["engine"], model, job["options"])
        start, dtype = perf_counter() - before, engine.fingerprint().dtype
        return engine

    model = MODELS[job["model"]]
    if job.get("unbound"):  # a student that is not held to the schema of its answers
        model = model.model_copy(update={"asked": None})
    task = the_task(Path(job["home"]), job["n"]).asked_of(model)
    with (store_type or Store)(Path(job["store"])) as store:
        asks = inference.make_asks(task, model, asking=Asking(sampling=Sampling(**job["sampling"])))
        run = inference.run_asks(asks, model, store, asking=Asking(progress=False, open_with=opened))
        result = tables.score_answers(task, model, inference.collect(asks, store))
    made = result.generations
    answering = perf_counter() - begun - start
    return {"start": start, "answering": answering, "answered": len(made), "asked": run.n_asked,
            "prompt_tokens": sum(g.prompt_tokens for g in made),
            "output_tokens": sum(g.output_tokens for g in made), "dtype": dtype}  # fmt: skip


def lm_eval(job: dict[str, Any]) -> dict[str, Any]:
    """The same windows as a task of lm-eval's, with its cache switched on.

    Its vLLM is given what ours is given, or nothing where the job says so.
    """
    begun = perf_counter()
    from lm_eval import evaluator
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.vllm_causallms import VLLM

    same = ENGINE if multiplies_bfloat16() else {**ENGINE, "dtype": "float32"}
    model = VLLM(pretrained=job["model_path"], batch_size="auto", **({} if job.get("engine_defaults") else same))
    dtype = str(model.model.llm_engine.model_config.dtype).removeprefix("torch.")
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
            "output_tokens": sum(len(o.outputs[0].token_ids) for o in outputs), "dtype": dtype}  # fmt: skip


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


def llama_cpp(job: dict[str, Any]) -> dict[str, Any]:
    """The same windows, as the tokens that ours reads, put to llama.cpp greedily: its server, else its Python package.

    The server answers several at once; the package one after the other, and keeps what two prompts in a row share.
    """
    begun = perf_counter()
    with contextlib.ExitStack() as stack:
        if job["server"]:
            ask, at_once = stack.enter_context(_llama_server(job)), job["at_once"]
        else:
            ask, at_once = _llama_package(job), 1
        start = perf_counter() - begun
        with ThreadPoolExecutor(at_once) as threads:
            told = list(threads.map(ask, job["prompts"]))
        answering = perf_counter() - begun - start
    return {"start": start, "answering": answering, "answered": sum(written > 0 for _, written in told),
            "asked": len(told), "prompt_tokens": sum(read for read, _ in told),
            "output_tokens": sum(written for _, written in told), "dtype": job["gguf_type"]}  # fmt: skip


def _llama_package(job: dict[str, Any]) -> Callable[[list[int]], tuple[int, int]]:
    """Loads the file by llama-cpp-python; what it returns answers a prompt, and gives the tokens read and written."""
    from llama_cpp import Llama

    model = Llama(model_path=job["file"], n_ctx=job["context"], n_threads=job["threads"],
                  n_threads_batch=job["threads"], verbose=False)  # fmt: skip

    def ask(prompt: list[int]) -> tuple[int, int]:
        used = model.create_completion(prompt, max_tokens=job["sampling"]["max_tokens"], temperature=0.0)["usage"]
        return used["prompt_tokens"], used["completion_tokens"]

    return ask


@contextlib.contextmanager
def _llama_server(job: dict[str, Any]) -> Iterator[Callable[[list[int]], tuple[int, int]]]:
    """Starts llama-server on a free port of loopback; yields what answers a prompt; ends it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    n, threads = job["at_once"], str(job["threads"])
    words = [job["server"], "-m", job["file"], "--host", "127.0.0.1", "--port", str(port), "-t", threads,
             "-tb", threads, "-c", str(n * job["context"]), "-np", str(n)]  # fmt: skip
    with subprocess.Popen(words, stdout=sys.stderr, stderr=sys.stderr) as process:
        try:
            _wait_until_ready(port, process)
            yield lambda prompt: _completion(port, prompt, job["sampling"]["max_tokens"])
        finally:
            process.terminate()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], most_s: float = 120.0) -> None:
    begun = perf_counter()
    while perf_counter() - begun < most_s:
        if process.poll() is not None:
            raise RuntimeError(f"llama-server ended with {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            if _post(port, "GET", "/health")[0] == 200:
                return
        time.sleep(0.02)
    raise RuntimeError(f"llama-server was not ready after {most_s:.0f} s")


def _completion(port: int, prompt: list[int], max_tokens: int) -> tuple[int, int]:
    asked = {"prompt": prompt, "n_predict": max_tokens, "temperature": 0.0, "repeat_penalty": 1.0, "cache_prompt": True}
    status, body = _post(port, "POST", "/completion", json.dumps(asked))
    if status != 200:
        raise RuntimeError(f"llama-server answered {status}: {body[:200]!r}")
    return len(prompt), int(json.loads(body)["tokens_predicted"])


def _post(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=600)) as line:
        line.request(method, path, body, {"Content-Type": "application/json"})
        reply = line.getresponse()
        return reply.status, reply.read()


def _task_config(job: dict[str, Any]) -> dict[str, Any]:
    """The windows as lm-eval's own configuration of a generative task."""
    import datasets

    sampling = job["sampling"]
    warm = sampling["temperature"]
    drawn = {"do_sample": warm > 0, "temperature": warm, "max_gen_toks": sampling["max_tokens"]}
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
    sides = {"ours": ours, "lm-eval": lm_eval, "inspect-ai": inspect_ai, "llama.cpp": llama_cpp}
    protocol.write(json.dumps(sides[side](job)) + "\n")
    protocol.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
