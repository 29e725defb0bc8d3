"""Who gets a place, what options mean where they meet, and where filtered answers go."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from worlds import ANSWER, GPT, HAIKU, SONNET, config, good, openai_body, run

import penstock
from penstock import errors
from penstock._plan import MOST_TERMS
from penstock.testing import Answer, Reply, ScriptedTransport, Silence

BOOM = Reply(500, json={"type": "error", "error": {"type": "api_error", "message": "boom"}})


def slow(seconds: float) -> ScriptedTransport:
    return ScriptedTransport(lambda request: Reply(json=good(request).json, delay=seconds))


# Places


@pytest.mark.slow
def test_a_thousand_calls_over_their_places_go_in_the_order_of_asking() -> None:
    async def main() -> None:
        done: list[int] = []
        upstream = slow(1.0)
        async with penstock.open_kernel(config(kernel={"max_in_flight": 10}), transport=upstream) as kernel:

            async def call(number: int) -> None:
                await kernel.complete(str(number))
                done.append(number)

            async with trio.open_nursery() as nursery:
                for number in range(1_000):
                    nursery.start_soon(call, number)
                    await trio.lowlevel.checkpoint()
                await wait_all_tasks_blocked()
                assert kernel.snapshot().in_flight == 10
                assert kernel.snapshot().waiting == 990
            assert trio.current_time() == pytest.approx(100.0)
            asked = [
                int(msgspec.json.decode(request.content)["messages"][0]["content"]) for request in upstream.requests
            ]
            assert all(abs(number - place) < 10 for place, number in enumerate(asked)), "fair, a batch at a time"
            assert sorted(done) == list(range(1_000))
            assert (await kernel.snapshot()).in_flight == 0

    run(main)


def test_a_call_whose_time_ends_while_it_waits_for_a_place_is_told_that_this_process_is_full() -> None:
    async def main() -> None:
        upstream = slow(10.0)
        async with penstock.open_kernel(config(kernel={"max_in_flight": 1}), transport=upstream) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, "first")
                await wait_all_tasks_blocked()
                with pytest.raises(
                    errors.OverloadedLocallyError, match=r"1 calls in flight \(max_in_flight\)"
                ) as caught:
                    await kernel.complete("second", timeout=2)
                assert caught.value.attempts == ()
                with pytest.raises(errors.OverloadedLocallyError):
                    async with kernel.stream("third", timeout=2) as stream:
                        await anext(stream)
                assert trio.current_time() == pytest.approx(4.0)
            assert len(upstream.requests) == 1
            assert (await kernel.complete("fourth")).text == ANSWER

    run(main)


# Options


def test_options_of_a_view_are_defaults_that_the_call_and_inner_views_overrule() -> None:
    async def main() -> None:
        routes = {"cheap": {"cascade": [HAIKU]}, "default": {"cascade": [SONNET]}, "other": {"cascade": [GPT]}}
        settings = config(routes=routes, accounts={"a": {"limits": [{"per": "day", "tokens": 10**6}]}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            view = kernel.with_options(route="cheap", account="a", metadata={"app": "x"}, timeout=7)
            inner = view.with_options(route="other")
            assert (await kernel.complete("hello")).target == SONNET
            first, second = await view.complete("hello"), await inner.complete("hello", metadata={"app": "y"})
            assert (first.target, first.metadata) == (HAIKU, {"app": "x"})
            assert (second.target, second.metadata) == (GPT, {"app": "y"})
            assert (await view.complete("hello", route="default")).target == SONNET
            assert (await kernel.snapshot()).accounts["a"].windows[0].spent.tokens == 3 * 14

    run(main)


MISTYPED: list[tuple[str, object, str]] = [
    (
        "commit",
        "hole",
        "commit: 'hole' is no commit policy; did you mean 'whole'\\? valid: .*, whole",
    ),
    ("commit", "x", "commit: 'x' is no commit policy; valid: Commit.buffer"),
    ("commit", 400, "commit: 400 is no commit policy"),
    (
        "cache",
        "allways",
        "cache: 'allways' is not available; did you mean 'always'\\? valid: always, ",
    ),
    ("cache", 7, "cache: is of type int; it must be a str"),
    ("on_leave", "dain", "on_leave: 'dain' is not valid; did you mean 'drain'\\? valid: cancel, drain"),
    ("route", 7, "route: is of type int; it must be a str"),
    # What cannot be hashed is no option either.
    ("route", ["default"], "route: is of type list; it must be a str"),
    ("cache", {}, "cache: is of type dict; it must be a str"),
    ("commit", [], r"commit: \[\] is no commit policy"),
    ("on_leave", [], r"on_leave: \[\] is not valid"),
]


@pytest.mark.parametrize(("name", "value", "says"), MISTYPED)
def test_a_view_with_an_option_that_no_call_could_take_is_refused_at_once(name: str, value: object, says: str) -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            options: dict[str, Any] = {name: value}
            with pytest.raises(errors.ConfigError, match=says):
                kernel.with_options(**options)
            with pytest.raises(errors.ConfigError, match=says):
                kernel.with_options(account="team").explain("hello", **options)

    run(main)


@pytest.mark.slow
def test_what_options_come_to_is_not_remembered_for_accounts_without_end() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            for number in range(MOST_TERMS + 10):
                kernel.explain("hello", account=f"user-{number}")
            known = kernel._engine.terms  # pyright: ignore[reportPrivateUsage] - nothing public tells
            assert 0 < len(known) <= MOST_TERMS

    run(main)


def test_a_model_and_a_route_together_are_a_mistake_wherever_each_comes_from() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            asked = penstock.ChatRequest("hello", model=GPT)
            view = kernel.with_options(route="default")
            with pytest.raises(errors.ConfigError, match="give one of them"):
                await kernel.complete("hello", model=GPT, route="default")
            with pytest.raises(errors.ConfigError, match="give one of them"):
                await kernel.complete(asked, route="default")
            # A view's route may be there for a reason, such as where data may go: a model does not slip past it.
            with pytest.raises(errors.ConfigError, match="give one of them"):
                await view.complete(asked)

    run(main)


def test_metadata_comes_back_with_the_response_of_every_kind_of_call() -> None:
    async def main() -> None:
        settings = config(cache={"store": "memory", "when": "always"})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            about = {"user": 7}
            for _ in range(2):
                assert (await kernel.complete("hello", metadata=about)).metadata == about
            async with kernel.stream("hello", metadata=about) as stream:
                async for _ in stream:
                    pass
                assert stream.response.metadata == about

    run(main)


# Filters


def filtered(request: httpx.Request) -> Reply:
    body = openai_body("cut sh")
    body["choices"][0]["finish_reason"] = "content_filter"
    return Reply(json=body) if b"gpt-4o" in request.content else good(request)


FILTER_ROUTE = {"default": {"cascade": [GPT, SONNET], "on_content_filter": "next"}}


def test_a_filtered_answer_goes_on_to_the_next_target_where_the_route_says_so() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(routes=FILTER_ROUTE), transport=ScriptedTransport(filtered)) as kernel:
            response = await kernel.complete("hello")
            told = [(attempt.target, attempt.outcome) for attempt in response.attempts]
            assert told == [(GPT, "content_filtered"), (SONNET, "ok")]
            assert response.usage.total_tokens == 28, "the filtered answer was paid for as well"

    run(main)


def test_where_no_other_target_is_left_the_filtered_answer_itself_is_returned() -> None:
    def answer(request: httpx.Request) -> Answer:
        if b"gpt-4o" not in request.content:
            return BOOM
        asked.append(1)
        return Silence() if len(asked) == 1 else filtered(request)

    asked: list[int] = []

    async def main() -> None:
        settings = config(routes=FILTER_ROUTE, defaults={"timeouts": {"total": 5}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            response = await kernel.complete("hello")
            assert (response.target, response.finish_reason) == (GPT, "content_filter")
            assert [attempt.outcome for attempt in response.attempts] == ["total_timeout", *["server_error"] * 3, "ok"]

    run(main)


def test_a_timeout_longer_than_any_clock_tells_is_none() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            assert (await kernel.complete("hello", timeout=10**400)).target == SONNET
            async with kernel.stream("hello", timeout=10**400) as stream:
                async for _ in stream:
                    pass
            for streamed in (False, True):
                told = kernel.explain("hello", timeout=10**400, stream=streamed)
                assert told.deadline_from == ("argument" if streamed else "scope")
                assert told.deadline is None or not streamed
                assert all(stage.when.reason == "ready" for stage in told.stages)
                assert str(told)
            assert kernel.quote("hello", timeout=10**400).bound is not None

    run(main)


def test_a_timeout_that_python_cannot_show_is_refused_like_any_that_is_not_more_than_nothing() -> None:
    async def main() -> None:
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.UnsendableRequestError, match="timeout is far below 0; it must be more than 0 s"):
                await kernel.complete("hello", timeout=-(10**5000))
            with pytest.raises(errors.UnsendableRequestError, match="timeout is far below 0"):
                kernel.explain("hello", timeout=-(10**5000), stream=True)

    run(main)
