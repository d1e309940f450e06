"""What a student's folder says of it: ``about.json`` for programs, ``README.md`` (the model card) for people.

Nothing here decides what comes out of training: a student may be named, and scores may be added, at any time. Trains
nothing, asks nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmhar import paths
from llmhar.ask.models import NAME, NAME_RULE, ModelError, load_models
from llmhar.ask.trained import (
    LEFT_OUT,
    About,
    CardScore,
    change_about,
    find_student,
    merge_report,
    own_name,
    parent_of,
    read_about,
    read_record,
    student_folders,
    students_home,
    taught_prompt,
)
from llmhar.data.events import SensorEvent, Window
from llmhar.distill.examples import read_examples
from llmhar.score.tables import Result
from llmhar.settings import SettingsError
from llmhar.text.parsing import count_marks
from llmhar.text.prompt import PromptForm
from llmhar.text.serialize import SERIALIZERS, clean_text

if TYPE_CHECKING:
    from llmhar.distill.study import Confirmed, StudyResults

CARD = "README.md"
NO_WEIGHTS = "Its weights are not here: it is known by what it answered in a recorded study (`llmhar run --recorded`)."
NOT_SCORED, NOT_KNOWN = "not scored here", "not recorded (trained before cards were kept; run notebook 04 again)"
_EXAMPLE = (("kitchen", "fridge contact", "OPENED"), ("kitchen", "fridge contact", "CLOSED"),
            ("kitchen", "kettle wattmeter", "turned ON"))  # fmt: skip


def check_name(name: str) -> None:
    """Refuse what cannot be a student's own name.

    Raises:
        SettingsError: other characters than a folder's, or the name of a model or of a student's folder.
    """
    if not NAME.fullmatch(name):
        raise SettingsError(f"student_name {name!r}: {NAME_RULE}")
    if name in load_models() or (students_home() / name).exists():
        raise SettingsError(f"student_name {name!r} is a model's or a folder's already; choose another")


def name_student(folder: Path, name: str) -> list[str]:
    """Give a student a name of its own; whoever had it before keeps only the name of its folder.

    Returns:
        Folders of those who had it.

    Raises:
        SettingsError: what cannot be a name.
    """
    check_name(name)
    with paths.locked(students_home() / ".names.lock"):
        before = [other for other in student_folders() if other != folder and own_name(other) == name]
        for other in before:
            update_about(other, {"name": ""})
        update_about(folder, {"name": name})
    return [other.name for other in before]


def update_about(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change some fields of what a folder says of its student, and write its card anew.

    Args:
        folder: the student's.
        changes: fields of :class:`llmhar.ask.trained.About` -> values; scores are added to those that are there, in
            place of earlier ones on the same windows.
    """
    change_about(folder, changes)
    with paths.locked(folder / ".about.lock"):
        paths.write_text(folder / CARD, card_text(folder))


def write_scores(results: StudyResults, confirmed: Sequence[Confirmed] = ()) -> list[str]:
    """Enter the scores of a study into its students' cards, in place of earlier ones on the same windows.

    Args:
        results: of all students.
        confirmed: the first student's on further sessions.

    Returns:
        One line a student: its name, and where its card is.
    """
    scored = [(taught.student, own) for taught, own in zip(results.students, results.of_students)]
    if confirmed and results.taught.latest:
        scored.append((results.taught.latest.student, [one.student for one in confirmed]))
    for student, own in scored:
        update_about(student.folder, {"scores": tuple(map(_score, own))})
    return list(dict.fromkeys(f"{own_name(s.folder)}: {s.folder / CARD}" for s, _ in scored))


def _score(result: Result) -> CardScore:
    f1 = result.macro_f1
    low, high = (None if bound != bound else bound for bound in (f1.low, f1.high))
    return CardScore(
        data=result.task.data, windows=result.task.subset, n_sessions=f1.n, n_windows=len(result.task.windows),
        macro_f1=f1.mean, low=low, high=high, missed_pct=result.overall.missed_pct, made_by=result.made_by,
    )  # fmt: skip


def facts(folder: Path) -> dict[str, Any]:
    """What is known of a student, JSON-ready: name, base, lessons, prompt, scores, weights.

    Raises:
        ModelError: its record or weights are damaged.
    """
    record, about = read_record(folder), read_about(folder) or About()
    base = load_models().get(record["recipe"]["student"])
    prompt = about.prompt or taught_prompt(folder)
    report = merge_report(folder, record) if record["recipe"]["method"] == "lora" else None
    sessions: dict[str, list[str]] = {}
    for data, session in record.get("train_sessions", []):
        sessions.setdefault(data, []).append(session)
    return {
        "name": own_name(folder),
        "folder": folder.name,
        "base": record["recipe"]["student"],
        "base_id": record["model_id"],
        "revision": record["revision"],
        "licence": base.licence if base else "",
        "method": record["recipe"]["method"],
        "recipe": record["recipe"],
        "round": record.get("round", 1),
        "teacher": about.teacher,
        "teacher_kind": about.teacher_kind,
        "teacher_made_by": about.teacher_made_by,
        "data": about.data,
        "windows": about.windows,
        "learnt": about.completion or _learnt(folder),
        "n_examples": record["n_examples"] - record.get("too_long", 0),
        "train_sessions": sessions,
        "data_sha256": record["data_sha256"],
        "prompt": _prompt_facts(folder, prompt),
        "scores": [score.model_dump() for score in about.scores],
        "weights_sha256": record["weights_sha256"],
        "merged_sha256": report["weights_sha256"] if report else None,
        "left_out": LEFT_OUT in record,
        "trained_with": record.get("packages", {}),
        "trained_on": f"{record.get('device', '')} {record.get('dtype', '')}".strip(),
    }


def _learnt(folder: Path) -> str:
    """What an older student was shown of the teacher's texts, as its first example looks."""
    return "reasoning" if count_marks(read_examples(folder / "examples.jsonl")[0].completion)[1] else "answer"


def _prompt_facts(folder: Path, form: PromptForm | None) -> dict[str, Any]:
    """The prompt: its form where known, its static text as the first example has it, and what a window looks like."""
    example = json.loads((folder / "examples.jsonl").read_text(encoding="utf-8").partition("\n")[0])
    system = "\n\n".join(turn["content"] for turn in example["messages"] if turn["role"] == "system")
    found: dict[str, Any] = {"system": system, "form": None, "window": None}
    if form is not None:
        start = datetime(2000, 1, 3, 7, 30)
        events = [SensorEvent(i, start + timedelta(seconds=9 * i), *words) for i, words in enumerate(_EXAMPLE)]
        found["window"] = f"Events:\n{SERIALIZERS[form.serializer](Window('example', 0, tuple(events)))}"
        found["form"] = {"wording": form.wording, "serializer": form.serializer, "answer": form.answer}
    return found


def card_text(folder: Path, running: str = "", files: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The model card in Markdown.

    Args:
        folder: the student's.
        running: how it is run from where the card lies; empty = by name, in this checkout.
        files: exported file -> {"bytes", "sha256"}; None = the weights of the student's own folder.

    Raises:
        ModelError: its record or weights are damaged.
    """
    known = facts(folder)
    name, recipe = known["name"], known["recipe"]
    how = f"LoRA, rank {recipe['rank']}, alpha {recipe['alpha']}" if known["method"] == "lora" else "all weights"
    what = {"reasoning": "the teacher's reasoning and answers", "answer": "the teacher's answers, without reasoning",
            "items": "the teacher's answers, each item with its reason"}  # fmt: skip
    teacher = f"`{plain(known['teacher'])}` ({known['teacher_kind']}); answers made by {known['teacher_made_by']}"
    sessions = "; ".join(f"{plain(data)}: {len(ids)} ({', '.join(map(plain, ids))})"
                         for data, ids in known["train_sessions"].items())  # fmt: skip
    rows = {
        "base model": f"`{known['base']}`: {known['base_id']}, revision `{known['revision']}`",
        "licence": known["licence"] or "that of the base model, which no models file names any more",
        "taught by": teacher if known["teacher"] else NOT_KNOWN,
        "learnt": what.get(known["learnt"], NOT_KNOWN),
        "data": f"{plain(known['data'])}, {plain(known['windows'])}" if known["data"] else NOT_KNOWN,
        "training sessions": sessions,
        "examples": f"{known['n_examples']:,}, sha256 `{known['data_sha256']}`",
        "method": f"{how}; {recipe['max_steps']} steps, learning rate {recipe['learning_rate']:g}, seed "
        f"{recipe['seed']}, round {known['round']}; {known['trained_on']}",
        "folder": f"`{known['folder']}`",
    }
    licence = _word(known["licence"].casefold()) or "other"
    lines = ["---", f"license: {licence}", f"base_model: {_word(known['base_id'])}", "---", f"# {name}", "",
             "Names the home activity behind each event of a short window of sensor events.", "",
             "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items()), "",
             "## Scores", "", *_score_lines(known["scores"]), "",
             "## Prompt", "", *_prompt_lines(known["prompt"], recipe, name), "",
             "## Running it", "", running or _by_name(name), "",
             "## Weights", "", "| file | bytes | sha256 |", "|---|--:|---|",
             *(f"| `{file}` | {entry['bytes']:,} | `{entry['sha256']}` |"
               for file, entry in (files or _own_weights(folder, known)).items()), "",
             *([NO_WEIGHTS, ""] if known["left_out"] else []),
             "What it learnt may show: who has the weights may draw rooms, habits and activity names of the training "
             "home from them."]  # fmt: skip
    return "\n".join(lines) + "\n"


def plain(text: str) -> str:
    """Text of a data set, fit for a cell of a table."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", clean_text(str(text), 2000))


def _word(text: str) -> str:
    """Text as one word of YAML."""
    return re.sub(r"[^\w./-]+", "-", text)


def _score_lines(scores: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = []
    for score in scores:
        interval = "no interval" if score["low"] is None else f"[{score['low']:.3f}, {score['high']:.3f}]"
        rows.append(f"| {plain(score['data'])} | {plain(score['windows'])} | {score['n_sessions']} | "
                    f"{score['n_windows']} | {score['macro_f1']:.3f} {interval} | {score['missed_pct']:.1f} | "
                    f"{plain(score['made_by'])} |")  # fmt: skip
    head = ["| data | windows | sessions | windows asked | macro F1 [95 %] | missed % | engine |",
            "|---|---|--:|--:|---|--:|---|"]  # fmt: skip
    return [*head, *rows] if rows else [NOT_SCORED]


def _prompt_lines(prompt: Mapping[str, Any], recipe: Mapping[str, Any], name: str) -> list[str]:
    lines = ["System message, as in training:", "", *(f"    {line}" for line in prompt["system"].splitlines())]
    if prompt["form"] is None:
        return [*lines, "", "The form of its prompt is not known: it is asked with the prompt of the run."]
    form = ", ".join(f"{key} `{value}`" for key, value in prompt["form"].items())
    window = [f"    {line}" for line in prompt["window"].splitlines()]
    return [*lines, "", f"User message: the window ({form}); for example", "", *window]


def _by_name(name: str) -> str:
    return (f"    llmhar label DATASET --model {name}\n    llmhar run demo 02 -p models=rules,{name}\n"
            f"    llmhar students export {name} --to FOLDER --format safetensors")  # fmt: skip


def _own_weights(folder: Path, known: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    part = "adapter/adapter_model" if known["method"] == "lora" else "model/model"
    hashes = {f"{part}.safetensors": known["weights_sha256"], "merged/model.safetensors": known["merged_sha256"]}
    return {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256}
            for name, sha256 in hashes.items() if sha256 and (folder / name).is_file()}  # fmt: skip


@dataclass(frozen=True)
class CardWords:
    """What cards of shipped students say of their task; "{name}" stands for the student's name."""

    does: str
    """What it is for, in a sentence."""
    lesson: str
    """Of what each lesson is, behind their number; with what is not among them."""
    running: tuple[str, ...]
    """Commands, a line each."""
    bound: str
    """How answers are made, before a lesson's prompt."""
    limits: tuple[str, ...]
    """A paragraph each."""
    rows_of: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
    """A run.json's scores, each with the "model" that has it."""
    score_lines: Callable[[Sequence[Mapping[str, Any]]], list[str]]
    """Such scores as a table in Markdown."""


def shipped_card(known: Mapping[str, Any], messages: Sequence[Mapping[str, str]], words: CardWords) -> str:
    """The model card of a student in the repository, in Markdown.

    Args:
        known: what stands in its card for programs.
        messages: prompt of a lesson, shown as an example.
        words: of its task.
    """
    name, recipe, (file, weights) = known["name"], known["recipe"], next(iter(known["files"].items()))
    table = {
        "base model": f"`{known['base']}` of params/models.yaml: {known['base_id']}, revision `{known['revision']}`",
        "licence": f"{known['licence']}, as the base model",
        "data": words.lesson.format(n=f"{known['n_examples']:,}", sha256=known["data_sha256"]),
        "method": f"LoRA, rank {recipe['rank']}, alpha {recipe['alpha']}, on {', '.join(recipe['targets'])}; "
        f"{recipe['max_steps']:,} steps of {recipe['batch_size'] * recipe['accumulate']} lessons, learning rate "
        f"{recipe['learning_rate']:g} ({recipe['schedule']}), seed {recipe['seed']}; {known['trained_on']}",
        "weights": f"`{file}`: {weights['bytes']:,} bytes, bfloat16, sha256 `{weights['sha256']}`",
    }
    example = [line for turn in messages for line in f"{turn['role']}: {turn['content']}".splitlines()]
    lines = ["---", f"license: {_word(known['licence'].casefold())}", f"base_model: {_word(known['base_id'])}",
             "library_name: peft", "---", f"# {name}", "",
             words.does, "",
             "| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in table.items()), "",
             "## Running it", "", *(f"    {line.format(name=name)}" for line in words.running), "",
             f"{words.bound} A lesson's prompt:", "",
             *(f"    {clean_text(line, 300)}" for line in example), "",
             "## Scores", "", *(words.score_lines(known["scores"]) if known["scores"] else [NOT_SCORED]), "",
             "## Limits", "", *(f"- {limit}" for limit in words.limits)]  # fmt: skip
    return "\n".join(lines) + "\n"


def _run_lines(scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """Scores as a run.json has them, in a table."""
    rows = [
        f"| {plain(score['model'])} | {plain(score['data'])} | {plain(score['subset'])} | {score['n_sessions']} | "
        f"{score['n_events']:,} | {_interval(score, 'macro_f1')} | {_interval(score, 'weighted_f1')} | "
        f"{score['missed_pct']:.1f} | {plain(score['engine'])} |"
        for score in scores
    ]
    columns = ("model", "data", "windows", "sessions (n)", "events", "macro F1 [95 %]", "weighted F1 [95 %]",
               "missed %", "engine")  # fmt: skip
    return table_lines(columns, rows)


def table_lines(columns: Sequence[str], rows: Iterable[str]) -> list[str]:
    """A table in Markdown."""
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows]


HOME_CARD = CardWords(
    does="Names the activity behind each event of a short window of sensor events, in homes that it never saw: it is "
    "told the home's activities, one a line, and answers why, in a few words, and which.",
    lesson="made-up homes alone (simulated): {n} lessons, each a window of another home, sha256 `{sha256}`; no "
    "recorded home and no other model's text is in them",
    running=(
        "llmhar models fetch {name}",
        "llmhar label DATASET --path FOLDER --model {name} --out labels.csv",
        "llmhar score DATASET labels.csv --path FOLDER",
    ),
    bound="Answers are bound to the home's activities by a schema, and drawn greedily.",
    limits=(
        "It is 135M parameters large, and reads as much as these can: scores on a home of yours may be far from those "
        "above; score some days of it that you labelled yourself.",
        "Scores are of homes, sensors and names that it never saw: none of its lessons calls an activity as a recorded "
        "home does, but for single shared words.",
        "Made-up homes have one to four residents and the sensors of params/grammar.yaml; sensors and habits of other "
        "kinds, and languages other than English, were not taught.",
        "A reason is written before its activity and sounds sure whatever the activity is worth.",
        "It is for research and for looking at one's own home: nothing of care or safety should hang on it.",
    ),
    rows_of=lambda run: list(run["scores"]),
    score_lines=_run_lines,
)


def _interval(score: Mapping[str, Any], key: str) -> str:
    low, high = score[f"{key}_low"], score[f"{key}_high"]
    return f"{score[key]:.3f} {'no interval' if low is None else f'[{low:.3f}, {high:.3f}]'}"


def students_table() -> list[dict[str, Any]]:
    """One row a student, as ``llmhar students list`` shows it; unfinished trainings and damaged folders say so."""
    return [_row(folder) for folder in sorted({file.parent for file in students_home().glob("*/job.json")})]


def _row(folder: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"name": own_name(folder), "folder": folder.name}
    if not (folder / "student.json").exists():
        return row | {"state": "not finished: run its notebook again"}
    try:
        known = facts(folder)
        parent_of(folder, read_record(folder), load_models())
    except ModelError as error:
        return row | {"state": str(error)}
    first = known["scores"][0] if known["scores"] else None
    return row | {
        "state": "answers only" if known["left_out"] else "whole",
        "base": known["base"], "method": known["method"], "taught_by": known["teacher"],
        "on": known["data"] or ", ".join(known["train_sessions"]), "learnt": known["learnt"],
        "macro_f1": first["macro_f1"] if first else None, "n_sessions": first["n_sessions"] if first else None,
        "low": first["low"] if first else None, "high": first["high"] if first else None,
        "scored_on": first["data"] if first else NOT_SCORED,
        "licence": known["licence"], "bytes": sum(one["bytes"] for one in _own_weights(folder, known).values()),
    }  # fmt: skip


def rename(name: str, new: str) -> list[str]:
    """Give the student of a name another one; returns who had that before.

    Raises:
        UnknownModel: no student, or several, have the first name.
        SettingsError: the second cannot be a name.
    """
    return name_student(find_student(name), new)
