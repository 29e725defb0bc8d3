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
from penstock_providers.openai_chat._models import LONGEST_ID, is_mistral
from penstock_providers.openai_chat._read import FAMILY
from penstock_providers.openai_chat._reasoning import reasoning_as_written, reasoning_chunks, reasoning_fields
from penstock_providers.openai_chat.dialects import Dialect

__all__ = ["tells_errors", "wire_messages"]

Json: TypeAlias = dict[str, Any]

_BRIDGE = "Understood."


def wire_messages(request: ChatRequest, model: str, dialect: Dialect) -> list[Json]:
    """The list `messages`, as the server takes it of that model.

    Tool results are messages of their own here, and must directly follow the calls: whatever else was said before the
    last of them came is said after it. They hold text alone: images in them are shown by the user after that.
    """
    messages = _all_messages(request)
    if not any(map(_is_more_than_text, messages)):
        said = [_one_text(message, model, dialect) for message in messages]
        return _to_go_on_from(said, dialect)
    wired: list[Json] = []
    shown: list[Json] = []
    for message in _answered_at_once(messages):
        results = [part for part in message.content if isinstance(part, ToolResult)]
        rest = tuple(part for part in message.content if not isinstance(part, ToolResult))
        wired += map(_result, results)
        for result in results:
            shown += _images_of(result)
        if (rest or message.role == "assistant") and shown:
            wired.append({"role": "user", "content": shown})
            shown = []
        if message.role == "assistant":
            wired.append(_assistant(message, rest, model, dialect))
        elif rest:
            wired.append({"role": message.role, "content": _content(rest, message.role)} | _named(message, dialect))
    if shown:
        wired.append({"role": "user", "content": shown})
    wired = _to_go_on_from(wired, dialect)
    # Mistral's models let nobody else speak there, wherever they run.
    return wired if dialect.user_after_tool and not is_mistral(model) else _bridged(wired)


def _is_more_than_text(message: Message) -> bool:
    """False for one text of anybody but a tool: of such messages none has to be moved, split or bridged."""
    content = message.content
    return len(content) != 1 or type(content[0]) is not Text or message.role == "tool"


def _one_text(message: Message, model: str, dialect: Dialect) -> Json:
    if message.role == "assistant":
        return _assistant(message, message.content, model, dialect)
    [said] = message.content
    assert isinstance(said, Text)
    wired = {"role": message.role, "content": said.text}
    return wired | _named(message, dialect) if message.name else wired


def _to_go_on_from(wired: list[Json], dialect: Dialect) -> list[Json]:
    """The same, with a last message of the assistant's marked as the beginning of its answer."""
    last = wired[-1] if wired else {}
    if dialect.prefill and last.get("role") == "assistant" and "tool_calls" not in last:
        wired[-1] = {**last, **dialect.prefill}
    return wired


def tells_errors(request: ChatRequest) -> bool:
    """True where a tool has failed: the messages say it in words."""
    parts = (part for message in request.messages for part in message.content)
    return any(isinstance(part, ToolResult) and part.is_error for part in parts)


def _bridged(wired: list[Json]) -> list[Json]:
    """The same with a word of the assistant's wherever anybody else speaks right after a tool."""
    bridged: list[Json] = []
    for message in wired:
        if bridged and bridged[-1]["role"] == "tool" and message["role"] not in ("tool", "assistant"):
            bridged.append({"role": "assistant", "content": _BRIDGE})
        bridged.append(message)
    return bridged


def _all_messages(request: ChatRequest) -> list[Message]:
    system = request.system
    if system is None:
        return list(request.messages)
    return [system if isinstance(system, Message) else Message.system(system), *request.messages]


def _answered_at_once(messages: list[Message]) -> Iterable[Message]:
    """The messages with the results of calls drawn up to them, over what was said in between.

    Other wires take calls of several messages in a row, answered after them all, and a user who speaks between two
    results. Results are sought up to where the assistant speaks again after that: beyond it they answer nothing.
    """
    at = 0
    while at < len(messages):
        if not messages[at].tool_calls:
            yield messages[at]
            at += 1
            continue
        said = at
        while said < len(messages) and messages[said].role == "assistant":
            said += 1
        end = said
        while end < len(messages) and messages[end].role != "assistant":
            end += 1
        answered, others = _by_call(messages[said:end])
        for message in messages[at:said]:
            yield message
            own = tuple(result for call in message.tool_calls for result in answered.pop(call.id, ()))
            if own:
                yield Message("tool", own)
        lost = tuple(result for results in answered.values() for result in results)
        if lost:
            yield Message("tool", lost)  # of calls further back: the server says what is wrong with them
        yield from others
        at = end


def _by_call(turn: list[Message]) -> tuple[dict[str, list[ToolResult]], list[Message]]:
    """The results in what was said to the assistant, by the calls they answer, and what else was said."""
    answered: dict[str, list[ToolResult]] = {}
    others: list[Message] = []
    for message in turn:
        rest: list[Part] = []
        for part in message.content:
            if isinstance(part, ToolResult):
                answered.setdefault(part.call_id, []).append(part)
            else:
                rest.append(part)
        if rest:
            others.append(message if len(rest) == len(message.content) else Message(message.role, rest, message.name))
    return answered, others


def _named(message: Message, dialect: Dialect) -> Json:
    return {"name": message.name} if message.name and dialect.names else {}


def _result(result: ToolResult) -> Json:
    return {"role": "tool", "tool_call_id": _short(result.call_id), "content": _result_text(result)}


def _result_text(result: ToolResult) -> str:
    """What the tool said. That it failed has no field on this wire, so it is said as tools say it themselves."""
    if not result.is_error or result.text.lstrip()[:5].lower() == "error":
        return result.text
    return f"Error: {result.text}" if result.text.strip() else "Error"


def _images_of(result: ToolResult) -> Iterable[Json]:
    """What a tool showed, with a word on which call it was: several may have been answered at once."""
    images = [part for part in result.content if isinstance(part, Image)]
    if images:
        yield {"type": "text", "text": f"What tool call {_short(result.call_id)} shows:"}
    for image in images:
        yield {"type": "image_url", "image_url": _image(image)}


def _assistant(message: Message, parts: tuple[Part, ...], model: str, dialect: Dialect) -> Json:
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
            _put_back(wired, part.data)
    if dialect.reasoning_back is not None:
        thoughts = [part for part in parts if isinstance(part, Thinking) and part.family == FAMILY]
        _reason(wired, thoughts, model, dialect)
    return wired | _named(message, dialect)


def _reason(wired: Json, thoughts: list[Thinking], model: str, dialect: Dialect) -> None:
    """Puts the reasoning back where it stood, or where the dialect has it."""
    back = dialect.reasoning_back or "as it came"
    wired |= reasoning_fields(thoughts, back)
    chunks = reasoning_chunks(thoughts, back)
    written = reasoning_as_written(thoughts, model, back)
    said: str | list[Json] = wired.get("content") or []
    if written and not isinstance(said, str):
        wired["content"] = [{"type": "text", "text": written}, *said] if said else written
    elif written:
        wired["content"] = f"{written}{said}"
    if chunks:
        wired["content"] = [*chunks, *([{"type": "text", "text": said}] if isinstance(said, str) else said)]
    if dialect.wants_reasoning and "tool_calls" in wired:
        wired.setdefault("reasoning_content", " ")


def _put_back(wired: Json, fields: Json) -> None:
    """What the server put beside the message, or beside each of its calls, in their order."""
    match fields:
        case {"tool_calls": list()}:
            for call, beside in zip(wired.get("tool_calls", ()), fields["tool_calls"], strict=False):
                call.update(beside or {})
        case _:
            wired.update(_audio_by_id(fields))


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
