"""Which notebooks are run with which settings: everything that can be checked before any work is checked here.

A setting that names a thing must name one that is in its registry; counts are at least 1; a device must have room.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llmhar import paths, settings
from llmhar.ask.asking import DRAWS
from llmhar.ask.engines.registry import ENGINES
from llmhar.ask.inference import serving_engine
from llmhar.ask.meter import ELSEWHERE
from llmhar.ask.models import MODELS, load_models
from llmhar.data.events import SESSION_PARTS
from llmhar.data.registry import DATASETS
from llmhar.distill.cards import check_name
from llmhar.distill.quantise import PRECISIONS
from llmhar.distill.teaching import load_teachings, read_arm
from llmhar.distill.traces import FILTERS
from llmhar.scaling.planner.plan import Load, devices, refuse_if_starved
from llmhar.settings import PROFILES, RunSpec, SettingsError, notebook_names, parameters_of
from llmhar.text.prompt import ANSWER_STYLES, FORMS, PROMPTS
from llmhar.text.serialize import SERIALIZERS

_COURSES = ("datasets", "if_here", "test_on")
_COUNTS = (
    "n_windows", "window_size", "max_tokens", "n_samples", "n_gpus", "n_shown", "max_steps", "n_sessions",
    "few_windows", "on_policy_steps", "n_guesses", "example_steps", "n_hostile", "n_llm_clips", "n_fuser_clips",
    "n_draws", "student_steps",
)  # fmt: skip


_TRIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True)
class Job:
    """One notebook to run."""

    notebook: str
    """Name without ending, e.g. "02_prompting"."""
    source: Path
    spec: RunSpec
    folder: Path
    """``reports/<profile>/<notebook>``; with a trial's name, ``<notebook>@<trial>``."""
    cwd: Path
    """The caller's folder: relative paths in parameters are read from it and recorded as given."""
    trial: str = ""
    """Name of settings that are tried beside the profile's own; empty = the profile's report itself."""


def choose_notebooks(profile: str, names: Iterable[str]) -> list[str]:
    """Whole names of the notebooks that a call means, each once.

    Args:
        profile: one of ``PROFILES``.
        names: notebooks, by name or by number ("02"); none = all.

    Raises:
        SettingsError: an unknown profile or notebook; says which there are.
    """
    if profile not in PROFILES:
        raise SettingsError(f"unknown profile {profile!r}; there are: {', '.join(PROFILES)}")
    there = notebook_names()
    chosen = list[str]()
    for name in names:
        meant = [whole for whole in there if whole == name or whole.startswith(f"{name}_")]
        if len(meant) != 1:
            raise SettingsError(f"unknown notebook {name!r}; there are: {', '.join(there)}")
        chosen += meant
    return list(dict.fromkeys(chosen)) or there


def plan_jobs(profile: str, names: Iterable[str], options: Mapping[str, str], cwd: Path, trial: str = "") -> list[Job]:
    """Check everything that can be checked before any work.

    Args:
        profile: one of ``PROFILES``.
        names: notebooks, by name or by number ("02"); none = all.
        options: ``-p`` values; each must fit at least one of the notebooks, and is given to those it fits.
        cwd: the caller's folder.
        trial: a name under which these settings stand beside the profile's own report; empty = they are that report.

    Raises:
        SettingsError: an unknown profile, notebook or parameter, a value of another type, or a trial's name that is no
            folder's.
    """
    chosen = choose_notebooks(profile, names)
    if trial and not _TRIAL.fullmatch(trial):
        raise SettingsError(f"--name {trial!r}: at most 40 letters, digits, and . _ - after the first")
    parameters = {name: parameters_of(paths.notebook_file(name)) for name in chosen}
    all_names = {name for cell in parameters.values() for name in cell}
    if unknown := [option for option in options if option not in all_names]:
        raise SettingsError(f"-p: unknown parameter {', '.join(unknown)}; there are: {', '.join(sorted(all_names))}")
    sections = settings.read_profile(paths.profile_file(profile), notebook_names())
    jobs = []
    for name in chosen:
        section = f"params/profiles/{profile}.yaml, section {name}"
        fitting = {option: text for option, text in options.items() if option in parameters[name]}
        values = settings.resolve(parameters[name], sections.get(name, {}), fitting, section)
        _check_values(values, f"{name}, {profile}")
        if values.get("data_dir"):  # ~ as a shell would; a kernel's folder is the caller's
            values["data_dir"] = os.path.expanduser(values["data_dir"])
        spec = settings.make_spec(name, profile, values)
        folder = paths.reports() / profile / (f"{name}@{trial}" if trial else name)
        jobs.append(Job(name, paths.notebook_file(name), spec, folder, cwd, trial))
    return jobs


def _clipsets() -> Iterable[str]:
    from llmhar.fusion.clips.registry import CLIPSETS

    return CLIPSETS


def _fusers() -> list[str]:
    from llmhar.fusion.answerers.clip_students import ARMS

    return [*ARMS, *MODELS]


def _movers() -> list[str]:
    from llmhar.distill.home_students import ARMS

    return [*ARMS, *MODELS]


def _questions() -> Iterable[str]:
    from llmhar.distill.home_questions import QUESTIONS

    return QUESTIONS


def _baselines() -> Iterable[str]:
    from llmhar.fusion.answerers.baselines import BASELINES  # scikit-learn is slow to import, and seldom asked for

    return BASELINES


def _encoders(parameter: str) -> list[str]:
    """Encoders that may stand behind a parameter."""
    from llmhar.fusion.encoders.registry import ENCODERS, STAND_INS

    modality = {"sound_labels": "labels", "motion_sizes": "motion"}.get(parameter, parameter)
    return [name for registry in (ENCODERS, STAND_INS) for name, made in registry.items() if made.modality == modality]


_CHOICES: dict[str, Callable[[], Iterable[str]]] = {
    "dataset": lambda: DATASETS,
    "datasets": lambda: DATASETS,
    "engine": lambda: ["auto", *ENGINES],
    "wording": lambda: PROMPTS,
    "serializer": lambda: SERIALIZERS,
    "answer": lambda: ANSWER_STYLES,
    "device": devices,
    **dict.fromkeys(("if_here", "test_on"), lambda: DATASETS),
    **dict.fromkeys(("teacher_prompt", "student_prompt"), lambda: FORMS),
    "teaching": load_teachings,
    "trace_filter": lambda: FILTERS,
    "serve": lambda: ["adapter", "merged"],
    "precisions": lambda: PRECISIONS,
    **dict.fromkeys(("models", "tokenizer", "constrained_model", "repeated_model", "thinking_model"), lambda: MODELS),
    **dict.fromkeys(("teacher", "students", "judge", "dose_models", "hostile_models"), lambda: MODELS),
    **dict.fromkeys(("student", "on_policy_student"), load_models),
    "sampling": lambda: DRAWS,
    "part": lambda: SESSION_PARTS,
    "movers": _movers,
    "questions": _questions,
    "fusers": _fusers,
    "clipset": _clipsets,
    "baselines": _baselines,
    **{name: partial(_encoders, name) for name in ("captions", "sound_labels", "motion", "motion_sizes")},
}
"""Parameter -> the registry that its values must be in."""


def _check_values(values: Mapping[str, Any], where: str) -> None:
    """Names that a registry does not hold, counts below 1, empty or doubled lists: an error before any work."""
    for name, value in values.items():
        parts = value if isinstance(value, list) else [] if value is None else [value]
        choices = list(_CHOICES[name]()) if name in _CHOICES and parts else parts
        if name == "students" and "models" not in values:  # who learns; beside `models` they are some of those
            choices = list(load_models())
        # Loader options of a course stand behind a colon; loaders check them.
        names = [str(part).partition(":")[0] for part in parts] if name in _COURSES else parts
        if unknown := [part for part, word in zip(parts, names) if word not in choices]:
            raise SettingsError(f"{where}: {name}: unknown {unknown[0]!r}; there are: {', '.join(choices)}")
        if name in ("models", "datasets") and (not parts or len(set(parts)) < len(parts)):
            raise SettingsError(f"{where}: {name} must name at least one, and none twice; got {value!r}")
        if name in _COUNTS and value is not None and value < 1:
            raise SettingsError(f"{where}: {name} must be at least 1, got {value}")
        if name == "arms":
            [read_arm(arm) for arm in parts]
        if name == "student_name" and value:
            check_name(value)
        if value == "":
            raise SettingsError(f"{where}: {name} is empty; leave it out, or write none")
    if "device" in values:  # stop a run whose cards have no room for a model: PlanError names the cure
        load = Load(output=min(Load().output, values.get("max_tokens", Load().output)))
        for model in values.get("models", []):
            if serving_engine(MODELS[model], values.get("engine", "auto")) not in ELSEWHERE:
                refuse_if_starved(model, values["device"], load, n_gpus=values.get("n_gpus", 1))
