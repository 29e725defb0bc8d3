"""Messages as this wire spells them: alternating turns of content blocks, and the system prompt apart.

Not here: the rest of the body (`_body`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any, TypeAlias, assert_never

from penstock.errors import UnsendableRequestError
from penstock.types import (
    CacheMark,
    ChatRequest,
    Image,
    Message,
    Part,
    ProviderPart,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from penstock_providers.anthropic_messages._models import CITATIONS
from penstock_providers.anthropic_messages._wire import FAMILY

__all__ = ["Block", "cache_mark", "images_taken", "system_prompt", "turns", "used_tools"]

Block: TypeAlias = dict[str, Any]
_UNFIT = re.compile(r"[^a-zA-Z0-9_-]")


def system_prompt(request: ChatRequest) -> str | list[Block] | None:
    """All instructions, in order: the request's own, then those of every system message.

    The wire has one place for them, before the conversation. One that stands later in the messages moves there too:
    as a user's turn it would lose its authority.
    """
    parts: list[Part] = []
    if isinstance(request.system, str):
        parts.append(Text(request.system))
    elif request.system is not None:
        parts.extend(request.system.content)
    for message in request.messages:
        if message.role == "system":
            parts.extend(message.content)
    texts = [part for part in parts if isinstance(part, Text)]
    if len(texts) < len(parts):
        raise UnsendableRequestError("a system prompt holds text only on this wire")
    return _content([_text(text) for text in texts if text.text.strip()]) or None


def turns(request: ChatRequest) -> list[dict[str, Any]]:
    """The conversation, neighbours of one role merged. Tool results are the user's, and stand first in their turn."""
    spoken: list[tuple[str, list[Block]]] = []
    for message in request.messages:
        role = "assistant" if message.role == "assistant" else "user"
        blocks = [] if message.role == "system" else _message_blocks(message)
        if blocks and spoken and spoken[-1][0] == role:
            spoken[-1][1].extend(blocks)
        elif blocks:
            spoken.append((role, blocks))
    if spoken and spoken[-1][0] == "assistant":
        _trim(spoken[-1][1])
    return [
        {"role": role, "content": _content(_results_first(blocks) if role == "user" else blocks)}
        for role, blocks in spoken
        if blocks
    ]


def cache_mark(mark: CacheMark | None) -> Block:
    """The field that asks the provider to keep the prompt up to here; five minutes are the wire's default."""
    match mark:
        case None:
            return {}
        case "5m":
            return {"cache_control": {"type": "ephemeral"}}
        case "1h":
            return {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
        case _:
            assert_never(mark)


def _message_blocks(message: Message) -> list[Block]:
    blocks = (_block(part, message.role) for part in message.content)
    return [block for block in blocks if block is not None]


def _block(part: Part, role: str) -> Block | None:
    """The block for a part; None for what is bound to another wire family, and for blank text, which is refused."""
    match part:
        case Text():
            return _text(part) if part.text.strip() else None
        case Refusal():
            return {"type": "text", "text": part.text} if part.text.strip() else None
        case Image():
            if role == "assistant":
                raise UnsendableRequestError("an assistant message holds no images on this wire")
            return _image(part)
        case Thinking():
            return _thinking(part)
        case ToolCall():
            arguments = {"input": part.raw_arguments} if part.kind == "custom" else part.arguments
            block = {"type": "tool_use", "id": _call_id(part.id), "name": part.name, "input": arguments}
            return block | cache_mark(part.cache)
        case ToolResult():
            return _tool_result(part)
        case ProviderPart():
            return dict(part.data) if part.family == FAMILY else None
        case _:
            assert_never(part)


def _text(part: Text) -> Block:
    block: Block = {"type": "text", "text": part.text}
    # Citations carry no family: those of other wires have other types.
    if part.citations and all(str(citation.get("type")).endswith(CITATIONS) for citation in part.citations):
        block["citations"] = list(part.citations)
    return block | cache_mark(part.cache)


def _image(part: Image) -> Block:
    if part.data is not None:
        data = base64.b64encode(part.data).decode()
        source = {"type": "base64", "media_type": part.media_type, "data": data}
    elif part.url is not None and _is_fetched(part.url):
        source = {"type": "url", "url": part.url}
    else:
        raise UnsendableRequestError("this wire takes an image by its bytes or by an https:// URL")
    return {"type": "image", "source": source, **cache_mark(part.cache)}


def _is_fetched(url: str) -> bool:
    """Whether the provider takes the image from there; others know URLs of their own clouds."""
    return url.startswith(("https://", "http://"))


def images_taken(request: ChatRequest) -> bool:
    """False where an image stands at a place that only other wires know."""
    parts = (part for message in request.messages for part in message.content)
    shown = (inner for part in parts for inner in (part.content if isinstance(part, ToolResult) else (part,)))
    return all(part.url is None or _is_fetched(part.url) for part in shown if isinstance(part, Image))


def used_tools(request: ChatRequest) -> tuple[str, ...]:
    """The names of the tools that were called in the conversation, each once."""
    parts = (part for message in request.messages for part in message.content)
    return tuple(dict.fromkeys(part.name for part in parts if isinstance(part, ToolCall)))


def _thinking(part: Thinking) -> Block | None:
    if part.family != FAMILY:
        return None
    if part.redacted is not None:
        return {"type": "redacted_thinking", "data": part.redacted}
    # Thinking that was cut before its signature came is refused by the provider.
    return {"type": "thinking", "thinking": part.text, "signature": part.signature} if part.signature else None


def _tool_result(part: ToolResult) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _call_id(part.call_id)}
    inner = [shown for item in part.content if (shown := _block(item, "user")) is not None]
    if inner:
        block["content"] = _content(inner)
    if part.is_error:
        block["is_error"] = True
    return block | cache_mark(part.cache)


def _call_id(id: str) -> str:
    """The id, in the letters the wire takes: call and result are changed alike, so that they still pair.

    Other families use dots and colons. Two ids that differ only there would meet, so the code points are spelled out.
    """
    return _UNFIT.sub(lambda match: f"_{ord(match[0]):x}_", id) or "_"


def _content(blocks: list[Block]) -> str | list[Block]:
    """A single plain text as a string, else the blocks."""
    match blocks:
        case [{"type": "text", "text": str(text), **rest}] if not rest:
            return text
        case _:
            return blocks


def _results_first(blocks: Iterable[Block]) -> list[Block]:
    return sorted(blocks, key=lambda block: block.get("type") != "tool_result")


def _trim(blocks: list[Block]) -> None:
    """An answer to go on from must not end in white space: the provider refuses the request."""
    if blocks[-1].get("type") == "text":
        blocks[-1] = blocks[-1] | {"text": blocks[-1]["text"].rstrip()}
