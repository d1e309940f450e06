"""The motion encoders: three sizes x 6 or 12 classes, trained on HAPT's 4 s windows once and kept. Imports no torch.

The encoders that fusion uses learn from people 1 to 18 only, because the clips show people 19 to 30. How well such nets
do on people they have not seen is :func:`cross_validate`'s to say, beside a random forest on the same folds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score
from sklearn.model_selection import StratifiedGroupKFold

from llmhar import paths
from llmhar.data.load_report import DataError
from llmhar.distill.training import TrainingError, run_child
from llmhar.fusion.clips.clip import HOP_S, MOTION_S
from llmhar.fusion.clips.hapt import HaptWindows, hapt_windows
from llmhar.fusion.encoders.encode import EncoderError
from llmhar.records import canonical_json, sha256_of
from llmhar.score.stats import t_interval
from llmhar.settings import choose

CHILD = "llmhar.fusion.encoders.motion_train_child"
TRAINER_VERSION = 1
"""Raised when the trainer changes what comes out of one recipe."""
RATE = 50.0
ENCODER_PERSONS = tuple(range(1, 19))
"""HAPT's people that the encoders learn from; never in a clip (``scenes`` has the same, a test compares)."""
RECORD = "model.json"


@dataclass(frozen=True)
class MotionRecipe:
    """All that decides a training but the data."""

    size: Literal["s", "m", "l"]
    classes: Literal[6, 12]
    """6 basic activities, or these and 6 transitions."""
    widths: tuple[int, int, int]
    """Channels of the three convolutions."""
    embedding: int
    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    seed: int = 0

    @property
    def name(self) -> str:
        """Key into ``ENCODERS``."""
        return f"imu-cnn-{self.size}-{self.classes}"


_SIZES: dict[Literal["s", "m", "l"], tuple[tuple[int, int, int], int]] = {
    "s": ((8, 16, 16), 32),
    "m": ((24, 48, 64), 64),
    "l": ((64, 128, 192), 128),
}
_CLASSES: tuple[Literal[6, 12], ...] = (6, 12)
RECIPES: dict[str, MotionRecipe] = {
    made.name: made
    for made in (
        MotionRecipe(size, classes, widths, embedding)
        for size, (widths, embedding) in _SIZES.items()
        for classes in _CLASSES
    )
}
"""Name -> recipe: about 4,000, 34,000 and 234,000 parameters.

No augmentation, for none helped: trained on people 1 to 12 and tried on 13 to 18 (m, 6 classes), 0.916 without, 0.898
and 0.917 with axes turned at random by 0.07 and 0.2 rad, 0.907 with scaling by 10 %.
"""


def encoders_home() -> Path:
    """Folder of the trained encoders of this checkout."""
    return paths.home() / "encoders"


def train_motion(
    recipe: MotionRecipe,
    X: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    *,
    persons: Sequence[int] = (),
    progress: bool = True,
    threads: int | None = 1,
) -> Path:
    """Train an encoder, or find the one that these very inputs made before.

    Args:
        recipe: how.
        X: (n, 200, 6) float32: g and rad/s at 50 Hz.
        y: (n,) index into ``names``.
        names: classes.
        persons: whose windows these are, for the record.
        progress: show a bar on stderr.
        threads: OpenMP threads; one repeats to the last bit, and is fast enough. None = the cores that are free.

    Returns:
        Folder with ``model.safetensors`` and ``model.json`` (written last).

    Raises:
        EncoderError: no windows, arrays that do not fit each other, or the child ended early.
    """
    data = _checked(X, y, names)
    job = {"trainer": TRAINER_VERSION, "recipe": asdict(recipe), "names": list(names), "data_sha256": _hash(data)}
    folder = encoders_home() / f"{recipe.name}-{sha256_of(job)[:12]}"
    with paths.locked(folder / ".lock"):
        if not (folder / RECORD).exists():
            title = f"training {recipe.name}"
            done = _run(folder, job | {"leaves": "model.safetensors"}, data, title, progress, threads)
            weights = {"weights_sha256": paths.file_sha256(folder / "model.safetensors")}
            seen = {"persons": sorted({int(person) for person in persons}), "n_windows": len(y)}
            paths.write_text(folder / RECORD, json.dumps(job | done | weights | seen, indent=1))
    return folder


def ensure_motion(name: str, progress: bool = True) -> Path:
    """The folder of a fusion encoder, trained on :data:`ENCODER_PERSONS` first where that has not been done.

    Raises:
        EncoderError: HAPT cannot be had, or training failed.
    """
    try:
        return motion_folder(name)
    except EncoderError:
        recipe = _recipe(name)
    windows = _windows(recipe.classes)
    own = np.isin(windows.persons, ENCODER_PERSONS)
    persons = windows.persons[own].tolist()
    folder = train_motion(recipe, windows.X[own], windows.y[own], windows.names, persons=persons, progress=progress)
    paths.write_text(_pointer(recipe), canonical_json({"folder": folder.name}))
    return folder


def motion_folder(name: str) -> Path:
    """Where a trained fusion encoder lies.

    Raises:
        EncoderError: it is not trained yet.
    """
    recipe = _recipe(name)
    try:
        folder = encoders_home() / json.loads(_pointer(recipe).read_text(encoding="utf-8"))["folder"]
    except (OSError, ValueError, KeyError):
        folder = None
    if folder is None or not (folder / RECORD).exists():
        raise EncoderError(f"{name} is not trained yet: call llmhar.fusion.encoders.registry.prepare({name!r})")
    return folder


def motion_revision(name: str) -> str:
    """sha256 of a trained encoder's weights.

    Raises:
        EncoderError: it is not trained yet.
    """
    return str(motion_record(name)["weights_sha256"])


def motion_record(name: str) -> dict[str, Any]:
    """``model.json`` of a trained encoder: recipe, names, persons, losses, parameters.

    Raises:
        EncoderError: it is not trained yet.
    """
    record: dict[str, Any] = json.loads((motion_folder(name) / RECORD).read_text(encoding="utf-8"))
    return record


class CrossValidated(NamedTuple):
    """Net and forest on people they have not seen."""

    folds: pd.DataFrame
    """One row a fold and model: fold, model, accuracy, macro_f1, n_windows, persons."""
    summary: pd.DataFrame
    """One row a model and measure: mean over folds and its t interval (low, high)."""
    confusion: dict[str, np.ndarray]
    """Model -> (classes, classes) counts over all folds, truth in rows."""
    names: tuple[str, ...]


def cross_validate(
    size: Literal["s", "m", "l"] = "m",
    classes: Literal[6, 12] = 6,
    *,
    n_folds: int = 5,
    seed: int = 0,
    windows: HaptWindows | None = None,
    progress: bool = True,
) -> CrossValidated:
    """Folds that share no person, the classes spread evenly; kept once computed.

    The intervals take folds for independent, though their training sets overlap: they are a little too narrow.

    Args:
        size: of the net.
        classes: 6 or 12.
        n_folds: groups of people.
        seed: of folds, net and forest.
        windows: other data than HAPT's 4 s windows every 2 s.
        progress: show a bar on stderr.

    Raises:
        EncoderError: HAPT cannot be had, or training failed.
    """
    recipe = replace(RECIPES[f"imu-cnn-{size}-{classes}"], seed=seed)
    own = windows or _windows(classes)
    data = _checked(own.X, own.y, own.names)
    data["fold"] = make_folds(own.y, own.persons, n_folds, seed)
    job = {"trainer": TRAINER_VERSION, "recipe": asdict(recipe), "names": list(own.names)}
    job |= {"data_sha256": _hash(data), "forest": FOREST}
    folder = encoders_home() / f"folds-{recipe.name}-{sha256_of(job)[:12]}"
    with paths.locked(folder / ".lock"):
        if not (folder / "result.json").exists():
            title = f"{n_folds} folds of {recipe.name}"
            _run(folder, job | {"leaves": "predicted.safetensors"}, data, title, progress, 1)
            predicted = {recipe.name: load_file(folder / "predicted.safetensors")["predicted"]}
            predicted["random forest"] = forest_predictions(own.X, own.y, data["fold"], seed)
            paths.write_text(folder / "result.json", canonical_json(_score(own, data["fold"], predicted)))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    folds = pd.DataFrame(result["folds"], columns=["fold", "model", "accuracy", "macro_f1", "n_windows", "persons"])
    matrices = {name: np.asarray(matrix) for name, matrix in result["confusion"].items()}
    return CrossValidated(folds, _summary(folds), matrices, tuple(own.names))


def make_folds(y: np.ndarray, persons: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """(n,) number of the fold in which each window is tested; all windows of a person in one."""
    fold = np.full(len(y), -1, dtype=np.int64)
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for number, (_, tested) in enumerate(splitter.split(np.zeros(len(y)), y, persons)):
        fold[tested] = number
    return fold


FOREST = {"n_estimators": 200, "min_samples_leaf": 1, "features": 1}
"""The random forest's settings; ``features`` is the version of :func:`hand_features`."""
_QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def hand_features(X: np.ndarray) -> np.ndarray:
    """(n, 111) features as they are usually made by hand, of windows (n, time, 6).

    Of the six channels and the lengths of acceleration and turning rate: mean, spread, least, greatest, five quantiles,
    energy, mean step from sample to sample. And the correlations of all pairs of channels. Then the mean tilt.
    """
    lengths = [np.linalg.norm(X[..., :3], axis=-1), np.linalg.norm(X[..., 3:], axis=-1)]
    signals = np.concatenate([X, np.stack(lengths, axis=-1)], axis=-1).astype(np.float64)
    parts = [signals.mean(1), signals.std(1), signals.min(1), signals.max(1), (signals**2).mean(1)]
    parts.append(np.abs(np.diff(signals, axis=1)).mean(1))
    parts += list(np.quantile(signals, _QUANTILES, axis=1))
    centred = signals[..., :6] - signals[..., :6].mean(1, keepdims=True)
    scaled = centred / (np.linalg.norm(centred, axis=1, keepdims=True) + 1e-9)
    pairs = np.einsum("nti,ntj->nij", scaled, scaled)[:, *np.triu_indices(6, 1)]
    gravity = signals[..., :3].mean(1)
    tilt = np.arccos(np.clip(gravity / (np.linalg.norm(gravity, axis=1, keepdims=True) + 1e-9), -1, 1))
    return np.concatenate([*parts, pairs, tilt], axis=1)


def forest_predictions(X: np.ndarray, y: np.ndarray, fold: np.ndarray, seed: int) -> np.ndarray:
    """(n,) class of each window by a random forest that saw no window of its fold."""
    features, predicted = hand_features(X), np.full(len(y), -1, dtype=np.int64)
    for number in np.unique(fold):
        tested = fold == number
        settings = {name: value for name, value in FOREST.items() if name != "features"}
        forest = RandomForestClassifier(**settings, random_state=seed, n_jobs=1)
        predicted[tested] = forest.fit(features[~tested], y[~tested]).predict(features[tested])
    return predicted


def _score(own: HaptWindows, fold: np.ndarray, predicted: Mapping[str, np.ndarray]) -> dict[str, Any]:
    rows, labels = [], list(range(len(own.names)))
    for model, said in predicted.items():
        for number in sorted(set(fold.tolist())):
            tested = fold == number
            truth, guess = own.y[tested], said[tested]
            f1 = f1_score(truth, guess, labels=labels, average="macro", zero_division=0)
            row = {"fold": int(number), "model": model, "accuracy": float(accuracy_score(truth, guess))}
            people = sorted({int(person) for person in own.persons[tested]})
            rows.append(row | {"macro_f1": float(f1), "n_windows": int(tested.sum()), "persons": people})
    matrices = {model: confusion_matrix(own.y, said, labels=labels).tolist() for model, said in predicted.items()}
    return {"folds": rows, "confusion": matrices}


def _summary(folds: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for model, own in folds.groupby("model", sort=False):
        for measure in ("accuracy", "macro_f1"):
            rows.append((model, measure, *t_interval(own[measure].tolist())[:4]))
    return pd.DataFrame(rows, columns=["model", "measure", "n_folds", "mean", "low", "high"])


def _recipe(name: str) -> MotionRecipe:
    return choose(RECIPES, name, f"no motion encoder is called {name!r}; there are:", EncoderError)


def _pointer(recipe: MotionRecipe) -> Path:
    """Says which folder is the fusion encoder; another recipe, trainer or group of people asks for another file."""
    asked = sha256_of({"recipe": asdict(recipe), "persons": list(ENCODER_PERSONS), "trainer": TRAINER_VERSION})
    return encoders_home() / f"{recipe.name}-{asked[:12]}.json"


def _windows(classes: Literal[6, 12]) -> HaptWindows:
    try:
        return hapt_windows(MOTION_S, HOP_S, classes)
    except DataError as error:
        raise EncoderError(f"the motion encoders learn from HAPT, which cannot be had: {error}") from error


def _checked(X: np.ndarray, y: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The job's arrays. Raises EncoderError."""
    if not len(X) or X.ndim != 3 or X.shape[2] != 6 or len(y) != len(X):
        raise EncoderError(f"windows are (n, time, 6) with one class each, got {X.shape} and {np.shape(y)}")
    if not np.isfinite(X).all() or np.min(y) < 0 or np.max(y) >= len(names):
        raise EncoderError(f"windows must be finite, and classes 0 to {len(names) - 1}")
    return {"X": np.ascontiguousarray(X, np.float32), "y": np.asarray(y, np.int64), "fold": np.full(len(y), -1)}


def _hash(data: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256()
    for name in sorted(data):
        total.update(f"{name} {data[name].dtype} {data[name].shape}".encode())
        total.update(np.ascontiguousarray(data[name]).tobytes())
    return total.hexdigest()


def _run(
    folder: Path,
    job: Mapping[str, Any],
    data: Mapping[str, np.ndarray],
    title: str,
    progress: bool,
    threads: int | None,
) -> dict[str, Any]:
    """One job of the trainer's child; the windows do not stay behind."""
    with paths.replacing(folder / "data.safetensors") as file:
        save_file(dict(data), file)
    paths.write_text(folder / "job.json", canonical_json(job))
    try:
        return run_child(CHILD, folder, title=title, progress=progress, threads=threads)
    except TrainingError as error:
        raise EncoderError(str(error)) from error
    finally:
        (folder / "data.safetensors").unlink(missing_ok=True)
