"""Notebook 05's loops on the composed scenes: recorded outputs, leak proofs, subsets, key numbers."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.recorded import RecordedEngine
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.data.load_report import DataError
from llmhar.fusion import ablation, error_study, motion_capacity
from llmhar.fusion import study as fusion_study
from llmhar.fusion import views as fusion_views
from llmhar.fusion.answerers.inference import fusion_asks
from llmhar.fusion.answerers.prompt import FusionForm, pick_examples
from llmhar.fusion.answerers.task import Condition, FusionTask
from llmhar.fusion.clips import scenes
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.clips.sounds import sounds_here
from llmhar.fusion.doses import plan_doses
from llmhar.fusion.encoders.encode import EncoderError, encode
from llmhar.fusion.encoders.motion_models import CrossValidated, motion_record
from llmhar.fusion.encoders.observation import MODALITIES
from llmhar.fusion.encoders.observe import RECORDED, Observing, observe
from llmhar.fusion.encoders.registry import encoder
from llmhar.score.tables import pair_table

ENCODERS = {"captions": "template-captions", "labels": "yamnet", "motion": "imu-cnn-m-6"}
OBSERVING = Observing(ENCODERS, context_noise=0.1, progress=False)
QUIET = Asking(progress=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store(tmp_path_factory.mktemp("fusion") / "store.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def clips():
    return load_clipset("scenes-recorded")


@pytest.fixture(scope="module")
def observed(clips, store):
    return observe(clips, store, OBSERVING)


@pytest.fixture(scope="module")
def plan(clips, observed):
    return fusion_study.plan(clips, observed, FusionForm(), 10)


def test_recorded_outputs_stand_for_every_scene_and_say_so(clips, observed):
    assert clips.kind == "recorded" and len(clips.clips) == len(observed.observations) >= 96
    assert observed.recorded and {made.engine for made in observed.made_by.values()} == {
        "recorded",
        "template-captions",
    }
    assert "RECORDED" in fusion_study.about(clips, observed).note
    assert set(fusion_views.encoder_table(observed)["kind"]) >= {"recorded outputs", "stand-in"}
    for one in observed.observations:
        assert len(one.steps) == 9 and all(one.has(modality) for modality in MODALITIES)
        assert {name: vector.shape for name, vector in one.embeddings.items()} == {"labels": (521,), "motion": (64,)}


@pytest.mark.skipif(not sounds_here(), reason="the sounds of the scenes were not fetched: llmhar data fetch scenes")
def test_live_and_recorded_outputs_agree(tmp_path):
    """The same clips through the real encoder: same hashes, same guesses."""
    live = load_clipset("scenes", options={"limit": 6})
    recorded = {clip.clip_id: clip for clip in load_clipset("scenes-recorded").clips}
    for clip in live.clips:
        assert clip.read_audio().sha256 == recorded[clip.clip_id].audio_sha256
        assert clip.read_motion().sha256 == recorded[clip.clip_id].motion_sha256
    try:
        encoder("yamnet").revision()
    except EncoderError as error:
        pytest.skip(f"YAMNet's weights are not here: {error}")
    with Store(tmp_path / "live.sqlite") as first, Store(tmp_path / "recorded.sqlite") as second:
        made = encode(live.clips, encoder("yamnet"), first, dataset="scenes", progress=False)
        kept = encode(
            [recorded[clip.clip_id] for clip in live.clips], encoder("yamnet"), second, dataset="scenes",
            recorded=RECORDED, progress=False,
        )  # fmt: skip
    assert {own.made_by.engine for own in made.values()} == {"yamnet"}
    for clip_id, own in made.items():
        for (_, heard), (_, said) in zip(own.steps, kept[clip_id].steps, strict=True):
            assert [g.name for g in heard] == [g.name for g in said]
            assert np.allclose([g.share for g in heard], [g.share for g in said], atol=1e-4)


def test_no_test_clip_person_or_recording_is_learnt_from(clips, observed):
    """Must show 5: folds share no source; examples come from other folds; encoders never saw a scene's people."""
    sides = {}
    for clip in clips.clips:
        for source in clip.sources:
            sides.setdefault(source, set()).add(clip.fold)
    assert all(len(folds) == 1 for folds in sides.values())
    assert {source.partition(":")[0] for source in sides} == {"sound", "person"}
    people = {int(source.partition(":")[2]) for source in sides if source.startswith("person:")}
    assert people <= set(scenes.SCENE_PERSONS) and not people & set(scenes.ENCODER_PERSONS)
    by_id = {one.clip_id: one for one in observed.observations}
    for fold in range(clips.n_folds):
        tested = {source for one in by_id.values() if one.fold == fold for source in one.sources}
        examples = pick_examples(list(by_id.values()), fold, list(clips.labels))
        assert len(examples) == len(clips.labels)
        assert all(one.fold != fold and not one.sources & tested for one in examples)
    try:
        assert not set(motion_record("imu-cnn-m-6")["persons"]) & people
    except EncoderError:
        assert set(scenes.ENCODER_PERSONS) == set(range(1, 19))  # not trained here: the constant is what it trains on


def test_one_shot_prompts_hold_no_clip_of_the_asked_fold(clips, observed):
    every, labels = observed.observations, list(clips.labels)
    task = FusionTask("scenes", tuple(every), clips.labels)
    asks = fusion_asks(task, MODELS["rules"], Condition(frozenset({"labels", "motion"}), 1))
    for fold in range(clips.n_folds):
        own = [ask.request.messages for ask, one in zip(asks, every) if one.fold == fold]
        assert len({messages[0]["content"] for messages in own}) == 1  # one set of examples a fold
        shown = own[0][0]["content"]
        assert all(messages[-1]["content"] not in shown for messages in own)
        assert shown.count("Example clip") == len(labels)


def test_a_source_on_two_sides_is_refused(clips, store):
    from dataclasses import replace

    first = clips.clips[0]
    leaky = replace(clips, clips=(*clips.clips, replace(first, clip_id="twin", fold=(first.fold + 1) % 3)))
    with pytest.raises(DataError, match="twin"):
        observe(leaky, store, OBSERVING)


def test_the_named_subset_is_even_seeded_and_without_conflicts(observed):
    own, name = fusion_study.named_subset(observed.observations, 20, seed=3)
    assert name == "20 clips (seed 3)" and not any(one.conflict for one in own)
    assert set(Counter(one.label for one in own).values()) == {2}
    assert own == fusion_study.named_subset(observed.observations, 20, seed=3)[0]
    assert own != fusion_study.named_subset(observed.observations, 20, seed=4)[0]
    assert fusion_study.named_subset(observed.observations, None) == (observed.observations, "all 132 clips")


def test_the_design_from_answers_to_key_numbers(clips, observed, plan, store):
    labels, every = list(clips.labels), observed.observations
    conditions = fusion_study.design(every)
    assert len(conditions) == 15 and len(set(conditions)) == 15
    outcome = fusion_study.answer(plan, ["rules"], ["vote", "bayes"], [0], store, QUIET)
    (rules,), bases, cells = outcome.models, outcome.baselines, outcome.cells
    assert len(cells) == 15 + 2 * 16
    assert all(cell.accuracy.n_values == 120 for cell in cells)
    assert {c.accuracy.n_values for c in outcome.conflict_cells} == {12}
    shares = outcome.shares["rules"]
    assert np.isnan(shares.at["captions", "share"]) and shares.at["captions", "note"].startswith("stand-in")
    playing = frozenset(MODALITIES) - observed.stand_ins
    own = [one for one in every if not one.conflict]
    full = ablation.correct(rules.given[Condition(playing)].predictions, own).mean()
    assert np.isclose(shares["share"].sum(), full - 1 / len(labels))
    numbers = fusion_study.key_numbers([rules, *bases], 0.9)
    assert numbers["n_combinations"] == 16 and numbers["imu_accuracy"] == 0.9
    assert 0.1 < numbers["f1_all_modalities"] <= 1 and 0.1 < numbers["f1_vote"] <= 1
    compared = fusion_study.compare_all([rules, *bases], [("rules", "vote"), ("bayes", "vote")])
    assert [one.first for one in compared] == ["rules", "bayes"] and compared[0].n_values == 120
    assert outcome.pairs == compared
    few = rules._replace(answerer="few", task=plan.subset)
    pairs = fusion_study.compare_all([rules, few, *bases], [("few", "vote"), ("rules", "vote"), ("bayes", "vote")])
    assert [pair.n_values for pair in pairs] == [len(plan.subset.consistent), 120, 120], "who answered few clips"
    assert (pairs[1].gap, pairs[1].p) == (compared[0].gap, compared[0].p), "changes no other pair"
    assert "recorded" in pair_table({plan.about.marked: compared}, "clusters", "clips")["data"].iloc[0]
    assert [cell.answerer for cell in outcome.full_cells] == ["rules", "vote", "bayes"]
    assert fusion_study.kind_names(outcome.answered) == ["baseline, no LLM", "rules, not an LLM"]
    assert outcome.costs.loc[("rules", "labels"), "pairs"] == 7


def test_language_models_are_asked_about_the_subset_alone(plan):
    assert len(plan.task.observations) == 132 and len(plan.subset.observations) == 10
    assert plan.task_for(["rules"]) is plan.task and plan.task_for(["rules", "smollm2-135m"]) is plan.subset
    assert plan.subset.pool == plan.task.observations, "examples may be any clip"
    assert plan.about_models.note.endswith("Language models: 10 clips (seed 0).")


def test_doses_are_paired_and_rise(plan, store):
    planned = plan_doses(levels=(0.1, 0.5, 1.0), alone=False)
    doses = error_study.dose_experiment(plan.task, ["rules"], planned, store, QUIET)
    curves = doses.curves.pivot(index="dose", columns="answerer", values="accuracy")
    assert set(curves.columns) == {"vote", "bayes", "rules"}
    for name in curves:
        assert curves[name].is_monotonic_increasing and curves.at[1.0, name] >= 0.95, name
    verdicts = doses.verdicts
    assert verdicts["verdict"].tolist() == ["not shown", "lower", "not shown"], "rules against vote at 10, 50, 100 %"
    assert verdicts.index[0] == ("rules", "all", 0.1) and list(verdicts.columns[:2]) == ["accuracy", "vote"]
    numbers = error_study.key_numbers(doses, [])
    crossing = {name: numbers.pop(f"crossing_rules_vote{name}") for name in ("_low", "", "_high")}
    assert 0 < crossing["_low"] <= crossing[""] <= crossing["_high"] <= 1
    assert numbers == {f"accuracy_dose_50_{name}": curves.at[0.5, name] for name in ("vote", "bayes", "rules")}


def test_free_answers_are_matched_and_conflicts_stand_apart(plan, store):
    rules = fusion_study.by_model(plan.subset, "rules", [Condition(frozenset(MODALITIES))], store, QUIET)
    free = fusion_study.open_answers([rules], None, store, QUIET)
    table = fusion_views.open_table(free, plan.about)
    assert table.loc[("consistent", "rules"), ["clips", "accuracy", "no match"]].tolist() == [10, 0.4, 4]


def test_motion_alone_in_the_fusion_and_people_are_read_from_clusters():
    assert motion_capacity._person("person:19") == 19
    assert motion_capacity.fed_into_fusion(load_clipset("scenes-recorded"), [], None, Observing({})).empty


def test_a_motion_encoder_is_fed_into_the_fusion(clips, store):
    try:
        motion_record("imu-cnn-m-6")
    except EncoderError as error:
        pytest.skip(str(error))
    table = motion_capacity.fed_into_fusion(clips, ["imu-cnn-m-6"], store, OBSERVING)
    assert list(table.index) == ["imu-cnn-m-6"] and 30_000 < table["parameters"].iloc[0] < 40_000
    assert table["clips"].iloc[0] == 120 and table["everything, naive Bayes"].iloc[0].startswith("0.")


def test_a_student_is_taught_on_other_folds_and_asked_in_its_own_form(plan, store, monkeypatch, tmp_path):
    """Training is stood in for."""
    lessons = []
    monkeypatch.setattr(error_study, "train_student", lambda recipe, examples, name: lessons.append((name, examples)))
    (tmp_path / "r.jsonl").write_text('{"default": true, "text": "cooking"}')
    spec = MODELS["rules"].model_copy(update={"name": "taught", "revision": "1"})
    others = inference.open_model

    def opened(model, asking):
        return RecordedEngine(tmp_path / "r.jsonl") if model is spec else others(model, asking)

    monkeypatch.setattr(inference, "open_model", opened)
    monkeypatch.setattr(error_study, "merge", lambda student: (spec, None))
    taught = error_study.distilled(plan.task, "rules", "recorded-smoke", 5, store, QUIET)
    ((name, examples),) = lessons
    assert name == "recorded-smoke taught by rules" and examples
    tested = {clip.clip_id for clip in plan.task.observations if clip.fold == 0}
    conflicts = {clip.clip_id for clip in plan.task.observations if clip.conflict}
    assert not {example.session_id for example in examples} & (tested | conflicts)
    assert [own.answerer for own in taught] == ["taught", "rules, fold 0", "recorded-smoke untrained, fold 0"]
    assert all({clip.clip_id for clip in own.task.observations} == tested for own in taught)
    assert [own.task.form.wording for own in taught] == ["student", "s2", "s2"]
    (asked, *_) = fusion_asks(taught[0].task, spec, Condition(plan.task.shown))
    assert asked.request.messages[0] == examples[0].messages[0], "asked as it was taught"
    assert set(fusion_study.full_scores(taught)) == {own.answerer for own in taught}


def test_a_forest_of_the_capacity_table_has_no_size(monkeypatch):
    folds = pd.DataFrame({"model": ["net", "random forest"] * 2, "n_windows": [30, 30, 12, 12]})
    rows = [(name, "accuracy", 2, 0.9, 0.8, 1.0) for name in ("net", "random forest")]
    summary = pd.DataFrame(rows, columns=["model", "measure", "n_folds", "mean", "low", "high"])
    monkeypatch.setattr(motion_capacity, "prepare", lambda name: None)
    monkeypatch.setattr(motion_capacity, "motion_record", lambda name: {"parameters": 3942})
    crossed = CrossValidated(folds, summary, {}, ())
    monkeypatch.setattr(motion_capacity, "cross_validate", lambda size, classes: crossed)
    table = motion_capacity.capacity(["imu-cnn-s-6", "imu-cnn-m-6"])
    assert table[["model", "size"]].to_numpy().tolist() == [["cnn", "s"], ["random forest", ""]]
    assert set(table["clips"]) == {42} and set(table["clusters"]) == {2}
