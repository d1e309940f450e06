"""Words for sensors that files name by an id or a place alone ("M013", "KitchenAStove"). Knows no file format."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

KINDS = {
    **{"M": "motion sensor", "MA": "area motion sensor", "D": "door", "I": "item", "L": "light", "F": "fan"},
    **{"T": "temperature sensor", "LS": "light sensor", "P": "power meter", "AD": "meter"},
    **{"BATP": "battery", "BATV": "battery"},
}
"""Letters before a number -> kind of sensor, as CASAS's homes use them."""
WHOLE = {"asterisk": "telephone"}
"""Ids that are words for something else: Asterisk is a telephone exchange."""
_SINGLE_ROOMS = "attic basement bathroom bedroom closet corridor den entry entryway foyer garage hall hallway kitchen"
_OTHER_ROOMS = "laundry loft office pantry patio porch room stairs stairway study area"
ROOM_WORDS = frozenset(f"{_SINGLE_ROOMS} {_OTHER_ROOMS}".split())
"""Words with which a room's name ends: "living room"."""
_CODE = re.compile(r"([A-Za-z]{1,4})[-_]?[0-9][-_A-Za-z0-9]*")
_PARTS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+")


class SensorId(NamedTuple):
    """What a file calls a sensor."""

    name: str
    location: str = ""
    """Of files with a second name for the place; empty where they have none, or the same."""

    def __str__(self) -> str:
        return f"{self.name} {self.location}".strip()


class _Place(NamedTuple):
    room: str
    letter: str
    """Tells rooms of one kind apart: bathroom A, bathroom B."""
    thing: str
    """Words behind the room; empty where the name is the room's alone."""


def speak(sensors: Mapping[SensorId, bool]) -> dict[SensorId, tuple[str, str]]:
    """Room and name in plain words of each sensor of a home, no two the same.

    Args:
        sensors: each sensor -> whether it opens and closes, and so is no motion sensor where it has a room's name.
    """
    places = {sensor: _placed(sensor) for sensor in sensors}
    letters = defaultdict(set)
    for place in places.values():
        letters[place.room].add(place.letter)
    words = {}
    for sensor, (room, letter, thing) in places.items():
        is_one_of_several = bool(letter) and len(letters[room] - {""}) > 1
        words[sensor] = (
            f"{room} {letter}" if is_one_of_several else room,
            thing or ("door" if sensors[sensor] else "motion sensor"),
        )
    shared = Counter(words.values())
    return {s: (room, f"{name} {s}" if shared[room, name] > 1 else name) for s, (room, name) in words.items()}


def _placed(sensor: SensorId) -> _Place:
    name = _place(sensor.name)
    if not sensor.location:
        return name
    location = _place(sensor.location)
    if name.room:
        return _Place(name.room, name.letter, location.thing if location.room == name.room else said(sensor.location))
    if location.room:
        return _Place(location.room, location.letter, " ".join(filter(None, (name.thing, location.thing))))
    if _CODE.fullmatch(sensor.name):
        return _Place("", "", f"{location.thing} {sensor.name}")
    is_same_thing = name.thing.split()[-1:] == location.thing.split()[-1:]  # an outside door, the front door
    return _Place("", "", location.thing if is_same_thing else f"{name.thing} {location.thing}")


def said(name: str) -> str:
    """A name in plain words: "LoungeChair" -> "lounge chair"."""
    if not name.isascii():
        return name.replace("_", " ")
    return " ".join(part if part.isupper() else part.lower() for part in _PARTS.findall(name)) or name


def _place(name: str) -> _Place:
    code = _CODE.fullmatch(name)
    if name.lower() in WHOLE:
        return _Place("", "", WHOLE[name.lower()])
    if code and (code[1].upper() in KINDS or code[1].isupper()):
        return _Place("", "", f"{KINDS.get(code[1].upper(), 'sensor')} {name}")
    parts = _PARTS.findall(name)
    end = next((i + 1 for i, part in enumerate(parts) if part.lower() in ROOM_WORDS), 0)
    while end and end < len(parts) and parts[end].lower() in ("room", "area"):
        end += 1
    if not end:  # a letter between words parts room and thing, whatever the room is called
        end = next((i for i, part in enumerate(parts[:-1]) if i and _is_letter(part)), 0)
    if not end:
        return _Place("", "", said(name))
    letter = parts[end] if end < len(parts) and _is_letter(parts[end]) else ""
    rest = parts[end + bool(letter) :]
    return _Place(said(" ".join(parts[:end])), letter, said(" ".join(rest)) if rest else "")


def _is_letter(part: str) -> bool:
    return len(part) == 1 and part.isupper()
