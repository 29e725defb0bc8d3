"""LiteLLM's Router: three deployments, each the fallback of the one before."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its prices come from its package, not from the network

import litellm

from benchmarks.rows.bodies import MAX_TOKENS, QUESTION, prompt
from benchmarks.worker import Jobs, Row, run

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1")


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    deployments = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": f"{origin}/{kind}/v1",
                "api_key": "sk-bench",
            },
        }
        for name in MODELS
    ]
    router = litellm.Router(model_list=deployments, fallbacks=[{MODELS[0]: list(MODELS[1:])}], num_retries=2)

    async def call(number: int) -> int:
        messages = [{"role": "user", "content": prompt(number)}]
        answer = await router.acompletion(model=MODELS[0], messages=messages, temperature=0, max_tokens=MAX_TOKENS)
        assert answer.choices[0].message.content
        return 1

    async def read(_: int) -> int:
        seen = 0
        messages = [{"role": "user", "content": QUESTION}]
        async for _chunk in await router.acompletion(model=MODELS[0], messages=messages, stream=True):
            seen += 1
        return seen

    yield {"call": call, "openai": read}


if __name__ == "__main__":
    does = "3 deployments with fallbacks, 2 retries, cool-downs, cost of each call: no cache, no budgets"
    run(Row(opened, "asyncio", ("litellm", "openai", "aiohttp"), does, ("call", "openai")))
