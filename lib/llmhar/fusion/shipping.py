"""Puts a student of made-up clips into the repository, with its cards: the words that cards of fusion students have.

``python -m llmhar.fusion.shipping [--arm truth] [--run run.json]`` ships the student of an arm; what is checked and
written is :mod:`llmhar.distill.shipping`'s. Asks nobody; trains only where the arm's training has not come to its end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmhar.ask.models import FUSION_MODEL
from llmhar.distill.cards import CardWords, plain, table_lines
from llmhar.distill.shipping import ship
from llmhar.fusion.answerers.clip_students import ARMS, fusion_student
from llmhar.fusion.taught import KEYS


def rows_of(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Scores of the first student in a run.json of notebook 05: a row a part of the activities."""
    numbers, students = run["key_numbers"], run["params"].get("fusers") or []
    return [
        {"model": students[0], "data": "; ".join(run["datasets"]), "activities": part, "chance": numbers["chance"],
         "clips": numbers[f"student_{words}clips"], "engine": "; ".join(run["engines"]),
         **{f"{name}{bound}": numbers[f"student_{words}{name}{bound}"]
            for name in ("f1", "accuracy") for bound in ("", "_low", "_high")}}
        for part, words in KEYS.items() if students and f"student_{words}f1" in numbers
    ]  # fmt: skip


def score_lines(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of a run as a table in Markdown, with who else was asked in the same run."""
    rows = [
        f"| {plain(score['data'])} | {score['activities']} | {score['clips']} | {_spoken(score, 'f1')} | "
        f"{_spoken(score, 'accuracy')} | {score['chance']:.3f} |"
        for score in scores
    ]
    head = ("data", "names of activities", "clips", "macro F1 [95 %]", "accuracy [95 %]", "chance")
    return [*table_lines(head, rows), "", f"Answered by: {plain(scores[0]['engine'])}."]


def _spoken(score: Mapping[str, Any], name: str) -> str:
    low, high = score[f"{name}_low"], score[f"{name}_high"]
    return f"{score[name]:.3f} {'no interval' if low is None else f'[{low:.3f}, {high:.3f}]'}"


FUSION_CARD = CardWords(
    does="Says what a person is doing from what models of sound and motion said of a clip of some 20 seconds, step by "
    "step, as text: it is told the activities that may be, one a line, and answers why, in a few words, and which.",
    lesson="made-up clips of text alone (simulated): {n} lessons, each another clip, list of activities and choice of "
    "captions, sound labels, motion and context, sha256 `{sha256}`; no recording and no other model's text is in them, "
    "and a third of the activities of params/fusion_grammar.yaml is in none under any name",
    running=("llmhar models fetch {name}", "llmhar run demo 05 -p fusers={name}"),
    bound="Answers are bound to the activities of the list by a schema, and drawn greedily.",
    limits=(
        "On the composed clips above scripted rules, a plain vote and text embeddings are better: it is here so that "
        "the study of a taught language model can be repeated, not because it is the best fuser.",
        "It is 135M parameters large: scores on clips and activities of yours may be far from those above; score some "
        "that you labelled yourself.",
        "Names of sounds are those of YAMNet's class map, motions six or twelve classes, contexts a setting and a "
        "heart rate zone; sentences of a captioner and errors of encoders are made up. Other encoders speak otherwise.",
        "One activity a clip, in English, from two to twenty in a list.",
        "A reason is written before its activity and sounds sure whatever the activity is worth.",
        "It is for research: nothing of care or safety should hang on it.",
    ),
    rows_of=rows_of,
    score_lines=score_lines,
)


def main(arguments: Sequence[str]) -> None:
    """Ship the student of an arm."""
    parser = argparse.ArgumentParser(prog="python -m llmhar.fusion.shipping")
    parser.add_argument("--arm", default="truth", choices=ARMS, help="whose; it is trained where it is not there")
    parser.add_argument("--run", type=Path, help="run.json of notebook 05 whose first fuser it was")
    given = parser.parse_args(arguments)
    run = json.loads(given.run.read_text(encoding="utf-8")) if given.run else None
    print(ship(fusion_student(given.arm), FUSION_MODEL, run, (FUSION_MODEL, given.arm), FUSION_CARD))


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
