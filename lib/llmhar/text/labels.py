"""Which activity an answered value names: by number, by name, or by both where they agree. Guesses nothing."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from llmhar.text.serialize import clean_text, fold_name

MAX_CHARS = 500
"""Longer values name nothing."""
_NUMBER = re.compile(r"[\s\"'`“”‘’]*0*(\d{1,9})(?:\.0+)?[\s\"'`“”‘’]*")
"""A number alone: blanks, quotes, leading zeros and ".0" around it, nothing else."""
_BESIDE = (
    re.compile(r"0*(?P<number>\d{1,9})(?:\.0+)?[\W_]+(?P<name>.+)", re.DOTALL),
    re.compile(r"(?P<name>.+?)[\W_]+0*(?P<number>\d{1,9})(?:\.0+)?", re.DOTALL),
)
"""A number before or behind a name, with blanks or punctuation between them."""
_AROUND = re.compile(r"^[\W_]+|[\W_]+$")


def _bare(text: str) -> str:
    """A name whatever its case, blanks and underscores, without punctuation around it."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("_", " ")
    return _AROUND.sub("", " ".join(folded.split()))


class LabelSet:
    """Looks an answered activity up: "6", 6.0, "watching TV", "Watching_TV.", "6 - watching TV", "watching TV (6)".

    A number names its activity alone, or beside that activity's own name; with anything else around it ("#6",
    "activity 6", "6 or 7") it names nothing. An unknown name is never mapped to the nearest one.
    """

    def __init__(self, labels: Mapping[int, str]) -> None:
        self.labels = dict(labels)
        self._names = _unambiguous((fold_name(shown), n) for n, name in self.labels.items()
                                   for shown in (name, clean_text(name)))  # fmt: skip
        self._bare = _unambiguous((_bare(name), n) for n, name in self.labels.items() if _bare(name))

    def find(self, value: Any) -> int | None:
        """Number of the activity that a value of an answer names; None for none."""
        if isinstance(value, str):
            return self._find_text(value) if len(value) <= MAX_CHARS else None
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) > 1e9:
            return None
        return int(value) if value == int(value) and int(value) in self.labels else None

    def _find_text(self, text: str) -> int | None:
        if (alone := _NUMBER.fullmatch(text)) and int(alone.group(1)) in self.labels:
            return int(alone.group(1))
        if (folded := fold_name(text)) in self._names:  # names that differ by case alone are no name at all
            return self._names[folded]
        if (bare := _bare(text)) in self._bare:
            return self._bare[bare]
        for pattern in _BESIDE:
            beside = pattern.fullmatch(bare)
            if beside and _bare(self.labels.get(int(beside["number"]), "")) == _bare(beside["name"]) != "":
                return int(beside["number"])
        return None


def _unambiguous(pairs: Iterable[tuple[str, int]]) -> dict[str, int | None]:
    """Text -> the one number it stands for; None where two numbers share it."""
    table: dict[str, int | None] = {}
    for text, number in pairs:
        table[text] = number if table.get(text, number) == number else None
    return table


@lru_cache(maxsize=64)
def label_set(items: tuple[tuple[int, str], ...]) -> LabelSet:
    """The look-up of these (number, name) pairs, made once."""
    return LabelSet(dict(items))
