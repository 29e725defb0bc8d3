"""Messages requests, read as Anthropic's server reads them: what it needs must be there, the rest may.

Not here: answers (`anthropic_wire`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

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
from penstock_plugins.rehearsal.wire import header

__all__ = ["read_request"]


class _Tool(Struct):
    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class _Message(Struct):
    role: str
    content: str | list[dict[str, Any]]


class _Body(Struct):
    model: str
    max_tokens: int
    messages: list[_Message]
    system: str | list[dict[str, Any]] | None = None
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    tools: list[_Tool] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None


def read_request(request: WireRequest, *, key: str) -> Ask:
    """What is asked; raises BadRequest."""
    if not header(request.headers, "anthropic-version"):
        raise BadRequest("anthropic-version: header is required")
    try:
        body = msgspec.json.decode(request.body, type=_Body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"The request body is not valid: {error}") from error
    if not body.messages:
        raise BadRequest("messages: at least one message is required")
    if body.max_tokens < 1:
        raise BadRequest("max_tokens: must be greater than or equal to 1")
    prompt = _prompt(body.messages[-1])
    return Ask(
        wire="anthropic",
        model=body.model,
        key=key_label(key),
        streamed=bool(body.stream),
        include_usage=True,
        max_tokens=body.max_tokens,
        thinking=(body.thinking or {}).get("type") in ("enabled", "adaptive"),
        stop=tuple(body.stop_sequences or ()),
        tools=() if (body.tool_choice or {}).get("type") == "none" else tuple(_offers(body.tools or ())),
        forced_tool=None if prompt is None else _forced(body.tool_choice),
        schema=_schema(body),
        prompt=prompt or "",
        content=digest(canonical([body.model, body.system, body.messages])),
        input_tokens=max(1, tokens_of(sum(_sizes(body)))),
    )


def _offers(tools: list[_Tool] | tuple[()]) -> Iterator[ToolOffer]:
    for tool in tools:
        yield ToolOffer(tool.name, tool.input_schema or {})


def _forced(choice: dict[str, Any] | None) -> str | None:
    match choice:
        case {"type": "any"}:
            return ""
        case {"type": "tool", "name": str(name)}:
            return name
        case _:
            return None


def _schema(body: _Body) -> dict[str, Any] | None:
    match (body.output_config or {}).get("format") or body.output_format:
        case {"type": "json_schema", "schema": schema}:
            return object_in(schema)
        case _:
            return None


def _prompt(last: _Message) -> str | None:
    """What a user wrote; None where the last message brings the results of tools, or is the assistant's."""
    if last.role != "user":
        return None
    if isinstance(last.content, list) and any(part.get("type") == "tool_result" for part in last.content):
        return None
    return _text(last.content)


def _text(content: Any) -> str:
    """The text of a content, of the results of tools inside it too."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    found: list[str] = []
    for part in cast("list[object]", content):
        match object_in(part):
            case {"type": "text", "text": str(text)}:
                found.append(text)
            case {"type": "tool_result", "content": inner}:
                found.append(_text(inner))
            case _:
                pass
    return "\n".join(found)


def _sizes(body: _Body) -> Iterator[int]:
    """The bytes that are counted: all text, calls, tool definitions; an image counts flat."""
    yield len(_text(body.system).encode())
    for message in body.messages:
        yield len(_text(message.content).encode())
        for part in message.content if isinstance(message.content, list) else ():
            yield IMAGE_BYTES if part.get("type") == "image" else 0
            yield len(canonical([part.get("name"), part.get("input")])) if part.get("type") == "tool_use" else 0
    for tool in body.tools or ():
        yield len(tool.name.encode()) + len((tool.description or "").encode())
        yield len(canonical(tool.input_schema)) if tool.input_schema else 0
