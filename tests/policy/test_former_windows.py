"""What was configured before goes on counting, however often and however else accounts are declared in between."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.policy import former_windows
from penstock.policy.account_windows import AccountWindows
from penstock.policy.accounts import AccountSpec, AccountTree, Limit, Shape
from penstock.policy.budget import Amount, Ledger, Line, Refused
from penstock.policy.former_windows import FormerWindows
from penstock.policy.window import Per

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
PATHS = ("", "a", "b", "a/b", "b/b")
NAMES = (*PATHS, "*", "*/b", "a/*", "*/*")


def limit(per: Per = Per.DAY, zone: str = "UTC", tokens: int = 1_000) -> Limit:
    return Limit(per=per, timezone=zone, tokens=tokens)


DAY, MONTH, TOKYO = (limit().shape, limit(Per.MONTH).shape, limit(zone="Asia/Tokyo").shape)


def spec(path: str, *limits: Limit) -> AccountSpec:
    return AccountSpec(path=path, limits=limits)


def spend(ledger: Ledger, hold_id: str, account: str, tokens: int) -> object:
    lines = (Line(tokens, 0, 0, 0),)
    decided = ledger.reserve(hold_id, account, lines, min_output=0, max_output=0, now=NOON, wait_until=None)
    ledger.settle(hold_id, Amount(tokens), NOON)
    return decided


@pytest.mark.parametrize("meanwhile", [(), (limit(zone="Asia/Tokyo"),)], ids=["no limit", "another zone"])
def test_a_limit_that_comes_back_after_any_number_of_reloads_finds_what_was_spent(meanwhile: tuple[Limit, ...]) -> None:
    ledger = Ledger([spec("team", limit())])
    spend(ledger, "before", "team", 300)
    for figure in range(100):
        ledger.reconfigure([spec("team", *meanwhile), spec("other", limit(tokens=figure))], NOON)
    spend(ledger, "between", "team", 400)
    ledger.reconfigure([spec("team", limit())], NOON)
    assert ledger.snapshot()["team"].windows[0].spent == Amount(700)
    assert isinstance(spend(ledger, "after", "team", 301), Refused)


def test_customers_who_sign_up_do_not_push_out_what_others_spent() -> None:
    customers: list[AccountSpec] = []
    ledger = Ledger([spec("team", limit())])
    spend(ledger, "before", "team", 300)
    for number in range(100):
        customers.append(spec(f"customers/{number}", limit()))
        ledger.reconfigure(customers, NOON)
    spend(ledger, "between", "team", 400)
    ledger.reconfigure([spec("team", limit()), *customers], NOON)
    assert ledger.snapshot()["team"].windows[0].spent == Amount(700)


def test_an_account_that_a_pattern_spoke_for_keeps_its_windows_when_it_is_spelled_out() -> None:
    windows = AccountWindows([spec("*", limit())])
    windows.reconfigure([spec("*", limit()), spec("a", limit(Per.MONTH))], [])
    assert shapes_of(windows, "a") == {DAY, MONTH}
    windows.reconfigure([spec("*", limit(Per.MONTH)), spec("a")], [])
    assert (shapes_of(windows, "a"), shapes_of(windows, "b")) == ({DAY, MONTH}, {DAY, MONTH})


def test_a_pattern_that_speaks_before_another_takes_away_none_of_its_windows() -> None:
    windows = AccountWindows([spec("*/*", limit())])
    windows.reconfigure([spec("*/*", limit()), spec("a/*", limit(Per.MONTH))], [])
    assert shapes_of(windows, "a/b") == {DAY, MONTH}


def test_other_figures_of_the_same_windows_are_nothing_to_remember() -> None:
    former = FormerWindows()
    old = AccountTree([spec(f"customers/{number}", limit()) for number in range(100)])
    former.replaced(old, AccountTree([spec(f"customers/{number}", limit(tokens=5)) for number in range(100)]))
    assert not former.paths


def test_beyond_a_bound_those_that_lost_windows_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former_windows, "MOST_NAMES", 3)
    former = FormerWindows()
    empty = AccountTree([])
    for name in ("a", "b", "c", "*/a", "a", "d"):
        former.replaced(AccountTree([spec(name, limit())]), empty)
    assert [*former.paths] == ["c", "a", "d"]
    assert [*former.shapes_of("b")] == []
    assert [*former.shapes_of("x/a")] == [DAY]


LIMITS = [limit(), limit(Per.MONTH), limit(zone="Asia/Tokyo"), limit(Per.REQUEST)]
SPECS: st.SearchStrategy[AccountSpec] = st.builds(
    AccountSpec,
    path=st.sampled_from(NAMES),
    limits=st.lists(st.sampled_from(LIMITS), max_size=2, unique=True).map(lambda drawn: (*drawn,)),
)
CONFIGURED = st.lists(SPECS, max_size=5, unique_by=lambda declared: declared.path)


@given(st.lists(CONFIGURED, min_size=1, max_size=8))
def test_an_account_counts_in_every_window_that_it_ever_had_and_in_none_that_nothing_of_its_name_had(
    configured: list[list[AccountSpec]],
) -> None:
    windows = AccountWindows(configured[0])
    for accounts in configured[1:]:
        windows.reconfigure(accounts, [])
    for path in PATHS:
        had = {shape for accounts in configured for shape in spoken_for(path, accounts)}
        named = {shape for accounts in configured for one in accounts if names(one, path) for shape in shapes_in(one)}
        assert had <= shapes_of(windows, path) <= named


# The model: the rule of the documentation told once more, a segment at a time.


def spoken_for(path: str, accounts: Sequence[AccountSpec]) -> set[Shape]:
    those = [one for one in accounts if names(one, path)]
    those.sort(key=lambda one: [segment == "*" for segment in one.path.split("/")])
    return shapes_in(those[0]) if those else set()


def names(one: AccountSpec, path: str) -> bool:
    own, segments = one.path.split("/"), path.split("/")
    return len(own) == len(segments) and all(
        mine == segment or (mine == "*" and segment) for mine, segment in zip(own, segments, strict=True)
    )


def shapes_in(one: AccountSpec) -> set[Shape]:
    return {(each.per, each.timezone, False) for each in one.limits if each.per is not Per.REQUEST}


def shapes_of(windows: AccountWindows, path: str) -> set[Shape]:
    return {window.shape for window in windows.own(path)}
