"""What was asked and answered, for whoever asked to have it in traces: redacted, cut to a size, as the conventions say.

Off unless the configuration says otherwise. Each piece of text is redacted before it is cut: half a secret is one too.
Bytes of images never go out. Not here: what redacts (the hook `penstock_redact`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, assert_never

import msgspec

from penstock._content import Part
from penstock.telemetry import _names as n
from penstock.telemetry._attributes import MOST_CHARACTERS, Attributes
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


MARK = 32
"""Characters that the mark behind a text that was cut takes at most."""


class Capture:
    """Makes attributes of content. `limit` is the most characters of one attribute, as it stands there: as JSON."""

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
            self._say(
                said, n.SYSTEM_INSTRUCTIONS, lambda room: room.parts(part for each in system for part in each.content)
            )
        others = [message for message in request.messages if message.role != "system"]
        self._say(
            said, n.INPUT_MESSAGES, lambda room: room.messages((_role(each), each.content, "") for each in others)
        )
        if request.tools:
            self._say(said, n.TOOL_DEFINITIONS, lambda room: room.tools(request.tools))
        return said

    def answered(self, message: Message, finish_reason: str) -> Attributes:
        """The answer."""
        said: Attributes = {}
        answer = [("assistant", message.content, finish_reason)]
        self._say(said, n.OUTPUT_MESSAGES, lambda room: room.messages(answer))
        return said

    def _say(self, said: Attributes, name: str, tell: Callable[[_Room], Iterator[str]]) -> None:
        room = _Room(self._redact, self._limit)
        told = list(tell(room))
        if told or not room.full:
            said[name] = f"[{','.join(told)}]"
        if room.full:
            said[n.CONTENT_CUT] = True


class _Room:
    """What is left of one attribute. What comes behind the first thing that has no room is left out."""

    def __init__(self, redact: Callable[[str], str], limit: int) -> None:
        self._redact = redact
        self._left = limit - len("[]")
        self.full = self._left < 0

    def messages(self, messages: Iterable[tuple[str, Sequence[Part], str]]) -> Iterator[str]:
        """Role, content and finish reason of each; empty: it has none."""
        for role, content, finish_reason in messages:
            reason = f',"finish_reason":{_json(self._short(finish_reason))}' if finish_reason else ""
            head, tail = f'{{"role":{_json(role)},"parts":[', f"]{reason}}}"
            if not self._takes(len(head) + len(tail)):
                return
            yield f"{head}{','.join(self.parts(content))}{tail}"
            if self.full:
                return

    def parts(self, content: Iterable[Part]) -> Iterator[str]:
        """Those of one message."""
        for part in content:
            told, long = self._part(part)
            made = self._fitted(told, long)
            if made is not None:
                yield made
            if self.full:
                return

    def tools(self, tools: Iterable[Tool]) -> Iterator[str]:
        """Definitions of tools."""
        for tool in tools:
            told: dict[str, Any] = {"type": "function", "name": self._short(tool.name)}
            told["description"] = self._redact(tool.description)
            told["parameters"] = self._redact(_json(tool.parameters))
            made = self._fitted(told, "parameters")
            if made is not None:
                yield made
            if self.full:
                return

    def _takes(self, characters: int) -> bool:
        """Whether there is room for so many, and a comma."""
        if self.full or characters + 1 > self._left:
            self.full = True
            return False
        self._left -= characters + 1
        return True

    def _fitted(self, told: dict[str, Any], long: str) -> str | None:
        """As JSON, its long text cut to what there is room for; None: there is none."""
        made = _json(told)
        over = len(made) + 1 - self._left
        if over > 0:
            self.full = True
            found: str | list[dict[str, Any]] = told.get(long, "")
            text = found if isinstance(found, str) else "\n".join(str(each.get("content", "")) for each in found)
            keep = len(text) - over - MARK  # each character that goes is one at least as it stands there
            if keep < 0:
                return None
            told[long] = f"{text[:keep]}[{len(text) - keep} more characters]"
            made = _json(told)
        self._left -= len(made) + 1
        return made

    def _short(self, text: str) -> str:
        return self._redact(text)[:MOST_CHARACTERS]

    def _part(self, part: Part) -> tuple[dict[str, Any], str]:
        """What is told of a part, and which of it may be long."""
        match part:
            case Text():
                return {"type": "text", "content": self._redact(part.text)}, "content"
            case Thinking():
                return {"type": "reasoning", "content": self._redact(part.text)}, "content"
            case Refusal():
                return {"type": "refusal", "content": self._redact(part.text)}, "content"
            case ToolCall():
                told = {"type": "tool_call", "id": self._short(part.id), "name": self._short(part.name)}
                return {**told, "arguments": self._redact(part.wire_arguments())}, "arguments"
            case ToolResult():
                answers = {"type": "tool_call_response", "id": self._short(part.call_id)}
                return {**answers, "response": self._result(part)}, "response"
            case Image():
                return self._image(part), "uri"
            case ProviderPart():
                return {"type": "provider_part", "family": self._short(part.family)}, ""
            case _:
                assert_never(part)

    def _result(self, result: ToolResult) -> str | list[dict[str, Any]]:
        content = result.content
        if isinstance(content, str):
            return self._redact(content)
        return [self._part(each)[0] for each in content]

    def _image(self, image: Image) -> dict[str, Any]:
        if image.url is not None:
            return {"type": "uri", "modality": "image", "uri": self._redact(image.url)}
        return {
            "type": "image",
            "mime_type": self._short(image.media_type or ""),
            "bytes": len(image.data or b""),
        }


def _role(message: Message) -> str:
    return "tool" if any(isinstance(part, ToolResult) for part in message.content) else message.role


def _json(value: object) -> str:
    # A lone surrogate can be in what a model said; no JSON carries it.
    return msgspec.json.encode(value).decode(errors="replace")
