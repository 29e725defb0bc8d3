"""What was asked and answered, for whoever asked to have it in traces: redacted, cut to a size, as the conventions say.

Off unless the configuration says otherwise. Each piece of text is redacted before it is cut: half a secret is one too.
Bytes of images never go out. Not here: what redacts (the hook `penstock_redact`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from penstock.telemetry import _names as n
from penstock.telemetry._attributes import Attributes
from penstock.types import (
    ChatRequest,
    Image,
    Message,
    ProviderPart,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

__all__ = ["Capture"]


class Capture:
    """Makes attributes of content. `limit` is the most characters of text in one attribute."""

    def __init__(self, redact: Callable[[str], str], limit: int) -> None:
        """`redact` must not raise."""
        self._redact = redact
        self._limit = limit

    def asked(self, request: ChatRequest) -> Attributes:
        """The conversation, the system's instructions and the tools of a request."""
        said: Attributes = {}
        system = [message for message in request.messages if message.role == "system"]
        if request.system is not None:
            given = request.system
            system.insert(0, given if isinstance(given, Message) else Message.system(given))
        if system:
            parts = _Budget(self._redact, self._limit)
            said[n.SYSTEM_INSTRUCTIONS] = _json([part for message in system for part in parts.of(message)])
        budget = _Budget(self._redact, self._limit)
        others = [message for message in request.messages if message.role != "system"]
        said[n.INPUT_MESSAGES] = _json([{"role": _role(each), "parts": list(budget.of(each))} for each in others])
        if request.tools:
            said[n.TOOL_DEFINITIONS] = _json(self._tools(request.tools))
        return said

    def answered(self, message: Message, finish_reason: str) -> Attributes:
        """The answer."""
        parts = list(_Budget(self._redact, self._limit).of(message))
        return {n.OUTPUT_MESSAGES: _json([{"role": "assistant", "parts": parts, "finish_reason": finish_reason}])}

    def _tools(self, tools: Sequence[Tool]) -> list[dict[str, Any]]:
        budget = _Budget(self._redact, self._limit)
        return [
            {
                "type": "function",
                "name": budget.text(tool.name),
                "description": budget.text(tool.description),
                "parameters": budget.text(_json(tool.parameters)),
            }
            for tool in tools
        ]


class _Budget:
    """The characters that are left of one attribute."""

    def __init__(self, redact: Callable[[str], str], limit: int) -> None:
        self._redact = redact
        self._left = limit

    def text(self, text: str) -> str:
        """What may go out of a text."""
        redacted = self._redact(text)
        shown = redacted[: self._left]
        self._left -= len(shown)
        cut = len(redacted) - len(shown)
        return f"{shown}[{cut} more characters]" if cut else shown

    def of(self, message: Message) -> Iterator[dict[str, Any]]:
        """The parts of a message."""
        for part in message.content:
            match part:
                case Text():
                    yield {"type": "text", "content": self.text(part.text)}
                case Thinking():
                    yield {"type": "reasoning", "content": self.text(part.text)}
                case Refusal():
                    yield {"type": "refusal", "content": self.text(part.text)}
                case ToolCall():
                    arguments = self.text(part.wire_arguments())
                    yield {"type": "tool_call", "id": part.id, "name": self.text(part.name), "arguments": arguments}
                case ToolResult():
                    yield {"type": "tool_call_response", "id": part.call_id, "response": self._result(part)}
                case Image():
                    yield self._image(part)
                case ProviderPart():
                    yield {"type": "provider_part", "family": part.family}

    def _result(self, result: ToolResult) -> str | list[dict[str, Any]]:
        content = result.content
        if isinstance(content, str):
            return self.text(content)
        return [
            {"type": "text", "content": self.text(each.text)} if isinstance(each, Text) else self._image(each)
            for each in content
        ]

    def _image(self, image: Image) -> dict[str, Any]:
        if image.url is not None:
            return {"type": "uri", "modality": "image", "uri": self.text(image.url)}
        return {"type": "image", "mime_type": image.media_type, "bytes": len(image.data or b"")}


def _role(message: Message) -> str:
    return "tool" if any(isinstance(part, ToolResult) for part in message.content) else message.role


def _json(value: object) -> str:
    # A lone surrogate can be in what a model said; no JSON carries it.
    return msgspec.json.encode(value).decode(errors="replace")
