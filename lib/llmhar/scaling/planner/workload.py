"""The jobs of a plan: S1 as published, or what a profile's settings would ask. Counts windows and prompt tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llmhar import paths, settings
from llmhar.ask.inference import is_served
from llmhar.ask.models import MODELS, ModelError, ModelSpec, UnknownModel
from llmhar.ask.task import Task, prepare
from llmhar.data.events import Windowing, cut_windows
from llmhar.data.registry import DataError
from llmhar.scaling.planner.roofline import S1_PROMPT, Load, PlanError
from llmhar.text.prompt import PromptError, PromptForm
from llmhar.text.tokens import count_tokens

TRAIN_STEPS, TRAIN_BATCH, MFU = 500, 8, 0.325
"""Fine-tuning: S1 §4.3.2's 500 steps, of 8 examples (32 epochs of 126 windows say so); share of the peak that training
reaches, the middle of 25-40 %."""
PUBLISHED: Mapping[str, tuple[int, int]] = {"mural": (544, 250), "marble": (126, 60)}
"""Windows (train, test): train from S1 §4.3.2; test estimated from MuRAL's size and S1's split of MARBLE."""
SIZES = ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "qwen3-8b", "qwen3-14b", "qwen3-32b")
TEACHER, STUDENTS, FIGURE_4_RUNS = "qwen3-32b", ("qwen3-0.6b", "qwen3-1.7b"), 14


@dataclass(frozen=True)
class Job:
    """Windows for one model, before anything is known of cards."""

    job: str
    """"base", "teacher traces", "fine-tuned", "Figure 4", "training" or "ask"."""
    model: ModelSpec
    dataset: str
    windows: int
    """Answers to generate; for training: examples seen, all runs together."""
    load: Load
    windows_from: str
    """Where the count is from."""
    tokens_by: str
    """What counted the prompt's tokens."""
    runs: int = 1
    """Passes or training runs that ``windows`` is the sum of."""
    engine: str = ""
    """The pass that asks: jobs of one model wait together in one engine only where this is the same."""
    cards: int | None = None
    """Cards that serve the model whatever it needs; None = as few as do not starve it."""


class Windows(NamedTuple):
    """A data set's windows, read or published."""

    train: int
    test: int
    source: str
    task: Task | None
    """None: the data set is not here."""


def count_windows(name: str, whole: bool, form: PromptForm, windowing: Windowing, folder: str | None = None) -> Windows:
    """Count windows in ``LLMHAR_DATA``, else take the published counts; ``whole``: a fragment does not count."""
    published, path = PUBLISHED.get(name), Path(folder) if folder else None
    try:
        task = prepare(name, path, form, windowing)
        train = sum(len(cut_windows(session, windowing.size)) for session in task.train.values())
    except (DataError, PromptError) as error:
        if published is None:
            raise PlanError(f"windows of {name} cannot be counted: {error}") from error
        return Windows(*published, f"published counts of {name}: not in LLMHAR_DATA, or not readable", None)
    if whole and published and not 0.9 <= train / published[0] <= 1.1:
        why = f"published counts of {name}: LLMHAR_DATA has {train} training windows of {published[0]}"
        return Windows(*published, why, task)
    return Windows(train, len(task.windows), f"{name} in {'its folder' if folder else 'LLMHAR_DATA'}", task)


def prompt_load(found: Windows, model: ModelSpec, output: int) -> tuple[Load, str]:
    """Mean tokens of a window's prompt without the chat template's marks, and what counted them."""
    tokenizer = _tokenizer(model.name)
    here = found.task is not None and found.task.windows
    if found.task is None or not here or tokenizer is None:
        missing = "no tokenizer of its family is fetched" if here else "the data set is not here"
        return Load(*S1_PROMPT, output), f"assumed: S1's prompts, {missing}"
    who, file = tokenizer
    task = found.task
    texts = [[turn["content"] for turn in task.prompt_of(window).messages(window)] for window in task.windows]
    tokens = {text: n for part in zip(*texts) for text, n in zip(part, count_tokens(part, file).counts)}
    shared, private = (sum(tokens[text] for text in part) / len(texts) for part in zip(*texts))
    return Load(round(shared), round(private), output), f"{who} tokenizer"


def _tokenizer(name: str) -> tuple[str, Path] | None:
    """A fetched tokenizer of the model's family (names share it up to the first hyphen), its own first."""
    family = [other for other in MODELS if other.split("-")[0] == name.split("-")[0]]
    for other in sorted(family, key=lambda each: each != name):
        try:
            place = MODELS[other].locate()
        except ModelError:
            continue
        if isinstance(place, Path) and (place / "tokenizer.json").is_file():
            return other, place / "tokenizer.json"
    return None


def paper_jobs(output: int) -> tuple[list[Job], list[str]]:
    """S1 as published: six sizes, teacher traces, four students, Figure 4, and all fine-tuning."""
    sets = {name: count_windows(name, True, PromptForm(), Windowing(least_events=0)) for name in PUBLISHED}

    def job(what: str, model: str, name: str, windows: int, runs: int = 1) -> Job:
        load, counted = prompt_load(sets[name], MODELS[model], output)
        return Job(what, MODELS[model], name, windows * runs, load, sets[name].source, counted, runs)

    steps, figure = TRAIN_STEPS * TRAIN_BATCH, FIGURE_4_RUNS
    jobs = [job("base", model, name, sets[name].test) for model in SIZES for name in sets]
    jobs += [job("teacher traces", TEACHER, name, sets[name].train) for name in sets]
    # Each student is trained once on each data set, and each of the four is tested on both.
    jobs += [job("fine-tuned", model, name, sets[name].test, len(sets)) for model in STUDENTS for name in sets]
    jobs += [job("Figure 4", STUDENTS[0], "mural", sets["mural"].test, figure)]
    jobs += [job("training", model, name, steps) for model in STUDENTS for name in sets]
    jobs += [job("training", STUDENTS[0], "mural", steps, figure)]
    return jobs, [
        "S1 as published, each window asked once (K = 1); Figure 4: 14 students besides the one of Table 2",
        f"training: 6 × parameters × tokens at {MFU:.1%} of the bf16 peak (25-40 % is usual), {TRAIN_STEPS} steps of "
        f"{TRAIN_BATCH} prompts with traces of full length; whether its memory fits is not checked",
    ]


def profile_jobs(profile: str, output: int) -> tuple[list[Job], list[str]]:
    """The models and windows that a profile's settings name; what needs no weights is left out."""
    values, notebook = _settings(profile)
    names = values.get("datasets") or values.get("dataset", "simulated")
    form = PromptForm(**{key: values[key] for key in ("wording", "serializer", "answer", "rules") if key in values})
    windowing = Windowing(
        values["window_size"], values["n_windows"], values["seed"], least_events=values["least_events"]
    )
    capped = min(output, values.get("max_tokens") or output)
    samples = values.get("n_samples") or values.get("samples") or 1
    jobs, free = [], []
    for name in [names] if isinstance(names, str) else names:
        found = count_windows(name, False, form, windowing, values.get("data_dir"))
        for model in values.get("models", []):
            try:
                spec = MODELS[model]
            except UnknownModel as error:
                raise PlanError(str(error)) from error
            if reason := unplanned(spec, values.get("engine", "auto")):
                free.append(f"{model}: {reason}, not planned")
                continue
            load, counted = prompt_load(found, spec, capped)
            jobs.append(Job("ask", spec, name, found.test * samples, load, found.source, counted, samples))
    again = [values[key] for key in ("constrained_model", "repeated_model") if values.get(key)]
    notes = [f"models and windows from params/profiles/{profile}.yaml, {notebook}; answers of {capped} tokens"]
    notes += dict.fromkeys(free)
    notes += [f"{', '.join(again)}: second passes (constrained, repeated) are not planned"] if again else []
    return jobs, notes


def unplanned(model: ModelSpec, engine: str) -> str:
    """Why a model's answers need no card of one's own, or cannot be planned; empty if they can.

    Args:
        model: who is asked.
        engine: key into ``ENGINES``, or "auto".
    """
    if model.kind != "llm":
        return "no weights, takes seconds"
    if is_served(model, engine):
        return "a server answers"
    return "" if model.has_shape else "its shape is not known"


def _settings(profile: str) -> tuple[dict[str, Any], str]:
    """Defaults of the notebook's parameters cell, then the profile's own; and the notebook's name."""
    sections = settings.read_profile(paths.profile_file(profile), settings.notebook_names())
    for notebook in ("03_scaling", "02_prompting"):
        if notebook in sections:
            return settings.with_defaults(notebook, sections[notebook]), notebook
    raise PlanError(f"profile {profile!r} has no settings: params/profiles/{profile}.yaml has no section 03_scaling")
