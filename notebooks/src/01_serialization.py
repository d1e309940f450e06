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
# # From sensor files to text: faults, windows and what they cost
#
# Sensor data is dirty. Before any model is asked, this notebook shows what the loader found in the
# files, how events spread over the day, and how many tokens each way of writing a window takes.

# %% [markdown]
# ## What you need to know
#
# - A **window** is a run of consecutive events, ten by default: one question to a model. No event
#   stands in two windows.
# - A **token** is what a model reads at a time, about four letters of prose. Digits are split, so
#   that a clock such as 07:28:12 costs several; brackets and quotes cost too.
#
# **Predict before you look:** which of these costs most for the same ten events: a JSON list,
# plain sentences, or intervals with a start and an end? How many times as much as the cheapest?

# %% tags=["parameters"]
dataset: str = "simulated"  # a data set of `llmhar data list`
data_dir: str | None = None  # its folder, from where you call; None = LLMHAR_DATA/<dataset>
tokenizer: str | None = None  # whose tokens are counted: a name from models.yaml; None = words
window_size: int = 10  # events in a window
n_shown: int = 2  # sessions drawn over the day

# %% [markdown]
# ## What the loader read
#
# Nothing is dropped in silence: each row that was mended, refused or set aside is listed with
# file, line and reason.

# %% tags=["profile"]
# `make lab` opens with the demo's settings; or name a profile here: "smoke", "demo-full", "paper"
from llmhar.settings import live_settings

globals().update(live_settings("01_serialization", profile=None))

# %%
from pathlib import Path

from llmhar.ask.task import prepare
from llmhar.data import faulty_home
from llmhar.data.events import Windowing
from llmhar.data.registry import DATASETS
from llmhar.run.publish import publish
from llmhar.score import loader_tables, tables, token_tables
from llmhar.score.figures import activity_counts, events_by_room, token_costs
from llmhar.text.serialize import SERIALIZERS

task = prepare(dataset, Path(data_dir) if data_dir else None, windowing=Windowing(size=window_size))
report = task.report.to_json()
tables.load_table(report)

# %%
tables.note_table(report["mended"] + report["refused"])

# %% [markdown]
# Rows set aside are well-formed but no sensor events (such as MuRAL's notes without a sensor); the
# first of them:

# %%
tables.note_table(report["set_aside"], most=5)

# %% [markdown]
# Events without an activity are shown to models, but left out of every score.

# %%
sessions = list(task.sessions.values())
unlabelled = f"{report['unlabelled_events']} of them without an activity"
print(f"{DATASETS[dataset].title}: {report['events']} events, {unlabelled}")
print(f"{len(task.train)} sessions train, {len(sessions)} test: {', '.join(task.sessions)}")
print(f"Licence: {DATASETS[dataset].licence}")

# %% [markdown]
# ## A home with faults
#
# The home above may have no fault worth showing. This one has one of each kind: two made-up
# sessions of a few lines, in MuRAL's format, written into a temporary folder. **Predict** which
# of its lines the loader can mend, which it must refuse, and whether a stray quote takes the
# next line along.

# %%
faulty = faulty_home.load()
loader_tables.fault_table(faulty)

# %% [markdown]
# *Mended* rows are used: an event out of order is sorted, one with an unknown activity is kept
# without it. *Refused* rows are not guessed at, and cost nothing but themselves. A session of
# which nothing is left is left out, and that is said too. With each line written as its cure
# says, the same loader has nothing to mend or to refuse:

# %%
cured = faulty_home.load(cured=True)
loader_tables.books_table({"as written": faulty, "cured": cured})

# %% [markdown]
# ## Events over the day
#
# Residents are the truth of the data set. They are drawn to show how activities interleave; no
# prompt contains them.

# %%
from IPython.display import display

for session in sessions[:n_shown]:
    display(events_by_room(session, task.data))

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - the kitchen leads in both sessions, with 130 of 426 events in one and 141 of 366 in the other;
# - what is done there is told by neighbours in the list, not by the room.

# %% [markdown]
# How often is each activity? What is frequent rules accuracy; macro F1, the study's score, weighs
# all activities of a session alike.

# %%
print(tables.commonest_activity(sessions))
activity_counts(sessions, task.data)

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - of 2478 events of the test sessions 211 are reading books, 14 coming into the apartment;
# - who never answers the latter hardly loses accuracy: macro F1 tells.

# %% [markdown]
# ## One window, written in every way

# %%
window = task.windows[len(task.windows) // 2]
for name, write in SERIALIZERS.items():
    print(f"--- {name}\n{write(window)}\n")

# %% [markdown]
# ## What each way costs
#
# Tokens are time and money: they are counted for all test windows with the model's own tokenizer.

# %%
costs, counted_by = token_tables.token_table(task, tokenizer)
size = f"n = {len(task.windows)} windows of {window_size}"
figure = token_costs(costs, counted_by, f"Data: {task.data}, {size}.")
figure

# %% [markdown]
# **What the recorded demo showed** (`reports/record/demo`; your run may differ):
#
# - the same window costs 176 tokens as lines and 412 as intervals: 2.35 times as many;
# - the JSON list that the paper uses lies between them, with 323 tokens;
# - counted over 251 test windows of 8,961 events in all, with the small model's own tokenizer.

# %%
costs.round(1)

# %% [markdown]
# ## Five questions
#
# **1.** Why is an event without an activity shown to a model, but not scored?
#
# <details><summary>answer</summary>It happened, and may explain its neighbours; but nobody knows
# what is right.</details>
#
# **2.** Why are residents never in a prompt?
#
# <details><summary>answer</summary>A sensor does not know who set it off; a model that is told
# would be given part of the answer.</details>
#
# **3.** Which activity would a model that always says the same choose, and what would its
# accuracy be?
#
# <details><summary>answer</summary>The commonest one; its share of the events. Its macro F1 is
# far lower, for all other activities count as zero.</details>
#
# **4.** A row holds a state that the loader does not know. What are the three things that can
# become of it?
#
# <details><summary>answer</summary>It is mended, refused or set aside; each is listed with file,
# line and reason.</details>
#
# **5.** Does the cheapest way of writing have to be the best?
#
# <details><summary>answer</summary>No. Cost is measured here, what a model makes of each way only
# where it is asked: notebook 02.</details>

# %% [markdown]
# **What you have seen:** files → rows read, mended and refused → events → windows, and what each
# way of writing them costs. `02_prompting` puts such a text into a question.

# %% tags=["record"]
publish(
    {"events": report["events"], "sessions": report["sessions"], "windows_test": len(task.windows)}
    | {"rows_mended": len(report["mended"]), "rows_refused": len(report["refused"])}
    | {f"tokens_{name}": round(float(mean), 1) for name, mean in costs["mean"].items()},
    table=costs.round(1),
    figure=figure,
    datasets=[f"{task.data}, {task.subset}"],
    kinds=[f"{task.kind} data"],
)
