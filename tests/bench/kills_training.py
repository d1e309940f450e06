"""A work that faults_kill.py kills: training a student of the tiny Qwen3, with real checkpoints. Claims nothing."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from llmhar.ask import trained
from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import narrow, prepare, training_task
from llmhar.data import simulated
from llmhar.data.events import Windowing
from llmhar.distill import training
from llmhar.distill.examples import Example, make_examples
from llmhar.distill.recipe import Recipe
from llmhar.distill.traces import collect_traces
from llmhar.text.prompt import PromptForm
from tests.bench.kills import Tally, digest, note
from tests.bench.kills_reports import is_json, moved, record_of

RECIPE = Recipe(student="qwen3-tiny", rank=8, alpha=64, max_steps=6, batch_size=2, accumulate=2, learning_rate=2e-2,
                warmup_steps=1, dtype="float32", sort_by_length=False, save_every=2)  # fmt: skip


class Training:
    """Training: checkpoints, then a student whose record is written last."""

    def __init__(self, scratch: Path, train: Callable[[Path], Any] | None = None) -> None:
        self.scratch, self.train = scratch, train or self.by_trl
        self.known: dict[str, str] = {}
        """File -> content that it must have from its first moment on."""
        if train is None:
            _ = self.examples  # here, so that forks need not make them

    def by_trl(self, folder: Path) -> Any:
        """The project's own training; its child's work is done in this very process, which has torch imported."""
        with moved(folder), patch.object(training, "run_child", functools.partial(_train_here, folder)):
            return training.train_student(RECIPE, self.examples, threads=1, progress=False)

    @functools.cached_property
    def examples(self) -> list[Example]:
        test = prepare(
            "simulated",
            simulated.write(self.scratch / "data"),
            windowing=Windowing(n=1, size=1),
            form=PromptForm(answer="name", wording="short", serializer="sentences", rules=False),
        )
        own = training_task(test, window_size=1, n_sessions=1)
        some = narrow(own, {(w.session_id, w.index) for w in own.windows[:11]}, "11 windows")
        with Store(self.scratch / "teacher.sqlite") as store:
            taught = collect_traces(some, MODELS["rules"], store, asking=Asking(progress=False))
        return make_examples(taught.traces, dict(some.prompts), test_sessions=[])

    def begin(self, folder: Path) -> None:
        """Nothing is there."""

    def run(self, folder: Path) -> None:
        self.train(folder)

    def look(self, folder: Path, tally: Tally) -> None:
        for student in (folder / "home" / "students").glob("*"):
            for name, content in self.known.items():
                if (student / name).exists() and digest(student / name) != content:
                    tally.half.append(name)
            record = student / trained.RECORD
            if record.exists() and not (
                is_json(record) and digest(_weights(student)) == record_of(record)["weights_sha256"]
            ):
                tally.half.append(f"{record.name} or the weights that it names")

    def result(self, folder: Path, tally: Tally) -> bytes:
        self.look(folder, tally)
        made = list((folder / "home" / "students").glob("*"))
        tally.lost, tally.doubles = tally.lost + (not made), tally.doubles + max(0, len(made) - 1)
        if not made or not (made[0] / trained.RECORD).exists():
            return b"no student"
        if not self.known:
            self.known = {name: digest(made[0] / name) for name in ("job.json", "examples.jsonl")}
        record = record_of(made[0] / trained.RECORD)
        return json.dumps([record["weights_sha256"], record["losses"], digest(made[0] / "batches.jsonl")]).encode()


def _weights(student: Path) -> Path:
    return trained.weights_file(student, "lora")


def import_all() -> None:
    """What training imports, so that forks of this process need not; one thread, as forks of several may hang."""
    import peft  # noqa: F401
    import torch
    from datasets import Dataset  # noqa: F401

    from llmhar.distill import train_child  # noqa: F401

    torch.set_num_threads(1)


def _train_here(place: Path, module: str, folder: Path, **_: Any) -> dict[str, Any]:
    from llmhar.distill import train_child

    def say(message: dict[str, Any]) -> None:
        if "step" in message:
            note(place, message["step"])

    return json.loads(json.dumps(train_child.train(folder, say)))  # as it would come through the pipe
