"""Child side of the motion encoders' training: ``python -P -m llmhar.fusion.encoders.motion_train_child FOLDER PID``.

Reads ``job.json`` and ``data.safetensors`` (X (n, 200, 6), y, fold) as :mod:`.motion_models` writes them.
Without folds it trains on everything and leaves ``model.safetensors``; with folds it leaves ``predicted.safetensors``,
each window predicted by a net that saw no window of its fold. The net itself (:func:`build`) is the encoder's too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import cross_entropy

from llmhar import paths
from llmhar.ask.engines.worker import Say, do_job

CHANNELS = 6
LABEL_SMOOTHING, DROPOUT, WEIGHT_DECAY = 0.05, 0.3, 0.01


class MotionNet(nn.Module):
    """Three strided convolutions, pooled over time by mean and maximum, one hidden layer (the embedding), classes."""

    def __init__(self, widths: list[int], embedding: int, n_classes: int) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.spread: torch.Tensor
        self.register_buffer("mean", torch.zeros(CHANNELS, 1))
        self.register_buffer("spread", torch.ones(CHANNELS, 1))
        layers: list[nn.Module] = []
        for n_in, n_out, kernel in zip([CHANNELS, *widths], widths, (9, 7, 5)):
            convolution = nn.Conv1d(n_in, n_out, kernel, stride=2, padding=kernel // 2, bias=False)
            layers += [convolution, nn.BatchNorm1d(n_out), nn.ReLU()]
        self.convolutions = nn.Sequential(*layers)
        self.hidden = nn.Sequential(nn.Linear(2 * widths[-1], embedding), nn.ReLU())
        self.dropout = nn.Dropout(DROPOUT)
        self.classes = nn.Linear(embedding, n_classes)

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, time, 6) as measured to (n, embedding)."""
        seen = self.convolutions((windows.transpose(1, 2) - self.mean) / self.spread)
        return self.hidden(torch.cat([seen.mean(-1), seen.amax(-1)], dim=1))

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """(n, time, 6) to logits (n, classes)."""
        return self.classes(self.dropout(self.embed(windows)))


def build(recipe: Mapping[str, Any], n_classes: int) -> MotionNet:
    """The untrained net of a recipe."""
    return MotionNet(list(recipe["widths"]), recipe["embedding"], n_classes)


def fit(
    recipe: Mapping[str, Any], n_classes: int, X: torch.Tensor, y: torch.Tensor, say: Callable[[int, float], None]
) -> MotionNet:
    """Train on all windows given: AdamW under a one-cycle rate. ``say(step, loss)`` after every step."""
    torch.manual_seed(recipe["seed"])
    net = build(recipe, n_classes)
    net.mean.copy_(X.mean((0, 1))[:, None])
    net.spread.copy_(X.std((0, 1))[:, None].clamp_min(1e-6))
    batch, steps = recipe["batch_size"], n_steps(recipe, len(X))
    optimizer = torch.optim.AdamW(net.parameters(), lr=recipe["learning_rate"], weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe["learning_rate"], total_steps=steps)
    step = 0
    for _ in range(recipe["epochs"]):
        for chosen in torch.randperm(len(X)).split(batch):
            if len(chosen) < 2:  # batch norm needs two
                continue
            loss = cross_entropy(net(X[chosen]), y[chosen], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            say(step, float(loss.detach()))
    return net.eval()


def n_steps(recipe: Mapping[str, Any], n: int) -> int:
    """Steps of a training on ``n`` windows."""
    return int(recipe["epochs"] * -(-n // recipe["batch_size"]))


def train(folder: Path, say: Say) -> dict[str, Any]:
    """Do a job; returns the last loss of each training."""
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    recipe, n_classes = job["recipe"], len(job["names"])
    torch.use_deterministic_algorithms(True)
    data = load_file(folder / "data.safetensors")
    X, y, fold = data["X"], data["y"], data["fold"]
    folds = sorted(set(fold.tolist()))
    parts = [fold == fold] if folds == [-1] else [fold != own for own in folds]
    of, done, losses = sum(n_steps(recipe, int(part.sum())) for part in parts), 0, []
    predicted = torch.full_like(y, -1)
    for number, part in enumerate(parts):
        told: list[float] = []

        def tell(step: int, loss: float, before: int = done, told: list[float] = told) -> None:
            told.append(loss)
            if step % 20 == 0:
                say({"step": before + step, "of": of, "loss": loss})

        net = fit(recipe, n_classes, X[part], y[part], tell)
        done += n_steps(recipe, int(part.sum()))
        losses.append(sum(told[-20:]) / max(1, len(told[-20:])))
        if folds != [-1]:
            with torch.inference_mode():
                predicted[fold == folds[number]] = net(X[fold == folds[number]]).argmax(1)
    with paths.replacing(folder / job["leaves"]) as file:
        if folds == [-1]:
            save_file({name: value.contiguous() for name, value in net.state_dict().items()}, file)
        else:
            save_file({"predicted": predicted}, file)
    return {"losses": losses, "parameters": sum(p.numel() for p in net.parameters()), "torch": torch.__version__}


if __name__ == "__main__":
    do_job(train, sys.argv[1], int(sys.argv[2]))
