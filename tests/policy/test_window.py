"""Windows of time, against computations that walk instead of calculating."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.window import Per, WindowSpan, bucket_at, check_zone, window_at

# Clocks set at 2 and 3 o'clock, at midnight, at one minute past midnight, by half an hour, with odd offsets, never;
# and a calendar that left out a day.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/St_Johns",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Pacific/Apia",
)
CALENDAR = (Per.MINUTE, Per.HOUR, Per.DAY, Per.MONTH)
SINCE = int(datetime(1996, 1, 1, tzinfo=UTC).timestamp())
UNTIL = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp())

zones = st.sampled_from(ZONES)
instants = st.integers(SINCE, UNTIL) | st.floats(SINCE, UNTIL)


def at(zone: str, *fields: int, fold: int = 0) -> float:
    year, month, day, hour, minute = (*fields, 0, 0)[:5]
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@given(st.sampled_from(CALENDAR), zones, instants, st.floats(0, 1, exclude_max=True))
def test_every_instant_lies_in_exactly_one_window(per: Per, zone: str, now: float, part: float) -> None:
    span = window_at(per, now, zone)
    assert span.start <= now < span.end
    elsewhere = min(span.start + part * (span.end - span.start), span.end - 0.001)
    assert window_at(per, elsewhere, zone) == span
    assert window_at(per, span.end, zone).start == span.end
    assert window_at(per, span.start - 0.5, zone).end == span.start


@given(zones, instants)
def test_a_day_begins_when_the_calendar_first_shows_its_date(zone: str, now: float) -> None:
    start = window_at(Per.DAY, now, zone).start
    tz = ZoneInfo(zone)
    shown = datetime.fromtimestamp(start, tz).date()
    # Walk through the two days before: none of their minutes shows that date.
    minutes = range(int(start) - 2 * 86_400, int(start), 600)
    assert all(datetime.fromtimestamp(minute, tz).date() < shown for minute in minutes)
    assert datetime.fromtimestamp(start - 1, tz).date() < shown


@given(zones, instants)
def test_a_month_is_whole_days_and_begins_on_its_first(zone: str, now: float) -> None:
    month = window_at(Per.MONTH, now, zone)
    first = datetime.fromtimestamp(month.start, ZoneInfo(zone)).date()
    assert first.day == 1
    days, day = 0, window_at(Per.DAY, month.start, zone)
    while day.end < month.end:
        day = window_at(Per.DAY, day.end, zone)
        days += 1
    assert day.end == month.end
    following = date(first.year + (first.month == 12), first.month % 12 + 1, 1)
    left_out = zone == "Pacific/Apia" and (first.year, first.month) == (2011, 12)
    assert days + 1 == (following - first).days - left_out


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", (2026, 3, 28), 24),
        ("Europe/Berlin", (2026, 3, 29), 23),
        ("Europe/Berlin", (2026, 10, 25), 25),
        ("America/New_York", (2026, 3, 8), 23),
        ("America/New_York", (2026, 11, 1), 25),
        ("Australia/Lord_Howe", (2026, 4, 5), 24.5),
        ("America/Havana", (2026, 3, 8), 23),
        ("Asia/Kathmandu", (2026, 3, 29), 24),
    ],
)
def test_a_day_is_as_long_as_its_clock_makes_it(zone: str, day: tuple[int, int, int], hours: float) -> None:
    span = window_at(Per.DAY, at(zone, *day, 12), zone)
    assert (span.end - span.start) / 3_600 == hours


def test_midnight_that_is_left_out_is_the_instant_in_its_place() -> None:
    # In Havana the clock goes from Saturday 23:59:59 to Sunday 01:00.
    span = window_at(Per.DAY, at("America/Havana", 2026, 3, 8, 12), "America/Havana")
    assert datetime.fromtimestamp(span.start, ZoneInfo("America/Havana")).hour == 1


def test_midnight_that_comes_twice_is_the_first() -> None:
    # In Havana the clock goes from Sunday 00:59:59 to Sunday 00:00.
    span = window_at(Per.DAY, at("America/Havana", 2026, 11, 1, 12), "America/Havana")
    assert span.start == at("America/Havana", 2026, 11, 1, fold=0)
    assert span.start == at("America/Havana", 2026, 11, 1, fold=1) - 3_600


def test_a_day_that_began_is_not_left_when_the_clock_goes_back_over_midnight() -> None:
    # In St John's the clock went from Sunday 00:01 back to Saturday 23:01.
    zone = "America/St_Johns"
    first = at(zone, 2010, 11, 7)
    again_saturday = first + 600
    assert datetime.fromtimestamp(again_saturday, ZoneInfo(zone)).day == 6
    assert window_at(Per.DAY, again_saturday, zone) == window_at(Per.DAY, first, zone)


def test_a_day_the_calendar_left_out_has_no_window() -> None:
    zone = "Pacific/Apia"
    before = window_at(Per.DAY, at(zone, 2011, 12, 29, 12), zone)
    after = window_at(Per.DAY, at(zone, 2011, 12, 31, 12), zone)
    assert before.end == after.start


def test_the_hour_that_the_clock_shows_twice_is_two_windows() -> None:
    zone = "Europe/Berlin"
    first = window_at(Per.HOUR, at(zone, 2026, 10, 25, 2, 30, fold=0), zone)
    second = window_at(Per.HOUR, at(zone, 2026, 10, 25, 2, 30, fold=1), zone)
    assert first.end == second.start
    assert second.end - first.start == 7_200


def test_an_hour_begins_at_the_full_hour_of_its_zone() -> None:
    now = at("Asia/Kathmandu", 2026, 5, 1, 9, 20)
    assert window_at(Per.HOUR, now, "Asia/Kathmandu") == WindowSpan(now - 1_200, now + 2_400)
    assert window_at(Per.HOUR, now, "UTC").start == now - 5 * 60 - 30 * 60


@given(
    st.sampled_from([544_591_860, 562_127_460, 752_034_660, 733_894_260, 1_289_097_060, 1_299_987_060]),
    st.integers(-7_300, 7_300),
)
def test_hours_follow_one_another_where_a_clock_is_set_at_one_minute_past_midnight(changed: int, after: int) -> None:
    zone = "America/St_Johns"
    span = window_at(Per.HOUR, changed + after, zone)
    assert span.start <= changed + after < span.end
    assert window_at(Per.HOUR, span.start, zone) == window_at(Per.HOUR, span.end - 1, zone) == span
    assert window_at(Per.HOUR, span.end, zone).start == span.end
    assert window_at(Per.HOUR, span.start - 1, zone).end == span.start
    assert span.end - span.start <= 3_600


def test_half_an_hour_shown_twice_belongs_to_the_hour_that_had_begun() -> None:
    zone = "Australia/Lord_Howe"
    span = window_at(Per.HOUR, at(zone, 2026, 4, 5, 1, 40, fold=1), zone)
    assert span == window_at(Per.HOUR, at(zone, 2026, 4, 5, 1, 40, fold=0), zone)
    assert span.end - span.start == 5_400


@given(zones, instants)
def test_hours_begin_where_the_clock_first_shows_them(zone: str, now: float) -> None:
    span = window_at(Per.HOUR, now, zone)
    tz = ZoneInfo(zone)
    marks = [
        second
        for second in range(int(span.start), int(span.end) + 1, 60)
        if datetime.fromtimestamp(second, tz).minute == 0
    ]
    # The walk sees a full hour at its start (or a clock set forward over it) and at its end, and none between.
    assert [mark for mark in marks if span.start < mark < span.end] == []


@pytest.mark.parametrize(
    ("day", "first", "following"),
    [
        ((2024, 2, 29), (2024, 2, 1), (2024, 3, 1)),
        ((2026, 12, 31), (2026, 12, 1), (2027, 1, 1)),
        ((2026, 3, 29), (2026, 3, 1), (2026, 4, 1)),
        ((2026, 10, 31), (2026, 10, 1), (2026, 11, 1)),
    ],
)
def test_a_month_ends_where_the_next_begins(
    day: tuple[int, int, int], first: tuple[int, int, int], following: tuple[int, int, int]
) -> None:
    zone = "Europe/Berlin"
    assert window_at(Per.MONTH, at(zone, *day, 23, 59), zone) == WindowSpan(at(zone, *first), at(zone, *following))


LENGTHS = {Per.MINUTE: 60, Per.HOUR: 3_600, Per.DAY: 86_400, Per.MONTH: 30 * 86_400}


@given(st.sampled_from(CALENDAR), instants)
def test_a_charge_rolls_out_after_the_period_and_less_than_a_sixtieth_more(per: Per, now: float) -> None:
    bucket = bucket_at(per, now)
    length = LENGTHS[per]
    assert bucket.start < now or (bucket.start == now - length // 60)
    assert length <= bucket.end - now < length + length / 60


@given(st.sampled_from(CALENDAR), instants)
def test_at_most_sixty_one_buckets_are_in_a_rolling_window(per: Per, now: float) -> None:
    width = LENGTHS[per] // 60
    live = {bucket_at(per, now - step * width / 2).end for step in range(200)}
    assert len([end for end in live if end > now]) in {60, 61}


def test_a_limit_per_request_has_no_window() -> None:
    with pytest.raises(ValueError, match="no window"):
        window_at(Per.REQUEST, 0.0)
    with pytest.raises(ValueError, match="no window"):
        bucket_at(Per.REQUEST, 0.0)


@pytest.mark.parametrize("name", ["Europe/Berlin", "UTC", "Asia/Kathmandu"])
def test_the_zones_of_the_database_are_known(name: str) -> None:
    check_zone(name)
    assert window_at(Per.DAY, 0.0, name).end > 0


@pytest.mark.parametrize(
    "name", ["Europe/Berlin ", "Mars/Base", "", "Europe", "../etc/passwd", "/etc/localtime", "a\0b"]
)
def test_what_is_no_zone_is_said_by_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a time zone"):
        check_zone(name)


def test_windows_follow_one_another_through_years_without_gap() -> None:
    for zone in ZONES:
        now: float = SINCE
        while now < SINCE + timedelta(days=800).total_seconds():
            span = window_at(Per.DAY, now, zone)
            assert span.start <= now < span.end
            assert 3_600 * 22 < span.end - span.start < 3_600 * 26
            now = span.end
