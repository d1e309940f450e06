"""Numbers that notebooks state in words: each stands in its notebook, and is computed here."""

import re

import pytest
import scipy.stats

from llmhar import paths
from llmhar.ask.models import MODELS
from llmhar.ask.task import prepare
from llmhar.data.events import Windowing
from llmhar.distill.recipe import Recipe
from llmhar.score import stats
from llmhar.score.published import published
from llmhar.score.token_tables import token_table


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


CLAIMS = [
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
