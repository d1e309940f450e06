"""YAMNet in the child: 2 s of sound become the likeliest of AudioSet's 521 sounds, by TFLite.

A window's scores are the mean over its patches (0.96 s every 0.48 s, as published: three in 2 s). The classes do not
exclude each other, so shares need not add up to 1.
"""

from __future__ import annotations

import csv
import importlib.metadata
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from llmhar.fusion.encoders.log_mel import YAMNET_OFFSET, patches
from llmhar.fusion.encoders.window_backend import Looked, WindowBackend, likeliest

HOP_S = 0.48


class YamnetBackend(WindowBackend):
    """Sound windows become AudioSet classes by YAMNet."""

    dtype = "int8"
    """Inside; it takes and gives float32."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.version = importlib.metadata.version("ai-edge-litert")
        place = Path(config["weights"])
        with open(place / "yamnet_class_map.csv", encoding="utf-8", newline="") as lines:
            self._names = [row["display_name"] for row in csv.DictReader(lines)]
        threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
        self._model = Interpreter(str(place / "yamnet_spectra_in.tflite"), num_threads=threads)
        self._model.allocate_tensors()
        self._input = self._model.get_input_details()[0]["index"]
        self._output = self._model.get_output_details()[0]["index"]

    def look(self, windows: list[np.ndarray], options: Mapping[str, Any]) -> Looked:
        """Classes with shares.

        The embedding is the mean of the scores' square roots: distances between them are Hellinger's, and scores of
        exactly 0 (most are) stay finite, unlike their logits.
        """
        scores = np.array([self._scores(window) for window in windows])
        steps = [likeliest(own, self._names, int(options["top"])) for own in scores]
        return Looked(steps, np.sqrt(scores).mean(axis=0))

    def _scores(self, window: np.ndarray) -> np.ndarray:
        """(521,) of one window."""
        found = []
        for patch in patches(window, YAMNET_OFFSET, HOP_S):
            self._model.set_tensor(self._input, patch[None])
            self._model.invoke()
            found.append(self._model.get_tensor(self._output)[0].copy())
        return np.mean(found, axis=0)
