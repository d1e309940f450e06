"""What notebooks 04, 04b and 04c leave in run.json: key numbers, from results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmhar.distill.sessions import SessionsPoint, sessions_needed
from llmhar.distill.small import GatewayPoint
from llmhar.distill.study import RULES, Confirmed, StudyResults
from llmhar.distill.tables import f1_ratio, paired_scores
from llmhar.distill.transfer import MatrixCell
from llmhar.score.stats import compare_pairs, t_interval
from llmhar.score.tables import Result

Numbers = dict[str, float | int | str | None]


def study_numbers(results: StudyResults) -> Numbers:
    """The first student after its last round beside its teacher, its untrained self, and all that it is compared to."""
    latest = results.latest
    numbers = key_numbers(results.teacher, latest, results.compared)
    if latest is None:
        return numbers
    before = results.untrained_of[latest.model.name]
    return numbers | {"zero_shot_f1": before.macro_f1.mean, "zero_shot_missed_pct": before.overall.missed_pct}


def key_numbers(teacher: Result, student: Result | None, compared: Mapping[str, Result]) -> Numbers:
    """A student's score beside its teacher and all that was asked about the same windows, each with its interval.

    Args:
        teacher: its answers.
        student: None where nobody was taught.
        compared: from :func:`llmhar.distill.study.compare_on`. Trees and lookup learnt the teacher's labels, those with
            "_truth" the truth.
    """
    named = {"teacher": teacher} | dict(compared)
    named |= {key: teacher for key, model in RULES.items() if model == teacher.model.name}
    numbers: Numbers = {"windows": len(teacher.task.windows)}
    if student is not None:
        named["student"] = student
        numbers |= {"student": student.model.name, "student_missed_pct": student.overall.missed_pct}
        numbers |= f1_ratio(student, teacher).numbers("student_of_teacher_f1")
        for other in ("answer_only", "trees"):
            numbers |= _difference(student, other, compared)
        numbers |= _of_seeds(student, compared)
    for name, result in named.items():
        numbers |= result.macro_f1.numbers(f"{name}_f1")
    return numbers


def _difference(student: Result, other: str, compared: Mapping[str, Result]) -> Numbers:
    """What the student has over one of those that it must beat to be worth its training, paired by session."""
    if other not in compared:
        return {}
    own, its = paired_scores(student, compared[other])
    (pair,) = compare_pairs({"student": own, other: its})
    return {**pair.numbers(f"student_minus_{other}_f1", f"student_minus_{other}_p")}


def _of_seeds(student: Result, compared: Mapping[str, Result]) -> Numbers:
    """Arms that were trained several times: the mean over their seeds, session by session, and how they differ.

    The interval is over sessions, of the mean over seeds; how far seeds lie apart stands in the scores of each. Nothing
    where each arm was trained once.
    """
    runs: dict[str, list[Result]] = {}
    for name, result in {"student": student, **compared}.items():
        runs.setdefault(name.partition("_seed_")[0], []).append(result)
    scores = {
        arm: np.mean([paired_scores(one, student)[0] for one in own], axis=0)
        for arm, own in runs.items()
        if len(own) > 1
    }
    if not scores:
        return {}
    numbers: Numbers = {"seeds": min(len(runs[arm]) for arm in scores)}
    for arm, own in scores.items():
        numbers |= t_interval(own).numbers(f"{arm}_of_seeds_f1")
    if "trees" in compared:
        scores["trees"] = np.array(paired_scores(compared["trees"], student)[0])
    planned = [("student", other) for other in scores if other != "student" and "student" in scores]
    for pair in compare_pairs(scores, planned):
        name = f"student_minus_{pair.second}_of_seeds"
        numbers |= pair.numbers(f"{name}_f1", f"{name}_p")
    return numbers


def confirm_numbers(confirmed: Sequence[Confirmed]) -> Numbers:
    """The same on sessions that nothing was chosen by: the first data set's as "confirmed_…", others' by their name."""
    numbers: Numbers = {}
    for place, one in enumerate(confirmed):
        data = one.student.task.data
        own = {"on": data} | key_numbers(*one)
        numbers |= {f"{name} on {data}" if place else f"confirmed_{name}": value for name, value in own.items()}
    return numbers


def matrix_numbers(cells: Sequence[MatrixCell]) -> Numbers:
    """Macro F1 of every cell of the cross-dataset matrix, by name."""
    return {
        f"f1 {cell.name}, taught {cell.trained_on}, on {cell.result.task.data} {cell.result.task.subset}":
        cell.result.macro_f1.mean
        for cell in cells
    }  # fmt: skip


def sessions_numbers(points: Sequence[SessionsPoint]) -> Numbers:
    """Figure 4: macro F1 by number of training sessions, of one student; and from how many on it stays at 95 %."""
    if not points:
        return {}
    numbers: Numbers = {"sessions_student": points[-1].result.model.name.partition(" ")[0]}
    for point in points:
        numbers |= point.result.macro_f1.numbers(f"sessions_{point.n_sessions}_f1")
    return numbers | {"sessions_needed": sessions_needed(points)}


def small_numbers(measured: Sequence[GatewayPoint], further: Sequence[Result]) -> Numbers:
    """F1 and size of each student towards the gateway, and F1 of the student that learnt on, before and after."""
    numbers: Numbers = {}
    for point in measured:
        name = f"{point.result.model.name}, {point.precision}"
        numbers |= point.result.macro_f1.numbers(f"f1 {name}") | {f"mb {name}": point.n_bytes / 1e6}
    for result in further:
        numbers |= result.macro_f1.numbers(f"f1 {result.model.name}")
    return numbers


def gap_numbers(gaps: Sequence[Mapping[str, Any]]) -> Numbers:
    """How much more often cited evidence moves a label than its control, in points.

    Args:
        gaps: from :func:`llmhar.traces.faithfulness.gap_rows`: {"model", "kind", "pairs", "gap", "low", "high"}.
    """
    numbers: Numbers = {}
    for row in gaps:
        name = f"gap {row['kind']}, {row['model']}"
        numbers |= {name: row["gap"], f"{name}_pairs": row["pairs"]}
        numbers |= {f"{name}_{end}": row[end] for end in ("low", "high")}
    return numbers
