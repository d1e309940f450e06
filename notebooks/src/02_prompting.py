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

# %%
from pathlib import Path

from llmhar import injection
from llmhar.ask.asking import Asking
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Sampling
from llmhar.run.publish import publish
from llmhar.score import cost_tables, tables, token_tables
from llmhar.score.evaluate import evaluate
from llmhar.score.figures import f1_by_session, prompt_parts, verdict_bars
from llmhar.text.prompt import PromptForm
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
# ## What became of each event
#
# A small model that was never trained for this often does not answer at all. The verdicts say how:
# no list (`malformed`), a list that ends early (`missing`), a text that hits the token limit
# (`cut`), or an activity that is not in the list (`unknown label`). All of these count as wrong.

# %%
verdict_bars(evaluation.results)

# %%
tables.verdict_table(evaluation.results).round(1)

# %% [markdown]
# ## How much is right
#
# The score is macro F1 over the events of a session, averaged over sessions. The interval is
# Student's t over sessions: events of one session are not independent.

# %%
figure = f1_by_session(evaluation.results)
figure

# %%
scores = tables.score_table(evaluation.results)
scores.round(3)

# %%
tables.session_table(evaluation.results).round(3)

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
# ## Hostile names
#
# Sensor and room names come from files. Here they hold instructions, chat marks and false answers,
# each trying to force one activity. A label *flips* where it becomes the forced one and was not
# under a harmless name. Structure never changes (`make bench ONLY=security`); whether a model
# obeys words is the model's affair. With each defence, and without.

# %%
hostile = injection.run(hostile_models, Store(), n_hostile, seed) if hostile_models else []
injection.flip_table(hostile).round(1) if hostile else "not run in this profile"

# %%
columns = ["kind", "macro F1", "95 % low", "95 % high", "sessions", "events", "missed %", "engine"]
publish(
    {f"macro_f1_{r.model.name}": r.macro_f1.mean for r in evaluation.results}
    | {f"missed_pct_{r.model.name}": r.overall.missed_pct for r in evaluation.results}
    | {"windows": len(task.windows), "sessions": evaluation.results[0].macro_f1.n},
    table=scores[[*columns, "data"]],
    figure=figure,
    results=evaluation.results,
)
