"""What rows of sensors mean under a home file: states, thresholds, repeats. Knows neither files nor activities."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from llmhar.data.homes import Sensor
from llmhar.data.own.home import OwnHome
from llmhar.data.own.rows import Row
from llmhar.data.own.words import STATES, UNKNOWN_STATES, Word, is_hass_id, number_of, spoken_place
from llmhar.data.reader import quoted

SensorKey = tuple[str, str]
"""Sensor and room as the files write them."""
_WORDS: dict[str | None, dict[Word, Word]] = {
    "on/off": {"open": "on", "closed": "off", "in": "on", "out": "off", "present": "on", "absent": "off"},
    "open/closed": {"on": "open", "off": "closed"},
    "in/out": {"on": "in", "off": "out", "present": "in", "absent": "out"},
}


class Meant(NamedTuple):
    """What a sensor's row says."""

    word: Word | None
    """None: it is no event."""
    reason: str = ""
    """Why it is none."""


def entry_name(key: SensorKey, home: OwnHome) -> str:
    """A sensor's name in home.yaml: with its room where the home file tells sensors of one id apart by it."""
    sensor, room = key
    return f"{room}/{sensor}" if room and f"{room}/{sensor}" in home.sensors else sensor


@dataclass
class States:
    """Understands rows of one home. What is found out of a sensor's rows as a whole is in ``numbers``."""

    home: OwnHome
    numbers: dict[SensorKey, tuple[float, float]] = field(default_factory=dict)
    """Sensors that report numbers, not only 0 and 1 -> least and greatest."""
    _entries: dict[SensorKey, Sensor] = field(default_factory=dict)
    _left_out: dict[SensorKey, bool] = field(default_factory=dict)
    _meant: dict[tuple[SensorKey, str], Meant] = field(default_factory=dict)

    @classmethod
    def of(cls, home: OwnHome, rows: Iterable[Row]) -> States:
        """For a home, having looked at its rows."""
        counts: dict[SensorKey, list[float]] = {}
        for row in rows:
            value = number_of(row.state) if row.kind == "event" else None
            if value is not None:
                count = counts.setdefault((row.sensor, row.room), [0, 0, value, value])
                count[value not in (0, 1)] += 1
                count[2:] = min(count[2], value), max(count[3], value)
        few = 1 / 50  # damaged values of a sensor that says 0 and 1
        return cls(home, {key: (low, high) for key, (n, others, low, high) in counts.items() if others > few * n})

    def entry(self, key: SensorKey) -> Sensor:
        """How a sensor is spoken of: by home.yaml, else by its id."""
        if key not in self._entries:
            room, name = spoken_place(*key)
            given = self.home.sensors.get(entry_name(key, self.home))
            self._entries[key] = given or Sensor(room=room, name=name)
        return self._entries[key]

    def is_left_out(self, key: SensorKey) -> bool:
        """Whether home.yaml leaves a sensor out."""
        if key not in self._left_out:
            names = (entry_name(key, self.home), key[0])
            self._left_out[key] = any(fnmatchcase(name, pattern) for pattern in self.home.leave_out for name in names)
        return self._left_out[key]

    def meant(self, key: SensorKey, state: str) -> Meant:
        """What a state of a sensor means."""
        if (key, state) not in self._meant:
            if len(self._meant) > 10_000:  # numbers, each another
                self._meant.clear()
            self._meant[key, state] = self._look_up(key, state)
        return self._meant[key, state]

    def _look_up(self, key: SensorKey, state: str) -> Meant:
        entry, value = self.entry(key), number_of(state)
        word = self.home.states.get(state.casefold())
        if word is not None:
            pass
        elif state.casefold() in UNKNOWN_STATES:
            return Meant(None, f"state {quoted(state)}: nothing is known")
        elif value is not None and entry.above is not None:
            word = "on" if value > entry.above else "off"
        elif value is not None and key in self.numbers:
            return Meant(None, f"numbers of {quoted(key[0])} are no events without `above` in home.yaml")
        elif value is not None:
            word = "on" if value == 1 else "off" if value == 0 else None
        else:
            word = STATES.get(state.casefold())
            if word is None and key[0].partition(".")[0] in ("person", "device_tracker") and is_hass_id(key[0]):
                word = "out"  # the name of another zone, "Work"
        if word is None:
            return Meant(None, f"state {quoted(state)} is not understood: say what it means in home.yaml, states")
        if word == "ignore":
            return Meant(None, f"state {quoted(state)}: home.yaml ignores it")
        return Meant(_WORDS.get(entry.says, {}).get(word, word))


class Change(NamedTuple):
    """What a sensor did."""

    key: SensorKey
    word: Word


def words_of(changes: Iterable[Change]) -> dict[SensorKey, set[Word]]:
    """All words that each sensor says."""
    words: dict[SensorKey, set[Word]] = {}
    for change in changes:
        words.setdefault(change.key, set()).add(change.word)
    return words


def repeats(changes: Iterable[Change], words: Mapping[SensorKey, Collection[Word]], states: States) -> Iterator[bool]:
    """For each change, whether it only says again what its sensor said last, and is no event.

    Where home.yaml keeps repeats, only those of thresholds count as such: a number that stays above is no event. A
    sensor that says one word only (a button, a motion sensor without an end) has events, not states.

    Args:
        changes: in the order of time.
        words: as :func:`words_of` counts them.
        states: gives the home file.
    """
    last: dict[SensorKey, Word] = {}
    drop = states.home.repeats == "drop"
    for key, word in changes:
        has_states = len(words[key]) > 1 or is_hass_id(key[0])
        is_state = states.entry(key).above is not None or (drop and has_states)
        yield is_state and last.get(key) == word
        last[key] = word


def mostly_repeats(changes: Sequence[Change]) -> bool:
    """Whether sensors with two states mostly say again what they said: a log of readings, not of changes."""
    words, last = words_of(changes), dict[SensorKey, Word]()
    n, n_again = 0, 0
    for change in changes:
        if len(words[change.key]) > 1:
            n += 1
            n_again += last.get(change.key) == change.word
            last[change.key] = change.word
    return n_again > n / 2
