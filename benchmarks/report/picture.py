"""The picture of a run: a bar of CPU for each row, one call at a time and 32 at once, drawn from the JSON alone."""

from __future__ import annotations

from html import escape
from typing import Any

from benchmarks.roster import ROSTER

__all__ = ["drawn"]

Figures = dict[str, Any]
LEVELS = (("1", "#9db8c9"), ("32", "#2f6c8f"))
OURS = "#c8553d"
"""The darker bar of a row of penstock."""
WIDTH, LEFT, RIGHT = 780, 230, 80
BAR, GAP, TOP = 9, 8, 46


def drawn(figures: Figures) -> str:
    """An SVG. The run must have figures of calls."""
    rows = figures["sections"]["calls"]["rows"]
    shown = sorted(
        (name for name in ROSTER if all(level in rows.get(name, {}) for level, _ in LEVELS)),
        key=lambda name: rows[name]["32"]["cpu_us"],
    )
    longest = max(rows[name][level]["cpu_us"] for name in shown for level, _ in LEVELS)
    scale = (WIDTH - LEFT - RIGHT) / longest
    height = TOP + len(shown) * (2 * BAR + GAP) + 24
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        text(12, 20, "CPU of the client for one call, in microseconds", size=14),
    ]
    for at, (level, colour) in enumerate(LEVELS):
        x = LEFT + at * 130
        parts.append(f'<rect x="{x}" y="29" width="10" height="10" fill="{colour}"/>')
        parts.append(text(x + 15, 38, "one at a time" if level == "1" else f"{level} at once", size=11))
    for at, name in enumerate(shown):
        parts += bars(name, rows[name], TOP + at * (2 * BAR + GAP), scale)
    machine = figures["machine"]
    said = (
        f"{machine['cpu']}, Python {machine['python']}, {figures['when'][:10]}; medians of {figures['rounds']} rounds"
    )
    parts += [text(12, height - 8, said, size=10), "</svg>"]
    return "\n".join(parts) + "\n"


def bars(name: str, row: Figures, y: int, scale: float) -> list[str]:
    """Both bars of a row, its title before and its figures behind."""
    is_ours = name.startswith("penstock")
    parts = [text(LEFT - 8, y + BAR + 4, ROSTER[name].title, anchor="end", weight="bold" if is_ours else "normal")]
    for at, (level, colour) in enumerate(LEVELS):
        cost, top = row[level]["cpu_us"], y + at * BAR
        fill = OURS if is_ours and at else colour
        parts.append(f'<rect x="{LEFT}" y="{top}" width="{cost * scale:.1f}" height="{BAR - 1}" fill="{fill}"/>')
        parts.append(text(LEFT + cost * scale + 4, top + BAR - 1, f"{cost:,.0f}", size=9))
    return parts


def text(x: float, y: float, said: str, *, size: int = 12, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="#222222">{escape(said)}</text>'
    )
