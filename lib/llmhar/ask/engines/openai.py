"""Any OpenAI-compatible server: a provider's API, or a vLLM server of one's own. In-process; loads no weights.

Requests go out some at a time from one event loop in a thread of its own (a notebook's kernel has its own loop), and
results leave as each is finished. Retries with back-off, and the server's Retry-After, are the ``openai`` package's.

The key comes from the environment and stays in this process: no record, log or error holds it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import httpx2  # what the openai package speaks HTTP with
import openai

from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.worker import seed_of, sentence
from llmhar.ask.models import ModelSpec, Prices
from llmhar.ask.privacy import say_once
from llmhar.records import Fingerprint, Generation, Request

log = logging.getLogger("llmhar.engines")
DEFAULT_URL = "https://api.openai.com/v1"
URL_VARIABLE, KEY_VARIABLES = "LLMHAR_OPENAI_BASE_URL", ("LLMHAR_OPENAI_API_KEY", "OPENAI_API_KEY")
AT_ONCE = 8
"""Requests under way at once, unless ``max_num_seqs`` says otherwise."""
NO_KEY = "none"
"""Sent where no key is set: servers of one's own need none."""
_CURES = {
    400: "check max_tokens, schema and sampling against what this server offers",
    401: f"set {KEY_VARIABLES[0]} to a valid key of this server",
    402: "the account has no credit",
    403: f"the key in {KEY_VARIABLES[0]} may not use this model",
    404: f"check the model's hub_id in models.yaml, and {URL_VARIABLE} (it usually ends in /v1)",
    422: "check max_tokens, schema and sampling against what this server offers",
    429: "lower requests_per_minute or max_num_seqs, or wait",
}
_HOPELESS = (401, 402, 404)
"""What every later request would get as well: it is not sent."""
_STOPS = ("stop", "stop_sequence", "eos", "eos_token", "end", "end_turn", "complete")
"""Servers' words, in any case, for an answer that ended by itself."""
_LENGTHS = ("length", "max_tokens", "model_length")
"""And for one that a limit of tokens cut."""
T = TypeVar("T")


class Cost(NamedTuple):
    """What an engine, or a set of answers, used."""

    n_requests: int
    prompt_tokens: int
    """Cached ones among them."""
    cached_tokens: int
    output_tokens: int
    """Thinking included."""
    usd: float | None
    """US dollars by the prices of models.yaml; None where it has none. Attempts that failed are not in it."""


def cost_of(generations: Iterable[Generation], prices: Prices | None) -> Cost:
    """What these answers cost at these prices, also long after they were made."""
    made = [generation for generation in generations if generation.ok]
    prompt, cached, output = (
        sum(getattr(generation, f"{kind}_tokens") for generation in made) for kind in ("prompt", "cached", "output")
    )
    usd = None
    if prices is not None:
        again = prices.input_usd if prices.cached_usd is None else prices.cached_usd
        usd = ((prompt - cached) * prices.input_usd + cached * again + output * prices.output_usd) / 1e6
    return Cost(len(made), prompt, cached, output, usd)


class _PacedClient(openai.DefaultAsyncHttpxClient):
    """Each attempt, retries among them, waits for its turn and then has so many seconds for the whole answer.

    The time-outs of the HTTP library begin anew with every byte: a server that drips would never end.
    """

    limit_s = 600.0
    gap_s = 0.0
    """Seconds between two attempts."""
    _next_at = 0.0

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        if self.gap_s:
            now = time.monotonic()
            turn = max(now, self._next_at)
            self._next_at = turn + self.gap_s
            await asyncio.sleep(turn - now)
        try:
            async with asyncio.timeout(self.limit_s):
                return await super().send(*args, **kwargs)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("no whole answer") from error  # as which the openai package tries again


class OpenAIEngine:
    """A server behind the engine contract."""

    def __init__(
        self,
        model: ModelSpec,
        *,
        base_url: str | None = None,
        requests_per_minute: float | None = None,
        at_once: int | None = None,
        timeout_s: float = 600.0,
        max_retries: int = 5,
        vllm_server: bool | None = None,
    ) -> None:
        """Make a client and see whether anybody answers.

        Args:
            model: ``hub_id`` is what the server calls it.
            base_url: None = ``LLMHAR_OPENAI_BASE_URL``, else OpenAI's.
            requests_per_minute: most requests sent a minute, retries among them; None = no limit.
            at_once: most requests under way.
            timeout_s: seconds after which an attempt without a whole answer is given up.
            max_retries: attempts after the first, on 408, 409, 429, 5xx, broken connections and time-outs.
            vllm_server: whether it takes vLLM's own parameters (top_k, chat template arguments, thinking budget);
                None = if the model has a thinking switch.

        Raises:
            EngineError: no usable URL, no key where one is needed, or nobody answers.
        """
        self._url, self._key = address_of(base_url)
        self.host = urlsplit(self._url).netloc.rpartition("@")[2]
        self._model, self._n = model, at_once or AT_ONCE
        self._vllm = model.thinking if vllm_server is None else vllm_server
        self._gap_s = 60.0 / requests_per_minute if requests_per_minute else 0.0
        self._timeout_s = timeout_s
        self._limit_field = "max_tokens"
        self._hopeless = ""
        self._made: list[Generation] = []
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="openai-engine", daemon=True)
        self._thread.start()
        try:
            self._client = self._wait(self._connect(max_retries))
        except BaseException:
            self._stop_loop()
            raise

    async def _connect(self, max_retries: int) -> openai.AsyncOpenAI:
        timeout = openai.Timeout(self._timeout_s, connect=min(10.0, self._timeout_s))
        http = _PacedClient(timeout=timeout)
        http.limit_s, http.gap_s = self._timeout_s, self._gap_s
        client = openai.AsyncOpenAI(
            base_url=self._url, api_key=self._key, max_retries=max_retries, timeout=timeout, http_client=http
        )
        try:
            await client.with_options(max_retries=1, timeout=min(30.0, self._timeout_s)).models.with_raw_response.list()
        except openai.AuthenticationError as error:
            await client.close()
            raise EngineError(self._explained(error)) from None
        except openai.APIConnectionError as error:
            await client.close()
            raise EngineError(f"nobody answers at {self._url_shown()} ({self._why(error)}); is the server up, and "
                              f"{URL_VARIABLE} right?") from None  # fmt: skip
        except openai.OpenAIError:
            pass  # no list of models here: the first request will tell
        return client

    def fingerprint(self) -> Fingerprint:
        """The client's version and whose server it is; what runs there, nobody here can know."""
        return Fingerprint("openai", openai.__version__, "", self.host)

    def stream(self, requests: Iterable[Request]) -> Iterator[Generation]:
        """Answer all requests, each as soon as it is ready; a dropped stream takes back what is under way."""
        say_once(urlsplit(self._url).hostname or self.host)
        waiting = iter(requests)
        done: queue.SimpleQueue[Future[Generation]] = queue.SimpleQueue()
        running: set[Future[Generation]] = set()
        try:
            while True:
                for request in itertools.islice(waiting, self._n - len(running)):
                    future = asyncio.run_coroutine_threadsafe(self._answer(request), self._loop)
                    running.add(future)
                    future.add_done_callback(done.put)
                if not running:
                    return
                finished = done.get()
                running.discard(finished)
                yield finished.result()
        finally:
            for future in running:
                future.cancel()

    async def _answer(self, request: Request) -> Generation:
        """One generation, whatever happens."""
        started, fields = time.perf_counter(), {}
        try:
            if self._hopeless:
                raise ValueError(self._hopeless)
            fields = _read(await self._ask(self._body(request)), request.sampling.max_tokens)
        except openai.APIError as problem:
            error = self._explained(problem)
        except ValueError as problem:
            error = str(problem)
        except Exception as problem:  # a request that cannot be sent at all is a failure like any other
            error = sentence(problem)
        else:
            error = str(fields.pop("error"))
        seconds = round(time.perf_counter() - started, 4)
        if error:
            return Generation(request.key, finish_reason="error", error=self._clean(error), seconds=seconds)
        fields |= {name: self._scrub(fields[name]) for name in ("text", "finish_word")}
        made = Generation(request.key, seconds=seconds, **fields)
        self._made.append(made)
        return made

    async def _ask(self, body: dict[str, Any]) -> Any:
        """The server's JSON for one body.

        Raises:
            ValueError: what came back is no JSON.
        """
        limit = body.pop("limit")
        try:
            raw = await self._client.chat.completions.with_raw_response.create(**body, **{self._limit_field: limit})
        except openai.BadRequestError as error:
            # OpenAI's newer models know max_completion_tokens alone, other servers often max_tokens alone.
            if self._limit_field != "max_tokens" or "max_completion_tokens" not in str(error):
                raise
            self._limit_field = "max_completion_tokens"
            raw = await self._client.chat.completions.with_raw_response.create(**body, max_completion_tokens=limit)
        try:
            return json.loads(raw.http_response.content)
        except (ValueError, RecursionError):
            raise ValueError(f"{self.host} answered something that is no JSON; is {URL_VARIABLE} right?") from None

    def _body(self, request: Request) -> dict[str, Any]:
        """The request in the API's words.

        Raises:
            ValueError: it asks for what this server has no word for.
        """
        sampling, extra = request.sampling, {}
        if request.adapter_sha256 is not None:
            raise ValueError("an adapter is not offered by a server: merge it, or serve it under a name of its own")
        vllm_only = {"top_k": sampling.top_k or None, "chat_template_kwargs": dict(request.template_args) or None,
               "thinking_token_budget": sampling.thinking_budget}  # fmt: skip
        extra = {name: value for name, value in vllm_only.items() if value is not None}
        if extra and not self._vllm:
            raise ValueError(
                f"{', '.join(extra)}: not offered by this server; leave it away, or set vllm_server for a vLLM server"
            )
        body = {
            "model": request.model_id,
            "messages": [dict(message) for message in request.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": seed_of(request),
            "limit": sampling.max_tokens,
            "extra_body": extra,
        }
        if request.schema is not None:
            schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _explained(self, error: openai.APIError) -> str:
        """An error of the API as one sentence with the cure."""
        if not isinstance(error, openai.APIStatusError):
            return self._clean(f"{self.host} did not answer: {self._why(error)}")
        status = error.status_code
        cure = _CURES.get(status, "run again later" if status >= 500 else "see the server's documentation")
        explained = self._clean(f"{self.host} answered {status}: {error.message[:300]}; {cure}")
        if status in _HOPELESS:
            self._hopeless = explained
        return explained

    def _why(self, error: openai.APIError) -> str:
        if isinstance(error, openai.APITimeoutError):
            return f"no whole answer within {self._timeout_s:g} s"
        return str(error.__cause__ or error) or type(error).__name__

    def _url_shown(self) -> str:
        parts = urlsplit(self._url)
        return f"{parts.scheme}://{self.host}{parts.path}"

    def _clean(self, text: str) -> str:
        return " ".join(self._scrub(text).split())[:500]

    def _scrub(self, text: str) -> str:
        """Servers quote keys in their errors, and could in their answers."""
        return text.replace(self._key, "***") if len(self._key) >= 8 else text

    def cost(self) -> Cost:
        """What this engine has used so far."""
        return cost_of(self._made, self._model.prices)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def close(self) -> None:
        """End what is under way and the connections; say what it cost."""
        if self._closed:
            return
        self._closed = True
        self._wait(self._end())
        self._stop_loop()
        used = self.cost()
        if used.n_requests:
            price = "price not known" if used.usd is None else f"${used.usd:.4f}"
            log.info("openai: %s, %d answers, %d + %d tokens, %s", self._model.name, used.n_requests,
                     used.prompt_tokens, used.output_tokens, price)  # fmt: skip

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._client.close()

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        if not self._thread.is_alive():
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def address_of(base_url: str | None) -> tuple[str, str]:
    """Base URL and key.

    Raises:
        EngineError: no http(s) URL, or no key where OpenAI's own server needs one.
    """
    url = base_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EngineError(f"{URL_VARIABLE} must be an http(s) URL such as http://127.0.0.1:8000/v1")
    key = os.environ.get(KEY_VARIABLES[0], "")
    if not key and (parts.scheme == "https" or local):  # OpenAI's own variable is not sent over an open network
        key = os.environ.get(KEY_VARIABLES[1], "")
    if not key and url == DEFAULT_URL:
        raise EngineError(f"set {KEY_VARIABLES[0]} to your key, or {URL_VARIABLE} to a server of your own")
    return url, key.strip() or NO_KEY


def _read(body: Any, max_tokens: int) -> dict[str, Any]:
    """Fields of a generation from a chat completion; thinking goes back between its marks.

    Args:
        body: the server's JSON.
        max_tokens: as asked: an answer without any word on its end is cut where it has so many tokens.

    Raises:
        ValueError: it is none; an error that the server sent as a success is quoted.
    """
    try:
        choice, usage = body["choices"][0], body.get("usage") or {}
        message, word = choice["message"], choice.get("finish_reason")
        text, in_parts = _content(message.get("content"))
        thought = in_parts or message.get("reasoning_content") or message.get("reasoning")
        prompt = int(usage.get("prompt_tokens") or 0)
        cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        # Some servers leave thinking out of completion_tokens and count it in the total alone.
        output = max(int(usage.get("completion_tokens") or 0), int(usage.get("total_tokens") or 0) - prompt)
        if not isinstance(thought, str | None) or not isinstance(word, str | None):
            raise TypeError
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        problem = body.get("error") if isinstance(body, dict) else None
        raise ValueError(f"the server's answer is no chat completion{f': {problem}' if problem else ''}") from None
    reason = _reason(word, output >= max_tokens, bool(text))
    if thought:
        unfinished = not text and reason == "length"
        text = f"<think>{thought}" if unfinished else f"<think>{thought}</think>{text}"
    return {
        "text": text,
        "finish_reason": reason,
        "finish_word": word[:40] if word and word != reason else "",
        "error": "" if reason != "error" else f"the server ended the answer: {word or 'no reason given'}",
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "output_tokens": output,
    }


def _content(content: Any) -> tuple[str, str]:
    """Text and thinking of a message's content, which is text, nothing, or a list of parts.

    Raises:
        TypeError, KeyError: a part is neither text nor thinking.
    """
    if isinstance(content, str | None):
        return content or "", ""
    texts: dict[str, list[str]] = {"text": [], "thinking": []}
    for part in content:
        kind = {"output_text": "text", "reasoning": "thinking"}.get(part["type"], part["type"])
        value = part[kind] if kind in part else part["text"]
        texts[kind].append(value if isinstance(value, str) else "".join(_content(value)))
    return "".join(texts["text"]), "".join(texts["thinking"])


def _reason(word: str | None, at_limit: bool, has_text: bool) -> str:
    """What a server's word means: "stop", "length" or "error". Text without any word ended, unless its tokens did."""
    if word is None and has_text:
        return "length" if at_limit else "stop"
    folded = (word or "").casefold()
    return "stop" if folded in _STOPS else "length" if folded in _LENGTHS else "error"
