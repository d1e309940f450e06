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
# The same questions as in `02_prompting`: what was asked before is not asked again.

# %%
from pathlib import Path

from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.score import figures, tables
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
scores = tables.score_table(results)[["kind", "macro F1", "events", "missed %", "engine", "data"]]
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
# ## Export
#
# One row a trace as Parquet and JSONL; notes as CSV; one inspect_ai log a model, for its viewer.

# %%
written = export.write_all(results, store, Path(export_to)) if export_to else {}
lines = [f"{kind}: {path}" for kind, path in written.items()]
print("\n".join(lines) or "nothing is written in this profile")

# %%
publish(
    {"n_traces": sum(len(r.answers) for r in results)}
    | {f"macro_f1_{r.model.name}": r.macro_f1.mean for r in results},
    table=scores,
    figure=bars,
    results=results,
)
