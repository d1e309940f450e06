"""The grammar of made-up clips: activities, their names, and which of them no student is ever taught. Draws none.

Words come from ``params/fusion_grammar.yaml``. Activities whose names say the same (:func:`same_words`) stay on one
side: a third of all is never taught, the activities of the composed scenes and of HAPT among them in that share, under
no name at all. Of the others each list of names is parted as names of made-up homes are: some are kept for validation.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations, count
from typing import Any

from llmhar import paths
from llmhar.data.grammar import Words, bare_name, in_form, wordings
from llmhar.fusion.clips.hapt import NAMES as HAPT_NAMES
from llmhar.fusion.clips.scenes import SCENES
from llmhar.settings import read_yaml

UNTAUGHT_FRAC = 1 / 3
"""Share of the activities that is never taught."""
TEST_LABELS: Mapping[str, tuple[str, ...]] = {"scenes": tuple(scene.label for scene in SCENES), "hapt": HAPT_NAMES[:6]}
"""Clip set -> its activities: tested on, and parted like the grammar's."""
_SAYS_NOTHING = frozenset(re.findall(r"\w+", "a an the and or at by for from in into of on to with one some")) | {
    *("do", "doing", "have", "having", "take", "taking")
}


@lru_cache(maxsize=1)
def clip_grammar() -> dict[str, Any]:
    """``params/fusion_grammar.yaml``."""
    read: dict[str, Any] = read_yaml(paths.params() / "fusion_grammar.yaml")
    return read


@lru_cache(maxsize=1)
def kind_of_sound() -> dict[str, str]:
    """Class of YAMNet's map -> the kind of sound that it is, of those that the grammar knows."""
    kinds: dict[str, str] = {}
    for kind, entry in clip_grammar()["sounds"].items():
        for place, name in enumerate(entry["names"]):
            if not place or name not in kinds:  # the usual class of a kind is of this kind and of no other
                kinds[name] = kind
    return kinds


@lru_cache(maxsize=65536)
def said_in(name: str) -> frozenset[str]:
    """What a name says: its words without endings, and without those that say nothing."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", name.replace("'s", "")).casefold()
    return frozenset(_stem(word) for word in spaced.split() if word not in _SAYS_NOTHING)


def _stem(word: str) -> str:
    """A word without its ending: "running" and "run", "lying" and "lie", "dishes" and "dish" become one."""
    short = re.sub(r"(?:ing|es|s|e)$", "", word)
    short = short if len(short) > 1 else word
    return re.sub(r"([bdgmnprt])\1$", r"\1", re.sub(r"y$", "i", short))


def same_words(one: str, other: str) -> bool:
    """Whether one name says nothing beyond the other: "walking" and "walking outdoors"."""
    first, second = said_in(one), said_in(other)
    return bool(first and second) and (first <= second or second <= first)


@lru_cache(maxsize=1)
def all_names() -> dict[str, tuple[str, ...]]:
    """Activity -> its names, in both forms."""
    return {
        activity: tuple(dict.fromkeys(in_form(name, form) for form in (1, 0) for name in what["names"]))
        for activity, what in clip_grammar()["activities"].items()
    }


@lru_cache(maxsize=1)
def families() -> tuple[frozenset[str], ...]:
    """Activities in groups: names of two groups never say the same."""
    said = {activity: {said_in(name) for name in names} for activity, names in all_names().items()}
    root = {activity: activity for activity in said}
    for one, other in combinations(said, 2):
        if any(a <= b or b <= a for a in said[one] for b in said[other]):
            root = {activity: root[one] if kept == root[other] else kept for activity, kept in root.items()}
    return tuple(frozenset(a for a in said if root[a] == first) for first in dict.fromkeys(root.values()))


@lru_cache(maxsize=1)
def untaught() -> frozenset[str]:
    """Activities that are never taught: of all draws in a row, the first that leaves a third of everything out.

    That is a third of the grammar's activities, and of each test set's, all to the nearest whole.
    """
    n_all = len(all_names())
    of_tests = {name: [activity_of(label) for label in labels] for name, labels in TEST_LABELS.items()}
    for attempt in count():
        draw = random.Random(f"names that are never taught: {attempt}")
        kept: set[str] = set()
        for family in draw.sample(families(), len(families())):
            if len(kept | family) <= round(n_all * UNTAUGHT_FRAC):
                kept |= family
        shares = [sum(activity in kept for activity in own) == round(len(own) / 3) for own in of_tests.values()]
        if all(shares) and len(kept) == round(n_all * UNTAUGHT_FRAC):
            return frozenset(kept)
    raise AssertionError("endless")


def activity_of(label: str) -> str | None:
    """The activity that has this name, whatever its case and blanks; None where none has."""
    return _by_name().get(bare_name(label))


@lru_cache(maxsize=1)
def _by_name() -> dict[str, str]:
    return {bare_name(name): activity for activity, names in all_names().items() for name in names}


def was_taught(label: str) -> bool:
    """Whether a student of made-up clips may have met an activity: under this name, or one that says the same.

    A name of an activity that is never taught says no; a name that the grammar has not is compared by its words.
    """
    activity = activity_of(label)
    if activity is not None:
        return activity not in untaught()
    return any(same_words(label, name) for own, names in all_names().items() if own not in untaught() for name in names)


def names_for(activity: str, words: Words) -> list[str]:
    """The names, in both forms ("a/b c"), that an activity may have in lessons (train) or in validation.

    Raises:
        KeyError: no such activity.
    """
    entry = clip_grammar()["activities"][activity]
    return list(entry["names"]) if activity in untaught() else wordings(entry, words)
