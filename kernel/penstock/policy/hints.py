"""When a server says to come back: every spelling of that hint, as seconds from now.

Not here: whether the hint is obeyed (`retry`, `routing`), and which responses may carry one: some servers send
`retry-after` with a 200, so ask only about errors. A hint that is not positive, not finite or not readable is none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast

from penstock.types import Headers

__all__ = [
    "LONGEST_HINT",
    "parse_duration",
    "parse_moment",
    "retry_after",
    "retry_delay",
    "retry_in_words",
    "stated_retry_after",
]

LONGEST_HINT = 86_400.0
"""Seconds for which anybody is left alone at a server's word. Limits of a day are the longest that are told of; more is
a slip (a time in milliseconds, a date of another year), and whoever means it is asked once a day."""

_UNIT_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "\u00b5s": 1e-6,  # the micro sign
    "\u03bcs": 1e-6,  # the Greek letter, which Go prints too
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_WORD_S = {"millisecond": 1e-3, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}

_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{0,18})?", re.ASCII)
_PIECE = r"([0-9]{1,18}(?:\.[0-9]{0,18})?) ?([a-z\u00b5\u03bc]{1,12})"
_DURATION = re.compile(r"(?:[0-9]{1,18}(?:\.[0-9]{0,18})?(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h|d))+")
_PIECES = re.compile(_PIECE)
_IN_WORDS = re.compile(rf"(?:try again|retry)(?: again)? (?:in|after) ((?:{_PIECE}(?:,| and)? ?)+)")

# Bare numbers grow from seconds to a moment: 10**9 s after 1970 lies in 2001, and 10**11 s in the year 5138.
_EPOCH_S = 1e9
_EPOCH_MS = 1e11


MILLISECONDS = ("retry-after-ms", "x-ms-retry-after-ms", "x-amz-retry-after")
"""Headers that name a wait in milliseconds: of OpenAI and Azure, of Azure's gateways, of AWS."""


def parse_duration(text: str) -> float | None:
    """Seconds of a duration as Go writes it (`6ms`, `17.379s`, `2m59.56s`); None for anything else."""
    text = text.strip()
    return _sum(text) if len(text) <= 200 and _DURATION.fullmatch(text) else None


def parse_moment(text: str, *, now: float) -> float | None:
    """Seconds from `now` (Unix time) until what `text` says; negative where it is past, None where it says nothing.

    Takes seconds, epoch seconds, epoch milliseconds, Go durations, RFC 3339 and HTTP dates.
    """
    text = text.strip()
    if _NUMBER.fullmatch(text):
        value = float(text)
        if value >= _EPOCH_MS:
            return value / 1000 - now
        return value - now if value >= _EPOCH_S else value
    duration = parse_duration(text)
    if duration is not None:
        return duration
    moment = _date(text)
    return None if moment is None else (moment - _EPOCH).total_seconds() - now


def stated_retry_after(headers: Headers, *, now: float) -> float | None:
    """What a header of `MILLISECONDS` or `retry-after` states, in seconds.

    Azure sends `retry-after-ms: 0` beside `retry-after: 1`: a zero says nothing, and the next header is asked.
    """
    told = dict(headers)
    for name in MILLISECONDS:
        value = told.get(name, "").strip()
        if _NUMBER.fullmatch(value) and float(value) > 0:
            return float(value) / 1000
    return _positive(parse_moment(told.get("retry-after", ""), now=now))


def retry_after(headers: Headers, *, now: float) -> float | None:
    """Seconds until the server wants to be asked again: what it states, else the last reset of what is used up.

    A limit counts as used up where its `remaining` is 0, or where the server sends only a reset. The longest wins:
    a request needs every one of them.
    """
    stated = stated_retry_after(headers, now=now)
    return stated if stated is not None else _exhausted_reset(headers, now=now)


def retry_in_words(sentence: str) -> float | None:
    """Seconds from a sentence: "Please try again in 6m0s", "retry after 55 seconds"; None where it names none."""
    found = _IN_WORDS.search(sentence[:4000].lower())
    return _positive(_sum(found[1])) if found else None


def retry_delay(details: object) -> float | None:
    """Seconds from the `RetryInfo` among Google's error details, which no header repeats."""
    if not isinstance(details, list):
        return None
    for detail in cast("list[object]", details):
        match detail:
            case {"@type": str(kind), "retryDelay": str(delay)} if kind.endswith("RetryInfo"):
                return _positive(parse_duration(delay))
            case _:
                pass
    return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _date(text: str) -> datetime | None:
    """RFC 3339, else an HTTP date; a date without a zone is in UTC."""
    try:
        moment = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):  # email.utils lets all of these through on junk
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _exhausted_reset(headers: Headers, *, now: float) -> float | None:
    told = dict(headers)
    return max(_positive_values(_resets(told, now)), default=None)


def _resets(told: Mapping[str, str], now: float) -> Iterable[float | None]:
    for name, value in told.items():
        if "ratelimit" in name and "reset" in name and _used_up(told.get(name.replace("reset", "remaining"))):
            yield parse_moment(value, now=now)


def _used_up(remaining: str | None) -> bool:
    if remaining is None:
        return True
    return bool(_NUMBER.fullmatch(remaining.strip())) and float(remaining) <= 0


def _positive(seconds: float | None) -> float | None:
    return seconds if seconds is not None and seconds > 0 and math.isfinite(seconds) else None


def _positive_values(values: Iterable[float | None]) -> Iterable[float]:
    return (seconds for seconds in values if seconds is not None and _positive(seconds) is not None)


def _sum(text: str) -> float | None:
    """The pieces of a duration added up; None where a unit is none of ours."""
    total = 0.0
    for number, unit in _PIECES.findall(text):
        factor = _UNIT_S.get(unit) or _WORD_S.get(unit.removesuffix("s"))
        if factor is None:
            return None
        total += float(number) * factor
    return total
