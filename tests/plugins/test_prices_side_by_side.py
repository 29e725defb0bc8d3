"""Our cost beside genai-prices' own: every model it knows, at each of its prices' times and lengths of input.

Ours is rounded up to a whole nano-USD, once. A price with more than nine decimals (a few lists divide by 12) is rounded
up as well, which adds less than a nano-USD per million tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from importlib.metadata import version
from itertools import chain
from typing import Any

import pytest
from genai_prices.data import providers
from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices
from genai_prices.types import Usage as TheirUsage

from penstock.policy.holds import Line
from penstock.policy.money import cost
from penstock.types import Price, Usage
from penstock_plugins.prices.conversion import price_from
from penstock_plugins.prices.listing import Clause, ListedPrices
from penstock_plugins.prices.package import PackageList, listed_model
from penstock_plugins.prices.snapshot import the_snapshot

TODAY = datetime.fromisoformat(the_snapshot().day).replace(tzinfo=UTC)
MODELS = [(provider, model) for provider in providers for model in provider.models]
UNCOUNTED = {
    "audio_hours",
    "input_audio_hours",
    "input_document_kpages",
    "input_annotated_document_kpages",
    "input_mchars",
    "input_text_messages_kcount",
}
"""What the usage of a chat never tells: such models have no price here."""
PLAIN = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_tokens": "cached_input_tokens",
    "cache_write_tokens": "cache_write_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens",
    "output_reasoning_tokens": "reasoning_tokens",
}
"""Their words and ours."""
SHARES = {
    "output_tokens": 1_003,
    "cache_read_tokens": 40,
    "cache_write_tokens": 30,
    "cache_write_1h_tokens": 11,
    "input_audio_tokens": 25,
    "cache_audio_read_tokens": 7,
    "input_image_tokens": 13,
    "cache_image_read_tokens": 5,
    "input_video_tokens": 9,
    "output_reasoning_tokens": 301,
    "output_audio_tokens": 203,
    "output_image_tokens": 101,
    "output_video_tokens": 53,
    "output_citation_tokens": 17,
    "web_searches": 3,
    "storage_searches": 2,
}
"""Of each kind that a model has a price for, beside at least so many input tokens as they make up."""


def every_price(model: ModelInfo) -> Iterator[ModelPrice]:
    if isinstance(model.prices, ModelPrice):
        yield model.prices
    else:
        yield from (each.prices for each in model.prices)


def keys_of(model: ModelInfo) -> set[str]:
    return {key for prices in every_price(model) for key, value in vars(prices).items() if value is not None}


def lengths(model: ModelInfo) -> list[int]:
    """Of the input: an ordinary one, and both sides of each step."""
    amounts = chain.from_iterable(vars(prices).values() for prices in every_price(model))
    steps = {tier.start for amount in amounts if isinstance(amount, TieredPrices) for tier in amount.tiers}
    return sorted({123, 10_007, *steps, *(step + 1 for step in steps), *(10 * step + 1 for step in steps)})


def times(model: ModelInfo) -> list[datetime]:
    """From the snapshot's day on: now, and both sides of each change."""
    if isinstance(model.prices, ModelPrice):
        return [TODAY]
    found = {TODAY}
    for condition in (each.constraint for each in model.prices):
        start = getattr(condition, "start_date", None)
        if start is not None:
            found.add(datetime(start.year, start.month, start.day, tzinfo=UTC))
        for of_day in (getattr(condition, "start_time", None), getattr(condition, "end_time", None)):
            if of_day is not None:
                found.add(datetime.combine(TODAY, of_day))
    sides = {edge + timedelta(seconds=side) for edge in found for side in (-1, 0, 1)}
    return sorted(at for at in sides if at >= TODAY)


def shapes(model: ModelInfo) -> Iterator[dict[str, int]]:
    """Usages in their words: plain tokens alone, everything that has a price, everything whether it has one or not."""
    keys = keys_of(model)
    priced = {name: count for name, count in SHARES.items() if price_key(name) in keys}
    for length in lengths(model):
        yield {"input_tokens": length, "output_tokens": 0}
        yield {"input_tokens": length, "output_tokens": 1_003}
        yield {"input_tokens": length, **priced, "output_tokens": 1_003}
        yield {"input_tokens": length, **SHARES}


def price_key(name: str) -> str:
    return name.replace("_tokens", "_mtok") if name.endswith("_tokens") else f"{name}_kcount"


def ours(theirs: dict[str, int]) -> Usage:
    plain: dict[str, Any] = {PLAIN[name]: count for name, count in theirs.items() if name in PLAIN}
    return Usage(**plain, kinds={name: count for name, count in theirs.items() if name not in PLAIN})


def all_digits_fit(model: ModelInfo) -> bool:
    def amounts(value: object) -> list[Decimal]:
        if isinstance(value, TieredPrices):
            return [value.base, *(tier.price for tier in value.tiers)]
        return [value] if isinstance(value, Decimal) else []

    every = chain.from_iterable(amounts(value) for prices in every_price(model) for value in vars(prices).values())
    return all(amount * 10**9 % 1 == 0 for amount in every)


def price_of(model: ModelInfo, now: datetime = TODAY) -> Price | None:
    return price_from(listed_model(model).prices, now.timestamp(), as_of="", source="")


@pytest.mark.parametrize(("provider", "model"), MODELS, ids=[f"{p.id}/{m.id}" for p, m in MODELS])
def test_a_usage_costs_what_genai_prices_says_and_never_more_than_its_bound(
    provider: Provider, model: ModelInfo
) -> None:
    price = price_of(model)
    if price is None:
        assert keys_of(model) & UNCOUNTED
        return
    assert not keys_of(model) & UNCOUNTED
    # Each count is below a million but where an input is: one nano-USD for each price that was rounded up.
    slack = 1 if all_digits_fit(model) else 20
    for shape in shapes(model):
        usage = ours(shape)
        for at in times(model):
            theirs = model.calc_price(TheirUsage(**shape), provider, genai_request_timestamp=at).total_price
            exact = Fraction(theirs) * 10**9
            cost_now = cost(usage, price, at.timestamp())
            assert exact <= cost_now < exact + slack, (shape, at)
            assert cost_now <= cost(usage, price), "without its time a usage costs the dearest"
            searches = {"web_searches", "storage_searches"}
            bounded = Usage(
                **{name: getattr(usage, name) for name in PLAIN.values()},
                kinds={kind: count for kind, count in usage.kinds.items() if kind not in searches},
            )
            bound = Line.at_price(usage.input_tokens, price, usage.output_tokens).amount_at(usage.output_tokens)
            assert cost(bounded, price, at.timestamp()) <= bound.nano_usd


def test_the_shapes_reach_every_price_that_any_model_has() -> None:
    every = set[str]().union(*(keys_of(model) for _, model in MODELS))
    reached = {"input_mtok", "requests_kcount", *map(price_key, SHARES)}
    assert every == reached | UNCOUNTED
    assert any(len(times(model)) > 3 for _, model in MODELS)
    assert max(len(lengths(model)) for _, model in MODELS) >= 8, "one model has two steps"


def test_a_later_price_is_in_force_from_its_day_on_and_an_earlier_one_is_forgotten() -> None:
    changing = [
        (provider, model)
        for provider, model in MODELS
        if not isinstance(model.prices, ModelPrice) and price_of(model) is not None
    ]
    assert changing
    for provider, model in changing:
        later = TODAY + timedelta(days=400)
        price = price_of(model, later)
        assert price is not None
        assert all(timed.hours is not None for timed in price.timed), "no change of price is foreseen so far ahead"
        usage = {"input_tokens": 1_000_000, "output_tokens": 0}
        theirs = model.calc_price(TheirUsage(**usage), provider, genai_request_timestamp=later).total_price
        assert cost(ours(usage), price, later.timestamp()) == math.ceil(theirs * 10**9)


def names_of(clause: Clause) -> Iterator[str]:
    yield from filter(None, (clause.equals, clause.starts_with, clause.contains, clause.ends_with))
    for inner in (*clause.any, *clause.all):
        yield from names_of(inner)


def misspelled(names: list[str]) -> Iterator[str]:
    """Some of the names with something before or behind them."""
    for name in names[:: max(1, len(names) // 100)]:
        yield from (f"{name}-20260102", f"x{name}-2026-01-02", name.upper())


@pytest.mark.slow
@pytest.mark.skipif(
    version("genai-prices") != the_snapshot().index.version,
    reason=f"the snapshot is of genai-prices {the_snapshot().index.version}, which is not what is installed",
)
@pytest.mark.parametrize("provider", providers, ids=lambda provider: provider.id)
def test_the_snapshot_finds_for_every_name_what_the_package_finds(provider: Provider) -> None:
    snapshot, package = the_snapshot(), PackageList()
    assert snapshot.addresses() == package.addresses()
    names = [name for model in provider.models for name in (model.id, *names_of(listed_model(model).match))]
    for name in dict.fromkeys((*names, *misspelled(names), "no-such-model", "")):
        assert snapshot.find(provider.id, name) == package.find(provider.id, name), name


def test_a_listed_price_without_a_condition_is_always_in_force() -> None:
    price = price_from((ListedPrices({"input_mtok": "1"}),), 0.0, as_of="2026-01-01", source="s")
    assert price == Price(input=10**9, output=0, as_of="2026-01-01", source="s")
