"""Which activity of a list a reason means: the name that fits what the reason says, by a matcher of embeddings.

A small model reasons well in words of its own ("cooker in the evening, cooking dinner") long before it reads a list of
names well. So the list is read by something else. For events of homes: logistic regression on the sentence embeddings
of conclusion and name, fitted on the lessons of made-up homes (:mod:`llmhar.distill.naming_fit`), whose numbers are in
``params/naming.json``. For clips, nothing is fitted: the name nearest to what the reason hears and concludes
(:func:`by_parts`). Knows no sensor and no engine: without a reason it knows nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from llmhar import paths
from llmhar.records import sha256_of
from llmhar.text.embedding import embed
from llmhar.text.serialize import clean_text, fold_name

FILE = "naming.json"
"""Below ``params/``: weights, and what they were fitted on."""
NOTHING = "nothing known"
"""What an empty reason concludes."""
PARTS = "parts 1"
"""Names :func:`by_parts` in requests; its number goes up when answers would be named otherwise."""
HEARD = ("captions: ", "sounds: ")
"""How those parts of a clip's reason begin that say what is heard; behind "so " stands what it concludes."""


class NamingError(ValueError):
    """No weights, or broken ones; names the file and the cure."""


def conclusion(why: str) -> str:
    """What a reason says is done, behind its last comma: "sofa at night, resting" -> "resting"; else all of it."""
    return why.rpartition(", ")[2].strip() or NOTHING


def name_words(name: str) -> str:
    """What embeddings are told of an activity."""
    return fold_name(clean_text(name))


def pair_features(conclusions: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.float32]:
    """What the matcher sees of pairs of a conclusion and a name, one beside the other: shape (n, 513).

    The products of both embeddings, the name's alone, and the cosine.
    """
    said, named = embed(list(conclusions)), embed([name_words(name) for name in names])
    both = said * named
    scaled = both * np.sqrt(named.shape[1])
    return np.concatenate([scaled, named, both.sum(1, keepdims=True)], axis=1, dtype=np.float32)


@lru_cache(maxsize=1)
def weights() -> npt.NDArray[np.float64]:
    """The matcher's numbers, shape (514,): one a feature, then the constant.

    Raises:
        NamingError: no such file, or another number of weights.
    """
    file = paths.params() / FILE
    cure = "make it anew: python -m llmhar.distill.naming_fit"
    try:
        found = np.array(json.loads(file.read_text(encoding="utf-8"))["weights"], dtype=float)
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise NamingError(f"{file} cannot be read ({error}); {cure}") from error
    wanted = pair_features(["rest"], ["rest"]).shape[1] + 1
    if found.shape != (wanted,) or not np.isfinite(found).all():
        raise NamingError(f"{file} has not the {wanted} weights it needs; {cure}")
    return found


def fingerprint() -> str:
    """Names the matcher: first letters of the sha256 of its weights."""
    return sha256_of(weights().tolist())[:12]


def likelihoods(whys: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """How likely each name is meant by each reason, shape (n_whys, n_names); rows add up to 1.

    Args:
        whys: reasons.
        names: the home's activities, at least one.
    """
    pairs = [(conclusion(why), name) for why in whys for name in names]
    scores = pair_features(*(list(part) for part in zip(*pairs))) @ weights()[:-1] + weights()[-1]
    return _shares(scores.reshape(len(whys), len(names)))


def by_parts(whys: Sequence[str], names: Sequence[str]) -> npt.NDArray[np.float64]:
    """How likely each name is meant by each reason of a clip, shape (n_whys, n_names); rows add up to 1.

    "captions: chewing; sounds: Chewing and Biting, chewing; motion: sitting; so eating" hears twice and concludes
    once: what counts is the sum of these parts' cosines with the name. A conclusion alone knows no activity that was
    never taught; what is heard tells of these, too (chosen on made-up validation clips). Motion and context tell few
    activities apart, and are left to the conclusion.

    Args:
        whys: reasons.
        names: the activities of the list, at least one.
    """
    told = [[part.removeprefix(head) for part in why.split("; ") for head in (*HEARD, "so ") if part.startswith(head)]
            for why in whys]  # fmt: skip
    told = [parts or [why or NOTHING] for parts, why in zip(told, whys)]
    named = embed([name_words(name) for name in names])
    scores = np.array([embed(parts).sum(axis=0) @ named.T for parts in told], dtype=float)
    return _shares(scores)


def _shares(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scores as probabilities that add up to 1 in each row."""
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
