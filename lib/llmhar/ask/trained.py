"""Trained students as models: a student's name, or its folder below ``LLMHAR_HOME/students`` -> the model that answers.

:mod:`llmhar.distill` trains and writes these folders; here they are only read, so that whatever asks a model of
models.yaml can ask a student. Trains nothing, merges nothing, opens no weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from llmhar import paths
from llmhar.ask.models import NAME, Adapter, AskedAs, Local, ModelError, ModelSpec, Pruned, UnknownModel
from llmhar.text.prompt import PROMPTS, PromptForm

RECORD, ABOUT, MERGED = "student.json", "about.json", "merged.json"
"""Files of a student's folder: how it was trained (written last), what it is, and how its adapter was merged."""


LEFT_OUT = "weights_left_out"
"""Field of a record: its weights are too large for the repository; it is known by recorded answers."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)  # a later version's further fields are passed over


class CardScore(_Record):
    """A score of a student on test windows."""

    data: str
    """Data set and its kind."""
    windows: str
    """Which windows were asked."""
    n_sessions: int
    """Units of the interval."""
    n_windows: int
    macro_f1: float
    """Mean over sessions."""
    low: float | None
    """End of the 95 % t interval; None for one session."""
    high: float | None
    missed_pct: float
    """Events without a label, in percent."""
    made_by: str
    """Engine, version, number format and device that answered."""


class About(_Record):
    """What a student is, as far as that does not decide what comes out of its training; all of it may be empty."""

    name: str = ""
    """Its own name; empty: it has only its folder's."""
    prompt: PromptForm | None = None
    """The form of the prompt that it was taught with, and is asked with; None = not known."""
    asked: AskedAs | None = None
    """How it was taught to answer, and is asked; None = as its parent, else as the run."""
    teacher: str = ""
    """Whose texts it learnt: a model's name."""
    teacher_kind: str = ""
    """"rules, not an LLM", "LLM" …"""
    teacher_made_by: str = ""
    """Engine and version of the teacher's answers."""
    data: str = ""
    """Data set of the training windows, and its kind."""
    windows: str = ""
    """Which windows the teacher was asked about."""
    completion: str = ""
    """reasoning (the teacher's whole text) or answer (the answer alone)."""
    scores: tuple[CardScore, ...] = ()


def students_home() -> Path:
    """Folder of all students of this checkout."""
    return paths.home() / "students"


def recorded_home() -> Path:
    """Folder of the students that git tracks (:mod:`llmhar.distill.recorded`)."""
    return paths.record() / "students"


def student_folders() -> list[Path]:
    """Folders of all students whose training came to its end, by name."""
    return sorted(file.parent for file in students_home().glob(f"*/{RECORD}"))


def change_about(folder: Path, changes: Mapping[str, Any]) -> None:
    """Change some fields of what a folder says of its student; its card is not written.

    Args:
        folder: the student's.
        changes: fields of :class:`About` -> values; scores are added to those that are there, in place of earlier ones
            on the same windows.
    """
    with paths.locked(folder / ".about.lock"):
        before = read_about(folder)
        old = before or About()
        scores = {(score.data, score.windows): score for score in (*old.scores, *changes.get("scores", ()))}
        about = old.model_copy(update={**changes, "scores": tuple(scores.values())})
        if about != before:
            paths.write_text(folder / ABOUT, about.model_dump_json(indent=1))


def read_about(folder: Path) -> About | None:
    """What a student's folder says of it; None where it says nothing (older students) or cannot be read."""
    try:
        return About.model_validate_json((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def own_name(folder: Path) -> str:
    """A student's own name, else (there is none, or it could not be a folder's) its folder's."""
    about = read_about(folder)
    return about.name if about and NAME.fullmatch(about.name) else folder.name


def student_names() -> dict[str, list[Path]]:
    """Every name that a student has, its folder's among them, and whose it is: names of one's own may be doubled by
    copying folders.
    """
    names: dict[str, list[Path]] = {}
    for folder in student_folders():
        for name in dict.fromkeys((own_name(folder), folder.name)):
            names.setdefault(name, []).append(folder)
    return names


def find_student(name: str) -> Path:
    """The folder of a student.

    Args:
        name: its own, or its folder's.

    Raises:
        UnknownModel: nobody has this name, or several have; lists them.
    """
    names = student_names()
    folders = names.get(name, [])
    if len(folders) > 1:
        which = ", ".join(folder.name for folder in folders)
        raise UnknownModel(f"several students are called {name!r}: {which}; name the folder")
    if not folders:
        raise UnknownModel(f"no student is called {name!r}; {students_home()} has: {', '.join(names) or 'none'}")
    return folders[0]


def read_record(folder: Path) -> dict[str, Any]:
    """How a student was trained.

    Raises:
        ModelError: no whole record, or weights that are gone or cut; not where they were left out (:data:`LEFT_OUT`).
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        weights = weights_file(folder, record["recipe"]["method"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{folder / RECORD} cannot be read; train the student again") from error
    if LEFT_OUT in record:
        return record
    if not weights.exists() or weights.stat().st_size != record.get("weights_bytes", weights.stat().st_size):
        raise ModelError(f"{weights} is missing or cut; train the student again")
    return record


def weights_file(folder: Path, method: str) -> Path:
    """The one file of weights that a student adds."""
    return folder / ("adapter/adapter_model.safetensors" if method == "lora" else "model/model.safetensors")


def parent_of(folder: Path, record: Mapping[str, Any], models: Mapping[str, ModelSpec]) -> ModelSpec:
    """What a student's training started from, as its record says.

    Args:
        folder: the student's.
        record: of it.
        models: by name; one of them is the model that the student's first round began with.

    Raises:
        ModelError: that model is among them no more.
    """
    base = models.get(record["recipe"]["student"])
    if base is None:
        what = f"{folder.name} was made from the model {record['recipe']['student']!r}"
        raise ModelError(f"{what}, which no models file has: add it again")
    changed = {"name": record["parent"], "template_args": record["template_args"]}
    if isinstance(base.source, Pruned) and not base.shape and (whole := models[base.source.parent].shape):
        changed["shape"] = whole.model_copy(update={"layers": len(base.source.layers)})
    if record["revision"] != base.revision:  # a later round: the parent is a student itself
        place = json.loads((folder / "job.json").read_text(encoding="utf-8"))["model"]
        changed |= {"hub_id": record["model_id"], "revision": record["revision"], "source": Local(path=place)}
    return base.model_copy(update=changed)


def tuned_model(name: str, parent: ModelSpec, folder: Path, record: Mapping[str, Any]) -> ModelSpec:
    """A student as training left it: its parent with an adapter, or weights of its own; activities it names itself."""
    parent = _naming_itself(parent)
    if record["recipe"]["method"] == "lora":
        adapter = Adapter(path=folder / "adapter", sha256=record["weights_sha256"])
        place = parent.locate()  # found by the parent's name, which the student does not have
        source = Local(path=place) if isinstance(place, Path) else parent.source
        return parent.model_copy(update={"name": name, "adapter": adapter, "source": source})
    revision = f"{parent.revision}+tuned:{record['weights_sha256'][:12]}"
    source = Local(path=folder / "model")
    if LEFT_OUT in record:
        if not isinstance(place := parent.locate(), Path):
            raise ModelError(f"{parent.name}'s tokenizer is not here; run: llmhar models fetch {parent.name}")
        source = Local(path=place, answers_only=True)
    return parent.model_copy(update={"name": name, "revision": revision, "source": source})


def merged_model(name: str, parent: ModelSpec, folder: Path, report: Mapping[str, Any]) -> ModelSpec:
    """A LoRA student with its adapter folded into its parent's weights; ``report``: from :func:`merge_report`."""
    parent = _naming_itself(parent)
    revision = f"{parent.revision}+merged:{report['weights_sha256'][:12]}"
    return parent.model_copy(update={"name": name, "revision": revision, "source": Local(path=folder / "merged")})


def _naming_itself(parent: ModelSpec) -> ModelSpec:
    """A parent as a student tuned on one home has it: names are learnt there, and not found by reasons any more."""
    asked = parent.asked and parent.asked.model_copy(update={"named": False})
    return parent.model_copy(update={"asked": asked})


def merge_report(folder: Path, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report of an earlier merge of this very adapter, if its weights are still there."""
    try:
        report: dict[str, Any] = json.loads((folder / MERGED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = report.get("adapter_sha256") == record["weights_sha256"]
    return report if same and (folder / "merged" / "model.safetensors").exists() else None


def trained_model(name: str, models: Mapping[str, ModelSpec]) -> ModelSpec:
    """The student of a name, in the form that a study asks: merged where it was merged, with the prompt it learnt.

    Args:
        name: its own, or its folder's.
        models: by name; what students were made from.

    Raises:
        UnknownModel: nobody has this name, or several have.
        ModelError: its record or weights are damaged, or the model that it was made from is gone.
    """
    folder = find_student(name)
    record, about = read_record(folder), read_about(folder)
    parent = parent_of(folder, record, models)
    report = merge_report(folder, record) if record["recipe"]["method"] == "lora" else None
    model = merged_model(name, parent, folder, report) if report else tuned_model(name, parent, folder, record)
    about = about or About()
    asked = {"prompt": about.prompt or taught_prompt(folder), "asked": about.asked or model.asked}
    return model.model_copy(update=asked)


def taught_prompt(folder: Path) -> PromptForm | None:
    """The prompt of a student whose folder names none (an older one), as its first example looks; None where it is not
    the wording ``student``, the default of students.
    """
    try:
        with open(folder / "examples.jsonl", encoding="utf-8") as lines:
            messages = json.loads(next(lines))["messages"]
        system, window = messages[0]["content"], messages[-1]["content"].removeprefix("Events:\n")
    except (OSError, ValueError, StopIteration, LookupError, TypeError):
        return None
    if system != PROMPTS["student"].role or window.startswith("["):
        return None
    looks = {"0. At ": "sentences", "0 ": "lines"}
    return PromptForm("student", next((looks[start] for start in looks if window.startswith(start)), "daytime"), "name")
