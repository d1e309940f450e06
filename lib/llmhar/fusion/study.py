"""What notebook 05 asks and what comes out: who answers which condition about which clips. Draws nothing.

Baselines and rules answer about every clip; a language model about a named subset where a whole design would take too
long. Each table says over which clips it is.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
import sklearn

from llmhar.ask.asking import Asking
from llmhar.ask.inference import STUDY
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.fusion import ablation
from llmhar.fusion.answerers import baselines
from llmhar.fusion.answerers.inference import FusionAnswer, ask_fusion
from llmhar.fusion.answerers.judge import Agreement, judge_agreement, judge_open
from llmhar.fusion.answerers.prompt import FusionForm
from llmhar.fusion.answerers.task import Condition, FusionTask, all_shown
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.encoders.observation import Observation
from llmhar.fusion.encoders.observe import Observed
from llmhar.fusion.tables import About
from llmhar.score.stats import Pair, compare_pairs
from llmhar.score.tables import KINDS, confusion_table

Predictions = Mapping[str, str | None]


class Given(NamedTuple):
    """What one answerer said under one condition."""

    predictions: Predictions
    answers: tuple[FusionAnswer, ...] = ()
    """Of models: the generations behind it."""


class Answered(NamedTuple):
    """One answerer, the clips it was asked about, and its predictions by condition."""

    answerer: str
    kind: str
    """Key into :data:`llmhar.score.tables.KINDS`."""
    made_by: str
    """Engine or package with its version."""
    task: FusionTask
    given: dict[Condition, Given]
    model: ModelSpec | None = None
    """Who answered, to be asked again; None for baselines."""

    @property
    def is_whole(self) -> bool:
        """Whether every combination of modalities was asked, zero-shot from the list."""
        return {Condition(own) for own in ablation.combinations(self.task.shown) if own} <= set(self.given)


@dataclass(frozen=True)
class Plan:
    """What is to be asked: all clips, the few that language models are asked about, and how tables name the data."""

    task: FusionTask
    """All clips."""
    subset: FusionTask
    """Those that language models are asked about."""
    subset_name: str
    about: About
    """What tables and figures say of the data."""
    stand_ins: frozenset[str]
    """Modalities that carry nothing of their own."""
    seed: int
    """Of whatever baselines draw."""

    def task_for(self, models: Sequence[str]) -> FusionTask:
        """Clips that these models are asked about: all for rules, which cost nothing, else the subset."""
        return self.task if all(MODELS[name].kind == "rules" for name in models) else self.subset

    @property
    def about_models(self) -> About:
        """As ``about``, with the subset named."""
        return self.about._replace(note=f"{self.about.note} Language models: {self.subset_name}.")


@dataclass(frozen=True)
class Outcome:
    """What was asked, and what everybody answered."""

    plan: Plan
    models: list[Answered]
    """Rules and language models."""
    baselines: list[Answered]
    students: list[Answered] = field(default_factory=list)
    """Taught on made-up clips (:mod:`llmhar.fusion.taught`)."""
    own_names: list[Answered] = field(default_factory=list)
    """Students whose reasons name their activities, naming them themselves."""

    @property
    def answered(self) -> list[Answered]:
        """Models, then students, then baselines."""
        return [*self.models, *self.students, *self.own_names, *self.baselines]

    @property
    def kinds(self) -> dict[str, str]:
        """Answerer -> key into ``KINDS``."""
        return {own.answerer: own.kind for own in self.answered}

    @cached_property
    def cells(self) -> list[ablation.Cell]:
        """Scores of the whole design over clips whose modalities agree."""
        return cells(self.answered)

    @property
    def conflict_cells(self) -> list[ablation.Cell]:
        """The same over clips whose sound and motion contradict each other."""
        return cells(self.answered, conflict=True)

    @property
    def full_cells(self) -> list[ablation.Cell]:
        """Scores with everything shown."""
        return [cell for cell in self.cells if cell.modalities == self.plan.task.shown]

    @property
    def pairs(self) -> list[Pair]:
        """Each answerer against the vote, everything shown."""
        others = [answered.answerer for answered in self.answered if answered.answerer != "vote"]
        return compare_all(self.answered, [(name, "vote") for name in others])

    @cached_property
    def shares(self) -> dict[str, pd.DataFrame]:
        """Answerer -> Shapley shares, of those who answered every combination (the contrastive baseline does not)."""
        playing = [answered for answered in self.answered if answered.is_whole]
        return {answered.answerer: shares(answered, self.plan.stand_ins) for answered in playing}

    @property
    def costs(self) -> pd.DataFrame:
        """What each added modality costs each model, one below the other."""
        playing = [answered for answered in (*self.models, *self.students) if answered.is_whole]
        tables = {answered.answerer: costs(answered) for answered in playing}
        return pd.concat(tables, names=["answerer"]) if tables else pd.DataFrame()


def plan(clipset: ClipSet, observed: Observed, form: FusionForm, n_llm_clips: int | None = None, seed: int = 0) -> Plan:
    """What notebook 05 will ask.

    Args:
        clipset: the clips.
        observed: what the encoders said of them.
        form: what prompts show of a clip.
        n_llm_clips: how many clips language models are asked about; None = all.
        seed: of that subset, and of whatever baselines draw.
    """
    everyone = tuple(observed.observations)
    task = FusionTask(clipset.name, everyone, clipset.labels, form, everyone)
    chosen, name = named_subset(everyone, n_llm_clips, seed)
    subset = replace(task, observations=tuple(chosen))
    return Plan(task, subset, name, about(clipset, observed), observed.stand_ins, seed)


def about(clipset: ClipSet, observed: Observed) -> About:
    """What tables and figures say of the data: kind, unit of inference, encoders, context."""
    said = [f"{modality} by {name}" for modality, name in observed.encoders.items()]
    if observed.recorded:
        said.append("encoders' outputs RECORDED, not made here")
    said.append(f"context {observed.context}")
    units = {clip.cluster.partition(":")[0] for clip in clipset.clips}
    clusters = {"sound": "recordings", "recording": "recordings", "person": "people"}.get("".join(units), "clusters")
    return About(clipset.title, clipset.kind, clusters, note="; ".join(said) + ".")


def named_subset(observations: Sequence[Observation], n: int | None, seed: int = 0) -> tuple[list[Observation], str]:
    """``n`` consistent clips dealt evenly over activities and recordings, and how figures name them; None = all.

    Args:
        observations: all clips.
        n: how many; conflict clips come only with None.
        seed: of the draw.
    """
    if n is None:
        return list(observations), f"all {len(observations)} clips"
    by_label: dict[str, list[Observation]] = {}
    draw = random.Random(seed)
    for clip in sorted((clip for clip in observations if not clip.conflict), key=lambda clip: clip.clip_id):
        by_label.setdefault(clip.label, []).append(clip)
    for own in by_label.values():
        draw.shuffle(own)
    rounds = range(max(map(len, by_label.values()), default=0))
    dealt = [own[i] for i in rounds for own in by_label.values() if i < len(own)]
    kept = {clip.clip_id for clip in dealt[:n]}
    return [clip for clip in observations if clip.clip_id in kept], f"{len(kept)} clips (seed {seed})"


def design(observations: Sequence[Observation], shots: Sequence[int] = (0,)) -> list[Condition]:
    """Every combination of the modalities that some clip has, the empty one left out, for each number of examples."""
    shown = all_shown(observations)
    return [Condition(modalities, n) for n in shots for modalities in ablation.combinations(shown) if modalities]


def answer(
    plan: Plan, models: Sequence[str], names: Sequence[str], shots: Sequence[int], store: Store, asking: Asking
) -> Outcome:
    """Ask everybody under every combination of modalities.

    Args:
        plan: the clips.
        models: keys into models.yaml.
        names: baselines, keys into ``BASELINES``.
        shots: numbers of examples per activity that models are asked with.
        store: where answers are looked up and kept.
        asking: how models are asked.
    """
    without = by_baselines(plan.task, names, plan.seed)
    conditions = design(plan.task.observations, shots)
    return Outcome(plan, [by_model(plan.task_for([name]), name, conditions, store, asking) for name in models], without)


def by_baselines(task: FusionTask, names: Sequence[str], seed: int = 0) -> list[Answered]:
    """Each baseline under every combination, the empty one included (the training folds' majority).

    The contrastive one needs sound and motion: it answers the conditions that have both.
    """
    answered = []
    for name in names:
        conditions = [Condition(frozenset()), *design(task.observations)]
        if name == "contrastive":
            conditions = [condition for condition in conditions if {"labels", "motion"} <= condition.modalities]
        given = {
            condition: Given(baselines.predict(name, task.observations, condition.modalities, task.labels, seed=seed))
            for condition in conditions
        }
        answered.append(Answered(name, "baseline", f"scikit-learn {sklearn.__version__}", task, given))
    return answered


def by_model(
    task: FusionTask,
    model: str | ModelSpec,
    conditions: Sequence[Condition],
    store: Store,
    asking: Asking = STUDY,
    name: str | None = None,
) -> Answered:
    """One model under each condition, its engine started once.

    Args:
        task: the clips.
        model: key into models.yaml, or a student.
        conditions: what is shown.
        store: where answers are looked up and kept.
        asking: how it is asked.
        name: as tables call the answerer; None = the model's.
    """
    spec = model if isinstance(model, ModelSpec) else MODELS[model]
    answers = ask_fusion(task, spec, conditions, store, asking)
    engines = sorted({str(answer.stored.fingerprint) for own in answers.values() for answer in own if answer.stored})
    made_by = ", ".join(engines) or "no answers"
    given = {
        condition: Given({answer.clip_id: answer.label for answer in own}, tuple(own))
        for condition, own in answers.items()
    }
    return Answered(name or spec.name, spec.kind, made_by, task, given, spec)


def cells(answered: Sequence[Answered], *, conflict: bool | None = False) -> list[ablation.Cell]:
    """Scores of the whole design.

    Args:
        answered: by whom.
        conflict: only consistent clips (False), only contradictory ones (True), or both (None).
    """
    scored = []
    for own in answered:
        task = own.task
        clips = [clip for clip in task.observations if conflict is None or clip.conflict == conflict]
        scored += [
            ablation.score_cell(
                said.predictions, clips, task.labels, answerer=own.answerer, kind=own.kind, condition=condition
            )
            for condition, said in own.given.items()
            if condition.closed and clips
        ]
    return scored


def shares(answered: Answered, stand_ins: frozenset[str], shots: int = 0) -> pd.DataFrame:
    """Shapley shares of one answerer over its consistent clips; told nothing, a model is worth a draw among the labels.

    Raises:
        ValueError: a combination was not asked.
    """
    clips = answered.task.consistent
    value_of = {
        condition.modalities: ablation.correct(given.predictions, clips)
        for condition, given in answered.given.items()
        if condition.shots == shots and condition.closed
    }
    value_of.setdefault(frozenset(), ablation.nothing_said(clips, answered.task.labels))
    return ablation.shapley_shares(value_of, [clip.cluster for clip in clips], stand_ins=stand_ins)


def costs(answered: Answered, shots: int = 0) -> pd.DataFrame:
    """What each added modality costs a model in prompt tokens and seconds, against what it brings (S2's next check).

    Over consistent clips, as the shares are.
    """
    clips = answered.task.consistent
    kept = {clip.clip_id for clip in clips}
    spent = {}
    for condition, given in answered.given.items():
        if condition.shots == shots and condition.closed:
            stored = [answer.stored for answer in given.answers if answer.clip_id in kept]
            tokens = np.array([float(one.generation.prompt_tokens) if one else np.nan for one in stored])
            seconds = np.array([one.generation.seconds if one else np.nan for one in stored])
            right = ablation.correct(given.predictions, clips)
            spent[condition.modalities] = ablation.Spent(tokens, seconds, right)
    return ablation.context_cost(spent, [clip.cluster for clip in clips])


def compare_all(
    answered: Sequence[Answered],
    pairs: Sequence[tuple[str, str]],
    shots: int = 0,
    clips: Sequence[Observation] | None = None,
) -> list[Pair]:
    """Planned pairs with every modality shown, each over those of ``clips`` (None: whose modalities agree) both saw."""
    names = {name for pair in pairs for name in pair}
    by_name = {own.answerer: own for own in answered if own.answerer in names}
    clips = clips if clips is not None else max((own.task.consistent for own in by_name.values()), key=len)
    shown = all_shown(clips)
    right = {}
    for name, own in by_name.items():
        given = own.given.get(Condition(shown, shots)) or own.given[Condition(shown)]
        asked = {clip.clip_id for clip in own.task.observations}
        share = ablation.correct(given.predictions, clips)
        right[name] = np.where([clip.clip_id in asked for clip in clips], share, np.nan)
    planned = [(a, b) for a, b in pairs if {a, b} <= set(right) and not np.isnan(right[a] - right[b]).all()]
    return compare_pairs(right, planned, [clip.cluster for clip in clips])


def confusion(answered: Answered) -> pd.DataFrame:
    """Clips whose modalities agree by true activity and answer, all labels as columns; with everything shown."""
    task = answered.task
    predictions = answered.given[Condition(task.shown)].predictions
    said = [predictions.get(clip.clip_id) for clip in task.consistent]
    return confusion_table([clip.label for clip in task.consistent], said, task.labels)


class OpenAnswers(NamedTuple):
    """One answerer's free answers, and who judged them."""

    answered: Answered
    judged: Agreement | None


def open_answers(models: Sequence[Answered], judge: str | None, store: Store, asking: Asking) -> list[OpenAnswers]:
    """Ask each model about its clips without a list of activities, everything shown; match, and judge where one is set.

    Args:
        models: whose models and clips.
        judge: key into models.yaml, or None.
        store: where answers are looked up and kept.
        asking: how models and judge are asked; free answers are never bound to a schema.
    """
    asking = replace(asking, constrained=False)
    opened = []
    for model in models:
        task = model.task
        condition = Condition(task.shown, 0, closed=False)
        answered = by_model(task, model.model or model.answerer, [condition], store, asking)
        answers = answered.given[condition].answers
        judged = None
        if judge:
            unswitched = replace(asking, thinking=None)
            words = [answer.said for answer in answers]
            readings = judge_open(words, task.labels, MODELS[judge], store, task.dataset, unswitched)
            truth = [clip.label for clip in task.observations]
            judged = judge_agreement([answer.label for answer in answers], readings, truth)
        opened.append(OpenAnswers(answered, judged))
    return opened


def kind_names(answered: Sequence[Answered]) -> list[str]:
    """The kinds of some answerers, as tables name them."""
    return sorted({KINDS[own.kind] for own in answered})


def engines(answered: Sequence[Answered]) -> list[str]:
    """Each answerer with what made its answers."""
    return [f"{own.answerer}: {own.made_by}" for own in answered]


def full_scores(answered: Sequence[Answered]) -> dict[str, float]:
    """Macro F1 of each answerer, zero-shot, with the most that it was ever told."""
    most = {own.answerer: max((c.modalities for c in own.given if c.closed), key=len) for own in answered}
    return {
        cell.answerer: cell.macro_f1.mean
        for cell in cells(answered)
        if cell.shots == 0 and cell.modalities == most[cell.answerer]
    }


def key_numbers(answered: Sequence[Answered], imu_accuracy: float | None) -> dict[str, float | int | None]:
    """The notebook's key numbers: size of the design, motion alone, everything shown by answerer, the vote.

    ``f1_all_modalities`` is the first model's (macro F1, zero-shot); each answerer's own stands beside it.
    """
    full = full_scores(answered)
    asked = {condition.modalities for own in answered for condition in own.given}
    first = next((full.get(own.answerer) for own in answered if own.kind in ("llm", "rules")), None)
    numbers = {"n_combinations": len(asked | {frozenset()}), "imu_accuracy": imu_accuracy, "f1_all_modalities": first}
    numbers["f1_vote"] = full.get("vote")
    return numbers | {f"f1_all_{name}": value for name, value in full.items() if name != "vote"}
