"""Which proxy a URL takes, by the environment: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY. Pure.

Loopback is always direct. What a proxy needs (its URL may hold a password) is never shown.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

import attrs
import httpx

__all__ = ["Proxies"]


@attrs.frozen
class Proxies:
    """The settings of one environment. Names in lower case win over those in upper case, as with curl."""

    by_scheme: Mapping[str, str] = attrs.field(repr=False)
    exempt: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Proxies:
        """Those of an environment."""
        # Under CGI a client's "Proxy:" header becomes HTTP_PROXY.
        safe = {
            name: value for name, value in environ.items() if name != "HTTP_PROXY" or "REQUEST_METHOD" not in environ
        }
        found: dict[str, str] = {}
        for scheme in ("http", "https", "all"):
            if proxy := _setting(safe, f"{scheme}_proxy"):
                found[scheme] = proxy if "://" in proxy else f"http://{proxy}"
        exempt = (part.strip().lower() for part in _setting(safe, "no_proxy").split(","))
        return cls(found, tuple(part for part in exempt if part))

    def proxy_for(self, url: httpx.URL) -> str | None:
        """The proxy's URL; None: direct."""
        proxy = self.by_scheme.get(url.scheme) or self.by_scheme.get("all")
        if proxy is None or _is_loopback(url.host) or any(_covers(entry, url) for entry in self.exempt):
            return None
        return proxy


def _setting(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.upper()) or ""


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _covers(entry: str, url: httpx.URL) -> bool:
    """Whether a NO_PROXY entry means the URL: `*`, a host and what is below it, an address, a network."""
    if entry == "*":
        return True
    host = url.host
    entry, port = _split_port(entry.rpartition("://")[2])
    if port and port != str(url.port or (443 if url.scheme == "https" else 80)):
        return False
    address = _address(host)
    if address is not None:
        return _in_network(address, entry)
    domain = entry.removeprefix("*").removeprefix(".")
    return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def _split_port(entry: str) -> tuple[str, str]:
    """`host`, `host:port`, `[v6]`, `[v6]:port` or a bare v6 address."""
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""


def _in_network(address: ipaddress.IPv4Address | ipaddress.IPv6Address, entry: str) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
