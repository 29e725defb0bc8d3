"""What a request asks for, whichever wire it came on, and how its tokens are counted.

Not here: reading it from a wire (`openai_wire`, `anthropic_wire`). One rule counts all tokens: the UTF-8 bytes of the
text, divided by 4, rounded up. It is nobody's tokenizer, but everyone can check it by hand.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from penstock.types import Discreet
from penstock_plugins.rehearsal.chance import digest
from penstock_plugins.rehearsal.script import WireName

__all__ = ["IMAGE_BYTES", "Ask", "BadRequest", "ToolOffer", "canonical", "key_label", "object_in", "tokens_of"]

IMAGE_BYTES = 1024
"""What an image counts for: 256 tokens, whatever it shows."""


class ToolOffer(Discreet, frozen=True):
    """A tool the model may call."""

    shown = frozenset({"name"})

    name: str
    parameters: dict[str, Any] = {}


class Ask(Discreet, frozen=True, kw_only=True):
    """A request, read."""

    shown = frozenset({"wire", "model", "streamed", "include_usage", "thinking"})

    wire: WireName
    model: str
    key: str
    """The label of the caller's key."""
    streamed: bool
    include_usage: bool
    max_tokens: int | None
    thinking: bool
    stop: tuple[str, ...]
    tools: tuple[ToolOffer, ...]
    forced_tool: str | None
    """The tool that must be called; an empty string: any."""
    schema: dict[str, Any] | None
    """What the answer must fulfil as JSON."""
    prompt: str
    """The text of the last message, where a user wrote it; directives stand in it."""
    content: str
    """A digest of model and prompt: equal requests have equal ones, streamed or not."""
    input_tokens: int


class BadRequest(ValueError):  # noqa: N818 - it is the wire's own word for what it becomes there
    """The request is not one of this wire: the sentence says why."""


def tokens_of(text_bytes: int) -> int:
    """Tokens of so many bytes of text."""
    return -(-text_bytes // 4)


def key_label(secret: str) -> str:
    """A name for a key that does not tell it: `key-` and six hexadecimal digits."""
    return f"key-{digest(secret.encode())[:6]}" if secret else "no-key"


def object_in(value: Any) -> dict[str, Any] | None:
    """Foreign JSON, where it is an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def canonical(value: Any) -> bytes:
    """JSON with sorted keys."""
    return msgspec.json.encode(value, order="deterministic")
