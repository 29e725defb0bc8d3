"""Of many calls in flight each lets the others come as far as it is, twice; a few run on as far as they can."""

from __future__ import annotations

import pytest
import trio
from cancelled import cancelled_everywhere
from worlds import GPT, config, good, run

import penstock
from penstock._engine import ALONE
from penstock._events import AttemptEnded, CallEnded, CallStarted
from penstock.testing import ScriptedTransport


async def told_of(calls: int) -> str:
    """What happens to so many equal calls in one turn of the loop: s(tarted), a(ttempt's end), e(nded)."""
    letters: dict[type, str] = {CallStarted: "s", AttemptEnded: "a", CallEnded: "e"}
    async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
        with kernel.events() as events:

            async def one() -> None:
                await kernel.complete("hello", model=GPT)

            async with trio.open_nursery() as nursery:
                for _ in range(calls):
                    nursery.start_soon(one)
            return "".join(letters.get(type(event), "") for event in events.take())


def test_many_calls_have_all_begun_before_one_is_asked_and_are_answered_together() -> None:
    calls = 3 * ALONE
    told = run(lambda: told_of(calls))
    assert told.startswith("s" * calls + "aaa")
    assert (told.count("a"), told.count("e")) == (calls, calls)


def test_a_few_calls_end_one_by_one() -> None:
    told = run(lambda: told_of(ALONE))
    assert sorted(told) == sorted("sae" * ALONE)
    assert "ae" * ALONE in told


@pytest.mark.slow
def test_many_calls_cancelled_at_any_point_leave_nothing_behind() -> None:
    async def job(kernel: penstock.Kernel) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(ALONE + 2):
                nursery.start_soon(kernel.complete, f"question {number}")

    assert cancelled_everywhere(job, lambda: ScriptedTransport(good)) > 3 * ALONE
