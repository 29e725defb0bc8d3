"""Which transport a URL takes: ours, or httpx's own where a proxy or HTTP/2 is asked for."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from importlib.util import find_spec
from types import MappingProxyType

import httpx

from penstock._transport.decompression import decompressed
from penstock._transport.proxies import Proxies
from penstock._transport.transport import MIB, Transport
from penstock._transport.trust import trust

__all__ = ["RoutingTransport", "default_transport"]


def default_transport(
    *,
    max_connections: int = 512,
    ca_file: str | None = None,
    trust_env: bool = True,
    http2: bool = False,
    environ: Mapping[str, str] | None = None,
) -> httpx.AsyncBaseTransport:
    """The transport of a kernel that was given none. Opens nothing yet.

    Raises OSError for a `ca_file` that cannot be read, and ImportError for HTTP/2 without the package it needs.
    """
    known = (os.environ if environ is None else environ) if trust_env else MappingProxyType[str, str]({})
    if ca_file is not None:
        trust(ca_file, known)  # a wrong path is a mistake in the configuration, not an outage of the provider
    if http2 and find_spec("h2") is None:
        raise ImportError("HTTP/2 needs the package h2: pip install 'penstock[http2]'")
    proxies = Proxies.of(known)
    direct = Transport(max_connections=max_connections, ca_file=ca_file, trust_env=trust_env, environ=known)
    if not proxies.by_scheme and not http2:
        return direct
    return RoutingTransport(direct, proxies, known, ca_file=ca_file, max_connections=max_connections, http2=http2)


class RoutingTransport(httpx.AsyncBaseTransport):
    """Chooses by URL, since proxies do. httpx's transports are made with the first request that takes them."""

    def __init__(
        self,
        direct: Transport,
        proxies: Proxies,
        environ: Mapping[str, str],
        *,
        ca_file: str | None,
        max_connections: int,
        http2: bool,
    ) -> None:
        self._direct = direct
        self._proxies = proxies
        self._environ = environ
        self._ca_file = ca_file
        self._max_connections = max_connections
        self._http2 = http2
        self._stock: dict[str | None, httpx.AsyncHTTPTransport] = {}
        self._context: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One exchange over the transport of its URL. Bodies are decompressed whichever it is."""
        proxy = self._proxies.proxy_for(request.url)
        if proxy is None and not (self._http2 and request.url.scheme == "https"):
            return await self._direct.handle_async_request(request)
        response = await self._stock_for(proxy).handle_async_request(request)
        return decompressed(response, limit=64 * MIB)

    async def aclose(self) -> None:
        """Closes all of them."""
        await self._direct.aclose()
        for transport in self._stock.values():
            await transport.aclose()

    def _stock_for(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        transport = self._stock.get(proxy)
        if transport is None:
            transport = self._stock[proxy] = self._make_stock(proxy)
        return transport

    def _make_stock(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(
            max_connections=self._max_connections, max_keepalive_connections=self._max_connections, keepalive_expiry=30
        )
        try:
            if self._context is None:
                self._context = trust(self._ca_file, self._environ)
            return httpx.AsyncHTTPTransport(
                verify=self._context, trust_env=False, http2=self._http2, limits=limits, proxy=proxy
            )
        except ImportError:
            problem = "a SOCKS proxy needs a package that is not installed: pip install 'httpx[socks]'"
        except (OSError, ValueError, httpx.InvalidURL) as error:
            problem = type(error).__name__
        # Not what the error says: it may show the proxy's URL, and that may hold a password.
        raise httpx.ProxyError(f"the proxy of the environment, or the certificates, cannot be used ({problem})")
