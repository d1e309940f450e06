"""Courses: what is taught from which data, to whom, and where it is tested. The loops of notebook 04; draws nothing.

A course holds one data set twice: training windows under the teacher's prompt, test windows under the student's. The
two prompts may differ; a student is always asked with the prompt that it was trained with.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from llmhar import paths
from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY
from llmhar.ask.models import MODELS, ModelSpec, Pruned
from llmhar.ask.store import Store
from llmhar.ask.task import Task, prepare, training_task
from llmhar.data import registry as datasets
from llmhar.distill.examples import Example, make_examples
from llmhar.distill.merging import merge
from llmhar.distill.quantise import Precision, n_bytes, quantise
from llmhar.distill.recipe import Recipe
from llmhar.distill.students import Student
from llmhar.distill.traces import FunnelStep, Taught, Trace, balance, collect_traces, count, filter_traces
from llmhar.distill.training import train_student
from llmhar.distill.transfer import GatewayPoint, MatrixCell, SessionsPoint
from llmhar.score.cost import points
from llmhar.score.evaluate import evaluate
from llmhar.score.tables import Result
from llmhar.traces import faithfulness


@dataclass(frozen=True)
class Course:
    """One data set, ready to teach and to test on."""

    name: str
    """As parameters name it: a data set, with the loader's options behind a colon ("uci_adl:home=A")."""
    asked: Task
    """Test windows under the teacher's prompt: for the teacher, and for models that were not trained."""
    test: Task
    """The same windows under the student's prompt."""
    lesson: Task
    """Training windows under the teacher's prompt."""


def read_name(name: str) -> tuple[str, dict[str, str]]:
    """Data set and loader options of a course's name.

    Raises:
        ValueError: an option without "=".
    """
    dataset, _, rest = name.partition(":")
    pairs = [part.partition("=") for part in rest.split(";") if part]
    if any(not sign for _, sign, _ in pairs):
        raise ValueError(f"{name!r}: write options as {dataset}:name=value;name=value")
    return dataset, {key: value for key, _, value in pairs}


def is_here(name: str, data_dir: str | None = None) -> bool:
    """Whether a course's data are on this machine (or are made here)."""
    dataset, _ = read_name(name)
    made = datasets.DATASETS[dataset].kind == "simulated"
    return made or data_dir is not None or (paths.data() / dataset).is_dir()


def prepare_course(
    name: str,
    data_dir: str | None = None,
    *,
    teacher_prompt: Mapping[str, Any],
    student_prompt: Mapping[str, Any],
    n_windows: int | None = None,
    seed: int = 0,
    window_size: int = 10,
    step: int | None = None,
) -> Course:
    """Load a data set and lay out both sides of its course.

    Args:
        name: see :attr:`Course.name`.
        data_dir: folder of the data; None = ``LLMHAR_DATA/<dataset>``.
        teacher_prompt, student_prompt: wording, serializer, answer, rules; see :func:`llmhar.ask.task.prepare`.
        n_windows: test windows of each session; None = all. Training windows are never a sample.
        seed, window_size: see there.
        step: events between the starts of two training windows; None = no overlap.

    Raises:
        DataError, PromptError, ValueError: see there.
    """
    dataset, options = read_name(name)
    path = Path(data_dir) if data_dir else None
    common: dict[str, Any] = {"options": options, "n_windows": n_windows, "seed": seed, "window_size": window_size}
    asked = prepare(dataset, path, **common, **teacher_prompt)
    test = prepare(dataset, path, **common, **student_prompt)
    lesson = training_task(asked, window_size=window_size, step=step)
    return Course(name, asked, test, lesson)


class Lesson(NamedTuple):
    """What a student is shown of one course."""

    course: Course
    taught: Taught
    traces: list[Trace]
    """Kept by the filter."""
    funnel: list[FunnelStep]
    examples: list[Example]


def teach(
    course: Course,
    teacher: ModelSpec,
    store: Store,
    *,
    filter: str = "none",
    least_correct: float = 1.0,
    least_agreement: float = 0.6,
    n_sessions: int | None = None,
    after: int = 0,
    n_examples: int | None = None,
    seed: int = 0,
    asking: Asking = STUDY,
) -> Lesson:
    """Collect the teacher's traces (from the store, or by asking), filter them, put them below the student's prompt.

    Args:
        course: whose training windows.
        teacher: any model.
        store: where answers are looked up and kept.
        filter, least_correct, least_agreement: see :func:`llmhar.distill.traces.filter_traces`.
        n_sessions: only the first training sessions (S1 Figure 4); None = all.
        after: training sessions that are passed over before these.
        n_examples: so many traces, those with rare labels before others; None = all.
        seed: of that draw.
        asking: how the teacher is asked.
    """
    lesson = course.lesson if n_sessions is None else first_sessions(course.lesson, n_sessions, after)
    taught = collect_traces(lesson, teacher, store, asking)
    traces, funnel = filter_traces(taught, filter, least_correct=least_correct, least_agreement=least_agreement)
    if not traces:
        raise ValueError(
            f"the filter {filter!r} left no trace of {course.name}: loosen least_correct or least_agreement"
            + (", and ask for several teacher_samples" if len({t.sample_index for t in taught.traces}) < 2 else "")
        )
    if n_examples is not None:
        traces = balance(traces, n_examples, seed)
        funnel = [*funnel, count("drawn, rare labels first", traces)]
    examples = make_examples(traces, dict(course.test.prompts), test_sessions=list(course.test.sessions))
    return Lesson(course, taught, traces, funnel, examples)


def first_sessions(lesson: Task, n: int, after: int = 0) -> Task:
    """The windows of ``n`` training sessions: the first ones, or the first ones behind ``after`` others.

    Raises:
        ValueError: there are fewer.
    """
    most = len(lesson.sessions)
    if not 1 <= n <= most - after:
        behind = f" behind the first {after}" if after else ""
        raise ValueError(f"{lesson.data} has {most} training sessions, cannot take {n}{behind}")
    kept = dict(list(lesson.sessions.items())[after : after + n])
    windows = tuple(window for window in lesson.windows if window.session_id in kept)
    which = f"training sessions {after + 1} to {after + n}" if after else f"{n} training sessions"
    return replace(lesson, sessions=kept, windows=windows, subset=f"{len(windows)} windows of {which}")


def teach_again(first: Lesson, teacher: ModelSpec, store: Store, *, new_sessions: int | None, **how: Any) -> Lesson:
    """The lesson of a second round.

    Args:
        first: of the first round.
        teacher, store: see :func:`teach`.
        new_sessions: so many training sessions that the first round did not see; None = the same sessions.
        how: see :func:`teach`.
    """
    seen = len({trace.window.session_id for trace in first.taught.traces})
    n, after = (seen, 0) if new_sessions is None else (new_sessions, seen)
    return teach(first.course, teacher, store, n_sessions=n, after=after, **how)


def recipe_for(student: str, *, method: str, full: Mapping[str, Any], **lora: Any) -> Recipe:
    """The recipe of one student.

    Args:
        student: key into models.yaml.
        method: "lora", "full", or "auto": all weights of a pruned model, which heals only so; LoRA for the rest.
        full: values that tuning all weights takes instead of LoRA's; None leaves them.
        lora: the recipe's values.

    Raises:
        UnknownModel, ValidationError: no such model, a value that no recipe takes.
    """
    chosen = method if method != "auto" else "full" if isinstance(MODELS[student].source, Pruned) else "lora"
    values = {"student": student, "method": chosen, **lora}
    if chosen == "full":
        values |= {name: value for name, value in full.items() if value is not None}
    return Recipe.model_validate(values)


def train(
    recipe: Recipe,
    lesson: Lesson,
    name: str | None = None,
    *,
    max_epochs: int | None = None,
    thinking: bool | None = None,
    **options: Any,
) -> Student:
    """Train (or open) a student on one lesson.

    Args:
        recipe: how.
        lesson: what.
        name: how tables call it; None = student and course.
        max_epochs: see every example at most so often: lessons with few examples take fewer steps; None = no bound.
        thinking: Qwen3's switch, as the student will be asked; None = the template's default.
        options: see :func:`llmhar.distill.training.train_student`.
    """
    parent = options.pop("parent", None) or MODELS[recipe.student]
    if thinking is not None and parent.thinking:
        parent = parent.model_copy(update={"template_args": parent.template_args | {"enable_thinking": thinking}})
    shown = name or f"{recipe.student} taught on {lesson.course.name}"
    if max_epochs is not None:
        most = max(1, math.ceil(max_epochs * len(lesson.examples) / recipe.examples_per_step))
        recipe = recipe.model_copy(update={"max_steps": min(recipe.max_steps, most)})
    return train_student(recipe, lesson.examples, name=shown, parent=parent, **options)


def second_round(
    student: str, steps: int, trained: Mapping[tuple[str, str], Student], lesson: Lesson
) -> dict[tuple[str, str], Student]:
    """A taught student goes on from where it stands, at half the learning rate, on another lesson.

    Args:
        student: who; taught on the lesson's course before.
        steps: optimizer steps.
        trained: (student, course) -> what was trained.
        lesson: what is taught now, e.g. further sessions, or only traces that are right (rejection sampling, as
            STaR's, 2203.14465).

    Returns:
        The student under the name "<student> twice".
    """
    first = trained[student, lesson.course.name]
    start, _ = merge(first)
    changed = {"max_steps": steps, "learning_rate": first.recipe.learning_rate / 2}
    shown = f"{student} taught twice on {lesson.course.name}"
    again = train(first.recipe.model_copy(update=changed), lesson, shown, parent=start)
    return {(f"{student} twice", lesson.course.name): again}


def lesson_of(key: tuple[str, str], lessons: Mapping[str, Lesson], again: Lesson | None) -> Lesson:
    """What the student behind a key of ``trained`` was taught last."""
    return again if again and key[0].endswith(" twice") else lessons[key[1]]


def untaught_of(name: str, students: Sequence[str], bases: Sequence[Result]) -> Result:
    """The result of the untrained model behind a name in ``trained``."""
    return dict(zip(students, bases))[name.removesuffix(" twice")]


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
    found = evaluate(tasks, models, asking, store).results
    return [found[start : start + len(tasks)] for start in range(0, len(found), len(tasks))]


def matrix_cells(
    rows: Sequence[tuple[str, str, Sequence[Result]]],
) -> list[MatrixCell]:
    """Cells of the cross-dataset matrix from (student, what it was trained on, its results)."""
    return [MatrixCell(student, trained_on, result) for student, trained_on, results in rows for result in results]


def sweep_sessions(
    recipe: Recipe, course: Course, teacher: ModelSpec, counts: Sequence[int], store: Store, *,
    teach_options: Mapping[str, Any], asking: Asking = STUDY, max_epochs: int | None = None,
) -> list[SessionsPoint]:  # fmt: skip
    """S1 Figure 4: one student for each number of training sessions, same recipe, same test windows, merged.

    Args:
        recipe: of all of them.
        course: trained and tested on.
        teacher: whose traces.
        counts: training sessions, 0 = the untrained parent under the teacher's prompt; more than there are say so on
            stderr and are left out.
        store: where answers are looked up and kept.
        teach_options: of :func:`teach`.
        asking: how students are asked.
        max_epochs: see :func:`train`.
    """
    points = []
    most = len(course.lesson.sessions)
    if beyond := [n for n in counts if n > most]:
        print(f"{course.name} has {most} training sessions: {beyond} are left out", file=sys.stderr)
    for n in sorted({n for n in counts if n <= most}):
        if n == 0:
            (results,) = examine([recipe.student], [course.asked], store, asking)
        else:
            lesson = teach(course, teacher, store, n_sessions=n, **teach_options)
            student = train(recipe, lesson, f"{recipe.student} taught on {n} sessions", max_epochs=max_epochs,
                            thinking=asking.thinking)  # fmt: skip
            (results,) = examine([merge(student)[0]], [course.test], store, asking)
        points.append(SessionsPoint(n, results[0], recipe.seed))
    return points


def gateway_point(result: Result, store: Store, *, precision: str) -> GatewayPoint:
    """A model's size and what the store says of its cost: seconds a window in the passes that answered, peak memory."""
    spec = result.model
    made = [generation.request_key for generation in result.generations]
    (point,) = points([result], store)
    passes = store.costs(made, result.fingerprints[0], timed=True) if len(result.fingerprints) == 1 else []
    peaks = [one.peak_bytes for one in passes if one.peak_bytes is not None]
    return GatewayPoint(
        result=result,
        n_params=spec.n_params,
        n_bytes=n_bytes(spec),
        seconds_per_window=point.seconds,
        peak_bytes=max(peaks) if peaks else None,
        precision=precision,
    )


def gateway(
    students: Sequence[ModelSpec], task: Task, store: Store, *, precisions: Sequence[Precision], asking: Asking = STUDY
) -> list[GatewayPoint]:
    """How small before it breaks (S1 §5): each student as it is, and quantised, asked one window at a time.

    One at a time is what a home does: a batch would hide the memory traffic that quantising saves. As it is, a student
    is answered for by transformers in bfloat16; quantised by ONNX Runtime. The store keeps answers that were
    timed apart from those of batches.

    Args:
        students: without adapters (merged).
        task: windows under the students' prompt.
        store: where answers are looked up and kept.
        precisions: of :func:`llmhar.distill.quantise.quantise`.
        asking: how they are asked; engine and purpose are set here.
    """
    found = []
    alone = replace(asking, engine_options={**asking.engine_options, "max_num_seqs": 1}, purpose="timed")
    for student in students:
        plain = replace(alone, engine="transformers", engine_options={**alone.engine_options, "dtype": "bfloat16"})
        forms = [("bfloat16", student, plain)]
        forms += [(precision, quantise(student, precision=precision), alone) for precision in precisions]
        for precision, spec, how in forms:
            ((result,),) = examine([spec], [task], store, how)
            found.append(gateway_point(result, store, precision=precision))
    return found


def which(
    datasets: Sequence[str], if_here: Sequence[str], test_on: Sequence[str], data_dir: str | None
) -> tuple[list[str], list[str]]:
    """Names of the courses that are taught, and of all that are tested on (those first).

    Optional ones whose data are not on this machine are left out, with a line on stderr.
    """
    here = {name: is_here(name, data_dir) for name in [*if_here, *test_on]}
    for name, found in here.items():
        if not found:
            print(f"{name} is left out: its data are not in {paths.data()}; see: llmhar data list", file=sys.stderr)
    taught = list(dict.fromkeys([*datasets, *(name for name in if_here if here[name])]))
    return taught, list(dict.fromkeys([*taught, *(name for name in test_on if here[name])]))


def test_sessions(known: Iterable[Course]) -> dict[str, set[str]]:
    """Data set -> ids of all sessions that some course tests on."""
    found: dict[str, set[str]] = {}
    for course in known:
        found.setdefault(course.test.dataset, set()).update(course.test.sessions)
    return found


def both_forms(
    trained: Mapping[tuple[str, str], Student],
    merged: Mapping[tuple[str, str], tuple[ModelSpec, Mapping[str, Any]]],
    task: Task,
    store: Store,
    asking: Asking = STUDY,
) -> list[tuple[Result, Result]]:
    """(adapter's result, merged weights' result) on the same windows, for the first student that has an adapter."""
    forms = [(student.spec, merged[key][0]) for key, student in trained.items() if student.spec.adapter][:1]
    found = [examine(list(pair), [task], store, asking) for pair in forms]
    return [(adapter, whole) for ((adapter,), (whole,)) in found]


def learn_on(
    student: str,
    steps: int,
    trained: Mapping[tuple[str, str], Student],
    merged: Mapping[tuple[str, str], tuple[ModelSpec, Mapping[str, Any]]],
    lesson: Lesson,
) -> list[Student]:
    """A taught student learns on: on-policy from the largest of the others, and as long from the teacher's text.

    Raises:
        ValueError: it was not taught, or nobody else was.
    """
    key = (student, lesson.course.name)
    others = [one for one in trained if one[1] == key[1] and one != key]
    if key not in trained or not others:
        raise ValueError(f"on-policy distillation needs {student} and one more among the students")
    largest = max(others, key=lambda one: trained[one].parent.n_params)  # test scores must not choose who teaches
    start = merged[key][0]
    first = trained[key].recipe
    changed = {"max_steps": steps, "method": "full", "learning_rate": first.learning_rate / 5}
    again = first.model_copy(update={**changed, "warmup_steps": min(5, steps)})
    distilled = again.model_copy(update={"objective": "gkd"})
    return [
        train(distilled, lesson, f"{student} on policy", parent=start, teacher=merged[largest][0]),
        train(again, lesson, f"{student} taught longer", parent=start),
    ]


def probe(result: Result, n: int, seed: int, store: Store, asking: Asking = STUDY) -> list[faithfulness.Outcome]:
    """Probe the evidence that a model's own reasoning cites, on the windows of its result."""
    cited = faithfulness.find_citations(result.task, result.answers)
    probes = faithfulness.plan_probes(result.task, cited.citations, seed=seed, n=n)
    return faithfulness.run_probes(result.task, probes, result.model, store, asking)


def confirm(
    course: Course, teacher: ModelSpec, student: ModelSpec, store: Store, asking: Asking = STUDY
) -> tuple[Result, Result]:
    """Teacher's and student's answers about sessions that no setting was chosen by."""
    ((of_teacher,),) = examine([teacher], [course.asked], store, asking)
    ((of_student,),) = examine([student], [course.test], store, asking)
    return of_teacher, of_student
