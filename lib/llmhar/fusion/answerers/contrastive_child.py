"""Child side of contrastive fusion: ``python -P -m llmhar.fusion.answerers.contrastive_child FOLDER PARENT_PID``.

Reads ``pairs.safetensors`` and ``job.json`` as :mod:`llmhar.fusion.answerers.contrastive` writes them, leaves
``projected.safetensors``: for each test fold, every clip's sound and motion in the space that was learnt from the pairs
of the other folds. No activity is read here.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.engines.worker import Say, do_job


def train(folder: Path, say: Say) -> dict[str, Any]:
    """Learn a space for each test fold; returns the last loss of each."""
    import torch
    from safetensors.torch import load_file, save_file

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    torch.use_deterministic_algorithms(True)
    data = load_file(folder / "pairs.safetensors")
    folds = range(int(data["fold"].max()) + 1)
    made: dict[str, list[Any]] = {"sound": [], "motion": []}
    losses = []
    for fold in folds:
        used = (data["paired"] > 0) & (data["fold"] != fold)
        sides = {name: _standardised(data[name], used) for name in made}
        torch.manual_seed(job["seed"])
        nets = {name: _network(table.shape[1], job["settings"]) for name, table in sides.items()}
        losses.append(_fit(nets, {name: table[used] for name, table in sides.items()}, job["settings"]))
        with torch.no_grad():
            for name, table in sides.items():
                made[name].append(torch.nn.functional.normalize(nets[name].eval()(table), dim=1))
        say({"step": fold + 1, "of": len(folds), "loss": losses[-1]})
    with paths.replacing(folder / "projected.safetensors") as file:
        save_file({name: torch.stack(own) for name, own in made.items()}, file)
    return {"losses": losses}


def _standardised(table: Any, used: Any) -> Any:
    """Mean 0 and spread 1 over the training pairs; another clip changes nothing."""
    own = table[used]
    return (table - own.mean(dim=0)) / (own.std(dim=0, unbiased=False) + 1e-6)


def _network(length: int, settings: dict[str, Any]) -> Any:
    from torch import nn

    return nn.Sequential(nn.Dropout(settings["dropout"]), nn.Linear(length, settings["size"]))


def _fit(nets: dict[str, Any], pairs: dict[str, Any], settings: dict[str, Any]) -> float:
    """InfoNCE both ways (van den Oord et al., 1807.03748): of all motions, which belongs to this sound?"""
    import torch
    from torch.nn.functional import cross_entropy, normalize

    weights = [weight for net in nets.values() for weight in net.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=settings["rate"], weight_decay=settings["decay"])
    partner = torch.arange(len(pairs["sound"]))
    for _ in range(settings["steps"]):
        sound, motion = (normalize(nets[name](pairs[name]), dim=1) for name in ("sound", "motion"))
        likeness = sound @ motion.T / settings["temperature"]
        loss = (cross_entropy(likeness, partner) + cross_entropy(likeness.T, partner)) / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


if __name__ == "__main__":
    do_job(train, sys.argv[1], int(sys.argv[2]))
