"""The two ways that CONTRIBUTING.md tells, walked with a real window: the modules that run are those it names."""

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import llmhar
from llmhar.ask.asking import Asking
from llmhar.ask.task import prepare
from llmhar.score import figures
from llmhar.score.evaluate import evaluate

LIB = Path(llmhar.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
FIXTURES = Path(__file__).parent / "fixtures"
SHARED = {"paths.py", "records.py", "settings.py"}
MOST = 20
HEADINGS = {"event": "The way of one event, from its file to a figure"}


def told(heading: str) -> list[str]:
    """Modules that CONTRIBUTING.md names below a heading."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    part = text.partition(f"## {heading}")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([\w/]+\.py)`", part, re.MULTILINE)


def walked(way: Callable[[], object]) -> set[str]:
    """Modules of the library whose functions ran, those that all chapters share aside."""
    ran: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(LIB)) and frame.f_code.co_name != "<module>":
            ran.add(str(Path(name).relative_to(LIB)))

    sys.setprofile(note)
    try:
        way()
    finally:
        sys.setprofile(None)
    return ran - SHARED


def event_to_figure() -> None:
    task = prepare("mural", FIXTURES / "mural")
    results = evaluate(task, ["rules"], Asking(progress=False)).results
    assert figures.f1_by_session(results).axes


WAYS = {"event": event_to_figure}


def modules_of(way: str, tmp_path: Path) -> set[str]:
    """What runs in a process of its own, where nothing is cached."""
    environment = {**os.environ, "LLMHAR_HOME": str(tmp_path / "home"), "PYTHONPATH": str(LIB.parent)}
    command = [sys.executable, "-m", "tests.test_ways", way]
    done = subprocess.run(command, cwd=CONTRIBUTING.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("way", "heading"), HEADINGS.items())
def test_a_way_is_as_contributing_tells_it(way, heading, tmp_path):
    listed = told(heading)
    assert len(listed) <= MOST and len(set(listed)) == len(listed)
    assert modules_of(way, tmp_path) == set(listed)


if __name__ == "__main__":
    for module in pkgutil.walk_packages(llmhar.__path__, "llmhar."):  # class bodies are no part of a way
        if not re.search(r"_child$|engines\.(vllm|transformers|onnx|weights)$|encoders\.|ray", module.name):
            importlib.import_module(module.name)
    print(json.dumps(sorted(walked(WAYS[sys.argv[1]]))))
