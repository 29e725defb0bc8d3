"""Limits with `bound = "estimate"`: calls hold what they most likely come to, and are charged what they did."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import httpx
import msgspec
import pytest
import trio
from breaking import cascade
from worlds import GPT, SONNET, config, good, run

import penstock
from penstock import errors
from penstock.testing import Reply, ScriptedTransport

PROMPT = "x" * 10_000
"""Its bound is its bytes with the allowance of about 2,000, its estimate a quarter of them with a margin of a tenth."""
BOUND, ESTIMATE, OUTPUT = 12_000, 2_750, 100
LONG = 10 * PROMPT


def limited(*limits: dict[str, Any], **budget: Any) -> penstock.Config:
    return config(budget={"limits": list(limits), **budget})


async def windows(kernel: penstock.Kernel) -> list[tuple[int, int]]:
    """Tokens spent and held, of each window of the root."""
    snapshot = await kernel.snapshot()
    return [(window.spent.tokens, window.held.tokens) for window in snapshot.accounts[""].windows]


def slow(request: httpx.Request) -> Reply:
    return Reply(json=good(request).json, delay=1.0)


def dear(request: httpx.Request) -> Reply:
    """Bills as much as the bound allows: far more than the estimate."""
    reply = good(request).json
    reply["usage"] = {"prompt_tokens": BOUND, "completion_tokens": OUTPUT, "total_tokens": BOUND + OUTPUT}
    return Reply(json=reply)


def test_each_window_holds_a_running_call_by_its_own_measure_and_both_are_charged_its_bill() -> None:
    async def main() -> None:
        settings = limited(
            {"per": "day", "tokens": 1_000_000}, {"per": "hour", "tokens": 1_000_000, "bound": "estimate"}
        )
        async with penstock.open_kernel(settings, transport=ScriptedTransport(slow)) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete(PROMPT, model=GPT, max_tokens=OUTPUT))
                await trio.sleep(0.5)
                (_, proof), (_, guess) = await windows(kernel)
                assert proof > BOUND
                assert guess == ESTIMATE + OUTPUT
            assert await windows(kernel) == [(14, 0), (14, 0)]

    run(main)


@pytest.mark.parametrize(("bound", "at_once"), [("proof", 1), ("estimate", 7)])
def test_by_estimate_more_calls_run_at_once_within_the_same_limit(bound: str, at_once: int) -> None:
    async def main() -> None:
        settings = limited({"per": "day", "tokens": 20_000}, bound=bound, hold_wait=0.1)
        upstream = ScriptedTransport(slow)
        refused: list[errors.BudgetExceededError] = []

        async def call() -> None:
            try:
                await kernel.complete(PROMPT, model=GPT, max_tokens=OUTPUT)
            except errors.BudgetExceededError as error:
                refused.append(error)

        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(call)
            assert (len(upstream.requests), len(refused)) == (at_once, 10 - at_once)

    run(main)


def test_what_calls_cost_beyond_their_estimates_is_booked_and_then_nothing_more_goes() -> None:
    async def main() -> None:
        settings = limited({"per": "day", "tokens": 10_000, "bound": "estimate"})
        upstream = ScriptedTransport(dear)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with kernel.events() as events:
                await kernel.complete(PROMPT, model=GPT, max_tokens=OUTPUT)
                assert await windows(kernel) == [(BOUND + OUTPUT, 0)]
                with pytest.raises(errors.BudgetExceededError):
                    await kernel.complete("hi", model=GPT, max_tokens=1)
                # The provider kept its bound: it is the limit that does not promise.
                assert not [event for event in events.take() if type(event).__name__ == "BudgetOverrun"]
        assert len(upstream.requests) == 1

    run(main)


def test_a_limit_by_proof_is_kept_beside_one_by_estimate() -> None:
    async def main() -> None:
        limit = 40_000
        settings = limited({"per": "day", "tokens": limit}, {"per": "hour", "tokens": limit, "bound": "estimate"})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(dear)) as kernel:

            async def call() -> None:
                with suppress(errors.BudgetExceededError):
                    await kernel.complete(PROMPT, model=GPT, max_tokens=OUTPUT)

            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(call)
            for spent, held in await windows(kernel):
                assert 0 < spent <= limit
                assert held == 0

    run(main)


@pytest.mark.parametrize(
    ("bound", "limit", "otherwise"), [("proof", 5_000, 0), ("estimate", 2_000, 10_000), ("proof", 2_000, 850)]
)
def test_a_refusal_says_what_was_used_and_what_the_other_would_have_said(
    bound: str, limit: int, otherwise: int
) -> None:
    async def main() -> None:
        settings = limited({"per": "day", "tokens": limit, "bound": bound})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.BudgetExceededError) as caught:
                await kernel.complete(PROMPT, model=GPT, max_tokens=OUTPUT)
            (short,) = kernel.quote(PROMPT, model=GPT, max_tokens=OUTPUT).shortfalls
        error, used = caught.value, "bound" if bound == "proof" else "estimate"
        assert (error.basis, short.basis) == (used, used)
        assert short.missing_tokens == error.missing_tokens
        assert short.missing_tokens_otherwise == error.missing_tokens_otherwise
        by_bound, by_guess = error.missing_tokens, error.missing_tokens_otherwise
        if bound == "estimate":
            by_bound, by_guess = by_guess, by_bound
        assert by_guess == max(0, ESTIMATE + OUTPUT - limit)
        assert by_bound >= BOUND + OUTPUT - limit
        assert f"by the {used} of the request" in str(error)
        assert f"missing by the {used}" in str(short)
        assert ("it would fit" in str(error)) == (otherwise == 0)

    run(main)


def test_a_call_that_waited_for_its_place_while_windows_came_to_count_by_estimates_holds_its_own() -> None:
    async def main() -> None:
        def settings(bound: str) -> penstock.Config:
            limits = {"limits": [{"per": "day", "tokens": 1_000_000, "bound": bound}]}
            return config(
                budget=limits,
                kernel={"max_in_flight": 1},
                routes={"default": {"cascade": [GPT, "openai/gpt-4.1"]}},
            )

        async with penstock.open_kernel(settings("proof"), transport=ScriptedTransport(slow)) as kernel:
            for _ in range(2):
                await kernel.complete(PROMPT, max_tokens=OUTPUT)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete("first", max_tokens=OUTPUT))
                await trio.sleep(0.1)
                nursery.start_soon(lambda: kernel.complete(LONG, max_tokens=OUTPUT))
                await trio.sleep(0.1)
                await kernel.reload(settings("estimate"))
                await trio.sleep(1.0)
                ((_, held),) = await windows(kernel)
            # By the model of which more is expected: nothing was learned of it yet.
            assert held == 10 * ESTIMATE + OUTPUT

    run(main)


def test_of_models_that_are_alike_a_refusal_tells_the_estimate_of_the_one_that_most_is_expected_of() -> None:
    async def main() -> None:
        limits = {"limits": [{"per": "day", "tokens": 15_000}]}
        settings = config(budget=limits, routes={"default": {"cascade": [GPT, "openai/gpt-4.1"]}})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            for _ in range(3):  # the first model is billed 14 tokens for each: less is expected of it now
                await kernel.complete(PROMPT, max_tokens=OUTPUT)
            await kernel.snapshot()
            alone = kernel.quote(LONG, model=GPT, max_tokens=OUTPUT).estimate
            both = kernel.quote(LONG, max_tokens=OUTPUT)
            assert alone is not None
            assert both.estimate is not None
            assert alone.tokens < both.estimate.tokens
            with pytest.raises(errors.BudgetExceededError) as caught:
                await kernel.complete(LONG, max_tokens=OUTPUT)
            assert caught.value.missing_tokens_otherwise == both.shortfalls[0].missing_tokens_otherwise

    run(main)


def test_a_request_that_is_refused_by_its_estimate_says_what_its_bound_would_have_said() -> None:
    async def main() -> None:
        settings = limited({"per": "request", "input_tokens": 2_000})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            with pytest.raises(errors.BudgetExceededError) as caught:
                await kernel.complete(PROMPT, model=GPT, max_tokens=OUTPUT)
            assert (caught.value.basis, caught.value.missing_tokens) == ("estimate", ESTIMATE - 2_000)
            assert caught.value.missing_tokens_otherwise > BOUND - 2_000

    run(main)


def test_a_fallback_tops_up_by_both_measures() -> None:
    """The first attempt may have been billed: the second is held beside that, in each window by its own measure."""

    async def main() -> None:
        def answer(request: httpx.Request) -> Reply:
            if "anthropic" in request.url.host:
                return Reply(status=500, json={"error": {"type": "api_error", "message": "x"}})
            return slow(request)

        limits = [{"per": "day", "tokens": 1_000_000}, {"per": "hour", "tokens": 1_000_000, "bound": "estimate"}]
        settings = cascade((SONNET, 1), (GPT, 1), budget={"limits": limits})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            first, second = kernel.quote(PROMPT, max_tokens=OUTPUT).targets
            assert first.bound is not None
            assert second.bound is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete(PROMPT, max_tokens=OUTPUT))
                await trio.sleep(0.5)
                (_, proof), (_, guess) = await windows(kernel)
                assert proof == first.bound.tokens + second.bound.tokens
                assert guess == first.bound.tokens + ESTIMATE + OUTPUT
            charged = first.bound.tokens + 14
            assert await windows(kernel) == [(charged, 0), (charged, 0)]

    run(main)


def test_the_start_tells_which_limits_are_no_promise(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        settings = config(
            budget={"limits": [{"per": "day", "usd": 5}, {"per": "hour", "usd": 1, "bound": "estimate"}]},
            accounts={"team": {"bound": "estimate", "limits": [{"per": "day", "tokens": 500}]}},
        )
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)):
            pass

    with caplog.at_level(logging.WARNING, "penstock"):
        run(main)
    told = [record.getMessage() for record in caplog.records if "bound" in record.getMessage()]
    assert [message.partition(": what")[0] for message in told] == [
        'budget.limits: bound = "estimate" of 1 USD per hour (UTC)',
        'accounts.team.limits: bound = "estimate" of 500 tokens per day (UTC)',
    ]


def test_the_budget_sets_an_answer_that_fits_by_the_estimate() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        settings = limited({"per": "day", "tokens": 5_000, "bound": "estimate"})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete(PROMPT, model=GPT)
            assert msgspec.json.decode(upstream.requests[0].content)["max_tokens"] == 5_000 - ESTIMATE

    run(main)
