"""What a call costs beside more targets, longer cascades, more accounts and more open streams: large over small.

The goal leaves a tenth, which is what single rounds swing by: so there are more of them here, each a pair of
neighbours, and the ratio is the median of theirs.
"""

from __future__ import annotations

import statistics

from benchmarks.bench import Bench, Figures, Trial

ROW = "penstock_guards"
CONCURRENCY = 32
SIZES = {
    "targets": (3, 1_000),  # declared; the route has three of them
    "cascade": (3, 1_000),  # of the route itself
    "accounts": (1, 10_000),  # that call in turn
    "streams": (1, 1_000),  # open, and read by nobody
}
TIMES = 5
"""As many rounds as elsewhere, times this. Three runs without it said 1.22, 1.04 and 0.82 of the same."""


def measured(bench: Bench) -> Figures:
    figures: Figures = {}
    for what, (small, large) in SIZES.items():
        sizes = (small, large // 100 if bench.reduced else large)
        costs = side_by_side(bench, what, sizes)
        if costs is None:
            return {"missing": bench.status(ROW) if ROW in bench.rows else f"{ROW} is not in this run"}
        less, more = (round(statistics.median(each), 1) for each in costs)
        ratio = statistics.median(large / small for small, large in zip(*costs, strict=True))
        figures[what] = {"sizes": sizes, "cpu_us": (less, more), "ratio": round(ratio, 3)}
    return {"unit": "us of CPU per call, 32 at once", "sizes": figures}


def side_by_side(bench: Bench, what: str, sizes: tuple[int, int]) -> tuple[list[float], list[float]] | None:
    """The figures of rounds in which both sizes have their turn, each in a process of its own."""
    for size in sizes:
        if bench.measured(prepared(bench, what, size), f"{what} {size}") is None:
            return None
    seen: dict[int, list[float]] = {size: [] for size in sizes}
    for at_round in range(3 if bench.reduced else TIMES * bench.rounds):
        for size in sizes if at_round % 2 else reversed(sizes):
            order = bench.order(at(what, size), "call", concurrency=CONCURRENCY)
            figures = bench.measured(Trial(ROW, f"{size} {what}", order), f"{what} {size}")
            if figures is None:
                return None
            seen[size].append(figures["cpu_us"])
    for size in sizes:
        bench.dismiss(ROW, f"{what} {size}")
    return seen[sizes[0]], seen[sizes[1]]


def at(what: str, size: int) -> str:
    """What the row is opened with."""
    return "now" if what == "streams" else f"now?{what}={size}"


def prepared(bench: Bench, what: str, size: int) -> Trial:
    """Its streams are open, or each of its accounts has made a call."""
    if what == "streams":
        order = bench.order("now", "hold", concurrency=size, count=size, s=60.0)
    else:
        count = size if what == "accounts" else CONCURRENCY
        order = bench.order(at(what, size), "call", concurrency=CONCURRENCY, count=count, s=60.0)
    return Trial(ROW, f"{size} {what}", order | {"warm_up": 0})
