"""Do secrets reach a file that people share? Runs notebooks with canaries planted and reads every byte they left.

Canaries stand in the environment, in parameters whose names say "secret", in error messages and printed lines, and in
the names of the home, report, store and checkout folders. The notebook that fails is made here; the light one is the
project's own.
"""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import nbformat

from llmhar import paths

SECRETS = {
    "HF_TOKEN": "hf_canary0xQvLmA", "LLMHAR_OPENAI_API_KEY": "sk-canary1xTrWbN", "OPENAI_API_KEY": "sk-canary2xKpZcM",
    "SOME_API_KEY": "canary3xHgFdS", "MY_TOKEN": "canary4xYuIoP", "THE_SECRET": "canary5xQaZwS",
    "DB_PASSWORD": "canary6xEdCrF",
}  # fmt: skip
PARAMETER = "canary7xTgByH"
FOLDER = "canary8xUjMiK"
LIGHT = "01_serialization"
_FAILING = """import os
print(os.environ["MY_TOKEN"])
print(os.environ["THE_SECRET"], file=__import__("sys").stderr)
{name: text for name, text in os.environ.items() if "KEY" in name}
---
from IPython.display import HTML, display
display(HTML(f"<b>{os.environ['DB_PASSWORD']}</b>"), metadata={"note": os.environ["HF_TOKEN"]})
print(os.path.expanduser("~/.netrc"), os.getcwd())
---
token = os.environ["HF_TOKEN"]
from llmhar.text.prompt import load_home
try:
    load_home("nowhere")
except Exception as error:
    raise RuntimeError(f"refused: {token} {os.environ['LLMHAR_OPENAI_API_KEY']} {api_key} {note}") from error
"""


class Hit(NamedTuple):
    """A canary in a file."""

    file: str
    canary: str


def find_canaries(folder: Path, canaries: Mapping[str, str]) -> tuple[int, list[Hit]]:
    """How many files were read, and every canary found in one: as it is, in base64, or URL-quoted.

    Args:
        folder: searched to the bottom.
        canaries: name -> value.
    """
    forms = {
        name: {value.encode(), urllib.parse.quote(value, safe="").encode(),
               *(base64.b64encode(b"\0" * shift + value.encode())[4:-4] for shift in range(3))}
        for name, value in canaries.items()
    }  # fmt: skip
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    hits = []
    for file in files:
        content = file.read_bytes()
        hits += [
            Hit(str(file.relative_to(folder)), name) for name, own in forms.items() if any(f in content for f in own)
        ]
    return len(files), hits


def _failing_root(root: Path) -> None:
    """A checkout with one notebook that quotes its secrets in every way and fails."""
    (root / "notebooks").mkdir(parents=True)
    (root / "params" / "homes").mkdir(parents=True)
    first = "note: str = ''  # free words\napi_key: str = ''  # a secret by its name"
    cells = [nbformat.v4.new_code_cell(first, metadata={"tags": ["parameters"]})]
    cells += [nbformat.v4.new_code_cell(code.strip()) for code in _FAILING.split("---\n")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(notebook, root / "notebooks" / "00_fails.ipynb")


class Leaks(NamedTuple):
    """What a run left behind."""

    n_files: int
    hits: list[Hit]
    ran: bool
    """The light notebook ended well and the failing one failed as meant: else nothing was tried."""
    why: str


def measure(*, light: bool = True, redacting: bool = True) -> Leaks:
    """Run both notebooks with canaries in a process of their own and search what they wrote.

    Args:
        light: also the project's own light notebook (some 20 s).
        redacting: False plants the fault: reports are written without :func:`llmhar.run.report.redact`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        made, root = folder / "made" / FOLDER, folder / f"root-{FOLDER}"
        _failing_root(root)
        env = {**os.environ, **SECRETS, "LLMHAR_CACHE": str(paths.cache()), "LLMHAR_HOME": str(made / "home"),
               "LLMHAR_REPORTS": str(made / "reports"), "HOME": str(folder / f"home-{FOLDER}"), "MPLBACKEND": "agg",
               "IPYTHONDIR": str(folder / "ipython")}  # fmt: skip
        (folder / f"home-{FOLDER}").mkdir()
        options = {"note": SECRETS["MY_TOKEN"], "api_key": PARAMETER}
        bad = _run("00_fails", options, {**env, "LLMHAR_ROOT": str(root)}, redacting)
        good = _run(LIGHT, {}, env, redacting) if light else None
        # Only the inside is searched: the folder's own name holds the canary.
        n_files, hits = find_canaries(made, {**SECRETS, "a parameter": PARAMETER, "a folder": FOLDER})
    meant = bad.returncode == 1 and "RuntimeError" in bad.stdout and n_files >= 4
    ran = meant and (good is None or good.returncode == 0)
    said = f"{bad.stdout[-300:]} {bad.stderr[-300:]} {good.stderr[-300:] if good else ''}"
    return Leaks(n_files, hits, ran, "" if ran else " ".join(said.split()))


def _run(
    notebook: str, options: Mapping[str, str], env: Mapping[str, str], redacting: bool
) -> subprocess.CompletedProcess[str]:
    plant = "" if redacting else "report.redact = lambda value, params: value\n"
    # In one process: the command line's own start of a second one would undo the planted fault.
    code = (
        "import sys, pathlib\nfrom llmhar.run import jobs, report\n"
        f"{plant}[job] = jobs.plan_jobs('smoke', [{notebook!r}], {dict(options)!r}, pathlib.Path.cwd())\n"
        "found = report.run_job(job, False)\nreport.write_index(job.folder.parent)\n"
        "print(found['cause'])\nsys.exit(found['status'] != 'ok')\n"
    )
    return subprocess.run([sys.executable, "-c", code], env=dict(env), capture_output=True, text=True, check=False,
                          timeout=300)  # fmt: skip
