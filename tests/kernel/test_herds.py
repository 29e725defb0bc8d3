"""Calls that waited together: they come back a few at a time, and nobody is forgotten or asks in vain."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest
import trio
from supervised import CancelAtStep
from worlds import GPT, config, good, run

import penstock
from penstock import Config, errors
from penstock.policy.line import ABREAST, PACE
from penstock.testing import Answer, Reply, ScriptedTransport

HERD = 100
BOOM = Reply(500, json={"error": {"type": "api_error", "message": "boom"}})
SLOW_DOWN = Reply(429, json={"error": {"message": "slow down"}}, headers=[("retry-after", "5")])


class Upstream:
    """Its first answer is `first`; every later one is good, after `takes` seconds."""

    def __init__(self, first: Reply, *, takes: float) -> None:
        self.first: Reply | None = first
        self.takes = takes
        self.asked_at: list[float] = []

    def transport(self) -> ScriptedTransport:
        return ScriptedTransport(self.answer)

    def answer(self, request: httpx.Request) -> Answer:
        self.asked_at.append(trio.current_time())
        first, self.first = self.first, None
        return first or Reply(json=good(request).json, delay=self.takes)


def settings(*, open_for: float = 5.0, **tables: object) -> Config:
    """One target, whose circuit opens at its first failure."""
    breaker = {"failures_in_a_row": 1, "min_calls_in_a_row": 1, "open_for": open_for, "open_cap": 100.0}
    stage = {"target": GPT, "attempts": 2}
    retries = {"floor": 1_000, "ratio": 1.0}
    return config(routes={"default": {"cascade": [stage]}}, breaker=breaker, retry_budget=retries, **tables)


def test_calls_that_wait_for_a_circuit_do_not_all_begin_in_the_moment_in_which_it_closes() -> None:
    async def main() -> None:
        upstream = Upstream(BOOM, takes=0.5)
        async with penstock.open_kernel(settings(open_for=100.0), transport=upstream.transport()) as kernel:
            with pytest.raises(errors.ServerError):
                await kernel.complete("opens it", timeout=1)
            async with trio.open_nursery() as nursery:
                for _ in range(HERD):
                    nursery.start_soon(kernel.complete, "hello")
                await trio.sleep(3)
                began = trio.current_time()
                await kernel.breakers.close(f"target:{GPT}")
        back = upstream.asked_at[1:]
        assert len(back) == HERD
        assert max(Counter(back).values()) == ABREAST
        assert max(back) - began <= HERD / ABREAST * PACE

    run(main)


@pytest.mark.slow
def test_calls_that_wait_at_a_cool_down_do_not_ask_again_and_again_while_others_are_let_in() -> None:
    async def main() -> None:
        upstream = Upstream(SLOW_DOWN, takes=4.0)
        async with penstock.open_kernel(settings(), transport=upstream.transport()) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, "meets the limit")
                await trio.sleep(0.1)
                before = (await kernel.snapshot()).actors["router"].handled
                for _ in range(HERD):
                    nursery.start_soon(kernel.complete, "hello")
            handled = (await kernel.snapshot()).actors["router"].handled - before
        assert len(upstream.asked_at) == HERD + 2
        # For twelve seconds they come back one, two and four at a time. What each asks for once, and returns, is mail
        # enough; at four times a second it would be twenty times as much.
        assert handled <= 3 * HERD

    run(main)


# Five times each: who of two that are woken together runs first is trio's own throw of dice.
@pytest.mark.parametrize("_again", range(5))
@pytest.mark.parametrize("step", range(1, 31))
def test_callers_that_leave_when_it_is_their_turn_keep_nobody_waiting(step: int, _again: int) -> None:
    async def main() -> None:
        upstream = Upstream(BOOM, takes=1.0)
        async with penstock.open_kernel(settings(), transport=upstream.transport()) as kernel:
            with pytest.raises(errors.ServerError):
                await kernel.complete("opens it", timeout=1)
            await trio.sleep(5)
            leaving, gone_at = CancelAtStep(step), 0.0

            async def two_that_leave() -> None:
                nonlocal gone_at
                with leaving.scope:
                    async with trio.open_nursery() as two:
                        two.start_soon(kernel.complete, "hello")
                        two.start_soon(kernel.complete, "hello")
                gone_at = trio.current_time()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, "the first probe")
                await trio.sleep(0.98)
                nursery.start_soon(two_that_leave)
                await trio.sleep(0.01)
                nursery.start_soon(kernel.complete, "stays")
                await trio.sleep(0.005)
                # When the first probe is answered there are two permits: for the two that leave.
                trio.lowlevel.add_instrument(leaving)
            trio.lowlevel.remove_instrument(leaving)
        # Where they had asked already, the permits come back; where they had not, their turns are the next one's.
        assert upstream.asked_at[-1] - gone_at <= PACE

    run(main)
