"""Counts tokens with the model's own tokenizer, by ``tokenizers`` alone: no torch, no transformers, no weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer


class TokenCounts(NamedTuple):
    """Token counts and what counted them."""

    counts: list[int]
    """One count a text, chat-template marks not included."""
    counted_by: str
    """Name for figures, e.g. "SmolLM2 tokenizer"; "words" where no tokenizer is at hand."""


@lru_cache(maxsize=8)
def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def count_tokens(texts: Sequence[str], tokenizer_json: Path | None, name: str = "tokenizer") -> TokenCounts:
    """Count the tokens of each text.

    Args:
        texts: any texts.
        tokenizer_json: a model's tokenizer.json; None counts blank-separated words and says so.
        name: how figures call the tokenizer.
    """
    if tokenizer_json is None:
        return TokenCounts([len(text.split()) for text in texts], "words (no tokenizer fetched)")
    encoded = _tokenizer(tokenizer_json).encode_batch(list(texts), add_special_tokens=False)
    return TokenCounts([len(one.ids) for one in encoded], name)
