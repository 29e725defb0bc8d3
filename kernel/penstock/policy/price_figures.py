"""Whether the figures of a price can be reckoned with. Not here: what a usage costs at it (`money`)."""

from __future__ import annotations

from penstock.types import KindPrice, Price, TimedPrice

__all__ = ["can_be_reckoned_with"]


def can_be_reckoned_with(price: Price) -> bool:
    """True where all of its figures are whole numbers, and none is below zero.

    A price says so itself, and what says it is foreign code: nothing checks the fields of what it makes.
    """
    needed = (price.input, price.output, price.request, price.long_above)
    optional = (price.cached_input, price.cache_write, price.cache_write_1h, price.reasoning)
    return (
        all(_is_figure(figure) for figure in needed)
        and all(figure is None or _is_figure(figure) for figure in optional)
        and all(_is_a(text, str) for text in (price.as_of, price.source))
        and _is_a(price.kinds, tuple)
        and all(_is_a(one, KindPrice) and _is_figure(one.nano_usd) for one in price.kinds)
        and (price.long is None or _is_sound(price.long))
        and _is_a(price.timed, tuple)
        and all(_is_a(one, TimedPrice) and _is_in_time(one) for one in price.timed)
    )


def _is_in_time(timed: TimedPrice) -> bool:
    hours = timed.hours
    in_hours = hours is None or (_is_a(hours, tuple) and len(hours) == 2 and all(map(_is_figure, hours)))
    return _is_sound(timed.price) and _is_a(timed.starts, int, float) and in_hours


def _is_sound(price: Price) -> bool:
    return _is_a(price, Price) and can_be_reckoned_with(price)


def _is_figure(figure: object) -> bool:
    return type(figure) is int and figure >= 0


def _is_a(value: object, *kinds: type) -> bool:
    return isinstance(value, kinds)
