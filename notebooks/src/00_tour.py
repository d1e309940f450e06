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
# # A tour in ten minutes: from raw sensor rows to a scored answer
#
# People move through a home; doors, appliances and motion sensors report what they touch. **Can a
# language model tell from those reports alone what the people are doing?** This notebook follows
# one small window of events along the whole path. Every later notebook does the same for thousands
# of windows.
#
# It can be read alone in ten minutes. For a class there are speaker's notes here, and the same
# notebook without solutions in `notebooks/class/`; `07_lesson` is the full lesson of 45 minutes.

# %% [markdown]
# ## What you need to know
#
# - An **event** is one report of one sensor: a time, a room, a sensor, a state. Nobody says who it
#   was or what for.
# - A **window** is ten events that follow each other; a model sees one window and no other.
# - **Macro F1** is the mean over activities of how well each was found: 1 is perfect, and a rare
#   activity counts as much as a frequent one.
# - **Rules** are scripts written by hand for words such as "stove" or "bed". They know no data and
#   are the floor that a model must pass.
#
# **Predict before you look:** of ten events, how many will scripted rules label right, how many a
# small language model that was never taught this?

# %% tags=["parameters"]
dataset: str = "simulated"  # a data set of `llmhar data list`
data_dir: str | None = None  # its folder, from where you call; None = LLMHAR_DATA/<dataset>
models: list[str] = ["rules"]  # who answers: names from params/models.yaml
engine: str = "auto"  # auto (vllm, else transformers), or one engine
session: int = 0  # which test session, from 0
window: int = 4  # which window of it, from 0
answer: str = "name"  # activities answered by name or by number
sampling: str = "greedy"  # greedy: likeliest token; model, hosted: as its makers recommend, by mode
max_tokens: int = 400  # most tokens a model may write

# %% [markdown]
# ## The way as a drawing
#
# Five steps, each of which this notebook takes once. In the boxes stand words of the window that
# it follows; below them, what the step can lose.

# %% tags=["profile"]
# `make lab` opens with the demo's settings; or name a profile here: "smoke", "demo-full", "paper"
from llmhar.settings import live_settings

globals().update(live_settings("00_tour", profile=None))

# %%
from pathlib import Path

from llmhar.ask.asking import Asking
from llmhar.ask.task import one_window, prepare
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.score import controls, tables
from llmhar.score.evaluate import evaluate
from llmhar.score.figures import events_by_room
from llmhar.score.way_figure import draw_way
from llmhar.text.prompt import PromptForm
from llmhar.text.serialize import SERIALIZERS
from llmhar.traces.view import show_traces, window_html

# %%
form = PromptForm("s1-blank", answer=answer)
task = one_window(prepare(dataset, Path(data_dir) if data_dir else None, form), session, window)
shown = task.windows[0]
home = task.sessions[shown.session_id]
draw_way(shown, home, task.data)

# %% [markdown]
# ## 1. Raw rows become events
#
# A loader reads the data set's own files and keeps books of every row that it mended or refused
# (more of that in `01_serialization`).

# %%
tables.load_table(task.report.to_json())

# %% [markdown] tags=["speaker"]
# **Speaker's note (2 min).** Show the file itself first (`llmhar data events simulated`). Ask:
# what can go wrong in a file that somebody wrote for a year? Then read the table: every row is a
# kept event's, mended, refused or set aside.

# %% [markdown]
# One session of this home: each mark is one sensor event. Rooms and residents interleave; a model
# is told the rooms, never the residents.

# %%
rooms = events_by_room(home, task.data)
rooms

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - the kitchen speaks most, with 130 of the session's 426 events, and 5 events have no room at
#   all;
# - marks of several residents share a room and a minute: which of them did it, the rows do not
#   say.

# %% [markdown] tags=["speaker"]
# **Speaker's note (2 min).** Let the class find breakfast and the moment when the home falls
# silent. How many people live here? The picture does not say, and neither will the model.

# %% [markdown]
# ## 2. Events are cut into windows of ten
#
# A window is what the model gets to see. **Predict before you look:** what is each of these ten
# events part of?

# %%
print(SERIALIZERS["sentences"](shown))

# %% [markdown] tags=["solution"]
# The same events with the truth, which no model sees. Neighbours in the list may belong to
# different people.

# %% tags=["solution"]
window_html(shown, home)

# %% [markdown] tags=["speaker"]
# **Speaker's note (3 min).** Two people label aloud without seeing each other's labels; count
# where they differ before the truth is shown.

# %% [markdown]
# ## 3. A window becomes text
#
# The study's default is the paper's: a JSON list with an id, a time and a sentence fragment.

# %%
print(SERIALIZERS["s1-json"](shown))

# %% [markdown] tags=["speaker"]
# **Speaker's note (1 min).** Predict: how many tokens is one event, its share of brackets and names
# included? (About thirty; digits are split.) `01_serialization` measures it.

# %% [markdown]
# ## 4. Text becomes a prompt
#
# In front of the window stand six fixed parts: the task, the home, the answer format, the list of
# activities, a few rules and one example. They never change within a home, so an engine computes
# them once.

# %%
print(task.prompt_of(shown).system)

# %% [markdown] tags=["speaker"]
# **Speaker's note (1 min).** Which of the six parts could be left out? Collect guesses;
# `02_prompting` tries some, `04_distillation` leaves out nearly all of them for a student that has
# learnt its home.

# %% [markdown]
# ## 5. A model answers
#
# Each answer goes into the store the moment it arrives. Run this cell again: nothing is asked
# twice. `rules` is no language model but a scripted reader of room and appliance words. It is the
# study's floor and its scripted teacher.

# %%
asking = Asking(engine=engine, draw=sampling, sampling=Sampling(max_tokens=max_tokens))
results = []
for name in models:  # one after the other: each answer is shown when it is there
    (result,) = evaluate(task, [name], asking).results
    print(f"--- {result.model.name} ({result.made_by})")
    print(f"{result.answers[0].stored.generation.text}\n", flush=True)
    results.append(result)

# %% [markdown] tags=["speaker"]
# **Speaker's note (2 min).** Run the cell twice: the second time takes no time, for nothing is
# asked twice. Read one reasoning aloud and ask whether it convinces, *before* the label is
# checked.

# %% [markdown]
# ## 6. The answer is read, event by event
#
# Each event gets one verdict: `ok`, `missing`, `duplicate`, `unknown_label`, `cut` or `malformed`.
# Nothing is guessed: an answer that cannot be read counts as wrong.

# %%
tables.verdict_table(results).round(1)

# %%
show_traces(results)

# %% [markdown] tags=["solution"]
# Where reasoning and label part: a sensible sentence with a wrong label (the hour was misread), or
# a right label for no reason that is given. An answer that cannot be read counts as wrong, whoever
# wrote it.

# %% [markdown] tags=["speaker"]
# **Speaker's note (2 min).** Ask for an event where you would have answered like the model and
# both of you are wrong.

# %% [markdown]
# ## 7. Labels become a score
#
# F1 on a single window says little (n = 1 session, so there is no interval). `02_prompting` asks
# for windows of all test sessions and says how sure we may be. The last row is no language model:
# it gives each event the activity whose name is nearest to its own words (sentence embeddings).

# %%
columns = ["kind", "macro F1", "events", "missed %", "engine", "data"]
control = controls.embeddings_result(task)
scores = tables.score_table([*results, control])[columns]
scores.round(3)

# %% [markdown] tags=["solution"]
# One window, one session: n = 1, so no interval can be given and nothing can be claimed. That is
# the honest reading of this table.

# %% [markdown] tags=["speaker"]
# **Speaker's note (1 min).** Ask what would have to be repeated to be sure: more events? more
# windows? (More sessions.)

# %% [markdown]
# **What the recorded demo showed** (`reports/record/demo`; your run may differ):
#
# - on this window of 10 events the rules reach macro F1 0.611 and label every event;
# - the untaught model reaches 0 and leaves 100 % of the events without a label;
# - the same model taught on made-up homes, its weights in 8 bits, reaches 0.467, the control by
#   embeddings 0.278;
# - which of them is better is not shown: one session gives no interval.

# %% [markdown]
# ## Five questions
#
# **1.** Which steps lie between a row of a file and a score?
#
# <details><summary>answer</summary>Event, window, text, prompt, answer, verdict.</details>
#
# **2.** Which of these steps can lose something?
#
# <details><summary>answer</summary>Each: a row can be refused, a window cut people apart, a text
# leave out residents, an answer be unreadable.</details>
#
# **3.** Why do the rules answer first?
#
# <details><summary>answer</summary>They are the floor: a model that knows less than a scripted
# reader of room and appliance words has shown nothing.</details>
#
# **4.** Why is an answer that cannot be read counted as wrong?
#
# <details><summary>answer</summary>Whoever uses labels has none for these events; leaving them
# out would reward silence.</details>
#
# **5.** What would have to be repeated to be sure?
#
# <details><summary>answer</summary>Sessions: events and windows of one day hang
# together.</details>

# %% [markdown]
# **What you have seen:** rows → events → window → text → prompt → answer → verdicts → score. The
# rest of the study varies one step at a time: how windows are written (`01`), how we ask (`02`),
# how large the model is (`03`), what a small model can learn from a large one (`04`), and what
# sound and motion add (`05`); `06` lets you read any trace.

# %% tags=["record"]
publish(
    {f"macro_f1_{r.model.name}": r.macro_f1.mean for r in results}
    | {f"missed_pct_{r.model.name}": r.overall.missed_pct for r in results}
    | {"macro_f1_embeddings": control.macro_f1.mean},
    table=scores,
    figure=rooms,
    results=results,
)
