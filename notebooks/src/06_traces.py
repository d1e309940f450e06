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
# # Traces: reading what models thought, one window after the other
#
# Scores say how often a model is right; traces say why. Everything that was ever asked lies in the
# store. Here it is filtered, put side by side and linked: each mention of an event, sensor, room
# or time in a reasoning lights the events that it cites. Where a model gives each event a reason in
# its answer, the reason stands beside the event's label.
#
# In JupyterLab the view is live: keys **j** and **k** step, **d** goes to the next disagreement,
# **/** searches, **?** lists the rest. In a report the first windows stand alone, and `llmhar
# explore --html traces.html` writes the whole view as one file that needs no server.

# %% [markdown]
# ## What you need to know
#
# - A **trace** is one question, the whole answer, and how it was read. What stands between
#   thinking marks is reasoning; it is text that the model wrote, not a record of what it
#   computed.
# - A **mention** ties a word of the reasoning to the events that it cites: by number, time,
#   sensor or room.
#
# **Predict before you look:** take the first window in guess mode (key **g**) and choose what
# most of its events belong to. Would you be right more often than the rules?
#
# ## Three guided tasks
#
# 1. **Guess.** Press **g** and label five windows; compare your score with the models' below the
#   choices. Where all were wrong, what would one have had to know?
# 2. **Doubt.** Find a window with a wrong label whose reasoning convinces you. Which cited event
# led astray? Drop it and ask again.
# 3. **Compare.** Press **d** until two models disagree. Whose reasoning cites the event that
# decides?

# %% tags=["parameters"]
dataset: str = "simulated"  # a data set of `llmhar data list`
data_dir: str | None = None  # its folder, from where you call; None = LLMHAR_DATA/<dataset>
models: list[str] = ["rules"]  # whose traces: names from params/models.yaml, two to four to compare
teacher: str | None = None  # one of them, for the filter "student broke what the teacher had"
students: list[str] = []  # some of them
engine: str = "auto"  # auto (vllm, else transformers), or one engine; also for asking again
n_windows: int | None = 4  # windows drawn from each test session; None = all
wording: str = "s1-blank"  # prompt: a name in PROMPTS; s1 has answers in its example
serializer: str = "s1-json"  # how a window is written: a name in SERIALIZERS
answer: str = "name"  # activities answered by name or by number
thinking: bool | None = None  # Qwen3's thinking switch; None = the template's default
sampling: str = "model"  # model: makers' values, by mode; hosted: max_tokens too; greedy: likeliest
max_tokens: int = 400  # most tokens a model may write, thinking included
seed: int = 0  # seed of the windows drawn and of sampling
n_static: int = 2  # windows shown where no widget can live (reports)
export_to: str | None = None  # folder for Parquet, JSONL, notes, inspect_ai logs; None = no export

# %% [markdown]
# ## Asked, or found in the store
#
# The same questions as in `02_prompting`: what was asked before is not asked again. The last row is
# no language model and has no traces: the name that is nearest to an event's words, by embeddings.

# %% tags=["profile"]
# `make lab` opens with the demo's settings; or name a profile here: "smoke", "demo-full", "paper"
from llmhar.settings import live_settings

globals().update(live_settings("06_traces", profile=None))

# %%
from pathlib import Path

from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.score import controls, figures, tables
from llmhar.score.evaluate import evaluate
from llmhar.text.prompt import PromptForm
from llmhar.traces import export
from llmhar.traces.reask import Reasker
from llmhar.traces.view import browse_traces

# %%
folder = Path(data_dir) if data_dir else None
form = PromptForm(wording, serializer, answer)
task = prepare(dataset, folder, form, Windowing(n=n_windows, seed=seed))

# %%
store = Store()
limits = Sampling(max_tokens=max_tokens, seed=seed)
asking = Asking(sampling=limits, draw=sampling, thinking=thinking, engine=engine)
results = evaluate(task, models, asking, store).results
control = controls.embeddings_result(task)
columns = ["kind", "macro F1", "events", "missed %", "engine", "data"]
scores = tables.score_table([*results, control])[columns]
scores.round(3)

# %% [markdown]
# ## The view
#
# Filter first (all filters combine), then step. Drop or edit an event and ask again to see whether
# a label hangs on it; tag and comment what you find. Notes stay in the store.

# %%
browse_traces(
    results,
    teacher=teacher,
    students=students,
    reask=Reasker(results, store, asking),
    notes=store.notes(),
    save_note=lambda key, tags, text: store.add_note(key, tags, text).to_json(),
    n_static=n_static,
)

# %% [markdown]
# ## How well do reasonings cite?
#
# Share of reasonings that mention at least one event of their window, and mentions by kind. Rules
# always cite; a rambling model seldom.

# %%
export.mention_table(results).round(2)

# %%
bars = figures.verdict_bars(results)
bars

# %% [markdown]
# **What the recorded demo showed** (`reports/record/demo`; your run may differ):
#
# - 72 traces lie side by side: three answerers on 24 windows;
# - the rules reach macro F1 0.686 on them, the untaught model reaches 0, the one taught on made-up
#   homes 0.406, the control by embeddings 0.183.

# %% [markdown]
# ## Export
#
# One row a trace as Parquet and JSONL; notes as CSV; one inspect_ai log a model, for its viewer.

# %%
written = export.write_all(results, store, Path(export_to)) if export_to else {}
lines = [f"{kind}: {path}" for kind, path in written.items()]
print("\n".join(lines) or "nothing is written in this profile")

# %% [markdown]
# ## Five questions
#
# **1.** A reasoning names breakfast, the answer names the couch, and the answer is right. What is
# the trace worth?
#
# <details><summary>answer</summary>As a label, a right one; as an explanation, nothing: the label
# does not follow from what was said.</details>
#
# **2.** Why does a mention of a time sometimes light no event?
#
# <details><summary>answer</summary>The time lies in no event of the window: the model made it up,
# or took it from the example.</details>
#
# **3.** The rules cite events in every reasoning. Does that make them faithful?
#
# <details><summary>answer</summary>They are, for their text is made from what they looked at.
# That cites are there shows nothing by itself.</details>
#
# **4.** How would you test whether a cited event mattered?
#
# <details><summary>answer</summary>Take it away and ask again, and do the same with an event that
# was not cited; only the gap between both counts.</details>
#
# **5.** Why are notes kept in the store and not in the notebook?
#
# <details><summary>answer</summary>They belong to a trace, whichever notebook shows it, and stay
# when the notebook is run again.</details>

# %% [markdown]
# **What you have seen:** single answers beside their truth, what models cite, and how a trace is
# filtered, asked again and exported. `07_lesson` makes a lesson of it.

# %% tags=["record"]
publish(
    {"n_traces": sum(len(r.answers) for r in results)}
    | {f"macro_f1_{r.model.name}": r.macro_f1.mean for r in results}
    | {"macro_f1_embeddings": control.macro_f1.mean},
    table=scores,
    figure=bars,
    results=results,
)
