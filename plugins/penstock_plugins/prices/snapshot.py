"""The snapshot of genai-prices' data that comes with penstock: one file for each provider, read when it is asked for.

`take_snapshot` writes it. Not here: what the prices mean (`conversion`).
"""

from __future__ import annotations

from functools import cache, lru_cache
from importlib.resources import files

import msgspec
from msgspec import Struct

from penstock_plugins.prices.listing import Address, ListedModel, ListedPrices, spellings

__all__ = ["Index", "IndexedProvider", "ListedProvider", "Snapshot", "the_snapshot"]

_FOLDER = files("penstock_plugins.prices") / "snapshot"


class IndexedProvider(Struct, frozen=True, omit_defaults=True):
    """A provider: its models are in the file of its name."""

    id: str
    pattern: str
    """What the URLs of its API begin with, as a regular expression."""
    sells: tuple[str, ...] = ()
    """Providers whose models it sells at their prices, where it has none of its own."""


class Index(Struct, frozen=True):
    """What was taken, when, and under which licence."""

    package: str
    version: str
    url: str
    licence: str
    day: str
    """When it was taken, ISO 8601."""
    providers: tuple[IndexedProvider, ...]


class ListedProvider(Struct, frozen=True):
    """The file of a provider."""

    models: tuple[ListedModel, ...]


class Snapshot:
    """The price list of that day. Made without reading anything but its index."""

    def __init__(self) -> None:
        self.index = msgspec.json.decode((_FOLDER / "index.json").read_bytes(), type=Index)
        self._providers = {provider.id: provider for provider in self.index.providers}
        self._addresses = tuple(Address(provider.id, provider.pattern) for provider in self.index.providers)

    @property
    def source(self) -> str:
        """`snapshot` and its day."""
        return f"snapshot {self.day}"

    @property
    def day(self) -> str:
        """The day it was taken, ISO 8601."""
        return self.index.day

    def addresses(self) -> tuple[Address, ...]:
        """Its providers, in the order they are tried."""
        return self._addresses

    def find(self, vendor: str, model: str) -> tuple[ListedPrices, ...] | None:
        """The prices of the model at that provider, else at those whose models it sells at their prices."""
        return _find((vendor, *self._providers[vendor].sells), model)


@cache
def the_snapshot() -> Snapshot:
    """The one there is."""
    return Snapshot()


# Names of models can come from callers, and every kernel asks for the same few.
@lru_cache(maxsize=4_096)
def _find(vendors: tuple[str, ...], model: str) -> tuple[ListedPrices, ...] | None:
    for name in spellings(model):
        for vendor in vendors:
            for listed in _models(vendor):
                if listed.match.matches(name):
                    return listed.prices
    return None


@cache
def _models(vendor: str) -> tuple[ListedModel, ...]:
    return msgspec.json.decode((_FOLDER / f"{vendor}.json").read_bytes(), type=ListedProvider).models
