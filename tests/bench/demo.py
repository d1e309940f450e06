"""The demo at an earlier commit against now, in pairs on one machine: ``python -m tests.bench.demo``, ``ONLY=demo``.

A round runs the same notebooks by the earlier code and by this, cold (an empty store), warm (nothing has changed) and,
by this code, warm and forced; the order of the two changes from round to round. Ratios of one round count, never
seconds: the machine may be slow or busy. Both do the same work as far as settings can say it: this code runs with the
earlier demo's models, windows, prompts and student (:data:`WORK`); what each side really asked and taught stands in
the row. The first answer is that of this demo as it is. ``--commit``, ``--rounds``, ``--notebooks`` choose; ``--warm``
times no cold runs: answers are asked for once, then all rounds share them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import yaml

from tests.bench.peers import Unavailable
from tests.bench.verdicts import Claim, at_most, exactly, exit_code, not_measured, table_text, tally
from tests.tools import compare

ROOT = Path(__file__).parents[2]
COMMIT = "ed81958"
NOTEBOOKS = ("00_tour", "01_serialization", "02_prompting", "03_scaling", "04_distillation", "05_fusion", "06_traces",
             "07_lesson")  # fmt: skip
"""That the earlier commit has."""
PARTED = {"05_fusion": "05b_encoder_errors"}
"""What has become two notebooks since: the second does what the first did then."""
TEACHES = ("04_distillation",)
FIRST_ANSWER_S, ROUNDS = 10.0, 2
_SMOLLM2 = ["rules", "smollm2-135m"]
_S1: dict[str, Any] = {"wording": "s1", "sampling": "greedy"}
WORK: dict[str, dict[str, Any]] = {
    "00_tour": {"models": _SMOLLM2, "sampling": "greedy"},
    "01_serialization": {"tokenizer": "smollm2-135m"},
    "02_prompting": {"models": _SMOLLM2, "n_windows": 4, "max_tokens": 256, "least_events": 0, **_S1,
                     "tokenizer": "smollm2-135m", "hostile_models": ["rules"]},
    "03_scaling": {"models": [*_SMOLLM2, "smollm2-135m-l16", "smollm2-135m-l8", "smollm2-135m-l4"], "n_windows": 4,
                   "max_tokens": 256, "least_events": 0, **_S1, "repeated_model": "smollm2-135m-l4"},
    "04_distillation": {"students": ["smollm2-135m-l8"], "teaching": "demo", "n_windows": 4, "max_tokens": 400,
                        "least_events": 0, "sampling": "greedy"},
    "05_fusion": {"models": _SMOLLM2, "n_llm_clips": 8, "baselines": ["vote", "bayes", "stacking", "early"],
                  "sampling": "greedy"},
    "05b_encoder_errors": {"n_llm_clips": 8, "sampling": "greedy"},
    "06_traces": {"models": _SMOLLM2, "max_tokens": 400, **_S1},
    "07_lesson": {"models": _SMOLLM2, "n_windows": 2, "tokenizer": "smollm2-135m"},
}  # fmt: skip
"""The earlier demo's settings in the words of today's notebooks, less :data:`LEFT_OUT`."""
LEFT_OUT = {"03_scaling": "constrained_model"}
"""Notebook -> a setting that asks for other work now, unset on both sides: bound answers hold a reason each today."""
STILL = (
    "what differs still: now text embeddings, a look-up table and trees stand beside the models (no language model), "
    "one window is shown on its way through 04, doses have a notebook of their own, 07 asks its two windows itself; "
    "answers bound to a schema are left out on both sides, they hold a reason an event now"
)
WEIGHTS = ("smollm2-135m", "smollm2-135m-l16", "smollm2-135m-l8", "smollm2-135m-l4")
ENGINES = ("vllm", "transformers", "onnx")
"""Who answers as a language model here."""


class Work(NamedTuple):
    """What a side asked its engines and taught."""

    answers: int
    prompt_tokens: int
    output_tokens: int
    dtypes: tuple[str, ...]
    steps: int
    """Optimizer steps of its students."""

    @property
    def words(self) -> str:
        """For a row."""
        return f"{self.answers:,} answers of {self.output_tokens:,} tokens and {self.steps:,} training steps"


@dataclass(frozen=True)
class Side:
    """One of the two codes and where it works."""

    name: str
    code: Path
    """Its checkout."""
    folder: Path
    """Of its store and reports."""
    root: Path
    """Where it finds settings and notebooks: its checkout, or one with other settings."""

    def run(self, notebooks: Sequence[str], *options: str) -> float:
        """Seconds of ``llmhar run demo``; its own store and reports, the packages and weights of all.

        Raises:
            Unavailable, RuntimeError: as :meth:`llmhar` raises them.
        """
        return self.llmhar("run", "demo", *notebooks, *options)

    def fetch(self) -> None:
        """Have the weights in the cache, in each code's own form.

        Raises:
            Unavailable: they cannot be had.
        """
        try:
            self.llmhar("models", "fetch", *WEIGHTS)
        except RuntimeError as error:
            raise Unavailable(str(error)) from error

    def llmhar(self, *words: str) -> float:
        """Seconds of a command of llmhar's.

        Raises:
            Unavailable: the earlier code failed; its last words.
            RuntimeError: this code did.
        """
        places = {"LLMHAR_HOME": str(self.folder / "home"), "LLMHAR_REPORTS": str(self.folder / "reports"),
                  "PYTHONPATH": str(self.code / "lib"), "LLMHAR_ROOT": str(self.root)}  # fmt: skip
        command = [sys.executable, "-m", "llmhar.cli", *words]
        begun = time.monotonic()
        done = subprocess.run(command, env=os.environ | places, cwd=self.code, capture_output=True, text=True)
        seconds = time.monotonic() - begun
        if done.returncode:
            failure = RuntimeError if self.code == ROOT else Unavailable
            raise failure(f"{self.name}: llmhar {' '.join(words)}: {' '.join(done.stderr.split())[-600:]}")
        print(f"{self.name}: llmhar {' '.join(words)}: {seconds:.1f} s", file=sys.stderr)
        return seconds

    def first_answer(self) -> float | None:
        """Seconds from the start of 00_tour's first cell to the first answer of a language model in its store."""
        report = self.folder / "reports" / "demo" / "00_tour" / "report.ipynb"
        if not report.is_file():
            return None
        cells = nbformat.read(report, as_version=4).cells
        began = [cell.metadata.get("papermill", {}).get("start_time") for cell in cells]
        start = min(datetime.fromisoformat(at).timestamp() for at in began if at)
        found = self._ask_store("SELECT min(created_utc) FROM attempts WHERE created_utc > ?", start)[0][0]
        return None if found is None else found - start

    def work(self) -> Work:
        """What it asked and taught until now."""
        n, read, written = self._ask_store("SELECT count(*), sum(prompt_tokens), sum(output_tokens) FROM attempts"
                                           " WHERE created_utc > ?", 0)[0]  # fmt: skip
        dtypes = self._ask_store("SELECT DISTINCT json_extract(fingerprint, '$.dtype') FROM attempts"
                                 " WHERE created_utc > ?", 0)  # fmt: skip
        records = (self.folder / "home" / "students").glob("*/student.json")
        steps = sum(json.loads(file.read_text(encoding="utf-8"))["recipe"]["max_steps"] for file in records)
        return Work(n, read or 0, written or 0, tuple(sorted(dtype for (dtype,) in dtypes if dtype)), steps)

    def _ask_store(self, select: str, after: float) -> list[tuple[Any, ...]]:
        """Of answers by engines of language models, which both codes keep in the same columns."""
        engines = ", ".join(f"'{name}'" for name in ENGINES)
        which = f" AND error = '' AND json_extract(fingerprint, '$.engine') IN ({engines})"
        with closing(sqlite3.connect(self.folder / "home" / "store.sqlite")) as db:
            return db.execute(select + which, (after,)).fetchall()


class Round(NamedTuple):
    """Seconds of one round, then and now."""

    warm: tuple[float, float]
    forced: tuple[float, float]
    cold: tuple[float, float] | None = None
    firsts: tuple[float | None, float | None] = (None, None)
    """First answers, of the earlier demo and of this one as it is."""


def ratio_claim(claim: str, most: float, pairs: list[tuple[float, float]], more: str = "", tried: str = "") -> Claim:
    """The median over rounds of now ÷ then, with its spread.

    Args:
        claim: what was run.
        most: the limit of the ratio.
        pairs: seconds then and now, one pair a round.
        more: for the reason.
        tried: to meet the limit.
    """
    name = f"{claim}, now ÷ {COMMIT}"
    if not pairs:
        return not_measured(name, f"≤ {most}", "no round ran it")
    ratios = [now / then for then, now in pairs]
    seconds = "; ".join(f"{then:.0f} → {now:.0f} s" for then, now in pairs)
    why = f"{len(pairs)} rounds, ratios {min(ratios):.2f} to {max(ratios):.2f} ({seconds})"
    return at_most(name, most, statistics.median(ratios), why=f"{why}; {more}" if more else why, tried=tried)


def number_claim(now: compare.Numbers, then: compare.Numbers) -> Claim:
    """Key numbers of the earlier demo that are others now, or gone, without a rule of :mod:`tests.tools.compare`.

    Scores of the student that each side trains may be others (:data:`TRAINED`) while its F1 is inside the interval of
    the earlier one; the row says how many are.
    """
    rows = list(compare.compare(now, then))
    score, low, high = (compare.look_up(side, TEACHES[0], f"student_f1{end}")
                        for side, end in ((now, ""), (then, "_low"), (then, "_high")))  # fmt: skip
    alike = compare.ABSENT not in (score, low, high) and low <= score <= high
    trained = [row for row in rows if alike and row.state == "differs"
               and re.search(TRAINED, f"{row.notebook[:2]}/{row.name}")]  # fmt: skip
    rows = [row for row in rows if row not in trained]
    count = {state: sum(row.state == state for row in rows) for state in ("equal", "exempt", "differs", "gone")}
    wrong = [f"{row.notebook[:2]} {row.name} ({row.state})" for row in rows if row.state in ("differs", "gone")]
    why = f"{count['equal']} equal, {count['exempt']} may differ (measured on this machine, or untaught SmolLM2's)"
    if trained:
        why += f", {len(trained)} of the student that 04 trains, in other roundings now (AdamW, attention)"
    if wrong:
        why += f"; {count['differs']} differ, {count['gone']} are gone: {'; '.join(wrong[:12])}"
    return exactly(NUMBERS, 0, len(wrong), "numbers", why=why)


TRAINED = r"^04/(student_(f1|of_teacher_f1)(_low|_high)?$|f1 smollm2-[^,]*, taught (?!nothing))"
"""Scores, as ``NN/name``, of the student that the demo trains, which rounding alone makes others."""
NUMBERS = f"same work, same key numbers as {COMMIT}: others, or gone, without a reason (tests.tools.compare)"
FIRST = "first answer of a language model in 00_tour, from its first cell"
FIGURES = {"cold": 0.6, "warm, nothing changed": 0.1, "warm, all forced": 0.45}
TRIED = {
    "cold": "an engine that stays (one start a set of weights where there were twelve), one window never asked twice, "
    "fused AdamW, a head kept in bfloat16, attention as written (1.15 × a training step); PyTorch's fused loss (1.36 ×) "
    "errs in bfloat16 where tokens are near sure; left: the same training and answers, most of both sides",
    "warm, nothing changed": "a report whose code, settings, data and answers are as they were stands",
    "warm, all forced": "two notebooks at a time, imports without jsonschema (0.7 s a kernel), words read once; "
    "left: a kernel's start and imports of 2 to 3 s a notebook, fitted baselines of 05, its longest",
}
"""Kind -> what was tried to meet its figure."""


def same_work(folder: Path) -> Path:
    """A checkout in name whose demo has :data:`WORK`'s settings; all else is this one's."""
    folder.mkdir()
    for name in ("notebooks", "reports"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "params", folder / "params")
    (folder / "params" / "profiles" / "demo.yaml").write_text(yaml.safe_dump(WORK), encoding="utf-8")
    return folder


def leave_out(earlier: Path) -> None:
    """Unset :data:`LEFT_OUT` in the earlier commit's checkout."""
    for notebook, name in LEFT_OUT.items():
        file = earlier / "params" / notebook / "demo.yaml"
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
        del values[name]
        file.write_text(yaml.safe_dump(values), encoding="utf-8")


def one_round(sides: tuple[Side, Side], chosen: Sequence[str], *, now_first: bool, cold: bool) -> Round:
    """Both codes, cold where wanted (or where nothing has run yet), warm, and this one forced.

    Args:
        sides: then and now; whether their folders are empty decides what is cold.
        chosen: notebooks that both have.
        now_first: which goes first.
        cold: whether the first run is one that counts.
    """
    then, now = sides
    named = {then: list(chosen), now: [*chosen, *(PARTED[name] for name in chosen if name in PARTED)]}
    order = (now, then) if now_first else (then, now)
    times, firsts = None, (None, None)
    if cold or not then.folder.exists():
        first = {side: side.run(named[side]) for side in order}
        times = (first[then], first[now]) if cold else None
        if cold and "00_tour" in chosen:
            own = replace(now, folder=now.folder.with_name("own"), root=ROOT)
            own.run(["00_tour"])
            firsts = (then.first_answer(), own.first_answer())
    again = {side: side.run(named[side]) for side in order}
    return Round((again[then], again[now]), (again[then], now.run(named[now], "--force")), times, firsts)


def measure(commit: str, n_rounds: int, chosen: Sequence[str], *, cold: bool) -> list[Claim]:
    """All rounds.

    Raises:
        Unavailable: the earlier commit is not in this clone, or it fails.
        RuntimeError: this code fails.
    """
    rounds = list[Round]()
    with tempfile.TemporaryDirectory(prefix="llmhar-demo-") as name:
        place = Path(name)
        git, earlier = ["git", "-C", str(ROOT), "worktree"], place / "earlier"
        made = subprocess.run([*git, "add", "--detach", str(earlier), commit], capture_output=True, text=True)
        if made.returncode:
            raise Unavailable(f"commit {commit} is not here: {' '.join(made.stderr.split())[-300:]}")
        try:
            leave_out(earlier)
            root = same_work(place / "root")
            for number in range(n_rounds):
                own = place / (str(number) if cold else "all")
                sides = Side(commit, earlier, own / "then", earlier), Side("now", ROOT, own / "now", root)
                for side in () if number else sides:
                    replace(side, folder=place / "fetch").fetch()
                rounds.append(one_round(sides, chosen, now_first=bool(number % 2), cold=cold))
            works = [side.work() for side in sides]
            now, then = (compare.read_numbers(side.folder / "reports" / "demo") for side in sides[::-1])
        finally:
            subprocess.run([*git, "remove", "--force", str(earlier)], check=False, capture_output=True)
    return claims_of(rounds, works, number_claim(now, then), f"demo of {len(chosen)} notebooks")


def claims_of(rounds: Sequence[Round], works: Sequence[Work], numbers: Claim, what: str) -> list[Claim]:
    """Rows of what was measured.

    Args:
        rounds: seconds.
        works: what the sides did in the last round, then and now.
        numbers: :func:`number_claim`.
        what: was run.
    """
    then, now = works
    shared = f"{then.words} then, {now.words} now; {STILL}"
    timed = {
        "cold": [one.cold for one in rounds if one.cold],
        "warm, nothing changed": [one.warm for one in rounds],
        "warm, all forced": [one.forced for one in rounds],
    }
    found = [ratio_claim(f"{what}, {kind}", FIGURES[kind], timed[kind], shared if kind == "cold" else "", TRIED[kind])
             for kind in FIGURES]  # fmt: skip
    answered = [one.firsts for one in rounds if one.firsts[1] is not None]
    seconds = "; ".join(f"{'–' if before is None else f'{before:.1f}'} → {after:.1f} s" for before, after in answered)
    why = f"wall time, load {os.getloadavg()[0]:.1f}; as this demo is, ONNX in 8 bits first; then → now: {seconds}"
    middle = statistics.median(after for _, after in answered if after is not None) if answered else None
    first = at_most(FIRST, FIRST_ANSWER_S, middle, "s", why=why, tried="ONNX in 8 bits, whose start is 1.1 s")
    found += [first, numbers]
    said = f"threads as each side chooses on {os.cpu_count()} cores, {' and '.join(then.dtypes)} then, "
    said += f"{' and '.join(now.dtypes)} now, {then.prompt_tokens:,} and {now.prompt_tokens:,} prompt tokens, "
    said += f"{then.output_tokens:,} and {now.output_tokens:,} output tokens"
    return [replace(claim, setting=said) for claim in found]


def compare_demos(commit: str, n_rounds: int, chosen: Sequence[str], *, cold: bool = True) -> list[Claim]:
    """Cold, warm and forced runs of both codes, first answers, key numbers; what cannot be run says why.

    Args:
        commit: the earlier code.
        n_rounds: pairs.
        chosen: notebooks that both have.
        cold: whether the first run of each round is a claim; without, one store a side serves all rounds.
    """
    try:
        return measure(commit, n_rounds, chosen, cold=cold)
    except (Unavailable, RuntimeError) as error:
        figures = {f"demo, {kind}, now ÷ {commit}": f"≤ {most}" for kind, most in FIGURES.items()}
        figures |= {FIRST: f"≤ {FIRST_ANSWER_S:g} s", NUMBERS: "= 0 numbers"}
        verdict = "not measured" if isinstance(error, Unavailable) else "missed"
        return [Claim(claim, figure, "–", verdict, str(error)) for claim, figure in figures.items()]


def claims(*, quick: bool = False) -> list[Claim]:
    """All claims of this module; ``quick``: one round of the notebooks that train nothing."""
    chosen = [name for name in NOTEBOOKS if not quick or name not in TEACHES]
    return compare_demos(COMMIT, 1 if quick else ROUNDS, chosen)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commit", default=COMMIT)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--notebooks", nargs="+", default=list(NOTEBOOKS))
    parser.add_argument("--warm", action="store_true", help="leave cold rounds out")
    given = parser.parse_args()
    found = compare_demos(given.commit, given.rounds, given.notebooks, cold=not given.warm)
    print(f"{table_text(found)}\n{tally(found)}")
    return exit_code(found)


if __name__ == "__main__":
    sys.exit(main())
