"""Figures that cannot be right, of a provider or a caller: they cost whoever tells them, and nobody else."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from worlds import ANSWER, GPT, openai_body, openai_chunks, run

import penstock
from penstock import errors
from penstock._budgeting import MOST_NANO_USD
from penstock._events import AttemptEnded, UsageDisbelieved
from penstock.policy.budget import Amount, Line
from penstock.policy.ledger_steps import Reserve, Settle, Spent, WindowUse
from penstock.testing import Reply, ScriptedTransport
from penstock.types import MOST_TOKENS, Price
from penstock_plugins.ledgers.redis_ledger.wire import packed_steps

ABSURD = [2**64 - 1, MOST_TOKENS + 1, -5]
USUAL = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}


def settings(cascade: str = GPT, **tables: Any) -> penstock.Config:
    mapping: dict[str, Any] = {
        "providers": {"openai": {"api_key": "k"}},
        "routes": {"default": {"cascade": [cascade]}},
        "accounts": {name: {"limits": [{"per": "day", "tokens": 100_000}]} for name in ("one", "two")},
    }
    return penstock.Config.from_dict(mapping | tables, environ={})


def told(usage: dict[str, int], *, streamed: bool, text: str = ANSWER) -> Reply:
    if not streamed:
        return Reply(json={**openai_body(text), "usage": usage})
    old, new = (str(each).replace("'", '"').replace(" ", "").encode() for each in (USUAL, usage))
    chunks = [chunk.replace(old, new) for chunk in openai_chunks(text)]
    assert chunks != openai_chunks(text)
    return Reply(chunks=chunks)


@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
@pytest.mark.parametrize("count", ABSURD)
def test_absurd_usage_is_not_believed_but_told_and_charged_at_the_bound_of_its_call(
    count: int,
    streamed: bool,  # noqa: FBT001
    caplog: pytest.LogCaptureFixture,
) -> None:
    absurd = {"prompt_tokens": count, "completion_tokens": 3, "total_tokens": count + 3}
    answers = [told(absurd, streamed=streamed), told(USUAL, streamed=False)]

    async def main() -> None:
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(answers)) as kernel:
            events = kernel.events()
            before = (await kernel.quote("hello", account="one", max_tokens=50)).hold
            if streamed:
                async with kernel.stream("hello", account="one", max_tokens=50) as stream:
                    assert "".join([text async for text in stream.text()]) == ANSWER
                response = stream.response
            else:
                response = await kernel.complete("hello", account="one", max_tokens=50)
            assert response.usage.estimated
            assert response.usage.total_tokens < 100
            assert before is not None
            assert (await kernel.snapshot()).accounts["one"].windows[0].spent.tokens == before.tokens
            assert [event.target for event in events.take() if isinstance(event, UsageDisbelieved)] == [GPT]
            # It teaches nothing: the next call of that target holds what this one did.
            assert (await kernel.quote("hello", account="two", max_tokens=50)).hold == before
            assert not (await kernel.complete("hello", account="two", max_tokens=50)).usage.estimated

    with caplog.at_level(logging.WARNING):
        run(main)
    assert "counts of tokens that cannot be right" in caplog.text


@pytest.mark.parametrize("streamed", [False, True], ids=["complete", "stream"])
@pytest.mark.parametrize(("text", "believed"), [("Blocked by a guardrail.", True), ("So it goes on. " * 80, False)])
def test_a_long_answer_that_is_said_to_have_cost_nothing_is_charged_at_its_bound_and_a_guardrails_sentence_is_free(
    text: str,
    believed: bool,  # noqa: FBT001
    streamed: bool,  # noqa: FBT001
) -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    answers = [told(nothing, streamed=streamed, text=text)]

    async def main() -> None:
        async with penstock.open_kernel(settings(), transport=ScriptedTransport(answers)) as kernel:
            events = kernel.events()
            bound = (await kernel.quote("hello", account="one", max_tokens=400)).hold
            assert bound is not None
            if streamed:
                async with kernel.stream("hello", account="one", max_tokens=400) as stream:
                    assert "".join([text async for text in stream.text()]) == text
            else:
                assert (await kernel.complete("hello", account="one", max_tokens=400)).text == text
            charged = (await kernel.snapshot()).accounts["one"].windows[0].spent.tokens
            assert charged == (0 if believed else bound.tokens)
            assert any(isinstance(event, UsageDisbelieved) for event in events.take()) is not believed

    run(main)


@pytest.mark.parametrize("field", ["max_completion_tokens", "n"])
def test_a_caller_who_asks_for_more_than_any_ledger_keeps_is_refused_alone(field: str) -> None:
    request = penstock.ChatRequest("hi", max_tokens=10**6, extra={"openai": {field: 10**13}})

    async def main() -> None:
        transport = ScriptedTransport(lambda _: Reply(json=openai_body()))
        async with penstock.open_kernel(settings(), transport=transport) as kernel:
            refused: list[str] = []

            async def asks() -> None:
                with pytest.raises(errors.BudgetExceededError, match="more than is held for one"):
                    await kernel.complete(request, account="one")
                refused.append("one")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(asks)
                for _ in range(3):
                    nursery.start_soon(lambda: kernel.complete("hi", account="two", max_tokens=5))
            assert refused == ["one"]
            assert len(transport.requests) == 3

    run(main)


def test_a_charge_nobody_held_for_is_no_more_than_any_ledger_keeps() -> None:
    request = penstock.ChatRequest("hi", extra={"openai": {"max_completion_tokens": 10**13}})
    silent = openai_body()
    del silent["usage"]

    async def main() -> None:
        async with penstock.open_kernel(settings(), transport=ScriptedTransport([Reply(json=silent)])) as kernel:
            events = kernel.events()
            await kernel.complete(request, account="unlimited")
            (charged,) = [event.charged_tokens for event in events.take() if isinstance(event, AttemptEnded)]
            assert MOST_TOKENS <= charged <= 2 * MOST_TOKENS

    run(main)


def test_what_was_learned_of_a_bound_never_takes_it_beyond_the_window() -> None:
    long = {"prompt_tokens": 100_000, "completion_tokens": 3, "total_tokens": 100_003}
    tables: dict[str, Any] = {"accounts": {"one": {"limits": [{"per": "day", "tokens": 10**7}]}}}

    async def held(kernel: penstock.Kernel, size: int) -> int:
        amount = (await kernel.quote("x" * size, account="one", max_tokens=5)).hold
        assert amount is not None
        return amount.tokens

    async def main() -> None:
        transport = ScriptedTransport([Reply(json={**openai_body(), "usage": long})])
        async with penstock.open_kernel(settings(**tables), transport=transport) as kernel:
            small, window = await held(kernel, 2), await held(kernel, 1_000_000)
            assert window == 128_005
            await kernel.complete("hi", account="one", max_tokens=5)
            await trio.sleep(1)
            assert small + 90_000 < await held(kernel, 2) <= 100_005
            assert await held(kernel, 100_000) == await held(kernel, 1_000_000) == window

    run(main)


@given(
    given=st.integers(0, MOST_TOKENS),
    written=st.integers(0, MOST_TOKENS),
    prices=st.tuples(*[st.integers(0, 10**15)] * 2),
)
def test_what_may_be_held_and_charged_for_one_attempt_is_kept_by_the_store_with_the_smallest_figures(
    given: int, written: int, prices: tuple[int, int]
) -> None:
    line = Line.at_price(given, Price(input=prices[0], output=prices[1]), written)
    most = line.amount_at(written)
    if most.nano_usd > MOST_NANO_USD:
        return  # no offer is made of it
    use = WindowUse("day:UTC:", 2e9, rolling=False, limit_tokens=10**12, limit_nano_usd=10**18)
    reserve = Reserve(
        hold_id="h", account="", windows=(use,), lines=(line,), min_output=0, max_output=written, lease=60.0
    )
    spent = Spent(target="t", input_tokens=given, output_tokens=written, nano_usd=most.nano_usd)
    assert packed_steps([reserve, Settle(hold_id="h", charged=Amount(most.tokens, most.nano_usd), spent=(spent,))])
