"""Attackers shut out? ``python -m tests.bench.security [MODEL …]`` = ``make bench ONLY=security``: one table of claims.

Injection (structure of every prompt, label flips by model and defence), secrets, gates, licences, known
vulnerabilities, and the threats of the design's threat table with the tests that show them. Models are asked through
the store: rules always, language models where they are named here. ``--quick`` leaves out the threats' own tests.
``--resume`` takes the parts that met all and of which no row is older than its code.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from llmhar import injection, paths
from llmhar.ask.engines.base import EngineError
from llmhar.ask.models import MODELS, ModelError
from llmhar.ask.store import Store
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.injection.flips import make_clip
from llmhar.text.chat import ChatTokenizer
from tests.bench import ages, gates, leaks, licences, verdicts
from tests.bench.structure import CHECKS, Fault, check_structure
from tests.bench.verdicts import Claim, at_least, at_most, exactly, exit_code, not_measured, write_report

TOKENIZERS = ("smollm2-135m", "qwen3-tiny")
N_WINDOWS, N_ASKED = 6, 3
"""Windows, and as many clips, that rules are attacked in; and language models, which take minutes for each of them."""


class Threat(NamedTuple):
    """One row of the threat table (anchors.md §3.5) and the tests that show its figure."""

    threat: str
    figure: str
    tests: tuple[str, ...]
    """Arguments of pytest; empty: the table of faults has it."""
    faults: tuple[str, ...] = ()
    """How the rows begin that show it there."""


FAULTS = "faults.md"
THREATS: tuple[Threat, ...] = (
    Threat("kill -9 at random points of generation, training, notebook", "200 points, byte-equal tables", (),
           tuple(f"kill -9 in {kind}:" for kind in ("generation", "report", "notebook", "training"))),
    Threat("notebook output half written", "50 kills, old or new file", (),
           ("kill -9 in report:", "kill -9, all kinds: files half-written")),
    Threat("four processes on one store, 10,000 keys", "0 double, 0 locked", (), ("4 processes, one store",)),
    Threat("a changed prompt, adapter, seed or template is taken for the old one", "each alone changes the key",
           ("tests/test_records.py",)),
    Threat("malformed answers", "no exception, one verdict an event", ("tests/text/test_parsing.py",)),
    Threat("hostile text runs in a page", "0 scripts, 0 requests",
           ("tests/run/test_browser.py", "tests/traces/test_view_offline.py::test_no_payload_runs_or_calls_out")),
    Threat("hostile archives", "slips, links, bombs refused", ("tests/data/test_fetch.py",)),
    Threat("hostile pickle in HAPT's place", "refused, nothing runs",
           ("tests/fusion/clips/test_motion_data.py::test_a_hostile_pickle_is_refused_and_nothing_runs",)),
    Threat("secrets reach an engine's child process", "none in its environment",
           ("tests/ask/engines/test_contract.py::test_the_child_gets_no_secrets_and_no_telemetry",)),
    Threat("an API server quotes the key", "not in store, log or error", ("tests/ask/engines/test_openai.py",)),
    Threat("test sessions leak into training or examples", "refused", ("tests/distill/test_audit.py",
           "tests/fusion/answerers/test_prompt.py::test_leaks_are_found")),
    Threat("wrong loss mask, wrong merge", "tokens and logits compared", ("tests/distill/test_training.py",)),
    Threat("wrong F1", "equals scikit-learn", ("tests/score/test_f1.py",)),
    Threat("wrong statistics", "size and coverage on simulated nulls", ("tests/score/test_stats.py",)),
    Threat("a mistyped setting", "an error before any work", ("tests/test_settings.py",)),
)  # fmt: skip


LOOKED_UP = {f"threat {one.threat}" for one in THREATS if not one.tests}
"""Parts that another table shows: never kept."""


def structure_claims(counts: Counter[tuple[str, str]], faults: Sequence[Fault]) -> list[Claim]:
    """A claim per check: prompts that were changed in structure, of all that were built."""
    claims = []
    for check, says in CHECKS.items():
        n = sum(count for (_, own), count in counts.items() if own == check)
        bad = [fault for fault in faults if fault.check == check]
        by = "; ".join(f"{place}: {', '.join(sorted({f.payload for f in bad if f.place == place}))}"
                       for place in sorted({f.place for f in bad}))  # fmt: skip
        why = f"{n:,} prompts checked (tests/injection/test_injection.py)" + (f"; through {by}" if by else "")
        claims.append(exactly(f"injection: {says}", 0, len(bad) if n else None, "faults", why=why))
    return claims


def flip_claims(table: pd.DataFrame, asked: Sequence[str]) -> list[Claim]:
    """A claim per model, prompt and defence: the rate is reported with its interval; it has no limit."""
    claims = []
    for row in table.to_dict("records"):
        name = f"label flips: {row['model']}, {row['prompt']} prompt, {row['defence']}"
        if not row["pairs"] or math.isnan(row["flip %"]):
            claims.append(not_measured(name, "a rate with its interval", "no pair was answered"))
            continue
        said = f"{row['flips']} of {row['pairs']}: {row['flip %']:.1f} % [{row['from %']:.1f}, {row['to %']:.1f}]"
        why = (
            f"any event {row['any event %']:.1f} %, changed {row['moved %']:.1f} %, silenced {row['silenced %']:.1f} %"
        )
        claims.append(Claim(name, "a rate with its interval", said, "met", why))
    if not any(MODELS[name].kind == "llm" for name in asked):
        why = "no model was named: python -m tests.bench.security smollm2-135m asks one"
        claims.append(not_measured("label flips: a language model", "a rate with its interval", why))
    return claims


def leak_claims(found: leaks.Leaks) -> list[Claim]:
    """0 canaries in whatever a run leaves behind."""
    hits = ", ".join(sorted({f"{hit.canary} in {hit.file}" for hit in found.hits})[:6])
    why = f"{found.n_files} files of a failing notebook that quotes its secrets and of {leaks.LIGHT}"
    why += " (tests/proof/test_security.py)"
    if not found.ran:
        return [not_measured("secrets: canaries in notebooks, HTML, JSON and store", "= 0 hits", found.why)]
    why = f"{why}; {hits}" if hits else why
    return [exactly("secrets: canaries in notebooks, HTML, JSON and store", 0, len(found.hits), "hits", why=why)]


def gate_claims(found: Sequence[tuple[str, gates.Found]]) -> list[Claim]:
    """0 findings of each gate."""
    claims = []
    for gate in gates.GATES:
        own = [f"{file}:{one.line}" for file, one in found if one.gate == gate]
        excepted = [file for file, other in gates.EXCEPTIONS if other == gate]
        why = "tests/test_layers.py (make check)" + (f"; one exception: {', '.join(excepted)}" if excepted else "")
        why += f"; {', '.join(own[:5])}" if own else ""
        claims.append(exactly(f"gate: no {gate}", 0, len(own), "places", why=why))
    return claims


def supply_claims(
    found: licences.Audit, exceptions: licences.Exceptions, listed: Sequence[licences.Licence]
) -> list[Claim]:
    """Vulnerabilities, exceptions past their day, and licences nobody declares."""
    name = "pip-audit: known vulnerabilities of requirements/cpu.lock"
    claims = [
        not_measured(name, "= 0 without an exception", found.why)
        if found.n_packages is None
        else exactly(name, 0, len(found.found), "found",
                     why="; ".join([f"{found.n_packages} packages", *found.found[:8], found.why]).strip("; "))
    ]  # fmt: skip
    claims.append(exactly("pip-audit: exceptions past their last day", 0, len(exceptions.expired), "entries",
                          why=", ".join(exceptions.expired) or licences.EXCEPTIONS_FILE))  # fmt: skip
    unknown = [one.name for one in listed if one.licence in ("unknown", "not installed")]
    claims.append(at_most("licences: locked packages without a known one", 0, len(unknown), "packages",
                          why=", ".join(unknown) or f"{len(listed)} packages, table below"))  # fmt: skip
    models = licences.model_licences()
    nameless = [name for name, licence in models if licence == "unknown"]
    claims.append(exactly("licences: models without a known one", 0, len(nameless), "models",
                          why=", ".join(nameless) or f"{len(models)} models, table below"))  # fmt: skip
    return claims


def threat_claims(threats: Sequence[Threat], *, quick: bool = False, folder: Path | None = None) -> list[Claim]:
    """Each threat's tests, run one after the other: met if all pass, missed if one fails, else not measured.

    Args:
        threats: rows.
        quick: leave tests out.
        folder: of the table of faults; None = ``reports/record/proof``.
    """
    claims = []
    for one in threats:
        name = f"threat: {one.threat}"
        if not one.tests:
            claims.append(shown_by_faults(name, one, folder or paths.record() / "proof"))
        elif quick:
            claims.append(not_measured(name, one.figure, f"left out (--quick); shown by {', '.join(one.tests)}"))
        else:
            passed, failed, skipped = run_tests(one.tests)
            said, shown = f"{passed} passed, {failed} failed, {skipped} skipped", ", ".join(one.tests)
            verdict = "missed" if failed else "met" if passed else "not measured"
            claims.append(Claim(name, one.figure, said, verdict, shown))  # type: ignore[arg-type]
    return claims


def shown_by_faults(name: str, threat: Threat, folder: Path) -> Claim:
    """What the table of faults says, made before this one: met where all its rows are; old rows are not measured."""
    text = (folder / FAULTS).read_text(encoding="utf-8") if (folder / FAULTS).is_file() else ""
    rows = [row for _, row in ages.rows(text) if row.startswith(tuple(f"| {words}" for words in threat.faults))]
    absent = [words for words in threat.faults if not any(row.startswith(f"| {words}") for row in rows)]
    missed, old = [row for row in rows if "| met |" not in row], [row for row in rows if ages.is_old(row)]
    if absent or old:
        lacks = f"{FAULTS} has no row {absent[0]!r}" if absent else f"{len(old)} of its rows in {FAULTS} are {ages.OLD}"
        return not_measured(name, threat.figure, f"{lacks}: make bench ONLY=faults")
    shown = ", ".join(row.split(" | ")[0].removeprefix("| ") for row in missed or rows)
    said = f"{len(rows) - len(missed)} of {len(rows)} rows of {FAULTS} are met"
    return Claim(name, threat.figure, said, "missed" if missed else "met", shown)


def run_tests(arguments: Sequence[str]) -> tuple[int, int, int]:
    """(passed, failed, skipped) of some tests, in a process of their own; what cannot be collected counts as failed."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "result.xml")
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={file}",
                               *arguments], cwd=gates.ROOT, capture_output=True, text=True, check=False)  # fmt: skip
        if not file.is_file():
            return 0, 1, 0
        suite = next(ElementTree.parse(file).iter("testsuite")).attrib
    n, bad, skipped = (int(suite[key]) for key in ("tests", "failures", "skipped"))
    bad += int(suite["errors"])
    return n - bad - skipped, max(bad, int(done.returncode not in (0, 5))), skipped


def licence_notes(listed: Sequence[licences.Licence]) -> list[str]:
    """Tables of licences, and every package that asks for more than a notice."""
    counts = licences.licence_counts(list(listed)).most_common()
    table = "| licence | packages |\n|---|--:|\n" + "\n".join(f"| {name} | {n} |" for name, n in counts)
    named = [f"- {one.name} {one.version}: {one.licence}" for one in listed if licences.COPYLEFT.search(one.licence)
             or licences.licence_counts([one]).keys() & {"proprietary", "unknown", "not installed"}]  # fmt: skip
    affero = ", ".join(f"{name} {licences.affero_files(name):,}" for name in ("unsloth", "unsloth_zoo"))
    models = "\n".join(f"| {name} | {licence} |" for name, licence in licences.model_licences())
    return [
        "## Licences of the locked packages", table,
        "By name: copyleft, proprietary, or unknown (as the metadata declares; no legal advice).", "\n".join(named),
        "Unsloth: the package declares Apache-2.0, but parts of it are under AGPL-3.0 by their own headers. Python "
        f"files that name the AGPL in their first lines: {affero}. It runs in the trainer's child process only, "
        "unchanged; who serves a changed Unsloth to others over a network owes them its source.",
        "## Licences of models and encoders", f"| model | licence |\n|---|---|\n{models}",
    ]  # fmt: skip


def measure_structure() -> tuple[Counter[tuple[str, str]], list[Fault]]:
    """All payloads in all places, with every tokenizer that is here."""
    task = prepare("simulated", windowing=Windowing(n=1))
    window = task.windows[0]
    here = {}
    for name in TOKENIZERS:
        try:
            here[name] = ChatTokenizer(Path(MODELS[name].locate()))
        except ModelError as error:
            print(f"without {name}'s tokenizer: {error}", file=sys.stderr)
    return check_structure(task.sessions[window.session_id], window, make_clip(0), here)


def measure_flips(asked: Sequence[str]) -> list[Claim]:
    """Flips of all models, asked through the store; one whose weights or engine are not here is not measured."""
    pairs, absent = [], []
    with Store() as store:
        for name in asked:
            try:
                pairs += injection.run([name], store, N_WINDOWS if MODELS[name].kind == "rules" else N_ASKED)
            except (EngineError, ModelError) as error:
                absent.append(not_measured(f"label flips: {name}", "a rate with its interval", str(error)))
    return [*flip_claims(injection.flip_table(pairs), asked), *absent]


def the_parts(
    asked: Sequence[str], exceptions: licences.Exceptions, listed: Sequence[licences.Licence]
) -> dict[str, Callable[[], Sequence[Claim]]]:
    """Name -> what measures it, in the table's order; a threat's tests are a part of their own."""
    parts: dict[str, Callable[[], Sequence[Claim]]] = {
        "structure": lambda: structure_claims(*measure_structure()),
        f"flips {' '.join(asked)}": lambda: measure_flips(asked),
        "secrets": lambda: leak_claims(leaks.measure()),
        "gates": lambda: gate_claims(gates.check_files()),
        "supply": lambda: supply_claims(licences.audit(exceptions=exceptions), exceptions, listed),
    }
    return parts | {f"threat {one.threat}": partial(threat_claims, [one]) for one in THREATS}


def collect(parts: Mapping[str, Callable[[], Sequence[Claim]]], *, resume: bool) -> list[Claim]:
    """Claims of all parts; those that missed nothing and were measured are kept, and taken where ``resume`` says so."""
    found: list[Claim] = []
    for name, part in parts.items():
        record = f"security {hashlib.sha256(name.encode()).hexdigest()[:12]}"
        before = verdicts.kept(record) if resume else None
        own = before[0] if before else [replace(c, made=ages.stamp("tests.bench.security")) for c in part()]
        if {claim.verdict for claim in own} == {"met"} and not before and name not in LOOKED_UP:
            verdicts.keep(record, own)
        found += own
        print(f"{name}: {verdicts.tally(own)}{' (kept)' if before else ''}", file=sys.stderr, flush=True)
    return found


def main(arguments: Sequence[str]) -> int:
    """Measure everything and write reports/record/proof/security.md."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.security", description="Attackers shut out?")
    parser.add_argument("models", nargs="*", metavar="MODEL", help="language models to be asked beside the rules")
    parser.add_argument("--quick", action="store_true", help="without the threats' own tests")
    parser.add_argument("--resume", action="store_true", help="take parts that met all with this same code")
    chosen = parser.parse_args(list(arguments))
    asked = list(dict.fromkeys(["rules", *chosen.models]))
    exceptions, listed = licences.read_exceptions(), licences.list_licences()
    n_payloads = len(injection.PAYLOADS)
    parts = the_parts(asked, exceptions, listed)
    if chosen.quick:
        parts = {name: part for name, part in parts.items() if not name.startswith("threat ")}
        parts["threats"] = partial(threat_claims, THREATS, quick=True)
    parts = {"payloads": lambda: [at_least("injection: payloads", 25, n_payloads,
                                           why="lib/llmhar/injection/payloads.py")], **parts}  # fmt: skip
    claims = collect(parts, resume=chosen.resume)
    notes = [
        f"{n_payloads} payloads; structure over every serializer, wording, answer style and place, with the tokenizers "
        f"and chat templates of {' and '.join(TOKENIZERS)}. Flips: {N_WINDOWS} windows of the simulated home "
        f"({N_ASKED} for language models) and as many made-up clips, each with all payloads, against a harmless name "
        "of equal length; Wilson 95 % intervals, rather narrow, for pairs of one window are not independent. Rules are "
        "not an LLM: they look for words of appliances, so a name that speaks of an activity moves them, whatever the "
        "defence.",
        "Known limits: Mistral's `[INST]` is left as it is (no model of params/models.yaml has it); secrets shorter "
        "than 8 characters are not looked for; pixels of figures are not searched.",
        *licence_notes(listed),
    ]  # fmt: skip
    write_report("security", "Proof: attackers shut out", claims, notes)
    return exit_code(claims)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
