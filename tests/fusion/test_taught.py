"""Students of made-up clips in notebook 05: who is asked what, taught and never taught names apart, situations."""

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines.rules.home import RulesEngine
from llmhar.ask.models import FUSION_MODEL, MODELS, NO_ADAPTER, AskedAs, Shipped
from llmhar.ask.store import Store
from llmhar.fusion import ablation, taught
from llmhar.fusion import study as fusion_study
from llmhar.fusion.answerers.baselines import Without, predict, show_only
from llmhar.fusion.answerers.prompt import EXAMPLE_HEADING, FusionForm
from llmhar.fusion.answerers.task import Condition
from llmhar.fusion.clips.clip_grammar import was_taught
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.encoders.observation import MODALITIES
from llmhar.fusion.encoders.observe import Observing, observe
from llmhar.fusion.situations import MISSING, situation_table, situations
from llmhar.records import Generation
from llmhar.score.tables import pair_table
from llmhar.text.prompt import FORMS

ENCODERS = {"captions": "template-captions", "labels": "yamnet", "motion": "imu-cnn-m-6"}
WHOLE = Condition(frozenset(MODALITIES))
STUDENT = MODELS["rules"].model_copy(
    update={"name": "scripted student", "prompt": FORMS["listed"], "asked": AskedAs(constrained=True, why=True)}
)


class Scripted(RulesEngine):
    """Takes the activity of the list that is written like the clip: as good as chance, and always the same."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def stream(self, requests):
        for request in requests:
            self.seen.append(request)
            system, text = request.messages[0]["content"], request.messages[-1]["content"]
            listed = system.partition("Activities:\n")[2].partition("\n\n")[0].split("\n")
            answer = {"why": "so it is", "activity": listed[len(text) % len(listed)] or "singing"}
            yield Generation(request.key, json.dumps(answer), "stop", seconds=0.01)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("taught") / "s.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def plan(store):
    """Three clips of each activity, and those in conflict."""
    clips = load_clipset("scenes-recorded")
    observed = observe(clips, store, Observing(ENCODERS, 0.1, progress=False))
    whole = fusion_study.plan(clips, observed, FusionForm(example_steps=2), 10)
    few, _ = fusion_study.named_subset(whole.task.observations, 30)
    kept = {clip.clip_id for clip in few} | {clip.clip_id for clip in whole.task.observations if clip.conflict}
    own = tuple(clip for clip in whole.task.observations if clip.clip_id in kept)
    return replace(whole, task=replace(whole.task, observations=own, pool=own))


def asking(engine):
    return Asking(open_with=lambda: engine, progress=False)


@pytest.fixture(scope="module")
def outcome(plan, store):
    """Baselines, and a student that answered everything."""
    everybody = fusion_study.answer(plan, [], ["vote", "bayes"], [0], store, asking(None))
    return taught.joined(everybody, [STUDENT], store, asking(Scripted()), grid=True)


def answering(outcome, name, label_of, kind="llm"):
    """An answerer whose answers with everything shown are these."""
    given = {clip.clip_id: label_of(clip) for clip in outcome.plan.task.observations}
    return fusion_study.Answered(name, kind, "test", outcome.plan.task, {WHOLE: fusion_study.Given(given)})


def test_a_student_answers_each_combination_and_none_about_all_clips(plan, outcome):
    (student,) = outcome.students
    assert student.answerer == "scripted student" and student.model == STUDENT and student.is_whole
    assert len(student.given) == 16 and Condition(frozenset()) in student.given
    assert {len(given.predictions) for given in student.given.values()} == {len(plan.task.observations)}
    assert set(outcome.shares) == {"scripted student", "vote", "bayes"}
    assert [own.answerer for own in outcome.answered] == ["scripted student", "vote", "bayes"]


def test_without_a_grid_everything_is_shown_once_in_the_words_that_it_was_taught(plan, store):
    engine = Scripted()
    other = STUDENT.model_copy(update={"name": "another", "revision": "2"})
    empty = fusion_study.Outcome(plan, [], [])
    (student,) = taught.joined(empty, [other], store, asking(engine), grid=False).students
    assert list(student.given) == [WHOLE] and not student.is_whole
    assert len(engine.seen) == len(plan.task.observations)
    assert all(ask.messages[0]["content"].startswith("Say what the person") for ask in engine.seen)
    outcome = taught.joined(empty, [other], store, asking(engine), grid=False)
    assert outcome.shares == {} and len(outcome.costs) == 0
    both = taught.joined(empty, [STUDENT, other], store, asking(engine), grid=True).students
    assert [len(own.given) for own in both] == [16, 1], "the grid is the first student's"


def test_a_student_whose_reasons_name_is_also_asked_to_name_itself(plan, store):
    asked = AskedAs(constrained=True, why=True, named=True)
    named = STUDENT.model_copy(update={"name": "by reasons", "kind": "llm", "revision": "3", "asked": asked})
    outcome = taught.joined(fusion_study.Outcome(plan, [], []), [named], store, asking(Scripted()), grid=False)
    (student,), (own,) = outcome.students, outcome.own_names
    assert own.answerer == "by reasons, own names" and list(own.given) == [WHOLE]
    assert {answer.label for answer in student.given[WHOLE].answers} != {
        answer.label for answer in own.given[WHOLE].answers
    }, "one reason for all clips means one name; the model wrote several"
    assert len(set(student.given[WHOLE].predictions.values())) == 1
    numbers = taught.student_numbers(outcome)
    assert {"student_f1", "student_own_names_f1", "student_own_names_unseen_f1"} <= set(numbers)


def test_taught_and_never_taught_names_are_told_apart_for_everybody(outcome):
    knows = answering(outcome, "knows", lambda clip: clip.label if was_taught(clip.label) else None)
    guesses = answering(outcome, "guesses", lambda clip: next(filter(was_taught, outcome.plan.task.labels)))
    table = taught.part_table([knows, guesses, *outcome.baselines], outcome.plan.about)
    assert table.loc[("taught", "knows"), ["macro F1", "accuracy"]].tolist() == [1, 1]
    assert table.loc[("never taught", "knows"), ["macro F1", "accuracy"]].tolist() == [0, 0]
    sizes = table.xs("knows", level="answerer")["clips"]
    assert sizes["all"] == 30 == sizes["taught"] + sizes["never taught"] and sizes["never taught"] == 9
    only = 2 * 3 / (3 + 30) / 7
    assert table.loc[("taught", "guesses"), "macro F1"] == pytest.approx(only), "clips of others count as taken"
    assert set(table["chance"]) == {0.1} and ("never taught", "bayes") in table.index


def test_the_mean_over_some_activities_counts_what_was_wrongly_taken_for_them(outcome):
    task = outcome.plan.task
    clips, first = task.consistent, task.labels[0]
    always = {clip.clip_id: first for clip in clips}
    only = ablation.macro_f1(always, clips, task.labels, only=frozenset({first}))
    assert only.mean == pytest.approx(2 * 3 / (3 + 30)) and only.n_values == 3
    rest = ablation.macro_f1(always, clips, task.labels, only=frozenset(task.labels[1:]))
    assert rest.mean == 0 and ablation.macro_f1(always, clips, task.labels).mean == pytest.approx(only.mean / 10)


def test_a_student_is_paired_with_everybody_part_by_part(outcome):
    knows = answering(outcome, "knows", lambda clip: clip.label if was_taught(clip.label) else None)
    rules = answering(outcome, "rules", lambda clip: None, kind="rules")
    few = replace(rules.task, observations=rules.task.observations[:12])
    other = rules._replace(answerer="few", task=few)
    whole = replace(outcome, students=[knows], models=[rules, other])
    pairs = taught.pairs_of(whole)
    assert list(pairs) == ["all", "taught", "never taught"]
    gaps = {(part, pair.second): (pair.gap, pair.n_values) for part, own in pairs.items() for pair in own}
    assert gaps["taught", "rules"] == (1, 21) and gaps["never taught", "rules"] == (0, 9)
    assert gaps["all", "few"][1] < 12, "clips that both answered"
    taught_only = replace(rules.task, observations=tuple(taught.clips_of(rules.task.observations, "taught")))
    apart = taught.pairs_of(replace(whole, models=[rules, rules._replace(answerer="few", task=taught_only)]))
    assert "few" in {pair.second for pair in apart["taught"]}
    assert "few" not in {pair.second for pair in apart["never taught"]}, "no clip that both answered"
    assert len(pair_table(pairs, "clusters", "clips")) == sum(map(len, pairs.values()))
    numbers = taught.student_numbers(whole)
    assert (numbers["student_seen_f1"], numbers["student_unseen_f1"]) == (1, 0) and 0 < numbers["student_f1"] < 1
    assert (numbers["student_clips"], numbers["student_seen_clips"], numbers["student_unseen_clips"]) == (30, 21, 9)
    assert numbers["student_f1_low"] <= numbers["student_f1"] <= numbers["student_f1_high"]
    assert numbers["student_seen_minus_rules"] == 1 and "student_minus_vote_p" in numbers and numbers["chance"] == 0.1
    assert numbers["rules_seen_f1"] == 0
    assert taught.student_numbers(replace(whole, students=[])) == {}


def test_settings_are_asked_about_the_same_few_clips(plan, store):
    engine = Scripted()
    settings = taught.ask_settings(plan, [STUDENT], 20, store, asking(engine))
    assert list(settings) == list(taught.SETTINGS)
    asked = {tuple(clip.clip_id for clip in own.task.observations) for (own,) in settings.values()}
    assert len(asked) == 1 and len(next(iter(asked))) == 20
    heads = Counter((EXAMPLE_HEADING in r.messages[0]["content"], "Activities:\n" in r.messages[0]["content"],
                     r.schema is not None) for r in engine.seen)  # fmt: skip
    # rules' kind is never bound; what was asked zero-shot about all clips is not asked again
    assert {(True, True, False), (False, False, False), (True, False, False)} <= set(heads)
    table = taught.setting_table(settings)
    assert len(table) == 16 and len(table.columns) == 4 * 3 and table.notna().all().all()


def test_who_is_asked_is_trained_merged_or_left_out(monkeypatch, tmp_path, capsys):
    merged = []
    folder = SimpleNamespace(folder=SimpleNamespace(name="rules"))
    monkeypatch.setattr(taught, "fusion_student", lambda name: folder)
    monkeypatch.setattr(taught, "merge", merged.append)
    monkeypatch.setattr(Shipped, "sha256", lambda self: "")
    found = taught.fuser_models(["truth", FUSION_MODEL, "rules"])
    assert [model.name for model in found] == ["taught on made-up clips", "rules"] and merged == [folder]
    assert capsys.readouterr().err == f"{FUSION_MODEL} is left out: {NO_ADAPTER}\n"
    fetched = []
    monkeypatch.setattr(Shipped, "sha256", lambda self: "ab")
    monkeypatch.setattr(taught, "fetch", fetched.append)
    (shipped,) = taught.fuser_models([FUSION_MODEL])
    assert fetched == [FUSION_MODEL] and shipped.prompt == FORMS["listed"]
    assert shipped.asked == AskedAs(constrained=True, why=True, named=True)


# What must be done without.


def test_what_is_missing_at_test_time_was_learnt_with(outcome):
    task = outcome.plan.task
    deaf = Without(modalities=MISSING["the sound is missing"])
    blind = predict("bayes", task.observations, MODALITIES, task.labels, without=deaf)
    whole = predict("bayes", task.observations, MODALITIES, task.labels)
    alone = predict("bayes", task.observations, frozenset(MODALITIES) - deaf.modalities, task.labels)
    assert blind == alone != whole, "Bayes adds modalities up: one that is missing says nothing"
    assert show_only(task.observations[0], frozenset(MODALITIES) - deaf.modalities).steps[0].labels == ()


def test_an_activity_without_a_labelled_clip_is_never_answered_by_who_was_fitted(outcome):
    task = outcome.plan.task
    never = frozenset(label for label in task.labels if not was_taught(label))
    for name in ("bayes", "stacking", "early"):
        said = predict(name, task.observations, MODALITIES, task.labels, without=Without(labels=never))
        assert len(never) == 3 and not never & set(said.values())


def test_each_situation_compares_on_its_own_clips(outcome, store):
    rules = answering(outcome, "rules", lambda clip: clip.label, kind="rules")
    opened = fusion_study.open_answers(outcome.students, None, store, asking(Scripted()))
    free_rules = fusion_study.OpenAnswers(
        rules._replace(given={WHOLE._replace(closed=False): rules.given[WHOLE]}), None
    )
    found = situations(replace(outcome, models=[rules]), [*opened, free_rules])
    by_name = {situation.name: situation for situation in found}
    assert len(by_name) == 4 + len(MISSING) + 1
    assert len(by_name["everything is there"].clips) == 30
    assert len(by_name["nobody saw a labelled or taught clip of the activity"].clips) == 9
    assert all(clip.conflict for clip in by_name["the motion contradicts the sound, which is right"].clips)
    misled = by_name["the sound alone misleads (the vote on it is wrong)"]
    heard = outcome.baselines[0].given[Condition(frozenset({"labels"}))].predictions
    assert misled.clips and all(heard[clip.clip_id] != clip.label for clip in misled.clips)
    table = situation_table(found, outcome.plan.about)
    assert table.loc[("everything is there", "rules"), "other"] == 1
    assert set(by_name["no list of activities (the nearest counts)"].given) == {"scripted student", "rules"}
    gaps = table["student"] - table["other"]
    assert np.allclose(gaps, table["gap"])
    assert situations(replace(outcome, students=[])) == []
    assert situation_table([], outcome.plan.about).index[0] == ("no student", "nobody")
