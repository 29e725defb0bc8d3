"""The cascade where targets are out of reach: whom a call waits for, and whom it leaves."""

from __future__ import annotations

import pytest

from penstock.policy.retry import Cascade, Stage, Stop, Try, Wait

TWO = (Stage("a", 3), Stage("b", 2))


def failed(kind: str, *, hint: float | None = None, deadline: float = 600.0) -> Cascade:
    walk = Cascade(TWO, deadline=deadline)
    assert walk.next(0.0) == Try(0)
    walk.failed(0, kind, now=0.0, jitter=1.0, retry_after=hint)
    return walk


@pytest.mark.parametrize("kind", ["server_error", "overloaded", "connect", "connection_lost", "malformed"])
def test_a_target_whose_circuit_opened_meanwhile_is_left_at_once(kind: str) -> None:
    assert failed(kind).next(0.5, {0: 4.5}) == Try(1)


def test_a_back_off_alone_is_waited_for() -> None:
    walk = failed("server_error")
    assert walk.next(0.0) == Wait(0.5, 0)
    assert walk.next(0.0, {0: 0.5}) == Wait(0.5, 0)


def test_a_short_cool_down_of_a_rate_limit_is_waited_for_though_everyone_knows_of_it() -> None:
    assert failed("rate_limited", hint=2.0).next(0.0, {0: 2.5}) == Wait(2.5, 0)


def test_a_rate_limit_that_goes_on_for_others_is_waited_for_no_longer_than_one_that_is_long() -> None:
    walk = failed("rate_limited", hint=1.0)
    assert walk.next(0.0, {0: 1.0}) == Wait(1.0, 0)
    assert walk.next(1.0, {0: 2.0}) == Wait(2.0, 0), "another call was let go first, and was refused"
    assert walk.next(2.0, {0: 5.0}) == Wait(5.0, 0)
    assert walk.next(5.0, {0: 5.25}) == Try(1)


def test_what_was_waited_for_before_the_last_attempt_does_not_count() -> None:
    walk = failed("rate_limited", hint=4.0)
    assert walk.next(4.0) == Try(0)
    walk.failed(0, "rate_limited", now=4.0, jitter=1.0, retry_after=4.0)
    assert walk.next(4.0) == Wait(8.0, 0)


def test_a_hint_of_just_as_long_is_waited_for_though_everyone_hears_of_it_a_moment_later() -> None:
    walk = failed("rate_limited", hint=5.0)
    assert walk.next(0.0) == Wait(5.0, 0)
    assert walk.next(5.0, {0: 5.005}) == Wait(5.005, 0)


def test_with_nobody_else_in_reach_an_open_circuit_is_waited_for_after_all() -> None:
    assert failed("server_error").next(0.0, {0: 4.5, 1: 400.0}) == Wait(4.5, 0)


def test_a_target_that_timed_out_is_not_asked_again_while_another_can_go_within_the_calls_time() -> None:
    walk = failed("first_token_timeout")
    assert walk.next(0.5, {1: 5.5}) == Wait(5.5, 1)
    assert walk.next(0.5, {1: 300.0}) == Wait(300.0, 1), "a silent upstream costs its limit once, however long that is"
    short = failed("first_token_timeout", deadline=60.0)
    assert short.next(0.5, {1: 59.0}) == Wait(59.0, 1)
    assert short.next(0.5, {1: 300.0}) == Try(0), "nobody else can go before the call's time is up"


def test_beyond_the_deadline_nobody_is_waited_for() -> None:
    walk = failed("server_error", deadline=3.0)
    assert walk.next(0.0, {0: 4.5, 1: 4.0}) == Stop("no_time", 4.0)


def test_what_is_left_is_every_stage_that_may_be_tried_again_however_much_later() -> None:
    walk = failed("model_not_found")
    assert walk.left() == [1]
    walk.give_up(1)
    assert walk.left() == []
    assert failed("rate_limited", hint=60.0).left() == [0, 1]
