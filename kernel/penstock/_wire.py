"""What passes between the kernel and a codec: HTTP requests and responses as values, targets and capabilities."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from penstock._discreet import Discreet

__all__ = ["Capabilities", "Headers", "Price", "Target", "WireHead", "WireRequest", "WireResponse"]

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Names in lower case, in the order they are sent or came."""


class WireRequest(Discreet, frozen=True):
    """One HTTP request. Headers hold no credential until `Provider.authorize` has added it."""

    shown = frozenset({"method"})

    method: str
    url: str
    headers: Headers
    body: bytes


class WireHead(Discreet, frozen=True):
    """Status and headers of a response, before its body."""

    shown = frozenset({"status"})

    status: int
    headers: Headers = ()

    def header(self, name: str) -> str | None:
        """The last header of that lower-case name."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None


class WireResponse(WireHead, frozen=True):
    """A whole HTTP response."""

    body: bytes = b""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a model can do, as far as its codec knows. None: not known."""

    prefill: bool = False
    json_schema: bool = False
    tools: bool = True
    parallel_tools: bool = True
    vision: bool = True
    seed: bool = False
    stream_usage: bool = True
    reasoning: bool = False
    """It may think silently before the first token."""
    context_window: int | None = None
    max_output: int | None = None


class Price(Struct, frozen=True, kw_only=True):
    """Nano-USD per million tokens: whole numbers, so that no rounding hides in a float. 1 USD is 10**9."""

    input: int
    output: int
    cached_input: int | None = None
    """None: as input."""
    cache_write: int | None = None
    """None: as input."""
    cache_write_1h: int | None = None
    """None: as cache_write."""
    as_of: str = ""
    """The day the figures were taken, ISO 8601."""
    long: Price | None = None
    """What all tokens of a request cost whose input is above `long_above` tokens; None: the same."""
    long_above: int = 0


class Target(Discreet, frozen=True, kw_only=True):
    """One (provider, model) as a codec sees it. `params` are body fields merged under the request's own."""

    shown = frozenset({"name", "provider", "model"})

    name: str
    provider: str
    model: str
    params: dict[str, Any] = {}
    headers: Headers = ()
    default_max_tokens: int | None = None
