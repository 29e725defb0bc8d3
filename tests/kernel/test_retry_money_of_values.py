"""The cap on the money of retries, fallbacks and hedges, where an answer is to become a value: what is said beside the
text costs as well, and so does more room.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, cast

import httpx
import msgspec
import pytest
import trio
from worlds import GPT, SONNET, config, good, model_of, run

import penstock
from penstock import ChatRequest, errors
from penstock.testing import Answer, Reply, ScriptedTransport

CALLS = 30
DAILY = {"limits": [{"per": "day", "usd": 100_000}]}
LARGE = {
    "type": "object",
    "title": "Large",
    "properties": {f"field_{at}": {"type": "string", "description": "d" * 100} for at in range(200)},
}


class Trip(msgspec.Struct):
    city: str
    days: int


def settings(cascade: list[str], share: float, **budget: Any) -> penstock.Config:
    return config(
        routes={"default": {"cascade": [{"target": target, "attempts": 1} for target in cascade]}},
        targets={"priced": {"provider": "openai", "model": "any", "price": {"input": 1, "output": 10}}},
        budget={"retry_money": share, **budget},
        breaker={"max_gap": 1e-9, "window_calls": 100_000},
        retry_budget={"floor": 10_000},
        defaults={"upstream_stream": "never"},
    )


async def spent_by_many(kernel: penstock.Kernel, kind: Any, **options: Any) -> Decimal:
    """What calls that come all at once spend beyond their first attempts."""
    spent = [Decimal(0)]

    async def one() -> None:
        try:
            attempts = (await kernel.extract(kind, "Plan a trip.", **options)).response.attempts
        except errors.CallError as error:
            attempts = error.attempts
        spent.extend(attempt.cost or Decimal(0) for attempt in attempts[1:])

    async with trio.open_nursery() as nursery:
        for _ in range(CALLS):
            nursery.start_soon(one)
    return sum(spent, Decimal(0))


def ten_holds(kernel: penstock.Kernel, kind: Any, **options: Any) -> Decimal:
    bound = kernel.quote(ChatRequest("Plan a trip.", output=kind, **options)).bound
    assert bound is not None
    assert bound.nano_usd is not None
    return Decimal(10 * bound.nano_usd) / 10**9


def billed(request: httpx.Request, text: str, tokens: int, *, cut: bool = False) -> Reply:
    """An answer whose input costs as much as it may, and whose output so many tokens."""
    body = cast("dict[str, Any]", good(request, text).json)
    read = len(request.content) // 2
    if "choices" in body:
        body["usage"] = {"prompt_tokens": read, "completion_tokens": tokens, "total_tokens": read + tokens}
        body["choices"][0]["finish_reason"] = "length" if cut else "stop"
    else:
        body["usage"] = {"input_tokens": read, "output_tokens": tokens}
    return Reply(json=body, delay=1.0)


@pytest.mark.parametrize("budget", [{}, DAILY], ids=["no limit", "a limit"])
def test_fallbacks_are_capped_by_all_that_they_are_asked(budget: dict[str, Any]) -> None:
    down: list[bool] = []

    def answer(request: httpx.Request) -> Answer:
        if down and model_of(request).startswith("gpt"):
            return Reply(500, json={"error": {"message": "no"}}, delay=1.0)
        return billed(request, '{"field_1": "a"}', 5)

    async def main() -> None:
        capped = settings([GPT, SONNET], 0.2, **budget)
        async with penstock.open_kernel(capped, transport=ScriptedTransport(answer)) as kernel:
            for _ in range(4):  # of what these settle, a share may be spent on fallbacks; ten holds are more
                await kernel.extract(LARGE, "Plan a trip.", max_tokens=20)
            most = ten_holds(kernel, LARGE, max_tokens=20)
            down.append(True)
            assert 0 < await spent_by_many(kernel, LARGE, max_tokens=20) <= most

    run(main)


@pytest.mark.parametrize("budget", [{}, DAILY], ids=["no limit", "a limit"])
def test_repairs_are_capped_by_the_room_that_they_are_given(budget: dict[str, Any]) -> None:
    def answer(request: httpx.Request) -> Answer:
        body = msgspec.json.decode(request.content)
        return billed(request, '{"city": "Ro', body.get("max_tokens") or body["max_completion_tokens"], cut=True)

    async def main() -> None:
        capped = settings(["priced"], 0.0, **budget)
        async with penstock.open_kernel(capped, transport=ScriptedTransport(answer)) as kernel:
            most = ten_holds(kernel, Trip, max_tokens=4_000)
            spent = await spent_by_many(kernel, Trip, max_tokens=4_000)
            assert most * Decimal("0.7") < spent <= most

    run(main)
