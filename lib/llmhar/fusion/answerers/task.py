"""What is asked in fusion: clips, activities and the form of the prompt, and the conditions of the ablation.

As :mod:`llmhar.ask.task` at home. Asks nobody and reads no answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from llmhar.ask.models import ModelSpec
from llmhar.fusion.answerers.prompt import S2_FORM, FusionForm
from llmhar.fusion.encoders.observation import MODALITIES, Observation


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


@dataclass(frozen=True)
class FusionTask:
    """The clips that somebody is asked about, and what is the same under every condition."""

    dataset: str
    """Name of the clips' data set, for the store."""
    observations: tuple[Observation, ...]
    labels: tuple[str, ...]
    """Activities that may be answered, in the data set's order."""
    form: FusionForm = S2_FORM
    """What prompts show of a clip, and in which words."""
    pool: tuple[Observation, ...] | None = None
    """Clips that one-shot examples are taken from, never of the asked clip's fold; None = ``observations``."""

    @property
    def consistent(self) -> tuple[Observation, ...]:
        """The clips whose modalities do not contradict each other."""
        return tuple(observation for observation in self.observations if not observation.conflict)

    @property
    def shown(self) -> frozenset[str]:
        """Every modality that some clip has."""
        return all_shown(self.observations)

    def asked_of(self, model: ModelSpec) -> FusionTask:
        """The same clips in the words that a model was taught with, where these take any list of activities (the
        wording "listed"); other students' words are for their own home's activities.
        """
        listed = model.prompt is not None and model.prompt.wording == "listed"
        return replace(self, form=replace(self.form, wording="listed")) if listed else self


def all_shown(observations: Sequence[Observation]) -> frozenset[str]:
    """The combination of every modality that some clip has."""
    return frozenset(name for name in MODALITIES if any(observation.has(name) for observation in observations))
