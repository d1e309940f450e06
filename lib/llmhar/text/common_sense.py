"""What the rules engine knows about homes: plain tables, no code.

Words of an event point to *concepts* (things that people do), concepts point to names in whatever label list a prompt
offers. Weights say how plausible a concept is: 1 is the usual reading, 0.3 a reading that needs support from events
nearby. They were written down from everyday life and from what prompts say of a home's habits, then adjusted by hand,
each for a reason that a person would give, with an eye on the scores of the simulated home's training sessions, never
of test sessions. Three of them, ``HOURS``, ``LINKS`` and ``TOUR``, are habits that fit that home's schedule: with them
the rules are better there and worse in real homes than without (``rules-plain``).
"""

from __future__ import annotations

from collections.abc import Mapping

Votes = Mapping[str, float]

ROOMS = r"kitchen|dining|living|bed ?room(?: \d+)?|bathroom|entrance|hall\w*|main ?door|office|medicine"
"""Words that name a place; events of one place support one another most."""

SURE, FAIR, VAGUE = 1.0, 0.5, 0.2
"""How much an event of this kind says to its neighbours: appliances a lot, cabinets some, motion and doors little."""

_KITCHEN = {
    "cook": 0.7,
    "food": 0.6,
    "make_drink": 0.5,
    "clear_table": 0.4,
    "wash_dishes": 0.3,
    "tableware": 0.3,
    "clean": 0.2,
}
_CABINET = {"cook": 0.8, "food": 0.7, "tableware": 0.7, "cold_meal": 0.6, "make_drink": 0.4, "clear_table": 0.3}
_TABLE = {
    "eat": 1,
    "chat": 0.7,
    "rest": 0.4,
    "board": 0.15,
    "drink": 0.3,
    "snack": 0.25,
    "clear_table": 0.3,
    "clean": 0.2,
}
_COUCH = {"rest": 1, "tv": 0.8, "games": 0.3, "read": 0.3, "drink": 0.15, "snack": 0.15, "clean": 0.2}

CUES: tuple[tuple[str, float, Votes], ...] = (
    # Things that give the activity away, whatever room they stand in.
    (r"(phone).*\banswer|\banswer", FAIR, {"answer_call": 1}),
    (r"\bphone|\bcall\b|charger", FAIR, {"make_call": 1}),
    (r"(?:medicines?|pills?)\b(?: cabinet| drawer| box)?", SURE, {"medicine": 1}),
    (r"microwave", SURE, {"cook": 1, "food": 0.8, "make_drink": 0.3}),
    (r"stove|cook ?top|range hood|\bhood|\bhob\b|\boven|cooker|toaster|\b(?:pots?|pans?)\b(?: drawer)?", SURE,
     {"cook": 1}),
    (r"coffee (?:machine|maker)|espresso|kettle", SURE, {"make_drink": 1, "cook": 0.5, "drink": 0.3}),
    (r"cutlery(?: drawer)?|tableware|crockery|\b(?:plate|glass(?:es)?|cup|dish(?:es)?)s? (?:cabinet|cupboard|drawer)",
     FAIR, {"tableware": 1, "clear_table": 0.4, "cold_meal": 0.3, "cook": 0.2, "drink": 0.2}),
    (r"dish ?washer|dish rack", SURE, {"wash_dishes": 1}),
    (r"fridge|refrigerator|freezer", FAIR, {"food": 1, "cold_meal": 1, "cook": 0.45, "make_drink": 0.3, "snack": 0.3}),
    (r"pantry|\bfood\b|\bsnacks?\b", FAIR, {"snack": 1, "cold_meal": 1, "food": 0.8, "cook": 0.5}),
    (r"shower|bath ?tub", SURE, {"shower": 1, "groom": 0.1, "clean": 0.2}),
    (r"toilet(?! door)|\bflush|\bwc\b", SURE, {"toilet": 1}),
    (r"washing machine|laundry|\bdryer", SURE, {"laundry": 1, "clean": 0.1}),
    (r"vacuum|broom|\bmop\b|cleaning|\bbin\b", SURE, {"clean": 1}),
    (r"console|play ?station|xbox", SURE, {"games": 1}),
    (r"\btv\b|television", SURE, {"tv": 1, "games": 0.35}),
    (r"office chair|computer|\bpc\b|laptop|\bdesk|\bprinter", SURE, {"pc": 1, "clean": 0.2}),
    (r"\bbook\w*|reading", SURE, {"read": 1, "board": 0.3, "clean": 0.2}),
    (r"\bbed\b|mattress", SURE, {"sleep": 1, "bedroom": 0.7}),
    (r"kitchen.*?(sink|tap\b|faucet)", FAIR,
     {"wash_dishes": 1, "cook": 0.4, "clear_table": 0.1, "drink": 0.3, "clean": 0.2}),
    (r"basin|mirror|bathroom.*?(sink|tap\b|faucet|cabinet|cupboard)", FAIR,
     {"groom": 1, "toilet": 0.3, "shower": 0.3, "enter": 0.1, "clean": 0.2}),
    (r"couch|sofa|arm ?chair|\bseat", FAIR, _COUCH),
    (r"chair|stool|table\b", FAIR, _TABLE),
    (r"main ?door|front door|entrance|\bhall\w*", FAIR, {"leave": 1, "enter": 0.9}),
    (r"(?:bath|toilet).*?door", VAGUE, {"toilet": 1, "groom": 0.7, "shower": 0.6}),
    # Containers and rooms: only the company they keep tells what goes on.
    (r"(?:bed ?room.*?)?(wardrobe|closet|dresser)", FAIR, {"bedroom": 1, "sleep": 0.3}),
    (r"kitchen.*?(cabinet|cupboard|drawer)", FAIR, _CABINET),
    (r"dining.*?(cabinet|cupboard|drawer|buffet)", FAIR, {"tableware": 1, "clear_table": 0.5, "board": 0.3}),
    (r"living.*?(cabinet|cupboard|drawer|shelf)", FAIR, {"board": 0.8, "read": 0.7, "tableware": 0.6, "rest": 0.3}),
    (r"bed ?room", VAGUE, {"bedroom": 1, "sleep": 0.8, "pc": 0.3, "leave": 0.2, "clean": 0.2}),
    (r"bathroom", VAGUE, {"toilet": 1, "groom": 0.8, "shower": 0.6}),
    (r"cabinet|cupboard|drawer", FAIR, _CABINET),
    (r"kitchen", VAGUE, _KITCHEN),
    (r"dining room|dining", VAGUE, {**_TABLE, "tableware": 0.4, "clear_table": 0.4}),
    (r"living room|living", VAGUE, _COUCH),
    (r"office|study", VAGUE, {"pc": 1, "read": 0.4}),
)  # fmt: skip
"""(words of an event, what it says to neighbours, concepts); the first that matches counts.
The sentence names the pattern's group, or else all that matched."""

MEALS: Mapping[str, float] = {"breakfast": 8.0, "lunch": 14.0, "dinner": 20.0}
"""Middle of each meal's part of the day: the nearest that the labels offer is meant. So breakfast ends at 11, lunch at
17, and where no lunch is offered (MuRAL) noon belongs to the nearer of the two others."""

PARTS_OF_DAY = ((5, "at night"), (11, "in the morning"), (14, "around noon"), (17, "in the afternoon"),
                (22, "in the evening"), (24, "at night"))  # fmt: skip
"""(hour at which it ends, how the reasoning calls it)."""

LABELS: Mapping[str, tuple[str, ...]] = {
    "cook": (
        r"(?:prepar|cook|mak)\w* .*{meal}",
        r"\bcook",
        r"meal prep|prepar\w* (?:a )?(?:food|hot meal|meal)",
        r"^{meal}$",
    ),
    "cold_meal": (r"cold meal", r"^{meal}$"),
    "eat": (r"(?:having|eat|tak)\w* .*{meal}", r"^{meal}$", r"\beat(?:ing)?\b"),
    "food": (r"grab\w* (?:food|a bite)", r"snack"),
    "snack": (r"snack|fruit", r"\beat(?:ing)?\b"),
    "make_drink": (r"(?:prepar|mak|get)\w* (?:a |hot )?(?:drink|coffee|tea)", r"^drink"),
    "drink": (r"^drink",),
    "tableware": (r"tableware", r"\b(?:set|lay)\w*(?: up)?(?: the)? table"),
    "clear_table": (r"clear\w*(?: the)? table",),
    "wash_dishes": (r"\bdish",),
    "toilet": (r"toilet", r"bathroom"),
    "groom": (r"groom|personal (?:washing|hygiene|care)|wash\w* (?:hands|face)", r"bathroom"),
    "shower": (r"shower|\bbath(?:ing)?\b", r"groom|personal (?:washing|hygiene|care)", r"bathroom"),
    "sleep": (r"sleep|\bto bed\b",),
    "bedroom": (r"bedroom|\bdress", r"sleep"),
    "tv": (r"\btv\b|television",),
    "games": (r"video ?game|gaming|console",),
    "board": (r"board ?game|puzzle|\bcards\b",),
    "rest": (r"\brest(?:ing)?\b|couch|sofa|relax", r"spare time|leisure"),
    "read": (r"\bread",),
    "pc": (r"\bpc\b|computer|laptop", r"\bwork(?:ing)?\b"),
    "answer_call": (r"answer", r"phone|\bcall\b"),
    "make_call": (r"phone call|\bcall\b", r"phone"),
    "medicine": (r"medic|\bpill",),
    "chat": (r"chat|convers|\btalk", r"^social"),
    "clean": (r"clean|housekeep|tidy",),
    "laundry": (r"laundry|clothes",),
    "leave": (r"\bleav\w*|\b(?:get|go)\w* out\b",),
    "enter": (r"\benter(?:ing)?\b|\bcom(?:e|ing) (?:in|back|home)|arriv|return",),
    "others": (r"^others?\b|^unknown|^none$",),
}
"""Names that mean a concept, best first, matched on lower-case words; {meal} stands for each of MEALS."""

WORDS: Mapping[str, str] = {
    "cook": "cooking", "cold_meal": "a cold meal", "eat": "eating", "food": "fetching food", "snack": "a snack",
    "make_drink": "making drinks", "drink": "drinking", "tableware": "fetching tableware", "clear_table": "clearing up",
    "wash_dishes": "dishwashing", "toilet": "toilet use", "groom": "washing", "shower": "showering", "chat": "chatting",
    "sleep": "sleeping", "bedroom": "bedroom time", "tv": "watching", "games": "gaming", "board": "playing together",
    "rest": "resting", "read": "reading", "pc": "computer use", "answer_call": "a call", "make_call": "phone use",
    "medicine": "medication", "clean": "cleaning", "laundry": "laundry", "leave": "leaving", "enter": "arriving",
}  # fmt: skip
"""How the reasoning calls a concept."""

_MEAL_TIMES = ((6.5, 10.5), (11.5, 14.5), (18.0, 21.5))
_TABLE_TIMES = ((6.5, 9.5), (11.5, 14.0), (18.0, 21.0))

HOURS: Mapping[str, tuple[tuple[tuple[float, float], ...], float, float]] = {
    "cook": (_MEAL_TIMES, 1.3, 0.6),
    "cold_meal": (_MEAL_TIMES, 1.3, 0.6),
    "eat": (_TABLE_TIMES, 1.2, 0.4),
    "tableware": (_MEAL_TIMES, 1.1, 0.8),
    "clear_table": (_MEAL_TIMES, 1.2, 0.5),
    "board": (_MEAL_TIMES, 0.6, 1.3),
    "food": (_MEAL_TIMES, 0.8, 1.2),
    "snack": (_MEAL_TIMES, 0.7, 1.2),
    "make_drink": (((6.0, 10.5),), 0.4, 1.0),
    "leave": (((6.5, 11.0), (13.0, 15.0)), 1.3, 0.9),
    "enter": (((11.5, 13.0), (16.0, 21.0)), 1.3, 0.9),
    "groom": (((6.0, 10.0), (21.0, 24.0)), 1.3, 0.9),
    "shower": (((6.0, 9.5), (20.0, 23.5)), 1.2, 0.9),
    "sleep": (((0.0, 10.0), (21.0, 24.0)), 1.5, 0.6),
    "tv": (((18.0, 24.0),), 1.1, 0.9),
    "clean": (((13.5, 18.0),), 1.0, 0.2),
}
"""Concept -> (its hours, weight within them, weight outside)."""

LINKS: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    # Around a meal the table is laid, people eat, clear up and wash up.
    "cook": {"eat": (60, 0, 0.3)},
    "wash_dishes": {"clear_table": (60, 60, 3)},
    "eat": {"tableware": (0, 60, 2.4), "cook": (0, 60, 0.6), "clear_table": (60, 20, 1.5), "wash_dishes": (60, 0, 2)},
    # At the table between meals: what was fetched before sitting down, else talk.
    "make_drink": {"drink": (180, 30, 2)},
    "food": {"snack": (60, 0, 1.6)},
    "chat": {"board": (120, 120, 3)},
    # On the couch: what is on, or the shelf that was just used, which may hold games.
    "tv": {"tv": (120, 120, 1)},
    "games": {"games": (120, 120, 4)},
    "read": {"read": (120, 30, 1.5), "board": (600, 120, 5)},
    # One after the other: hands after toilet or way home, a bedroom's door before its desk or the way out.
    "toilet": {"toilet": (20, 0, 1)},
    "shower": {"shower": (30, 30, 1)},
    "pc": {"pc": (30, 60, 1)},
    "bedroom": {"leave": (60, 0, 2.5)},
    "groom": {"enter": (0, 60, 3)},
    "": {"leave": (30, 0, 0.4), "enter": (0, 30, 0.4)},
    "leave": {"leave": (0, 12, 5), "enter": (15, 0, 8)},
    "enter": {"leave": (0, 12, 5), "enter": (15, 0, 8)},
}
"""What a neighbour shows ("": anything) -> what this event then is -> (seconds after which that counts half if the
neighbour came earlier, if it came later; 0: not at all), how much it counts."""

TOUR = (3, 2.5)
"""Cleaning goes from room to room: (rooms that make a tour, how much a tour says)."""

NEAR_S = 60.0
"""Seconds after which a neighbour says half as much."""
OTHER_ROOM = 0.25
"""What a neighbour in another room says, for homes where several residents interleave."""
TRUST = 4.0
"""How strongly neighbours move a reading: full support multiplies its weight by 1 + TRUST."""
