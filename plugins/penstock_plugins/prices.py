"""What models cost, as the vendors' public price pages said on one day.

Not here: what a usage costs at such a price (penstock.policy.money). Standard processing only: batch, flex and priority
have other prices, and so have fine-tuned models and the same models at resellers. A `price` in the configuration of a
target goes before this table; a model that is not in it has no price here, which is better than a wrong one.
"""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from penstock.hookspecs import hookimpl
from penstock.policy.money import nano_from_usd
from penstock.types import Price

__all__ = ["AS_OF", "SOURCES", "penstock_price", "priced_models"]

AS_OF = "2026-10-26"
SOURCES = ("https://developers.openai.com/api/docs/pricing", "https://platform.claude.com/docs/en/about-claude/pricing")


class _Usd(NamedTuple):
    """USD per million tokens. The digits are the vendor's: they become whole nano-USD without passing a float sum."""

    input: str
    output: str
    cached_input: str | None = None
    cache_write: str | None = None
    cache_write_1h: str | None = None


_SONNET = _Usd("3", "15", "0.3", "3.75", "6")
_OPUS_4 = _Usd("15", "75", "1.5", "18.75", "30")
_OPUS = _Usd("5", "25", "0.5", "6.25", "10")

_TABLE = {
    "claude-3-haiku": _Usd("0.25", "1.25", "0.03", "0.3", "0.5"),
    "claude-3-sonnet": _SONNET,
    "claude-3-opus": _OPUS_4,
    "claude-3-5-haiku": _Usd("0.8", "4", "0.08", "1", "1.6"),
    "claude-3-5-sonnet": _SONNET,
    "claude-3-7-sonnet": _SONNET,
    "claude-sonnet-4": _SONNET,
    "claude-sonnet-4-5": _SONNET,
    "claude-sonnet-4-6": _SONNET,
    "claude-sonnet-5": _Usd("2", "10", "0.2", "2.5", "4"),
    "claude-sonnet-5-5": _Usd("2", "10", "0.1", "2.5", "4"),
    "claude-opus-4": _OPUS_4,
    "claude-opus-4-1": _OPUS_4,
    "claude-opus-4-5": _OPUS,
    "claude-opus-4-6": _OPUS,
    "claude-opus-4-7": _OPUS,
    "claude-opus-4-8": _OPUS,
    "claude-opus-5": _OPUS,
    "claude-opus-5-5": _Usd("4", "20", "0.2", "5", "8"),
    "claude-haiku-4-5": _Usd("1", "5", "0.1", "1.25", "2"),
    "claude-haiku-5-5": _Usd("0.1", "0.5", "0.01", "0.125", "0.2"),
    "claude-fable-5": _Usd("10", "50", "1", "12.5", "20"),
    "claude-fable-5-1": _Usd("10", "50", "0.25", "12.5", "20"),
    "claude-fable-5-2": _Usd("8", "40", "0.2", "10", "16"),
    "gpt-3.5-turbo": _Usd("0.5", "1.5"),
    "gpt-4": _Usd("30", "60"),
    "gpt-4-turbo": _Usd("10", "30"),
    "gpt-4o": _Usd("2.5", "10", "1.25"),
    "gpt-4o-2024-05-13": _Usd("5", "15"),
    "gpt-4o-mini": _Usd("0.15", "0.6", "0.075"),
    "gpt-4.1": _Usd("2", "8", "0.5"),
    "gpt-4.1-mini": _Usd("0.4", "1.6", "0.1"),
    "gpt-4.1-nano": _Usd("0.1", "0.4", "0.025"),
    "gpt-5": _Usd("1.25", "10", "0.125"),
    "gpt-5-mini": _Usd("0.25", "2", "0.025"),
    "gpt-5-nano": _Usd("0.05", "0.4", "0.005"),
    "gpt-5-pro": _Usd("15", "120"),
    "gpt-5.1": _Usd("1.25", "10", "0.125"),
    "gpt-5.1-codex-mini": _Usd("0.25", "2", "0.025"),
    "gpt-5.2": _Usd("1.75", "14", "0.175"),
    "gpt-5.2-pro": _Usd("21", "168"),
    "gpt-5.3": _Usd("1.75", "14", "0.175"),
    "gpt-5.3-codex": _Usd("1.75", "14", "0.175"),
    "gpt-5.4": _Usd("2.5", "15", "0.25"),
    "gpt-5.4-mini": _Usd("0.75", "4.5", "0.075"),
    "gpt-5.4-nano": _Usd("0.2", "1.25", "0.02"),
    "gpt-5.4-pro": _Usd("30", "180"),
    "gpt-5.5": _Usd("5", "30", "0.5"),
    "gpt-5.5-pro": _Usd("30", "180"),
    "gpt-5.6-luna": _Usd("0.2", "1.2", "0.02", "0.25"),
    "gpt-5.6-sol": _Usd("4", "20", "0.4", "5"),
    "gpt-5.6-terra": _Usd("2", "12", "0.2", "2.5"),
    "gpt-6-astra": _Usd("10", "50", "1", "12.5"),
    "gpt-6-luna": _Usd("0.1", "0.5", "0.01", "0.125"),
    "gpt-6-sol": _Usd("2", "10", "0.2", "2.5"),
    "gpt-6.1-sol": _Usd("2", "10", "0.1", "2.5"),
    "gpt-6.1-terra": _Usd("1", "5", "0.05", "1.25"),
    "o1": _Usd("15", "60", "7.5"),
    "o1-pro": _Usd("150", "600"),
    "o3": _Usd("2", "8", "0.5"),
    "o3-mini": _Usd("1.1", "4.4", "0.55"),
    "o3-pro": _Usd("20", "80"),
    "o4-mini": _Usd("1.1", "4.4", "0.275"),
}

# Prompts above so many tokens make every token of the request dearer.
_LONG = {
    "claude-sonnet-4-5": (200_000, _Usd("6", "22.5", "0.6", "7.5", "12")),
    "claude-haiku-5-5": (100_000, _Usd("0.5", "2.5", "0.05", "0.625", "1")),
    "gpt-5.4": (272_000, _Usd("5", "22.5", "0.5")),
    "gpt-5.4-pro": (272_000, _Usd("60", "270")),
    "gpt-5.5": (272_000, _Usd("10", "45", "1")),
    "gpt-5.5-pro": (272_000, _Usd("60", "270")),
    "gpt-5.6-luna": (272_000, _Usd("0.4", "1.8", "0.04", "0.5")),
    "gpt-5.6-sol": (272_000, _Usd("8", "30", "0.8", "10")),
    "gpt-5.6-terra": (272_000, _Usd("4", "18", "0.4", "5")),
    "gpt-6-astra": (272_000, _Usd("20", "75", "2", "25")),
    "gpt-6-luna": (272_000, _Usd("0.2", "0.75", "0.02", "0.25")),
    "gpt-6-sol": (272_000, _Usd("4", "15", "0.4", "5")),
    "gpt-6.1-sol": (272_000, _Usd("4", "15", "0.2", "5")),
    "gpt-6.1-terra": (272_000, _Usd("2", "7.5", "0.1", "2.5")),
}

_ALIASES = {
    "claude-opus-4-0": "claude-opus-4",
    "claude-sonnet-4-0": "claude-sonnet-4",
    "gpt-3.5-turbo-0125": "gpt-3.5-turbo",
    "gpt-4-0613": "gpt-4",
    "gpt-5-chat-latest": "gpt-5",
    "gpt-5-codex": "gpt-5",
    "gpt-5.1-chat-latest": "gpt-5.1",
    "gpt-5.1-codex": "gpt-5.1",
    "gpt-5.1-codex-max": "gpt-5.1",
    "gpt-5.2-chat-latest": "gpt-5.2",
    "gpt-5.2-codex": "gpt-5.2",
    "gpt-5.3-chat-latest": "gpt-5.3",
    "gpt-5.6": "gpt-5.6-sol",
}

# A snapshot of a model, or its newest one. No other prefix counts: gpt-4o-audio-preview is not a kind of gpt-4o.
_SNAPSHOT = re.compile(r"(?P<model>.+)-(?:\d{4}-\d{2}-\d{2}|\d{8}|latest)")


def priced_models() -> tuple[str, ...]:
    """The models of the table, without snapshots and aliases."""
    return tuple(_TABLE)


@hookimpl
def penstock_price(model: str) -> Price | None:
    """The price of a model by its name, of a snapshot by its model's; None where the table does not know it."""
    for name in (model, _ALIASES.get(model)):
        if name in _TABLE:
            return _price(name)
    snapshot = _SNAPSHOT.fullmatch(model)
    name = snapshot["model"] if snapshot else ""
    name = _ALIASES.get(name, name)
    return _price(name) if name in _TABLE else None


@cache
def _price(name: str) -> Price:
    long_above, long = _LONG.get(name, (0, None))
    return _in_nano(_TABLE[name], None if long is None else _in_nano(long), long_above)


def _in_nano(usd: _Usd, long: Price | None = None, long_above: int = 0) -> Price:
    return Price(
        input=nano_from_usd(usd.input),
        output=nano_from_usd(usd.output),
        cached_input=_or_none(usd.cached_input),
        cache_write=_or_none(usd.cache_write),
        cache_write_1h=_or_none(usd.cache_write_1h),
        as_of=AS_OF,
        long=long,
        long_above=long_above,
    )


def _or_none(usd: str | None) -> int | None:
    return None if usd is None else nano_from_usd(usd)
