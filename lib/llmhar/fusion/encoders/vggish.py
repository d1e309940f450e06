"""VGGish and a linear classifier in the child: 2 s of sound become the likeliest of the user's classes.

VGGish (tensorflow/models, research/audioset/vggish) gives 128 numbers and no classes; S2 does not say which classifier
it put on top. So the weights are the user's: ``vggish.safetensors``, and ``classes.json``, a list of names. Tensors:

- ``features.{0,3,6,8,11,13}.{weight,bias}``: convolutions 3 x 3 (64, 128, 256, 256, 512, 512 channels in VGGish);
- ``embeddings.{0,2,4}.{weight,bias}``: three full layers (4096, 4096, 128);
- ``classifier.{weight,bias}``: (classes, 128) and (classes,), trained on these 128 numbers, before any PCA.

The first two under these very names are what github.com/harritaylor/torchvggish publishes. Converted once by::

    state = torch.hub.load_state_dict_from_url(URL_OF_ITS_PTH, weights_only=True)
    state = {name: value for name, value in state.items() if name.startswith(("features", "embeddings"))}
    state |= {"classifier.weight": trained.weight, "classifier.bias": trained.bias}
    safetensors.torch.save_file(state, "vggish.safetensors")
    # then: llmhar data add vggish FOLDER_WITH_BOTH_FILES

Widths are read from the tensors, so that a narrow net with random weights goes the same way
(``tests/fusion/encoders/test_vggish.py``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from llmhar.fusion.encoders.log_mel import PATCH, VGGISH_OFFSET, patches
from llmhar.fusion.encoders.window_backend import Looked, WindowBackend, likeliest

HOP_S = 0.96
"""VGGish's patches do not overlap: two in 2 s."""
CONVOLUTIONS = (0, 3, 6, 8, 11, 13)
POOLED_AFTER = (0, 3, 8, 13)
"""Convolutions that a pooling by 2 follows."""


class VggishBackend(WindowBackend):
    """Sound windows become AudioSet classes by VGGish and its classifier."""

    version = torch.__version__

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        place = Path(config["weights"])
        state = load_file(place / "vggish.safetensors")
        self._names: list[str] = json.loads((place / "classes.json").read_text(encoding="utf-8"))
        self._model, self._classifier = build(state)
        if self._classifier.out_features != len(self._names):
            raise ValueError(
                f"classes.json names {len(self._names)} classes, the classifier has {self._classifier.out_features}"
            )

    def look(self, windows: list[np.ndarray], options: Mapping[str, Any]) -> Looked:
        """Classes with logistic shares: sounds do not exclude each other. The embedding is VGGish's 128 numbers."""
        stacked = [patches(window, VGGISH_OFFSET, HOP_S) for window in windows]
        counts = [len(own) for own in stacked]
        with torch.inference_mode():
            vectors = self._model(torch.from_numpy(np.concatenate(stacked))[:, None])
            scores = self._classifier(vectors).sigmoid()
        steps = [likeliest(own.mean(0).numpy(), self._names, int(options["top"])) for own in scores.split(counts)]
        means = [own.mean(0) for own in vectors.split(counts)]
        return Looked(steps, torch.stack(means).mean(0).numpy())


class _ChannelsLast(nn.Module):
    """TensorFlow's order before the full layers: (n, channels, time, band) to (n, time x band x channels)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


def build(state: Mapping[str, torch.Tensor]) -> tuple[nn.Module, nn.Linear]:
    """VGGish, (n, 1, 96, 64) to (n, 128), and the classifier, with these weights.

    Raises:
        KeyError: a tensor is missing. RuntimeError: shapes that do not fit each other.
    """
    net = nn.Module()
    layers: list[nn.Module] = []
    for i in CONVOLUTIONS:
        n_out, n_in = state[f"features.{i}.weight"].shape[:2]
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i in POOLED_AFTER else []
    net.features = nn.Sequential(*layers)
    full = [nn.Linear(*reversed(state[f"embeddings.{i}.weight"].shape)) for i in (0, 2, 4)]
    net.embeddings = nn.Sequential(*(module for layer in full for module in (layer, nn.ReLU())))
    net.classifier = nn.Linear(*reversed(state["classifier.weight"].shape))
    if full[0].in_features != (PATCH // 16) * (64 // 16) * state["features.13.weight"].shape[0]:
        raise RuntimeError("embeddings.0.weight does not fit the last convolution of VGGish's 96 x 64 patches")
    net.load_state_dict(dict(state))
    net.eval()
    return nn.Sequential(net.features, _ChannelsLast(), net.embeddings), net.classifier
