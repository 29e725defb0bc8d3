"""The edge to HTTP: every exception a transport may raise, translated once into one of ours."""

from __future__ import annotations

import httpx

from penstock._transport import ReusedConnectionClosed
from penstock.errors import (
    CallError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    IdleTimeoutError,
    MalformedResponseError,
    UnsendableRequestError,
)

__all__ = ["translated"]

CLOSED_BY_PEER = ("disconnected", "closed connection", "connection closed")
"""httpx's stock transport tells a connection that ended from a broken protocol by these words alone."""


def translated(error: Exception, target: str) -> CallError:  # noqa: C901 - one case for each exception of httpx
    """Our error for what a transport raised while it talked to `target`."""
    match error:
        case ReusedConnectionClosed():
            return ConnectionLostError(f"{target}: an idle connection had been closed by the server", reused=True)
        case httpx.ConnectTimeout():
            return ConnectTimeoutError(f"no connection to {target} within the connect timeout")
        case httpx.ConnectError() | httpx.ProxyError():
            return ConnectError(f"no connection to {target}: {_words(error)}")
        case httpx.WriteTimeout():
            return IdleTimeoutError(f"{target} did not take the request within the write timeout")
        case httpx.TimeoutException():
            return IdleTimeoutError(f"{target} fell silent")
        case httpx.RemoteProtocolError() if not any(word in str(error).lower() for word in CLOSED_BY_PEER):
            return MalformedResponseError(f"{target} does not speak HTTP/1.1 as it should: {_words(error)}")
        case httpx.DecodingError():
            return MalformedResponseError(f"{target} sent a body that cannot be decompressed: {_words(error)}")
        case httpx.UnsupportedProtocol() | httpx.LocalProtocolError() | httpx.InvalidURL():
            return UnsendableRequestError(f"{target}: the request cannot be sent over HTTP ({type(error).__name__})")
        case httpx.TransportError():
            return ConnectionLostError(f"the connection to {target} was lost: {_words(error)}")
        case CallError():
            return error
        case _:
            return ConnectionLostError(f"the transport to {target} broke ({type(error).__name__})")


def _words(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
