"""What answers cost in US dollars, by the prices of models' entries. Asks nobody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from llmhar.ask.models import Prices
from llmhar.records import Generation


class Cost(NamedTuple):
    """What an engine, or a set of answers, used."""

    n_requests: int
    prompt_tokens: int
    """Cached ones among them."""
    cached_tokens: int
    output_tokens: int
    """Thinking included."""
    usd: float | None
    """US dollars by the prices of models.yaml; None where it has none. Attempts that failed are not in it."""


def cost_of(generations: Iterable[Generation], prices: Prices | None) -> Cost:
    """What these answers cost at these prices, also long after they were made."""
    made = [generation for generation in generations if generation.ok]
    prompt, cached, output = (
        sum(getattr(generation, f"{kind}_tokens") for generation in made) for kind in ("prompt", "cached", "output")
    )
    usd = None
    if prices is not None:
        again = prices.input_usd if prices.cached_usd is None else prices.cached_usd
        usd = ((prompt - cached) * prices.input_usd + cached * again + output * prices.output_usd) / 1e6
    return Cost(len(made), prompt, cached, output, usd)
