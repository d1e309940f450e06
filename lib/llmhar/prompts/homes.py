"""Reads ``params/homes/*.yaml``: what a prompt says of a home. Knows no data set, window or model."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmhar import paths


class PromptError(ValueError):
    """A prompt that cannot be built; the message names the file and the cure."""


class ExampleEvent(BaseModel):
    """One event of the static example."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    time: str = Field(pattern=r"^\d\d:\d\d:\d\d$")
    """HH:MM:SS, quoted in YAML (unquoted, YAML reads it as a number)."""
    event: str
    """``<room> <sensor> <event>``."""


class Example(BaseModel):
    """S1 §3.1.3's static example of input and output: made up, never taken from a session."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: tuple[ExampleEvent, ...]
    answers: tuple[str, ...]
    """One activity name an event."""

    @model_validator(mode="after")
    def _one_answer_each(self) -> Example:
        if len(self.events) != len(self.answers):
            raise ValueError(f"{len(self.events)} events but {len(self.answers)} answers")
        return self


class Home(BaseModel):
    """One home as a prompt describes it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["real", "simulated"]
    rooms: dict[str, tuple[str, ...]]
    """Room -> appliances and furniture in plain words."""
    rules: tuple[str, ...] = ()
    """A few lines for ambiguous situations (S1 §3.1.3)."""
    example: Example


@lru_cache(maxsize=32)
def load_home(name: str) -> Home:
    """Read one home file.

    Raises:
        PromptError: no such file, or a field that is unknown, missing or ill-typed.
    """
    path = paths.params() / "homes" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        raise PromptError(f"no home file {path}; there are: {known}. Write one beside them to describe a new home.")
    try:
        return Home.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise PromptError(f"{path}: {error}") from error
