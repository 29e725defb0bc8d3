"""Messages as Chat Completions spells them.

Not here: the rest of the body (`_encode`). Parts bound to another wire family are left out; what this wire cannot
say is refused with UnsendableRequestError.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from hashlib import blake2b
from typing import Any, TypeAlias, assert_never

from penstock.errors import UnsendableRequestError
from penstock.types import (
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
from penstock_providers.openai_chat._models import LONGEST_ID
from penstock_providers.openai_chat._read import FAMILY
from penstock_providers.openai_chat._reasoning import reasoning_fields, reasoning_parts
from penstock_providers.openai_chat.dialects import Dialect

__all__ = ["wire_messages"]

Json: TypeAlias = dict[str, Any]


def wire_messages(request: ChatRequest, dialect: Dialect) -> list[Json]:
    """The list `messages`, with reasoning of this wire where the dialect takes it back.

    Tool results are messages of their own here, and must directly follow the calls: they come first in their turn.
    They hold text alone: images in them are shown by the user after the last of them.
    """
    wired: list[Json] = []
    shown: list[Json] = []
    for message in _all_messages(request):
        results = [part for part in message.content if isinstance(part, ToolResult)]
        rest = tuple(part for part in message.content if not isinstance(part, ToolResult))
        wired += map(_result, results)
        for result in results:
            shown += _images_of(result)
        if (rest or message.role == "assistant") and shown:
            wired.append({"role": "user", "content": shown})
            shown = []
        if message.role == "assistant":
            wired.append(_assistant(message, rest, dialect))
        elif rest:
            wired.append({"role": message.role, "content": _content(rest, message.role)} | _named(message))
    if shown:
        return [*wired, {"role": "user", "content": shown}]
    last = wired[-1] if wired else {}
    if dialect.prefill and last.get("role") == "assistant" and "tool_calls" not in last:
        wired[-1] = {**last, **dialect.prefill}
    return wired


def _all_messages(request: ChatRequest) -> Iterable[Message]:
    if request.system is not None:
        yield request.system if isinstance(request.system, Message) else Message.system(request.system)
    yield from request.messages


def _named(message: Message) -> Json:
    return {"name": message.name} if message.name else {}


def _result(result: ToolResult) -> Json:
    return {"role": "tool", "tool_call_id": _short(result.call_id), "content": result.text}


def _images_of(result: ToolResult) -> Iterable[Json]:
    """What a tool showed, with a word on which call it was: several may have been answered at once."""
    images = [part for part in result.content if isinstance(part, Image)]
    if images:
        yield {"type": "text", "text": f"What tool call {_short(result.call_id)} shows:"}
    for image in images:
        yield {"type": "image_url", "image_url": _image(image)}


def _assistant(message: Message, parts: tuple[Part, ...], dialect: Dialect) -> Json:
    wired: Json = {"role": "assistant"}
    content = tuple(part for part in parts if not isinstance(part, Thinking | ToolCall | Refusal))
    calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
    refusal = "".join(part.text for part in parts if isinstance(part, Refusal))
    said = _content(content, "assistant")
    if said or not calls:
        # A message that neither says nor calls anything still needs its content, and a refusal stands beside null.
        wired["content"] = said or (None if refusal else "")
    if refusal:
        wired["refusal"] = refusal
    if calls:
        wired["tool_calls"] = calls
    for part in parts:
        if isinstance(part, ProviderPart) and part.family == FAMILY and "type" not in part.data:
            wired |= _audio_by_id(part.data)
    thoughts = [part for part in parts if isinstance(part, Thinking) and part.family == FAMILY]
    if thoughts and dialect.reasoning_back == "content":
        wired["content"] = [*reasoning_parts(thoughts), *_as_parts(said)]
    elif thoughts and dialect.reasoning_back is not None:
        wired |= reasoning_fields(thoughts, dialect.reasoning_back)
    return wired | _named(message)


def _as_parts(said: str | list[Json]) -> list[Json]:
    if isinstance(said, list):
        return said
    return [{"type": "text", "text": said}] if said else []


def _audio_by_id(fields: Json) -> Json:
    """Audio the model spoke goes back by its id alone: the wire takes no more."""
    match fields:
        case {"audio": {"id": str(id)}}:
            return {**fields, "audio": {"id": id}}
        case _:
            return fields


def _call(call: ToolCall) -> Json:
    id = _short(call.id)
    if call.kind == "custom":
        return {"id": id, "type": "custom", "custom": {"name": call.name, "input": call.raw_arguments}}
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": call.wire_arguments()}}


def _short(id: str) -> str:
    """The id of a call as OpenAI takes it: vLLM's are longer than the 40 characters it allows."""
    if len(id) <= LONGEST_ID:
        return id
    return f"call_{blake2b(id.encode(errors='replace'), digest_size=16).hexdigest()}"


def _content(parts: tuple[Part, ...], role: str) -> str | list[Json]:
    """Text alone as a string, which every imitator takes; else the list of parts."""
    sent = [(part, wired) for part in parts if (wired := _part(part, role)) is not None]
    match sent:
        case []:
            return ""
        case [(Text(text=text), _)]:
            return text
        case _:
            return [wired for _, wired in sent]


def _part(part: Part, role: str) -> Json | None:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image():
            return {"type": "image_url", "image_url": _image(part)}
        case ProviderPart(family=family, data=data):
            return data if family == FAMILY and "type" in data else None
        case Thinking():
            return None
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}
        case ToolCall():
            raise UnsendableRequestError(f"a {role} message holds a tool call; only assistant messages may")
        case ToolResult():
            return None  # sent before, as a message of its own
    assert_never(part)


def _image(image: Image) -> Json:
    if image.data is not None:
        url = f"data:{image.media_type};base64,{b64encode(image.data).decode()}"
    else:
        url = image.url or ""
    return {"url": url} if image.detail is None else {"url": url, "detail": image.detail}
