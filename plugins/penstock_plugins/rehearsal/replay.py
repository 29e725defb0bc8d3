"""Recorded exchanges, played again: the upstream answers with bytes a real provider once sent.

Not here: reading recordings from files, and faults, which strike recorded answers as they strike made ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

from penstock.types import Discreet, Headers
from penstock_plugins.rehearsal.ask import Ask
from penstock_plugins.rehearsal.faults import EventKind
from penstock_plugins.rehearsal.script import WireName
from penstock_plugins.rehearsal.wire import Event, Reply, Wire, pieces_of

__all__ = ["Replay", "recorded_reply"]

_EVENT = re.compile(rb"[\s\S]*?(?:\r\n\r\n|\n\n|\r\r|$)")
# They describe the bytes on the recorded wire; ours are framed anew.
_FRAMING = frozenset({"content-length", "transfer-encoding", "content-encoding", "connection", "keep-alive"})


class Replay(Discreet, frozen=True, kw_only=True):
    """A recorded response and the requests it answers."""

    shown = frozenset({"status", "wire", "model", "streamed"})

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    """As it was decoded: chunks joined, unpacked."""
    wire: WireName | None = None
    model: str = "*"
    """A pattern as of file names."""
    streamed: bool | None = None
    """None: answers requests for streams and others."""
    output_tokens: int = 0
    """What the recording says it cost; counted chunk by chunk in equal parts."""

    def answers(self, ask: Ask) -> bool:
        """True where it is played for a request."""
        fits = self.wire in (None, ask.wire) and self.streamed in (None, ask.streamed)
        return fits and fnmatchcase(ask.model, self.model)


def recorded_reply(replay: Replay, wire: Wire) -> Reply:
    """The recording as a response: a stream falls into its events, anything else into pieces."""
    headers = tuple((name.lower(), value) for name, value in replay.headers if name.lower() not in _FRAMING)
    kept = dict(headers)
    if not kept.get("content-type", "").startswith("text/event-stream"):
        return Reply(replay.status, headers, pieces_of(replay.body, replay.output_tokens))
    found = [piece for piece in _EVENT.findall(replay.body) if piece]
    kinds: list[EventKind] = [wire.kind_of(piece, first=index == 0) for index, piece in enumerate(found)]
    shares = _shares(replay.output_tokens, kinds.count("content"))
    events = tuple(
        Event(piece, kind, next(shares, 0) if kind == "content" else 0)
        for piece, kind in zip(found, kinds, strict=True)
    )
    return Reply(replay.status, headers, events, streamed=True)


def _shares(total: int, parts: int) -> Iterator[int]:
    """Whole numbers as equal as they can be, with that sum."""
    return (total * (index + 1) // parts - total * index // parts for index in range(parts))
