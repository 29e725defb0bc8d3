"""The body of a Chat Completions request.

Not here: messages (`_messages`), URL and headers (`_codec`). Precedence: the target's `params`, over them what the
request says, over both the request's `extra`. Whether to stream is for the call alone to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from penstock.types import ChatRequest, OutputSchema, Target, Tool
from penstock_providers.openai_chat._foreign import fields_of, is_list, is_object, items_of
from penstock_providers.openai_chat._messages import wire_messages
from penstock_providers.openai_chat._models import Model, model_of
from penstock_providers.openai_chat._read import FAMILY
from penstock_providers.openai_chat._thinking import must_not_think, thinking_fields, thinks_always
from penstock_providers.openai_chat.dialects import Dialect

__all__ = ["unsupported", "wire_body"]

Json: TypeAlias = dict[str, Any]

_LIMITS = ("max_tokens", "max_completion_tokens")


def wire_body(request: ChatRequest, target: Target, dialect: Dialect, *, stream: bool) -> Json:
    """The body as it is sent."""
    model = model_of(target.model)
    body: Json = {"model": target.model, "messages": wire_messages(request, target.model, dialect)}
    _add_sampling(body, request, model, dialect)
    if request.max_tokens is not None:
        by_model = "max_completion_tokens" if model.reasoning else "max_tokens"
        body[dialect.limit or by_model] = request.max_tokens
    if request.tools or request.tool_choice is not None or request.parallel_tool_calls is not None:
        body |= _tools(request, target, dialect)
    if request.thinking is not None or request.tool_choice is not None:
        body |= _thinking(request, target, dialect)
    if request.output is not None:
        body["response_format"] = _schema(request.output)
    if stream:
        body["stream"] = True
        if dialect.stream_options:
            body["stream_options"] = {"include_usage": True}
    merged = _merged(_params(target, body), body) if target.params else body
    for extra in _extras(request, target, dialect) if request.extra else ():
        merged = _merged(merged, extra)
    if stream:
        merged["stream"] = True
    elif merged.get("stream"):
        merged["stream"] = False
        merged.pop("stream_options", None)  # without a stream they are refused
    return merged


def unsupported(request: ChatRequest, target: Target, dialect: Dialect) -> frozenset[str]:
    """What `wire_body` leaves out for what else the request says.

    Sampling beside reasoning, a wish to think, a choice among no tools.
    """
    model = model_of(target.model)
    names = set[str]()
    if _fixed_sampling(request, model):
        names |= {"temperature", "top_p"}
    wish = request.thinking
    idle = wish == "off" and model.known and not model.reasoning
    if wish is not None and not idle:
        unheard = not _thinking(request, target, dialect)
        if unheard or (wish != "off" and must_not_think(request, dialect)):
            names.add("thinking")
    if request.tool_choice not in (None, "auto", "none") and not (
        _has_tools(request, target, dialect) and _demands(request, target, dialect)
    ):
        names.add("tool_choice")
    return frozenset(names)


def _fixed_sampling(request: ChatRequest, model: Model) -> bool:
    thinks = request.thinking not in (None, "off")
    return model.fixed_sampling == "always" or (model.fixed_sampling == "while reasoning" and thinks)


def _add_sampling(body: Json, request: ChatRequest, model: Model, dialect: Dialect) -> None:
    """What reasoning models reject is left out, for who uses the codec alone; the kernel has told of it by then."""
    fixed = _fixed_sampling(request, model)
    if request.temperature is not None and (request.temperature == 1 or not fixed):
        body["temperature"] = request.temperature
    if request.top_p is not None and (request.top_p == 1 or not fixed):
        body["top_p"] = request.top_p
    if request.stop and model.takes_stop:
        body["stop"] = list(request.stop)
    if request.seed is not None:
        body[dialect.seed] = request.seed


def _thinking(request: ChatRequest, target: Target, dialect: Dialect) -> Mapping[str, Any]:
    if thinks_always(target.model, dialect) is not None:
        return {}  # as it does by itself; to be asked, one way or the other, it refuses
    return thinking_fields(request, model_of(target.model), dialect)


def _demands(request: ChatRequest, target: Target, dialect: Dialect) -> bool:
    """False where what the request demands cannot be demanded of the model."""
    some = thinks_always(target.model, dialect)
    return some is None or (some and request.tool_choice == "required")


def _tools(request: ChatRequest, target: Target, dialect: Dialect) -> Json:
    fields: Json = {}
    if not _has_tools(request, target, dialect):
        return fields  # how to use none is refused: "only allowed when 'tools' are specified"
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools]
    match request.tool_choice:
        case None:
            pass
        case "auto" | "none":
            fields["tool_choice"] = request.tool_choice
        case _ if not _demands(request, target, dialect):
            pass
        case "required":
            fields["tool_choice"] = dialect.forced_tool
        case name:
            fields["tool_choice"] = {"type": "function", "function": {"name": name}}
    if request.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _has_tools(request: ChatRequest, target: Target, dialect: Dialect) -> bool:
    beside = (target.params, *_extras(request, target, dialect))
    return bool(request.tools) or any("tools" in fields for fields in beside)


def _tool(tool: Tool) -> Json:
    function: Json = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _schema(output: OutputSchema) -> Json:
    if not output.schema:
        return {"type": "json_object"}
    schema: Json = {"name": output.name, "schema": output.schema, "strict": output.strict}
    return {"type": "json_schema", "json_schema": schema}


def _params(target: Target, body: Json) -> Json:
    """The target's own fields; its limit gives way where the request's has the wire's other name."""
    limited = any(name in body for name in _LIMITS)
    return {name: value for name, value in target.params.items() if not (limited and name in _LIMITS)}


def _extras(request: ChatRequest, target: Target, dialect: Dialect) -> Iterable[Mapping[str, Any]]:
    """What the request adds for this wire, the most particular name last."""
    if not request.extra:
        return ()
    names = dict.fromkeys((FAMILY, dialect.name, target.provider))
    return [request.extra[name] for name in names if name in request.extra]


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> Json:
    """Objects are merged, `tools` are appended, everything else is replaced."""
    merged = dict(under)
    for name, value in over.items():
        held = merged.get(name)
        if is_object(held) and is_object(value):
            merged[name] = _merged(fields_of(held), fields_of(value))
        elif name == "tools" and is_list(held) and is_list(value):
            merged[name] = [*items_of(held), *items_of(value)]
        else:
            merged[name] = value
    return merged
