"""The body of a Chat Completions request.

Not here: messages (`_messages`), URL and headers (`_codec`). Precedence: the target's `params`, over them what the
request says, over both the request's `extra`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from penstock.types import ChatRequest, OutputSchema, Target, Tool
from penstock_providers.openai_chat._dialects import dialect_of
from penstock_providers.openai_chat._foreign import fields_of, is_list, is_object, items_of
from penstock_providers.openai_chat._messages import wire_messages
from penstock_providers.openai_chat._models import Model, model_of
from penstock_providers.openai_chat._options import OpenAIChatOptions
from penstock_providers.openai_chat._read import FAMILY

__all__ = ["PROVIDER", "unsupported", "wire_body"]

Json: TypeAlias = dict[str, Any]

PROVIDER = "openai"
_LIMITS = ("max_tokens", "max_completion_tokens")

# Tokens to think with, as the level that other vendors' gateways put in their place.
_LOW_BUDGET = 2_048
_MEDIUM_BUDGET = 8_192


def wire_body(request: ChatRequest, target: Target, options: OpenAIChatOptions, *, stream: bool) -> Json:
    """The body as it is sent."""
    model = model_of(target.model)
    body: Json = {"model": target.model, "messages": wire_messages(request, dialect_of(target.model, options))}
    body |= _sampling(request, model, options)
    body |= _limit(request, model, options)
    body |= _tools(request)
    effort = _effort(request.thinking, model)
    if effort is not None:
        body["reasoning_effort"] = effort
    if request.output is not None:
        body["response_format"] = _schema(request.output)
    if stream:
        body["stream"] = True
        if options.stream_usage and not options.is_mistral:  # which refuses the field, and tells usage unasked
            body["stream_options"] = {"include_usage": True}
    merged = _merged(_params(target, body), body) if target.params else body
    for extra in _extras(request, target):
        merged = _merged(merged, extra)
    return merged


def unsupported(request: ChatRequest, target: Target) -> frozenset[str]:
    """What `wire_body` leaves out for what else the request says: sampling beside reasoning, and a wish to think."""
    model = model_of(target.model)
    names = set[str]()
    if _fixed_sampling(request, model):
        names |= {"temperature", "top_p"}
    wish = request.thinking
    idle = wish == "off" and model.known and not model.reasoning
    if wish is not None and not idle and _effort(wish, model) is None:
        names.add("thinking")
    return frozenset(names)


def _fixed_sampling(request: ChatRequest, model: Model) -> bool:
    thinks = request.thinking not in (None, "off")
    return model.fixed_sampling == "always" or (model.fixed_sampling == "while reasoning" and thinks)


def _sampling(request: ChatRequest, model: Model, options: OpenAIChatOptions) -> Json:
    """What reasoning models reject is left out, for who uses the codec alone; the kernel has told of it by then."""
    fixed = _fixed_sampling(request, model)
    fields: Json = {}
    if request.temperature is not None and (request.temperature == 1 or not fixed):
        fields["temperature"] = request.temperature
    if request.top_p is not None and (request.top_p == 1 or not fixed):
        fields["top_p"] = request.top_p
    if request.stop and model.takes_stop:
        fields["stop"] = list(request.stop)
    if request.seed is not None:
        fields["random_seed" if options.is_mistral else "seed"] = request.seed
    return fields


def _limit(request: ChatRequest, model: Model, options: OpenAIChatOptions) -> Json:
    if request.max_tokens is None:
        return {}
    by_model = "max_completion_tokens" if model.reasoning else "max_tokens"
    return {options.max_tokens_field or by_model: request.max_tokens}


def _tools(request: ChatRequest) -> Json:
    fields: Json = {}
    if request.tools:
        fields["tools"] = [_tool(tool) for tool in request.tools]
    match request.tool_choice:
        case None:
            pass
        case "auto" | "none" | "required":
            fields["tool_choice"] = request.tool_choice
        case name:
            fields["tool_choice"] = {"type": "function", "function": {"name": name}}
    if request.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _tool(tool: Tool) -> Json:
    function: Json = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _effort(thinking: str | int | None, model: Model) -> str | None:
    """`reasoning_effort`; None where the model does not reason, or nothing was asked.

    A model that is not known is sent a level, but not "off": what switches reasoning off differs by server.
    """
    if thinking is None or (model.known and not model.reasoning):
        return None
    if thinking == "off":
        return model.effort_off
    if isinstance(thinking, str):
        return thinking
    return "low" if thinking <= _LOW_BUDGET else "medium" if thinking <= _MEDIUM_BUDGET else "high"


def _schema(output: OutputSchema) -> Json:
    schema: Json = {"name": output.name, "schema": output.schema, "strict": output.strict}
    return {"type": "json_schema", "json_schema": schema}


def _params(target: Target, body: Json) -> Json:
    """The target's own fields; its limit gives way where the request's has the wire's other name."""
    limited = any(name in body for name in _LIMITS)
    return {name: value for name, value in target.params.items() if not (limited and name in _LIMITS)}


def _extras(request: ChatRequest, target: Target) -> Iterable[Mapping[str, Any]]:
    """What the request adds for this wire, the most particular name last."""
    if not request.extra:
        return ()
    names = dict.fromkeys((FAMILY, PROVIDER, target.provider))
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
