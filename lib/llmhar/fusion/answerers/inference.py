"""Prompts to answers: asks a model about clips under many conditions with one opened engine, through the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY, Answer, as_taught, collect, refuse_all_failed, request_to, run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Ask, Store
from llmhar.ask.stored import Stored
from llmhar.fusion.answerers.prompt import FusionPrompt, assert_no_leak, build_prompt, closed_schema, pick_examples
from llmhar.fusion.answerers.reading import match_open, read_closed, read_open
from llmhar.fusion.answerers.task import Condition, FusionTask
from llmhar.fusion.encoders.observation import Observation
from llmhar.records import Verdict
from llmhar.text.naming import PARTS
from llmhar.text.prompt import PromptError

WHY_TOKENS = 160
"""Tokens that an answer with a "why" of :data:`.prompt.WHY_CHARS` characters may take."""


@dataclass(frozen=True, slots=True)
class FusionAnswer:
    """What a model said of one clip under one condition, read."""

    clip_id: str
    label: str | None
    """The activity as the data set names it; None where the answer names none. Missing counts as wrong."""
    verdict: Verdict
    text: str
    """Raw, thinking marks included; empty where every attempt failed."""
    stored: Stored | None
    """The generation with its tokens and seconds, and who made it."""
    said: str = ""
    """Open answers: the model's own words."""
    similarity: float | None = None
    """Open answers: cosine similarity to the nearest activity."""
    error: str = ""
    """Why there is no answer, in one line."""


def fusion_asks(task: FusionTask, model: ModelSpec, condition: Condition, asking: Asking = STUDY) -> list[Ask]:
    """Requests for all clips under one condition, in order. Window index is 0: the request tells conditions apart.

    Args:
        task: the clips, with what their prompts show.
        model: who is asked.
        condition: which modalities are shown, with how many examples, and whether the activities are listed.
        asking: how the model is asked. ``constrained`` enforces the JSON schema with the list of activities (closed
            answers of LLMs only); a "why" stands before its activity where ``why`` asks for it, and, if it leaves that
            open, where the clips are asked in the wording "listed". Else there is no room for reasoning but a thinking
            block. A student of that wording is asked as it was taught to answer.

    Raises:
        PromptError: unknown names, shots other than 0 and 1.
        LeakError: an example that stands on the clip's side of the split.
    """
    if condition.shots not in (0, 1):
        raise PromptError(f"shots must be 0, or 1 (an example per activity), not {condition.shots}")
    task = task.asked_of(model)
    listed = task.form.wording == "listed"
    asking = as_taught(model, asking) if listed else asking
    constrained = asking.constrained and condition.closed and model.kind == "llm"
    why = listed if asking.why is None else asking.why
    namer = PARTS if asking.named and why else ""
    schema = closed_schema(task.labels, why=why, spaced=listed, namer=namer) if constrained else None
    if constrained and why:  # ends by itself; its reason must not be cut
        limits = asking.sampling
        asking = replace(asking, sampling=replace(limits, max_tokens=max(limits.max_tokens, WHY_TOKENS)))
    request = request_to(model, asking)
    prompts: dict[int, tuple[FusionPrompt, list[Observation]]] = {}
    asks = []
    for observation in task.observations:
        fold = observation.fold if condition.shots else 0
        if fold not in prompts:
            prompts[fold] = _prompt(task, condition, fold)
        prompt, examples = prompts[fold]
        messages = prompt.messages(observation)
        assert_no_leak(messages, observation, examples, modalities=prompt.shown, form=prompt.form)
        asks.append(Ask(task.dataset, observation.clip_id, 0, model.name, request(messages=messages, schema=schema)))
    return asks


def _prompt(task: FusionTask, condition: Condition, fold: int) -> tuple[FusionPrompt, list[Observation]]:
    """The prompt of a test fold, and the example clips in it."""
    examples: list[Observation] = []
    if condition.shots:
        examples = pick_examples(task.observations, fold, task.labels, task.form.example_seed, pool=task.pool)
    prompt = build_prompt(condition.modalities, task.labels, closed=condition.closed, examples=examples, form=task.form)
    return prompt, examples


def ask_fusion(
    task: FusionTask, model: ModelSpec, conditions: Sequence[Condition], store: Store, asking: Asking = STUDY
) -> dict[Condition, list[FusionAnswer]]:
    """Ask a model about clips under each condition; its engine starts once, and only if an answer is missing.

    Args:
        task: the clips, with what their prompts show.
        model: who is asked.
        conditions: what is shown, each asked once.
        store: where answers are looked up and kept.
        asking: how the model is asked.

    Returns:
        Condition -> one answer a clip, in the clips' order.

    Raises:
        PromptError: unknown names, shots other than 0 and 1.
        LeakError: an example that stands on a clip's side of the split.
        EngineError: the engine cannot start, or every request of a condition failed.
        StoreError: the store cannot be written.
    """
    asked = list(dict.fromkeys(conditions))
    return dict(zip(asked, ask_tasks([(task, condition) for condition in asked], model, store, asking)))


def ask_tasks(
    asked: Sequence[tuple[FusionTask, Condition]], model: ModelSpec, store: Store, asking: Asking = STUDY
) -> list[list[FusionAnswer]]:
    """Ask a model about several sets of clips, each with its own activities, its engine started once at most.

    Args:
        asked: the clips of each set, and what is shown of them.
        model: who is asked.
        store: where answers are looked up and kept.
        asking: how the model is asked.

    Returns:
        One list a set, one answer a clip.

    Raises:
        PromptError, LeakError, EngineError, StoreError: as :func:`ask_fusion` does.
    """
    asks = [fusion_asks(task, model, condition, asking) for task, condition in asked]
    run = run_asks([ask for own in asks for ask in own], model, store, asking)
    exactly = run.fingerprint if asking.exact else None
    answers = [collect(own, store, exactly) for own in asks]
    for own in answers:
        refuse_all_failed(model.name, own)
    return [read_answers(own, task.labels, closed=condition.closed) for own, (task, condition) in zip(answers, asked)]


def read_answers(answers: Sequence[Answer], labels: Sequence[str], *, closed: bool) -> list[FusionAnswer]:
    """Read what the store has: listed activities by name, free answers by the nearest activity."""
    read = []
    for answer in answers:
        if answer.stored is None:
            read.append(FusionAnswer(answer.ask.session_id, None, "missing", "", None, error=answer.error))
            continue
        made = answer.stored.generation
        if closed:
            label, verdict = read_closed(made.text, labels, made.finish_reason)
            said = ""
        else:
            words, verdict = read_open(made.text, made.finish_reason)
            label, said = None, words or ""
        read.append(FusionAnswer(answer.ask.session_id, label, verdict, made.text, answer.stored, said))
    return read if closed else _matched(read, labels)


def _matched(answers: Sequence[FusionAnswer], labels: Sequence[str]) -> list[FusionAnswer]:
    """Free answers with the activity that each is nearest to."""
    matches = iter(match_open([answer.said for answer in answers if answer.verdict == "ok"], labels))
    matched = []
    for answer in answers:
        if answer.verdict == "ok":
            match = next(matches)
            verdict: Verdict = "ok" if match.label is not None else "unknown_label"
            answer = replace(answer, label=match.label, verdict=verdict, similarity=match.similarity)
        matched.append(answer)
    return matched
