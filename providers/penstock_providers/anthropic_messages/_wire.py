"""The JSON that Anthropic sends, as msgspec structs: messages, stream events, errors, usage.

Only what is read is named; everything else passes unread. Content blocks and deltas stay dicts: unknown ones are kept
whole and sent back unchanged. Not here: what it all means (`_read`, `_stream`, `_errors`), and what is sent (`_body`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import msgspec
from msgspec import Struct

__all__ = [
    "FAMILY",
    "KNOWN_EVENTS",
    "UNREADABLE",
    "BlockDelta",
    "BlockStart",
    "BlockStop",
    "CacheCreation",
    "ErrorEvent",
    "Event",
    "Iteration",
    "MessageBody",
    "MessageDelta",
    "MessageStart",
    "MessageStop",
    "Ping",
    "StartedMessage",
    "Stop",
    "TokenDetails",
    "Typed",
    "UsageBody",
    "decode_event",
    "decode_typed",
    "json_list",
    "json_object",
    "usage_body",
]

FAMILY = "anthropic-messages"
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON that was asked for; the last for lists a thousand deep."""


class CacheCreation(Struct, frozen=True):
    """What was written to the prompt cache, by how long it is kept."""

    ephemeral_1h_input_tokens: int | None = None


class TokenDetails(Struct, frozen=True):
    """What the output tokens were spent on."""

    thinking_tokens: int | None = None


class Iteration(Struct, frozen=True):
    """One of several passes behind one response."""

    type: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None


class UsageBody(Struct, frozen=True):
    """Tokens. `input_tokens` leaves out what the cache read and wrote. None: not told here."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: TokenDetails | None = None
    server_tool_use: Any = None
    """What the server ran by itself. Its searches cost something beside their tokens."""
    iterations: list[Iteration] | None = None


def usage_body(told: Any) -> UsageBody | None:
    """Usage as the wire has it; None where there is none, or none that can be read: that costs nobody an answer."""
    if told is None:
        return None
    try:
        return msgspec.convert(told, UsageBody, strict=False)  # some count in 12.0
    except msgspec.ValidationError:
        return None


class MessageBody(Struct, frozen=True):
    """A whole message, the body of an unstreamed answer."""

    content: list[dict[str, Any]]
    stop_reason: str
    model: str | None = None
    id: str | None = None
    usage: Any = None
    """Read by `usage_body`, as everywhere."""


class StartedMessage(Struct, frozen=True):
    """The message as a stream starts it: still without content and stop reason."""

    model: str | None = None
    id: str | None = None
    usage: Any = None


class MessageStart(Struct, frozen=True, tag="message_start"):
    """The first event."""

    message: StartedMessage


class BlockStart(Struct, frozen=True, tag="content_block_start"):
    """A content block begins; blocks of server tools' results come whole here."""

    index: int
    content_block: dict[str, Any]


class BlockDelta(Struct, frozen=True, tag="content_block_delta"):
    """More of a block."""

    index: int
    delta: dict[str, Any]


class BlockStop(Struct, frozen=True, tag="content_block_stop"):
    """A block is whole."""

    index: int


class Stop(Struct, frozen=True):
    """Why the message ended."""

    stop_reason: str | None = None


class MessageDelta(Struct, frozen=True, tag="message_delta"):
    """The stop reason, and the usage so far: it replaces what was told before."""

    delta: Stop = Stop()
    usage: Any = None


class MessageStop(Struct, frozen=True, tag="message_stop"):
    """The last event."""


class Ping(Struct, frozen=True, tag="ping"):
    """Nothing but a sign of life."""


class ErrorEvent(Struct, frozen=True, tag="error"):
    """The stream failed. Read loosely, in `_errors`: what tells of an error must not fail for a field."""

    error: Any = None
    request_id: Any = None


Event: TypeAlias = MessageStart | BlockStart | BlockDelta | BlockStop | MessageDelta | MessageStop | Ping | ErrorEvent
KNOWN_EVENTS = frozenset(
    {
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    }
)


class Typed(Struct, frozen=True):
    """Any JSON object of the wire, read for what it is alone."""

    type: Any = None
    error: Any = None


decode_event: Callable[[str], Event] = msgspec.json.Decoder(Event).decode
decode_typed: Callable[[str], Typed] = msgspec.json.Decoder(Typed).decode


def json_object(value: object) -> dict[str, Any] | None:
    """The value, where it is a JSON object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def json_list(value: object) -> list[Any] | None:
    """The value, where it is a JSON array."""
    return value if isinstance(value, list) else None  # pyright: ignore[reportUnknownVariableType] - mypy knows it
