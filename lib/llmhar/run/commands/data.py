"""``llmhar data``: what is there, fetch, add, check, list events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmhar.run.commands.shared import Folder, Json, Options, values_of
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
    for warning in report.get("warnings", []):
        print_line(f"warning: {warning}")
    for rows in report.get("dropped", []):
        print_line(f"dropped: {rows['file']}:{rows['line']}: {rows['rows']} rows: {rows['reason']}")
    for kind in ("mended", "refused", "set_aside"):
        notes = report.get(kind, [])
        for note in notes[:50]:
            print_line(f"{kind.replace('_', ' ')}: {note['file']}:{note['line']}: {note['reason']}")
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
