"""How much of a call's time an attempt may be silent for, where others are to have their turn."""

from __future__ import annotations

import msgspec
import pytest

from penstock.policy.stream_watch import Phases
from penstock.policy.time_slice import sliced

DEFAULTS = Phases()


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
