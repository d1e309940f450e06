"""The request key: every ingredient changes it, nothing else does."""

import copy
import json
import math
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmhar.records import VERDICTS, Fingerprint, Generation, Prediction, Request, Sampling, canonical_json, sha256_of
from tests.generated import examples

BASE = Request(
    model_id="org/model",
    revision="abc",
    tokenizer_sha256="t" * 64,
    messages=({"role": "system", "content": "static"}, {"role": "user", "content": "window"}),
    template_args={"enable_thinking": True, "other": 1},
    sampling=Sampling(temperature=0.6, top_p=0.95, top_k=20, max_tokens=100, seed=7, thinking_budget=50),
    schema={"type": "array", "items": {"type": "object", "properties": {"id": {}, "activity": {}}}},
    adapter_sha256="a" * 64,
    sample_index=1,
    adapter_path="/somewhere",
)

text = st.text(max_size=12)
counts = st.integers(0, 10**6)
maybe = st.none() | counts
shares = st.floats(0, 2)
objects = st.dictionaries(text, st.none() | st.booleans() | counts | text, max_size=3)
samplings = st.builds(Sampling, shares, shares, counts, counts, counts, maybe)
turns = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": text})
requests = st.builds(
    Request, text, text, text, st.lists(turns, max_size=3).map(tuple), objects, samplings, st.none() | objects,
    st.none() | text, counts, st.none() | text, st.booleans(),
)  # fmt: skip
OTHER = {  # field -> another value of it
    "model_id": text, "revision": text, "tokenizer_sha256": text, "messages": st.lists(turns, max_size=3).map(tuple),
    "template_args": objects, "schema": st.none() | objects, "adapter_sha256": st.none() | text, "sample_index": counts,
    "temperature": shares, "top_p": shares, "top_k": counts, "max_tokens": counts, "seed": counts,
    "thinking_budget": maybe, "logprobs": st.booleans(),
}  # fmt: skip
GENERATED = {"deadline": None, "derandomize": True, "database": None}


def with_value(request, name, value):
    """The request with one ingredient replaced, of its own or of its sampling."""
    if name in {f.name for f in fields(Sampling)}:
        return replace(request, sampling=replace(request.sampling, **{name: value}))
    return replace(request, **{name: value})


def test_no_ingredient_is_forgotten():
    """A field added to Request or Sampling must be added here, and so to the key."""
    own = {f.name for f in fields(Request)} - {"sampling", "adapter_path"}
    assert set(OTHER) == own | {f.name for f in fields(Sampling)}


@settings(max_examples=examples(1000), **GENERATED)
@given(requests, st.data())
def test_each_ingredient_alone_changes_the_key(request, data):
    name = data.draw(st.sampled_from(sorted(OTHER)))
    other = with_value(request, name, data.draw(OTHER[name]))
    assume(canonical_json(other.to_json()) != canonical_json(request.to_json()))
    assert other.key != request.key


@pytest.mark.parametrize("name", sorted(OTHER))
def test_each_ingredient_of_one_request(name):
    current = getattr(BASE, name, None) if name != "messages" else None
    current = getattr(BASE.sampling, name, current)
    changed = {
        str: lambda v: v + "x", bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v + 1e-9,
        dict: lambda v: {**v, "x": None},
        type(None): lambda v: (*BASE.messages, {"role": "user", "content": ""}),
    }[type(current)](current)  # fmt: skip
    assert with_value(BASE, name, changed).key != BASE.key


@pytest.mark.parametrize(
    "messages",
    [
        ({"role": "system", "content": "static "}, {"role": "user", "content": "window"}),
        ({"role": "system", "content": "static"}, {"role": "assistant", "content": "window"}),
        ({"role": "user", "content": "window"}, {"role": "system", "content": "static"}),
        ({"role": "system", "content": "staticwindow"},),
        ({"role": "system", "content": "static"}, {"role": "user", "content": "Window"}),
        (),
    ],
)
def test_messages_change_the_key(messages):
    assert replace(BASE, messages=messages).key != BASE.key


def test_a_request_without_probabilities_is_what_it_was():
    """Answers and keys that are stored today stay valid: the field is in key and JSON only where it is on."""
    assert Request("m", "r", "t", ()).key == "9bd2cc0859deb7b777ef3fb4760614a03e81ea2ad4bb7f3aa4732474437a8f3c"
    assert "logprobs" not in BASE.to_json() and Request.from_json(BASE.to_json()) == BASE
    asked = replace(BASE, logprobs=True)
    assert asked.to_json() == {**BASE.to_json(), "logprobs": True} and Request.from_json(asked.to_json()) == asked


def test_absent_is_not_empty():
    assert replace(BASE, schema=None).key != replace(BASE, schema={}).key
    assert replace(BASE, adapter_sha256=None).key != replace(BASE, adapter_sha256="").key
    assert with_value(BASE, "thinking_budget", None).key != with_value(BASE, "thinking_budget", 0).key
    assert replace(BASE, template_args={"a": True}).key != replace(BASE, template_args={"a": 1}).key
    assert replace(BASE, template_args={}).key != replace(BASE, template_args={"enable_thinking": None}).key


@settings(max_examples=200, **GENERATED)
@given(requests, text)
def test_paths_copies_and_order_do_not_change_the_key(request, path):
    def turned(value):
        if isinstance(value, dict):
            return {key: turned(content) for key, content in reversed(value.items())}
        return value

    assert replace(request, adapter_path=path).key == request.key
    other = replace(
        copy.deepcopy(request),
        messages=tuple(turned(turn) for turn in request.messages),
        template_args=turned(request.template_args),
        schema=turned(request.schema),
    )
    assert other.key == request.key


def test_whole_numbers_are_the_floats_they_equal():
    whole, same = Sampling(temperature=1, top_p=1), Sampling(temperature=1.0, top_p=1.0)
    assert whole == same
    assert replace(BASE, sampling=whole).key == replace(BASE, sampling=same).key


def test_the_key_stays_the_same_for_good():
    """A change here empties every store: it needs a line in the CHANGELOG."""
    assert BASE.key == "41141c8db49cac91e9245ea5d3ab866a1eeff48e08396484bebb0db2c1839c3f"


@settings(max_examples=200, **GENERATED)
@given(requests)
def test_request_survives_json(request):
    back = Request.from_json(json.loads(json.dumps(request.to_json())))
    assert back == request and back.key == request.key
    assert isinstance(back.messages, tuple) and isinstance(back.sampling, Sampling)


def test_request_with_all_defaults():
    bare = Request("m", "r", "", ())
    assert Request.from_json(bare.to_json()) == bare
    assert bare.sampling == Sampling(0.0, 1.0, 0, 512, 0, None)
    assert (bare.template_args, bare.schema, bare.adapter_sha256, bare.sample_index) == ({}, None, None, 0)
    with pytest.raises(FrozenInstanceError):
        bare.model_id = "x"


def test_from_json_refuses_unknown_fields():
    with pytest.raises(TypeError, match="colour"):
        Request.from_json({**BASE.to_json(), "colour": "red"})


def test_canonical_json():
    assert canonical_json({"b": [1, 2.0, None, True], "a": {"d": "é", "c": "\n"}}) == (
        '{"a":{"c":"\\n","d":"é"},"b":[1,2.0,null,true]}'
    )
    assert sha256_of({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert len(sha256_of("lone \ud800 surrogate")) == 64
    for value in (math.nan, math.inf, [-math.inf]):
        with pytest.raises(ValueError):
            canonical_json(value)


def test_fingerprint_stands_beside_the_key():
    fingerprint = Fingerprint("vllm", "0.32", "bfloat16", "cpu")
    assert fingerprint.to_json() == {"engine": "vllm", "version": "0.32", "dtype": "bfloat16", "device": "cpu"}
    assert not set(fingerprint.to_json()) & {f.name for f in fields(Request)}
    assert str(fingerprint) == "vllm 0.32 bfloat16 cpu"
    assert str(Fingerprint("openai", "2.1", "", "a.host")) == "openai 2.1 a.host"
    assert str(Fingerprint("majority class", "", "", "")) == "majority class"


def test_generation_is_ok_unless_it_failed():
    assert Generation("k", text="").ok
    assert not Generation("k", error="out of memory").ok
    assert asdict(Generation("k", "text", "length")) == {
        "request_key": "k", "text": "text", "finish_reason": "length", "finish_word": "", "error": "",
        "prompt_tokens": 0, "cached_tokens": 0, "output_tokens": 0, "seconds": 0.0, "logprobs": "",
    }  # fmt: skip


def test_verdicts():
    assert VERDICTS == ("ok", "missing", "duplicate", "unknown_label", "cut", "malformed")
    assert Prediction(3, "ok", 7) == (3, "ok", 7)


def test_a_key_is_the_hash_of_the_whole_request_in_canonical_json_whatever_was_hashed_before():
    """Keys are put together of pieces that are kept; equal values of other types are other pieces."""
    chat = ({"role": "system", "content": 'a "b" \ud800 é\u2028'}, {"content": "c", "role": "user"})
    for changes in ({}, {"seed": True}, {"seed": 1}, {"temperature": 1}, {"temperature": 1.0}, {"max_tokens": 1.0}):
        for made in (
            replace(BASE, sampling=replace(BASE.sampling, **changes)),
            Request("m", "r", "t", chat, schema={"b": [1, True], "a": None}, sampling=Sampling(**changes)),
            Request("m", "r", "t", chat[::-1], sampling=Sampling(**changes), logprobs=True),
        ):
            whole = made.to_json()
            del whole["adapter_path"]
            for name in ("temperature", "top_p"):
                whole["sampling"][name] = float(whole["sampling"][name])
            assert made.key == sha256_of(whole)
