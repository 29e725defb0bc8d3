"""One cell of the fault matrix: a call against an upstream with one fault, in memory and in virtual time.

Not here: which cells there are and what they must come to (`fault_table`). What the upstream wrote is read here with
nothing but json, and its tokens are counted by its own ledger: penstock's word is held to both.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Sequence
from functools import cache
from typing import Any, Literal, TypeAlias, cast

import attrs
import httpx
import trio
from trio.testing import MockClock

import penstock
from penstock import errors
from penstock_plugins.rehearsal import Fault, RehearsalTransport, Rule, Script, Seen, Upstream

__all__ = ["COMMITS", "MODES", "ROUTES", "WIRES", "Cell", "Mode", "Route", "Told", "WireName", "run_cell"]

Mode: TypeAlias = Literal["complete", "complete over a stream", "stream"]
Route: TypeAlias = Literal["alone", "fallback"]
WireName: TypeAlias = Literal["anthropic", "openai"]
MODES: tuple[Mode, ...] = ("complete", "complete over a stream", "stream")
"""`complete` twice: the answer comes whole from upstream, or is streamed there and put together here."""
ROUTES: tuple[Route, ...] = ("alone", "fallback")
WIRES: tuple[WireName, ...] = ("anthropic", "openai")
"""Of the primary. The fallback speaks the other: of the two only Anthropic's target takes a prefill."""
COMMITS: dict[str, penstock.Commit | str] = {
    "first_content": "first_content",
    "buffer": penstock.Commit.buffer(characters=40),
    "whole": "whole",
    "continue": "continue",
    "restart": "restart",
}
TARGETS: dict[WireName, str] = {"anthropic": "anthropic/claude-sonnet-4-20250514", "openai": "openai/gpt-4o"}
TIMEOUTS = {"connect": 5.0, "write": 10.0, "first_token": 20.0, "idle": 15.0, "total": 60.0}
TIMEOUT = 300.0
"""Seconds of each call."""
ATTEMPTS = 2
"""At each target."""
PROMPT = "Why is the sky blue? Wie schön! [[words 30]]"
EPSILON = 1e-6


@attrs.frozen
class Cell:
    """One call."""

    fault: Fault
    mode: Mode
    route: Route
    commit: str
    wire: WireName
    max_tokens: int = 400


@attrs.frozen
class Told:
    """What became of it."""

    attempts: str
    """Of each attempt: `P` or `F` for primary or fallback, and how it ended."""
    end: str
    """`answer` with its finish reason, or the class of the error."""
    shown: str
    """What the consumer saw, or what the answer is made of: the number of the attempt, and how much of its text."""
    seconds: float
    usage: Literal["equal", "estimated"]
    """What was settled: the upstream's own count, or more than it, and marked so."""


@cache
def settings(wire: WireName, route: Route, mode: Mode) -> penstock.Config:
    """The primary, and behind it the fallback where the route has one; an account with limits is on the path."""
    other: WireName = "openai" if wire == "anthropic" else "anthropic"
    chain: list[WireName] = [wire] if route == "alone" else [wire, other]
    streamed = "always" if mode == "complete over a stream" else "never"
    return penstock.Config.from_dict(
        {
            "providers": {name: {"api_key": "any"} for name in WIRES},
            "routes": {"default": {"cascade": [{"target": TARGETS[name], "attempts": ATTEMPTS} for name in chain]}},
            "defaults": {"timeouts": TIMEOUTS, "upstream_stream": streamed},
            "budget": {"limits": [{"per": "day", "rolling": True, "tokens": 10**9, "usd": 1_000}]},
            "accounts": {"team": {"limits": [{"per": "hour", "rolling": True, "tokens": 10**8}]}},
            # Looking for plugins of others takes longer than a cell.
            "plugins": {"discover": False},
        },
        environ={},
    )


def run_cell(cell: Cell) -> Told:
    """Makes the call and checks what holds of every cell; returns what the table says of this one."""
    random.seed(repr(cell))  # the jitter of back-offs and cool-downs

    async def main() -> Told:
        with trio.fail_after(TIMEOUT + 60):
            return await _call(cell)

    return trio.run(main, clock=MockClock(autojump_threshold=0))


class Overheard(httpx.AsyncBaseTransport):
    """The upstream, and for each exchange the bytes that were read of its answer."""

    def __init__(self, upstream: Upstream) -> None:
        self.inner = RehearsalTransport(upstream)
        self.bodies: list[bytearray] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = bytearray()
        self.bodies.append(body)
        response = await self.inner.handle_async_request(request)
        response.stream = _Tap(cast("httpx.AsyncByteStream", response.stream), body)
        return response


class _Tap(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, body: bytearray) -> None:
        self._stream = stream
        self._pieces = aiter(stream)
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await anext(self._pieces)
        self._body += piece
        return piece

    async def aclose(self) -> None:
        await self._stream.aclose()


@attrs.define
class _Consumer:
    """What a consumer has seen: texts, with the marker before each but the first."""

    markers: list[str] = attrs.Factory(lambda: [""])
    texts: list[str] = attrs.Factory(lambda: [""])
    finished: bool = False

    def see(self, chunk: penstock.Chunk) -> None:
        assert not self.finished, "Finished is the last chunk"
        match chunk:
            case penstock.TextDelta(text=text):
                self.texts[-1] += text
            case penstock.Restarted() | penstock.Seam():
                self.markers.append(type(chunk).__name__.lower())
                self.texts.append("")
            case penstock.Finished():
                self.finished = True
            case _:
                pass

    @property
    def held(self) -> str:
        """What it holds, having dropped everything at each Restarted."""
        held = ""
        for marker, text in zip(self.markers, self.texts, strict=True):
            held = text if marker == "restarted" else held + text
        return held


async def _call(cell: Cell) -> Told:
    seen: list[Seen] = []
    primary = TARGETS[cell.wire].partition("/")[2]
    upstream = Upstream(Script((Rule(fault=cell.fault, model=primary),), seed=7), observe=seen.append)
    transport = Overheard(upstream)
    consumer = _Consumer()
    end: penstock.ChatResponse | errors.CallError
    async with penstock.open_kernel(settings(cell.wire, cell.route, cell.mode), transport=transport) as kernel:
        options: dict[str, Any] = {
            "max_tokens": cell.max_tokens,
            "commit": COMMITS[cell.commit],
            "timeout": TIMEOUT,
            "account": "team",
        }
        explained = kernel.explain(PROMPT, stream=cell.mode == "stream", **options)
        assert not transport.bodies, "nothing is sent to explain"
        began = trio.current_time()
        try:
            if cell.mode == "stream":
                async with kernel.stream(PROMPT, **options) as stream:
                    async for chunk in stream:
                        consumer.see(chunk)
                    end = stream.response
            else:
                end = await kernel.complete(PROMPT, **options)
        except errors.CallError as error:
            end = error
        seconds = trio.current_time() - began
        _keeps_what_was_explained(explained, end, seconds)
        snapshot = await kernel.snapshot()
        _nothing_is_left(snapshot, transport.inner)
        spent = _spent(snapshot)
    served = upstream.statistics().served()
    assert served.input_tokens + served.output_tokens == sum(each.input_tokens + each.output_tokens for each in seen)
    assert len(transport.bodies) == len(end.attempts), "every attempt is told, and no other was made"
    usage = _settled(end, seen, transport.bodies, spent)
    readings = [_read(bytes(body)) for body in transport.bodies]
    return Told(
        attempts=", ".join(_attempt(attempt, primary) for attempt in end.attempts),
        end=f"answer: {end.finish_reason}" if isinstance(end, penstock.ChatResponse) else type(end).__name__,
        shown=_shown(cell, end, consumer, readings),
        seconds=seconds,
        usage=usage,
    )


def _attempt(attempt: penstock.Attempt, primary: str) -> str:
    return f"{'P' if attempt.target.endswith(primary) else 'F'}:{attempt.outcome}"


def _keeps_what_was_explained(
    explained: penstock.Explanation, end: penstock.ChatResponse | errors.CallError, seconds: float
) -> None:
    assert explained.seconds is not None
    assert seconds <= explained.seconds + EPSILON
    assert len(end.attempts) <= explained.attempts
    assert explained.cost is not None
    assert end.cost is not None
    assert end.cost <= explained.cost
    for stage in explained.stages:
        made = [attempt for attempt in end.attempts if attempt.target == stage.target]
        assert len(made) <= stage.attempts
        assert all(attempt.duration <= stage.longest_attempt + EPSILON for attempt in made)


def _nothing_is_left(snapshot: penstock.KernelSnapshot, transport: RehearsalTransport) -> None:
    assert (snapshot.in_flight, snapshot.waiting) == (0, 0)
    assert transport.open_responses == 0
    assert transport.upstream.statistics().in_flight == 0
    for actor in snapshot.actors.values():
        assert (actor.slots_in_use, actor.queued, actor.lost, actor.stray) == (0, 0, 0, 0)
    for account in snapshot.accounts.values():
        for window in account.windows:
            assert (window.held.tokens, window.held.nano_usd) == (0, 0)


def _spent(snapshot: penstock.KernelSnapshot) -> int:
    """Tokens, the same in every account of the path."""
    spent = {window.spent.tokens for account in snapshot.accounts.values() for window in account.windows}
    assert len(spent) == 1
    return spent.pop()


def _settled(
    end: penstock.ChatResponse | errors.CallError, seen: Sequence[Seen], bodies: Sequence[bytearray], spent: int
) -> Literal["equal", "estimated"]:
    """Attempt by attempt and in all: equal where the upstream told its count, elsewhere marked and never below it."""
    served = sum(exchange.input_tokens + exchange.output_tokens for exchange in seen)
    assert spent >= served, "never below"
    assert end.usage is not None
    known = True
    for attempt, body, exchange in zip(end.attempts, bodies, [*seen, *[None] * len(bodies)], strict=False):
        used = attempt.usage
        assert used is not None
        if attempt.outcome == "ok" and _tells_usage(bytes(body)):
            assert exchange is not None
            assert (used.input_tokens, used.output_tokens) == (exchange.input_tokens, exchange.output_tokens)
            assert not used.estimated
        elif not used.estimated:
            assert exchange is None or (exchange.input_tokens, exchange.output_tokens) == (0, 0), "for nothing"
            assert used.total_tokens == 0
        known = known and not used.estimated
    assert end.usage.estimated == (not known)
    if known:
        assert spent == served == end.usage.total_tokens
    return "equal" if known else "estimated"


def _events(body: bytes) -> list[Any]:
    """The JSON of every event, up to the first that is none."""
    events: list[Any] = []
    for line in body.decode(errors="replace").split("\n"):
        if line.startswith("data: ") and line != "data: [DONE]":
            try:
                events.append(json.loads(line.removeprefix("data: ")))
            except ValueError:
                break
    return events


def _tells_usage(body: bytes) -> bool:
    """Whether the final count was read."""
    events = _events(body)
    if not events:
        return bool(_object(body).get("usage"))
    return any(event.get("usage") and event.get("type") != "message_start" for event in events)


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def _read(body: bytes) -> str:
    """The text that an answer's bytes say, on either wire, streamed or not."""
    events = _events(body)
    if not events:
        told = _object(body)
        blocks = "".join(block.get("text", "") for block in told.get("content") or ())
        return blocks + "".join(choice["message"]["content"] or "" for choice in told.get("choices") or ())
    text = ""
    for event in events:
        if event.get("type") == "content_block_delta":
            text += event["delta"].get("text", "")
        text += "".join(choice["delta"].get("content") or "" for choice in event.get("choices") or ())
    return text


def _shown(
    cell: Cell,
    end: penstock.ChatResponse | errors.CallError,
    consumer: _Consumer,
    readings: Sequence[str],
) -> str:
    """The pieces that were shown, each found again in what one of the exchanges said; `part`: of one that failed."""
    pieces = list(zip(consumer.markers, consumer.texts, strict=True))
    first = 0
    if cell.mode == "stream":
        _says_what_was_shown(end, consumer, readings)
    elif isinstance(end, penstock.ChatResponse):
        # The answer of the last attempt, with what it went on from before it.
        last = len(readings) - 1
        first = last if end.text == readings[-1] else _beginning(end.text, readings)
        pieces = [("seam" if at > first else "", readings[at]) for at in range(first, last + 1)]
    elif isinstance(end, errors.StreamBrokenError):
        assert end.partial.endswith(readings[-1])
    found: list[str] = []
    at = first
    for marker, text in pieces:
        if not text and not marker:
            return "nothing"
        at = next(later for later in range(at, len(readings)) if readings[later] == text)
        whole = end.attempts[at].outcome == "ok"
        found.append(f"{marker} {at + 1} {'whole' if whole else 'part'}".strip())
        at += 1
    return ", ".join(found)


def _beginning(text: str, readings: Sequence[str]) -> int:
    """From which attempt on the answer is put together."""
    return next(at for at in range(len(readings) - 1, -1, -1) if text == "".join(readings[at:]))


def _says_what_was_shown(
    end: penstock.ChatResponse | errors.CallError, consumer: _Consumer, readings: Sequence[str]
) -> None:
    if isinstance(end, penstock.ChatResponse):
        assert consumer.finished
        assert end.text == consumer.held
        return
    assert not consumer.finished, "what is not whole is not told to be"
    if isinstance(end, errors.StreamBrokenError):
        assert end.partial == (consumer.held or readings[-1]), "what was shown, else what came"
    else:
        assert consumer.texts == [""], "an error after something was shown says what that was"
