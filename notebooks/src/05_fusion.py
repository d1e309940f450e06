# ---
# jupyter:
#   jupytext:
#     formats: ipynb,src//py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fusion: sound and motion become text, a language model says what is being done
#
# S2 asks a language model to fuse what audio and motion models said, as text: no model is trained
# on sound and motion together. Here the way is walked from recordings to an answer, then every
# combination of modalities is asked, with the same clips and folds for answerers without a
# language model. S2's clips (Ego4D) are gated; the demo's are **composed from real recordings**:
# real sounds and real motion of other people and hours, joined. They tell how the method works,
# not how well it works in a home. What encoders' errors cost, and what their size buys, is asked
# in `05b_encoder_errors`.

# %% [markdown]
# ## What you need to know
#
# - **Late fusion** puts answers together, not signals: a model of sound and one of motion each say
#   what they take a piece for, in words, and somebody makes one activity of it.
# - A **Shapley share** by hand: sound alone is right 40 times in 100, motion alone 20, both 70,
#   neither 10. Sound first adds 30 and motion then 30; motion first adds 10 and sound then 50.
#   Sound's share is (30 + 50) / 2 = 40, motion's (30 + 10) / 2 = 20, and both together are the 60
#   from neither to both.
# - **Clustered** intervals draw whole recordings: clips of one recording share its microphone and
#   room, and are not independent.
# - **Closed** means that the activities are listed in the prompt, **open** that they are not;
#   **one-shot** shows one example an activity.
#
# **Predict before you look:** sound labels, motion or a made-up context: which of them is worth
# most, and does a language model that was never shown a labelled clip pass a plain vote?

# %% tags=["parameters"]
clipset: str = "scenes"  # scenes (made up), scenes-recorded, hapt, pamap2, usc_had, manifest (own)
data_dir: str | None = None  # their folder or manifest, from where you call; None = fetched or made
captions: str | None = "template-captions"  # clapcap, template-captions (a stand-in), or none
sound_labels: str | None = "yamnet"  # encoder of sound labels: yamnet, vggish, or none
motion: str | None = "imu-cnn-m-6"  # encoder of motion: imu-cnn-{s,m,l}-{6,12}, or none
context_noise: float | None = 0.1  # S2's made-up context, wrong this often; None = sensors' only
models: list[str] = ["rules"]  # who answers: names from params/models.yaml; rules about all clips
fusers: list[str] = []  # taught on made-up clips: truth, answer, llmhar-fusion-135m (where it is)
n_fuser_clips: int | None = None  # their grid, other settings on so many clips; None = no grid
engine: str = "auto"  # auto (vllm, else transformers), or one engine
n_llm_clips: int | None = 10  # clips that language models are asked about; None = all
shots: list[int] = [0]  # examples per activity in the prompt: 0 (zero-shot), 1 (one-shot)
example_steps: int | None = 2  # time steps shown of a one-shot example; None = all (8,000 tokens)
baselines: list[str] = ["vote", "bayes", "stacking", "early", "embeddings"]  # or contrastive
constrained: bool = True  # language models must answer from the list; leaves no room for reasoning
sampling: str = "model"  # model: makers' values, by mode; hosted: max_tokens too; greedy: likeliest
max_tokens: int = 256  # most tokens a model may write
n_guesses: int = 3  # classes shown a step
open_ended: bool = True  # also ask without a list of activities
judge: str | None = None  # judges open answers beside the embedding: a name from params/models.yaml
strangers: bool = True  # measure the motion encoder on HAPT's people whom it has not seen
n_draws: int = 1  # draws of the composed scenes whose shares are compared; 1 = the study's alone
time_parts: bool = False  # measure seconds from raw samples to the activity
seed: int = 0  # of subsets, draws and examples

# %% tags=["profile"]
# `make lab` opens with the demo's settings; or name a profile here: "smoke", "demo-full", "paper"
from llmhar.settings import live_settings

globals().update(live_settings("05_fusion", profile=None))

# %%
from pathlib import Path

from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.fusion import figures, situations, study, tables, taught, views
from llmhar.fusion.answerers.prompt import FusionForm
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.draws import draw_table
from llmhar.fusion.encoders.observe import Observing, observe
from llmhar.fusion.motion_capacity import on_strangers
from llmhar.fusion.seconds import second_table
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.score.tables import pair_table

# %% [markdown]
# ## Clips
#
# A clip is some 20 seconds of one activity. Windows as in S2: sound 2 s, motion 4 s every 2 s,
# centres aligned. No person and no recording is on two sides of the split; that is checked each
# time.

# %%
store = Store()
clips = load_clipset(clipset, Path(data_dir) if data_dir else None)
print(f"{clips.title} ({clips.kind}): {len(clips.clips)} clips, {clips.n_folds} folds.")
print(clips.provenance)
views.clip_table(clips)

# %% [markdown]
# One clip over its 20 seconds, with what the encoders (below) say of each of its windows. Sound is
# heard in pieces of 2 s, motion is felt in pieces of 4 s, for a movement takes longer to show; a
# piece of each has its centre at the same second, and that is one time step of the prompt.

# %%
from llmhar.fusion.timeline import draw_timeline

encoders = {"captions": captions, "labels": sound_labels, "motion": motion}
observing = Observing(encoders, context_noise, seed)
observed = observe(clips, store, observing)
draw_timeline(clips, observed)

# %% [markdown]
# ## What the encoders say
#
# Sound becomes captions and labels, motion becomes classes of movement; each result is kept by
# content, so nothing is heard twice. The stand-in for captions writes sentences over the labels:
# it carries nothing that the labels lack, and gets no share below. The motion encoder was trained
# on people who are in no clip.

# %%
views.encoder_table(observed)

# %%
views.example_table(observed.observations)

# %% [markdown]
# How often is the motion encoder right about people whom it has never met? S2 found 13 % for its
# own on twelve activities; ours names six movements, which is far easier.

# %%
imu = on_strangers(motion, store) if motion and strangers else None
imu.round(3) if imu is not None else "not measured in this profile"

# %% [markdown]
# ## From guesses to a prompt
#
# S2's structure: what each modality is and how far it may be trusted, the activities, one line a
# time step, then the wish for a short reasoning and one line of JSON. Names are data: cleaned and
# JSON-encoded.

# %%
form = FusionForm(n_guesses=n_guesses, example_steps=example_steps)
plan = study.plan(clips, observed, form, n_llm_clips, seed)
views.show_prompt(plan.subset)

# %% [markdown]
# ## Every combination
#
# All combinations of the modalities, for every answerer on identical folds. Examples of one-shot
# prompts never come from the asked clip's fold; the prompt is checked for that before it is sent.

# %%
limits = Sampling(max_tokens=max_tokens, seed=seed)
asking = Asking(sampling=limits, draw=sampling, constrained=constrained, engine=engine)
students, grid = taught.fuser_models(fusers), n_fuser_clips is not None
outcome = study.answer(plan, models, baselines, shots, store, asking)
outcome = taught.joined(outcome, students, store, asking, grid=grid)
tables.factorial_grid(outcome.cells, "macro_f1")

# %%
heat_map = figures.factorial_heatmap(outcome.cells, plan.about_models, stand_ins=plan.stand_ins)
heat_map

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - told everything, Bayes is right about 89.2 % of the clips, the vote about 83.3 %, the rules
#   about 72.5 %: all three know these sounds, from labelled clips or by hand;
# - text embeddings, which know nothing but words, about 48.3 %, the student of made-up clips
#   about 39.2 %, the untaught model about 12.5 % of its few.

# %% [markdown]
# ## Names taught, names never taught
#
# A student of made-up clips saw no recording: every clip is a test, of all folds. A third of the
# activities was never taught to it under any name; the same activities are told apart for
# everybody, though whoever was fitted learnt from labelled clips of both.
#
# The student reasons in words of its own ("a baby; so comforting a child") and then writes a name
# that it remembers rather than one of the list. So the name is read from its reason: the one that
# is nearest, by sentence embeddings, to what the reason hears and concludes. What it names itself
# stands beside it ("own names"), and so does the control that needs no language model: the name
# nearest to the encoders' own words ("embeddings").

# %%
parts = taught.part_table(outcome.answered, plan.about)
parts.round(3)

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - fitted on labelled clips, or written by hand for these sounds: Bayes reaches macro F1 0.889, the
#   vote 0.821 [0.703, 0.890], the rules 0.702 [0.566, 0.822];
# - without any labelled clip: text embeddings 0.439 [0.331, 0.527], the student 0.317 [0.215,
#   0.396], naming activities itself 0.254 [0.171, 0.325], taught without reasons 0.032;
# - on activities that it was never taught under any name it has 0.083 [0, 0.167]: better than
#   chance is not shown;
# - all of it over 120 clips.

# %% [markdown]
# Each student against everybody else, everything shown, on the clips that both answered: paired,
# with whole recordings changing sides.

# %%
pairs_by_part = taught.pairs_of(outcome)
pair_table(pairs_by_part, "clusters", "clips").round(3) if students else "no student here"

# %% [markdown]
# S2's four settings by the first student, each combination and none, on the same few clips.

# %%
few = n_fuser_clips or 0
settings = taught.ask_settings(plan, students[:1], few, store, asking) if few else {}
by_setting = taught.setting_table(settings) if settings else None
by_setting if settings else "not asked in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - told everything, on the same 60 clips, the student has an accuracy of 0.37 [0.23, 0.52]
#   zero-shot from the list and 0.33 [0.21, 0.48] one-shot; free, with the nearest name counting,
#   0.28 [0.15, 0.43] and 0.32 [0.20, 0.45];
# - told nothing it has 0.10 [0.03, 0.19], told sound labels alone 0.37 [0.23, 0.53], motion alone
#   0.10 [0.02, 0.21]: it answers by what it hears.

# %% [markdown]
# Does it matter who fuses? Planned pairs with everything shown, on the clips that both answered.
# "not shown" never means "equal". Mind what each was given: Bayes, stacking and early fusion are
# fitted on labelled clips of these very activities, made by these very encoders, so that they know
# which guess of which encoder to distrust; whoever is asked without examples knows names alone.

# %%
pair_table({plan.about.marked: outcome.pairs}, "clusters", "clips").round(3)

# %% [markdown]
# Now the clips whose sound and motion contradict each other; every other score here leaves them
# out. "Right" is what the sound says.

# %%
tables.cell_table(outcome.conflict_cells, plan.about).round(3)

# %% [markdown]
# Which activities does the first answerer take for which, with everything shown?

# %%
figures.confusion_of(outcome.answered[0], plan.about)

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - the rules, told everything, have 87 of 120 clips right;
# - using a computer they mostly take for playing an instrument, being ill in bed for having guests
#   over.

# %% [markdown]
# ## What each modality is worth
#
# Shapley share: a modality's mean gain over all orders in which the modalities could be added.
# Shares add up to the accuracy with everything less the accuracy with nothing.

# %%
shares = tables.shapley_table(outcome.shares, outcome.kinds, plan.about).round(3)
shares

# %%
figures.shapley_bars(outcome.shares, outcome.kinds, plan.about)

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - sound labels bring the rules 34 points, motion 20.3, context 14.9; they bring the vote 27.4,
#   19.4 and 6.53;
# - captions have no bar: here they are written over the labels, and say nothing of their own.

# %% [markdown]
# **What the recorded study showed in this figure** (`reports/record/demo-full`; your run may
# differ):
#
# - sound labels bring the student of made-up clips 23.5 points, context 3.47, motion 0.556: how
#   one moves, which brings the vote 19.4 points, it makes nothing of.

# %% [markdown]
# The scenes drawn anew, other sounds in each fold, other people in each clip: what of a share is
# the design's doing. The standard deviation is between draws.

# %%
anew = (range(n_draws), baselines[:2], store, observing, asking)
drawn = draw_table(*anew) if n_draws > 1 else None
drawn.round(3) if drawn is not None else "not drawn anew in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - over 3 draws labels bring the rules 0.356 of accuracy, standard deviation 0.014, motion 0.188
#   (0.013) and context 0.139 (0.008): the order of the three is not one draw's doing.

# %% [markdown]
# S2's published accuracies stand beside ours: other clips, other encoders, another model. They are
# a yardstick for the order, not for the height.

# %%
beside = tables.beside_published(outcome.cells, plan.about)
beside.round(3)

# %%
figures.published_bars(beside, plan.about)

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - told labels alone, the rules have 57.5 % and the paper's Gemini-2.5-pro has 41 % on clips of
#   its own; told motion alone, 40 % and 13 %;
# - in both, sound tells more than motion: the order is the paper's, the height is not to be
#   compared.

# %% [markdown]
# ## What a modality costs
#
# Prompt tokens and seconds that each modality adds, against what it brings (S2's next check).
# Rules have no tokenizer and count none.

# %%
outcome.costs.round(3)

# %% [markdown]
# And in real time? One clip after the other, from raw samples on. An encoder keeps up if a step of
# sound takes it less than the 2 s until the next; a model if a whole answer does.

# %%
timed = (clips, observing, plan.task, students, asking)
seconds = second_table(*timed).round(3) if time_parts else None
seconds if time_parts else "not measured in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - a step of sound takes YAMNet 0.002 s and a step of motion its encoder 0.001 s: both keep up;
# - an answer with its reasons takes the student 2.47 s on two cores, longer than the 2 s until the
#   next step; without reasons it takes 0.833 s.

# %% [markdown]
# ## Open-ended
#
# No list of activities: the answer is free. It is matched to the nearest activity by a packaged
# sentence embedding and, where a judge is set, by a language model, with their agreement.

# %%
free = [*outcome.students, *outcome.models] if grid else outcome.models
opened = study.open_answers(free, judge, store, asking) if open_ended else []
views.open_table(opened, plan.about).round(3) if open_ended else "not asked in this profile"

# %% [markdown]
# ## What a language model does that a vote cannot
#
# Looked for on purpose, clip by clip: names that nobody taught, modalities that are missing when it
# matters, sounds that mislead, answers without a list. Where it loses, that stands here too.

# %%
found = situations.situations(outcome, opened)
where = situations.situation_table(found, plan.about).round(3)
where

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - in none of these situations is the student shown to be ahead of anybody;
# - of an activity without a labelled or taught clip it has 0.056 right, as little as those fitted
#   on clips (0), where the rules have 0.694 and text embeddings 0.306;
# - where the sound alone misleads, 0.481 beside 0.500 of text embeddings, 0.556 of the rules and
#   0.889 of Bayes; where motion contradicts the sound, 0.500 beside 0.417 of Bayes on 12 clips, a
#   difference that is not shown.

# %% [markdown]
# ## Five questions
#
# **1.** Bayes and stacking pass everybody. What did they have that a language model had not?
#
# <details><summary>answer</summary>Labelled clips of these very activities through these very
# encoders: they know which guess of which encoder to distrust.</details>
#
# **2.** Shares of motion and context are set by the scenes' table. What then does their height say?
#
# <details><summary>answer</summary>How the scenes were composed, not what motion is worth in a
# home; that is why scenes are drawn anew and told so.</details>
#
# **3.** The stand-in for captions gets no share. Why?
#
# <details><summary>answer</summary>It says the sound labels in sentences and carries nothing of its
# own.</details>
#
# **4.** A third of the activities was taught to the student under no name. What does the gap
# between the two parts show?
#
# <details><summary>answer</summary>How far it reads the list, and how far it remembers.</details>
#
# **5.** Why are contradicting clips left out of the scores?
#
# <details><summary>answer</summary>They have no single truth; what answerers make of them stands in
# a table of its own.</details>

# %% [markdown]
# **What you have seen:** recordings → words of encoders → prompt → answer, every combination of
# modalities, who fuses best with which help, and where a language model can do what a vote cannot.

# %% tags=["record"]
publish(
    study.key_numbers(outcome.answered, None if imu is None else imu.loc["all", "accuracy"])
    | taught.student_numbers(outcome),
    table={
        "names taught and never taught": parts.round(3),
        "combinations": tables.cell_table(outcome.cells, plan.about).round(3),
        "settings of S2": by_setting,
        "shares": shares,
        "scenes drawn anew": drawn,
        "seconds": seconds,
        "situations": where,
    },
    figure=heat_map,
    kinds=[*study.kind_names(outcome.answered), clips.kind, "published (S2)"],
    datasets=[plan.about.marked],
    engines=study.engines(outcome.answered),
)
store.close()
