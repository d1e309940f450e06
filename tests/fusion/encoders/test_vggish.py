"""VGGish with a classifier: the contract on a narrow net with random weights, and the architecture as published."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmhar.ask.engines.base import EngineError
from llmhar.ask.store import Store
from llmhar.fusion.clips.clip import Signal
from llmhar.fusion.encoders import registry as encoders
from llmhar.fusion.encoders import weights_files
from llmhar.fusion.encoders.encode import EncoderError, encode
from llmhar.fusion.encoders.log_mel import VGGISH_OFFSET, patches
from tests.fusion.signals import chirp, sound_clip

PUBLISHED = (64, 128, 256, 256, 512, 512)
CLASSES = ["water", "speech", "music", "typing"]


def tensors(divide: int, n_classes: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of VGGish's form, ``divide`` times narrower."""
    random = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape).astype(np.float32)

    widths = [1, *(width // divide for width in PUBLISHED)]
    made = {}
    for place, n_in, n_out in zip((0, 3, 6, 8, 11, 13), widths, widths[1:]):
        made |= {f"features.{place}.weight": draw(n_out, n_in, 3, 3), f"features.{place}.bias": draw(n_out, 1)[:, 0]}
    full = [512 // divide * 24, 4096 // divide, 4096 // divide, 128]
    for place, n_in, n_out in zip((0, 2, 4), full, full[1:]):
        made |= {f"embeddings.{place}.weight": draw(n_out, n_in), f"embeddings.{place}.bias": draw(n_out, 1)[:, 0]}
    return made | {"classifier.weight": draw(n_classes, 128), "classifier.bias": draw(n_classes, 1)[:, 0]}


@pytest.fixture
def bring(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))

    def brought(state: dict[str, np.ndarray], classes: list[str]) -> None:
        folder = tmp_path / "mine"
        folder.mkdir(exist_ok=True)
        save_file(state, folder / "vggish.safetensors")
        (folder / "classes.json").write_text(json.dumps(classes))
        weights_files.add_weights("vggish", folder)

    return brought


def reference(state: dict[str, np.ndarray], patch: np.ndarray) -> np.ndarray:
    """VGGish in plain numpy, as its paper's code has it (time x band x channels flattened): (128,) of one patch."""
    x = patch[None].astype(np.float64)
    for place in (0, 3, 6, 8, 11, 13):
        weight, bias = state[f"features.{place}.weight"], state[f"features.{place}.bias"]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        seen = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        x = np.maximum(np.einsum("ithab,oiab->oth", seen, weight) + bias[:, None, None], 0)
        if place in (0, 3, 8, 13):
            channels, time, band = x.shape
            x = x.reshape(channels, time // 2, 2, band // 2, 2).max((2, 4))
    flat = x.transpose(1, 2, 0).ravel()
    for place in (0, 2, 4):
        flat = np.maximum(state[f"embeddings.{place}.weight"] @ flat + state[f"embeddings.{place}.bias"], 0)
    return flat


def test_contract_on_random_weights(bring, tmp_path):
    state = tensors(16, len(CLASSES))
    bring(state, CLASSES)
    tone = chirp(5.0, 16_000)
    clips = [sound_clip(tone, "tone"), sound_clip(Signal(np.zeros(80_000, np.float32), 16_000), "silence")]
    found = encoders.encoder("vggish")
    with Store(tmp_path / "a.sqlite") as store:
        said = encode(clips, found, store, dataset="test", progress=False)
    with Store(tmp_path / "b.sqlite") as store:
        again = encode(clips[::-1], found, store, dataset="test", progress=False)
    assert again["tone"].steps == said["tone"].steps
    assert said["tone"].made_by.engine == "vggish" and said["tone"].embedding.shape == (128,)
    # the same from the definition: two patches of 0.96 s a window, mean of logistic scores
    windows = [tone.cut(1, 3), tone.cut(3, 5)]
    vectors = np.array([[reference(state, own) for own in patches(w, VGGISH_OFFSET, 0.96)] for w in windows])
    assert vectors.shape == (2, 2, 128)
    assert np.allclose(said["tone"].embedding, vectors.mean((0, 1)), atol=1e-3)
    scores = 1 / (1 + np.exp(-(vectors @ state["classifier.weight"].T + state["classifier.bias"])))
    for (_, guesses), own in zip(said["tone"].steps, scores.mean(1)):
        assert [guess.name for guess in guesses] == [CLASSES[i] for i in np.argsort(-own)]
        assert np.allclose([guess.share for guess in guesses], np.sort(own)[::-1], atol=1e-4)


def test_weights_that_do_not_fit(bring, tmp_path):
    found = encoders.encoder("vggish")
    bring(tensors(16, 4), ["only one"])
    with pytest.raises(EngineError, match=r"classes.json names 1 classes, the classifier has 4"):
        found.open(tmp_path)


def test_revision_names_the_weights(bring):
    found = encoders.encoder("vggish")
    with pytest.raises(EncoderError, match="llmhar data add vggish"):
        found.revision()
    bring(tensors(16, 4), CLASSES)
    first = found.revision()
    bring(tensors(16, 4, seed=1), CLASSES)
    second = found.revision()
    bring(tensors(16, 4), CLASSES)
    assert first != second and found.revision() == first
