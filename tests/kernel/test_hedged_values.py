"""A call for a value whose probe is hedged: the hedge is asked for the value as the probe is."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest
import trio
from worlds import GPT, SONNET, config, good, run

import penstock
from penstock.testing import Answer, ScriptedTransport, Silence


class Trip(msgspec.Struct):
    city: str
    days: int


def test_a_hedge_asks_for_the_value_that_its_call_is_for() -> None:
    silent = {"gpt", "sonnet"}

    def answer(request: httpx.Request) -> Answer:
        is_silent = any(name.encode() in request.content for name in silent)
        return Silence() if is_silent else good(request, '{"city": "Rome", "days": 3}')

    async def main() -> None:
        tables: dict[str, Any] = {
            "defaults": {"timeouts": {"first_token": 10, "total": 20}, "upstream_stream": "never"},
            "breaker": {"failures_in_a_row": 2},
            "budget": {"limits": [{"per": "day", "usd": 100}]},
            "routes": {"default": {"cascade": [{"target": name, "attempts": 1} for name in (SONNET, GPT)]}},
        }
        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(config(**tables), transport=upstream) as kernel:
            for _ in range(6):
                with pytest.raises(penstock.CallError):
                    await kernel.complete("hello", timeout=100)
            await trio.sleep(200)
            silent.remove("gpt")
            found = await kernel.extract(Trip, "Plan a trip.", timeout=100)
            assert found.value == Trip("Rome", 3)
            (hedge,) = [attempt for attempt in found.response.attempts if attempt.hedge]
            assert hedge.target == GPT
            assert b'"days"' in upstream.requests[-1].content, "the schema"

    run(main)
