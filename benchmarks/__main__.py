"""Measures everything in one run: `python -m benchmarks`, from the root of the checkout.

Clients run on one core, a pre-rendered upstream on the other. Peers live in environments of their own, which the first
run builds under `.venv-benchmarks/`. Rounds are interleaved: in each, every row has its turn. The figures go to
`build/benchmarks/`: `figures.json`, `figures.txt`, and `calls.svg`, a picture of the calls. The run is void, and the
program ends with 1, where the machine was too busy for ratios to mean anything, or the upstream too slow; calls that do
not count for that are measured again at once, up to three times in all, and what was wrong before is told. Where rows
or sections were left out by which it is judged whether a run counts, it says so. `python -m benchmarks.report.publish`
takes what a whole run left to the README.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.environments import ROOT
from benchmarks.processes import Upstream, cores
from benchmarks.report.goals import goals, unjudged
from benchmarks.report.picture import drawn
from benchmarks.report.table import lines
from benchmarks.roster import ROSTER
from benchmarks.sections import SECTIONS

EXCLUDED = (
    "the upstream's CPU",
    "TLS",
    "looking up names",
    "connecting and importing, but where they are what is measured (every measurement warms up first)",
)
REDUCED_BELOW = 100
"""Calls of a measurement: with fewer, the sizes of everything else are small as well, and no figure means anything."""


def main() -> int:
    given = arguments()
    # Both as they are now: the tree may be another when it is over, and the load is the run's own.
    began = {"commit": commit(), "machine": machine()}
    bench_core, upstream_core = cores()
    upstream = Upstream(upstream_core)
    rows = tuple(name for name in ROSTER if given.rows is None or name in given.rows.split(","))
    bench = Bench(upstream, bench_core, rows, given.rounds, given.calls, reduced=given.calls < REDUCED_BELOW)
    sections: dict[str, Any] = {}
    took_s: dict[str, int] = {}
    try:
        for name in given.sections.split(","):
            at = time.monotonic()
            print(f"{name} ", end="", file=sys.stderr, flush=True)
            sections[name] = SECTIONS[name](bench)
            took_s[name] = round(time.monotonic() - at)
            print(f"  {took_s[name]} s", file=sys.stderr)
    finally:
        bench.close()
        upstream.close()
    figures = gathered(bench, sections, began | {"took_s": took_s})
    write(figures, given.out)
    return 1 if figures["void"] else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="of which medians are taken")
    parser.add_argument("--calls", type=int, default=300, help="of each measurement, at least two for each caller")
    parser.add_argument("--rows", help=f"of {','.join(ROSTER)}; all of them where nothing is said")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="all of them where nothing is said")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks")
    given = parser.parse_args()
    unknown = {*given.sections.split(",")} - SECTIONS.keys() | {*(given.rows or "floor").split(",")} - ROSTER.keys()
    if unknown:
        parser.error(f"there is no {' and no '.join(sorted(unknown))}")
    return given


def gathered(bench: Bench, sections: dict[str, Any], circumstances: dict[str, Any]) -> dict[str, Any]:
    """Everything that is written: the form of the JSON."""
    calls = sections.get("calls", {})
    judged = goals(sections)
    return {
        "form": 1,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        **circumstances,
        "rounds": bench.rounds,
        "calls": bench.calls,
        "reduced": bench.reduced,
        "excluded": EXCLUDED,
        "void": calls.get("void", []),
        "unchecked": calls.get("unchecked", ["calls were not measured: whether the machine was quiet is not known"]),
        "rows": {
            name: {"title": ROSTER[name].title, "status": bench.status(name)} | bench.told.get(name, {})
            for name in bench.rows
        },
        "sections": sections,
        "goals": [goal._asdict() | {"met": goal.is_met} for goal in judged],
        "unjudged": unjudged(sections, {name: bench.status(name) for name in bench.rows}),
    }


def commit() -> str:
    """What was measured, by git; where there is none, the version of penstock must do."""
    asked = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def machine() -> dict[str, Any]:
    """It, as it is before anything is measured."""
    information = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (information.read_text().splitlines() if information.exists() else ())
        if line.startswith("model name")
    ]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "pinned": cores() != (None, None),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 1),
    }


def write(figures: dict[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    said = "\n".join(lines(figures)) + "\n"
    print(said, end="")
    (out / "figures.txt").write_text(said)
    (out / "figures.json").write_text(json.dumps(figures, indent=1))
    if "rows" in figures["sections"].get("calls", {}):
        (out / "calls.svg").write_text(drawn(figures))


if __name__ == "__main__":
    sys.exit(main())
