"""The reason in an event's own item of an answer: read whole and decoded, whatever stands in it; what it cites."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from llmhar.data.events import SensorEvent
from llmhar.text.mentions import find_evidence
from llmhar.text.parsing import parse_answer
from llmhar.text.schema import WHY_CHARS

LABELS = {1: "cooking", 2: "resting", 3: "washing up"}


def item(i, why, activity="cooking"):
    return {"id": i, "why": why, "activity": activity}


def whys(answer, n=3, **how):
    reading = parse_answer(answer if isinstance(answer, str) else json.dumps(answer), n, LABELS, **how)
    assert reading.reasoning == "" or "think" in answer, "a reason is no text before the answer"
    return dict(reading.whys)


STRANGE = [
    'a "quoted" stove', "it's the cook's", "back\\slash \\n \\u0041", "two\nlines\tand a tab",
    "<script>alert(1)</script> & <b>", "{\"id\": 1, \"activity\": \"resting\"}", "[1, 2], }{ ]", "烤箱 😀 ünï \u202e",
    "// no comment", "/* nor this", "# nor that", "</think> stove", "x" * (5 * WHY_CHARS), "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("why", STRANGE)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_reason_is_read_as_it_was_meant(why, ascii_only):
    text = json.dumps([item(0, why), item(1, "fridge", "resting")], ensure_ascii=ascii_only)
    for answer in (text, f"Here you are:\n```json\n{text}\n```", f'{{"answers": {text}}}'):
        reading = parse_answer(answer, 2, LABELS)
        if "</think>" in why and reading.thinking != "absent":
            continue  # a mark of thinking ends thinking wherever it stands
        assert [p.label for p in reading.predictions] == [1, 2], reading
        assert dict(reading.whys) == {0: why.strip(), 1: "fridge"} and reading.reasoning == ""


def test_reasons_stand_beside_thinking_and_do_not_replace_it():
    answer = f"<think>0: the stove, so cooking</think>{json.dumps([item(0, 'stove on'), item(1, 'seat', 'resting')])}"
    reading = parse_answer(answer, 2, LABELS)
    assert reading.reasoning == "0: the stove, so cooking" and dict(reading.whys) == {0: "stove on", 1: "seat"}


def test_no_reason_where_none_is_given():
    assert whys([{"id": i, "activity": "cooking"} for i in range(3)]) == {}
    assert whys([item(0, ""), item(1, " \n "), {"id": 2, "activity": "cooking"}]) == {}
    assert whys([item(0, 7), item(1, None), item(2, {"sensor": "stove"})]) == {}, "anything but a text is none"
    assert whys([item(0, ["stove"]), item(1, True), item(2, "stove")]) == {2: "stove"}
    assert whys("") == whys("<think>0: stove") == whys("[]") == {}
    assert whys("cooking, as the stove is on") == {}
    assert whys([{"ID": 0, "Why": "stove", "Activity": "cooking"}]) == {0: "stove"}
    assert whys('[{"id": 0, "why": "", "activity": "cooking",}]') == {}
    left_blank = parse_answer('[{"id": 0, "why": "", "activity": "cooking",}]', 1, LABELS)
    assert left_blank.predictions[0].verdict == "ok", "a blank reason costs no label"


def test_of_several_items_the_reason_for_the_label_that_counts():
    assert whys([item(0, "first"), item(0, "last")]) == {0: "last"}
    assert whys([item(0, "first"), item(0, "")]) == {0: "first"}
    other = [item(0, "cooks"), item(0, "rests", "resting")]
    assert whys(other) == {0: "rests"}, "no label counts: the last thing said"
    assert whys(other, contradictions="first") == {0: "cooks"} and whys(other, contradictions="last") == {0: "rests"}
    assert whys([item(0, "cooks"), item(0, "flies", "flying")]) == {0: "flies"}, "nor here"
    assert whys([item(0, "flies", "flying")]) == {0: "flies"}, "an unknown label has a reason too"
    drafts = json.dumps([item(i, f"draft {i}") for i in range(3)])
    final = json.dumps([item(i, f"final {i}", "resting") for i in range(3)])
    assert whys(f"{drafts}\nNo, wait.\n{final}") == {i: f"final {i}" for i in range(3)}
    assert whys([item(0, "in"), item(7, "out"), item(-1, "out")]) == {0: "in"}
    assert whys([item(0, "one"), item(0, "two")], strict=True) == {0: "two"}


@pytest.mark.parametrize("finish_reason", ["", "length"])
def test_a_cut_answer_keeps_the_reasons_of_its_whole_items(finish_reason):
    whole = json.dumps([item(0, 'the "stove"'), item(1, "seat {at} night", "resting"), item(2, "tap", "washing up")])
    seen = set()
    for end in range(len(whole)):
        reading = parse_answer(whole[:end], 3, LABELS, finish_reason=finish_reason)
        told = dict(reading.whys)
        assert told.items() <= {0: 'the "stove"', 1: "seat {at} night", 2: "tap"}.items(), "nothing is completed"
        assert set(told) == {p.event for p in reading.predictions if p.label is not None}
        seen.add(len(told))
    assert seen == {0, 1, 2, 3}


def test_a_mended_item_keeps_its_reason():
    assert whys("[{'id': 0, 'why': 'stove on', 'activity': 'cooking'}]") == {0: "stove on"}
    assert whys('[{"id": 0, "why": "stove on", "activity": "cooking",}, // done\n]') == {0: "stove on"}
    assert whys('{"id": 0, "why": "stove on", "activity": "cooking"}\n{"id": 1, "why": "tap", "activity": 3}') == {
        0: "stove on", 1: "tap"
    }  # fmt: skip


# --- what a reason cites

START = datetime(2000, 1, 3, 7, 0, 0)
WINDOW = [
    SensorEvent(40 + i, START + timedelta(seconds=second), room, sensor, state)
    for i, (second, room, sensor, state) in enumerate((
        (0, "kitchen", "coffee machine wattmeter", "turned ON"),  # 0
        (9, "kitchen", "fridge contact", "OPENED"),  # 1
        (12, "kitchen", "fridge contact", "CLOSED"),  # 2
        (40, "bathroom", "washbasin mov", "turned ON"),  # 3
        (50, "dining room", "chair_1", "OPENED"),  # 4
        (58, "dining room", "chair_2", "OPENED"),  # 5
        (60, "kitchen", "coffee machine wattmeter", "turned OFF"),  # 6
        (75, "kitchen", "motion sensor", "turned ON"),  # 7
        (80, "", "kitchen door", "OPENED"),  # 8
        (90, "living room", "A motion", "turned ON"),  # 9
    ))
]  # fmt: skip
CITED = [
    (1, "fridge near coffee machine, busy in the kitchen", [0]),
    (1, "fridge near the coffee machine", [0]),
    (6, "coffee machine near fridge, making coffee", [2]),
    (1, "fridge in the morning, busy in the kitchen", []),
    (7, "motion in the kitchen in the morning", []),
    (7, "motion in the kitchen near washbasin, washing up", [3]),
    (7, "motion in the kitchen, fridge open", [2]),
    (7, "FRIDGE and coffee machine, so cooking", [2, 6]),
    (4, "chair near the chair, eating", [5]),
    (4, "chair, eating", []),
    (4, "chair_1 after chair_2", [5]),
    (0, "as event 3 says", [3]),
    (0, "events 1 and 2, and event 0 itself", [1, 2]),
    (0, "coffee machine after the bathroom", [3]),
    (3, "washbasin, not in the kitchen", []),
    (2, "a cold drink", []),
    (2, "fridge near event 99 and the (+*?[", []),
    (2, "", []),
    (2, '<b>coffee machine</b> "on" 😀', [0]),
]


@pytest.mark.parametrize(("about", "why", "cited"), CITED)
def test_a_reason_cites_the_other_sensors_that_it_names(about, why, cited):
    spans = find_evidence(why, about, WINDOW)
    assert sorted({i for span in spans for i in span.events}) == cited
    assert all(why[span.start : span.end] for span in spans)


def test_long_reasons_take_no_time():
    for why in ("near the " * 20_000, "fridge near coffee machine " * 5_000, "*" * 200_000, "events " + "3, " * 50_000):
        find_evidence(why, 1, WINDOW)
