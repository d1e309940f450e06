"""``llmhar label`` and ``llmhar score``: labels of any data set out of the house, and what they are worth."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmhar.run.commands.shared import Folder, Json, Options, values_of
from llmhar.run.terminal import one_line, print_json, print_line, print_table

if TYPE_CHECKING:
    from llmhar.run.row_files import Rows
    from llmhar.score.label import Labelled


def label(  # noqa: PLR0913 - options of a command
    dataset: Annotated[str, typer.Argument(help="A data set of `llmhar data list`, annotated or not.")],
    model: Annotated[
        str | None, typer.Option(help="A model of `llmhar models list`; default: llmhar-home-135m, where it is here.")
    ] = None,
    path: Folder = None,
    option: Options = None,
    out: Annotated[Path | None, typer.Option(help="FILE.csv, .parquet or .jsonl; default: CSV to stdout.")] = None,
    day: Annotated[str | None, typer.Option(help="Only this session, or the sessions of this day.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers a window; the majority decides.")] = 1,
    wording: Annotated[str | None, typer.Option(help="Of the prompt; default: s1-blank, a student's own.")] = None,
    answer: Annotated[str | None, typer.Option(help="Activities answered by name or by number.")] = None,
    engine: Annotated[str, typer.Option(help="Engine of language models.")] = "auto",
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer; default: by the model's kind.")] = None,
    thinking: Annotated[bool | None, typer.Option(help="Switch of models that have one.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="Default: as the model's makers recommend.")] = None,
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="Labels less sure are left blank; 0 only says how sure.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Label every event of a data set. Run again to resume: the store keeps each answer.

    Columns: session, id, time, room, sensor, state (as `llmhar data events` has them), activity, verdict, confidence
    (share of the samples that agree; with one sample and --min-confidence the probability of the label's tokens; else
    blank), model. A label that --min-confidence leaves blank has the verdict "unsure". In CSV a cell that a spreadsheet
    would take for a formula has an apostrophe in front, which `llmhar score` takes off again.
    """
    from llmhar.ask.asking import Asking
    from llmhar.ask.inference import sampling_of
    from llmhar.ask.models import MODELS
    from llmhar.ask.store import Store
    from llmhar.ask.task import whole
    from llmhar.records import Sampling
    from llmhar.run.ready import NotReady, model_problems
    from llmhar.score.label import (
        confident,
        counted,
        form_for,
        label_events,
        no_threshold,
        tokens_for,
        write_csv,
        write_rows,
        writer_for,
    )

    if out is not None:
        writer_for(out)
    elif as_json:
        raise typer.BadParameter("--json prints a summary and stdout has room for one thing: give --out FILE")
    model = model or _default_model()
    spec = MODELS[model]
    form = form_for(spec)
    form = replace(form, wording=wording or form.wording, answer=answer or form.answer)  # type: ignore[arg-type]
    spec = spec.model_copy(update={"prompt": spec.prompt and form})
    limits = Sampling(temperature=temperature or 0.0, max_tokens=max_tokens or tokens_for(spec, engine, thinking))
    asking = Asking(limits, "model" if temperature is None else "greedy", thinking, samples, engine=engine)
    if min_confidence is not None:
        if problem := no_threshold(spec, asking):
            raise NotReady(problem)
        asking = replace(asking, confidence=samples == 1)
    task = whole(dataset, path, form, values_of(option), day=day)
    if problems := list(model_problems(spec, engine)):
        raise NotReady("\n".join(problems))
    if samples > 1 and not sampling_of(spec, asking).temperature:
        print_line(f"{model}: with temperature 0 all samples are alike; give --temperature", to_stderr=True)
    tally = Counter[str]()
    with Store() as store:
        made = confident(label_events(task, spec, asking, store), min_confidence)
    if out is None:
        write_csv(counted(made.rows(), tally), sys.stdout, one_line if sys.stdout.isatty() else str)
    else:
        tally = write_rows(made.rows(), out)
    summary = _summary(made, tally, out)
    if as_json:
        return print_json(summary)
    print_line(
        f"{summary['labelled']} of {summary['rows']} events in {summary['sessions']} session(s) labelled by {model}"
        f"{f': {out}' if out else ''} ({summary['from_store']} answers from the store, {summary['asked']} asked)",
        to_stderr=True,
    )
    if min_confidence is not None:
        n_labels = summary["unsure"] + summary["labelled"]
        print_line(
            f"{summary['unsure']} of {n_labels} labels left blank: less sure than {min_confidence:g}", to_stderr=True
        )
    if made.run.n_failed:
        print_line(
            f"{made.run.n_failed} requests failed, their events are blank: run again to ask them", to_stderr=True
        )


def _default_model() -> str:
    """Who labels where nobody is named: the student that goes from home to home, if its adapter is in this checkout."""
    from llmhar.ask.models import HOME_MODEL, MODELS, Shipped

    source = MODELS[HOME_MODEL].source
    if isinstance(source, Shipped) and not source.sha256():
        raise typer.BadParameter(f"give --model NAME: {HOME_MODEL}, the default, has no adapter in this checkout")
    return HOME_MODEL


def _summary(made: Labelled, tally: Counter[str], out: Path | None) -> dict[str, Any]:
    from llmhar.records import VERDICTS

    verdicts = {verdict: tally[verdict] for verdict in (*VERDICTS, "failed")}
    n_rows = sum(verdicts.values()) + tally["unsure"]
    return {
        "out": None if out is None else str(out),
        "rows": n_rows,
        "sessions": len(made.task.sessions),
        "labelled": tally["labelled"],
        "unsure": tally["unsure"],
        "dataset": made.task.dataset,
        "model": made.model.name,
        "windows": len(made.task.windows),
        "from_store": made.run.n_from_store,
        "asked": made.run.n_asked,
        "failed": made.run.n_failed,
        "verdicts": verdicts,
        "engines": sorted({str(a.stored.fingerprint) for own in made.answers for a in own if a.stored}),
    }


def score(
    truth: Annotated[str, typer.Argument(help="A data set, or a file of events.")],
    pred: Annotated[str, typer.Argument(help="What was answered: a file, or a data set.")],
    path: Folder = None,
    option: Options = None,
    test: Annotated[bool, typer.Option("--test", help="Only the test sessions of the data set TRUTH.")] = False,
    labels: Annotated[Path | None, typer.Option(help="Activities to score, a line each; default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Score predictions against the truth, event by event; what was not predicted is wrong.

    Files: CSV, Parquet, JSONL or the array of `llmhar data events --json`, with session, id and activity. Truth without
    an activity is not scored. A joint event may hold all its [resident, activity] pairs in `activities`: it is right by
    any of them; strict_macro_f1 counts the first alone.
    """
    from llmhar.run.row_files import read_names
    from llmhar.score.f1 import ScoreError, score_rows

    names = list(read_names(labels).values()) if labels else None
    true, answered = (_rows(name, path, option, test and name == truth) for name in (truth, pred))
    if not any(true.rows):
        raise ScoreError(f"{truth}: no event in it")
    if test:
        sessions = {row["session"] for row in true.rows if row}
        answered = answered._replace(
            rows=[row if row and row.get("session") in sessions else None for row in answered.rows]
        )
    scores = score_rows(true.rows, answered.rows, names, (true.place, answered.place))
    if not scores["n_events"]:
        of_these = f" that {labels} names" if labels else ""
        raise ScoreError(f"{truth}: none of its events has an activity{of_these}, so there is nothing to score against")
    if scores["n_unpredicted"]:
        print_line(
            f"warning: {pred} has no event of {scores['n_unpredicted']} of the {scores['n_sessions']} sessions: all "
            "their events count as wrong",
            to_stderr=True,
        )
    if as_json:
        return print_json(scores)
    joint = ("strict_macro_f1", "n_joint") if scores["n_joint"] else ()
    for key, value in scores.items():
        if key in joint or key not in ("per_session", "strict_macro_f1", "n_joint"):
            print_line(f"{key}: {value}")
    columns = ["session", "n_events", "macro_f1", "weighted_f1", "union_f1", "missed_pct", *joint]
    print_table(scores["per_session"], columns)


def _rows(name: str, path: Path | None, option: list[str] | None, test: bool) -> Rows:
    """Events of a data set by its name, else of a file.

    Args:
        name: as it was called with; a data set goes before a file of the same name (write ./NAME for that).
        path: folder of the data set.
        option: options of its loader.
        test: only the sessions that notebooks test on.
    """
    from llmhar.ask.task import prepare
    from llmhar.data.registry import DATASETS, WrongCall, load
    from llmhar.run.row_files import read_rows, rows_of

    if name in DATASETS:
        options = values_of(option)
        sessions = (
            prepare(name, path, options=options).sessions.values() if test else load(name, path, options).sessions
        )
        return rows_of(sessions, name)
    file = Path(name)
    if not file.is_file():
        raise WrongCall(f"{name} is no file and no data set; data sets are {', '.join(DATASETS)}")
    if test:
        raise WrongCall(f"--test needs a data set's name as TRUTH, whose split it is; {name} is a file")
    return read_rows(file)
