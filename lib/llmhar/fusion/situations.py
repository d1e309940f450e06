"""What a language model does that a vote or a fitted baseline cannot: looked for on purpose, paired. Draws nothing.

Each situation is a set of clips and what is shown of them. Who was fitted learnt from labelled clips with everything
shown, as it would have been before something went missing. Right and wrong are compared clip by clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from llmhar.fusion import ablation
from llmhar.fusion.answerers.baselines import NOTHING_GONE, Without, predict
from llmhar.fusion.answerers.task import Condition
from llmhar.fusion.encoders.observation import Observation
from llmhar.fusion.study import Answered, OpenAnswers, Outcome, Predictions
from llmhar.fusion.tables import About
from llmhar.fusion.taught import clips_of
from llmhar.score.stats import compare_pairs

MISSING: Mapping[str, frozenset[str]] = {
    "the sound is missing": frozenset({"captions", "labels"}),
    "the motion is missing": frozenset({"motion"}),
    "the context is missing": frozenset({"context"}),
}
"""Situation -> modalities that clips lack at test time."""
NO_WITHOUT = ("contrastive", "majority", "chance")
"""Baselines that cannot do without something."""


class Situation(NamedTuple):
    """Some clips, and what everybody answered about them."""

    name: str
    clips: tuple[Observation, ...]
    given: Mapping[str, Predictions]
    """Answerer -> its answers, the student's first."""


def situations(outcome: Outcome, opened: Sequence[OpenAnswers] = ()) -> list[Situation]:
    """What the first student and the others made of each situation; nothing without a student.

    Args:
        outcome: everybody's answers about all clips.
        opened: free answers, of the student and of rules.
    """
    return list(_situations(outcome, outcome.students[0], opened)) if outcome.students else []


def _situations(outcome: Outcome, student: Answered, opened: Sequence[OpenAnswers]) -> Iterator[Situation]:
    task, everything = outcome.plan.task, Condition(outcome.plan.task.shown)
    rules = [own for own in outcome.models if own.kind == "rules"]
    fitted = [own.answerer for own in outcome.baselines if own.answerer not in NO_WITHOUT]
    clips = task.consistent

    def at(condition: Condition, without: Without = NOTHING_GONE) -> dict[str, Predictions] | None:
        if condition not in student.given:
            return None
        said = {own.answerer: own.given[condition].predictions for own in (student, *rules) if condition in own.given}
        shown = everything.modalities
        return said | {name: predict(name, task.observations, shown, task.labels, without=without) for name in fitted}

    whole = at(everything)
    if whole is None:
        return
    yield Situation("everything is there", clips, whole)
    never = clips_of(clips, "never taught")
    unlabelled = Without(labels=frozenset(clip.label for clip in never))
    if never and (said := at(everything, unlabelled)):
        yield Situation("nobody saw a labelled or taught clip of the activity", tuple(never), said)
    for name, gone in MISSING.items():
        if (left := everything.modalities - gone) and (said := at(Condition(left), Without(modalities=gone))):
            yield Situation(name, clips, said)
    if "labels" in everything.modalities and fitted:
        by_ear = predict("vote", task.observations, ["labels"], task.labels)
        misled = tuple(clip for clip in clips if by_ear[clip.clip_id] != clip.label)
        if misled:
            yield Situation("the sound alone misleads (the vote on it is wrong)", misled, whole)
    against = tuple(clip for clip in task.observations if clip.conflict)
    if against:
        yield Situation("the motion contradicts the sound, which is right", against, whole)
    free = {own.answered.answerer: own.answered for own in opened}
    if student.answerer in free and rules and rules[0].answerer in free:
        both = [free[student.answerer], free[rules[0].answerer]]
        common = set.intersection(*({clip.clip_id for clip in own.task.observations} for own in both))
        said = {own.answerer: next(iter(own.given.values())).predictions for own in both}
        yield Situation("no list of activities (the nearest counts)",
                        tuple(clip for clip in clips if clip.clip_id in common), said)  # fmt: skip


def situation_table(found: Sequence[Situation], about: About) -> pd.DataFrame:
    """The student against each other answerer in each situation: accuracies, gap with interval, Holm within it."""
    rows = []
    for situation in found:
        right = {name: ablation.correct(said, situation.clips) for name, said in situation.given.items()}
        first, *others = right
        planned = [(first, name) for name in others]
        for pair in compare_pairs(right, planned, [clip.cluster for clip in situation.clips]):
            rows.append(
                {"situation": situation.name, "against": pair.second, "student": float(right[first].mean()),
                 "other": float(right[pair.second].mean()), "gap": pair.gap, "low": pair.low, "high": pair.high,
                 "p_holm": pair.p_holm, "verdict": pair.verdict, "clips": pair.n_values, about.clusters: pair.n,
                 "data": about.marked}
            )  # fmt: skip
    return pd.DataFrame(rows or [{"situation": "no student", "against": "nobody"}]).set_index(["situation", "against"])
