"""What the simulated home holds and what people do there, as tables. Knows no files and no clock.

Sensor types and the naming rule are MuRAL's (arXiv 2504.20505, as described by its users); which room holds which of
the 23 sensors, how long things take and how likely they are is invented here. Nothing outside
``llmhar.data.simulated`` may read these tables: an engine that did would know the answers.
"""

from __future__ import annotations

from typing import NamedTuple

MOTION, CONTACT, METER = "PIR motion sensor", "magnetic contact sensor", "wattmeter"


_CHAIR = "dining chair"
WORDING = {
    MOTION: ("turned ON", "turned OFF", "moved at the {}", "left the {} or kept still"),
    CONTACT: ("OPENED", "CLOSED", "opened the {}", "closed the {}"),
    METER: ("turned ON", "turned OFF", "had the {} running", "saw the {} stop or idle"),
    _CHAIR: ("OPENED", "CLOSED", "drew {} back", "pushed {} to the table"),
}
"""How a sensor reports start and end, and what an observer notes (past tense fits one person and several)."""


class Sensor(NamedTuple):
    """One sensor; its full name is made of room, thing and kind."""

    room: str
    thing: str
    kind: str
    shortest: float  # seconds from its start event to its end event, at least
    longest: float

    @property
    def wording(self) -> tuple[str, str, str, str]:
        """Its line of ``WORDING``: a chair's contact opens when the chair is drawn back."""
        return WORDING[_CHAIR if self.thing.startswith("chair") else self.kind]

    @property
    def name(self) -> str:
        """As in sensors.json."""
        suffix = {METER: " wattmeter", MOTION: " motion sensor"}.get(self.kind, " contact sensor")
        return f"{self.room} {self.thing}" + (" sensor" if self.thing == "door" else suffix)

    @property
    def location(self) -> str:
        """As in sensors.json: doors are places of their own."""
        return f"{self.room} door" if self.thing == "door" else self.room


SENSORS: dict[str, Sensor] = {
    "hood": Sensor("kitchen", "range hood", METER, 60, 240),
    "stove": Sensor("kitchen", "induction stove", METER, 15, 60),
    "coffee": Sensor("kitchen", "coffee machine", METER, 15, 50),
    "microwave": Sensor("kitchen", "microwave oven", METER, 30, 100),
    "kettle": Sensor("kitchen", "kettle", METER, 50, 130),
    "tv": Sensor("living room", "TV", METER, 40, 120),
    "console": Sensor("living room", "game console", METER, 40, 110),
    "counter": Sensor("kitchen", "counter", MOTION, 6, 20),
    "sink": Sensor("kitchen", "sink", MOTION, 6, 20),
    "couch": Sensor("living room", "couch", MOTION, 8, 25),
    "washbasin": Sensor("bathroom", "washbasin", MOTION, 6, 20),
    "shower": Sensor("bathroom", "shower", MOTION, 10, 40),
    "desk": Sensor("bedroom_2", "desk", MOTION, 8, 30),
    "main": Sensor("main", "door", CONTACT, 2, 9),
    "bedroom_1": Sensor("bedroom_1", "door", CONTACT, 2, 9),
    "bedroom_2": Sensor("bedroom_2", "door", CONTACT, 2, 9),
    "fridge": Sensor("kitchen", "fridge", CONTACT, 3, 12),
    "food": Sensor("kitchen", "food cabinet", CONTACT, 3, 12),
    "tableware": Sensor("kitchen", "tableware cabinet", CONTACT, 3, 12),
    "bookshelf": Sensor("living room", "bookshelf cabinet", CONTACT, 4, 15),
    "toilet": Sensor("bathroom", "toilet", CONTACT, 40, 140),
    "chair_1": Sensor("dining room", "chair_1", CONTACT, 8, 40),
    "chair_2": Sensor("dining room", "chair_2", CONTACT, 8, 40),
}

ACTIVITIES: tuple[str, ...] = (
    # Place in this list = id. 19 and 25 stand where S1's prompt has them; spelling is MuRAL's own, misspellings too.
    "others", "bedroom personal activity", "using bathroom", "preparing breakfast", "grabing food or drinks",
    "resting on the couch or the chairs", "having breakfast", "washing dishes", "watching TV", "reading books",
    "drinking water, coffee or drinks", "cleaning appartment", "taking shower", "playing video games",
    "getting out of the apartment", "coming into the apartment", "chatting/using the cell-phone",
    "having fruits or snacks", "using pc", "preparing dinner", "having dinner", "playing board games or puzzles",
    "preparing drinks", "clearing table", "grabing tableware", "personal washing",
    "preparing and having lunch",  # ours: MuRAL's 26th name is not known, and the other 25 have nobody eat at noon
)  # fmt: skip


class Script(NamedTuple):
    """How one activity touches sensors: ``opening`` in order, ``body`` at random for some minutes, ``closing``.

    Sensor names are keys of ``SENSORS``, or "door" (of one's own bedroom) or "chair" (the one taken this time).
    """

    room: str
    purpose: str  # ends the observer's sentence
    minutes: tuple[float, float]
    """Length of the body, shortest and longest."""
    gap: tuple[float, float]
    """Seconds between one use and the next."""
    body: dict[str, float]  # sensor -> relative weight
    opening: tuple[tuple[str, float], ...] = ()
    """(sensor, probability)."""
    closing: tuple[tuple[str, float], ...] = ()
    cycles: tuple[tuple[str, float, float], ...] = ()
    """(meter, probability, seconds off between two runs): goes by itself while the body lasts."""
    resource: str = ""
    """Only one episode at a time may hold it."""
    shared: float = 0.0
    """Probability that whoever is free joins in."""


_EAT = {"chair": 5.0, "counter": 0.3, "fridge": 0.15}
_ANYTHING = {key: 1.0 for key in ("couch", "counter", "bookshelf", "chair", "food", "door", "washbasin", "sink")}
_ROUND = dict.fromkeys(("couch", "counter", "sink", "washbasin", "bedroom_1", "bedroom_2", "chair"), 1.0)
_ROUND |= {"bookshelf": 0.5, "desk": 0.6, "shower": 0.4}

SCRIPTS: dict[str, Script] = {
    "others": Script("living room", "while looking for something", (0.4, 1.2), (4, 15), _ANYTHING),
    "bedroom personal activity": Script(
        "bedroom", "while busy in the bedroom", (1, 4), (20, 60), {"door": 1.0}, (("door", 1.0),), (("door", 0.9),)
    ),
    "using bathroom": Script(
        "bathroom", "while using the bathroom", (0.1, 0.4), (5, 15), {"washbasin": 2.0, "toilet": 1.0},
        (("toilet", 1.0),), (("washbasin", 0.5),), resource="bathroom",
    ),
    "preparing breakfast": Script(
        "kitchen", "while preparing breakfast", (6, 10), (4, 16),
        {"counter": 4, "fridge": 2.5, "food": 2, "microwave": 1, "kettle": 0.7, "stove": 0.7},
        (("counter", 0.8), ("fridge", 0.8)), cycles=(("coffee", 0.9, 25),), resource="stove",
    ),
    "grabing food or drinks": Script(
        "kitchen", "while fetching food or a drink", (0.5, 1.2), (4, 12), {"fridge": 3, "counter": 1, "food": 0.5},
        (("fridge", 0.9),),
    ),
    "resting on the couch or the chairs": Script(
        "living room", "while resting", (3, 7), (12, 45), {"couch": 6, "chair": 0.6}, (("couch", 1.0),), shared=0.2
    ),
    "having breakfast": Script("dining room", "while having breakfast", (7, 11), (4, 14), _EAT | {"coffee": 0.5}),
    "washing dishes": Script(
        "kitchen", "while washing dishes", (3, 6), (4, 15), {"sink": 5, "counter": 0.8, "tableware": 0.5},
        (("sink", 0.9),), resource="sink",
    ),
    "watching TV": Script(
        "living room", "while watching TV", (6, 12), (25, 70), {"couch": 1}, (("couch", 0.6),),
        cycles=(("tv", 1.0, 8),), resource="screen", shared=0.5,
    ),
    "reading books": Script(
        "living room", "while reading", (4, 8), (20, 60), {"couch": 2, "bookshelf": 1.6}, (("bookshelf", 1.0),),
        (("bookshelf", 0.8),),
    ),
    "drinking water, coffee or drinks": Script(
        "dining room", "while drinking", (1, 3), (6, 25), {"chair": 3, "counter": 0.4, "coffee": 0.8, "fridge": 0.1},
        (("chair", 0.9),), shared=0.4,
    ),
    "cleaning appartment": Script("living room", "while cleaning", (3, 6), (1, 4), _ROUND),
    "taking shower": Script(
        "bathroom", "while taking a shower", (3, 7), (5, 20), {"shower": 5, "washbasin": 0.8}, (("shower", 0.9),),
        (("washbasin", 0.5),), resource="bathroom",
    ),
    "playing video games": Script(
        "living room", "while playing video games", (6, 12), (25, 70), {"couch": 1}, (("couch", 0.4),),
        cycles=(("console", 1.0, 8), ("tv", 0.35, 12)), resource="screen", shared=0.5,
    ),
    "getting out of the apartment": Script(
        "main door", "while going out", (0, 0), (2, 8), {"main": 1}, (("door", 0.8), ("main", 1.0)), (("main", 0.35),)
    ),
    "coming into the apartment": Script(
        "main door", "while coming home", (0, 0), (2, 8), {"main": 1}, (("main", 1.0),), (("main", 0.35),)
    ),
    "chatting/using the cell-phone": Script(
        "dining room", "while talking", (3, 6), (8, 30), {"chair": 3, "couch": 1.0, "counter": 0.15}, shared=0.6
    ),
    "having fruits or snacks": Script(
        "kitchen", "while having a snack", (1, 3), (5, 25), {"food": 2.5, "fridge": 0.4, "couch": 0.8, "chair": 0.5},
        (("food", 0.9),),
    ),
    "using pc": Script(
        "bedroom_2", "while using the pc", (4, 9), (10, 35), {"desk": 1}, (("bedroom_2", 0.9),),
        (("bedroom_2", 0.8),), resource="desk",
    ),
    "preparing dinner": Script(
        "kitchen", "while preparing dinner", (13, 18), (6, 22),
        {"counter": 4, "fridge": 2, "food": 2, "sink": 0.8, "microwave": 0.6}, (("fridge", 0.7), ("counter", 0.8)),
        cycles=(("stove", 1.0, 25), ("hood", 0.8, 30)), resource="stove",
    ),
    "having dinner": Script("dining room", "while having dinner", (9, 13), (4, 14), _EAT),
    "playing board games or puzzles": Script(
        "dining room", "while at a board game", (6, 10), (5, 20), {"chair": 4, "bookshelf": 1.3}, (("bookshelf", 1.0),),
        (("bookshelf", 0.8),), resource="table", shared=0.9,
    ),
    "preparing drinks": Script(
        "kitchen", "while making a drink", (0.8, 2), (6, 18), {"counter": 1.5, "kettle": 2, "coffee": 2, "fridge": 0.4},
        (("kettle", 0.6), ("coffee", 0.5)), resource="kettle",
    ),
    "clearing table": Script(
        "dining room", "while clearing the table", (1, 2.2), (3, 9),
        {"chair_1": 1.5, "chair_2": 1.5, "counter": 1.0, "fridge": 0.5, "sink": 1.5},
    ),
    "grabing tableware": Script(
        "kitchen", "while fetching plates and glasses", (0.5, 1.2), (3, 9), {"tableware": 4, "counter": 0.6},
        (("tableware", 1.0),),
    ),
    "personal washing": Script(
        "bathroom", "while washing or brushing teeth", (1, 3), (5, 18), {"washbasin": 5}, (("washbasin", 1.0),),
        resource="bathroom",
    ),
    "preparing and having lunch": Script(
        "kitchen", "while making or having lunch", (8, 12), (4, 15),
        {"microwave": 1.5, "stove": 0.8, "chair": 4, "counter": 1.2, "fridge": 0.8, "food": 0.6},
        (("fridge", 0.8), ("microwave", 0.8)),
    ),
}  # fmt: skip

FOLLOWS: dict[str, tuple[str, float]] = {
    "preparing drinks": ("drinking water, coffee or drinks", 0.85),
    "coming into the apartment": ("personal washing", 0.75),
}
"""Activity -> (what the same person does next, probability)."""

PASSING: dict[str, tuple[tuple[str, float], ...]] = {
    "kitchen": (("counter", 0.2),), "living room": (("couch", 0.2),), "bathroom": (("couch", 0.15),),
    "dining room": (("couch", 0.1), ("counter", 0.1)), "main door": (("couch", 0.15), ("counter", 0.1)),
}  # fmt: skip
"""Room walked to -> motion sensors that may see the passer-by (bedrooms: their doors are in the scripts)."""


class Program(NamedTuple):
    """What a part of the day holds: appointments, and a pool of activities with weights for the time between.

    An appointment is (minute from the start, activity, who): "first", "second" or "last" of the residents, "each", or
    "all" together. Whoever comes in is out until then.
    """

    appointments: tuple[tuple[float, str, str], ...]
    pool: dict[str, float]


_LEISURE = {"watching TV": 2.0, "playing video games": 1.5, "reading books": 2.0, "chatting/using the cell-phone": 0.9}
_LEISURE |= {"resting on the couch or the chairs": 1.2, "using pc": 1.5, "having fruits or snacks": 1.5}
_LEISURE |= {"grabing food or drinks": 1.6, "preparing drinks": 2.0, "using bathroom": 2.5}
_LEISURE |= {"bedroom personal activity": 1.2, "others": 0.8}
_MORNING = {"using bathroom": 3.0, "personal washing": 2.5, "taking shower": 2.0, "bedroom personal activity": 2.0}
_MORNING |= {"using pc": 1.0, "reading books": 0.8, "chatting/using the cell-phone": 0.4, "others": 0.8}
_MORNING |= {"resting on the couch or the chairs": 0.7, "watching TV": 0.5, "grabing food or drinks": 0.5}
OUT, IN = "getting out of the apartment", "coming into the apartment"
PROGRAMS: dict[str, Program] = {
    "breakfast": Program(
        ((0, "bedroom personal activity", "each"), (6, "preparing breakfast", "first"),
         (14, "grabing tableware", "second"), (17, "having breakfast", "all"), (29, "clearing table", "second"),
         (31, "washing dishes", "first"), (45, OUT, "last"), (52, OUT, "second")), _MORNING,
    ),
    "midday": Program(
        ((5, IN, "last"), (10, "grabing tableware", "second"), (11, "preparing and having lunch", "each"),
         (26, "clearing table", "second"), (28, "washing dishes", "first"), (50, OUT, "last")), _LEISURE,
    ),
    "afternoon": Program(
        ((2, "cleaning appartment", "first"), (8, OUT, "last"), (24, "playing board games or puzzles", "second"),
         (33, "cleaning appartment", "last"), (45, "taking shower", "first")), _LEISURE,
    ),
    "dinner": Program(
        ((2, "preparing dinner", "first"), (4, IN, "last"), (20, "grabing tableware", "second"),
         (24, "having dinner", "all"), (37, "clearing table", "second"), (39, "washing dishes", "first")),
        _LEISURE | {"personal washing": 0.7, "taking shower": 0.7},
    ),
    "evening": Program(
        ((0, "having dinner", "all"), (9, "clearing table", "second"), (11, "washing dishes", "first"),
         (15, IN, "last"), (25, "playing board games or puzzles", "second"), (48, "personal washing", "each")),
        _LEISURE | {"taking shower": 1.2, "personal washing": 1.0},
    ),
    "night": Program(
        ((6, IN, "last"), (38, "personal washing", "each"), (50, "bedroom personal activity", "each")),
        _LEISURE | {"taking shower": 1.5, "personal washing": 1.5, "using bathroom": 3.0},
    ),
}  # fmt: skip


class Plan(NamedTuple):
    """The frame of one session; which people do what is drawn."""

    start: str
    day: str
    residents: int
    program: str


SESSIONS: tuple[Plan, ...] = (
    Plan("07:22:00", "weekday", 3, "breakfast"), Plan("12:05:00", "weekend", 2, "midday"),
    Plan("18:35:00", "weekday", 3, "dinner"), Plan("20:25:00", "weekday", 4, "evening"),
    Plan("08:40:00", "weekend", 4, "breakfast"), Plan("15:10:00", "weekend", 3, "afternoon"),
    Plan("23:20:00", "weekday", 2, "night"), Plan("18:50:00", "weekend", 2, "dinner"),
    Plan("06:50:00", "weekday", 2, "breakfast"), Plan("12:20:00", "weekday", 3, "midday"),
    Plan("20:35:00", "weekend", 3, "evening"), Plan("16:05:00", "weekday", 2, "afternoon"),
    Plan("22:30:00", "weekend", 4, "night"), Plan("18:25:00", "weekday", 4, "dinner"),
    Plan("08:05:00", "weekend", 3, "breakfast"),
    # S1 tests on sessions 16 to 21: one of each kind
    Plan("07:05:00", "weekday", 3, "breakfast"), Plan("12:10:00", "weekend", 4, "midday"),
    Plan("15:40:00", "weekday", 3, "afternoon"), Plan("18:45:00", "weekday", 2, "dinner"),
    Plan("20:20:00", "weekend", 4, "evening"), Plan("23:25:00", "weekend", 3, "night"),
)  # fmt: skip
