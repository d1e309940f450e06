"""Labels of every event of a data set by one model, as a table: what ``llmhar label`` writes. Scores nothing.

Asks through the store, so a run that was killed resumes by running again; reads no truth.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from llmhar import paths
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.inference import (
    Answer,
    AskedRun,
    collect,
    make_asks,
    no_confidence,
    refuse_all_failed,
    run_asks,
    sampling_of,
    serving_engine,
)
from llmhar.ask.models import ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.data.load_report import WrongCall
from llmhar.score.cells import fit, harmless
from llmhar.score.confidence import elect
from llmhar.score.tables import read_answer
from llmhar.settings import choose
from llmhar.text.confidence import label_confidences
from llmhar.text.parsing import Reading
from llmhar.text.prompt import PromptForm

COLUMNS = ("session", "id", "time", "room", "sensor", "state", "activity", "verdict", "confidence", "model")
"""Of the table, a row an event. The first six are those of ``llmhar data events``; activity is blank where the model
gave none that is offered; verdict is one of ``VERDICTS``, "failed" where every request failed, or "unsure" where the
label was left blank; confidence is the share of samples that agree, of one sample the probability of the label's tokens
where it was asked for, and blank where neither is known."""
PLAIN_TOKENS, THINKING_TOKENS = 400, 8192
"""Most tokens of an answer where nobody says: of a local model that does not think, as in notebook 02; of others."""
SEVERAL = "draw several samples, whose agreement is a confidence (--samples 5 --temperature 0.7)"
_BATCH = 50_000
"""Rows that Parquet is written by."""

Row = dict[str, Any]


def form_for(model: ModelSpec) -> PromptForm:
    """How a model is asked where nobody says: a student as it was taught, others as notebook 02 asks, so that label and
    notebook share their answers.
    """
    return model.prompt or PromptForm("s1-blank", answer="name")


def tokens_for(model: ModelSpec, engine: str, thinking: bool | None) -> int:
    """Most tokens of an answer where nobody says: many for models that may think, few for small ones that ramble.

    Args:
        model: who is asked.
        engine: that was asked for; a model's own goes before it. Nobody here can know whether a served model thinks.
        thinking: the switch, None = the template's default.
    """
    thinks = model.thinking and thinking is not False
    return THINKING_TOKENS if thinks or serving_engine(model, engine) == "openai" else PLAIN_TOKENS


class Labelled(NamedTuple):
    """What the store has for every window of a task."""

    task: Task
    model: ModelSpec
    run: AskedRun
    answers: Sequence[Sequence[Answer]]
    """Of each of ``task.windows`` in order, all samples."""
    min_confidence: float = 0.0
    """Labels with less are left blank, and where some is wanted those of unknown confidence too."""

    def rows(self) -> Iterator[Row]:
        """The table, a row an event, in order of session and time; :data:`COLUMNS` are its keys."""
        for window, samples in zip(self.task.windows, self.answers):
            labels = self.task.sessions[window.session_id].labels
            n, answered = len(window.events), [answer for answer in samples if answer.stored]
            readings = [read_answer(answer, n, labels) for answer in answered]
            sure = _sure_of(answered[0], readings[0], labels) if len(samples) == len(answered) == 1 else (None,) * n
            for i, event in enumerate(window.events):
                chosen, votes = elect([reading.predictions[i] for reading in readings])
                label = None if chosen is None or chosen.label is None else fit(labels[chosen.label])
                confidence = votes / len(samples) if len(samples) > 1 else sure[i]
                is_unsure = label is not None and (confidence or 0.0) < self.min_confidence
                yield {
                    "session": fit(window.session_id),
                    "id": event.event_id,
                    "time": event.time.isoformat(timespec="milliseconds"),
                    "room": fit(event.room),
                    "sensor": fit(event.sensor),
                    "state": fit(event.state),
                    "activity": None if is_unsure else label,
                    "verdict": "unsure" if is_unsure else chosen.verdict if chosen else "failed",
                    "confidence": None if label is None else confidence,
                    "model": self.model.name,
                }


def _sure_of(answer: Answer, reading: Reading, labels: Mapping[int, str]) -> Sequence[float | None]:
    """Probability of each event's label, of one answer."""
    assert answer.stored is not None
    made = answer.stored.generation
    return label_confidences(made.text, made.logprobs, reading, labels)


def no_threshold(model: ModelSpec, asking: Asking) -> str:
    """Why labels cannot be left blank by their confidence, with the cure; empty where they can.

    Args:
        model: who is asked.
        asking: its engine, samples and temperature count: several samples agree or not, one has its probabilities.
    """
    problem = no_confidence(model, asking.engine)
    if model.kind != "llm":
        return f"{problem}: leave --min-confidence away, or take a language model (llmhar models list)"
    if asking.n_samples == 1:
        return problem and f"{problem}: take engine vllm, transformers or onnx, or {SEVERAL}"
    if not sampling_of(model, asking).temperature:
        return f"{model.name}: with temperature 0 all samples agree: give --temperature, or one sample"
    return ""


def label_events(task: Task, model: ModelSpec, asking: Asking, store: Store) -> Labelled:
    """Ask a model about every window that the store has no answer to yet.

    Args:
        task: from :func:`llmhar.ask.task.whole`.
        model: who is asked.
        asking: how; with several samples the majority decides.
        store: where answers are looked up and kept.

    Raises:
        EngineError: the engine cannot start, or every request failed.
        StoreError: the store cannot be read or written.
    """
    asks = make_asks(task, model, asking)
    run = run_asks(asks, model, store, asking)
    answers = collect(asks, store)
    refuse_all_failed(model.name, answers)
    n = asking.n_samples
    return Labelled(task, model, run, [answers[i : i + n] for i in range(0, len(answers), n)])


def confident(made: Labelled, least: float | None) -> Labelled:
    """The same labels without those of less confidence.

    Args:
        made: labels, with several samples or asked with ``confidence``.
        least: 0 … 1; None leaves all of them.

    Raises:
        EngineError: none of one sample's answers came with probabilities, as of servers that do not offer them.
    """
    stored = [samples[0].stored for samples in made.answers if len(samples) == 1]
    if least is not None and stored and not any(one and one.generation.logprobs for one in stored):
        raise EngineError(
            f"{made.model.name} gave no probabilities of tokens, so no label is known to be sure: {SEVERAL}"
        )
    return made._replace(min_confidence=least or 0.0)


def write_csv(rows: Iterable[Row], stream: TextIO, shown: Callable[[str], str] = str) -> None:
    """Write rows as CSV; None is a blank cell, and text that a spreadsheet would take for a formula is harmless.

    Args:
        rows: with :data:`COLUMNS`.
        stream: where to.
        shown: what is done to text first, for a terminal.
    """
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = (row[column] for column in COLUMNS)
        writer.writerow([harmless(shown(cell)) if isinstance(cell, str) else cell for cell in cells])


def _write_csv(rows: Iterable[Row], file: Path) -> None:
    with open(file, "w", encoding="utf-8", newline="") as stream:
        write_csv(rows, stream)


def _write_jsonl(rows: Iterable[Row], file: Path) -> None:
    with open(file, "w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def _write_parquet(rows: Iterable[Row], file: Path) -> None:
    import pyarrow as pa  # slow to import
    from pyarrow import parquet

    types = {"id": pa.int64(), "confidence": pa.float64()}
    schema = pa.schema([(column, types.get(column, pa.string())) for column in COLUMNS])
    left = iter(rows)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(left, _BATCH)):
            writer.write_table(pa.Table.from_pylist(batch, schema=schema))


WRITERS: Mapping[str, Callable[[Iterable[Row], Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
}
"""Suffix -> what writes rows into a file."""


def writer_for(file: Path) -> Callable[[Iterable[Row], Path], None]:
    """What writes rows into a file of this name.

    Raises:
        WrongCall: a suffix of no form that there is, or a folder of this name.
    """
    if file.is_dir():
        raise WrongCall(f"{file} is a folder: give the name of a file in it")
    return choose(WRITERS, file.suffix.lower(), f"{file}: no table ends in {file.suffix!r}; choose one of", WrongCall)


def write_rows(rows: Iterable[Row], file: Path) -> Counter[str]:
    """Write a table into a file, which is replaced whole; its suffix says which form.

    Returns:
        Rows by verdict.

    Raises:
        WrongCall: a suffix of no form that there is.
        OSError: the file cannot be written; names it and the cure.
    """
    write, tally = writer_for(file), Counter[str]()
    with paths.replacing(file) as temporary:
        write(counted(rows, tally), temporary)
    return tally


def counted(rows: Iterable[Row], tally: Counter[str]) -> Iterator[Row]:
    """The rows as they are, while ``tally`` counts them by verdict, and under "labelled" those with an activity."""
    for row in rows:
        tally[row["verdict"]] += 1
        tally["labelled"] += row["activity"] is not None
        yield row
