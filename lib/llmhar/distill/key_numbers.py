"""What a course leaves in run.json: key numbers of notebook 04, from results alone."""

from __future__ import annotations

from collections.abc import Sequence

from llmhar.distill.tables import f1_ratio
from llmhar.distill.transfer import MatrixCell
from llmhar.score.tables import Result


def key_numbers(
    teacher: Result, bases: Sequence[Result], students: Sequence[Result], majority: Result
) -> dict[str, float | int | str | None]:
    """What run.json says of a course: the best student's score beside its teacher, chance, and its untrained self."""
    numbers: dict[str, float | int | str | None] = {
        "teacher_f1": teacher.macro_f1.mean,
        "majority_f1": majority.macro_f1.mean,
        "windows": len(teacher.task.windows),
    }
    if not students:
        return numbers
    best = max(range(len(students)), key=lambda place: students[place].macro_f1.mean)
    student, base = students[best], bases[min(best, len(bases) - 1)]
    ratio = f1_ratio(student, teacher)
    return numbers | {
        "best_student": student.model.name,
        "student_f1": student.macro_f1.mean,
        "student_f1_low": student.macro_f1.low,
        "student_f1_high": student.macro_f1.high,
        "student_of_teacher_f1": ratio.mean,
        "student_of_teacher_f1_low": ratio.low,
        "student_of_teacher_f1_high": ratio.high,
        "best_of": len(students),
        "student_missed_pct": student.overall.missed_pct,
        "zero_shot_f1": base.macro_f1.mean,
        "zero_shot_missed_pct": base.overall.missed_pct,
    }


def confirm_numbers(confirmed: tuple[Result, Result] | None) -> dict[str, float | int | str | None]:
    """What run.json says of :func:`llmhar.distill.study.confirm`; empty where nothing was confirmed."""
    if confirmed is None:
        return {}
    teacher, student = confirmed
    numbers = key_numbers(teacher, [student], [student], teacher)
    kept = ("teacher_f1", "student_f1", "student_f1_low", "student_f1_high", "student_of_teacher_f1",
            "student_of_teacher_f1_low", "student_of_teacher_f1_high", "student_missed_pct", "windows")  # fmt: skip
    told = {"on": student.task.data, "student": student.model.name} | {name: numbers[name] for name in kept}
    return {f"confirmed_{name}": value for name, value in told.items()}


def matrix_numbers(cells: Sequence[MatrixCell]) -> dict[str, float]:
    """Macro F1 of every cell of the cross-dataset matrix, by name."""
    return {
        f"f1 {cell.student}, taught {cell.trained_on}, on {cell.result.task.data} {cell.result.task.subset}":
        cell.result.macro_f1.mean
        for cell in cells
    }  # fmt: skip
