"""Home files (``params/homes/*.yaml``, an own home's ``home.yaml``): what a prompt says of a home, how its sensors are
spoken of, and a sketch of it. Knows no data set or model.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from llmhar import paths
from llmhar.data.reader import natural
from llmhar.settings import SettingsError, read_yaml

if TYPE_CHECKING:
    from llmhar.data.events import Session

SOMEWHERE = "somewhere in the home"
"""Stands for the room of sensors of which nobody knows the room."""
MAX_PLAN = 1000
"""Units of the largest sketch."""


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


class Sensor(BaseModel):
    """How one sensor of a home's files is spoken of."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    room: str = ""
    """In plain words, one of the home's rooms; empty where it has none (a phone)."""
    name: str
    """Name of the sensor without its room, e.g. "fridge door"."""
    above: float | None = None
    """For a sensor that reports numbers: it is on while the number is above this; None = its numbers are no events."""


Rectangle = tuple[float, float, float, float]
"""x and y of the upper left corner, width, height, in units of the sketch's own grid."""


class Home(BaseModel):
    """One home as a prompt describes it, and how a screen may lay its rooms out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    kind: Literal["real", "simulated"]
    rooms: dict[str, tuple[str, ...]]
    """Room -> appliances and furniture in plain words."""
    rules: tuple[str, ...] = ()
    """A few lines for ambiguous situations (S1 §3.1.3)."""
    example: Example | None = None
    """None: the prompt shows none (nobody has made one up for this home)."""
    sensors: dict[str, Sensor] = {}
    """Sensor id in the data files -> how it is spoken of; ids without an entry keep a speakable form of their own."""
    plan: dict[str, Rectangle] | None = None
    """A sketch of where the rooms lie, not to scale (nobody has measured the homes): for the eye, never in a prompt."""

    @model_validator(mode="after")
    def _plan_fits_rooms(self) -> Home:
        if self.plan is None:
            return self
        if strange := set(self.plan) ^ set(self.rooms):
            raise ValueError(f"plan and rooms must name the same rooms, these stand in one only: {sorted(strange)}")
        for room, (x, y, width, height) in self.plan.items():
            # "not >=" also refuses NaN
            if not (min(x, y) >= 0 and min(width, height) > 0 and max(x + width, y + height) <= MAX_PLAN):
                raise ValueError(f"plan: {room} needs x, y >= 0 and width, height > 0, all within {MAX_PLAN}")
        for (one, (x, y, w, h)), (other, (x2, y2, w2, h2)) in combinations(self.plan.items(), 2):
            if x < x2 + w2 and x2 < x + w and y < y2 + h2 and y2 < y + h:
                raise ValueError(f"plan: {one} and {other} overlap")
        return self


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
    return read_home(path)


def read_home(path: Path) -> Home:
    """Read a home file that lies anywhere.

    Raises:
        PromptError: a field that is unknown, missing or ill-typed, or no YAML.
    """
    try:
        return Home.model_validate(read_yaml(path))
    except SettingsError as error:
        raise PromptError(str(error)) from error
    except ValidationError as error:
        raise PromptError(f"{path}: {str(error)[:800]}") from error  # it lists every field that is wrong


def describe(name: str, sensors: Iterable[tuple[str, str]]) -> Home:
    """A home that no file describes, by what its data name: rooms with their sensors; it has no rules and no example.

    Args:
        name: what it is called.
        sensors: room (empty where none is known) and name of each sensor.
    """
    rooms: dict[str, list[str]] = {}
    for room, sensor in sorted(sensors, key=lambda words: (not words[0], natural(words[0]), natural(words[1]))):
        rooms.setdefault(room or SOMEWHERE, []).append(sensor)
    return Home(name=name, kind="real", rooms={room: tuple(things) for room, things in rooms.items()})


def home_of(session: Session) -> Home:
    """How a session's home is described: by its loader, else by the home file that the session names.

    Raises:
        PromptError: there is no such file, or one that cannot be used.
    """
    return session.described or load_home(session.home)
