"""The fault matrix as a page: what a run of it has found, in words.

Not here: running it (`kernel/test_fault_matrix`). Everything but the bounds of time comes from what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from fault_cells import ATTEMPTS, COMMITS, TIMEOUT, TIMEOUTS, Cell, Mode, Route, Told, WireName
from fault_table import ROWS, expected

__all__ = ["document"]

Found = Sequence[tuple[Cell, Told]]
NAMES: Mapping[WireName, str] = {"anthropic": "Anthropic", "openai": "OpenAI"}
LIMITS = (
    "Timeouts are " + ", ".join(f"{phase.replace('_', ' ')} {limit:g} s" for phase, limit in TIMEOUTS.items())
) + f"; a call has {TIMEOUT:g} s."
HEAD = f"""# What penstock makes of every fault

Written by `tests/kernel/test_fault_matrix.py` from what it saw; `PENSTOCK_WRITE_DOCS=1` writes it anew.

Each line is a fault that the primary has at every attempt: the wire of Anthropic and that of OpenAI, each in turn. The
primary may be tried {ATTEMPTS} times; the fallback speaks the other wire and is healthy.
{LIMITS}

Every call is also held to what `kernel.explain` said before it (time, attempts, cost), leaves no hold, slot or response
open, and books what the upstream's own ledger counts: exactly that where the upstream told its usage, and where it did
not (*estimated*) never less.

How to read a cell: how each attempt at the primary ended, then how the call did. *answer* is the primary's own,
*fallback answers* is a whole answer of the other; an error is named by its class. The time is the most that the call
may take.
"""
POLICIES = """
## What the commit policies make of a stream that breaks after its first content

For every other fault they are alike. `complete` shows nothing before its end, so none of this is seen there; with
`continue`, where the answer is streamed upstream, the fallback goes on from what came, as it would for a stream. *part*
is what was shown of an attempt that broke, *whole* an answer to its end; *restarted* and *seam* are the markers that a
consumer sees: drop what you have, or go on from it. Of the two targets only Anthropic's takes a prefill to go on from.
`buffer` waits for 40 characters here.
"""


def document(found: Mapping[str, Found]) -> str:
    """The page."""
    columns: tuple[tuple[Mode, Route], ...] = (
        ("complete", "alone"),
        ("complete", "fallback"),
        ("stream", "alone"),
        ("stream", "fallback"),
    )
    lines = [
        HEAD,
        "| fault | complete, primary only | complete, with fallback | stream, primary only | stream, with fallback | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, seen in found.items():
        texts = [_cell(name, _pick(seen, mode, route, "first_content")) for mode, route in columns]
        lines.append(f"| {name} | {' | '.join(texts)} | {ROWS[name].note} |")
    lines += [POLICIES, f"| fault | route | {' | '.join(f'`{commit}`' for commit in COMMITS)} |"]
    lines.append("| --- | --- " + "| --- " * len(COMMITS) + "|")
    for name, seen in found.items():
        for route in ("alone", "fallback"):
            shown = {commit: _shown(_pick(seen, "stream", route, commit)) for commit in COMMITS}
            if len(set(shown.values())) > 1:
                words = "primary only" if route == "alone" else "with fallback"
                lines.append(f"| {name} | {words} | {' | '.join(shown.values())} |")
    return "\n".join(lines) + "\n"


def _pick(found: Found, mode: Mode, route: Route, commit: str) -> Found:
    """One cell for each wire."""
    return [(cell, told) for cell, told in found if (cell.mode, cell.route, cell.commit) == (mode, route, commit)]


def _cell(name: str, found: Found) -> str:
    """What both wires came to, said once where they are alike."""
    texts = {NAMES[cell.wire]: _told(name, cell, told) for cell, told in found}
    return _once(texts)


def _told(name: str, cell: Cell, told: Told) -> str:
    primary = [attempt.removeprefix("P:") for attempt in told.attempts.split(", ") if attempt.startswith("P:")]
    failed = [f"`{kind}`" + _times(len(list(times))) for kind, times in groupby(primary) if kind != "ok"]
    end = f"`{told.end}`"
    if told.end.startswith("answer"):
        finish = told.end.removeprefix("answer: ")
        end = "fallback answers" if "F:ok" in told.attempts else "answer"
        end += "" if finish == "stop" else f" (`{finish}`)"
    elif told.shown != "nothing":
        end += " with what was shown"
    limit = expected(ROWS[name], cell).at_most
    marks = [f"≤ {limit:g} s"] if limit else ["at once"]
    marks += ["estimated"] if told.usage == "estimated" else []
    return f"{', '.join([*failed, end])}; {', '.join(marks)}"


def _shown(found: Found) -> str:
    texts = {NAMES[cell.wire]: _seen(told) for cell, told in found}
    return _once(texts)


def _seen(told: Told) -> str:
    """The pieces without their numbers, and the error in which it ends."""
    pieces = [" ".join(word for word in piece.split() if not word.isdigit()) for piece in told.shown.split(", ")]
    end = [] if told.end.startswith("answer") else [f"`{told.end}`"]
    return ", ".join([*pieces, *end])


def _once(texts: Mapping[str, str]) -> str:
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "<br>".join(f"{wire}: {text}" for wire, text in texts.items())


def _times(count: int) -> str:
    return "" if count == 1 else f" x {count}"
