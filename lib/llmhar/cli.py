"""The command line. Each command is a thin call into the library, for people by default and for programs by ``--json``.

With ``--json`` one JSON document goes to stdout and errors go to stderr. Exit codes: 0 done; 1 it failed (data,
model, notebook); 2 the call or a setting is wrong. Imports of heavy libraries stay inside the commands.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from llmhar.run.terminal import one_line, print_json, print_line, print_table

HELP = "Language models for human activity recognition at home."
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP)
data = typer.Typer(no_args_is_help=True, help="Data sets: what is there, fetch, add, check, list events.")
models_app = typer.Typer(no_args_is_help=True, help="Models: list them, fetch weights into the cache.")
app.add_typer(data, name="data")
app.add_typer(models_app, name="models")
bench_app = typer.Typer(no_args_is_help=True, help="Benches that a study can cite.")
app.add_typer(bench_app, name="bench")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]
Folder = Annotated[Path | None, typer.Option("--path", help="Folder of the data set; default LLMHAR_DATA/NAME.")]
Options = Annotated[list[str] | None, typer.Option("--option", "-o", help="Loader option, name=value (repeatable).")]


def _print_place(name: str, place: Path, as_json: bool) -> None:
    print_json({"name": name, "path": str(place)}) if as_json else print_line(f"{name}: {place}")


def _pairs(options: Sequence[str] | None) -> dict[str, str]:
    pairs = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{option!r}: write name=value")
        pairs[name.strip()] = value
    return pairs


@data.command("list")
def data_list(as_json: Json = False) -> None:
    """Say which data sets, sets of clips and encoders' weights there are, which are here, licence and source."""
    from llmhar.data import fetch
    from llmhar.fusion.clips import registry as clipsets
    from llmhar.fusion.encoders import weights_files

    parts = {"sensor events": fetch.listing(), "clips": clipsets.listing(), "encoder": weights_files.listing()}
    rows = [{"what": what, **row} for what, entries in parts.items() for row in entries]
    if as_json:
        return print_json(rows)
    for row in rows:
        print_line(f"{row['what']}: {row['name']} ({row['kind']}): {row['title']}")
        print_line(f"  {'here' if row['present'] else 'not here'}: {row['path'] or 'comes by itself when it is used'}")
        print_line(f"  licence: {row['licence']}\n  source: {row['source']}")


@data.command("fetch")
def data_fetch(name: str, as_json: Json = False) -> None:
    """Fetch a data set or an encoder's weights (sha256 checked), or say how to get them by hand."""
    from llmhar.data.fetch import fetch
    from llmhar.fusion.clips import registry as clipsets
    from llmhar.fusion.encoders import weights_files

    if name in weights_files.WEIGHTS:
        weights_files.fetch_weights(name)
        return _print_place(name, weights_files.weights_folder(name), as_json)
    is_clips = _clips_or_events(name)
    _print_place(name, clipsets.fetch_clips(name) if is_clips else fetch(name), as_json)


@data.command("add")
def data_add(
    name: str,
    path: Path,
    replace: Annotated[bool, typer.Option(help="Replace what is there.")] = False,
    as_json: Json = False,
) -> None:
    """Add a data set or clips (folder or archive, checked first) or an encoder's weights that you downloaded."""
    from llmhar.data.fetch import add
    from llmhar.fusion.clips.registry import add_clips
    from llmhar.fusion.encoders import weights_files

    if name in weights_files.WEIGHTS:
        for file, sha256 in weights_files.add_weights(name, path).items():
            print_line(f"{file}: sha256 {sha256}", to_stderr=as_json)
        return _print_place(name, weights_files.weights_folder(name), as_json)
    adding = add_clips if _clips_or_events(name) else add
    _print_place(name, adding(name, path, replace=replace), as_json)


def _clips_or_events(name: str) -> bool:
    """Whether a name is a set of clips, not a data set of sensor events."""
    from llmhar.data.load_report import WrongCall
    from llmhar.data.registry import DATASETS
    from llmhar.fusion.clips.registry import CLIPSETS
    from llmhar.settings import choose

    choose({**DATASETS, **CLIPSETS}, name, f"no data set {name!r}: choose one of", WrongCall)
    return name in CLIPSETS


def _values(options: Sequence[str] | None) -> dict[str, Any]:
    words: dict[str, Any] = {"true": True, "false": False}
    return {k: int(v) if v.isdecimal() else words.get(v.casefold(), v) for k, v in _pairs(options).items()}


@data.command("report")
def data_report(name: str, path: Folder = None, option: Options = None, as_json: Json = False) -> None:
    """Load a data set or a set of clips and say what was read, mended, refused and set aside."""
    from llmhar.data.registry import load
    from llmhar.fusion.clips.registry import load_clipset

    is_clips, options = _clips_or_events(name), _values(option)
    report = load_clipset(name, path, options).to_json() if is_clips else load(name, path, options).report.to_json()
    if as_json:
        return print_json(report)
    for key, value in report.items():
        print_line(f"{key}: {len(value) if isinstance(value, list) else value}")
    for kind in ("mended", "refused", "set_aside"):
        notes = report.get(kind, [])
        for note in notes[:50]:
            print_line(f"{kind.replace('_', ' ')}: {note['file']}:{note['line']}: {note['reason']}")
        if len(notes) > 50:
            print_line(f"{kind.replace('_', ' ')}: … and {len(notes) - 50} more (--json lists all)")


@data.command("events")
def data_events(name: str, path: Folder = None, option: Options = None, as_json: Json = False) -> None:
    """List all events of a data set with their ground truth."""
    from llmhar.data.registry import WrongCall, load

    if _clips_or_events(name):
        raise WrongCall(f"{name} is a set of clips, which have no sensor events: see `llmhar data report {name}`")
    rows = [row for session in load(name, path, _values(option)).sessions for row in session.to_rows()]
    if as_json:
        return print_json(rows)
    columns = ("session", "id", "time", "room", "sensor", "state", "activity")
    for line in (columns, *([row[column] for column in columns] for row in rows)):  # thousands: no table
        print_line("\t".join(map(one_line, line)))


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """Say which models there are and which are in the cache."""
    from llmhar.ask.models import listing

    rows = listing()
    print_json(rows) if as_json else print_table(rows, ["name", "kind", "n_params", "licence", "place"])


@models_app.command("fetch")
def models_fetch(names: list[str], as_json: Json = False) -> None:
    """Bring models into the cache: downloads are checked by sha256, weights become safetensors."""
    from llmhar.ask.model_files import fetch

    places = {}
    for name in names:
        places[name] = str(fetch(name))
        if not as_json:
            print_line(f"{name}: {places[name]}")
    if as_json:
        print_json(places)


@bench_app.command("injection")
def bench_injection(
    models: Annotated[str, typer.Option(help="Models of params/models.yaml, comma between them.")] = "rules",
    n: Annotated[int, typer.Option("--n", min=1, help="Windows, and as many fusion clips.")] = 6,
    seed: Annotated[int, typer.Option(help="Of the draw of windows.")] = 0,
    wording: Annotated[str, typer.Option(help="Of the prompt; small models understand `short` better.")] = "s1",
    engine: Annotated[str, typer.Option(help="Engine of language models.")] = "auto",
    as_json: Json = False,
) -> None:
    """Attack models by hostile names: how often a label becomes what the name wants, with and without each defence."""
    from llmhar import injection
    from llmhar.ask.store import Store

    with Store() as store:
        pairs = injection.run(
            models.replace(" ", "").split(","),
            store,
            n,
            seed,
            wording=wording,
            asking=replace(injection.ASKING, engine=engine),
        )
    table = injection.flip_table(pairs)
    if as_json:
        return print_json(table.astype(object).where(table.notna(), None).to_dict("records"))
    print_table(table.round(1).to_dict("records"), list(table))


@app.command()
def parse(
    labels: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="Activity names, a line each, from 0.")],
    n: Annotated[int, typer.Option(min=0, help="Events in the window.")] = 10,
    strict: Annotated[bool, typer.Option("--strict", help="Only a bare JSON list after the thinking counts.")] = False,
    finish_reason: Annotated[str, typer.Option(help='"stop" or "length"; default: judge by the text.')] = "",
    as_json: Json = False,
) -> None:
    """Read one raw answer from stdin: one verdict an event."""
    from llmhar.run.row_files import read_names
    from llmhar.text.parsing import as_rows, parse_answer

    names = read_names(labels)
    text = sys.stdin.buffer.read().decode("utf-8-sig", "replace")
    rows = as_rows(parse_answer(text, n, names, strict=strict, finish_reason=finish_reason).predictions, names)
    print_json(rows) if as_json else print_table(rows, ["id", "verdict", "label"])


@app.command()
def score(
    truth: Path,
    pred: Path,
    labels: Annotated[Path | None, typer.Option(help="Activities to score, a line each; default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Score predictions against the truth: JSONL rows of {"session", "id", "activity"}."""
    from llmhar.run.row_files import read_jsonl, read_names
    from llmhar.score.f1 import ScoreError, score_rows

    names = list(read_names(labels).values()) if labels else None
    rows = read_jsonl(truth)
    if not any(rows):
        raise ScoreError(f"{truth}: no event in it")
    scores = score_rows(rows, read_jsonl(pred), names)
    if as_json:
        return print_json(scores)
    for key, value in scores.items():
        if key != "per_session":
            print_line(f"{key}: {value}")
    print_table(scores["per_session"], ["session", "n_events", "macro_f1", "weighted_f1", "union_f1", "missed_pct"])


@app.command()
def plan(
    profile: Annotated[str, typer.Argument(help="smoke, demo, demo-full or paper (S1 as published).")],
    device: Annotated[str, typer.Option(help="A device of params/devices.yaml.")] = "a100-80",
    output_tokens: Annotated[int, typer.Option(min=1, help="Generated tokens a window, thinking included.")] = 3000,
    n_gpus: Annotated[int, typer.Option(min=1, help="Cards on the node.")] = 1,
    weights: Annotated[Literal["bf16", "fp8"], typer.Option(help="Number format of the weights.")] = "bf16",
    as_json: Json = False,
) -> None:
    """Plan a study before it runs: GPU-hours, room for windows, bottleneck; starved layouts are marked."""
    from llmhar.scaling.planner.plan import make_plan, plan_table

    made = make_plan(profile, device, output_tokens=output_tokens, n_gpus=n_gpus, weights=weights)
    if as_json:
        return print_json(made.to_json())
    rows = [{key: "" if value is None else value for key, value in row.items()} for row in plan_table(made)]
    print_table(rows, list(rows[0]))
    print_line(f"llmhar run {profile}: {made.gpu_hours_run:.2f} GPU-hours (the last assumption says of what)")
    for assumption in made.assumptions:
        print_line(f"assumed: {assumption}")


@app.command()
def run(  # noqa: PLR0913 - options of a command
    profile: Annotated[str, typer.Argument(help="smoke, demo, demo-full or paper.")],
    notebooks: Annotated[list[str] | None, typer.Argument(help="Names or numbers; default: all.")] = None,
    p: Annotated[list[str] | None, typer.Option("-p", help="Parameter, name=value (repeatable).")] = None,
    jobs: Annotated[int, typer.Option("-j", min=1, help="Notebooks at a time.")] = 1,
    engine: Annotated[str | None, typer.Option(help="Short for -p engine=NAME.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster of --engine ray: HOST:6379 or auto.")] = None,
    name: Annotated[str, typer.Option(help="Keep these settings' report beside the profile's own, as TRIAL.")] = "",
    as_json: Json = False,
) -> None:
    """Run notebooks through papermill into reports/PROFILE. Run again to resume; a failed run replaces nothing."""
    from llmhar.run.aside import aside, later_run
    from llmhar.run.jobs import plan_jobs
    from llmhar.run.ready import refuse_if_not_ready
    from llmhar.run.report import run_jobs

    options = _pairs(p) | ({"engine": engine} if engine else {})
    if address:
        if options.get("engine") != "ray":
            raise typer.BadParameter("--address is the cluster of --engine ray")
        os.environ["LLMHAR_RAY_ADDRESS"] = address  # the notebooks' processes inherit it
    planned = plan_jobs(profile, notebooks or [], options, Path.cwd(), name)
    refuse_if_not_ready(planned)
    done = run_jobs(planned, jobs)
    if as_json:
        print_json(done)
    else:
        for job, row in zip(planned, done):
            print_line(f"{row['notebook']}: {row['status']} in {row['seconds']:.0f} s {row['cause']}".rstrip())
            if later_run(job.folder):
                print_line(f"  the last good report stands: {job.folder}; this run's own is in {aside(job.folder)}")
        print_line(f"index: {planned[0].folder.parent / 'index.html'}")
    if any(row["status"] != "ok" for row in done):
        raise typer.Exit(1)


@app.command()
def record(
    profile: Annotated[str, typer.Argument(help="smoke, demo, demo-full or paper.")] = "demo",
    notebooks: Annotated[list[str] | None, typer.Argument(help="Names or numbers; default: all that have run.")] = None,
    as_json: Json = False,
) -> None:
    """Keep finished runs: copy run.json and figure.png into reports/record, which git tracks, and write results.md."""
    from llmhar.run.record import record_runs

    done = record_runs(profile, notebooks or [])
    if as_json:
        print_json(done)
    else:
        for row in done["recorded"]:
            print_line(f"recorded {row['notebook']}: {row['path']} ({', '.join(row['files'])})")
        for row in done["refused"]:
            print_line(f"not recorded: {row['notebook']}: {row['why']}", to_stderr=True)
        print_line(f"results: {done['results']}")
    if done["refused"]:
        raise typer.Exit(1)


@app.command()
def lock(
    profile: Annotated[str, typer.Argument(help="smoke, demo, demo-full or paper.")],
    notebooks: Annotated[list[str] | None, typer.Argument(help="04_distillation (default) or 04b_transfer.")] = None,
    p: Annotated[list[str] | None, typer.Option("-p", help="Parameter, name=value (repeatable).")] = None,
    as_json: Json = False,
) -> None:
    """Write a study's choices into reports/record/plan.lock before any test answer exists; tables name the plan."""
    from llmhar.run.lock import lock_plans

    rows = lock_plans(profile, notebooks or [], _pairs(p), Path.cwd())
    if as_json:
        return print_json(rows)
    for row in rows:
        print_line(f"{row['notebook']}: {row['words']}")


@app.command()
def explore(
    html: Annotated[Path | None, typer.Option(help="Write one offline file instead of serving.")] = None,
    profile: Annotated[str, typer.Option(help="Settings of 06_traces: smoke, demo, demo-full or paper.")] = "demo",
    p: Annotated[list[str] | None, typer.Option("-p", help="Parameter, name=value (repeatable).")] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8866,
    as_json: Json = False,
) -> None:
    """Browse traces: serve 06_traces by voila on loopback, or write the view as one file (--html)."""
    from llmhar.run import explore as view

    values = view.settings_of(profile, _pairs(p), Path.cwd())
    if html is None:
        print_line(f"http://127.0.0.1:{port}/ (Ctrl-C ends)")
        raise typer.Exit(view.serve(values, port))
    size = view.write_html(values, html)
    if as_json:
        return print_json({"path": str(html), "bytes": size})
    print_line(f"{html}: {size / 1e6:.1f} MB")


def main() -> None:
    """Entry point: known errors become one line on stderr and an exit code, never a traceback."""
    from llmhar.ask.engines.base import EngineError
    from llmhar.ask.models import ModelError, UnknownModel
    from llmhar.ask.store import StoreError
    from llmhar.data.load_report import DataError, WrongCall
    from llmhar.run.ready import NotReady
    from llmhar.scaling.planner.plan import PlanError
    from llmhar.score.f1 import ScoreError
    from llmhar.settings import SettingsError
    from llmhar.text.homes import PromptError

    try:
        app()
    except (SettingsError, PlanError, WrongCall, UnknownModel) as error:
        _fail(error, 2)
    except (DataError, EngineError, ModelError, NotReady, PromptError, ScoreError, StoreError, OSError) as error:
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    print_line(f"llmhar: {error}", to_stderr=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
