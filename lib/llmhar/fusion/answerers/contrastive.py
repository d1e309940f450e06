"""Parent side of contrastive fusion: hand embeddings to the child that trains, keep what it learnt. Imports no torch.

For each test fold the child learns two projections from the other folds' pairs of sound and motion (InfoNCE: what
belongs to one moment lies close together). It is never told an activity. The same embeddings and folds are projected
once, then read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from safetensors.numpy import load_file, save

from llmhar import paths
from llmhar.distill.training import run_child
from llmhar.fusion.encoders.observation import Observation
from llmhar.records import canonical_json, sha256_of

CHILD = "llmhar.fusion.answerers.contrastive_child"
VERSION = 1
"""Raised when the child changes what comes out of the same embeddings."""
SETTINGS = {"size": 32, "dropout": 0.3, "steps": 200, "rate": 2e-3, "temperature": 0.2, "decay": 1e-2}
"""Shared dimensions, input dropout, full-batch AdamW steps, learning rate, InfoNCE temperature, weight decay.

Linear heads with dropout, as some hundred pairs are few: on made-up clips a hidden layer without dropout knew its pairs
by heart (loss 0.01; 75 % of unseen clips right, this 94 %).
"""


def project(observations: Sequence[Observation], *, seed: int = 0) -> Mapping[int, Sequence[Observation]]:
    """Test fold -> all clips with embeddings {"sound", "motion"} in the shared space learnt without that fold.

    Clips that contradict themselves are no pairs. Where the training folds hold fewer than two pairs (one of the two
    signals is not among the modalities), nothing can be learnt: clips keep the embeddings they have.

    Raises:
        TrainingError: the child ended early.
    """
    sound, motion = _stack([_sound(one) for one in observations]), _stack([_motion(one) for one in observations])
    folds = sorted({one.fold for one in observations})
    if sound is None or motion is None:
        return {}
    inputs = {"sound": sound[0], "has_sound": sound[1], "motion": motion[0], "has_motion": motion[1]} | {
        "fold": np.array([folds.index(one.fold) for one in observations], dtype=np.int32),
        "paired": np.array([not one.conflict for one in observations], dtype=np.uint8) & sound[1] & motion[1],
    }
    if any(inputs["paired"][inputs["fold"] != fold].sum() < 2 for fold in range(len(folds))):
        return {}
    made = _learn(inputs, seed)
    return {
        fold: [
            replace(one, embeddings=_vectors(made["sound"][k, i], made["motion"][k, i], sound[1][i], motion[1][i]))
            for i, one in enumerate(observations)
        ]
        for k, fold in enumerate(folds)
    }


def _learn(inputs: Mapping[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """{"sound", "motion"}: (n_folds, n_clips, size) each, from the child or from its earlier run."""
    data = save(dict(inputs))
    job = {"version": VERSION, "seed": seed, "settings": SETTINGS, "data": hashlib.sha256(data).hexdigest()}
    folder = paths.home() / "fusion" / f"contrastive-{sha256_of(job)[:12]}"
    with paths.locked(folder / ".lock"):
        if not (folder / "projected.safetensors").is_file():
            with paths.replacing(folder / "pairs.safetensors") as file:
                file.write_bytes(data)
            paths.write_text(folder / "job.json", canonical_json(job))
            # one thread: then a training repeats to the last bit
            run_child(CHILD, folder, title="contrastive", progress=False, threads=1)
        return dict(load_file(folder / "projected.safetensors"))


def _sound(observation: Observation) -> np.ndarray | None:
    own = [observation.embeddings[name] for name in ("captions", "labels") if name in observation.embeddings]
    return np.concatenate(own) if own else None


def _motion(observation: Observation) -> np.ndarray | None:
    return observation.embeddings.get("motion")


def _stack(vectors: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray] | None:
    """(n, d) float32 with zeros where a clip has none, and (n,) 1 where it has one; None where nobody has.

    A clip with half of a sound embedding (captions without labels) has none that could be compared.
    """
    length = max((len(vector) for vector in vectors if vector is not None), default=0)
    if not length:
        return None
    has = np.array([vector is not None and len(vector) == length for vector in vectors], dtype=np.uint8)
    table = np.zeros((len(vectors), length), dtype=np.float32)
    for i, vector in enumerate(vectors):
        if has[i] and vector is not None:
            table[i] = vector
    return table, has


def _vectors(sound: np.ndarray, motion: np.ndarray, has_sound: int, has_motion: int) -> dict[str, np.ndarray]:
    return ({"sound": sound} if has_sound else {}) | ({"motion": motion} if has_motion else {})
