"""What ``--help`` adds to the commands: groups, an example each, and the version. Runs no command."""

from __future__ import annotations

from typing import Annotated

import typer

from llmhar.run.terminal import print_line

PANELS = {
    "Study": ("plan", "lock", "run", "record"),
    "Data": ("data", "label", "score"),
    "Models": ("models", "students"),
    "Tools": ("explore", "parse", "bench"),
}
"""Heading of the help's groups -> its commands, as they are used in turn."""
EXAMPLES = {
    "plan": "llmhar plan paper --device h100 --n-gpus 8",
    "lock": "llmhar lock demo-full 04",
    "run": "llmhar run demo 02 -p models=[rules,smollm2-135m] -p n_windows=2 --name two",
    "record": "llmhar record demo-full 04",
    "data list": "llmhar data list",
    "data fetch": "llmhar data fetch uci_adl",
    "data add": "llmhar data add mural ~/Downloads/MuRAL.zip",
    "data new": "llmhar data new flat --from home-assistant_v2.db --labels diary.csv",
    "data report": "llmhar data report flat",
    "data events": "llmhar data events uci_adl -o home=A",
    "label": "llmhar label flat --out labels.csv",
    "score": "llmhar score flat labels.csv",
    "models list": "llmhar models list",
    "models fetch": "llmhar models fetch qwen3-0.6b",
    "models add": "llmhar models add mini --api --id gpt-5-mini --price-in 0.25 --price-out 2",
    "students list": "llmhar students list",
    "students show": "llmhar students show house",
    "students name": "llmhar students name 'smollm2-135m taught on simulated' house",
    "students record": "llmhar students record my-student",
    "students export": "llmhar students export house --to house-gguf --format gguf",
    "explore": "llmhar explore --html traces.html --profile smoke",
    "parse": "llmhar parse --labels activities.txt --n 10 < answer.txt",
    "bench injection": "llmhar bench injection --models rules,smollm2-135m --n 6",
}
"""Command -> a call that works as it stands, but for names of files and models."""


Entry = typer.models.CommandInfo | typer.models.TyperInfo


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from llmhar.settings import commit

        print_line(f"llmhar {version('llmhar')} (commit {commit()})")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Language models for human activity recognition at home."""


def dress(app: typer.Typer) -> None:
    """Give commands their group and example, and the program its version.

    Args:
        app: with all its commands.
    """
    app.callback(no_args_is_help=True)(root)
    _dress(app, "")
    panels = {name: panel for panel, names in PANELS.items() for name in names}
    order = list(panels)
    entries: list[Entry] = [*app.registered_commands, *app.registered_groups]
    for entry in entries:
        entry.rich_help_panel = panels[_name(entry)]
    app.registered_commands.sort(key=lambda entry: order.index(_name(entry)))
    app.registered_groups.sort(key=lambda entry: order.index(_name(entry)))


def _dress(app: typer.Typer, above: str) -> None:
    for entry in app.registered_commands:
        entry.epilog = f"Example: {EXAMPLES[above + _name(entry)]}"
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _dress(group.typer_instance, f"{_name(group)} ")


def _name(entry: Entry) -> str:
    """A command's name as it is typed."""
    return entry.name or str(getattr(getattr(entry, "callback", None), "__name__", ""))
