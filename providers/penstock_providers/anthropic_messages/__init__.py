"""Anthropic's Messages wire: `kind = "anthropic"`. The codec is pure; no SDK is behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from penstock.abc import Provider
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl
from penstock_providers.anthropic_messages._codec import AnthropicMessages as AnthropicMessages
from penstock_providers.anthropic_messages._options import AnthropicOptions as AnthropicOptions

__all__ = ["AnthropicMessages", "AnthropicOptions", "penstock_providers"]


@asynccontextmanager
async def _open(options: AnthropicOptions, tools: PluginTools) -> AsyncGenerator[Provider]:
    del tools
    yield AnthropicMessages(options)


@hookimpl
def penstock_providers() -> Sequence[ProviderSpec]:
    """The one provider of this wire."""
    return (
        ProviderSpec(
            name="anthropic",
            open=_open,
            options=AnthropicOptions,
            key_variable="ANTHROPIC_API_KEY",
            url_variable="ANTHROPIC_BASE_URL",
        ),
    )
