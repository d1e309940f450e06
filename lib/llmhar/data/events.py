"""Records of what happened at home: events, sessions, windows. Knows nothing of files, prompts or models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

STATES = ("turned ON", "turned OFF", "OPENED", "CLOSED", "ENTERED", "LEFT")
"""Words for what a sensor did (S1 §3.1.1; the last two for locations that a loader may offer)."""


def spoken(room: str, sensor: str, state: str) -> str:
    """S1 §3.1.1: ``<room_name> <sensor_name> <event>``; a room that the sensor's name begins with is said once."""
    named = bool(room) and sensor.replace("-", " ").startswith(f"{room} ")
    return " ".join(part for part in ("" if named else room, sensor, state) if part)


@dataclass(frozen=True, slots=True)
class SensorEvent:
    """One change of one sensor."""

    event_id: int
    """Position in its session, from 0, in time order (ties keep the file's order)."""
    time: datetime
    """Local wall-clock time of the home, naive, to the millisecond."""
    room: str
    """Room of the sensor in plain words, e.g. "dining room"; empty where it has none (a phone)."""
    sensor: str
    """Name of the sensor without its room, e.g. "induction stove wattmeter"."""
    state: str
    """What it did, in S1's words: "turned ON", "turned OFF", "OPENED", "CLOSED"."""
    residents: tuple[str, ...] = ()
    """Ground truth: who caused it. Never shown to a model unless a notebook asks for it."""
    activity_id: int | None = None
    """Ground truth: key into ``Session.activities``; None where no activity was annotated."""

    @property
    def text(self) -> str:
        """S1 §3.1.1: ``<room_name> <sensor_name> <event>``."""
        return spoken(self.room, self.sensor, self.state)


@dataclass(frozen=True, slots=True)
class Session:
    """One recording of one home: the unit of splits and of inference."""

    dataset: str
    """Key into ``DATASETS``."""
    session_id: str
    """Unique in its data set; safe as a file name."""
    home: str
    """Name of the home file, ``params/homes/<home>.yaml``."""
    activities: Mapping[int, str]
    """Number of each activity -> its name, the data set's own."""
    events: tuple[SensorEvent, ...] = field(repr=False)
    """All events in time order."""
    day: str = ""
    """Start context: "weekday" or "weekend", else empty."""
    n_residents: int | None = None
    """Start context: how many people live in it, None where the data does not say."""
    unscored: frozenset[int] = frozenset()
    """Activities that are kept as labels but neither offered in prompts nor scored by default (MARBLE's TRANSITION)."""

    @property
    def labels(self) -> dict[int, str]:
        """The label set: activities that a model may answer and that are scored."""
        return {number: name for number, name in self.activities.items() if number not in self.unscored}


@dataclass(frozen=True, slots=True)
class Window:
    """A run of consecutive events of one session; the unit of one prompt (S1 §3.1.2)."""

    session_id: str
    index: int
    """Position in its session, from 0."""
    events: tuple[SensorEvent, ...] = field(repr=False)
    """10 by default, without overlap; a session's last window may be short."""
