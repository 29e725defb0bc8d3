"""Calls where every circuit is open: by policy they wait, fail or go all the same; and what wakes those that wait."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import GPT, SONNET, config, good, is_stream, model_of, run

import penstock
from penstock import Config, errors
from penstock._events import BreakerChanged
from penstock.policy.breaker import BreakerState
from penstock.testing import Answer, Reply, ScriptedTransport, Silence

BOOM = Reply(500, json={"error": {"type": "api_error", "message": "boom"}})
QUICK = {"failures_in_a_row": 1, "min_calls_in_a_row": 1}
SCOPES = (f"target:{SONNET}", f"target:{GPT}")


class Switch:
    """Everything fails until it is switched on."""

    def __init__(self) -> None:
        self.down = True
        self.asked: list[str] = []
        self.upstream = ScriptedTransport(self.reply)

    def reply(self, request: httpx.Request) -> Answer:
        self.asked.append(model_of(request))
        return BOOM if self.down else good(request)


def settings(*, route: str | None = None, attempts: int = 1, **breaker: object) -> Config:
    cascade = [{"target": name, "attempts": attempts} for name in (SONNET, GPT)]
    default = {"cascade": cascade} if route is None else {"cascade": cascade, "all_open": route}
    return config(routes={"default": default}, breaker={**QUICK, **breaker})


async def open_both(kernel: penstock.Kernel) -> None:
    with pytest.raises(errors.CascadeExhaustedError):
        await kernel.complete("opens both")
    shown = (await kernel.snapshot()).breakers
    assert [shown[scope].state for scope in SCOPES] == [BreakerState.OPEN, BreakerState.OPEN]


def test_soonest_waits_for_the_first_probe() -> None:
    async def main() -> None:
        switch = Switch()
        async with penstock.open_kernel(settings(), transport=switch.upstream) as kernel:
            await open_both(kernel)
            switch.down = False
            response = await kernel.complete("hello")
            assert 4 <= trio.current_time() <= 5
            assert response.attempts[0].probe
            assert response.attempts[0].waited == pytest.approx(trio.current_time())

    run(main)


def test_soonest_refuses_at_once_what_could_not_be_probed_in_time() -> None:
    async def main() -> None:
        switch = Switch()
        async with penstock.open_kernel(settings(), transport=switch.upstream) as kernel:
            await open_both(kernel)
            with pytest.raises(errors.CircuitOpenError, match="later than the call's deadline") as caught:
                await kernel.complete("hello", timeout=3)
            assert trio.current_time() == 0
            assert caught.value.retry_after is not None
            assert 4 <= caught.value.retry_after <= 5

    run(main)


@pytest.mark.parametrize("by_route", [False, True])
def test_fail_refuses_at_once_with_the_time_of_the_first_probe(*, by_route: bool) -> None:
    chosen = settings(route="fail") if by_route else settings(all_open="fail")

    async def main() -> None:
        switch = Switch()
        async with penstock.open_kernel(chosen, transport=switch.upstream) as kernel:
            await open_both(kernel)
            asked = len(switch.asked)
            with pytest.raises(errors.CircuitOpenError, match='all_open = "fail"') as caught:
                await kernel.complete("hello")
            assert trio.current_time() == 0
            assert caught.value.retry_after is not None
            assert 4 <= caught.value.retry_after <= 5
            assert len(switch.asked) == asked
            switch.down = False
            await trio.sleep(5)
            assert (await kernel.complete("hello")).attempts[0].probe, "a probe is no failure"

    run(main)


def test_a_route_may_wait_where_the_others_fail() -> None:
    async def main() -> None:
        switch = Switch()
        chosen = settings(route="soonest", all_open="fail")
        async with penstock.open_kernel(chosen, transport=switch.upstream) as kernel:
            await open_both(kernel)
            with pytest.raises(errors.CircuitOpenError, match='all_open = "fail"'):
                await kernel.complete("hello", model=GPT)
            switch.down = False
            assert (await kernel.complete("hello")).text

    run(main)


def test_ignore_goes_in_the_order_of_the_cascade_without_a_permit() -> None:
    async def main() -> None:
        switch = Switch()
        async with penstock.open_kernel(settings(all_open="ignore"), transport=switch.upstream) as kernel:
            await open_both(kernel)
            with pytest.raises(errors.CascadeExhaustedError):
                await kernel.complete("still down")
            switch.down = False
            response = await kernel.complete("hello")
            assert (response.target, response.attempts[0].probe) == (SONNET, False)
            assert trio.current_time() == 0
            states = await kernel.breakers.states()
            assert [states[scope].state for scope in SCOPES] == [BreakerState.OPEN, BreakerState.OPEN]
            assert (states[SCOPES[0]].counts.failed, states[SCOPES[0]].counts.ok) == (2, 1), "results are recorded"
            await trio.sleep(5)
            assert (await kernel.complete("hello")).attempts[0].probe

    run(main)


def test_ignore_does_not_wait_while_the_only_probe_is_under_way() -> None:
    async def main() -> None:
        switch = Switch()
        slow = [Reply(json=good(httpx.Request("POST", "http://x", json={})).json, delay=3.0)]

        def answer(request: httpx.Request) -> Answer:
            return BOOM if switch.down else slow.pop() if slow else good(request)

        chosen = settings(all_open="ignore")
        async with penstock.open_kernel(chosen, transport=ScriptedTransport(answer)) as kernel:
            with pytest.raises(errors.ServerError):
                await kernel.complete("opens it", model=GPT, timeout=0.1)
            await trio.sleep(5)
            switch.down = False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete("the probe", model=GPT))
                await wait_all_tasks_blocked()
                response = await kernel.complete("beside it", model=GPT)
                assert response.attempts[0].probe is False
                assert trio.current_time() < 6
            assert (await kernel.snapshot()).breakers[f"target:{GPT}"].permits_left == 2

    run(main)


def test_an_isolated_target_is_refused_under_ignore_too() -> None:
    async def main() -> None:
        switch = Switch()
        switch.down = False
        async with penstock.open_kernel(settings(all_open="ignore"), transport=switch.upstream) as kernel:
            for scope in SCOPES:
                await kernel.breakers.isolate(scope)
            with pytest.raises(errors.CircuitOpenError, match="isolated by hand; close it to go on"):
                await kernel.complete("hello")
            assert switch.asked == []

    run(main)


def test_a_call_that_waits_for_a_probe_goes_as_soon_as_its_breaker_is_closed_by_hand() -> None:
    async def main() -> None:
        switch = Switch()
        async with penstock.open_kernel(settings(open_for=100.0), transport=switch.upstream) as kernel:
            events = kernel.events()
            await open_both(kernel)
            switch.down = False
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(kernel.complete, "hello")
                await trio.sleep(2)
                assert len(switch.asked) == 2
                await kernel.breakers.close(SCOPES[1])
                await wait_all_tasks_blocked()
                assert switch.asked[2:] == ["gpt-4o"] * 3
            assert trio.current_time() == 2
            told = [event for event in events.take() if isinstance(event, BreakerChanged)]
            assert told[-1] == BreakerChanged(SCOPES[1], "open", "closed", "by_hand")

    run(main)


def test_a_call_that_waits_for_a_permit_goes_when_the_probe_is_over() -> None:
    ends: list[float] = []

    def answer(request: httpx.Request) -> Answer:
        if not ends and not is_stream(request):
            ends.append(0.0)
            return BOOM
        return Reply(json=good(request).json, delay=1.1)

    async def main() -> None:
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(answer)) as kernel:
            with pytest.raises(errors.ServerError):
                await kernel.complete("opens it", model=GPT, timeout=0.1)
            await trio.sleep(5)
            began = trio.current_time()

            async def one() -> None:
                await kernel.complete("hello", model=GPT)
                ends.append(trio.current_time() - began)

            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(one)
            # One probe, then two, then the four of the last stage: nobody waits for a tick of any clock.
            assert ends[1:] == pytest.approx([1.1, 2.2, 2.2, 3.3])

    run(main)


def test_the_states_are_of_every_configured_scope_and_of_those_that_calls_touched() -> None:
    async def main() -> None:
        def answer(request: httpx.Request) -> Answer:
            return Silence() if model_of(request).startswith("claude") else good(request)

        chosen = config(
            routes={"default": {"cascade": [{"target": SONNET, "attempts": 1}, GPT]}},
            breaker=QUICK,
            defaults={"timeouts": {"first_token": 8}},
        )
        async with penstock.open_kernel(chosen, transport=ScriptedTransport(answer)) as kernel:
            before = await kernel.breakers.states()
            assert before.keys() == {
                *SCOPES,
                "provider:anthropic",
                "provider:openai",
                "key:anthropic/0",
                "key:openai/0",
            }
            assert {(told.state, told.cause, told.wait, told.counts.total) for told in before.values()} == {
                (BreakerState.CLOSED, None, 0.0, 0)
            }
            async with kernel.stream("hello") as stream:
                async for _ in stream:
                    pass
            await kernel.complete("hello", model="openai/gpt-4o-mini")
            states = await kernel.breakers.states()
            told = states[SCOPES[0]]
            assert (told.state, told.cause, told.permits_left) == (BreakerState.OPEN, "failures_in_a_row", 0)
            assert told.silent
            assert kernel.snapshot().breakers[SCOPES[0]].silent
            assert (told.counts.failed, told.counts.timed_out) == (1, 1)
            assert 4 <= told.wait <= 5
            assert states["target:openai/gpt-4o-mini"].counts.ok == 1
            assert states["provider:openai"].counts.ok == 2

    run(main)
