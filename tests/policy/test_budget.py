"""The ledger by example: reserve, top up, settle, refuse, over a small tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.budget import (
    AccountSpec,
    Amount,
    Granted,
    Ledger,
    Limit,
    Line,
    Overrun,
    Per,
    Refused,
    SoftLimitReached,
    Waiting,
)
from penstock.policy.holds import dearest

NOON = datetime(2026, 5, 4, 12, tzinfo=ZoneInfo("UTC")).timestamp()
USD = 10**9


def tokens_per_day(tokens: int) -> Limit:
    return Limit(per=Per.DAY, tokens=tokens)


def line(tokens: int = 100, *, most: int = 0, rate: int = 0, nano_usd: int = 0) -> Line:
    """An attempt that costs a fixed number of tokens, unless told how much output it may give."""
    return Line(tokens, nano_usd, rate, most)


def reserve(
    ledger: Ledger,
    hold_id: str,
    account: str = "",
    *lines: Line,
    now: float = NOON,
    outputs: tuple[int, int] = (0, 0),
    likely: Sequence[Line] = (),
) -> Granted | Waiting | Refused:
    return ledger.reserve(
        hold_id,
        account,
        lines or (line(),),
        min_output=outputs[0],
        max_output=outputs[1],
        now=now,
        wait_until=None,
        likely=likely,
    )


def granted(decision: Granted | Waiting | Refused) -> Granted:
    assert isinstance(decision, Granted), decision
    return decision


def refused(decision: Granted | Waiting | Refused) -> Refused:
    assert isinstance(decision, Refused), decision
    return decision


def spent(ledger: Ledger, account: str = "") -> Amount:
    return ledger.snapshot()[account].windows[0].spent


def free_tokens(ledger: Ledger, account: str = "") -> int | None:
    return ledger.snapshot()[account].windows[0].free_tokens


def test_what_is_reserved_is_not_there_for_others() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(250),))])
    granted(reserve(ledger, "one"))
    granted(reserve(ledger, "two"))
    last = refused(reserve(ledger, "three"))
    assert last.reason == "held"
    assert last.missing == Amount(tokens=50)
    assert free_tokens(ledger) == 50


def test_a_settle_gives_back_what_was_not_needed() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(250),))])
    reserve(ledger, "one")
    ledger.settle("one", Amount(30), NOON)
    assert spent(ledger) == Amount(30)
    assert free_tokens(ledger) == 220


def test_a_hold_takes_room_in_every_parent_or_in_none() -> None:
    ledger = Ledger(
        [
            AccountSpec(path="", limits=(tokens_per_day(1_000),)),
            AccountSpec(path="team", limits=(tokens_per_day(150),)),
            AccountSpec(path="team/search", limits=(tokens_per_day(1_000),)),
        ]
    )
    granted(reserve(ledger, "one", "team/search/crawler"))
    assert [free_tokens(ledger, path) for path in ("", "team", "team/search")] == [900, 50, 900]
    assert refused(reserve(ledger, "two", "team/search")).account == "team"
    assert [free_tokens(ledger, path) for path in ("", "team", "team/search")] == [900, 50, 900]
    granted(reserve(ledger, "three", "other"))
    assert free_tokens(ledger) == 800


def test_an_account_nobody_declared_spends_from_its_parents() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(100),))])
    granted(reserve(ledger, "one", "never/heard/of"))
    assert refused(reserve(ledger, "two", "another")).account == ""


def test_each_match_of_a_pattern_has_limits_of_its_own() -> None:
    ledger = Ledger([AccountSpec(path="user/*", limits=(tokens_per_day(100),))])
    granted(reserve(ledger, "one", "user/ada"))
    granted(reserve(ledger, "two", "user/alan"))
    assert refused(reserve(ledger, "three", "user/ada")).account == "user/ada"
    assert refused(reserve(ledger, "four", "user/alan/laptop")).account == "user/alan"
    granted(reserve(ledger, "five", "user"))


def test_the_first_call_of_a_new_account_is_limited_like_the_second() -> None:
    ledger = Ledger([AccountSpec(path="user/*", limits=(tokens_per_day(150),))])
    decisions = [reserve(ledger, f"call-{number}", "user/new") for number in range(5)]
    assert [type(decision) for decision in decisions] == [Granted, Refused, Refused, Refused, Refused]


def test_many_accounts_of_a_pattern_forget_nothing_that_counts() -> None:
    ledger = Ledger([AccountSpec(path="user/*", limits=(tokens_per_day(150),))])
    for number in range(1_500):
        granted(reserve(ledger, f"call-{number}", f"user/{number}"))
    for number in range(1_500):
        refused(reserve(ledger, f"again-{number}", f"user/{number}"))
    tomorrow = NOON + 86_400
    for number in range(1_500):
        granted(reserve(ledger, f"tomorrow-{number}", f"user/{number + 10_000}", now=tomorrow))
    assert len(ledger.snapshot()) < 2_900


def test_the_dearest_line_is_held_each_unit_for_itself() -> None:
    ledger = Ledger([])
    wordy = Line(input_tokens=500, input_nano_usd=10, output_nano_per_million=1_000_000, max_output=1_000)
    dear = Line(input_tokens=400, input_nano_usd=40, output_nano_per_million=5_000_000, max_output=200)
    assert granted(reserve(ledger, "one", "", wordy, dear, outputs=(100, 300))).amount == Amount(800, 1_040)


def test_money_is_held_rounded_up() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(Limit(per=Per.DAY, nano_usd=10),))])
    third = Line(input_tokens=0, input_nano_usd=0, output_nano_per_million=333_333, max_output=100)
    assert granted(reserve(ledger, "one", "", third, outputs=(1, 1))).amount == Amount(1, 1)


def test_the_largest_output_that_fits_is_granted() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(1_000), Limit(per=Per.HOUR, nano_usd=700)))])
    asked = Line(input_tokens=100, input_nano_usd=200, output_nano_per_million=1_000_000, max_output=8_192)
    assert granted(reserve(ledger, "one", "", asked, outputs=(100, 4_096))) == Granted("one", 500, Amount(600, 700))


lines = st.builds(
    Line,
    input_tokens=st.integers(0, 30),
    input_nano_usd=st.integers(0, 30),
    output_nano_per_million=st.integers(0, 3_000_000),
    max_output=st.integers(0, 50),
)


@given(st.lists(lines, min_size=1, max_size=3), st.integers(0, 60), st.integers(0, 20), st.integers(0, 40))
def test_no_larger_output_would_have_fitted(asked: list[Line], room: int, least: int, more: int) -> None:
    both = Limit(per=Per.DAY, tokens=room, nano_usd=room)
    decision = reserve(Ledger([AccountSpec(path="", limits=(both,))]), "one", "", *asked, outputs=(least, least + more))
    fitting = [
        output
        for output in range(least, least + more + 1)
        if all(
            each.input_tokens + min(output, each.max_output) <= room
            and each.input_nano_usd * 10**6 + min(output, each.max_output) * each.output_nano_per_million
            <= room * 10**6
            for each in asked
        )
    ]
    if fitting:
        assert granted(decision).output_tokens == fitting[-1]
    else:
        assert refused(decision).reason == "exhausted"


def test_a_refusal_says_which_limit_how_much_is_missing_and_when_it_refills() -> None:
    berlin = Limit(per=Per.DAY, nano_usd=20 * USD, timezone="Europe/Berlin")
    ledger = Ledger([AccountSpec(path="team", limits=(berlin,))])
    reserve(ledger, "one", "team", line(nano_usd=20 * USD))
    ledger.settle("one", Amount(100, 19 * USD), NOON)
    asked = line(nano_usd=3 * USD // 2)
    decision = refused(reserve(ledger, "two", "team/search", asked, likely=[line(nano_usd=6 * USD // 5)]))
    midnight = datetime(2026, 5, 5, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
    assert decision == Refused(
        "two",
        "team",
        "20 USD per day (Europe/Berlin)",
        Amount(0, USD // 2),
        midnight,
        "exhausted",
        otherwise=Amount(0, USD // 5),
    )
    assert decision.says == (
        "account 'team': this process's own limit of 20 USD per day (Europe/Berlin) is short by 0.5 USD "
        "(by the bound of the request; by the estimate, 0.2 USD); it refills at 2026-05-04T22:00:00+00:00"
    )
    decision = refused(reserve(ledger, "three", "team/search", asked, likely=[line(nano_usd=USD)]))
    assert decision.otherwise is None
    assert "(by the bound of the request; by the estimate it would fit)" in decision.says


FIGURES = st.integers(0, 30)


@given(
    st.lists(st.tuples(FIGURES, FIGURES, FIGURES, FIGURES, FIGURES), min_size=1, max_size=3),
    st.tuples(FIGURES, FIGURES),
    st.tuples(st.none() | FIGURES, st.none() | FIGURES),
    st.integers(0, 10),
    st.sampled_from(("held", "spent")),
)
def test_an_estimate_that_is_told_after_the_refusal_changes_it_as_if_it_had_been_told_before(
    figures: list[tuple[int, int, int, int, int]],
    before: tuple[int, int],
    limits: tuple[int | None, int | None],
    least: int,
    how: str,
) -> None:
    if limits == (None, None):
        return
    limit = Limit(per=Per.DAY, tokens=limits[0], nano_usd=limits[1])
    lines = [Line(tokens, nano, rate * 10**5, most) for tokens, nano, rate, most, _ in figures]
    likely = [
        Line(min(tokens, guess), min(nano, guess), rate * 10**5, most) for tokens, nano, rate, most, guess in figures
    ]
    told: list[Granted | Waiting | Refused] = []
    for guesses in (likely, []):
        ledger = Ledger([AccountSpec(path="", limits=(limit,))])
        reserve(ledger, "one", "", Line(*before, 0, 0))
        if how == "spent":
            ledger.settle("one", Amount(*before), NOON)
        told.append(reserve(ledger, "two", "", *lines, outputs=(least, 20), likely=guesses))
    at_once, later = told
    if isinstance(later, Refused):
        later = later.beside(dearest(lines, least), dearest(likely, least))
    assert later == at_once


def test_what_is_larger_than_the_limit_itself_never_refills() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(50),))])
    decision = refused(reserve(ledger, "one"))
    assert (decision.reason, decision.refills_at, decision.missing) == ("exhausted", None, Amount(50))


def test_of_several_spent_limits_the_one_that_refills_last_is_named() -> None:
    limits = (Limit(per=Per.MONTH, tokens=100), Limit(per=Per.MINUTE, tokens=100))
    ledger = Ledger([AccountSpec(path="", limits=limits)])
    reserve(ledger, "one")
    ledger.settle("one", Amount(100), NOON)
    decision = refused(reserve(ledger, "two"))
    assert decision.limit == "100 tokens per month (UTC)"
    assert decision.refills_at == datetime(2026, 6, 1, tzinfo=ZoneInfo("UTC")).timestamp()


def test_a_rolling_limit_says_when_enough_has_rolled_out() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(Limit(per=Per.MINUTE, tokens=300, rolling=True),))])
    for second in (0, 10, 20):
        reserve(ledger, f"at-{second}", now=NOON + second)
        ledger.settle(f"at-{second}", Amount(100), NOON + second)
    assert refused(reserve(ledger, "one", "", line(200), now=NOON + 30)).refills_at == NOON + 70
    granted(reserve(ledger, "two", "", line(200), now=NOON + 70))


def test_a_refusal_tells_that_the_smallest_useful_answer_was_the_reason() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(1_000),))])
    asked = line(500, most=8_192)
    assert refused(reserve(ledger, "one", "", asked, outputs=(1_024, 4_096))).below_minimum
    assert not refused(reserve(ledger, "two", "", line(2_000, most=8_192), outputs=(1_024, 4_096))).below_minimum


def test_a_refusal_of_what_is_only_held_names_no_time() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(100),))])
    reserve(ledger, "one")
    decision = refused(reserve(ledger, "two"))
    assert decision.refills_at is None
    assert decision.says == (
        "the root account: this process's own limit of 100 tokens per day (UTC) is held by calls in flight; "
        "100 tokens are missing (by the bound of the request; by the estimate, too)"
    )


def test_a_reserve_is_idempotent_by_id() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(250),))])
    assert granted(reserve(ledger, "one")) == granted(reserve(ledger, "one"))
    assert free_tokens(ledger) == 150


def test_a_settle_is_idempotent_by_id() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(250),))])
    reserve(ledger, "one")
    ledger.settle("one", Amount(30), NOON)
    ledger.settle("one", Amount(90), NOON)
    assert spent(ledger) == Amount(30)


def test_a_reserve_that_comes_after_its_settle_is_refused() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(250),))], tombstone=60)
    ledger.settle("early", Amount(), NOON)
    decision = refused(reserve(ledger, "early", now=NOON + 59))
    assert decision.reason == "settled"
    assert decision.says == "hold early: already settled"
    assert free_tokens(ledger) == 250
    granted(reserve(ledger, "early", now=NOON + 60))


def test_settled_ids_are_not_remembered_for_ever() -> None:
    ledger = Ledger([], tombstone=60)
    for second in range(1_000):
        ledger.settle(f"call-{second}", Amount(), NOON + second)
    assert ledger.statistics().tombstones == 60


def test_a_hold_of_an_account_without_limits_is_settled_like_any_other() -> None:
    ledger = Ledger([])
    assert granted(reserve(ledger, "one", "free", line(most=500), outputs=(0, 500))).output_tokens == 500
    ledger.settle("one", Amount(10**9), NOON)
    assert refused(reserve(ledger, "one", "free")).reason == "settled"
    assert ledger.take_events() == []


def test_charges_go_to_the_window_of_the_reservation() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(100),))])
    reserve(ledger, "late", now=NOON)
    tomorrow = NOON + 86_400
    granted(reserve(ledger, "next", now=tomorrow))
    ledger.settle("late", Amount(100), tomorrow)
    ledger.settle("next", Amount(40), tomorrow)
    assert spent(ledger) == Amount(40)


def test_a_clock_that_goes_back_does_not_reopen_a_window() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(100),))])
    yesterday = NOON - 86_400
    reserve(ledger, "one", now=NOON)
    ledger.settle("one", Amount(100), NOON)
    refused(reserve(ledger, "two", now=yesterday))
    refused(reserve(ledger, "three", now=NOON))


def test_what_is_reserved_on_a_clock_that_went_back_counts_in_the_latest_window() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(100),))])
    yesterday = NOON - 86_400
    reserve(ledger, "one", now=yesterday)
    ledger.settle("one", Amount(100), yesterday)
    assert ledger.snapshot(NOON)[""].windows[0].free_tokens == 100
    granted(reserve(ledger, "two", now=yesterday))
    # Else yesterday would have spent its limit twice, and today would not know of it.
    refused(reserve(ledger, "three", now=NOON))


def test_a_rolling_limit_is_kept_in_every_span_of_its_length() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(Limit(per=Per.MINUTE, tokens=300, rolling=True),))])
    grants: list[float] = []
    for tick in range(400):
        now = NOON + tick * 0.7
        if isinstance(reserve(ledger, f"call-{tick}", now=now), Granted):
            ledger.settle(f"call-{tick}", Amount(100), now)
            grants.append(now)
    for first in grants:
        assert sum(100 for at in grants if first <= at < first + 60) <= 300
    # And it is not kept by granting next to nothing: 280 s have room for at least four full minutes.
    assert len(grants) >= 12


def test_an_overrun_is_booked_in_full_told_and_nothing_new_is_granted() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(250),))])
    reserve(ledger, "one", "team")
    ledger.settle("one", Amount(400, 7), NOON)
    assert ledger.take_events() == [Overrun("team", "one", Amount(100), Amount(400, 7))]
    assert ledger.take_events() == []
    assert free_tokens(ledger) == -150
    assert refused(reserve(ledger, "two", "", line(0))).missing == Amount(150)


def test_a_top_up_is_all_or_nothing_over_the_path() -> None:
    ledger = Ledger(
        [
            AccountSpec(path="", limits=(tokens_per_day(1_000),)),
            AccountSpec(path="team", limits=(tokens_per_day(150),)),
        ]
    )
    reserve(ledger, "one", "team")
    assert granted(ledger.top_up("one", Amount(50), NOON)) == Granted("one", 0, Amount(150))
    assert refused(ledger.top_up("one", Amount(1), NOON)).account == "team"
    assert [free_tokens(ledger, path) for path in ("", "team")] == [850, 0]
    ledger.settle("one", Amount(120), NOON)
    assert [free_tokens(ledger, path) for path in ("", "team")] == [880, 30]


def test_a_top_up_counts_in_the_window_it_was_made_in() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(100),))])
    reserve(ledger, "one", "", line(80))
    tomorrow = NOON + 86_400
    granted(ledger.top_up("one", Amount(90), tomorrow))
    assert free_tokens(ledger) == 10
    ledger.settle("one", Amount(120), tomorrow)
    # 80 were reserved and spent yesterday; the other 40 are today's.
    assert spent(ledger) == Amount(40)


def test_a_top_up_without_a_hold_is_refused() -> None:
    ledger = Ledger([])
    assert refused(ledger.top_up("none", Amount(1), NOON)).reason == "settled"


def test_a_soft_limit_is_told_once_a_window() -> None:
    ledger = Ledger([AccountSpec(path="team", limits=(tokens_per_day(1_000),), soft=0.5)])
    for number in range(8):
        reserve(ledger, f"call-{number}", "team")
        ledger.settle(f"call-{number}", Amount(100), NOON)
    midnight = datetime(2026, 5, 5, tzinfo=ZoneInfo("UTC")).timestamp()
    told = SoftLimitReached("team", "1000 tokens per day (UTC)", Amount(500), 0.5, midnight)
    assert ledger.take_events() == [told]
    for number in range(8):
        reserve(ledger, f"tomorrow-{number}", "team", now=midnight)
        ledger.settle(f"tomorrow-{number}", Amount(100), midnight)
    assert len(ledger.take_events()) == 1


def told(ledger: Ledger, charges: Sequence[Amount], now: float = NOON) -> list[tuple[str, float, int]]:
    """The soft limits that are told as one call after the other is charged: limit, share, tokens spent."""
    for charged in charges:
        hold_id = f"{now}-{charged}-{spent(ledger)}"
        granted(reserve(ledger, hold_id, "", line(charged.tokens, nano_usd=charged.nano_usd), now=now))
        ledger.settle(hold_id, charged, now)
    events = [event for event in ledger.take_events() if isinstance(event, SoftLimitReached)]
    return [(event.limit, event.share, event.spent.tokens) for event in events]


def test_each_share_of_a_limit_is_told_once_a_window_a_jump_over_several_tells_them_all() -> None:
    day = Limit(per=Per.DAY, tokens=1_000, soft=(0.8, 0.5, 1.0))
    ledger = Ledger([AccountSpec(path="", limits=(day,))])
    words = "1000 tokens per day (UTC)"
    assert told(ledger, [Amount(400), Amount(150)]) == [(words, 0.5, 550)]
    assert told(ledger, [Amount(450)]) == [(words, 0.8, 1_000), (words, 1.0, 1_000)]
    assert told(ledger, [Amount(900)], NOON + 86_400) == [(words, 0.5, 900), (words, 0.8, 900)]


def test_a_limit_has_the_shares_of_its_account_where_it_names_none_itself() -> None:
    day, hour = Limit(per=Per.DAY, tokens=1_000), Limit(per=Per.HOUR, tokens=1_000, soft=(0.9,))
    silent = Limit(per=Per.MONTH, tokens=1_000, soft=())
    ledger = Ledger([AccountSpec(path="", limits=(day, hour, silent), soft=0.2)])
    assert told(ledger, [Amount(500)]) == [("1000 tokens per day (UTC)", 0.2, 500)]
    assert told(ledger, [Amount(400)]) == [("1000 tokens per hour (UTC)", 0.9, 900)]


def test_two_limits_of_one_window_are_told_at_their_own_shares() -> None:
    tokens = Limit(per=Per.DAY, tokens=1_000, soft=0.5)
    money = Limit(per=Per.DAY, nano_usd=1_000_000_000, soft=(0.2, 0.6))
    ledger = Ledger([AccountSpec(path="", limits=(tokens, money))])
    assert told(ledger, [Amount(100, 300_000_000)]) == [("1 USD per day (UTC)", 0.2, 100)]
    assert told(ledger, [Amount(400, 100_000_000)]) == [("1000 tokens per day (UTC)", 0.5, 500)]


def test_of_two_limits_in_the_same_unit_the_smaller_is_told() -> None:
    large, small = Limit(per=Per.DAY, tokens=9_000, soft=0.01), Limit(per=Per.DAY, tokens=1_000, soft=0.5)
    for limits in ((large, small), (small, large)):
        ledger = Ledger([AccountSpec(path="", limits=limits)])
        assert told(ledger, [Amount(400), Amount(200)]) == [("1000 tokens per day (UTC)", 0.5, 600)]


def test_what_was_charged_by_guess_is_shown_beside_what_was_spent() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(1_000),))])
    reserve(ledger, "one")
    reserve(ledger, "two")
    ledger.settle("one", Amount(100), NOON, estimated=True)
    ledger.settle("two", Amount(50), NOON)
    window = ledger.snapshot()[""].windows[0]
    assert (window.spent, window.estimated) == (Amount(150), Amount(100))
    assert ledger.snapshot(NOON + 86_400)[""].windows[0].estimated == Amount()


def _reserve_nothing(ledger: Ledger) -> None:
    ledger.reserve("bad", "", (), min_output=0, max_output=0, now=NOON + 86_400, wait_until=None)


def _reserve_backwards(ledger: Ledger) -> None:
    reserve(ledger, "bad", outputs=(2, 1), now=NOON + 86_400)


def _reserve_for_no_path(ledger: Ledger) -> None:
    reserve(ledger, "bad", "team//search", now=NOON + 86_400)


def _reserve_at_no_time(ledger: Ledger) -> None:
    reserve(ledger, "bad", now=float("nan"))


def _reserve_at_the_end_of_time(ledger: Ledger) -> None:
    reserve(ledger, "bad", now=1e18)


def _settle_a_debt(ledger: Ledger) -> None:
    ledger.settle("one", Amount(-1), NOON + 86_400)


def _top_up_a_debt(ledger: Ledger) -> None:
    ledger.top_up("one", Amount(0, -1), NOON + 86_400)


def _declare_twice(ledger: Ledger) -> None:
    ledger.reconfigure([AccountSpec(path="a"), AccountSpec(path="a")], NOON + 86_400)


@pytest.mark.parametrize(
    "mistake",
    [
        _reserve_nothing,
        _reserve_backwards,
        _reserve_for_no_path,
        _reserve_at_no_time,
        _reserve_at_the_end_of_time,
        _settle_a_debt,
        _top_up_a_debt,
        _declare_twice,
    ],
)
def test_a_mistake_of_the_caller_leaves_everything_as_it_was(mistake: Callable[[Ledger], None]) -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(250),))])
    reserve(ledger, "one")
    before = ledger.snapshot()
    with pytest.raises(ValueError, match=r"no |not |negative|one line|twice"):
        mistake(ledger)
    # Not even the time has moved on: the hold still stands in its window.
    assert ledger.snapshot() == before
    ledger.settle("one", Amount(30), NOON)
    assert spent(ledger) == Amount(30)


def test_a_thousand_calls_at_once_do_not_spend_more_than_the_limit() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(1_000),))])
    decisions = [reserve(ledger, f"call-{number}") for number in range(1_000)]
    running = [decision.hold_id for decision in decisions if isinstance(decision, Granted)]
    assert len(running) == 10
    for hold_id in running:
        ledger.settle(hold_id, Amount(100), NOON)
    assert free_tokens(ledger) == 0


def test_calls_that_were_cancelled_leave_nothing_held() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(tokens_per_day(1_000),))])
    for number in range(1_000):
        granted(reserve(ledger, f"call-{number}"))
        ledger.settle(f"call-{number}", Amount(), NOON)
    assert free_tokens(ledger) == 1_000
    assert ledger.statistics().holds == 0
