"""The spans of time that limits are counted in: calendar windows in a time zone, and the buckets of rolling ones.

Not here: what was spent in them (counted_window), and what may be (budget). Times are Unix seconds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

__all__ = [
    "ROLLING_BUCKETS",
    "Per",
    "WindowSpan",
    "bucket_at",
    "check_zone",
    "rolling_period",
    "time_in_words",
    "window_at",
]

ROLLING_BUCKETS = 60


class Per(enum.Enum):
    """What a limit is counted over."""

    REQUEST = "request"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@attrs.frozen
class WindowSpan:
    """From `start` up to, not including, `end`."""

    start: float
    end: float


# A rolling month has 30 days: the calendar's have no one length.
_LENGTHS = {Per.MINUTE: 60, Per.HOUR: 3_600, Per.DAY: 86_400, Per.MONTH: 30 * 86_400}


def rolling_period(per: str) -> int:
    """Seconds that a rolling window of that period is long."""
    return _LENGTHS[Per(per)]


def check_zone(name: str) -> None:
    """Raises ValueError where `name` is no time zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # OSError: the name of a folder of the zone database ("Europe").
        raise ValueError(f"{name!r} is not a time zone of the IANA database, such as 'Europe/Berlin'") from None


def time_in_words(now: float) -> str:
    """Such as "2026-05-04 12:00:00 UTC"."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def window_at(per: Per, now: float, zone: str = "UTC") -> WindowSpan:
    """The calendar window that `now` lies in.

    Laws: every instant lies in exactly one window, windows are never empty, and all instants of one window are given
    the same one. A day begins when the zone's calendar first shows its date; an hour lasts until its clock next shows
    a full hour, or is set past one: where the clock is set back to one, the hour that it shows twice is two windows.
    """
    match per:
        case Per.MINUTE:
            start = math.floor(now / 60) * 60
            return WindowSpan(start, start + 60)
        case Per.HOUR:
            second, clock = math.floor(now), ZoneInfo(zone)
            return WindowSpan(_hour_start(second, clock), _hour_end(second, clock))
        case Per.DAY:
            return _dates_at(math.floor(now), ZoneInfo(zone), lambda day: day, _next_day)
        case Per.MONTH:
            return _dates_at(math.floor(now), ZoneInfo(zone), lambda day: day.replace(day=1), _next_month)
        case Per.REQUEST:
            raise ValueError("a limit per request has no window")


def bucket_at(per: Per, now: float) -> WindowSpan:
    """The bucket of a rolling window that a charge at `now` falls into: `end` is when it leaves the window.

    Laws: a charge counts for the whole period, and for less than a sixtieth of it longer. So whatever is kept below
    the limit in the buckets is below it in every span of that length.
    """
    if per is Per.REQUEST:
        raise ValueError("a limit per request has no window")
    length = _LENGTHS[per]
    width = length // ROLLING_BUCKETS
    # Buckets are open to the left: one is named by its last instant, and no charge in it is younger than that.
    last = math.ceil(now / width) * width
    return WindowSpan(last - width, last + length)


def _hour_start(now: int, zone: ZoneInfo) -> int:
    full = now - _clock(now, zone) % 3_600
    changed = _change(full, now, zone)
    if changed is None:
        return full
    return changed if _begins_hour(changed, zone) else _hour_start(changed - 1, zone)


def _hour_end(now: int, zone: ZoneInfo) -> int:
    full = now - _clock(now, zone) % 3_600 + 3_600
    changed = _change(now, full, zone)
    if changed is None:
        return full
    return changed if _begins_hour(changed, zone) else _hour_end(changed, zone)


def _begins_hour(changed: int, zone: ZoneInfo) -> bool:
    # The clock was set there: to a full hour, or past one. Set by half an hour, or at one minute past midnight
    # (St John's, until 2011), it may show the rest of an hour that has begun.
    shows = _clock(changed, zone)
    return shows % 3_600 == 0 or shows // 3_600 > _clock(changed - 1, zone) // 3_600


def _change(since: int, until: int, zone: ZoneInfo) -> int | None:
    """The instant after `since`, up to `until`, at which the clock of the zone was set; None: it was not."""
    before = _clock(since, zone) - since
    if _clock(until, zone) - until == before:
        return None
    while until - since > 1:
        middle = (since + until) // 2
        if _clock(middle, zone) - middle == before:
            since = middle
        else:
            until = middle
    return until


def _clock(now: int, zone: ZoneInfo) -> int:
    """What the zone's clock shows, as the seconds of a calendar that is never set."""
    offset = datetime.fromtimestamp(now, zone).utcoffset()
    assert offset is not None
    return now + int(offset.total_seconds())


def _dates_at(
    now: int, zone: ZoneInfo, first_of: Callable[[date], date], next_of: Callable[[date], date]
) -> WindowSpan:
    first = first_of(datetime.fromtimestamp(now, zone).date())
    start, end = _midnight(first, zone), _midnight(next_of(first), zone)
    while end <= now:
        # The clock was set back across midnight: it shows the day before again, whose window is over. Or the calendar
        # has left out a day.
        first = next_of(first)
        start, end = end, _midnight(next_of(first), zone)
    return WindowSpan(start, end)


def _midnight(day: date, zone: ZoneInfo) -> int:
    # Where midnight comes twice this is its first; where it is left out, the instant that takes its place.
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp())


def _next_day(day: date) -> date:
    return day + timedelta(days=1)


def _next_month(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)
