"""A price list as genai-prices writes one: models, how they are recognised, and what they cost when.

Not here: what that means for a bill (`conversion`), and where the lists come from (`snapshot`, `installed`).
"""

from __future__ import annotations

import re
from datetime import date
from typing import NamedTuple, Protocol, TypeAlias

from msgspec import Struct, field

__all__ = [
    "Address",
    "Amount",
    "Clause",
    "ListedModel",
    "ListedPrices",
    "PriceList",
    "Prices",
    "Tiered",
    "spellings",
]


class Tiered(Struct, frozen=True, array_like=True):
    """An amount for every request, and others for requests whose input is above so many tokens: for all of them."""

    base: str
    tiers: tuple[tuple[int, str], ...]
    """Input tokens and amount, ascending."""


Amount: TypeAlias = str | Tiered
"""USD, in the digits of the list: no float may round it. For how many of what the key says: mtok, kcount."""
Prices: TypeAlias = dict[str, Amount]
"""By the list's own keys: `input_mtok`, `cache_read_mtok`, `web_searches_kcount`."""


class ListedPrices(Struct, frozen=True, omit_defaults=True):
    """Prices, and when they are in force: always, from the start of a day in UTC on, or for some hours of each day."""

    prices: Prices
    start_date: str | None = None
    start_time: int | None = None
    """Seconds of the day, in UTC."""
    end_time: int | None = None


class Clause(Struct, frozen=True, omit_defaults=True):
    """How a model's name is recognised. One of the fields is set."""

    equals: str | None = None
    starts_with: str | None = None
    ends_with: str | None = None
    contains: str | None = None
    regex: str | None = None
    any: tuple[Clause, ...] = field(default=(), name="or")
    all: tuple[Clause, ...] = field(default=(), name="and")

    def matches(self, name: str) -> bool:
        """True where the name, in lower case, is one of the model's."""
        if self.equals is not None:
            return name == self.equals.lower()
        if self.starts_with is not None:
            return name.startswith(self.starts_with.lower())
        if self.ends_with is not None:
            return name.endswith(self.ends_with.lower())
        if self.contains is not None:
            return self.contains.lower() in name
        if self.regex is not None:
            return re.search(self.regex, name) is not None
        if self.all:
            return all(clause.matches(name) for clause in self.all)
        return any(clause.matches(name) for clause in self.any)


class ListedModel(Struct, frozen=True):
    """A model of one provider."""

    id: str
    match: Clause
    prices: tuple[ListedPrices, ...]
    """The last that is in force counts; the first where none is."""


class Address(NamedTuple):
    """A provider, and the pattern that the URLs of its API begin with."""

    vendor: str
    pattern: str


class PriceList(Protocol):
    """Where prices are looked up."""

    @property
    def source(self) -> str:
        """Its name, for people."""
        ...

    @property
    def day(self) -> str:
        """The day it was taken, ISO 8601; empty where that is not known."""
        ...

    def addresses(self) -> tuple[Address, ...]:
        """Its providers, in the order they are tried."""
        ...

    def find(self, vendor: str, model: str) -> tuple[ListedPrices, ...] | None:
        """The prices of the model at that provider; None where it is not listed."""
        ...


# Gateways write the day of a model's release without its dashes.
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def spellings(name: str) -> tuple[str, ...]:
    """What to look for: the name in lower case, then with dashes in its date where it had none."""
    name = name.lower()
    return tuple(dict.fromkeys((name, _COMPACT_DATE.sub(_with_dashes, name))))


def _with_dashes(found: re.Match[str]) -> str:
    try:
        return f"-{date(int(found[1]), int(found[2]), int(found[3])).isoformat()}"
    except ValueError:
        return found[0]
