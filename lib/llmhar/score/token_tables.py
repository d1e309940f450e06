"""Tokens of windows and prompts, as a model's tokenizer counts them. Asks nobody, draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from llmhar.ask.models import MODELS, ModelError
from llmhar.ask.task import Task
from llmhar.text.serialize import SERIALIZERS
from llmhar.text.tokens import TokenCounts, count_tokens


def tokenizer_file(model_name: str | None) -> Path | None:
    """A model's tokenizer.json; None for None.

    Raises:
        ModelError: the model was not fetched.
    """
    if model_name is None:
        return None
    place = MODELS[model_name].locate()
    if not isinstance(place, Path):
        raise ModelError(f"{model_name}'s tokenizer is not here; run: llmhar models fetch {model_name}")
    return place / "tokenizer.json"


class TokenTable(NamedTuple):
    """Tokens of windows by serializer, and what counted them."""

    costs: pd.DataFrame
    """Columns mean, p5, p95, "per event"; one row a serializer."""
    counted_by: str


def token_table(task: Task, tokenizer: str | None) -> TokenTable:
    """Tokens a window takes in each representation, over all windows of a task."""
    rows, counted_by = {}, ""
    for name, write in SERIALIZERS.items():
        counts, counted_by = _count([write(window) for window in task.windows], tokenizer)
        events = sum(len(window.events) for window in task.windows)
        low, high = (float(pd.Series(counts).quantile(q)) for q in (0.05, 0.95))
        mean = sum(counts) / max(1, len(counts))
        rows[name] = {"mean": mean, "p5": low, "p95": high, "per event": sum(counts) / max(1, events)}
    return TokenTable(pd.DataFrame.from_dict(rows, orient="index").rename_axis("serializer"), counted_by)


class PromptTokens(NamedTuple):
    """Tokens of a prompt's static parts, and the mean of the window below them."""

    parts: TokenCounts
    window_mean: float


def prompt_tokens(task: Task, tokenizer: str | None) -> PromptTokens:
    """Tokens of the parts of the first window's prompt; chat-template marks not included."""
    prompt = task.prompt_of(task.windows[0])
    windows = [task.prompt_of(window).messages(window)[-1]["content"] for window in task.windows]
    counts = _count(windows, tokenizer).counts
    return PromptTokens(_count(list(prompt.parts.values()), tokenizer), sum(counts) / len(counts))


def _count(texts: Sequence[str], tokenizer: str | None) -> TokenCounts:
    return count_tokens(texts, tokenizer_file(tokenizer), f"{tokenizer} tokenizer")
