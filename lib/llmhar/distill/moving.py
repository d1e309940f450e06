"""Homes never seen: students taught on made-up homes, asked about real ones, beside what needs no language model.

Here is who is asked about which windows, and how; scores across homes are in :mod:`llmhar.score.across_homes`. What is
asked about recorded homes is locked beforehand (:func:`moving_choices`). Draws nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import pandas as pd

from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.ask.task import Task, prepare
from llmhar.data.events import Windowing
from llmhar.data.grammar import grammar
from llmhar.distill.courses import is_here, read_name, say_left_out
from llmhar.distill.home_lessons import LISTED
from llmhar.distill.home_students import ARMS, TEACHING, home_student
from llmhar.distill.merging import merge
from llmhar.distill.plan_lock import METRIC, asked_about
from llmhar.distill.students import milestones
from llmhar.distill.study import RULES, examine
from llmhar.distill.teaching import load_teaching
from llmhar.records import Sampling, sha256_of
from llmhar.score.across_homes import Gap, compare, mean_f1
from llmhar.score.controls import embeddings_result, majority_result
from llmhar.score.matcher import matcher_result
from llmhar.score.stats import Interval, bounded
from llmhar.score.tables import KINDS, Result
from llmhar.text.naming import fingerprint
from llmhar.text.prompt import FORMS

Role = Literal["student", "free", "other model", "script", "control"]
"""Student: its answers bound by the schema, its reasons named; free: the first student again, naming activities itself,
bound and unbound; script: hand-written rules."""
VALIDATION_WINDOWS = 2
"""Windows of each validation or odd home, at most: the home is the unit."""
MADE_UP = ("validation_homes", "odd_homes")
"""Data sets whose sessions are homes, a day in each."""
MAIN = "truth"
"""Key into ``ARMS``: the student that the study is about."""


@dataclass(frozen=True)
class Homes:
    """Test windows of homes that no student was taught on."""

    tasks: Mapping[str, Task]
    """Column -> its windows, under the student's prompt."""
    counted: tuple[str, ...]
    """Columns whose mean is the study's number: recorded homes, as far as they are here."""


@dataclass(frozen=True)
class Row:
    """One answerer on all homes."""

    name: str
    role: Role
    results: Mapping[str, Result]
    """Column -> its answers; of columns that it was not asked about there is none."""

    @property
    def made_by(self) -> str:
        """Engines, all of them where they differ between homes."""
        return " + ".join(dict.fromkeys(result.made_by for result in self.results.values()))


def prepare_homes(names: Sequence[str], windowing: Windowing) -> Homes:
    """Load the homes that are here; others are left out, with a line on stderr.

    Args:
        names: courses; one with a column's name before it, "uci_a=uci_adl:home=A", counts in the mean over homes.
        windowing: how sessions are cut, and how many windows of each day are asked about; of odd and validation homes,
            whose days are homes, no more than :data:`VALIDATION_WINDOWS`.

    Raises:
        DataError: a home's files are broken.
    """
    tasks, counted = {}, []
    for name in names:
        column, sign, rest = name.partition("=")
        named = bool(sign) and ":" not in column
        column, course = (column, rest) if named else (name, name)
        if not is_here(course):
            say_left_out(column)
            continue
        dataset, options = read_name(course)
        few = min(windowing.n or VALIDATION_WINDOWS, VALIDATION_WINDOWS)
        drawn = replace(windowing, n=few) if dataset in MADE_UP else windowing
        tasks[column] = prepare(dataset, None, LISTED, drawn, options)
        counted += [column] if named else []
    return Homes(tasks, tuple(counted))


def home_asking(max_tokens: int, engine: str, seed: int) -> Asking:
    """How everybody is asked about these homes: the likeliest tokens, the same on each run."""
    return Asking(sampling=Sampling(max_tokens=max_tokens, seed=seed), draw="greedy", engine=engine)


def bound(asking: Asking) -> Asking:
    """How the study's student is asked: bound to its form, activities named by its reasons, with probabilities."""
    return replace(asking, constrained=True, why=True, named=True, confidence=True)


def moving_choices(homes: Homes, asking: Asking) -> dict[str, Any]:
    """What could be chosen by looking at answers about recorded homes, JSON-ready, for ``reports/record/plan.lock``.

    All arms are among it, whichever of them there was time for.
    """
    return {
        "metric": f"{METRIC}; mean over homes of these",
        "arms": {name: asdict(arm) for name, arm in ARMS.items()},
        "teaching": load_teaching(TEACHING).model_dump(mode="json", exclude_defaults=True),
        "grammar": sha256_of(grammar()),
        "answers": {"sampling": asdict(asking.sampling), "draw": asking.draw, "bound": "id, why, activity"},
        "namer": fingerprint(),
        "courses": [asked_about(column, task) for column, task in homes.tasks.items()],
    }


def ask_movers(names: Sequence[str], homes: Homes, asking: Asking, store: Store) -> list[Row]:
    """Ask students of made-up homes, trained or opened, and other models about all homes.

    Their reasons are named by :mod:`llmhar.text.naming`; of the main one there is also what it names itself, bound and
    unbound, in the counted homes (in all, where none counts).

    Args:
        names: keys into ``ARMS``, or models.
        homes: what they are asked about.
        asking: limits and engine; whether answers are bound is the student's own.
        store: where answers are looked up and kept.
    """
    rows, recorded = [], replace(homes, tasks={column: homes.tasks[column] for column in homes.counted or homes.tasks})
    for name in names:
        arm = ARMS.get(name)
        model = (
            named(merge(home_student(name, store=store, asking=asking))[0], arm.words)
            if arm
            else named(MODELS[name], name)
        )
        reasons = arm is None or arm.answers != "bare"
        by_reasons = replace(bound(asking), why=reasons, named=reasons, confidence=name == MAIN)
        rows.append(_ask(model, "student" if arm else "other model", homes, by_reasons, store))
        if name == MAIN:
            own = replace(by_reasons, named=False, confidence=False)
            rows.append(_ask(named(model, f"{model.name}, own names"), "free", recorded, own, store))
            rows.append(_ask(named(model, f"{model.name}, unbound"), "free", recorded, asking, store))
    return rows


def named(model: ModelSpec, name: str) -> ModelSpec:
    """The model under another name, and asked in the words of its task."""
    return model.model_copy(update={"name": name, "prompt": None, "asked": None})


def ask_controls(homes: Homes, asking: Asking, store: Store) -> list[Row]:
    """What needs no language model and no labelled day: scripts, embeddings, the matcher, the commonest activity."""
    if not homes.tasks:
        return []
    worded = replace(homes, tasks={column: task.reworded(FORMS["brief"]) for column, task in homes.tasks.items()})
    found = [_ask(MODELS[name], "script", worded, asking, store) for name in RULES.values()]
    for control in (embeddings_result, matcher_result, majority_result):
        results = {column: control(task) for column, task in homes.tasks.items()}
        found.append(Row(next(iter(results.values())).model.name, "control", results))
    return found


def _ask(model: ModelSpec, role: Role, homes: Homes, asking: Asking, store: Store) -> Row:
    results = examine([model], list(homes.tasks.values()), store, asking)[0]
    return Row(model.name, role, dict(zip(homes.tasks, results)))


def learning_curve(names: Sequence[str], asking: Asking, store: Store) -> dict[int, Result]:
    """Windows seen -> the first student's answers about made-up validation homes, from none on.

    Args:
        names: who is asked about homes; nothing comes back where the main student is not among them.
        asking: limits and engine.
        store: where answers are looked up and kept.
    """
    if MAIN not in names:
        return {}
    student = home_student(MAIN)
    task = prepare("validation_homes", None, LISTED, Windowing(n=VALIDATION_WINDOWS))
    stood = milestones(student) | {len(student.examples): student}
    models = [named(model, model.name) for model in [student.parent, *(merge(one)[0] for one in stood.values())]]
    return {n: result for n, (result,) in zip([0, *stood], examine(models, [task], store, bound(asking)))}


NOT_ASKED = "not asked in this profile"
"""What stands where a table or a figure would be if somebody had been asked; a report folds such parts."""


def results_of(rows: Sequence[Row]) -> list[Result]:
    """All results, for what run.json says of engines and data."""
    return [result for row in rows for result in row.results.values()]


def matrix_table(rows: Sequence[Row], homes: Homes) -> pd.DataFrame | str:
    """Who was asked about which home: macro F1 with 95 % interval over sessions, and the mean over the counted homes.

    Args:
        rows: answerers.
        homes: columns, counted ones first.
    """
    if not rows:
        return NOT_ASKED
    heads = {}
    for column, task in homes.tasks.items():
        n = max(row.results[column].macro_f1.n for row in rows if column in row.results)
        heads[column] = f"{column} ({task.kind}, n = {n})"
    table = []
    for row in rows:
        kinds = {KINDS[result.model.kind] for result in row.results.values()}
        entry = {"answered by": row.name, "kind": ", ".join(sorted(kinds))}
        if homes.counted:
            mean = mean_f1(row.results, homes.counted)
            entry[f"mean of {len(homes.counted)} homes"] = _brief(mean)
        f1 = {column: _brief(result.macro_f1) for column, result in row.results.items()}
        entry |= {head: f1.get(column, "not asked") for column, head in heads.items()}
        table.append(entry | {"made by": row.made_by})
    return pd.DataFrame(table).set_index("answered by")


def _brief(f1: Interval) -> str:
    """Without its n, which stands in the column's name."""
    bounds = (f1.low, f1.high) if f1.n > 1 else (None, None)
    return bounded(f1.mean, *bounds)


def detail_table(rows: Sequence[Row], homes: Homes) -> pd.DataFrame | str:
    """Macro and weighted F1, accuracy and missed events of every answerer on every home, with n."""
    table = [
        {
            "home": column,
            "answered by": row.name,
            "sessions": result.macro_f1.n,
            "windows": len(result.task.windows),
            "events": sum(score.n_events for score in result.sessions),
            "macro F1": _brief(result.macro_f1),
            "weighted F1": _brief(result.weighted_f1),
            "accuracy": f"{result.overall.accuracy:.3f}",
            "missed %": f"{result.overall.missed_pct:.1f}",
        }
        for column in homes.tasks
        for row in rows
        if column in row.results
        for result in [row.results[column]]
    ]
    return pd.DataFrame(table).set_index(["home", "answered by"]) if table else NOT_ASKED


def gaps_to_student(rows: Sequence[Row], homes: Homes) -> dict[str, Gap]:
    """The study's student against each other answerer, on the mean over the counted homes; nothing where it is not."""
    own = main_row(rows)
    if own is None or not homes.counted:
        return {}
    return {row.name: compare(own.results, row.results, homes.counted) for row in rows if row is not own}


def gap_table(gaps: Mapping[str, Gap]) -> pd.DataFrame | str:
    """Student minus each other answerer, paired by session within homes."""
    table = [
        {"against": name, "gap in macro F1": str(gap.interval), "p (sign flip)": f"{gap.p:.4f}"}
        for name, gap in gaps.items()
    ]
    return pd.DataFrame(table).set_index("against") if table else NOT_ASKED


def main_row(rows: Sequence[Row]) -> Row | None:
    """The row of the student that the study is about."""
    return next((row for row in rows if row.role == "student" and row.name == ARMS[MAIN].words), None)


KEYS = {
    ARMS[MAIN].words: "transfer",
    f"{ARMS[MAIN].words}, own names": "transfer_own_names",
    ARMS["answer"].words: "transfer_answer_only",
    "text embeddings": "transfer_embeddings",
    "pairwise matcher": "transfer_matcher",
    "rules-plain": "transfer_rules_plain",
    "rules": "transfer_rules",
}
"""Row -> how the names of its key numbers begin."""


def moving_numbers(rows: Sequence[Row], homes: Homes) -> dict[str, float | int | str | None]:
    """Key numbers: the mean over the counted homes of student and controls, each home of the student, what it missed.

    Empty where no student was asked.
    """
    own = main_row(rows)
    if own is None or not homes.counted:
        return {}
    numbers: dict[str, float | int | str | None] = {"transfer_homes": len(homes.counted)}
    for row in rows:
        if row.name in KEYS:
            numbers |= mean_f1(row.results, homes.counted).numbers(f"{KEYS[row.name]}_f1")
    numbers |= {f"transfer_f1_{column}": result.macro_f1.mean for column, result in own.results.items()}
    numbers["transfer_missed_pct"] = _missed(own, homes)
    free = next((row for row in rows if row.role == "free" and row.name.endswith("unbound")), None)
    if free is not None:
        numbers["transfer_unbound_missed_pct"] = _missed(free, homes)
    for name, gap in gaps_to_student(rows, homes).items():
        if name in KEYS and name != "rules":  # whose weights were fitted by hand: rules-plain stands for both
            key = KEYS[name].replace("transfer", "transfer_minus", 1)
            numbers |= {key: gap.interval.mean, f"{key}_p": gap.p}
    return numbers


def _missed(row: Row, homes: Homes) -> float:
    """Scored events of the counted homes without a valid answer, in percent: mean over sessions, then homes."""
    return sum(row.results[home].overall.missed_pct for home in homes.counted) / len(homes.counted)
