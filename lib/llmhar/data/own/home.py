"""``home.yaml`` of an own home: what it may say, and how a loader understands it. Reads that file alone."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from llmhar.data.homes import SOMEWHERE, Home
from llmhar.data.load_report import DataError
from llmhar.data.own.times import is_zone
from llmhar.data.own.words import Word, fold
from llmhar.settings import SettingsError, read_yaml

HOME_FILE, EVENTS_FILE = "home.yaml", "events.parquet"


class OwnHome(Home):
    """A user's home: what any home file says, and how the user's files are understood."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    zone: str
    """Time zone in which stamps in UTC are shown; other times keep the clock that they are written in."""
    split: date | None = None
    """First day for testing; None = the last third of the days, at least."""
    repeats: Literal["keep", "drop"] = "keep"
    """Whether a sensor's row that says again what its last one said is an event."""
    activities: dict[str, str | None] = Field(default_factory=dict)
    """Activity in the files -> its name; None = not annotated. A list stands for names that are kept."""
    states: dict[str, Word] = Field(default_factory=dict)
    """State in the files -> what it means, where the usual words do not tell."""
    leave_out: tuple[str, ...] = ()
    """Sensors that are no events; * stands for any characters."""

    @field_validator("activities", mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        return {name: name for name in value} if isinstance(value, list) else value or {}

    @field_validator("sensors", "rooms", mode="before")
    @classmethod
    def _or_empty(cls, value: Any) -> Any:
        """A heading or a room with nothing below it is empty."""
        if isinstance(value, dict):
            return {name: [] if part is None else part for name, part in value.items()}
        return {} if value is None else value

    @field_validator("states", mode="before")
    @classmethod
    def _folded(cls, value: Any) -> Any:
        """States without case; YAML reads `on` and `off` as true and false."""
        if not isinstance(value, dict):
            return {} if value is None else value
        words = {True: "on", False: "off"}
        return {
            str(words.get(raw, raw) if isinstance(raw, bool) else raw).casefold(): words.get(word, word)
            if isinstance(word, bool)
            else word
            for raw, word in value.items()
        }

    @field_validator("leave_out", "rules", mode="before")
    @classmethod
    def _or_none(cls, value: Any) -> Any:
        return value or ()

    @field_validator("zone")
    @classmethod
    def _a_zone(cls, value: str) -> str:
        if not is_zone(value):
            raise ValueError(f"no time zone {value!r}: write one like Europe/Paris")
        return value

    @property
    def labels(self) -> dict[int, str]:
        """Number of each activity -> its name, in the file's order."""
        return dict(enumerate(dict.fromkeys(name for name in self.activities.values() if name)))

    @property
    def label_of(self) -> dict[str, int | None]:
        """Activity in the files, folded -> its number; None = not annotated."""
        numbers = {name: number for number, name in self.labels.items()}
        shown = {fold(name): number for name, number in numbers.items()}
        return shown | {fold(raw): numbers[name] if name else None for raw, name in self.activities.items()}

    def described(self, places: dict[str, set[str]]) -> OwnHome:
        """This home with its rooms' sensors among their furniture, as prompts describe it.

        Args:
            places: room -> names of its sensors; "" = those without a room.
        """
        rooms = dict(self.rooms)
        for room, names in places.items():
            there = rooms.get(room or SOMEWHERE, ())
            rooms[room or SOMEWHERE] = (*there, *sorted(names - set(there)))
        return self.model_copy(update={"rooms": rooms, "plan": self.plan if self.plan and set(self.plan) == set(rooms)
                                       else None})  # fmt: skip


def read_home(folder: Path) -> OwnHome:
    """The home file of a folder.

    Raises:
        DataError: it is missing, or says what cannot be; names the file and the field.
    """
    path = folder / HOME_FILE
    try:
        return OwnHome.model_validate(read_yaml(path))
    except SettingsError as error:
        raise DataError(f"{error}: mend the file, or make it again with `llmhar data new`") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5])
        raise DataError(f"{path}: {wrong[:600]}; mend the file") from error
