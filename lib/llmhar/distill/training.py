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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.models import MODELS, ModelSpec, Quantised
from llmhar.ask.trained import RECORD, students_home, weights_file
from llmhar.distill.child import TrainingError, run_child
from llmhar.distill.examples import Example, data_hash, read_examples, write_examples
from llmhar.distill.merging import merge
from llmhar.distill.recipe import Recipe
from llmhar.distill.students import Student, open_student, take_recorded
from llmhar.records import canonical_json, sha256_of

TRAINER_VERSION = 1
"""Raised when the trainer changes what comes out of one recipe."""
PACKAGES = ("torch", "transformers", "trl", "peft", "unsloth")


def train_student(
    recipe: Recipe,
    examples: Sequence[Example],
    *,
    name: str | None = None,
    parent: ModelSpec | Student | None = None,
    teacher: ModelSpec | None = None,
    progress: bool = True,
    threads: int | None = None,
) -> Student:
    """Train a student, or open the one that these very inputs made before: here, or in the record.

    Args:
        recipe: how.
        examples: what it learns, see :func:`llmhar.distill.examples.make_examples`.
        name: how tables call it; None = the parent's name and "-distilled".
        parent: whose weights training starts from; None = ``recipe.student`` of models.yaml. A student goes on from
            where it stands, for one round more.
        teacher: objective gkd only: the model whose distribution is learnt, with the student's vocabulary.
        progress: show a bar on stderr.
        threads: OpenMP threads; None = the cores that are free now. One thread on a CPU repeats to the last bit.

    Raises:
        TrainingError: no examples, a parent or teacher with an adapter, a parent in few bits, no teacher where one is
            needed, or the child ended early: last word, log, cure.
        ModelError: the parent's weights are not here.
    """
    round_number = 1
    if isinstance(parent, Student):
        round_number, parent = parent.round + 1, merge(parent, progress=progress, threads=threads)[0]
    parent = parent or MODELS[recipe.student]
    if not examples:
        raise TrainingError("no examples to train on: the filter left none; loosen it")
    if isinstance(parent.source, Quantised):
        raise TrainingError(f"{parent.name} cannot be trained in few bits: train {parent.source.parent}")
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
            student = open_student(folder, parent) if take_recorded(folder) else None
        if student is None:
            on_hub = not isinstance(parent.locate(), Path)
            done = run_child("llmhar.distill.train_child", folder, title=f"training {parent.name}", hub=on_hub,
                             progress=progress, threads=threads)  # fmt: skip
            student = _finish(folder, parent, recipe, job, done | {"round": round_number})
    shown = name or f"{parent.name}-distilled"
    return replace(student, record=student.record | {"name": shown}, round=round_number)


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
    places = {"model": str(place), "hub_revision": None if isinstance(place, Path) else parent.revision}
    return places | ({"teacher_model": str(teacher.locate())} if teacher else {})


def _finish(folder: Path, parent: ModelSpec, recipe: Recipe, job: dict[str, Any], done: dict[str, Any]) -> Student:
    """Put the weights in place, write the record last, drop the checkpoints."""
    kind = "adapter" if recipe.method == "lora" else "model"
    shutil.rmtree(folder / kind, ignore_errors=True)
    os.replace(folder / f"{kind}.part", folder / kind)
    examples = read_examples(folder / "examples.jsonl")
    record = job | done | {
        "name": f"{parent.name}-distilled",
        "parent": parent.name,
        "weights_sha256": paths.file_sha256(weights_file(folder, recipe.method)),
        "weights_bytes": weights_file(folder, recipe.method).stat().st_size,
        "train_sessions": sorted({(example.dataset, example.session_id) for example in examples}),
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
