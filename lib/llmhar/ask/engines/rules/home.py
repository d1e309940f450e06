"""Scripted teacher and floor: answers a prompt from common sense about homes, and writes its reasoning down.

It reads what a language model would get, the messages, and nothing else: the label list and answer style from the
static part, the events from the last message. It knows no data set, no truth and no simulator; what it knows is in
:mod:`llmhar.text.common_sense`. How it thinks, per event:

1. Words of the event (room, appliance) give a few concepts, each with a weight ("fridge": fetching food, cooking ...);
   the hour raises or lowers them; concepts that the label list has no name for are dropped.
2. Neighbouring sensors support concepts: the closer in time the more, the same room more than another. Habits link
   some to what follows or went before (the kettle to a drink at the table), a tour of several rooms is cleaning.
3. The best concept becomes a label, the hour choosing between meals. Where nothing fits: "others" if offered, else the
   label of the nearest event, else the first label.

The tables of habits (hours, links, the tour) were fitted by hand to the simulated home. A request whose template
arguments say ``habits: false`` (the model ``rules-plain``) is answered without them: words and neighbours alone.

The same request always gives the same text, whatever its sampling parameters; ``max_tokens`` is not applied and token
counts are 0, for rules have no tokenizer. Every table that shows its scores says "rules, not an LLM".
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from types import ModuleType
from typing import Any, NamedTuple

from llmhar.ask.engines.rules import fusion
from llmhar.records import Fingerprint, Generation, Request, sha256_of
from llmhar.text import common_sense as sense

Answer = int | str

_CUES = tuple((re.compile(words), sure, votes) for words, sure, votes in sense.CUES)
_ROOM = re.compile(sense.ROOMS)
_HEADING = re.compile(r"(?im)^.*\b(?:activities|labels)\b.*:[ \t\[{]*$")
_LABEL = re.compile(r"^[\s\"'*\[{-]*(\d+)\s*[.:)]\s*(\S.*?)[\"',\]}\s]*$")
_EXAMPLE = re.compile(r'"activity"\s*:\s*(?:(["\']?<?number|"?\d+"?\s*[,}])|["\'])', re.IGNORECASE)
_ITEM = re.compile(r"\{[^{}]*\}")
_SENTENCE = re.compile(r"(?im)^\s*(\d+)(?:[.)]\s*at)?\s+(\d{1,2}:\d{2}\S*?),?\s+(?:the\s+)?(\S.*?)[.\s]*$")
_FUSION_TASK = "wearable sensors"
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_ANY_TIME: tuple[tuple[tuple[float, float], ...], float, float] = ((), 1.0, 1.0)
_LINKS = {concept: {**sense.LINKS[""], **sense.LINKS.get(concept, {})} for concept in sense.LABELS}

RULES_NUMBER = 1
"""Raised by hand whenever code of the rules changes what they answer; a change of their tables shows by itself."""


def tables_sha256(*modules: ModuleType) -> str:
    """Hash of the public tables (upper-case names) of modules; their code, imports and comments do not count."""
    tables = [
        {name: value for name, value in vars(module).items() if name.isupper() and not name.startswith("_")}
        for module in modules
    ]
    return sha256_of(tables)


_COMPUTED = f"{RULES_NUMBER}+{tables_sha256(sense, fusion)[:8]}"
_STORED_AS = {"1+37988376": "1+3104cbf4"}
"""Versions that answers are already stored under another name for: until commit ed81958 it hashed source files."""
RULES_VERSION = _STORED_AS.get(_COMPUTED, _COMPUTED)
"""Number of the rules and a hash of their tables: answers of edited rules never pass for those of others."""


class _Raw(NamedTuple):
    """An event as the prompt shows it."""

    event_id: int
    clock: str
    text: str


@dataclass(frozen=True, eq=False, slots=True)
class _Prompt:
    """The static part of a prompt, understood. Hashed by identity: equal texts come from one cache."""

    labels: Mapping[int, str]
    answers: Mapping[int, Answer]  # how each label is written in the answer
    numbered: bool
    meanings: Mapping[str, Mapping[str, int]]  # concept -> meal ("": any) -> label; none for concepts without a label
    habits: bool  # whether hours, links and the tour count


@dataclass(frozen=True, eq=False, slots=True)
class _Seen:
    """An event, understood as far as it can be alone."""

    raw: _Raw
    at: float  # seconds since the midnight before the window
    room: str
    noun: str
    source: str  # the event without its state: one sensor
    sure: float
    votes: sense.Votes
    top: str  # likeliest concept, empty where no cue of it has a label


def _activity(schema: Any) -> Mapping[str, Any]:
    """Schema of the items' ``activity``, wherever it lies in ``schema``."""
    if isinstance(schema, Mapping):
        if isinstance(schema.get("activity"), Mapping):
            return dict(schema["activity"])
        schema = list(schema.values())
    parts = schema if isinstance(schema, list) else []
    return next((found for part in parts if (found := _activity(part))), {})


def _allowed_by(schema: Mapping[str, Any] | None) -> tuple[Answer, ...] | str:
    """Answers that a schema allows; "integer" or "string" where it names a type only, "" where it says nothing."""
    activity = _activity(schema)
    if "enum" in activity:
        return tuple(value for value in activity["enum"] if isinstance(value, int | str))
    return str(activity.get("type", ""))


def _read_labels(text: str) -> dict[int, str]:
    """The ``N. name`` lines right below a heading of activities, else all such lines of the text."""
    for heading in _HEADING.finditer(text):
        labels: dict[int, str] = {}
        for line in text[heading.end() :].splitlines():
            found = _LABEL.match(line)
            if found:
                labels.setdefault(int(found[1]), found[2])
            elif line.strip(" \t,[{"):
                break
        if labels:
            return labels
    return {int(found[1]): found[2] for line in text.splitlines() if (found := _LABEL.match(line))}


def _meaning(patterns: tuple[str, ...], words: dict[int, str]) -> dict[str, int]:
    """Labels of one concept by meal, from the first pattern that any label matches."""
    for pattern in patterns:
        meals = sense.MEALS if "{meal}" in pattern else ("",)
        asked = {meal: re.compile(pattern.replace("{meal}", meal)) for meal in meals}
        found = {meal: n for meal in meals for n, name in reversed(words.items()) if asked[meal].search(name)}
        if found:
            return found
    return {}


@lru_cache(maxsize=64)
def _read_prompt(text: str, allowed: tuple[Answer, ...] | str, habits: bool) -> _Prompt:
    """Labels, answer style and what each concept is called here.

    Raises:
        ValueError: no label can be read, or the schema allows none of them.
    """
    styles = [bool(found[1]) for found in _EXAMPLE.finditer(text)]
    numbered = styles[-1] if styles else bool(re.search(r"(?i)answer with the activity number", text))
    numbered = {"integer": True, "number": True, "string": False}.get(str(allowed), numbered)
    labels = _read_labels(text)
    if isinstance(allowed, tuple):
        forms = {number: (number, name, f"{number}. {name}", str(number)) for number, name in labels.items()}
        answers = {n: form for n, options in forms.items() for form in reversed(options) if form in allowed}
        numbered = any(answer == number for number, answer in answers.items())
        if labels and not answers:
            raise ValueError("the schema allows none of the prompt's labels")
        labels = {number: labels[number] for number in answers}
    else:
        answers = {number: number if numbered else name for number, name in labels.items()}
    if not labels:
        raise ValueError("the prompt holds no label list that can be read")
    words = {number: re.sub(r"[\W_]+", " ", name.lower()).strip() for number, name in labels.items()}
    meanings = {concept: _meaning(patterns, words) for concept, patterns in sense.LABELS.items()}
    meanings = {concept: found for concept, found in meanings.items() if found}
    return _Prompt(labels, answers, numbered, meanings, habits)


def _read_events(text: str) -> list[_Raw]:
    """Events of the last list in ``text``: a JSON list, loose JSON items, or one sentence a line."""
    items: list[Any] = []
    with suppress(ValueError):
        items = json.loads("[" + ",".join(_ITEM.findall(text)) + "]")
    with suppress(ValueError):
        items = json.loads(text[text.rindex("[") : text.rindex("]") + 1])
    events = [
        _Raw(int(item.get("id", position)), str(item.get("time", "")), " ".join(str(item["event"]).split()))
        for position, item in enumerate(items)
        if isinstance(item, dict) and "event" in item and str(item.get("id", position)).isdecimal()
    ]
    events = events or [_Raw(int(number), clock, words) for number, clock, words in _SENTENCE.findall(text)]
    starts = [i for i in range(1, len(events)) if events[i].event_id <= events[i - 1].event_id]
    return events[starts[-1] :] if starts else events


@lru_cache(maxsize=4096)
def _cue(text: str) -> tuple[str, str, str, int]:
    """Room, word to quote, sensor, and number of the cue (-1: none) of an event's text."""
    shown = text.replace("_", " ")
    words = shown.lower()
    room = _ROOM.search(words)
    source = re.sub(r"(?i) +(?:turned (?:on|off)|opened|closed)\b.*$", "", text)
    for number, (pattern, _, _) in enumerate(_CUES):
        if found := pattern.search(words):
            start, end = found.span(1 if pattern.groups and found[1] else 0)
            return room[0] if room else "", shown[start:end], source, number
    return room[0] if room else "", "sensor", source, -1


@lru_cache(maxsize=65536)
def _votes(cue: int, half_hour: int, prompt: _Prompt) -> tuple[sense.Votes, str]:
    """Concepts of a cue at a time of day, as far as the labels have names for them, and the likeliest one."""
    votes = {}
    for concept, weight in (_CUES[cue][2] if cue >= 0 else {}).items():
        spans, within, outside = sense.HOURS.get(concept, _ANY_TIME) if prompt.habits else _ANY_TIME
        inside = any(start <= half_hour / 2 < end for start, end in spans)
        if concept in prompt.meanings:
            votes[concept] = weight * (within if inside else outside)
    return votes, max(votes, key=lambda concept: votes[concept], default="")


def _look(events: list[_Raw], prompt: _Prompt) -> list[_Seen]:
    """Each event alone. A clock that cannot be read counts as its predecessor's."""
    seen: list[_Seen] = []
    day = last = 0.0
    for raw in events:
        found = _CLOCK.search(raw.clock)
        clock = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3] or 0) if found else last % 86400
        day += 86400 * (day + clock < last - 43200)  # half a day back: the window passed midnight
        last = day + clock
        room, noun, source, cue = _cue(raw.text)
        votes, top = _votes(cue, int(last % 86400 // 1800), prompt)
        seen.append(_Seen(raw, last, room, noun, source, _CUES[cue][1] if cue >= 0 else 0.0, votes, top))
    return seen


def _support(seen: list[_Seen], i: int, habits: bool) -> dict[str, dict[str, tuple[float, str]]]:
    """Concept of event ``i`` -> neighbouring sensor -> how much that one speaks for it at best, its word to quote."""
    me = seen[i]
    support: dict[str, dict[str, tuple[float, str]]] = {concept: {} for concept in me.votes}
    for other in seen:
        if other.source == me.source or not other.top:  # a sensor is no witness for itself
            continue
        apart = abs(me.at - other.at)
        near = other.sure / (1 + apart / sense.NEAR_S) / other.votes[other.top]
        near *= 1.0 if me.room == other.room else sense.OTHER_ROOM
        said = {concept: near * weight for concept, weight in other.votes.items() if concept in support}
        for concept, (before, after, weight) in (_LINKS[other.top] if habits else {}).items():
            if concept in support and (half := before if other.at < me.at else after):
                said[concept] = said.get(concept, 0.0) + other.sure * weight / (1 + apart / half)
        for concept, value in said.items():
            if value > support[concept].get(other.source, (0.0, ""))[0]:
                support[concept][other.source] = value, other.noun
    return support


def _tour(seen: list[_Seen]) -> set[str]:
    """Sensors passed once by somebody who goes from room to room; none where nobody does."""
    events = Counter(event.source for event in seen)  # passed once: at most ON and OFF
    once = {event.source: event.room for event in seen if "clean" in event.votes and events[event.source] <= 2}
    return set(once) if len(set(once.values())) >= sense.TOUR[0] else set()


def _part_of_day(at: float) -> str:
    return next(words for end, words in sense.PARTS_OF_DAY if at / 3600 % 24 < end)


def _decide(seen: list[_Seen], i: int, tour: set[str], habits: bool) -> tuple[str, str]:
    """Concept of event ``i`` and the circumstance that the reasoning names."""
    me, support = seen[i], _support(seen, i, habits)
    if me.source in tour:
        support["clean"]["tour"] = sense.TOUR[1], "other rooms"
    backing = {concept: sum(value for value, _ in given.values()) for concept, given in support.items()}
    best = max(backing, key=lambda concept: me.votes[concept] * (1 + sense.TRUST * backing[concept]))
    if best == me.top or not support[best]:
        return best, _part_of_day(me.at)
    helper = max(support[best].values())[1]
    return best, "among others" if helper == me.noun else f"near the {helper}"


def _label(meaning: Mapping[str, int], at: float) -> int:
    """The label of a concept; between meals the one whose hours are nearest."""
    if "" in meaning:
        return meaning[""]
    hour = at / 3600 % 24
    return meaning[min(meaning, key=lambda meal: min(gap := abs(hour - sense.MEALS[meal]), 24 - gap))]


def _conclude(seen: list[_Seen], prompt: _Prompt) -> list[tuple[int, str]]:
    """Label of each event and the sentence that explains it."""
    known = [i for i, event in enumerate(seen) if event.top]
    tour = _tour(seen) if prompt.habits else set()
    chosen = {i: _decide(seen, i, tour, prompt.habits) for i in known}
    labels = {i: _label(prompt.meanings[concept], seen[i].at) for i, (concept, _) in chosen.items()}
    others = prompt.meanings.get("others", {}).get("")
    result = []
    for i, event in enumerate(seen):
        if i in chosen:
            concept, why = chosen[i]
            number, reason = labels[i], f"The {event.noun} {why} indicates {sense.WORDS[concept]}"
        elif others is not None or not known:
            number = others if others is not None else next(iter(prompt.labels))
            reason = f"The {event.noun} says little"
        else:
            nearest = min(known, key=lambda j: (abs(seen[j].at - event.at), abs(j - i)))
            number, reason = labels[nearest], f"The {event.noun} says little, the {seen[nearest].noun} is nearest"
        result.append((number, f"{reason}, so {prompt.labels[number]}{f' ({number})' if prompt.numbered else ''}."))
    return result


def is_fusion(messages: tuple[Mapping[str, str], ...]) -> bool:
    """Whether a request is fusion's, and not one about sensor events."""
    last = messages[-1].get("content", "") if messages else ""
    return last.startswith((fusion.STEPS, fusion.CONTEXT)) and _FUSION_TASK in messages[0].get("content", "")


def _answer(request: Request) -> str:
    """The whole text for one request.

    Raises:
        ValueError: the prompt cannot be read; the message says what is missing.
    """
    silent = request.schema is not None or request.template_args.get("enable_thinking") is False
    if is_fusion(request.messages):
        return fusion.answer_fusion(request.messages, thinking=not silent)
    contents = [message.get("content", "") for message in request.messages]
    habits = request.template_args.get("habits") is not False
    static = "\n".join(contents[:-1] if len(contents) > 1 else contents)
    prompt = _read_prompt(static, _allowed_by(request.schema), habits)
    events = _read_events(contents[-1])
    if not events:
        raise ValueError("the last message holds no event that can be read")
    seen = _look(events, prompt)
    concluded = _conclude(seen, prompt)
    items = [{"id": raw.event_id, "activity": prompt.answers[n]} for raw, (n, _) in zip(events, concluded)]
    answer = json.dumps(items, ensure_ascii=False)
    if silent:
        return answer
    if "one short line" in contents[0].lower():  # PROMPTS["brief"]: no retelling of the event, and no filler
        short = (s.removeprefix("The ").removesuffix(".").replace(" indicates ", ", ") for _, s in concluded)
        lines = [f"{raw.event_id}: {sentence}" for raw, sentence in zip(events, short)]
    else:
        lines = [
            f"Event {raw.event_id}: the {raw.text} at {raw.clock}. {sentence}"
            for raw, (_, sentence) in zip(events, concluded)
        ]
    return "<think>\n" + "\n".join(lines) + "\n</think>\n\n" + answer


class RulesEngine:
    """The rules behind the engine contract: in-process, without state, as fast as it reads."""

    def fingerprint(self) -> Fingerprint:
        """The version of the rules; they have neither weights nor a device."""
        return Fingerprint("rules", RULES_VERSION, "", "")

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Answer each request in turn; a prompt that cannot be read comes back as an error."""
        for request in requests:
            start, text, error = perf_counter(), "", ""
            try:
                text = _answer(request)
            except ValueError as problem:
                error = f"rules: {problem}"
            stop = "error" if error else "stop"
            yield Generation(request.key, text, stop, error=error, seconds=perf_counter() - start)

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self) -> RulesEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
