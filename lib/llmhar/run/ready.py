"""What a run lacks that can be known before it starts: data, weights, engines. Starts nothing, loads nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmhar import paths
from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.registry import Options, cannot_start, child_terms, resolve_auto
from llmhar.ask.inference import serving_engine
from llmhar.ask.models import MODELS, ModelError, ModelSpec, NoSource, Quantised
from llmhar.ask.spending import cannot_count
from llmhar.ask.store import Store
from llmhar.data.registry import DATASETS
from llmhar.run.jobs import Job

_ASKED = ("models", "hostile_models", "dose_models", "constrained_model", "repeated_model", "thinking_model", "judge",
          "teacher")  # fmt: skip
_TAUGHT = ("students", "student", "on_policy_student")
"""Their weights are trained here, whoever serves them."""
_DATA = ("dataset", "datasets")
"""Data sets that a notebook cannot do without; those of ``if_here``, ``test_on`` and ``confirm_on`` it can."""


class NotReady(RuntimeError):
    """A run that could not have succeeded; nothing was touched. One sentence a line, each with its cure."""


def refuse_if_not_ready(jobs: Sequence[Job]) -> None:
    """Check what all jobs need before any kernel, engine or report file is touched.

    Raises:
        NotReady: names everything that is not here.
    """
    problems = [f"{job.notebook}: {problem}" for job in jobs for problem in _problems(job)]
    if problems:
        raise NotReady("nothing was started:\n" + "\n".join(dict.fromkeys(problems)))


def first_engine(job: Job) -> dict[str, Any] | None:
    """What a notebook's first model with weights is served by; None where it names none, or cannot be served here.

    Args:
        job: what would run; whether its answers are here already is not looked at.

    Returns:
        As :func:`llmhar.ask.engines.kept.borrow` takes it.
    """
    values = job.spec.params
    for model in (MODELS[name] for name in _names(values.get("models"))):
        engine = serving_engine(model, values.get("engine", "auto"))
        engine = resolve_auto(model) if engine == "auto" else engine
        if engine in ("vllm", "transformers", "onnx"):
            with suppress(ModelError, EngineError):
                return child_terms(engine, model, Options(tensor_parallel_size=values.get("n_gpus", 1)))
    return None


def _problems(job: Job) -> Iterator[str]:
    values = job.spec.params
    yield from _data_problems(values, job.cwd)
    # beside `models` a teacher and students are some of them, not further ones
    taught = () if "models" in values else _TAUGHT
    asked = [name for parameter in _ASKED for name in _names(values.get(parameter))]
    for name in dict.fromkeys(asked):
        yield from model_problems(MODELS[name], values.get("engine", "auto"))
    for name in dict.fromkeys(name for parameter in taught for name in _names(values.get(parameter))):
        yield from _weights_problem(MODELS[name])
        if isinstance(source := MODELS[name].source, Quantised):
            yield f"{name} cannot be trained in few bits: name {source.parent}"
    for name in _names(values.get("tokenizer")):
        if isinstance(MODELS[name].source, NoSource):
            yield f"tokenizer: {name} has none here: name a model whose weights can be fetched, or none"
        yield from _weights_problem(MODELS[name])


def _names(value: Any) -> list[str]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _data_problems(values: Mapping[str, Any], cwd: Path) -> Iterator[str]:
    """A folder that is not there; data sets and clips that are not in ``LLMHAR_DATA`` where no folder is given."""
    from llmhar.fusion.clips.registry import CLIPSETS

    given = values.get("data_dir")
    if given:
        if not (cwd / given).exists():
            yield f"data_dir: nothing is at {cwd / given}; check the path"
        return
    for name in (_plain(each) for parameter in _DATA for each in _names(values.get(parameter))):
        entry = DATASETS[name]
        if entry.kind == "real" and not (paths.data() / name).is_dir():
            yield f"{entry.title} is not at {paths.data() / name}: {entry.cure}"
    for name in _names(values.get("clipset")):
        clips = CLIPSETS[name]
        if clips.brought and not (paths.data() / name).exists():
            yield f"{clips.title} is not at {paths.data() / name}: get it ({clips.source.rstrip('.')}), give data_dir"


def _plain(course: str) -> str:
    return course.partition(":")[0]


def model_problems(model: ModelSpec, engine: str) -> Iterable[str]:
    """Why a model cannot be asked: weights or replies that are not here, or an engine that cannot start.

    Args:
        model: who is to be asked.
        engine: key into ``ENGINES``, or "auto"; a model's own goes before it. What the store has needs no engine: it
            is looked at only where the store has no answer of the model yet.
    """
    if model.kind == "rules":
        return
    serving = serving_engine(model, engine)
    if serving not in ("openai", "recorded"):
        yield from _weights_problem(model)
    problem = cannot_start(serving, model) or (cannot_count(model) if serving == "openai" else "")
    if problem and not _was_answered(model.name):
        yield f"{model.name}: engine {serving} cannot start: {problem}"


def _weights_problem(model: ModelSpec) -> Iterator[str]:
    try:
        model.tokenizer_sha256()
    except (ModelError, OSError) as error:
        yield str(error)


def _was_answered(name: str) -> bool:
    if not (paths.home() / "store.sqlite").is_file():
        return False
    with Store() as store:
        return store.has_answer_of(name)
