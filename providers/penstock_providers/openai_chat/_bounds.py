"""How many tokens a request can cost at most, from its final body.

Not here: what to do where no bound exists (the kernel's `on_unknown_bound`).

A token is at least one byte of UTF-8 in every tokenizer that works on bytes, so text costs at most its bytes. The JSON
around it, which is counted too, outweighs the few tokens that mark a message's role; what the server adds besides
(tool preambles) is the allowance. Images cost what the vendor publishes, whatever their payload's length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from penstock.types import ChatRequest, Message, Text
from penstock_providers.openai_chat._foreign import fields_of, is_list, items_of
from penstock_providers.openai_chat._models import Model
from penstock_providers.openai_chat._wire import to_json

__all__ = ["input_bound", "named_limit", "output_bound", "plain_input_bound"]

# Fields whose text reaches the prompt.
_PROMPT = frozenset(
    {
        "chat_template_kwargs",  # of llama.cpp and vLLM: whatever the template makes of it
        "function_call",
        "functions",
        "messages",
        "prediction",
        "response_format",
        "tool_choice",
        "tools",
    }
)
# Fields that add nothing to it. Anything else has no bound: it may switch on a search, or bring in a conversation.
_SILENT = frozenset(
    {
        "audio",
        "enable_thinking",  # Alibaba's switch, and its number of tokens
        "frequency_penalty",
        "include_reasoning",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "min_p",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "provider",  # OpenRouter: which of its hosts may answer
        "random_seed",  # Mistral's name for the seed
        "reasoning",
        "reasoning_effort",
        "reasoning_format",
        "repetition_penalty",
        "safe_prompt",  # Mistral puts a known paragraph before the messages: part of what the server adds unseen
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "thinking_budget",
        "top_k",
        "top_logprobs",
        "top_p",
        "usage",
        "user",
        "verbosity",
    }
)
_TIERS = ("auto", "default", "flex")
"""Of processing, none dearer than what prices are for. What another one costs is not known here, so it has no bound."""
_LIMITS = ("max_tokens", "max_completion_tokens")
_AROUND_A_MESSAGE = 32
"""Bytes of JSON around the text of a message: its role and its name, more than the tokens that mark them."""
_TEXT_PARTS = frozenset({"text", "refusal", "thinking"})
_TOOL_KINDS = frozenset({"function", "custom"})


Count: TypeAlias = Callable[[str], int]
"""The most tokens that a text can come to."""


def input_bound(body: dict[str, Any], model: Model, hidden_tokens: int, count: Count | None = None) -> int | None:
    """Input tokens the server will not exceed; None where the body asks for something without a bound.

    `count` tells how many a text of a message has. None: its bytes count. What the server makes of tools and schemas is
    its own: they count by their bytes.
    """
    if not _output_is_limited(body, model):
        return None
    body = {name: value for name, value in body.items() if value is not None}
    if model.searches or not body.keys() <= _PROMPT | _SILENT or not _bounded_tools(body.get("tools")):
        return None
    if body.get("service_tier", "default") not in _TIERS:
        return None
    messages = _messages(body.get("messages"))
    if messages is None:
        return None
    texts, images = messages
    text = {name: body[name] for name in sorted(_PROMPT & body.keys() - {"messages"})}
    counted = 0
    if count is not None:
        plain, texts = _apart(texts)
        counted = sum(map(count, plain))
    bound = len(to_json([texts, text])) + counted + images * model.image_tokens + hidden_tokens
    return bound if model.context_window is None else min(bound, model.context_window)


def plain_input_bound(request: ChatRequest, model: Model, hidden_tokens: int, count: Count) -> int | None:
    """The same for a request of text alone, without making its body; None where it is anything else."""
    if request.extra or request.tools or request.output is not None or model.searches:
        return None
    size = 0
    messages = request.messages
    match request.system:
        case None:
            pass
        case str(text):
            size += _AROUND_A_MESSAGE + count(text)
        case Message() as system:
            messages = (system, *messages)
    for message in messages:
        size += _AROUND_A_MESSAGE + (len(message.name.encode()) if message.name else 0)
        for part in message.content:
            if not isinstance(part, Text):
                return None
            size += count(part.text)
    bound = size + hidden_tokens
    return bound if model.context_window is None else min(bound, model.context_window)


def output_bound(body: dict[str, Any], model: Model, *, least: int = 1) -> int | None:
    """Output tokens of all choices, reasoning included; None where nothing limits them.

    `least` may come where fewer were asked for.
    """
    if not _output_is_limited(body, model):
        return None
    limit = named_limit(body)
    if limit is None:
        limit = model.max_output
    return None if limit is None else max(limit, least) * (body.get("n") or 1)


def named_limit(body: Mapping[str, Any]) -> int | None:
    """The output tokens of one choice that a body asks for; the larger of two. None: it names no plain figure."""
    limits = [limit for name in _LIMITS if (limit := body.get(name)) is not None]
    return max(limits, default=None) if all(map(_is_plain, limits)) else None


def _output_is_limited(body: Mapping[str, Any], model: Model) -> bool:
    """False where a figure of the body is none that all servers read alike.

    To some, -1 and 0 mean no limit at all, and 5.0 and "5" mean five. What takes the limit away (null) leaves the
    model's own, where it has one.
    """
    if "n" in body and body["n"] is not None and not _is_plain(body["n"]):
        return False
    given = [body[name] for name in _LIMITS if name in body]
    limits = [limit for limit in given if limit is not None]
    return all(map(_is_plain, limits)) if limits or not given else model.max_output is not None


def _is_plain(figure: object) -> bool:
    """A positive whole number, and not `true`, which is one to Python."""
    return type(figure) is int and figure > 0


def _bounded_tools(tools: object) -> bool:
    """False where the server runs a tool itself: what that brings into the prompt nobody knows."""
    # Mistral's client leaves the type of a function out.
    return tools is None or all(
        fields_of(tool).get("type", "function" if "function" in fields_of(tool) else None) in _TOOL_KINDS
        for tool in items_of(tools)
    )


def _messages(messages: object) -> tuple[list[Any], int] | None:
    """The messages without their images, and how many images there are; None for parts without a bound."""
    texts: list[Any] = []
    images = 0
    for message in map(fields_of, items_of(messages)):
        content = message.get("content")
        if "audio" in message:
            return None
        if is_list(content):
            parts = [fields_of(part) for part in items_of(content)]
            content = [part for part in parts if part.get("type") in _TEXT_PARTS]
            pictured = sum(part.get("type") == "image_url" for part in parts)
            if len(content) + pictured < len(parts):
                return None
            images += pictured
        texts.append({**message, "content": content})
    return texts, images


def _apart(messages: list[Any]) -> tuple[list[str], list[Any]]:
    """The plain texts of the messages, and the messages without them."""
    texts: list[str] = []

    def without(holder: dict[str, Any], name: str) -> dict[str, Any]:
        text = holder.get(name)
        if not isinstance(text, str):
            return holder
        texts.append(text)
        return {**holder, name: ""}

    rest: list[Any] = []
    for message in messages:
        content = message["content"]
        parts = [without(fields_of(part), "text") for part in items_of(content)] if is_list(content) else content
        rest.append(without({**message, "content": parts}, "content"))
    return texts, rest
