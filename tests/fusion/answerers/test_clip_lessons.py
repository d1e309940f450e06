"""Lessons of made-up clips: what a fusion student is taught, and what it must not be; validation; students' arms."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import jsonschema
import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines.rules.home import RulesEngine
from llmhar.ask.engines.worker import separators
from llmhar.ask.models import MODELS, AskedAs
from llmhar.ask.store import Store
from llmhar.ask.trained import About, read_about
from llmhar.distill.examples import LeakError
from llmhar.distill.home_lessons import LISTED
from llmhar.fusion.answerers import clip_students, clip_validation
from llmhar.fusion.answerers.clip_lessons import (
    CONFLICT,
    LISTED_CLIPS,
    draw_lesson,
    example_of,
    lessons,
    names_in,
    refuse_leaks,
    sound_alike,
    told_by_motion,
    usual_name,
    why,
)
from llmhar.fusion.answerers.clip_validation import WHOLE, ask_validation, validation_table, validation_tasks
from llmhar.fusion.answerers.inference import FusionAnswer, fusion_asks
from llmhar.fusion.answerers.prompt import EXAMPLE_HEADING, NOTHING, WHY_CHARS, FusionForm, build_prompt, closed_schema
from llmhar.fusion.answerers.reading import read_closed, read_open
from llmhar.fusion.clips.clip_grammar import TEST_LABELS, activity_of, all_names, clip_grammar, untaught, was_taught
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.encoders.made_clips import MadeClip, make_clip
from llmhar.fusion.encoders.observation import MODALITIES, Guess, Observation, StepSeen
from llmhar.fusion.encoders.observe import Observing, observe
from llmhar.settings import SettingsError
from llmhar.text.schema import SPACED, is_spaced

N = 220


@pytest.fixture(scope="module")
def drawn():
    return [draw_lesson(f"train-test-{i}") for i in range(N)]


@pytest.fixture(scope="module")
def taught(drawn):
    return [example_of(lesson) for lesson in drawn]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """What encoders said of the composed scenes."""
    encoders = {"captions": "template-captions", "labels": "yamnet", "motion": "imu-cnn-m-6"}
    with Store(tmp_path_factory.mktemp("store") / "s.sqlite") as store:
        clips = load_clipset("scenes-recorded")
        return observe(clips, store, Observing(encoders, 0.1, 0, progress=False)).observations


def test_an_answer_is_the_truth_in_the_form_that_is_read(drawn, taught):
    for lesson, example in zip(drawn, taught):
        label, answer = lesson.clip.observation.label, json.loads(example.completion)
        assert list(answer) == ["why", "activity"] and "\n" not in example.completion
        assert 0 < len(answer["why"]) <= WHY_CHARS and answer["activity"] == label
        assert activity_of(label) == lesson.clip.activity
        if lesson.condition.closed:
            assert read_closed(example.completion, list(lesson.names.values())) == (label, "ok")
            assert 2 <= len(lesson.names) <= 20 and list(lesson.names.values()).count(label) == 1
        else:
            assert read_open(example.completion).verdict == "ok"


def test_an_answer_is_what_a_bound_one_can_be(drawn, taught):
    """A student is taught the very tokens that it is bound to: engines space answers of this wording as lessons are."""
    for lesson, example in zip(drawn, taught):
        answer = json.loads(example.completion)
        assert example.completion == json.dumps(answer, ensure_ascii=False, separators=separators({"$comment": SPACED}))
        schema = closed_schema(list(lesson.names.values()), why=True, spaced=True)
        jsonschema.validate(answer, schema)
        assert is_spaced(schema) and not is_spaced(closed_schema(list(lesson.names.values())))


def test_a_reason_ends_with_what_is_done_in_the_grammar_s_words(drawn, taught):
    """The list may call it otherwise: that is what is to be learnt of lists."""
    otherwise = 0
    for lesson, example in zip(drawn, taught):
        reason = json.loads(example.completion)["why"]
        if reason != NOTHING:
            assert reason.endswith(f"; so {usual_name(lesson.clip.activity)}")
            assert activity_of(usual_name(lesson.clip.activity)) == lesson.clip.activity
            otherwise += usual_name(lesson.clip.activity) != lesson.clip.observation.label
    assert otherwise > 0.7 * N


def test_most_lessons_show_a_few_steps_and_some_the_whole_clip(drawn):
    steps = [len(lesson.clip.observation.steps) for lesson in drawn]
    assert 0.6 < sum(n <= 5 for n in steps) / N < 0.9 and max(steps) > 9


def test_every_combination_occurs_and_all_forms(drawn):
    shown = Counter(lesson.condition.modalities for lesson in drawn)
    assert shown.most_common(1)[0][0] == frozenset(MODALITIES) and frozenset() in shown and len(shown) == 16
    assert {(lesson.condition.shots, lesson.condition.closed) for lesson in drawn} >= {(0, True), (1, True), (0, False)}
    assert len({len(lesson.clip.observation.steps) for lesson in drawn}) > 8
    assert 0 < sum(lesson.clip.observation.conflict for lesson in drawn) < 3 * CONFLICT * N
    assert len({len(lesson.names) for lesson in drawn}) > 12


def test_drowned_lessons_leave_sound_aside_and_all_others_as_they_were(drawn):
    again = [draw_lesson(f"train-test-{i}", 0.9) for i in range(N)]
    changed = [(old, new) for old, new in zip(drawn, again) if new.clip != old.clip and not new.clip.sources]
    kept = [(old, new) for old, new in zip(drawn, again) if new.clip.sources]
    assert len(changed) > 10 and all(example_of(old) == example_of(new) for old, new in kept)
    for old, new in changed:
        moves = clip_grammar()["activities"][new.clip.activity]["moves"]
        assert max(moves, key=moves.get) not in ("sitting", "standing") and "motion" in new.condition.modalities
        assert (old.names, old.condition) == (new.names, new.condition) and old.clip.activity == new.clip.activity
        reason = why(new.clip, new.condition.modalities)
        assert "; sounds: " not in f"; {reason}" or "tells little" in reason
        assert reason.endswith(f"so {usual_name(new.clip.activity)}")


def test_prompts_are_compact_and_hold_role_activities_and_clip(drawn, taught):
    for lesson, example in zip(drawn, taught):
        system, user = (message["content"] for message in example.messages)
        assert ("Activities:\n" in system) == lesson.condition.closed
        assert system.count(EXAMPLE_HEADING) == len(lesson.examples) == len(lesson.names) * lesson.condition.shots
        assert user == NOTHING if not lesson.condition.modalities else user
        if not lesson.condition.shots:
            assert len(system) + len(user) < 3500
        assert len(example.completion) < 300


def test_answers_alone_are_of_the_same_clips(taught):
    bare = [example_of(draw_lesson(f"train-test-{i}"), with_why=False) for i in range(20)]
    assert [example.messages for example in bare] == [example.messages for example in taught[:20]]
    for short, whole in zip(bare, taught):
        assert json.loads(short.completion) == {"activity": json.loads(whole.completion)["activity"]}
    assert [example.messages for example in lessons(5, "test")] == [example.messages for example in taught[:5]]


def made(activity, sources, labels, motion="standing", misheard=None, **context):
    steps = tuple(StepSeen(2.0 + 2 * i, (), tuple(Guess(*g) for g in labels), (Guess(motion, 0.9),)) for i in range(3))
    seen = Observation(
        "train-x", "it", "x", 0, frozenset(), steps, {name.replace("_", " "): v for name, v in context.items()}
    )
    return MadeClip(seen, activity, sources, misheard or {})


WATER = [("Speech", 0.4), ("Water tap, faucet", 0.3), ("Pour", 0.1)]


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (made("wash_dishes", ("water",), WATER, setting="indoors", heart_rate_zone="light"),
         "sounds: Water tap and Pour, running water; motion: standing; context: indoors, light"),
        (made("wash_dishes", ("water",), WATER, "lying", setting="outdoors"),
         "sounds: Water tap and Pour, running water; motion: lying, against it; context: outdoors, against it"),
        (made("stairs", ("footsteps",), [("Heart sounds, heartbeat", 0.8)], "walking upstairs",
              misheard={"footsteps": "thumps"}), "sounds: Heart sounds, perhaps footsteps; motion: walking upstairs"),
        (made("stairs", ("footsteps",), [("Heart sounds, heartbeat", 0.8), ("Walk, footsteps", 0.1)], "lying",
              {"footsteps": "thumps"}), "sounds: Heart sounds, perhaps footsteps; motion: lying, against it"),
        (made("pet", ("dog",), [("Animal", 0.5)], "sitting"), "sounds: Animal, perhaps a dog; motion: sitting"),
        (made("read", ("paper",), [("Silence", 0.5)], "sitting"), "sounds: Silence, tells little; motion: sitting"),
    ],
)  # fmt: skip
def test_a_reason_says_what_was_told_and_what_it_means(clip, reason):
    assert why(clip, frozenset(MODALITIES) - {"captions"}) == f"{reason}; so {usual_name(clip.activity)}"
    assert why(clip, frozenset()) == NOTHING


def test_a_reason_from_captions_knows_both_manners():
    for text in ("Someone is coughing in the background.", "A sound that may be speech, perhaps cough."):
        steps = (StepSeen(2.0, (Guess(text, 1.0),)),)
        seen = Observation("train-x", "it", "x", 0, frozenset(), steps)
        for sources, misheard, says in (
            (("cough",), {}, "coughing or sneezing"),
            (("breath",), {}, "tell little"),
            (("breath",), {"breath": "cough"}, "perhaps breathing or snoring"),
        ):
            reason = why(MadeClip(seen, "ill", sources, misheard), frozenset({"captions"}))
            assert reason == f"captions: {says}; so {usual_name('ill')}"


# What must not be learnt.


def with_message(example, i, text):
    messages = list(example.messages)
    messages[i] = {**messages[i], "content": text}
    return replace(example, messages=tuple(messages))


def test_no_lesson_leaks(drawn, taught):
    refuse_leaks(taught)
    never = {name for activity in untaught() for name in all_names()[activity]}
    assert not never & {name for example in taught for name in names_in(example)}
    assert not untaught() & {activity for lesson in drawn for activity in lesson.names}


@pytest.mark.parametrize("name", ["washing at the sink", "Be_Ill_In_Bed", "hoovering", "sitting down"])
def test_a_name_that_is_kept_for_tests_is_refused_wherever_it_stands(taught, name):
    closed = next(example for example in taught if "Activities:\n" in example.messages[0]["content"])
    listed = closed.messages[0]["content"].replace("Activities:\n", f"Activities:\n{name}\n")
    answer = json.dumps({"activity": name})
    shown = f"{closed.messages[0]['content']}\n\n{EXAMPLE_HEADING}\ntime: sounds\n2 s: Water 9\nAnswer: {answer}"
    answered = replace(closed, completion=answer)
    said = json.loads(closed.completion)
    reasoned = replace(
        closed, completion=json.dumps({"why": f"sounds: Water; so {name}", "activity": said["activity"]})
    )
    for spoilt in (with_message(closed, 0, listed), with_message(closed, 0, shown), answered, reasoned):
        with pytest.raises(LeakError, match="kept for tests"):
            refuse_leaks([spoilt])


def test_a_recording_among_the_lessons_is_refused(scenes, taught):
    for clip in scenes[::7]:
        for modalities in ({"labels"}, MODALITIES):
            text = build_prompt(modalities, ["a", "b"], form=LISTED_CLIPS).messages(clip)[1]["content"]
            with pytest.raises(LeakError, match="recording"):
                refuse_leaks([with_message(taught[0], 1, text)])
    for planted in (replace(taught[0], session_id="singing-03"), replace(taught[0], dataset="scenes")):
        with pytest.raises(LeakError, match="kept for tests"):
            refuse_leaks([planted])
    with pytest.raises(LeakError, match="kept for tests"):
        refuse_leaks(taught, [taught[3].session_id])


def test_a_person_or_recording_is_no_lesson(drawn, scenes):
    lesson = drawn[0]
    person = replace(lesson.clip.observation, sources=frozenset({"person:19"}))
    for clip, words in ((person, "person:19"), (scenes[0], "person:|sound:"), (validation_clip(), "no lesson's")):
        with pytest.raises(LeakError, match=words):
            example_of(lesson._replace(clip=replace(lesson.clip, observation=clip)))
        with pytest.raises(LeakError, match=words):
            example_of(lesson._replace(examples=(clip,)))


def validation_clip():
    return validation_tasks(1, 1)[0].observations[0]


# Validation.


def test_validation_has_lists_names_and_clips_of_its_own(taught):
    tasks = validation_tasks()
    labels = [label for task in tasks for label in task.labels]
    assert len({task.labels for task in tasks}) == len(tasks) == 24
    assert len({clip.clip_id for task in tasks for clip in task.observations}) == 24 * 8
    learnt = {name for example in taught for name in names_in(example)}
    assert not {label for label in labels if was_taught(label)} & learnt
    tested = {activity_of(label) for labels in TEST_LABELS.values() for label in labels}
    assert not {activity_of(label) for label in labels} & tested
    truths = [was_taught(clip.label) for task in tasks for clip in task.observations]
    assert 0.3 < sum(truths) / len(truths) < 0.7
    for task in tasks:
        assert 2 <= len(task.labels) <= 20 and {clip.label for clip in task.observations} <= set(task.labels)
    assert [task.labels for task in validation_tasks(seed=1)] != [task.labels for task in tasks]


def test_drowned_validation_clips_are_told_by_movement_alone(monkeypatch):
    made = {}

    def noted(seed, activity, *_, **how):
        made[seed] = activity, how["drowned_by"]
        return make_clip(seed, activity, *_, **how)

    monkeypatch.setattr(clip_validation, "make_clip", noted)
    tasks = validation_tasks(drowned=True)
    assert len(made) == 24 * 8 and all(
        told_by_motion(own) and not sound_alike(own, other) for own, other in made.values()
    )
    assert {clip.clip_id for task in tasks for clip in task.observations} == set(made)
    assert 0.2 < sum(was_taught(clip.label) for task in tasks for clip in task.observations) / len(made) < 0.7
    made.clear()
    validation_tasks(1)
    assert {other for _, other in made.values()} == {None}


def test_anybody_can_be_asked_about_validation_clips_with_one_engine(tmp_path):
    opened = []

    def engine():
        opened.append(1)
        return RulesEngine()

    tasks = validation_tasks(4, 4, form=FusionForm())
    with Store(tmp_path / "s.sqlite") as store:
        answers = ask_validation(tasks, MODELS["rules"], store, Asking(open_with=engine, progress=False))
    assert opened == [1] and [len(own) for own in answers] == [4] * 4
    table = validation_table(tasks, answers)
    assert list(table.index) == ["taught", "never taught", "all"]
    assert table.loc["all", "clips"] == 16 and table.loc["all", "lists"] == 4
    assert WHOLE.modalities == frozenset(MODALITIES)


def test_the_table_tells_taught_from_never_taught():
    tasks = validation_tasks(5, 6)
    answers = [
        [FusionAnswer(c.clip_id, c.label if was_taught(c.label) else None, "ok", "", None) for c in task.observations]
        for task in tasks
    ]
    table = validation_table(tasks, answers)
    assert table.loc["taught", "accuracy"] == 1 and table.loc["never taught", "accuracy"] == 0
    assert table.loc["never taught", "missing"] == table.loc["never taught", "clips"] == table.loc["all", "missing"]
    assert 0 < table.loc["all", "chance"] < 0.5


# Students.


def test_an_arm_trains_with_its_lessons_and_is_asked_in_its_words(tmp_path, monkeypatch):
    given = {}

    def train(recipe, examples, **options):
        given.update(recipe=recipe, examples=examples, **options)
        return SimpleNamespace(folder=tmp_path)

    monkeypatch.setattr(clip_students, "train_student", train)
    teaching = clip_students.load_teaching("fusion").changed({"n_examples": 6})
    monkeypatch.setattr(clip_students, "load_teaching", lambda name, seed: teaching.changed({"seed": seed}))
    clip_students.fusion_student("answer")
    recipe = given["recipe"]
    assert (recipe.max_steps, recipe.batch_size, recipe.learning_rate, recipe.alpha) == (800, 2, 0.001, 64)
    assert len(given["examples"]) == 6 and "why" not in given["examples"][0].completion
    about = read_about(tmp_path)
    assert isinstance(about, About) and about.prompt == LISTED and about.completion == "answer"
    assert about.data == "made_clips (simulated)" and about.asked == AskedAs(constrained=True, why=False)
    model = MODELS["smollm2-135m"].model_copy(update={"prompt": about.prompt, "asked": about.asked})
    task = validation_tasks(1, 1, form=FusionForm(n_guesses=2))[0]
    assert task.asked_of(model).form == FusionForm(wording="listed", n_guesses=2)
    monkeypatch.setattr(type(model), "tokenizer_sha256", lambda self: "t")
    for asking in (Asking(), Asking(why=True)):  # whatever the run asks for
        (ask,) = fusion_asks(task, model, WHOLE, asking)
        assert list(ask.request.schema["properties"]) == ["activity"] and is_spaced(ask.request.schema)
    other = model.model_copy(update={"prompt": None})
    assert task.asked_of(other) is task
    with pytest.raises(SettingsError, match="truth"):
        clip_students.fusion_student("poem")
    other_seed = clip_students.clip_lessons(clip_students.ARMS["seed 2"], 2)
    assert [example.messages for example in other_seed] != [example.messages for example in given["examples"][:2]]


def test_the_teaching_is_1600_clips_once():
    teaching = clip_students.load_teaching(clip_students.TEACHING)
    assert teaching.n_examples == teaching.max_steps * teaching.batch_size == 1600
