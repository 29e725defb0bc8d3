"""What a front does with one exchange, step by step: values, no sockets.

Not here: why these steps (`sabotage`), and playing them (`socket_front`, `transport_front`). A plan says everything
that can be seen on the wire, the silences too, so that both fronts show the same faults.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from penstock.types import Discreet, Headers

__all__ = ["Close", "Connect", "Data", "End", "Hang", "Head", "Refuse", "Reset", "Step", "Upload", "Wait"]


class Connect(Struct, frozen=True):
    """The connection takes so long to come about; None: it never does. A socket that was accepted is silent instead."""

    seconds: float | None


class Upload(Struct, frozen=True):
    """The request takes so long to be read; None: it never is. A socket it was read from is silent instead."""

    seconds: float | None


class Head(Struct, frozen=True):
    """Status line and headers are written."""

    status: int
    headers: Headers


class Data(Discreet, frozen=True):
    """A piece of the body is written at once."""

    data: bytes
    output_tokens: int = 0
    """How many tokens of the answer were paid for with this piece."""


class Wait(Struct, frozen=True):
    """Nothing happens for a while."""

    seconds: float


class Hang(Struct, frozen=True):
    """Nothing happens ever again: until the client leaves, or the front is closed."""


class End(Struct, frozen=True):
    """The body ends as HTTP wants it to."""


class Reset(Struct, frozen=True):
    """The connection breaks: RST."""


class Close(Struct, frozen=True):
    """The connection is closed in order (FIN), whatever was promised before."""


class Refuse(Struct, frozen=True):
    """There was no connection. A socket that was accepted before the model was known is reset instead."""


Step: TypeAlias = Connect | Upload | Head | Data | Wait | Hang | End | Reset | Close | Refuse
