"""Does a hostile name leave the prompt's structure alone? Looks at finished prompts and tokens; asks no model.

Every payload in every place, for every serializer, wording and answer style, home and fusion, is compared with the same
prompt that holds a harmless name. Chats are rendered by the models' own templates (:mod:`llmhar.text.chat`).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import pandas as pd

from llmhar.data.events import Session, Window
from llmhar.fusion.answerers.prompt import WORDINGS, FusionForm, Wording
from llmhar.fusion.answerers.prompt import build_prompt as build_fusion_prompt
from llmhar.fusion.answerers.reading import read_closed
from llmhar.fusion.encoders.observation import MODALITIES, Observation
from llmhar.injection.flips import hostile_observation, hostile_window
from llmhar.injection.payloads import PAYLOADS, Payload, harmless
from llmhar.text.chat import ChatTokenizer, Messages
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import ANSWER_STYLES, PROMPTS, PromptForm, build_prompt, load_home
from llmhar.text.serialize import SERIALIZERS

HOME_PLACES = ("sensor", "room", "resident", "label")
"""Where a home's data can hold a hostile name: a device, a room, a person, an activity of the label list."""
FUSION_PLACES = ("caption", "sound", "motion", "context", "label")
MARKS = re.compile(r"<[|｜/\w][^<>\n]{0,40}>|```")
"""What chat templates, tokenizers and answer parsers take for structure, of any model family."""
_CHECK_LINES = re.compile(r"\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


class Prompted(NamedTuple):
    """One way to put a name into a prompt."""

    home: bool
    """Of a home (False: of fusion)."""
    setting: str
    """Wording, serializer and answer style."""
    place: str
    write: Callable[[str], Messages]
    """Name -> chat turns."""
    read: Callable[[str], int]
    """Text taken for a model's answer -> number of labels that it gives."""
    aim: tuple[str, int]
    """Name and number of the activity that payloads want: an offered one, or copies could not pass for answers."""


class Fault(NamedTuple):
    """A structure that a name has changed."""

    payload: str
    place: str
    setting: str
    check: str
    detail: str


CHECKS = {
    "turns": "the rendered chat keeps its turns and special tokens",
    "tokens": "no message holds a special token",
    "marks": "no message holds a template mark of any model family",
    "lines": "no message gains or loses a line",
    "json": "a JSON window keeps its events and their fields",
    "echo": "a copied question answers nothing",
    "hidden": "residents are never shown",
}
"""Check -> what it asks."""


def check_structure(
    session: Session,
    window: Window,
    observation: Observation,
    tokenizers: Mapping[str, ChatTokenizer],
    payloads: Sequence[Payload] = PAYLOADS,
    *,
    serializers: Sequence[str] = tuple(SERIALIZERS),
) -> tuple[Counter[tuple[str, str]], list[Fault]]:
    """Try all payloads in all places.

    Args:
        session: a home's labels.
        window: one of its windows; the first event's device is attacked.
        observation: a fusion clip.
        tokenizers: name -> tokenizer with its template.
        payloads: what is tried.
        serializers: keys into ``SERIALIZERS``.

    Returns:
        How many prompts were checked, by (source, check), and every fault that was found.
    """
    counts: Counter[tuple[str, str]] = Counter()
    faults: list[Fault] = []
    ways = [*home_ways(session, window, serializers), *fusion_ways(observation)]
    for way in ways:
        source = "home" if way.home else "fusion"
        control = way.write(harmless(40))
        for payload in payloads:
            attacked = way.write(payload.aimed(*way.aim))
            for check, detail in _look(way, attacked, control, tokenizers):
                counts[source, check] += 1
                if detail:
                    faults.append(Fault(payload.name, way.place, f"{source} {way.setting}", check, detail))
    return counts, faults


def structure_table(counts: Counter[tuple[str, str]], faults: Sequence[Fault]) -> pd.DataFrame:
    """Prompts checked and faults, a row per source and check."""
    n_faults = Counter((fault.setting.split(" ")[0], fault.check) for fault in faults)
    rows = [
        {"source": source, "check": CHECKS[check], "prompts": n, "faults": n_faults[source, check],
         "payloads": ", ".join(sorted({f.payload for f in faults if (f.setting.split(" ")[0], f.check)
                                       == (source, check)}))}
        for (source, check), n in counts.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["source", "check", "prompts", "faults", "payloads"])


def _look(
    way: Prompted, attacked: Messages, control: Messages, tokenizers: Mapping[str, ChatTokenizer]
) -> Iterator[tuple[str, str]]:
    """(check, what is wrong or nothing) for one prompt."""
    if way.place == "resident":
        yield "hidden", "" if attacked == control else "the name is in the prompt"
        return
    for name, tokenizer in tokenizers.items():
        same = tokenizer.marks(tokenizer.render(attacked)) == tokenizer.marks(tokenizer.render(control))
        yield "turns", "" if same else f"{name}: other turns"
        held = [m["role"] for m in attacked if tokenizer.marks(m["content"])]
        yield "tokens", f"{name}: in the {held[0]} message" if held else ""
    control_marks = {mark for m in control for mark in MARKS.findall(m["content"])}
    strange = [mark for m in attacked for mark in MARKS.findall(m["content"]) if mark not in control_marks]
    yield "marks", strange[0] if strange else ""
    heights = [[len(_CHECK_LINES.findall(m["content"])) for m in messages] for messages in (attacked, control)]
    yield "lines", "" if heights[0] == heights[1] else f"{heights[0]} line breaks instead of {heights[1]}"
    shapes = [_shape(messages[-1]["content"]) for messages in (attacked, control)]
    if shapes[1] is not None:
        yield "json", "" if shapes[0] == shapes[1] else "the list reads differently"
    n = way.read(attacked[-1]["content"])
    yield "echo", f"{n} labels read" if n else ""


def _shape(content: str) -> Any:
    """Number of a JSON window's events and their fields; None where the window is no JSON list."""
    begin = content.find("[")
    if not content.startswith("Events:\n["):
        return None
    try:
        return [sorted(item) for item in json.loads(content[begin:])]
    except (ValueError, TypeError):
        return "no JSON"


# Places.


def home_ways(session: Session, window: Window, serializers: Sequence[str] = tuple(SERIALIZERS)) -> Iterator[Prompted]:
    """All wordings × serializers × answer styles × places of a home's prompt."""
    number, label = max(session.labels.items())

    def read(text: str) -> int:
        return sum(p.label is not None for p in parse_answer(text, len(window.events), session.labels).predictions)

    for wording, serializer, answer in product(PROMPTS, serializers, ANSWER_STYLES):
        setting: Any = {"wording": wording, "serializer": serializer, "answer": answer}
        for place in HOME_PLACES:
            write = _home_writer(session, window, setting, place)
            yield Prompted(True, "/".join(setting.values()), place, write, read, (label, number))


def _home_writer(session: Session, window: Window, setting: Any, place: str) -> Callable[[str], Messages]:
    spec = build_prompt(session, PromptForm(**setting))
    # The first label, and those that the home's example names: so the example must take the hostile first one too.
    first = next(iter(session.labels))
    shown = {answer.casefold() for answer in load_home(session.home).example.answers}
    renamed = [n for n, name in session.labels.items() if n == first or name.casefold() in shown]

    def write(name: str) -> Messages:
        if place != "label":
            return spec.messages(hostile_window(window, place, name))
        hostile = {n: name if n == first else f"{n} {name}" for n in renamed}
        return build_prompt(
            replace(session, activities={**session.activities, **hostile}), PromptForm(**setting)
        ).messages(window)

    return write


def fusion_ways(observation: Observation) -> Iterator[Prompted]:
    """Both wordings × places of a fusion prompt, with an example clip in S2's wording."""
    labels = ("sleeping", "cooking", observation.label)

    def read(text: str) -> int:
        return int(read_closed(text, labels).label is not None)

    for wording, place in product(WORDINGS, FUSION_PLACES):
        # A label that is renamed to one already listed would be listed once: a line less, and no fault.
        aim = ("taking a walk" if place == "label" else "cooking", 1)
        yield Prompted(False, wording, place, _fusion_writer(observation, labels[:2], wording, place), read, aim)


def _fusion_writer(
    observation: Observation, others: Sequence[str], wording: Wording, place: str
) -> Callable[[str], Messages]:
    def write(name: str) -> Messages:
        clip = hostile_observation(observation, place, name)
        # The same hostile clip as the example too: in examples the label is shown beside its clip.
        examples = [clip] if wording == "s2" else []
        form = FusionForm(wording=wording)
        return build_fusion_prompt(MODALITIES, [*others, clip.label], examples=examples, form=form).messages(clip)

    return write
