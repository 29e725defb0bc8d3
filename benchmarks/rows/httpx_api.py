"""What httpx and its fork have in common: a bare client, as its users call it and read server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import ModuleType

from benchmarks.rows.bodies import openai_call, path_of, stream_jobs
from benchmarks.worker import Jobs, Opened, Row

HEADERS = {"content-type": "application/json"}
DOES = "a bare client, json.dumps and json.loads: no guards, no retries"


def row(library: ModuleType, distributions: tuple[str, ...]) -> Row:
    return Row(_opened(library), "trio", distributions, DOES, ("call", "openai", "anthropic"))


def _opened(library: ModuleType) -> Opened:
    @asynccontextmanager
    async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
        limits = library.Limits(max_connections=512, max_keepalive_connections=512)
        async with library.AsyncClient(limits=limits, timeout=60) as client:

            async def call(number: int) -> int:
                url = origin + path_of(kind, "openai")
                response = await client.post(url, content=openai_call(number), headers=HEADERS)
                response.json()
                return 1

            async def read(path: str, body: bytes) -> int:
                seen = 0
                async with client.stream("POST", origin + path, content=body) as response:
                    async for line in response.aiter_lines():
                        if line.startswith("data: {"):
                            json.loads(line[6:])
                            seen += 1
                return seen

            yield {"call": call, **stream_jobs(kind, read)}

    return opened
