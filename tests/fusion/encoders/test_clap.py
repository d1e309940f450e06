"""MS CLAP's captioner end to end with tiny random weights: the path of the published ones, only numbers differ."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tokenizers import Tokenizer, models, pre_tokenizers

from llmhar.ask.store import Store
from llmhar.fusion.clips.clip import Clip, Signal
from llmhar.fusion.encoders import registry as encoders
from llmhar.fusion.encoders import weights_files
from llmhar.fusion.encoders.encode import EncoderError, encode
from llmhar.fusion.encoders.weights_files import WeightFile
from tests.fusion.signals import chirp, sound_clip

HTSAT = {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8]}
TINY = {"out_emb": 128, "d_proj": 64, "num_layers": 1, "prefix_length": 4, "prefix_length_clip": 4, "htsat": HTSAT}
"""Smaller than msclap/configs/config_clapcap.yml and its HTSAT."""
GPT2 = {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 8, "n_positions": 128, "vocab_size": 257}
MAKE = """
import json, os, shutil, sys
from pathlib import Path
import numpy as np
import torch
from llmhar.fusion.encoders import clap as worker
from msclap.models.clap import CLAP

folder, tiny = Path(sys.argv[1]), json.loads(sys.argv[2])
torch.manual_seed(0)
worker._shape_htsat(tiny["htsat"])
with worker._without_hub(folder / "whole"):
    clap = CLAP("HTSAT", 44100, 1024, 320, 64, 50, 8000, 527, tiny["out_emb"], "gpt2", 32, tiny["d_proj"])
    prefix = tiny["prefix_length"]
    model = worker.clap_mapper.ClapCaptionModel(
        clap, "gpt2", prefix, prefix, tiny["d_proj"], tiny["num_layers"], True, "transformer"
    )
state = model.state_dict()
told = {"parameters": sum(value.numel() for value in state.values())}

class Hostile:
    def __reduce__(self):
        return os.mkdir, (str(folder / "owned"),)

changed = {
    "whole": state,
    "hostile": state | {"clap.x": Hostile()},
    "partial": {name: value for name, value in state.items() if "clap_project" not in name},
}
for name, tensors in changed.items():
    if name != "whole":
        shutil.copytree(folder / "whole" / "gpt2", folder / name / "gpt2")
    torch.save({"model": tensors}, folder / name / "clapcap_weights_2023.pth")
    try:
        backend = worker.ClapBackend({"folder": ".", "weights": str(folder / name), "architecture": tiny})
        told[name] = ""
    except Exception as error:
        told[name] = f"{type(error).__name__}: {error}"
    if name == "whole":
        captioner = backend._model
for seconds in (2, 3.3, 7, 9):
    sound = np.arange(round(seconds * 44100), dtype=np.float32)
    heard = captioner.load_audio_into_tensor(sound, 7, resample=True).numpy()
    told[f"tiled {seconds}"] = bool(np.array_equal(heard, np.resize(sound, 7 * 44100)))
caption = "A dog barks<|endoftext|> a dog"
told["clean"] = [worker.clean_caption(text) for text in (caption, " A cat \\n meows ", "<|endoftext|>")]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder with a tiny clapcap (vocabulary: bytes) and two spoilt ones, and what the worker said of them.

    One process for all of it: importing msclap and transformers takes seconds.
    """
    folder = tmp_path_factory.mktemp("clapcap")
    (folder / "whole" / "gpt2").mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(letters)} | {"<|endoftext|>": 256}
    Tokenizer(models.BPE(vocabulary, [])).model.save(str(folder / "whole" / "gpt2"))
    (folder / "whole" / "gpt2" / "config.json").write_text(json.dumps(GPT2))
    done = subprocess.run([sys.executable, "-c", MAKE, str(folder), json.dumps(TINY)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Weights of which no hash is known: the published vocabulary's are pinned."""
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    own = weights_files.WEIGHTS["clapcap"]
    files = tuple(WeightFile(file.name, others=file.others) for file in own.files)
    monkeypatch.setitem(weights_files.WEIGHTS, "clapcap", weights_files.Weights(own.title, "", own.source, files))


@pytest.fixture
def clapcap(registry, tiny):
    added = weights_files.add_weights("clapcap", tiny[0] / "whole")
    assert set(added) == {f"gpt2/{name}" for name in ("config.json", "vocab.json", "merges.txt")} | {
        "clapcap_weights_2023.pth"
    }
    return encoders.clapcap_encoder(TINY)


def wav_clip(file: Path, clip_id: str) -> Clip:
    def read() -> Signal:
        samples, rate = soundfile.read(file, dtype="float32")
        return Signal(samples, rate)

    return Clip(clip_id, "truth", frozenset({clip_id}), clip_id, audio_s=soundfile.info(file).duration, read_audio=read)


def test_a_wav_becomes_captions(clapcap, tmp_path):
    for name, seed in (("one", 1), ("two", 2)):
        signal = chirp(3.5, 22_050, seed)
        soundfile.write(tmp_path / f"{name}.wav", signal.samples, 22_050, subtype="PCM_16")
    clips = [wav_clip(tmp_path / f"{name}.wav", name) for name in ("one", "two")]
    with Store(tmp_path / "a.sqlite") as store:
        said = encode(clips, clapcap, store, dataset="test", progress=False)
    assert [at for at, _ in said["one"].steps] == [2.0]
    ((_, (guess,)),) = said["one"].steps
    assert isinstance(guess.name, str) and guess.share == 1.0
    assert "endoftext" not in guess.name.lower() and guess.name == " ".join(guess.name.split())
    assert said["one"].made_by.engine == "clap" and said["one"].made_by.version == "1.3.4"
    vector = said["one"].embedding
    assert vector.shape == (64,) and abs(np.linalg.norm(vector) - 1) < 1e-3
    assert not np.allclose(vector, said["two"].embedding)
    with Store(tmp_path / "b.sqlite") as store:  # another process, another store, another order: not a bit differs
        again = encode(clips[::-1], clapcap, store, dataset="test", progress=False)
    assert again["one"].steps == said["one"].steps and np.array_equal(again["one"].embedding, vector)


def test_sound_is_tiled_to_seven_seconds_and_never_cropped_at_random(tiny):
    """Through msclap's own loading; longer sound is cut from its start."""
    assert {name: value for name, value in tiny[1].items() if name.startswith("tiled")} == {
        f"tiled {seconds}": True for seconds in (2, 3.3, 7, 9)
    }


def test_captions_end_where_the_end_mark_is(tiny):
    assert tiny[1]["clean"] == ["A dog barks", "A cat meows", ""]


def test_weights_that_run_code_are_refused(tiny):
    folder, told = tiny
    assert told["whole"] == "" and told["parameters"] < 3_000_000
    assert "weights" in told["hostile"].lower() and "UnpicklingError" in told["hostile"]
    assert not (folder / "owned").exists()


def test_weights_that_lack_tensors_are_refused(tiny):
    """msclap itself would caption with random numbers in their place."""
    assert re.match(
        r"ValueError: the weights lack \d+ tensors of clapcap, the first is clap_project", tiny[1]["partial"]
    )


def test_without_weights_it_says_which_file_to_bring(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path))
    found = encoders.encoder("clapcap")
    with pytest.raises(EncoderError, match=r"llmhar data add clapcap FILE_OR_FOLDER .*1\.71 GB.*microsoft/msclap"):
        found.revision()
    with pytest.raises(EncoderError, match=r"clapcap_weights_2023\.pth"):
        encoders.prepare("clapcap")
    with Store(tmp_path / "store.sqlite") as store, pytest.raises(EncoderError, match="llmhar data add clapcap"):
        encode([sound_clip(chirp(4.0, 16_000))], found, store, dataset="test", progress=False)
