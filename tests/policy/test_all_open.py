"""What a cascade does where the circuits of all its targets are open: wait, stop, or go all the same."""

from __future__ import annotations

import math

import pytest

from penstock.policy.retry import AllOpen, Cascade, Stage, Stop, Try, Wait

TWO = (Stage("a", 3), Stage("b", 2))
EACH: tuple[AllOpen, ...] = ("soonest", "fail", "ignore")


def cascade(policy: AllOpen, *, deadline: float = 600.0) -> Cascade:
    return Cascade(TWO, deadline=deadline, all_open=policy)


def test_soonest_waits_for_the_first_probe() -> None:
    assert cascade("soonest").next(1.0, opened={0: 9.0, 1: 6.0}) == Wait(6.0, 1)
    assert Cascade(TWO, deadline=600.0).next(1.0, opened={0: 9.0, 1: 6.0}) == Wait(6.0, 1), "the default"


def test_soonest_stops_where_the_first_probe_comes_after_the_deadline() -> None:
    assert cascade("soonest", deadline=6.0).next(1.0, opened={0: 9.0, 1: 6.0}) == Stop("no_time", 6.0)


def test_fail_stops_at_once_and_says_when_the_first_probe_is() -> None:
    assert cascade("fail").next(1.0, opened={0: 9.0, 1: 6.0}) == Stop("all_open", 6.0)


def test_ignore_goes_in_the_order_of_the_cascade_and_back_offs_hold() -> None:
    walk = cascade("ignore")
    opened = {0: 9.0, 1: 6.0}
    assert walk.next(1.0, opened=opened) == Try(0, ignoring=True)
    walk.failed(0, "server_error", now=1.0, jitter=1.0)
    assert walk.next(1.0, opened=opened) == Wait(1.5, 0)
    assert walk.next(1.5, opened=opened) == Try(0, ignoring=True)
    walk.failed(0, "first_token_timeout", now=1.5, jitter=1.0)
    assert walk.next(1.5, opened=opened) == Try(1, ignoring=True)


@pytest.mark.parametrize("policy", EACH)
def test_with_one_circuit_closed_the_call_goes_there_under_every_policy(policy: AllOpen) -> None:
    assert cascade(policy).next(1.0, opened={0: 9.0}) == Try(1)


@pytest.mark.parametrize("policy", EACH)
def test_a_circuit_whose_time_is_over_is_probed_under_every_policy(policy: AllOpen) -> None:
    assert cascade(policy).next(6.0, opened={0: 9.0, 1: 6.0}) == Try(1)


@pytest.mark.parametrize("policy", EACH)
@pytest.mark.parametrize(("cools", "opens"), [(4.0, 9.0), (9.0, 4.0)])
def test_where_one_cools_and_one_is_open_the_first_of_them_is_waited_for(
    policy: AllOpen, cools: float, opens: float
) -> None:
    step = cascade(policy).next(1.0, {0: cools}, opened={1: opens})
    assert step == Wait(4.0, 0 if cools < opens else 1)


def test_a_cool_down_holds_where_its_circuit_is_ignored() -> None:
    assert cascade("ignore").next(1.0, {0: 3.0}, opened={0: 9.0, 1: 9.0}) == Try(1, ignoring=True)
    assert cascade("ignore").next(1.0, {0: 3.0, 1: 4.0}, opened={0: 9.0, 1: 9.0}) == Wait(3.0, 0)


def test_what_was_isolated_by_hand_is_never_ignored() -> None:
    assert cascade("ignore").next(1.0, opened={0: math.inf, 1: 9.0}) == Try(1, ignoring=True)
    assert cascade("ignore").next(1.0, opened={0: math.inf, 1: math.inf}) == Stop("all_open", math.inf)


@pytest.mark.parametrize("policy", EACH)
def test_what_can_never_be_tried_again_does_not_count(policy: AllOpen) -> None:
    walk = cascade(policy)
    walk.failed(0, "model_not_found", now=0.0, jitter=0.0)
    step = walk.next(1.0, opened={1: 5.0})
    assert step == {"soonest": Wait(5.0, 1), "fail": Stop("all_open", 5.0), "ignore": Try(1, ignoring=True)}[policy]
    walk.give_up(1)
    assert walk.next(1.0, opened={1: 5.0}) == Stop("spent")
