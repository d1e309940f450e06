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
# # Distillation: a small model learns a teacher's reasoning, and we can prove what it learnt
#
# S1's second question: can a small student, tuned on what a large teacher wrote, nearly match it?
# Here the way is walked from the teacher's answers to a student that is asked like any other
# model, with a proof at each step. In the profile `paper` the teacher is Qwen3-32B and the
# students are Qwen3-0.6B and 1.7B; in `demo` the teacher is the scripted `rules` engine, **no
# language model**, and the student a 135M model on this processor. Published values stand beside
# ours; data and models are others. What the students do on other homes is in `04b_transfer`, how
# small they can get in `04c_small_students`.

# %% [markdown]
# ## What you need to know
#
# - **Distillation** teaches a small model what a larger one wrote: it learns to continue the prompt
#   with the teacher's text, token by token. No answer is looked up; the teacher is not asked again.
# - **LoRA** leaves a weight matrix as it is and learns a thin addition, the product of two matrices
#   of rank r. With r = 32 that is 7 per cent of the numbers: 20 MB instead of 270 for the 135M
#   model.
# - The **loss** counts the teacher's text alone: a student that learnt to repeat prompts would have
#   learnt nothing.
# - An **answers-only** student learns the same windows without the teacher's reasoning. What a
#   student has above it, reasoning taught; what both have, answers did.

# %% tags=["parameters"]
datasets: list[str] = ["simulated"]  # one course each; loader options: "uci_adl:home=A"
confirm_on: list[str] = []  # data that nothing was chosen by: the first student is asked there
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
least_events: int = 10  # scored events from which on a test session counts; 0 = all do, as S1
teacher_prompt: str = "brief"  # the teacher's prompt, a name in FORMS (llmhar.text.prompt)
student_prompt: str = "student"  # the students' prompt, in training and when asked
thinking: bool | None = None  # Qwen3's thinking switch; None = the template's default
sampling: str = "model"  # model: makers' values, by mode; hosted: max_tokens too; greedy: likeliest
max_tokens: int = 512  # most tokens a model may write, thinking included
seed: int = 0  # of windows drawn, of training, of sampling
part: str = "test"  # sessions asked: test, or validation (training sessions held out for choices)
arms: list[str] = []  # the first student also learns: answer (alone), reasoning:1 (seed 1)
session_counts: list[int] = []  # S1 Figure 4: training sessions of each point; 0 = not trained
student_name: str | None = None  # a name of its own for the first student, to ask it by later

# %% [markdown]
# ## One window on its way
#
# A **trace** is what the teacher wrote about one training window. A **training example** puts it
# below the prompt that the student will be asked with. Then the student is asked that very prompt.
# **Predict before you look:** what will the student copy, the form or the reasons? (Where students
# are to be trained, this is where it happens: the first run takes its time, the next ones none.)

# %% tags=["profile"]
# `make lab` opens with the demo's settings; or name a profile here: "smoke", "demo-full", "paper"
from llmhar.settings import live_settings

globals().update(live_settings("04_distillation", profile=None))

# %%
from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.data.events import Windowing
from llmhar.distill import audit, courses, figures, key_numbers, sessions, study, tables
from llmhar.distill.plan_lock import choices, look_up
from llmhar.distill.teaching import load_teaching
from llmhar.distill.transfer import PUBLISHED, matrix_cells, matrix_table
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.text.prompt import FORMS
from llmhar.traces import excerpts

# %%
lessons = load_teaching(
    teaching, max_steps=max_steps, n_sessions=n_sessions, trace_filter=trace_filter, seed=seed
)
windowing = Windowing(window_size, n_windows, seed, lessons.step, part, least_events)
forms = FORMS[teacher_prompt], FORMS[student_prompt]
taught_on = courses.prepare_courses(datasets, data_dir, *forms, windowing)

# %% [markdown]
# All that is asked stands in one record: who teaches whom, how, and how all of them answer.

# %%
cards = {"tensor_parallel_size": n_gpus}
limits = Sampling(max_tokens=max_tokens, seed=seed)
asking = Asking(
    sampling=limits, draw=sampling, thinking=thinking, engine=engine, engine_options=cards
)
store = Store()
plan = study.Study(MODELS[teacher], tuple(students), lessons, asking, store, serve, student_name)
look = look_up(choices(plan, taught_on, arms))

# %%
from llmhar.distill.worked_window import worked_window

training_sets = [study.teach(course, plan) for course in taught_on]
taught = study.train_students(plan, training_sets)
worked_window(taught, store, asking)

# %% [markdown]
# The student has seen this window in training: what it answers shows what it learnt by heart. How
# it answers about days that it has never seen is what the scores below are about. And they look at
# labels alone. A student may write "the coffee machine in the morning, so preparing breakfast",
# answer "resting on the couch", and be marked right because the truth was the couch: a right label
# and a worthless explanation. Further below, such cases are looked for.

# %% [markdown]
# ## What is taught
#
# Training sessions are cut into windows and the teacher is asked about each, through the store.
# Test sessions never are. How students are taught has a name, and stands in
# `params/teachings.yaml`.

# %%
print(look.words)
tables.courses_table(taught_on)

# %% [markdown]
# The funnel says what each filter would leave; S1 used none. "Correct" looks at the truth of
# training windows, "consistent" at several samples of one window.

# %%
funnels = study.compare_filters(training_sets[0], lessons)
tables.funnel_table(funnels)

# %%
figures.funnel_bars(funnels, training_sets[0].provenance)

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - of 654 windows that the rules labelled, 200 are right in every event: what a student learns
#   are mostly labels with an error in them;
# - a filter by the truth would throw the rest away, and would need the truth.

# %% [markdown]
# ## The recipe
#
# S1 names Unsloth, LoRA, 500 steps and a learning rate of 2e-4, but neither rank nor batch. Both
# follow from what it does give: its added parameters fit rank 32 on all seven projections within
# 0.03 points (31 and 33 are off by up to 0.12, and 8, 16 and 64 by 0.98 and more), where its text
# says "typically only attention"; 500 steps being 32 epochs of 126 windows and 8 of 544 make
# batches of 8.

# %%
tables.share_table().round(2)

# %% [markdown]
# ## Training
#
# In a process of its own, with checkpoints: a killed training goes on where it was, a finished one
# is opened again. Loss only where the teacher's text is. A second round, where the teaching has
# one, goes on from the first: on traces that a filter keeps, or on further sessions. Adapters are
# also folded into their base weights.

# %%
taught_arms = study.train_arms(taught, arms)
every = [*taught.students, *taught_arms.values()]
tables.training_table([one.student for one in every]).T

# %%
trained = [one.student for one in every]
figures.loss_curve(trained) if trained else "nobody is taught in this profile"

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - the loss falls to 0.171 nats a token: the teacher's text is learnt, which says nothing yet
#   about this home's truth.

# %% [markdown]
# ## Audit
#
# What really went into the model: the batches as it got them, decoded again; the weights on disk;
# the sessions; prompt and tokenizer at training and now; adapter and merged weights (`merged`; it
# is not run for students whose weights are their own). A failed check stops the study.

# %%
confirming = courses.prepare_further(confirm_on if students else [], *forms, windowing)
tables.audit_table(audit.audit_students(every, taught_on, confirming))

# %% [markdown]
# ## What it learnt
#
# Teacher, students before training and students after it, on the same held-out windows. Those
# before are asked with the teacher's prompt, which explains more. "of teacher's F1" is the ratio
# of means with Fieller's interval.
#
# Beside them stands what could explain a score without any language model: trees and a table of
# sensor and part of day, fitted in seconds on the very labels that the student was taught by (and,
# for the best that they could do, on the truth); text embeddings, which need no labelled home; the
# rules with and without their habits; chance. And the student that learnt the same windows without
# the teacher's reasoning: only what is above it was learnt from reasoning.

# %%
results = study.examine_study(taught, arms=taught_arms)
scores = tables.scores_table(results)
tables.scores_of(scores)

# %% [markdown]
# Each student against its teacher and against itself before training, over sessions. Plan one
# comparison: with few sessions Holm over several can show nothing.

# %%
tables.verdicts_of(scores)

# %%
others = list(results.compared.values())
bars = figures.students_bars(results.teacher, results.untrained, results.scored, others)
bars

# %% [markdown]
# **What the recorded demo showed** (`reports/record/demo`; your run may differ):
#
# - over 24 windows of 6 sessions the rules, who teach, reach macro F1 0.686 [0.564, 0.807], trees
#   on their labels 0.673, the table of sensor and part of day 0.541;
# - the student, who had never met this home, begins at 0.406 [0.182, 0.629]; after three minutes of
#   training on it, it reaches 0.365 [0.241, 0.489]: that it learnt anything is not shown;
# - behind the trees it is by 0.308 [0.152, 0.464], p 0.031.

# %% [markdown]
# The same question on other days, and in homes of other people: the first student, as it stands
# last, with all that stands beside it. Controls keep what they learnt; trees and tables stay away
# where activities have other names, and so does a student whose prompt names none: it is wrong.

# %%
confirmed = study.confirm(confirming, taught, taught_arms)
tables.confirm_table(confirmed) if confirmed else "not run in this profile"

# %% [markdown]
# ## Table 2: taught on one home, tested on another
#
# S1's cross-dataset matrix, for the data sets of this study; `04b_transfer` adds others. Rows of
# ours that were not run are left out, not zero. Mind the prompt: S1's lists the activities, as does
# `listed`; a student asked by the prompt `student`, which names none, cannot know what another home
# calls its activities.

# %%
cells = matrix_cells(results)
matrix_table(cells).fillna("–")

# %%
figures.matrix_heatmap(cells)

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - ours has one column: before it was taught on this home the student has 0.406, after it 0.365,
#   its teacher 0.686;
# - the paper's columns lie beside it, of other homes and models: compare the pattern, not the
#   height.

# %% [markdown]
# ## Figure 4: how many sessions are needed?
#
# One student for each number of training sessions, the smallest of the study's, with the same
# recipe, the same number of steps and the same test windows: fewer sessions are seen more often,
# as in S1.

# %%
points = sessions.sweep_sessions(plan, taught_on[0], session_counts)
sessions.sessions_table(points)

# %%
figures.sessions_curve(points, results.teacher) if points else "not run in this profile"

# %% [markdown]
# **What the recorded study showed** (`reports/record/demo-full`; your run may differ):
#
# - over 515 windows of 12 sessions the student of reasons and answers reaches macro F1 0.566
#   [0.519, 0.614], that of answers alone 0.585 [0.529, 0.641], trees on the same labels 0.620
#   [0.564, 0.676];
# - trained once more from another seed they have 0.510 [0.443, 0.577] and 0.556 [0.504, 0.608]:
#   seeds lie as far apart as arms do. Over both seeds reasons have 0.538 [0.483, 0.593], answers
#   alone 0.571 [0.517, 0.624]; paired -0.033 [-0.064, -0.000809], p 0.040: on a known home reasons
#   do not help;
# - with 16 of its 30 layers it has 0.504 [0.447, 0.560], with 8 of them 0.386 [0.328, 0.444];
# - one training session gives the smallest student 0.227 [0.160, 0.293], 4 sessions 0.299
#   [0.255, 0.342], all 15 sessions 0.301 [0.250, 0.351]: from 4 on it keeps 95 % of that, as in
#   the paper. With 8 it has 0.354, which is more than with all: each point is one training.

# %% [markdown]
# ## Table 3: the same event, three minds
#
# Excerpts of teacher, untrained student and taught student about one event.

# %%
trio = results.trio
picks = excerpts.pick_events(trio, 4) if trio else []
excerpts.excerpts_html(trio, picks) if trio else "nobody was taught"

# %% [markdown]
# ## Right, but not for the reason given
#
# The case from above: the reason of an event names one activity of the list, the label is another
# one, and the label is right. Reasons in other words than the list's are not counted.

# %%
from llmhar.traces.parted import parted_html, parted_text

print(parted_text([results.teacher, *results.scored]))
parted_html([results.teacher, *results.scored[:1]])

# %% [markdown]
# ## The students' cards
#
# What each was taught, by whom, on which sessions, and these scores, in its folder. Its name, or
# its folder's, stands for it in `models` of notebooks 02, 03 and 06 and in `llmhar label`;
# `llmhar students export` carries it away.

# %%
from llmhar.distill.cards import write_scores

print("\n".join(write_scores(results, confirmed)) or "nobody was taught")

# %% [markdown]
# ## Five questions
#
# **1.** A student labels 9 of 10 events as its teacher does. How well does it know the home?
#
# <details><summary>answer</summary>As well as its teacher at most, where they agree: agreement is
# not truth. Both are scored against the truth, beside each other.</details>
#
# **2.** Why is the untaught model asked with a longer prompt than the student?
#
# <details><summary>answer</summary>It was never told what is wanted; the prompt has to explain it.
# A student's training is its explanation.</details>
#
# **3.** Trees on the teacher's labels pass the student on its own home. What is the student for?
#
# <details><summary>answer</summary>Not for this home: whoever has labels of a home has no need of
# it. It can go where there are none (notebook 04b).</details>
#
# **4.** What would show that the teacher's reasoning was learnt, and not only its answers?
#
# <details><summary>answer</summary>A student of reasons above a student of the same answers, paired
# by session; and answers that move when their evidence is taken away (notebook 04c).</details>
#
# **5.** Why were final numbers made on a home with a new seed?
#
# <details><summary>answer</summary>All earlier test days had been looked at while choices were
# made. Days that nobody has seen cannot have been chosen by.</details>

# %% [markdown]
# **What you have seen:** traces → training examples → a training with its proof → the student
# beside its teacher, beside what needs no language model, and beside a student of answers alone.

# %% tags=["record"]
publish(
    {"plan": look.words}
    | key_numbers.study_numbers(results)
    | key_numbers.confirm_numbers(confirmed)
    | key_numbers.sessions_numbers(points)
    | key_numbers.matrix_numbers(cells),
    table=tables.key_columns(scores),
    figure=bars,
    results=results.shown + [result for one in confirmed for result in one.every],
    kinds=[PUBLISHED],
)
store.close()
