"""Fusion without a language model: S2's open question 2, on the same clips and folds. Draws and scores nothing.

Each test fold is predicted by what was fitted on the other folds. Who predicts gets clips without their truth and with
the asked modalities alone, so neither can leak. Clips composed to contradict themselves are predicted but never learnt
from. A clip of which the asked modalities say nothing (no modality at all included) gets the activity that is most
frequent in the training folds: that is what knowing nothing is worth.

Encoders speak in vocabularies of their own (521 sounds, sentences, six motions), so what a guess means for the
activities is learnt in the training folds. A caption is its content words, for it is seldom said twice.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np

from llmhar.fusion.answerers.contrastive import project
from llmhar.fusion.clips.clip import check_folds
from llmhar.fusion.encoders.observation import Observation
from llmhar.records import sha256_of
from llmhar.text.embedding import embed
from llmhar.text.naming import name_words

Predictions = dict[str, str | None]
"""Clip id -> answered activity; None: no valid answer, which is wrong."""
Scorer = Callable[[str, str], float]
"""``scorer(guess, label)``: how near they lie; 0 or less: not at all."""
LAPLACE = 1.0
"""Added to every count."""
STRENGTH = 10.0
"""Inverse strength of the L2 penalty (scikit-learn's C). Fixed beforehand, never chosen on these clips."""
_STOP = frozenset(
    ["a", "an", "and", "are", "as", "at", "be", "by", "from", "in", "into", "is", "it", "its", "of", "on", "or", "over",
     "some", "somebody", "someone", "something", "sound", "sounds", "that", "the", "then", "there", "this", "to",
     "while", "with"]
)  # fmt: skip


class Job(NamedTuple):
    """What every fold of one prediction shares."""

    modalities: frozenset[str]
    labels: tuple[str, ...]
    seed: int
    scorers: Mapping[str, Scorer]


class Without(NamedTuple):
    """What must be done without: of who knows nothing of it, or gets it no more."""

    modalities: frozenset[str] = frozenset()
    """Learnt with, and missing from the clips that are predicted."""
    labels: frozenset[str] = frozenset()
    """Activities of which no labelled clip is learnt from."""


NOTHING_GONE = Without()


Fitted = Callable[[Sequence[Observation]], list[str | None]]
"""Predicts clips that carry no truth; None: nothing was said of this clip."""


class Baseline(NamedTuple):
    """One way to fuse."""

    title: str
    """As tables say it."""
    fit: Callable[[Sequence[Observation], Job], Fitted]
    """Learns from training folds alone."""
    view: Callable[[Sequence[Observation], Job], Mapping[int, Sequence[Observation]]] | None = None
    """Test fold -> all clips, in the same order, as a representation learnt without that fold shows them."""


def predict(
    name: str,
    observations: Sequence[Observation],
    modalities: Sequence[str] | frozenset[str],
    labels: Sequence[str],
    seed: int = 0,
    scorers: Mapping[str, Scorer] | None = None,
    without: Without = NOTHING_GONE,
) -> Predictions:
    """Predict every clip from the folds it is not in.

    Args:
        name: key into ``BASELINES``.
        observations: the clips, in at least two folds.
        modalities: what may be looked at, some of ``observations.MODALITIES``; empty: the training folds' majority.
        labels: activities that may be answered; ties go to the earlier one.
        seed: of whatever is drawn.
        scorers: modality -> how near a guess that was never seen in training lies to a label (``vote`` only);
            where none is given: :func:`word_overlap`.
        without: what is missing at test time, or was never seen with a label; not for ``contrastive``, whose view is
            made of both.

    Raises:
        DataError: a person or recording on two sides of the split.
        ValueError: one fold only, a clip twice, or a label outside ``labels``.
        KeyError: no such baseline.
    """
    baseline, job = BASELINES[name], Job(frozenset(modalities), tuple(labels), seed, scorers or {})
    check_folds(cast(Any, observations))  # reads the fields that clips and observations share
    _check(observations, job.labels)
    seen = [show_only(one, job.modalities) for one in observations]
    views = baseline.view(seen, job) if baseline.view else {}
    predicted: Predictions = {}
    for fold in sorted({one.fold for one in seen}):
        view = views.get(fold, seen)
        others = [one for one in view if one.fold != fold]
        others = [one for one in others if one.label not in without.labels]
        train = [one for one in others if not one.conflict] or others
        left = job.modalities - without.modalities
        test = [show_only(replace(one, label=""), left) for one in view if one.fold == fold]
        fallback = most_frequent(train, job.labels)
        for one, answer in zip(test, baseline.fit(train, job)(test)):
            predicted[one.clip_id] = fallback if answer is None else answer
    return {one.clip_id: predicted[one.clip_id] for one in observations}


def _check(observations: Sequence[Observation], labels: tuple[str, ...]) -> None:
    if len({one.fold for one in observations}) < 2:
        raise ValueError("a baseline needs clips in at least two folds: one to learn from, one to predict")
    if len({one.clip_id for one in observations}) < len(observations):
        raise ValueError("the same clip twice: give each clip id once")
    if unknown := {one.label for one in observations} - set(labels):
        raise ValueError(f"clips of {sorted(unknown)}, which may not be answered; labels are {list(labels)}")


def show_only(observation: Observation, modalities: frozenset[str]) -> Observation:
    """The clip as somebody sees it who has these modalities alone."""
    hidden: dict[str, Any] = {name: () for name in ("captions", "labels", "motion") if name not in modalities}
    return replace(
        observation,
        steps=tuple(step._replace(**hidden) for step in observation.steps),
        context=observation.context if "context" in modalities else {},
        embeddings={name: vector for name, vector in observation.embeddings.items() if name in modalities},
    )


def most_frequent(observations: Sequence[Observation], labels: Sequence[str]) -> str:
    """The most frequent activity; of equally frequent ones the first in ``labels``."""
    counts = Counter(one.label for one in observations)
    return max(labels, key=lambda label: counts[label])


@lru_cache(maxsize=65536)
def words(text: str) -> tuple[str, ...]:
    """Content words in lower case, endings cut off ("Vacuum cleaner" and "vacuum cleaning" share both)."""
    found = [word for word in re.findall(r"[^\W\d_]+", text.lower()) if word not in _STOP]
    return tuple(re.sub(r"(?<=\w{3})(ing|ers?|es|s|e)$", "", word) for word in found)


def word_overlap(guess: str, label: str) -> float:
    """Shared content words over all content words of both, 0 … 1."""
    one, other = set(words(guess)), set(words(label))
    return len(one & other) / len(one | other) if one & other else 0.0


def _tokens(modality: str, name: str) -> tuple[str, ...]:
    return words(name) if modality == "captions" else (name,)


def said(observation: Observation) -> dict[str, list[dict[str, float]]]:
    """Modality -> for each step that it spoke of: token -> weight, weights of a step summing to 1.

    Guesses of a step weigh as their shares; a caption's words weigh alike. Context, said once of a clip, is a step for
    each of its entries.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for modality in ("captions", "labels", "motion"):
        for step in observation.steps:
            weights: dict[str, float] = defaultdict(float)
            for guess in getattr(step, modality):
                for token in (own := _tokens(modality, guess.name)):
                    weights[token] += guess.share / len(own)
            if (total := sum(weights.values())) > 0:
                found.setdefault(modality, []).append({token: w / total for token, w in weights.items()})
    if observation.context:
        found["context"] = [{f"{key}: {value}": 1.0} for key, value in observation.context.items()]
    return found


# -- majority vote


def _ballots(observation: Observation) -> Iterator[tuple[str, str]]:
    """(modality, likeliest guess) of every step, then each entry of the context: one vote each."""
    for modality in ("captions", "labels", "motion"):
        for step in observation.steps:
            if own := getattr(step, modality):
                yield modality, max(own, key=lambda guess: guess.share).name
    yield from (("context", f"{key}: {value}") for key, value in observation.context.items())


def _fit_vote(train: Sequence[Observation], job: Job) -> Fitted:
    """A guess votes for the activity that is most frequent in training where it was said (Laplace).

    A guess never said in training votes for the label whose words it shares, or abstains.
    """
    counts: dict[tuple[str, str], np.ndarray] = defaultdict(lambda: np.zeros(len(job.labels)))
    for one in train:
        for modality, name in _ballots(one):
            for token in _tokens(modality, name):
                counts[modality, token][job.labels.index(one.label)] += 1
    shares = {key: (n + LAPLACE) / (n.sum() + LAPLACE * len(n)) for key, n in counts.items()}

    def meaning(modality: str, token: str) -> np.ndarray:
        known = shares.get((modality, token))
        if known is None:
            scorer = job.scorers.get(modality, word_overlap)
            known = np.array([max(0.0, scorer(token, label)) for label in job.labels])
            known = shares[modality, token] = known / max(known.sum(), 1.0)  # a fixed rule: kept, not learnt
        return known

    def vote(one: Observation) -> str | None:
        votes, sure = np.zeros(len(job.labels)), np.zeros(len(job.labels))
        for modality, name in _ballots(one):
            total = sum((meaning(modality, token) for token in _tokens(modality, name)), np.zeros(len(job.labels)))
            if total.max() > 0:
                votes[total.argmax()] += 1
                sure += total / total.sum()
        # equal numbers of votes: the activity for which the guesses speak more clearly
        return job.labels[int(np.lexsort((-sure, -votes))[0])] if votes.any() else None

    return lambda test: [vote(one) for one in test]


# -- naive Bayes


def _fit_bayes(train: Sequence[Observation], job: Job, dependence: float = 1.0) -> Fitted:
    """Late fusion by P(guess | activity), modality by modality, with Laplace smoothing.

    Steps of one clip are near copies of each other: a modality's log-likelihoods are summed over its T steps and
    divided by T^dependence (1: a clip counts as one step; 0: steps are independent). Guesses that training never saw
    say nothing. Only activities that occur in training are answered.
    """
    truths = [job.labels.index(one.label) for one in train]
    present = np.bincount(truths, minlength=len(job.labels))
    prior = np.where(present > 0, np.log((present + LAPLACE) / (present + LAPLACE).sum()), -np.inf)
    counts: dict[str, dict[str, np.ndarray]] = defaultdict(lambda: defaultdict(lambda: np.zeros(len(job.labels))))
    for one, truth in zip(train, truths):
        for modality, steps in said(one).items():
            for step in steps:
                for token, weight in step.items():
                    counts[modality][token][truth] += weight
    tables = {}
    for modality, own in counts.items():
        total = sum(own.values(), np.zeros(len(job.labels))) + LAPLACE * len(own)
        tables[modality] = {token: np.log((n + LAPLACE) / total) for token, n in own.items()}

    def decide(one: Observation) -> str | None:
        score, heard = prior.copy(), False
        for modality, steps in said(one).items():
            known = tables.get(modality, {})
            pieces = [weight * known[token] for step in steps for token, weight in step.items() if token in known]
            if pieces:
                heard = True
                score += sum(pieces) / (1 if modality == "context" else len(steps) ** dependence)
        return job.labels[int(score.argmax())] if heard else None

    return lambda test: [decide(one) for one in test]


# -- what scikit-learn fits


def _classifier(rows: Any, truth: Sequence[str], seed: int) -> Callable[[Any], list[str]]:
    """Multinomial logistic regression; where training knows one activity, that one."""
    from sklearn.linear_model import LogisticRegression  # a second to import

    if len(set(truth)) == 1:
        return lambda test: [truth[0]] * test.shape[0]
    model = LogisticRegression(C=STRENGTH, max_iter=2000, random_state=seed).fit(rows, list(truth))
    return lambda test: [str(answer) for answer in model.predict(test)]


def _fit_stacking(train: Sequence[Observation], job: Job) -> Fitted:
    """Logistic regression on how much of the clip each guess of each modality holds (averaged shares)."""
    from sklearn.feature_extraction import DictVectorizer

    rows = [_shares(one) for one in train]
    if not any(rows):
        return lambda test: [None] * len(test)
    names = DictVectorizer().fit(rows)
    answer = _classifier(names.transform(rows), [one.label for one in train], job.seed)

    def decide(test: Sequence[Observation]) -> list[str | None]:
        own = [_shares(one) for one in test]
        known = [any(name in names.vocabulary_ for name in row) for row in own]
        return [label if heard else None for label, heard in zip(answer(names.transform(own)), known)]

    return decide


def _shares(observation: Observation) -> dict[str, float]:
    """Mean weight over steps of each "modality: token"; entries of the context 1."""
    found: dict[str, float] = defaultdict(float)
    for modality, steps in said(observation).items():
        for step in steps:
            for token, weight in step.items():
                found[f"{modality}: {token}"] += weight / (1 if modality == "context" else len(steps))
    return dict(found)


def _fit_early(train: Sequence[Observation], job: Job) -> Fitted:
    """Logistic regression on embeddings side by side, standardised on training, with context as 0 and 1.

    Each modality's vector is divided by the root of its length, so that a long one does not drown a short one. A
    missing vector is the training mean. Embeddings only: modalities that have none (captions by template) are not seen.
    """
    known = {name: [one.embeddings[name] for one in train if name in one.embeddings] for name in _names(train)}
    scale = {name: (np.mean(own, axis=0), np.std(own, axis=0) + 1e-6) for name, own in known.items()}
    context = sorted({entry for one in train for entry in one.context.items()})
    if not scale and not context:
        return lambda test: [None] * len(test)

    def rows(some: Sequence[Observation]) -> np.ndarray:
        blocks = [np.array([[float(one.context.get(key) == value) for key, value in context] for one in some])]
        for name, (mean, spread) in scale.items():
            own = np.array([one.embeddings.get(name, mean) for one in some])
            blocks.append((own - mean) / spread / len(mean) ** 0.5)
        return np.concatenate([block.reshape(len(some), -1) for block in blocks], axis=1)

    answer = _classifier(rows(train), [one.label for one in train], job.seed)

    def decide(test: Sequence[Observation]) -> list[str | None]:
        heard = [bool(one.context) or any(name in one.embeddings for name in scale) for one in test]
        return [label if any_ else None for label, any_ in zip(answer(rows(test)), heard)]

    return decide


def _names(observations: Sequence[Observation]) -> list[str]:
    return sorted({name for one in observations for name in one.embeddings})


def _view_contrastive(observations: Sequence[Observation], job: Job) -> Mapping[int, Sequence[Observation]]:
    """Sound and motion in a shared space, learnt for each test fold from the other folds' pairs."""
    return project(observations, seed=job.seed)


# -- nothing fitted


def _fit_embeddings(train: Sequence[Observation], job: Job) -> Fitted:
    """The activity whose name is nearest to what was said: cosines of each modality's guesses, by their shares, summed.

    Learns nothing: what zero-shot answers of a language model are to be measured by.
    """
    named = embed([name_words(label) for label in job.labels])

    def answer(one: Observation) -> str | None:
        told: dict[str, Counter[str]] = defaultdict(Counter)
        for step in one.steps:
            for modality in ("captions", "labels", "motion"):
                for guess in getattr(step, modality):
                    told[modality][guess.name] += guess.share
        told["context"].update(dict.fromkeys(one.context.values(), 1.0))
        scores = np.zeros(len(named))
        for words in told.values():
            if words:
                mean = np.array([*words.values()]) @ embed([*words])
                scores += named @ mean / (np.linalg.norm(mean) or 1.0)
        return job.labels[int(np.argmax(scores))] if any(told.values()) else None

    return lambda test: [answer(one) for one in test]


# -- for reference


def _fit_majority(train: Sequence[Observation], job: Job) -> Fitted:
    return lambda test: [None] * len(test)  # what predict() then fills in


def _fit_chance(train: Sequence[Observation], job: Job) -> Fitted:
    """A fair draw among all labels, the same for a clip in whatever order clips come."""

    def draw(one: Observation) -> str:
        return job.labels[int(sha256_of({"seed": job.seed, "clip": one.clip_id}), 16) % len(job.labels)]

    return lambda test: [draw(one) for one in test]


BASELINES: dict[str, Baseline] = {
    "vote": Baseline("majority vote", _fit_vote),
    "bayes": Baseline("naive Bayes", _fit_bayes),
    "stacking": Baseline("stacking (logistic regression on guesses)", _fit_stacking),
    "early": Baseline("early fusion (logistic regression on embeddings)", _fit_early),
    "contrastive": Baseline("contrastive (shared space, logistic regression)", _fit_early, _view_contrastive),
    "embeddings": Baseline("text embeddings, nothing fitted", _fit_embeddings),
    "majority": Baseline("most frequent activity", _fit_majority),
    "chance": Baseline("chance", _fit_chance),
}
"""Ways to fuse without a language model; the last two look at nothing."""
