"""langchain's ChatOpenAI with two fallbacks; with its cache in memory, where that is what is measured."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from langchain_core.caches import InMemoryCache
from langchain_openai import ChatOpenAI

from benchmarks.rows.bodies import MAX_TOKENS, QUESTION, prompt
from benchmarks.worker import Jobs, Row, run

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1")
SHARE_ALIKE = 32
"""Questions asked in turn, so that no single entry is all that is ever read."""


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    at, cache = ("now", InMemoryCache()) if kind == "hit" else (kind, None)
    first, *others = [
        ChatOpenAI(
            model=name,
            base_url=f"{origin}/{at}/v1",
            api_key="sk-bench",
            temperature=0,
            max_tokens=MAX_TOKENS,
            cache=cache,
        )
        for name in MODELS
    ]
    model = first.with_fallbacks(others)

    async def call(number: int) -> int:
        answer = await model.ainvoke(prompt(number))
        assert answer.content
        return 1

    async def hit(number: int) -> int:
        await model.ainvoke(prompt(number % SHARE_ALIKE))
        return 1

    async def read(_: int) -> int:
        seen = 0
        async for _chunk in model.astream(QUESTION):
            seen += 1
        return seen

    yield {"call": call, "openai": read, "hit": hit}


if __name__ == "__main__":
    does = "3 models with fallbacks, the openai SDK's retries: no cache (but where a hit is measured), no budgets"
    packages = ("langchain", "langchain-core", "langchain-openai", "openai")
    run(Row(opened, "asyncio", packages, does, ("call", "openai", "hit")))
