"""The picture of a run: bars of CPU for each row, one call at a time and 32 at once, drawn from the JSON alone.

Half as wide as a page, so that it can be read on a phone, and in the colours that whoever looks at it has chosen.

By hand: `python -m benchmarks.report.picture build/benchmarks/figures.json > calls.svg`.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.roster import ROSTER

__all__ = ["drawn"]

Figures = dict[str, Any]
LEVELS = {"1": ("one at a time", "one"), "32": ("32 at once", "many")}
"""By concurrency: what it is called, and the class of its bars."""
WIDTH, EDGE = 480, 12
TITLE, BAR, GAP = 15, 7, 7
TOP = 62
LINE, LINE_OF = 14, 74
"""Of what stands below: its height, and how many letters go into it."""
STYLE = """
text{font-family:system-ui,sans-serif;fill:#1f2328}
.back{fill:#ffffff}.dim{fill:#59636e}.void{fill:#cf222e}
.one{fill:#a9c1d1}.many{fill:#2f6c8f}.ours.one{fill:#eab3a5}.ours.many{fill:#c8553d}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}
.back{fill:#0d1117}.dim{fill:#9198a1}.void{fill:#ff7b72}
.one{fill:#52758b}.many{fill:#7fb8d8}.ours.one{fill:#a5614f}.ours.many{fill:#f0886e}
}
"""


def drawn(figures: Figures) -> str:
    """An SVG. The run must have figures of calls."""
    rows = figures["sections"]["calls"]["rows"]
    calling = [name for name in figures["rows"] if name in ROSTER and ROSTER[name].calls]
    shown = sorted(
        (name for name in calling if all(level in rows.get(name, {}) for level in LEVELS)),
        key=lambda name: rows[name]["32"]["cpu_us"],
    )
    longest = max((rows[name][level]["cpu_us"] for name in shown for level in LEVELS), default=1.0)
    each = TITLE + len(LEVELS) * BAR + GAP
    below = list(words(figures, [name for name in calling if name not in shown]))
    height = TOP + len(shown) * each + 8 + len(below) * LINE + EDGE
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
            ' role="img">'
        ),
        "<title>CPU of the client for one call, in microseconds</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}"/>',
        text(EDGE, 24, "CPU of the client for one call, in microseconds", size=16, bold=True),
        *legend(),
    ]
    for at, name in enumerate(shown):
        parts += bars(name, rows[name], TOP + at * each, (WIDTH - 2 * EDGE) / longest)
    bottom = height - EDGE - len(below) * LINE + LINE - 4
    parts += [
        text(EDGE, bottom + at * LINE, line, size=11, kind="void" if line.startswith("VOID") else "dim")
        for at, line in enumerate(below)
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"


def legend() -> Iterator[str]:
    """Which bar is which."""
    for at, (said, kind) in enumerate(LEVELS.values()):
        x = EDGE + at * 130
        yield f'<rect class="{kind}" x="{x}" y="36" width="12" height="12"/>'
        yield text(x + 18, 46.5, said, size=13)


def bars(name: str, row: Figures, y: int, scale: float) -> Iterator[str]:
    """What a row is called and its figures, and below them its bars."""
    ours = name.startswith("penstock")
    yield text(EDGE, y + TITLE - 4, ROSTER[name].title, bold=ours)
    said = " and ".join(f"{row[level]['cpu_us']:,.0f}" for level in LEVELS)
    yield text(WIDTH - EDGE, y + TITLE - 4, said, anchor="end", bold=ours)
    for at, (level, (_, kind)) in enumerate(LEVELS.items()):
        kinds = f"ours {kind}" if ours else kind
        top, length = y + TITLE + at * BAR, max(1.0, row[level]["cpu_us"] * scale)
        yield f'<rect class="{kinds}" x="{EDGE}" y="{top}" width="{length:.1f}" height="{BAR - 1}"/>'


def words(figures: Figures, missing: list[str]) -> Iterator[str]:
    """What has to be known to read the figures, in lines."""
    machine = figures["machine"]
    said = [f"VOID: {reason}" for reason in figures["void"]]
    said += [f"Not measured: {ROSTER[name].title} ({figures['rows'][name]['status']})" for name in missing]
    said += [
        (
            f"{figures['when'][:10]}, {machine['cpu']}, {machine['cores']} cores, {machine['system']}, Python "
            f"{machine['python']}. Medians of {figures['rounds']} rounds of {figures['calls']} calls."
        ),
        f"Excluded: {'; '.join(figures['excluded'])}.",
        (
            "penstock's calls are routed, budgeted, cached (a miss and a store) and guarded by breakers; what the "
            "others do, and in which versions, is in the table beside the JSON."
        ),
    ]
    for each in said:
        yield from textwrap.wrap(each, LINE_OF)


def text(
    x: float,
    y: float,
    said: str,
    *,
    size: int = 13,
    anchor: str = "start",
    bold: bool = False,
    kind: str = "",
) -> str:
    named = f' class="{kind}"' if kind else ""
    weight = ' font-weight="bold"' if bold else ""
    placed = f'x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}"'
    return f"<text{named} {placed}{weight}>{escape(said)}</text>"


if __name__ == "__main__":
    print(drawn(json.loads(Path(sys.argv[1]).read_text())), end="")
