"""Bare `httpx.AsyncClient` on trio, as its users call it and read server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx

from benchmarks.rows.bodies import anthropic_stream, openai_call, openai_stream, path_of
from benchmarks.worker import Job, Jobs, Row, run

HEADERS = {"content-type": "application/json"}


@asynccontextmanager
async def opened(origin: str, kind: str) -> AsyncGenerator[Jobs]:
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=512)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def call(number: int) -> int:
            url = origin + path_of(kind, "openai")
            response = await client.post(url, content=openai_call(number), headers=HEADERS)
            response.json()
            return 1

        def reading(wire: str, body: bytes) -> Job:
            async def read(_: int) -> int:
                seen = 0
                async with client.stream("POST", origin + path_of(kind, wire), content=body) as response:
                    async for line in response.aiter_lines():
                        if line.startswith("data: {"):
                            json.loads(line[6:])
                            seen += 1
                return seen

            return read

        yield {
            "call": call,
            "openai": reading("openai", openai_stream()),
            "anthropic": reading("anthropic", anthropic_stream()),
        }


if __name__ == "__main__":
    does = "a bare client, json.dumps and json.loads: no guards, no retries"
    run(Row(opened, "trio", ("httpx", "httpcore", "trio"), does, ("call", "openai", "anthropic")))
