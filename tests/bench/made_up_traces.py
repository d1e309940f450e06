"""Made-up traces in the explorer's bundle, as many as a bench wants, to measure the explorer with."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from llmhar.ask.inference import Answer, make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.stored import Stored
from llmhar.ask.task import Task
from llmhar.data.events import WINDOW_SIZE, SensorEvent, Session, Window, cut_windows
from llmhar.data.load_report import LoadReport
from llmhar.records import Fingerprint, Generation
from llmhar.score.tables import score_answers
from llmhar.text.prompt import PromptForm, build_prompt
from llmhar.traces.bundle import build_bundle

_HOME = {
    "kitchen": ("coffee machine wattmeter", "fridge contact", "food cabinet contact", "induction stove wattmeter",
                "sink mov", "counter mov", "kettle wattmeter", "tableware cabinet contact"),
    "living room": ("couch mov", "TV wattmeter", "game console wattmeter", "bookshelf cabinet contact"),
    "bathroom": ("shower mov", "washbasin mov", "toilet contact"),
    "dining room": ("chair_1 contact", "chair_2 contact"),
    "bedroom_1": ("door",),
    "bedroom_2": ("door", "desk mov"),
}  # fmt: skip
_ACTIVITIES = (
    "preparing breakfast", "having breakfast", "watching TV", "using bathroom", "taking shower", "washing dishes",
    "reading books", "using pc", "preparing dinner", "having dinner", "clearing table", "personal washing", "others",
)  # fmt: skip
_VOCABULARY = """
maybe perhaps probably however because although since while when after before during somebody another resident
person people morning evening night habit routine breakfast lunch dinner meal drink water coffee tea bread plate cup
glass window light noise movement change start end short long quick slow later earlier again still already often
never always sometimes usually together alone separate parallel interleaved previous next last only both either
neither unlikely plausible possible certain doubtful consistent strange missing obvious hidden small large first
second third same different likely hand face hair tooth towel soap clothes shoes jacket keys bag phone game book
page film show music news work study rest sleep wake sit stand walk leave enter return fetch carry open close switch
press turn move clean wash cook boil heat eat taste talk listen watch read write think wait look check guess compare
decide conclude assume expect notice remember consider suppose argue explain depend follow belong matter
"""


def made_up_bundle(n_traces: int, n_models: int = 4, seed: int = 0) -> dict[str, Any]:
    """Made-up traces of about 1,200 characters of reasoning each, by the same path as real ones.

    Half of a reasoning is written like the rules', half in words drawn at random: less regular than any model's, so
    that sizes and times measured with it are no flattery.

    Args:
        n_traces: windows times models, rounded up to whole windows.
        n_models: columns.
        seed: the same seed makes the same bundle.
    """
    rng = random.Random(f"llmhar traces {seed}")
    task = made_up_task(-(-n_traces // n_models), rng)
    results = []
    for number in range(n_models):
        model = MODELS["rules"].model_copy(update={"name": f"made-up model {number}", "revision": f"seed {seed}"})
        answers = []
        for ask, window in zip(make_asks(task, model), task.windows):
            made = Generation(ask.request.key, made_up_text(window, rng), "stop", "", 900, 0, 420, rng.uniform(1, 9))
            answers.append(Answer(ask, Stored(made, Fingerprint("made up", "1", "", "")), ""))
        results.append(score_answers(task, model, answers))
    return build_bundle(results, teacher=results[0].model.name, students=[result.model.name for result in results[1:]])


def made_up_task(n_windows: int, rng: random.Random) -> Task:
    sessions = {}
    for number in count():
        if number * 100 >= n_windows:
            break
        n_events = WINDOW_SIZE * min(100, n_windows - number * 100)
        events = tuple(_events(n_events, rng))
        name = f"{number + 1:03}"
        sessions[name] = Session("simulated", name, "simulated", dict(enumerate(_ACTIVITIES)), events)
    windows = tuple(window for session in sessions.values() for window in cut_windows(session))
    prompts = {"simulated": build_prompt(next(iter(sessions.values())), PromptForm(answer="name"))}
    subset = f"{len(windows)} made-up windows"
    return Task("made up", "simulated", sessions, {}, windows, "name", subset, prompts, LoadReport("made up", Path()))


def _events(n: int, rng: random.Random) -> Iterator[SensorEvent]:
    at = datetime(2000, 1, 3, rng.randrange(6, 12))
    for i in range(n):
        at += timedelta(seconds=rng.randrange(1, 60))
        room = rng.choice(list(_HOME))
        sensor = rng.choice(_HOME[room])
        state = rng.choice(
            ("OPENED", "CLOSED") if "contact" in sensor or sensor == "door" else ("turned ON", "turned OFF")
        )
        yield SensorEvent(i, at, room, sensor, state, activity_id=rng.randrange(len(_ACTIVITIES)))


def made_up_text(window: Window, rng: random.Random) -> str:
    lines, items = [], []
    for i, event in enumerate(window.events):
        label = rng.choice(_ACTIVITIES)
        items.append({"id": i, "activity": label})
        words = " ".join(rng.choices(_VOCABULARY.split(), k=rng.randrange(6, 14)))
        lines.append(
            f"Event {i}: the {event.text} at {event.time:%H:%M:%S}, {words}, so {label}."
            if rng.random() < 0.6
            else f"The {event.sensor.split()[0]} {words} event {rng.randrange(len(window.events))}, {label}."
        )
    return "<think>\n" + "\n".join(lines) + "\n</think>\n\n" + json.dumps(items)
