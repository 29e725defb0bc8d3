"""Targets that answer late or not at all: what trips them, what does not, and what their silence costs a call."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import attrs
import httpx
import pytest
import trio
from hedging import MODES, OWN, PRIMARY_TEXT, Mode, Two, after, ask, silent, two_targets
from worlds import GPT, SONNET, good, model_of, openai_body, run

import penstock
from penstock import errors
from penstock.testing import Answer, Reply, ScriptedTransport

LIMIT = 20.0
LATE, EARLY = after(0.55 * LIMIT), after(0.45 * LIMIT)
PLAIN: dict[str, Any] = {"cache": {"store": "memory", "when": "never"}, "breaker": {}}


async def many(kernel: penstock.Kernel, two: Two, late: int, early: int, mode: Mode, **options: Any) -> None:
    """So many calls at once, some of which get their first token late."""
    script = [LATE] * late + [EARLY] * early

    def next_of_script(request: httpx.Request) -> Answer:
        return script.pop()(request)

    two.primary = next_of_script
    async with trio.open_nursery() as nursery:
        for number in range(late + early):
            nursery.start_soon(partial(ask, kernel, mode, f"call {number}", **options))


@pytest.mark.parametrize("mode", ["stream", "streamed upstream"])
@pytest.mark.parametrize(("late", "early", "trips"), [(4, 4, True), (3, 5, False), (7, 0, False), (8, 0, True)])
def test_half_of_at_least_eight_late_first_tokens_trip_the_target(
    mode: Mode, late: int, early: int, *, trips: bool
) -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(**PLAIN), transport=two.upstream) as kernel:
            await many(kernel, two, late, early, mode)
            health = (await kernel.snapshot()).breakers
            assert health.keys() == ({OWN} if trips else set())
            if trips:
                assert (health[OWN].cause, health[OWN].silent) == ("slow_ratio", True)
                assert (await ask(kernel, mode)).target == GPT

    run(main)


def test_late_first_tokens_that_are_further_apart_than_the_window_trip_nothing() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(**PLAIN), transport=two.upstream) as kernel:
            for _ in range(4):
                await many(kernel, two, 5, 0, "stream")
                await trio.sleep(25)
            assert not (await kernel.snapshot()).breakers

    run(main)


@pytest.mark.parametrize("why", ["alone", "open", "cooling", "isolated", "half open"])
def test_the_last_admissible_target_is_never_tripped_by_slowness(why: str) -> None:
    async def main() -> None:
        two = Two()
        settings = two_targets(
            **{**PLAIN, "breaker": {"failures_in_a_row": 1, "min_calls_in_a_row": 1, "open_for": 8.0}}
        )
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            options = {"model": SONNET} if why == "alone" else {}
            match why:
                case "open" | "half open":
                    two.fallback = lambda _: Reply(500, json={"error": {"message": "boom"}})
                case "cooling":
                    two.fallback = lambda _: Reply(
                        429, json={"error": {"message": "slow"}}, headers=[("retry-after", "90")]
                    )
                case _:
                    pass
            if why in ("open", "half open", "cooling"):
                with pytest.raises(errors.CallError):
                    await kernel.complete("makes it so", model=GPT, timeout=1.0)
            if why == "isolated":
                await kernel.breakers.isolate(f"target:{GPT}")
            if why == "half open":
                await trio.sleep(9)
                two.fallback = silent
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(lambda: kernel.complete("probes it", model=GPT, timeout=25.0))
                    await trio.sleep(0.1)
                    await many(kernel, two, 12, 0, "stream", **options)
                    assert OWN not in (await kernel.snapshot()).breakers
                    nursery.cancel_scope.cancel()
                return
            await many(kernel, two, 12, 0, "stream", **options)
            assert OWN not in (await kernel.snapshot()).breakers

    run(main)


def test_answers_that_were_not_streamed_are_never_slow() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(**PLAIN), transport=two.upstream) as kernel:
            await many(kernel, two, 20, 0, "complete")
            assert not (await kernel.snapshot()).breakers

    run(main)


def test_a_whole_answer_to_a_stream_is_never_slow_and_says_nothing_of_first_tokens() -> None:
    def answer(request: httpx.Request) -> Answer:
        if model_of(request) != "gpt-4o":
            return good(request)
        return Reply(json=openai_body(), delay=0.7 * LIMIT)

    async def main() -> None:
        settings = two_targets(routes={"default": {"cascade": [GPT, SONNET]}}, **PLAIN)
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            async with trio.open_nursery() as nursery:
                for number in range(12):
                    nursery.start_soon(partial(ask, kernel, "stream", f"call {number}"))
            assert not (await kernel.snapshot()).breakers
            engine = kernel._engine  # pyright: ignore[reportPrivateUsage] - what calls have learned
            assert engine.router.snapshot.learned[GPT].first_token_p95 is None

    run(main)


def test_a_target_that_was_slow_comes_back_by_hedged_probes() -> None:
    async def main() -> None:
        two = Two()
        async with penstock.open_kernel(two_targets(**PLAIN), transport=two.upstream) as kernel:
            await many(kernel, two, 8, 0, "stream")
            assert OWN in (await kernel.snapshot()).breakers
            two.primary = after(0.5)
            recovered = trio.current_time()
            while (await kernel.snapshot()).breakers:
                await ask(kernel, "stream")
                await trio.sleep(1.0)
            assert trio.current_time() - recovered < 20

    run(main)


# Silence

SIBLING = "anthropic/claude-3-5-haiku-20241022"
"""Another model of that provider, which writes as much as is asked for here."""


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("calls", [1, 40])
@pytest.mark.parametrize("several", [False, True], ids=["one target", "several of the provider"])
def test_a_silent_target_costs_each_call_its_limit_once_whatever_attempts_it_has(
    mode: Mode, calls: int, *, several: bool
) -> None:
    limit = 30.0 if mode == "complete" else LIMIT
    stages = [{"target": SONNET, "attempts": 3}, *([{"target": SIBLING, "attempts": 3}] if several else []), GPT]

    def answer(request: httpx.Request) -> Answer:
        asked[model_of(request)] += 1
        return good(request) if model_of(request) == "gpt-4o" else silent(request)

    asked: Counter[str] = Counter()

    async def main() -> None:
        settings = two_targets(routes={"default": {"cascade": stages}}, **PLAIN)
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            responses: list[penstock.ChatResponse] = []

            async def one(number: int) -> None:
                responses.append(await ask(kernel, mode, f"call {number}"))

            async with trio.open_nursery() as nursery:
                for number in range(calls):
                    nursery.start_soon(one, number)
            assert trio.current_time() == pytest.approx(limit), "once, for both of its models"
            for response in responses:
                told = Counter(attempt.target for attempt in response.attempts)
                assert set(told.values()) == {1}
                assert response.target == GPT
            assert (await kernel.snapshot()).in_flight == 0
            if calls == 1:
                return
            asked.clear()
            began = trio.current_time()
            assert (await ask(kernel, mode, "by now everyone knows")).target == GPT
            # Of the other model nobody knows yet: it has been left alone. Who finds that out pays for it once.
            assert trio.current_time() <= began + (limit if several else 2.0), "a hedged probe, at most"

    run(main)


@pytest.mark.parametrize("mode", MODES)
def test_a_silent_target_alone_costs_its_limit_and_says_which(mode: Mode) -> None:
    async def main() -> None:
        two = Two(primary=silent)
        settings = two_targets(routes={"default": {"cascade": [{"target": SONNET, "attempts": 1}]}}, **PLAIN)
        async with penstock.open_kernel(settings, transport=two.upstream) as kernel:
            kind = errors.TotalTimeoutError if mode == "complete" else errors.FirstTokenTimeoutError
            with pytest.raises(kind):
                await ask(kernel, mode)
            assert trio.current_time() == pytest.approx(30.0 if mode == "complete" else LIMIT)
            assert len(two.asked) == 1

    run(main)


def test_a_stream_that_falls_silent_after_its_head_is_as_silent_as_one_without() -> None:
    def mute(request: httpx.Request) -> Answer:
        return attrs.evolve(good(request), pause=1e6)

    async def main() -> None:
        two = Two(primary=mute)
        async with penstock.open_kernel(two_targets(first=3, **PLAIN), transport=two.upstream) as kernel:
            response = await ask(kernel, "stream")
            assert response.target == GPT
            assert trio.current_time() == pytest.approx(LIMIT, abs=0.3)
            assert response.text != PRIMARY_TEXT

    run(main)


@pytest.mark.parametrize("models", [("m1", "m2"), ("m1", "m1")], ids=["other models", "one model"])
@pytest.mark.parametrize("mode", MODES)
def test_a_provider_at_the_address_of_a_silent_one_is_asked_in_its_turn(mode: Mode, models: tuple[str, str]) -> None:
    one, other = f"one/{models[0]}", f"other/{models[1]}"
    providers = {
        name: {"kind": kind, "api_key": f"key-{name}", "base_url": f"http://{host}/v1"}
        for name, kind, host in (
            ("one", "openai", "gateway"),
            ("other", "openai", "gateway"),
            ("elsewhere", "anthropic", "elsewhere"),
        )
    }

    def answer(request: httpx.Request) -> Answer:
        return silent(request) if request.headers.get("authorization", "").endswith("key-one") else good(request)

    async def main() -> None:
        settings = penstock.Config.from_dict(
            {"providers": providers, "routes": {"default": {"cascade": [one, other, "elsewhere/m3"]}}}, environ={}
        )
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            response = await ask(kernel, mode)
            assert [attempt.target for attempt in response.attempts] == [one, other]

    run(main)
