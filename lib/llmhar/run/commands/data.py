"""``llmhar data``: what is there, fetch, add, check, list events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from llmhar.run.commands.shared import Folder, Json, Options, numbers_of, pairs_of, values_of
from llmhar.run.terminal import one_line, print_json, print_line

app = typer.Typer(no_args_is_help=True, help="Data sets: what is there, fetch, add, check, list events.")


def _print_place(name: str, place: Path, as_json: bool) -> None:
    print_json({"name": name, "path": str(place)}) if as_json else print_line(f"{name}: {place}")


@app.command("list")
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


@app.command("fetch")
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


@app.command("add")
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


@app.command("new")
def data_new(  # noqa: PLR0913 - options of a command
    name: Annotated[str, typer.Argument(help="Name of the home: letters, digits, - and _.")],
    more: Annotated[list[Path] | None, typer.Argument(help="Further files, after --from.", metavar="[FILE]...")] = None,
    from_: Annotated[list[Path] | None, typer.Option("--from", help="CSV, Parquet or home-assistant_v2.db.")] = None,
    labels: Annotated[list[Path] | None, typer.Option(help="Activities as start, end, activity[, resident].")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(help="Which column is which: time=…,sensor=…,state=…,room=…,resident=…,activity=…"),
    ] = None,
    preset: Annotated[str, typer.Option(help="home-assistant; else told by the files.")] = "",
    days: Annotated[str, typer.Option(help="START..END: only these days, e.g. 2026-03-01..2026-03-14.")] = "",
    zone: Annotated[str, typer.Option(help="Time zone for stamps in UTC, e.g. Europe/Paris; default: here.")] = "",
    day_first: Annotated[
        bool | None, typer.Option("--day-first/--month-first", help="How 03/04/2026 is read, where files do not tell.")
    ] = None,
    above: Annotated[list[str] | None, typer.Option(help="SENSOR=NUMBER: on above it, else off (repeatable).")] = None,
    add: Annotated[
        bool, typer.Option("--add", help="Keep the events that the home has, add those of the files.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a data set of your own files, or read them into it again: a folder with home.yaml, which you may edit."""
    from llmhar.data.own.files import Wanted
    from llmhar.data.own.make import Plan, check_name, make, summary
    from llmhar.data.registry import BUILT_IN
    from llmhar.fusion.clips.registry import CLIPSETS
    from llmhar.fusion.encoders.weights_files import WEIGHTS

    if not from_:
        raise typer.BadParameter("give the files of your home: --from FILE")
    if preset not in ("", "home-assistant"):
        raise typer.BadParameter(f"--preset {preset}: there is home-assistant alone")
    check_name(name, {*BUILT_IN, *CLIPSETS, *WEIGHTS})
    roles = pairs_of([part for option in columns or [] for part in option.split(",") if part])
    wanted = Wanted(roles, day_first, hass=preset != "")
    plan = Plan(wanted, labels or (), days, zone, numbers_of(above, "--above"), add)
    made = make(name, [*from_, *(more or ())], plan)
    for said in made.said:
        print_line(f"note: {said}", to_stderr=as_json)
    shown = summary(made)
    if as_json:
        return print_json(shown)
    print_line(f"home: {made.path} (home.yaml is yours to edit)")
    for key in ("events", "sessions", "rooms", "sensors", "activities"):
        value = shown[key]
        print_line(f"{key}: {len(value)}: {', '.join(value)[:300]}" if isinstance(value, list) else f"{key}: {value}")
    _print_notes(made.loaded.report.to_json(), ("mended", "refused", "dropped"))
    print_line(f"next: llmhar data report {name}")


@app.command("report")
def data_report(name: str, path: Folder = None, option: Options = None, as_json: Json = False) -> None:
    """Load a data set or a set of clips and say what was read, mended, refused and set aside."""
    from llmhar.data.registry import load
    from llmhar.fusion.clips.registry import load_clipset

    is_clips, options = _clips_or_events(name), values_of(option)
    report = load_clipset(name, path, options).to_json() if is_clips else load(name, path, options).report.to_json()
    if as_json:
        return print_json(report)
    for key, value in report.items():
        shown = ", ".join(f"{name} {n}" for name, n in value.items()) if isinstance(value, dict) else value
        print_line(f"{key}: {len(value) if isinstance(value, list) else shown}")
    _print_notes(report, ("mended", "refused", "set_aside", "dropped"))


def _print_notes(report: Mapping[str, Any], kinds: Sequence[str]) -> None:
    """Print a report's warnings and rows, fifty of a kind."""
    for warning in report.get("warnings", []):
        print_line(f"warning: {warning}")
    for kind in kinds:
        notes = report.get(kind, [])
        for note in notes[:50]:
            rows = f"{note['rows']:,} rows: " if "rows" in note else ""
            print_line(f"{kind.replace('_', ' ')}: {note['file']}:{note['line']}: {rows}{note['reason']}")
        if len(notes) > 50:
            print_line(f"{kind.replace('_', ' ')}: … and {len(notes) - 50} more (--json lists all)")


@app.command("events")
def data_events(name: str, path: Folder = None, option: Options = None, as_json: Json = False) -> None:
    """List all events of a data set with their ground truth."""
    from llmhar.data.registry import WrongCall, load

    if _clips_or_events(name):
        raise WrongCall(f"{name} is a set of clips, which have no sensor events: see `llmhar data report {name}`")
    rows = [row for session in load(name, path, values_of(option)).sessions for row in session.to_rows()]
    if as_json:
        return print_json(rows)
    columns = ("session", "id", "time", "room", "sensor", "state", "activity")
    for line in (columns, *([row[column] for column in columns] for row in rows)):  # thousands: no table
        print_line("\t".join(map(one_line, line)))
