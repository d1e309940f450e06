"""Numbers that notebooks state in words: each stands in its notebook, and is computed here."""

import functools
import json
import re
import tempfile
from pathlib import Path

import pytest
import scipy.stats

from llmhar import paths
from llmhar.ask.models import MODELS
from llmhar.ask.store import Store
from llmhar.ask.task import one_window, prepare
from llmhar.data.events import Windowing
from llmhar.distill.recipe import Recipe
from llmhar.run.findings import interval_text
from llmhar.run.table_html import number_text
from llmhar.score import stats
from llmhar.score.evaluate import evaluate
from llmhar.score.published import published
from llmhar.score.token_tables import token_table
from llmhar.text.prompt import PromptForm
from llmhar.traces import lesson
from tests.tools.notebook_sync import SOURCES, class_target


def text_of(notebook):
    """Its markdown on one line, comment marks away."""
    source = (paths.root() / "notebooks" / "src" / f"{notebook}.py").read_text(encoding="utf-8")
    return " ".join(re.sub(r"(?m)^# ?", "", source).split())


def fewest_p():
    return stats.sign_flip([0.3] * 6).p == stats.least_p(6) == 1 / 32


def student_t():
    return round(float(scipy.stats.t.ppf(0.975, 5)), 3) == 2.571


def s1_epochs():
    per_step = 8
    return [-(-500 * per_step // windows) for windows in (126, 544)] == [32, 8] and Recipe(
        student="qwen3-0.6b"
    ).examples_per_step == per_step


def s2_motion_alone():
    return published("fusion").set_index("modality").loc["imu predictions", "accuracy_pct"] == 13


def lesson_minutes():
    minutes = [int(found) for found in re.findall(r"## [^#]*?\((\d+) min\)", text_of("07_lesson"))]
    return sum(minutes) + 2 == 45  # two for the speaker's own words at its beginning


@functools.cache
def lesson_window():
    """What the lesson's first exercise shows, as the rules answer it; and its drops."""
    task = one_window(prepare("simulated", form=PromptForm("s1-blank", answer="name")), 0, 4)
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "store.sqlite") as store:
        (result,) = evaluate(task, ["rules"], store=store).results
        drops = [lesson.without(result, dropped, store) for dropped in range(10)]
    return task, result, drops


def rules_label_the_kitchen_as_breakfast():
    task, result, _ = lesson_window()
    (window,) = task.windows
    home = task.sessions[window.session_id]
    labels = [home.activities[prediction.label] for prediction in result.readings[0].predictions]
    table = lesson.check_guess(window, home, labels)
    wrong = table[table["right"] == "no"]
    rooms = {"bathroom": "taking shower", "kitchen": "preparing breakfast"}
    others = [set(event.residents) for event in window.events]
    fridge = set.union(*(others[i] for i in wrong.index))
    return (
        list(table["right"]).count("yes") == 8
        and labels == [rooms[event.room] for event in window.events]
        and set(wrong["truth"]) == {"grabing food or drinks"}
        and all("fridge" in event for event in wrong["event"])
        and all(fridge.isdisjoint(others[i]) for i in range(10) if i not in wrong.index)
    )


def words_of_the_longest_form():
    task, _, _ = lesson_window()
    costs = token_table(task, None).costs["mean"]
    return f"{costs.max() / costs.min():.2f}" == "1.77"


def no_drop_moves_a_label():
    _, _, drops = lesson_window()
    return not any((table["changed"] == "yes").any() for table in drops)


CLAIMS = [
    (
        "07_lesson",
        "what the rules answer too: 8 of 10. The fridge was a third resident's",
        rules_label_the_kitchen_as_breakfast,
    ),
    ("07_lesson", "In words it is 1.77 on this window", words_of_the_longest_form),
    ("07_lesson", "none of the ten drops moves any label of this window", no_drop_moves_a_label),
    ("03_scaling", "With six sessions the smallest p of a pair is 1/32", fewest_p),
    ("07_lesson", "with six sessions t = 2.571", student_t),
    ("04_distillation", "500 steps being 32 epochs of 126 windows and 8 of 544 make batches of 8", s1_epochs),
    ("07_lesson", "A lesson of 45 minutes", lesson_minutes),
    ("05_fusion", "S2 found 13 %", s2_motion_alone),
]


@pytest.mark.parametrize(("notebook", "words", "holds"), CLAIMS, ids=[words for _, words, _ in CLAIMS])
def test_what_a_notebook_says_is_so(notebook, words, holds):
    assert words in text_of(notebook), "the sentence changed: change its check too"
    assert holds()


SAW = {
    "00_tour": [
        "on this window of {n_events} events the rules reach macro F1 {macro_f1_rules}",
        "the untaught model reaches {macro_f1_smollm2-135m} and leaves {missed_pct_smollm2-135m} % of the events",
        "the same model taught on made-up homes, its weights in 8 bits, reaches {macro_f1_llmhar-home-135m-int8}",
        "the control by embeddings {macro_f1_embeddings}",
    ],
    "01_serialization": [
        "costs {tokens_lines} tokens as lines and {tokens_intervals} as intervals: {ratio} times as many",
        "with {tokens_s1-json} tokens",
        "over {windows_test} test windows of {events} events",
    ],
    "02_prompting": [
        "rules reach macro F1 {macro_f1_rules}{of rules}",
        "without the hand-written habits {macro_f1_rules-plain}{of rules-plain}",
        "reaches {macro_f1_smollm2-135m} and leaves {missed_pct_smollm2-135m} % of the events",
        "never on this one, reaches {macro_f1_llmhar-home-135m}{of llmhar-home-135m}",
        "control by embeddings {macro_f1_embeddings}",
        "over {windows} windows of {sessions} sessions",
    ],
    "03_scaling": [
        "rules reach macro F1 {macro_f1_rules}, trees that learnt this home's labels {macro_f1_trees_(truth)}",
        "text embeddings {macro_f1_text_embeddings}, the commonest activity alone {macro_f1_majority_class}",
        "of up to 135M parameters reach {macro_f1_smollm2-135m}",
        "fall from {missed_pct_free} % to {missed_pct_schema} %",
    ],
    "04_distillation": [
        "over {windows} windows of {n_sessions} sessions",
        "the rules, who teach, reach macro F1 {teacher_f1}{of rules}, trees on their labels {trees_f1}",
        "the table of sensor and part of day {lookup_f1}",
        "begins at {zero_shot_f1}{of llmhar-home-135m}",
        "it reaches {student_f1}{of llmhar-home-135m taught on simulated-merged}",
        "behind the trees it is by {behind}{of behind}, p {student_minus_trees_p}",
    ],
    "04c_small_students": [
        "label {gap swap, llmhar-home-135m taught on simulated-merged}",
        "{of gap swap, llmhar-home-135m taught on simulated-merged} points more often than other events",
        "over {gap swap, llmhar-home-135m taught on simulated-merged_pairs} pairs; evidence that is taken away",
        "{gap drop, llmhar-home-135m taught on simulated-merged}"
        "{of gap drop, llmhar-home-135m taught on simulated-merged}: neither",
    ],
    "05b_encoder_errors": [
        "the rules are right about {accuracy_dose_50_rules} of the clips",
        "the vote about {accuracy_dose_50_vote}, Bayes about {accuracy_dose_50_bayes}",
        "from {crossing_rules_vote}{of crossing_rules_vote} on",
    ],
    "06_traces": [
        "{n_traces} traces",
        "on {windows} windows",
        "the rules reach macro F1 {macro_f1_rules} on them, the untaught model reaches {macro_f1_smollm2-135m}",
        "homes {macro_f1_llmhar-home-135m}, the control by embeddings {macro_f1_embeddings}",
    ],
    "07_lesson": [
        "takes {token_ratio} times",
        "macro F1 {macro_f1_rules}{of rules} over {n_sessions} sessions, the untaught model {macro_f1_smollm2-135m}",
    ],
}
"""What each notebook says that the recorded demo showed: its sentences, with names of recorded numbers in braces."""
LARGEST, SIXTEEN, EIGHT = (
    "smollm2-135m taught on simulated_final-merged",
    "smollm2-135m-l16 taught on simulated_final",
    "smollm2-135m-l8 taught on simulated_final",
)


def f1_and_mb(student):
    """What a sentence says of a student in two precisions."""
    whole, eight = f"{student}, bfloat16", f"{student}-int8, int8"
    yield f"{{f1 {whole}}}{{of f1 {whole}}} in {{mb {whole}}} MB and"
    yield f"{{f1 {eight}}}{{of f1 {eight}}} in {{mb {eight}}} MB"


STUDY = {
    "04_distillation": [
        "over {windows} windows of {n_sessions} sessions the student of reasons and answers reaches macro F1",
        "{student_f1}{of student}, that of answers alone {answer_only_f1}{of answer_only}",
        "trees on the same labels {trees_f1}{of trees}",
        "another seed they have {student_seed_1_f1}{of student_seed_1} and {answer_only_seed_1_f1}",
        "{of answer_only_seed_1}: seeds",
        "Over both seeds reasons have {student_of_seeds_f1}{of student_of_seeds}, answers alone",
        "{answer_only_of_seeds_f1}{of answer_only_of_seeds}; paired {student_minus_answer_only_of_seeds_f1}",
        "{of student_minus_answer_only_of_seeds}, p {student_minus_answer_only_of_seeds_p}",
        "with 16 of its 30 layers it has {f1 of smollm2-135m-l16 taught on simulated_final}",
        "{of smollm2-135m-l16 taught on simulated_final}, with 8 of them",
        "{f1 of smollm2-135m-l8 taught on simulated_final}{of smollm2-135m-l8 taught on simulated_final}",
        "one training session gives the smallest student {sessions_1_f1}{of sessions_1}",
        "{sessions_needed} sessions {sessions_4_f1}{of sessions_4}, all 15 sessions {sessions_15_f1}{of sessions_15}",
        "from {sessions_needed} on it keeps 95 %",
        "With 8 it has {sessions_8_f1}",
    ],
    "04b_transfer": [
        "macro F1 {transfer_f1}{of transfer}, rules without habits {transfer_rules_plain_f1}{of transfer_rules_plain}",
        "text embeddings {transfer_embeddings_f1}{of transfer_embeddings}",
        "the matcher {transfer_matcher_f1}{of transfer_matcher}",
        "answers alone it has {transfer_answer_only_f1}{of transfer_answer_only}",
        "UCI A {transfer_f1_uci_a}, UCI B {transfer_f1_uci_b}",
        "Kasteren A {transfer_f1_kasteren_a}, CASAS AL {transfer_f1_casas_al}",
        "trees pass it after {overtake_days}{of overtake_days} labelled days",
    ],
    "04c_small_students": [
        "asked one window of each of {n_sessions} sessions",
        *(text for student in (LARGEST, SIXTEEN, EIGHT) for text in f1_and_mb(student)),
        "in 8 bits",
        "with 16 of 30 layers",
        "with 8 layers",
        f"of 8 layers has {{f1 {EIGHT}}}{{of f1 {EIGHT}}}, taught on by the largest student",
        "{f1 smollm2-135m-l8 on policy}{of f1 smollm2-135m-l8 on policy}, taught as long by the teacher's text",
        "{f1 smollm2-135m-l8 taught longer}{of f1 smollm2-135m-l8 taught longer}: twelve",
        f"replaced evidence {{gap swap, {LARGEST}}}{{of gap swap, {LARGEST}}} points more often than",
        f"over {{gap swap, {LARGEST}_pairs}} pairs, and evidence",
        f"is taken away {{gap drop, {LARGEST}}}{{of gap drop, {LARGEST}}}.",
    ],
    "05_fusion": [
        "Bayes reaches macro F1 {f1_all_bayes}, the vote {f1_vote}{of vote}, the rules {rules_f1}{of rules}",
        "text embeddings {embeddings_f1}{of embeddings}, the student {student_f1}{of student}",
        "naming activities itself {student_own_names_f1}{of student_own_names}",
        "without reasons {f1_all_taught on made-up clips, answers only}",
        "under any name it has {student_unseen_f1}{of student_unseen}",
        "all of it over {student_clips} clips",
        "on the same {n_fuser_clips} clips, the student has an accuracy of {S2|EVERYTHING|LIST}",
        "zero-shot from the list and {S2|EVERYTHING|LIST1} one-shot; free, with the nearest name counting,",
        "{S2|EVERYTHING|FREE} and {S2|EVERYTHING|FREE1};",
        "told nothing it has {S2|nothing|LIST}, told sound labels alone {S2|labels|LIST},",
        "motion alone {S2|motion|LIST}: it",
        "over {DRAWN|rules|labels|draws} draws labels bring the rules {DRAWN|rules|labels|mean}",
        "of accuracy, standard deviation {DRAWN|rules|labels|sd}, motion {DRAWN|rules|motion|mean}",
        "({DRAWN|rules|motion|sd}) and context {DRAWN|rules|context|mean} ({DRAWN|rules|context|sd})",
        "a step of sound takes YAMNet {seconds|labels: yamnet|seconds each} s",
        "a step of motion its encoder {seconds|motion: imu-cnn-m-6|seconds each} s",
        "its reasons takes the student {seconds|answer: STUDENT|seconds each} s on two cores, longer than the 2 s",
        "without reasons it takes {seconds|answer: STUDENT, answers only|seconds each} s",
        "without a labelled or taught clip it has {UNMET|rules|student} right, as little as those",
        "fitted on clips ({UNMET|vote|other}), where the rules have {UNMET|rules|other}",
        "and text embeddings {UNMET|embeddings|other}",
        "misleads, {MISLEADS|rules|student} beside {MISLEADS|embeddings|other} of text embeddings,",
        "{MISLEADS|rules|other} of the rules and {MISLEADS|bayes|other} of Bayes",
        "contradicts the sound, {AGAINST|bayes|student} beside {AGAINST|bayes|other} of Bayes",
        "on {AGAINST|bayes|clips} clips",
    ],
    "05b_encoder_errors": [
        "the student of made-up clips is right about {accuracy_dose_50_taught on made-up clips} of the clips:",
        "with no guess wrong it is right about {doses|STUDENT|all|1.0|accuracy}, and the others about nearly all: what",
        "three sizes know {motion_s_6_accuracy}{of motion_s_6_accuracy}, {motion_m_6_accuracy}{of motion_m_6_accuracy}",
        "and {motion_l_6_accuracy}{of motion_l_6_accuracy} of people whom they have not met, of twelve"
        " {motion_s_12_accuracy}{of motion_s_12_accuracy}, {motion_m_12_accuracy}{of motion_m_12_accuracy} and"
        " {motion_l_12_accuracy}{of motion_l_12_accuracy};",
        "by hand knows {motion encoders|random forest|6|accuracy} and {motion encoders|random forest|12|accuracy}:",
        "a net of {fed into the fusion|imu-cnn-s-6|parameters} parameters is not shown to be worse,",
        "one of {fed into the fusion|imu-cnn-l-6|parameters} not shown",
        "the fusion is right about {fusion_with_imu-cnn-s-6} of the clips, by the largest about",
        "{fusion_with_imu-cnn-l-6}, and no other",
        "a model of 8 layers reaches macro F1 {f1_all_smollm2-135m-l8 taught by rules} on the fold",
        "its teacher {f1_all_rules, fold 0}, the same model untaught {f1_all_smollm2-135m-l8 untrained, fold 0}: with",
    ],
}
"""The same of the recorded study; "table|words of a row|column" is a cell of its tables."""
SHORT = {
    "EVERYTHING": "captions + labels + motion + context",
    "LIST1": "one-shot, from the list, STUDENT, all (60 clips)",
    "LIST": "zero-shot, from the list, STUDENT, all (60 clips)",
    "FREE1": "one-shot, free, STUDENT, all (60 clips)",
    "FREE": "zero-shot, free, STUDENT, all (60 clips)",
    "STUDENT": "taught on made-up clips",
    "S2": "settings of S2",
    "DRAWN": "scenes drawn anew",
    "UNMET": "situations|nobody saw a labelled or taught clip of the activity",
    "MISLEADS": "situations|the sound alone misleads (the vote on it is wrong)",
    "AGAINST": "situations|the motion contradicts the sound, which is right",
}
"""Long words of those tables."""
FIGURES: dict[tuple[str, str, str], list[str]] = {
    ("00_tour", "demo", "Session 16:"): [
        "the kitchen speaks most, with {kitchen} of the session's {n =} events",
        "{(no room)} events have no room",
    ],
    ("01_serialization", "demo", "Session 16:"): ["with {kitchen} of {n =} events in one"],
    ("01_serialization", "demo", "Session 17:"): ["{kitchen} of {n =} in the other"],
    ("01_serialization", "demo", "Activities are far from balanced"): [
        "of {n =} events of the test sessions {reading books} are reading books",
        "{coming into the apartment} coming into the apartment",
    ],
    ("02_prompting", "demo", "is the same for every window"): ["{% of this prompt} % of this prompt is the same"],
    ("02_prompting", "demo", "% of events with a readable label"): [
        "a readable label to {llmhar-home-135m} % of the events, the untaught one to {smollm2-135m} %"
    ],
    ("03_scaling", "demo", "Of 100 points"): [
        "of 100 points the rules keep {rules: macro F1} and lose {confusable: same room} to activities of the same",
        "loses {smollm2-135m: unknown label} to names that are not in the list",
        "its pruned copies {smollm2-135m-l16: cut} to answers",
    ],
    ("03_scaling", "demo", "true against answered"): ["the rules, has {rules:} of {right} events right"],
    ("04_distillation", "demo", "Traces left by each filter"): [
        "of {none} windows that the rules labelled, {correct} are"
    ],
    ("04_distillation", "demo", "Loss at the end"): [
        "the loss falls to {llmhar-home-135m taught on simulated} nats a token"
    ],
    ("04_distillation", "demo", "Ours, macro F1"): [
        "before it was taught on this home the student has {llmhar-home-135m ← nothing on simulated}",
        "after it {llmhar-home-135m ← simulated on simulated}, its teacher {rules ← nothing (teacher) on simulated}",
    ],
    ("05_fusion", "demo", "accuracy in percent, told everything"): [
        "Bayes is right about {bayes, 0-shot} % of the clips, the vote about {vote, 0-shot} %, the rules about",
        "{rules, 0-shot} %: all three",
        "nothing but words, about {embeddings, 0-shot} %, the student of made-up clips about",
        "{llmhar-fusion-135m, 0-shot} %, the untaught model about {smollm2-135m, 0-shot} % of its few",
    ],
    ("05_fusion", "demo", "rules, told captions + labels + motion + context"): [
        "have {rules, told captions + labels + motion + context:} of {right} clips right"
    ],
    ("05_fusion", "demo", "Shapley share of accuracy"): [
        "bring the rules {rules, labels} points, motion {rules, motion}, context {rules, context}",
        "bring the vote {vote, labels}, {vote, motion} and {vote, context}",
    ],
    ("05_fusion", "demo", "% right"): [
        "the rules have {rules, told labels} % and the paper's Gemini-2.5-pro has {Gemini-2.5-pro, told labels} % on",
        "told motion alone, {rules, told motion} % and {Gemini-2.5-pro, told motion} %",
    ],
    ("05_fusion", "study", "Shapley share of accuracy"): [
        "the student of made-up clips {taught on made-up clips, labels} points, context"
        " {taught on made-up clips, context}, motion {taught on made-up clips, motion}: how",
        "brings the vote {vote, motion} points, it",
    ],
}
"""Notebook, "demo" or "study", and what a recorded figure's words hold -> sentences about it; what is in braces stands
beside its number in those words, mostly before it."""
TOLD = list(dict.fromkeys([
    *((notebook, "demo") for notebook in SAW),
    *((notebook, "study") for notebook in STUDY),
    *((notebook, which) for notebook, which, _ in FIGURES),
]))  # fmt: skip


def recorded(notebook, which):
    """Numbers of the recorded demo, or study, as texts, by the names that SAW and STUDY use."""
    run = run_of(notebook, which)
    numbers = run["params"] | run["key_numbers"]
    if "student_minus_trees_f1" in numbers:
        behind = {end: -numbers[f"student_minus_trees_f1{end}"] for end in ("", "_low", "_high")}
        numbers |= {"behind": behind[""], "behind_low": behind["_high"], "behind_high": behind["_low"]}
    for row in reversed(run["scores"]):  # where there are several data sets, the first one's stay
        numbers |= {"n_events": row["n_events"], "n_sessions": row["n_sessions"]}
        numbers[f"f1 of {row['model']}"] = row["macro_f1"]
    if notebook == "01_serialization":
        numbers["ratio"] = numbers["tokens_intervals"] / numbers["tokens_lines"]
    if notebook == "06_traces":
        numbers["windows"] = numbers["n_traces"] // len(run["models"])
    texts = {name: number_text(value) for name, value in numbers.items() if isinstance(value, int | float)}
    for low in [name for name in numbers if name.endswith("_low")]:
        of = low.removesuffix("_low")
        ends = interval_text(numbers[low], numbers[f"{of}_high"])
        texts |= {f"of {of}": ends, f"of {of.removesuffix('_f1')}": ends}
    return texts | {
        f"of {row['model']}": interval_text(row["macro_f1_low"], row["macro_f1_high"])
        for row in reversed(run["scores"])
    }


def run_of(notebook, which):
    profile = {"demo": "demo", "study": "demo-full"}[which]
    return json.loads((paths.record() / profile / notebook / "run.json").read_text(encoding="utf-8"))


def cell_of(run, place):
    """A cell of a recorded table, as text: the one row that has these words or numbers, and a column."""
    for short, long in SHORT.items():
        place = place.replace(short, long)
    name, *words, column = place.split("|")
    table = run["tables"][name]
    (row,) = (row for row in table["rows"] if set(words) <= set(map(str, row)))
    value = row[table["columns"].index(column)]
    return value if isinstance(value, str) else number_text(round(value, 3))


def number_in(words, name):
    """The number that follows a name in a figure's words, or else stands before it."""
    number = r"(-?\d[\d,]*(?:\.\d+)?)"
    found = re.search(rf"(?<![\w-]){re.escape(name)} {number}", words)
    found = found or re.search(rf"{number} {re.escape(name)}(?!\w)", words)
    assert found, f"{name!r} is not in: {words}"
    return found[1]


def sentences(notebook, which):
    """What the notebook has to say of a recorded run, with the record's own numbers."""
    numbers, run = recorded(notebook, which), run_of(notebook, which)
    for sentence in {"demo": SAW, "study": STUDY}[which].get(notebook, ()):
        yield re.sub(
            r"\{([^}]*)\}", lambda found: cell_of(run, found[1]) if "|" in found[1] else numbers[found[1]], sentence
        )
    for (of, profile, mark), told in FIGURES.items():
        if (of, profile) == (notebook, which):
            (words,) = {words for words in run["figures"] if mark in words}
            for sentence in told:
                yield re.sub(r"\{([^}]*)\}", lambda found, words=words: number_in(words, found[1]), sentence)


def cells_that_tell(text, which):
    """A notebook's cells of what a recorded run showed, from behind their first words on."""
    head = rf"\*\*What the recorded {which} showed[^*]*\*\*(?: \(`reports/record/[\w-]+`; your run may differ\))?:"
    return [cell[found.end() :] for cell in text.split("%%") if (found := re.search(head, cell))]


@pytest.mark.parametrize(("notebook", "which"), TOLD)
def test_what_we_saw_is_what_the_record_holds(notebook, which):
    cells = " ".join(cells_that_tell(text_of(notebook), which))
    for told in sentences(notebook, which):
        assert told in cells, told
        cells = cells.replace(told, "")
    assert not re.search(r"(?<!F)\d", cells), f"a number that no record is compared with: {cells}"


def test_no_situation_shows_the_fusion_student_ahead():
    assert "in none of these situations is the student shown to be ahead of anybody" in text_of("05_fusion")
    table = run_of("05_fusion", "study")["tables"]["situations"]
    verdicts = [row[table["columns"].index("verdict")] for row in table["rows"]]
    assert len(verdicts) > 30 and set(verdicts) <= {"lower", "not shown"}


def test_what_is_said_without_numbers_of_encoders_errors():
    tables = run_of("05b_encoder_errors", "study")["tables"]
    rows = {name: [dict(zip(table["columns"], row)) for row in table["rows"]] for name, table in tables.items()}
    others = {(row["dose"], row["varied"]): row["accuracy"] for row in rows["doses"] if row["answerer"] == "vote"}
    own = [row for row in rows["doses"] if row["answerer"] == "taught on made-up clips"]
    assert own and all(row["accuracy"] <= others[row["dose"], row["varied"]] for row in own)
    assert {row["accuracy"] for row in rows["doses"] if row["dose"] == 1 and row["kind"] != "llm"} <= {0.992, 1.0}
    assert {row["verdict"] for row in rows["fed into the fusion"]} == {None, "not shown"}
    (forest,) = (r for r in rows["motion encoders"] if r["model"] == "random forest" and r["classes"] == 6)
    nets = [row for row in rows["motion encoders"] if row["model"] == "cnn" and row["classes"] == 6]
    assert len(nets) == 3 and all(row["low"] < forest["accuracy"] < row["high"] for row in nets)


@pytest.mark.parametrize("notebook", SAW | STUDY)
def test_each_notebook_that_teaches_asks_five_questions_with_folded_answers(notebook):
    text = text_of(notebook)
    part = text[text.index("## Five questions") :]
    assert len(re.findall(r"\*\*\d\.\*\* [^<]+\? <details><summary>answer</summary>[^<]+</details>", part)) >= 4
    assert part.count("<details><summary>answer</summary>") == part.count("</details>") == 5


def tokenizer():
    place = MODELS["smollm2-135m"].locate()
    if not hasattr(place, "joinpath") or not (place / "tokenizer.json").is_file():
        pytest.skip("smollm2-135m was not fetched")
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(place / "tokenizer.json"))


def test_tokens_that_speakers_notes_name(simulated_home):
    assert "such as 07:28:12 costs eight tokens" in text_of("07_lesson")
    assert len(tokenizer().encode("07:28:12", add_special_tokens=False).ids) == 8
    assert "(About thirty; digits are split.)" in text_of("00_tour")
    task = prepare("simulated", simulated_home, windowing=Windowing(n=2))
    assert 25 < token_table(task, "smollm2-135m").costs.loc["s1-json", "per event"] < 35


def test_each_exercise_of_the_lesson_has_stars_minutes_hints_in_steps_and_what_to_expect():
    text = text_of("07_lesson")
    parts = re.split(r"## (?=\d\. )", text)[1:]
    assert len(parts) == 5 and all(re.match(r"\d\. [^#]*? ★{1,3} \(\d+ min\)", part) for part in parts)
    for part in parts:
        steps = [int(found) for found in re.findall(r"<details><summary>hint (\d)</summary>[^<]+</details>", part)]
        assert len(steps) >= 2 and steps == list(range(1, len(steps) + 1))
        assert part.count("**Expect:**") == 1 and part.index("hint 1") < part.index("**Expect:**")
    assert "**Expect:**" not in class_target(SOURCES / "07_lesson.py").read_text(encoding="utf-8")
