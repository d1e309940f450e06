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
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.distill import study as distill_study
from llmhar.distill import tables as student_tables
from llmhar.distill import training
from llmhar.distill.courses import Course, prepare_course
from llmhar.distill.study import Study
from llmhar.distill.teaching import Teaching
from llmhar.score import figures
from llmhar.score.evaluate import evaluate
from llmhar.text.prompt import FORMS

LIB = Path(llmhar.__file__).parent
CONTRIBUTING = Path(__file__).parents[1] / "CONTRIBUTING.md"
FIXTURES = Path(__file__).parent / "fixtures"
SHARED = {"paths.py", "records.py", "settings.py"}
HALVES = {"ask/stored.py"}
"""The other half of a module on the way, which names it."""
MOST = 20
HEADINGS = {
    "event": "The way of one event, from its file to a figure",
    "trace": "The way of one trace, from the teacher to a table",
}


def told(heading: str) -> list[str]:
    """Modules that CONTRIBUTING.md names below a heading."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    part = text.partition(f"## {heading}")[2].partition("\n## ")[0]
    return re.findall(r"^\d+\. `([\w/]+\.py)`", part, re.MULTILINE)


def walked(way: Callable[..., object], *given: object) -> set[str]:
    """Modules of the library whose functions ran, those that all chapters share aside."""
    ran: set[str] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(str(LIB)) and frame.f_code.co_name != "<module>":
            ran.add(str(Path(name).relative_to(LIB)))

    sys.setprofile(note)
    try:
        way(*given)
    finally:
        sys.setprofile(None)
    return ran - SHARED - HALVES


def nothing() -> tuple[()]:
    return ()


def event_to_figure() -> None:
    task = prepare("mural", FIXTURES / "mural", windowing=Windowing(least_events=0))
    results = evaluate(task, ["rules"], Asking(progress=False)).results
    assert figures.f1_by_session(results).axes


def leave_weights(module: str, folder: Path, **_: object) -> dict[str, object]:
    """What the training child leaves; it runs in a process of its own, `distill/train_child.py`."""
    (folder / "model.part").mkdir()
    (folder / "model.part" / "model.safetensors").write_bytes(b"weights")
    return {
        "losses": [(1, 2.0), (2, 1.0)], "seconds": 2.0, "trainable": 1, "total": 1, "resumed_at": 0, "tokens": 9,
        "device": "cpu", "dtype": "mixed",
    }  # fmt: skip


def a_course() -> tuple[Course]:
    """Windows and prompts: how they come about is the event's way."""
    training.run_child = leave_weights
    ModelSpec.tokenizer_sha256 = lambda model: model.name
    home, all_sessions = str(FIXTURES / "mural"), Windowing(least_events=0)
    return (prepare_course("mural", home, FORMS["brief"], FORMS["student"], all_sessions),)


def trace_to_table(course: Course) -> None:
    teaching = Teaching(method="full", max_steps=2)
    plan = Study(MODELS["rules"], ("qwen3-tiny",), teaching, Asking(progress=False), Store())
    taught = distill_study.train_students(plan, [distill_study.teach(course, plan)])
    assert len(student_tables.training_table([one.student for one in taught.students])) == 1


WAYS = {"event": (nothing, event_to_figure), "trace": (a_course, trace_to_table)}


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
    prepared, way = WAYS[sys.argv[1]]
    print(json.dumps(sorted(walked(way, *prepared()))))
