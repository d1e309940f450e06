"""``llmhar explore``: the traces of notebook 06 as one offline file, or served by voila on loopback.

Both read the settings of ``06_traces``. The file shows what the store has and asks nobody; the served notebook may ask.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import EngineError
from llmhar.ask.inference import collect, make_asks
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.records import Sampling
from llmhar.run.jobs import plan_jobs
from llmhar.score.tables import Result, score_answers
from llmhar.text.prompt import PromptForm
from llmhar.traces.bundle import build_bundle
from llmhar.traces.view import write_offline

NOTEBOOK = "06_traces"


def settings_of(profile: str, options: Mapping[str, str], cwd: Path) -> dict[str, Any]:
    """Parameters of the notebook in this profile.

    Raises:
        SettingsError: an unknown profile or name, a value of another type.
    """
    (job,) = plan_jobs(profile, [NOTEBOOK], options, cwd)
    return dict(job.spec.params)


def stored_results(values: Mapping[str, Any], store: Store) -> list[Result]:
    """Results from what the store has; unanswered windows count as missing.

    Raises:
        EngineError: a model has not answered a single window; says what to run.
        DataError: the data set is not here or cannot be read.
        ModelError: models.yaml has no such model.
        PromptError: the data set has no home file, or an unknown wording.
    """
    folder = Path(values["data_dir"]) if values["data_dir"] else None
    form = PromptForm(values["wording"], values["serializer"], values["answer"])
    task = prepare(values["dataset"], folder, form, Windowing(n=values["n_windows"], seed=values["seed"]))
    limits = Sampling(max_tokens=values["max_tokens"], seed=values["seed"])
    asking = Asking(sampling=limits, draw=values["sampling"], thinking=values["thinking"], engine=values["engine"])
    results = []
    for name in values["models"]:
        model = MODELS[name]
        answers = collect(make_asks(task, model, asking=asking), store)
        if not any(answer.stored for answer in answers):
            raise EngineError(
                f"the store {store.path} has no answer of {name} to these windows; run: llmhar run demo 06"
            )
        results.append(score_answers(task.asked_of(model), model, answers))
    return results


def write_html(values: Mapping[str, Any], target: Path, store: Store | None = None) -> int:
    """Write the view as one file that needs no network; returns its size in bytes.

    Raises:
        EngineError: a model has not answered a single window; says what to run.
    """
    opened = store or Store()
    try:
        results = stored_results(values, opened)
        bundle = build_bundle(results, notes=opened.notes(), teacher=values["teacher"], students=values["students"])
        return write_offline(bundle, target)
    finally:
        if store is None:
            opened.close()


def serve(values: Mapping[str, Any], port: int = 8866) -> int:
    """Serve the notebook by voila on 127.0.0.1 until it is interrupted; returns voila's exit code."""
    import nbformat
    from papermill.iorw import load_notebook_node
    from papermill.parameterize import parameterize_notebook

    notebook = load_notebook_node(str(paths.notebook_file(NOTEBOOK)))
    with tempfile.TemporaryDirectory(prefix="llmhar-explore-") as scratch:
        copy = Path(scratch, f"{NOTEBOOK}.ipynb")
        nbformat.write(parameterize_notebook(notebook, dict(values)), copy)
        options = ["--Voila.ip=127.0.0.1", f"--port={port}", "--no-browser", "--show_tracebacks=True"]
        try:
            own = os.environ | {"LLMHAR_PROFILE": ""}  # the copy has its settings
            return subprocess.run([sys.executable, "-m", "voila", str(copy), *options], check=False, env=own).returncode
        except KeyboardInterrupt:
            return 0
