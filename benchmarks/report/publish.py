"""Takes what a whole run left to the repository: `python -m benchmarks.report.publish`, after `python -m benchmarks`.

JSON, table and picture go to `benchmarks/figures/`, and the README is written anew where it shows them. A run that is
void, unchecked or reduced, or lacks rows or sections, is refused: what is shown is what was measured in one go.
With `--draw` nothing is taken over: picture and README are made again from the JSON that is there.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.environments import ROOT
from benchmarks.report.picture import drawn
from benchmarks.report.table import lines, number
from benchmarks.roster import ROSTER
from benchmarks.sections import SECTIONS

__all__ = ["shown_in_readme", "why_not"]

Figures = dict[str, Any]
TAKEN = ROOT / "benchmarks" / "figures"
README = ROOT / "README.md"
BEGINS, ENDS = "<!-- figures -->\n", "<!-- end of figures -->"
LEVELS = ("1", "32", "256")
WIDTH = 120


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--from", dest="source", type=Path, default=ROOT / "build" / "benchmarks")
    parser.add_argument("--draw", action="store_true", help="only draw again what was taken before")
    given = parser.parse_args()
    figures: Figures = json.loads(((TAKEN if given.draw else given.source) / "figures.json").read_text())
    reasons = why_not(figures)
    if reasons:
        print("not taken:", *reasons, sep="\n  ", file=sys.stderr)
        return 1
    TAKEN.mkdir(exist_ok=True)
    (TAKEN / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    (TAKEN / "figures.txt").write_text("\n".join(lines(figures)) + "\n")
    (TAKEN / "calls.svg").write_text(drawn(figures))
    before, rest = README.read_text().split(BEGINS)
    _, after = rest.split(ENDS)
    README.write_text(f"{before}{BEGINS}{shown_in_readme(figures)}{ENDS}{after}")
    return 0


def why_not(figures: Figures) -> list[str]:
    """Why a run is not fit to be shown. Empty: it is."""
    reasons = [*figures["void"], *figures["unchecked"]]
    if figures["reduced"]:
        reasons.append("its sizes are reduced")
    reasons += [f"the section {name} is not in it" for name in SECTIONS if name not in figures["sections"]]
    reasons += [f"the row {name} is not in it" for name in ROSTER if name not in figures["rows"]]
    return reasons


def shown_in_readme(figures: Figures) -> str:
    """The picture, where and when it was measured, what is excluded, and the table."""
    machine, rows = figures["machine"], figures["sections"]["calls"]["rows"]
    ours, floor = rows["penstock_guards"], rows["floor"]
    told = ", ".join(f"{ours[level]['cpu_us'] / floor[level]['cpu_us']:.2f}" for level in LEVELS)
    upstream = figures["sections"]["calls"]["upstream"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}"
    measured = (
        f"Measured on {figures['when'][:10]}, commit {figures['commit']}, on {where}: medians of {figures['rounds']} "
        f"interleaved rounds of {figures['calls']} calls. Excluded: {'; '.join(figures['excluded'])}. All guards over "
        f"the floor, at 1, 32 and 256 at once: {told}. The upstream takes {upstream['saturated_us']:.0f} us a call. "
        "What each row does and leaves out, versions and all other figures are in `benchmarks/figures/figures.txt`."
    )
    picture = (
        f"![CPU of one call, 32 at once: {ours['32']['cpu_us']:,.0f} us with all guards of penstock, "
        f"{floor['32']['cpu_us']:,.0f} us without any](benchmarks/figures/calls.svg)"
    )
    return "\n".join([picture, "", *textwrap.wrap(measured, WIDTH), "", *table(figures)]) + "\n"


def table(figures: Figures) -> Iterator[str]:
    """Every row that makes calls: CPU by concurrency, and calls per second on a slow upstream."""
    calls, waiting = figures["sections"]["calls"]["rows"], figures["sections"]["waiting"]
    rates = waiting.get("rows", {})
    yield (
        f"| CPU of one call in us, so many at once | {' | '.join(LEVELS)} | "
        f"calls/s, {waiting.get('in_flight', '')} in flight on 500 ms |"
    )
    yield f"| --- |{' ---: |' * (len(LEVELS) + 1)}"
    for name in (name for name in ROSTER if ROSTER[name].calls):
        cells = [number(calls.get(name, {}).get(level, {}).get("cpu_us")) for level in LEVELS]
        cells.append(number(rates.get(name, {}).get("calls_per_s")))
        status = figures["rows"][name]["status"]
        title = ROSTER[name].title + ("" if status == "measured" else f" ({status})")
        yield f"| {title} | {' | '.join(cells)} |"


if __name__ == "__main__":
    sys.exit(main())
