"""The run as a picture of text: who answered when, and under it what was wrong just then. Pure.

Not here: colours beyond the names of styles, and everything that moves (`view`).
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from penstock.cli._demo.scenario import TARGETS, Scenario
from penstock.cli._demo.tally import Tally

__all__ = ["PICTURED", "Row", "bar", "picture"]

PICTURED = f"Who answered when ({', else '.join(TARGETS)}), and what was wrong meanwhile"
"""The picture's heading: whoever sees it for the first time learns from it who is asked first."""

HEIGHTS = " ▁▂▃▄▅▆▇█"
PLAIN_HEIGHTS = " .:-=+*#@"


@attrs.frozen
class Row:
    """One line of the picture."""

    label: str
    cells: str
    count: str
    style: str


def picture(scenario: Scenario, tally: Tally, *, unicode: bool) -> list[Row]:
    """A row of columns for each target and one for the cache; faults stand under the target that has them."""
    heights = HEIGHTS if unicode else PLAIN_HEIGHTS
    highest = max(max(row) for row in tally.answers.values()) or 1
    rows: list[Row] = []
    for name in (*TARGETS, "cache"):
        counts = tally.answers[name]
        cells = "".join(heights[-(-count * (len(heights) - 1) // highest)] for count in counts)
        rows.append(Row(name, cells, str(sum(counts)), "cyan" if name == "cache" else "green"))
        if name != "cache":
            rows.append(Row("", _faults(scenario, name, len(counts), unicode=unicode), "", "red"))
    rows.append(Row("", _seconds(scenario, tally), "", "dim"))
    return rows


def bar(share: float, width: int, *, unicode: bool) -> str:
    """A bar that is filled to a share from 0 to 1."""
    full = min(width, max(0, round(share * width)))
    return ("█" if unicode else "#") * full + ("░" if unicode else ".") * (width - full)


def _faults(scenario: Scenario, target: str, width: int, *, unicode: bool) -> str:
    cells = [" "] * width
    line = "─" if unicode else "-"
    for start, end, label in _spans(scenario, target, width):
        cells[start:end] = label.center(end - start, line)[: end - start]
    return "".join(cells)


def _spans(scenario: Scenario, target: str, width: int) -> Iterator[tuple[int, int, str]]:
    for outage in scenario.outages:
        if target in outage.targets:
            start = round(outage.from_s / scenario.length * width)
            yield start, round(outage.until_s / scenario.length * width), outage.label


def _seconds(scenario: Scenario, tally: Tally) -> str:
    """A scale under the picture: the second at which each tick stands."""
    cells = [" "] * tally.bins
    step = max(1, round(scenario.length / 5))
    for second in range(0, int(scenario.length), step):
        mark = f"{second} s"
        place = round(second / tally.bin_s)
        cells[place : place + len(mark)] = mark
    return "".join(cells)[: tally.bins]
