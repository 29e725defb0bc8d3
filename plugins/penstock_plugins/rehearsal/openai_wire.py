"""OpenAI's Chat Completions as its server writes them.

Not here: Azure's deployments, `n` above 1, audio, log probabilities. Written from the wire facts alone, apart from
penstock's codec for the same wire. Thinking is billed and not shown, as on the real wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.types import Headers, WireRequest
from penstock_plugins.rehearsal.ask import (
    Ask,
)
from penstock_plugins.rehearsal.draft import Block, Draft
from penstock_plugins.rehearsal.faults import EventKind
from penstock_plugins.rehearsal.openai_request import read_request
from penstock_plugins.rehearsal.script import WireName
from penstock_plugins.rehearsal.wire import Event, Reply, Stamp, Trouble, header, sse

__all__ = ["OpenAIWire"]

_FINISH = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "filtered": "content_filter",
}

_ERRORS: dict[Trouble, tuple[int, str, str | None, str]] = {
    "rate_limit": (429, "tokens", "rate_limit_exceeded", "Rate limit reached for this model on tokens per min."),
    "quota": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota: check your billing."),
    "server": (500, "server_error", None, "The server had an error while processing your request."),
    "overloaded": (503, "server_error", "overloaded", "The engine is currently overloaded."),
    "wrong_key": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "permission": (403, "invalid_request_error", "permission_denied", "Your project may not use this model."),
    "model_not_found": (404, "invalid_request_error", "model_not_found", "The model does not exist."),
    "invalid_request": (400, "invalid_request_error", "invalid_value", "Invalid value in the request."),
    "context_length": (
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "This model's maximum context length is smaller than your messages.",
    ),
    "filtered": (400, "invalid_request_error", "content_filter", "The prompt was refused by the content filter."),
    "not_found": (404, "invalid_request_error", "unknown_url", "Unknown request URL."),
    "method": (405, "invalid_request_error", None, "This URL takes POST only."),
    "too_large": (413, "invalid_request_error", None, "The request body is too large."),
}
_SHOULD_RETRY = {"rate_limit": "true", "overloaded": "true"}


class OpenAIWire:
    """POST .../chat/completions."""

    name: WireName = "openai"

    def owns(self, path: str) -> bool:
        """With any prefix before it, as base URLs have."""
        return path.endswith("/chat/completions")

    def key(self, headers: Headers) -> str:
        """A bearer token, or what Azure takes."""
        scheme, _, token = header(headers, "authorization").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else header(headers, "api-key")

    def read(self, request: WireRequest) -> Ask:
        """What is asked; raises BadRequest."""
        return read_request(request, key=self.key(request.headers))

    def body(self, ask: Ask, draft: Draft, stamp: Stamp) -> bytes:
        """A `chat.completion`."""
        text = "".join(block.text for block in draft.blocks if block.kind == "text")
        calls = [
            {"id": _call_id(block), "type": "function", "function": {"name": block.name, "arguments": block.text}}
            for block in draft.blocks
            if block.kind == "call"
        ]
        message: dict[str, Any] = {"role": "assistant", "content": None if calls else text, "refusal": None}
        if calls:
            message["tool_calls"] = calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[draft.finish]}
        usage = {"usage": _usage(draft)} if draft.tells_usage else {}
        return msgspec.json.encode(_frame(ask, stamp, "chat.completion", [choice]) | usage)

    def stream(self, ask: Ask, draft: Draft, stamp: Stamp) -> tuple[Event, ...]:
        """`chat.completion.chunk`s and `[DONE]`."""
        counted = {"usage": None} if ask.include_usage else {}

        def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return sse(msgspec.json.encode(_frame(ask, stamp, "chat.completion.chunk", [choice]) | counted))

        opening = chunk({"role": "assistant", "content": "", "refusal": None})
        # Hidden thinking has happened before the first word.
        events = [Event(opening, "start", draft.thinking_tokens)]
        for delta, tokens in _deltas(draft.blocks):
            events.append(Event(chunk(delta), "content", tokens))
        events.append(Event(chunk({}, _FINISH[draft.finish]), "finish"))
        if ask.include_usage and draft.tells_usage:
            payload = _frame(ask, stamp, "chat.completion.chunk", []) | {"usage": _usage(draft)}
            events.append(Event(sse(msgspec.json.encode(payload)), "usage"))
        return (*events, Event(sse(b"[DONE]"), "end"))

    def hollow(self, ask: Ask) -> tuple[Event, ...]:
        """No choices."""
        if not ask.streamed:
            return (Event(b'{"id":"chatcmpl-hollow","object":"chat.completion","model":null}'),)
        return (Event(sse(b'{"id":"chatcmpl-hollow","object":"chat.completion.chunk"}')), Event(sse(b"[DONE]"), "end"))

    def error(self, trouble: Trouble, stamp: Stamp, *, message: str = "", status: int | None = None) -> Reply:
        """`{"error": {...}}`."""
        usual, _, _, _ = _ERRORS[trouble]
        headers = (("content-type", "application/json"), *self.identity(stamp))
        retry = _SHOULD_RETRY.get(trouble)
        if retry is not None:
            headers = (*headers, ("x-should-retry", retry))
        return Reply(status or usual, headers, (Event(msgspec.json.encode(_error(trouble, message))),))

    def error_event(self, trouble: Trouble, stamp: Stamp) -> bytes:  # noqa: ARG002 - other wires name the exchange
        """The same object as data of the stream."""
        return sse(msgspec.json.encode(_error(trouble, "")))

    def exhausted(self, after_s: float, stamp: Stamp) -> Headers:  # noqa: ARG002 - other wires tell a moment
        """Durations as Go prints them."""
        return (
            ("x-ratelimit-limit-tokens", "30000"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", f"{after_s:g}s" if after_s >= 1 else f"{after_s * 1000:g}ms"),
        )

    def kind_of(self, event: bytes, *, first: bool) -> EventKind:
        """Told by the fields a chunk fills."""
        if event.startswith(b":"):
            return "ping"
        if b"[DONE]" in event:
            return "end"
        if b'"choices":[]' in event.replace(b" ", b""):
            return "usage"
        if b'"finish_reason":"' in event.replace(b" ", b""):
            return "finish"
        return "start" if first else "content"

    def identity(self, stamp: Stamp) -> Headers:
        """As OpenAI's edge names an exchange."""
        return (("openai-version", "2020-10-01"), ("x-request-id", f"req_{stamp.id}"))


def _frame(ask: Ask, stamp: Stamp, kind: str, choices: list[Any]) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{stamp.id}",
        "object": kind,
        "created": int(stamp.wall),
        "model": ask.model,
        "service_tier": "default",
        "system_fingerprint": "fp_rehearsal",
        "choices": choices,
    }


def _deltas(blocks: tuple[Block, ...]) -> Iterator[tuple[dict[str, Any], int]]:
    index = -1
    for block in blocks:
        if block.kind == "text":
            yield from (({"content": fragment.text}, fragment.tokens) for fragment in block.fragments)
        elif block.kind == "call":
            index += 1
            function = {"name": block.name, "arguments": ""}
            yield {"tool_calls": [{"index": index, "id": _call_id(block), "type": "function", "function": function}]}, 0
            for fragment in block.fragments:
                yield {"tool_calls": [{"index": index, "function": {"arguments": fragment.text}}]}, fragment.tokens


def _call_id(block: Block) -> str:
    return f"call_{block.id}"


def _usage(draft: Draft) -> dict[str, Any]:
    return {
        "prompt_tokens": draft.input_tokens,
        "completion_tokens": draft.output_tokens,
        "total_tokens": draft.input_tokens + draft.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": draft.thinking_tokens, "audio_tokens": 0},
    }


def _error(trouble: Trouble, message: str) -> dict[str, Any]:
    _, kind, code, usual = _ERRORS[trouble]
    return {"error": {"message": message or usual, "type": kind, "param": None, "code": code}}
