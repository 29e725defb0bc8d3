"""What [budget] says of calls whose cost is not known: `unknown_usage`, `on_unknown_price`."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import httpx
import pytest
from breaking import LOST, cascade, watch
from worlds import GPT, good, openai_chunks, run

import penstock
from penstock import errors
from penstock.testing import Reply, ScriptedTransport

DAY: dict[str, Any] = {"per": "day", "usd": 100}
MYSTERY = "openai/mystery-model"
CAP = {"input": 20, "output": 100}


def cut_in_the_middle(_: httpx.Request) -> Reply:
    return Reply(chunks=[*openai_chunks("forty-two of them")[:4], LOST])


async def spent_by_a_stream_that_breaks(budget: dict[str, Any]) -> int:
    upstream = ScriptedTransport(cut_in_the_middle)
    async with penstock.open_kernel(cascade((GPT, 1), budget=budget), transport=upstream) as kernel:
        seen = await watch(kernel, max_tokens=1_000)
        assert isinstance(seen.error, errors.StreamBrokenError)
        return (await kernel.snapshot()).accounts[""].windows[0].spent.tokens


def test_usage_that_is_not_told_is_charged_at_its_bound_or_if_that_is_wished_as_it_is_guessed() -> None:
    async def main() -> None:
        bound = await spent_by_a_stream_that_breaks({"limits": [DAY]})
        likely = await spent_by_a_stream_that_breaks({"limits": [DAY], "unknown_usage": "likely"})
        assert bound > 1_000
        assert 0 < likely < 20

    run(main)


def test_the_nearest_account_that_says_so_decides_how_usage_that_is_not_told_is_charged() -> None:
    async def spent_by(account: str) -> int:
        accounts = {"team": {"unknown_usage": "likely"}, "team/exact": {"unknown_usage": "bound"}}
        settings = cascade((GPT, 1), budget={"limits": [DAY]}, accounts=accounts)
        async with penstock.open_kernel(settings, transport=ScriptedTransport(cut_in_the_middle)) as kernel:
            with pytest.raises(errors.StreamBrokenError):
                async with kernel.stream("hello", account=account, max_tokens=1_000) as stream:
                    async for _ in stream:
                        pass
            return (await kernel.snapshot()).accounts[""].windows[0].spent.tokens

    async def main() -> None:
        assert await spent_by("other") > 1_000
        assert 0 < await spent_by("team/search") < 20
        assert await spent_by("team/exact/one") > 1_000

    run(main)


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        ({"limits": [DAY], "unknown_usage": "likely"}, 1),
        ({"limits": [DAY]}, 0),
        ({"unknown_usage": "likely"}, 0),
    ],
)
def test_what_is_given_up_by_guesses_is_told_once_at_the_start(
    budget: dict[str, Any], told: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with penstock.open_kernel(cascade((GPT, 1), budget=budget), transport=ScriptedTransport(good)) as kernel:
            await kernel.complete("hello")
            await kernel.complete("hello again")

    with caplog.at_level(logging.WARNING, logger="penstock"):
        run(main)
    assert [record.getMessage() for record in caplog.records].count(
        'budget.unknown_usage = "likely": where a provider does not tell what an attempt used, the best guess is'
        " charged, which may be less than is billed; limits may be exceeded by the difference"
    ) == told


def unpriced(**budget: Any) -> penstock.Config:
    return cascade((MYSTERY, 1), budget={"limits": [DAY], **budget})


def test_a_model_of_unknown_price_is_refused_where_money_is_limited() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(unpriced(), transport=upstream) as kernel:
            with pytest.raises(errors.BudgetExceededError, match='set on_unknown_price to "cap" or "allow"'):
                await kernel.complete("hello", max_tokens=1_000)
            assert upstream.requests == []

    run(main)


def test_with_a_cap_it_is_held_and_charged_at_that_price_and_its_cost_is_not_known_all_the_same() -> None:
    async def main() -> None:
        upstream = ScriptedTransport(good)
        settings = unpriced(on_unknown_price="cap", price_cap=CAP)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            response = await kernel.complete("hello", max_tokens=1_000)
            assert response.cost is None
            window = (await kernel.snapshot()).accounts[""].windows[0]
            assert Decimal(window.spent.nano_usd) / 10**9 == Decimal("0.00052")  # 11 x 20 and 3 x 100 USD a million
            with pytest.raises(errors.BudgetExceededError, match="100 USD per day"):
                await kernel.complete("hello", max_tokens=1_000_000)  # 100 USD at the cap, and its input

    run(main)


def test_a_price_that_is_known_is_not_capped() -> None:
    async def main() -> None:
        settings = cascade((GPT, 1), budget={"limits": [DAY], "on_unknown_price": "cap", "price_cap": CAP})
        async with penstock.open_kernel(settings, transport=ScriptedTransport(good)) as kernel:
            response = await kernel.complete("hello")
            assert response.cost == Decimal("0.0000575")
            spent = (await kernel.snapshot()).accounts[""].windows[0].spent.nano_usd
            assert spent == 57_500

    run(main)


@pytest.mark.parametrize("extra", [{"n": 50.0}, {"n": "50"}, {"max_completion_tokens": 9_000.0}, {"max_tokens": -1}])
@pytest.mark.parametrize("whose", ["the request", "the target"])
def test_a_figure_that_servers_read_each_in_its_own_way_is_not_let_through(extra: dict[str, Any], whose: str) -> None:
    config: dict[str, Any] = {
        "providers": {"local": {"kind": "openai", "api_key": "k", "base_url": "http://127.0.0.1:1/v1"}},
        "targets": {"t": {"provider": "local", "model": "m", "params": extra if whose == "the target" else {}}},
        "routes": {"default": {"cascade": ["t"]}},
        "budget": {"limits": [{"per": "day", "tokens": 1_000_000}]},
    }
    request = penstock.ChatRequest("hello", extra={"local": extra} if whose == "the request" else {})

    async def main() -> None:
        upstream = ScriptedTransport(good)
        async with penstock.open_kernel(penstock.Config.from_dict(config), transport=upstream) as kernel:
            assert not (await kernel.quote(request)).fits
            with pytest.raises(errors.BudgetExceededError, match="has no bound"):
                await kernel.complete(request, max_tokens=500 if whose == "the request" else None)
            assert not upstream.requests

    run(main)
