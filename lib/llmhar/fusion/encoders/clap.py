"""MS CLAP's captioner (clapcap) in the child: 2 s of sound become a sentence, by msclap 1.3.4 itself.

With the published weights (1.71 GB, huggingface.co/microsoft/msclap or zenodo.org/records/8378278)::

    llmhar data add clapcap clapcap_weights_2023.pth   # notes the sha256 of the file you bring; GPT-2's vocabulary
                                                       # (1.5 MB, pinned) is fetched, or lies beside it in a folder
    encode(clips, encoder("clapcap"), store, dataset="scenes")   # Python; the same call that the tests make

No sha256 of that file could be had where this was written, so the first one brought is the one that is kept to.

What is ours around it, and why:

- msclap imports torchaudio, whose PyPI builds do not go with torch+cpu. It uses it to read files alone, and our samples
  are read already: an empty module stands in, :meth:`_Captioner.read_audio` hands the samples over.
- It tiles sound to 7 s, and crops longer sound at random. We tile to exactly 7 s and cut from the start: nothing is
  left to chance, and beam search draws nothing.
- It fetches GPT-2 twice from the hub only to overwrite one copy by clapcap's own weights and never use the other (the
  text encoder). Both are made without the hub; a local folder ``gpt2`` holds vocabulary and shape.
- It unpickles its weights: here only with ``weights_only``. It lets tensors be missing: here that is an error.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.metadata
import os
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

for _name in ("torchaudio", "torchaudio.transforms"):
    _module = types.ModuleType(_name)
    _module.__spec__ = importlib.machinery.ModuleSpec(_name, None)  # transformers looks for it
    sys.modules[_name] = _module
sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]  # type: ignore[attr-defined]

import torch  # noqa: E402
from msclap import CLAPWrapper as clap_wrapper  # noqa: E402
from msclap.models import clap as clap_models  # noqa: E402
from msclap.models import mapper as clap_mapper  # noqa: E402
from msclap.models.htsat import HTSAT_Swin_Transformer  # noqa: E402
from transformers import GPT2Config, GPT2LMHeadModel  # noqa: E402

from llmhar.fusion.encoders.window_backend import Looked, WindowBackend  # noqa: E402

END = "<|endoftext|>"
"""GPT-2's end mark, which captions may keep."""
SECONDS = 7
"""What clapcap listens to at once."""


class ClapBackend(WindowBackend):
    """Sound windows become captions by MS CLAP."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """``config``: folder of samples, folder of weights, architecture (only where it is not the published one)."""
        super().__init__(config)
        self.version = importlib.metadata.version("msclap")
        place = Path(config["weights"])
        with _without_hub(place):
            self._model = _Captioner(place / "clapcap_weights_2023.pth", config.get("architecture") or {})

    def look(self, windows: list[np.ndarray], options: Mapping[str, Any]) -> Looked:
        """One caption a window; the embedding is CLAP's of the sound (1,024 numbers, length 1)."""
        steps, vectors = [], []
        for window in windows:  # one at a time: beam search keeps memory in check, and answers do not depend on others
            said = self._model.generate_caption(
                [window], beam_size=options["beam_size"], entry_length=options["entry_length"]
            )
            steps.append([(clean_caption(said[0]), 1.0)])
            vectors.append(self._model.heard(window))
        return Looked(steps, np.mean(vectors, axis=0))


def clean_caption(text: str) -> str:
    """A caption without the end mark and what may follow it, on one line."""
    return " ".join(text.split(END)[0].split(END.capitalize())[0].split())


class _Captioner(clap_wrapper.CLAPWrapper):
    """msclap's wrapper over samples instead of files."""

    def __init__(self, weights: Path, architecture: Mapping[str, Any]) -> None:
        self._changes = {name: value for name, value in architecture.items() if name != "htsat"}
        if "htsat" in architecture:  # its numbers are defaults of the class, not in the configuration
            _shape_htsat(architecture["htsat"])
        super().__init__(weights, version="clapcap", use_cuda=False)

    def read_config_as_args(self, config_path: str, args: Any = None, is_config_str: bool = False) -> Any:
        config = super().read_config_as_args(config_path, args, is_config_str)
        vars(config).update(self._changes)
        return config

    def read_audio(self, audio_path: np.ndarray, resample: bool = True) -> tuple[torch.Tensor, int]:
        """Samples at the model's rate, tiled to 7 s exactly (msclap then neither tiles nor crops)."""
        rate: int = self.args.sampling_rate
        wanted = SECONDS * rate
        tiled = np.tile(audio_path, -(-wanted // len(audio_path)))[:wanted]
        return torch.from_numpy(np.ascontiguousarray(tiled))[None], rate

    @torch.inference_mode()
    def heard(self, window: np.ndarray) -> np.ndarray:
        """CLAP's embedding of a sound, (d_proj,), of length 1."""
        vector = self.clapcap.clap(self.read_audio(window)[0])[0][0]
        return np.asarray((vector / vector.norm()).numpy())


def _shape_htsat(numbers: Mapping[str, Any]) -> None:
    """Other defaults for the audio transformer of this process."""
    HTSAT_Swin_Transformer.__init__ = functools.partialmethod(HTSAT_Swin_Transformer.__init__, **numbers)


class _NoTextEncoder:
    """In AutoModel's place: the captioner has no use for CLAP's text encoder (500 MB)."""

    @staticmethod
    def from_pretrained(_name: str) -> torch.nn.Module:
        return torch.nn.Identity()


class _Gpt2FromShape:
    """In GPT2LMHeadModel's place: clapcap's own weights fill it, so only its shape is wanted."""

    @staticmethod
    def from_pretrained(name: str) -> torch.nn.Module:
        return GPT2LMHeadModel(GPT2Config.from_pretrained(name))


@contextmanager
def _without_hub(place: Path) -> Iterator[None]:
    """Load from a folder of weights: relative ``gpt2`` is the folder there, and pickles are refused.

    Raises:
        ValueError: the weights lack tensors that the model has.
    """
    before = os.getcwd()
    os.chdir(place)
    clap_models.AutoModel, clap_mapper.GPT2LMHeadModel = _NoTextEncoder, _Gpt2FromShape
    torch.load = functools.partial(torch.load, weights_only=True)
    clap_mapper.ClapCaptionModel.load_state_dict = _load_all
    try:
        yield
    finally:
        os.chdir(before)


def _load_all(model: torch.nn.Module, state: Mapping[str, torch.Tensor], strict: bool = False) -> None:
    """``load_state_dict`` that lets extra tensors pass (old masks of GPT-2) and none be missing."""
    missing, _ = torch.nn.Module.load_state_dict(model, dict(state), strict=False)
    if missing:
        raise ValueError(f"the weights lack {len(missing)} tensors of clapcap, the first is {missing[0]}")
