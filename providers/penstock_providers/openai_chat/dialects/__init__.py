"""Who speaks Chat Completions, and in which dialect: one row for each provider that is known by name.

A row of your own is offered as these are: `dialect_plugin(Dialect(name="acme", ...))` is a plugin, to be named by an
entry point of the group `penstock.providers.v1` or handed to `open_kernel(plugins=...)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from penstock_providers.openai_chat.dialects.clouds import ALIBABA, AZURE
from penstock_providers.openai_chat.dialects.gateways import HUGGINGFACE, OPENROUTER, TOGETHER, VENICE
from penstock_providers.openai_chat.dialects.hosted import (
    CEREBRAS,
    DEEPSEEK,
    GROQ,
    MISTRAL,
    MOONSHOT,
    PERPLEXITY,
    XAI,
    ZAI,
)
from penstock_providers.openai_chat.dialects.local import LLAMACPP, LMSTUDIO, OLLAMA, VLLM
from penstock_providers.openai_chat.dialects.row import GENERIC, OPENAI, Dialect, Seen, ThinkingForm

__all__ = ["AZURE", "DIALECTS", "GENERIC", "OPENAI", "Dialect", "Seen", "ThinkingForm", "dialect_at"]

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        row.name: row
        for row in (
            ALIBABA,
            AZURE,
            CEREBRAS,
            DEEPSEEK,
            GROQ,
            HUGGINGFACE,
            LLAMACPP,
            LMSTUDIO,
            MISTRAL,
            MOONSHOT,
            OLLAMA,
            OPENROUTER,
            PERPLEXITY,
            TOGETHER,
            VENICE,
            VLLM,
            XAI,
            ZAI,
        )
    }
)
"""By the `kind` of a provider's table."""

_BY_HOST = {host: row for row in (OPENAI, *DIALECTS.values()) for host in row.known_hosts}


def dialect_at(base_url: str) -> Dialect:
    """The dialect that is spoken at that address; GENERIC where nobody knows."""
    return _BY_HOST.get(urlsplit(base_url).hostname or "", GENERIC)
