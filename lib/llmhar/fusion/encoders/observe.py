"""From clips to observations: every modality's encoder asked, context added. Knows no prompt and no score."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from llmhar.ask.store import Store
from llmhar.fusion.clips.clip import ClipSet, check_folds
from llmhar.fusion.encoders.context import synthetic_context
from llmhar.fusion.encoders.encode import Encoded, EncoderError, encode
from llmhar.fusion.encoders.observation import Guess, Observation, StepSeen
from llmhar.fusion.encoders.registry import STAND_INS, encoder, prepare
from llmhar.records import Fingerprint


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


def observe(
    clipset: ClipSet,
    store: Store,
    *,
    encoders: Mapping[str, str | None],
    context_noise: float | None = None,
    seed: int = 0,
    recorded: Path | None = None,
    progress: bool = True,
) -> Observed:
    """Ask each modality's encoder about all clips, and lay what they said side by side.

    Args:
        clipset: its folds are checked first.
        store: where encoders' outputs are looked up and kept.
        encoders: "captions", "labels", "motion" -> key into ``ENCODERS`` or ``STAND_INS``; None = without.
        context_noise: S2's synthetic context from the label, each value wrong with this probability; None = only what
            sensors of the data set say.
        seed: of that noise.
        recorded: see :func:`llmhar.fusion.encoders.encode.encode`.
        progress: show bars on stderr.

    Raises:
        DataError: a person or recording on two sides of the split.
        EncoderError: see there.
    """
    check_folds(clipset.clips)
    said: dict[str, dict[str, Encoded]] = {}
    for modality in ("labels", "motion", "captions"):
        name = encoders.get(modality)
        if name in STAND_INS:
            said[modality] = STAND_INS[name].make(said.get(STAND_INS[name].source, {}))
        elif name:
            if clipset.kind != "recorded":
                _prepare(name)
            said[modality] = encode(clipset.clips, encoder(name), store, dataset=clipset.name, recorded=recorded,
                                    progress=progress)  # fmt: skip
    observations = []
    for clip in clipset.clips:
        own = {modality: found[clip.clip_id] for modality, found in said.items() if clip.clip_id in found}
        context = dict(clip.context)
        if context_noise is not None:
            context = synthetic_context(clip.label, noise=context_noise, seed=seed, clip_id=clip.clip_id) | context
        observations.append(
            Observation(
                clip_id=clip.clip_id, label=clip.label, cluster=clip.cluster, fold=clip.fold, sources=clip.sources,
                steps=_steps(own), context=context, conflict=clip.conflict,
                embeddings={m: one.embedding for m, one in own.items() if one.embedding is not None},
            )
        )  # fmt: skip
    return Observed(
        observations,
        {modality: next(iter(found.values())).made_by for modality, found in said.items() if found},
        {modality: name for modality, name in encoders.items() if name},
        frozenset(modality for modality, name in encoders.items() if name in STAND_INS),
        "sensor-derived" if context_noise is None else f"synthetic, from the label, {context_noise:.0%} wrong",
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
