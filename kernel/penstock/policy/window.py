"""The spans of time that limits are counted in: calendar windows in a time zone, and the buckets of rolling ones.

Not here: what was spent in them (counted_window), and what may be (budget). Times are Unix seconds.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

__all__ = ["ROLLING_BUCKETS", "Per", "WindowSpan", "bucket_at", "check_zone", "rolling_period", "window_at"]

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


def window_at(per: Per, now: float, zone: str = "UTC") -> WindowSpan:
    """The calendar window that `now` lies in.

    Laws: every instant lies in exactly one window, windows are never empty, and all instants of one window are given
    the same one. A day begins when the zone's calendar first shows its date; an hour lasts until its clock next shows
    another full hour: where the clock is set back, the hour that it shows twice is two windows.
    """
    match per:
        case Per.MINUTE:
            start = math.floor(now / 60) * 60
            return WindowSpan(start, start + 60)
        case Per.HOUR:
            return _hour_at(math.floor(now), ZoneInfo(zone))
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


def _hour_at(now: int, zone: ZoneInfo) -> WindowSpan:
    start = _hour_start(now, zone)
    # Two hours are 3,600 s apart, but where a zone shifts by half an hour one of them is longer.
    probe = start + 3_600
    end = _hour_start(probe, zone)
    while end <= now:
        probe += 900
        end = _hour_start(probe, zone)
    return WindowSpan(start, end)


def _hour_start(now: int, zone: ZoneInfo) -> int:
    # `fold` is kept: it tells the two hours of the same name apart.
    return int(datetime.fromtimestamp(now, zone).replace(minute=0, second=0).timestamp())


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
