"""From clips to observations: every modality's encoder asked, context added. Knows no prompt and no score."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from llmhar import paths
from llmhar.ask.store import Store
from llmhar.fusion.clips.clip import Clip, ClipSet, check_folds
from llmhar.fusion.encoders.context import CONTEXT_KIND, synthetic_context
from llmhar.fusion.encoders.encode import Encoded, EncoderError, encode
from llmhar.fusion.encoders.observation import Guess, Observation, StepSeen
from llmhar.fusion.encoders.registry import STAND_INS, encoder, prepare
from llmhar.records import Fingerprint

RECORDED = paths.params() / "recorded" / "fusion.jsonl"
"""Encoders' outputs for the composed scenes of the demo, with their provenance in ``fusion.md`` beside it."""


@dataclass(frozen=True)
class Observing:
    """Who speaks for each modality, and what else is the same for all clips."""

    encoders: Mapping[str, str | None]
    """"captions", "labels", "motion" -> key into ``ENCODERS`` or ``STAND_INS``; None = without."""
    context_noise: float | None = None
    """S2's synthetic context from the label, each value wrong with this probability; None = only what sensors of the
    data set say."""
    seed: int = 0
    """Of that noise."""
    recorded: Path | None = RECORDED
    """File of recorded outputs, taken where a clip cannot be read or an encoder's weights are not here."""
    progress: bool = True
    """Show bars on stderr."""


class Observed(NamedTuple):
    """Observations of a data set, and who made them."""

    observations: list[Observation]
    made_by: dict[str, Fingerprint]
    """Modality -> where its guesses were made; a modality that nobody has is missing."""
    encoders: dict[str, str]
    """Modality -> name of its encoder."""
    stand_ins: frozenset[str]
    """Modalities that carry nothing of their own."""
    context: str
    """What the context is: "synthetic, from the label, noise 10 %" or "sensor-derived"."""

    @property
    def recorded(self) -> bool:
        """Whether some guesses are recorded outputs, not made here."""
        return any(made.engine == "recorded" for made in self.made_by.values())


def observe(clipset: ClipSet, store: Store, observing: Observing) -> Observed:
    """Ask each modality's encoder about all clips, and lay what they said side by side.

    Args:
        clipset: its folds are checked first.
        store: where encoders' outputs are looked up and kept.
        observing: by whom, and with which context.

    Raises:
        DataError: a person or recording on two sides of the split.
        EncoderError: an output is missing and cannot be made: says which and why.
    """
    check_folds(clipset.clips)
    said: dict[str, dict[str, Encoded]] = {}
    for modality in ("labels", "motion", "captions"):
        name = observing.encoders.get(modality)
        if name in STAND_INS:
            said[modality] = STAND_INS[name].make(said.get(STAND_INS[name].source, {}))
        elif name:
            if clipset.kind != "recorded":
                _prepare(name)
            found = encoder(name)
            recorded, progress = observing.recorded, observing.progress
            said[modality] = encode(
                clipset.clips, found, store, dataset=clipset.name, recorded=recorded, progress=progress
            )
    observations = [_observation(clip, said, observing) for clip in clipset.clips]
    noise = observing.context_noise
    return Observed(
        observations,
        {modality: next(iter(found.values())).made_by for modality, found in said.items() if found},
        {modality: name for modality, name in observing.encoders.items() if name},
        frozenset(modality for modality, name in observing.encoders.items() if name in STAND_INS),
        "sensor-derived" if noise is None else f"{CONTEXT_KIND}, {noise:.0%} wrong",
    )


def _observation(clip: Clip, said: Mapping[str, Mapping[str, Encoded]], observing: Observing) -> Observation:
    encoded = {modality: found[clip.clip_id] for modality, found in said.items() if clip.clip_id in found}
    context, noise = dict(clip.context), observing.context_noise
    if noise is not None:
        context = synthetic_context(clip.label, noise=noise, seed=observing.seed, clip_id=clip.clip_id) | context
    return Observation(
        clip_id=clip.clip_id,
        label=clip.label,
        cluster=clip.cluster,
        fold=clip.fold,
        sources=clip.sources,
        steps=_steps(encoded),
        context=context,
        conflict=clip.conflict,
        embeddings={name: one.embedding for name, one in encoded.items() if one.embedding is not None},
    )


def _prepare(name: str) -> None:
    """Bring an encoder's weights here; where they cannot be had, recorded outputs may stand in, and that is said."""
    try:
        prepare(name)
    except EncoderError as error:
        print(f"{name} cannot be had, its recorded outputs are taken where there are some: {error}", file=sys.stderr)


def _steps(own: Mapping[str, Encoded]) -> tuple[StepSeen, ...]:
    """Guesses of all modalities by the centre of their windows."""
    at: dict[float, dict[str, tuple[Guess, ...]]] = {}
    for modality, encoded in own.items():
        for centre, guesses in encoded.steps:
            at.setdefault(centre, {})[modality] = guesses
    return tuple(StepSeen(centre, **at[centre]) for centre in sorted(at))
