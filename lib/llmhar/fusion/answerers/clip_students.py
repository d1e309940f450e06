"""Students of made-up clips: the arms of their study, each taught on the same clips. Asks nobody, runs no notebook.

Arms differ in one thing each (:data:`ARMS`). The same arm opens the same student again; a killed training goes on where
it stopped. No recording is among the lessons, so every clip set is a test.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmhar.ask.models import AskedAs
from llmhar.ask.trained import change_about
from llmhar.distill.examples import Example
from llmhar.distill.home_lessons import LISTED
from llmhar.distill.students import Student
from llmhar.distill.teaching import load_teaching, recipe_for
from llmhar.distill.training import train_student
from llmhar.fusion.answerers.clip_lessons import DATASET, lessons, refuse_leaks
from llmhar.settings import choose

TEACHING = "fusion"
"""Key into ``params/teachings.yaml``; its ``n_examples`` are clips."""


@dataclass(frozen=True)
class ClipArm:
    """What one student is taught, and what differs from the study's own."""

    words: str
    """How tables call it."""
    with_why: bool = True
    """The truth with a reason, or the truth alone."""
    base: str = "smollm2-135m"
    """Key into models.yaml."""
    seed: int = 0
    """Of clips, adapter and order."""
    drowned: float = 0.0
    """How many of the clips that movement tells apart sound like something else."""


ARMS: dict[str, ClipArm] = {
    "truth": ClipArm("taught on made-up clips"),
    "answer": ClipArm("taught on made-up clips, answers only", with_why=False),
    "seed 2": ClipArm("taught on made-up clips, seed 2", seed=2),
    "drowned": ClipArm("taught on made-up clips, sound drowned", drowned=0.5),
}
"""In the order in which they are trained."""


def fusion_student(name: str, *, progress: bool = True, threads: int | None = None) -> Student:
    """Train the student of an arm, or open it where it stands; its folder says in which words it is asked.

    Args:
        name: key into :data:`ARMS`.
        progress: show a bar on stderr.
        threads: OpenMP threads; None = the cores that are free now.

    Raises:
        SettingsError: no such arm.
        LeakError: a name that is kept for tests, or what was said of a recording, among the lessons.
        TrainingError: the child ended early.
    """
    arm = choose(ARMS, name, f"no arm {name!r}; there are:")
    teaching = load_teaching(TEACHING, seed=arm.seed)
    examples = clip_lessons(arm, teaching.n_examples or 0)
    named = f"{arm.base}, {arm.words}"
    student = train_student(recipe_for(arm.base, teaching), examples, name=named, progress=progress, threads=threads)
    about = {
        "prompt": LISTED, "asked": AskedAs(constrained=True, why=arm.with_why, named=arm.with_why),
        "teacher": "the truth of made-up clips", "teacher_kind": "simulated",
        "data": f"{DATASET} (simulated)", "windows": f"{len(examples)} made-up clips of text",
        "completion": "reasoning" if arm.with_why else "answer",
    }  # fmt: skip
    change_about(student.folder, about)
    return student


def clip_lessons(arm: ClipArm, n: int) -> list[Example]:
    """The lessons of an arm, from ``n`` clips.

    Raises:
        LeakError: a name that is kept for tests, or what was said of a recording.
    """
    examples = list(lessons(n, f"clips-{arm.seed}", with_why=arm.with_why, drowned=arm.drowned))
    refuse_leaks(examples)
    return examples
