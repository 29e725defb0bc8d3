"""What the core asks of a wire: to read requests, and to write answers and errors.

Not here: any wire. The writers know nothing of penstock's codecs: what one side gets wrong the other must not excuse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import formatdate
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from penstock.types import Discreet, Headers, WireRequest
from penstock_plugins.rehearsal.ask import Ask
from penstock_plugins.rehearsal.draft import Draft
from penstock_plugins.rehearsal.faults import EventKind, RateLimit
from penstock_plugins.rehearsal.script import WireName

__all__ = ["Event", "Reply", "Stamp", "Trouble", "Wire", "header", "pieces_of", "retry_headers", "sse"]

Trouble: TypeAlias = Literal[
    "rate_limit",
    "quota",
    "server",
    "overloaded",
    "wrong_key",
    "permission",
    "model_not_found",
    "invalid_request",
    "context_length",
    "filtered",
    "not_found",
    "method",
    "too_large",
]
"""What an error response is about."""


_PIECES = 8


class Stamp(Struct, frozen=True):
    """What no request says: the name of the exchange and the wall time, as Unix time."""

    id: str
    wall: float


class Event(Discreet, frozen=True):
    """A piece of a body, with what it is for and the tokens of the answer it holds."""

    shown = frozenset({"kind"})

    data: bytes
    kind: EventKind = "content"
    output_tokens: int = 0


class Reply(Discreet, frozen=True):
    """A response before faults: status, headers without the framing, the pieces of the body."""

    shown = frozenset({"status"})

    status: int
    headers: Headers
    events: tuple[Event, ...]
    streamed: bool = False
    chunks_before: int = 0
    """How many chunks' worth of time it took to make what is sent at once."""

    @property
    def body(self) -> bytes:
        """All pieces together."""
        return b"".join(event.data for event in self.events)


class Wire(Protocol):
    """The grammar of one provider family. Pure."""

    @property
    def name(self) -> WireName:
        """As scripts and statistics call it."""
        ...

    def owns(self, path: str) -> bool:
        """True where requests to that path (without its query) are for this wire."""
        ...

    def read(self, request: WireRequest) -> Ask:
        """What is asked; raises BadRequest."""
        ...

    def key(self, headers: Headers) -> str:
        """The secret the caller sent; empty: none."""
        ...

    def body(self, ask: Ask, draft: Draft, stamp: Stamp) -> bytes:
        """The answer at once, as JSON."""
        ...

    def stream(self, ask: Ask, draft: Draft, stamp: Stamp) -> tuple[Event, ...]:
        """The answer in events."""
        ...

    def hollow(self, ask: Ask) -> tuple[Event, ...]:
        """JSON, or events, that lack what an answer must have."""
        ...

    def error(self, trouble: Trouble, stamp: Stamp, *, message: str = "", status: int | None = None) -> Reply:
        """An error response."""
        ...

    def error_event(self, trouble: Trouble, stamp: Stamp) -> bytes:
        """An error as an event of a stream."""
        ...

    def exhausted(self, after_s: float, stamp: Stamp) -> Headers:
        """The headers that tell a used-up limit and when it is filled again."""
        ...

    def kind_of(self, event: bytes, *, first: bool) -> EventKind:
        """What an event of a recorded stream is for."""
        ...

    def identity(self, stamp: Stamp) -> Headers:
        """The headers that name the exchange."""
        ...


def header(headers: Headers, name: str) -> str:
    """The last header of that lower-case name, or nothing."""
    return dict(headers).get(name, "")


def sse(payload: bytes, event: str | None = None) -> bytes:
    """One server-sent event."""
    name = b"" if event is None else b"event: %s\n" % event.encode()
    return b"%sdata: %s\n\n" % (name, payload)


def pieces_of(body: bytes, output_tokens: int) -> tuple[Event, ...]:
    """A body that is sent at once, in pieces: so there is a middle in which things can go wrong.

    All tokens are the first piece's: all of it was generated before the first byte could be sent.
    """
    size = max(1, -(-len(body) // _PIECES))
    starts = range(0, len(body), size)
    return tuple(
        Event(
            body[start : start + size],
            "end" if start == starts[-1] else "content",
            output_tokens if start == 0 else 0,
        )
        for start in starts
    )


def retry_headers(fault: RateLimit, wire: Wire, stamp: Stamp) -> Headers:
    """When to come back, in the spelling the fault asks for; `none` and `message` are in no header."""
    spelled: Mapping[str, Headers] = {
        "seconds": (("retry-after", f"{fault.after_s:g}"),),
        "milliseconds": (("retry-after-ms", f"{fault.after_s * 1000:g}"),),
        # A date has whole seconds: rounded up, or the client would come too early.
        "date": (("retry-after", formatdate(math.ceil(stamp.wall + fault.after_s), usegmt=True)),),
        "reset": wire.exhausted(fault.after_s, stamp),
    }
    return spelled.get(fault.hint, ())
