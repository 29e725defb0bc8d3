"""What a codec returned, looked into: a field that is not of the kind that its class promises is a bug of the codec.

Nothing else checks them: a struct takes whatever it is made of, and a server that answers null where a text is due is
enough for one. Found here, it fails the attempt; later it would break the call. Each function returns what is wrong, in
words that quote nothing, or None. Not here: counts of usage (`_codec_edge`), which are left out where they are wrong.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeAlias, cast

import msgspec

from penstock.types import (
    Capabilities,
    Completion,
    Image,
    Message,
    ProviderPart,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    WireRequest,
)

__all__ = [
    "flaw_of_capabilities",
    "flaw_of_completion",
    "flaw_of_tool_call",
    "flaw_of_wire",
    "without_nulls",
    "wrong_kind",
]

_Kinds: TypeAlias = tuple[type, ...]
_OPTIONAL: _Kinds = (str, type(None))

_PARTS: Mapping[type, Mapping[str, _Kinds]] = {
    Text: {"text": (str,), "citations": (tuple,)},
    ToolCall: {"id": (str,), "name": (str,), "arguments": (dict,), "raw_arguments": (str,), "kind": (str,)},
    Thinking: {
        "text": (str,),
        "signature": _OPTIONAL,
        "redacted": _OPTIONAL,
        "family": (str,),
        "details": (tuple,),
        "model": (str,),
        "provider": (str,),
    },
    Refusal: {"text": (str,)},
    ProviderPart: {"family": (str,), "data": (dict,), "provider": (str,)},
    Image: {"url": _OPTIONAL, "data": (bytes, type(None)), "media_type": _OPTIONAL, "detail": _OPTIONAL},
    ToolResult: {"call_id": (str,), "content": (tuple,)},
}
_COMPLETION: Mapping[str, _Kinds] = {
    "message": (Message,),
    "finish_reason": (str,),
    "model": (str,),
    "id": (str,),
    "request_id": _OPTIONAL,
}
_MESSAGE: Mapping[str, _Kinds] = {"role": (str,), "content": (tuple,), "name": _OPTIONAL}
_TOOL_CALL_DELTA: Mapping[str, _Kinds] = {"index": (int,), "id": _OPTIONAL, "name": _OPTIONAL}


def wrong_kind(told: object, place: str) -> str:
    """In words: what stands there is of another kind."""
    return f"{type(told).__name__} in {place}"


def flaw_of_completion(completion: Completion) -> str | None:
    """Of a whole answer."""
    if _is_plain(completion):
        return None
    flaw = _flaw(completion, _COMPLETION)
    if flaw is not None:
        return flaw
    message = completion.message
    flaw = _flaw(message, _MESSAGE)
    if flaw is not None or message.role != "assistant":
        return flaw or "a message that is not the assistant's"
    return next(filter(None, map(_flaw_of_part, message.content)), None)


def without_nulls(completion: Completion) -> Completion:
    """The same where null stands for a name that the provider did not give: no answer is lost to that."""
    given = {"model": completion.model, "id": completion.id}
    absent = {field: "" for field, name in given.items() if cast("object", name) is None}
    return msgspec.structs.replace(completion, **absent)


def _is_plain(completion: Completion) -> bool:
    """True where one text is all of it, as nearly always, and nothing is wrong: found out in a third of the time."""
    message = completion.message
    content = message.content if type(message) is Message else ()
    if not (type(content) is tuple and len(content) == 1 and type(part := content[0]) is Text):
        return False
    named = message.role == "assistant" and message.name is None and completion.request_id is None
    said = type(part.text) is type(completion.finish_reason) is type(completion.model) is type(completion.id) is str
    return named and said and type(part.citations) is tuple


def flaw_of_tool_call(delta: ToolCallDelta) -> str | None:
    """Of a chunk of that kind, but for its arguments."""
    return _flaw(delta, _TOOL_CALL_DELTA)


def flaw_of_wire(wire: WireRequest) -> str | None:
    """Of a request that is to be sent."""
    body = cast("object", wire.body)
    if not isinstance(body, bytes):
        return wrong_kind(body, "WireRequest.body")
    try:
        return _flaw_of_head(wire.method, wire.url, wire.headers)
    except TypeError:  # headers in lists do as well: they are looked through each time
        return _flaw_of_head.__wrapped__(wire.method, wire.url, wire.headers)


@lru_cache(maxsize=1_024)
def _flaw_of_head(method: object, url: object, headers: object) -> str | None:
    """Of those to one target, nearly all are the same."""
    if not (isinstance(method, str) and isinstance(url, str)):
        return wrong_kind(url if isinstance(method, str) else method, "WireRequest.method or .url")
    if not isinstance(headers, tuple | list):
        return wrong_kind(headers, "WireRequest.headers")
    try:
        for name, value in cast("tuple[Any, ...]", headers):
            if not (isinstance(name, str) and isinstance(value, str)):
                return wrong_kind(value if isinstance(name, str) else name, "a header")
    except (TypeError, ValueError):
        return "a header that is no pair"
    return None


def flaw_of_capabilities(told: Capabilities) -> str | None:
    """Of what a codec knows of a model. Asked once for each target."""
    try:
        for given, kind in ((told, Capabilities), (told.schema_limits, None), (told.tool_call_id, None)):
            if given is not None:
                msgspec.convert(msgspec.structs.asdict(given), kind or type(given))
    except (TypeError, msgspec.ValidationError) as wrong:
        return str(wrong)
    most = (told.context_window, told.max_output)
    return "a figure below 1" if any(figure is not None and figure < 1 for figure in most) else None


def _flaw_of_part(part: object) -> str | None:
    fields = next((_PARTS[kind] for kind in type(part).__mro__ if kind in _PARTS), None)
    return wrong_kind(part, "Message.content") if fields is None else _flaw(part, fields)


def _flaw(struct: object, fields: Mapping[str, _Kinds]) -> str | None:
    for name, kinds in fields.items():
        given = getattr(struct, name)
        if not isinstance(given, kinds):
            return wrong_kind(given, f"{type(struct).__name__}.{name}")
    return None
