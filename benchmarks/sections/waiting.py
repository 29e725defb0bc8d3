"""Calls per second with 256 in flight on an upstream that takes 500 ms for each: 512 is all that there can be."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Trial

IN_FLIGHT = 256
WAVES = 6
"""Calls that follow one another in each of the 256 places: what starting and ending cost is spread over them."""
ROWS = (
    "raw",
    "floor",
    "penstock_guards",
    "penstock_sqlite",
    "httpx_client",
    "httpx2_client",
    "aiohttp_client",
    "tensorzero_embedded",
    "openai_sdk",
    "anthropic_sdk",
    "litellm_call",
)


def measured(bench: Bench) -> Figures:
    # httpx takes minutes for as many: it is cut off, and what it got done until then counts.
    order = bench.order("slow", "call", concurrency=IN_FLIGHT, count=IN_FLIGHT * WAVES, s=10.0)
    trials = [Trial(row, "slow", order) for row in bench.chosen(*ROWS)]
    table = bench.interleaved(trials, max(1, bench.rounds // 3))
    rates = {row: {"calls_per_s": round(1e6 / columns["slow"]["wall_us"], 1)} for row, columns in table.items()}
    return {"unit": "calls per second", "in_flight": IN_FLIGHT, "ideal": IN_FLIGHT * 2, "rows": rates}
