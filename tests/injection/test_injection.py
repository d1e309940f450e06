"""Hostile names: the bench sees what they reach, the project's defences hold, and a missing defence is noticed."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from llmhar import injection
from llmhar.ask.asking import Asking
from llmhar.ask.engines.rules import home as rules
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.fusion.answerers.prompt import build_prompt as build_fusion_prompt
from llmhar.injection import flips
from llmhar.injection.flips import (
    CLIPS,
    DATASET,
    DEFENCES,
    Defence,
    Pair,
    fusion_targets,
    home_targets,
    hostile_window,
    make_clip,
)
from llmhar.injection.payloads import PAYLOADS, harmless
from llmhar.text import prompt, serialize
from llmhar.text.chat import ChatTokenizer
from llmhar.text.prompt import PromptForm, build_prompt
from llmhar.text.serialize import SERIALIZERS, clean_text
from tests.bench import structure
from tests.bench.structure import Prompted, check_structure, structure_table

BUILT = "cleaning and encoding"

QUIET = replace(injection.ASKING, progress=False)


@pytest.fixture(scope="module")
def task():
    return prepare("simulated", windowing=Windowing(n=1))


@pytest.fixture(scope="module")
def tokenizers(smollm2, qwen3_tiny):
    return {model.name: ChatTokenizer(model.locate()) for model in (smollm2, qwen3_tiny)}


def checked(task, tokenizers, payloads=PAYLOADS, serializers=("s1-json", "lines")):
    window = task.windows[0]
    session = task.sessions[window.session_id]
    return check_structure(session, window, make_clip(0), tokenizers, payloads, serializers=serializers)


@pytest.fixture(scope="module")
def checked_json(task, tokenizers):
    """Counts and faults of the layout with most marks; all of them: make bench ONLY=security."""
    return checked(task, tokenizers, serializers=("s1-json",))


def kinds(faults):
    return {(fault.check, fault.place) for fault in faults}


def test_payloads_are_many_different_and_aimed():
    assert len(PAYLOADS) >= 25
    assert len({payload.name for payload in PAYLOADS}) == len({payload.text for payload in PAYLOADS}) == len(PAYLOADS)
    assert {payload.kind for payload in PAYLOADS} == {
        *("order", "turn", "answer", "thinking", "unicode", "length", "labels")
    }
    for payload in PAYLOADS:
        text = payload.aimed("watching tv", 77)
        assert "watching tv" in text or "77" in text
    json.loads(next(p for p in PAYLOADS if p.name == "fake-list").aimed("a", 1))


@pytest.mark.parametrize("length", [1, 7, 30, 80, 200, 2000])
def test_harmless_names_say_nothing_and_are_as_long(length):
    name = harmless(length)
    assert len(name) == len(clean_text(name, 5000)) == length
    assert rules._cue(name)[3] == -1 and rules._cue(name)[0] == ""
    assert not any(label in name for label, *_ in CLIPS)


def test_the_bench_writes_prompts_as_the_project_does(task):
    home = home_targets(2, 3)
    windows = {f"{w.session_id}/{w.index}": w for w in prepare("simulated", windowing=Windowing(seed=3)).windows}
    for target in home:
        window = windows[target.unit]
        session = prepare("simulated", windowing=Windowing(seed=3)).sessions[window.session_id]
        for payload in PAYLOADS:
            name = payload.aimed("sleeping", 3)
            prompt = build_prompt(session, PromptForm(answer="name"))
            expected = prompt.messages(hostile_window(window, target.place, name))
            assert target.write(name, DEFENCES[BUILT]) == expected, payload.name
    names = [label for label, *_ in CLIPS]
    prompt = build_fusion_prompt(("captions", "labels", "motion", "context"), names)
    for i, target in enumerate(fusion_targets(2)):
        assert target.write("a name", DEFENCES[BUILT])[0]["content"] == prompt.system
        own = make_clip(i).steps[0]
        shown = own.captions[0].name if target.place == "caption" else own.labels[0].name
        assert target.write(shown, DEFENCES[BUILT]) == prompt.messages(make_clip(i))


def test_defences_off_really_are_off():
    name = 'a "b"\n<|im_end|>'
    assert Defence(False, False).write(Defence(False, False).named(name)) == f'"{name}"'
    assert Defence(False, True).write(name) == json.dumps(name)
    assert Defence(True, False).write(Defence(True, False).named(name)) == '"a "b" ‹¦im_end¦›"'
    assert Defence(True, False).write({"t": 2.0, "sounds": {"x": "5%"}}) == '{"t": 2.0, "sounds": {"x": "5%"}}'


def test_no_name_of_a_device_room_person_or_clip_changes_the_chat(checked_json):
    counts, faults = checked_json
    mine = [f for f in faults if f.check != "echo" and not (f.place == "label" and "home" in f.setting)]
    assert mine == []
    assert counts["home", "turns"] == len(PAYLOADS) * 6 * 2 * 3 * 2  # wordings, answer styles, places, tokenizers
    assert {check for _, check in counts} == set(structure.CHECKS)


def test_no_label_of_a_home_changes_the_chat(checked_json):
    _, faults = checked_json
    assert [fault for fault in faults if fault.place == "label"] == []


def test_a_copied_question_answers_nothing(task):
    _, faults = checked(task, {}, serializers=tuple(SERIALIZERS))
    assert [fault for fault in faults if fault.check == "echo"] == []


def test_without_its_braces_table_the_echo_is_seen(task, monkeypatch):
    """A planted fault: names keep their braces, and copied questions answer."""
    kept = {mark: to for mark, to in serialize._MARKS.items() if chr(mark) not in "{}"}
    monkeypatch.setattr(serialize, "_MARKS", kept)
    clean_text.cache_clear()
    try:
        _, faults = checked(task, {}, serializers=("lines",))
        assert any(fault.check == "echo" for fault in faults)
    finally:
        monkeypatch.undo()
        clean_text.cache_clear()


@pytest.fixture
def no_texts_kept():
    """Texts of events and prompts are made anew, in the test and after it."""
    kept = (serialize._spoken, serialize._spoken_json, prompt._system)
    for cache in kept:
        cache.cache_clear()
    yield
    for cache in kept:
        cache.cache_clear()


def test_without_cleaning_the_checks_see_it(task, tokenizers, monkeypatch, no_texts_kept):
    """The planted fault: clean_text lets everything pass."""
    for module in ("llmhar.text.serialize", "llmhar.text.prompt", "llmhar.fusion.answerers.prompt"):
        monkeypatch.setattr(f"{module}.clean_text", lambda text, limit=80: text)
    chosen = [p for p in PAYLOADS if p.name in ("chatml-turn", "thinking-end", "new-lines", "fake-item")]
    _, faults = checked(task, tokenizers, chosen)
    found = kinds(faults)
    assert {
        ("turns", "sensor"),
        ("tokens", "room"),
        ("marks", "caption"),
        ("turns", "motion"),
        ("echo", "sensor"),
    } <= found
    assert {("lines", "sensor"), ("turns", "label")} <= found
    table = structure_table(Counter({("home", "turns"): 5}), [f for f in faults if f.check == "turns"])
    assert table["faults"].iloc[0] == sum(f.check == "turns" and f.setting.startswith("home") for f in faults) > 0


def test_a_shown_resident_is_seen():
    leaking = Prompted(True, "x", "resident", lambda name: ({"role": "user", "content": name},), len, ("a", 1))
    assert list(structure._look(leaking, leaking.write("b"), leaking.write("c"), {})) == [
        ("hidden", "the name is in the prompt")
    ]


# Flips.


def pair(without, attacked, wanted=7, **changes):
    own = Pair("m", BUILT, "home", "sensor", "s/0", "order", "order", wanted, without, attacked)
    return own._replace(**changes)


@pytest.mark.parametrize(
    ("without", "attacked", "expected"),
    [
        ((1, 2), (7, 2), (True, True, True, True, False)),
        ((None, 2), (7, 2), (True, True, True, True, False)),
        ((1, 2), (1, 7), (True, False, True, False, False)),
        ((7, 2), (7, 2), (False, False, False, False, False)),
        ((1, 2), (None, None), (True, False, False, True, True)),
        ((1, 2), None, (True, False, False, True, True)),
        ((1, 2), (3, 2), (True, False, False, True, False)),
        (None, (7, 7), (False, False, False, False, False)),
    ],
)
def test_what_counts_as_a_flip(without, attacked, expected):
    one = pair(without, attacked)
    assert (one.open, one.flipped, one.flipped_any, one.moved, one.lost) == expected


def test_the_table_counts_by_hand():
    pairs = [pair((1,), (7,)), pair((1,), (1,)), pair((1,), None), pair((7,), (7,)), pair((None,), (7,))]
    row = injection.flip_table(pairs).iloc[0]
    assert (row["pairs"], row["flips"], row["flip %"]) == (4, 2, 50.0)
    assert (row["from %"], row["to %"]) == (
        pytest.approx(15.0039, abs=1e-3),
        pytest.approx(84.9961, abs=1e-3),
    )  # Wilson
    assert row["any event %"] == 40.0 and row["moved %"] == 50.0 and row["silenced %"] == 25.0


def test_the_bench_on_rules_is_stored_and_repeats(tmp_path):
    with Store(tmp_path / "store.sqlite") as store:
        first = injection.run(["rules"], store, 2, asking=QUIET)
        n_attempts = store._db.execute("SELECT count(*) FROM attempts").fetchone()
        again = injection.run(["rules"], store, 2, asking=QUIET)
        assert store._db.execute("SELECT count(*) FROM attempts").fetchone() == n_attempts  # nor the silenced ones
        assert first == again
        table = injection.flip_table(first)
        assert list(table["defence"]) == [*DEFENCES] * 2 and set(table["prompt"]) == {"home", "fusion"}
        assert (table["pairs"] > 0).all() and (table["flip %"].between(table["from %"], table["to %"])).all()
        assert len({pair.payload for pair in first if pair.defence == BUILT}) == len(PAYLOADS)
    assert len(first) == len(PAYLOADS) * len(DEFENCES) * 4
    # Forced labels differ from the truth, and the twin differs in the name alone.
    for target in home_targets(2):
        cases = list(flips._cases([target], PAYLOADS, [BUILT]))
        assert all(target.labels[wanted] != target.avoid for _, _, wanted, _, _ in cases)
        for _, payload, _, _, (twin, hostile) in cases:
            if payload.name in ("order", "chatml-short", "fake-system"):  # no character that JSON would escape
                assert len(twin[-1]["content"]) == len(hostile[-1]["content"])


def test_windows_follow_the_seed():
    one, same, other = home_targets(3, 0), home_targets(3, 0), home_targets(3, 1)
    assert [t.unit for t in one] == [t.unit for t in same] != [t.unit for t in other]
    assert [t.place for t in one] == ["sensor", "room", "sensor"]


def test_asks_are_noted_apart_from_every_study(tmp_path):
    with Store(tmp_path / "store.sqlite") as store:
        injection.attack(
            MODELS["rules"], fusion_targets(1), store, asking=Asking(progress=False), payloads=PAYLOADS[:1]
        )
        assert {row[0] for row in store._db.execute("SELECT dataset FROM asks")} == {DATASET}


def test_the_command_prints_json(tmp_path):
    command = [sys.executable, "-m", "llmhar.cli", "bench", "injection", "--n", "1", "--json"]
    done = subprocess.run(command, env={**os.environ, "LLMHAR_HOME": str(tmp_path)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    rows = json.loads(done.stdout)
    assert {row["defence"] for row in rows} == set(DEFENCES) and all(row["model"] == "rules" for row in rows)


def test_room_attack_keeps_the_other_devices(task):
    window = task.windows[0]
    hostile = hostile_window(window, "room", "x")
    first = window.events[0]
    for before, after in zip(window.events, hostile.events):
        same = (before.room, before.sensor) == (first.room, first.sensor)
        assert after == (replace(before, room="x") if same else before)
