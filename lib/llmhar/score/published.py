"""What S1 and S2 published, and how our curve stands beside S1's. Asks nobody and draws nothing.

Missing runs stay missing, never zero: a model that was not run has no row of ours, a data set that S1 did not use has
no published value.
"""

from __future__ import annotations

import pandas as pd

from llmhar import paths

PUBLISHED = {
    "table1": "cumin_table1_f1.csv",
    "table2": "cumin_table2_finetuned_f1.csv",
    "table4": "cumin_table4_missed_pct.csv",
    "figure4": "cumin_fig4_sessions_f1.csv",
    "fusion": "fusion_gemini25pro_accuracy.csv",
}
"""Table or figure of S1, or "fusion" for S2's accuracies -> file in ``params/published`` (sources: SOURCE.md there)."""
DATASETS_IN_S1 = ("marble", "mural")


def published(name: str) -> pd.DataFrame:
    """One of S1's tables (or S2's) as published; F1, missed events and accuracy in percent.

    Raises:
        KeyError: a name that ``PUBLISHED`` does not hold.
    """
    return pd.read_csv(paths.params() / "published" / PUBLISHED[name])


def published_curve(dataset: str) -> pd.DataFrame:
    """S1 Figure 3: columns model (our spelling), n_params, f1 (0 … 1); empty for data sets that S1 did not use."""
    table = published("table1")
    if dataset not in DATASETS_IN_S1:
        return pd.DataFrame(columns=["model", "n_params", "f1"])
    return pd.DataFrame(
        {
            "model": table["model"].str.lower(),
            "n_params": table["params_b"] * 1e9,
            "f1": table[f"{dataset}_f1_pct"] / 100,
        }
    )
