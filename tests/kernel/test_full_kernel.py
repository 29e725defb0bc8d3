"""A kernel with as many calls in flight as it takes: none waits for what only another of them could give back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio
from worlds import GPT, HAIKU, SONNET, config, good, run

import penstock
from penstock.testing import Answer, Reply, ScriptedTransport, Silence

CALLS = 4
"""Of all of them at once, in a kernel that takes no more."""
BUSY = Reply(429, json={"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}})


@pytest.mark.parametrize("stale_if_error", [0, 10_000], ids=["nothing stale", "stale in an outage"])
@pytest.mark.parametrize("status", [404, 500])
def test_calls_that_fill_a_kernel_go_on_past_a_target_that_cools_to_one_that_is_well(
    status: int, stale_if_error: float
) -> None:
    def answer(request: httpx.Request) -> Answer:
        if b"sonnet" in request.content:
            return Reply(429, json=BUSY.json, headers=[("retry-after", "300")])
        if b"haiku" in request.content:
            return good(request)
        return Reply(status, json={"error": {"message": "no", "code": "model_not_found"}}, delay=0.5)

    async def main() -> None:
        tables: dict[str, Any] = {
            "kernel": {"max_in_flight": CALLS},
            "cache": {"store": "memory", "when": "always", "stale_if_error": stale_if_error},
            "routes": {"default": {"cascade": [GPT, SONNET, HAIKU], "timeout": 60}},
        }
        async with penstock.open_kernel(config(**tables), transport=ScriptedTransport(answer)) as kernel:
            await kernel.complete("from now on the second target cools")
            targets: list[str] = []

            async def call(number: int) -> None:
                targets.append((await kernel.complete(f"question {number}")).target)

            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number in range(CALLS):
                    nursery.start_soon(call, number)
            assert targets == [HAIKU] * CALLS
            assert trio.current_time() - began < 10

    run(main)


def test_calls_that_fill_a_kernel_fail_at_once_where_every_target_is_down() -> None:
    def answer(request: httpx.Request) -> Answer:
        if b"sonnet" in request.content:
            return Reply(429, json=BUSY.json, headers=[("retry-after", "300")])
        return Reply(404, json={"error": {"message": "no", "code": "model_not_found"}}, delay=0.5)

    async def main() -> None:
        tables: dict[str, Any] = {
            "kernel": {"max_in_flight": CALLS},
            "cache": {"store": "memory", "when": "always", "stale_if_error": 10_000},
            "routes": {"default": {"cascade": [GPT, SONNET], "timeout": 60}},
        }
        async with penstock.open_kernel(config(**tables), transport=ScriptedTransport(answer)) as kernel:
            ends: list[float] = []

            async def call(number: int) -> None:
                with pytest.raises(penstock.CallError):
                    await kernel.complete(f"question {number}")
                ends.append(trio.current_time())

            await call(0)
            began = trio.current_time()
            async with trio.open_nursery() as nursery:
                for number in range(1, CALLS + 1):
                    nursery.start_soon(call, number)
            assert max(ends) - began < 10

    run(main)


def test_a_hedge_needs_no_room_that_its_own_probe_takes() -> None:
    silent = {"gpt", "sonnet"}

    def answer(request: httpx.Request) -> Answer:
        return Silence() if any(name.encode() in request.content for name in silent) else good(request)

    async def main() -> None:
        tables: dict[str, Any] = {
            "kernel": {"max_in_flight": 1},
            "defaults": {"timeouts": {"first_token": 10, "total": 20}, "upstream_stream": "never"},
            "breaker": {"failures_in_a_row": 2},
            "routes": {
                "default": {
                    "cascade": [{"target": SONNET, "attempts": 1}, {"target": GPT, "attempts": 1}],
                    "timeout": 120,
                }
            },
        }
        async with penstock.open_kernel(config(**tables), transport=ScriptedTransport(answer)) as kernel:
            for _ in range(6):
                with pytest.raises(penstock.CallError):
                    await kernel.complete("hello")
            assert {scope for scope, health in kernel.snapshot().breakers.items() if health.state.value == "open"} == {
                f"target:{SONNET}",
                f"target:{GPT}",
            }
            await trio.sleep(200)
            silent.remove("gpt")
            began = trio.current_time()
            response = await kernel.complete("hello")
            assert response.target == GPT
            assert trio.current_time() - began < 10, "the hedge began while the probe was silent"

    run(main)
