"""Fits the matcher of :mod:`llmhar.text.naming` on the lessons of made-up homes: which name each reason meant there.

``python -m llmhar.distill.naming_fit`` writes ``params/naming.json`` anew, the same numbers for the same lessons. It
sees what the study's student is taught, and no window of any other home.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from llmhar import paths
from llmhar.distill.examples import Example
from llmhar.distill.home_students import ARMS, TEACHING, home_lessons
from llmhar.distill.teaching import load_teaching
from llmhar.text.naming import FILE, conclusion, pair_features

WRONG = 5
"""Other names of a home's list beside each right one."""


def fit(examples: Sequence[Example], seed: int = 0) -> dict[str, Any]:
    """Logistic regression on pairs of a reason's conclusion and a name of its home's list.

    Args:
        examples: lessons with reasons; equal pairs of a lesson count once.
        seed: of the wrong names.

    Returns:
        The content of the file: "weights", the constant last, and what they were fitted on.
    """
    from sklearn.linear_model import LogisticRegression

    rng, pairs, fits = random.Random(seed), [], []
    for example in examples:
        names = example.messages[0]["content"].partition("Activities:\n")[2].split("\n")
        taught = [(conclusion(item["why"]), item["activity"]) for item in json.loads(example.completion)]
        for said, right in dict.fromkeys(taught):
            others = [name for name in names if name != right]
            for name in (right, *rng.sample(others, min(WRONG, len(others)))):
                pairs.append((said, name))
                fits.append(name == right)
    fitted = LogisticRegression(max_iter=300).fit(pair_features(*(list(part) for part in zip(*pairs))), fits)
    numbers = [*fitted.coef_[0], fitted.intercept_[0]]
    return {
        "weights": [round(float(number), 5) for number in numbers],
        "lessons": len(examples),
        "pairs": len(pairs),
        "seed": seed,
        "made_by": f"scikit-learn {version('scikit-learn')} on wordllama {version('wordllama')}",
    }


def main() -> None:
    """Write the file from the lessons of the study's student."""
    lessons = home_lessons(ARMS["truth"], load_teaching(TEACHING).n_examples or 0)
    paths.write_text(paths.params() / FILE, json.dumps(fit(lessons)) + "\n")


if __name__ == "__main__":
    main()
