"""What penstock must reach, and whether the figures of a run do. The bounds beside peers are of the same run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

__all__ = ["Goal", "goals", "unjudged"]

OURS = "penstock_guards"
LEVELS = ("1", "32", "256")
BESIDE = (
    ("floor", 1.8, "1.8 x the floor"),
    ("tensorzero_embedded", 1.0, "TensorZero's embedded gateway"),
    ("openai_sdk", 1 / 5, "1/5 of the openai SDK"),
    ("litellm_router", 1 / 15, "1/15 of LiteLLM's Router"),
)
"""What a guarded call may cost, by the row that is measured beside it."""
Figures = dict[str, Any]


class Goal(NamedTuple):
    """One figure and its bound."""

    name: str
    seen: float
    bound: float
    at_least: bool = False

    @property
    def is_met(self) -> bool:
        return self.seen >= self.bound if self.at_least else self.seen <= self.bound


def goals(figures: Figures) -> list[Goal]:
    """All that the run has figures for."""
    return [goal for name, of in judges().items() if told(figures, name) for goal in of(figures[name])]


def judges() -> dict[str, Callable[[Figures], Iterator[Goal]]]:
    """By the name of the section that they judge."""
    each = (
        of_calls,
        of_waiting,
        of_streams,
        of_hits,
        of_budgets,
        of_imports,
        of_slow_consumers,
        of_scale,
        of_values,
    )
    return {of.__name__.removeprefix("of_"): of for of in each}


def told(figures: Figures, section: str) -> bool:
    """Whether the run has figures of the section."""
    return "missing" not in figures.get(section, {"missing": "not in this run"})


def unjudged(figures: Figures, statuses: dict[str, str]) -> list[str]:
    """What no goal is said of, and why: what is not measured must not look as if it were met."""
    missing = [
        f"goals of {name}: {figures.get(name, {}).get('missing', 'not in this run')}"
        for name in judges()
        if not told(figures, name)
    ]
    if not told(figures, "calls"):
        return missing
    rows = figures["calls"]["rows"]
    for row in (OURS, *(row for row, _, _ in BESIDE), "penstock_telemetry", "sdk_spans"):
        lacking = [level for level in LEVELS if level not in costs(rows, row)]
        if lacking:
            missing.append(f"goals of {row} at {', '.join(lacking)}: {statuses.get(row, 'not in this run')}")
    return missing


def of_calls(section: Figures) -> Iterator[Goal]:
    rows = section["rows"]
    ours = costs(rows, OURS)
    for level in [level for level in LEVELS if level in ours]:
        for row, times, says in BESIDE:
            bound = costs(rows, row).get(level)
            if bound is not None:
                yield Goal(f"guarded call at {level}, us: at most {says}", ours[level], bound * times)
    traced, bare = costs(rows, "penstock_telemetry"), costs(rows, "sdk_spans")
    for level in [level for level in LEVELS if level in ours and level in traced and level in bare]:
        most = 1.25 * ours[level] + bare[level]
        yield Goal(f"traced call at {level}, us: at most 1.25 x untraced, and the SDK's own", traced[level], most)
    if ours.keys() >= {"32", "256"}:
        yield Goal("guarded call, 256 at once over 32 at once", ours["256"] / ours["32"], 1.3)


def of_waiting(section: Figures) -> Iterator[Goal]:
    ours = section["rows"].get(OURS)
    if ours is not None:
        yield Goal("calls/s, 256 in flight on 500 ms", ours["calls_per_s"], 480, at_least=True)


def of_streams(section: Figures) -> Iterator[Goal]:
    for column, figures in section["rows"].get(OURS, {}).items():
        if "," not in column:  # the other commit policies are shown, and have no bound
            yield Goal(f"chunk, us: {column}", figures["cpu_us"], 140 if column.startswith("paced") else 12)


def of_hits(section: Figures) -> Iterator[Goal]:
    ours = section["rows"].get(OURS)
    if ours is not None:
        yield Goal("cache hit from memory, us", ours["hit"]["cpu_us"], 60)


def of_budgets(section: Figures) -> Iterator[Goal]:
    for level, bound in (("1", 40), ("32", 15), ("256", 15)):
        yield Goal(f"what the ledger in memory adds to a call at {level}, us", section["adds_us"][level], bound)


def of_imports(section: Figures) -> Iterator[Goal]:
    yield Goal("import penstock over import trio, httpx", section["ratio"], 1.3)
    yield Goal("threads started at import", section["threads"], 0)
    yield Goal("kinds of network access at import", len(section["network"]), 0)


def of_slow_consumers(section: Figures) -> Iterator[Goal]:
    yield Goal("open stream to a slow consumer, KiB", section["kib_each"], 64)


def of_scale(section: Figures) -> Iterator[Goal]:
    for what, figures in section["sizes"].items():
        small, large = figures["sizes"]
        yield Goal(f"call beside {large:,} over {small} {what}", figures["ratio"], 1.1)


def of_values(section: Figures) -> Iterator[Goal]:
    yield Goal("what a value of six fields adds to a call, us", section["adds_us"], 30)
    yield Goal("a megabyte of hostile text, ms", max(section["hostile_ms"].values()), 50)
    yield Goal("a piece of a stream of values, eight times as long", section["partial_ratio"], 1.3)


def costs(rows: Figures, row: str) -> dict[str, float]:
    """CPU by concurrency."""
    return {level: figures["cpu_us"] for level, figures in rows.get(row, {}).items()}
