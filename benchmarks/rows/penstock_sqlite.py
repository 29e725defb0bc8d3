"""penstock with everything on, the budgets and the second level of the cache in SQLite files."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from benchmarks.rows.penstock_calls import DOES, JOBS, PACKAGES, opened_with
from benchmarks.worker import Jobs, Row, run

CHANGES = {
    "ledger": {"store": "sqlite", "path": "ledger.db"},
    "cache": {"store": "sqlite", "path": "cache.db", "when": "deterministic"},
}


def opened(origin: str, kind: str) -> AbstractAsyncContextManager[Jobs]:
    return opened_with(origin, kind, CHANGES)


if __name__ == "__main__":
    run(Row(opened, "trio", PACKAGES, f"{DOES}; budgets and cache in SQLite files; telemetry is off", JOBS))
