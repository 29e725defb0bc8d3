"""What `penstock budget` makes of rows: lines, sums, days, words. Pure."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli._budget.days import time_of
from penstock.cli._budget.lines import Wanted, account_lines, key_in_words, windows_of, words_of
from penstock.cli._budget.sums import Sum, sums_of, total_of
from penstock.cli._words import dollars, short_tokens, span
from penstock.policy.account_windows import AccountWindows
from penstock.policy.accounts import AccountSpec, Limit
from penstock.policy.holds import NOTHING, Amount
from penstock.policy.ledger_steps import SpendRow, Spent, WindowRow
from penstock.policy.window import Per

SPECS = (
    AccountSpec(path="", limits=(Limit(per=Per.DAY, nano_usd=20 * 10**9),)),
    AccountSpec(path="team", limits=(Limit(per=Per.HOUR, tokens=1_000, rolling=True),)),
    AccountSpec(path="team/*", limits=(Limit(per=Per.MONTH, tokens=500, timezone="Europe/Berlin"),)),
)


def row(key: str, *, spent: int = 0, held: int = 0, limit: int | None = None) -> WindowRow:
    counted = spent or held
    return WindowRow(
        key=key,
        held=Amount(held),
        spent=Amount(spent),
        estimated=NOTHING,
        ends_at=1_777_939_200.0 if counted else None,
        limit_tokens=limit,
    )


def spent(account: str, target: str, *, calls: int = 1, usd: int = 0, tokens: int = 0, guess: bool = False) -> SpendRow:
    share = Spent(target=target, attempts=calls, input_tokens=tokens, nano_usd=usd, estimated=guess)
    return SpendRow(since=0.0, account=account, calls=calls, spent=share)


# Lines


def test_declared_accounts_are_shown_empty_and_others_once_they_have_spent() -> None:
    lines = account_lines(SPECS, [row("month:Europe/Berlin:team/a", spent=7), row("day:UTC:other", spent=3)])
    assert [(line.account, words_of(line.window), line.limited) for line in lines] == [
        ("", "day (UTC)", True),
        ("other", "day (UTC)", False),
        ("team", "hour (rolling)", True),
        ("team/a", "month (Europe/Berlin)", True),
    ]
    assert [line.window.spent.tokens for line in lines] == [0, 3, 0, 7]
    assert lines[3].window.free_tokens == 493


def test_a_window_that_is_no_longer_limited_is_shown_while_something_is_in_it() -> None:
    lines = account_lines(SPECS, [row("hour:UTC:team", held=5), row("day:UTC:team")])
    assert [words_of(line.window) for line in lines if line.account == "team"] == ["hour (rolling)", "hour (UTC)"]


def test_a_limit_by_hand_goes_before_the_configured_one() -> None:
    (line,) = account_lines(SPECS, [row("hour:rolling:team", spent=5, limit=50)], below="team")
    assert (line.window.limit_tokens, line.window.free_tokens, line.by_hand) == (50, 45, True)


def test_below_an_account_are_its_own_and_not_those_of_one_with_a_longer_name() -> None:
    rows = [row(f"month:Europe/Berlin:{account}", spent=1) for account in ("team/a", "team/b/c", "teamster")]
    lines = account_lines(SPECS, rows, below="team")
    assert [line.account for line in lines] == ["team", "team/a", "team/b/c"]


def test_windows_are_meant_by_period_zone_and_kind() -> None:
    limits = (
        Limit(per=Per.DAY, tokens=1),
        Limit(per=Per.DAY, tokens=1, timezone="Europe/Berlin"),
        Limit(per=Per.DAY, tokens=1, rolling=True),
    )
    windows = windows_of(AccountWindows([AccountSpec(path="a", limits=limits)]), "a", [])
    takes = {
        Wanted(): 3,
        Wanted(per="day"): 3,
        Wanted(per="hour"): 0,
        Wanted(timezone="Europe/Berlin"): 1,
        Wanted(rolling=True): 1,
        Wanted(rolling=False): 2,
        Wanted(per="day", timezone="UTC"): 1,
    }
    assert {wanted: sum(wanted.takes(window.shape) for window in windows) for wanted in takes} == takes


def test_a_key_of_the_store_is_told_in_words() -> None:
    assert key_in_words("day:Europe/Berlin:team/a:b") == "day (Europe/Berlin)"
    assert key_in_words("hour:rolling:") == "hour (rolling)"


# Sums

ROWS = st.lists(
    st.builds(
        spent,
        st.sampled_from(("", "a", "b")),
        st.sampled_from(("x", "y")),
        calls=st.integers(1, 5),
        usd=st.integers(0, 10**9),
        tokens=st.integers(0, 10**6),
        guess=st.booleans(),
    )
)


@given(rows=ROWS, by=st.sampled_from([("account",), ("target",), ("account", "target"), ("target", "account")]))
def test_whatever_is_added_up_comes_to_the_same_total(rows: list[SpendRow], by: tuple[str, ...]) -> None:
    sums, total = sums_of(rows, by), total_of(rows)  # type: ignore[arg-type]
    for name in ("calls", "attempts", "input_tokens", "nano_usd", "estimated_nano_usd", "estimated_tokens"):
        assert sum(getattr(one, name) for one in sums) == getattr(total, name)
    assert len({(one.account, one.target) for one in sums}) == len(sums)
    assert [one.nano_usd for one in sums] == sorted((one.nano_usd for one in sums), reverse=True)
    assert all((one.account is None) == ("account" not in by) for one in sums)


def test_the_estimated_share_is_that_of_the_money_else_of_the_tokens() -> None:
    (one,) = sums_of([spent("a", "x", usd=30, tokens=900), spent("a", "x", usd=10, tokens=100, guess=True)], ["target"])
    assert one.estimated_share == 0.25
    (one,) = sums_of([spent("a", "x", tokens=900), spent("a", "x", tokens=100, guess=True)], ["target"])
    assert one.estimated_share == 0.1
    assert Sum(account=None, target=None).estimated_share == 0


# Days


def test_days_run_from_the_first_midnight_to_the_last() -> None:
    start, end = time_of(date(2026, 11, 1), date(2026, 11, 30), "UTC")
    assert datetime.fromtimestamp(start, UTC) == datetime(2026, 11, 1, tzinfo=UTC)
    assert datetime.fromtimestamp(end, UTC) == datetime(2026, 12, 1, tzinfo=UTC)
    start, end = time_of(date(2026, 10, 25), date(2026, 10, 25), "Europe/Berlin")
    assert end - start == 25 * 3_600  # the clock is set back
    with pytest.raises(click.UsageError, match="is before"):
        time_of(date(2026, 10, 25), date(2026, 10, 24), "UTC")


def test_without_a_last_day_there_is_no_end() -> None:
    assert time_of(date(2026, 11, 1), None, "UTC") == (1_793_491_200.0, math.inf)


# Words


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(0, "0 s"), (59.4, "59 s"), (119, "119 s"), (3_540, "59 min"), (3_600, "1 h 0 min"), (90_000, "1 d 1 h")],
)
def test_a_span_is_told_in_its_two_largest_units(seconds: float, says: str) -> None:
    assert span(seconds) == says


@pytest.mark.parametrize(
    ("count", "says"),
    [
        (0, "0"),
        (9_999_999, "9,999,999"),
        (10_000_000, "10 M"),
        (12_345_678, "12.35 M"),
        (9_999_999_999, "10 G"),
        (-12_484, "-12,484"),
    ],
)
def test_tokens_take_at_most_nine_characters(count: int, says: str) -> None:
    assert short_tokens(count) == says
    assert len(short_tokens(count)) <= 9


def test_debts_have_their_sign_before_the_dollar() -> None:
    assert dollars(-0.024) == "-$0.0240"
    assert dollars(-1234.5) == "-$1,234.50"
