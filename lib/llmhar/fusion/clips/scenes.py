"""Composed scenes: real recordings of sound and real motion of real people, joined into 20 s clips of home activities.

Nobody did these things in front of both sensors at once: a sound was recorded by one, a motion by another, and the clip
puts them side by side. Every table says so ("composed from real recordings"). What is honest about them:

- :data:`SCENES` is the one table of what makes which activity. An activity with fewer than three fitting recordings in
  the packages (crying baby, sewing, eating) is left out, not faked. Recordings that a tagger mishears (typing, doors,
  sneezing) stay in: hearing wrongly is what fusion is about.
- Three folds: each recording and each person is in one only.
- Short recordings are repeated after pauses of random length; motion shorter than 20 s goes on with the same person's
  next stretch of the same activity (:func:`runs.join`). The room's noise is synthetic, 15 to 30 dB below the sound.
- In a conflict clip the sound is one activity's and the motion contradicts it; its label is the sound's activity.

All from one seed, the same on every machine up to the last bits of MP3 decoding and filtering, which may differ with
the versions of libsndfile and SciPy: so samples are rounded to 16 bits, and hashes may still differ.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.signal import resample_poly

from llmhar import paths
from llmhar.data.load_report import DataError
from llmhar.fusion.clips.audio_files import read_audio
from llmhar.fusion.clips.clip import Clip, ClipSet, Signal, check_folds
from llmhar.fusion.clips.hapt import RATE as MOTION_RATE
from llmhar.fusion.clips.hapt import load_hapt
from llmhar.fusion.clips.motion_runs import CLIP_S, FADE, join
from llmhar.fusion.clips.sounds import recordings

AUDIO_RATE = 16_000
TITLE = "Composed scenes"
N_FOLDS = 3
ROUNDS = 12
"""Clips of each activity; in each round one activity has a conflict clip beside it."""
ENCODER_PERSONS = tuple(range(1, 19))
"""People of HAPT whose motion may train a motion classifier; none is in a scene."""
SCENE_PERSONS = tuple(range(19, 31))
"""People of HAPT whose motion is in scenes: fold 0 has 19, 22, …"""
SNR_DB = (15.0, 30.0)
"""Power of the sound, where it sounds, over that of the room's noise: drawn between these."""
PEAK = (0.3, 0.9)
"""Loudest sample of a clip: drawn between these."""
_EDGE_S = 0.005
"""Fade at both ends of a recording, against clicks."""


class Scene(NamedTuple):
    """What makes one activity."""

    label: str
    sounds: tuple[str, ...]
    """Recordings, dealt to the folds in turn: the first and fourth to fold 0, …"""
    motions: tuple[str, ...]
    """HAPT's labels, taken in turn."""
    against: str
    """HAPT's label that contradicts the activity: for conflict clips."""
    pause_s: tuple[float, float] = (0.2, 1.5)
    """Shortest and longest pause between two repetitions."""


def _scratch(*names: str) -> tuple[str, ...]:
    return tuple(f"scratch/{name}" for name in names)


_MUSIC = (0.0, 0.1)
SCENES = (
    Scene(
        "washing at the sink",
        _scratch("Effects/WaterRunning.mp3", "Effects/Ripples.wav", "Effects/WaterDrop.mp3", "Effects/Bubbles.wav"),
        ("standing",),
        "lying",
        (0.0, 0.5),
    ),
    Scene(
        "having guests over",
        _scratch(
            *("Human/PartyNoise.wav", "Human/Laugh-female.wav", "Human/Laugh-male1.wav", "Human/Laugh-male2.wav"),
            *("Human/Laugh-male3.mp3",),
        ),
        ("standing", "sitting"),
        "lying",
    ),
    Scene(
        "being ill in bed",
        _scratch("Human/Cough-male.wav", "Human/Cough-female.wav", "Human/Sneeze-male.wav", "Human/Sneeze-female.wav"),
        ("lying",),
        "walking upstairs",
        (0.5, 2.5),
    ),
    Scene(
        "playing with a pet",
        _scratch("Animal/Dog1.wav", "Animal/Kitten.wav", "Animal/Dog2.wav", "Animal/Meow.wav", "Animal/Cat.mp3"),
        ("sitting", "walking"),
        "lying",
    ),
    Scene(
        "playing an instrument",
        (
            *_scratch("Instruments/GuitarStrum.wav", "Music Loops/GuitarChords1.mp3", "Instruments/Trumpet1.wav"),
            *_scratch("Instruments/Tambura.wav", "Instruments/Trumpet2.wav", "Music Loops/GuitarChords2.mp3"),
            *("sonic-pi-samples/guit_em9.flac", "sonic-pi-samples/loop_tabla.flac", "sonic-pi-samples/drum_roll.flac"),
        ),
        ("sitting",),
        "walking downstairs",
        (0.1, 0.6),
    ),
    Scene(
        "listening to music in bed",
        _scratch(
            "Music Loops/Medieval2.mp3", "Music Loops/Techno.mp3", "Music Loops/Eggs.mp3", "Music Loops/HipHop.mp3"
        )
        + _scratch("Music Loops/Garden.mp3", "Music Loops/Medieval1.mp3", "Music Loops/Jungle.mp3"),
        ("lying",),
        "walking upstairs",
        _MUSIC,
    ),
    Scene(
        "singing",
        _scratch(
            *("Vocals/Singer1.wav", "Vocals/Sing-me-a-song.mp3", "Vocals/Hey-yay-hey.mp3", "Vocals/Singer2.wav"),
            *("Vocals/Oooo-badada.mp3", "Vocals/Doy-doy-doy.mp3"),
        ),
        ("standing",),
        "walking downstairs",
        (0.1, 0.8),
    ),
    Scene(
        "using a computer",
        _scratch("Effects/Typing.mp3", "Electronic/ComputerBeeps1.wav", "Electronic/ComputerBeeps2.wav"),
        ("sitting",),
        "walking upstairs",
    ),
    Scene(
        "walking outdoors",
        (
            *_scratch("Effects/CarPassing.wav", "Animal/Bird.wav", "Effects/MotorcyclePassing.wav"),
            *_scratch("Animal/Crickets.wav"),
            "sonic-pi-samples/misc_crow.flac",
        ),
        ("walking",),
        "lying",
    ),
    Scene(
        "coming or going by the stairs",
        _scratch("Human/Footsteps-1.wav", "Human/Footsteps-2.mp3", "Effects/DoorClose.mp3", "Effects/DoorCreak.wav"),
        ("walking upstairs", "walking downstairs"),
        "lying",
        (0.0, 0.3),
    ),
)
"""Every activity; labels are in this order in tables."""

PROVENANCE = (
    "Composed from real recordings: sounds of Debian's packages scratch 1.4.0.6 ((c) 2011 MIT, CC-BY-SA-3.0) and "
    "sonic-pi-samples 3.2.2 (CC0), motion of people 19 to 30 of UCI HAPT. Sound and motion were recorded apart; short "
    "recordings are repeated, and synthetic noise lies 15 to 30 dB below the sound."
)


@dataclass(frozen=True)
class _Plan:
    """Everything that makes one clip."""

    scene: int
    number: int
    """Round, from 0; fold = number % 3."""
    conflict: bool
    sound: str
    person: int
    motion: str
    seed: tuple[int, ...]

    @property
    def clip_id(self) -> str:
        """E.g. "singing-03", "singing-03-conflict"."""
        name = SCENES[self.scene].label.replace(" ", "-")
        return f"{name}-{self.number:02d}{'-conflict' * self.conflict}"


def compose_scenes(seed: int = 0, limit: int | None = None) -> ClipSet:
    """The scenes as clips, read when asked for: 12 of each activity and 12 with a conflict, 132 in all.

    Args:
        seed: of every draw.
        limit: only so many clips: the first 11 hold each activity and one conflict, and so on.

    Raises:
        DataError: the recordings are not here (``sounds.fetch_sounds`` brings them), or the motion cannot be had.
    """
    here = recordings()
    absent = sorted({sound for scene in SCENES for sound in scene.sounds} - set(here))
    if absent:
        raise DataError(f"{absent[0]} is not among the recordings that are here: fetch them again")
    load_hapt()  # says what is missing now, and not when the first clip is read
    clips = tuple(_clip(plan, here[plan.sound].path) for plan in plans(seed)[:limit])
    check_folds(clips)
    return _clipset(clips, "composed from real recordings")


def plans(seed: int = 0) -> list[_Plan]:
    """What each clip is made of; reads nothing. Another seed than 0 deals the sounds anew to folds, people to clips."""
    drawn = []
    scenes = [scene._replace(sounds=_dealt(scene.sounds, seed, scene.label)) for scene in SCENES]
    for number in range(ROUNDS):
        fold, turn = number % N_FOLDS, number // N_FOLDS
        persons = [person for person in SCENE_PERSONS if (person - SCENE_PERSONS[0]) % N_FOLDS == fold]
        persons = list(_dealt(persons, seed, f"fold {fold}"))
        for index, scene in enumerate(scenes):
            sounds = scene.sounds[fold::N_FOLDS]
            for conflict in (False, True) if index == number % len(SCENES) else (False,):
                key = (seed, index, number, int(conflict))
                drawn.append(
                    _Plan(
                        scene=index,
                        number=number,
                        conflict=conflict,
                        sound=sounds[turn % len(sounds)],
                        person=persons[(turn + index + conflict) % len(persons)],
                        motion=scene.against if conflict else scene.motions[turn % len(scene.motions)],
                        seed=key,
                    )
                )
    return drawn


def _dealt(things: Sequence[Any], seed: int, name: str) -> tuple[Any, ...]:
    """In another order, that hangs on seed and name; seed 0 leaves them as they are written."""
    return tuple(random.Random(f"{seed} {name}").sample(things, len(things))) if seed else tuple(things)


def _clip(plan: _Plan, path: Path) -> Clip:
    sound = f"sound:{plan.sound}"
    return Clip(
        clip_id=plan.clip_id,
        label=SCENES[plan.scene].label,
        sources=frozenset({sound, f"person:{plan.person}"}),
        cluster=sound,
        audio_s=CLIP_S,
        motion_s=CLIP_S,
        read_audio=functools.partial(_audio, plan, path),
        read_motion=functools.partial(_motion, plan),
        fold=plan.number % N_FOLDS,
        conflict=plan.conflict,
    )


def _clipset(clips: Iterable[Clip], kind: Any) -> ClipSet:
    labels = tuple(scene.label for scene in SCENES)
    return ClipSet("scenes", TITLE, kind, labels, tuple(clips), provenance=PROVENANCE)


def _audio(plan: _Plan, path: Path) -> Signal:
    rng = np.random.default_rng([*plan.seed, 1])
    recording = _recording(path)
    clip = np.zeros(round(CLIP_S * AUDIO_RATE), np.float64)
    sounding = np.zeros(len(clip), bool)
    # A recording longer than half a clip begins somewhere in it, or every clip of it would begin alike.
    skipped = int(rng.integers(len(recording) // 2)) if len(recording) > len(clip) // 2 else 0
    at, low_s, high_s = 0, *SCENES[plan.scene].pause_s
    while at < len(clip):
        played = recording[skipped : skipped + len(clip) - at]
        clip[at : at + len(played)] = played
        sounding[at : at + len(played)] = True
        at += len(played) + round(rng.uniform(low_s, high_s) * AUDIO_RATE)
        skipped = 0
    power = float(np.mean(clip[sounding] ** 2))
    clip += _noise(rng, len(clip)) * np.sqrt(power / 10 ** (rng.uniform(*SNR_DB) / 10))
    clip *= rng.uniform(*PEAK) / np.abs(clip).max()
    return Signal((np.round(clip * 32767) / 32768).astype(np.float32), AUDIO_RATE)


def _noise(rng: np.random.Generator, n: int) -> np.ndarray:
    """Pink noise (equal power in each octave, as rooms have) of power 1."""
    spectrum = np.fft.rfft(rng.standard_normal(n)) / np.sqrt(np.maximum(np.arange(n // 2 + 1), 1))
    pink = np.fft.irfft(spectrum, n)
    return np.asarray(pink / np.sqrt(np.mean(pink**2)))


@functools.lru_cache(maxsize=128)
def _recording(path: Path) -> np.ndarray:
    """A recording at 16 kHz, faded at both ends."""
    signal, _ = read_audio(path)
    common = np.gcd(AUDIO_RATE, round(signal.rate))
    sound = resample_poly(signal.samples.astype(np.float64), AUDIO_RATE // common, round(signal.rate) // common)
    n = round(_EDGE_S * AUDIO_RATE)
    sound[:n] *= np.linspace(0, 1, n)
    sound[-n:] *= np.linspace(1, 0, n)
    sound.flags.writeable = False  # all callers share it
    return np.asarray(sound)


def _motion(plan: _Plan) -> Signal:
    rng = np.random.default_rng([*plan.seed, 2])
    stretches = _stretches(plan.person, plan.motion)
    first = int(rng.integers(len(stretches)))
    n = round(CLIP_S * MOTION_RATE)
    chosen: list[Signal] = []
    while sum(len(signal.samples) for signal in chosen) < n + len(chosen) * FADE:
        chosen.append(stretches[(first + len(chosen)) % len(stretches)])
    joined = join(chosen)
    start = int(rng.integers(len(joined.samples) - n + 1))
    return Signal(np.ascontiguousarray(joined.samples[start : start + n]), MOTION_RATE)


@functools.lru_cache(maxsize=128)
def _stretches(person: int, label: str) -> tuple[Signal, ...]:
    return tuple(run.signal for run in load_hapt().of(person, label))


INDEX = paths.params() / "recorded" / "fusion_scenes.jsonl"
"""The scenes of seed 0 with the hashes of their signals, for recorded outputs (``fusion.md`` beside it)."""


def read_scene_index(file: Path) -> ClipSet:
    """The clips of an index: without signals, for recorded outputs.

    Raises:
        DataError: no such file, or a line that is no clip's (names the line).
    """
    clips = []
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}): it is part of the repository, check it out again") from error
    for line, own in enumerate(text.splitlines(), start=1):
        try:
            content = json.loads(own)
            clips.append(Clip(**{**content, "sources": frozenset(content["sources"])}))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{file}, line {line}: not a clip of an index ({error}): write it again") from error
    check_folds(clips)
    return _clipset(clips, "recorded")
