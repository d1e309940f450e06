"""A module imports only from lower tiers, or from its left in its own (design.md). And the library stays small."""

import ast
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from tests.bench import gates

LIB = Path(__file__).parents[1] / "lib" / "llmhar"
TIERS = [
    ["paths", "events", "records", "settings"],
    ["datasets", "windows", "serialize", "prompts", "parsing", "scoring", "stats", "ledger", "scaling", "tasks"],
    ["store"],
    ["models", "engines"],
    ["energy", "inference", "planner"],
    ["distill", "fusion", "injection"],
    [
        *["tables", "study", "curves", "figures", "curve_figures", "publish"],
        *["mentions", "trace_bundle", "reask", "trace_browser", "explorer", "export", "lesson"],
        *["student_tables", "student_sweeps", "excerpts", "student_figures", "course_numbers", "courses"],
        *["fusion_tables", "fusion_figures", "fusion_study", "fusion_motion", "fusion_views"],
    ],
    ["jobs", "report", "explore", "cli"],
]
RANK = {name: (tier, place) for tier, names in enumerate(TIERS) for place, name in enumerate(names)}
# Lines of code: blank lines, comments and docstrings are free, or nobody would write any.
MAX_LINES_TOTAL, MAX_LINES_MODULE = 19000, 300
# Child processes: what runs there may import torch and vllm; nothing else in the library may.
CHILD_ONLY = {
    "engines/worker.py", "engines/vllm_worker.py", "engines/transformers_worker.py", "engines/onnx_worker.py",
    "engines/weights.py", "distill/trainer.py", "distill/onpolicy.py", "distill/merge_child.py",
    "distill/quantise_child.py", "fusion/yamnet_worker.py", "fusion/vggish_worker.py", "fusion/clap_worker.py",
    "fusion/motion_worker.py", "fusion/motion_trainer.py", "fusion/contrastive_child.py",
}  # fmt: skip
HEAVY = {
    "torch",
    "vllm",
    "transformers",
    "peft",
    "trl",
    "unsloth",
    "xgrammar",
    "msclap",
    "onnxruntime",
    "onnxruntime_genai",
    "ai_edge_litert",
}

modules = sorted(LIB.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(LIB).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", modules, ids=lambda p: str(p.relative_to(LIB)))
def test_imports_go_downwards(path):
    own = room(path)
    if own == "__init__":
        return
    assert own in RANK, f"{own} has no tier: enter it in tests/test_tiers.py and in CONTRIBUTING.md"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "llmhar" and len(parts) > 1 and parts[1] in RANK and parts[1] != own:
            assert RANK[parts[1]] < RANK[own], f"{own} imports {parts[1]}, which stands above it or to its right"


@pytest.mark.parametrize("path", modules, ids=lambda p: str(p.relative_to(LIB)))
def test_heavy_packages_stay_in_child_processes(path):
    if str(path.relative_to(LIB)) not in CHILD_ONLY:
        assert not {name.split(".")[0] for name in imports(path)} & HEAVY


def code_lines(path: Path) -> int:
    source = path.read_text(encoding="utf-8")
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_library_stays_small():
    lines = {str(path.relative_to(LIB)): code_lines(path) for path in modules}
    assert sum(lines.values()) < MAX_LINES_TOTAL, sum(lines.values())
    assert {name: n for name, n in lines.items() if n > MAX_LINES_MODULE} == {}
    assert not [path for path in modules if path.stem in ("utils", "helpers", "misc")]


def test_importing_what_notebooks_use_loads_no_heavy_package():
    code = (
        "import sys; from llmhar import study, tables, figures, publish, explorer, report;"
        f"print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_unsafe_loading():
    assert gates.check_files() == []
    # The named exception is still needed, and still the only one.
    bare = {(name, one.gate) for name, one in gates.check_files(exceptions=frozenset())}
    assert bare == gates.EXCEPTIONS == {("lib/llmhar/fusion/hapt.py", "pickle")}


PLANTED = [
    ("pickle", "import pickle"), ("pickle", "import os, _pickle as p"), ("pickle", "from cloudpickle import load"),
    ("pickle", "import importlib\nimportlib.import_module('pickle')"), ("pickle", "__import__('marshal')"),
    ("pickle", "import numpy as np\nnp.load(f, allow_pickle=True)"),
    ("pickle", "import numpy\nnumpy.load(f, allow_pickle=x)"),
    ("pickle", "import pandas as pd\npd.read_pickle(f)"), ("joblib", "from joblib import load as read"),
    ("yaml", "import yaml\nyaml.load(t)"), ("yaml", "import yaml as y\ny.load( t, Loader=y.FullLoader)"),
    ("yaml", "from yaml import load\nload(t, Loader=L)"), ("yaml", "import yaml\nyaml.unsafe_load(t)"),
    ("yaml", "import yaml\nread = yaml.load\nread(t)"), ("yaml", "from yaml import UnsafeLoader"),
    ("torch.load", "import torch\ntorch.load(f)"), ("torch.load", "import torch as t\nt.load(f, weights_only=False)"),
    ("torch.load", "from torch import load as read\nread(f, weights_only=x)"),
    ("torch.load", "import torch\ngetattr(torch, 'load')(f)"), ("torch.load", "import torch\nr = torch.load\nr(f)"),
    ("torch.load", "import torch\ntorch.load(f, weights_only=1)"),
    ("trust_remote_code", "f(m, trust_remote_code=True)"), ("trust_remote_code", "f(m, trust_remote_code = trust)"),
    ("trust_remote_code", "f(m, **{'trust_remote_code': True})"), ("trust_remote_code", "run(['--trust-remote-code'])"),
    ("trust_remote_code", "config.trust_remote_code = True"),
    ("trust_remote_code", "setattr(c, 'trust_remote_code', x)"),
    ("eval", "eval(x)"), ("eval", "run = exec"), ("eval", "import builtins\nbuiltins.eval(x)"),
    ("eval", "df.eval('a+b')"), ("shell", "import subprocess\nsubprocess.run(c, shell=True)"),
    ("shell", "run(c, shell=flag)"), ("shell", "import os\nos.system(c)"), ("shell", "from os import popen"),
    ("verify", "requests.get(u, verify=False)"), ("verify", "client(verify=0)"),
    ("verify", "import ssl\nssl._create_unverified_context()"), ("verify", "context.check_hostname = False"),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "code"), PLANTED, ids=range(len(PLANTED)))
def test_each_gate_stops_its_planted_variants(gate, code):
    assert gate in {found.gate for found in gates.find_unsafe(code)}


@pytest.mark.parametrize(
    "code",
    [
        "import yaml\nyaml.safe_load(t)\nyaml.load(t, Loader=yaml.SafeLoader)",
        "import torch\ntorch.load(f, weights_only=True)\nmodel.eval()",
        '"""Here trust_remote_code is never set."""\nf(trust_remote_code=False)',
        "import json, re\njson.load(f)\nre.compile(x)\nrun(c, shell=False)\nget(u, verify='/ca.pem')",
    ],
    ids=["yaml", "torch", "docstring", "others"],
)
def test_gates_let_safe_code_pass(code):
    assert gates.find_unsafe(code) == []
