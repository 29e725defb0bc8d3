"""The timeouts of one request, as httpx hands them to a transport."""

from __future__ import annotations

import math
from typing import Any

import httpx
from msgspec import Struct

__all__ = ["Timeouts"]


class Timeouts(Struct, frozen=True, gc=False):
    """Seconds; infinite where there is none."""

    connect: float = math.inf
    """The lookup, the TCP connection and the TLS handshake together."""
    read: float = math.inf
    """The longest silence of the server. While a request is still being sent it does not run."""
    write: float = math.inf
    """The longest the server may leave 64 KiB of the request untaken."""
    pool: float = math.inf

    @classmethod
    def of(cls, request: httpx.Request) -> Timeouts:
        """Those in `extensions["timeout"]`."""
        given: dict[str, Any] = request.extensions.get("timeout") or {}
        return cls(*[math.inf if seconds is None else seconds for seconds in map(given.get, cls.__struct_fields__)])
