"""The tree of accounts as configuration: what limits whom, the limits per request, tenants, and other limits later."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy.account_windows import MOST_PATHS
from penstock.policy.accounts import AccountTree, chain_terms
from penstock.policy.budget import (
    AccountSpec,
    Amount,
    Granted,
    Ledger,
    Limit,
    Line,
    Per,
    Refused,
    check_request_limits,
    request_output_cap,
)

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
USD = 10**9


def day(tokens: int | None = None, usd: int | None = None, zone: str = "UTC", *, rolling: bool = False) -> Limit:
    nano_usd = None if usd is None else usd * USD
    return Limit(per=Per.DAY, tokens=tokens, nano_usd=nano_usd, timezone=zone, rolling=rolling)


def spend(ledger: Ledger, hold_id: str, account: str, amount: Amount, now: float = NOON) -> None:
    assert isinstance(hold(ledger, hold_id, account, amount, now), Granted)
    ledger.settle(hold_id, amount, now)


def hold(ledger: Ledger, hold_id: str, account: str, amount: Amount, now: float = NOON) -> object:
    lines = (Line(amount.tokens, amount.nano_usd, 0, 0),)
    return ledger.reserve(hold_id, account, lines, min_output=0, max_output=0, now=now, wait_until=None)


def test_an_account_is_limited_by_its_parents_too() -> None:
    tree = AccountTree(
        [
            AccountSpec(path="team", limits=(Limit(per=Per.REQUEST, output_tokens=100),)),
            AccountSpec(path="team/paid", limits=(day(usd=20),)),
        ]
    )
    found = {path: [spec.path for spec in tree.chain(path)] for path in ("", "other", "team/any", "team/paid/x")}
    assert found == {"": [], "other": [], "team/any": ["team"], "team/paid/x": ["team", "team/paid"]}
    assert [chain_terms(tree.chain(path)).money for path in ("", "team/any", "team/paid/x")] == [False, False, True]


def test_what_is_spelled_out_counts_before_a_pattern() -> None:
    tree = AccountTree(
        [
            AccountSpec(path="team/*", limits=(day(tokens=10),)),
            AccountSpec(path="team/search", limits=(day(tokens=1_000),)),
            AccountSpec(path="*/search/*", limits=(day(tokens=20),)),
            AccountSpec(path="team/*/night", limits=(day(tokens=30),)),
        ]
    )
    found = {
        path: tree.chain(path)[-1].path for path in ("team/search", "team/other", "team/search/night", "x/search/y")
    }
    assert found == {
        "team/search": "team/search",
        "team/other": "team/*",
        "team/search/night": "team/*/night",
        "x/search/y": "*/search/*",
    }


def test_a_tenant_is_the_account_unless_one_is_named_above() -> None:
    tree = AccountTree(
        [
            AccountSpec(path="team", tenant="shared"),
            AccountSpec(path="team/own", tenant="own"),
            AccountSpec(path="solo"),
        ]
    )
    found = [tree.tenant_of(path) for path in ("", "solo", "solo/x", "team", "team/x", "team/own/x", "never")]
    assert found == [
        "tenant:default",
        "account:solo",
        "account:solo/x",
        "tenant:shared",
        "tenant:shared",
        "tenant:own",
        "account:never",
    ]


def test_an_account_shares_nothing_with_a_tenant_of_its_name() -> None:
    tree = AccountTree([AccountSpec(path="a", tenant="b")])
    assert len({tree.tenant_of(path) for path in ("", "default", "a", "b", "tenant:b", "account:b")}) == 6


@pytest.mark.parametrize("path", ["/", "team/", "/team", "a//b", " ", "a/ b"])
def test_what_is_no_path_is_no_account(path: str) -> None:
    with pytest.raises(ValueError, match="not the path"):
        AccountSpec(path=path)
    with pytest.raises(ValueError, match="not the path"):
        AccountTree([]).chain(path)


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ({"per": Per.DAY}, "at least one"),
        ({"per": Per.DAY, "tokens": -1}, "not negative"),
        ({"per": Per.DAY, "input_tokens": 1}, "per request only"),
        ({"per": Per.REQUEST, "tokens": 1, "soft": 0.5}, "nothing is spent of a limit per request"),
        ({"per": Per.REQUEST, "tokens": 1, "bound": "proof"}, "judged by the estimate"),
        ({"per": Per.REQUEST, "tokens": 1, "rolling": True}, "does not roll"),
        ({"per": Per.DAY, "tokens": 1, "timezone": "Mars/Base"}, "not a time zone"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_where_it_is_made(figures: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Limit(**figures)


@pytest.mark.parametrize("soft", [0, -1, 1.5, (0.5, 1.5), (0.0,)])
def test_a_soft_limit_is_a_share(soft: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="share"):
        AccountSpec(path="a", soft=soft)
    with pytest.raises(ValueError, match="share"):
        Limit(per=Per.DAY, tokens=1, soft=soft)


def test_the_money_of_retries_is_capped_by_every_account_on_the_path_that_says_so() -> None:
    tree = AccountTree(
        [
            AccountSpec(path="", retry_money=0.5),
            AccountSpec(path="team"),
            AccountSpec(path="team/*", retry_money=0.0),
        ]
    )
    assert tree.money_capped("team/search/x") == ("", "team/search")
    assert tree.money_capped("team") == ("",)
    assert tree.retry_money_of("team/search") == 0.0
    assert AccountTree([AccountSpec(path="team", retry_money=0.1)]).money_capped("other") == ()
    with pytest.raises(ValueError, match="retry_money is a share"):
        AccountSpec(path="a", retry_money=-1)


REQUEST = (
    AccountSpec(path="", limits=(Limit(per=Per.REQUEST, nano_usd=USD), Limit(per=Per.REQUEST, tokens=10_000))),
    AccountSpec(path="team", limits=(Limit(per=Per.REQUEST, input_tokens=8_000, output_tokens=2_000),)),
)


def judge(input_estimate: int, output: int, nano_usd: int | None = None) -> Refused | None:
    return check_request_limits(AccountTree(REQUEST).chain("team/search"), input_estimate, output, nano_usd=nano_usd)


def test_a_request_within_its_limits_may_go() -> None:
    assert judge(8_000, 2_000, USD) is None


@pytest.mark.parametrize(
    ("asked", "account", "limit", "missing"),
    [
        ((8_001, 0, None), "team", "8000 input tokens per request", Amount(1)),
        ((0, 2_500, None), "team", "2000 output tokens per request", Amount(500)),
        ((9_000, 1_500, None), "", "10000 tokens per request", Amount(500)),
        ((10, 10, USD + 5), "", "1 USD per request", Amount(0, 5)),
    ],
)
def test_a_request_beyond_one_of_its_limits_is_refused_by_the_estimate(
    asked: tuple[int, int, int | None], account: str, limit: str, missing: Amount
) -> None:
    decision = judge(*asked)
    assert decision == Refused("", account, limit, missing, None, "request", basis="estimate", otherwise=missing)
    assert decision is not None
    assert "(by the estimate of the request; by the bound, too)" in decision.says


def test_a_refusal_of_one_request_says_what_its_bound_would_have_said_of_the_same_figure() -> None:
    chain = AccountTree(REQUEST).chain("team/search")
    decision = check_request_limits(chain, 10, 10, nano_usd=USD + 5, input_bound=20_000, nano_usd_bound=3 * USD)
    assert decision is not None
    assert (decision.limit, decision.missing, decision.otherwise) == (
        "1 USD per request",
        Amount(0, 5),
        Amount(0, 2 * USD),
    )


def test_the_nearest_account_decides_what_is_charged_where_usage_is_not_told() -> None:
    tree = AccountTree(
        [AccountSpec(path="team", unknown_usage="likely"), AccountSpec(path="team/exact", unknown_usage="bound")]
    )
    assert [tree.unknown_usage_of(path, "bound") for path in ("", "team", "team/x", "team/exact/y", "other")] == [
        "bound",
        "likely",
        "likely",
        "bound",
        "bound",
    ]
    assert tree.unknown_usage_of("other", "likely") == "likely"


def test_two_limits_over_one_window_count_holds_in_one_way() -> None:
    tokens, money = Limit(per=Per.DAY, tokens=5, bound="estimate"), Limit(per=Per.DAY, nano_usd=5)
    with pytest.raises(ValueError, match=r"give 5 tokens per day .* the same bound"):
        AccountSpec(path="", limits=(money, tokens))
    AccountSpec(path="", limits=(money, tokens), bound="estimate")


def test_the_smallest_limit_of_output_on_the_path_is_the_cap() -> None:
    tree = AccountTree([*REQUEST, AccountSpec(path="team/small", limits=(Limit(per=Per.REQUEST, output_tokens=500),))])
    assert request_output_cap(tree.chain("team/small/x")) == 500
    assert request_output_cap(tree.chain("team/other")) == 2_000
    assert request_output_cap(tree.chain("other")) is None


def test_a_limit_per_request_takes_nothing_from_windows() -> None:
    ledger = Ledger(REQUEST)
    spend(ledger, "one", "team", Amount(10**9))
    assert ledger.snapshot() == {}


def test_other_limits_forget_nothing_that_was_spent() -> None:
    ledger = Ledger([AccountSpec(path="a", limits=(day(tokens=1_000),))])
    spend(ledger, "one", "a/b", Amount(300))
    hold(ledger, "two", "a/b", Amount(200))
    ledger.reconfigure([AccountSpec(path="a", limits=(day(tokens=600),))], NOON)
    window = ledger.snapshot()["a"].windows[0]
    assert (window.limit_tokens, window.spent, window.held, window.free_tokens) == (600, Amount(300), Amount(200), 100)


def test_a_limit_that_was_taken_away_and_comes_back_finds_what_was_spent_meanwhile() -> None:
    ledger = Ledger([AccountSpec(path="a", limits=(day(tokens=1_000),))])
    spend(ledger, "one", "a", Amount(300))
    ledger.reconfigure([], NOON)
    assert ledger.snapshot() == {}
    spend(ledger, "two", "a", Amount(5_000))
    ledger.reconfigure([AccountSpec(path="a", limits=(day(tokens=10_000),))], NOON)
    assert ledger.snapshot()["a"].windows[0].spent == Amount(5_300)


def test_a_limit_in_money_beside_one_in_tokens_finds_the_money_that_was_spent() -> None:
    ledger = Ledger([AccountSpec(path="a", limits=(day(tokens=1_000),))])
    spend(ledger, "one", "a", Amount(300, 7 * USD))
    ledger.reconfigure([AccountSpec(path="a", limits=(day(usd=10),))], NOON)
    assert ledger.snapshot()["a"].windows[0].free_nano_usd == 3 * USD


@pytest.mark.parametrize("other", [day(tokens=1_000, zone="Europe/Berlin"), day(tokens=1_000, rolling=True)])
def test_the_same_period_counted_otherwise_begins_with_what_was_spent(other: Limit) -> None:
    ledger = Ledger([AccountSpec(path="a", limits=(day(tokens=1_000),))])
    spend(ledger, "one", "a", Amount(300))
    hold(ledger, "two", "a", Amount(200))
    ledger.reconfigure([AccountSpec(path="a", limits=(other,))], NOON)
    window = ledger.snapshot()["a"].windows[0]
    assert (window.spent, window.held, window.free_tokens) == (Amount(300), Amount(200), 500)
    ledger.settle("two", Amount(50), NOON)
    assert ledger.snapshot()["a"].windows[0].free_tokens == 650


@pytest.mark.parametrize("account", ["a", "a/chat"])
def test_accounts_of_a_pattern_keep_what_they_spent_however_their_limits_are_reloaded(account: str) -> None:
    berlin = day(tokens=1_000, zone="Europe/Berlin")
    ledger = Ledger([AccountSpec(path="*", limits=(day(tokens=1_000),))])
    spend(ledger, "one", account, Amount(300))
    ledger.reconfigure([AccountSpec(path="*", limits=(berlin,))], NOON)
    assert ledger.snapshot()["a"].windows[0].spent == Amount(300)
    ledger.reconfigure([], NOON)
    spend(ledger, "two", account, Amount(400))
    ledger.reconfigure([AccountSpec(path="*", limits=(day(tokens=1_000),))], NOON)
    assert ledger.snapshot()["a"].windows[0].spent == Amount(700)
    assert isinstance(hold(ledger, "three", account, Amount(301)), Refused)


def test_more_accounts_than_are_remembered_keep_what_they_spent() -> None:
    ledger = Ledger([AccountSpec(path="*", limits=(day(tokens=1_000),))])
    for number in range(MOST_PATHS + 100):
        spend(ledger, f"first {number}", f"u{number}", Amount(900))
    ledger.reconfigure([AccountSpec(path="*", limits=(day(tokens=1_000, zone="Europe/Berlin"),))], NOON)
    for number in (0, 5, 2_100, MOST_PATHS + 99):
        assert isinstance(hold(ledger, f"second {number}", f"u{number}", Amount(101)), Refused)


def test_a_new_limit_counts_the_calls_in_flight() -> None:
    ledger = Ledger([])
    hold(ledger, "one", "users/ada", Amount(200))
    hold(ledger, "other", "else", Amount(999))
    ledger.reconfigure([AccountSpec(path="users/*", limits=(Limit(per=Per.HOUR, tokens=300),))], NOON)
    assert ledger.snapshot()["users/ada"].windows[0].held == Amount(200)
    ledger.settle("one", Amount(150), NOON)
    assert ledger.snapshot()["users/ada"].windows[0].free_tokens == 150


def test_a_limit_below_what_is_spent_leaves_nothing_free() -> None:
    ledger = Ledger([AccountSpec(path="a", limits=(day(tokens=1_000),))])
    spend(ledger, "one", "a", Amount(300))
    ledger.reconfigure([AccountSpec(path="a", limits=(day(tokens=100),))], NOON)
    assert ledger.snapshot()["a"].windows[0].free_tokens == -200
    assert isinstance(hold(ledger, "two", "a", Amount(1)), Refused)
    assert isinstance(hold(ledger, "three", "a", Amount(1), NOON + 86_400), Granted)


def test_of_two_limits_over_the_same_windows_the_smaller_counts() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(day(tokens=500, usd=5), day(tokens=300), day(usd=7)))])
    (window,) = ledger.snapshot()[""].windows
    assert (window.limit_tokens, window.limit_nano_usd) == (300, 5 * USD)


def test_an_account_that_was_forgotten_while_idle_is_limited_as_before_when_it_comes_back() -> None:
    ledger = Ledger([AccountSpec(path="user/*", limits=(day(tokens=10),))])
    for number in range(1_023):
        spend(ledger, f"first {number}", f"user/{number}", Amount(10))
    tomorrow = NOON + 86_400
    spend(ledger, "one too many", "user/new", Amount(10), tomorrow)
    spend(ledger, "second", "user/0", Amount(8), tomorrow)
    counted = {path: account.windows[0].spent.tokens for path, account in ledger.snapshot().items()}
    assert counted == {"user/new": 10, "user/0": 8}
    assert isinstance(hold(ledger, "third", "user/0", Amount(3), tomorrow), Refused)


FIGURES = st.none() | st.integers(0, 8)


@given(
    st.lists(st.tuples(FIGURES, FIGURES, FIGURES, FIGURES).filter(lambda row: row != (None,) * 4), max_size=3),
    st.integers(0, 10),
    st.integers(0, 10),
    FIGURES,
)
def test_a_request_keeps_all_limits_exactly_where_none_of_them_refuses_it(
    rows: list[tuple[int | None, ...]], asked: int, output: int, nano_usd: int | None
) -> None:
    limits = [
        Limit(per=Per.REQUEST, tokens=tokens, nano_usd=money, input_tokens=inputs, output_tokens=outputs)
        for tokens, money, inputs, outputs in rows
    ]
    chain = (AccountSpec(path="", limits=(day(1),)), AccountSpec(path="a", limits=tuple(limits)))
    refused = check_request_limits(chain, asked, output, nano_usd=nano_usd)
    assert chain_terms(chain).within(asked, output, nano_usd) is (refused is None)
