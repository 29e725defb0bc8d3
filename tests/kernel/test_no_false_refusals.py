"""With room enough no call is refused or kept waiting by its budget, nor judged by a bound where a guess will do.

Ordinary runs make 2,000 calls; PENSTOCK_SOAK=1 makes 10^5.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
from soak import SOAK
from worlds import GPT, HAIKU, SONNET, config, good, run

import penstock
from penstock import errors
from penstock.testing import Reply, ScriptedTransport

CALLS = 100_000 if SOAK else 2_000
AT_ONCE = 200
LOREM = "The quick brown fox jumps over the lazy dog, and nobody in the village knows why. "


def usual(request: httpx.Request, tokens: int, delay: float = 0.0) -> Reply:
    """An answer to a prompt that came to so many tokens."""
    reply = good(request)
    usage = reply.json["usage"]
    usage["input_tokens" if "input_tokens" in usage else "prompt_tokens"] = tokens
    return Reply(json=reply.json, delay=delay)


def test_a_prompt_of_nine_kilobytes_passes_a_limit_of_eight_thousand_input_tokens() -> None:
    """By its bound it would not: that counts a token for every byte."""

    async def main() -> None:
        budget = {"limits": [{"per": "request", "input_tokens": 8_000}, {"per": "day", "tokens": 10**9}]}
        upstream = ScriptedTransport(lambda request: usual(request, 2_000))
        async with penstock.open_kernel(config(budget=budget), transport=upstream) as kernel:
            prompt = (LOREM * 200)[:9_216]
            for target in (SONNET, GPT, HAIKU):
                await kernel.complete(prompt, model=target, max_tokens=500)
            with pytest.raises(errors.BudgetExceededError, match="by the estimate of the request"):
                await kernel.complete(prompt * 4, model=SONNET, max_tokens=500)

    run(main)


def test_a_provider_that_reports_more_than_the_bound_raises_the_bound_for_good_and_overruns_once() -> None:
    async def main() -> None:
        budget = {"limits": [{"per": "day", "tokens": 10**9}]}
        upstream = ScriptedTransport(lambda request: usual(request, 30_000))
        async with penstock.open_kernel(config(budget=budget), transport=upstream) as kernel:
            events = kernel.events()
            overruns: list[int] = []
            for _ in range(4):
                await kernel.complete("hello", model=SONNET, max_tokens=500)
                await kernel.snapshot()
                told = [type(event).__name__ for event in events.take()]
                overruns.append(told.count("BudgetOverrun"))
            assert overruns == [1, 0, 0, 0]

    run(main)


def calling(dice: random.Random) -> Callable[[], dict[str, Any]]:
    """Calls of ordinary sizes, of several accounts, some of them streamed upstream."""

    def call() -> dict[str, Any]:
        return {
            "asked": LOREM * dice.randint(1, 100),
            "account": dice.choice(["team/search/ann", "team/search/bob", "team/chat", "other"]),
            "max_tokens": dice.choice([None, 200, 1_000, 4_000]),
        }

    return call


@pytest.mark.slow
def test_with_ample_limits_no_call_is_refused_and_none_is_kept_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    dice = random.Random(20260504)
    make = calling(dice)
    refused, waited, done = 0, 0.0, 0

    async def main() -> None:
        nonlocal refused, waited, done
        limits = [
            {"per": "request", "input_tokens": 8_000, "output_tokens": 20_000},
            {"per": "minute", "tokens": 10**8, "usd": 2_000},
            {"per": "day", "tokens": 10**11, "usd": 10**6, "timezone": "Europe/Berlin"},
            {"per": "month", "usd": 10**7},
        ]
        accounts = {"team": {"limits": limits}, "team/*": {"limits": limits[1:]}, "team/search/*": {"limits": limits}}
        settings = config(budget={"limits": limits}, accounts=accounts, kernel={"max_in_flight": AT_ONCE})
        delays = random.Random(1)

        def answer(request: httpx.Request) -> Reply:
            upstream.requests.clear()  # it would keep them all
            return usual(request, len(request.content) // 5, delays.uniform(0.2, 3.0))

        upstream = ScriptedTransport(answer)
        async with penstock.open_kernel(settings, transport=upstream) as kernel:
            left = CALLS

            async def caller() -> None:
                nonlocal left, refused, waited, done
                while left > 0:
                    left -= 1
                    options = make()
                    began = trio.current_time()
                    try:
                        response = await kernel.complete(options.pop("asked"), **options)
                    except errors.BudgetExceededError:
                        refused += 1
                        continue
                    done += 1
                    (attempt,) = response.attempts
                    # On the virtual clock all that takes time is the upstream, and waiting for room.
                    waited += trio.current_time() - began - attempt.duration

            async with trio.open_nursery() as nursery:
                for _ in range(AT_ONCE):
                    nursery.start_soon(caller)
            snapshot = await kernel.snapshot()
            for account in snapshot.accounts.values():
                assert all(window.held.tokens == 0 == window.held.nano_usd for window in account.windows)

    run(main, limit=10**7)
    with capsys.disabled():
        print(f"\nbudgets: {done} of {CALLS} calls, {AT_ONCE} at once: {refused} refused, {waited:.6f} s waited")
    assert (refused, done) == (0, CALLS)
    assert waited < 1e-6
