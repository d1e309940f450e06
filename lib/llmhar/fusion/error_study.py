"""What notebook 05b asks: what encoders' errors cost, and whether a small model learns to fuse. Draws nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from llmhar.ask.asking import Asking
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.distill.merging import merge
from llmhar.distill.teaching import Teaching, recipe_for
from llmhar.distill.training import train_student
from llmhar.fusion.answerers.student import STUDENT_FORM, fusion_examples
from llmhar.fusion.answerers.task import Condition, FusionTask
from llmhar.fusion.doses import Dose, corrupt_all, crossing, dose_response, dose_verdicts, respond
from llmhar.fusion.encoders.observation import Observation
from llmhar.fusion.study import Answered, Predictions, by_model, full_scores


@dataclass(frozen=True)
class Doses:
    """The experiment of error propagation: what was asked, and what everybody answered."""

    answers: Mapping[tuple[str, Dose], Predictions]
    observations: tuple[Observation, ...]
    asked: list[Answered]
    """The models, with all corrupted clips."""

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Accuracy of each answerer at each dose."""
        return dose_response(self.answers, self.observations, {own.answerer: own.kind for own in self.asked})

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """Does each model beat the vote, and when? Holm over the doses of one model."""
        names = [own.answerer for own in self.asked]
        tables = [dose_verdicts(self.answers, self.observations, name) for name in names]
        renamed = [table.rename(columns={name: "accuracy"}) for name, table in zip(names, tables)]
        return pd.concat(renamed, keys=names, names=["answerer"])

    @cached_property
    def crossings(self) -> pd.DataFrame:
        """Where each model's curve crosses that of vote and of Bayes: accuracy of a guess, with interval."""
        rows = {
            (own.answerer, other): crossing(self.answers, self.observations, own.answerer, other)._asdict()
            for own in self.asked
            for other in ("vote", "bayes")
        }
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["answerer", "against"])
        return table.rename(columns={"share": "share of draws"})  # "share" alone reads as a modality's


def dose_experiment(
    task: FusionTask,
    models: Sequence[str | ModelSpec],
    planned: Sequence[Dose],
    store: Store,
    asking: Asking,
    seed: int = 0,
) -> Doses:
    """Corrupt predictions at set accuracies; vote, Bayes and the models answer about the same corrupted clips.

    Args:
        task: its consistent clips are corrupted; its activities are the vocabulary of every modality here.
        models: keys into models.yaml, or students.
        planned: which modalities speak, and how accurately.
        store: where answers are looked up and kept.
        asking: how models are asked.
        seed: of the draws.
    """
    clips = task.consistent
    answers: dict[tuple[str, Dose], Predictions] = dict(respond(clips, planned, task.labels, seed=seed))
    condition = Condition(frozenset(name for name, _ in planned[0].accuracies))
    drawn = {dose: corrupt_all(clips, dose, task.labels, seed) for dose in planned}
    # one engine for all doses: each dose's clips are asked as clips of their own
    flat = tuple(clip for corrupted in drawn.values() for clip in corrupted)
    corrupted_task = replace(task, dataset=f"{task.dataset} corrupted", observations=flat)
    asked = [by_model(corrupted_task, name, [condition], store, asking) for name in models]
    for own in asked:
        said = iter(own.given[condition].answers)
        for dose, corrupted in drawn.items():
            answers[own.answerer, dose] = {clip.clip_id: next(said).label for clip in corrupted}
    return Doses(answers, clips, asked)


def distilled(
    task: FusionTask, teacher: str, student: str, steps: int, store: Store, asking: Asking, test_fold: int = 0
) -> list[Answered]:
    """A student learns a teacher's reasoning on the other folds; both answer about the fold it has not seen.

    S2's open question 1. The teacher is asked about the training folds with everything shown.

    Args:
        task: all clips.
        teacher: key into models.yaml.
        student: key into models.yaml; all weights of a pruned model move, an adapter is tuned for the rest.
        steps: optimizer steps.
        store: where answers are looked up and kept.
        asking: how all are asked; nobody is bound to a schema.
        test_fold: held out from training.

    Returns:
        The taught student, the teacher, and the student as it was before.
    """
    everything, asking = Condition(task.shown), replace(asking, constrained=False)
    test = replace(task, observations=tuple(clip for clip in task.observations if clip.fold == test_fold))
    train = replace(task, observations=tuple(clip for clip in task.consistent if clip.fold != test_fold))
    answers = by_model(train, teacher, [everything], store, asking).given[everything].answers
    examples = fusion_examples(task, answers, modalities=task.shown, test_folds=[test_fold])
    teaching = Teaching(
        max_steps=steps, batch_size=1, accumulate=1, learning_rate=2e-3, full_learning_rate=5e-4, alpha=64,
        longest_example=2048,
    )  # fmt: skip
    recipe = recipe_for(student, teaching)
    taught = train_student(recipe, examples, name=f"{student} taught by {teacher}")
    spec, _ = merge(taught)
    asked = {teacher: f"{teacher}, fold {test_fold}", student: f"{student} untrained, fold {test_fold}"}
    return [
        by_model(replace(test, form=STUDENT_FORM), spec, [everything], store, asking),
        *(by_model(test, model, [everything], store, asking, name) for model, name in asked.items()),
    ]


def key_numbers(doses: Doses, taught: Sequence[Answered]) -> dict[str, float]:
    """Accuracy of each answerer where all guesses are right half the time, where curves cross, and macro F1 of student
    and teacher.
    """
    curves = doses.curves
    halfway = curves[(curves["varied"] == "all") & (curves["dose"] == 0.5)]
    numbers = {f"accuracy_dose_50_{row.answerer}": float(row.accuracy) for row in halfway.itertuples()}
    for row in doses.crossings.dropna(subset="at").itertuples():
        key = f"crossing_{row.Index[0]}_{row.Index[1]}"
        numbers |= {key: float(row.at), f"{key}_low": float(row.low), f"{key}_high": float(row.high)}
    return numbers | {f"f1_all_{name}": value for name, value in full_scores(taught).items()}
