"""Bare aiohttp on asyncio: a parser in C, the fastest of Python's HTTP clients."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp

from benchmarks.rows.bodies import openai_call, path_of, stream_jobs
from benchmarks.worker import Jobs, Row, run

HEADERS = {"content-type": "application/json"}


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    connector = aiohttp.TCPConnector(limit=512)
    async with aiohttp.ClientSession(connector=connector) as client:

        async def call(number: int) -> int:
            url = origin + path_of(kind, "openai")
            async with client.post(url, data=openai_call(number), headers=HEADERS) as response:
                await response.json()
            return 1

        async def read(path: str, body: bytes) -> int:
            seen = 0
            async with client.post(origin + path, data=body, headers=HEADERS) as response:
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        json.loads(line[6:])
                        seen += 1
            return seen

        yield {"call": call, **stream_jobs(kind, read)}


if __name__ == "__main__":
    does = "a bare client, json.dumps and json.loads: no guards, no retries"
    run(Row(opened, "asyncio", ("aiohttp",), does, ("call", "openai", "anthropic")))
