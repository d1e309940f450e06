"""Writes params/recorded/fusion*.jsonl: the demo's clips and what the encoders said of them.

Run it when scenes or an encoder change: ``python -m tests.tools.record_fusion``. Needs the sounds, HAPT and YAMNet's
weights. Weights and versions go into ``fusion.md`` beside the files.
"""

from __future__ import annotations

from llmhar import paths
from llmhar.ask.inference import Answer
from llmhar.ask.store import Store
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.clips.scenes import INDEX, write_scene_index
from llmhar.fusion.encoders.encode import RECORDED, ask_all, write_recorded
from llmhar.fusion.encoders.registry import encoder, prepare

ENCODERS = ("yamnet", "imu-cnn-m-6")


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
