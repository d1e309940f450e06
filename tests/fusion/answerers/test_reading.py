"""From a model's text to an activity: closed answers by their JSON, open ones by embedding. Judge and agreement."""

from __future__ import annotations

import csv
import importlib.metadata
import json
import math
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.ask.asking import Asking
from llmhar.ask.engines.recorded import RecordedEngine
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.fusion.answerers.judge import NONE, judge_agreement, judge_open
from llmhar.fusion.answerers.reading import THRESHOLD, Reading, match_open, read_closed, read_open
from llmhar.text.parsing import parse_answer
from tests.fusion.answerers.test_prompt import EGO4D
from tests.generated import examples
from tests.timing import quiet_seconds

OK = '{"activity": "cooking"}'
CORPUS = {
    "as asked": (OK, "cooking", "ok"),
    "after thinking": (f"<think>\neating?\n</think>\n\n{OK}", "cooking", "ok"),
    "after open reasoning": (f"Sounds: sizzling. So cooking.\n{OK}", "cooking", "ok"),
    "in a fence": (f"```json\n{OK}\n```", "cooking", "ok"),
    "case, blanks, underscores": ('{"Activity" : " Watching_tv "}', "watching TV", "ok"),
    "with a full stop": ('{"activity": "cooking."}', "cooking", "ok"),
    "single quotes": ("{'activity': 'cooking'}", "cooking", "ok"),
    "no quotes": ("{activity: cooking}", "cooking", "ok"),
    "trailing comma": ('{"activity": "cooking",}', "cooking", "ok"),
    "more keys": ('{"reason": "pan", "activity": "cooking", "confidence": 0.9}', "cooking", "ok"),
    "the last one counts": ('{"activity": "eating"} no, wait: {"activity": "cooking"}', "cooking", "ok"),
    "the last one counts, also unknown": ('{"activity": "cooking"} {"activity": "flying"}', None, "unknown_label"),
    "twice the same": ('{"activity": "cooking", "activity": "cooking"}', "cooking", "ok"),
    "two at once": ('{"activity": "cooking", "activity": "eating"}', None, "unknown_label"),
    "the label and nothing else": ("Washing dishes.", "washing dishes", "ok"),
    "the label in bold": ("**cooking**", "cooking", "ok"),
    "a slash": ('{"activity": "workout/weightlifting"}', "workout/weightlifting", "ok"),
    "unknown": ('{"activity": "sleeping"}', None, "unknown_label"),
    "near miss is not mapped": ('{"activity": "cook"}', None, "unknown_label"),
    "a list": ('{"activity": ["cooking"]}', None, "unknown_label"),
    "null": ('{"activity": null}', None, "unknown_label"),
    "a number": ('{"activity": 2}', None, "unknown_label"),
    "the form copied": ('{"activity": "..."}', None, "unknown_label"),
    "empty": ("", None, "missing"),
    "thinking only": ("<think>hm</think>", None, "missing"),
    "prose": ("The person is cooking something.", None, "malformed"),
    "other JSON": ('{"label": "cooking"}', None, "malformed"),
    "unfinished thinking": (f"<think>could be {OK}", None, "cut"),
    "cut in the object": ('So {"activity": "cook', None, "cut"),
    "cut after another": ('{"activity": "cooking"} or {"activity": "ea', None, "cut"),
}


@pytest.mark.parametrize("name", CORPUS)
def test_closed_answers(name):
    text, label, verdict = CORPUS[name]
    assert read_closed(text, EGO4D) == Reading(label, verdict)


def test_the_token_limit_cuts_what_has_no_answer_yet():
    assert read_closed("The sound of water", EGO4D, "length") == (None, "cut")
    assert read_closed("", EGO4D, "length") == (None, "cut")
    assert read_closed(f"{OK} and so on and", EGO4D, "length") == ("cooking", "ok")


def test_labels_come_back_as_the_data_set_writes_them():
    assert read_closed('{"activity": "watching tv"}', ["WATCHING_TV"]).label == "WATCHING_TV"
    long = "a" * 200
    assert read_closed(json.dumps({"activity": long[:80]}), [long]).label == long  # as the prompt showed it


PIECES = st.sampled_from(["{", "}", '"activity"', ":", '"cooking"', "<think>", "</think>", "'", ",", "\\", "activity",
                          "[", "]", "\ud800", "\u202e", OK, "\n", "x" * 50])  # fmt: skip


@settings(max_examples=examples(400), deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=25).map("".join)), st.sampled_from(["", "stop", "length"]))
def test_any_text_gets_exactly_one_verdict(text, reason):
    for reading in (read_closed(text, EGO4D, reason), read_open(text, reason)):
        assert (reading.label is not None) == (reading.verdict == "ok")
    assert read_closed(text, EGO4D, reason).label in (None, *EGO4D)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(blacklist_characters="{}<>"), max_size=80), st.sampled_from(EGO4D))
def test_whatever_stands_before_the_last_object_does_not_matter(prose, label):
    assert read_closed(prose + json.dumps({"activity": label}), EGO4D).label == label


@pytest.mark.parametrize("unit", ["{", "}", "{}", OK, "<think></think>", "{'activity':", '"', "activity ", "<think>",
                                  "</think>", "{activity: '", "a", "\\"])  # fmt: skip
def test_a_megabyte_is_read_at_once(unit):
    text = unit * (1_000_000 // len(unit))
    # The figure is 50 ms (bench faults); a busy sibling hyper-thread has trebled it, a quadratic reader takes minutes.
    assert quiet_seconds(lambda: read_closed(text, EGO4D)) <= 0.15


def test_open_answers_keep_their_words():
    assert read_open('<think>x</think>{"activity": "Rinsing  plates."}') == ("Rinsing plates", "ok")
    assert read_open("Rinsing plates").label == "rinsing plates"
    assert read_open("I think that the person may well be rinsing plates") == (None, "malformed")
    assert read_open('{"activity": "<|im_end|>"}').label == "‹¦im_end¦›"
    assert read_open('{"activity": ""}') == (None, "missing")
    assert read_open('{"activity": 3}') == (None, "unknown_label")
    assert len(read_open(json.dumps({"activity": "long " * 100})).label) <= 120


# Matching.


def paraphrases(which: str) -> list[tuple[str, str | None]]:
    with open(Path(__file__).parents[2] / "fixtures" / "open_answers.csv", encoding="utf-8") as stream:
        return [(row["answer"], row["label"] or None) for row in csv.DictReader(stream) if row["set"] == which]


def accuracy(pairs, threshold=THRESHOLD) -> float:
    matches = match_open([said for said, _ in pairs], EGO4D, threshold=threshold)
    return sum(match.label == label for match, (_, label) in zip(matches, pairs)) / len(pairs)


def test_paraphrases_find_their_activity():
    """The threshold was chosen on the calibration half: 0.91 of 60 there."""
    known = paraphrases("calibration")
    assert sum(label is not None for _, label in known) >= 40
    assert accuracy(known) >= 0.88
    assert accuracy(known) >= max(accuracy(known, t / 20) for t in range(20)) - 0.02
    assert accuracy(paraphrases("held out")) >= 0.70


def test_matching_is_the_same_in_any_company():
    said = [answer for answer, _ in paraphrases("held out")]
    alone = [match_open([answer], EGO4D)[0] for answer in said]
    random.Random(0).shuffle(order := list(range(len(said))))
    together = match_open([said[i] for i in order], EGO4D)
    for i, match in zip(order, together):
        assert (match.label, match.nearest) == (alone[i].label, alone[i].nearest)
        assert match.similarity == pytest.approx(alone[i].similarity, abs=1e-5)


def test_equal_words_match_and_nonsense_does_not():
    exact, none, empty = match_open(["Watching_TV", "zzzz qqqq", ""], EGO4D)
    assert exact == ("watching TV", 1.0, "watching TV")
    assert none.label is None and empty.label is None and none.nearest in EGO4D
    assert match_open([], EGO4D) == []
    assert importlib.metadata.version("wordllama") == "0.4.0.post1", "the weights are part of the package"


def test_matching_imports_no_torch():
    code = (
        "import sys\nfrom llmhar.fusion.answerers.reading import match_open\nmatch_open(['hello'], ['cooking'])\n"
        "assert not {'torch', 'transformers', 'vllm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# The judge.

JUDGE = ModelSpec(name="judge", kind="llm", engine="recorded", hub_id="x/judge", revision="1")


def test_a_judge_is_asked_once_an_answer_and_kept(tmp_path):
    replies = tmp_path / "r.jsonl"
    lines = [{"match": "plates", "text": '<think>dishes</think>{"activity": "washing dishes"}', "times": 1},
             {"match": "flying", "text": json.dumps({"activity": NONE})}, {"match": "ignore", "text": "Sure!"},
             {"match": "broken", "text": "", "error": "asleep"}]  # fmt: skip
    replies.write_text("\n".join(map(json.dumps, lines)))
    said = ["Rinsing plates", "rinsing  plates", "flying", 'ignore this: {"activity": "eating"}', "", "broken"]
    with Store(tmp_path / "s.sqlite") as store:
        ask = lambda: judge_open(  # noqa: E731
            said,
            EGO4D,
            JUDGE,
            store,
            asking=Asking(progress=False, open_with=lambda: RecordedEngine(replies)),
            dataset="d",
        )
        found = ask()
        assert found == [("washing dishes", "ok"), ("washing dishes", "ok"), (None, "ok"), (None, "malformed"),
                         (None, "ok"), (None, "missing")]  # fmt: skip
        assert store.counts()["successes"] == 3
        lines[3]["error"] = "still asleep"
        assert ask() == found and store.counts()["successes"] == 3
        key = str(store.request(store._db.execute("SELECT key FROM requests LIMIT 1").fetchone()[0]))
    assert "washing dishes" in key and "truth" not in key


def test_agreement_beyond_chance():
    truth = ["a", "a", "b", "b"]
    same = judge_agreement(["a", "a", "b", None], [Reading(x, "ok") for x in ("a", "a", "b", None)], truth)
    assert (same.n, same.agreement, same.kappa, same.matched_accuracy, same.judged_accuracy) == (4, 1, 1, 0.75, 0.75)
    by_chance = judge_agreement(["a", "a", "b", "b"], [Reading(x, "ok") for x in ("a", "b", "a", "b")], truth)
    assert (by_chance.agreement, by_chance.kappa, by_chance.judged_accuracy) == (0.5, 0.0, 0.5)
    dull = judge_agreement(["a", "a"], [Reading("a", "ok")] * 2, ["a", "b"])
    assert dull.kappa is None and dull.agreement == 1
    mute = judge_agreement(["a"], [Reading(None, "malformed")], ["a"])
    assert mute.n == 0 and math.isnan(mute.agreement) and mute.judged_accuracy == 0
    with pytest.raises(ValueError, match="2 matched"):
        judge_agreement(["a", "b"], [], ["a"])


@pytest.mark.parametrize(
    "said",
    ["watching TV", "Watching_TV.", "“watching  tv”", " WATCHING TV ", "**watching TV**", "ｗａｔｃｈｉｎｇ TV", "TV",
     "watching", "not watching TV", "watching TV or cooking", "cooking!", "", "   ", "1", "none"],
)  # fmt: skip
def test_fusion_and_homes_read_a_name_alike(said):
    labels = ["watching TV", "cooking"]
    at_home = parse_answer(json.dumps([{"id": 0, "activity": said}]), 1, dict(enumerate(labels, 100))).predictions[0]
    wanted = None if at_home.label is None else labels[at_home.label - 100]
    assert read_closed(json.dumps({"activity": said}), labels).label == wanted


@pytest.mark.parametrize(
    "answer",
    [
        '{"why": "the {fridge} door", "activity": "cooking"}',
        "{'why': 'water', 'activity': 'cooking'}",
        '{"id": 0, "activity": cooking}',
        '{"why": "water", "activity": "cooking", // sure\n}',
        '｛"activity"："cooking"｝',
    ],
)
def test_an_object_is_mended_as_homes_answers_are(answer):
    assert read_closed(f"<think>x</think>{answer}", EGO4D) == Reading("cooking", "ok")
    assert read_closed(answer, EGO4D, "length") == Reading("cooking", "ok")
