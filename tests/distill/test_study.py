"""Courses and the study: two prompts, what is taught, tested and said in run.json. Training itself: test_training."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from llmhar.ask import task as ask_task
from llmhar.ask.models import MODELS, Adapter, Local
from llmhar.ask.store import Store
from llmhar.data.events import Windowing
from llmhar.distill import audit, courses, key_numbers, small, study, tables, transfer, worked_window
from llmhar.distill.examples import LeakError, make_examples
from llmhar.distill.recipe import Recipe
from llmhar.distill.sessions import sweep_sessions
from llmhar.distill.students import Student
from llmhar.distill.study import Study, TaughtStudent, TaughtStudy
from llmhar.distill.teaching import SecondRound, Teaching
from llmhar.distill.traces import Collected
from llmhar.distill.transfer import TEACHER, UNTRAINED, MatrixCell
from llmhar.score import controls, stats
from llmhar.score.tables import score_answers
from llmhar.settings import SettingsError
from llmhar.text.prompt import FORMS, PromptForm
from tests.score.test_tables import answers_of

STUDENT_PROMPT = PromptForm("student", "lines", "name")
RULES = MODELS["rules"]
PLAN = Study(RULES, ("smollm2-135m", "smollm2-135m-l8"), Teaching(), study.STUDY, store=None)
"""Asks nobody until a test gives it a store."""


@pytest.fixture(scope="module")
def home(simulated_home):
    return str(simulated_home)


@pytest.fixture(scope="module")
def course(home):
    return courses.prepare_course("simulated", home, FORMS["brief"], STUDENT_PROMPT, Windowing(n=2))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


@pytest.fixture
def plan(store):
    return replace(PLAN, store=store)


def taking(plan, **values):
    """The same study with other values in its teaching."""
    return replace(plan, teaching=plan.teaching.changed(values))


def test_names_of_courses():
    assert courses.read_name("simulated") == ("simulated", {})
    assert courses.read_name("uci_adl:home=A") == ("uci_adl", {"home": "A"})
    assert courses.read_name("x:a=1;b=2") == ("x", {"a": "1", "b": "2"})
    with pytest.raises(ValueError, match="name=value"):
        courses.read_name("uci_adl:A")


def test_both_sides_of_a_course(course):
    assert [w.events for w in course.teacher_test.windows] == [w.events for w in course.test.windows]
    assert not set(course.training.sessions) & set(course.test.sessions)
    assert sum(len(w.events) for w in course.training.windows) == sum(
        len(s.events) for s in course.teacher_test.train.values()
    )
    teacher, student = (
        task.prompt_of(task.windows[0]).messages(task.windows[0]) for task in (course.teacher_test, course.test)
    )
    assert "Activities:" in teacher[0]["content"] and "Activities:" not in student[0]["content"]
    assert len(student[1]["content"]) < 0.7 * len(teacher[1]["content"])
    for label in course.test.sessions["16"].labels.values():
        assert label not in student[0]["content"]


def test_a_student_is_shown_the_teacher_s_text_under_its_own_prompt(course, plan):
    training_set = study.teach(course, plan)
    assert len(training_set.examples) == len(course.training.windows) == training_set.collected.run.n_asked
    first, window = training_set.examples[0], course.training.windows[0]
    assert first.messages == course.test.prompts[training_set.traces[0].session.home].messages(window)
    assert first.completion == training_set.traces[0].text and first.completion.startswith("<think>\n0: ")
    assert study.teach(course, plan).collected.run.n_asked == 0
    assert {e.session_id for e in training_set.examples}.isdisjoint(course.test.sessions)
    assert training_set.first_example == f"{first.messages[-1]['content']}\n\n{first.completion}"
    assert training_set.provenance.startswith("rules (rules, not an LLM), rules 1")
    assert training_set.provenance.endswith(f"; {course.training.subset}, {course.test.data}")


def test_filters_are_compared_on_the_same_traces(course, plan):
    training_set = study.teach(course, taking(plan, n_sessions=2, n_samples=2))
    funnels = study.compare_filters(training_set, Teaching(least_correct=0.5))
    assert {name: steps[-1].step for name, steps in funnels.items()} == {
        "none": "not cut", "correct": "correct (at least 50%)", "consistent": "consistent (at least 60%)",
        "both": "correct (at least 50%)",
    }  # fmt: skip
    assert {steps[1].traces for steps in funnels.values()} == {2 * len(training_set.windows.windows)}
    with pytest.raises(ValueError, match=r"left no trace of simulated: loosen .*and ask for several samples"):
        study.teach(course, taking(plan, n_sessions=1, trace_filter="consistent"))


def test_a_test_session_among_the_traces_is_refused(course, plan):
    training_set = study.teach(course, plan)
    stolen = replace(training_set.traces[0], window=replace(training_set.traces[0].window, session_id="16"))
    with pytest.raises(LeakError, match="16"):
        make_examples([stolen], dict(course.test.prompts), test_sessions=list(course.test.sessions))


def test_fewer_sessions_are_the_first_ones(course, plan):
    few = ask_task.some_sessions(course.training, 4)
    assert list(few.sessions) == list(course.training.sessions)[:4]
    assert {w.session_id for w in few.windows} == set(few.sessions)
    assert len(study.teach(course, taking(plan, n_sessions=4)).examples) == len(few.windows)
    with pytest.raises(ValueError, match="has 15 training sessions, cannot take 16"):
        ask_task.some_sessions(course.training, 16)
    with pytest.raises(ValueError, match="has 15 training sessions, cannot take 12 behind the first 4"):
        ask_task.some_sessions(course.training, 12, skipped=4)
    assert list(ask_task.some_sessions(course.training, None, skipped=4).sessions) == list(course.training.sessions)[4:]
    assert ask_task.some_sessions(course.training, None) is course.training


def second(plan, training_set):
    """What the second round of a study learns."""
    return study.teach(training_set.course, replace(plan, teaching=plan.teaching.next_round(training_set.n_sessions)))


def test_a_second_round_takes_sessions_that_the_first_did_not_see(course, plan):
    first = study.teach(course, taking(plan, n_sessions=4))
    further, same = SecondRound(n_sessions=3, n_examples=20).model_dump(), SecondRound().model_dump()
    new = second(taking(plan, n_sessions=4, second_round=further), first)
    again = second(taking(plan, n_sessions=4, second_round=same), first)
    ids = list(course.training.sessions)
    assert {one.session_id for one in first.examples} == {one.session_id for one in again.examples} == set(ids[:4])
    assert {trace.window.session_id for trace in new.collected.traces} == set(ids[4:7]) and len(new.examples) == 20
    assert not set(course.test.sessions) & {one.session_id for one in new.examples}


# Students that nobody trains: what study asks of training, and what it makes of it.


@pytest.fixture
def trainings(monkeypatch):
    """All calls of training and merging; what comes back stands nowhere."""
    calls = []

    def train_student(recipe, examples, *, name, parent, teacher=None):
        given = parent.parent if isinstance(parent, Student) else parent
        calls.append({"recipe": recipe, "examples": examples, "name": name, "parent": parent, "teacher": teacher})
        record = {"name": name, "recipe": recipe.model_dump(mode="json"), "weights_sha256": "ab" * 32, "losses": []}
        number = parent.round + 1 if isinstance(parent, Student) else 1
        return Student(Path("/nowhere"), given, record, round=number)

    def merge(student):
        merged = student.parent.model_copy(update={"name": f"{student.name}-merged", "adapter": None})
        return merged, {"n_prompts": 16} if student.recipe.method == "lora" else {}

    monkeypatch.setattr(study, "train_student", train_student)
    monkeypatch.setattr(study, "change_about", lambda _folder, changes: calls[-1].update(about=changes))
    monkeypatch.setattr(study, "merge", merge)
    return calls


@pytest.fixture
def answered(monkeypatch, store):
    """(model's name, data and subset of each task) of all that is asked; everybody answers as the rules do."""
    asked = []

    def examine(models, tasks, *_):
        names = [model if isinstance(model, str) else model.name for model in models]
        asked.extend((name, [task.data for task in tasks]) for name in names)
        with_labels = [task.reworded(FORMS["brief"]) for task in tasks]
        of_rules = study.evaluate(with_labels, ["rules"], study.STUDY, store).results
        return [
            [replace(r, task=task, model=RULES.model_copy(update={"name": n})) for r, task in zip(of_rules, tasks)]
            for n in names
        ]

    monkeypatch.setattr(study, "examine", examine)
    monkeypatch.setattr(small, "examine", examine)
    monkeypatch.setattr("llmhar.distill.sessions.examine", examine)
    return asked


def test_rounds_and_courses_are_fields_of_a_student(course, plan, trainings):
    again = SecondRound(n_sessions=2, max_steps=7).model_dump()
    plan = taking(plan, n_sessions=2, second_round=again, full_steps=9, full_learning_rate=0.25, max_epochs=1)
    twice_named = replace(course, name="on twice")
    sets = [study.teach(one, plan) for one in (course, twice_named)]
    taught = study.train_students(plan, sets)
    states = [(one.student.base, one.student.course, one.student.round) for one in taught.students]
    assert states == [
        ("smollm2-135m", "simulated", 1), ("smollm2-135m-l8", "simulated", 1), ("smollm2-135m", "on twice", 1),
        ("smollm2-135m-l8", "on twice", 1), ("smollm2-135m", "simulated", 2),
    ]  # fmt: skip
    names = [call["name"] for call in trainings]
    assert names[0] == "smollm2-135m taught on simulated" and names[-1] == "smollm2-135m taught twice on simulated"
    assert taught.latest is taught.students[-1] and len(taught.on_first_course) == 3
    first, last = trainings[0]["recipe"], trainings[-1]["recipe"]
    assert (last.max_steps, last.learning_rate) == (7, first.learning_rate / 2), "the bound of epochs is the first's"
    assert first.max_steps == -(-len(sets[0].examples) // first.examples_per_step) and first.method == "lora"
    assert trainings[1]["recipe"].max_steps == 9 and trainings[1]["recipe"].learning_rate == 0.25
    assert trainings[-1]["parent"].name == names[0], "the second round goes on from the first"
    seen = {example.session_id for example in trainings[0]["examples"]}
    assert seen.isdisjoint(example.session_id for example in trainings[-1]["examples"])
    assert study.train_students(replace(plan, students=()), sets).latest is None


def test_the_thinking_switch_is_told_to_a_first_round(course, plan, trainings):
    plan = taking(replace(plan, asking=replace(plan.asking, thinking=False), students=("qwen3-0.6b",)), n_sessions=1)
    study.train_students(plan, [study.teach(course, plan)])
    assert trainings[0]["parent"].template_args["enable_thinking"] is False
    assert MODELS["qwen3-0.6b"].template_args["enable_thinking"] is True


def test_who_is_asked_about_what(course, home, plan, trainings, answered):
    other = courses.prepare_course("simulated_other", None, FORMS["brief"], STUDENT_PROMPT, Windowing(n=1))
    plan = taking(plan, n_sessions=1, second_round=SecondRound().model_dump())
    taught = study.train_students(plan, [study.teach(course, plan)])
    elsewhere = transfer.teach_further(plan, [other])
    assert [(t.student.base, t.student.course) for t in elsewhere] == [("smollm2-135m", "simulated_other")]
    assert elsewhere[0].training_set.n_sessions == len(other.training.sessions), (
        "all sessions, whatever the study takes"
    )
    results = study.examine_study(taught, elsewhere, [other])
    both, own = [course.test.data, other.test.data], [course.test.data]
    assert answered == [
        ("rules", both), ("smollm2-135m taught on simulated-merged", both),
        ("smollm2-135m-l8 taught on simulated", own), ("smollm2-135m taught twice on simulated-merged", own),
        ("smollm2-135m taught on simulated_other-merged", both), ("smollm2-135m", own), ("smollm2-135m-l8", own),
        ("rules-plain", own),
    ]  # fmt: skip
    assert len(results.scored) == 3 and len(results.every) == 2 + 2 + 6
    assert [r.model.name for r in results.untrained_of.values()] == ["smollm2-135m", "smollm2-135m-l8", "smollm2-135m"]
    assert [result.model.name for result in results.trio] == ["rules", "smollm2-135m", results.best.model.name]
    assert results.best is results.scored[0], "the first of the best"
    cells = transfer.matrix_cells(results)
    assert [(c.student, c.trained_on, c.round) for c in cells][4:] == [
        ("smollm2-135m", "simulated", 1), ("smollm2-135m", "simulated", 1), ("smollm2-135m-l8", "simulated", 1),
        ("smollm2-135m", "simulated", 2), *[("smollm2-135m", "simulated_other", 1)] * 2,
    ]  # fmt: skip
    numbers = key_numbers.matrix_numbers(cells)
    assert any(name.startswith("f1 smollm2-135m twice, taught simulated, on simulated 2 windows") for name in numbers)
    assert set(key_numbers.study_numbers(results)) >= {"teacher_f1", "student", "zero_shot_f1", "majority_f1"}
    assert results.latest.model.name == "smollm2-135m taught twice on simulated-merged", (
        "planned, not the best of three"
    )
    assert list(results.compared) == [
        "rules_plain", "trees", "lookup", "trees_truth", "lookup_truth", "embeddings", "majority"
    ]  # fmt: skip
    (confirmed,) = study.confirm([other], taught)
    assert confirmed.student.model.name == "smollm2-135m taught twice on simulated-merged"
    assert list(confirmed.compared) == list(results.compared)
    assert confirmed.compared["trees"].task is other.teacher_test, "fitted on the first course, asked on the other"
    assert study.confirm([], taught) == []
    served = replace(taught, study=replace(plan, serve="adapter"))
    assert served.spec_of(taught.students[0]).adapter and not taught.spec_of(taught.students[0]).adapter
    shown = tables.courses_table([course, other], taught_on=[course])
    assert shown["taught"].tolist() == [True, False] and shown.index.tolist() == ["simulated", "simulated_other"]


def test_arms_learn_the_same_windows_with_as_many_steps(course, plan, trainings, answered):
    plan = taking(plan, n_sessions=2, second_round=SecondRound(max_steps=5).model_dump())
    taught = study.train_students(replace(plan, students=plan.students[:1]), [study.teach(course, plan)])
    arms = study.train_arms(taught, ["reasoning", "answer", "reasoning:1", "answer:1"])
    assert list(arms) == ["answer_only", "student_seed_1", "answer_only_seed_1"], "the study's own arm is left out"
    whole, answers = trainings[0]["examples"], trainings[2]["examples"]
    assert [(e.session_id, e.window_index, e.messages) for e in whole] == [
        (e.session_id, e.window_index, e.messages) for e in answers
    ]
    for full, bare in zip(whole, answers):
        assert full.completion.endswith(bare.completion) and "<think>" in full.completion
        assert bare.completion.startswith("[") and len(json.loads(bare.completion)) <= 10
    steps = [call["recipe"].max_steps for call in trainings]
    assert steps == steps[:2] * 4, "two rounds each, of as many steps"
    assert [call["recipe"].seed for call in trainings] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert arms["answer_only_seed_1"].student.name == "smollm2-135m taught twice on simulated, answers only, seed 1"
    results = study.examine_study(taught, arms=arms)
    numbers = key_numbers.study_numbers(results)
    for name in ("student", "answer_only", "trees", "lookup", "embeddings", "rules", "rules_plain", "majority"):
        assert numbers[f"{name}_f1_low"] <= numbers[f"{name}_f1"] <= numbers[f"{name}_f1_high"], name
    assert numbers["rules_f1"] == numbers["teacher_f1"] and "student_minus_answer_only_f1_low" in numbers
    assert numbers["seeds"] == 2 and "student_minus_trees_of_seeds_p" in numbers
    answered.clear()
    study.confirm([course, course], taught, arms)
    together = [name for name, data in answered if len(data) == 2]
    names = [taught.spec_of(arm).name for arm in arms.values()]
    assert [name for name in together if name in names] == names, "all courses at once: an engine an arm"
    with pytest.raises(SettingsError, match="write reasoning or answer"):
        study.train_arms(taught, ["answers"])


def test_figure_4_trains_one_student_a_number_of_sessions(course, plan, trainings, answered, capsys):
    points = sweep_sessions(taking(plan, seed=3), course, [2, 0, 2, 99], "smollm2-135m-l8")
    assert [(point.n_sessions, point.result.model.name, point.seed) for point in points] == [
        (0, "smollm2-135m-l8", 3), (2, "smollm2-135m-l8 taught on 2 sessions", 3)
    ]  # fmt: skip
    assert "simulated has 15 training sessions: [99] are left out" in capsys.readouterr().err
    assert [task for _, task in answered] == [[course.test.data]] * 2
    assert sweep_sessions(replace(plan, students=()), course, []) == []


def test_figure_4_holds_steps_fixed_whatever_the_teaching_bounds(course, plan, trainings, answered):
    bounded = taking(plan, max_epochs=1, max_steps=40, second_round=SecondRound().model_dump())
    sweep_sessions(bounded, course, [1, 2])
    assert [call["recipe"].max_steps for call in trainings] == [40, 40], "one session alone would have been seen once"
    sweep_sessions(taking(plan, max_steps=4000), course, [1])
    assert trainings[-1]["recipe"].max_steps == 500


def test_a_student_learns_on_from_the_largest_of_the_others(course, plan, trainings, answered):
    plan = taking(plan, n_sessions=1, second_round=SecondRound().model_dump(), learning_rate=0.5)
    taught = study.train_students(plan, [study.teach(course, plan)])
    further = small.learn_on(taught, "smollm2-135m-l8", 3)
    distilled, longer = trainings[-2:]
    assert distilled["teacher"].name == "smollm2-135m taught on simulated-merged" and longer["teacher"] is None
    assert (distilled["recipe"].objective, longer["recipe"].objective) == ("gkd", "sft")
    assert {call["parent"].name for call in trainings[-2:]} == {"smollm2-135m-l8 taught on simulated"}
    for call in trainings[-2:]:
        assert (call["recipe"].max_steps, call["recipe"].warmup_steps, call["recipe"].learning_rate) == (3, 3, 0.1)
    results = study.examine_study(taught)
    names = [result.model.name for result in small.examine_further(results, further)]
    assert names == ["smollm2-135m-l8 taught on simulated", "smollm2-135m-l8 on policy",
                     "smollm2-135m-l8 taught longer"]  # fmt: skip
    assert small.learn_on(taught, None, 3) == [] == small.examine_further(results, [])
    with pytest.raises(ValueError, match="needs nobody and one more among the students"):
        small.learn_on(taught, "nobody", 3)
    assert small.gateway(taught, course.test, []) == []
    assert small.compare_forms(taught, course.test).loc["same label", "%"] == 100
    full = TaughtStudy(plan, taught.training_sets, [taught.students[1]])
    assert small.compare_forms(full, course.test) is None, "all weights were tuned"


def test_an_audit_stops_the_study(course, plan, trainings, monkeypatch):
    plan = taking(plan, n_sessions=1)
    taught = study.train_students(plan, [study.teach(course, plan)])
    looked_at = []

    def look(student, **given):
        looked_at.append(given)
        return [audit.Check("labels", True, "all"), audit.Check("merged", None, "not run")]

    monkeypatch.setattr(audit, "audit", look)
    checks = audit.audit_students(taught.students, [course], [replace(course, test=course.training)])
    table = tables.audit_table(checks)
    assert table.index.tolist()[0] == ("smollm2-135m taught on simulated", "labels") and len(table) == 4
    assert looked_at[0]["test_sessions"] == {"simulated": {*course.test.sessions, *course.training.sessions}}
    assert len(looked_at[0]["test_prompts"]) == len(course.test.windows)
    assert looked_at[0]["merged"] == {"n_prompts": 16} and looked_at[1]["merged"] is None
    monkeypatch.setattr(audit, "audit", lambda *_, **__: [audit.Check("labels", False, "planted")])
    with pytest.raises(audit.AuditError, match="planted"):
        audit.audit_students(taught.students, [course])
    assert tables.audit_table({}).empty


def test_data_that_are_not_here_are_left_out(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path))
    (tmp_path / "marble").mkdir()
    taught, tested = transfer.further_courses(
        ["simulated"], ["uci_adl:home=A", "marble"], ["uci_adl:home=B", "simulated"], None
    )
    assert (taught, tested) == (["marble"], [])
    assert capsys.readouterr().err.count("is left out") == 2
    assert transfer.further_courses(["marble"], ["marble"], ["simulated"], None) == ([], ["simulated"])
    assert transfer.teach_further(replace(PLAN, students=()), ["whatever"]) == []


def test_arms_that_were_trained_twice_are_meant_session_by_session(course, store):
    ((teacher,),) = study.examine(["rules"], [course.teacher_test], store=store)
    low = controls.majority_result(course.teacher_test)
    once = key_numbers.key_numbers(teacher, teacher, {"answer_only": low, "trees": low})
    assert not [name for name in once if "seeds" in name], "each was trained once"
    again = {"answer_only": low, "student_seed_1": low, "answer_only_seed_1": low, "trees": teacher}
    numbers = key_numbers.key_numbers(teacher, teacher, again)
    gap = teacher.macro_f1.mean - low.macro_f1.mean
    assert numbers["seeds"] == 2 and gap > 0.4
    assert numbers["student_of_seeds_f1"] == pytest.approx(low.macro_f1.mean + gap / 2)
    assert numbers["answer_only_of_seeds_f1"] == pytest.approx(low.macro_f1.mean)
    assert numbers["student_minus_answer_only_of_seeds_f1"] == pytest.approx(gap / 2)
    assert numbers["student_minus_trees_of_seeds_f1"] == pytest.approx(-gap / 2)
    means = [(one + other) / 2 for one, other in zip(*tables.paired_scores(teacher, low))]
    assert numbers["student_of_seeds_f1_low"] == pytest.approx(stats.t_interval(means).low)
    assert 0 < numbers["student_minus_answer_only_of_seeds_p"] < 0.05


def test_what_run_json_says(course, store):
    ((teacher,),) = study.examine(["rules"], [course.teacher_test], store=store)
    majority = controls.majority_result(course.teacher_test)
    numbers = key_numbers.key_numbers(teacher, teacher, {"majority": majority, "trees": majority})
    assert numbers["student"] == "rules" and numbers["student_of_teacher_f1"] == 1
    assert numbers["teacher_f1"] == numbers["student_f1"] == numbers["rules_f1"] > 0.5 > numbers["majority_f1"]
    assert numbers["student_missed_pct"] == 0
    gap = numbers["student_f1"] - numbers["majority_f1"]
    assert numbers["student_minus_trees_f1"] == pytest.approx(gap) and numbers["student_minus_trees_f1_low"] < gap
    assert "student_f1" not in key_numbers.key_numbers(teacher, None, {"majority": majority})
    assert "seeds" not in numbers
    cells = [MatrixCell("t", TEACHER, teacher), MatrixCell("s", UNTRAINED, majority)]
    assert list(key_numbers.matrix_numbers(cells).values()) == [teacher.macro_f1.mean, majority.macro_f1.mean]
    assert study.examine([], [course.teacher_test], store=store) == []


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
    ((teacher,),) = study.examine(["rules"], [course.teacher_test], store=store)
    outcomes = small.probe(teacher, 12, 0, store=store)
    cited = [o.changed for o in outcomes if o.probe.kind == "drop"]
    control = [o.changed for o in outcomes if o.probe.kind == "control drop"]
    assert len(cited) == len(control) == 12 and sum(cited) > sum(control)


def test_a_result_is_confirmed_on_other_sessions(course, plan, answered):
    student = Student(
        Path("/nowhere"), RULES, {"name": "s", "recipe": {"student": "rules", "method": "full"}}, "simulated"
    )
    training_set = study.TrainingSet(course, course.training, Collected([], 0, None), [], [])
    one = TaughtStudent(student, training_set, RULES, {})
    taught = TaughtStudy(replace(plan, students=("rules",)), [training_set], [one])
    confirmed, further = study.confirm([course, course], taught)
    teacher, student = confirmed.teacher, confirmed.student
    assert (teacher.task, student.task) == (course.teacher_test, course.test)
    numbers = key_numbers.confirm_numbers([confirmed, further])
    assert numbers[f"teacher_f1 on {course.test.data}"] == further.teacher.macro_f1.mean
    assert numbers["confirmed_on"] == course.test.data and numbers["confirmed_windows"] == len(course.test.windows)
    assert numbers["confirmed_teacher_f1"] == teacher.macro_f1.mean
    assert numbers["confirmed_student_of_teacher_f1"] == pytest.approx(student.macro_f1.mean / teacher.macro_f1.mean)
    assert {f"confirmed_{name}" for name in (
        "on", "student", "teacher_f1", "student_f1", "student_f1_low", "student_f1_high", "student_of_teacher_f1",
        "student_of_teacher_f1_low", "student_of_teacher_f1_high", "student_missed_pct", "windows", "majority_f1",
    )} <= set(numbers)  # fmt: skip
    assert key_numbers.confirm_numbers([]) == {}
    table = tables.confirm_table([confirmed, further])
    roles = table["role"].tolist()[: len(table) // 2]
    assert roles[0] == "teacher" and roles[-1] == "student" and set(roles[1:-1]) == {"for comparison"}
    assert table["data"].iloc[-1] == course.test.data and confirmed.every[:2] == [teacher, student]


def test_one_window_on_its_way_shows_trace_lesson_and_the_student_s_answer(course, plan, trainings, store, monkeypatch):
    plan = taking(plan, n_sessions=1, second_round=SecondRound(n_sessions=1, max_steps=3).model_dump())
    taught = study.train_students(plan, [study.teach(course, plan)])
    asked = []

    def evaluate(task, models, *_):
        asked.append((task, models))
        answers = answers_of(task, lambda window, names: '<script>alert("x")</script> I say <b>couch</b>')
        return Evaluated([score_answers(task, RULES.model_copy(update={"name": models[0].name}), answers)])

    monkeypatch.setattr(worked_window, "evaluate", evaluate)
    page = worked_window.worked_window(taught, store, plan.asking).data
    ((task, (model,)),) = asked
    training_set = taught.latest.training_set
    example = training_set.examples[0]
    assert model.name == "smollm2-135m taught twice on simulated-merged"
    (window,) = task.windows
    assert task.prompts[course.test.sessions["16"].home].messages(window) == example.messages, "as it was taught"
    assert (window.session_id, window.index) == (example.session_id, example.window_index)
    titles = [page.index(part) for part in ("1. The teacher", "2. The training example", "3. The student")]
    assert titles == sorted(titles) and page.index("Events of one window") < titles[0]
    assert page.count("0: ") >= 2 and "<script" not in page and "<b>couch" not in page and "&lt;script&gt;" in page


def test_one_window_on_its_way_says_where_nobody_is_taught(course, plan, store):
    plan = taking(replace(plan, students=()), n_sessions=1)
    taught = study.train_students(plan, [study.teach(course, plan)])
    assert worked_window.ask_student(taught, store, plan.asking) is None
    page = worked_window.worked_window(taught, store, plan.asking).data
    assert "nobody is taught in this profile" in page and "1. The teacher" in page


class Evaluated(NamedTuple):
    """Of an evaluation, what is looked at here."""

    results: list
