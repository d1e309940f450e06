"""The rules on fusion's prompt: common sense written down before any data set's clips were scored with it."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.ask.engines.rules import fusion as fusion_rules
from llmhar.ask.engines.rules.home import RulesEngine, is_fusion
from llmhar.fusion.answerers.prompt import STEPS_HEADING, closed_schema
from llmhar.fusion.encoders.observation import MODALITIES, Guess, Observation, StepSeen
from llmhar.records import Request, Sampling
from tests.fusion.answerers.test_prompt import EGO4D, SCENES, build_fusion_messages

# sounds (percent), motion, context -> the activity that a person would choose among Ego4D's
CASES: dict[str, tuple[dict[str, int], str, dict[str, str], str]] = {
    "a hoover": ({"Vacuum cleaner": 60, "Hair dryer": 20}, "walking", {}, "vacuum cleaning"),
    "sizzling": ({"Sizzle": 40, "Frying (food)": 30}, "standing", {}, "cooking"),
    "dishes under the tap": ({"Dishes, pots, and pans": 40, "Water tap, faucet": 40}, "standing", {}, "washing dishes"),
    "chewing": ({"Chewing, mastication": 30, "Cutlery, silverware": 20, "Speech": 40}, "sitting", {}, "eating"),
    "a ball bounces": ({"Basketball bounce": 50, "Bouncing": 20}, "walking", {}, "playing basketball"),
    "a dog": ({"Bark": 30, "Dog": 40, "Animal": 20}, "walking", {}, "playing with pets"),
    "keys": ({"Typing": 50, "Computer keyboard": 40}, "sitting", {}, "using a computer"),
    "a film": ({"Television": 30, "Speech": 40, "Music": 20}, "sitting", {}, "watching TV"),
    "a quiet seat": ({"Silence": 90}, "sitting", {}, "reading a book"),
    "out of breath": ({"Grunt": 30, "Breathing": 40}, "walking upstairs", {}, "workout/weightlifting"),
    "cheering outside": ({"Crowd": 30, "Shout": 30, "Cheering": 20, "Outside, rural or natural": 15}, "walking",
                         {"setting": "outdoors", "heart rate zone": "vigorous"}, "playing soccer"),
    "running drum": ({"Washing machine": 30, "Slosh": 20}, "standing", {}, "doing laundry"),
}  # fmt: skip


def clip(sounds=(), motion="", context=(), caption="", label="?", steps=5) -> Observation:
    step = StepSeen(
        2.0, (Guess(caption, 1.0),) if caption else (),
        tuple(Guess(name, share / 100) for name, share in dict(sounds).items()),
        (Guess(motion, 0.9),) if motion else (),
    )  # fmt: skip
    every = tuple(step._replace(centre=2.0 * i + 2) for i in range(steps))
    return Observation("c", label, "p", 0, frozenset(), every, dict(context))


def answer(observation, labels=EGO4D, modalities=MODALITIES, **options) -> tuple[str, str]:
    """(activity, whole text)."""
    switches = {name: options.pop(name) for name in ("schema", "template_args", "sampling") if name in options}
    messages = build_fusion_messages(observation, modalities, labels, **options)
    with RulesEngine() as engine:
        (made,) = engine.stream([Request("rules", "1", "", messages, **switches)])
    assert made.ok, made.error
    return json.loads(made.text.splitlines()[-1])["activity"], made.text


@pytest.mark.parametrize("name", CASES)
def test_common_sense(name):
    sounds, motion, context, expected = CASES[name]
    assert answer(clip(sounds, motion, context))[0] == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [("a woman is washing dishes in a sink", "washing dishes"), ("someone is typing on a keyboard", "using a computer"),
     ("a vacuum cleaner is running", "vacuum cleaning"), ("food is frying in a pan", "cooking"),
     ("a dog is barking", "playing with pets"), ("a man is turning the pages of a book", "reading a book")],
)  # fmt: skip
def test_captions(caption, expected):
    assert answer(clip(caption=caption), modalities={"captions"})[0] == expected


@pytest.mark.parametrize(
    ("sounds", "motion", "expected"),
    [({"Water tap, faucet": 50, "Water": 30}, "standing", "washing at the tap"),
     ({"Baby cry, infant cry": 60, "Crying, sobbing": 30}, "walking", "comforting a baby"),
     ({"Chatter": 30, "Crowd": 30, "Laughter": 10}, "sitting", "having guests over"),
     ({"Cough": 60, "Throat clearing": 20}, "laying", "being ill in bed"),
     ({"Cat": 40, "Meow": 50}, "sitting", "playing with a pet"), ({"Sewing machine": 40}, "sitting", "sewing"),
     ({"Walk, footsteps": 30}, "walking upstairs", "climbing stairs"),
     ({"Car passing by": 40, "Vehicle": 20}, "walking", "walking outdoors"),
     ({"Typing": 40}, "sitting", "using a computer"), ({"Finger snapping": 50}, "sitting", "making music")],
)  # fmt: skip
def test_household_scenes(sounds, motion, expected):
    labels = tuple(dict.fromkeys(SCENES[:11]))
    assert answer(clip(sounds, motion), labels)[0] == expected


def test_movement_alone_tells_posture():
    labels = ("reading a book", "playing soccer", "climbing stairs", "being ill in bed")
    for motion, expected in (("sitting", labels[0]), ("RUNNING", labels[1]), ("walking_upstairs", labels[2]),
                             ("LAYING", labels[3])):  # fmt: skip
        assert answer(clip(motion=motion), labels, {"motion"})[0] == expected


def test_context_alone_tells_place_and_effort():
    outside = {"setting": "outdoors", "heart rate zone": "vigorous"}
    assert answer(clip(context=outside), modalities={"context"})[0] in ("playing basketball", "playing soccer")
    still = {"setting": "indoors", "heart rate zone": "very light"}
    assert answer(clip(context=still), modalities={"context"})[0] in ("eating", "reading a book", "watching TV",
                                                                      "using a computer")  # fmt: skip


def test_every_ego4d_and_scene_label_is_known():
    for label in (*EGO4D, *SCENES):
        assert fusion_rules._concept_of(label) >= 0, label
    assert len({fusion_rules._concept_of(label) for label in EGO4D}) == len(EGO4D)


def test_a_label_nobody_knows_is_found_by_its_own_words():
    assert answer(clip({"Chainsaw": 50}), ("cooking", "chainsaw juggling"), {"labels"})[0] == "chainsaw juggling"


def test_open_answers_are_in_own_words():
    found, text = answer(clip({"Bark": 50}), modalities={"labels"}, closed=False)
    assert found == "playing with a pet" and "Sounds: Bark" in text


def test_reasoning_has_a_line_for_each_kind_of_evidence():
    text = answer(clip({"Bark": 50}, "walking", {"setting": "indoors"}, "a dog barks"))[1]
    assert [line.split(":")[0] for line in text.splitlines()[1:6]] == ["Captions", "Sounds", "Motion", "Context",
                                                                      "Together"]  # fmt: skip
    assert text.startswith("<think>\n") and "\n</think>\n\n{" in text and len(text.split()) < 60


def test_no_reasoning_where_none_is_wanted():
    silent = {"schema": closed_schema(EGO4D)}, {"template_args": {"enable_thinking": False}}
    for switches in silent:
        assert answer(clip({"Bark": 50}), **switches)[1] == '{"activity": "playing with pets"}'


def test_same_clip_same_text_whatever_sampling_and_examples():
    asked = clip({"Bark": 50})
    example = Observation("e", "eating", "p", 1, frozenset({"q"}), clip({"Chewing, mastication": 50}).steps)
    assert (
        answer(asked)[1]
        == answer(asked, sampling=Sampling(temperature=1, seed=3))[1]
        == answer(asked, examples=[example])[1]
    )


def test_nothing_seen_is_still_answered():
    assert answer(clip(steps=1), modalities={"labels"})[0] in EGO4D


def test_a_students_prompt_cannot_be_read():
    messages = build_fusion_messages(clip({"Bark": 50}), MODALITIES, EGO4D, wording="student")
    (made,) = RulesEngine().stream([Request("rules", "1", "", messages)])
    assert not made.ok and "label list" in made.error


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=20), st.floats(0, 1))
def test_whatever_was_seen_one_of_the_labels_is_answered(caption, name, motion, share):
    step = StepSeen(2.0, (Guess(caption, 1.0),), (Guess(name, share),), (Guess(motion, share),))
    found, _ = answer(Observation("c", "x", "p", 0, frozenset(), (step,), {name: caption}))
    assert found in EGO4D


def test_heading_and_task_are_those_of_the_prompt():
    assert fusion_rules.STEPS == STEPS_HEADING
    for shown in ({"labels"}, {"context"}):
        for closed in (True, False):
            assert is_fusion(build_fusion_messages(clip(), shown, EGO4D, closed=closed))
    assert not is_fusion(({"role": "user", "content": "Events:\n0. at 12:30"},))


def test_the_rules_know_no_data_set():
    """They are asked through the messages and import nothing of ours."""
    tree = ast.parse(Path(fusion_rules.__file__).read_text(encoding="utf-8"))
    imported = {n.name for node in ast.walk(tree) if isinstance(node, ast.Import) for n in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.startswith("llmhar") or name in ("importlib", "runpy") for name in imported)
