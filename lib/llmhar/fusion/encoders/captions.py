"""The stand-in for captions: a sentence made from the labels, for machines without a captioner's weights.

It carries nothing that the labels do not say, so it is marked as a stand-in and left out of Shapley shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmhar.fusion.encoders.encode import Encoded
from llmhar.fusion.encoders.observation import Guess
from llmhar.records import Fingerprint

TEMPLATE_VERSION = "1"
"""Raised when the sentences change."""
SURE, WORTH = 0.3, 0.05
"""Shares from which a label is told as it is, and from which it is told at all."""


def template_captions(encoded_labels: Mapping[str, Encoded]) -> dict[str, Encoded]:
    """Captions from what a labels encoder said; no embedding, for it would be the labels' own.

    Args:
        encoded_labels: clip id -> outputs of an encoder of sound labels, likeliest first.

    Returns:
        Clip id -> one sentence a step, share 1; a step without labels has none.
    """
    made_by = Fingerprint("template-captions", TEMPLATE_VERSION, "", "")
    return {
        clip_id: Encoded(
            tuple((at, (Guess(caption(guesses), 1.0),) if guesses else ()) for at, guesses in said.steps), None, made_by
        )
        for clip_id, said in encoded_labels.items()
    }


def caption(guesses: Sequence[Guess]) -> str:
    """One sentence from the three likeliest labels, e.g. "The sound of water, perhaps of a liquid or of a pump."."""
    names = [guess.name.lower() for guess in guesses[:3] if guess.share >= WORTH]
    if not names:
        return "A faint sound that is hard to tell."
    first, *rest = names
    told = f"The sound of {first}" if guesses[0].share >= SURE else f"A sound that may be {first}"
    return f"{told}, perhaps {' or '.join(rest)}." if rest else f"{told}."
