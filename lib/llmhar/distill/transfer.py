"""Transfer: who was taught on which data and tested on which (S1 Table 2), with the table. Draws nothing.

S1's values stand beside ours as rows of their own. What was not run has no row: missing is never zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from llmhar.distill.courses import Course, those_here
from llmhar.distill.students import times
from llmhar.distill.study import (
    RULES,
    Study,
    StudyResults,
    TaughtStudent,
    TaughtStudy,
    TrainingSet,
    examine,
    labelled_windows,
    teach,
    train,
)
from llmhar.distill.teaching import read_arm, recipe_for
from llmhar.score.controls import fitted_results, zero_shot_results
from llmhar.score.published import DATASETS_IN_S1, published
from llmhar.score.stats import Interval
from llmhar.score.tables import KINDS, Result

PUBLISHED = "published (S1)"
"""``kind`` of S1's rows."""
UNTRAINED = "nothing"
"""``MatrixCell.trained_on`` of a student's parent."""
TEACHER = "nothing (teacher)"
"""``MatrixCell.trained_on`` of the teacher."""
S1_TEACHER = "Qwen3-32B"


def further_courses(
    datasets: Sequence[str], if_here: Sequence[str], test_on: Sequence[str], data_dir: str | None
) -> tuple[list[str], list[str]]:
    """What the first student is taught on beside the study's own data, and what it is tested on beside all of these.

    Names whose data are not on this machine are left out, with a line on stderr.

    Args:
        datasets: the study's own courses.
        if_here: further courses.
        test_on: further data to test on.
        data_dir: folder of a single data set; None = each lies in ``LLMHAR_DATA``.
    """
    here = those_here([*if_here, *test_on], data_dir)
    taught = [name for name in here if name in if_here and name not in datasets]
    tested = [name for name in here if name in test_on and name not in (*datasets, *taught)]
    return taught, tested


def teach_further(study: Study, courses: Sequence[Course], arms: Sequence[str] = ()) -> list[TaughtStudent]:
    """The first student on each of these courses, on all training sessions, whatever the study's own take; one round.

    Args:
        study: its teaching but for the sessions.
        courses: each is taught by itself.
        arms: as :func:`.teaching.read_arm` takes them; beside the study's own.
    """
    if not study.students:
        return []
    whole = study.teaching.changed({"n_sessions": None, "second_round": None})
    teachings = [whole, *(whole.changed(read_arm(arm)._asdict()) for arm in arms)]
    variants = [replace(study, teaching=teaching) for teaching in dict.fromkeys(teachings)]
    return [
        train(recipe_for(study.students[0], variant.teaching), teach(course, variant), variant)
        for course in courses
        for variant in variants
    ]


class MatrixCell(NamedTuple):
    """One model tested on one data set."""

    student: str
    """The parent's name, the same for a student and for its untrained parent: changes are between those two."""
    trained_on: str
    """Data set of the traces, ``UNTRAINED`` or ``TEACHER``."""
    result: Result
    """On the data that it is tested on."""
    round: int = 1
    """How often the student was taught on that data set."""
    arm: str = ""
    """How it differs from the study's own student: ``Student.arm``."""

    @property
    def name(self) -> str:
        """How tables call the student: model, round and arm."""
        return f"{self.student}{times(self.round)}{self.arm}"


def matrix_cells(results: StudyResults) -> list[MatrixCell]:
    """Cells of the matrix: the teacher, the models before training, the students."""
    cells = [MatrixCell(result.model.name, TEACHER, result) for result in results.of_teacher]
    cells += [MatrixCell(name, UNTRAINED, result) for name, own in results.of_untrained.items() for result in own]
    for taught, own in zip(results.students, results.of_students):
        student = taught.student
        cells += [MatrixCell(student.base, student.course, result, student.round, student.arm) for result in own]
    return cells


def control_cells(taught: TaughtStudy, further: Sequence[TaughtStudent], tested: Sequence[Course]) -> list[MatrixCell]:
    """Rows without a language model: rules and embeddings on every course, trees and lookup where they can go.

    These two learn what the first student was shown of a course, so they can only go where activities are the same.

    Args:
        taught: its courses, and what the first student was shown of them.
        further: the first student taught on other courses.
        tested: courses beside the study's own.
    """
    study = taught.study
    shown: dict[str, list[TrainingSet]] = {}
    for one in [*taught.students, *further]:
        if one.student.base == study.students[0] and not one.student.arm:
            shown.setdefault(one.student.course, []).append(one.training_set)
    shown = shown or {each.course.name: [each] for each in taught.training_sets}
    labelled = {name: labelled_windows(sets) for name, sets in shown.items()}
    courses = [*taught.courses, *tested]
    rules = [name for name in RULES.values() if name != study.teacher.name]
    asked = examine(rules, [course.teacher_test for course in courses], study.store, study.asking)
    cells = [MatrixCell(result.model.name, UNTRAINED, result) for results in asked for result in results]
    for course in courses:
        unfitted = zero_shot_results(course.teacher_test).values()
        cells += [MatrixCell(result.model.name, UNTRAINED, result) for result in unfitted]
        for name, windows in labelled.items():
            fitted = fitted_results(course.teacher_test, windows, study.teaching.seed).values()
            cells += [MatrixCell(result.model.name, name, result) for result in fitted]
    return cells


class PublishedCell(NamedTuple):
    """One of S1's values, F1 in percent; :class:`MatrixCell` without a result."""

    student: str
    trained_on: str
    data: str
    """As ``Task.data`` calls it."""
    f1_pct: float


def published_cells() -> list[PublishedCell]:
    """S1 Table 2, with the untrained students and the teacher of Table 1."""
    base, tuned = published("table1"), published("table2")
    students = list(dict.fromkeys(tuned["student"]))
    wanted = [(name, UNTRAINED) for name in students] + [(S1_TEACHER, TEACHER)]
    rows = [(name, what, base[base["model"] == name].iloc[0]) for name, what in wanted]
    rows += [(row["student"], row["train_dataset"], row) for _, row in tuned.iterrows()]
    return [
        PublishedCell(name, what, f"{data} (real)", float(row[f"{data}_f1_pct"]))
        for name, what, row in rows
        for data in DATASETS_IN_S1
    ]


def percent(f1: Interval) -> str:
    """F1 in percent as "F1 [low, high] (n)"; empty where no session has a score."""
    if not f1.n:
        return ""
    interval = f" [{100 * f1.low:.1f}, {100 * f1.high:.1f}]" if f1.n > 1 else ""
    return f"{100 * f1.mean:.1f}{interval} (n = {f1.n})"


def matrix_table(cells: Sequence[MatrixCell]) -> pd.DataFrame:
    """S1 Table 2: who was trained on what and tested on what, F1 in percent; S1's rows first, then ours.

    "change" is F1 minus that of the untrained parent on the same data, in points, as S1 gives it: a difference of two
    means, whose verdict stands in ``student_table``. S1 gives no interval and does not say whether its F1 is macro.

    Args:
        cells: students, their untrained parents and the teacher, each on each data set it was asked about.

    Raises:
        ValueError: two results for one cell.
    """
    keys = [(cell.name, cell.trained_on, cell.result.task.data) for cell in cells]
    if doubled := sorted({" / ".join(key) for key in keys if keys.count(key) > 1}):
        raise ValueError(f"two results for one cell of the matrix: {', '.join(doubled)}")
    kinds = {key[:2]: f"ours: {KINDS[cell.result.model.kind]}" for key, cell in zip(keys, cells)}
    entries = [_Entry((c.student, c.trained_on, PUBLISHED), c.student, c.data, c.f1_pct, f"{c.f1_pct:.2f}", {})
               for c in published_cells()]  # fmt: skip
    for (name, trained_on, data), cell in zip(keys, cells):
        row_key, f1 = (name, trained_on, kinds[name, trained_on]), cell.result.macro_f1
        made_by = {"engine": cell.result.made_by, "revision": cell.result.revision}
        entries.append(_Entry(row_key, cell.student, data, 100 * f1.mean, percent(f1), made_by))
    before = {(e.published, e.student, e.data): e.f1_pct for e in entries if e.row[1] == UNTRAINED}
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for entry in entries:
        row, key = rows.setdefault(entry.row, {}), (entry.published, entry.student, entry.data)
        row[f"F1 % on {entry.data}"] = entry.text
        if entry.row[1] not in (UNTRAINED, TEACHER) and key in before:
            row[f"change on {entry.data}"] = f"{entry.f1_pct - before[key]:+.2f}"
        for column, value in entry.made_by.items():
            row[column] = "; ".join(dict.fromkeys([*filter(None, row.get(column, "").split("; ")), value]))
    table = pd.DataFrame(list(rows.values()))
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["student", "trained on", "kind"])
    columns = [f"{what} on {data}" for data in dict.fromkeys(e.data for e in entries) for what in ("F1 %", "change")]
    return table.reindex(columns=[*columns, "engine", "revision"]).fillna("")


class _Entry(NamedTuple):
    """One F1 of the matrix."""

    row: tuple[str, str, str]
    """Student with its round, what it was trained on, kind."""
    student: str
    data: str
    f1_pct: float
    text: str
    made_by: dict[str, str]
    """Engine and revision; S1 gives neither."""

    @property
    def published(self) -> bool:
        """Whether it is S1's: changes are never between its values and ours."""
        return self.row[2] == PUBLISHED


def key_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What run.json keeps of a :func:`matrix_table`: F1 of our own rows."""
    own = table[table.index.get_level_values("kind") != PUBLISHED]
    return own[[column for column in own.columns if column.startswith("F1 %") and (own[column] != "").any()]]
