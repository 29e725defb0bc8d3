"""Cool-downs and the way back from them, as plain calls. `test_cooling_machine` holds them to a model."""

from __future__ import annotations

import math
from typing import Literal

import pytest

from penstock.policy.routing import Admitted, CoolDown, CoolSettings, Denied, Routing, eased, key_scope, target_scope

TARGET = "target:t"
Reason = Literal["rate_limited", "quota_exhausted"]


def seconds(
    routing: Routing, now: float, *, jitter: float = 1.0, hint: float | None = None, reason: Reason = "rate_limited"
) -> float:
    """How long it cools from now on, after one more refusal."""
    routing.cool(TARGET, reason, now=now, jitter=jitter, retry_after=hint)
    return routing.cooling()[TARGET].until - now


def test_the_names_of_scopes_say_what_they_are_of() -> None:
    assert target_scope("openai/gpt-4o") == "target:openai/gpt-4o"
    assert key_scope("openai") == "key:openai/0"
    assert key_scope("openai", 2) == "key:openai/2"


def test_without_a_hint_a_rate_limit_cools_a_second_doubling_to_thirty() -> None:
    routing = Routing()
    now, seen = 0.0, list[float]()
    for _ in range(8):
        seen.append(seconds(routing, now))
        now += seen[-1]
    assert seen == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_an_empty_account_cools_five_minutes_doubling_to_an_hour() -> None:
    routing = Routing()
    now, seen = 0.0, list[float]()
    for _ in range(6):
        seen.append(seconds(routing, now, jitter=0.0, reason="quota_exhausted"))
        now += seen[-1]
    assert seen == pytest.approx([300, 600, 1200, 2400, 3600, 3600])


@pytest.mark.parametrize(("jitter", "least"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_jitter_takes_off_up_to_half(jitter: float, least: float) -> None:
    assert seconds(Routing(), 0.0, jitter=jitter) == pytest.approx(least)


def test_a_hint_is_taken_at_its_word() -> None:
    assert seconds(Routing(), 7.0, jitter=0.0, hint=42.0) == pytest.approx(42)


def test_calls_under_way_together_that_meet_one_limit_count_once() -> None:
    routing = Routing()
    for late in (0.0, 0.1, 0.2, 0.3):
        routing.cool(TARGET, "rate_limited", now=late, jitter=0.0)
    assert routing.cooling()[TARGET].until <= 0.3 + 0.5
    assert seconds(routing, 10.0) == pytest.approx(2), "the second in a row, not the fifth"


def test_what_is_new_or_longer_is_told_and_nothing_else() -> None:
    routing = Routing()
    assert routing.cool(TARGET, "rate_limited", now=0.0, jitter=0.0, retry_after=9.0) == CoolDown(
        TARGET, 9.0, "rate_limited"
    )
    assert routing.cool(TARGET, "rate_limited", now=1.0, jitter=0.0, retry_after=8.0) is None
    longer = routing.cool(TARGET, "rate_limited", now=1.0, jitter=0.0, retry_after=8.5)
    assert longer == CoolDown(TARGET, 9.5, "rate_limited")


def test_settings_of_its_own() -> None:
    routing = Routing(CoolSettings(rate_base=3.0, rate_cap=4.0))
    assert seconds(routing, 0.0) == pytest.approx(3)
    assert seconds(routing, 100.0) == pytest.approx(4)


# Thawing


def admit(routing: Routing, now: float, *permits: str, lease: float = 60.0, scopes: tuple[str, ...] = (TARGET,)) -> int:
    """How many of the permits are granted."""
    answers = [routing.admit(permit, scopes, now, lease=lease) for permit in permits]
    return sum(isinstance(answer, Admitted) for answer in answers)


def thawing() -> Routing:
    """A target whose cool-down ended at 1."""
    routing = Routing()
    routing.cool(TARGET, "rate_limited", now=0.0, jitter=1.0)
    return routing


def test_a_scope_that_never_cooled_needs_no_permit() -> None:
    assert Routing().admit("a", (TARGET, "key:p/0"), 0.0, lease=60.0) == Admitted(thawing=False)


def test_while_it_cools_nobody_is_admitted() -> None:
    assert thawing().admit("a", (TARGET,), 0.5, lease=60.0) == Denied(TARGET, "cooling", 1.0)


def test_of_a_hundred_that_waited_one_goes_then_two_then_four_then_all() -> None:
    routing = thawing()
    waiting = [f"call {number}" for number in range(100)]
    seen = list[int]()
    for step in range(4):
        now = 1.0 + step
        seen.append(admit(routing, now, *waiting))
        for permit in waiting:
            routing.give_back(permit, "answered", now)
    assert seen == [1, 2, 4, 100]
    assert routing.cooling() == {}


def test_the_one_who_is_denied_learns_when_the_lease_ends() -> None:
    routing = thawing()
    assert routing.admit("a", (TARGET,), 1.0, lease=60.0) == Admitted(thawing=True)
    assert routing.admit("b", (TARGET,), 2.0, lease=60.0) == Denied(TARGET, "thawing", 61.0)
    assert routing.admit("a", (TARGET,), 2.0, lease=60.0) == Admitted(thawing=True), "it has its permit already"


def test_a_limit_met_while_thawing_cools_anew_and_longer_and_begins_with_one_again() -> None:
    routing = thawing()
    admit(routing, 1.0, "a")
    routing.give_back("a", "answered", 1.0)
    assert admit(routing, 1.0, "b", "c") == 2
    routing.cool(TARGET, "rate_limited", now=2.0, jitter=1.0)
    routing.give_back("b", "limited", 2.0)
    routing.cool(TARGET, "rate_limited", now=2.1, jitter=1.0)
    assert routing.cooling()[TARGET].until == pytest.approx(4.1), "two calls met one limit: 2 s, not 4"
    routing.give_back("c", "answered", 2.2)
    assert admit(routing, 3.0, "d") == 0
    assert admit(routing, 5.0, "d", "e") == 1


def test_after_the_way_back_the_next_cool_down_starts_small_again() -> None:
    routing = Routing()
    for now in (0.0, 10.0, 20.0):
        seconds(routing, now)
    for number in range(7):
        assert admit(routing, 100.0, str(number)) == 1
        routing.give_back(str(number), "answered", 100.0)
    assert routing.cooling() == {}
    assert seconds(routing, 101.0) == pytest.approx(1)


def test_one_answer_is_not_the_way_back() -> None:
    routing = thawing()
    admit(routing, 1.0, "a")
    routing.give_back("a", "answered", 1.0)
    assert seconds(routing, 2.0) == pytest.approx(2), "the second in a row"


def test_an_answer_without_a_permit_ends_nothing() -> None:
    routing = thawing()
    version = routing.version
    for number in range(100):
        routing.give_back(f"began before {number}", "answered", 1.5)
    assert routing.version == version
    assert admit(routing, 2.0, "a", "b") == 1


def test_a_permit_without_a_result_comes_back_and_proves_nothing() -> None:
    routing = thawing()
    for number in range(50):
        assert admit(routing, 1.0, f"left {number}") == 1
        routing.give_back(f"left {number}", "nothing", 1.0)
    assert admit(routing, 1.0, "a", "b") == 1


def test_a_lost_permit_comes_back_when_its_lease_ends_and_its_answer_counts_all_the_same() -> None:
    routing = thawing()
    assert admit(routing, 1.0, "lost", lease=30.0) == 1
    assert admit(routing, 30.9, "a") == 0
    assert admit(routing, 31.0, "a") == 1
    routing.give_back("lost", "answered", 40.0)
    assert admit(routing, 40.0, "b") == 1, "two may go now, and a is one of them"


def test_a_permit_is_returned_once() -> None:
    routing = thawing()
    admit(routing, 1.0, "a")
    for _ in range(7):
        routing.give_back("a", "answered", 1.0)
    assert admit(routing, 1.0, "b", "c", "d") == 2


def test_all_scopes_are_admitted_or_none() -> None:
    routing = thawing()
    routing.cool("key:p/0", "quota_exhausted", now=0.0, jitter=0.0)
    both = (TARGET, "key:p/0")
    assert routing.admit("a", both, 2.0, lease=60.0) == Denied("key:p/0", "cooling", 300.0)
    assert admit(routing, 2.0, "b") == 1, "the denial took no permit"
    routing.give_back("b", "nothing", 2.0)
    assert admit(routing, 300.0, "c", "d", scopes=both) == 1


def test_a_scope_that_thaws_beside_the_limited_one_begins_again_with_one() -> None:
    routing = thawing()
    routing.cool("key:p/0", "quota_exhausted", now=0.0, jitter=0.0)
    both = (TARGET, "key:p/0")
    admit(routing, 300.0, "a", scopes=both)
    routing.give_back("a", "answered", 300.0)
    assert admit(routing, 301.0, "b", scopes=both) == 1
    routing.cool(TARGET, "rate_limited", now=302.0, jitter=1.0)
    routing.give_back("b", "limited", 302.0)
    assert admit(routing, 302.0, "c", "d", scopes=("key:p/0",)) == 1
    routing.give_back("c", "answered", 303.0)
    assert admit(routing, 303.0, "e", "f", "g", scopes=("key:p/0",)) == 2


def test_who_waits_is_told_of_every_permit_that_comes_back_and_of_the_end() -> None:
    routing = thawing()
    before = routing.cooling()
    admit(routing, 1.0, "a", "b")
    taken = routing.cooling()
    assert (before[TARGET].permits_left, taken[TARGET].permits_left) == (1, 0)
    assert eased(before, taken) == {}
    routing.give_back("a", "answered", 1.0)
    two = routing.cooling()
    assert eased(taken, two) == {TARGET: 2}
    admit(routing, 1.0, "c", "d")
    for permit in "cd":
        routing.give_back(permit, "answered", 2.0)
    admit(routing, 3.0, *"efgh")
    four_out = routing.cooling()
    routing.expire(1_000.0)
    assert eased(four_out, routing.cooling()) == {TARGET: 4}, "leases that ended"
    for permit in "efgh":
        routing.give_back(permit, "answered", 1_000.0)
    assert eased(four_out, routing.cooling()) == {TARGET: math.inf}


def test_a_new_cool_down_lets_nobody_pass_whatever_it_shows() -> None:
    routing = thawing()
    admit(routing, 1.0, "a")
    taken = routing.cooling()
    routing.cool(TARGET, "rate_limited", now=2.0, jitter=0.0, retry_after=60.0)
    assert eased(taken, routing.cooling()) == {}


def test_a_cool_down_knows_whether_it_is_over() -> None:
    cool = CoolDown(TARGET, 5.0, "rate_limited")
    assert (cool.is_over(4.9), cool.is_over(5.0)) == (False, True)
