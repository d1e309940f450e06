"""How many training sessions a student needs (S1 Figure 4): the runs and their table. Draws nothing.

S1's values stand beside ours as rows of their own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from llmhar.ask.models import MODELS, ModelSpec
from llmhar.distill.courses import Course
from llmhar.distill.study import Study, examine, teach, train
from llmhar.distill.tables import share_text, shown
from llmhar.distill.teaching import recipe_for
from llmhar.distill.transfer import PUBLISHED
from llmhar.score.published import published
from llmhar.score.tables import KINDS, Result

STEPS = 500
"""S1 §4.6: optimizer steps of every point."""


class SessionsPoint(NamedTuple):
    """A student that was trained on so many sessions."""

    n_sessions: int
    """Training sessions; 0: the untrained parent."""
    result: Result
    seed: int = 0
    """Of the training, and of which sessions were taken where that is drawn."""


def sweep_sessions(
    study: Study, course: Course, counts: Sequence[int], student: str | None = None, steps: int = STEPS
) -> list[SessionsPoint]:
    """S1 Figure 4: one student for each number of training sessions, same recipe, steps and test windows, merged.

    Steps are held fixed, as S1's 500 are: few sessions are seen more often, so that sessions and steps are not
    confounded. Neither the teaching's bound on epochs nor its second round counts here.

    Args:
        study: who teaches, how, and how students are asked.
        course: trained and tested on.
        counts: training sessions, 0 = the untrained parent under the teacher's prompt; more than there are say so on
            stderr and are left out.
        student: key into models.yaml; None = the study's smallest, which is trained once a point.
        steps: optimizer steps of each, the teaching's own where they are fewer.
    """
    if not counts:
        return []
    most = len(course.training.sessions)
    if beyond := [n for n in counts if n > most]:
        print(f"{course.name} has {most} training sessions: {beyond} are left out", file=sys.stderr)
    name = student or smallest(study.students)
    fixed = {"max_steps": min(steps, recipe_for(name, study.teaching).max_steps), "full_steps": None}
    teaching = study.teaching.changed(fixed | {"max_epochs": None, "second_round": None})
    recipe = recipe_for(name, teaching)
    points = []
    for n in sorted({n for n in counts if n <= most}):
        model: str | ModelSpec = recipe.student
        if n:
            point = replace(study, teaching=teaching.changed({"n_sessions": n}))
            model = train(recipe, teach(course, point), point, name=f"{recipe.student} taught on {n} sessions").merged
        task = course.test if n else course.teacher_test
        ((result,),) = examine([model], [task], study.store, study.asking)
        points.append(SessionsPoint(n, result, recipe.seed))
    return points


def smallest(students: Sequence[str]) -> str:
    """Of some models, by name, the one with the fewest weights: for whom Figure 4 is drawn."""
    return min(students, key=lambda name: MODELS[name].n_params)


def mean_f1(points: Sequence[SessionsPoint]) -> dict[int, float]:
    """Macro F1 by number of training sessions, rising; mean over seeds."""
    counts = sorted({point.n_sessions for point in points})
    scores = {n: [p.result.macro_f1.mean for p in points if p.n_sessions == n] for n in counts}
    return {n: sum(own) / len(own) for n, own in scores.items()}


def sessions_needed(points: Sequence[SessionsPoint], share: float = 0.95) -> int | None:
    """The fewest training sessions from which on F1 stays at ``share`` of what all sessions give (S1 §4.6: a plateau).

    Every larger number that was run must reach it too, so that one lucky run does not decide. Means over seeds; none of
    this has an interval: ``sessions_table`` shows how wide each share is.

    Args:
        points: at least two numbers of sessions; the largest is "all".
        share: of its F1, 0 … 1.

    Returns:
        Training sessions; None where fewer than two numbers were run or all sessions give no score above zero.
    """
    return plateau(mean_f1(points), share)


def plateau(f1: dict[int, float], share: float) -> int | None:
    """:func:`sessions_needed` from F1 by number of sessions."""
    counts = sorted(f1)
    if len(counts) < 2 or not f1[counts[-1]] > 0:
        return None
    needed = counts[-1]
    for n in reversed(counts):
        if not f1[n] >= share * f1[counts[-1]]:
            break
        needed = n
    return needed


def sessions_table(points: Sequence[SessionsPoint]) -> pd.DataFrame:
    """S1 Figure 4: F1 by number of training sessions, each as a share of what all sessions give; S1's rows first.

    The share is the ratio of session means with Fieller's interval over test sessions (``f1_ratio``), against the run
    with all sessions and the same seed, or the first seed where that was not run. S1 gives no interval.
    """
    rows: list[tuple[object, ...]] = []
    for _, row in published("figure4").iterrows():
        f1, share = f"{row['f1_pct'] / 100:.4f} (no interval)", f"{row['f1_pct'] / published_full():.2f}"
        data = f"{row['dataset']} (real)"
        rows.append((int(row["n_train_sessions"]), PUBLISHED, row["student"], "–", f1, share, "–", "–", "–", data))
    most = max((point.n_sessions for point in points), default=0)
    full = {point.seed: point.result for point in reversed(points) if point.n_sessions == most}
    for point in sorted(points, key=lambda point: (point.n_sessions, point.seed)):
        result, kind = point.result, f"ours: {KINDS[point.result.model.kind]}"
        share = share_text(result, full.get(point.seed, full[min(full)]))
        missed, made_by = shown(result.overall.missed_pct, 1), (result.made_by, result.revision, result.task.data)
        f1 = str(result.macro_f1)
        rows.append((point.n_sessions, kind, result.model.name, point.seed, f1, share, missed, *made_by))
    columns = ["training sessions", "kind", "student", "seed", "macro F1 [95 %]", "share of all sessions' F1",
               "missed %", "engine", "revision", "data"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).set_index(["training sessions", "kind"])


def published_full() -> float:
    """S1's F1 in percent with all training sessions (Figure 4)."""
    table = published("figure4")
    return float(table.loc[table["n_train_sessions"].idxmax(), "f1_pct"])
