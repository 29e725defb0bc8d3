"""Calls and their budgets: what is held, charged and refused, with the upstream's own count beside it."""

from __future__ import annotations

from decimal import Decimal

import httpx
import msgspec
import pytest
import trio
from worlds import GPT, SONNET, config, failing, good, run

import penstock
from penstock import errors
from penstock.testing import Reply, ScriptedTransport, Silence

MILLION = 1_000_000


def limited(*limits: dict[str, object], **budget: object) -> penstock.Config:
    return config(budget={"limits": list(limits), **budget})


async def spent(kernel: penstock.Kernel, account: str = "") -> tuple[int, int]:
    """Tokens spent and held."""
    snapshot = await kernel.snapshot()
    window = snapshot.accounts[account].windows[0]
    return window.spent.tokens, window.held.tokens


def test_what_the_provider_reports_is_charged_and_nothing_stays_held() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(limited({"per": "day", "tokens": MILLION}), transport=upstream) as kernel:
            response = await kernel.complete("hello", model=GPT)
            assert response.usage.total_tokens == 14
            assert response.cost == Decimal("0.0000575")  # 11 x 2.50 and 3 x 10.00 USD a million
            assert await spent(kernel) == (14, 0)

    run(main)


def test_a_call_that_does_not_fit_is_refused_before_anything_is_sent() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(limited({"per": "day", "tokens": 100}), transport=upstream) as kernel:
            with pytest.raises(errors.BudgetExceededError) as caught:
                await kernel.complete("hello", max_tokens=4_000)
            assert isinstance(caught.value, errors.RejectedError)
            assert "100 tokens per day" in str(caught.value)
            assert caught.value.retry_after is None or caught.value.retry_after >= 0
            assert upstream.requests == []

    run(main)


def test_without_a_limit_nothing_is_inserted_into_the_request() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(config(), transport=upstream) as kernel:
            await kernel.complete("hello", model=GPT)
            body = msgspec.json.decode(upstream.requests[0].content)
            assert not {"max_tokens", "max_completion_tokens"} & set(body)

    run(main)


def test_with_a_limit_the_answer_is_given_what_fits_and_says_when_that_ended_it() -> None:
    def answer(request: httpx.Request) -> Reply:
        body = msgspec.json.decode(request.content)
        asked.append(body["max_tokens"])
        reply = good(request).json
        reply["choices"][0]["finish_reason"] = "length"
        reply["usage"] = {"prompt_tokens": 11, "completion_tokens": body["max_tokens"], "total_tokens": 0}
        return Reply(json=reply)

    asked: list[int] = []

    async def main() -> None:
        settings = limited({"per": "day", "tokens": 8_000})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            response = await kernel.complete("hello", model=GPT)
            assert response.capped_by == "budget"
            assert 1_024 <= asked[0] < 8_000

    run(main)


def test_concurrent_calls_never_hold_more_than_the_limit() -> None:
    served = 0

    def answer(request: httpx.Request) -> Reply:
        nonlocal served
        served += 14
        return Reply(json=good(request).json, delay=1.0)

    async def main() -> None:
        limit = 30_000
        settings = limited({"per": "day", "tokens": limit})
        refused = 0
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:

            async def call() -> None:
                nonlocal refused
                try:
                    await kernel.complete("hello", model=GPT, max_tokens=4_000)
                except errors.BudgetExceededError:
                    refused += 1

            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(call)
                while nursery.child_tasks:
                    window = kernel.snapshot().accounts[""].windows[0]
                    assert window.held.tokens + window.spent.tokens <= limit
                    assert window.free_tokens == limit - window.held.tokens - window.spent.tokens
                    await trio.sleep(0.1)
            assert await spent(kernel) == (served, 0)
            assert served == 14 * (100 - refused)

    run(main)


def test_a_call_waits_for_holds_that_will_settle_instead_of_being_refused() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(lambda request: Reply(json=good(request).json, delay=1.0))
        settings = limited({"per": "day", "tokens": 10_000})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            async with trio.open_nursery() as nursery:
                for _ in range(4):
                    nursery.start_soon(lambda: kernel.complete("hello", model=GPT, max_tokens=4_000))
            assert await spent(kernel) == (56, 0)

    run(main)


def test_a_parents_limit_holds_for_all_its_children() -> None:
    async def main() -> None:
        settings = config(accounts={"team": {"limits": [{"per": "day", "tokens": 20_000}]}})
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            for child in ("team/a", "team/b"):
                await kernel.complete("hello", account=child, model=GPT)
            assert await spent(kernel, "team") == (28, 0)
            with pytest.raises(errors.BudgetExceededError) as caught:
                await kernel.complete("hello", account="team/a", model=GPT, max_tokens=19_990)
            assert caught.value.account == "team"

    run(main)


def test_retries_and_fallbacks_are_charged_to_the_same_hold() -> None:
    async def main() -> None:
        upstream = failing(SONNET, answer=Reply(500, json={"error": {"message": "boom"}}))
        settings = limited({"per": "day", "tokens": MILLION})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            response = await kernel.complete("hello", max_tokens=1_000)
            assert len(response.attempts) == 4
            charged, held = await spent(kernel)
            # A 500 may have been billed: each is charged with the most that it could have cost.
            assert charged >= 3 * 1_000 + 14
            assert held == 0
            assert response.usage.estimated

    run(main)


def test_an_attempt_that_cannot_be_paid_for_ends_the_call_with_what_it_has() -> None:
    async def main() -> None:
        upstream = failing(SONNET, answer=Reply(500, json={"error": {"message": "boom"}}))
        settings = limited({"per": "day", "tokens": 12_000})
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            with pytest.raises(errors.BudgetExceededError) as caught:
                await kernel.complete("hello", max_tokens=5_000)
            assert [attempt.outcome for attempt in caught.value.attempts] == ["server_error"]
            charged, held = await spent(kernel)
            assert charged <= 12_000
            assert held == 0

    run(main)


def test_a_call_that_is_cancelled_is_charged_with_its_bound() -> None:
    async def main() -> None:
        settings = limited({"per": "day", "tokens": MILLION})
        async with penstock.open_kernel(settings, transport=ScriptedTransport([Silence()])) as kernel:
            with trio.move_on_after(1):
                await kernel.complete("hello", model=GPT, max_tokens=1_000)
            charged, held = await spent(kernel)
            assert charged > 1_000
            assert held == 0

    run(main)


def test_what_was_never_sent_costs_nothing() -> None:
    async def main() -> None:
        rate = Reply(429, json={"error": {"message": "slow"}}, headers=[("retry-after", "1")])
        settings = limited({"per": "day", "tokens": MILLION})
        async with penstock.open_kernel(settings, transport=ScriptedTransport([rate])) as kernel:
            with pytest.raises(errors.RateLimitedError):
                await kernel.complete("hello", model=GPT)
            assert await spent(kernel) == (0, 0)

    run(main)


def test_a_model_without_a_price_is_refused_only_where_money_is_limited() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(limited({"per": "day", "usd": 5}), transport=upstream) as kernel:
            with pytest.raises(errors.BudgetExceededError, match="price of my-model"):
                await kernel.complete("hello", model="openai/my-model")
        async with penstock.open_kernel(limited({"per": "day", "tokens": MILLION}), transport=upstream) as kernel:
            response = await kernel.complete("hello", model="openai/my-model")
            assert response.cost is None

    run(main)


def test_a_limit_per_request_is_judged_on_the_estimate() -> None:
    async def main() -> None:
        settings = limited({"per": "request", "input_tokens": 8_000})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            await kernel.complete("word " * 1_800, model=GPT)  # 9 KB: some 2,000 tokens, though its bound is 11,000
            with pytest.raises(errors.BudgetExceededError, match="per request"):
                await kernel.complete("word " * 18_000, model=GPT)

    run(main)


def test_a_stream_left_early_is_charged_with_its_bound() -> None:
    async def main() -> None:
        settings = limited({"per": "day", "tokens": MILLION})
        upstream = ScriptedTransport(lambda request: good(request, pause=1.0))
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            async with kernel.stream("hello", model=GPT, max_tokens=500) as stream:
                await anext(stream)
            charged, held = await spent(kernel)
            assert charged > 500
            assert held == 0

    run(main)


def test_a_guess_where_no_bound_exists_teaches_no_allowance() -> None:
    def answer(request: httpx.Request) -> Reply:
        body = good(request).json
        body["usage"] = {"prompt_tokens": 5_000, "completion_tokens": 3, "total_tokens": 5_003}
        return Reply(json=body)

    async def main() -> None:
        settings = limited({"per": "day", "tokens": MILLION}, on_unknown_bound="estimate")
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            searching = penstock.ChatRequest("hello", model=GPT, extra={"openai": {"web_search_options": {}}})
            for _ in range(20):
                await kernel.complete(searching)
            await kernel.snapshot()
            assert kernel._engine.router.snapshot.learned == {}  # pyright: ignore[reportPrivateUsage] - nothing shows it

    run(main)


def test_a_cap_of_the_account_that_ended_the_answer_is_told() -> None:
    def answer(request: httpx.Request) -> Reply:
        body = good(request).json
        body["choices"][0]["finish_reason"] = "length"
        return Reply(json=body)

    async def main() -> None:
        settings = limited({"per": "request", "output_tokens": 2_000})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            assert (await kernel.complete("hello", model=GPT)).capped_by == "budget"

    run(main)


def test_a_guess_at_what_a_cut_stream_cost_is_no_more_than_it_could_cost() -> None:
    """Long words: eighty tokens by their bytes, twenty by what was allowed."""

    def answer(request: httpx.Request) -> Reply:
        whole = good(request, "supercalifragilistic " * 16)
        return Reply(chunks=[*whole.chunks[:-4], httpx.RemoteProtocolError("peer closed connection")])

    async def main() -> None:
        settings = limited({"per": "day", "tokens": 1_000_000})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            with pytest.raises(errors.StreamBrokenError) as caught:
                async with kernel.stream("hello", model=GPT, max_tokens=20) as stream:
                    async for _ in stream:
                        pass
            (attempt,) = caught.value.attempts
            assert attempt.usage is not None
            assert attempt.usage.estimated
            assert attempt.usage.output_tokens == 20

    run(main)


OWN_FIGURES = [
    (SONNET, {"max_tokens": 100}),
    (SONNET, {"max_tokens": 20_000}),
    (GPT, {"max_tokens": 100}),
    (GPT, {"max_completion_tokens": 100}),
    (GPT, {"max_tokens": 100, "n": 3}),
]


@pytest.mark.parametrize(("target", "params"), OWN_FIGURES)
def test_a_budget_sends_bounds_and_prices_the_figure_of_the_targets_params(target: str, params: dict[str, int]) -> None:
    figure, choices = max(params.get("max_tokens", 0), params.get("max_completion_tokens", 0)), params.get("n", 1)
    provider, _, model = target.partition("/")
    own = {"own": {"provider": provider, "model": model, "params": params}}
    routes = {"default": {"cascade": ["own"]}}

    async def main() -> None:
        costs: set[Decimal | None] = set()
        for budget in ({}, {"limits": [{"per": "day", "usd": 100}]}):
            upstream = ScriptedTransport(good)
            settings = config(targets=own, routes=routes, budget=budget)
            async with penstock.open_kernel(settings, transport=upstream) as kernel:
                explanation = kernel.explain("hello")
                assert explanation.stages[0].output_tokens == figure * choices
                costs.add(explanation.cost)
                if budget:
                    assert (await kernel.quote("hello")).output_tokens == figure * choices
                await kernel.complete("hello")
                await kernel.complete("hello", max_tokens=7)
            first, named = [msgspec.json.decode(request.content) for request in upstream.requests]
            assert (first.get("max_tokens") or first.get("max_completion_tokens")) == figure
            assert named["max_tokens"] == 7, "what a request names goes before"
        assert len(costs) == 1

    run(main)


def test_an_account_lowers_the_figure_of_the_targets_params_where_it_allows_less() -> None:
    own = {"own": {"provider": "openai", "model": "gpt-4o", "params": {"max_tokens": 4_000}}}

    async def main() -> None:
        upstream = ScriptedTransport(good)
        budget = {"limits": [{"per": "request", "output_tokens": 2_000}]}
        settings = config(targets=own, routes={"default": {"cascade": ["own"]}}, budget=budget)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            await kernel.complete("hello")
        assert msgspec.json.decode(upstream.requests[0].content)["max_tokens"] == 2_000

    run(main)
