"""``llmhar students``: list trained students, show their cards, name them, carry them away."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmhar.run.commands.shared import Json
from llmhar.run.terminal import print_json, print_line, print_table

app = typer.Typer(no_args_is_help=True, help="Trained students: list, show, name, record, export.")
Name = Annotated[str, typer.Argument(help="Its own name, or its folder's below LLMHAR_HOME/students.")]


@app.command("list")
def students_list(as_json: Json = False) -> None:
    """Say which students were trained here, and how well they did where that was measured."""
    from llmhar.distill.cards import NOT_SCORED, students_table

    rows = students_table()
    if as_json:
        return print_json(rows)
    shown = []
    for row in rows:
        f1 = row.get("macro_f1")
        interval = "" if row.get("low") is None else f" [{row['low']:.3f}, {row['high']:.3f}]"
        score = NOT_SCORED if f1 is None else f"{f1:.3f}{interval} (n = {row['n_sessions']}), {row['scored_on']}"
        shown.append(row | {"macro F1": score if row["state"] == "whole" else "", "taught by": row.get("taught_by"),
                            "MB": round(row["bytes"] / 1e6) if "bytes" in row else ""})  # fmt: skip
    print_table(shown, ["name", "base", "method", "taught by", "learnt", "on", "macro F1", "MB", "state"])


@app.command("show")
def students_show(name: Name, as_json: Json = False) -> None:
    """Print a student's card."""
    from llmhar.ask.trained import find_student
    from llmhar.distill.cards import card_text, facts

    folder = find_student(name)
    print_json(facts(folder) | {"path": str(folder)}) if as_json else print_line(card_text(folder))


@app.command("name")
def students_name(name: Name, new: Annotated[str, typer.Argument(help="The name it gets.")]) -> None:
    """Give a student a name of its own."""
    from llmhar.distill.cards import rename

    for folder in rename(name, new):
        print_line(f"{new} was the name of {folder}, which keeps its folder's", to_stderr=True)


@app.command("record")
def students_record(name: Name) -> None:
    """Put a student's adapter into reports/record/students, rounded to bfloat16: the study opens it there.

    One with weights of its own is recorded without them: llmhar run --recorded knows what it answered.
    """
    from llmhar.distill.recorded import record_student
    from llmhar.distill.students import open_by_name

    print_line(str(record_student(open_by_name(name))))


@app.command("export")
def students_export(
    name: Name,
    to: Annotated[Path, typer.Option("--to", help="Folder that is made.")],
    file_format: Annotated[str, typer.Option("--format", help="safetensors, onnx-int8 or gguf.")],
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of what is there.")] = False,
    gguf_type: Annotated[str, typer.Option("--gguf", help="Numbers of a GGUF file: f16, or q8_0.")] = "f16",
    as_json: Json = False,
) -> None:
    """Write a student as a folder that needs nothing of llmhar: weights, tokenizer, card, licence."""
    from llmhar.distill.export import export
    from llmhar.distill.gguf_writer import GGUF_TYPES

    wanted = next((kind for kind in GGUF_TYPES if kind == gguf_type), None)
    if wanted is None:
        raise typer.BadParameter(f"--gguf {gguf_type!r}: one of {', '.join(GGUF_TYPES)}")
    done = export(name, to, file_format, replace=replace, gguf_type=wanted)
    if as_json:
        return print_json(done.to_json())
    for file, entry in done.files.items():
        print_line(f"{done.path / file}: {entry['bytes']:,} bytes, sha256 {entry['sha256']}")
