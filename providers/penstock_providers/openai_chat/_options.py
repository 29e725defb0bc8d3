"""The settings of a provider that speaks Chat Completions: of every dialect, of Azure, of OpenAI and unknown servers.

Not here: what the dialects are (`dialects`), and where a request is posted (`_address`).
"""

from __future__ import annotations

from typing import Any, Literal, cast
from urllib.parse import quote, urlsplit

import attrs

from penstock.types import Headers
from penstock_providers.openai_chat.dialects import AZURE, OPENAI, Dialect, dialect_at

__all__ = ["AzureOptions", "DialectOptions", "OpenAIChatOptions", "options_of"]

DEFAULT_HIDDEN_TOKENS = 2048


def _http_url(_options: object, _field: object, value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must begin with https:// or http:// and name a host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("base_url must hold no credentials; use api_key")
    if parts.query or parts.fragment:
        raise ValueError("base_url must hold no query; use api_version for Azure's")


@attrs.frozen(kw_only=True)
class DialectOptions:
    """What can be set at every provider. What is left at None is as the dialect has it."""

    base_url: str = attrs.field(validator=_http_url)
    hidden_tokens: int = attrs.field(default=DEFAULT_HIDDEN_TOKENS, validator=attrs.validators.ge(0))
    """Input tokens the server may add unseen: its own preamble, the rendering of tools and schemas."""
    stream_usage: bool | None = None
    """False: streams tell no usage, and it is not asked for. True: it is asked for with `stream_options`."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """Azure deployments may be named anything: name the field there."""
    send_reasoning: bool | None = None
    """Send reasoning back to the server that showed it."""

    @property
    def reports_usage(self) -> bool:
        """True where streams tell what they cost."""
        return self.stream_usage is not False

    @property
    def query(self) -> str:
        """What follows the path."""
        return ""

    @property
    def headers(self) -> Headers:
        """What goes with every request."""
        return ()

    def spoken(self, dialect: Dialect) -> Dialect:
        """The dialect with what is set here in place of its own."""
        changes: dict[str, Any] = {}
        if self.stream_usage is not None:
            changes["stream_options"] = self.stream_usage
        if self.max_tokens_field is not None:
            changes["limit"] = self.max_tokens_field
        if self.send_reasoning is not None:
            changes["reasoning_back"] = (dialect.reasoning_back or "as it came") if self.send_reasoning else None
        return attrs.evolve(dialect, **changes) if changes else dialect


@attrs.frozen(kw_only=True)
class AzureOptions(DialectOptions):
    """What can be set at Azure OpenAI. A target's `model` is the name of the deployment."""

    api_version: str | None = None
    """Azure's `api-version`. Without it Azure is spoken to at `/openai/v1`, which needs none."""
    auth: Literal["bearer", "api-key"] | None = None
    """The header of the credential: `bearer` for Entra's tokens."""

    @property
    def query(self) -> str:
        """What follows the path."""
        return "" if self.api_version is None else f"?api-version={quote(self.api_version, safe='')}"

    def spoken(self, dialect: Dialect) -> Dialect:
        """The dialect with what is set here in place of its own."""
        dialect = super().spoken(dialect)
        if self.auth is None:
            return dialect
        return attrs.evolve(dialect, key_header="api-key" if self.auth == "api-key" else "authorization")


@attrs.frozen(kw_only=True)
class OpenAIChatOptions(AzureOptions):
    """What can be set at the kind `openai`: OpenAI, Azure, and every server that imitates them."""

    base_url: str = attrs.field(default=OPENAI.base_url, validator=_http_url)
    organization: str | None = None
    project: str | None = None
    azure: bool = False
    """Azure OpenAI, as the kind `azure` speaks to it."""

    @property
    def headers(self) -> Headers:
        """What goes with every request."""
        named = (("openai-organization", self.organization), ("openai-project", self.project))
        return tuple((name, value) for name, value in named if value is not None)

    def spoken(self, dialect: Dialect) -> Dialect:
        """The dialect of Azure, of a server that is known by its address, or of one that is not known."""
        if dialect is not OPENAI:
            return super().spoken(dialect)
        known = AZURE if self.azure else dialect_at(self.base_url)
        # `extra` goes by the kind that is configured, whoever answers at the address.
        return super().spoken(attrs.evolve(known, name=OPENAI.name))


def options_of(dialect: Dialect) -> type[DialectOptions]:
    """The options of a dialect: those that all have, with its own address where it has one."""
    base = AzureOptions if dialect.deployments else DialectOptions
    if dialect.base_url is None:
        return base
    made = attrs.make_class(
        base.__name__,
        {"base_url": attrs.field(default=dialect.base_url, validator=_http_url, type=str)},
        bases=(base,),
        frozen=True,
        slots=True,
        kw_only=True,
    )
    return cast("type[DialectOptions]", made)
