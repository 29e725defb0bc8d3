"""Money as whole nano-USD: what a usage costs, and the way from and to USD.

Not here: who may spend it (budget), and which model costs what (the price plugins).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import NamedTuple

from penstock.types import Price, Usage

__all__ = [
    "NANO_PER_USD",
    "TOKENS_PER_PRICE",
    "Dearest",
    "cost",
    "dearest_prices",
    "input_cost",
    "nano_for",
    "nano_from_usd",
    "price_at",
    "usd",
    "usd_in_words",
]

NANO_PER_USD = 1_000_000_000
TOKENS_PER_PRICE = 1_000_000
"""Prices are per so many tokens."""

# More digits than any amount below the bound has before the point: rounding up twice is then rounding up once.
_EXACT = Context(prec=60, rounding=ROUND_CEILING)
_DIGITS = 18


def nano_from_usd(amount: Decimal | float | str) -> int:
    """An amount in USD as nano-USD, rounded up. A float means the digits it prints with.

    Raises ValueError for what is no amount of money: negative, not finite, not a number, 10**18 USD or more.
    """
    if isinstance(amount, bool):
        raise ValueError(f"{amount!r} is not an amount in USD")  # noqa: TRY004  # one kind of error for all of them
    try:
        value = Decimal(str(amount))
    except InvalidOperation:
        raise ValueError(f"{amount!r} is not an amount in USD") from None
    if not value.is_finite() or value < 0 or (value and value.adjusted() >= _DIGITS):
        raise ValueError(f"{amount!r} is not an amount in USD")
    if not value:
        return 0
    return int(value.scaleb(9, _EXACT).to_integral_value(ROUND_CEILING, _EXACT))


def usd(nano: int) -> Decimal:
    """An amount of nano-USD in USD, exactly."""
    if not nano:
        return Decimal(0)  # which prints as 0, and not as 0E-9
    return Decimal(nano).scaleb(-9, _EXACT)


def usd_in_words(nano: int) -> str:
    """An amount in plain figures, without the zeros at its end."""
    text = f"{usd(nano):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def nano_for(tokens: int, nano_per_million: int) -> int:
    """What so many tokens cost at one price, in nano-USD, rounded up."""
    return -(-tokens * nano_per_million // TOKENS_PER_PRICE)


def cost(usage: Usage, price: Price, at: float | None = None) -> int:
    """What the usage of one exchange costs in nano-USD; the sum is rounded up, once.

    `at` is the Unix time at which it began; None: not known, and so the dearest of the prices for other times.
    Counts that contradict one another (more read from the cache than came in) are charged as they stand: no part of
    a sum is ever negative, so that one wrong count cannot hide another. Kinds without a price are not counted apart.
    """
    if not price.timed:
        return _cost_now(usage, price)
    if at is None:
        return max(_cost_now(usage, price), *(_cost_now(usage, timed.price) for timed in price.timed))
    return _cost_now(usage, price_at(price, at))


def input_cost(tokens: int, price: Price) -> int:
    """What so many input tokens cost alone, at a time that is not known: `cost` of nothing else."""
    if price.timed or price.long is not None:
        return cost(Usage(input_tokens=tokens), price)
    return nano_for(tokens * price.input, 1) + price.request


def price_at(price: Price, at: float) -> Price:
    """The price that a request has which begins at that Unix time."""
    return next((timed.price for timed in reversed(price.timed) if timed.in_force(at)), price)


def _cost_now(usage: Usage, price: Price) -> int:
    while price.long is not None and usage.input_tokens > price.long_above:
        price = price.long
    if not (
        usage.cached_input_tokens
        or usage.cache_write_tokens
        or usage.cache_write_1h_tokens
        or usage.reasoning_tokens
        or usage.kinds
    ):  # as every estimate, of which each call makes some
        reads, writes = usage.input_tokens, usage.output_tokens
        plain = (reads if reads > 0 else 0) * price.input + (writes if writes > 0 else 0) * price.output
        return nano_for(plain, 1) + price.request
    write = max(usage.cache_write_tokens, usage.cache_write_1h_tokens)
    write_1h = usage.cache_write_1h_tokens
    cached = usage.cached_input_tokens
    given = max(usage.input_tokens, cached + write)
    output = max(usage.output_tokens, usage.reasoning_tokens)
    apart = 0
    if price.kinds and usage.kinds:
        apart, taken = _kinds_apart(usage, price)
        given -= taken.get("input", 0)
        cached = max(cached - taken.get("cached", 0), 0)
        write = max(write - taken.get("write", 0), 0)
        write_1h = min(write_1h, write)
        output -= taken.get("output", 0)
    # What has no price of its own is a part of what came in like any other.
    if price.cached_input is None:
        cached = 0
    if price.cache_write is None:
        write = write_1h = 0 if price.cache_write_1h is None else write_1h
    reasoning = 0 if price.reasoning is None else usage.reasoning_tokens
    total = (
        apart
        + max(given - cached - write, 0) * price.input
        + cached * _cached_input(price)
        + (write - write_1h) * _cache_write(price)
        + write_1h * _cache_write_1h(price)
        + max(output - reasoning, 0) * price.output
        + reasoning * _reasoning(price)
    )
    return nano_for(total, 1) + price.request


# Which counts the tokens of a kind are in already, kinds and plain ones; a kind of any other name stands beside them.
_MODALITIES = ("text", "audio", "image", "video")
_WITHIN: dict[str, tuple[str, ...]] = {
    **{f"cache_{kind}_read_tokens": ("input", "cached", f"input_{kind}_tokens") for kind in _MODALITIES},
    **{f"cache_{kind}_write_tokens": ("input", "write", f"input_{kind}_tokens") for kind in _MODALITIES},
    **{f"input_{kind}_tokens": ("input",) for kind in (*_MODALITIES, "tool")},
    **{f"output_{kind}_tokens": ("output",) for kind in (*_MODALITIES, "citation")},
}


def _kinds_apart(usage: Usage, price: Price) -> tuple[int, dict[str, int]]:
    """What the kinds with a price of their own cost, and how many tokens that is of each plain count.

    What is in two kinds (audio that the prompt cache held) is counted in the narrower one.
    """
    total = 0
    taken: dict[str, int] = {}
    for priced in sorted(price.kinds, key=lambda priced: -len(_WITHIN.get(priced.kind, ()))):
        count = max(usage.kinds.get(priced.kind, 0) - taken.get(priced.kind, 0), 0)
        total += count * priced.nano_usd
        for around in _WITHIN.get(priced.kind, ()):
            taken[around] = taken.get(around, 0) + count
    return total, taken


class Dearest(NamedTuple):
    """The most that a request can cost, in nano-USD: nobody knows yet what the prompt cache will do."""

    input: int
    """A million input tokens of whatever kind."""
    output: int
    """A million output tokens of whatever kind."""
    request: int
    """The request itself."""


def dearest_prices(price: Price, input_tokens: int | None = None) -> Dearest:
    """At any time, with whatever the tokens turn out to be. What is counted beside them has no bound: searches.

    `input_tokens` is the bound of the input: where it is not above what counts as long, the prompt cannot be long.
    """
    found = _dearest(price, 0 if price.long is None else _longest(price, input_tokens))
    for timed in price.timed:
        other = _dearest(timed.price, _longest(timed.price, input_tokens))
        found = Dearest(*map(max, found, other))
    return found


def _longest(price: Price, input_tokens: int | None) -> int:
    """How many of the prices for ever longer requests may come to apply to one of at most so many input tokens."""
    steps = 0
    while price.long is not None and (input_tokens is None or input_tokens > price.long_above):
        price, steps = price.long, steps + 1
    return steps


@lru_cache(maxsize=1_024)
def _dearest(price: Price, steps: int) -> Dearest:
    """Of the price and so many of its longer ones. Prices are few, and every call asks for that of each target."""
    given = max(price.input, _cached_input(price), _cache_write(price), _cache_write_1h(price))
    written = max(price.output, _reasoning(price))
    for priced in price.kinds:
        within = _WITHIN.get(priced.kind, ())
        given = max(given, priced.nano_usd) if "input" in within else given
        written = max(written, priced.nano_usd) if "output" in within else written
    found = Dearest(given, written, price.request)
    if not steps or price.long is None:
        return found
    return Dearest(*map(max, found, _dearest(price.long, steps - 1)))


def _cached_input(price: Price) -> int:
    return price.input if price.cached_input is None else price.cached_input


def _cache_write(price: Price) -> int:
    return price.input if price.cache_write is None else price.cache_write


def _cache_write_1h(price: Price) -> int:
    return _cache_write(price) if price.cache_write_1h is None else price.cache_write_1h


def _reasoning(price: Price) -> int:
    return price.output if price.reasoning is None else price.reasoning
