"""The transports of a kernel, one for all providers that are connected to in the same way.

Not here: what a transport does (`_transport`), and what a file may say of connections (`_config_connections`).
"""

from __future__ import annotations

import logging

import httpx

from penstock._config import Config, ProviderConfig
from penstock._config_connections import connection_settings
from penstock._transport import default_transport

__all__ = ["Connections"]

logger = logging.getLogger("penstock")


class Connections:
    """Where a transport was `given`, that one, which is not closed here; else ones of the kernel's own."""

    def __init__(self, given: httpx.AsyncBaseTransport | None) -> None:
        self._given = given
        self._own: dict[tuple[object, ...], httpx.AsyncBaseTransport] = {}

    @property
    def are_own(self) -> bool:
        """False: a transport was handed in, which connects as it will."""
        return self._given is None

    def warn_of_idle_settings(self, config: Config) -> None:
        """Logs what the configuration says of connections to no effect."""
        if self.are_own:
            return
        idle = [
            f"providers.{name}.{key}" for name, each in config.providers.items() for key in connection_settings(each)
        ]
        if idle:
            logger.warning("a transport was handed in, which connects as it will: %s mean nothing", ", ".join(idle))

    def of(self, provider: ProviderConfig, *, calls: int) -> httpx.AsyncBaseTransport:
        """The transport for that provider, in a kernel that has as many `calls` in flight at most."""
        if self._given is not None:
            return self._given
        # A limit of its own is for the provider alone: another at the same address must not wait for its connections.
        # Without one there are as many as there are calls.
        alone = None if provider.max_connections is None else provider.name
        most = provider.max_connections or calls
        settings = (most, provider.ca_file, provider.trust_env, provider.http2, alone)
        transport = self._own.get(settings)
        if transport is None:
            transport = self._own[settings] = default_transport(
                max_connections=most,
                ca_file=None if provider.ca_file is None else str(provider.ca_file),
                trust_env=provider.trust_env,
                http2=provider.http2,
            )
        return transport

    async def aclose(self) -> None:
        """Closes the kernel's own."""
        for transport in self._own.values():
            await transport.aclose()
