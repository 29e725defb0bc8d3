"""CPU of a call that the cache in memory answers, the whole of it, one call at a time."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Trial

ROWS = ("penstock_guards", "langchain_fallbacks", "litellm_call")
QUESTIONS = 32
"""A row asks as many in turn: all are in its cache once it has warmed up."""


def measured(bench: Bench) -> Figures:
    order = bench.order("hit", "hit") | {"warm_up": 2 * QUESTIONS}
    return {
        "unit": "us of CPU per call",
        "rows": bench.interleaved([Trial(row, "hit", order) for row in bench.chosen(*ROWS)]),
    }
