"""Parent side of training: start the child, show its progress, make a student of what it leaves. Imports no torch.

The same recipe, examples and parent give the same folder: a finished student is opened again, a killed training goes on
from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.engines.child import child_environment, free_cores, last_words, new_log
from llmhar.ask.inference import Bar
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.distill.examples import Example, data_hash, read_examples, write_examples
from llmhar.distill.recipe import Recipe
from llmhar.distill.students import RECORD, Student, open_student, students_home, weights_file
from llmhar.records import canonical_json, sha256_of

TRAINER_VERSION = 1
"""Raised when the trainer changes what comes out of one recipe."""
PACKAGES = ("torch", "transformers", "trl", "peft", "unsloth")


class TrainingError(RuntimeError):
    """Training that could not start or did not come to its end; one sentence with the cure."""


def train_student(
    recipe: Recipe,
    examples: Sequence[Example],
    *,
    name: str | None = None,
    parent: ModelSpec | None = None,
    teacher: ModelSpec | None = None,
    progress: bool = True,
    threads: int | None = None,
) -> Student:
    """Train a student, or open the one that these very inputs made before.

    Args:
        recipe: how.
        examples: what it learns, see :func:`llmhar.distill.examples.make_examples`.
        name: how tables call it; None = the parent's name and "-distilled".
        parent: whose weights training starts from; None = ``recipe.student`` of models.yaml.
        teacher: objective gkd only: the model whose distribution is learnt, with the student's vocabulary.
        progress: show a bar on stderr.
        threads: OpenMP threads; None = the cores that are free now. One thread on a CPU repeats to the last bit.

    Raises:
        TrainingError: no examples, a parent or teacher with an adapter, no teacher where one is needed, or the child
            ended early: last word, log, cure.
        ModelError: the parent's weights are not here.
    """
    parent = parent or MODELS[recipe.student]
    if not examples:
        raise TrainingError("no examples to train on: the filter left none; loosen it")
    for model in (parent, teacher):
        if model and model.adapter:
            raise TrainingError(
                f"{model.name} has an adapter: merge it first (distill.merging), or take its base model"
            )
    if (teacher is None) == (recipe.objective == "gkd"):
        raise TrainingError("objective gkd needs a teacher model, and objective sft takes none")
    job = make_job(recipe, examples, parent, teacher)
    named = sha256_of(job | {"recipe": recipe.sha256})[:12]
    folder = students_home() / f"{recipe.student}-{recipe.method}-{named}"
    with paths.locked(folder / ".lock"):  # a second run with the same inputs waits, and opens what the first has made
        student = open_student(folder, parent)
        if student is None:
            write_examples(examples, folder / "examples.jsonl")
            paths.write_text(folder / "job.json", canonical_json(job | _places(parent, teacher)))
            done = run_child(
                "llmhar.distill.train_child", folder, title=f"training {parent.name}",
                hub=not isinstance(parent.locate(), Path), progress=progress, threads=threads,
            )  # fmt: skip
            student = _finish(folder, parent, recipe, job, done)
    shown = name or f"{parent.name}-distilled"
    return Student(student.folder, parent, student.record | {"name": shown})


def make_job(
    recipe: Recipe, examples: Sequence[Example], parent: ModelSpec, teacher: ModelSpec | None = None
) -> dict[str, Any]:
    """Everything that decides what comes out, JSON-ready; no path and nothing of this machine."""
    return {
        **({"teacher": {"model_id": teacher.hub_id, "revision": teacher.revision}} if teacher else {}),
        "trainer": TRAINER_VERSION,
        "recipe": recipe.model_dump(mode="json"),
        "data_sha256": data_hash(examples),
        "n_examples": len(examples),
        "model_id": parent.hub_id,
        "revision": parent.revision,
        "tokenizer_sha256": parent.tokenizer_sha256(),
        "template_args": dict(parent.template_args),
    }


def _places(parent: ModelSpec, teacher: ModelSpec | None) -> dict[str, Any]:
    place = parent.locate()
    found = {"model": str(place), "hub_revision": None if isinstance(place, Path) else parent.revision}
    return found | ({"teacher_model": str(teacher.locate())} if teacher else {})


def _finish(folder: Path, parent: ModelSpec, recipe: Recipe, job: dict[str, Any], done: dict[str, Any]) -> Student:
    """Put the weights in place, write the record last, drop the checkpoints."""
    kind = "adapter" if recipe.method == "lora" else "model"
    shutil.rmtree(folder / kind, ignore_errors=True)
    os.replace(folder / f"{kind}.part", folder / kind)
    sessions = sorted({(one.dataset, one.session_id) for one in read_examples(folder / "examples.jsonl")})
    record = job | done | {
        "name": f"{parent.name}-distilled",
        "parent": parent.name,
        "weights_sha256": paths.file_sha256(weights_file(folder, recipe.method)),
        "weights_bytes": weights_file(folder, recipe.method).stat().st_size,
        "train_sessions": sessions,
        "packages": {name: _version(name) for name in PACKAGES},
    }  # fmt: skip
    paths.write_text(folder / RECORD, json.dumps(record, indent=1))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    student = open_student(folder, parent)
    assert student is not None
    return student


def _version(package: str) -> str:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return ""


def run_child(
    module: str, folder: Path, *, title: str, hub: bool = False, progress: bool = True, threads: int | None = None
) -> dict[str, Any]:
    """Run a training module in a process of its own until it says what it has done.

    Args:
        module: takes a job's folder and our process id; prints JSON lines: {"stage"}, {"step", "of", "loss"}, {"done"}.
        folder: the job.
        title: of the bar.
        hub: whether the child may reach the Hugging Face hub.
        progress, threads: see :func:`train_student`.

    Raises:
        TrainingError: it ended without.
    """
    log_file = new_log(module.rpartition(".")[2])
    environment = child_environment(hub=hub, threads=threads or free_cores())
    environment["UNSLOTH_COMPILE_LOCATION"] = str(paths.cache() / "unsloth")
    # One card: on several, transformers would split batches by itself, and a step would see other examples.
    environment["CUDA_VISIBLE_DEVICES"] = environment.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0]
    with open(log_file, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(folder), str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=environment, start_new_session=True,
            cwd=folder,
        )  # fmt: skip
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
