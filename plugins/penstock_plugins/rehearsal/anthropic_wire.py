"""Anthropic's Messages as its server writes them.

Not here: server tools, citations, batches, caching of prompts. Written from the wire facts alone, apart from penstock's
codec for the same wire.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.types import Headers, WireRequest
from penstock_plugins.rehearsal.anthropic_request import read_request
from penstock_plugins.rehearsal.ask import (
    Ask,
)
from penstock_plugins.rehearsal.chance import digest
from penstock_plugins.rehearsal.draft import Block, Draft
from penstock_plugins.rehearsal.faults import EventKind
from penstock_plugins.rehearsal.script import WireName
from penstock_plugins.rehearsal.wire import Event, Reply, Stamp, Trouble, header, sse

__all__ = ["AnthropicWire"]

_FINISH = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "filtered": "refusal",
}

_ERRORS: dict[Trouble, tuple[int, str, str]] = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed your account's rate limit."),
    "quota": (402, "billing_error", "Your credit balance is too low to access the API."),
    "server": (500, "api_error", "Internal server error"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "wrong_key": (401, "authentication_error", "invalid x-api-key"),
    "permission": (403, "permission_error", "Your account may not use this model."),
    "model_not_found": (404, "not_found_error", "model: not found"),
    "invalid_request": (400, "invalid_request_error", "Invalid value in the request."),
    "context_length": (400, "invalid_request_error", "prompt is too long: 200001 tokens > 200000 maximum"),
    "filtered": (400, "invalid_request_error", "Output blocked by content filtering policy"),
    "not_found": (404, "not_found_error", "Not found"),
    "method": (405, "invalid_request_error", "Method Not Allowed"),
    "too_large": (413, "request_too_large", "Request exceeds the maximum size"),
}
_RETRIED = frozenset({"rate_limit", "server", "overloaded"})


class AnthropicWire:
    """POST .../v1/messages."""

    name: WireName = "anthropic"

    def owns(self, path: str) -> bool:
        """With any prefix before it, as base URLs have."""
        return path.endswith("/v1/messages")

    def key(self, headers: Headers) -> str:
        """`x-api-key`, or a bearer token."""
        return header(headers, "x-api-key") or header(headers, "authorization").partition(" ")[2].strip()

    def read(self, request: WireRequest) -> Ask:
        """What is asked; raises BadRequest."""
        return read_request(request, key=self.key(request.headers))

    def body(self, ask: Ask, draft: Draft, stamp: Stamp) -> bytes:
        """A `message`."""
        message = _message(ask, stamp) | {"content": [_block(block) for block in draft.blocks]} | _ending(draft)
        usage = {"usage": _final_usage(draft) | {"service_tier": "standard"}} if draft.tells_usage else {}
        return msgspec.json.encode(message | usage)

    def stream(self, ask: Ask, draft: Draft, stamp: Stamp) -> tuple[Event, ...]:
        """From `message_start` to `message_stop`."""
        opening: dict[str, Any] = _message(ask, stamp) | {"content": [], "stop_reason": None, "stop_sequence": None}
        if draft.tells_usage:
            # The output count of the opening is provisional: the last one replaces it.
            opening["usage"] = _usage(draft.input_tokens, 1) | {"service_tier": "standard"}
        events = [_event("message_start", kind="start", message=opening)]
        for index, block in enumerate(draft.blocks):
            events += _block_events(index, block)
        events.insert(2, _event("ping", kind="ping"))
        ending: dict[str, Any] = {"delta": _ending(draft)}
        if draft.tells_usage:
            ending["usage"] = _final_usage(draft)
        return (*events, _event("message_delta", kind="finish", **ending), _event("message_stop", kind="end"))

    def hollow(self, ask: Ask) -> tuple[Event, ...]:
        """No content."""
        if not ask.streamed:
            return (Event(b'{"id":"msg_hollow","type":"message","role":"assistant"}'),)
        return (_event("message_start", kind="start"), _event("message_stop", kind="end"))

    def error(self, trouble: Trouble, stamp: Stamp, *, message: str = "", status: int | None = None) -> Reply:
        """`{"type": "error", ...}`."""
        usual, _, _ = _ERRORS[trouble]
        retry = ("x-should-retry", "true" if trouble in _RETRIED else "false")
        headers = (("content-type", "application/json"), retry, *self.identity(stamp))
        return Reply(status or usual, headers, (Event(msgspec.json.encode(_error(trouble, stamp, message))),))

    def error_event(self, trouble: Trouble, stamp: Stamp) -> bytes:
        """`event: error`."""
        return sse(msgspec.json.encode(_error(trouble, stamp, "")), "error")

    def exhausted(self, after_s: float, stamp: Stamp) -> Headers:
        """A moment by RFC 3339, in whole seconds: rounded up, or the client would come too early."""
        moment = datetime.fromtimestamp(math.ceil(stamp.wall + after_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            ("anthropic-ratelimit-tokens-limit", "80000"),
            ("anthropic-ratelimit-tokens-remaining", "0"),
            ("anthropic-ratelimit-tokens-reset", moment),
        )

    def kind_of(self, event: bytes, *, first: bool) -> EventKind:
        """Told by its name."""
        name = event.partition(b"\n")[0].removeprefix(b"event:").strip()
        kinds: dict[bytes, EventKind] = {
            b"message_start": "start",
            b"content_block_start": "start",
            b"ping": "ping",
            b"message_delta": "finish",
            b"message_stop": "end",
        }
        return "start" if first else kinds.get(name, "content")

    def identity(self, stamp: Stamp) -> Headers:
        """As Anthropic's edge names an exchange."""
        return (("request-id", f"req_{stamp.id}"),)


def _event(name: str, *, kind: EventKind = "content", tokens: int = 0, **fields: Any) -> Event:
    return Event(sse(msgspec.json.encode({"type": name, **fields}), name), kind, tokens)


def _message(ask: Ask, stamp: Stamp) -> dict[str, Any]:
    return {"id": f"msg_{stamp.id}", "type": "message", "role": "assistant", "model": ask.model}


def _ending(draft: Draft) -> dict[str, Any]:
    ending: dict[str, Any] = {"stop_reason": _FINISH[draft.finish], "stop_sequence": draft.stopped_by}
    if draft.finish == "filtered":
        ending["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    return ending


def _usage(input_tokens: int, output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": input_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": output_tokens,
    }


def _final_usage(draft: Draft) -> dict[str, Any]:
    thinking = {"output_tokens_details": {"thinking_tokens": draft.thinking_tokens}} if draft.thinking_tokens else {}
    return _usage(draft.input_tokens, draft.output_tokens) | thinking


def _block(block: Block) -> dict[str, Any]:
    match block.kind:
        case "thinking":
            return {"type": "thinking", "thinking": block.text, "signature": _signature(block)}
        case "text":
            return {"type": "text", "text": block.text}
        case "call":
            return {"type": "tool_use", "id": f"toolu_{block.id}", "name": block.name, "input": _input(block)}


def _input(block: Block) -> Any:
    try:
        return msgspec.json.decode(block.text)
    except msgspec.DecodeError:
        # Cut by max_tokens: what was said so far is no JSON yet.
        return {}


def _block_events(index: int, block: Block) -> Iterator[Event]:
    opening: dict[str, Any]
    match block.kind:
        case "thinking":
            opening, delta, field = {"type": "thinking", "thinking": "", "signature": ""}, "thinking_delta", "thinking"
        case "text":
            opening, delta, field = {"type": "text", "text": ""}, "text_delta", "text"
        case "call":
            opening = {"type": "tool_use", "id": f"toolu_{block.id}", "name": block.name, "input": {}}
            delta, field = "input_json_delta", "partial_json"
    yield _event("content_block_start", kind="start", index=index, content_block=opening)
    for fragment in block.fragments:
        said = {"type": delta, field: fragment.text}
        yield _event("content_block_delta", tokens=fragment.tokens, index=index, delta=said)
    if block.kind == "thinking":
        signed = {"type": "signature_delta", "signature": _signature(block)}
        yield _event("content_block_delta", kind="start", index=index, delta=signed)
    yield _event("content_block_stop", kind="start", index=index)


def _signature(block: Block) -> str:
    return digest(block.text.encode())


def _error(trouble: Trouble, stamp: Stamp, message: str) -> dict[str, Any]:
    _, kind, usual = _ERRORS[trouble]
    return {"type": "error", "error": {"type": kind, "message": message or usual}, "request_id": f"req_{stamp.id}"}
