"""Values on lines of their own, one below the other, that are the list that is asked for.

Not here: how few of them are read, one by one (`json_finding`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.policy.json_notation import SCANNER
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json
from penstock.policy.json_wholes import decoded, is_sound
from penstock.policy.schema_knowledge import NONE, wants_array

__all__ = ["BETWEEN_LINES", "LAST_LINE", "Lines", "besides", "lines_together"]

FEW_LINES = 64
"""Lines that are read one by one; more of them are read together."""

BETWEEN_LINES = re.compile(r"[\s,]*+\Z")
# Behind the last of several lines: the end, a fence's or a tag's, or a text of its own.
LAST_LINE = re.compile(r"\s*+(?:\Z|```|~~~|</|<\|)|[ \t]*+\n[ \t]*+\n\s*+[A-Za-z]")
_RUN = re.compile(r"^[ \t]*+(?P<lines>(?:[{\[][^\n]*+(?<=[}\],\s])(?:\n\s*+|\Z))++)", re.MULTILINE)

Lines = dict[int, tuple[Json, int]]
"""Where a run of lines begins, the list that it is, and where it ends."""


def lines_together(text: str, at: int, check: SchemaCheck | None) -> Lines:
    """Runs of many lines with a value on each, where they are the list that is asked for.

    Each is read at once, in the time that C takes for it.
    """
    found: Lines = {}
    if check is None or text.count("\n", at) < FEW_LINES or not wants_array(check.schema):
        return found
    for run in _RUN.finditer(text, at):
        if run[0].count("\n") < FEW_LINES - 1:
            continue
        start, end = run.start("lines"), len(run[0].rstrip().rstrip(",")) + run.start()
        if LAST_LINE.match(text, end) is None or not _may_fit(text, start, end, check):
            continue
        lines = [line for each in text[start:end].split("\n") if (line := each.rstrip().rstrip(","))]
        if len(lines) < FEW_LINES:
            continue
        try:
            value = SCANNER.decode(f"[{','.join(lines)}]")
        except (ValueError, RecursionError):
            continue
        if len(value) == len(lines) and is_sound(text, start, end, value) and check.fits(value):
            found[start] = value, end
    return found


def _may_fit(text: str, start: int, end: int, check: SchemaCheck) -> bool:
    """Whether the first line and the last could be the list by themselves: where they are none, all are not."""
    first, last = text[start : text.find("\n", start)], text[text.rfind("\n", start, end) + 1 : end]
    values = [decoded(line.rstrip().rstrip(",")) for line in (first, last)]
    if NONE in values:
        return False
    # Of a list that may hold nothing twice, two are tried; of one that has to be long, many.
    return check.fits(values) or check.fits([values[0], *values[1:] * (FEW_LINES - 1)])


def besides(text: str, lines: Lines) -> Iterator[str]:
    """The text without them."""
    at = 0
    for start, (_, end) in lines.items():
        yield text[at:start]
        at = end
    yield text[at:]
