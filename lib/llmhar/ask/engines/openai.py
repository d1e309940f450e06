"""Any OpenAI-compatible server: a provider's API, or a vLLM server of one's own. In-process; loads no weights.

Requests go out some at a time from one event loop in a thread of its own (a notebook's kernel has its own loop), and
results leave as each is finished. Retries with back-off, and the server's Retry-After, are the ``openai`` package's.

The key comes from the environment and stays in this process: no record, log or error holds it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2  # what the openai package speaks HTTP with
import openai

from llmhar.ask.engines.addresses import KEY_VARIABLES, URL_VARIABLE, address_of, host_of, say_once
from llmhar.ask.engines.base import EngineError
from llmhar.ask.engines.completions import read_completion, wished_wait
from llmhar.ask.engines.logprobs import TOP
from llmhar.ask.engines.worker import seed_of, sentence
from llmhar.ask.models import ModelSpec
from llmhar.ask.spending import Cost, Purse, cost_of
from llmhar.records import Fingerprint, Generation, Request

log = logging.getLogger("llmhar.engines")
AT_ONCE = 8
"""Requests under way at once, unless ``max_num_seqs`` says otherwise."""
_CURES = {
    400: "check max_tokens, schema and sampling against what this server offers",
    401: "set {key} to a valid key of this server",
    402: "the account has no credit",
    403: "the key in {key} may not use this model",
    404: f"check the model's hub_id in models.yaml, and its address or {URL_VARIABLE} (it usually ends in /v1)",
    422: "check max_tokens, schema and sampling against what this server offers",
    429: "lower requests_per_minute or max_num_seqs, or wait",
}
_BUSY = (429, 503)
LONGEST_WAIT_S = 900.0
"""Seconds that a server may ask to wait; of a longer wait the user is told, and nothing more is sent."""
_HOPELESS = (401, 402, 404)
"""What every later request would get as well: it is not sent."""
_LOGPROBS = {"logprobs": True, "top_logprobs": TOP}
T = TypeVar("T")


MOST_BYTES = 64 * 2**20
"""Most bytes of one reply; the longest answers with the probabilities of all their tokens have a quarter of that."""


class _Bounded(httpx2.AsyncByteStream):
    """A reply's body, given up where it grows beyond :data:`MOST_BYTES`: a stream that never ends would fill memory."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > MOST_BYTES:
                raise httpx2.ReadError(f"its answer has no end: more than {MOST_BYTES:,} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: Any) -> None:
    response.stream = _Bounded(response.stream)


class _PacedClient(openai.DefaultAsyncHttpxClient):
    """Each attempt, retries among them, waits for its turn and then has so many seconds for the whole answer.

    The time-outs of the HTTP library begin anew with every byte: a server that drips would never end. Where a server
    asks to wait (Retry-After), everybody waits: the openai package holds back that one request alone, and does not try
    again where it is asked to wait longer than it likes.
    """

    limit_s = 600.0
    gap_s = 0.0
    """Seconds between two attempts."""
    _next_at = 0.0

    async def send(self, *args: Any, **kwargs: Any) -> Any:
        while (wait := self._next_at - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        self._next_at = time.monotonic() + self.gap_s
        try:
            async with asyncio.timeout(self.limit_s):
                response = await super().send(*args, **kwargs)
        except TimeoutError as error:
            raise httpx2.ReadTimeout("no whole answer") from error  # as which the openai package tries again
        wait = wished_wait(response.headers) if response.status_code in _BUSY else 0.0
        if 0 < wait <= LONGEST_WAIT_S:
            self._next_at = max(self._next_at, time.monotonic() + wait)
            for name in ("retry-after", "retry-after-ms"):  # waited for here, however long
                response.headers.pop(name, None)
        return response


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
            model: ``hub_id`` is what the server calls it; its ``server`` says what is not given here.
            base_url: None = the model's own, else ``LLMHAR_OPENAI_BASE_URL``, else OpenAI's.
            requests_per_minute: most requests sent a minute, retries among them; None = the model's own limit.
            at_once: most requests under way; None = the model's own limit, else :data:`AT_ONCE`.
            timeout_s: seconds after which an attempt without a whole answer is given up.
            max_retries: attempts after the first, on 408, 409, 429, 5xx, broken connections and time-outs.
            vllm_server: whether it takes vLLM's own parameters (top_k, chat template arguments, thinking budget);
                None = if the model has a thinking switch.

        Raises:
            EngineError: no usable URL, no key where one is needed, or nobody answers.
        """
        self._url, self._key = address_of(base_url, model)
        self.host = host_of(self._url)
        self._model, self._n = model, at_once or model.server.at_once or AT_ONCE
        say_once(self._url)
        self._vllm = model.thinking if vllm_server is None else vllm_server
        pace = requests_per_minute or model.server.requests_per_minute
        self._gap_s = 60.0 / pace if pace else 0.0
        self._timeout_s = timeout_s
        self._limit_field, self._tells_logprobs = "max_tokens", True
        self._hopeless = ""
        self._purse = Purse(model)
        self._used = cost_of([], model.prices)
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
        http = _PacedClient(timeout=timeout, event_hooks={"response": [_bound]})
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
        """Answer all requests, each as soon as it is ready; a dropped stream takes back what is under way.

        Raises:
            LimitReached: the run's limit of dollars leaves no room for the next request, and all sent ones were
                answered.
        """
        waiting = iter(requests)
        done: queue.SimpleQueue[Future[Generation]] = queue.SimpleQueue()
        running: set[Future[Generation]] = set()
        following = next(waiting, None)
        try:
            while following is not None or running:
                while following is not None and len(running) < self._n and self._purse.may_send(len(running)):
                    answer = self._answer(following, self._purse.reserve())
                    running.add(future := asyncio.run_coroutine_threadsafe(answer, self._loop))
                    future.add_done_callback(done.put)
                    following = next(waiting, None)
                if not running:
                    raise self._purse.reached()
                finished = done.get()
                running.discard(finished)
                yield finished.result()
        finally:
            for future in running:
                future.cancel()

    async def _answer(self, request: Request, reserved: float) -> Generation:
        """One generation, whatever happens; what it took is counted in place of what was reserved."""
        started, fields, error = time.perf_counter(), dict[str, Any](), ""
        try:
            if self._hopeless:
                raise ValueError(self._hopeless)
            fields = read_completion(await self._ask(self._body(request)), request.sampling.max_tokens)
            error = str(fields.pop("error"))
        except openai.APIError as problem:
            error = self._explained(problem)
        except ValueError as problem:
            error = str(problem)
        except Exception as problem:  # a request that cannot be sent at all is a failure like any other
            error = sentence(problem)
        seconds = round(time.perf_counter() - started, 4)
        if error:
            fields |= {"text": "", "finish_reason": "error", "finish_word": "", "error": self._clean(error)}
        if not request.logprobs or self._scrub(fields["text"]) != fields["text"]:
            fields["logprobs"] = ""  # they are of other characters than what is kept
        fields |= {name: self._scrub(fields[name]) for name in ("text", "finish_word")}
        made = Generation(request.key, seconds=seconds, **fields)
        self._purse.settle(reserved, request, made)
        if made.ok:
            self._used = self._used.plus(cost_of([made], self._model.prices))
        return made

    async def _ask(self, body: dict[str, Any]) -> Any:
        """The server's JSON for one body.

        Raises:
            ValueError: what came back is no JSON.
        """
        if not self._tells_logprobs:
            body = {name: value for name, value in body.items() if name not in _LOGPROBS}
        try:
            return await self._send(dict(body))
        except openai.APIStatusError as error:
            if "logprobs" not in body or "logprobs" not in str(error):
                raise
        log.warning("%s offers no probabilities of tokens: %s is asked without", self.host, self._model.name)
        self._tells_logprobs = False
        return await self._ask(body)

    async def _send(self, body: dict[str, Any]) -> Any:
        """The server's JSON for a body that it may refuse.

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
        if request.logprobs:
            body |= _LOGPROBS
        if request.schema is not None:
            plain = {key: value for key, value in request.schema.items() if key != "$comment"}  # servers may refuse it
            schema = {"name": "answer", "schema": plain, "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _explained(self, error: openai.APIError) -> str:
        """An error of the API as one sentence with the cure."""
        if not isinstance(error, openai.APIStatusError):
            return self._clean(f"{self.host} did not answer: {self._why(error)}")
        status = error.status_code
        cure = _CURES.get(status, "run again later" if status >= 500 else "see the server's documentation")
        cure = cure.replace("{key}", self._model.server.key_variable or KEY_VARIABLES[0])
        wait = wished_wait(error.response.headers) if status in _BUSY else 0.0
        if wait > LONGEST_WAIT_S:
            cure = f"it asks to wait {wait:,.0f} s: run again then"
        explained = self._clean(f"{self.host} answered {status}: {error.message[:300]}; {cure}")
        if status in _HOPELESS or wait > LONGEST_WAIT_S:
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
        return self._used

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
