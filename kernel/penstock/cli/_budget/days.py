"""Days as they are typed, and the time they take up. Pure.

Not here: what was spent in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from penstock.policy.ledger_counting import EARLIEST, LATEST
from penstock.policy.window import Per, WindowSpan, check_zone, window_at

__all__ = ["day_options", "time_of", "today"]


FIRST, LAST = (date(1970, 1, 1) + timedelta(seconds=end, days=days) for end, days in ((EARLIEST, 2), (LATEST, -2)))
"""In every time zone within the times that a ledger takes for one."""


class _Day(click.DateTime):
    """A day that a ledger may know."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        day = super().convert(value, param, ctx).date()
        if not FIRST <= day <= LAST:
            self.fail(
                f"{day} is too far: a ledger knows the days from {FIRST} to {LAST}; leave --to out for all.", param, ctx
            )
        return day


def day_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--from, --to and --timezone: `first`, `last` (both belong to it) and `timezone`."""
    days = _Day(formats=["%Y-%m-%d"])
    for option in (
        click.option(
            "--timezone", default="UTC", metavar="ZONE", callback=_zone, show_default=True, help="Whose days they are."
        ),
        click.option("--to", "last", type=days, metavar="DAY", help="The last day; else there is no end."),
        click.option("--from", "first", type=days, metavar="DAY", help="The first day, such as 2026-11-01."),
    ):
        command = option(command)
    return command


def today(now: float, zone: str) -> date:
    """The date in that zone."""
    return datetime.fromtimestamp(now, ZoneInfo(zone)).date()


def time_of(first: date, last: date | None, zone: str) -> tuple[float, float]:
    """Unix times from the beginning of one day to the end of another. None: there is no end, for the clock of a ledger
    may stand ahead of every day that this machine knows.

    Raises click.UsageError where the last day is before the first.
    """
    if last is None:
        return _span(first, zone).start, math.inf
    if last < first:
        raise click.UsageError(f"--to {last:%Y-%m-%d} is before --from {first:%Y-%m-%d}.")
    return _span(first, zone).start, _span(last, zone).end


def _span(day: date, zone: str) -> WindowSpan:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone))
    return window_at(Per.DAY, noon.timestamp(), zone)


def _zone(_: click.Context, __: click.Parameter, value: str) -> str:
    try:
        check_zone(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None
    return value
