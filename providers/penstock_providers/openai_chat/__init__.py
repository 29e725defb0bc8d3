"""Chat Completions: at OpenAI, at Azure, at everybody whose dialect is known, and at servers that imitate them.

The kind `openai` is for OpenAI, and for servers that no row of `dialects` knows (set `base_url`). Not here: the
Responses API, which is another wire.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.hookspecs import ProviderSpec, hookimpl
from penstock_providers.openai_chat._codec import OpenAIChat
from penstock_providers.openai_chat._options import AzureOptions, DialectOptions, OpenAIChatOptions
from penstock_providers.openai_chat._plugin import DialectPlugin, spec_of
from penstock_providers.openai_chat.dialects import DIALECTS, OPENAI, Dialect, Seen, ThinkingForm

__all__ = [
    "DIALECTS",
    "AzureOptions",
    "Dialect",
    "DialectOptions",
    "DialectPlugin",
    "OpenAIChat",
    "OpenAIChatOptions",
    "Seen",
    "ThinkingForm",
    "penstock_providers",
]


@hookimpl
def penstock_providers() -> Sequence[ProviderSpec]:
    """Offers the provider `openai`."""
    return [spec_of(OPENAI, OpenAIChatOptions)]
