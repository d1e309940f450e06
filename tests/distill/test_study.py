"""Courses: two prompts, what is taught and tested, what run.json says. Training itself: test_training."""

import json
from dataclasses import replace

import pytest

from llmhar.ask.models import MODELS, Adapter, Local, ModelError
from llmhar.ask.store import Store
from llmhar.distill import key_numbers
from llmhar.distill import study as distill_study
from llmhar.distill.examples import LeakError, make_examples
from llmhar.distill.recipe import Recipe
from llmhar.distill.students import Student
from llmhar.distill.transfer import TEACHER, UNTRAINED
from llmhar.score import controls

PROMPTS = {
    "teacher_prompt": {"wording": "brief", "serializer": "s1-json", "answer": "name"},
    "student_prompt": {"wording": "student", "serializer": "lines", "answer": "name"},
}
RULES = MODELS["rules"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return str(tmp_path_factory.mktemp("data") / "simulated")


@pytest.fixture(scope="module")
def course(home):
    return distill_study.prepare_course("simulated", home, **PROMPTS, n_windows=2, window_size=10)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def test_names_of_courses():
    assert distill_study.read_name("simulated") == ("simulated", {})
    assert distill_study.read_name("uci_adl:home=A") == ("uci_adl", {"home": "A"})
    assert distill_study.read_name("x:a=1;b=2") == ("x", {"a": "1", "b": "2"})
    with pytest.raises(ValueError, match="name=value"):
        distill_study.read_name("uci_adl:A")


def test_both_sides_of_a_course(course):
    assert [w.events for w in course.asked.windows] == [w.events for w in course.test.windows]
    assert not set(course.lesson.sessions) & set(course.test.sessions)
    assert sum(len(w.events) for w in course.lesson.windows) == sum(len(s.events) for s in course.asked.train.values())
    teacher, student = (
        task.prompt_of(task.windows[0]).messages(task.windows[0]) for task in (course.asked, course.test)
    )
    assert "Activities:" in teacher[0]["content"] and "Activities:" not in student[0]["content"]
    assert len(student[1]["content"]) < 0.7 * len(teacher[1]["content"])
    for label in course.test.sessions["16"].labels.values():
        assert label not in student[0]["content"]


def test_a_student_is_shown_the_teacher_s_text_under_its_own_prompt(course, store):
    lesson = distill_study.teach(course, RULES, store)
    assert len(lesson.examples) == len(course.lesson.windows) == lesson.taught.run.n_asked
    first, window = lesson.examples[0], course.lesson.windows[0]
    assert first.messages == course.test.prompts[lesson.traces[0].session.home].messages(window)
    assert first.completion == lesson.traces[0].text and first.completion.startswith("<think>\n0: ")
    assert distill_study.teach(course, RULES, store).taught.run.n_asked == 0
    assert {e.session_id for e in lesson.examples}.isdisjoint(course.test.sessions)


def test_a_test_session_among_the_traces_is_refused(course, store):
    lesson = distill_study.teach(course, RULES, store)
    stolen = replace(lesson.traces[0], window=replace(lesson.traces[0].window, session_id="16"))
    with pytest.raises(LeakError, match="16"):
        make_examples([stolen], dict(course.test.prompts), test_sessions=list(course.test.sessions))


def test_fewer_sessions_are_the_first_ones(course, store):
    few = distill_study.first_sessions(course.lesson, 4)
    assert list(few.sessions) == list(course.lesson.sessions)[:4]
    assert {w.session_id for w in few.windows} == set(few.sessions)
    assert len(distill_study.teach(course, RULES, store, n_sessions=4).examples) == len(few.windows)
    with pytest.raises(ValueError, match="has 15 training sessions, cannot take 16"):
        distill_study.first_sessions(course.lesson, 16)
    with pytest.raises(ValueError, match="has 15 training sessions, cannot take 12 behind the first 4"):
        distill_study.first_sessions(course.lesson, 12, after=4)


def test_a_second_round_takes_sessions_that_the_first_did_not_see(course, store):
    first = distill_study.teach(course, RULES, store, n_sessions=4)
    new = distill_study.teach_again(first, RULES, store, new_sessions=3, n_examples=20)
    same = distill_study.teach_again(first, RULES, store, new_sessions=None)
    ids = list(course.lesson.sessions)
    assert {one.session_id for one in first.examples} == {one.session_id for one in same.examples} == set(ids[:4])
    assert {trace.window.session_id for trace in new.taught.traces} == set(ids[4:7]) and len(new.examples) == 20
    assert not set(course.test.sessions) & {one.session_id for one in new.examples}
    lessons = {course.name: first}
    assert distill_study.lesson_of(("whoever", course.name), lessons, new) is first
    assert distill_study.lesson_of(("whoever twice", course.name), lessons, new) is new


def test_pruned_models_have_all_weights_tuned():
    full = {"max_steps": 9, "learning_rate": None}
    common = {"method": "auto", "full": full, "max_steps": 5, "learning_rate": 0.5}
    whole, pruned = (distill_study.recipe_for(name, **common) for name in ("smollm2-135m", "smollm2-135m-l8"))
    assert (whole.method, whole.max_steps, pruned.method, pruned.max_steps) == ("lora", 5, "full", 9)
    assert pruned.learning_rate == 0.5
    with pytest.raises(ModelError):
        distill_study.recipe_for("nobody", **common)


def test_data_that_are_not_here_are_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path))
    (tmp_path / "marble").mkdir()
    taught, tested = distill_study.which(
        ["simulated"], ["uci_adl:home=A", "marble"], ["uci_adl:home=B", "simulated"], None
    )
    assert (taught, tested) == (["simulated", "marble"], ["simulated", "marble"])
    assert capsys.readouterr().err.count("is left out") == 2


def test_what_run_json_says(course, store):
    ((teacher,),) = distill_study.examine(["rules"], [course.asked], store=store)
    majority = controls.majority_result(course.asked)
    numbers = key_numbers.key_numbers(teacher, [majority, majority], [majority, teacher], majority)
    assert numbers["best_student"] == "rules" and numbers["student_of_teacher_f1"] == 1
    assert numbers["teacher_f1"] == numbers["student_f1"] > 0.5 > numbers["majority_f1"] == numbers["zero_shot_f1"]
    assert numbers["student_missed_pct"] == numbers["zero_shot_missed_pct"] == 0
    assert "student_f1" not in key_numbers.key_numbers(teacher, [], [], majority)
    cells = distill_study.matrix_cells([("t", TEACHER, [teacher]), ("s", UNTRAINED, [majority])])
    assert list(key_numbers.matrix_numbers(cells).values()) == [teacher.macro_f1.mean, majority.macro_f1.mean]
    assert distill_study.examine([], [course.asked], store=store) == []


@pytest.fixture
def student(tmp_path):
    weights = "a" * 64
    recipe = Recipe(student="smollm2-135m").model_dump(mode="json")
    record = {"name": "taught", "weights_sha256": weights, "recipe": recipe, "losses": [[1, 2.0]]}
    parent = MODELS["smollm2-135m"].model_copy(update={"source": Local(path=tmp_path)})
    return Student(tmp_path, parent, json.loads(json.dumps(record)))


def test_a_student_is_a_model_like_any_other(student, tmp_path):
    spec = student.spec
    assert spec.adapter == Adapter(path=tmp_path / "adapter", sha256="a" * 64)
    assert (spec.name, spec.revision, spec.locate()) == ("taught", student.parent.revision, tmp_path)
    tuned = Student(
        tmp_path, student.parent, student.record | {"recipe": student.record["recipe"] | {"method": "full"}}
    )
    assert tuned.spec.adapter is None and tuned.spec.revision == f"{student.parent.revision}+tuned:{'a' * 12}"


def test_probes_of_the_teacher_s_own_evidence(course, store):
    ((teacher,),) = distill_study.examine(["rules"], [course.asked], store=store)
    outcomes = distill_study.probe(teacher, 12, 0, store=store)
    cited = [o.changed for o in outcomes if o.probe.kind == "drop"]
    control = [o.changed for o in outcomes if o.probe.kind == "control drop"]
    assert len(cited) == len(control) == 12 and sum(cited) > sum(control)


def test_a_result_is_confirmed_on_other_sessions(course, store):
    teacher, student = distill_study.confirm(course, RULES, RULES, store=store)
    assert (teacher.task, student.task) == (course.asked, course.test)
    numbers = key_numbers.confirm_numbers((teacher, student))
    assert numbers["confirmed_on"] == course.test.data and numbers["confirmed_windows"] == len(course.test.windows)
    assert numbers["confirmed_teacher_f1"] == teacher.macro_f1.mean
    assert numbers["confirmed_student_of_teacher_f1"] == pytest.approx(student.macro_f1.mean / teacher.macro_f1.mean)
    assert key_numbers.confirm_numbers(None) == {}
