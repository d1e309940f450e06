"""What notebook 05 shows of clips, encoders, prompts and free answers, as tables. Asks nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from llmhar.fusion.ablation import by_conflict, clustered_interval, correct
from llmhar.fusion.answerers.prompt import build_prompt
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.encoders.observation import Guess, Observation
from llmhar.fusion.encoders.observe import Observed
from llmhar.fusion.encoders.registry import ENCODERS, STAND_INS
from llmhar.fusion.study import Free, all_shown
from llmhar.fusion.tables import About
from llmhar.score.tables import KINDS
from llmhar.text.serialize import clean_text


def clip_table(clipset: ClipSet) -> pd.DataFrame:
    """Clips of each activity by fold, with how many recordings and people, and how many clips contradict themselves."""
    rows = {}
    for label in clipset.labels:
        own = [clip for clip in clipset.clips if clip.label == label]
        folds = Counter(clip.fold for clip in own)
        kinds = Counter(source.partition(":")[0] for source in {s for clip in own for s in clip.sources})
        rows[label] = {
            **{f"fold {fold}": folds[fold] for fold in sorted({clip.fold for clip in clipset.clips})},
            "recordings": kinds["sound"] + kinds["recording"], "people": kinds["person"],
            "of them in conflict": sum(clip.conflict for clip in own),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("activity")


def encoder_table(observed: Observed) -> pd.DataFrame:
    """Who spoke for each modality, made where, and whether that is a stand-in or recorded."""
    rows = {}
    for modality, name in observed.encoders.items():
        made = observed.made_by.get(modality)
        known = STAND_INS[name] if name in STAND_INS else ENCODERS[name]
        kind = "recorded outputs" if made and made.engine == "recorded" else known.kind
        made_by = str(made) if made else "said nothing"
        rows[modality] = {"encoder": name, "title": known.title, "kind": kind, "made by": made_by}
    rows["context"] = {
        "encoder": "–",
        "title": observed.context,
        "kind": observed.context.partition(",")[0],
        "made by": "–",
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("modality")


def example_table(observations: Sequence[Observation], step: int = 3) -> pd.DataFrame:
    """One clip of each activity: what was said of one of its time steps."""
    firsts: dict[str, Observation] = {}
    for one in observations:
        if not one.conflict:
            firsts.setdefault(one.label, one)
    rows = {}
    for label, one in firsts.items():
        seen = one.steps[min(step, len(one.steps) - 1)] if one.steps else None
        rows[label] = {
            "caption": _spoken(seen.captions[:1]) if seen else "",
            "sound labels": _shares(seen.labels[:3]) if seen else "",
            "motion": _shares(seen.motion[:2]) if seen else "",
            "context": ", ".join(one.context.values()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("activity (truth)")


def _spoken(guesses: Sequence[Guess]) -> str:
    return "; ".join(clean_text(guess.name) for guess in guesses)


def _shares(guesses: Sequence[Guess]) -> str:
    return ", ".join(f"{clean_text(guess.name)} {guess.share:.0%}" for guess in guesses)


def show_prompt(observation: Observation, labels: Sequence[str], n_guesses: int = 3) -> None:
    """Print the prompt of one clip with everything shown, zero-shot, closed."""
    prompt = build_prompt(all_shown([observation]), labels, n_guesses=n_guesses)
    for message in prompt.messages(observation):
        print(f"[{message['role']}]\n{message['content']}\n")


def open_table(free: Sequence[Free], about: About) -> pd.DataFrame:
    """Accuracy of free answers matched by embedding, chance, and the judge's agreement where one was set."""
    rows = {}
    for one, judged in free:
        (given,) = one.given.values()

        def scored(own: Sequence[Observation], given=given, one=one, judged=judged) -> pd.DataFrame:  # type: ignore[no-untyped-def]
            made = clustered_interval(correct(given.predictions, own), [clip.cluster for clip in own])
            unmatched = sum(given.predictions.get(clip.clip_id) is None for clip in own)
            row = {"kind": KINDS[one.kind], "accuracy": made.mean, "95 % low": made.low, "95 % high": made.high,
                   "no match": unmatched, "clips": made.n_clips, "clusters": made.n_clusters,
                   "judge agrees": judged.agreement if judged else "no judge", "kappa": judged.kappa if judged else "–",
                   "data": about.marked}  # fmt: skip
            return pd.DataFrame([row], index=[one.answerer])

        rows[one.answerer] = by_conflict(scored, one.observations)
    return pd.concat(rows.values()) if rows else pd.DataFrame()
