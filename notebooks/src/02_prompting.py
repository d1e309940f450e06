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
# # Asking: prompt anatomy, answers, verdicts, scores
#
# One prompt, several models, the same windows. What does the prompt consist of, what comes back,
# and how much of it is right?

# %% [markdown]
# ## What you need to know
#
# - **Macro F1** of a session is F1 of each activity in its truth, averaged over activities: a
#   rare activity counts as much as a frequent one. An event without a label is wrong.
# - The **interval** is Student's t over sessions: events of one session hang together, so that
#   six sessions are six observations and not hundreds.
# - A **strict** reading takes the list of the form that was asked for; a **flexible** one finds
#   the same items in prose. Neither guesses.
#
# **Predict before you look:** a model of 135 million weights that was never taught this task is
# asked for a label of each of ten events. Of how many does it name the activity: all, half, none?

# %% tags=["parameters"]
dataset: str = "simulated"  # a data set of `llmhar data list`
data_dir: str | None = None  # its folder, from where you call; None = LLMHAR_DATA/<dataset>
models: list[str] = ["rules"]  # who answers: names from params/models.yaml
engine: str = "auto"  # auto (vllm, else transformers), or one engine
exact_engine: bool = False  # use stored answers only of this engine, version, dtype and device
n_windows: int | None = 4  # windows drawn from each test session; None = all
window_size: int = 10  # events in a window
least_events: int = 10  # scored events from which on a test session counts; 0 = all do, as S1
wording: str = "s1-blank"  # prompt: a name in PROMPTS; s1 has answers in its example
serializer: str = "s1-json"  # how a window is written: a name in SERIALIZERS
answer: str = "name"  # activities answered by name or by number
rules: bool = True  # whether the home's rules are part of the prompt
thinking: bool | None = None  # Qwen3's thinking switch; None = the template's default
sampling: str = "model"  # model: makers' values, by mode; hosted: max_tokens too; greedy: likeliest
max_tokens: int = 400  # most tokens a model may write, thinking included
seed: int = 0  # seed of the windows drawn and of sampling
hostile_models: list[str] = []  # who is asked about windows with hostile names; none = not run
n_hostile: int = 2  # windows that hostile names are put into
tokenizer: str | None = None  # whose tokens are counted: a name from models.yaml; None = words

# %% tags=["profile"]
# `make lab` opens with the demo's settings; or name a profile here: "smoke", "demo-full", "paper"
from llmhar.settings import live_settings

globals().update(live_settings("02_prompting", profile=None))

# %%
from pathlib import Path

from llmhar import injection
from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.score import controls, cost_tables, tables, token_tables
from llmhar.score.evaluate import evaluate
from llmhar.score.figures import f1_by_session, prompt_parts, verdict_bars
from llmhar.text.prompt import PromptForm
from llmhar.traces.readings import readings_html
from llmhar.traces.view import show_traces

# %% [markdown]
# ## What the prompt consists of
#
# The parts follow the paper's order. All but the window are the same for every question to a home:
# an engine with a prefix cache computes them once.

# %%
folder = Path(data_dir) if data_dir else None
form = PromptForm(wording, serializer, answer, rules)
windowing = Windowing(window_size, n_windows, seed, least_events=least_events)
task = prepare(dataset, folder, form, windowing)
print(f"{task.data}: {task.subset}, {len(task.windows)} windows to ask")

# %%
tables.note_table(task.report.to_json()["refused"] + task.report.to_json()["mended"])

# %%
prompt = task.prompt_of(task.windows[0])
counts = token_tables.prompt_tokens(task, tokenizer)
prompt_parts(prompt, counts.parts, counts.window_mean)

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - 73 % of this prompt is the same for every window: most of what is read is paid for once.

# %%
print(prompt.messages(task.windows[0])[1]["content"])

# %% [markdown]
# ## Asking
#
# Answers that the store has are not asked for again. The table below says what was asked now; time
# includes the start of the engine.

# %%
limits = Sampling(max_tokens=max_tokens, seed=seed)
asking = Asking(
    sampling=limits, draw=sampling, thinking=thinking, engine=engine, exact=exact_engine
)
evaluation = evaluate(task, models, asking)
cost_tables.run_table(evaluation.runs)

# %% [markdown]
# ## One answer, read twice
#
# A made-up answer to six events, with faults that small models make; it ends where the token limit
# cut it. **Predict:** how many of the six labels does each reading find?

# %%
readings_html()

# %% [markdown]
# The strict reading wants the bare list and nothing else, so that one sentence or one quote costs
# all six. The flexible one takes what is written and mends marks, never meaning: a name that is
# not in the list, two labels for one event and half a name stay without a label. The study's
# scores are those of the flexible reading; the strict ones stand beside them further below.

# %% [markdown]
# ## What became of each event
#
# A small model that was never trained for this often does not answer at all. The verdicts say how:
# no list (`malformed`), a list that ends early (`missing`), a text that hits the token limit
# (`cut`), or an activity that is not in the list (`unknown label`). All of these count as wrong.

# %%
verdict_bars(evaluation.results)

# %% [markdown]
# **What the recorded demo showed in this figure** (`reports/record/demo`; your run may differ):
#
# - of two language models of one size, the taught one gives a readable label to 100 % of the
#   events, the untaught one to 0 %;
# - so nothing can be said yet about what the untaught one knows: it does not answer in the form.

# %%
tables.verdict_table(evaluation.results).round(1)

# %% [markdown]
# ## How much is right
#
# The score is macro F1 over the events of a session, averaged over sessions. The interval is
# Student's t over sessions: events of one session are not independent. Beside the models stands a
# control that is no language model and has seen no home either: each event gets the activity whose
# name is nearest to its own words, by sentence embeddings.

# %%
compared = [*evaluation.results, controls.embeddings_result(task)]
figure = f1_by_session(compared)
figure

# %% [markdown]
# **What the recorded demo showed** (`reports/record/demo`; your run may differ):
#
# - the scripted rules reach macro F1 0.686 [0.564, 0.807], without the hand-written habits 0.680
#   [0.589, 0.771]: which of them is better is not shown;
# - the untaught model reaches 0 and leaves 100 % of the events without a label;
# - the same model taught on made-up homes, never on this one, reaches 0.414 [0.208, 0.621], the
#   control by embeddings 0.183;
# - all of it over 24 windows of 6 sessions.

# %%
scores = tables.score_table(compared)
scores.round(3)

# %%
tables.session_table(compared).round(3)

# %% [markdown]
# Does the way an answer is read matter? The strict reading accepts the bare JSON list alone; the
# flexible one finds the same items in prose and mends delimiters, but never guesses.

# %%
tables.reading_table(evaluation.results).round(3)

# %% [markdown]
# ## What it cost

# %%
cost_tables.cost_table(evaluation.results).round(1)

# %% [markdown]
# ## Traces
#
# The first windows with truth, labels, reasoning and raw answer side by side. In a live notebook a
# slider steps through all of them.

# %%
show_traces(evaluation.results, n_static=3)

# %% [markdown]
# ## Five questions
#
# **1.** A model gives nine labels for ten events. What becomes of the tenth?
#
# <details><summary>answer</summary>It is missing, and counts as wrong. Leaving it out would
# reward silence.</details>
#
# **2.** One answer reads: I think it is breakfast: [{"id": 0, "activity": "cooking"}]. What do
# the two readings make of it?
#
# <details><summary>answer</summary>The flexible one finds the item; the strict one finds no bare
# list and calls the answer malformed.</details>
#
# **3.** Two intervals overlap. Are the models equal?
#
# <details><summary>answer</summary>That is not shown. A difference is not shown either, unless
# they are compared pair by pair on the same sessions.</details>
#
# **4.** Why are the fixed parts of the prompt in front and the window last?
#
# <details><summary>answer</summary>An engine with a prefix cache computes them once for a home,
# and only the window anew.</details>
#
# **5.** The rules beat the model here. What does that say about language models?
#
# <details><summary>answer</summary>About this model, untaught, with this prompt: nothing about
# larger or taught ones.</details>

# %% [markdown]
# **What you have seen:** the six parts of a prompt, an answer read in two ways, a verdict for every
# event, scores beside controls, and what they cost. `03_scaling` asks the same of larger and
# smaller models.

# %% [markdown]
# ## Optional: hostile names
#
# Sensor and room names come from files. Here they hold instructions, chat marks and false answers,
# each trying to force one activity. A label *flips* where it becomes the forced one and was not
# under a harmless name. Structure never changes (`make bench ONLY=security`); whether a model
# obeys words is the model's affair. With each defence, and without.

# %%
hostile = injection.run(hostile_models, Store(), n_hostile, seed) if hostile_models else []
injection.flip_table(hostile).round(1) if hostile else "not run in this profile"

# %% tags=["record"]
columns = ["kind", "macro F1", "95 % low", "95 % high", "sessions", "events", "missed %", "engine"]
publish(
    {f"macro_f1_{r.model.name}": r.macro_f1.mean for r in evaluation.results}
    | {f"missed_pct_{r.model.name}": r.overall.missed_pct for r in evaluation.results}
    | {"macro_f1_embeddings": compared[-1].macro_f1.mean}
    | {"windows": len(task.windows), "sessions": evaluation.results[0].macro_f1.n},
    table=scores[[*columns, "data"]],
    figure=figure,
    results=evaluation.results,
)
