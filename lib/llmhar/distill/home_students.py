"""Students that move house: the arms of their study, each taught on very many made-up homes. Runs no notebook.

All arms see windows of the same homes; they differ in one thing each (:data:`ARMS`). The same arm opens the same
student again; a killed training goes on where it stopped.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from llmhar.ask.asking import Asking
from llmhar.ask.engines.rules.home import RulesEngine
from llmhar.ask.inference import request_to
from llmhar.ask.models import MODELS, AskedAs
from llmhar.ask.trained import change_about
from llmhar.data.events import Window
from llmhar.data.simulated_homes import Day
from llmhar.distill.examples import Example, reasons_of
from llmhar.distill.home_lessons import LISTED, days_and_windows, example_of, lesson, refuse_leaks, shuffled
from llmhar.distill.students import Student
from llmhar.distill.teaching import load_teaching, recipe_for
from llmhar.distill.training import train_student
from llmhar.settings import choose
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import FORMS, build_prompt

TEACHING = "homes"
"""Key into ``params/teachings.yaml``; its ``n_examples`` are homes, a window each."""
Answers = Literal["why", "bare", "rules"]


@dataclass(frozen=True)
class HomeArm:
    """What one student is taught, and what differs from the study's own."""

    words: str
    """How tables call it."""
    answers: Answers = "why"
    """The truth with a reason; the truth alone; or what ``rules-plain`` say, right or wrong, with theirs (S1's way)."""
    base: str = "smollm2-135m"
    """Key into models.yaml."""
    recorded: bool = False
    """Whether it may learn activity names of recorded homes: to be used, not tested on these."""
    seed: int = 0
    """Of homes, adapter and order."""


ARMS: dict[str, HomeArm] = {
    "truth": HomeArm("taught on made-up homes"),
    "answer": HomeArm("answers only", answers="bare"),
    "rules": HomeArm("taught by rules-plain", answers="rules"),
    "deployable": HomeArm("with recorded homes' names", recorded=True),
    "l16": HomeArm("16 layers", base="smollm2-135m-l16"),
    "l8": HomeArm("8 layers", base="smollm2-135m-l8"),
    "seed 2": HomeArm("seed 2", seed=2),
}
"""In the order in which they are trained."""


def home_student(name: str, *, progress: bool = True, threads: int | None = None) -> Student:
    """Train the student of an arm, or open it where it stands.

    Args:
        name: key into :data:`ARMS`.
        progress: show a bar on stderr.
        threads: OpenMP threads; None = the cores that are free now.

    Raises:
        SettingsError: no such arm.
        LeakError: a name of a recorded home, or a session that is kept for tests, among the lessons.
        TrainingError: the child ended early.
    """
    arm = choose(ARMS, name, f"no arm {name!r}; there are:")
    teaching = load_teaching(TEACHING, seed=arm.seed)
    examples = home_lessons(arm, teaching.n_examples or 0)
    named = f"{arm.base}, {arm.words}"
    student = train_student(recipe_for(arm.base, teaching), examples, name=named, progress=progress, threads=threads)
    by_rules = arm.answers == "rules"
    about = {
        "prompt": LISTED, "asked": AskedAs(constrained=True, why=arm.answers != "bare"),
        "teacher": "rules-plain" if by_rules else "the truth of made-up homes",
        "teacher_kind": "rules" if by_rules else "simulated", "data": "simulated_homes (simulated)",
        "windows": f"a window of each of {len(examples)} homes",
        "completion": "answer" if arm.answers == "bare" else "reasoning",
    }  # fmt: skip
    change_about(student.folder, about)
    return student


def home_lessons(arm: HomeArm, n: int) -> list[Example]:
    """The lessons of an arm, from ``n`` homes.

    Raises:
        LeakError: a name of a recorded home, or a session that is kept for tests.
    """
    pairs = days_and_windows(n, f"homes-{arm.seed}", recorded=arm.recorded)
    examples = [
        rules_lesson(day, window) if arm.answers == "rules" else lesson(day, window, with_why=arm.answers == "why")
        for day, window in pairs
    ]
    refuse_leaks(examples, recorded=arm.recorded)
    return examples


def rules_lesson(day: Day, window: Window) -> Example:
    """What ``rules-plain`` say of a window, unfiltered, in the student's form."""
    model, labels = MODELS["rules-plain"], day.session.labels
    request = request_to(model, Asking())(messages=build_prompt(day.session, FORMS["brief"]).messages(window))
    said = next(RulesEngine().stream([request])).text
    reading = parse_answer(said, len(window.events), labels)
    reasons = reasons_of(reading.reasoning, len(window.events))
    session = shuffled(random.Random(f"lesson:{day.session.session_id}"), day.session)
    return example_of(session, window, [prediction.label for prediction in reading.predictions], reasons)
