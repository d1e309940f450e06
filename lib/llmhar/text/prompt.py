"""Builds prompts: S1's six parts, frozen and hashed, static text first and the window last.

Knows no engine and no chat template: a prompt is a system message (static, the same for every window of a home, so
that engines compute it once) and a user message that holds the window and nothing else. No id, date or time stands
before the window: it would break the shared prefix.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import Literal

from llmhar.data.events import STATES, SensorEvent, Session, Window
from llmhar.data.homes import Home, PromptError, home_of, load_home
from llmhar.records import sha256_of
from llmhar.settings import choose
from llmhar.text.parsing import offered_names
from llmhar.text.serialize import INPUT_FORMATS, SERIALIZERS, clean_text

__all__ = [
    "ANSWER_STYLES",
    "FORMS",
    "PROMPTS",
    "Home",
    "PromptError",
    "PromptForm",
    "PromptSpec",
    "build_prompt",
    "home_of",
    "load_home",
]

AnswerStyle = Literal["number", "name"]
ANSWER_STYLES: tuple[AnswerStyle, ...] = ("number", "name")
"""S1 answers by number; a 135M model maps names far better than numbers (seen in a trial)."""


@dataclass(frozen=True, slots=True)
class PromptForm:
    """How a prompt is put, whatever the home."""

    wording: str = "s1"
    """Key into ``PROMPTS``: how the static parts are worded, and which there are."""
    serializer: str = "s1-json"
    """Key into ``SERIALIZERS``: how a window's events are written."""
    answer: AnswerStyle = "number"
    """Whether activities are answered by number or by name."""
    rules: bool = True
    """Whether the home's own rules for ambiguous situations are told, where the wording has a place for them."""


FORMS: dict[str, PromptForm] = {
    "s1": PromptForm(),
    "brief": PromptForm("brief", "s1-json", "name"),
    "student": PromptForm("student", "daytime", "name"),
    "listed": PromptForm("listed", "lines", "name"),
}
"""Name in params -> form: S1's prompt; short reasoning and answers by name, for teachers of small models; what is left
for a student who has learnt labels and rules from its teacher's answers; the activities alone, for one that goes from
home to home."""


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """A prompt's static parts in S1's order (§3.1.3), and how windows are written below them."""

    role: str
    """Role of the model and the general task."""
    home: str
    """Rooms and the appliances in them."""
    io_format: str
    """Input structure and expected output."""
    labels: str
    """All activities that may be answered, one numbered line each; empty for a student who has learnt them."""
    rules: str
    """Help for ambiguous situations; may be empty."""
    example: str
    """One static example of the structure; may be empty."""
    serializer: str
    """Key into ``SERIALIZERS``."""

    @property
    def parts(self) -> dict[str, str]:
        """Static parts that are not empty, in order."""
        return {name: text for name, text in asdict(self).items() if name != "serializer" and text}

    @property
    def system(self) -> str:
        """The static text: S1's parts, a blank line between them."""
        return "\n\n".join(self.parts.values())

    @property
    def sha256(self) -> str:
        """Names the prompt in tables and figures."""
        return sha256_of(asdict(self))

    @property
    def example_answer(self) -> str:
        """The answer that the example shows; empty where there is no example."""
        return self.example.rpartition(_ANSWER)[2]

    def messages(self, window: Window) -> tuple[dict[str, str], ...]:
        """The chat turns that ask for one window."""
        user = f"Events:\n{SERIALIZERS[self.serializer](window)}"
        return ({"role": "system", "content": _system(self)}, {"role": "user", "content": user})


@lru_cache(maxsize=256)
def _system(prompt: PromptSpec) -> str:
    """Its static text, one object for all windows of a home."""
    return prompt.system


BRIEFLY = "Think in one short line per event, then answer with a JSON list."
"""Asks for short reasoning; the rules engine understands it too."""


@dataclass(frozen=True, slots=True)
class _Wording:
    """One way to word the parts."""

    role: str
    output: Callable[[AnswerStyle], str]
    with_home: bool
    with_example: bool
    blank_example: bool = False
    """Whether the example's answers are left blank: small models copy whatever stands there."""
    with_lists: bool = True
    """Whether input format, labels and rules are told; a student has learnt them."""
    only_labels: bool = False
    """Whether the activities are all that is told of a home, one a line, without numbers."""


def _s1_output(answer: AnswerStyle) -> str:
    wanted = "number of its activity" if answer == "number" else "name of its activity, exactly as listed"
    return (
        "Answer with a JSON list that holds one object for each event of the input, in the same order: the event's "
        f'"id" and its "activity", the {wanted} in the list below. Give exactly one activity for every event, and '
        "write nothing after the list."
    )


def _short_output(answer: AnswerStyle) -> str:
    return f'Answer with a JSON list, one {{"id", "activity"}} for each event; activity = its {answer} in the list.'


_S1_ROLE = (
    "You are an assistant that recognizes what people are doing at home from ambient sensor events. One or several "
    "residents live in the home; their number is unknown and their activities may interleave. For each sensor event, "
    "infer the activity of the resident who caused it."
)
PROMPTS: dict[str, _Wording] = {
    "s1": _Wording(role=_S1_ROLE, output=_s1_output, with_home=True, with_example=True),
    "s1-blank": _Wording(role=_S1_ROLE, output=_s1_output, with_home=True, with_example=True, blank_example=True),
    "short": _Wording(
        role="Name the home activity behind each sensor event.",
        output=_short_output,
        with_home=False,
        with_example=False,
    ),
    "brief": _Wording(
        role=f"Name the home activity behind each sensor event. {BRIEFLY}",
        output=_short_output,
        with_home=False,
        with_example=False,
    ),
    "student": _Wording(
        role=f"Name the home activity behind each sensor event. {BRIEFLY}",
        output=_short_output,
        with_home=False,
        with_example=False,
        with_lists=False,
    ),
    "listed": _Wording(
        role="Say what people at home are doing, event by event: why in a few words, then one of the activities.",
        output=lambda _: "",
        with_home=False,
        with_example=False,
        only_labels=True,
    ),
}
"""Name in params -> wording: S1's full structure; the same with blanks in its example's answer (46 of 49 zero-shot
answers of a 135M model began with it); a short one for small models on small machines; the same with short
reasoning; the line that is left for a student who has learnt the rest from its teacher's answers; and a line with the
home's activities, for a student that goes from home to home."""


def build_prompt(session: Session, form: PromptForm = FORMS["s1"]) -> PromptSpec:
    """Build the prompt for a session's home and label set.

    Args:
        session: gives the home file's name and the labels; its events are not looked at.
        form: how it is put.

    Raises:
        PromptError: the form has a name that is unknown.
    """
    wording, serializer, answer, rules = form.wording, form.serializer, form.answer, form.rules
    style = choose(PROMPTS, wording, f"unknown wording {wording!r}; there are:", PromptError)
    choose(SERIALIZERS, serializer, f"unknown serializer {serializer!r}; there are:", PromptError)
    choose(dict.fromkeys(ANSWER_STYLES), answer, f"unknown answer style {answer!r}; there are:", PromptError)
    home, labels = home_of(session), session.labels
    if not style.with_lists:
        return PromptSpec(style.role, home="", io_format="", labels="", rules="", example="", serializer=serializer)
    if style.only_labels:
        by_number = [f"{number}. {clean_text(name)}" for number, name in labels.items()]
        names = by_number if answer == "number" else offered_names(labels).values()
        listed = "\n".join(["Activities:", *names])
        return PromptSpec(style.role, home="", io_format="", labels=listed, rules="", example="", serializer=serializer)
    return PromptSpec(
        role=style.role,
        home=_describe(home) if style.with_home else "",
        io_format=f"{INPUT_FORMATS[serializer]} {style.output(answer)}",
        labels="Activities:\n" + "\n".join(f"{number}. {clean_text(name)}" for number, name in labels.items()),
        rules="Rules:\n" + "\n".join(f"- {clean_text(rule, 300)}" for rule in home.rules)
        if rules and home.rules
        else "",
        example=_example(home, labels, serializer, answer, style.blank_example) if style.with_example else "",
        serializer=serializer,
    )


_ANSWER = "\nAnswer:\n"


def _describe(home: Home) -> str:
    lines = [
        f"- {clean_text(room)}: {', '.join(clean_text(thing, 300) for thing in things)}"
        for room, things in home.rooms.items()
    ]
    return "The home has these rooms and appliances:\n" + "\n".join(lines)


def _example(home: Home, labels: Mapping[int, str], serializer: str, answer: AnswerStyle, blank: bool) -> str:
    if home.example is None:
        return ""
    numbers = {name.casefold(): number for number, name in labels.items()}
    # A data set whose names differ from the home file's: its first labels show the structure as well.
    spare = itertools.cycle(labels)
    found = [numbers[name] if (name := a.casefold()) in numbers else next(spare) for a in home.example.answers]
    items = [{"id": i, "activity": n if answer == "number" else clean_text(labels[n])} for i, n in enumerate(found)]
    answers = json.dumps(items, ensure_ascii=False)
    if blank:
        place = "<number>" if answer == "number" else '"<name>"'
        answers = ", ".join(f'{{"id": {i}, "activity": {place}}}' for i in range(len(items))).join("[]")
    events = []
    for i, event in enumerate(home.example.events):
        state = next((state for state in STATES if event.event.endswith(state)), "")
        sensor = event.event.removesuffix(state).strip()
        events.append(SensorEvent(i, datetime.fromisoformat(f"2000-01-03T{event.time}"), "", sensor, state))
    shown = SERIALIZERS[serializer](Window("example", 0, tuple(events)))
    return f"Example of the structure only:\nEvents:\n{shown}{_ANSWER}{answers}"
