"""penstock with everything on, in memory, and telemetry to a collector that answers at once."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from benchmarks.rows.penstock_calls import DOES, JOBS, PACKAGES, opened_with
from benchmarks.worker import Jobs, Row, run


def opened(origin: str, kind: str) -> AbstractAsyncContextManager[Jobs]:
    return opened_with(origin, kind, {"telemetry": {"otlp": f"{origin}/now"}})


if __name__ == "__main__":
    run(Row(opened, "trio", PACKAGES, f"{DOES}; every call is traced", JOBS))
