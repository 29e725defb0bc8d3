"""What Anthropic's answers mean: content blocks to parts, stop reasons and usage to penstock's words.

Not here: streams (`_stream`) and errors (`_errors`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.errors import MalformedResponseError
from penstock.types import Completion, Message, Part, ProviderPart, Text, Thinking, ToolCall, Usage, WireResponse
from penstock_providers.anthropic_messages._wire import (
    FAMILY,
    Iteration,
    MessageBody,
    UsageBody,
    json_list,
    json_object,
    usage_body,
)

__all__ = ["completion_of", "finish_reason", "latest", "part_of", "usage_of"]

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "refusal",
}
_BILLED_APART = frozenset({"compaction", "advisor_message"})


def completion_of(response: WireResponse, body: dict[str, Any]) -> Completion:
    """The answer in the body of a 2xx response. Raises MalformedResponseError."""
    try:
        read = msgspec.convert(body, MessageBody)
    except msgspec.ValidationError as error:
        raise MalformedResponseError(f"the response is no Anthropic message: {error}") from None
    message = Message("assistant", tuple(part_of(block) for block in read.content))
    usage = usage_body(read.usage)
    return Completion(
        message=message,
        finish_reason=finish_reason(read.stop_reason, message),
        usage=None if usage is None else usage_of(usage),
        model=read.model or "",
        id=read.id or "",
        request_id=response.header("request-id"),
        raw=body,
    )


def part_of(block: dict[str, Any]) -> Part:
    """A whole content block as a part. Raises MalformedResponseError where a known one lacks a field."""
    match block:
        case {"type": "text", "text": str(text)}:
            return Text(text, citations=citations_of(block))
        case {"type": "thinking", "thinking": str(text)}:
            return Thinking(text, _string(block, "signature") or None, family=FAMILY)
        case {"type": "redacted_thinking", "data": str(data)}:
            return Thinking("", redacted=data, family=FAMILY)
        case {"type": "tool_use", "id": str(id), "name": str(name), "input": dict()}:
            arguments: dict[str, Any] = block["input"]
            raw = msgspec.json.encode(arguments).decode() if arguments else ""
            return ToolCall(id, name, arguments, raw)
        case {"type": "text" | "thinking" | "redacted_thinking" | "tool_use" as kind}:
            raise MalformedResponseError(f"a content block of type {kind} lacks one of its fields")
        case {"type": str()}:
            return ProviderPart(FAMILY, block)
        case _:
            raise MalformedResponseError("a content block has no type")


def citations_of(block: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """The citations of a text block; the field may be missing, null or empty."""
    return tuple(filter(None, map(json_object, json_list(block.get("citations")) or ())))


def finish_reason(stop_reason: str, message: Message) -> str:
    """The stop reason in penstock's words; the wire's own where there is none.

    `model_context_window_exceeded` stays as it is: unlike `length`, a larger `max_tokens` does not help.
    """
    known = _FINISH.get(stop_reason, stop_reason)
    return "tool_calls" if known == "stop" and message.tool_calls else known


def latest(old: UsageBody | None, new: UsageBody | None) -> UsageBody | None:
    """Usage after another report: cumulative figures replace each other, and what is not told again stays."""
    if old is None or new is None:
        return new or old
    told = {name: value for name in new.__struct_fields__ if (value := getattr(new, name)) is not None}
    return msgspec.structs.replace(old, **told)


def usage_of(body: UsageBody) -> Usage:
    """Usage, normalised: input includes what the cache read and wrote.

    The top-level figures leave out the passes that summarise the conversation or ask another model. These are billed
    too, so they are counted here.
    """
    aside: list[Iteration] = [item for item in body.iterations or () if item.type in _BILLED_APART]
    read = (body.cache_read_input_tokens or 0) + sum(item.cache_read_input_tokens or 0 for item in aside)
    written = (body.cache_creation_input_tokens or 0) + sum(item.cache_creation_input_tokens or 0 for item in aside)
    fresh = (body.input_tokens or 0) + sum(item.input_tokens or 0 for item in aside)
    details = body.output_tokens_details
    parts = (read, written, fresh, body.output_tokens or 0)
    if min(parts) < 0:
        # No part of a sum may hide a wrong one: the kernel does not believe it, and says so.
        return Usage(input_tokens=min(parts))
    return Usage(
        input_tokens=fresh + read + written,
        cached_input_tokens=read,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(written, _kept_an_hour(body) + sum(map(_kept_an_hour, aside))),
        output_tokens=(body.output_tokens or 0) + sum(item.output_tokens or 0 for item in aside),
        reasoning_tokens=0 if details is None else details.thinking_tokens or 0,
        kinds=_searches(body),
        estimated=body.input_tokens is None or body.output_tokens is None,
    )


def _searches(body: UsageBody) -> dict[str, int]:
    searches = (json_object(body.server_tool_use) or {}).get("web_search_requests")
    return {"web_searches": searches} if isinstance(searches, int) and searches > 0 else {}


def _kept_an_hour(usage: UsageBody | Iteration) -> int:
    creation = usage.cache_creation
    return 0 if creation is None else creation.ephemeral_1h_input_tokens or 0


def _string(block: dict[str, Any], name: str) -> str:
    value = block.get(name)
    return value if isinstance(value, str) else ""
