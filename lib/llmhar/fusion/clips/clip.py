"""Clips: some 20 seconds of sound and motion with one activity, cut into aligned steps as in S2. Reads no file itself.

S2's windows: sound 2 s, motion 4 s with 2 s overlap, centres aligned. So a step every 2 s; around its centre the motion
window reaches 2 s, the sound window 1 s to both sides.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from llmhar.data.load_report import DataError, DroppedRows, RowNote

AUDIO_S, MOTION_S, HOP_S = 2.0, 4.0, 2.0
"""S2: seconds of a sound window, of a motion window, and between the centres of two steps."""
CHANNELS = ("acc_x", "acc_y", "acc_z", "gyro_x", "gyro_y", "gyro_z")
"""Columns of motion: acceleration with gravity in g, turning rate in rad/s."""

Kind = Literal["real", "composed from real recordings", "recorded"]


@dataclass(frozen=True, eq=False)
class Signal:
    """Evenly sampled sound or motion."""

    samples: np.ndarray
    """float32: sound (n,) in [-1, 1]; motion (n, 6), columns :data:`CHANNELS`. Finite."""
    rate: float
    """Samples a second."""

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / self.rate

    @cached_property
    def sha256(self) -> str:
        """Of the rate and the samples: what an encoder's result is kept under."""
        head = f"{self.rate:.6f} {self.samples.shape}".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.samples, "<f4").tobytes()).hexdigest()

    def cut(self, start: float, end: float) -> np.ndarray:
        """Samples from ``start`` to ``end`` seconds, always the same number for the same length."""
        first = round(start * self.rate)
        return self.samples[first : first + round((end - start) * self.rate)]


class Step(NamedTuple):
    """One time step: what is looked at around its centre, in seconds from the clip's start."""

    centre: float
    audio: tuple[float, float] | None
    """None: the sound does not reach so far, or there is none."""
    motion: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Clip:
    """One clip, its signals read when asked for."""

    clip_id: str
    label: str
    """What is truly done; never shown to a model."""
    sources: frozenset[str]
    """People and recordings it is made of ("person:12", "sound:scratch/Effects/WaterRunning.mp3"). Clips that share
    one never stand on two sides of a split."""
    cluster: str
    """Unit of inference: the person or recording that intervals resample."""
    audio_s: float | None = None
    """Length of the sound in seconds; None: no sound."""
    motion_s: float | None = None
    """Length of the motion in seconds; None: no motion."""
    read_audio: Callable[[], Signal] | None = None
    """Reads ``audio_s`` seconds; None: no sound, or only an encoder's recorded outputs are here."""
    read_motion: Callable[[], Signal] | None = None
    audio_sha256: str = ""
    """:attr:`Signal.sha256` of the sound where it is known without reading it (recorded outputs)."""
    motion_sha256: str = ""
    context: Mapping[str, str] = field(default_factory=dict)
    """Sensor-derived context, e.g. {"heart rate": "moderate"}; S2's synthetic one is added by ``context``."""
    fold: int = 0
    """Side of the split: no person and no recording is on two of them."""
    conflict: bool = False
    """Composed so that sound and motion contradict each other; a row of its own in every table."""

    @property
    def steps(self) -> list[Step]:
        """S2's aligned windows of this clip."""
        return align(self.audio_s, self.motion_s)


@dataclass(frozen=True, eq=False)
class ClipSet:
    """The clips of one data set."""

    name: str
    """Key into ``CLIPSETS``."""
    title: str
    kind: Kind
    """Shown wherever a number of these clips is."""
    labels: tuple[str, ...]
    """Activities that may be answered (closed set), in the order of tables."""
    clips: tuple[Clip, ...]
    mended: tuple[RowNote, ...] = ()
    refused: tuple[RowNote, ...] = ()
    dropped: tuple[DroppedRows, ...] = ()
    """Rows of motion that are in no clip, one entry a kind; of a manifest's clips, which need not reach over all of a
    recording, none."""
    provenance: str = ""
    """One or two sentences: recordings, licences, what was joined."""

    @property
    def n_folds(self) -> int:
        """Sides of the split."""
        return len({clip.fold for clip in self.clips})

    def to_json(self) -> dict[str, Any]:
        """The form of ``llmhar data report --json``."""
        counts = Counter(clip.label for clip in self.clips)
        return {
            "dataset": self.name,
            "title": self.title,
            "kind": self.kind,
            "provenance": self.provenance,
            "clips": len(self.clips),
            "folds": self.n_folds,
            "audio_s": sum(clip.audio_s or 0.0 for clip in self.clips),
            "motion_s": sum(clip.motion_s or 0.0 for clip in self.clips),
            "labels": {label: counts[label] for label in self.labels},
            "mended": [note.to_json() for note in self.mended],
            "refused": [note.to_json() for note in self.refused],
            "dropped": [rows.to_json() for rows in self.dropped],
        }


def align(audio_s: float | None, motion_s: float | None) -> list[Step]:
    """S2's aligned windows of a clip whose sound and motion last so many seconds (None: missing).

    A window is there only if it lies within its own signal (to a millisecond); a step is there if one of its windows
    is. A clip too short for a whole window has none.

    Raises:
        ValueError: a negative or endless length.
    """
    for length in (audio_s, motion_s):
        if length is not None and not (math.isfinite(length) and length >= 0):
            raise ValueError(f"a clip cannot last {length} seconds")
    steps = []
    last = max(audio_s or 0.0, motion_s or 0.0)
    for i in range(math.floor(last / HOP_S) + 1):
        centre = MOTION_S / 2 + i * HOP_S
        audio = _inside(centre, AUDIO_S, audio_s)
        motion = _inside(centre, MOTION_S, motion_s)
        if audio or motion:
            steps.append(Step(centre, audio, motion))
    return steps


def _inside(centre: float, width: float, length: float | None) -> tuple[float, float] | None:
    start, end = centre - width / 2, centre + width / 2
    return (start, end) if length is not None and start >= 0 and end <= length + 1e-3 else None


def check_folds(clips: Iterable[Clip]) -> None:
    """No person and no recording on two sides of the split.

    Raises:
        DataError: names the source and two clips.
    """
    seen: dict[str, Clip] = {}
    for clip in clips:
        for source in clip.sources:
            other = seen.setdefault(source, clip)
            if other.fold != clip.fold:
                raise DataError(
                    f"{source} is in {other.clip_id} (fold {other.fold}) and {clip.clip_id} (fold {clip.fold})"
                )


def assign_folds(sources: Sequence[frozenset[str]], n: int, seed: int = 0) -> list[int]:
    """Folds for clips with these sources: whatever hangs together by a shared source stays together.

    Groups are dealt out largest first, each to the smallest fold; ``seed`` breaks ties.

    Raises:
        DataError: fewer groups than folds.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for own in sources:
        first, *rest = sorted(own) or [""]
        for other in rest:
            parent[root(other)] = root(first)
    groups: dict[str, list[int]] = {}
    for i, own in enumerate(sources):
        groups.setdefault(root(min(own)) if own else f"alone {i}", []).append(i)
    if len(groups) < n:
        raise DataError(f"{len(groups)} groups of clips that share no person or recording cannot make {n} folds")
    mixed = list(groups.values())
    np.random.default_rng(seed).shuffle(mixed)
    folds, sizes = [0] * len(sources), [0] * n
    for members in sorted(mixed, key=len, reverse=True):
        chosen = sizes.index(min(sizes))
        sizes[chosen] += len(members)
        for i in members:
            folds[i] = chosen
    return folds
