"""What Acme's voices cost."""

from __future__ import annotations

from penstock.hookspecs import hookimpl
from penstock.types import Price

__all__ = ["penstock_price"]

PRICES = {
    "baritone": Price(input=1_000_000_000, output=2_000_000_000, as_of="2026-01-01"),
    "tenor": Price(input=100_000_000, output=200_000_000, as_of="2026-01-01"),
}


@hookimpl
def penstock_price(model: str) -> Price | None:
    """The price of a voice."""
    return PRICES.get(model)
