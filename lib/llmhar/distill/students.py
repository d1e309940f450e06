"""Trained students on disk: a folder each, with all that made it. Trains nothing, loads no weights.

``LLMHAR_HOME/students/<student>-<method>-<hash>/`` holds ``student.json`` (recipe, data hash, parent, versions, losses;
written last, so its presence says that the student is whole), ``examples.jsonl``, some ``batches.jsonl`` as they
were trained on, and ``adapter/`` or ``model/`` in safetensors; a study adds ``about.json`` and a card, ``README.md``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask import recorded_answers
from llmhar.ask.models import ModelError, ModelSpec, load_models
from llmhar.ask.trained import (
    ABOUT,
    LEFT_OUT,
    RECORD,
    find_student,
    own_name,
    parent_of,
    read_record,
    recorded_home,
    tuned_model,
    weights_file,
)
from llmhar.distill.examples import Example, read_examples
from llmhar.distill.recipe import Recipe

KEPT = (ABOUT, "batches.jsonl", "adapter/adapter_config.json")
"""What goes into the record, and comes from it, beside weights and ``student.json``, where it is there."""


@dataclass(frozen=True)
class Student:
    """A trained student."""

    folder: Path
    parent: ModelSpec
    """What training started from."""
    record: dict[str, Any]
    """``student.json``."""
    course: str = ""
    """What it was taught on, as parameters name it; empty where the caller did not say."""
    arm: str = ""
    """How it differs from the study's own student, as names end: ", answers only", ", seed 1"; empty for that one."""
    round: int = 1
    """How often it was taught: 1 = from a model that was never trained, 2 = on from there, …"""

    @property
    def name(self) -> str:
        """How tables call it; nothing is ever read out of it."""
        return str(self.record["name"])

    @property
    def base(self) -> str:
        """Key into models.yaml: the model that the first round began with."""
        return str(self.record["recipe"]["student"])

    @property
    def recipe(self) -> Recipe:
        """How it was trained."""
        return Recipe.model_validate_json(json.dumps(self.record["recipe"]))

    @property
    def spec(self) -> ModelSpec:
        """The student as a model that can be asked: its parent with the adapter, or weights of its own."""
        return tuned_model(self.name, self.parent, self.folder, self.record)

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, mean loss in nats per answer token) of every step."""
        return [(step, loss) for step, loss in self.record["losses"]]

    @property
    def examples(self) -> list[Example]:
        """What it was trained on."""
        return read_examples(self.folder / "examples.jsonl")

    @property
    def batches(self) -> list[dict[str, Any]]:
        """Batches as a model got them, a sample of all (older trainings: the first): "batch" is its number; input_ids,
        labels and attention_mask are each a list of rows.
        """
        lines = (self.folder / "batches.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def open_student(folder: Path, parent: ModelSpec) -> Student | None:
    """The student in a folder; None where training has not come to its end or its weights are missing or cut, or were
    left out and the run does not take recorded answers.
    """
    try:
        record = read_record(folder)
    except ModelError:
        return None
    if not _of_use(record):
        return None
    return Student(folder, parent, record, round=record.get("round", 1))  # older records do not say


def _of_use(record: Mapping[str, Any]) -> bool:
    """Whether a student can answer: without weights only a run that takes recorded answers has any of its."""
    return LEFT_OUT not in record or bool(os.environ.get(recorded_answers.VARIABLE))


def take_recorded(folder: Path) -> bool:
    """Fill a student's folder from the record; False where the record has none of its name, or a damaged one.

    One without weights is taken where the run takes recorded answers: it can answer nothing else.
    """
    source = recorded_home() / folder.name
    try:
        record = read_record(source)
        weights = weights_file(source, record["recipe"]["method"])
        if LEFT_OUT not in record and paths.file_sha256(weights) != record["weights_sha256"]:
            raise ModelError(f"{weights} is not what its record says")
    except ModelError:
        return False
    if not _of_use(record):
        return False
    # its record last: it says "whole"
    copy_files(source, folder, (*KEPT, str(weights.relative_to(source)), RECORD))
    return True


def copy_files(source: Path, target: Path, names: Sequence[str]) -> None:
    """Copy those of a student's files that are there, in this order."""
    for name in names:
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def milestones(student: Student) -> dict[int, Student]:
    """Examples seen -> the student as it stood on its way, as far as its training kept that; in order.

    The learning rate had not come down then, so the last of them is not as good as a shorter training.
    """
    found = {}
    for adapter in sorted(student.folder.glob("milestones/*/adapter"), key=lambda path: int(path.parent.name)):
        folder, seen = adapter.parent, int(adapter.parent.name) * student.recipe.examples_per_step
        for name in ("job.json", "examples.jsonl"):  # what merging looks at
            if not (folder / name).exists():
                shutil.copyfile(student.folder / name, folder / name)
        weights = weights_file(folder, "lora")
        record = {"name": f"{student.name}, {seen} windows", "weights_sha256": paths.file_sha256(weights)}
        found[seen] = replace(student, folder=folder, record=student.record | record)
    return found


def times(round_number: int) -> str:
    """How names tell the round: nothing for the first, then " twice", " 3 times" …"""
    return {1: "", 2: " twice"}.get(round_number, f" {round_number} times")


def open_by_name(name: str) -> Student:
    """The student of a name, its own or its folder's.

    Raises:
        UnknownModel: nobody has this name, or several have.
        ModelError: its record or weights are damaged, or the model that it was made from is in no models file.
    """
    folder = find_student(name)
    record = read_record(folder)
    parent = parent_of(folder, record, load_models())
    return Student(folder, parent, record | {"name": own_name(folder)}, round=record.get("round", 1))
