"""S2's synthetic context: where somebody is and how hard the heart works, made from the true label with noise.

S2 adds context to "mimic information that could be captured from sensors". Made from the label it leaks the label:
every table and figure that uses it says :data:`CONTEXT_KIND`. Context that a sensor measured (PAMAP2's heart rate)
comes with the clip itself (:attr:`llmhar.fusion.clips.clip.Clip.context`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

CONTEXT_KIND = "synthetic, from the label"
"""Shown wherever this context was used."""
VALUES: Mapping[str, tuple[str, ...]] = {
    "setting": ("indoors", "outdoors"),
    "heart rate zone": ("very light", "light", "moderate", "vigorous"),
}
"""Each part of the context and what it can be."""

ContextTable = Mapping[str, tuple[str, str]]

CONTEXT: ContextTable = {
    # Sport and ways on foot first: "walking the dog" is a walk, "workout on a bicycle" a workout.
    r"basketball|soccer|football|tennis": ("outdoors", "vigorous"),
    r"work ?out|weight ?lift|exercis|aerobic|rope|jump(?!ing to)|gym\b": ("indoors", "vigorous"),
    r"stair|upstairs|downstairs|climb|elevator|\blift\b": ("indoors", "vigorous"),
    r"\brun|jog": ("outdoors", "vigorous"),
    r"cycl|bicycle|bik(?:e|ing)\b|nordic|hik(?:e|ing)|\bwalk|garden|mow|lawn": ("outdoors", "moderate"),
    r"driv|\bcar\b|travel|train\b|traffic|leav\w* (?:the )?(?:home|house)": ("outdoors", "very light"),
    # Lying and sitting before what the hands do: "reading in bed".
    r"\bill\b|sick|cough|sleep|\bbed\b|\blying|\blaying|\blie\b": ("indoors", "very light"),
    r"\bread|book|comput|typ(?:e|ing)|laptop|\bpc\b|desk|writ|office": ("indoors", "very light"),
    r"\btv\b|televis|watch|film|movie|listen|radio|\bsew|knit|mend\w* cloth": ("indoors", "very light"),
    r"\bsit|\brest|relax|snap|phone|call\b|eat|meal|breakfast|lunch|dinner|drink|snack": ("indoors", "very light"),
    # On one's feet at home.
    r"vacuum|hoover|sweep|mop\b|clean|tidy|housework|iron": ("indoors", "moderate"),
    r"cook|frying|bak(?:e|ing)|kitchen|prepar|laundry|clothes|dish|wash|\btap\b|water|tooth|teeth|shav": (
        "indoors", "light"),
    r"shower|bath|toilet|hygien|groom|dress": ("indoors", "light"),
    r"baby|child|comfort|guest|party|visit|talk|chat|convers": ("indoors", "light"),
    r"\bpets?\b|\bcat\b|\bdog\b|animal|music|guitar|piano|drum|sing|instrument|danc": ("indoors", "light"),
    r"tool|repair|hammer|drill|saw": ("indoors", "moderate"),
    r"stand|transition|getting up|door|com\w* home|enter": ("indoors", "light"),
}  # fmt: skip
"""Words of a label -> (setting, heart rate zone) that a person would expect; the first pattern found counts. Covers
Ego4D's 12 activities, those of the composed scenes, and the basic ones of HAPT, PAMAP2 and USC-HAD."""


class ContextError(ValueError):
    """A label for which no context can be made; names it and the cure."""


def expected_context(label: str, table: ContextTable = CONTEXT) -> dict[str, str]:
    """The context that a label stands for, without noise.

    Raises:
        ContextError: no pattern of the table is found in the label.
    """
    words = re.sub(r"[\W_]+", " ", label).strip().casefold()
    for pattern, values in table.items():
        if re.search(pattern, words):
            return dict(zip(VALUES, values))
    raise ContextError(f"no context is known for the activity {label!r}: add a line to CONTEXT in fusion/context.py")


def synthetic_context(
    label: str, *, noise: float, seed: int, clip_id: str, table: ContextTable = CONTEXT
) -> dict[str, str]:
    """The context of one clip: what its label stands for, each value replaced by another one with chance ``noise``.

    Args:
        label: what is truly done.
        noise: probability in [0, 1] that a value is one of the others.
        seed: of the draws; with the clip's id it decides them, so a clip keeps its context in any order and subset.
        clip_id: which clip.
        table: pattern -> (setting, heart rate zone).

    Returns:
        {"setting": ..., "heart rate zone": ...}, values from :data:`VALUES`.

    Raises:
        ContextError: the label is not covered.
        ValueError: noise outside [0, 1].
    """
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is a probability, not {noise}")
    found = expected_context(label, table)
    for name, value in found.items():
        draw = random.Random(f"{seed} {clip_id} {name}")
        if draw.random() < noise:
            found[name] = draw.choice([other for other in VALUES[name] if other != value])
    return found
