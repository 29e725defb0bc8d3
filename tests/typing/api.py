"""Never run: what type checkers must infer of the public API. Checked by mypy and pyright in every run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Literal, assert_type

import msgspec

import penstock
from penstock import ChatRequest, Chunk, Message, Text, Tool, ToolCall, Usage
from penstock.policy.breaker import ScopeState
from penstock.types import Part


async def calls(kernel: penstock.Kernel) -> None:
    response = await kernel.complete("hello", temperature=0.2, timeout=30.0)
    assert_type(response, penstock.ChatResponse)
    assert_type(response.text, str)
    assert_type(response.cost, Decimal | None)
    assert_type(response.usage, Usage)
    assert_type(response.tool_calls, tuple[ToolCall, ...])
    assert_type(response.attempts, tuple[penstock.Attempt, ...])
    assert_type(kernel.with_options(account="team"), penstock.Kernel)
    await kernel.complete([Message.user("hello"), response.message, {"role": "user", "content": "and then?"}])
    await kernel.complete("what time is it?", tools=[Tool("clock")])
    await kernel.complete(ChatRequest("hello", stop="end"), model="openai/gpt-4o")


async def streams(kernel: penstock.Kernel) -> None:
    async with kernel.stream("hello") as stream:
        assert_type(stream, penstock.ChatStream)
        async for chunk in stream:
            assert_type(chunk, Chunk)
            match chunk:
                case penstock.TextDelta(text=text):
                    assert_type(text, str)
                case penstock.Finished(usage=usage):
                    assert_type(usage, Usage)
                case _:
                    pass
        assert_type(stream.text(), AsyncIterator[str])
        assert_type(stream.response, penstock.ChatResponse)


class Trip(msgspec.Struct):
    city: str


async def values(kernel: penstock.Kernel) -> None:
    extracted = await kernel.extract(Trip, "a trip", max_repairs=1, timeout=5.0, validators=[print])
    assert_type(extracted, penstock.Extracted[Trip])
    assert_type(extracted.value, Trip)
    assert_type(extracted.response, penstock.ChatResponse)
    await kernel.extract(Trip, "a trip", validators=["acme", ("jsonschema", {"maxProperties": 1})])
    assert_type((await kernel.extract(list[Trip], "trips")).value, list[Trip])
    assert_type((await kernel.extract(penstock.Output[Trip | int], "either")).value, Trip | int)
    assert_type((await kernel.extract(penstock.Output[Literal["a", "b"]], "one")).value, Literal["a", "b"])
    untyped: object = (await kernel.extract({"type": "object"}, "anything")).value
    assert untyped is not None
    async with kernel.stream_extract(Trip, "a trip") as stream:
        assert_type(stream, penstock.ExtractStream[Trip])
        async for part in stream:
            print(part)
        assert_type(stream.value, Trip)
    async with kernel.stream_extract(penstock.Output[Trip | None], "a trip or none") as either:
        assert_type(either.value, Trip | None)
    await kernel.complete(ChatRequest("a trip", output=Trip))


async def opening() -> None:
    opened: AbstractAsyncContextManager[penstock.Kernel] = penstock.open_kernel("penstock.toml")
    async with opened as kernel:
        assert_type(kernel, penstock.Kernel)
        assert_type(kernel.snapshot(), penstock.KernelSnapshot)
        assert_type(await kernel.snapshot(), penstock.KernelSnapshot)
        quote = kernel.quote("hello", account="team")
        assert_type(quote, penstock.Quote)
        assert_type(await quote, penstock.Quote)
        assert_type(quote.fits, bool | None)
        assert_type(quote.shortfalls, tuple[penstock.Shortfall, ...])
        assert_type(await kernel.reload("penstock.toml"), None)
        assert_type(kernel.health(), penstock.Health)
        assert_type(await kernel.breakers.states(), Mapping[str, ScopeState])
        async for event in kernel.events():
            assert_type(event, penstock.Event)


def requests() -> None:
    request = ChatRequest([Message.user([Text("hello")])], tools=[{"type": "function", "function": {"name": "f"}}])
    assert_type(request.messages, tuple[Message, ...])
    assert_type(request.tools, tuple[Tool, ...])
    assert_type(Message.user("hello").content, tuple[Part, ...])
