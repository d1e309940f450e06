"""Runs a training module in a process of its own and shows its progress. Knows no recipe; imports no torch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.engines import kept
from llmhar.ask.engines.child import FREE_THREADS, child_environment, free_cores, last_words, new_log
from llmhar.ask.inference import Bar


class TrainingError(RuntimeError):
    """Training that could not start or did not come to its end; one sentence with the cure."""


def run_child(
    module: str, folder: Path, *, title: str, hub: bool = False, progress: bool = True, threads: int | None = None
) -> dict[str, Any]:
    """Run a training module in a process of its own until it says what it has done.

    Args:
        module: takes a job's folder and our process id; prints JSON lines: {"stage"}, {"step", "of", "loss"}, {"done"}.
        folder: the job.
        title: of the bar.
        hub: whether the child may reach the Hugging Face hub.
        progress: show a bar on stderr.
        threads: OpenMP threads; None = the cores that others leave, counted again while it runs. One thread on a CPU
            repeats to the last bit.

    Raises:
        TrainingError: it ended without.
    """
    kept.close()  # its memory and cores are the training's
    log_file = new_log(module.rpartition(".")[2])
    environment = child_environment(hub=hub, threads=threads or free_cores())
    environment |= {} if threads else {FREE_THREADS: "1"}
    environment["UNSLOTH_COMPILE_LOCATION"] = str(paths.cache() / "unsloth")
    # One card: on several, transformers would split batches by itself, and a step would see other examples.
    environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    command = [sys.executable, "-P", "-m", module, str(folder), str(os.getpid())]
    with open(log_file, "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                                   env=environment, start_new_session=True, cwd=folder)  # fmt: skip
    done: dict[str, Any] | None = None
    words = ""
    try:
        with Bar(desc=title, unit="step", mininterval=1.0, disable=not progress) as bar:
            assert process.stdout is not None
            for line in process.stdout:
                message = json.loads(line)
                done, words = message.get("done", done), message.get("fatal", words)
                _show(bar, message, title)
        code = process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if done is None:
        said = words or last_words(log_file) or "it said nothing"
        cure = f"{'mend what it says and ' if words else ''}run again to go on from the last checkpoint in {folder}"
        raise TrainingError(f"{title} ended early (exit code {code}): {said}; log: {log_file}; {cure}")
    return done


def _show(bar: Any, message: dict[str, Any], title: str) -> None:
    if "stage" in message:
        bar.set_description(f"{title}, {message['stage']}")
    if "step" in message:
        bar.total = message["of"]
        bar.update(message["step"] - bar.n)
        bar.set_postfix(loss=f"{message['loss']:.3f}")
