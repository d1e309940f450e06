"""The loop: look up, ask, store. Parses nothing and scores nothing.

Requests whose answer the store has are never asked again, whoever made it; the engine is opened only if something is
missing, so a warm run loads no weights. Each answer is stored the moment it arrives: a killed run resumes by running
again.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from tqdm import tqdm

from llmhar.ask import meter, recorded_answers
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine, EngineError
from llmhar.ask.engines.registry import effective_options, open_engine, replies_of
from llmhar.ask.models import SERVED_REVISION, HubSource, Mode, ModelError, ModelSpec, NoSource
from llmhar.ask.naming import name_by_reasons
from llmhar.ask.spending import Cost, Estimate, LimitReached, cost_of, estimate
from llmhar.ask.store import Ask, Store
from llmhar.ask.stored import Stored
from llmhar.ask.task import Task
from llmhar.data.events import Window
from llmhar.records import Fingerprint, Generation, Request, Sampling
from llmhar.text.naming import fingerprint
from llmhar.text.parsing import offered_names
from llmhar.text.schema import WHY_CHARS, answer_schema, named_by
from llmhar.text.serialize import event_text

STUDY = Asking()
"""How a study asks where nothing else is said: the likeliest tokens, free text, one sample, any engine."""
HOSTED_TOKENS: dict[Mode, int] = {"thinking": 16_384, "plain": 2048}
"""Tokens that an answer of a hosted model may take, where its entry does not say."""
ITEM_TOKENS, LABEL_BYTES = 64, 40
"""Tokens that an item with a "why" of 80 characters and an activity of so many bytes may take."""
TELLS_LOGPROBS = ("auto", "vllm", "transformers", "onnx", "openai", "ray")
"""Engines that say how likely tokens were; of servers those that offer it."""
PAGE = 2000
"""Asks that are looked up at a time, and answers that a long study holds."""
GIVE_UP_AFTER = 100
"""Failures in a row after which an engine is taken for dead; what is left stays unasked until the next run."""


class Bar(tqdm):
    """A progress bar by a clock that nobody sets: tqdm's own is the time of day, and rates turn negative with it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._time = time.monotonic
        self.start_t = self.last_print_t = self._time()


class Answer(NamedTuple):
    """What the store has for one ask."""

    ask: Ask
    stored: Stored | None
    """None where every attempt failed (or none was made): its events count as missing."""
    error: str
    """Why, in one line."""


class Outcome(NamedTuple):
    """An answer without its question; fields as :class:`Answer`'s."""

    stored: Stored | None
    error: str


@dataclass(frozen=True, slots=True)
class AskedRun:
    """What one pass over a model's asks cost."""

    model: str
    n_asks: int
    n_from_store: int
    n_asked: int
    n_failed: int
    seconds: float
    """Wall time of this pass, engine start included."""
    engine_seconds: float
    """Wall time inside the engine's stream, its start excluded."""
    fingerprint: Fingerprint | None = None
    """The engine that was opened; None where the store had everything."""
    threads: int | None = None
    """Its OpenMP threads; None where none was opened, or it has none of its own."""
    expected: Estimate | None = None
    """What a server's answers were thought to take, before the first; None where no server was asked."""
    cost: Cost | None = None
    """And what they took."""


def request_to(model: ModelSpec, asking: Asking) -> Callable[..., Request]:
    """What all requests to a model share; called with ``messages=`` (and ``schema=``, ``sample_index=``), it makes one.

    What a server answers has neither a revision nor a tokenizer that anybody here can know: its requests say so, and
    are others than those to local weights of the same model, whether these are here or not.

    Args:
        model: who is asked.
        asking: its engine, sampling, draw and thinking count. A thinking budget goes only to models that think: an
            engine would refuse one for thinking that cannot happen.

    Raises:
        ModelError: its tokenizer is not here, and no server has it.
    """
    served = is_served(model, asking.engine)
    tokenizer = "" if served else model.tokenizer_sha256()
    revision = SERVED_REVISION if served and isinstance(model.source, HubSource) else model.revision
    sampling = sampling_of(model, asking)
    if not model.thinking:
        sampling = replace(sampling, thinking_budget=None)
    switch = {"enable_thinking": asking.thinking} if asking.thinking is not None and model.thinking else {}
    return partial(
        Request, model_id=model.hub_id, revision=revision, tokenizer_sha256=tokenizer,
        template_args=model.template_args | switch, sampling=sampling,
        adapter_sha256=model.adapter.sha256 if model.adapter else None,
        adapter_path=str(model.adapter.path) if model.adapter else None,
    )  # fmt: skip


def sampling_of(model: ModelSpec, asking: Asking) -> Sampling:
    """How a model's tokens are drawn, and how many: as its makers recommend for the mode it is asked in, where ``draw``
    says so. "hosted" gives what a server answers room for its mode too: ``max_tokens`` of its entry, else
    :data:`HOSTED_TOKENS`, never less than asked for nor more than half of its context.
    """
    mode: Mode = "thinking" if model.thinking and asking.thinking is not False else "plain"
    recommended = model.sampling.get(mode, {}) if asking.draw != "greedy" else {}
    sampling = replace(asking.sampling, **recommended)  # type: ignore[arg-type]
    if asking.draw != "hosted" or not is_served(model, asking.engine):
        return sampling
    room = min(model.max_tokens.get(mode, HOSTED_TOKENS[mode]), (model.max_context or 2**30) // 2)
    return replace(sampling, max_tokens=max(sampling.max_tokens, room))


def binds_why(model: ModelSpec, asking: Asking) -> bool:
    """Whether bound answers of this model hold a "why" in each item: as asked, else where it cannot think apart."""
    return not model.thinking if asking.why is None else asking.why


def as_taught(model: ModelSpec, asking: Asking) -> Asking:
    """How a model is asked: where its entry says how it was taught to answer so, else as all are."""
    return replace(asking, **model.asked.model_dump()) if model.asked else asking


def item_tokens(task: Task) -> int:
    """Tokens that an item with a "why" may take: long activities need room, and so does a "why" in letters of which a
    token holds a part.
    """
    labels = {name for session in task.sessions.values() for name in offered_names(session.labels).values()}
    longest = max((len(json.dumps(name, ensure_ascii=False).encode()) for name in labels), default=0)
    words = (event_text(event) for window in task.windows for event in window.events)
    plain = all(map(str.isascii, labels)) and all(map(str.isascii, words))
    return ITEM_TOKENS + max(0, longest - LABEL_BYTES) + (0 if plain else 2 * WHY_CHARS)


def make_asks(task: Task, model: ModelSpec, asking: Asking = STUDY) -> list[Ask]:
    """Requests for all windows of a task, ``asking.n_samples`` of each; a student is asked as it was taught."""
    asks_of = asker(task, model, asking)
    return [ask for window in task.windows for ask in asks_of(window)]


def asker(task: Task, model: ModelSpec, asking: Asking = STUDY) -> Callable[[Window], list[Ask]]:
    """What makes the requests for one window of a task, one a sample, the first one first.

    Args:
        task: gives prompts, and how long its longest window is: room for tokens follows it.
        model: who is asked; a student is asked as it was taught.
        asking: how.
    """
    task, asking = task.asked_of(model), as_taught(model, asking)
    why = binds_why(model, asking)
    constrained = asking.constrained and model.kind == "llm"
    if constrained and why:  # ends by itself; its reasons must not be cut
        room = item_tokens(task) * max((len(window.events) for window in task.windows), default=0)
        limits = asking.sampling
        asking = replace(asking, sampling=replace(limits, max_tokens=max(limits.max_tokens, room)))
    logprobs = asking.confidence and not no_confidence(model, asking.engine)
    namer = fingerprint() if asking.named and why and task.answer == "name" else ""
    request = partial(request_to(model, asking), logprobs=logprobs)
    offered = {name: offered_names(session.labels) for name, session in task.sessions.items()} if constrained else {}

    def asks_of(window: Window) -> list[Ask]:
        prompt = task.prompt_of(window)
        messages = prompt.messages(window)
        # A prompt that does not say what answers look like is for students, who learnt it from lessons.
        form: dict[str, Any] = {"why": why, "spaced": not prompt.io_format, "namer": namer}
        labels = offered.get(window.session_id, {})
        schema = answer_schema(len(window.events), labels, task.answer, **form) if constrained else None
        return [
            Ask(task.dataset, window.session_id, window.index, model.name,
                request(messages=messages, schema=schema, sample_index=k), asking.purpose)
            for k in range(asking.n_samples)
        ]  # fmt: skip

    return asks_of


def run_asks(asks: Collection[Ask], model: ModelSpec, store: Store, asking: Asking = STUDY) -> AskedRun:
    """Ask what the store does not have yet, and store each answer as it arrives.

    Args:
        asks: requests of one model, made with ``asking``; gone through again for those that are asked, and never
            listed, so that they may be made on the way (:class:`llmhar.ask.pages.LateAsks`).
        model: whom to ask.
        store: where answers are looked up and kept.
        asking: its engine, engine options, purpose, progress and whether only this engine's answers count.

    Raises:
        EngineError: the engine cannot start.
        StoreError: the store cannot be written.
    """
    start = time.perf_counter()
    timed, wanted = asking.purpose == "timed", set[str]()
    pages = iter(asks)
    while page := list(islice(pages, PAGE)):
        store.note_asks(page)
        requests = {ask.request.key: ask.request for ask in page}
        if isinstance(model.source, HubSource) and is_served(model, asking.engine) and not timed:
            _take_over(requests, model, store)
        wanted |= requests.keys() - (set() if asking.exact else store.answered(list(requests), timed=timed))
    if os.environ.get(recorded_answers.VARIABLE) and not (asking.exact or timed):
        wanted -= recorded_answers.take(store, wanted)
    if not wanted:
        return AskedRun(model.name, len(asks), len(asks), 0, 0, time.perf_counter() - start, 0.0)
    with asking.open_with() if asking.open_with else open_model(model, asking) as opened:
        fingerprint = replace(opened.fingerprint(), options=effective_options(asking.engine_options))
        if asking.exact:
            wanted -= store.answered(list(wanted), fingerprint, timed=timed)
        expected = None
        if wanted and fingerprint.engine == "openai":
            expected = estimate(list(_each_once(asks, wanted)), model)
        if expected:
            print(f"llmhar: before the first request to {fingerprint.device}: {expected}", file=sys.stderr)
        n_failed, engine_seconds = 0, 0.0
        if wanted:
            left = _Left(_each_once(asks, wanted), len(wanted))
            n_failed, engine_seconds = _ask(opened, fingerprint, left, store, asking, model.name)
    cost = None
    if expected:
        cost = cost_of((stored.generation for stored in store.find(list(wanted)).values()), model.prices)
    done = time.perf_counter() - start
    return AskedRun(
        model.name, len(asks), len(asks) - len(wanted), len(wanted), n_failed, done, engine_seconds, fingerprint,
        getattr(opened, "threads", None), expected, cost,
    )  # fmt: skip


def _ask(
    opened: Engine, fingerprint: Fingerprint, wanted: _Left, store: Store, asking: Asking, name: str
) -> tuple[int, float]:
    """One pass: ask everything, store each answer as it arrives; returns failures and seconds.

    Raises:
        EngineError: everything fails, or the run's limit of dollars is reached (LimitReached).
    """
    number = store.begin_pass()
    n_failed = in_a_row = tokens = n_asked = 0
    limit: LimitReached | None = None
    begun = time.perf_counter()
    bar = Bar(total=wanted.n, desc=name, unit="window", mininterval=1.0, disable=not asking.progress)
    pid = getattr(opened, "pid", None)
    cards = meter.cards_of(fingerprint.engine, fingerprint.device, pid)
    with meter.measured(cards=cards) as spent, bar:
        try:
            for answered in opened.stream(iter(wanted)):
                request = wanted.asked.pop(answered.request_key, None)
                if request is None:  # an engine that breaks its contract is reported, its surplus not stored
                    print(f"engine gave an answer nobody asked for: {answered.request_key[:12]}…", file=sys.stderr)
                    continue
                generation = whole_or_failed(answered, request)
                if request.schema is not None and named_by(request.schema):
                    generation = name_by_reasons(generation, request)
                store.add(generation, fingerprint, number, timed=asking.purpose == "timed")
                n_failed, in_a_row = (n_failed, 0) if generation.ok else (n_failed + 1, in_a_row + 1)
                tokens, n_asked = tokens + generation.output_tokens, n_asked + 1
                bar.update()
                if in_a_row == GIVE_UP_AFTER:
                    raise EngineError(f"{name}: {in_a_row} requests failed in a row, the last: {generation.error}")
        except LimitReached as reached:
            limit = LimitReached(f"{reached} ({n_asked} of {wanted.n} requests were sent)")
    seconds = time.perf_counter() - begun
    cost = {"n_asked": n_asked, "seconds": seconds, "output_tokens": tokens, "joules": spent.joules,
            "counters": spent.counters, "peak_bytes": meter.high_water(pid),
            "threads": getattr(opened, "threads", None)}  # fmt: skip
    store.end_pass(number, cost)
    if limit:
        raise limit
    return n_failed, seconds


def refuse_all_failed(name: str, answers: Sequence[Answer | Outcome]) -> None:
    """Where every request failed there is no score: it would be 0 and look like one.

    Args:
        name: who was asked.
        answers: what the store has for all requests of one score.

    Raises:
        EngineError: not one was answered; says how many were asked, and the first one's reason.
    """
    if answers and not any(answer.stored for answer in answers):
        raise EngineError(
            f"{name}: all {len(answers)} requests failed, so there is no F1 and no other score: {answers[0].error}"
        )


def whole_or_failed(generation: Generation, request: Request) -> Generation:
    """The generation; a failure where something else than the request's own token limit cut it.

    An engine's context limit is in no key: an answer that it cut would be served for ever, to everyone.
    """
    made, wanted = generation.output_tokens, request.sampling.max_tokens
    if generation.finish_reason != "length" or not 0 < made < wanted:
        return generation
    problem = f"cut after {made} of {wanted} tokens by the engine's context limit: raise max_model_len"
    return replace(generation, text="", finish_reason="error", error=f"{problem}, or lower max_tokens")


def open_model(model: ModelSpec, asking: Asking) -> Engine:
    """The engine that answers for a model: its own where it has one, with its adapter.

    What is timed is asked of an engine that has answered nothing before.

    Args:
        model: whom to serve.
        asking: its engine, engine options and purpose count.

    Raises:
        EngineError: it cannot start.
    """
    if model.engine == "recorded":
        return open_engine("recorded", model, {"replies": replies_of(model)})
    options = {**asking.engine_options, "stays": asking.purpose != "timed"}
    if model.adapter:
        options = {**options, "adapters": [*options.get("adapters", ()), model.adapter.path]}
    return open_engine(serving_engine(model, asking.engine), model, options)


def serving_engine(model: ModelSpec, engine: str) -> str:
    """The engine that serves a model: its own, else the one that was asked for, which may be "auto".

    Weights that were made here (students, pruned and converted models) are on no server: they are served here, "auto",
    beside models that "openai" answers for.
    """
    if model.engine != "auto":
        return model.engine
    made_here = model.adapter is not None or not isinstance(model.source, HubSource | NoSource)
    return "auto" if engine == "openai" and made_here else engine


def no_confidence(model: ModelSpec, engine: str) -> str:
    """Why nobody can say how likely a model's labels are; empty where its engine can, or a server may.

    Args:
        model: who is asked.
        engine: that was asked for; a model's own goes before it.
    """
    if model.kind != "llm":
        return f"{model.name} gives no confidence: {model.kind} answers are not drawn token by token"
    serving = serving_engine(model, engine)
    return "" if serving in TELLS_LOGPROBS else f"engine {serving} gives {model.name} no probabilities of tokens"


def is_served(model: ModelSpec, engine: str) -> bool:
    """Whether a server answers for a model: no weights, tokenizer or cards are needed here."""
    return serving_engine(model, engine) == "openai"


def _each_once(asks: Iterable[Ask], wanted: Collection[str]) -> Iterator[Request]:
    """The requests with these keys, each the first time that it comes."""
    left = set(wanted)
    for request in (ask.request for ask in asks):
        if request.key in left:
            left.remove(request.key)
            yield request
        if not left:
            return


class _Left:
    """Requests on their way to an engine; only those are held that it has been given and has not answered."""

    def __init__(self, requests: Iterator[Request], n: int) -> None:
        self._requests, self.n = requests, n
        self.asked: dict[str, Request] = {}

    def __iter__(self) -> Iterator[Request]:
        for request in self._requests:
            self.asked[request.key] = request
            yield request


def _take_over(wanted: Mapping[str, Request], model: ModelSpec, store: Store) -> None:
    """Answers of servers whose requests named the pinned revision, as they did until there was one name for any engine,
    are kept under today's requests as well: nothing that was paid for is asked again.
    """
    here = store.find(list(wanted))
    missing = [request for key, request in wanted.items() if key not in here]
    tokenizers = {""}
    with suppress(ModelError):
        tokenizers.add(model.tokenizer_sha256())
    for tokenizer in tokenizers:
        older = {replace(r, revision=model.revision, tokenizer_sha256=tokenizer).key: r for r in missing}
        for key, stored in store.find(list(older)).items():
            if stored.fingerprint.engine == "openai":
                store.add(replace(stored.generation, request_key=older[key].key), stored.fingerprint)


def collect(asks: Sequence[Ask], store: Store, exactly: Fingerprint | None = None) -> list[Answer]:
    """What the store has for these asks, in their order; of ``exactly`` this engine, where one is named."""
    timed = any(ask.purpose == "timed" for ask in asks)
    outcomes = look_up([ask.request.key for ask in asks], store, exactly, timed=timed)
    return [Answer(ask, *outcome) for ask, outcome in zip(asks, outcomes)]


def look_up(
    keys: Sequence[str], store: Store, exactly: Fingerprint | None = None, *, timed: bool = False
) -> list[Outcome]:
    """What the store has under these keys, in their order: the answer, else None and why there is none.

    Args:
        keys: of requests.
        store: where they are looked up.
        exactly: accept answers of this engine alone.
        timed: answers that were asked alone, for their time, instead of all others.
    """
    stored = store.find(keys, exactly, timed=timed)
    reasons = store.failures([key for key in keys if key not in stored], timed=timed)
    return [Outcome(stored.get(key), "" if key in stored else reasons.get(key, "never asked")) for key in keys]
