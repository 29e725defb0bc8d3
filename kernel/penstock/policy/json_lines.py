"""Values on lines of their own, one below the other, that are the list that is asked for.

Not here: how few of them are read, one by one (`json_finding`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from penstock.policy.json_notation import SCANNER
from penstock.policy.json_schema import SchemaCheck
from penstock.policy.json_values import Json
from penstock.policy.json_wholes import is_sound
from penstock.policy.schema_knowledge import wants_array

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
        start, end = run.start("lines"), len(run[0].rstrip().rstrip(",")) + run.start()
        lines = [line for each in text[start:end].split("\n") if (line := each.rstrip().rstrip(","))]
        if len(lines) < FEW_LINES or LAST_LINE.match(text, end) is None:
            continue
        try:
            value = SCANNER.decode(f"[{','.join(lines)}]")
        except (ValueError, RecursionError):
            continue
        if len(value) == len(lines) and is_sound(text, start, end, value) and check.fits(value):
            found[start] = value, end
    return found


def besides(text: str, lines: Lines) -> Iterator[str]:
    """The text without them."""
    at = 0
    for start, (_, end) in lines.items():
        yield text[at:start]
        at = end
    yield text[at:]
