"""How sure a model was of each label: found by the label's own characters, whatever stands around it."""

import json
import math
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmhar.ask.engines import logprobs
from llmhar.text.confidence import find_labels, label_confidences
from llmhar.text.parsing import parse_answer

GENERATED = {"deadline": None, "derandomize": True, "database": None}
LABELS = {1: "cook", 2: "cook dinner", 3: "cook dinner for two", 4: 'say "hello" \\ {x}', 5: "Dösen 💤 寝る",
          6: "12 o'clock", 7: "1st"}  # fmt: skip
ODD = st.text(st.sampled_from('ab "\\{}[]:,é💤寝\n'), max_size=12) | st.sampled_from(
    ['"activity":"cook"', '}, {"id": 0, "activity": "cook"}', "activity", "id", '\\"', "}]"]
)


def tokens_of(text, cuts):
    """[first, last, ln p] of a text cut into tokens, each with a probability of its own."""
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [[a, b, -round(0.001 * (i + 1), 4)] for i, (a, b) in enumerate(pairwise(edges))]


def expected(text, value, begins, behind, tokens):
    """By hand: the product over the tokens that wrote the value or what ends it."""
    at, end = begins, begins + len(value) + behind
    return math.exp(sum(p for a, b, p in tokens if a < end and b > at))


@settings(max_examples=300, **GENERATED)
@given(
    st.lists(st.tuples(st.sampled_from(sorted(LABELS)), ODD), min_size=1, max_size=6),
    st.lists(st.integers(0, 500), max_size=60),
    st.booleans(), st.booleans(), st.sampled_from(["", "<think>so: {\"id\": 0}</think>", "<think>\n\n</think>\n\n"]),
)  # fmt: skip
def test_each_event_has_the_product_of_its_own_label_s_tokens(items, cuts, escaped, by_number, thinking):
    labels = LABELS if not by_number else {1: "a", 2: "b", 3: "c", 4: "d", 5: "e", 12: "f", 6: "g", 7: "h"}
    text, places = thinking + "[", []
    for i, (number, why) in enumerate(items):
        value = str(number) if by_number else json.dumps(LABELS[number], ensure_ascii=escaped)
        text += f'{"," if i else ""}{{"id":{i},"why":{json.dumps(why, ensure_ascii=escaped)},"activity":'
        places.append((value, len(text)))
        text += value + "}"
    text += "]"
    tokens = tokens_of(text, cuts)
    reading = parse_answer(text, len(items), labels)
    assert [p.label for p in reading.predictions] == [number for number, _ in items]
    found = label_confidences(text, json.dumps(tokens), reading, labels)
    wanted = [expected(text, value, at, int(by_number), tokens) for value, at in places]
    assert found == pytest.approx(tuple(wanted))


@settings(max_examples=150, **GENERATED)
@given(st.integers(0, 200), st.lists(st.integers(0, 200), max_size=20))
def test_an_answer_that_is_cut_keeps_the_whole_items(length, cuts):
    whole = json.dumps([{"id": i, "why": "x", "activity": LABELS[i + 1]} for i in range(4)], ensure_ascii=False)
    text = whole[: length % (len(whole) + 1)]
    reading = parse_answer(text, 4, LABELS, finish_reason="length")
    found = label_confidences(text, json.dumps(tokens_of(text, cuts)), reading, LABELS)
    assert len(found) == 4
    for prediction, sure in zip(reading.predictions, found):
        assert (sure == 0.0) if prediction.label is None else 0 < sure <= 1


def test_a_label_that_begins_another_waits_for_its_quote():
    text = '[{"id":0,"activity":"cook"},{"id":1,"activity":"cook dinner"}]'
    end = text.index('"}')  # the quote that says "no dinner"
    found = label_confidences(text, json.dumps([[end, end + 2, -0.5]]), parse_answer(text, 2, LABELS), LABELS)
    assert found == (pytest.approx(math.exp(-0.5)), 1.0)
    text = '[{"id":0,"activity":1},{"id":1,"activity":12}]'
    end = text.index("}")
    labels = {1: "a", 12: "b"}
    found = label_confidences(text, json.dumps([[end, end + 1, -0.5]]), parse_answer(text, 2, labels), labels)
    assert found == (pytest.approx(math.exp(-0.5)), 1.0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[{"id":0,"activity":"cook"},{"id":0,"activity":"cook dinner"}]', (0.0,)),  # says two things: no label
        ('[{"id":0,"activity":"cook"},{"id":0,"activity":"cook"}]', (1.0,)),
        ('[{"id":0,"activity":"fly"}]', (0.0,)),
        ("", (0.0,)),
        ("<think>[{\"id\":0,\"activity\":\"cook\"}]", (0.0,)),
        ('Well: {"ID": "0", "Activity": "Cook"} I think.', (1.0,)),
        ("[{'id': 0, 'activity': 'cook'}]", (None,)),  # mended: nobody knows where it stood
        ('{"events": [{"id":0,"activity":"cook"}]}', (1.0,)),
    ],
)  # fmt: skip
def test_odd_answers(text, wanted):
    reading = parse_answer(text, 1, LABELS)
    assert label_confidences(text, "[]", reading, LABELS) == wanted
    assert label_confidences(text, "", reading, LABELS) == (None,), "not known"


def test_of_drafts_the_last_one_counts():
    draft = '[{"id":0,"activity":"cook"}]'
    text = f"{draft} no: {draft}"
    sure = json.dumps([[0, len(draft), -9.0]])
    assert label_confidences(text, sure, parse_answer(text, 1, LABELS), LABELS) == (1.0,)


@settings(max_examples=200, **GENERATED)
@given(st.text(st.sampled_from('{}[]":,\\ idactvy01"'), max_size=60))
def test_no_text_breaks_the_search(text):
    for place in find_labels(text):
        assert 0 <= place.start < place.end <= len(text) + 1


# --- what engines keep: tokens to characters -------------------------------------------------------------------------

WORDS = ["[", '{"id":', "0", "1", ',"activity":', '"', "cook", "co", "ok", " dinner", '"}', "}", '"},', '{"', "]", " "]


class Bytes:
    """A tokenizer of bytes and a few words, as byte-level BPE has them; token -1 is special and writes nothing."""

    def __init__(self, words=WORDS):
        self.words = [bytes([i]) for i in range(256)] + [word.encode() for word in words]

    def decode(self, tokens):
        return b"".join(self.words[t] for t in tokens if t >= 0).decode("utf-8", "replace")

    def number(self, word):
        return self.words.index(word.encode(), 256 if len(word) > 1 else 0)


@settings(max_examples=200, **GENERATED)
@given(st.lists(st.sampled_from(['a"b', "é", "💤", "寝る", "\ufffd", "cook"]), max_size=8), st.booleans())
def test_tokens_of_one_character_share_its_place(parts, special):
    text, tokenizer = "".join(parts), Bytes()
    tokens = list(text.encode()) + [-1] * special
    spans = logprobs.spans_of(tokenizer.decode, tokens)
    assert len(spans) == len(tokens) and (not text or spans[-1][1] == len(text))
    at = 0
    for character in text if "\ufffd" not in text else "":
        for _ in character.encode():
            assert spans[at] == (spans[at][0], spans[at][0] + 1) and text[spans[at][0]] == character
            at += 1


@settings(max_examples=100, **GENERATED)
@given(st.lists(st.sampled_from(["é", "💤", "x", "cook", '"']), min_size=1, max_size=8), st.integers(0, 99))
def test_the_product_over_a_text_is_that_of_its_tokens(parts, seed):
    text, tokenizer, chance = "".join(parts), Bytes(), random.Random(seed)
    tokens = list(text.encode())
    likely = [{token: chance.uniform(-3, 0)} for token in tokens]
    kept = json.loads(logprobs.of_tokens(tokenizer.decode, tokens, likely, text, offset=7))
    assert sum(p for _, _, p in kept) == pytest.approx(sum(sum(one.values()) for one in likely), abs=0.01)
    assert all(7 <= a < b <= 7 + len(text) for a, b, _ in kept)


def test_what_writes_the_same_text_is_no_doubt():
    """ "cook" = "co" + "ok": only what leads to another text lowers the product."""
    tokenizer = Bytes()
    cook, co, ok, quote, end = map(tokenizer.number, ["cook", "co", "ok", '"', '"}'])
    half, tenth = math.log(0.5), math.log(0.1)
    tokens = [quote, co, ok, end]
    likely = [{quote: 0.0}, {co: half, cook: math.log(0.4), quote: tenth}, {ok: 0.0}, {end: half, quote: half}]
    text = '"cook"}'
    assert json.loads(logprobs.of_tokens(tokenizer.decode, tokens, likely, text)) == [[1, 3, round(math.log(0.9), 4)]]
    likely[3] = {end: half, tokenizer.number(" dinner"): half}
    assert json.loads(logprobs.of_tokens(tokenizer.decode, tokens, likely, text))[1:] == [[5, 7, round(half, 4)]]


def test_what_does_not_fit_the_text_is_not_known():
    tokenizer = Bytes()
    assert logprobs.of_tokens(tokenizer.decode, [97, 98], [{97: 0.0}, {98: 0.0}], "a") == "[]"
    assert logprobs.of_tokens(tokenizer.decode, [97, 98], [{97: 0.0}, {98: 0.0}], "other") == ""
    assert logprobs.of_tokens(tokenizer.decode, [97, 98], [{97: 0.0}], "ab") == ""
    assert logprobs.of_tokens(tokenizer.decode, [], [], "") == "[]"
    low = logprobs.of_tokens(tokenizer.decode, [97], [{97: -1e9}], "a")
    assert json.loads(low) == [[0, 1, logprobs.LEAST]]


def completion(text, chance=-0.5, **more):
    return [{"token": c, "logprob": chance, "bytes": list(c.encode()), **more} for c in text]


def test_a_server_s_tokens():
    text = 'aé"'
    assert json.loads(logprobs.of_completion(completion(text), text)) == [[0, 1, -0.5], [1, 2, -0.5], [2, 3, -0.5]]
    thinking = completion("<think>aé</think>", -2.0)
    found = json.loads(logprobs.of_completion(thinking + completion(text) + completion("<|im_end|>"), text, 5))
    assert found == [[5, 6, -0.5], [6, 7, -0.5], [7, 8, -0.5]]
    halves = [{"token": "\\xc3", "logprob": -0.5, "bytes": [0xC3]}, {"token": "\\xa9", "logprob": -1, "bytes": [0xA9]}]
    assert json.loads(logprobs.of_completion(halves, "é")) == [[0, 1, -0.5], [0, 1, -1.0]]
    alike = completion("a", math.log(0.5), top_logprobs=[{"token": "ab", "logprob": math.log(0.5)}])
    assert json.loads(logprobs.of_completion(alike + completion("b", 0.0), "ab")) == []
    without = [{"token": c, "logprob": -0.5, "bytes": None} for c in text]
    assert logprobs.of_completion(without, text) == logprobs.of_completion(completion(text), text)


@pytest.mark.parametrize(
    "content",
    [None, [], "no", 3, [None], [{}], [{"token": 3, "logprob": 0}], [{"token": "b", "logprob": 0}],
     [{"token": "a", "logprob": None}], [{"token": "a", "logprob": "x"}],
     [{"token": "a", "logprob": 0, "bytes": [999]}],
     [{"token": "a", "logprob": 0, "top_logprobs": [3]}], [{"token": "a", "logprob": float("nan")}]],
)  # fmt: skip
def test_what_a_server_says_wrongly_is_not_known(content):
    assert logprobs.of_completion(content, "a") == ""
