"""The command line. Each command is a thin call into the library, for people by default and for programs by ``--json``.

With ``--json`` one JSON document goes to stdout and errors go to stderr. Exit codes: 0 done; 1 it failed (data,
model, notebook); 2 the call or a setting is wrong. Imports of heavy libraries stay inside the commands.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from llmhar.run.commands import data, help, labels, models, students
from llmhar.run.commands.shared import Json, pairs_of
from llmhar.run.terminal import print_json, print_line, print_table

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(data.app, name="data")
app.add_typer(models.app, name="models")
app.add_typer(students.app, name="students")
app.command()(labels.label)
app.command()(labels.score)
bench_app = typer.Typer(no_args_is_help=True, help="Benches that a study can cite.")
app.add_typer(bench_app, name="bench")


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
def plan(
    profile: Annotated[str, typer.Argument(help="smoke, demo, demo-full, api, or paper (S1 as published).")],
    device: Annotated[str | None, typer.Option(help="Of params/devices.yaml; default: the profile's own.")] = None,
    output_tokens: Annotated[int, typer.Option(min=1, help="Generated tokens a window, thinking included.")] = 3000,
    n_gpus: Annotated[int, typer.Option(min=1, help="Cards on the node.")] = 1,
    weights: Annotated[Literal["bf16", "fp8"], typer.Option(help="Number format of the weights.")] = "bf16",
    as_json: Json = False,
) -> None:
    """Plan a study before it runs: GPU-hours, room for windows, bottleneck; starved layouts are marked."""
    from llmhar.scaling.planner.plan import device_of, make_plan, plan_table

    made = make_plan(profile, device or device_of(profile), output_tokens=output_tokens, n_gpus=n_gpus, weights=weights)
    if as_json:
        return print_json(made.to_json())
    rows = [{key: "" if value is None else value for key, value in row.items()} for row in plan_table(made)]
    print_table(rows, list(rows[0]))
    for reason in made.reasons:
        print_line(f"starved: {reason}")
    hours = f"{made.gpu_hours_run:.2f} hours of {made.device.name}"
    print_line(f"llmhar run {profile}: {hours} (the last assumption says of what)")
    for assumption in made.assumptions:
        print_line(f"assumed: {assumption}")


@app.command()
def run(  # noqa: PLR0913 - options of a command
    profile: Annotated[str, typer.Argument(help="smoke, demo, demo-full, paper or api.")],
    notebooks: Annotated[list[str] | None, typer.Argument(help="Names or numbers; default: all.")] = None,
    p: Annotated[list[str] | None, typer.Option("-p", help="Parameter, name=value (repeatable).")] = None,
    jobs: Annotated[int | None, typer.Option("-j", min=1, help="At a time; default: 1, or 2 that ask nobody.")] = None,
    engine: Annotated[str | None, typer.Option(help="Short for -p engine=NAME.")] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster of --engine ray: HOST:6379 or auto.")] = None,
    name: Annotated[str, typer.Option(help="Keep these settings' report beside the profile's own, as TRIAL.")] = "",
    max_usd: Annotated[float | None, typer.Option(min=0, help="Most US dollars that servers may be paid.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Run notebooks too whose report stands.")] = False,
    recorded: Annotated[bool, typer.Option("--recorded", help="Take recorded answers before asking.")] = False,
    as_json: Json = False,
) -> None:
    """Run notebooks through papermill into reports/PROFILE. Run again to resume; a failed run replaces nothing.

    A report stands, and is not made again, while its notebook, settings, code, data and answers are as they were.
    """
    from llmhar import paths
    from llmhar.ask import recorded_answers, spending
    from llmhar.run.aside import aside, later_run
    from llmhar.run.jobs import plan_jobs
    from llmhar.run.ready import refuse_if_not_ready
    from llmhar.run.report import run_jobs

    options = pairs_of(p) | ({"engine": engine} if engine else {})
    if address:
        if options.get("engine") != "ray":
            raise typer.BadParameter("--address is the cluster of --engine ray")
        os.environ["LLMHAR_RAY_ADDRESS"] = address  # the notebooks' processes inherit it
    os.environ[recorded_answers.VARIABLE] = str(paths.record() / profile) if recorded else ""
    planned = plan_jobs(profile, notebooks or [], options, Path.cwd(), name)
    spending.begin(max_usd)
    refuse_if_not_ready(planned)
    done = run_jobs(planned, jobs, force=force)
    if spent := spending.end():
        print_line(spent, to_stderr=True)
    if as_json:
        print_json(done)
    else:
        for job, row in zip(planned, done):
            stands = "; nothing has changed since, so it stands (--force runs it again)" if "stands" in row else ""
            said = f"{row['notebook']}: {row['status']} in {row['seconds']:.0f} s{stands} {row['cause']}"
            print_line(said.rstrip())
            if later_run(job.folder):
                print_line(f"  the last good report stands: {job.folder}; this run's own is in {aside(job.folder)}")
        print_line(f"index: {planned[0].folder.parent / 'index.html'}")
    if any(row["status"] != "ok" for row in done):
        raise typer.Exit(1)


@app.command()
def record(
    profile: Annotated[str, typer.Argument(help="smoke, demo, demo-full, paper or api.")] = "demo",
    notebooks: Annotated[list[str] | None, typer.Argument(help="Names or numbers; default: all that have run.")] = None,
    as_json: Json = False,
) -> None:
    """Keep finished runs in reports/record, which git tracks: run.json, figure, models' answers; write results.md."""
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
    profile: Annotated[str, typer.Argument(help="smoke, demo, demo-full, paper or api.")],
    notebooks: Annotated[list[str] | None, typer.Argument(help="04_distillation (default) or 04b_transfer.")] = None,
    p: Annotated[list[str] | None, typer.Option("-p", help="Parameter, name=value (repeatable).")] = None,
    as_json: Json = False,
) -> None:
    """Write a study's choices into reports/record/plan.lock before any test answer exists; tables name the plan."""
    from llmhar.run.lock import lock_plans

    rows = lock_plans(profile, notebooks or [], pairs_of(p), Path.cwd())
    if as_json:
        return print_json(rows)
    for row in rows:
        print_line(f"{row['notebook']}: {row['words']}")


@app.command()
def explore(
    html: Annotated[Path | None, typer.Option(help="Write one offline file instead of serving.")] = None,
    profile: Annotated[str, typer.Option(help="Settings of 06_traces: smoke, demo, demo-full, paper or api.")] = "demo",
    p: Annotated[list[str] | None, typer.Option("-p", help="Parameter, name=value (repeatable).")] = None,
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 8866,
    as_json: Json = False,
) -> None:
    """Browse traces: serve 06_traces by voila on loopback, or write the view as one file (--html)."""
    from llmhar.run import explore as view

    values = view.settings_of(profile, pairs_of(p), Path.cwd())
    if html is None:
        print_line(f"http://127.0.0.1:{port}/ (Ctrl-C ends)")
        raise typer.Exit(view.serve(values, port))
    size = view.write_html(values, html)
    if as_json:
        return print_json({"path": str(html), "bytes": size})
    print_line(f"{html}: {size / 1e6:.1f} MB")


help.dress(app)


def main() -> None:
    """Entry point: known errors become one line on stderr and an exit code, never a traceback."""
    from llmhar.ask.engines.base import EngineError
    from llmhar.ask.models import ModelError, UnknownModel
    from llmhar.ask.store import StoreError
    from llmhar.data.homes import PromptError
    from llmhar.data.load_report import DataError, WrongCall
    from llmhar.run.ready import NotReady
    from llmhar.scaling.planner.plan import PlanError
    from llmhar.score.f1 import ScoreError
    from llmhar.settings import SettingsError

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
