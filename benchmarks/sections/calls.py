"""CPU per call of every row, one at a time, 32 at once and 256 at once; and whether the run counts at all."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench, Figures, Trial
from benchmarks.roster import ROSTER

CONCURRENCY = (1, 32, 256)
MOST_OF_RAW = {1: 2.4, 32: 3.7, 256: 3.0}
"""Floor over raw: where it is more, something else kept the core busy, and no ratio of the run means anything."""
FASTER = 3.0
"""How much faster than the fastest client the upstream must be, for it to be no part of what is measured."""
MOST_TIMES = 3
"""How often calls are measured until they count. Whether they do says nothing of penstock, but of two others."""


def measured(bench: Bench) -> Figures:
    return until_it_counts(lambda: once(bench), 1 if bench.reduced else MOST_TIMES)


def until_it_counts(once: Callable[[], Figures], most: int) -> Figures:
    """The first figures that count, else the last; with why those before them did not."""
    before: list[list[str]] = []
    while (figures := once()).get("void") and len(before) < most - 1:
        before.append(figures["void"])
    return figures | {"void_before": before}


def once(bench: Bench) -> Figures:
    saturated_us = bench.upstream.saturated_us(max(5, bench.rounds))
    trials = [
        Trial(row, str(level), bench.order("now", "call", concurrency=level))
        for level in CONCURRENCY
        for row in bench.chosen(*ROSTER)
    ]
    table = bench.interleaved(trials)
    if not any(ROSTER[row].calls for row in table):
        return {"missing": "; ".join(f"{row}: {bench.status(row)}" for row in bench.rows)}
    upstream = against_the_upstream(table, saturated_us)
    judged = {"void": void(table, upstream), "unchecked": unchecked(table)}
    return {"unit": "us of CPU per call", "rows": table, "upstream": upstream} | judged


def against_the_upstream(table: dict[str, dict[str, Figures]], saturated_us: float) -> Figures:
    """How fast the upstream is, beside the fastest client at the concurrency that suits it best."""
    clients = {row: columns for row, columns in table.items() if ROSTER[row].calls}
    costs = {(row, at): seen["cpu_us"] for row, columns in clients.items() for at, seen in columns.items()}
    (fastest, at), least = min(costs.items(), key=lambda cell: cell[1])
    return {
        "saturated_us": round(saturated_us, 2),
        "fastest_client": fastest,
        "fastest_at": int(at),
        "fastest_us": least,
        "times_faster": round(least / saturated_us, 2),
    }


def void(table: dict[str, dict[str, Figures]], upstream: Figures) -> list[str]:
    """Why the run does not count."""
    reasons: list[str] = []
    if upstream["times_faster"] < FASTER:
        reasons.append(
            f"the upstream is {upstream['times_faster']} times as fast as {upstream['fastest_client']}, not {FASTER:g}"
        )
    for level, most in MOST_OF_RAW.items():
        floor, raw = (table.get(row, {}).get(str(level)) for row in ("floor", "raw"))
        if floor is not None and raw is not None and (ratio := floor["cpu_us"] / raw["cpu_us"]) > most:
            reasons.append(f"floor / raw is {ratio:.2f} at {level} concurrent calls, more than {most}")
    return reasons


def unchecked(table: dict[str, dict[str, Figures]]) -> list[str]:
    """Why nobody knows whether the run counts."""
    return [
        f"{row} was not measured at {level} concurrent calls: whether the machine was quiet is not known"
        for level in MOST_OF_RAW
        for row in ("raw", "floor")
        if str(level) not in table.get(row, {})
    ]
