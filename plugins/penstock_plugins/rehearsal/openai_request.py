"""Chat Completions requests, read as OpenAI's server reads them: what it needs must be there, the rest may.

Not here: answers (`openai_wire`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from penstock.types import WireRequest
from penstock_plugins.rehearsal.ask import (
    IMAGE_BYTES,
    Ask,
    BadRequest,
    ToolOffer,
    canonical,
    key_label,
    object_in,
    tokens_of,
)
from penstock_plugins.rehearsal.chance import digest

__all__ = ["read_request"]


class _StreamOptions(Struct):
    include_usage: bool | None = None


class _Function(Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    arguments: str = ""


class _Tool(Struct):
    type: str
    function: _Function


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None
    tool_calls: list[_Tool] | None = None


class _Body(Struct):
    model: str
    messages: list[_Message]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None


def read_request(request: WireRequest, *, key: str) -> Ask:
    """What is asked; raises BadRequest."""
    try:
        body = msgspec.json.decode(request.body, type=_Body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"We could not parse the JSON body of your request: {error}") from error
    if not body.messages:
        raise BadRequest("Invalid 'messages': empty array. Expected an array with minimum length 1.")
    limit = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    if limit is not None and limit < 1:
        raise BadRequest("Invalid 'max_tokens': integer below minimum value. Expected a value >= 1.")
    if body.n not in (None, 1):
        raise BadRequest("Only 'n' of 1 is rehearsed.")
    last = body.messages[-1]
    tools = () if body.tool_choice == "none" else tuple(_offers(body.tools or ()))
    return Ask(
        wire="openai",
        model=body.model,
        key=key_label(key),
        streamed=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        max_tokens=limit,
        thinking=body.reasoning_effort not in (None, "none"),
        stop=tuple([body.stop] if isinstance(body.stop, str) else body.stop or ()),
        tools=tools,
        forced_tool=_forced(body.tool_choice) if last.role == "user" else None,
        schema=_schema(body.response_format),
        prompt=_text(last.content) if last.role == "user" else "",
        content=digest(canonical([body.model, body.messages])),
        input_tokens=max(1, tokens_of(sum(_sizes(body)))),
    )


def _offers(tools: list[_Tool] | tuple[()]) -> Iterator[ToolOffer]:
    for tool in tools:
        yield ToolOffer(tool.function.name, tool.function.parameters or {})


def _forced(choice: str | dict[str, Any] | None) -> str | None:
    match choice:
        case "required":
            return ""
        case {"function": {"name": str(name)}}:
            return name
        case _:
            return None


def _schema(wanted: dict[str, Any] | None) -> dict[str, Any] | None:
    match wanted:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return object_in(schema)
        case {"type": "json_object"}:
            return {"type": "object", "properties": {"answer": {"type": "string"}}}
        case _:
            return None


def _text(content: str | list[dict[str, Any]] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[Any] = [part.get("text") for part in content]
    return "\n".join(text for text in texts if isinstance(text, str))


def _sizes(body: _Body) -> Iterator[int]:
    """The bytes that are counted: all text, calls, tool definitions; an image counts flat."""
    for message in body.messages:
        yield len(_text(message.content).encode())
        if isinstance(message.content, list):
            yield IMAGE_BYTES * sum(part.get("type") == "image_url" for part in message.content)
        for call in message.tool_calls or ():
            yield len(call.function.name.encode()) + len(call.function.arguments.encode())
    for tool in body.tools or ():
        yield len(tool.function.name.encode()) + len((tool.function.description or "").encode())
        yield len(canonical(tool.function.parameters)) if tool.function.parameters else 0
