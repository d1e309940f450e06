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
# # Transfer: what a student carries to another home
#
# A home that was never seen is the rule, not the exception: who installs sensors has no labels
# yet. So students that were taught on one home are asked about others (S1's Table 2 does it with
# two data sets). The students are those of `04_distillation`: the same teaching, data and prompts
# open them again. The first of them is also taught on each course in `if_here`, and asked about
# the data in `test_on`; where data are not on this machine, they are left out with a word.

# %% tags=["parameters"]
datasets: list[str] = ["simulated"]  # one course each; loader options: "uci_adl:home=A"
if_here: list[str] = []  # further courses, for the first student, if their data are here
test_on: list[str] = []  # further data to test on, if they are here
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
arms: list[
    str
] = []  # the first student also learns: answer (answers only); with a seed: reasoning:1
home_arms: list[
    str
] = []  # students of made-up homes beside them: names in ARMS (llmhar.distill.home_students)

# %% [markdown]
# ## Courses
#
# Everybody learns on the study's own courses. Of further courses the first student takes all
# training sessions; further data are only tested on.

# %%
from llmhar.ask.asking import Asking
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.data.events import Windowing
from llmhar.distill import audit, courses, figures, key_numbers, study, tables, transfer
from llmhar.distill.home_students import home_student
from llmhar.distill.teaching import load_teaching
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.text.prompt import FORMS

# %%
lessons = load_teaching(
    teaching, max_steps=max_steps, n_sessions=n_sessions, trace_filter=trace_filter, seed=seed
)
windowing = Windowing(window_size, n_windows, seed, lessons.step, least_events=least_events)
forms = FORMS[teacher_prompt], FORMS[student_prompt]
names = transfer.further_courses(datasets, if_here, test_on, data_dir)
own, further, tested = (
    courses.prepare_courses(some, data_dir, *forms, windowing) for some in (datasets, *names)
)
tables.courses_table([*own, *further, *tested], taught_on=[*own, *further])

# %% [markdown]
# ## Students
#
# Opened where they stand, trained where they do not, and audited as in `04_distillation`: no
# session and no prompt of any test data is among what they were shown.

# %%
limits = Sampling(max_tokens=max_tokens, seed=seed)
cards = {"tensor_parallel_size": n_gpus}
asking = Asking(
    sampling=limits, draw=sampling, thinking=thinking, engine=engine, engine_options=cards
)
store = Store()
plan = study.Study(MODELS[teacher], tuple(students), lessons, asking, store, serve)
taught = study.train_students(plan, [study.teach(course, plan) for course in own])
elsewhere = transfer.teach_further(plan, further, arms)
elsewhere += study.train_arms(taught, arms).values()
movers = [home_student(arm, store=store, asking=asking) for arm in home_arms]
tables.training_table([*(one.student for one in [*taught.students, *elsewhere]), *movers]).T

# %%
checks = audit.audit_students([*taught.students, *elsewhere], [*own, *further, *tested])
tables.audit_table(checks)

# %% [markdown]
# ## Taught on one home, tested on another
#
# F1 with its interval over test sessions, and its change against the same model before training.
# Below the models stands what needs none: rules and text embeddings can go to any home; trees and
# a table of sensor and part of day, fitted on what the student was shown, only where activities
# have the same names.
# Rows of ours that were not run are left out, not zero. Mind the prompt: the demo's students are
# asked without a list of labels, so one that was taught on one home cannot know what another calls
# its activities; S1's prompt lists them.

# %%
results = study.examine_study(taught, elsewhere, [*further, *tested])
cells = transfer.matrix_cells(results)
cells += transfer.home_cells(movers, [*own, *further, *tested], plan)
cells += transfer.control_cells(taught, elsewhere, [*further, *tested])
matrix = transfer.matrix_table(cells)
matrix.fillna("–")

# %% [markdown]
# The same as a picture: rows say what a model was taught on, columns what it was tested on.

# %%
heatmap = figures.matrix_heatmap(cells)
heatmap

# %% [markdown]
# ## The students' cards
#
# What each student is worth on these data goes into its model card, which lies in its folder.

# %%
from llmhar.distill.cards import write_scores

print("\n".join(write_scores(results)) or "nobody was taught")

# %% [markdown]
# ## What run.json keeps

# %%
publish(
    key_numbers.matrix_numbers(cells),
    table=transfer.key_rows(matrix),
    figure=heatmap,
    results=[cell.result for cell in cells],
    kinds=[transfer.PUBLISHED],
)
store.close()
