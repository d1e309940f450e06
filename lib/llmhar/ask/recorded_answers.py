"""Answers that a study recorded beside its numbers: whoever has the repository scores them anew, without asking.

``llmhar record`` writes :data:`FILE` beside a run.json: what models on this machine answered to the requests that the
run looked up, by the requests' keys; no prompt and no row of a sensor is in it. ``llmhar run --recorded`` takes from
there what the store lacks before it starts an engine: prompts, weights and settings have to be those of then, else the
keys are others, and what they stand for is asked. Answers keep the fingerprint of the engine that gave them.
"""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Collection, Iterable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from llmhar.ask.store import Store, StoreError
from llmhar.records import Fingerprint, Generation, canonical_json

FILE = "answers.jsonl.xz"
"""A JSON line an answer: the fields of a Generation, and "by", its Fingerprint. Sorted by key."""
VARIABLE = "LLMHAR_RECORDED"
"""Environment variable: below which folder recorded answers are taken from; not set or empty = none are."""
OWN = ("vllm", "transformers", "onnx", "ray")
"""Engines whose answers are written: rules answer at once, a provider's text is not ours to pass on."""


class Recorded(NamedTuple):
    """An answer, and who gave it."""

    generation: Generation
    by: Fingerprint


def write(store: Store, keys: Iterable[str], file: Path) -> int:
    """Write the store's answers of :data:`OWN` engines to requests, asked in batches; no file where there is none.

    Args:
        store: to look in.
        keys: of requests.
        file: to write.

    Returns:
        How many there are.
    """
    found = store.find(sorted(set(keys)))
    kept = {key: answer for key, answer in sorted(found.items()) if answer.fingerprint.engine in OWN}
    if kept:
        lines = [canonical_json(asdict(a.generation) | {"by": a.fingerprint.to_json()}) + "\n" for a in kept.values()]
        file.write_bytes(lzma.compress("".join(lines).encode("utf-8", "surrogatepass")))
    return len(kept)


def take(store: Store, keys: Collection[str]) -> set[str]:
    """Put recorded answers to these requests, which the store knows and has no answer to, into the store; the variable
    is set.

    Returns:
        The keys that have been answered so.

    Raises:
        StoreError: a file of answers is damaged, or the store cannot be written.
    """
    recorded = _read(os.environ[VARIABLE])
    taken = {key for key in keys if key in recorded}
    for key in sorted(taken):
        store.add(*recorded[key])
    return taken


@lru_cache(maxsize=1)
def _read(folder: str) -> dict[str, Recorded]:
    """All answers of the files below a folder, by key."""
    found = dict[str, Recorded]()
    for file in sorted(Path(folder).rglob(FILE)):
        try:
            for line in lzma.decompress(file.read_bytes()).decode("utf-8", "surrogatepass").split("\n")[:-1]:
                row = json.loads(line)
                by = Fingerprint(**row.pop("by"))
                found[row["request_key"]] = Recorded(Generation(**row), by)
        except (lzma.LZMAError, EOFError, ValueError, TypeError, LookupError) as error:
            raise StoreError(
                f"{file} is damaged ({type(error).__name__}): git checkout {file.name} there, or run without --recorded"
            ) from error
    return found
