"""What words of users' files mean: columns, states, sensors and their rooms. Tables and guesses; reads no file.

Every guess is written into ``home.yaml``, where a user may change it.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Literal

from llmhar.data.sensor_names import KINDS

Word = Literal["on", "off", "open", "closed", "in", "out", "present", "absent", "ignore"]
"""What a state means; "ignore": it is never an event."""

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "time": (
        *("time", "timestamp", "datetime", "date_time", "last_changed", "last_updated", "last_changed_ts"),
        *("last_updated_ts", "event_time", "time_stamp", "ts", "when", "at", "recorded_at", "created_at"),
        *("canonical_timestamp", "epoch", "unixtime", "unix_time", "start", "start_time"),
    ),
    "date": ("date", "day"),
    "start": ("start", "start_time", "starttime", "begin", "begin_time", "from", "on_time", "started", "started_at"),
    "end": ("end", "end_time", "endtime", "stop", "stop_time", "finish", "to", "until", "off_time", "ended"),
    "sensor": (
        *("entity_id", "sensor", "sensor_id", "sensorid", "sensor_name", "item", "item_name", "itemname", "item_id"),
        *("device", "device_id", "device_name", "entity", "channel", "topic", "source", "name", "object"),
    ),
    "state": (
        *("state", "value", "message", "status", "new_state", "reading", "sensor_value", "sensor_state", "event_value"),
        *("event_type", "action", "event", "payload", "measurement"),
    ),
    "room": ("room", "room_name", "location", "place", "area", "area_name"),
    "resident": ("resident", "residents", "person", "persons", "user", "subject", "subjects", "occupant", "inhabitant",
                 "who", "resident_id"),
    "activity": ("activity", "activities", "label", "labels", "annotation", "activity_name", "activity_label", "task",
                 "class"),
}  # fmt: skip
"""Role -> names that a column of that role may have, likeliest first; compared without case, blanks as underscores."""

STATES: dict[str, Word] = {
    **dict.fromkeys(
        (
            *("on", "true", "yes", "active", "activated", "activate", "detected", "motion", "occupied", "wet"),
            *("pressed", "start", "started", "playing", "running", "cleaning", "moving", "triggered", "turned on"),
            *("buffering", "start_instruct", "high", "enabled", "asserted", "connected", "vibrating"),
        ),
        "on",
    ),
    **dict.fromkeys(
        (
            *("off", "false", "no", "inactive", "deactivated", "deactivate", "idle", "clear", "cleared", "undetected"),
            *("not detected", "not_detected", "no_motion", "no motion", "unoccupied", "dry", "released"),
            *("stop", "stopped", "paused", "standby", "docked", "turned off", "stop_instruct", "end"),
            *("low", "disabled", "deasserted", "disconnected", "still", "ended"),
        ),
        "off",
    ),
    **dict.fromkeys(("open", "opened", "opening", "unlocked", "unlocking"), "open"),
    **dict.fromkeys(("closed", "close", "closing", "shut", "locked", "locking"), "closed"),
    "present": "present",
    "absent": "absent",
    **dict.fromkeys(("home", "entered", "enter", "arrived", "arrive", "in"), "in"),
    **dict.fromkeys(("not_home", "not home", "away", "left", "leave", "departed", "exit", "out"), "out"),
}  # fmt: skip
UNKNOWN_STATES = frozenset(
    ("", "unavailable", "unknown", "none", "null", "nan", "n/a", "na", "undef", "undefined", "uninitialized", "-", "?")
)
"""States that say that nothing is known: counted, never events."""
SPOKEN: dict[Word, str] = {
    "on": "turned ON", "off": "turned OFF", "open": "OPENED", "closed": "CLOSED", "in": "ENTERED", "out": "LEFT",
    "present": "PRESENT", "absent": "ABSENT",
}  # fmt: skip
NOT_ANNOTATED = frozenset(
    (
        "",
        "none",
        "null",
        "nan",
        "n/a",
        "na",
        "-",
        "?",
        "other activity",
        "other",
        "unlabelled",
        "unlabeled",
        "no activity",
    )
)
"""Activities that mean "not annotated", folded; facts of the CASAS homes, kept as a label where home.yaml says so."""

HASS_DOMAINS = frozenset(
    (
        *("binary_sensor", "sensor", "light", "switch", "fan", "media_player", "cover", "lock", "valve", "vacuum"),
        *("person", "device_tracker", "input_boolean"),
    )
)
"""Home Assistant's kinds of entities that tell of people: all others (weather, automations, updates) are counted."""
HASS_LEAVE_OUT = (
    *("*_update_available", "*_connectivity", "*_battery*", "*_low_battery", "*_problem", "*_tamper", "*_rssi"),
    *("*_linkquality", "*_signal_strength", "*_last_seen", "*_status_led", "*_indicator", "*_permit_join"),
)
"""Names of Home Assistant's entities that watch devices, not people; stands in home.yaml for the user to change."""
COMMON_ACTIVITIES = (
    *("Sleeping", "Using the toilet", "Showering", "Grooming", "Dressing", "Preparing a meal", "Eating"),
    *("Preparing a drink", "Washing dishes", "Watching TV", "Working at a computer", "Reading", "Resting"),
    *("Cleaning", "Doing laundry", "Leaving home", "Entering home", "Others"),
)
"""Offered to models in a home whose files name no activity."""

_ROOM = (
    r"(?:(?:main|master|guest|kids?|childrens?|parents?|upstairs|downstairs|upper|lower|first|second|small|big|"
    r"front|back) )?(?:kitchen|bed ?room|bath ?room|living ?room|dining ?room|dining area|laundry(?: room)?|"
    r"utility(?: room)?|guest ?room|kids ?room|childrens ?room|play ?room|family ?room|sun ?room|store ?room|"
    r"storage|work ?room|shower ?room|rest ?room|wash ?room|powder ?room|mud ?room|living|lounge|nursery|office|study|"
    r"library|hall ?way|hall|corridor|landing|stair(?:s|case|way|well)?|entrance|entry|foyer|lobby|porch|veranda|"
    r"toilet|wc|lavatory|garage|basement|cellar|attic|loft|pantry|larder|closet|balcony|terrace|patio|garden|yard|"
    r"driveway|gym|workshop|conservatory|"
    r"cuisine|salon|chambre|salle de bains?|salle à manger|entrée|entree|bureau|couloir|"
    r"küche|kueche|wohnzimmer|schlafzimmer|badezimmer|bad|flur|büro|buero|esszimmer|kinderzimmer|"
    r"cocina|salón|dormitorio|baño|pasillo|entrada|cucina|soggiorno|camera|bagno|ingresso|keuken|woonkamer|"
    r"slaapkamer|badkamer)(?: [0-9]{1,2}(?![0-9])| [a-d](?= |$))?"
)
_FIND_ROOM = re.compile(rf"(?<![^\W_])(?:{_ROOM})(?![^\W_])")
_ROOM_OF_THING = (
    (re.compile(r"fridge|freezer|stove|oven|\bhob\b|cook ?top|kettle|microwave|dish ?washer|toaster|coffee|espresso"),
     "kitchen"),
    (re.compile(r"shower|bath ?tub|\bbasin\b"), "bathroom"),
    (re.compile(r"(?:front|main|entrance|apartment|house) ?door"), "entrance"),
    (re.compile(r"\bbed\b|mattress|wardrobe"), "bedroom"),
    (re.compile(r"\bcouch\b|\bsofa\b"), "living room"),
)  # fmt: skip
"""Things that nearly every home has in one room; the first that matches counts."""
_OPENS = re.compile(
    r"\b(?:door|window|drawer|cabinet|cupboard|lid|gate|fridge|freezer|wardrobe|mailbox|contact)s?(?: \d+)?"
    r"(?: (?:contact|opening|sensor))?$"
)
_CODE = re.compile(r"([A-Za-z]{1,4})[-_]?[0-9]{1,5}[A-Za-z]?")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[a-z])(?=[0-9]+(?![a-z0-9]))")


def column_key(name: str) -> str:
    """A column's name as :data:`COLUMN_NAMES` writes it."""
    plain = re.sub(r"\(.*?\)|\[.*?\]", "", name).strip()
    return re.sub(r"[\s._/-]+", "_", _CAMEL.sub(" ", plain)).lower().strip("_")


@lru_cache(maxsize=65536)
def fold(name: str) -> str:
    """How names are compared: whatever their case, blanks and underscores."""
    return " ".join(name.replace("_", " ").split()).casefold()


@lru_cache(maxsize=65536)
def clean(text: str) -> str:
    """Untrusted text on one line, without control and direction marks."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split()) if "  " in text or text[:1] == " " or text[-1:] == " " else text
    return " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split())


def number_of(state: str) -> float | None:
    """The finite number that a state is, with a point or a comma; None for anything else."""
    try:
        value = float(state.replace(",", ".", 1)) if state[:1] in "+-.0123456789" and "_" not in state else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < 1e300 else None


def is_hass_id(sensor: str) -> bool:
    """Whether a sensor is named as Home Assistant names its entities: ``domain.object_id``."""
    return re.fullmatch(r"[a-z_]+\.[a-z0-9_]+", sensor) is not None and sensor.partition(".")[0] in HASS_DOMAINS


def says_open(name: str) -> bool:
    """Whether something of this name is opened and closed rather than turned on and off."""
    return _OPENS.search(name) is not None


def spoken_place(sensor: str, room: str = "") -> tuple[str, str]:
    """Room and name, in plain words, that a sensor's id suggests; the room may be empty.

    Args:
        sensor: id in the user's files: "binary_sensor.kitchen_fridge_door", "KitchenStove", "M013".
        room: the room that the files name beside it, empty where they name none.
    """
    domain, _, rest = sensor.partition(".") if is_hass_id(sensor) else ("", "", sensor)
    code = _CODE.fullmatch(rest)
    if code and (code[1].upper() in KINDS or code[1].isupper()):
        return _in_words(room), f"{KINDS.get(code[1].upper(), 'sensor')} {rest}"
    if rest.isdecimal():
        return _in_words(room), f"sensor {rest}"
    words = _in_words(rest) or "sensor"
    place = _in_words(room)
    if place and words.startswith(f"{place} "):
        return place, words.removeprefix(f"{place} ")
    if place:
        return place, words
    found = _FIND_ROOM.search(words) if domain not in ("person", "device_tracker") else None
    if found is None:
        thing = next((room for pattern, room in _ROOM_OF_THING if pattern.search(words)), "")
        return thing, words
    name = f"{words[: found.start()]}{words[found.end() :]}"
    default = domain.replace("_", " ") if domain not in ("", "binary_sensor") else "sensor"
    return _whole(found[0]), " ".join(name.split()) or default


def _in_words(text: str) -> str:
    return " ".join(re.sub(r"[_./:\\-]+", " ", _CAMEL.sub(" ", clean(text))).lower().split())[:80]


def _whole(room: str) -> str:
    """A room as it is said: "livingroom" and "living" are the living room."""
    room = re.sub(r"(?<=[a-z])room\b", " room", room).replace("  ", " ")
    room = re.sub(r"^living$", "living room", re.sub(r"\b(bed|bath) room\b", r"\1room", room))
    return re.sub(r"\bhall way\b", "hallway", room)
