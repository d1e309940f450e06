"""Puts a student into the repository: its adapter in bfloat16, with a card for people and one for programs.

``python -m llmhar.distill.shipping [--arm truth] [--run run.json]`` ships the student of an arm of
:mod:`llmhar.distill.home_students`. Asks nobody; trains only where the arm's training has not come to its end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.models import ADAPTER_FILE, CARD_FACTS, HOME_MODEL, ModelError, Shipped, load_models
from llmhar.ask.trained import read_about, weights_file
from llmhar.distill.cards import CARD, HOME_CARD, CardWords, facts, shipped_card
from llmhar.distill.home_students import ARMS, home_student
from llmhar.distill.recorded import round_adapter
from llmhar.distill.students import Student

MOST_BYTES = 20_000_000
"""Largest adapter that the repository takes."""
_KNOWN = ("base", "base_id", "revision", "licence", "method", "recipe", "n_examples", "data", "windows", "learnt",
          "data_sha256", "trained_with", "trained_on")  # fmt: skip
"""What of a student's facts goes along: nothing of its home folder, no session."""


def ship(
    student: Student,
    name: str = HOME_MODEL,
    run: Mapping[str, Any] | None = None,
    scored: Sequence[str] = (),
    words: CardWords = HOME_CARD,
) -> Path:
    """Write a student's folder of the repository, in place of the one that is there.

    Args:
        student: LoRA, one round, from the weights that the entry's parent has.
        name: of an entry of models.yaml whose source is a shipped student.
        run: a run.json whose scores its cards show; None = the cards say that it was not scored.
        scored: names in the run's scores; none = the entry's own and the student's.
        words: of its card, and which of the run's numbers are its scores.

    Returns:
        The folder.

    Raises:
        ModelError: no such entry, a student that does not fit it, an adapter that is too large or not finite, or a run
            that scored none of these names; nothing was written.
    """
    models = load_models()
    source = models[name].source if name in models else None
    if not isinstance(source, Shipped):
        raise ModelError(f"{name!r} is no shipped student of models.yaml")
    parent = models[source.parent]
    if student.recipe.method != "lora" or student.round != 1 or student.parent.revision != parent.revision:
        raise ModelError(f"{student.name} cannot be shipped as {name}: it is no LoRA adapter over {parent.name}")
    about = read_about(student.folder)
    if about is None or about.prompt != models[name].prompt:
        raise ModelError(f"{student.name} cannot be shipped as {name}: it was not taught with the entry's prompt")
    names = scored or (name, student.name, f"{student.name}-merged")
    rows = [] if run is None else words.rows_of(run)
    scores = [row for row in rows if row["model"] in names]
    if run is not None and not scores:
        there = ", ".join(sorted({row["model"] for row in rows}))
        raise ModelError(f"the run scored none of {', '.join(names)}; it has: {there}")
    with paths.replacing_folder(source.folder) as made:
        _write_adapter(student, made)
        known = facts(student.folder)
        known = {key: known[key] for key in _KNOWN} | {
            "name": name,
            "prompt": models[name].model_dump(mode="json")["prompt"],
            "scores": scores,
            "trained_sha256": student.record["weights_sha256"],
            "files": {ADAPTER_FILE: {"bytes": (made / ADAPTER_FILE).stat().st_size,
                                     "sha256": paths.file_sha256(made / ADAPTER_FILE)}},
        }  # fmt: skip
        (made / CARD_FACTS).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
        (made / CARD).write_text(shipped_card(known, student.examples[0].messages, words), encoding="utf-8")
    return source.folder


def _write_adapter(student: Student, folder: Path) -> None:
    """Adapter and settings: numbers in bfloat16, settings that say something, no place on this machine."""
    trained = weights_file(student.folder, "lora")
    round_adapter(trained, folder / ADAPTER_FILE)
    if (size := (folder / ADAPTER_FILE).stat().st_size) > MOST_BYTES:
        raise ModelError(f"{trained}: {size:,} bytes in bfloat16, more than {MOST_BYTES:,}")
    settings = json.loads((trained.parent / "adapter_config.json").read_text(encoding="utf-8"))
    kept = {key: value for key, value in settings.items() if value}
    kept["base_model_name_or_path"] = student.record["model_id"]
    (folder / "adapter_config.json").write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Ship the student of an arm."""
    parser = argparse.ArgumentParser(prog="python -m llmhar.distill.shipping")
    parser.add_argument("--arm", default="truth", help="whose student; it is trained where it is not there")
    parser.add_argument("--run", type=Path, help="run.json with its scores")
    parser.add_argument("--scored", action="append", help="a name in the run's scores (repeatable); default: the arm's")
    given = parser.parse_args(arguments)
    run = json.loads(given.run.read_text(encoding="utf-8")) if given.run else None
    print(ship(home_student(given.arm), run=run, scored=given.scored or (HOME_MODEL, ARMS[given.arm].words)))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
