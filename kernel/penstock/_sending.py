"""From a request to a response whose head has come: encoded, authorized, sent.

Not here: what the codec's answers are worth (`_codec_edge`), the response's body (`_incoming`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import httpx

from penstock._codec_edge import CodecEdge
from penstock._edge import broken_transport
from penstock._idempotency import IdempotencyKeys
from penstock._incoming import MAX_BODY
from penstock._transport import decompressed
from penstock._transport.body import Body
from penstock.errors import AuthenticationError, ConfigError, UnsendableRequestError
from penstock.policy.stream_watch import Phases
from penstock.types import ChatRequest, WireRequest

__all__ = ["authorized", "encoded", "keyed", "send", "traced"]

OUR_HEADERS = (("accept-encoding", "identity"), ("user-agent", "penstock"))
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
    return edge.checked(edge.call(edge.codec.authorize, wire, edge.secret, now=edge.wall()), WireRequest)


def keyed(edge: CodecEdge, wire: WireRequest, keys: IdempotencyKeys) -> WireRequest:
    """The same with an idempotency key, where the provider takes one and the target's own headers name none."""
    header = edge.live.provider.idempotency_header
    if header is None:
        return wire
    try:
        for name, _ in wire.headers:
            if name.lower() == header:
                return wire
        headers = (*wire.headers, (header, keys.key(edge.target, wire.body)))
    except (TypeError, ValueError, AttributeError):
        return wire  # what is wrong with it is told when it is sent
    return WireRequest(wire.method, wire.url, headers, wire.body)


def traced(wire: WireRequest, headers: Sequence[tuple[str, str]]) -> WireRequest:
    """The same with the headers of its trace, in the place of any that the target's own name."""
    if not headers:
        return wire
    names = {name for name, _ in headers}
    others = [header for header in wire.headers if header[0].lower() not in names]
    return WireRequest(wire.method, wire.url, (*others, *headers), wire.body)


async def send(edge: CodecEdge, wire: WireRequest, phases: Phases) -> httpx.Response:
    """The response, once its head has come. Its body is decompressed as it is read."""
    # Reading has no timeout there: the scope around it knows what is waited for, and until when.
    timeout = {"connect": phases.connect, "write": phases.write, "read": None, "pool": None}
    try:
        request = _http_request(wire, {"timeout": timeout})
    except (httpx.InvalidURL, UnicodeEncodeError, ValueError, TypeError) as error:
        # Never the value: it could be a credential with a line break in it.
        raise UnsendableRequestError(
            f"{edge.target}: the request has a URL or header that HTTP cannot carry ({type(error).__name__})"
        ) from None
    try:
        response = await edge.live.provider.transport.handle_async_request(request)
    except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises is translated
        failure = broken_transport(error, edge.target)
    else:
        # Our own transport has done it; one that was handed in leaves a body as it came.
        return response if isinstance(response.stream, Body) else decompressed(response, limit=MAX_BODY)
    try:
        raise edge.discreet(failure)
    finally:
        del failure  # it holds this frame: together they would wait for the garbage collector


def _http_request(wire: WireRequest, extensions: dict[str, object]) -> httpx.Request:
    """The codec's headers, and ours where it names none. Its body has been read, as if it had been given whole.

    httpx would find out what a body is and what headers it needs, at the price of all the rest.
    """
    url, host = _parsed(wire.url)
    named = {name.lower() for name, _ in wire.headers}
    headers = [*wire.headers, *(header for header in OUR_HEADERS if header[0] not in named)]
    if "host" not in named:
        headers.insert(0, ("host", host))
    if "content-length" not in named and "transfer-encoding" not in named:
        headers.append(("content-length", str(len(wire.body))))
    stream = httpx.ByteStream(wire.body)
    request = httpx.Request(wire.method, url, headers=headers, stream=stream, extensions=extensions)
    request.read()
    return request


@lru_cache(maxsize=1_024)
def _parsed(url: str) -> tuple[httpx.URL, str]:
    """The URL and its `host` header. Parsing costs more than a request; targets are few, and each has one URL."""
    parsed = httpx.URL(url)
    return parsed, parsed.netloc.decode("ascii")
