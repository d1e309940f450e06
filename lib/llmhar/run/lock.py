"""``llmhar lock``: writes down what a distillation notebook would choose, before test answers exist. Asks nobody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.data.events import Windowing
from llmhar.distill import courses, plan_lock
from llmhar.distill.moving import Homes, home_asking, moving_choices, prepare_homes
from llmhar.distill.study import Study
from llmhar.distill.teaching import load_teaching
from llmhar.records import Sampling
from llmhar.run.jobs import plan_jobs
from llmhar.settings import SettingsError
from llmhar.text.prompt import FORMS

NOTEBOOKS = ("04_distillation", "04b_transfer")
"""Notebooks whose choices can be locked."""


def lock_plans(profile: str, names: Sequence[str], options: Mapping[str, str], cwd: Path) -> list[dict[str, Any]]:
    """Write the plans of notebooks down; a plan that is there stays as it is.

    Where students of made-up homes are asked (``movers``), the plan is of the homes that they never saw, and answers
    about those whose mean is the study's number count; else it is of the courses.

    Args:
        profile: one of ``PROFILES``.
        names: notebooks of ``NOTEBOOKS``, by name or number; none = the first.
        options: ``-p`` values.
        cwd: the caller's folder: relative paths are read from it.

    Returns:
        A row a notebook: "notebook", "plan" (hash) and "words".

    Raises:
        SettingsError: an unknown name or value, or a notebook without a plan.
        DataError: its data are not here.
    """
    rows = []
    with Store() as store:
        for job in plan_jobs(profile, names or NOTEBOOKS[:1], options, cwd):
            if job.notebook not in NOTEBOOKS:
                raise SettingsError(f"{job.notebook} has no plan to lock; these have: {', '.join(NOTEBOOKS)}")
            if job.spec.params.get("movers"):
                homes, asking = homes_of(job.spec.params)
                counted = [homes.tasks[column] for column in homes.counted]
                look = plan_lock.write_plan(moving_choices(homes, asking), counted, store)
            else:
                study, taught_on = study_of(job.spec.params, store)
                chosen = plan_lock.choices(study, taught_on, job.spec.params.get("arms", ()))
                look = plan_lock.write_plan(chosen, [taught_on[0].test], store)
            rows.append({"notebook": job.notebook, **look._asdict()})
    return rows


def homes_of(values: Mapping[str, Any]) -> tuple[Homes, Asking]:
    """Homes never seen, and how students are asked about them, as 04b's first cells make them of its parameters."""
    homes = prepare_homes(values["homes"], Windowing(n=values["n_home_windows"], seed=values["seed"]))
    return homes, home_asking(values["max_tokens"], values["engine"], values["seed"])


def study_of(values: Mapping[str, Any], store: Store) -> tuple[Study, list[courses.Course]]:
    """The study and its courses as the notebook's first cells make them of its parameters."""
    lessons = load_teaching(values["teaching"], **{name: values[name] for name in (
        "max_steps", "n_sessions", "trace_filter", "seed")})  # fmt: skip
    windowing = Windowing(
        values["window_size"],
        values["n_windows"],
        values["seed"],
        lessons.step,
        values.get("part", "test"),
        values["least_events"],
    )
    forms = FORMS[values["teacher_prompt"]], FORMS[values["student_prompt"]]
    taught_on = courses.prepare_courses(values["datasets"], values.get("data_dir"), *forms, windowing)
    limits = Sampling(max_tokens=values["max_tokens"], seed=values["seed"])
    asking = Asking(sampling=limits, draw=values["sampling"], thinking=values["thinking"], engine=values["engine"])
    return Study(MODELS[values["teacher"]], tuple(values["students"]), lessons, asking, store), taught_on
