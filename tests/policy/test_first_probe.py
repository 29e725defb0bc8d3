"""Who probes first a circuit whose time is over: whoever comes just then, or whoever has waited for it."""

from __future__ import annotations

import itertools
import math

import pytest

from penstock.policy.breaker import Admitted, Breakers, BreakerSettings, Verdict
from penstock.policy.first_probe import held_back

SCOPE = "target:a"
OVER = {0: 20.0}


def turn(now: float, *, again: bool = True, has_waited: bool = True, deadline: float = 600.0) -> float:
    return held_back(OVER, {0} if again else set(), now, has_waited=has_waited, deadline=deadline)[0]


def test_the_first_time_those_who_wait_probe_as_soon_as_they_may() -> None:
    assert turn(10.0, again=False) == 20.0


def test_once_a_probe_has_failed_they_let_pass_first_who_comes_just_then() -> None:
    assert turn(20.5, has_waited=False) == 20.0, "it goes at once"
    assert turn(20.5) == 23.0
    assert turn(10.0, has_waited=False) == 23.0, "who comes too early will have to wait"


def test_who_has_no_time_to_be_held_back_goes_at_once() -> None:
    assert turn(10.0, deadline=23.0) == 20.0
    assert turn(10.0, deadline=23.5) == 23.0


def test_one_that_is_isolated_stays_so_and_other_stages_are_what_they_were() -> None:
    opened = {0: math.inf, 1: 20.0, 2: 20.0}
    assert held_back(opened, {0, 1}, 10.0, has_waited=True, deadline=600.0) == {0: math.inf, 1: 23.0, 2: 20.0}


@pytest.mark.parametrize("opens_at", [5.0, 5.3, 6.0, 10.0])
def test_with_every_jitter_an_outage_of_a_minute_sees_no_more_than_four_probes(opens_at: float) -> None:
    """A call comes every 5 s, and all of them wait. The first that can go tries, and fails."""
    for jitters in itertools.product((0.0, 0.3, 0.7, 1.0), repeat=6):
        assert len(probes(opens_at, jitters)) <= 4, jitters


def probes(opens_at: float, jitters: tuple[float, ...]) -> list[float]:
    breakers = Breakers(lambda _scope: BreakerSettings())
    for call in range(5):
        breakers.record(SCOPE, Verdict.FAILED, opens_at, jitter=jitters[0], call=str(call))
    seen: list[float] = []
    for number, jitter in enumerate(jitters[1:]):
        health = breakers.snapshot()[SCOPE]
        over, again = {0: health.open_until}, {0} if health.again else set[int]()
        comes = 5.0 * math.ceil(health.open_until / 5.0)
        waits = held_back(over, again, health.open_until, has_waited=True, deadline=math.inf)[0]
        assert held_back(over, again, comes, has_waited=False, deadline=math.inf) == over, "it need not wait"
        now = min(waits, comes)
        if now >= 60.0:
            break
        assert isinstance(breakers.admit(str(number), [SCOPE], now), Admitted)
        breakers.settle(str(number), Verdict.FAILED, now, jitter=jitter)
        seen.append(now)
    return seen
