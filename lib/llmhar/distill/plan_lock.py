"""Choices that were fixed before test answers existed: ``reports/record/plan.lock``, one JSON line a plan.

Who looks at test answers and then changes recipe, windows or metric has chosen on the test data. So a plan is written
down first, by ``llmhar lock PROFILE NOTEBOOK``, and every table of final numbers says which plan they follow. The same
plan run again, on whatever machine, is no second look; another plan on the same test data is, and says so. Asks nobody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from llmhar import paths
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.distill.courses import Course
from llmhar.distill.study import Study
from llmhar.records import canonical_json, sha256_of

METRIC = "macro F1 over the activities in a session's truth, mean over sessions, 95 % t interval; no answer is wrong"


def windows_sha256(task: Task) -> str:
    """Names windows by what is in them: events and truth, whatever machine they lie on."""
    shown = [
        [w.session_id, w.index, [[e.time.isoformat(), e.text, e.activity_id, *e.pairs] for e in w.events]]
        for w in task.windows
    ]
    return sha256_of([shown, sorted((s.home, sorted(s.labels.items())) for s in task.sessions.values())])


def asked_about(name: str, *tasks: Task) -> dict[str, Any]:
    """A course's part of a plan: which windows are asked about, and under which prompts, JSON-ready.

    Args:
        name: of the course.
        tasks: its test windows, under each prompt that somebody is asked with; the first one's are named.
    """
    return {
        "name": name,
        "data": tasks[0].data,
        "tested on": tasks[0].subset,
        "test windows": windows_sha256(tasks[0]),
        "prompts": sorted({prompt.sha256 for task in tasks for prompt in task.prompts.values()}),
    }


def choices(study: Study, courses: Sequence[Course], arms: Sequence[str] = ()) -> dict[str, Any]:
    """Everything that could be chosen by looking at test answers, JSON-ready; engines and machines are not among it."""
    return {
        "metric": METRIC,
        "teacher": study.teacher.name,
        "students": list(study.students),
        # Without defaults, so that a new field changes no plan; a test pins the defaults themselves.
        "teaching": study.teaching.model_dump(mode="json", exclude_defaults=True),
        "arms": list(arms),
        "answers": {
            "sampling": asdict(study.asking.sampling),
            "draw": study.asking.draw,
            "thinking": study.asking.thinking,
        },
        "courses": [
            {
                **asked_about(course.name, course.test, course.teacher_test),
                "training sessions": list(course.training.sessions),
                "training windows": windows_sha256(course.training),
            }
            for course in courses
        ],
    }


class Look(NamedTuple):
    """Whether results follow a plan."""

    plan: str
    """First letters of the plan's hash."""
    words: str
    """One sentence for tables: as planned, a changed plan, or none."""


def read_plans(file: Path | None = None) -> list[dict[str, Any]]:
    """All plans, oldest first, their windows under today's names; none where there is no file.

    Raises:
        ValueError: a line that is not JSON; names file and line.
    """
    file = file or paths.record() / "plan.lock"
    if not file.is_file():
        return []
    plans: list[dict[str, Any]] = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{file}, line {number}: not JSON; restore the file from git") from error
        if "renamed" in entry:
            for plan in plans:
                plan["choices"] = _renamed(plan["choices"], entry["renamed"])
        else:
            plans.append(entry)
    return plans


def _renamed(chosen: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    courses = [{key: names.get(str(value), value) for key, value in course.items()} for course in chosen["courses"]]
    return {**chosen, "courses": courses}


def look_up(chosen: dict[str, Any], file: Path | None = None) -> Look:
    """How these choices stand to the plans that were written about the same test windows.

    Args:
        chosen: from :func:`choices`; the first course's test windows count.
        file: None = ``reports/record/plan.lock``.
    """
    chosen = json.loads(canonical_json(chosen))
    tested = chosen["courses"][0]["test windows"]
    about = [plan for plan in read_plans(file) if plan["choices"]["courses"][0]["test windows"] == tested]
    place = next((i for i, plan in enumerate(about, 1) if plan["choices"] == chosen), 0)
    own = about[place - 1]["plan"] if place else sha256_of(chosen)
    if not about:
        return Look(own[:10], f"plan {own[:10]}: nothing was written down before; read these numbers as exploration")
    if not place:
        first = f"{about[0]['plan'][:10]} of {about[0]['written'][:10]}"
        return Look(own[:10], f"plan {own[:10]}: CHANGED, another look at test data that plan {first} was for")
    how = "written before any answer" if not about[place - 1]["answers_then"] else "written AFTER answers were seen"
    which = "" if len(about) == 1 else f", number {place} of {len(about)} on these test data"
    return Look(own[:10], f"plan {own[:10]} of {about[place - 1]['written'][:10]}{which}: {how}")


def write_plan(chosen: dict[str, Any], tasks: Sequence[Task], store: Store, file: Path | None = None) -> Look:
    """Add a plan to the file, with how many answers about its test windows the store already has; one that is there
    stays.

    Args:
        chosen: from :func:`choices`, or another study's with the same courses in it.
        tasks: with its test windows.
        store: where answers about these would be.
        file: None = ``reports/record/plan.lock``.
    """
    file = file or paths.record() / "plan.lock"
    chosen = json.loads(canonical_json(chosen))
    if chosen not in [plan["choices"] for plan in read_plans(file)]:
        answers = sum(store.count_answers(task.dataset, list(task.sessions)) for task in tasks)
        written = datetime.now(UTC).isoformat(timespec="seconds")
        plan = {"plan": sha256_of(chosen), "written": written, "answers_then": answers, "choices": chosen}
        before = file.read_text(encoding="utf-8") if file.is_file() else ""
        paths.write_text(file, before + canonical_json(plan) + "\n")
    return look_up(chosen, file)
