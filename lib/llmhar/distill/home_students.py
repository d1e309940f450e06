"""Students that move house: the arms of their study, each taught on very many made-up homes. Runs no notebook.

All arms see windows of the same homes; they differ in one thing each (:data:`ARMS`). The same arm opens the same
student again; a killed training goes on where it stopped.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from llmhar.ask.asking import Asking
from llmhar.ask.engines.rules.home import RulesEngine
from llmhar.ask.inference import STUDY, request_to
from llmhar.ask.models import MODELS, AskedAs
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.ask.trained import change_about
from llmhar.data.events import Window
from llmhar.data.load_report import LoadReport
from llmhar.data.simulated_homes import Day
from llmhar.distill.examples import Example, make_examples, reasons_of
from llmhar.distill.home_lessons import LISTED, days_and_windows, example_of, lesson, refuse_leaks, shuffled
from llmhar.distill.students import Student
from llmhar.distill.teaching import Teaching, load_teaching, recipe_for
from llmhar.distill.traces import collect_traces, filter_traces
from llmhar.distill.training import train_student
from llmhar.settings import SettingsError, choose
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import FORMS, build_prompt

TEACHING = "homes"
"""Key into ``params/teachings.yaml``; its ``n_examples`` are homes, a window each."""
Answers = Literal["why", "bare", "rules", "traces"]


@dataclass(frozen=True)
class HomeArm:
    """What one student is taught, and what differs from the study's own."""

    words: str
    """How tables call it."""
    answers: Answers = "why"
    """The truth with a reason; the truth alone; what ``rules-plain`` say, right or wrong, with theirs (S1's way); or,
    likewise, the whole texts of ``teacher``."""
    base: str = "smollm2-135m"
    """Key into models.yaml."""
    recorded: bool = False
    """Whether it may learn activity names of recorded homes: to be used, not tested on these."""
    seed: int = 0
    """Of homes, adapter and order."""
    teaching: str = TEACHING
    """Key into ``params/teachings.yaml``."""
    teacher: str = ""
    """Key into models.yaml: the language model whose texts about the homes' windows are learnt, asked through the
    store; empty where the answers are not traces."""


ARMS: dict[str, HomeArm] = {
    "truth": HomeArm("taught on made-up homes"),
    "answer": HomeArm("answers only", answers="bare"),
    "rules": HomeArm("taught by rules-plain", answers="rules"),
    "deployable": HomeArm("with recorded homes' names", recorded=True),
    "l16": HomeArm("16 layers", base="smollm2-135m-l16"),
    "l8": HomeArm("8 layers", base="smollm2-135m-l8"),
    "seed 2": HomeArm("seed 2", seed=2),
    "qwen3": HomeArm(
        "taught by Qwen3-32B", answers="traces", base="qwen3-0.6b", teaching="homes-s1", teacher="qwen3-32b"
    ),
}
"""In the order in which they are trained; the last wants a GPU."""


def home_student(
    name: str, *, store: Store | None = None, asking: Asking = STUDY, progress: bool = True, threads: int | None = None
) -> Student:
    """Train the student of an arm, or open it where it stands.

    Args:
        name: key into :data:`ARMS`.
        store: where a teacher's traces are looked up and kept; only an arm with a teacher needs one.
        asking: how a teacher is asked: sampling, thinking, engine.
        progress: show a bar on stderr.
        threads: OpenMP threads; None = the cores that are free now.

    Raises:
        SettingsError: no such arm, or one with a teacher and no store.
        LeakError: a name of a recorded home, or a session that is kept for tests, among the lessons.
        EngineError: the teacher's engine cannot start, or all its answers failed.
        TrainingError: the child ended early.
    """
    arm = choose(ARMS, name, f"no arm {name!r}; there are:")
    teaching = load_teaching(arm.teaching, seed=arm.seed)
    examples: Sequence[Example]
    if not arm.teacher:
        examples = home_lessons(arm, teaching.n_examples or 0)
    elif store is None:
        raise SettingsError(f"arm {name!r} learns what {arm.teacher} writes: give the store that keeps it")
    else:
        examples = trace_lessons(arm, teaching, store, asking)
    named = f"{arm.base}, {arm.words}"
    student = train_student(recipe_for(arm.base, teaching), examples, name=named, progress=progress, threads=threads)
    by_rules = arm.answers == "rules"
    about = {
        "prompt": LISTED, "asked": AskedAs(constrained=True, why=arm.answers != "bare", named=arm.answers != "bare"),
        "teacher": arm.teacher or ("rules-plain" if by_rules else "the truth of made-up homes"),
        "teacher_kind": "LLM" if arm.teacher else "rules" if by_rules else "simulated",
        "data": "simulated_homes (simulated)",
        "windows": f"a window of each of {len(examples)} homes",
        "completion": "answer" if arm.answers == "bare" else "reasoning",
    }  # fmt: skip
    change_about(student.folder, about)
    return student


@lru_cache(maxsize=2)
def home_lessons(arm: HomeArm, n: int) -> tuple[Example, ...]:
    """The lessons of an arm, from ``n`` homes; a day of each home takes a while, and a notebook opens a student twice.

    Raises:
        LeakError: a name of a recorded home, or a session that is kept for tests.
    """
    pairs = days_and_windows(n, f"homes-{arm.seed}", recorded=arm.recorded)
    examples = tuple(
        rules_lesson(day, window) if arm.answers == "rules" else lesson(day, window, with_why=arm.answers == "why")
        for day, window in pairs
    )
    refuse_leaks(examples, recorded=arm.recorded)
    return examples


def trace_lessons(arm: HomeArm, teaching: Teaching, store: Store, asking: Asking = STUDY) -> list[Example]:
    """What a language model wrote about the windows, as far as the teaching's filter keeps it (S1's way: all of it).

    The teacher reads what the student will read, and its answer is bound to the same form, a reason in each item; where
    it thinks before, that is learnt as well, or not, as the teaching's ``completion`` says.

    Args:
        arm: its ``teacher`` is asked.
        teaching: so many homes as its ``n_examples``; its samples, filter and completion.
        store: where answers are looked up and kept.
        asking: how the teacher is asked; samples and form of the answer aside.

    Raises:
        EngineError: the engine cannot start, or every request failed.
        LeakError: a name of a recorded home, or a session that is kept for tests.
    """
    pairs = list(days_and_windows(teaching.n_examples or 0, f"homes-{arm.seed}", recorded=arm.recorded))
    task = task_of(pairs)
    asking = replace(asking, n_samples=teaching.n_samples, constrained=True, why=True)
    collected = collect_traces(task, MODELS[arm.teacher], store, asking)
    shares = {"least_correct": teaching.least_correct, "least_agreement": teaching.least_agreement}
    kept, _ = filter_traces(collected, teaching.trace_filter, **shares)
    examples = make_examples(kept, dict(task.prompts), test_sessions=(), completion=teaching.completion)
    refuse_leaks(examples, recorded=arm.recorded)
    return examples


def task_of(pairs: Sequence[tuple[Day, Window]]) -> Task:
    """The windows of the lessons as a task, under the student's prompt with each home's activities in a lesson's order.

    Args:
        pairs: from :func:`llmhar.distill.home_lessons.days_and_windows`.
    """
    days = [day.session for day, _ in pairs]
    sessions = {day.session_id: shuffled(random.Random(f"lesson:{day.session_id}"), day) for day in days}
    return Task(
        dataset="simulated_homes",
        kind="simulated",
        sessions=sessions,
        train={},
        windows=tuple(window for _, window in pairs),
        answer=LISTED.answer,
        subset=f"{len(pairs)} windows, each of another made-up home",
        prompts={session.home: build_prompt(session, LISTED) for session in sessions.values()},
        report=LoadReport("simulated_homes", Path()),
    )


def rules_lesson(day: Day, window: Window) -> Example:
    """What ``rules-plain`` say of a window, unfiltered, in the student's form."""
    model, labels = MODELS["rules-plain"], day.session.labels
    request = request_to(model, Asking())(messages=build_prompt(day.session, FORMS["brief"]).messages(window))
    said = next(RulesEngine().stream([request])).text
    reading = parse_answer(said, len(window.events), labels)
    reasons = reasons_of(reading.reasoning, len(window.events))
    session = shuffled(random.Random(f"lesson:{day.session.session_id}"), day.session)
    return example_of(session, window, [prediction.label for prediction in reading.predictions], reasons)
