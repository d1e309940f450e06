"""The student of homes never seen, tuned on a few labelled days of a home it has come to.

It learns the very days that the first draw of :func:`llmhar.score.overtake.learning_curves` gives to trees, and answers
about the same windows. A day's labels come without reasons: each is written from its sensor, part of day and label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmhar.ask.asking import Asking
from llmhar.ask.models import AskedAs
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.ask.trained import change_about
from llmhar.data.events import WINDOW_SIZE, Session, cut_windows
from llmhar.distill.examples import Example
from llmhar.distill.home_lessons import LISTED, example_of, hour_words
from llmhar.distill.home_students import ARMS, home_student
from llmhar.distill.merging import merge
from llmhar.distill.moving import MAIN, Homes, Row, bound, main_row, named
from llmhar.distill.students import Student
from llmhar.distill.study import examine
from llmhar.distill.teaching import load_teaching, recipe_for
from llmhar.distill.training import train_student
from llmhar.score.controls import true_labels
from llmhar.score.overtake import labelled_days, refuse_test_days
from llmhar.score.tables import Result
from llmhar.text.naming import name_words
from llmhar.text.schema import WHY_CHARS

DAYS = (2, 8)
"""Labelled days that the student is tuned on."""
MOST_HOMES = 2
"""Counted homes in which it is: those with the most labelled days."""
TEACHING = "labelled-days"
"""Key into ``params/teachings.yaml``; its ``max_steps`` are the most."""
EPOCHS = 6
"""How often each window of few days is seen."""
Tuned = dict[int, list[Result]]
"""Labelled days -> results of the student tuned on so many days of a home, a home each."""


def ask_tuned(rows: Sequence[Row], homes: Homes, asking: Asking, store: Store) -> Tuned:
    """Tune the study's student on labelled days of counted homes, and ask it there; nothing where it was not asked.

    Args:
        rows: answerers, the study's student among them.
        homes: the counted ones with the most labelled days are learnt.
        asking: limits and engine.
        store: where answers are looked up and kept.

    Raises:
        LeakedDay: a test day among the days to learn.
        TrainingError: the child ended early.
    """
    own, tuned = main_row(rows), Tuned()
    if own is None:
        return tuned
    by_days = sorted(homes.counted, key=lambda column: -len(labelled_days(homes.tasks[column])))
    for column in by_days[:MOST_HOMES]:
        task = homes.tasks[column]
        for n in DAYS:
            if n <= len(labelled_days(task)):
                model = named(merge(tune(column, task, n))[0], own.name)
                names_itself = replace(bound(asking), named=False, confidence=False)
                ((result,),) = examine([model], [task], store, names_itself)
                tuned.setdefault(n, []).append(result)
    return tuned


def tune(column: str, task: Task, n: int) -> Student:
    """The study's student after ``n`` labelled days of a home: trained, or opened where it stands.

    Args:
        column: how tables call the home.
        task: windows that are asked about, of this home; its training sessions are the days.
        n: labelled days.
    """
    refuse_test_days(task)
    examples = day_lessons(labelled_days(task, draw=0)[:n], max(len(window.events) for window in task.windows))
    teaching = load_teaching(TEACHING)
    steps = min(teaching.max_steps, -(-EPOCHS * len(examples) // teaching.batch_size))
    teaching = teaching.changed({"max_steps": steps})
    name = f"{ARMS[MAIN].words}, tuned on {n} days of {column}"
    recipe = recipe_for(ARMS[MAIN].base, teaching)
    student = train_student(recipe, examples, name=name, parent=home_student(MAIN))
    about = {"prompt": LISTED, "asked": AskedAs(constrained=True, why=True, named=False), "teacher_kind": "truth",
             "teacher": f"the labels of {n} days", "data": task.data, "windows": f"{len(examples)} windows",
             "completion": "items"}  # fmt: skip
    change_about(student.folder, about)
    return student


def day_lessons(days: Sequence[Session], size: int = WINDOW_SIZE) -> list[Example]:
    """The windows of labelled days, each label with a reason that ends in the label's own words.

    Args:
        days: sessions of one home.
        size: events in a window.
    """
    lessons = []
    for day in days:
        windows = cut_windows(day, size)
        for window, labels in zip(windows, true_labels(windows, day).labels):
            reasons = [
                ""
                if label is None
                else f"{event.sensor} {hour_words(event)}, {name_words(day.labels[label])}"[:WHY_CHARS]
                for event, label in zip(window.events, labels)
            ]
            if any(reasons):
                lessons.append(example_of(day, window, labels, reasons))
    return lessons
