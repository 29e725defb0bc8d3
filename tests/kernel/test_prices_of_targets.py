"""Prices in a kernel: asked for when it opens, at the time a call begins, and never in its way."""

from __future__ import annotations

from decimal import Decimal

from worlds import GPT, config, good, run

import penstock
from penstock.hookspecs import hookimpl
from penstock.policy.money import nano_from_usd
from penstock.testing import ScriptedTransport
from penstock.types import Price, TimedPrice

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
