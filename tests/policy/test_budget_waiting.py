"""Holds that wait for others to be settled: in order, not for ever, and not behind those they do not compete with."""

from __future__ import annotations

from penstock.policy.budget import AccountSpec, Amount, Granted, Ledger, Limit, Line, Per, Refused, Waiting

NOON = 1_777_896_000.0  # 2026-05-04 12:00 UTC
TREE = (
    AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=1_000),)),
    AccountSpec(path="a", limits=(Limit(per=Per.DAY, tokens=400),)),
    AccountSpec(path="b", limits=(Limit(per=Per.DAY, tokens=400),)),
)


def ask(
    ledger: Ledger, hold_id: str, account: str, tokens: int, *, now: float = NOON, wait: float | None = 5.0
) -> Granted | Waiting | Refused:
    until = None if wait is None else now + wait
    lines = (Line(tokens, 0, 0, 0),)
    return ledger.reserve(hold_id, account, lines, min_output=0, max_output=0, now=now, wait_until=until)


def ids(decisions: list[Granted | Refused]) -> list[tuple[str, str]]:
    return [(type(decision).__name__, decision.hold_id) for decision in decisions]


def test_what_fits_once_others_settle_waits_and_is_granted_then() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    assert ask(ledger, "two", "a", 300) == Waiting("two")
    assert ledger.take_grants(NOON + 1) == []
    ledger.settle("one", Amount(50), NOON + 2)
    assert ids(ledger.take_grants(NOON + 2)) == [("Granted", "two")]
    assert ledger.take_grants(NOON + 2) == []


def test_what_could_not_fit_with_every_hold_released_is_refused_at_once() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    ledger.settle("one", Amount(300), NOON)
    ask(ledger, "two", "a", 50)
    decision = ask(ledger, "three", "a", 101)
    assert isinstance(decision, Refused)
    assert decision.reason == "exhausted"


def test_a_wait_ends_in_a_refusal() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    ask(ledger, "two", "a", 300)
    assert ledger.next_wait_end == NOON + 5
    (decision,) = ledger.take_grants(NOON + 5)
    assert isinstance(decision, Refused)
    assert (decision.reason, decision.account, decision.missing) == ("held", "a", Amount(200))
    assert ledger.next_wait_end is None


def test_who_fits_at_the_very_end_of_his_wait_is_granted() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    ask(ledger, "two", "a", 300)
    ledger.settle("one", Amount(), NOON + 5)
    assert ids(ledger.take_grants(NOON + 5)) == [("Granted", "two")]


def test_who_can_no_longer_fit_is_refused_before_his_wait_is_over() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    ask(ledger, "two", "a", 300)
    ledger.settle("one", Amount(300), NOON + 1)
    (decision,) = ledger.take_grants(NOON + 1)
    assert isinstance(decision, Refused)
    assert decision.reason == "exhausted"


def test_waiting_holds_go_in_the_order_they_came() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "running", "a", 400)
    for name in ("first", "second", "third"):
        assert isinstance(ask(ledger, name, "a", 150), Waiting)
    ledger.settle("running", Amount(), NOON + 1)
    assert ids(ledger.take_grants(NOON + 1)) == [("Granted", "first"), ("Granted", "second")]
    ledger.settle("second", Amount(), NOON + 2)
    assert ids(ledger.take_grants(NOON + 2)) == [("Granted", "third")]


def test_small_calls_do_not_starve_a_large_one() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(Limit(per=Per.DAY, tokens=1_000),))])
    ask(ledger, "small-0", "small", 100)
    assert isinstance(ask(ledger, "large", "large", 1_000, wait=60), Waiting)
    # Small calls fit into what is left, but whoever came first is served first.
    assert isinstance(ask(ledger, "small-1", "small", 100), Waiting)
    refused = ask(ledger, "small-2", "small", 100, wait=None)
    assert isinstance(refused, Refused)
    assert refused.says.endswith("is wanted by calls that came before")
    ledger.settle("small-0", Amount(), NOON + 1)
    assert ids(ledger.take_grants(NOON + 1)) == [("Granted", "large")]


def test_who_waits_for_his_own_account_does_not_hold_up_another() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    assert isinstance(ask(ledger, "two", "a", 300), Waiting)
    assert isinstance(ask(ledger, "three", "b", 300), Granted)


def test_a_new_call_does_not_overtake_one_that_can_go_now() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 400)
    ask(ledger, "two", "a", 300)
    ledger.settle("one", Amount(), NOON + 1)
    # Nobody has asked for the grants yet; the room is spoken for all the same.
    assert isinstance(ask(ledger, "three", "a", 300, now=NOON + 1), Waiting)
    assert ids(ledger.take_grants(NOON + 1)) == [("Granted", "two")]


def test_who_leaves_the_queue_lets_the_next_one_go() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 200)
    ask(ledger, "large", "a", 300)
    ask(ledger, "small", "a", 100)
    ledger.settle("large", Amount(), NOON + 1)
    assert ids(ledger.take_grants(NOON + 1)) == [("Granted", "small")]
    again = ask(ledger, "large", "a", 300, now=NOON + 1)
    assert isinstance(again, Refused)
    assert again.reason == "settled"


def test_a_grant_nobody_takes_any_more_is_not_handed_out() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 400)
    ask(ledger, "two", "a", 300)
    ledger.settle("one", Amount(), NOON + 1)
    ask(ledger, "three", "b", 100, now=NOON + 1)
    ledger.settle("two", Amount(), NOON + 1)
    assert ledger.take_grants(NOON + 1) == []
    assert ledger.snapshot()["a"].windows[0].held == Amount()


def test_a_waiting_hold_asked_for_again_keeps_its_place() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 400)
    ask(ledger, "two", "a", 300)
    ask(ledger, "three", "a", 300)
    assert ask(ledger, "two", "a", 300) == Waiting("two")
    ledger.settle("one", Amount(), NOON + 1)
    assert ids(ledger.take_grants(NOON + 1)) == [("Granted", "two")]


def test_a_new_window_serves_those_who_wait() -> None:
    ledger = Ledger([AccountSpec(path="", limits=(Limit(per=Per.MINUTE, tokens=100),))])
    ask(ledger, "one", "", 100, now=NOON + 58)
    ask(ledger, "two", "", 100, now=NOON + 58)
    assert ledger.next_wait_end == NOON + 60
    assert ids(ledger.take_grants(NOON + 60)) == [("Granted", "two")]


def test_a_top_up_of_a_running_call_goes_before_those_who_wait() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    ask(ledger, "two", "a", 300)
    assert isinstance(ledger.top_up("one", Amount(100), NOON), Granted)


def test_a_clock_that_goes_back_does_not_end_a_wait() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    back = NOON - 3_600
    assert isinstance(ask(ledger, "two", "a", 300, now=back), Waiting)
    assert ledger.take_grants(back + 4) == []
    assert ids(ledger.take_grants(back + 5)) == [("Refused", "two")]


def test_larger_limits_serve_those_who_wait() -> None:
    ledger = Ledger(TREE)
    ask(ledger, "one", "a", 300)
    ask(ledger, "two", "a", 300)
    ledger.reconfigure([AccountSpec(path="a", limits=(Limit(per=Per.DAY, tokens=600),))], NOON)
    assert ids(ledger.take_grants(NOON)) == [("Granted", "two")]
