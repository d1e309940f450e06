"""Turns a window into the text a model reads. One function a representation; knows no prompt around it.

Sensor and room names come from files and are untrusted: :func:`clean_text` takes out control and direction marks and
defuses chat-template marks before they reach a prompt, and JSON representations encode them as data.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from llmhar.data.events import SensorEvent, Window, spoken

MAX_NAME_CHARS = 80
"""Longest room, sensor or label text that enters a prompt."""

# <|im_start|>, <think>, <s>, ``` …: what chat templates and answer parsers take for structure. Sensor names need none
# of these characters, so they become look-alikes that no tokenizer treats as special. Braces: a model that copies its
# question must not thereby answer with JSON that a name holds.
_MARKS = str.maketrans({"<": "‹", ">": "›", "|": "¦", "`": "'", "{": "(", "}": ")"})
_PARTS_OF_DAY = ((5, "night"), (11, "morning"), (14, "noon"), (17, "afternoon"), (22, "evening"), (24, "night"))
_BLANKS = re.compile(r"\s+")


@lru_cache(maxsize=65536)
def clean_text(text: str, limit: int = MAX_NAME_CHARS) -> str:
    """Text made safe for a prompt: one line, no control or bidi characters, no template marks, ``limit`` characters."""
    kept = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in text)
    return _BLANKS.sub(" ", kept).strip().translate(_MARKS)[:limit].rstrip()


def fold_name(name: str) -> str:
    """How names of activities are compared: cleaned, whatever their case, blanks and underscores."""
    return " ".join(clean_text(name, 500).replace("_", " ").split()).casefold()


_TWO_DIGITS = [f"{n:02}" for n in range(60)]


def _clock(time: datetime) -> str:
    return f"{_TWO_DIGITS[time.hour]}:{_TWO_DIGITS[time.minute]}:{_TWO_DIGITS[time.second]}"  # 4 x isoformat's speed


def event_text(event: SensorEvent) -> str:
    """S1 §3.1.1, each part cleaned: ``<room_name> <sensor_name> <event>``. A long name never pushes the state out."""
    return _spoken(event.room, event.sensor, event.state)


@lru_cache(maxsize=65536)
def _spoken(room: str, sensor: str, state: str) -> str:
    return spoken(clean_text(room), clean_text(sensor), clean_text(state))


@lru_cache(maxsize=65536)
def _spoken_json(room: str, sensor: str, state: str) -> str:
    return json.dumps(_spoken(room, sensor, state), ensure_ascii=False)


def s1_json(window: Window) -> str:
    """S1 §3.1.1: a JSON list of {"id", "time" HH:MM:SS, "event"}, one event a line.

    Ids begin at 0 in each window, so that answers need no long numbers; S1 numbers the events of a session before it
    cuts windows.
    """
    encoded = [(_clock(event.time), _spoken_json(event.room, event.sensor, event.state)) for event in window.events]
    items = [f'{{"id": {i}, "time": "{clock}", "event": {event}}}' for i, (clock, event) in enumerate(encoded)]
    return _a_line_each(items)


def intervals(window: Window) -> str:
    """S1's list with what ADL-LLM (2407.01238) calls sensor states: how long each sensor was, or will be, on.

    An event that ends a state known in this window says since when ("since_s", seconds); one that begins a state that
    ends in this window says for how long ("for_s"). A state that began before or outlasts the window is marked so.
    Sensors of one room and name (MARBLE's four chairs) are taken for one.
    """
    begun: dict[tuple[str, str], int] = {}
    items = [_item(i, event) for i, event in enumerate(window.events)]
    for i, event in enumerate(window.events):
        sensor = (event.room, event.sensor)
        if event.state in ("turned ON", "OPENED", "ENTERED", "PRESENT", "STARTED"):
            begun[sensor] = i
            items[i]["for_s"] = "past this window"
        elif sensor in begun:
            start = begun.pop(sensor)
            items[start]["for_s"] = items[i]["since_s"] = round(
                (event.time - window.events[start].time).total_seconds()
            )
        else:
            items[i]["since_s"] = "before this window"
    return _a_line_each(json.dumps(item, ensure_ascii=False) for item in items)


def sentences(window: Window) -> str:
    """One numbered English sentence an event."""
    return "\n".join(f"{i}. At {_clock(event.time)}, the {event_text(event)}." for i, event in enumerate(window.events))


def lines(window: Window) -> str:
    """One line an event, nothing around it: number, clock, event. A third of the tokens of S1's list."""
    return "\n".join(f"{i} {_clock(event.time)} {event_text(event)}" for i, event in enumerate(window.events))


def part_of_day(hour: int) -> str:
    """What people call an hour, 0 to 23."""
    return next(name for end, name in _PARTS_OF_DAY if hour < end)


def daytime(window: Window) -> str:
    """The part of day of the window's first event, then :func:`lines`: small models read digits badly as hours."""
    return f"{part_of_day(window.events[0].time.hour)}\n{lines(window)}"


def _item(i: int, event: SensorEvent) -> dict[str, Any]:
    return {"id": i, "time": _clock(event.time), "event": event_text(event)}


def _a_line_each(items: Iterable[str]) -> str:
    """A JSON list of items that are JSON already."""
    return "[" + ",\n ".join(items) + "]"


SERIALIZERS: dict[str, Callable[[Window], str]] = {
    "s1-json": s1_json,
    "intervals": intervals,
    "sentences": sentences,
    "lines": lines,
    "daytime": daytime,
}
"""Name in params and tables -> representation."""

INPUT_FORMATS: dict[str, str] = {
    "s1-json": (
        "The input is a JSON list of sensor events in time order. Each event has an "
        '"id" (from 0), a "time" (HH:mm:ss) and an "event" ("room sensor what-happened").'
    ),
    "intervals": (
        "The input is a JSON list of sensor events in time order. Each event has an "
        '"id" (from 0), a "time" (HH:mm:ss) and an "event" ("room sensor what-happened"). "for_s" says for how '
        'many seconds the sensor then stayed on or open, "since_s" for how many it had been.'
    ),
    "sentences": "The input is a numbered list of sensor events in time order, one sentence each, numbered from 0.",
    "lines": "The input is a list of sensor events in time order, one line each: number from 0, time, event.",
    "daytime": (
        "The input is the part of day, then a list of sensor events in time order, one line each: number from 0, "
        "time, event."
    ),
}
"""How the prompt describes each representation."""
