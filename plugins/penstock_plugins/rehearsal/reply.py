"""What the upstream says: an answer of its own, a recorded one, an error, or what some gateway puts in its place.

Not here: how it gets to the client, or does not (`sabotage`).
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import formatdate

from msgspec import Struct, structs

from penstock.types import Headers
from penstock_plugins.rehearsal import faults
from penstock_plugins.rehearsal.ask import Ask
from penstock_plugins.rehearsal.bombs import gzip_bomb, header_bomb
from penstock_plugins.rehearsal.draft import Draft, make_draft
from penstock_plugins.rehearsal.faults import Fault
from penstock_plugins.rehearsal.wire import Event, Reply, Stamp, Trouble, Wire, pieces_of, retry_headers

__all__ = ["Scene", "dated", "make_reply"]

_PAGE = b"<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1><hr>rehearsal</body></html>\n"
_BOMB_PIECE = 16_384

_TROUBLES: dict[type[object], Trouble] = {
    faults.RateLimit: "rate_limit",
    faults.Quota: "quota",
    faults.ServerFailure: "server",
    faults.Overloaded: "overloaded",
    faults.WrongKey: "wrong_key",
    faults.PermissionDenied: "permission",
    faults.ModelNotFound: "model_not_found",
    faults.InvalidRequest: "invalid_request",
    faults.ContextLength: "context_length",
    faults.FilteredRequest: "filtered",
}


class Scene(Struct, frozen=True):
    """Everything an exchange is made from, apart from the fault."""

    ask: Ask
    wire: Wire
    stamp: Stamp
    first_s: float
    chunk_s: Callable[[int], float]
    """The wait before the chunk of that number."""
    recorded: Reply | None = None
    """Played in place of an answer of our own."""


def make_reply(fault: Fault | None, scene: Scene) -> Reply:
    """The response, whole, before it is on its way."""
    trouble = _TROUBLES.get(type(fault))
    reply = _answer(fault, scene) if trouble is None else _error(fault, trouble, scene)
    return dated(reply, scene.stamp)


def dated(reply: Reply, stamp: Stamp) -> Reply:
    """With the date every server tells."""
    return structs.replace(reply, headers=(("date", formatdate(stamp.wall, usegmt=True)), *reply.headers))


def _error(fault: Fault | None, trouble: Trouble, scene: Scene) -> Reply:
    match fault:
        case faults.RateLimit(hint=hint, after_s=after_s):
            message = f"Rate limit reached. Please try again in {after_s:g}s." if hint == "message" else ""
            reply = scene.wire.error(trouble, scene.stamp, message=message)
            return structs.replace(reply, headers=(*reply.headers, *retry_headers(fault, scene.wire, scene.stamp)))
        case faults.ServerFailure(status=status):
            return scene.wire.error(trouble, scene.stamp, status=status)
        case faults.Overloaded(status=status):
            # 529 is a status of Anthropic's own; elsewhere it means the usual one.
            usual = status == 529 and scene.wire.name != "anthropic"
            return scene.wire.error(trouble, scene.stamp, status=None if usual else status)
        case _:
            return scene.wire.error(trouble, scene.stamp)


def _answer(fault: Fault | None, scene: Scene) -> Reply:
    headers = _headers(scene)
    streamed = scene.ask.streamed
    match fault:
        case faults.Html(status=status):
            return Reply(status, (("content-type", "text/html; charset=utf-8"),), (Event(_PAGE),))
        case faults.EmptyBody():
            return Reply(200, headers, (), streamed=streamed)
        case faults.WrongJson():
            return Reply(200, headers, scene.wire.hollow(scene.ask), streamed=streamed)
        case faults.GzipBomb(decompressed_bytes=size):
            packed = gzip_bomb(size)
            pieces = tuple(packed[start : start + _BOMB_PIECE] for start in range(0, len(packed), _BOMB_PIECE))
            return Reply(200, (*headers, ("content-encoding", "gzip")), tuple(Event(piece) for piece in pieces))
        case faults.HeaderBomb(header_bytes=size):
            whole = scene.recorded or _own(make_draft(scene.ask), scene)
            return structs.replace(whole, headers=(*whole.headers, *header_bomb(size)))
        case faults.ErrorEvent(kind=kind) if not streamed:
            error = scene.wire.error(kind, scene.stamp)
            return structs.replace(error, status=200)
        case faults.IgnoreMaxTokens(extra_tokens=extra):
            return _own(make_draft(scene.ask, beyond_max=extra), scene)
        case faults.FilteredAnswer(after_chunks=after):
            return _own(make_draft(scene.ask, filtered_after=after), scene)
        case faults.NoUsage():
            return _own(make_draft(scene.ask, tells_usage=False), scene)
        case _:
            return scene.recorded or _own(make_draft(scene.ask), scene)


def _own(draft: Draft, scene: Scene) -> Reply:
    """An answer of our own, streamed or at once."""
    if scene.ask.streamed:
        return Reply(200, _headers(scene), scene.wire.stream(scene.ask, draft, scene.stamp), streamed=True)
    body = scene.wire.body(scene.ask, draft, scene.stamp)
    chunks = sum(len(block.fragments) for block in draft.blocks)
    return Reply(200, _headers(scene), pieces_of(body, draft.output_tokens), chunks_before=chunks)


def _headers(scene: Scene) -> Headers:
    kind = "text/event-stream; charset=utf-8" if scene.ask.streamed else "application/json"
    return (("content-type", kind), *scene.wire.identity(scene.stamp))
