"""From a request to a response whose head has come: encoded, authorized, sent.

Not here: what the codec's answers are worth (`_codec_edge`), the response's body (`_incoming`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, cast

import httpx

from penstock._codec_edge import CodecEdge
from penstock._codec_results import flaw_of_wire
from penstock._edge import broken_transport
from penstock._foreign import let_through
from penstock._idempotency import IdempotencyKeys
from penstock._incoming import MAX_BODY, Response
from penstock._transport import Asked, Transport, decompressed
from penstock._transport.connection import Connection
from penstock._transport.dial import Origin
from penstock._transport.plain import Standing
from penstock._transport.timeouts import Timeouts
from penstock.errors import AuthenticationError, ConfigError, UnsendableRequestError
from penstock.policy.stream_watch import Phases
from penstock.types import ChatRequest, Headers, WireRequest

__all__ = ["authorized", "encoded", "idempotency_of", "send", "without"]

OUR_HEADERS = ((b"accept-encoding", b"identity"), (b"user-agent", b"penstock"))
"""A compressed stream comes in lumps; a whole answer is small beside the time it takes to be made."""


def encoded(edge: CodecEdge, request: ChatRequest, *, stream: bool) -> WireRequest:
    """The request as its codec says it, without a credential."""
    return edge.call(edge.codec.encode, request, edge.live.wire, stream=stream, now=edge.wall())


def authorized(edge: CodecEdge, encoded: WireRequest) -> WireRequest:
    """The same with the credential of the moment, which the edge knows from here on."""
    wire = edge.checked(encoded, WireRequest)
    secret = edge.live.provider.secret
    try:
        edge.secret = None if secret is None else secret.reveal()
    except ConfigError as error:
        raise AuthenticationError(f"{edge.target}: {error}") from None
    wire = edge.checked(edge.call(edge.codec.authorize, wire, edge.secret, now=edge.wall()), WireRequest)
    edge.sound(flaw_of_wire(wire))
    return wire


def idempotency_of(edge: CodecEdge, wire: WireRequest, keys: IdempotencyKeys) -> Headers:
    """The idempotency key, where the provider takes one and the target's own headers name none."""
    header = edge.live.provider.idempotency_header
    if header is None:
        return ()
    try:
        for name, _ in wire.headers:
            if name.lower() == header:
                return ()
        return ((header, keys.key(edge.target, wire.body)),)
    except (TypeError, ValueError, AttributeError):
        return ()  # what is wrong with it is told when it is sent


def without(wire: WireRequest, others: Sequence[tuple[str, str]]) -> WireRequest:
    """The same without the headers in whose place these come."""
    names = {name for name, _ in others}
    headers = tuple([header for header in wire.headers if header[0].lower() not in names])
    return WireRequest(wire.method, wire.url, headers, wire.body)


async def send(
    edge: CodecEdge,
    wire: WireRequest,
    own: Headers,
    phases: Phases,
    *,
    placed: Callable[[], object],
    connected: Callable[[Connection], object],
    until: float,
    fresh: bool,
) -> Response:
    """The response, once its head has come. Its body is decompressed as it is read.

    `own` are the headers of this exchange alone: all others are the same for every request to the target.
    Where the transport is the kernel's own, `placed` and `connected` are called as by `Transport.exchange`, and there
    is to be a connection by `until` (monotonic), and a new one where it is to be `fresh`: no other one tells.
    """
    transport = edge.live.provider.transport
    try:
        asked = _asked(wire, own)
    except (httpx.InvalidURL, UnicodeEncodeError, ValueError, TypeError) as error:
        # Never the value: it could be a credential with a line break in it.
        raise UnsendableRequestError(
            f"{edge.target}: the request has a URL or header that HTTP cannot carry ({type(error).__name__})"
        ) from None
    try:
        # Reading has no timeout there: the scope around it knows what is waited for, and until when.
        if isinstance(transport, Transport):
            timeouts = Timeouts(connect=phases.connect, write=phases.write)
            head, headers, stream = await transport.exchange(
                _origin(wire.url), asked, timeouts, placed=placed, connected=connected, until=until, fresh=fresh
            )
            return Response(head.status_code, headers, stream, stream.aclose, ours=True)
        timeout = {"connect": phases.connect, "write": phases.write, "read": None, "pool": None}
        response = await transport.handle_async_request(_http_request(wire.url, asked, timeout))
        # One that was handed in leaves a body as it came.
        response = decompressed(response, limit=MAX_BODY)
    except BaseException as error:  # noqa: BLE001 - foreign code: whatever it raises is translated
        let_through(error)
        failure = broken_transport(error, edge.target)
    else:
        body = cast("httpx.AsyncByteStream", response.stream)
        return Response(response.status_code, response.headers.raw, body, response.aclose, ours=False)
    try:
        raise edge.discreet(failure)
    finally:
        del failure  # it holds this frame: together they would wait for the garbage collector


def _asked(wire: WireRequest, own: Headers) -> Asked:
    """The codec's headers, and ours where it names none."""
    names = tuple([name for name, _ in own])
    try:
        standing = _standing(wire.method, wire.url, wire.headers, names)
    except TypeError:  # headers in lists do as well: they are looked through each time
        standing = _standing.__wrapped__(wire.method, wire.url, wire.headers, names)
    return standing.asked([value.encode("ascii") for _, value in own], wire.body)


@lru_cache(maxsize=1_024)
def _standing(method: str, url: str, headers: Headers, own: tuple[str, ...]) -> Standing:
    """To write a head and look through it costs more than to send it; of those to one target a few fields differ."""
    place = _place(url)
    fields = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    named = [name.lower() for name, _ in fields]
    fields += [field for field in OUR_HEADERS if field[0] not in named]
    if b"host" not in named:
        fields.insert(0, (b"host", place.host))
    return Standing.of(method.upper(), place.target, fields, [name.encode("ascii") for name in own])


def _http_request(url: str, asked: Asked, timeout: Mapping[str, float | None]) -> httpx.Request:
    """The same for a transport that was handed in. Its body has been read, as if it had been given whole.

    httpx would find out what a body is and what headers it needs, at the price of all the rest.
    """
    stream = httpx.ByteStream(asked.body)
    extensions = {"timeout": timeout}
    request = httpx.Request(
        asked.method, _place(url).url, headers=list(asked.headers), stream=stream, extensions=extensions
    )
    request.read()
    return request


class _Place(NamedTuple):
    """What a URL comes to."""

    url: httpx.URL
    target: bytes
    host: bytes


@lru_cache(maxsize=1_024)
def _place(url: str) -> _Place:
    """Parsing costs more than a request; targets are few, and each has one URL."""
    parsed = httpx.URL(url)
    return _Place(parsed, parsed.raw_path, parsed.netloc)


@lru_cache(maxsize=1_024)
def _origin(url: str) -> Origin:
    """Where a URL goes. Raises httpx.UnsupportedProtocol."""
    return Origin.of(_place(url).url)
