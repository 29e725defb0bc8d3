"""From a list's prices to a `Price`: whole nano-USD, rounded up where the list has more digits than that.

Not here: finding the prices (`listing`), and counting with them (penstock.policy.money).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from penstock.policy.money import nano_from_usd
from penstock.types import KindPrice, Price, TimedPrice
from penstock_plugins.prices.listing import Amount, ListedPrices, Prices

__all__ = ["price_from"]

_PLAIN = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached_input",
    "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h",
    "output_reasoning_mtok": "reasoning",
}
FREE = Price(input=0, output=0)
_PER_REQUEST = "requests_kcount"
_KINDS = {
    **{f"input_{kind}_mtok": f"input_{kind}_tokens" for kind in ("text", "audio", "image", "video", "tool")},
    **{f"cache_{kind}_read_mtok": f"cache_{kind}_read_tokens" for kind in ("text", "audio", "image", "video")},
    **{f"cache_{kind}_write_mtok": f"cache_{kind}_write_tokens" for kind in ("text", "audio", "image", "video")},
    **{f"output_{kind}_mtok": f"output_{kind}_tokens" for kind in ("text", "audio", "image", "video", "citation")},
    **{f"{kind}_kcount": kind for kind in ("web_searches", "social_searches", "storage_searches", "code_executions")},
}
"""What a list calls the price of a kind, and what the kind is called. Those in kcount are per thousand."""


def price_from(listed: Sequence[ListedPrices], now: float, *, as_of: str, source: str) -> Price | None:
    """The price from that Unix time on, later ones included.

    None where a part of the bill is measured in what no usage of a chat tells: hours of audio, characters, pages.
    """
    lasting = max((at for at, each in enumerate(listed) if _is_here_to_stay(each, now)), default=0)
    standard, *others = [_sheet(each.prices) for each in listed[lasting:]]
    if standard is None or None in others:
        return None
    timed = tuple(
        _timed(each, price) for each, price in zip(listed[lasting + 1 :], others, strict=True) if price is not None
    )
    return msgspec.structs.replace(standard, timed=timed, as_of=as_of, source=source)


def _is_here_to_stay(listed: ListedPrices, now: float) -> bool:
    """True where it is in force at any time to come, so that nothing before it in the list ever is again."""
    return listed.start_time is None and now >= _starts(listed)


def _starts(listed: ListedPrices) -> int:
    if listed.start_date is None:
        return 0
    return int(datetime.fromisoformat(listed.start_date).replace(tzinfo=UTC).timestamp())


def _timed(listed: ListedPrices, price: Price) -> TimedPrice:
    hours = None
    if listed.start_time is not None and listed.end_time is not None:
        hours = (listed.start_time, listed.end_time)
    return TimedPrice(price=price, starts=_starts(listed), hours=hours)


def _sheet(prices: Prices) -> Price | None:
    """One price for every length of input at which an amount changes, the dearer ones hung on the shorter ones."""
    if prices.keys() - _PLAIN.keys() - _KINDS.keys() - {_PER_REQUEST}:
        return None
    steps = sorted({start for amount in prices.values() if not isinstance(amount, str) for start, _ in amount.tiers})
    longer: Price | None = None
    above = 0
    for step in reversed(steps):
        longer, above = _at_length(prices, step, longer, above), step
    return _at_length(prices, None, longer, above)


def _at_length(prices: Prices, step: int | None, longer: Price | None, above: int) -> Price:
    usd = {key: _amount_at(amount, step) for key, amount in prices.items()}
    plain = {name: nano_from_usd(usd[key]) for key, name in _PLAIN.items() if key in usd}
    kinds = tuple(
        KindPrice(kind, nano_from_usd(usd[key] * (1_000 if key.endswith("_kcount") else 1)))
        for key, kind in _KINDS.items()
        if key in usd
    )
    request = nano_from_usd(usd.get(_PER_REQUEST, Decimal(0)) / 1_000)
    # What the list has no price for is free: embeddings have no output.
    return msgspec.structs.replace(FREE, **plain, request=request, kinds=kinds, long=longer, long_above=above)


def _amount_at(amount: Amount, step: int | None) -> Decimal:
    """The amount for requests just longer than that step; None: for the shortest."""
    if isinstance(amount, str):
        return Decimal(amount)
    reached = [price for start, price in amount.tiers if step is not None and start <= step]
    return Decimal(reached[-1] if reached else amount.base)
