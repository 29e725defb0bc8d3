"""The anthropic SDK on asyncio, as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anthropic

from benchmarks.rows.bodies import ANTHROPIC_MODEL, MAX_TOKENS, QUESTION, prompt
from benchmarks.worker import Jobs, Row, run


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    async with anthropic.AsyncAnthropic(api_key="sk-bench", base_url=f"{origin}/{kind}") as client:

        async def call(number: int) -> int:
            answer = await client.messages.create(
                model=ANTHROPIC_MODEL,
                messages=[{"role": "user", "content": prompt(number)}],
                max_tokens=MAX_TOKENS,
            )
            assert answer.content
            return 1

        async def read(_: int) -> int:
            seen = 0
            messages = [{"role": "user", "content": QUESTION}]
            async for _event in await client.messages.create(
                model=ANTHROPIC_MODEL, messages=messages, max_tokens=8_000, stream=True
            ):
                seen += 1
            return seen

        yield {"call": call, "anthropic": read}


if __name__ == "__main__":
    does = "typed requests and answers; retries by status are on: no cache, no budgets, no fallback"
    run(Row(opened, "asyncio", ("anthropic",), does, ("call", "anthropic")))
