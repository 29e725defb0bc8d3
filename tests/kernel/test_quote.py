"""What a call would be charged and whether that fits, told without making it; then the call itself shows it true."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from typing import Any, ClassVar

import attrs
import httpx
import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import GPT, HAIKU, SONNET, config, good, run

import penstock
from penstock import errors
from penstock.abc import LedgerStore
from penstock.hookspecs import LedgerSpec, PluginTools, hookimpl
from penstock.policy.ledger_steps import WindowRow
from penstock.testing import Reply, ScriptedTransport
from penstock_plugins.ledgers.memory import MemoryLedger

PROMPT = "canary of the prompt"


def limited(*limits: dict[str, object], **budget: object) -> penstock.Config:
    return config(budget={"limits": list(limits), **budget})


def day(**figures: object) -> dict[str, object]:
    return {"per": "day", **figures}


async def quote_of(settings: penstock.Config, **options: Any) -> penstock.Quote:
    upstream = ScriptedTransport(good)
    async with penstock.open_kernel(settings, transport=upstream) as kernel:
        told = kernel.quote(PROMPT, **options)
        assert upstream.requests == []
        assert kernel.snapshot().in_flight == 0
        for account in kernel.snapshot().accounts.values():
            assert all(window.held.tokens == window.spent.tokens == 0 for window in account.windows)
    assert PROMPT not in str(told)
    return told


def test_every_target_is_quoted_in_the_order_of_the_cascade() -> None:
    async def main() -> None:
        told = await quote_of(limited(day(usd=20)), max_tokens=1_000)
        assert [target.target for target in told.targets] == [SONNET, GPT, HAIKU]
        for target in told.targets:
            assert target.bound is not None
            assert target.estimate is not None
            assert target.bound.output_tokens == target.estimate.output_tokens == 1_000
            assert target.bound.input_tokens > 2_048 > target.estimate.input_tokens > 0
            assert target.bound.cost is not None
            assert target.estimate.cost is not None
            assert target.bound.cost > target.estimate.cost > 0
        sonnet = told.targets[0].bound
        assert sonnet is not None
        # 3.75 for input that is written to the prompt cache, 15 USD a million for output; the hour's cache costs 6.
        assert sonnet.cost is not None
        assert Decimal("0.015") < sonnet.cost < Decimal("0.030")

    run(main)


def test_the_call_is_quoted_by_its_dearest_attempt() -> None:
    async def main() -> None:
        told = await quote_of(limited(day(usd=20)), max_tokens=1_000)
        bounds = [target.bound for target in told.targets if target.bound]
        assert told.bound is not None
        assert told.bound.tokens == max(bound.tokens for bound in bounds)
        assert told.bound.nano_usd == max(bound.nano_usd or 0 for bound in bounds)
        assert told.fits is True
        assert told.hold == told.bound
        assert told.output_tokens == 1_000
        assert told.shortfalls == ()

    run(main)


def test_what_is_quoted_is_what_the_call_then_holds() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(lambda request: Reply(json=good(request).json, delay=5.0))
        async with penstock.open_kernel(limited(day(tokens=5_000)), transport=upstream) as kernel:
            told = kernel.quote(PROMPT, model=GPT)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete(PROMPT, model=GPT))
                await trio.sleep(1)
                (window,) = kernel.snapshot().accounts[""].windows
                assert told.hold is not None
                assert window.held.tokens == told.hold.tokens == 5_000  # a shorter answer, so that it fits
                assert told.bound is not None
                assert told.bound.tokens > 5_000

    run(main)


def test_what_does_not_fit_names_account_limit_amount_and_time() -> None:
    async def main() -> None:
        tables = {"accounts": {"team": {"limits": [{"per": "hour", "tokens": 100}, day(usd=0.000001)]}}}
        told = await quote_of(config(**tables), account="team/search", model=GPT, max_tokens=1_000)
        assert told.fits is False
        assert not told.waits
        assert told.hold is None
        hour, money = told.shortfalls
        assert (hour.account, hour.limit, hour.reason) == ("team", "100 tokens per hour (UTC)", "spent")
        assert told.bound is not None
        assert hour.missing_tokens == told.bound.tokens - 100
        assert hour.refills_at is None  # never: it is larger than the limit
        assert money.limit == "0.000001 USD per day (UTC)"
        assert money.missing == (told.bound.cost or 0) - Decimal("0.000001")
        assert "account 'team': 100 tokens per hour (UTC)" in str(told)

    run(main)


def test_what_is_spent_says_when_it_refills_and_what_is_held_that_it_waits() -> None:
    def answer(request: httpx.Request) -> Reply:
        body = good(request).json
        body["usage"] = {"prompt_tokens": 2_000, "completion_tokens": 900, "total_tokens": 2_900}
        return Reply(json=body, delay=5.0)

    async def main() -> None:
        async with penstock.open_kernel(limited(day(tokens=5_000)), transport=ScriptedTransport(answer)) as kernel:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: kernel.complete(PROMPT, model=GPT, max_tokens=1_024))
                await trio.sleep(1)
                told = kernel.quote(PROMPT, model=GPT, max_tokens=2_000)
                assert told.waits
                assert [short.reason for short in told.shortfalls] == ["held"]
                assert "until calls in flight are settled" in str(told)
            told = await kernel.quote(PROMPT, model=GPT, max_tokens=2_000)
            (short,) = told.shortfalls
            assert short.reason == "spent"
            (window,) = (await kernel.snapshot()).accounts[""].windows
            assert short.refills_at == window.ends_at
            with pytest.raises(errors.BudgetExceededError) as caught:
                await kernel.complete(PROMPT, model=GPT, max_tokens=2_000)
            refused = caught.value
            assert (refused.account, refused.limit) == (short.account, short.limit)
            assert (refused.missing_tokens, refused.refills_at) == (short.missing_tokens, short.refills_at)

    run(main)


def test_a_limit_per_request_is_told_as_one() -> None:
    async def main() -> None:
        told = await quote_of(limited({"per": "request", "output_tokens": 500}), model=GPT, max_tokens=1_000)
        assert told.fits is False
        (short,) = told.shortfalls
        assert (short.reason, short.limit) == ("request", "500 output tokens per request")
        assert (short.missing_tokens, short.refills_at) == (500, None)
        assert told.targets[0].bound is None
        assert "500 output tokens per request" in (told.targets[0].refused or "")

    run(main)


def test_a_target_without_a_price_is_refused_alone_where_money_is_limited() -> None:
    async def main() -> None:
        settings = config(budget={"limits": [day(usd=20)]}, routes={"default": {"cascade": ["openai/my-model", GPT]}})
        told = await quote_of(settings, max_tokens=1_000)
        assert told.fits is True
        assert "the price of my-model is not known" in (told.targets[0].refused or "")
        assert told.targets[1].refused is None
        assert told.bound is not None
        assert told.targets[1].bound is not None
        assert told.bound.tokens == told.targets[1].bound.tokens

    run(main)


def test_without_a_limit_everything_fits_and_nothing_is_held() -> None:
    async def main() -> None:
        told = await quote_of(config(), model=GPT, max_tokens=1_000)
        assert told.fits is True
        assert told.hold is None
        assert told.bound is not None
        assert told.bound.cost is not None
        assert "no account on its path has a limit" in str(told)
        unbounded = await quote_of(config(), model="openai/my-model")
        assert unbounded.bound is None
        assert unbounded.targets[0].estimate is None
        assert "no one knows how much" in str(unbounded)

    run(main)


def test_a_view_quotes_with_its_options_and_mistakes_are_told_as_by_a_call() -> None:
    async def main() -> None:
        tables = {"accounts": {"team": {"limits": [day(tokens=10)]}}}
        async with penstock.open_kernel(config(**tables), transport=ScriptedTransport(good)) as kernel:
            assert kernel.with_options(account="team").quote(PROMPT, model=GPT).account == "team"
            with pytest.raises(errors.NoRouteError):
                kernel.quote(PROMPT, route="nowhere")
            with pytest.raises(errors.ConfigError):
                kernel.quote(PROMPT, account="a//b")
        with pytest.raises(errors.KernelClosedError):
            kernel.quote(PROMPT)

    run(main)


def test_it_reads_well() -> None:
    async def main() -> None:
        told = await quote_of(limited(day(tokens=100_000)), model=GPT, max_tokens=1_000)
        first, second = str(told).splitlines()
        assert first.startswith("openai/gpt-4o: at most 2")
        assert " + 1000 tokens, 0.0" in first
        assert "; most likely 6 + 1000 tokens, 0.01001" in first
        assert second.startswith("fits now: 3")
        assert second.endswith(" USD would be held, for an answer of up to 1000 tokens")

    run(main)


# A ledger that outlives the process


class LastingLedger(MemoryLedger):
    """One that must be asked."""

    shared: ClassVar[bool] = True
    durable: ClassVar[bool] = True
    away = False

    def peek(self) -> None:  # type: ignore[override]
        return None

    async def windows(self, keys: Sequence[str] | None = None) -> Sequence[WindowRow]:
        await trio.sleep(0.001)
        if self.away:
            raise errors.LedgerUnavailableError("out to lunch")
        return await super().windows(keys)


@attrs.define
class LastingPlugin:
    opened: list[LastingLedger] = attrs.field(factory=list[LastingLedger])

    @hookimpl
    def penstock_ledgers(self) -> Sequence[LedgerSpec]:
        @asynccontextmanager
        async def opening(_: object, tools: PluginTools) -> AsyncGenerator[LedgerStore]:
            self.opened.append(LastingLedger(tools.wall))
            yield self.opened[-1]

        return [LedgerSpec("lasting", opening)]


def test_a_snapshot_that_was_not_awaited_does_not_take_a_ledger_that_it_never_asked_for_empty() -> None:
    async def main() -> None:
        plugin = LastingPlugin()
        settings = config(budget={"limits": [day(tokens=5_000)]}, ledger={"store": "lasting"})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            assert kernel.snapshot().accounts.get("") is None
            await kernel.complete(PROMPT, model=GPT)
            assert kernel.snapshot().accounts.get("") is None
            spent = (await kernel.snapshot()).accounts[""].windows[0].spent.tokens
            assert spent == 14
            assert kernel.snapshot().accounts[""].windows[0].spent.tokens == 14

    run(main)


def test_of_a_ledger_that_was_not_asked_nothing_is_claimed() -> None:
    async def main() -> None:
        plugin = LastingPlugin()
        settings = config(budget={"limits": [day(tokens=5_000)]}, ledger={"store": "lasting"})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            told = kernel.quote(PROMPT, model=GPT)
            assert told.fits is None
            assert told.bound is not None
            assert "not known whether it fits" in str(told)
            asked = await told
            assert asked.fits is True
            await kernel.complete(PROMPT, model=GPT)
            await kernel.snapshot()
            again = kernel.quote(PROMPT, model=GPT)
            assert again.fits is True
            assert again.hold is not None
            assert asked.hold is not None
            assert again.hold.tokens == asked.hold.tokens - 14
            plugin.opened[0].away = True
            with pytest.raises(errors.LedgerUnavailableError):
                await kernel.quote(PROMPT, model=GPT)

    run(main)


class Told(msgspec.Struct):
    """What an answer is to become."""

    answer: str
    of_which_nobody_is_to_know_but_whoever_asked_for_it: str = ""


def test_a_call_for_a_value_holds_what_any_of_its_targets_may_cost_with_the_schema_that_it_is_asked_for() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(lambda request: Reply(json=good(request, '{"answer": "x"}').json, delay=5.0))
        settings = config(budget={"limits": [day(usd=20)]}, routes={"default": {"cascade": [GPT, SONNET]}})
        request = penstock.ChatRequest(PROMPT, output=Told, max_tokens=100)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            plain, told = kernel.quote(PROMPT, max_tokens=100), kernel.quote(request)
            for without, target in zip(plain.targets, told.targets, strict=True):
                assert without.bound is not None
                assert target.bound is not None
                assert target.bound.input_tokens > without.bound.input_tokens
            assert told.hold == told.bound
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.complete, request)
                await trio.sleep(1)
                (window,) = kernel.snapshot().accounts[""].windows
                assert told.hold is not None
                assert window.held.nano_usd == told.hold.nano_usd

    run(main)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    cascade=st.permutations((SONNET, GPT, HAIKU, "openai/gpt-4o-mini")).flatmap(
        lambda targets: st.integers(1, 4).map(lambda length: targets[:length])
    ),
    limit=st.integers(1, 9_000).map(lambda tokens: day(tokens=tokens))
    | st.integers(1, 2_000).map(lambda cents: day(usd=cents / 20_000)),
    degrades=st.booleans(),
    spent=st.integers(0, 3),
    asked=st.sampled_from((None, 1, 1_024, 4_000)),
    used=st.integers(0, 900),
    output=st.sampled_from((None, Told)),
)
def test_a_call_goes_exactly_where_its_quote_says_that_it_fits(
    *,
    cascade: Sequence[str],
    limit: dict[str, object],
    degrades: bool,
    spent: int,
    asked: int | None,
    used: int,
    output: type[Told] | None,
) -> None:
    def answer(request: httpx.Request) -> Reply:
        body = good(request, '{"answer": "x"}').json
        usage = {"prompt_tokens": 11, "completion_tokens": used, "input_tokens": 11, "output_tokens": used}
        return Reply(json={**body, "usage": usage})

    budget: dict[str, object] = {"limits": [limit], **({"degrade": {"route": "cheap", "at": 0.9}} if degrades else {})}
    routes = {"default": {"cascade": list(cascade)}, "cheap": {"cascade": [HAIKU]}}
    settings = config(budget=budget, routes=routes, defaults={"upstream_stream": "never"})
    request = penstock.ChatRequest(PROMPT, output=output, max_tokens=asked)

    async def main() -> None:
        async with penstock.open_kernel(settings, transport=ScriptedTransport(answer)) as kernel:
            for _ in range(spent):
                with suppress(errors.BudgetExceededError):
                    await kernel.complete("x", route="default", max_tokens=900)
            told = await kernel.quote(request, route="default")
            explanation = kernel.explain(request, route="default")
            if told.fits:
                response = await kernel.complete(request, route="default")
                assert response.target not in told.too_dear
                assert response.attempts[0].target == explanation.first
                return
            with pytest.raises(errors.BudgetExceededError) as caught:
                await kernel.complete(request, route="default")
            assert [short.limit for short in told.shortfalls] == [caught.value.limit]
            assert [short.missing_tokens for short in told.shortfalls] == [caught.value.missing_tokens]
            assert [short.missing_nano_usd for short in told.shortfalls] == [caught.value.missing_nano_usd]

    run(main)
