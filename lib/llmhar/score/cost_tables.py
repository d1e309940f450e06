"""What answers took and cost: tokens, seconds, dollars, threads, as tables. Scores nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import pandas as pd

from llmhar.ask.inference import AskedRun
from llmhar.ask.spending import cost_of
from llmhar.ask.store import Store
from llmhar.ask.stored import PassCost
from llmhar.score.tables import NOT_RECORDED, Result


def passes_of(result: Result, store: Store) -> list[PassCost]:
    """What the passes cost that gave a result's answers; none where several engines gave them."""
    if len(result.fingerprints) != 1:
        return []
    timed = any(answer.ask.purpose == "timed" for answer in result.answers)
    keys = list(dict.fromkeys(generation.request_key for generation in result.generations))
    return store.costs(keys, result.fingerprints[0], timed=timed)


def threads_text(passes: Sequence[PassCost]) -> str:
    """OpenMP threads of passes, all where they differ; empty where none is known."""
    return ", ".join(map(str, sorted({one.threads for one in passes if one.threads is not None})))


def cost_table(results: Sequence[Result], store: Store | None = None) -> pd.DataFrame:
    """Tokens and seconds of each model's answers, as the store recorded them when they were made; and what
    servers' answers cost.

    Args:
        results: whose answers.
        store: where they are kept; None = the one in ``LLMHAR_HOME``.
    """
    with nullcontext(store) if store else Store() as opened:
        threads = [threads_text(passes_of(result, opened)) for result in results]
    rows = []
    for result, n_threads in zip(results, threads):
        made = result.generations
        prompt = sum(g.prompt_tokens for g in made)
        rows.append(
            {
                "model": result.model.name,
                "windows": len(made),
                "prompt tokens / window": prompt / len(made) if made else float("nan"),
                "from prefix cache %": 100 * sum(g.cached_tokens for g in made) / prompt if prompt else float("nan"),
                "output tokens / window": sum(g.output_tokens for g in made) / len(made) if made else float("nan"),
                "seconds / window (in batch)": sum(g.seconds for g in made) / len(made) if made else float("nan"),
                "threads": n_threads or NOT_RECORDED,
                "cut at the limit %": 100 * sum(g.finish_reason == "length" for g in made) / max(1, len(made)),
                "USD": _dollars(cost_of({g.request_key: g for g in made}.values(), result.model.prices).usd)
                if any(fingerprint.engine == "openai" for fingerprint in result.fingerprints)
                else "–",
            }
        )
    table = pd.DataFrame(rows).set_index("model")
    return table if (table["USD"] != "–").any() else table.drop(columns="USD")


def run_table(runs: Sequence[AskedRun]) -> pd.DataFrame:
    """What this pass asked and what the store had already; of servers, what was expected and what was paid."""
    table = pd.DataFrame(
        [
            {
                "model": run.model,
                "windows": run.n_asks,
                "from the store": run.n_from_store,
                "asked now": run.n_asked,
                "failed": run.n_failed,
                "seconds": round(run.seconds, 1),
                "threads": run.threads if run.threads is not None else "–",
                "tokens expected": run.expected.prompt_tokens + run.expected.output_tokens if run.expected else "–",
                "tokens used": run.cost.prompt_tokens + run.cost.output_tokens if run.cost else "–",
                "USD expected": _dollars(run.expected.usd) if run.expected else "–",
                "USD paid": _dollars(run.cost.usd) if run.cost else "–",
            }
            for run in runs
        ]
    ).set_index("model")
    served = any(run.expected for run in runs)
    return table if served else table.drop(columns=[name for name in table if name.split()[0] in ("tokens", "USD")])


def _dollars(usd: float | None) -> str:
    return "not known" if usd is None else f"{usd:.4f}"
