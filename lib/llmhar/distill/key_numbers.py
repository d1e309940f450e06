"""What notebooks 04, 04b and 04c leave in run.json: key numbers, from results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmhar.distill.small import GatewayPoint
from llmhar.distill.study import StudyResults
from llmhar.distill.tables import f1_ratio
from llmhar.distill.transfer import MatrixCell
from llmhar.score.tables import Result

Numbers = dict[str, float | int | str | None]


def study_numbers(results: StudyResults) -> Numbers:
    """Teacher, chance, and the best student on the first course."""
    return key_numbers(results.teacher, list(results.untrained_of.values()), results.scored, results.majority)


def key_numbers(
    teacher: Result, bases: Sequence[Result], students: Sequence[Result], majority: Result | None = None
) -> Numbers:
    """The best student's score beside its teacher, chance, and its untrained self.

    Args:
        teacher: its answers to the same windows.
        bases: each student's model before training, in the order of ``students``; empty = not asked.
        students: empty where nobody was taught.
        majority: chance; None = not shown.
    """
    numbers: Numbers = {"teacher_f1": teacher.macro_f1.mean, "windows": len(teacher.task.windows)}
    if majority is not None:
        numbers["majority_f1"] = majority.macro_f1.mean
    if not students:
        return numbers
    best = max(range(len(students)), key=lambda place: students[place].macro_f1.mean)
    student, ratio = students[best], f1_ratio(students[best], teacher)
    numbers |= {
        "best_student": student.model.name,
        "student_f1": student.macro_f1.mean,
        "student_f1_low": student.macro_f1.low,
        "student_f1_high": student.macro_f1.high,
        "student_of_teacher_f1": ratio.mean,
        "student_of_teacher_f1_low": ratio.low,
        "student_of_teacher_f1_high": ratio.high,
        "best_of": len(students),
        "student_missed_pct": student.overall.missed_pct,
    }
    if not bases:
        return numbers
    base = bases[best]
    return numbers | {"zero_shot_f1": base.macro_f1.mean, "zero_shot_missed_pct": base.overall.missed_pct}


def confirm_numbers(confirmed: tuple[Result, Result] | None) -> Numbers:
    """Teacher and student on sessions that nothing was chosen by; empty where nothing was confirmed."""
    if confirmed is None:
        return {}
    teacher, student = confirmed
    numbers = key_numbers(teacher, [], [student])
    del numbers["best_of"]
    numbers |= {"on": student.task.data, "student": numbers.pop("best_student")}
    return {f"confirmed_{name}": value for name, value in numbers.items()}


def matrix_numbers(cells: Sequence[MatrixCell]) -> Numbers:
    """Macro F1 of every cell of the cross-dataset matrix, by name."""
    return {
        f"f1 {cell.name}, taught {cell.trained_on}, on {cell.result.task.data} {cell.result.task.subset}":
        cell.result.macro_f1.mean
        for cell in cells
    }  # fmt: skip


def small_numbers(measured: Sequence[GatewayPoint], further: Sequence[Result]) -> Numbers:
    """F1 and size of each student towards the gateway, and F1 of the student that learnt on, before and after."""
    numbers: Numbers = {}
    for point in measured:
        name = f"{point.result.model.name}, {point.precision}"
        numbers |= {f"f1 {name}": point.result.macro_f1.mean, f"mb {name}": point.n_bytes / 1e6}
    return numbers | {f"f1 {result.model.name}": result.macro_f1.mean for result in further}


def gap_numbers(gaps: Sequence[Mapping[str, Any]]) -> Numbers:
    """How much more often cited evidence moves a label than its control, in points.

    Args:
        gaps: from :func:`llmhar.traces.faithfulness.gap_rows`: {"model", "kind", "gap"} and more.
    """
    return {f"gap {gap['kind']}, {gap['model']}": gap["gap"] for gap in gaps}
