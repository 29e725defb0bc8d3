"""What the ledger in memory adds to a call: its bound, hold and settle. The same calls with limits and without any."""

from __future__ import annotations

import statistics

from benchmarks.bench import Bench, Figures, Trial

ROW = "penstock_guards"
CONCURRENCY = (1, 32, 256)
WAYS = {"with limits": "now", "without": "now?limits=none"}
"""Of accounts three deep, where nothing else is different."""


def measured(bench: Bench) -> Figures:
    adds: dict[str, float] = {}
    for level in CONCURRENCY:
        differences: list[float] = []
        for at in range(max(3, bench.rounds) + 1):
            costs = [cost(bench, way, level) for way in WAYS]
            if None in costs:
                return {"missing": bench.status(ROW) if ROW in bench.rows else f"{ROW} is not in this run"}
            limited, unlimited = costs
            assert limited is not None
            assert unlimited is not None
            if at:  # the first round warms up
                differences.append(limited - unlimited)
        adds[str(level)] = round(statistics.median(differences), 1)
    return {"unit": "us of CPU per call, medians of the differences in each round", "adds_us": adds}


def cost(bench: Bench, way: str, level: int) -> float | None:
    """Of a call; None where the row failed."""
    # More of them than of other figures: this one is the small difference of two large ones.
    order = bench.order(WAYS[way], "call", concurrency=level, count=4 * max(bench.calls, 2 * level))
    figures = bench.measured(Trial(ROW, f"{way}, {level}", order))
    return None if figures is None else float(figures["cpu_us"])
