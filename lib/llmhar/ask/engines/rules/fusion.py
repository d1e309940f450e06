"""Scripted teacher and floor for fusion's prompt: what sounds, movements and places go with which activity.

It reads the messages and nothing else: the activities from the static part, time steps and context from the last
message. Examples are not read: its one-shot answers are its zero-shot ones. The tables below were written from everyday
life and the names of AudioSet's classes, before any clip of a data set was scored with them. How it thinks:

1. Words of each caption and sound class speak for concepts ("tap": washing up, washing oneself), as much as their
   share; what says little anywhere (speech, silence, rooms) weighs little. Words of an offered activity speak for it.
2. Movements and context say how well posture, place and effort fit each concept: they raise or lower, never decide
   alone unless nothing was heard.
3. Concepts are summed over steps; the best one that the list has a name for is answered, without a list in own words.

The same messages always give the same text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

STEPS = "Time steps:"
"""Begins the clip in fusion's prompt (``fusion.prompting.STEPS_HEADING``; a test keeps them equal)."""
CONTEXT = "Context: {"
_LISTED = re.compile(r"(?m)^Activities:\n((?:- .*\n?)+)")
ZONES = ("very light", "light", "moderate", "vigorous")

Fits = Mapping[str, float]
SIT: Fits = {"sit": 1, "stand": 0.4, "lie": 0.4, "walk": 0.15, "stairs": 0.05, "run": 0.03, "change": 0.4}
LIE: Fits = {"lie": 1, "sit": 0.4, "stand": 0.1, "walk": 0.05, "stairs": 0.02, "run": 0.02, "change": 0.3}
STAND: Fits = {"stand": 1, "walk": 0.5, "sit": 0.35, "lie": 0.05, "stairs": 0.15, "run": 0.05, "change": 0.4}
BUSY: Fits = {"walk": 1, "stand": 0.8, "stairs": 0.3, "run": 0.2, "sit": 0.15, "lie": 0.03, "change": 0.6}
WALK: Fits = {"walk": 1, "stairs": 0.4, "run": 0.3, "stand": 0.3, "sit": 0.05, "lie": 0.02, "change": 0.2}
STAIRS: Fits = {"stairs": 1, "walk": 0.4, "run": 0.2, "stand": 0.1, "sit": 0.03, "lie": 0.02, "change": 0.2}
SPORT: Fits = {"run": 1, "stairs": 0.5, "walk": 0.5, "stand": 0.3, "sit": 0.1, "lie": 0.15, "change": 0.5}
HOME: Fits = {"sit": 0.8, "stand": 0.8, "walk": 0.6, "lie": 0.3, "stairs": 0.2, "run": 0.15, "change": 0.7}
"""Movement -> how well it fits an activity: seated, lying, on one's feet, to and fro, walking ..."""


class Concept(NamedTuple):
    """Something that people do."""

    words: str
    """How it is called where no list is given."""
    called: str
    """Pattern of labels that mean it."""
    heard: Mapping[str, float]
    """Pattern of captions and sound classes -> how much they speak for it (1: the usual reading)."""
    moves: Fits
    zone: str
    """Usual heart rate zone."""
    outdoors: bool = False


CONCEPTS: tuple[Concept, ...] = (
    Concept("vacuum cleaning", r"vacuum|hoover", {r"vacuum|hoover": 1, r"\bengine|whir|motor|hum\b|hair dryer": 0.3,
            r"white noise|mechanical fan|noise": 0.15}, BUSY, "moderate"),
    Concept("washing dishes", r"dish|washing up", {r"dish|plates|pots|washing up": 1, r"cutlery|silverware|clink": 0.7,
            r"sink": 0.7, r"\btap\b|faucet|water|splash|pour|trickl|gush|liquid|fill": 0.5}, STAND, "light"),
    Concept("cooking", r"cook|prepar\w* (?:a |the )?(?:food|meal)", {r"fry|sizzl|chopping|boil|cook|kitchen|stir": 1,
            r"microwave|blender|food|\bchop\b|steam": 0.8, r"dish|pots|pans|cutlery|cupboard|drawer": 0.5,
            r"\btap\b|faucet|water|pour": 0.2}, STAND, "light"),
    Concept("doing laundry", r"laundry|clothes|washing machine|iron", {r"washing machine|laundry|clothes|dryer": 1,
            r"zipper|rustl|cloth|fabric|iron": 0.5, r"slosh|whir|hum\b|mechanism|spin": 0.3}, STAND, "light"),
    Concept("eating", r"\beat|meal|breakfast|lunch|dinner|snack", {r"chew|masticat|bit(?:e|ing)|eat|crunch": 1,
            r"cutlery|silverware|burp|swallow": 0.6, r"dish|plate|glass|clink": 0.4, r"speech|talk": 0.1},
            SIT, "very light"),
    Concept("playing basketball", r"basketball", {r"basketball|dribbl": 1, r"bounc|thump|squeak": 0.6,
            r"cheer|crowd|shout|whistle|thud|sport": 0.3}, SPORT, "vigorous", True),
    Concept("playing soccer", r"soccer|football", {r"soccer|football": 1, r"kick|outside, rural|grass": 0.4,
            r"cheer|crowd|shout|whistle|\brun\b|wind|thump|sport|field": 0.35}, SPORT, "vigorous", True),
    Concept("playing with a pet", r"\bpets?\b|\bdogs?\b|\bcats?\b|animal", {
            r"\bdog|bark|\bcats?\b|meow|purr|\bpets?\b|puppy|kitten|\byip": 1, r"animal|growl|whimper|pant\b|howl": 0.7,
            r"\bhiss|caterwaul|bird": 0.4}, HOME, "light"),
    Concept("reading a book", r"\bread|\bbook", {r"\bpages?\b|\bbook|paper": 1, r"silence|quiet": 0.3,
            r"inside, small room|rustl|crumpl|\bclock|tick": 0.2}, SIT, "very light"),
    Concept("using a computer", r"comput|typ(?:e|ing)|laptop|\bpc\b|desk", {r"typing|keyboard|computer|typewriter": 1,
            r"click|mouse": 0.6, r"tapping|printer|\bhum\b|mechanical fan": 0.25}, SIT, "very light"),
    Concept("watching TV", r"\btv\b|televis|watch|film", {r"televis|\btv\b|soundtrack|theme music|film|movie": 1,
            r"jingle \(music\)|background music|narrat|sound effect|explosion|gunfire": 0.4,
            r"speech|music|talk|speak": 0.2}, SIT, "very light"),
    Concept("a workout", r"work ?out|weight ?lift|exercis|gym|strength", {r"gym\b|weights?\b|exercis|workout|rope": 1,
            r"grunt|pant\b|breath|clang|gasp|groan": 0.6, r"thump|thud|metal|bang|music": 0.25}, SPORT, "vigorous"),
    Concept("sewing", r"\bsew|tailor|stitch", {r"sewing": 1, r"typewriter|ratchet|gears|mechanism|scissors": 0.4,
            r"whir|clickety|power tool|drill": 0.25}, SIT, "very light"),
    Concept("comforting a baby", r"baby|infant|child|comfort", {r"baby|infant": 1,
            r"cry|sob|whimper\b|wail|lullab": 0.7, r"child|babbl|giggl": 0.5}, HOME, "light"),
    Concept("having guests over", r"guest|party|visit|friend|crowd|social", {r"party|chatter|crowd|hubbub|applause": 1,
            r"convers|laugh|cheer|children playing": 0.6, r"speech|talk|speak|clink|glass": 0.35}, HOME, "light"),
    Concept("being ill in bed", r"\bill\b|sick|cough", {r"cough|sneez|throat|wheez|sniff": 1,
            r"gasp|groan|snor|breath": 0.4}, LIE, "very light"),
    Concept("sleeping", r"sleep|nap\b|\bbed\b", {r"snor": 1, r"breath|silence|quiet": 0.4}, LIE, "very light"),
    Concept("making music", r"(?:mak|play)\w* (?:\w+ )?(?:music|guitar|piano|drum\w*|instrument)|snapping|\bsing", {
            r"guitar|piano|drum|violin|flute|instrument|strum|finger snapping|percussion|sing": 1,
            r"clap|hands|tabla|cymbal|music": 0.6}, SIT, "light"),
    Concept("listening to music", r"listen|music|radio|danc", {r"music|song|radio|jazz|techno|disco|rock\b": 1,
            r"drum|guitar|bass|synthes|beat": 0.6}, SIT, "very light"),
    Concept("climbing stairs", r"stair|climb|upstairs|downstairs", {r"stair": 1, r"footstep|walk|\bsteps\b": 0.6,
            r"creak|shuffl|thump|pant\b": 0.2}, STAIRS, "vigorous"),
    Concept("coming home", r"\bdoor|com\w* home|leav|enter", {r"\bdoor|doorbell|keys jangl|knock|slam": 1,
            r"creak|footstep|squeak": 0.4}, WALK, "light"),
    Concept("walking outdoors", r"walk|outdoors|outside|stroll", {r"footstep|walk": 0.8, r"outside|street|traffic": 0.8,
            r"car\b|vehicle|bird|crow\b|caw|wind|siren|truck|bicycle|motor": 0.6, r"rustling leaves|gravel": 0.5},
            WALK, "moderate", True),
    Concept("running", r"\brun|jog", {r"\brun\b|running feet|jog": 1, r"pant\b|footstep|breath": 0.5}, SPORT,
            "vigorous", True),
    Concept("cycling", r"cycl|bicycle|bik(?:e|ing)", {r"bicycle|cycling": 1, r"wind|traffic": 0.3}, SIT, "moderate",
            True),
    Concept("driving", r"driv|\bcar\b|travel|train\b|commut", {r"\bcar\b|vehicle|engine|traffic|bus\b|train\b": 1,
            r"idling|horn|motor": 0.6}, SIT, "very light", True),
    Concept("washing at the tap", r"\btap\b|sink|wash|hands|groom|hygien|teeth|shav|water", {
            r"\btap\b|faucet|sink|toothbrush|gargl|shaver": 1, r"water|splash|trickl|pour|liquid|gush|drip|fill": 0.8,
            r"bathtub|spray|stream": 0.5}, STAND, "light"),
    Concept("taking a shower", r"shower|bath", {r"shower|bathtub": 1, r"water|spray|rain|gush": 0.5}, STAND, "light"),
    Concept("using the toilet", r"toilet", {r"toilet|flush|fart": 1, r"gurgl": 0.3}, SIT, "very light"),
    Concept("talking on the phone", r"phone|\bcall", {r"telephone|ringtone|dial|\bphone": 1, r"speech|beep": 0.25},
            HOME, "very light"),
    Concept("talking", r"talk|chat|convers|speak", {r"convers|speech|chatter|talk|speak|laugh": 0.8}, HOME, "light"),
    Concept("drinking", r"drink|coffee|tea\b", {r"pour|glass|clink|slurp|swallow|gulp": 0.8, r"burp|fill|liquid": 0.4},
            SIT, "very light"),
    Concept("cleaning", r"clean|sweep|\bmop|dust|tidy", {r"sweep|broom|scrub|mop|\brub|scrape|spray": 0.8,
            r"water|rustl|whoosh": 0.2}, BUSY, "moderate"),
    Concept("repairing something", r"repair|tool|hammer|drill|saw", {r"hammer|drill|saw|tools?\b|sanding|filing": 1,
            r"bang|wood|metal|clang": 0.4}, STAND, "moderate"),
    Concept("gardening", r"garden|lawn|mow", {r"lawn|mow|chainsaw|digging|spade": 1, r"bird|leaves|wind|insect": 0.4},
            BUSY, "moderate", True),
    Concept("cutting hair", r"hair", {r"hair|scissors|shaver": 1}, STAND, "light"),
    Concept("lying down", r"\blying|\blaying|\blie\b", {r"silence|quiet|breath": 0.3}, LIE, "very light"),
    Concept("standing", r"\bstand", {r"silence|quiet": 0.1}, STAND, "light"),
    Concept("resting", r"\bsit|\brest|relax", {r"silence|quiet|clock|tick|sigh": 0.35}, SIT, "very light"),
)  # fmt: skip
"""Everyday concepts; a label means the first whose pattern it matches."""

MOVEMENTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\bto\b|transition", ("change",)), (r"stair|climb", ("stairs",)), (r"walk|\bup\b|\bdown\b", ("walk", "stairs")),
    (r"run|jog|jump|sport|vigorous", ("run",)), (r"\bsit", ("sit",)), (r"stand", ("stand",)),
    (r"\blay|\blie|lying|sleep", ("lie",)), (r"still|static|rest|inactive", ("sit", "stand", "lie")),
    (r"mov|active|dynamic", ("walk", "stairs", "run")), (r"cycl|bicycl", ("sit", "run")),
)  # fmt: skip
"""Words of a motion class -> the movements that it may be; the first that matches counts."""

WEIGHTS: Mapping[str, float] = {"caption": 1.0, "sounds": 1.0}
PRIOR, MOVE_POWER, SETTING_MISS, ZONE_MISS = 0.03, 0.7, 0.5, 0.7
"""What every concept starts with; how far movements count (0: not, 1: fully); factor of the wrong setting; of each zone
between the usual and the given one."""

_HEARD = tuple(tuple((re.compile(p), weight) for p, weight in concept.heard.items()) for concept in CONCEPTS)
_CALLED = tuple(re.compile(concept.called) for concept in CONCEPTS)
_MOVEMENTS = tuple((re.compile(p), kinds) for p, kinds in MOVEMENTS)
Shares = dict[str, float]


class _Clip(NamedTuple):
    """The last message, understood: name -> share, a mean over all steps."""

    heard: Mapping[str, Shares]  # field -> what was heard
    motion: Shares
    context: Mapping[str, str]
    n_steps: int


def answer_fusion(messages: tuple[Mapping[str, str], ...], *, thinking: bool = True) -> str:
    """The whole text for one clip: reasoning in a thinking block, then the JSON answer.

    Args:
        messages: fusion's prompt.
        thinking: whether to write the reasoning; never where a schema binds the answer.
    """
    labels = _read_labels("\n".join(message.get("content", "") for message in messages[:-1]))
    clip = _read_clip(messages[-1].get("content", ""))
    offered = {label: _concept_of(label) for label in labels} or {c.words: i for i, c in enumerate(CONCEPTS)}
    heard = {label: _hear(label, number, clip) for label, number in offered.items()}
    scores = {label: (PRIOR + heard[label]) * _fit(number, clip) for label, number in offered.items()}
    best = max(scores, key=lambda label: scores[label])
    answer = json.dumps({"activity": best}, ensure_ascii=False)
    return f"<think>\n{_reason(best, clip, offered)}\n</think>\n\n{answer}" if thinking else answer


def _read_labels(static: str) -> list[str]:
    found = _LISTED.search(static)
    return [line.removeprefix("- ").strip() for line in found[1].splitlines()] if found else []


def _read_clip(text: str) -> _Clip:
    """Means over all steps, so that a sound in one step of nine counts a ninth."""
    steps: list[dict[str, Any]] = []
    context: dict[str, str] = {}
    for line in text.splitlines():
        head, _, tail = line.partition("{")
        if not tail or head not in ("", CONTEXT[:-1]):
            continue
        item = json.loads("{" + tail)
        if head:
            context = {str(name): str(value) for name, value in item.items()}
        else:
            steps.append(item)
    n = max(len(steps), 1)
    heard: dict[str, Shares] = {field: {} for field in WEIGHTS}
    motion: Shares = {}
    for step in steps:
        for field, shares in {**heard, "motion": motion}.items():
            said = step.get(field, {})
            for name, share in ({said: "100%"} if isinstance(said, str) else dict(said)).items():
                shares[name] = shares.get(name, 0.0) + int(str(share).rstrip("%") or 0) / 100 / n
    return _Clip(heard, motion, context, len(steps))


@lru_cache(maxsize=4096)
def _words(text: str) -> str:
    return re.sub(r"[_/]+", " ", text).casefold()


@lru_cache(maxsize=4096)
def _concept_of(label: str) -> int:
    """Number of the concept that a label means; -1 where no pattern fits."""
    words = _words(label)
    return next((i for i, called in enumerate(_CALLED) if called.search(words)), -1)


@lru_cache(maxsize=65536)
def _speaks_for(said: str, label: str, number: int) -> float:
    """How much one caption or class speaks for an activity, in [0, 1]; 2 where it names that very activity."""
    words = _words(said)
    if words == _words(label):
        return 2.0
    own = {word for word in re.findall(r"[a-z]{4,}", _words(label)) if not word.endswith("ing")}
    named = 0.8 if any(re.search(rf"\b{word}", words) for word in own) else 0.0
    cues = _HEARD[number] if number >= 0 else ()
    return max([named, *(weight for pattern, weight in cues if pattern.search(words))])


def _hear(label: str, number: int, clip: _Clip) -> float:
    heard = sum(
        WEIGHTS[field] * share * _speaks_for(said, label, number)
        for field, shares in clip.heard.items()
        for said, share in shares.items()
    )
    # A motion class says how one moves, not what one does, unless it names the activity itself.
    return heard + sum(2.0 * share for said, share in clip.motion.items() if _words(said) == _words(label))


@lru_cache(maxsize=4096)
def _movements(name: str) -> tuple[str, ...]:
    words = _words(name)
    return next((kinds for pattern, kinds in _MOVEMENTS if pattern.search(words)), ())


def _fit(number: int, clip: _Clip) -> float:
    """How well movements and context fit a concept; 1 where there are none."""
    moves = CONCEPTS[number].moves if number >= 0 else HOME
    fit = total = 0.0
    for name, share in clip.motion.items():
        kinds = _movements(name)
        if kinds:
            fit += share * max(moves[kind] for kind in kinds)
            total += share
    factor = (fit / total) ** MOVE_POWER if total else 1.0
    setting, zone = clip.context.get("setting", ""), clip.context.get("heart rate zone", "")
    if number >= 0 and setting in ("indoors", "outdoors"):
        factor *= 1.0 if (setting == "outdoors") == CONCEPTS[number].outdoors else SETTING_MISS
    if number >= 0 and zone in ZONES:
        factor *= ZONE_MISS ** abs(ZONES.index(zone) - ZONES.index(CONCEPTS[number].zone))
    return factor


def _reason(best: str, clip: _Clip, offered: Mapping[str, int]) -> str:
    """One short line per kind of evidence, then what fits them all."""
    lines = []
    for field, title in (("caption", "Captions"), ("sounds", "Sounds")):
        if shares := clip.heard[field]:
            top = sorted(shares, key=lambda name: -shares[name])[:2]
            alone = {
                label: _hear(label, number, clip._replace(heard={field: shares})) for label, number in offered.items()
            }
            first = max(alone, key=lambda label: alone[label])
            hint = f"suggests {first}" if alone[first] > 0.02 else "says little"
            lines.append(f"{title}: {', '.join(top)}; {hint}.")
    if clip.motion:
        likely = max(clip.motion, key=lambda name: clip.motion[name])
        lines.append(f"Motion: mostly {likely}.")
    if clip.context:
        lines.append(f"Context: {', '.join(clip.context.values())}.")
    return "\n".join([*lines, f"Together: {best} fits best."])
