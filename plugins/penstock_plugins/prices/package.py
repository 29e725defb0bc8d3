"""What the installed package genai-prices knows, as a price list. Importing this imports the package, which is slow.

Only its bundled data is read, or what the program itself had it fetch: nothing here starts its updates. Not here:
whether it is installed (`penstock_plugins.prices`).
"""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from importlib.metadata import version

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEndsWith,
    ClauseEquals,
    ClauseOr,
    ClauseRegex,
    ClauseStartsWith,
    ConditionalPrice,
    MatchLogic,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    TieredPrices,
)

from penstock_plugins.prices.listing import Address, Amount, Clause, ListedModel, ListedPrices, Prices, Tiered

__all__ = ["PackageList", "listed_model"]


class PackageList:
    """The prices of the package as it is installed."""

    def __init__(self) -> None:
        self.source = f"genai-prices {version('genai-prices')}"
        self.day = ""  # the package does not tell its day; its version stands in its place
        self._addresses = tuple(Address(provider.id, provider.api_pattern) for provider in get_snapshot().providers)

    def addresses(self) -> tuple[Address, ...]:
        """Its providers, in the order they are tried."""
        return self._addresses

    def find(self, vendor: str, model: str) -> tuple[ListedPrices, ...] | None:
        """The prices of the model at that provider, by the package's own search."""
        providers = get_snapshot().providers
        provider = next((each for each in providers if each.id == vendor), None)
        found = None if provider is None else provider.find_model(model, all_providers=providers)
        return None if found is None else _listed_prices(found)


def listed_model(model: ModelInfo) -> ListedModel:
    """A model of the package as a list has it."""
    return ListedModel(model.id, _clause(model.match), _listed_prices(model))


def _listed_prices(model: ModelInfo) -> tuple[ListedPrices, ...]:
    if isinstance(model.prices, ModelPrice):
        return (ListedPrices(_prices(model.prices)),)
    return tuple(_conditional(each) for each in model.prices)


def _conditional(listed: ConditionalPrice) -> ListedPrices:
    prices = _prices(listed.prices)
    condition = listed.constraint
    if condition is None:
        return ListedPrices(prices)
    if isinstance(condition, StartDateConstraint):
        return ListedPrices(prices, start_date=condition.start_date.isoformat())
    return ListedPrices(prices, start_time=_seconds(condition.start_time), end_time=_seconds(condition.end_time))


def _seconds(of_day: time) -> int:
    """Of a day in UTC, which is what the package means where a time names no zone."""
    offset = of_day.utcoffset()
    seconds = of_day.hour * 3_600 + of_day.minute * 60 + of_day.second
    return (seconds - (0 if offset is None else int(offset.total_seconds()))) % 86_400


def _prices(prices: ModelPrice) -> Prices:
    stored: dict[str, Decimal | TieredPrices | None] = vars(prices)
    return {key: _amount(value) for key, value in stored.items() if value is not None}


def _amount(value: Decimal | TieredPrices) -> Amount:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return Tiered(f"{value.base:f}", tuple((tier.start, f"{tier.price:f}") for tier in value.tiers))


def _clause(match: MatchLogic) -> Clause:
    match match:
        case ClauseEquals():
            return Clause(equals=match.equals)
        case ClauseStartsWith():
            return Clause(starts_with=match.starts_with)
        case ClauseEndsWith():
            return Clause(ends_with=match.ends_with)
        case ClauseContains():
            return Clause(contains=match.contains)
        case ClauseRegex():
            return Clause(regex=match.regex)
        case ClauseOr():
            return Clause(any=tuple(_clause(each) for each in match.or_))
        case ClauseAnd():
            return Clause(all=tuple(_clause(each) for each in match.and_))
