"""Students of made-up clips in S2's experiment: who is asked what, and scores by names taught and never taught.

A student knows activities by name alone: it saw no recording and no labelled clip. A third of all activities was never
taught to it under any name, and every table here tells the two apart, for everybody alike: whoever was fitted learnt
from labelled clips of both. Draws nothing.

``python -m llmhar.fusion.taught truth answer`` trains students and prints their accuracy on validation clips.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from llmhar.ask.asking import Asking
from llmhar.ask.model_files import fetch
from llmhar.ask.models import MODELS, NO_ADAPTER, ModelSpec, Shipped
from llmhar.ask.store import Store
from llmhar.distill.merging import merge
from llmhar.fusion import ablation
from llmhar.fusion.answerers.clip_students import ARMS, fusion_student
from llmhar.fusion.answerers.clip_validation import ask_validation, validation_table, validation_tasks
from llmhar.fusion.answerers.task import Condition
from llmhar.fusion.clips.clip_grammar import was_taught
from llmhar.fusion.encoders.observation import Observation
from llmhar.fusion.study import Answered, Outcome, Plan, by_model, compare_all, design, named_subset
from llmhar.fusion.tables import About, spell
from llmhar.score.stats import Interval, Pair
from llmhar.score.tables import KINDS

PARTS: Mapping[str, Collection[bool]] = {"all": (True, False), "taught": (True,), "never taught": (False,)}
"""Part of the activities -> whether a student may have met them in its lessons."""
BESIDE = ("rules", "vote", "embeddings")
"""Answerers whose scores are key numbers beside the student's."""
KEYS = {"all": "", "taught": "seen_", "never taught": "unseen_"}
"""Part -> how key numbers call it."""
SETTINGS: Mapping[str, tuple[int, bool]] = {
    "zero-shot, from the list": (0, True),
    "one-shot, from the list": (1, True),
    "zero-shot, free": (0, False),
    "one-shot, free": (1, False),
}
"""S2's settings: examples an activity, and whether the activities are listed."""


def fuser_models(names: Sequence[str]) -> list[ModelSpec]:
    """Students of made-up clips, trained or opened, as models that can be asked.

    Args:
        names: arms of :mod:`.answerers.clip_students`, or models; a shipped student whose adapter is not in this
            checkout is left out, with a line on stderr.
    """
    found = []
    for name in names:
        if name in ARMS:
            student = fusion_student(name)
            merge(student)
            found.append(MODELS[student.folder.name].model_copy(update={"name": ARMS[name].words}))
            continue
        model = MODELS[name]
        if isinstance(model.source, Shipped) and not model.source.sha256():
            print(f"{name} is left out: {NO_ADAPTER}", file=sys.stderr)
            continue
        if isinstance(model.source, Shipped):
            fetch(name)
        found.append(model)
    return found


def joined(outcome: Outcome, students: Sequence[ModelSpec], store: Store, asking: Asking, *, grid: bool) -> Outcome:
    """The outcome with the students' answers about all clips, zero-shot from the list.

    Args:
        outcome: of everybody else.
        students: from :func:`fuser_models`.
        store: where answers are looked up and kept.
        asking: limits and engine; answers are bound to the list.
        grid: whether the first student is asked about every combination of modalities, none included; the others, and
            without a grid all, are asked with everything shown. Those whose reasons name their activities are asked
            with everything shown once more, naming these themselves.
    """
    task, bound = outcome.plan.task, replace(asking, constrained=True)
    whole, everything = [Condition(frozenset()), *design(task.observations)], [Condition(task.shown)]
    answered = [
        by_model(task, model, whole if grid and not i else everything, store, bound) for i, model in enumerate(students)
    ]
    own = [
        by_model(task, model.model_copy(update={"asked": model.asked.model_copy(update={"named": False})}), everything,
                 store, bound, f"{model.name}, own names")
        for model in students if model.asked is not None and model.asked.named
    ]  # fmt: skip
    return replace(outcome, students=answered, own_names=own)


def ask_settings(
    plan: Plan, students: Sequence[ModelSpec], n: int, store: Store, asking: Asking
) -> dict[str, list[Answered]]:
    """Each of S2's settings, every combination and none, on the same few clips, drawn evenly over activities.

    Args:
        plan: whose clips.
        students: who is asked.
        n: clips; those that :func:`.study.named_subset` names, by the plan's seed.
        store: where answers are looked up and kept.
        asking: limits and engine; answers from a list are bound to it.
    """
    chosen, _ = named_subset(plan.task.observations, n, plan.seed)
    few, bound = replace(plan.task, observations=tuple(chosen)), replace(asking, constrained=True)
    told = [condition.modalities for condition in (Condition(frozenset()), *design(chosen))]
    return {
        name: [by_model(few, student, [Condition(own, shots, closed) for own in told], store, bound)
               for student in students]
        for name, (shots, closed) in SETTINGS.items()
    }  # fmt: skip


def setting_table(settings: Mapping[str, Sequence[Answered]]) -> pd.DataFrame:
    """Accuracy with interval, as text: rows what was shown, columns setting, student and part of the activities."""
    columns = {}
    for name, students in settings.items():
        for own in students:
            for part in PARTS:
                clips = clips_of(own.task.consistent, part)
                scores = {spell(condition.modalities): ablation.accuracy(given.predictions, clips).within.brief
                          for condition, given in own.given.items()} if clips else {}  # fmt: skip
                columns[name, own.answerer, f"{part} ({len(clips)} clips)"] = scores
    return pd.DataFrame(columns).rename_axis("told")


def clips_of(clips: Sequence[Observation], part: str) -> list[Observation]:
    """Clips of the activities of a part, key into :data:`PARTS`."""
    return [clip for clip in clips if was_taught(clip.label) in PARTS[part]]


def part_f1(answered: Answered, part: str) -> Interval:
    """Macro F1 over a part's activities, everything shown, over the clips whose modalities agree."""
    task = answered.task
    only = frozenset(label for label in task.labels if was_taught(label) in PARTS[part])
    predictions = answered.given[Condition(task.shown)].predictions
    return ablation.macro_f1(predictions, task.consistent, task.labels, only=only)


def part_table(answered: Sequence[Answered], about: About) -> pd.DataFrame:
    """Everybody with everything shown, on all activities, those taught and those never taught to a student."""
    rows = []
    for part in PARTS:
        for own in answered:
            clips = clips_of(own.task.consistent, part)
            if Condition(own.task.shown) not in own.given or not clips:
                continue
            f1, share = part_f1(own, part), ablation.accuracy(own.given[Condition(own.task.shown)].predictions, clips)
            rows.append(
                {"activities": part, "answerer": own.answerer, "kind": KINDS[own.kind], "macro F1": f1.mean,
                 "low": f1.low, "high": f1.high, "accuracy": share.mean, "accuracy low": share.within.low,
                 "accuracy high": share.within.high, "chance": 1 / len(own.task.labels), "clips": len(clips),
                 about.clusters: share.n, "data": about.marked}
            )  # fmt: skip
    return pd.DataFrame(rows).set_index(["activities", "answerer"])


def pairs_of(outcome: Outcome) -> dict[str, list[Pair]]:
    """Part -> each student against everybody else, everything shown, on the clips of that part that both answered."""
    everything = Condition(outcome.plan.task.shown)
    others = [own for own in (*outcome.models, *outcome.baselines) if everything in own.given]
    planned = [(student.answerer, own.answerer) for student in outcome.students for own in others]
    whole = outcome.students[0].task.consistent if planned else ()
    parts = {part: clips for part in PARTS if (clips := clips_of(whole, part))}
    return {part: compare_all((*outcome.students, *others), planned, clips=clips) for part, clips in parts.items()}


def student_numbers(outcome: Outcome) -> dict[str, float | int]:
    """Key numbers of the first student: macro F1 of all, seen and unseen activities with bounds and n, and how far it
    is from rules, vote, embeddings and Bayes in accuracy; empty without a student.
    """
    if not outcome.students:
        return {}
    student, numbers = outcome.students[0], dict[str, Any]()
    everything = Condition(student.task.shown)
    named = {"student": student} | {own.answerer: own for own in outcome.answered if own.answerer in BESIDE}
    if outcome.own_names:
        named["student_own_names"] = outcome.own_names[0]
    for key, own in named.items():
        for part, words in KEYS.items():
            if everything in own.given and clips_of(own.task.consistent, part):
                numbers |= part_f1(own, part).numbers(f"{key}_{words}f1")
    for part, words in KEYS.items():
        clips = clips_of(student.task.consistent, part)
        numbers[f"student_{words}clips"] = len(clips)
        if clips:
            share = ablation.accuracy(student.given[everything].predictions, clips).within
            numbers |= share.numbers(f"student_{words}accuracy")
    for part, pairs in pairs_of(outcome).items():
        for pair in pairs:
            if pair.first == student.answerer and pair.second in (*BESIDE, "bayes"):
                key = f"student_{KEYS[part]}minus_{pair.second}"
                numbers |= pair.numbers(key, f"{key}_p")
    return numbers | {"chance": 1 / len(student.task.labels)}


def validated(names: Sequence[str], store: Store, asking: Asking) -> pd.DataFrame:
    """Accuracy on made-up validation clips, as they sound and drowned by other sounds, taught and never taught names
    apart, one answerer below the other.

    Args:
        names: as :func:`fuser_models` takes them.
        store: where answers are looked up and kept.
        asking: limits and engine; answers are bound to the list.
    """
    heard, drowned, bound = validation_tasks(), validation_tasks(drowned=True), replace(asking, constrained=True)
    tables = {}
    for model in fuser_models(names):
        answers = ask_validation([*heard, *drowned], model, store, bound)
        tables[model.name, "as they sound"] = validation_table(heard, answers[: len(heard)])
        tables[model.name, "drowned"] = validation_table(drowned, answers[len(heard) :])
    return pd.concat(tables, names=["answerer", "clips"]) if tables else pd.DataFrame()


def main(names: Sequence[str]) -> None:
    """Train the students of arms, or open them, and print what they are worth on made-up validation clips."""
    with Store() as store:
        print(validated(names, store, Asking(draw="greedy")).round(3).to_string())


if __name__ == "__main__":
    main(sys.argv[1:])
