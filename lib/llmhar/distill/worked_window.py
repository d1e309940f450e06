"""One training window on its way: the teacher's text, the lesson made of it, and the student's answer to the same.

For reading, not for scores: the student has seen this window, so that its answer shows what was learnt by heart.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from IPython.display import HTML

from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.ask.task import narrow
from llmhar.distill.study import TaughtStudy, TrainingSet
from llmhar.distill.traces import Trace
from llmhar.score.evaluate import evaluate
from llmhar.score.tables import KINDS, Result
from llmhar.traces.view import templates, window_html

MAX_CHARS = 6_000
"""Of a text that is shown; more is cut, and that is said."""


class Column(NamedTuple):
    """One of the texts side by side."""

    title: str
    note: str
    """Who wrote it, or what it is."""
    text: str


def first_trace(training_set: TrainingSet) -> Trace:
    """The trace that the first training example was made of."""
    key = training_set.examples[0].request_key
    return next(trace for trace in training_set.traces if trace.request_key == key)


def ask_student(taught: TaughtStudy, store: Store, asking: Asking) -> Result | None:
    """What the first student, after its last round, answers to the first window that it was shown.

    Args:
        taught: its students and what they were shown.
        store: where the answer is looked up and kept.
        asking: how it is asked.

    Returns:
        Its result on that one training window, under the student's prompt; None where nobody was taught.
    """
    if taught.latest is None:
        return None
    training_set = taught.latest.training_set
    example = training_set.examples[0]
    place = (example.session_id, example.window_index)
    windows = narrow(training_set.windows, {place}, f"training window {place[1]} of session {place[0]}")
    prompts = dict(training_set.course.test.prompts)
    task = replace(windows, prompts=prompts, answer=training_set.course.test.answer)
    return evaluate(task, [taught.spec_of(taught.latest)], asking, store).results[0]


def columns(training_set: TrainingSet, student: Result | None) -> list[Column]:
    """Teacher's trace, training example and student's answer about one window.

    Args:
        training_set: the window of its first example is shown.
        student: from :func:`ask_student`; None = nobody was taught.
    """
    trace = first_trace(training_set)
    teacher = f"{trace.teacher} ({training_set.about['teacher_kind']}), under its own prompt"
    texts = [
        Column("1. The teacher's trace", teacher, trace.text),
        Column(
            "2. The training example",
            "the student's prompt and, below it, what it is to say",
            training_set.first_example,
        ),
    ]
    if student is None:
        return [*texts, Column("3. The student's answer", "nobody is taught in this profile", "")]
    stored = student.answers[0].stored
    said = stored.generation.text if stored else student.answers[0].error
    who = f"{student.model.name} ({KINDS[student.model.kind]}), to the same prompt"
    return [*texts, Column("3. The student's answer", who, said)]


def worked_window(taught: TaughtStudy, store: Store, asking: Asking) -> HTML:
    """The events of one training window with their truth, and the three texts about it side by side; all escaped.

    Args:
        taught: its students and what they were shown; where nobody was, the third text is missing.
        store: where the student's answer is looked up and kept.
        asking: how the student is asked.
    """
    training_set = taught.latest.training_set if taught.latest else taught.training_sets[0]
    student = ask_student(taught, store, asking)
    trace = first_trace(training_set)
    texts = [
        one if len(one.text) <= MAX_CHARS else one._replace(text=f"{one.text[:MAX_CHARS]} […]")
        for one in columns(training_set, student)
    ]
    events = window_html(trace.window, trace.session).data
    return HTML(events + templates.get_template("columns.html.j2").render(columns=texts))
