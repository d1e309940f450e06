"""Distillation without weights: traces, filters, examples, recipes, the order of examples, tokens, the child's end."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from llmhar.ask.asking import Asking
from llmhar.ask.inference import AskedRun
from llmhar.ask.models import MODELS, Local, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task, prepare, training_task
from llmhar.ask.trained import RECORD, students_home
from llmhar.data import simulated
from llmhar.data.events import SensorEvent, Session, Windowing, cut_windows
from llmhar.distill import recipe, traces, train_child, training
from llmhar.distill.child import run_child
from llmhar.distill.examples import Example, LeakError, data_hash, make_examples, read_examples, write_examples
from llmhar.distill.recipe import Recipe, added_parameters, added_share
from llmhar.distill.students import Student, open_student, times
from llmhar.distill.teaching import load_teaching, recipe_for
from llmhar.distill.traces import (
    FILTERS,
    Collected,
    Trace,
    balance,
    collect_traces,
    filter_traces,
    keep_consistent,
    keep_correct,
)
from llmhar.distill.train_child import IGNORED, last_checkpoint, order, tokenize
from llmhar.records import Fingerprint
from llmhar.text.prompt import PromptForm, PromptSpec

START = datetime(2000, 1, 3, 7, 0, 0)
ACTIVITIES = {1: "Cooking", 2: "Sleeping"}
TRUTH = (1, 2)
"""Of every window below."""
MADE_BY = Fingerprint("test", "1", "", "")


def session(session_id: str = "01", n: int = 10, home: str = "mural") -> Session:
    events = tuple(
        SensorEvent(i, START + timedelta(seconds=i), "kitchen", "fridge", "OPENED", activity_id=TRUTH[i % 2])
        for i in range(n)
    )
    return Session("mural", session_id, home, ACTIVITIES, events)


def answer(*labels: int | None) -> str:
    return json.dumps([{"id": i, "activity": label} for i, label in enumerate(labels) if label is not None])


def trace(window: int, *labels: int | None, sample: int = 0, finish: str = "stop", text: str | None = None) -> Trace:
    own = session()
    return Trace(
        cut_windows(own, 2)[window], own, answer(*labels) if text is None else text, finish, sample,
        f"{window}-{sample}", "teacher", MADE_BY,
    )  # fmt: skip


def taught(*kept: Trace, failed: int = 0) -> Collected:
    return Collected(list(kept), failed, AskedRun("teacher", len(kept) + failed, 0, 0, failed, 0.0, 0.0))


# What a teacher said, and which of it is kept.


def test_a_trace_reads_its_own_text():
    right, half, wrong = trace(0, 1, 2), trace(0, 1, 1), trace(0, 2, 1)
    assert right.whole and not trace(0, text="<think>a</think><think>b</think>").whole
    assert [t.n_correct for t in (right, half, wrong)] == [2, 1, 0]
    assert right.labels == (1, 2) and right.complete
    thought = trace(0, text=f"<think>\nThe fridge: cooking.\n</think>\n\n{answer(1, 2)}")
    assert thought.labels == (1, 2) and "fridge" in thought.reading.reasoning


@pytest.mark.parametrize(
    "broken",
    [trace(0, 1, None), trace(0, 1, 9), trace(0, text=""), trace(0, text="<think>hm"), trace(0, 1, 2, finish="length")],
    ids=["event left out", "unknown label", "empty", "never answered", "cut"],
)
def test_a_broken_trace_is_incomplete(broken):
    assert not broken.complete
    kept, funnel = filter_traces(taught(broken), "correct", least_correct=0.0)
    cut = not broken.whole
    assert kept == [] and [(step.step, step.traces) for step in funnel[:4]] == [
        ("asked", 1), ("answered", 1), ("not cut", 1 - cut), ("complete", 0),
    ]  # fmt: skip
    # S1 trains on whatever the teacher wrote; half a text would teach to stop half-way.
    assert filter_traces(taught(broken), "none")[0] == ([] if cut else [broken])


def test_correct_keeps_by_the_share_of_right_events():
    right, half, wrong = trace(0, 1, 2), trace(1, 1, 1), trace(2, 2, 1)
    assert keep_correct([right, half, wrong], 1.0) == [right]
    assert keep_correct([right, half, wrong], 0.5) == [right, half]
    assert keep_correct([right, half, wrong], 0.0) == [right, half, wrong]


def samples(window: int, *labelings: tuple[int, int]) -> list[Trace]:
    return [trace(window, *labels, sample=k) for k, labels in enumerate(labelings)]


def test_consistent_keeps_the_first_sample_of_the_commonest_labelling():
    window = samples(0, (2, 2), (1, 2), (1, 2), (1, 1), (1, 2))
    assert keep_consistent(window, 0.6) == [window[1]]
    assert keep_consistent(window, 0.61) == []  # 3 of 5
    both = [*samples(0, (1, 2), (1, 2)), *samples(1, (2, 2), (2, 2))]
    assert [(t.window.index, t.sample_index) for t in keep_consistent(both, 1.0)] == [(0, 0), (1, 0)]


def test_consistent_with_a_tie_takes_the_first_and_with_one_sample_nothing():
    tie = samples(0, (2, 1), (1, 2), (1, 2), (2, 1))
    assert keep_consistent(tie, 0.5) == [tie[0]]
    assert keep_consistent(tie, 0.51) == []
    assert keep_consistent(samples(0, (1, 2)), 0.1) == []


def test_consistency_looks_at_no_truth():
    wrong = samples(0, (2, 1), (2, 1))
    assert filter_traces(taught(*wrong), "consistent")[0] == [wrong[0]]
    assert filter_traces(taught(*wrong), "both")[0] == []


@pytest.fixture
def mixed() -> Collected:
    """Window 0 agreed and right, 1 agreed and wrong, 2 torn, 3 incomplete; two asks failed."""
    return taught(
        *samples(0, (1, 2), (1, 2)), *samples(1, (2, 2), (2, 2)), *samples(2, (1, 2), (2, 1)), trace(3, 1, None),
        failed=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("how", "windows"), [("none", [0, 0, 1, 1, 2, 2, 3]), ("correct", [0, 0, 2]), ("consistent", [0, 1]), ("both", [0])]
)
def test_each_filter_and_its_funnel(mixed, how, windows):
    kept, funnel = filter_traces(mixed, how)
    assert [t.window.index for t in kept] == windows
    assert (funnel[0].step, funnel[0].traces) == ("asked", 9)
    last = funnel[-1]
    assert (last.traces, last.events) == (len(windows), 2 * len(windows)) and last.windows == len(set(windows))
    assert [a.traces >= b.traces for a, b in itertools.pairwise(funnel)] == [True] * (len(funnel) - 1)
    right = {"none": 900 / 14, "correct": 100, "consistent": 75, "both": 100}[how]
    assert last.correct_pct == pytest.approx(right)


def test_the_funnel_names_its_thresholds_and_has_no_share_of_nothing(mixed):
    assert [step.step for step in filter_traces(mixed, "both", least_correct=0.5, least_agreement=0.7)[1]] == [
        "asked", "answered", "not cut", "complete", "consistent (at least 70%)", "correct (at least 50%)",
    ]  # fmt: skip
    assert math.isnan(filter_traces(taught(), "correct")[1][-1].correct_pct)
    with pytest.raises(ValueError, match="best"):
        filter_traces(mixed, "best")
    assert set(FILTERS) == {"none", "correct", "consistent", "both"}


def test_rare_labels_come_more_often_and_the_truth_does_not_matter():
    common = [trace(0, 1, 1, sample=n) for n in range(200)]
    rare, mute = ([trace(1, *labels, sample=n) for n in range(20)] for labels in ((2, 2), (None, None)))
    mixed = [*common, *rare, *mute]
    drawn = balance(mixed, 40, seed=3)
    assert len(drawn) == 40 and drawn == [t for t in mixed if t in drawn], "each once, in order"
    assert 12 <= sum(t in rare for t in drawn) <= 20, "a draw without weights would take 3 or 4"
    assert not any(t in mute for t in drawn), "no label is no rare label"
    assert balance(mixed, 40, seed=3) == drawn != balance(mixed, 40, seed=4)
    assert balance(mixed, 1000) == mixed


# The training task, on the simulated home.


@pytest.fixture(scope="module")
def task(tmp_path_factory) -> Task:
    home = tmp_path_factory.mktemp("data") / "home"
    simulated.write(home)
    return prepare("simulated", home, windowing=Windowing(size=5, n=1), form=PromptForm(answer="name", wording="short"))


def test_a_training_task_holds_no_test_session(task):
    found = training_task(task, window_size=5)
    assert set(found.sessions) == set(task.train) and not set(found.sessions) & set(task.sessions)
    assert {w.session_id for w in found.windows} == set(task.train) and not found.train
    assert found.prompts == task.prompts and found.answer == task.answer
    assert sum(len(w.events) for w in found.windows) == sum(len(s.events) for s in task.train.values())


def test_a_training_task_of_the_first_sessions(task):
    found = training_task(task, window_size=5, n_sessions=2)
    assert list(found.sessions) == list(task.train)[:2]
    assert found.subset == f"{len(found.windows)} windows of 2 training sessions"


def test_overlapping_windows_show_each_event_more_often(task):
    plain, dense = (training_task(task, window_size=5, step=step, n_sessions=1) for step in (5, 2))
    assert plain.windows == training_task(task, window_size=5, n_sessions=1).windows
    assert len(dense.windows) == pytest.approx(2.5 * len(plain.windows), rel=0.02)
    assert "a window each 2 events" in dense.subset and "each" not in plain.subset


@pytest.mark.parametrize("count", [0, -1, 99])
def test_a_training_task_of_no_or_too_many_sessions(task, count):
    with pytest.raises(ValueError, match=f"cannot take {count}"):
        training_task(task, window_size=5, n_sessions=count)


def test_a_training_home_needs_a_prompt(task):
    with pytest.raises(ValueError, match="no prompt for the training home"):
        training_task(replace(task, prompts={}), window_size=5)
    with pytest.raises(ValueError, match="at least 1"):
        training_task(task, window_size=5, step=0)


def test_the_teachers_answers_come_from_the_store(task, tmp_path):
    own = training_task(task, window_size=5, n_sessions=1)
    with Store(tmp_path / "store.sqlite") as store:
        first, again = (collect_traces(own, MODELS["rules"], store, asking=Asking(progress=False)) for _ in range(2))
    assert len(first.traces) == len(own.windows) == first.run.n_asked and first.n_failed == 0
    assert again.traces == first.traces and again.run.n_asked == 0
    assert [t.window for t in first.traces] == list(own.windows)
    assert {t.teacher for t in first.traces} == {"rules"} and {t.made_by.engine for t in first.traces} == {"rules"}
    assert traces.count("x", first.traces).correct_pct > 60


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 15))
def test_windows_with_a_step(n, size, step):
    events = session(n=n).events
    windows = cut_windows(session(n=n), size, step)
    assert [w.index for w in windows] == list(range(-(-n // step)))
    assert all(w.events == events[step * w.index :][:size] for w in windows)
    if step <= size:
        assert {e for w in windows for e in w.events} == set(events)
    assert cut_windows(session(n=n), size, size) == cut_windows(session(n=n), size)


@pytest.mark.parametrize(("size", "step"), [(0, 1), (3, 0), (3, -2)])
def test_windows_of_no_size_or_step(size, step):
    with pytest.raises(ValueError, match=f"got {size} and {step}"):
        cut_windows(session(), size, step)


# Examples.

SPEC = PromptSpec("Name it.", "", "A list.", "Activities:\n1. Cooking\n2. Sleeping", "", "", "sentences")


@pytest.fixture
def made() -> list[Example]:
    kept = [trace(0, 1, 2), trace(1, 2, 2), trace(2, text="  <think>\nhm\n</think>\n\n[]\n")]
    return make_examples(kept, {"mural": SPEC}, test_sessions=["02"])


def test_examples_are_the_students_prompt_and_the_teachers_text(made):
    assert [(e.dataset, e.session_id, e.window_index, e.request_key) for e in made] == [
        ("mural", "01", i, f"{i}-0") for i in range(3)
    ]
    assert made[0].messages == SPEC.messages(cut_windows(session(), 2)[0])
    assert made[0].completion == answer(1, 2) and made[2].completion == "<think>\nhm\n</think>\n\n[]"


def test_a_test_session_among_the_traces_is_refused():
    with pytest.raises(LeakError, match="test sessions among the training traces: 01"):
        make_examples([trace(0, 1, 2)], {"mural": SPEC}, test_sessions=["00", "01"])


def test_examples_come_back_from_their_file(made, tmp_path):
    odd = replace(made[0], completion='zwei\u2028Zeilen\n🚿 "quoted"\x85', session_id="ä")
    write_examples([*made, odd], tmp_path / "sub" / "examples.jsonl")
    assert read_examples(tmp_path / "sub" / "examples.jsonl") == [*made, odd]


def test_the_data_hash_is_of_what_is_trained_on(made, tmp_path):
    write_examples(made, tmp_path / "e.jsonl")
    assert data_hash(read_examples(tmp_path / "e.jsonl")) == data_hash(made)
    elsewhere = [replace(e, dataset="x", session_id="y", window_index=9, request_key="z") for e in made]
    assert data_hash(elsewhere) == data_hash(made)
    others = [made[::-1], made[:2], [*made, made[0]], [replace(made[0], completion="[]"), *made[1:]],
              [replace(made[0], messages=made[1].messages), *made[1:]]]  # fmt: skip
    hashes = {data_hash(other) for other in [made, *others]}
    assert len(hashes) == len(others) + 1  # the order is part of it: another order trains another student


# Recipes.

# Widths from the releases' config.json; total parameters as published (tied embeddings once).
QWEN3_06B = {"hidden": 1024, "intermediate": 3072, "layers": 28, "heads": 16, "kv_heads": 8, "head_dim": 128}
QWEN3_17B = {"hidden": 2048, "intermediate": 6144, "layers": 28, "heads": 16, "kv_heads": 8, "head_dim": 128}
S1_SHARES = (3.25, 1.99)
"""S1 §4.5, in percent."""


def shares(rank: int) -> tuple[float, float]:
    return tuple(
        added_share(added_parameters(**widths, rank=rank), MODELS[name].n_params)
        for name, widths in (("qwen3-0.6b", QWEN3_06B), ("qwen3-1.7b", QWEN3_17B))
    )  # type: ignore[return-value]


def test_rank_32_on_seven_projections_fits_what_s1_says_of_its_adapters():
    small, large = shares(32)
    assert (round(small, 2), round(large, 2)) == (3.28, 1.99)
    assert abs(small - S1_SHARES[0]) < 0.05 and abs(large - S1_SHARES[1]) < 0.05
    for rank in (8, 16, 64):
        assert any(abs(share - said) > 0.5 for share, said in zip(shares(rank), S1_SHARES)), rank


def test_added_parameters_by_hand():
    """One layer, hidden 4, query 2 x 3 = 6, keys 1 x 3 = 3, intermediate 5: ten, seven, seven, ten, three nines."""
    widths = {"hidden": 4, "intermediate": 5, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 3}
    assert added_parameters(**widths, rank=1) == 10 + 7 + 7 + 10 + 9 + 9 + 9
    assert added_parameters(**{**widths, "layers": 3}, rank=4) == 12 * 61
    assert added_share(1, 3) == 25


def test_s1s_recipe_and_its_batch_of_eight():
    s1 = recipe_for("qwen3-0.6b", load_teaching("s1"))
    assert (s1.backend, s1.method, s1.rank, s1.max_steps, s1.learning_rate) == ("unsloth", "lora", 32, 500, 2e-4)
    assert s1.examples_per_step == 8
    assert round(500 * 8 / 126) == 32 and 7 <= 500 * 8 / 544 <= 8  # epochs that S1 names for 3 and for all sessions


@pytest.mark.parametrize(
    "wrong",
    [{"lora_rank": 8}, {"rank": 0}, {"rank": 8.0}, {"learning_rate": 0.0}, {"method": "qlora"}, {"backend": "trl"},
     {"max_steps": "5"}, {"dtype": "float16"}],
)  # fmt: skip
def test_unknown_and_ill_typed_fields_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Recipe(student="qwen3-tiny", **wrong)


OTHER: dict[str, Any] = {
    "student": "qwen3-0.6b", "method": "full", "backend": "unsloth", "rank": 8, "alpha": 64, "targets": ("q_proj",),
    "max_steps": 7, "batch_size": 1, "accumulate": 1, "learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 0,
    "weight_decay": 0.0, "max_tokens": 512, "seed": 1, "dtype": "float32", "train_embeddings": False,
    "gradient_checkpointing": True, "answer_logits_only": False, "sort_by_length": False, "objective": "gkd",
    "on_policy": 0.1, "beta": 0.9, "max_new_tokens": 9, "save_every": 3,
}  # fmt: skip
"""A value that is not the default for every field: a new field needs one here."""


def test_the_recipes_hash_changes_with_every_field_but_the_checkpoints():
    plain = Recipe(student="qwen3-tiny")
    assert set(OTHER) == set(Recipe.model_fields)
    hashes = {name: Recipe(**{"student": "qwen3-tiny", name: value}).sha256 for name, value in OTHER.items()}
    assert hashes.pop("save_every") == plain.sha256
    assert len({plain.sha256, *hashes.values()}) == len(OTHER)
    assert Recipe.model_validate_json(plain.model_dump_json()) == plain
    assert {"lora", "full"} == set(recipe.METHODS) and {"peft", "unsloth"} == set(recipe.BACKENDS)


@pytest.mark.parametrize(
    ("wanted", "gpu", "flags", "found"),
    [("auto", True, set(), "bfloat16"), ("auto", False, {"avx2", "avx512_bf16"}, "mixed"),
     ("auto", False, {"avx2", "amx_bf16"}, "mixed"), ("auto", False, {"avx2"}, "float32"),
     ("float32", True, set(), "float32"), ("mixed", False, set(), "mixed")],
)  # fmt: skip
def test_auto_takes_bfloat16_where_it_is_not_emulated(monkeypatch, wanted, gpu, flags, found):
    monkeypatch.setattr("llmhar.ask.engines.registry.cpu_flags", lambda: flags)
    assert train_child.number_format(wanted, gpu=gpu) == found


# The order of examples.

LENGTHS = st.lists(st.integers(5, 400), min_size=1, max_size=40)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(LENGTHS, st.integers(0, 130), st.integers(1, 5), st.integers(0, 9), st.booleans())
def test_order_is_epochs_of_all_examples(lengths, n, batch, seed, by_length):
    seen = order(lengths, n, batch, seed, by_length=by_length)
    assert len(seen) == n and seen == order(lengths, n, batch, seed, by_length=by_length)
    size = len(lengths)
    for start in range(0, n, size):
        epoch = seen[start : start + size]
        assert len(set(epoch)) == len(epoch) and set(epoch) <= set(range(size))
    longer = order(lengths, n + 17, batch, seed, by_length=by_length)
    assert longer[:n] == seen  # what was seen does not depend on how long training goes on


def padding(lengths: list[int], seen: list[int], batch: int) -> int:
    batches = [[lengths[i] for i in seen[start : start + batch]] for start in range(0, len(seen), batch)]
    return sum(max(one) * len(one) - sum(one) for one in batches)


@pytest.mark.parametrize("n", [64, 63, 61])
@pytest.mark.parametrize("batch", [2, 4])
def test_batches_of_like_length_are_mostly_text(n, batch):
    lengths = [100 + 37 * i % 301 for i in range(n)]
    plain, sorted_ = (order(lengths, 4 * n, batch, 0, by_length=how) for how in (False, True))
    assert padding(lengths, sorted_, batch) < 0.35 * padding(lengths, plain, batch)
    assert order(lengths, n, batch, 0, by_length=True) != order(lengths, n, batch, 1, by_length=True)
    firsts = [lengths[i] for i in sorted_[:n:batch]]
    assert firsts != sorted(firsts)  # short ones do not come first


def test_epochs_differ():
    seen = order([10] * 20, 40, 2, 0, by_length=True)
    assert seen[:20] != seen[20:]


# Tokens.


class Words:
    """A tokenizer of words; its template is ``{role}: {content}`` lines and a generation prompt."""

    eos_token_id: int | None = 0

    def __init__(self, opening: str = "assistant:") -> None:
        self.opening = opening
        self.arguments: dict[str, Any] = {}

    def apply_chat_template(
        self, messages: Any, *, tokenize: bool, add_generation_prompt: bool, **arguments: Any
    ) -> str:
        assert not tokenize and add_generation_prompt
        self.arguments = arguments
        return "\n".join(f"{m['role']}: {m['content']}" for m in messages) + f"\n{self.opening}"

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert not add_special_tokens
        return [sum(map(ord, word)) for word in text.split()]


ROW = {"messages": [{"role": "user", "content": "stove on"}], "completion": "<think>hm so</think> [] done"}


def test_the_loss_is_on_the_answer_and_the_end_token_is_last():
    tokenizer = Words()
    row = tokenize(tokenizer, ROW, {"enable_thinking": True})
    prompt = tokenizer.encode("user: stove on assistant:", add_special_tokens=False)
    text = tokenizer.encode(ROW["completion"], add_special_tokens=False)
    assert row.input_ids == [*prompt, *text, 0]
    assert row.labels == [IGNORED] * len(prompt) + [*text, 0]
    assert tokenizer.arguments == {"enable_thinking": True}


@pytest.mark.parametrize("opening", ["assistant: <think>", "assistant: <think>\n"])
def test_a_block_that_the_template_opens_is_not_opened_twice(opening):
    tokenizer = Words(opening)
    row = tokenize(tokenizer, ROW, {})
    assert [t for t in row.labels if t != IGNORED] == [
        *tokenizer.encode("hm so</think> [] done", add_special_tokens=False),
        0,
    ]
    # Qwen3's template without thinking closes the block itself: nothing is taken from the text.
    closed = tokenize(Words("assistant: <think>\n\n</think>\n\n"), ROW, {})
    assert next(t for t in closed.labels if t != IGNORED) == sum(map(ord, "<think>hm"))


def test_a_tokenizer_without_an_end_is_refused():
    tokenizer = Words()
    tokenizer.eos_token_id = None
    with pytest.raises(ValueError, match="no end token"):
        tokenize(tokenizer, ROW, {})


# Checkpoints and students on disk.


def test_only_whole_checkpoints_count(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for step, state in (
        (2, '{"global_step": 2}'),
        (10, '{"global_step": 10}'),
        (12, '{"global_st'),
        (14, "{}"),
        (16, None),
    ):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"x")
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_a_student_is_whole_or_not_there(tmp_path):
    assert open_student(tmp_path, MODELS["qwen3-tiny"]) is None
    record = {"recipe": Recipe(student="qwen3-tiny").model_dump(mode="json"), "name": "s", "losses": [[1, 2.5]],
              "weights_sha256": "ab" * 32}  # fmt: skip
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert open_student(tmp_path, MODELS["qwen3-tiny"]) is None  # weights are gone
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"x")
    found = open_student(tmp_path, MODELS["qwen3-tiny"])
    assert isinstance(found, Student)
    assert found.recipe == Recipe(student="qwen3-tiny") and found.losses == [(1, 2.5)]
    (tmp_path / RECORD).write_text('{"recipe"')
    assert open_student(tmp_path, MODELS["qwen3-tiny"]) is None


@pytest.mark.parametrize(
    ("said", "number", "words"), [({}, 1, ""), ({"round": 2}, 2, " twice"), ({"round": 3}, 3, " 3 times")]
)
def test_a_student_s_round_is_in_its_record_and_one_where_older_records_do_not_say(tmp_path, said, number, words):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"12345678")
    record = {"name": "a b twice", "recipe": Recipe(student="qwen3-tiny").model_dump(mode="json")} | said
    (tmp_path / RECORD).write_text(json.dumps(record))
    found = open_student(tmp_path, MODELS["qwen3-tiny"])
    assert (found.round, found.base, found.name) == (number, "qwen3-tiny", "a b twice"), "nothing is read out of a name"
    assert times(found.round) == words


def test_a_student_goes_on_for_one_round_more(made, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    jobs = []

    def leave_weights(module, folder, **_):
        job = json.loads((folder / "job.json").read_text())
        jobs.append(job)
        (folder / "model.part").mkdir()
        (folder / "model.part" / "model.safetensors").write_text(f"weights {len(jobs)}")
        return {"losses": []}

    monkeypatch.setattr(training, "run_child", leave_weights)
    monkeypatch.setattr(ModelSpec, "tokenizer_sha256", lambda _: "ab")
    place = {"source": Local(path=tmp_path)}
    own = Recipe(student="qwen3-tiny", method="full")
    first = training.train_student(own, made, parent=MODELS["qwen3-tiny"].model_copy(update=place))
    second = training.train_student(own, made, parent=first, name="on")
    opened = training.train_student(own, made, parent=first)
    assert (first.round, second.round, opened.round) == (1, 2, 2) and opened.folder == second.folder
    assert second.record["round"] == 2 and jobs[1]["revision"] == first.spec.revision and len(jobs) == 2
    assert not {"round", "course"} & set(jobs[1]), "what a student is called does not decide what comes out"
    record = json.loads((second.folder / RECORD).read_text())
    (second.folder / RECORD).write_text(json.dumps({k: v for k, v in record.items() if k != "round"}))
    assert training.train_student(own, made, parent=first).round == 2, "folders of before say no round"


# The child's end.

CHILD = """
import json, os, signal, sys
def say(**message): print(json.dumps(message), flush=True)
say(stage="training")
say(step=1, of=2, loss=0.5)
{then}
"""


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Run a made-up training module with this last line."""
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(then: str) -> dict[str, Any]:
        (tmp_path / "made_up.py").write_text(CHILD.format(then=then))
        return run_child("made_up", tmp_path, title="training x", progress=False, threads=1)

    return run


def test_what_a_child_has_done_comes_back(child):
    assert child("say(done={'losses': [[1, 0.5]], 'folder': sys.argv[1]})")["losses"] == [[1, 0.5]]


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ("say(fatal='ValueError: too long'); sys.exit(1)", r"exit code 1\): ValueError: too long"),
        ("raise RuntimeError('the floor gave way')", "RuntimeError: the floor gave way"),
        ("os.kill(os.getpid(), signal.SIGKILL)", r"exit code -9\): it said nothing"),
    ],
    ids=["said why", "traceback", "killed"],
)
def test_a_child_that_ends_early_leaves_its_word_its_log_and_the_cure(child, tmp_path, then, words):
    with pytest.raises(training.TrainingError, match=words) as caught:
        child(then)
    said = str(caught.value)
    assert "training x ended early" in said and str(tmp_path / "home" / "logs") in said and ".log" in said
    cure = "mend what it says" if "fatal" in then else "run again to go on from the last checkpoint"
    assert cure in said and "\n" not in said


def test_nothing_to_train_on_or_a_parent_with_an_adapter(made, monkeypatch, tmp_path):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    own = Recipe(student="qwen3-tiny")
    with pytest.raises(training.TrainingError, match="no examples to train on"):
        training.train_student(own, [])
    tuned = MODELS["qwen3-tiny"].model_copy(update={"adapter": {"path": tmp_path, "sha256": "ab"}})
    with pytest.raises(training.TrainingError, match="merge it first"):
        training.train_student(own, made, parent=tuned)
    gkd = own.model_copy(update={"objective": "gkd"})
    for wrong, teacher in ((gkd, None), (own, MODELS["qwen3-tiny"])):
        with pytest.raises(training.TrainingError, match="gkd needs a teacher model, and objective sft takes none"):
            training.train_student(wrong, made, teacher=teacher)
    assert not students_home().exists()


def test_importing_the_parents_side_imports_no_model_library():
    code = (
        "import sys, llmhar.distill.training, llmhar.distill.traces, llmhar.distill.train_child\n"
        "assert not {'torch', 'trl', 'peft', 'unsloth', 'transformers', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
