"""Writes params/recorded/fusion*.jsonl: the demo's clips and what the encoders said of them.

Run it when scenes or an encoder change: ``python -m tests.tools.record_fusion``. Needs the sounds, HAPT and YAMNet's
weights. Weights and versions go into ``fusion.md`` beside the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llmhar import paths
from llmhar.ask.inference import Answer
from llmhar.ask.store import Store
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.clips.scenes import INDEX
from llmhar.fusion.encoders.encode import ask_all
from llmhar.fusion.encoders.observe import RECORDED
from llmhar.fusion.encoders.registry import encoder, prepare
from llmhar.records import canonical_json

ENCODERS = ("yamnet", "imu-cnn-m-6")


def write_scene_index(scenes: ClipSet, file: Path) -> None:
    """Write what encoders and scores need of the clips, without their signals: JSON lines, in the set's order."""
    lines = []
    for clip in scenes.clips:
        content = {
            "clip_id": clip.clip_id, "label": clip.label, "sources": sorted(clip.sources), "cluster": clip.cluster,
            "fold": clip.fold, "conflict": clip.conflict, "audio_s": clip.audio_s, "motion_s": clip.motion_s,
            "audio_sha256": clip.read_audio().sha256 if clip.read_audio else clip.audio_sha256,
            "motion_sha256": clip.read_motion().sha256 if clip.read_motion else clip.motion_sha256,
            "context": dict(clip.context),
        }  # fmt: skip
        lines.append(canonical_json(content) + "\n")
    paths.write_text(file, "".join(lines))


def write_recorded(answers: Iterable[Answer], file: Path) -> int:
    """Write outputs for :func:`encode`'s ``recorded``: found by a request's message, whatever weights made them.

    Returns:
        Number of lines.
    """
    lines = {
        answer.ask.request.messages[0]["content"]: answer.stored.generation.text for answer in answers if answer.stored
    }
    text = "".join(canonical_json({"match": content, "text": lines[content]}) + "\n" for content in sorted(lines))
    paths.write_text(file, text)
    return len(lines)


def main() -> None:
    """Encode the scenes and write the three files."""
    scenes = load_clipset("scenes")
    write_scene_index(scenes, INDEX)
    answers: list[Answer] = []
    rows = []
    with Store() as store:
        for name in ENCODERS:
            revision = prepare(name)
            own = ask_all(scenes.clips, encoder(name), store, dataset="scenes")
            made = next(answer.stored.fingerprint for answer in own if answer.stored)
            rows.append(f"| {name} | {made.engine} {made.version} | `{revision}` | {len(own)} |")
            answers += own
    n = write_recorded(answers, RECORDED)
    head = "| encoder | made by | sha256 of its weights | clips |\n|---|---|---|---|\n"
    text = f"""# Recorded outputs of fusion's encoders

`fusion_scenes.jsonl` lists the composed scenes (seed 0) with hashes of their sound and motion; `fusion.jsonl` holds
what the encoders said of them, {n} outputs. They stand in where sounds, HAPT or weights cannot be had; figures then say
"recorded". Written by `python -m tests.tools.record_fusion`, compared with live outputs by tests/fusion/test_study.py.

{head}{chr(10).join(rows)}

{scenes.provenance}
"""
    paths.write_text(RECORDED.with_name("fusion.md"), text)
    print(f"{n} outputs in {RECORDED}")


if __name__ == "__main__":
    main()
