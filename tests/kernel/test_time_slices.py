"""A silent target and the time of its call: others get their turn, whatever is configured by nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import attrs
import httpx
import pytest
import trio
from trio.testing import MockClock
from worlds import GPT, HAIKU, SONNET, config, good, model_of

import penstock
from penstock import Config, errors
from penstock.testing import Answer, ScriptedTransport, Silence


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Under virtual time, and in no scope: its deadline would be the time of each call."""
    trio.run(main, clock=MockClock(autojump_threshold=0))


def route(*targets: str, **tables: Any) -> Config:
    return config(routes={"default": {"cascade": [{"target": target, "attempts": 3} for target in targets]}}, **tables)


def silent(*targets: str) -> ScriptedTransport:
    quiet = {target.partition("/")[2] for target in targets}
    return ScriptedTransport(lambda request: Silence() if model_of(request) in quiet else good(request))


def told(attempts: tuple[penstock.Attempt, ...]) -> list[tuple[str, str, float]]:
    return [(attempt.target, attempt.outcome, attempt.duration) for attempt in attempts]


def unstreamed(*targets: str) -> Config:
    return route(*targets, defaults={"upstream_stream": "never"})


def test_with_all_defaults_a_silent_primary_is_left_within_seconds() -> None:
    """A whole answer that never comes would take all of the call's time: it is asked for as a stream."""

    async def main() -> None:
        async with penstock.open_kernel(route(SONNET, GPT), transport=silent(SONNET)) as kernel:
            response = await kernel.complete("hello")
            assert told(response.attempts) == [(SONNET, "first_token_timeout", 30.0), (GPT, "ok", 0.0)]

    run(main)


@pytest.mark.parametrize("total", [180, 300])
def test_so_it_is_where_a_whole_answer_may_take_longer_than_its_call(total: float) -> None:
    async def main() -> None:
        settings = route(SONNET, GPT, defaults={"timeouts": {"first_token": 20, "total": total}})
        async with penstock.open_kernel(settings, transport=silent(SONNET)) as kernel:
            response = await kernel.complete("hello", timeout=180)
            assert told(response.attempts) == [(SONNET, "first_token_timeout", 20.0), (GPT, "ok", 0.0)]

    run(main)


@pytest.mark.parametrize("stream", [False, True])
def test_a_target_that_is_slow_and_well_answers_as_if_it_were_alone(*, stream: bool) -> None:
    """Whether its whole answer takes two thirds of the call's time, or its first token does."""
    seconds = 12 if stream else 40

    def upstream(request: httpx.Request) -> Answer:
        return attrs.evolve(good(request), delay=seconds)

    async def main() -> None:
        async with penstock.open_kernel(
            route(SONNET, GPT, defaults={} if stream else {"upstream_stream": "never"}),
            transport=ScriptedTransport(upstream),
        ) as kernel:
            if stream:
                async with kernel.stream("hello", timeout=20) as answer:
                    async for _ in answer:
                        pass
                response = answer.response
            else:
                response = await kernel.complete("hello", timeout=60)
            assert told(response.attempts) == [(SONNET, "ok", seconds)]

    run(main)


def test_where_nothing_can_be_streamed_a_silent_primary_leaves_the_fallback_half_of_the_calls_time() -> None:
    async def main() -> None:
        async with penstock.open_kernel(unstreamed(SONNET, GPT), transport=silent(SONNET)) as kernel:
            response = await kernel.complete("hello")
            assert told(response.attempts) == [(SONNET, "total_timeout", 300.0), (GPT, "ok", 0.0)]
            assert "others are to be asked" in str(response.attempts[0].error)

    run(main)


def test_nobody_is_hurried_beyond_half_of_the_default() -> None:
    async def main() -> None:
        async with penstock.open_kernel(unstreamed(SONNET, GPT, HAIKU), transport=silent(SONNET, GPT, HAIKU)) as kernel:
            with pytest.raises(errors.DeadlineExceededError) as caught:
                await kernel.complete("hello")
            assert [attempt.duration for attempt in caught.value.attempts] == [300.0, 300.0]

    run(main)


def test_a_target_alone_is_waited_for_as_long_as_the_call_lasts() -> None:
    async def main() -> None:
        async with penstock.open_kernel(route(SONNET), transport=silent(SONNET)) as kernel:
            with pytest.raises(errors.DeadlineExceededError) as caught:
                await kernel.complete("hello", timeout=50)
            assert told(caught.value.attempts) == [(SONNET, "cancelled", 50.0)]

    run(main)


SET: Mapping[str, Config] = {
    "defaults": route(SONNET, GPT, defaults={"upstream_stream": "never", "timeouts": {"total": 400}}),
    "target": route(
        "big",
        GPT,
        targets={"big": {"provider": "anthropic", "model": SONNET.partition("/")[2], "timeouts": {"total": 400}}},
    ),
    "to what it is anyway": route(
        SONNET, GPT, defaults={"upstream_stream": "never", "timeouts": {"total": 600}}, kernel={"timeout": 700}
    ),
}


@pytest.mark.parametrize("where", SET)
def test_a_total_that_somebody_has_set_is_taken_exactly(where: str) -> None:
    async def main() -> None:
        async with penstock.open_kernel(SET[where], transport=silent(SONNET)) as kernel:
            plan = kernel.explain("hello")
            response = await kernel.complete("hello")
            assert response.target == GPT
            assert response.attempts[0].duration == (600.0 if where == "to what it is anyway" else 400.0)
            assert plan.stages[0].silent == response.attempts[0].duration

    run(main)


@pytest.mark.parametrize("how", ["argument", "route", "scope"])
def test_a_shorter_time_of_the_call_is_shared_as_well(how: str) -> None:
    settings = route(SONNET, GPT)
    if how == "route":
        settings = config(routes={"default": {"cascade": [SONNET, GPT], "timeout": 40}})

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=silent(SONNET)) as kernel:
            options: dict[str, Any] = {"timeout": 40} if how == "argument" else {}
            with trio.fail_after(40 if how == "scope" else 1e6):
                response = await kernel.complete("hello", **options)
            assert told(response.attempts) == [(SONNET, "first_token_timeout", 20.0), (GPT, "ok", 0.0)]
            with trio.fail_after(40 if how == "scope" else 1e6):
                async with kernel.stream("hello", **options) as stream:
                    async for _ in stream:
                        pass
            assert told(stream.response.attempts) == [(SONNET, "first_token_timeout", 20.0), (GPT, "ok", 0.0)]

    run(main)


def test_nobody_hurries_for_a_target_that_cannot_be_asked_in_time() -> None:
    async def main() -> None:
        async with penstock.open_kernel(route(SONNET, GPT), transport=silent(SONNET)) as kernel:
            await kernel.breakers.isolate(f"target:{GPT}")
            assert kernel.explain("hello", timeout=40).stages[0].silent == 600.0
            with pytest.raises(errors.DeadlineExceededError) as caught:
                await kernel.complete("hello", timeout=40)
            assert told(caught.value.attempts) == [(SONNET, "cancelled", 40.0)]

    run(main)


@pytest.mark.parametrize(("timeout", "opens"), [(40.0, False), (200.0, True)])
def test_the_haste_of_one_caller_trips_no_breaker_for_the_others(timeout: float, *, opens: bool) -> None:
    def upstream(request: httpx.Request) -> Answer:
        answer = good(request)
        return answer if model_of(request) == "gpt-4o" else attrs.evolve(answer, delay=300.0)

    async def main() -> None:
        async with penstock.open_kernel(route(SONNET, GPT), transport=ScriptedTransport(upstream)) as kernel:
            for _ in range(6):
                assert (await kernel.complete("hello", timeout=timeout)).target == GPT
            is_open = f"target:{SONNET}" in (await kernel.snapshot()).breakers
            assert is_open == opens, "who is silent for longer than 30 s is silent, whoever asks"

    run(main)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("timeout", [None, 40.0, 100.0])
def test_explain_tells_how_long_silence_is_waited_for(timeout: float | None, *, stream: bool) -> None:
    async def main() -> None:
        async with penstock.open_kernel(route(SONNET, GPT), transport=silent(SONNET)) as kernel:
            plan = kernel.explain("hello", timeout=timeout, stream=stream)
            if stream:
                async with kernel.stream("hello", timeout=timeout) as answer:
                    async for _ in answer:
                        pass
                attempts = answer.response.attempts
            else:
                attempts = (await kernel.complete("hello", timeout=timeout)).attempts
            assert plan.stages[0].silent == attempts[0].duration
            assert plan.stages[0].silent <= (timeout or 600.0) / 2

    run(main)


def test_explain_tells_of_a_lone_target_what_is_configured() -> None:
    async def main() -> None:
        async with penstock.open_kernel(route(SONNET), transport=silent()) as kernel:
            assert kernel.explain("hello", timeout=12).stages[0].silent == 600.0

    run(main)


@pytest.mark.parametrize("target", [SONNET, "openai/o3"])
@pytest.mark.parametrize("timeout", [14, 16, 60, 149, 151, 290, 400])
def test_in_a_short_call_a_silent_target_is_left_where_the_readme_says(target: str, timeout: float) -> None:
    """After half of what is left, but not sooner than half of the default: 15 s, or 150 s of a model that reasons."""
    default = 300.0 if target == "openai/o3" else 30.0
    silence = min(default, max(default, timeout) / 2)

    async def main() -> None:
        async with penstock.open_kernel(route(target, HAIKU), transport=silent(target)) as kernel:
            assert kernel.explain("hello", timeout=timeout).stages[0].silent == pytest.approx(silence)
            if timeout < silence:
                with pytest.raises(errors.DeadlineExceededError):
                    await kernel.complete("hello", timeout=timeout)
                assert trio.current_time() == pytest.approx(timeout)
                return
            assert (await kernel.complete("hello", timeout=timeout)).target == HAIKU
            assert trio.current_time() == pytest.approx(silence)

    run(main)
