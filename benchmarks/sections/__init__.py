"""What is measured, one file for each question, in the order in which a run asks them."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench, Figures
from benchmarks.sections import budgets, calls, hits, imports, scale, slow_consumers, streams, values, waiting

SECTIONS: dict[str, Callable[[Bench], Figures]] = {
    "calls": calls.measured,
    "waiting": waiting.measured,
    "streams": streams.measured,
    "hits": hits.measured,
    "budgets": budgets.measured,
    "imports": imports.measured,
    "slow_consumers": slow_consumers.measured,
    "scale": scale.measured,
    "values": values.measured,
}
