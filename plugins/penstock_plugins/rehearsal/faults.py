"""The faults an upstream can have, as frozen values that a TOML or JSON script can name.

Not here: when they happen (`script`) and what they do to an answer (`sabotage`). Each is written with its tag in
a script: `{ fault = "rate-limit", hint = "milliseconds", after_s = 0.2 }`. A fault of streams does to an unstreamed
answer what comes nearest: its body is treated as chunks, too.
"""

from __future__ import annotations

import math
import re
from typing import Literal, TypeAlias, get_args

from msgspec import Struct

__all__ = [
    "ALL",
    "ContextLength",
    "CutStream",
    "DuplicateChunks",
    "EmptyBody",
    "ErrorEvent",
    "EventKind",
    "Fault",
    "FilteredAnswer",
    "FilteredRequest",
    "GzipBomb",
    "HeaderBomb",
    "Hint",
    "Html",
    "IgnoreMaxTokens",
    "InvalidRequest",
    "LateFirstToken",
    "MalformedChunk",
    "MissingTerminator",
    "ModelNotFound",
    "NoUsage",
    "Overloaded",
    "PermissionDenied",
    "Quota",
    "RateLimit",
    "Refused",
    "ResetConnection",
    "ServerFailure",
    "SilentAfterHead",
    "SilentBeforeHead",
    "SlowConnect",
    "SlowUpload",
    "SplitUtf8",
    "Stall",
    "Trickle",
    "WrongJson",
    "WrongKey",
    "fault_name",
]

Hint: TypeAlias = Literal["none", "seconds", "milliseconds", "date", "message", "reset"]
"""Where a rate limit says when to come back: nowhere, in `retry-after`, in `retry-after-ms`, in `retry-after` as an
HTTP date, in the sentence of the error, or in the reset of a used-up limit."""

EventKind: TypeAlias = Literal["start", "ping", "content", "finish", "usage", "end"]
"""What an event of a stream is for: it opens, keeps alive, says something, tells why it ends, counts, ends."""


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


class _Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="fault", tag=_kebab):
    """Base: no number in a fault is negative or without an end."""

    def __post_init__(self) -> None:
        for field in self.__struct_fields__:
            value: object = getattr(self, field)
            if isinstance(value, int | float) and not 0 <= value < math.inf:
                raise ValueError(f"{fault_name(self)}: {field} is {value}; it must be a finite number from 0 up")


class RateLimit(_Fault, frozen=True):
    """429: come back later."""

    hint: Hint = "seconds"
    after_s: float = 1.0


class Quota(_Fault, frozen=True):
    """The account has no money left: coming back does not help."""


class ServerFailure(_Fault, frozen=True):
    """An error of theirs: 500, 502, 503, 504 ..."""

    status: int = 500


class Overloaded(_Fault, frozen=True):
    """They have too much to do: 529, at OpenAI 503."""

    status: int = 529


class WrongKey(_Fault, frozen=True):
    """401."""


class PermissionDenied(_Fault, frozen=True):
    """403."""


class ModelNotFound(_Fault, frozen=True):
    """404 for the model."""


class InvalidRequest(_Fault, frozen=True):
    """400: the request is to blame."""


class ContextLength(_Fault, frozen=True):
    """400: the prompt is too long for the model."""


class FilteredRequest(_Fault, frozen=True):
    """400: a filter refuses the prompt."""


class FilteredAnswer(_Fault, frozen=True):
    """200, but a filter (OpenAI) or the model itself (Anthropic) ends the answer after some chunks."""

    after_chunks: int = 2


class Refused(_Fault, frozen=True):
    """No connection. Alone in a window of time it closes the port; with a condition on the request it is a reset."""


class ResetConnection(_Fault, frozen=True):
    """The connection breaks; `abrupt=False`: it is closed in order instead, but too early."""

    at: Literal["before_head", "after_head", "mid_body"] = "before_head"
    after_chunks: int = 3
    abrupt: bool = True


class SlowConnect(_Fault, frozen=True):
    """The connection takes long, or for ever, to come about. In memory only: a socket is silent before the head."""

    for_s: float | None = None


class SlowUpload(_Fault, frozen=True):
    """The request is read late, or never. In memory only: a socket is silent before the head."""

    for_s: float | None = None


class SilentBeforeHead(_Fault, frozen=True):
    """The request is read and nothing comes, for a while or for ever."""

    for_s: float | None = None


class SilentAfterHead(_Fault, frozen=True):
    """Status and headers come, and then nothing, for a while or for ever."""

    for_s: float | None = None


class LateFirstToken(_Fault, frozen=True):
    """The stream opens at once, its first content comes late."""

    by_s: float = 1.0


class Stall(_Fault, frozen=True):
    """Silence in the middle, for a while or for ever."""

    after_chunks: int = 3
    for_s: float | None = None


class Trickle(_Fault, frozen=True):
    """Everything comes, slowly."""

    bytes_per_s: float = 50.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bytes_per_s == 0:
            raise ValueError("trickle: bytes_per_s is 0; that is a stall")


class CutStream(_Fault, frozen=True):
    """The connection is closed after some chunks; `clean=True`: the body ends as if it were whole."""

    after_chunks: int = 3
    clean: bool = False


class MissingTerminator(_Fault, frozen=True):
    """All content comes, and the mark of the end does not; `finish_reason=False`: the reason does not come either."""

    finish_reason: bool = True


class MalformedChunk(_Fault, frozen=True):
    """One event is no JSON; the rest follows."""

    after_chunks: int = 3


class ErrorEvent(_Fault, frozen=True):
    """200, and then an error where an event should be; 0 chunks: before any content."""

    after_chunks: int = 0
    kind: Literal["overloaded", "server", "rate_limit"] = "overloaded"


class DuplicateChunks(_Fault, frozen=True):
    """Events of one kind come twice."""

    kind: EventKind = "content"


class SplitUtf8(_Fault, frozen=True):
    """Every character of several bytes is cut in two."""


class GzipBomb(_Fault, frozen=True):
    """A small body that unpacks to a huge one."""

    decompressed_bytes: int = 256 * 1024 * 1024


class HeaderBomb(_Fault, frozen=True):
    """More headers than anyone should read."""

    header_bytes: int = 1024 * 1024


class Html(_Fault, frozen=True):
    """A page of some gateway instead of an answer, as 502 or even as 200."""

    status: int = 502


class WrongJson(_Fault, frozen=True):
    """200 with JSON that lacks what it must have."""


class EmptyBody(_Fault, frozen=True):
    """200 and not a byte."""


class IgnoreMaxTokens(_Fault, frozen=True):
    """The answer is longer than `max_tokens` allows, and is billed."""

    extra_tokens: int = 200


class NoUsage(_Fault, frozen=True):
    """The answer is whole, but nowhere says what it used."""


Fault: TypeAlias = (
    RateLimit
    | Quota
    | ServerFailure
    | Overloaded
    | WrongKey
    | PermissionDenied
    | ModelNotFound
    | InvalidRequest
    | ContextLength
    | FilteredRequest
    | FilteredAnswer
    | Refused
    | ResetConnection
    | SlowConnect
    | SlowUpload
    | SilentBeforeHead
    | SilentAfterHead
    | LateFirstToken
    | Stall
    | Trickle
    | CutStream
    | MissingTerminator
    | MalformedChunk
    | ErrorEvent
    | DuplicateChunks
    | SplitUtf8
    | GzipBomb
    | HeaderBomb
    | Html
    | WrongJson
    | EmptyBody
    | IgnoreMaxTokens
    | NoUsage
)

ALL: tuple[type[Fault], ...] = get_args(Fault)
"""Every kind there is."""


def fault_name(fault: _Fault) -> str:
    """The tag a script names it by."""
    return _kebab(type(fault).__name__)
