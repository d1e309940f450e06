"""The motion encoders: trained once, repeated to the bit, never on a person of a clip; and HAPT's folds."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from llmhar.ask.store import Store
from llmhar.data.load_report import DataError
from llmhar.fusion.clips.clip import Signal
from llmhar.fusion.clips.hapt import HaptWindows, hapt_windows
from llmhar.fusion.encoders import motion_models
from llmhar.fusion.encoders import registry as encoders
from llmhar.fusion.encoders.encode import EncoderError, encode
from llmhar.fusion.encoders.motion_models import (
    ENCODER_PERSONS,
    RECIPES,
    cross_validate,
    hand_features,
    make_folds,
    train_motion,
)
from tests.fusion.signals import motion_clip

NAMES = ("still", "slow swing", "fast swing")
TINY = motion_models.MotionRecipe("s", 6, (8, 8, 8), 8, epochs=15, batch_size=16, learning_rate=2e-2)


def swings(n_persons: int = 6, each: int = 8, seed: int = 0) -> HaptWindows:
    """Three easily told kinds of motion."""
    random = np.random.default_rng(seed)
    n = n_persons * each * 3
    y, persons = np.arange(n) % 3, np.arange(n) // (each * 3) + 1
    t = np.arange(200) / 50
    phase = random.uniform(0, 6, n)[:, None]
    wave = np.sin(2 * np.pi * np.array([0.0, 0.8, 2.5])[y][:, None] * t + phase) * (y > 0)[:, None]
    X = random.normal(0, 0.05, (n, 200, 6))
    X[:, :, 2] += 1 + 0.5 * wave
    X[:, :, 4] += 0.5 * wave
    return HaptWindows(X.astype(np.float32), y, persons, NAMES)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_recipes_are_three_sizes_by_two_grains():
    assert {(r.size, r.classes) for r in RECIPES.values()} == {(s, c) for s in "sml" for c in (6, 12)}
    assert all(name == recipe.name for name, recipe in RECIPES.items())


def test_the_encoders_persons_are_the_scenes():
    scenes = pytest.importorskip("llmhar.fusion.clips.scenes")
    assert tuple(scenes.ENCODER_PERSONS) == ENCODER_PERSONS


def test_training_repeats_and_is_found_again(home, monkeypatch):
    data = swings()
    first = train_motion(TINY, data.X, data.y, NAMES, persons=data.persons.tolist(), progress=False)
    record = json.loads((first / "model.json").read_text())
    assert record["persons"] == [1, 2, 3, 4, 5, 6] and record["losses"][0] < 0.9 and record["n_windows"] == len(data.y)
    assert {file.name for file in first.iterdir()} == {".lock", "job.json", "model.json", "model.safetensors"}
    (first / "model.json").unlink()  # as if killed just before the end
    again = train_motion(TINY, data.X, data.y, NAMES, persons=data.persons.tolist(), progress=False)
    assert again == first and json.loads((first / "model.json").read_text()) == record
    monkeypatch.setattr(motion_models, "run_child", None)  # nothing is trained again
    assert train_motion(TINY, data.X, data.y, NAMES, progress=False) == first
    with pytest.raises(TypeError):  # other data: another training
        train_motion(TINY, data.X[:-1], data.y[:-1], NAMES, progress=False)


def test_bad_windows_are_refused(home):
    data = swings(2)
    X = data.X.copy()
    X[0, 0, 0] = np.nan
    for windows, y in ((X, data.y), (data.X[..., :5], data.y), (data.X, data.y[:-1]), (data.X, data.y + 1)):
        with pytest.raises(EncoderError, match="windows"):
            train_motion(TINY, windows, y, NAMES, progress=False)
    assert not home.exists()


def test_a_fusion_encoder_learns_from_its_persons_only_and_then_answers(home, tmp_path, monkeypatch):
    data = swings(20, 3)
    monkeypatch.setattr(motion_models, "hapt_windows", lambda *_: data)
    monkeypatch.setitem(RECIPES, "imu-cnn-s-6", TINY)
    found = encoders.encoder("imu-cnn-s-6")
    with pytest.raises(EncoderError, match=r"imu-cnn-s-6 is not trained yet: call .*prepare\('imu-cnn-s-6'\)"):
        found.revision()
    revision = encoders.prepare("imu-cnn-s-6", progress=False)
    record = motion_models.motion_record("imu-cnn-s-6")
    assert revision == found.revision() == record["weights_sha256"]
    assert record["persons"] == list(ENCODER_PERSONS) and record["n_windows"] == 18 * 9
    other = swings(2, 3, seed=7)
    # 12 s of each kind, at 100 Hz (mean of two kinds of sample would be wrong: resampled to 50)
    clips = []
    for kind in range(3):
        motion = np.repeat(np.concatenate(other.X[other.y == kind][:3]), 2, axis=0)
        clips.append(motion_clip(Signal(motion, 100.0), NAMES[kind]))
    with Store(tmp_path / "store.sqlite") as store:
        said = encode(clips, found, store, dataset="test", progress=False)
    for kind in NAMES:
        assert len(said[kind].steps) == 5 and said[kind].embedding.shape == (TINY.embedding,)
        assert said[kind].steps[0][1][0].name == kind
        for _, guesses in said[kind].steps:
            assert len(guesses) == 3 and abs(sum(guess.share for guess in guesses) - 1) < 1e-5


def test_hapt_out_of_reach_is_an_encoder_error(home, monkeypatch):
    def fail(*_: object) -> HaptWindows:
        raise DataError("no network")

    monkeypatch.setattr(motion_models, "hapt_windows", fail)
    with pytest.raises(EncoderError, match="HAPT, which cannot be had: no network"):
        encoders.prepare("imu-cnn-m-6")


def test_folds_share_no_person():
    data = swings(11)
    fold = make_folds(data.y, data.persons, 5, seed=0)
    assert set(fold) == set(range(5))
    assert all(len(set(fold[data.persons == person])) == 1 for person in set(data.persons))


def test_features_by_hand():
    X = swings(1, 2).X
    X[0, :, 0], X[0, :, 3] = np.linspace(0, 1, 200), np.linspace(1, 0, 200)
    features = hand_features(X)
    assert features.shape == (6, 8 * 11 + 15 + 3) and np.isfinite(features).all()
    assert np.allclose(features[:, :6], X.mean(1), atol=1e-6) and np.allclose(features[:, 8:14], X.std(1), atol=1e-6)
    pairs = features[0, 88:103]
    assert pairs[2] == pytest.approx(-1)  # channels 0 and 3
    assert np.isfinite(hand_features(np.zeros((1, 200, 6), np.float32))).all()


def test_cross_validation_of_net_and_forest(home, monkeypatch):
    data = swings(6, 6)
    monkeypatch.setitem(RECIPES, "imu-cnn-s-6", TINY)
    found = cross_validate("s", 6, n_folds=3, windows=data, progress=False)
    assert list(found.folds.columns) == ["fold", "model", "accuracy", "macro_f1", "n_windows", "persons"]
    assert list(found.folds.model) == ["imu-cnn-s-6"] * 3 + ["random forest"] * 3
    tested = [person for own in found.folds.persons[:3] for person in own]
    assert sorted(tested) == [1, 2, 3, 4, 5, 6]
    assert (found.folds.accuracy > 0.8).all()
    row = found.summary.set_index(["model", "measure"]).loc[("imu-cnn-s-6", "accuracy")]
    assert row.low <= row["mean"] <= row.high and row.n_folds == 3
    matrix = found.confusion["random forest"]
    assert matrix.sum() == len(data.y) and matrix.trace() / matrix.sum() > 0.8
    monkeypatch.setattr(motion_models, "run_child", None)
    again = cross_validate("s", 6, n_folds=3, windows=data, progress=False)
    pd.testing.assert_frame_equal(again.folds, found.folds)


def test_the_encoder_of_real_motion(home, tmp_path):
    """HAPT: the smallest net learns from people 1 to 18 and is tried on 300 windows of 19 to 30."""
    try:
        windows = hapt_windows(4.0, 2.0, 6)
    except DataError as error:
        pytest.skip(str(error))
    others = np.flatnonzero(~np.isin(windows.persons, ENCODER_PERSONS))
    chosen = np.random.default_rng(0).choice(others, 300, replace=False)
    assert windows.persons[chosen].min() > 18
    encoders.prepare("imu-cnn-s-6", progress=False)
    assert motion_models.motion_record("imu-cnn-s-6")["parameters"] < 5000
    clips = [motion_clip(Signal(windows.X[i], 50.0), str(i)) for i in chosen]
    with Store(tmp_path / "store.sqlite") as store:
        said = encode(clips, encoders.encoder("imu-cnn-s-6"), store, dataset="test", progress=False)
    right = [said[str(i)].steps[0][1][0].name == windows.names[windows.y[i]] for i in chosen]
    assert np.mean(right) >= 0.9, np.mean(right)
