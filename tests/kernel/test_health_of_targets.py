"""Calls and the health of their targets: breakers that open and let traffic back, cool-downs, isolation by hand."""

from __future__ import annotations

import httpx
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import ANSWER, GPT, HAIKU, SONNET, config, failing, good, is_stream, model_of, run

import penstock
from penstock import errors
from penstock._events import BreakerChanged
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence

BOOM = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
LIMITED = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}


async def not_closed(kernel: penstock.Kernel) -> dict[str, str]:
    states = await kernel.breakers.states()
    return {scope: told.state.value for scope, told in states.items() if told.cause is not None}


class Switch:
    """An upstream whose primary is down until it is switched on."""

    def __init__(self, answer: Answer = BOOM) -> None:
        self.down = True
        self.answer = answer
        self.asked = 0
        self.upstream = ScriptedTransport(self.reply)

    def reply(self, request: httpx.Request) -> Answer:
        if f"anthropic/{model_of(request)}" != SONNET:
            return good(request)
        self.asked += 1
        return self.answer if self.down else good(request)


def test_five_failures_in_a_row_over_two_calls_open_the_target_and_probes_bring_its_traffic_back() -> None:
    async def main() -> None:
        switch = Switch()
        async with penstock.open_kernel(config(), transport=switch.upstream) as kernel:
            events = kernel.events()
            await kernel.complete("one")
            assert switch.asked == 3
            assert kernel.health().targets[SONNET] == "closed", "one call alone opens nothing"
            await kernel.complete("two")
            await kernel.snapshot()
            assert switch.asked == 5, "the fifth failure opens it: the sixth attempt is not made"
            assert kernel.health().targets[SONNET] == "open"
            began = trio.current_time()
            assert (await kernel.complete("three")).target == GPT
            assert trio.current_time() == began
            assert switch.asked == 5
            switch.down = False
            await trio.sleep(5)
            for _ in range(7):  # 1, 2 and 4 probes
                response = await kernel.complete("probing")
                assert (response.target, response.attempts[0].probe) == (SONNET, True)
            await kernel.snapshot()
            assert kernel.health().targets[SONNET] == "closed"
            assert (await kernel.complete("healthy")).attempts[0].probe is False
            moves = [(event.before, event.after) for event in events.take() if isinstance(event, BreakerChanged)]
            assert moves == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]

    run(main)


def test_a_breaker_that_opens_under_a_call_sends_it_on_without_a_wait() -> None:
    async def main() -> None:
        settings = config(breaker={"failures_in_a_row": 2, "min_calls_in_a_row": 1})
        async with penstock.open_kernel(settings, transport=failing(SONNET, answer=BOOM)) as kernel:
            response = await kernel.complete("hello")
            assert [attempt.target for attempt in response.attempts] == [SONNET, SONNET, GPT]
            assert trio.current_time() <= 1.6, "two back-offs, and not the five seconds of the breaker"

    run(main)


def test_while_a_probe_runs_other_calls_go_elsewhere_or_wait_for_it() -> None:
    def answer(request: httpx.Request) -> Answer:
        return BOOM if down else Reply(json=good(request).json, delay=2.0)

    down = [1]

    async def main() -> None:
        settings = config(breaker={"failures_in_a_row": 1, "min_calls_in_a_row": 1})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            with pytest.raises(errors.ServerError):
                await kernel.complete("hello", model=GPT, timeout=0.1)
            await kernel.snapshot()
            down.clear()
            await trio.sleep(5)
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(lambda: kernel.complete("hello", model=GPT))
                await wait_all_tasks_blocked()
                assert kernel.snapshot().breakers[f"target:{GPT}"].permits_left == 0
            assert (await kernel.snapshot()).in_flight == 0

    run(main)


def test_a_probe_whose_caller_leaves_gives_its_permit_back() -> None:
    async def main() -> None:
        switch = Switch()
        settings = config(breaker={"failures_in_a_row": 1, "min_calls_in_a_row": 1})
        async with penstock.open_kernel(settings, transport=switch.upstream) as kernel:
            await kernel.complete("opens it")
            await trio.sleep(5)
            switch.answer = Silence()
            with trio.move_on_after(1):
                await kernel.complete("a probe that is left")
            snapshot = await kernel.snapshot()
            assert snapshot.breakers[f"target:{SONNET}"].permits_left == 1
            assert all(actor.slots_in_use == 0 for actor in snapshot.actors.values())
            switch.down = False
            assert (await kernel.complete("the next probe")).target == SONNET

    run(main)


def test_a_provider_that_cannot_be_reached_is_left_alone_as_a_whole() -> None:
    async def main() -> None:
        upstream = failing(SONNET, HAIKU, answer=Broken())
        settings = config(breaker={"failures_in_a_row": 2, "min_calls_in_a_row": 1})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete("hello")
            await kernel.snapshot()
            asked = len(upstream.requests)
            with pytest.raises(errors.CircuitOpenError) as caught:
                await kernel.complete("hello", model=HAIKU, timeout=1)
            assert caught.value.retry_after is not None
            assert 1 < caught.value.retry_after <= 5
            assert len(upstream.requests) == asked

    run(main)


def test_an_isolated_target_is_skipped_and_alone_it_is_a_clear_refusal() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            await kernel.breakers.isolate(f"target:{SONNET}")
            assert kernel.health().targets[SONNET] == "isolated"
            assert (await kernel.complete("hello")).target == GPT
            with pytest.raises(errors.CircuitOpenError, match="isolated by hand; close it to go on"):
                await kernel.complete("hello", model=SONNET)
            await kernel.breakers.isolate("provider:openai")
            assert (await kernel.complete("hello")).target == HAIKU
            await kernel.breakers.close(f"target:{SONNET}")
            assert (await kernel.complete("hello")).target == SONNET
            assert await not_closed(kernel) == {"provider:openai": "isolated"}

    run(main)


@pytest.mark.parametrize(
    "scope",
    [
        *("sonnet", "", "target:", "target:sonet", "provider:opnai", "account:a"),
        *("key:openai", "key:openai/1", "key:openai/7", "key:openai/x", "key:openai/", "key:openai/00", "key:/0"),
    ],
)
def test_a_mistyped_scope_is_refused_instead_of_isolated_without_a_word(scope: str) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.ConfigError, match="scope") as caught:
                await kernel.breakers.isolate(scope)
            assert repr(scope) in str(caught.value)
            assert await not_closed(kernel) == {}
            await kernel.breakers.close("key:openai/0")

    run(main)


def test_where_every_target_cools_down_the_first_is_waited_for() -> None:
    hints = {SONNET: "70", GPT: "20", HAIKU: "90"}
    asked: list[str] = []

    def answer(request: httpx.Request) -> Answer:
        model = model_of(request)
        name = f"openai/{model}" if model.startswith("gpt") else f"anthropic/{model}"
        asked.append(name)
        return Reply(429, json=LIMITED, headers=[("retry-after", hints[name])]) if len(asked) <= 3 else good(request)

    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(answer)) as kernel:
            response = await kernel.complete("hello")
            assert trio.current_time() == pytest.approx(20)
            assert asked == [SONNET, GPT, HAIKU, GPT]
            assert response.attempts[-1].waited == pytest.approx(20)
            assert set((await kernel.snapshot()).cooling) == {f"target:{SONNET}", f"target:{HAIKU}"}

    run(main)


def test_a_cool_down_that_lasts_beyond_the_calls_time_is_told_at_once() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Reply(429, json=LIMITED, headers=[("retry-after", "90")])])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            with pytest.raises(errors.RateLimitedError) as first:
                await kernel.complete("hello", model=SONNET, timeout=10)
            assert first.value.retry_after == pytest.approx(90)
            await kernel.snapshot()
            with pytest.raises(errors.CircuitOpenError, match="may be tried in 90") as second:
                await kernel.complete("hello", model=SONNET, timeout=10)
            assert second.value.retry_after == pytest.approx(90)
            with trio.fail_after(20):
                with pytest.raises(errors.CircuitOpenError):
                    await kernel.complete("hello", model=SONNET)
            assert trio.current_time() == 0.0
            assert len(upstream.requests) == 1

    run(main)


def test_a_target_that_timed_out_is_tried_again_rather_than_waiting_minutes_for_the_others() -> None:
    quota = {"error": {"message": "no credit", "type": "insufficient_quota", "code": "insufficient_quota"}}
    silences = iter([Silence()])

    def answer(request: httpx.Request) -> Answer:
        if model_of(request) == "gpt-4o":
            return Reply(429, json=quota)
        return next(silences, None) or good(request)

    async def main() -> None:
        settings = config(
            routes={"default": {"cascade": [SONNET, GPT]}}, defaults={"timeouts": {"total": 10, "first_token": 10}}
        )
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            response = await kernel.complete("hello")
            told = [(attempt.target, attempt.outcome) for attempt in response.attempts]
            assert told == [(SONNET, "total_timeout"), (GPT, "quota_exhausted"), (SONNET, "ok")]
            assert trio.current_time() < 12

    run(main)


def test_a_refused_key_is_left_alone_for_a_minute_and_loudly(caplog: pytest.LogCaptureFixture) -> None:
    def answer(request: httpx.Request) -> Answer:
        refused = {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}
        return Reply(401, json=refused) if "claude" in model_of(request) else good(request)

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            assert (await kernel.complete("hello")).target == GPT
            await kernel.snapshot()
            assert await not_closed(kernel) == {"key:anthropic/0": "open"}
            assert (await kernel.complete("hello")).target == GPT
            assert len(upstream.requests) == 3, "the key is not tried again"
            with pytest.raises(errors.CircuitOpenError) as caught:
                await kernel.complete("hello", model=HAIKU, timeout=10)
            assert caught.value.retry_after is not None
            assert 40 < caught.value.retry_after <= 60

    run(main)
    assert f"target {SONNET}: authentication; someone has to act" in caplog.text


def test_a_stream_fails_over_as_a_complete_call_does_when_its_target_is_open() -> None:
    async def main() -> None:
        upstream = failing(SONNET, answer=BOOM)
        settings = config(breaker={"failures_in_a_row": 1, "min_calls_in_a_row": 1})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete("opens it")
            await kernel.snapshot()
            async with kernel.stream("hello") as stream:
                assert "".join([text async for text in stream.text()]) == ANSWER
            assert [attempt.target for attempt in stream.response.attempts] == [GPT]
            assert is_stream(upstream.requests[-1])

    run(main)
