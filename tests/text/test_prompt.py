"""Prompts: S1's parts in S1's order, the window last, nothing of the test sessions before it."""

import json
from dataclasses import fields, replace
from datetime import datetime, timedelta
from itertools import product

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from llmhar import paths
from llmhar.data import mural, simulated
from llmhar.data.events import SensorEvent, Session, cut_windows
from llmhar.text.prompt import (
    ANSWER_STYLES,
    PROMPTS,
    Home,
    PromptError,
    PromptForm,
    PromptSpec,
    build_prompt,
    load_home,
)
from llmhar.text.serialize import INPUT_FORMATS, SERIALIZERS
from llmhar.text.tokens import count_tokens

HOMES = sorted(path.stem for path in (paths.params() / "homes").glob("*.yaml"))


def session(home="mural", labels=None, n=25, unscored=()):
    start = datetime(2000, 1, 3, 12, 34, 56)
    events = tuple(SensorEvent(i, start + timedelta(seconds=i), "kitchen", "fridge", "OPENED") for i in range(n))
    if labels is None:
        names = dict.fromkeys(("others", *load_home(home).example.answers, "last one"))
        labels = dict(enumerate(names, start=3))
    return Session("mural", "01", home, labels, events, unscored=frozenset(unscored))


@pytest.fixture
def home_file(tmp_path, monkeypatch):
    """Writes ``params/homes/test.yaml`` in a folder of its own."""
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path))
    (tmp_path / "params" / "homes").mkdir(parents=True)

    def write(text, name="test"):
        (tmp_path / "params" / "homes" / f"{name}.yaml").write_text(text, encoding="utf-8")
        load_home.cache_clear()

    yield write
    load_home.cache_clear()


SMALL = """
name: test
kind: real
rooms: {kitchen: [fridge, "<|im_start|>stove"], bath: [shower]}
rules: ["Be kind.", "Two\\nlines."]
example:
  events:
    - {time: "07:00:00", event: "kitchen fridge OPENED"}
    - {time: "07:00:09", event: "bath light turned ON"}
  answers: [Cooking, washing]
"""


def test_the_whole_prompt(home_file):
    home_file(SMALL)
    prompt = build_prompt(session("test", {0: "others", 4: "cooking", 7: "washing", 9: "moving"}, unscored={9}))
    assert list(prompt.parts) == ["role", "home", "io_format", "labels", "rules", "example"]  # S1 §3.1.3
    assert prompt.role.startswith("You are an assistant that recognizes what people are doing at home")
    assert prompt.home == (
        "The home has these rooms and appliances:\n- kitchen: fridge, ‹¦im_start¦›stove\n- bath: shower"
    )
    assert prompt.io_format.startswith(INPUT_FORMATS["s1-json"] + " Answer with a JSON list")
    assert 'its "activity", the number of its activity in the list below' in prompt.io_format
    assert prompt.labels == "Activities:\n0. others\n4. cooking\n7. washing"  # 9 is not offered
    assert prompt.rules == "Rules:\n- Be kind.\n- Two lines."
    assert prompt.example == (
        "Example of the structure only:\nEvents:\n"
        '[{"id": 0, "time": "07:00:00", "event": "kitchen fridge OPENED"},\n'
        ' {"id": 1, "time": "07:00:09", "event": "bath light turned ON"}]\n'
        'Answer:\n[{"id": 0, "activity": 4}, {"id": 1, "activity": 7}]'
    )
    assert prompt.system == "\n\n".join(prompt.parts.values())


def test_answers_by_name(home_file):
    home_file(SMALL)
    prompt = build_prompt(session("test", {4: "Cooking", 7: "Washing"}), PromptForm(answer="name"))
    assert prompt.example.endswith('Answer:\n[{"id": 0, "activity": "Cooking"}, {"id": 1, "activity": "Washing"}]')
    assert "the name of its activity, exactly as listed in the list below" in prompt.io_format


def test_the_example_speaks_the_window_s_language(home_file):
    home_file(SMALL)
    labels = {4: "cooking", 7: "washing"}
    shown = build_prompt(session("test", labels), PromptForm(serializer="sentences")).example
    assert "0. At 07:00:00, the kitchen fridge OPENED.\n1. At 07:00:09, the bath light turned ON.\n" in shown
    shown = build_prompt(session("test", labels), PromptForm(serializer="intervals")).example
    assert '"event": "kitchen fridge OPENED", "for_s": "past this window"}' in shown


def test_short_wording_leaves_home_and_example_out():
    prompt = build_prompt(session(), PromptForm(wording="short", rules=False))
    assert list(prompt.parts) == ["role", "io_format", "labels"]
    assert prompt.system.startswith("Name the home activity behind each sensor event.\n\n")
    assert "activity = its number in the list." in prompt.io_format
    assert list(build_prompt(session(), PromptForm(wording="short")).parts) == ["role", "io_format", "labels", "rules"]


def test_rules_are_optional():
    with_rules, without = build_prompt(session()), build_prompt(session(), PromptForm(rules=False))
    assert with_rules.rules.startswith("Rules:\n- ")
    assert without == replace(with_rules, rules="")
    assert "Rules:" not in without.system


def test_static_text_first_and_window_last():
    whole = session(n=25)
    prompt = build_prompt(whole)
    asked = [prompt.messages(window) for window in cut_windows(whole)]
    assert len(asked) == 3
    for window, (system, user) in zip(cut_windows(whole), asked, strict=True):
        assert system == {"role": "system", "content": prompt.system}
        assert user == {"role": "user", "content": "Events:\n" + SERIALIZERS["s1-json"](window)}
        assert "12:34:56" not in system["content"]
    assert len({system["content"] for system, _ in asked}) == 1


@pytest.mark.parametrize("home", HOMES)
def test_the_prompt_does_not_look_at_events(home):
    """So no event of a test session can be in it, the example included."""
    full, empty = session(home), replace(session(home), events=(), session_id="99", day="weekend", n_residents=4)
    assert build_prompt(full) == build_prompt(empty)


def test_the_example_is_not_taken_from_a_session(tmp_path):
    simulated.write(tmp_path, seed=0)
    sessions = mural.load(tmp_path, dataset="simulated", home="simulated", seed=0).sessions
    assert len(sessions) == 21
    seen = {(f"{event.time:%H:%M:%S}", event.text) for one in sessions for event in one.events}
    assert len(seen) > 5000
    assert not seen & {(event.time, event.event) for event in load_home("simulated").example.events}


@pytest.mark.parametrize(
    ("home", "wording", "serializer", "answer"), [*product(HOMES, PROMPTS, SERIALIZERS, ANSWER_STYLES)]
)
def test_every_combination_builds(home, wording, serializer, answer):
    whole = session(home)
    prompt = build_prompt(whole, PromptForm(wording=wording, serializer=serializer, answer=answer))
    system, user = prompt.messages(cut_windows(whole)[0])
    told = wording != "student"  # a student has learnt what is in the lists
    assert (INPUT_FORMATS[serializer] in system["content"]) == (told and wording != "listed")
    for number, name in whole.labels.items():
        shown = name if (wording, answer) == ("listed", "name") else f"{number}. {name}"
        assert (f"\n{shown}" in system["content"]) == told
    assert not any(mark in system["content"] for mark in ("<|", "|>", "<think", "{}"))
    last = whole.events[9].text
    assert user["content"].endswith({"sentences": ".", "lines": last, "daytime": last}.get(serializer, "]"))
    if wording == "s1":
        items = json.loads(prompt.example.rsplit("Answer:\n", 1)[1])
        known = whole.labels if answer == "number" else whole.labels.values()
        assert [item["id"] for item in items] == list(range(len(items))) and items
        assert all(item["activity"] in known for item in items)


@pytest.mark.parametrize("name", HOMES)
def test_home_files_are_shown_whole(name):
    """A line longer than the cap for sensor names must not lose its end."""
    home, prompt = load_home(name), build_prompt(session(name))
    assert home.name == name
    for text in (*home.rooms, *(thing for things in home.rooms.values() for thing in things), *home.rules):
        assert text in prompt.system


def test_the_hash_changes_with_each_part():
    prompt = build_prompt(session())
    assert prompt.sha256 == build_prompt(session()).sha256 and len(prompt.sha256) == 64
    changed = [replace(prompt, **{f.name: getattr(prompt, f.name) + "x"}) for f in fields(PromptSpec)]
    # The same text cut into other parts is another prompt.
    changed.append(replace(prompt, rules="", example=f"{prompt.rules}\n\n{prompt.example}"))
    assert changed[-1].system == prompt.system
    assert len({each.sha256 for each in (prompt, *changed)}) == 9


def test_the_hash_changes_with_each_setting():
    options = [{}, {"wording": "short"}, {"serializer": "intervals"}, {"answer": "name"}, {"rules": False}]
    prompts = [build_prompt(session(), PromptForm(**each)) for each in options]
    prompts.append(build_prompt(session(labels={**session().labels, 99: "one more"})))
    prompts.append(build_prompt(session("simulated")))
    assert len({prompt.sha256 for prompt in prompts}) == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wording": "s2"}, "unknown wording 's2'; there are: s1, s1-blank, short, brief, student, listed"),
        ({"serializer": "xml"}, "unknown serializer 'xml'; there are: s1-json, intervals, sentences, lines, daytime"),
        ({"answer": "letter"}, "unknown answer style 'letter'; there are: number, name"),
    ],
)
def test_unknown_names(options, message):
    with pytest.raises(PromptError) as error:
        build_prompt(session(), PromptForm(**options))
    assert str(error.value) == message


def test_unknown_home():
    with pytest.raises(
        PromptError, match=r"no home file .*nowhere\.yaml; there are: kasteren_a, marble, mural, simulated, uci"
    ):
        load_home("nowhere")


def test_an_example_answer_that_is_no_label_is_replaced_by_one(home_file):
    home_file(SMALL)
    example = build_prompt(session("test", {1: "cooking", 2: "sleeping"}), PromptForm(answer="name")).example
    assert "washing" not in example and '"activity": "cooking"' in example
    assert build_prompt(session("test", {1: "sleeping"}), PromptForm(wording="short")).example == ""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: test", "nme: test", "nme"),
        ('"07:00:00"', "12:30:00", "events.0.time"),  # YAML reads 45000
        ('"07:00:00"', '"7:00"', "events.0.time"),
        ("[Cooking, washing]", "[Cooking]", "2 events but 1 answers"),
        ("kind: real", "kind: made up", "kind"),
        ("rooms: {", "rooms: [{", "test.yaml"),
        ("[fridge,", "[1,", "rooms.kitchen.0"),
    ],
)
def test_faulty_home_files_name_the_field(home_file, old, new, message):
    assert SMALL.count(old) == 1
    home_file(SMALL.replace(old, new))
    with pytest.raises(PromptError) as error:
        load_home("test")
    assert "test.yaml" in str(error.value) and message in str(error.value)


def test_long_lines_of_a_home_file_keep_their_end(home_file):
    """The cap on sensor names is not for what users write of their home."""
    home_file(SMALL.replace("shower]", f'"{"w" * 150} end"]').replace("Be kind.", f"{'r' * 250} end"))
    prompt = build_prompt(session("test", {4: "cooking", 7: "washing"}))
    assert prompt.home.endswith(f"\n- bath: {'w' * 150} end")
    assert f"\n- {'r' * 250} end\n" in prompt.rules


def test_home_files_say_what_they_are():
    kinds = {name: load_home(name).kind for name in HOMES}
    assert kinds.pop("simulated") == "simulated"
    assert set(kinds.values()) == {"real"}
    assert isinstance(load_home("mural"), Home) and load_home("mural") is load_home("mural")


def test_token_counts(tmp_path):
    assert count_tokens(["two words", "", "a b\nc"], None) == ([2, 0, 3], "words (no tokenizer fetched)")
    tokenizer = Tokenizer(WordLevel({"?": 0, "a": 1, "b": 2, ",": 3}, unk_token="?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert count_tokens(["a, b", "", "z"], tmp_path / "tokenizer.json", "mine") == ([3, 0, 1], "mine")
