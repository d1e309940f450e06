"""The encoders of sound and motion by name. Imports no model library: models live in child processes.

An encoder is one entry in :data:`ENCODERS`; :func:`.encode.encode` asks it. ``revision()`` says whether its weights are
here, :func:`prepare` brings them (fetches, or trains the motion encoders).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmhar.ask.engines.base import Engine
from llmhar.ask.engines.child import ChildEngine
from llmhar.fusion.encoders import motion_models, weights_files
from llmhar.fusion.encoders.captions import template_captions
from llmhar.fusion.encoders.encode import Encoded, Encoder, EncoderError
from llmhar.fusion.encoders.log_mel import RATE
from llmhar.settings import choose

CLAP_RATE = 44_100
TOP = 5
"""Labels told of a window. Prompts and baselines may take fewer."""


def _sound(backend: str, name: str, extra: Mapping[str, Any], folder: Path) -> Engine:
    """An audio encoder's child; a small one runs on one thread and spares the look for free cores."""
    config = {"folder": str(folder.absolute()), "weights": str(weights_files.located(name)), **extra}
    return ChildEngine(backend, config, threads=None if backend == "clap" else 1)


def _motion(name: str, folder: Path) -> Engine:
    config = {"folder": str(folder.absolute()), "model": str(motion_models.motion_folder(name))}
    return ChildEngine("imu-cnn", config, threads=1)


def clapcap_encoder(architecture: Mapping[str, Any] | None = None) -> Encoder:
    """MS CLAP's captioner.

    Args:
        architecture: only for other weights than the published ones, as the tests' tiny ones: fields of msclap's
            config_clapcap.yml, and ``htsat``: arguments of its HTSAT_Swin_Transformer.
    """
    extra = {"architecture": dict(architecture or {})}
    return Encoder(
        "clapcap", "MS CLAP clapcap 2023", "captions", "model", "audio", CLAP_RATE,
        partial(weights_files.revision, "clapcap"), partial(_sound, "clap", "clapcap", extra),
        {"beam_size": 5, "entry_length": 67},
    )  # fmt: skip


def _motion_encoder(name: str) -> Encoder:
    recipe = motion_models.RECIPES[name]
    title = f"IMU CNN, size {recipe.size}, {recipe.classes} classes"
    return Encoder(
        name, title, "motion", "model", "motion", motion_models.RATE, partial(motion_models.motion_revision, name),
        partial(_motion, name), {"top": 3},
    )  # fmt: skip


ENCODERS: dict[str, Encoder] = {
    "yamnet": Encoder(
        "yamnet", "YAMNet (TFLite)", "labels", "model", "audio", RATE,
        partial(weights_files.revision, "yamnet"), partial(_sound, "yamnet", "yamnet", {}), {"top": TOP},
    ),
    "vggish": Encoder(
        "vggish", "VGGish with a classifier", "labels", "model", "audio", RATE,
        partial(weights_files.revision, "vggish"), partial(_sound, "vggish", "vggish", {}), {"top": TOP},
    ),
    "clapcap": clapcap_encoder(),
    **{name: _motion_encoder(name) for name in motion_models.RECIPES},
}  # fmt: skip
"""Name -> encoder of recordings."""


class StandIn(NamedTuple):
    """Stands where an encoder's weights cannot be had; made from another modality, and says nothing more."""

    name: str
    title: str
    modality: Literal["captions"]
    kind: Literal["stand-in"]
    source: Literal["labels"]
    """Modality whose outputs it takes."""
    make: Callable[[Mapping[str, Encoded]], dict[str, Encoded]]


STAND_INS: dict[str, StandIn] = {
    "template-captions": StandIn(
        "template-captions", "template over labels", "captions", "stand-in", "labels", template_captions
    )
}
"""Name -> stand-in; left out of Shapley shares."""


def encoder(name: str) -> Encoder:
    """The encoder of this name.

    Raises:
        EncoderError: there is none; lists those there are.
    """
    if name in STAND_INS:
        raise EncoderError(f"{name} stands in for captions and hears nothing: make it from labels with STAND_INS")
    return choose(ENCODERS, name, f"no encoder is called {name!r}; there are:", EncoderError)


def prepare(name: str, progress: bool = True) -> str:
    """Bring an encoder's weights here: download them, or train a motion encoder (some 20 s on a laptop).

    Returns:
        Its revision.

    Raises:
        EncoderError: they cannot be had; says what to do.
    """
    wanted = encoder(name)
    if wanted.modality == "motion":
        motion_models.ensure_motion(name, progress=progress)
    else:
        try:
            return wanted.revision()
        except EncoderError:
            weights_files.fetch_weights(name)
    return wanted.revision()
