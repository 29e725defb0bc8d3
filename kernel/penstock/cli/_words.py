"""Figures and foreign text as a terminal should show them. Pure.

Not here: tables and colours.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime
from decimal import Decimal

__all__ = ["days_since", "dollars", "escaped", "json_in", "plain", "seconds", "short_tokens", "span", "tokens"]

# What moves a cursor, sets a title or rings a bell: everything of C0 and C1 but line breaks and tabs.
_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in (*range(32), 127, *range(128, 160)) if code not in b"\n\t"}

_UNSEEN = re.compile(r"[\x7f-\x9f]")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


def json_in(encoding: str, line: str) -> str:
    """JSON as it can be written there: escapes stand for what an encoding has not, and for what moves a cursor."""
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        return _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], line).replace("\x7f", "\\u007f")
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def plain(text: str) -> str:
    """Text of others, harmless to a terminal: a model or a provider may write escape sequences."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


def escaped(text: str) -> str:
    """A name or a reason as one line that hides nothing: what cannot be seen, or turns what follows around, is told.

    Answers are not for it: in several scripts what cannot be seen has its place.
    """
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def dollars(amount: Decimal | float | None) -> str:
    """An amount of USD; small ones with as many digits as say something."""
    if amount is None:
        return "price unknown"
    size = abs(float(amount))
    if size == 0:
        return "$0"
    digits = 2 if size >= 10 else 4 if size >= 0.01 else 6
    return f"{'-' if amount < 0 else ''}${abs(amount):,.{digits}f}"


def tokens(count: int) -> str:
    """A count, with its thousands apart."""
    return f"{count:,}"


def short_tokens(count: int) -> str:
    """A count in nine characters: from ten million on four digits."""
    if abs(count) < 10_000_000:
        return f"{count:,}"
    size, unit = (10**6, "M") if abs(count) < 9_999_500_000 else (10**9, "G")
    return f"{count / size:,.4g} {unit}"


def seconds(span: float) -> str:
    """A span of time."""
    return f"{span * 1000:.0f} ms" if span < 1 else f"{span:.1f} s"


def span(length: float) -> str:
    """A longer span of time, in its two largest units."""
    left = round(length)
    for size, unit, smaller, small in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min")):
        if left >= size:
            return f"{left // size} {unit} {left % size // smaller} {small}"
    return f"{left // 60} min" if left >= 120 else f"{left} s"


def days_since(day: str, now: float) -> int | None:
    """From an ISO date to that Unix time, in UTC; None where it is no date."""
    try:
        return (datetime.fromtimestamp(now, UTC).date() - date.fromisoformat(day)).days
    except ValueError:
        return None
