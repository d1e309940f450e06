"""Takes traces and notes out of the house: JSONL, Parquet, inspect_ai's logs, CSV. Asks nobody, sends nothing.

inspect_ai writes and reads its own format (optional extra ``export``), so its viewer opens what we write
(``inspect view --log-dir FOLDER``); it is imported only when a log is written.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from llmhar import paths
from llmhar.ask.inference import PAGE, Answer
from llmhar.ask.store import Store
from llmhar.data.events import true_activity
from llmhar.records import Request
from llmhar.score.cells import fit, harmless
from llmhar.score.tables import KINDS, Result
from llmhar.text.mentions import find_mentions
from llmhar.text.parsing import Reading

COLUMNS = {
    "model": "name of the model",
    "kind": "LLM, rules, recorded …",
    "engine": "engine, version, number format and device that made this answer",
    "revision": "the model's, whole",
    "data": "data set and its kind",
    "home": "name of the home file",
    "session": "session id",
    "window": "position of the window in its session",
    "key": "request key: the answer's name in the store",
    "sample": "k-th sample of the same question",
    "temperature": "0 = the likeliest token",
    "prompt_sha256": "hash of the prompt's static parts",
    "system": "the prompt's static text",
    "user": "the window as the model read it",
    "reasoning": "what stands in thinking marks",
    "answer": "what stands after them",
    "thinking": "absent, closed or unclosed",
    "finish_reason": "stop, length or failed",
    "error": "why there is no answer, else empty",
    "prompt_tokens": "tokens",
    "output_tokens": "tokens, thinking included",
    "seconds": "in its batch",
    "n_scored": "events with a truth that is scored",
    "n_right": "of these, answered right",
    "n_missed": "of these, without a valid label",
    "events": "list in the window's order (the model read their places, from 0): id and time of `llmhar data events`, "
    "room, sensor, state, truth (null: none that is scored), label (null: none), verdict, truths (a joint event's all) "
    "and why (the reason in its item of the answer; null: none)",
}
"""Columns of the trace files, one row a trace, and what they mean."""
_STOPS = {"stop": "stop", "length": "max_tokens"}


class ExportError(RuntimeError):
    """An export that cannot be made; one sentence with the cure."""


def trace_rows(results: Sequence[Result]) -> Iterator[dict[str, Any]]:
    """One row a trace, its events nested; :data:`COLUMNS` says what the columns hold."""
    for result in results:
        task = result.task
        for window, answer, reading in zip(task.windows, result.answers, result.readings):
            session, request = task.sessions[window.session_id], answer.ask.request
            labels = session.labels
            events: list[dict[str, Any]] = [
                {
                    "id": event.event_id,
                    "time": event.time.isoformat(timespec="milliseconds"),
                    "room": fit(event.room),
                    "sensor": fit(event.sensor),
                    "state": fit(event.state),
                    "truth": _name(labels, true_activity(event.activity_ids, labels)),
                    "label": _name(labels, prediction.label),
                    "verdict": prediction.verdict,
                    "truths": [fit(labels[activity]) for activity in event.activity_ids if activity in labels],
                    "why": fit(reading.whys[i]) if i in reading.whys else None,
                }
                for i, (event, prediction) in enumerate(zip(window.events, reading.predictions))
            ]
            scored = [event for event in events if event["truths"]]
            made = answer.stored.generation if answer.stored else None
            system, user = _turns(request)
            yield {
                "model": result.model.name,
                "kind": KINDS[result.model.kind],
                "engine": str(answer.stored.fingerprint) if answer.stored else "",
                "revision": result.model.revision,
                "data": task.data,
                "home": session.home,
                "session": window.session_id,
                "window": window.index,
                "key": request.key,
                "sample": request.sample_index,
                "temperature": float(request.sampling.temperature),
                "prompt_sha256": task.prompt_of(window).sha256,
                "system": system,
                "user": user,
                "reasoning": fit(reading.reasoning),
                "answer": fit(reading.answer),
                "thinking": reading.thinking,
                "finish_reason": made.finish_reason if made else "failed",
                "error": fit(answer.error),
                "prompt_tokens": made.prompt_tokens if made else 0,
                "output_tokens": made.output_tokens if made else 0,
                "seconds": float(made.seconds) if made and math.isfinite(made.seconds) else None,
                "n_scored": len(scored),
                "n_right": sum(event["label"] in event["truths"] for event in scored),
                "n_missed": sum(event["label"] is None for event in scored),
                "events": events,
            }


def _name(labels: Mapping[int, str], number: int | None) -> str | None:
    return None if number is None or number not in labels else fit(labels[number])


def _turns(request: Request) -> tuple[str, str]:
    """What the system turns say and what the others say."""
    texts: dict[bool, list[str]] = {True: [], False: []}
    for message in request.messages:
        texts[message["role"] == "system"].append(fit(message["content"]))
    return "\n\n".join(texts[True]), "\n\n".join(texts[False])


def write_jsonl(results: Sequence[Result], path: Path) -> int:
    """Write :func:`trace_rows` as one JSON object a line; returns the number of traces."""
    n = 0
    with paths.replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as stream:
        for row in trace_rows(results):
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            n += 1
    return n


def write_parquet(results: Sequence[Result], path: Path) -> int:
    """Write :func:`trace_rows` as one Parquet file, events as a list of structs; returns the number of traces.

    Raises:
        ExportError: pyarrow is not installed.
    """
    pa, parquet = _need("pyarrow"), _need("pyarrow.parquet")
    whole, real = (
        ("window", "sample", "prompt_tokens", "output_tokens", "n_scored", "n_right", "n_missed"),
        pa.float64(),
    )
    event = {name: pa.string() for name in ("time", "room", "sensor", "state", "truth", "label", "verdict", "why")}
    types: dict[str, Any] = {name: pa.string() for name in COLUMNS}
    types |= {name: pa.int64() for name in whole} | {"temperature": real, "seconds": real}
    types["events"] = pa.list_(pa.struct({"id": pa.int64(), **event, "truths": pa.list_(pa.string())}))
    schema, rows, n = pa.schema(types, metadata=COLUMNS), trace_rows(results), 0
    with paths.replacing(path) as temporary, parquet.ParquetWriter(temporary, schema, compression="zstd") as writer:
        while page := list(islice(rows, PAGE)):
            writer.write_table(pa.Table.from_pylist(page, schema=schema))
            n += len(page)
    return n


def _need(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0].replace("_", "-")
        raise ExportError(
            f"this export needs {package}, which is not installed: pip install {package} ({error})"
        ) from error


def write_inspect_logs(results: Sequence[Result], folder: Path) -> list[Path]:
    """Write one inspect_ai log for each result: each window a sample, scored by events.

    A sample's input are the chat turns, its target the true labels, its output reasoning and answer, and its scores
    "right" and "missed": shares of its scored events (absent where it has none). The log's own scores are their means
    over samples, and, as scorer "sessions", what our tables show: means over sessions.

    Args:
        results: of one or several models and tasks.
        folder: for ``inspect view --log-dir``; files of the same name are replaced whole.

    Returns:
        The files, one a result, in order.

    Raises:
        ExportError: inspect_ai is not installed.
    """
    log = _need("inspect_ai.log")
    files = []
    for number, result in enumerate(results):
        name = re.sub(r"[^\w.-]+", "-", f"{number:02}-{result.model.name}-{result.task.data}", flags=re.ASCII)[:120]
        target = folder.absolute() / f"{name}.eval"
        with paths.replacing(target) as temporary:
            log.write_eval_log(_inspect_log(result), str(temporary), format="eval")
        files.append(target)
    return files


def _inspect_log(result: Result) -> Any:
    log, models, scorer = _need("inspect_ai.log"), _need("inspect_ai.model"), _need("inspect_ai.scorer")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = list(trace_rows([result]))
    samples = [
        _inspect_sample(row, answer, reading, log, models, scorer)
        for row, answer, reading in zip(rows, result.answers, result.readings)
    ]
    done, usage = [sample for sample in samples if sample.error is None], models.ModelUsage()
    for sample in done:
        usage = usage + sample.output.usage
    scores = [
        _inspect_score(
            name, "events", {"mean": _mean(values)}, log, scored=len(values), unscored=len(rows) - len(values)
        )
        for name in ("right", "missed")
        for values in [[sample.scores[name].value for sample in samples if name in sample.scores]]
    ]
    overall = result.overall._asdict()
    scores.append(_inspect_score("sessions", "sessions", overall, log))
    return log.EvalLog(
        status="success",
        eval=log.EvalSpec(
            created=now,
            task=f"llmhar: {result.task.data}",
            dataset=log.EvalDataset(
                name=result.task.data, samples=len(samples), sample_ids=[sample.id for sample in samples]
            ),
            model=result.model.name,
            config=log.EvalConfig(),
            metadata={
                "kind": KINDS[result.model.kind],
                "engine": result.made_by,
                "revision": result.model.revision,
                "windows": result.task.subset,
            },
        ),
        results=log.EvalResults(total_samples=len(samples), completed_samples=len(done), scores=scores),
        stats=log.EvalStats(started_at=now, completed_at=now, model_usage={result.model.name: usage}),
        samples=samples,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _inspect_score(
    name: str,
    scorer: str,
    values: dict[str, float],
    log: Any,
    *,
    scored: int | None = None,
    unscored: int | None = None,
) -> Any:
    """Metrics of one scorer; what has no value (NaN) is left out, for JSON has no word for it."""
    metrics = {key: log.EvalMetric(name=key, value=value) for key, value in values.items() if math.isfinite(value)}
    return log.EvalScore(
        name=name, scorer=scorer, reducer="mean", scored_samples=scored, unscored_samples=unscored, metrics=metrics
    )


def _inspect_sample(row: dict[str, Any], answer: Answer, reading: Reading, log: Any, models: Any, scorer: Any) -> Any:
    roles = {
        "system": models.ChatMessageSystem,
        "user": models.ChatMessageUser,
        "assistant": models.ChatMessageAssistant,
    }
    turns = [roles[m["role"]](content=fit(m["content"])) for m in answer.ask.request.messages]
    made, name = answer.stored.generation if answer.stored else None, row["model"]
    content = [models.ContentText(text=row["answer"])]
    if row["reasoning"]:
        content.insert(0, models.ContentReasoning(reasoning=row["reasoning"]))
    output = models.ModelOutput(model=name)
    if made:
        output = models.ModelOutput.from_content(name, content, _STOPS.get(made.finish_reason, "unknown"))
        output.usage = models.ModelUsage(
            input_tokens=made.prompt_tokens,
            output_tokens=made.output_tokens,
            total_tokens=made.prompt_tokens + made.output_tokens,
            input_tokens_cache_read=made.cached_tokens,
        )
        output.time = row["seconds"]
    shares = {"right": row["n_right"], "missed": row["n_missed"]} if row["n_scored"] else {}
    labels = ", ".join(event["label"] or f"({event['verdict']})" for event in row["events"])
    return log.EvalSample(
        id=f"{row['session']}/{row['window']}",
        epoch=1,
        input=turns,
        target=[" / ".join(event["truths"]) or "(not scored)" for event in row["events"]],
        messages=[*turns, *([output.message] if made else [])],
        output=output,
        scores={key: scorer.Score(value=n / row["n_scored"], answer=labels) for key, n in shares.items()},
        metadata={key: row[key] for key in ("key", "home", "thinking", "n_scored", "n_right", "n_missed", "events")}
        | {"items mended": reading.n_repaired},
        model_usage={name: output.usage} if made else {},
        total_time=row["seconds"],
        error=None if made else log.EvalError(message=row["error"], traceback="", traceback_ansi=""),
    )


def export_notes_csv(store: Store, path: Path) -> int:
    """Write the notes of a store for a spreadsheet; returns their number.

    Columns: key, data set, session, window, model (of the first window that the request was made for), tags, text,
    created, updated (ISO, UTC). Cells that a spreadsheet would take for a formula get an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("key", "data set", "session", "window", "model", "tags", "text", "created", "updated"))
    notes = store.notes()
    for note in notes:
        asked = next(iter(store.asked_for(note.key)), ("", "", "", ""))[:4]
        times = [datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds") for at in note[3:]]
        cells = [note.key, *map(str, asked), ", ".join(note.tags), note.text, *times]
        writer.writerow([harmless(cell) for cell in cells])
    paths.write_text(path, text.getvalue())
    return len(notes)


def write_all(results: Sequence[Result], store: Store, folder: Path) -> dict[str, Path]:
    """Write everything: Parquet, JSONL, notes as CSV, and inspect_ai logs where that package is installed.

    Args:
        results: whose traces.
        store: whose notes.
        folder: is made if need be.

    Returns:
        Kind -> file or folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {name: folder / f"traces.{name}" for name in ("parquet", "jsonl")} | {"notes": folder / "notes.csv"}
    write_parquet(results, made["parquet"])
    write_jsonl(results, made["jsonl"])
    export_notes_csv(store, made["notes"])
    try:
        write_inspect_logs(results, folder / "inspect")
    except ExportError as error:
        print(f"no inspect_ai logs: {error}", file=sys.stderr)
        return made
    return made | {"inspect": folder / "inspect"}


def mention_table(results: Sequence[Result]) -> pd.DataFrame:
    """How reasonings cite: share that mentions some event, and mentions of each kind a reasoning, by model.

    The reasoning about a window is what stands before the answer and the reasons in the answer's items, together.

    Returns:
        Index model; columns kind, reasonings, "cite an event %", then mentions a reasoning by kind.
    """
    rows = {}
    for result in results:
        mentions = [
            [
                mention
                for text in (reading.reasoning, *reading.whys.values())
                for mention in find_mentions(text, window.events)
            ]
            for reading, window in zip(result.readings, result.task.windows)
            if reading.reasoning or reading.whys
        ]
        n = len(mentions)
        citing = sum(any(mention.events for mention in own) for own in mentions)
        counts = {
            kind: sum(m.kind == kind for own in mentions for m in own) for kind in ("event", "time", "sensor", "room")
        }
        rows[result.model.name] = {
            "kind": KINDS[result.model.kind],
            "reasonings": n,
            "cite an event %": 100 * citing / n if n else float("nan"),
        } | {f"{kind} mentions": count / n if n else float("nan") for kind, count in counts.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
