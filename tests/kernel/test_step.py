"""Steps: whoever comes goes on after a turn; more than a group, in order, with turns for those before them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Any

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from penstock._step import GROUP, TURNS, Step


class Turns(trio.abc.Instrument):
    """Counts the turns of the loop."""

    number = 0

    def after_io_wait(self, timeout: float) -> None:
        del timeout
        self.number += 1


async def passages(arrivals: Sequence[int]) -> list[tuple[int, int, int]]:
    """Lets so many come to a step in each turn: who went on, when it had come, and when it went on."""
    step, turns, gone = Step(), Turns(), list[tuple[int, int, int]]()
    trio.lowlevel.add_instrument(turns)

    async def one(number: int) -> None:
        came = turns.number
        await step.together()
        gone.append((number, came, turns.number))

    with trio.fail_after(60):
        await _all_come(arrivals, one)
    trio.lowlevel.remove_instrument(turns)
    return gone


async def _all_come(arrivals: Sequence[int], one: Callable[[int], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        number = 0
        for many in arrivals:
            for _ in range(many):
                nursery.start_soon(one, number)
                number += 1
            await trio.lowlevel.checkpoint()


def passed(arrivals: Sequence[int]) -> list[tuple[int, int, int]]:
    return trio.run(passages, arrivals, clock=MockClock(autojump_threshold=0))


def test_up_to_a_group_goes_on_in_the_next_turn() -> None:
    gone = passed([GROUP])
    assert len(gone) == GROUP
    assert {went - came for _, came, went in gone} == {1}


def test_more_than_a_group_goes_on_group_by_group_with_turns_between_them() -> None:
    gone = passed([3 * GROUP + 1])
    times = [went for _, _, went in gone]
    begin = times[0]
    sizes = {turn - begin: times.count(turn) for turn in times}
    assert sum(sizes.values()) == 3 * GROUP + 1
    assert max(sizes.values()) <= GROUP
    assert max(sizes) >= 2 * TURNS


def test_where_the_crowd_is_through_nobody_waits_for_more_than_a_turn_again() -> None:
    gone = passed([2 * GROUP, *[0] * (3 * TURNS), 1])
    _, came, went = gone[-1]
    assert went - came == 1


def test_one_that_is_cancelled_keeps_its_place_and_lets_the_others_pass() -> None:
    async def main() -> None:
        step, through = Step(), list[int]()

        async def one(number: int) -> None:
            with trio.CancelScope() as scope:
                if number % 3 == 0:
                    scope.cancel()
                await step.together()
                through.append(number)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(4 * GROUP):
                    nursery.start_soon(one, number)
        assert sorted(through) == list(range(4 * GROUP))

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_ctrl_c_waits_while_others_may_be_behind() -> None:
    protected, where = set[bool](), Step.together.__code__.co_filename

    def look(frame: FrameType, event: str, _arg: object) -> Any:
        del event
        if frame.f_code.co_filename == where and frame.f_code.co_name in {"together", "_lead"}:
            protected.add(trio.lowlevel.currently_ki_protected())
            return look
        return None

    before = sys.gettrace()
    sys.settrace(look)
    try:
        passed([3 * GROUP])
    finally:
        sys.settrace(before)
    assert protected == {True}


@given(arrivals=st.lists(st.integers(0, 2 * GROUP + 3), max_size=12))
def test_however_they_come_all_go_on_and_no_turn_sees_more_than_two_groups(arrivals: list[int]) -> None:
    gone = passed(arrivals)
    assert sorted(number for number, _, _ in gone) == list(range(sum(arrivals)))
    times = [went for _, _, went in gone]
    # One group whose turn has come, and one that came when nobody waited.
    assert all(times.count(turn) <= 2 * GROUP for turn in times)
    # Whoever came in an earlier turn is never behind one of a later turn by more than the turn of passing.
    for _, came, went in gone:
        assert all(came >= earlier for _, earlier, later in gone if later < went - 1)
