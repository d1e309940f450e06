"""One clip as a timeline: windows of 2 s of sound and 4 s of motion around the same centres, and what was said of each.

Draws what encoders said; asks nobody. What they said is untrusted and drawn as text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from llmhar.fusion.clips.clip import AUDIO_S, MOTION_S, Clip, ClipSet
from llmhar.fusion.encoders.observation import Guess, Observation
from llmhar.fusion.encoders.observe import Observed
from llmhar.score.figures import axes_of, colours_of, plain, stamp_wrapped
from llmhar.text.serialize import clean_text

LANES = (("captions", AUDIO_S), ("labels", AUDIO_S), ("motion", MOTION_S))
"""Modality -> seconds of its windows, from the top; motion's overlap, so that it takes two lanes."""
MAX_WORDS = 3
"""Lines of a guess's name."""


def draw_timeline(clips: ClipSet, observed: Observed) -> Figure:
    """One clip that every modality speaks of, its windows with the likeliest guess in each.

    Args:
        clips: their lengths and titles.
        observed: what the encoders said of them.
    """
    clip, seen = _choose(clips, observed)
    lanes = [(name, width) for name, width in LANES if seen.has(name)]
    palette = colours_of(name for name, _ in LANES)
    n = sum(2 if name == "motion" else 1 for name, _ in lanes)
    figure, axes = axes_of(11.5, 0.75 * max(n, 1) + 1.7)
    top, ticks = 0.0, []
    for name, width in lanes:
        height = 2 if name == "motion" else 1
        _draw_lane(axes, seen, name, width, top, palette[name])
        ticks.append((top + height / 2, f"{name}\n({width:g} s windows)"))
        top += height
    length = max(clip.audio_s or 0.0, clip.motion_s or 0.0, MOTION_S)
    for step in seen.steps:
        axes.axvline(step.centre, color="0.75", linewidth=0.8, linestyle=":", zorder=0)
    axes.set_yticks([at for at, _ in ticks], [words for _, words in ticks])
    axes.set_ylim(max(top, 1), 0)
    axes.set_xlim(0, length)
    axes.set_xticks([step.centre for step in seen.steps], [f"{step.centre:g}" for step in seen.steps])
    axes.set_xlabel("seconds from the clip's start (dotted: centres, which all windows share)")
    about = f"one clip, {len(seen.steps)} time steps"
    axes.set_title(plain(f"{clean_text(seen.label)} (truth): {about}, the likeliest guess in each window"), loc="left")
    context = ", ".join(clean_text(value) for value in seen.context.values()) or "none"
    text = (
        f"Data: {clips.title} ({clips.kind}), clip {clean_text(seen.clip_id)}. Context, for the whole clip: {context}."
    )
    return stamp_wrapped(figure, text)


def _choose(clips: ClipSet, observed: Observed) -> tuple[Clip, Observation]:
    """A clip and what was said of it: without contradiction and with every modality where there is such a clip, and of
    those the first of which most different things were said.
    """
    pairs = list(zip(clips.clips, observed.observations, strict=True))
    best = [pair for pair in pairs if not pair[1].conflict and all(pair[1].has(name) for name, _ in LANES)]
    return max(best or pairs, key=lambda pair: len(_names(pair[1])))


def _names(seen: Observation) -> set[str]:
    """Different likeliest guesses of sound labels and motion."""
    return {guesses[0].name for step in seen.steps for guesses in (step.labels, step.motion) if guesses}


def _draw_lane(axes: Axes, seen: Observation, name: str, width: float, top: float, colour: str) -> None:
    """A box a window, from ``top`` downwards; every second box of motion one lane lower."""
    for place, step in enumerate(seen.steps):
        guesses: Sequence[Guess] = getattr(step, name)
        if not guesses:
            continue
        y = top + (place % 2 if name == "motion" else 0)
        left = step.centre - width / 2
        box = Rectangle((left + 0.03, y + 0.06), width - 0.06, 0.88, facecolor=colour, alpha=0.22, edgecolor=colour)
        axes.add_patch(box)
        share = "" if name == "captions" else f" {guesses[0].share:.0%}"
        said = clean_text(guesses[0].name) + share
        text = axes.text(step.centre, y + 0.5, _fitted(said, width), ha="center", va="center", fontsize=7.5)
        text.set_clip_path(box)  # whatever letters a name is made of, it stays within its window
        text.set_clip_on(True)


def _fitted(text: str, width: float) -> str:
    """A text in as many short lines as a box of so many seconds takes."""
    lines = textwrap.wrap(text, int(6.5 * width), break_long_words=True)
    return plain(
        "\n".join(lines if len(lines) <= MAX_WORDS else [*lines[: MAX_WORDS - 1], f"{lines[MAX_WORDS - 1]} …"])
    )
