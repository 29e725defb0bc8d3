"""One run: which rows, how often, and their workers, which are started once and measured in turn.

Not here: what is measured (`benchmarks.sections`), and how it is shown (`benchmarks.report`).
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.environments import NotInstalledError, python_of
from benchmarks.processes import Upstream, Worker, WorkerFailedError
from benchmarks.roster import ENVIRONMENTS, ROSTER

__all__ = ["Bench", "Figures", "Order", "Trial"]

Order = dict[str, Any]
Figures = dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """One cell of a table that is being measured: the row, the column, and the order for the row's worker."""

    row: str
    column: str
    order: Order = field(hash=False)


@dataclass
class Bench:
    """The upstream, and the workers of the rows that have been started."""

    upstream: Upstream
    core: int | None
    rows: tuple[str, ...]
    rounds: int
    calls: int
    reduced: bool = False
    """Small sizes: the form of the figures is right, and they mean nothing."""
    workers: dict[tuple[str, str], Worker] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    """Rows that cannot be measured at all."""
    failed: dict[str, list[str]] = field(default_factory=dict)
    """What else of a row could not be measured."""
    told: dict[str, Figures] = field(default_factory=dict)
    """What the rows say of themselves."""

    def order(self, at: str, job: str, *, concurrency: int = 1, count: int | None = None, s: float = 5.0) -> Order:
        """A measurement: of so many pieces of work, or as many as go into the time."""
        count = max(self.calls, 2 * concurrency) if count is None else count
        order: Order = {"at": at, "job": job, "concurrency": concurrency, "count": count, "at_most_s": s}
        return order | {"warm_up": concurrency}

    def chosen(self, *names: str) -> list[str]:
        """Those of the rows that this run is about."""
        return [name for name in names if name in self.rows and name not in self.missing]

    def worker(self, row: str, variant: str = "") -> Worker | None:
        """The row's process; a variant has one of its own. None where it cannot be had: `missing` says why."""
        if row in self.missing or row not in self.rows:
            return None
        if (row, variant) not in self.workers:
            entry = ROSTER[row]
            try:
                python = sys.executable if entry.environment is None else python_of(ENVIRONMENTS[entry.environment])
                worker = Worker(python, entry.module, self.upstream.port, self.core)
            except NotInstalledError as reason:
                self.missing[row] = f"not installed: {reason}"
                return None
            except WorkerFailedError as reason:
                self.missing[row] = f"failed: {reason}"
                return None
            self.workers[row, variant] = worker
            self.told[row] = {name: worker.hello[name] for name in ("versions", "does", "loop")}
        return self.workers[row, variant]

    def close(self) -> None:
        """Ends every process of a row."""
        while self.workers:
            _, worker = self.workers.popitem()
            worker.close()

    def dismiss(self, row: str, variant: str) -> None:
        """The process of a variant has done its part."""
        self.workers.pop((row, variant)).close()

    def status(self, row: str) -> str:
        """Whether there are figures of it, and why not."""
        if row in self.missing:
            return self.missing[row]
        return f"failed at {'; '.join(self.failed[row])}" if row in self.failed else "measured"

    def measured(self, trial: Trial, variant: str = "") -> Figures | None:
        """One measurement, and what the upstream took for it. None where the row failed, now or before."""
        worker = self.worker(trial.row, variant)
        if worker is None:
            return None
        requests, cpu = self.upstream.statistics()
        try:
            seen = worker.told(trial.order)
        except WorkerFailedError as reason:
            self.failed.setdefault(trial.row, []).append(f"{trial.column}: {reason}")
            self.dismiss(trial.row, variant)  # it may be in any state: whatever comes next begins anew
            return None
        if "not_built" in seen:
            self.missing[trial.row] = f"not built: {seen['not_built']}"
            return None
        answered, taken = self.upstream.statistics()
        return seen | {"upstream_us": (taken - cpu) / max(1, answered - requests) * 1e6}

    def interleaved(self, trials: list[Trial], rounds: int | None = None) -> dict[str, dict[str, Figures]]:
        """Medians over rounds, in each of which every trial has its turn; the first only warms up."""
        seen: dict[tuple[str, str], list[Figures]] = {}
        lost: set[Trial] = set()
        for at in range((rounds or self.rounds) + 1):
            for trial in trials:
                figures = self.measured(trial) if trial not in lost else None
                if figures is None:
                    lost.add(trial)
                    seen.pop((trial.row, trial.column), None)
                elif at:
                    seen.setdefault((trial.row, trial.column), []).append(figures)
            print(".", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        table: dict[str, dict[str, Figures]] = {}
        for (row, column), every in seen.items():
            table.setdefault(row, {})[column] = medians(every)
        return table


def medians(every: list[Figures]) -> Figures:
    """Of each figure."""
    names: Mapping[str, Any] = every[0]
    return {name: round(statistics.median(each[name] for each in every), 3) for name in names if name != "units"}
