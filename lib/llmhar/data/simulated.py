"""A simulated home that writes MuRAL's own files: for demos and tests where the real recordings may not be shared.

A small discrete-event simulation. Whoever is free first takes the next appointment of the day's program or draws an
activity from its pool, walks there, and touches sensors as the activity's script says. The uses of all residents are
then laid over each other per sensor, as real sensors do (a motion sensor that is on cannot turn on again), and
some events are missed or doubled. All numbers are invented; file formats are MuRAL's (arXiv 2504.20505).
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from llmhar.data import simulated_tables as tables
from llmhar.data.mural import MARK
from llmhar.data.simulated_tables import ACTIVITIES, IN, METER, MOTION, OUT, SCRIPTS, SENSORS, SESSIONS

COLUMNS = ("uid", "time", "sensor", "action", "Subject", "Description", "activity")
SENSOR_KEYS = ("sensor name", "sensor type", "sensor location")
N_TRAIN = 15  # S1 §4.3.1: the first sessions train
LENGTH = 3600  # seconds recorded per session (MuRAL: over 21 h in 21 sessions)
SIZE = (330, 470)  # sensor events of a session, fewest and most (MuRAL: 407 on average)
PACE = {2: 0.75, 3: 1.3, 4: 1.75}  # residents -> factor on pauses, so that SIZE is met however many live there
MISSED, DOUBLED = 0.012, 0.012  # share of events that a sensor misses, or reports again a second later
NOTED = 0.15  # share of episodes with a note of the observer that no sensor saw (MuRAL: 92 in all)


class Row(NamedTuple):
    """One line of data.csv (a note has no sensor), with its second of the session and the number of its episode."""

    second: int
    sensor: str
    action: str
    who: tuple[str, ...]
    description: str
    activity: str
    episode: int


class _Use(NamedTuple):
    """A sensor kept busy by somebody, from second to second of the session."""

    start: float
    end: float
    sensor: str
    who: tuple[str, ...]
    activity: str
    episode: int


def csv_name(name: str) -> str:
    """sensors.json's name -> data.csv's: MuRAL drops a trailing " sensor" and shortens two words."""
    return name.removesuffix(" sensor").replace("microwave oven", "microwave").replace("motion", "mov")


class _Household:
    """One session while it is played. ``free`` says from which second each resident has nothing to do."""

    def __init__(self, plan: tables.Plan, rng: random.Random) -> None:
        self.rng, self.program, self.pace = rng, tables.PROGRAMS[plan.program], PACE[plan.residents]
        self.names = "ABCD"[: plan.residents]
        self.order = rng.sample(self.names, len(self.names))
        self.free = {name: rng.uniform(0, 90) for name in self.names}
        self.room = dict.fromkeys(self.names, "bedroom")
        self.busy: dict[str, float] = defaultdict(float)
        self.done: dict[str, Counter[str]] = {name: Counter() for name in self.names}
        self.uses: list[_Use] = []
        self.notes: list[Row] = []
        self.episode = 0
        self.diary = {name: self._appointments(name) for name in self.names}

    def _appointments(self, name: str) -> list[tuple[float, str, bool]]:
        """This resident's part of the program: (second, activity, whether all do it together)."""
        roles = {"first": self.order[0], "second": self.order[1], "last": self.order[-1], "each": name, "all": name}
        mine = []
        for minute, activity, who in self.program.appointments:
            if roles[who] == name:
                late = self.rng.uniform(0, {"each": 300, "all": 0}.get(who, 60))
                mine.append((minute * 60 + late, activity, who == "all"))
        mine.sort()
        arrival = next((place for place, entry in enumerate(mine) if entry[1] == IN), None)
        if arrival is None:
            return mine
        self.free[name] = mine[arrival][0]  # still out when the recording begins
        return mine[arrival:]

    def play(self) -> tuple[list[_Use], list[Row]]:
        """Run until everybody's next free second lies beyond the recording; returns uses of sensors and notes."""
        while min(self.free.values()) < LENGTH:
            name = min(self.free, key=lambda n: self.free[n])
            now, diary = self.free[name], self.diary[name]
            if diary and diary[0][0] <= now + 60:
                self._do(name, now, 1200, *diary.pop(0)[1:])
            else:
                room_left = (diary[0][0] if diary else LENGTH) - now
                self._do(name, now, room_left, self._choose(name, now, room_left), False)
        return self.uses, self.notes

    def _choose(self, name: str, now: float, room_left: float) -> str:
        """Draw from the pool what fits before the next appointment and needs nothing that is taken."""
        weights = []
        for activity, weight in self.program.pool.items():
            script = SCRIPTS[activity]
            fits = script.minutes[0] * 60 < max(room_left, 61) and self.busy[script.resource] <= now
            weights.append(weight * 0.3 ** self.done[name][activity] if fits else 1e-9)
        return self.rng.choices(list(self.program.pool), weights)[0]

    def _do(self, name: str, now: float, room_left: float, activity: str, together: bool) -> None:
        """Gather who takes part, wait for what is taken, do it, and plan what comes of it."""
        script, members = SCRIPTS[activity], [name]
        if together:
            members += [n for n in self.names if any(a == activity for _, a, _ in self.diary[n])]
            for member in members:
                self.diary[member] = [entry for entry in self.diary[member] if entry[1] != activity]
        elif self.rng.random() < script.shared:
            idle = [n for n in self.names if n != name and self.free[n] < now + 180]
            members += [n for n in idle if all(at > now + 540 for at, _, _ in self.diary[n])][:2]
        start = max(self.busy[script.resource], *(self.free[n] for n in members), now)
        end = self._play_script(activity, sorted(members), start, room_left)
        follows, probability = tables.FOLLOWS.get(activity, ("", 0.0))
        if activity == OUT:
            self.free[name] = end + (self.rng.uniform(600, 1200) if self.diary[name] else LENGTH)
            self.diary[name].insert(0, (self.free[name], IN, False))
        elif self.rng.random() < probability:
            self.diary[name].insert(0, (end, follows, False))

    def _play_script(self, activity: str, members: Sequence[str], start: float, room_left: float) -> float:
        """Let ``members`` do ``activity`` once, side by side; returns when all are done."""
        script = SCRIPTS[activity]
        self.episode += 1
        start = max(self._walk(name, activity, start) for name in members)
        stop = start + min(self.rng.uniform(*script.minutes) * 60, max(room_left, 45))
        end = max(self._touch_all(activity, name, members, start, stop) for name in members)
        for meter, probability, pause in script.cycles:
            if self.rng.random() < probability:
                self._cycle(meter, activity, members, start, stop, pause)
        self.busy[script.resource or activity] = end
        for name in members:
            self.free[name] = end + self.rng.uniform(4, 25) * self.pace
            self.done[name][activity] += 1
        if self.rng.random() < NOTED:
            text = f"{' and '.join(members)} touched no sensor for a moment {script.purpose}."
            self.notes.append(Row(int((start + end) / 2), "", "", tuple(members), text, activity, self.episode))
        return end

    def _walk(self, name: str, activity: str, start: float) -> float:
        """Go to the activity's room; motion sensors on the way may see the passer-by."""
        room = SCRIPTS[activity].room
        for sensor, probability in tables.PASSING.get(room, ()) if room != self.room[name] else ():
            if self.rng.random() < probability:
                self._use(sensor, activity, (name,), start)
                start += self.rng.uniform(2, 5)
        self.room[name] = room
        return start + self.rng.uniform(1, 5)

    def _touch_all(self, activity: str, name: str, members: Sequence[str], now: float, stop: float) -> float:
        """One member's uses. The first also opens and closes; some uses have the whole group as subject."""
        script, lead, draw = SCRIPTS[activity], name == members[0], self.rng.random
        own = {"door": "bedroom_1" if name in "AB" else "bedroom_2", "chair": self.rng.choice(("chair_1", "chair_2"))}
        opening = [sensor for sensor, probability in script.opening if lead and draw() < probability]
        closing = [sensor for sensor, probability in script.closing if lead and draw() < probability]
        while opening or now < stop or closing:
            due = opening or (closing if now >= stop else [])
            sensor = due.pop(0) if due else self.rng.choices(list(script.body), list(script.body.values()))[0]
            who = tuple(members) if draw() < 0.3 else (name,)
            now += self._use(own.get(sensor, sensor), activity, who, now)
            now += self.rng.uniform(*script.gap) * self.pace * len(members) ** 0.5
        return now

    def _use(self, sensor: str, activity: str, who: tuple[str, ...], start: float) -> float:
        """Book one use; returns for how long it keeps the person (appliances run by themselves)."""
        hold = self.rng.uniform(SENSORS[sensor].shortest, SENSORS[sensor].longest)
        self.uses.append(_Use(start, start + hold, sensor, who, activity, self.episode))
        return {METER: 2.0, MOTION: hold * 0.6}.get(SENSORS[sensor].kind, hold)

    def _cycle(self, meter: str, activity: str, who: Sequence[str], now: float, stop: float, pause: float) -> None:
        """An appliance in use draws power in runs (a stove heats in turns, a screen dims)."""
        now += self.rng.uniform(2, 20)
        while now < stop:
            run = self.rng.uniform(SENSORS[meter].shortest, SENSORS[meter].longest) * self.pace
            self.uses.append(_Use(now, min(now + run, stop + 5), meter, tuple(who), activity, self.episode))
            now += run + self.rng.uniform(0.5, 1.5) * pause


def _merge(uses: Sequence[_Use]) -> list[tuple[_Use, _Use]]:
    """Uses of one sensor -> (first, last to end) of each group that overlaps: one start and one end event."""
    groups: list[tuple[_Use, _Use]] = []
    for use in sorted(uses):
        if groups and use.start <= groups[-1][1].end + 1:
            groups[-1] = (groups[-1][0], max(groups[-1][1], use, key=lambda u: u.end))
        else:
            groups.append((use, use))
    return groups


def _row(use: _Use, *, starts: bool) -> Row:
    sensor = SENSORS[use.sensor]
    start_action, end_action, start_text, end_text = sensor.wording
    did = (start_text if starts else end_text).format(sensor.location if sensor.thing == "door" else sensor.thing)
    text = f"{' and '.join(use.who)} {did} {SCRIPTS[use.activity].purpose}."
    action, second = (start_action, use.start) if starts else (end_action, use.end)
    return Row(int(second), csv_name(sensor.name), action, use.who, text, use.activity, use.episode)


def _take(plan: tables.Plan, rng: random.Random) -> list[Row]:
    uses, rows = _Household(plan, rng).play()
    for sensor in SENSORS:
        for first, last in _merge([use for use in uses if use.sensor == sensor]):
            for row in (_row(first, starts=True), _row(last, starts=False)):
                copies = rng.choices((0, 1, 2), (MISSED, 1 - MISSED - DOUBLED, DOUBLED))[0]
                rows += [row._replace(second=row.second + copy) for copy in range(copies)]
    return sorted((row for row in rows if row.second < LENGTH), key=lambda row: row.second)


def plan_of(number: int, seed: int = 0) -> tables.Plan:
    """The plan of session ``number``, from 1. Beyond the 21: a training session's at another hour, other people."""
    if number <= len(SESSIONS):
        return SESSIONS[number - 1]
    rng = random.Random(f"llmhar simulated home, seed {seed}, plan {number}")
    like = SESSIONS[(number - len(SESSIONS) - 1) % N_TRAIN]
    begun = datetime.fromisoformat(f"2000-01-01T{like.start}") + timedelta(minutes=rng.randint(-20, 20))
    return like._replace(start=f"{begun:%H:%M}:00", residents=rng.choice((2, 3, 4)))


def simulate(number: int, seed: int = 0) -> list[Row]:
    """Play session ``number`` (from 1) until a take is as full and varied as asked; its rows in time order."""
    for take in range(200):
        rng = random.Random(f"llmhar simulated home, seed {seed}, session {number}, take {take}")
        rows = _take(plan_of(number, seed), rng)
        counts = Counter(row.activity for row in rows if row.sensor)
        if SIZE[0] <= counts.total() <= SIZE[1] and len(counts) >= 12 and max(counts.values()) <= counts.total() * 0.33:
            return rows
    raise RuntimeError(f"session {number}, seed {seed}: no acceptable take")  # the tables ask for the impossible


def _data_csv(number: int, seed: int) -> str:
    begun = datetime.fromisoformat(f"2000-01-01T{plan_of(number, seed).start}")  # no date in MuRAL's files
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for uid, row in enumerate(simulate(number, seed)):
        time, who = f"{begun + timedelta(seconds=row.second):%H:%M:%S}", ", ".join(row.who)
        writer.writerow((uid, time, row.sensor, row.action, who, row.description, ACTIVITIES.index(row.activity)))
    return text.getvalue()


def _files(seed: int, further: int) -> dict[str, str]:
    """Path in the data set -> content."""
    documents: dict[str, object] = {
        "activities.json": [{"id": number, "name": name} for number, name in enumerate(ACTIVITIES)],
        "sensors.json": [dict(zip(SENSOR_KEYS, (s.name, s.kind, s.location))) for s in SENSORS.values()],
    }
    files = {
        MARK: f"This data is simulated by llmhar (seed {seed}): nobody lived it, only the file formats are MuRAL's. "
        f"Activity names are those known from published uses of MuRAL, except '{ACTIVITIES[-1]}', which is ours.\n"
    }
    for number in range(1, len(SESSIONS) + further + 1):
        plan = plan_of(number, seed)
        documents[f"{number:02}/context.json"] = {
            "start time": plan.start,
            "day": plan.day,
            "resident number": plan.residents,
            "roles": {name: f"sleeps in bedroom_{1 if name in 'AB' else 2}" for name in "ABCD"[: plan.residents]},
            "scenario": f"Simulated: {plan.program} of {plan.residents} flatmates on a {plan.day}.",
        }
        files[f"{number:02}/data.csv"] = _data_csv(number, seed)
    return files | {name: json.dumps(content, indent=1) + "\n" for name, content in documents.items()}


def _holds(path: Path, files: dict[str, str]) -> bool:
    return all((path / name).is_file() and (path / name).read_bytes() == text.encode() for name, text in files.items())


def write(path: Path, seed: int = 0, further: int = 0) -> Path:
    """Write the simulated home in MuRAL's layout: 21 sessions and ``further`` ones, byte-identical for a seed.

    Written beside ``path`` and moved there in one step. A simulated home that is there is replaced, or left alone where
    it is the same, so that notebooks that start together do not disturb each other.

    Returns:
        ``path``.

    Raises:
        FileExistsError: ``path`` holds something that is not a simulated home.
    """
    if path.is_file() or (path.is_dir() and not (path / MARK).exists() and any(path.iterdir())):
        raise FileExistsError(f"{path} holds other data; choose an empty folder for the simulated home")
    files = _files(seed, further)
    if _holds(path, files):
        return path
    part, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("part", "old"))
    try:
        for name, text in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            (part / name).write_bytes(text.encode())
        if path.exists():
            os.replace(path, old)
        os.replace(part, path)
    except OSError:
        if old.exists() and not path.exists():
            os.replace(old, path)
        if not _holds(path, files):  # else another process was faster
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return path
