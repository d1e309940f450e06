"""From raw text to one verdict per event: a corpus of answers seen or feared, hostile text, generated text."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.records import Prediction
from llmhar.text.parsing import LabelSet, as_rows, parse_answer, split_reasoning
from tests.generated import examples
from tests.timing import quiet_seconds

FIXTURES = Path(__file__).parents[1] / "fixtures"

# Traps: 2 is a beginning of 25, "eating" of "eating snack"; one name holds an underscore.
LABELS = {0: "others", 1: "preparing_dinner", 2: "eating", 3: "watching TV", 25: "eating snack"}
FULL = '[{"id": 0, "activity": 1}, {"id": 1, "activity": 2}, {"id": 2, "activity": 3}]'
OK = "ok:1 ok:2 ok:3"
CUT, MALFORMED, MISSING = "cut cut cut", "malformed malformed malformed", "missing missing missing"


def reading(text, n=3, labels=LABELS, **options):
    """Verdicts and labels of an answer as one line, e.g. ``ok:1 missing cut``."""
    made = parse_answer(text, n, labels, **options).predictions
    assert [p.event for p in made] == list(range(n))
    return " ".join(p.verdict if p.label is None else f"{p.verdict}:{p.label}" for p in made)


def first(value):
    """A list whose first item answers ``value`` (text of JSON), the others 2 and 3."""
    return f'[{{"id": 0, "activity": {value}}}, {{"id": 1, "activity": 2}}, {{"id": 2, "activity": 3}}]'


# name -> (answer, flexible reading, strict reading; None = the same)
CORPUS = {
    # forms of a label
    "numbers": (FULL, OK, None),
    "numeric string": (first('"1"'), OK, None),
    "numeric string with blanks": (first('" 1 "'), OK, None),
    "whole float": (first("1.0"), OK, None),
    "N. name": (first('"1. preparing_dinner"'), OK, None),
    "N: name": (first('"1: preparing dinner"'), OK, None),
    "N) name": (first('"1) Preparing Dinner"'), OK, None),
    "name": (first('"preparing_dinner"'), OK, None),
    "name in capitals": (first('"PREPARING_DINNER"'), OK, None),
    "name without underscore": (first('"preparing dinner"'), OK, None),
    "name with underscore for a blank": (first('"watching_tv"'), "ok:3 ok:2 ok:3", None),
    "longer name is its own": (first('"eating snack"'), "ok:25 ok:2 ok:3", None),
    "N - name": (first('"1 - preparing dinner"'), OK, None),
    "N (name)": (first('"1 (Preparing dinner)"'), OK, None),
    "name (N)": (first('"preparing dinner (1)"'), OK, None),
    "name - N.0": (first('"preparing dinner - 1.0"'), OK, None),
    "number with a leading zero": (first('"01"'), OK, None),
    "number with .0": (first("\"'1.0'\""), OK, None),
    "punctuation around a name": (first('"**Preparing dinner**."'), OK, None),
    "#N names nothing": (first('"#1"'), "unknown_label ok:2 ok:3", None),
    "a word beside a number names nothing": (first('"activity 1"'), "unknown_label ok:2 ok:3", None),
    "two numbers name nothing": (first('"1 or 2"'), "unknown_label ok:2 ok:3", None),
    "number, word and name": (first('"activity 1: preparing dinner"'), "unknown_label ok:2 ok:3", None),
    "punctuation inside a name": (first('"preparing, dinner"'), "unknown_label ok:2 ok:3", None),
    "contradictory name (N)": (first('"preparing dinner (2)"'), "unknown_label ok:2 ok:3", None),
    "contradictory N. name": (first('"2. preparing_dinner"'), "unknown_label ok:2 ok:3", None),
    "contradictory N. name, unknown number": (first('"7. eating"'), "unknown_label ok:2 ok:3", None),
    # labels that are none
    "number out of range": (first("7"), "unknown_label ok:2 ok:3", None),
    "negative number": (first("-1"), "unknown_label ok:2 ok:3", None),
    "huge number": (first("1" + "0" * 400), "unknown_label ok:2 ok:3", None),
    "number too long for int": (first("1" * 5000), "malformed ok:2 ok:3", MALFORMED),
    "unknown name": (first('"sleeping"'), "unknown_label ok:2 ok:3", None),
    "near miss is not mapped": (first('"preparing diner"'), "unknown_label ok:2 ok:3", None),
    "prefix is not mapped": (first('"eat"'), "unknown_label ok:2 ok:3", None),
    "null": (first("null"), "unknown_label ok:2 ok:3", None),
    "bool": (first("true"), "unknown_label ok:2 ok:3", None),
    "fraction": (first("2.5"), "unknown_label ok:2 ok:3", None),
    "nested list": (first("[1, 2]"), "unknown_label ok:2 ok:3", None),
    "list of one": (first("[1]"), "unknown_label ok:2 ok:3", None),
    "object": (first('{"name": "eating"}'), "unknown_label ok:2 ok:3", None),
    "empty name": (first('""'), "unknown_label ok:2 ok:3", None),
    "NaN": (first("NaN"), "unknown_label ok:2 ok:3", None),
    "Infinity": (first("-Infinity"), "unknown_label ok:2 ok:3", None),
    "float overflow": (first("1e999"), "unknown_label ok:2 ok:3", None),
    "name of 600 characters": (first('"' + "eating" * 100 + '"'), "unknown_label ok:2 ok:3", None),
    # around the list
    "blanks around": (f"\n\n {FULL} \n", OK, None),
    "code fence": (f"```json\n{FULL}\n```", OK, MALFORMED),
    "prose before": (f"Here is the list:\n{FULL}", OK, MALFORMED),
    "prose behind": (f"{FULL}\nI hope this helps!", OK, MALFORMED),
    "prose with brackets before": (f"For [each] event: {FULL}", OK, MALFORMED),
    "byte order mark": (f"\ufeff{FULL}", OK, MALFORMED),
    "answers in an object": (f'{{"answers": {FULL}}}', OK, MALFORMED),
    "list in a list": (f"[{FULL}]", OK, MALFORMED),
    "one object a line": (FULL[1:-1].replace("}, ", "}\n"), OK, MALFORMED),
    "the last complete list counts": (FULL + FULL.replace("1}", "25}"), "ok:25 ok:2 ok:3", MALFORMED),
    "the same list twice": (FULL + FULL, OK, MALFORMED),
    "a draft of a part, then the list": (f'[{{"id": 0, "activity": 25}}] no: {FULL}', OK, MALFORMED),
    "a list, then a part that contradicts it": (
        f'{FULL} or [{{"id": 0, "activity": 25}}]', "duplicate ok:2 ok:3", MALFORMED,
    ),
    "drafts without brackets settle nothing": (
        FULL[1:-1].replace("}, ", "}\n") + "\n" + FULL[1:-1].replace("1}", "25}"), "duplicate ok:2 ok:3", MALFORMED,
    ),
    "an item inside an item": (
        '[{"id": 0, "not": {"id": 1, "activity": 25}, "activity": 1}, {"id": 1, "activity": 2},'
        ' {"id": 2, "others": [{"id": 0, "activity": 25}], "activity": 3}]', OK, MALFORMED,
    ),
    "an item inside an item that says nothing": (
        '[{"id": 0, "not": {"id": 1, "activity": 25}}, {"id": 2, "activity": 3}]', "malformed missing ok:3", MALFORMED,
    ),
    "comments": (FULL.replace("1}", "1 // stove }\n}").replace("2}", "2 /* {pots} */}"), OK, MALFORMED),
    "braces and brackets in strings": (
        FULL.replace('"id": 1', '"note": "set {x} ] on", "id": 1'), OK, MALFORMED,
    ),
    "JSON in a string": (json.dumps({"tool": "t", "arguments": json.dumps({"a": json.loads(FULL)})}), OK, MALFORMED),
    "full-width punctuation": (FULL.translate(str.maketrans("{}[]:,", "｛｝［］：，")), OK, MALFORMED),
    "full-width colons": (FULL.replace(":", "："), OK, MALFORMED),
    # delimiters
    "trailing comma in list": (FULL.replace("}]", "},]"), OK, MALFORMED),
    "trailing comma in item": (FULL.replace("}", ",}"), OK, MALFORMED),
    "missing comma between items": (FULL.replace("}, ", "} "), OK, MALFORMED),
    "missing comma in item": (FULL.replace('0, "', '0 "'), OK, MALFORMED),
    "single quotes": (FULL.replace('"', "'"), OK, MALFORMED),
    "curly quotes": (FULL.replace('"id"', "“id”").replace('"activity"', "“activity”"), OK, MALFORMED),
    "unquoted keys": (FULL.replace('"', ""), OK, MALFORMED),
    "unquoted name": (first("eating snack"), "ok:25 ok:2 ok:3", MALFORMED),
    "unclosed quote before brace": (first('"eating'), "ok:2 ok:2 ok:3", MALFORMED),
    "keys in capitals": (FULL.replace('"id"', '"ID"').replace("activity", "Activity"), OK, MALFORMED),
    "a short why": (FULL.replace("}", ', "why": "it is late"}'), OK, None),
    "more keys": (FULL.replace("}", ', "confidence": 0.9}'), OK, MALFORMED),
    # repair may move delimiters, never choose or complete a value
    "two values": (first("1 or 2"), "malformed ok:2 ok:3", MALFORMED),
    "two numbers": (first("2 5"), "malformed ok:2 ok:3", MALFORMED),
    "number and contradicting name": (first("1 eating"), "malformed ok:2 ok:3", MALFORMED),
    "no value": (first(""), "malformed ok:2 ok:3", MALFORMED),
    "typographic minus": (first("−2"), "malformed ok:2 ok:3", MALFORMED),
    "leading zero": (first("02"), "ok:2 ok:2 ok:3", MALFORMED),
    "duplicate keys": (first('1, "activity": 2'), "malformed ok:2 ok:3", MALFORMED),
    "duplicate keys, single quotes": (
        first('1, "activity": 2').replace('"', "'"), "malformed ok:2 ok:3", MALFORMED,
    ),
    "duplicate keys, other case": (first('1, "Activity": 2'), "malformed ok:2 ok:3", MALFORMED),
    "two ids in an item": (
        '[{"id": 0, "activity": 1, "id": 1, "activity": 2}, {"id": 2, "activity": 3}]',
        "malformed malformed ok:3", MALFORMED,
    ),
    "item never closed": ('[{"id": 0, "activity": 1, {"id": 1, "activity": 2}]', "malformed ok:2 missing", MALFORMED),
    "last item never closed": (
        '[{"id": 0, "activity": 1}, {"id": 1, "activity": 2]', "ok:1 malformed missing", MALFORMED,
    ),
    "item without activity": (FULL.replace('0, "activity"', '0, "label"'), "malformed ok:2 ok:3", MALFORMED),
    # ids
    "string ids": (FULL.replace("0,", '"0",').replace("1,", '"1",'), OK, MALFORMED),
    "float ids": (FULL.replace("0,", "0.0,"), OK, MALFORMED),
    "bool id is none": (FULL.replace('"id": 1', '"id": true'), "ok:1 missing ok:3", MALFORMED),
    "other order": (
        '[{"id": 2, "activity": 3}, {"id": 0, "activity": 1}, {"id": 1, "activity": 2}]', OK, None,
    ),
    "extra ids": (FULL.replace("}]", '}, {"id": 3, "activity": 1}, {"id": 99, "activity": 1}]'), OK, None),
    "negative id": (FULL.replace('"id": 1', '"id": -1'), "ok:1 missing ok:3", None),
    "ids from 1": (
        '[{"id": 1, "activity": 1}, {"id": 2, "activity": 2}, {"id": 3, "activity": 3}]', "missing ok:1 ok:2", None,
    ),
    "missing event": ('[{"id": 0, "activity": 1}, {"id": 2, "activity": 3}]', "ok:1 missing ok:3", None),
    "missing ids": ('[{"activity": 1}, {"activity": 2}, {"activity": 3}]', MALFORMED, None),
    "bare labels": ("[1, 2, 3]", MALFORMED, None),
    # duplicates
    "two labels for an event": (FULL.replace("[", '[{"id": 0, "activity": 25}, '), "duplicate ok:2 ok:3", None),
    "two labels, one of them unknown": (FULL.replace("[", '[{"id": 0, "activity": 77}, '), "duplicate ok:2 ok:3", None),
    "one label twice": (FULL.replace("[", '[{"id": 0, "activity": "1"}, '), OK, "duplicate ok:2 ok:3"),
    "duplicate, none valid": (
        '[{"id": 0, "activity": 77}, {"id": 0, "activity": "x"}]', "unknown_label missing missing",
        "duplicate missing missing",
    ),
    # cuts
    "cut in a string": (
        '[{"id": 0, "activity": "eating"}, {"id": 1, "activity": "eating', "ok:2 cut cut", CUT,
    ),
    "cut in a number": ('[{"id": 0, "activity": 1}, {"id": 1, "activity": 2', "ok:1 cut cut", CUT),
    "cut in a key": ('[{"id": 0, "activity": 1}, {"id": 1, "activ', "ok:1 cut cut", CUT),
    "cut in the id key": ('[{"id": 0, "activity": 1}, {"i', "ok:1 cut cut", CUT),
    "cut in an id": ('[{"id": 0, "activity": 1}, {"id": 2', "ok:1 cut cut", CUT),
    "cut in a later item": ('[{"id": 0, "activity": 1}, {"id": 2, "act', "ok:1 missing cut", CUT),
    "cut after a comma": ('[{"id": 0, "activity": 1},', "ok:1 cut cut", CUT),
    "cut before the bracket": (FULL[:-1], OK, CUT),
    "cut in a fence": ('```json\n[{"id": 0, "activity": 1}, {"id"', "ok:1 cut cut", CUT),
    "cut after the bracket": ("[", CUT, None),
    # nothing to read
    "empty": ("", MISSING, None),
    "blank": (" \n\t", MISSING, None),
    "empty list": ("[]", MISSING, None),
    "empty list in a fence": ("```json\n[ ]\n```", MISSING, MALFORMED),
    "prose only": ("The residents are cooking dinner (activity 1).", MALFORMED, None),
    "prose with braces": ("Use {curly} braces, id and activity.", MALFORMED, None),
    "null document": ("null", MALFORMED, None),
    "echo of the input": (
        '[{"id": 0, "time": "07:00:00", "event": "door OPENED"}, {"id": 1, "time": "07:00:01", "event": "1"}]',
        MALFORMED, None,
    ),
    "echo, then the answer": (
        f'[{{"id": 0, "time": "07:00:00", "event": "door OPENED"}}]\n{FULL}', OK, MALFORMED,
    ),
    "control characters around": (f"\x00\x1b[31m{FULL}\x07", OK, MALFORMED),
    "control character in a name": (first('"eat\x00ing"'), "unknown_label ok:2 ok:3", MALFORMED),
    "lone surrogate": (first('"\\ud800"'), "unknown_label ok:2 ok:3", None),
    "deep nesting in an item": (first("[" * 450), "malformed ok:2 ok:3", MALFORMED),
    "deep nesting around": ("[" * 5000 + FULL[1:-1] + "]" * 5000, OK, MALFORMED),
    # thinking
    "thinking, then the answer": (f"<think>\nevent 0 is 7\n</think>\n\n{FULL}", OK, None),
    "empty thinking": (f"<think>\n\n</think>\n\n{FULL}", OK, None),
    "closing mark only": (f'I think [{{"id": 0, "activity": 25}}]\n</think>\n{FULL}', OK, None),
    "draft inside thinking": (f'<think>[{{"id": 0, "activity": 25}}]</think>{FULL}', OK, None),
    "answer inside closed thinking only": (f"<think>{FULL}</think>", MISSING, None),
    "answer inside unclosed thinking": (f"<think>\n{FULL}", CUT, None),
    "thinking never closed, prose before": (f"Sure! <think>\n{FULL}", CUT, None),
    "cut inside the opening mark": ("<thi", MALFORMED, None),
    "second block unclosed": (f"<think>a</think>{FULL}<think>wait: {FULL}", OK, None),
    "second block unclosed, no answer before": (f"<think>a</think>\n<think>b {FULL}", CUT, None),
    "nested marks": (f"<think>a <think>b</think>{FULL}", OK, None),
    "closing mark after the answer": (f"<think>a</think>{FULL}</think>", OK, None),
    "closing mark after the answer alone": (f"{FULL}\n</think>", OK, None),
    "the mark named in the reasoning": (
        f"<think>I close with </think> then. {FULL.replace('1}', '25}')}</think>{FULL}", OK, MALFORMED,
    ),
    "thinking inside a number": (
        first("2<think>hm</think>5"), "malformed ok:2 ok:3", MALFORMED,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CORPUS)
def test_corpus(name):
    text, flexible, strict = CORPUS[name]
    assert reading(text) == flexible
    assert reading(text, strict=True) == (strict or flexible)


def test_corpus_is_large_enough():
    assert len(CORPUS) >= 45


@pytest.mark.parametrize(
    ("text", "flexible", "strict"),
    [
        (FULL, OK, OK),
        (FULL[:-1], OK, CUT),
        ("", CUT, CUT),
        ("The residents are", CUT, CUT),
        ('[{"id": 0, "activity": 1}', "ok:1 cut cut", CUT),
        ('{"id": 0, "activity": 1}', "ok:1 cut cut", CUT),
        ("<think>long", CUT, CUT),
    ],
)
def test_length_limit_names_the_cause(text, flexible, strict):
    assert reading(text, finish_reason="length") == flexible
    assert reading(text, strict=True, finish_reason="length") == strict


def test_window_sizes():
    assert reading("[]", n=0) == ""
    assert reading(FULL, n=1) == "ok:1"
    assert reading(FULL, n=5) == "ok:1 ok:2 ok:3 missing missing"
    assert parse_answer(FULL, 1, LABELS).n_extra == 2
    assert parse_answer(FULL, 3, LABELS).n_extra == 0


def test_mended_items_are_counted():
    assert parse_answer(FULL, 3, LABELS).n_repaired == 0
    assert parse_answer(FULL.replace('"', "'"), 3, LABELS).n_repaired == 3
    assert parse_answer(FULL.replace('0, "', '0 "'), 3, LABELS).n_repaired == 1
    assert parse_answer(first("1 or 2"), 3, LABELS).n_repaired == 0  # tried and refused


@pytest.mark.parametrize(
    ("text", "reasoning", "answer", "thinking"),
    [
        ("a", "", "a", "absent"),
        ("<think> r </think> a ", "r", "a", "closed"),
        ("r </think> a", "r", "a", "closed"),
        ("<think> r", "r", "", "unclosed"),
        ("a <think> r", "r", "a", "unclosed"),
        ("<think>r</think>a<think>s", "rs", "a", "unclosed"),
        ("<think>r</think>a<think>s</think>b", "rs", "a\nb", "closed"),
        ("a think> b", "", "a think> b", "absent"),
        ("<think><think>r</think></think>a", "r", "a", "closed"),
    ],
)
def test_split_reasoning(text, reasoning, answer, thinking):
    assert split_reasoning(text) == (reasoning, answer, thinking)
    made = parse_answer(text, 1, LABELS)
    assert (made.reasoning, made.answer, made.thinking) == (reasoning, answer, thinking)


def test_names_that_differ_by_case_alone_need_their_number():
    labels = LabelSet({1: "Cook", 2: "cook", 3: "COOK", 4: "rest"})
    assert [labels.find(value) for value in ("cook", "Cook", "COOK", "rest")] == [None, None, None, 4]
    assert [labels.find(value) for value in (1, "2", "3. cook", "2. COOK")] == [1, 2, 3, 2]


def test_a_name_that_is_another_label_s_number_means_the_number():
    assert LabelSet({1: "2", 2: "eating"}).find("2") == 2


def test_rows_for_programs():
    rows = as_rows([Prediction(0, "ok", 2), Prediction(1, "cut", None)], LABELS)
    assert rows == [{"id": 0, "verdict": "ok", "label": "eating"}, {"id": 1, "verdict": "cut", "label": None}]


MB = 1_000_000
HOSTILE = {
    "open brackets": "[" * MB,
    "open braces": "{" * MB,
    "brackets and braces": "[{" * (MB // 2),
    "empty lists": "[]" * (MB // 2) + "a",
    "empty objects": "{}" * (MB // 2),
    "open marks": "<think>" * (MB // 7),
    "closing marks": "</think>" * (MB // 8),
    "thinking blocks": "<think></think>" * (MB // 15),
    "closing marks with text": "a</think>" * (MB // 9),
    "half marks": "<think" * (MB // 6),
    "half marks of Kimi": "◁think" * (MB // 6),
    "marks of Kimi behind an item": '◁think▷so◁/think▷[{"id":0,"activity":"' + "◁/think▷" * (MB // 8),
    "tags": "think" + "<a>" * (MB // 3),
    "stray quotes in an item": '[{"id":0,"activity":"' + '"' * MB,
    "one item again and again": '{"id":0,"activity":1},' * (MB // 22),
    "broken items": "{'id':0,'activity':9 9}," * (MB // 24),
    "deep broken items": ("{'id':0,'activity':" + "[" * 440 + "},") * (MB // 462),
    "ids alone": "id:0 " * (MB // 5),
    "open ids": "{id: " * (MB // 5),
    "endless string": '[{"id":0,"activity":"' + "a" * MB,
    "endless number": '[{"id":0,"activity":' + "9" * MB + "}]",
    "endless name": '[{"id":0,"activity":"' + "a" * MB + '"}]',
    "backslashes": '[{"id":0,"activity":"' + "\\" * MB + '"}]',
    "blanks": " " * MB,
    "blanks in an item": "{" + " " * MB + "}",
    "blanks behind id": '{"id"' + " " * MB + ":1}",
    "back quotes": "`" * MB,
    "nested objects": '{"a":' * (MB // 6) + "1" + "}" * (MB // 6),
    "a true answer, then rambling": FULL + " and so on" * (MB // 10),
    "letters": "ü" * MB,
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("strict", [False, True])
def test_a_hostile_megabyte_is_read_fast(name, strict):
    text = HOSTILE[name]
    assert len(parse_answer(text, 10, LABELS, strict=strict).predictions) == 10
    # The figure is 50 ms (bench faults); a busy sibling hyper-thread may double it, a quadratic reader takes minutes.
    assert quiet_seconds(lambda: parse_answer(text, 10, LABELS, strict=strict)) <= 0.1


def check(text, n, **options):
    """What holds for every text. Returns the labels."""
    made = parse_answer(text, n, LABELS, **options).predictions
    assert [p.event for p in made] == list(range(n))
    for p in made:
        assert (p.label is not None) == (p.verdict == "ok") and p.label in (None, *LABELS)
    return [p.label for p in made]


FRAGMENTS = (
    *'{}[]:,"\'`0123 \n\\-.', '"id"', '"activity"', '{"id": ', ', "activity": ', '"eating"', "eating", "'id'",
    "<think>", "</think>", "```json", "25", "null", "NaN", '{"id": 1, "activity": 2}', "}, {", '"event": "x"',
    "\x00", "é", "\ud800",
)  # fmt: skip
GENERATED = {"deadline": None, "derandomize": True, "database": None}


@settings(max_examples=examples(2500), **GENERATED)
@given(st.text(max_size=60), st.integers(0, 4), st.booleans(), st.sampled_from(["", "stop", "length"]))
def test_random_text_never_raises(text, n, strict, finish_reason):
    check(text, n, strict=strict, finish_reason=finish_reason)


@settings(max_examples=examples(3500), **GENERATED)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join), st.booleans())
def test_random_fragments_never_raise(text, strict):
    check(text, 3, strict=strict)
    check(text, 3, strict=strict, finish_reason="length")


forms = st.sampled_from(
    [json.dumps(form) for number, name in LABELS.items() for form in (number, str(number), name, f"{number}. {name}")]
)
frames = st.sampled_from(
    ["{}", "```json\n{}\n```", "Here:\n{}\nDone.", "<think>{{x}} [1]</think>\n{}", '{{"answers": {}}}', "\n{}\n"]
)


@st.composite
def answers(draw):
    """A complete, readable answer to a window of 1 to 4 events."""
    values = draw(st.lists(forms, min_size=1, max_size=4))
    text = "[" + ", ".join(f'{{"id": {i}, "activity": {value}}}' for i, value in enumerate(values)) + "]"
    if draw(st.booleans()):
        text = text.replace('"', "'")
    return draw(frames).format(text), len(values)


@settings(max_examples=examples(4000), **GENERATED)
@given(answers(), st.lists(st.tuples(st.integers(0, 2), st.integers(0, 300), st.sampled_from(FRAGMENTS)), max_size=4))
def test_mutated_answers_invent_no_label(answer, edits):
    text, n = answer
    for kind, place, fragment in edits:
        place %= len(text) + 1
        text = text[:place] + ("" if kind == 0 else fragment) + text[place + (kind != 1) * len(fragment) :]
    folded = " ".join(text.replace("_", " ").split()).casefold()
    for label in check(text, n):
        assert label is None or str(label) in text or LABELS[label].replace("_", " ").casefold() in folded


@settings(max_examples=examples(300), **GENERATED)
@given(answers())
def test_a_cut_value_is_never_completed(answer):
    text, n = answer
    whole = check(text, n)
    assert None not in whole
    for end in range(len(text)):
        for finish_reason in ("", "length"):
            cut = check(text[:end], n, finish_reason=finish_reason)
            assert all(c is None or c == w for c, w in zip(cut, whole)), text[:end]
        assert all(c is None or c == w for c, w in zip(check(text[:end], n, strict=True), whole))


@pytest.mark.parametrize("name", ["a<b", "tea | coffee", "<think>", "x" * 100, "two\u202elines\n"])
def test_a_label_is_found_as_the_prompt_shows_it_and_as_the_file_spells_it(name):
    from llmhar.text.serialize import clean_text

    for shown in (name, clean_text(name)):
        text = json.dumps([{"id": 0, "activity": shown}])
        if "think>" not in shown:  # that one would be read as a thinking block
            assert parse_answer(text, 1, {7: name}).predictions[0].label == 7


@pytest.mark.parametrize("value", ["watching [x] fo", "a ] b", 'he said \\"hi\\" ] an'])
def test_an_open_string_may_hold_a_bracket(value):
    reading = parse_answer('[{"id":0,"activity":1},{"id":1,"activity":"' + value, 3, {1: "cooking"})
    assert [p.verdict for p in reading.predictions] == ["ok", "cut", "cut"]


DRAFT = FULL.replace("1}", "25}")


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("<think>", "</think>"), ("<THINK>", "</THINK>"), ("< think >", "< / think >"), ('<think n="9">', "</think>"),
        ("<thinking>", "</thinking>"), ("<thought>", "</thought>"), ("<seed:think>", "</seed:think>"),
        ("[THINK]", "[/THINK]"), ("[think]", "[/think]"), ("◁think▷", "◁/think▷"), ("<reasoning>", "</reasoning>"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"), ("<|channel>thought\n", "<channel|>"),
        ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ("<|channel|>analysis<|message|>", "<|start|>assistant<|channel|>final <|constrain|>json<|message|>"),
    ],
)  # fmt: skip
def test_thinking_marks_of_every_family(opening, closing):
    assert reading(f"{opening}perhaps {DRAFT}{closing}{FULL}") == OK
    assert reading(f"{opening}perhaps {DRAFT}") == CUT
    assert reading(f"perhaps {DRAFT}. So{closing}{FULL}") == OK
    assert split_reasoning(f"{opening}why{closing}{FULL}") == ("why", FULL, "closed")


def test_drafts_and_ids_from_one_are_counted():
    made = parse_answer(f"{DRAFT} better: {FULL}", 3, LABELS)
    assert made.n_drafts == 3 and not made.from_one
    shifted = parse_answer(json.dumps([{"id": i, "activity": 1} for i in (1, 2, 3)]), 3, LABELS)
    assert shifted.from_one and shifted.n_extra == 1
    assert not parse_answer(FULL, 3, LABELS).from_one


@pytest.mark.parametrize(
    ("policy", "labels"), [("none", "duplicate"), ("first", "duplicate:25"), ("last", "duplicate:1")]
)
def test_which_of_different_labels_counts_is_a_setting(policy, labels):
    text = FULL.replace("[", '[{"id": 0, "activity": 25}, ')
    assert reading(text, contradictions=policy) == f"{labels} ok:2 ok:3"


SHAPES = [json.loads(line) for line in (FIXTURES / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
SHAPE_LABELS = dict(enumerate((FIXTURES / "answer_labels.txt").read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["name"])
def test_shapes_of_real_answers(shape):
    """Shapes seen in public reports, with the labels that a reader takes who guesses nothing (n = 4)."""
    made = parse_answer(shape["answer"], 4, SHAPE_LABELS).predictions
    assert [None if p.label is None else SHAPE_LABELS[p.label] for p in made] == shape["labels"]


def test_there_are_25_shapes():
    assert len(SHAPES) == 25
