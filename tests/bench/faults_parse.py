"""Claims of "Faults", the parser: malformed answers by hand and by the thousand, and a megabyte of them.

The corpora, the hostile megabytes and the pieces that answers are generated from are those of the unit tests
(tests/text/test_parsing.py, tests/fusion/answerers/test_reading.py). Each check takes the readers that it checks, so
that tests/proof/test_faults.py can plant one that fails. ``python -m tests.bench.faults --only parse`` prints them.
"""

from __future__ import annotations

import gc
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmhar.data.events import SensorEvent
from llmhar.fusion.answerers.reading import Reading, read_closed, read_open
from llmhar.records import VERDICTS, Prediction
from llmhar.text.mentions import find_mentions
from llmhar.text.parsing import parse_answer
from tests.bench.verdicts import Claim, at_least, at_most, exactly
from tests.fusion.answerers import test_reading as clips
from tests.fusion.answerers.test_prompt import EGO4D
from tests.text import test_parsing as windows

CORPUS_SIZE, N_GENERATED, LIMIT_MS = 40, 10_000, 50.0
"""Figures: issue "Proof"."""
MENTIONS_S = 1.0
"""Figure of tests/text/test_mentions.py, for 300,000 characters of reasoning: a person waits for them on a screen."""
SHOWN = 5
"""Most faults that a claim quotes."""
UNITS = (
    *("{", "}", "[", "]", "{}", "[]", "[{", '"', "'", "\\", '\\"', ":", ",", "a", " ", "\n", "ü", "1", "-", "`"),
    *("<think>", "</think>", "<think></think>", "a</think>", "{'id':", '{"id":0,', '{"id":0,"activity":1}', "null,"),
    *("{'activity':", "{activity: '", '{"activity": "cooking"}', "activity ", '"activity"', "\ud800", "\x00", "1e9,"),
)
"""What a nasty megabyte repeats, beside the texts of the unit tests."""
BEGINNINGS = (
    *("", '[{"id":0,"activity":"', '[{"id":0,"activity":', '[{"id":1,"activity":2},{', "[{'id':0,'activity':'"),
    *('{"activity": "', "<think>", "```json\n["),
)
"""And what it repeats it behind: a string that is never closed, an open item, an open block."""

FAMILIES = (
    *(("<think>", "</think>"), ("<thinking>", "</thinking>"), ("<thoughts a='1'>", "</thoughts>")),
    *(("<seed:think>", "</seed:think>"), ("<reasoning>", "</reasoning>"), ("<Scratchpad >", "< / scratchpad>")),
    *(("[THINK]", "[/THINK]"), ("◁think▷", "◁/think▷"), ("<|begin_of_thought|>", "<|end_of_thought|>")),
    *(("<|start_think|>", "<|end_think|>"), ("<|think|>", "<|/think|>"), ("<|channel>thought", "<channel|>")),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|start|>assistant<|channel|>commentary to=x<|message|>", "<|end|>"),
)
"""Opening and closing marks of thinking, at least a pair for each family of ``llmhar.text.parsing.MARKS``."""
ONE_ITEM = (
    *('{"id": %d, "activity": "%s"}', '{"id": %d, "why": "the {fridge}", "activity": "%s"}'),
    *('{"id":%d,"activity":"%s",}', "{'id': %d, 'activity': '%s'}", '{"Id": %d, "Activity": "%s"}'),
    *('{"id": %d, "activity": %s}', '{"id": %d, "activity": "%s"} // sure', '｛"id"：%d，"activity"："%s"｝'),
)
LISTS = (
    "[%s]",
    "```json\n[%s]\n```",
    "Here: [%s].",
    "[%s",
    "%s",
    '{"answers": [%s]}',
    "**[%s]**",
    "[%s]\nSure? {maybe}",
)
EVENTS = (2, 3, 5, 10, 4)
"""Events of the windows whose answers are read for their verdicts, in turn: five, so that each family has each."""
PLACES = (
    *("{o}{a}{c}{b}", "{o}so{c}\n{b}", "so {c}{b}", "{b}{o}was it? {a}{c}", "{b}{c}", "{o}{a}", "{b}{o}{a}", "{b}"),
    *("{o}so{c}{b}{o}so{c}", "{o}{o}so{c}{b}{c}"),
)
"""Where an answer stands (b), and what the thinking drafts (a)."""

Read = Callable[[str, int, str], Sequence[Prediction]]


class Reader(NamedTuple):
    """A reader of model text, as the checks call it: (text, number of events, finish reason) -> verdicts."""

    name: str
    read: Read
    is_one: bool = False
    """Whether it reads the answer to one clip: one verdict, however many events are asked for."""


def _clip(reading: Reading) -> list[Prediction]:
    """A clip's reading in the form of a window's: the label as its place among the offered ones."""
    label = EGO4D.index(reading.label) if reading.label in EGO4D else 0 if reading.label else None
    return [Prediction(0, reading.verdict, label)]


READERS = (
    Reader("flexible", lambda text, n, why: parse_answer(text, n, windows.LABELS, finish_reason=why).predictions),
    Reader("strict", lambda t, n, why: parse_answer(t, n, windows.LABELS, strict=True, finish_reason=why).predictions),
    Reader("clip, closed", lambda text, _, why: _clip(read_closed(text, EGO4D, why)), is_one=True),
    Reader("clip, open", lambda text, _, why: _clip(read_open(text, why)), is_one=True),
)
_EVENTS = tuple(
    SensorEvent(i, datetime(2000, 1, 3, 7, 28, 5 + i), room, sensor, "turned ON")
    for i, (room, sensor) in enumerate([("kitchen", "fridge"), ("living room", "chair_1"), ("bedroom_1", "door")])
)


@dataclass
class Tally:
    """What was read and what went wrong."""

    texts: int = 0
    readings: int = 0
    raised: list[str] = field(default_factory=list)
    """Reader, exception, and the text's beginning."""
    miscounted: list[str] = field(default_factory=list)
    """Where an event has no verdict, two, or an unknown one."""

    def note(self, reader: Reader, text: str, n: int, reason: str) -> None:
        """Read one text and enter what came of it."""
        self.readings += 1
        try:
            made = reader.read(text, n, reason)
        except Exception as error:  # any at all is the fault that is looked for
            self.raised.append(f"{reader.name}: {type(error).__name__} on {text[:40]!r}")
            return
        wanted = list(range(1 if reader.is_one else n))
        if [one.event for one in made] != wanted or any(one.verdict not in VERDICTS for one in made):
            self.miscounted.append(f"{reader.name}: {len(made)} verdicts for {len(wanted)} events on {text[:40]!r}")


def corpus() -> list[tuple[str, int, str]]:
    """(text, events, finish reason) of all answers written by hand, each with and without a token limit."""
    texts = [text for text, *_ in (*windows.CORPUS.values(), *clips.CORPUS.values())]
    return [(text, 3, reason) for text in dict.fromkeys(texts) for reason in ("", "stop", "length")]


def read_texts(texts: Iterable[tuple[str, int, str]], readers: Sequence[Reader]) -> Tally:
    """Put every text to every reader."""
    tally = Tally()
    for text, n, reason in texts:
        tally.texts += 1
        for reader in readers:
            tally.note(reader, text, n, reason)
    return tally


@st.composite
def _edited(draw: st.DrawFn) -> str:
    """A readable answer with up to six pieces put in, taken out or written over."""
    text, _ = draw(windows.answers())
    pieces = st.sampled_from((*windows.FRAGMENTS, '{"activity": "cooking"}', "\u202e"))
    for kind, place, piece in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300), pieces), max_size=6)):
        place %= len(text) + 1
        text = text[:place] + ("" if kind == 0 else piece) + text[place + (kind != 1) * len(piece) :]
    return text[: draw(st.integers(0, len(text)))] if draw(st.booleans()) else text


GENERATED = st.tuples(
    st.one_of(st.text(max_size=80), st.lists(st.sampled_from(windows.FRAGMENTS), max_size=30).map("".join),
              clips.PIECES, st.lists(clips.PIECES, max_size=25).map("".join), _edited(), _edited()),
    st.integers(0, 5), st.sampled_from(["", "stop", "length"]),
)  # fmt: skip


def read_generated(n: int, readers: Sequence[Reader]) -> Tally:
    """Put ``n`` generated answers, always the same ones, to every reader."""
    tally = Tally()

    @settings(max_examples=n, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(GENERATED)
    def read(case: tuple[str, int, str]) -> None:
        tally.texts += 1
        for reader in readers:
            tally.note(reader, *case)

    read()
    return tally


def in_families(n: int, events: Sequence[int] = (1,), seed: int = 0) -> Iterator[tuple[str, int, str]]:
    """``n`` answers in all families of thinking marks, always the same ones.

    Args:
        n: answers.
        events: of their windows, in turn.
        seed: of the draw.

    Yields:
        The text, the number of events, and a finish reason.
    """
    dice = Random(seed)

    def one(n_events: int) -> str:
        items = [dice.choice(ONE_ITEM) % (event, dice.choice(EGO4D)) for event in range(n_events)]
        return dice.choice(LISTS) % ", ".join(items)

    for number in range(n):
        opening, closing = FAMILIES[number % len(FAMILIES)]
        place, k = PLACES[number // len(FAMILIES) % len(PLACES)], events[number % len(events)]
        text = place.format(o=opening, c=closing, a=one(k), b=one(k)) + (f"\n{one(k)}" if dice.random() < 0.1 else "")
        yield text, k, dice.choice(("", "stop", "length"))


Label = Callable[[str, str], str | None]
"""(text, finish reason) -> the label that a reader finds."""


def home_label(text: str, reason: str) -> str | None:
    """What the reader of homes' answers finds for one event; "two" where it finds two different labels."""
    said = parse_answer(text, 1, dict(enumerate(EGO4D)), finish_reason=reason).predictions[0]
    return "two" if said.verdict == "duplicate" else None if said.label is None else EGO4D[said.label]


def clip_label(text: str, reason: str) -> str | None:
    """What the reader of clips' answers finds."""
    return read_closed(text, EGO4D, reason).label


def family_claims(
    n: int, home: Label = home_label, clip: Label = clip_label, readers: Sequence[Reader] = READERS
) -> list[Claim]:
    """One label for one text by both readers; of two labels in one list homes take none, clips the last. And one
    verdict an event, of windows of :data:`EVENTS` events.

    Args:
        n: generated answers to windows of one event, and so many to windows of several.
        home: reader of homes' answers.
        clip: reader of clips' answers.
        readers: that give the verdicts.
    """
    tally = read_texts(in_families(n, EVENTS), readers)
    texts, read, differ = 0, 0, list[str]()
    for text, _, reason in in_families(n):
        texts += 1
        by_home, by_clip = home(text, reason), clip(text, reason)
        read += by_home is not None
        if by_home not in (by_clip, "two"):
            differ.append(f"{text[:60]!r} ({reason}): {by_home} and {by_clip}")
    why = f"{texts:,} answers in {len(FAMILIES)} pairs of thinking marks, {read:,} with a label"
    more = f"{tally.texts:,} more, to windows of {min(EVENTS)} to {max(EVENTS)} events, {tally.readings:,} readings"
    what = "answers in all families of thinking marks"
    return [
        at_least(f"{what}: generated", n, texts, "answers", why=why),
        exactly("the same text read otherwise by the readers of homes and of clips", 0, len(differ), "answers",
                why="; ".join([why, *differ[:SHOWN]])),
        exactly(f"{what}: exceptions", 0, len(tally.raised), "exceptions",
                why="; ".join([more, *tally.raised[:SHOWN]])),
        exactly(f"{what}: not exactly one verdict an event", 0, len(tally.miscounted), "readings",
                why="; ".join([more, *tally.miscounted[:SHOWN]])),
    ]  # fmt: skip


def misread(readers: Sequence[Reader] = READERS[:2]) -> list[str]:
    """Answers of the windows' corpus that the flexible and the strict reader read otherwise than a person did."""
    wrong = []
    for name, (text, flexible, strict) in windows.CORPUS.items():
        for reader, wanted in zip(readers, (flexible, strict or flexible)):
            found = reader.read(text, 3, "")
            said = " ".join(p.verdict if p.label is None else f"{p.verdict}:{p.label}" for p in found)
            wrong += [f"{name} ({reader.name}): {said}"] * (said != wanted)
    return wrong


def nasty(size: int = windows.MB, beginnings: Sequence[str] = BEGINNINGS) -> Iterator[tuple[str, str]]:
    """(name, text of ``size`` characters): each unit repeated behind each beginning, and the unit tests' megabytes."""
    for beginning, unit in itertools.product(beginnings, UNITS):
        yield f"{beginning!r}, then {unit!r} again and again", beginning + unit * (size // len(unit))
    if size == windows.MB:
        yield from windows.HOSTILE.items()


def marked(
    size: int = windows.MB, families: Sequence[tuple[str, str]] = FAMILIES, units: Sequence[str] = UNITS[:8]
) -> Iterator[tuple[str, str]]:
    """The same of each family's marks: whole and half ones again and again, and each unit behind an open one."""
    for opening, closing in families:
        own = (opening, closing, opening + closing, f"a{closing}", opening[:-1], closing[:-1])
        beginnings = ("", opening, f"{opening}so{closing}{BEGINNINGS[1]}")
        for beginning, unit in (*itertools.product(beginnings, own), *itertools.product((opening,), units)):
            yield f"{beginning!r}, then {unit!r} again and again", beginning + unit * (size // len(unit))


def slowest(
    readers: Sequence[Reader], texts: Iterable[tuple[str, str]], limit_s: float, *, tries: int = 9
) -> tuple[float, str, int]:
    """CPU seconds of this thread for the slowest text, its name, and how many texts there were.

    Other work on the machine is no fault of the parser's: a busy sibling hyper-thread alone doubles the time. So the
    best try counts, and a text is tried again where it came near the limit or over it (but not a hopeless one).
    """
    worst, name, n = 0.0, "no text", 0
    for what, text in texts:
        n += 1
        for reader in readers:
            best = math.inf
            for attempt in range(tries):
                gc.collect()  # else one try in thousands pays for what the whole bench left behind: 1.3 s were seen
                started = time.thread_time()
                reader.read(text, 10, "")
                best = min(best, time.thread_time() - started)
                if best <= 0.8 * limit_s or (attempt and best > 10 * limit_s):
                    break
            if best > worst:
                worst, name = best, f"{what} ({reader.name})"
    return worst, name, n


def reading_claims(n: int, readers: Sequence[Reader] = READERS) -> list[Claim]:
    """No exception and one verdict an event, over the corpus and ``n`` generated answers."""
    by_hand, made = read_texts(corpus(), readers), read_generated(n, readers)
    raised, wrong = by_hand.raised + made.raised, by_hand.miscounted + made.miscounted
    distinct = len({text for text, *_ in corpus()})
    why = (f"{by_hand.readings + made.readings:,} readings by {len(readers)} readers: "
           f"{', '.join(reader.name for reader in readers)}")  # fmt: skip
    return [
        at_least("malformed answers: corpus written by hand", CORPUS_SIZE, distinct, "answers",
                 why="tests/text/test_parsing.py, tests/fusion/answerers/test_reading.py; three finish reasons each"),
        at_least("malformed answers: generated", n, made.texts, "answers", why="hypothesis, always the same ones"),
        exactly("malformed answers: exceptions", 0, len(raised), "exceptions", why="; ".join([why, *raised[:SHOWN]])),
        exactly("malformed answers: not exactly one verdict an event", 0, len(wrong), "readings",
                why="; ".join([f"of {', '.join(VERDICTS)}", *wrong[:SHOWN]])),
    ]  # fmt: skip


def time_claim(
    readers: Sequence[Reader] = READERS, texts: Iterable[tuple[str, str]] | None = None, *, tries: int = 9,
    what: str = "1 MB answer",
) -> Claim:  # fmt: skip
    """A megabyte within the limit, in its slowest form."""
    seconds, name, n = slowest(readers, nasty() if texts is None else texts, LIMIT_MS / 1000, tries=tries)
    why = f"{name}; CPU time of one thread, the best of up to {tries} tries, the slowest of {n} forms"
    return at_most(f"{what}, slowest form", LIMIT_MS, seconds * 1000, "ms", why=why)


def mention_claims(n: int) -> list[Claim]:
    """The reader of reasonings behind the explorer: no exception on the same texts, bounded time."""

    def read(text: str, _n: int, _reason: str) -> Sequence[Prediction]:
        if any(not set(one.events) <= set(range(len(_EVENTS))) for one in find_mentions(text, _EVENTS)):
            raise IndexError("a mention of an event that the window does not have")
        return []

    reader = Reader("mentions", read)
    tally = read_generated(n, [reader])
    tally.raised += read_texts(corpus(), [reader]).raised
    seconds, name, _ = slowest([reader], nasty(300_000, [""]), MENTIONS_S, tries=3)
    return [
        exactly("mentions in reasonings: exceptions", 0, len(tally.raised), "exceptions",
                why="; ".join(["llmhar.text.mentions, the same texts as reasonings", *tally.raised[:SHOWN]])),
        at_most("mentions in 300,000 characters, slowest form", MENTIONS_S, seconds, "s", why=f"{name}; CPU time"),
    ]  # fmt: skip


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of the parser; ``quick`` generates a twentieth of the answers."""
    n = N_GENERATED // 20 if quick else N_GENERATED
    wrong = misread()
    return [
        *reading_claims(n),
        exactly("malformed answers: read otherwise than by hand", 0, len(wrong), "readings",
                why="; ".join([f"{len(windows.CORPUS)} answers, flexible and strict", *wrong[:SHOWN]])),
        time_claim(texts=nasty(beginnings=BEGINNINGS[:2]) if quick else None),
        time_claim(texts=marked(units=UNITS[: 1 if quick else 8]), what="1 MB answer in a family's thinking marks"),
        *family_claims(n),
        *mention_claims(n // 5),
    ]  # fmt: skip
