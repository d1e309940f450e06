"""The answer schema: what it allows, and that every answer it allows is read back whole."""

from __future__ import annotations

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmhar.ask.task import prepare
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.text.parsing import parse_answer
from llmhar.text.prompt import ANSWER_STYLES, PromptError, PromptForm
from llmhar.text.schema import answer_schema
from llmhar.text.serialize import clean_text

LABELS = {1: "Cooking", 2: "Eating_dinner", 5: "Watching  TV"}


def answer(n: int, activity) -> list[dict]:
    return [{"id": i, "activity": activity} for i in range(n)]


def allows(schema: dict, value) -> bool:
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def test_exactly_the_ids_and_the_activities():
    schema = answer_schema(3, LABELS)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$defs"]["activity"]["enum"] == ["Cooking", "Eating_dinner", "Watching TV"]
    whole = answer(3, "Cooking")
    assert allows(schema, whole)
    for wrong in (
        whole[:2], whole[::-1], [*whole, whole[2]], [], {}, answer(3, "Sleeping"), answer(3, 1), answer(3, None),
        [{**item, "why": "x"} for item in whole], [{"id": i} for i in range(3)],
    ):  # fmt: skip
        assert not allows(schema, wrong), wrong


def test_numbers():
    schema = answer_schema(2, LABELS, "number")
    assert allows(schema, answer(2, 5))
    assert not any(allows(schema, answer(2, wrong)) for wrong in (3, "5", "Cooking"))


def test_the_same_arguments_give_the_same_object():
    assert answer_schema(4, dict(LABELS)) is answer_schema(4, dict(LABELS), "name")
    assert len({id(answer_schema(n, LABELS, style)) for n in (4, 5) for style in ANSWER_STYLES}) == 4


def test_names_are_those_that_the_prompt_shows(tmp_path):
    simulated.write(tmp_path / "home")
    task = prepare("simulated", tmp_path / "home", windowing=Windowing(n=1), form=PromptForm(answer="name"))
    labels = next(iter(task.sessions.values())).labels
    shown = task.prompt_of(task.windows[0]).labels.splitlines()[1:]
    names = answer_schema(10, labels)["$defs"]["activity"]["enum"]
    assert [f"{number}. {name}" for number, name in zip(labels, names, strict=True)] == shown


@pytest.mark.parametrize(
    "labels", [{1: "Tea", 2: "tea"}, {1: "a_b", 2: "a b"}, {1: "a\x00b", 2: "a b"}, {1: "2", 2: "two"}]
)
def test_names_that_could_mean_two_activities_are_refused(labels):
    with pytest.raises(PromptError, match="set answer: number"):
        answer_schema(2, labels)
    assert answer_schema(2, labels, "number")["$defs"]["activity"]["enum"] == [1, 2]


@pytest.mark.parametrize(("n", "labels"), [(0, LABELS), (2, {})])
def test_no_empty_schema(n, labels):
    with pytest.raises(PromptError, match="at least one"):
        answer_schema(n, labels)


@given(
    st.data(),
    st.dictionaries(st.integers(0, 40), st.text(min_size=1, max_size=100), min_size=1, max_size=12),
    st.integers(1, 12),
    st.sampled_from(ANSWER_STYLES),
    st.sampled_from(["", "<think>first 0 is 1</think>"]),
)
def test_every_answer_it_allows_is_read_back_whole(data, labels, n, style, thought):
    try:
        schema = answer_schema(n, labels, style)
    except PromptError:
        return
    values = dict(zip(schema["$defs"]["activity"]["enum"], labels, strict=True))
    chosen = data.draw(st.lists(st.sampled_from(list(values)), min_size=n, max_size=n))
    items = [{"id": i, "activity": value} for i, value in enumerate(chosen)]
    assert allows(schema, items)
    text = thought + json.dumps(items, separators=(",", ":"), ensure_ascii=False)  # as the engines compile it
    shown = {number: clean_text(name) for number, name in labels.items()}
    reading = parse_answer(text, n, shown, strict=True, finish_reason="stop")
    assert [(p.event, p.verdict, p.label) for p in reading.predictions] == [
        (i, "ok", values[value]) for i, value in enumerate(chosen)
    ]
