"""What notebook 05 shows of clips, encoders, prompts and free answers, as tables. Asks nobody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from llmhar.fusion.ablation import accuracy, by_conflict
from llmhar.fusion.answerers.prompt import build_prompt
from llmhar.fusion.answerers.task import FusionTask, all_shown
from llmhar.fusion.clips.clip import ClipSet
from llmhar.fusion.encoders.observation import Guess, Observation
from llmhar.fusion.encoders.observe import Observed
from llmhar.fusion.encoders.registry import ENCODERS, STAND_INS
from llmhar.fusion.study import OpenAnswers
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
        rows[label] = {f"fold {fold}": folds[fold] for fold in sorted({clip.fold for clip in clipset.clips})} | {
            "recordings": kinds["sound"] + kinds["recording"],
            "people": kinds["person"],
            "of them in conflict": sum(clip.conflict for clip in own),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("activity")


def encoder_table(observed: Observed) -> pd.DataFrame:
    """Who spoke for each modality, made where, and whether that is a stand-in or recorded."""
    rows = {}
    for modality, name in observed.encoders.items():
        made = observed.made_by.get(modality)
        entry = STAND_INS[name] if name in STAND_INS else ENCODERS[name]
        kind = "recorded outputs" if made and made.engine == "recorded" else entry.kind
        made_by = str(made) if made else "said nothing"
        rows[modality] = {"encoder": name, "title": entry.title, "kind": kind, "made by": made_by}
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
    for clip in observations:
        if not clip.conflict:
            firsts.setdefault(clip.label, clip)
    rows = {}
    for label, clip in firsts.items():
        seen = clip.steps[min(step, len(clip.steps) - 1)] if clip.steps else None
        rows[label] = {
            "caption": _spoken(seen.captions[:1]) if seen else "",
            "sound labels": _shares(seen.labels[:3]) if seen else "",
            "motion": _shares(seen.motion[:2]) if seen else "",
            "context": ", ".join(clip.context.values()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("activity (truth)")


def _spoken(guesses: Sequence[Guess]) -> str:
    return "; ".join(clean_text(guess.name) for guess in guesses)


def _shares(guesses: Sequence[Guess]) -> str:
    return ", ".join(f"{clean_text(guess.name)} {guess.share:.0%}" for guess in guesses)


def show_prompt(task: FusionTask) -> None:
    """Print the prompt of a task's first clip with everything shown, zero-shot, closed."""
    first = task.observations[0]
    prompt = build_prompt(all_shown([first]), task.labels, form=task.form)
    for message in prompt.messages(first):
        print(f"[{message['role']}]\n{message['content']}\n")


def open_table(opened: Sequence[OpenAnswers], about: About) -> pd.DataFrame:
    """Accuracy of free answers matched by embedding, and the judge's agreement where one was set."""
    tables = [
        by_conflict(lambda clips, own=own: _open_row(own, clips, about), own.answered.task.observations)  # type: ignore[misc]
        for own in opened
    ]
    return pd.concat(tables) if tables else pd.DataFrame()


def _open_row(own: OpenAnswers, clips: Sequence[Observation], about: About) -> pd.DataFrame:
    (given,) = own.answered.given.values()
    share = accuracy(given.predictions, clips)
    row = {
        "kind": KINDS[own.answered.kind],
        "accuracy": share.mean,
        "95 % low": share.low,
        "95 % high": share.high,
        "no match": sum(given.predictions.get(clip.clip_id) is None for clip in clips),
        "clips": share.n_values,
        "clusters": share.n,
        "judge agrees": own.judged.agreement if own.judged else "no judge",
        "kappa": own.judged.kappa if own.judged else "–",
        "data": about.marked,
    }
    return pd.DataFrame([row], index=[own.answered.answerer])
