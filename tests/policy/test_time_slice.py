"""When an attempt is streamed, and how long it may be silent for, where others are to have their turn."""

from __future__ import annotations

import msgspec
import pytest

from penstock.policy.stream_watch import Phases
from penstock.policy.time_slice import sliced, timed
from penstock.policy.upstream_stream import UpstreamStream, may_be_streamed
from penstock.types import Capabilities

DEFAULTS = Phases()
TELLS = Capabilities(stream_usage=True)


def attempt(
    left: float,
    *,
    follows: bool,
    capabilities: Capabilities = TELLS,
    mode: UpstreamStream = "auto",
    takes_long: bool = False,
    watched: bool = False,
    phases: Phases = DEFAULTS,
) -> tuple[float, float, bool]:
    """Its `first_token`, its `total`, and whether it is streamed."""
    timed_, streamed = timed(
        phases,
        capabilities,
        mode,
        watched=watched,
        takes_long=takes_long,
        left=left,
        could_follow=lambda: follows,
    )
    return timed_.first_token, timed_.total, streamed


def test_a_whole_answer_that_could_take_all_of_a_calls_time_is_streamed_where_others_could_follow() -> None:
    assert attempt(600.0, follows=True) == (30.0, 600.0, True)
    assert attempt(40.0, follows=True) == (20.0, 600.0, True)
    assert attempt(600.0, follows=False) == (30.0, 600.0, False)
    assert attempt(900.0, follows=True) == (30.0, 450.0, False)
    assert attempt(40.0, follows=True, mode="never") == (30.0, 300.0, False)
    assert attempt(40.0, follows=True, capabilities=Capabilities(stream_usage=False)) == (30.0, 300.0, False)


def test_what_is_streamed_anyway_leaves_others_their_half_too() -> None:
    assert attempt(40.0, follows=True, watched=True) == (20.0, 600.0, True)
    assert attempt(40.0, follows=True, takes_long=True) == (20.0, 600.0, True)
    assert attempt(40.0, follows=False, takes_long=True) == (30.0, 600.0, True)


def test_nobody_is_asked_who_could_follow_where_the_call_has_time_for_two() -> None:
    def asked() -> bool:
        raise AssertionError

    short = Phases(first_token=300.0, total=100.0)
    timed_, streamed = timed(short, TELLS, "auto", watched=True, takes_long=False, left=200.0, could_follow=asked)
    assert timed_ is short
    assert streamed


def test_later_a_target_is_streamed_that_is_not_now_where_there_are_others() -> None:
    assert may_be_streamed(TELLS, "auto", others=True)
    assert not may_be_streamed(TELLS, "auto", others=False)
    assert not may_be_streamed(TELLS, "never", others=True)
    assert not may_be_streamed(Capabilities(stream_usage=False), "auto", others=True)


def test_a_whole_answer_is_waited_for_half_of_what_the_call_has_left() -> None:
    assert sliced(DEFAULTS, streamed=False, left=600.0) == msgspec.structs.replace(DEFAULTS, total=300.0, halved=True)
    assert sliced(DEFAULTS, streamed=False, left=900.0).total == 450.0


def test_the_first_token_of_a_stream_likewise_where_the_default_leaves_less_to_others() -> None:
    assert sliced(DEFAULTS, streamed=True, left=40.0) == msgspec.structs.replace(
        DEFAULTS, first_token=20.0, halved=True
    )
    assert sliced(DEFAULTS, streamed=True, left=60.0) is DEFAULTS
    assert sliced(DEFAULTS, streamed=True, left=600.0).total == 600.0, "once it has begun, it may take its time"


def test_however_short_the_time_nobody_is_hurried_beyond_half_of_the_default() -> None:
    assert sliced(DEFAULTS, streamed=False, left=60.0).total == 300.0
    assert sliced(DEFAULTS, streamed=True, left=20.0).first_token == 15.0
    assert sliced(msgspec.structs.replace(DEFAULTS, first_token=300.0), streamed=True, left=60.0).first_token == 150.0


def test_what_leaves_others_as_much_is_not_changed() -> None:
    assert sliced(DEFAULTS, streamed=False, left=1200.0) is DEFAULTS
    assert sliced(DEFAULTS, streamed=False, left=float("inf")) is DEFAULTS


@pytest.mark.parametrize("streamed", [False, True])
def test_what_is_set_is_taken_as_it_is(*, streamed: bool) -> None:
    given = Phases(first_token=400.0, total=500.0, given=frozenset({"first_token", "total"}))
    assert sliced(given, streamed=streamed, left=10.0) is given


def test_one_that_is_set_says_nothing_of_the_other() -> None:
    given = Phases(total=500.0, given=frozenset({"total"}))
    assert sliced(given, streamed=True, left=40.0).first_token == 20.0
    assert sliced(given, streamed=False, left=20.0).total == 500.0
