"""Courses: a data set with training windows under the teacher's prompt and test windows under the student's.

The two prompts may differ; a student is always asked with the prompt that it was trained with. Asks nobody.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llmhar import paths
from llmhar.ask.task import Task, prepare, training_task
from llmhar.data import registry as datasets
from llmhar.data.events import Windowing
from llmhar.text.prompt import PromptForm

FURTHER_WINDOWS = 6
"""Windows drawn from each session of data that a study is only asked about once more; 04b draws the same."""


@dataclass(frozen=True)
class Course:
    """One data set, ready to teach and to test on."""

    name: str
    """As parameters name it: a data set, with the loader's options behind a colon ("uci_adl:home=A")."""
    training: Task
    """Training windows under the teacher's prompt."""
    test: Task
    """Test windows under the student's prompt."""
    teacher_test: Task
    """The same test windows under the teacher's prompt: for the teacher, and for models that were not trained."""
    student_prompt: PromptForm
    """The form of the student's prompt."""


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
    simulated = datasets.DATASETS[dataset].kind == "simulated"
    return simulated or data_dir is not None or (paths.data() / dataset).is_dir()


def say_left_out(name: str) -> None:
    """One line on stderr about data that are not on this machine."""
    print(f"{name} is left out: its data are not in {paths.data()}; see: llmhar data list", file=sys.stderr)


def those_here(names: Sequence[str], data_dir: str | None = None) -> list[str]:
    """Courses whose data are on this machine, each once; one line on stderr about each of the others."""
    here = {name: is_here(name, data_dir) for name in names}
    for name in [name for name, present in here.items() if not present]:
        say_left_out(name)
    return [name for name, present in here.items() if present]


def prepare_course(
    name: str, data_dir: str | None, teacher_prompt: PromptForm, student_prompt: PromptForm, windowing: Windowing
) -> Course:
    """Load a data set and lay out both sides of its course.

    Args:
        name: a data set, with the loader's options behind a colon ("uci_adl:home=A").
        data_dir: folder of the data; None = ``LLMHAR_DATA/<dataset>``.
        teacher_prompt: under which the teacher, and models that were not trained, are asked.
        student_prompt: under which students are trained and asked.
        windowing: how sessions are cut, and how many test windows are drawn.

    Raises:
        DataError: the data are absent or broken.
        PromptError: a wording, serializer or way to answer that there is not.
        ValueError: a name's option without "=", or no training sessions.
    """
    dataset, options = read_name(name)
    teacher_test = prepare(dataset, Path(data_dir) if data_dir else None, teacher_prompt, windowing, options)
    training = training_task(teacher_test, window_size=windowing.size, step=windowing.step)
    return Course(name, training, teacher_test.reworded(student_prompt), teacher_test, student_prompt)


def prepare_courses(
    names: Sequence[str], data_dir: str | None, teacher_prompt: PromptForm, student_prompt: PromptForm,
    windowing: Windowing,
) -> list[Course]:  # fmt: skip
    """Several courses that differ in their data alone; arguments as :func:`prepare_course` takes them, names first."""
    return [prepare_course(name, data_dir, teacher_prompt, student_prompt, windowing) for name in names]


def prepare_further(
    names: Sequence[str], teacher_prompt: PromptForm, student_prompt: PromptForm, windowing: Windowing
) -> list[Course]:
    """Courses that a study is asked about once more, those whose data are here: :data:`FURTHER_WINDOWS` a session."""
    drawn = replace(windowing, n=min(windowing.n or FURTHER_WINDOWS, FURTHER_WINDOWS))
    return prepare_courses(those_here(names), None, teacher_prompt, student_prompt, drawn)
