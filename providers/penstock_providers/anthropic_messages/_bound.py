"""How many tokens a body can cost at most: its input bound and its output bound.

No text has more tokens than bytes. The bodies are measured as JSON, whose quotes and names outweigh the wire's own
marks around turns and blocks. Not here: the better guess (the kernel's estimate).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import msgspec

from penstock_providers.anthropic_messages._models import Model
from penstock_providers.anthropic_messages._wire import json_list, json_object

__all__ = ["input_bound_of", "output_bound_of"]

_PROMPT_FIELDS = ("system", "tools", "output_config", "output_format")
# Fields that bring nothing into the prompt. A field in neither list may bring anything.
_PLAIN_FIELDS = frozenset(
    {
        *_PROMPT_FIELDS,
        "messages",
        "model",
        "max_tokens",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "thinking",
        "tool_choice",
        "cache_control",
        "metadata",
        "service_tier",
        "inference_geo",
        "speed",
        "anthropic_version",
        "anthropic_beta",
    }
)


# Values under which a token costs more than the usual price, by a factor that is not known here.
_USUAL = {"speed": (None, "standard"), "inference_geo": (None, "global")}


class _UnboundedError(Exception):
    """Something in the body has no bound."""


def input_bound_of(
    body: Mapping[str, Any],
    model: Model,
    *,
    hidden_tokens: int,
    long_context: bool,
    count: Callable[[str], int] | None = None,
) -> int | None:
    """Input tokens the provider will not exceed for this body; None where nothing bounds them, or what they cost.

    `long_context`: the window may be larger than the model's usual one. `count` tells how many tokens a plain text has.
    None: its bytes count. What the provider makes of tools is its own: they count by their bytes.
    """
    measure = _Measure(model.image_tokens, count)
    if output_bound_of(body) is None or not all(body.get(name) in usual for name, usual in _USUAL.items()):
        return None
    plain = sum(_size(body[name]) for name in _PROMPT_FIELDS if name in body and not (count and name == "system"))
    try:
        bound = hidden_tokens + plain + sum(measure.turn(turn) for turn in body["messages"])
        if count and "system" in body:
            bound += measure.content(body["system"])
    except _UnboundedError:
        return None
    if model.context_window is None or long_context:
        return bound
    return min(bound, model.context_window)


def output_bound_of(body: Mapping[str, Any]) -> int | None:
    """Output tokens, thinking included; None where the provider may sample several times for one request.

    None, too, where `max_tokens` is no positive whole number: what a server makes of 5.0, "5", -1 or `true` is its own.
    """
    max_tokens = body.get("max_tokens")
    return max_tokens if _one_pass(body) and type(max_tokens) is int and max_tokens > 0 else None


def _one_pass(body: Mapping[str, Any]) -> bool:
    """True where nothing in the body runs on the provider's side: then one sampling is all that is billed."""
    tools: list[dict[str, Any]] = body.get("tools") or []
    return body.keys() <= _PLAIN_FIELDS and all(tool.get("type") in ("custom", None) for tool in tools)


@attrs.frozen
class _Measure:
    """How parts of a prompt count."""

    image_tokens: int
    count: Callable[[str], int] | None

    def turn(self, turn: Mapping[str, Any]) -> int:
        """A turn, or a tool result: both hold text or blocks under `content`."""
        rest = {name: value for name, value in turn.items() if name != "content"}
        return _size(rest) + self.content(turn.get("content"))

    def content(self, content: object) -> int:
        """Text, or blocks."""
        blocks = json_list(content)
        if blocks is None:
            return self.count(content) if self.count is not None and isinstance(content, str) else _size(content)
        return sum(self._block(json_object(block) or {}) for block in blocks)

    def _block(self, block: Mapping[str, Any]) -> int:
        match block.get("type"):
            case "text" if self.count is not None and isinstance(text := block.get("text"), str):
                return _size({**block, "text": ""}) + self.count(text)
            case "text" | "thinking" | "redacted_thinking" | "tool_use":
                return _size(block)
            case "image":
                return self.image_tokens
            case "tool_result":
                return self.turn(block)
            case "document" if _is_plain_text(block):
                return _size(block)
            case _:
                raise _UnboundedError


def _is_plain_text(document: Mapping[str, Any]) -> bool:
    """PDFs, URLs and files are not measured here; documents to be cited are cut into marked pieces."""
    source = json_object(document.get("source")) or {}
    citations = json_object(document.get("citations")) or {}
    return source.get("type") == "text" and not citations.get("enabled")


def _size(value: object) -> int:
    return len(msgspec.json.encode(value))
