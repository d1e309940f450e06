"""`make bench`: every check is seen to be missed on a planted fault, and a broken part does not cost the table.

No limit here is one of time that a busy machine could miss: planted faults are far beyond every figure, and of the real
parts only their claims' shape is looked at.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmhar import paths
from llmhar.data import simulated
from tests.bench import ages, bench, calibration, explorer, growth, own_code, speed, training
from tests.bench import verdicts as table
from tests.bench.verdicts import Claim, at_least, at_most, exactly, not_measured
from tests.conftest import children_running

ROOT = Path(__file__).parents[2]


# Parts that the bench runs in processes of their own.


def good_part(*, quick=False):
    return [at_most("quick" if quick else "whole", 2, 1, "s"), at_least("rate", 10, 40, "events/s")]


def broken_part(*, quick=False):
    raise ZeroDivisionError("nothing to divide by")


def dying_part(*, quick=False):
    print("RuntimeError: the last words", flush=True)
    import os

    os._exit(7)


def hanging_part(*, quick=False):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(600)


def doubled_part(*, quick=False):
    return good_part() + good_part()


def here(name):
    return f"tests.proof.test_bench:{name}"


@pytest.fixture
def reports(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "record", lambda: tmp_path)
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    return tmp_path / "proof"


def test_a_part_that_raises_is_missed_and_the_others_stand(reports, monkeypatch, capsys):
    monkeypatch.setattr(bench, "PARTS", {"good": here("good_part"), "bad": here("broken_part")})
    assert bench.main([]) == 1
    page = (reports / "bench.md").read_text()
    assert "| good: rate | ≥ 10 events/s | 40 events/s | met |" in page
    [row] = [line for line in page.splitlines() if line.startswith("| bad: runs to its end")]
    assert "**missed**" in row and "ZeroDivisionError" in row and "test_bench.py, line" in row
    assert "nothing to divide by" in row and "| good | " in page and "CUDA" in page
    assert "![Claims as ratios of measured to figure" in page and "](bench.png)" in page
    assert (reports / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert "3 claims" in page and capsys.readouterr().out


def test_only_prints_and_leaves_the_report(reports, monkeypatch, capsys):
    monkeypatch.setattr(bench, "PARTS", {"good": here("good_part"), "bad": here("broken_part")})
    reports.mkdir()
    (reports / "bench.md").write_text("as it was")
    assert bench.main(["--only", "good", "--quick"]) == 0
    said = capsys.readouterr().out
    assert "| good: quick |" in said and "bad" not in said and "2 met, 0 missed" in said
    assert (reports / "bench.md").read_text() == "as it was" and not (reports / "bench.png").exists()
    with pytest.raises(SystemExit):
        bench.main(["--only", "nonsense"])


def test_resume_takes_what_came_to_its_end(reports, monkeypatch, tmp_path):
    kept = tmp_path / "home" / "bench" / "bench-good.json"
    monkeypatch.setattr(bench, "PARTS", {"good": here("good_part"), "bad": here("broken_part")})
    assert bench.main([]) == 1 and [file.name for file in kept.parent.iterdir()] == [kept.name]
    before = kept.read_text()
    monkeypatch.setattr(bench, "PARTS", {"good": here("broken_part")})
    assert bench.main(["--resume"]) == 0 and "| good: whole |" in (reports / "bench.md").read_text()
    assert "same code" not in (reports / "bench.md").read_text() and kept.read_text() == before
    assert bench.main([]) == 1, "without --resume it is measured again"
    monkeypatch.setattr(ages, "commit", lambda: "another0ne")
    assert bench.main(["--resume"]) == 0 and ", same code |" in (reports / "bench.md").read_text()
    assert bench.main(["--resume"]) == 0 and (reports / "bench.md").read_text().count(", same code") == 2
    monkeypatch.setattr(ages, "code_hash", lambda module: "0123456789ab")
    assert table.kept("bench good") is None and bench.main(["--resume"]) == 1, "a row is older than its code"
    monkeypatch.undo()
    kept.write_text("{}")
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path / "home"))
    assert table.kept("bench good") is None, "half a record counts for nothing"


def test_a_part_may_be_skipped_and_says_so(reports, monkeypatch):
    monkeypatch.setattr(bench, "PARTS", {"good": here("good_part"), "bad": here("broken_part")})
    assert bench.main(["--skip", "bad"]) == 0
    assert (
        "| bad: all of it | see there | – | **not measured** | left out by --skip" in (reports / "bench.md").read_text()
    )


def test_rows_say_threads_number_format_and_tokens(monkeypatch):
    monkeypatch.setattr(bench, "WITH_MODELS", {"a model's"})
    said = bench.measure("speed", here("good_part"), quick=True)
    assert {claim.setting for claim in said} == {bench.NO_MODEL} and len(said) == 2
    [claim] = bench.measure("a model's", here("good_part"), quick=True)
    assert claim.verdict == "missed" and "says no threads, number format and tokens" in claim.why
    assert bench.WITH_MODELS and set(bench.LIMITS) <= set(bench.PARTS)


def test_a_part_that_dies_is_missed_with_its_last_words():
    part = bench.run_part("x", here("dying_part"), quick=True)
    [claim] = part.claims
    assert claim.verdict == "missed" and claim.measured == "ended with 7" and "the last words" in claim.why
    assert part.peak > 2**20


def test_a_part_that_hangs_is_ended_with_its_children():
    [claim] = bench.run_part("x", here("hanging_part"), quick=True, limit_s=6).claims
    assert claim.verdict == "missed" and "still running after 6 s" in claim.measured
    assert not children_running("time.sleep(600)")


@pytest.mark.parametrize(("target", "error"), [("doubled_part", "ValueError"), ("no_such_part", "AttributeError")])
def test_a_part_without_proper_claims_is_missed(target, error):
    [claim] = bench.measure("x", here(target), quick=True)
    assert claim.verdict == "missed" and claim.measured == error


def test_every_part_is_named_by_a_function_that_takes_quick():
    for target in bench.PARTS.values():
        module, function = target.split(":")
        file = ROOT / f"{module.replace('.', '/')}.py"
        if file.exists():  # parts of other helpers may come later
            assert f"def {function}(*, quick: bool = False) -> list[Claim]:" in file.read_text(), target
    assert [*bench.PARTS][:1] == ["scale"] and [*bench.PARTS][-1:] == ["demo"]
    assert set(bench.PARTS) >= bench.WITH_MODELS


# The picture.


def test_ratios_say_how_many_times_better():
    assert bench.ratio(at_least("a", 50_000, 100_000, "events/s")) == 2
    assert bench.ratio(at_most("a", 30, 15, "s")) == 2
    assert bench.ratio(at_most("a", 30, 60, "s")) == 0.5
    assert bench.ratio(at_most("a", 1.1, -0.2)) == bench.MOST_RATIO
    assert bench.ratio(at_least("a", 1.8, 1.99, "×", why="median of 3 pairs, 1.97 to 2.0")) == pytest.approx(1.99 / 1.8)
    for without in (exactly("a", 0, 0), not_measured("a", "≥ 1", "no GPU"), Claim("a", "≥ 20 ×", "fast", "met"),
                    Claim("a", "≥ 20 ×", "3 of 40", "met")):  # fmt: skip
        assert bench.ratio(without) is None


def test_the_picture_and_its_words_follow_the_claims():
    claims = [at_least("fast | [x]", 10, 40), at_most("slow", 10, 40), exactly("lost", 0, 0)]
    words = bench.alt_text(claims)
    assert "2 of 3 have a ratio" in words and "fast" in words and "4.00 ×" in words
    assert "on the left (missed): slow (0.25 ×)" in words and not set("[]|") & set(words)
    figure = bench.draw(claims * 20)
    assert len(figure.axes) == 2  # more rows than a column holds
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["fast | [x]", "slow"] and figure.axes[0].get_xscale() == "log"
    marks = {line.get_marker() for line in figure.axes[0].lines if line.get_marker() not in ("None", "", None)}
    assert marks == {"o", "X"}
    assert bench.draw([exactly("lost", 0, 0)]).axes  # nothing to draw is no error


# Growth.


def planted(step, sizes=(500, 2_000, 8_000)):
    return growth.growth_claims(growth.measure({"step": step}, lambda n: n, sizes, {n: 3 for n in sizes}))


def busy(n):
    sum(range(n))


def verdicts(claims):
    return {claim.claim.removeprefix("step: "): claim.verdict for claim in claims}


def test_a_linear_step_is_met():
    linear = verdicts(planted(lambda n: [busy(64) for _ in range(n)]))
    assert linear["slope of memory"] == "met" and set(linear.values()) <= {"met", "missed"}


def test_a_quadratic_step_is_missed():
    found = planted(lambda n: [busy(n) for _ in range(n // 32)])
    assert verdicts(found)["slope of time"] == "missed"
    assert "misses the figure" in found[0].why and "8,000" in found[0].why


def test_a_step_that_keeps_ever_more_is_missed():
    found = verdicts(planted(lambda n: [list(range(i)) for i in range(n // 10)]))
    assert found["slope of memory"] == "missed"


def test_a_bend_that_a_line_hides_is_seen_in_the_last_decade():
    by_size = {n: growth.Cost(0.01 + 1e-10 * n * n, 0.0, 10_000) for n in growth.SIZES}
    found = verdicts(growth.growth_claims({"step": by_size}))
    assert found["slope of time"] == "met" and found["steepest slope of time in the last decade"] == "missed"


def test_a_step_that_keeps_its_answers_is_missed():
    def walk(keep):
        def step(n):
            kept = []
            for i in range(n):
                kept.append(str(i) * 300) if keep else str(i) * 300

        return step

    for keep, verdict in ((True, "missed"), (False, "met")):
        costs = growth.measure({"store": walk(keep)}, lambda n: n, (100, 1_000), {})
        assert growth.streaming_claim(costs["store"]).verdict == verdict


def test_the_real_path_runs_through_all_steps(tmp_path):
    costs = growth.measure(growth.STEPS, lambda n: growth.Journey(n, tmp_path), (20, 60), {})
    found = growth.growth_claims(costs)
    assert len(found) == 2 * len(growth.STEPS) + 2 and all(cost[60].seconds > 0 for cost in costs.values())
    journey = growth.Journey(40, tmp_path)
    for step in growth.STEPS.values():
        step(journey)
    assert len(journey.result.generations) == 40
    assert journey.result.overall.missed_pct == 0  # answers that count, so that scoring has work to do
    seconds, memory = growth.evaluation_claims(journey.task, tmp_path / "store.sqlite")
    assert (seconds.figure, memory.figure) == ("≤ 8 s", "≤ 4 GB") and seconds.verdict == "met"
    assert growth.evaluation.LISTED == 20_000


# Own code.


def test_a_slow_loader_is_missed(tmp_path, monkeypatch):
    real = speed.datasets.load

    def slow(*arguments):
        time.sleep(0.5)
        return real(*arguments)

    monkeypatch.setattr(speed.datasets, "load", slow)
    found = speed.loader_claims(simulated.write(tmp_path / "home"), runs=1)
    assert found[0].verdict == "missed" and "by processor time" in found[0].why
    assert found[1].verdict in ("missed", "not measured")


def test_a_quick_step_is_met_and_says_how_it_was_measured():
    claim = speed.rate_claim("nothing", 1, "things", lambda: 1_000, runs=3)
    assert claim.verdict == "met" and "best of 3 runs" in claim.why and "memory" in claim.why


def test_memory_of_a_step_is_seen():
    assert speed.timed(lambda: len([bytearray(2**20) for _ in range(8)]), 1).peak > 8 * 2**20


def test_every_rate_has_its_own_claim(tmp_path):
    found = [speed.parse_claim(40, 1), speed.look_up_claim(tmp_path / "s.sqlite", 1_000, 1), speed.bootstrap_claim(1)]
    assert [claim.claim for claim in found] == [
        "parse and score answers",
        "look-up in a store of 1,000",
        "10,000 bootstraps of 21 sessions × 6 models",
    ]


def ran(took=1.0, **told):
    return own_code.Ran(took, 1.0, 2**20, {"heavy": [], "asked": 0, "windows": 251, "rows": 9, **told})


@pytest.mark.parametrize(
    ("run", "missed"),
    [
        (ran(), []),
        (ran(11.0), ["re-run of a study from a warm store"]),
        (ran(heavy=["torch"]), ["re-run of a study from a warm store: packages of weights imported"]),
        (ran(asked=3), ["re-run of a study from a warm store: questions asked"]),
    ],
)
def test_a_warm_run_that_is_slow_or_not_warm_is_missed(run, missed):
    assert [claim.claim for claim in own_code.study_claims([run]) if claim.verdict == "missed"] == missed


def test_a_slow_import_and_a_big_report_are_missed():
    assert own_code.import_claim([ran(0.5, seconds=1.2, processor=1.0)]).verdict == "missed"
    assert own_code.import_claim([ran(1.5, seconds=0.6, processor=0.5)]).verdict == "met"
    found = own_code.report_claims([ran(31.0, traces=10_000, bytes=10_100_000)])
    assert [claim.verdict for claim in found] == ["missed", "missed"]
    assert own_code.report_claims([ran(3.0, traces=10_000, bytes=9_900_000)])[1].verdict == "met"


def test_an_import_of_what_was_imported_before_is_refused(tmp_path):
    assert own_code.run(["-c", own_code.IMPORT], tmp_path).told["seconds"] > 0.01
    with pytest.raises(RuntimeError, match="imported before"):
        own_code.run(["-c", f"import llmhar.records\n{own_code.IMPORT}"], tmp_path)


def test_a_child_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match="ended with 1: KeyError"):
        own_code.run(["-m", "tests.bench.own_code", "--child", "nonsense", str(tmp_path)], tmp_path)


# Explorer, training, statistics: their claims from planted measurements.


def explored(size=6.9, paint=100.0, step=50.0, n=10_000):
    rows = [explorer.Row("file size", "MB", 10, "best", [size]),
            explorer.Row("first paint", "ms", 2000, "best", [paint, paint * 3]),
            explorer.Row("next window", "ms", 200, "median", [step] * 3)]  # fmt: skip
    return explorer.Found(n, n // 4, 1200.0, 1.0, rows)


@pytest.mark.parametrize(
    ("found", "missed"),
    [
        (explored(), 0),
        (explored(size=10.2), 1),
        (explored(paint=2100.0), 1),
        (explored(step=250.0), 1),
        (explored(n=9_000), 1),
    ],
)
def test_a_slow_explorer_is_missed(found, missed, monkeypatch):
    monkeypatch.setattr(explorer.shutil, "which", lambda name: "/usr/bin/chromium")
    monkeypatch.setattr(explorer, "measure_all", lambda n_starts: found)
    claims = explorer.claims(quick=True)
    assert len(claims) == 4 and sum(claim.verdict == "missed" for claim in claims) == missed


def test_without_a_browser_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(explorer.shutil, "which", lambda name: None)
    assert {claim.verdict for claim in explorer.claims()} == {"not measured"}


@pytest.mark.parametrize(("ours", "loss", "missed"), [(1.0, 2.0, 0), (1.9, 2.0, 2), (1.0, 2.1, 2)])
def test_a_slow_or_other_training_is_missed(ours, loss, missed, monkeypatch):
    def run_rounds(recipe, rounds, threads):
        dice = random.Random(0)
        took = {"ours": ours, "trl": 1.6, "trl-tuned": 1.15}
        said = {"ours": (loss, 0)}  # it does not say how long its examples are
        steps = [training.Step(variant, number, k, seconds * dice.uniform(0.98, 1.02), *said.get(variant, (2, 600)))
                 for variant, seconds in took.items() for number in range(rounds)
                 for k in range(1, recipe.max_steps + 1)]  # fmt: skip
        return steps, dict.fromkeys(took, 10**9)

    monkeypatch.setattr(training, "fetch", lambda name: None)
    monkeypatch.setattr(training, "run_rounds", run_rounds)
    monkeypatch.setattr(training.train_child, "number_format", lambda *args, **how: "mixed")
    found = training.claims(quick=True)
    assert len(found) == 8 and sum(claim.verdict == "missed" for claim in found) == 2 * missed
    assert [claim.setting.split(", ")[1] for claim in found] == ["float32"] * 4 + ["mixed"] * 4
    assert "1,200 tokens of prompt and answer" in found[0].setting and "TRL's own optimizer" in found[0].why
    monkeypatch.setattr(training.train_child, "number_format", lambda *args, **how: "float32")
    unable = training.claims(quick=True)[4:]
    assert [claim.verdict for claim in unable] == ["not measured"] * 2 and "bfloat16" in unable[0].why


def test_a_test_of_wrong_size_is_missed(monkeypatch):
    monkeypatch.setattr(calibration, "measure", lambda *_: calibration.Figures(0.056, 0.92, 0.95, 0.5, 0.9))
    assert {claim.verdict for claim in calibration.claims(quick=True)} == {"missed"}
    monkeypatch.setattr(calibration, "measure", lambda *_: calibration.Figures(0.05, 0.951, 0.949, 0.5, 0.9))
    assert {claim.verdict for claim in calibration.claims(quick=True)} == {"met"}
