"""What of a conversation another target can be given: parts bound to one wire family, images, calls, and their ids.

Not here: the request's parameters, and what to do where one is refused (`fitting`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import attrs
import msgspec

from penstock.types import (
    Capabilities,
    ChatRequest,
    Image,
    Message,
    Part,
    ProviderPart,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

__all__ = ["Held", "Taken", "held_in", "without_foreign_parts"]

Kind = Literal["thinking", "provider_part", "citations", "image", "tool_call", "tool_result"]


@attrs.frozen
class Taken:
    """What the target takes of a conversation."""

    family: str
    provider: str = ""
    """The target's. Empty: not known."""
    model: str = ""
    """The target's; a signature of another is refused. Empty: not known."""
    bound_to: Literal["family", "provider"] = "family"
    thinking: Literal["any", "signed", "none"] = "any"
    citations: str | None = ""
    images: bool = True
    tools: bool = True
    ids: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """New ids of tool calls, by the old ones."""

    @classmethod
    def by(cls, capabilities: Capabilities, family: str, provider: str, model: str) -> Taken:
        """What a model takes that may be given images and tools."""
        return cls(
            family,
            provider,
            model,
            capabilities.parts_bound_to,
            capabilities.thinking_parts,
            capabilities.citations,
        )


@attrs.frozen
class Held:
    """What a conversation holds beside plain text, found in one pass over it."""

    call_ids: tuple[str, ...] = ()
    """Of calls and results, in their order."""
    images: bool = False
    bound: bool = False
    """True where parts may be bound to a wire family."""


PLAIN = Held()


def held_in(request: ChatRequest) -> Held:
    """What the messages hold. Nearly always it is text alone, and that costs next to nothing."""
    call_ids: list[str] = []
    images = bound = False
    messages = (request.system, *request.messages) if isinstance(request.system, Message) else request.messages
    for message in messages:
        for part in message.content:
            match part:
                case Text():
                    bound = bound or bool(part.citations)
                case Image():
                    images = True
                case ToolCall(id=id):
                    call_ids.append(id)
                case ToolResult(call_id=id, content=content):
                    call_ids.append(id)
                    images = images or any(isinstance(shown, Image) for shown in content)
                    bound = bound or any(isinstance(shown, Text) and shown.citations for shown in content)
                case Thinking() | ProviderPart():
                    bound = True
                case _:
                    pass
    return Held(tuple(call_ids), images, bound) if call_ids or images or bound else PLAIN


def without_foreign_parts(request: ChatRequest, taken: Taken) -> tuple[ChatRequest, tuple[Kind, ...]]:
    """The request with what the target takes of its conversation, and the kind of each part that was left out.

    A message of which nothing is left goes as well. What stays is the same object where nothing in it changed.
    """
    left_out: list[Kind] = []
    messages = [
        kept for message in request.messages if (kept := _refitted(message, taken, left_out)).content or kept is message
    ]
    changes: dict[str, object] = {}
    if len(messages) != len(request.messages) or any(
        new is not old for new, old in zip(messages, request.messages, strict=True)
    ):
        changes["messages"] = tuple(messages)
    if isinstance(request.system, Message):
        system = _refitted(request.system, taken, left_out)
        if system is not request.system:
            changes["system"] = system if system.content else None
    return (msgspec.structs.replace(request, **changes) if changes else request), tuple(left_out)


def _refitted(message: Message, taken: Taken, left_out: list[Kind]) -> Message:
    content = tuple(kept for part in message.content if (kept := _kept(part, taken, left_out)) is not None)
    if _same(content, message.content):
        return message
    return Message(message.role, content, message.name)


def _kept(part: Part, taken: Taken, left_out: list[Kind]) -> Part | None:
    """The part as the target takes it; None where it does not, and its kind is noted."""
    kind: Kind
    match part:
        case Text():
            return _text(part, taken, left_out)
        case Image() if not taken.images:
            kind = "image"
        case Thinking() if not _takes_thinking(part, taken):
            kind = "thinking"
        case ProviderPart() if not _takes_bound(part, taken):
            kind = "provider_part"
        case ToolCall() if not taken.tools:
            kind = "tool_call"
        case ToolResult() if not taken.tools:
            kind = "tool_result"
        case ToolCall():
            return msgspec.structs.replace(part, id=taken.ids[part.id]) if part.id in taken.ids else part
        case ToolResult():
            return _result(part, taken, left_out)
        case _:
            return part
    left_out.append(kind)
    return None


def _text(text: Text, taken: Taken, left_out: list[Kind]) -> Text:
    """Citations carry no family. They are told apart by their types, and all of one text are of one wire."""
    ending = taken.citations
    if not text.citations or (
        ending is not None and all(str(citation.get("type")).endswith(ending) for citation in text.citations)
    ):
        return text
    left_out.append("citations")
    return msgspec.structs.replace(text, citations=())


def _takes_bound(part: Thinking | ProviderPart, taken: Taken) -> bool:
    if part.family != taken.family:
        return False
    return taken.bound_to == "family" or _same_name(part.provider, taken.provider)


def _takes_thinking(part: Thinking, taken: Taken) -> bool:
    if not _takes_bound(part, taken) or taken.thinking == "none":
        return False
    same_model = _same_name(part.model, taken.model)
    if taken.thinking == "any":
        return taken.bound_to == "family" or same_model
    # A signature may have been cut off with the stream that was to bring it.
    return same_model and (bool(part.signature) or part.redacted is not None)


def _same_name(one: str, other: str) -> bool:
    """Who made a part is not known where the kernel did not see it made: then it may have been the target."""
    return not (one and other) or one == other


def _result(result: ToolResult, taken: Taken, left_out: list[Kind]) -> ToolResult:
    shown: list[Text | Image] = []
    for part in result.content:
        if isinstance(part, Image):
            if taken.images:
                shown.append(part)
            else:
                left_out.append("image")
        else:
            shown.append(_text(part, taken, left_out))
    id = taken.ids.get(result.call_id, result.call_id)
    if id == result.call_id and _same(shown, result.content):
        return result
    return ToolResult(id, tuple(shown), result.is_error, result.cache)


def _same(new: Iterable[Part], old: Iterable[Part]) -> bool:
    kept, had = tuple(new), tuple(old)
    return len(kept) == len(had) and all(one is other for one, other in zip(kept, had, strict=True))
