"""The settings of a provider that speaks Chat Completions: OpenAI, Azure, and every server that imitates them."""

from __future__ import annotations

from functools import cached_property
from typing import Literal
from urllib.parse import quote, urlsplit

import attrs

__all__ = ["OpenAIChatOptions"]

DEFAULT_HIDDEN_TOKENS = 2048
OPENAI_HOST = "api.openai.com"
MISTRAL_HOST = "api.mistral.ai"
OPENROUTER_HOST = "openrouter.ai"
WANTS_REASONING = frozenset({"api.deepseek.com", "api.moonshot.ai", "api.moonshot.cn"})
"""They answer 400 where a message with calls comes without reasoning while their models think."""


def _http_url(_options: object, _field: object, value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url must hold no credentials; use api_key")
    if parts.query or parts.fragment:
        raise ValueError("base_url must hold no query; use api_version for Azure's")


@attrs.frozen(kw_only=True)
class OpenAIChatOptions:
    """Where the server is and in which dialect it is spoken to."""

    base_url: str = attrs.field(default=f"https://{OPENAI_HOST}/v1", validator=_http_url)
    organization: str | None = None
    project: str | None = None
    azure: bool = False
    """Azure OpenAI: the key goes into `api-key`, and the path names the deployment (the target's `model`)."""
    api_version: str | None = None
    """Azure's `api-version`. Without it Azure is spoken to at `/openai/v1`, which needs none."""
    auth: Literal["bearer", "api-key"] | None = None
    """None: `api-key` at Azure, `bearer` elsewhere."""
    hidden_tokens: int = attrs.field(default=DEFAULT_HIDDEN_TOKENS, validator=attrs.validators.ge(0))
    """Input tokens the server may add unseen: its own preamble, the rendering of tools and schemas."""
    stream_usage: bool = True
    """Ask for usage in streams. Some servers reject `stream_options`."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """None: by the model's name. Azure deployments may be named anything: name the field there."""
    send_reasoning: bool | None = None
    """Send reasoning back to the server that showed it. None: not to OpenAI and Azure, which never show any."""

    @property
    def uses_api_key_header(self) -> bool:
        """True where the credential goes into `api-key`."""
        return self.azure if self.auth is None else self.auth == "api-key"

    @cached_property
    def sends_reasoning(self) -> bool:
        """True where reasoning goes back with the message it belongs to."""
        if self.send_reasoning is not None:
            return self.send_reasoning
        return not self.azure and urlsplit(self.base_url).hostname != OPENAI_HOST

    @property
    def is_mistral(self) -> bool:
        """True for Mistral's own server, whatever its models are called."""
        return urlsplit(self.base_url).hostname == MISTRAL_HOST

    @property
    def wants_reasoning(self) -> bool:
        """True where every message with calls must say what was thought, whoever made it."""
        return self.sends_reasoning and urlsplit(self.base_url).hostname in WANTS_REASONING

    @property
    def is_openrouter(self) -> bool:
        """True for OpenRouter's server."""
        return urlsplit(self.base_url).hostname == OPENROUTER_HOST

    def url(self, model: str) -> str:
        """Where a request for the model is posted."""
        base = self.base_url.rstrip("/")
        query = "" if self.api_version is None else f"?api-version={quote(self.api_version, safe='')}"
        if not self.azure or "/openai" in urlsplit(base).path:
            return f"{base}/chat/completions{query}"
        if self.api_version is None:
            return f"{base}/openai/v1/chat/completions"
        return f"{base}/openai/deployments/{quote(model, safe='')}/chat/completions{query}"
