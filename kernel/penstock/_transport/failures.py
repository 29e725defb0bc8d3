"""Errors of our transport beyond httpx's own, and what of h11's may be said."""

from __future__ import annotations

import re

import httpx

__all__ = ["BrokenHttp", "GivenUp", "HeadCutOff", "PeerClosed", "ReusedConnectionClosed", "sentence"]


class BrokenHttp(httpx.RemoteProtocolError):
    """What came is not HTTP/1.1, or more of it than is allowed."""


class GivenUp(httpx.ReadTimeout):
    """Whoever asked for the exchange has given it up: it has lasted for too long."""


class PeerClosed(httpx.RemoteProtocolError):
    """The server closed its side before the response had come whole."""


class HeadCutOff(PeerClosed):
    """Something came, but no whole head: servers of other protocols do that."""


class ReusedConnectionClosed(PeerClosed):
    """A connection that had served an exchange before was closed before any byte of this response.

    The server closed it while it was idle; the request was most probably never read. Worth one more try at once.
    """


_QUOTED = re.compile(r":| b['\"]| '|\bbytearray\b")


def sentence(error: Exception) -> str:
    """What h11 says, up to where it quotes: headers hold credentials, and bodies hold answers."""
    return _QUOTED.split(str(error), maxsplit=1)[0].strip()
