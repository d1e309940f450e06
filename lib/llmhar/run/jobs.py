"""Which notebooks are run with which settings: everything that can be checked before any work is checked here.

A setting that names a thing must name one that is in its registry; counts are at least 1; a device must have room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

from llmhar import paths, settings
from llmhar.ask.engines.registry import ENGINES
from llmhar.ask.models import load_models
from llmhar.data.registry import DATASETS
from llmhar.distill.quantise import PRECISIONS
from llmhar.distill.recipe import BACKENDS, METHODS
from llmhar.distill.traces import FILTERS
from llmhar.scaling.planner.plan import Load, devices, refuse_if_starved
from llmhar.settings import PROFILES, RunSpec, SettingsError
from llmhar.text.prompt import ANSWER_STYLES, PROMPTS
from llmhar.text.serialize import SERIALIZERS

_COURSES = ("datasets", "if_here", "test_on")
_COUNTS = (
    "n_windows", "window_size", "max_tokens", "n_samples", "n_gpus", "n_shown", "step", "teacher_samples",
    "max_steps", "full_steps", "batch_size", "accumulate", "rank", "alpha", "save_every", "few_windows",
    "max_epochs", "on_policy_steps", "n_guesses", "example_steps", "n_hostile", "n_llm_clips", "student_steps",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One notebook to run."""

    notebook: str
    """Name without ending, e.g. "02_prompting"."""
    source: Path
    spec: RunSpec
    folder: Path
    """``reports/<profile>/<notebook>``."""
    cwd: Path
    """The caller's folder: relative paths in parameters are read from it and recorded as given."""


def notebook_names() -> list[str]:
    """All notebooks, in the order they are read and run."""
    return sorted(path.stem for path in (paths.root() / "notebooks").glob("[0-9][0-9]*_*.ipynb"))


def parameters_of(notebook: Path) -> dict[str, settings.Parameter]:
    """Names, types, defaults and help from a notebook's cell tagged ``parameters``.

    Raises:
        SettingsError: no such cell, or two.
    """
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise SettingsError(f"{notebook.name}: need exactly one cell tagged `parameters`, found {len(cells)}")
    return settings.read_parameters(cells[0].source)


def plan_jobs(profile: str, names: Iterable[str], options: Mapping[str, str], cwd: Path) -> list[Job]:
    """Check everything that can be checked before any work.

    Args:
        profile: one of ``PROFILES``.
        names: notebooks, by name or by number ("02"); none = all.
        options: ``-p`` values; each must fit at least one of the notebooks, and is given to those it fits.
        cwd: the caller's folder.

    Raises:
        SettingsError: an unknown profile, notebook or parameter, or a value of another type.
    """
    if profile not in PROFILES:
        raise SettingsError(f"unknown profile {profile!r}; there are: {', '.join(PROFILES)}")
    chosen = list(dict.fromkeys(_find_notebook(name) for name in names)) or notebook_names()
    parameters = {name: parameters_of(paths.root() / "notebooks" / f"{name}.ipynb") for name in chosen}
    strangers = [option for option in options if not any(option in known for known in parameters.values())]
    if strangers:
        known = sorted({name for names in parameters.values() for name in names})
        raise SettingsError(f"-p: unknown parameter {', '.join(strangers)}; there are: {', '.join(known)}")
    jobs = []
    for name in chosen:
        file = paths.params() / name / f"{profile}.yaml"
        own = {option: text for option, text in options.items() if option in parameters[name]}
        values = settings.resolve(parameters[name], settings.read_profile(file), own, f"params/{name}/{profile}.yaml")
        _check_values(values, f"{name}, {profile}")
        jobs.append(
            Job(
                notebook=name,
                source=paths.root() / "notebooks" / f"{name}.ipynb",
                spec=settings.make_spec(name, profile, values),
                folder=paths.reports() / profile / name,
                cwd=cwd,
            )
        )
    return jobs


class _Fusion(NamedTuple):
    CLIPSETS: Mapping[str, Any]
    BASELINES: Mapping[str, Any]


def _fusion() -> _Fusion:
    from llmhar.fusion.answerers.baselines import BASELINES  # scikit-learn is slow to import, and seldom asked for
    from llmhar.fusion.clips.registry import CLIPSETS

    return _Fusion(CLIPSETS, BASELINES)


def _encoders(parameter: str) -> list[str]:
    """Encoders that may stand behind a parameter."""
    from llmhar.fusion.encoders.registry import ENCODERS, STAND_INS

    modality = {"sound_labels": "labels", "motion_sizes": "motion"}.get(parameter, parameter)
    known = {name: one.modality for name, one in ENCODERS.items()} | {n: one.modality for n, one in STAND_INS.items()}
    return [name for name, own in known.items() if own == modality]


_CHOICES: dict[str, Callable[[], Iterable[str]]] = {
    "dataset": lambda: DATASETS,
    "datasets": lambda: DATASETS,
    "engine": lambda: ["auto", *ENGINES],
    "wording": lambda: PROMPTS,
    "serializer": lambda: SERIALIZERS,
    "answer": lambda: ANSWER_STYLES,
    "device": devices,
    **dict.fromkeys(("if_here", "test_on"), lambda: DATASETS),
    **dict.fromkeys(("teacher_wording", "student_wording"), lambda: PROMPTS),
    **dict.fromkeys(("teacher_serializer", "student_serializer"), lambda: SERIALIZERS),
    **dict.fromkeys(("trace_filter", "again_filter"), lambda: FILTERS),
    "backend": lambda: BACKENDS,
    "method": lambda: ["auto", *METHODS],
    "serve": lambda: ["adapter", "merged"],
    "precisions": lambda: PRECISIONS,
    **dict.fromkeys(("models", "tokenizer", "constrained_model", "repeated_model", "thinking_model"), load_models),
    **dict.fromkeys(("teacher", "students", "session_student", "on_policy_student"), load_models),
    **dict.fromkeys(("judge", "student", "dose_models", "hostile_models"), load_models),
    "clipset": lambda: _fusion().CLIPSETS,
    "baselines": lambda: _fusion().BASELINES,
    **{name: partial(_encoders, name) for name in ("captions", "sound_labels", "motion", "motion_sizes")},
}
"""Parameter -> the registry that its values must be in."""


def _check_values(values: Mapping[str, Any], where: str) -> None:
    """Names that a registry does not hold, counts below 1, empty or doubled lists: an error before any work."""
    for name, value in values.items():
        given = value if isinstance(value, list) else [] if value is None else [value]
        known = list(_CHOICES[name]()) if name in _CHOICES and given else given
        if name in _COURSES:  # loader options stand behind a colon; loaders check them
            known = [one for one in given if str(one).partition(":")[0] in known] or known
        unknown = [one for one in given if one not in known]
        if unknown:
            raise SettingsError(f"{where}: {name}: unknown {unknown[0]!r}; there are: {', '.join(known)}")
        if name in ("models", "datasets") and (not given or len(set(given)) < len(given)):
            raise SettingsError(f"{where}: {name} must name at least one, and none twice; got {value!r}")
        if name in _COUNTS and value is not None and value < 1:
            raise SettingsError(f"{where}: {name} must be at least 1, got {value}")
        if value == "":
            raise SettingsError(f"{where}: {name} is empty; leave it out, or write none")
    if "device" in values:  # stop a run whose device has no room for a model: PlanError names the cure
        load = Load(output=min(Load().output, values.get("max_tokens", Load().output)))
        for model in values.get("models", []):
            refuse_if_starved(model, values["device"], load, n_gpus=values.get("n_gpus", 1))


def _find_notebook(name: str) -> str:
    found = [known for known in notebook_names() if known == name or known.startswith(f"{name}_")]
    if len(found) != 1:
        raise SettingsError(f"unknown notebook {name!r}; there are: {', '.join(notebook_names())}")
    return found[0]
