"""What a call tells when it is over: attempts, times, usage, cost, and the response of a stream."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest
import trio
from worlds import ANSWER, GPT, HAIKU, SONNET, anthropic_body, config, good, run

import penstock
from penstock import errors
from penstock.testing import Answer, Broken, Reply, ScriptedTransport, Silence

BOOM = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})
SLOW_DOWN = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}


# Books


def test_waits_durations_and_starts_in_the_attempts_add_up_to_the_time_of_the_call() -> None:
    hint = Reply(429, json=SLOW_DOWN, headers=[("retry-after", "2")], delay=0.25)
    answers: Iterator[Answer] = iter([hint, Broken(httpx.ReadError("reset"), delay=1.0)])

    def answer(request: httpx.Request) -> Answer:
        return next(answers, None) or Reply(json=good(request).json, delay=3.0)

    async def main() -> None:
        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            began = trio.current_time()
            response = await kernel.complete("hello")
            first, second, third = response.attempts
            assert first.waited == 0.0
            assert first.duration == pytest.approx(0.25)
            assert second.waited == pytest.approx(2.0)
            assert second.duration == pytest.approx(1.0)
            assert 0.0 <= third.waited <= 1.0
            assert third.duration == pytest.approx(3.0)
            assert sum(each.waited + each.duration for each in response.attempts) == pytest.approx(
                trio.current_time() - began
            )
            assert second.started - first.started == pytest.approx(2.25)
            assert [each.number for each in response.attempts] == [1, 2, 3]

    run(main)


def test_the_first_token_of_a_stream_is_told_and_the_consumers_time_is_not_the_providers() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(lambda request: good(request, ANSWER * 4, pause=1.0))
        settings = config(defaults={"timeouts": {"idle": 5, "first_token": 5, "total": 20}})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            async with kernel.stream("hello", model=GPT) as stream:
                async for _ in stream:
                    await trio.sleep(30)
            assert len(stream.response.attempts) == 1
            (attempt,) = stream.response.attempts
            assert attempt.first_token == pytest.approx(2.0)

    run(main)


def test_an_error_tells_usage_cost_hint_request_and_every_attempt() -> None:
    limited = Reply(429, json=SLOW_DOWN, headers=[("retry-after", "700"), ("request-id", "req_9")])

    def answer(request: httpx.Request) -> Reply:
        return limited if b"claude" in request.content else BOOM

    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(answer)) as kernel:
            with pytest.raises(errors.CascadeExhaustedError) as caught:
                await kernel.complete("hello", timeout=60)
            error = caught.value
            assert [attempt.target for attempt in error.attempts] == [SONNET, GPT, GPT, HAIKU]
            assert error.retry_after == pytest.approx(700)
            assert error.cost is not None
            assert error.usage is not None
            assert error.request_id == "req_9"
            assert error.attempts[0].provider_request_id == "req_9"

    run(main)


def test_an_answer_that_cannot_be_read_is_told_with_the_providers_name_for_it() -> None:
    async def main() -> None:
        html = Reply(200, body=b"<html>", headers=[("request-id", "req_7")])
        async with penstock.open_kernel(config(), transport=ScriptedTransport([html])) as kernel:
            with pytest.raises(errors.MalformedResponseError) as caught:
                await kernel.complete("hello", model=SONNET)
            assert caught.value.request_id == "req_7"
            assert caught.value.cost == Decimal(0) or caught.value.usage is not None

    run(main)


def test_a_target_is_never_asked_for_more_output_than_it_can_give_whatever_the_others_can() -> None:
    def answer(request: httpx.Request) -> Reply:
        body = msgspec.json.decode(request.content)
        asked[body["model"]] = body.get("max_tokens", body.get("max_completion_tokens"))
        missing = {"type": "error", "error": {"type": "not_found_error", "message": "no"}}
        return good(request) if "haiku" in body["model"] else Reply(404, json=missing)

    asked: dict[str, int] = {}

    async def main() -> None:
        settings = config(budget={"limits": [{"per": "day", "tokens": 10**6}]})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            await kernel.complete("hello")
            assert asked["gpt-4o"] == 16_384
            assert asked["claude-3-haiku-20240307"] == 4_096

    run(main)


def test_an_answer_that_the_cache_cannot_hold_is_an_answer_all_the_same() -> None:
    calls: list[dict[str, Any]] = [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    body = anthropic_body() | {"content": calls, "stop_reason": "tool_use"}
    raw = msgspec.json.encode(body).replace(b'"input":{}', b'"input":{"n":123456789012345678901234567890}')

    async def main() -> None:
        settings = config(cache={"store": "memory", "when": "always"})
        upstream = ScriptedTransport([Reply(body=raw)])
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            for _ in range(2):
                response = await kernel.complete("hello", model=SONNET)
                assert response.tool_calls[0].arguments == {"n": 123456789012345678901234567890}
            assert len(upstream.requests) == 2

    run(main)


# Streams


def test_whoever_has_seen_the_last_chunk_may_ask_for_the_response() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            for _ in range(50):
                async with kernel.stream("hello") as stream:
                    async for chunk in stream:
                        if isinstance(chunk, penstock.Finished):
                            break
                    assert stream.response.text == ANSWER
                    assert kernel.snapshot().in_flight == 0

    run(main)


def test_a_stream_that_was_left_says_so_to_who_goes_on_reading() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(lambda r: good(r, pause=1.0))) as kernel:
            async with kernel.stream("hello") as stream:
                await anext(stream)
            with pytest.raises(errors.KernelError, match="has been left"):
                async for _ in stream:
                    pass

    run(main)


def test_a_stream_entered_just_before_the_kernel_closes_sends_nothing_and_delays_nobody() -> None:
    async def main() -> None:
        upstream = ScriptedTransport([Silence()])
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            stream = await kernel.stream("hello").__aenter__()
        assert trio.current_time() == 0.0
        assert upstream.requests == []
        with pytest.raises(errors.KernelClosedError):
            await anext(stream)

    run(main)
