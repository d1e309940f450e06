"""The grammar of made-up homes: what stands in a home, how its sensors and activities are called. Simulates nobody.

Words come from ``params/grammar.yaml``. Each list of wordings is parted once and for all: most are for homes to learn
from, a few are kept for validation homes, and a thing's rare words for odd homes, so that no test is passed by a word
that was learnt. Activity names of recorded homes (``params/recorded_activities.yaml``) are left out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any, Literal

from llmhar import paths
from llmhar.settings import read_yaml

Words = Literal["train", "validation", "odd"]
"""Which wordings a home is drawn from."""
ON_OFF, OPEN_CLOSE = ("turned ON", "turned OFF"), ("OPENED", "CLOSED")
SUFFIXES = {
    "contact": ("contact sensor", "contact", "magnetic", "reed switch"),
    "motion": ("motion sensor", "motion", "mov", "PIR"),
    "pressure": ("pressure mat", "pressure", "pressure sensor", "occupancy"),
    "power": ("wattmeter", "power", "plug", "power meter"),
    "flush": ("float sensor", "sensor", "valve", "float"),
    "item": ("item sensor", "item", "tag", "shake sensor"),
    "light": ("light", "light switch", "lux", "dimmer"),
    "water": ("water flow", "water", "flow meter", "water sensor"),
}
"""What each kind of sensor is called where names say it; a home has one way (a column)."""
STYLES: dict[str, float] = {"room": 5, "kind": 3, "bare": 2, "place": 2, "entity": 1.5, "motion": 2.5}
"""How a home calls its sensors, and how often: "kitchen fridge"; "kitchen fridge contact sensor"; "Fridge" without a
room; "kitchen A fridge"; "binary_sensor.kitchen_fridge"; or nothing but a motion sensor a room and a door or two."""
LABEL_STYLES = ("plain", "plain", "plain", "sentence", "snake", "title snake", "title snake", "upper", "camel", "title")
OTHERWISE = 0.5
"""How often a word of a name is said otherwise in training homes."""
FEWEST, MOST = 4, 30
"""Activities in a home's list."""
SENSORS = (5, 41)
"""Range of their number in a home."""
DAILY = ("sleep", "toilet", "groom", "cook_breakfast", "eat_breakfast", "cook_dinner", "eat_dinner", "leave", "enter")
"""What people do in every home that can tell; the rest is left out where a list is to be short."""


@dataclass(frozen=True)
class MadeSensor:
    """One sensor of a made-up home."""

    thing: str
    """Key into the grammar's things; "motion" of a room, "passage" for a door between rooms."""
    place: str
    """Key into the grammar's rooms."""
    kind: str
    """Key into :data:`SUFFIXES`."""
    room: str
    """As the home calls it; may be empty."""
    name: str
    states: tuple[str, str]
    """What it reports at the start and at the end of a use."""
    plain: str = ""
    """What a person would call it, whatever the home's style."""


@dataclass(frozen=True)
class MadeHome:
    """A home, before anybody lives in it."""

    name: str
    rooms: Mapping[str, str]
    """Key into the grammar's rooms -> what it is called here."""
    sensors: tuple[MadeSensor, ...]
    labels: Mapping[int, str]
    """Number -> activity, from 0."""
    meaning: Mapping[str, int]
    """Concept of the grammar -> label; concepts that are not done here are absent."""
    n_residents: int
    quick: bool
    """Whether its motion sensors are of a make that turns off after a second or two."""


@lru_cache(maxsize=1)
def grammar() -> dict[str, Any]:
    """``params/grammar.yaml``."""
    read: dict[str, Any] = read_yaml(paths.params() / "grammar.yaml")
    return read


def bare_name(name: str) -> str:
    """A name of an activity without case, blanks, underscores and marks: "Leave_Home", "leaveHome" -> "leavehome"."""
    return re.sub(r"[\W_]+", "", name).casefold()


@lru_cache(maxsize=1)
def recorded_names() -> frozenset[str]:
    """Names that recorded homes use, bare."""
    lists = read_yaml(paths.params() / "recorded_activities.yaml")
    return frozenset(bare_name(name) for names in lists.values() for name in names)


def wordings(entry: Mapping[str, Any], words: Words) -> list[str]:
    """The wordings of a room, thing, activity or merge that homes of one part may use."""
    if words == "odd" and "odd" in entry:
        return list(entry["odd"])
    names = list(entry["names"])
    kept = set(random.Random("kept for validation: " + names[0]).sample(names, max(1, len(names) // 5)))
    chosen = [name for name in names if (name in kept) == (words != "train")]
    return chosen or names


def make_home(seed: str, words: Words = "train", *, recorded: bool = False) -> MadeHome:
    """Draw a home.

    Args:
        seed: the same seed gives the same home.
        words: which wordings it is drawn from.
        recorded: whether activities may be called as recorded homes call them: for a student that is to be used, not
            tested on these homes.
    """
    for attempt in count():
        rng = random.Random(f"{seed}:{words}:{recorded}:{attempt}")
        style = rng.choices(list(STYLES), list(STYLES.values()))[0]
        rooms = _rooms(rng, words, style)
        sensors = _distinct(_sensors(rng, rooms, words, style))
        seen = {sensor.thing for sensor in sensors}
        known = [(name, what) for name, what in grammar()["activities"].items() if "variant_of" not in what]
        possible = [name for name, what in known if _can_be_seen(what, seen, rooms, sensors)]
        labels, meaning = _labels(rng, possible, words, recorded)
        if len(sensors) in range(*SENSORS) and len(labels) >= FEWEST:
            break
    n_residents = rng.choices((1, 2, 3, 4), (5, 3, 1, 1))[0]
    return MadeHome(f"made-{seed}", rooms, tuple(sensors), labels, meaning, n_residents, rng.random() < 0.5)


def _rooms(rng: random.Random, words: Words, style: str) -> dict[str, str]:
    capital = style == "bare" or rng.random() < 0.1
    rooms = {}
    for place, entry in grammar()["rooms"].items():
        if rng.random() < entry.get("share", 1.0):
            name = rng.choice(wordings(entry, words))
            rooms[place] = name[0].upper() + name[1:] if capital else name
    if rng.random() < 0.3:  # several bedrooms are told apart
        rooms["bedroom"] += rng.choice((" 1", "_1", " A"))
    return rooms


def _sensors(rng: random.Random, rooms: Mapping[str, str], words: Words, style: str) -> Iterator[MadeSensor]:
    tables, column = grammar(), rng.randrange(4)
    switches = rng.random() < 0.25  # contacts that report ON and OFF
    contacts = style != "motion" and rng.random() < 0.2  # nothing else in the house but cupboards, doors and the flush
    motion = 1.0 if style == "motion" else 0.0 if contacts else rng.choice((0.0, 0.0, 0.3, 0.8))
    passages = rng.choice((0.5, 0.9)) if contacts else rng.choice((0.0, 0.0, 0.3, 0.7))
    at_hall = rng.random() < 0.4  # doors are told by the room that they lead out of
    dense = rng.choice((0.5, 0.8, 1.2))
    motion_name = rng.choice(("motion", "motion sensor", "motion sensor", "presence", "area motion"))
    for place, room in rooms.items():
        if rng.random() < motion:
            name = motion_name if style != "kind" else "area"
            yield _named(rng, MadeSensor("motion", place, "motion", room, name, ON_OFF), style, column)
        if place not in ("hall", "garden") and rng.random() < passages:
            kind = "contact" if contacts else rng.choice(("contact", "contact", "motion"))
            hall = rooms.get("hall", rooms["living"])
            name = rng.choice(("door", f"{room} door", f"{hall}-{room} door", f"{hall} {room} door"))
            shown, name = (hall, f"{room} door") if at_hall and room != hall else (room, name)
            states = OPEN_CLOSE if kind == "contact" and not switches else ON_OFF
            yield _named(rng, MadeSensor("passage", place, kind, shown, name, states), style, column, room)
    for thing, entry in tables["things"].items():
        share = entry["share"] * dense
        if style == "motion":
            share = {"door": 0.9, "fridge": 0.15, "bed": 0.2, "armchair": 0.2, "pills": 0.15, "lamp": 0.3}.get(thing, 0)
        for place in [place for place in entry["in"] if place in rooms][:1]:
            if rng.random() < share:
                kind = rng.choice(entry["kinds"])
                if contacts and kind not in ("contact", "flush"):
                    if "contact" not in entry["kinds"]:
                        continue
                    kind = "contact"
                states = OPEN_CLOSE if kind == "contact" and not switches else ON_OFF
                name = rng.choice(wordings(entry, words))
                yield _named(rng, MadeSensor(thing, place, kind, rooms[place], name, states), style, column)


def _named(rng: random.Random, sensor: MadeSensor, style: str, column: int, leads_to: str = "") -> MadeSensor:
    """The sensor as its home's style calls it; of a door, the room behind it."""
    room, name, suffix = sensor.room, sensor.name, SUFFIXES[sensor.kind][column]
    if style == "kind" and suffix.split()[0] not in name:
        name = f"{name} {suffix}"
    elif style == "bare":
        room, name = "", (name if sensor.thing != "motion" else f"{room} {name}")
        name = f"{room or sensor.room} door" if name == "door" else name
        name = name[0].upper() + name[1:]
    elif style == "place":
        name = f"{rng.choice('ABC')} {name}"
    elif style == "entity":
        domain = "switch" if sensor.kind in ("power", "light") else "binary_sensor"
        whole = re.sub(r"\W+", "_", f"{room} {name}".lower()).strip("_")
        room, name = "", f"{domain}.{whole}" + (f"_{suffix.split()[-1].lower()}" if rng.random() < 0.5 else "")
    place = (leads_to or sensor.room).replace("_", " ").lower()
    plain = {"motion": f"motion in the {place}", "passage": f"door of the {place}"}.get(sensor.thing, sensor.name)
    return MadeSensor(sensor.thing, sensor.place, sensor.kind, room, name, sensor.states, plain)


def _distinct(sensors: Iterator[MadeSensor]) -> list[MadeSensor]:
    """Sensors without those that would be called like one before."""
    return list({(sensor.room, sensor.name): sensor for sensor in sensors}.values())


def _can_be_seen(what: Mapping[str, Any], things: set[str], rooms: Mapping[str, str], sensors: Sequence[Any]) -> bool:
    """Whether any sensor would tell of an activity: a thing that tells it, or motion where it is done."""
    telling = {name[1:] for name in what["uses"] if name.startswith("*")}
    place = next((place for place in what["in"] if place in rooms), None)
    watched = {sensor.place for sensor in sensors if sensor.thing in ("motion", "passage")}
    return bool(telling & things) or (place in watched and (not telling or len(what["in"]) < 3))


def _labels(
    rng: random.Random, possible: Sequence[str], words: Words, recorded: bool
) -> tuple[dict[int, str], dict[str, int]]:
    """Label set of a home that can tell these concepts, some merged, some left out; and what they mean."""
    tables = grammar()
    wanted = rng.randint(FEWEST + 1, MOST - 1)  # and one for all others
    groups: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [
        ((concept,), tables["activities"][concept]) for concept in possible
    ]
    zeal = rng.choice((0.05, 0.1, 0.35, 0.8))
    for merge in rng.sample(list(tables["merges"].values()), len(tables["merges"])):
        inside = [group for group in groups if len(group[0]) == 1 and set(group[0]) <= set(merge["of"])]
        if len(inside) > 1 and (rng.random() < merge.get("zeal", zeal) or len(groups) > wanted + 8):
            merged = tuple(concept for concepts, _ in inside for concept in concepts)
            groups = [group for group in groups if group not in inside] + [(merged, merge)]
    optional = [group for group in groups if not set(group[0]) & set(DAILY)]
    rng.shuffle(optional)
    while len(groups) > wanted and optional and len(groups) > FEWEST:
        groups.remove(optional.pop())
    variants = [(name, what) for name, what in tables["activities"].items() if "variant_of" in what]
    apart = {what["variant_of"] for _, what in variants if rng.random() < 0.1}
    for base in sorted(apart):  # some homes tell the morning's pills from the evening's
        if any(concepts == (base,) for concepts, _ in groups) and len(groups) < MOST - 4:
            groups += [((name,), what) for name, what in variants if what["variant_of"] == base]
    rng.shuffle(groups)
    style, form = rng.choice(LABEL_STYLES), rng.randrange(2)
    labels: dict[int, str] = {}
    meaning: dict[str, int] = {}
    taken: set[str] = set() if recorded else set(recorded_names())
    taken |= kept_names() if words == "train" else set()
    with_others = rng.random() < 0.3
    for concepts, entry in groups:
        names = [in_form(name, form) for name in wordings(entry, words)]
        if words == "train":
            names = [said_otherwise(rng, name) for name in names]
        if name := free_name(rng, names, taken, style, form):
            meaning |= dict.fromkeys(concepts, len(labels))
            labels[len(labels)] = name
    meaning = {name: meaning[what["variant_of"]] for name, what in variants if what["variant_of"] in meaning} | meaning
    if with_others and (name := free_name(rng, tables["others"], taken, style, form)):
        meaning = dict.fromkeys([*tables["activities"], "others"], len(labels)) | meaning
        labels[len(labels)] = name
    return labels, meaning


@lru_cache(maxsize=1)
def kept_names() -> frozenset[str]:
    """Names that validation and odd homes use, bare: no training home says otherwise what would be one of them."""
    tables = grammar()
    entries = [*tables["activities"].values(), *tables["merges"].values()]
    names = [name for entry in entries for name in wordings(entry, "validation")]
    return frozenset(bare_name(in_form(name, form)) for name in names for form in (0, 1))


def said_otherwise(rng: random.Random, name: str) -> str:
    """A name with other words of the grammar's for some of its own, and words around it: to be read, not remembered."""
    tables = grammar()
    synonyms = tables["synonyms"]
    words = [rng.choice(synonyms[w]) if w in synonyms and rng.random() < OTHERWISE else w for w in name.split()]
    return " ".join(" ".join([rng.choice(tables["around"]), *words, rng.choice(tables["after"])]).split())


def in_form(name: str, form: int) -> str:
    """A wording in one of its forms, "take/taking a nap": 0, the base, or 1, the gerund."""
    return re.sub(r"([\w-]+)/([\w-]+)", lambda found: found[1 + form], name)


def free_name(rng: random.Random, names: Sequence[str], taken: set[str], style: str, form: int) -> str:
    """One of the names that nothing else is called by, and which is then taken; empty if there is none.

    Args:
        rng: of the draw.
        names: wordings.
        taken: bare names of what is called already.
        style: of :data:`LABEL_STYLES`.
        form: of verbs, as :func:`in_form` has it.
    """
    for name in rng.sample(list(names), len(names)):
        styled = _styled(in_form(name, form), style)
        if bare_name(styled) not in taken:
            taken.add(bare_name(styled))
            return styled
    return ""


def _styled(name: str, style: str) -> str:
    words = re.sub(r"[^\w\s'-]", "", name).replace("'s", "s").split()
    match style:
        case "sentence":
            return name[0].upper() + name[1:]
        case "snake":
            return "_".join(words).lower()
        case "title snake":
            return "_".join(word[0].upper() + word[1:] for word in words)
        case "upper":
            return "_".join(words).upper()
        case "camel":
            return "".join(word[0].upper() + word[1:] for word in words)
        case "title":
            return " ".join(word[0].upper() + word[1:] for word in words)
    return name
