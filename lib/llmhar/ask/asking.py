"""How models are asked, as one record: sampling, thinking, samples, schema, engine. Asks nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from llmhar.ask.engines.base import Engine
from llmhar.records import Purpose, Sampling

Draw = Literal["model", "greedy", "hosted"]
DRAWS: tuple[Draw, ...] = ("model", "greedy", "hosted")


@dataclass(frozen=True)
class Asking:
    """Everything that is the same for all windows that a study asks about."""

    sampling: Sampling = field(default_factory=Sampling)
    """Limits and seed; how tokens are drawn where ``draw`` is "greedy"."""
    draw: Draw = "greedy"
    """"model": temperature, top_p and top_k as models.yaml has them from the model's makers, for the mode it is asked
    in; "hosted": these, and for models that a server answers for ``max_tokens`` by the mode too; "greedy": those of
    ``sampling``, whose defaults take the likeliest token."""
    thinking: bool | None = None
    """Qwen3's switch; None leaves the template's default. Models without the switch ignore it."""
    n_samples: int = 1
    """Samples of each window; engines mix the sample's index into the seed."""
    constrained: bool = False
    """Enforce the JSON schema of a complete answer, after the thinking block (language models only)."""
    why: bool | None = None
    """Whether a constrained answer reasons in each item, before its activity; None = where a model has no thinking
    block of its own."""
    named: bool = False
    """Whether constrained answers with reasons are named by these (:mod:`llmhar.text.naming`), not by the model."""
    confidence: bool = False
    """Keep with each answer how likely its tokens were, where model and engine can tell
    (:func:`llmhar.ask.inference.no_confidence`); such answers have request keys of their own."""
    engine: str = "auto"
    """Key into ``ENGINES``, or "auto"; a model that has an engine of its own (rules, recorded) ignores it."""
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of :class:`llmhar.ask.engines.registry.Options`, e.g. {"tensor_parallel_size": 2}."""
    exact: bool = False
    """Take only stored answers that this very engine, version, dtype and device made (``--exact-engine``)."""
    purpose: Purpose = "study"
    """What the answers are for; answers that were timed one at a time are never mixed with others."""
    progress: bool = True
    """Show a bar on stderr."""
    open_with: Callable[[], Engine] | None = None
    """Opens the engine; None opens the one that ``engine`` names. For tests, and for engines that are shared."""
