"""What a `[providers.*]` table of kind `anthropic` may say.

Not here: the credential. The kernel holds it and hands it to `authorize` alone.
"""

from __future__ import annotations

from typing import Literal

import attrs

__all__ = ["AnthropicOptions"]


@attrs.frozen
class AnthropicOptions:
    """Options of the provider. The defaults speak to Anthropic itself."""

    base_url: str = "https://api.anthropic.com"
    """With or without a closing `/v1`."""
    version: str = "2023-06-01"
    """The header `anthropic-version`."""
    beta: tuple[str, ...] = ()
    """The header `anthropic-beta`, for every request; a target's own headers may add to it."""
    auth: Literal["x-api-key", "bearer"] = "x-api-key"
    """How the key is sent: `bearer` for OAuth tokens and for most gateways."""
    hidden_tokens: int = 2_048
    """Input tokens the provider may add on its own (tool and schema preambles): part of every input bound.

    The most that was seen in the recordings is 1,290, with tools.
    """

    def url(self) -> str:
        """Where messages are posted."""
        base = self.base_url.rstrip("/")
        return f"{base}/messages" if base.endswith("/v1") else f"{base}/v1/messages"
