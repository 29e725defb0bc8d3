"""LiteLLM's `acompletion`, as it comes; with its cache in memory, where that is what is measured."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its prices come from its package, not from the network

import litellm
from litellm.caching.caching import Cache

from benchmarks.rows.bodies import MAX_TOKENS, OPENAI_MODEL, QUESTION, prompt
from benchmarks.worker import Jobs, Row, run

SHARE_ALIKE = 32
"""Questions asked in turn, so that no single entry is all that is ever read."""


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    asked = {"model": f"openai/{OPENAI_MODEL}", "api_base": f"{origin}/{kind}/v1", "api_key": "sk-bench"}
    litellm.cache = Cache(type="local") if kind == "hit" else None
    if kind == "hit":
        asked["api_base"] = f"{origin}/now/v1"

    async def call(number: int) -> int:
        messages = [{"role": "user", "content": prompt(number)}]
        answer = await litellm.acompletion(messages=messages, temperature=0, max_tokens=MAX_TOKENS, **asked)
        assert answer.choices[0].message.content
        return 1

    async def hit(number: int) -> int:
        messages = [{"role": "user", "content": prompt(number % SHARE_ALIKE)}]
        await litellm.acompletion(messages=messages, temperature=0, max_tokens=MAX_TOKENS, caching=True, **asked)
        return 1

    async def read(_: int) -> int:
        seen = 0
        messages = [{"role": "user", "content": QUESTION}]
        async for _chunk in await litellm.acompletion(messages=messages, stream=True, **asked):
            seen += 1
        return seen

    yield {"call": call, "openai": read, "hit": hit}


if __name__ == "__main__":
    does = (
        "typed answers, cost of each, its callbacks, the openai SDK's retries: no cache (but where a hit is measured), "
        "no budgets, no fallback"
    )
    run(Row(opened, "asyncio", ("litellm", "openai", "aiohttp"), does, ("call", "openai", "hit")))
