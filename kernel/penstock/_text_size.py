"""How much text a request or an answer is, in bytes: by it tokens are estimated."""

from __future__ import annotations

import msgspec

from penstock.types import ChatRequest, Message, Refusal, Text, Thinking, ToolCall, ToolResult

__all__ = ["is_text", "output_bytes", "text_bytes"]


def text_bytes(request: ChatRequest) -> int:
    """UTF-8 bytes of everything in the request that becomes text of the prompt."""
    size = 0
    for message in request.messages:
        size += _message_bytes(message)
    if request.system is not None:
        size += len(request.system.encode()) if isinstance(request.system, str) else _message_bytes(request.system)
    for tool in request.tools:
        size += len(tool.name) + len(tool.description.encode()) + len(msgspec.json.encode(tool.parameters))
    return size + (len(msgspec.json.encode(request.output.schema)) if request.output else 0)


def output_bytes(message: Message) -> int:
    """UTF-8 bytes of an answer's text, thinking and arguments."""
    size = 0
    for part in message.content:
        match part:
            case Text(text=text) | Thinking(text=text) | Refusal(text=text) | ToolCall(raw_arguments=text):
                size += len(text.encode(errors="surrogatepass"))
            case _:
                pass
    return size


def is_text(request: ChatRequest) -> bool:
    """True where everything in the messages is text, or arguments and results of tools."""
    for message in request.messages:
        for part in message.content:
            if isinstance(part, ToolResult):
                if not all(isinstance(held, Text) for held in part.content):
                    return False
            elif not isinstance(part, Text | ToolCall):
                return False
    return True


def _message_bytes(message: Message) -> int:
    size = 0
    for part in message.content:
        match part:
            case Text(text=text):
                size += len(text) if text.isascii() else len(text.encode())
            case ToolCall():
                size += len(part.name) + len(part.wire_arguments().encode())
            case ToolResult():
                size += len(part.text.encode())
            case _:
                pass
    return size
