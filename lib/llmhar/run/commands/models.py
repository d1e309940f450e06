"""``llmhar models``: list them, fetch weights into the cache."""

from __future__ import annotations

import typer

from llmhar.run.commands.shared import Json
from llmhar.run.terminal import print_json, print_line, print_table

app = typer.Typer(no_args_is_help=True, help="Models: list them, fetch weights into the cache.")


@app.command("list")
def models_list(as_json: Json = False) -> None:
    """Say which models there are and which are in the cache."""
    from llmhar.ask.models import listing

    rows = listing()
    print_json(rows) if as_json else print_table(rows, ["name", "kind", "n_params", "licence", "place"])


@app.command("fetch")
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
