"""What comes back: usage, attempts, chunks of a stream, and the response itself."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from msgspec import Struct

from penstock._content import Message, ToolCall
from penstock._discreet import Discreet
from penstock.errors import PenstockError

__all__ = [
    "MOST_TOKENS",
    "Attempt",
    "CacheOutcome",
    "ChatResponse",
    "Chunk",
    "Completion",
    "Finished",
    "Restarted",
    "Saved",
    "Seam",
    "TextDelta",
    "ThinkingDelta",
    "ToolCallDelta",
    "Usage",
    "UsageUpdate",
]

MOST_TOKENS = 10**9
"""Tokens of one kind in one exchange: what is above is not believed where a provider reports it, and refused where a
caller asks for it. A hundred times the largest context window there is (10 million), and small enough for every ledger
to add up exactly."""

CacheOutcome = Literal["off", "miss", "hit", "stale", "follower"]


class Usage(Struct, frozen=True, kw_only=True):
    """Tokens of one or several exchanges, normalised.

    Input includes what the prompt cache read and wrote, output includes the reasoning.
    """

    input_tokens: int = 0
    cached_input_tokens: int = 0
    """Of `input_tokens`, those the provider read from its prompt cache."""
    cache_write_tokens: int = 0
    """Of `input_tokens`, those it wrote to its prompt cache."""
    cache_write_1h_tokens: int = 0
    """Of `cache_write_tokens`, those kept for an hour, which some providers charge more for."""
    output_tokens: int = 0
    reasoning_tokens: int = 0
    """Of `output_tokens`, those spent on thinking."""
    kinds: dict[str, int] = {}
    """What else was counted, by the names prices have for it: of the input `input_audio_tokens`, `input_image_tokens`
    and their `cache_audio_read_tokens`; of the output `output_audio_tokens`; beside the tokens `web_searches`.
    `unnamed_tokens`: of the output, what the provider's total has beyond the input and the output that it names."""
    estimated: bool = False
    """True where the provider did not tell all of it: the best guess stands for it, and the bill may be higher. What is
    charged to accounts and told in `AttemptEnded` is then the most that it can be, where anything bounds that."""

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            cache_write_1h_tokens=self.cache_write_1h_tokens + other.cache_write_1h_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            kinds=_together(self.kinds, other.kinds),
            estimated=self.estimated or other.estimated,
        )


def _together(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    if not (one and other):
        return one or other
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in (*one, *other)}


class Attempt(Struct, frozen=True, kw_only=True):
    """One upstream exchange and how it ended. Times are in seconds; `started` is Unix time."""

    target: str
    number: int
    """Counted from 1 through the whole call."""
    outcome: str
    """`ok`, `cancelled`, or the `kind` of the error."""
    error: PenstockError | None = None
    waited: float = 0.0
    """How long the call waited just before it: back-off, a cool-down, a probe."""
    started: float = 0.0
    duration: float = 0.0
    first_token: float | None = None
    """From the start to the first token; None for unstreamed responses and where none came."""
    usage: Usage | None = None
    cost: Decimal | None = None
    """USD; None where the price is unknown."""
    hedge: bool = False
    probe: bool = False
    provider_request_id: str | None = None


class TextDelta(Discreet, frozen=True, tag="text"):
    """More text. `refusal` marks the model's words on why it will not answer."""

    text: str
    refusal: bool = False


class ThinkingDelta(Discreet, frozen=True, tag="thinking"):
    """More of the reasoning the model shows."""

    text: str


class ToolCallDelta(Discreet, frozen=True, tag="tool_call"):
    """More of a tool call: `index` counts the calls from 0; `id` and `name` come with its first delta."""

    shown = frozenset({"id", "name"})

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class UsageUpdate(Struct, frozen=True, tag="usage"):
    """Usage so far, as the provider reports it; the last one stands."""

    usage: Usage


class Finished(Struct, frozen=True, tag="finished"):
    """The stream ended properly. Always the last chunk, exactly once."""

    finish_reason: str
    usage: Usage


class Restarted(Struct, frozen=True, tag="restarted"):
    """Drop what you have: the answer begins again, from another attempt."""

    target: str


class Seam(Struct, frozen=True, tag="seam"):
    """A continuation by another attempt begins here."""

    target: str


Chunk: TypeAlias = TextDelta | ThinkingDelta | ToolCallDelta | UsageUpdate | Finished | Restarted | Seam


class Completion(Discreet, frozen=True, kw_only=True):
    """What a codec reads from a whole upstream answer."""

    shown = frozenset({"finish_reason", "usage", "model", "id", "request_id"})

    message: Message
    finish_reason: str
    """`stop`, `length`, `tool_calls`, `content_filter`, `refusal`, `pause`, `error`, or the wire's own word."""
    usage: Usage | None = None
    """None where the provider reported none."""
    model: str = ""
    id: str = ""
    request_id: str | None = None
    raw: Any = None
    """The parsed body when unstreamed, None for streams."""


class Saved(Struct, frozen=True, kw_only=True):
    """What an answer out of the cache once took, and this time did not."""

    usage: Usage
    cost: Decimal | None
    """USD; None where the price, or what was used, is unknown."""
    age: float
    """Seconds since it was given."""


class ChatResponse(Discreet, frozen=True, kw_only=True):
    """A complete answer, and how it came about."""

    shown = frozenset({"finish_reason", "cost", "model", "target", "route", "cache", "saved", "capped_by", "id"})

    message: Message
    finish_reason: str
    usage: Usage
    """Of the answer and of every attempt before it."""
    cost: Decimal | None
    """USD, all attempts together; None where a price is unknown."""
    model: str
    target: str
    route: str
    attempts: tuple[Attempt, ...] = ()
    cache: CacheOutcome = "off"
    """`hit`: out of the cache; `stale`: the same, but past its time; `follower`: another call got it just now, and
    shared it; `miss`: asked for upstream; `off`: the cache was not asked."""
    saved: Saved | None = None
    """What the answer would have cost; None where it did."""
    capped_by: Literal["budget"] | None = None
    """`budget` where a budget shortened `max_tokens` and that ended the answer."""
    id: str = ""
    raw: Any = None
    value: Any = None
    """Of the type that the request names as its `output`; None where it names none, or tools were called instead."""
    metadata: Mapping[str, Any] | None = None

    @property
    def text(self) -> str:
        """The text of the answer, joined."""
        return self.message.text

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The tool calls of the answer, in order."""
        return self.message.tool_calls
