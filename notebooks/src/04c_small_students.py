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
# # Small students: how small before it breaks, and does the answer follow the reasoning?
#
# S1 closes with the wish for models that a home's gateway can hold. The students of
# `04_distillation` are opened again (the same teaching, data and prompts) and asked what they
# cost: as adapter and as merged weights, quantised and one window at a time, and taught on by
# another student. Last, their evidence is taken away, to see whether their answers follow what
# they say.

# %% [markdown]
# ## What you need to know
#
# - **Quantised** weights are kept in 8 or 4 bits instead of 16: less memory to read for each token,
#   so that a processor answers faster, at a price in accuracy that is measured below.
# - **On-policy** distillation lets the smaller model write, and corrects what it wrote by the
#   larger model's probabilities: it learns from mistakes that it really makes.
# - A **probe** takes away the event that a reason cites. If the answer stays, the reason was not
#   what it hung on; a second probe that takes away another event says how often an answer moves
#   anyhow.
#
# **Predict before you look:** take away the evidence that a reason names: of ten answers, how many
# change? And how many if any other event is taken away?

# %% tags=["parameters"]
dataset: str = "simulated"  # what students are taught and tested on: 04's first course
data_dir: str | None = None  # folder of a single data set; None = LLMHAR_DATA/<name>
teacher: str = "rules"  # whose traces are learnt: a name from params/models.yaml
students: list[str] = []  # who learns: names from params/models.yaml
teaching: str = "demo"  # which traces, which recipe: a name from params/teachings.yaml
max_steps: int | None = None  # optimizer steps of the first round; None = as the teaching says
n_sessions: int | None = None  # training sessions that are learnt; None = as the teaching says
trace_filter: str | None = None  # none, correct, consistent, both; None = as the teaching says
engine: str = "auto"  # auto (vllm, else transformers), or one engine
serve: str = "merged"  # which form of a LoRA student answers: merged weights, or the adapter
n_gpus: int = 1  # cards that share one model (vLLM's tensor parallel)
n_windows: int | None = 4  # windows drawn from each test session; None = all
window_size: int = 10  # events in a window
teacher_prompt: str = "brief"  # the teacher's prompt, a name in FORMS (llmhar.text.prompt)
student_prompt: str = "student"  # the students' prompt, in training and when asked
thinking: bool | None = None  # Qwen3's thinking switch; None = the template's default
sampling: str = "model"  # model: makers' values, by mode; hosted: max_tokens too; greedy: likeliest
max_tokens: int = 512  # most tokens a model may write, thinking included
seed: int = 0  # of windows drawn, of training, of sampling
precisions: list[str] = []  # towards the gateway: int8, int4
few_windows: int = 1  # windows of each test session that are timed one by one
on_policy_student: str | None = None  # who learns on from another student; None = nobody
on_policy_steps: int = 40  # optimizer steps of that
n_probes: int = 0  # citations of teacher and best student that are probed; 0 = none

# %% [markdown]
# ## The students
#
# Trained here only where they do not stand yet, and audited as in `04_distillation`.

# %% tags=["profile"]
# `make lab` opens with the demo's settings; or name a profile here: "smoke", "demo-full", "paper"
from llmhar.settings import live_settings

globals().update(live_settings("04c_small_students", profile=None))

# %%
from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.data.events import Windowing
from llmhar.distill import audit, courses, figures, key_numbers, small, study, tables
from llmhar.distill.teaching import load_teaching
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.text.prompt import FORMS
from llmhar.traces import faithfulness

# %%
lessons = load_teaching(
    teaching, max_steps=max_steps, n_sessions=n_sessions, trace_filter=trace_filter, seed=seed
)
forms = FORMS[teacher_prompt], FORMS[student_prompt]
course, few = (
    courses.prepare_course(dataset, data_dir, *forms, Windowing(window_size, n, seed, lessons.step))
    for n in (n_windows, few_windows)
)
tables.courses_table([course])

# %%
limits = Sampling(max_tokens=max_tokens, seed=seed)
cards = {"tensor_parallel_size": n_gpus}
asking = Asking(
    sampling=limits, draw=sampling, thinking=thinking, engine=engine, engine_options=cards
)
store = Store()
plan = study.Study(MODELS[teacher], tuple(students), lessons, asking, store, serve)
taught = study.train_students(plan, [study.teach(course, plan)])
checks = audit.audit_students(taught.students, [course])
tables.training_table([one.student for one in taught.students]).T

# %% [markdown]
# What they know, as in `04_distillation`: the rest of this notebook is measured against it.

# %%
results = study.examine_study(taught)
scores = tables.scores_table(results)
tables.scores_of(scores)

# %% [markdown]
# ## Two forms of one student
#
# Adapter and merged weights should answer alike; where the engine rounds, they need not to the
# last token.

# %%
forms_agree = small.compare_forms(taught, few.test)
"no adapters here" if forms_agree is None else forms_agree.round(1)

# %% [markdown]
# ## Towards the gateway
#
# Each student as it is and quantised, asked one window at a time: seconds a window and peak memory
# of the answering process are of this machine.

# %%
measured = small.gateway(taught, few.test, precisions)
small.gateway_table(measured)

# %%
curve = figures.gateway_curve(measured) if measured else None
curve or "not run in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - asked one window of each of 12 sessions, the student of all layers has macro F1 0.704 [0.550,
#   0.858] in 269 MB and in 8 bits 0.664 [0.512, 0.816] in 154 MB;
# - with 16 of 30 layers it is 0.593 [0.426, 0.760] in 170 MB and 0.626 [0.436, 0.817] in 97.8 MB,
#   with 8 layers 0.536 [0.348, 0.723] in 113 MB and 0.562 [0.390, 0.734] in 65.9 MB;
# - so few windows show neither a loss by bits nor one by layers; all windows show the one by
#   layers, in the notebook on distillation.

# %% [markdown]
# ## Beyond S1: learning from one's own mistakes
#
# On-policy distillation (2306.13649): the best student's distribution is learnt by a smaller one,
# partly on what that writes itself. Beside it, as many steps more on the teacher's text.

# %%
further = small.learn_on(taught, on_policy_student, on_policy_steps)
of_further = small.examine_further(results, further)
compared = tables.student_table(of_further, results.teacher)
tables.scores_of(compared) if further else "not run in this profile"

# %%
figures.loss_curve([one.student for one in further]) if further else "not run in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - the student of 8 layers has 0.386 [0.328, 0.444], taught on by the largest student 0.379 [0.331,
#   0.427], taught as long by the teacher's text 0.381 [0.337, 0.425]: twelve steps show no change.

# %% [markdown]
# ## Does the answer follow the reasoning?
#
# Where a line cites another event as evidence, that event is taken away or replaced, and the
# window is asked again; the control does the same to an event that was not cited. A faithful trace
# moves with its evidence (cf. 2307.13702).

# %%
outcomes = small.probe_study(results, n_probes, seed)
tables.faithfulness_table(faithfulness.faithfulness_rows(outcomes))

# %% [markdown]
# The gap between cited evidence and its control, pair by pair, is what counts: a model that moves
# with every change moves with its evidence too.

# %%
gaps = faithfulness.gap_rows(outcomes)
tables.faithfulness_gap_table(gaps) if gaps else "not run in this profile"

# %% [markdown]
# **What the recorded demo showed** (`reports/record/demo`; your run may differ):
#
# - replaced evidence moves the student's label 63.3 [-16.5, 100] points more often than other
#   events that are replaced, over 8 pairs; evidence that is taken away 63.3 [-16.5, 100]: neither
#   is shown to be more than chance.

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - the largest student's label follows replaced evidence 80 [24.5, 100] points more often than
#   replaced other events, over 8 pairs, and evidence that is taken away 40 [-11.9, 91.9].

# %% [markdown]
# ## Five questions
#
# **1.** An int8 student answers faster. Why, if no multiplication is saved?
#
# <details><summary>answer</summary>For each token all weights are read once; half the bytes are
# read in half the time.</details>
#
# **2.** Adapter and merged weights are the same numbers. Why may answers differ?
#
# <details><summary>answer</summary>Sums are rounded in another order. Where two tokens are nearly
# equally likely, that decides, and the rest of the answer follows.</details>
#
# **3.** An answer moves with its evidence, and as often with any other event. Is the reasoning
# faithful?
#
# <details><summary>answer</summary>No: the gap between the two is what counts, pair by
# pair.</details>
#
# **4.** Which figure decides whether a student fits a gateway at home?
#
# <details><summary>answer</summary>Peak memory of the process that answers, and seconds a window
# against seconds between windows.</details>
#
# **5.** Why are more steps on the teacher's text asked beside on-policy steps?
#
# <details><summary>answer</summary>Both had as many steps; only so is the difference due to what
# was learnt from.</details>

# %% [markdown]
# **What you have seen:** the students again as adapter, merged, quantised and taught on, and what
# happens to their answers when their evidence goes.

# %% tags=["record"]
publish(
    key_numbers.small_numbers(measured, of_further) | key_numbers.gap_numbers(gaps),
    table=tables.key_columns(scores),
    figure=curve,
    results=[*results.shown, *of_further, *(point.result for point in measured)],
)
store.close()
