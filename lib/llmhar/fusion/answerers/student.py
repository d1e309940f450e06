"""A student for fusion: the short prompt, and what the teacher wrote about clips of training folds (S2's question 1).

Trains nothing: the examples go to :func:`llmhar.distill.training.train_student`. The student is asked with the very
same prompt: a task of the form :data:`STUDENT_FORM`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from llmhar.distill.examples import Example, LeakError
from llmhar.fusion.answerers.inference import FusionAnswer
from llmhar.fusion.answerers.prompt import FusionForm, build_prompt
from llmhar.fusion.answerers.task import FusionTask

STUDENT_FORM = FusionForm(wording="student")
"""The form of the prompt that a student is taught with, and asked with."""


def fusion_examples(
    task: FusionTask,
    answers_of_teacher: Sequence[FusionAnswer],
    *,
    modalities: Collection[str],
    test_folds: Collection[int],
    only_correct: bool = False,
) -> list[Example]:
    """Put each of the teacher's answers below the student's prompt.

    Args:
        task: the clips of the data set, those of test folds among them (their sources must be known).
        answers_of_teacher: closed answers for training clips. Those that name no activity, or whose text did not come
            to its end, teach nothing and are left out.
        modalities: what the student's prompt shows; may be fewer than the teacher's.
        test_folds: folds that must not occur.
        only_correct: keep only answers that are right; looks at the truth of training clips alone.

    Returns:
        Examples in the order of the answers.

    Raises:
        LeakError: an answer about a clip of a test fold, or of one that shares a person or recording with such a clip.
        KeyError: an answer about a clip that is not among the task's.
        PromptError: unknown modalities or labels.
    """
    clips = {observation.clip_id: observation for observation in task.observations}
    tested = {source for o in task.observations if o.fold in test_folds for source in o.sources}
    prompt = build_prompt(modalities, task.labels, form=STUDENT_FORM)
    examples = []
    for answer in answers_of_teacher:
        clip = clips[answer.clip_id]
        shared = clip.sources & tested
        if clip.fold in test_folds or shared:
            tested_itself = clip.fold in test_folds
            why = f"is of test fold {clip.fold}" if tested_itself else f"shares {min(shared)} with a test clip"
            raise LeakError(f"the teacher's answer about {clip.clip_id} cannot be learnt from: the clip {why}")
        if answer.stored is None or answer.verdict != "ok" or answer.stored.generation.finish_reason != "stop":
            continue
        if only_correct and answer.label != clip.label:
            continue
        generation = answer.stored.generation
        examples.append(
            Example(task.dataset, clip.clip_id, 0, prompt.messages(clip), answer.text.strip(), generation.request_key)
        )
    return examples
