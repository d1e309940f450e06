"""Engine "ray": who has which request (no Ray), a replica by itself (no Ray), then two raylets on this machine."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from llmhar.ask import inference
from llmhar.ask.asking import Asking
from llmhar.ask.engines.ray import engine as ray_engine
from llmhar.ask.engines.ray.desk import MAX_LOSSES, Desk, Seat
from llmhar.ask.engines.ray.engine import choose_places
from llmhar.ask.engines.ray.replica import Replica, ReplicaLost
from llmhar.ask.engines.registry import EngineError, open_engine
from llmhar.ask.store import Ask, Store
from llmhar.cli import app
from llmhar.records import Fingerprint, Generation
from llmhar.run import report
from tests.bench import scale
from tests.bench.scale import MODEL, ask

TEXT = '[{"id":0,"activity":"Cooking"}]'


# Who has which request.


def test_few_requests_are_spread_over_all_seats_and_no_more_are_pulled_than_there_is_room():
    pulled = []
    desk = Desk(pulled.append(n) or ask(n) for n in range(100))
    seats = [Seat(room=5), Seat(room=3)]
    desk.deal(seats)
    assert (len(pulled), [len(seat.held) for seat in seats]) == (8, [5, 3])
    desk = Desk(ask(n) for n in range(4))
    desk.deal(seats := [Seat(room=50), Seat(room=50)])
    assert [len(seat.held) for seat in seats] == [2, 2] and desk.empty


@pytest.mark.parametrize("seed", range(100))
def test_whatever_is_lost_each_request_ends_once(seed):
    """Replicas come, answer in any order, repeat themselves and are lost; at last all are lost."""
    dice, n = random.Random(seed), 60
    desk, seats, done = Desk(ask(i) for i in range(n)), [Seat(room=dice.randint(1, 9)) for _ in range(3)], Counter()
    while seats:
        desk.deal(seats)
        for seat in seats:
            seat.take_unsent()
        assert all(len(seat.held) <= seat.room for seat in seats)
        seat = dice.choice(seats)
        if dice.random() < 0.06:
            seats.remove(seat)
            done.update(g.request_key for g in desk.lost(seat, "power cut"))
        for number in dice.sample(list(seat.held), len(seat.held) // 2):
            key = seat.held[number].key
            done.update([key] * (desk.answered(seat, number) + desk.answered(seat, number)))
        if dice.random() < 0.03:
            seats.append(Seat(room=4))
    done.update(g.request_key for g in desk.rest("nobody is left"))
    assert done == Counter(ask(i).key for i in range(n))


def test_a_request_that_kills_replicas_fails_after_three_and_takes_no_other_along():
    poison, desk = ask(7).key, Desk(ask(n) for n in range(20))
    seats, failed = [Seat(room=10) for _ in range(6)], []
    for _ in range(200):
        desk.deal(seats)
        for seat in list(seats):
            seat.take_unsent()
            if any(request.key == poison for request in seat.held.values()):
                seats.remove(seat)
                failed += desk.lost(seat, "out of memory")
            elif seat.held:
                desk.answered(seat, next(iter(seat.held)))
    assert [g.request_key for g in failed] == [poison] and len(seats) == 6 - MAX_LOSSES
    assert f"{MAX_LOSSES} replicas were lost" in failed[0].error and "out of memory" in failed[0].error
    assert desk.empty and not any(seat.held for seat in seats)


def test_what_was_never_sent_is_not_blamed():
    desk = Desk(ask(n) for n in range(5))
    for _ in range(MAX_LOSSES + 1):
        desk.deal([seat := Seat(room=9)])
        assert desk.lost(seat, "lost before anything was sent") == [] and not seat.held
    assert len(list(desk.rest("x"))) == 5


def node(name: str, alive: bool = True, **resources: float) -> dict:
    return {"NodeID": name, "NodeManagerAddress": name, "Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "replicas", "gpus", "expected"),
    [
        ([node("a", CPU=8), node("b", CPU=8)], None, 1, ["a", "b"]),  # no cards anywhere: one a node
        ([node("a", CPU=2), node("b", CPU=2)], 3, 0, ["a", "b", "a"]),
        ([node("a", CPU=8), node("b", CPU=8, alive=False)], None, 0, ["a"]),
        ([node("a", CPU=8), node("b", CPU=9, GPU=4), node("c", CPU=9, GPU=2)], None, 2, ["b", "c", "b"]),
        ([node("a", CPU=0), node("b", CPU=1, GPU=8)], None, 1, ["b"]),  # each replica needs a CPU too
        ([node("a", CPU=4, GPU=2)], None, 0, ["a"]),  # an engine that needs no card
    ],
)
def test_places(nodes, replicas, gpus, expected):
    places = choose_places(nodes, replicas, gpus)
    assert [place.node for place in places] == expected
    cards = any(n["Resources"].get("GPU") for n in nodes) and gpus
    assert {place.gpus for place in places} == {gpus if cards else 0}


@pytest.mark.parametrize(
    ("nodes", "replicas", "gpus", "words"),
    [([node("a", CPU=2)], 3, 0, "room for 2"), ([node("a", CPU=2)], 0, 0, "choose 1 to 2"),
     ([node("a", CPU=8, GPU=1)], None, 2, "offers 2 cards"), ([], None, 0, "offers a CPU")],
)  # fmt: skip
def test_no_place(nodes, replicas, gpus, words):
    with pytest.raises(EngineError, match=words):
        choose_places(nodes, replicas, gpus)


# A replica by itself.


@pytest.fixture
def replies(tmp_path) -> Path:
    return scale.write_replies(tmp_path)


@pytest.fixture
def replica(replies):
    made = Replica()
    told = made.open(MODEL.model_dump_json(), "recorded", {"replies": str(replies)})
    assert (told["fingerprint"]["engine"], told["in_flight"]) == ("recorded", 1)
    yield made
    made.close()
    made.close()


def collect(replica: Replica, session: int, given: list, n: int) -> dict[int, dict]:
    done: list = []
    while len(done) < n:
        done += replica.exchange(session, given)
        given = []
    assert len(done) == n
    return dict(done)


def test_a_replica_answers_each_number_once_also_of_equal_requests(replica):
    given = [(n, ask(n // 2).to_json()) for n in range(10)]
    found = collect(replica, 1, given, 10)
    assert {number: fields["request_key"] for number, fields in found.items()} == {
        n: ask(n // 2).key for n in range(10)
    }
    assert collect(replica, 1, [(99, ask(1).to_json())], 1)[99]["text"] == TEXT  # the session goes on


def test_dropping_a_session_ends_the_waiting_and_the_next_gets_only_its_own(tmp_path, replica):
    waited = []
    thread = threading.Thread(target=lambda: waited.append(replica.exchange(1, [])))
    thread.start()
    replica.drop(1)
    thread.join(5)
    assert waited == [[]]
    assert set(collect(replica, 2, [(n, ask(n).to_json()) for n in range(5)], 5)) == set(range(5))
    assert replica.exchange(1, [(77, ask(0).to_json())]) == []  # a call of the dropped session that comes late


class Gone:
    """An engine whose process has died: fails whatever it is given, at once."""

    def __init__(self, pid: int):
        self.pid = pid

    def stream(self, requests):
        for request in requests:
            yield Generation(request.key, finish_reason="error", error="the process ended while it worked (SIGKILL)")

    def close(self): ...


def test_a_replica_whose_engine_died_is_lost_instead_of_failing_everything(replica, monkeypatch):
    free = next(pid for pid in itertools.count(400_000) if not psutil.pid_exists(pid))
    replica._engine = Gone(free)
    with pytest.raises(ReplicaLost, match="SIGKILL"):
        replica.exchange(1, [(0, ask(0).to_json())])
    replica._engine = Gone(os.getpid())  # alive: a failure is an answer
    assert replica.exchange(2, [(0, ask(0).to_json())])[0][1]["error"]
    replica._engine = None
    with pytest.raises(ReplicaLost, match="closed"):
        replica.exchange(3, [])


def test_an_engine_that_breaks_its_contract_is_no_endless_wait(replica):
    class Silent(Gone):
        def stream(self, requests):
            list(requests)
            yield from ()

    class Breaks(Gone):
        def stream(self, requests):
            yield Generation(next(iter(requests)).key, TEXT, "stop")
            raise ValueError("out of ideas")

    replica._engine = Silent(os.getpid())
    assert "no answer" in collect(replica, 1, [(n, ask(n).to_json()) for n in range(3)], 3)[1]["error"]
    replica._engine = Breaks(os.getpid())
    assert replica.exchange(2, [(0, ask(0).to_json())])[0][1]["text"] == TEXT
    with pytest.raises(ReplicaLost, match="out of ideas"):
        replica.exchange(2, [])


def test_a_replica_that_cannot_start_names_the_node(tmp_path):
    with pytest.raises(EngineError, match=r"on .+: cannot read the replies"):
        Replica().open(MODEL.model_dump_json(), "recorded", {"replies": str(tmp_path / "none.jsonl")})


# Before any cluster is there.


def test_errors_before_anything_starts(monkeypatch, replies):
    monkeypatch.delenv("LLMHAR_RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(EngineError, match="makes no sense"):
        open_engine("ray", MODEL, {"replica_engine": "ray"})
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match="pip install"):
        open_engine("ray", MODEL, {"replies": replies})
    monkeypatch.undo()
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(EngineError, match="--address HOST:6379"):
        open_engine("ray", MODEL, {"replies": replies})
    started = time.monotonic()
    with pytest.raises(EngineError, match=r"no Ray cluster answers at 127\.0\.0\.1:9 "):
        open_engine("ray", MODEL, {"replies": replies, "ray_address": "127.0.0.1:9"})
    assert time.monotonic() - started < 5


def test_the_command_line_hands_the_address_to_the_notebooks(monkeypatch):
    seen = {}
    monkeypatch.setenv("LLMHAR_RAY_ADDRESS", "")
    monkeypatch.setattr(
        report, "run_jobs", lambda jobs, n, force: seen.update(jobs=jobs, at=os.environ["LLMHAR_RAY_ADDRESS"]) or []
    )
    called = CliRunner().invoke(app, ["run", "smoke", "02", "--engine", "ray", "--address", "10.0.0.1:6379", "--json"])
    assert called.exit_code == 0, called.output
    assert (seen["jobs"][0].spec.params["engine"], seen["at"]) == ("ray", "10.0.0.1:6379")
    refused = CliRunner().invoke(app, ["run", "smoke", "02", "--address", "10.0.0.1:6379"])
    assert refused.exit_code == 2 and "--engine ray" in refused.output


# Checks of the bench, on planted faults that need no cluster.


class Sleeper:
    """Answers after a while; ``hoards`` keeps so many bytes of each answer."""

    def __init__(self, delay_s: float = 0.0, hoards: int = 0, sleep=time.sleep):
        self.delay_s, self.hoards, self.sleep, self.kept = delay_s, hoards, sleep, []

    def fingerprint(self):
        return Fingerprint("sleeper", "1", "", "")

    def stream(self, requests):
        for request in requests:
            self.sleep(self.delay_s)
            self.kept.append(os.urandom(self.hoards))
            yield Generation(request.key, TEXT, "stop")

    def close(self): ...

    def __enter__(self):
        return self

    def __exit__(self, *exc): ...


class Clock:
    """Goes on only while somebody sleeps: no load of the machine moves it."""

    now_s = 0.0

    def perf_counter(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


def test_the_speedup_check_sees_a_second_node_that_does_nothing(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(scale, "time", clock)
    twice = scale.speedup(lambda replicas: Sleeper(0.004 / replicas, sleep=clock.sleep), n=40, rounds=1)
    assert twice.verdict == "met"
    idle = scale.speedup(lambda replicas: Sleeper(0.004, sleep=clock.sleep), n=40, rounds=1)
    assert idle.verdict == "missed" and "misses the figure" in idle.why


def test_the_memory_check_sees_an_engine_that_hoards(tmp_path):
    assert scale.flat_memory(Sleeper(), tmp_path, n=1000).verdict == "met"
    assert scale.flat_memory(Sleeper(hoards=500_000), tmp_path, n=1000).verdict == "missed"


class Doubles(Sleeper):
    """Hands on what a lost replica held, and gives what that one still sends as well."""

    def stream(self, requests):
        for generation in super().stream(requests):
            yield from [generation] * (1 + (len(self.kept) in (50, 51)))


def test_the_check_sees_answers_given_twice(tmp_path):
    found = scale.survival(Doubles(), lambda: None, tmp_path, n=60)
    assert [claim.verdict for claim in found] == ["met", "met", "missed"] and found[2].measured == "2", found


def test_the_check_sees_answers_that_were_lost(tmp_path):
    class Loses(Sleeper):
        def stream(self, requests):
            yield from itertools.islice(super().stream(requests), 57)

    found = scale.survival(Loses(), lambda: None, tmp_path, n=60)
    assert [claim.verdict for claim in found] == ["met", "missed", "met"] and found[1].measured == "3", found


def test_without_ray_nothing_is_claimed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert {claim.verdict for claim in scale.claims()} == {"not measured"}


# Two raylets.


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason='Ray is not installed: pip install "ray[default]==2.60.0"')
    with scale.two_nodes() as made:
        yield made


@pytest.fixture(scope="module")
def slow(tmp_path_factory) -> Path:
    return scale.write_replies(tmp_path_factory.mktemp("replies"), 0.01)


@pytest.fixture(scope="module")
def engine(cluster, slow):
    """Two replicas, one a node; tests further down take them one after another."""
    with scale.open_ray(cluster.address, slow, 2) as opened:
        yield opened


def check(engine, requests, n_ok=None):
    found = list(engine.stream(iter(requests)))
    assert Counter(g.request_key for g in found) == Counter(r.key for r in requests)
    assert sum(g.ok for g in found) == (len(requests) if n_ok is None else n_ok), [g.error for g in found if not g.ok]
    return found


def test_a_replica_that_cannot_start_says_why(cluster, tmp_path):
    # First of those with a cluster: a node that a later test kills is listed as alive for some seconds.
    with pytest.raises(EngineError, match=r"no replica could start.*cannot read the replies"):
        scale.open_ray(cluster.address, tmp_path / "none.jsonl", 1)
    assert ray_engine._users == 0


def test_the_contract(engine):
    assert len(engine.hosts) == 2 and engine.fingerprint().engine == "recorded"
    assert list(engine.stream([])) == []
    assert {g.text for g in check(engine, [ask(n) for n in range(50)])} == {TEXT}
    check(engine, [ask(n % 3) for n in range(9)])  # equal requests get an answer each
    first = engine.stream([ask(0), ask(1)])
    next(first)
    with pytest.raises(RuntimeError, match="another stream"):
        next(engine.stream([ask(2)]))
    first.close()


def test_back_pressure_and_a_dropped_stream(engine):
    pulled = []
    stream = engine.stream(pulled.append(n) or ask(n) for n in range(5000))
    for seen, _ in enumerate(itertools.islice(stream, 300), start=1):
        assert len(pulled) - seen <= 2 * 33 + 2 * 33  # held by replicas, and answers that came in one message
    stream.close()
    assert len(pulled) < 1000
    check(engine, [ask(n) for n in range(20)])


def test_a_run_resumes_by_key(engine, tmp_path):
    asks = [Ask("d", "s", n, MODEL.name, ask(n)) for n in range(40)]
    with Store(tmp_path / "s.sqlite") as store:
        asking = Asking(progress=False, open_with=lambda: scale.Watched(engine, lambda n: None))
        assert inference.run_asks(asks[:25], MODEL, store, asking).n_asked == 25
        assert inference.run_asks(asks, MODEL, store, asking).n_asked == 15
        assert inference.run_asks(asks, MODEL, store, asking).n_asked == 0
        assert store.counts()["successes"] == 40


def test_a_node_killed_in_mid_run_loses_nothing(engine, cluster, tmp_path):
    found = scale.survival(engine, lambda: scale.remove_a_node(cluster), tmp_path, n=600, limit_s=60)
    assert [claim.verdict for claim in found] == ["met"] * 3, found
    assert len(engine.hosts) == 1


def test_the_check_sees_a_pool_that_waits_for_a_lost_replica_then_all_are_lost(engine, tmp_path, monkeypatch):
    """As Ray's own ActorPool did: the replica is to be restarted where there is no room."""

    never = []

    def waits(seat, desk, why):
        never.append(engine._ray.remote(num_cpus=10_000)(lambda: None).remote())
        engine._calls[never[-1]] = seat
        return []

    monkeypatch.setattr(engine, "_lose", waits)
    found = scale.survival(
        engine,
        lambda: engine._ray.kill(engine._seats[0].actor),
        tmp_path,
        n=300,
        limit_s=4,
        what="planted: no hand-over",
    )
    assert [claim.verdict for claim in found] == ["missed", "missed", "met"], found
    assert "still waiting" in found[0].why
    monkeypatch.undo()
    engine._ray.cancel(never[-1])  # let the run's thread end
    deadline = time.monotonic() + 20
    while engine._streaming and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not engine._streaming and engine.hosts == []
    lost = check(engine, [ask(n) for n in range(5)], 0)
    assert all(g.error.startswith("all 2 replicas are lost") and "ray status" in g.error for g in lost)
    engine.close()
    engine.close()
    assert "engine was closed" in next(Desk([ask(0)]).rest(engine._obituary())).error
