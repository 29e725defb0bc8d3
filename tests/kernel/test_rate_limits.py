"""Limits of providers: calls learn from one another's 429, wait as they are told, and come back a few at a time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial
from typing import Any

import attrs
import httpx
import pytest
import trio
from worlds import GPT, HAIKU, SONNET, config, good, model_of, run

import penstock
from penstock import Config, errors
from penstock.testing import Answer, Reply, ScriptedTransport

SLOW_DOWN = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
RICH = {"floor": 1_000, "ratio": 1.0}
"""So that what is tested is not the retry budget."""


def limited(hint: float | None = None, *, delay: float = 0.0) -> Reply:
    headers = [] if hint is None else [("retry-after", f"{hint:g}")]
    return Reply(429, json=SLOW_DOWN, headers=headers, delay=delay)


def route(*stages: Any, **tables: Any) -> Config:
    return config(routes={"default": {"cascade": list(stages)}}, retry_budget=RICH, **tables)


@attrs.define
class Upstream:
    """A primary behind a limit; the others are well. Remembers who was asked when, and how many are under way."""

    primary: Callable[[], Reply | None]
    """None: a good answer, after `takes` seconds."""
    takes: float = 0.5
    limited_at: list[float] = attrs.Factory(list[float])
    asked_at: list[float] = attrs.Factory(list[float])

    def transport(self) -> ScriptedTransport:
        return ScriptedTransport(self.answer)

    def answer(self, request: httpx.Request) -> Answer:
        if f"anthropic/{model_of(request)}" != SONNET:
            return good(request)
        self.asked_at.append(trio.current_time())
        refusal = self.primary()
        if refusal is None:
            return attrs.evolve(good(request), delay=self.takes)
        self.limited_at.append(trio.current_time() + refusal.delay)
        return refusal


async def ask(kernel: penstock.Kernel, *, streamed: bool, prompt: str = "hello") -> penstock.ChatResponse:
    if not streamed:
        return await kernel.complete(prompt)
    async with kernel.stream(prompt) as stream:
        async for _ in stream:
            pass
    return stream.response


both = pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])


@both
def test_calls_that_begin_after_the_first_429_go_to_the_fallback_without_one_of_their_own(*, streamed: bool) -> None:
    async def main() -> None:
        upstream = Upstream(lambda: limited(30, delay=0.105))
        responses: dict[int, penstock.ChatResponse] = {}

        async def one(kernel: penstock.Kernel, number: int) -> None:
            await trio.sleep(number * 0.01)
            responses[number] = await ask(kernel, streamed=streamed, prompt=f"call {number}")

        async with penstock.open_kernel(route(SONNET, GPT), transport=upstream.transport()) as kernel:
            async with trio.open_nursery() as nursery:
                for number in range(50):
                    nursery.start_soon(one, kernel, number)
        assert {response.target for response in responses.values()} == {GPT}
        first = min(upstream.limited_at)
        own = [number for number, response in responses.items() if len(response.attempts) > 1]
        assert sorted(own) == [number for number in range(50) if number * 0.01 < first]
        assert len(own) == 11

    run(main)


@both
def test_at_the_end_of_a_cool_down_one_goes_first_then_two_then_four_then_all(*, streamed: bool) -> None:
    async def main() -> None:
        script = iter([limited(20)])
        upstream = Upstream(lambda: next(script, None), takes=2.0)
        async with penstock.open_kernel(
            route({"target": SONNET, "attempts": 2}), transport=upstream.transport()
        ) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: ask(kernel, streamed=streamed, prompt="meets the limit"))
                await trio.sleep(0.1)
                for number in range(49):
                    nursery.start_soon(partial(ask, kernel, streamed=streamed, prompt=f"call {number}"))
            assert len(upstream.asked_at) == 51
            after = [at for at in upstream.asked_at if at > 0]
            assert min(after) == pytest.approx(20.0)
            # So many attempts began while the first, the next two, the next four were under way.
            begun = Counter(int((at - 20.0 + 1e-6) // 2.0) for at in after)
            assert [begun[moment] for moment in range(4)] == [1, 2, 4, 43]
            assert not (await kernel.snapshot()).cooling

    run(main)


def test_a_429_at_the_end_of_a_cool_down_begins_a_longer_one_and_meets_one_call_alone() -> None:
    async def main() -> None:
        script = iter([limited(), limited(), limited()])
        upstream = Upstream(lambda: next(script, None), takes=0.1)
        async with penstock.open_kernel(
            route({"target": SONNET, "attempts": 9}), transport=upstream.transport()
        ) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete("meets the limit"))
                await trio.sleep(0.01)
                for number in range(30):
                    nursery.start_soon(kernel.complete, f"call {number}")
            moments = Counter(round(at, 3) for at in upstream.asked_at)
            first, second, third, *_ = sorted(moments)
            assert (moments[first], moments[second], moments[third]) == (1, 1, 1)
            assert second - first <= 1.0
            assert 1.0 <= third - second <= 2.3, "without a hint each cool-down is twice as long as the one before"

    run(main)


HINTS: Mapping[str, Callable[[float], list[tuple[str, str]]]] = {
    "seconds": lambda _: [("retry-after", "7")],
    "fractions": lambda _: [("retry-after", "7.0")],
    "milliseconds": lambda _: [("retry-after-ms", "7000"), ("retry-after", "1")],
    "zero milliseconds": lambda _: [("retry-after-ms", "0"), ("retry-after", "7")],
    "HTTP date": lambda wall: [("retry-after", formatdate(wall + 7, usegmt=True))],
    "duration": lambda _: [("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "7s")],
    "long duration": lambda _: [("x-ratelimit-reset-tokens", "0m7.0s"), ("x-ratelimit-remaining-tokens", "0")],
    "epoch milliseconds": lambda wall: [("x-ratelimit-reset", f"{(wall + 7) * 1000:.0f}")],
    "epoch seconds": lambda wall: [("x-ratelimit-reset", f"{wall + 7:.3f}")],
}


@pytest.mark.parametrize("form", HINTS)
def test_a_hint_of_every_form_is_obeyed_to_the_second(form: str) -> None:
    async def main() -> None:
        script = [True]

        def answer(request: httpx.Request) -> Answer:
            if script:
                script.clear()
                return Reply(429, json={"error": {"message": "no"}}, headers=HINTS[form](wall()))
            return good(request)

        async with penstock.open_kernel(
            route({"target": GPT, "attempts": 2}), transport=ScriptedTransport(answer)
        ) as kernel:
            clock = kernel._engine.clock  # pyright: ignore[reportPrivateUsage] - dates are of its wall clock
            wall = clock.wall
            response = await kernel.complete("hello")
            assert response.attempts[1].waited == pytest.approx(7.0, abs=1.0 if form == "HTTP date" else 0.01)
            assert trio.current_time() >= 6.0

    run(main)


def test_hints_of_calls_under_way_together_extend_and_never_shorten() -> None:
    async def main() -> None:
        hints = {"10": 10.0, "40": 40.0, "2": 2.0}

        def answer(request: httpx.Request) -> Answer:
            if f"anthropic/{model_of(request)}" != SONNET:
                return good(request)
            body = request.content.decode()
            hint = next(hint for name, hint in hints.items() if f'call {name}"' in body)
            return limited(hint, delay={10.0: 0.1, 40.0: 0.2, 2.0: 0.3}[hint])

        async with penstock.open_kernel(
            route({"target": SONNET, "attempts": 1}, GPT), transport=ScriptedTransport(answer)
        ) as kernel:
            async with trio.open_nursery() as nursery:
                for name in hints:
                    nursery.start_soon(kernel.complete, f"call {name}")
            snapshot = await kernel.snapshot()
            assert snapshot.cooling[f"target:{SONNET}"].until == pytest.approx(40.2)

    run(main)


@pytest.mark.parametrize(("hint", "target", "seconds"), [(4.9, SONNET, 4.9), (5.1, GPT, 0.0), (600.0, GPT, 0.0)])
@both
def test_a_short_hint_is_waited_for_and_one_longer_than_five_seconds_sends_on_at_once(
    hint: float, target: str, seconds: float, *, streamed: bool
) -> None:
    async def main() -> None:
        script = iter([limited(hint)])
        upstream = Upstream(lambda: next(script, None), takes=0.0)
        async with penstock.open_kernel(
            route({"target": SONNET, "attempts": 2}, GPT), transport=upstream.transport()
        ) as kernel:
            assert (await ask(kernel, streamed=streamed)).target == target
            assert trio.current_time() == pytest.approx(seconds)

    run(main)


@pytest.mark.parametrize("calls", [5, 20])
def test_of_many_calls_at_a_limit_none_waits_longer_than_five_seconds_while_another_target_is_idle(calls: int) -> None:
    upstream = Upstream(lambda: limited(1.0, delay=0.2) if trio.current_time() < 10.0 else None)
    waits: list[float] = []

    async def one(kernel: penstock.Kernel) -> None:
        waits.extend(attempt.waited for attempt in (await kernel.complete("hello")).attempts)

    async def main() -> None:
        settings = route({"target": SONNET, "attempts": 3}, GPT)
        async with (
            penstock.open_kernel(settings, transport=upstream.transport()) as kernel,
            trio.open_nursery() as nursery,
        ):
            for _ in range(calls):
                nursery.start_soon(one, kernel)
                await trio.sleep(0.05)

    random.seed(calls)
    run(main)
    assert 4.0 < max(waits) < 5.02


def test_where_all_are_cooling_the_first_is_waited_for_if_time_allows_and_else_told_at_once() -> None:
    hints = {SONNET: 60.0, GPT: 20.0}

    async def main() -> None:
        cold = [True]

        def answer(request: httpx.Request) -> Answer:
            name = GPT if model_of(request) == "gpt-4o" else SONNET
            return limited(hints[name]) if cold else good(request)

        once = [{"target": name, "attempts": 1} for name in (SONNET, GPT)]
        async with penstock.open_kernel(route(*once), transport=ScriptedTransport(answer)) as kernel:
            with pytest.raises(errors.CascadeExhaustedError):
                await kernel.complete("meets both limits")
            cold.clear()
            await kernel.snapshot()
            with pytest.raises(errors.CircuitOpenError) as caught:
                await kernel.complete("in a hurry", timeout=10)
            assert trio.current_time() == 0.0
            assert caught.value.retry_after == pytest.approx(20)
            response = await kernel.complete("has time")
            assert response.target == GPT
            assert trio.current_time() == pytest.approx(20)
            assert len(response.attempts) == 1

    run(main)


def test_a_key_without_quota_cools_for_all_its_targets_and_is_asked_once() -> None:
    quota = {"error": {"message": "no credit", "type": "insufficient_quota", "code": "insufficient_quota"}}

    async def main() -> None:
        asked: list[str] = []

        def answer(request: httpx.Request) -> Answer:
            asked.append(model_of(request))
            return Reply(429, json=quota) if model_of(request).startswith("gpt") else good(request)

        settings = route(GPT, "openai/gpt-4o-mini", HAIKU)
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            for number in range(5):
                assert (await kernel.complete(f"call {number}")).target == HAIKU
                await kernel.snapshot()
            assert [model for model in asked if model.startswith("gpt")] == ["gpt-4o"]
            assert (await kernel.snapshot()).cooling.keys() == {"key:openai/0"}
            assert (await kernel.snapshot()).cooling["key:openai/0"].until >= 300

    run(main)


def test_a_rate_limit_is_no_failure_of_the_target_however_often_it_comes() -> None:
    async def main() -> None:
        upstream = Upstream(lambda: limited(1))
        async with penstock.open_kernel(
            route({"target": SONNET, "attempts": 1}, GPT), transport=upstream.transport()
        ) as kernel:
            for number in range(20):
                assert (await kernel.complete(f"call {number}")).target == GPT
                await trio.sleep(2)
            assert not (await kernel.snapshot()).breakers

    run(main)


def test_a_caller_that_leaves_at_the_end_of_a_cool_down_holds_up_nobody() -> None:
    async def main() -> None:
        script = iter([limited(20)])
        upstream = Upstream(lambda: next(script, None), takes=5.0)
        async with penstock.open_kernel(
            route({"target": SONNET, "attempts": 1}), transport=upstream.transport()
        ) as kernel:
            with pytest.raises(errors.RateLimitedError):
                await kernel.complete("meets the limit")
            await trio.sleep(21)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(kernel.complete, "leaves")
                    await trio.sleep(1)
                    scope.cancel()
            assert all(actor.slots_in_use == 0 for actor in (await kernel.snapshot()).actors.values())
            began = trio.current_time()
            await kernel.complete("the next")
            assert trio.current_time() - began == pytest.approx(5.0)

    run(main)
