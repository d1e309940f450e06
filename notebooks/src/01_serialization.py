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

# %%
from pathlib import Path

from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.data.registry import DATASETS
from llmhar.run.publish import publish
from llmhar.score import tables, token_tables
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
# ## Events over the day
#
# Residents are the truth of the data set. They are drawn to show how activities interleave; no
# prompt contains them.

# %%
from IPython.display import display

for session in sessions[:n_shown]:
    display(events_by_room(session, task.data))

# %% [markdown]
# How often is each activity? What is frequent rules accuracy; macro F1, the study's score, weighs
# all activities of a session alike.

# %%
print(tables.commonest_activity(sessions))
activity_counts(sessions, task.data)

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

# %%
costs.round(1)

# %%
publish(
    {"events": report["events"], "sessions": report["sessions"], "windows_test": len(task.windows)}
    | {"rows_mended": len(report["mended"]), "rows_refused": len(report["refused"])}
    | {f"tokens_{name}": round(float(mean), 1) for name, mean in costs["mean"].items()},
    table=costs.round(1),
    figure=figure,
    datasets=[f"{task.data}, {task.subset}"],
    kinds=[f"{task.kind} data"],
)
