"""Sentence embeddings that need no language model: wordllama's, whose package brings its weights. Knows no labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np


@lru_cache(maxsize=1)
def _embedder() -> Any:
    import wordllama  # the package brings its weights; it imports neither torch nor transformers

    return wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)


@lru_cache(maxsize=64)
def _embedded(texts: tuple[str, ...]) -> np.ndarray:
    vectors = np.asarray(_embedder().embed(list(texts), norm=True), dtype=np.float32)
    return np.nan_to_num(vectors)


def embed(texts: Sequence[str]) -> np.ndarray:
    """(n, 256) float32, rows of length 1; a text without a known word (half a surrogate is none) is zeros."""
    place: dict[str, int] = {}  # equal texts are embedded once
    rows = [place.setdefault(text.encode("utf-8", "replace").decode(), len(place)) for text in texts]
    return _embedded(tuple(place))[rows]
