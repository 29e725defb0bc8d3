"""The openai SDK on asyncio, as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import openai

from benchmarks.rows.bodies import MAX_TOKENS, OPENAI_MODEL, QUESTION, prompt
from benchmarks.worker import Jobs, Row, run


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    async with openai.AsyncOpenAI(api_key="sk-bench", base_url=f"{origin}/{kind}/v1") as client:

        async def call(number: int) -> int:
            answer = await client.chat.completions.create(
                model=OPENAI_MODEL,
                messages=[{"role": "user", "content": prompt(number)}],
                temperature=0,
                max_tokens=MAX_TOKENS,
            )
            assert answer.choices[0].message.content
            return 1

        async def read(_: int) -> int:
            seen = 0
            messages = [{"role": "user", "content": QUESTION}]
            async for _chunk in await client.chat.completions.create(
                model=OPENAI_MODEL, messages=messages, stream=True
            ):
                seen += 1
            return seen

        yield {"call": call, "openai": read}


if __name__ == "__main__":
    does = "typed requests and answers; retries by status are on: no cache, no budgets, no fallback"
    run(Row(opened, "asyncio", ("openai",), does, ("call", "openai")))
