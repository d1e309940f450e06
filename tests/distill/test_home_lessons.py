"""Lessons from made-up homes: what a student that moves house is taught, and what it must not be."""

import contextlib
import json
from dataclasses import replace

import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS, Local
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.data.grammar import bare_name, recorded_names
from llmhar.distill import moving
from llmhar.distill.examples import LeakError
from llmhar.distill.home_lessons import LISTED, lessons, refuse_leaks
from llmhar.distill.home_students import ARMS, home_lessons, home_student, trace_lessons
from llmhar.distill.teaching import load_teaching, recipe_for
from llmhar.records import Fingerprint, Generation
from llmhar.settings import SettingsError
from llmhar.text.parsing import parse_answer
from llmhar.text.schema import WHY_CHARS, named_by


@pytest.fixture(scope="module")
def taught():
    return list(lessons(60, "test"))


def activities(example):
    return example.messages[0]["content"].partition("Activities:\n")[2].split("\n")


def test_each_lesson_is_of_another_home_and_can_be_read(taught):
    assert len({example.session_id for example in taught}) == len(taught)
    for example in taught:
        items, labels = json.loads(example.completion), activities(example)
        n = len(example.messages[1]["content"].removeprefix("Events:\n").split("\n"))
        assert [item["id"] for item in items] == list(range(n))
        assert {item["activity"] for item in items} <= set(labels) and len(set(labels)) == len(labels)
        assert all(0 < len(item["why"]) <= WHY_CHARS for item in items)
        assert [list(item) for item in items] == [["id", "why", "activity"]] * n
        read = parse_answer(example.completion, n, dict(enumerate(labels))).predictions
        assert [labels[one.label] for one in read] == [item["activity"] for item in items]


def test_answers_alone_are_of_the_same_windows(taught):
    bare = list(lessons(60, "test", with_why=False))
    assert [e.messages for e in bare] == [e.messages for e in taught]
    for one, other in zip(bare, taught):
        assert [i["activity"] for i in json.loads(one.completion)] == [
            i["activity"] for i in json.loads(other.completion)
        ]
        assert "why" not in one.completion


def test_a_reason_names_the_room_of_a_coarse_sensor(taught):
    whys = [item["why"] for example in taught for item in json.loads(example.completion)]
    assert any(why.startswith("motion in the ") for why in whys) and any(" near " in why for why in whys)


def test_planted_leaks_are_refused(taught):
    refuse_leaks(taught)
    spoilt = taught[0].completion.replace(json.loads(taught[0].completion)[0]["activity"], "Leave_Home")
    with pytest.raises(LeakError, match="Leave_Home"):
        refuse_leaks([replace(taught[0], completion=spoilt)])
    listed = (
        {**taught[0].messages[0], "content": taught[0].messages[0]["content"] + "\nToileting"},
        taught[0].messages[1],
    )
    with pytest.raises(LeakError, match="Toileting"):
        refuse_leaks([replace(taught[0], messages=listed)])
    with pytest.raises(LeakError, match="kept for tests"):
        refuse_leaks(list(lessons(1, "test", words="validation")))
    with pytest.raises(LeakError, match="2011-06-15"):
        refuse_leaks([replace(taught[0], session_id="2011-06-15")])
    with pytest.raises(LeakError, match="kept for tests"):
        refuse_leaks(taught, [taught[3].session_id])


def test_lessons_by_rules_are_of_the_same_windows_and_keep_their_mistakes(taught):
    arm = ARMS["rules"]
    ruled = home_lessons(arm, 8)
    true = home_lessons(ARMS["truth"], 8)
    assert [e.messages[1] for e in ruled] == [e.messages[1] for e in true]
    assert [e.messages[0] for e in ruled] == [e.messages[0] for e in true]
    given, right = ([[i["activity"] for i in json.loads(e.completion)] for e in es] for es in (ruled, true))
    assert given != right
    assert all(item["why"] and ", so" not in item["why"] for e in ruled for item in json.loads(e.completion))


class Teacher(contextlib.nullcontext):
    """Thinks, then answers bound, always the first activity of the list; one text is cut."""

    def __init__(self):
        super().__init__(self)
        self.asked = []

    def fingerprint(self):
        return Fingerprint("scripted", "1", "", "")

    def stream(self, requests):
        for request in requests:
            self.asked.append(request)
            name = request.schema["$defs"]["activity"]["enum"][0] if request.schema else "nobody knows"
            n = request.schema["minItems"] if request.schema else 1
            items = json.dumps([{"id": i, "why": f'as "{i}" says', "activity": name} for i in range(n)])
            reason = "length" if len(self.asked) == 2 else "stop"
            yield Generation(request.key, f"<think>It is {name}.</think>{items}", reason)


@pytest.fixture
def qwen():
    arm = ARMS["qwen3"]
    return arm, replace(arm, teacher="smollm2-135m"), load_teaching(arm.teaching).changed({"n_examples": 6})


def test_a_language_model_teaches_by_its_whole_texts_unfiltered(qwen, tmp_path):
    """S1's way: the teacher reads the very prompt that the student will, and is bound to its form."""
    arm, asked, teaching = qwen
    assert (arm.base, arm.teacher, teaching.backend, teaching.trace_filter) == (
        "qwen3-0.6b",
        "qwen3-32b",
        "unsloth",
        "none",
    )
    assert MODELS[arm.base].kind == MODELS[arm.teacher].kind == "llm"
    recipe = recipe_for(arm.base, load_teaching(arm.teaching))
    s1 = recipe_for(arm.base, load_teaching("s1"))
    assert recipe == s1 and recipe.max_steps * recipe.examples_per_step == load_teaching(arm.teaching).n_examples
    teacher, true = Teacher(), home_lessons(ARMS["truth"], 6)
    with Store(tmp_path / "s.sqlite") as store:
        asking = Asking(open_with=lambda: teacher, progress=False)
        examples = trace_lessons(asked, teaching, store, asking)
        assert trace_lessons(asked, teaching, store, asking) == examples and len(teacher.asked) == 6, "asked once"
        bare = trace_lessons(asked, teaching.changed({"completion": "answer"}), store, asking)
        right = trace_lessons(asked, teaching.changed({"trace_filter": "correct"}), store, asking)
    assert [e.messages for e in examples] == [
        e.messages for e in true if e.session_id in {x.session_id for x in examples}
    ]
    assert len(examples) == 5, "the text that was cut is left out"
    assert all(e.completion.startswith("<think>") and e.request_key for e in examples)
    assert all(list(json.loads(e.completion)[0]) == ["id", "why", "activity"] for e in bare)
    assert len(right) < len(examples)
    assert all("why" in json.dumps(r.schema) for r in teacher.asked)


def test_a_leak_in_a_teacher_s_text_is_found(taught):
    refuse_leaks([replace(taught[0], completion=f"<think>Hm, Sleeping?</think>{taught[0].completion}")])
    for spoilt in (
        '<think>so</think>[{"id": 0, "why": "bed", "activity": "Sleeping"}]',
        "Sure: [{'id': 0, 'activity': 'Bed_to_Toilet'}",
    ):
        with pytest.raises(LeakError, match=r"Sleeping|Bed_to_Toilet"):
            refuse_leaks([replace(taught[0], completion=spoilt + "]")])


def test_an_arm_with_a_teacher_wants_a_store():
    with pytest.raises(SettingsError, match="learns what qwen3-32b writes"):
        home_student("qwen3")


def test_the_deployable_student_may_learn_recorded_names():
    names = {name for e in home_lessons(ARMS["deployable"], 60) for name in activities(e)}
    assert {bare_name(name) for name in names} & recorded_names()


def test_students_of_made_up_homes_are_asked_in_their_words_and_bound(smollm2, tmp_path, monkeypatch):
    """On a home they never saw, named by their reasons; the main one also naming itself, bound and unbound."""
    teacher, model = Teacher(), smollm2.model_copy(update={"source": Local(path=smollm2.locate())})
    monkeypatch.setattr(moving, "home_student", lambda name, **rest: name)
    monkeypatch.setattr(moving, "merge", lambda student: (model, {}))
    homes = moving.Homes({"one": prepare("simulated", None, LISTED, Windowing(n=1))}, ("one",))
    asking = Asking(open_with=lambda: teacher, progress=False)
    with Store(tmp_path / "s.sqlite") as store:
        bound, own, free = moving.ask_movers(["truth"], homes, asking, store)
    assert [row.role for row in (bound, own, free)] == ["student", "free", "free"] and bound.name == ARMS["truth"].words
    assert bound.results["one"].overall.missed_pct == 0
    assert all(reading.whys[0] == 'as "0" says' for reading in bound.results["one"].readings)
    assert all(r.messages[0]["content"].startswith("Say what people at home") for r in teacher.asked)
    assert {None if r.schema is None else bool(named_by(r.schema)) for r in teacher.asked} == {None, True, False}
