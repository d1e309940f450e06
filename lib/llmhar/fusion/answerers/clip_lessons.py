"""Lessons from made-up clips: what encoders said, a list of activities, the truth and a short reason. Trains nobody.

Each lesson is of another clip, another list of activities and another combination of modalities; some have no list,
some an example of each activity. The reason is written from what the clip's maker knows, in the rules' manner: of each
kind of evidence what was told and what it means, then what is done, in the grammar's words: the list has its own.
Activities that are never taught stand in no list, in no reason and in no answer.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from llmhar.data.grammar import LABEL_STYLES, Words, free_name, in_form
from llmhar.distill.examples import Example, LeakError
from llmhar.fusion.ablation import combinations
from llmhar.fusion.answerers.prompt import NOTHING, WHY_CHARS, FusionForm, assert_no_leak, build_prompt, shown_guesses
from llmhar.fusion.answerers.task import Condition
from llmhar.fusion.clips.clip_grammar import clip_grammar, families, kind_of_sound, names_for, untaught, was_taught
from llmhar.fusion.encoders.context import VALUES
from llmhar.fusion.encoders.made_clips import MadeClip, make_clip
from llmhar.fusion.encoders.observation import MODALITIES, Guess, Observation
from llmhar.fusion.encoders.observe import RECORDED

DATASET = "made_clips"
"""What lessons and tasks of made-up clips name as their data set."""
LISTED_CLIPS = FusionForm(wording="listed")
"""The prompt of a student that takes any list of activities."""
FEWEST, MOST = 2, 20
"""Activities in a list."""
OPEN, ONE_SHOT, CONFLICT = 0.1, 0.06, 0.06
"""Shares of lessons without a list; with examples; of clips whose motion contradicts their sound."""
SHORT, STEPS_SHOWN = 0.75, (2, 5)
"""Share of lessons of which the first few steps are shown, and how few: more lessons in the same time."""
MOST_SHOWN = 5
"""Activities in a list where each has an example: a prompt of twice the length."""
HENCE = "so "
"""Stands before what is done, at the end of a reason."""
FAINT = 0.5
"""A true sound is told as such in a reason if it has so much of what wrong ones have."""
TOO_ALIKE = 5
"""Steps with the same sounds, of the same shares, at the same time, counted by :func:`_weight`: a recording itself."""


class Lesson(NamedTuple):
    """What is shown of a clip, and what is to be answered."""

    clip: MadeClip
    names: Mapping[str, str]
    """Activity of the grammar -> what it is called here, in the order of the list."""
    condition: Condition
    examples: tuple[Observation, ...]
    """One-shot: a clip of each activity."""
    form: FusionForm


def lessons(n: int, seed: str, *, with_why: bool = True, drowned: float = 0.0) -> Iterator[Example]:
    """Lessons from ``n`` made-up clips.

    Args:
        n: how many.
        seed: the same seed gives the same lessons.
        with_why: whether each has its reason; without, the answer alone is learnt, about the same clips.
        drowned: how many of the clips that movement tells apart sound like something else, so that only motion and
            context tell.
    """
    for i in range(n):
        yield example_of(draw_lesson(f"train-{seed}-{i}", drowned), with_why=with_why)


def draw_lesson(seed: str, drowned: float = 0.0) -> Lesson:
    """A clip, a list of activities and a condition; the seed, which is the clip's id, decides them.

    Args:
        seed: of all draws.
        drowned: as :func:`lessons` takes it.
    """
    rng = random.Random(f"lesson:{seed}")
    taught = [activity for activity in clip_grammar()["activities"] if activity not in untaught()]
    activity, shots, closed = rng.choice(taught), int(rng.random() < ONE_SHOT), rng.random() >= OPEN
    most = MOST_SHOWN if shots else MOST
    names = draw_names(rng, activity, taught, "train", round(rng.triangular(FEWEST, most, min(9, most))))
    if not closed and not shots:  # in one's own words, whatever style a list would have
        names = {activity: in_form(rng.choice(names_for(activity, "train")), 1)}
    modalities = frozenset(MODALITIES) if rng.random() < 0.4 else rng.choice(combinations(MODALITIES))
    conflict, other = rng.random() < CONFLICT, None
    if drowned and not conflict and "motion" in modalities and told_by_motion(activity):
        apart = random.Random(f"drowned:{seed}")  # draws of its own: the other lessons stay what they are
        if apart.random() < drowned:
            other = apart.choice([name for name in taught if name != activity and not sound_alike(activity, name)])
    clip = make_clip(seed, activity, names[activity], conflict=conflict, drowned_by=other)
    if rng.random() < SHORT:
        steps = clip.observation.steps[: rng.randint(*STEPS_SHOWN)]
        clip = replace(clip, observation=replace(clip.observation, steps=steps))
    examples: tuple[Observation, ...] = ()
    if shots:
        made = (make_clip(f"{seed}-{i}", name, names[name], fold=1) for i, name in enumerate(names))
        examples = tuple(one.observation for one in made)
    form = FusionForm(wording="listed", example_steps=rng.choice((1, 2)))
    return Lesson(clip, names, Condition(modalities, shots, closed), examples, form)


def draw_names(rng: random.Random, activity: str, pool: Sequence[str], words: Words, n: int) -> dict[str, str]:
    """A list of activities with one among them, all called in one style, in any order.

    Half of the others are likely to be near it (heard or moved alike), the rest are any; of movements the others are
    often movements. Two whose names say the same never stand together, but for movements.

    Args:
        rng: of the draws.
        activity: that is among them.
        pool: activities that may be.
        words: which of their names.
        n: length of the list, if the pool has so many.
    """
    known, chosen = clip_grammar()["activities"], [activity]
    moving = "movement" in known[activity] and rng.random() < 0.6
    open_to = [name for name in pool if name != activity and (not moving or "movement" in known[name])]
    near = [name for name in open_to if sound_alike(activity, name)]
    rng.shuffle(open_to)
    rng.shuffle(near)
    while len(chosen) < n and open_to:
        other = near.pop() if near and rng.random() < 0.4 else open_to.pop()
        kin = next(family for family in families() if other in family)
        clash = [name for name in chosen if name in kin and not {"movement"} <= set(known[name]) & set(known[other])]
        if other not in chosen and not clash:
            chosen.append(other)
    style, form = rng.choice(("plain", "plain", rng.choice(LABEL_STYLES))), int(rng.random() < 0.85)
    taken: set[str] = set()
    called = {name: free_name(rng, names_for(name, words), taken, style, form) for name in chosen}
    return {name: called[name] for name in rng.sample(chosen, len(chosen)) if called[name]}


def told_by_motion(activity: str) -> bool:
    """Whether one mostly moves otherwise in it than most people at home, who sit or stand."""
    return _main(activity, "moves") not in ("sitting", "standing")


def _main(activity: str, what: str) -> str:
    """What weighs most of what the grammar says of an activity ("hears", "moves")."""
    weights: Mapping[str, float] = clip_grammar()["activities"][activity][what]
    return max(weights, key=weights.__getitem__)


@lru_cache(maxsize=16384)
def sound_alike(one: str, other: str) -> bool:
    """Whether two activities sound alike (a main sound of one is among the other's)."""
    known = clip_grammar()["activities"]
    return _main(one, "hears") in known[other]["hears"] or _main(other, "hears") in known[one]["hears"]


def example_of(lesson: Lesson, *, with_why: bool = True) -> Example:
    """A lesson below the prompt "listed", with its answer.

    Raises:
        LeakError: the clip, or an example, comes from a person or recording, or is none of a lesson's.
    """
    clip, condition = lesson.clip.observation, lesson.condition
    for observation in (clip, *lesson.examples):
        if observation.sources or not observation.clip_id.startswith("train-"):
            source = min(observation.sources, default="no lesson's")
            raise LeakError(f"{observation.clip_id} is no made-up clip for lessons: it is {source}")
    prompt = build_prompt(condition.modalities, list(lesson.names.values()), closed=condition.closed,
                          examples=lesson.examples, form=lesson.form)  # fmt: skip
    messages = prompt.messages(clip)
    assert_no_leak(messages, clip, lesson.examples, modalities=prompt.shown, form=prompt.form)
    answer = {"why": why(lesson.clip, condition.modalities, lesson.form.n_guesses)} if with_why else {}
    completion = json.dumps(answer | {"activity": clip.label}, ensure_ascii=False)  # spaced, as lessons of homes are
    return Example(DATASET, clip.clip_id, 0, messages, completion, "")


# Reasons.


def why(clip: MadeClip, modalities: frozenset[str], n_guesses: int = 3) -> str:
    """The reason for an answer: of each kind of evidence that is shown what was told and means; then what is done.

    Args:
        clip: as its maker knows it.
        modalities: what is shown.
        n_guesses: of each step.
    """
    seen, what = clip.observation, clip_grammar()["activities"][clip.activity]
    told = []
    if "captions" in modalities:
        told.append(f"captions: {_meaning(clip, _kinds_in_captions(seen))}")
    if "labels" in modalities:
        told.append(f"sounds: {_heard(clip, n_guesses)}")
    if "motion" in modalities and seen.has("motion"):
        counts = Counter(step.motion[0].name for step in seen.steps if step.motion)
        main = counts.most_common(1)[0][0]
        mostly = f"mostly {main}" if len(counts) > 1 else main
        told.append(f"motion: {mostly}{'' if main in what['moves'] or _passing(main) else ', against it'}")
    if "context" in modalities and seen.context:
        values = [seen.context[name] for name in VALUES if name in seen.context]
        usual = what["where"][0]
        against = usual != "either" and seen.context.get("setting", usual) != usual
        told.append(f"context: {', '.join(values)}{', against it' if against else ''}")
    hence = f"; {HENCE}{usual_name(clip.activity)}"
    return "; ".join(told)[: WHY_CHARS - len(hence)] + hence if told else NOTHING


@lru_cache(maxsize=512)
def usual_name(activity: str) -> str:
    """What a reason calls an activity, whatever it is called in the list: the first of its names in lessons."""
    return in_form(names_for(activity, "train")[0], 1)


def _passing(name: str) -> bool:
    return name in clip_grammar()["transitions"].values()


def _heard(clip: MadeClip, n_guesses: int) -> str:
    """The two classes that tell most of the activity, as far as any is shown, and what they mean."""
    shares: dict[str, float] = {}
    for step in clip.observation.steps:
        for guess in step.labels[:n_guesses]:
            shares[guess.name] = shares.get(guess.name, 0.0) + guess.share
    sounds = clip_grammar()["sounds"]
    wrong = {taken_for: source for source, taken_for in clip.misheard.items()}
    meant: dict[str, tuple[int, str]] = {}  # class -> how sure, what it means
    for name in shares:
        for sure, kinds, what in ((2, clip.sources, "names"), (1, wrong, "names"), (0, clip.sources, "with")):
            kind = next((kind for kind in kinds if name in sounds[kind].get(what, ())), None)
            if kind:
                meant[name] = sure, sounds[wrong.get(kind, kind) if sure == 1 else kind]["says"]
                break
    heard = [sum(share for name, share in shares.items() if meant.get(name, (-1,))[0] == sure) for sure in range(3)]
    best = max((sure for sure in range(3) if heard[sure]), default=-1)
    if best == 2 and heard[2] < FAINT * heard[1]:
        best = 1  # a trace of the true sound beside much of what it was taken for
    own = [name for name in shares if meant.get(name, (-1,))[0] == best]
    chosen = sorted(own, key=lambda name: -shares[name])[:2]
    named = " and ".join(re.split(r", | \(", name)[0] for name in chosen)
    if best < 0:
        return f"{named}, tells little"
    says = " and ".join(dict.fromkeys(meant[name][1] for name in chosen))
    return f"{named}, {says if best == 2 else f'perhaps {says}'}"


def _kinds_in_captions(seen: Observation) -> Counter[str]:
    """Kinds of sound -> steps whose caption tells of them, in a captioner's words or the stand-in's."""
    counts: Counter[str] = Counter()
    for step in seen.steps:
        text = step.captions[0].name.casefold() if step.captions else ""
        counts.update(kind for kind, phrases in _phrases().items() if any(phrase in text for phrase in phrases))
    return counts


@lru_cache(maxsize=1)
def _phrases() -> dict[str, tuple[str, ...]]:
    """Kind of sound -> how captions tell of it."""
    found: dict[str, list[str]] = {}
    for kind, entry in clip_grammar()["sounds"].items():
        found[kind] = [*entry["captions"]]
    for name, kind in kind_of_sound().items():
        found[kind] += [f"{before} {name.casefold()}" for before in ("of", "be", "perhaps", "or")]
    return {kind: tuple(phrases) for kind, phrases in found.items()}


def _meaning(clip: MadeClip, counts: Counter[str]) -> str:
    sounds = clip_grammar()["sounds"]
    own = [kind for kind, _ in counts.most_common() if kind in clip.sources]
    if own:
        return str(sounds[own[0]]["says"])
    near = [kind for kind in clip.sources if clip.misheard.get(kind) in counts]
    return f"perhaps {sounds[near[0]]['says']}" if near else "tell little"


# What must not be learnt.


def refuse_leaks(examples: Sequence[Example], kept: Sequence[str] = ()) -> None:
    """Check that no lesson teaches what a test is to find out.

    Args:
        examples: what a student is to learn.
        kept: ids of clips that must not be among them.

    Raises:
        LeakError: the name of an activity that is never taught (or one that says the same) in a list, an example, a
            reason or an answer; a clip of ``kept``, of no lesson, or of a recording.
    """
    recorded = recorded_sounds()
    for example in examples:
        own = example.session_id
        if own in kept or example.dataset != DATASET or not own.startswith("train-"):
            raise LeakError(f"clip {own} is kept for tests and is among the lessons")
        if leaked := sorted(name for name in names_in(example) if not was_taught(name)):
            raise LeakError(f"lesson {own} teaches names that are kept for tests: {', '.join(leaked)}")
        shown = _steps_shown("\n".join(message["content"] for message in example.messages))
        if any(sum(map(_weight, shown & sounds)) >= TOO_ALIKE for sounds in recorded):
            raise LeakError(f"lesson {own} shows what an encoder said of a recording")


def _steps_shown(text: str) -> set[tuple[str, str]]:
    """(time, column) of each line that tells of a step, whatever the column is of."""
    steps = (line.partition(" s: ") for line in text.split("\n"))
    return {(time, cell) for time, _, cells in steps for cell in cells.split(" | ") if cell}


def _weight(step: tuple[str, str]) -> int:
    """Two for a step with several sounds, one for a single sound: that is said of many clips."""
    return min(len(re.findall(r" \d+(?:,|$)", step[1])), 2)


@lru_cache(maxsize=1)
def recorded_sounds() -> tuple[frozenset[tuple[str, str]], ...]:
    """Of each recording whose sounds are kept with the library: what prompts show of its steps, (time, sounds)."""
    found = []
    for line in RECORDED.read_text(encoding="utf-8").splitlines():
        reply = json.loads(line)
        asked = json.loads(reply.get("match", "{}"))
        if asked.get("encoder") == "yamnet":
            steps = [[Guess(*guess) for guess in step] for step in json.loads(reply["text"])["steps"]]
            times = [f"{(start + end) / 2:g}" for start, end in asked["windows"]]
            cells = [shown_guesses("labels", step, LISTED_CLIPS.n_guesses) for step in steps]
            found.append(frozenset(zip(times, cells)))
    return tuple(found)


def names_in(example: Example) -> set[str]:
    """Activities in a lesson's list, in its examples, in its reason and in its answer."""
    system = example.messages[0]["content"]
    listed = system.partition("Activities:\n")[2].partition("\n\n")[0].split("\n")
    shown = re.findall(r"^Answer: (\{.*\})$", system, re.MULTILINE)
    answers = [json.loads(text)["activity"] for text in (*shown, example.completion)]
    reason = str(json.loads(example.completion).get("why", "")).rpartition(f"; {HENCE}")[2]
    return {name for name in (*listed, *answers, "" if reason == NOTHING else reason) if name}
