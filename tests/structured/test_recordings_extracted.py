"""The recordings of `test_recordings_structured`, through a kernel: a value is asked for, the recorded bytes answer.

Each is asked as it was recorded, whole or streamed, with the recording's own schema where it has one; what was streamed
also through `extract`, at a target that is streamed upstream.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import httpx
import msgspec
import pytest
from damaged_outputs import same
from plain_reading import Json, asked_body
from recorded import Recording
from recorded_outcomes import Outcome, exchanges_that_give, given, kind_of, schema_of, tools_of

import penstock
from penstock import Tool, errors
from penstock.errors import CallError, OutputInvalidError, RefusedError
from penstock.testing import Reply, ScriptedTransport, StagedKernel, keyless

Way: TypeAlias = Literal["streamed", "whole"]
ANY_OBJECT: Json = {"type": "object"}
PIECE = 64
"""Bytes of each read of a stream: none of its events comes in one."""
USED_UP = {"anthropic-messages/anthropic-sdk-python--streaming-incomplete_partial_json_response.txt--0": 124}
"""Output tokens of answers that ended for their length, where nobody wrote down which limit they had."""
FRAMING = frozenset({"content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive"})
"""Headers that describe the bytes as they once were on the wire."""
NO_SCHEMAS = Reply(400, json={"error": {"message": "Invalid schema", "type": "invalid_request_error"}})


class Upstream:
    """A kernel with one target, the recording's own model at its own provider, and what it was asked."""

    def __init__(self, exchange: Recording, *, takes_schemas: bool = True) -> None:
        kind, model = kind_of(exchange), asked_body(exchange).get("model") or exchange.model
        options = {"base_url": "https://server.example"} if kind == "azure" else {}
        config = {
            "providers": {kind: options},
            "targets": {
                "recorded": {
                    "provider": kind,
                    "model": model,
                    "upstream_stream": "always" if exchange.streamed else "never",
                }
            },
            "routes": {"default": {"cascade": [{"target": "recorded", "attempts": 1}]}},
        }
        reply = reply_of(exchange)

        def answer(request: httpx.Request) -> Reply:
            return reply if takes_schemas or way_in(msgspec.json.decode(request.content)) != "native" else NO_SCHEMAS

        self._transport = ScriptedTransport(answer)
        self._staged = StagedKernel(keyless(config), self._transport, (), seed=0)

    @property
    def bodies(self) -> list[Json]:
        """What it was sent."""
        return [msgspec.json.decode(request.content) for request in self._transport.requests]

    def extract(self, kind: Any, *, way: Way, **words: Any) -> tuple[Any, list[Any]]:
        """The value, and what was seen of it while it grew. Raises what the call raises."""
        return self._staged.run(_grown if way == "streamed" else _extracted, kind, words)


async def _extracted(kernel: penstock.Kernel, kind: Any, words: dict[str, Any]) -> tuple[Any, list[Any]]:
    return (await kernel.extract(kind, "As it was recorded.", **words)).value, []


async def _grown(kernel: penstock.Kernel, kind: Any, words: dict[str, Any]) -> tuple[Any, list[Any]]:
    seen: list[Any] = []
    async with kernel.stream_extract(kind, "As it was recorded.", **words) as stream:
        seen.extend([msgspec.to_builtins(part) async for part in stream])
    return stream.value, seen


def reply_of(exchange: Recording) -> Reply:
    body = exchange.body_bytes()
    pieces = [body[at : at + PIECE] for at in range(0, len(body), PIECE)] if exchange.streamed else [body]
    headers = [pair for pair in exchange.headers() if pair[0] not in FRAMING]
    return Reply(exchange.response.status, chunks=pieces, headers=headers)


def ways_of(outcomes: list[Any]) -> list[Any]:
    """Each with how it is asked: as it was recorded, and what was streamed also whole."""
    ways: list[Any] = []
    for outcome in outcomes:
        *_, exchange = outcome.values
        asked: tuple[Way, ...] = ("streamed", "whole") if exchange.streamed else ("whole",)
        ways += [pytest.param(*outcome.values, way, id=f"{outcome.id}-{way}") for way in asked]
    return ways


def way_in(body: Json) -> str:
    """How a value is asked for."""
    if "response_format" in body or "output_config" in body:
        return "native"
    return "tool" if isinstance(body.get("tool_choice"), dict) else "words"


def schema_or_any(exchange: Recording) -> Json:
    asks = asked_body(exchange)
    named = any(name in asks for name in ("response_format", "output_config", "output_format"))
    return (schema_of(exchange) if named else None) or ANY_OBJECT


def own_tools(exchange: Recording) -> list[Tool]:
    return [Tool(name, parameters=schema or {}) for name, schema in tools_of(exchange).items()]


@pytest.mark.parametrize(("outcome", "exchange", "way"), ways_of(given("value")))
def test_a_recorded_value_is_extracted_in_one_attempt(outcome: Outcome, exchange: Recording, way: Way) -> None:
    server = Upstream(exchange)
    value, seen = server.extract(schema_of(exchange) or ANY_OBJECT, way=way)
    assert same(value, outcome.value)
    assert len(server.bodies) == 1
    if way == "streamed":
        assert same(seen[-1], outcome.value)
        # Of an object of any names nobody knows before its end that it is no envelope.
        assert len(seen) > 1 or schema_of(exchange) is None


@pytest.mark.parametrize(("outcome", "exchange", "way"), ways_of(given("calls")))
def test_calls_of_the_callers_tools_are_no_value(outcome: Outcome, exchange: Recording, way: Way) -> None:
    server = Upstream(exchange)
    with pytest.raises(OutputInvalidError, match="called tools instead of answering") as caught:
        server.extract(schema_or_any(exchange), way=way, tools=own_tools(exchange))
    assert len(caught.value.attempts) == 1
    assert outcome.calls


@pytest.mark.parametrize(("outcome", "exchange", "way"), ways_of(given("calls")))
def test_the_call_of_the_tool_that_a_value_is_asked_by_gives_it(
    outcome: Outcome, exchange: Recording, way: Way
) -> None:
    name, arguments = outcome.calls[0]
    server = Upstream(exchange, takes_schemas=False)
    schema = {**(tools_of(exchange)[name] or ANY_OBJECT), "title": name}
    if any(other == name and not same(others, arguments) for other, others in outcome.calls):
        # Which of them was meant nobody knows.
        with pytest.raises(OutputInvalidError):
            server.extract(schema, way=way, max_repairs=0)
        return
    value, seen = server.extract(schema, way=way)
    assert same(value, arguments)
    assert way_in(server.bodies[-1]) == "tool"
    if way == "streamed" and arguments:
        assert same(seen[-1], arguments)


@pytest.mark.parametrize(("exchange", "way"), ways_of(exchanges_that_give("text")))
def test_prose_beside_tools_is_no_value(exchange: Recording, way: Way) -> None:
    server = Upstream(exchange)
    with pytest.raises(OutputInvalidError) as caught:
        server.extract(ANY_OBJECT, way=way, tools=own_tools(exchange), max_repairs=0)
    assert caught.value.last_output
    assert [attempt.outcome for attempt in caught.value.attempts] == ["output_invalid"]


@pytest.mark.parametrize(("exchange", "way"), ways_of(exchanges_that_give("nothing")))
def test_an_empty_answer_is_told_as_one(exchange: Recording, way: Way) -> None:
    with pytest.raises(OutputInvalidError, match="the answer is empty"):
        Upstream(exchange).extract(ANY_OBJECT, way=way, max_repairs=0)


@pytest.mark.parametrize(("exchange", "way"), ways_of(exchanges_that_give("refusal")))
def test_a_recorded_refusal_is_told_and_not_mended(exchange: Recording, way: Way) -> None:
    server = Upstream(exchange)
    with pytest.raises(RefusedError):
        server.extract(schema_or_any(exchange), way=way)
    assert len(server.bodies) == 1


@pytest.mark.parametrize(("exchange", "way"), ways_of(exchanges_that_give("length")))
def test_what_ended_for_its_length_is_asked_for_again_with_more_room(exchange: Recording, way: Way) -> None:
    server = Upstream(exchange)
    asks = asked_body(exchange)
    limit = asks.get("max_tokens") or asks.get("max_completion_tokens") or USED_UP[exchange.id]
    with pytest.raises(OutputInvalidError, match="it reached max_tokens") as caught:
        server.extract(ANY_OBJECT, way=way, max_tokens=limit, max_repairs=1)
    assert [attempt.outcome for attempt in caught.value.attempts] == ["output_invalid"] * 2
    first, second = (body.get("max_tokens") or body["max_completion_tokens"] for body in server.bodies)
    assert second > first
    assert server.bodies[0]["messages"] == server.bodies[1]["messages"]


@pytest.mark.parametrize(("outcome", "exchange", "way"), ways_of(given("error")))
def test_a_schema_that_no_way_of_asking_gets_through_ends_in_the_error(
    outcome: Outcome, exchange: Recording, way: Way
) -> None:
    """A refused request is asked in each of the ways there are, once."""
    server = Upstream(exchange)
    with pytest.raises(CallError) as caught:
        server.extract(ANY_OBJECT, way=way)
    assert type(caught.value) is getattr(errors, outcome.error)
    ways = [way_in(body) for body in server.bodies]
    assert ways == list(dict.fromkeys(ways))
    assert ways[-1] == "words"
