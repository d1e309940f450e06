"""Bench security: every claim of its table is seen to be missed on a planted fault. And the verdicts themselves."""

import base64
import datetime
import json
from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from llmhar.ask.models import ModelError
from llmhar.run import report
from tests.bench import ages, gates, leaks, licences, security, verdicts
from tests.bench.structure import CHECKS, Fault
from tests.bench.verdicts import Claim, at_least, at_most, exactly, exit_code, not_measured, table_text, write_report


def verdict_of(claims):
    return {claim.verdict for claim in claims}


# Verdicts.


@pytest.mark.parametrize(
    ("claim", "measured", "verdict"),
    [
        (at_most("a", 3, 3.0, "%"), "3 %", "met"),
        (at_most("a", 3, 3.0004, "%"), "3.0004 %", "missed"),
        (at_least("a", 20, 25.34, "×"), "25.3 ×", "met"),
        (at_least("a", 1, 0.9999), "0.9999", "missed"),
        (exactly("a", 0, 0, "rows"), "0 rows", "met"),
        (exactly("a", 0, 1, "rows"), "1 rows", "missed"),
        (exactly("a", 10_000, 123_456_789), "123,456,789", "missed"),
        (at_most("a", 3, None, "%"), "–", "not measured"),
        (at_least("a", 3, float("nan")), "–", "not measured"),
        (not_measured("a", "≤ 3 %", "no network"), "–", "not measured"),
    ],
)
def test_the_verdict_follows_from_the_number(claim, measured, verdict):
    assert (claim.measured, claim.verdict) == (measured, verdict)
    assert bool(claim.why) or verdict == "met"


def test_a_missed_figure_says_by_how_much_and_what_was_tried():
    missed = at_most("a", 3, 4.5, "%", why="slow disk")
    assert missed.why == "misses the figure by 1.5 %; slow disk"
    assert missed.reason == "misses the figure by 1.5 %; slow disk; nothing was tried yet"
    assert at_least("a", 3, 2, tried="a faster disk").reason.endswith("; tried: a faster disk")
    assert exactly("a", 0, 0, why="well", tried="much").reason == "well"
    rows = table_text([missed, at_most("b", 3, 2, why="well"), Claim("c", "0", "–", "missed", "it broke")])
    assert rows.count(verdicts.UNTRIED) == 2 and "| well |" in rows


@pytest.mark.parametrize("parts", [("a", "b", "c", "good"), ("a", "b", "c", "missed"), ("a", "", "c", "met")])
def test_a_claim_without_reason_or_verdict_is_refused(parts):
    with pytest.raises(ValueError, match=r"why|verdict|empty"):
        Claim(*parts)


def test_threads_numbers_and_tokens_are_a_column_where_a_row_has_them():
    said = verdicts.setting(2, ["bfloat16", "", "float32"], 1000, 20)
    assert said == "2 threads, bfloat16 and float32, 1,000 prompt and 20 output tokens"
    head, line, first, second = table_text([
        replace(exactly("a", 0, 0), setting=said), exactly("b", 0, 0),
    ]).splitlines()  # fmt: skip
    assert head.endswith("| why, or what shows it | threads, numbers, tokens |") and line.count("---") == 6
    assert first.endswith(f"| {said} |") and second.endswith("|  |  |")


def test_the_report_is_one_table(tmp_path, capsys):
    claims = [at_most("a | b\nc", 1, 0), not_measured("d", "≥ 1", "no GPU"), at_least("e", 1, 0)]
    page = write_report("x", "Title", claims, ["a note"], folder=tmp_path).read_text()
    assert page.startswith("# Title\n") and page.rstrip().endswith("a note")
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 5 and r"| a \| b c | ≤ 1 | 0 | met |" in rows[2]
    assert "3 claims: 1 met, 1 missed, 1 not measured." in page
    assert table_text(claims) in capsys.readouterr().out
    assert exit_code(claims) == 1 and exit_code(claims[:2]) == 0
    for wrong in ([], [claims[0], claims[0]]):
        with pytest.raises(ValueError, match="each once"):
            write_report("x", "Title", wrong, folder=tmp_path)
    assert verdicts.tally(claims) == "1 met, 1 missed, 1 not measured"


# Injection.


def test_a_changed_structure_misses():
    counts = Counter({("home", check): 10 for check in CHECKS})
    assert verdict_of(security.structure_claims(counts, [])) == {"met"}
    claims = security.structure_claims(counts, [Fault("chatml-turn", "label", "home s1", "turns", "")])
    [missed] = [claim for claim in claims if claim.verdict == "missed"]
    assert "turns" in missed.claim and "label: chatml-turn" in missed.why
    assert verdict_of(security.structure_claims(Counter(), [])) == {"not measured"}


def test_language_models_are_attacked_in_fewer_windows_and_one_that_is_not_here_is_no_end(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    sizes = []

    def run(models, store, n):
        sizes.append((*models, n))
        if models == ["smollm2-135m"]:
            raise ModelError("no weights here")
        return []

    row = {"model": "rules", "prompt": "home", "defence": "neither", "pairs": 4, "flips": 1, "flip %": 25.0,
           "from %": 4.6, "to %": 69.9, "any event %": 25.0, "moved %": 50.0, "silenced %": 0.0}  # fmt: skip
    monkeypatch.setattr(security.injection, "run", run)
    monkeypatch.setattr(security.injection, "flip_table", lambda pairs: pd.DataFrame([row]))
    found = security.measure_flips(["rules", "smollm2-135m", "llmhar-home-135m"])
    assert sizes == [("rules", 6), ("smollm2-135m", security.N_ASKED), ("llmhar-home-135m", security.N_ASKED)]
    assert [(claim.verdict, claim.why) for claim in found[1:]] == [("not measured", "no weights here")]


def test_flip_rates_carry_an_interval_and_no_llm_is_claimed():
    row = {"model": "rules", "prompt": "home", "defence": "neither", "pairs": 4, "flips": 1, "flip %": 25.0,
           "from %": 4.6, "to %": 69.9, "any event %": 25.0, "moved %": 50.0, "silenced %": 0.0}  # fmt: skip
    claims = security.flip_claims(pd.DataFrame([row, {**row, "defence": "x", "pairs": 0}]), ["rules"])
    assert [claim.verdict for claim in claims] == ["met", "not measured", "not measured"]
    assert claims[0].measured == "1 of 4: 25.0 % [4.6, 69.9]"
    assert len(security.flip_claims(pd.DataFrame([row]), ["rules", "smollm2-135m"])) == 1


# Secrets.


def test_canaries_are_found_in_every_form(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "clean.html").write_text("nothing here")
    assert leaks.find_canaries(tmp_path, leaks.SECRETS) == (1, [])
    (tmp_path / "sub" / "store.sqlite").write_bytes(b"\x00\x01" + leaks.SECRETS["HF_TOKEN"].encode() + b"\x00")
    secret = leaks.SECRETS["MY_TOKEN"]
    for shift in range(3):
        (tmp_path / f"b{shift}.json").write_bytes(base64.b64encode(b"x" * shift + secret.encode() + b"and more"))
    n, hits = leaks.find_canaries(tmp_path, leaks.SECRETS)
    assert n == 5 and {(hit.file, hit.canary) for hit in hits} == {
        ("sub/store.sqlite", "HF_TOKEN"), *((f"b{shift}.json", "MY_TOKEN") for shift in range(3))
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_no_secret_reaches_a_file(tmp_path):
    found = leaks.measure()
    assert found.ran, found.why
    assert found.hits == [] and found.n_files >= 8
    assert verdict_of(security.leak_claims(found)) == {"met"}


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_without_redaction_the_canaries_are_seen():
    """The planted fault. Printed, shown, raised, in metadata and as parameters: all are noticed."""
    found = leaks.measure(light=False, redacting=False)
    assert found.ran, found.why
    assert {hit.canary for hit in found.hits} >= {*leaks.SECRETS, "a parameter", "a folder"}
    assert {hit.file.rpartition("/")[2] for hit in found.hits} >= {
        "report.ipynb",
        "report.html",
        "run.json",
        "store.sqlite",
    }
    assert verdict_of(security.leak_claims(found)) == {"missed"}


def test_a_run_that_did_not_run_proves_nothing():
    assert verdict_of(security.leak_claims(leaks.Leaks(0, [], False, "no kernel"))) == {"not measured"}


def test_redaction(monkeypatch, tmp_path):
    monkeypatch.setenv("A_TOKEN", "abcdefgh")
    monkeypatch.setenv("B_TOKEN", "abcdefghij")  # holds the other: the longer goes first
    monkeypatch.setenv("C_KEY", "short")
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("LLMHAR_ROOT", "/home/anna/work")
    monkeypatch.setenv("LLMHAR_HOME", "/home/anna/work/.llmhar")
    said = "/home/anna/work/lib/a.py, /home/anna/b, /home/annabel/c, /x/home/anna/d /home/anna/work/.llmhar/s"
    value = {"abcdefghij": ["x abcdefghij y", 3, None], "t": "abcdefgh short", "path": said}
    assert report.redact(value, {}) == {
        "***": ["x *** y", 3, None],
        "t": "*** short",
        "path": "<checkout>/lib/a.py, ~/b, /home/annabel/c, /x/home/anna/d <store>/s",
    }
    assert report.redact("of pass phrase", {"my_password": "pass phrase", "max_tokens": 300}) == "of ***"
    assert (
        report.redact({"max_tokens": 300, "dataset": "simulated"}, {"dataset": "simulated"})["dataset"] == "simulated"
    )


# Gates.


def test_a_planted_import_misses(tmp_path):
    assert verdict_of(security.gate_claims(gates.check_files())) == {"met"}
    planted = tmp_path / "planted.py"
    planted.write_text("import torch\n\n\ndef read(file):\n    return torch.load(file)\n")
    claims = security.gate_claims(gates.check_files([planted], tmp_path))
    assert [claim.claim for claim in claims if claim.verdict == "missed"] == ["gate: no torch.load"]
    assert "planted.py:5" in next(claim.why for claim in claims if claim.verdict == "missed")


# Supply.


def entry(until, name="GHSA-1"):
    return f'[[exception]]\nid = "{name}"\npackage = "p"\nreason = "never called"\nuntil = {until}\n'


def test_exceptions_are_dated(tmp_path):
    file, today = tmp_path / "e.toml", datetime.date(2026, 11, 22)
    file.write_text(entry("2026-12-31") + entry("2026-11-21", "GHSA-2"))
    found = licences.read_exceptions(file, today)
    assert found.open == {"GHSA-1": "never called"} and found.expired == ["GHSA-2 (p, until 2026-11-21)"]
    for wrong in (entry("2028-01-01"), entry('"soon"'), '[[exception]]\nid = "x"\n'):
        file.write_text(wrong)
        with pytest.raises(ValueError, match=r"half a year|need id"):
            licences.read_exceptions(file, today)
    assert licences.read_exceptions().expired == []


def test_an_audit_counts_what_no_exception_covers():
    rows = [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["GHSA-1"]}, {"id": "PYSEC-2"}]},
            {"name": "b", "version": "2", "vulns": []}, {"name": "c", "skip_reason": "not on PyPI"}]  # fmt: skip
    none, one = licences.Exceptions({}, []), licences.Exceptions({"GHSA-1": "why"}, [])
    out = json.dumps({"dependencies": rows})
    assert licences.read_audit(out, "", none) == (2, ["a 1: PYSEC-1", "a 1: PYSEC-2"], "skipped: c")
    assert licences.read_audit(out, "", one).found == ["a 1: PYSEC-2"]
    broken = licences.read_audit("", "Traceback\nConnectionError: no route to host\n", none)
    assert broken == (None, [], "no network here: ConnectionError: no route to host")
    assert licences.read_audit("", "KeyError: 'x'", none).why == "KeyError: 'x'"
    good = [licences.Licence("a", "1", "MIT")]
    for found, expected in ((licences.read_audit(out, "", none), "missed"), (broken, "not measured")):
        assert security.supply_claims(found, none, good)[0].verdict == expected
    clean = licences.Audit(2, [])
    assert verdict_of(security.supply_claims(clean, none, good)) == {"met"}
    bad = security.supply_claims(clean, licences.Exceptions({}, ["old"]), [licences.Licence("x", "1", "unknown")])
    assert [claim.verdict for claim in bad] == ["met", "missed", "missed", "met"]


def test_an_audit_without_network_asks_the_advisories_of_a_package(tmp_path, monkeypatch):
    none, one = licences.Exceptions({}, []), licences.Exceptions({"CVE-1": "why"}, [])
    packages = {"A_b": "1.5", "c": "2"}
    assert licences.local_audit(packages, none, "advisories_held") is None
    place = tmp_path / "advisories_held"
    (tmp_path / "advisories_held-2021.7.dist-info").mkdir()
    (tmp_path / "advisories_held-2021.7.dist-info" / "METADATA").write_text("Name: advisories_held\nVersion: 2021.7\n")
    place.mkdir()
    (place / "__init__.py").touch()
    rows = {"a-b": [{"id": "s-1", "cve": "CVE-1", "specs": ["<1", ">=1.4,<2"]}], "$meta": [],
            "c": [{"id": "s-2", "cve": None, "specs": ["<2"]}]}  # fmt: skip
    (place / "insecure_full.json").write_text(json.dumps(rows))
    monkeypatch.syspath_prepend(tmp_path)
    said = "no network here: by the advisories of advisories_held 2021.7"
    assert licences.local_audit(packages, none, "advisories_held") == (2, ["A_b 1.5: CVE-1"], said)
    assert licences.local_audit(packages, one, "advisories_held") == (2, [], said)


def test_licences_of_the_lock():
    listed = licences.list_licences()
    assert len(listed) > 200 and len({one.name for one in listed}) == len(listed)
    named = {one.name: one.licence for one in listed}
    assert "BSD" in named["numpy"] and "LGPL" in named["unsloth-zoo"]
    assert licences.licence_of("no-such-package-here") == "not installed"
    assert sum(licences.licence_counts(listed).values()) == len(listed)
    assert licences.affero_files("unsloth") > 0 == licences.affero_files("pyyaml")
    notes = "\n".join(security.licence_notes(listed))
    assert "AGPL-3.0" in notes and "unsloth-zoo" in notes and "smollm2-135m | Apache-2.0" in notes
    assert {name for name, _ in licences.model_licences()} >= {"smollm2-135m", "qwen3-0.6b", "yamnet", "clapcap"}


# Threats.


def test_a_failing_test_misses_its_threat(tmp_path):
    (tmp_path / "test_a.py").write_text("def test_good(): pass\ndef test_bad(): assert False\n")
    (tmp_path / "test_b.py").write_text("import pytest\ndef test_not_here(): pytest.skip('no chromium')\n")
    (tmp_path / "test_c.py").write_text("def test_good(): pass\n")
    threats = [security.Threat(name, "0", (str(tmp_path / f"test_{name}.py"),)) for name in ("a", "b", "c", "gone")]
    claims = security.threat_claims(threats)
    assert [claim.verdict for claim in claims] == ["missed", "not measured", "met", "missed"]
    assert claims[0].measured == "1 passed, 1 failed, 0 skipped"
    assert verdict_of(security.threat_claims(threats, quick=True)) == {"not measured"}


def test_threats_name_tests_that_are_there():
    for threat in security.THREATS:
        assert bool(threat.tests) != bool(threat.faults)
        for test in threat.tests:
            file, _, name = test.partition("::")
            assert (gates.ROOT / file).is_file(), test
            assert not name or f"def {name}(" in (gates.ROOT / file).read_text(), test


def test_a_threat_shown_by_the_table_of_faults_is_as_good_as_its_rows(tmp_path):
    made = ages.stamp("tests.bench.faults_kill")
    threat = security.Threat("kill -9", "0", (), ("kill -9 in x:", "kill -9 in y:"))

    def verdict(*rows):
        (tmp_path / security.FAULTS).write_text(table_text(rows))
        (claim,) = security.threat_claims([threat], quick=True, folder=tmp_path)
        return claim.verdict, claim.why

    x, y = (Claim(f"kill -9 in {kind}: lost", "= 0", "0", "met", made=made) for kind in "xy")
    assert security.threat_claims([threat], folder=tmp_path / "gone")[0].verdict == "not measured"
    assert verdict(x, y)[0] == "met"
    assert verdict(x, replace(y, measured="3", verdict="missed", why="3 lost")) == ("missed", "kill -9 in y: lost")
    assert verdict(x)[0] == "not measured" and "kill -9 in y:" in verdict(x)[1]
    assert verdict(x, replace(y, made=f"{made[:-13]}0123456789ab`"))[0] == "not measured"
    recorded = (gates.ROOT / "reports" / "record" / "proof" / security.FAULTS).read_text()
    begun = [words for one in security.THREATS for words in one.faults]
    assert [words for words in begun if f"\n| {words}" not in recorded] == []


def test_what_was_measured_is_taken_again_and_what_was_missed_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    asked = []

    def part(name, verdict):
        def measured():
            asked.append(name)
            return [Claim(name, "= 0", "0", verdict, "why")]

        return measured

    shown = next(iter(security.LOOKED_UP))
    parts = {"good": part("good", "met"), "bad": part("bad", "missed"), "none": part("none", "not measured"),
             shown: part("faults", "met")}  # fmt: skip
    first = security.collect(parts, resume=True)
    assert asked == ["good", "bad", "none", "faults"] and all(claim.made for claim in first)
    assert security.collect(parts, resume=True) == first and asked[4:] == ["bad", "none", "faults"]
    security.collect(parts, resume=False)
    assert asked[7:] == ["good", "bad", "none", "faults"]
    monkeypatch.setattr(ages, "code_hash", lambda module: "0123456789ab")  # other code
    security.collect(parts, resume=True)
    assert asked[11:] == ["good", "bad", "none", "faults"]
