"""What models cost at their providers, by genai-prices (MIT, https://github.com/pydantic/genai-prices).

Two lists, asked in this order: the package `genai-prices` where it is installed (`penstock[prices]`), else the snapshot
of its data that comes with penstock. Before both of them go the `price` of a target in TOML and the plugins of others.
No list is fetched from anywhere. Standard processing only: batch, flex and priority have other prices.

Which provider a request goes to is told by its address, so that a reseller has its own prices and no vendor's price is
taken for what somebody else charges. An address that neither list knows has no prices, with one exception: a server on
this machine stands in for the vendor whose wire it speaks.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.util import find_spec

from penstock.hookspecs import hookimpl
from penstock.types import Price
from penstock_plugins.prices.conversion import price_from
from penstock_plugins.prices.listing import PriceList
from penstock_plugins.prices.snapshot import the_snapshot
from penstock_plugins.prices.vendors import vendor_of

__all__ = ["installed_list", "penstock_price", "price_lists"]

logger = logging.getLogger("penstock")


@hookimpl
def penstock_price(model: str, kind: str, base_url: str | None, now: float) -> Price | None:
    """What the first list says that knows the model at that provider; None: neither does."""
    for listed in price_lists():
        vendor = vendor_of(kind, base_url, listed.addresses())
        prices = None if vendor is None else listed.find(vendor, model)
        if prices is not None:
            return price_from(prices, now, as_of=listed.day, source=listed.source)
    return None


def price_lists() -> tuple[PriceList, ...]:
    """The lists there are, in the order they are asked."""
    installed = installed_list()
    return (the_snapshot(),) if installed is None else (installed, the_snapshot())


@cache
def installed_list() -> PriceList | None:
    """The prices of the package genai-prices; None where it is not installed, or does not work."""
    if find_spec("genai_prices") is None:
        return None
    try:
        from penstock_plugins.prices.package import PackageList  # noqa: PLC0415 - an extra, and slow to import

        return PackageList()
    except Exception as error:  # noqa: BLE001 - foreign code: the snapshot serves as well
        logger.warning("genai-prices is installed and does not work (%s): the snapshot is used", type(error).__name__)
        return None
