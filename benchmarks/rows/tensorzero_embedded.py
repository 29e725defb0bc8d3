"""TensorZero's gateway in Rust, embedded in Python: one function with three models, each the fallback of the last."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from tensorzero import AsyncTensorZeroGateway

from benchmarks.rows.bodies import MAX_TOKENS, QUESTION, prompt
from benchmarks.worker import Jobs, Row, run

MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1")


def settings(origin: str, kind: str) -> str:
    """A function whose one variant tries three models; nothing is written anywhere."""
    lines = ["[gateway]", "observability.enabled = false"]
    routing = json.dumps([f"openai-{at}" for at, _ in enumerate(MODELS)])
    lines += ["[models.cascade]", f"routing = {routing}"]
    for at, name in enumerate(MODELS):
        lines += [
            f"[models.cascade.providers.openai-{at}]",
            'type = "openai"',
            f'model_name = "{name}"',
            f'api_base = "{origin}/{kind}/v1/"',
            'api_key_location = "env::BENCH_KEY"',
        ]
    lines += ["[functions.answer]", 'type = "chat"', "[functions.answer.variants.only]", 'type = "chat_completion"']
    lines += ['model = "cascade"', "retries = { num_retries = 2, max_delay_s = 8 }"]
    lines += ["temperature = 0.0", f"max_tokens = {MAX_TOKENS}"]
    return "\n".join(lines)


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    os.environ["BENCH_KEY"] = "sk-bench"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "tensorzero.toml")
        file.write_text(settings(origin, kind))
        gateway = await AsyncTensorZeroGateway.build_embedded(config_file=str(file))
        async with gateway as client:

            async def call(number: int) -> int:
                asked = {"messages": [{"role": "user", "content": prompt(number)}]}
                answer = await client.inference(function_name="answer", input=asked)
                assert answer.content
                return 1

            async def read(_: int) -> int:
                seen = 0
                asked = {"messages": [{"role": "user", "content": QUESTION}]}
                async for _chunk in await client.inference(function_name="answer", input=asked, stream=True):
                    seen += 1
                return seen

            yield {"call": call, "openai": read}


if __name__ == "__main__":
    does = "3 models with fallbacks, 2 retries; observability is off: no cache, no budgets"
    run(Row(opened, "asyncio", ("tensorzero",), does, ("call", "openai")))
