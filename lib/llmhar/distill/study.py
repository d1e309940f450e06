"""The study: a teacher is asked about training windows, students learn its texts, all answer about test windows.

Loops only: each step is a module of its own, and what it returns says what was asked and what came out. Draws nothing.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task, some_sessions
from llmhar.ask.trained import change_about
from llmhar.distill.cards import name_student
from llmhar.distill.courses import Course
from llmhar.distill.examples import Completion, Example, make_examples
from llmhar.distill.merging import merge
from llmhar.distill.recipe import Recipe
from llmhar.distill.students import Student, times
from llmhar.distill.teaching import Arm, Teaching, read_arm, recipe_for
from llmhar.distill.traces import FILTERS, Collected, FunnelStep, Trace, balance, collect_traces, filter_traces
from llmhar.distill.training import train_student
from llmhar.score.controls import Labelled, control_results, true_labels
from llmhar.score.evaluate import evaluate
from llmhar.score.tables import KINDS, Result
from llmhar.settings import SettingsError

RULES = {"rules": "rules", "rules_plain": "rules-plain"}
"""Name of key numbers -> model: scripts that stand beside every student."""
NO_ARMS: Mapping[str, TaughtStudent] = MappingProxyType({})


@dataclass(frozen=True)
class Study:
    """What is asked: who teaches whom, how, and how all of them answer."""

    teacher: ModelSpec
    students: tuple[str, ...]
    """Keys into models.yaml. The first one is also taught a second round and tested on further data."""
    teaching: Teaching
    asking: Asking
    """How teacher and students are asked; of training windows the teacher gives ``teaching.n_samples`` samples."""
    store: Store
    serve: Literal["merged", "adapter"] = "merged"
    """Which form of a LoRA student answers: merged weights, or the adapter beside its base."""
    student_name: str | None = None
    """A name of its own for the first student as it stands after its last round on the first course."""


@dataclass(frozen=True)
class TrainingSet:
    """What a student is shown of one course."""

    course: Course
    windows: Task
    """The training windows that the teacher was asked about, under its own prompt."""
    collected: Collected
    """All that the teacher said of them."""
    traces: list[Trace]
    """Kept by the filter."""
    examples: list[Example]
    """The same under the student's prompt."""
    completion: Completion = "reasoning"
    """How much of each trace the examples hold."""

    @property
    def n_sessions(self) -> int:
        """Training sessions that the teacher's texts are about."""
        return len({trace.window.session_id for trace in self.collected.traces})

    @property
    def first_example(self) -> str:
        """A student's prompt and, below it, what it is to say."""
        return f"{self.examples[0].messages[-1]['content']}\n\n{self.examples[0].completion}"

    @property
    def provenance(self) -> str:
        """Who taught on what, for figures."""
        made_by, teacher = self.collected.traces[0].made_by, self.collected.traces[0].teacher
        kind = KINDS[MODELS[teacher].kind]
        data = f"{self.windows.subset}, {self.windows.data}"
        return f"{teacher} ({kind}), {made_by}; {data}"

    @property
    def about(self) -> dict[str, Any]:
        """What a student's folder says of its lessons: fields of :class:`llmhar.ask.trained.About`."""
        trace = self.collected.traces[0]
        return {
            "prompt": self.course.student_prompt, "teacher": trace.teacher, "teacher_made_by": str(trace.made_by),
            "teacher_kind": KINDS[MODELS[trace.teacher].kind], "data": self.windows.data,
            "windows": self.windows.subset, "completion": self.completion,
        }  # fmt: skip


def teach(course: Course, study: Study) -> TrainingSet:
    """Collect the teacher's traces (from the store, or by asking), filter them, put them below the student's prompt.

    Args:
        course: whose training windows.
        study: its teaching says which sessions and which traces.

    Raises:
        ValueError: fewer training sessions than the teaching takes, or a filter that leaves no trace.
        LeakError: test sessions among the traces.
        EngineError: the teacher's engine cannot start.
        StoreError: the store cannot be read or written.
    """
    teaching = study.teaching
    windows = some_sessions(course.training, teaching.n_sessions, teaching.skip_sessions)
    asking = replace(study.asking, n_samples=teaching.n_samples)
    collected = collect_traces(windows, study.teacher, study.store, asking)
    traces, _ = _filtered(collected, teaching.trace_filter, teaching)
    if not traces:
        raise ValueError(
            f"the filter {teaching.trace_filter!r} left no trace of {course.name}: loosen least_correct or "
            f"least_agreement{', and ask for several samples' if teaching.n_samples < 2 else ''}"
        )
    if teaching.n_examples is not None:
        traces = balance(traces, teaching.n_examples, teaching.seed)
    examples = make_examples(
        traces, dict(course.test.prompts), test_sessions=list(course.test.sessions), completion=teaching.completion
    )
    return TrainingSet(course, windows, collected, traces, examples, teaching.completion)


def _filtered(collected: Collected, filter_name: str, teaching: Teaching) -> tuple[list[Trace], list[FunnelStep]]:
    least_correct, least_agreement = teaching.least_correct, teaching.least_agreement
    return filter_traces(collected, filter_name, least_correct=least_correct, least_agreement=least_agreement)


def compare_filters(training_set: TrainingSet, teaching: Teaching) -> dict[str, list[FunnelStep]]:
    """Filter -> what each of its steps would leave of the same traces, at the teaching's own shares."""
    return {name: _filtered(training_set.collected, name, teaching)[1] for name in FILTERS}


@dataclass(frozen=True)
class TaughtStudent:
    """A student with what it was shown, in both forms that it can answer in."""

    student: Student
    training_set: TrainingSet
    merged: ModelSpec
    """Weights of its own: the adapter folded into its base, or (all weights tuned) as they are."""
    merge_report: dict[str, Any]
    """How far merged weights are from base and adapter; empty where there is no adapter."""


def train(
    recipe: Recipe,
    training_set: TrainingSet,
    study: Study,
    *,
    name: str | None = None,
    first: Student | None = None,
    teacher: ModelSpec | None = None,
) -> TaughtStudent:
    """Train (or open) a student on one training set.

    Args:
        recipe: how.
        training_set: what.
        study: a first round sees every example at most ``teaching.max_epochs`` times, so small sets take fewer steps,
            and is told Qwen3's thinking switch as ``asking`` has it.
        name: how tables call it; None = student, round and course.
        first: a student that goes on from where it stands, for as many steps as the recipe says; None = a first round.
        teacher: objective gkd only: the model whose distribution is learnt.

    Raises:
        TrainingError: the training could not start or did not come to its end.
    """
    examples, course = training_set.examples, training_set.course.name
    most_epochs, thinking = study.teaching.max_epochs, study.asking.thinking
    parent: ModelSpec | Student = first or MODELS[recipe.student]
    if isinstance(parent, ModelSpec) and thinking is not None and parent.thinking:
        template_args = parent.template_args | {"enable_thinking": thinking}
        parent = parent.model_copy(update={"template_args": template_args})
    if first is None and most_epochs is not None:
        most_steps = max(1, math.ceil(most_epochs * len(examples) / recipe.examples_per_step))
        recipe = recipe.model_copy(update={"max_steps": min(recipe.max_steps, most_steps)})
    arm = Arm(study.teaching.completion, recipe.seed)
    shown = name or f"{recipe.student} taught{times(first.round + 1 if first else 1)} on {course}{arm.words}"
    student = train_student(recipe, examples, name=shown, parent=parent, teacher=teacher)
    student = replace(student, course=course, arm=arm.words)
    change_about(student.folder, training_set.about)
    return TaughtStudent(student, training_set, *(merge(student) if recipe.method == "lora" else (student.spec, {})))


@dataclass(frozen=True)
class TaughtStudy:
    """A study with what its students were shown and what became of them."""

    study: Study
    training_sets: list[TrainingSet]
    """Of the first round, one a course."""
    students: list[TaughtStudent]
    """Course by course, on each all students in the study's order; a second round last."""

    @property
    def courses(self) -> list[Course]:
        """What was taught on."""
        return [training_set.course for training_set in self.training_sets]

    @property
    def on_first_course(self) -> list[TaughtStudent]:
        """All that were taught on the first course."""
        return [taught for taught in self.students if taught.student.course == self.courses[0].name]

    @property
    def latest(self) -> TaughtStudent | None:
        """The first student as it stands after its last round on the first course; None where nobody was taught."""
        own = [taught for taught in self.on_first_course if taught.student.base == self.study.students[0]]
        return max(own, key=lambda taught: taught.student.round, default=None)

    def spec_of(self, taught: TaughtStudent) -> ModelSpec:
        """The form of a student that answers in this study."""
        return taught.student.spec if self.study.serve == "adapter" else taught.merged


def train_students(study: Study, training_sets: Sequence[TrainingSet]) -> TaughtStudy:
    """Every student on every training set, then the first student's second round; what stands already is opened."""
    own, twice = study.student_name, study.teaching.second_round is not None
    pairs = [(training_set, student) for training_set in training_sets for student in study.students]
    taught = [
        train(recipe_for(student, study.teaching), training_set, study, name=None if place or twice else own)
        for place, (training_set, student) in enumerate(pairs)
    ]
    if taught and twice:
        taught.append(second_round(taught[0], study))
    if taught and own:
        for folder in name_student(taught[-1 if twice else 0].student.folder, own):
            print(f"{own} was the name of {folder}, which keeps its folder's", file=sys.stderr)
    return TaughtStudy(study, list(training_sets), taught)


def train_arms(taught: TaughtStudy, arms: Sequence[str]) -> dict[str, TaughtStudent]:
    """The first student on the first course again, with all its rounds, in other arms than the study's own.

    Args:
        taught: windows, recipe and steps are the study's.
        arms: as :func:`.teaching.read_arm` takes them; one that is the study's own is left out.

    Returns:
        Name of its key numbers -> student after its last round.

    Raises:
        SettingsError: an arm that there is not, or the answers alone of students that are asked for reasons.
    """
    study = taught.study
    found: dict[str, TaughtStudent] = {}
    for arm in map(read_arm, arms):
        if study.teaching.completion == "items":
            if arm.completion == "answer":
                raise SettingsError("arms: students taught in items answer with a reason; take seeds, as reasoning:1")
            arm = arm._replace(completion="items")
        teaching = study.teaching.changed(arm._asdict())
        if teaching != study.teaching and taught.students:
            own = replace(study, teaching=teaching, students=study.students[:1], student_name=None)
            found[arm.key] = train_students(own, [teach(taught.courses[0], own)]).students[-1]
    return found


def second_round(taught: TaughtStudent, study: Study) -> TaughtStudent:
    """A student goes on, at half the learning rate, on the traces that the teaching's second round names.

    These may be further sessions, or only traces that are right (rejection sampling, as STaR's, 2203.14465).
    """
    again = study.teaching.second_round
    assert again is not None
    teaching = study.teaching.next_round(taught.training_set.n_sessions)
    training_set = teach(taught.training_set.course, replace(study, teaching=teaching))
    first = taught.student
    changed = {"max_steps": again.max_steps, "learning_rate": first.recipe.learning_rate / 2}
    recipe = first.recipe.model_copy(update=changed)
    return train(recipe, training_set, study, first=first, name=study.student_name)


def labelled_windows(training_sets: Sequence[TrainingSet]) -> dict[str, Labelled]:
    """The windows that a student was shown, with the teacher's labels ("") and with the truth ("_truth"), for controls.

    A window that was shown several times counts once. Nothing where nobody answered.
    """
    once = {
        (trace.window.session_id, trace.window.index): trace
        for training_set in training_sets
        for trace in training_set.traces
    }
    traces = list(once.values())
    if not traces:
        return {}
    windows, session = [trace.window for trace in traces], traces[0].session
    by_teacher = Labelled(windows, [trace.labels for trace in traces], traces[0].teacher, session.activities)
    return {"": by_teacher, "_truth": true_labels(windows, session)}


def examine(
    models: Sequence[str | ModelSpec], tasks: Sequence[Task], store: Store, asking: Asking = STUDY
) -> list[list[Result]]:
    """Ask each model all tasks, its engine started once; one list a model, in the order of the tasks.

    Args:
        models: names or specs.
        tasks: windows and prompts.
        store: where answers are looked up and kept.
        asking: how they are asked.
    """
    if not models:
        return []
    results = evaluate(tasks, models, asking, store).results
    return [results[start : start + len(tasks)] for start in range(0, len(results), len(tasks))]


@dataclass(frozen=True)
class StudyResults:
    """What teacher, untrained models and students answered about test windows; lists in the order of courses."""

    taught: TaughtStudy
    students: list[TaughtStudent]
    """All that were asked."""
    of_teacher: list[Result]
    of_untrained: dict[str, list[Result]]
    """Key into models.yaml -> its results before training, under the teacher's prompt."""
    of_students: list[list[Result]]
    """One list a student, in the order of ``students``."""
    compared: dict[str, Result]
    """From :func:`compare_on`, on the first course."""

    @property
    def latest(self) -> Result | None:
        """The first student after its last round: the one that the study is about, whoever scores best."""
        taught = self.taught.latest
        return next((result for one, result in self.on_first_course if one is taught), None)

    @property
    def teacher(self) -> Result:
        """On the first course."""
        return self.of_teacher[0]

    @property
    def on_first_course(self) -> list[tuple[TaughtStudent, Result]]:
        """All that were taught on the first course, tested on it."""
        first = self.taught.courses[0].name
        pairs = zip(self.students, self.of_students)
        return [(taught, results[0]) for taught, results in pairs if taught.student.course == first]

    @property
    def scored(self) -> list[Result]:
        """Students that were taught on the first course, on it."""
        return [result for _, result in self.on_first_course]

    @property
    def untrained(self) -> list[Result]:
        """The study's models before training, on the first course."""
        return [results[0] for results in self.of_untrained.values()]

    @property
    def untrained_of(self) -> dict[str, Result]:
        """Name of each student's result -> that of its model before training, in the order of ``scored``."""
        return {result.model.name: self.of_untrained[t.student.base][0] for t, result in self.on_first_course}

    @property
    def best(self) -> Result | None:
        """The student with the highest F1 on the first course, chosen on these windows; None where nobody was."""
        return max(self.scored, key=lambda result: result.macro_f1.mean, default=None)

    @property
    def shown(self) -> list[Result]:
        """All results on the first course that tables of scores show."""
        return [self.teacher, *self.untrained, *self.scored, *self.compared.values()]

    @property
    def every(self) -> list[Result]:
        """All results on all courses, chance aside."""
        own = [self.of_teacher, *self.of_untrained.values(), *self.of_students]
        return [result for results in own for result in results]

    @property
    def trio(self) -> list[Result]:
        """Teacher, the best student before training, and the best student; empty where nobody was taught."""
        return [self.teacher, self.untrained_of[self.best.model.name], self.best] if self.best else []


def examine_study(
    taught: TaughtStudy,
    further: Sequence[TaughtStudent] = (),
    tested: Sequence[Course] = (),
    arms: Mapping[str, TaughtStudent] = NO_ARMS,
) -> StudyResults:
    """Ask teacher, untrained models and students about test windows.

    Args:
        taught: its students are asked about its own courses.
        further: the first student taught on other courses.
        tested: courses beside the study's own that the teacher and the first student after its first round, wherever
            it was taught, are asked about too.
        arms: from :func:`train_arms`; asked about the first course.
    """
    study, own = taught.study, taught.courses
    every = [*own, *tested]
    (of_teacher,) = examine([study.teacher], [course.teacher_test for course in every], study.store, study.asking)
    students = [*taught.students, *further]
    of_students = []
    for one in students:
        courses = every if one.student.base == study.students[0] and one.student.round == 1 else own
        of_students += examine([taught.spec_of(one)], [c.test for c in courses], study.store, study.asking)
    of_untrained = examine(study.students, [course.teacher_test for course in own], study.store, study.asking)
    return StudyResults(
        taught, students, of_teacher, dict(zip(study.students, of_untrained)), of_students,
        *compare_on(own[:1], taught, arms),
    )  # fmt: skip


def compare_on(
    courses: Sequence[Course], taught: TaughtStudy, arms: Mapping[str, TaughtStudent] = NO_ARMS
) -> list[dict[str, Result]]:
    """What stands beside the first student on each course's test windows, by the name of its key numbers.

    Other arms of the student; scripted rules with and without habits; controls, which learn what the first student was
    shown in all its rounds on the study's first course.
    """
    study = taught.study
    names = [name for name in RULES if RULES[name] != study.teacher.name]
    tests, tests_of_rules = [course.test for course in courses], [course.teacher_test for course in courses]
    of_arms = examine([taught.spec_of(arm) for arm in arms.values()], tests, study.store, study.asking)
    of_rules = examine([RULES[name] for name in names], tests_of_rules, study.store, study.asking)
    shown = [one.training_set for one in taught.on_first_course if one.student.base == study.students[0]]
    labelled = labelled_windows(shown or taught.training_sets[:1])
    asked = dict(zip([*arms, *names], [*of_arms, *of_rules]))
    return [
        {name: own[place] for name, own in asked.items()} | control_results(test, labelled, study.teaching.seed)
        for place, test in enumerate(tests_of_rules)
    ]


class Confirmed(NamedTuple):
    """A study asked once more, about further sessions."""

    teacher: Result
    student: Result
    """The first one after its last round."""
    compared: dict[str, Result]
    """From :func:`compare_on`."""

    @property
    def every(self) -> list[Result]:
        """All of them, the teacher first."""
        return [self.teacher, self.student, *self.compared.values()]


def confirm(
    courses: Sequence[Course], taught: TaughtStudy, arms: Mapping[str, TaughtStudent] = NO_ARMS
) -> list[Confirmed]:
    """Teacher's and first student's answers about sessions that no setting was chosen by.

    Args:
        courses: with those sessions.
        taught: its latest student is asked.
        arms: from :func:`train_arms`; asked too.

    Returns:
        One a course; nothing where nobody was taught.
    """
    if taught.latest is None or not courses:
        return []
    study, latest = taught.study, taught.spec_of(taught.latest)
    (of_teacher,) = examine([study.teacher], [course.teacher_test for course in courses], study.store, study.asking)
    (of_student,) = examine([latest], [course.test for course in courses], study.store, study.asking)
    return [Confirmed(*own) for own in zip(of_teacher, of_student, compare_on(courses, taught, arms))]
