"""Memory of the client's process for each open stream whose consumer has stopped reading. Plain TCP, no TLS."""

from __future__ import annotations

from benchmarks.bench import Bench, Figures, Trial

STREAMS = 500
FIRST = 20
"""Opened before memory is looked at: what the first ones load is no cost of a stream."""
ROW = "penstock_guards"


def measured(bench: Bench) -> Figures:
    streams = FIRST if bench.reduced else STREAMS
    seen: list[float] = []
    for number in range(1 if bench.reduced else 3):
        memory = [bench.measured(held(bench, count), f"held {number}") for count in (FIRST, streams)]
        before, after = memory
        if before is None or after is None:
            return {"missing": bench.missing.get(ROW, f"{ROW} is not among the rows of this run")}
        bench.dismiss(ROW, f"held {number}")
        seen.append((after["rss_kib"] - before["rss_kib"]) / streams)
    return {"unit": "KiB of resident memory per stream", "streams": streams, "kib_each": round(max(seen), 1)}


def held(bench: Bench, count: int) -> Trial:
    """So many more are open from now on."""
    order = bench.order("now", "hold", concurrency=count, count=count, s=60.0)
    return Trial(ROW, f"{count} held", order | {"warm_up": 0})
