"""Prices in a kernel: asked for when it opens, at the time a call begins, and never in its way."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from worlds import GPT, config, good, run

import penstock
from penstock.hookspecs import hookimpl
from penstock.policy.money import nano_from_usd
from penstock.testing import ScriptedTransport
from penstock.types import KindPrice, Price, TimedPrice

DAY = 86_400


class Asked:
    """Knows a price for everything, and remembers what it was asked."""

    def __init__(self, price: Price) -> None:
        self.price = price
        self.models: list[str] = []

    @hookimpl
    def penstock_price(self, model: str) -> Price | None:
        self.models.append(model)
        return self.price


def test_prices_of_configured_targets_are_asked_for_before_the_first_call() -> None:
    async def main() -> None:
        plugin = Asked(Price(input=1, output=1))
        async with penstock.open_kernel(config(), transport=ScriptedTransport(good), plugins=[plugin]) as kernel:
            asked = list(plugin.models)
            assert GPT.partition("/")[2] in asked
            for _ in range(3):
                await kernel.complete("hello")
            assert plugin.models == asked
            await kernel.complete("hello", model="openai/a-model-of-the-caller")
            await kernel.complete("hello", model="openai/a-model-of-the-caller")
            assert plugin.models == [*asked, "a-model-of-the-caller"]

    run(main)


def test_a_call_costs_what_is_in_force_when_it_begins_and_is_held_at_the_dearest() -> None:
    cheap, dear = (Price(input=0, output=0, request=nano_from_usd(usd)) for usd in ("0.25", "0.75"))

    async def main() -> None:
        hourly = with_another(cheap, TimedPrice(price=dear, hours=(0, DAY)))
        later = with_another(cheap, TimedPrice(price=dear, starts=10**11))
        for price, cost in ((hourly, "0.75"), (later, "0.25")):
            transport = ScriptedTransport(good)
            async with penstock.open_kernel(config(), transport=transport, plugins=[Asked(price)]) as kernel:
                response = await kernel.complete("hello", model=GPT)
                assert response.cost == Decimal(cost)
                plan = kernel.explain("hello", model=GPT)
                assert plan.stages[0].cost is not None
                assert plan.stages[0].cost >= Decimal("0.75")

    run(main)


def with_another(price: Price, timed: TimedPrice) -> Price:
    """The price, and another at other times."""
    return Price(input=price.input, output=price.output, request=price.request, timed=(timed,))


FINE = Price(input=1, output=1)
WRONG: dict[str, Any] = {
    "below nothing": Price(input=-1, output=1),
    "far below nothing": Price(input=1, output=1, request=-(10**15)),
    "a float": Price(input=1.5, output=1),  # type: ignore[arg-type]
    "no number": Price(input=1, output=float("nan")),  # type: ignore[arg-type]
    "a text": Price(input="1", output=1),  # type: ignore[arg-type]
    "a truth": Price(input=True, output=1),
    "nothing": Price(input=None, output=1),  # type: ignore[arg-type]
    "below nothing where it is cached": Price(input=1, output=1, cached_input=-1),
    "below nothing where it is long": Price(input=1, output=1, long=Price(input=-1, output=1), long_above=10),
    "below nothing later": Price(input=1, output=1, timed=(TimedPrice(price=Price(input=-1, output=1)),)),
    "at no hours": Price(input=1, output=1, timed=(TimedPrice(price=FINE, hours=("8", "9")),)),  # type: ignore[arg-type]
    "below nothing of a kind": Price(input=1, output=1, kinds=(KindPrice("audio", -1),)),
    "kinds that are none": Price(input=1, output=1, kinds={"audio": 1}),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("price", WRONG.values(), ids=WRONG)
def test_a_price_that_cannot_be_reckoned_with_is_its_plugins_fault_and_passed_over(price: Price) -> None:
    async def main() -> None:
        settings = config(budget={"limits": [{"per": "day", "usd": 1}]}, ledger={"store": "memory"})
        transport = ScriptedTransport(good)
        async with penstock.open_kernel(settings, transport=transport, plugins=[Asked(price)]) as kernel:
            assert (await kernel.quote("hello", model=GPT)).fits
            response = await kernel.complete("hello", model=GPT, max_tokens=20)
            assert response.cost is not None
            assert response.cost > 0
            (problem,) = kernel.health().problems
            assert "its penstock_price returned Price, not a Price of whole figures from 0 on" in problem

    run(main)
