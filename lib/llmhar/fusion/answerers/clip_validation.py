"""Made-up clips that choices are made on: lists and names of their own, half of them never taught. Trains nobody.

Every choice about students of made-up clips (arms, lessons, limits) is made here, so that composed scenes and HAPT stay
tests; no activity of theirs is among these.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pandas as pd

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.fusion.answerers.clip_lessons import (
    DATASET,
    FEWEST,
    LISTED_CLIPS,
    MOST,
    draw_names,
    sound_alike,
    told_by_motion,
)
from llmhar.fusion.answerers.inference import FusionAnswer, ask_tasks
from llmhar.fusion.answerers.prompt import FusionForm
from llmhar.fusion.answerers.task import Condition, FusionTask
from llmhar.fusion.clips.clip_grammar import TEST_LABELS, activity_of, clip_grammar, untaught, was_taught
from llmhar.fusion.encoders.made_clips import make_clip
from llmhar.fusion.encoders.observation import MODALITIES
from llmhar.score.stats import clustered_interval

WHOLE = Condition(frozenset(MODALITIES))
"""Everything shown, the activities listed, no examples."""


def validation_tasks(
    n_lists: int = 24, n_clips: int = 8, seed: int = 0, *, form: FusionForm = LISTED_CLIPS, drowned: bool = False
) -> list[FusionTask]:
    """Lists of activities, about half of them never taught, each with clips of both halves in turn.

    Args:
        n_lists: how many lists.
        n_clips: clips of each.
        seed: of all draws.
        form: the wording of the prompt, for those who know another.
        drowned: clips of activities that movement tells, each sounding like something else.
    """
    named = "drowned" if drowned else "validation"
    return [_task(f"{named}-{seed}-{i}", n_clips, form, drowned) for i in range(n_lists)]


def _task(name: str, n_clips: int, form: FusionForm, drowned: bool) -> FusionTask:
    """A list of 2 to 20 activities and its clips; folds are dealt so that one-shot examples are of other clips."""
    rng = random.Random(name)
    tested = {activity_of(label) for labels in TEST_LABELS.values() for label in labels}
    known = [activity for activity in clip_grammar()["activities"] if activity not in tested]
    never = [activity for activity in known if activity in untaught()]
    pool = never + rng.sample([activity for activity in known if activity not in untaught()], len(never))
    size = round(rng.triangular(FEWEST + 1, MOST, 9))
    shown = [activity for activity in pool if told_by_motion(activity) or not drowned]
    names = draw_names(rng, rng.choice([a for a in shown if a in never]), pool, "validation", size)
    told = [activity for activity in names if activity in shown]
    sides = [side for side in ([a for a in told if a in never], [a for a in told if a not in never]) if side]
    clips = []
    for i in range(n_clips):
        activity = rng.choice(sides[i % len(sides)])
        other = rng.choice([a for a in known if a != activity and not sound_alike(activity, a)]) if drowned else None
        clip = make_clip(f"{name}-{i}", activity, names[activity], fold=i % 2, drowned_by=other)
        clips.append(clip.observation)
    return FusionTask(f"{DATASET} validation", tuple(clips), tuple(names.values()), form)


def ask_validation(
    tasks: Sequence[FusionTask], model: ModelSpec, store: Store, asking: Asking = STUDY, condition: Condition = WHOLE
) -> list[list[FusionAnswer]]:
    """A model's answers about validation clips, a list a task.

    Args:
        tasks: from :func:`validation_tasks`.
        model: who is asked; its engine starts once.
        store: where answers are looked up and kept.
        asking: how it is asked.
        condition: what is shown.
    """
    return ask_tasks([(task, condition) for task in tasks], model, store, asking)


def validation_table(tasks: Sequence[FusionTask], answers: Sequence[Sequence[FusionAnswer]]) -> pd.DataFrame:
    """Accuracy on activities that were taught and on those that never were, with 95 % intervals over lists.

    Args:
        tasks: that were asked.
        answers: one list a task, in the same order.

    Returns:
        Index part (taught, never taught, all); columns accuracy, low, high, chance (a draw from each list), missing,
        clips, lists.
    """
    rows = [
        (was_taught(clip.label), float(answer.label == clip.label), 1 / len(task.labels), answer.label is None, i)
        for i, (task, own) in enumerate(zip(tasks, answers))
        for clip, answer in zip(task.observations, own)
    ]
    table = {}
    for part, kept in {"taught": (True,), "never taught": (False,), "all": (False, True)}.items():
        own = [row for row in rows if row[0] in kept]
        if own:
            share = clustered_interval(np.array([row[1] for row in own]), [row[4] for row in own]).within
            table[part] = {
                "accuracy": share.mean, "low": share.low, "high": share.high,
                "chance": float(np.mean([row[2] for row in own])), "missing": sum(row[3] for row in own),
                "clips": len(own), "lists": len({row[4] for row in own}),
            }  # fmt: skip
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("part")
