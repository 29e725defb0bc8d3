"""The body of a request: a ChatRequest and its target as the JSON that Anthropic takes.

Not here: the messages themselves (`_blocks`), how much to think and write (`_thinking`), headers and URL (`_codec`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from penstock.types import ChatRequest, Target, Tool
from penstock_providers.anthropic_messages._blocks import (
    Block,
    cache_mark,
    images_taken,
    system_prompt,
    turns,
    used_tools,
)
from penstock_providers.anthropic_messages._models import HIGHEST_TEMPERATURE, model_of
from penstock_providers.anthropic_messages._thinking import allowance, budget_of, room_for, takes_budget
from penstock_providers.anthropic_messages._wire import FAMILY, json_list, json_object

__all__ = ["adapted", "body_of", "unsupported"]

MOST_CACHE_MARKS = 4
"""The provider refuses a request with more."""
_SAMPLING = ("temperature", "top_p", "top_k")


def body_of(request: ChatRequest, target: Target, *, stream: bool) -> dict[str, Any]:
    """The whole body. The target's params lie under the request's own fields, `extra` lies over everything but
    whether to stream, which is for the call to say.
    """
    params = {name: value for name, value in target.params.items() if name != "thinking" or request.thinking is None}
    body = _merged(params, _own_fields(request, target))
    extras = _extras(request, target)
    for extra in extras:
        body = _merged(body, extra)
    body = _without_idle_sampling(body, target, kept={name for extra in extras for name in extra})
    if not any("max_tokens" in fields for fields in (params, *extras)) and request.max_tokens is None:
        body["max_tokens"] = room_for(body.get("thinking"), body["max_tokens"], target)
    if not body.get("tools") and "mcp_servers" not in body:
        body.pop("tool_choice", None)  # without tools the provider refuses it
        body |= _used(request)
    if stream or body.get("stream"):
        body["stream"] = stream
    return body


def unsupported(request: ChatRequest, target: Target) -> frozenset[str]:
    """What `body_of` leaves out for what else the request says, and what the provider refuses side by side.

    Sampling beside thinking, thinking beside a forced tool or where it cannot be taken up again, both kinds of
    sampling at once, a choice among no tools, images that stand where only another wire finds them.
    """
    if not images_taken(request):
        # Nothing else can be told of it: the messages cannot be spelled.
        return frozenset({"vision"})
    names = set[str]()
    extras = _extras(request, target)
    thinking: object = target.params.get("thinking")
    if request.thinking is not None:
        model = model_of(target.model)
        thinking = allowance(request, target, budgets=takes_budget(request, turns(request))).thinking
        silent = thinking is None
        if silent and (request.thinking != "off" or model.thinks_unasked):
            names.add("thinking")
    for extra in extras:
        thinking = extra.get("thinking", thinking)
    if not _takes_sampling(target, thinking):
        names |= {"temperature", "top_p"}
    elif request.temperature is not None and model_of(target.model).one_of_sampling:
        names.add("top_p")
    given_tools = request.tools or any("tools" in fields for fields in (target.params, *extras))
    if request.tool_choice not in (None, "auto", "none") and not given_tools:
        names.add("tool_choice")
    return frozenset(names)


def adapted(request: ChatRequest, target: Target) -> frozenset[str]:
    """What `body_of` says in other words: tools that the conversation has used, less thinking than asked for."""
    beside = (target.params, *_extras(request, target))
    words = set[str]()
    if not request.tools and not any("tools" in fields or "mcp_servers" in fields for fields in beside):
        words |= {"tools_declared"} if used_tools(request) else set()
    if request.thinking not in (None, "off") and not any("thinking" in extra for extra in beside[1:]):
        allowed = allowance(request, target, budgets=takes_budget(request, turns(request))).thinking or {}
        if allowed.get("budget_tokens", budget_of(request.thinking)) < budget_of(request.thinking):
            words.add("thinking_reduced")
    return frozenset(words)


def _used(request: ChatRequest) -> dict[str, Any]:
    """The tools that the conversation has used, none to be called; nothing where it has used none.

    The provider answers 400 where a conversation holds calls or results and the request defines no tools. Nobody may
    call these, so their names are all that is told.
    """
    tools = [{"name": name, "input_schema": {"type": "object"}} for name in used_tools(request)]
    return {"tools": tools, "tool_choice": {"type": "none"}} if tools else {}


def _own_fields(request: ChatRequest, target: Target) -> dict[str, Any]:
    spoken = turns(request)
    allowed = allowance(request, target, budgets=takes_budget(request, spoken))
    output: dict[str, Any] = {} if allowed.effort is None else {"effort": allowed.effort}
    if request.output is not None and request.output.schema:
        output["format"] = {"type": "json_schema", "schema": request.output.schema}
    fields: dict[str, Any] = {
        "model": target.model,
        "max_tokens": allowed.max_tokens,
        "system": system_prompt(request),
        "messages": spoken,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request),
        "thinking": allowed.thinking,
        "output_config": output or None,
        "stop_sequences": list(request.stop) or None,
        "temperature": None if request.temperature is None else min(request.temperature, HIGHEST_TEMPERATURE),
        "top_p": request.top_p,
    }
    _limit_cache_marks(fields)
    return {name: value for name, value in fields.items() if value is not None}


def _tool(tool: Tool) -> Block:
    block: Block = {"name": tool.name}
    if tool.description:
        block["description"] = tool.description
    block["input_schema"] = tool.parameters or {"type": "object", "properties": {}}
    if tool.strict is not None:
        block["strict"] = tool.strict
    return block | cache_mark(tool.cache)


def _tool_choice(request: ChatRequest) -> dict[str, Any] | None:
    parallel = request.parallel_tool_calls
    match request.tool_choice:
        case None if parallel is None:
            return None
        case "none":
            return {"type": "none"}
        case None | "auto":
            choice: dict[str, Any] = {"type": "auto"}
        case "required":
            choice = {"type": "any"}
        case name:
            choice = {"type": "tool", "name": name}
    return choice if parallel is None else choice | {"disable_parallel_tool_use": not parallel}


def _without_idle_sampling(body: dict[str, Any], target: Target, *, kept: Collection[str]) -> dict[str, Any]:
    """Beside thinking only the provider's own sampling is taken, and newer models take no other at all.

    What stands in `extra` is `kept`: who writes there speaks to this provider.
    """
    if _takes_sampling(target, body.get("thinking")):
        return body
    return {name: value for name, value in body.items() if name not in _SAMPLING or name in kept}


def _takes_sampling(target: Target, thinking: object) -> bool:
    kind = (json_object(thinking) or {}).get("type")
    return model_of(target.model).sampling and kind not in ("enabled", "adaptive")


def _extras(request: ChatRequest, target: Target) -> list[dict[str, Any]]:
    """What the request adds for this wire, the most particular name last."""
    return [request.extra.get(name, {}) for name in dict.fromkeys((FAMILY, "anthropic", target.provider))]


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, deeply; `over` wins. Lists of tools are joined; an object of another `type` replaces the old one whole."""
    merged = dict(under)
    for name, value in over.items():
        old = merged.get(name)
        old_object, new_object = json_object(old), json_object(value)
        old_list, new_list = json_list(old), json_list(value)
        if old_object is not None and new_object is not None:
            same_kind = new_object.get("type", old_object.get("type")) == old_object.get("type")
            merged[name] = _merged(old_object, new_object) if same_kind else new_object
        elif name == "tools" and old_list is not None and new_list is not None:
            merged[name] = [*old_list, *new_list]
        else:
            merged[name] = value
    return merged


def _limit_cache_marks(fields: Mapping[str, Any]) -> None:
    """Drops the earliest marks beyond what the provider takes: the later ones cover the longer prefixes.

    Only the request's own blocks, which were made here; those in `extra` are the caller's.
    """
    marked = [block for block in _blocks(fields) if "cache_control" in block]
    for block in marked[: max(0, len(marked) - MOST_CACHE_MARKS)]:
        del block["cache_control"]


def _blocks(fields: Mapping[str, Any]) -> Iterator[Block]:
    """Everything that may carry a mark, in the order of the prompt: tools, system, messages."""
    yield from fields["tools"] or ()
    yield from _content_blocks(fields["system"])
    for turn in fields["messages"]:
        yield from _content_blocks(turn["content"])


def _content_blocks(content: str | list[Block] | None) -> Iterable[Block]:
    for block in content if isinstance(content, list) else ():
        yield from _content_blocks(block.get("content"))
        yield block
