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
# S2 asks a language model to fuse what audio and motion models said, as text: no model is trained on sound and motion together. Here the
# way is walked from recordings to an answer, then every combination of modalities is asked, with the same clips and folds for
# answerers without a language model. S2's clips (Ego4D) are gated; the demo's are **composed from real recordings**: real sounds and
# real motion of other people and hours, joined. They tell how the method works, not how well it works in a home.

# %% tags=["parameters"]
clipset: str = "scenes"  # clips: scenes (composed), manifest (your own, e.g. Ego4D), pamap2, usc_had, hapt
data_dir: str | None = None  # their folder or manifest, relative to where you call from; None = fetched or made
captions: str | None = "template-captions"  # encoder of sound captions: clapcap, template-captions (a stand-in), or none
sound_labels: str | None = "yamnet"  # encoder of sound labels: yamnet, vggish, or none
motion: str | None = "imu-cnn-m-6"  # encoder of motion: imu-cnn-{s,m,l}-{6,12}, or none
context_noise: float | None = 0.1  # S2's synthetic context, each value wrong with this probability; None = only what sensors say
models: list[str] = ["rules"]  # who answers: names from params/models.yaml; rules are no language model and answer about all clips
engine: str = "auto"  # auto (vllm, else transformers), or one engine
n_llm_clips: int | None = 10  # clips that language models are asked about, dealt over activities; None = all
shots: list[int] = [0]  # examples per activity in the prompt: 0 (zero-shot), 1 (one-shot)
example_steps: int | None = 2  # time steps shown of each one-shot example; None = all (8,000 tokens for 12 activities)
baselines: list[str] = ["vote", "bayes", "stacking", "early"]  # without a language model; also: contrastive, majority
constrained: bool = True  # language models must answer by an activity of the list; leaves no room for reasoning
temperature: float = 0.0  # 0 = likeliest token
max_tokens: int = 256  # most tokens a model may write
n_guesses: int = 3  # classes shown a step
open_ended: bool = True  # also ask without a list of activities
judge: str | None = None  # who judges open answers beside the embedding: a name from params/models.yaml
dose_models: list[str] = ["rules"]  # who answers in the experiment on errors
dose_alone: bool = False  # there, also vary one modality with the others held
motion_sizes: list[str] = []  # motion encoders that are compared and each fed into the fusion
strangers: bool = True  # measure the motion encoder on HAPT's people whom it has not seen
cross_validate: bool = False  # five subject-grouped folds for them, beside a random forest (minutes)
student: str | None = None  # who is distilled for fusion (open question 1): a name from params/models.yaml
student_steps: int = 200  # optimizer steps of that
seed: int = 0  # of subsets, draws and examples

# %% [markdown]
# ## Clips
#
# A clip is some 20 seconds of one activity. Windows as in S2: sound 2 s, motion 4 s every 2 s, centres aligned. No person and no recording is
# on two sides of the split; that is checked each time.

# %%
from dataclasses import replace
from pathlib import Path

import pandas as pd
from IPython.display import display

from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.fusion import figures as fusion_figures
from llmhar.fusion import motion_capacity
from llmhar.fusion import study as fusion_study
from llmhar.fusion import tables as fusion_tables
from llmhar.fusion import views as fusion_views
from llmhar.fusion.clips.registry import load_clipset
from llmhar.fusion.encoders.encode import RECORDED
from llmhar.fusion.encoders.observe import observe
from llmhar.records import Sampling
from llmhar.run.publish import publish

store = Store()
clips = load_clipset(clipset, Path(data_dir) if data_dir else None)
print(f"{clips.title} ({clips.kind}): {len(clips.clips)} clips, {clips.n_folds} folds. {clips.provenance}")
fusion_views.clip_table(clips)

# %% [markdown]
# ## What the encoders say
#
# Sound becomes captions and labels, motion becomes classes of movement; each result is kept by content, so nothing is heard twice. The
# stand-in for captions writes sentences over the labels: it carries nothing that the labels lack, and gets no share below. The motion
# encoder was trained on people who are in no clip.

# %%
encoders = {"captions": captions, "labels": sound_labels, "motion": motion}
observed = observe(clips, store, encoders=encoders, context_noise=context_noise, seed=seed, recorded=RECORDED)
observations, labels = observed.observations, list(clips.labels)
about = fusion_study.about(clips, observed)
display(fusion_views.encoder_table(observed))
fusion_views.example_table(observations)

# %% [markdown]
# ## From guesses to a prompt
#
# S2's structure: what each modality is and how far it may be trusted, the activities, one line a time step, then the wish for a short
# reasoning and one line of JSON. Names are data: cleaned and JSON-encoded.

# %%
asked, subset = fusion_study.named_subset(observations, n_llm_clips, seed)
fusion_views.show_prompt(asked[0], labels, n_guesses=n_guesses)

# %% [markdown]
# ## Every combination
#
# All combinations of the modalities, for every answerer on identical folds. Examples of one-shot prompts never come from the asked clip's
# fold; the prompt is checked for that before it is sent.

# %%
sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
asking = Asking(sampling=sampling, constrained=constrained, engine=engine)
how = {"store": store, "dataset": clips.name, "asking": asking, "n_guesses": n_guesses, "example_steps": example_steps}
without = fusion_study.by_baselines(observations, labels, baselines, seed)
conditions = fusion_study.design(observations, shots)
who = fusion_study.who_is_asked(models, observations, asked)
with_models = [fusion_study.by_model(clips_of, labels, name, conditions, pool=observations, **how) for name, clips_of in who.items()]
answered = [*with_models, *without]
cells = fusion_study.cells(answered, labels)
display(fusion_tables.factorial_grid(cells, "macro_f1"))
heat_map = fusion_figures.factorial_heatmap(cells, about._replace(note=f"{about.note} Language models: {subset}."), stand_ins=observed.stand_ins)
heat_map

# %% [markdown]
# Does it matter who fuses? Planned pairs with everything shown, on the clips that both answered. "not shown" never means "equal".

# %%
pairs = [(one.answerer, "vote") for one in with_models] + [(name, "vote") for name in baselines if name != "vote"]
display(fusion_tables.pair_table(fusion_study.compare_all(answered, pairs), about).round(3))
fusion_tables.cell_table(fusion_study.cells(answered, labels, conflict=True), about).round(3)

# %% [markdown]
# The second table holds clips whose sound and motion contradict each other; they are in no other table. "Right" is what the sound says.

# %%
first = answered[0]
everything = fusion_study.Condition(fusion_study.all_shown(observations))
confusion = fusion_tables.confusion_table(first.given[everything].predictions, first.observations, labels)
fusion_figures.confusion_map(confusion, about, answerer=first.answerer, kind=first.kind, told=fusion_tables.spell(everything.modalities),
                             n_clusters=len(set(first.clusters)))  # fmt: skip

# %% [markdown]
# ## What each modality is worth
#
# Shapley share: a modality's mean gain over all orders in which the modalities could be added. Shares add up to the accuracy with
# everything less the accuracy with nothing.

# %%
shapley = {one.answerer: fusion_study.shares(one, labels, observed.stand_ins) for one in answered if one.answerer != "contrastive"}
kinds = {one.answerer: one.kind for one in answered}
display(fusion_tables.shapley_table(shapley, kinds, about).round(3))
fusion_figures.shapley_bars(shapley, kinds, about)

# %% [markdown]
# S2's published accuracies stand beside ours: other clips, other encoders, another model. They are a yardstick for the order, not for the height.

# %%
beside = fusion_tables.beside_published(cells, about)
display(beside.round(3))
fusion_figures.published_bars(beside, about)

# %% [markdown]
# ## What a modality costs
#
# Prompt tokens and seconds that each modality adds, against what it brings (S2's next check). Rules have no tokenizer and count none.

# %%
costs = {one.answerer: fusion_study.costs(one).round(3) for one in with_models}
pd.concat(costs, names=["answerer"]) if costs else "no model was asked"

# %% [markdown]
# ## When encoders err
#
# The encoders' guesses are replaced by draws of a set accuracy, in the activities' own words: dose and response. Does a language model beat the
# vote, and when?

# %%
tried = asked if any(name != "rules" for name in dose_models) else [one for one in observations if not one.conflict]
doses = fusion_study.dose_experiment(tried, labels, dose_models, alone=dose_alone, seed=seed, **how)
for name in dose_models:
    display(fusion_study.dose_verdicts(doses, name).round(3))
fusion_figures.dose_curves(doses.curves, about, n_labels=len(labels), others=0.5 if dose_alone else None)

# %% [markdown]
# ## Open-ended
#
# No list of activities: the answer is free. It is matched to the nearest activity by a packaged sentence embedding and, where a judge is
# set, by a language model, with their agreement.

# %%
open_how = how | {"asking": replace(asking, constrained=False)}
free = fusion_study.open_answers(with_models, labels, judge, **open_how) if open_ended else []
fusion_views.open_table(free, about).round(3) if open_ended else "not asked in this profile"

# %% [markdown]
# ## Capacity and granularity of the motion encoder (open question 3)
#
# Three sizes, six and twelve classes, five folds by person, beside a random forest on hand-made features; then each fed into the fusion.

# %%
capacity = motion_capacity.capacity(motion_sizes) if cross_validate else pd.DataFrame()
imu = motion_capacity.on_strangers(motion, store) if motion and strangers else None
display(imu.round(3) if imu is not None else "not measured in this profile")
fusion_figures.capacity_curve(capacity, motion_capacity.HAPT_ABOUT) if len(capacity) else "cross-validation is not run in this profile"

# %%
fed = motion_capacity.fed_into_fusion(clips, motion_sizes, store, encoders=encoders, context_noise=context_noise, seed=seed, recorded=RECORDED)
fed.round(3) if len(fed) else "not run in this profile"

# %% [markdown]
# ## A student for fusion (open question 1)
#
# A small model learns the teacher's reasoning on training folds and is asked about the fold it has not seen.

# %%
taught = fusion_study.distilled(observations, labels, with_models, student, student_steps, **how) if student else []
student_cells = fusion_study.cells(taught, labels)
fusion_tables.cell_table(student_cells, about).round(3) if taught else "not run in this profile"

# %%
table = fusion_tables.cell_table([cell for cell in cells if cell.modalities == everything.modalities], about)
publish(
    fusion_study.key_numbers([*answered, *taught], labels, imu.loc["all", "accuracy"] if imu is not None else None),
    table=table.round(3),
    figure=heat_map,
    kinds=sorted({fusion_tables.KINDS[one.kind] for one in answered} | {clips.kind, "published (S2)"}),
    datasets=[about.marked],
    engines=[f"{one.answerer}: {one.made_by}" for one in answered],
)
store.close()
