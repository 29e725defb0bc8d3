"""What every row asks: requests of about 1 KB, alike but for a number, and the paths they go to."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from benchmarks.worker import PROMPT, Job, Jobs

OPENAI_MODEL = "gpt-4o"
ANTHROPIC_MODEL = "claude-sonnet-4-20250514"
MAX_TOKENS = 500
QUESTION = "why is the sky blue?"
"""Of a stream."""


def prompt(number: int) -> str:
    return f"{number} {PROMPT}"


def path_of(kind: str, wire: str) -> str:
    return f"/{kind}/v1/" + ("messages" if wire == "anthropic" else "chat/completions")


def port_of(origin: str) -> int:
    return int(origin.rpartition(":")[2])


def openai_call(number: int) -> bytes:
    messages = [{"role": "user", "content": prompt(number)}]
    asked = {"model": OPENAI_MODEL, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS}
    return json.dumps(asked).encode()


def openai_stream() -> bytes:
    messages = [{"role": "user", "content": QUESTION}]
    return json.dumps({"model": OPENAI_MODEL, "messages": messages, "stream": True}).encode()


def anthropic_stream() -> bytes:
    messages = [{"role": "user", "content": QUESTION}]
    return json.dumps({"model": ANTHROPIC_MODEL, "messages": messages, "max_tokens": 8_000, "stream": True}).encode()


def stream_jobs(kind: str, read: Callable[[str, bytes], Awaitable[int]]) -> Jobs:
    """A stream of each wire. `read` asks a path with a body, and says how many events came."""

    def reading(wire: str, body: bytes) -> Job:
        async def job(_: int) -> int:
            return await read(path_of(kind, wire), body)

        return job

    return {"openai": reading("openai", openai_stream()), "anthropic": reading("anthropic", anthropic_stream())}
