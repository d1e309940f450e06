"""A student as it stands and in its exported forms, on the same windows: ``make bench ONLY=students ARGS=NAME``.

How many answers and labels of each export are those of the original (float weights under transformers), how large it
is, how long a window takes. Greedy, one window at a time, the same number of threads; GGUF is answered for by OpenVINO
GenAI, which reads the file by its own code, in a process that has nothing of llmhar in it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.child import child_environment, free_cores, last_words
from llmhar.ask.engines.worker import render_prompt
from llmhar.ask.models import MODELS, Local, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task, narrow, prepare
from llmhar.ask.trained import find_student, read_record
from llmhar.data.events import Windowing
from llmhar.distill.export import export
from llmhar.distill.merging import merge
from llmhar.distill.students import open_by_name
from llmhar.records import Fingerprint, Generation, Request, Sampling
from llmhar.score import tables
from tests.bench.peers import ROOT, Unavailable, installed
from tests.bench.verdicts import Claim, at_least, exactly, exit_code, not_measured, table_text, write_report

REQUIREMENTS = ROOT / "requirements" / "openvino.txt"
N_WINDOWS, MAX_TOKENS = 20, 400
SAME_LABELS = 95.0
"""Percent of events: below it an export is not the student that was scored."""
TOKENS = "GGUF: windows that its own tokenizer cuts into the very tokens of training"


class Form(NamedTuple):
    """One form of a student."""

    name: str
    model: ModelSpec
    engine: Any
    """Key into ``ENGINES``, or an engine."""
    n_bytes: int


class Measured(NamedTuple):
    """What one form answered."""

    form: Form
    result: tables.Result
    seconds: float
    """A window, mean."""


class OpenVino:
    """An exported GGUF file behind OpenVINO GenAI; an engine for one pass."""

    def __init__(self, file: Path, model: ModelSpec, packages: Path, threads: int) -> None:
        self._file, self._model, self._packages, self._threads = file, model, packages, threads
        self._version = next(packages.glob("openvino_genai-*.dist-info")).name.split("-")[1].removesuffix(".dist")
        self.n_same_tokens = 0

    def fingerprint(self) -> Fingerprint:
        return Fingerprint("openvino-genai", self._version, self._file.stem.rpartition("-")[2], "cpu")

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        from transformers import AutoTokenizer

        asked, place = list(requests), self._model.locate()
        tokenizer = AutoTokenizer.from_pretrained(place)
        prompts = [render_prompt(tokenizer, request.messages, request.template_args)[0] for request in asked]
        limit = asked[0].sampling.max_tokens
        job = {"file": str(self._file), "max_tokens": limit, "threads": self._threads,
               "prompts": [tokenizer.decode(ids, skip_special_tokens=False) for ids in prompts]}  # fmt: skip
        environment = child_environment(hub=False, threads=self._threads)
        environment["PYTHONPATH"] = f"{self._packages}:{ROOT}"
        with tempfile.NamedTemporaryFile(suffix=".log") as log:
            command = [sys.executable, "-m", "tests.bench.students_openvino_child"]
            with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=log, text=True) as child:  # fmt: skip
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write(json.dumps(job))
                child.stdin.close()
                lines = map(json.loads, child.stdout)
                for request, ids, line in zip(asked, prompts, lines):
                    self.n_same_tokens += line["ids"] == ids
                    made, text = len(line["tokens"]), tokenizer.decode(line["tokens"], skip_special_tokens=True)
                    yield Generation(request.key, text, "length" if made >= limit else "stop",
                                     prompt_tokens=len(ids), output_tokens=made, seconds=line["seconds"])  # fmt: skip
            if child.returncode:
                raise EngineError(f"OpenVINO ended with {child.returncode}: {last_words(Path(log.name))}")

    def close(self) -> None:
        pass

    def __enter__(self) -> OpenVino:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


def the_task(name: str, dataset: str | None, n: int) -> Task:
    """The first windows of each test session, ``n`` in all, in the words that the student was taught with."""
    record = read_record(find_student(name))
    task = prepare(dataset or record["train_sessions"][0][0], windowing=Windowing(n=4))
    task = narrow(task, {(w.session_id, w.index) for w in task.windows[:n]}, f"the first {n} of its windows")
    return task.asked_of(MODELS[name])


def ask(form: Form, task: Task, threads: int, folder: Path) -> Measured:
    """One form's answers."""
    own = {"max_num_seqs": 1, "threads": threads}
    asking = Asking(sampling=Sampling(max_tokens=MAX_TOKENS), purpose="timed", engine_options=own)
    how = {"engine": form.engine} if isinstance(form.engine, str) else {"open_with": lambda: form.engine}
    asking = Asking(**{**vars(asking), **how})
    with Store(folder / f"{form.name}.sqlite") as store:
        asks = inference.make_asks(task, form.model, asking)
        inference.run_asks(asks, form.model, store, asking)
        result = tables.score_answers(task, form.model, inference.collect(asks, store))
    seconds = [generation.seconds for generation in result.generations]
    return Measured(form, result, sum(seconds) / len(seconds))


def forms_of(name: str, folder: Path, packages: Path | None, threads: int) -> list[Form]:
    """The student as it stands, and its exports; the original first."""
    student = open_by_name(name)
    original = merge(student)[0]
    size = sum(file.stat().st_size for file in Path(original.locate()).glob("*.safetensors"))
    forms = [Form("original", original, "transformers", size)]
    for shown, kind, gguf_type in (("safetensors", "safetensors", "f16"), ("onnx-int8", "onnx-int8", "f16"),
                                   ("gguf q8_0", "gguf", "q8_0"), ("gguf f16", "gguf", "f16")):  # fmt: skip
        done = export(name, folder / shown.replace(" ", "-"), kind, gguf_type=gguf_type)
        size = sum(file["bytes"] for file in done.files.values())
        local = original.model_copy(update={"name": shown, "source": Local(path=done.path), "engine": "auto"})
        if kind != "gguf":
            forms.append(Form(shown, local, "onnx" if kind == "onnx-int8" else "transformers", size))
        elif packages:
            file = done.path / next(iter(done.files))
            forms.append(Form(shown, original, OpenVino(file, original, packages, threads), size))
    return forms


def rows_of(measured: list[Measured]) -> str:
    """The table of forms in Markdown."""
    first = measured[0].result
    lines = ["| form | runtime | bytes | s a window | answers as the original's | labels as the original's | "
             "macro F1 [95 %] |", "|---|---|--:|--:|--:|--:|---|"]  # fmt: skip
    for form, result, seconds in measured:
        same = tables.agreement_table(first, result)
        text, label = same.loc["same text"], same.loc["same label"]
        lines.append(f"| {form.name} | {result.made_by} | {form.n_bytes:,} | {seconds:.2f} | {text['agree']:.0f} of "
                     f"{text['of']:.0f} | {label['agree']:.0f} of {label['of']:.0f} ({label['%']:.1f} %) | "
                     f"{result.macro_f1} |")  # fmt: skip
    return "\n".join(lines)


def claims_of(measured: list[Measured], n: int) -> list[Claim]:
    """Whether each export is the student that was scored."""
    first, found = measured[0].result, []
    for form, result, _ in measured[1:]:
        label = tables.agreement_table(first, result).loc["same label"]
        found.append(at_least(f"{form.name}: labels as the original's", SAME_LABELS, float(label["%"]), "%",
                              why=f"{label['agree']:.0f} of {label['of']:.0f} events"))  # fmt: skip
    read = [form.engine.n_same_tokens for form, *_ in measured if isinstance(form.engine, OpenVino)]
    if read:
        return [*found, exactly(TOKENS, n, min(read), "windows", why="OpenVINO's reading of the file")]
    return [*found, not_measured(TOKENS, f"= {n} windows", "OpenVINO GenAI could not be installed")]


def main() -> int:
    """Print the tables; ``--record`` writes reports/record/proof/students.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", help="the student's own name, or its folder's")
    parser.add_argument("--n", type=int, default=N_WINDOWS, help="windows")
    parser.add_argument("--dataset", help="default: what it was taught on")
    parser.add_argument("--record", action="store_true", help="write the report")
    given = parser.parse_args()
    threads, packages = free_cores(), None
    try:
        packages = installed(REQUIREMENTS, "openvino")
    except Unavailable as error:
        print(f"without GGUF: {error}", file=sys.stderr)
    task = the_task(given.name, given.dataset, given.n)
    with tempfile.TemporaryDirectory(prefix="llmhar-bench-") as scratch:
        forms = forms_of(given.name, Path(scratch), packages, threads)
        measured = [ask(form, task, threads, Path(scratch)) for form in forms]
    found = claims_of(measured, len(task.windows))
    notes = [f"{given.name}, {task.data}: {len(task.windows)} windows, greedy, at most {MAX_TOKENS} tokens, one at a "
             f"time, {threads} threads.", rows_of(measured)]  # fmt: skip
    print("\n\n".join([*notes, table_text(found)]))
    if given.record:
        print(write_report("students", "Proof: a student's exports", found, notes))
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main())
