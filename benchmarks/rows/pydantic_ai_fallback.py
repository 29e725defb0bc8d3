"""pydantic-ai's FallbackModel over three models, asked directly: no agent around it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from pydantic_ai.direct import model_request, model_request_stream
from pydantic_ai.messages import ModelRequest
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from benchmarks.rows.bodies import MAX_TOKENS, QUESTION, prompt
from benchmarks.worker import Jobs, Row, run

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1")


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    provider = OpenAIProvider(base_url=f"{origin}/{kind}/v1", api_key="sk-bench")
    model = FallbackModel(*(OpenAIChatModel(name, provider=provider) for name in MODELS))

    async def call(number: int) -> int:
        asked = [ModelRequest.user_text_prompt(prompt(number))]
        answer = await model_request(model, asked, model_settings={"temperature": 0, "max_tokens": MAX_TOKENS})
        assert answer.parts
        return 1

    async def read(_: int) -> int:
        seen = 0
        async with model_request_stream(model, [ModelRequest.user_text_prompt(QUESTION)]) as stream:
            async for _event in stream:
                seen += 1
        return seen

    yield {"call": call, "openai": read}


if __name__ == "__main__":
    does = "3 models with fallbacks, the openai SDK's retries: no cache, no budgets"
    run(Row(opened, "asyncio", ("pydantic-ai-slim", "openai"), does, ("call", "openai")))
