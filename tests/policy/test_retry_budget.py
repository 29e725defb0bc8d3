"""Retry budgets: what a new one holds, what first attempts add, what the money cap says, and how a refusal reads."""

from __future__ import annotations

import math

import pytest

from penstock.policy.retry_budget import RetryBudget, RetryBudgetSettings, Suppressed, Traffic, Withdrawn

NOW = 1000.0
CENT = 10_000_000
"""In nano-USD."""


def budget(**settings: float) -> RetryBudget:
    values = RetryBudgetSettings(**settings)  # type: ignore[arg-type]  # a test's short hand
    return RetryBudget(lambda _: values)


def granted(budget: RetryBudget, now: float, provider: str = "p") -> int:
    """How many retries there are at that moment, all of them taken."""
    count = 0
    while isinstance(budget.withdraw(provider, now), Withdrawn):
        count += 1
    return count


def refused(answer: Withdrawn | Suppressed) -> Suppressed:
    assert isinstance(answer, Suppressed)
    return answer


def test_a_new_budget_holds_the_floor_and_no_more() -> None:
    assert granted(budget(), NOW) == 10


def test_each_five_first_attempts_add_one_retry() -> None:
    retries = budget()
    retries.first_attempt("p", NOW, 14)
    assert granted(retries, NOW) == 12
    retries.first_attempt("p", NOW)
    assert granted(retries, NOW) == 1


def test_first_attempts_are_no_savings_they_are_forgotten_after_the_window() -> None:
    retries = budget()
    retries.first_attempt("p", NOW, 1_000)
    assert granted(retries, NOW + 10) == 10


def test_the_floor_comes_back_one_withdrawal_at_a_time_each_a_window_after_it_was_made() -> None:
    retries = budget()
    for second in range(10):
        assert isinstance(retries.withdraw("p", NOW + second), Withdrawn)
    assert granted(retries, NOW + 9.5) == 0
    # The first was made at 1000 and counts for its second, in which others might have been.
    assert [granted(retries, NOW + second) for second in (10, 11, 12, 13)] == [0, 1, 1, 1]


def test_providers_do_not_pay_for_one_another() -> None:
    retries = budget()
    assert granted(retries, NOW, "down") == 10
    retries.first_attempt("busy", NOW, 100)
    assert granted(retries, NOW, "down") == 0
    assert granted(retries, NOW, "busy") == 30


def test_each_provider_has_settings_of_its_own() -> None:
    own = {"a": RetryBudgetSettings(floor=1), "b": RetryBudgetSettings(floor=2, window=1.0)}
    retries = RetryBudget(own.__getitem__)
    assert (granted(retries, NOW, "a"), granted(retries, NOW, "b")) == (1, 2)
    assert (granted(retries, NOW + 2, "a"), granted(retries, NOW + 2, "b")) == (0, 2)


def test_a_refusal_says_how_many_of_how_many_and_when_there_is_room_again() -> None:
    retries = budget()
    retries.first_attempt("p", NOW + 2, 5)
    granted(retries, NOW + 2)
    no = refused(retries.withdraw("p", NOW + 2.5))
    assert (no.provider, no.reason, no.used, no.limit) == ("p", "calls", 11, 11)
    assert no.retry_at == NOW + 13
    assert no.says == (
        "the retry budget of provider p is used up: 11 of 11 retries within 10 s"
        " (at most 10 and 20 % of the first attempts); there is room again in 11 s"
    )
    assert isinstance(retries.withdraw("p", no.retry_at), Withdrawn)


def test_where_time_makes_no_room_the_refusal_says_so() -> None:
    no = refused(budget(floor=0).withdraw("p", NOW))
    assert no.retry_at == math.inf
    assert no.says.endswith("time alone makes no room")


def test_a_refusal_withdraws_nothing() -> None:
    retries = budget()
    assert granted(retries, NOW) == 10
    for _ in range(50):
        retries.withdraw("p", NOW + 1)
    assert granted(retries, NOW + 11) == 10


def test_without_a_money_cap_prices_do_not_matter() -> None:
    retries = budget()
    for _ in range(10):
        assert retries.withdraw("p", NOW, nano_usd=10**15, hold_nano_usd=1) == Withdrawn("p", NOW)
    assert retries.spend("p", NOW, nano_usd=10**15) == Withdrawn("p", NOW)


def test_a_share_of_what_was_settled_within_the_hour_may_be_spent() -> None:
    retries = budget(money_ratio=0.2)
    retries.settled("p", 1_000 * CENT, NOW)
    for _ in range(4):
        assert isinstance(retries.withdraw("p", NOW, nano_usd=50 * CENT, hold_nano_usd=CENT), Withdrawn)
    no = refused(retries.withdraw("p", NOW, nano_usd=CENT, hold_nano_usd=CENT))
    assert (no.reason, no.used, no.limit) == ("money", 200 * CENT, 200 * CENT)
    assert no.says == (
        "the retry budget of provider p is used up: retries, fallbacks and hedges have spent 2.000000 of 2.000000 USD"
        " within an hour (at most 20 % of what was settled, or 10 times the call's hold), and this one may come to"
        " 0.010000; there is room again in 3620 s"
    )
    assert no.retry_at == 4620.0, "the minute of the withdrawals leaves whole"
    assert isinstance(retries.withdraw("p", no.retry_at, nano_usd=CENT, hold_nano_usd=CENT), Withdrawn)


def test_ten_times_the_hold_may_always_be_spent() -> None:
    retries = budget(money_ratio=0.2, floor=100)
    for _ in range(10):
        assert isinstance(retries.withdraw("p", NOW, nano_usd=CENT, hold_nano_usd=CENT), Withdrawn)
    assert refused(retries.withdraw("p", NOW, nano_usd=CENT, hold_nano_usd=CENT)).reason == "money"
    assert isinstance(retries.withdraw("p", NOW, nano_usd=CENT, hold_nano_usd=2 * CENT), Withdrawn)


def test_a_retry_that_money_suppresses_withdraws_no_call() -> None:
    retries = budget(money_ratio=0.2, floor=11)
    for _ in range(10):
        retries.withdraw("p", NOW, nano_usd=CENT)
    for _ in range(5):
        assert refused(retries.withdraw("p", NOW, nano_usd=CENT)).reason == "money"
    assert isinstance(retries.withdraw("p", NOW, nano_usd=0, hold_nano_usd=CENT), Withdrawn)


def test_a_fallback_spends_money_and_no_withdrawal() -> None:
    retries = budget(money_ratio=0.2)
    for _ in range(10):
        assert isinstance(retries.spend("p", NOW, nano_usd=CENT), Withdrawn)
    assert refused(retries.spend("p", NOW, nano_usd=CENT)).reason == "money"
    assert refused(retries.withdraw("p", NOW, nano_usd=CENT)).reason == "money", "they spend together"
    assert granted(retries, NOW) == 10


def test_an_unknown_price_counts_as_nothing() -> None:
    retries = budget(money_ratio=0.2)
    assert retries.withdraw("p", NOW) == Withdrawn("p", NOW, 0)


def test_what_costs_nothing_is_never_suppressed_for_money() -> None:
    retries = budget(money_ratio=0.0)
    assert isinstance(retries.withdraw("p", NOW, nano_usd=10 * CENT, hold_nano_usd=CENT), Withdrawn)
    assert isinstance(retries.withdraw("p", NOW, nano_usd=0, hold_nano_usd=0), Withdrawn)
    assert refused(retries.withdraw("p", NOW, nano_usd=1, hold_nano_usd=0)).retry_at == math.inf


def test_a_charge_takes_the_place_of_what_was_counted() -> None:
    retries = budget(money_ratio=0.2)
    for _ in range(10):
        receipt = retries.withdraw("p", NOW, nano_usd=CENT)
        assert isinstance(receipt, Withdrawn)
        retries.settled("p", CENT // 10, NOW + 300, receipt)
    retries.first_attempt("p", NOW + 300, 1_000)
    spent = 0
    while isinstance(answer := retries.withdraw("p", NOW + 300, nano_usd=CENT), Withdrawn):
        spent += 1
    assert spent == 9, "ten of a tenth came to one"
    assert (answer.used, answer.limit) == (10 * CENT, 10 * CENT)


def test_a_charge_that_comes_after_the_hour_of_its_withdrawal_moves_nothing() -> None:
    retries = budget(money_ratio=0.2)
    receipt = retries.withdraw("p", NOW, nano_usd=5 * CENT)
    assert isinstance(receipt, Withdrawn)
    retries.settled("p", 0, NOW + 5_000, receipt)
    for _ in range(10):
        assert isinstance(retries.spend("p", NOW + 5_000, nano_usd=CENT), Withdrawn)
    assert isinstance(retries.spend("p", NOW + 5_000, nano_usd=CENT), Suppressed)


def test_traffic_gathered_elsewhere_counts_at_its_own_moments() -> None:
    retries, gathered = budget(), Traffic()
    for second in range(20):
        gathered.first_attempt(NOW + second, 5)
    retries.merge("p", gathered)
    # Of the twenty seconds the last ten: the slice in which the window begins does not count for it.
    assert granted(retries, NOW + 19.5) == 10 + 10


def test_memory_is_bounded_whatever_happens() -> None:
    retries = budget(money_ratio=0.2)
    for second in range(5_000):
        retries.first_attempt("p", float(second))
        retries.settled("p", 1, 60.0 * second)
    account = retries._accounts["p"]  # pyright: ignore[reportPrivateUsage]
    assert len(account.traffic._firsts._sums) <= 602  # pyright: ignore[reportPrivateUsage]
    assert len(account.traffic._settled._sums) <= 62  # pyright: ignore[reportPrivateUsage]
    for number in range(3_000):
        retries.withdraw(f"provider {number}", NOW)
    assert len(retries._accounts) <= 1_024  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    "wrong",
    [
        {"floor": -1},
        {"ratio": -0.1},
        {"ratio": math.nan},
        {"window": 0.5},
        {"window": 601.0},
        {"money_ratio": -0.1},
        {"money_ratio": math.inf},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryBudgetSettings(**wrong)  # type: ignore[arg-type]


def test_that_a_budget_is_used_up_is_told_to_who_asks_for_nothing() -> None:
    retries = budget(floor=2)
    assert retries.used_up("p", NOW) is None
    assert granted(retries, NOW) == 2
    told = retries.used_up("p", NOW)
    assert told == retries.used_up("p", NOW) == refused(retries.withdraw("p", NOW))
    retries.first_attempt("p", NOW, 5)
    assert retries.used_up("p", NOW) is None, "they made room"
    assert granted(retries, NOW) == 1
    assert retries.used_up("another", NOW) is None
