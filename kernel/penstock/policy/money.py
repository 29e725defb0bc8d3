"""Money as whole nano-USD: what a usage costs, and the way from and to USD.

Not here: who may spend it (budget), and which model costs what (the price plugins).
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from functools import lru_cache

from penstock.types import Price, Usage

__all__ = [
    "NANO_PER_USD",
    "TOKENS_PER_PRICE",
    "cost",
    "dearest_input",
    "dearest_output",
    "dearest_prices",
    "nano_for",
    "nano_from_usd",
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
    return Decimal(nano).scaleb(-9, _EXACT)


def usd_in_words(nano: int) -> str:
    """An amount in plain figures, without the zeros at its end."""
    text = f"{usd(nano):f}"
    return text.rstrip("0").rstrip(".")


def nano_for(tokens: int, nano_per_million: int) -> int:
    """What so many tokens cost at one price, in nano-USD, rounded up."""
    return -(-tokens * nano_per_million // TOKENS_PER_PRICE)


def cost(usage: Usage, price: Price) -> int:
    """What the usage of one exchange costs in nano-USD; the sum is rounded up, once.

    Counts that contradict one another (more read from the cache than came in) are charged as they stand: no part of
    a sum is ever negative, so that one wrong count cannot hide another.
    """
    if price.long is not None and usage.input_tokens > price.long_above:
        return cost(usage, price.long)
    write = max(usage.cache_write_tokens, usage.cache_write_1h_tokens)
    plain = max(usage.input_tokens - usage.cached_input_tokens - write, 0)
    output = max(usage.output_tokens, usage.reasoning_tokens)
    total = (
        plain * price.input
        + usage.cached_input_tokens * _cached_input(price)
        + (write - usage.cache_write_1h_tokens) * _cache_write(price)
        + usage.cache_write_1h_tokens * _cache_write_1h(price)
        + output * price.output
    )
    return nano_for(total, 1)


def dearest_input(price: Price, input_tokens: int | None = None) -> int:
    """The most that a million input tokens can cost, in nano-USD: nobody knows yet what the prompt cache will do.

    `input_tokens` is the bound of the input: where it is not above what counts as long, the prompt cannot be long.
    """
    return _dearest(price, _longest(price, input_tokens))[0]


def dearest_output(price: Price, input_tokens: int | None = None) -> int:
    """The most that a million output tokens can cost, in nano-USD; `input_tokens` as for the input."""
    return _dearest(price, _longest(price, input_tokens))[1]


def dearest_prices(price: Price, input_tokens: int | None = None) -> tuple[int, int]:
    """Both at once: for the input, and for the output."""
    return _dearest(price, 0 if price.long is None else _longest(price, input_tokens))


def _longest(price: Price, input_tokens: int | None) -> int:
    """How many of the prices for ever longer requests may come to apply to one of at most so many input tokens."""
    steps = 0
    while price.long is not None and (input_tokens is None or input_tokens > price.long_above):
        price, steps = price.long, steps + 1
    return steps


@lru_cache(maxsize=1_024)
def _dearest(price: Price, steps: int) -> tuple[int, int]:
    """Of the price and so many of its longer ones. Prices are few, and every call asks for that of each target."""
    given = max(price.input, _cached_input(price), _cache_write(price), _cache_write_1h(price))
    if not steps or price.long is None:
        return given, price.output
    longer = _dearest(price.long, steps - 1)
    return max(given, longer[0]), max(price.output, longer[1])


def _cached_input(price: Price) -> int:
    return price.input if price.cached_input is None else price.cached_input


def _cache_write(price: Price) -> int:
    return price.input if price.cache_write is None else price.cache_write


def _cache_write_1h(price: Price) -> int:
    return _cache_write(price) if price.cache_write_1h is None else price.cache_write_1h
