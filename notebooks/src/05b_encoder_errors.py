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
# # When encoders err: what do their mistakes, their size and their classes cost the fusion?
#
# `05_fusion` takes the encoders as they are. Here their answers are spoilt on purpose, then the
# motion encoder is made smaller, larger and finer, and last a small model is taught to fuse (S2's
# next checks and open questions 1 and 3).

# %% [markdown]
# ## What you need to know
#
# - A **dose** is a set accuracy: at dose 50 half of an encoder's guesses are right and the others
#   drawn wrong. A higher dose keeps every right guess of a lower one, so that doses are compared
#   clip by clip.
# - A **crossing** is the dose from which another answerer is ahead. Recordings are drawn anew a
#   thousand times; how often the curves cross at all is said beside its interval.
# - **Granularity** is the number of classes that an encoder tells apart: twelve say more than six,
#   and are more often wrong.
#
# **Predict before you look:** spoil half of what the encoders say. Who suffers most: hand-written
# rules, a vote over steps, or Bayes, who knows how often each encoder errs?

# %% tags=["parameters"]
clipset: str = "scenes"  # scenes (made up), scenes-recorded, hapt, pamap2, usc_had, manifest (own)
data_dir: str | None = None  # their folder or manifest, from where you call; None = fetched or made
captions: str | None = "template-captions"  # clapcap, template-captions (a stand-in), or none
sound_labels: str | None = "yamnet"  # encoder of sound labels: yamnet, vggish, or none
motion: str | None = "imu-cnn-m-6"  # encoder of motion: imu-cnn-{s,m,l}-{6,12}, or none
context_noise: float | None = 0.1  # S2's made-up context, wrong this often; None = sensors' only
engine: str = "auto"  # auto (vllm, else transformers), or one engine
n_llm_clips: int | None = 10  # clips that language models are asked about; None = all
constrained: bool = True  # language models must answer from the list; leaves no room for reasoning
sampling: str = "model"  # model: makers' values, by mode; hosted: max_tokens too; greedy: likeliest
max_tokens: int = 256  # most tokens a model may write
n_guesses: int = 3  # classes shown a step
dose_models: list[str] = ["rules"]  # who answers about spoilt guesses: names from models.yaml
fusers: list[str] = []  # students of made-up clips, asked too: truth, llmhar-fusion-135m ...
dose_alone: bool = False  # also vary one modality with the others held at 50 %
motion_sizes: list[str] = []  # motion encoders that are compared and each fed into the fusion
cross_validate: bool = False  # five folds by person for them, beside a random forest (minutes)
teacher: str = "rules"  # whose reasoning the student learns: a name from params/models.yaml
student: str | None = None  # who is taught to fuse: a name from params/models.yaml
student_steps: int = 200  # optimizer steps of that
seed: int = 0  # of subsets and draws

# %% tags=["profile"]
# `make lab` opens with the demo's settings; or name a profile here: "smoke", "demo-full", "paper"
from llmhar.settings import live_settings

globals().update(live_settings("05b_encoder_errors", profile=None))

# %%
from pathlib import Path

from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.fusion import doses, error_study, figures, motion_capacity, study, tables, taught, views
from llmhar.fusion.answerers.prompt import FusionForm
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.encoders.observe import Observing, observe
from llmhar.records import Sampling
from llmhar.run.publish import publish

# %% [markdown]
# ## Clips and encoders
#
# The same clips, encoders and named subset as in `05_fusion`; what was heard there is not heard
# again.

# %%
store = Store()
clips = load_clipset(clipset, Path(data_dir) if data_dir else None)
encoders = {"captions": captions, "labels": sound_labels, "motion": motion}
observing = Observing(encoders, context_noise, seed)
observed = observe(clips, store, observing)
views.encoder_table(observed)

# %% [markdown]
# ## What a mistake costs
#
# The encoders' guesses are replaced by draws of a set accuracy, in the activities' own words: dose
# and response. A higher dose keeps every right guess of a lower one, so the comparisons are
# paired. Does a language model beat the vote, and when? One row a dose, Holm over the doses of one
# answerer.

# %%
plan = study.plan(clips, observed, FusionForm(n_guesses=n_guesses), n_llm_clips, seed)
limits = Sampling(max_tokens=max_tokens, seed=seed)
asking = Asking(sampling=limits, draw=sampling, constrained=constrained, engine=engine)
task, planned = plan.task_for(dose_models), doses.plan_doses(alone=dose_alone)
answerers = [*dose_models, *taught.fuser_models(fusers)]
spoilt = error_study.dose_experiment(task, answerers, planned, store, asking, seed)
spoilt.verdicts.round(3)

# %% [markdown]
# The same as curves, with vote and Bayes (who knows how often each encoder errs).

# %%
curves = figures.dose_curves(spoilt.curves, plan.about, len(clips.labels), doses.HELD)
curves

# %% [markdown]
# **What the recorded demo showed** (`reports/record/demo`; your run may differ):
#
# - with half of all guesses wrong, drawn at random, the rules are right about 0.850 of the clips,
#   the vote about 0.992, Bayes about 0.992;
# - the vote passes the rules where guesses are right from 0.113 [0.104, 0.148] on: nearly
#   everywhere.

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - with half of all guesses wrong the student of made-up clips is right about 0.433 of the clips:
#   less than one guess alone, where rules and vote make more of many guesses than of one;
# - with no guess wrong it is right about 0.700, and the others about nearly all: what it loses, it
#   loses in reading, not by errors of encoders;
# - nowhere is its curve above the vote's: there is no crossing.

# %% [markdown]
# Where do the curves cross? The accuracy of a guess from which another is ahead, with its interval
# over recordings, and how often they cross at all when recordings are drawn anew. Who is ahead
# below that stands in the last column; no number: one is ahead all the way.

# %%
spoilt.crossings.round(3)

# %% [markdown]
# ## Capacity and granularity of the motion encoder (open question 3)
#
# Three sizes, six and twelve classes, five folds by person, beside a random forest on hand-made
# features.

# %%
capacity = motion_capacity.capacity(motion_sizes) if cross_validate else None
about = motion_capacity.HAPT_ABOUT
figures.capacity_curve(capacity, about) if cross_validate else "not run in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - of six movements the encoders of three sizes know 0.930 [0.887, 0.974], 0.951 [0.907, 0.995] and
#   0.956 [0.914, 0.997] of people whom they have not met, of twelve 0.894 [0.855, 0.933], 0.931
#   [0.900, 0.963] and 0.939 [0.908, 0.970];
# - a random forest on features made by hand knows 0.945 and 0.918: on six movements a net of 3,942
#   parameters is not shown to be worse, one of 234,502 not shown to be better.

# %% [markdown]
# Each of them fed into the fusion, by naive Bayes: does a better encoder make a better fusion?

# %%
fed = motion_capacity.fed_into_fusion(clips, motion_sizes, store, observing)
fed if len(fed) else "not run in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - fed by the smallest encoder the fusion is right about 0.883 of the clips, by the largest about
#   0.850, and no other is shown to differ from the smallest: what the encoder gains on its own, the
#   fusion has from sound already.

# %% [markdown]
# ## A student for fusion (open question 1)
#
# A small model learns the teacher's reasoning on training folds and is asked about the fold it has
# not seen.

# %%
lesson = (plan.task, teacher, student, student_steps, store, asking)
pupils = error_study.distilled(*lesson) if student else []
tables.cell_table(study.cells(pupils), plan.about).round(3) if pupils else "not run in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - taught by the rules' reasons on the other folds, a model of 8 layers reaches macro F1 0.433 on
#   the fold that it has not seen, its teacher 0.718, the same model untaught 0: with clips of these
#   very activities a small model learns them.

# %% [markdown]
# ## Five questions
#
# **1.** Why does a vote over ten steps hardly notice that half of them are wrong?
#
# <details><summary>answer</summary>Wrong guesses differ from each other, right ones do not: the
# right activity still has most votes.</details>
#
# **2.** Where encoders are right 9 times in 100, all answerers are near chance. What does a
# crossing there say?
#
# <details><summary>answer</summary>Little: both know next to nothing, and the curves
# touch.</details>
#
# **3.** A larger encoder is right more often. Does the fusion gain as much?
#
# <details><summary>answer</summary>Only where motion decided; the table that feeds each encoder
# into the fusion shows it.</details>
#
# **4.** Why are errors drawn at random kinder than a real encoder's?
#
# <details><summary>answer</summary>Real errors repeat: the same sound is misheard in the same way,
# step after step, and a vote then agrees on it.</details>
#
# **5.** What would a student of clips with spoilt guesses learn that rules do not know?
#
# <details><summary>answer</summary>Which encoder to believe less. Made-up clips of its lessons have
# such errors.</details>

# %% [markdown]
# **What you have seen:** what mistakes of encoders cost whom, where one answerer passes another,
# what size and classes of the motion encoder buy, and a student of fusion.

# %% tags=["record"]
publish(
    error_study.key_numbers(spoilt, pupils) | motion_capacity.numbers(capacity, fed),
    table={
        "beside the vote": spoilt.verdicts.round(3),
        "doses": spoilt.curves.round(3),
        "crossings": spoilt.crossings.round(3),
        "motion encoders": capacity,
        "fed into the fusion": fed if len(fed) else None,
    },
    figure=curves,
    kinds=[*study.kind_names([*spoilt.asked, *pupils]), "baseline, no LLM", clips.kind],
    datasets=[plan.about.marked],
    engines=study.engines([*spoilt.asked, *pupils]),
)
store.close()
