"""A primary that falls silent, and its fallback: for the tests of hedged probes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs
import httpx
import trio
from worlds import GPT, SONNET, config, good, model_of

import penstock
from penstock import ChatResponse, Config
from penstock.testing import Answer, Reply, ScriptedTransport, Silence

Mode: TypeAlias = Literal["stream", "complete", "streamed upstream"]
MODES: tuple[Mode, ...] = ("stream", "complete", "streamed upstream")
OWN = f"target:{SONNET}"
FIRST_TOKEN, TOTAL = 20.0, 30.0
FALLBACK_TEXT = "of the fallback"
PRIMARY_TEXT = "of the primary"


def two_targets(*, first: Any = 1, second: Any = 1, **tables: Any) -> Config:
    """One failure trips; silence costs 20 s where the answer is streamed, else 30."""
    stages = [{"target": SONNET, "attempts": first}, {"target": GPT, "attempts": second}]
    return config(
        **{
            "routes": {"default": {"cascade": stages}},
            "breaker": {"failures_in_a_row": 1, "min_calls_in_a_row": 1},
            "defaults": {"timeouts": {"first_token": FIRST_TOKEN, "total": TOTAL}},
            "budget": {"limits": [{"per": "day", "usd": 100}]},
            "cache": {"store": "memory", "when": "always"},
            **tables,
        }
    )


Says: TypeAlias = Callable[[httpx.Request], Answer]


def after(seconds: float, text: str = PRIMARY_TEXT) -> Says:
    """A good answer whose head comes so late."""
    return lambda request: attrs.evolve(good(request, text), delay=seconds)


def cut(seconds: float) -> Says:
    """A stream that breaks after its first token, or a whole answer that is none."""

    def says(request: httpx.Request) -> Answer:
        whole = good(request, PRIMARY_TEXT)
        if not whole.chunks:
            return Reply(body=b"{", headers=[("content-type", "application/json")], delay=seconds)
        return attrs.evolve(whole, delay=seconds, chunks=[*whole.chunks[:4], httpx.ReadError("reset")])

    return says


def in_turn(*says: Says) -> Says:
    """One after the other."""
    left = iter(says)

    def said(request: httpx.Request) -> Answer:
        return next(left)(request)

    return said


def silent(request: httpx.Request) -> Answer:
    """Nothing, ever."""
    del request
    return Silence()


class Two:
    """The upstream of both, and who was asked when."""

    def __init__(self, *, primary: Says | None = None, fallback: Says | None = None) -> None:
        self.primary: Says = primary or after(0.3)
        self.fallback: Says = fallback or after(0.2, FALLBACK_TEXT)
        self.asked: list[tuple[float, str]] = []
        self.upstream = ScriptedTransport(self.answer)

    def answer(self, request: httpx.Request) -> Answer:
        is_primary = f"anthropic/{model_of(request)}" == SONNET
        self.asked.append((trio.current_time(), SONNET if is_primary else GPT))
        return (self.primary if is_primary else self.fallback)(request)

    async def learn(self, kernel: penstock.Kernel, seconds: float) -> None:
        """The primary answers six calls, so soon: by then its usual time is known."""
        self.primary = after(seconds)
        for number in range(6):
            await ask(kernel, "stream", f"learning {number}")
        await kernel.snapshot()

    async def fall_silent(self, kernel: penstock.Kernel) -> None:
        """The primary trips, and may be probed."""
        self.primary = silent
        response = await ask(kernel, "stream", "falls silent")
        assert response.target == GPT
        assert (await kernel.snapshot()).breakers[OWN].silent
        await trio.sleep(5.0)
        self.asked.clear()


async def ask(kernel: penstock.Kernel, mode: Mode, prompt: str = "hello", **options: Any) -> ChatResponse:
    """One call; a stream is read to its end, and what was shown is the answer."""
    if mode == "complete":
        return await kernel.complete(prompt, **options)
    if mode == "streamed upstream":
        return await kernel.complete(prompt, max_tokens=5_000, **options)
    async with kernel.stream(prompt, **options) as stream:
        shown = "".join([text async for text in stream.text()])
    assert shown == stream.response.text
    return stream.response


async def nothing_is_left(kernel: penstock.Kernel, upstream: ScriptedTransport) -> None:
    """No place, permit, hold, flight or response is out; and the kernel goes on."""
    snapshot = await kernel.snapshot()
    assert snapshot.in_flight == 0 == snapshot.waiting
    assert upstream.open == 0
    for actor in snapshot.actors.values():
        assert (actor.slots_in_use, actor.queued, actor.lost, actor.stray) == (0, 0, 0, 0), actor
    for account in snapshot.accounts.values():
        assert all(window.held.tokens == 0 == window.held.nano_usd for window in account.windows)
    assert snapshot.cache is None or snapshot.cache.flights.flights == 0
    for health in snapshot.breakers.values():
        assert health.state.value == "open" or health.permits_left > 0
