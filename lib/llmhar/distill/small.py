"""Small students: adapter against merged weights, quantised for a gateway, taught on policy, probed. Draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY
from llmhar.ask.store import Store
from llmhar.ask.task import Task
from llmhar.distill.quantise import Precision, n_bytes, quantise
from llmhar.distill.study import StudyResults, TaughtStudent, TaughtStudy, examine, train
from llmhar.distill.tables import share_text, shown
from llmhar.score.cost import points
from llmhar.score.tables import KINDS, NOT_RECORDED, Result, agreement_table
from llmhar.traces import citations, faithfulness

OF_LARGEST = ("size, % of its engine's largest", "speed, of its engine's largest", "F1, of its engine's largest")
"""Columns of ratios; all of rows of one engine."""


def compare_forms(taught: TaughtStudy, task: Task) -> pd.DataFrame | None:
    """How far an adapter's answers agree with those of its merged weights, for the first student that has an adapter.

    Args:
        taught: students in both forms.
        task: windows under the students' prompt that both forms answer.

    Returns:
        Agreement event by event; None where no student has an adapter.
    """
    with_adapter = [one for one in taught.students if one.student.spec.adapter]
    if not with_adapter:
        return None
    forms = [with_adapter[0].student.spec, with_adapter[0].merged]
    (adapter,), (merged,) = examine(forms, [task], taught.study.store, taught.study.asking)
    return agreement_table(adapter, merged)


class GatewayPoint(NamedTuple):
    """One model as a home gateway would hold it; None = not measured."""

    result: Result
    n_params: int
    """Weights, adapter included."""
    n_bytes: int
    """Of the weight files, as they are loaded."""
    seconds_per_window: float | None
    """One window at a time or in batches: as the caller measured it, the same for all points."""
    peak_bytes: int | None
    """Most memory that the answering process held."""
    precision: str
    """Number format of the weights: float32, bfloat16, int8 …"""
    tokens_per_window: float | None = None
    """Generated tokens, of the same answers."""
    threads: str = ""
    """OpenMP threads that took the seconds; empty where not known."""

    @property
    def engine(self) -> str:
        """What computed, "onnx": formats of one engine can be compared, engines among themselves only both at once."""
        return ", ".join(sorted({made.engine for made in self.result.fingerprints}))


def gateway_point(result: Result, store: Store, *, precision: str) -> GatewayPoint:
    """A model's size and what the store says of its cost: seconds a window in the passes that answered, peak memory."""
    keys = [generation.request_key for generation in result.generations]
    (point,) = points([result], store)
    passes = store.costs(keys, result.fingerprints[0], timed=True) if len(result.fingerprints) == 1 else []
    return GatewayPoint(
        result=result,
        n_params=result.model.n_params,
        n_bytes=n_bytes(result.model),
        seconds_per_window=point.seconds,
        peak_bytes=max((cost.peak_bytes for cost in passes if cost.peak_bytes is not None), default=None),
        precision=precision,
        tokens_per_window=point.tokens,
        threads=point.threads,
    )


def gateway(taught: TaughtStudy, task: Task, precisions: Sequence[Precision]) -> list[GatewayPoint]:
    """How small before it breaks (S1 §5): each student as it is, and quantised, asked one window at a time.

    One at a time is what a home does: a batch would hide the memory traffic that quantising saves. As it is, a student
    is answered for by transformers in bfloat16; quantised by ONNX Runtime. The store keeps answers that were
    timed apart from those of batches.

    Args:
        taught: its students after their first round on the first course, merged.
        task: windows under the students' prompt.
        precisions: number formats of :func:`llmhar.distill.quantise.quantise`; empty = nothing is asked.
    """
    if not precisions:
        return []
    study, measured = taught.study, []
    options = {**study.asking.engine_options, "max_num_seqs": 1}
    alone = replace(study.asking, engine_options=options, purpose="timed")
    plain = replace(alone, engine="transformers", engine_options={**options, "dtype": "bfloat16"})
    for student in [one.merged for one in taught.on_first_course if one.student.round == 1]:
        forms = [("bfloat16", student, plain)]
        forms += [(precision, quantise(student, precision=precision), alone) for precision in precisions]
        for precision, spec, asking in forms:
            ((result,),) = examine([spec], [task], study.store, asking)
            measured.append(gateway_point(result, study.store, precision=precision))
    return measured


def gateway_table(rows: Sequence[GatewayPoint]) -> pd.DataFrame:
    """How small it gets, and what that costs in F1: largest file first (S1 §5).

    MB are 10⁶ bytes. Ratios compare like with like: size in percent, speed in tokens a second, and F1 with Fieller's
    interval over test sessions, each of the largest row of the *same engine*. Between rows of two engines there is
    none, for engine and number format differ there at once. Seconds and memory are of the machine named in ``made by``.

    Raises:
        ValueError: results of different sessions.
    """
    ordered, table = sorted(rows, key=lambda point: -point.n_bytes), []
    largest: dict[str, GatewayPoint] = {}
    for point in ordered:
        result, first = point.result, largest.setdefault(point.engine, point)
        peak = None if point.peak_bytes is None else point.peak_bytes / 1e6
        size = 100 * point.n_bytes / (first.n_bytes or float("nan"))
        table.append((
            result.model.name, KINDS[result.model.kind], point.engine, point.precision, f"{point.n_params:,}",
            shown(point.n_bytes / 1e6, 1), str(result.macro_f1), shown(result.overall.missed_pct, 1),
            shown(point.seconds_per_window, 2), shown(_speed(point), 1), point.threads or NOT_RECORDED, shown(peak, 0),
            shown(size, 1), shown(_speed(point) / _speed(first), 2), share_text(result, first.result),
            result.made_by, result.revision, result.task.data,
        ))  # fmt: skip
    columns = ["model", "kind", "engine", "precision", "parameters", "MB", "macro F1 [95 %]", "missed %",
               "s / window, this machine", "tokens / s", "threads", "peak memory MB", *OF_LARGEST, "made by",
               "revision", "data"]  # fmt: skip
    return pd.DataFrame(table, columns=columns).set_index("model")


def _speed(point: GatewayPoint) -> float:
    """Tokens a second; NaN where not measured."""
    return (point.tokens_per_window or float("nan")) / (point.seconds_per_window or float("nan"))


def learn_on(taught: TaughtStudy, student: str | None, steps: int) -> list[TaughtStudent]:
    """A taught student learns on: on-policy from the largest of the others, and as long from the teacher's text.

    Args:
        taught: the student and at least one other after training on the first course.
        student: key into models.yaml; None = nobody.
        steps: optimizer steps of each.

    Raises:
        ValueError: it was not taught, or nobody else was.
    """
    if student is None:
        return []
    learners = [one for one in taught.on_first_course if _first_round_of(student, one)]
    others = [one for one in taught.on_first_course if not _first_round_of(student, one)]
    if not learners or not others:
        raise ValueError(f"on-policy distillation needs {student} and one more among the students")
    largest = max(others, key=lambda one: one.student.parent.n_params)  # test scores must not choose who teaches
    first, training_set = learners[0].student, learners[0].training_set
    changed = {"max_steps": steps, "method": "full", "learning_rate": first.recipe.learning_rate / 5}
    longer = first.recipe.model_copy(update={**changed, "warmup_steps": min(5, steps)})
    distilled = longer.model_copy(update={"objective": "gkd"})
    return [
        train(distilled, training_set, taught.study, name=f"{student} on policy", first=first, teacher=largest.merged),
        train(longer, training_set, taught.study, name=f"{student} taught longer", first=first),
    ]


def _first_round_of(student: str, taught: TaughtStudent) -> bool:
    return taught.student.base == student and taught.student.round == 1


def examine_further(results: StudyResults, further: Sequence[TaughtStudent]) -> list[Result]:
    """The student that learnt on, before, and in each form after; empty where nobody did."""
    if not further:
        return []
    study, base = results.taught.study, further[0].student.base
    before = [result for taught, result in results.on_first_course if _first_round_of(base, taught)]
    specs, task = [one.student.spec for one in further], results.taught.courses[0].test
    return before + [own[0] for own in examine(specs, [task], study.store, study.asking)]


def probe(result: Result, n: int, seed: int, store: Store, asking: Asking = STUDY) -> list[faithfulness.Outcome]:
    """Probe the evidence that a model's own reasoning cites, on the windows of its result."""
    cited = citations.find_citations(result.task, result.answers)
    probes = faithfulness.plan_probes(result.task, cited.citations, seed=seed, n=n)
    return faithfulness.run_probes(result.task, probes, result.model, store, asking)


def probe_study(results: StudyResults, n: int, seed: int) -> list[faithfulness.Outcome]:
    """Probe the teacher and the best student, ``n`` citations each; 0 = none."""
    study = results.taught.study
    probed = [results.teacher, *([results.best] if results.best else [])] if n else []
    return [outcome for result in probed for outcome in probe(result, n, seed, study.store, study.asking)]
