"""Before a limit refuses: calls go a cheaper way, by route once much is spent, by target where one does not fit."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from worlds import HAIKU, SONNET, config, good, run

import penstock
from penstock import errors
from penstock._events import BudgetDegraded
from penstock.testing import Reply, ScriptedTransport

DEGRADE = {"route": "cheap", "at": 0.5}


def two_routes(**tables: Any) -> penstock.Config:
    routes = {"default": {"cascade": [SONNET]}, "cheap": {"cascade": [HAIKU]}}
    return config(routes=routes, **tables)


def of(tokens: int) -> ScriptedTransport:
    """An upstream of which each answer is billed so many tokens."""

    def answer(request: Any) -> Any:
        reply = good(request)
        reply.json["usage"] = {"input_tokens": tokens - 3, "output_tokens": 3}
        return reply

    return ScriptedTransport(answer)


async def ask(kernel: penstock.Kernel, **options: Any) -> tuple[str, str]:
    response = await kernel.complete("hello", max_tokens=100, **options)
    return response.route, response.target


def test_once_a_share_of_a_limit_is_spent_calls_by_route_go_the_cheap_one_and_that_is_told_once() -> None:
    async def main() -> None:
        budget = {"limits": [{"per": "day", "tokens": 40_000}], "degrade": {"route": "cheap", "at": 0.25}}
        async with penstock.open_kernel(two_routes(budget=budget), transport=of(5_000)) as kernel:
            events = kernel.events()
            ways: list[tuple[str, str]] = []
            for _ in range(3):
                ways.append(await ask(kernel))
                await kernel.snapshot()
            assert ways == [("default", SONNET), ("default", SONNET), ("cheap", HAIKU)]
            told = [event for event in events.take() if isinstance(event, BudgetDegraded)]
            assert told == [BudgetDegraded("", "40000 tokens per day (UTC)", 0.25, "cheap")]
            # Whoever names a model means it.
            assert (await ask(kernel, model=SONNET))[1] == SONNET

    run(main)


def test_only_the_account_that_spent_it_and_those_below_it_go_another_way() -> None:
    async def main() -> None:
        accounts = {
            "team": {"limits": [{"per": "day", "tokens": 20_000}], "degrade": DEGRADE},
            "other": {"limits": [{"per": "day", "tokens": 20_000}], "degrade": DEGRADE},
        }
        async with penstock.open_kernel(two_routes(accounts=accounts), transport=of(12_000)) as kernel:
            await ask(kernel, account="team/a")
            await kernel.snapshot()
            assert (await ask(kernel, account="team/b"))[0] == "cheap"
            assert (await ask(kernel, account="other"))[0] == "default"
            assert (await ask(kernel))[0] == "default"

    run(main)


def test_with_the_next_window_calls_go_their_own_way_again() -> None:
    async def main() -> None:
        budget = {"limits": [{"per": "minute", "tokens": 20_000}], "degrade": DEGRADE}
        async with penstock.open_kernel(two_routes(budget=budget), transport=of(12_000)) as kernel:
            await ask(kernel)
            await kernel.snapshot()
            assert (await ask(kernel))[0] == "cheap"
            await trio.sleep(61)
            assert (await ask(kernel))[0] == "default"

    run(main)


def cascade_of_two(**budget: Any) -> penstock.Config:
    """Sonnet at 15 USD a million output tokens, Haiku at 1.25."""
    routes = {"default": {"cascade": [SONNET, HAIKU]}, "cheap": {"cascade": [HAIKU]}}
    return config(routes=routes, budget={"limits": [{"per": "day", "usd": 0.05}], **budget})


@pytest.mark.parametrize("degrade", [None, {"route": "cheap"}])
def test_where_the_dear_target_does_not_fit_a_cheaper_one_of_the_cascade_is_held_for(degrade: Any) -> None:
    async def main() -> None:
        settings = cascade_of_two(**({"degrade": degrade} if degrade else {}))
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            if degrade is None:
                with pytest.raises(errors.BudgetExceededError):
                    await kernel.complete("hello", max_tokens=4_000)
                assert upstream.requests == []
            else:
                response = await kernel.complete("hello", max_tokens=4_000)
                assert response.target == HAIKU
                assert [attempt.target for attempt in response.attempts] == [HAIKU]
            window = (await kernel.snapshot()).accounts[""].windows[0]
            assert window.held.nano_usd == 0
            actors = (await kernel.snapshot()).actors
            assert all((actor.slots_in_use, actor.lost) == (0, 0) for actor in actors.values())

    run(main)


def test_a_quote_fits_and_an_explanation_begins_where_the_call_then_goes() -> None:
    async def main() -> None:
        settings = cascade_of_two(degrade=DEGRADE)
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            told = await kernel.quote("hello", max_tokens=4_000)
            assert (told.fits, told.too_dear, told.shortfalls) == (True, (SONNET,), ())
            assert str(told).endswith(f"for an answer of up to 4000 tokens, without {SONNET}")
            explanation = kernel.explain("hello", max_tokens=4_000)
            assert (explanation.first, explanation.starts_in) == (HAIKU, 0.0)
            assert [stage.when.reason for stage in explanation.stages] == ["budget", "ready"]
            response = await kernel.complete("hello", max_tokens=4_000)
            assert [attempt.target for attempt in response.attempts] == [HAIKU]
            assert kernel.explain("hello", max_tokens=100).first == SONNET

    run(main)


def test_a_quote_of_what_others_hold_waits_for_the_dear_target_as_the_call_does() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(lambda request: Reply(json=good(request).json, delay=2.0))
        async with penstock.open_kernel(cascade_of_two(degrade=DEGRADE), transport=upstream) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete("hello", max_tokens=1_000))
                await trio.sleep(1)
                told = kernel.quote("hello", max_tokens=1_000)
                assert (told.fits, told.waits) == (False, True)
                assert (await kernel.complete("hello", max_tokens=1_000)).target == SONNET

    run(main)


class Greeting(msgspec.Struct):
    """What an answer is to become."""

    word: str


def test_a_call_for_a_value_passes_over_every_target_that_was_too_dear() -> None:
    async def main() -> None:
        other = "anthropic/claude-sonnet-4-5"
        routes = {"default": {"cascade": [SONNET, other, HAIKU]}, "cheap": {"cascade": [HAIKU]}}
        settings = config(routes=routes, budget={"limits": [{"per": "day", "usd": 0.05}], "degrade": DEGRADE})
        upstream = ScriptedTransport(lambda request: good(request, '{"word": "hi"}'))
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            request = penstock.ChatRequest("hello", output=Greeting, max_tokens=4_000)
            assert (await kernel.quote(request)).too_dear == (SONNET, other)
            assert (await kernel.complete(request)).target == HAIKU

    run(main)


def test_what_fits_nowhere_is_refused_by_the_limit_that_the_cheapest_does_not_fit_in() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(cascade_of_two(degrade=DEGRADE), transport=upstream) as kernel:
            with pytest.raises(errors.BudgetExceededError, match=r"0\.05 USD per day") as caught:
                await kernel.complete("hello", max_tokens=100_000)  # more than either can write, so it stays as asked
            assert caught.value.account == ""
            assert upstream.requests == []
            assert (await kernel.snapshot()).accounts[""].windows[0].held.nano_usd == 0

    run(main)


def test_a_route_that_is_not_there_is_a_mistake_with_its_nearest_name() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        two_routes(budget={"degrade": {"route": "cheep"}}, accounts={"a": {"degrade": {"route": "chip", "at": 2}}})
    told = str(caught.value)
    assert 'budget.degrade.route: there is no route named "cheep"' in told
    assert "cheap" in told
    assert "accounts.a.degrade.at" in told


def test_where_the_cheaper_one_cools_the_error_says_when_it_is_back_and_why_the_dear_one_was_left_out() -> None:
    def answer(request: Any) -> Reply:
        if b"haiku" not in request.content:
            return good(request)
        slow_down = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
        return Reply(429, json=slow_down, headers=[("retry-after", "120")])

    async def main() -> None:
        settings = cascade_of_two(degrade={"route": "cheap"})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            with pytest.raises(errors.RateLimitedError):
                await kernel.complete("hello", route="cheap", max_tokens=10, timeout=5)
            await kernel.snapshot()
            with pytest.raises(
                errors.CircuitOpenError, match=r"in 120.0 s.* of the others: the root account"
            ) as caught:
                await kernel.complete("hello", max_tokens=4_000, timeout=30)
            assert caught.value.retry_after == 120
            assert caught.value.attempts == ()

    run(main)
