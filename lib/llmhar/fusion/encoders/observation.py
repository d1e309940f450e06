"""Observations: what the encoders said of a clip, step by step, side by side: input of prompts and of baselines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

MODALITIES = ("captions", "labels", "motion", "context")
"""Factors of the ablation, in the order of tables: sound captions, sound labels, motion classes, context."""


class Guess(NamedTuple):
    """One thing that an encoder said of one window."""

    name: str
    """A caption, or the name of a class. Untrusted."""
    share: float
    """Probability in [0, 1]; 1.0 for a caption."""


class StepSeen(NamedTuple):
    """What was said of one time step; empty tuples where a modality is missing."""

    centre: float
    """Seconds from the clip's start."""
    captions: tuple[Guess, ...] = ()
    labels: tuple[Guess, ...] = ()
    """Likeliest first."""
    motion: tuple[Guess, ...] = ()
    """Likeliest first."""


@dataclass(frozen=True, eq=False)
class Observation:
    """A clip as text and numbers, with the truth beside it (never shown to a model)."""

    clip_id: str
    label: str
    cluster: str
    fold: int
    sources: frozenset[str]
    steps: tuple[StepSeen, ...]
    context: Mapping[str, str] = field(default_factory=dict)
    """E.g. {"setting": "indoors", "heart rate zone": "light"}."""
    conflict: bool = False
    embeddings: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Modality -> vector (d,), the mean over steps, for early fusion; missing where a modality is."""

    def has(self, modality: str) -> bool:
        """Whether this modality said anything."""
        if modality == "context":
            return bool(self.context)
        return any(getattr(step, modality) for step in self.steps)
