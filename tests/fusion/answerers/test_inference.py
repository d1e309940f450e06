"""Asking about clips: many conditions with one engine, the store, one-shot folds, and a student's examples."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import pytest

from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.recorded import RecordedEngine
from llmhar.ask.engines.rules.home import RulesEngine
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.distill.examples import LeakError, data_hash, read_examples, write_examples
from llmhar.distill.home_lessons import LISTED
from llmhar.fusion.answerers.inference import WHY_TOKENS, ask_fusion, ask_tasks, fusion_asks
from llmhar.fusion.answerers.prompt import EXAMPLE_HEADING, LISTED_CLOSED, NOTHING, FusionForm
from llmhar.fusion.answerers.student import STUDENT_FORM, fusion_examples
from llmhar.fusion.answerers.task import Condition, FusionTask
from llmhar.fusion.encoders.observation import MODALITIES
from llmhar.records import Sampling
from llmhar.text.prompt import PromptError, PromptForm
from tests.fusion.answerers.test_prompt import EGO4D, seen

LLM = ModelSpec(name="llm", kind="llm", engine="recorded", hub_id="x/llm", revision="1")
CLIPS = [seen(f"{label} {fold}", label, fold, share=0.3 + 0.1 * fold) for label in EGO4D[:3] for fold in range(3)]
ALL = frozenset(MODALITIES)


def task(clips, pool=None, form=None):
    """The task of these clips, in S2's form where none is given."""
    return FusionTask("d", tuple(clips), EGO4D, form or FusionForm(), None if pool is None else tuple(pool))


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s.sqlite") as opened:
        yield opened


def test_many_conditions_open_one_engine_once(store):
    opened = []

    def engine():
        opened.append(1)
        return RulesEngine()

    conditions = [Condition(frozenset(m), shots, closed) for m in ({"labels"}, {"labels", "motion"}, ALL)
                  for shots in (0, 1) for closed in (True, False)]  # fmt: skip
    ask = lambda: ask_fusion(  # noqa: E731
        task(CLIPS), MODELS["rules"], conditions, store, Asking(open_with=engine, progress=False)
    )
    first = ask()
    assert list(first) == conditions and len(opened) == 1
    assert all([a.clip_id for a in own] == [o.clip_id for o in CLIPS] for own in first.values())
    assert all(a.stored and a.text for own in first.values() for a in own)
    assert ask() == first and len(opened) == 1  # a warm run opens nothing
    assert len({c.name for c in conditions}) == len(conditions)
    assert Condition(frozenset({"motion", "captions"}), 1, False).name == "captions+motion one-shot open"
    for condition, own in first.items():
        assert all((a.said != "") == (not condition.closed) for a in own)


def test_distinct_conditions_are_distinct_questions(store):
    keys = set()
    for modalities in ({"labels"}, {"motion"}, ALL):
        for shots in (0, 1):
            for closed in (True, False):
                asks = fusion_asks(task(CLIPS), LLM, Condition(frozenset(modalities), shots, closed))
                assert [(a.dataset, a.session_id, a.window_index, a.model) for a in asks] == [
                    ("d", o.clip_id, 0, "llm") for o in CLIPS
                ]
                keys |= {(ask.session_id, ask.request.key) for ask in asks}
    assert len(keys) == 12 * len(CLIPS)


def test_one_shot_prompts_share_their_static_part_within_a_fold_and_never_hold_a_test_clip():
    asks = fusion_asks(task(CLIPS), LLM, Condition(ALL, 1))
    by_fold = {}
    for clip, ask in zip(CLIPS, asks):
        system = ask.request.messages[0]["content"]
        by_fold.setdefault(clip.fold, set()).add(system)
        assert system.count(EXAMPLE_HEADING) == 3
        assert f"{0.3 + 0.1 * clip.fold:.0%}" not in system  # the shares of its own fold
    assert all(len(systems) == 1 for systems in by_fold.values()) and len(by_fold) == 3


def test_examples_can_be_shown_in_fewer_steps():
    whole, short = (
        fusion_asks(task(CLIPS[:1], CLIPS, FusionForm(example_steps=n)), LLM, Condition(ALL, 1))[0].request.messages
        for n in (None, 1)
    )
    assert whole[1] == short[1]  # the asked clip itself is whole
    assert whole[0]["content"].count('{"t": ') == 9 and short[0]["content"].count('{"t": 4.0') == 3
    assert short[0]["content"].count('{"t": ') == 3
    for bad in ({"example_steps": 0}, {"n_guesses": 0}, {"wording": "s3"}):
        with pytest.raises(PromptError, match="example_steps"):
            FusionForm(**bad)


def test_examples_from_a_pool_keep_clear_of_the_clips_that_are_asked(store):
    asked, pool = [CLIPS[0]], [replace(CLIPS[1], sources=CLIPS[0].sources), *CLIPS[2:]]
    (ask,) = fusion_asks(task(asked, pool), LLM, Condition(ALL, 1))
    first = ask.request.messages[0]["content"].split(EXAMPLE_HEADING)[1]  # vacuum cleaning: fold 1 shares its person
    assert '"Water tap, faucet": "50%"' in first and '{"activity": "vacuum cleaning"}' in first
    (lonely,) = fusion_asks(task(asked), LLM, Condition(ALL, 1))
    assert EXAMPLE_HEADING not in lonely.request.messages[0]["content"]
    with pytest.raises(PromptError, match="shots"):
        fusion_asks(task(asked), LLM, Condition(ALL, 2))


def test_constraint_switch_and_budget_go_where_they_belong():
    thinker = LLM.model_copy(update={"thinking": True, "template_args": {"enable_thinking": True}})
    budget = Sampling(thinking_budget=5)

    def one(model, closed=True, **asking):
        return fusion_asks(task(CLIPS[:1]), model, Condition(ALL, 0, closed), Asking(**asking))[0].request

    assert one(LLM, constrained=True).schema["properties"]["activity"]["enum"] == list(EGO4D)
    assert one(LLM, constrained=True, closed=False).schema is None
    assert one(MODELS["rules"], constrained=True).schema is None
    assert one(LLM, thinking=False, sampling=budget).template_args == {}
    assert one(LLM, sampling=budget).sampling.thinking_budget is None
    assert one(thinker, thinking=False, sampling=budget).template_args == {"enable_thinking": False}
    assert one(thinker, sampling=budget).sampling.thinking_budget == 5
    jsonschema.Draft202012Validator.check_schema(one(LLM, constrained=True).schema)


def test_what_no_engine_answers_is_missing(tmp_path, store):
    lines = [{"match": "30%", "text": "", "error": "asleep"}, {"match": "40%", "text": '{"activity": "cooking"}'},
             {"default": True, "text": '{"activity": "cook', "finish_reason": "length",
              "output_tokens": 512}]  # fmt: skip
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    asking = Asking(progress=False, open_with=lambda: RecordedEngine(tmp_path / "r.jsonl"))
    answers = ask_fusion(task(CLIPS[3:6]), LLM, [Condition(ALL)], store, asking)[Condition(ALL)]
    assert [(a.label, a.verdict, a.error) for a in answers] == [
        (None, "missing", "asleep"), ("cooking", "ok", ""), (None, "cut", "")
    ]  # fmt: skip
    assert answers[0].stored is None and answers[2].stored.generation.output_tokens == 512


def test_where_every_request_of_a_condition_failed_there_is_no_score(tmp_path, store):
    (tmp_path / "r.jsonl").write_text('{"default": true, "error": "asleep"}')
    asking = Asking(progress=False, open_with=lambda: RecordedEngine(tmp_path / "r.jsonl"))
    with pytest.raises(EngineError, match="all 3 requests failed, so there is no F1 and no other score: asleep"):
        ask_fusion(task(CLIPS[3:6]), LLM, [Condition(ALL)], store, asking)


def test_open_answers_are_matched(tmp_path, store):
    lines = [{"match": "30%", "text": '{"activity": "frying food in a pan"}'},
             {"match": "40%", "text": '{"activity": "piloting a spacecraft"}'},
             {"default": True, "text": "</think>"}]  # fmt: skip
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, lines)))
    condition = Condition(frozenset({"labels"}), closed=False)
    asking = Asking(progress=False, open_with=lambda: RecordedEngine(tmp_path / "r.jsonl"))
    answers = ask_fusion(task(CLIPS[3:6]), LLM, [condition], store, asking)[condition]
    assert [(a.label, a.verdict, a.said) for a in answers] == [
        ("cooking", "ok", "frying food in a pan"), (None, "unknown_label", "piloting a spacecraft"),
        (None, "missing", ""),
    ]  # fmt: skip
    assert answers[0].similarity > 0.2 > answers[1].similarity


# Teaching a student.


def taught(store, clips):
    condition = Condition(ALL)
    return ask_fusion(task(clips), MODELS["rules"], [condition], store, Asking(progress=False))[condition]


def test_a_student_learns_short_prompts_of_training_folds(store, tmp_path):
    train = [clip for clip in CLIPS if clip.fold != 2]
    answers = taught(store, train)
    own = {"modalities": {"labels", "motion"}, "test_folds": {2}}
    examples = fusion_examples(task(CLIPS), answers, **own)
    assert [e.session_id for e in examples] == [clip.clip_id for clip in train]
    system, user = examples[0].messages
    assert not any(label in system["content"] for label in EGO4D)
    assert user["content"].splitlines()[0] == "2 s: Water tap, faucet | standing"
    assert examples[0].completion.startswith("<think>") and examples[0].completion.endswith("}")
    (asked,) = fusion_asks(task(train[:1], form=STUDENT_FORM), LLM, Condition(frozenset({"motion", "labels"})))
    assert examples[0].messages == asked.request.messages, "asked as it was taught"
    right = fusion_examples(task(CLIPS), answers, **own, only_correct=True)
    truth = {clip.clip_id: clip.label for clip in CLIPS}
    assert [json.loads(e.completion.splitlines()[-1])["activity"] for e in right] == [
        truth[e.session_id] for e in right
    ]
    write_examples(examples, tmp_path / "e.jsonl")
    assert data_hash(read_examples(tmp_path / "e.jsonl")) == data_hash(examples)


def test_answers_that_teach_nothing_are_left_out(store):
    (answer,) = taught(store, CLIPS[:1])
    lost = [replace(answer, verdict="unknown_label"), replace(answer, stored=None)]
    cut = answer.stored._replace(generation=replace(answer.stored.generation, finish_reason="length"))
    own = {"modalities": ALL, "test_folds": {2}}
    assert fusion_examples(task(CLIPS), [*lost, replace(answer, stored=cut)], **own) == []
    assert len(fusion_examples(task(CLIPS), [answer], **own)) == 1


def test_no_test_clip_and_no_test_person_is_taught(store):
    answers = taught(store, CLIPS)
    with pytest.raises(LeakError, match="test fold 1"):
        fusion_examples(task(CLIPS), answers, modalities=ALL, test_folds={1})
    twin = replace(CLIPS[0], clip_id="twin", fold=9)
    with pytest.raises(LeakError, match="person:vacuum cleaning 0"):
        fusion_examples(task([*CLIPS, twin]), answers, modalities=ALL, test_folds={9})


LISTED_LLM = LLM.model_copy(update={"prompt": LISTED})


@pytest.mark.parametrize(
    ("model", "asked_why", "bound"),
    [(LLM, None, ["activity"]), (LLM, True, ["why", "activity"]), (LISTED_LLM, None, ["why", "activity"]),
     (LISTED_LLM, False, ["activity"])],
)  # fmt: skip
def test_binding_leaves_room_for_a_reason_where_one_was_taught(model, asked_why, bound):
    asking = Asking(sampling=Sampling(max_tokens=20), constrained=True, why=asked_why)
    request = fusion_asks(task(CLIPS[:1]), model, Condition(ALL), asking)[0].request
    assert request.schema["required"] == bound
    assert request.sampling.max_tokens == (WHY_TOKENS if "why" in bound else 20)
    assert fusion_asks(task(CLIPS[:1]), model, Condition(ALL, closed=False), asking)[0].request.schema is None


def test_a_student_of_made_up_clips_is_asked_in_its_own_words():
    own = fusion_asks(task(CLIPS[:1]), LISTED_LLM, Condition(ALL))[0].request.messages
    assert own[0]["content"].startswith(LISTED_CLOSED) and "eating" in own[0]["content"]
    others = LLM.model_copy(update={"prompt": PromptForm("student", "daytime", "name")})
    plain = fusion_asks(task(CLIPS[:1]), LLM, Condition(ALL))[0].request.messages
    assert fusion_asks(task(CLIPS[:1]), others, Condition(ALL))[0].request.messages == plain != own
    assert fusion_asks(task(CLIPS[:1]), LISTED_LLM, Condition(frozenset()))[0].request.messages[1]["content"] == NOTHING


def test_sets_of_clips_with_lists_of_their_own_share_an_engine(store):
    opened = []

    def engine():
        opened.append(1)
        return RulesEngine()

    few = replace(task(CLIPS[:2]), labels=EGO4D[:3])
    pairs = [(task(CLIPS), Condition(ALL)), (few, Condition(ALL)), (few, Condition(frozenset({"labels"})))]
    answers = ask_tasks(pairs, MODELS["rules"], store, Asking(open_with=engine, progress=False))
    assert opened == [1] and [len(own) for own in answers] == [len(CLIPS), 2, 2]
    assert {answer.label for own in answers[1:] for answer in own} <= set(EGO4D[:3])
