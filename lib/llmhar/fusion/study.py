"""The loops of notebook 05: who answers which condition about which clips, and what follows. Draws nothing.

Baselines and rules answer about every clip; a language model about a named subset where a whole design would take too
long. Each table says over which clips it is.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn

from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS, ModelSpec
from llmhar.ask.store import Store
from llmhar.distill.merging import merge
from llmhar.distill.teaching import Teaching, recipe_for
from llmhar.distill.training import train_student
from llmhar.fusion import ablation
from llmhar.fusion import doses as propagation
from llmhar.fusion.answerers import baselines
from llmhar.fusion.answerers.asking import Condition, FusionAnswer, ask_fusion
from llmhar.fusion.answerers.judge import Agreement, judge_agreement, judge_open
from llmhar.fusion.answerers.student import fusion_examples
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.encoders.observation import MODALITIES, Observation
from llmhar.fusion.encoders.observe import Observed
from llmhar.fusion.tables import About

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
    """Key into ``score.tables.KINDS``."""
    made_by: str
    """Engine or package with its version."""
    observations: tuple[Observation, ...]
    given: dict[Condition, Given]

    @property
    def clusters(self) -> list[str]:
        """Of each clip."""
        return [one.cluster for one in self.observations]


def about(clipset: ClipSet, observed: Observed, note: str = "") -> About:
    """What tables and figures say of the data: kind, unit of inference, encoders, context."""
    said = [f"{modality} by {name}" for modality, name in observed.encoders.items()]
    if observed.recorded:
        said.append("encoders' outputs RECORDED, not made here")
    said.append(f"context {observed.context}")
    units = {one.partition(":")[0] for one in (clip.cluster for clip in clipset.clips)}
    clusters = {"sound": "recordings", "recording": "recordings", "person": "people"}.get("".join(units), "clusters")
    return About(clipset.title, clipset.kind, clusters, note="; ".join([*said, note] if note else said) + ".")


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
    for one in sorted((one for one in observations if not one.conflict), key=lambda one: one.clip_id):
        by_label.setdefault(one.label, []).append(one)
    for own in by_label.values():
        draw.shuffle(own)
    dealt = [
        own[i] for i in range(max(map(len, by_label.values()), default=0)) for own in by_label.values() if i < len(own)
    ]
    kept = {one.clip_id for one in dealt[:n]}
    return [one for one in observations if one.clip_id in kept], f"{len(kept)} clips (seed {seed})"


def design(observations: Sequence[Observation], shots: Sequence[int] = (0,)) -> list[Condition]:
    """Every combination of the modalities that some clip has, the empty one left out, for each number of examples."""
    here = [name for name in MODALITIES if any(one.has(name) for one in observations)]
    return [Condition(own, n) for n in shots for own in ablation.combinations(here) if own]


def by_baselines(
    observations: Sequence[Observation], labels: Sequence[str], names: Sequence[str], seed: int = 0
) -> list[Answered]:
    """Each baseline under every combination, the empty one included (the training folds' majority).

    The contrastive one needs sound and motion: it answers the conditions that have both.
    """
    made = []
    for name in names:
        conditions = [Condition(frozenset()), *design(observations)]
        if name == "contrastive":
            conditions = [one for one in conditions if {"labels", "motion"} <= one.modalities]
        given = {
            one: Given(baselines.predict(name, observations, one.modalities, labels, seed=seed)) for one in conditions
        }
        made.append(Answered(name, "baseline", f"scikit-learn {sklearn.__version__}", tuple(observations), given))
    return made


def by_model(
    observations: Sequence[Observation],
    labels: Sequence[str],
    model: str | ModelSpec,
    conditions: Sequence[Condition],
    store: Store,
    *,
    dataset: str,
    pool: Sequence[Observation] | None = None,
    name: str | None = None,
    **how: Any,
) -> Answered:
    """One model under each condition, its engine started once.

    Args:
        observations: clips that are asked about.
        labels: activities.
        model: key into models.yaml, or a student.
        conditions: what is shown.
        store: where answers are looked up and kept.
        dataset: its name, for the store.
        pool: clips that one-shot examples come from; None = ``observations``.
        name: as tables call the answerer; None = the model's.
        how: see :func:`llmhar.fusion.answerers.asking.ask_fusion`.
    """
    spec = model if isinstance(model, ModelSpec) else MODELS[model]
    found = ask_fusion(observations, spec, conditions, labels, store, dataset=dataset, pool=pool, **how)
    engines = sorted({str(answer.stored.fingerprint) for own in found.values() for answer in own if answer.stored})
    given = {condition: Given({one.clip_id: one.label for one in own}, tuple(own)) for condition, own in found.items()}
    return Answered(name or spec.name, spec.kind, ", ".join(engines) or "no answers", tuple(observations), given)


def cells(answered: Sequence[Answered], labels: Sequence[str], *, conflict: bool | None = False) -> list[ablation.Cell]:
    """Scores of the whole design.

    Args:
        answered: by whom.
        labels: activities.
        conflict: only consistent clips (False), only contradictory ones (True), or both (None).
    """
    made = []
    for one in answered:
        own = [clip for clip in one.observations if conflict is None or clip.conflict == conflict]
        if own:
            made += [
                ablation.score_cell(given.predictions, own, labels, answerer=one.answerer, kind=one.kind,
                                    modalities=condition.modalities, shots=condition.shots)
                for condition, given in one.given.items() if condition.closed
            ]  # fmt: skip
    return made


def shares(one: Answered, labels: Sequence[str], stand_ins: frozenset[str], shots: int = 0) -> pd.DataFrame:
    """Shapley shares of one answerer over its consistent clips; told nothing, a model is worth a draw among the labels.

    Raises:
        ValueError: a combination was not asked.
    """
    own = [clip for clip in one.observations if not clip.conflict]
    value_of = {
        condition.modalities: ablation.correct(given.predictions, own)
        for condition, given in one.given.items()
        if condition.shots == shots and condition.closed
    }
    value_of.setdefault(frozenset(), ablation.nothing_said(own, labels))
    return ablation.shapley_shares(value_of, [clip.cluster for clip in own], stand_ins=stand_ins)


def costs(one: Answered, shots: int = 0) -> pd.DataFrame:
    """What each added modality costs a model in prompt tokens and seconds, against what it brings (S2's next check).

    Over consistent clips, as the shares are.
    """
    own = [clip for clip in one.observations if not clip.conflict]
    kept = {clip.clip_id for clip in own}
    spent = {}
    for condition, given in one.given.items():
        if condition.shots == shots and condition.closed:
            answers = [answer for answer in given.answers if answer.clip_id in kept]
            made = [answer.stored.generation if answer.stored else None for answer in answers]
            tokens = np.array([float(g.prompt_tokens) if g else np.nan for g in made])
            seconds = np.array([g.seconds if g else np.nan for g in made])
            right = ablation.correct(given.predictions, own)
            spent[condition.modalities] = ablation.Spent(tokens, seconds, right)
    return ablation.context_cost(spent, [clip.cluster for clip in own])


def all_shown(observations: Sequence[Observation]) -> frozenset[str]:
    """The combination of every modality that some clip has."""
    return frozenset(name for name in MODALITIES if any(one.has(name) for one in observations))


def compare_all(
    answered: Sequence[Answered], pairs: Sequence[tuple[str, str]], shots: int = 0
) -> list[ablation.Compared]:
    """Planned pairs with every modality shown, over the consistent clips that all of them were asked about."""
    asked = {name for pair in pairs for name in pair}
    known = {one.answerer: one for one in answered if one.answerer in asked}
    common = set.intersection(*({clip.clip_id for clip in one.observations} for one in known.values()))
    own = [clip for clip in next(iter(known.values())).observations if clip.clip_id in common and not clip.conflict]
    shown = Condition(all_shown(own), shots)
    right = {
        name: ablation.correct((one.given.get(shown) or one.given[Condition(shown.modalities)]).predictions, own)
        for name, one in known.items()
    }
    return ablation.compare([p for p in pairs if set(p) <= set(right)], right, [clip.cluster for clip in own])


class Doses(NamedTuple):
    """The experiment of error propagation."""

    answers: dict[tuple[str, propagation.Dose], Predictions]
    observations: tuple[Observation, ...]
    kinds: dict[str, str]

    @property
    def curves(self) -> pd.DataFrame:
        """Accuracy of each answerer at each dose."""
        return propagation.dose_response(self.answers, self.observations, self.kinds)


def dose_experiment(
    observations: Sequence[Observation],
    labels: Sequence[str],
    models: Sequence[str],
    store: Store,
    *,
    dataset: str,
    modalities: Sequence[str] = ("labels", "motion"),
    levels: Sequence[float] = propagation.LEVELS,
    alone: bool = False,
    seed: int = 0,
    **how: Any,
) -> Doses:
    """Corrupt predictions at set accuracies; vote, Bayes and the models answer about the same corrupted clips.

    Args:
        observations: consistent clips that are corrupted.
        labels: activities, which are the vocabulary of every modality here.
        models: keys into models.yaml.
        store: where answers are looked up and kept.
        dataset: its name, for the store.
        modalities: which of them speak.
        levels: accuracies.
        alone: also vary each modality with the others held.
        seed: of the draws.
        how: see :func:`llmhar.fusion.answerers.asking.ask_fusion`.
    """
    given = propagation.doses(modalities, levels)
    given = given if alone else [dose for dose in given if dose.varied == "all"]
    answers: dict[tuple[str, propagation.Dose], Predictions] = dict(
        propagation.respond(observations, given, labels, seed=seed)
    )
    condition = Condition(frozenset(modalities))
    for name in models:
        # one engine for all doses: each dose's clips are asked as clips of their own
        drawn = {dose: propagation.corrupt_all(observations, dose, labels, seed) for dose in given}
        flat = [one for own in drawn.values() for one in own]
        found = ask_fusion(flat, MODELS[name], [condition], labels, store, dataset=f"{dataset} corrupted", **how)
        said = iter(found[condition])
        for dose, own in drawn.items():
            answers[name, dose] = {one.clip_id: next(said).label for one in own}
    return Doses(answers, tuple(observations), {name: MODELS[name].kind for name in models})


def dose_verdicts(doses: Doses, name: str) -> pd.DataFrame:
    """Does this answerer beat the vote, and when? See :func:`llmhar.fusion.doses.dose_verdicts`."""
    return propagation.dose_verdicts(doses.answers, doses.observations, name)


class Free(NamedTuple):
    """One answerer's free answers, and who judged them."""

    one: Answered
    judged: Agreement | None


def open_answers(
    models: Sequence[Answered],
    labels: Sequence[str],
    judge: str | None,
    *,
    store: Store,
    dataset: str,
    asking: Asking,
    **how: Any,
) -> list[Free]:
    """Ask each model about its clips without a list of activities, everything shown; match, and judge where one is set.

    Args:
        models: whose models and clips.
        labels: activities that free answers are matched to.
        judge: key into models.yaml, or None.
        store: where answers are looked up and kept.
        dataset: its name, for the store.
        how: see :func:`llmhar.fusion.answerers.asking.ask_fusion`.
    """
    found = []
    for model in models:
        condition = Condition(all_shown(model.observations), 0, closed=False)
        one = by_model(
            model.observations, labels, model.answerer, [condition], store, dataset=dataset, asking=asking, **how
        )
        said = one.given[condition].answers
        judged = None
        if judge:
            words = [answer.said for answer in said]
            readings = judge_open(
                words, labels, MODELS[judge], store, dataset, replace(asking, thinking=None, constrained=False)
            )
            judged = judge_agreement([a.label for a in said], readings, [clip.label for clip in one.observations])
        found.append(Free(one, judged))
    return found


def distilled(
    observations: Sequence[Observation],
    labels: Sequence[str],
    teachers: Sequence[Answered],
    student: str | None,
    steps: int,
    *,
    store: Store,
    dataset: str,
    test_fold: int = 0,
    **how: Any,
) -> list[Answered]:
    """A student learns the first teacher's reasoning on the other folds; both answer about the fold it has not seen.

    S2's open question 1. The teacher is asked about the training folds with everything shown.

    Args:
        observations: all clips.
        labels: activities.
        teachers: the first one teaches.
        student: key into models.yaml; all weights of a pruned model move, an adapter is tuned for the rest.
        steps: optimizer steps.
        store: where answers are looked up and kept.
        dataset: its name, for the store.
        test_fold: held out from training.
        how: see :func:`llmhar.fusion.answerers.asking.ask_fusion`.
    """
    assert student is not None
    teacher = teachers[0].answerer
    shown = all_shown(observations)
    own = [one for one in observations if one.fold == test_fold]
    others = [one for one in observations if one.fold != test_fold and not one.conflict]
    free = {**how, "asking": replace(how["asking"], constrained=False)}
    lesson = by_model(others, labels, teacher, [Condition(shown)], store, dataset=dataset, **free)
    examples = fusion_examples(observations, lesson.given[Condition(shown)].answers, dataset=dataset, modalities=shown,
                               labels=labels, test_folds=[test_fold])  # fmt: skip
    teaching = Teaching(max_steps=steps, batch_size=1, accumulate=1, learning_rate=2e-3, full_learning_rate=5e-4,
                        alpha=64, longest_example=2048)  # fmt: skip
    recipe = recipe_for(student, teaching)
    taught = train_student(recipe, examples, name=f"{student} taught by {teacher}")
    spec, _ = merge(taught)
    asked = {**free, "wording": "student"}
    names = {teacher: f"{teacher}, fold {test_fold}", student: f"{student} untrained, fold {test_fold}"}
    return [
        by_model(own, labels, spec, [Condition(shown)], store, dataset=dataset, **asked),
        by_model(own, labels, teacher, [Condition(shown)], store, dataset=dataset, name=names[teacher], **free),
        by_model(own, labels, student, [Condition(shown)], store, dataset=dataset, name=names[student], **free),
    ]


def who_is_asked(
    models: Sequence[str], everyone: Sequence[Observation], subset: Sequence[Observation]
) -> dict[str, Sequence[Observation]]:
    """Clips of each model: rules, which cost nothing, answer about all; language models about the subset."""
    return {name: everyone if MODELS[name].kind == "rules" else subset for name in models}


def key_numbers(
    answered: Sequence[Answered], labels: Sequence[str], imu_accuracy: float | None
) -> dict[str, float | int | None]:
    """The notebook's key numbers: size of the design, motion alone, everything shown by answerer, the vote.

    ``f1_all_modalities`` is the first model's (macro F1, zero-shot); each answerer's own stands beside it.
    """
    most = {one.answerer: max((c.modalities for c in one.given if c.closed), key=len) for one in answered}
    full = {
        cell.answerer: cell.macro_f1.mean
        for cell in cells(answered, labels)
        if cell.shots == 0 and cell.modalities == most[cell.answerer]
    }
    asked = {condition.modalities for one in answered for condition in one.given}
    found: dict[str, float | int | None] = {
        "n_combinations": len(asked | {frozenset()}),
        "imu_accuracy": imu_accuracy,
        "f1_all_modalities": next((full.get(one.answerer) for one in answered if one.kind in ("llm", "rules")), None),
        "f1_vote": full.get("vote"),
    }
    return found | {f"f1_all_{name}": value for name, value in full.items() if name != "vote"}
