"""Token counts of Chat Completions and its imitators, normalised.

Not here: where in a response they stand (`_read`), and whether they can be right: the kernel decides that.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from penstock.types import Usage

__all__ = ["read_usage"]


class _InputDetails(Struct, frozen=True):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: Any = None
    """Foreign JSON: what is not needed for the counts themselves must not break them."""


class _OutputDetails(Struct, frozen=True):
    reasoning_tokens: int | None = None
    audio_tokens: Any = None


_NO_INPUT_DETAILS = _InputDetails()
_NO_OUTPUT_DETAILS = _OutputDetails()


class _Usage(Struct, frozen=True):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _InputDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    """DeepSeek's older name."""
    cached_tokens: int | None = None
    """Moonshot's."""
    cache_creation_input_tokens: int | None = None
    """What gateways to Anthropic call `cache_write_tokens`."""
    market_cost: Any = None
    """Of Vercel's gateway alone, which counts reasoning neither in the completion nor in the total: what it says that
    a call cost is the price of both together."""


def read_usage(told: Any) -> Usage | None:
    """Usage as the wire has it; None where there is none, or none that can be read."""
    if not isinstance(told, dict):
        return None
    try:
        wire = msgspec.convert(told, _Usage, strict=False)  # some count in 12.0
    except msgspec.ValidationError:
        return None
    if wire.prompt_tokens is None and wire.completion_tokens is None:
        return None
    return _normalised(wire)


def _normalised(wire: _Usage) -> Usage | None:
    input_details = wire.prompt_tokens_details or _NO_INPUT_DETAILS
    output_details = wire.completion_tokens_details or _NO_OUTPUT_DETAILS
    given = wire.prompt_tokens or 0
    written = wire.completion_tokens or 0
    reasoning = output_details.reasoning_tokens or 0
    cached = input_details.cached_tokens
    if cached is None:
        cached = wire.prompt_cache_hit_tokens
    if cached is None:
        cached = wire.cached_tokens or 0
    cache_write = input_details.cache_write_tokens
    if cache_write is None:
        cache_write = wire.cache_creation_input_tokens or 0
    if given < 0 or written < 0 or reasoning < 0 or cached < 0 or cache_write < 0:
        # As it stands, or a part of it would hide behind another: the kernel does not believe it, and says so.
        return Usage(
            input_tokens=given,
            cached_input_tokens=cached,
            cache_write_tokens=cache_write,
            output_tokens=written,
            reasoning_tokens=reasoning,
        )
    unnamed = (wire.total_tokens or 0) - given - written
    if unnamed > 0:
        # What a total has beside both is billed: as output, which is the dearest. xAI counts reasoning there.
        written += unnamed
    elif wire.market_cost is not None:
        written += reasoning
    kinds: dict[str, int] = {}
    if unnamed > 0 or input_details.audio_tokens or output_details.audio_tokens:
        kinds = _kinds(
            ("input_audio_tokens", input_details.audio_tokens, given),
            ("output_audio_tokens", output_details.audio_tokens, written),
            ("unnamed_tokens", 0 if unnamed == reasoning else unnamed, written),
        )
    if cached > given or cache_write > given:
        given = max(cached, cache_write)  # no count hides another: what the cache read or wrote is billed
    if reasoning > written:
        reasoning = written  # seen of OpenRouter: 11 of 10, where no more than 10 were asked for
    return Usage(
        input_tokens=given,
        cached_input_tokens=cached,
        cache_write_tokens=cache_write,
        output_tokens=written,
        reasoning_tokens=reasoning,
        kinds=kinds,
        estimated=wire.prompt_tokens is None or wire.completion_tokens is None,
    )


def _kinds(*counted: tuple[str, Any, int]) -> dict[str, int]:
    return {kind: min(count, of) for kind, count, of in counted if count and isinstance(count, int) and count > 0}
