"""Plans that were written before test answers existed: what changes a plan, and what tables say of it."""

import json
from dataclasses import replace

import pytest

from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.data.events import Windowing
from llmhar.distill import courses, plan_lock, study
from llmhar.distill.plan_lock import choices, look_up, read_plans, write_plan
from llmhar.distill.study import Study
from llmhar.distill.teaching import Teaching
from llmhar.records import Sampling
from llmhar.text.prompt import FORMS


@pytest.fixture(scope="module")
def course(simulated_home):
    return courses.prepare_course("simulated", str(simulated_home), FORMS["brief"], FORMS["student"], Windowing(n=2))


@pytest.fixture
def plan(tmp_path):
    with Store(tmp_path / "s.sqlite") as store:
        yield Study(MODELS["rules"], ("smollm2-135m",), Teaching(), study.STUDY, store)


def test_a_plan_written_first_is_named_and_the_same_plan_is_no_second_look(course, plan, tmp_path):
    file, chosen = tmp_path / "plan.lock", choices(plan, [course])
    assert "nothing was written down before" in look_up(chosen, file).words
    look = write_plan(chosen, [course.test], plan.store, file)
    assert look.words.endswith("written before any answer") and look.plan in look.words
    elsewhere = replace(plan, asking=replace(plan.asking, engine="vllm", engine_options={"threads": 2}))
    assert look_up(choices(elsewhere, [course]), file) == look, "engines and machines are no choices"
    assert write_plan(chosen, [course.test], plan.store, file) == look and len(read_plans(file)) == 1


def test_every_choice_changes_the_plan(course, plan, tmp_path):
    file = tmp_path / "plan.lock"
    write_plan(choices(plan, [course]), [course.test], plan.store, file)
    asking = plan.asking
    fewer = replace(course, test=replace(course.test, windows=course.test.windows[1:]))
    for changed, others, arms in (
        (replace(plan, teaching=Teaching(seed=1)), [course], ()),
        (replace(plan, teaching=Teaching(learning_rate=1e-3)), [course], ()),
        (replace(plan, students=("smollm2-135m-l8",)), [course], ()),
        (replace(plan, teacher=MODELS["rules-plain"]), [course], ()),
        (replace(plan, asking=replace(asking, sampling=Sampling(max_tokens=99))), [course], ()),
        (replace(plan, asking=replace(asking, draw="model")), [course], ()),
        (plan, [course], ("answer",)),
        (plan, [replace(course, test=course.teacher_test)], ()),
        (plan, [course, fewer], ()),
    ):
        assert "CHANGED, another look" in look_up(choices(changed, others, arms), file).words
    assert "nothing was written down" in look_up(choices(plan, [fewer]), file).words, "other test windows"


def test_a_plan_after_answers_says_so(course, plan, tmp_path):
    file = tmp_path / "plan.lock"
    study.examine(["rules"], [course.teacher_test], plan.store)
    assert write_plan(choices(plan, [course]), [course.test], plan.store, file).words.endswith(
        "AFTER answers were seen"
    )
    second = write_plan(choices(plan, [course], ["answer"]), [course.test], plan.store, file)
    assert "number 2 of 2 on these test data" in second.words
    assert read_plans(file)[0]["answers_then"] == len(course.test.windows)


def test_a_plan_stays_known_when_its_windows_are_named_anew(course, plan, tmp_path):
    file, chosen = tmp_path / "plan.lock", choices(plan, [course])
    old = {**chosen, "courses": [{**chosen["courses"][0], "test windows": "named as before"}]}
    written = write_plan(old, [course.test], plan.store, file)
    assert "nothing was written down" in look_up(chosen, file).words
    renamed = {"named as before": chosen["courses"][0]["test windows"]}
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps({"renamed": renamed, "why": "pairs of joint events count too"}) + "\n")
    assert look_up(chosen, file) == written, "its own name and date"
    assert write_plan(chosen, [course.test], plan.store, file) == written and len(read_plans(file)) == 1
    changed = choices(replace(plan, teaching=Teaching(seed=1)), [course])
    assert "CHANGED, another look" in look_up(changed, file).words
    assert "number 2 of 2" in write_plan(changed, [course.test], plan.store, file).words
    assert "renamed" in file.read_text(encoding="utf-8"), "nothing that was written goes"


def test_a_damaged_file_names_the_line(tmp_path):
    file = tmp_path / "plan.lock"
    file.write_text(json.dumps({"plan": "x"}) + "\n{\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"plan.lock, line 2: not JSON"):
        plan_lock.read_plans(file)


def test_defaults_that_plans_rest_on_stay():
    """Plans hold what differs from these: whoever changes one changes every plan that was written, and must say so."""
    assert Teaching().model_dump() == {
        "trace_filter": "none", "least_correct": 1.0, "least_agreement": 0.6, "completion": "reasoning", "n_samples": 1,
        "n_sessions": None, "skip_sessions": 0, "n_examples": None, "step": None, "backend": "peft", "method": "auto",
        "rank": 32, "alpha": 32, "max_steps": 500, "max_epochs": None, "batch_size": 2, "accumulate": 4,
        "learning_rate": 2e-4, "full_steps": None, "full_learning_rate": None, "train_embeddings": True,
        "longest_example": 8192, "save_every": 50, "second_round": None, "seed": 0,
    }  # fmt: skip
