"""Very many made-up homes: people live a day in each, and their sensors tell of it. All of it is simulated.

Homes and words are drawn by :mod:`llmhar.data.grammar`. Each resident has a program of the day (getting up, meals,
work, leisure, bed) that leads from room to room; each activity uses things as the grammar says; motion sensors and
doors see people pass. Residents' events are laid over each other, some are missed, some come from nowhere. The truth of
an event is what the resident who caused it was doing. The same seed gives the same day, to the byte.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from llmhar import paths
from llmhar.data.days import kind_of_day
from llmhar.data.events import SensorEvent, Session
from llmhar.data.grammar import MadeHome, MadeSensor, Words, grammar, make_home
from llmhar.data.homes import Home
from llmhar.data.load_report import DataError, Loaded, LoadReport, RowNote
from llmhar.data.reader import Reader, finish
from llmhar.records import sha256_of

RECIPE = "homes.json"
"""The one file of a set of made-up homes."""
MISSED, SPURIOUS = 0.03, 0.01
"""Shares of events that a sensor misses, and that come from nowhere."""
QUICK = 0.15
"""Motion sensors of some makes are on for a second or two, and on again: times by this."""
LONG = {"pressure", "light", "power"}
"""Kinds that stay on for as long as the activity."""
_DAY = 24 * 60.0


class MadeEvent(NamedTuple):
    """One event with its truth, before the home has names for it."""

    second: float
    """Since midnight."""
    sensor: MadeSensor
    state: str
    resident: str
    concept: str
    """Key into the grammar's activities; "others" for events from nowhere."""


class Stay(NamedTuple):
    """What one resident does from minute to minute."""

    start: float
    end: float
    concept: str


@dataclass
class _Resident:
    name: str
    profile: str
    """"worker", "home" or "child"."""


@dataclass(frozen=True)
class Day:
    """A day of a made-up home, with what only its maker knows."""

    home: MadeHome
    made: tuple[MadeEvent, ...]
    """As many as the session has events, in the same order."""
    session: Session
    mostly: Mapping[tuple[str, str, int | None], str] = field(default_factory=dict)
    """Room, part of day and label -> the concept that is mostly meant; of days whose other events were left out."""


def make_day(seed: str, words: Words = "train", *, dataset: str = "simulated_homes", recorded: bool = False) -> Day:
    """One day of one made-up home.

    Args:
        seed: the same seed gives the same home and day.
        words: which wordings the home is drawn from.
        dataset: key into ``DATASETS`` that the session names.
        recorded: whether activities may be called as recorded homes call them.
    """
    home = make_home(seed, words, recorded=recorded)
    made, date = live(home, seed)
    midnight = datetime.fromisoformat(date)
    events = [
        SensorEvent(
            number,
            midnight + timedelta(milliseconds=round(event.second * 1000)),
            event.sensor.room,
            event.sensor.name,
            event.state,
            (event.resident,),
            home.meaning.get(event.concept),
        )
        for number, event in enumerate(made)
    ]
    session = Session(
        dataset=dataset,
        session_id=f"{words}-{seed}",
        home=home.name,
        activities=home.labels,
        events=tuple(events),
        day=kind_of_day(midnight),
        n_residents=home.n_residents,
        described=describe(home),
    )
    return Day(home, tuple(made), session)


def write(folder: Path, seed: str, words: Words, n: int) -> None:
    """Write down which homes a data set is made of; :func:`load` makes them.

    Args:
        folder: of the data set; is made.
        seed: the same seed gives the same homes.
        words: which wordings they are drawn from.
        n: homes.
    """
    made_of = {"seed": seed, "words": words, "homes": n, "grammar": sha256_of(grammar())}
    folder.mkdir(parents=True, exist_ok=True)
    paths.write_text(folder / RECIPE, json.dumps(made_of, indent=1))


def load(path: Path, *, dataset: str = "simulated_homes") -> Loaded:
    """A day in each home that :func:`write` wrote down; a session a home.

    Args:
        path: folder of the data set.
        dataset: key into ``DATASETS`` that the sessions name.

    Raises:
        DataError: no such file, or one that cannot be read; names it.
    """
    report = LoadReport(dataset, path)
    reader = Reader(report)
    made_of = reader.json(path / RECIPE)
    try:
        seed, words, n = str(made_of["seed"]), made_of["words"], int(made_of["homes"])
        sessions = [make_day(f"{seed}-{i}", words, dataset=dataset).session for i in range(n)]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path / RECIPE}: {error!r}; delete it, then it is written anew") from error
    if made_of.get("grammar") != sha256_of(grammar()):
        report.mended.append(RowNote(RECIPE, 0, "the grammar has changed since: other homes than were first drawn"))
    report.rows_read = sum(len(session.events) for session in sessions)
    return Loaded(finish(report, sessions), report)


def describe(home: MadeHome) -> Home:
    """The home as a prompt may describe it."""
    rooms: dict[str, list[str]] = {room: [] for room in home.rooms.values()}
    for sensor in home.sensors:
        rooms[home.rooms[sensor.place]].append(sensor.name)
    return Home(name=home.name, kind="simulated", rooms={room: tuple(things) for room, things in rooms.items()})


def live(home: MadeHome, seed: str) -> tuple[list[MadeEvent], str]:
    """A day in a home: events in time order, and the date (ISO)."""
    rng = random.Random(f"day:{seed}")
    date = (datetime(2024, 1, 1) + timedelta(days=rng.randrange(700))).date()
    weekend = kind_of_day(date) == "weekend"
    profiles = ["worker" if rng.random() < 0.4 else "home", *rng.choices(("worker", "home", "child"), k=3)]
    shared = rng.random() < 0.6  # residents who keep the same hours
    uses: list[MadeEvent] = []
    hours = _hours(rng, weekend)
    for number in range(home.n_residents):
        own = _hours(rng, weekend) if number and not shared else hours
        resident = _Resident(f"R{number + 1}", profiles[number])
        stays = list(_program(rng, home, resident, own, weekend))
        uses += _touches(rng, home, resident, stays)
    return _as_reported(rng, home, uses), date.isoformat()


def _hours(rng: random.Random, weekend: bool) -> dict[str, float]:
    """Fixed points of a day, in minutes since midnight."""
    shift = rng.gauss(0, 40) + (50 if weekend else 0)
    return {
        "up": 415 + shift + rng.gauss(0, 15),
        "noon": 740 + rng.gauss(0, 25),
        "home": 1020 + rng.gauss(0, 60),
        "evening": 1110 + shift / 2 + rng.gauss(0, 30),
        "bed": min(1370 + shift + rng.gauss(0, 30), 1425),
    }


def _program(
    rng: random.Random, home: MadeHome, resident: _Resident, hours: Mapping[str, float], weekend: bool
) -> Iterator[Stay]:
    """What a resident does all day; concepts that this home has no name for are passed over."""
    tables = grammar()
    clock = 0.0

    def do(concept: str, chance: float = 1.0) -> Iterator[Stay]:
        nonlocal clock
        known = concept in home.meaning or "others" in home.meaning
        if rng.random() < chance and known:
            low, high = tables["minutes"].get(concept, tables["minutes"]["default"])
            end = clock + rng.uniform(low, high)
            yield Stay(clock, end, concept)
            clock = end + rng.uniform(0, 3)

    def fill(until: float, pool: Mapping[str, float]) -> Iterator[Stay]:
        nonlocal clock
        weights = {name: weight for name, weight in pool.items() if name in home.meaning or name == "errand"}
        while clock < until - 5 and weights:
            concept = rng.choices(list(weights), list(weights.values()))[0]
            if concept == "errand":
                yield from out(clock + rng.uniform(20, 120))
            else:
                yield from do(concept)
            clock += rng.expovariate(1 / 6)

    def out(until: float) -> Iterator[Stay]:
        nonlocal clock
        yield from do("leave")
        clock = max(clock, until)
        yield from do("enter")

    while clock < hours["up"] - 30:  # the night, with its ways to the toilet
        end = min(hours["up"] - rng.uniform(0, 10), clock + rng.uniform(120, 420))
        if "sleep" in home.meaning:
            yield Stay(clock, end, "sleep")
        clock = end + 1
        if clock < hours["up"] - 40:
            yield from do("night_toilet", 0.6)
    clock = max(clock, hours["up"])
    for concept, chance in tables["morning"]:
        yield from do(concept, chance)
    if resident.profile != "home" and not weekend:
        yield from fill(clock + rng.uniform(0, 20), tables["day"])
        yield from out(hours["home"] - (90 if resident.profile == "child" else 0))
    else:
        yield from fill(hours["noon"], tables["day"])
        for concept, chance in tables["noon"]:
            yield from do(concept, chance)
    yield from fill(hours["evening"], tables["day"])
    for concept, chance in tables["dinner"]:
        yield from do(concept, chance)
    yield from fill(hours["bed"], tables["evening"])
    for concept, chance in tables["night"]:
        yield from do(concept, chance)
    if "sleep" in home.meaning and clock < _DAY - 5:
        yield Stay(clock, _DAY - 1, "sleep")


def _touches(rng: random.Random, home: MadeHome, resident: _Resident, stays: list[Stay]) -> Iterator[MadeEvent]:
    """Starts and ends of all uses of sensors by one resident."""
    place = ""
    for stay in stays:
        what = grammar()["activities"][stay.concept]
        here = next((room for room in what["in"] if room in home.rooms), "living")
        with_things = [name.lstrip("*") for name in what["uses"]]
        held = [sensor.place for sensor in home.sensors if sensor.thing in with_things and sensor.place in what["in"]]
        here = held[0] if held and here not in held and rng.random() < 0.7 else here
        start = stay.start * 60
        if place and here != place:
            yield from _pass(rng, home, resident, stay.concept, (place, here), start)
            start += rng.uniform(3, 12)
        place = here
        end = max(stay.end * 60, start + 20)
        yield from _motion(rng, home, resident, stay.concept, here, start, end)
        if what.get("roams"):
            for room in rng.sample(sorted(home.rooms), min(4, len(home.rooms))):
                at = rng.uniform(start, end)
                yield from _motion(rng, home, resident, stay.concept, room, at, min(at + 180, end))
        for name, (chance, most, when) in what["uses"].items():
            thing = name.lstrip("*")
            held_here = [sensor for sensor in home.sensors if sensor.thing == thing]
            near = [sensor for sensor in held_here if sensor.place == here] or held_here
            if near and rng.random() < chance:
                for _ in range(rng.randint(1, most)):
                    yield from _use(rng, resident, stay.concept, near[0], start, end, when)


def _use(
    rng: random.Random, resident: _Resident, concept: str, sensor: MadeSensor, start: float, end: float, when: str
) -> Iterator[MadeEvent]:
    """One use of a thing: it starts, and it ends."""
    span = end - start
    at = {"start": start + rng.uniform(0, min(40, span / 4)), "end": end - rng.uniform(0, min(40, span / 4))}.get(when)
    at = rng.uniform(start, end) if at is None else at
    if sensor.kind in LONG and rng.random() < 0.7:
        off = rng.uniform(at + 5, max(end, at + 6))
    else:
        off = at + rng.uniform(1, 6 if sensor.kind == "flush" else 25)
    yield MadeEvent(at, sensor, sensor.states[0], resident.name, concept)
    yield MadeEvent(off, sensor, sensor.states[1], resident.name, concept)


def _motion(
    rng: random.Random, home: MadeHome, resident: _Resident, concept: str, place: str, start: float, end: float
) -> Iterator[MadeEvent]:
    """What a room's motion sensor sees while somebody is there: much at first, then less of who keeps still."""
    sensor = next((sensor for sensor in home.sensors if sensor.thing == "motion" and sensor.place == place), None)
    still = concept in grammar()["still"]
    at = start + rng.uniform(0, 5)
    quick = QUICK if home.quick else 1.0
    while sensor and at < end:
        off = at + rng.uniform(1, 12 if still else 30) * quick
        yield MadeEvent(at, sensor, sensor.states[0], resident.name, concept)
        yield MadeEvent(off, sensor, sensor.states[1], resident.name, concept)
        at = off + rng.expovariate(1 / (900 if concept == "sleep" else 200 if still else 35 * quick))


def _pass(
    rng: random.Random, home: MadeHome, resident: _Resident, concept: str, way: tuple[str, str], at: float
) -> Iterator[MadeEvent]:
    """Doors and the hall between two rooms."""
    for place in (way[0], "hall", way[1]):
        for sensor in home.sensors:
            seen = sensor.place == place and (
                sensor.thing == "passage" or (sensor.thing == "motion" and place == "hall")
            )
            if seen and rng.random() < 0.8:
                yield MadeEvent(at, sensor, sensor.states[0], resident.name, concept)
                yield MadeEvent(at + rng.uniform(1, 8), sensor, sensor.states[1], resident.name, concept)
        at += rng.uniform(1, 3)


def _as_reported(rng: random.Random, home: MadeHome, uses: list[MadeEvent]) -> list[MadeEvent]:
    """Uses as sensors report them: what is on cannot turn on again; some events are missed, some come from nowhere."""
    for _ in range(round(len(uses) * SPURIOUS / 2)):
        sensor, at = rng.choice(home.sensors), rng.uniform(0, 86_390)
        uses += [
            MadeEvent(at, sensor, sensor.states[0], "", "others"),
            MadeEvent(at + 4, sensor, sensor.states[1], "", "others"),
        ]
    uses.sort(key=lambda event: (event.second, event.sensor.room, event.sensor.name, event.state))
    on: dict[MadeSensor, int] = {}
    reported: list[MadeEvent] = []
    for event in uses:
        if not 0 <= event.second < 86_400:
            continue
        starts = event.state == event.sensor.states[0]
        before = on.get(event.sensor, 0)
        on[event.sensor] = max(before + (1 if starts else -1), 0)
        changes = before == 0 if starts else before == 1
        if changes and rng.random() >= MISSED:
            reported.append(event)
    for i in range(1, len(reported)):  # nobody could tell what comes from nowhere from the event before it
        if reported[i].concept == "others":
            reported[i] = reported[i]._replace(concept=reported[i - 1].concept, resident=reported[i - 1].resident)
    return reported
