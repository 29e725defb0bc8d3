"""The `openai` provider: Chat Completions, at OpenAI, Azure and servers that imitate them (set `base_url`).

Not here: the Responses API, which is another wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext

from penstock.abc import Provider
from penstock.hookspecs import PluginTools, ProviderSpec, hookimpl
from penstock_providers.openai_chat._codec import OpenAIChat
from penstock_providers.openai_chat._encode import PROVIDER
from penstock_providers.openai_chat._options import OpenAIChatOptions

__all__ = ["OpenAIChat", "OpenAIChatOptions", "penstock_providers"]


def _open(options: OpenAIChatOptions, tools: PluginTools) -> AbstractAsyncContextManager[Provider]:
    """A codec holds nothing that would have to be closed."""
    del tools
    return nullcontext(OpenAIChat(options))


@hookimpl
def penstock_providers() -> Sequence[ProviderSpec]:
    """Offers the provider."""
    return [
        ProviderSpec(
            name=PROVIDER,
            open=_open,
            options=OpenAIChatOptions,
            key_variable="OPENAI_API_KEY",
            url_variable="OPENAI_BASE_URL",
        )
    ]
