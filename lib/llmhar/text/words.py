"""Sensors and rooms by the words that people use for them, and the words that only name an activity.

A name is a run of words: the whole ("induction stove"), its telling end ("stove"), the word that the rules engine picks
out of it ("food" of "food cabinet"), each with or without its room and its number. Case, plural, underscores, joined or
split words ("wash basin") and common slips of the pen make no difference. Knows neither numbers nor times.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Literal, NamedTuple

from llmhar.text import common_sense

MAX_WORD, MAX_NAME = 40, 12
"""Longest word in characters, and longest name of a sensor in words; what is longer is no name or is cut."""


class Spoken(NamedTuple):
    """Words of a text that name a sensor or a room."""

    start: int
    """First character, in code points."""
    end: int
    events: tuple[int, ...]
    kind: Literal["sensor", "room"]


Care = Literal["", "part", "quoted"]


class _Name(NamedTuple):
    """One way to call a sensor or a room."""

    words: tuple[str, ...]
    ids: frozenset[int]
    kind: Literal["sensor", "room"]
    careful: Care = ""
    """"part": the last words of a longer name, not to be found inside another name ("medicine cabinet"); "quoted": a
    word that the rules engine picks out of the name ("the food" of "food cabinet")."""
    numbered: bool = False
    """Its sensors or rooms are told apart by a number that is left out here ("chair" of "chair_1")."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_TOKEN = re.compile(r"[^\W\d_\u2e80-\uffff]+|\d+|[\u2e80-\uffff]")  # scripts without blanks: a character is a word
_CLOSE = frozenset(" \t\n_-‐‑*/'’\"")
_SENSOR_KINDS = _set(
    "wattmeter contact mov motion movement sensor meter power plug magnetic pressure mat pir presence detector reed "
    "switch occupancy float dimmer socket"
)
_TOO_GENERAL = _set("machine room area part call make a an the item unit thing")
_SAME = (
    ("tv", "television"),
    ("fridge", "refrigerator"),
    ("couch", "sofa"),
    ("pc", "computer"),
    ("stove", "cooktop", "hob", "cooker"),
    ("cabinet", "cupboard"),
    ("main", "front", "entrance"),
)
_COMPOUNDS = _set("door chair table cabinet drawer light lamp window")
"""Words that often end another thing's name, so the word before them is looked at."""
_BEFORE = _set(
    "the a an this that these those its their his her my our and or of in on at by to with near from for is are was "
    "were be as no not any each every one two three both other another same then than but which when while where open "
    "only all some event events sensor use after before i e g so if also"
)
_AFTER = _set(
    "is are was were near in at on around among say says indicate suggest mean show and or then turn open close come "
    "go be to of which that so with before after again first last too right has had get stay start stop"
)
_DOING = _set("watching using taking playing cleaning clearing washing making preparing cooking having doing setting")
"""Before a thing without an article these make the name of an activity: "watching TV", but not "using the kettle"."""
_MOVING = (
    "opening|closing|turning|switching|entering|moving|during|being|going|walking|passing|starting|stopping|following|"
    "including|living|dining|morning|evening|something|nothing|spring|king|thing|string|sing|bring"
)
_GERUND = rf"(?!(?:{_MOVING})\b)[^\W\d_]{{2,30}}ing\b"
_FINITE = re.compile(r"(?i)\b(?:is|are|was|were|has|had|means?|turns?|turned|opens?|opened|closes?|closed|fits?)\b")
_CONCLUSION = re.compile(r"(?i)\bso[ \t]{1,3}([^.;:,\n(]{1,100})(?=([ \t]{0,2}\(\d|[.,]?[ \t]{0,3}$|\.[ \t])?)", re.M)
_GERUND_FIRST = re.compile(rf"(?i){_GERUND}")
_NO_LABEL_FIRST = re.compile(
    r"(?i)(?:the|this|that|these|those|it|they|he|she|i|we|an?|some\w*|there|if|both|events?)\b"
)
_ACTIVITY_NAMES = (
    re.compile(
        r"(?i)\b(?:activit(?:y|ies)|labels?)\b[^.\n;]{0,40}?(?:\b(?:is|are|be)|[:=→>])[ \t\"'*“]{0,4}"
        rf"{_GERUND}[^.;\n]{{0,200}}"
    ),
    re.compile(rf"(?i)[\"“`]{_GERUND}[^\"”`\n]{{0,80}}[\"”`]"),
    re.compile(rf"(?i)\({_GERUND}[^)\n]{{0,80}}\)"),
    re.compile(rf"(?i)(?:→|->|=>|⇒)[ \t*\"']{{0,4}}{_GERUND}[^.,;(\n]{{0,80}}"),
    re.compile(r"(?i)\"activity\"[ \t]{0,3}:[ \t]{0,3}\"[^\"\n]{0,80}\""),
)


class _Lexicon(NamedTuple):
    """What the things of a window may be called."""

    names: dict[str, list[_Name]]
    """By first word."""
    beginnings: frozenset[str]
    """First words, and what may be split off them ("wash" of "washbasin")."""
    spellings: dict[str, str]
    """Other words and slips of the pen -> the word that names have."""


class _Text:
    """A text as words and numbers, folded, with their places."""

    def __init__(self, text: str, lexicon: _Lexicon) -> None:
        self.text, self.names = text, lexicon.names
        self.words: list[str] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        spelt = lexicon.spellings.get
        for match in _TOKEN.finditer(text):
            word = _fold(match[0]) if match.end() - match.start() <= MAX_WORD else ""
            self.words.append(spelt(word, word))
            self.starts.append(match.start())
            self.ends.append(match.end())

    def close(self, i: int) -> bool:
        """Whether word ``i`` follows the one before it with nothing but a blank or a mark between them."""
        gap = self.text[self.ends[i - 1] : self.starts[i]]
        return gap == " " or (len(gap) <= 3 and _CLOSE.issuperset(gap) and gap.count("\n") < 2)

    def match(self, at: int) -> tuple[_Name, int] | None:
        """The longest name that begins at word ``at``, and the word after it."""
        words = self.words
        candidates = self.names.get(words[at], [])
        if at + 1 < len(words) and (split := self.names.get(words[at] + words[at + 1])) and self.close(at + 1):
            candidates = candidates + split  # "wash basin" for "washbasin"
        best: tuple[_Name, int] | None = None
        for name in candidates:
            end = self.walk(at, name.words)
            if end and (best is None or end > best[1]) and self.fits(at, end, name):
                best = name, end
        return best

    def walk(self, at: int, wanted: Sequence[str]) -> int:
        """The word after ``wanted``, which begin at word ``at``; 0 where they do not stand there."""
        words = self.words
        for k, word in enumerate(wanted):
            if at >= len(words) or (k and not self.close(at)):
                return 0
            if words[at] == word:
                at += 1
            elif at + 1 < len(words) and words[at] + words[at + 1] == word and self.close(at + 1):
                at += 2
            else:
                return 0
        return at

    def fits(self, at: int, end: int, name: _Name) -> bool:
        """Whether the words around a name leave it what it says."""
        joined = at > 0 and self.close(at)
        before = self.words[at - 1] if joined else ""
        if before in _DOING or (before.isalpha() and self.text[self.ends[at - 1] : self.starts[at]] == "_"):
            return False
        follows = self.words[end] if end < len(self.words) and self.close(end) else ""
        if name.numbered and follows.isdecimal() and "\n" not in self.text[self.ends[end - 1] : self.starts[end]]:
            return False  # "chair 3" where there are two
        if name.careful == "quoted":
            alone = not follows or follows in _AFTER or follows == "call"
            return alone and (before in ("the", "") or before.isdecimal())
        if name.careful == "part" or name.words[-1] in _COMPOUNDS:
            own = len(name.words) > 1 and not name.careful
            return own or not before or before in _BEFORE or before.isdecimal() or before.endswith(("ed", "ly", "ing"))
        return True

    def more_numbers(self, end: int, name: _Name) -> tuple[_Name, int]:
        """Take "and 2" of "chairs 1 and 2" into the name."""
        while name.words[-1].isdecimal() and end < len(self.words):
            number = end + (self.words[end] in ("and", "or"))
            if number >= len(self.words) or self.starts[number] - self.ends[end - 1] > 5:
                break
            words = (*name.words[:-1], self.words[number])
            other = next((numbered for numbered in self.names[words[0]] if numbered.words == words), None)
            if other is None:
                break
            name, end = name._replace(ids=name.ids | other.ids), number + 1
        return name, end

    def narrowed(self, end: int, ids: frozenset[int]) -> frozenset[int]:
        """Of a sensor's events those in the room that is named right after: "the door of bedroom_1"."""
        after = end
        while after < min(len(self.words), end + 2) and self.words[after] in ("of", "in", "the") and self.close(after):
            after += 1
        room = self.match(after) if end < after < len(self.words) else None
        return (room and room[0].kind == "room" and ids & room[0].ids) or ids


def find_names(text: str, places: tuple[tuple[str, str], ...]) -> Iterator[Spoken]:
    """Sensors and rooms that a text names as evidence, from left to right, none overlapping.

    Args:
        text: any; untrusted.
        places: room and sensor of each event of the window.
    """
    lexicon = _lexicon(places)
    zones: list[tuple[int, int]] | None = None
    for span in _named(_Text(text, lexicon), lexicon.beginnings):
        zones = _activity_names(text) if zones is None else zones
        before = bisect_right(zones, span.start, key=lambda zone: zone[0])
        if not before or zones[before - 1][1] <= span.start:
            yield span


def _named(text: _Text, beginnings: frozenset[str]) -> Iterator[Spoken]:
    """Sensors and rooms, from left to right."""
    end = 0
    for at, word in enumerate(text.words):
        if at < end or word not in beginnings or not (match := text.match(at)):
            continue
        name, end = match
        ids = name.ids
        if name.kind == "sensor":
            name, end = text.more_numbers(end, name)
            ids = text.narrowed(end, name.ids)
            while end < len(text.words) and text.words[end] in _SENSOR_KINDS and text.close(end):
                end += 1
        yield Spoken(text.starts[at], text.ends[end - 1], tuple(sorted(ids)), name.kind)


def _activity_names(text: str) -> list[tuple[int, int]]:
    """Spans that name an activity, in order, merged."""
    zones = [match.span() for pattern in _ACTIVITY_NAMES for match in pattern.finditer(text)]
    for match in _CONCLUSION.finditer(text):
        finite = _FINITE.search(match[1])
        if _GERUND_FIRST.match(match[1]):
            zones.append((match.start(), match.start(1) + finite.start() if finite else match.end(1)))
        elif match[2] is not None and not finite and not _NO_LABEL_FIRST.match(match[1]):
            zones.append(match.span(1))
    merged: list[tuple[int, int]] = []
    for start, end in sorted(zones):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


@lru_cache(maxsize=65536)
def _fold(word: str) -> str:
    """Lower case, singular: "chairs" and "chair", "couches" and "couch" are the same word."""
    word = word.lower()
    if len(word) > 4 and word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _split(text: str) -> tuple[str, ...]:
    """The first words of a name, folded; names are untrusted, so their length is bounded."""
    return tuple(_fold(m[0][:MAX_WORD]) for m in islice(_TOKEN.finditer(text), MAX_NAME))


@lru_cache(maxsize=256)
def _lexicon(places: tuple[tuple[str, str], ...]) -> _Lexicon:
    """Names of the (room, sensor) of a window's events."""
    ids: dict[tuple[str, str], list[int]] = {}
    for i, place in enumerate(places):
        ids.setdefault(place, []).append(i)
    made: dict[tuple[tuple[str, ...], str], _Name] = {}
    for (room, sensor), here in ids.items():
        for name in _all_names(room, sensor):
            old = made.get((name.words, name.kind))
            if old:  # of two sensors: as careful as the less careful one
                careful = name.careful and old.careful
                name = _Name(name.words, old.ids.union(here), name.kind, careful, old.numbered or name.numbered)
            else:
                name = _Name(name.words, frozenset(here), name.kind, name.careful, name.numbered)
            made[name.words, name.kind] = name
    names: dict[str, list[_Name]] = {}
    for name in sorted(made.values(), key=lambda name: (name.kind == "room", -len(name.words))):
        names.setdefault(name.words[0], []).append(name)
    beginnings = frozenset().union(*map(_beginnings, names))
    return _Lexicon(names, beginnings, _spellings({word for name in made.values() for word in name.words}))


@lru_cache(maxsize=4096)
def _all_names(room: str, sensor: str) -> tuple[_Name, ...]:
    """Names of one sensor and of its room, without ids."""
    none: frozenset[int] = frozenset()
    rooms = _room_names(room)
    names = [_Name(words, none, "room", "", numbered) for words, numbered in rooms]
    for words, careful, numbered in _sensor_names(room, sensor):
        names.append(_Name(words, none, "sensor", careful, numbered))
        for place, _ in rooms:
            if careful != "quoted" and words[: len(place)] != place:
                names.append(_Name((*place, *words), none, "sensor", "", numbered))
    joined = []
    for name in names:
        for i in range(len(name.words) - 1):
            if name.words[i].isalpha() and name.words[i + 1].isalpha():
                whole = name.words[i] + name.words[i + 1]
                joined.append(name._replace(words=(*name.words[:i], whole, *name.words[i + 2 :])))
    first = {(name.words, name.kind): name for name in reversed([*names, *joined])}
    return tuple(first.values())


@lru_cache(maxsize=65536)
def _beginnings(word: str) -> frozenset[str]:
    """A first word, and what may be split off it."""
    return frozenset({word} | ({word[:i] for i in range(2, len(word) - 1)} if word.isalpha() else set()))


def _room_names(room: str) -> list[tuple[tuple[str, ...], bool]]:
    words = _split(room)
    base = tuple(word for word in words if not word.isdecimal())
    return [(name, name != words) for name in dict.fromkeys((words, base)) if name]


def _sensor_names(room: str, sensor: str) -> tuple[tuple[tuple[str, ...], Care, bool], ...]:
    """Words, how carefully they are to be taken, and whether a number was left out, of each name of a sensor."""
    words = core = _split(sensor)
    while len(core) > 1 and core[-1] in _SENSOR_KINDS and any(word.isalpha() for word in core[:-1]):
        core = core[:-1]
    if core and core[-1] in _SENSOR_KINDS:  # "motion": only its room tells which
        return ()
    base = core
    while len(base) > 1 and base[-1].isdecimal():
        base = base[:-1]
    names: dict[tuple[str, ...], tuple[Care, bool]] = {words: ("", False), core: ("", False)}
    names.setdefault(base, ("", base != core))
    for i in range(1, len(base)):
        tail = base[i:]
        if tail[0] not in _TOO_GENERAL and tail[0] not in _BEFORE:
            names.setdefault((*tail, *core[len(base) :]), ("part", False))
            names.setdefault(tail, ("part", base != core))
    said = f"{room} {sensor}".replace("_", " ").lower()
    quote = next((m for cue, _, _ in common_sense.CUES if (m := re.search(cue, said))), None)
    if quote:
        quoted = _split(quote[1] if quote.re.groups and quote[1] else quote[0])
        if quoted and quoted != tuple(w for w in _split(room) if not w.isdecimal()) and quoted[0] not in _SENSOR_KINDS:
            names.setdefault(quoted, ("quoted", False))
    articles = {("a",), ("an",)}  # a sensor "A" is not in every text
    return tuple((words, *how) for words, how in names.items() if words and words not in articles)


def _spellings(words: set[str]) -> dict[str, str]:
    """Other words and common slips (a letter left out, doubled, or swapped with the next) -> the word meant."""
    meant: dict[str, str] = {}
    for group in _SAME:
        here = [word for word in group if word in words]
        if len(here) == 1:
            meant.update((word, here[0]) for word in group if word != here[0])
    for word in sorted(words, reverse=True):
        meant.update(_slips(word))
    return {slip: word for slip, word in meant.items() if slip not in words}


@lru_cache(maxsize=4096)
def _slips(word: str) -> dict[str, str]:
    """Slips of one word; its first letter stays, and the last but for a doubling.

    So "closet" does not become "close", nor "shower" "showed".
    """
    if len(word) <= 4 or not word.isalpha():
        return {}
    doubled = [word[: i + 1] + word[i:] for i in range(1, len(word))]
    dropped = [word[:i] + word[i + 1 :] for i in range(1, len(word) - 1) if len(word) > 5]
    swapped = [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in range(1, len(word) - 2)]
    return dict.fromkeys([*doubled, *dropped, *swapped], word)
