"""Bench faults: parser, loaders and API pass their checks, and each check fails on a planted fault. And the table."""

from __future__ import annotations

import importlib.util
import math
import os
import re
import signal
import time
from functools import partial
from random import Random

import pytest

from llmhar.ask import inference
from llmhar.ask.engines import openai as module
from llmhar.data.registry import DataError
from llmhar.records import Generation, Prediction
from llmhar.text.parsing import MARKS
from tests.ask.engines import test_openai as fake
from tests.ask.engines.test_contract import ask
from tests.bench import ages, faults, faults_api, faults_loaders, faults_parse
from tests.bench.faults_files import DAMAGE, SETS, FileSet
from tests.bench.faults_hostile import HOSTILE, _clips
from tests.bench.faults_loaders import Case, Outcome, fault_claims, hostile, mutated, read_all
from tests.bench.faults_parse import READERS, Reader
from tests.bench.verdicts import exactly


def missed(claims):
    """Words of the claims that are missed."""
    return [claim.claim for claim in claims if claim.verdict == "missed"]


# The parser.


def whole(text, n, reason):
    return READERS[0].read(text, n, reason)


def test_the_parser_stands_the_corpus_and_generated_answers():
    claims = faults_parse.reading_claims(150)
    assert [claim.verdict for claim in claims] == ["met"] * 4
    assert faults_parse.misread() == []


def raises_on_a_brace(text, n, reason):
    if "{" in text:
        raise KeyError("{")
    return whole(text, n, reason)


def test_a_parser_that_raises_misses():
    claims = faults_parse.reading_claims(60, [*READERS, Reader("planted", raises_on_a_brace)])
    assert missed(claims) == ["malformed answers: exceptions"]
    assert "planted: KeyError on " in claims[2].why


@pytest.mark.parametrize(
    "plant",
    [
        lambda made: [*made, *made[:1]],  # two verdicts for one event
        lambda made: made[1:],  # none for the first
        lambda made: made[::-1] if len(made) > 1 else [],
        lambda made: [Prediction(p.event, "fine", p.label) for p in made],  # type: ignore[arg-type]
    ],
)
def test_a_parser_without_exactly_one_verdict_an_event_misses(plant):
    planted = Reader("planted", lambda text, n, reason: plant(list(whole(text, n, reason))))
    claims = faults_parse.reading_claims(20, [planted])
    assert missed(claims) == ["malformed answers: not exactly one verdict an event"]


def test_a_parser_that_guesses_misses():
    guess = Reader("planted", lambda text, n, _: [Prediction(i, "ok", 1) for i in range(n)])
    assert len(faults_parse.misread([guess, guess])) > 100


def quadratic(text, n, _reason):
    for at in range(0, len(text), 50):
        text.find("\x01", at)
    return [Prediction(i, "missing", None) for i in range(n)]


def test_a_quadratic_parser_misses():
    texts = [("brackets", "[" * 1_000_000)]
    quick = Reader("quick", lambda text, n, _: [Prediction(i, "missing", None) for i in range(n)])
    assert faults_parse.time_claim([quick], texts).verdict == "met"
    claim = faults_parse.time_claim([quick, Reader("planted", quadratic)], texts, tries=1)
    assert claim.verdict == "missed" and "brackets (planted)" in claim.why


def test_a_string_that_is_never_closed_is_read_in_linear_time():
    """Found by this bench: each escaped quote began the search anew, half an hour for a megabyte."""
    text = '[{"id":0,"activity":"' + '\\"' * 100_000
    seconds, _, _ = faults_parse.slowest(READERS, [("escaped quotes", text)], 1.0, tries=1)
    assert seconds < 2  # it was over a minute


def test_nasty_texts_are_a_megabyte_and_go_over_every_beginning():
    names = [name for name, text in faults_parse.nasty(2000) if len(text) >= 1900]
    assert len(names) == len(faults_parse.BEGINNINGS) * len(faults_parse.UNITS)


def test_both_readers_find_the_same_label_in_all_families_of_marks():
    claims = faults_parse.family_claims(600)
    assert [claim.verdict for claim in claims] == ["met"] * 4, claims
    made = [text for text, *_ in faults_parse.in_families(len(faults_parse.FAMILIES))]
    for opening, closing in MARKS:
        assert any(re.search(opening, text, re.I) and re.search(closing, text, re.I) for text in made)


def test_a_reader_that_reads_thinking_as_an_answer_misses():
    def planted(text, reason):
        return faults_parse.clip_label(text.replace("[THINK]", ""), reason)

    found = faults_parse.family_claims(300, clip=planted)
    assert missed(found) == ["the same text read otherwise by the readers of homes and of clips"]
    assert "[THINK]" in found[1].why


@pytest.mark.parametrize(
    ("plant", "claim"),
    [(lambda made: [*made, made[-1]], "not exactly one verdict an event"), (lambda made: 1 / 0, "exceptions")],
)
def test_a_parser_that_gives_two_verdicts_in_one_family_alone_misses(plant, claim):
    def read(text, n, reason):
        made = list(whole(text, n, reason))
        return plant(made) if "◁" in text and n == 10 else made

    found = faults_parse.family_claims(300, readers=[Reader("planted", read)])
    assert missed(found) == [f"answers in all families of thinking marks: {claim}"]


def test_a_parser_that_is_slow_on_one_family_s_marks_misses():
    def read(text, n, reason):
        until = time.thread_time() + 0.1 * (text.count("[THINK") > 9)
        while time.thread_time() < until:
            pass
        return []

    texts = [*faults_parse.marked(families=faults_parse.FAMILIES[:1], units=()),
             *faults_parse.marked(families=[("[THINK]", "[/THINK]")], units=())]  # fmt: skip
    claim = faults_parse.time_claim([Reader("planted", read)], texts, tries=1, what="1 MB")
    assert claim.verdict == "missed" and "[THINK" in claim.why and claim.claim == "1 MB, slowest form"


def test_the_marks_of_every_family_are_a_megabyte():
    made = list(faults_parse.marked(2000))
    assert all(len(text) >= 1900 for _, text in made) and len(made) == 26 * len(faults_parse.FAMILIES)


# The loaders.


def planted(load, error=DataError):
    """A case whose loader is planted; its file is sound."""
    return Case("planted", FileSet(lambda f: (f / "a.csv").write_bytes(b"\xff\xfe"), load, ("a.csv",), error),
                lambda f: (f / "a.csv").write_bytes(b"\xff\xfe"))  # fmt: skip


def refuse(message):
    def load(folder):
        raise DataError(message)

    return load


def hungry(folder):
    return len(b"x" * (150 * 2**20))


def busy(folder):
    until = time.process_time() + 0.3
    while time.process_time() < until:
        pass


def endless(folder):
    while True:
        time.sleep(0.01)


SOUND = planted(refuse("a.csv, line 1: not UTF-8 text"))


@pytest.mark.parametrize(
    ("load", "fault"),
    [
        (lambda f: (f / "a.csv").read_text(encoding="utf-8"), "UnicodeDecodeError: "),
        (lambda f: [][1], "IndexError: "),
        (lambda f: bytes(2**50), "MemoryError"),
        (lambda f: (_ for _ in ()).throw(SystemExit(1)), "SystemExit: 1"),
        (refuse("that did not work"), "an error that names no file: "),
        (refuse("a.csv: " + "x" * 5000), "an error of 5,007 characters: "),
        (lambda f: os.kill(os.getpid(), signal.SIGSEGV), "the process died (exit code -11)"),
        (endless, "no end within 1 s"),
    ],
)
def test_a_loader_that_does_anything_else_misses_and_the_next_file_is_read(load, fault):
    outcomes = read_all([planted(load), SOUND], wall_s=1.0 if load is endless else 60.0)
    assert outcomes[0].fault.startswith(fault), outcomes[0]
    assert outcomes[1].fault == "" and outcomes[1].was_refused
    assert missed(fault_claims(outcomes, [outcomes[1]], 2)) == ["mutated files: anything but a clear error"]
    assert missed(fault_claims([outcomes[1]] * 2, outcomes, 2)) == ["hostile files: anything but a clear error"]


def test_a_loader_that_reads_all_into_memory_or_takes_long_misses(monkeypatch):
    monkeypatch.setattr(faults_loaders, "PEAK_MIB", 100)
    monkeypatch.setattr(faults_loaders, "LIMIT_S", 0.2)
    sound, large, slow = read_all([SOUND, planted(hungry), planted(busy)])
    assert 140 < large.mib < 250 and sound.mib < 50 and not large.fault
    assert missed(fault_claims([sound], [large._replace(seconds=0)], 1)) == [
        "memory peak of a loader on a hostile file"
    ]
    assert missed(fault_claims([sound], [slow], 1)) == ["CPU time of a loader on a hostile file"]


def test_a_hostile_file_that_is_taken_in_misses():
    case = hostile(["zip: entry ../evil.txt"])[0]
    (outcome,) = read_all([case._replace(kind=case.kind._replace(load=lambda folder: None))])
    assert outcome.fault == "taken in, though it must be refused"


def test_what_an_archive_leaves_elsewhere_is_seen():
    case = hostile(["tar: entry ../evil.txt"])[0]

    def load(folder):
        (folder / "evil.txt").write_text("x")
        return SETS["tar.gz"].load(folder)

    (outcome,) = read_all([case._replace(kind=case.kind._replace(load=load))])
    assert "left outside the data set's folder: ['evil.txt']" in outcome.fault


def test_too_few_files_miss():
    assert missed(fault_claims([Outcome("x", "", True, 0, 0)], [Outcome("y", "", True, 0, 0)], 2)) == [
        "mutated files: read"
    ]


def test_damage_is_drawn_from_the_seed(tmp_path):
    for name, damage in DAMAGE.items():
        content = b"id,name\n1,cooking\n2,eating\n" * 3
        assert damage(Random(name), content) == damage(Random(name), content), name
    (first, *_), (again, *_) = mutated(11, SETS), mutated(11, SETS)
    for folder, case in ((tmp_path / "a", first), (tmp_path / "b", again)):
        folder.mkdir()
        case.prepare(folder)
    assert [p.read_bytes() for p in sorted((tmp_path / "a").rglob("*.csv"))] == [
        p.read_bytes() for p in sorted((tmp_path / "b").rglob("*.csv"))
    ]


def test_sound_sets_are_read_and_damaged_ones_do_no_harm():
    sound = read_all([Case(name, one, one.make) for name, one in SETS.items()])
    assert [(one.what, one.fault) for one in sound if one.fault or one.was_refused] == []
    assert [(one.what, one.fault) for one in read_all(mutated(5 * len(SETS), SETS)) if one.fault] == []


FOUND = (
    *("zip: entry ../evil.txt", "zip: link", "tar: symbolic link", "tar: device", "zip: a name of 5,000 characters"),
    *("motion: samples a nanosecond apart", "pickle: os.system", "pickle: a memo of 67 million"),
    *("YAML: 2,000 mappings deep", "YAML: a Python object"),
    *("YAML: 9 ** 9 words by alias", "YAML: home with 9 ** 9 words by alias", "YAML: 200,000 brackets"),
)
"""A few of the hostile files, those that this bench found holes with among them."""


def test_hostile_files_are_refused():
    assert set(FOUND) <= set(HOSTILE) and len(HOSTILE) >= 50
    kind = SETS["clips, Parquet"]
    bomb = Case("101,000 clips in a few bytes", kind, lambda f: (kind.make(f), _clips(f, 101_000, "x" * 5000)), True)
    outcomes = read_all([*hostile(FOUND), bomb])
    assert [(one.what, one.fault) for one in outcomes if one.fault] == []
    assert max(one.mib for one in outcomes) < faults_loaders.PEAK_MIB


# The API.

BUSY = faults_api.Fault((429, b"", {"retry-after-ms": "5"}))


def weather(fault=BUSY, spell=1.0, hit=(0, 3)):
    return faults_api.Weather(fault, hit, spell)


def client(server, **options):
    return fake.opened(server, **{"request_timeout_s": 20.0, "max_retries": 1, "max_num_seqs": 4, **options})


class Planted:
    """An engine whose stream goes through a function."""

    def __init__(self, engine, change):
        self.engine, self.change = engine, change
        self.fingerprint, self.close = engine.fingerprint, engine.close

    def stream(self, requests):
        return filter(None, map(self.change, self.engine.stream(requests)))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.engine.close()


@pytest.mark.parametrize("fault", [BUSY, faults_api.FAULTS["garbage bytes"], faults_api.Fault("cut")])
@pytest.mark.parametrize("spell", [1, math.inf])
def test_a_client_that_loses_nothing(fault, spell):
    result = faults_api.run_in(weather(fault, spell), client, 6)
    assert result.n_wrong == 0 and not result.ended, result
    assert bool(result.reasons) == (spell > 1 or not fault.is_tried_again)


def drops(server):
    return Planted(client(server, max_retries=0), lambda made: made if made.ok else None)


def invents(server):
    return Planted(client(server), lambda made: made if made.ok else Generation(made.request_key, "", "stop"))


def forgets(server):
    return Planted(client(server), lambda made: None if '"activity": 2' in made.text else made)


def asks_twice(server):
    engine = client(server)
    list(engine.stream([ask("window 1")]))
    return engine


@pytest.mark.parametrize(
    ("plant", "wrong"),
    [
        (drops, {"silent": [0, 3]}),
        (invents, {"lost": [0, 3], "still_open": [0, 3]}),
        (forgets, {"lost": [2], "silent": [2], "still_open": [2]}),
        (asks_twice, {"asked_again": [1]}),
    ],
)
def test_a_client_that_drops_invents_forgets_or_asks_twice_misses(plant, wrong):
    result = faults_api.run_in(weather(spell=math.inf), plant, 6)
    found = {name: getattr(result, name) for name in ("lost", "silent", "asked_again", "still_open")}
    assert {name: numbers for name, numbers in found.items() if numbers} == wrong


def test_the_claim_names_what_went_wrong():
    claim, seconds = faults_api.fault_claim("429", BUSY, drops)
    assert claim.verdict == "missed" and "without a reason [0, 3, 6, 9]" in claim.why and seconds > 0
    claim, _ = faults_api.fault_claim("429", BUSY, lambda server: client(server, max_retries=0))
    assert claim.verdict == "missed" and "429" in claim.why  # it gave up where it should have asked again
    claim, _ = faults_api.fault_claim("429", BUSY, client)
    assert (
        claim.verdict == "met" and "asked again and answered; for good: recorded (127.0.0.1 answered 429" in claim.why
    )


def test_a_server_that_is_gone(monkeypatch):
    claim = faults_api.gone_claim(12, 6, at_once=1)
    assert claim.verdict == "missed" and "it never gave up" in claim.why  # so few failures are no reason to
    monkeypatch.setattr(inference, "GIVE_UP_AFTER", 3)
    assert faults_api.gone_claim(16, 6, at_once=1).verdict == "met"


# The table.


def good(name, seen=None):
    def part(*, quick):
        if seen is not None:
            seen.append((name, quick))
        return [exactly(f"{name}: lost", 0, 0)]

    return part


def breaks(*, quick):
    raise OSError("disk on fire")


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Figures are kept here, not beside those of real runs."""
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path_factory.mktemp("home")))


def test_resume_takes_the_parts_that_met_all(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    seen = []
    parts = {"a": good("a", seen), "b": lambda *, quick: [exactly("b: lost", 0, 1)]}
    assert faults.main([], parts=parts, folder=tmp_path) == 1 and len(seen) == 1
    parts["b"] = good("b", seen)
    assert faults.main(["--resume"], parts=parts, folder=tmp_path) == 0 and len(seen) == 2, "only what was missed"
    assert faults.main([], parts=parts, folder=tmp_path) == 0 and len(seen) == 4
    assert faults.main(["--resume"], parts=parts, folder=tmp_path) == 0 and len(seen) == 4
    monkeypatch.setattr(ages, "code_hash", lambda module: "0123456789ab")
    assert faults.main(["--resume"], parts=parts, folder=tmp_path) == 0 and len(seen) == 6, "older than its code"


def test_a_part_that_breaks_is_missed_and_the_others_are_kept(tmp_path, capsys):
    parts = {"a": good("a"), "b": breaks, "c": lambda *, quick: [], "d": good("a"),
             "e": partial(faults._imported, "faults_that_are_not_there")}  # fmt: skip
    assert faults.main([], parts=parts, folder=tmp_path) == 1
    page = (tmp_path / "faults.md").read_text()
    assert "| a: lost | = 0 | 0 | met |" in page and "| a: lost (d) |" in page
    assert "| part b runs to its end | no exception | OSError: disk on fire | **missed** |" in page
    assert "it claims nothing" in page and "ModuleNotFoundError" in page
    assert "5 claims: 2 met, 3 missed, 0 not measured." in page
    assert "OSError: disk on fire" in capsys.readouterr().err


def test_only_some_parts_write_no_report(tmp_path, capsys):
    seen = []
    parts = {"a": good("a", seen), "b": good("b", seen)}
    assert faults.main(["--only", "b"], parts=parts, folder=tmp_path) == 0
    assert faults.main(["--quick"], parts=parts, folder=tmp_path) == 0
    assert seen == [("b", False), ("a", True), ("b", True)] and not list(tmp_path.iterdir())
    assert "| b: lost |" in capsys.readouterr().out
    assert faults.main([], parts=parts, folder=tmp_path) == 0 and (tmp_path / "faults.md").is_file()
    with pytest.raises(SystemExit):
        faults.main(["--only", "nothing"], parts=parts)


def test_every_part_is_there():
    assert list(faults.PARTS) == ["kill", "store", "kernel", "api", "parse", "loaders"]
    for name in faults.PARTS:
        assert importlib.util.find_spec(f"tests.bench.faults_{name}"), name


def test_odd_replies_and_a_limit_in_mid_run():
    fault = faults_api.FAULTS["with an unknown finish word"]
    assert faults_api.fault_claim("odd", fault, client)[0].verdict == "met"
    for name, form in faults_api.ODD.items():
        claim = faults_api.odd_claim(name, form, client)
        assert claim.verdict == "met", claim
    claim = faults_api.odd_claim("half a text", lambda text: fake.completion(text[:4]), client)
    assert claim.verdict == "missed", "another text than the server's books have"
    claim = faults_api.limit_claim(client)
    assert claim.verdict == "met", claim


def test_a_limit_that_counts_wrong_is_seen(monkeypatch):
    monkeypatch.setattr(faults_api.spending.Purse, "settle", lambda self, reserved, request, made: self._ledger.add(
        "served", -reserved, 0.001))  # fmt: skip
    assert faults_api.limit_claim(client).verdict == "missed"


def test_events_without_an_end_are_given_up(monkeypatch):
    fault = faults_api.FAULTS["with events without an end"]
    quick = lambda server: client(server, request_timeout_s=0.5)  # noqa: E731
    claim, seconds = faults_api.fault_claim("events", fault, quick)
    assert claim.verdict == "met" and "no whole answer within 0.5 s" in claim.why and seconds < 20
    monkeypatch.setattr(module, "MOST_BYTES", 50_000)
    claim, _ = faults_api.fault_claim("events", fault, client)
    assert claim.verdict == "met" and "its answer has no end" in claim.why


def test_a_client_that_takes_events_without_an_end_for_an_answer_or_waits_for_their_end_misses(monkeypatch):
    fault = faults_api.FAULTS["with events without an end"]
    taken = lambda made: made if made.ok else Generation(made.request_key, "aaaa", "stop")  # noqa: E731
    hasty = lambda server: Planted(client(server, request_timeout_s=0.3, max_retries=0), taken)  # noqa: E731
    assert faults_api.fault_claim("events", fault, hasty)[0].verdict == "missed"
    monkeypatch.setattr(faults_api, "PATIENCE_S", 0.7)
    _, seconds = faults_api.fault_claim("events", fault, lambda server: client(server, max_retries=0))
    assert faults_api.patience_claim(seconds, "events").verdict == "missed"


@pytest.mark.parametrize(
    ("wait", "verdict"), [(None, "met"), (lambda headers: 0.01, "missed"), (lambda headers: 6.0, "missed")]
)
def test_a_date_just_ahead_is_waited_for_and_no_longer(monkeypatch, wait, verdict):
    if wait:
        monkeypatch.setattr(module, "wished_wait", wait)
    claim = faults_api.date_claim(client)
    assert claim.verdict == verdict, claim


def forgetful(self, reserved, request, made):
    settle(self, reserved, request, made if made.ok else Generation(made.request_key, error=made.error))


def twice(self, reserved, request, made):
    settle(self, reserved, request, made)
    settle(self, 0.0, request, made)


settle = faults_api.spending.Purse.settle


@pytest.mark.parametrize("plant", [forgetful, twice])
def test_cost_under_retries_and_failures_is_right_and_one_that_is_not_is_seen(monkeypatch, plant):
    claim = faults_api.cost_claim(client)
    assert claim.verdict == "met", claim
    monkeypatch.setattr(faults_api.spending.Purse, "settle", plant)
    assert faults_api.cost_claim(client).verdict == "missed"
