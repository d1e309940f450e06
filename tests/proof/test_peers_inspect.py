"""The comparison with inspect_ai: each claim is seen to be missed on a planted fault; a tiny run of both sides."""

import importlib.metadata
import importlib.util
from dataclasses import replace

import pytest

from llmhar.ask.store import Store
from tests.bench import peers, peers_child, peers_inspect
from tests.bench.peers import Run, Unavailable
from tests.bench.peers_inspect import Killed, kill_claim, served, time_claims, told

OURS = Run(wall=3.0, start=0.1, answering=2.0, answered=5, asked=5, prompt_tokens=1, output_tokens=1)
PEER = replace(OURS, wall=9.0, start=4.0)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """The peer is said to be installed, and the server answers sooner."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")
    monkeypatch.setattr(peers_inspect, "ANSWER_S", 0.01)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    return peers.windows_job(tmp_path_factory.mktemp("peers"), 5, 64)


def test_a_peer_that_is_faster_is_seen():
    again = replace(OURS, wall=1.0, asked=0)
    cold, rerun = time_claims([(OURS, again)], [(PEER, replace(PEER, wall=0.5, asked=0))])
    assert (cold.verdict, cold.measured, rerun.verdict, rerun.measured) == ("met", "3 ×", "missed", "0.5 ×")
    assert "5 and 5 requests" in cold.why and "0 and 0 requests" in rerun.why and "inspect_ai 9.9" in cold.why


class Forgetful(Store):
    """A store that keeps everything and says that it has nothing."""

    def answered(self, keys, exactly=None, *, timed=False):
        return set()


@pytest.mark.parametrize("store_type, twice, verdict", [(Store, 0, "met"), (Forgetful, 5, "missed")])
def test_a_run_that_asks_again_is_seen(windows, tmp_path, monkeypatch, store_type, twice, verdict):
    """Our side in this process: what stood in the store is asked a second time where the store forgets."""
    monkeypatch.setattr(peers_inspect, "AT_ONCE", 2)
    with served() as (books, url):
        job = {**told(windows, url, cached=True), "store": str(tmp_path / "store.sqlite")}
        for _ in range(2):
            found = peers_child.ours(job, store_type=store_type)
        assert found["answered"] == 5 and len(books.asked) == 5
        killed = Killed(books.asked.total() - 5, replace(OURS, **found))
    assert killed.twice == twice
    claim = kill_claim([killed], [killed], [killed])
    assert claim.verdict == verdict and "all 5 windows answered" in claim.why


def test_a_peer_that_is_not_there_is_not_measured(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    found = peers_inspect.claims(quick=True)
    assert [(c.verdict, c.why) for c in found] == [("not measured", "inspect_ai is not installed")] * 3


@pytest.mark.parametrize("error, verdict", [(Unavailable("no luck"), "not measured"), (RuntimeError("no"), "missed")])
def test_a_side_that_fails_is_no_excuse_for_ours(windows, monkeypatch, error, verdict):
    def failing(*args):
        raise error

    monkeypatch.setattr(peers, "windows_job", lambda *args: windows)
    monkeypatch.setattr(peers, "run_side", failing)
    found = peers_inspect.claims(quick=True)
    assert {(c.verdict, c.why) for c in found} == {(verdict, str(error))} and len(found) == 3


def test_a_side_that_ends_before_it_is_killed_is_seen(windows, tmp_path, monkeypatch):
    """With words for the loop that waits: a process that cannot start must not be waited for."""
    monkeypatch.setattr(peers.sys, "executable", "/bin/false")
    with pytest.raises(Unavailable, match=r"inspect-ai ended \(1\) before it was killed"):
        peers_inspect.killed("inspect-ai", windows, tmp_path, 1, cached=True)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("inspect_ai") is None, reason="inspect_ai is not installed (optional)")
def test_both_sides_run_are_killed_and_run_again(windows, tmp_path, monkeypatch):
    monkeypatch.setattr(peers_inspect, "ANSWER_S", 0.2)
    for side in peers_inspect.SIDES:
        (folder := tmp_path / side).mkdir()
        cold, again = peers_inspect.whole(side, windows, folder)
        assert (cold.answered, cold.asked, again.answered, again.asked) == (5, 5, 5, 0)
        (folder := tmp_path / f"{side}-killed").mkdir()
        assert 0 <= peers_inspect.killed(side, windows, folder, 2, cached=True).twice <= 5
