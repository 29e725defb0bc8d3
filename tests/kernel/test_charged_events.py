"""What events say of the money of an attempt, held against the ledger of the account."""

from __future__ import annotations

import httpx
from worlds import config, good, run

import penstock
from penstock._events import AttemptEnded
from penstock.testing import Reply, ScriptedTransport

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
