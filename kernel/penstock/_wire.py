"""What passes between the kernel and a codec: HTTP requests and responses as values, targets and capabilities."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from penstock._discreet import Discreet

__all__ = [
    "Capabilities",
    "Headers",
    "KindPrice",
    "Price",
    "SchemaLimits",
    "Target",
    "TimedPrice",
    "ToolCallIdForm",
    "WireHead",
    "WireRequest",
    "WireResponse",
]

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""Names in lower case, in the order they are sent or came."""


class WireRequest(Discreet, frozen=True, gc=False):
    """One HTTP request. Headers hold no credential until `Provider.authorize` has added it."""

    shown = frozenset({"method"})

    method: str
    url: str
    headers: Headers
    body: bytes


class WireHead(Discreet, frozen=True, gc=False):
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


class WireResponse(WireHead, frozen=True, gc=False):
    """A whole HTTP response."""

    body: bytes = b""


SHORTEST_LIMIT = 8
"""Letters and digits: 62**8 names are enough for the calls of any conversation."""


class ToolCallIdForm(Struct, frozen=True, kw_only=True):
    """What a wire demands of the ids of tool calls. ASCII letters and digits are taken by all.

    Raises ValueError where `longest` is below 8, or below `shortest`: the ids of a conversation must stay apart.
    """

    symbols: str | None = None
    """The other characters that are taken; None: any."""
    shortest: int = 1
    """Characters."""
    longest: int | None = None
    """Characters; None: no limit is known."""

    def __post_init__(self) -> None:
        if self.longest is not None and self.longest < max(self.shortest, SHORTEST_LIMIT):
            raise ValueError(f"longest must be at least {SHORTEST_LIMIT}, and not below shortest")


class SchemaLimits(Struct, frozen=True, kw_only=True):
    """What a native schema mode can say. None: no limit is known.

    A schema beyond it is not sent: the same is asked for by a tool, or in words, and checked here in any case.
    """

    all_required: bool = False
    """Every property has to be required: what may be missing is asked for as null."""
    recursion: bool = True
    most_properties: int | None = None
    most_optional: int | None = None
    most_unions: int | None = None
    most_enumerated: int | None = None
    deepest: int | None = None
    """Levels of objects in objects."""
    unsaid: frozenset[str] = frozenset()
    """Keywords that it does not take: they are left out. Without them more is allowed, and nothing is forbidden."""
    refused: frozenset[str] = frozenset()
    """Keywords that it does not take, and that say too much to be left out. `oneOf` is said as `anyOf`."""
    formats: frozenset[str] | None = None
    """The formats that it knows; others are left out. None: all."""
    lone_references: bool = False
    """Nothing may stand beside a `$ref`: what is described there is written out."""
    typed: bool = False
    """Every part has to name its type."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a model can do and what it takes, as far as its codec knows. None: not known.

    What is False here is not sent: the kernel leaves it out and tells so, or passes over the target, as the route's
    `on_unsupported` says. What depends on the rest of a request is the codec's to say (`Provider.unsupported`).
    """

    prefill: bool = False
    json_schema: bool | None = None
    json_object: bool = False
    """It takes the wish for a JSON object without a schema: an OutputSchema whose schema is empty."""
    schema_limits: SchemaLimits = SchemaLimits()
    """Of the schemas that it takes, where it takes any."""
    tools: bool = True
    parallel_tools: bool = True
    """It may call several tools at once."""
    parallel_tool_calls: bool = True
    """It takes the parameter of that name, which some models refuse whatever its value."""
    vision: bool = True
    seed: bool | None = None
    temperature: bool = True
    """It takes another temperature than 1."""
    highest_temperature: float | None = None
    """None: not known. A higher one is not taken."""
    top_p: bool = True
    """It takes another top_p than 1."""
    stop: bool = True
    thinking: bool = True
    """It can be asked to think."""
    thinking_parts: Literal["any", "signed", "none"] = "any"
    """Which thinking of its own wire family goes back to it. Signed is what the same model signed."""
    parts_bound_to: Literal["family", "provider"] = "family"
    """Whose parts go back to it. Many servers imitate one wire, each with fields of its own for reasoning and the like,
    and refuse the others': with `provider` thinking goes back to the very model that showed it, and what else is bound
    to the wire to the same provider."""
    citations: str | None = ""
    """How the types of the citations end that go back to it with their text; None: none do."""
    tool_call_id: ToolCallIdForm | None = None
    """None: any id is taken."""
    stream_usage: bool = True
    reasoning: bool = False
    """It may think silently before the first token."""
    context_window: int | None = None
    max_output: int | None = None


class KindPrice(Struct, frozen=True):
    """What one kind of `Usage.kinds` costs: nano-USD per million of it."""

    kind: str
    nano_usd: int


class Price(Struct, frozen=True, kw_only=True, cache_hash=True):
    """Nano-USD per million tokens: whole numbers, so that no rounding hides in a float. 1 USD is 10**9."""

    input: int
    output: int
    cached_input: int | None = None
    """None: as input."""
    cache_write: int | None = None
    """None: as input."""
    cache_write_1h: int | None = None
    """None: as cache_write."""
    reasoning: int | None = None
    """None: as output."""
    request: int = 0
    """Nano-USD for each request, whatever its size."""
    kinds: tuple[KindPrice, ...] = ()
    """What the kinds of `Usage.kinds` cost. One that is not named here costs what the tokens around it cost."""
    as_of: str = ""
    """The day the figures were taken, ISO 8601."""
    source: str = ""
    """Where they are from, for people to read; where it is empty penstock names the plugin."""
    long: Price | None = None
    """What all tokens of a request cost whose input is above `long_above` tokens; None: the same."""
    long_above: int = 0
    timed: tuple[TimedPrice, ...] = ()
    """Prices for other days and hours. The last that is in force when a request begins replaces this one."""


class TimedPrice(Struct, frozen=True, kw_only=True):
    """A price from a day on, or for some hours of each day, in UTC. It is in force where both of its limits say so."""

    price: Price
    """Its own `timed` is not looked at."""
    starts: int = 0
    """Unix time, in seconds."""
    hours: tuple[int, int] | None = None
    """From the first to before the second, in seconds of the day; the second may be past midnight, and so smaller."""

    def in_force(self, at: float) -> bool:
        """True where a request that begins at that Unix time has this price."""
        if at < self.starts:
            return False
        if self.hours is None:
            return True
        first, last = self.hours
        second = at % 86_400
        return first <= second < last if first <= last else second >= first or second < last


class Target(Discreet, frozen=True, kw_only=True):
    """One (provider, model) as a codec sees it. `params` are body fields merged under the request's own."""

    shown = frozenset({"name", "provider", "model"})

    name: str
    provider: str
    model: str
    params: dict[str, Any] = {}
    headers: Headers = ()
    default_max_tokens: int | None = None
    count_tokens: Callable[[str], int | None] | None = None
    """The tokens of a text, exactly, as a plugin's tokenizer counts them for the model (`penstock_tokenizer`); it may
    have broken, and tells None then. None: no plugin knows the model."""

    def most_tokens(self, text: str) -> int:
        """The tokens that a text can come to: exact where a plugin counts them, else one for each UTF-8 byte."""
        exact = None if self.count_tokens is None else self.count_tokens(text)
        if exact is not None:
            return exact
        return len(text) if text.isascii() else len(text.encode())
