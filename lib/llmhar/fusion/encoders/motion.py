"""The motion encoder in the child: 4 s of motion become shares of activity classes, by the CNN trained here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from llmhar.fusion.encoders.motion_train_child import CHANNELS, build
from llmhar.fusion.encoders.window_backend import Looked, WindowBackend, likeliest


class MotionBackend(WindowBackend):
    """Motion windows become classes of movement by a small CNN."""

    version = torch.__version__
    columns = CHANNELS

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        folder = Path(config["model"])
        record = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        self._names: list[str] = record["names"]
        self._net = build(record["recipe"], len(self._names))
        self._net.load_state_dict(load_file(folder / "model.safetensors"))
        self._net.eval()

    def look(self, windows: list[np.ndarray], options: Mapping[str, Any]) -> Looked:
        """Classes with shares, which add up to 1 over all classes; the embedding is the net's last hidden layer."""
        with torch.inference_mode():
            vectors = self._net.embed(torch.from_numpy(np.stack(windows)))
            shares = self._net.classes(vectors).softmax(-1).numpy()
        return Looked([likeliest(own, self._names, int(options["top"])) for own in shares], vectors.mean(0).numpy())
