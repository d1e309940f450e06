"""Which activity of a list a reason means: weights, likelihoods, and bound answers that are named by their reasons."""

import json
import math

import numpy as np
import pytest

from llmhar import paths
from llmhar.ask.naming import name_by_reasons
from llmhar.distill import naming_fit
from llmhar.distill.home_lessons import lessons
from llmhar.fusion.answerers.prompt import closed_schema
from llmhar.fusion.answerers.reading import read_closed
from llmhar.records import Generation, Request
from llmhar.text import naming
from llmhar.text.confidence import label_confidences
from llmhar.text.parsing import parse_answer
from llmhar.text.schema import answer_schema, named_by, names_of

NAMES = {0: "Toileting", 1: "Meal_Preparation", 2: "sleeping at night", 3: "Leave Home"}
WHYS = ["flush in the morning, toilet use", "stove in the evening, cooking dinner", "bed at night, asleep",
        "front door in the morning, leaving the home"]  # fmt: skip


def asked(schema, logprobs=True):
    return Request("m", "r", "t", ({"role": "user", "content": "x"},), {}, schema=schema, logprobs=logprobs)


def answer(whys, name="Toileting"):
    items = [{"id": i, "why": why, "activity": name} for i, why in enumerate(whys)]
    return Generation("key", json.dumps(items), "stop", logprobs="[[0, 3, -1.0]]")


def test_a_reason_means_the_name_that_fits_its_conclusion():
    odds = naming.likelihoods(WHYS, list(NAMES.values()))
    assert odds.argmax(1).tolist() == [0, 1, 2, 3] and np.allclose(odds.sum(1), 1)
    assert naming.conclusion("sofa at night, resting") == "resting" and naming.conclusion("resting") == "resting"
    assert naming.conclusion("") == naming.NOTHING
    style = naming.likelihoods(WHYS[1:2], ["TOILETING", "mealPreparation", "Sleep"])
    assert style.argmax() == 1, "whatever the style of the names"


def test_a_bound_answer_is_named_by_its_reasons_and_keeps_them():
    schema = answer_schema(4, NAMES, why=True, spaced=True, namer=naming.fingerprint())
    made = name_by_reasons(answer(WHYS), asked(schema))
    reading = parse_answer(made.text, 4, NAMES)
    assert [p.label for p in reading.predictions] == [0, 1, 2, 3] and list(reading.whys.values()) == WHYS
    sure = label_confidences(made.text, made.logprobs, reading, NAMES)
    odds = naming.likelihoods(WHYS, list(NAMES.values()))
    assert sure == pytest.approx(odds.max(1).tolist()), "a label is as sure as its name is likely"
    assert name_by_reasons(answer(WHYS), asked(schema, logprobs=False)).logprobs == "[[0, 3, -1.0]]"


def test_hostile_reasons_and_names_stay_text():
    names = {0: 'a "quoted"\\ name', 1: "Küche </script>"}
    schema = answer_schema(2, names, why=True, namer="x")
    made = name_by_reasons(answer(['"}]', "\u2028\ud800"], "z"), asked(schema))
    items = json.loads(made.text)
    assert [item["why"] for item in items] == ['"}]', "\u2028\ud800"]
    assert {item["activity"] for item in items} <= set(schema["$defs"]["activity"]["enum"])
    assert all(-math.inf < likely <= 0 for _, _, likely in json.loads(made.logprobs))


@pytest.mark.parametrize("text", ["", "[", "no list", '{"id": 0}', '[{"id": 0}]', "[1]", "[]"])
def test_what_is_no_list_of_reasons_stays_as_it_is(text):
    schema = answer_schema(1, NAMES, why=True, namer="x")
    made = Generation("key", text, "stop")
    assert name_by_reasons(made, asked(schema)).text == text
    failed = Generation("key", "", "error", error="gone")
    assert name_by_reasons(failed, asked(schema)) is failed


def test_only_a_schema_that_says_so_is_named_and_the_matcher_is_part_of_it():
    plain, named = (answer_schema(1, NAMES, why=True, namer=namer) for namer in ("", naming.fingerprint()))
    assert not named_by(plain) and named_by(named) and asked(plain).key != asked(named).key
    assert asked(named).key != asked(answer_schema(1, NAMES, why=True, namer="another")).key


CLIP = "captions: a baby; sounds: Baby cry and Baby laughter, a baby; motion: mostly sitting; so comforting a child"


def test_a_clips_reason_means_the_name_nearest_to_what_it_hears_and_concludes():
    names = ["washing_up", "RockingTheBaby", "vacuuming", "sitting down", "eat a meal"]
    whys = [
        CLIP,
        "motion: standing; so eating lunch",
        "captions: a vacuum cleaner; so singing a song",
        "scrubbing plates",
    ]
    odds = naming.by_parts(whys, names)
    assert [names[best] for best in odds.argmax(1)] == ["RockingTheBaby", "eat a meal", "vacuuming", "washing_up"]
    assert np.allclose(odds.sum(1), 1)
    assert np.isfinite(naming.by_parts(["", "; ", "captions: \ud800; so "], ["a", "\ud800"])).all()


def test_a_clips_bound_answer_is_named_by_its_reason_and_read():
    labels = ["washing up", "rocking the baby", "vacuuming"]
    schema = closed_schema(labels, why=True, spaced=True, namer=naming.PARTS)
    text = json.dumps({"why": CLIP, "activity": "vacuuming"})
    made = name_by_reasons(Generation("key", text, "stop"), asked(schema))
    assert json.loads(made.text) == {"why": CLIP, "activity": "rocking the baby"}
    assert read_closed(made.text, labels, "stop") == ("rocking the baby", "ok")
    assert [made.text[slice(*place[:2])] for place in json.loads(made.logprobs)] == ['"rocking the baby"']
    own = closed_schema(labels, why=True, spaced=True)
    assert not named_by(own) and names_of(own) == labels and asked(own).key != asked(schema).key


def test_the_weights_are_those_of_the_lessons():
    """Fewer lessons, another fit, but the same direction; the file says how many it was fitted on."""
    found = naming_fit.fit(list(lessons(60, "homes-0")))
    kept = json.loads((paths.params() / naming.FILE).read_text())
    assert len(found["weights"]) == len(kept["weights"]) == len(naming.weights())
    assert np.corrcoef(found["weights"], kept["weights"])[0, 1] > 0.3
    assert kept["lessons"] > found["lessons"] == 60 and kept["pairs"] > found["pairs"] > 500


@pytest.mark.parametrize("content", [None, "{", "{}", '{"weights": [1, 2]}', '{"weights": "x"}'])
def test_broken_weights_name_file_and_cure(tmp_path, monkeypatch, content):
    monkeypatch.setattr(naming.paths, "params", lambda: tmp_path)
    if content is not None:
        (tmp_path / naming.FILE).write_text(content)
    naming.weights.cache_clear()
    with pytest.raises(naming.NamingError, match=r"naming.json.*python -m llmhar.distill.naming_fit"):
        naming.weights()
    naming.weights.cache_clear()
