"""``llmhar run paper 05`` on a made-up manifest in Ego4D's manner, with tiny random weights for clapcap and VGGish."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from llmhar import paths
from llmhar.fusion.clips.manifest import EGO4D_LABELS
from llmhar.fusion.encoders import weights_files
from tests.fusion.encoders.test_clap import TINY, registry, tiny  # noqa: F401 (fixtures)
from tests.fusion.encoders.test_vggish import tensors
from tests.fusion.signals import chirp

ROOT = Path(__file__).parents[2]
SECONDS = 4.0
"""One step a clip: a caption by beam search takes seconds even of tiny weights."""
SMALL = """
import sys
if any("ipykernel" in word for word in sys.orig_argv):  # the notebook's process alone
    from llmhar.fusion.encoders import registry, weights_files
    registry.ENCODERS["clapcap"] = registry.clapcap_encoder({tiny})
    own = weights_files.WEIGHTS["clapcap"]
    files = tuple(weights_files.WeightFile(file.name, others=file.others) for file in own.files)
    weights_files.WEIGHTS["clapcap"] = weights_files.Weights(own.title, "", own.source, files)
"""
"""``sitecustomize`` of the run: clapcap in the tiny shape, its vocabulary of bytes not the published one."""


def made_up_ego4d(folder):
    """Two of Ego4D's activities by three people each: a recording with sound and Ego4D's own IMU file."""
    rng, rows = np.random.default_rng(0), []
    for person in range(3):
        for place, label in enumerate(EGO4D_LABELS[:2]):
            name = f"p{person}-{place}"
            sound = chirp(SECONDS, 16_000, seed=17 * person + place)
            soundfile.write(folder / f"{name}.wav", sound.samples, 16_000, subtype="PCM_16")
            t = np.arange(round(SECONDS * 50) + 1) / 50
            moved = {f"accl_{axis}": rng.normal(0, 1 + place, len(t)) for axis in "xyz"}
            turned = {f"gyro_{axis}": rng.normal(0, 0.3, len(t)) for axis in "xyz"}
            frame = pd.DataFrame({"canonical_timestamp_ms": t * 1000, **moved, **turned})
            frame.to_csv(folder / f"{name}.csv", index=False)
            rows.append(f"{name},{name}.wav,{name}.csv,0,{SECONDS:g},{label},p{person},{name},light")
    head = "clip_id,audio,imu,start,end,label,person,recording,context:heart rate zone"
    (folder / "manifest.csv").write_text("\n".join([head, *rows]) + "\n")
    return folder / "manifest.csv"


@pytest.mark.slow
def test_the_paper_profile_goes_through_on_a_manifest(registry, tiny, tmp_path):  # noqa: F811
    for part in ("hapt", "downloads"):  # HAPT's motion, which the motion encoder is trained on
        if (Path("~/.cache/llmhar") / part).expanduser().exists():
            paths.cache().mkdir(parents=True, exist_ok=True)
            (paths.cache() / part).symlink_to((Path("~/.cache/llmhar") / part).expanduser())
    weights_files.add_weights("clapcap", tiny[0] / "whole")
    from safetensors.numpy import save_file

    (tmp_path / "vggish").mkdir()
    save_file(tensors(16, 4), tmp_path / "vggish" / "vggish.safetensors")
    (tmp_path / "vggish" / "classes.json").write_text(json.dumps(["water", "speech", "music", "typing"]))
    weights_files.add_weights("vggish", tmp_path / "vggish")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SMALL.format(tiny=repr(TINY)))
    (tmp_path / "clips").mkdir()
    given = {"data_dir": made_up_ego4d(tmp_path / "clips"), "models": "rules", "strangers": "false"}
    options = [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    ways = [str(tmp_path / "site"), str(ROOT / "lib"), os.environ.get("PYTHONPATH", "")]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(ways), "LLMHAR_REPORTS": str(tmp_path / "reports")}
    done = subprocess.run([sys.executable, "-m", "llmhar.cli", "run", "paper", "05", *options], env=env,
                          capture_output=True, text=True, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    (file,) = (tmp_path / "reports").glob("paper/05_fusion*/run.json")
    run = json.loads(file.read_text())
    assert run["status"] == "ok" and run["key_numbers"]["n_combinations"] == 16
    assert run["datasets"] == ["Clips of manifest.csv (real)"]
    assert {"f1_all_rules", "f1_vote", "f1_all_bayes", "f1_all_contrastive"} <= set(run["key_numbers"])
