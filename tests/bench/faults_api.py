"""Claims of "Faults", the API: a server on loopback that refuses, fails, babbles, drips, cuts the line or says nothing.

The server is that of tests/ask/engines/test_openai.py; the client is the ``openai`` engine behind ``run_asks`` and a
store, as in every run. Some windows are hit, the others answered. Each kind of fault is tried twice: passing (a
window's first attempt goes wrong) and lasting (all do, until the server is mended and the run is started again). The
check takes the client, so that tests/proof/test_faults.py can plant one that fails.
``python -m tests.bench.faults --only api`` prints it.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import socketserver
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from llmhar.ask import spending
from llmhar.ask.asking import Asking
from llmhar.ask.engines.base import Engine, EngineError
from llmhar.ask.inference import collect, run_asks
from llmhar.ask.spending import cost_of
from llmhar.ask.store import Ask, Store
from llmhar.records import Generation
from tests.ask.engines import test_openai as fake
from tests.ask.engines.test_contract import ask
from tests.bench.verdicts import Claim, at_most, exactly

TIMEOUT_S, RETRIES = 2.0, 2
"""Of the client: seconds for an attempt, attempts after the first."""
PATIENCE_S = 30.0
"""Most seconds for a run against a server that stays broken: "bounded" is put as a number here. Three attempts of 2 s
and two pauses of at most 1 s make 8 s; the rest is for a busy machine."""
N, HIT = 12, 3
"""Windows of a run, and every how many of them is hit."""
AHEAD_S, EARLY_S, LATE_S = 2, 0.05, 2.0
"""Seconds until the date that a server names; by how much a client may ask before it, as clocks are not read at once;
and how long after it, on a busy machine."""
Reply = Any
"""What the fake server understands: (status, body, headers), "never", "drip", "hang up"; here "cut" and "events" too,
and a function that gives one of these."""
Open = Callable[[fake.Server], Engine]


class Fault(NamedTuple):
    """One way in which a server can be wrong."""

    reply: Reply
    is_tried_again: bool = True
    """Whether the client asks again by itself; else it records the failure at once."""


_WHOLE = fake.completion("an answer with a wrong length")
_EVENTS = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n' * 100


def _until(seconds: float) -> Reply:
    """A reply that asks to wait until that time; dates have whole seconds."""
    return 429, b"", {"Retry-After": formatdate(seconds, usegmt=True)}


FAULTS: dict[str, Fault] = {
    "429, Retry-After 1 s": Fault((429, {"error": {"message": "slow down"}}, {"Retry-After": "1"})),
    "429 without a word": Fault((429, b"", {})),
    "429, Retry-After an hour": Fault((429, {"error": {"message": "quota"}}, {"Retry-After": "3600"}), False),
    "429, Retry-After a date long past": Fault((429, b"", {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})),
    "429, Retry-After a date just ahead": Fault(lambda: _until(time.time() + AHEAD_S)),
    "429, Retry-After a date far ahead": Fault((429, b"", {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}), False),
    "500": Fault((500, {"error": {"message": "on fire"}}, {})),
    "503": Fault((503, b"<html>busy</html>", {"retry-after-ms": "10"})),
    "garbage bytes": Fault((200, bytes(range(256)) * 40, {}), False),
    "a web page": Fault((200, b"<html>welcome</html>", {"Content-Type": "text/html"}), False),
    "JSON of another shape": Fault((200, {"choices": [{"message": ["?"]}]}, {}), False),
    "JSON nested 100,000 deep": Fault((200, b"[" * 100_000, {}), False),
    "half an answer, then the line is cut": Fault("cut"),
    "half an answer, then nothing": Fault((200, _WHOLE, {"Content-Length": "99999"})),
    "more than its Content-Length": Fault((200, _WHOLE, {"Content-Length": "20"}), False),
    "byte after byte, slowly": Fault("drip"),
    "with an unknown finish word": Fault((200, fake.completion("an answer", "weather_changed"), {}), False),
    "without an end": Fault("endless"),
    "with events without an end": Fault("events"),
    "nothing, ever": Fault("never"),
    "by hanging up": Fault("hang up"),
}


class Weather:
    """What the server replies: every hit window gets the fault for so many attempts, all else its own answer."""

    def __init__(self, fault: Fault, hit: Sequence[int], spell: float) -> None:
        self.fault, self.hit, self.spell = fault, set(hit), spell
        self.asked: Counter[int] = Counter()
        """Attempts that arrived, by window."""
        self.given: set[int] = set()
        """Windows that were answered in full at least once."""
        self._lock = threading.Lock()

    def __call__(self, body: dict[str, Any]) -> Reply:
        number = int(body["messages"][-1]["content"].rpartition(" ")[2])
        with self._lock:
            self.asked[number] += 1
            if number in self.hit and self.asked[number] <= self.spell:
                return self.fault.reply() if callable(self.fault.reply) else self.fault.reply
            self.given.add(number)
        return 200, fake.completion(answer(number)), {}

    def clear(self) -> None:
        """The server is mended; its books begin anew."""
        with self._lock:
            self.spell = 0
            self.asked.clear()
            self.given.clear()


def answer(number: int) -> str:
    """The one right answer to a window."""
    return json.dumps([{"id": 0, "activity": number}])


@contextlib.contextmanager
def served(weather: Weather) -> Iterator[fake.Server]:
    """A server with that weather: the unit tests' own; for what theirs cannot do, another."""
    with pytest.MonkeyPatch.context() as patch:
        if weather.fault.reply in ("cut", "events"):
            with _cutting(weather) as server:
                yield server
        else:
            with contextlib.contextmanager(inspect.unwrap(fake.server))(patch) as server:
                server.replies = [weather]
                yield server


@contextlib.contextmanager
def _cutting(weather: Weather) -> Iterator[fake.Server]:
    """A server that sends half of what it announced where the weather says "cut", and events (SSE) without an end where
    it says "events"; one request a connection.
    """

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            head = {}
            first = self.rfile.readline()
            while (line := self.rfile.readline().strip()) and b":" in line:
                head[line.partition(b":")[0].lower()] = line.partition(b":")[2].strip()
            body = self.rfile.read(int(head.get(b"content-length", 0)))
            reply = weather(json.loads(body)) if first.startswith(b"POST") else (200, {"data": []}, {})
            if reply == "events":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
                until = time.monotonic() + 2 * PATIENCE_S  # so that a client that waits without end is missed
                with contextlib.suppress(OSError):  # the client has gone
                    while time.monotonic() < until:
                        self.wfile.write(_EVENTS)
                        time.sleep(0.01)
                return
            content = json.dumps(_WHOLE if reply == "cut" else reply[1]).encode()
            said = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
            said += b"Content-Length: %d\r\n\r\n" % len(content)
            self.wfile.write(said + (content[: len(content) // 2] if reply == "cut" else content))

    class Listening(socketserver.ThreadingTCPServer):
        daemon_threads = allow_reuse_address = True

    with Listening(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield fake.Server(url=f"http://127.0.0.1:{listening.server_address[1]}/v1")
        listening.shutdown()


def open_client(server: fake.Server) -> Engine:
    """The client that is claimed to stand all this."""
    return fake.opened(server, request_timeout_s=TIMEOUT_S, max_retries=RETRIES, max_num_seqs=N)


class Result(NamedTuple):
    """What came of two runs: one in the weather, one after it."""

    lost: list[int]
    """Windows that the server answered in full and whose answer the store does not have, or has otherwise."""
    silent: list[int]
    """Windows without an answer and without a recorded reason."""
    asked_again: list[int]
    """Windows that the second run asked although the store had their answer."""
    still_open: list[int]
    """Windows without the right answer after the second run."""
    reasons: list[str]
    """Why windows failed in the first run."""
    seconds: float
    """Of the first run."""
    ended: str
    """Why the first run ended early; empty: it did not."""

    @property
    def n_wrong(self) -> int:
        """Windows with which anything is wrong."""
        return len({*self.lost, *self.silent, *self.asked_again, *self.still_open})


def run_in(weather: Weather, open_with: Open = open_client, n: int = N) -> Result:
    """Run in the weather, mend the server, run again; see what became of every window."""
    asks = [Ask("bench", "s", i, fake.MODEL.name, ask(f"window {i}")) for i in range(n)]
    with tempfile.TemporaryDirectory() as folder, served(weather) as server, Store(Path(folder, "s.sqlite")) as store:

        def run() -> str:
            try:
                run_asks(asks, fake.MODEL, store, asking=Asking(progress=False, open_with=lambda: open_with(server)))
            except EngineError as error:  # a server that is gone: what it had answered stays
                return str(error)
            return ""

        started = time.perf_counter()
        ended = run()
        seconds = time.perf_counter() - started
        first = collect(asks, store)
        right = [one.stored is not None and one.stored.generation.text == answer(i) for i, one in enumerate(first)]
        invented = [i for i, one in enumerate(first) if one.stored is not None and not right[i]]
        lost = sorted({i for i in weather.given if not right[i]} | set(invented))
        silent = [i for i, one in enumerate(first) if one.stored is None and one.error in ("", "never asked")]
        weather.clear()
        run()
        again = sorted(i for i in weather.asked if first[i].stored is not None)
        last = collect(asks, store)
        still = [i for i, one in enumerate(last) if one.stored is None or one.stored.generation.text != answer(i)]
    reasons = sorted({one.error for one in first if one.stored is None})
    return Result(lost, [] if ended else silent, again, still, reasons, seconds, ended)


def fault_claim(name: str, fault: Fault, open_with: Open = open_client) -> tuple[Claim, float]:
    """One fault, passing and lasting; and the seconds of the longer run."""
    hit = range(0, N, HIT)
    passing = run_in(Weather(fault, hit, 1), open_with)
    lasting = run_in(Weather(fault, hit, math.inf), open_with)
    wrong = passing.n_wrong + lasting.n_wrong
    # A client that gives up at once where it is to ask again has lost nothing, but it has not tried either.
    untried = [reason for reason in passing.reasons if fault.is_tried_again]
    first = "asked again and answered" if not passing.reasons else "recorded with the reason"
    told = _plainly(lasting.reasons[0]) if lasting.reasons else "no reason"
    why = f"{len(hit)} of {N} windows hit; once: {first}; for good: recorded ({told}) and asked in the next run alone"
    if wrong or untried:
        why = f"passing: {_told(passing)}; lasting: {_told(lasting)}"
    name = f"API that answers {name}: windows lost, left without a reason or asked twice"
    return exactly(name, 0, wrong + len(untried), "windows", why=why), max(passing.seconds, lasting.seconds)


def _plainly(reason: str) -> str:
    """A reason without the port, which changes from run to run."""
    host, _, rest = reason.partition(" ")
    return f"{host.partition(':')[0]} {rest}"[:100]


def _told(result: Result) -> str:
    parts = {"lost": result.lost, "without a reason": result.silent, "asked again": result.asked_again,
             "still open": result.still_open, "reasons": [_plainly(reason) for reason in result.reasons]}  # fmt: skip
    return ", ".join(f"{name} {part}" for name, part in parts.items() if part) or "nothing wrong"


def gone_claim(n: int = 160, answered: int = 40, at_once: int = N) -> Claim:
    """A server that is gone after some windows: the run gives up in bounded time and keeps what it has.

    The run gives up after so many failures in a row that what was answered before has long been stored; with fewer of
    them than requests at once, an answer under way could be lost, and would be asked for again.
    """

    def hurried(server: fake.Server) -> Engine:
        return fake.opened(server, request_timeout_s=TIMEOUT_S, max_retries=0, max_num_seqs=at_once)

    result = run_in(Weather(FAULTS["by hanging up"], range(answered, n), math.inf), hurried, n)
    why = f"{answered} of {n} windows answered before; the run ended with: {result.ended.partition(':')[0]}"
    if result.n_wrong or not result.ended:
        why = f"{_told(result)}; ended with: {result.ended or 'nothing: it never gave up'}"
    return exactly("API that is gone in mid-run: windows lost or asked twice", 0,
                   result.n_wrong + (not result.ended), "windows", why=why)  # fmt: skip


ODD: dict[str, Callable[[str], dict[str, Any]]] = {
    "a finish word of its own": lambda text: fake.completion(text, "end_turn"),
    "no finish word": lambda text: fake.completion(text, None),
    "content in parts": lambda text: fake.completion([{"type": "text", "text": one} for one in text]),  # type: ignore[arg-type]
}
"""Replies that are odd and whole: name -> what the server sends for a text."""
USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
PAID_FOR = 5.5
"""Answers that the limit of the run in :func:`limit_claim` has room for."""


class Odd(Weather):
    """Every window is answered at once, in an odd form."""

    def __init__(self, form: Callable[[str], dict[str, Any]]) -> None:
        super().__init__(Fault("none"), (), 0)
        self.form = form

    def __call__(self, body: dict[str, Any]) -> Reply:
        status, _, headers = super().__call__(body)
        return status, self.form(answer(int(body["messages"][-1]["content"].rpartition(" ")[2]))), headers


def odd_claim(name: str, form: Callable[[str], dict[str, Any]], open_with: Open = open_client) -> Claim:
    """Odd replies are read as what they say, and stored."""
    result = run_in(Odd(form), open_with)
    return exactly(f"API that answers with {name}: windows lost, left without a reason or asked twice", 0,
                   result.n_wrong + len(result.reasons), "windows", why=_told(result))  # fmt: skip


class Dated(Weather):
    """A window's first attempt is told to wait until a date."""

    def __init__(self, hit: Sequence[int]) -> None:
        super().__init__(Fault("none"), hit, 1)
        self.waits: dict[int, list[float]] = {}
        """Window -> the date that it was told, then when it was asked again."""

    def __call__(self, body: dict[str, Any]) -> Reply:
        number, now = int(body["messages"][-1]["content"].rpartition(" ")[2]), time.time()
        reply = super().__call__(body)
        with self._lock:
            self.waits.setdefault(number, []).append(now if reply != "none" else int(now) + AHEAD_S)
        return reply if reply != "none" else _until(int(now) + AHEAD_S)


def date_claim(open_with: Open = open_client) -> Claim:
    """A server that names a date just ahead is asked again then: not before, and not much later."""
    weather = Dated(range(0, N, HIT))
    result = run_in(weather, open_with)
    waited = [[at - told for at in later] for i, (told, *later) in weather.waits.items() if i in weather.hit]
    wrong = [waits for waits in waited if not waits or not -EARLY_S <= waits[0] <= LATE_S or len(waits) > 1]
    seconds = ", ".join(f"{wait:.2f}" for waits in waited for wait in waits)
    return exactly("429 with a date just ahead: windows asked before it, long after it, or lost", 0,
                   len(wrong) + result.n_wrong + len(result.reasons), "windows",
                   why=f"asked again {seconds or 'never'} s after it; {_told(result)}")  # fmt: skip


class Billed(Weather):
    """Passing faults of several kinds; every reply in full has tokens of its own, and the server's books have them."""

    kinds: Sequence[Reply] = (None, (429, b"", {"retry-after-ms": "5"}), (500, b"", {}), "hang up", "refused")

    def __init__(self) -> None:
        super().__init__(Fault("none"), (), 0)
        self.billed: list[tuple[int, int, int]] = []
        """Tokens read, those of them that were cached, and tokens written."""
        self.spell = 1

    def __call__(self, body: dict[str, Any]) -> Reply:
        number = int(body["messages"][-1]["content"].rpartition(" ")[2])
        super().__call__(body)
        kind = self.kinds[number % len(self.kinds)] if self.asked[number] <= self.spell else None
        if kind not in (None, "refused"):
            return kind
        read, again, written = 1000 + 7 * number, 64 * (number % 3), 100 + 3 * number
        with self._lock:
            self.billed.append((read, again, written))
        usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
                 "prompt_tokens_details": {"cached_tokens": again}}  # fmt: skip
        return 200, fake.completion(answer(number), "content_filter" if kind else "stop", usage), {}


def cost_claim(open_with: Open = open_client, n: int = N) -> Claim:
    """What retries and failures cost is counted to the token, by the server's own books: where a server reports tokens
    of an answer that it ends itself, they are paid for and no answer; an attempt that is refused costs nothing.
    """
    weather, prices = Billed(), fake.MODEL.prices
    asks = [Ask("bench", "s", i, fake.MODEL.name, ask(f"window {i}")) for i in range(n)]
    with (tempfile.TemporaryDirectory() as folder, served(weather) as server, pytest.MonkeyPatch.context() as patch,
          Store(Path(folder, "s.sqlite")) as store):  # fmt: skip
        patch.setenv(spending.LEDGER, str(Path(folder, "spent.txt")))
        patch.setenv(spending.LIMIT, "1000")
        for _ in range(2):
            run_asks(asks, fake.MODEL, store, asking=Asking(progress=False, open_with=lambda: open_with(server)))
            weather.spell = 0  # the second run asks what failed
        counted = sum(float(line.split()[0]) for line in Path(folder, "spent.txt").read_text().splitlines())
        made = [one.stored.generation for one in collect(asks, store) if one.stored is not None]
    read, again, written = map(sum, zip(*weather.billed))
    true = ((read - again) * prices.input_usd + again * prices.cached_usd + written * prices.output_usd) / 1e6
    kept = sorted((one.prompt_tokens, one.cached_tokens, one.output_tokens) for one in made)
    refused = [i for i in range(n) if weather.kinds[i % len(weather.kinds)] == "refused"]
    bill = Counter(weather.billed) - Counter({(1000 + 7 * i, 64 * (i % 3), 100 + 3 * i): 1 for i in refused})
    wrong = int(abs(counted - true) > 1e-9) + (kept != sorted(bill.elements())) + (len(made) != n)
    why = f"${counted:.6f} counted, ${true:.6f} by the server's books of {len(weather.billed)} replies; {len(made)} of "
    why += f"{n} answers kept, {len(refused)} paid for and ended by the server, {sum(weather.asked.values())} attempts"
    return exactly("cost under retries and failures: sums and tokens that are wrong", 0, wrong, "faults", why=why)


def limit_claim(open_with: Open = open_client, n: int = N) -> Claim:
    """A limit of dollars is reached in mid-run; with more the next run asks the rest: all is counted to the token."""
    weather = Odd(lambda text: fake.completion(text, usage=USAGE))
    asks = [Ask("bench", "s", i, fake.MODEL.name, ask(f"window {i}")) for i in range(n)]
    each = cost_of([Generation("", prompt_tokens=1000, output_tokens=100)], fake.MODEL.prices).usd or 0.0
    said, spent = "", list[float]()
    with (tempfile.TemporaryDirectory() as folder, served(weather) as server, pytest.MonkeyPatch.context() as patch,
          Store(Path(folder, "s.sqlite")) as store):  # fmt: skip
        for number, limit in enumerate((PAID_FOR * each, 1000 * each)):
            ledger = Path(folder, f"spent-{number}.txt")
            patch.setenv(spending.LEDGER, str(ledger))
            patch.setenv(spending.LIMIT, repr(limit))
            try:
                run_asks(asks, fake.MODEL, store, asking=Asking(progress=False, open_with=lambda: open_with(server)))
            except EngineError as error:
                said = str(error)
            spent.append(sum(float(line.split()[0]) for line in ledger.read_text().splitlines()))
        found = store.find([one.request.key for one in asks])
    wrong = [i for i, one in enumerate(asks) if one.request.key not in found or weather.asked[i] != 1]
    wanted = (int(PAID_FOR) * each, (n - int(PAID_FOR)) * each)
    off = [f"${one:.6f} counted, ${true:.6f} used" for one, true in zip(spent, wanted) if abs(one - true) > each / 1e6]
    why = f"limit of {PAID_FOR:g} answers, {n} windows, then more: {said[:120] or 'it was never reached'}"
    return exactly("a limit of dollars in mid-run: windows lost or asked twice, sums that are wrong", 0,
                   len(wrong) + len(off) + (not said), "faults", why="; ".join([why, *off]))  # fmt: skip


def patience_claim(seconds: float, name: str) -> Claim:
    """A server that stays broken does not hold a run up."""
    why = f"the longest: {name}; {RETRIES + 1} attempts of {TIMEOUT_S:g} s each, {N} windows at once"
    return at_most("API that stays broken: seconds until the run ends", PATIENCE_S, seconds, "s", why=why)


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of the API; ``quick`` tries one fault of each kind."""
    names = ("429, Retry-After 1 s", "500", "garbage bytes", "by hanging up") if quick else tuple(FAULTS)
    found, longest, slowest = [], 0.0, ""
    for name in names:
        claim, seconds = fault_claim(name, FAULTS[name])
        found.append(claim)
        if seconds > longest:
            longest, slowest = seconds, name
    return [
        *found,
        *(odd_claim(name, form) for name, form in ODD.items()),
        gone_claim(),
        date_claim(),
        limit_claim(),
        cost_claim(),
        patience_claim(longest, slowest),
    ]
