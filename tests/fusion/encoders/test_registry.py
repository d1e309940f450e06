"""One contract over all encoders, their weights on disk, and the stand-in for captions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmhar.ask.engines.base import Engine
from llmhar.ask.store import Store
from llmhar.fusion.clips.clip import Signal
from llmhar.fusion.encoders.captions import caption, template_captions
from llmhar.fusion.encoders.encode import Encoded, EncoderError, encode
from llmhar.fusion.encoders.motion_models import RECIPES
from llmhar.fusion.encoders.observation import Guess
from llmhar.fusion.encoders.registry import ENCODERS, STAND_INS, encoder, prepare
from llmhar.fusion.encoders.weights_files import (
    WEIGHTS,
    WeightFile,
    Weights,
    add_weights,
    fetch_weights,
    revision,
    weights_folder,
)
from llmhar.fusion.encoders.window_backend import likeliest, read_windows
from llmhar.records import Fingerprint, Generation, Request, canonical_json
from tests.fusion.signals import SHARED, chirp, needs_yamnet, sound_clip


@pytest.fixture
def empty(tmp_path, monkeypatch):
    """A machine on which nothing has been fetched, added or trained."""
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    return tmp_path


def test_names():
    assert set(ENCODERS) == {"yamnet", "vggish", "clapcap", *RECIPES} and set(STAND_INS) == {"template-captions"}
    assert [STAND_INS["template-captions"].kind, STAND_INS["template-captions"].source] == ["stand-in", "labels"]
    with pytest.raises(
        EncoderError, match=r"no encoder is called 'yam'; there are: yamnet, vggish, clapcap, imu-cnn-s-6"
    ):
        encoder("yam")
    with pytest.raises(EncoderError, match="STAND_INS"):
        encoder("template-captions")


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_without_weights_says_what_to_do(name, empty):
    found = encoder(name)
    assert found.name == name and found.kind == "model" and found.title
    assert (found.signal, found.modality in ("captions", "labels")) in {("audio", True), ("motion", False)}
    assert found.rate in (16_000, 44_100, 50.0)
    canonical_json(dict(found.options))
    with pytest.raises(EncoderError, match=r"llmhar data (add|fetch)|prepare\("):
        found.revision()
    with pytest.raises(EncoderError, match=r"llmhar data (add|fetch)|prepare\("):
        found.open(empty)
    assert not (empty / "cache").exists() and not (empty / "home").exists()


def asked(name: str, windows: list[list[float]], sha256: str = "a" * 64) -> Request:
    content = {
        "encoder": name,
        "sha256": sha256,
        "windows": windows,
        "rate": ENCODERS[name].rate,
        "options": {"top": 3},
    }
    return Request(f"encoder/{name}", "", "", ({"role": "user", "content": canonical_json(content)},))


@needs_yamnet
def test_a_bad_signal_is_an_error_of_its_request_alone(empty):
    """The child lives on: missing, truncated, hostile, not finite, too short, of another form; then a good one."""
    add_weights("yamnet", SHARED)
    good = np.zeros(16_000 * 4, np.float32)
    not_finite = good.copy()
    not_finite[20_000] = np.nan
    signals = {"b": not_finite, "c": good[:30_000], "d": good.astype(np.float64), "e": good[:, None], "f": good}
    for letter, samples in signals.items():
        np.save(empty / (letter * 64 + ".npy"), samples)
    (empty / ("1" * 64 + ".npy")).write_bytes((empty / ("f" * 64 + ".npy")).read_bytes()[:900])
    np.save(empty / ("2" * 64 + ".npy"), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (empty / ("3" * 64 + ".npy")).write_bytes(b"")
    requests = {letter: asked("yamnet", [[1.0, 3.0]], letter * 64) for letter in "abcdef123"}
    requests["g"] = Request("encoder/yamnet", "", "", ({"role": "user", "content": "no JSON"},))
    requests["h"] = asked("yamnet", [[1.0, 3.0]], "../" + "f" * 64)
    requests["i"] = asked("yamnet", [[-1.0, 1.0]], "f" * 64)
    requests["j"] = asked("yamnet", [[3.0, 5.0]], "f" * 64)
    requests["k"] = asked("yamnet", [], "f" * 64)
    engine: Engine
    with encoder("yamnet").open(empty) as engine:
        assert engine.fingerprint() == Fingerprint("yamnet", engine.fingerprint().version, "int8", "cpu")
        found = {answer.request_key: answer for answer in engine.stream(requests.values())}
        answers: dict[str, Generation] = {letter: found[request.key] for letter, request in requests.items()}
        engine.close()
    assert {letter for letter, answer in answers.items() if answer.ok} == {"f", "k"}
    reasons = {"a": "No such file", "b": "not finite", "c": "not within", "d": "float64", "e": "(64000, 1)",
               "2": "Python objects", "h": "sha256", "i": "not within", "j": "not within"}  # fmt: skip
    for letter, words in reasons.items():
        assert words in answers[letter].error, answers[letter].error
    said = json.loads(answers["f"].text)
    assert len(said["steps"]) == 1 and said["steps"][0][0][0] == "Silence" and len(said["embedding"]) == 521
    assert json.loads(answers["k"].text) == {"steps": [], "embedding": None}


@given(rate=st.sampled_from([16_000.0, 50.0, 44_100.0]), n=st.integers(0, 400), seed=st.integers(0, 9))
def test_windows_are_cut_as_clips_cut_them(tmp_path_factory, rate, n, seed):
    """Same samples as Signal.cut, and one length for all; a window that ends a millisecond late is filled up."""
    folder = tmp_path_factory.mktemp("w")
    seconds = n / 50
    samples = np.random.default_rng(seed).normal(0, 1, max(1, round(seconds * rate))).astype(np.float32)
    np.save(folder / "x.npy", samples)
    spans = [(start, start + 2.0) for start in np.arange(0, seconds, 0.5) if start + 2.0 <= seconds + 1e-3]
    cut = read_windows(folder, {"sha256": "x", "windows": spans, "rate": rate}, None)
    assert all(len(own) == round(2 * rate) for own in cut)
    signal = Signal(samples, rate)
    for own, span in zip(cut, spans):
        expected = signal.cut(*span)
        assert len(own) - len(expected) <= 0.01 * rate and np.array_equal(own[: len(expected)], expected)


def test_likeliest_of_equal_scores_is_the_first():
    assert likeliest(np.array([0.1, 0.5, 0.5, 0.0]), "abcd", 3) == [("b", 0.5), ("c", 0.5), ("a", 0.1)]


LABELS = st.lists(st.builds(Guess, st.text(max_size=20), st.floats(0, 1)), max_size=5)


@given(steps=st.lists(LABELS, max_size=4))
def test_template_captions_say_nothing_but_the_labels(steps):
    labels = {
        "clip": Encoded(
            tuple((2.0 * i, tuple(own)) for i, own in enumerate(steps)), np.ones(3), Fingerprint("y", "", "", "")
        )
    }
    said = template_captions(labels)["clip"]
    assert said == template_captions(labels)["clip"] and said.embedding is None
    assert said.made_by.engine == "template-captions" and len(said.steps) == len(steps)
    for (at, told), (when, own) in zip(said.steps, labels["clip"].steps):
        assert at == when and len(told) == (1 if own else 0)
        if own:
            assert told[0] == Guess(caption(own), 1.0) and caption(own[:3]) == caption(own)


def test_captions():
    told = [Guess("Water", 0.6), Guess("Liquid", 0.2), Guess("Pump (liquid)", 0.01)]
    assert caption(told) == "The sound of water, perhaps liquid."
    assert caption([Guess("Typing", 0.2)]) == "A sound that may be typing."
    assert caption([Guess("Typing", 0.02)]) == "A faint sound that is hard to tell."


# weights on disk


@pytest.fixture
def own_set(empty, monkeypatch):
    """Two files: one only the user has, one with an address (that nobody can reach)."""
    known = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of "hello"
    files = (WeightFile("sub/mine.bin", others="*.bin"), WeightFile("known.txt", "http://127.0.0.1:9/x", known))
    monkeypatch.setitem(WEIGHTS, "own", Weights("a set", "", "example.org (5 bytes)", files))
    folder = empty / "brought"
    folder.mkdir()
    (folder / "weights v2.bin").write_bytes(b"mine")
    (folder / "known.txt").write_bytes(b"hello")
    return folder


def test_weights_are_brought_named_and_kept(own_set):
    hashes = add_weights("own", own_set)
    assert hashes["known.txt"].startswith("2cf24dba") and set(hashes) == {"sub/mine.bin", "known.txt"}
    first = revision("own")
    assert (weights_folder("own") / "sub" / "mine.bin").read_bytes() == b"mine"
    (own_set / "weights v2.bin").write_bytes(b"other")
    assert revision("own") == first  # copied, not linked
    add_weights("own", own_set / "weights v2.bin")  # one file alone: the other is there
    assert revision("own") != first and len(revision("own")) == 64


def test_other_content_is_refused_and_changes_nothing(own_set):
    add_weights("own", own_set)
    first = revision("own")
    (own_set / "known.txt").write_bytes(b"hallo")
    (own_set / "weights v2.bin").write_bytes(b"fine, but the other is not")
    with pytest.raises(EncoderError, match=r"known.txt is not known.txt: its sha256 is d3751d33.* expected 2cf24dba"):
        add_weights("own", own_set)
    assert revision("own") == first


def test_weights_that_were_touched_are_noticed(own_set):
    add_weights("own", own_set)
    file, first = weights_folder("own") / "known.txt", revision("own")
    os.utime(file, (1, 1))
    assert revision("own") == first  # the time alone is no change
    file.write_bytes(b"jello")
    with pytest.raises(EncoderError, match="is not what was taken in"):
        revision("own")
    file.unlink()
    with pytest.raises(EncoderError, match="is not what was taken in"):
        revision("own")


def test_what_cannot_be_had(own_set, empty):
    with pytest.raises(EncoderError, match=r"mine.bin of a set has no address .* llmhar data add own .*example.org"):
        fetch_weights("own")
    with pytest.raises(EncoderError, match=r"http://127.0.0.1:9/x could not be fetched"):
        add_weights("own", own_set / "weights v2.bin")
    with pytest.raises(EncoderError, match=r"are not here"):  # half a set is none
        revision("own")
    with pytest.raises(EncoderError, match="does not exist"):
        add_weights("own", empty / "nowhere")
    (empty / "bare").mkdir()
    with pytest.raises(EncoderError, match=r"holds nothing of a set: looked for mine.bin or known.txt"):
        add_weights("own", empty / "bare")
    with pytest.raises(EncoderError, match="no weights are called 'x'"):
        add_weights("x", own_set)


def test_every_address_has_a_hash():
    """A file with an address and no hash, or one that is neither brought nor written nor fetched, would be a trap."""
    for found in WEIGHTS.values():
        for file in found.files:
            assert bool(file.url) <= bool(file.sha256) or file.others or file.content
            assert len(file.sha256) in (0, 64) and not Path(file.name).is_absolute()


@needs_yamnet
def test_yamnet_as_brought_is_the_published_one(empty):
    assert add_weights("yamnet", SHARED)["yamnet_spectra_in.tflite"].startswith("0a266465")
    assert prepare("yamnet") == encoder("yamnet").revision()


def test_encode_says_how_to_get_the_weights(empty):
    with Store(empty / "store.sqlite") as store, pytest.raises(EncoderError, match="llmhar data fetch yamnet"):
        encode([sound_clip(chirp(4.0, 16_000))], encoder("yamnet"), store, dataset="x", progress=False)
