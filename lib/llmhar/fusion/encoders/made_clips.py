"""Made-up clips: what encoders would say of an activity that nobody did, errors and all. Hears no recording.

A clip has one or two sources of sound, something behind them, and a way to move; the encoders then err as the real ones
do: steps in which the source is not heard, a sound taken for a near one (now and then throughout a clip), low
probabilities, classes that are always said beside others, and people whose sitting looks like standing. How often, and
how sure guesses are, was set by eye so that shares and changes from step to step are spread like those of real outputs
(``tests/fusion/encoders/test_made_clips.py`` compares them); which sound is taken for which comes from the grammar.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmhar.fusion.clips.clip import HOP_S, MOTION_S
from llmhar.fusion.clips.clip_grammar import clip_grammar, kind_of_sound
from llmhar.fusion.encoders.captions import caption
from llmhar.fusion.encoders.context import VALUES
from llmhar.fusion.encoders.observation import Guess, Observation, StepSeen
from llmhar.fusion.encoders.registry import TOP

N_STEPS = 9
"""Steps of a clip of 20 s; some clips are shorter or longer."""
MISHEARD = 0.3
"""Chance that a source is taken for a near kind of sound through most of a clip."""
STRAY = 0.08
"""Chance that a step holds a sound that is neither the activity's nor the background's."""
UNSTEADY = 0.15
"""Chance that a stretch of a clip's motion is taken for another class."""
CONTEXT_NOISE = (0.0, 0.1, 0.1, 0.3)
"""Chances that a value of the context is another one; a clip has one of these."""


@dataclass(frozen=True)
class MadeClip:
    """A clip with what only its maker knows."""

    observation: Observation
    activity: str
    """Key into the grammar's activities."""
    sources: tuple[str, ...]
    """Kinds of sound that truly sounded."""
    misheard: Mapping[str, str]
    """Of these, what the encoder mostly took them for."""


def make_clip(
    seed: str, activity: str, label: str, *, fold: int = 0, conflict: bool = False, drowned_by: str | None = None
) -> MadeClip:
    """What encoders say of a made-up clip, all modalities.

    Args:
        seed: names the clip; the same seed gives the same clip.
        activity: key into the grammar's activities.
        label: what the activity is called.
        fold: side of the split.
        conflict: whether it moves as nobody does who does this.
        drowned_by: another activity, of which all that is heard comes (next door, say): nothing of its own sounds.
    """
    rng, what = random.Random(f"clip:{seed}"), clip_grammar()["activities"][activity]
    n = N_STEPS if rng.random() < 0.55 else rng.randint(2, 14)
    ear = _Ear(rng, clip_grammar()["activities"][drowned_by or activity]["hears"])
    heard = [ear.step() for _ in range(n)]
    sounds = [guesses for guesses, _ in heard]
    free = rng.random() < 0.5  # as a captioner writes, or as the stand-in does
    captions = [_caption(rng, kinds) if free else caption(guesses) for guesses, kinds in heard]
    motion = _motion(rng, what["moves"], n, conflict)
    blind = rng.randint(1, n - 1) if rng.random() < 0.05 else n  # motion may end before the sound
    steps = tuple(
        StepSeen(MOTION_S / 2 + i * HOP_S, (Guess(captions[i], 1.0),), sounds[i], motion[i] if i < blind else ())
        for i in range(n)
    )
    observation = Observation(
        clip_id=seed, label=label, cluster=seed, fold=fold, sources=frozenset(), steps=steps,
        context=_context(rng, *what["where"]), conflict=conflict,
    )  # fmt: skip
    return MadeClip(observation, activity, () if drowned_by else tuple(ear.sources), {} if drowned_by else ear.misheard)


class _Ear:
    """What a sound encoder says of one clip, step by step."""

    def __init__(self, rng: random.Random, hears: Mapping[str, float]) -> None:
        self.rng = rng
        self.sounds: Mapping[str, Any] = clip_grammar()["sounds"]
        behind = clip_grammar()["background"]
        self.behind = rng.choices(list(behind), list(behind.values()))[0]
        self.noisy = rng.choice((0.1, 0.3, 0.6))  # how often the background is heard
        self.clear = rng.betavariate(3.0, 1.3)  # how often a source is
        self.loud = rng.choice((0.6, 0.9, 1.2, 1.7))
        chosen = _drawn(rng, hears, rng.choices((1, 2, 3), (6, 4, 1))[0])
        self.told = {self._kind(name): name for name in chosen}  # a class where the grammar names one
        self.sources = list(self.told)
        self.misheard = {
            kind: rng.choice(near)
            for kind in self.sources
            if (near := self.sounds[kind]["near"]) and rng.random() < MISHEARD
        }
        self.favourites: dict[str, str] = {}
        self.now = self.sources[0]

    def _kind(self, name: str) -> str:
        return name if name in self.sounds else kind_of_sound()[name]

    def step(self) -> tuple[tuple[Guess, ...], list[str]]:
        """The likeliest classes of one step, and the kinds of sound behind them, the loudest first."""
        rng, shares, kinds = self.rng, dict[str, float](), []
        if rng.random() < 0.2:
            self.now = rng.choice(self.sources)
        if rng.random() < self.clear:
            taken_for = self.misheard.get(self.now)
            kinds.append(taken_for if taken_for and rng.random() < 0.8 else self.now)
        if rng.random() < self.noisy or not kinds:
            kinds.append(self.behind)
        if rng.random() < STRAY:
            kinds.append(rng.choice(list(self.sounds)))
        for place, kind in enumerate(kinds):
            soft = place > 0 or kind in ("noise", "quiet")
            self._say(shares, kind, 0.5 * self.loud if soft else self.loud)
        while len(shares) < TOP:
            kind = rng.choice(("noise", "quiet", self.behind, *self.sources))
            shares.setdefault(rng.choice(self.sounds[kind]["names"]), rng.uniform(0.005, 0.09))
        ranked = sorted(shares.items(), key=lambda pair: -pair[1])[:TOP]
        return tuple(Guess(name, round(share, 6)) for name, share in ranked), kinds

    def _say(self, shares: dict[str, float], kind: str, loud: float) -> None:
        """Enter a kind of sound: its class that this clip is mostly taken for, what is said beside it, its kin."""
        rng, entry = self.rng, self.sounds[kind]
        names = entry["names"]
        if kind not in self.favourites or rng.random() < 0.08:
            named = self.told.get(kind, kind)
            weights = [1 / (1 + place) for place in range(len(names))]
            self.favourites[kind] = named if named != kind else rng.choices(names, weights)[0]
        top = min(loud * rng.betavariate(1.6, 2.4), 0.99)
        said = {self.favourites[kind]: top}
        said |= {name: min(top * rng.uniform(0.5, 1.8), 0.99) for name in entry.get("with", ()) if rng.random() < 0.8}
        said |= {name: top * rng.uniform(0.15, 0.9) for name in rng.sample(names, min(len(names), rng.randint(1, 4)))
                 if name not in said}  # fmt: skip
        for name, share in said.items():
            shares[name] = max(shares.get(name, 0.0), share)


def _caption(rng: random.Random, kinds: Sequence[str]) -> str:
    """A sentence as a captioner writes it, of the sounds of a step; it may hear them otherwise than the tagger."""
    sounds = clip_grammar()["sounds"]
    told = [rng.choice(sounds[kind]["captions"]) for kind in dict.fromkeys(kinds)]
    joined = told[0] if len(told) == 1 or rng.random() < 0.5 else " and ".join(told[:2])
    return f"{joined[0].upper()}{joined[1:]}{rng.choice(('', '', ' in the background'))}."


def _motion(rng: random.Random, moves: Mapping[str, float], n: int, conflict: bool) -> list[tuple[Guess, ...]]:
    """Classes of movement, step by step, by an encoder of six classes or of twelve."""
    grammar = clip_grammar()
    mistaken, transitions = grammar["motion"], set(grammar["transitions"].values())
    twelve = rng.random() < 0.3
    main, *others = _drawn(rng, moves, len(moves))
    if conflict:
        main, others = rng.choice([name for name in mistaken if name not in moves]), []
    restless = rng.choice((0.0, 0.0, 0.0, 0.05, 0.3)) if others else 0.0
    true = [rng.choice(others) if rng.random() < restless else main for _ in range(n)]
    start = rng.randrange(n)
    wrong = range(start, rng.randint(start, n) + 1) if rng.random() < UNSTEADY else range(0)
    taken_for: dict[str, str] = {}  # the same person errs in the same way
    told: list[tuple[Guess, ...]] = []
    for i, name in enumerate(true):
        likely = {kind: weight for kind, weight in mistaken[name].items() if twelve or kind not in transitions}
        near = taken_for.setdefault(name, rng.choices(list(likely), list(likely.values()))[0])
        passing = grammar["transitions"].get(f"{true[i - 1]} {name}") if i and twelve else None
        swapped = i in wrong or passing is not None
        top, second = (passing or near, name) if swapped else (name, near)
        third = rng.choice([kind for kind in mistaken if kind not in (top, second)])
        sure = rng.uniform(0.45, 0.95) if swapped else 1 - min(0.012 + rng.expovariate(1 / 0.04), 0.5)
        rest = (1 - sure) * rng.uniform(0.55, 0.9)
        told.append((Guess(top, round(sure, 6)), Guess(second, round(rest, 6)),
                     Guess(third, round((1 - sure - rest) * rng.uniform(0.4, 0.9), 6))))  # fmt: skip
    return told


def _context(rng: random.Random, setting: str, zone: str) -> dict[str, str]:
    """Where somebody is and how hard the heart works, wrong now and then; seldom one of the two alone."""
    noise = rng.choice(CONTEXT_NOISE)
    usual = {"setting": rng.choice(VALUES["setting"]) if setting == "either" else setting, "heart rate zone": zone}
    told = {}
    for name, value in usual.items():
        others = [other for other in VALUES[name] if other != value]
        told[name] = rng.choice(others) if rng.random() < noise else value
    if rng.random() < 0.2:
        del told[rng.choice(list(told))]
    return told


def _drawn(rng: random.Random, weights: Mapping[str, float], n: int) -> list[str]:
    """``n`` different keys, or all, the heavier ones sooner."""
    left, chosen = dict(weights), list[str]()
    while left and len(chosen) < n:
        chosen.append(rng.choices(list(left), list(left.values()))[0])
        del left[chosen[-1]]
    return chosen
