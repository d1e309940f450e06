"""Prompts of fusion: what the encoders said, step by step, as text (S2), static text first and the clip last.

Knows no engine and no chat template. A prompt is a system message (role, modalities, activities, examples: the same for
every clip of a condition and fold, so that engines compute it once) and a user message that holds the clip and nothing
else. What encoders and data sets call things is untrusted: it is cleaned and encoded as JSON.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from llmhar.distill.examples import LeakError
from llmhar.fusion.encoders.observation import MODALITIES, Guess, Observation, StepSeen
from llmhar.records import sha256_of
from llmhar.text.prompt import PromptError
from llmhar.text.schema import SPACED, activities
from llmhar.text.serialize import clean_text, fold_name

Wording = Literal["s2", "student", "listed"]
WORDINGS: tuple[Wording, ...] = ("s2", "student", "listed")
"""S2's full structure; the line that is left for a student who has learnt the rest from its teacher's answers; and a
line with the activities, for a student that was taught on made-up clips and takes any list."""
MAX_CAPTION_CHARS = 200
"""Longest caption that enters a prompt."""
STEPS_HEADING, EXAMPLE_HEADING = "Time steps:", "Example clip:"
FIELDS: Mapping[str, str] = {"captions": "caption", "labels": "sounds", "motion": "motion"}
"""Modality -> its field in a time step."""

ROLE = (
    "You are an assistant that recognizes what a person is doing from what wearable sensors heard and felt. You get a "
    "clip of some 20 seconds with one activity. Specialised models have looked at each time step of the clip; you get "
    "their predictions as text and decide what the person is doing."
)
ABOUT: Mapping[str, str] = {
    "captions": (
        '"caption": a sentence that an audio captioning model wrote about 2 seconds of sound. Usually the most telling '
        "evidence, but it may name things that are not there."
    ),
    "labels": (
        '"sounds": sound classes that an audio tagging model heard in the same 2 seconds, each with its probability. '
        "Similar sounds are often confused; classes that return in several steps count more than single ones."
    ),
    "motion": (
        '"motion": movements that a classifier of acceleration and rotation sees in the 4 seconds around the step, '
        "each with its probability. It knows a few movements only and often errs; it tells posture and effort apart."
    ),
    "context": (
        '"Context": where the person is and how hard the heart works, as a phone and a watch could tell. It may be '
        "wrong, and many activities share it."
    ),
}
"""What each modality is and how far it may be trusted."""
STEPWISE = "Think step by step, but briefly: one short line for each kind of evidence, then what fits them all best."
CLOSED = 'End with one line of JSON, {"activity": "..."}, the activity named exactly as in the list. Always choose one.'
OPEN = 'End with one line of JSON, {"activity": "..."}, the activity in your own words: one to five words.'
LISTED_CLOSED = "Say what the person in the clip is doing: why in a few words, then one of the activities."
LISTED_OPEN = "Say what the person in the clip is doing: why in a few words, then the activity in your own words."
NOTHING = "nothing was heard or felt"
"""Stands for a clip of which nothing is shown."""
WHY_CHARS = 240
"""Longest "why" of an answer that is bound by a schema."""
SOUND_SHARE, MOTION_SHARE = 0.05, 0.1
"""Listed: shares from which a guess beside the likeliest is shown."""
STUDENT = "Name the activity of the clip. Think in one short line per kind of evidence, then answer with JSON."


@dataclass(frozen=True, slots=True)
class FusionForm:
    """What prompts show of clips, and in which words: the same under every condition."""

    wording: Wording = "s2"
    """Of :data:`WORDINGS`; the wording "student" has no list of activities, no examples, and one guess a step."""
    n_guesses: int = 3
    """Likeliest classes shown a step."""
    example_steps: int | None = None
    """Most time steps shown of each one-shot example, evenly spread; None = all. Twelve whole examples are some 8,500
    tokens, more than small models take: two steps of each are some 2,500."""
    example_seed: int = 0
    """Of the draw of examples."""

    def __post_init__(self) -> None:
        if (
            self.wording not in WORDINGS
            or self.n_guesses < 1
            or (self.example_steps is not None and self.example_steps < 1)
        ):
            raise PromptError(f"unknown wording {self.wording!r}, or n_guesses or example_steps below 1")


S2_FORM = FusionForm()
"""As S2 writes its prompts, examples whole."""


@dataclass(frozen=True, slots=True)
class FusionPrompt:
    """A prompt's static parts in S2's order, and what of a clip is shown below them."""

    role: str
    """Role of the model and the task."""
    about: str
    """The modalities and how reliable they are; empty for a student."""
    labels: str
    """Activities that may be answered, a line each; empty for open answers and for a student."""
    output: str
    """How to think and what to end with; empty for a student."""
    examples: str
    """One-shot: an example clip per activity with its answer; empty for zero-shot."""
    shown: tuple[str, ...]
    """Modalities, in the order of MODALITIES."""
    form: FusionForm = S2_FORM

    @property
    def system(self) -> str:
        """The static text, a blank line between its parts."""
        return "\n\n".join(part for part in (self.role, self.about, self.labels, self.output, self.examples) if part)

    def messages(self, observation: Observation) -> tuple[dict[str, str], ...]:
        """The chat turns that ask for one clip."""
        clip = _clip_text(observation, self.shown, self.form)
        return ({"role": "system", "content": self.system}, {"role": "user", "content": clip})


def build_prompt(
    modalities: Collection[str],
    labels: Sequence[str],
    *,
    closed: bool = True,
    examples: Sequence[Observation] = (),
    form: FusionForm = S2_FORM,
) -> FusionPrompt:
    """Build the static part for a condition.

    Args:
        modalities: any of MODALITIES, at least one; the wording "listed" can be asked about a clip of which nothing is
            shown.
        labels: activities that may be answered, in the data set's order.
        closed: whether the activities are listed; else the answer is free.
        examples: one-shot examples, chosen by :func:`pick_examples`; their labels are shown.
        form: what is shown of clips, and in which words.

    Raises:
        PromptError: no or unknown modalities, labels that an answer's reader could not tell apart.
    """
    shown = _in_order(modalities, form)
    names = label_names(labels)
    listed = "Activities:\n" + "\n".join(names)
    if form.wording == "student":
        if examples or not closed:
            raise PromptError("a student's prompt has neither examples nor open answers: it has learnt its activities")
        return FusionPrompt(STUDENT, "", "", "", "", shown, form)
    given = "\n\n".join(_example(observation, shown, form) for observation in examples)
    if form.wording == "listed":
        role = LISTED_CLOSED if closed else LISTED_OPEN
        return FusionPrompt(role, "", listed if closed else "", "", given, shown, form)
    return FusionPrompt(
        role=ROLE,
        about="What you get:\n" + "\n".join(f"- {ABOUT[modality]}" for modality in shown),
        labels=listed.replace("\n", "\n- ") if closed else "",
        output=f"{STEPWISE} {CLOSED if closed else OPEN}",
        examples=given,
        shown=shown,
        form=form,
    )


def label_names(labels: Sequence[str]) -> list[str]:
    """Activities as the prompt shows them.

    Raises:
        PromptError: none, or two that read the same.
    """
    names = [clean_text(label) for label in labels]
    if not names or len({fold_name(name) for name in names} - {""}) < len(names):
        raise PromptError(
            f"activities must be named, and differently: {', '.join(map(repr, labels)) or 'there are none'}"
        )
    return names


def closed_schema(labels: Sequence[str], *, why: bool = False, spaced: bool = False, namer: str = "") -> dict[str, Any]:
    """JSON schema of the only answers that name an offered activity, for constrained decoding.

    Args:
        labels: activities that may be answered.
        why: whether a short "why" stands before the activity: else a model that cannot think apart from its answer
            would be bound from the first token on, and reason nothing.
        spaced: whether answers have a blank after each comma and colon, as lessons have.
        namer: what names the activity by its "why" (:data:`llmhar.text.naming.PARTS`); empty = the model itself.
    """
    reason = {"why": {"type": "string", "maxLength": WHY_CHARS}} if why else {}
    properties = {**reason, "activity": activities(label_names(labels), namer)}
    marked = {"$comment": SPACED} if spaced else {}
    return {
        **marked,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


# Examples and their hash check.


def pick_examples(
    observations: Iterable[Observation],
    test_fold: int,
    labels: Sequence[str],
    seed: int = 0,
    *,
    pool: Iterable[Observation] | None = None,
) -> list[Observation]:
    """One example clip per activity for a test fold (S2's one-shot), in the order of ``labels``.

    Args:
        observations: all clips, those of the test fold among them: their people and recordings are kept clear of.
        test_fold: the fold that is asked about.
        labels: the data set's activities.
        seed: of the draws.
        pool: clips that may serve; None = ``observations``.

    Only clips of other folds that share no person and no recording with any clip of the test fold; those whose
    modalities agree and are complete come first, ``seed`` draws among equals. An activity without such a clip has no
    example.
    """
    every = list(observations)
    taken = {source for observation in every if observation.fold == test_fold for source in observation.sources}
    free = [o for o in (every if pool is None else pool) if o.fold != test_fold and not o.sources & taken]
    chosen = []
    for label in labels:
        own = sorted((o for o in free if o.label == label), key=lambda o: o.clip_id)
        if own:
            best = min(_preference(observation) for observation in own)
            draw = random.Random(f"{seed} {test_fold} {label}")
            chosen.append(draw.choice([o for o in own if _preference(o) == best]))
    return chosen


def _preference(observation: Observation) -> tuple[bool, int]:
    return observation.conflict, -sum(observation.has(modality) for modality in MODALITIES)


def observation_sha256(observation: Observation) -> str:
    """Hash of all that was said of a clip, at full precision, whatever a prompt shows of it."""
    said = (observation.steps, sorted(observation.context.items()))
    return hashlib.sha256(repr(said).encode("utf-8", "surrogatepass")).hexdigest()


def _is_telling(observation: Observation) -> bool:
    """Whether what was said of a clip tells it: captions, and draws with shares of 0 and 1, repeat by chance."""
    return any(0 < share < 1 for step in observation.steps for _, share in (*step.labels, *step.motion))


def assert_no_leak(
    messages: Sequence[Mapping[str, str]],
    observation: Observation,
    examples: Sequence[Observation] = (),
    *,
    modalities: Collection[str] = MODALITIES,
    form: FusionForm = S2_FORM,
) -> None:
    """Check a finished prompt: its examples are these clips, and none of them belongs to the test clip.

    By identity (clip, fold, person, recording), by the hash of all that was said, and by the hashes of the example
    blocks that really stand in the messages. Two different clips may look alike where little is shown (motion alone) or
    no probability was said; that is no leak.

    Raises:
        LeakError: names the clips.
    """
    own = observation_sha256(observation) if examples and _is_telling(observation) else ""
    for example in examples:
        shared = example.sources & observation.sources
        if example.clip_id == observation.clip_id or example.fold == observation.fold or shared:
            why = f"shares {min(shared)}" if shared else f"is of the same fold {example.fold}, or the same clip"
            raise LeakError(f"the example {example.clip_id} of the test clip {observation.clip_id} {why}")
        if observation_sha256(example) == own:
            raise LeakError(f"the example {example.clip_id} says what the test clip {observation.clip_id} says")
    shown = _in_order(modalities, form)
    known = {sha256_of(_example(example, shown, form)) for example in examples}
    found = {sha256_of(block) for message in messages[:-1] for block in _example_blocks(message["content"])}
    if found - known:
        raise LeakError(f"the prompt of {observation.clip_id} holds an example that nobody chose")
    if messages[-1]["content"].splitlines().count(STEPS_HEADING) > 1:
        raise LeakError(f"the last message of {observation.clip_id} holds more than one clip")


def _example_blocks(text: str) -> list[str]:
    return [part for part in text.split("\n\n") if part.startswith(EXAMPLE_HEADING)]


def _example(observation: Observation, shown: tuple[str, ...], form: FusionForm) -> str:
    steps, n_steps = observation.steps, form.example_steps
    if n_steps is not None and len(steps) > n_steps:
        picked = [(2 * i + 1) * len(steps) // (2 * n_steps) for i in range(n_steps)]  # middles of equal parts
        observation = replace(observation, steps=tuple(steps[i] for i in picked))
    answer = json.dumps({"activity": clean_text(observation.label)}, ensure_ascii=False)
    return f"{EXAMPLE_HEADING}\n{_clip_text(observation, shown, form)}\nAnswer: {answer}"


# A clip as text.


def _clip_text(observation: Observation, shown: tuple[str, ...], form: FusionForm) -> str:
    match form.wording:
        case "student":
            return _student_block(observation, shown)
        case "listed":
            return _listed_block(observation, shown, form.n_guesses)
    return _block(observation, shown, form)


def _in_order(modalities: Collection[str], form: FusionForm) -> tuple[str, ...]:
    unknown = set(modalities) - set(MODALITIES)
    if unknown or not (modalities or form.wording == "listed"):
        raise PromptError(
            f"modalities must be some of {', '.join(MODALITIES)}, not {', '.join(sorted(map(repr, unknown))) or 'none'}"
        )
    return tuple(modality for modality in MODALITIES if modality in modalities)


def _block(observation: Observation, shown: tuple[str, ...], form: FusionForm) -> str:
    """One JSON line a time step, then the context."""
    items = [_step(step, shown, form.n_guesses) for step in observation.steps]
    lines = [json.dumps(item, ensure_ascii=False) for item in items if len(item) > 1]
    if set(shown) & set(FIELDS):
        lines = [STEPS_HEADING, *(lines or ["none: no encoder said anything about this clip"])]
    if "context" in shown:
        lines.append("Context: " + json.dumps(_context(observation), ensure_ascii=False))
    return "\n".join(lines)


def _step(step: StepSeen, shown: tuple[str, ...], n_guesses: int) -> dict[str, Any]:
    item: dict[str, Any] = {"t": round(step.centre, 1)}
    for modality, name in FIELDS.items():
        guesses: tuple[Guess, ...] = getattr(step, modality) if modality in shown else ()
        if modality == "captions" and guesses:
            item[name] = clean_text(guesses[0].name, MAX_CAPTION_CHARS)
        elif guesses:
            item[name] = {clean: f"{share:.0%}" for clean, share in _merged(guesses[:n_guesses]).items()}
    return item


def _merged(guesses: Sequence[Guess]) -> dict[str, float]:
    """Names as the prompt shows them; two that read the same are one."""
    shares: dict[str, float] = {}
    for guess in guesses:
        name = clean_text(guess.name)
        shares[name] = min(1.0, shares.get(name, 0.0) + max(0.0, guess.share))
    return shares


def _context(observation: Observation) -> dict[str, str]:
    return {clean_text(name): clean_text(value) for name, value in sorted(observation.context.items())}


def _student_block(observation: Observation, shown: tuple[str, ...]) -> str:
    """One short line a step, the likeliest guess of each modality: a third of the tokens of :func:`_block`.

    :func:`clean_text` leaves no line break and no bar in a name, so the bars are ours.
    """
    lines = []
    for step in observation.steps:
        said = [
            clean_text(getattr(step, m)[0].name, MAX_CAPTION_CHARS) for m in FIELDS if m in shown and getattr(step, m)
        ]
        if said:
            lines.append(f"{step.centre:g} s: " + " | ".join(said))
    if "context" in shown:
        lines.append(_context_line(observation))
    return "\n".join(lines) or NOTHING


def _listed_block(observation: Observation, shown: tuple[str, ...], n_guesses: int) -> str:
    """What is in the columns, then one line a step: seconds, and of each modality the likely guesses in percent.

    Some 25 tokens a step with everything shown; a step in which a modality said nothing has a dash in its place.
    """
    columns = [modality for modality in FIELDS if modality in shown and observation.has(modality)]
    lines = []
    for step in observation.steps:
        cells = [shown_guesses(modality, getattr(step, modality), n_guesses) for modality in columns]
        if any(cells):
            lines.append(f"{step.centre:g} s: " + " | ".join(cell or "-" for cell in cells))
    head = ["time: " + " | ".join(FIELDS[modality] for modality in columns)] if lines else []
    told = [_context_line(observation)] if "context" in shown and observation.context else []
    return "\n".join(head + lines + told) or NOTHING


def shown_guesses(modality: str, guesses: Sequence[Guess], n_guesses: int) -> str:
    """What the wording "listed" shows of a modality at one step; empty where it said nothing.

    Args:
        modality: "captions", "labels" or "motion".
        guesses: likeliest first.
        n_guesses: at most so many.
    """
    if modality == "captions":
        return clean_text(guesses[0].name, MAX_CAPTION_CHARS) if guesses else ""
    least = MOTION_SHARE if modality == "motion" else SOUND_SHARE
    kept = [guess for i, guess in enumerate(guesses[:n_guesses]) if not i or guess.share >= least]
    return ", ".join(f"{name} {100 * share:.0f}" for name, share in _merged(kept).items())


def _context_line(observation: Observation) -> str:
    return "context: " + " | ".join(f"{name} {value}" for name, value in _context(observation).items())
