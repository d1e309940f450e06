"""Prompts to answers: asks a model about clips under many conditions with one opened engine, through the store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY, Answer, collect, request_to, run_asks
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Ask, Store, Stored
from llmhar.fusion.answerers.prompt import (
    FusionPrompt,
    Wording,
    assert_no_leak,
    build_prompt,
    closed_schema,
    pick_examples,
)
from llmhar.fusion.answerers.reading import match_open, read_closed, read_open
from llmhar.fusion.encoders.observation import MODALITIES, Observation
from llmhar.records import Verdict
from llmhar.text.prompt import PromptError


class Condition(NamedTuple):
    """One cell of the ablation: what is shown, with how many examples, and how it is to be answered."""

    modalities: frozenset[str]
    shots: int = 0
    """0: zero-shot; 1: an example per activity (S2's one-shot)."""
    closed: bool = True
    """Whether the activities are listed in the prompt."""

    @property
    def name(self) -> str:
        """Stable id for tables and legends, e.g. ``captions+motion one-shot open``."""
        shown = "+".join(modality for modality in MODALITIES if modality in self.modalities)
        return f"{shown} {'one' if self.shots else 'zero'}-shot{'' if self.closed else ' open'}"


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


def fusion_asks(
    observations: Sequence[Observation],
    model: ModelSpec,
    modalities: Collection[str],
    labels: Sequence[str],
    *,
    dataset: str,
    closed: bool = True,
    shots: int = 0,
    pool: Sequence[Observation] | None = None,
    asking: Asking = STUDY,
    wording: Wording = "s2",
    n_guesses: int = 3,
    example_steps: int | None = None,
    seed: int = 0,
) -> list[Ask]:
    """Requests for all clips under one condition, in order. Window index is 0: the request tells conditions apart.

    Args:
        observations: clips that are asked about.
        model: who is asked.
        modalities: what is shown.
        labels: the data set's activities.
        dataset: its name, for the store.
        closed: whether the activities are listed.
        shots: 0, or 1: an example per activity.
        pool: clips that examples are taken from, never of the asked clip's fold; None = ``observations``.
        asking: how the model is asked. ``constrained`` enforces the JSON schema with the list of activities (closed
            answers of LLMs only); without a thinking block this leaves no room for reasoning.
        wording: of WORDINGS.
        n_guesses: likeliest classes shown a step.
        example_steps: most time steps shown of each example; None = all.
        seed: of the draw of examples.

    Raises:
        PromptError: unknown names, shots other than 0 and 1.
        LeakError: an example that stands on the clip's side of the split.
    """
    if shots not in (0, 1):
        raise PromptError(f"shots must be 0, or 1 (an example per activity), not {shots}")
    schema = closed_schema(labels) if asking.constrained and closed and model.kind == "llm" else None
    request = request_to(model, asking)
    prompts: dict[int, tuple[FusionPrompt, list[Observation]]] = {}
    asks = []
    for observation in observations:
        fold = observation.fold if shots else 0
        if fold not in prompts:
            examples = pick_examples(observations, fold, labels, seed, pool=pool) if shots else []
            prompts[fold] = (
                build_prompt(modalities, labels, closed=closed, examples=examples, example_steps=example_steps,
                             n_guesses=n_guesses, wording=wording),
                examples,
            )  # fmt: skip
        prompt, examples = prompts[fold]
        messages = prompt.messages(observation)
        assert_no_leak(messages, observation, examples, modalities=prompt.shown, n_guesses=prompt.n_guesses,
                       example_steps=example_steps)  # fmt: skip
        asks.append(Ask(dataset, observation.clip_id, 0, model.name, request(messages=messages, schema=schema)))
    return asks


def ask_fusion(
    observations: Sequence[Observation],
    model: ModelSpec,
    conditions: Sequence[Condition],
    labels: Sequence[str],
    store: Store,
    *,
    dataset: str,
    pool: Sequence[Observation] | None = None,
    asking: Asking = STUDY,
    wording: Wording = "s2",
    n_guesses: int = 3,
    example_steps: int | None = None,
    seed: int = 0,
) -> dict[Condition, list[FusionAnswer]]:
    """Ask a model about clips under each condition; its engine starts once, and only if an answer is missing.

    Args: see :func:`fusion_asks` and :func:`llmhar.ask.inference.run_asks`.

    Returns:
        Condition -> one answer a clip, in the clips' order.

    Raises:
        PromptError, LeakError, EngineError, StoreError: see there.
    """
    asks = {
        condition: fusion_asks(
            observations, model, condition.modalities, labels, dataset=dataset, closed=condition.closed,
            shots=condition.shots, pool=pool, asking=asking,
            wording=wording, n_guesses=n_guesses, example_steps=example_steps, seed=seed,
        )
        for condition in dict.fromkeys(conditions)
    }  # fmt: skip
    run = run_asks([ask for own in asks.values() for ask in own], model, store, asking)
    exactly = run.fingerprint if asking.exact else None
    return {
        condition: read_answers(collect(own, store, exactly), labels, closed=condition.closed)
        for condition, own in asks.items()
    }


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
    found = []
    for answer in answers:
        if answer.verdict == "ok":
            match = next(matches)
            verdict: Verdict = "ok" if match.label is not None else "unknown_label"
            answer = replace(answer, label=match.label, verdict=verdict, similarity=match.similarity)
        found.append(answer)
    return found
