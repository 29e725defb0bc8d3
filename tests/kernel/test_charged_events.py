"""What events say of what an attempt cost, held against the ledger of the account, or the upstream's own count."""

from __future__ import annotations

from contextlib import suppress

import httpx
import pytest
from fault_cells import PROMPT, TIMEOUTS
from fault_table import ROWS
from soak import SOAK
from worlds import GPT, SONNET, config, good, openai_chunks, run

import penstock
from penstock import errors
from penstock._events import AttemptEnded
from penstock.testing import Reply, ScriptedTransport
from penstock_plugins.rehearsal import RehearsalTransport, Rule, Script, Upstream

LIMITED = {"limits": [{"per": "day", "usd": 20, "tokens": 1_000_000}]}


def test_the_charges_of_all_attempts_are_what_the_ledger_has_spent() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> Reply:
        seen.append(request)
        return Reply(500, json={}) if len(seen) == 1 else good(request)

    async def main() -> None:
        async with penstock.open_kernel(config(budget=LIMITED), transport=ScriptedTransport(answer)) as kernel:
            events = kernel.events()
            await kernel.complete("hello")
            spent = (await kernel.snapshot()).accounts[""].windows[0].spent
            ended = [event for event in events.take() if isinstance(event, AttemptEnded)]
            assert [(event.outcome, event.estimated) for event in ended] == [("server_error", True), ("ok", False)]
            assert sum(event.charged_tokens for event in ended) == spent.tokens
            assert sum(event.charged_nano_usd for event in ended) == spent.nano_usd
            # Without a bill the bound is charged, which is far more than the answer came to.
            assert ended[0].charged_tokens > ended[1].charged_tokens > 0

    run(main)


UNLIMITED = penstock.Config.from_dict(
    {
        "providers": {"anthropic": {"api_key": "any"}, "openai": {"api_key": "any"}},
        "defaults": {"timeouts": TIMEOUTS, "upstream_stream": "never"},
        "plugins": {"discover": False},
    },
    environ={},
)


EVERY_NTH_FAULT = 1 if SOAK else 3
TRIED = list(ROWS)[::EVERY_NTH_FAULT]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIED, ids=[name.replace(",", "").replace(" ", "-") for name in TRIED])
@pytest.mark.parametrize("how", ["complete", "stream"])
@pytest.mark.parametrize("target", [SONNET, GPT])
def test_where_no_account_is_limited_no_attempt_is_told_to_have_cost_less_than_the_upstream_served(
    target: str, how: str, name: str
) -> None:
    async def main() -> None:
        upstream = Upstream(Script((Rule(fault=ROWS[name].fault),), seed=7))
        async with penstock.open_kernel(UNLIMITED, transport=RehearsalTransport(upstream)) as kernel:
            events = kernel.events()
            with suppress(errors.CallError):
                if how == "complete":
                    await kernel.complete(PROMPT, model=target, max_tokens=400, timeout=300)
                else:
                    async with kernel.stream(PROMPT, model=target, max_tokens=400, timeout=300) as stream:
                        async for _ in stream:
                            pass
            await kernel.snapshot()
            ended = [event for event in events.take() if isinstance(event, AttemptEnded)]
        served = upstream.statistics().served()
        told, counted = sum(event.charged_tokens for event in ended), served.input_tokens + served.output_tokens
        assert told == counted or (told > counted and any(event.estimated for event in ended))

    run(main)


def test_a_consumer_that_leaves_is_told_the_most_that_its_answer_can_come_to() -> None:
    async def main() -> None:
        upstream = Upstream(Script((), seed=7))
        async with penstock.open_kernel(UNLIMITED, transport=RehearsalTransport(upstream)) as kernel:
            events = kernel.events()
            async with kernel.stream(PROMPT, model=GPT) as stream:
                await anext(aiter(stream))
            (ended,) = [event for event in events.take() if isinstance(event, AttemptEnded)]
            assert ended.estimated
            assert ended.charged_tokens > 16_384, "the model's longest answer"

    run(main)


def test_where_nothing_bounds_what_an_attempt_costs_its_event_tells_the_guess() -> None:
    async def main() -> None:
        transport = ScriptedTransport([Reply(chunks=openai_chunks()[:3])])
        async with penstock.open_kernel(UNLIMITED, transport=transport) as kernel:
            events = kernel.events()
            with pytest.raises(errors.StreamBrokenError) as caught:
                async with kernel.stream("hello", model="openai/of-nobody-knows-what-length") as stream:
                    async for _ in stream:
                        pass
            (ended,) = [event for event in events.take() if isinstance(event, AttemptEnded)]
            assert caught.value.usage is not None
            assert ended.charged_tokens == caught.value.usage.total_tokens > 0
            assert ended.estimated

    run(main)
